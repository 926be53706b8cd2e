/*
 * test_archive_whole.c
 *		What is read is whole: the archives of every version of pg_dump, cut off
 *		everywhere, give an error or all rows; with one byte that is wrong, an error
 *		or as many rows.
 */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "archive_writer.h"

static Bytes
slurp(const char *path)
{
	Bytes		b = {NULL, 0, 0};
	gzFile		f = gzopen(path, "rb");	/* reads others as they are */
	char		buf[65536];
	int			n;

	while (f != NULL && (n = gzread(f, buf, sizeof(buf))) > 0)
		put(&b, buf, (size_t) n);
	if (f != NULL)
		gzclose(f);
	return b;
}

/*
 * A cut tar may have lost some of the zeros at its end, a script the comment
 * marks and empty lines behind its last line: all rows are there.
 */
static void
cut_everywhere(const char *path, size_t first)
{
	Bytes		b = slurp(path);
	Result		all = read_all(b.data, b.len, NULL);
	long		bad = 0;
	size_t		len;

	CHECK_MSG(all.status == DG_ARCHIVE_OK && all.rows > 5, "%s: %s", path, all.err.message);
	for (len = first; len < b.len; len += 7)
	{
		unsigned char *exact = malloc(len + 1);
		Result		got;

		memcpy(exact, b.data, len);
		got = read_all(exact, len, NULL);
		free(exact);
		if (got.status != DG_ARCHIVE_OK)
			continue;
		bad += got.rows != all.rows || got.digest != all.digest;
		bad += b.len - len > 1100;
	}
	CHECK_MSG(bad == 0, "%s: %ld times", path, bad);
	free(b.data);
}

/*
 * No sum tells of a wrong byte in a value; a table or a row that it takes out of
 * sight is noticed.
 */
static void
change_bytes(const char *path, unsigned int seed)
{
	Bytes		b = slurp(path);
	Result		all = read_all(b.data, b.len, NULL);
	long		bad = 0;
	int			i;

	for (i = 0; i < 150; i++)
	{
		size_t		at;
		unsigned char was;
		Result		got;

		seed = seed * 1103515245 + 12345;
		at = (seed >> 4) % b.len;
		seed = seed * 1103515245 + 12345;
		was = b.data[at];
		b.data[at] ^= (unsigned char) (i % 2 ? 1U << (seed >> 16) % 8 : seed >> 16);
		got = read_all(b.data, b.len, NULL);
		bad += got.status == DG_ARCHIVE_OK && got.rows < all.rows;
		b.data[at] = was;
	}
	CHECK_MSG(bad == 0, "%s: %ld times", path, bad);
	free(b.data);
}

/*
 * Of a script, bytes at the places that matter most.
 */
static const char script[] =
"--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n\n"
"--\n-- Data for Name: a; Type: TABLE DATA; Schema: public; Owner: o\n--\n\n"
"COPY public.a (x) FROM stdin;\n1\nit's\n\\.\n\n"
"--\n-- Data for Name: b; Type: TABLE DATA; Schema: public; Owner: o\n--\n\n"
"INSERT INTO public.b VALUES (1);\nINSERT INTO public.b VALUES (2);\n\n"
"--\n-- PostgreSQL database dump complete\n--\n";

static Result
read_changed(const char *from, const char *to)
{
	char		text[sizeof(script) + 100];
	const char *at = strstr(script, from);

	snprintf(text, sizeof(text), "%.*s%s%s", (int) (at - script), script, to, at + strlen(from));
	return read_all(text, strlen(text), NULL);
}

UNIT_TEST(rows_out_of_sight)
{
	CHECK(read_changed("", "").status == DG_ARCHIVE_OK && read_changed("", "").rows == 4);
	CHECK(read_changed("stdin;\n1", "stdin; 1").status == DG_ARCHIVE_CORRUPT);
	CHECK(read_changed("stdin;\n", "stdin; \r\n").rows == 4);
	CHECK(read_changed("COPY", "COPX").status == DG_ARCHIVE_UNSUPPORTED);
	CHECK(read_changed("INSERT", "INSORT").status == DG_ARCHIVE_UNSUPPORTED);
	CHECK(read_changed("INSERT INTO public.b VALUES ", "").status == DG_ARCHIVE_UNSUPPORTED);
	CHECK(read_changed("UTF8'", "UTF8").status == DG_ARCHIVE_CORRUPT);
	CHECK(read_changed("'UTF8'", "$x$UTF8").status != DG_ARCHIVE_OK);
	CHECK(read_changed("'UTF8';", "'UTF8'").status == DG_ARCHIVE_CORRUPT);
	CHECK(read_changed("er: o\n--\n\nINSERT", "INSERT").status == DG_ARCHIVE_UNSUPPORTED);
	CHECK(read_changed("SET client_encoding = 'UTF8';", "COMMENT ON TABLE a IS '-- Name: of a\n-- Data for Name: a';").rows == 4);
	CHECK(read_changed("SET client_encoding = 'UTF8';", "select 1 -- one\n;; ANALYZE;").rows == 4);
}

UNIT_TEST(entries_out_of_sight)
{
	Data		tables[] = {
		{11, "public", "first", NULL, "", "COPY public.first (a) FROM stdin;\n", "1\n\\.\n\n\n", 0},
		{12, "public", "other", NULL, "", "COPY public.other (a) FROM stdin;\n", "2\n\\.\n\n\n", 0}
	};
	Recipe		r = {16, DG_ARCHIVE_NONE, true, 0, NULL, false};
	Bytes		b = make_custom(&r, tables, 2, NULL);
	size_t		i;
	int			found = 0;

	CHECK(read_all(b.data, b.len, NULL).rows == 2);
	for (i = 0; i + 10 < b.len; i++)
	{
		if (memcmp(b.data + i, "TABLE DATA", 10) != 0)
			continue;
		found++;
		b.data[i + 9] = 'B';
		CHECK(read_all(b.data, b.len, NULL).status == DG_ARCHIVE_CORRUPT);
		b.data[i + 9] = 'A';
	}
	CHECK(found == 2);
	free(b.data);
	/* without entries there are no data */
	b = make_custom(&r, tables, 0, NULL);
	CHECK(read_all(b.data, b.len, NULL).status == DG_ARCHIVE_OK);
	put_byte(&b, 1);
	CHECK(read_all(b.data, b.len, NULL).status == DG_ARCHIVE_CORRUPT);
	free(b.data);
}

UNIT_TEST(archives_of_every_version)
{
	static const char *const names[] = {
		"custom", "custom-inserts-sjis-pipe", "custom-root-latin1", "custom-lz4", "custom-zstd", "plain", "plain-rows", "tar.gz"
	};
	size_t		done = 0;
	int			version;
	size_t		i;

	for (version = 12; version <= 18; version++)
	{
		for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		{
			char		path[200];

			snprintf(path, sizeof(path), "test/archives/pg%d/%s", version, names[i]);
			if (access(path, R_OK) != 0)
				continue;
			change_bytes(path, (unsigned int) done);
			cut_everywhere(path, done++ % 7);
		}
	}
	CHECK(done >= 7 * 6);
}

/*
 * Of a directory, each file is cut.
 */
UNIT_TEST(directories)
{
	char		base[] = "/tmp/test_archive_XXXXXX";
	char		command[400];
	DgArchiveError err;
	Result		all;
	DIR		   *dir;
	struct dirent *file;

	if (mkdtemp(base) == NULL)
		abort();
	snprintf(command, sizeof(command), "cp test/archives/pg17/directory/* %s", base);
	CHECK(system(command) == 0);
	memset(&all, 0, sizeof(all));
	read_opened(dg_archive_open(base, NULL, &err), &all);
	CHECK(all.status == DG_ARCHIVE_OK && all.rows > 5);
	dir = opendir(base);
	while (dir != NULL && (file = readdir(dir)) != NULL)
	{
		char		path[400];
		char		kept[400];
		struct stat st;
		off_t		len;

		snprintf(path, sizeof(path), "test/archives/pg17/directory/%s", file->d_name);
		if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
			continue;
		snprintf(kept, sizeof(kept), "%s/%s", base, file->d_name);
		for (len = 0; len < st.st_size; len += len < 300 ? 1 : 13)
		{
			Result		got;

			snprintf(command, sizeof(command), "head -c %ld '%s' > '%s'", (long) len, path, kept);
			if (len % 13 == 0 && system(command) != 0)
				abort();
			if (len % 13 != 0 && truncate(kept, len) != 0)
				abort();
			memset(&got, 0, sizeof(got));
			read_opened(dg_archive_open(base, NULL, &got.err), &got);
			CHECK_MSG(got.status != DG_ARCHIVE_OK, "%s, %ld bytes", file->d_name, (long) len);
		}
		snprintf(command, sizeof(command), "cp '%s' '%s'", path, kept);
		if (system(command) != 0)
			abort();
	}
	if (dir != NULL)
		closedir(dir);
	snprintf(command, sizeof(command), "rm -rf '%s'", base);
	if (system(command) != 0)
		printf("# %s was left behind\n", base);
}

/*
 * The checksum of a file that was compressed as a whole stands at its end, far
 * behind the rows that were read.
 */
UNIT_TEST(checksum_behind_what_was_read)
{
	size_t		size = 4 * 1024 * 1024;
	char	   *big = malloc(size);
	Data		tables[] = {
		{11, "public", "first", NULL, "", "COPY public.first (a) FROM stdin;\n", "1\n\\.\n\n\n", 0},
		{12, "public", "big", NULL, "", "COPY public.big (a) FROM stdin;\n", big, 0}
	};
	Recipe		r = {16, DG_ARCHIVE_NONE, true, 0, NULL, false};
	unsigned int seed = 1;
	size_t		i;
	int			compression;

	for (i = 0; i < size; i++)
	{
		seed = seed * 1103515245 + 12345;
		big[i] = i % 100 == 99 ? '\n' : (char) ('a' + (seed >> 16) % 26);
	}
	strcpy(big + size - 6, "\n\\.\n\n");
	for (compression = 1; compression <= 3; compression++)
	{
		Bytes		b = make_custom(&r, tables, 2, NULL);
		Bytes		packed = compress_bytes(compression, true, b.data, b.len);
		int			damaged;

		for (damaged = 0; damaged < 2; damaged++)
		{
			DgArchiveError err;
			DgArchive  *a;

			if (damaged)
				packed.data[packed.len - (compression == DG_ARCHIVE_GZIP ? 6 : 2)] ^= 1;
			a = dg_archive_open_memory(packed.data, packed.len, NULL, &err);
			CHECK_STR_EQ(read_table(a, 0).text, "1;");
			CHECK(dg_archive_finish(a, &err) == (damaged == 0));
			CHECK_STR_EQ(read_table(a, 0).text, "1;");
			if (damaged)
				CHECK(err.code == DG_ARCHIVE_CHECKSUM || err.code == DG_ARCHIVE_CORRUPT || err.code == DG_ARCHIVE_TRUNCATED);
			dg_archive_close(&a);
		}
		free(packed.data);
		free(b.data);
	}
	free(big);
}

int
main(void)
{
	RUN(rows_out_of_sight);
	RUN(entries_out_of_sight);
	RUN(archives_of_every_version);
	RUN(directories);
	RUN(checksum_behind_what_was_read);
	return unit_done();
}
