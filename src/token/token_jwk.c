/*-------------------------------------------------------------------------
 *
 * token_jwk.c
 *	  Public keys written as JWK (RFC 7517, RFC 7518, RFC 8037).
 *
 * A JWK that says more than its curve and its point must not contradict what
 * the key is used for here: "use", "key_ops" and "alg" are checked where they
 * are there.  Members nobody here knows are ignored, as RFC 7517 demands, but
 * never those of a private key or a shared secret.
 *
 * src/token/token_jwk.c
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "token/token_internal.h"

/* Members that only private keys have (RFC 7518, section 6). */
static const char *const private_members[] = {
	"d", "p", "q", "dp", "dq", "qi", "oth"
};

#define PRIVATE_MEMBER_COUNT \
	(sizeof(private_members) / sizeof(private_members[0]))

/* Is this member a string with exactly that value? */
static bool
member_is(const cJSON *tree, const char *name, const char *value)
{
	const cJSON *item = dg_token_json_member(tree, name);

	return cJSON_IsString(item) && strcmp(item->valuestring, value) == 0;
}

static bool
has_member(const cJSON *tree, const char *name)
{
	return dg_token_json_member(tree, name) != NULL;
}

/*
 * Which of our two kinds of key this is.
 */
static DgTokenStatus
parse_kind(const cJSON *tree, DgTokenAlgorithm *algorithm,
		   DgTokenDetail *detail)
{
	const char *crv;
	size_t		i;

	if (has_member(tree, "k") || member_is(tree, "kty", "oct"))
		return DG_TOKEN_KEY_SYMMETRIC;
	for (i = 0; i < PRIVATE_MEMBER_COUNT; i++)
	{
		if (has_member(tree, private_members[i]))
			return dg_token_refuse(DG_TOKEN_KEY_PRIVATE, private_members[i],
								   detail);
	}
	if (!cJSON_IsString(dg_token_json_member(tree, "kty")))
		return dg_token_refuse(DG_TOKEN_KEY_MEMBER, "kty", detail);
	if (member_is(tree, "kty", "OKP"))
	{
		crv = "Ed25519";
		*algorithm = DG_TOKEN_ED25519;
	}
	else if (member_is(tree, "kty", "EC"))
	{
		crv = "P-256";
		*algorithm = DG_TOKEN_ES256;
	}
	else
		return dg_token_refuse(DG_TOKEN_KEY_UNSUPPORTED, "kty", detail);
	if (!cJSON_IsString(dg_token_json_member(tree, "crv")))
		return dg_token_refuse(DG_TOKEN_KEY_MEMBER, "crv", detail);
	if (!member_is(tree, "crv", crv))
		return dg_token_refuse(DG_TOKEN_KEY_UNSUPPORTED, "crv", detail);
	return DG_TOKEN_OK;
}

/* Is "verify" among the operations? */
static bool
operations_allow_verify(const cJSON *key_ops)
{
	const cJSON *operation;

	cJSON_ArrayForEach(operation, key_ops)
	{
		if (cJSON_IsString(operation) &&
			strcmp(operation->valuestring, "verify") == 0)
			return cJSON_IsArray(key_ops);
	}
	return false;
}

/*
 * Is the key meant for what we do with it?
 */
static DgTokenStatus
check_purpose(const cJSON *tree, DgTokenAlgorithm algorithm,
			  DgTokenDetail *detail)
{
	const cJSON *key_ops = dg_token_json_member(tree, "key_ops");
	bool		alg_ok;

	if (has_member(tree, "use") && !member_is(tree, "use", "sig"))
		return dg_token_refuse(DG_TOKEN_KEY_MEMBER, "use", detail);
	if (key_ops != NULL && !operations_allow_verify(key_ops))
		return dg_token_refuse(DG_TOKEN_KEY_MEMBER, "key_ops", detail);
	if (algorithm == DG_TOKEN_ES256)
		alg_ok = member_is(tree, "alg", "ES256");
	else
		alg_ok = member_is(tree, "alg", "EdDSA") ||
			member_is(tree, "alg", "Ed25519");
	if (has_member(tree, "alg") && !alg_ok)
		return dg_token_refuse(DG_TOKEN_KEY_MEMBER, "alg", detail);
	return DG_TOKEN_OK;
}

/*
 * Read a member of exactly 32 bytes.
 */
static DgTokenStatus
parse_coordinate(const cJSON *tree, const char *name, unsigned char *out,
				 DgTokenDetail *detail)
{
	const cJSON *item = dg_token_json_member(tree, name);
	size_t		len;

	if (!cJSON_IsString(item) ||
		!dg_token_base64url_decode(item->valuestring,
								   strlen(item->valuestring),
								   out, DG_TOKEN_COORDINATE_SIZE, &len) ||
		len != DG_TOKEN_COORDINATE_SIZE)
		return dg_token_refuse(DG_TOKEN_KEY_MEMBER, name, detail);
	return DG_TOKEN_OK;
}

static DgTokenStatus
read_jwk(const cJSON *tree, DgTokenAlgorithm *algorithm,
		 unsigned char *x, unsigned char *y, DgTokenDetail *detail)
{
	DgTokenStatus status;

	status = parse_kind(tree, algorithm, detail);
	if (status == DG_TOKEN_OK)
		status = check_purpose(tree, *algorithm, detail);
	if (status == DG_TOKEN_OK)
		status = parse_coordinate(tree, "x", x, detail);
	if (status == DG_TOKEN_OK && *algorithm == DG_TOKEN_ES256)
		status = parse_coordinate(tree, "y", y, detail);
	return status;
}

/*
 * Read a public key's kind and its 32-byte coordinates; y is not set for
 * Ed25519.  Whether they are a point of the curve is not looked at here.
 */
DgTokenStatus
dg_token_jwk_parse(const char *text, size_t len, DgTokenAlgorithm *algorithm,
				   unsigned char *x, unsigned char *y, DgTokenDetail *detail)
{
	char		json[DG_TOKEN_MAX_KEY_LENGTH + 1];
	cJSON	   *tree;
	DgTokenStatus status;

	if (len >= sizeof(json))
		return DG_TOKEN_KEY_TOO_LONG;
	memcpy(json, text, len);
	json[len] = '\0';
	status = dg_token_json_parse(json, len, &tree);
	if (status != DG_TOKEN_OK)
		return status;
	status = read_jwk(tree, algorithm, x, y, detail);
	cJSON_Delete(tree);
	return status;
}
