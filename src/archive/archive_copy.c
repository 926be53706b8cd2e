/*
 * archive_copy.c
 *		Rows in COPY's text format.
 *
 * pg_dump writes every newline and tab inside of a value as an escape, so
 * that a row ends at the first newline and a field at the first tab.  Rows
 * are handed out where they lie in the window; nothing is copied or unescaped
 * unless it is asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * Decodes the escape whose backslash is at p[-1].  Returns the position behind
 * it, or NULL where there is none.
 */
static const char *
decode_escape(const char *p, const char *end, char *out)
{
	int			n = 0;
	int			digits;

	if (p >= end)
		return NULL;
	switch (*p)
	{
		case 'b':
			*out = '\b';
			return p + 1;
		case 'f':
			*out = '\f';
			return p + 1;
		case 'n':
			*out = '\n';
			return p + 1;
		case 'r':
			*out = '\r';
			return p + 1;
		case 't':
			*out = '\t';
			return p + 1;
		case 'v':
			*out = '\v';
			return p + 1;
		case 'x':
			if (end - p < 2 || hex_value(p[1]) < 0)
				break;			/* just an x */
			n = hex_value(p[1]);
			p += 2;
			if (p < end && hex_value(*p) >= 0)
				n = n * 16 + hex_value(*p++);
			*out = (char) n;
			return n == 0 ? NULL : p;
		default:
			if (*p < '0' || *p > '7')
				break;
			for (digits = 0; digits < 3 && p < end && *p >= '0' && *p <= '7'; digits++)
				n = n * 8 + (*p++ - '0');
			*out = (char) (n & 0xff);
			return (n & 0xff) == 0 ? NULL : p;
	}
	*out = *p;
	return p + 1;
}

static bool
unescape_by_character(const DgArchiveInfo *info, const char *p, const char *end,
					  char *out, size_t *outlen)
{
	char	   *start = out;

	while (p < end)
	{
		if (*p == '\\')
		{
			p = decode_escape(p + 1, end, out++);
			if (p == NULL)
				return false;
		}
		else
		{
			size_t		len = dg_archive_char_len(info, p, end);

			memmove(out, p, len);
			out += len;
			p += len;
		}
	}
	*outlen = (size_t) (out - start);
	return true;
}

/*
 * Turns a field's escaped form (not \N, which is for the caller to notice)
 * into its text.  out has room for len bytes and may be raw itself.  False
 * where the escapes are not valid: a backslash at the end, or a zero byte.
 */
bool
dg_archive_copy_unescape(const DgArchiveInfo *info, const char *raw, size_t len,
						 char *out, size_t *outlen)
{
	const char *end = raw + len;
	char	   *start = out;

	if (info->trail_bytes)
		return unescape_by_character(info, raw, end, out, outlen);
	while (raw < end)
	{
		const char *bs = memchr(raw, '\\', (size_t) (end - raw));
		size_t		plain = (size_t) ((bs != NULL ? bs : end) - raw);

		if (out != raw)
			memmove(out, raw, plain);
		out += plain;
		if (bs == NULL)
			break;
		raw = decode_escape(bs + 1, end, out++);
		if (raw == NULL)
			return false;
	}
	*outlen = (size_t) (out - start);
	return true;
}

/*
 * Finds field n (from 0) of a line.  False if it has fewer.
 */
bool
dg_archive_copy_field(const char *line, size_t len, int n, DgArchiveField *field)
{
	const char *end = line + len;
	const char *tab;

	for (; n > 0; n--)
	{
		tab = memchr(line, '\t', (size_t) (end - line));
		if (tab == NULL)
			return false;
		line = tab + 1;
	}
	tab = memchr(line, '\t', (size_t) (end - line));
	field->ptr = line;
	field->len = (size_t) ((tab != NULL ? tab : end) - line);
	field->isnull = field->len == 2 && line[0] == '\\' && line[1] == 'N';
	field->isdefault = false;
	return true;
}

/*
 * Does the row pass the filter?  1 yes, 0 no, -1 it is damaged.
 */
static int
filter_line(DgArchiveRows *rows, const char *line, size_t len, DgArchiveError *err)
{
	const DgArchiveFilter *filter = &rows->filter;
	DgArchiveField field;

	if (!dg_archive_copy_field(line, len, filter->field, &field))
	{
		dg_archive_stream_fail(&rows->stream, DG_ARCHIVE_CORRUPT, err,
							   "row %llu has no field %d",
							   (unsigned long long) rows->rows_read, filter->field + 1);
		return -1;
	}
	/* whose a damaged row is cannot be told by the field that shows it */
	if ((field.ptr + field.len == line + len) != rows->filter_last && rows->entry->pub.has_columns)
	{
		dg_archive_stream_fail(&rows->stream, DG_ARCHIVE_CORRUPT, err, "row %llu has too %s fields",
							   (unsigned long long) rows->rows_read, rows->filter_last ? "many" : "few");
		return -1;
	}
	if (field.isnull)
		return 0;
	if (memchr(field.ptr, '\\', field.len) != NULL)
	{
		DgArchiveBuffer *text = &rows->unescaped;
		size_t		textlen;

		text->len = 0;
		if (!dg_archive_buffer_add(text, field.ptr, field.len))
		{
			dg_archive_no_memory(err);
			return -1;
		}
		if (!dg_archive_copy_unescape(&rows->archive->info, text->data, text->len,
									  text->data, &textlen))
		{
			dg_archive_stream_fail(&rows->stream, DG_ARCHIVE_CORRUPT, err,
								   "row %llu has an invalid escape",
								   (unsigned long long) rows->rows_read);
			return -1;
		}
		field.ptr = text->data;
		field.len = textlen;
	}
	return filter->match(filter->arg, field.ptr, field.len);
}

/*
 * After the end-of-data line: only empty lines may follow, and the stream has
 * to be complete with its checksum.
 */
static int
finish_copy(DgArchiveRows *rows, DgArchiveError *err)
{
	DgArchiveStream *s = &rows->stream;
	int			rc;

	do
	{
		for (; s->start < s->end; s->start++)
		{
			if (s->window[s->start] != '\n' && s->window[s->start] != '\r')
			{
				dg_archive_stream_fail(&rows->stream, DG_ARCHIVE_CORRUPT, err,
									   "data after the end-of-data line");
				return -1;
			}
		}
		rc = dg_archive_stream_fill(s, err);
	} while (rc > 0);
	return rc;
}

/*
 * The next row that passes the filter: 1, at the end 0, on error -1.
 */
int
dg_archive_copy_next(DgArchiveRows *rows, DgArchiveRow *row, DgArchiveError *err)
{
	DgArchiveStream *s = &rows->stream;

	for (;;)
	{
		const char *line = s->window + s->start;
		const char *nl = memchr(line, '\n', s->end - s->start);
		size_t		len;
		int			rc;

		if (nl == NULL)
		{
			rc = dg_archive_stream_fill(s, err);
			if (rc > 0)
				continue;
			if (rc == 0)
				dg_archive_stream_fail(&rows->stream, DG_ARCHIVE_TRUNCATED, err,
									   "data ends without an end-of-data line");
			return -1;
		}
		len = (size_t) (nl - line);
		s->start += len + 1;
		if (rows->crlf && len > 0 && line[len - 1] == '\r')
			len--;
		if (len == 2 && line[0] == '\\' && line[1] == '.')
			return finish_copy(rows, err);
		rows->rows_read++;
		if (rows->filtered)
		{
			rc = filter_line(rows, line, len, err);
			if (rc < 0)
				return -1;
			if (rc == 0)
			{
				rows->rows_skipped++;
				continue;
			}
		}
		row->number = rows->rows_read;
		row->escaped = true;
		row->data = line;
		row->len = len;
		row->fields = NULL;
		row->field_count = 0;
		return 1;
	}
}

/* ---- rows in a script, which are passed over ---- */

/*
 * Passes over the rest of a line, which must be blank: 1, at the end of the file 0,
 * on error -1.
 */
int
dg_archive_copy_begin(DgArchiveStream *s, DgArchiveError *err)
{
	for (;;)
	{
		for (; s->start < s->end; s->start++)
		{
			char		c = s->window[s->start];

			if (c == '\n')
			{
				s->start++;
				return 1;
			}
			if (c != ' ' && c != '\t' && c != '\r')
			{
				dg_archive_fail(err, DG_ARCHIVE_CORRUPT, s->source.file->name, dg_archive_stream_tell(s),
								"something follows a COPY statement in its line");
				return -1;
			}
		}
		switch (dg_archive_stream_fill(s, err))
		{
			case -1:
				return -1;
			case 0:
				return 0;
			default:
				break;
		}
	}
}

/*
 * Passes over the line the stream is in.
 */
static int
skip_line(DgArchiveStream *s, DgArchiveError *err)
{
	for (;;)
	{
		const char *nl = memchr(s->window + s->start, '\n', s->end - s->start);
		int			rc;

		if (nl != NULL)
		{
			s->start = (size_t) (nl + 1 - s->window);
			return 1;
		}
		s->start = s->end;
		rc = dg_archive_stream_fill(s, err);
		if (rc <= 0)
			return rc;
	}
}

/*
 * Is this a short line without a tab?
 */
static bool
is_single_field(const char *p, const char *end)
{
	const char *nl = memchr(p, '\n', (size_t) (end - p));

	return nl != NULL && memchr(p, '\t', (size_t) (nl - p)) == NULL;
}

/*
 * Passes over lines up to and including the end-of-data line: 1, if there is
 * none 0, on error -1.
 */
int
dg_archive_copy_skip(DgArchiveStream *s, int columns, DgArchiveError *err)
{
	static const char banner[] = "-- PostgreSQL database ";
	bool		last = false;
	int			rc;

	while (!last)
	{
		const char *p;
		size_t		have = s->end - s->start;

		if (have < sizeof(banner) + 100)
		{
			rc = dg_archive_stream_fill(s, err);
			if (rc < 0)
				return -1;
			have = s->end - s->start;
			if (have == 0)
				return 0;
		}
		p = s->window + s->start;
		if (columns > 1 && have >= sizeof(banner) - 1 && memcmp(p, banner, sizeof(banner) - 1) == 0 &&
			is_single_field(p, p + have))
			return 0;			/* no row: another dump, behind what was cut
								 * off */
		last = have >= 2 && p[0] == '\\' && p[1] == '.' &&
			(have == 2 || p[2] == '\n' ||
			 (s->archive->crlf && p[2] == '\r' && (have == 3 || p[3] == '\n')));
		rc = skip_line(s, err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			return 0;
	}
	return 1;
}
