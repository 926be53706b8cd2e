/*
 * bin_storage.c
 *		How bin tables are stored: in heaps, but for what takes rows out of them.
 *
 * This is a table access method of its own, heap's with a few functions put in
 * place of others. Nothing that goes through the access method deletes, updates
 * or truncates rows away, whatever has become of the table's triggers, its name
 * or its schema, and whether or not a statement is behind it. The extension
 * itself takes rows out by calling heap (bin_scan.c). VACUUM removes what is
 * dead, and VACUUM FULL and CLUSTER copy the rest, as ever.
 *
 * Tools that look for heap's name before they touch pages (pg_surgery) keep off.
 * What a bin keeps out of line is stored in the same way, for their sake: no
 * statement writes a TOAST table anyhow, and heap itself goes past the access method.
 *
 * A bin that was restored without its access method (pg_restore
 * --no-table-access-method) is an ordinary heap: its rows can be brought back, new
 * ones go to another.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "catalog/pg_namespace.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "bin/bin_internal.h"

PG_FUNCTION_INFO_V1(dg_bin_handler);

static TableAmRoutine routine;

pg_noreturn static void
refuse_removal(Relation rel)
{
	ereport(ERROR,
			(errcode(DG_ERRCODE_PROTECTED_STORE),
			 errmsg("\"%s\" is a bin of deletion_guard: its rows are not deleted or changed", RelationGetRelationName(rel)),
			 errhint("Bring rows back with deletion_guard.undelete(); destroy them with deletion_guard.purge() and a signed token.")));
}

/*
 * A new table gets its first file, or one that is there another, as TRUNCATE does.
 */
static void
set_new_file(Relation rel, const DgFileLocator *locator, char persistence, TransactionId *xid, MultiXactId *mxid)
{
	bool		created = DG_SAME_FILE(*locator, rel->DG_RD_LOCATOR);

	if (created && RelationGetNamespace(rel) != PG_TOAST_NAMESPACE &&
		strcmp(get_namespace_name(RelationGetNamespace(rel)), "deletion_guard_bin") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("access method \"deletion_guard_bin\" is for the bin tables of deletion_guard")));
	if (!created && RelationGetNumberOfBlocks(rel) > 0)
		refuse_removal(rel);
	GetHeapamTableAmRoutine()->DG_SET_NEW_FILE(rel, locator, persistence, xid, mxid);
}

static void
truncate_file(Relation rel)
{
	if (RelationGetNumberOfBlocks(rel) > 0)
		refuse_removal(rel);
	GetHeapamTableAmRoutine()->relation_nontransactional_truncate(rel);
}

static Oid
toast_storage(Relation rel)
{
	return rel->rd_rel->relam;
}

/*
 * Indexes of TOAST tables. Heap reads a table for them as it reads its own only.
 */
static double
build_index(Relation rel, Relation index, struct IndexInfo *info, bool allow_sync, bool anyvisible, bool progress,
			BlockNumber start, BlockNumber nblocks, IndexBuildCallback callback, void *state, TableScanDesc scan)
{
	double		rows = 0;

	rel->rd_tableam = GetHeapamTableAmRoutine();
	PG_TRY();
	{
		rows = rel->rd_tableam->index_build_range_scan(rel, index, info, allow_sync, anyvisible, progress,
													   start, nblocks, callback, state, scan);
	}
	PG_FINALLY();
	{
		rel->rd_tableam = &routine;
	}
	PG_END_TRY();
	return rows;
}

static void
validate_index(Relation rel, Relation index, struct IndexInfo *info, Snapshot snapshot, struct ValidateIndexState *state)
{
	rel->rd_tableam = GetHeapamTableAmRoutine();
	PG_TRY();
	{
		rel->rd_tableam->index_validate_scan(rel, index, info, snapshot, state);
	}
	PG_FINALLY();
	{
		rel->rd_tableam = &routine;
	}
	PG_END_TRY();
}

/*
 * The access method of bin tables.
 */
const TableAmRoutine *
dg_bin_storage(void)
{
	if (routine.type == T_TableAmRoutine)
		return &routine;
	routine = *GetHeapamTableAmRoutine();

	/*
	 * their parameters differ between versions; all begin with the table, and
	 * none returns
	 */
	routine.tuple_delete = (void *) refuse_removal;
	routine.tuple_update = (void *) refuse_removal;
	routine.DG_SET_NEW_FILE = set_new_file;
	routine.relation_nontransactional_truncate = truncate_file;
	routine.relation_toast_am = toast_storage;
	routine.index_build_range_scan = build_index;
	routine.index_validate_scan = validate_index;
	return &routine;
}

/*
 * Are the table's pages heap's?
 */
bool
dg_bin_is_heap(Relation rel)
{
	return rel->rd_tableam == GetHeapamTableAmRoutine() || rel->rd_tableam == &routine;
}

/*
 * deletion_guard_bin, as CREATE ACCESS METHOD wants it.
 */
Datum
dg_bin_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(dg_bin_storage());
}
