/*
 * purge_common.c
 *		What several files of the room need: who acts, arguments, this database's name
 *		in tokens.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "purge/purge_internal.h"
#include "token/token.h"

PG_FUNCTION_INFO_V1(dg_audience);

/*
 * Fails unless the caller is the extension's owner, for acts that EXECUTE alone
 * does not permit: the first key decides who can ever approve a purge.
 */
void
dg_purge_require_extension_owner(const char *act)
{
	if (has_privs_of_role(GetUserId(), dg_objects()->owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to %s", act),
			 errhint("Only the owner of the extension, or a superuser, may do this.")));
}

/*
 * An argument that must be given and not be blank.
 */
text *
dg_purge_required_text(FunctionCallInfo fcinfo, int arg, const char *name)
{
	text	   *value;

	dg_require_argument(fcinfo, arg, name);
	value = PG_GETARG_TEXT_PP(arg);
	if (VARSIZE_ANY_EXHDR(value) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", name)));
	if (VARSIZE_ANY_EXHDR(value) > DG_TOKEN_MAX_TEXT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is too long", name),
				 errdetail("It has %d bytes; a token has room for %d.",
						   (int) VARSIZE_ANY_EXHDR(value), DG_TOKEN_MAX_TEXT)));
	return value;
}

/*
 * How many rows of the scan's part, in deletion_part, are still in the bin.
 */
int64
dg_purge_part_rows_left(const DgOwnScan *scan)
{
	return dg_own_int64(scan, Anum_deletion_part_rows) - dg_own_int64(scan, Anum_deletion_part_restored) -
		dg_own_int64(scan, Anum_deletion_part_purged);
}

/*
 * What the claim "aud" of a token for this database must say; palloc'd. The OID
 * tells the database from a copy (CREATE DATABASE ... TEMPLATE) that has been
 * given its name since, in which its used tokens may be unused.
 */
char *
dg_purge_audience_text(void)
{
	return psprintf("deletion_guard:" UINT64_FORMAT ":%u:%s", GetSystemIdentifier(),
					MyDatabaseId, get_database_name(MyDatabaseId));
}

/*
 * audience() -> text
 */
Datum
dg_audience(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(dg_purge_audience_text()));
}
