/*
 * capture_merge.c
 *		MERGE that moves rows between the partitions of a guarded table.
 *
 * A row whose partition key is updated is deleted from one partition and
 * inserted into another. The server keeps such a row out of the transition
 * table of an UPDATE, but not out of that of a MERGE which has a DELETE action
 * too (ExecDeleteEpilogue() asks for CMD_UPDATE): the statement trigger would
 * put a row into the bin that is alive.
 *
 * The row trigger can tell, by the mark that heap_delete() leaves in a moved
 * row. So for one execution of such a MERGE the triggers trade places: the
 * partitions' row triggers work, the root's statement trigger rests. What is
 * changed is the executor's own copies of the trigger descriptions, which
 * decide what is queued; those of partitions are made anew when the queue is
 * worked off, and the row trigger asks dg_guard_statement_by_row() then.
 *
 * Old minor releases (compat.h) have a defect of their own: where rows of the
 * table are deleted by other means too before the triggers fire, by a cascade
 * or by another part of the query, those of the MERGE are not in the
 * transition table. There the triggers trade places for every MERGE that
 * deletes.
 *
 * That takes having seen the statement start. A MERGE that loads the library
 * by firing our trigger at its end is refused, once; one inside a function is
 * not recognised then, and moved rows go into the bin as well as deleted ones.
 * Preloading the library avoids both.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "nodes/execnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "tcop/pquery.h"
#include "utils/guc.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#include "capture/capture_internal.h"
#include "guard/guard.h"

/*
 * May an update of these columns (a list of attribute numbers) take a row out
 * of the partition?
 */
static bool
may_leave(Relation partition, List *columns)
{
	Bitmapset  *key = NULL;
	ListCell   *lc;

	/* such a trigger may set any column */
	if (partition->trigdesc != NULL && partition->trigdesc->trig_update_before_row)
		return true;
	pull_varattnos((Node *) RelationGetPartitionQual(partition), 1, &key);
	foreach(lc, columns)
	{
		if (bms_is_member(lfirst_int(lc) - FirstLowInvalidHeapAttributeNumber, key))
			return true;
	}
	return false;
}

/*
 * Has the MERGE a DELETE action, and an UPDATE action that may move rows?
 */
static bool
deletes_and_moves(ModifyTable *plan, List *rtable)
{
	bool		deletes = false;
	bool		moves = false;
	ListCell   *rel;
	ListCell   *actions;

	if (plan->operation != CMD_MERGE || plan->rootRelation == 0)
		return false;
	forboth(rel, plan->resultRelations, actions, plan->mergeActionLists)
	{
		Relation	partition = table_open(rt_fetch(lfirst_int(rel), rtable)->relid, NoLock);
		ListCell   *lc;

		foreach(lc, (List *) lfirst(actions))
		{
			MergeAction *action = lfirst_node(MergeAction, lc);

			if (action->commandType == CMD_DELETE)
				deletes = true;
			if (action->commandType == CMD_UPDATE && may_leave(partition, action->updateColnos))
				moves = true;
		}
		table_close(partition, NoLock);
	}
	return deletes && moves;
}

/*
 * Is the server one that leaves rows of a MERGE out of transition tables?
 */
bool
dg_capture_merge_hides_rows(void)
{
	static int	version = 0;

	/* that runs, that is; it may be older than the headers */
	if (version == 0)
		version = atoi(GetConfigOption("server_version_num", false, false));
	return version % 10000 < DG_MERGE_MINOR;
}

/*
 * Has the plan, if it is of a MERGE, a DELETE action?
 */
bool
dg_capture_merge_deletes(const ModifyTable *plan)
{
	ListCell   *actions;
	ListCell   *action;

	if (plan->operation != CMD_MERGE)
		return false;
	foreach(actions, plan->mergeActionLists)
	{
		foreach(action, (List *) lfirst(actions))
		{
			if (lfirst_node(MergeAction, action)->commandType == CMD_DELETE)
				return true;
		}
	}
	return false;
}

/*
 * Is it a MERGE of which the statement trigger would be shown rows that were
 * only moved, or not all that were deleted?
 */
static bool
is_shown_wrongly(ModifyTable *plan, List *rtable)
{
	return deletes_and_moves(plan, rtable) || (dg_capture_merge_hides_rows() && dg_capture_merge_deletes(plan));
}

static Trigger *
find_trigger(ResultRelInfo *rel, const char *name)
{
	for (int i = 0; rel->ri_TrigDesc != NULL && i < rel->ri_TrigDesc->numtriggers; i++)
	{
		if (strcmp(rel->ri_TrigDesc->triggers[i].tgname, name) == 0)
			return &rel->ri_TrigDesc->triggers[i];
	}
	return NULL;
}

/*
 * The node may be TimescaleDB's, for a hypertable: that has row triggers already.
 */
static void
trade_triggers(PlanState *planstate, List *rtable)
{
	ModifyTableState *state = (ModifyTableState *) planstate;
	Trigger    *statement;

	if (!IsA(planstate, ModifyTableState))
		return;
	statement = find_trigger(state->rootResultRelInfo, DG_TRIGGER_CAPTURE);
	if (statement == NULL || !is_shown_wrongly((ModifyTable *) state->ps.plan, rtable))
		return;

	/*
	 * if a row trigger is missing, the statement trigger stays: better a row
	 * too many than one too few
	 */
	for (int i = 0; i < state->mt_nrels; i++)
	{
		if (find_trigger(&state->resultRelInfo[i], DG_TRIGGER_CAPTURE_ROW) == NULL)
			return;
	}
	for (int i = 0; i < state->mt_nrels; i++)
		find_trigger(&state->resultRelInfo[i], DG_TRIGGER_CAPTURE_ROW)->tgenabled = TRIGGER_FIRES_ALWAYS;
	statement->tgenabled = TRIGGER_DISABLED;
}

static List *
add_root(List *roots, PlanState *planstate)
{
	ResultRelInfo *root;
	Trigger    *statement;

	if (!IsA(planstate, ModifyTableState) || ((ModifyTableState *) planstate)->operation != CMD_MERGE)
		return roots;
	root = ((ModifyTableState *) planstate)->rootResultRelInfo;
	statement = find_trigger(root, DG_TRIGGER_CAPTURE);
	if (statement == NULL || statement->tgenabled != TRIGGER_DISABLED)
		return roots;
	return lappend_oid(roots, dg_guard_lookup(RelationGetRelid(root->ri_RelationDesc))->root);
}

/*
 * The enrolled tables whose row triggers do the work in a query, as
 * dg_capture_merge_prepare() has arranged; as a list of OIDs.
 */
List *
dg_capture_merge_roots(QueryDesc *query)
{
	List	   *roots = add_root(NIL, query->planstate);
	ListCell   *lc;

	foreach(lc, query->estate->es_auxmodifytables)
		roots = add_root(roots, lfirst(lc));
	return roots;
}

/*
 * Has row triggers do the work in a query that has been started, if it is such
 * a MERGE.
 */
void
dg_capture_merge_prepare(QueryDesc *query)
{
	ListCell   *lc;

	trade_triggers(query->planstate, query->plannedstmt->rtable);
	foreach(lc, query->estate->es_auxmodifytables)
		trade_triggers(lfirst(lc), query->plannedstmt->rtable);
}

/*
 * Refuses to capture deleted rows of a table in a statement that began before
 * the library was loaded, if it is such a MERGE.
 */
void
dg_capture_merge_check_unseen(Relation rel)
{
	ListCell   *lc;

	if (ActivePortal == NULL)
		return;
	foreach(lc, ActivePortal->stmts)
	{
		PlannedStmt *stmt = lfirst_node(PlannedStmt, lc);
		ListCell   *plan;

		if (stmt->planTree == NULL)
			continue;
		foreach(plan, lcons(stmt->planTree, list_copy(stmt->subplans)))
		{
			if (lfirst(plan) != NULL && IsA(lfirst(plan), ModifyTable) &&
				is_shown_wrongly(lfirst(plan), stmt->rtable))
				ereport(ERROR,
						(errcode(DG_ERRCODE_CANNOT_CAPTURE),
						 errmsg("cannot tell which rows of \"%s\" this MERGE deletes",
								RelationGetRelationName(rel)),
						 errdetail("deletion_guard was loaded after the statement had begun."),
						 errhint("Repeat the statement. To avoid this, add deletion_guard to session_preload_libraries.")));
		}
	}
}
