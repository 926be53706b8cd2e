/*
 * bin_rename.c
 *		Reads which tenants' keys have changed, as capture_rename.c has noted it.
 *
 * A call that names a tenant by a key that no tenant has any more means the one
 * that had it.
 */
#include "postgres.h"

#include "bin/bin_internal.h"
#include "common/own_tables.h"
#include "common/tables.h"

/* One change of a key. */
typedef struct Rename
{
	int64		id;				/* deletions of lower ids were made before */
	int64		first;			/* of the same UPDATE */
	char	   *old;
	char	   *new;
} Rename;

static int
compare_renames(const ListCell *a, const ListCell *b)
{
	int64		x = ((const Rename *) lfirst(a))->id;
	int64		y = ((const Rename *) lfirst(b))->id;

	return x < y ? -1 : x > y;
}

/*
 * All changes of keys, in the order they were made; palloc'd.
 */
List *
dg_bin_renames_read(void)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(tenant_rename), AccessShareLock, 0, NULL);
	List	   *renames = NIL;

	while (dg_own_next(scan))
	{
		Rename	   *rename = palloc(sizeof(Rename));

		rename->id = dg_own_int64(scan, Anum_tenant_rename_rename_id);
		rename->first = dg_own_int64(scan, Anum_tenant_rename_first_id);
		rename->old = dg_own_text(scan, Anum_tenant_rename_old_key);
		rename->new = dg_own_text(scan, Anum_tenant_rename_new_key);
		renames = lappend(renames, rename);
	}
	dg_own_end(scan);
	list_sort(renames, compare_renames);
	return renames;
}

/*
 * Has any tenant's key ever changed?
 */
bool
dg_bin_any_renamed(void)
{
	DgOwnScan  *scan = dg_own_find(DG_OWN_ALL(tenant_rename), AccessShareLock, 0, NULL);

	if (scan != NULL)
		dg_own_end(scan);
	return scan != NULL;
}

/*
 * The key that has come of one after the changes from the n-th on; the same pointer
 * if none is of it. One UPDATE changes a key once. "done" is the UPDATE that made it
 * what it is, or 0.
 */
static const char *
follow_key(List *renames, int n, int64 done, const char *key)
{
	for (int i = n; i < list_length(renames); i++)
	{
		Rename	   *rename = list_nth(renames, i);

		if (rename->first == done || !dg_guard_tenant_equal_in(InvalidOid, rename->old, key))
			continue;
		key = rename->new;
		done = rename->first;
	}
	return key;
}

/*
 * The key that the tenant has now who had this one when a deletion was made; the
 * same pointer if that has not changed.
 */
const char *
dg_bin_renamed_key(List *renames, int64 deletion, const char *key)
{
	int			n = 0;

	while (n < list_length(renames) && ((Rename *) list_nth(renames, n))->id < deletion)
		n++;
	return follow_key(renames, n, 0, key);
}

/*
 * The key that has come of the one that the n-th change made.
 */
static const char *
end_of_rename(List *renames, int n)
{
	Rename	   *rename = list_nth(renames, n);

	return follow_key(renames, n + 1, rename->first, rename->new);
}

/*
 * The key that a tenant has now who had this one before, palloc'd; NULL if nobody
 * had, or if somebody has it. The caller has seen that no live tenant does.
 */
char *
dg_bin_renamed_tenant(const char *tenant)
{
	List	   *renames = dg_bin_renames_read();
	const char *found = NULL;

	for (int i = 0; i < list_length(renames); i++)
	{
		const char *end;

		if (!dg_guard_tenant_equal_in(InvalidOid, ((Rename *) list_nth(renames, i))->old, tenant))
			continue;
		end = end_of_rename(renames, i);
		if (found != NULL && !dg_guard_tenant_equal_in(InvalidOid, found, end))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" was the key of several tenants", tenant),
					 errdetail("Among them are those that are \"%s\" and \"%s\" now.", found, end),
					 errhint("Give the key that the tenant has now.")));
		found = end;
	}
	return found != NULL && !dg_guard_tenant_equal_in(InvalidOid, found, tenant) ? pstrdup(found) : NULL;
}

/*
 * All keys (char *) that the tenant had before, palloc'd.
 */
List *
dg_bin_former_keys(const char *tenant)
{
	List	   *renames = dg_bin_renames_read();
	List	   *keys = NIL;

	for (int i = 0; i < list_length(renames); i++)
	{
		if (dg_guard_tenant_equal_in(InvalidOid, end_of_rename(renames, i), tenant))
			keys = lappend(keys, ((Rename *) list_nth(renames, i))->old);
	}
	return keys;
}

/*
 * Forgets under which keys a tenant, of whom nothing is left, was known.
 */
void
dg_bin_forget_renames(const char *tenant)
{
	List	   *renames = dg_bin_renames_read();

	for (int i = 0; i < list_length(renames); i++)
	{
		Rename	   *rename = list_nth(renames, i);
		ScanKeyData key = dg_own_key_int8(Anum_tenant_rename_rename_id, rename->id);
		DgOwnScan  *scan;

		if (!dg_guard_tenant_equal_in(InvalidOid, end_of_rename(renames, i), tenant))
			continue;
		scan = dg_own_find(DG_OWN(tenant_rename), RowExclusiveLock, 1, &key);
		if (scan != NULL && dg_own_lock(scan))
			dg_own_delete(scan);
		if (scan != NULL)
			dg_own_end(scan);
	}
}
