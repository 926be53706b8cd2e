/*
 * purge_tenant.c
 *		What a tenant is called, which a purge must know besides its key.
 *
 * The live row of the tenant table decides; where the tenant is deleted, the
 * latest deletion of its row. The name a deletion recorded stays with it until
 * everything of the tenant has been purged. Where the tenant table has no name
 * column, or none is set, every tenant's name is "".
 *
 * The key is compared as its type compares, so that an index serves, and then
 * byte by byte as text: '007' is not the key 7, whatever collation it has.
 */
#include "purge.h"
#include "bin.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "guard.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#define HINT_TENANT "Give the key as the tenant table has it. The view deletion_guard.deletion_detail lists deleted tenants."

/*
 * Looks among the live tenants. True if the tenant is there; *name is then its
 * name, "" for null.
 */
static bool
find_live(const DgTenantTable *tenants, const char *tenant, char **name)
{
	char	   *key = pstrdup(NameStr(tenants->key_column));
	char	   *name_column = NameStr(tenants->name_column)[0] == '\0' ? "NULL" :
		psprintf("t.%s", quote_identifier(NameStr(tenants->name_column)));
	Oid			relid = tenants->relid;
	Oid			types[] = {getBaseType(get_atttype(relid, get_attnum(relid, key))), TEXTOID};
	Datum		values[] = {(Datum) 0, CStringGetTextDatum(tenant)};
	int			nestlevel;
	int			found;

	if (!dg_tenant_read_key(relid, types[0], tenant, &values[0]))
		return false;
	nestlevel = dg_canonical_output_begin();
	dg_spi_select_as_owner(relid,
						   psprintf("SELECT format('%%s', %s) FROM %s t WHERE t.%s %s $1"
									" AND format('%%s', t.%s) COLLATE \"C\" = $2",
									name_column, dg_relation_name(relid), quote_identifier(key),
									dg_equality_operator(types[0]), quote_identifier(key)),
						   2, types, values, NULL, GetLatestSnapshot(), 2);
	AtEOXact_GUC(true, nestlevel);
	found = (int) SPI_processed;
	if (found > 1)
		ereport(ERROR,
				(errcode(DG_ERRCODE_TENANT_MISMATCH),
				 errmsg("tenant key \"%s\" stands for more than one row of the tenant table", tenant),
				 errhint("Make the key column unique.")));
	if (found == 1)
		*name = dg_row_text(0, 1);
	SPI_freetuptable(SPI_tuptable);
	return found == 1;
}

/*
 * Is it among the live tenants? Where no table lists them, none is known to be.
 */
bool
dg_tenant_is_live(const char *tenant)
{
	const DgTenantTable *tenants = dg_tenant_table();
	char	   *name;

	return OidIsValid(tenants->relid) && get_rel_name(tenants->relid) != NULL &&
		find_live(tenants, tenant, &name);
}

/*
 * Those of the tenants (text[]) that are live, as text[].
 */
Datum
dg_tenants_live(Datum tenants)
{
	Datum	   *elems;
	int			nelems;
	int			live = 0;

	deconstruct_array(DatumGetArrayTypeP(tenants), TEXTOID, -1, false, TYPALIGN_INT, &elems, NULL, &nelems);
	for (int i = 0; i < nelems; i++)
	{
		if (dg_tenant_is_live(TextDatumGetCString(elems[i])))
			elems[live++] = elems[i];
	}
	return PointerGetDatum(construct_array(elems, live, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * Looks among the deletions of tenants, the latest first.
 */
static bool
find_deleted(const DgTenantTable *tenants, const char *tenant, char **name)
{
	Oid			types[] = {TEXTOID, OIDOID};
	Datum		values[] = {CStringGetTextDatum(tenant), ObjectIdGetDatum(tenants->relid)};
	int			found;

	found = dg_spi_select("SELECT coalesce(p.tenant_name, '') FROM deletion_guard.deletion_part p"
						  " JOIN deletion_guard.bin b ON b.bin_id = p.bin_id"
						  " WHERE p.tenant = $1 AND (p.tenant_name IS NOT NULL"
						  "  OR (b.relation = $2 AND p.rows > p.restored + p.purged))"
						  " ORDER BY p.deletion_id DESC, p.part DESC LIMIT 1",
						  2, types, values, NULL);
	if (found == 1)
		*name = dg_row_text(0, 1);
	return found == 1;
}

/*
 * Is it a tenant, live or deleted, of the tenant table? The caller is connected to SPI.
 */
bool
dg_tenant_is_known(const char *tenant)
{
	const DgTenantTable *tenants = dg_tenant_table();
	char	   *name;

	return OidIsValid(tenants->relid) && (dg_tenant_is_live(tenant) || find_deleted(tenants, tenant, &name));
}

/*
 * The tenant's name, palloc'd; NULL and a refusal where nobody of that key is
 * known. The caller is connected to SPI.
 */
char *
dg_tenant_name(const char *tenant, DgRefusal *refusal)
{
	const DgTenantTable *tenants = dg_tenant_table();
	char	   *name;

	if (!OidIsValid(tenants->relid) || NameStr(tenants->name_column)[0] == '\0')
		return pstrdup("");
	if (find_live(tenants, tenant, &name) || find_deleted(tenants, tenant, &name))
		return name;
	dg_refusal_set(refusal, DG_ERRCODE_TENANT_MISMATCH, "unknown_tenant", HINT_TENANT,
				   "tenant \"%s\" is not known", tenant);
	dg_refusal_detail(refusal, "It is neither in %s nor among the deletions of its rows.",
					  dg_relation_name(tenants->relid));
	return NULL;
}

/*
 * An argument that names a tenant, palloc'd. An empty key may be one, but only of
 * a tenant that is known: else it is a variable that somebody forgot to set. The
 * caller is connected to SPI.
 */
char *
dg_tenant_argument(FunctionCallInfo fcinfo, int arg)
{
	if (!PG_ARGISNULL(arg) && VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(arg)) == 0)
	{
		if (!dg_tenant_is_known(""))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("tenant must not be empty"),
					 errdetail("No tenant has an empty key."),
					 errhint("Rows with an empty key belong to no tenant; a purge of them is requested with deletion_guard.request_purge_without_tenant().")));
		return pstrdup("");
	}
	return text_to_cstring(dg_required_text(fcinfo, arg, "tenant"));
}
