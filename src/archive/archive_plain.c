/*
 * archive_plain.c
 *		Plain dumps: SQL text, as psql would run it.
 *
 * One pass over the text finds where each table's COPY data, or each run of
 * INSERT statements for the same table, begins and ends; rows are then read
 * from these extents.  Definitions, sequences, encoding and version come from
 * the statements and comments around them.
 *
 * A dump that begins with pg_dump's banner has to end with its last line, before
 * another begins; so has a script of pg_dumpall.  A script without either does
 * not tell whether something is missing at its end.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive_script.h"

/* archive->scratch, by what it holds; 0 is the scanner's */
enum
{
	HEAD = 1, DATA_NAME, DATA_SCHEMA
};

typedef struct PlainReader
{
	DgArchive  *archive;
	DgArchiveStream *stream;
	DgArchiveScript script;
	DgArchiveDatabases databases;
	bool		statements;		/* there are any */
	int			dumps;			/* how many began */
	uint64_t	begun;			/* where the one underway did, plus one; or 0 */
	bool		cluster;		/* a script of pg_dumpall is underway */
	bool		of_cluster;		/* one has begun */
	bool		restricted;		/* \restrict waits for its \unrestrict */
	bool		told;			/* the end of what was read last is */
	bool		has_data_name;	/* DATA_NAME, DATA_SCHEMA tell of what follows */
	bool		in_run;			/* last item was an INSERT of the last entry */
} PlainReader;

static const char *
find_bytes(const char *p, const char *end, const char *what)
{
	size_t		len = strlen(what);

	for (; (size_t) (end - p) >= len; p++)
	{
		p = memchr(p, what[0], (size_t) (end - p));
		if (p == NULL || (size_t) (end - p) < len)
			return NULL;
		if (memcmp(p, what, len) == 0)
			return p;
	}
	return NULL;
}

static const char *
find_last(const char *p, const char *end, const char *what)
{
	const char *found = NULL;

	while ((p = find_bytes(p, end, what)) != NULL)
		found = p++;
	return found;
}

static bool
begins_with(const char *p, const char *end, const char *what)
{
	size_t		len = strlen(what);

	return (size_t) (end - p) >= len && memcmp(p, what, len) == 0;
}

static bool
copy_text(DgArchive *archive, const char **copy, const char *from, const char *to,
		  DgArchiveError *err)
{
	*copy = dg_archive_strdup(&archive->arena, from, (size_t) (to - from));
	return *copy != NULL || dg_archive_no_memory(err);
}

/*
 * Is this the name as pg_dump puts it into a comment, without line ends?
 */
static bool
is_name_of(const char *name, const DgArchiveBuffer *comment)
{
	size_t		i;

	if (strlen(name) != comment->len)
		return false;
	for (i = 0; i < comment->len; i++)
	{
		char		c = name[i] == '\n' || name[i] == '\r' ? ' ' : name[i];

		if (c != comment->data[i])
			return false;
	}
	return true;
}

/*
 * A new entry for the data that begins at offset.  A comment of pg_dump names the
 * table of what follows it, and of nothing else.
 */
static DgArchiveEntry *
add_entry(PlainReader *reader, const DgArchiveEntry *entry, uint64_t offset,
		  DgArchiveError *err)
{
	DgArchive  *archive = reader->archive;
	DgArchiveBuffer *b = archive->scratch;
	DgArchiveEntry *new;

	if (!dg_archive_grow(&archive->entries, &archive->entry_cap,
						 archive->entry_count + 1, sizeof(*entry)))
	{
		dg_archive_no_memory(err);
		return NULL;
	}
	new = &archive->entries[archive->entry_count];
	*new = *entry;
	new->place = DG_ARCHIVE_AT_EXTENT;
	new->offset = offset;
	new->end = offset;
	new->statement = reader->script.offset;
	new->schemas = archive->schemas;
	new->dump = reader->dumps;
	new->pub.schema = new->pub.target_schema;
	new->pub.name = new->pub.target_name;
	if (reader->has_data_name && is_name_of(new->pub.target_name, &b[DATA_NAME]) &&
		is_name_of(new->pub.target_schema, &b[DATA_SCHEMA]))
		reader->has_data_name = false;
	if (reader->has_data_name)
	{
		if (!copy_text(archive, &new->pub.schema, b[DATA_SCHEMA].data,
					   b[DATA_SCHEMA].data + b[DATA_SCHEMA].len, err) ||
			!copy_text(archive, &new->pub.name, b[DATA_NAME].data,
					   b[DATA_NAME].data + b[DATA_NAME].len, err))
			return NULL;
		if (new->pub.target_name[0] == '\0')
		{
			new->pub.target_schema = new->pub.schema;
			new->pub.target_name = new->pub.name;
		}
		reader->has_data_name = false;
	}
	reader->told &= reader->begun > 0;
	archive->entry_count++;
	return new;
}

/*
 * What a comment announced is over.  An empty table whose rows would be INSERT
 * statements has left nothing but the comment.
 */
static bool
finish_data(PlainReader *reader, DgArchiveError *err)
{
	DgArchiveEntry empty;

	if (!reader->has_data_name)
		return true;
	memset(&empty, 0, sizeof(empty));
	empty.pub.form = DG_ARCHIVE_INSERT;
	empty.pub.target_schema = "";
	empty.pub.target_name = "";
	empty.list_missing = true;
	return add_entry(reader, &empty, reader->script.offset, err) != NULL;
}

/*
 * Commands of psql that change nothing about data.
 */
static bool
is_harmless_command(const char *p, size_t len)
{
	static const char *const words[] = {
		"!", "?", "a", "C", "conninfo", "copyright", "echo", "errverbose", "f", "h", "H", "o", "p", "prompt",
		"pset", "qecho", "r", "reset", "set", "setenv", "t", "T", "timing", "unset", "warn", "x", NULL
	};
	int			i;

	for (i = 0; words[i] != NULL; i++)
	{
		if (strlen(words[i]) == len && memcmp(words[i], p, len) == 0)
			return true;
	}
	return *p == 'd' || *p == 'l';
}

static bool
is_command(const char *p, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(word, p, len) == 0;
}

/*
 * \connect says which database follows, \encoding what it says.  What psql
 * would read, leave out or run because of any other command is not known.
 */
static bool
handle_command(PlainReader *reader, DgArchiveError *err)
{
	DgArchive  *archive = reader->archive;
	DgArchiveBuffer *text = reader->script.text;
	const char *p = text->data + 1;
	const char *end = text->data + text->len;
	const char *rest = p;
	size_t		len;

	while (rest < end && *rest != ' ' && *rest != '\t' && *rest != ';')
		rest++;
	len = (size_t) (rest - p);
	if (is_command(p, len, "restrict") || is_command(p, len, "unrestrict"))
	{
		reader->restricted = *p == 'r';
		reader->told |= *p == 'u';
		return true;
	}
	if (is_command(p, len, "connect") || is_command(p, len, "c"))
		return finish_data(reader, err) &&
			dg_archive_databases_connect(&reader->databases, archive, rest, end, reader->script.offset, err);
	while (rest < end && (*rest == ' ' || *rest == '\t'))
		rest++;
	if (is_command(p, len, "encoding"))
	{
		const char *name;

		while (end > rest && (end[-1] == ' ' || end[-1] == ';'))
			end--;
		if (rest == end)
			return true;
		return copy_text(archive, &name, rest, end, err) &&
			dg_archive_use_encoding(archive, name, reader->script.offset, err);
	}
	if (len > 0 && is_harmless_command(p, len))
		return true;
	dg_archive_fail_statement(archive, text, reader->script.offset, "the script has a command of psql that cannot be followed", err);
	return dg_archive_hint(err, "Take the command out of a copy of the script, and put what psql would read there in its place; or let psql restore it into another database, and dump that.");
}

/*
 * "-- Data for Name: t; Type: TABLE DATA; Schema: s; Owner: o" names the table
 * that was dumped, also where its rows go to a partition root.
 */
static bool
data_comment(PlainReader *reader, const char *p, const char *end, DgArchiveError *err)
{
	static const char type[] = "; Type: TABLE DATA; Schema: ";
	DgArchiveBuffer *b = reader->archive->scratch;
	const char *mid;
	const char *owner;

	mid = find_last(p, end, type);
	owner = find_last(mid != NULL ? mid : p, end, "; Owner: ");
	if (owner == NULL)
		return dg_archive_fail_statement(reader->archive, reader->script.text, reader->script.offset,
										 "the end of a comment of pg_dump is missing", err);
	if (mid == NULL)
		return true;
	b[DATA_NAME].len = b[DATA_SCHEMA].len = 0;
	if (!dg_archive_buffer_add(&b[DATA_NAME], p, (size_t) (mid - p)))
		return dg_archive_no_memory(err);
	mid += sizeof(type) - 1;
	if (!dg_archive_buffer_add(&b[DATA_SCHEMA], mid, (size_t) (owner - mid)))
		return dg_archive_no_memory(err);
	reader->has_data_name = true;
	return true;
}

/*
 * A dump begins.  The one before must have ended.
 */
static bool
begin_dump(PlainReader *reader, DgArchiveError *err)
{
	if (reader->begun > 0)
		return dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, reader->archive->file->name, reader->script.offset,
							   "a dump begins here, and the one that began at byte %llu had not ended",
							   (unsigned long long) reader->begun - 1);
	reader->begun = reader->script.offset + 1;
	reader->dumps++;
	return true;
}

static bool
handle_comment(PlainReader *reader, DgArchiveError *err)
{
	static const char data[] = "-- Data for Name: ";
	static const char server[] = "-- Dumped from database version ";
	static const char dump[] = "-- Dumped by pg_dump version ";
	DgArchive  *archive = reader->archive;
	const char *p = reader->script.text->data;
	const char *end = p + reader->script.text->len;

	if (dg_archive_script_is_heading(p, (size_t) (end - p)) && !finish_data(reader, err))
		return false;
	if (begins_with(p, end, data))
		return data_comment(reader, p + sizeof(data) - 1, end, err);
	if (begins_with(p, end, server))
		return copy_text(archive, &archive->info.server_version,
						 p + sizeof(server) - 1, end, err);
	if (begins_with(p, end, dump))
		return copy_text(archive, &archive->info.dump_version,
						 p + sizeof(dump) - 1, end, err);
	if (begins_with(p, end, "-- PostgreSQL database dump complete"))
	{
		reader->begun = 0;
		reader->told = true;
	}
	else if (begins_with(p, end, "-- PostgreSQL database dump"))
		return begin_dump(reader, err);
	else if (begins_with(p, end, "-- PostgreSQL database cluster dump"))
	{
		reader->cluster = !begins_with(p, end, "-- PostgreSQL database cluster dump complete");
		reader->of_cluster |= reader->cluster;
		reader->told |= !reader->cluster;
	}
	else if (begins_with(p, end, "-- Database \""))
		reader->databases.commented = true;
	return true;
}

static bool
handle_copy(PlainReader *reader, DgArchiveError *err)
{
	DgArchive  *archive = reader->archive;
	DgArchiveBuffer *text = reader->script.text;
	DgArchiveEntry parsed;
	DgArchiveEntry *entry;
	int			rc;

	memset(&parsed, 0, sizeof(parsed));
	parsed.pub.form = DG_ARCHIVE_COPY;
	if (text->cut ||
		!dg_archive_entry_copy(archive, &parsed, text->data, text->len))
		return dg_archive_fail_statement(archive, text, reader->script.offset,
										 "COPY statement that pg_dump does not write", err);
	rc = dg_archive_copy_begin(reader->stream, err);
	if (rc < 0)
		return false;
	entry = add_entry(reader, &parsed, dg_archive_stream_tell(reader->stream), err);
	if (entry == NULL)
		return false;
	if (rc > 0)
		rc = dg_archive_copy_skip(reader->stream, entry->pub.column_count, err);
	if (rc == 0)
		dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, archive->file->name,
						dg_archive_stream_tell(reader->stream),
						"data ends without an end-of-data line");
	if (rc <= 0)
	{
		dg_archive_error_table(err, entry->pub.schema, entry->pub.name);
		return false;
	}
	entry->end = dg_archive_stream_tell(reader->stream);
	entry->pub.data_bytes = (int64_t) (entry->end - entry->offset);
	return true;
}

/*
 * An INSERT statement either goes on with the run of the last entry, or
 * begins a new one.
 */
static bool
handle_insert(PlainReader *reader, bool in_run, DgArchiveError *err)
{
	DgArchive  *archive = reader->archive;
	DgArchiveBuffer *head = &archive->scratch[HEAD];
	DgArchiveBuffer *text = reader->script.text;
	DgArchiveEntry *entry;
	DgArchiveEntry parsed;
	DgArchiveText t;
	bool		default_values;

	if (reader->script.comment_in_statement)
		return dg_archive_fail_statement(archive, text, reader->script.offset,
										 "comment inside of an INSERT statement", err);
	if (in_run && text->len >= head->len && memcmp(text->data, head->data, head->len) == 0)
		entry = &archive->entries[archive->entry_count - 1];
	else
	{
		memset(&parsed, 0, sizeof(parsed));
		parsed.pub.form = DG_ARCHIVE_INSERT;
		parsed.pub.target_schema = "";
		parsed.list_missing = true;
		dg_archive_text_init(&t, text->data, text->len, true);
		if (!dg_archive_insert_head(archive, &parsed, &t, &default_values))
			return dg_archive_fail_statement(archive, text, reader->script.offset,
											 "INSERT statement that pg_dump does not write", err);
		head->len = 0;
		if (!dg_archive_buffer_add(head, text->data, (size_t) (t.p - text->data)))
			return dg_archive_no_memory(err);
		entry = add_entry(reader, &parsed, reader->script.offset, err);
		if (entry == NULL)
			return false;
	}
	entry->end = dg_archive_stream_tell(reader->stream);
	entry->pub.data_bytes = (int64_t) (entry->end - entry->offset);
	reader->in_run = true;
	return true;
}

/*
 * Does a statement, in a literal of it, go over what pg_dump begins others with?
 */
static bool
holds_heading(const DgArchiveBuffer *text)
{
	const char *p = text->data;
	const char *end = p + text->len;

	while ((p = find_bytes(p, end, "\n--\n-- ")) != NULL)
	{
		p += 4;
		if (dg_archive_script_is_heading(p, (size_t) (end - p)))
			return true;
	}
	return false;
}

/*
 * A statement other than COPY and INSERT.  Where its quotes or its semicolon are
 * damaged, rows may be in it.
 */
static bool
handle_other(PlainReader *reader, DgArchiveError *err)
{
	DgArchive  *archive = reader->archive;
	DgArchiveBuffer *text = reader->script.text;

	if (reader->script.heading_in_statement || holds_heading(text))
		return dg_archive_fail(err, DG_ARCHIVE_CORRUPT, archive->file->name, reader->script.offset,
							   "a statement does not end before pg_dump begins another: %.*s...",
							   (int) (text->len < 50 ? text->len : 50), text->data);
	if (!dg_archive_statement_known(text))
		return dg_archive_fail_statement(archive, text, reader->script.offset,
										 "the script has what is no statement of PostgreSQL", err);
	return text->cut || dg_archive_statement(archive, text, reader->script.offset, err);
}

static bool
handle_statement(PlainReader *reader, DgArchiveError *err)
{
	DgArchive  *archive = reader->archive;
	DgArchiveBuffer *text = reader->script.text;
	bool		in_run = reader->in_run;
	DgArchiveText t;

	reader->in_run = false;
	reader->statements = true;
	dg_archive_text_init(&t, text->data, text->len, archive->info.std_strings);
	dg_archive_text_space(&t);
	if (dg_archive_text_is_word(&t, "INSERT"))
		return handle_insert(reader, in_run, err);
	if (dg_archive_text_is_word(&t, "COPY"))
		return handle_copy(reader, err);
	return handle_other(reader, err);
}

/*
 * Has everything ended that has begun?
 */
static bool
check_end(PlainReader *reader, DgArchiveError *err)
{
	const char *what = NULL;

	if (reader->begun > 0)
		what = "dump ends without its last line";
	else if (reader->cluster)
		what = "script of pg_dumpall ends without its last line; pg_dumpall ends like that where it cannot dump a database";
	else if (reader->restricted && !reader->told)
		what = "script ends without the \\unrestrict that belongs to its \\restrict";
	return what == NULL ||
		dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, reader->archive->file->name,
						dg_archive_stream_tell(reader->stream), "%s", what);
}

static bool
read_script(PlainReader *reader, DgArchiveError *err)
{
	for (;;)
	{
		bool		ok = true;

		switch (dg_archive_script_next(&reader->script, err))
		{
			case DG_ARCHIVE_SCRIPT_END:
				return finish_data(reader, err) && check_end(reader, err) &&
					dg_archive_databases_end(&reader->databases, reader->archive, reader->of_cluster, err);
			case DG_ARCHIVE_SCRIPT_FAILED:
				return false;
			case DG_ARCHIVE_SCRIPT_STATEMENT:
				ok = handle_statement(reader, err);
				break;
			case DG_ARCHIVE_SCRIPT_COMMENT:
				reader->in_run = false;
				ok = handle_comment(reader, err);
				break;
			case DG_ARCHIVE_SCRIPT_COMMAND:
				reader->in_run = false;
				ok = handle_command(reader, err);
				break;
		}
		if (ok && dg_archive_too_many(reader->archive))
			ok = dg_archive_fail(err, DG_ARCHIVE_TOO_LARGE,
								 reader->archive->file->name,
								 reader->script.offset, "too many tables");
		if (!ok)
			return false;
	}
}

/*
 * Do lines end with CR LF?  The first one tells for all.
 */
static bool
probe_crlf(DgArchiveStream *s, bool *crlf, DgArchiveError *err)
{
	const char *nl;

	if (dg_archive_stream_fill(s, err) < 0)
		return false;
	nl = memchr(s->window + s->start, '\n', s->end - s->start);
	*crlf = nl != NULL && nl > s->window + s->start && nl[-1] == '\r';
	/* a byte order mark that an editor has left */
	if (s->end - s->start >= 3 && memcmp(s->window + s->start, "\xef\xbb\xbf", 3) == 0)
		s->start += 3;
	return true;
}

/*
 * Reads a script once, to find its tables and where their rows are.
 */
bool
dg_archive_plain_open(DgArchive *archive, DgArchiveError *err)
{
	PlainReader reader;
	DgArchiveStream *stream = calloc(1, sizeof(*stream));

	if (stream == NULL)
		return dg_archive_no_memory(err);
	archive->toc = stream;
	archive->info.format = DG_ARCHIVE_PLAIN;
	memset(&reader, 0, sizeof(reader));
	reader.archive = archive;
	reader.stream = stream;
	if (!dg_archive_stream_init(stream, archive, DG_ARCHIVE_NONE,
								DG_ARCHIVE_FRAME_FILE, err))
		return false;
	dg_archive_source_extent(&stream->source, archive->file, 0, archive->file->size);
	dg_archive_script_init(&reader.script, archive, stream);
	if (!dg_archive_schemas_default(archive))
		return dg_archive_no_memory(err);
	dg_archive_databases_init(&reader.databases, archive);
	if (!probe_crlf(stream, &archive->crlf, err) || !read_script(&reader, err))
		return false;
	if (!reader.statements && reader.dumps == 0)
		return dg_archive_fail(err, DG_ARCHIVE_NOT_AN_ARCHIVE, archive->file->name, 0,
							   "not an archive of pg_dump");
	archive->info.whole = reader.told || archive->entry_count == 0;
	return dg_archive_entries_finish(archive, err);
}
