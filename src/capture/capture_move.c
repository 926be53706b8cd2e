/*
 * capture_move.c
 *		Rows that UPDATE or MERGE moves from one partition to another.
 *
 * The server moves a row by deleting it here and inserting it there. That is no
 * deletion, and no UPDATE trigger fires. Three things follow. Heap has counted
 * a deletion, which the double entry must know of (capture_balance.c). If a
 * foreign key's ON DELETE SET NULL or SET DEFAULT has moved the row, its link is
 * lost all the same (capture_link.c). And if a BEFORE INSERT trigger of the other
 * partition returns NULL, the row is deleted and nowhere: then it has to be kept,
 * and is put on the trail of the rows that the query has deleted (capture_note.c).
 *
 * The executor's ModifyTable node asks its plan for one row after the other. We
 * are asked in the plan's place: when the next row is wanted, or the query has
 * run, what was done to the one before shows in the table. That costs a look at
 * the server's count of deletions for each row, and a look at the row only where
 * the count has changed.
 *
 * Whether a moved row has arrived is told by the count of insertions, if there is
 * a trigger at all that might have kept it away. What others have inserted is taken
 * off: queries and commands that triggers and functions run meanwhile, and the
 * other parts of the query. What C code inserts without a query is not known.
 *
 * A guarded table may be a partition of one that is not guarded. A row that is
 * moved from it to another partition is out of the guard's reach, and a DELETE
 * there destroys it. So it is kept, as if the UPDATE had been the DELETE and the
 * INSERT that it is to the server. The row trigger, which fires for moved rows too,
 * keeps every row that has not been seen to stay in the guarded table.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/bufmgr.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pgstat_internal.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "capture/capture_internal.h"
#include "guard/guard.h"

/* Rows that others have inserted in a subtransaction, while a query is watched. */
typedef struct Others
{
	SubTransactionId subid;
	int64		inserted;
	int64		outside;
	struct Others *next;
} Others;

/* A query that is watched. */
typedef struct Watch
{
	ModifyTableState *state;
	ExecProcNodeMtd find_row;	/* the plan's own */
	EState	   *estate;
	EState	   *firing;			/* of the query whose end fires the triggers;
								 * NULL: unknown */
	int			routed;			/* partitions that were opened for rows moved
								 * there, and seen */
	bool		filtered;		/* may a trigger keep rows away from a
								 * partition? */
	bool		partial;		/* is only a part of the partition tree
								 * guarded? */

	/*
	 * rows inserted when last counted, see count_arrivals(), and moved there
	 * since
	 */
	int64		inserted;
	int64		outside;
	double		merged;			/* by the query's own INSERT actions */
	Others	   *others;			/* since then */

	/* another query runs, which may insert rows */
	int			paused;			/* depth */
	int64		inserted_before;
	int64		outside_before;

	/* the row that the query works on */
	ResultRelInfo *from;		/* NULL: none */
	ItemPointerData tid;
	int64		deleted;		/* from its table, before */

	MemoryContextCallback callback;
	struct Watch *next;
} Watch;

static Watch *watches = NULL;

static void
forget_watch(void *arg)
{
	Watch	  **watch = &watches;

	while (*watch != NULL && *watch != arg)
		watch = &(*watch)->next;
	if (*watch != NULL)
		*watch = (*watch)->next;
}

/*
 * Rows deleted from a table in the present subtransaction.
 */
static int64
count_deleted(Relation rel)
{
	PgStat_TableXactStatus *counts = pgstat_should_count_relation(rel) ? rel->pgstat_info->trans : NULL;

	return counts != NULL && counts->nest_level == GetCurrentTransactionNestLevel() ? counts->tuples_deleted : 0;
}

static Oid
target_of(Watch *watch)
{
	return RelationGetRelid(watch->state->rootResultRelInfo->ri_RelationDesc);
}

/*
 * Rows that the transaction has inserted into a table, since it last emptied it.
 */
static int64
inserted_into(const PgStat_TableXactStatus *counts)
{
	int64		inserted = 0;

	for (; counts != NULL; counts = counts->truncdropped ? NULL : counts->upper)
		inserted += counts->tuples_inserted;
	return inserted;
}

/*
 * Rows inserted into an enrolled table and, if "outside" is not NULL, into the rest
 * of the partition tree that it is in.
 */
static int64
count_inserted(Oid root, int64 *outside)
{
	Oid			tree = outside != NULL ? dg_guard_partition_root(root) : InvalidOid;
	PgStat_SubXactStatus *level = NULL;
	PgStat_TableXactStatus *counts = NULL;
	int64		inside = 0;

	if (outside != NULL)
		*outside = 0;
	while ((counts = dg_capture_balance_next(&level, counts)) != NULL)
	{
		Oid			relid = DG_COUNTED_RELID(counts);

		int64		inserted = inserted_into(counts);

		if (inserted == 0 || relid < FirstNormalObjectId)
			continue;
		if (dg_guard_lookup(relid)->root == root)
			inside += inserted;
		else if (outside != NULL && dg_guard_partition_root(relid) == tree)
			*outside += inserted;
	}
	return inside;
}

/*
 * Rows inserted where the row must have arrived: into the target, or, if that is
 * guarded in part only, into the guarded table that the row is of; then *outside
 * are those inserted into the rest of the tree.
 */
static int64
count_arrivals(Watch *watch, int64 *outside)
{
	DgGuard    *guard;

	*outside = 0;
	if (!watch->partial)
		return count_inserted(dg_guard_lookup(target_of(watch))->root, NULL);
	if (watch->from == NULL)
		return 0;
	guard = dg_guard_lookup(RelationGetRelid(watch->from->ri_RelationDesc));
	return guard->guarded ? count_inserted(guard->root, outside) : 0;
}

/*
 * How many rows more are there than were counted last, and than others have
 * inserted since? Counts anew.
 */
static int64
count_more(Watch *watch, int64 *outside)
{
	int64		inserted = watch->inserted;

	*outside = watch->outside;
	for (const Others *others = watch->others; others != NULL; others = others->next)
	{
		inserted += others->inserted;
		*outside += others->outside;
	}
	watch->others = NULL;
	watch->inserted = count_arrivals(watch, &watch->outside);
	*outside = watch->outside - *outside;
	return watch->inserted - inserted;
}

/*
 * Is there a trigger that might keep a moved row away from its new partition?
 */
static bool
is_filtered(Watch *watch)
{
	List	   *routed = watch->estate->es_tuple_routing_result_relations;

	for (; watch->routed < list_length(routed); watch->routed++)
	{
		ResultRelInfo *rel = list_nth(routed, watch->routed);

		watch->filtered |= rel->ri_TrigDesc != NULL && rel->ri_TrigDesc->trig_insert_before_row;
	}
	return watch->filtered;
}

/*
 * Has the row that was just deleted from one partition arrived in another?
 */
static bool
has_arrived(Watch *watch)
{
	int64		outside;
	int64		more;

	if (!is_filtered(watch))
	{
		watch->inserted++;
		return true;
	}
	more = count_more(watch, &outside) - (int64) (watch->state->mt_merge_inserted - watch->merged);
	watch->merged = watch->state->mt_merge_inserted;
	return more > 0;
}

/*
 * Looks for the version of the row that the query has moved, among those that
 * other sessions have made of it since it was found. False if there is none.
 */
static bool
find_moved(Watch *watch, TupleTableSlot *slot)
{
	ItemPointerData tid = watch->tid;

	for (;;)
	{
		Buffer		buffer;
		HeapTupleHeader row;
		bool		deleted;
		bool		moved;
		bool		last;

		if (!table_tuple_fetch_row_version(watch->from->ri_RelationDesc, &tid, SnapshotAny, slot))
			return false;
		buffer = ((BufferHeapTupleTableSlot *) slot)->buffer;
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		row = ((HeapTupleTableSlot *) slot)->tuple->t_data;
		deleted = (row->t_infomask & HEAP_XMAX_INVALID) == 0 && !HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask);
		moved = HeapTupleHeaderIndicatesMovedPartitions(row);
		last = !deleted || moved || ItemPointerEquals(&tid, &row->t_ctid);
		moved = moved && deleted && TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(row)) &&
			HeapTupleHeaderGetCmax(row) == watch->estate->es_output_cid;
		if (!last)
			tid = row->t_ctid;
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		if (moved || last)
			return moved;
	}
}

/*
 * The row was deleted and is nowhere: it goes on the query's trail.
 */
static void
keep_lost(Watch *watch, TupleTableSlot *slot)
{
	Relation	rel = watch->from->ri_RelationDesc;

	if (watch->firing == NULL)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot keep a row that was to be moved out of partition \"%s\"", RelationGetRelationName(rel)),
				 errdetail("A trigger has kept it away from its new partition, so that it was deleted."),
				 errhint("Let no BEFORE INSERT trigger of a partition return NULL for rows that are moved there.")));
	dg_capture_trail_add(target_of(watch), watch->firing, RelationGetRelid(rel), watch->estate->es_output_cid, &slot->tts_tid);
}

/*
 * The row was moved, in a tree of which only a part is guarded: has it stayed in
 * the guarded table? Where the counts do not prove it, it has left.
 */
static bool
has_stayed(Watch *watch)
{
	int64		outside;

	return count_more(watch, &outside) == 1 && outside == 0;
}

/*
 * The row was moved.
 */
static void
finish_move(Watch *watch, Oid root, TupleTableSlot *slot)
{
	Relation	rel = watch->from->ri_RelationDesc;

	if (watch->partial ? !has_stayed(watch) : !has_arrived(watch))
	{
		dg_capture_rename_not_moved(RelationGetRelid(rel), &slot->tts_tid);
		if (!watch->partial)
			keep_lost(watch, slot);
		return;					/* else the row trigger keeps it */
	}
	if (watch->partial)
		dg_capture_move_note_stayed(RelationGetRelid(rel), watch->estate->es_output_cid, &slot->tts_tid);
	dg_capture_balance_moved(root);
	if (InNoForceRLSOperation())
		dg_capture_link_note_lost(rel, slot, watch->from->ri_newTupleSlot);
}

/*
 * Sees what the query has done to the row that it was given last.
 */
static void
finish_row(Watch *watch)
{
	ResultRelInfo *from = watch->from;
	DgGuard    *guard;
	TupleTableSlot *slot;

	if (from == NULL)
		return;
	if (count_deleted(from->ri_RelationDesc) == watch->deleted && from->ri_RelationDesc->pgstat_info != NULL)
	{
		watch->from = NULL;
		return;
	}
	guard = dg_guard_lookup(RelationGetRelid(from->ri_RelationDesc));
	slot = table_slot_create(from->ri_RelationDesc, NULL);
	if (guard->guarded && find_moved(watch, slot))
		finish_move(watch, guard->root, slot);
	ExecDropSingleTupleTableSlot(slot);
	watch->from = NULL;
}

/*
 * The query is given a row.
 */
static void
begin_row(Watch *watch, TupleTableSlot *slot)
{
	ModifyTableState *state = watch->state;
	ResultRelInfo *from = state->resultRelInfo;
	bool		isnull;
	Datum		address = ExecGetJunkAttribute(slot, from->ri_RowIdAttNo, &isnull);
	Datum		relid;

	if (isnull)
		return;
	watch->tid = *(ItemPointer) DatumGetPointer(address);
	if (state->mt_nrels > 1)
	{
		relid = ExecGetJunkAttribute(slot, state->mt_resultOidAttno, &isnull);
		if (isnull)
			return;
		from = ExecLookupResultRelByOid(state, DatumGetObjectId(relid), false, false);
	}
	watch->deleted = count_deleted(from->ri_RelationDesc);
	watch->from = from;

	/*
	 * other parts of the query insert rows, if they do, before it is given
	 * this one
	 */
	if (watch->partial || watch->estate->es_auxmodifytables != NIL)
	{
		watch->others = NULL;
		watch->inserted = count_arrivals(watch, &watch->outside);
		watch->merged = state->mt_merge_inserted;
	}
}

/*
 * In place of the plan's own function.
 */
static TupleTableSlot *
find_and_watch(PlanState *plan)
{
	Watch	   *watch = watches;
	TupleTableSlot *slot;

	while (watch != NULL && outerPlanState(watch->state) != plan)
		watch = watch->next;
	if (watch == NULL)
		elog(ERROR, "a query is not watched any more");
	finish_row(watch);
	slot = watch->find_row(plan);
	if (!TupIsNull(slot))
		begin_row(watch, slot);
	return slot;
}

/*
 * Can the query move rows out of guarded tables?
 */
static bool
may_move(ModifyTableState *state)
{
	if ((state->operation != CMD_UPDATE && state->operation != CMD_MERGE) ||
		state->rootResultRelInfo->ri_RelationDesc->rd_rel->relkind != RELKIND_PARTITIONED_TABLE ||
		!dg_installed())
		return false;
	if (dg_guard_lookup(RelationGetRelid(state->rootResultRelInfo->ri_RelationDesc))->guarded)
		return true;
	for (int i = 0; i < state->mt_nrels; i++)
	{
		if (dg_guard_lookup(RelationGetRelid(state->resultRelInfo[i].ri_RelationDesc))->guarded)
			return true;
	}
	return false;
}

static void
watch_query(PlanState *planstate, EState *firing)
{
	ModifyTableState *state = (ModifyTableState *) planstate;
	Watch	   *watch;

	/* a query of a rule is in the list, too */
	if (!IsA(planstate, ModifyTableState) || !may_move(state) || outerPlanState(state)->ExecProcNodeReal == find_and_watch)
		return;
	watch = MemoryContextAllocZero(state->ps.state->es_query_cxt, sizeof(Watch));
	watch->state = state;
	watch->find_row = outerPlanState(state)->ExecProcNodeReal;
	watch->estate = state->ps.state;
	watch->firing = firing;
	watch->partial = !dg_guard_lookup(dg_guard_partition_root(target_of(watch)))->guarded;
	watch->inserted = count_arrivals(watch, &watch->outside);
	for (int i = 0; i < state->mt_nrels; i++)
	{
		TriggerDesc *triggers = state->resultRelInfo[i].ri_TrigDesc;

		watch->filtered |= triggers != NULL && triggers->trig_insert_before_row;
	}
	watch->callback.func = forget_watch;
	watch->callback.arg = watch;
	MemoryContextRegisterResetCallback(watch->estate->es_query_cxt, &watch->callback);
	watch->next = watches;
	watches = watch;
	ExecSetExecProcNode(outerPlanState(state), find_and_watch);
}

/*
 * Begins to watch a query that has been started, if it can move rows out of
 * guarded tables. "certain" says whether we will be called when it has run and
 * when it ends.
 */
void
dg_capture_move_prepare(QueryDesc *query, bool certain)
{
	bool		fires = !(query->estate->es_top_eflags & EXEC_FLAG_SKIP_TRIGGERS);
	EState	   *firing = !certain ? NULL : fires ? query->estate : dg_frame->firing;
	ListCell   *lc;

	if (query->estate->es_top_eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	watch_query(query->planstate, firing);
	foreach(lc, query->estate->es_auxmodifytables)
		watch_query(lfirst(lc), firing);
}

/*
 * Looks at the last row of a query that has run, or has run on.
 */
void
dg_capture_move_ran(QueryDesc *query)
{
	for (Watch *watch = watches; watch != NULL; watch = watch->next)
	{
		if (watch->estate == query->estate)
			finish_row(watch);
	}
}

/*
 * A query, or a command (NULL), begins to run. What it inserts are no rows that the
 * queries move in whose course it runs.
 */
void
dg_capture_move_pause(const EState *estate)
{
	for (Watch *watch = watches; watch != NULL; watch = watch->next)
	{
		if (watch->estate != estate && watch->paused++ == 0)
			watch->inserted_before = count_arrivals(watch, &watch->outside_before);
	}
}

static void
add_others(Watch *watch, int64 inserted, int64 outside)
{
	Others	   *others = watch->others;

	if (inserted == 0 && outside == 0)
		return;
	if (others == NULL || others->subid != GetCurrentSubTransactionId())
	{
		others = MemoryContextAllocZero(watch->estate->es_query_cxt, sizeof(Others));
		others->subid = GetCurrentSubTransactionId();
		others->next = watch->others;
		watch->others = others;
	}
	others->inserted += inserted;
	others->outside += outside;
}

/*
 * It has run; if it has failed, what it inserted is taken back.
 */
void
dg_capture_move_resume(const EState *estate, bool failed)
{
	for (Watch *watch = watches; watch != NULL; watch = watch->next)
	{
		int64		inserted;
		int64		outside;

		if (watch->estate == estate || watch->paused == 0 || --watch->paused > 0 || failed)
			continue;
		inserted = count_arrivals(watch, &outside);
		add_others(watch, inserted - watch->inserted_before, outside - watch->outside_before);
	}
}

/*
 * What others have inserted in a subtransaction is its parent's, or is taken back.
 */
static void
move_at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (Watch *watch = watches; watch != NULL; watch = watch->next)
	{
		for (Others *others = watch->others; others != NULL && others->subid >= mySubid; others = others->next)
		{
			others->subid = parentSubid;
			if (event == SUBXACT_EVENT_ABORT_SUB)
				others->inserted = others->outside = 0;
		}
	}
}

/*
 * Makes ready, as the library is loaded, to forget at the end of a transaction the
 * rows that it moved.
 */
void
dg_capture_move_init(void)
{
	RegisterSubXactCallback(move_at_subxact, NULL);
}
