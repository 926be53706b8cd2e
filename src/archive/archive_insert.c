/*
 * archive_insert.c
 *		Rows in the form of INSERT statements.
 *
 * pg_dump writes, for all rows of a table, the same
 *
 *		INSERT INTO s.t [(columns)] [OVERRIDING SYSTEM VALUE] VALUES
 *
 * followed by one or more tuples and maybe ON CONFLICT DO NOTHING; of a table
 * without columns, DEFAULT VALUES. The first statement is parsed, later ones
 * have to begin with the same bytes. Anything pg_dump does not write is an
 * error, nothing is skipped in the hope that it is harmless.
 *
 * A tuple is scanned first, as a whole, and its literals are decoded in place
 * only if the row is wanted.  What a row points to lies in the window, so
 * the separator behind a tuple is left for the next call, which may move it.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

/* No statement has a longer head than this. */
#define MAX_HEAD	((size_t) 2 * 1024 * 1024)

static int
fail_row(DgArchiveRows *rows, DgArchiveError *err, const char *what)
{
	dg_archive_stream_fail(&rows->stream, DG_ARCHIVE_CORRUPT, err, "row %llu %s",
						   (unsigned long long) rows->rows_read + 1, what);
	return -1;
}

static int
fail_end(DgArchiveRows *rows, DgArchiveError *err)
{
	dg_archive_stream_fail(&rows->stream, DG_ARCHIVE_TRUNCATED, err,
						   "INSERT statements end too early");
	return -1;
}

/*
 * Reads a statement up to its first tuple (or behind DEFAULT VALUES) and, the
 * first time, completes the entry with what it says.  False: it is something
 * else, or incomplete, or memory is short.
 */
bool
dg_archive_insert_head(DgArchive *archive, DgArchiveEntry *entry,
					   DgArchiveText *text, bool *default_values)
{
	const char *schema;
	const char *name;
	const char **columns = NULL;
	int			count = 0;

	if (!dg_archive_text_word(text, "INSERT") || !dg_archive_text_word(text, "INTO") ||
		!dg_archive_text_qualified(text, &archive->arena, &schema, &name))
		return false;
	dg_archive_text_space(text);
	if (text->p < text->end && *text->p == '(' &&
		!dg_archive_text_columns(text, &archive->arena, &columns, &count))
		return false;
	if (dg_archive_text_word(text, "OVERRIDING") &&
		(!(dg_archive_text_word(text, "SYSTEM") || dg_archive_text_word(text, "USER")) ||
		 !dg_archive_text_word(text, "VALUE")))
		return false;
	*default_values = dg_archive_text_word(text, "DEFAULT");
	if (!dg_archive_text_word(text, "VALUES") || text->p >= text->end)
		return false;
	if (entry->peeked)
		return true;
	entry->peeked = true;
	if (schema[0] != '\0')
		entry->pub.target_schema = schema;
	entry->pub.target_name = name;
	if (columns != NULL || *default_values)
	{
		entry->list_missing = false;
		entry->pub.has_columns = true;
		entry->pub.columns = columns;
		entry->pub.column_count = count;
	}
	return true;
}

/*
 * Rows may go to a partition root, which has none of its own.  Those of a table
 * that has data of its own in the archive are in the wrong place.
 */
static bool
check_target(DgArchiveRows *rows, DgArchiveError *err)
{
	DgArchiveTable *table = &rows->entry->pub;
	const DgArchiveEntry *other;

	if (table->target_schema[0] == '\0')
		table->target_schema = table->schema;
	other = dg_archive_entry_find(rows->archive, table->target_schema, table->target_name);
	if (other == NULL || dg_archive_name_compare(table->schema, table->name, table->target_schema,
												 table->target_name) == 0)
		return true;
	return dg_archive_stream_fail(&rows->stream, DG_ARCHIVE_CORRUPT, err, "rows of another table are here: \"%.64s.%.64s\"",
								  table->target_schema, table->target_name);
}

/*
 * Parses the first statement's head at the stream's position.
 */
static int
first_head(DgArchiveRows *rows, DgArchiveError *err)
{
	DgArchiveStream *s = &rows->stream;

	for (;;)
	{
		DgArchiveText text;
		size_t		have = s->end - s->start;
		bool		was_peeked = rows->entry->peeked;
		size_t		len;
		int			rc;

		dg_archive_text_init(&text, s->window + s->start, have, true);
		if (dg_archive_insert_head(rows->archive, rows->entry, &text,
								   &rows->default_values))
		{
			len = (size_t) (text.p - (s->window + s->start));
			if (!dg_archive_buffer_add(&rows->header, s->window + s->start, len))
				return dg_archive_no_memory(err) ? 1 : -1;
			s->start += len;
			if (was_peeked)
				return 1;
			if (!check_target(rows, err))
				return -1;
			return dg_archive_entry_columns(rows->archive, rows->entry, err) ? 1 : -1;
		}
		rc = have > MAX_HEAD ? 0 : dg_archive_stream_fill(s, err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			return fail_row(rows, err, "is not an INSERT statement of pg_dump");
	}
}

/*
 * Passes over white space, counting newlines.  1: there is something else,
 * 0: the stream has ended, -1: error.
 */
static int
skip_space_between(DgArchiveRows *rows, DgArchiveError *err)
{
	DgArchiveStream *s = &rows->stream;
	int			rc;

	for (;;)
	{
		for (; s->start < s->end; s->start++)
		{
			if (!dg_archive_is_space(s->window[s->start]))
				return 1;
			if (s->window[s->start] == '\n' && rows->newlines < 100)
				rows->newlines++;
		}
		rc = dg_archive_stream_fill(s, err);
		if (rc <= 0)
			return rc;
	}
}

/*
 * Sees to it that len bytes are in the window, if the stream has as many.
 */
static bool
look_ahead(DgArchiveRows *rows, size_t len, DgArchiveError *err)
{
	DgArchiveStream *s = &rows->stream;
	int			rc = 1;

	while (s->end - s->start < len && rc > 0)
		rc = dg_archive_stream_fill(s, err);
	return rc >= 0;
}

/*
 * Moves from between statements into the next one: 1, at the end 0, on error
 * -1.  pg_dump ends a table's statements with empty lines; without them the
 * data has been cut off.
 */
static int
next_statement(DgArchiveRows *rows, DgArchiveError *err)
{
	DgArchiveStream *s = &rows->stream;
	int			rc = skip_space_between(rows, err);
	size_t		have;

	if (rc < 0)
		return -1;
	if (rc == 0)
	{
		if (rows->newlines < 2 && rows->archive->info.format != DG_ARCHIVE_PLAIN)
			return fail_end(rows, err);
		return 0;
	}
	rows->newlines = 0;
	if (rows->header.len == 0)
	{
		rc = first_head(rows, err);
		if (rc < 0)
			return -1;
	}
	else
	{
		if (!look_ahead(rows, rows->header.len, err))
			return -1;
		have = s->end - s->start;
		if (memcmp(s->window + s->start, rows->header.data,
				   have < rows->header.len ? have : rows->header.len) != 0)
			return fail_row(rows, err, "does not begin as the first statement does");
		if (have < rows->header.len)
			return fail_end(rows, err);
		s->start += rows->header.len;
	}
	rows->state = DG_ARCHIVE_BEFORE_TUPLE;
	return 1;
}

/*
 * Reads what follows a tuple: a comma, or the end of the statement.
 */
static int
after_tuple(DgArchiveRows *rows, DgArchiveError *err)
{
	DgArchiveStream *s = &rows->stream;
	DgArchiveText text;
	int			rc = skip_space_between(rows, err);

	rows->newlines = 0;
	if (rc < 0)
		return -1;
	if (rc == 0)
		return fail_end(rows, err);
	if (s->window[s->start] == ',' && !rows->default_values)
	{
		s->start++;
		rows->state = DG_ARCHIVE_BEFORE_TUPLE;
		return 1;
	}
	if (!look_ahead(rows, 100, err))
		return -1;
	dg_archive_text_init(&text, s->window + s->start, s->end - s->start, true);
	if (dg_archive_text_word(&text, "ON") &&
		(!dg_archive_text_word(&text, "CONFLICT") ||
		 !dg_archive_text_word(&text, "DO") || !dg_archive_text_word(&text, "NOTHING")))
		return fail_row(rows, err, "is preceded by an unknown clause");
	if (!dg_archive_text_char(&text, ';'))
		return text.p >= text.end ? fail_end(rows, err) :
			fail_row(rows, err, "is preceded by something unexpected");
	s->start = (size_t) (text.p - s->window);
	rows->state = DG_ARCHIVE_BETWEEN;
	return 1;
}

static bool
add_field(DgArchiveRows *rows, const DgArchiveField *field, unsigned char kind)
{
	size_t		n = (size_t) rows->field_count;

	if (!dg_archive_grow(&rows->fields, &rows->field_cap, n + 1, sizeof(*field)) ||
		!dg_archive_grow(&rows->kinds, &rows->kind_cap, n + 1, 1))
		return false;
	rows->fields[n] = *field;
	rows->kinds[n] = kind;
	rows->field_count++;
	return true;
}

/*
 * Scans the tuple at the stream's position into rows->fields.  *behind is
 * where it ends.  On DG_ARCHIVE_SCAN_MORE it has to be scanned again with more data.
 */
static DgArchiveScan
scan_tuple(DgArchiveRows *rows, const char **behind, bool *no_memory)
{
	DgArchiveStream *s = &rows->stream;
	const char *p = s->window + s->start + 1;
	const char *end = s->window + s->end;

	rows->field_count = 0;
	for (;;)
	{
		DgArchiveField field;
		unsigned char kind;
		DgArchiveScan scan;

		while (p < end && dg_archive_is_space(*p))
			p++;
		if (p >= end)
			return DG_ARCHIVE_SCAN_MORE;
		scan = dg_archive_literal_scan(&rows->archive->info, &p, end, &field, &kind);
		if (scan != DG_ARCHIVE_SCAN_OK)
			return scan;
		if (rows->field_count >= DG_ARCHIVE_MAX_COLUMNS)
			return DG_ARCHIVE_SCAN_BAD;
		if (!add_field(rows, &field, kind))
		{
			*no_memory = true;
			return DG_ARCHIVE_SCAN_BAD;
		}
		while (p < end && dg_archive_is_space(*p))
			p++;
		if (p >= end)
			return DG_ARCHIVE_SCAN_MORE;
		if (*p == ')')
			break;
		if (*p++ != ',')
			return DG_ARCHIVE_SCAN_BAD;
	}
	*behind = p + 1;
	return DG_ARCHIVE_SCAN_OK;
}

/*
 * Does the scanned row pass the filter?  1 yes, 0 no, -1 error.
 */
static int
filter_fields(DgArchiveRows *rows, DgArchiveError *err)
{
	const DgArchiveFilter *filter = &rows->filter;
	const DgArchiveField *field;

	if (filter->field >= rows->field_count)
	{
		rows->rows_read--;
		return fail_row(rows, err, "lacks the field to filter by");
	}
	dg_archive_literal_decode(&rows->archive->info, rows->crlf, &rows->fields[filter->field],
							  &rows->kinds[filter->field]);
	field = &rows->fields[filter->field];
	if (field->isnull || field->isdefault)
		return 0;
	return filter->match(filter->arg, field->ptr, field->len);
}

/*
 * Gets the tuple at the stream's position into rows->fields.
 */
static int
read_tuple(DgArchiveRows *rows, DgArchiveError *err)
{
	DgArchiveStream *s = &rows->stream;
	const DgArchiveTable *table = &rows->entry->pub;
	const char *behind;
	bool		no_memory = false;
	int			rc = skip_space_between(rows, err);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return fail_end(rows, err);
	if (s->window[s->start] != '(')
		return fail_row(rows, err, "does not begin with a parenthesis");
	for (;;)
	{
		DgArchiveScan scan = scan_tuple(rows, &behind, &no_memory);

		if (scan == DG_ARCHIVE_SCAN_OK)
			break;
		if (no_memory)
			return dg_archive_no_memory(err) ? 1 : -1;
		if (scan == DG_ARCHIVE_SCAN_BAD)
			return fail_row(rows, err, "has a value that pg_dump does not write");
		rc = dg_archive_stream_fill(s, err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			return fail_end(rows, err);
	}
	s->start = (size_t) (behind - s->window);
	if (rows->width == 0)
		rows->width = table->has_columns ? table->column_count : rows->field_count;
	if (rows->field_count != rows->width)
		return fail_row(rows, err, "has a wrong number of values");
	return 1;
}

/*
 * Reads one row of any kind into rows->fields: 1, at the end 0, on error -1.
 */
static int
read_row(DgArchiveRows *rows, DgArchiveError *err)
{
	int			rc;

	if (rows->state == DG_ARCHIVE_AFTER_TUPLE)
	{
		rc = after_tuple(rows, err);
		if (rc < 0)
			return -1;
	}
	if (rows->state == DG_ARCHIVE_BETWEEN)
	{
		rc = next_statement(rows, err);
		if (rc <= 0)
			return rc;
	}
	if (rows->default_values)
		rows->field_count = 0;
	else
	{
		rc = read_tuple(rows, err);
		if (rc < 0)
			return -1;
	}
	rows->state = DG_ARCHIVE_AFTER_TUPLE;
	rows->rows_read++;
	return 1;
}

/*
 * The next row that passes the filter: 1, at the end 0, on error -1.
 */
int
dg_archive_insert_next(DgArchiveRows *rows, DgArchiveRow *row, DgArchiveError *err)
{
	int			i;

	for (;;)
	{
		int			rc = read_row(rows, err);

		if (rc <= 0)
			return rc;
		if (!rows->filtered)
			break;
		rc = filter_fields(rows, err);
		if (rc < 0)
			return -1;
		if (rc > 0)
			break;
		rows->rows_skipped++;
	}
	for (i = 0; i < rows->field_count; i++)
		dg_archive_literal_decode(&rows->archive->info, rows->crlf, &rows->fields[i], &rows->kinds[i]);
	row->number = rows->rows_read;
	row->escaped = false;
	row->data = "";
	row->len = 0;
	row->fields = rows->fields;
	row->field_count = rows->field_count;
	return 1;
}

/*
 * Looks at the first statement, so that the columns are known before the
 * first row is asked for.
 */
bool
dg_archive_insert_peek(DgArchiveRows *rows, DgArchiveError *err)
{
	int			rc = skip_space_between(rows, err);

	if (rc <= 0)
		return rc == 0;			/* no rows: leave that to the first call */
	if (first_head(rows, err) < 0)
		return false;
	rows->state = DG_ARCHIVE_BEFORE_TUPLE;
	return true;
}
