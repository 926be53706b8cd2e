/*
 * role.c
 *		As whom something runs.
 *
 * Nothing need be put back on error: the end of the (sub)transaction does it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "common/deletion_guard.h"

/*
 * Who the current role is. As for settings, dg_role_leave() lets them be.
 */
DgRole
dg_role_now(void)
{
	DgRole		now = {0};

	GetUserIdAndSecContext(&now.id, &now.sec_context);
	return now;
}

/*
 * From here to dg_role_leave(), which gets the result, everything runs as
 * another role. sec_context has flags of SetUserIdAndSecContext() besides.
 */
DgRole
dg_role_become(Oid role, int sec_context)
{
	DgRole		caller = dg_role_now();

	SetUserIdAndSecContext(role, caller.sec_context | SECURITY_LOCAL_USERID_CHANGE | sec_context);
	caller.nestlevel = NewGUCNestLevel();
	return caller;
}

/*
 * Like dg_role_become(), with a search_path of pg_catalog only.
 */
DgRole
dg_role_enter(Oid role, int sec_context)
{
	DgRole		caller = dg_role_become(role, sec_context);

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return caller;
}

/*
 * Settings that the role's code has changed, search_path for one, are what they
 * were: the caller, or another role's code, would run under them next.
 */
void
dg_role_leave(DgRole caller)
{
	if (caller.nestlevel > 0)
		AtEOXact_GUC(false, caller.nestlevel);
	SetUserIdAndSecContext(caller.id, caller.sec_context);
}

/*
 * Who owns a table. An error if it does not exist.
 */
Oid
dg_relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * The name of the role that logged in, for records; palloc'd.
 */
char *
dg_session_role(void)
{
	return GetUserNameFromId(GetSessionUserId(), false);
}
