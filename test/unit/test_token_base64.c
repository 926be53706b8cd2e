/*-------------------------------------------------------------------------
 *
 * test_token_base64.c
 *	  Text encodings have exactly one accepted spelling.
 *
 * test/unit/test_token_base64.c
 *
 *-------------------------------------------------------------------------
 */
#include "token_maker.h"

static bool
decodes(const char *text, const char *expected)
{
	unsigned char out[64];
	size_t		len;

	if (!dg_token_base64url_decode(text, strlen(text), out, sizeof(out), &len))
		return false;
	return len == strlen(expected) && memcmp(out, expected, len) == 0;
}

/* RFC 4648, section 10, without padding */
UNIT_TEST(published_vectors)
{
	CHECK(decodes("", ""));
	CHECK(decodes("Zg", "f"));
	CHECK(decodes("Zm8", "fo"));
	CHECK(decodes("Zm9v", "foo"));
	CHECK(decodes("Zm9vYg", "foob"));
	CHECK(decodes("Zm9vYmE", "fooba"));
	CHECK(decodes("Zm9vYmFy", "foobar"));
	CHECK(decodes("-_-_", "\xfb\xff\xbf"));
}

UNIT_TEST(other_spellings_refused)
{
	static const char *const bad[] = {
		"Zg==", "Zg=", "Zm8=", "Z", "Zm9vY", "Zh", "Zn", "Zm9", "Zm+v", "Zm/v",
		" Zg", "Zg ", "Zm9v\n", "Zm\n9v", "Zm9v.", "Zm9\xc3\xa9", "Zm9v\x7f", "="
	};
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		unsigned char out[64];
		size_t		len;

		CHECK_MSG(!dg_token_base64url_decode(bad[i], strlen(bad[i]), out,
											 sizeof(out), &len), "%s", bad[i]);
	}
}

/* Of all texts of up to three characters, each value has one. */
UNIT_TEST(one_spelling_for_each_value)
{
	long		one = 0;
	long		two = 0;
	int			a,
				b,
				c;

	for (a = 0; a < 256; a++)
	{
		for (b = 0; b < 256; b++)
		{
			char		text[2] = {(char) a, (char) b};
			unsigned char out[3];
			size_t		len;

			if (dg_token_base64url_decode(text, 2, out, sizeof(out), &len))
				one++;
		}
	}
	CHECK_INT_EQ(one, 256);
	for (a = 32; a < 127; a++)
	{
		for (b = 32; b < 127; b++)
		{
			for (c = 32; c < 127; c++)
			{
				char		text[3] = {(char) a, (char) b, (char) c};
				unsigned char out[3];
				size_t		len;

				if (dg_token_base64url_decode(text, 3, out, sizeof(out), &len))
					two++;
			}
		}
	}
	CHECK_INT_EQ(two, 65536);
}

UNIT_TEST(room_is_respected)
{
	unsigned char out[4] = {0, 0, 0, 0x55};
	size_t		len;

	CHECK(dg_token_base64url_decode("Zm9v", 4, out, 3, &len));
	CHECK_INT_EQ(out[3], 0x55);
	CHECK(!dg_token_base64url_decode("Zm9v", 4, out, 2, &len));
	CHECK(!dg_token_base64url_decode("Zg", 2, out, 0, &len));
}

UNIT_TEST(padded_base64)
{
	unsigned char out[64];
	size_t		len;

	CHECK(dg_token_base64_decode("Zm9vYg==", 8, out, sizeof(out), &len));
	CHECK_INT_EQ(len, 4);
	CHECK(dg_token_base64_decode("+/+/", 4, out, sizeof(out), &len));
	CHECK(!dg_token_base64_decode("Zm9vYg", 6, out, sizeof(out), &len));
	CHECK(!dg_token_base64_decode("Zm9vYh==", 8, out, sizeof(out), &len));
	CHECK(!dg_token_base64_decode("Zg==Zg==", 8, out, sizeof(out), &len));
	CHECK(!dg_token_base64_decode("Z===", 4, out, sizeof(out), &len));
	CHECK(!dg_token_base64_decode("====", 4, out, sizeof(out), &len));
	CHECK(!dg_token_base64_decode("-_-_", 4, out, sizeof(out), &len));
}

UNIT_TEST(encoding_round_trip)
{
	unsigned char data[100];
	size_t		n;

	for (n = 0; n < sizeof(data); n++)
		data[n] = (unsigned char) (n * 37 + 11);
	for (n = 0; n < sizeof(data); n++)
	{
		char		text[200];
		unsigned char back[100];
		size_t		len = dg_token_base64_encode(data, n, text, sizeof(text));
		size_t		back_len;

		CHECK_INT_EQ(len, (n + 2) / 3 * 4);
		CHECK(dg_token_base64_decode(text, len, back, sizeof(back), &back_len));
		CHECK(back_len == n && memcmp(back, data, n) == 0);
		if (n > 0)
			CHECK_INT_EQ(dg_token_base64_encode(data, n, text, len), 0);
	}
}

UNIT_TEST(hexadecimal)
{
	unsigned char out[2];
	char		text[5];

	CHECK(dg_token_hex_decode("0aff", 4, out, 2));
	CHECK(out[0] == 0x0a && out[1] == 0xff);
	dg_token_hex_encode(out, 2, text);
	CHECK_STR_EQ(text, "0aff");
	CHECK(!dg_token_hex_decode("0aFF", 4, out, 2));
	CHECK(!dg_token_hex_decode("0af", 3, out, 2));
	CHECK(!dg_token_hex_decode("0aff0", 5, out, 2));
	CHECK(!dg_token_hex_decode("0afg", 4, out, 2));
	CHECK(!dg_token_hex_decode("", 0, out, 2));
}

int
main(void)
{
	RUN(published_vectors);
	RUN(other_spellings_refused);
	RUN(one_spelling_for_each_value);
	RUN(room_is_respected);
	RUN(padded_base64);
	RUN(encoding_round_trip);
	RUN(hexadecimal);
	return unit_done();
}
