/*
 * other_library.c
 *		A library with hooks, for 048_other_library.pl: other.skip names the one
 *		that does not pass calls on.
 */
#include "common/compat.h"

#include "catalog/objectaccess.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "tcop/utility.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

extern void _PG_init(void);

static char *skip = "";
static ExecutorStart_hook_type prev_start = NULL;
static ExecutorRun_hook_type prev_run = NULL;
static ExecutorFinish_hook_type prev_finish = NULL;
static ProcessUtility_hook_type prev_utility = NULL;
static object_access_hook_type prev_access = NULL;

static bool
skips(const char *hook)
{
	return strcmp(skip, hook) == 0;
}

static void
start(QueryDesc *query, int eflags)
{
	if (prev_start && !skips("start"))
		prev_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

static void
run(DG_EXECUTOR_RUN_PARAMS)
{
	if (prev_run && !skips("run"))
		prev_run(DG_EXECUTOR_RUN_ARGS);
	else
		standard_ExecutorRun(DG_EXECUTOR_RUN_ARGS);
}

static void
finish(QueryDesc *query)
{
	if (prev_finish && !skips("finish"))
		prev_finish(query);
	else
		standard_ExecutorFinish(query);
}

static void
utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_utility && !skips("utility"))
		prev_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
object_access(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg)
{
	if (prev_access && !skips("access"))
		prev_access(access, classid, objid, subid, arg);
}

void
_PG_init(void)
{
	DefineCustomStringVariable("other.skip", "hook that does not pass calls on", NULL, &skip, "", PGC_USERSET,
							   0, NULL, NULL, NULL);
	prev_start = ExecutorStart_hook;
	ExecutorStart_hook = start;
	prev_run = ExecutorRun_hook;
	ExecutorRun_hook = run;
	prev_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = finish;
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	prev_access = object_access_hook;
	object_access_hook = object_access;
}
