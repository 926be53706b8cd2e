/*-------------------------------------------------------------------------
 *
 * test_token_verify.c
 *	  Signatures, headers and every attack on JWTs that has a name.
 *
 * Published vectors are those of RFC 8037, appendix A.4, and of RFC 7515,
 * appendix A.3.  Comments such as "2.1" refer to RFC 8725.
 *
 * test/unit/test_token_verify.c
 *
 *-------------------------------------------------------------------------
 */
#include "token_maker.h"

#define ED_JWK \
	"{\"kty\":\"OKP\",\"crv\":\"Ed25519\"," \
	"\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"
#define EC_JWK \
	"{\"kty\":\"EC\",\"crv\":\"P-256\"," \
	"\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"," \
	"\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"

#define RFC8037_JWS \
	"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc." \
	"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt" \
	"9g7sVvpAr_MuM0KAg"
#define RFC7515_JWS \
	"eyJhbGciOiJFUzI1NiJ9." \
	"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt" \
	"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ." \
	"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA" \
	"pmWQxfKTUJqPP3-Kg6NU1Q"

/* The order of P-256, big-endian */
#define P256_ORDER "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"

/* A key of each kind, for all tests. */
static EVP_PKEY *ed;
static EVP_PKEY *ec;
static DgTokenKey *ed_key;
static DgTokenKey *ec_key;

static DgTokenKey *
key_from(const char *text)
{
	DgTokenKey *key;

	REQUIRE(dg_token_key_parse(text, strlen(text), &key, NULL) == DG_TOKEN_OK);
	return key;
}

/* verdict() on a token that is freed. */
static const char *
verdict_free(char *token, const DgTokenKey *key)
{
	const char *reason = verdict(token, key);

	free(token);
	return reason;
}

/* The verdict on good claims under this header, signed properly. */
static const char *
header_verdict(const char *header)
{
	return verdict_free(sign_json(ed, header, PURGE_CLAIMS), ed_key);
}

/*
 * Verify a JWS whose payload is none of our claims, at the level of
 * signatures.
 */
static DgTokenStatus
verify_jws(const char *jws, const DgTokenKey *key)
{
	DgTokenParts parts;
	unsigned char signature[100];
	size_t		len;

	REQUIRE(dg_token_split(jws, strlen(jws), &parts) == DG_TOKEN_OK);
	REQUIRE(dg_token_base64url_decode(parts.signature, parts.signature_len,
									  signature, sizeof(signature), &len));
	return dg_token_signature_verify(key, signature, len,
									 (const unsigned char *) jws,
									 parts.signed_len);
}

static void
check_published(const char *jws, const char *jwk, const char *reason)
{
	DgTokenKey *key = key_from(jwk);
	char	   *copy = format("%s", jws);

	CHECK_INT_EQ(verify_jws(jws, key), DG_TOKEN_OK);
	copy[3] ^= 1;
	CHECK_INT_EQ(verify_jws(copy, key), DG_TOKEN_BAD_SIGNATURE);
	CHECK_STR_EQ(verdict(jws, key), reason);
	free(copy);
	dg_token_key_free(key);
}

UNIT_TEST(rfc8037_example)
{
	check_published(RFC8037_JWS, ED_JWK, "kid_missing");
}

UNIT_TEST(rfc7515_example)
{
	check_published(RFC7515_JWS, EC_JWK, "kid_missing");
}

UNIT_TEST(good_tokens)
{
	DgTokenContext ctx = good_context();
	DgTokenClaims claims;
	DgTokenDetail detail;
	char		json[DG_TOKEN_MAX_LENGTH];
	char		kid[DG_TOKEN_MAX_NAME + 1];
	int			i;

	for (i = 0; i < 2; i++)
	{
		char	   *token = sign_json(i ? ec : ed, good_header(i ? ec : ed), PURGE_CLAIMS);
		size_t		len = strlen(token);

		CHECK_INT_EQ(dg_token_peek_kid(token, len, kid, sizeof(kid)), DG_TOKEN_OK);
		CHECK_STR_EQ(kid, KID);
		CHECK_INT_EQ(dg_token_verify(token, len, i ? ec_key : ed_key, &ctx,
									 &claims, &detail), DG_TOKEN_OK);
		CHECK_INT_EQ(claims.act, DG_TOKEN_ACT_PURGE);
		CHECK_STR_EQ(claims.kid, KID);
		CHECK(detail.name == NULL);
		CHECK_INT_EQ(dg_token_payload(token, len, json, sizeof(json)), DG_TOKEN_OK);
		CHECK_STR_EQ(json, PURGE_CLAIMS);
		CHECK_INT_EQ(dg_token_payload(token, len, json, strlen(PURGE_CLAIMS)),
					 DG_TOKEN_BAD_ARGUMENT);
		free(token);
	}
	CHECK_STR_EQ(header_verdict("{\"alg\":\"Ed25519\",\"kid\":\"" KID "\"}"), "ok");
	CHECK_STR_EQ(header_verdict("{\"kid\":\"" KID "\", \"alg\":\"EdDSA\" }\n"), "ok");
}

UNIT_TEST(outer_form)
{
	char	   *token = sign_json(ed, good_header(ed), PURGE_CLAIMS);
	char	   *mega = malloc(1024 * 1024 + 1);
	char	   *dot = strchr(token, '.');
	int			i;
	static const char *const bad[] = {
		"not a token", "a b.c.d", "!.!.!", "e30=.e30.e30", "e30.e30.e30\n", " e30.e30.e30",
		"e30.e30.e+30", "e30.e30.\xc3\xa9", "e.e30.e30", "e31.e30.e30", "\"e30.e30.e30\"",
		"{\"payload\":\"e30\",\"protected\":\"e30\",\"signature\":\"AA\"}"
	};
	static const char *const parts[] = {
		".", "..", "...", "e30", "e30.e30", "e30.e30.e30.e30", "e30.e30.e30.e30.e30",
		"e30..e30", ".e30.e30", "notatoken"
	};

	CHECK_STR_EQ(verdict("", ed_key), "empty");
	for (i = 0; i < (int) (sizeof(bad) / sizeof(bad[0])); i++)
		CHECK_STR_EQ(verdict(bad[i], ed_key), "bad_base64");
	for (i = 0; i < (int) (sizeof(parts) / sizeof(parts[0])); i++)
		CHECK_STR_EQ(verdict(parts[i], ed_key), "not_compact");
	memset(mega, 'A', 1024 * 1024);
	mega[1024 * 1024] = '\0';
	CHECK_STR_EQ(verdict(mega, ed_key), "too_long");
	mega[DG_TOKEN_MAX_LENGTH + 1] = '\0';
	CHECK_STR_EQ(verdict(mega, ed_key), "too_long");
	mega[DG_TOKEN_MAX_LENGTH] = '\0';
	CHECK_STR_EQ(verdict(mega, ed_key), "not_compact");

	CHECK_STR_EQ(verdict_free(format("%s=", token), ed_key), "bad_base64");
	CHECK_STR_EQ(verdict_free(format("%s ", token), ed_key), "bad_base64");
	CHECK_STR_EQ(verdict_free(format("%s\n", token), ed_key), "bad_base64");
	CHECK_STR_EQ(verdict_free(format("%s.", token), ed_key), "not_compact");
	CHECK_STR_EQ(verdict_free(format("%sA", token), ed_key), "signature_length");
	CHECK_STR_EQ(verdict_free(format("%sAA", token), ed_key), "signature_length");
	CHECK_STR_EQ(verdict_free(format("%sAAA", token), ed_key), "bad_base64");
	CHECK_STR_EQ(verdict_free(format("%sAAAA", token), ed_key), "signature_length");
	CHECK_STR_EQ(verdict_free(format("%.*s=%s", (int) (dot - token), token, dot), ed_key), "bad_base64");

	/* the same with a NUL inside */
	token[strlen(token) - 1] = '\0';
	CHECK_INT_EQ(dg_token_peek_kid(token, strlen(token) + 1, mega, 64), DG_TOKEN_BAD_BASE64);
	free(mega);
	free(token);
}

/* The header is JSON, strictly. */
UNIT_TEST(header_json)
{
	CHECK_STR_EQ(header_verdict("hello"), "bad_json");
	CHECK_STR_EQ(header_verdict("{\"alg\":\"EdDSA\",\"kid\":\"legal\"} x"), "bad_json");
	CHECK_STR_EQ(header_verdict("[]"), "not_object");
	CHECK_STR_EQ(header_verdict("{\"alg\":\"none\",\"alg\":\"EdDSA\",\"kid\":\"legal\"}"), "duplicate_name");
	CHECK_STR_EQ(header_verdict("{\"alg\":\"EdDSA\",\"\\u0061lg\":\"none\",\"kid\":\"legal\"}"), "duplicate_name");
	CHECK_STR_EQ(header_verdict("{\"alg\":\"EdDSA\",\"kid\":\"legal\",\"kid\":\"legal\"}"), "duplicate_name");
	CHECK_STR_EQ(header_verdict("{\"alg\":\"EdDSA\",\"kid\":\"legal\xff\"}"), "bad_utf8");
	CHECK_STR_EQ(header_verdict("{\"alg\":\"EdDSA\",\"kid\":\"legal\\u0000\"}"), "nul_character");
	CHECK_STR_EQ(header_verdict("{\"alg\":\"EdDSA\",\"kid\":1.0}"), "bad_number");
	CHECK_STR_EQ(header_verdict("{\"alg\":[[[[[[[[[]]]]]]]]]}"), "too_deep");
}

/* 2.6, 3.7: UTF-8 only */
UNIT_TEST(other_encodings)
{
	static const char utf16[] = "{\0\"\0a\0l\0g\0\"\0}\0";
	char	   *token = sign_bytes(ed, good_header(ed), utf16, sizeof(utf16) - 1);
	char	   *h = base64url(utf16, sizeof(utf16) - 1);

	CHECK_STR_EQ(verdict(token, ed_key), "nul_character");
	CHECK_STR_EQ(verdict_free(format("%s%s", h, strchr(token, '.')), ed_key), "nul_character");
	CHECK_STR_EQ(verdict_free(sign_json(ed, good_header(ed), "\xff\xfe{}"), ed_key), "bad_utf8");
	CHECK_STR_EQ(verdict_free(sign_json(ed, good_header(ed), "\xef\xbb\xbf" PURGE_CLAIMS), ed_key), "bad_json");
	CHECK_STR_EQ(verdict_free(sign_json(ed, good_header(ed), "{\"act\":\"\xe4\"}"), ed_key), "bad_utf8");
	free(token);
	free(h);
}

/* 2.1, 3.1: the header does not choose the algorithm */
UNIT_TEST(algorithms)
{
	static const char *const none[] = {"none", "None", "NONE", "nOnE"};
	static const char *const other[] = {
		"RS256", "RS1", "PS256", "ES384", "ES512", "ES256K", "Ed448", "eddsa", "EDDSA", "es256",
		"EdDSA ", "", "nonee", "non", "HS1", "RSA-OAEP", "dir"
	};
	static const char *const hmac[] = {"HS256", "HS384", "HS512"};
	size_t		i;

	for (i = 0; i < 4; i++)
	{
		char	   *header = format("{\"alg\":\"%s\",\"kid\":\"legal\"}", none[i]);
		char	   *h = base64url(header, strlen(header));
		char	   *p = base64url(PURGE_CLAIMS, strlen(PURGE_CLAIMS));

		CHECK_STR_EQ(header_verdict(header), "alg_none");
		CHECK_STR_EQ(verdict_free(format("%s.%s.", h, p), ed_key), "alg_none");
		CHECK_STR_EQ(verdict_free(format("%s.%s.AAAA", h, p), ec_key), "alg_none");
		free(header);
		free(h);
		free(p);
	}
	for (i = 0; i < sizeof(other) / sizeof(other[0]); i++)
	{
		char	   *header = format("{\"alg\":\"%s\",\"kid\":\"legal\"}", other[i]);

		CHECK_STR_EQ(header_verdict(header), "alg_unsupported");
		free(header);
	}
	for (i = 0; i < 3; i++)
	{
		char	   *header = format("{\"alg\":\"%s\",\"kid\":\"legal\"}", hmac[i]);

		CHECK_STR_EQ(header_verdict(header), "alg_hmac");
		free(header);
	}
	CHECK_STR_EQ(header_verdict("{\"kid\":\"legal\"}"), "alg_missing");
	CHECK_STR_EQ(header_verdict("{\"ALG\":\"EdDSA\",\"kid\":\"legal\"}"), "alg_missing");
	CHECK_STR_EQ(header_verdict("{\"alg\":null,\"kid\":\"legal\"}"), "alg_unsupported");
	CHECK_STR_EQ(header_verdict("{\"alg\":[\"EdDSA\"],\"kid\":\"legal\"}"), "alg_unsupported");
}

/* 2.1: HMAC with the public key, which everybody has, as the secret */
UNIT_TEST(hmac_with_public_key)
{
	EVP_PKEY   *pkeys[2] = {ed, ec};
	DgTokenKey *keys[2] = {ed_key, ec_key};
	const char *header = "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"legal\"}";
	int			i;

	for (i = 0; i < 2; i++)
	{
		char	   *pem = public_pem(pkeys[i]);
		char	   *h = base64url(header, strlen(header));
		char	   *p = base64url(PURGE_CLAIMS, strlen(PURGE_CLAIMS));
		char	   *input = format("%s.%s", h, p);
		unsigned char mac[64];
		unsigned int maclen;
		char	   *s;

		REQUIRE(HMAC(EVP_sha256(), pem, (int) strlen(pem), (unsigned char *) input,
					 strlen(input), mac, &maclen) != NULL);
		s = base64url(mac, maclen);
		CHECK_STR_EQ(verdict_free(format("%s.%s", input, s), keys[i]), "alg_hmac");
		free(pem);
		free(h);
		free(p);
		free(input);
		free(s);
	}
}

/* 2.1, 3.1: a key is used with its own algorithm only */
UNIT_TEST(key_confusion)
{
	CHECK_STR_EQ(verdict_free(sign_json(ec, good_header(ec), PURGE_CLAIMS), ed_key), "alg_mismatch");
	CHECK_STR_EQ(verdict_free(sign_json(ed, good_header(ed), PURGE_CLAIMS), ec_key), "alg_mismatch");
	/* the header lies about what made the signature */
	CHECK_STR_EQ(verdict_free(sign_json(ed, good_header(ec), PURGE_CLAIMS), ec_key), "bad_signature");
	CHECK_STR_EQ(verdict_free(sign_json(ec, good_header(ed), PURGE_CLAIMS), ed_key), "bad_signature");
	CHECK_STR_EQ(verdict_free(sign_json(ed, good_header(ec), PURGE_CLAIMS), ed_key), "alg_mismatch");
}

/* 2.7: a good signature of somebody else */
UNIT_TEST(foreign_key)
{
	EVP_PKEY   *other_ed = new_ed25519();
	EVP_PKEY   *other_ec = new_ec("P-256");

	CHECK_STR_EQ(verdict_free(sign_json(other_ed, good_header(ed), PURGE_CLAIMS), ed_key), "bad_signature");
	CHECK_STR_EQ(verdict_free(sign_json(other_ec, good_header(ec), PURGE_CLAIMS), ec_key), "bad_signature");
	EVP_PKEY_free(other_ed);
	EVP_PKEY_free(other_ec);
}

/* 2.3, 2.4, 2.9, 3.6, 3.10, 3.11: nothing in the header is followed */
UNIT_TEST(header_parameters)
{
#define WITH(more) "{\"alg\":\"EdDSA\",\"kid\":\"legal\"," more "}"
	CHECK_STR_EQ(header_verdict(WITH("\"crit\":[\"exp\"],\"exp\":1")), "header_crit");
	CHECK_STR_EQ(header_verdict(WITH("\"crit\":[]")), "header_crit");
	CHECK_STR_EQ(header_verdict(WITH("\"b64\":false,\"crit\":[\"b64\"]")), "header_b64");
	CHECK_STR_EQ(header_verdict(WITH("\"crit\":[\"b64\"],\"b64\":false")), "header_crit");
	CHECK_STR_EQ(header_verdict(WITH("\"b64\":true")), "header_b64");
	CHECK_STR_EQ(header_verdict(WITH("\"jwk\":" ED_JWK)), "header_key");
	CHECK_STR_EQ(header_verdict(WITH("\"jku\":\"https://example.com/k\"")), "header_key");
	CHECK_STR_EQ(header_verdict(WITH("\"x5u\":\"https://example.com/k\"")), "header_key");
	CHECK_STR_EQ(header_verdict(WITH("\"x5c\":[\"AAAA\"]")), "header_key");
	CHECK_STR_EQ(header_verdict(WITH("\"x5t\":\"AAAA\"")), "header_key");
	CHECK_STR_EQ(header_verdict(WITH("\"x5t#S256\":\"AAAA\"")), "header_key");
	CHECK_STR_EQ(header_verdict(WITH("\"cty\":\"JWT\"")), "header_unknown");
	CHECK_STR_EQ(header_verdict(WITH("\"zip\":\"DEF\"")), "header_unknown");
	CHECK_STR_EQ(header_verdict(WITH("\"enc\":\"A128GCM\"")), "header_unknown");
	CHECK_STR_EQ(header_verdict(WITH("\"p2c\":1000000000")), "header_unknown");
	CHECK_STR_EQ(header_verdict(WITH("\"Kid\":\"legal\"")), "header_unknown");
	CHECK_STR_EQ(header_verdict(WITH("\"typ\":\"at+jwt\"")), "header_typ");
	CHECK_STR_EQ(header_verdict(WITH("\"typ\":\"jwt\"")), "header_typ");
	CHECK_STR_EQ(header_verdict(WITH("\"typ\":null")), "header_typ");
	CHECK_STR_EQ(header_verdict(WITH("\"typ\":\"JWT\"")), "ok");
}

/* 2.9, 3.10: kid as a path, an injection, or nothing */
UNIT_TEST(kid)
{
	static const char *const bad[] = {
		"", ".", "..", "../../etc/passwd", "/dev/null", "a/b", "a\\\\b", "a b", "a'b", "a;b", "a%00b", "a\\nb",
		".hidden", "\xc3\xa9", "a:b", "a@b", "a\\\"b", "*",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	};
	static const char *const good[] = {
		"a", "A-1_b.c", "-", "a..b", "0",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	};
	DgTokenContext ctx = good_context();
	DgTokenClaims claims;
	char		room[DG_TOKEN_MAX_NAME + 1];
	char	   *token;
	char	   *header;
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		header = format("{\"alg\":\"EdDSA\",\"kid\":\"%s\"}", bad[i]);
		CHECK_MSG(strcmp(header_verdict(header), "kid_bad") == 0, "%s", bad[i]);
		free(header);
	}
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		header = format("{\"alg\":\"EdDSA\",\"kid\":\"%s\"}", good[i]);
		CHECK_MSG(strcmp(header_verdict(header), "ok") == 0, "%s", good[i]);
		free(header);
	}
	CHECK_STR_EQ(header_verdict("{\"alg\":\"EdDSA\",\"kid\":1}"), "kid_bad");
	CHECK_STR_EQ(header_verdict("{\"alg\":\"EdDSA\",\"kid\":null}"), "kid_bad");
	CHECK_STR_EQ(header_verdict("{\"alg\":\"EdDSA\"}"), "kid_missing");

	token = sign_json(ed, good_header(ed), PURGE_CLAIMS);
	ctx.kid = "security";
	CHECK_INT_EQ(dg_token_verify(token, strlen(token), ed_key, &ctx, &claims, NULL),
				 DG_TOKEN_KID_MISMATCH);
	ctx.kid = KID;
	CHECK_INT_EQ(dg_token_verify(token, strlen(token), ed_key, &ctx, &claims, NULL),
				 DG_TOKEN_OK);
	CHECK_INT_EQ(dg_token_peek_kid(token, strlen(token), room, sizeof(room) - 1),
				 DG_TOKEN_BAD_ARGUMENT);
	free(token);
}

/* Replace the signature of a token. */
static char *
resigned(const char *token, const unsigned char *signature, size_t len)
{
	char	   *s = base64url(signature, len);
	char	   *result = format("%.*s.%s", (int) (strrchr(token, '.') - token), token, s);

	free(s);
	return result;
}

UNIT_TEST(signature_length)
{
	EVP_PKEY   *pkeys[2] = {ed, ec};
	DgTokenKey *keys[2] = {ed_key, ec_key};
	unsigned char raw[80] = {0};
	int			i;
	size_t		len;

	for (i = 0; i < 2; i++)
	{
		char	   *token = sign_json(pkeys[i], good_header(pkeys[i]), PURGE_CLAIMS);
		size_t		n;

		CHECK_STR_EQ(verdict_free(resigned(token, raw, 0), keys[i]), "signature_missing");
		REQUIRE(dg_token_base64url_decode(strrchr(token, '.') + 1, 86, raw, 64, &n));
		for (len = 1; len <= sizeof(raw); len++)
			CHECK_STR_EQ(verdict_free(resigned(token, raw, len), keys[i]),
						 len == 64 ? "ok" : "signature_length");
		free(token);
	}
}

/* ECDSA signatures in DER are those of another format. */
UNIT_TEST(der_signature)
{
	char	   *token = sign_json(ec, good_header(ec), PURGE_CLAIMS);
	unsigned char der[100];
	size_t		len = sizeof(der);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	REQUIRE(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, ec) > 0);
	REQUIRE(EVP_DigestSign(ctx, der, &len, (unsigned char *) token,
						   (size_t) (strrchr(token, '.') - token)) > 0);
	EVP_MD_CTX_free(ctx);
	CHECK_STR_EQ(verdict_free(resigned(token, der, len), ec_key), "signature_length");
	free(token);
}

/* 3.3, 3.4: n - s is as good as s; r and s outside 1 .. n - 1 are not. */
UNIT_TEST(ecdsa_numbers)
{
	char	   *token = sign_json(ec, good_header(ec), PURGE_CLAIMS);
	unsigned char raw[64];
	unsigned char order[32];
	unsigned char bad[64];
	size_t		len;
	BIGNUM	   *n = BN_new();
	BIGNUM	   *s = BN_new();

	REQUIRE(dg_token_hex_decode(P256_ORDER, 64, order, 32));
	REQUIRE(dg_token_base64url_decode(strrchr(token, '.') + 1, 86, raw, 64, &len));
	BN_bin2bn(order, 32, n);
	BN_bin2bn(raw + 32, 32, s);
	REQUIRE(BN_sub(s, n, s));
	memcpy(bad, raw, 64);
	REQUIRE(BN_bn2binpad(s, bad + 32, 32) == 32);
	CHECK_STR_EQ(verdict_free(resigned(token, bad, 64), ec_key), "ok");

	memcpy(bad, raw, 64);
	memset(bad, 0, 32);
	CHECK_STR_EQ(verdict_free(resigned(token, bad, 64), ec_key), "bad_signature");
	memcpy(bad, order, 32);
	CHECK_STR_EQ(verdict_free(resigned(token, bad, 64), ec_key), "bad_signature");
	memcpy(bad, raw, 64);
	memset(bad + 32, 0, 32);
	CHECK_STR_EQ(verdict_free(resigned(token, bad, 64), ec_key), "bad_signature");
	memcpy(bad + 32, order, 32);
	CHECK_STR_EQ(verdict_free(resigned(token, bad, 64), ec_key), "bad_signature");
	memset(bad, 0, 64);
	CHECK_STR_EQ(verdict_free(resigned(token, bad, 64), ec_key), "bad_signature");
	memset(bad, 0xff, 64);
	CHECK_STR_EQ(verdict_free(resigned(token, bad, 64), ec_key), "bad_signature");
	BN_free(n);
	BN_free(s);
	free(token);
}

/* Numbers that are short, or look negative, survive the way to DER. */
UNIT_TEST(ecdsa_der_forms)
{
	int			short_r = 0;
	int			i;

	for (i = 0; i < 3000 && short_r < 3; i++)
	{
		char	   *token = sign_json(ec, good_header(ec), PURGE_CLAIMS);
		unsigned char raw[64];
		size_t		len;

		REQUIRE(dg_token_base64url_decode(strrchr(token, '.') + 1, 86, raw, 64, &len));
		if (raw[0] == 0 || raw[32] == 0 || i < 50)
			CHECK_STR_EQ(verdict(token, ec_key), "ok");
		if (raw[0] == 0 || raw[32] == 0)
			short_r++;
		free(token);
	}
	CHECK(short_r > 0);
}

/* Ed25519: S + L would verify too, if S were not compared with L. */
UNIT_TEST(eddsa_malleability)
{
	static const unsigned char l[32] = {
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10
	};
	char	   *token = sign_json(ed, good_header(ed), PURGE_CLAIMS);
	unsigned char raw[64];
	size_t		len;
	int			carry = 0;
	int			i;

	REQUIRE(dg_token_base64url_decode(strrchr(token, '.') + 1, 86, raw, 64, &len));
	for (i = 0; i < 32; i++)
	{
		carry += raw[32 + i] + l[i];
		raw[32 + i] = (unsigned char) carry;
		carry >>= 8;
	}
	CHECK_STR_EQ(verdict_free(resigned(token, raw, 64), ed_key), "bad_signature");
	memset(raw, 0, 64);
	CHECK_STR_EQ(verdict_free(resigned(token, raw, 64), ed_key), "bad_signature");
	raw[0] = 1;
	CHECK_STR_EQ(verdict_free(resigned(token, raw, 64), ed_key), "bad_signature");
	free(token);
}

/* The last character of 64 bytes has four unused bits. */
UNIT_TEST(non_canonical_signature)
{
	char	   *token = sign_json(ed, good_header(ed), PURGE_CLAIMS);
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char	   *last = token + strlen(token) - 1;
	int			value = (int) (strchr(digits, *last) - digits);
	int			i;

	CHECK_INT_EQ(value & 15, 0);
	for (i = 1; i < 16; i++)
	{
		*last = digits[value + i];
		CHECK_STR_EQ(verdict(token, ed_key), "bad_base64");
	}
	free(token);
}

/* No token with one byte changed is accepted, whichever and however. */
UNIT_TEST(mutated)
{
	static const char replacements[] = "AaZz09-_.=+/ \n{\"\x80\xff";
	int			i;

	for (i = 0; i < 2; i++)
	{
		char	   *token = sign_json(i ? ec : ed, good_header(i ? ec : ed), PURGE_CLAIMS);
		size_t		len = strlen(token);
		DgTokenContext ctx = good_context();
		DgTokenClaims claims;
		size_t		pos;

		for (pos = 0; pos < len; pos++)
		{
			char		original = token[pos];
			size_t		r;

			for (r = 0; r < sizeof(replacements); r++)
			{
				/* the last round is the NUL */
				if (replacements[r] == original)
					continue;
				token[pos] = replacements[r];
				CHECK(dg_token_verify(token, len, i ? ec_key : ed_key, &ctx,
									  &claims, NULL) != DG_TOKEN_OK);
			}
			for (r = 0; r < 8; r++)
			{
				token[pos] = (char) (original ^ (1 << r));
				CHECK(dg_token_verify(token, len, i ? ec_key : ed_key, &ctx,
									  &claims, NULL) != DG_TOKEN_OK);
			}
			token[pos] = original;
		}
		CHECK_STR_EQ(verdict(token, i ? ec_key : ed_key), "ok");
		free(token);
	}
}

/* Cut, doubled or lengthened anywhere: refused, without reading past the end. */
UNIT_TEST(truncated)
{
	char	   *token = sign_json(ed, good_header(ed), PURGE_CLAIMS);
	size_t		len = strlen(token);
	DgTokenContext ctx = good_context();
	DgTokenClaims claims;
	size_t		n;

	for (n = 0; n < len; n++)
	{
		char	   *exact = malloc(n > 0 ? n : 1);
		char	   *without;

		memcpy(exact, token, n);
		CHECK(dg_token_verify(exact, n, ed_key, &ctx, &claims, NULL) != DG_TOKEN_OK);
		free(exact);
		without = format("%.*s%s", (int) n, token, token + n + 1);
		CHECK(strcmp(verdict_free(without, ed_key), "ok") != 0);
		without = format("%.*s%c%s", (int) n, token, token[n], token + n);
		CHECK(strcmp(verdict_free(without, ed_key), "ok") != 0);
	}
	CHECK(strcmp(verdict_free(format("%s%s", token, token), ed_key), "ok") != 0);
	free(token);
}

/* Parts of two genuine tokens do not make a third. */
UNIT_TEST(spliced)
{
	char	   *one = sign_json(ed, good_header(ed), PURGE_CLAIMS);
	char	   *two = sign_json(ed, "{\"alg\":\"EdDSA\",\"kid\":\"other\"}",
								"{\"act\":\"release_hold\"," COMMON_CLAIMS ",\"hold\":3}");
	char	   *dot1 = strchr(one, '.');
	char	   *dot2 = strchr(two, '.');
	char	   *last1 = strrchr(one, '.');
	char	   *last2 = strrchr(two, '.');

	CHECK_STR_EQ(verdict(one, ed_key), "ok");
	CHECK_STR_EQ(verdict(two, ed_key), "ok");
	CHECK_STR_EQ(verdict_free(format("%.*s%s", (int) (dot1 - one), one, dot2), ed_key), "bad_signature");
	CHECK_STR_EQ(verdict_free(format("%.*s%s", (int) (last1 - one), one, last2), ed_key), "bad_signature");
	/* another header with the same meaning, unsigned */
	CHECK_STR_EQ(verdict_free(format("%s%s", "eyJhbGciOiJFZERTQSIsImtpZCI6ImxlZ2FsIn0", dot1), ed_key), "bad_signature");
	free(one);
	free(two);
}

/* 3.10: claims are not read before the signature is good. */
UNIT_TEST(signature_comes_first)
{
	EVP_PKEY   *other = new_ed25519();

	CHECK_STR_EQ(verdict_free(sign_json(other, good_header(ed), "not json"), ed_key), "bad_signature");
	CHECK_STR_EQ(verdict_free(sign_json(ed, good_header(ed), "not json"), ed_key), "bad_json");
	EVP_PKEY_free(other);
}

UNIT_TEST(bad_arguments)
{
	char	   *token = sign_json(ed, good_header(ed), PURGE_CLAIMS);
	size_t		len = strlen(token);
	DgTokenContext good = good_context();
	DgTokenContext ctx;
	DgTokenClaims claims;
	char		kid[64];

#define BAD(change) \
	ctx = good; \
	change; \
	CHECK_INT_EQ(dg_token_verify(token, len, ed_key, &ctx, &claims, NULL), DG_TOKEN_BAD_ARGUMENT)

	BAD(ctx.audience = NULL);
	BAD(ctx.audience = "");
	BAD(ctx.now = -1);
	BAD(ctx.now = INT64_MAX);
	BAD(ctx.clock_skew = -1);
	BAD(ctx.clock_skew = DG_TOKEN_MAX_CLOCK_SKEW + 1);
	BAD(ctx.clock_skew = INT64_MAX);
	CHECK_INT_EQ(dg_token_verify(token, len, NULL, &good, &claims, NULL), DG_TOKEN_BAD_ARGUMENT);
	CHECK_INT_EQ(dg_token_verify(token, len, ed_key, NULL, &claims, NULL), DG_TOKEN_BAD_ARGUMENT);
	CHECK_INT_EQ(dg_token_verify(token, len, ed_key, &good, NULL, NULL), DG_TOKEN_BAD_ARGUMENT);
	CHECK_INT_EQ(dg_token_verify(NULL, 1, ed_key, &good, &claims, NULL), DG_TOKEN_BAD_ARGUMENT);
	CHECK_INT_EQ(dg_token_verify(NULL, 0, ed_key, &good, &claims, NULL), DG_TOKEN_EMPTY);
	CHECK_INT_EQ(dg_token_peek_kid(token, len, NULL, 64), DG_TOKEN_BAD_ARGUMENT);
	CHECK_INT_EQ(dg_token_peek_kid(NULL, 0, kid, 64), DG_TOKEN_EMPTY);
	CHECK_INT_EQ(dg_token_payload(NULL, 0, kid, 64), DG_TOKEN_EMPTY);
	CHECK_INT_EQ(dg_token_payload(token, len, NULL, 64), DG_TOKEN_BAD_ARGUMENT);
	free(token);
}

/* Every status has a reason of its own and a message fit to be shown. */
UNIT_TEST(status_texts)
{
	int			i,
				j;

	for (i = 0; i < DG_TOKEN_STATUS_COUNT; i++)
	{
		const char *message = dg_token_status_message((DgTokenStatus) i);
		const char *reason = dg_token_status_reason((DgTokenStatus) i);

		CHECK(message != NULL && message[0] != '\0');
		CHECK(strchr(message, '\n') == NULL && message[strlen(message) - 1] != '.');
		CHECK(reason[strspn(reason, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0');
		for (j = 0; j < i; j++)
		{
			CHECK(strcmp(reason, dg_token_status_reason((DgTokenStatus) j)) != 0);
			CHECK(strcmp(message, dg_token_status_message((DgTokenStatus) j)) != 0);
		}
	}
	CHECK_STR_EQ(dg_token_status_reason((DgTokenStatus) 1000), "unknown");
	CHECK(dg_token_status_message((DgTokenStatus) -1) != NULL);
}

/* An OpenSSL without the algorithm is not the token's fault. */
UNIT_TEST(algorithm_unavailable)
{
	char	   *token = sign_json(ec, good_header(ec), PURGE_CLAIMS);
	DgTokenContext ctx = good_context();
	DgTokenClaims claims;
	DgTokenDetail detail;

	REQUIRE(EVP_set_default_properties(NULL, "provider=none") > 0);
	CHECK_INT_EQ(dg_token_verify(token, strlen(token), ec_key, &ctx, &claims, &detail),
				 DG_TOKEN_CRYPTO);
	CHECK(ERR_peek_error() == 0);
	REQUIRE(EVP_set_default_properties(NULL, "") > 0);
	CHECK_STR_EQ(verdict(token, ec_key), "ok");
	free(token);
}

int
main(void)
{
	ed = new_ed25519();
	ec = new_ec("P-256");
	ed_key = public_key(ed);
	ec_key = public_key(ec);

	RUN(rfc8037_example);
	RUN(rfc7515_example);
	RUN(good_tokens);
	RUN(outer_form);
	RUN(header_json);
	RUN(other_encodings);
	RUN(algorithms);
	RUN(hmac_with_public_key);
	RUN(key_confusion);
	RUN(foreign_key);
	RUN(header_parameters);
	RUN(kid);
	RUN(signature_length);
	RUN(der_signature);
	RUN(ecdsa_numbers);
	RUN(ecdsa_der_forms);
	RUN(eddsa_malleability);
	RUN(non_canonical_signature);
	RUN(mutated);
	RUN(truncated);
	RUN(spliced);
	RUN(signature_comes_first);
	RUN(bad_arguments);
	RUN(status_texts);
	RUN(algorithm_unavailable);

	dg_token_key_free(ed_key);
	dg_token_key_free(ec_key);
	EVP_PKEY_free(ed);
	EVP_PKEY_free(ec);
	return unit_done();
}
