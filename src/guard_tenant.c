/*
 * guard_tenant.c
 *		Which tenants are the same one.
 *
 * All rooms ask here. A tenant's key is kept as text; whether two texts stand
 * for one tenant is not for strcmp() to say, but for the type of the key.
 */
#include "guard.h"

#include "common/hashfn.h"

/*
 * Do two texts stand for the same tenant?
 */
bool
dg_tenant_equal(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/*
 * A number that is the same for all texts of one tenant.
 */
uint64
dg_tenant_hash(const char *tenant)
{
	return hash_bytes_extended((const unsigned char *) tenant, strlen(tenant), 0);
}

/*
 * All texts (char *) by which the bin knows this tenant, palloc'd; at least the
 * one that was given.
 */
List *
dg_tenant_spellings(const char *tenant)
{
	return list_make1(pstrdup(tenant));
}
