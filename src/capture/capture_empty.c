/*
 * capture_empty.c
 *		What TRUNCATE drops is what was kept.
 *
 * Our BEFORE TRUNCATE trigger puts all rows of a table into the bin, and then
 * the triggers that come after it run: those with a later name, and those of
 * tables that are named later in the command, or that it cascades to. They may
 * write to the table, and nobody would keep what they wrote.
 *
 * The server counts what is written, and when it empties a table it sets the
 * counts aside, in case that is rolled back. So the counts are noted here when
 * the rows have been captured, and compared with those that were set aside: by
 * the end of the command, of the subtransaction, or of the transaction at the
 * latest. If they differ, the rows that were dropped are not those that were
 * kept.
 *
 * The server sets counts aside once in a subtransaction, so that a second
 * TRUNCATE there would leave no trace: it is made to forget the first one before.
 * Only statistics of a transaction that is rolled back depend on it.
 *
 * A table that the server has emptied without our trigger having fired lets no
 * transaction commit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pgstat_internal.h"
#include "utils/rel.h"

#include "capture/capture_internal.h"
#include "guard/guard.h"

/* A table that is being emptied, or has been. */
typedef struct Emptied
{
	Oid			relid;
	SubTransactionId subid;
	bool		done;			/* and what was dropped was kept */
	PgStat_Counter inserted;	/* counted when its rows had been captured */
	PgStat_Counter updated;
	PgStat_Counter deleted;
	struct Emptied *next;
} Emptied;

static Emptied *tables = NULL;

static Emptied *
note_emptied(Oid relid)
{
	Emptied    *table = MemoryContextAllocZero(TopTransactionContext, sizeof(Emptied));

	table->relid = relid;
	table->subid = GetCurrentSubTransactionId();
	table->next = tables;
	tables = table;
	return table;
}

/*
 * The counts of a table in the present subtransaction; NULL if it has not
 * written to it.
 */
static PgStat_TableXactStatus *
counts_of(Oid relid)
{
	PgStat_SubXactStatus *level = NULL;
	PgStat_TableXactStatus *counts = NULL;

	while ((counts = dg_capture_balance_next(&level, counts)) != NULL)
	{
		if (DG_COUNTED_RELID(counts) == relid)
			return counts->nest_level == GetCurrentTransactionNestLevel() ? counts : NULL;
	}
	return NULL;
}

/*
 * Was the table emptied? Fails if it had other rows then than when they were
 * captured.
 */
static void
check_emptied(Emptied *table)
{
	PgStat_TableXactStatus *counts = counts_of(table->relid);

	if (counts == NULL || !counts->truncdropped)
		return;
	if (counts->inserted_pre_truncdrop != table->inserted ||
		counts->updated_pre_truncdrop != table->updated ||
		counts->deleted_pre_truncdrop != table->deleted)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot empty \"%s\": it was written to after its rows had been kept",
						get_rel_name(table->relid)),
				 errdetail("A BEFORE TRUNCATE trigger, of this table or of another one that is emptied with it, has changed its rows."),
				 errhint("Have the trigger write to tables that are not being emptied, or delete the rows with DELETE.")));
	table->done = true;
}

/*
 * Notes the counts of a table whose rows have been captured, and which is about
 * to be emptied.
 */
void
dg_capture_empty_begin(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	PgStat_TableXactStatus *counts;
	Emptied    *table;

	dg_capture_empty_check();
	if (!pgstat_track_counts)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot empty \"%s\" while track_counts is off", RelationGetRelationName(rel)),
				 errdetail("Only PostgreSQL's counts tell whether triggers write to the table while it is being emptied."),
				 errhint("Set track_counts on, or delete the rows with DELETE.")));
	/* the whole count goes, also that of subtransactions further out */
	counts = pgstat_should_count_relation(rel) ? rel->pgstat_info->trans : NULL;
	dg_capture_balance_corrected(dg_guard_lookup(relid)->root, -dg_capture_balance_deleted(counts, NULL));

	table = note_emptied(relid);
	if (counts == NULL || counts->nest_level != GetCurrentTransactionNestLevel())
		return;
	counts->truncdropped = false;
	table->inserted = counts->tuples_inserted;
	table->updated = counts->tuples_updated;
	table->deleted = counts->tuples_deleted;
}

/*
 * Checks the tables that were emptied in the present subtransaction: fails if
 * one had other rows then than those captured.
 */
void
dg_capture_empty_check(void)
{
	SubTransactionId subid;

	if (tables == NULL)
		return;
	subid = GetCurrentSubTransactionId();
	for (Emptied *table = tables; table != NULL && table->subid == subid; table = table->next)
	{
		if (!table->done)
			check_emptied(table);
	}
}

/*
 * Excuses a table that was emptied earlier in the transaction, and is guarded
 * from now on.
 */
void
dg_capture_empty_excuse(Oid relid)
{
	note_emptied(relid)->done = true;
}

/*
 * Fails if a table was emptied and its rows were not captured.
 */
void
dg_capture_empty_require(Oid relid)
{
	for (Emptied *table = tables; table != NULL; table = table->next)
	{
		if (table->relid == relid && table->done)
			return;
	}
	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_CAPTURE),
			 errmsg("cannot commit: \"%s\" was emptied, and its rows were not kept", get_rel_name(relid)),
			 errdetail("No TRUNCATE trigger of deletion_guard has fired."),
			 errhint("Empty the table with TRUNCATE.")));
}

static void
empty_at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		dg_capture_empty_check();
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (Emptied *table = tables; table != NULL && table->subid == mySubid; table = table->next)
			table->subid = parentSubid;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (tables != NULL && tables->subid == mySubid)
			tables = tables->next;
	}
}

static void
empty_at_xact(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		tables = NULL;
}

/*
 * Makes ready, as the library is loaded, to forget at the end of a transaction what
 * it emptied.
 */
void
dg_capture_empty_init(void)
{
	RegisterSubXactCallback(empty_at_subxact, NULL);
	RegisterXactCallback(empty_at_xact, NULL);
}
