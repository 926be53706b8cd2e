/*
 * purge_approval.c
 *		From tokens to approvals: who signed, for this database, valid now, not
 *		used before.
 *
 * The token library neither throws nor leaks; what it hands out, a parsed key,
 * is freed before the next statement that could throw. Two tokens count as two
 * approvals only if they are of two authorities with two keys.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "ledger/ledger.h"
#include "purge/purge_internal.h"
#include "token/token.h"

#define HINT_SIGN_AGAIN "Have the authority sign a new token, with a new \"jti\"."

/*
 * Finds the authority that a token names.
 */
static DgAuthority *
find_signer(const char *token, int len, DgRefusal *refusal)
{
	char		kid[DG_TOKEN_MAX_NAME + 1];
	DgTokenStatus status = dg_token_peek_kid(token, len, kid, sizeof(kid));
	DgAuthority *authority;

	if (status != DG_TOKEN_OK)
	{
		dg_purge_refusal_of_token(refusal, status, NULL);
		return NULL;
	}
	authority = dg_purge_authority_find(kid, refusal);
	if (authority == NULL && refusal->message == NULL)
		dg_purge_refusal_set(refusal, DG_ERRCODE_TOKEN_UNKNOWN_AUTHORITY, "unknown_authority",
							 "Enrol it with deletion_guard.add_authority(), or name one that is in the token's \"kid\".",
							 "authority \"%s\" is not enrolled", kid);
	return authority;
}

/*
 * Text of a claim in the server's encoding.
 */
static char *
claim_text(const char *claim)
{
	char	   *converted = pg_any_to_server(claim, strlen(claim), PG_UTF8);

	return converted == claim ? pstrdup(claim) : converted;
}

static DgTokenStatus
verify_with_key(const char *token, int len, const DgAuthority *authority, DgTokenClaims *claims,
				DgTokenDetail *detail)
{
	DgTokenContext ctx = {0};
	DgTokenKey *key = NULL;
	DgTokenStatus status;
	char	   *audience = dg_purge_audience_text();

	ctx.audience = pg_server_to_any(audience, strlen(audience), PG_UTF8);
	ctx.kid = authority->name;
	ctx.now = timestamptz_to_time_t(GetCurrentTimestamp());
	ctx.clock_skew = dg_clock_skew;

	status = dg_token_key_parse(authority->public_key, strlen(authority->public_key), &key, detail);
	if (status != DG_TOKEN_OK)
		return status;
	status = dg_token_verify(token, len, key, &ctx, claims, detail);
	dg_token_key_free(key);
	return status;
}

/*
 * Verifies one token: signature, authority, database, time. Fills in the
 * approval; false and a refusal if it is not good.
 */
bool
dg_purge_approval_verify(const char *token, int len, DgApproval *approval, DgRefusal *refusal)
{
	DgAuthority *authority;
	DgTokenDetail detail = {0};
	DgTokenStatus status;

	dg_purge_hide_tokens_in_activity();
	authority = find_signer(token, len, refusal);
	if (authority == NULL)
		return false;
	refusal->authority = authority->name;
	status = verify_with_key(token, len, authority, &approval->claims, &detail);
	if (status != DG_TOKEN_OK)
		return dg_purge_refusal_of_token(refusal, status, &detail);

	/* only now, so that nobody without the key learns anything */
	refusal->request = approval->claims.request;
	if (authority->retired)
		return dg_purge_refusal_set(refusal, DG_ERRCODE_TOKEN_RETIRED_AUTHORITY, "retired_authority",
									"Ask an authority that is still active.",
									"authority \"%s\" has been retired", authority->name);
	approval->fingerprint = authority->fingerprint;
	if (approval->claims.act == DG_TOKEN_ACT_PURGE)
	{
		approval->tenant = claim_text(approval->claims.tenant);
		approval->tenant_name = claim_text(approval->claims.tenant_name);
		approval->deletions = claim_text(approval->claims.deletions);
		approval->keys = claim_text(approval->claims.keys);
	}
	else
		approval->relations = claim_text(approval->claims.relations);
	approval->reason = claim_text(approval->claims.reason);
	return true;
}

/*
 * Has the token not been used before?
 */
bool
dg_purge_approval_unused(const DgApproval *approval, DgRefusal *refusal)
{
	ScanKeyData keys[] = {dg_own_key_text(Anum_used_token_authority, approval->claims.kid),
	dg_own_key_text(Anum_used_token_jti, approval->claims.jti)};
	DgOwnScan  *used = dg_own_find(DG_OWN(used_token), AccessShareLock, lengthof(keys), keys);

	if (used == NULL)
		return true;
	dg_own_end(used);
	return dg_purge_refusal_set(refusal, DG_ERRCODE_TOKEN_USED, "token_used", HINT_SIGN_AGAIN,
								"the token of \"%s\" has been used before", approval->claims.kid);
}

/* ----------------------------------------------------------------------
 * Several tokens
 * ----------------------------------------------------------------------
 */

/*
 * Does a token for this act permit a purge? The act says what is covered: a
 * tenant, rows without one, or those of all by their age.
 */
bool
dg_purge_act_is_purge(DgTokenAct act)
{
	return act == DG_TOKEN_ACT_PURGE || act == DG_TOKEN_ACT_PURGE_WITHOUT_TENANT || act == DG_TOKEN_ACT_PURGE_BY_AGE;
}

/*
 * Does a token for one act serve for another?
 */
static bool
act_serves(DgTokenAct act, DgTokenAct wanted)
{
	return act == wanted || (wanted == DG_TOKEN_ACT_PURGE && dg_purge_act_is_purge(act));
}

static bool
refuse_act(const DgApproval *approval, DgTokenAct act, DgRefusal *refusal)
{
	dg_purge_refusal_set(refusal, DG_ERRCODE_TOKEN_WRONG_ACT, "wrong_act",
						 DG_HINT_CLAIMS,
						 "the token of \"%s\" is not for \"%s\"", approval->claims.kid, dg_token_act_name(act));
	return dg_purge_refusal_detail(refusal, "It permits \"%s\".", dg_token_act_name(approval->claims.act));
}

/*
 * Has the authority approved already? Keys are compared, not names: the key is
 * what was verified, and all who hold it are one party. As neither the registry
 * nor a file lists a name or a key twice, the names would give the same answer.
 */
static bool
approved_already(List *approvals, const DgApproval *approval)
{
	ListCell   *lc;

	foreach(lc, approvals)
	{
		DgApproval *other = lfirst(lc);

		if (strcmp(other->fingerprint, approval->fingerprint) == 0)
			return true;
	}
	return false;
}

static bool
verify_one_token(Datum token, DgTokenAct act, List **approvals, DgRefusal *refusal)
{
	text	   *bytes = DatumGetTextPP(token);
	DgApproval *approval = palloc0(sizeof(DgApproval));

	if (!dg_purge_approval_verify(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), approval, refusal))
		return false;
	if (!act_serves(approval->claims.act, act))
		return refuse_act(approval, act, refusal);
	if (approved_already(*approvals, approval))
		return dg_purge_refusal_set(refusal, DG_ERRCODE_MORE_APPROVALS, "same_authority",
									"Give one token of each authority.",
									"more than one token is of authority \"%s\"", approval->claims.kid);
	*approvals = lappend(*approvals, approval);
	return true;
}

/*
 * Verifies the tokens of a call: each is good, is for this act, and is of an
 * authority of its own.
 */
bool
dg_purge_approvals_verify(ArrayType *tokens, DgTokenAct act, List **approvals, DgRefusal *refusal)
{
	Datum	   *elems;
	bool	   *nulls;
	int			nelems = 0;

	*approvals = NIL;
	if (tokens != NULL)
		deconstruct_array(tokens, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &nelems);
	if (nelems == 0)
		return dg_purge_refusal_set(refusal, DG_ERRCODE_TOKEN_REQUIRED, "token_required",
									DG_HINT_CLAIMS,
									"a token for \"%s\" is required", dg_token_act_name(act));
	if (nelems > DG_TOKEN_MAX_APPROVALS)
		return dg_purge_refusal_set(refusal, DG_ERRCODE_TOKEN_MALFORMED, "too_many_tokens", NULL,
									"more than %d tokens", DG_TOKEN_MAX_APPROVALS);
	for (int i = 0; i < nelems; i++)
	{
		if (nulls[i])
			return dg_purge_refusal_of_token(refusal, DG_TOKEN_EMPTY, NULL);
		if (!verify_one_token(elems[i], act, approvals, refusal))
			return false;
	}
	refusal->authority = NULL;
	return true;
}

/*
 * Are there as many approvals as needed?
 */
bool
dg_purge_approvals_suffice(List *approvals, int needed, DgRefusal *refusal)
{
	if (list_length(approvals) >= needed)
		return true;
	dg_purge_refusal_set(refusal, DG_ERRCODE_MORE_APPROVALS, "more_approvals",
						 "Pass the tokens of all of them in one call.",
						 "%d authorities must approve", needed);
	return dg_purge_refusal_detail(refusal, "Tokens of %d were given.", list_length(approvals));
}

/*
 * Refuses such an act, with the call that returns what is to be signed for it.
 */
pg_noreturn static void
refuse_with_claims(DgRefusal *refusal, DgTokenAct act, const char *what, const char *object)
{
	if (refusal->hint != NULL && strcmp(refusal->hint, DG_HINT_CLAIMS) == 0)
		refusal->hint = psprintf("Have an authority sign what deletion_guard.claims('%s', %s) returns, and pass the token.",
								 dg_token_act_name(act), object);
	dg_purge_refuse(refusal, what);
}

/*
 * Verifies the tokens of an act other than a purge, and that they permit it
 * for this very object; an error if not. "object" is the object as claims() takes it,
 * as SQL. Returns the approvals, for dg_purge_approvals_use(). The caller holds the
 * authorities' lock.
 */
List *
dg_purge_authorise(DgTokenAct act, ArrayType *tokens, DgClaimsMatch match, void *arg, const char *what, const char *object)
{
	DgRefusal	refusal = {0};
	List	   *approvals;
	ListCell   *lc;

	if (!dg_purge_approvals_verify(tokens, act, &approvals, &refusal))
		refuse_with_claims(&refusal, act, what, object);
	foreach(lc, approvals)
	{
		DgApproval *approval = lfirst(lc);

		refusal.authority = approval->claims.kid;
		if (!dg_purge_approval_unused(approval, &refusal))
			refuse_with_claims(&refusal, act, what, object);
		if (!match(&approval->claims, arg))
		{
			dg_purge_refusal_set(&refusal, DG_ERRCODE_TOKEN_BAD_CLAIM, "other_object",
								 DG_HINT_CLAIMS,
								 "the token of \"%s\" is for another object", approval->claims.kid);
			refuse_with_claims(&refusal, act, what, object);
		}
	}
	refusal.authority = NULL;
	if (!dg_purge_approvals_suffice(approvals, dg_purge_approvals_required_for_change(), &refusal))
		refuse_with_claims(&refusal, act, what, object);
	return approvals;
}

/*
 * Marks the tokens as used. The caller holds the ledger's lock, so that of two
 * who use the same token one comes second, and gets an error.
 */
void
dg_purge_approvals_use(List *approvals, int64 ledger_id)
{
	ListCell   *lc;

	foreach(lc, approvals)
	{
		DgApproval *approval = lfirst(lc);
		DgRefusal	refusal = {.authority = approval->claims.kid};
		Datum		values[Natts_used_token];
		bool		nulls[Natts_used_token] = {false};

		if (!dg_purge_approval_unused(approval, &refusal))
			dg_purge_refuse(&refusal, "token");
		values[Anum_used_token_authority - 1] = CStringGetTextDatum(approval->claims.kid);
		values[Anum_used_token_jti - 1] = CStringGetTextDatum(approval->claims.jti);
		values[Anum_used_token_act - 1] = CStringGetTextDatum(dg_token_act_name(approval->claims.act));
		values[Anum_used_token_used_at - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
		values[Anum_used_token_expires_at - 1] = TimestampTzGetDatum(time_t_to_timestamptz((pg_time_t) approval->claims.exp));
		values[Anum_used_token_ledger_id - 1] = Int64GetDatum(ledger_id);
		dg_own_insert(DG_OWN(used_token), values, nulls);
	}
}

/*
 * Appends an entry to the ledger about what these tokens have permitted, and
 * marks them as used. Where none were needed, the entry is written when the
 * transaction ends, and 0 is returned instead of its number.
 */
int64
dg_purge_approvals_record(List *approvals, const char *event, const char *details)
{
	int64		entry;

	if (approvals == NIL)
	{
		dg_ledger_append(event, details);
		return 0;
	}
	entry = dg_ledger_append_now(event, details);
	dg_purge_approvals_use(approvals, entry);
	return entry;
}
