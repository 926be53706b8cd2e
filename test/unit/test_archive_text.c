/*
 * test_archive_text.c
 *		COPY's escapes and fields, the key set, small pieces of SQL.
 */
#include "archive/archive_internal.h"
#include "archive_writer.h"

static const DgArchiveInfo utf8 = {.encoding = "UTF8"};

static void
check_unescape(const DgArchiveInfo *info, const char *raw, size_t len,
			   const char *want, size_t want_len)
{
	char		out[200];
	char		in_place[200];
	size_t		n = 0;

	CHECK(dg_archive_copy_unescape(info, raw, len, out, &n));
	CHECK_INT_EQ(n, want_len);
	CHECK_MEM_EQ(out, want, want_len);
	memcpy(in_place, raw, len);
	CHECK(dg_archive_copy_unescape(info, in_place, len, in_place, &n));
	CHECK_INT_EQ(n, want_len);
	CHECK_MEM_EQ(in_place, want, want_len);
}

#define UNESCAPE(raw, want) \
	check_unescape(&utf8, raw, sizeof(raw) - 1, want, sizeof(want) - 1)

UNIT_TEST(escapes)
{
	UNESCAPE("", "");
	UNESCAPE("plain", "plain");
	UNESCAPE("\\b\\f\\n\\r\\t\\v", "\b\f\n\r\t\v");
	UNESCAPE("a\\\\b", "a\\b");
	UNESCAPE("\\\\N", "\\N");
	UNESCAPE("\\N", "N");
	UNESCAPE("\\.", ".");
	UNESCAPE("\\\\.", "\\.");
	UNESCAPE("\\q\\'\\\"", "q'\"");
	UNESCAPE("\\1\\12\\101\\1012", "\1\12\101\1012");
	UNESCAPE("\\377\\477x", "\377?x");
	UNESCAPE("\\8\\9", "89");
	UNESCAPE("\\x41\\x4a\\x4A\\x9z\\xz\\x", "AJJ\tzxzx");
	UNESCAPE("\\x411", "A1");
	UNESCAPE("x\\ty\\\\\\nz", "x\ty\\\nz");
	UNESCAPE("\xc3\xa9\\n", "\xc3\xa9\n");
}

UNIT_TEST(invalid_escapes)
{
	static const char *const bad[] = {
		"\\", "abc\\", "\\\\\\", "\\0", "\\000", "\\x0", "\\x00", "a\\0b", "\\400"
	};
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		char		out[100];
		size_t		n;

		CHECK(!dg_archive_copy_unescape(&utf8, bad[i], strlen(bad[i]), out, &n));
	}
}

/* In these encodings a backslash may be the second half of a character. */
UNIT_TEST(trail_bytes)
{
	static const char *const names[] = {
		"SJIS", "SHIFT_JIS_2004", "BIG5", "GBK", "UHC", "JOHAB", "GB18030"
	};
	size_t		i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		DgArchiveInfo info = {.encoding = names[i], .trail_bytes = true};

		check_unescape(&info, "\x83\\n\\n", 5, "\x83\\n\n", 4);
		check_unescape(&info, "\\\\\x95\\\\t", 6, "\\\x95\\\t", 4);
		check_unescape(&info, "a\x83", 2, "a\x83", 2);
	}
	{
		DgArchiveInfo sjis = {.encoding = "SJIS", .trail_bytes = true};
		DgArchiveInfo gb = {.encoding = "GB18030", .trail_bytes = true};

		/* half-width kana is one byte; GB18030 has characters of four */
		check_unescape(&sjis, "\xb1\\n", 3, "\xb1\n", 2);
		check_unescape(&gb, "\x81\x30\x81\x30\\n", 6, "\x81\x30\x81\x30\n", 5);
	}
}

UNIT_TEST(fields_of_a_line)
{
	static const char line[] = "a\t\t\\N\t\\\\N\tlast";
	DgArchiveField f;

	CHECK(dg_archive_copy_field(line, strlen(line), 0, &f));
	CHECK(f.len == 1 && f.ptr[0] == 'a' && !f.isnull);
	CHECK(dg_archive_copy_field(line, strlen(line), 1, &f));
	CHECK(f.len == 0 && !f.isnull);
	CHECK(dg_archive_copy_field(line, strlen(line), 2, &f));
	CHECK(f.isnull);
	CHECK(dg_archive_copy_field(line, strlen(line), 3, &f));
	CHECK(f.len == 3 && !f.isnull);
	CHECK(dg_archive_copy_field(line, strlen(line), 4, &f));
	CHECK(f.len == 4);
	CHECK(!dg_archive_copy_field(line, strlen(line), 5, &f));
	CHECK(dg_archive_copy_field("", 0, 0, &f) && f.len == 0);
	CHECK(!dg_archive_copy_field("", 0, 1, &f));
}

static bool
qualified(const char *sql, const char *want_schema, const char *want_name)
{
	DgArchiveArena arena = {NULL, 0};
	DgArchiveText text;
	const char *schema;
	const char *name;
	bool		ok;

	dg_archive_text_init(&text, sql, strlen(sql), true);
	ok = dg_archive_text_qualified(&text, &arena, &schema, &name) &&
		strcmp(schema, want_schema) == 0 && strcmp(name, want_name) == 0;
	dg_archive_arena_free(&arena);
	return ok;
}

UNIT_TEST(identifiers)
{
	char		longest[2000];

	CHECK(qualified("public.item", "public", "item"));
	CHECK(qualified("item", "", "item"));
	CHECK(qualified("Public.ITEM", "public", "item"));
	CHECK(qualified("\"Public\".\"a\"\"b.c\"", "Public", "a\"b.c"));
	CHECK(qualified("\xc3\xa9t\xc3\xa9._x$1", "\xc3\xa9t\xc3\xa9", "_x$1"));
	CHECK(!qualified("public.", "public", ""));
	CHECK(!qualified(".item", "", "item"));
	CHECK(!qualified("\"\"", "", ""));
	CHECK(!qualified("\"open", "", "open"));
	CHECK(!qualified("1st", "", "1st"));
	CHECK(!qualified("'item'", "", "item"));
	CHECK(!qualified("", "", ""));
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	CHECK(!qualified(longest, "", longest));
	longest[0] = '"';
	CHECK(!qualified(longest, "", longest));
}

static int
columns(const char *sql)
{
	DgArchiveArena arena = {NULL, 0};
	DgArchiveText text;
	const char **names;
	int			count;

	dg_archive_text_init(&text, sql, strlen(sql), true);
	if (!dg_archive_text_columns(&text, &arena, &names, &count))
		count = -1;
	dg_archive_arena_free(&arena);
	return count;
}

UNIT_TEST(column_lists)
{
	CHECK_INT_EQ(columns("(a)"), 1);
	CHECK_INT_EQ(columns(" ( a , \"b,c\" , \"d)\" )"), 3);
	CHECK_INT_EQ(columns("(\"a)\", b, c, d, e, f, g, h, i, j)"), 10);
	CHECK_INT_EQ(columns("()"), -1);
	CHECK_INT_EQ(columns("(a"), -1);
	CHECK_INT_EQ(columns("(a,)"), -1);
	CHECK_INT_EQ(columns("(a b)"), -1);
	CHECK_INT_EQ(columns("a"), -1);
}

int
main(void)
{
	RUN(escapes);
	RUN(invalid_escapes);
	RUN(trail_bytes);
	RUN(fields_of_a_line);
	RUN(identifiers);
	RUN(column_lists);
	return unit_done();
}
