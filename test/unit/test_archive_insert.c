/*
 * test_archive_insert.c
 *		Rows that were dumped as INSERT statements.
 */
#include "archive_writer.h"

static const char create[] =
"CREATE TABLE public.item (\n    id integer NOT NULL,\n    name text,\n"
"    twice integer GENERATED ALWAYS AS ((id * 2)) STORED\n);\n";

/*
 * Reads sql as the data of a table in a custom archive.
 */
static Result
read_sql(const char *sql, bool std_strings_off, const char *encoding)
{
	Recipe		r = {16, DG_ARCHIVE_GZIP, true, 0, encoding, std_strings_off};
	Data		t = {5, "public", "item", create, "", NULL, NULL, 0};
	Bytes		b;
	Result		got;

	t.rows = sql;
	b = make_custom(&r, &t, 1, NULL);
	got = read_all(b.data, b.len, NULL);
	free(b.data);
	return got;
}

static void
check_rows(const char *sql, const char *want)
{
	Result		got = read_sql(sql, false, NULL);

	CHECK_MSG(got.status == DG_ARCHIVE_OK, "%s", got.err.message);
	CHECK_STR_EQ(got.text, want);
}

static void
check_fault(const char *sql, DgArchiveStatus want)
{
	Result		got = read_sql(sql, false, NULL);

	CHECK_MSG(got.status == want, "status %d for %s", got.status, sql);
}

UNIT_TEST(without_column_list)
{
	check_rows("INSERT INTO public.item VALUES (1, 'a', DEFAULT);\n"
			   "INSERT INTO public.item VALUES (2, NULL, DEFAULT);\n\n\n",
			   "1|a|<default>;2|<null>|<default>;");
	check_rows("\n\n", "");
	check_fault("INSERT INTO public.item VALUES (1, 'a');\n\n\n", DG_ARCHIVE_CORRUPT);
	check_fault("INSERT INTO public.item VALUES (1, 'a', 2, 3);\n\n\n", DG_ARCHIVE_CORRUPT);
}

UNIT_TEST(with_column_list)
{
	check_rows("INSERT INTO public.item (id, name) VALUES (1, 'a');\n\n\n", "1|a;");
	check_rows("INSERT INTO public.item (name, \"I,d)\") VALUES ('a', 1);\n\n\n", "a|1;");
	check_fault("INSERT INTO public.item (id, name) VALUES (1, 'a', 2);\n\n\n",
				DG_ARCHIVE_CORRUPT);
}

UNIT_TEST(several_rows_a_statement)
{
	check_rows("INSERT INTO public.item (id, name) VALUES\n\t(1, 'a'),\n\t(2, 'b');\n"
			   "INSERT INTO public.item (id, name) VALUES\n\t(3, 'c');\n\n\n",
			   "1|a;2|b;3|c;");
}

UNIT_TEST(clauses)
{
	check_rows("INSERT INTO public.item (id) OVERRIDING SYSTEM VALUE VALUES (1);\n\n\n", "1;");
	check_rows("INSERT INTO public.item (id) OVERRIDING USER VALUE VALUES (1);\n\n\n", "1;");
	check_rows("INSERT INTO public.item (id) VALUES (1) ON CONFLICT DO NOTHING;\n"
			   "INSERT INTO public.item (id) VALUES (2), (3) ON CONFLICT DO NOTHING;\n\n\n",
			   "1;2;3;");
	check_rows("INSERT INTO public.item DEFAULT VALUES;\n"
			   "INSERT INTO public.item DEFAULT VALUES;\n\n\n", ";;");
	check_rows("INSERT INTO public.item DEFAULT VALUES ON CONFLICT DO NOTHING;\n\n\n", ";");
	check_fault("INSERT INTO public.item (id) VALUES (1) ON CONFLICT DO UPDATE SET id = 1;\n\n\n",
				DG_ARCHIVE_CORRUPT);
	check_fault("INSERT INTO public.item (id) VALUES (1) RETURNING id;\n\n\n",
				DG_ARCHIVE_CORRUPT);
}

UNIT_TEST(literals)
{
	check_rows("INSERT INTO public.item (a, b, c, d) VALUES ('it''s', '''', '', '''''');\n\n\n",
			   "it's|'||'';");
	check_rows("INSERT INTO public.item (a, b) VALUES ('x\\', 'y\\''z');\n\n\n", "x\\|y\\'z;");
	check_rows("INSERT INTO public.item (a, b) VALUES ('line\nbreak', '); --\n');\n\n\n",
			   "line\nbreak|); --\n;");
	check_rows("INSERT INTO public.item (a, b, c) VALUES (-1.5e+10, 007, 'NaN');\n\n\n",
			   "-1.5e+10|007|NaN;");
	check_rows("INSERT INTO public.item (a, b, c) VALUES (true, false, 'true');\n\n\n",
			   "t|f|true;");
	check_rows("INSERT INTO public.item (a, b) VALUES (B'0101', B'');\n\n\n", "0101|;");
	check_rows("INSERT INTO public.item (a) VALUES ('NULL'), (NULL), (DEFAULT);\n\n\n",
			   "NULL;<null>;<default>;");
	check_rows("INSERT INTO public.item (a) VALUES (E'a\\\\b\\'c');\n\n\n", "a\\b'c;");
}

UNIT_TEST(nonconforming_strings)
{
	Result		got;

	got = read_sql("INSERT INTO public.item (a, b) VALUES ('a\\\\b', 'c''\\'d');\n\n\n",
				   true, NULL);
	CHECK_INT_EQ(got.status, DG_ARCHIVE_OK);
	CHECK_STR_EQ(got.text, "a\\b|c''d;");
	/* a backslash that is half of a character does not escape the quote */
	got = read_sql("INSERT INTO public.item (a) VALUES ('\x83\\');\n\n\n", true, "SJIS");
	CHECK_INT_EQ(got.status, DG_ARCHIVE_OK);
	CHECK_STR_EQ(got.text, "\x83\\;");
	got = read_sql("INSERT INTO public.item (a) VALUES ('\x83\\');\n\n\n", true, "UTF8");
	CHECK_INT_EQ(got.status, DG_ARCHIVE_TRUNCATED);
}

/* What pg_dump does not write is not guessed at. */
UNIT_TEST(anything_else_is_an_error)
{
	static const char *const bad[] = {
		"DELETE FROM public.item;\n\n\n",
		"INSERT INTO public.item SELECT 1;\n\n\n",
		"INSERT INTO public.item (id) VALUES (1), ;\n\n\n",
		"INSERT INTO public.item (id) VALUES (now());\n\n\n",
		"INSERT INTO public.item (id) VALUES (1 + 1);\n\n\n",
		"INSERT INTO public.item (id) VALUES ('a' 'b');\n\n\n",
		"INSERT INTO public.item (id) VALUES ('a'::text);\n\n\n",
		"INSERT INTO public.item (id) VALUES ($$a$$);\n\n\n",
		"INSERT INTO public.item (id) VALUES ();\n\n\n",
		"INSERT INTO public.item (id) VALUES (X'1F');\n\n\n",
		"INSERT INTO public.item (id) VALUES (1);\n\n\nDROP TABLE x;\n\n\n",
		"INSERT INTO public.item (id) VALUES (1);\nINSERT INTO public.other (id) VALUES (1);\n\n\n",
		"INSERT INTO public.item (id) VALUES (1);\n-- remark\n\n\n"
	};
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_fault(bad[i], DG_ARCHIVE_CORRUPT);
}

UNIT_TEST(truncation)
{
	static const char sql[] =
	"INSERT INTO public.item (id, name) VALUES (1, 'it''s'), (2, NULL);\n"
	"INSERT INTO public.item (id, name) VALUES (3, 'c') ON CONFLICT DO NOTHING;\n\n\n";
	size_t		len;

	/* the last of the newlines can be missed without a loss */
	for (len = 0; len < sizeof(sql) - 3; len++)
	{
		char	   *cut = strdup(sql);
		Result		got;

		cut[len] = '\0';
		got = read_sql(cut, false, NULL);
		CHECK_MSG(got.status != DG_ARCHIVE_OK, "%zu bytes", len);
		free(cut);
	}
	CHECK_INT_EQ(read_sql(sql, false, NULL).rows, 3);
}

/* Rows at every distance from the end of the window. */
UNIT_TEST(rows_across_windows)
{
	Bytes		sql = {NULL, 0, 0};
	long		rows = 30000;
	Result		got;
	long		i;

	for (i = 0; i < rows; i++)
	{
		char		line[400];
		char		name[200];

		memset(name, 'x', sizeof(name));
		name[i % 190] = '\0';
		snprintf(line, sizeof(line), "INSERT INTO public.item (id, name) VALUES "
				 "(%ld, 'it''s %s;)');\n", i, name);
		put(&sql, line, strlen(line));
	}
	put(&sql, "\n\n", 3);
	got = read_sql((const char *) sql.data, false, NULL);
	CHECK_MSG(got.status == DG_ARCHIVE_OK, "%s", got.err.message);
	CHECK_INT_EQ(got.rows, rows);
	free(sql.data);
}

static bool
is_its(void *arg, const char *text, size_t len)
{
	(void) arg;
	return len == 4 && memcmp(text, "it's", 4) == 0;
}

UNIT_TEST(filter)
{
	static const char sql[] =
	"INSERT INTO public.item (id, name) VALUES (1, 'it''s'), (2, 'its'), (3, NULL), "
	"(4, 'it''s'), (5, DEFAULT);\n\n\n";
	Recipe		r = {16, DG_ARCHIVE_NONE, true, 0, NULL, false};
	Data		t = {5, "public", "item", NULL, "", NULL, sql, 0};
	Bytes		b = make_custom(&r, &t, 1, NULL);
	DgArchiveFilter f = {1, is_its, NULL};
	DgArchiveError err;
	DgArchive  *a = dg_archive_open_memory(b.data, b.len, NULL, &err);
	DgArchiveRows *rows;
	DgArchiveRow row;
	DgArchiveField field;

	CHECK(!dg_archive_table(a, 0)->has_columns);
	rows = dg_archive_rows_open(a, 0, &err);
	CHECK(dg_archive_table(a, 0)->has_columns);
	CHECK_STR_EQ(dg_archive_table(a, 0)->columns[1], "name");
	CHECK(dg_archive_rows_set_filter(rows, &f, &err));
	CHECK_INT_EQ(dg_archive_rows_next(rows, &row, &err), 1);
	CHECK_INT_EQ(row.number, 1);
	CHECK(dg_archive_row_field(&row, 1, &field) && field.len == 4);
	CHECK(!dg_archive_row_field(&row, 2, &field));
	CHECK_INT_EQ(dg_archive_rows_next(rows, &row, &err), 1);
	CHECK_INT_EQ(row.number, 4);
	CHECK_INT_EQ(dg_archive_rows_next(rows, &row, &err), 0);
	dg_archive_close(&a);
	free(b.data);
}

/* Columns of a child table come behind those it inherits. */
UNIT_TEST(inherited_columns)
{
	static const char sql[] = "INSERT INTO public.child VALUES (1, 'x', 2);\n\n\n";
	Recipe		r = {16, DG_ARCHIVE_NONE, true, 0, NULL, false};
	Data		t[2] = {
		{6, "public", "child", "CREATE TABLE public.child (\n    extra integer\n)\n"
		"INHERITS (public.item_parent);\n", "", NULL, sql, 0},
		{7, "public", "item_parent", "CREATE TABLE public.item_parent (\n    id integer,\n"
		"    name text,\n    CONSTRAINT c CHECK ((id > 0))\n);\n", "", NULL, "\n\n", 0}
	};
	Bytes		b = make_custom(&r, t, 2, NULL);
	DgArchiveError err;
	DgArchive  *a = dg_archive_open_memory(b.data, b.len, NULL, &err);
	const DgArchiveTable *table = dg_archive_table(a, 0);

	CHECK_INT_EQ(table->column_count, 3);
	CHECK_STR_EQ(table->columns[0], "id");
	CHECK_STR_EQ(table->columns[2], "extra");
	CHECK_STR_EQ(read_table(a, 0).text, "1|x|2;");
	dg_archive_close(&a);
	free(b.data);
	/* a table that inherits from itself */
	t[0].create = "CREATE TABLE public.child (\n)\nINHERITS (public.item_parent);\n";
	t[1].create = "CREATE TABLE public.item_parent (\n)\nINHERITS (public.child);\n";
	b = make_custom(&r, t, 2, NULL);
	a = dg_archive_open_memory(b.data, b.len, NULL, &err);
	CHECK(a != NULL && !dg_archive_table(a, 0)->has_columns);
	dg_archive_close(&a);
	free(b.data);
}

int
main(void)
{
	RUN(without_column_list);
	RUN(with_column_list);
	RUN(several_rows_a_statement);
	RUN(clauses);
	RUN(literals);
	RUN(nonconforming_strings);
	RUN(anything_else_is_an_error);
	RUN(truncation);
	RUN(rows_across_windows);
	RUN(filter);
	RUN(inherited_columns);
	return unit_done();
}
