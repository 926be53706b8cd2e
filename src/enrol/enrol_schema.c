/*
 * enrol_schema.c
 *		guard_schema(): enrols every table of a schema whose tenant is plain, and
 *		the schema itself for tables to come (protect_ddl.c). leave_unguarded(): says
 *		that one is not to be.
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
#include "ledger/ledger.h"

PG_FUNCTION_INFO_V1(dg_guard_schema);
PG_FUNCTION_INFO_V1(dg_leave_unguarded);

/*
 * How the tenants of a table are told whose schema is enrolled: the tenant table by
 * its key. False if it is not plain; *problem says why.
 */
bool
dg_enrol_source_in_schema(Relation rel, const DgTenantSource *of_schema, DgTenantSource *source, char **problem)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	const char *column = RelationGetRelid(rel) == tenants->relid ? NameStr(tenants->key_column) : of_schema->column;

	*problem = NULL;
	memset(source, 0, sizeof(DgTenantSource));
	if (column == NULL)
		source->tenant = of_schema->tenant;
	else if (get_attnum(RelationGetRelid(rel), column) > 0)
		source->column = pstrdup(column);
	else
		source->path = dg_guard_find_path(rel, column, problem);
	return *problem == NULL;
}

static void
report_table(DgSchemaReport *report, Oid relid, const char *source, const char *problem)
{
	Datum		values[3] = {ObjectIdGetDatum(relid)};
	bool		nulls[3] = {false, source == NULL, problem == NULL};

	report->tables += (source != NULL);
	if (report->rsinfo == NULL)
	{
		if (problem != NULL)
			appendStringInfo(&report->problems, "%s%s: %s", report->problems.len > 0 ? "; " : "",
							 dg_relation_name(relid), problem);
		return;
	}
	if (source != NULL)
		values[1] = CStringGetTextDatum(source);
	if (problem != NULL)
		values[2] = CStringGetTextDatum(problem);
	tuplestore_putvalues(report->rsinfo->setResult, report->rsinfo->setDesc, values, nulls);
}

/*
 * Reports a table whose tenant is not plain. It may be guarded all the same, if
 * somebody has called guard_table() for it; then it stays as it is.
 */
static void
report_unplain(DgSchemaReport *report, const DgGuard *guard, const char *problem)
{
	DgTenantSource source = dg_guard_source(guard);

	report_table(report, guard->relid, guard->guarded ? dg_guard_source_text(&source) : NULL,
				 guard->guarded ? NULL : problem);
}

/* A table of a schema that is to be guarded. */
typedef struct SchemaTable
{
	DgSchemaReport *report;
	Oid			relid;
	const DgTenantSource *of_schema;
} SchemaTable;

/*
 * Guards one table of a schema and reports how, or why not.
 */
static void
guard_schema_table(void *arg)
{
	DgSchemaReport *report = ((SchemaTable *) arg)->report;
	Oid			relid = ((SchemaTable *) arg)->relid;
	Relation	rel = try_table_open(relid, ShareRowExclusiveLock);
	DgTenantSource source;
	char	   *problem = dg_enrol_left(relid);
	bool		plain;

	if (rel == NULL)
		return;					/* dropped meanwhile */
	dg_enrol_check_owner(rel);
	if (problem != NULL)
	{
		table_close(rel, NoLock);
		report_table(report, relid, NULL, problem);
		return;
	}
	(void) dg_enrol_require(rel, ERROR);
	plain = dg_enrol_source_in_schema(rel, ((SchemaTable *) arg)->of_schema, &source, &problem);
	table_close(rel, NoLock);

	if (!plain)
	{
		report_unplain(report, dg_guard_lookup(relid), problem);
		return;
	}
	dg_enrol_table(relid, &source);
	dg_enrol_record(relid);
	report_table(report, relid, dg_guard_source_text(&source),
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
 * tables are guarded; but for tenants', which may come back out of an archive. The
 * caller is connected to SPI.
 */
static void
forget_schemas(void)
{
	dg_query("DELETE FROM deletion_guard.guarded_schema s"
			 " WHERE s.tenant IS NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = s.schema_name)",
			 DG_AS_US);
}

/*
 * Writes down how tenants are told in tables that are to come into a schema.
 */
void
dg_enrol_register_schema(const char *name, const DgTenantSource *source)
{
	Oid			types[] = {NAMEOID, NAMEOID, TEXTOID};
	Datum		values[3] = {DirectFunctionCall1(namein, CStringGetDatum(name))};
	char		nulls[3] = {' ', 'n', 'n'};

	if (source->column != NULL)
	{
		values[1] = DirectFunctionCall1(namein, CStringGetDatum(source->column));
		nulls[1] = ' ';
	}
	else
	{
		values[2] = CStringGetTextDatum(source->tenant);
		nulls[2] = ' ';
	}
	dg_query("INSERT INTO deletion_guard.guarded_schema (schema_name, tenant_column, tenant)"
			 " VALUES ($1, $2, $3) ON CONFLICT (schema_name) DO UPDATE"
			 " SET tenant_column = EXCLUDED.tenant_column, tenant = EXCLUDED.tenant",
			 DG_AS_US, 3, types, values, nulls);
}

/*
 * Takes a schema from the list of those that are guarded. The caller is connected to
 * SPI.
 */
static void
unregister_schema(const char *name)
{
	Oid			types[] = {NAMEOID};
	Datum		values[] = {DirectFunctionCall1(namein, CStringGetDatum(name))};

	dg_query("DELETE FROM deletion_guard.guarded_schema WHERE schema_name = $1", DG_AS_US, 1, types, values);
}

static DgTenantSource
schema_source_arguments(FunctionCallInfo fcinfo)
{
	DgTenantSource source = {0};

	if (PG_ARGISNULL(1) == PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("give either a tenant_column or a tenant")));
	if (!PG_ARGISNULL(1))
		source.column = pstrdup(NameStr(*PG_GETARG_NAME(1)));
	else
		source.tenant = dg_enrol_tenant(InvalidOid, text_to_cstring(PG_GETARG_TEXT_PP(3)));
	return source;
}

/*
 * Guards the tables of a schema, and enrols it for those to come; as the caller, who
 * must own them. The caller is connected to SPI.
 */
void
dg_enrol_schema(DgSchemaReport *report, Oid nspid, const DgTenantSource *source, bool include_future)
{
	char	   *nspname = get_namespace_name(nspid);
	ListCell   *lc;

	if (nspname == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("schema with OID %u does not exist", nspid)));
	if (!dg_namespace_ownercheck(nspid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_SCHEMA, nspname);

	dg_lock_object(dg_objects()->guarded_schema, nspid, ExclusiveLock);
	foreach(lc, tables_of_schema(nspid))
	{
		SchemaTable table = {report, lfirst_oid(lc), source};
		ErrorData  *error = dg_try(guard_schema_table, &table, true);

		if (error != NULL && error->sqlerrcode == ERRCODE_OUT_OF_MEMORY)
			ereport(ERROR,
					(errcode(error->sqlerrcode),
					 errmsg("cannot guard all these tables in one transaction"),
					 errdetail_internal("%s: %s.", dg_relation_name(table.relid), error->message),
					 errhint("Each is locked until the end. Raise max_locks_per_transaction, or guard fewer at a time: guard_schemas(..., at_most => 20), again and again.")));
		if (error != NULL)
			report_table(report, table.relid, NULL,
						 error->hint == NULL ? error->message : psprintf("%s (%s)", error->message, error->hint));
	}
	if (include_future)
		dg_enrol_register_schema(nspname, source);
	else
		unregister_schema(nspname);
}

/*
 * guard_schema(target regnamespace, tenant_column name, include_future boolean, tenant text)
 *		-> setof (relation regclass, tenant_source text, problem text)
 */
Datum
dg_guard_schema(PG_FUNCTION_ARGS)
{
	DgSchemaReport report = {0};
	DgTenantSource source;

	dg_require_argument(fcinfo, 0, "target");
	dg_require_argument(fcinfo, 2, "include_future");
	source = schema_source_arguments(fcinfo);
	dg_guard_publication_check("guard tables");
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	forget_schemas();
	report.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	dg_enrol_schema(&report, PG_GETARG_OID(0), &source, PG_GETARG_BOOL(2));
	SPI_finish();
	return (Datum) 0;
}

/*
 * leave_unguarded(target regclass) -> void
 */
Datum
dg_leave_unguarded(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Relation	rel;

	PreventCommandIfReadOnly("leave_unguarded()");
	rel = table_open(relid, ShareUpdateExclusiveLock);
	dg_enrol_check_owner(rel);
	if (dg_guard_lookup(relid)->guarded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is guarded", RelationGetRelationName(rel)),
				 errhint("Call deletion_guard.unguard_table(%s) to give that up.",
						 quote_literal_cstr(dg_relation_name(dg_guard_lookup(relid)->root)))));
	table_close(rel, NoLock);
	SPI_connect();
	dg_enrol_leave(relid);
	SPI_finish();
	dg_ledger_append("leave_unguarded", psprintf("{\"table\": %s}", dg_json_string(dg_relation_name(relid))));
	PG_RETURN_VOID();
}
