/*
 * enrol_schemas.c
 *		guard_schemas(): a schema for each tenant, hundreds at once, and those to come.
 *
 * Whose a schema is is told by its name, or by the row of the tenant table that has
 * its name in a column. What is found goes into guarded_schema, as guard_schema()
 * puts it there; the pattern itself is asked when a schema is created that has none
 * (protect_schema.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "bin/bin.h"
#include "common/deletion_guard.h"
#include "enrol/enrol_internal.h"
#include "guard/guard.h"
#include "ledger/ledger.h"

PG_FUNCTION_INFO_V1(dg_guard_schemas);

/* Which schemas are whose. */
typedef struct Pattern
{
	char	   *pattern;
	char	   *tenant_from;	/* column of the tenant table, or NULL */
	char	   *role;			/* who said so */
} Pattern;

/* ----------------------------------------------------------------------
 * Whose is a schema?
 * ----------------------------------------------------------------------
 */

/*
 * The key of the only row of the tenant table that has the schema's name in a
 * column; NULL and *problem if there is none, or more than one.
 */
static char *
tenant_with_schema(const char *schema, const char *column, char **problem)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	MemoryContext context = CurrentMemoryContext;
	const char *table = dg_relation_name(tenants->relid);
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(schema)};
	char	   *tenant = NULL;
	uint64		n = 0;
	ListCell   *lc;

	SPI_connect();
	foreach(lc, dg_query_tables(tenants->relid))
	{
		bool		isnull = true;
		Datum		key = 0;

		n += dg_query(psprintf("SELECT t.%s FROM %s t WHERE t.%s::pg_catalog.text = $1",
							   quote_identifier(NameStr(tenants->key_column)), dg_own_rows(lfirst_oid(lc)),
							   quote_identifier(column)),
					  DG_AS_OWNER, 1, types, values,.table = lfirst_oid(lc),.snapshot = GetLatestSnapshot(),.count = 2);
		if (SPI_processed > 0)
			key = dg_row_datum(0, 1, &isnull);
		if (!isnull)
			tenant = MemoryContextStrdup(context, dg_value_text(getBaseType(SPI_gettypeid(SPI_tuptable->tupdesc, 1)), key));
	}
	if (n != 1)
	{
		tenant = NULL;
		*problem = MemoryContextStrdup(context, psprintf(n == 0 ? "no row of %s has it in column \"%s\"" :
														 "several rows of %s have it in column \"%s\"", table, column));
	}
	SPI_finish();
	return tenant;
}

/*
 * Whose a schema is whose name matches the pattern, palloc'd; NULL and *problem if
 * that cannot be told.
 */
static char *
tenant_by_pattern(const char *schema, const Pattern *pattern, char **problem)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	DgTenantRow row;
	Oid			type;
	Datum		key;

	*problem = NULL;
	if (pattern->tenant_from != NULL && (!OidIsValid(tenants->relid) || get_attnum(tenants->relid, pattern->tenant_from) <= 0))
		*problem = psprintf("there is no tenant table with a column \"%s\"", pattern->tenant_from);
	else if (pattern->tenant_from != NULL)
		return tenant_with_schema(schema, pattern->tenant_from, problem);
	else if (!OidIsValid(tenants->relid))
		return pstrdup(schema);
	else if (dg_bin_tenant_live(schema, GetLatestSnapshot(), &row) > 0)
		return row.tenant;
	else
	{
		type = get_atttype(tenants->relid, get_attnum(tenants->relid, NameStr(tenants->key_column)));
		if (dg_guard_tenant_read_key(tenants->relid, type, schema, &key))
			return pstrdup(schema);
		*problem = psprintf("its name cannot be a key of %s, of type %s", dg_relation_name(tenants->relid), format_type_be(type));
	}
	return NULL;
}

/*
 * A condition on schemas n that may be a tenant's: not the server's, an extension's, or
 * the one that all share.
 */
#define MAY_BE_TENANTS \
	"n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT LIKE 'deletion\\_guard%' AND n.nspname NOT IN ('information_schema', 'public')" \
	" AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_namespace'::regclass" \
	" AND d.objid = n.oid AND d.deptype = 'e')" \
	" AND NOT EXISTS (SELECT FROM deletion_guard.tenant_table t JOIN pg_catalog.pg_class c ON c.oid = t.relation" \
	" WHERE c.relnamespace = n.oid)"

/*
 * Enrols a schema by the pattern that its name matches, if there is one and who gave
 * it owns the schema; false if not. Where that does not tell whose it is, whose it was
 * before, under this name, stays: a tenant may be on its way back. The caller is
 * connected to SPI.
 */
bool
dg_enrol_by_pattern(Oid nspid, char **problem)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(nspid)};
	Pattern		pattern;
	DgTenantSource source = {0};
	char	   *name = get_namespace_name(nspid);
	Oid			role;
	static SPIPlanPtr plan = NULL;

	*problem = NULL;
	if (dg_query("SELECT p.pattern, p.tenant_from::text, p.guarded_by FROM deletion_guard.schema_pattern p, pg_catalog.pg_namespace n"
				 " WHERE n.oid = $1 AND n.nspname::text COLLATE \"C\" LIKE p.pattern AND " MAY_BE_TENANTS
				 " AND NOT EXISTS (SELECT FROM deletion_guard.guarded_schema s"
				 " WHERE s.schema_name = n.nspname AND s.tenant_column IS NOT NULL)"
				 " ORDER BY p.pattern DESC LIMIT 1", DG_AS_US, 1, types, values,
				 .snapshot = GetLatestSnapshot(),.plan = &plan,.for_session = true) == 0)
		return false;
	pattern.pattern = dg_row_text(0, 1);
	pattern.tenant_from = dg_row_text(0, 2);
	pattern.role = dg_row_text(0, 3);
	role = get_role_oid(pattern.role, true);
	if (!OidIsValid(role) || !dg_namespace_ownercheck(nspid, role))
		return false;
	source.tenant = tenant_by_pattern(name, &pattern, problem);
	if (source.tenant != NULL)
		dg_enrol_register_schema(name, &source);
	return true;
}

/* ----------------------------------------------------------------------
 * guard_schemas
 * ----------------------------------------------------------------------
 */

/*
 * Schemas that match and have tables to be guarded, or are not enrolled for those to
 * come; as OIDs.
 */
static List *
schemas_to_guard(const Pattern *pattern)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(pattern->pattern)};

	dg_query("SELECT n.oid FROM pg_catalog.pg_namespace n"
			 " LEFT JOIN deletion_guard.guarded_schema s ON s.schema_name = n.nspname"
			 " WHERE n.nspname::text COLLATE \"C\" LIKE $1 AND " MAY_BE_TENANTS
			 " AND s.tenant_column IS NULL AND (s.tenant IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_class c"
			 " LEFT JOIN deletion_guard.guard g ON g.relation = c.oid"
			 " WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
			 " AND c.relpersistence <> 't' AND g.tenant IS NULL AND g.tenant_column IS NULL AND g.tenant_path IS NULL))"
			 " ORDER BY n.nspname", DG_AS_US, 1, types, values,.snapshot = GetLatestSnapshot());
	return dg_row_oids(1);
}

static void
register_pattern(const Pattern *pattern, bool include_future)
{
	Oid			types[] = {TEXTOID, NAMEOID, TEXTOID};
	Datum		values[3] = {CStringGetTextDatum(pattern->pattern)};
	char		nulls[3] = {' ', 'n', ' '};

	if (!include_future)
	{
		dg_query("DELETE FROM deletion_guard.schema_pattern WHERE pattern = $1", DG_AS_US, 1, types, values);
		return;
	}
	if (pattern->tenant_from != NULL)
	{
		values[1] = DirectFunctionCall1(namein, CStringGetDatum(pattern->tenant_from));
		nulls[1] = ' ';
	}
	values[2] = CStringGetTextDatum(pattern->role);
	dg_query("INSERT INTO deletion_guard.schema_pattern (pattern, tenant_from, guarded_by) VALUES ($1, $2, $3)"
			 " ON CONFLICT (pattern) DO UPDATE SET tenant_from = EXCLUDED.tenant_from, guarded_by = EXCLUDED.guarded_by",
			 DG_AS_US, 3, types, values, nulls);
}

static Pattern
pattern_arguments(FunctionCallInfo fcinfo)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	Pattern		pattern;

	pattern.pattern = text_to_cstring(PG_GETARG_TEXT_PP(0));
	pattern.tenant_from = text_to_cstring(PG_GETARG_TEXT_PP(1));
	pattern.role = GetUserNameFromId(GetUserId(), false);
	if (strcmp(pattern.tenant_from, "name") == 0)
	{
		pattern.tenant_from = NULL;
		return pattern;
	}
	if (!OidIsValid(tenants->relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no tenant table whose column \"%s\" could name schemas", pattern.tenant_from),
				 errhint("Call deletion_guard.set_tenant_table() first, or say tenant_from => 'name' where a schema's name is its tenant's key.")));
	if (get_attnum(tenants->relid, pattern.tenant_from) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist", pattern.tenant_from, get_rel_name(tenants->relid)),
				 errhint("Name the column of the tenant table that has the names of schemas, or say tenant_from => 'name' where a schema's name is its tenant's key.")));
	return pattern;
}

/*
 * Enrols one schema that matches, and reports it. Returns whether its tenant is known.
 */
static bool
guard_matching_schema(ReturnSetInfo *rsinfo, Oid nspid, const Pattern *pattern, bool include_future)
{
	char	   *name = get_namespace_name(nspid);
	DgTenantSource source = {0};
	DgSchemaReport report = {0};
	char	   *problem = NULL;
	Datum		values[4];
	bool		nulls[4] = {false};

	if (name == NULL)
		return false;			/* dropped meanwhile */
	initStringInfo(&report.problems);
	source.tenant = tenant_by_pattern(name, pattern, &problem);
	if (source.tenant != NULL)
		dg_enrol_schema(&report, nspid, &source, include_future);
	else
		appendStringInfoString(&report.problems, problem != NULL ? problem : "its tenant's key is null");
	values[0] = DirectFunctionCall1(namein, CStringGetDatum(name));
	nulls[1] = source.tenant == NULL;
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(source.tenant);
	values[2] = Int64GetDatum(report.tables);
	nulls[3] = report.problems.len == 0;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(report.problems.data);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return source.tenant != NULL;
}

/*
 * guard_schemas(pattern text, tenant_from text, include_future boolean, at_most integer)
 *		-> setof (schema_name name, tenant text, tables bigint, problem text)
 */
Datum
dg_guard_schemas(PG_FUNCTION_ARGS)
{
	Pattern		pattern;
	int			at_most = PG_ARGISNULL(3) ? INT_MAX : PG_GETARG_INT32(3);
	ListCell   *lc;

	dg_require_argument(fcinfo, 0, "pattern");
	dg_require_argument(fcinfo, 1, "tenant_from");
	dg_require_argument(fcinfo, 2, "include_future");
	if (at_most <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at_most must be greater than zero")));
	pattern = pattern_arguments(fcinfo);
	dg_guard_publication_check("guard tables");
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	register_pattern(&pattern, PG_GETARG_BOOL(2));
	foreach(lc, schemas_to_guard(&pattern))
	{
		if (at_most == 0)
			break;
		if (guard_matching_schema((ReturnSetInfo *) fcinfo->resultinfo, lfirst_oid(lc), &pattern, PG_GETARG_BOOL(2)))
			at_most--;
	}
	dg_ledger_append("guard_schemas", psprintf("{\"pattern\": %s}", dg_json_string(pattern.pattern)));
	SPI_finish();
	return (Datum) 0;
}
