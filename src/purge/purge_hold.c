/*
 * purge_hold.c
 *		Holds: while one is not released, nothing of its tenant is purged,
 *		whatever was signed.
 *
 * Placing a hold takes the privilege to call the function; releasing one takes
 * a token. A hold takes the tenant's lock: it either precedes a purge and stops
 * it, or waits for the purge to end. The ledger has the hold's number, not the
 * tenant.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "guard/guard.h"
#include "ledger/ledger.h"
#include "purge/purge_internal.h"
#include "token/token.h"

PG_FUNCTION_INFO_V1(dg_hold_tenant);
PG_FUNCTION_INFO_V1(dg_release_hold);

/*
 * The oldest hold on a tenant that is not released; 0 if there is none.
 */
int64
dg_purge_hold_active(const char *tenant, TimestampTz *held_at)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(hold), AccessShareLock, 0, NULL);
	int64		oldest = 0;

	while (dg_own_next(scan))
	{
		int64		hold = dg_own_int64(scan, Anum_hold_hold_id);

		if (!dg_own_isnull(scan, Anum_hold_released_at) || (oldest != 0 && hold > oldest) ||
			!dg_guard_tenant_equal(dg_own_text(scan, Anum_hold_tenant), tenant))
			continue;
		oldest = hold;
		*held_at = dg_own_time(scan, Anum_hold_held_at);
	}
	dg_own_end(scan);
	return oldest;
}

/*
 * A hold on a tenant that nobody knows is allowed, since backups may know it,
 * but it may be a slip of the pen.
 */
static void
warn_if_unknown(const char *tenant)
{
	DgRefusal	refusal = {0};

	if (dg_purge_tenant_name(tenant, &refusal) == NULL)
		ereport(WARNING,
				(errmsg("%s", refusal.message), errdetail("%s", refusal.detail),
				 errhint("The hold is placed all the same.")));
}

static void
place_hold(int64 hold, const char *tenant, text * reason)
{
	Datum		values[Natts_hold] = {0};
	bool		nulls[Natts_hold] = {false};

	values[Anum_hold_hold_id - 1] = Int64GetDatum(hold);
	values[Anum_hold_tenant - 1] = CStringGetTextDatum(tenant);
	values[Anum_hold_reason - 1] = PointerGetDatum(reason);
	values[Anum_hold_held_at - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[Anum_hold_held_by - 1] = CStringGetTextDatum(dg_session_role());
	nulls[Anum_hold_released_at - 1] = true;
	nulls[Anum_hold_released_by - 1] = true;
	dg_own_insert(DG_OWN(hold), values, nulls);
}

/*
 * hold_tenant(tenant text, reason text) -> bigint
 */
Datum
dg_hold_tenant(PG_FUNCTION_ARGS)
{
	char	   *tenant;
	text	   *reason;
	int64		hold;

	PreventCommandIfReadOnly("hold_tenant()");
	tenant = dg_purge_tenant_argument(fcinfo, 0);
	reason = dg_purge_required_text(fcinfo, 1, "reason");
	dg_guard_lock_tenant(tenant);
	warn_if_unknown(tenant);
	hold = dg_own_next_id(dg_objects()->hold_id_seq, DG_OWN(hold), Anum_hold_hold_id);
	dg_ledger_append("hold_tenant", psprintf("{\"hold\": " INT64_FORMAT "}", hold));
	place_hold(hold, tenant, reason);
	PG_RETURN_INT64(hold);
}

static bool
releases_hold(const DgTokenClaims *claims, void *arg)
{
	return claims->hold == *(int64 *) arg;
}

/*
 * Finds a hold: a scan that has turned to it, or NULL.
 */
static DgOwnScan *
find_hold(int64 hold, LOCKMODE lockmode)
{
	return dg_own_find(DG_OWN(hold), lockmode, DG_KEYS(dg_own_key_int8(Anum_hold_hold_id, hold)));
}

static void
require_active_hold(int64 hold)
{
	DgOwnScan  *scan = find_hold(hold, AccessShareLock);

	if (scan == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no hold %lld", (long long) hold),
				 errhint("The table deletion_guard.hold lists holds.")));
	if (!dg_own_isnull(scan, Anum_hold_released_at))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("hold %lld has been released already", (long long) hold)));
	dg_own_end(scan);
}

static void
end_hold(int64 hold)
{
	DgOwnScan  *scan = find_hold(hold, RowExclusiveLock);

	if (scan == NULL)
		return;
	if (dg_own_lock(scan) && dg_own_isnull(scan, Anum_hold_released_at))
	{
		dg_own_set(scan, Anum_hold_released_at, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
		dg_own_set(scan, Anum_hold_released_by, CStringGetTextDatum(dg_session_role()));
		dg_own_update(scan);
	}
	dg_own_end(scan);
}

/*
 * release_hold(hold_id bigint, VARIADIC tokens text[]) -> void
 */
Datum
dg_release_hold(PG_FUNCTION_ARGS)
{
	int64		hold;
	List	   *approvals;

	PreventCommandIfReadOnly("release_hold()");
	dg_require_argument(fcinfo, 0, "hold_id");
	hold = PG_GETARG_INT64(0);

	dg_purge_lock_authorities(ShareLock);
	require_active_hold(hold);
	approvals = dg_purge_authorise(DG_TOKEN_ACT_RELEASE_HOLD, PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1),
								   releases_hold, &hold, "release_hold", psprintf("'" INT64_FORMAT "'", hold));
	end_hold(hold);
	(void) dg_purge_approvals_record(approvals, "release_hold", psprintf("{\"hold\": " INT64_FORMAT "}", hold));
	PG_RETURN_VOID();
}
