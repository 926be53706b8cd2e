/*-------------------------------------------------------------------------
 *
 * test_token_authorities.c
 *	  Tests of the file of authorities: what it may say, and nothing else.
 *
 * test/unit/test_token_authorities.c
 *
 *-------------------------------------------------------------------------
 */
#include "token_maker.h"

/* RFC 8037, appendix A.2, and RFC 7515, appendix A.3.1 */
#define ED_JWK "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"
#define EC_JWK "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"," \
	"\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"

/* A key's text as a JSON string; the caller's to free. */
static char *
quoted(const char *text)
{
	char	   *result = malloc(2 * strlen(text) + 3);
	char	   *p = result;

	REQUIRE(result != NULL);
	*p++ = '"';
	for (; *text != '\0'; text++)
	{
		if (*text == '"' || *text == '\\' || *text == '\n')
			*p++ = '\\';
		*p++ = *text == '\n' ? 'n' : *text;
	}
	*p++ = '"';
	*p = '\0';
	return result;
}

static char *
entry(const char *name, const char *key)
{
	char	   *text = quoted(key);
	char	   *result = format("{\"name\": \"%s\", \"public_key\": %s}", name, text);

	free(text);
	return result;
}

/* The verdict on a text; *count authorities if it is good. */
static const char *
parse(const char *text, size_t len, int *count)
{
	DgTokenAuthorities *authorities;
	DgTokenDetail detail = {0};
	DgTokenStatus status = dg_token_authorities_parse(text, len, &authorities, &detail);

	CHECK((status == DG_TOKEN_OK) == (authorities != NULL));
	CHECK(ERR_peek_error() == 0);
	*count = authorities != NULL ? authorities->count : -1;
	dg_token_authorities_free(authorities);
	return dg_token_status_reason(status);
}

static const char *
verdict_on(const char *text)
{
	int			count;

	return parse(text, strlen(text), &count);
}

UNIT_TEST(names_and_keys)
{
	EVP_PKEY   *pkey = new_ed25519();
	char	   *pem = public_pem(pkey);
	char	   *legal = entry("legal", ED_JWK);
	char	   *privacy = entry("privacy", EC_JWK);
	char	   *third = entry("third.one", pem);
	char	   *text = format("{\"authorities\": [%s, %s,\n%s]}", legal, privacy, third);
	DgTokenAuthorities *authorities;

	CHECK(dg_token_authorities_parse(text, strlen(text), &authorities, NULL) == DG_TOKEN_OK);
	CHECK_INT_EQ(authorities->count, 3);
	CHECK_STR_EQ(authorities->items[0].name, "legal");
	CHECK_STR_EQ(dg_token_key_algorithm_name(authorities->items[0].key), "Ed25519");
	CHECK_STR_EQ(authorities->items[1].name, "privacy");
	CHECK_STR_EQ(dg_token_key_algorithm_name(authorities->items[1].key), "ES256");
	CHECK_STR_EQ(dg_token_key_pem(authorities->items[2].key), pem);
	dg_token_authorities_free(authorities);
	EVP_PKEY_free(pkey);
	free(pem);
	free(legal);
	free(privacy);
	free(third);
	free(text);
}

UNIT_TEST(none)
{
	int			count;

	CHECK_STR_EQ(parse("{\"authorities\":[]}", 18, &count), "ok");
	CHECK_INT_EQ(count, 0);
	dg_token_authorities_free(NULL);
}

UNIT_TEST(other_shapes)
{
	static const char *const bad[] = {
		"", " ", "legal", "null", "[]", "{}", "{\"authorities\":{}}", "{\"authorities\":\"legal\"}", "{\"authorities\":null}",
		"{\"Authorities\":[]}", "{\"authorities\":[],\"x\":1}", "{\"x\":1,\"authorities\":[]}",
		"{\"authorities\":[],\"authorities\":[]}", "{\"authorities\":[]} x", "{\"authorities\":[]}{}", "{\"authorities\":[",
		"{\"authorities\":[null]}", "{\"authorities\":[\"legal\"]}", "{\"authorities\":[[]]}", "{\"authorities\":[{}]}",
		"{\"authorities\":[{\"name\":\"legal\"}]}", "{\"authorities\":[{\"name\":\"legal\",\"key\":\"x\"}]}",
		"{\"authorities\":[{\"name\":\"legal\",\"public_key\":1}]}", "{\"authorities\":[{\"name\":1,\"public_key\":\"x\"}]}",
		"{\"authorities\":[{\"name\":\"legal\",\"public_key\":null}]}", "{\"authorities\":[{\"name\":\"legal\",\"public_key\":\"\"}]}",
		"{\"authorities\":[{\"name\":\"legal\",\"public_key\":" ED_JWK "}]}",
		"{\"authorities\":[{\"name\":\"legal\",\"public_key\":\"/etc/key.pem\"}]}",
		"\xef\xbb\xbf{\"authorities\":[]}", "{\"authorities\":[]}\xff", "{'authorities':[]}", "{\"authorities\":[],}",
		"/* */{\"authorities\":[]}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_MSG(strcmp(verdict_on(bad[i]), "ok") != 0, "accepted: %s", bad[i]);
}

UNIT_TEST(length_counts)
{
	int			count;

	/* NUL-terminated at len, but not before */
	CHECK(strcmp(parse("{\"authorities\":[]}\0x", 20, &count), "ok") != 0);
	CHECK(strcmp(parse("{\"authorities\":[\0]}", 19, &count), "ok") != 0);
}

UNIT_TEST(names)
{
	static const char *const bad[] = {
		"", " ", "a b", ".legal", "../legal", "/etc/passwd", "legal\\n", "l\\u00e9gal", "legal\\u0000", "a/b", "a%2fb",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		char	   *item = entry(bad[i], ED_JWK);
		char	   *text = format("{\"authorities\":[%s]}", item);

		/* entry() escapes the key only */
		CHECK_MSG(strcmp(verdict_on(text), "ok") != 0, "accepted name \"%s\"", bad[i]);
		free(item);
		free(text);
	}
}

/* What two entries make. */
static const char *
pair(const char *name, const char *key, const char *other_name, const char *other_key)
{
	char	   *one = entry(name, key);
	char	   *two = entry(other_name, other_key);
	char	   *text = format("{\"authorities\":[%s,%s]}", one, two);
	const char *verdict = verdict_on(text);

	free(one);
	free(two);
	free(text);
	return verdict;
}

UNIT_TEST(each_once)
{
	EVP_PKEY   *pkey = new_ec("P-256");
	char	   *pem = public_pem(pkey);

	CHECK_STR_EQ(pair("legal", ED_JWK, "privacy", EC_JWK), "ok");
	CHECK_STR_EQ(pair("legal", ED_JWK, "Legal", EC_JWK), "ok");
	CHECK_STR_EQ(pair("legal", ED_JWK, "legal", EC_JWK), "duplicate_name");
	CHECK_STR_EQ(pair("legal", EC_JWK, "privacy", EC_JWK), "duplicate_name");
	CHECK_STR_EQ(pair("legal", pem, "privacy", pem), "duplicate_name");
	/* what is wrong with the second is told, and the first is freed */
	CHECK_STR_EQ(pair("legal", ED_JWK, "privacy", "x"), "key_format");
	EVP_PKEY_free(pkey);
	free(pem);
}

UNIT_TEST(private_keys)
{
	EVP_PKEY   *pkey = new_ed25519();
	char	   *pem = private_pem(pkey);

	CHECK_STR_EQ(pair("legal", EC_JWK, "privacy", pem), "key_private");
	CHECK_STR_EQ(pair("legal", EC_JWK, "privacy",
					  "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\","
					  "\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\"}"), "key_private");
	CHECK_STR_EQ(pair("legal", EC_JWK, "privacy", "{\"kty\":\"oct\",\"k\":\"AAAA\"}"), "key_symmetric");
	EVP_PKEY_free(pkey);
	free(pem);
}

/* How many it may be. */
static const char *
many(int n)
{
	char	   *text = format("{\"authorities\":[");
	const char *verdict;

	for (int i = 0; i < n; i++)
	{
		EVP_PKEY   *pkey = new_ed25519();
		char	   *pem = public_pem(pkey);
		char	   *name = format("a%d", i);
		char	   *item = entry(name, pem);
		char	   *longer = format("%s%s%s", text, i > 0 ? "," : "", item);

		free(text);
		text = longer;
		EVP_PKEY_free(pkey);
		free(pem);
		free(name);
		free(item);
	}
	{
		char	   *longer = format("%s]}", text);

		free(text);
		text = longer;
	}
	verdict = verdict_on(text);
	free(text);
	return verdict;
}

UNIT_TEST(how_many)
{
	CHECK_STR_EQ(many(DG_TOKEN_MAX_AUTHORITIES), "ok");
	CHECK_STR_EQ(many(DG_TOKEN_MAX_AUTHORITIES + 1), "key_member");
}

/* Every prefix, and every byte changed: a verdict, and no more than that. */
UNIT_TEST(damaged)
{
	char	   *one = entry("legal", ED_JWK);
	char	   *text = format("{\"authorities\":[%s]}", one);
	size_t		len = strlen(text);
	int			count;

	for (size_t i = 0; i < len; i++)
	{
		char	   *part = malloc(i + 1);

		REQUIRE(part != NULL);
		memcpy(part, text, i);
		part[i] = '\0';
		CHECK(strcmp(parse(part, i, &count), "ok") != 0);
		free(part);
	}
	for (size_t i = 0; i < len; i++)
	{
		char		was = text[i];

		for (int bit = 0; bit < 8; bit++)
		{
			text[i] = was ^ (char) (1 << bit);
			(void) parse(text, len, &count);
		}
		text[i] = was;
	}
	CHECK_STR_EQ(parse(text, len, &count), "ok");
	free(one);
	free(text);
}

int
main(void)
{
	RUN(names_and_keys);
	RUN(none);
	RUN(other_shapes);
	RUN(length_counts);
	RUN(names);
	RUN(each_once);
	RUN(private_keys);
	RUN(how_many);
	RUN(damaged);
	return unit_done();
}
