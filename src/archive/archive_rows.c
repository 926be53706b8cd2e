/*
 * archive_rows.c
 *		Reading the rows of one table.
 *
 * Several tables may be read at the same time; each reader has its own window
 * and decompressor.  A reader that has failed keeps failing with the same
 * error, and one that is at its end stays there.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

/*
 * Sets up the stream for where the entry's data is.
 */
static bool
open_data(DgArchiveRows *rows, DgArchiveError *err)
{
	DgArchive  *archive = rows->archive;
	DgArchiveEntry *entry = rows->entry;
	DgArchiveFraming framing = archive->info.format == DG_ARCHIVE_CUSTOM ?
	DG_ARCHIVE_FRAME_ZLIB : DG_ARCHIVE_FRAME_FILE;

	if (!dg_archive_stream_init(&rows->stream, archive, entry->pub.compression,
								framing, err))
		return false;
	switch (entry->place)
	{
		case DG_ARCHIVE_AT_GIVEN:
			return true;
		case DG_ARCHIVE_AT_UNKNOWN:
		case DG_ARCHIVE_AT_BLOCK:
			return dg_archive_custom_source(archive, entry, &rows->stream.source, err);
		case DG_ARCHIVE_AT_EXTENT:
			dg_archive_source_extent(&rows->stream.source, archive->file,
									 entry->offset, entry->end);
			return true;
		case DG_ARCHIVE_AT_MEMBER:
			rows->file = dg_archive_file_open_at(archive, archive->dirfd,
												 entry->member, err);
			if (rows->file == NULL)
				return false;
			dg_archive_source_extent(&rows->stream.source, rows->file, 0,
									 rows->file->size);
			return true;
		case DG_ARCHIVE_AT_NOWHERE:
			break;
	}
	return dg_archive_fail(err, DG_ARCHIVE_CORRUPT, archive->path, 0,
						   "entry of dump id %d has no data", entry->pub.dump_id);
}

static bool
open_rows(DgArchiveRows *rows, DgArchiveError *err)
{
	if (rows->entry->fault != NULL)
	{
		if (err != NULL)
			*err = *rows->entry->fault;
		return false;
	}
	if (rows->entry->with_oids)
		return dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, rows->archive->path, 0,
							   "table was created WITH OIDS");
	if (!open_data(rows, err))
		return false;
	return rows->entry->pub.form != DG_ARCHIVE_INSERT ||
		dg_archive_insert_peek(rows, err);
}

/*
 * Starts reading a table.  NULL with *err filled in if that fails.  Of
 * INSERT data this also completes what dg_archive_table() says, as only the
 * first statement tells the columns.
 */
DgArchiveRows *
dg_archive_rows_open(DgArchive *archive, int index, DgArchiveError *err)
{
	DgArchiveRows *rows;

	if (index < 0 || (size_t) index >= archive->entry_count)
	{
		dg_archive_fail(err, DG_ARCHIVE_NOT_FOUND, archive->path, 0,
						"archive has no table number %d", index);
		return NULL;
	}
	rows = calloc(1, sizeof(*rows));
	if (rows == NULL)
	{
		dg_archive_no_memory(err);
		return NULL;
	}
	rows->archive = archive;
	rows->entry = &archive->entries[index];
	rows->crlf = archive->crlf;
	rows->next = archive->rows;
	archive->rows = rows;
	if (!open_rows(rows, err))
	{
		dg_archive_error_table(err, rows->entry->pub.schema, rows->entry->pub.name);
		dg_archive_rows_close(&rows);
	}
	return rows;
}

/*
 * Frees the reader and clears the caller's pointer.
 */
void
dg_archive_rows_close(DgArchiveRows **link)
{
	DgArchiveRows *rows = *link;
	DgArchiveRows **at;

	if (rows == NULL)
		return;
	*link = NULL;
	for (at = &rows->archive->rows; *at != NULL; at = &(*at)->next)
	{
		if (*at == rows)
		{
			*at = rows->next;
			break;
		}
	}
	dg_archive_stream_free(&rows->stream);
	dg_archive_file_close(rows->file);
	dg_archive_buffer_free(&rows->unescaped);
	dg_archive_buffer_free(&rows->header);
	free(rows->fields);
	free(rows->kinds);
	free(rows);
}

/*
 * From the next row on, only rows that match are returned.  NULL removes the
 * filter.
 */
bool
dg_archive_rows_set_filter(DgArchiveRows *rows, const DgArchiveFilter *filter,
						   DgArchiveError *err)
{
	const DgArchiveTable *table = &rows->entry->pub;

	rows->filtered = false;
	if (filter == NULL)
		return true;
	if (filter->field < 0 || filter->match == NULL ||
		(table->has_columns && filter->field >= table->column_count))
	{
		dg_archive_fail(err, DG_ARCHIVE_NOT_FOUND, rows->archive->path, 0,
						"no field %d to filter by", filter->field + 1);
		dg_archive_error_table(err, table->schema, table->name);
		return false;
	}
	rows->filter = *filter;
	rows->filtered = true;
	rows->filter_last = filter->field + 1 == table->column_count;
	return true;
}

/*
 * Gets the next row: 1, at the end 0, on error -1.  What the row points to is
 * good until the next call for the same reader.
 */
int
dg_archive_rows_next(DgArchiveRows *rows, DgArchiveRow *row, DgArchiveError *err)
{
	DgArchiveError mine;
	int			rc;

	if (rows->failed)
	{
		if (err != NULL)
			*err = rows->failure;
		return -1;
	}
	if (rows->done)
		return 0;
	row->rows = rows;
	if (err == NULL)
		err = &mine;
	if (rows->entry->pub.form == DG_ARCHIVE_COPY)
		rc = dg_archive_copy_next(rows, row, err);
	else
		rc = dg_archive_insert_next(rows, row, err);
	if (rc == 0 && !dg_archive_files_unchanged(rows->archive, err))
		rc = -1;
	if (rc < 0)
	{
		dg_archive_error_table(err, rows->entry->pub.schema, rows->entry->pub.name);
		rows->failed = true;
		rows->failure = *err;
	}
	else if (rc == 0)
	{
		rows->done = true;
		if (rows->stream.source.chunked)
			dg_archive_custom_passed(rows->archive, rows->entry,
									 rows->stream.source.start,
									 rows->stream.source.pos);
	}
	return rc;
}

/*
 * How far the reader has come.
 */
void
dg_archive_rows_progress(const DgArchiveRows *rows, DgArchiveProgress *progress)
{
	uint64_t	here = rows->entry->place == DG_ARCHIVE_AT_GIVEN ? rows->bytes_given :
	dg_archive_stream_stored(&rows->stream);

	progress->rows_read = rows->rows_read;
	progress->rows_skipped = rows->rows_skipped;
	progress->bytes_done = here - rows->stream.source.start;
	progress->bytes_total = rows->entry->pub.data_bytes;
}

/*
 * Finds one field of a row (from 0) without looking at those behind it; of a
 * COPY row in its escaped form.  False if the row has fewer.
 */
bool
dg_archive_row_field(const DgArchiveRow *row, int n, DgArchiveField *field)
{
	if (n < 0)
		return false;
	if (row->escaped)
	{
		const DgArchiveTable *table = &row->rows->entry->pub;

		if (table->has_columns && n >= table->column_count)
			return false;
		return dg_archive_copy_field(row->data, row->len, n, field);
	}
	if (n >= row->field_count)
		return false;
	*field = row->fields[n];
	return true;
}

static int
fail_split(const DgArchiveRow *row, DgArchiveStatus code, DgArchiveError *err,
		   const char *what)
{
	const DgArchiveRows *rows = row->rows;
	const DgArchiveTable *table = &rows->entry->pub;

	dg_archive_stream_fail(&rows->stream, code, err, "row %llu %s",
						   (unsigned long long) row->number, what);
	dg_archive_error_table(err, table->schema, table->name);
	return -1;
}

/*
 * Finds all fields of a row and returns their number, which is the number of
 * columns where that is known; -1 with *err otherwise.
 */
int
dg_archive_row_split(const DgArchiveRow *row, DgArchiveField *fields, int max,
					 DgArchiveError *err)
{
	const DgArchiveTable *table = &row->rows->entry->pub;
	const char *p = row->data;
	const char *end = row->data + row->len;
	int			n = 0;

	if (!row->escaped)
	{
		/* the reader has compared the number of values already */
		if (row->field_count > max)
			return fail_split(row, DG_ARCHIVE_TOO_LARGE, err, "has too many fields");
		if (row->field_count > 0)
			memcpy(fields, row->fields, (size_t) row->field_count * sizeof(*fields));
		return row->field_count;
	}
	if (table->has_columns && table->column_count == 0)
		return row->len == 0 ? 0 :
			fail_split(row, DG_ARCHIVE_CORRUPT, err, "has data but no columns");
	for (;;)
	{
		const char *tab = memchr(p, '\t', (size_t) (end - p));

		if (n >= max || (table->has_columns && n >= table->column_count))
			return fail_split(row, n >= max ? DG_ARCHIVE_TOO_LARGE : DG_ARCHIVE_CORRUPT,
							  err, "has too many fields");
		fields[n].ptr = p;
		fields[n].len = (size_t) ((tab != NULL ? tab : end) - p);
		fields[n].isnull = fields[n].len == 2 && p[0] == '\\' && p[1] == 'N';
		fields[n++].isdefault = false;
		if (tab == NULL)
			break;
		p = tab + 1;
	}
	if (table->has_columns && n != table->column_count)
		return fail_split(row, DG_ARCHIVE_CORRUPT, err, "has too few fields");
	return n;
}
