/*
 * protect_store.c
 *		What must not happen to the extension's own objects: its tables, the
 *		bin, their triggers, its functions and event triggers.
 *
 * Most of them are members of the extension, which PostgreSQL does not let
 * anybody drop one by one. That leaves commands that change what they do, or
 * that take them out of the extension first; those are recognised here by their
 * parse tree, so that the refusal fits the command, and stopped by
 * protect_access.c, whatever the command. Superusers are refused like anybody else.
 *
 * A bin table is an ordinary table, so that pg_dump keeps it: what pg_restore
 * does to one that it has just made is allowed while it is empty, and so is
 * dropping it. Nothing else is: an empty bin that was changed would take the
 * next rows.
 *
 * DROP EXTENSION is allowed once there is nothing left to lose: no guarded
 * table and nothing in the bin.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "guard/guard.h"
#include "protect/protect_internal.h"

#define DETAIL_PROTECTED "What deletion_guard keeps would no longer be protected; no role may do this, superusers included."

/*
 * Refuses a command on an object of ours; "what" is its verb.
 */
void
dg_protect_store_refuse(const char *what, const char *name)
{
	ereport(ERROR,
			(errcode(DG_ERRCODE_PROTECTED_STORE),
			 errmsg("cannot %s \"%s\": it belongs to deletion_guard", what, name),
			 errdetail(DETAIL_PROTECTED),
			 errhint("To remove deletion_guard, unguard its tables, empty the bin, and DROP EXTENSION deletion_guard CASCADE.")));
}

/*
 * Does the table hold any row?
 */
bool
dg_protect_store_has_rows(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	bool		result = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * Does the bin hold any row, of any table?
 */
static bool
bin_has_rows(void)
{
	Relation	rel = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	bool		result = false;
	HeapTuple	tuple;

	while (!result && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relnamespace == dg_objects()->bin_schema && form->relkind == RELKIND_RELATION)
			result = dg_protect_store_has_rows(form->oid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * Is there anything that dropping the extension would lose?
 */
bool
dg_protect_store_at_stake(void)
{
	return dg_protect_store_has_rows(dg_objects()->guard) || bin_has_rows();
}

/* The transaction that allow_drop() has permitted to drop the extension. */
static FullTransactionId allowed_in;

/*
 * Lets objects of ours go until the end of the transaction.
 */
void
dg_protect_store_allow_drop(void)
{
	allowed_in = GetTopFullTransactionId();
}

/*
 * May this transaction drop the extension and tables of the bin, if nothing is
 * in them?
 */
bool
dg_protect_store_drop_allowed(void)
{
	return !dg_locked ||
		(FullTransactionIdIsValid(allowed_in) &&
		 FullTransactionIdEquals(allowed_in, GetTopFullTransactionIdIfAny()));
}

/*
 * Refuses to let objects of ours go without tokens.
 */
void
dg_protect_store_refuse_drop(const char *what)
{
	ereport(ERROR,
			(errcode(DG_ERRCODE_TOKEN_REQUIRED),
			 errmsg("cannot drop %s: deletion_guard.locked is set", what),
			 errhint("Call deletion_guard.allow_drop() with tokens for the act \"unguard\" of \"extension deletion_guard\" first, in the same transaction.")));
}

/* ----------------------------------------------------------------------
 * By the parse tree
 * ----------------------------------------------------------------------
 */

/*
 * The store that a name stands for, or InvalidOid. An empty bin table does not
 * count unless "always".
 */
static Oid
find_store(RangeVar *rv, bool always)
{
	Oid			relid = rv == NULL ? InvalidOid : RangeVarGetRelid(rv, NoLock, true);

	if (!OidIsValid(relid) || !dg_is_store(relid))
		return InvalidOid;
	if (!always && get_rel_namespace(relid) == dg_objects()->bin_schema &&
		get_rel_relkind(relid) == RELKIND_RELATION && !dg_protect_store_has_rows(relid))
		return InvalidOid;
	return relid;
}

static void
check_own_by_name(const char *what, RangeVar *rv, bool always)
{
	Oid			relid = find_store(rv, always);

	if (OidIsValid(relid))
		dg_protect_store_refuse(what, get_rel_name(relid));
}

/*
 * Is it the extension's own owner? Then a store that belongs to somebody else is
 * given back.
 */
static bool
is_own_owner(RoleSpec *role)
{
	return dg_installed() && get_rolespec_oid(role, true) == dg_objects()->owner;
}

/*
 * Does a table of ours hold contents of rows, so that it may have row security?
 */
static bool
holds_contents(Oid relid)
{
	return OidIsValid(relid) && dg_installed() &&
		(relid == dg_objects()->deletion_link || relid == dg_objects()->deletion_part ||
		 relid == dg_objects()->purge_request_record || get_rel_namespace(relid) == dg_objects()->bin_schema);
}

/*
 * Storage settings do no harm, nor does what verify() may advise; and pg_restore
 * sets when the protecting trigger fires, and row security, after it has loaded
 * the rows.
 */
static bool
is_harmless_alter(AlterTableCmd *cmd, RangeVar *table)
{
	switch (cmd->subtype)
	{
		case AT_SetStatistics:
		case AT_SetRelOptions:
		case AT_ResetRelOptions:
		case AT_SetTableSpace:
		case AT_SetCompression:
		case AT_ClusterOn:
		case AT_DropCluster:
		case AT_SetLogged:
		case AT_NoForceRowSecurity:
			return true;
		case AT_EnableRowSecurity:
			return holds_contents(RangeVarGetRelid(table, NoLock, true));
		case AT_ChangeOwner:
			return is_own_owner(cmd->newowner);
		case AT_EnableAlwaysTrig:
			return strncmp(cmd->name, DG_TRIGGER_PREFIX, strlen(DG_TRIGGER_PREFIX)) == 0;
		default:
			return false;
	}
}

/*
 * What pg_restore does to a table before it loads the rows.
 */
static bool
is_pg_restore_command(AlterTableCmd *cmd)
{
	switch (cmd->subtype)
	{
		case AT_ChangeOwner:
		case AT_SetStorage:
		case AT_SetOptions:
		case AT_ReplicaIdentity:
			return true;
		default:
			return false;
	}
}

/*
 * What kind of command is it?
 */
DgCommand
dg_protect_store_command(Node *parsetree)
{
	DgCommand	result = DG_COMMAND_MAINTENANCE;
	ListCell   *lc;

	switch (nodeTag(parsetree))
	{
		case T_VacuumStmt:
		case T_ClusterStmt:
		case T_ReindexStmt:
		case T_AlterTableMoveAllStmt:
		case T_AlterCollationStmt:	/* REFRESH VERSION */
			return DG_COMMAND_MAINTENANCE;
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
			return DG_COMMAND_CREATE;
		case T_CopyStmt:
			return DG_COMMAND_COPY;
		case T_AlterTableStmt:
			foreach(lc, ((AlterTableStmt *) parsetree)->cmds)
			{
				if (is_harmless_alter(lfirst(lc), ((AlterTableStmt *) parsetree)->relation))
					continue;
				if (!is_pg_restore_command(lfirst(lc)))
					return DG_COMMAND_OTHER;
				result = DG_COMMAND_RESTORE;
			}
			return result;
		default:
			return DG_COMMAND_OTHER;
	}
}

static void
check_alter_own(AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);

		/*
		 * a crash empties what is not logged, and an empty bin may be full by
		 * then
		 */
		if (!is_harmless_alter(cmd, stmt->relation))
			check_own_by_name("alter", stmt->relation, !is_pg_restore_command(cmd));
	}
}

/*
 * pg_restore makes the bin tables' protecting triggers again.
 */
static bool
is_protecting_by_name(CreateTrigStmt *stmt)
{
	return !stmt->replace && stmt->whenClause == NULL && !stmt->isconstraint &&
		strncmp(stmt->trigname, DG_TRIGGER_PROTECT, strlen(DG_TRIGGER_PROTECT)) == 0 &&
		list_length(stmt->funcname) == 2 &&
		strcmp(strVal(linitial(stmt->funcname)), "deletion_guard_internal") == 0 &&
		strcmp(strVal(lsecond(stmt->funcname)), "protect") == 0;
}

/*
 * Tools that copy tables while they are in use (pg_repack) make a trigger on each
 * table of the database.
 */
static void
check_own_trigger(CreateTrigStmt *stmt)
{
	Oid			relid = is_protecting_by_name(stmt) ? InvalidOid : find_store(stmt->relation, true);

	if (OidIsValid(relid))
		ereport(ERROR,
				(errcode(DG_ERRCODE_PROTECTED_STORE),
				 errmsg("cannot create a trigger on \"%s\": it belongs to deletion_guard", get_rel_name(relid)),
				 errdetail(DETAIL_PROTECTED),
				 errhint("If a tool makes triggers on all tables, let it leave those of deletion_guard out, as \"pg_repack --exclude-extension=deletion_guard\" does.")));
}

/*
 * DROP of a table, an index, or of a trigger, a rule or a policy on a table.
 */
static void
check_drop_by_name(DropStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->objects)
	{
		List	   *names = lfirst(lc);

		switch (stmt->removeType)
		{
			case OBJECT_INDEX:
				check_own_by_name("drop", makeRangeVarFromNameList(names), true);
				break;
			case OBJECT_TABLE:
				check_own_by_name("drop", makeRangeVarFromNameList(names), false);
				break;
			case OBJECT_TRIGGER:
			case OBJECT_RULE:
			case OBJECT_POLICY:
				/* the last name is the object's own */
				check_own_by_name("alter", makeRangeVarFromNameList(list_truncate(list_copy(names), list_length(names) - 1)), true);
				break;
			default:
				break;
		}
	}
}

/*
 * DROP EXTENSION, so that the refusal does not name some trigger.
 */
static void
check_drop_extension(DropStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "deletion_guard") != 0)
			continue;
		if (!dg_protect_store_drop_allowed())
			dg_protect_store_refuse_drop("extension deletion_guard");
		if (dg_protect_store_at_stake())
			ereport(ERROR,
					(errcode(DG_ERRCODE_PROTECTED_STORE),
					 errmsg("cannot drop extension deletion_guard: tables are guarded, or the bin holds deleted rows"),
					 errhint("Undelete the rows or purge them with a signed token, unguard the tables listed in deletion_guard.guarded_table, and add CASCADE.")));
	}
}

static bool
is_our_schema(const char *name)
{
	return name != NULL && (strcmp(name, "deletion_guard") == 0 || strcmp(name, "deletion_guard_bin") == 0 ||
							strcmp(name, "deletion_guard_internal") == 0);
}

static void
check_rename(RenameStmt *stmt)
{
	if (stmt->renameType == OBJECT_SCHEMA && is_our_schema(stmt->subname))
		dg_protect_store_refuse("rename schema", stmt->subname);
	if (stmt->relation != NULL)
		check_own_by_name(stmt->renameType == OBJECT_COLUMN ? "rename a column of" :
						  stmt->renameType == OBJECT_TABCONSTRAINT ? "rename a constraint of" :
						  stmt->renameType == OBJECT_TRIGGER ? "rename a trigger of" : "rename",
						  stmt->relation, true);
}

static void
check_owner(AlterOwnerStmt *stmt)
{
	if (stmt->objectType == OBJECT_SCHEMA && is_our_schema(strVal(stmt->object)) && !is_own_owner(stmt->newowner))
		dg_protect_store_refuse("change the owner of schema", strVal(stmt->object));
}

/*
 * Refuses a utility command that is about to run, if it concerns one of our own
 * objects and its parse tree says so.
 */
void
dg_protect_store_check_utility(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_AlterTableStmt:
			check_alter_own((AlterTableStmt *) parsetree);
			break;
		case T_CreateTrigStmt:
			check_own_trigger((CreateTrigStmt *) parsetree);
			break;
		case T_RuleStmt:
			check_own_by_name("create a rule on", ((RuleStmt *) parsetree)->relation, true);
			break;
		case T_IndexStmt:
			check_own_by_name("create an index on", ((IndexStmt *) parsetree)->relation, true);
			break;
		case T_CreatePolicyStmt:
			check_own_by_name("create a policy on", ((CreatePolicyStmt *) parsetree)->table, true);
			break;
		case T_ViewStmt:
			if (((ViewStmt *) parsetree)->replace)
				check_own_by_name("replace", ((ViewStmt *) parsetree)->view, true);
			break;
		case T_AlterSeqStmt:
			check_own_by_name("alter", ((AlterSeqStmt *) parsetree)->sequence, true);
			break;
		case T_AlterObjectSchemaStmt:
			check_own_by_name("set the schema of", ((AlterObjectSchemaStmt *) parsetree)->relation, true);
			break;
		case T_RenameStmt:
			check_rename((RenameStmt *) parsetree);
			break;
		case T_AlterOwnerStmt:
			check_owner((AlterOwnerStmt *) parsetree);
			break;
		case T_DropStmt:
			if (((DropStmt *) parsetree)->removeType == OBJECT_EXTENSION)
				check_drop_extension((DropStmt *) parsetree);
			else
				check_drop_by_name((DropStmt *) parsetree);
			break;
		case T_AlterExtensionContentsStmt:
			if (strcmp(((AlterExtensionContentsStmt *) parsetree)->extname, "deletion_guard") == 0)
				dg_protect_store_refuse("change the members of extension", "deletion_guard");
			break;
		default:
			break;
	}
}
