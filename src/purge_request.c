/*
 * purge_request.c
 *		Asking for a purge: request_purge(), request_purge_without_tenant(),
 *		request_purge_by_age() and withdraw_purge().
 *
 * A request fixes what is covered (tenant, tables, a point in time) and the
 * plan as it is at that moment. It shows the plan and returns the claims for an
 * authority to sign; the signer adds iat, nbf, exp and jti.
 *
 * Each kind has a function of its own, and a token for an act of its own: no
 * variable that happens to be empty turns a request for one tenant into one for
 * rows without a tenant, or for those of all.
 */
#include "purge.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

PG_FUNCTION_INFO_V1(dg_request_purge);
PG_FUNCTION_INFO_V1(dg_request_purge_without_tenant);
PG_FUNCTION_INFO_V1(dg_request_purge_by_age);
PG_FUNCTION_INFO_V1(dg_withdraw_purge);

/*
 * Finds a request; NULL if there is none of that number. The caller is
 * connected to SPI, in whose memory the result is.
 */
DgRequest *
dg_request_find(int64 id)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(id)};
	DgRequest  *request;
	bytea	   *digest;
	bool		isnull;
	bool		not_by_age;

	if (dg_spi_select("SELECT request_id, tenant, CASE WHEN tenant IS NOT NULL THEN coalesce(tenant_name, '') END, coalesce(reason, ''),"
					  " relations, deleted_before, rows, digest, state, tenants, requested_at"
					  " FROM ONLY deletion_guard.purge_request_record WHERE request_id = $1",
					  1, types, values, NULL) == 0)
		return NULL;
	request = palloc0(sizeof(DgRequest));
	request->id = id;
	request->tenant = dg_row_text(0, 2);
	request->tenant_name = dg_row_text(0, 3);
	request->reason = dg_row_text(0, 4);
	request->relations = dg_row_datum(0, 5, &request->all_relations);
	request->deleted_before = dg_row_time(0, 6, NULL);
	request->rows = dg_row_int64(0, 7, NULL);
	digest = DatumGetByteaPP(dg_row_datum(0, 8, &isnull));
	if (isnull || VARSIZE_ANY_EXHDR(digest) != DG_DIGEST_SIZE)
		elog(ERROR, "digest of request " INT64_FORMAT " is damaged", id);
	memcpy(request->digest, VARDATA_ANY(digest), DG_DIGEST_SIZE);
	request->state = dg_row_text(0, 9);
	request->tenants = dg_row_int64(0, 10, &not_by_age);
	request->by_age = !not_by_age;
	request->requested_at = dg_row_time(0, 11, NULL);
	return request;
}

/* ----------------------------------------------------------------------
 * request_purge
 * ----------------------------------------------------------------------
 */

static TimestampTz
deleted_before(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("deleted_before must not be null")));
	return PG_GETARG_TIMESTAMPTZ(arg);
}

static void
read_arguments(FunctionCallInfo fcinfo, DgRequest *request)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant must not be null"),
				 errhint("Rows that belong to no tenant are requested with deletion_guard.request_purge_without_tenant().")));
	request->tenant = dg_tenant_argument(fcinfo, 0);
	request->reason = text_to_cstring(dg_required_text(fcinfo, 1, "reason"));
	request->all_relations = PG_ARGISNULL(2);
	if (!request->all_relations)
		request->relations = PG_GETARG_DATUM(2);
	request->deleted_before = deleted_before(fcinfo, 3);
}

/*
 * What a token for the request must permit.
 */
DgTokenAct
dg_request_act(const DgRequest *request)
{
	if (request->by_age)
		return DG_TOKEN_ACT_PURGE_BY_AGE;
	return request->tenant == NULL ? DG_TOKEN_ACT_PURGE_WITHOUT_TENANT : DG_TOKEN_ACT_PURGE;
}

/*
 * Until when rows were deleted that a request by age covers, as in its token's
 * claim "deleted_before"; palloc'd.
 */
char *
dg_request_deleted_before(const DgRequest *request)
{
	/* read as a timestamp without time zone, a time is that of UTC */
	return TextDatumGetCString(DirectFunctionCall2(timestamp_to_char,
												   TimestampGetDatum(request->deleted_before),
												   CStringGetTextDatum("YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"")));
}

/*
 * The tables that a request without a tenant names, as in its token's claim
 * "relations"; palloc'd.
 */
char *
dg_request_relations(const DgRequest *request)
{
	ArrayType  *array = DatumGetArrayTypeP(request->relations);
	Datum	   *elems;
	bool	   *nulls;
	int			nelems;
	StringInfoData buf;

	deconstruct_array(array, REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT, &elems, &nulls, &nelems);
	initStringInfo(&buf);
	for (int i = 0; i < nelems; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("relations must not contain nulls")));
		appendStringInfo(&buf, "%s%s", i > 0 ? ", " : "", dg_relation_name(DatumGetObjectId(elems[i])));
	}
	return buf.data;
}

/*
 * The tables of a request that is not for one tenant: all must be named, and
 * rows of each have been deleted. A request by age, which is made again and
 * again, may name guarded tables of which none has been so far.
 */
static void
check_named_relations(const DgRequest *request)
{
	char	   *names = dg_request_relations(request);
	Oid			types[] = {REGCLASSARRAYOID, BOOLOID};
	Datum		values[] = {request->relations, BoolGetDatum(request->by_age)};

	if (*names == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("relations must not be empty"),
				 errhint("Name each table whose rows are to be purged.")));
	if (strlen(pg_server_to_any(names, strlen(names), PG_UTF8)) > DG_TOKEN_MAX_RELATIONS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many tables for one request"),
				 errdetail("A token has room for %d bytes of names.", DG_TOKEN_MAX_RELATIONS),
				 errhint("Make several requests.")));
	if (dg_spi_select("SELECT r FROM unnest($1) r WHERE NOT EXISTS (SELECT FROM deletion_guard.bin b"
					  " WHERE b.relation = r OR b.bin_table = r)"
					  " AND NOT ($2 AND EXISTS (SELECT FROM deletion_guard.guard g WHERE g.relation = r))",
					  2, types, values, NULL) > 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_NOTHING_TO_PURGE),
				 errmsg("no row of table \"%s\" was ever deleted", dg_row_text(0, 1)),
				 errhint("For a table that is gone, name its table in the bin; deletion_guard.bin lists them.")));
}

static void
store_request(const DgRequest *request, const DgPlan *plan)
{
	Oid			types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, REGCLASSARRAYOID, TIMESTAMPTZOID,
	TEXTOID, INT8OID, BYTEAOID, INT8OID, TIMESTAMPTZOID};
	Datum		values[11];
	char		nulls[11];
	char	   *digest = dg_hex(plan->digest, DG_DIGEST_SIZE);

	dg_ledger_append("request_purge",
					 psprintf("{\"request\": " INT64_FORMAT ", \"rows\": " INT64_FORMAT ", \"digest\": \"%s\"}",
							  request->id, plan->rows, digest));
	memset(nulls, ' ', sizeof(nulls));
	nulls[1] = nulls[2] = request->tenant == NULL ? 'n' : ' ';
	nulls[4] = request->all_relations ? 'n' : ' ';
	nulls[9] = request->by_age ? ' ' : 'n';
	values[0] = Int64GetDatum(request->id);
	values[1] = request->tenant == NULL ? (Datum) 0 : CStringGetTextDatum(request->tenant);
	values[2] = request->tenant == NULL ? (Datum) 0 : CStringGetTextDatum(request->tenant_name);
	values[3] = CStringGetTextDatum(request->reason);
	values[4] = request->relations;
	values[5] = TimestampTzGetDatum(request->deleted_before);
	values[6] = CStringGetTextDatum(dg_session_role());
	values[7] = Int64GetDatum(plan->rows);
	values[8] = PointerGetDatum(dg_bytea(plan->digest, DG_DIGEST_SIZE));
	values[9] = Int64GetDatum(plan->tenants);
	values[10] = TimestampTzGetDatum(request->requested_at);
	dg_spi_execute("INSERT INTO deletion_guard.purge_request_record"
				   " (request_id, tenant, tenant_name, reason, relations, deleted_before,"
				   "  requested_at, requested_by, rows, digest, state, tenants)"
				   " VALUES ($1, $2, $3, $4, $5, $6, $11, $7, $8, $9, 'open', $10)",
				   11, types, values, nulls);
	dg_plan_store(plan, request->id);
}

/*
 * What stands against a purge of this very tenant.
 */
static void
show_tenant(const DgRequest *request, const DgPlan *plan)
{
	TimestampTz held_at;
	int64		hold = dg_hold_active(request->tenant, &held_at);

	if (hold != 0)
		ereport(NOTICE,
				(errmsg("the tenant is on hold since %s", timestamptz_to_str(held_at)),
				 errdetail("Nothing of it is purged until hold %lld is released.", (long long) hold)));
	for (int i = 0; i < plan->nparts; i++)
	{
		const char *name = plan->parts[i].tenant_name;

		if (name != NULL && strcmp(name, request->tenant_name) != 0)
			ereport(NOTICE,
					(errmsg("deletion %lld has the tenant under another name, \"%s\"",
							(long long) plan->parts[i].deletion, name),
					 errhint("Was it renamed, or has its key been given to another tenant since?")));
	}
}

/*
 * A plan by age, a line for each table; palloc'd.
 */
static char *
summary_by_table(const DgRequest *request)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(request->id)};

	dg_spi_select("SELECT string_agg(format('Table %s: rows %s, tenants %s, deletions %s.',"
				  "  s.relation_name, s.rows, s.tenants, s.deletions), E'\\n' ORDER BY s.relation_name)"
				  " FROM (SELECT q.relation_name, sum(q.rows) AS rows, count(DISTINCT p.tenant) AS tenants,"
				  "        count(DISTINCT q.deletion_id) AS deletions"
				  "       FROM deletion_guard.purge_request_part q"
				  "       JOIN deletion_guard.deletion_part p ON p.deletion_id = q.deletion_id AND p.part = q.part"
				  "       WHERE q.request_id = $1 GROUP BY q.relation_name) s", 1, types, values, NULL);
	return dg_row_text(0, 1);
}

/*
 * Says whose rows a request by age leaves in the bin.
 */
static void
show_left_out(const DgRequest *request, const DgPlan *plan)
{
	Oid			types[] = {TIMESTAMPTZOID, REGCLASSARRAYOID};
	Datum		values[] = {TimestampTzGetDatum(request->deleted_before), request->relations};
	int64		rows;

	dg_spi_select("SELECT coalesce(sum(p.rows - p.restored - p.purged), 0)::bigint"
				  " FROM deletion_guard.deletion_part p JOIN deletion_guard.bin b ON b.bin_id = p.bin_id"
				  " JOIN deletion_guard.deletion_record d ON d.deletion_id = p.deletion_id"
				  " WHERE d.deleted_at <= $1 AND (b.relation = ANY ($2) OR b.bin_table = ANY ($2))",
				  2, types, values, NULL);
	rows = dg_row_int64(0, 1, NULL) - plan->rows;
	if (rows > 0)
		ereport(NOTICE,
				(errmsg("%lld rows of these tables stay in the bin", (long long) rows),
				 errdetail("They are not due yet, belong to no tenant, or belong to tenants that are on hold, were deleted, or are not in the tenant table."),
				 errhint("What is left of a deleted tenant is requested by its name, with deletion_guard.request_purge().")));
}

/*
 * Shows the plan and whatever stands against it. Notices only: the server's log
 * need not know the tenant's name.
 */
static void
show_plan(const DgRequest *request, const DgPlan *plan)
{
	if (request->by_age)
	{
		ereport(NOTICE,
				(errmsg("request %lld covers %lld rows of %d tenants",
						(long long) request->id, (long long) plan->rows, plan->tenants),
				 errdetail("%s", summary_by_table(request))));
		show_left_out(request, plan);
		return;
	}
	ereport(NOTICE,
			(request->tenant == NULL ?
			 errmsg("request %lld covers %lld rows without a tenant",
					(long long) request->id, (long long) plan->rows) :
			 errmsg("request %lld covers %lld rows of tenant \"%s\", named \"%s\"",
					(long long) request->id, (long long) plan->rows, request->tenant, request->tenant_name),
			 errdetail("%s", dg_plan_summary(plan))));
	if (TIMESTAMP_IS_NOEND(plan->due_at))
		ereport(NOTICE,
				(errmsg("some of these rows are to be kept for ever"),
				 errdetail("deletion_guard.retention was -1 or empty when they were deleted.")));
	else if (plan->due_at > GetCurrentTimestamp())
		ereport(NOTICE,
				(errmsg("not all of these rows are due before %s", timestamptz_to_str(plan->due_at))));
	if (request->tenant != NULL)
		show_tenant(request, plan);
}

/*
 * The claims to sign, as JSON.
 */
static char *
request_claims(const DgRequest *request, const DgPlan *plan)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"act\": \"%s\", \"aud\": %s, \"request\": " INT64_FORMAT,
					 dg_token_act_name(dg_request_act(request)), dg_json_string(dg_audience_text()), request->id);
	if (request->tenant == NULL)
		appendStringInfo(&buf, ", \"relations\": %s", dg_json_string(dg_request_relations(request)));
	else
		appendStringInfo(&buf, ", \"tenant\": %s, \"tenant_name\": %s",
						 dg_json_string(request->tenant), dg_json_string(request->tenant_name));
	if (request->by_age)
		appendStringInfo(&buf, ", \"deleted_before\": %s, \"tenants\": %d",
						 dg_json_string(dg_request_deleted_before(request)), plan->tenants);
	appendStringInfo(&buf, ", \"reason\": %s", dg_json_string(request->reason));
	appendStringInfo(&buf, ", \"rows\": " INT64_FORMAT ", \"digest\": \"%s\"}",
					 plan->rows, dg_hex(plan->digest, DG_DIGEST_SIZE));
	return buf.data;
}

static void
refuse_empty(const DgRequest *request)
{
	ereport(ERROR,
			(errcode(DG_ERRCODE_NOTHING_TO_PURGE),
			 request->by_age ?
			 errmsg("the bin has no rows that this request would cover") :
			 request->tenant == NULL ?
			 errmsg("the bin has no rows without a tenant that this request would cover") :
			 errmsg("the bin has nothing of tenant \"%s\" that this request would cover", request->tenant),
			 request->by_age ?
			 errdetail("It would cover rows that are due, of tenants in the tenant table that were not deleted and are not on hold.") :
			 errdetail("Only what has been deleted can be purged; live rows never are."),
			 errhint("The view deletion_guard.deletion_detail lists what was deleted; check relations and deleted_before.")));
}

/*
 * Makes a request of which everything is known but what it covers. The caller
 * is connected to SPI and holds the lock of the tenants concerned.
 */
static Datum
make_request(DgRequest *request, MemoryContext context)
{
	DgPlan	   *plan;
	Datum		claims;

	request->id = dg_own_next_id(dg_objects()->purge_request_id_seq);
	request->requested_at = GetCurrentTransactionStartTimestamp();
	plan = dg_plan_make(request);
	if (plan->nparts == 0)
		refuse_empty(request);
	store_request(request, plan);
	dg_approvals_raise();
	show_plan(request, plan);

	claims = DirectFunctionCall1(jsonb_in, CStringGetDatum(request_claims(request, plan)));
	return dg_row_result(context, claims, JSONBOID);
}

/*
 * request_purge(tenant text, reason text, relations regclass[],
 *				 deleted_before timestamptz) -> jsonb
 */
Datum
dg_request_purge(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	DgRequest	request = {0};
	DgRefusal	refusal = {0};
	Datum		claims;

	PreventCommandIfReadOnly("request_purge()");
	SPI_connect();
	read_arguments(fcinfo, &request);
	dg_lock_tenant(request.tenant);
	request.tenant_name = dg_tenant_name(request.tenant, &refusal);
	if (request.tenant_name == NULL)
		dg_refuse(&refusal, "request_purge");
	claims = make_request(&request, caller);
	SPI_finish();
	PG_RETURN_DATUM(claims);
}

/*
 * A request for rows of named tables: (relations regclass[], reason text,
 * deleted_before timestamptz).
 */
static Datum
request_of_tables(FunctionCallInfo fcinfo, bool by_age)
{
	MemoryContext caller = CurrentMemoryContext;
	DgRequest	request = {.by_age = by_age};
	Datum		claims;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relations must not be null"),
				 errhint("Name each table whose rows are to be purged.")));
	request.relations = PG_GETARG_DATUM(0);
	request.reason = text_to_cstring(dg_required_text(fcinfo, 1, "reason"));
	request.deleted_before = deleted_before(fcinfo, 2);
	if (by_age && TIMESTAMP_NOT_FINITE(request.deleted_before))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deleted_before must be a finite time")));

	SPI_connect();
	check_named_relations(&request);
	if (by_age)
		dg_lock_all_tenants();
	else
		dg_lock_tenant(DG_NO_TENANT);
	claims = make_request(&request, caller);
	SPI_finish();
	return claims;
}

/*
 * request_purge_without_tenant(relations, reason, deleted_before) -> jsonb
 */
Datum
dg_request_purge_without_tenant(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("request_purge_without_tenant()");
	PG_RETURN_DATUM(request_of_tables(fcinfo, false));
}

/*
 * request_purge_by_age(relations, reason, deleted_before) -> jsonb
 */
Datum
dg_request_purge_by_age(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("request_purge_by_age()");
	PG_RETURN_DATUM(request_of_tables(fcinfo, true));
}

/* ----------------------------------------------------------------------
 * withdraw_purge
 * ----------------------------------------------------------------------
 */

/*
 * withdraw_purge(request_id bigint) -> void
 */
Datum
dg_withdraw_purge(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	Oid			types[] = {INT8OID, TEXTOID};
	Datum		values[2];
	DgRequest  *request;

	PreventCommandIfReadOnly("withdraw_purge()");
	SPI_connect();
	request = dg_request_find(id);
	if (request != NULL)
	{
		dg_lock_tenant(request->tenant != NULL ? request->tenant : DG_NO_TENANT);
		request = dg_request_find(id);
	}
	if (request == NULL || strcmp(request->state, "open") != 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_NO_SUCH_REQUEST),
				 errmsg("there is no open request %lld", (long long) id),
				 errhint("The view deletion_guard.purge_request lists requests.")));
	values[0] = Int64GetDatum(id);
	values[1] = CStringGetTextDatum(dg_session_role());
	dg_ledger_append("withdraw_purge", psprintf("{\"request\": " INT64_FORMAT "}", id));
	dg_spi_execute("UPDATE deletion_guard.purge_request_record"
				   " SET state = 'withdrawn', closed_at = now(), closed_by = $2"
				   " WHERE request_id = $1", 2, types, values, NULL);
	SPI_finish();
	PG_RETURN_VOID();
}
