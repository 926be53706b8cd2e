/*
 * test_archive_files.c
 *		Directory and tar archives, what kinds of files are opened, and
 *		compressed files in several pieces.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive_writer.h"

static char base[] = "/tmp/test_archive_XXXXXX";

static const char copy_rows[] = "1\tone\n2\t\\N\n\\.\n\n\n";
static const char copy_text[] = "1|one;2|<null>;";

static const char *
in_base(const char *name)
{
	static char path[4][300];
	static int	next;

	next = (next + 1) % 4;
	snprintf(path[next], sizeof(path[next]), "%s/%s", base, name);
	return path[next];
}

static void
write_file(const char *name, const void *data, size_t len)
{
	FILE	   *f = fopen(in_base(name), "wb");

	if (f == NULL || fwrite(data, 1, len, f) != len || fclose(f) != 0)
		abort();
}

/*
 * The toc.dat of a directory or tar archive with tables t0, t1, ... whose data
 * is in the files named.
 */
static Bytes
make_toc(const char *const *files, int count)
{
	Recipe		r = {16, DG_ARCHIVE_GZIP, false, 0, NULL, false};
	Bytes		b = {NULL, 0, 0};
	int			i;

	put_header(&b, &r, 3, count);
	for (i = 0; i < count; i++)
	{
		char		name[20];
		char		copy[100];

		snprintf(name, sizeof(name), "t%d", i);
		snprintf(copy, sizeof(copy), "COPY public.t%d (a, b) FROM stdin;\n", i);
		put_entry(&b, &r, 100 + i, true, name, "TABLE DATA", "", copy, "public");
		put_string(&b, files[i]);
	}
	return b;
}

static void
make_directory(const char *name, const char *const *files, int count)
{
	Bytes		toc = make_toc(files, count);
	char		path[100];

	if (mkdir(in_base(name), 0700) != 0)
		abort();
	snprintf(path, sizeof(path), "%s/toc.dat", name);
	write_file(path, toc.data, toc.len);
	free(toc.data);
}

/*
 * Opens a path and reads all tables.
 */
static Result
read_path(const char *name, bool force_zlib)
{
	DgArchiveOptions opts = {NULL, NULL, force_zlib};
	Result		total;

	memset(&total, 0, sizeof(total));
	read_opened(dg_archive_open(in_base(name), &opts, &total.err), &total);
	return total;
}

UNIT_TEST(directory)
{
	static const char *const files[] = {"100.dat", "101.dat", "102.dat", "103.dat"};
	static const char *const suffixes[] = {"", ".gz", ".lz4", ".zst"};
	Result		got;
	int			i;

	make_directory("dir", files, 4);
	for (i = 0; i < 4; i++)
	{
		char		name[100];
		Bytes		b = compress_bytes(i, true, copy_rows, strlen(copy_rows));

		snprintf(name, sizeof(name), "dir/%s%s", files[i], suffixes[i]);
		write_file(name, b.data, b.len);
		free(b.data);
	}
	got = read_path("dir", false);
	CHECK_MSG(got.status == DG_ARCHIVE_OK, "%s", got.err.message);
	CHECK_STR_EQ(got.text, "1|one;2|<null>;1|one;2|<null>;1|one;2|<null>;1|one;2|<null>;");
	unlink(in_base("dir/102.dat.lz4"));
	got = read_path("dir", false);
	CHECK_INT_EQ(got.status, DG_ARCHIVE_TRUNCATED);
	CHECK_STR_EQ(got.err.table, "public.t2");
	CHECK(strstr(got.err.message, "102.dat") != NULL);
	unlink(in_base("dir/toc.dat"));
	CHECK_INT_EQ(read_path("dir", false).status, DG_ARCHIVE_NOT_AN_ARCHIVE);
}

UNIT_TEST(compressed_toc)
{
	static const char *const files[] = {"100.dat"};
	Bytes		toc = make_toc(files, 1);
	Bytes		gz = compress_bytes(DG_ARCHIVE_GZIP, true, toc.data, toc.len);

	mkdir(in_base("tocgz"), 0700);
	write_file("tocgz/toc.dat.gz", gz.data, gz.len);
	write_file("tocgz/100.dat", copy_rows, strlen(copy_rows));
	CHECK_STR_EQ(read_path("tocgz", false).text, copy_text);
	write_file("tocgz/toc.dat.gz", gz.data, gz.len - 1);
	CHECK_INT_EQ(read_path("tocgz", false).status, DG_ARCHIVE_TRUNCATED);
	gz.data[gz.len - 6] ^= 1;
	write_file("tocgz/toc.dat.gz", gz.data, gz.len);
	CHECK_INT_EQ(read_path("tocgz", false).status, DG_ARCHIVE_CHECKSUM);
	write_file("tocgz/toc.dat.gz", gz.data, gz.len / 2);
	CHECK(read_path("tocgz", false).status != DG_ARCHIVE_OK);
	free(gz.data);
	free(toc.data);
}

/* Names that lead elsewhere, and links. */
UNIT_TEST(names_that_lead_elsewhere)
{
	static const char *const names[] = {
		"../secret", "/etc/passwd", "sub/100.dat", "..", ".", "", "toc.dat"
	};
	static const char *const plain[] = {"100.dat"};
	Result		got;
	size_t		i;

	write_file("secret", copy_rows, strlen(copy_rows));
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		char		dir[20];

		snprintf(dir, sizeof(dir), "evil%zu", i);
		make_directory(dir, &names[i], 1);
		CHECK(read_path(dir, false).status != DG_ARCHIVE_OK);
	}
	make_directory("link", plain, 1);
	CHECK(symlink("../secret", in_base("link/100.dat")) == 0);
	/* whoever can write to the directory may have made the link */
	CHECK(chmod(in_base("link"), 0777) == 0);
	got = read_path("link", false);
	CHECK_INT_EQ(got.status, DG_ARCHIVE_UNREADABLE);
	CHECK(strstr(got.err.message, "symbolic link") != NULL && strstr(got.err.hint, "cp -rL") != NULL);
	CHECK(chmod(in_base("link"), 0770) == 0);
	CHECK_INT_EQ(read_path("link", false).status, DG_ARCHIVE_UNREADABLE);
	CHECK(chmod(in_base("link"), 0755) == 0);
	CHECK_STR_EQ(read_path("link", false).text, copy_text);
	/* all of it links */
	CHECK(mkdir(in_base("links"), 0755) == 0);
	CHECK(symlink("../link/toc.dat", in_base("links/toc.dat")) == 0);
	CHECK(symlink("../link/100.dat", in_base("links/100.dat")) == 0);
	CHECK_STR_EQ(read_path("links", false).text, copy_text);
	/* into nothing, and to what is no file */
	unlink(in_base("links/100.dat"));
	CHECK(symlink("../nowhere", in_base("links/100.dat")) == 0);
	CHECK_INT_EQ(read_path("links", false).status, DG_ARCHIVE_TRUNCATED);
	unlink(in_base("links/100.dat"));
	CHECK(symlink("/dev/zero", in_base("links/100.dat")) == 0);
	CHECK_INT_EQ(read_path("links", false).status, DG_ARCHIVE_UNREADABLE);
	/* made by somebody else, in a directory of root: what root may read */
	if (geteuid() == 0)
	{
		unlink(in_base("links/100.dat"));
		CHECK(symlink("../secret", in_base("links/100.dat")) == 0);
		CHECK(chown(in_base("secret"), 12345, 12345) == 0);
		CHECK_STR_EQ(read_path("links", false).text, copy_text);
	}
}

UNIT_TEST(kinds_of_files)
{
	static const char *const plain[] = {"100.dat"};
	Result		got;

	CHECK_INT_EQ(read_path("missing", false).status, DG_ARCHIVE_NOT_FOUND);
	CHECK_INT_EQ(read_path("secret/below", false).status, DG_ARCHIVE_NOT_FOUND);
	CHECK(mkfifo(in_base("fifo"), 0600) == 0);
	got = read_path("fifo", false);
	CHECK_INT_EQ(got.status, DG_ARCHIVE_UNREADABLE);
	CHECK(strstr(got.err.message, "named pipe") != NULL && strstr(got.err.hint, "cat PIPE > FILE") != NULL);
	make_directory("fifodir", plain, 1);
	CHECK(mkfifo(in_base("fifodir/100.dat"), 0600) == 0);
	CHECK_INT_EQ(read_path("fifodir", false).status, DG_ARCHIVE_UNREADABLE);
	mkdir(in_base("nothing"), 0700);
	CHECK_INT_EQ(read_path("nothing", false).status, DG_ARCHIVE_NOT_AN_ARCHIVE);
	write_file("empty", "", 0);
	CHECK_INT_EQ(read_path("empty", false).status, DG_ARCHIVE_TRUNCATED);
}

/*
 * A table whose file is missing is missed by nobody who reads another.
 */
UNIT_TEST(a_file_that_is_missing)
{
	static const char *const files[] = {"100.dat", "101.dat"};
	DgArchiveError err;
	DgArchive  *a;

	make_directory("gap", files, 2);
	write_file("gap/101.dat", copy_rows, strlen(copy_rows));
	a = dg_archive_open(in_base("gap"), NULL, &err);
	CHECK_MSG(a != NULL, "%s", err.message);
	if (a == NULL)
		return;
	CHECK_INT_EQ(dg_archive_table_count(a), 2);
	CHECK(strstr(dg_archive_table(a, 0)->problem, "data file is missing (file \"100.dat\")") != NULL);
	CHECK(dg_archive_table(a, 1)->problem == NULL);
	CHECK_INT_EQ(read_table(a, 0).status, DG_ARCHIVE_TRUNCATED);
	CHECK_STR_EQ(read_table(a, 1).text, copy_text);
	dg_archive_close(&a);
}

/*
 * Files of two dumps in one directory.
 */
UNIT_TEST(two_dumps_in_a_directory)
{
	static const char *const files[] = {"100.dat"};
	static const char *const others[] = {"101.dat", "100.dat.gz", "99.dat.lz4", "toc.dat.gz"};
	static const char *const harmless[] = {"README", "blob_99.dat", "99.dat.old", "blobs.toc", "99.data", "toc.dat.md5"};
	char		name[100];
	size_t		i;

	make_directory("mixed", files, 1);
	write_file("mixed/100.dat", copy_rows, strlen(copy_rows));
	for (i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
	{
		snprintf(name, sizeof(name), "mixed/%s", harmless[i]);
		write_file(name, "x", 1);
	}
	CHECK_STR_EQ(read_path("mixed", false).text, copy_text);
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++)
	{
		Result		got;

		snprintf(name, sizeof(name), "mixed/%s", others[i]);
		write_file(name, copy_rows, strlen(copy_rows));
		got = read_path("mixed", false);
		CHECK_INT_EQ(got.status, DG_ARCHIVE_CORRUPT);
		CHECK_MSG(strstr(got.err.message, "more than one dump") != NULL && strcmp(got.err.file, others[i]) == 0,
				  "%s", got.err.message);
		unlink(in_base(name));
	}
	CHECK_STR_EQ(read_path("mixed", false).text, copy_text);
}

/*
 * What is no archive is named, with what to do.
 */
UNIT_TEST(strangers)
{
	static const struct
	{
		const char *bytes;
		size_t		len;
		const char *what;
	}			files[] = {
		{"\xff\xfe-\0-\0", 6, "UTF-16"}, {"\xfe\xff\0-\0-", 6, "UTF-16"}, {"-\0-\0\n\0", 6, "UTF-16"}, {"\0-\0-\0\n", 6, "UTF-16"},
		{"\xfd" "7zXZ\0", 6, "xz"}, {"BZh9", 4, "bzip2"}, {"PK\003\004", 4, "zip"}, {"-- MySQL dump 10.13\nINSERT INTO `a` VALUES (1);\n", 48, "MySQL"},
		{"<html>\nSET x\n", 13, "web page"}, {"--\r-- PostgreSQL database dump\r", 31, "carriage returns alone"}, {"\1\2\3", 3, "not an archive of pg_dump"}
	};
	size_t		i;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
	{
		Result		got = read_all(files[i].bytes, files[i].len, NULL);

		CHECK_INT_EQ(got.status, DG_ARCHIVE_NOT_AN_ARCHIVE);
		CHECK_MSG(strstr(got.err.message, files[i].what) != NULL, "%s: %s", files[i].what, got.err.message);
	}
	{
		Bytes		once = compress_bytes(DG_ARCHIVE_ZSTD, true, copy_rows, strlen(copy_rows));
		Bytes		twice = compress_bytes(DG_ARCHIVE_GZIP, true, once.data, once.len);
		Result		got = read_all(twice.data, twice.len, NULL);

		CHECK_INT_EQ(got.status, DG_ARCHIVE_UNSUPPORTED);
		CHECK(strstr(got.err.message, "compressed twice") != NULL);
		free(once.data);
		free(twice.data);
	}
	CHECK(strstr(read_all(files[0].bytes, files[0].len, NULL).err.hint, "iconv -f UTF-16 -t UTF-8") != NULL);
}

/* Every descriptor is closed again, whatever was left open. */
UNIT_TEST(descriptors)
{
	static const char *const files[] = {"100.dat", "101.dat"};
	int			before;
	int			after;
	int			i;

	make_directory("fds", files, 2);
	write_file("fds/100.dat", copy_rows, strlen(copy_rows));
	write_file("fds/101.dat", copy_rows, strlen(copy_rows));
	before = dup(0);
	close(before);
	for (i = 0; i < 20; i++)
	{
		DgArchiveError err;
		DgArchive  *a = dg_archive_open(in_base("fds"), NULL, &err);
		DgArchiveRow row;
		DgArchiveRows *one = dg_archive_rows_open(a, 0, &err);
		DgArchiveRows *two = dg_archive_rows_open(a, 1, &err);

		CHECK_INT_EQ(dg_archive_rows_next(one, &row, &err), 1);
		CHECK_INT_EQ(dg_archive_rows_next(two, &row, &err), 1);
		CHECK_INT_EQ(dg_archive_rows_next(one, &row, &err), 1);
		if (i % 2 == 0)
			dg_archive_rows_close(&two);
		dg_archive_close(&a);
	}
	CHECK(read_path("evil0", false).status != DG_ARCHIVE_OK);
	after = dup(0);
	close(after);
	CHECK_INT_EQ(after, before);
}

/*
 * A gzip file of many members, so that every part of one lies once at the end
 * of the reader's input buffer.
 */
UNIT_TEST(gzip_members)
{
	static const char *const files[] = {"100.dat"};
	Bytes		all = {NULL, 0, 0};
	Result		isal;
	Result		zlib;
	long		i;
	size_t		cut;

	make_directory("members", files, 1);
	for (i = 0; i < 40000; i++)
	{
		char		line[100];
		Bytes		b;

		snprintf(line, sizeof(line), "%ld\t%ld\n", i, i * 7919 % 100003);
		b = compress_bytes(DG_ARCHIVE_GZIP, true, line, i % 100 == 0 ? 0 : strlen(line));
		put(&all, b.data, b.len);
		free(b.data);
	}
	{
		Bytes		b = compress_bytes(DG_ARCHIVE_GZIP, true, "\\.\n\n\n", 5);

		put(&all, b.data, b.len);
		free(b.data);
	}
	write_file("members/100.dat.gz", all.data, all.len);
	isal = read_path("members", false);
	zlib = read_path("members", true);
	CHECK_MSG(isal.status == DG_ARCHIVE_OK, "%s", isal.err.message);
	CHECK_MSG(zlib.status == DG_ARCHIVE_OK, "%s", zlib.err.message);
	CHECK_INT_EQ(isal.rows, 39600);
	CHECK_INT_EQ(zlib.rows, 39600);
	CHECK(isal.digest == zlib.digest);
	for (cut = 1; cut < 40; cut++)
	{
		write_file("members/100.dat.gz", all.data, all.len - cut);
		CHECK_INT_EQ(read_path("members", false).status, DG_ARCHIVE_TRUNCATED);
		CHECK_INT_EQ(read_path("members", true).status, DG_ARCHIVE_TRUNCATED);
		cut += 6;
	}
	put(&all, "garbage", 7);
	write_file("members/100.dat.gz", all.data, all.len);
	CHECK(read_path("members", false).status != DG_ARCHIVE_OK);
	CHECK(read_path("members", true).status != DG_ARCHIVE_OK);
	free(all.data);
}

/* CRC-32 and length of a gzip file, byte by byte. */
UNIT_TEST(gzip_trailer)
{
	static const char *const files[] = {"100.dat"};
	Bytes		b = compress_bytes(DG_ARCHIVE_GZIP, true, copy_rows, strlen(copy_rows));
	size_t		i;

	make_directory("trailer", files, 1);
	for (i = b.len - 8; i < b.len; i++)
	{
		b.data[i] ^= 0x40;
		write_file("trailer/100.dat.gz", b.data, b.len);
		CHECK_INT_EQ(read_path("trailer", false).status, DG_ARCHIVE_CHECKSUM);
		CHECK_INT_EQ(read_path("trailer", true).status, DG_ARCHIVE_CHECKSUM);
		b.data[i] ^= 0x40;
	}
	write_file("trailer/100.dat.gz", b.data, b.len);
	CHECK_INT_EQ(read_path("trailer", false).status, DG_ARCHIVE_OK);
	free(b.data);
}

static void
put_member(Bytes *tar, const char *name, const void *data, size_t len, int base256)
{
	unsigned char block[512];
	unsigned int sum = 0;
	int			i;

	memset(block, 0, sizeof(block));
	strcpy((char *) block, name);
	snprintf((char *) block + 124, 12, "%011zo", len);
	if (base256)
	{
		memset(block + 124, 0, 12);
		block[124] = 0x80;
		for (i = 0; i < 8; i++)
			block[135 - i] = (unsigned char) (len >> (8 * i));
	}
	memcpy(block + 257, "ustar\00000", 8);
	block[156] = '0';
	memset(block + 148, ' ', 8);
	for (i = 0; i < 512; i++)
		sum += block[i];
	snprintf((char *) block + 148, 7, "%06o", sum);
	put(tar, block, 512);
	put(tar, data, len);
	while (tar->len % 512 != 0)
		put_byte(tar, 0);
}

static Bytes
make_tar(int base256)
{
	static const char *const files[] = {"100.dat", "101.dat"};
	Bytes		toc = make_toc(files, 2);
	Bytes		gz = compress_bytes(DG_ARCHIVE_GZIP, true, copy_rows, strlen(copy_rows));
	Bytes		tar = {NULL, 0, 0};
	char		zeros[1024] = {0};

	put_member(&tar, "./101.dat.gz", gz.data, gz.len, base256);
	put_member(&tar, "toc.dat", toc.data, toc.len, base256);
	put_member(&tar, "restore.sql", "SELECT 1;\n", 10, base256);
	put_member(&tar, "100.dat", copy_rows, strlen(copy_rows), base256);
	put(&tar, zeros, sizeof(zeros));
	free(toc.data);
	free(gz.data);
	return tar;
}

UNIT_TEST(tar)
{
	int			base256;
	int			compression;

	for (base256 = 0; base256 < 2; base256++)
	{
		Bytes		t = make_tar(base256);
		size_t		len;

		CHECK_STR_EQ(read_all(t.data, t.len, NULL).text, "1|one;2|<null>;1|one;2|<null>;");
		for (len = 0; len + 1024 < t.len; len += 13)
			CHECK(read_all(t.data, len, NULL).status != DG_ARCHIVE_OK);
		for (compression = 1; compression <= 3; compression++)
		{
			Bytes		packed = compress_bytes(compression, true, t.data, t.len);

			CHECK_STR_EQ(read_all(packed.data, packed.len, NULL).text,
						 "1|one;2|<null>;1|one;2|<null>;");
			free(packed.data);
		}
		free(t.data);
	}
}

UNIT_TEST(hostile_tar)
{
	static const char *const sizes[] = {
		"77777777777", "-0000000001", "99999999999", "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"
	};
	size_t		i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		Bytes		t = make_tar(0);
		unsigned int sum = 0;
		int			k;

		memcpy(t.data + 124, sizes[i], i >= 3 ? 12 : 11);
		memset(t.data + 148, ' ', 8);
		for (k = 0; k < 512; k++)
			sum += t.data[k];
		snprintf((char *) t.data + 148, 7, "%06o", sum);
		CHECK(read_all(t.data, t.len, NULL).status != DG_ARCHIVE_OK);
		free(t.data);
	}
	for (i = 0; i < 512; i++)
	{
		Bytes		t = make_tar(0);

		t.data[i] ^= 1;
		CHECK(read_all(t.data, t.len, NULL).status != DG_ARCHIVE_OK);
		free(t.data);
	}
}

static void
remove_base(void)
{
	char		command[100];

	snprintf(command, sizeof(command), "rm -rf '%s'", base);
	if (system(command) != 0)
		printf("# %s was left behind\n", base);
}

int
main(void)
{
	if (mkdtemp(base) == NULL)
		return 1;
	RUN(directory);
	RUN(compressed_toc);
	RUN(names_that_lead_elsewhere);
	RUN(kinds_of_files);
	RUN(a_file_that_is_missing);
	RUN(two_dumps_in_a_directory);
	RUN(strangers);
	RUN(descriptors);
	RUN(gzip_members);
	RUN(gzip_trailer);
	RUN(tar);
	RUN(hostile_tar);
	remove_base();
	return unit_done();
}
