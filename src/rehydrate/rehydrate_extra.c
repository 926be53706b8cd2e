/*
 * rehydrate_extra.c
 *		extra => 'delete': live rows of the tenants that the archive does not have go
 *		to the bin.
 *
 * They go before the archive's rows are written, as one of them may have a unique
 * value that a row of the archive has. Then rows that are yet to be replaced may
 * still refer to them; so the foreign keys' own triggers do not fire, as for what
 * replication applies, and at the end, when all rows are back, no row may be left
 * that refers to one that has gone. Nothing is deleted by cascade and no link
 * is set to null: whatever else would have to change, other tenants' rows above
 * all, makes the call fail.
 *
 * No code of others runs while foreign keys hold nothing back: triggers and rules that
 * fire in a replica, and policies, make the call fail.
 *
 * It is a deletion like any other: kept by the guard, counted by ceilings, under the
 * caller's privileges. Undeleting it takes back what the call has changed.
 *
 * Where it is not certain which rows the archive lacks, nothing is deleted.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteDefine.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "archive/archive.h"
#include "capture/capture.h"
#include "guard/guard.h"
#include "rehydrate/rehydrate_internal.h"

/* how many rows one statement deletes */
#define DELETED_AT_ONCE 1000

/* Where a live row is. */
typedef struct RowPlace
{
	Oid			relid;
	int64		address;
} RowPlace;

/* Rows of a table that the archive does not have. */
typedef struct ExtraRows
{
	DgExtra    *extra;
	bool		replace;		/* rows in the way of the archive's go, too */
	RowPlace   *places;
	int64		size;
	int64		n;
} ExtraRows;

/* ----------------------------------------------------------------------
 * Is it certain?
 * ----------------------------------------------------------------------
 */

pg_noreturn static void
refuse_uncertain(const char *table, const char *why)
{
	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_RESTORE),
			 errmsg("cannot tell which live rows of \"%s\" the archive does not have", table),
			 errdetail_internal("%s.", why),
			 errhint("Nothing was changed. Leave the table out by naming the others in relations, or keep what the archive does not have with extra => 'keep': compare_rows() shows the rows, and DELETE takes them.")));
}

/*
 * Does mapping take from a source's rows what tells their tenant, or give it a value?
 * Then they do not come back as rows of the tenants whose live rows would go.
 */
static bool
tenant_is_mapped(const DgSource *source)
{
	for (int i = 0; i < source->finder->ncolumns; i++)
	{
		bool		has = false;

		for (int j = 0; j < source->ncolumns; j++)
			has |= source->fields[j] >= 0 && strcmp(source->columns[j].name, source->finder->columns[i]) == 0;
		if (!has)
			return true;
	}
	return false;
}

/*
 * Rows that the archive may have and that were not looked at, or whose tenant is
 * not known, may be live.
 */
static void
check_account_is_certain(const DgRestore *call)
{
	const DgExtractPlan *plan = call->plan;
	ListCell   *lc;

	if (call->archive->info->row_security)
		refuse_uncertain(get_rel_name(linitial_oid(plan->targets)),
						 "The archive was made with row security on (pg_dump --enable-row-security)");
	foreach(lc, dg_extract_account(plan))
	{
		DgLeftOut  *left = lfirst(lc);

		if ((left->kind == DG_LEFT_UNKNOWN || left->kind == DG_LEFT_CERTAIN || left->kind == DG_LEFT_NOBODYS) &&
			list_member_oid(plan->targets, left->relid))
			refuse_uncertain(get_rel_name(left->relid), left->problem);
	}
	foreach(lc, plan->sources)
	{
		DgSource   *source = lfirst(lc);

		if (source->counted && !source->gone && source->left_rows > 0)
			refuse_uncertain(get_rel_name(source->target),
							 psprintf("The archive has rows of the tenants in a table that inherited from it, %s, and is gone", source->name));
		if (source->wanted && tenant_is_mapped(source))
			refuse_uncertain(get_rel_name(source->target), "With mapping, its rows come back as those of other tenants");
	}
}

static void
check_table_is_certain(const DgCompared *table)
{
	const char *name = RelationGetRelationName(table->rel);

	if (!dg_guard_is_guarded(table->relid))
		refuse_uncertain(name, "It is not guarded, so deleted rows would be lost");
	if (dg_compare_rowhash_key(table->hash) != NIL)
		return;
	if (OidIsValid(dg_primary_key_index(table->rel)))
		refuse_uncertain(name, "The archive does not have all columns of the primary key");
	if (table->problem != NULL)
		refuse_uncertain(name, psprintf("It has no primary key, and %s", table->problem));
}

/*
 * Triggers and rules that fire although foreign keys' own do not would be somebody's
 * code that no foreign key holds back; so would be policies. The lock keeps others
 * from adding some.
 */
static void
refuse_code(Oid relid)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	TriggerDesc *triggers = rel->trigdesc;
	const char *what = check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED ? "row security applies to you" : NULL;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];
		char	   *schema = get_namespace_name(get_func_namespace(trigger->tgfoid));

		if (!TRIGGER_FOR_DELETE(trigger->tgtype) || strcmp(schema, "deletion_guard") == 0 || strcmp(schema, "deletion_guard_internal") == 0)
			continue;
		if (trigger->tgenabled == TRIGGER_FIRES_ALWAYS || trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA)
			what = psprintf("trigger \"%s\" is set to ALWAYS or REPLICA", trigger->tgname);
	}
	for (int i = 0; rel->rd_rules != NULL && i < rel->rd_rules->numLocks; i++)
	{
		RewriteRule *rule = rel->rd_rules->rules[i];

		if (rule->event == CMD_DELETE && (rule->enabled == RULE_FIRES_ALWAYS || rule->enabled == RULE_FIRES_ON_REPLICA))
			what = "a rule is set to ALWAYS or REPLICA";
	}
	if (what != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot delete rows of \"%s\" that the archive does not have: %s", RelationGetRelationName(rel), what),
				 errhint("Nothing was changed. Say extra => 'keep' and delete them by hand: compare_rows() shows them. Or let a role that bypasses row security make the call, once such triggers and rules are disabled.")));
	table_close(rel, NoLock);
}

/*
 * Does the archive have the rows of the partition that a live row is in, or of
 * what that is a partition of?
 */
static bool
archive_covers(const DgRestore *call, Oid target, Oid leaf)
{
	List	   *ancestors = get_rel_relispartition(leaf) ? get_partition_ancestors(leaf) : NIL;
	ListCell   *lc;

	foreach(lc, call->plan->sources)
	{
		DgSource   *source = lfirst(lc);
		const DgArchiveTable *table = dg_archive_table(call->archive->archive, source->index);

		if (!source->wanted || source->target != target)
			continue;
		if (source->relid == leaf ||
			(list_member_oid(ancestors, source->relid) && dg_archive_parent(call->archive->archive, table->schema, table->name) == NULL))
			return true;
	}
	return false;
}

/* ----------------------------------------------------------------------
 * Which rows
 * ----------------------------------------------------------------------
 */

/*
 * Takes a difference; a DgDifferenceSink. A row that is to be replaced, and has other
 * unique values than the archive's, may be in the way of a row that comes back
 * before, or be referred to by what it has: it goes like an extra one, and the
 * archive's comes back. It is counted as restored.
 */
static void
take_extra_row(void *arg, DgCompared *table, DgDifference what, const DgHashedRow *row)
{
	ExtraRows  *rows = arg;

	if (what != DG_DIFFERENCE_EXTRA && !(rows->replace && what == DG_DIFFERENCE_DIFFERENT && row->in_the_way))
		return;
	if (rows->n == rows->size)
	{
		rows->size = Max(rows->size * 2, 64);
		rows->places = rows->places == NULL ? palloc(rows->size * sizeof(RowPlace)) :
			repalloc_huge(rows->places, rows->size * sizeof(RowPlace));
	}
	rows->places[rows->n++] = (RowPlace)
	{
		row->relid, row->address
	};
	if (what == DG_DIFFERENCE_EXTRA)
		rows->extra->deleted[row->tenant]++;
}

static int
compare_places(const void *a, const void *b)
{
	const RowPlace *left = a;
	const RowPlace *right = b;

	if (left->relid != right->relid)
		return left->relid < right->relid ? -1 : 1;
	return left->address < right->address ? -1 : left->address > right->address;
}

static ExtraRows *
find_extra_rows(DgRestore *call, DgCompare *compare, DgCompared *table)
{
	ExtraRows  *rows = palloc0(sizeof(ExtraRows));
	Oid			leaf = InvalidOid;

	check_table_is_certain(table);
	rows->replace = call->on_conflict == DG_ON_CONFLICT_REPLACE;
	rows->extra = palloc0(sizeof(DgExtra));
	rows->extra->relid = table->relid;
	rows->extra->distance = table->finder->length;
	rows->extra->deleted = palloc0(sizeof(int64) * call->plan->tenants->n);
	dg_compare_table(compare, table, take_extra_row, rows);
	if (rows->n > 0)
		refuse_code(table->relid);
	if (rows->n > 0)
		qsort(rows->places, rows->n, sizeof(RowPlace), compare_places);
	for (int64 i = 0; i < rows->n; i++)
	{
		if (rows->places[i].relid != leaf && !archive_covers(call, table->relid, rows->places[i].relid))
			refuse_uncertain(RelationGetRelationName(table->rel),
							 psprintf("The tenants have rows in \"%s\", a partition that the archive does not have", get_rel_name(rows->places[i].relid)));
		if (rows->places[i].relid != leaf && rows->places[i].relid != table->relid)
			refuse_code(rows->places[i].relid);
		leaf = rows->places[i].relid;
	}
	return rows;
}

/*
 * Rows that a path leads to go before those that it leads through: their tenant
 * is looked up as they go.
 */
static int
farthest_first(const ListCell *a, const ListCell *b)
{
	return ((ExtraRows *) lfirst(b))->extra->distance - ((ExtraRows *) lfirst(a))->extra->distance;
}

/*
 * The live rows of the tenants that the archive does not have, a list of
 * ExtraRows.
 */
static List *
find_extras(DgRestore *call)
{
	DgCompare	compare = {call->archive, call->plan,.addresses = true};
	List	   *extras = NIL;
	int			level = dg_extract_settings();
	ListCell   *lc;

	dg_compare_begin(&compare, false);
	check_account_is_certain(call);
	foreach(lc, compare.tables)
		extras = lappend(extras, find_extra_rows(call, &compare, lfirst(lc)));
	dg_compare_end(&compare);
	AtEOXact_GUC(true, level);
	list_sort(extras, farthest_first);
	return extras;
}

/* ----------------------------------------------------------------------
 * Deleting
 * ----------------------------------------------------------------------
 */

static List *
referrers_of(const ExtraRows *rows)
{
	List	   *referrers = NIL;
	Oid			leaf = InvalidOid;

	for (int64 i = 0; i < rows->n; i++)
	{
		Relation	rel;

		if (rows->places[i].relid == leaf)
			continue;
		leaf = rows->places[i].relid;
		rel = table_open(leaf, AccessShareLock);
		referrers = dg_rehydrate_referrers_add(referrers, rel);
		table_close(rel, NoLock);
	}
	return referrers;
}

/*
 * Deletes some rows of one partition, or of the table if it has none, by the name of
 * either; returns the columns that foreign keys refer to.
 */
static char *
delete_statement(Oid from, List *referrers)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "DELETE FROM %s t WHERE t.tableoid OPERATOR(pg_catalog.=) $1 AND t.ctid OPERATOR(pg_catalog.=) ANY ($2)", dg_own_rows(from));
	dg_rehydrate_referrers_returning(&buf, referrers);
	return buf.data;
}

/*
 * As the caller, who has the right to delete from the table, or, where that is a
 * superuser, as the owner of what the rows are in.
 */
static void
delete_some(Oid relid, const RowPlace *places, int n, List *referrers)
{
	Oid			types[] = {OIDOID, TIDARRAYOID};
	Datum		values[] = {ObjectIdGetDatum(places->relid), (Datum) 0};
	Datum	   *tids = palloc(sizeof(Datum) * n);
	ItemPointerData *pointers = palloc(sizeof(ItemPointerData) * n);
	Oid			from = superuser() ? places->relid : relid;

	for (int i = 0; i < n; i++)
	{
		ItemPointerSet(&pointers[i], DG_TID_BLOCK(places[i].address), DG_TID_OFFSET(places[i].address));
		tids[i] = PointerGetDatum(&pointers[i]);
	}
	values[1] = dg_array(tids, n, TIDOID);
	SPI_connect();
	dg_query(delete_statement(from, referrers), superuser() ? DG_AS_OWNER : DG_AS_CALLER, 2, types, values,
			 .table = from);
	if (SPI_processed != n)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%lld of %d rows of \"%s\" that the archive does not have could not be deleted",
						(long long) (n - (int64) SPI_processed), n, get_rel_name(relid)),
				 errdetail("Another session has changed them meanwhile."),
				 errhint("Nothing was changed. Repeat the call.")));
	dg_rehydrate_referrers_keep(referrers);
	SPI_finish();
}

static void
delete_rows_of_table(DgRestore *call, const ExtraRows *rows)
{
	List	   *referrers = referrers_of(rows);
	int64		begin = 0;

	while (begin < rows->n)
	{
		int64		end = begin + 1;

		while (end < rows->n && end - begin < DELETED_AT_ONCE && rows->places[end].relid == rows->places[begin].relid)
			end++;
		CHECK_FOR_INTERRUPTS();
		delete_some(rows->extra->relid, rows->places + begin, (int) (end - begin), referrers);
		begin = end;
	}
	call->referrers = list_concat(call->referrers, referrers);
}

/*
 * Deletes the live rows of the tenants that the archive does not have.
 */
void
dg_rehydrate_extra_delete(DgRestore *call)
{
	List	   *extras = find_extras(call);
	int			level = NewGUCNestLevel();
	ListCell   *lc;

	(void) set_config_option("session_replication_role", "replica", PGC_SUSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	foreach(lc, extras)
	{
		ExtraRows  *rows = lfirst(lc);

		call->extras = lappend(call->extras, rows->extra);
		if (rows->n == 0)
			continue;
		/* it is the caller's deletion, whoever the tables belong to */
		call->deletion = dg_capture_deletion_current();
		delete_rows_of_table(call, rows);
		pfree(rows->places);
	}
	AtEOXact_GUC(true, level);
}

/*
 * How many rows of a tenant have gone from a table.
 */
int64
dg_rehydrate_extra_rows(const DgRestore *call, Oid relid, int tenant)
{
	ListCell   *lc;

	foreach(lc, call->extras)
	{
		DgExtra    *extra = lfirst(lc);

		if (extra->relid == relid)
			return extra->deleted[tenant];
	}
	return 0;
}
