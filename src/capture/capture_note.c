/*
 * capture_note.c
 *		Which rows a DELETE has taken, without a transition table.
 *
 * A transition table costs dearly where many rows go: the server fetches each
 * one again once it is deleted and copies it, with many others into a temporary
 * file, for our trigger to read it from there. But a deleted row is still where
 * it was, with the marks of the transaction and the command that deleted it. If
 * one knows where to look, no copy is needed.
 *
 * The executor's ModifyTable node is handed the rows to delete one by one, by
 * address. Where that is all there is to a query, we note the addresses as they
 * pass (the "trail") and turn the transition table off, in the executor's own
 * copies. The trigger then goes along the trail and takes the rows that bear
 * the marks (capture_trail.c).
 *
 * A join may come to a row more than once. Of one, a row is noted when the plan is
 * asked for the next and the executor has counted a deletion meanwhile.
 *
 * Everything else uses the transition table: MERGE; queries of several parts; tables
 * with another trigger that reads the transition table; statements that began
 * before the library was loaded; sessions in which another library was loaded
 * after this one and might keep calls from us.
 *
 * The queries of a foreign key leave their triggers to the query that fired
 * them. That is where their trails go, one for each table. In a partitioned
 * table a trail leads from partition to partition; the trigger is the root's.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "capture/capture_internal.h"
#include "guard/guard.h"

/* A query that leaves a trail. */
typedef struct TrailQuery
{
	ModifyTableState *state;
	ExecProcNodeMtd find_row;	/* the plan's own */
	Oid			relid;			/* the target, or its root */
	Oid			only;			/* table that all rows are of; invalid: the
								 * plan tells */
	const EState *estate;
	EState	   *firing;
	bool		repeats;		/* may come to a row more than once; then: */
	uint64		processed;		/* rows when it came to the present one */
	Oid			present_relid;	/* invalid: there is none */
	ItemPointerData present;
	MemoryContextCallback callback;
	struct TrailQuery *next;
} TrailQuery;

static TrailQuery *queries = NULL;

static void
forget_query(void *arg)
{
	TrailQuery **query = &queries;

	while (*query != NULL && *query != arg)
		query = &(*query)->next;
	if (*query != NULL)
		*query = (*query)->next;
}

static void
note_row(const TrailQuery *query, Oid relid, ItemPointer tid)
{
	dg_tidlog_add(dg_capture_trail_log(dg_capture_trail_of(query->relid, query->firing), relid),
				  query->estate->es_output_cid, tid);
}

/*
 * Notes the row that the query came to last if it has been deleted.
 */
static void
note_present(TrailQuery *query)
{
	if (OidIsValid(query->present_relid) && query->estate->es_processed > query->processed)
		note_row(query, query->present_relid, &query->present);
	query->present_relid = InvalidOid;
	query->processed = query->estate->es_processed;
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
	Datum		relid;
	bool		isnull;

	while (query != NULL && outerPlanState(query->state) != plan)
		query = query->next;
	if (query == NULL)
		elog(ERROR, "a query has lost its trail");
	if (query->repeats)
		note_present(query);
	slot = query->find_row(plan);
	if (TupIsNull(slot))
		return slot;
	address = ExecGetJunkAttribute(slot, query->state->resultRelInfo->ri_RowIdAttNo, &isnull);
	relid = ObjectIdGetDatum(query->only);
	if (!isnull && !OidIsValid(query->only))
		relid = ExecGetJunkAttribute(slot, query->state->mt_resultOidAttno, &isnull);
	if (!isnull && query->repeats)
	{
		query->present_relid = DatumGetObjectId(relid);
		query->present = *(ItemPointer) DatumGetPointer(address);
	}
	else if (!isnull)
		note_row(query, DatumGetObjectId(relid), (ItemPointer) DatumGetPointer(address));
	return slot;
}

/*
 * Does a plan come to each row of a query's target at most once?
 */
static bool
finds_rows_once(PlanState *plan, const ModifyTable *query)
{
	switch (nodeTag(plan))
	{
		case T_SeqScanState:
		case T_IndexScanState:
		case T_BitmapHeapScanState:
		case T_TidScanState:
		case T_TidRangeScanState:
			return list_member_int(query->resultRelations, ((Scan *) plan->plan)->scanrelid);
		case T_ResultState:
			return outerPlanState(plan) != NULL && finds_rows_once(outerPlanState(plan), query);
		case T_AppendState:
			for (int i = 0; i < ((AppendState *) plan)->as_nplans; i++)
			{
				if (!finds_rows_once(((AppendState *) plan)->appendplans[i], query))
					return false;
			}
			return true;
		case T_HashJoinState:
		case T_MergeJoinState:
		case T_NestLoopState:
			/* such a join is over with an outer row after the first inner one */
			return (((JoinState *) plan)->jointype == JOIN_SEMI || ((JoinState *) plan)->jointype == JOIN_ANTI) &&
				finds_rows_once(outerPlanState(plan), query);
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
	ResultRelInfo *root = state->rootResultRelInfo;

	if (!query->plannedstmt->canSetTag || query->estate->es_auxmodifytables != NIL ||
		!is_only_reader(root->ri_TrigDesc) ||
		!dg_guard_lookup(RelationGetRelid(root->ri_RelationDesc))->guarded)
		return false;
	for (int i = 0; i < state->mt_nrels; i++)
	{
		Relation	rel = state->resultRelInfo[i].ri_RelationDesc;

		if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_tableam != GetHeapamTableAmRoutine())
			return false;
	}
	return true;
}

/*
 * Has a DELETE that has been started leave a trail from here on, if it can.
 */
void
dg_capture_trail_prepare(QueryDesc *query)
{
	ModifyTableState *state = (ModifyTableState *) query->planstate;
	bool		fires = !(query->estate->es_top_eflags & EXEC_FLAG_SKIP_TRIGGERS);
	EState	   *firing = fires ? query->estate : dg_frame->firing;
	TrailQuery *leaving;

	if (!IsA(state, ModifyTableState) || state->operation != CMD_DELETE ||
		state->mt_transition_capture == NULL || firing == NULL || !may_leave_trail(query))
		return;

	leaving = MemoryContextAllocZero(query->estate->es_query_cxt, sizeof(TrailQuery));
	leaving->state = state;
	leaving->find_row = outerPlanState(state)->ExecProcNodeReal;
	leaving->relid = RelationGetRelid(state->rootResultRelInfo->ri_RelationDesc);
	if (state->mt_nrels == 1)
		leaving->only = RelationGetRelid(state->resultRelInfo->ri_RelationDesc);
	leaving->estate = query->estate;
	leaving->firing = firing;
	leaving->repeats = !finds_rows_once(outerPlanState(state), (ModifyTable *) state->ps.plan);
	leaving->callback.func = forget_query;
	leaving->callback.arg = leaving;
	MemoryContextRegisterResetCallback(query->estate->es_query_cxt, &leaving->callback);
	leaving->next = queries;
	queries = leaving;

	ExecSetExecProcNode(outerPlanState(state), find_and_note);
	state->mt_transition_capture->tcs_delete_old_table = false;
	for (int i = 0; i < state->mt_nrels; i++)
	{
		TriggerDesc *triggers = state->resultRelInfo[i].ri_TrigDesc;

		if (triggers != NULL && fires_no_row_trigger(triggers))
			triggers->trig_delete_after_row = false;
	}
}

/*
 * Notes how many rows a query has deleted, which has run, or has run on.
 */
void
dg_capture_trail_ran(QueryDesc *query)
{
	TrailQuery *leaving = queries;
	DgTrail    *trail;

	while (leaving != NULL && leaving->estate != query->estate)
		leaving = leaving->next;
	if (leaving == NULL || query->estate->es_processed == 0)
		return;
	if (leaving->repeats)
		note_present(leaving);
	/* the server begins anew when the query runs on */
	leaving->processed = 0;
	trail = dg_capture_trail_of(leaving->relid, leaving->firing);
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
 * Captures what is left on the trails of a query whose triggers are done. Those
 * of statements do not fire if it was stopped, as it had returned as many rows
 * as its caller wants: SPI can do that, and with it PL/Perl and PL/Python. The
 * rows are still on the trail; where there is none, nobody knows them.
 */
void
dg_capture_trail_finish(QueryDesc *query)
{
	DgTrail    *trail;

	while ((trail = dg_capture_trail_find(InvalidOid, query->estate)) != NULL)
	{
		Relation	rel = table_open(trail->relid, NoLock);

		dg_capture_along_trail(rel);
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
