/*
 * lock.c
 *		Locks on what is not a table: tenants, registries, bins in the making.
 *
 * They are held until the end of the transaction. src/README.md says in which
 * order they are taken.
 */
#include "deletion_guard.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"

/* tenants that are locked one by one */
#define MAX_TENANT_LOCKS 64

/*
 * Locks something that is not a table, until the end of the transaction. The
 * class is the OID of the registry that lists such things, so that the locks
 * are nobody else's.
 */
void
dg_lock_object(Oid classid, Oid objid, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, classid, objid, 0);
	(void) LockAcquire(&tag, mode, false, false);
}

/*
 * Locks one of the tenants. Two tenants may share a lock; then they wait for
 * each other.
 */
static void
lock_tenant(const char *tenant)
{
	dg_lock_object(dg_objects()->tenant_table,
				   (Oid) hash_bytes((const unsigned char *) tenant, strlen(tenant)),
				   ExclusiveLock);
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/*
 * Locks every tenant there is.
 */
void
dg_lock_all_tenants(void)
{
	dg_lock_object(dg_objects()->tenant_table, InvalidOid, ExclusiveLock);
}

/*
 * The lock that undelete, rehydrate, request_purge and purge take on the
 * tenants they concern, until the end of the transaction. The list (of char *)
 * is sorted, so that two such calls cannot wait for each other in a circle.
 * Many tenants are locked as one, so as not to fill the lock table: whoever
 * locks single tenants shares a lock that excludes that.
 */
void
dg_lock_tenants(List *tenants)
{
	ListCell   *lc;

	if (list_length(tenants) > MAX_TENANT_LOCKS)
	{
		dg_lock_all_tenants();
		return;
	}
	dg_lock_object(dg_objects()->tenant_table, InvalidOid, RowExclusiveLock);
	list_sort(tenants, compare_names);
	foreach(lc, tenants)
		lock_tenant(lfirst(lc));
}

void
dg_lock_tenant(const char *tenant)
{
	dg_lock_tenants(list_make1(unconstify(char *, tenant)));
}
