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
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "bin/bin.h"
#include "common/deletion_guard.h"
#include "ledger/ledger.h"
#include "purge/purge_internal.h"
#include "token/token.h"

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

/* Rows of one bin table on their way out. */
typedef struct Removal
{
	DgPurgeDigest *digest;
	DgPurgeLinks *links;
	DgPlanPart **parts;			/* being removed, of one deletion, by number */
	int			nparts;
	DgPlanPart *part;			/* of the last row */
	MemoryContext row_context;
} Removal;

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
			return dg_purge_refusal_set(refusal, DG_ERRCODE_TOKEN_BAD_CLAIM, "different_requests",
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
		if (!dg_purge_approval_unused(approval, refusal))
			return false;
	}
	refusal->authority = NULL;
	return true;
}

static void
lock_tenant_of(const DgApproval *approval)
{
	const DgRequest *request = approval->tenant != NULL ? dg_purge_request_find(approval->claims.request) : NULL;

	if (approval->claims.act == DG_TOKEN_ACT_PURGE_BY_AGE)
		dg_guard_lock_all_tenants();
	else if (request != NULL && request->tenant != NULL)
		dg_guard_lock_tenant(request->tenant);
	else
		dg_guard_lock_tenant(approval->tenant != NULL ? approval->tenant : DG_NO_TENANT);
}

/*
 * Checks everything that must hold, under the tenant's lock; false and a
 * refusal if something does not. A call with a token that was used does not
 * wait for the lock.
 */
static bool
check_purge(Purge *purge, ArrayType *tokens, DgRefusal *refusal)
{
	ListCell   *lc;

	if (!dg_purge_approvals_verify(tokens, DG_TOKEN_ACT_PURGE, &purge->approvals, refusal) ||
		!same_purge(purge->approvals, refusal) ||
		!check_unused(purge->approvals, refusal))
		return false;
	lock_tenant_of(linitial(purge->approvals));

	foreach(lc, purge->approvals)
	{
		DgApproval *approval = lfirst(lc);

		refusal->authority = approval->claims.kid;
		if (!dg_purge_approval_unused(approval, refusal) ||
			!dg_purge_check(approval, &purge->request, &purge->plan, refusal))
			return false;
	}
	refusal->authority = NULL;
	return dg_purge_approvals_suffice(purge->approvals, dg_purge_approvals_required(), refusal);
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

static void
insert_record(const Purge *purge)
{
	Datum		values[Natts_purge_record] = {0};
	bool		nulls[Natts_purge_record];

	memset(nulls, true, sizeof(nulls));
	memset(nulls, false, sizeof(bool) * Anum_purge_record_tenant_digest);
	values[Anum_purge_record_purge_id - 1] = Int64GetDatum(purge->id);
	values[Anum_purge_record_request_id - 1] = Int64GetDatum(purge->request->id);
	values[Anum_purge_record_purged_at - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[Anum_purge_record_purged_by - 1] = CStringGetTextDatum(dg_session_role());
	values[Anum_purge_record_state - 1] = CStringGetTextDatum("begun");
	values[Anum_purge_record_rows - 1] = Int64GetDatum(purge->plan->rows);
	values[Anum_purge_record_salt - 1] = PointerGetDatum(dg_bytea(purge->salt, DG_DIGEST_SIZE));
	values[Anum_purge_record_tenant_digest - 1] = PointerGetDatum(dg_bytea(purge->tenant_digest, DG_DIGEST_SIZE));
	dg_own_insert(DG_OWN(purge_record), values, nulls);
}

/*
 * Writes the record ahead of the act: in the log, which nothing takes back,
 * and in the table.
 */
static void
begin_record(Purge *purge)
{
	purge->id = dg_own_next_id(dg_objects()->purge_id_seq, DG_OWN(purge_record), Anum_purge_record_purge_id);
	if (!pg_strong_random(purge->salt, sizeof(purge->salt)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random salt")));
	ereport(LOG,
			(errmsg("deletion_guard begins purge %lld of %lld rows for request %lld",
					(long long) purge->id, (long long) purge->plan->rows, (long long) purge->request->id),
			 errhidestmt(true), errhidecontext(true)));
	dg_purge_salted_digest(purge->salt, purge->request->tenant, purge->tenant_digest);
	insert_record(purge);
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
					 purge->id, purge->request->id, dg_json_string(dg_purge_audience_text()), at,
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

static int
compare_part_number(const void *number, const void *part)
{
	int32		a = *(const int32 *) number;
	int32		b = (*(DgPlanPart *const *) part)->part;

	return (a > b) - (a < b);
}

/*
 * The part of the plan that a row of the bin is of, by the row's own marks.
 */
static DgPlanPart *
part_of_row(Removal *removal, TupleTableSlot *slot)
{
	bool		isnull;
	int64		deletion = DatumGetInt64(slot_getattr(slot, Anum_bin_deletion, &isnull));
	int32		number = DatumGetInt32(slot_getattr(slot, Anum_bin_part, &isnull));

	if (removal->part == NULL || removal->part->part != number)
	{
		DgPlanPart **found = bsearch(&number, removal->parts, removal->nparts, sizeof(DgPlanPart *),
									 compare_part_number);

		removal->part = found != NULL ? *found : NULL;
	}
	if (removal->part == NULL || removal->part->deletion != deletion ||
		removal->part->bin_table != slot->tts_tableOid)
		elog(ERROR, "a row of deletion " INT64_FORMAT ", part %d is not in the plan", deletion, number);
	return removal->part;
}

/*
 * Digests a row of the bin that is about to go; false if the plan leaves it. A
 * DgBinRowCallback.
 */
static bool
remove_row(TupleTableSlot *slot, void *arg)
{
	Removal    *removal = arg;
	DgPlanPart *part = part_of_row(removal, slot);
	MemoryContext old;

	if (!dg_purge_rows_has(part, slot))
		return false;
	old = MemoryContextSwitchTo(removal->row_context);
	dg_purge_digest_row(removal->digest, part, slot);
	dg_purge_links_row(removal->links, slot);
	part->removed++;
	MemoryContextSwitchTo(old);
	MemoryContextReset(removal->row_context);
	return true;
}

/*
 * Removes the rows of some parts of a bin table, all of one deletion and by
 * number: this is where rows are destroyed.
 */
static void
remove_parts(Removal *removal, DgPlanPart **parts, int nparts)
{
	DgPartId   *ids = palloc(sizeof(DgPartId) * nparts);

	for (int i = 0; i < nparts; i++)
	{
		ids[i].deletion = parts[i]->deletion;
		ids[i].part = parts[i]->part;
	}
	removal->parts = parts;
	removal->nparts = nparts;
	removal->part = NULL;
	dg_bin_purge_parts(parts[0]->bin_table, ids, nparts, remove_row, removal);
	pfree(ids);
}

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
	Removal		removal = {.links = purge->links};
	int64		rows;
	uint8		sum[DG_DIGEST_SIZE];
	int			n;

	removal.row_context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard purge row", ALLOCSET_DEFAULT_SIZES);
	removal.digest = dg_purge_digest_begin(purge->id, table_no, parts[0], purge->plan->tenants, purge->salt);
	dg_purge_links_open(purge->links, parts[0]);
	for (int i = 0; i < nparts; i += n)
	{
		for (n = 1; i + n < nparts && parts[i + n]->deletion == parts[i]->deletion;)
			n++;
		remove_parts(&removal, &parts[i], n);
	}
	for (int i = 0; i < nparts; i++)
		check_removed(parts[i]);
	dg_purge_digest_end(removal.digest, &rows, sum);
	MemoryContextDelete(removal.row_context);
	purge->rows += rows;
	appendStringInfo(&purge->tables, "%s{\"table\": %s, \"rows\": " INT64_FORMAT ", \"digest\": \"%s\"}",
					 purge->tables.len > 0 ? ", " : "", dg_json_string(parts[0]->relation_name), rows,
					 dg_hex(sum, DG_DIGEST_SIZE));
}

/*
 * Is the scan's part still what the plan says it is?
 */
static bool
is_planned(const DgOwnScan *scan, const DgPlanPart *part)
{
	char	   *tenant = dg_own_text(scan, Anum_deletion_part_tenant);

	if ((tenant == NULL) != (part->tenant == NULL) || (tenant != NULL && strcmp(tenant, part->tenant) != 0))
		return false;
	return dg_purge_part_rows_left(scan) == part->left;
}

/*
 * Counts the rows of a part as purged.
 */
static void
count_purged(const DgPlanPart *part)
{
	ScanKeyData keys[] = {dg_own_key_int8(Anum_deletion_part_deletion_id, part->deletion),
	dg_own_key_int4(Anum_deletion_part_part, part->part)};
	DgOwnScan  *scan = dg_own_find(DG_OWN(deletion_part), RowExclusiveLock, lengthof(keys), keys);

	if (scan == NULL || !dg_own_lock(scan) || !is_planned(scan, part))
		elog(ERROR, "part %d of deletion " INT64_FORMAT " is no longer what was planned", part->part, part->deletion);
	dg_own_set(scan, Anum_deletion_part_purged,
			   Int64GetDatum(dg_own_int64(scan, Anum_deletion_part_purged) + part->rows));
	dg_own_update(scan);
	dg_own_end(scan);
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
	for (int i = 0; i < plan->nparts; i++)
		count_purged(&plan->parts[i]);
	dg_purge_links_end(purge->links);
	AtEOXact_GUC(true, nestlevel);
}

static DgOwnScan *
find_purge_record(int64 id, LOCKMODE lockmode)
{
	return dg_own_find(DG_OWN(purge_record), lockmode,
					   DG_KEYS(dg_own_key_int8(Anum_purge_record_purge_id, id)));
}

/*
 * Says in the ledger and in the record that the rows are gone.
 */
static void
end_record(const Purge *purge)
{
	char	   *certificate = certificate_text(purge);
	int64		entry = dg_purge_approvals_record(purge->approvals, "purge", certificate);
	DgOwnScan  *scan = find_purge_record(purge->id, RowExclusiveLock);

	if (scan == NULL || !dg_own_lock(scan))
		elog(ERROR, "record of purge " INT64_FORMAT " is gone", purge->id);
	dg_own_set(scan, Anum_purge_record_state, CStringGetTextDatum("purged"));
	dg_own_set(scan, Anum_purge_record_rows, Int64GetDatum(purge->rows));
	dg_own_set(scan, Anum_purge_record_certificate, CStringGetTextDatum(certificate));
	dg_own_set(scan, Anum_purge_record_ledger_id, Int64GetDatum(entry));
	dg_own_update(scan);
	dg_own_end(scan);
	dg_counter_add(DG_COUNT_PURGES, 1);
	dg_counter_add(DG_COUNT_ROWS_PURGED, purge->rows);
}

/*
 * purge(VARIADIC tokens text[]) -> jsonb
 */
Datum
dg_purge(PG_FUNCTION_ARGS)
{
	Purge		purge = {0};
	DgRefusal	refusal = {0};

	PreventCommandIfReadOnly("purge()");
	dg_purge_lock_authorities(ShareLock);
	if (!check_purge(&purge, PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0), &refusal))
		dg_purge_refuse(&refusal, "purge");
	warn_of_clock();

	begin_record(&purge);
	remove_rows(&purge);
	dg_purge_request_close(purge.request->id, "purged");
	dg_purge_forget(purge.request, purge.plan, purge.tenant_digest);
	dg_purge_approvals_raise();
	end_record(&purge);
	ereport(LOG,
			(errmsg("deletion_guard ends purge %lld: %lld rows are gone if this transaction commits",
					(long long) purge.id, (long long) purge.rows),
			 errhidestmt(true), errhidecontext(true)));

	PG_RETURN_DATUM(dg_purge_certificate_text(purge.id));
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

/*
 * Finds the purge, which must not have been annulled: a scan that has turned to
 * its record.
 */
static DgOwnScan *
require_purge(int64 id, LOCKMODE lockmode)
{
	DgOwnScan  *scan = find_purge_record(id, lockmode);

	if (scan == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no purge %lld", (long long) id),
				 errhint("The table deletion_guard.purge_record lists purges.")));
	if (lockmode != AccessShareLock && !dg_own_lock(scan))
		elog(ERROR, "record of purge " INT64_FORMAT " is gone", id);
	if (strcmp(dg_own_text(scan, Anum_purge_record_state), "annulled") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("purge %lld has been annulled already", (long long) id)));
	return scan;
}

static void
record_annulment(int64 id, int64 entry)
{
	DgOwnScan  *scan = require_purge(id, RowExclusiveLock);

	dg_own_set(scan, Anum_purge_record_state, CStringGetTextDatum("annulled"));
	dg_own_set(scan, Anum_purge_record_annulled_at, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
	dg_own_set(scan, Anum_purge_record_annulled_by, CStringGetTextDatum(dg_session_role()));
	dg_own_set(scan, Anum_purge_record_annulled_ledger_id, Int64GetDatum(entry));
	dg_own_update(scan);
	dg_own_end(scan);
}

/*
 * annul_purge(purge_id bigint, VARIADIC tokens text[]) -> void. The rows stay
 * gone; a rehydration no longer subtracts them.
 */
Datum
dg_annul_purge(PG_FUNCTION_ARGS)
{
	int64		id;
	List	   *approvals;

	PreventCommandIfReadOnly("annul_purge()");
	dg_require_argument(fcinfo, 0, "purge_id");
	id = PG_GETARG_INT64(0);

	dg_purge_lock_authorities(ShareLock);
	dg_own_end(require_purge(id, AccessShareLock));
	approvals = dg_purge_authorise(DG_TOKEN_ACT_ANNUL_PURGE, PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1),
								   annuls_purge, &id, "annul_purge", psprintf("'" INT64_FORMAT "'", id));
	record_annulment(id, dg_purge_approvals_record(approvals, "annul_purge", psprintf("{\"purge\": " INT64_FORMAT "}", id)));
	PG_RETURN_VOID();
}
