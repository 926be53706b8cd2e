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
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "common/deletion_guard.h"
#include "guard/guard.h"
#include "ledger/ledger.h"
#include "purge/purge_internal.h"
#include "rows/rows.h"
#include "token/token.h"
#include "undelete/undelete.h"

PG_FUNCTION_INFO_V1(dg_request_purge);
PG_FUNCTION_INFO_V1(dg_request_purge_without_tenant);
PG_FUNCTION_INFO_V1(dg_request_purge_by_age);
PG_FUNCTION_INFO_V1(dg_withdraw_purge);

/*
 * Which deletions, and which rows, of a request out of a scan's row.
 */
static void
read_choice(const DgOwnScan *scan, DgRequest *request)
{
	bool		isnull;
	Datum		value = dg_own_datum(scan, Anum_purge_request_record_deletion_ids, &isnull);

	if (!isnull)
		request->deletions = PointerGetDatum(DatumGetArrayTypePCopy(value));
	value = dg_own_datum(scan, Anum_purge_request_record_keys, &isnull);
	if (!isnull)
		request->keys = DatumGetJsonbPCopy(value);
}

/*
 * A request out of a scan's row; palloc'd.
 */
static DgRequest *
read_request(const DgOwnScan *scan)
{
	DgRequest  *request = palloc0(sizeof(DgRequest));
	bool		isnull;
	Datum		relations = dg_own_datum(scan, Anum_purge_request_record_relations, &request->all_relations);
	Datum		digest = dg_own_datum(scan, Anum_purge_request_record_digest, &isnull);
	const uint8 *bytes = isnull ? NULL : dg_digest_bytes(digest);

	request->id = dg_own_int64(scan, Anum_purge_request_record_request_id);
	if (bytes == NULL)
		elog(ERROR, "digest of request " INT64_FORMAT " is damaged", request->id);
	memcpy(request->digest, bytes, DG_DIGEST_SIZE);
	request->tenant = dg_own_text(scan, Anum_purge_request_record_tenant);
	request->tenant_name = dg_own_text(scan, Anum_purge_request_record_tenant_name);
	if (request->tenant != NULL && request->tenant_name == NULL)
		request->tenant_name = pstrdup("");
	request->reason = dg_own_text(scan, Anum_purge_request_record_reason);
	if (request->reason == NULL)
		request->reason = pstrdup("");
	if (!request->all_relations)
		request->relations = PointerGetDatum(DatumGetArrayTypePCopy(relations));
	request->deleted_before = dg_own_time(scan, Anum_purge_request_record_deleted_before);
	read_choice(scan, request);
	request->requested_at = dg_own_time(scan, Anum_purge_request_record_requested_at);
	request->rows = dg_own_int64(scan, Anum_purge_request_record_rows);
	request->state = dg_own_text(scan, Anum_purge_request_record_state);
	request->by_age = !dg_own_isnull(scan, Anum_purge_request_record_tenants);
	request->tenants = dg_own_int64(scan, Anum_purge_request_record_tenants);
	return request;
}

static DgOwnScan *
find_request_record(int64 id, LOCKMODE lockmode)
{
	return dg_own_find(DG_OWN(purge_request_record), lockmode,
					   DG_KEYS(dg_own_key_int8(Anum_purge_request_record_request_id, id)));
}

/*
 * Finds a request; NULL if there is none of that number.
 */
DgRequest *
dg_purge_request_find(int64 id)
{
	DgOwnScan  *scan = find_request_record(id, AccessShareLock);
	DgRequest  *request;

	if (scan == NULL)
		return NULL;
	request = read_request(scan);
	dg_own_end(scan);
	return request;
}

/*
 * Takes out of the scan's request, which is about to be updated, the values by which rows
 * were chosen; that they were stays.
 */
void
dg_purge_request_forget_keys(DgOwnScan *scan)
{
	if (!dg_own_isnull(scan, Anum_purge_request_record_keys))
		dg_own_set(scan, Anum_purge_request_record_keys,
				   DirectFunctionCall1(jsonb_in, CStringGetDatum("\"(removed)\"")));
}

/*
 * Closes an open request: it was withdrawn, or purged.
 */
void
dg_purge_request_close(int64 id, const char *state)
{
	DgOwnScan  *scan = find_request_record(id, RowExclusiveLock);

	if (scan == NULL || !dg_own_lock(scan) ||
		strcmp(dg_own_text(scan, Anum_purge_request_record_state), "open") != 0)
		elog(ERROR, "request " INT64_FORMAT " is no longer open", id);
	dg_own_set(scan, Anum_purge_request_record_state, CStringGetTextDatum(state));
	dg_own_set(scan, Anum_purge_request_record_closed_at, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
	dg_own_set(scan, Anum_purge_request_record_closed_by, CStringGetTextDatum(dg_session_role()));
	dg_purge_request_forget_keys(scan);
	dg_own_update(scan);
	dg_own_end(scan);
}

/* ----------------------------------------------------------------------
 * request_purge
 * ----------------------------------------------------------------------
 */

/*
 * A claim's text must fit into its token.
 */
static void
check_length(const char *text, const char *what)
{
	if (text != NULL && strlen(pg_server_to_any(text, strlen(text), PG_UTF8)) > DG_TOKEN_MAX_CHOICE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many %s for one request", what),
				 errdetail("A token has room for %d bytes of them.", DG_TOKEN_MAX_CHOICE),
				 errhint("Make several requests, or name rows by columns that they share.")));
}

/*
 * Who may not read a table does not learn here which values its rows have. A table that is
 * gone has no rights of its own any more.
 */
static void
require_reading(const DgRequest *request)
{
	ListCell   *lc;

	foreach(lc, dg_rows_chosen_tables(dg_rows_chosen_parse(request->keys)))
	{
		if (OidIsValid(lfirst_oid(lc)))
			dg_undelete_require_reading(lfirst_oid(lc));
		else if (!has_privs_of_role(GetUserId(), dg_objects()->owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to choose rows of a table that does not exist"),
					 errhint("The owner of the extension may, and superusers.")));
	}
}

/*
 * Which deletions, and which rows: null for all deletions, but not for all rows.
 */
static void
read_choice_arguments(FunctionCallInfo fcinfo, DgRequest *request)
{
	ArrayType  *deletions = NULL;

	if (!PG_ARGISNULL(4))
		deletions = PG_GETARG_ARRAYTYPE_P_COPY(4);
	request->deletions = PointerGetDatum(deletions);
	if (deletions != NULL && (ArrayGetNItems(ARR_NDIM(deletions), ARR_DIMS(deletions)) == 0 || array_contains_nulls(deletions)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deletions must be numbers of deletions, one at least"),
				 errhint("Leave it out for all deletions.")));
	if (PG_ARGISNULL(5))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("keys must not be null"),
				 errhint("Leave it out for all rows of the tenant.")));
	request->keys = dg_purge_rows_argument(PG_GETARG_JSONB_P(5));
	if (request->keys != NULL && !request->all_relations)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("relations cannot be given with keys"),
				 errdetail("The keys say of which tables rows are requested.")));
	if (request->keys != NULL)
		require_reading(request);
	check_length(dg_purge_request_deletions(request), "deletions");
	check_length(dg_purge_rows_text(request), "rows");
}

static void
read_request_arguments(FunctionCallInfo fcinfo, DgRequest *request)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant must not be null"),
				 errhint("Rows that belong to no tenant are requested with deletion_guard.request_purge_without_tenant().")));
	request->tenant = dg_purge_tenant_argument(fcinfo, 0);
	request->reason = text_to_cstring(dg_purge_required_text(fcinfo, 1, "reason"));
	request->all_relations = PG_ARGISNULL(2);
	if (!request->all_relations)
		request->relations = PG_GETARG_DATUM(2);
	dg_require_argument(fcinfo, 3, "deleted_before");
	request->deleted_before = PG_GETARG_TIMESTAMPTZ(3);
	read_choice_arguments(fcinfo, request);
}

/*
 * What a token for the request must permit.
 */
DgTokenAct
dg_purge_request_act(const DgRequest *request)
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
dg_purge_request_deleted_before(const DgRequest *request)
{
	/* read as a timestamp without time zone, a time is that of UTC */
	return TextDatumGetCString(DirectFunctionCall2(timestamp_to_char,
												   TimestampGetDatum(request->deleted_before),
												   CStringGetTextDatum("YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"")));
}

/*
 * The deletions that a request is for, as in its token's claim "deletions", palloc'd;
 * NULL for all.
 */
char *
dg_purge_request_deletions(const DgRequest *request)
{
	ArrayType  *array = request->deletions == 0 ? NULL : DatumGetArrayTypeP(request->deletions);
	const int64 *ids;
	StringInfoData buf;

	if (array == NULL)
		return NULL;
	ids = (const int64 *) ARR_DATA_PTR(array);
	initStringInfo(&buf);
	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)); i++)
		appendStringInfo(&buf, "%s" INT64_FORMAT, i > 0 ? ", " : "", ids[i]);
	return buf.data;
}

/*
 * The tables that a request without a tenant names, as in its token's claim
 * "relations"; palloc'd.
 */
char *
dg_purge_request_relations(const DgRequest *request)
{
	ArrayType  *array = DatumGetArrayTypeP(request->relations);
	StringInfoData buf;
	ListCell   *lc;

	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relations must not contain nulls")));
	initStringInfo(&buf);
	foreach(lc, dg_array_oids(request->relations))
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "", dg_relation_name(lfirst_oid(lc)));
	return buf.data;
}

/*
 * Was a row of the table, or of the bin table, ever deleted?
 */
static bool
has_bin(Oid relid)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_REGISTRY, AccessShareLock, 0, NULL);
	bool		found = false;

	while (!found && dg_own_next(scan))
		found = relid == (Oid) dg_own_int64(scan, Anum_registry_relation) ||
			relid == (Oid) dg_own_int64(scan, Anum_registry_bin_table);
	dg_own_end(scan);
	return found;
}

static bool
is_in_registry(Oid relid)
{
	DgOwnScan  *scan = dg_own_find(DG_OWN(guard), AccessShareLock,
								   DG_KEYS(dg_own_key_oid(Anum_guard_relation, relid)));

	if (scan != NULL)
		dg_own_end(scan);
	return scan != NULL;
}

/*
 * The tables of a request that is not for one tenant: all must be named, and
 * rows of each have been deleted. A request by age, which is made again and
 * again, may name guarded tables of which none has been so far.
 */
static void
check_named_relations(const DgRequest *request)
{
	char	   *names = dg_purge_request_relations(request);
	ArrayType  *array = DatumGetArrayTypeP(request->relations);
	Oid		   *relids = (Oid *) ARR_DATA_PTR(array);

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
	/* there are no nulls among them, or they would have had no names */
	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)); i++)
	{
		if (!has_bin(relids[i]) && !(request->by_age && is_in_registry(relids[i])))
			ereport(ERROR,
					(errcode(DG_ERRCODE_NOTHING_TO_PURGE),
					 errmsg("no row of table \"%s\" was ever deleted",
							DatumGetCString(DirectFunctionCall1(regclassout, ObjectIdGetDatum(relids[i])))),
					 errhint("For a table that is gone, name its table in the bin; deletion_guard.bin lists them.")));
	}
}

static void
set_text_or_null(Datum *values, bool *nulls, AttrNumber attnum, const char *value)
{
	nulls[attnum - 1] = value == NULL;
	values[attnum - 1] = value == NULL ? (Datum) 0 : CStringGetTextDatum(value);
}

static void
store_request(const DgRequest *request, const DgPlan *plan)
{
	Datum		values[Natts_purge_request_record] = {0};
	bool		nulls[Natts_purge_request_record] = {false};

	dg_ledger_append("request_purge",
					 psprintf("{\"request\": " INT64_FORMAT ", \"rows\": " INT64_FORMAT ", \"digest\": \"%s\"}",
							  request->id, plan->rows, dg_hex(plan->digest, DG_DIGEST_SIZE)));
	values[Anum_purge_request_record_request_id - 1] = Int64GetDatum(request->id);
	set_text_or_null(values, nulls, Anum_purge_request_record_tenant, request->tenant);
	set_text_or_null(values, nulls, Anum_purge_request_record_tenant_name, request->tenant_name);
	set_text_or_null(values, nulls, Anum_purge_request_record_reason, request->reason);
	values[Anum_purge_request_record_relations - 1] = request->relations;
	nulls[Anum_purge_request_record_relations - 1] = request->all_relations;
	values[Anum_purge_request_record_deleted_before - 1] = TimestampTzGetDatum(request->deleted_before);
	values[Anum_purge_request_record_requested_at - 1] = TimestampTzGetDatum(request->requested_at);
	set_text_or_null(values, nulls, Anum_purge_request_record_requested_by, dg_session_role());
	values[Anum_purge_request_record_rows - 1] = Int64GetDatum(plan->rows);
	values[Anum_purge_request_record_digest - 1] = PointerGetDatum(dg_bytea(plan->digest, DG_DIGEST_SIZE));
	set_text_or_null(values, nulls, Anum_purge_request_record_state, "open");
	nulls[Anum_purge_request_record_closed_at - 1] = true;
	nulls[Anum_purge_request_record_closed_by - 1] = true;
	values[Anum_purge_request_record_tenants - 1] = Int64GetDatum(plan->tenants);
	nulls[Anum_purge_request_record_tenants - 1] = !request->by_age;
	values[Anum_purge_request_record_deletion_ids - 1] = request->deletions;
	nulls[Anum_purge_request_record_deletion_ids - 1] = request->deletions == 0;
	values[Anum_purge_request_record_keys - 1] = PointerGetDatum(request->keys);
	nulls[Anum_purge_request_record_keys - 1] = request->keys == NULL;
	dg_own_insert(DG_OWN(purge_request_record), values, nulls);
	dg_purge_plan_store(plan, request->id);
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
					 dg_token_act_name(dg_purge_request_act(request)), dg_json_string(dg_purge_audience_text()), request->id);
	if (request->tenant == NULL)
		appendStringInfo(&buf, ", \"relations\": %s", dg_json_string(dg_purge_request_relations(request)));
	else
		appendStringInfo(&buf, ", \"tenant\": %s, \"tenant_name\": %s",
						 dg_json_string(dg_purge_tenant_claim(request->tenant)), dg_json_string(request->tenant_name));
	if (request->deletions != 0)
		appendStringInfo(&buf, ", \"deletions\": %s", dg_json_string(dg_purge_request_deletions(request)));
	if (request->keys != NULL)
		appendStringInfo(&buf, ", \"keys\": %s", dg_json_string(dg_purge_rows_text(request)));
	if (request->by_age)
		appendStringInfo(&buf, ", \"deleted_before\": %s, \"tenants\": %d",
						 dg_json_string(dg_purge_request_deleted_before(request)), plan->tenants);
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
 * Rows that were chosen are in the bin, none of them is live as well, and no others refer
 * to them.
 */
static void
require_choice(const DgRequest *request, const DgPlan *plan)
{
	char	   *rows;
	int64		live = dg_undelete_live_chosen(request->tenant, dg_rows_chosen_parse(request->keys), &rows);

	if (live > 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_ROWS_REMAIN),
				 errmsg_plural("%lld live row has the keys that were given", "%lld live rows have the keys that were given",
							   (unsigned long) live, (long long) live),
				 errdetail("Live: %s. Only what has been deleted can be purged.", rows),
				 errhint("Delete them first.")));
	dg_purge_rows_require_found(plan);
	dg_purge_rows_require_referring(plan);
}

/*
 * Makes a request of which everything is known but what it covers. The caller
 * holds the lock of the tenants concerned.
 */
static Datum
make_request(DgRequest *request)
{
	DgPlan	   *plan;

	request->id = dg_own_next_id(dg_objects()->purge_request_id_seq, DG_OWN(purge_request_record), Anum_purge_request_record_request_id);
	request->requested_at = GetCurrentTransactionStartTimestamp();
	plan = dg_purge_plan_make(request);
	if (request->keys != NULL)
		require_choice(request, plan);
	if (plan->nparts == 0)
		refuse_empty(request);
	store_request(request, plan);
	dg_purge_approvals_raise();
	dg_purge_plan_show(request, plan);

	return DirectFunctionCall1(jsonb_in, CStringGetDatum(request_claims(request, plan)));
}

/*
 * request_purge(tenant text, reason text, relations regclass[],
 *				 deleted_before timestamptz, deletions bigint[], keys jsonb) -> jsonb
 */
Datum
dg_request_purge(PG_FUNCTION_ARGS)
{
	DgRequest	request = {0};
	DgRefusal	refusal = {0};

	PreventCommandIfReadOnly("request_purge()");
	read_request_arguments(fcinfo, &request);
	dg_guard_lock_tenant(request.tenant);
	request.tenant_name = dg_purge_tenant_name(request.tenant, &refusal);
	if (request.tenant_name == NULL)
		dg_purge_refuse(&refusal, "request_purge");
	PG_RETURN_DATUM(make_request(&request));
}

/*
 * A request for rows of named tables: (relations regclass[], reason text,
 * deleted_before timestamptz).
 */
static Datum
request_of_tables(FunctionCallInfo fcinfo, bool by_age)
{
	DgRequest	request = {.by_age = by_age};

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relations must not be null"),
				 errhint("Name each table whose rows are to be purged.")));
	request.relations = PG_GETARG_DATUM(0);
	request.reason = text_to_cstring(dg_purge_required_text(fcinfo, 1, "reason"));
	dg_require_argument(fcinfo, 2, "deleted_before");
	request.deleted_before = PG_GETARG_TIMESTAMPTZ(2);
	if (by_age && TIMESTAMP_NOT_FINITE(request.deleted_before))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deleted_before must be a finite time")));

	check_named_relations(&request);
	if (by_age)
		dg_guard_lock_all_tenants();
	else
		dg_guard_lock_tenant(DG_NO_TENANT);
	return make_request(&request);
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
	DgRequest  *request;

	PreventCommandIfReadOnly("withdraw_purge()");
	request = dg_purge_request_find(id);
	if (request != NULL)
	{
		dg_guard_lock_tenant(request->tenant != NULL ? request->tenant : DG_NO_TENANT);
		request = dg_purge_request_find(id);
	}
	if (request == NULL || strcmp(request->state, "open") != 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_NO_SUCH_REQUEST),
				 errmsg("there is no open request %lld", (long long) id),
				 errhint("The view deletion_guard.purge_request lists requests.")));
	dg_ledger_append("withdraw_purge", psprintf("{\"request\": " INT64_FORMAT "}", id));
	dg_purge_request_close(id, "withdrawn");
	PG_RETURN_VOID();
}
