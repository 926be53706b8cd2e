/*
 * purge_forget.c
 *		What else is known of a tenant goes with the last of its rows.
 *
 * The deletions that a purge touches lose their statement and reason, which
 * may quote the rows. Once nothing of the tenant is left in the bin, its name
 * and contact go, and the reasons that requests and holds give. Where it is
 * not among the live tenants either, its key goes too: a digest of it takes
 * its place, the same as in the purge's record. Whoever knows the key can
 * still find what was done; whoever does not know it learns nothing about it.
 * Requests that are still open, and now cover nothing, are closed with it.
 */
#include "purge.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

/* of the tenant's digest: enough to tell tenants from each other */
#define PSEUDONYM_BYTES 16

static void
forget_statements(const DgRequest *request)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(request->id)};

	dg_spi_execute("UPDATE deletion_guard.deletion_record SET statement = '(removed by a purge)',"
				   " reason = CASE WHEN reason IS NOT NULL THEN '(removed by a purge)' END"
				   " WHERE deletion_id IN (SELECT q.deletion_id FROM deletion_guard.purge_request_part q"
				   "  WHERE q.request_id = $1)", 1, types, values, NULL);
}

static void
forget_reason(const DgRequest *request)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(request->id)};

	dg_spi_execute("UPDATE deletion_guard.purge_request_record SET reason = NULL WHERE request_id = $1",
				   1, types, values, NULL);
}

static bool
in_bin(const char *tenant)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(tenant)};

	return dg_spi_select("SELECT 1 FROM deletion_guard.deletion_part"
						 " WHERE tenant = $1 AND rows > restored + purged LIMIT 1", 1, types, values, NULL) > 0;
}

static void
forget_name(const char *tenant)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(tenant)};

	dg_spi_execute("UPDATE deletion_guard.deletion_part SET tenant_name = NULL, contact = NULL"
				   " WHERE tenant = $1 AND (tenant_name IS NOT NULL OR contact IS NOT NULL)",
				   1, types, values, NULL);
	dg_spi_execute("UPDATE deletion_guard.purge_request_record SET tenant_name = NULL, reason = NULL"
				   " WHERE tenant = $1", 1, types, values, NULL);
	dg_spi_execute("UPDATE deletion_guard.hold SET reason = NULL WHERE tenant = $1", 1, types, values, NULL);
}

/*
 * Replaces a tenant's key wherever it is kept, in deletions that were undone
 * too. The actor of a deletion of this tenant's rows only may have been the
 * tenant's own user, so it goes as well.
 */
static void
forget_key(const char *tenant, const char *pseudonym)
{
	static const char *const statements[] = {
		"UPDATE deletion_guard.deletion_record r SET statement = '(removed by a purge)',"
		" reason = CASE WHEN reason IS NOT NULL THEN '(removed by a purge)' END,"
		" actor = CASE WHEN actor IS NULL OR EXISTS (SELECT FROM deletion_guard.deletion_part o"
		"   WHERE o.deletion_id = r.deletion_id AND o.rows > 0 AND o.tenant IS DISTINCT FROM $1) THEN actor ELSE $2 END"
		" WHERE deletion_id IN (SELECT p.deletion_id FROM deletion_guard.deletion_part p WHERE p.tenant = $1)",
		"UPDATE deletion_guard.purge_request_record SET state = 'withdrawn', closed_at = now(), closed_by = $2"
		" WHERE tenant = $1 AND state = 'open'",
		"UPDATE deletion_guard.purge_request_record SET tenant = $2 WHERE tenant = $1",
		"UPDATE deletion_guard.deletion_part SET tenant = $2 WHERE tenant = $1",
		"UPDATE deletion_guard.hold SET tenant = $2 WHERE tenant = $1",
		"UPDATE deletion_guard.rehydration_record SET tenant = $2 WHERE tenant = $1",
		"UPDATE deletion_guard.drill_result SET tenant = $2, problem = NULL WHERE tenant = $1",
	};
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(tenant), CStringGetTextDatum(pseudonym)};

	for (int i = 0; i < lengthof(statements); i++)
		dg_spi_execute(statements[i], 2, types, values, NULL);
}

/*
 * Forgets what is no longer needed after the rows of a request have been
 * removed. The digest is that of the tenant, with the purge's salt. The caller
 * is connected to SPI, holds the tenant's lock, and has closed the request.
 */
void
dg_purge_forget(const DgRequest *request, const uint8 *tenant_digest)
{
	forget_statements(request);
	if (request->tenant == NULL)
	{
		forget_reason(request);
		return;
	}
	if (in_bin(request->tenant))
		return;
	forget_name(request->tenant);
	if (!dg_tenant_is_live(request->tenant))
		forget_key(request->tenant, psprintf("purged:%s", dg_hex(tenant_digest, PSEUDONYM_BYTES)));
}
