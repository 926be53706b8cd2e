/*
 * archive_writer.h
 *		Makes archives in memory, valid or not, for the tests of the reader.
 *
 * Included once by each test program that needs it.
 */
#ifndef ARCHIVE_WRITER_H
#define ARCHIVE_WRITER_H

#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>

#include "archive/archive.h"
#include "unit.h"

typedef struct Bytes
{
	unsigned char *data;
	size_t		len;
	size_t		cap;
} Bytes;

/* What goes wrong on purpose, and which variant is written. */
typedef struct Recipe
{
	int			minor;			/* archive version 1.minor */
	int			compression;	/* DgArchiveCompression */
	bool		offsets;
	size_t		chunk;			/* size of chunks, 0 for 4096 */
	const char *encoding;
	bool		std_strings_off;
} Recipe;

/* A table to be written. */
typedef struct Data
{
	int			dump_id;
	const char *schema;
	const char *name;
	const char *create;			/* CREATE TABLE, or NULL */
	const char *defn;			/* of the data entry */
	const char *copy;			/* NULL for INSERT */
	const char *rows;			/* the stream, end-of-data line included */
	size_t		rows_len;		/* 0: strlen */
} Data;

static UNIT_MAYBE_UNUSED void
put(Bytes *b, const void *data, size_t len)
{
	if (b->len + len > b->cap)
	{
		b->cap = (b->len + len) * 2 + 64;
		b->data = realloc(b->data, b->cap);
		if (b->data == NULL)
			abort();
	}
	if (len > 0)
		memcpy(b->data + b->len, data, len);
	b->len += len;
}

static UNIT_MAYBE_UNUSED void
put_byte(Bytes *b, int c)
{
	unsigned char byte = (unsigned char) c;

	put(b, &byte, 1);
}

static UNIT_MAYBE_UNUSED void
put_int(Bytes *b, int n)
{
	unsigned int u = n < 0 ? 0u - (unsigned int) n : (unsigned int) n;
	int			i;

	put_byte(b, n < 0);
	for (i = 0; i < 4; i++)
		put_byte(b, (int) (u >> (8 * i)) & 0xff);
}

static UNIT_MAYBE_UNUSED void
put_string(Bytes *b, const char *s)
{
	put_int(b, s == NULL ? -1 : (int) strlen(s));
	if (s != NULL)
		put(b, s, strlen(s));
}

static UNIT_MAYBE_UNUSED void
put_offset(Bytes *b, int flag, uint64_t offset)
{
	int			i;

	put_byte(b, flag);
	for (i = 0; i < 8; i++)
		put_byte(b, (int) (offset >> (8 * i)) & 0xff);
}

static UNIT_MAYBE_UNUSED void
put_header(Bytes *b, const Recipe *r, int format, int count)
{
	int			i;

	put(b, "PGDMP", 5);
	put_byte(b, 1);
	put_byte(b, r->minor);
	put_byte(b, 0);
	put_byte(b, 4);
	put_byte(b, 8);
	put_byte(b, format);
	if (r->minor >= 15)
		put_byte(b, r->compression);
	else
		put_int(b, r->compression == 0 ? 0 : -1);
	for (i = 0; i < 7; i++)
		put_int(b, i);
	put_string(b, "db");
	put_string(b, "15.4");
	put_string(b, "15.5");
	put_int(b, count);
}

/*
 * One entry without its format's extra.
 */
static UNIT_MAYBE_UNUSED void
put_entry(Bytes *b, const Recipe *r, int id, bool data, const char *tag,
		  const char *desc, const char *defn, const char *copy, const char *schema)
{
	put_int(b, id);
	put_int(b, data);
	put_string(b, "1259");
	put_string(b, "16384");
	put_string(b, tag);
	put_string(b, desc);
	put_int(b, data ? 3 : 2);
	put_string(b, defn);
	put_string(b, "");
	put_string(b, copy);
	put_string(b, schema);
	put_string(b, "");
	if (r->minor >= 14)
		put_string(b, "heap");
	if (r->minor >= 16)
		put_int(b, 'r');
	put_string(b, "owner");
	put_string(b, "false");
	put_string(b, NULL);
}

/*
 * Compresses as pg_dump does; gzip_file chooses the gzip format.
 */
static UNIT_MAYBE_UNUSED Bytes
compress_bytes(int compression, bool gzip_file, const void *data, size_t len)
{
	Bytes		out = {NULL, 0, 0};
	size_t		n = len + len / 2 + 1024;
	size_t		rc = 0;

	if (compression == DG_ARCHIVE_NONE)
	{
		put(&out, data, len);
		return out;
	}
	put(&out, NULL, 0);
	out.data = malloc(n);
	if (out.data == NULL)
		abort();
	if (compression == DG_ARCHIVE_GZIP)
	{
		z_stream	z;

		memset(&z, 0, sizeof(z));
		deflateInit2(&z, 6, Z_DEFLATED, gzip_file ? 31 : 15, 8, Z_DEFAULT_STRATEGY);
		z.next_in = (unsigned char *) data;
		z.avail_in = (uInt) len;
		z.next_out = out.data;
		z.avail_out = (uInt) n;
		if (deflate(&z, Z_FINISH) != Z_STREAM_END)
			abort();
		rc = n - z.avail_out;
		deflateEnd(&z);
	}
	else if (compression == DG_ARCHIVE_LZ4)
		rc = LZ4F_compressFrame(out.data, n, data, len, NULL);
	else
		rc = ZSTD_compress(out.data, n, data, len, 3);
	if (rc > n)
		abort();
	out.len = rc;
	out.cap = n;
	return out;
}

static UNIT_MAYBE_UNUSED void
put_chunks(Bytes *b, const Bytes *stream, size_t chunk)
{
	size_t		at;

	for (at = 0; at < stream->len; at += chunk)
	{
		size_t		n = stream->len - at < chunk ? stream->len - at : chunk;

		put_int(b, (int) n);
		put(b, stream->data + at, n);
	}
	put_int(b, 0);
}

/*
 * The TOC of a custom archive; offsets may be NULL.
 */
static UNIT_MAYBE_UNUSED void
put_custom_toc(Bytes *b, const Recipe *r, const Data *tables, int count,
			   const uint64_t *offsets)
{
	char		text[100];
	int			entries = 2;
	int			i;

	for (i = 0; i < count; i++)
		entries += tables[i].create != NULL ? 2 : 1;
	put_header(b, r, 1, entries);
	snprintf(text, sizeof(text), "SET client_encoding = '%s';\n",
			 r->encoding != NULL ? r->encoding : "UTF8");
	put_entry(b, r, 900001, false, "ENCODING", "ENCODING", text, NULL, NULL);
	put_offset(b, 3, 0);
	put_entry(b, r, 900002, false, "STDSTRINGS", "STDSTRINGS",
			  r->std_strings_off ? "SET standard_conforming_strings = 'off';\n" :
			  "SET standard_conforming_strings = 'on';\n", NULL, NULL);
	put_offset(b, 3, 0);
	for (i = 0; i < count; i++)
	{
		if (tables[i].create == NULL)
			continue;
		put_entry(b, r, 800000 + i, false, tables[i].name, "TABLE",
				  tables[i].create, NULL, tables[i].schema);
		put_offset(b, 3, 0);
	}
	for (i = 0; i < count; i++)
	{
		put_entry(b, r, tables[i].dump_id, true, tables[i].name, "TABLE DATA",
				  tables[i].defn, tables[i].copy, tables[i].schema);
		put_offset(b, r->offsets ? 2 : 1, offsets != NULL ? offsets[i] : 0);
	}
}

/*
 * A whole custom archive.  toc_len (or NULL) gets the size of its TOC.
 */
static UNIT_MAYBE_UNUSED Bytes
make_custom(const Recipe *r, const Data *tables, int count, size_t *toc_len)
{
	Bytes		toc = {NULL, 0, 0};
	Bytes		all = {NULL, 0, 0};
	uint64_t	offsets[16] = {0};
	int			i;

	put_custom_toc(&toc, r, tables, count, NULL);
	put(&all, toc.data, toc.len);
	if (toc_len != NULL)
		*toc_len = toc.len;
	for (i = 0; i < count; i++)
	{
		size_t		len = tables[i].rows_len > 0 ? tables[i].rows_len :
			strlen(tables[i].rows);
		Bytes		stream = compress_bytes(r->compression, false, tables[i].rows, len);

		offsets[i] = all.len;
		put_byte(&all, 1);
		put_int(&all, tables[i].dump_id);
		put_chunks(&all, &stream, r->chunk > 0 ? r->chunk : 4096);
		free(stream.data);
	}
	if (r->offsets)
	{
		toc.len = 0;
		put_custom_toc(&toc, r, tables, count, offsets);
		memcpy(all.data, toc.data, toc.len);
	}
	free(toc.data);
	return all;
}

/* What reading a table gave. */
typedef struct Result
{
	DgArchiveStatus status;
	long		rows;
	uint64_t	digest;			/* of all values, whatever their order */
	char		text[2000];		/* rows as "a|b|<null>;", as far as it fits */
	DgArchiveError err;
} Result;

static UNIT_MAYBE_UNUSED uint64_t
digest_bytes(uint64_t h, const char *p, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
		h = (h ^ (unsigned char) p[i]) * UINT64_C(1099511628211);
	return (h ^ 0x1ff) * UINT64_C(1099511628211);
}

static UNIT_MAYBE_UNUSED void
add_text(Result *result, const char *p, size_t len)
{
	size_t		used = strlen(result->text);

	if (used + len + 1 < sizeof(result->text))
	{
		memcpy(result->text + used, p, len);
		result->text[used + len] = '\0';
	}
}

/*
 * Takes a row apart into result; false if it cannot be.
 */
static UNIT_MAYBE_UNUSED bool
add_row(const DgArchive *archive, const DgArchiveRow *row, Result *result)
{
	static DgArchiveField fields[1700];
	uint64_t	h = UINT64_C(14695981039346656037);
	int			n = dg_archive_row_split(row, fields, 1700, &result->err);
	int			i;

	if (n < 0)
		return false;
	for (i = 0; i < n; i++)
	{
		char	   *text = malloc(fields[i].len + 1);
		size_t		len = fields[i].len;

		if (text == NULL)
			abort();
		if (row->escaped && !fields[i].isnull &&
			!dg_archive_copy_unescape(dg_archive_info(archive), fields[i].ptr,
									  fields[i].len, text, &len))
		{
			free(text);
			result->err.code = DG_ARCHIVE_CORRUPT;
			return false;
		}
		if (!row->escaped && len > 0)
			memcpy(text, fields[i].ptr, len);
		if (i > 0)
			add_text(result, "|", 1);
		if (fields[i].isnull)
			add_text(result, "<null>", 6);
		else if (fields[i].isdefault)
			add_text(result, "<default>", 9);
		else
			add_text(result, text, len);
		h = digest_bytes(h ^ fields[i].isnull, text, fields[i].isnull ? 0 : len);
		free(text);
	}
	add_text(result, ";", 1);
	result->digest += h;
	return true;
}

/*
 * Reads table number i of an archive to its end.
 */
static UNIT_MAYBE_UNUSED Result
read_table(DgArchive *archive, int i)
{
	Result		result;
	DgArchiveRows *rows;
	DgArchiveRow row;
	int			rc = 0;

	memset(&result, 0, sizeof(result));
	rows = dg_archive_rows_open(archive, i, &result.err);
	if (rows == NULL)
	{
		result.status = result.err.code;
		return result;
	}
	while ((rc = dg_archive_rows_next(rows, &row, &result.err)) > 0)
	{
		result.rows++;
		if (!add_row(archive, &row, &result))
		{
			rc = -1;
			break;
		}
	}
	if (rc < 0)
		result.status = result.err.code;
	dg_archive_rows_close(&rows);
	return result;
}

/*
 * Reads all tables of an archive that was opened, and closes it: the first error,
 * or DG_ARCHIVE_OK with all rows as text and the sums of counts and digests. NULL
 * is an archive that could not be opened; then *total has the error.
 */
static UNIT_MAYBE_UNUSED void
read_opened(DgArchive *archive, Result *total)
{
	int			i;

	if (archive == NULL)
	{
		total->status = total->err.code;
		return;
	}
	for (i = 0; i < dg_archive_table_count(archive) && total->status == DG_ARCHIVE_OK; i++)
	{
		Result		one = read_table(archive, i);

		total->rows += one.rows;
		total->digest += one.digest;
		total->status = one.status;
		total->err = one.err;
		add_text(total, one.text, strlen(one.text));
	}
	dg_archive_close(&archive);
}

/*
 * Opens bytes and reads all tables.
 */
static UNIT_MAYBE_UNUSED Result
read_all(const void *data, size_t len, const DgArchiveOptions *opts)
{
	Result		total;

	memset(&total, 0, sizeof(total));
	read_opened(dg_archive_open_memory(data, len, opts, &total.err), &total);
	return total;
}

#endif							/* ARCHIVE_WRITER_H */
