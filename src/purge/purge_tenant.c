/*
 * purge_tenant.c
 *		What a tenant is called, which a purge must know besides its key.
 *
 * bin_tenant_row.c finds it. Where the tenant table has no name column, or none
 * is set, every tenant's name is "".
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "bin/bin.h"
#include "common/deletion_guard.h"
#include "guard/guard.h"
#include "ledger/ledger.h"
#include "purge/purge_internal.h"
#include "token/token.h"

#define HINT_TENANT "Give the key as the tenant table has it. The view deletion_guard.deletion_detail lists deleted tenants."

/*
 * Looks among the live tenants.
 */
static bool
find_live_tenant(const char *tenant, DgTenantRow *row)
{
	int			found = dg_bin_tenant_live(tenant, GetLatestSnapshot(), row);

	if (found > 1)
		ereport(ERROR,
				(errcode(DG_ERRCODE_TENANT_MISMATCH),
				 errmsg("tenant key \"%s\" stands for more than one row of the tenant table", tenant),
				 errhint("Make the key column unique.")));
	return found == 1;
}

/*
 * Is a tenant among the live ones? Where no table lists them, none is known to
 * be.
 */
bool
dg_purge_tenant_is_live(const char *tenant)
{
	DgTenantRow row;

	return find_live_tenant(tenant, &row);
}

/*
 * Is a key that of a tenant, live or deleted, of the tenant table?
 */
bool
dg_purge_tenant_is_known(const char *tenant)
{
	DgTenantRow row;

	return OidIsValid(dg_guard_tenant_table()->relid) &&
		(find_live_tenant(tenant, &row) || dg_bin_tenant_deleted(tenant, GetLatestSnapshot(), &row));
}

/*
 * The tenant's name, palloc'd, "" for null; NULL and a refusal where nobody of
 * that key is known.
 */
char *
dg_purge_tenant_name(const char *tenant, DgRefusal *refusal)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	DgTenantRow row;

	if (!OidIsValid(tenants->relid) || NameStr(tenants->name_column)[0] == '\0')
		return pstrdup("");
	if (find_live_tenant(tenant, &row) || dg_bin_tenant_deleted(tenant, GetLatestSnapshot(), &row))
		return row.name != NULL ? row.name : pstrdup("");
	dg_purge_refusal_set(refusal, DG_ERRCODE_TENANT_MISMATCH, "unknown_tenant", HINT_TENANT,
						 "tenant \"%s\" is not known", tenant);
	dg_purge_refusal_detail(refusal, "It is neither in %s nor among the deletions of its rows.",
							dg_relation_name(tenants->relid));
	return NULL;
}

/*
 * An argument that names a tenant, as the tenant table spells it; palloc'd. An
 * empty key may be one, but only of a tenant that is known: else it is a variable
 * that somebody forgot to set.
 */
char *
dg_purge_tenant_argument(FunctionCallInfo fcinfo, int arg)
{
	if (!PG_ARGISNULL(arg) && VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(arg)) == 0)
	{
		if (!dg_purge_tenant_is_known(""))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("tenant must not be empty"),
					 errdetail("No tenant has an empty key."),
					 errhint("Rows with an empty key belong to no tenant; a purge of them is requested with deletion_guard.request_purge_without_tenant().")));
		return pstrdup("");
	}
	if (PG_ARGISNULL(arg))
		(void) dg_purge_required_text(fcinfo, arg, "tenant");
	return dg_bin_tenant_spelling(text_to_cstring(PG_GETARG_TEXT_PP(arg)));
}

/*
 * What a token says instead of a tenant's key: the key or, where a token has no
 * room for it, its digest. The request has the key.
 */
char *
dg_purge_tenant_claim(const char *tenant)
{
	uint8		digest[DG_DIGEST_SIZE];

	if (strlen(tenant) <= DG_TOKEN_MAX_TEXT)
		return pstrdup(tenant);
	dg_sha256(tenant, strlen(tenant), digest);
	return psprintf("sha256:%s", dg_hex(digest, DG_DIGEST_SIZE));
}
