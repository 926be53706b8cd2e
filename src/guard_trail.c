/*
 * guard_trail.c
 *		Which rows a DELETE has taken, without a transition table.
 *
 * A transition table costs dearly where many rows go: the server fetches each
 * one again once it is deleted, and copies it, with many others into a
 * temporary file, for our trigger to read it from there. But a deleted row is
 * still where it was, with the marks of the transaction and the command that
 * deleted it. Who knows where to look needs no copy.
 *
 * The executor's ModifyTable node is handed the rows to delete one by one, by
 * address. Where that is all there is to a query, we note the addresses as they pass
 * (the "trail") and turn the transition table off, in the executor's own
 * copies. The trigger then goes along the trail, page by page, and takes the rows that
 * bear the marks. One that does not was left by a BEFORE trigger, or is another
 * session's deletion, or was updated by another session, and then it is the
 * newer version that was deleted, or none.
 *
 * The executor counts the rows that it deletes. If the trail leads to any other
 * number of rows, the statement fails.
 *
 * Everything else uses the transition table: joins, which may come to a row
 * more than once; partitioned tables, whose trigger wants rows of the root's
 * shape; MERGE; queries of several parts; tables with another trigger that
 * reads the transition table; statements that began before the library was
 * loaded.
 *
 * The queries of a foreign key leave their triggers to the query that fired
 * them. That is where their trails go, one for each table.
 */
#include "bin.h"
#include "guard.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* The rows that queries have come to in one table. */
typedef struct Trail
{
	Oid			relid;
	const EState *firing;		/* of the query whose end fires the trigger */
	TransactionId xid;			/* that the rows were deleted by */
	uint64		deleted;		/* rows, as the executor has counted */
	DgTidLog   *log;
	MemoryContext context;
	MemoryContextCallback callback;
	struct Trail *next;
} Trail;

/* A query that leaves a trail. */
typedef struct TrailQuery
{
	PlanState  *plan;			/* that finds the rows */
	ExecProcNodeMtd find_row;	/* its own */
	AttrNumber	address;		/* column of what it finds */
	Oid			relid;
	const EState *estate;
	const EState *firing;
	MemoryContext context;		/* of the trail */
	MemoryContextCallback callback;
	struct TrailQuery *next;
} TrailQuery;

static Trail *trails = NULL;
static TrailQuery *queries = NULL;

/* ----------------------------------------------------------------------
 * Leaving a trail
 * ----------------------------------------------------------------------
 */

static void
forget_trail(void *arg)
{
	Trail	  **trail = &trails;

	while (*trail != NULL && *trail != arg)
		trail = &(*trail)->next;
	if (*trail != NULL)
		*trail = (*trail)->next;
}

static void
forget_query(void *arg)
{
	TrailQuery **query = &queries;

	while (*query != NULL && *query != arg)
		query = &(*query)->next;
	if (*query != NULL)
		*query = (*query)->next;
}

/*
 * A trail in a table, or in any (InvalidOid).
 */
static Trail *
find_trail(Oid relid, const EState *firing)
{
	Trail	   *trail = trails;

	while (trail != NULL && (trail->firing != firing || (OidIsValid(relid) && trail->relid != relid)))
		trail = trail->next;
	return trail;
}

static Trail *
begin_trail(TrailQuery *query)
{
	MemoryContext context = AllocSetContextCreate(query->context, "deletion_guard trail",
												  ALLOCSET_SMALL_SIZES);
	Trail	   *trail = MemoryContextAllocZero(context, sizeof(Trail));

	trail->relid = query->relid;
	trail->firing = query->firing;
	trail->context = context;
	trail->log = dg_tidlog_begin(context);
	trail->callback.func = forget_trail;
	trail->callback.arg = trail;
	MemoryContextRegisterResetCallback(context, &trail->callback);
	trail->next = trails;
	trails = trail;
	return trail;
}

static Trail *
trail_of(TrailQuery *query)
{
	Trail	   *trail = find_trail(query->relid, query->firing);

	return trail != NULL ? trail : begin_trail(query);
}

/*
 * In place of the plan's own function: finds the next row to delete, and
 * notes it.
 */
static TupleTableSlot *
find_and_note(PlanState *plan)
{
	TrailQuery *query = queries;
	TupleTableSlot *slot;
	Datum		address;
	bool		isnull;

	while (query != NULL && query->plan != plan)
		query = query->next;
	if (query == NULL)
		elog(ERROR, "a query has lost its trail");
	slot = query->find_row(plan);
	if (TupIsNull(slot))
		return slot;
	address = ExecGetJunkAttribute(slot, query->address, &isnull);
	if (!isnull)
		dg_tidlog_add(trail_of(query)->log, query->estate->es_output_cid,
					  (ItemPointer) DatumGetPointer(address));
	return slot;
}

/*
 * Does a plan come to each row of rel at most once?
 */
static bool
finds_rows_once(PlanState *plan, Relation rel)
{
	switch (nodeTag(plan))
	{
		case T_SeqScanState:
		case T_IndexScanState:
		case T_BitmapHeapScanState:
		case T_TidScanState:
		case T_TidRangeScanState:
			return ((ScanState *) plan)->ss_currentRelation == rel;
		case T_HashJoinState:
		case T_MergeJoinState:
		case T_NestLoopState:
			/* such a join is over with an outer row after the first inner one */
			return (((JoinState *) plan)->jointype == JOIN_SEMI || ((JoinState *) plan)->jointype == JOIN_ANTI) &&
				finds_rows_once(outerPlanState(plan), rel);
		default:
			return false;
	}
}

/*
 * Is our trigger the only one that wants the transition table of a DELETE?
 */
static bool
is_only_reader(const TriggerDesc *triggers)
{
	int			readers = 0;
	bool		ours = false;

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_DELETE(trigger->tgtype) && trigger->tgoldtable != NULL)
		{
			readers++;
			if (strcmp(trigger->tgname, DG_TRIGGER_CAPTURE) == 0)
				ours = true;
		}
	}
	return ours && readers == 1;
}

/*
 * Is our row trigger, which leaves everything to the statement trigger, the
 * only one that a deleted row could fire?
 */
static bool
fires_no_row_trigger(const TriggerDesc *triggers)
{
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (TRIGGER_TYPE_MATCHES(trigger->tgtype, TRIGGER_TYPE_ROW, TRIGGER_TYPE_AFTER, TRIGGER_TYPE_DELETE) &&
			(strcmp(trigger->tgname, DG_TRIGGER_CAPTURE_ROW) != 0 ||
			 trigger->tgenabled != TRIGGER_FIRES_ON_REPLICA))
			return false;
	}
	return true;
}

static bool
may_leave_trail(QueryDesc *query)
{
	ModifyTableState *state = (ModifyTableState *) query->planstate;
	ResultRelInfo *target = state->resultRelInfo;
	Relation	rel = target->ri_RelationDesc;

	return query->plannedstmt->canSetTag && query->estate->es_auxmodifytables == NIL &&
		state->mt_nrels == 1 && state->rootResultRelInfo == target &&
		rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_tableam == GetHeapamTableAmRoutine() &&
		is_only_reader(target->ri_TrigDesc) &&
		finds_rows_once(outerPlanState(state), rel) &&
		dg_guard_lookup(RelationGetRelid(rel))->guarded;
}

/*
 * A DELETE has been started. If it can, it leaves a trail from here on.
 */
void
dg_trail_prepare(QueryDesc *query)
{
	ModifyTableState *state = (ModifyTableState *) query->planstate;
	bool		fires = !(query->estate->es_top_eflags & EXEC_FLAG_SKIP_TRIGGERS);
	EState	   *firing = fires ? query->estate : dg_statement_firing();
	TrailQuery *leaving;

	if (!IsA(state, ModifyTableState) || state->operation != CMD_DELETE ||
		state->mt_transition_capture == NULL || firing == NULL || !may_leave_trail(query))
		return;

	leaving = MemoryContextAllocZero(query->estate->es_query_cxt, sizeof(TrailQuery));
	leaving->plan = outerPlanState(state);
	leaving->find_row = leaving->plan->ExecProcNodeReal;
	leaving->address = state->resultRelInfo->ri_RowIdAttNo;
	leaving->relid = RelationGetRelid(state->resultRelInfo->ri_RelationDesc);
	leaving->estate = query->estate;
	leaving->firing = firing;
	leaving->context = firing->es_query_cxt;
	leaving->callback.func = forget_query;
	leaving->callback.arg = leaving;
	MemoryContextRegisterResetCallback(query->estate->es_query_cxt, &leaving->callback);
	leaving->next = queries;
	queries = leaving;

	ExecSetExecProcNode(leaving->plan, find_and_note);
	state->mt_transition_capture->tcs_delete_old_table = false;
	if (fires_no_row_trigger(state->resultRelInfo->ri_TrigDesc))
		state->resultRelInfo->ri_TrigDesc->trig_delete_after_row = false;
}

/*
 * A query has run, or has run on: notes how many rows it has deleted since.
 */
void
dg_trail_ran(QueryDesc *query)
{
	TrailQuery *leaving = queries;
	Trail	   *trail;

	while (leaving != NULL && leaving->estate != query->estate)
		leaving = leaving->next;
	if (leaving == NULL || query->estate->es_processed == 0)
		return;
	trail = trail_of(leaving);
	trail->deleted += query->estate->es_processed;
	trail->xid = GetCurrentTransactionIdIfAny();
}

/*
 * Was a DELETE, or a MERGE, of a guarded table stopped before it came to its
 * end, without a trail?
 */
static bool
was_stopped(QueryDesc *query)
{
	ModifyTableState *state = (ModifyTableState *) query->planstate;

	return IsA(state, ModifyTableState) && !state->mt_done && query->estate->es_processed > 0 &&
		(state->operation == CMD_DELETE || state->operation == CMD_MERGE) &&
		state->mt_transition_capture != NULL && state->mt_transition_capture->tcs_delete_old_table &&
		dg_guard_lookup(RelationGetRelid(state->rootResultRelInfo->ri_RelationDesc))->guarded;
}

/*
 * The triggers that a query has fired are done. Of a query that was stopped once
 * it had returned as many rows as its caller wants, statement triggers do not
 * fire (SPI can do that, and with it PL/Perl and PL/Python). Its rows are still on the
 * trail; where there is none, we cannot know them.
 */
void
dg_trail_finish(QueryDesc *query)
{
	Trail	   *trail;

	while ((trail = find_trail(InvalidOid, query->estate)) != NULL)
	{
		Relation	rel = table_open(trail->relid, NoLock);

		dg_bin_capture_trail(rel);
		table_close(rel, NoLock);
	}
	if (was_stopped(query))
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot keep the rows that this statement has deleted from \"%s\"",
						RelationGetRelationName(((ModifyTableState *) query->planstate)->rootResultRelInfo->ri_RelationDesc)),
				 errdetail("It was stopped after the first rows that it returned, and no statement trigger has fired."),
				 errhint("Let it return all of its rows.")));
}

/* ----------------------------------------------------------------------
 * Going along a trail
 * ----------------------------------------------------------------------
 */

static inline int
compare_rows(const DgTidEntry *a, const DgTidEntry *b)
{
	if (a->address != b->address)
		return a->address < b->address ? -1 : 1;
	return a->cid < b->cid ? -1 : a->cid > b->cid;
}

#define ST_SORT sort_rows
#define ST_ELEMENT_TYPE DgTidEntry
#define ST_COMPARE(a, b) compare_rows(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

struct DgTrailWalk
{
	Trail	   *trail;
	Relation	rel;
	BufferAccessStrategy strategy;
	uint64		found;			/* rows */

	/* a stretch of the trail, in the order of the table */
	DgTidEntry *rows;
	int			size;
	int			nrows;
	int			row;			/* to look at next */

	/* those of its rows that are on one page */
	Buffer		buffer;
	int			page_begin;
	int			page_end;
	bool		marked[MaxHeapTuplesPerPage];
	HeapTupleData tuple;
};

/*
 * Begins to walk along the trail that leads to the deleted rows of rel, for the
 * trigger that fires now; NULL if there is none. A trail is walked once.
 */
DgTrailWalk *
dg_trail_walk(Relation rel)
{
	Trail	   *trail = find_trail(RelationGetRelid(rel), dg_statement_firing());
	DgTrailWalk *walk;

	if (trail == NULL)
		return NULL;
	forget_trail(trail);
	walk = palloc0(sizeof(DgTrailWalk));
	walk->trail = trail;
	walk->rel = rel;
	/* a large table passes through a ring of buffers, as in a scan */
	if (RelationGetNumberOfBlocks(rel) > NBuffers / 4)
		walk->strategy = GetAccessStrategy(BAS_BULKREAD);
	walk->size = Min(dg_tidlog_count(trail->log), work_mem * (int64) 1024 / sizeof(DgTidEntry));
	walk->rows = palloc(sizeof(DgTidEntry) * walk->size);
	dg_tidlog_rewind(trail->log);
	return walk;
}

/*
 * Reads the next stretch of the trail; false if it has ended. The queries of a
 * foreign key come to the same pages again and again: in the order of the
 * table, each page is looked at once for all of them.
 */
static bool
read_rows(DgTrailWalk *walk)
{
	walk->row = walk->page_begin = walk->page_end = 0;
	walk->nrows = 0;
	while (walk->nrows < walk->size && dg_tidlog_next(walk->trail->log, &walk->rows[walk->nrows]))
		walk->nrows++;
	sort_rows(walk->rows, walk->nrows);
	return walk->nrows > 0;
}

/*
 * Does a row bear the marks of a command? The caller holds a lock on its buffer.
 */
static bool
is_marked(const DgTrailWalk *walk, CommandId cid, HeapTupleHeader row)
{
	return (row->t_infomask & HEAP_XMAX_INVALID) == 0 && !HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask) &&
		TransactionIdEquals(HeapTupleHeaderGetUpdateXid(row), walk->trail->xid) &&
		HeapTupleHeaderGetCmax(row) == cid;
}

/*
 * Makes walk->tuple the row at an address of the page; false if there is none
 * any more.
 */
static bool
get_row(DgTrailWalk *walk, const DgTidEntry *entry)
{
	HeapTuple	tuple = &walk->tuple;
	Page		page = BufferGetPage(walk->buffer);
	ItemId		item;

	ItemPointerSet(&tuple->t_self, DG_TID_BLOCK(entry->address), DG_TID_OFFSET(entry->address));
	if (DG_TID_OFFSET(entry->address) > PageGetMaxOffsetNumber(page))
		return false;
	item = PageGetItemId(page, DG_TID_OFFSET(entry->address));
	if (!ItemIdIsNormal(item))
		return false;
	tuple->t_len = ItemIdGetLength(item);
	tuple->t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple->t_tableOid = RelationGetRelid(walk->rel);
	return true;
}

static void
release_page(DgTrailWalk *walk)
{
	if (BufferIsValid(walk->buffer))
		ReleaseBuffer(walk->buffer);
	walk->buffer = InvalidBuffer;
}

/*
 * Goes to the page of the next row, and looks at all rows that are on it.
 */
static void
read_page(DgTrailWalk *walk)
{
	BlockNumber block = DG_TID_BLOCK(walk->rows[walk->row].address);
	int			i = walk->row;

	release_page(walk);
	walk->page_begin = i;
	walk->buffer = ReadBufferExtended(walk->rel, MAIN_FORKNUM, block, RBM_NORMAL, walk->strategy);
	LockBuffer(walk->buffer, BUFFER_LOCK_SHARE);
	for (; i < walk->nrows && i - walk->page_begin < MaxHeapTuplesPerPage &&
		 DG_TID_BLOCK(walk->rows[i].address) == block; i++)
		walk->marked[i - walk->page_begin] = get_row(walk, &walk->rows[i]) &&
			is_marked(walk, walk->rows[i].cid, walk->tuple.t_data);
	LockBuffer(walk->buffer, BUFFER_LOCK_UNLOCK);
	walk->page_end = i;
}

/*
 * Looks for the version of a row that the command deleted, among those that
 * other sessions have made of it since; false if there is none.
 */
static bool
find_newer_version(DgTrailWalk *walk, const DgTidEntry *entry, TupleTableSlot *slot)
{
	TransactionId updated_by = InvalidTransactionId;
	ItemPointerData tid;
	bool		marked = false;
	bool		last = false;

	ItemPointerSet(&tid, DG_TID_BLOCK(entry->address), DG_TID_OFFSET(entry->address));
	while (!last)
	{
		Buffer		buffer;
		HeapTupleHeader row;

		if (!table_tuple_fetch_row_version(walk->rel, &tid, SnapshotAny, slot))
			return false;
		buffer = ((BufferHeapTupleTableSlot *) slot)->buffer;
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		row = ((HeapTupleTableSlot *) slot)->tuple->t_data;
		if (TransactionIdIsValid(updated_by) &&
			!TransactionIdEquals(HeapTupleHeaderGetXmin(row), updated_by))
			last = true;		/* another row has taken its place */
		else
		{
			marked = is_marked(walk, entry->cid, row);
			last = marked || (row->t_infomask & HEAP_XMAX_INVALID) != 0 ||
				HeapTupleHeaderIsOnlyLocked(row) || HeapTupleHeaderIndicatesMovedPartitions(row) ||
				ItemPointerEquals(&tid, &row->t_ctid);
			updated_by = HeapTupleHeaderGetUpdateXid(row);
			tid = row->t_ctid;
		}
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	return marked;
}

/*
 * The next deleted row; false if there is none. Not in the order in which they
 * were deleted.
 */
bool
dg_trail_next(DgTrailWalk *walk, TupleTableSlot *slot)
{
	while (walk->row < walk->nrows || read_rows(walk))
	{
		const DgTidEntry *entry = &walk->rows[walk->row];

		if (walk->row == walk->page_end)
			read_page(walk);
		if (walk->marked[walk->row++ - walk->page_begin])
		{
			get_row(walk, entry);
			ExecStoreBufferHeapTuple(&walk->tuple, slot, walk->buffer);
		}
		else if (!find_newer_version(walk, entry, slot))
			continue;
		walk->found++;
		return true;
	}
	return false;
}

/*
 * Ends a walk to the end. Fails if it has not found as many rows as were
 * deleted.
 */
void
dg_trail_end(DgTrailWalk *walk)
{
	if (walk->found != walk->trail->deleted)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot keep the rows deleted from \"%s\"", RelationGetRelationName(walk->rel)),
				 errdetail("The statement has deleted %llu rows, %llu of them were found.",
						   (unsigned long long) walk->trail->deleted, (unsigned long long) walk->found)));
	release_page(walk);
	dg_tidlog_end(walk->trail->log);
	MemoryContextDelete(walk->trail->context);
	pfree(walk->rows);
	pfree(walk);
}
