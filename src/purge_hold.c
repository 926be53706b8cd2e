/*
 * purge_hold.c
 *		Holds: while one is not released, nothing of its tenant is purged,
 *		whoever signed.
 *
 * Placing a hold takes the privilege to call the function; releasing one takes
 * a token. A hold takes the tenant's lock: it either precedes a purge and stops
 * it, or waits for the purge to end. The ledger has the hold's number, not the
 * tenant.
 */
#include "purge.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dg_hold_tenant);
PG_FUNCTION_INFO_V1(dg_release_hold);

/*
 * The oldest hold on a tenant that is not released; 0 if there is none. The
 * caller is connected to SPI.
 */
int64
dg_hold_active(const char *tenant, TimestampTz *held_at)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(tenant)};

	if (dg_spi_select("SELECT hold_id, held_at FROM ONLY deletion_guard.hold"
					  " WHERE tenant = $1 AND released_at IS NULL ORDER BY hold_id LIMIT 1",
					  1, types, values, NULL) == 0)
		return 0;
	*held_at = dg_row_time(0, 2, NULL);
	return dg_row_int64(0, 1, NULL);
}

/*
 * A hold on a tenant that nobody knows is allowed, since backups may know it,
 * but it may be a slip of the pen.
 */
static void
warn_if_unknown(const char *tenant)
{
	DgRefusal	refusal = {0};

	if (dg_tenant_name(tenant, &refusal) == NULL)
		ereport(WARNING,
				(errmsg("%s", refusal.message), errdetail("%s", refusal.detail),
				 errhint("The hold is placed all the same.")));
}

/*
 * hold_tenant(tenant text, reason text) -> bigint
 */
Datum
dg_hold_tenant(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[4];
	char	   *tenant;
	text	   *reason;
	int64		hold;

	PreventCommandIfReadOnly("hold_tenant()");
	SPI_connect();
	tenant = dg_tenant_argument(fcinfo, 0);
	reason = dg_required_text(fcinfo, 1, "reason");
	dg_lock_tenant(tenant);
	warn_if_unknown(tenant);
	hold = dg_purge_next_id("hold_id_seq");
	dg_ledger_append("hold_tenant", psprintf("{\"hold\": " INT64_FORMAT "}", hold));
	values[0] = Int64GetDatum(hold);
	values[1] = CStringGetTextDatum(tenant);
	values[2] = PointerGetDatum(reason);
	values[3] = CStringGetTextDatum(dg_session_role());
	dg_spi_execute("INSERT INTO deletion_guard.hold (hold_id, tenant, reason, held_at, held_by)"
				   " VALUES ($1, $2, $3, now(), $4)", 4, types, values, NULL);
	SPI_finish();
	PG_RETURN_INT64(hold);
}

static bool
releases_hold(const DgTokenClaims *claims, void *arg)
{
	return claims->hold == *(int64 *) arg;
}

static void
require_active_hold(int64 hold)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(hold)};

	if (dg_spi_select("SELECT released_at IS NOT NULL FROM ONLY deletion_guard.hold WHERE hold_id = $1",
					  1, types, values, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no hold %lld", (long long) hold),
				 errhint("The table deletion_guard.hold lists holds.")));
	if (strcmp(dg_row_text(0, 1), "t") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("hold %lld has been released already", (long long) hold)));
}

/*
 * release_hold(hold_id bigint, VARIADIC tokens text[]) -> void
 */
Datum
dg_release_hold(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT8OID, TEXTOID};
	Datum		values[2];
	int64		hold;
	List	   *approvals;

	PreventCommandIfReadOnly("release_hold()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("hold_id must not be null")));
	hold = PG_GETARG_INT64(0);

	SPI_connect();
	dg_lock_authorities(ShareLock);
	require_active_hold(hold);
	approvals = dg_authorise(DG_TOKEN_ACT_RELEASE_HOLD, PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1),
							 releases_hold, &hold, "release_hold");
	values[0] = Int64GetDatum(hold);
	values[1] = CStringGetTextDatum(dg_session_role());
	dg_spi_execute("UPDATE deletion_guard.hold SET released_at = now(), released_by = $2"
				   " WHERE hold_id = $1 AND released_at IS NULL", 2, types, values, NULL);
	(void) dg_approvals_record(approvals, "release_hold", psprintf("{\"hold\": " INT64_FORMAT "}", hold));
	SPI_finish();
	PG_RETURN_VOID();
}
