/*
 * protect_ddl.c
 *		Event triggers: protection follows the tables as they change.
 *
 * ddl_start() is there to be called: that loads the library in a session that
 * has not used it, before the command does anything. ddl_end() guards new
 * partitions, new inheritance children and, in schemas enrolled with
 * include_future, new tables; and it follows renames. A temporary table that
 * inherits from a guarded one is not guarded, but its parent is captured row
 * by row from then on, so that its rows are not taken for the parent's.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "bin/bin.h"
#include "capture/capture.h"
#include "common/own_tables.h"
#include "enrol/enrol.h"
#include "guard/guard.h"
#include "protect/protect_internal.h"

PG_FUNCTION_INFO_V1(dg_ddl_start);
PG_FUNCTION_INFO_V1(dg_ddl_end);

static EventTriggerData *
event_trigger_data(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not called by the event trigger manager")));
	return (EventTriggerData *) fcinfo->context;
}

/*
 * A dump brings the triggers of its tables. Where tables are restored into an
 * enrolled schema, they have got theirs by then.
 */
static void
let_dump_replace_trigger(Node *parsetree)
{
	CreateTrigStmt *stmt = (CreateTrigStmt *) parsetree;

	if (IsA(stmt, CreateTrigStmt) && dg_restoring && superuser() &&
		strncmp(stmt->trigname, DG_TRIGGER_PREFIX, strlen(DG_TRIGGER_PREFIX)) == 0)
		stmt->replace = true;
}

/*
 * Event trigger: a command begins.
 */
Datum
dg_ddl_start(PG_FUNCTION_ARGS)
{
	EventTriggerData *data = event_trigger_data(fcinfo);

	if (dg_on_duty() && !dg_acting())
	{
		dg_protect_check_utility(data->parsetree);
		let_dump_replace_trigger(data->parsetree);
		dg_capture_balance_look();
		dg_protect_keep_before(data->parsetree);
		dg_protect_keep_columns_before(data->parsetree);
	}
	/* the hook has not seen the command that loaded the library */
	if (dg_on_duty())
		dg_protect_command_begin(data->parsetree);
	return PointerGetDatum(NULL);
}

/* ----------------------------------------------------------------------
 * Renames
 * ----------------------------------------------------------------------
 */

/*
 * Gives a path, in the registry of a guarded table, another name for one of
 * its constraints.
 */
static void
update_path(Oid relid, List *path)
{
	Oid			types[] = {OIDOID, NAMEARRAYOID};
	Datum		values[] = {ObjectIdGetDatum(relid), dg_name_array(path)};

	dg_query("UPDATE deletion_guard.guard SET tenant_path = $2 WHERE relation = $1",
			 DG_AS_US, 2, types, values);
	dg_guard_changed(relid);
}

static List *
copy_names(List *names)
{
	List	   *copy = NIL;
	ListCell   *lc;

	foreach(lc, names)
		copy = lappend(copy, pstrdup(lfirst(lc)));
	return copy;
}

/*
 * A foreign key of one of relids has a new name: follow it in every path that
 * leads over it.
 */
static void
rename_in_paths(List *relids, const char *old, const char *new)
{
	ListCell   *lc;

	dg_query("SELECT relation FROM deletion_guard.guard WHERE tenant_path IS NOT NULL", DG_AS_US);
	foreach(lc, dg_row_oids(1))
	{
		List	   *path = copy_names(dg_guard_lookup(lfirst_oid(lc))->tenant_path);

		if (dg_guard_rename_in_path(lfirst_oid(lc), path, relids, old, new))
			update_path(lfirst_oid(lc), path);
	}
}

/*
 * The registries name columns and constraints; a rename changes them there,
 * for the table and for those that inherit from it.
 */
static void
follow_rename(RenameStmt *stmt)
{
	static const char *const column_updates[] = {
		"UPDATE deletion_guard.guard SET tenant_column = $3 WHERE relation = ANY ($1) AND tenant_column = $2",
		"UPDATE deletion_guard.guard_step SET columns = array_replace(columns, $2, $3),"
		" type_column = CASE type_column WHEN $2 THEN $3 ELSE type_column END WHERE source = ANY ($1)",
		"UPDATE deletion_guard.guard_step SET key_columns = array_replace(key_columns, $2, $3) WHERE target = ANY ($1)",
		"UPDATE deletion_guard.tenant_table SET key_column = $3 WHERE relation = ANY ($1) AND key_column = $2",
		"UPDATE deletion_guard.tenant_table SET name_column = $3 WHERE relation = ANY ($1) AND name_column = $2",
		"UPDATE deletion_guard.tenant_table SET contact_column = $3 WHERE relation = ANY ($1) AND contact_column = $2",
	};
	Oid			types[] = {OIDARRAYOID, NAMEOID, NAMEOID};
	Datum		values[3];
	Oid			relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	List	   *relids;
	ListCell   *lc;

	if (!OidIsValid(relid))
		return;
	relids = find_all_inheritors(relid, NoLock, NULL);
	values[0] = dg_oid_array(relids);
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(stmt->subname));
	values[2] = DirectFunctionCall1(namein, CStringGetDatum(stmt->newname));

	if (stmt->renameType == OBJECT_COLUMN)
	{
		for (int i = 0; i < lengthof(column_updates); i++)
			dg_query(column_updates[i], DG_AS_US, 3, types, values);
		foreach(lc, relids)
		{
			dg_bin_rename_column(lfirst_oid(lc), stmt->subname, stmt->newname);
			dg_capture_link_rename_column(lfirst_oid(lc), stmt->subname, stmt->newname);
		}
	}
	else
	{
		rename_in_paths(relids, stmt->subname, stmt->newname);
		dg_query("UPDATE deletion_guard.guard_step SET foreign_key = $3 WHERE source = ANY ($1) AND foreign_key = $2",
				 DG_AS_US, 3, types, values);
	}
	dg_guard_tenant_table_changed();
}

/* ----------------------------------------------------------------------
 * New tables
 * ----------------------------------------------------------------------
 */

/*
 * The guarded tables that this one inherits from, other than as a partition.
 */
static List *
guarded_parents(Oid relid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};

	if (get_rel_relispartition(relid) || !has_superclass(relid))
		return NIL;
	dg_query("SELECT g.relation FROM pg_inherits i"
			 " JOIN deletion_guard.guard g ON g.relation = i.inhparent"
			 " WHERE i.inhrelid = $1 ORDER BY i.inhseqno", DG_AS_US, 1, types, values,
			 .snapshot = GetLatestSnapshot());
	return dg_row_oids(1);
}

/*
 * Guards a table as another is guarded.
 */
static void
enrol_as(Oid relid, const DgGuard *guard)
{
	DgTenantSource source = dg_guard_source(guard);

	dg_enrol_table(relid, &source);
}

/*
 * A partition that was guarded by itself is covered by its root from now on.
 */
static void
merge_guard(Oid relid)
{
	dg_own_delete_by_oid(DG_OWN(guard), Anum_guard_relation, relid);
	dg_guard_changed(relid);
	CommandCounterIncrement();
}

/*
 * A guarded table, or one below it, is no ordinary one: its rows would leave without
 * going to the bin.
 */
static void
refuse_odd(Oid relid, Oid parent, const DgOddity *odd)
{
	ereport(dg_ddl_allowed() ? LOG_SERVER_ONLY : ERROR,
			(errcode(DG_ERRCODE_GUARDED_OBJECT),
			 relid == parent ? errmsg("guarded table \"%s\" cannot be %s", get_rel_name(relid), odd->what) :
			 errmsg("\"%s\" cannot be a %s of guarded table \"%s\": it is %s", get_rel_name(relid),
					get_rel_relispartition(relid) ? "partition" : "child", get_rel_name(parent), odd->what),
			 errdetail("Rows that are deleted from it could not be kept here."),
			 errhint("%s", odd->hint)));
}

/*
 * Tables below one that was made or altered: new partitions and inheritance
 * children are guarded as their parent is; those guarded already may need
 * other triggers than before.
 */
static void
follow_members(Oid relid, DgGuard *guard)
{
	bool		guarded = guard != NULL && guard->guarded;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Oid			member = lfirst_oid(lc);
		DgOddity	odd;

		if (dg_is_odd(member, &odd))
		{
			if (guarded && odd.managed && member == guard->root)
				dg_protect_check_taken(member);
			else if (guarded)
				refuse_odd(member, guard->root, &odd);
			continue;
		}

		/*
		 * its rows end with its session, and are no rows of its parent's
		 * meanwhile
		 */
		if (get_rel_persistence(member) == RELPERSISTENCE_TEMP)
			continue;
		if (guarded && member != relid && get_rel_relispartition(member) &&
			dg_guard_lookup(member)->root == member)
			merge_guard(member);
		if (dg_guard_lookup(member)->guarded)
			dg_guard_create_triggers(member);
		else if (guarded)
			enrol_as(member, guard);
	}
}

/*
 * A table was created or altered: does it have to be guarded now?
 */
static void
follow_table(Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	bool		temporary = get_rel_persistence(relid) == RELPERSISTENCE_TEMP;
	List	   *parents;
	DgGuard    *guard;
	ListCell   *lc;

	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE &&
		relkind != RELKIND_FOREIGN_TABLE)
		return;
	parents = guarded_parents(relid);
	foreach(lc, parents)
	{
		guard = dg_guard_lookup(lfirst_oid(lc));
		if (dg_guard_is_complete(guard->root))
			follow_members(guard->relid, guard);
	}
	if (temporary)
		return;

	guard = dg_guard_lookup(relid);
	if (guard->guarded)
	{
		if (dg_guard_is_complete(guard->root))
			follow_members(relid, guard);
	}
	else if (parents == NIL)
	{
		follow_members(relid, NULL);
		if (relkind != RELKIND_FOREIGN_TABLE && !get_rel_relispartition(relid))
			dg_protect_guard_future_table(relid);
	}
}

/*
 * A table was a partition of a guarded one.
 */
static void
note_detached(Oid relid, Oid root)
{
	Oid			types[] = {OIDOID, OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid), ObjectIdGetDatum(root)};

	dg_query("UPDATE deletion_guard.guard SET detached_from = $2 WHERE relation = $1",
			 DG_AS_US, 2, types, values);
	dg_guard_changed(relid);
}

/*
 * A partition was detached: it is guarded by itself from now on, as its parent is.
 */
static void
follow_detach(AlterTableStmt *stmt, PartitionCmd *cmd)
{
	Oid			parent = RangeVarGetRelid(stmt->relation, NoLock, true);
	Oid			relid = RangeVarGetRelid(cmd->name, NoLock, true);
	DgGuard    *guard;

	if (!OidIsValid(parent) || !OidIsValid(relid) ||
		get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
		return;
	guard = dg_guard_lookup(parent);
	if (guard->guarded && !dg_guard_lookup(relid)->guarded)
	{
		Oid			root = guard->root;

		enrol_as(relid, guard);
		note_detached(relid, root);
	}
	else
		follow_table(relid);
}

/*
 * Partitions and parents that ALTER TABLE has taken a table away from.
 */
static void
follow_departures(AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);

		if (IsA(cmd, AlterTableCmd) &&
			(cmd->subtype == AT_DetachPartition || cmd->subtype == AT_DetachPartitionFinalize))
			follow_detach(stmt, castNode(PartitionCmd, cmd->def));
		else if (IsA(cmd, AlterTableCmd) && cmd->subtype == AT_DropInherit)
			follow_table(RangeVarGetRelid(castNode(RangeVar, cmd->def), NoLock, false));
	}
}

/*
 * Row security of a table that ALTER TABLE may have turned on or off.
 */
static void
follow_row_security(AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);
		Oid			relid;

		if (cmd->subtype != AT_EnableRowSecurity && cmd->subtype != AT_DisableRowSecurity)
			continue;
		relid = RangeVarGetRelid(stmt->relation, NoLock, true);
		if (OidIsValid(relid) && !dg_is_store(relid))
			dg_bin_follow_row_security(relid);
	}
}

/*
 * Tables that the command has touched, as the server reports them.
 */
static List *
touched_tables(void)
{
	static SPIPlanPtr plan = NULL;

	dg_query("SELECT DISTINCT objid FROM pg_event_trigger_ddl_commands()"
			 " WHERE classid = 'pg_class'::regclass AND object_type IN ('table', 'table column', 'foreign table')"
			 " AND command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE',"
			 " 'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE')", DG_AS_US,
			 .snapshot = GetLatestSnapshot(),.plan = &plan,.for_session = true);
	return dg_row_oids(1);
}

/*
 * Can the command have changed which tables belong together, their foreign
 * keys, or all of their triggers? Nothing else needs following, least of all
 * what pg_restore does to a guarded table before it has made the triggers.
 */
static bool
changes_members(Node *parsetree)
{
	ListCell   *lc;

	if (!IsA(parsetree, AlterTableStmt))
		return true;
	foreach(lc, ((AlterTableStmt *) parsetree)->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);

		switch (cmd->subtype)
		{
			case AT_AttachPartition:
			case AT_DetachPartition:
			case AT_DetachPartitionFinalize:
			case AT_AddInherit:
			case AT_DropInherit:
			case AT_SetAccessMethod:
			case AT_AddColumn:
			case AT_AlterConstraint:
			case AT_DropConstraint:
			case AT_EnableTrigAll:
			case AT_EnableTrigUser:
				return true;
			case AT_AddConstraint:
				if (castNode(Constraint, cmd->def)->contype == CONSTR_FOREIGN)
					return true;
				break;
			default:
				break;
		}
	}
	return false;
}

/*
 * CREATE TRIGGER leaves a guard trigger without the state it should have, also
 * where it replaces one.
 */
static void
follow_trigger(CreateTrigStmt *stmt)
{
	Oid			relid = RangeVarGetRelid(stmt->relation, NoLock, true);

	if (OidIsValid(relid) && strncmp(stmt->trigname, DG_TRIGGER_PREFIX, strlen(DG_TRIGGER_PREFIX)) == 0 &&
		dg_guard_lookup(relid)->guarded)
		dg_guard_enable_trigger(relid, stmt->trigname);
}

/*
 * The name of a schema that was created; without one it has its owner's.
 */
static const char *
new_schema(CreateSchemaStmt *stmt)
{
	return stmt->schemaname != NULL ? stmt->schemaname : get_rolespec_name(stmt->authrole);
}

/*
 * Event trigger: a command is done. Follows what it has made, altered and renamed.
 */
Datum
dg_ddl_end(PG_FUNCTION_ARGS)
{
	EventTriggerData *data = event_trigger_data(fcinfo);
	List	   *relids;
	ListCell   *lc;

	/*
	 * what the extension does itself needs no following; nor is there
	 * anything to follow yet
	 */
	if (!dg_on_duty() || dg_acting() || !dg_installed())
		return PointerGetDatum(NULL);
	if (dg_protect_access_judges_after(data->parsetree))
		dg_protect_access_check_after(data->parsetree);

	SPI_connect();
	if (IsA(data->parsetree, RenameStmt))
	{
		RenameStmt *stmt = (RenameStmt *) data->parsetree;

		if (stmt->renameType == OBJECT_COLUMN || stmt->renameType == OBJECT_TABCONSTRAINT)
			follow_rename(stmt);
		else if (stmt->renameType == OBJECT_SCHEMA)
			dg_protect_follow_schema(stmt->subname, stmt->newname);
	}
	if (IsA(data->parsetree, CreateTrigStmt))
		follow_trigger((CreateTrigStmt *) data->parsetree);
	if (IsA(data->parsetree, AlterObjectSchemaStmt))
		dg_protect_check_moved((AlterObjectSchemaStmt *) data->parsetree);
	if (IsA(data->parsetree, CreatePublicationStmt) || IsA(data->parsetree, AlterPublicationStmt))
		dg_guard_publication_follow(data->parsetree);
	if (IsA(data->parsetree, CreateSchemaStmt))
		dg_protect_follow_new_schema(new_schema((CreateSchemaStmt *) data->parsetree));
	relids = changes_members(data->parsetree) ? touched_tables() : NIL;
	foreach(lc, relids)
		follow_table(lfirst_oid(lc));
	if (IsA(data->parsetree, AlterTableStmt))
	{
		follow_departures((AlterTableStmt *) data->parsetree);
		follow_row_security((AlterTableStmt *) data->parsetree);
	}
	SPI_finish();
	dg_capture_balance_look();
	return PointerGetDatum(NULL);
}
