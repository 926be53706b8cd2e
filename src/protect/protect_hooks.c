/*
 * protect_hooks.c
 *		The server's hooks. This file only dispatches; the decisions are in
 *		guard_statement.c, protect.c, protect_builtin.c, protect_access.c,
 *		protect_object.c and capture_limit_wipe.c.
 *
 * Every hook calls the one that was there before, exactly once, also where
 * there is nothing to do here. What runs, runs in a frame on the stack here (frame.h),
 * which is popped on errors too; nothing outlives a call but the fact that the hook
 * was called.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_event_trigger.h"
#include "commands/event_trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/planner.h"
#include "tcop/utility.h"

#include "capture/capture.h"
#include "guard/guard.h"
#include "protect/protect_internal.h"

static ExecutorStart_hook_type prev_ExecutorStart = NULL;
static ExecutorRun_hook_type prev_ExecutorRun = NULL;
static ExecutorFinish_hook_type prev_ExecutorFinish = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;
static object_access_hook_type prev_object_access = NULL;
static planner_hook_type prev_planner = NULL;
static ExecutorCheckPerms_hook_type prev_check_permissions = NULL;

static int	reached = 0;		/* hooks that were called */

/*
 * Which hooks were called since this was last asked.
 */
int
dg_protect_hooks_reached(void)
{
	int			result = reached;

	reached = 0;
	return result;
}

static PlannedStmt *
call_planner(DG_PLANNER_PARAMS)
{
	if (prev_planner)
		return prev_planner(DG_PLANNER_ARGS);
	return standard_planner(DG_PLANNER_ARGS);
}

/*
 * While a statement of ours is planned, functions that the planner evaluates
 * must not pass for it.
 */
static PlannedStmt *
guard_planner(DG_PLANNER_PARAMS)
{
	PlannedStmt *result;
	DgFrame		frame;

	if (!dg_acting_next())
		return call_planner(DG_PLANNER_ARGS);
	dg_frame_push(&frame);
	PG_TRY();
	{
		result = call_planner(DG_PLANNER_ARGS);
	}
	PG_FINALLY();
	{
		dg_frame_pop(&frame);
	}
	PG_END_TRY();
	return result;
}

static void guard_ExecutorRun(DG_EXECUTOR_RUN_PARAMS);
static void guard_ExecutorFinish(QueryDesc *query);

/*
 * Are we the first to be called when a query runs, and when it ends? A library
 * that was loaded later may not pass calls on, and without them nobody follows
 * a trail.
 */
static bool
calls_are_certain(void)
{
	return ExecutorRun_hook == guard_ExecutorRun && ExecutorFinish_hook == guard_ExecutorFinish;
}

static void
guard_ExecutorStart(QueryDesc *query, int eflags)
{
	reached |= DG_HOOK_EXECUTOR_START;
	dg_guard_statement_begin(query->plannedstmt);
	dg_capture_open_before(query->plannedstmt);
	if (dg_on_duty())
	{
		dg_protect_check_query(query->plannedstmt);
		dg_capture_wipe_expect(query->plannedstmt, eflags);
	}
	if (prev_ExecutorStart)
		prev_ExecutorStart(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	if (query->operation == CMD_MERGE || query->estate->es_auxmodifytables != NIL)
		dg_capture_merge_prepare(query);
	if (query->operation == CMD_UPDATE || query->operation == CMD_MERGE ||
		query->estate->es_auxmodifytables != NIL)
		dg_capture_move_prepare(query, calls_are_certain());
	else if (query->operation == CMD_DELETE && calls_are_certain())
		dg_capture_trail_prepare(query);
}

static void
guard_ExecutorRun(DG_EXECUTOR_RUN_PARAMS)
{
	DgFrame		frame;
	DgUpsert	upsert;
	volatile bool failed = true;

	reached |= DG_HOOK_EXECUTOR_RUN;
	dg_guard_statement_run(query);
	dg_guard_statement_note_plan(query->plannedstmt);
	upsert = dg_capture_balance_upsert_begin(query);
	dg_capture_move_pause(query->estate);
	dg_frame_push(&frame);
	PG_TRY();
	{
		if (prev_ExecutorRun)
			prev_ExecutorRun(DG_EXECUTOR_RUN_ARGS);
		else
			standard_ExecutorRun(DG_EXECUTOR_RUN_ARGS);
		dg_capture_trail_ran(query);
		dg_capture_move_ran(query);
		dg_capture_balance_upsert_end(&upsert, query);
		failed = false;
	}
	PG_FINALLY();
	{
		dg_frame_pop(&frame);
		dg_capture_move_resume(query->estate, failed);
	}
	PG_END_TRY();
	if (dg_frame->depth == 0)
	{
		dg_capture_open_end(true);
		dg_protect_taken_finish();
	}
}

static void
guard_ExecutorFinish(QueryDesc *query)
{
	/*
	 * the queries of foreign keys leave their triggers to the query that
	 * fired them
	 */
	bool		fires = !(query->estate->es_top_eflags & EXEC_FLAG_SKIP_TRIGGERS);
	List	   *by_row = fires ? dg_capture_merge_roots(query) : NIL;
	DgFrame		frame;

	reached |= DG_HOOK_EXECUTOR_FINISH;
	dg_frame_push(&frame);
	if (fires)
	{
		frame.role = GetUserId();
		frame.firing = query->estate;
		frame.by_row = by_row;
	}
	PG_TRY();
	{
		if (prev_ExecutorFinish)
			prev_ExecutorFinish(query);
		else
			standard_ExecutorFinish(query);
		if (fires)
			dg_capture_trail_finish(query);
		dg_capture_open_end(frame.outer->depth == 0);
	}
	PG_FINALLY();
	{
		dg_frame_pop(&frame);
	}
	PG_END_TRY();
}

/*
 * Commands of ours run like the parts of a larger command: they fire no event
 * triggers, and are not reported to those of the command that caused them. Event
 * triggers of others are not written for a bin table that a DELETE makes: they
 * might refuse it, and would run in the extension's name.
 */
static void
guard_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	bool		part = (context == PROCESS_UTILITY_SUBCOMMAND);
	bool		ours = part ? dg_acting() : dg_acting_next();
	ProcessUtilityContext as = ours ? PROCESS_UTILITY_SUBCOMMAND : context;
	bool		hidden = ours && !part && !dg_installing();
	bool		reassigns = IsA(pstmt->utilityStmt, ReassignOwnedStmt);
	bool		truncates = IsA(pstmt->utilityStmt, TruncateStmt);
	bool		judged = !ours && dg_protect_access_judges_after(pstmt->utilityStmt);
	DgFrame		frame;
	volatile bool failed = true;

	reached |= DG_HOOK_UTILITY;
	dg_guard_statement_begin(pstmt);
	dg_capture_open_before(pstmt);
	if (!ours && dg_on_duty())
		dg_protect_check_utility(pstmt->utilityStmt);
	if (hidden)
		EventTriggerInhibitCommandCollection();
	dg_capture_move_pause(NULL);
	dg_frame_push(&frame);
	frame.role = InvalidOid;
	if (part)
		frame.acting = frame.outer->acting;
	PG_TRY();
	{
		dg_protect_command_begin(pstmt->utilityStmt);
		if (prev_ProcessUtility)
			prev_ProcessUtility(pstmt, queryString, readOnlyTree, as, params,
								queryEnv, dest, qc);
		else
			standard_ProcessUtility(pstmt, queryString, readOnlyTree, as, params,
									queryEnv, dest, qc);
		failed = false;
	}
	PG_FINALLY();
	{
		dg_frame_pop(&frame);
		if (context == PROCESS_UTILITY_TOPLEVEL)
			dg_frame->command = DG_COMMAND_OTHER;	/* of what loaded us */
		if (hidden)
			EventTriggerUndoInhibitCommandCollection();
		dg_capture_move_resume(NULL, failed);
	}
	PG_END_TRY();
	if (judged && dg_on_duty())
		dg_protect_access_check_after(pstmt->utilityStmt);
	if (truncates)
		dg_capture_empty_check();
	dg_capture_open_end(dg_frame->depth == 0);
	if (dg_frame->depth == 0)
		dg_protect_taken_finish();

	/*
	 * it may have given the extension to another role; no invalidation says
	 * so
	 */
	if (reassigns)
		dg_objects_forget();
}

/*
 * Superusers are asked, too, and by all that writes rows as a statement: DML,
 * MERGE, COPY.
 */
static bool
guard_check_permissions(DG_CHECK_PERMS_PARAMS)
{
	if (dg_on_duty())
	{
		dg_protect_builtin_check_permissions(permissions);
		dg_protect_check_permissions(permissions);
	}
	return prev_check_permissions == NULL || prev_check_permissions(DG_CHECK_PERMS_ARGS);
}

/*
 * An object is dropped before the command has reached our hook: another library does
 * that. All that goes then is one statement's, and what is run for it is not.
 */
static void
check_drop_ahead(Oid classid, Oid objid, int subid, void *arg)
{
	static TimestampTz begun = 0;
	DgFrame		frame;

	if (begun != GetCurrentStatementStartTimestamp())
		dg_guard_statement_begin(NULL);
	begun = GetCurrentStatementStartTimestamp();
	dg_frame_push(&frame);
	PG_TRY();
	{
		dg_protect_access_check(OAT_DROP, classid, objid, subid, arg);
	}
	PG_FINALLY();
	{
		dg_frame_pop(&frame);
	}
	PG_END_TRY();
}

static void
guard_object_access(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg)
{
	reached |= DG_HOOK_OBJECT_ACCESS;
	if (prev_object_access)
		prev_object_access(access, classid, objid, subid, arg);
	if (access == OAT_DROP && dg_guard_statement_none() && dg_on_duty() && !dg_acting())
		check_drop_ahead(classid, objid, subid, arg);
	else if (access != OAT_FUNCTION_EXECUTE && access != OAT_NAMESPACE_SEARCH && dg_on_duty())
		dg_protect_access_check(access, classid, objid, subid, arg);
}

/*
 * Puts our functions before the server's. Once, as the library is loaded.
 */
void
dg_protect_hooks_init(void)
{
	dg_guard_statement_init();
	dg_capture_balance_init();
	dg_capture_empty_init();
	dg_capture_move_init();
	dg_capture_stayed_init();
	dg_protect_keep_init();
	dg_protect_command_init();

	prev_planner = planner_hook;
	planner_hook = guard_planner;
	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = guard_ExecutorStart;
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = guard_ExecutorRun;
	prev_ExecutorFinish = ExecutorFinish_hook;
	ExecutorFinish_hook = guard_ExecutorFinish;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = guard_ProcessUtility;
	prev_object_access = object_access_hook;
	object_access_hook = guard_object_access;
	prev_check_permissions = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = guard_check_permissions;
}
