/*
 * guard_ddl.c
 *		Event triggers: protection follows the tables as they change.
 *
 * ddl_start() has little to do but to be there: it loads the library in a
 * session that has not used it, before the command does anything. ddl_end()
 * guards new partitions, new inheritance children and, in schemas enrolled
 * with include_future, new tables; and it follows renames.
 */
#include "guard.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

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

Datum
dg_ddl_start(PG_FUNCTION_ARGS)
{
	dg_guard_check_utility(event_trigger_data(fcinfo)->parsetree);
	return PointerGetDatum(NULL);
}

/* ----------------------------------------------------------------------
 * Renames
 * ----------------------------------------------------------------------
 */

/*
 * The registries name columns and constraints; a rename changes them there,
 * for the table and for those that inherit from it.
 */
static void
follow_rename(RenameStmt *stmt)
{
	static const char *const column_updates[] = {
		"UPDATE deletion_guard.guard SET tenant_column = $3 WHERE relation = ANY ($1) AND tenant_column = $2",
		"UPDATE deletion_guard.tenant_table SET key_column = $3 WHERE relation = ANY ($1) AND key_column = $2",
		"UPDATE deletion_guard.tenant_table SET name_column = $3 WHERE relation = ANY ($1) AND name_column = $2",
		"UPDATE deletion_guard.tenant_table SET contact_column = $3 WHERE relation = ANY ($1) AND contact_column = $2",
	};
	Oid			types[] = {OIDARRAYOID, NAMEOID, NAMEOID};
	Datum		values[3];
	Oid			relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	List	   *relids;
	Datum	   *elems;

	if (!OidIsValid(relid))
		return;
	relids = find_all_inheritors(relid, NoLock, NULL);
	elems = palloc(sizeof(Datum) * list_length(relids));
	for (int i = 0; i < list_length(relids); i++)
		elems[i] = ObjectIdGetDatum(list_nth_oid(relids, i));
	values[0] = PointerGetDatum(construct_array(elems, list_length(relids), OIDOID,
												sizeof(Oid), true, TYPALIGN_INT));
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(stmt->subname));
	values[2] = DirectFunctionCall1(namein, CStringGetDatum(stmt->newname));

	if (stmt->renameType == OBJECT_COLUMN)
	{
		for (int i = 0; i < lengthof(column_updates); i++)
			dg_spi_execute(column_updates[i], 3, types, values, NULL);
	}
	else
		dg_spi_execute("UPDATE deletion_guard.guard"
					   " SET tenant_path = pg_catalog.array_replace(tenant_path, $2, $3)"
					   " WHERE relation = ANY ($1) AND tenant_path @> ARRAY[$2]", 3, types, values, NULL);
	dg_tenant_table_changed();
}

/* ----------------------------------------------------------------------
 * New tables
 * ----------------------------------------------------------------------
 */

static bool
guards_a_parent(Oid relid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};

	dg_spi_execute("SELECT g.tenant_column, g.tenant_path FROM pg_inherits i"
				   " JOIN deletion_guard.guard g ON g.relation = i.inhparent"
				   " WHERE i.inhrelid = $1", 1, types, values, NULL);
	return SPI_processed > 0;
}

/*
 * The tenant column of the enrolled schema that a table is in, palloc'd, or
 * NULL.
 */
static char *
future_tenant_column(Oid relid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(get_rel_namespace(relid))};

	dg_spi_execute("SELECT s.tenant_column::text FROM deletion_guard.guarded_schema s"
				   " JOIN pg_namespace n ON n.nspname = s.schema_name WHERE n.oid = $1",
				   1, types, values, NULL);
	if (SPI_processed == 0)
		return NULL;
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

static void
guard_future_table(Relation rel, const char *tenant_column)
{
	char	   *problem = NULL;
	List	   *path;

	if (get_attnum(RelationGetRelid(rel), tenant_column) > 0)
		dg_guard_enrol(rel, tenant_column, NIL);
	else if ((path = dg_guard_find_path(rel, tenant_column, &problem)) != NIL)
		dg_guard_enrol(rel, NULL, path);
}

/*
 * A table was created or altered: does it have to be guarded now?
 */
static void
follow_table(Oid relid)
{
	Relation	rel = try_table_open(relid, ShareRowExclusiveLock);
	DgGuard    *guard;
	char	   *tenant_column;

	if (rel == NULL)
		return;
	guard = dg_guard_lookup(relid);
	if (guard->guarded)
	{
		/* a partition that is new, or a table that has inherited or been inherited from */
		ListCell   *lc;

		foreach(lc, find_all_inheritors(relid, ShareRowExclusiveLock, NULL))
		{
			Oid			member = lfirst_oid(lc);

			if (dg_guard_lookup(member)->guarded)
				dg_guard_create_triggers(member);
			else
				dg_guard_enrol(rel, guard->has_tenant_column ? NameStr(guard->tenant_column) : NULL,
							   guard->tenant_path);
		}
	}
	else if (rel->rd_rel->relpersistence != RELPERSISTENCE_TEMP &&
			 (rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE))
	{
		if (guards_a_parent(relid))
		{
			bool		isnull;
			char	   *column = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

			(void) SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
			dg_guard_enrol(rel, column, NIL);
		}
		else if (!rel->rd_rel->relispartition &&
				 (tenant_column = future_tenant_column(relid)) != NULL)
			guard_future_table(rel, tenant_column);
	}
	table_close(rel, NoLock);
}

/*
 * Tables that the command has touched, as the server reports them.
 */
static List *
touched_tables(void)
{
	List	   *relids = NIL;

	dg_spi_execute("SELECT DISTINCT objid FROM pg_event_trigger_ddl_commands()"
				   " WHERE classid = 'pg_class'::regclass AND object_type IN ('table', 'table column')"
				   " AND command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE')",
				   0, NULL, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		relids = lappend_oid(relids,
							 DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
															SPI_tuptable->tupdesc, 1, &isnull)));
	}
	return relids;
}

Datum
dg_ddl_end(PG_FUNCTION_ARGS)
{
	EventTriggerData *data = event_trigger_data(fcinfo);
	List	   *relids;
	ListCell   *lc;

	/* what the extension does itself needs no following; nor is there anything to follow yet */
	if (dg_acting() || !dg_installed())
		return PointerGetDatum(NULL);

	SPI_connect();
	if (IsA(data->parsetree, RenameStmt))
	{
		RenameStmt *stmt = (RenameStmt *) data->parsetree;

		if (stmt->renameType == OBJECT_COLUMN || stmt->renameType == OBJECT_TABCONSTRAINT)
			follow_rename(stmt);
	}
	relids = touched_tables();
	foreach(lc, relids)
		follow_table(lfirst_oid(lc));
	SPI_finish();
	return PointerGetDatum(NULL);
}
