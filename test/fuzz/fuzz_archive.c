/*
 * fuzz_archive.c
 *		Feeds arbitrary bytes to the archive reader, all the way to the rows.
 *
 *	clang -g -O1 -fsanitize=fuzzer,address,undefined -Isrc \
 *		test/fuzz/fuzz_archive.c src/archive*.c -lz -llz4 -lzstd -o fuzz_archive
 *	./fuzz_archive -max_len=65536 corpus test/fuzz/corpus_archive
 *
 * Whatever the bytes are, the reader must come back with rows or with an error
 * that says something, must not read outside of its buffers, and must agree
 * with itself: reading a table again gives the same rows, and what both zlib
 * and ISA-L accept is the same to both.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive.h"

#define MAX_COLUMNS		2000

/* Rows of a compressed input may be very many; enough is enough. */
#define MAX_ROWS		20000

static DgArchiveField fields[MAX_COLUMNS];
static uint64_t digest;			/* of all fields seen */

static void
expect(int condition)
{
	if (!condition)
		abort();
}

static void
check_error(const DgArchiveError *err)
{
	expect(err->code != DG_ARCHIVE_OK);
	expect(err->message[0] != '\0');
	expect(strchr(err->message, '\n') == NULL);
}

static void
look_at_fields(const DgArchive *archive, const DgArchiveRow *row)
{
	DgArchiveError err;
	int			n = dg_archive_row_split(row, fields, MAX_COLUMNS, &err);
	int			i;

	if (n < 0)
	{
		check_error(&err);
		return;
	}
	for (i = 0; i < n; i++)
	{
		DgArchiveField one;
		size_t		len = 0;
		char	   *text;

		expect(dg_archive_row_field(row, i, &one));
		expect(one.ptr == fields[i].ptr && one.len == fields[i].len);
		for (len = 0; len < one.len; len++)
			digest = (digest ^ (unsigned char) one.ptr[len]) * UINT64_C(1099511628211);
		digest = (digest + one.isnull + 2 * one.isdefault) * UINT64_C(1099511628211);
		len = 0;
		text = malloc(one.len + 1);
		if (text == NULL)
			continue;
		if (row->escaped &&
			dg_archive_copy_unescape(dg_archive_info(archive), one.ptr, one.len, text, &len))
			expect(len <= one.len);
		else if (!row->escaped && one.len > 0)
			memcpy(text, one.ptr, one.len);
		free(text);
	}
}

static bool
is_one(void *arg, const char *text, size_t len)
{
	(void) arg;
	return len == 1 && text[0] == '1';
}

/*
 * Reads a table; the number of rows, or -1 if it cannot be read.
 */
static long
read_rows(DgArchive *archive, int table, int field)
{
	DgArchiveError err;
	DgArchiveRow row;
	DgArchiveRows *rows = dg_archive_rows_open(archive, table, &err);
	DgArchiveFilter filter;
	DgArchiveProgress progress;
	long		count = 0;
	int			rc = 1;

	if (rows == NULL)
	{
		check_error(&err);
		return -1;
	}
	memset(&filter, 0, sizeof(filter));
	filter.field = field;
	filter.match = is_one;
	if (field >= 0 && !dg_archive_rows_set_filter(rows, &filter, &err))
		check_error(&err);
	while (count < MAX_ROWS && (rc = dg_archive_rows_next(rows, &row, &err)) > 0)
	{
		count++;
		if (field < 0)
			look_at_fields(archive, &row);
	}
	if (rc < 0)
		check_error(&err);
	dg_archive_rows_progress(rows, &progress);
	expect(progress.rows_read >= progress.rows_skipped);
	/* leave some readers to dg_archive_close() */
	if (table % 2 == 0)
		dg_archive_rows_close(&rows);
	return rc < 0 ? -1 : count;
}

static void
look_at_names(const DgArchive *archive)
{
	size_t		total = 0;
	int			i;
	int			k;

	for (i = 0; i < dg_archive_table_count(archive); i++)
	{
		const DgArchiveTable *table = dg_archive_table(archive, i);

		total += strlen(table->schema) + strlen(table->name) +
			strlen(table->target_schema) + strlen(table->target_name);
		for (k = 0; k < table->column_count; k++)
			total += strlen(table->columns[k]) +
				(table->types[k] != NULL ? strlen(table->types[k]) : 0);
	}
	for (i = 0; i < dg_archive_sequence_count(archive); i++)
		total += strlen(dg_archive_sequence(archive, i)->name);
	expect(total < (size_t) 1 << 40);
}

/*
 * Reads everything; true if nothing was wrong, and then digest tells what was
 * read.
 */
static int
read_archive(const unsigned char *data, size_t size, bool force_zlib)
{
	DgArchiveError err;
	DgArchiveOptions opts;
	DgArchive  *archive;
	int			fine = 1;
	int			i;

	memset(&opts, 0, sizeof(opts));
	opts.force_zlib = force_zlib;
	opts.database = "a";
	digest = 0;
	archive = dg_archive_open_memory(data, size, &opts, &err);
	if (archive == NULL)
	{
		check_error(&err);
		return 0;
	}
	look_at_names(archive);
	for (i = 0; i < dg_archive_table_count(archive) && i < 8; i++)
	{
		uint64_t	before = digest;
		uint64_t	once;
		long		first = read_rows(archive, i, -1);

		once = digest;
		digest = before;
		expect(read_rows(archive, i, -1) == first);
		expect(digest == once);
		(void) read_rows(archive, i, 0);
		fine = fine && first >= 0;
	}
	if (!dg_archive_measure(archive, &err))
		check_error(&err);
	look_at_names(archive);
	dg_archive_close(&archive);
	expect(archive == NULL);
	return fine;
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	uint64_t	first;
	int			fine;

	fine = read_archive(data, size, true);
	first = digest;
	if (dg_archive_has_isal() && read_archive(data, size, false) && fine)
		expect(digest == first);
	return 0;
}
