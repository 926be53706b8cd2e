/*
 * archive_database.c
 *		The databases in a script of pg_dumpall.
 *
 * Tables of one name in several databases must not be mixed up.  A script with
 * rows of one database is read whatever that is called, unless it is of a whole
 * cluster; of several, the one that the options name, and nothing else.
 *
 * What was found before a database began is noted, and what was found in it is
 * dropped when it turns out that another one is meant.
 */
#include <string.h>

#include "archive/archive_script.h"

static void
set_mark(const DgArchive *archive, DgArchiveMark *mark)
{
	mark->info = archive->info;
	mark->entry_count = archive->entry_count;
	mark->shape_count = archive->shape_count;
	mark->parent_count = archive->parent_count;
	mark->sequence_count = archive->sequence_count;
	mark->change_count = archive->change_count;
}

static void
return_to_mark(DgArchive *archive, const DgArchiveMark *mark)
{
	archive->info = mark->info;
	archive->entry_count = mark->entry_count;
	archive->shape_count = mark->shape_count;
	archive->parent_count = mark->parent_count;
	archive->sequence_count = mark->sequence_count;
	archive->change_count = mark->change_count;
}

/* ---- names ---- */

/*
 * Reads one argument of a psql command: a word, of which parts may be quoted.
 * The text goes to out, which has room for it.
 */
static const char *
psql_argument(const char *p, const char *end, char *out)
{
	char		quote = '\0';

	for (; p < end && (quote != '\0' || (*p != ' ' && *p != '\t')); p++)
	{
		if (quote == '\0' && (*p == '\'' || *p == '"'))
			quote = *p;
		else if (*p == quote && p + 1 < end && p[1] == quote)
			*out++ = *p++;
		else if (*p == quote)
			quote = '\0';
		else if (quote == '\'' && *p == '\\' && p + 1 < end)
			*out++ = *++p;
		else
			*out++ = *p;
	}
	*out = '\0';
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	return p;
}

/*
 * Finds dbname='my shop' in a connection string and leaves the value in place.
 * NULL if there is none.
 */
static char *
conninfo_database(char *conninfo)
{
	char	   *p = conninfo;

	while ((p = strstr(p, "dbname")) != NULL)
	{
		bool		begins = p == conninfo || p[-1] == ' ';
		char	   *value = p + 6 + strspn(p + 6, " ");
		char	   *out;
		bool		quoted;

		p += 6;
		if (!begins || *value != '=')
			continue;
		value += 1 + strspn(value + 1, " ");
		quoted = *value == '\'';
		value += quoted;
		for (p = out = value; *p != '\0' && *p != (quoted ? '\'' : ' '); p++)
		{
			if (*p == '\\' && p[1] != '\0')
				p++;
			*out++ = *p;
		}
		*out = '\0';
		return value;
	}
	return NULL;
}

/*
 * The name in what follows \connect: shop, "Shop", dbname=shop, or
 * -reuse-previous=on "dbname='my shop'"; "" if it is the present one, NULL if it
 * cannot be told, or without memory.
 */
static const char *
database_name(DgArchive *archive, const char *p, const char *end)
{
	char	   *name;

	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	while (end > p && (end[-1] == ' ' || end[-1] == ';'))
		end--;
	name = dg_archive_alloc(&archive->arena, (size_t) (end - p) + 1);
	if (name == NULL)
		return NULL;
	do
		p = psql_argument(p, end, name);
	while (strncmp(name, "-reuse-previous=", 16) == 0 && p < end);
	if (strcmp(name, "-") == 0)
		return "";				/* only the user changes */
	if (strncmp(name, "postgresql://", 13) == 0 || strncmp(name, "postgres://", 11) == 0)
	{
		char	   *slash = strchr(strchr(name, ':') + 3, '/');

		if (slash == NULL || strchr(slash, '%') != NULL)
			return NULL;
		slash[1 + strcspn(slash + 1, "?")] = '\0';
		return slash[1] != '\0' ? slash + 1 : NULL;
	}
	return strchr(name, '=') != NULL ? conninfo_database(name) : name;
}

static void
add_name(DgArchiveDatabases *databases, const char *name)
{
	size_t		used = strlen(databases->names);

	if (used + strlen(name) + 10 > sizeof(databases->names))
	{
		if (used < 4 || strcmp(databases->names + used - 3, "...") != 0)
			strcpy(databases->names + used, ", ...");
		return;
	}
	if (used > 0)
		strcat(databases->names, ", ");
	strcat(databases->names, "\"");
	strcat(databases->names, name);
	strcat(databases->names, "\"");
}

/* ---- one after the other ---- */

void
dg_archive_databases_init(DgArchiveDatabases *databases, const DgArchive *archive)
{
	memset(databases, 0, sizeof(*databases));
	set_mark(archive, &databases->start);
	databases->mark = databases->start;
}

/*
 * The database underway is over: keeps what was found in it if it may be the one
 * that is meant.
 */
static void
end_database(DgArchiveDatabases *databases, DgArchive *archive)
{
	bool		rows = archive->entry_count > databases->mark.entry_count;

	if (databases->wanted)
		return;
	if (rows)
	{
		databases->with_rows++;
		if (databases->named == 0)
			databases->unnamed_rows = true;
		else
			add_name(databases, archive->info.database);
	}
	if (rows && !databases->found && databases->with_rows == 1)
		set_mark(archive, &databases->only);
	else
		return_to_mark(archive, &databases->mark);
}

/*
 * A database begins: p is what follows \connect, at offset of the script.
 */
bool
dg_archive_databases_connect(DgArchiveDatabases *databases, DgArchive *archive,
							 const char *p, const char *end, uint64_t offset,
							 DgArchiveError *err)
{
	const char *name = database_name(archive, p, end);
	bool		again = databases->found;

	if (name == NULL)
		return dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, offset,
							   "\\connect that does not tell which database follows");
	if (name[0] == '\0' || (databases->named > 0 && strcmp(name, archive->info.database) == 0))
		return dg_archive_schemas_default(archive) || dg_archive_no_memory(err);
	end_database(databases, archive);
	databases->wanted = archive->options.database != NULL &&
		strcmp(name, archive->options.database) == 0;
	if (databases->wanted && !databases->found)
		return_to_mark(archive, &databases->start);
	databases->found |= databases->wanted;
	if (databases->named++ == 1)
		databases->second = offset;
	set_mark(archive, &databases->mark);
	if (!databases->wanted || !again)
	{
		/* settings end with the session */
		archive->part_start = archive->entry_count;
		archive->info = databases->start.info;
		archive->info.database = name;
	}
	return dg_archive_schemas_default(archive) || dg_archive_no_memory(err);
}

static bool
fail_databases(const DgArchiveDatabases *databases, DgArchive *archive, DgArchiveError *err)
{
	const char *wanted = archive->options.database;

	dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, databases->second,
					"dump contains more than one database%s%.63s%s%s%s", wanted != NULL ? ", but not \"" : "",
					wanted != NULL ? wanted : "", wanted != NULL ? "\"" : "",
					databases->names[0] != '\0' ? "; rows are of " : "", databases->names);
	return dg_archive_hint(err, "Make the call in a database of the same name. To read another's rows, cut its part out: %s FILE > NEW",
						   databases->commented ? "awk '/^-- Database \"/ {p = /^-- Database \"NAME\" dump/} p'" :
						   "awk '/^\\\\connect / {p = /^\\\\connect NAME/} p'");
}

/*
 * The script is over.  If it is of a whole cluster, it has to name the database
 * that is meant.
 */
bool
dg_archive_databases_end(DgArchiveDatabases *databases, DgArchive *archive, bool cluster,
						 DgArchiveError *err)
{
	DgArchiveInfo last = archive->info;

	end_database(databases, archive);
	if (databases->unnamed_rows && databases->named > 0 && (databases->found || databases->with_rows > 1))
		return dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, 0,
							   "script has rows before its first \\connect, of a database that it does not name");
	if (databases->found)
		return true;
	if (databases->with_rows > 1 || (cluster && databases->named > 1 && databases->with_rows > 0))
		return fail_databases(databases, archive, err);
	archive->info = databases->with_rows > 0 ? databases->only.info : last;
	return true;
}
