/*
 * rows_role.c
 *		As whom the code that belongs to a table runs.
 *
 * Writing a row runs what owners have attached to its table: checks, domains,
 * casts, defaults, generated columns, index expressions, partition keys,
 * triggers. An INSERT runs them as the user who inserts. Somebody who brings
 * back other people's rows has not chosen to run their code; so where the
 * caller could be the owner anyway, a superuser or a member of the owner's
 * role, it runs as the owner, in a security-restricted operation, as it does
 * when a superuser runs REINDEX. Anybody else runs it himself, as for INSERT:
 * he must not get at the owner's rights by what he has set up around that code.
 *
 * A partition has an owner of its own, who attaches code to it. What is between
 * the table and the partition that a row goes to runs as the one owner
 * that these tables have besides superusers; of several, none could be trusted with
 * another's rights, so rows of such a table are refused.
 *
 * Nothing is left to be evaluated later, when somebody else may be the user:
 * rows_recheck.c has the expressions of deferrable constraints.
 *
 * Privileges are still the caller's: they are checked when the table is opened.
 *
 * What owners' code sets in the session, search_path for one, is undone when that
 * code gives way to the caller, or to another owner's.
 *
 * Nothing need be put back on error: the end of the (sub)transaction does it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "rows/rows_internal.h"

/*
 * Owners whose code may be running: one, and others within it if that code calls
 * us itself.
 */
typedef struct Running
{
	Oid			owner;
	int			settings;		/* the level of settings that is undone */
	int			nesting;		/* of transactions, where it began */
} Running;

static Running *running = NULL;
static int	depth = 0;
static int	room = 0;

static void
leave_owners(int wanted)
{
	if (depth > wanted)
		AtEOXact_GUC(false, running[wanted].settings);
	depth = Min(depth, wanted);
}

static void
at_end(XactEvent event, void *arg)
{
	depth = 0;
}

/*
 * What owners' code does in subtransactions of its own does not concern us.
 */
static void
at_subend(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	while (event == SUBXACT_EVENT_ABORT_SUB && depth > 0 &&
		   running[depth - 1].nesting >= GetCurrentTransactionNestLevel())
		depth--;
}

static void
room_for_owner(void)
{
	if (running == NULL)
	{
		room = 4;
		running = MemoryContextAlloc(TopMemoryContext, sizeof(Running) * room);
		RegisterXactCallback(at_end, NULL);
		RegisterSubXactCallback(at_subend, NULL);
	}
	else if (depth == room)
	{
		running = repalloc(running, sizeof(Running) * room * 2);
		room *= 2;
	}
}

/*
 * As whom code that belongs to a table runs in the present call.
 */
DgRowsRole
dg_rows_role(Relation rel)
{
	return dg_rows_role_of(rel->rd_rel->relowner);
}

/*
 * As whom code runs that belongs to a role.
 */
DgRowsRole
dg_rows_role_of(Oid owner)
{
	DgRowsRole	role = {.owner = owner,.caller = dg_role_now(),.depth = depth};

	if (owner == role.caller.id || superuser_arg(owner) || !has_privs_of_role(role.caller.id, owner))
		role.owner = InvalidOid;
	return role;
}

/*
 * As whom code runs that finds the partition of a table for a row.
 */
DgRowsRole
dg_rows_role_of_tree(Relation rel)
{
	DgRowsRole	role = dg_rows_role(rel);
	ListCell   *lc;

	if (!dg_has_parts(RelationGetRelid(rel)))
		return role;
	foreach(lc, find_all_inheritors(RelationGetRelid(rel), NoLock, NULL))
	{
		DgRowsRole	other;

		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lfirst_oid(lc))))
			continue;
		other = dg_rows_role_of(dg_relation_owner(lfirst_oid(lc)));
		if (OidIsValid(role.owner) && OidIsValid(other.owner) && role.owner != other.owner)
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_RESTORE),
					 errmsg("cannot restore rows of \"%s\": it and its partitions have several owners",
							RelationGetRelationName(rel)),
					 errdetail("One is \"%s\", another, of \"%s\", is \"%s\"; code of either would run with rights of the other.",
							   GetUserNameFromId(role.owner, false), get_rel_name(lfirst_oid(lc)),
							   GetUserNameFromId(other.owner, false)),
					 errhint("Give the table and its partitions to one role with ALTER TABLE ... OWNER TO.")));
		if (OidIsValid(other.owner))
			role = other;
	}
	return role;
}

/*
 * From here on, code that belongs to the role may run.
 */
void
dg_rows_as_owner(const DgRowsRole *role)
{
	if (OidIsValid(role->owner) && depth == role->depth + 1 && running[role->depth].owner == role->owner)
		return;
	dg_rows_as_caller(role);
	if (!OidIsValid(role->owner))
		return;
	room_for_owner();
	running[depth].owner = role->owner;
	running[depth].settings = dg_role_become(role->owner, SECURITY_RESTRICTED_OPERATION).nestlevel;
	running[depth].nesting = GetCurrentTransactionNestLevel();
	depth++;
}

/*
 * From here on, the caller runs, under the settings that he had.
 */
void
dg_rows_as_caller(const DgRowsRole *role)
{
	leave_owners(role->depth);
	dg_role_leave(role->caller);
}
