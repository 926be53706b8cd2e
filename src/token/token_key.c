/*-------------------------------------------------------------------------
 *
 * token_key.c
 *	  Public keys of authorities.
 *
 * A key arrives as PEM (SubjectPublicKeyInfo) or as JWK.  Both are reduced to
 * an algorithm and a point, and everything else is made from these two: the
 * key OpenSSL verifies with, the canonical PEM and the fingerprint.  So one
 * key has one fingerprint and one PEM, however it was written.
 *
 * A SubjectPublicKeyInfo in DER has no freedom but its point, so it is
 * compared with the constant bytes around it instead of being parsed.  This
 * leaves no room for a curve given by its parameters, which may be P-256 but
 * for its generator.
 *
 * Invariants: a DgTokenKey holds a public key, never a private one; its point
 * is on the curve (P-256), or is not one of those few for which anybody can
 * sign (Ed25519).  It does not change once made.
 *
 * src/token/token_key.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/x509.h>

#include "token/token_internal.h"

#define COORDINATE_SIZE DG_TOKEN_COORDINATE_SIZE

/* The greatest SubjectPublicKeyInfo we make: P-256, uncompressed. */
#define MAX_SPKI_SIZE	91

#define PEM_BEGIN		"-----BEGIN PUBLIC KEY-----"
#define PEM_END			"-----END PUBLIC KEY-----"
#define PEM_LINE		64

struct DgTokenKey
{
	DgTokenAlgorithm algorithm;
	EVP_PKEY   *pkey;
	unsigned char fingerprint[DG_TOKEN_DIGEST_SIZE];
	char		fingerprint_hex[DG_TOKEN_DIGEST_SIZE * 2 + 1];
	char		pem[DG_TOKEN_PEM_SIZE];
};

/* What surrounds the point in a SubjectPublicKeyInfo. */
static const unsigned char ed25519_prefix[] = {
	0x30, 0x2a,					/* sequence */
	0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70,	/* id-Ed25519 */
	0x03, 0x21, 0x00			/* bit string; 32 bytes follow */
};
static const unsigned char p256_prefix[] = {
	0x30, 0x59,
	0x30, 0x13,
	0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,	/* id-ecPublicKey */
	0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, /* prime256v1 */
	0x03, 0x42, 0x00, 0x04		/* bit string; x and y follow */
};
static const unsigned char p256_compressed_prefix[] = {
	0x30, 0x39,
	0x30, 0x13,
	0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
	0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
	0x03, 0x22, 0x00			/* bit string; 2 or 3, and x follow */
};

/*
 * Points of Ed25519 of small order, without the sign of x: for a "public key"
 * among these, a signature that is valid for any message is easily made.
 * Orders 4, 1, 2, 8 and 8.
 */
static const unsigned char weak_points[][COORDINATE_SIZE] = {
	{0x00},
	{0x01},
	{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0,
		0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39,
	0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f,
		0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6,
	0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
};

#define WEAK_POINT_COUNT (sizeof(weak_points) / sizeof(weak_points[0]))

/*
 * May these 32 bytes be an Ed25519 key?  Refused are points of small order
 * and y coordinates that are not below p = 2^255 - 19.
 */
static bool
ed25519_point_is_strong(const unsigned char *point)
{
	unsigned char y[COORDINATE_SIZE];
	size_t		i;

	memcpy(y, point, sizeof(y));
	y[31] &= 0x7f;
	for (i = 0; i < WEAK_POINT_COUNT; i++)
	{
		if (memcmp(y, weak_points[i], sizeof(y)) == 0)
			return false;
	}
	if (y[31] != 0x7f || y[0] < 0xed)
		return true;
	for (i = 1; i < 31; i++)
	{
		if (y[i] != 0xff)
			return true;
	}
	return false;
}

/*
 * Make the EVP_PKEY of an Ed25519 point.
 */
static DgTokenStatus
make_ed25519(DgTokenKey *key, const unsigned char *point)
{
	if (!ed25519_point_is_strong(point))
		return DG_TOKEN_KEY_POINT;
	key->algorithm = DG_TOKEN_ED25519;
	key->pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL,
											point, COORDINATE_SIZE);
	return key->pkey == NULL ? DG_TOKEN_CRYPTO : DG_TOKEN_OK;
}

/*
 * Make the EVP_PKEY of a P-256 point in one of its two octet forms.  OpenSSL
 * refuses one that is not on the curve.
 */
static DgTokenStatus
make_p256(DgTokenKey *key, unsigned char *point, size_t len)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	OSSL_PARAM	params[3];
	char		group[] = "prime256v1";
	DgTokenStatus status = DG_TOKEN_OK;

	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
												 group, 0);
	params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
												  point, len);
	params[2] = OSSL_PARAM_construct_end();

	key->algorithm = DG_TOKEN_ES256;
	if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) <= 0)
		status = DG_TOKEN_CRYPTO;
	else if (EVP_PKEY_fromdata(ctx, &key->pkey, EVP_PKEY_PUBLIC_KEY,
							   params) <= 0)
		status = DG_TOKEN_KEY_POINT;
	EVP_PKEY_CTX_free(ctx);
	return status;
}

/*
 * Get one coordinate of a P-256 key as 32 bytes.
 */
static bool
get_p256_coordinate(const DgTokenKey *key, const char *name,
					unsigned char *out)
{
	BIGNUM	   *bn = NULL;
	bool		ok;

	ok = EVP_PKEY_get_bn_param(key->pkey, name, &bn) > 0 &&
		BN_bn2binpad(bn, out, COORDINATE_SIZE) == COORDINATE_SIZE;
	BN_free(bn);
	return ok;
}

/*
 * Write the canonical SubjectPublicKeyInfo; its length, or 0.
 */
static size_t
build_spki(const DgTokenKey *key, unsigned char *der)
{
	size_t		len = COORDINATE_SIZE;

	if (key->algorithm == DG_TOKEN_ED25519)
	{
		memcpy(der, ed25519_prefix, sizeof(ed25519_prefix));
		der += sizeof(ed25519_prefix);
		if (EVP_PKEY_get_raw_public_key(key->pkey, der, &len) <= 0)
			return 0;
		return sizeof(ed25519_prefix) + len;
	}
	memcpy(der, p256_prefix, sizeof(p256_prefix));
	der += sizeof(p256_prefix);
	if (!get_p256_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, der) ||
		!get_p256_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, der + len))
		return 0;
	return sizeof(p256_prefix) + 2 * len;
}

/*
 * Fill in what is derived from the point: PEM and fingerprint.
 */
static DgTokenStatus
derive_texts(DgTokenKey *key)
{
	unsigned char der[MAX_SPKI_SIZE];
	char		base64[(MAX_SPKI_SIZE + 2) / 3 * 4 + 1];
	size_t		der_len = build_spki(key, der);
	size_t		base64_len;
	size_t		i;
	char	   *p = key->pem;

	if (der_len == 0 ||
		EVP_Digest(der, der_len, key->fingerprint, NULL, EVP_sha256(),
				   NULL) <= 0)
		return DG_TOKEN_CRYPTO;
	dg_token_hex_encode(key->fingerprint, sizeof(key->fingerprint),
						key->fingerprint_hex);

	base64_len = dg_token_base64_encode(der, der_len, base64, sizeof(base64));
	p = stpcpy(p, PEM_BEGIN "\n");
	for (i = 0; i < base64_len; i += PEM_LINE)
	{
		size_t		n = base64_len - i;

		if (n > PEM_LINE)
			n = PEM_LINE;
		memcpy(p, base64 + i, n);
		p += n;
		*p++ = '\n';
	}
	strcpy(p, PEM_END "\n");
	return DG_TOKEN_OK;
}

/* Does der consist of this prefix and "rest" more bytes? */
static bool
has_form(const unsigned char *der, size_t len,
		 const unsigned char *prefix, size_t prefix_len, size_t rest)
{
	return len == prefix_len + rest && memcmp(der, prefix, prefix_len) == 0;
}

/*
 * Is this some other public key, or no key at all?  For the message only.
 */
static DgTokenStatus
classify_spki(const unsigned char *der, size_t len)
{
	const unsigned char *p = der;
	EVP_PKEY   *pkey = d2i_PUBKEY(NULL, &p, (long) len);
	bool		whole = pkey != NULL && p == der + len;

	EVP_PKEY_free(pkey);
	return whole ? DG_TOKEN_KEY_UNSUPPORTED : DG_TOKEN_KEY_FORMAT;
}

static DgTokenStatus
make_from_spki(DgTokenKey *key, unsigned char *der, size_t len)
{
	if (has_form(der, len, ed25519_prefix, sizeof(ed25519_prefix),
				 COORDINATE_SIZE))
		return make_ed25519(key, der + sizeof(ed25519_prefix));

	/* the 4 that announces both coordinates is the prefix's last byte */
	if (has_form(der, len, p256_prefix, sizeof(p256_prefix),
				 2 * COORDINATE_SIZE))
		return make_p256(key, der + sizeof(p256_prefix) - 1,
						 2 * COORDINATE_SIZE + 1);
	if (has_form(der, len, p256_compressed_prefix,
				 sizeof(p256_compressed_prefix), COORDINATE_SIZE + 1) &&
		(der[sizeof(p256_compressed_prefix)] | 1) == 3)
		return make_p256(key, der + sizeof(p256_compressed_prefix),
						 COORDINATE_SIZE + 1);
	return classify_spki(der, len);
}

static bool
is_pem_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Does this text, which need not end in NUL, contain the string? */
static bool
text_contains(const char *text, size_t len, const char *string)
{
	size_t		n = strlen(string);
	size_t		i;

	for (i = 0; i + n <= len; i++)
	{
		if (memcmp(text + i, string, n) == 0)
			return true;
	}
	return false;
}

/*
 * Read one PEM block "PUBLIC KEY".  text begins and ends with a character
 * that is no white space; nothing may stand before or after the block.
 */
static DgTokenStatus
make_from_pem(DgTokenKey *key, const char *text, size_t len)
{
	char		base64[DG_TOKEN_MAX_KEY_LENGTH];
	unsigned char der[DG_TOKEN_MAX_KEY_LENGTH];
	size_t		begin_len = strlen(PEM_BEGIN);
	size_t		end_len = strlen(PEM_END);
	size_t		base64_len = 0;
	size_t		der_len;
	size_t		i;

	if (text_contains(text, len, "PRIVATE KEY-----"))
		return DG_TOKEN_KEY_PRIVATE;
	if (text_contains(text, len, "-----BEGIN RSA PUBLIC KEY-----"))
		return DG_TOKEN_KEY_UNSUPPORTED;
	if (len < begin_len + end_len ||
		memcmp(text, PEM_BEGIN, begin_len) != 0 ||
		memcmp(text + len - end_len, PEM_END, end_len) != 0)
		return DG_TOKEN_KEY_FORMAT;
	for (i = begin_len; i < len - end_len; i++)
	{
		if (!is_pem_space(text[i]))
			base64[base64_len++] = text[i];
	}
	if (!dg_token_base64_decode(base64, base64_len, der, sizeof(der), &der_len))
		return DG_TOKEN_KEY_FORMAT;
	return make_from_spki(key, der, der_len);
}

static DgTokenStatus
make_from_jwk(DgTokenKey *key, const char *text, size_t len,
			  DgTokenDetail *detail)
{
	unsigned char point[2 * COORDINATE_SIZE + 1];
	DgTokenAlgorithm algorithm;
	DgTokenStatus status;

	point[0] = 0x04;
	status = dg_token_jwk_parse(text, len, &algorithm, point + 1,
								point + 1 + COORDINATE_SIZE, detail);
	if (status != DG_TOKEN_OK)
		return status;
	if (algorithm == DG_TOKEN_ED25519)
		return make_ed25519(key, point + 1);
	return make_p256(key, point, sizeof(point));
}

/*
 * Parse a public key, PEM or JWK, with white space around it or not.  On
 * success *key is the caller's to free with dg_token_key_free(); on failure it
 * is NULL.  "detail" may be NULL.
 */
DgTokenStatus
dg_token_key_parse(const char *text, size_t len, DgTokenKey **key,
				   DgTokenDetail *detail)
{
	DgTokenKey *result;
	DgTokenStatus status;

	if (detail != NULL)
		memset(detail, 0, sizeof(*detail));
	if (key == NULL)
		return DG_TOKEN_BAD_ARGUMENT;
	*key = NULL;
	if (text == NULL && len > 0)
		return DG_TOKEN_BAD_ARGUMENT;
	if (len > DG_TOKEN_MAX_KEY_LENGTH)
		return DG_TOKEN_KEY_TOO_LONG;
	for (; len > 0 && is_pem_space(text[0]); len--)
		text++;
	while (len > 0 && is_pem_space(text[len - 1]))
		len--;
	if (len == 0)
		return DG_TOKEN_KEY_EMPTY;

	result = calloc(1, sizeof(*result));
	if (result == NULL)
		return DG_TOKEN_NO_MEMORY;
	ERR_clear_error();
	if (text[0] == '{')
		status = make_from_jwk(result, text, len, detail);
	else
		status = make_from_pem(result, text, len);
	if (status == DG_TOKEN_OK)
		status = derive_texts(result);
	ERR_clear_error();
	if (status == DG_TOKEN_OK)
		*key = result;
	else
		dg_token_key_free(result);
	return status;
}

/*
 * Free a key.  NULL is allowed.
 */
void
dg_token_key_free(DgTokenKey *key)
{
	if (key == NULL)
		return;
	EVP_PKEY_free(key->pkey);
	free(key);
}

/*
 * By which algorithm the key signs.
 */
DgTokenAlgorithm
dg_token_key_algorithm(const DgTokenKey *key)
{
	return key->algorithm;
}

/*
 * "Ed25519" or "ES256"; a constant.
 */
const char *
dg_token_key_algorithm_name(const DgTokenKey *key)
{
	return key->algorithm == DG_TOKEN_ED25519 ? "Ed25519" : "ES256";
}

/*
 * The key as canonical PEM, with a final newline.  Lives as long as the key.
 */
const char *
dg_token_key_pem(const DgTokenKey *key)
{
	return key->pem;
}

/*
 * SHA-256 of the canonical DER, as 64 hexadecimal digits: what
 * "openssl pkey -pubin -outform DER | sha256sum" prints.  Lives as long as the
 * key.
 */
const char *
dg_token_key_fingerprint(const DgTokenKey *key)
{
	return key->fingerprint_hex;
}

/*
 * The fingerprint as DG_TOKEN_DIGEST_SIZE bytes, for DgTokenClaims.fingerprint.
 * Lives as long as the key.
 */
const unsigned char *
dg_token_key_fingerprint_bytes(const DgTokenKey *key)
{
	return key->fingerprint;
}

/*
 * The key as OpenSSL has it; it lasts as long as the key.
 */
EVP_PKEY *
dg_token_key_pkey(const DgTokenKey *key)
{
	return key->pkey;
}
