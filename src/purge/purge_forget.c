/*
 * purge_forget.c
 *		What else is known of a tenant goes with the last of its rows.
 *
 * The deletions that a purge touches lose their statement and reason, which may
 * quote the rows. So may a request for some rows: it loses its keys and its reason
 * as it is closed, and open ones that are void now are withdrawn. Once nothing of
 * the tenant is left in the bin, its name and contact go, and the reasons that
 * requests and holds give. Where it is not among the live tenants either, its key
 * goes too: a digest of it takes its place, the same as in the purge's record.
 * Somebody who knows the key can still find what was done; nobody else learns
 * anything about it. Requests that are still open, and now cover nothing, are
 * closed with it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "bin/bin.h"
#include "capture/capture.h"
#include "common/deletion_guard.h"
#include "guard/guard.h"
#include "purge/purge_internal.h"

/* of the tenant's digest: enough to tell tenants from each other */
#define PSEUDONYM_BYTES 16

#define REMOVED "(removed by a purge)"

/*
 * Has the scan's row the tenant in this column? Locks the row if so.
 */
static bool
is_of_tenant(DgOwnScan *scan, AttrNumber attnum, const char *tenant)
{
	char	   *value = dg_own_text(scan, attnum);
	bool		found = value != NULL && dg_guard_tenant_equal(value, tenant);

	if (value != NULL)
		pfree(value);
	return found && dg_own_lock(scan);
}

/*
 * Blanks what the scan's row, if it is a deletion's record, quotes of its rows.
 */
static void
blank_statement(DgOwnScan *scan)
{
	dg_own_set(scan, Anum_deletion_part_statement, CStringGetTextDatum(REMOVED));
	if (!dg_own_isnull(scan, Anum_deletion_part_reason))
		dg_own_set(scan, Anum_deletion_part_reason, CStringGetTextDatum(REMOVED));
}

/*
 * Turns to the record of a deletion, which is in one of its first parts; NULL if
 * there is none.
 */
static DgOwnScan *
find_deletion_record(int64 deletion)
{
	ScanKeyData keys[] = {dg_own_key_int8(Anum_deletion_part_deletion_id, deletion)};
	DgOwnScan  *scan = dg_own_scan(DG_OWN(deletion_part), RowExclusiveLock, lengthof(keys), keys);

	while (dg_own_next(scan))
	{
		if (!dg_own_isnull(scan, Anum_deletion_part_deleted_at) && dg_own_lock(scan))
			return scan;
	}
	dg_own_end(scan);
	return NULL;
}

static void
forget_statements(const DgPlan *plan)
{
	for (int i = 0; i < plan->nparts; i++)
	{
		DgOwnScan  *scan;

		if (i > 0 && plan->parts[i].deletion == plan->parts[i - 1].deletion)
			continue;
		scan = find_deletion_record(plan->parts[i].deletion);
		if (scan == NULL)
			continue;
		blank_statement(scan);
		dg_own_update(scan);
		dg_own_end(scan);
	}
}

static void
forget_reason(const DgRequest *request)
{
	DgOwnScan  *scan = dg_own_find(DG_OWN(purge_request_record), RowExclusiveLock,
								   DG_KEYS(dg_own_key_int8(Anum_purge_request_record_request_id, request->id)));

	if (scan == NULL || !dg_own_lock(scan))
		elog(ERROR, "request " INT64_FORMAT " is gone", request->id);
	dg_own_set_null(scan, Anum_purge_request_record_reason);
	dg_own_update(scan);
	dg_own_end(scan);
}

static void
withdraw_request(DgOwnScan *scan, const char *by)
{
	dg_own_set(scan, Anum_purge_request_record_state, CStringGetTextDatum("withdrawn"));
	dg_own_set(scan, Anum_purge_request_record_closed_at,
			   TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
	dg_own_set(scan, Anum_purge_request_record_closed_by, CStringGetTextDatum(by));
	dg_purge_request_forget_keys(scan);
}

/* ----------------------------------------------------------------------
 * The tenant
 * ----------------------------------------------------------------------
 */

/*
 * Withdraws the tenant's open requests for rows of which some are gone, or that do not
 * hold any more for another reason: they quote the rows.
 */
static void
withdraw_void_requests(const char *tenant)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(purge_request_record), RowExclusiveLock, 0, NULL);

	while (dg_own_next(scan))
	{
		DgRequest  *request;

		if (dg_own_isnull(scan, Anum_purge_request_record_keys) ||
			strcmp(dg_own_text(scan, Anum_purge_request_record_state), "open") != 0 ||
			!is_of_tenant(scan, Anum_purge_request_record_tenant, tenant))
			continue;
		request = dg_purge_request_find(dg_own_int64(scan, Anum_purge_request_record_request_id));
		if (request == NULL || memcmp(dg_purge_plan_make(request)->digest, request->digest, DG_DIGEST_SIZE) == 0)
			continue;
		withdraw_request(scan, dg_session_role());
		dg_own_update(scan);
	}
	dg_own_end(scan);
}

static void
look_for_rows(DgOwnScan *scan, void *arg)
{
	*(bool *) arg |= dg_purge_part_rows_left(scan) > 0;
}

static bool
is_in_bin(const char *tenant)
{
	bool		found = false;

	dg_bin_tenant_each_part(tenant, AccessShareLock, look_for_rows, &found);
	return found;
}

static void
forget_label(DgOwnScan *scan, void *arg)
{
	if (!dg_own_lock(scan) ||
		(dg_own_isnull(scan, Anum_deletion_part_tenant_name) && dg_own_isnull(scan, Anum_deletion_part_contact)))
		return;
	dg_own_set_null(scan, Anum_deletion_part_tenant_name);
	dg_own_set_null(scan, Anum_deletion_part_contact);
	dg_own_update(scan);
}

static void
forget_name(const char *tenant)
{
	DgOwnScan  *scan;

	dg_bin_tenant_each_part(tenant, RowExclusiveLock, forget_label, NULL);

	scan = dg_own_scan(DG_OWN_ALL(purge_request_record), RowExclusiveLock, 0, NULL);
	while (dg_own_next(scan))
	{
		if (!is_of_tenant(scan, Anum_purge_request_record_tenant, tenant))
			continue;
		dg_own_set_null(scan, Anum_purge_request_record_tenant_name);
		dg_own_set_null(scan, Anum_purge_request_record_reason);
		dg_purge_request_forget_keys(scan);
		dg_own_update(scan);
	}
	dg_own_end(scan);

	scan = dg_own_scan(DG_OWN_ALL(hold), RowExclusiveLock, 0, NULL);
	while (dg_own_next(scan))
	{
		if (!is_of_tenant(scan, Anum_hold_tenant, tenant))
			continue;
		dg_own_set_null(scan, Anum_hold_reason);
		dg_own_update(scan);
	}
	dg_own_end(scan);
}

/* ----------------------------------------------------------------------
 * Its key
 * ----------------------------------------------------------------------
 */

/*
 * Schemas that were the tenant's and do not exist any more.
 */
static void
forget_lost_schemas(const char *tenant)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(guarded_schema), RowExclusiveLock, 0, NULL);

	while (dg_own_next(scan))
	{
		bool		isnull;
		Name		name = DatumGetName(dg_own_datum(scan, Anum_guarded_schema_schema_name, &isnull));

		if (!OidIsValid(get_namespace_oid(NameStr(*name), true)) &&
			is_of_tenant(scan, Anum_guarded_schema_tenant, tenant))
			dg_own_delete(scan);
	}
	dg_own_end(scan);
}

/*
 * Are all rows of the deletion this tenant's?
 */
static bool
is_deletion_of(int64 deletion, const char *tenant)
{
	ScanKeyData keys[] = {dg_own_key_int8(Anum_deletion_part_deletion_id, deletion)};
	DgOwnScan  *scan = dg_own_scan(DG_OWN(deletion_part), AccessShareLock, lengthof(keys), keys);
	bool		only = true;

	while (only && dg_own_next(scan))
	{
		char	   *other = dg_own_text(scan, Anum_deletion_part_tenant);

		only = dg_own_int64(scan, Anum_deletion_part_rows) == 0 || (other != NULL && dg_guard_tenant_equal(other, tenant));
	}
	dg_own_end(scan);
	return only;
}

/*
 * The record of a deletion that had rows of the tenant. The actor of a deletion
 * of this tenant's rows only may have been the tenant's own user.
 */
static void
forget_deletion(int64 deletion, const char *tenant, const char *pseudonym)
{
	bool		only = is_deletion_of(deletion, tenant);
	DgOwnScan  *scan = find_deletion_record(deletion);

	if (scan == NULL)
		return;
	blank_statement(scan);
	if (only && !dg_own_isnull(scan, Anum_deletion_part_actor))
		dg_own_set(scan, Anum_deletion_part_actor, CStringGetTextDatum(pseudonym));
	dg_own_update(scan);
	dg_own_end(scan);
}

static void
collect_deletion(DgOwnScan *scan, void *arg)
{
	List	  **deletions = arg;
	int64	   *deletion = palloc(sizeof(int64));

	*deletion = dg_own_int64(scan, Anum_deletion_part_deletion_id);
	*deletions = lappend(*deletions, deletion);
}

static void
rename_part(DgOwnScan *scan, void *arg)
{
	if (!dg_own_lock(scan))
		return;
	dg_own_set(scan, Anum_deletion_part_tenant, CStringGetTextDatum((const char *) arg));
	dg_own_set(scan, Anum_deletion_part_tenant_hash, UInt64GetDatum(dg_guard_tenant_text_hash(arg)));
	dg_own_update(scan);
}

/*
 * Closes the tenant's open requests, and renames it in all of them.
 */
static void
rename_in_requests(const char *tenant, const char *pseudonym)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(purge_request_record), RowExclusiveLock, 0, NULL);

	while (dg_own_next(scan))
	{
		if (!is_of_tenant(scan, Anum_purge_request_record_tenant, tenant))
			continue;
		dg_own_set(scan, Anum_purge_request_record_tenant, CStringGetTextDatum(pseudonym));
		if (strcmp(dg_own_text(scan, Anum_purge_request_record_state), "open") == 0)
			withdraw_request(scan, pseudonym);
		dg_own_update(scan);
	}
	dg_own_end(scan);
}

/*
 * Renames the tenant in a table's column, and nulls another (0: none).
 */
static void
rename_in_table(DgOwnTable table, AttrNumber attnum, AttrNumber nulled, const char *tenant, const char *pseudonym)
{
	DgOwnScan  *scan = dg_own_scan(table, RowExclusiveLock, 0, NULL);

	while (dg_own_next(scan))
	{
		if (!is_of_tenant(scan, attnum, tenant))
			continue;
		dg_own_set(scan, attnum, CStringGetTextDatum(pseudonym));
		if (nulled != 0)
			dg_own_set_null(scan, nulled);
		dg_own_update(scan);
	}
	dg_own_end(scan);
}

/*
 * Replaces a tenant's key wherever it is kept, in deletions that were undone
 * too.
 */
static void
forget_key(const char *tenant, char *pseudonym)
{
	List	   *deletions = NIL;
	ListCell   *lc;
	int64		last = 0;

	dg_bin_tenant_each_part(tenant, AccessShareLock, collect_deletion, &deletions);
	foreach(lc, deletions)
	{
		int64		deletion = *(int64 *) lfirst(lc);

		/* parts of one deletion mostly come one after the other */
		if (deletion != last)
			forget_deletion(deletion, tenant, pseudonym);
		last = deletion;
	}
	dg_bin_forget_renames(tenant);
	forget_lost_schemas(tenant);
	rename_in_requests(tenant, pseudonym);
	dg_bin_tenant_each_part(tenant, RowExclusiveLock, rename_part, pseudonym);
	rename_in_table(DG_OWN_ALL(folded_deletion), Anum_folded_deletion_tenant, 0, tenant, pseudonym);
	rename_in_table(DG_OWN_ALL(hold), Anum_hold_tenant, 0, tenant, pseudonym);
	rename_in_table(DG_OWN_ALL(rehydration_record), Anum_rehydration_record_tenant, Anum_rehydration_record_problem, tenant, pseudonym);
	rename_in_table(DG_OWN_ALL(drill_result), Anum_drill_result_tenant, Anum_drill_result_problem, tenant, pseudonym);
}

/*
 * Forgets what is no longer needed after the rows of a plan have been removed.
 * The digest is that of the tenant, with the purge's salt. The caller holds
 * the tenant's lock and has closed the request.
 */
void
dg_purge_forget(const DgRequest *request, const DgPlan *plan, const uint8 *tenant_digest)
{
	/*
	 * after fold_deletions(), which moves tenants' keys to where they are
	 * found then
	 */
	LockRelationOid(dg_objects()->folded_deletion, RowExclusiveLock);
	forget_statements(plan);
	if (request->tenant == NULL || request->keys != NULL)
		forget_reason(request);
	if (request->tenant == NULL)
		return;
	withdraw_void_requests(request->tenant);
	if (is_in_bin(request->tenant))
		return;
	forget_name(request->tenant);
	if (!dg_purge_tenant_is_live(request->tenant))
		forget_key(request->tenant, psprintf("purged:%s", dg_hex(tenant_digest, PSEUDONYM_BYTES)));
}
