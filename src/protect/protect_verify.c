/*
 * protect_verify.c
 *		What verify() cannot find out by SQL: are our hooks still called,
 *		which libraries does the server load, and what are its defects?
 *
 * A library that is loaded later puts its own hook in front of ours and is
 * trusted to pass the call on. The rest of verify() is SQL
 * (verify.sql).
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "capture/capture.h"
#include "protect/protect_internal.h"

PG_FUNCTION_INFO_V1(dg_guarded_with);
PG_FUNCTION_INFO_V1(dg_unreached_hooks);
PG_FUNCTION_INFO_V1(dg_server_setting);
PG_FUNCTION_INFO_V1(dg_server_hides_merge);

static const struct
{
	int			hook;
	const char *name;
}			hooks[] = {
	{DG_HOOK_EXECUTOR_START, "ExecutorStart"},
	{DG_HOOK_EXECUTOR_RUN, "ExecutorRun"},
	{DG_HOOK_EXECUTOR_FINISH, "ExecutorFinish"},
	{DG_HOOK_UTILITY, "ProcessUtility"},
	{DG_HOOK_OBJECT_ACCESS, "object_access"},
};

/*
 * Does, harmlessly, what each hook is called for.
 */
static void
provoke_hooks(void)
{
	SPI_connect();
	dg_query("SELECT 1", DG_AS_US);
	dg_query("SHOW deletion_guard.reason", DG_AS_US);
	SPI_finish();
	(void) InvokeNamespaceSearchHook(PG_CATALOG_NAMESPACE, false);
}

/*
 * unreached_hooks() -> text[]
 */
Datum
dg_unreached_hooks(PG_FUNCTION_ARGS)
{
	Datum		names[lengthof(hooks)];
	int			n = 0;
	int			reached;

	(void) dg_protect_hooks_reached();
	provoke_hooks();
	reached = dg_protect_hooks_reached();
	for (int i = 0; i < lengthof(hooks); i++)
	{
		if (!(reached & hooks[i].hook))
			names[n++] = CStringGetTextDatum(hooks[i].name);
	}
	PG_RETURN_DATUM(dg_array(names, n, TEXTOID));
}

/*
 * server_setting(name text) -> text
 *
 * The caller need not have the right to see the setting: the owner of the
 * extension may have been a superuser once.
 */
Datum
dg_server_setting(PG_FUNCTION_ARGS)
{
	const char *value = GetConfigOption(text_to_cstring(PG_GETARG_TEXT_PP(0)), false, false);

	PG_RETURN_TEXT_P(cstring_to_text(value != NULL ? value : ""));
}

/*
 * server_hides_merge() -> boolean
 */
Datum
dg_server_hides_merge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(dg_capture_merge_hides_rows());
}

/*
 * guarded_with(relation oid) -> oid: the table that was enrolled, for it or a part of it.
 */
Datum
dg_guarded_with(PG_FUNCTION_ARGS)
{
	if (!dg_guard_is_guarded(PG_GETARG_OID(0)))
		PG_RETURN_NULL();
	PG_RETURN_OID(dg_guard_lookup(PG_GETARG_OID(0))->root);
}
