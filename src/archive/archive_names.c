/*
 * archive_names.c
 *		Which table a name in a script means.
 *
 * A script may leave the schema of a table away: then it is looked for as psql's
 * session would, in the schemas of search_path.  All definitions have to be
 * known for that, so names are completed at the end.
 *
 * Then it also shows whether the rows that were found are those that the script
 * would leave behind: statements that change a table after its rows are noted
 * on the way, and no table may have rows of two dumps.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

/* More than anybody has, and few enough to be looked through. */
#define MAX_SCHEMAS		64

/* ---- search_path ---- */

/*
 * Makes names the present ones.  Old dumps set them for every object, mostly to
 * the same.
 */
static bool
use_schemas(DgArchive *archive, const char **names, int count)
{
	DgArchiveSchemas *list;
	const char **copy;
	int			i = 0;

	if (archive->schemas != NULL && archive->schemas->count == count)
	{
		while (i < count && strcmp(archive->schemas->names[i], names[i]) == 0)
			i++;
		if (i == count)
			return true;
	}
	list = dg_archive_alloc(&archive->arena, sizeof(*list));
	copy = dg_archive_alloc(&archive->arena, ((size_t) count + 1) * sizeof(char *));
	if (list == NULL || copy == NULL)
		return false;
	if (count > 0)
		memcpy(copy, names, (size_t) count * sizeof(char *));
	list->count = count;
	list->names = copy;
	archive->schemas = list;
	return true;
}

/*
 * A new session has the server's default.
 */
bool
dg_archive_schemas_default(DgArchive *archive)
{
	const char *public = "public";

	return use_schemas(archive, &public, 1);
}

/*
 * Catalogs have no tables of ours, and who "$user" was is not known.
 */
static bool
may_have_tables(const char *schema)
{
	return schema[0] != '\0' && strcmp(schema, "pg_catalog") != 0 &&
		strcmp(schema, "pg_temp") != 0 && strcmp(schema, "$user") != 0;
}

/*
 * Reads the value that search_path is set to, names or literals with commas
 * between them.  False: it is not that, or memory is short.
 */
bool
dg_archive_schemas_set(DgArchive *archive, DgArchiveText *text)
{
	const char *names[MAX_SCHEMAS];
	const char *name;
	size_t		len;
	int			count = 0;

	if (dg_archive_text_word(text, "DEFAULT"))
		return dg_archive_schemas_default(archive);
	do
	{
		dg_archive_text_space(text);
		if (text->p >= text->end)
			break;				/* an empty list in set_config() */
		if (text->end - text->p >= 2 && text->p[0] == '"' && text->p[1] == '"')
		{
			text->p += 2;		/* and so is "" */
			continue;
		}
		if (!dg_archive_text_string(text, &archive->arena, &name, &len) &&
			!dg_archive_text_ident(text, &archive->arena, &name))
			return false;
		if (!may_have_tables(name))
			continue;
		if (count >= MAX_SCHEMAS)
			return false;
		names[count++] = name;
	} while (dg_archive_text_char(text, ','));
	return use_schemas(archive, names, count);
}

/* ---- what a name means ---- */

/*
 * The schema of an unqualified name of a table, as far as definitions tell, or
 * NULL.
 */
static const char *
schema_of(DgArchive *archive, const DgArchiveSchemas *schemas, const char *name)
{
	int			i;

	for (i = 0; i < schemas->count; i++)
	{
		if (dg_archive_defn_find(archive, schemas->names[i], name) != NULL)
			return schemas->names[i];
	}
	return schemas->count == 1 ? schemas->names[0] : NULL;
}

static bool
fail_schema(DgArchive *archive, const DgArchiveEntry *entry, DgArchiveError *err)
{
	char		list[150] = "";
	int			i;

	for (i = 0; i < entry->schemas->count && strlen(list) < 70; i++)
	{
		strcat(list, i > 0 ? ", \"" : "\"");
		strncat(list, entry->schemas->names[i], 60);
		strcat(list, "\"");
	}
	if (entry->schemas->count == 0)
		dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, entry->statement,
						"rows of table \"%.64s\", of which schema is not said: search_path is empty", entry->pub.target_name);
	else
		dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, entry->statement,
						"rows of table \"%.64s\", which may be in any schema of search_path (%s): the script does not define it",
						entry->pub.target_name, list);
	return dg_archive_hint(err, "Write the schema before the table's name there, or SET search_path to it alone before that, in a copy of the script.");
}

/*
 * Completes the name of the table that an entry's rows go to.
 */
static bool
complete_name(DgArchive *archive, DgArchiveEntry *entry, DgArchiveError *err)
{
	const char *schema = NULL;

	if (entry->pub.target_schema[0] != '\0')
		return true;
	if (entry->schemas != NULL)
		schema = schema_of(archive, entry->schemas, entry->pub.target_name);
	if (schema == NULL && entry->pub.schema[0] != '\0')
		schema = entry->pub.schema; /* the comment before it, or the entry,
									 * tells */
	if (schema == NULL)
		return fail_schema(archive, entry, err);
	entry->pub.target_schema = schema;
	if (entry->pub.schema[0] == '\0')
		entry->pub.schema = schema;
	return true;
}

static int
compare_names(const void *a, const void *b)
{
	const DgArchiveEntry *x = *(DgArchiveEntry *const *) a;
	const DgArchiveEntry *y = *(DgArchiveEntry *const *) b;
	int			c = dg_archive_name_compare(x->pub.schema, x->pub.name, y->pub.schema, y->pub.name);

	return c != 0 ? c : (x > y) - (x < y);
}

/*
 * The first entry with rows of a table, or NULL.
 */
const DgArchiveEntry *
dg_archive_entry_find(const DgArchive *archive, const char *schema, const char *name)
{
	size_t		low = 0;
	size_t		high = archive->by_name == NULL ? 0 : archive->entry_count;

	while (low < high)
	{
		size_t		mid = low + (high - low) / 2;
		const DgArchiveTable *table = &archive->by_name[mid]->pub;

		if (dg_archive_name_compare(table->schema, table->name, schema, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	if (archive->by_name == NULL || low >= archive->entry_count ||
		dg_archive_name_compare(archive->by_name[low]->pub.schema, archive->by_name[low]->pub.name, schema, name) != 0)
		return NULL;
	return archive->by_name[low];
}

/*
 * Two dumps one behind the other, of different databases or of different days:
 * which rows are meant is not known.
 */
static bool
check_dumps(DgArchive *archive, DgArchiveError *err)
{
	size_t		i;

	for (i = 1; i < archive->entry_count; i++)
	{
		const DgArchiveEntry *one = archive->by_name[i - 1];
		const DgArchiveEntry *other = archive->by_name[i];

		if (one->dump == other->dump ||
			dg_archive_name_compare(one->pub.schema, one->pub.name, other->pub.schema, other->pub.name) != 0)
			continue;
		dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, other->statement,
						"the script has two dumps of a table, the first at byte %llu", (unsigned long long) one->statement);
		dg_archive_error_table(err, other->pub.schema, other->pub.name);
		return dg_archive_hint(err, "Cut the script where its second dump begins, and give the part that is meant.");
	}
	return true;
}

/* ---- what happens to a table after its rows ---- */

/*
 * Notes that a statement changes a table; change says which, and what.
 */
bool
dg_archive_change_add(DgArchive *archive, const DgArchiveChange *change, DgArchiveError *err)
{
	return dg_archive_append(&archive->changes, &archive->change_count, &archive->change_cap, change, sizeof(*change), err);
}

/*
 * The first entry with rows of a schema's tables, or NULL.
 */
static const DgArchiveEntry *
find_in_schema(const DgArchive *archive, const char *schema)
{
	size_t		i;

	for (i = 0; i < archive->entry_count; i++)
	{
		if (strcmp(archive->entries[i].pub.schema, schema) == 0)
			return &archive->entries[i];
	}
	return NULL;
}

static bool
fail_change(DgArchive *archive, const DgArchiveChange *change, const DgArchiveEntry *entry, DgArchiveError *err)
{
	dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, change->offset,
					"the script goes on to change a table after its rows, with %s", change->what);
	dg_archive_error_table(err, entry->pub.schema, entry->pub.name);
	return false;
}

static bool
apply_change(DgArchive *archive, const DgArchiveChange *change, DgArchiveError *err)
{
	const char *schema = change->schema[0] != '\0' ? change->schema : schema_of(archive, change->schemas, change->name);
	const DgArchiveEntry *entry;

	if (schema == NULL)
		return true;
	if (change->name == NULL)
	{
		entry = find_in_schema(archive, schema);
		return entry == NULL || (size_t) (entry - archive->entries) >= change->entries ||
			fail_change(archive, change, entry, err);
	}
	if (change->columns)
		dg_archive_defn_altered(archive, schema, change->name);
	entry = change->rows ? dg_archive_entry_find(archive, schema, change->name) : NULL;
	if (entry == NULL || (size_t) (entry - archive->entries) >= change->entries)
		return true;
	return fail_change(archive, change, entry, err);
}

/*
 * After the last definition: completes all names, and sees to it that each means
 * one table, whose rows are what the script leaves behind.
 */
bool
dg_archive_names_finish(DgArchive *archive, DgArchiveError *err)
{
	size_t		i;

	for (i = 0; i < archive->entry_count; i++)
	{
		if (!complete_name(archive, &archive->entries[i], err))
			return false;
	}
	archive->by_name = malloc((archive->entry_count + 1) * sizeof(*archive->by_name));
	if (archive->by_name == NULL)
		return dg_archive_no_memory(err);
	for (i = 0; i < archive->entry_count; i++)
		archive->by_name[i] = &archive->entries[i];
	qsort(archive->by_name, archive->entry_count, sizeof(*archive->by_name), compare_names);
	if (!check_dumps(archive, err))
		return false;
	for (i = 0; i < archive->change_count; i++)
	{
		if (!apply_change(archive, &archive->changes[i], err))
			return false;
	}
	return true;
}
