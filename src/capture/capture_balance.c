/*
 * capture_balance.c
 *		A double entry: what left guarded tables is what was kept.
 *
 * Triggers are how rows get into the bin, and there are ways to delete rows that
 * fire none: heap can be called directly, as Apache AGE's DELETE does. But heap
 * counts, in every route there is: each row that it deletes is in the server's
 * own statistics of the transaction, which the server merges and undoes with
 * subtransactions. When a transaction commits or is prepared, these counts are
 * compared, for each enrolled table with its partitions, with what the triggers
 * have captured. If they differ, the transaction fails.
 *
 * The other side of the account is kept here, for each enrolled table and each
 * subtransaction: rows that were captured, rows that were moved to another
 * partition (heap deletes them there, capture_move.c counts them), and
 * corrections: for what was deleted before a table was enrolled or became a
 * partition, for counts that a TRUNCATE sets to zero (capture_empty.c), and for
 * rows that INSERT ... ON CONFLICT has put into the table and taken back at
 * once, having lost a race; heap counts those as deleted too.
 *
 * Not all of that is always seen: the library may be loaded late, another one may
 * keep calls from it, several queries may work at once. So a difference is looked
 * into before it counts: capture_recount.c counts the rows that bear the
 * transaction's marks.
 *
 * With track_counts off the server does not count, and nothing is compared;
 * verify() says so. Only a superuser can turn it off.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "nodes/execnodes.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pgstat_internal.h"
#include "utils/rel.h"

#include "capture/capture_internal.h"
#include "guard/guard.h"

/* A table, and which account its deletions were last seen to belong to. */
typedef struct Member
{
	Oid			relid;
	Oid			root;			/* InvalidOid: none */
	int64		deleted;
	struct Member *next;
} Member;

static Member *members = NULL;

/* ----------------------------------------------------------------------
 * The server's side
 * ----------------------------------------------------------------------
 */

/*
 * The enrolled table that a table belongs to, or InvalidOid.
 */
static Oid
root_of(Oid relid)
{
	DgGuard    *guard;

	if (relid < FirstNormalObjectId)
		return InvalidOid;
	guard = dg_guard_lookup(relid);
	return guard->guarded ? guard->root : InvalidOid;
}

/*
 * Rows that the transaction has deleted from an enrolled table and its
 * partitions; as dg_capture_balance_deleted().
 */
static int64
deleted_of(Oid root, int64 *written)
{
	PgStat_SubXactStatus *level = NULL;
	PgStat_TableXactStatus *counts = NULL;
	int64		deleted = 0;

	while ((counts = dg_capture_balance_next(&level, counts)) != NULL)
	{
		if (root_of(DG_COUNTED_RELID(counts)) == root)
			deleted += dg_capture_balance_deleted(counts, written);
	}
	return deleted;
}

/* ----------------------------------------------------------------------
 * Tables that join or leave
 * ----------------------------------------------------------------------
 */

static Member *
find_member(Oid relid)
{
	Member	   *member = members;

	while (member != NULL && member->relid != relid)
		member = member->next;
	return member;
}

static Member *
add_member(Oid relid, Oid root)
{
	Member	   *member = MemoryContextAllocZero(TopTransactionContext, sizeof(Member));

	member->relid = relid;
	member->root = root;
	member->next = members;
	members = member;
	return member;
}

/*
 * Looks at one table that rows were deleted from.
 */
static void
look_at(const PgStat_TableXactStatus *counts)
{
	Oid			relid = DG_COUNTED_RELID(counts);
	Oid			root = root_of(relid);
	Member	   *member = find_member(relid);

	if (member == NULL)
		member = add_member(relid, root);
	member->deleted = dg_capture_balance_deleted(counts, NULL);
	if (!OidIsValid(root) || root == member->root)
		return;
	if (OidIsValid(member->root))
		dg_capture_balance_corrected(member->root, -member->deleted);
	dg_capture_balance_corrected(root, member->deleted);
	if (counts->truncdropped)
		dg_capture_empty_excuse(relid);
	member->root = root;
}

/*
 * Partitions that were dropped: the server has forgotten what was deleted from
 * them.
 */
static void
leave_dropped(void)
{
	for (Member *member = members; member != NULL; member = member->next)
	{
		if (OidIsValid(member->root) && get_rel_relkind(member->relid) == '\0')
		{
			dg_capture_balance_corrected(member->root, -member->deleted);
			member->root = InvalidOid;
		}
	}
}

/*
 * Tables may be about to become guarded, partitions of others, or nothing any
 * more; or they just have. Called before and after. What was deleted from a table
 * that joins is nothing that had to be kept, and what was kept of one that leaves
 * stays in the bin.
 */
void
dg_capture_balance_look(void)
{
	PgStat_SubXactStatus *level = NULL;
	PgStat_TableXactStatus *counts = NULL;

	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()) || !dg_installed())
		return;
	while ((counts = dg_capture_balance_next(&level, counts)) != NULL)
	{
		if (DG_COUNTED_RELID(counts) >= FirstNormalObjectId &&
			(counts->truncdropped || dg_capture_balance_deleted(counts, NULL) > 0) &&
			get_rel_relkind(DG_COUNTED_RELID(counts)) != '\0')
			look_at(counts);
	}
	leave_dropped();
}

/*
 * The guard of an enrolled table, with these partitions, is taken off. Until the
 * end of the transaction they belong to it: if it is put on again, what was
 * deleted in between is missed.
 */
void
dg_capture_balance_leave(Oid root, List *relids)
{
	ListCell   *lc;

	foreach(lc, relids)
	{
		if (find_member(lfirst_oid(lc)) == NULL)
			(void) add_member(lfirst_oid(lc), root);
	}
}

/* ----------------------------------------------------------------------
 * INSERT ... ON CONFLICT
 * ----------------------------------------------------------------------
 */

static bool
is_foreign(PlanState *plan, void *context)
{
	return IsA(plan, CustomScanState) || IsA(plan, ForeignScanState) || IsA(plan, FunctionScanState) ||
		planstate_tree_walker(plan, is_foreign, context);
}

static Oid
upsert_root(PlanState *plan)
{
	ModifyTableState *state = (ModifyTableState *) plan;

	if (!IsA(plan, ModifyTableState) ||
		((ModifyTable *) plan->plan)->onConflictAction == ONCONFLICT_NONE || !dg_installed())
		return InvalidOid;
	return root_of(RelationGetRelid(state->rootResultRelInfo->ri_RelationDesc));
}

/*
 * Remembers the counts before a query runs, or runs on, if it is an INSERT ...
 * ON CONFLICT into a guarded table.
 */
DgUpsert
dg_capture_balance_upsert_begin(QueryDesc *query)
{
	DgUpsert	upsert = {InvalidOid};

	if (query->operation != CMD_INSERT)
		return upsert;
	upsert.root = upsert_root(query->planstate);
	if (OidIsValid(upsert.root))
	{
		upsert.expected = dg_capture_account_expected(upsert.root);
		upsert.deleted = deleted_of(upsert.root, &upsert.written);
		upsert.processed = query->estate->es_processed;
	}
	return upsert;
}

/*
 * Corrects the account after an INSERT ... ON CONFLICT has run. A row that it
 * has put into the table and taken back counts once as inserted and once as
 * deleted, and not among those that the query was about. Where that does not
 * explain the difference, somebody else has a part in it.
 */
void
dg_capture_balance_upsert_end(const DgUpsert *upsert, QueryDesc *query)
{
	int64		written = -upsert->written;
	int64		more;

	if (!OidIsValid(upsert->root))
		return;
	more = deleted_of(upsert->root, &written) - upsert->deleted -
		(dg_capture_account_expected(upsert->root) - upsert->expected);
	if (more != 0 && more == written - (int64) (query->estate->es_processed - upsert->processed) &&
		!is_foreign(query->planstate, NULL))
		dg_capture_balance_corrected(upsert->root, more);
}

/* ----------------------------------------------------------------------
 * The comparison
 * ----------------------------------------------------------------------
 */

/*
 * Does the table itself say that all deleted rows were kept? Moves may have gone
 * uncounted where a query was not seen.
 */
static bool
is_explained(Oid root)
{
	DgAccount	sum = dg_capture_account_sum(root);
	int64		moved;
	int64		deleted;

	if (!dg_capture_recount(root, &deleted, &moved))
		return false;
	return deleted + moved == sum.kept + sum.moved + sum.corrected ||
		deleted == sum.kept + sum.corrected;
}

/*
 * Fails if the server has counted another number of deleted rows than were kept.
 */
static void
compare_counts(Oid root, int64 deleted)
{
	int64		expected = dg_capture_account_expected(root);

	if (deleted == expected || is_explained(root))
		return;
	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_CAPTURE),
			 errmsg("cannot commit: " INT64_FORMAT " rows of \"%s\" were deleted, " INT64_FORMAT " of them were kept",
					deleted, get_rel_name(root), expected),
			 errdetail("PostgreSQL's own count of the rows that this transaction has deleted from the table differs from those that went to the recycle bin or to another partition."),
			 errhint("Nothing is lost. Something has deleted rows without firing the guard triggers: they are disabled, or it is code such as Cypher's DELETE in Apache AGE. Enable them, and delete with DELETE; or take the guard off with unguard_table().")));
}

/*
 * Compares the accounts of one enrolled table, whose guard is to be taken off.
 */
void
dg_capture_balance_check(Oid root)
{
	dg_capture_empty_check();
	if (dg_capture_account_is_counted())
		compare_counts(root, deleted_of(root, NULL));
}

/*
 * Compares all accounts, of those tables too of which rows were kept and none
 * deleted.
 */
static void
check_all(void)
{
	PgStat_SubXactStatus *level = NULL;
	PgStat_TableXactStatus *counts = NULL;

	leave_dropped();
	while ((counts = dg_capture_balance_next(&level, counts)) != NULL)
	{
		Oid			root;

		if ((counts->tuples_deleted == 0 && !counts->truncdropped) ||
			DG_COUNTED_RELID(counts) < FirstNormalObjectId || !dg_installed())
			continue;
		root = root_of(DG_COUNTED_RELID(counts));
		if (!OidIsValid(root))
			continue;
		dg_capture_account_of(root)->deleted += counts->tuples_deleted;
		/* pg_restore may empty a table that has got no triggers yet */
		if (counts->truncdropped && dg_guard_is_complete(DG_COUNTED_RELID(counts)))
			dg_capture_empty_require(DG_COUNTED_RELID(counts));
	}
	for (DgAccount *account = dg_capture_account_first(); account != NULL; account = account->next)
	{
		if (dg_installed() && root_of(account->root) == account->root)
			compare_counts(account->root, account->deleted);
	}
}

/* ----------------------------------------------------------------------
 * Transactions
 * ----------------------------------------------------------------------
 */

static void
balance_at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		dg_capture_account_pass_on(mySubid, parentSubid);
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		dg_capture_account_drop(mySubid);
		members = NULL;
	}
}

static void
balance_at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
	{
		if (!TransactionIdIsValid(GetTopTransactionIdIfAny()) || !dg_on_duty())
			return;
		dg_capture_empty_check();
		if (dg_capture_account_is_counted())
			check_all();
		return;
	}
	dg_capture_account_reset();
	members = NULL;
}

/*
 * Makes ready, as the library is loaded, to forget at the end of a transaction what
 * it counted.
 */
void
dg_capture_balance_init(void)
{
	RegisterSubXactCallback(balance_at_subxact, NULL);
	RegisterXactCallback(balance_at_xact, NULL);
}
