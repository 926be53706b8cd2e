/*-------------------------------------------------------------------------
 *
 * token_maker.h
 *	  Makes tokens, good and bad, for the tests of the token library.
 *
 * Everything here aborts on failure: a test that cannot make its input has
 * nothing to say.  Strings returned are malloc'd and the caller's to free.
 *
 * test/unit/token_maker.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DG_TOKEN_MAKER_H
#define DG_TOKEN_MAKER_H

#include <stdarg.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include "token/token_internal.h"
#include "unit.h"

#define NOW INT64_C(1700000000)
#define AUDIENCE "7123456789012345678/shop"
#define KID "legal"
#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

#define REQUIRE(cond) \
	do { \
		if (!(cond)) \
		{ \
			fprintf(stderr, "%s:%d: cannot: %s\n", __FILE__, __LINE__, #cond); \
			abort(); \
		} \
	} while (0)

static UNIT_MAYBE_UNUSED char *
format(const char *fmt,...)
{
	va_list		args;
	char	   *result;
	int			n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	REQUIRE(n >= 0);
	result = malloc((size_t) n + 1);
	REQUIRE(result != NULL);
	va_start(args, fmt);
	vsnprintf(result, (size_t) n + 1, fmt, args);
	va_end(args);
	return result;
}

/* base64url without padding */
static UNIT_MAYBE_UNUSED char *
base64url(const void *data, size_t len)
{
	size_t		size = (len + 2) / 3 * 4 + 1;
	char	   *result = malloc(size);
	char	   *p;

	REQUIRE(result != NULL);
	dg_token_base64_encode(data, len, result, size);
	for (p = result; *p != '\0'; p++)
	{
		if (*p == '+')
			*p = '-';
		else if (*p == '/')
			*p = '_';
	}
	p = strchr(result, '=');
	if (p != NULL)
		*p = '\0';
	return result;
}

static UNIT_MAYBE_UNUSED EVP_PKEY *
new_ed25519(void)
{
	EVP_PKEY   *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

	REQUIRE(pkey != NULL);
	return pkey;
}

static UNIT_MAYBE_UNUSED EVP_PKEY *
new_ec(const char *curve)
{
	EVP_PKEY   *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve);

	REQUIRE(pkey != NULL);
	return pkey;
}

static UNIT_MAYBE_UNUSED char *
bio_to_string(BIO *bio)
{
	char	   *data;
	long		len = BIO_get_mem_data(bio, &data);
	char	   *result = malloc((size_t) len + 1);

	REQUIRE(len > 0 && result != NULL);
	memcpy(result, data, (size_t) len);
	result[len] = '\0';
	BIO_free(bio);
	return result;
}

static UNIT_MAYBE_UNUSED char *
public_pem(EVP_PKEY *pkey)
{
	BIO		   *bio = BIO_new(BIO_s_mem());

	REQUIRE(PEM_write_bio_PUBKEY(bio, pkey) > 0);
	return bio_to_string(bio);
}

static UNIT_MAYBE_UNUSED char *
private_pem(EVP_PKEY *pkey)
{
	BIO		   *bio = BIO_new(BIO_s_mem());

	REQUIRE(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) > 0);
	return bio_to_string(bio);
}

static UNIT_MAYBE_UNUSED DgTokenKey *
public_key(EVP_PKEY *pkey)
{
	char	   *pem = public_pem(pkey);
	DgTokenKey *key;

	REQUIRE(dg_token_key_parse(pem, strlen(pem), &key, NULL) == DG_TOKEN_OK);
	free(pem);
	return key;
}

/*
 * Sign into 64 raw bytes with either kind of key.
 */
static UNIT_MAYBE_UNUSED void
sign_raw(EVP_PKEY *pkey, const char *data, size_t len, unsigned char *raw)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool		ecdsa = EVP_PKEY_is_a(pkey, "EC");
	unsigned char sig[160];
	size_t		siglen = sizeof(sig);

	REQUIRE(EVP_DigestSignInit(ctx, NULL, ecdsa ? EVP_sha256() : NULL, NULL,
							   pkey) > 0);
	REQUIRE(EVP_DigestSign(ctx, sig, &siglen, (const unsigned char *) data,
						   len) > 0);
	EVP_MD_CTX_free(ctx);
	if (ecdsa)
	{
		const unsigned char *p = sig;
		ECDSA_SIG  *parsed = d2i_ECDSA_SIG(NULL, &p, (long) siglen);

		REQUIRE(parsed != NULL);
		REQUIRE(BN_bn2binpad(ECDSA_SIG_get0_r(parsed), raw, 32) == 32);
		REQUIRE(BN_bn2binpad(ECDSA_SIG_get0_s(parsed), raw + 32, 32) == 32);
		ECDSA_SIG_free(parsed);
	}
	else
	{
		REQUIRE(siglen == 64);
		memcpy(raw, sig, 64);
	}
}

/*
 * Sign header and payload bytes, whatever they are.
 */
static UNIT_MAYBE_UNUSED char *
sign_bytes(EVP_PKEY *pkey, const char *header, const void *payload,
		   size_t payload_len)
{
	char	   *h = base64url(header, strlen(header));
	char	   *p = base64url(payload, payload_len);
	char	   *input = format("%s.%s", h, p);
	unsigned char raw[64];
	char	   *s;
	char	   *token;

	sign_raw(pkey, input, strlen(input), raw);
	s = base64url(raw, sizeof(raw));
	token = format("%s.%s", input, s);
	free(h);
	free(p);
	free(input);
	free(s);
	return token;
}

static UNIT_MAYBE_UNUSED char *
sign_json(EVP_PKEY *pkey, const char *header, const char *payload)
{
	return sign_bytes(pkey, header, payload, strlen(payload));
}

/* The header a well-behaved signer writes. */
static UNIT_MAYBE_UNUSED const char *
good_header(EVP_PKEY *pkey)
{
	return EVP_PKEY_is_a(pkey, "EC") ?
		"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"" KID "\"}" :
		"{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"" KID "\"}";
}

/* Claims every act has, valid at NOW; to be put into an object. */
#define COMMON_CLAIMS \
	"\"aud\":\"" AUDIENCE "\",\"jti\":\"0f3c\"," \
	"\"iat\":1699999990,\"nbf\":1699999990,\"exp\":1700000590"
#define PURGE_ONLY_CLAIMS \
	"\"tenant\":\"17\",\"tenant_name\":\"Acme\",\"request\":4," \
	"\"digest\":\"" DIGEST "\",\"rows\":1200,\"reason\":\"contract ended\""
#define PURGE_CLAIMS \
	"{\"act\":\"purge\"," COMMON_CLAIMS "," PURGE_ONLY_CLAIMS "}"

static UNIT_MAYBE_UNUSED DgTokenContext
good_context(void)
{
	DgTokenContext ctx;

	memset(&ctx, 0, sizeof(ctx));
	ctx.audience = AUDIENCE;
	ctx.now = NOW;
	ctx.clock_skew = DG_TOKEN_DEFAULT_CLOCK_SKEW;
	return ctx;
}

/*
 * Verify in the good context; the reason is returned.
 */
static UNIT_MAYBE_UNUSED const char *
verdict(const char *token, const DgTokenKey *key)
{
	DgTokenContext ctx = good_context();
	DgTokenClaims claims;
	DgTokenStatus status;

	status = dg_token_verify(token, strlen(token), key, &ctx, &claims, NULL);
	if (status != DG_TOKEN_OK)
		CHECK(claims.act == DG_TOKEN_ACT_NONE && claims.jti[0] == '\0');
	CHECK(ERR_peek_error() == 0);
	return dg_token_status_reason(status);
}

/*
 * Memory for cJSON that fails after so many requests.
 */
static UNIT_MAYBE_UNUSED int allocations_left;

static UNIT_MAYBE_UNUSED void *
failing_malloc(size_t size)
{
	return allocations_left-- > 0 ? malloc(size) : NULL;
}

#endif							/* DG_TOKEN_MAKER_H */
