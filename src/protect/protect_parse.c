/*
 * protect_parse.c
 *		Commands on guarded tables that are refused by their parse tree: they would lead
 *		to what protect_object.c refuses by a detour, or wait for others first, or a
 *		refusal there would name a trigger and not the table.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#include "guard/guard.h"
#include "protect/protect_internal.h"

/*
 * May the current user look whether the table has rows, as he could drop it?
 */
static bool
may_drop(Oid relid)
{
	return dg_class_ownercheck(relid, GetUserId()) ||
		dg_namespace_ownercheck(get_rel_namespace(relid), GetUserId());
}

/*
 * Refuses DROP TABLE before it waits for the sessions that use the table. What
 * decides is dg_protect_keep_may_go().
 */
static void
check_drop_table(DropStmt *stmt)
{
	ListCell   *lc;

	if (stmt->removeType != OBJECT_TABLE || dg_ddl_allowed() || dg_ddl_keeps())
		return;
	foreach(lc, stmt->objects)
	{
		RangeVar   *rv = makeRangeVarFromNameList(lfirst(lc));
		Oid			relid = RangeVarGetRelid(rv, AccessShareLock, true);

		if (OidIsValid(relid) && dg_guard_is_guarded(relid) && (!may_drop(relid) || dg_protect_has_rows(relid)))
			dg_protect_refuse_drop(relid);
	}
}

static void
check_alter_command(AlterTableStmt *stmt, AlterTableCmd *cmd)
{
	Oid			relid;
	Oid			partition;
	const char *name;

	if (cmd->subtype != AT_DetachPartition && cmd->subtype != AT_SetUnLogged &&
		cmd->subtype != AT_DisableTrigAll && cmd->subtype != AT_DisableTrigUser)
		return;
	relid = RangeVarGetRelid(stmt->relation, AccessShareLock, true);
	if (!OidIsValid(relid) || !dg_guard_is_guarded(relid))
		return;
	name = get_rel_name(relid);
	switch (cmd->subtype)
	{
		case AT_DetachPartition:

			/*
			 * a row that comes in meanwhile stays, and the table is guarded
			 * by itself from then on
			 */
			partition = RangeVarGetRelid(((PartitionCmd *) cmd->def)->name, AccessShareLock, true);
			if (OidIsValid(partition) && dg_guard_is_guarded(partition) && !dg_ddl_keeps() &&
				(!dg_class_ownercheck(relid, GetUserId()) || dg_protect_has_rows(partition)))
				dg_protect_refuse_departure(partition,
											psprintf("detach partition \"%s\" from table \"%s\"", get_rel_name(partition), name));
			break;
		case AT_SetUnLogged:
			dg_protect_refuse_unlogged(relid);
			break;
		default:
			dg_protect_refuse_on_guarded(relid, psprintf("disable all triggers of table \"%s\"", name), DG_DETAIL_GUARD,
										 "Disable those you mean by name, or set session_replication_role to \"replica\" for a while: the guard's work then, too.");
			break;
	}
}

static void
check_alter_guarded(AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
		check_alter_command(stmt, lfirst(lc));
}

/*
 * CREATE OR REPLACE could put another function behind a trigger of ours.
 */
static void
check_guard_trigger(CreateTrigStmt *stmt)
{
	Oid			relid;

	if (!stmt->replace || strncmp(stmt->trigname, DG_TRIGGER_PREFIX, strlen(DG_TRIGGER_PREFIX)) != 0)
		return;
	relid = RangeVarGetRelid(stmt->relation, AccessShareLock, true);
	if (OidIsValid(relid) && dg_guard_is_guarded(relid))
		dg_protect_refuse_on_guarded(relid, psprintf("replace trigger \"%s\" of table \"%s\"", stmt->trigname, get_rel_name(relid)),
									 DG_DETAIL_GUARD, NULL);
}

/*
 * False for commands that sessions run all the time and that need no look at
 * the catalog.
 */
static bool
is_ddl(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_TransactionStmt:
		case T_VariableSetStmt:
		case T_VariableShowStmt:
		case T_PrepareStmt:
		case T_ExecuteStmt:
		case T_DeallocateStmt:
		case T_DeclareCursorStmt:
		case T_FetchStmt:
		case T_ClosePortalStmt:
		case T_CopyStmt:
		case T_ExplainStmt:
		case T_CallStmt:
		case T_DoStmt:
		case T_NotifyStmt:
		case T_ListenStmt:
		case T_UnlistenStmt:
		case T_LockStmt:
		case T_VacuumStmt:
		case T_CheckPointStmt:
		case T_DiscardStmt:
		case T_ConstraintsSetStmt:
			return false;
		default:
			return true;
	}
}

/*
 * Where the extension lacks tables that this library knows, as after a new
 * package and before ALTER EXTENSION UPDATE, nobody can tell what is guarded.
 * Then DDL waits for that command.
 */
static void
check_without_registry(Node *parsetree)
{
	if (dg_ddl_allowed() || IsA(parsetree, ReindexStmt) ||
		(IsA(parsetree, AlterExtensionStmt) &&
		 strcmp(((AlterExtensionStmt *) parsetree)->extname, "deletion_guard") == 0))
		return;
	if (dg_present())
		(void) dg_objects();
}

/*
 * Refuses a utility command that is about to run and is not the extension's.
 * Called by the hook, and by the event trigger for the command that loaded the
 * library.
 */
void
dg_protect_check_utility(Node *parsetree)
{
	if (parsetree == NULL || !is_ddl(parsetree))
		return;
	if (!dg_installed())
	{
		check_without_registry(parsetree);
		return;
	}
	dg_protect_store_check_utility(parsetree);
	if (IsA(parsetree, DropStmt))
		check_drop_table((DropStmt *) parsetree);
	else if (IsA(parsetree, AlterTableStmt))
		check_alter_guarded((AlterTableStmt *) parsetree);
	else if (IsA(parsetree, CreateTrigStmt))
		check_guard_trigger((CreateTrigStmt *) parsetree);
}
