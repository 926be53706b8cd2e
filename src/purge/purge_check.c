/*
 * purge_check.c
 *		Whether a genuine token still permits a purge now, and check_token().
 *
 * Everything that was reviewed is looked at again: the request is open, the
 * token says what the request says, the tenant's key and name belong together,
 * there is no hold, what is in the bin is what was reviewed, and all of it is
 * due. purge() runs this under the tenant's lock, check_token() without.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "guard/guard.h"
#include "ledger/ledger.h"
#include "purge/purge_internal.h"
#include "rows/rows.h"
#include "token/token.h"
#include "undelete/undelete.h"

PG_FUNCTION_INFO_V1(dg_check_token);

#define HINT_NEW_REQUEST "Make the request again and have its claims reviewed and signed."

static bool
check_request(const DgApproval *approval, const DgRequest *request, DgRefusal *refusal)
{
	int64		id = approval->claims.request;

	if (request == NULL)
		return dg_purge_refusal_set(refusal, DG_ERRCODE_NO_SUCH_REQUEST, "no_such_request", HINT_NEW_REQUEST,
									"there is no request " INT64_FORMAT, id);
	if (strcmp(request->state, "open") != 0)
		return dg_purge_refusal_set(refusal, DG_ERRCODE_NO_SUCH_REQUEST, "request_closed", HINT_NEW_REQUEST,
									"request " INT64_FORMAT " is closed: it was %s", id, request->state);
	return true;
}

/*
 * A token that does not name one tenant names the tables instead.
 */
static bool
check_relations(const DgApproval *approval, const DgRequest *request, DgRefusal *refusal)
{
	if (strcmp(approval->relations, dg_purge_request_relations(request)) == 0)
		return true;
	return dg_purge_refusal_set(refusal, DG_ERRCODE_TENANT_MISMATCH, "other_relations", HINT_NEW_REQUEST,
								"the token names other tables than request " INT64_FORMAT, request->id);
}

/*
 * Does the token name what the request does? Of a tenant, the key must go with
 * the request and the name with the key.
 */
static bool
check_tenant(const DgApproval *approval, const DgRequest *request, DgRefusal *refusal)
{
	char	   *name;

	if (approval->claims.act != dg_purge_request_act(request))
		return dg_purge_refusal_set(refusal, DG_ERRCODE_TENANT_MISMATCH, "other_tenant", HINT_NEW_REQUEST,
									"the token is for \"%s\", request " INT64_FORMAT " is for \"%s\"",
									dg_token_act_name(approval->claims.act), request->id,
									dg_token_act_name(dg_purge_request_act(request)));
	if (request->tenant == NULL)
		return check_relations(approval, request, refusal);
	if (!dg_guard_tenant_equal(approval->tenant, dg_purge_tenant_claim(request->tenant)))
		return dg_purge_refusal_set(refusal, DG_ERRCODE_TENANT_MISMATCH, "other_tenant", HINT_NEW_REQUEST,
									"the token names another tenant than request " INT64_FORMAT, request->id);
	name = dg_purge_tenant_name(request->tenant, refusal);
	if (name == NULL)
		return false;
	if (strcmp(approval->tenant_name, name) == 0)
		return true;
	dg_purge_refusal_set(refusal, DG_ERRCODE_TENANT_MISMATCH, "tenant_name", HINT_NEW_REQUEST,
						 "the tenant of this key does not have the name that the token says");
	return dg_purge_refusal_detail(refusal, "Key and name must both be those of one tenant. "
								   "Is it the tenant that was meant, or was it renamed since the review?");
}

/*
 * A token says nothing where nothing was chosen.
 */
static bool
is_same_choice(const char *claim, const char *requested)
{
	return strcmp(claim == NULL ? "" : claim, requested == NULL ? "" : requested) == 0;
}

/*
 * Does the token say what was requested?
 */
static bool
check_claims(const DgApproval *approval, const DgRequest *request, DgRefusal *refusal)
{
	const char *wrong = NULL;

	if (memcmp(approval->claims.digest, request->digest, DG_DIGEST_SIZE) != 0)
		wrong = "digest";
	else if (approval->claims.rows != request->rows)
		wrong = "rows";
	else if (approval->claims.tenants != request->tenants)
		wrong = "tenants";
	else if (request->by_age && strcmp(approval->claims.deleted_before, dg_purge_request_deleted_before(request)) != 0)
		wrong = "deleted_before";
	else if (strcmp(approval->reason, request->reason) != 0)
		wrong = "reason";
	else if (!is_same_choice(approval->deletions, dg_purge_request_deletions(request)))
		wrong = "deletions";
	else if (!is_same_choice(approval->keys, dg_purge_rows_text(request)))
		wrong = "keys";
	if (wrong == NULL)
		return true;
	return dg_purge_refusal_set(refusal, DG_ERRCODE_TOKEN_BAD_CLAIM, "other_claims",
								"Have the authority sign the claims as request_purge() returned them.",
								"claim \"%s\" is not that of request " INT64_FORMAT, wrong, request->id);
}

static bool
check_hold(const DgRequest *request, DgRefusal *refusal)
{
	TimestampTz held_at;

	/*
	 * what is not of one tenant has none; a plan by age leaves out who is on
	 * hold
	 */
	int64		hold = request->tenant != NULL ? dg_purge_hold_active(request->tenant, &held_at) : 0;

	if (hold == 0)
		return true;
	dg_purge_refusal_set(refusal, DG_ERRCODE_TENANT_ON_HOLD, "tenant_on_hold",
						 "Release it with deletion_guard.release_hold() and a token, if whoever placed it agrees.",
						 "the tenant is on hold");
	return dg_purge_refusal_detail(refusal, "Hold " INT64_FORMAT " has been in force since %s.",
								   hold, timestamptz_to_str(held_at));
}

static bool
check_plan(const DgRequest *request, const DgPlan *plan, DgRefusal *refusal)
{
	if (memcmp(plan->digest, request->digest, DG_DIGEST_SIZE) == 0)
		return true;
	dg_purge_refusal_set(refusal, DG_ERRCODE_PLAN_CHANGED, "plan_changed", HINT_NEW_REQUEST,
						 "what is in the bin is no longer what was reviewed");
	return dg_purge_refusal_detail(refusal, "%s", dg_purge_plan_difference(plan, request));
}

/*
 * Somebody whose rows were chosen has not come back.
 */
static bool
check_live(const DgRequest *request, DgRefusal *refusal)
{
	char	   *rows;
	int64		n = request->keys == NULL ? 0 : dg_undelete_live_chosen(request->tenant, dg_rows_chosen_parse(request->keys), &rows);

	if (n == 0)
		return true;
	dg_purge_refusal_set(refusal, DG_ERRCODE_PLAN_CHANGED, "rows_live",
						 "Delete them, then make the request again and have its claims reviewed and signed.",
						 "rows that the request is for are live");
	return dg_purge_refusal_detail(refusal, INT64_FORMAT " live rows have its keys; request_purge() names them.", n);
}

static bool
check_due(const DgPlan *plan, DgRefusal *refusal)
{
	int64		early = 0;

	if (plan->due_at <= GetCurrentTimestamp())
		return true;
	if (TIMESTAMP_IS_NOEND(plan->due_at))
	{
		dg_purge_refusal_set(refusal, DG_ERRCODE_RETENTION, "kept_for_ever",
							 "Request a purge of other rows: relations, deleted_before, deletions and keys leave some out.",
							 "some of these rows are to be kept for ever");
		return dg_purge_refusal_detail(refusal, "deletion_guard.retention was -1 or empty when they were deleted.");
	}
	for (int i = 0; i < plan->nparts; i++)
	{
		if (plan->parts[i].due_at > GetCurrentTimestamp())
			early += plan->parts[i].rows;
	}
	dg_purge_refusal_set(refusal, DG_ERRCODE_RETENTION, "not_due",
						 "Wait, or request a purge of less: relations, deleted_before, deletions and keys leave some out.",
						 "retention is not over before %s", timestamptz_to_str(plan->due_at));
	return dg_purge_refusal_detail(refusal, INT64_FORMAT " of " INT64_FORMAT " rows are not due yet.", early, plan->rows);
}

/*
 * May the request be carried out now that this token permits? Fills in request
 * and plan.
 */
bool
dg_purge_check(const DgApproval *approval, DgRequest **request, DgPlan **plan, DgRefusal *refusal)
{
	refusal->request = approval->claims.request;
	*request = dg_purge_request_find(approval->claims.request);
	if (!check_request(approval, *request, refusal) ||
		!check_tenant(approval, *request, refusal) ||
		!check_claims(approval, *request, refusal) ||
		!check_hold(*request, refusal))
		return false;
	*plan = dg_purge_plan_make(*request);
	return check_plan(*request, *plan, refusal) && check_due(*plan, refusal) && check_live(*request, refusal);
}

/* ----------------------------------------------------------------------
 * check_token
 * ----------------------------------------------------------------------
 */

/*
 * The claims of a token whose signature was good.
 */
static Datum
verified_claims(text * token)
{
	char	   *json = palloc(DG_TOKEN_MAX_LENGTH);

	if (dg_token_payload(VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token), json, DG_TOKEN_MAX_LENGTH) != DG_TOKEN_OK)
		elog(ERROR, "payload of a valid token cannot be read");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(pg_any_to_server(json, strlen(json), PG_UTF8)));
}

static bool
check_verified(DgApproval *approval, DgRefusal *refusal)
{
	DgRequest  *request;
	DgPlan	   *plan;

	if (!dg_purge_approval_unused(approval, refusal))
		return false;
	if (!dg_purge_act_is_purge(approval->claims.act))
		return true;
	return dg_purge_check(approval, &request, &plan, refusal);
}

/*
 * The problem in one text.
 */
static Datum
problem_text(const DgRefusal *refusal)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, refusal->message);
	if (refusal->detail != NULL)
		appendStringInfo(&buf, "\n%s", refusal->detail);
	if (refusal->hint != NULL)
		appendStringInfo(&buf, "\n%s", refusal->hint);
	return CStringGetTextDatum(buf.data);
}

/*
 * check_token(token text) -> (ok boolean, problem text, claims jsonb). The
 * claims are null unless the token is genuine.
 */
Datum
dg_check_token(PG_FUNCTION_ARGS)
{
	text	   *token = PG_ARGISNULL(0) ? cstring_to_text("") : PG_GETARG_TEXT_PP(0);
	DgApproval	approval = {0};
	DgRefusal	refusal = {0};
	TupleDesc	desc;
	Datum		values[3] = {0};
	bool		nulls[3] = {false, true, true};
	bool		ok;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	ok = dg_purge_approval_verify(VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token), &approval, &refusal);
	if (ok)
	{
		nulls[2] = false;
		values[2] = verified_claims(token);
		ok = check_verified(&approval, &refusal);
	}
	values[0] = BoolGetDatum(ok);
	nulls[1] = ok;
	if (!ok)
		values[1] = problem_text(&refusal);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
