/*-------------------------------------------------------------------------
 *
 * test_token_key.c
 *	  Which public keys are taken, and that each has one identity.
 *
 * test/unit/test_token_key.c
 *
 *-------------------------------------------------------------------------
 */
#include <openssl/x509.h>

#include "token_maker.h"

/* RFC 8037, appendix A.2 */
#define RFC8037_X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define RFC8037_D "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"

/* RFC 7515, appendix A.3.1 */
#define RFC7515_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define RFC7515_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define RFC7515_D "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"

#define ED_JWK "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" RFC8037_X "\""
#define EC_JWK "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_X "\",\"y\":\"" RFC7515_Y "\""

static const char *
parse_bytes(const char *text, size_t len)
{
	DgTokenKey *key;
	DgTokenDetail detail;
	DgTokenStatus status;

	status = dg_token_key_parse(text, len, &key, &detail);
	CHECK((status == DG_TOKEN_OK) == (key != NULL));
	CHECK(ERR_peek_error() == 0);
	dg_token_key_free(key);
	return dg_token_status_reason(status);
}

static const char *
parse(const char *text)
{
	return parse_bytes(text, strlen(text));
}

/* Parse and free the text. */
static const char *
parse_free(char *text)
{
	const char *reason = parse(text);

	free(text);
	return reason;
}

static char *
pem_of(const unsigned char *der, size_t len)
{
	char		base64[4096];

	REQUIRE(dg_token_base64_encode(der, len, base64, sizeof(base64)) > 0);
	return format("-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n",
				  base64);
}

/* The JWK of a key of ours; "extra" goes between the members. */
static char *
jwk_of(EVP_PKEY *pkey, const char *extra)
{
	unsigned char point[64];
	size_t		len = 32;
	char	   *x;
	char	   *y;
	char	   *jwk;

	if (EVP_PKEY_is_a(pkey, "EC"))
	{
		BIGNUM	   *bn = NULL;

		REQUIRE(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_PUB_X, &bn));
		BN_bn2binpad(bn, point, 32);
		REQUIRE(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, &bn));
		BN_bn2binpad(bn, point + 32, 32);
		BN_free(bn);
		x = base64url(point, 32);
		y = base64url(point + 32, 32);
		jwk = format("{\"kty\":\"EC\",\"crv\":\"P-256\"%s,\"x\":\"%s\",\"y\":\"%s\"}",
					 extra, x, y);
		free(y);
	}
	else
	{
		REQUIRE(EVP_PKEY_get_raw_public_key(pkey, point, &len));
		x = base64url(point, 32);
		jwk = format("{\"kty\":\"OKP\",\"crv\":\"Ed25519\"%s,\"x\":\"%s\"}",
					 extra, x);
	}
	free(x);
	return jwk;
}

/* PEM and JWK of one key are one key, with OpenSSL's own PEM. */
UNIT_TEST(one_identity)
{
	int			i;

	for (i = 0; i < 20; i++)
	{
		EVP_PKEY   *pkey = i % 2 == 0 ? new_ed25519() : new_ec("P-256");
		char	   *pem = public_pem(pkey);
		char	   *jwk = jwk_of(pkey, "");
		char	   *spaced = format(" \r\n%s\n\n", pem);
		unsigned char *der = NULL;
		int			der_len = i2d_PUBKEY(pkey, &der);
		unsigned char digest[32];
		DgTokenKey *from_pem;
		DgTokenKey *from_jwk;

		REQUIRE(dg_token_key_parse(spaced, strlen(spaced), &from_pem, NULL) == DG_TOKEN_OK);
		REQUIRE(dg_token_key_parse(jwk, strlen(jwk), &from_jwk, NULL) == DG_TOKEN_OK);
		CHECK_STR_EQ(dg_token_key_pem(from_pem), pem);
		CHECK_STR_EQ(dg_token_key_pem(from_jwk), pem);
		CHECK_STR_EQ(dg_token_key_fingerprint(from_jwk),
					 dg_token_key_fingerprint(from_pem));
		EVP_Digest(der, (size_t) der_len, digest, NULL, EVP_sha256(), NULL);
		CHECK_MEM_EQ(dg_token_key_fingerprint_bytes(from_pem), digest, 32);
		CHECK_INT_EQ(dg_token_key_algorithm(from_pem),
					 i % 2 == 0 ? DG_TOKEN_ED25519 : DG_TOKEN_ES256);
		CHECK_STR_EQ(dg_token_key_algorithm_name(from_jwk),
					 i % 2 == 0 ? "Ed25519" : "ES256");
		dg_token_key_free(from_pem);
		dg_token_key_free(from_jwk);
		OPENSSL_free(der);
		free(pem);
		free(jwk);
		free(spaced);
		EVP_PKEY_free(pkey);
	}
}

UNIT_TEST(compressed_point)
{
	int			i;

	for (i = 0; i < 16; i++)
	{
		EVP_PKEY   *pkey = new_ec("P-256");
		char	   *plain = public_pem(pkey);
		char	   *compressed;
		DgTokenKey *key;

		REQUIRE(EVP_PKEY_set_utf8_string_param(pkey,
											   OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
											   "compressed"));
		compressed = public_pem(pkey);
		CHECK(strlen(compressed) < strlen(plain));
		CHECK_INT_EQ(dg_token_key_parse(compressed, strlen(compressed), &key, NULL),
					 DG_TOKEN_OK);
		CHECK_STR_EQ(dg_token_key_pem(key), plain);
		dg_token_key_free(key);

		REQUIRE(EVP_PKEY_set_utf8_string_param(pkey,
											   OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
											   "hybrid"));
		CHECK(strcmp(parse_free(public_pem(pkey)), "ok") != 0);
		free(plain);
		free(compressed);
		EVP_PKEY_free(pkey);
	}
}

UNIT_TEST(jwk_accepted)
{
	CHECK_STR_EQ(parse("{" ED_JWK "}"), "ok");
	CHECK_STR_EQ(parse(" {" EC_JWK "}\n"), "ok");
	CHECK_STR_EQ(parse("{" ED_JWK ",\"use\":\"sig\",\"alg\":\"EdDSA\",\"kid\":\"1\"}"), "ok");
	CHECK_STR_EQ(parse("{" ED_JWK ",\"alg\":\"Ed25519\",\"ext\":true}"), "ok");
	CHECK_STR_EQ(parse("{" EC_JWK ",\"alg\":\"ES256\",\"key_ops\":[\"verify\"]}"), "ok");
}

UNIT_TEST(jwk_refused)
{
	static const char *const member[] = {
		"{}", "{\"kty\":1}", "{\"kty\":\"OKP\"}", "{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}",
		"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":1}",
		"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"\"}",
		"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" RFC8037_X "A\"}",
		"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" RFC8037_X "=\"}",
		"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
		"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp\"}",
		"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_X "\"}",
		"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_X "\",\"y\":\"AA\"}",
		"{" ED_JWK ",\"use\":\"enc\"}", "{" ED_JWK ",\"use\":null}", "{" ED_JWK ",\"alg\":\"ES256\"}",
		"{" EC_JWK ",\"alg\":\"EdDSA\"}", "{" EC_JWK ",\"alg\":\"HS256\"}", "{" EC_JWK ",\"key_ops\":[\"sign\"]}",
		"{" EC_JWK ",\"key_ops\":\"verify\"}", "{" EC_JWK ",\"key_ops\":{\"a\":\"verify\"}}", "{" EC_JWK ",\"key_ops\":[]}",
		NULL
	};
	static const char *const unsupported[] = {
		"{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", "{\"kty\":\"ec\",\"crv\":\"P-256\"}",
		"{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AA\",\"y\":\"AA\"}", "{\"kty\":\"EC\",\"crv\":\"secp256k1\"}",
		"{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" RFC8037_X "\"}", "{\"kty\":\"OKP\",\"crv\":\"Ed448\"}",
		"{\"kty\":\"OKP\",\"crv\":\"P-256\"}", "{\"kty\":\"EC\",\"crv\":\"Ed25519\"}", NULL
	};
	int			i;

	for (i = 0; member[i] != NULL; i++)
		CHECK_MSG(strcmp(parse(member[i]), "key_member") == 0, "%s", member[i]);
	for (i = 0; unsupported[i] != NULL; i++)
		CHECK_MSG(strcmp(parse(unsupported[i]), "key_unsupported") == 0, "%s",
				  unsupported[i]);
	CHECK_STR_EQ(parse("{" ED_JWK ",\"d\":\"" RFC8037_D "\"}"), "key_private");
	CHECK_STR_EQ(parse("{" EC_JWK ",\"d\":\"" RFC7515_D "\"}"), "key_private");
	CHECK_STR_EQ(parse("{\"kty\":\"RSA\",\"p\":\"AQAB\"}"), "key_private");
	CHECK_STR_EQ(parse("{\"kty\":\"oct\",\"k\":\"AQAB\"}"), "key_symmetric");
	CHECK_STR_EQ(parse("{" ED_JWK ",\"k\":\"AQAB\"}"), "key_symmetric");
	CHECK_STR_EQ(parse("{" ED_JWK ",\"x\":\"" RFC8037_X "\"}"), "duplicate_name");
	CHECK_STR_EQ(parse("{" ED_JWK "}{}"), "bad_json");
	CHECK_STR_EQ(parse("{\"keys\":[{" ED_JWK "}]}"), "key_member");
	CHECK_STR_EQ(parse_bytes("{" ED_JWK "}\0", sizeof("{" ED_JWK "}")), "nul_character");
}

/* The detail names the member, and never anything out of the key. */
UNIT_TEST(jwk_detail)
{
	const char *jwk = "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_X "\",\"y\":\"secret\"}";
	DgTokenDetail detail;
	DgTokenKey *key;

	CHECK_INT_EQ(dg_token_key_parse(jwk, strlen(jwk), &key, &detail),
				 DG_TOKEN_KEY_MEMBER);
	CHECK_STR_EQ(detail.name, "y");
}

UNIT_TEST(pem_refused)
{
	EVP_PKEY   *pkey = new_ed25519();
	char	   *pem = public_pem(pkey);
	char	   *private = private_pem(pkey);
	char	   *end = strstr(pem, "-----END");
	char	   *half;

	CHECK_STR_EQ(parse(""), "key_empty");
	CHECK_STR_EQ(parse(" \n"), "key_empty");
	CHECK_STR_EQ(parse(private), "key_private");
	CHECK_STR_EQ(parse_free(format("%s%s", pem, private)), "key_private");
	CHECK_STR_EQ(parse("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"), "key_private");
	CHECK_STR_EQ(parse("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), "key_private");
	CHECK_STR_EQ(parse_free(format("%s%s", pem, pem)), "key_format");
	CHECK_STR_EQ(parse_free(format("x%s", pem)), "key_format");
	CHECK_STR_EQ(parse_free(format("%sx", pem)), "key_format");
	CHECK_STR_EQ(parse("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAA me"), "key_format");
	CHECK_STR_EQ(parse("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "key_format");
	CHECK_STR_EQ(parse("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"), "key_format");
	CHECK_STR_EQ(parse("-----BEGIN PUBLIC KEY-----END PUBLIC KEY-----"), "key_format");
	CHECK_STR_EQ(parse("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), "key_format");
	CHECK_STR_EQ(parse("-----BEGIN PUBLIC KEY-----\nProc-Type: 4\n\nAAAA\n-----END PUBLIC KEY-----\n"), "key_format");
	CHECK_STR_EQ(parse_bytes(pem, (size_t) (end - pem)), "key_format");
	half = format("%.*s", (int) (end - pem) - 5, pem);
	CHECK_STR_EQ(parse_free(format("%s\n-----END PUBLIC KEY-----", half)), "key_format");
	CHECK_STR_EQ(parse_bytes("\0", 1), "key_format");
	free(half);
	half = malloc(DG_TOKEN_MAX_KEY_LENGTH + 1);
	memset(half, ' ', DG_TOKEN_MAX_KEY_LENGTH + 1);
	CHECK_STR_EQ(parse_bytes(half, DG_TOKEN_MAX_KEY_LENGTH + 1), "key_too_long");
	CHECK_STR_EQ(parse_bytes(half, DG_TOKEN_MAX_KEY_LENGTH), "key_empty");
	half[0] = '{';
	CHECK_STR_EQ(parse_bytes(half, DG_TOKEN_MAX_KEY_LENGTH), "bad_json");
	free(half);
	free(pem);
	free(private);
	EVP_PKEY_free(pkey);
}

UNIT_TEST(other_algorithms_refused)
{
	EVP_PKEY   *pkey;
	static const char *const curves[] = {"P-384", "P-521", "secp256k1"};
	static const char *const kinds[] = {"X25519", "ED448", "X448"};
	int			i;

	for (i = 0; i < 3; i++)
	{
		pkey = new_ec(curves[i]);
		CHECK_STR_EQ(parse_free(public_pem(pkey)), "key_unsupported");
		EVP_PKEY_free(pkey);
		pkey = EVP_PKEY_Q_keygen(NULL, NULL, kinds[i]);
		CHECK_STR_EQ(parse_free(public_pem(pkey)), "key_unsupported");
		EVP_PKEY_free(pkey);
	}
	pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t) 2048);
	CHECK_STR_EQ(parse_free(public_pem(pkey)), "key_unsupported");
	EVP_PKEY_free(pkey);
	CHECK_STR_EQ(parse("-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n"),
				 "key_unsupported");
}

/* P-256 spelt out by its parameters is not taken for P-256. */
UNIT_TEST(explicit_curve_refused)
{
	EVP_PKEY   *pkey = new_ec("P-256");

	REQUIRE(EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_ENCODING,
										   "explicit"));
	CHECK_STR_EQ(parse_free(public_pem(pkey)), "key_unsupported");
	EVP_PKEY_free(pkey);
}

UNIT_TEST(bad_points)
{
	static const char *const weak_y[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
	};
	unsigned char point[64];
	size_t		i;
	char	   *x;

	for (i = 0; i < sizeof(weak_y) / sizeof(weak_y[0]); i++)
	{
		REQUIRE(dg_token_hex_decode(weak_y[i], 64, point, 32));
		x = base64url(point, 32);
		CHECK_STR_EQ(parse_free(format("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"}", x)),
					 "key_point");
		free(x);
	}
	/* off the curve, zero, and a coordinate beyond the field */
	CHECK_STR_EQ(parse("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_Y "\",\"y\":\"" RFC7515_X "\"}"), "key_point");
	CHECK_STR_EQ(parse("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}"), "key_point");
	CHECK_STR_EQ(parse("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" RFC7515_X "\",\"y\":\"__________________________________________8\"}"), "key_point");
}

/* Every byte of the DER flipped: another point, or refused. */
UNIT_TEST(mutated_der)
{
	int			kind;

	for (kind = 0; kind < 2; kind++)
	{
		EVP_PKEY   *pkey = kind == 0 ? new_ed25519() : new_ec("P-256");
		unsigned char *der = NULL;
		int			len = i2d_PUBKEY(pkey, &der);
		int			point_len = kind == 0 ? 32 : 64;
		int			i;

		for (i = 0; i < len; i++)
		{
			int			bit;

			for (bit = 0; bit < 8; bit++)
			{
				const char *reason;

				der[i] ^= (unsigned char) (1 << bit);
				reason = parse_free(pem_of(der, (size_t) len));
				if (kind == 1 && i >= len - point_len)
					CHECK_STR_EQ(reason, "key_point");
				else if (i < len - point_len)
					CHECK(strcmp(reason, "ok") != 0);
				der[i] ^= (unsigned char) (1 << bit);
			}
		}
		der = OPENSSL_realloc(der, (size_t) len + 1);
		der[len] = 0;
		CHECK_STR_EQ(parse_free(pem_of(der, (size_t) len + 1)), "key_format");
		for (i = 1; i < len; i++)
			CHECK(strcmp(parse_free(pem_of(der, (size_t) i)), "ok") != 0);
		OPENSSL_free(der);
		EVP_PKEY_free(pkey);
	}
}

UNIT_TEST(bad_arguments)
{
	DgTokenKey *key = (DgTokenKey *) &key;

	CHECK_INT_EQ(dg_token_key_parse(NULL, 1, &key, NULL), DG_TOKEN_BAD_ARGUMENT);
	CHECK(key == NULL);
	CHECK_INT_EQ(dg_token_key_parse(NULL, 0, &key, NULL), DG_TOKEN_KEY_EMPTY);
	CHECK_INT_EQ(dg_token_key_parse("x", 1, NULL, NULL), DG_TOKEN_BAD_ARGUMENT);
	dg_token_key_free(NULL);
}

/* A library that does not offer an algorithm is said to be just that. */
UNIT_TEST(algorithm_unavailable)
{
	REQUIRE(EVP_set_default_properties(NULL, "provider=none") > 0);
	CHECK_STR_EQ(parse("{" EC_JWK "}"), "crypto");
	CHECK_STR_EQ(parse("{" ED_JWK "}"), "crypto");
	REQUIRE(EVP_set_default_properties(NULL, "") > 0);
	CHECK_STR_EQ(parse("{" EC_JWK "}"), "ok");
}

int
main(void)
{
	RUN(one_identity);
	RUN(compressed_point);
	RUN(jwk_accepted);
	RUN(jwk_refused);
	RUN(jwk_detail);
	RUN(pem_refused);
	RUN(other_algorithms_refused);
	RUN(explicit_curve_refused);
	RUN(bad_points);
	RUN(mutated_der);
	RUN(bad_arguments);
	RUN(algorithm_unavailable);
	return unit_done();
}
