/*-------------------------------------------------------------------------
 *
 * fuzz_token.c
 *	  Anything at all as token, as claims and as key.
 *
 * The first byte of the input says what the rest is:
 *
 *		'T'		a token, to be verified with two fixed keys
 *		'C'		claims, as if their signature had been good
 *		'H'		a header, likewise
 *		'J'		JSON
 *		'K'		a public key, PEM or JWK
 *		'A'		a file of authorities
 *
 * Beyond what the sanitizers find, this stops where an invariant of token.h
 * does not hold.  Build with clang -fsanitize=fuzzer,address,undefined.
 *
 * test/fuzz/fuzz_token.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "token/token_internal.h"

#define MUST(cond) \
	do { \
		if (!(cond)) \
			abort(); \
	} while (0)

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static DgTokenKey *keys[2];

static const char *const key_texts[2] = {
	"{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
	"\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
	"{\"kty\":\"EC\",\"crv\":\"P-256\","
	"\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
	"\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"
};

static const DgTokenContext context = {
	.audience = "7123456789012345678/shop",
	.now = 1700000000,
	.clock_skew = DG_TOKEN_DEFAULT_CLOCK_SKEW
};

/* Is the string's NUL inside its array? */
#define TERMINATED(array) (memchr((array), '\0', sizeof(array)) != NULL)

/*
 * Claims that were accepted keep what token.h says of them.
 */
static void
check_claims(const DgTokenClaims *claims)
{
	MUST(claims->act > DG_TOKEN_ACT_NONE && claims->act <= DG_TOKEN_ACT_PURGE_BY_AGE);
	MUST(TERMINATED(claims->kid) && TERMINATED(claims->aud));
	MUST(TERMINATED(claims->jti) && claims->jti[0] != '\0');
	MUST(TERMINATED(claims->reason) && TERMINATED(claims->tenant));
	MUST(TERMINATED(claims->tenant_name) && TERMINATED(claims->relation));
	MUST(TERMINATED(claims->relations) && TERMINATED(claims->deleted_before));
	MUST(TERMINATED(claims->authority));
	MUST(TERMINATED(claims->deletions) && TERMINATED(claims->keys));
	MUST(claims->act == DG_TOKEN_ACT_PURGE || (claims->deletions[0] == '\0' && claims->keys[0] == '\0'));
	MUST(claims->iat >= 0 && claims->iat <= DG_TOKEN_MAX_TIME);
	MUST(claims->nbf >= 0 && claims->nbf <= DG_TOKEN_MAX_TIME);
	MUST(claims->exp >= 0 && claims->exp <= DG_TOKEN_MAX_TIME);
	MUST(claims->act != DG_TOKEN_ACT_PURGE ||
		 (claims->tenant[0] != '\0' && claims->request > 0 && claims->rows >= 0));
	MUST((claims->act == DG_TOKEN_ACT_PURGE_WITHOUT_TENANT || claims->act == DG_TOKEN_ACT_PURGE_BY_AGE) ==
		 (claims->relations[0] != '\0'));
	MUST((claims->act == DG_TOKEN_ACT_PURGE_BY_AGE) == (claims->deleted_before[0] != '\0' && claims->tenants > 0));
	MUST((claims->act == DG_TOKEN_ACT_PURGE) == (claims->tenant[0] != '\0'));
}

static void
fuzz_token(const char *token, size_t len)
{
	char		kid[DG_TOKEN_MAX_NAME + 1];
	char		json[DG_TOKEN_MAX_LENGTH];
	DgTokenStatus peek = dg_token_peek_kid(token, len, kid, sizeof(kid));
	DgTokenStatus payload = dg_token_payload(token, len, json, sizeof(json));
	int			i;

	MUST(payload != DG_TOKEN_NO_MEMORY && peek != DG_TOKEN_NO_MEMORY);
	if (peek == DG_TOKEN_OK)
		MUST(dg_token_name_is_valid(kid, strlen(kid)));
	for (i = 0; i < 2; i++)
	{
		DgTokenClaims claims;
		DgTokenDetail detail;
		DgTokenStatus status;

		status = dg_token_verify(token, len, keys[i], &context, &claims, &detail);
		/* nobody here has the private keys */
		MUST(status != DG_TOKEN_OK && claims.act == DG_TOKEN_ACT_NONE);
		MUST(status != DG_TOKEN_NO_MEMORY && status != DG_TOKEN_CRYPTO);
		/* what the header is refused for does not depend on the key */
		if (peek != DG_TOKEN_OK)
			MUST(status == peek);
	}
}

static void
fuzz_claims(const char *json, size_t len)
{
	DgTokenClaims claims;
	DgTokenDetail detail;
	cJSON	   *tree;
	DgTokenStatus status;

	memset(&claims, 0, sizeof(claims));
	status = dg_token_json_parse(json, len, &tree);
	MUST(status != DG_TOKEN_NO_MEMORY);
	if (status != DG_TOKEN_OK)
		return;
	if (dg_token_claims_parse(tree, &claims, &detail) == DG_TOKEN_OK)
	{
		check_claims(&claims);
		dg_token_claims_check(&claims, &context, &detail);
	}
	cJSON_Delete(tree);
}

static void
fuzz_header(const char *json, size_t len)
{
	char		text[DG_TOKEN_MAX_LENGTH];
	DgTokenParts parts;
	DgTokenHeader header;
	char	   *p;

	memset(&parts, 0, sizeof(parts));
	parts.header = text;
	parts.header_len = dg_token_base64_encode((const unsigned char *) json,
											  len, text, sizeof(text));
	while (parts.header_len > 0 && text[parts.header_len - 1] == '=')
		text[--parts.header_len] = '\0';
	for (p = text; p < text + parts.header_len; p++)
		*p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
	if (dg_token_header_parse(&parts, &header, NULL) == DG_TOKEN_OK)
		MUST(dg_token_name_is_valid(header.kid, strlen(header.kid)));
}

/*
 * What passes our check is taken by cJSON too, and has the same meaning once
 * written and read again.
 */
static void
fuzz_json(const char *json, size_t len)
{
	cJSON	   *tree;
	cJSON	   *again;
	char	   *text;

	MUST(dg_token_json_parse(json, len, &tree) != DG_TOKEN_NO_MEMORY);
	if (tree == NULL)
		return;
	text = cJSON_PrintUnformatted(tree);
	MUST(text != NULL);
	/* leniently: cJSON writes large integers with an exponent */
	again = cJSON_Parse(text);
	MUST(again != NULL);
	MUST(cJSON_Compare(tree, again, true));
	cJSON_free(text);
	cJSON_Delete(tree);
	cJSON_Delete(again);
}

static void
fuzz_key(const char *text, size_t len)
{
	DgTokenKey *key;
	DgTokenKey *again;
	const char *pem;
	DgTokenStatus status = dg_token_key_parse(text, len, &key, NULL);

	MUST((status == DG_TOKEN_OK) == (key != NULL));
	MUST(status != DG_TOKEN_NO_MEMORY && status != DG_TOKEN_CRYPTO);
	if (key == NULL)
		return;
	pem = dg_token_key_pem(key);
	MUST(dg_token_key_parse(pem, strlen(pem), &again, NULL) == DG_TOKEN_OK);
	MUST(strcmp(dg_token_key_pem(again), pem) == 0);
	MUST(strcmp(dg_token_key_fingerprint(again), dg_token_key_fingerprint(key)) == 0);
	dg_token_key_free(key);
	dg_token_key_free(again);
}

/*
 * Names and keys that were accepted are good, and each is there once.
 */
static void
fuzz_authorities(const char *text, size_t len)
{
	DgTokenAuthorities *authorities;
	DgTokenStatus status = dg_token_authorities_parse(text, len, &authorities, NULL);
	int			i;
	int			j;

	MUST((status == DG_TOKEN_OK) == (authorities != NULL));
	MUST(status != DG_TOKEN_NO_MEMORY && status != DG_TOKEN_CRYPTO);
	if (authorities == NULL)
		return;
	MUST(authorities->count >= 0 && authorities->count <= DG_TOKEN_MAX_AUTHORITIES);
	for (i = 0; i < authorities->count; i++)
	{
		const DgTokenAuthority *one = &authorities->items[i];

		MUST(TERMINATED(one->name) && dg_token_name_is_valid(one->name, strlen(one->name)));
		for (j = 0; j < i; j++)
			MUST(strcmp(one->name, authorities->items[j].name) != 0 &&
				 strcmp(dg_token_key_fingerprint(one->key), dg_token_key_fingerprint(authorities->items[j].key)) != 0);
	}
	dg_token_authorities_free(authorities);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text;
	size_t		len;
	int			i;

	for (i = 0; i < 2 && keys[i] == NULL; i++)
		MUST(dg_token_key_parse(key_texts[i], strlen(key_texts[i]), &keys[i], NULL) == DG_TOKEN_OK);
	if (size == 0 || size > 8192)
		return 0;

	/* tokens and keys end where their length says, the others in a NUL */
	len = size - 1;
	text = malloc(len + 1);
	MUST(text != NULL);
	memcpy(text, data + 1, len);
	text[len] = '\0';
	if (data[0] == 'T' || data[0] == 'K')
	{
		char	   *exact = malloc(len > 0 ? len : 1);

		memcpy(exact, text, len);
		free(text);
		text = exact;
	}
	if (data[0] == 'T')
		fuzz_token(text, len);
	else if (data[0] == 'C')
		fuzz_claims(text, len);
	else if (data[0] == 'H')
		fuzz_header(text, len);
	else if (data[0] == 'J')
		fuzz_json(text, len);
	else if (data[0] == 'K')
		fuzz_key(text, len);
	else if (data[0] == 'A')
		fuzz_authorities(text, len);
	MUST(ERR_peek_error() == 0);
	free(text);
	return 0;
}
