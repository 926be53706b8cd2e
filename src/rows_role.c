/*
 * rows_role.c
 *		As whom the code that belongs to a table runs.
 *
 * Writing a row runs what the table's owner has attached to it: checks,
 * domains, casts, defaults, generated columns, index expressions. An INSERT
 * runs them as whoever inserts. A superuser who brings back other people's rows
 * has not chosen to run their code; so then it runs as the table's owner, in a
 * security-restricted operation, as it does when a superuser runs REINDEX.
 *
 * What the server's own triggers evaluate at the end is not covered: the
 * expressions of a deferrable exclusion constraint.
 *
 * Privileges are still the caller's: they are checked when the table is
 * opened. A role that is not a superuser runs the code itself, as for INSERT.
 *
 * Nothing need be put back on error: the end of the (sub)transaction does it.
 */
#include "rows.h"

#include "miscadmin.h"

/*
 * For the present caller.
 */
DgRowsRole
dg_rows_role(Relation rel)
{
	return dg_rows_role_of(rel->rd_rel->relowner);
}

/*
 * The same, for what belongs to a role.
 */
DgRowsRole
dg_rows_role_of(Oid owner)
{
	DgRowsRole	role = {.owner = owner};

	GetUserIdAndSecContext(&role.caller, &role.sec_context);
	if (!superuser() || superuser_arg(role.owner))
		role.owner = InvalidOid;
	return role;
}

/*
 * From here on, code of the table may run.
 */
void
dg_rows_as_owner(const DgRowsRole *role)
{
	if (OidIsValid(role->owner))
		SetUserIdAndSecContext(role->owner, role->sec_context | SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);
}

void
dg_rows_as_caller(const DgRowsRole *role)
{
	if (OidIsValid(role->owner))
		SetUserIdAndSecContext(role->caller, role->sec_context);
}
