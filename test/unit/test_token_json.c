/*-------------------------------------------------------------------------
 *
 * test_token_json.c
 *	  JSON is taken strictly or not at all.
 *
 * test/unit/test_token_json.c
 *
 *-------------------------------------------------------------------------
 */
#include "token_maker.h"

static const char *
parse_bytes(const char *bytes, size_t len)
{
	char	   *copy = malloc(len + 1);
	cJSON	   *tree;
	DgTokenStatus status;

	REQUIRE(copy != NULL);
	memcpy(copy, bytes, len);
	copy[len] = '\0';
	status = dg_token_json_parse(copy, len, &tree);
	CHECK((status == DG_TOKEN_OK) == (tree != NULL));
	cJSON_Delete(tree);
	free(copy);
	return dg_token_status_reason(status);
}

static const char *
parse(const char *text)
{
	return parse_bytes(text, strlen(text));
}

static void
check_all(const char *const *texts, const char *reason)
{
	for (; *texts != NULL; texts++)
	{
		const char *got = parse(*texts);

		CHECK_MSG(strcmp(got, reason) == 0, "%s: %s", *texts, got);
	}
}

UNIT_TEST(accepted)
{
	static const char *const texts[] = {
		"{}", " {} ", "\t\r\n{\n}\n", "{\"\":1}", "{\"a\":1,\"b\":-1}",
		"{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "{\"a\":\"\\u00e9\\uD83D\\uDE00\"}",
		"{\"a\":[1,2,[]],\"b\":{\"a\":{}}}", "{\"a\":true,\"b\":false,\"c\":null}",
		"{\"a\":0}", "{\"a\":9007199254740991}", "{\"a\":-9007199254740991}",
		"{\"a\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"}",
		"{\"a\":\"\xef\xbf\xbf\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80\"}",
		"{\"a\":1,\"A\":2}", "{\"a\":1,\"a \":2}", NULL
	};

	check_all(texts, "ok");
}

UNIT_TEST(not_json)
{
	static const char *const texts[] = {
		"", " ", "{", "}", "{]", "[}", "hello", "{a:1}", "{'a':1}", "{\"a\"}", "{\"a\":}",
		"{\"a\":1,}", "{,\"a\":1}", "{\"a\":1 \"b\":2}", "{\"a\" 1}", "{\"a\":1}}", "{\"a\":1}x",
		"{}{}", "{} {}", "{\"a\":1}//", "/**/{}", "{\"a\":tru}", "{\"a\":True}", "{\"a\":nul",
		"{\"a\":+1}", "{\"a\":01}", "{\"a\":00}", "{\"a\":-01}", "{\"a\":-}", "{\"a\":.5}", "{\"a\":0x10}",
		"{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":\"\n\"}", "{\"a\":\"\t\"}", "{\"a\":\"\x01\"}",
		"{\"a\":\"\\x41\"}", "{\"a\":\"\\u12g4\"}", "{\"a\":\"\\u12\"}", "{\"a\":\"\\", "{\"a\":\"\\u",
		"{\"a\":\"x}", "{\"a\":1;\"b\":2}", "{\f}", "{\v}", "{\"a\":[1,]}", "{\"a\":[,]}",
		"\xef\xbb\xbf{}", "{\"a\":\"\\uD83D\\u12\"}", "{\"a\":1\xc2\xa0}", NULL
	};

	check_all(texts, "bad_json");
}

UNIT_TEST(not_an_object)
{
	static const char *const texts[] = {
		"[]", "1", "\"a\"", "null", "true", " [{}] ", NULL
	};

	check_all(texts, "not_object");
}

UNIT_TEST(numbers)
{
	static const char *const texts[] = {
		"{\"a\":1.0}", "{\"a\":1e3}", "{\"a\":1E3}", "{\"a\":-0}", "{\"a\":0.5}", "{\"a\":1.5}", "{\"a\":-0.0}",
		"{\"a\":0e0}", "{\"a\":9007199254740992}", "{\"a\":-9007199254740992}",
		"{\"a\":9223372036854775807}", "{\"a\":9223372036854775808}",
		"{\"a\":18446744073709551617}", "{\"a\":1e400}",
		"{\"a\":99999999999999999999999999999999999999999999999999999999999999999999999999999999}", NULL
	};
	const char *text = "{\"a\":9007199254740991,\"b\":-9007199254740991,\"c\":\"1\"}";
	cJSON	   *tree;
	int64_t		value;

	check_all(texts, "bad_number");
	REQUIRE(dg_token_json_parse(text, strlen(text), &tree) == DG_TOKEN_OK);
	CHECK(dg_token_json_integer(dg_token_json_member(tree, "a"), &value));
	CHECK_INT_EQ(value, INT64_C(9007199254740991));
	CHECK(dg_token_json_integer(dg_token_json_member(tree, "b"), &value));
	CHECK_INT_EQ(value, INT64_C(-9007199254740991));
	CHECK(!dg_token_json_integer(dg_token_json_member(tree, "c"), &value));
	CHECK(dg_token_json_member(tree, "A") == NULL);
	cJSON_Delete(tree);
}

UNIT_TEST(nul_characters)
{
	CHECK_STR_EQ(parse("{\"a\":\"x\\u0000y\"}"), "nul_character");
	CHECK_STR_EQ(parse("{\"a\\u0000\":1}"), "nul_character");
	CHECK_STR_EQ(parse_bytes("{\"a\":\"x\0y\"}", 11), "nul_character");
	CHECK_STR_EQ(parse_bytes("{}\0", 3), "nul_character");
	CHECK_STR_EQ(parse_bytes("\0{}", 3), "nul_character");
	CHECK_STR_EQ(parse_bytes("{}\0{}", 5), "nul_character");
}

UNIT_TEST(invalid_unicode)
{
	static const char *const texts[] = {
		"{\"a\":\"\x80\"}", "{\"a\":\"\xc0\x80\"}", "{\"a\":\"\xc1\xbf\"}", "{\"a\":\"\xc3\"}", "{\"a\":\"\xc3\"",
		"{\"a\":\"\xe0\x80\x80\"}", "{\"a\":\"\xe0\x9f\xbf\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xed\xbf\xbf\"}",
		"{\"a\":\"\xf0\x80\x80\x80\"}", "{\"a\":\"\xf0\x8f\xbf\xbf\"}", "{\"a\":\"\xf4\x90\x80\x80\"}",
		"{\"a\":\"\xf5\x80\x80\x80\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\xfe\"}", "{\"a\":\"\xe2\x82\"}", "\xc3",
		"{\"a\":\"\\uD800\"}", "{\"a\":\"\\uDC00\"}", "{\"a\":\"\\uD800\\uD800\"}", "{\"a\":\"\\uD800x\"}",
		"{\"a\":\"\\uD800\\n\"}", "{\"a\":\"\\uDE00\\uD83D\"}", "{\"\xe9\":1}", NULL
	};

	check_all(texts, "bad_utf8");
}

UNIT_TEST(duplicate_names)
{
	static const char *const texts[] = {
		"{\"a\":1,\"a\":1}", "{\"a\":1,\"b\":2,\"a\":3}", "{\"act\":1,\"\\u0061ct\":2}",
		"{\"a\":{\"b\":1,\"b\":2}}", "{\"a\":[{\"b\":1,\"\\u0062\":2}]}", "{\"\":1,\"\":2}",
		"{\"\xc3\xa9\":1,\"\\u00E9\":2}", "{\"/\":1,\"\\/\":2}",
		"{\"\\uD83D\\uDE00\":1,\"\xf0\x9f\x98\x80\":2}", NULL
	};

	check_all(texts, "duplicate_name");
}

/* Brackets by the thousand cost no stack. */
UNIT_TEST(depth)
{
	char	   *bomb = malloc(10001);
	int			i;

	CHECK_STR_EQ(parse("{\"a\":[[[[[[[]]]]]]]}"), "ok");
	CHECK_STR_EQ(parse("{\"a\":[[[[[[[[]]]]]]]]}"), "too_deep");
	CHECK_STR_EQ(parse("{\"a\":[[],[],[],[],[],[],[],[],[],{},{},{}]}"), "ok");
	memset(bomb, '[', 10000);
	bomb[10000] = '\0';
	CHECK_STR_EQ(parse(bomb), "too_deep");
	for (i = 0; i < 10000; i += 4)
		memcpy(bomb + i, "{\"\":", 4);
	CHECK_STR_EQ(parse(bomb), "too_deep");
	free(bomb);
}

UNIT_TEST(number_of_values)
{
	char		text[2048];
	int			n;

	for (n = 126; n <= 128; n++)
	{
		char	   *p = text;
		int			i;

		p += sprintf(p, "{\"a\":[");
		for (i = 0; i < n; i++)
			p += sprintf(p, "%s1", i > 0 ? "," : "");
		sprintf(p, "]}");
		CHECK_STR_EQ(parse(text), n <= 126 ? "ok" : "too_many_values");
	}
}

/* Every prefix of a text is an error, and none reads past its end. */
UNIT_TEST(truncated)
{
	static const char text[] =
		"{\"a\":\"\\u00e9\\uD83D\\uDE00\xf0\x9f\x98\x80\",\"b\":[true,null,-12],\"c\":{\"d\":false}}";
	size_t		len;

	for (len = 0; len < sizeof(text) - 1; len++)
	{
		char	   *exact = malloc(len > 0 ? len : 1);

		memcpy(exact, text, len);
		CHECK(dg_token_json_check(exact, len) != DG_TOKEN_OK);
		free(exact);
		CHECK(strcmp(parse_bytes(text, len), "ok") != 0);
	}
	CHECK_STR_EQ(parse(text), "ok");
}

/* Memory that fails at the n-th request of cJSON: no tree, no leak. */
UNIT_TEST(out_of_memory)
{
	cJSON_Hooks hooks = {failing_malloc, free};
	int			n;
	int			failures = 0;

	cJSON_InitHooks(&hooks);
	for (n = 0; n < 100; n++)
	{
		const char *reason;

		allocations_left = n;
		reason = parse("{\"a\":[1,\"x\",{\"b\":null}],\"c\":\"d\"}");
		if (strcmp(reason, "ok") == 0)
			break;
		CHECK_STR_EQ(reason, "no_memory");
		failures++;
	}
	cJSON_InitHooks(NULL);
	CHECK(failures > 5 && n < 100);
}

int
main(void)
{
	RUN(accepted);
	RUN(not_json);
	RUN(not_an_object);
	RUN(numbers);
	RUN(nul_characters);
	RUN(invalid_unicode);
	RUN(duplicate_names);
	RUN(depth);
	RUN(number_of_values);
	RUN(truncated);
	RUN(out_of_memory);
	return unit_done();
}
