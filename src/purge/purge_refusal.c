/*
 * purge_refusal.c
 *		Saying no: what was wrong, what to do, and a record of it.
 *
 * Every refusal has a SQLSTATE and a stable reason code. It is written to the
 * server's log before the error is raised, since the error takes everything
 * else back with it, and handed to a process of its own (ledger_refusal.c).
 * Neither the record nor the error carries any part of a token or a key; the
 * statement, which may contain a token as a literal, is kept out of both log
 * entries.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "common/deletion_guard.h"
#include "ledger/ledger.h"
#include "purge/purge_internal.h"
#include "token/token.h"

/* Refusals of this session that the log already has. */
#define REMEMBERED_REFUSALS 32
#define REFUSAL_INTERVAL_MS (60 * 60 * 1000)

typedef struct RememberedRefusal
{
	char		reason[40];
	int64		request;
	TimestampTz at;
	int64		suppressed;
} RememberedRefusal;

static RememberedRefusal remembered[REMEMBERED_REFUSALS];
static int	next_remembered = 0;

static char *format_text(const char *fmt, va_list args) pg_attribute_printf(1, 0);

static char *
format_text(const char *fmt, va_list args)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (;;)
	{
		va_list		again;
		int			needed;

		va_copy(again, args);
		needed = appendStringInfoVA(&buf, fmt, again);
		va_end(again);
		if (needed == 0)
			return buf.data;
		enlargeStringInfo(&buf, needed);
	}
}

/*
 * Fills in a refusal; "hint" is a constant or palloc'd. Returns false, for
 * "return dg_purge_refusal_set(...)".
 */
bool
dg_purge_refusal_set(DgRefusal *refusal, int sqlstate, const char *reason, const char *hint, const char *fmt,...)
{
	va_list		args;

	refusal->sqlstate = sqlstate;
	refusal->reason = reason;
	refusal->hint = hint;
	refusal->detail = NULL;
	va_start(args, fmt);
	refusal->message = format_text(fmt, args);
	va_end(args);
	return false;
}

/*
 * Sets the detail of a refusal, palloc'd; always false.
 */
bool
dg_purge_refusal_detail(DgRefusal *refusal, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	refusal->detail = format_text(fmt, args);
	va_end(args);
	return false;
}

/* ----------------------------------------------------------------------
 * What the token library says
 * ----------------------------------------------------------------------
 */

#define HINT_KEY	"Give an Ed25519 or P-256 public key, as PEM (-----BEGIN PUBLIC KEY-----) or JWK."

static const struct
{
	DgTokenStatus last;			/* of a range of statuses */
	int			sqlstate;
	const char *hint;
}			token_refusals[] = {
	{DG_TOKEN_DUPLICATE_NAME, DG_ERRCODE_TOKEN_MALFORMED, DG_HINT_CLAIMS},
	{DG_TOKEN_HEADER_TYP, DG_ERRCODE_TOKEN_MALFORMED,
	"The header may have \"alg\", \"kid\" and \"typ\" only; the key is the one that was enrolled."},
	{DG_TOKEN_ALG_MISMATCH, DG_ERRCODE_TOKEN_WRONG_ALGORITHM,
	"The algorithm must be that of the authority's key: \"EdDSA\" for Ed25519, \"ES256\" for P-256."},
	{DG_TOKEN_KID_BAD, DG_ERRCODE_TOKEN_MALFORMED,
	"Put the authority's name, as it was enrolled, in the header's \"kid\"."},
	{DG_TOKEN_KID_MISMATCH, DG_ERRCODE_TOKEN_UNKNOWN_AUTHORITY, DG_HINT_CLAIMS},
	{DG_TOKEN_SIGNATURE_LENGTH, DG_ERRCODE_TOKEN_MALFORMED, DG_HINT_CLAIMS},
	{DG_TOKEN_BAD_SIGNATURE, DG_ERRCODE_TOKEN_BAD_SIGNATURE,
	"The token was changed, or signed with another key than the one enrolled for this authority."},
	{DG_TOKEN_CLAIM_TOO_LONG, DG_ERRCODE_TOKEN_BAD_CLAIM, DG_HINT_CLAIMS},
	{DG_TOKEN_ACT_UNKNOWN, DG_ERRCODE_TOKEN_WRONG_ACT, DG_HINT_CLAIMS},
	{DG_TOKEN_WRONG_AUDIENCE, DG_ERRCODE_TOKEN_WRONG_DATABASE,
	"The claim \"aud\" must be what deletion_guard.audience() returns in this database."},
	{DG_TOKEN_TIME_ORDER, DG_ERRCODE_TOKEN_BAD_CLAIM,
	"Times are whole seconds since 1970 UTC, and \"exp\" comes after \"iat\" and \"nbf\"."},
	{DG_TOKEN_NOT_YET_VALID, DG_ERRCODE_TOKEN_NOT_YET_VALID,
	"Wait until the token is valid, or compare the clocks of the signer and of this server."},
	{DG_TOKEN_EXPIRED, DG_ERRCODE_TOKEN_EXPIRED,
	"Have the authority sign the claims again, with a later \"exp\"."},
	{DG_TOKEN_KEY_POINT, DG_ERRCODE_BAD_KEY, HINT_KEY},
	{DG_TOKEN_BAD_ARGUMENT, ERRCODE_INTERNAL_ERROR, NULL},
	{DG_TOKEN_NO_MEMORY, ERRCODE_OUT_OF_MEMORY, NULL},
	{DG_TOKEN_CRYPTO, ERRCODE_FEATURE_NOT_SUPPORTED,
	"The server's OpenSSL does not offer this algorithm, perhaps because of a FIPS setting."},
};

/*
 * Fills in a refusal by the token library. Returns false.
 */
bool
dg_purge_refusal_of_token(DgRefusal *refusal, DgTokenStatus status, const DgTokenDetail *detail)
{
	int			i = 0;

	while (i < lengthof(token_refusals) - 1 && status > token_refusals[i].last)
		i++;
	dg_purge_refusal_set(refusal, token_refusals[i].sqlstate, dg_token_status_reason(status),
						 token_refusals[i].hint, "%s", dg_token_status_message(status));
	if (detail != NULL && detail->name != NULL)
		dg_purge_refusal_detail(refusal, "It is about \"%s\".", detail->name);
	return false;
}

/* ----------------------------------------------------------------------
 * The record and the error
 * ----------------------------------------------------------------------
 */

/*
 * Has this session told the log of the same refusal within the hour? Then it
 * is counted only.
 */
static bool
already_logged(const DgRefusal *refusal, int64 *suppressed)
{
	TimestampTz now = GetCurrentTimestamp();
	RememberedRefusal *slot = NULL;

	*suppressed = 0;
	for (int i = 0; i < REMEMBERED_REFUSALS && slot == NULL; i++)
	{
		if (remembered[i].at != 0 && remembered[i].request == refusal->request &&
			strcmp(remembered[i].reason, refusal->reason) == 0)
			slot = &remembered[i];
	}
	if (slot != NULL && !TimestampDifferenceExceeds(slot->at, now, REFUSAL_INTERVAL_MS))
	{
		slot->suppressed++;
		return true;
	}
	if (slot == NULL)
	{
		slot = &remembered[next_remembered];
		next_remembered = (next_remembered + 1) % REMEMBERED_REFUSALS;
	}
	else
		*suppressed = slot->suppressed;
	strlcpy(slot->reason, refusal->reason, sizeof(slot->reason));
	slot->request = refusal->request;
	slot->at = now;
	slot->suppressed = 0;
	return false;
}

static void
log_refusal(const DgRefusal *refusal, const char *act)
{
	int64		suppressed;
	char	   *details;

	if (already_logged(refusal, &suppressed))
		return;
	details = psprintf("{\"act\": %s, \"reason\": %s, \"request\": " INT64_FORMAT
					   ", \"authority\": %s, \"count\": " INT64_FORMAT "}",
					   dg_json_string(act), dg_json_string(refusal->reason), refusal->request,
					   dg_json_string(refusal->authority), suppressed + 1);
	/* a key that cannot be read is a slip, not an attempt */
	if (refusal->sqlstate != DG_ERRCODE_BAD_KEY)
		(void) dg_ledger_autonomous(DG_EVENT_REFUSAL, details, details);
	ereport(LOG,
			(errmsg("deletion_guard refused %s: %s", act, refusal->reason),
			 errdetail_log("role=%s request=%lld authority=%s repeated=%lld",
						   dg_session_role(), (long long) refusal->request,
						   refusal->authority ? refusal->authority : "-", (long long) suppressed),
			 errhidestmt(true), errhidecontext(true)));
}

/*
 * Records a refusal and raises it as an error.
 */
void
dg_purge_refuse(const DgRefusal *refusal, const char *act)
{
	log_refusal(refusal, act);
	ereport(ERROR,
			(errcode(refusal->sqlstate),
			 errmsg("%s refused: %s", act, refusal->message),
			 refusal->detail ? errdetail("%s", refusal->detail) : 0,
			 refusal->hint ? errhint("%s", refusal->hint) : 0,
			 errhidestmt(true)));
}
