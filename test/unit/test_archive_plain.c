/*
 * test_archive_plain.c
 *		Plain dumps: finding the data among SQL that looks like data.
 */
#include "archive_writer.h"

static const char dump[] =
"--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n"
"-- Dumped from database version 16.3\n-- Dumped by pg_dump version 17.1\n\n"
"SET statement_timeout = 0;\nSET client_encoding = 'LATIN1';\n"
"SET standard_conforming_strings = on;\n"
"SELECT pg_catalog.set_config('search_path', '', false);\n\n"
"CREATE FUNCTION public.f() RETURNS void LANGUAGE sql AS $f$\n"
"COPY public.no (a) FROM stdin;\nINSERT INTO public.no VALUES (1); -- it's\n$g$ $ $f$;\n"
"CREATE FUNCTION public.g(x integer) RETURNS integer LANGUAGE sql\n BEGIN ATOMIC\n"
" INSERT INTO public.no (a) VALUES (1);\n SELECT CASE WHEN (x > 1) THEN 2 ELSE 3 END;\nEND;\n"
"CREATE RULE r AS ON INSERT TO public.v DO INSTEAD (INSERT INTO public.no VALUES (1); DELETE FROM x);\n"
"CREATE VIEW public.v AS SELECT 'it''s; INSERT INTO public.no VALUES (1);' AS \"a;b\", $1;\n"
"/* INSERT INTO public.no VALUES (1); /* nested */ ; */\n"
"COMMENT ON TABLE public.item IS 'COPY public.no (a) FROM stdin;\nx\n\\.\n';\n"
"CREATE TABLE public.item (\n    id integer NOT NULL,\n    name text DEFAULT ');'::text\n);\n"
"CREATE TABLE public.part (\n    id integer\n);\n"
"--\n-- Data for Name: item; Type: TABLE DATA; Schema: public; Owner: me\n--\n\n"
"COPY public.item (id, name) FROM stdin;\n1\tINSERT INTO public.no VALUES (1);\n2\t\\\\.\n3\t$$\n\\.\n\n\n"
"--\n-- Data for Name: part; Type: TABLE DATA; Schema: public; Owner: me\n--\n\n"
"-- load via partition root public.root\nCOPY public.root (id) FROM stdin;\n\\.\n\n\n"
"--\n-- Data for Name: none; Type: TABLE DATA; Schema: other; Owner: me\n--\n\n\n\n"
"--\n-- Data for Name: ins; Type: TABLE DATA; Schema: other; Owner: me\n--\n\n"
"INSERT INTO other.ins VALUES (1, 'a;b');\nINSERT INTO other.ins VALUES (2, 'c''\n-- d');\n\n\n"
"--\n-- Name: s; Type: SEQUENCE SET; Schema: public; Owner: me\n--\n\n"
"SELECT pg_catalog.setval('public.\"S''q\"', -12, false);\n\n\n"
"ALTER TABLE ONLY public.item\n    ADD CONSTRAINT item_pkey PRIMARY KEY (id);\n"
"ALTER TABLE ONLY public.part\n    ADD CONSTRAINT \"f;k\" FOREIGN KEY (id) REFERENCES public.item(id) ON DELETE CASCADE;\n"
"--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n";

static const char rows[] = "1|INSERT INTO public.no VALUES (1);;2|\\.;3|$$;1|a;b;2|c'\n-- d;";

UNIT_TEST(a_whole_dump)
{
	DgArchiveError err;
	DgArchive  *a = dg_archive_open_memory(dump, sizeof(dump) - 1, NULL, &err);
	const DgArchiveInfo *info;
	const DgArchiveTable *t;

	CHECK_MSG(a != NULL, "%s", err.message);
	if (a == NULL)
		return;
	info = dg_archive_info(a);
	CHECK_INT_EQ(info->format, DG_ARCHIVE_PLAIN);
	CHECK_STR_EQ(info->server_version, "16.3");
	CHECK_STR_EQ(info->dump_version, "17.1");
	CHECK_STR_EQ(info->encoding, "LATIN1");
	CHECK_INT_EQ(dg_archive_table_count(a), 4);
	t = dg_archive_table(a, 0);
	CHECK_STR_EQ(t->name, "item");
	CHECK_STR_EQ(t->types[1], "text");
	t = dg_archive_table(a, 1);
	CHECK_STR_EQ(t->name, "part");
	CHECK_STR_EQ(t->target_name, "root");
	CHECK_STR_EQ(t->types[0], "integer");
	t = dg_archive_table(a, 2);
	CHECK_STR_EQ(t->schema, "other");
	CHECK_STR_EQ(t->name, "none");
	CHECK_INT_EQ(t->form, DG_ARCHIVE_INSERT);
	CHECK_INT_EQ(read_table(a, 2).rows, 0);
	CHECK_INT_EQ(read_table(a, 2).status, DG_ARCHIVE_OK);
	t = dg_archive_table(a, 3);
	CHECK_STR_EQ(t->name, "ins");
	CHECK(!t->has_columns);
	CHECK_INT_EQ(dg_archive_sequence_count(a), 1);
	CHECK_STR_EQ(dg_archive_sequence(a, 0)->name, "S'q");
	CHECK_INT_EQ(dg_archive_sequence(a, 0)->value, -12);
	CHECK(!dg_archive_sequence(a, 0)->is_called);
	dg_archive_close(&a);
	CHECK_STR_EQ(read_all(dump, sizeof(dump) - 1, NULL).text, rows);
}

UNIT_TEST(truncation_at_every_byte)
{
	const char *end = strstr(dump, " complete\n");
	size_t		len;

	for (len = 0; len < (size_t) (end - dump) + 9; len++)
	{
		char	   *cut = malloc(len + 1);

		memcpy(cut, dump, len);
		CHECK_MSG(read_all(cut, len, NULL).status != DG_ARCHIVE_OK, "%zu bytes", len);
		free(cut);
	}
}

UNIT_TEST(compressed_as_a_whole)
{
	int			compression;

	for (compression = 1; compression <= 3; compression++)
	{
		Bytes		b = compress_bytes(compression, true, dump, sizeof(dump) - 1);
		size_t		len;

		CHECK_STR_EQ(read_all(b.data, b.len, NULL).text, rows);
		for (len = 0; len < b.len; len += 7)
			CHECK(read_all(b.data, len, NULL).status != DG_ARCHIVE_OK);
		free(b.data);
	}
}

/* The same text with the line ends that Windows tools leave. */
UNIT_TEST(carriage_returns)
{
	Bytes		b = {NULL, 0, 0};
	const char *p;
	Result		got;

	for (p = dump; *p != '\0'; p++)
	{
		if (*p == '\n')
			put(&b, "\r", 1);
		put(&b, p, 1);
	}
	got = read_all(b.data, b.len, NULL);
	CHECK_MSG(got.status == DG_ARCHIVE_OK, "%s", got.err.message);
	CHECK_INT_EQ(got.rows, 5);
	CHECK(strncmp(got.text, "1|INSERT INTO public.no VALUES (1);;2|\\.;3|$$;", 40) == 0);
	free(b.data);
}

static DgArchiveStatus
status_of(const char *sql)
{
	return read_all(sql, strlen(sql), NULL).status;
}

UNIT_TEST(without_comments)
{
	Result		got;
	const char *sql = "SET client_encoding TO 'shift_jis';\nSET standard_conforming_strings = off;\n"
		"COPY a FROM stdin;\nx\ty\n\\.\n"
		"INSERT INTO b (c) VALUES ('\\\\\x83\\');\nCOPY a (d) FROM stdin;\nz\n\\.\n";

	got = read_all(sql, strlen(sql), NULL);
	CHECK_MSG(got.status == DG_ARCHIVE_OK, "%s", got.err.message);
	CHECK_STR_EQ(got.text, "x|y;\\\x83\\;z;");
}

UNIT_TEST(what_is_refused)
{
	CHECK_INT_EQ(status_of("COPY a (b) FROM '/etc/passwd';\n"), DG_ARCHIVE_UNSUPPORTED);
	CHECK_INT_EQ(status_of("COPY a (b) FROM stdin WITH (FORMAT csv);\nx\n\\.\n"),
				 DG_ARCHIVE_UNSUPPORTED);
	CHECK_INT_EQ(status_of("INSERT INTO a SELECT 1;\n"), DG_ARCHIVE_UNSUPPORTED);
	CHECK_INT_EQ(status_of("INSERT INTO a /* b */ VALUES (1);\n"), DG_ARCHIVE_UNSUPPORTED);
	CHECK_INT_EQ(status_of("\\connect one\nSET a = 1;\nCOPY a (b) FROM stdin;\n\\.\n\\connect two\nCOPY a (b) FROM stdin;\n\\.\n"),
				 DG_ARCHIVE_UNSUPPORTED);
	CHECK_INT_EQ(status_of("COPY a (b) FROM stdin;\nx\n"), DG_ARCHIVE_TRUNCATED);
	CHECK_INT_EQ(status_of("COPY a (b) FROM stdin;"), DG_ARCHIVE_TRUNCATED);
	CHECK_INT_EQ(status_of("SET a = 'b;\n"), DG_ARCHIVE_TRUNCATED);
	CHECK_INT_EQ(status_of("SET a = 1"), DG_ARCHIVE_TRUNCATED);
	CHECK_INT_EQ(status_of("SET a = $x$ ; $y$;"), DG_ARCHIVE_TRUNCATED);
}

/*
 * Of a script of pg_dumpall, what is read as "table(columns) database encoding;".
 */
static const char *
read_database(const char *sql, const char *database)
{
	static char text[500];
	DgArchiveOptions opts;
	DgArchiveError err;
	DgArchive  *a;
	int			i;

	memset(&opts, 0, sizeof(opts));
	opts.database = database;
	a = dg_archive_open_memory(sql, strlen(sql), &opts, &err);
	if (a == NULL)
		return strcpy(text, err.message);
	snprintf(text, sizeof(text), "%s %s %d", dg_archive_info(a)->database, dg_archive_info(a)->encoding,
			 dg_archive_sequence_count(a));
	for (i = 0; i < dg_archive_table_count(a); i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " %s/%s",
				 dg_archive_table(a, i)->name, dg_archive_table(a, i)->column_count > 0 ? dg_archive_table(a, i)->columns[0] : "");
	dg_archive_close(&a);
	return text;
}

UNIT_TEST(several_databases)
{
	static const char two[] =
	"CREATE ROLE me;\n\\connect template1\nSET client_encoding = 'UTF8';\n"
	"\\connect \"One\"\nSET client_encoding = 'LATIN1';\nCREATE TABLE public.a (\n    x integer\n);\n"
	"COPY public.a FROM stdin;\n1\n\\.\nSELECT pg_catalog.setval('public.s', 5, true);\n"
	"-- Data for Name: e; Type: TABLE DATA; Schema: public; Owner: me\n\n"
	"\\connect -reuse-previous=on \"dbname='t\\'w o'\"\nSET client_encoding = 'UTF8';\n"
	"CREATE TABLE public.a (\n    y integer\n);\n"
	"COPY public.a FROM stdin;\n2\n\\.\nINSERT INTO public.b (z) VALUES (1);\n"
	"\\connect three\nSET client_encoding = 'SJIS';\nCOPY public.c (q) FROM stdin;\n\\.\n"
	"SELECT pg_catalog.setval('public.s', 5, true);\n";
	static const char one[] = "\\connect other\nCOPY public.c (q) FROM stdin;\n\\.\n";

	CHECK_STR_EQ(read_database(two, "t'w o"), "t'w o UTF8 0 a/y b/z");
	CHECK_STR_EQ(read_database(two, "three"), "three SJIS 1 c/q");
	CHECK(strncmp(read_database(two, "One"), "One LATIN1 1 a/x e/", 18) == 0);
	CHECK(strstr(read_database(two, "one"), "more than one database, but not \"one\"") != NULL);
	CHECK(strstr(read_database(two, NULL), "more than one database") != NULL);
	CHECK_STR_EQ(read_database(one, "mine"), "other  0 c/q");
}

/* Everything at every distance from the end of the window. */
UNIT_TEST(windows)
{
	Bytes		b = {NULL, 0, 0};
	long		expected = 0;
	Result		got;
	long		i;

	put(&b, "SET a = 1;\n", 11);
	for (i = 0; i < 12000; i++)
	{
		char		text[1000];
		char		pad[200];

		memset(pad, 'x', sizeof(pad));
		pad[i % 187] = '\0';
		snprintf(text, sizeof(text), "-- %s\nSELECT $q%ld$ ';%s $q$ $q%ld$;\n"
				 "COPY t%ld (a, b) FROM stdin;\n%ld\t%s\n\\.\n", pad, i, pad, i, i % 7, i, pad);
		put(&b, text, strlen(text));
		expected++;
	}
	got = read_all(b.data, b.len, NULL);
	CHECK_MSG(got.status == DG_ARCHIVE_OK, "%s", got.err.message);
	CHECK_INT_EQ(got.rows, expected);
	free(b.data);
}

int
main(void)
{
	RUN(a_whole_dump);
	RUN(truncation_at_every_byte);
	RUN(compressed_as_a_whole);
	RUN(carriage_returns);
	RUN(without_comments);
	RUN(what_is_refused);
	RUN(several_databases);
	RUN(windows);
	return unit_done();
}
