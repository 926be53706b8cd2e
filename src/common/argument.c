/*
 * argument.c
 *		Arguments of SQL functions.
 */
#include "postgres.h"

#include "common/deletion_guard.h"

/*
 * Refuses a null.
 */
void
dg_require_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}
