/*-------------------------------------------------------------------------
 *
 * token_status.c
 *	  One table from status codes to what people and programs read.
 *
 * Invariants: reasons are stable (they appear in records and are compared by
 * programs); messages are one line, lower case, without a full stop, and never
 * contain anything out of a token or a key.
 *
 * src/token/token_status.c
 *
 *-------------------------------------------------------------------------
 */
#include "token/token.h"

typedef struct StatusText
{
	const char *reason;
	const char *message;
} StatusText;

static const StatusText status_text[DG_TOKEN_STATUS_COUNT] = {
	[DG_TOKEN_OK] = {"ok", "token is valid"},

	[DG_TOKEN_EMPTY] = {"empty", "token is empty"},
	[DG_TOKEN_TOO_LONG] = {"too_long", "token is too long"},
	[DG_TOKEN_BAD_BASE64] = {"bad_base64", "token is not canonical base64url"},
	[DG_TOKEN_NOT_COMPACT] = {"not_compact", "token does not consist of three parts separated by dots"},

	[DG_TOKEN_BAD_JSON] = {"bad_json", "invalid JSON"},
	[DG_TOKEN_BAD_UTF8] = {"bad_utf8", "JSON is not valid Unicode text in UTF-8"},
	[DG_TOKEN_NUL_CHARACTER] = {"nul_character", "JSON contains a NUL character"},
	[DG_TOKEN_BAD_NUMBER] = {"bad_number", "JSON number is not written as a plain integer between -(2^53-1) and 2^53-1"},
	[DG_TOKEN_TOO_DEEP] = {"too_deep", "JSON is nested too deeply"},
	[DG_TOKEN_TOO_MANY_VALUES] = {"too_many_values", "JSON has too many values"},
	[DG_TOKEN_NOT_OBJECT] = {"not_object", "JSON is not an object"},
	[DG_TOKEN_DUPLICATE_NAME] = {"duplicate_name", "JSON object has the same name twice"},

	[DG_TOKEN_HEADER_CRIT] = {"header_crit", "token header demands critical extensions (\"crit\")"},
	[DG_TOKEN_HEADER_B64] = {"header_b64", "token header asks for an unencoded payload (\"b64\")"},
	[DG_TOKEN_HEADER_KEY] = {"header_key", "token header brings or points to a key of its own"},
	[DG_TOKEN_HEADER_UNKNOWN] = {"header_unknown", "token header has a parameter other than \"alg\", \"kid\" and \"typ\""},
	[DG_TOKEN_HEADER_TYP] = {"header_typ", "token type (\"typ\") is not \"JWT\""},
	[DG_TOKEN_ALG_MISSING] = {"alg_missing", "token header names no algorithm"},
	[DG_TOKEN_ALG_NONE] = {"alg_none", "token is not signed (algorithm \"none\")"},
	[DG_TOKEN_ALG_HMAC] = {"alg_hmac", "token is authenticated with a shared secret instead of a signature"},
	[DG_TOKEN_ALG_UNSUPPORTED] = {"alg_unsupported", "token algorithm is neither Ed25519 (\"EdDSA\") nor \"ES256\""},
	[DG_TOKEN_ALG_MISMATCH] = {"alg_mismatch", "token algorithm is not that of the authority's key"},
	[DG_TOKEN_KID_MISSING] = {"kid_missing", "token header names no authority (\"kid\")"},
	[DG_TOKEN_KID_BAD] = {"kid_bad", "token's \"kid\" cannot be the name of an authority"},
	[DG_TOKEN_KID_MISMATCH] = {"kid_mismatch", "token names another authority"},

	[DG_TOKEN_SIGNATURE_MISSING] = {"signature_missing", "token has no signature"},
	[DG_TOKEN_SIGNATURE_LENGTH] = {"signature_length", "token signature is not 64 bytes long"},
	[DG_TOKEN_BAD_SIGNATURE] = {"bad_signature", "token signature does not match"},

	[DG_TOKEN_CLAIM_MISSING] = {"claim_missing", "token lacks a required claim"},
	[DG_TOKEN_CLAIM_UNKNOWN] = {"claim_unknown", "token has a claim that its act does not have"},
	[DG_TOKEN_CLAIM_TYPE] = {"claim_type", "token claim has the wrong type"},
	[DG_TOKEN_CLAIM_VALUE] = {"claim_value", "token claim has an impossible value"},
	[DG_TOKEN_CLAIM_TOO_LONG] = {"claim_too_long", "token claim is too long"},
	[DG_TOKEN_ACT_UNKNOWN] = {"act_unknown", "token permits an unknown act"},
	[DG_TOKEN_WRONG_AUDIENCE] = {"wrong_audience", "token is for another database"},
	[DG_TOKEN_TIME_RANGE] = {"time_range", "token time is out of range"},
	[DG_TOKEN_TIME_ORDER] = {"time_order", "token expires before it was issued or becomes valid"},
	[DG_TOKEN_ISSUED_IN_FUTURE] = {"issued_in_future", "token was issued in the future"},
	[DG_TOKEN_NOT_YET_VALID] = {"not_yet_valid", "token is not valid yet"},
	[DG_TOKEN_EXPIRED] = {"expired", "token has expired"},

	[DG_TOKEN_KEY_EMPTY] = {"key_empty", "public key is empty"},
	[DG_TOKEN_KEY_TOO_LONG] = {"key_too_long", "public key is too long"},
	[DG_TOKEN_KEY_FORMAT] = {"key_format", "public key is neither one PEM block \"PUBLIC KEY\" nor a JWK"},
	[DG_TOKEN_KEY_PRIVATE] = {"key_private", "key is a private key"},
	[DG_TOKEN_KEY_SYMMETRIC] = {"key_symmetric", "key is a shared secret"},
	[DG_TOKEN_KEY_UNSUPPORTED] = {"key_unsupported", "public key is neither Ed25519 nor P-256"},
	[DG_TOKEN_KEY_MEMBER] = {"key_member", "JWK lacks a member or has one with a wrong value"},
	[DG_TOKEN_KEY_POINT] = {"key_point", "public key is not a valid point of its curve"},

	[DG_TOKEN_BAD_ARGUMENT] = {"bad_argument", "token library was called with invalid arguments"},
	[DG_TOKEN_NO_MEMORY] = {"no_memory", "out of memory"},
	[DG_TOKEN_CRYPTO] = {"crypto", "cryptographic library does not offer the algorithm"},
};

/*
 * The message for people.  Never NULL; a constant.
 */
const char *
dg_token_status_message(DgTokenStatus status)
{
	if ((unsigned int) status >= DG_TOKEN_STATUS_COUNT)
		return "unknown token status";
	return status_text[status].message;
}

/*
 * The short name for programs, such as "bad_signature".  Never NULL; a
 * constant.
 */
const char *
dg_token_status_reason(DgTokenStatus status)
{
	if ((unsigned int) status >= DG_TOKEN_STATUS_COUNT)
		return "unknown";
	return status_text[status].reason;
}
