/*
 * argument.c
 *		Arguments of SQL functions, and texts for their callers.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

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

/*
 * What somebody else says, which may quote names in whatever encoding: without
 * what is no text here. Palloc'd, if it has to be changed.
 */
const char *
dg_printable(const char *message)
{
	char	   *copy;

	if (pg_verify_mbstr(GetDatabaseEncoding(), message, strlen(message), true))
		return message;
	copy = pstrdup(message);
	for (char *p = copy; *p != '\0'; p++)
	{
		if (IS_HIGHBIT_SET(*p))
			*p = '?';
	}
	return copy;
}
