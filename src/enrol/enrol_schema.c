/*
 * enrol_schema.c
 *		guard_schema(): enrols every table of a schema whose tenant is plain, and
 *		the schema itself for tables to come (protect_ddl.c).
 *
 * Locks: as guard_table() takes them (enrol.c), for each table. Before
 * that, one on the schema, as guarded_schema lists them: a session that creates
 * a table there shares it until the end of its transaction, so that each table
 * is either found here or guarded as it is created.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "common/compat.h"
#include "common/deletion_guard.h"
#include "enrol/enrol_internal.h"
#include "guard/guard.h"

PG_FUNCTION_INFO_V1(dg_guard_schema);

static void
report_table(ReturnSetInfo *rsinfo, Oid relid, const char *source, const char *problem)
{
	Datum		values[3] = {ObjectIdGetDatum(relid)};
	bool		nulls[3] = {false, source == NULL, problem == NULL};

	if (source != NULL)
		values[1] = CStringGetTextDatum(source);
	if (problem != NULL)
		values[2] = CStringGetTextDatum(problem);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static char *
tenant_source_text(const char *column, List *path)
{
	return column != NULL ? psprintf("column %s", quote_identifier(column)) : dg_guard_path_text(path);
}

/*
 * Reports a table whose tenant is not plain. It may be guarded all the same, if
 * somebody has called guard_table() for it; then it stays as it is.
 */
static void
report_unplain(ReturnSetInfo *rsinfo, const DgGuard *guard, const char *problem)
{
	if (!guard->guarded)
		report_table(rsinfo, guard->relid, NULL, problem);
	else if (!guard->has_tenant_column && guard->tenant_path == NIL)
		report_table(rsinfo, guard->relid, NULL, NULL);
	else
		report_table(rsinfo, guard->relid,
					 tenant_source_text(guard->has_tenant_column ? NameStr(guard->tenant_column) : NULL, guard->tenant_path),
					 NULL);
}

/* A table of a schema that is to be guarded. */
typedef struct SchemaTable
{
	ReturnSetInfo *rsinfo;
	Oid			relid;
	const char *tenant_column;
} SchemaTable;

/*
 * Guards one table of a schema and reports how, or why not.
 */
static void
guard_schema_table(void *arg)
{
	ReturnSetInfo *rsinfo = ((SchemaTable *) arg)->rsinfo;
	Oid			relid = ((SchemaTable *) arg)->relid;
	const char *tenant_column = ((SchemaTable *) arg)->tenant_column;
	const DgTenantTable *tenants = dg_guard_tenant_table();
	Relation	rel = try_table_open(relid, ShareRowExclusiveLock);
	const char *column = relid == tenants->relid ? NameStr(tenants->key_column) : tenant_column;
	char	   *problem = NULL;
	List	   *path = NIL;

	if (rel == NULL)
		return;					/* dropped meanwhile */
	dg_enrol_check_owner(rel);
	(void) dg_enrol_require(rel, ERROR);
	column = get_attnum(relid, column) > 0 ? pstrdup(column) : NULL;
	if (column == NULL)
		path = dg_guard_find_path(rel, tenant_column, &problem);
	table_close(rel, NoLock);

	if (column == NULL && path == NIL)
	{
		report_unplain(rsinfo, dg_guard_lookup(relid), problem);
		return;
	}
	dg_enrol_table(relid, column, path);
	dg_enrol_record(relid);
	report_table(rsinfo, relid, tenant_source_text(column, path),
				 dg_enrol_is_unlogged(relid) ? "it is unlogged: a crash empties it, without its rows having gone to the bin; ALTER TABLE ... SET LOGGED" : NULL);
}

/*
 * Tables of a schema that can be guarded: no partitions, children after their
 * parents. Palloc'd list of OIDs.
 */
static List *
tables_of_schema(Oid nspid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(nspid)};

	dg_query("SELECT oid FROM pg_class WHERE relnamespace = $1"
			 " AND relkind IN ('r', 'p', 'f') AND NOT relispartition AND relpersistence <> 't'"
			 " ORDER BY oid", DG_AS_US, 1, types, values,
			 .snapshot = GetLatestSnapshot());
	return dg_row_oids(1);
}

/*
 * Takes schemas that do not exist any more off the list of those whose future
 * tables are guarded. The caller is connected to SPI.
 */
static void
forget_schemas(void)
{
	dg_query("DELETE FROM deletion_guard.guarded_schema s"
			 " WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = s.schema_name)",
			 DG_AS_US);
}

/*
 * guard_schema(target regnamespace, tenant_column name, include_future boolean)
 *		-> setof (relation regclass, tenant_source text, problem text)
 */
Datum
dg_guard_schema(PG_FUNCTION_ARGS)
{
	Oid			nspid = PG_GETARG_OID(0);
	char	   *tenant_column = pstrdup(NameStr(*PG_GETARG_NAME(1)));
	char	   *nspname = get_namespace_name(nspid);
	Oid			types[] = {NAMEOID, NAMEOID};
	Datum		values[2];
	List	   *relids;
	ListCell   *lc;

	if (nspname == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("schema with OID %u does not exist", nspid)));
	if (!dg_namespace_ownercheck(nspid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_SCHEMA, nspname);

	dg_guard_publication_check("guard tables");
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	dg_lock_object(dg_objects()->guarded_schema, nspid, ExclusiveLock);
	relids = tables_of_schema(nspid);
	foreach(lc, relids)
	{
		SchemaTable table = {(ReturnSetInfo *) fcinfo->resultinfo, lfirst_oid(lc), tenant_column};
		ErrorData  *error = dg_try(guard_schema_table, &table, true);

		if (error != NULL)
			report_table(table.rsinfo, table.relid, NULL,
						 error->hint == NULL ? error->message : psprintf("%s (%s)", error->message, error->hint));
	}

	forget_schemas();
	values[0] = DirectFunctionCall1(namein, CStringGetDatum(nspname));
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(tenant_column));
	if (PG_GETARG_BOOL(2))
		dg_query("INSERT INTO deletion_guard.guarded_schema (schema_name, tenant_column)"
				 " VALUES ($1, $2) ON CONFLICT (schema_name) DO UPDATE SET tenant_column = EXCLUDED.tenant_column",
				 DG_AS_US, 2, types, values);
	else
		dg_query("DELETE FROM deletion_guard.guarded_schema WHERE schema_name = $1",
				 DG_AS_US, 1, types, values);
	SPI_finish();
	return (Datum) 0;
}
