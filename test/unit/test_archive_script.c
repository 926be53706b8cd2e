/*
 * test_archive_script.c
 *		Plain dumps that people have made, joined or changed: which table a name
 *		means, of which database the rows are, and what cannot be followed.
 */
#include "archive_writer.h"

static char text[2000];

/*
 * What is read of a script by a session of a database: its tables as
 * "schema.table(columns)=rows", or the error.
 */
static const char *
read_script(const char *sql, const char *database)
{
	DgArchiveOptions opts;
	DgArchiveError err;
	DgArchive  *a;
	int			i;
	int			k;

	memset(&opts, 0, sizeof(opts));
	opts.database = database;
	a = dg_archive_open_memory(sql, strlen(sql), &opts, &err);
	if (a == NULL)
	{
		snprintf(text, sizeof(text), "%d %s", err.code, err.message);
		return text;
	}
	text[0] = '\0';
	for (i = 0; i < dg_archive_table_count(a); i++)
	{
		const DgArchiveTable *t = dg_archive_table(a, i);
		Result		rows = read_table(a, i);
		size_t		used = strlen(text);

		used += (size_t) snprintf(text + used, sizeof(text) - used, "%s.%s(", t->schema, t->name);
		for (k = 0; k < t->column_count; k++)
			used += (size_t) snprintf(text + used, sizeof(text) - used, "%s%s", k > 0 ? "," : "", t->columns[k]);
		snprintf(text + used, sizeof(text) - used, ")%s=%s ", t->no_columns != NULL ? t->no_columns : "",
				 rows.status == DG_ARCHIVE_OK ? rows.text : rows.err.message);
	}
	dg_archive_close(&a);
	return text;
}

static bool
says(const char *sql, const char *what)
{
	return strstr(read_script(sql, "mine"), what) != NULL;
}

/* ---- names ---- */

UNIT_TEST(names_without_a_schema)
{
	/* what a session begins with */
	CHECK_STR_EQ(read_script("COPY t (a) FROM stdin;\n1\n\\.\n", NULL), "public.t(a)=1; ");
	/* every way of setting search_path */
	CHECK_STR_EQ(read_script("SET search_path = app, pg_catalog;\nCOPY t (a) FROM stdin;\n1\n\\.\n", NULL), "app.t(a)=1; ");
	CHECK_STR_EQ(read_script("set SEARCH_PATH to \"My App\";\nCOPY t (a) FROM stdin;\n1\n\\.\n", NULL), "My App.t(a)=1; ");
	CHECK_STR_EQ(read_script("SET SESSION search_path TO 'My App', \"$user\";\nINSERT INTO t (a) VALUES (1);\n", NULL), "My App.t(a)=1; ");
	CHECK_STR_EQ(read_script("SET LOCAL search_path=app;\nCOPY t (a) FROM stdin;\n1\n\\.\n", NULL), "app.t(a)=1; ");
	CHECK_STR_EQ(read_script("SET SCHEMA 'app';\nCOPY t (a) FROM stdin;\n1\n\\.\n", NULL), "app.t(a)=1; ");
	CHECK_STR_EQ(read_script("SELECT pg_catalog.set_config('search_path', '\"My App\", pg_catalog', false);\nCOPY t (a) FROM stdin;\n1\n\\.\n", NULL),
				 "My App.t(a)=1; ");
	CHECK_STR_EQ(read_script("SET search_path = app;\nRESET search_path;\nCOPY t (a) FROM stdin;\n1\n\\.\n", NULL), "public.t(a)=1; ");
	CHECK_STR_EQ(read_script("SET search_path = app;\nSET search_path TO DEFAULT;\nCOPY t (a) FROM stdin;\n1\n\\.\n", NULL), "public.t(a)=1; ");
	/* each table as it was when its rows came */
	CHECK_STR_EQ(read_script("SET search_path = a;\nCOPY t (x) FROM stdin;\n1\n\\.\nSET search_path = b;\nCOPY t (x) FROM stdin;\n2\n\\.\n", NULL),
				 "a.t(x)=1; b.t(x)=2; ");
	/* the schema that has it */
	CHECK_STR_EQ(read_script("CREATE TABLE b.t (x integer);\nSET search_path = a, b;\nCREATE TABLE u (y integer);\n"
							 "COPY t (x) FROM stdin;\n1\n\\.\nCOPY u (y) FROM stdin;\n2\n\\.\n", NULL), "b.t(x)=1; a.u(y)=2; ");
	/* if nothing tells, it is not guessed */
	CHECK(says("SET search_path = a, b;\nCOPY t (x) FROM stdin;\n1\n\\.\n", "9 rows of table \"t\", which may be in any schema of search_path (\"a\", \"b\")"));
	CHECK(says("SELECT pg_catalog.set_config('search_path', '', false);\nINSERT INTO t VALUES (1);\n", "search_path is empty"));
	CHECK(says("SET search_path = '';\nINSERT INTO t VALUES (1);\n", "search_path is empty"));
	CHECK(says("SET search_path = \"\";\nINSERT INTO t VALUES (1);\n", "search_path is empty"));
	CHECK(says("SET search_path = :app;\nINSERT INTO t VALUES (1);\n", "something that cannot be followed"));
	/* but for a comment of pg_dump, which names one table and no other */
	CHECK_STR_EQ(read_script("SET search_path = a, b;\n-- Data for Name: t; Type: TABLE DATA; Schema: b; Owner: me\n\nCOPY t (x) FROM stdin;\n1\n\\.\n", NULL),
				 "b.t(x)=1; ");
	CHECK_STR_EQ(read_script("-- Data for Name: t; Type: TABLE DATA; Schema: b; Owner: me\n\nCOPY b.t (x) FROM stdin;\n1\n\\.\n"
							 "COPY c.u (y) FROM stdin;\n2\n\\.\n", NULL), "b.t(x)=1; c.u(y)=2; ");
}

UNIT_TEST(columns_of_definitions)
{
	/* as pg_dump wrote before search_path was emptied */
	CHECK_STR_EQ(read_script("SET search_path = public, pg_catalog;\nCREATE TABLE c (\n    id integer NOT NULL,\n    name text\n);\n"
							 "CREATE TABLE IF NOT EXISTS d (x integer) INHERITS (c);\n"
							 "-- Data for Name: c; Type: TABLE DATA; Schema: public; Owner: me\n\nINSERT INTO c VALUES (1, 'a');\n"
							 "-- Data for Name: d; Type: TABLE DATA; Schema: public; Owner: me\n\nINSERT INTO d VALUES (2, 'b', 3);\n", NULL),
				 "public.c(id,name)=1|a; public.d(id,name,x)=2|b|3; ");
	CHECK_STR_EQ(read_script("CREATE TABLE p (a integer, exclude text, EXCLUDE USING gist (a WITH =)) PARTITION BY LIST (a);\n"
							 "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);\nINSERT INTO p1 VALUES (1, 'x');\n", NULL),
				 "public.p1(a,exclude)=1|x; ");
	/* what is not there, or not known */
	CHECK(says("INSERT INTO t VALUES (1);\n", "public.t()does not define the table=1;"));
	CHECK(says("CREATE TABLE t (LIKE u, b integer);\nINSERT INTO t VALUES (1);\n", "cannot be followed"));
	CHECK(says("CREATE TABLE t AS SELECT 1 AS a;\nINSERT INTO t VALUES (1);\n", "cannot be followed"));
	CHECK(says("CREATE TABLE t (a integer, b integer);\nALTER TABLE ONLY t DROP b, ADD c integer;\nINSERT INTO t VALUES (1, 2);\n", "t()defines the table in a way"));
	CHECK(says("CREATE TABLE t (a integer);\nALTER TABLE IF EXISTS public.t RENAME COLUMN a TO b;\nINSERT INTO t VALUES (1);\n", "t()defines the table in a way"));
	CHECK(says("CREATE TABLE t (a integer);\nALTER TABLE t ADD CONSTRAINT c CHECK (a > 0), ALTER a SET DEFAULT 1, RENAME CONSTRAINT c TO d;\nINSERT INTO t VALUES (1);\n",
			   "t(a)=1;"));
	CHECK(says("CREATE TABLE t (a integer);\nCREATE TABLE t (b integer);\nINSERT INTO t VALUES (1);\n", "t()defines the table in a way"));
	CHECK(says("CREATE TABLE t (a integer);\nDROP TABLE t;\nCREATE TABLE t (a integer);\nINSERT INTO t VALUES (1);\n", "t(a)=1;"));
}

UNIT_TEST(tables_that_change_after_their_rows)
{
	static const char *const changes[] = {
		"UPDATE t SET a = 2", "UPDATE ONLY public.t SET a = 2", "DELETE FROM t", "TRUNCATE t", "TRUNCATE TABLE ONLY u, public.t",
		"DROP TABLE IF EXISTS u, t CASCADE", "ALTER TABLE t RENAME TO u", "ALTER TABLE t RENAME a TO b", "ALTER TABLE public.t SET SCHEMA old",
		"ALTER TABLE t ALTER COLUMN a SET DATA TYPE text USING 'x'", "MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", "ROLLBACK",
		"ALTER SCHEMA public RENAME TO old", "DROP SCHEMA IF EXISTS public CASCADE"
	};
	static const char *const others[] = {
		"UPDATE pg_catalog.pg_database SET datistemplate = false", "DELETE FROM u", "TRUNCATE other.t", "ALTER TABLE ONLY t ADD PRIMARY KEY (a)",
		"ALTER TABLE t ADD COLUMN c integer DEFAULT 1", "ALTER TABLE t SET LOGGED", "ALTER TABLE t ENABLE TRIGGER ALL", "COMMIT",
		"ALTER SCHEMA public OWNER TO me", "ALTER SCHEMA other RENAME TO x", "DROP SCHEMA other"
	};
	char		sql[500];
	size_t		i;

	for (i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
	{
		snprintf(sql, sizeof(sql), "COPY t (a) FROM stdin;\n1\n\\.\n%s;\n", changes[i]);
		CHECK_MSG(read_script(sql, NULL)[0] == '9' && strstr(text, "the script ") != NULL, "%s: %s", changes[i], text);
		snprintf(sql, sizeof(sql), "%s;\nCOPY t (a) FROM stdin;\n1\n\\.\n", changes[i]);
		CHECK_STR_EQ(read_script(sql, NULL), "public.t(a)=1; ");
	}
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++)
	{
		snprintf(sql, sizeof(sql), "COPY t (a) FROM stdin;\n1\n\\.\n%s;\n", others[i]);
		CHECK_STR_EQ(read_script(sql, NULL), "public.t(a)=1; ");
	}
}

/* ---- settings, commands, values ---- */

UNIT_TEST(settings_that_change_between_rows)
{
	CHECK_STR_EQ(read_script("SET NAMES 'UTF8';\nCOPY t (a) FROM stdin;\n1\n\\.\nSET client_encoding = 'utf-8';\n\\encoding UTF8\nCOPY u (a) FROM stdin;\n2\n\\.\n", NULL),
				 "public.t(a)=1; public.u(a)=2; ");
	CHECK(says("SET client_encoding = 'UTF8';\nCOPY t (a) FROM stdin;\n1\n\\.\nSET client_encoding = 'LATIN1';\n", "client_encoding changes between rows"));
	CHECK(says("COPY t (a) FROM stdin;\n1\n\\.\n\\encoding LATIN1\n", "client_encoding changes between rows"));
	CHECK(says("COPY t (a) FROM stdin;\n1\n\\.\nSELECT set_config('client_encoding', 'LATIN1', false);\n", "client_encoding changes between rows"));
	CHECK(says("INSERT INTO t VALUES ('a');\nSET standard_conforming_strings = off;\n", "standard_conforming_strings changes"));
}

UNIT_TEST(commands_of_psql)
{
	static const char *const refused[] = {
		"\\i more.sql", "\\ir more.sql", "\\include more.sql", "\\copy t from 'x'", "\\if :x", "\\q", "\\gexec", "\\.", "\\"
	};
	char		sql[500];
	size_t		i;

	CHECK_STR_EQ(read_script("\\set ON_ERROR_STOP on\n\\echo 'x;\n\\restrict a\n\\timing\nCOPY t (a) FROM stdin;\n1\n\\.\n\\unrestrict a\n\\dt+ x\n", NULL),
				 "public.t(a)=1; ");
	for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
	{
		snprintf(sql, sizeof(sql), "SET a = 1;\n%s\nCOPY t (a) FROM stdin;\n1\n\\.\n", refused[i]);
		CHECK_MSG(says(sql, "cannot be followed"), "%s: %s", refused[i], text);
	}
}

UNIT_TEST(values_of_inserts)
{
	CHECK_STR_EQ(read_script("INSERT INTO t (a) VALUES (E'a\\\\b\\'c''d');\n", NULL), "public.t(a)=a\\b'c'd; ");
	/* escapes that pg_dump does not write are not taken for something else */
	CHECK(says("INSERT INTO t (a) VALUES (E'a\\nb');\n", "a value that pg_dump does not write"));
	CHECK(says("SET standard_conforming_strings = off;\nINSERT INTO t (a) VALUES ('a\\tb');\n", "a value that pg_dump does not write"));
	/* newlines that were made CR LF, all of them */
	CHECK_STR_EQ(read_script("SET a = 1;\r\nINSERT INTO t (a, b) VALUES ('x\r\ny''\r\r\nz\r', '\r\n');\r\n", NULL), "public.t(a,b)=x\ny'\r\nz\r|\n; ");
	CHECK_STR_EQ(read_script("SET a = 1;\nINSERT INTO t (a) VALUES ('x\r\ny');\n", NULL), "public.t(a)=x\r\ny; ");
}

static bool
is_two(void *arg, const char *p, size_t len)
{
	(void) arg;
	return len == 1 && *p == '2';
}

/*
 * What filtering the rows of a table of three columns by a field comes to.
 */
static const char *
filter_rows(const char *lines, int field)
{
	DgArchiveFilter filter = {field, is_two, NULL};
	DgArchiveError err;
	DgArchiveRow row;
	DgArchive  *a;
	DgArchiveRows *rows;
	char		sql[500];
	int			rc;
	int			n = 0;

	snprintf(sql, sizeof(sql), "COPY t (a, b, c) FROM stdin;\n%s\\.\n", lines);
	a = dg_archive_open_memory(sql, strlen(sql), NULL, &err);
	rows = dg_archive_rows_open(a, 0, &err);
	CHECK(dg_archive_rows_set_filter(rows, &filter, &err));
	while ((rc = dg_archive_rows_next(rows, &row, &err)) > 0)
		n++;
	snprintf(text, sizeof(text), "%d rows %s", n, rc < 0 ? err.message : "");
	dg_archive_close(&a);
	return text;
}

/* A row that lost its tabs may be anybody's. */
UNIT_TEST(damaged_rows_are_not_passed_over)
{
	CHECK_STR_EQ(filter_rows("2\t1\t1\n1\t2\t1\n1\t1\t2\n", 0), "1 rows ");
	CHECK_STR_EQ(filter_rows("2\t1\t1\n1\t2\t1\n1\t1\t2\n", 2), "1 rows ");
	CHECK(strstr(filter_rows("1\t1\t1\n2    1\n", 0), "row 2 has too few fields") != NULL);
	CHECK(strstr(filter_rows("1\t2    1\n", 1), "row 1 has too few fields") != NULL);
	CHECK(strstr(filter_rows("1\t2\t1\t1\n", 2), "row 1 has too many fields") != NULL);
	CHECK(strstr(filter_rows("1\t2\n", 2), "row 1 has no field 3") != NULL);
}

/* ---- databases ---- */

static const char cluster[] =
"--\n-- PostgreSQL database cluster dump\n--\n\n\\restrict k\nSET client_encoding = 'UTF8';\nCREATE ROLE me;\n\\unrestrict k\n"
"--\n-- Database \"template1\" dump\n--\n\n\\connect template1\n\n--\n-- PostgreSQL database dump\n--\n\nSET a = 1;\n--\n-- PostgreSQL database dump complete\n--\n\n"
"--\n-- Database \"one\" dump\n--\n\n--\n-- PostgreSQL database dump\n--\n\n\\restrict k\nCREATE DATABASE one;\n\\unrestrict k\n\\connect one\n\\restrict k\n"
"COPY public.t (a) FROM stdin;\n1\n\\.\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict k\n"
"--\n-- Database \"two\" dump\n--\n\n--\n-- PostgreSQL database dump\n--\n\nCREATE DATABASE two;\n\\connect two\n"
"COPY public.t (a) FROM stdin;\n2\n\\.\n--\n-- PostgreSQL database dump complete\n--\n\n"
"--\n-- Database \"none\" dump\n--\n\n--\n-- PostgreSQL database dump\n--\n\nCREATE DATABASE none;\n\\connect none\n"
"--\n-- PostgreSQL database dump complete\n--\n\n"
"--\n-- PostgreSQL database cluster dump complete\n--\n\n";

UNIT_TEST(the_database_that_is_meant)
{
	CHECK_STR_EQ(read_script(cluster, "one"), "public.t(a)=1; ");
	CHECK_STR_EQ(read_script(cluster, "two"), "public.t(a)=2; ");
	CHECK_STR_EQ(read_script(cluster, "none"), "");
	CHECK_STR_EQ(read_script(cluster, "template1"), "");
	CHECK(says(cluster, "more than one database, but not \"mine\"; rows are of \"one\", \"two\""));
	/* a database of one's own in a script of a cluster that has rows of one other */
	CHECK(says("-- PostgreSQL database cluster dump\n\\connect a\nCOPY public.t (a) FROM stdin;\n1\n\\.\n\\connect b\n"
			   "-- PostgreSQL database cluster dump complete\n", "but not \"mine\"; rows are of \"a\""));
	/* every form of \connect */
	CHECK_STR_EQ(read_script("\\connect a\nCOPY t (x) FROM stdin;\n1\n\\.\n\\c mine someuser localhost\nCOPY t (x) FROM stdin;\n2\n\\.\n", "mine"), "public.t(x)=2; ");
	CHECK_STR_EQ(read_script("\\connect a\nCOPY t (x) FROM stdin;\n1\n\\.\n\\connect 'mine';\nCOPY t (x) FROM stdin;\n2\n\\.\n", "mine"), "public.t(x)=2; ");
	CHECK_STR_EQ(read_script("\\connect a\nCOPY t (x) FROM stdin;\n1\n\\.\n\\connect \"user=x dbname = 'm\\'\\\\y'\"\nCOPY t (x) FROM stdin;\n2\n\\.\n", "m'\\y"), "public.t(x)=2; ");
	CHECK_STR_EQ(read_script("\\connect a\nCOPY t (x) FROM stdin;\n1\n\\.\n\\connect postgres://me@host:1/mine?a=b\nCOPY t (x) FROM stdin;\n2\n\\.\n", "mine"), "public.t(x)=2; ");
	CHECK(says("\\connect service=x\nCOPY t (x) FROM stdin;\n1\n\\.\n", "does not tell which database"));
	CHECK(says("\\connect postgres://h/%20\nCOPY t (x) FROM stdin;\n1\n\\.\n", "does not tell which database"));
	/* the user alone, or the same again */
	CHECK_STR_EQ(read_script("\\connect a\nCOPY t (x) FROM stdin;\n1\n\\.\n\\connect - me\nCOPY u (x) FROM stdin;\n2\n\\.\n\\connect a\nCOPY v (x) FROM stdin;\n3\n\\.\n\\c\n", "mine"),
				 "public.t(x)=1; public.u(x)=2; public.v(x)=3; ");
	/* rows whose database nobody knows */
	CHECK(says("COPY t (x) FROM stdin;\n1\n\\.\n\\connect mine\nCOPY t (x) FROM stdin;\n2\n\\.\n", "rows before its first \\connect"));
	CHECK_STR_EQ(read_script("COPY t (x) FROM stdin;\n1\n\\.\n\\connect other\nSET a = 1;\n", "mine"), "public.t(x)=1; ");
}

/*
 * Cut off at the end of any line, such a script is an error, or has all of the
 * database's rows.
 */
UNIT_TEST(clusters_that_were_cut_off)
{
	const char *p;

	for (p = cluster; (p = strchr(p, '\n')) != NULL; p++)
	{
		size_t		len = (size_t) (p + 1 - cluster);
		char	   *cut = strndup(cluster, len);

		if (len < 40)
			CHECK(read_script(cut, "two")[0] == '0' + DG_ARCHIVE_NOT_AN_ARCHIVE || text[0] == '0' + DG_ARCHIVE_TRUNCATED);
		else if (strstr(cut, "cluster dump complete") != NULL)
			CHECK_STR_EQ(read_script(cut, "two"), "public.t(a)=2; ");
		else
		{
			CHECK_MSG(read_script(cut, "two")[0] == '0' + DG_ARCHIVE_TRUNCATED, "%zu bytes: %s", len, text);
			CHECK_MSG(read_script(cut, "mine")[0] == '0' + DG_ARCHIVE_TRUNCATED || text[0] == '0' + DG_ARCHIVE_UNSUPPORTED,
					  "%zu bytes: %s", len, text);
		}
		free(cut);
	}
}

/* ---- several dumps in one script ---- */

#define DUMP(rows) "--\n-- PostgreSQL database dump\n--\n\nSET a = 1;\n" rows "--\n-- PostgreSQL database dump complete\n--\n\n"

UNIT_TEST(dumps_one_behind_the_other)
{
	/* the sections of one, or tables dumped one by one */
	CHECK_STR_EQ(read_script(DUMP("CREATE TABLE public.t (a integer);\n") "\xef\xbb\xbf" DUMP("INSERT INTO public.t VALUES (1);\n")
							 DUMP("COPY public.u (a) FROM stdin;\n2\n\\.\n"), NULL), "public.t(a)=1; public.u(a)=2; ");
	/* of two databases or days */
	CHECK(says(DUMP("COPY public.t (a) FROM stdin;\n1\n\\.\n") DUMP("COPY public.t (a) FROM stdin;\n2\n\\.\n"), "two dumps of a table"));
	/* the first one cut off, wherever */
	CHECK(says("--\n-- PostgreSQL database dump\n--\n\nSET a = 1;\n" DUMP("COPY public.t (a) FROM stdin;\n1\n\\.\n"), "had not ended"));
	CHECK(says("--\n-- PostgreSQL database dump\n--\n\nCOPY public.t (a, b) FROM stdin;\n1\t2\n" DUMP("COPY public.u (a, b) FROM stdin;\n1\t2\n\\.\n"),
			   "without an end-of-data line"));
	/* a value that looks like it */
	CHECK_STR_EQ(read_script("COPY public.t (a, b) FROM stdin;\n-- PostgreSQL database dump\tx\n\\.\n", NULL), "public.t(a,b)=-- PostgreSQL database dump|x; ");
	CHECK_STR_EQ(read_script("\xef\xbb\xbf" "copy public.t (a) from stdin;\n-- PostgreSQL database dump\n\\.\n", NULL), "public.t(a)=-- PostgreSQL database dump; ");
	CHECK(says("--\n-- PostgreSQL database dump\n--\n\nINSERT INTO public.t (a) VALUES (1);\nINSERT INTO" DUMP("COPY public.u (a, b) FROM stdin;\n1\t2\n\\.\n"), "comment inside of an INSERT"));
}

/*
 * Does a script tell that it is whole?
 */
static int
whole(const char *sql)
{
	DgArchiveError err;
	DgArchive  *a = dg_archive_open_memory(sql, strlen(sql), NULL, &err);
	int			result = a == NULL ? -1 : dg_archive_info(a)->whole;

	dg_archive_close(&a);
	return result;
}

UNIT_TEST(scripts_that_do_not_tell_their_end)
{
	CHECK_INT_EQ(whole(DUMP("COPY public.t (a) FROM stdin;\n1\n\\.\n")), 1);
	CHECK_INT_EQ(whole(DUMP("COPY public.t (a) FROM stdin;\n1\n\\.\n") "COPY public.u (a) FROM stdin;\n1\n\\.\n"), 0);
	CHECK_INT_EQ(whole("COPY public.u (a) FROM stdin;\n1\n\\.\n" DUMP("")), 1);
	CHECK_INT_EQ(whole("COPY public.u (a) FROM stdin;\n1\n\\.\n--\n-- PostgreSQL database dump complete\n--\n"), 1);
	CHECK_INT_EQ(whole("COPY public.u (a) FROM stdin;\n1\n\\.\n"), 0);
	CHECK_INT_EQ(whole("\\restrict k\nCOPY public.u (a) FROM stdin;\n1\n\\.\n\\unrestrict k\n"), 1);
	CHECK_INT_EQ(whole("\\restrict k\nCOPY public.u (a) FROM stdin;\n1\n\\.\n"), -1);
	CHECK_INT_EQ(whole("CREATE TABLE t (a integer);\n"), 1);
}

int
main(void)
{
	RUN(names_without_a_schema);
	RUN(columns_of_definitions);
	RUN(tables_that_change_after_their_rows);
	RUN(settings_that_change_between_rows);
	RUN(commands_of_psql);
	RUN(values_of_inserts);
	RUN(damaged_rows_are_not_passed_over);
	RUN(the_database_that_is_meant);
	RUN(clusters_that_were_cut_off);
	RUN(dumps_one_behind_the_other);
	RUN(scripts_that_do_not_tell_their_end);
	return unit_done();
}
