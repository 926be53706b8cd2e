/*
 * archive_database.c
 *		The databases in a script of pg_dumpall.
 *
 * Tables of one name in several databases must not be mixed up. A script of
 * one database is read whatever that is called; of a script of several, the one
 * that the options name, and nothing else.
 *
 * What was found before a database began is noted, and what was found in it is
 * dropped when it turns out that another one is meant.
 */
#include <string.h>

#include "archive_internal.h"

static void
set_mark(const DgArchive *archive, DgArchiveMark *mark)
{
	mark->info = archive->info;
	mark->entry_count = archive->entry_count;
	mark->shape_count = archive->shape_count;
	mark->parent_count = archive->parent_count;
	mark->sequence_count = archive->sequence_count;
}

static void
return_to_mark(DgArchive *archive, const DgArchiveMark *mark)
{
	archive->info = mark->info;
	archive->entry_count = mark->entry_count;
	archive->shape_count = mark->shape_count;
	archive->parent_count = mark->parent_count;
	archive->sequence_count = mark->sequence_count;
}

/*
 * Copies text up to a quote, which may be escaped by a character before it.
 */
static void
unquote(char *out, const char *p, const char *end, char quote, char escape)
{
	while (p < end)
	{
		if (*p == escape && p + 1 < end && (p[1] == quote || p[1] == escape))
			p++;
		else if (*p == quote)
			break;
		*out++ = *p++;
	}
	*out = '\0';
}

/*
 * The name in what follows \connect: shop, "Shop", or
 * -reuse-previous=on "dbname='my shop'".  NULL without memory.
 */
static const char *
database_name(DgArchive *archive, const char *p, const char *end)
{
	static const char reuse[] = "-reuse-previous=on ";
	static const char dbname[] = "dbname=";
	char	   *name;
	char	   *value;

	while (end > p && (end[-1] == ' ' || end[-1] == '\r'))
		end--;
	if ((size_t) (end - p) >= sizeof(reuse) - 1 && memcmp(p, reuse, sizeof(reuse) - 1) == 0)
		p += sizeof(reuse) - 1;
	name = (char *) dg_archive_strdup(&archive->arena, p, (size_t) (end - p));
	if (name == NULL)
		return NULL;
	if (p < end && *p == '"')
		unquote(name, p + 1, end, '"', '"');
	if (strncmp(name, dbname, sizeof(dbname) - 1) != 0)
		return name;
	value = name + sizeof(dbname) - 1;
	if (*value == '\'')
		unquote(value, value + 1, value + strlen(value), '\'', '\\');
	return value;
}

void
dg_archive_databases_init(DgArchiveDatabases *databases, const DgArchive *archive)
{
	memset(databases, 0, sizeof(*databases));
	set_mark(archive, &databases->start);
	databases->mark = databases->start;
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

	if (name == NULL)
		return dg_archive_no_memory(err);
	if (databases->found && !databases->wanted)
		return_to_mark(archive, &databases->mark);
	databases->wanted = archive->options.database != NULL &&
		strcmp(name, archive->options.database) == 0;
	if (databases->wanted && !databases->found)
		return_to_mark(archive, &databases->start);
	else if (archive->entry_count > 0 && databases->second == 0)
		databases->second = offset;
	databases->found |= databases->wanted;
	set_mark(archive, &databases->mark);
	archive->info.database = name;
	return true;
}

/*
 * The script is over.
 */
bool
dg_archive_databases_end(DgArchiveDatabases *databases, DgArchive *archive,
						 DgArchiveError *err)
{
	if (databases->found)
	{
		if (!databases->wanted)
			return_to_mark(archive, &databases->mark);
		return true;
	}
	if (databases->second == 0)
		return true;
	if (archive->options.database == NULL)
		return dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, databases->second,
							   "dump contains more than one database");
	return dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->file->name, databases->second,
						   "dump contains more than one database, but not \"%.64s\"",
						   archive->options.database);
}
