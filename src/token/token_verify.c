/*-------------------------------------------------------------------------
 *
 * token_verify.c
 *	  From token to verdict: signature first, claims after.
 *
 * Order of checks, which is also the order in which refusals win: outer form,
 * header, algorithm against key, signature, JSON and claims, audience, times.
 * Nothing of the payload is even decoded before the signature has matched.
 *
 * ES256 signatures are accepted in both forms that ECDSA gives every
 * signature (s and n - s): JOSE libraries produce either, and a token is
 * identified by its jti, not by its bytes.
 *
 * Invariants: see token.h.  This file and token_key.c are the only ones that
 * know OpenSSL.
 *
 * src/token/token_verify.c
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "token/token_internal.h"

/* Two integers of 33 bytes with their heads, and the head of the sequence. */
#define MAX_DER_SIGNATURE (2 * (2 + DG_TOKEN_COORDINATE_SIZE + 1) + 2)

/*
 * Turn r || s (RFC 7518, section 3.4) into the DER that OpenSSL verifies; its
 * length, or 0 without memory.
 */
static size_t
raw_to_der(const unsigned char *raw, unsigned char *der)
{
	ECDSA_SIG  *sig = ECDSA_SIG_new();
	BIGNUM	   *r = BN_bin2bn(raw, DG_TOKEN_COORDINATE_SIZE, NULL);
	BIGNUM	   *s = BN_bin2bn(raw + DG_TOKEN_COORDINATE_SIZE, DG_TOKEN_COORDINATE_SIZE, NULL);
	int			len = 0;

	if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1)
	{
		len = i2d_ECDSA_SIG(sig, &der);
		r = s = NULL;			/* they are the signature's now */
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(sig);
	return len > 0 ? (size_t) len : 0;
}

/*
 * Verify a signature as JWS carries it: 64 bytes for both algorithms.
 */
DgTokenStatus
dg_token_signature_verify(const DgTokenKey *key,
						  const unsigned char *signature, size_t signature_len,
						  const unsigned char *data, size_t data_len)
{
	bool		ecdsa = dg_token_key_algorithm(key) == DG_TOKEN_ES256;
	unsigned char der[MAX_DER_SIGNATURE];
	EVP_MD_CTX *ctx;
	DgTokenStatus status;

	if (signature_len != DG_TOKEN_SIGNATURE_SIZE)
		return DG_TOKEN_SIGNATURE_LENGTH;
	ERR_clear_error();
	if (ecdsa)
	{
		signature_len = raw_to_der(signature, der);
		signature = der;
	}
	ctx = EVP_MD_CTX_new();
	if (ctx == NULL || signature_len == 0)
		status = DG_TOKEN_NO_MEMORY;
	else if (EVP_DigestVerifyInit(ctx, NULL, ecdsa ? EVP_sha256() : NULL, NULL,
								  dg_token_key_pkey(key)) <= 0)
		status = DG_TOKEN_CRYPTO;
	else if (EVP_DigestVerify(ctx, signature, signature_len,
							  data, data_len) != 1)
		status = DG_TOKEN_BAD_SIGNATURE;
	else
		status = DG_TOKEN_OK;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	return status;
}

/*
 * Decode the third part and verify it over the first two.
 */
static DgTokenStatus
verify_parts(const char *token, const DgTokenParts *parts,
			 const DgTokenKey *key)
{
	unsigned char signature[DG_TOKEN_MAX_DECODED];
	size_t		len;

	if (parts->signature_len == 0)
		return DG_TOKEN_SIGNATURE_MISSING;
	if (!dg_token_base64url_decode(parts->signature, parts->signature_len,
								   signature, sizeof(signature), &len))
		return DG_TOKEN_BAD_BASE64;
	return dg_token_signature_verify(key, signature, len,
									 (const unsigned char *) token,
									 parts->signed_len);
}

/*
 * Decode the payload into "json", with a final NUL, and parse it.
 */
static DgTokenStatus
parse_payload(const DgTokenParts *parts, char *json, size_t jsonsize,
			  cJSON **tree)
{
	size_t		len;

	*tree = NULL;
	if (!dg_token_base64url_decode(parts->payload, parts->payload_len,
								   (unsigned char *) json, jsonsize - 1, &len))
		return DG_TOKEN_BAD_BASE64;
	json[len] = '\0';
	return dg_token_json_parse(json, len, tree);
}

/*
 * Read the claims of a payload whose signature has been verified.
 */
static DgTokenStatus
parse_claims(const DgTokenParts *parts, DgTokenClaims *claims,
			 DgTokenDetail *detail)
{
	char		json[DG_TOKEN_MAX_DECODED];
	cJSON	   *tree;
	DgTokenStatus status;

	status = parse_payload(parts, json, sizeof(json), &tree);
	if (status == DG_TOKEN_OK)
		status = dg_token_claims_parse(tree, claims, detail);
	cJSON_Delete(tree);
	return status;
}

static bool
context_is_valid(const DgTokenContext *ctx)
{
	return ctx != NULL && ctx->audience != NULL && ctx->audience[0] != '\0' &&
		ctx->now >= 0 && ctx->now <= DG_TOKEN_MAX_TIME &&
		ctx->clock_skew >= 0 && ctx->clock_skew <= DG_TOKEN_MAX_CLOCK_SKEW;
}

/*
 * The checks of dg_token_verify(), in their order.
 */
static DgTokenStatus
run_checks(const char *token, size_t len, const DgTokenKey *key,
		   const DgTokenContext *ctx, DgTokenClaims *claims,
		   DgTokenDetail *detail)
{
	DgTokenParts parts;
	DgTokenHeader header;
	DgTokenStatus status;

	status = dg_token_split(token, len, &parts);
	if (status != DG_TOKEN_OK)
		return status;
	status = dg_token_header_parse(&parts, &header, detail);
	if (status != DG_TOKEN_OK)
		return status;
	if (header.algorithm != dg_token_key_algorithm(key))
		return dg_token_refuse(DG_TOKEN_ALG_MISMATCH, "alg", detail);
	if (ctx->kid != NULL && strcmp(header.kid, ctx->kid) != 0)
		return dg_token_refuse(DG_TOKEN_KID_MISMATCH, "kid", detail);
	status = verify_parts(token, &parts, key);
	if (status != DG_TOKEN_OK)
		return status;
	memcpy(claims->kid, header.kid, sizeof(claims->kid));
	status = parse_claims(&parts, claims, detail);
	if (status != DG_TOKEN_OK)
		return status;
	return dg_token_claims_check(claims, ctx, detail);
}

/*
 * Judge a token with the key of the authority it names.
 *
 * On success *claims says what was signed; on any refusal it is all zero, so
 * that nothing can be taken from it by mistake.  "detail" may be NULL.
 */
DgTokenStatus
dg_token_verify(const char *token, size_t len, const DgTokenKey *key,
				const DgTokenContext *ctx, DgTokenClaims *claims,
				DgTokenDetail *detail)
{
	DgTokenStatus status;

	if (detail != NULL)
		memset(detail, 0, sizeof(*detail));
	if (claims == NULL)
		return DG_TOKEN_BAD_ARGUMENT;
	memset(claims, 0, sizeof(*claims));
	if (key == NULL || !context_is_valid(ctx))
		return DG_TOKEN_BAD_ARGUMENT;
	status = run_checks(token, len, key, ctx, claims, detail);
	if (status != DG_TOKEN_OK)
		memset(claims, 0, sizeof(*claims));
	return status;
}

/*
 * The claims as the signer wrote them, a JSON object in UTF-8, for display of
 * a token that dg_token_verify() has accepted (or, marked as untrusted, of
 * one that it has refused).  jsonsize of DG_TOKEN_MAX_LENGTH is always enough;
 * "json" is filled only on success.
 */
DgTokenStatus
dg_token_payload(const char *token, size_t len, char *json, size_t jsonsize)
{
	char		decoded[DG_TOKEN_MAX_DECODED];
	DgTokenParts parts;
	cJSON	   *tree;
	size_t		need;
	DgTokenStatus status;

	status = dg_token_split(token, len, &parts);
	if (status != DG_TOKEN_OK)
		return status;
	status = parse_payload(&parts, decoded, sizeof(decoded), &tree);
	if (status != DG_TOKEN_OK)
		return status;
	cJSON_Delete(tree);
	need = strlen(decoded) + 1;
	if (json == NULL || jsonsize < need)
		return DG_TOKEN_BAD_ARGUMENT;
	memcpy(json, decoded, need);
	return DG_TOKEN_OK;
}
