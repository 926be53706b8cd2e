/*
 * archive_entry.c
 *		What an archive says about a table's data: where its rows go, their
 *		columns and types, the encoding of all of it.
 *
 * Shared by the formats with a table of contents and by plain dumps.
 */
#include <string.h>

#include "archive/archive_internal.h"

/*
 * Are there more objects than memory should be spent on?
 */
bool
dg_archive_too_many(const DgArchive *archive)
{
	return archive->entry_count + archive->shape_count + archive->parent_count + archive->sequence_count +
		archive->block_count > DG_ARCHIVE_MAX_OBJECTS;
}

/*
 * An encoding's name as the server compares it: letters and digits only, in one
 * case.
 */
void
dg_archive_encoding_key(const char *name, char key[DG_ARCHIVE_ENCODING_KEY])
{
	size_t		len = 0;

	for (; *name != '\0' && len + 1 < DG_ARCHIVE_ENCODING_KEY; name++)
	{
		char		c = *name;

		if (c >= 'a' && c <= 'z')
			c = (char) (c - 'a' + 'A');
		if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
			key[len++] = c;
	}
	key[len] = '\0';
}

/*
 * Encodings, by every name a server accepts, in which a backslash can be the
 * last byte of a character.  pg_dump writes the first name; people others.
 */
void
dg_archive_set_encoding(DgArchive *archive, const char *name)
{
	static const struct
	{
		const char *name;
		const char *canonical;
	}			trail[] = {
		{"SJIS", "SJIS"}, {"MSKANJI", "SJIS"}, {"SHIFTJIS", "SJIS"},
		{"WIN932", "SJIS"}, {"WINDOWS932", "SJIS"},
		{"BIG5", "BIG5"}, {"WIN950", "BIG5"}, {"WINDOWS950", "BIG5"},
		{"GBK", "GBK"}, {"WIN936", "GBK"}, {"WINDOWS936", "GBK"},
		{"UHC", "UHC"}, {"WIN949", "UHC"}, {"WINDOWS949", "UHC"},
		{"GB18030", "GB18030"}, {"JOHAB", "JOHAB"},
		{"SHIFTJIS2004", "SHIFT_JIS_2004"}
	};
	char		key[DG_ARCHIVE_ENCODING_KEY];
	size_t		i;

	dg_archive_encoding_key(name, key);
	archive->info.encoding = name;
	archive->info.trail_bytes = false;
	for (i = 0; i < sizeof(trail) / sizeof(trail[0]); i++)
	{
		if (strcmp(key, trail[i].name) != 0)
			continue;
		archive->info.encoding = trail[i].canonical;
		archive->info.trail_bytes = true;
	}
}

/*
 * Reads COPY s.t (columns) FROM stdin; into the entry.  False: it is not
 * that, or memory is short.
 */
bool
dg_archive_entry_copy(DgArchive *archive, DgArchiveEntry *entry, const char *sql,
					  size_t len)
{
	DgArchiveText text;
	const char **columns = NULL;
	int			count = 0;

	dg_archive_text_init(&text, sql, len, true);
	if (!dg_archive_text_word(&text, "COPY") ||
		!dg_archive_text_qualified(&text, &archive->arena,
								   &entry->pub.target_schema,
								   &entry->pub.target_name))
		return false;
	dg_archive_text_space(&text);
	entry->list_missing = text.p >= text.end || *text.p != '(';
	if (!entry->list_missing &&
		!dg_archive_text_columns(&text, &archive->arena, &columns, &count))
		return false;
	if (dg_archive_text_word(&text, "WITH"))
		entry->with_oids = dg_archive_text_word(&text, "OIDS");
	if (!dg_archive_text_word(&text, "FROM") ||
		!dg_archive_text_word(&text, "STDIN") || !dg_archive_text_char(&text, ';'))
		return false;
	dg_archive_text_space(&text);
	entry->pub.has_columns = !entry->list_missing;
	entry->pub.columns = columns;
	entry->pub.column_count = count;
	return text.p == text.end;
}

/*
 * "-- load via partition root s.t" in a data entry's definition names where
 * its INSERT statements go.
 */
void
dg_archive_entry_root(DgArchive *archive, DgArchiveEntry *entry, const char *defn,
					  size_t len)
{
	static const char prefix[] = "-- load via partition root ";
	DgArchiveText text;

	if (len < sizeof(prefix) - 1 || memcmp(defn, prefix, sizeof(prefix) - 1) != 0)
		return;
	dg_archive_text_init(&text, defn + sizeof(prefix) - 1,
						 len - (sizeof(prefix) - 1), true);
	if (!dg_archive_text_qualified(&text, &archive->arena,
								   &entry->pub.target_schema,
								   &entry->pub.target_name))
	{
		entry->pub.target_schema = entry->pub.schema;
		entry->pub.target_name = entry->pub.name;
	}
}

/*
 * Type of a column, looked for first where it probably is.
 */
static const char *
type_in_shape(const DgArchiveShape *shape, const char *column, int guess)
{
	int			i;

	if (guess < shape->count && strcmp(shape->columns[guess], column) == 0)
		return shape->types[guess];
	for (i = 0; i < shape->count; i++)
	{
		if (strcmp(shape->columns[i], column) == 0)
			return shape->types[i];
	}
	return NULL;
}

/*
 * Columns of rows that come without a column list: COPY leaves generated
 * columns out, INSERT has DEFAULT in their place.
 */
static bool
columns_from_shape(DgArchive *archive, DgArchiveEntry *entry,
				   const DgArchiveShape *shape)
{
	const char **columns;
	bool	   *generated;
	int			i;

	columns = dg_archive_alloc(&archive->arena,
							   (size_t) (shape->count + 1) * sizeof(char *));
	generated = dg_archive_alloc(&archive->arena, (size_t) shape->count + 1);
	if (columns == NULL || generated == NULL)
		return false;
	entry->pub.column_count = 0;
	for (i = 0; i < shape->count; i++)
	{
		if (entry->pub.form != DG_ARCHIVE_INSERT && shape->generated[i])
			continue;
		generated[entry->pub.column_count] = shape->generated[i];
		columns[entry->pub.column_count++] = shape->columns[i];
	}
	entry->pub.columns = columns;
	entry->pub.generated = generated;
	entry->pub.has_columns = true;
	return true;
}

/*
 * Fills in what the table's definition says about the columns of its data:
 * their names where there is no list, and their types.
 */
bool
dg_archive_entry_columns(DgArchive *archive, DgArchiveEntry *entry,
						 DgArchiveError *err)
{
	const DgArchiveShape *shape;
	const char **types;
	int			i;

	shape = dg_archive_defn_find(archive, entry->pub.schema, entry->pub.name);
	if (shape != NULL && shape->with_oids)
		entry->with_oids = true;
	entry->pub.generated = NULL;
	entry->pub.no_columns = NULL;
	if (entry->list_missing)
	{
		entry->pub.has_columns = false;
		entry->pub.column_count = 0;
		entry->pub.columns = NULL;
		if (shape == NULL)
			entry->pub.no_columns = "does not define the table";
		else if (!shape->known)
			entry->pub.no_columns = "defines the table in a way that cannot be followed, or changes it";
		else if (!columns_from_shape(archive, entry, shape))
			return dg_archive_no_memory(err);
	}
	types = dg_archive_alloc(&archive->arena,
							 (size_t) (entry->pub.column_count + 1) * sizeof(char *));
	if (types == NULL)
		return dg_archive_no_memory(err);
	for (i = 0; shape != NULL && shape->known && i < entry->pub.column_count; i++)
		types[i] = type_in_shape(shape, entry->pub.columns[i], i);
	entry->pub.types = types;
	return true;
}

/*
 * The rows of a table cannot be read, as *err says: an error for callers that
 * ask for them, and no other.  Returns false without memory.
 */
bool
dg_archive_entry_fault(DgArchive *archive, DgArchiveEntry *entry, DgArchiveError *err)
{
	DgArchiveError *fault = dg_archive_alloc(&archive->arena, sizeof(*fault));

	if (fault == NULL)
		return dg_archive_no_memory(err);
	dg_archive_error_table(err, entry->pub.schema, entry->pub.name);
	*fault = *err;
	entry->fault = fault;
	entry->place = DG_ARCHIVE_AT_NOWHERE;
	entry->pub.data_bytes = -1;
	entry->pub.problem = fault->message;
	return true;
}

/*
 * What can be said about tables only when all definitions are known.
 */
bool
dg_archive_entries_finish(DgArchive *archive, DgArchiveError *err)
{
	size_t		i;

	dg_archive_defn_sort(archive);
	if (!dg_archive_names_finish(archive, err) || !dg_archive_defn_resolve(archive, err))
		return false;
	for (i = 0; i < archive->entry_count; i++)
	{
		if (!dg_archive_entry_columns(archive, &archive->entries[i], err))
			return false;
	}
	return true;
}
