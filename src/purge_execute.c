/*
 * purge_execute.c
 *		purge() and annul_purge().
 *
 * One transaction does it all: it checks everything again under the tenant's
 * lock, writes the purge's record, removes the rows, and only then says in the
 * record and in the ledger that they are gone. Whatever fails leaves the rows,
 * the request and the tokens as they were; that it was tried is in the server's
 * log.
 *
 * Order of locks: authorities (shared), tenant, rows of the bin, ledger.
 *
 * What else is known of the tenant, and lost links that quote its rows, go with
 * them: see purge_forget.c and purge_link.c.
 */
#include "purge.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"

PG_FUNCTION_INFO_V1(dg_purge);
PG_FUNCTION_INFO_V1(dg_annul_purge);

/* A purge under way. */
typedef struct Purge
{
	int64		id;
	DgRequest  *request;
	DgPlan	   *plan;
	List	   *approvals;
	uint8		salt[DG_DIGEST_SIZE];
	uint8		tenant_digest[DG_DIGEST_SIZE];
	DgPurgeLinks *links;
	int64		rows;			/* removed so far */
	StringInfoData tables;		/* of the certificate, as JSON */
} Purge;

/* ----------------------------------------------------------------------
 * Checks
 * ----------------------------------------------------------------------
 */

/*
 * Do all tokens permit the same purge?
 */
static bool
same_purge(List *approvals, DgRefusal *refusal)
{
	DgApproval *first = linitial(approvals);
	ListCell   *lc;

	foreach(lc, approvals)
	{
		DgApproval *approval = lfirst(lc);

		if (approval->claims.request != first->claims.request ||
			approval->claims.act != first->claims.act ||
			(first->tenant != NULL && strcmp(approval->tenant, first->tenant) != 0))
			return dg_refusal_set(refusal, DG_ERRCODE_TOKEN_BAD_CLAIM, "different_requests",
								  "Pass the tokens of one request only.",
								  "the tokens are for different requests");
	}
	return true;
}

static bool
check_unused(List *approvals, DgRefusal *refusal)
{
	ListCell   *lc;

	foreach(lc, approvals)
	{
		DgApproval *approval = lfirst(lc);

		refusal->authority = approval->claims.kid;
		if (!dg_approval_unused(approval, refusal))
			return false;
	}
	refusal->authority = NULL;
	return true;
}

static void
lock_tenant_of(const DgApproval *approval)
{
	if (approval->claims.act == DG_TOKEN_ACT_PURGE_BY_AGE)
		dg_lock_all_tenants();
	else
		dg_lock_tenant(approval->tenant != NULL ? approval->tenant : DG_NO_TENANT);
}

/*
 * Everything that must hold, under the tenant's lock. Who comes with a token that
 * was used does not wait for it.
 */
static bool
check(Purge *purge, ArrayType *tokens, DgRefusal *refusal)
{
	ListCell   *lc;

	if (!dg_approvals_verify(tokens, DG_TOKEN_ACT_PURGE, &purge->approvals, refusal) ||
		!same_purge(purge->approvals, refusal) ||
		!check_unused(purge->approvals, refusal))
		return false;
	lock_tenant_of(linitial(purge->approvals));

	foreach(lc, purge->approvals)
	{
		DgApproval *approval = lfirst(lc);

		refusal->authority = approval->claims.kid;
		if (!dg_approval_unused(approval, refusal) ||
			!dg_purge_check(approval, &purge->request, &purge->plan, refusal))
			return false;
	}
	refusal->authority = NULL;
	return dg_approvals_suffice(purge->approvals, dg_approvals_required(), refusal);
}

/*
 * A clock that is behind makes nothing due, but somebody should look at it.
 */
static void
warn_of_clock(void)
{
	TimestampTz last = dg_ledger_clock();

	if (last > GetCurrentTimestamp() + USECS_PER_MINUTE)
		ereport(WARNING,
				(errmsg("the server's clock is behind the ledger's last entry, of %s", timestamptz_to_str(last)),
				 errhint("Was the clock set back?")));
}

/* ----------------------------------------------------------------------
 * The record
 * ----------------------------------------------------------------------
 */

/*
 * Writes the record ahead of the act: in the log, which nothing takes back,
 * and in the table.
 */
static void
begin_record(Purge *purge)
{
	Oid			types[] = {INT8OID, INT8OID, TEXTOID, INT8OID, BYTEAOID, BYTEAOID};
	Datum		values[6];

	purge->id = dg_own_next_id(dg_objects()->purge_id_seq);
	if (!pg_strong_random(purge->salt, sizeof(purge->salt)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random salt")));
	ereport(LOG,
			(errmsg("deletion_guard begins purge %lld of %lld rows for request %lld",
					(long long) purge->id, (long long) purge->plan->rows, (long long) purge->request->id),
			 errhidestmt(true), errhidecontext(true)));

	dg_salted_digest(purge->salt, purge->request->tenant, purge->tenant_digest);
	values[0] = Int64GetDatum(purge->id);
	values[1] = Int64GetDatum(purge->request->id);
	values[2] = CStringGetTextDatum(dg_session_role());
	values[3] = Int64GetDatum(purge->plan->rows);
	values[4] = PointerGetDatum(dg_bytea(purge->salt, DG_DIGEST_SIZE));
	values[5] = PointerGetDatum(dg_bytea(purge->tenant_digest, DG_DIGEST_SIZE));
	dg_spi_execute("INSERT INTO deletion_guard.purge_record"
				   " (purge_id, request_id, purged_at, purged_by, state, rows, salt, tenant_digest)"
				   " VALUES ($1, $2, now(), $3, 'begun', $4, $5, $6)", 6, types, values, NULL);
}

static char *
approvals_json(List *approvals)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, approvals)
	{
		DgApproval *approval = lfirst(lc);

		appendStringInfo(&buf, "%s{\"authority\": %s, \"fingerprint\": \"%s\", \"token\": %s}",
						 buf.len > 0 ? ", " : "", dg_json_string(approval->claims.kid),
						 approval->fingerprint, dg_json_string(approval->claims.jti));
	}
	return buf.data;
}

/*
 * The certificate's text: what the ledger keeps.
 */
static char *
certificate_text(const Purge *purge)
{
	StringInfoData buf;
	char	   *at = TextDatumGetCString(DirectFunctionCall2(timestamptz_to_char,
															 TimestampTzGetDatum(GetCurrentTimestamp()),
															 CStringGetTextDatum("YYYY-MM-DD\"T\"HH24:MI:SS.USOF")));

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"purge\": " INT64_FORMAT ", \"request\": " INT64_FORMAT
					 ", \"audience\": %s, \"at\": \"%s\", \"by\": %s",
					 purge->id, purge->request->id, dg_json_string(dg_audience_text()), at,
					 dg_json_string(dg_session_role()));
	appendStringInfo(&buf, ", \"rows\": " INT64_FORMAT ", \"plan_digest\": \"%s\"",
					 purge->rows, dg_hex(purge->plan->digest, DG_DIGEST_SIZE));
	appendStringInfo(&buf, ", \"tables\": [%s], \"approvals\": [%s]}",
					 purge->tables.data, approvals_json(purge->approvals));
	return buf.data;
}

/* ----------------------------------------------------------------------
 * The act
 * ----------------------------------------------------------------------
 */

static void
check_removed(const DgPlanPart *part)
{
	if (part->removed != part->rows)
		ereport(ERROR,
				(errcode(DG_ERRCODE_VERIFICATION_FAILED),
				 errmsg("purge of deletion %lld found %lld rows instead of %lld",
						(long long) part->deletion, (long long) part->removed, (long long) part->rows),
				 errdetail("Table %s. Nothing was purged.", part->relation_name),
				 errhint("Somebody has written the bin past deletion_guard; look into it before anything else.")));
}

/*
 * Removes what the plan has in one bin table: some of its parts, all parts of a
 * deletion at once.
 */
static void
remove_from_bin(Purge *purge, DgPlanPart **parts, int nparts, int32 table_no)
{
	DgPurgeDigest *digest = dg_purge_digest_begin(purge->id, table_no, parts[0], purge->plan->tenants,
												  purge->salt, purge->links);
	int64		rows;
	uint8		sum[DG_DIGEST_SIZE];
	int			n;

	for (int i = 0; i < nparts; i += n)
	{
		for (n = 1; i + n < nparts && parts[i + n]->deletion == parts[i]->deletion;)
			n++;
		dg_purge_digest_parts(digest, &parts[i], n);
	}
	for (int i = 0; i < nparts; i++)
		check_removed(parts[i]);
	dg_purge_digest_end(digest, &rows, sum);
	purge->rows += rows;
	appendStringInfo(&purge->tables, "%s{\"table\": %s, \"rows\": " INT64_FORMAT ", \"digest\": \"%s\"}",
					 purge->tables.len > 0 ? ", " : "", dg_json_string(parts[0]->relation_name), rows,
					 dg_hex(sum, DG_DIGEST_SIZE));
}

/*
 * Counts the rows of the plan, which the request keeps, as purged.
 */
static void
count_purged(const Purge *purge)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(purge->request->id)};

	dg_spi_execute("UPDATE deletion_guard.deletion_part p SET purged = p.purged + q.rows"
				   " FROM deletion_guard.purge_request_part q"
				   " WHERE q.request_id = $1 AND p.deletion_id = q.deletion_id AND p.part = q.part",
				   1, types, values, NULL);
	if (SPI_processed != purge->plan->nparts)
		elog(ERROR, "plan of request " INT64_FORMAT " is damaged", purge->request->id);
}

/*
 * Removes the rows of the plan, one bin table after the other.
 */
static void
remove_rows(Purge *purge)
{
	DgPlan	   *plan = purge->plan;
	DgPlanPart **parts = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(DgPlanPart *) * plan->nparts);
	int			nestlevel = dg_canonical_output_begin();
	List	   *bins = NIL;
	ListCell   *lc;

	initStringInfo(&purge->tables);
	purge->links = dg_purge_links_begin(plan);
	for (int i = 0; i < plan->nparts; i++)
		bins = list_append_unique_oid(bins, plan->parts[i].bin_table);
	foreach(lc, bins)
	{
		int			nparts = 0;

		for (int i = 0; i < plan->nparts; i++)
		{
			if (plan->parts[i].bin_table == lfirst_oid(lc))
				parts[nparts++] = &plan->parts[i];
		}
		remove_from_bin(purge, parts, nparts, foreach_current_index(lc) + 1);
	}
	count_purged(purge);
	dg_purge_links_end(purge->links);
	AtEOXact_GUC(true, nestlevel);
}

static void
close_request(const Purge *purge)
{
	Oid			types[] = {INT8OID, TEXTOID};
	Datum		values[] = {Int64GetDatum(purge->request->id), CStringGetTextDatum(dg_session_role())};

	dg_spi_execute("UPDATE deletion_guard.purge_request_record"
				   " SET state = 'purged', closed_at = now(), closed_by = $2"
				   " WHERE request_id = $1", 2, types, values, NULL);
}

/*
 * Says in the ledger and in the record that the rows are gone.
 */
static void
end_record(const Purge *purge)
{
	char	   *certificate = certificate_text(purge);
	int64		entry = dg_approvals_record(purge->approvals, "purge", certificate);
	Oid			types[] = {INT8OID, INT8OID, TEXTOID, INT8OID};
	Datum		values[] = {Int64GetDatum(purge->id), Int64GetDatum(purge->rows),
		CStringGetTextDatum(certificate), Int64GetDatum(entry)};

	dg_spi_execute("UPDATE deletion_guard.purge_record"
				   " SET state = 'purged', rows = $2, certificate = $3, ledger_id = $4"
				   " WHERE purge_id = $1", 4, types, values, NULL);
}

/*
 * purge(VARIADIC tokens text[]) -> jsonb
 */
Datum
dg_purge(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Purge		purge = {0};
	DgRefusal	refusal = {0};
	Datum		certificate;

	PreventCommandIfReadOnly("purge()");
	SPI_connect();
	dg_lock_authorities(ShareLock);
	if (!check(&purge, PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0), &refusal))
		dg_refuse(&refusal, "purge");
	warn_of_clock();

	begin_record(&purge);
	remove_rows(&purge);
	close_request(&purge);
	dg_purge_forget(purge.request, purge.tenant_digest);
	dg_approvals_raise();
	end_record(&purge);
	ereport(LOG,
			(errmsg("deletion_guard ends purge %lld: %lld rows are gone if this transaction commits",
					(long long) purge.id, (long long) purge.rows),
			 errhidestmt(true), errhidecontext(true)));

	certificate = dg_row_result(caller, dg_certificate(purge.id), JSONBOID);
	SPI_finish();
	PG_RETURN_DATUM(certificate);
}

/* ----------------------------------------------------------------------
 * annul_purge
 * ----------------------------------------------------------------------
 */

static bool
annuls_purge(const DgTokenClaims *claims, void *arg)
{
	return claims->purge == *(int64 *) arg;
}

static void
require_purge(int64 id)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(id)};

	if (dg_spi_select("SELECT state FROM ONLY deletion_guard.purge_record WHERE purge_id = $1",
					  1, types, values, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no purge %lld", (long long) id),
				 errhint("The table deletion_guard.purge_record lists purges.")));
	if (strcmp(dg_row_text(0, 1), "annulled") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("purge %lld has been annulled already", (long long) id)));
}

/*
 * annul_purge(purge_id bigint, VARIADIC tokens text[]) -> void. The rows stay
 * gone; a rehydration no longer subtracts them.
 */
Datum
dg_annul_purge(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT8OID, TEXTOID, INT8OID};
	Datum		values[3];
	int64		id;
	int64		entry;
	List	   *approvals;

	PreventCommandIfReadOnly("annul_purge()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("purge_id must not be null")));
	id = PG_GETARG_INT64(0);

	SPI_connect();
	dg_lock_authorities(ShareLock);
	require_purge(id);
	approvals = dg_authorise(DG_TOKEN_ACT_ANNUL_PURGE, PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1),
							 annuls_purge, &id, "annul_purge");
	entry = dg_approvals_record(approvals, "annul_purge", psprintf("{\"purge\": " INT64_FORMAT "}", id));
	values[0] = Int64GetDatum(id);
	values[1] = CStringGetTextDatum(dg_session_role());
	values[2] = Int64GetDatum(entry);
	dg_spi_execute("UPDATE deletion_guard.purge_record SET state = 'annulled', annulled_at = now(),"
				   " annulled_by = $2, annulled_ledger_id = $3 WHERE purge_id = $1 AND state = 'purged'",
				   3, types, values, NULL);
	SPI_finish();
	PG_RETURN_VOID();
}
