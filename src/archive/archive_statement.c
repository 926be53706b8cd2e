/*
 * archive_statement.c
 *		What the statements of a script say about its rows, other than those that
 *		have them: the encoding, the schemas that names are looked for in,
 *		definitions, sequences, and what is done to a table later on.
 */
#include <stdio.h>
#include <string.h>

#include "archive/archive_script.h"

/*
 * Fails at a statement, and shows its beginning.
 */
bool
dg_archive_fail_statement(DgArchive *archive, const DgArchiveBuffer *text, uint64_t offset,
						  const char *what, DgArchiveError *err)
{
	return dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, offset, "%s: %.*s%s", what,
						   (int) (text->len < 50 ? text->len : 50), text->data, text->len > 50 ? "..." : "");
}

/* ---- settings ---- */

/*
 * All rows of a database are read in one encoding.
 */
bool
dg_archive_use_encoding(DgArchive *archive, const char *name, uint64_t offset, DgArchiveError *err)
{
	const char *before = archive->info.encoding;
	char		keys[2][DG_ARCHIVE_ENCODING_KEY];

	dg_archive_encoding_key(before, keys[0]);
	dg_archive_set_encoding(archive, name);
	dg_archive_encoding_key(archive->info.encoding, keys[1]);
	if (archive->entry_count == archive->part_start || strcmp(keys[0], keys[1]) == 0)
		return true;
	return dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, offset,
						   "client_encoding changes between rows, from \"%.32s\" to \"%.32s\"",
						   before, archive->info.encoding);
}

static bool
use_strings(DgArchive *archive, const char *value, uint64_t offset, DgArchiveError *err)
{
	bool		before = archive->info.std_strings;

	archive->info.std_strings = strcmp(value, "off") != 0 && strcmp(value, "false") != 0 && strcmp(value, "0") != 0;
	if (archive->entry_count == archive->part_start || before == archive->info.std_strings)
		return true;
	return dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, offset,
						   "standard_conforming_strings changes between rows");
}

/*
 * A setting that matters here gets the value that text goes on with.
 */
static bool
use_setting(DgArchive *archive, const char *name, DgArchiveText *t, uint64_t offset, DgArchiveError *err)
{
	const char *value;
	size_t		len;

	if (strcmp(name, "search_path") == 0)
		return dg_archive_schemas_set(archive, t) ||
			dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, offset,
							"search_path is set to something that cannot be followed");
	if (strcmp(name, "client_encoding") != 0 && strcmp(name, "standard_conforming_strings") != 0 &&
		strcmp(name, "row_security") != 0)
		return true;
	if (!dg_archive_text_string(t, &archive->arena, &value, &len) &&
		!dg_archive_text_ident(t, &archive->arena, &value))
		return true;
	if (strcmp(name, "row_security") == 0)
	{
		archive->info.row_security |= strcmp(value, "on") == 0;
		return true;
	}
	return strcmp(name, "client_encoding") == 0 ? dg_archive_use_encoding(archive, value, offset, err) :
		use_strings(archive, value, offset, err);
}

/*
 * SET name = value, or TO value; SET NAMES, SET SCHEMA.
 */
static bool
handle_set(DgArchive *archive, DgArchiveText *t, uint64_t offset, DgArchiveError *err)
{
	const char *name;

	if (!dg_archive_text_word(t, "SESSION"))
		(void) dg_archive_text_word(t, "LOCAL");
	if (!dg_archive_text_ident(t, &archive->arena, &name))
		return true;
	if (strcmp(name, "names") == 0)
		name = "client_encoding";
	else if (strcmp(name, "schema") == 0)
		name = "search_path";
	else if (!dg_archive_text_char(t, '=') && !dg_archive_text_word(t, "TO"))
		return true;
	if (t->end > t->p && t->end[-1] == ';')
		t->end--;
	return use_setting(archive, name, t, offset, err);
}

/*
 * set_config('name', 'value', is_local)
 */
static bool
handle_set_config(DgArchive *archive, DgArchiveText *t, uint64_t offset, DgArchiveError *err)
{
	const char *schema;
	const char *function;
	const char *name;
	const char *value;
	DgArchiveText inner;
	size_t		len;

	if (!dg_archive_text_qualified(t, &archive->arena, &schema, &function) ||
		strcmp(function, "set_config") != 0 ||
		!dg_archive_text_char(t, '(') ||
		!dg_archive_text_string(t, &archive->arena, &name, &len) ||
		!dg_archive_text_char(t, ',') ||
		!dg_archive_text_string(t, &archive->arena, &value, &len))
		return true;
	if (strcmp(name, "client_encoding") == 0)
		return dg_archive_use_encoding(archive, value, offset, err);
	if (strcmp(name, "standard_conforming_strings") == 0)
		return use_strings(archive, value, offset, err);
	dg_archive_text_init(&inner, value, len, true);
	return strcmp(name, "search_path") != 0 || use_setting(archive, name, &inner, offset, err);
}

/* ---- what is done to tables ---- */

static bool
add_change(DgArchive *archive, DgArchiveText *t, DgArchiveChange *change, DgArchiveError *err)
{
	if (dg_archive_text_word(t, "IF"))
		(void) dg_archive_text_word(t, "EXISTS");
	(void) dg_archive_text_word(t, "ONLY");
	if (!dg_archive_text_qualified(t, &archive->arena, &change->schema, &change->name))
		return true;			/* nothing that could be one of ours */
	change->schemas = archive->schemas;
	change->entries = archive->entry_count;
	return dg_archive_change_add(archive, change, err);
}

/*
 * The statements that take a list of tables, or one.
 */
static bool
handle_change(DgArchive *archive, DgArchiveText *t, const char *what, uint64_t offset, DgArchiveError *err)
{
	DgArchiveChange change;

	do
	{
		memset(&change, 0, sizeof(change));
		change.what = what;
		change.offset = offset;
		change.rows = true;
		if (!add_change(archive, t, &change, err))
			return false;
	} while (dg_archive_text_char(t, ','));
	return true;
}

/*
 * Adds what one action of ALTER TABLE does to columns or the name.
 */
static void
read_action(DgArchiveText *t, DgArchiveChange *change)
{
	static const char *const constraints[] = {
		"CONSTRAINT", "CHECK", "PRIMARY", "UNIQUE", "FOREIGN", "EXCLUDE", "NOT", NULL
	};
	bool		add = dg_archive_text_word(t, "ADD");
	int			i;

	if (add || dg_archive_text_word(t, "DROP"))
	{
		dg_archive_text_space(t);
		for (i = 0; constraints[i] != NULL; i++)
		{
			if (dg_archive_text_is_word(t, constraints[i]))
				return;
		}
		change->columns = true;
	}
	else if (dg_archive_text_word(t, "RENAME"))
		change->columns = change->rows = !dg_archive_text_word(t, "CONSTRAINT");
	else if (dg_archive_text_word(t, "SET"))
		change->rows |= dg_archive_text_word(t, "SCHEMA");
	else if (dg_archive_text_word(t, "ALTER"))
	{
		const char *p;

		(void) dg_archive_text_word(t, "COLUMN");
		p = t->p;
		if (!dg_archive_text_skip_token(t) || p == t->p)
			return;
		if (dg_archive_text_word(t, "SET"))
			(void) dg_archive_text_word(t, "DATA");
		if (dg_archive_text_word(t, "TYPE"))
			change->columns = change->rows = true;
	}
}

/*
 * Passes over the rest of an action, and the comma behind it.  False at the end.
 */
static bool
next_action(DgArchiveText *t)
{
	int			depth = 0;

	for (;;)
	{
		dg_archive_text_space(t);
		if (t->p >= t->end)
			return false;
		if (depth == 0 && *t->p == ',')
		{
			t->p++;
			return true;
		}
		depth += (*t->p == '(') - (*t->p == ')');
		if (!dg_archive_text_skip_token(t))
			return false;
	}
}

/*
 * A schema that is renamed or dropped takes its tables' rows along.
 */
static bool
handle_schema(DgArchive *archive, DgArchiveText *t, const char *what, bool rename, uint64_t offset,
			  DgArchiveError *err)
{
	DgArchiveChange change;

	memset(&change, 0, sizeof(change));
	change.what = what;
	change.offset = offset;
	change.rows = true;
	change.entries = archive->entry_count;
	if (dg_archive_text_word(t, "IF"))
		(void) dg_archive_text_word(t, "EXISTS");
	if (archive->entry_count == archive->part_start || !dg_archive_text_ident(t, &archive->arena, &change.schema) ||
		(rename && !dg_archive_text_word(t, "RENAME")))
		return true;
	return dg_archive_change_add(archive, &change, err);
}

static bool
handle_alter(DgArchive *archive, DgArchiveText *t, uint64_t offset, DgArchiveError *err)
{
	DgArchiveChange change;
	DgArchiveText name;

	if (dg_archive_text_word(t, "SCHEMA"))
		return handle_schema(archive, t, "ALTER SCHEMA", true, offset, err);
	if (!dg_archive_text_word(t, "TABLE"))
		return true;
	name = *t;
	if (dg_archive_text_word(t, "IF"))
		(void) dg_archive_text_word(t, "EXISTS");
	(void) dg_archive_text_word(t, "ONLY");
	memset(&change, 0, sizeof(change));
	if (!dg_archive_text_qualified(t, &archive->arena, &change.schema, &change.name))
		return true;
	(void) dg_archive_text_char(t, '*');
	do
		read_action(t, &change);
	while (next_action(t));
	change.what = "ALTER TABLE";
	change.offset = offset;
	if (!change.columns && !change.rows)
		return true;
	return add_change(archive, &name, &change, err);
}

/*
 * Does a text begin as a statement does?
 */
bool
dg_archive_statement_known(const DgArchiveBuffer *text)
{
	static const char *const words[] = {
		"ABORT", "ALTER", "ANALYZE", "BEGIN", "CALL", "CHECKPOINT", "CLOSE", "CLUSTER", "COMMENT", "COMMIT", "CREATE",
		"DEALLOCATE", "DECLARE", "DELETE", "DISCARD", "DO", "DROP", "END", "EXECUTE", "EXPLAIN", "FETCH", "GRANT", "IMPORT",
		"LISTEN", "LOAD", "LOCK", "MERGE", "MOVE", "NOTIFY", "PREPARE", "REASSIGN", "REFRESH", "REINDEX", "RELEASE",
		"RESET", "REVOKE", "ROLLBACK", "SAVEPOINT", "SECURITY", "SELECT", "SET", "SHOW", "START", "TABLE", "TRUNCATE",
		"UNLISTEN", "UPDATE", "VACUUM", "VALUES", "WITH", NULL
	};
	DgArchiveText t;
	int			i;

	dg_archive_text_init(&t, text->data, text->len, true);
	dg_archive_text_space(&t);
	if (t.p >= t.end || *t.p == ';')
		return true;
	for (i = 0; words[i] != NULL; i++)
	{
		if (dg_archive_text_is_word(&t, words[i]))
			return true;
	}
	return false;
}

/*
 * A statement that is neither COPY nor INSERT.
 */
bool
dg_archive_statement(DgArchive *archive, const DgArchiveBuffer *text, uint64_t offset, DgArchiveError *err)
{
	static const char lo[] = "SELECT pg_catalog.lo_";
	DgArchiveText t;

	dg_archive_text_init(&t, text->data, text->len, archive->info.std_strings);
	dg_archive_text_space(&t);
	if (dg_archive_text_is_word(&t, "CREATE"))
		return dg_archive_defn_table(archive, NULL, NULL, text->data, text->len, false, err) &&
			dg_archive_defn_parents(archive, text->data, text->len, err);
	if ((size_t) (t.end - t.p) >= sizeof(lo) - 1 && memcmp(t.p, lo, sizeof(lo) - 1) == 0)
		archive->info.large_objects = true;
	if (dg_archive_text_word(&t, "SELECT"))
		return dg_archive_sequence_add(archive, NULL, NULL, text->data, text->len, err) &&
			handle_set_config(archive, &t, offset, err);
	if (dg_archive_text_word(&t, "SET"))
		return handle_set(archive, &t, offset, err);
	if (dg_archive_text_word(&t, "RESET"))
		return !(dg_archive_text_word(&t, "SEARCH_PATH") || dg_archive_text_word(&t, "ALL")) ||
			dg_archive_schemas_default(archive) || dg_archive_no_memory(err);
	if (dg_archive_text_word(&t, "ALTER"))
		return dg_archive_defn_parents(archive, text->data, text->len, err) && handle_alter(archive, &t, offset, err);
	if (dg_archive_text_word(&t, "UPDATE"))
		return handle_change(archive, &t, "UPDATE", offset, err);
	if (dg_archive_text_word(&t, "DELETE"))
		return !dg_archive_text_word(&t, "FROM") || handle_change(archive, &t, "DELETE", offset, err);
	if (dg_archive_text_word(&t, "MERGE"))
		return !dg_archive_text_word(&t, "INTO") || handle_change(archive, &t, "MERGE", offset, err);
	if (dg_archive_text_word(&t, "DROP"))
	{
		if (dg_archive_text_word(&t, "SCHEMA"))
			return handle_schema(archive, &t, "DROP SCHEMA", false, offset, err);
		return !dg_archive_text_word(&t, "TABLE") || handle_change(archive, &t, "DROP TABLE", offset, err);
	}
	if (dg_archive_text_word(&t, "TRUNCATE"))
	{
		(void) dg_archive_text_word(&t, "TABLE");
		return handle_change(archive, &t, "TRUNCATE", offset, err);
	}
	if ((dg_archive_text_word(&t, "ROLLBACK") || dg_archive_text_word(&t, "ABORT")) &&
		archive->entry_count > archive->part_start)
		return dg_archive_fail_statement(archive, text, offset, "the script takes rows back", err);
	return true;
}
