/*-------------------------------------------------------------------------
 *
 * token_header.c
 *	  The outer form of a token and its protected header.
 *
 * The header is the one part that must be read before the signature can be
 * checked, so it may say next to nothing: which authority's key to use
 * ("kid"), that this is a JWT ("typ"), and the algorithm ("alg"), which is only
 * ever compared with the one the key is for.  Everything else that RFC 7515
 * lets a header say (keys, addresses of keys, extensions) is refused.
 *
 * src/token/token_header.c
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "token/token_internal.h"

/* Header parameters, and how they are refused if they are not ours. */
typedef struct HeaderParameter
{
	const char *name;
	DgTokenStatus refusal;
} HeaderParameter;

static const HeaderParameter header_parameters[] = {
	{"alg", DG_TOKEN_OK},
	{"kid", DG_TOKEN_OK},
	{"typ", DG_TOKEN_OK},
	{"crit", DG_TOKEN_HEADER_CRIT},
	{"b64", DG_TOKEN_HEADER_B64},
	{"jwk", DG_TOKEN_HEADER_KEY},
	{"jku", DG_TOKEN_HEADER_KEY},
	{"x5u", DG_TOKEN_HEADER_KEY},
	{"x5c", DG_TOKEN_HEADER_KEY},
	{"x5t", DG_TOKEN_HEADER_KEY},
	{"x5t#S256", DG_TOKEN_HEADER_KEY},
	{"cty", DG_TOKEN_HEADER_UNKNOWN},
	{"enc", DG_TOKEN_HEADER_UNKNOWN},
	{"zip", DG_TOKEN_HEADER_UNKNOWN},
};

#define HEADER_PARAMETER_COUNT \
	(sizeof(header_parameters) / sizeof(header_parameters[0]))

/*
 * Can this be the name of an authority?  1 to 63 of A-Z a-z 0-9 . _ - and no
 * dot at the beginning, so it is neither a path nor hidden nor in need of
 * quotes.
 */
bool
dg_token_name_is_valid(const char *name, size_t len)
{
	size_t		i;

	if (len < 1 || len > DG_TOKEN_MAX_NAME || name[0] == '.')
		return false;
	for (i = 0; i < len; i++)
	{
		char		c = name[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
			  (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

static bool
is_compact_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		(c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

/*
 * Take a token apart at its two dots.  The parts are not decoded; the last
 * may be empty, for "none" to be reported as what it is.
 */
DgTokenStatus
dg_token_split(const char *token, size_t len, DgTokenParts *parts)
{
	size_t		dots[2] = {0, 0};
	int			ndots = 0;
	size_t		i;

	if (token == NULL && len > 0)
		return DG_TOKEN_BAD_ARGUMENT;
	if (len == 0)
		return DG_TOKEN_EMPTY;
	if (len > DG_TOKEN_MAX_LENGTH)
		return DG_TOKEN_TOO_LONG;
	for (i = 0; i < len; i++)
	{
		if (!is_compact_char(token[i]))
			return DG_TOKEN_BAD_BASE64;
		if (token[i] != '.')
			continue;
		if (ndots < 2)
			dots[ndots] = i;
		ndots++;
	}
	if (ndots != 2 || dots[0] == 0 || dots[1] == dots[0] + 1)
		return DG_TOKEN_NOT_COMPACT;

	parts->header = token;
	parts->header_len = dots[0];
	parts->payload = token + dots[0] + 1;
	parts->payload_len = dots[1] - dots[0] - 1;
	parts->signature = token + dots[1] + 1;
	parts->signature_len = len - dots[1] - 1;
	parts->signed_len = dots[1];
	return DG_TOKEN_OK;
}

/*
 * Refuse every parameter but alg, kid and typ.
 */
static DgTokenStatus
check_parameters(const cJSON *tree, DgTokenDetail *detail)
{
	const cJSON *child;

	cJSON_ArrayForEach(child, tree)
	{
		DgTokenStatus status = DG_TOKEN_HEADER_UNKNOWN;
		const char *name = NULL;
		size_t		i;

		for (i = 0; i < HEADER_PARAMETER_COUNT; i++)
		{
			if (strcmp(child->string, header_parameters[i].name) == 0)
			{
				name = header_parameters[i].name;
				status = header_parameters[i].refusal;
			}
		}
		if (status != DG_TOKEN_OK)
			return dg_token_refuse(status, name, detail);
	}
	return DG_TOKEN_OK;
}

/* Is this "none", in whatever case? */
static bool
is_none(const char *alg)
{
	const char *none = "none";

	while (*none != '\0' && (*alg | 0x20) == *none)
	{
		alg++;
		none++;
	}
	return *none == '\0' && *alg == '\0';
}

/*
 * The algorithm that the header claims.  RFC 9864 renames EdDSA with this
 * curve to "Ed25519"; libraries are found that write either.
 */
static DgTokenStatus
parse_algorithm(const cJSON *alg, DgTokenAlgorithm *algorithm)
{
	if (alg == NULL)
		return DG_TOKEN_ALG_MISSING;
	if (!cJSON_IsString(alg))
		return DG_TOKEN_ALG_UNSUPPORTED;
	if (strcmp(alg->valuestring, "EdDSA") == 0 ||
		strcmp(alg->valuestring, "Ed25519") == 0)
		*algorithm = DG_TOKEN_ED25519;
	else if (strcmp(alg->valuestring, "ES256") == 0)
		*algorithm = DG_TOKEN_ES256;
	else if (is_none(alg->valuestring))
		return DG_TOKEN_ALG_NONE;
	else if (strcmp(alg->valuestring, "HS256") == 0 ||
			 strcmp(alg->valuestring, "HS384") == 0 ||
			 strcmp(alg->valuestring, "HS512") == 0)
		return DG_TOKEN_ALG_HMAC;
	else
		return DG_TOKEN_ALG_UNSUPPORTED;
	return DG_TOKEN_OK;
}

/*
 * Read the header's tree.  The algorithm comes first, so that "none" is refused
 * as what it is.
 */
static DgTokenStatus
judge_header(const cJSON *tree, DgTokenHeader *header, DgTokenDetail *detail)
{
	const cJSON *kid = dg_token_json_member(tree, "kid");
	const cJSON *typ = dg_token_json_member(tree, "typ");
	DgTokenStatus status;

	status = parse_algorithm(dg_token_json_member(tree, "alg"),
							 &header->algorithm);
	if (status != DG_TOKEN_OK)
		return dg_token_refuse(status, "alg", detail);
	status = check_parameters(tree, detail);
	if (status != DG_TOKEN_OK)
		return status;
	if (typ != NULL &&
		(!cJSON_IsString(typ) || strcmp(typ->valuestring, "JWT") != 0))
		return dg_token_refuse(DG_TOKEN_HEADER_TYP, "typ", detail);
	if (kid == NULL)
		return dg_token_refuse(DG_TOKEN_KID_MISSING, "kid", detail);
	if (!cJSON_IsString(kid) ||
		!dg_token_name_is_valid(kid->valuestring, strlen(kid->valuestring)))
		return dg_token_refuse(DG_TOKEN_KID_BAD, "kid", detail);
	strcpy(header->kid, kid->valuestring);
	return DG_TOKEN_OK;
}

/*
 * Decode, parse and judge the header.  "detail" may be NULL.
 */
DgTokenStatus
dg_token_header_parse(const DgTokenParts *parts, DgTokenHeader *header,
					  DgTokenDetail *detail)
{
	char		json[DG_TOKEN_MAX_DECODED];
	size_t		len;
	cJSON	   *tree;
	DgTokenStatus status;

	memset(header, 0, sizeof(*header));
	if (!dg_token_base64url_decode(parts->header, parts->header_len,
								   (unsigned char *) json, sizeof(json) - 1,
								   &len))
		return DG_TOKEN_BAD_BASE64;
	json[len] = '\0';
	status = dg_token_json_parse(json, len, &tree);
	if (status != DG_TOKEN_OK)
		return status;
	status = judge_header(tree, header, detail);
	cJSON_Delete(tree);
	return status;
}

/*
 * Find out which authority a token claims to be from, for its key to be
 * looked up.  Nothing is proven by the answer.  "kid" is filled only on
 * success; kidsize must be at least DG_TOKEN_MAX_NAME + 1.
 */
DgTokenStatus
dg_token_peek_kid(const char *token, size_t len, char *kid, size_t kidsize)
{
	DgTokenParts parts;
	DgTokenHeader header;
	DgTokenStatus status;

	if (kid == NULL || kidsize < sizeof(header.kid))
		return DG_TOKEN_BAD_ARGUMENT;
	status = dg_token_split(token, len, &parts);
	if (status == DG_TOKEN_OK)
		status = dg_token_header_parse(&parts, &header, NULL);
	if (status == DG_TOKEN_OK)
		memcpy(kid, header.kid, sizeof(header.kid));
	return status;
}
