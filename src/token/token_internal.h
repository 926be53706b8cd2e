/*-------------------------------------------------------------------------
 *
 * token_internal.h
 *	  What the files of the token library share with each other only.
 *
 * src/token/token_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DG_TOKEN_INTERNAL_H
#define DG_TOKEN_INTERNAL_H

#include <cjson/cJSON.h>

#include "token/token.h"

/* Bytes that a part of a token can decode to, and one for a NUL. */
#define DG_TOKEN_MAX_DECODED	(DG_TOKEN_MAX_LENGTH / 4 * 3 + 1)

/* Both kinds of signature, and the raw form of both kinds of key. */
#define DG_TOKEN_SIGNATURE_SIZE 64
#define DG_TOKEN_COORDINATE_SIZE 32

/* A compact token taken apart.  The pointers point into the token. */
typedef struct DgTokenParts
{
	const char *header;
	size_t		header_len;
	const char *payload;
	size_t		payload_len;
	const char *signature;
	size_t		signature_len;
	size_t		signed_len;		/* bytes of the token that are signed */
} DgTokenParts;

/* What the header says, once it is known to say nothing else. */
typedef struct DgTokenHeader
{
	DgTokenAlgorithm algorithm;
	char		kid[DG_TOKEN_MAX_NAME + 1];
} DgTokenHeader;

/* token_base64.c */
extern bool dg_token_base64url_decode(const char *text, size_t len,
									  unsigned char *out, size_t outsize,
									  size_t *outlen);
extern bool dg_token_base64_decode(const char *text, size_t len,
								   unsigned char *out, size_t outsize,
								   size_t *outlen);
extern size_t dg_token_base64_encode(const unsigned char *data, size_t len,
									 char *out, size_t outsize);
extern bool dg_token_hex_decode(const char *text, size_t len,
								unsigned char *out, size_t outsize);
extern void dg_token_hex_encode(const unsigned char *data, size_t len,
								char *out);

/* token_json.c */
extern DgTokenStatus dg_token_json_check(const char *text, size_t len);
extern DgTokenStatus dg_token_json_parse(const char *text, size_t len,
										 cJSON **tree);
extern const cJSON *dg_token_json_member(const cJSON *object, const char *name);
extern bool dg_token_json_integer(const cJSON *item, int64_t *value);

/* token_header.c */
extern DgTokenStatus dg_token_split(const char *token, size_t len,
									DgTokenParts *parts);
extern DgTokenStatus dg_token_header_parse(const DgTokenParts *parts,
										   DgTokenHeader *header,
										   DgTokenDetail *detail);

/* token_claims.c */
extern DgTokenStatus dg_token_claims_parse(const cJSON *tree,
										   DgTokenClaims *claims,
										   DgTokenDetail *detail);
extern DgTokenStatus dg_token_claims_check(const DgTokenClaims *claims,
										   const DgTokenContext *ctx,
										   DgTokenDetail *detail);

/* token_key.c: an EVP_PKEY, which only the two OpenSSL files know */
extern struct evp_pkey_st *dg_token_key_pkey(const DgTokenKey *key);
extern DgTokenStatus dg_token_jwk_parse(const char *text, size_t len,
										DgTokenAlgorithm *algorithm,
										unsigned char *x, unsigned char *y,
										DgTokenDetail *detail);

/* token_verify.c */
extern DgTokenStatus dg_token_signature_verify(const DgTokenKey *key,
											   const unsigned char *signature,
											   size_t signature_len,
											   const unsigned char *data,
											   size_t data_len);

/*
 * Note which claim, parameter or member a refusal is about.  "name" must be
 * a constant of ours, never something out of a token.
 */
static inline DgTokenStatus
dg_token_refuse(DgTokenStatus status, const char *name, DgTokenDetail *detail)
{
	if (detail != NULL)
		detail->name = name;
	return status;
}

#endif							/* DG_TOKEN_INTERNAL_H */
