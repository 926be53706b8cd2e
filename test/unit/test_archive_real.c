/*
 * test_archive_real.c
 *		Archives of one real database, written by pg_dump 15 to 18 in every
 *		format: the same rows from all of them.
 *
 * They lie outside of the repository, in $DG_ARCHIVE_DATA or ../shared/data;
 * without them the tests are skipped.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "archive_writer.h"

#define MAX_ARCHIVES	64

static char directory[1000];
static char paths[MAX_ARCHIVES][1300];
static int	path_count;

static int
compare_paths(const void *a, const void *b)
{
	return strcmp(a, b);
}

static bool
find_archives(void)
{
	const char *places[] = {getenv("DG_ARCHIVE_DATA"), "../shared/data", "../../../shared/data"};
	struct dirent *d;
	DIR		   *dir = NULL;
	int			i;

	for (i = 0; i < 3 && dir == NULL; i++)
	{
		if (places[i] == NULL)
			continue;
		snprintf(directory, sizeof(directory), "%s", places[i]);
		dir = opendir(directory);
	}
	if (dir == NULL)
		return false;
	while ((d = readdir(dir)) != NULL && path_count < MAX_ARCHIVES)
	{
		if (strncmp(d->d_name, "dvdrental.", 10) == 0)
			snprintf(paths[path_count++], sizeof(paths[0]), "%s/%s", directory, d->d_name);
	}
	closedir(dir);
	qsort(paths, (size_t) path_count, sizeof(paths[0]), compare_paths);
	return path_count > 0;
}

/* Rows and digest of every table, in the order of names. */
typedef struct Summary
{
	int			tables;
	char		names[32][100];
	long		rows[32];
	uint64_t	digests[32];
	DgArchiveStatus status;
	char		message[512];
} Summary;

static void
add_summary(Summary *sum, const DgArchiveTable *table, const Result *result)
{
	char		name[100];
	int			i = sum->tables++;

	snprintf(name, sizeof(name), "%.40s.%.40s", table->schema, table->name);
	for (; i > 0 && strcmp(sum->names[i - 1], name) > 0; i--)
	{
		strcpy(sum->names[i], sum->names[i - 1]);
		sum->rows[i] = sum->rows[i - 1];
		sum->digests[i] = sum->digests[i - 1];
	}
	strcpy(sum->names[i], name);
	sum->rows[i] = result->rows;
	sum->digests[i] = result->digest;
}

static Summary
summarize(const char *path, bool force_zlib)
{
	DgArchiveOptions opts = {NULL, NULL, force_zlib};
	DgArchiveError err;
	DgArchive  *a = dg_archive_open(path, &opts, &err);
	Summary		sum;
	int			pass;
	int			i;

	memset(&sum, 0, sizeof(sum));
	if (a == NULL)
	{
		sum.status = err.code;
		strcpy(sum.message, err.message);
		return sum;
	}
	/* odd ones first, for archives that have to be searched */
	for (pass = 1; pass >= 0; pass--)
	{
		for (i = pass; i < dg_archive_table_count(a); i += 2)
		{
			Result		result = read_table(a, i);

			if (result.status != DG_ARCHIVE_OK)
			{
				sum.status = result.status;
				strcpy(sum.message, result.err.message);
			}
			add_summary(&sum, dg_archive_table(a, i), &result);
		}
	}
	dg_archive_close(&a);
	return sum;
}

UNIT_TEST(all_formats_give_the_same_rows)
{
	Summary		first = summarize(paths[0], false);
	int			i;

	CHECK_INT_EQ(first.tables, 15);
	for (i = 0; i < path_count; i++)
	{
		int			zlib;

		for (zlib = 0; zlib < 2; zlib++)
		{
			Summary		other = summarize(paths[i], zlib == 1);

			CHECK_MSG(other.status == DG_ARCHIVE_OK, "%s: %s", paths[i], other.message);
			CHECK_MSG(other.tables == first.tables &&
					  memcmp(other.names, first.names, sizeof(first.names)) == 0 &&
					  memcmp(other.rows, first.rows, sizeof(first.rows)) == 0 &&
					  memcmp(other.digests, first.digests, sizeof(first.digests)) == 0,
					  "%s differs from %s", paths[i], paths[0]);
		}
	}
}

static bool
is_one(void *arg, const char *text, size_t len)
{
	(void) arg;
	return len == 1 && text[0] == '1';
}

/*
 * Rows of a table whose column has the value "1".
 */
static long
count_ones(DgArchive *a, const char *table, const char *column)
{
	DgArchiveFilter filter;
	DgArchiveError err;
	DgArchiveRows *rows;
	DgArchiveRow row;
	long		count = 0;
	int			i;
	int			k;

	memset(&filter, 0, sizeof(filter));
	filter.match = is_one;
	for (i = 0; i < dg_archive_table_count(a); i++)
	{
		if (strcmp(dg_archive_table(a, i)->name, table) == 0)
			break;
	}
	rows = dg_archive_rows_open(a, i, &err);
	for (k = 0; rows != NULL && k < dg_archive_table(a, i)->column_count; k++)
	{
		if (strcmp(dg_archive_table(a, i)->columns[k], column) == 0)
			filter.field = k;
	}
	CHECK(rows != NULL && dg_archive_rows_set_filter(rows, &filter, &err));
	while (rows != NULL && dg_archive_rows_next(rows, &row, &err) > 0)
		count++;
	dg_archive_rows_close(&rows);
	return count;
}

UNIT_TEST(rows_of_one_tenant)
{
	int			i;

	for (i = 0; i < path_count; i++)
	{
		DgArchiveError err;
		DgArchive  *a = dg_archive_open(paths[i], NULL, &err);

		CHECK(a != NULL);
		if (a == NULL)
			continue;
		CHECK_INT_EQ(count_ones(a, "customer", "store_id"), 326);
		CHECK_INT_EQ(count_ones(a, "inventory", "store_id"), 2270);
		CHECK_INT_EQ(count_ones(a, "staff", "store_id"), 1);
		CHECK_INT_EQ(count_ones(a, "store", "store_id"), 1);
		dg_archive_close(&a);
	}
}

UNIT_TEST(sequences)
{
	int			i;
	int			k;

	for (i = 0; i < path_count; i++)
	{
		DgArchiveError err;
		DgArchive  *a = dg_archive_open(paths[i], NULL, &err);
		bool		found = false;

		CHECK(a != NULL);
		if (a == NULL)
			continue;
		CHECK_INT_EQ(dg_archive_sequence_count(a), 13);
		for (k = 0; k < dg_archive_sequence_count(a); k++)
		{
			const DgArchiveSequence *s = dg_archive_sequence(a, k);

			if (strcmp(s->name, "payment_payment_id_seq") == 0)
				found = s->value == 32098 && s->is_called &&
					strcmp(s->schema, "public") == 0;
		}
		CHECK(found);
		CHECK_STR_EQ(dg_archive_info(a)->encoding, "UTF8");
		dg_archive_close(&a);
	}
}

static Bytes
slurp(const char *path)
{
	Bytes		b = {NULL, 0, 0};
	FILE	   *f = fopen(path, "rb");
	char		buf[65536];
	size_t		n;

	while (f != NULL && (n = fread(buf, 1, sizeof(buf), f)) > 0)
		put(&b, buf, n);
	if (f != NULL)
		fclose(f);
	return b;
}

/*
 * Cut off anywhere, an archive gives an error.  A tar ends with zeros, which
 * may be missing in part; the plain dump with empty lines, or noise.
 */
UNIT_TEST(truncated_archives)
{
	int			i;
	int			step;

	for (i = 0; i < path_count; i++)
	{
		struct stat st;
		Bytes		b;
		size_t		end;

		if (stat(paths[i], &st) != 0 || !S_ISREG(st.st_mode))
			continue;
		b = slurp(paths[i]);
		end = b.len;
		while (end > 0 && (b.data[end - 1] == '\0' || b.data[end - 1] == '\n'))
			end--;
		if (strncmp((const char *) b.data, "--", 2) == 0)
			end = b.len / 2;
		for (step = 0; step < 12; step++)
		{
			size_t		len = end / 12 * (size_t) step;
			Result		got = read_all(b.data, len, NULL);

			CHECK_MSG(got.status != DG_ARCHIVE_OK, "%s, %zu of %zu bytes",
					  paths[i], len, b.len);
		}
		free(b.data);
	}
}

/* Damage in the middle of compressed data with a checksum never passes. */
UNIT_TEST(damaged_gzip_data)
{
	unsigned int seed = 1;
	int			i;
	int			round;

	for (i = 0; i < path_count; i++)
	{
		const char *dot = strrchr(paths[i], '.');
		Bytes		b;

		if (strncmp(dot, ".cgz", 4) != 0)
			continue;
		b = slurp(paths[i]);
		for (round = 0; round < 10; round++)
		{
			size_t		at;
			unsigned char old;
			Result		got;

			seed = seed * 1103515245 + 12345;
			at = b.len / 4 + seed % (b.len / 2);
			old = b.data[at];
			b.data[at] ^= 0x10;
			got = read_all(b.data, b.len, NULL);
			CHECK_MSG(got.status != DG_ARCHIVE_OK, "%s, byte %zu", paths[i], at);
			CHECK(got.err.table[0] != '\0');
			b.data[at] = old;
		}
		free(b.data);
	}
}

int
main(void)
{
	if (!find_archives())
	{
		SKIP(real_archives, "no archives in DG_ARCHIVE_DATA");
		return unit_done();
	}
	RUN(all_formats_give_the_same_rows);
	RUN(rows_of_one_tenant);
	RUN(sequences);
	RUN(truncated_archives);
	RUN(damaged_gzip_data);
	return unit_done();
}
