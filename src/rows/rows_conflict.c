/*
 * rows_conflict.c
 *		Does a live row already have the key of a row that is to come back?
 *
 * Every immediate unique and exclusion constraint is asked before the row is
 * written; rows of transactions in progress are waited for. A live row with
 * the same content in every column is no conflict: the row is there already.
 *
 * Where a conflict is an error, conflicts by deferrable constraints are left to
 * the server, which checks them at the end of the call or of the transaction, as
 * they are set: until then the caller may make room. Where rows are to be
 * skipped or replaced, they are like the others. The server's own
 * function refuses to, so the index is read here.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "storage/lmgr.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "rows/rows_internal.h"

/* conflicts that an error describes */
#define NAMED_CONFLICTS	3

/*
 * The value of on_conflict as a caller gives it.
 */
DgOnConflict
dg_rows_on_conflict(const char *name)
{
	if (strcmp(name, "error") == 0)
		return DG_ON_CONFLICT_ERROR;
	if (strcmp(name, "skip") == 0)
		return DG_ON_CONFLICT_SKIP;
	if (strcmp(name, "replace") == 0)
		return DG_ON_CONFLICT_REPLACE;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized on_conflict \"%s\"", name),
			 errhint("Use \"error\", \"skip\" or \"replace\".")));
	return DG_ON_CONFLICT_ERROR;
}

/*
 * OIDs of the open indexes that can tell of a conflict. Makes them ready to be
 * asked.
 */
List *
dg_rows_arbiters(ResultRelInfo *rri)
{
	List	   *arbiters = NIL;

	for (int i = 0; i < rri->ri_NumIndices; i++)
	{
		Relation	index = rri->ri_IndexRelationDescs[i];
		IndexInfo  *info = rri->ri_IndexRelationInfo[i];

		if (!info->ii_Unique && info->ii_ExclusionOps == NULL)
			continue;
		if (info->ii_Unique && info->ii_UniqueOps == NULL && info->ii_ExclusionOps == NULL)
			BuildSpeculativeIndexInfo(index, info);
		arbiters = lappend_oid(arbiters, RelationGetRelid(index));
	}
	return arbiters;
}

/*
 * Are two rows of one table the same in every column, to the byte?
 */
static bool
same_content(TupleTableSlot *a, TupleTableSlot *b)
{
	TupleDesc	desc = a->tts_tupleDescriptor;

	slot_getallattrs(a);
	slot_getallattrs(b);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
			continue;
		if (a->tts_isnull[i] != b->tts_isnull[i])
			return false;
		if (!a->tts_isnull[i] &&
			!datum_image_eq(a->tts_values[i], b->tts_values[i], att->attbyval, att->attlen))
			return false;
	}
	return true;
}

/*
 * "(id)=(5)" of a row by one of the table's open indexes, palloc'd; NULL where
 * the caller may not see it.
 */
static char *
describe_index_key(ResultRelInfo *rri, EState *estate, int i, TupleTableSlot *slot)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];

	GetPerTupleExprContext(estate)->ecxt_scantuple = slot;
	FormIndexDatum(rri->ri_IndexRelationInfo[i], slot, estate, values, isnull);
	return BuildIndexValueDescription(rri->ri_IndexRelationDescs[i], values, isnull);
}

/*
 * What the live row has: "(place)=(a) of seat_place_key: (id)=(5)", the second
 * its primary key; and if it was not live before.
 */
static char *
describe_conflict(ResultRelInfo *rri, EState *estate, Oid indexid, TupleTableSlot *slot,
				  TupleTableSlot *existing)
{
	StringInfoData buf;
	char	   *primary = NULL;
	bool		isnull;
	TransactionId xmin = DatumGetTransactionId(slot_getsysattr(existing, MinTransactionIdAttributeNumber, &isnull));

	initStringInfo(&buf);
	for (int i = 0; i < rri->ri_NumIndices; i++)
	{
		Relation	index = rri->ri_IndexRelationDescs[i];

		if (RelationGetRelid(index) == indexid)
		{
			char	   *key = describe_index_key(rri, estate, i, slot);

			appendStringInfo(&buf, "%s of %s", key ? key : "a key", RelationGetRelationName(index));
		}
		else if (index->rd_index->indisprimary)
			primary = describe_index_key(rri, estate, i, existing);
	}
	if (primary != NULL)
		appendStringInfo(&buf, ": %s", primary);
	if (TransactionIdIsCurrentTransactionId(xmin))
		appendStringInfoString(&buf, ", written by this transaction");
	return buf.data;
}

/*
 * Are the values that an index has for a row those of its key, as the
 * constraint compares them? For index methods that find more than was asked.
 */
static bool
has_keys_values(Relation index, const Oid *procs, const ScanKeyData *keys, int n,
				const Datum *values, const bool *isnull)
{
	for (int i = 0; i < n; i++)
	{
		if (isnull[i] ||
			!DatumGetBool(OidFunctionCall2Coll(procs[i], index->rd_indcollation[i], values[i], keys[i].sk_argument)))
			return false;
	}
	return true;
}

/*
 * The first row that the index has under these keys and that is live, or will
 * be if a transaction in progress commits; *xwait is then that transaction. False
 * if there is none.
 */
static bool
find_by_index(ResultRelInfo *rri, EState *estate, int i, ScanKey keys, const Oid *procs,
			  TupleTableSlot *existing, TransactionId *xwait)
{
	Relation	index = rri->ri_IndexRelationDescs[i];
	int			n = IndexRelationGetNumberOfKeyAttributes(index);
	SnapshotData dirty;
	IndexScanDesc scan;
	bool		found = false;

	InitDirtySnapshot(dirty);
	scan = dg_index_beginscan(rri->ri_RelationDesc, index, &dirty, n);
	index_rescan(scan, keys, n, NULL, 0);
	while (!found && index_getnext_slot(scan, ForwardScanDirection, existing))
	{
		Datum		values[INDEX_MAX_KEYS];
		bool		isnull[INDEX_MAX_KEYS];

		found = true;
		if (scan->xs_recheck)
		{
			GetPerTupleExprContext(estate)->ecxt_scantuple = existing;
			FormIndexDatum(rri->ri_IndexRelationInfo[i], existing, estate, values, isnull);
			found = has_keys_values(index, procs, keys, n, values, isnull);
		}
	}
	*xwait = TransactionIdIsValid(dirty.xmin) ? dirty.xmin : dirty.xmax;
	index_endscan(scan);
	return found;
}

/*
 * Does a live row conflict with this one by the deferrable constraint behind the
 * rri's index i? *tid is then its place.
 */
static bool
conflicts_deferrably(ResultRelInfo *rri, EState *estate, int i, TupleTableSlot *slot,
					 TupleTableSlot *existing, ItemPointer tid)
{
	Relation	index = rri->ri_IndexRelationDescs[i];
	IndexInfo  *info = rri->ri_IndexRelationInfo[i];
	const Oid  *procs = info->ii_ExclusionOps ? info->ii_ExclusionProcs : info->ii_UniqueProcs;
	const uint16 *strats = info->ii_ExclusionOps ? info->ii_ExclusionStrats : info->ii_UniqueStrats;
	ExprContext *econtext = GetPerTupleExprContext(estate);
	ScanKeyData keys[INDEX_MAX_KEYS];
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
	TransactionId xwait;

	econtext->ecxt_scantuple = slot;
	if (info->ii_Predicate != NIL && !ExecQual(ExecPrepareQual(info->ii_Predicate, estate), econtext))
		return false;
	FormIndexDatum(info, slot, estate, values, isnull);
	for (int k = 0; k < info->ii_NumIndexKeyAttrs; k++)
	{
		if (isnull[k] && !info->ii_NullsNotDistinct)
			return false;
		ScanKeyEntryInitialize(&keys[k], isnull[k] ? SK_ISNULL | SK_SEARCHNULL : 0, k + 1, strats[k],
							   InvalidOid, index->rd_indcollation[k], procs[k], values[k]);
	}
	while (find_by_index(rri, estate, i, keys, procs, existing, &xwait))
	{
		if (!TransactionIdIsValid(xwait))
		{
			*tid = existing->tts_tid;
			return true;
		}
		XactLockTableWait(xwait, rri->ri_RelationDesc, &existing->tts_tid, XLTW_InsertIndex);
	}
	return false;
}

static int
index_number(ResultRelInfo *rri, Oid indexid)
{
	int			i = 0;

	while (RelationGetRelid(rri->ri_IndexRelationDescs[i]) != indexid)
		i++;
	return i;
}

static bool
has_conflict(ResultRelInfo *rri, EState *estate, Oid indexid, TupleTableSlot *slot,
			 TupleTableSlot *existing, ItemPointer tid)
{
	int			i = index_number(rri, indexid);

	ItemPointerSetInvalid(tid);
	if (rri->ri_IndexRelationDescs[i]->rd_index->indimmediate)
		return !dg_exec_check_index_constraints(rri, slot, estate, tid, list_make1_oid(indexid));
	return conflicts_deferrably(rri, estate, i, slot, existing, tid);
}

/*
 * RESTORED if the row may be written; IDENTICAL or CONFLICT otherwise. On a
 * conflict, existing holds the live row and *conflict describes the key,
 * palloc'd in the current context. With "leave", the server will see to conflicts
 * by deferrable constraints.
 */
DgRowOutcome
dg_rows_check_conflict(ResultRelInfo *rri, EState *estate, List *arbiters,
					   TupleTableSlot *slot, TupleTableSlot *existing, bool leave, char **conflict)
{
	ListCell   *lc;

	foreach(lc, arbiters)
	{
		Oid			indexid = lfirst_oid(lc);
		ItemPointerData tid;

		if (!has_conflict(rri, estate, indexid, slot, existing, &tid))
			continue;
		if (!table_tuple_fetch_row_version(rri->ri_RelationDesc, &tid, SnapshotAny, existing))
			elog(ERROR, "row that conflicts in index %u is gone", indexid);
		if (same_content(slot, existing))
			return DG_ROW_IDENTICAL;
		if (leave && !rri->ri_IndexRelationDescs[index_number(rri, indexid)]->rd_index->indimmediate)
			continue;
		*conflict = describe_conflict(rri, estate, indexid, slot, existing);
		return DG_ROW_CONFLICT;
	}
	return DG_ROW_RESTORED;
}

/*
 * Takes note of a conflict that the call will fail with; "conflict" describes
 * the key.
 */
void
dg_rows_conflicts_add(DgRowsConflicts *conflicts, Relation rel, const char *conflict)
{
	if (conflicts->count++ < NAMED_CONFLICTS)
		appendStringInfo(&conflicts->described, "%sTable \"%s\" has another row with %s.",
						 conflicts->described.len > 0 ? " " : "", RelationGetRelationName(rel), conflict);
}

/*
 * Fails if there were conflicts. "replacing" says whether live rows were to be
 * replaced; hint, unless it is NULL, what to do.
 */
void
dg_rows_conflicts_refuse(const DgRowsConflicts *conflicts, bool replacing, const char *hint)
{
	if (conflicts->count == 0)
		return;
	ereport(ERROR,
			(errcode(DG_ERRCODE_ROW_CONFLICT),
			 errmsg_plural("%lld row cannot be restored: a different live row has its key",
						   "%lld rows cannot be restored: different live rows have their keys",
						   (unsigned long) conflicts->count, (long long) conflicts->count),
			 errdetail("%s%s", conflicts->described.data,
					   conflicts->count > NAMED_CONFLICTS ? " There are more." : ""),
			 hint != NULL ? errhint("%s", hint) : replacing ?
			 errhint("Nothing was restored. A row takes the place of the live row with its primary key only, if that is of the same tenant or of none, and if foreign keys do not refer to a key that would change. DELETE the live rows that are in the way, which go to the bin, or give them other keys, and call again; with on_conflict => 'skip' the live rows stay and the others come back.") :
			 errhint("Nothing was restored. With on_conflict => 'skip' the live rows stay and the others come back; with 'replace' those go to the bin first that have the primary key of a saved row of their tenant.")));
}
