/*
 * extract_lost.c
 *		Tables of an archive that are a tenant's whole, and do not exist here any more.
 *
 * Where each tenant has a schema, the schema may have gone with the tenant. Rows
 * are all that is taken out of an archive; its definitions are pg_restore's.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "guard/guard.h"
#include "extract/extract_internal.h"

/*
 * Whose all rows in an enrolled schema are, palloc'd, or NULL.
 */
static char *
tenant_of_schema(const char *schema)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[] = {NAMEOID};
	Datum		values[] = {DirectFunctionCall1(namein, CStringGetDatum(schema))};
	char	   *tenant = NULL;

	SPI_connect();
	dg_query("SELECT tenant FROM ONLY deletion_guard.guarded_schema WHERE schema_name = $1 AND tenant IS NOT NULL",
			 DG_AS_US, 1, types, values,.snapshot = GetLatestSnapshot());
	if (SPI_processed > 0)
		tenant = MemoryContextStrdup(context, dg_row_text(0, 1));
	SPI_finish();
	return tenant;
}

/*
 * Puts down a table of the archive, which has rows and does not exist here, if its
 * schema is a tenant's; of tenants that nobody has asked for, nothing.
 */
bool
dg_extract_note_lost(DgExtractArchive *archive, DgExtractPlan *plan, int index, const char *name)
{
	char	   *schema = dg_extract_text(archive, dg_archive_table(archive->archive, index)->schema);
	DgLostTable *lost;
	char	   *tenant = tenant_of_schema(schema);

	if (tenant == NULL)
		return false;
	if (plan->tenants == NULL || dg_extract_tenant_find(plan->tenants, tenant) < 0)
		return true;
	lost = palloc(sizeof(DgLostTable));
	lost->index = index;
	lost->name = pstrdup(name);
	lost->schema = schema;
	lost->tenant = tenant;
	plan->lost = lappend(plan->lost, lost);
	dg_extract_account_leave(plan, InvalidOid, plan->chosen ? DG_LEFT_CHOSEN : DG_LEFT_CERTAIN,
							 psprintf("the archive's table %s, whose rows are all tenant \"%s\"'s, does not exist here; left out",
									  name, tenant));
	return true;
}

/*
 * The commands that make the tables of a schema as the archive has them.
 */
static char *
commands_text(const DgExtractArchive *archive, const char *schema)
{
	char	   *database = get_database_name(MyDatabaseId);
	bool		script = archive->info->format == DG_ARCHIVE_PLAIN;
	char	   *create = OidIsValid(get_namespace_oid(schema, true)) ? "" : psprintf("CREATE SCHEMA %s; then ", quote_identifier(schema));

	if (archive->server != NULL)
		return psprintf("%srun what pg_dump -n %s --schema-only writes of the copy, with deletion_guard.restoring on", create, quote_literal_cstr(schema));
	if (script)
		return psprintf("%srun what the script has to define the tables of that schema, with deletion_guard.restoring on", create);
	return psprintf("%sPGOPTIONS='-c deletion_guard.restoring=on' pg_restore -n %s --schema-only -d %s %s",
					create, quote_literal_cstr(schema), quote_literal_cstr(database), quote_literal_cstr(archive->path));
}

/*
 * Refuses to restore tenants some of whose tables do not exist here.
 */
void
dg_extract_check_lost_schemas(const DgExtractArchive *archive, const DgExtractPlan *plan)
{
	DgLostTable *lost;

	if (plan->lost == NIL)
		return;
	lost = linitial(plan->lost);
	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_RESTORE),
			 errmsg("the archive has tables of tenant \"%s\" that do not exist here", lost->tenant),
			 errdetail("%s is the first of %d.", lost->name, list_length(plan->lost)),
			 errhint("Nothing was restored. Make them anew, as the archive has them: %s. Then repeat the call. To do without them, say left_out => 'report'.",
					 commands_text(archive, lost->schema))));
}
