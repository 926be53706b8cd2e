/*
 * guard_lock.c
 *		Locks on what is not a table: tenants, registries, bins in the making.
 *
 * They are held until the end of the transaction. src/README.md says in which
 * order they are taken.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/guc.h"

#include "guard/guard_internal.h"

/* tenants that are locked one by one */
#define MAX_TENANT_LOCKS 64

/*
 * Locks every tenant there is.
 */
void
dg_guard_lock_all_tenants(void)
{
	dg_lock_object(dg_objects()->tenant_table, InvalidOid, ExclusiveLock);
}

/*
 * The lock that undelete, rehydrate, request_purge and purge take on the
 * tenants (char *) they concern, until the end of the transaction. It goes by
 * who the tenant is, and not by how it is written. Two tenants may share a
 * lock; then they wait for each other. Locks are taken in one order, so that
 * two such calls cannot wait for each other in a circle. Many tenants are
 * locked as one, so as not to fill the lock table. A call that locks single
 * tenants also takes a shared lock, which excludes that.
 */
void
dg_guard_lock_tenants(List *tenants)
{
	List	   *locks = NIL;
	ListCell   *lc;

	if (list_length(tenants) > MAX_TENANT_LOCKS)
	{
		dg_guard_lock_all_tenants();
		return;
	}
	dg_lock_object(dg_objects()->tenant_table, InvalidOid, RowExclusiveLock);
	foreach(lc, tenants)
	{
		int			n;
		uint64	   *hashes = dg_guard_tenant_hashes(lfirst(lc), &n);

		for (int i = 0; i < n; i++)
			locks = list_append_unique_oid(locks, Max((Oid) (hashes[i] ^ hashes[i] >> 32), 1));
	}
	list_sort(locks, list_oid_cmp);
	foreach(lc, locks)
		dg_lock_object(dg_objects()->tenant_table, lfirst_oid(lc), ExclusiveLock);
}

/*
 * Locks one tenant, as dg_guard_lock_tenants() does, until the end of the
 * transaction.
 */
void
dg_guard_lock_tenant(const char *tenant)
{
	dg_guard_lock_tenants(list_make1(unconstify(char *, tenant)));
}
