/*
 * protect_schema.c
 *		Event triggers: enrolled schemas, and the tables that come into them.
 *
 * Enrolled schemas are known by name, so that one which is dropped and made
 * again, by a restore, stays enrolled.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "enrol/enrol.h"
#include "guard/guard.h"
#include "protect/protect_internal.h"

/*
 * A schema has another name. Its tables' tenant stays who it was.
 */
void
dg_protect_follow_schema(const char *old, const char *new)
{
	Oid			types[] = {NAMEOID, NAMEOID};
	Datum		values[2];

	values[0] = DirectFunctionCall1(namein, CStringGetDatum(old));
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(new));
	dg_query("DELETE FROM deletion_guard.guarded_schema WHERE schema_name = $2", DG_AS_US, 2, types, values);
	dg_query("DELETE FROM deletion_guard.left_unguarded WHERE schema_name = $2", DG_AS_US, 2, types, values);
	dg_query("UPDATE deletion_guard.left_unguarded SET schema_name = $2 WHERE schema_name = $1",
			 DG_AS_US, 2, types, values);
	dg_query("UPDATE deletion_guard.guarded_schema SET schema_name = $2 WHERE schema_name = $1",
			 DG_AS_US, 2, types, values);
}

/*
 * A schema was created. One that has been here before by that name stays as it was
 * enrolled, unless a pattern says whose it is now.
 */
void
dg_protect_follow_new_schema(const char *name)
{
	char	   *problem;

	if (name != NULL)
		(void) dg_enrol_by_pattern(get_namespace_oid(name, false), &problem);
}

/*
 * How tenants are told in the tables of an enrolled schema; false if it is none.
 * Waits for a guard_schema() of that schema; one that begins later waits for the
 * present transaction, and finds the table.
 */
static bool
source_of_schema(Oid nspid, DgTenantSource *source)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(nspid)};
	static SPIPlanPtr plan = NULL;

	dg_lock_object(dg_objects()->guarded_schema, nspid, RowExclusiveLock);
	memset(source, 0, sizeof(DgTenantSource));
	if (dg_query("SELECT s.tenant_column::text, s.tenant FROM deletion_guard.guarded_schema s"
				 " JOIN pg_namespace n ON n.nspname = s.schema_name WHERE n.oid = $1",
				 DG_AS_US, 1, types, values,
				 .snapshot = GetLatestSnapshot(),.plan = &plan,.for_session = true) == 0)
		return false;
	source->column = dg_row_text(0, 1);
	source->tenant = dg_row_text(0, 2);
	return true;
}

/*
 * The same for a new table, whose schema a pattern may enrol only now: the tenant's row may
 * have come after the schema. As long as there is none, the table is guarded as one of no
 * tenant: what is deleted can come back.
 */
static bool
source_of_future_table(Oid relid, DgTenantSource *source)
{
	Oid			nspid = get_rel_namespace(relid);
	char	   *problem;

	if (source_of_schema(nspid, source))
		return true;
	if (!dg_enrol_by_pattern(nspid, &problem))
		return false;
	if (source_of_schema(nspid, source))
		return true;
	ereport(WARNING,
			(errmsg("table \"%s\" is guarded, but nothing tells whose its rows are", get_rel_name(relid)),
			 errdetail("Schema \"%s\" was to be a tenant's: %s.", get_namespace_name(nspid),
					   problem != NULL ? problem : "its key is null"),
			 errhint("Once the tenant is known, call deletion_guard.guard_schemas() again.")));
	return true;
}

/*
 * Guards a table that is not guarded, if its schema is enrolled and its tenant plain.
 */
void
dg_protect_guard_future_table(Oid relid)
{
	DgTenantSource of_schema;
	DgTenantSource source;
	char	   *problem;
	Relation	rel;
	bool		plain;

	if (!source_of_future_table(relid, &of_schema))
		return;
	rel = table_open(relid, NoLock);
	plain = dg_enrol_require(rel, WARNING) && dg_enrol_source_in_schema(rel, &of_schema, &source, &problem);
	table_close(rel, NoLock);
	if (plain)
		dg_enrol_table(relid, &source);
}

/*
 * A table has moved to another schema. In one that is another tenant's nobody would
 * take its rows for those of the tenant that they are of.
 */
void
dg_protect_check_moved(AlterObjectSchemaStmt *stmt)
{
	DgTenantSource source;
	DgGuard    *guard;
	Oid			nspid;

	if (stmt->objectType != OBJECT_TABLE)
		return;

	/*
	 * with IF EXISTS, and without a table, the server looks for no schema
	 * either
	 */
	nspid = get_namespace_oid(stmt->newschema, true);
	if (!OidIsValid(nspid))
		return;
	guard = dg_guard_lookup(get_relname_relid(stmt->relation->relname, nspid));
	if (guard->tenant == NULL || !source_of_schema(nspid, &source) || source.tenant == NULL ||
		dg_guard_tenant_equal(guard->tenant, source.tenant))
		return;
	ereport(ERROR,
			(errcode(DG_ERRCODE_GUARDED_OBJECT),
			 errmsg("guarded table \"%s\" cannot move to schema \"%s\"", stmt->relation->relname, stmt->newschema),
			 errdetail("All rows of the table are tenant \"%s\"'s, and all rows in that schema are tenant \"%s\"'s.",
					   guard->tenant, source.tenant),
			 errhint("To give the rows to the other tenant, call deletion_guard.guard_table() with tenant => %s first.",
					 quote_literal_cstr(source.tenant))));
}
