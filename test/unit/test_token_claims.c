/*-------------------------------------------------------------------------
 *
 * test_token_claims.c
 *	  What a genuine token may say, and when.
 *
 * test/unit/test_token_claims.c
 *
 *-------------------------------------------------------------------------
 */
#include "token_maker.h"

#define COMMON COMMON_CLAIMS
#define PURGE "\"act\":\"purge\"," PURGE_ONLY_CLAIMS

/* The common claims without times, and a purge at three given times. */
#define UNTIMED "\"aud\":\"" AUDIENCE "\",\"jti\":\"0f3c\""
#define TIMED(iat, nbf, exp) \
	"{" UNTIMED "," PURGE ",\"iat\":" iat ",\"nbf\":" nbf ",\"exp\":" exp "}"

static EVP_PKEY *ed;
static DgTokenKey *ed_key;

/*
 * Sign these bytes as claims and judge them.
 */
static DgTokenStatus
judge(const char *payload, size_t len, const DgTokenContext *ctx,
	  DgTokenClaims *claims, DgTokenDetail *detail)
{
	char	   *token = sign_bytes(ed, good_header(ed), payload, len);
	DgTokenStatus status;

	status = dg_token_verify(token, strlen(token), ed_key, ctx, claims, detail);
	free(token);
	/* what is refused leaves nothing behind */
	if (status != DG_TOKEN_OK)
	{
		static const DgTokenClaims nothing;

		CHECK(memcmp(claims, &nothing, sizeof(nothing)) == 0);
	}
	return status;
}

/* The reason for claims at NOW, followed by the claim concerned if known. */
static const char *
reason_of(const char *payload)
{
	static char result[100];
	DgTokenContext ctx = good_context();
	DgTokenClaims claims;
	DgTokenDetail detail;
	DgTokenStatus status = judge(payload, strlen(payload), &ctx, &claims, &detail);

	snprintf(result, sizeof(result), "%s%s%s", dg_token_status_reason(status),
			 detail.name ? " " : "", detail.name ? detail.name : "");
	return result;
}

static const char *
reason_free(char *payload)
{
	const char *reason = reason_of(payload);

	free(payload);
	return reason;
}

static DgTokenClaims
accepted(const char *payload)
{
	DgTokenContext ctx = good_context();
	DgTokenClaims claims;

	CHECK_INT_EQ(judge(payload, strlen(payload), &ctx, &claims, NULL), DG_TOKEN_OK);
	return claims;
}

UNIT_TEST(purge)
{
	DgTokenClaims claims = accepted(PURGE_CLAIMS);
	unsigned char digest[32];

	REQUIRE(dg_token_hex_decode(DIGEST, 64, digest, 32));
	CHECK_INT_EQ(claims.act, DG_TOKEN_ACT_PURGE);
	CHECK_STR_EQ(claims.kid, KID);
	CHECK_STR_EQ(claims.aud, AUDIENCE);
	CHECK_STR_EQ(claims.jti, "0f3c");
	CHECK_INT_EQ(claims.iat, NOW - 10);
	CHECK_INT_EQ(claims.nbf, NOW - 10);
	CHECK_INT_EQ(claims.exp, NOW + 590);
	CHECK_STR_EQ(claims.tenant, "17");
	CHECK_STR_EQ(claims.tenant_name, "Acme");
	CHECK_INT_EQ(claims.request, 4);
	CHECK_INT_EQ(claims.rows, 1200);
	CHECK_STR_EQ(claims.reason, "contract ended");
	CHECK_MEM_EQ(claims.digest, digest, 32);
}

UNIT_TEST(other_acts)
{
	DgTokenClaims claims;

	claims = accepted("{\"act\":\"annul_purge\",\"purge\":7," COMMON "}");
	CHECK_INT_EQ(claims.act, DG_TOKEN_ACT_ANNUL_PURGE);
	CHECK_INT_EQ(claims.purge, 7);
	CHECK_STR_EQ(claims.reason, "");
	claims = accepted("{\"act\":\"release_hold\",\"hold\":8,\"reason\":\"case closed\"," COMMON "}");
	CHECK_INT_EQ(claims.act, DG_TOKEN_ACT_RELEASE_HOLD);
	CHECK_INT_EQ(claims.hold, 8);
	CHECK_STR_EQ(claims.reason, "case closed");
	claims = accepted("{\"act\":\"retire_authority\",\"authority\":\"ops\"," COMMON "}");
	CHECK_INT_EQ(claims.act, DG_TOKEN_ACT_RETIRE_AUTHORITY);
	CHECK_STR_EQ(claims.authority, "ops");
	claims = accepted("{\"act\":\"add_authority\",\"authority\":\"ops\",\"fingerprint\":\"" DIGEST "\"," COMMON "}");
	CHECK_INT_EQ(claims.act, DG_TOKEN_ACT_ADD_AUTHORITY);
	CHECK_INT_EQ(claims.fingerprint[31], 0xff);
	claims = accepted("{\"act\":\"set_approvals\",\"approvals\":2," COMMON "}");
	CHECK_INT_EQ(claims.act, DG_TOKEN_ACT_SET_APPROVALS);
	CHECK_INT_EQ(claims.approvals, 2);
	claims = accepted("{\"act\":\"unguard\",\"relation\":\"public.\\\"My Table\\\"\"," COMMON "}");
	CHECK_INT_EQ(claims.act, DG_TOKEN_ACT_UNGUARD);
	CHECK_STR_EQ(claims.relation, "public.\"My Table\"");
	CHECK_INT_EQ(claims.relation_id, 0);
	claims = accepted("{\"act\":\"unguard\",\"relation\":\"public.t\",\"relation_id\":4294967295," COMMON "}");
	CHECK_INT_EQ(claims.relation_id, 4294967295);
	CHECK_STR_EQ(dg_token_act_name(DG_TOKEN_ACT_UNGUARD), "unguard");
	CHECK_STR_EQ(dg_token_act_name(DG_TOKEN_ACT_NONE), "");
	CHECK_STR_EQ(dg_token_act_name((DgTokenAct) 100), "");
}

/* No tenant at all, not a blank one: the act says so, and the tables are named. */
#define WITHOUT_TENANT(rest) \
	"{\"act\":\"purge_without_tenant\"," COMMON ",\"request\":4,\"digest\":\"" DIGEST "\",\"rows\":3,\"reason\":\"x\"" rest "}"

UNIT_TEST(purge_without_tenant)
{
	DgTokenClaims claims = accepted(WITHOUT_TENANT(",\"relations\":\"public.a, public.b\""));

	CHECK_INT_EQ(claims.act, DG_TOKEN_ACT_PURGE_WITHOUT_TENANT);
	CHECK_STR_EQ(claims.relations, "public.a, public.b");
	CHECK_STR_EQ(claims.tenant, "");
	CHECK_INT_EQ(claims.rows, 3);
	CHECK_STR_EQ(dg_token_act_name(DG_TOKEN_ACT_PURGE_WITHOUT_TENANT), "purge_without_tenant");
	CHECK_STR_EQ(reason_of(WITHOUT_TENANT("")), "claim_missing relations");
	CHECK_STR_EQ(reason_of(WITHOUT_TENANT(",\"relations\":\"\"")), "claim_value relations");
	CHECK_STR_EQ(reason_of(WITHOUT_TENANT(",\"relations\":null")), "claim_type relations");
	CHECK_STR_EQ(reason_of(WITHOUT_TENANT(",\"relations\":[\"public.a\"]")), "claim_type relations");
	CHECK_STR_EQ(reason_of(WITHOUT_TENANT(",\"relations\":\"a\",\"tenant\":\"17\"")), "claim_unknown tenant");
	CHECK_STR_EQ(reason_of(WITHOUT_TENANT(",\"relations\":\"a\",\"tenant\":null")), "claim_type tenant");
	CHECK_STR_EQ(reason_of(WITHOUT_TENANT(",\"relations\":\"a\",\"tenant_name\":\"\"")), "claim_unknown tenant_name");
	CHECK_STR_EQ(reason_of("{\"act\":\"purge\"," COMMON "," PURGE_ONLY_CLAIMS ",\"relations\":\"a\"}"), "claim_unknown relations");
}

/* All tenants' rows by their age: how many tenants and until when is said. */
#define BY_AGE(rest) \
	"{\"act\":\"purge_by_age\"," COMMON ",\"request\":4,\"digest\":\"" DIGEST "\",\"rows\":3,\"reason\":\"x\"," \
	"\"relations\":\"public.a\"" rest "}"
#define BEFORE ",\"deleted_before\":\"2026-01-31T00:00:00.000000Z\""

UNIT_TEST(purge_by_age)
{
	DgTokenClaims claims = accepted(BY_AGE(BEFORE ",\"tenants\":300"));

	CHECK_INT_EQ(claims.act, DG_TOKEN_ACT_PURGE_BY_AGE);
	CHECK_STR_EQ(claims.relations, "public.a");
	CHECK_STR_EQ(claims.deleted_before, "2026-01-31T00:00:00.000000Z");
	CHECK_INT_EQ(claims.tenants, 300);
	CHECK_STR_EQ(claims.tenant, "");
	CHECK_STR_EQ(dg_token_act_name(DG_TOKEN_ACT_PURGE_BY_AGE), "purge_by_age");
	CHECK_STR_EQ(reason_of(BY_AGE(BEFORE)), "claim_missing tenants");
	CHECK_STR_EQ(reason_of(BY_AGE(",\"tenants\":300")), "claim_missing deleted_before");
	CHECK_STR_EQ(reason_of(BY_AGE(BEFORE ",\"tenants\":0")), "claim_value tenants");
	CHECK_STR_EQ(reason_of(BY_AGE(BEFORE ",\"tenants\":\"300\"")), "claim_type tenants");
	CHECK_STR_EQ(reason_of(BY_AGE(",\"deleted_before\":\"2026-01-31 00:00\",\"tenants\":1")), "claim_value deleted_before");
	CHECK_STR_EQ(reason_of(BY_AGE(",\"deleted_before\":1767225600,\"tenants\":1")), "claim_type deleted_before");
	CHECK_STR_EQ(reason_of(BY_AGE(BEFORE ",\"tenants\":1,\"tenant\":\"17\"")), "claim_unknown tenant");
	CHECK_STR_EQ(reason_of(WITHOUT_TENANT(",\"relations\":\"a\",\"tenants\":1")), "claim_unknown tenants");
	CHECK_STR_EQ(reason_of(WITHOUT_TENANT(",\"relations\":\"a\"" BEFORE)), "claim_unknown deleted_before");
	CHECK_STR_EQ(reason_of("{\"act\":\"purge\"," COMMON "," PURGE_ONLY_CLAIMS ",\"tenants\":1}"), "claim_unknown tenants");
}

/* Some rows of a tenant, of some deletions: both are said, or neither. */
UNIT_TEST(purge_of_rows)
{
	DgTokenClaims claims = accepted("{\"act\":\"purge\"," COMMON "," PURGE_ONLY_CLAIMS ",\"deletions\":\"3, 4\","
									"\"keys\":\"{\\\"public.person\\\": [{\\\"id\\\": 7}]}\"}");

	CHECK_STR_EQ(claims.deletions, "3, 4");
	CHECK_STR_EQ(claims.keys, "{\"public.person\": [{\"id\": 7}]}");
	claims = accepted("{\"act\":\"purge\"," COMMON "," PURGE_ONLY_CLAIMS "}");
	CHECK_STR_EQ(claims.deletions, "");
	CHECK_STR_EQ(claims.keys, "");
	CHECK_STR_EQ(reason_of("{\"act\":\"purge\"," COMMON "," PURGE_ONLY_CLAIMS ",\"keys\":{}}"), "claim_type keys");
	CHECK_STR_EQ(reason_of("{\"act\":\"purge\"," COMMON "," PURGE_ONLY_CLAIMS ",\"keys\":\"\"}"), "claim_value keys");
	CHECK_STR_EQ(reason_of("{\"act\":\"purge\"," COMMON "," PURGE_ONLY_CLAIMS ",\"deletions\":[3]}"), "claim_type deletions");
	CHECK_STR_EQ(reason_of(WITHOUT_TENANT(",\"relations\":\"a\",\"keys\":\"x\"")), "claim_unknown keys");
	CHECK_STR_EQ(reason_of(BY_AGE(BEFORE ",\"tenants\":1,\"deletions\":\"3\"")), "claim_unknown deletions");
}

UNIT_TEST(acts_refused)
{
	CHECK_STR_EQ(reason_of("{}"), "claim_missing act");
	CHECK_STR_EQ(reason_of("{" COMMON "," PURGE_ONLY_CLAIMS "}"), "claim_missing act");
	CHECK_STR_EQ(reason_of("{\"act\":\"drop\"," COMMON "}"), "act_unknown act");
	CHECK_STR_EQ(reason_of("{\"act\":\"Purge\"," COMMON "," PURGE_ONLY_CLAIMS "}"), "act_unknown act");
	CHECK_STR_EQ(reason_of("{\"act\":\"purge \"," COMMON "," PURGE_ONLY_CLAIMS "}"), "act_unknown act");
	CHECK_STR_EQ(reason_of("{\"act\":\"\"," COMMON "}"), "act_unknown act");
	CHECK_STR_EQ(reason_of("{\"act\":[\"purge\"]," COMMON "," PURGE_ONLY_CLAIMS "}"), "claim_type act");
	CHECK_STR_EQ(reason_of("{\"ACT\":\"purge\"," COMMON "," PURGE_ONLY_CLAIMS "}"), "claim_missing act");
}

/* Each claim of a purge in turn: left out, of every other type, doubled. */
UNIT_TEST(each_claim)
{
	static const char *const names[] = {
		"act", "aud", "jti", "iat", "nbf", "exp", "tenant", "tenant_name", "request", "digest", "rows", "reason"
	};
	static const char *const wrong[] = {
		"null", "true", "false", "[]", "{}", "[\"x\"]", "{\"x\":1}"
	};
	size_t		n = sizeof(names) / sizeof(names[0]);
	size_t		i,
				w;

	for (i = 0; i < n; i++)
	{
		cJSON	   *tree = cJSON_Parse(PURGE_CLAIMS);
		cJSON	   *item = cJSON_DetachItemFromObjectCaseSensitive(tree, names[i]);
		bool		is_text = cJSON_IsString(item);
		char	   *value = cJSON_PrintUnformatted(item);
		char	   *rest = cJSON_PrintUnformatted(tree);
		char		expected[64];

		snprintf(expected, sizeof(expected), "claim_missing %s", names[i]);
		CHECK_STR_EQ(reason_of(rest), expected);
		snprintf(expected, sizeof(expected), "claim_type %s", names[i]);
		for (w = 0; w < sizeof(wrong) / sizeof(wrong[0]); w++)
			CHECK_STR_EQ(reason_free(format("{\"%s\":%s,%s", names[i], wrong[w], rest + 1)), expected);
		CHECK_STR_EQ(reason_free(format("{\"%s\":%s,%s", names[i], is_text ? "1" : "\"1\"", rest + 1)), expected);
		CHECK_STR_EQ(reason_free(format("{\"%s\":%s,\"%s\":%s,%s", names[i], value, names[i], value, rest + 1)), "duplicate_name");
		CHECK_STR_EQ(reason_free(format("{\"%s\":%s,\"\\u%04x%s\":%s,%s", names[i], value,
										(unsigned int) names[i][0], names[i] + 1, value, rest + 1)), "duplicate_name");
		CHECK_STR_EQ(reason_free(format("{\"\\u%04x%s\":%s,%s", (unsigned int) names[i][0], names[i] + 1, value, rest + 1)), "ok");
		free(value);
		free(rest);
		cJSON_Delete(item);
		cJSON_Delete(tree);
	}
}

/* RFC 8725, 2.8 and 3.12: a claim of another act, of JWT, or of nobody. */
UNIT_TEST(extra_claims)
{
	static const char *const foreign[] = {
		"\"purge\":1", "\"hold\":1", "\"authority\":\"a\"", "\"relation\":\"a\"", "\"approvals\":1",
		"\"fingerprint\":\"" DIGEST "\""
	};
	static const char *const unknown[] = {
		"\"iss\":\"a\"", "\"sub\":\"a\"", "\"admin\":true", "\"\":1", "\"Tenant\":\"1\"", "\"tenant \":\"1\"",
		"\"scope\":{\"a\":[1]}"
	};
	size_t		i;

	for (i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		CHECK(strncmp(reason_free(format("{" PURGE "," COMMON ",%s}", foreign[i])),
					  "claim_unknown ", 14) == 0);
	for (i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		CHECK_STR_EQ(reason_free(format("{" PURGE "," COMMON ",%s}", unknown[i])), "claim_unknown");
	CHECK_STR_EQ(reason_of("{\"act\":\"release_hold\",\"hold\":8,\"tenant\":\"17\"," COMMON "}"), "claim_unknown tenant");
	CHECK_STR_EQ(reason_of("{\"act\":\"add_authority\",\"authority\":\"ops\"," COMMON "}"), "claim_missing fingerprint");
	CHECK_STR_EQ(reason_of("{\"act\":\"annul_purge\"," COMMON "}"), "claim_missing purge");
	CHECK_STR_EQ(reason_of("{\"act\":\"release_hold\"," COMMON "}"), "claim_missing hold");
	CHECK_STR_EQ(reason_of("{\"act\":\"retire_authority\"," COMMON "}"), "claim_missing authority");
	CHECK_STR_EQ(reason_of("{\"act\":\"set_approvals\"," COMMON "}"), "claim_missing approvals");
	CHECK_STR_EQ(reason_of("{\"act\":\"unguard\"," COMMON "}"), "claim_missing relation");
	CHECK_STR_EQ(reason_of("{\"act\":\"unguard\",\"relation\":\"t\",\"relation_id\":4294967296," COMMON "}"), "claim_value relation_id");
	CHECK_STR_EQ(reason_of("{\"act\":\"annul_purge\",\"purge\":1,\"relation_id\":1," COMMON "}"), "claim_unknown relation_id");
}

/* Payloads that are not our JSON, with a good signature. */
UNIT_TEST(payload_json)
{
	DgTokenContext ctx = good_context();
	DgTokenClaims claims;
	static const char nul[] = "{\"act\":\"purge\0\"}";

	CHECK_STR_EQ(reason_of("not json"), "bad_json");
	CHECK_STR_EQ(reason_of("[]"), "not_object");
	CHECK_STR_EQ(reason_of("\"purge\""), "not_object");
	CHECK_STR_EQ(reason_of(PURGE_CLAIMS "x"), "bad_json");
	CHECK_STR_EQ(reason_of(PURGE_CLAIMS PURGE_CLAIMS), "bad_json");
	CHECK_STR_EQ(reason_of("x" PURGE_CLAIMS), "bad_json");
	CHECK_STR_EQ(reason_of("{" PURGE "," COMMON ",\"x\":[[[[[[[[1]]]]]]]]}"), "too_deep");
	CHECK_STR_EQ(reason_of("{" PURGE "," COMMON ",\"x\":\"\\u0000\"}"), "nul_character");
	CHECK_INT_EQ(judge(nul, sizeof(nul) - 1, &ctx, &claims, NULL), DG_TOKEN_NUL_CHARACTER);
	CHECK_STR_EQ(reason_of("{\"act\":\"\xff\"}"), "bad_utf8");
	CHECK_STR_EQ(reason_of("{\"act\":\"\\ud800\"}"), "bad_utf8");
}

UNIT_TEST(payload_values)
{
	char	   *text = malloc(8000);
	char	   *p = text + sprintf(text, "{\"x\":[");
	int			i;

	for (i = 0; i < 200; i++)
		p += sprintf(p, "%d,", i);
	sprintf(p, "1]}");
	CHECK_STR_EQ(reason_of(text), "too_many_values");
	free(text);
}

/* A text of n letters in this claim. */
static const char *
long_text(const char *name, int n, const char *others)
{
	char	   *letters = malloc((size_t) n + 1);
	char	   *payload;

	memset(letters, 'x', (size_t) n);
	letters[n] = '\0';
	payload = format("{\"%s\":\"%s\",%s}", name, letters, others);
	free(letters);
	return reason_free(payload);
}

#define PURGE_BUT_TENANT \
	"\"act\":\"purge\",\"tenant_name\":\"\",\"request\":4,\"digest\":\"" DIGEST "\"," \
	"\"rows\":0,\"reason\":\"r\"," COMMON
#define PURGE_BUT_NAME \
	"\"act\":\"purge\",\"tenant\":\"1\",\"request\":4,\"digest\":\"" DIGEST "\"," \
	"\"rows\":0,\"reason\":\"r\"," COMMON
#define UNGUARD_BUT_RELATION "\"act\":\"unguard\"," COMMON
#define RETIRE_BUT_AUTHORITY "\"act\":\"retire_authority\"," COMMON
#define RELEASE_BUT_JTI \
	"\"act\":\"release_hold\",\"hold\":1,\"aud\":\"" AUDIENCE "\"," \
	"\"iat\":1700000000,\"nbf\":1700000000,\"exp\":1700000600"
#define RELEASE_BUT_AUD \
	"\"act\":\"release_hold\",\"hold\":1,\"jti\":\"1\"," \
	"\"iat\":1700000000,\"nbf\":1700000000,\"exp\":1700000600"

UNIT_TEST(lengths)
{
	CHECK_STR_EQ(long_text("tenant", 0, PURGE_BUT_TENANT), "ok");
	CHECK_STR_EQ(long_text("tenant", 1, PURGE_BUT_TENANT), "ok");
	CHECK_STR_EQ(long_text("tenant", 1024, PURGE_BUT_TENANT), "ok");
	CHECK_STR_EQ(long_text("tenant", 1025, PURGE_BUT_TENANT), "claim_too_long tenant");
	CHECK_STR_EQ(long_text("tenant", 10000, PURGE_BUT_TENANT), "claim_too_long tenant");
	CHECK_STR_EQ(long_text("tenant_name", 0, PURGE_BUT_NAME), "ok");
	CHECK_STR_EQ(long_text("tenant_name", 1024, PURGE_BUT_NAME), "ok");
	CHECK_STR_EQ(long_text("tenant_name", 1025, PURGE_BUT_NAME), "claim_too_long tenant_name");
	CHECK_STR_EQ(long_text("relation", 512, UNGUARD_BUT_RELATION), "ok");
	CHECK_STR_EQ(long_text("relation", 513, UNGUARD_BUT_RELATION), "claim_too_long relation");
	CHECK_STR_EQ(long_text("authority", 63, RETIRE_BUT_AUTHORITY), "ok");
	CHECK_STR_EQ(long_text("authority", 64, RETIRE_BUT_AUTHORITY), "claim_too_long authority");
	CHECK_STR_EQ(long_text("jti", 0, RELEASE_BUT_JTI), "claim_value jti");
	CHECK_STR_EQ(long_text("jti", 128, RELEASE_BUT_JTI), "ok");
	CHECK_STR_EQ(long_text("jti", 129, RELEASE_BUT_JTI), "claim_too_long jti");
	CHECK_STR_EQ(long_text("aud", 256, RELEASE_BUT_AUD), "wrong_audience aud");
	CHECK_STR_EQ(long_text("aud", 257, RELEASE_BUT_AUD), "claim_too_long aud");
	CHECK_STR_EQ(long_text("reason", 1024, RELEASE_BUT_JTI ",\"jti\":\"1\""), "ok");
	CHECK_STR_EQ(long_text("reason", 1025, RELEASE_BUT_JTI ",\"jti\":\"1\""), "claim_too_long reason");
	CHECK_STR_EQ(long_text("reason", 0, RELEASE_BUT_JTI ",\"jti\":\"1\""), "claim_value reason");
}

UNIT_TEST(values)
{
#define RELEASE(more) "{\"act\":\"release_hold\"," COMMON "," more "}"
#define RETIRE(name) "{" RETIRE_BUT_AUTHORITY ",\"authority\":\"" name "\"}"
#define ADD(digest) "{\"act\":\"add_authority\",\"authority\":\"a\"," COMMON ",\"fingerprint\":\"" digest "\"}"
#define APPROVALS(n) "{\"act\":\"set_approvals\"," COMMON ",\"approvals\":" n "}"
	CHECK_STR_EQ(reason_of(RELEASE("\"hold\":0")), "claim_value hold");
	CHECK_STR_EQ(reason_of(RELEASE("\"hold\":-1")), "claim_value hold");
	CHECK_STR_EQ(reason_of(RELEASE("\"hold\":9007199254740991")), "ok");
	CHECK_STR_EQ(reason_of(RELEASE("\"hold\":9007199254740992")), "bad_number");
	CHECK_STR_EQ(reason_of(RELEASE("\"hold\":1.0")), "bad_number");
	CHECK_STR_EQ(reason_of(RELEASE("\"hold\":1e0")), "bad_number");
	CHECK_STR_EQ(reason_of(RETIRE("../x")), "claim_value authority");
	CHECK_STR_EQ(reason_of(RETIRE(".x")), "claim_value authority");
	CHECK_STR_EQ(reason_of(RETIRE("")), "claim_value authority");
	CHECK_STR_EQ(reason_of(ADD("")), "claim_value fingerprint");
	CHECK_STR_EQ(reason_of(ADD("00")), "claim_value fingerprint");
	CHECK_STR_EQ(reason_of(ADD(DIGEST "00")), "claim_value fingerprint");
	CHECK_STR_EQ(reason_of(ADD("00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF")), "claim_value fingerprint");
	CHECK_STR_EQ(reason_of(APPROVALS("1")), "ok");
	CHECK_STR_EQ(reason_of(APPROVALS("16")), "ok");
	CHECK_STR_EQ(reason_of(APPROVALS("17")), "claim_value approvals");
	CHECK_STR_EQ(reason_of(APPROVALS("0")), "claim_value approvals");
	CHECK_STR_EQ(reason_of("{" RELEASE_BUT_JTI ",\"jti\":\"a b\"}"), "claim_value jti");
	CHECK_STR_EQ(reason_of("{" RELEASE_BUT_JTI ",\"jti\":\"a\\nb\"}"), "claim_value jti");
	CHECK_STR_EQ(reason_of("{" RELEASE_BUT_JTI ",\"jti\":\"\xc3\xa9\"}"), "claim_value jti");
	CHECK_STR_EQ(reason_of("{" RELEASE_BUT_JTI ",\"jti\":\"7b1c1a6e-9f0e-4c9e-8f4b-2a3c5d7e9f01\"}"), "ok");
}

/* Text of any language comes out as it went in. */
UNIT_TEST(unicode_text)
{
	DgTokenClaims claims = accepted("{\"tenant\":\"\\u00e9\\ud83d\\ude00\\n\\\"\\/\"," PURGE_BUT_TENANT "}");

	CHECK_STR_EQ(claims.tenant, "\xc3\xa9\xf0\x9f\x98\x80\n\"/");
}

/* RFC 8725, 2.7 and 3.9: for one database only */
UNIT_TEST(audience)
{
	CHECK_STR_EQ(reason_of("{" RELEASE_BUT_AUD ",\"aud\":\"7123456789012345678/other\"}"), "wrong_audience aud");
	CHECK_STR_EQ(reason_of("{" RELEASE_BUT_AUD ",\"aud\":\"7123456789012345678/sho\"}"), "wrong_audience aud");
	CHECK_STR_EQ(reason_of("{" RELEASE_BUT_AUD ",\"aud\":\"" AUDIENCE "p\"}"), "wrong_audience aud");
	CHECK_STR_EQ(reason_of("{" RELEASE_BUT_AUD ",\"aud\":\"7123456789012345678/SHOP\"}"), "wrong_audience aud");
	CHECK_STR_EQ(reason_of("{" RELEASE_BUT_AUD ",\"aud\":\"\"}"), "claim_value aud");
	CHECK_STR_EQ(reason_of("{" RELEASE_BUT_AUD ",\"aud\":[\"" AUDIENCE "\"]}"), "claim_type aud");
	CHECK_STR_EQ(reason_of("{" RELEASE_BUT_AUD ",\"aud\":\"" AUDIENCE "\"}"), "ok");
}

UNIT_TEST(impossible_times)
{
	static const char *const range[] = {
		"-1", "-9007199254740991", "253402300800", "1700000000000", "9007199254740991"
	};
	static const char *const number[] = {
		"1700000000.0", "1.7e9", "1700000000.5", "17E8", "-0", "9223372036854775808", "1e999", "9007199254740992"
	};
	static const char *const type[] = {"\"1700000000\"", "null", "true", "[1700000000]", "\"2023-11-14T22:13:20Z\""};
	static const char *const names[] = {"iat", "nbf", "exp"};
	size_t		i,
				n;

	for (n = 0; n < 3; n++)
	{
		char		expected[40];
#define TIMES "{" UNTIMED "," PURGE ",\"iat\":%s,\"nbf\":%s,\"exp\":%s}"
#define PICK(value, k) (n == (k) ? (value) : "1700000000")
#define JUDGE(value) \
	reason_free(format(TIMES, PICK(value, 0), PICK(value, 1), PICK(value, 2)))

		snprintf(expected, sizeof(expected), "time_range %s", names[n]);
		for (i = 0; i < sizeof(range) / sizeof(range[0]); i++)
			CHECK_STR_EQ(JUDGE(range[i]), expected);
		for (i = 0; i < sizeof(number) / sizeof(number[0]); i++)
			CHECK_STR_EQ(JUDGE(number[i]), "bad_number");
		snprintf(expected, sizeof(expected), "claim_type %s", names[n]);
		for (i = 0; i < sizeof(type) / sizeof(type[0]); i++)
			CHECK_STR_EQ(JUDGE(type[i]), expected);
	}
}

/* To the second, with the default skew of 30 s around NOW = 1700000000. */
UNIT_TEST(times)
{
	CHECK_STR_EQ(reason_of(TIMED("1700000000", "1700000000", "1700000000")), "ok");
	CHECK_STR_EQ(reason_of(TIMED("1699999000", "1699999000", "1699999971")), "ok");
	CHECK_STR_EQ(reason_of(TIMED("1699999000", "1699999000", "1699999970")), "expired exp");
	CHECK_STR_EQ(reason_of(TIMED("0", "0", "0")), "expired exp");
	CHECK_STR_EQ(reason_of(TIMED("1700000030", "1700000000", "1700000600")), "ok");
	CHECK_STR_EQ(reason_of(TIMED("1700000031", "1700000000", "1700000600")), "issued_in_future iat");
	CHECK_STR_EQ(reason_of(TIMED("1700000000", "1700000030", "1700000600")), "ok");
	CHECK_STR_EQ(reason_of(TIMED("1700000000", "1700000031", "1700000600")), "not_yet_valid nbf");
	CHECK_STR_EQ(reason_of(TIMED("1700000000", "1700000001", "1700000000")), "time_order exp");
	CHECK_STR_EQ(reason_of(TIMED("1700000001", "1700000000", "1700000000")), "time_order exp");
	CHECK_STR_EQ(reason_of(TIMED("1700000000", "1600000000", "1700000001")), "ok");
	CHECK_STR_EQ(reason_of(TIMED("0", "0", "253402300799")), "ok");
}

/* The skew is the caller's. */
UNIT_TEST(times_of_the_caller)
{
	const char *payload = TIMED("1700000000", "1700000000", "1700000600");
	size_t		len = strlen(payload);
	DgTokenContext ctx = good_context();
	DgTokenClaims claims;

#define AT(t, skew) \
	(ctx.now = (t), ctx.clock_skew = (skew), \
	 judge(payload, len, &ctx, &claims, NULL))
	CHECK_INT_EQ(AT(NOW, 0), DG_TOKEN_OK);
	CHECK_INT_EQ(AT(NOW - 1, 0), DG_TOKEN_ISSUED_IN_FUTURE);
	CHECK_INT_EQ(AT(NOW - 1, 1), DG_TOKEN_OK);
	CHECK_INT_EQ(AT(NOW + 599, 0), DG_TOKEN_OK);
	CHECK_INT_EQ(AT(NOW + 600, 0), DG_TOKEN_EXPIRED);
	CHECK_INT_EQ(AT(NOW + 600, 1), DG_TOKEN_OK);
	CHECK_INT_EQ(AT(NOW + 86400, 86400), DG_TOKEN_OK);
	CHECK_INT_EQ(AT(0, 86400), DG_TOKEN_ISSUED_IN_FUTURE);
	CHECK_INT_EQ(AT(DG_TOKEN_MAX_TIME, 86400), DG_TOKEN_EXPIRED);
}

/* Memory that fails at the n-th request of cJSON: no claims, no leak. */
UNIT_TEST(out_of_memory)
{
	cJSON_Hooks hooks = {failing_malloc, free};
	char	   *token = sign_json(ed, good_header(ed), PURGE_CLAIMS);
	DgTokenContext ctx = good_context();
	DgTokenClaims claims;
	int			n;

	cJSON_InitHooks(&hooks);
	for (n = 0; n < 200; n++)
	{
		DgTokenStatus status;

		allocations_left = n;
		status = dg_token_verify(token, strlen(token), ed_key, &ctx, &claims, NULL);
		if (status == DG_TOKEN_OK)
			break;
		CHECK_INT_EQ(status, DG_TOKEN_NO_MEMORY);
		CHECK_INT_EQ(claims.act, DG_TOKEN_ACT_NONE);
	}
	cJSON_InitHooks(NULL);
	CHECK(n > 20 && n < 200);
	free(token);
}

int
main(void)
{
	ed = new_ed25519();
	ed_key = public_key(ed);

	RUN(purge);
	RUN(other_acts);
	RUN(purge_without_tenant);
	RUN(purge_by_age);
	RUN(purge_of_rows);
	RUN(acts_refused);
	RUN(each_claim);
	RUN(extra_claims);
	RUN(payload_json);
	RUN(payload_values);
	RUN(lengths);
	RUN(values);
	RUN(unicode_text);
	RUN(audience);
	RUN(impossible_times);
	RUN(times);
	RUN(times_of_the_caller);
	RUN(out_of_memory);

	dg_token_key_free(ed_key);
	EVP_PKEY_free(ed);
	return unit_done();
}
