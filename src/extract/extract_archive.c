/*
 * extract_archive.c
 *		Opening archives for a caller of SQL, and getting their rows.
 *
 * The server's own files are read on behalf of the caller, so the caller must
 * be a member of pg_read_server_files, as for COPY. Nothing in an archive is
 * ever executed.
 *
 * "server:NAME" is a running copy of the database, which a foreign server leads
 * to. What is in it is told by an archive that is made of its catalogs, and the
 * rows come from there (server/); nothing else knows the difference.
 *
 * An archive is closed by the reset of its memory context, whatever ends the
 * call.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "archive/archive.h"
#include "extract/extract_internal.h"

/* ----------------------------------------------------------------------
 * Errors
 * ----------------------------------------------------------------------
 */

static const struct
{
	DgArchiveStatus status;
	int			sqlerrcode;
	const char *hint;
}			faults[] = {

	{DG_ARCHIVE_NOT_FOUND, ERRCODE_UNDEFINED_FILE,
	"The path is one on the server. It is looked up as the user that the server runs as."},
	{DG_ARCHIVE_UNREADABLE, ERRCODE_IO_ERROR,
	"The user that the server runs as must be able to read the file, and search its directories."},
	{DG_ARCHIVE_NOT_AN_ARCHIVE, DG_ERRCODE_NOT_AN_ARCHIVE,
	"Give what pg_dump wrote, in any of its formats; undo what was done to it afterwards, unless that was gzip, lz4 or zstd."},
	{DG_ARCHIVE_VERSION_NEWER, DG_ERRCODE_ARCHIVE_VERSION,
	"Use a newer deletion_guard, or convert it with that pg_restore's -f option into a plain dump."},
	{DG_ARCHIVE_VERSION_OLDER, DG_ERRCODE_ARCHIVE_VERSION,
	"Convert it into a plain dump with pg_restore -f, or dump anew with pg_dump 12 or later."},
	{DG_ARCHIVE_TRUNCATED, DG_ERRCODE_ARCHIVE_DAMAGED,
	"Nothing was changed. Copy the archive again from where it was made, or use another one."},
	{DG_ARCHIVE_CORRUPT, DG_ERRCODE_ARCHIVE_DAMAGED,
	"Nothing was changed. Copy the archive again from where it was made, or use another one."},
	{DG_ARCHIVE_CHECKSUM, DG_ERRCODE_ARCHIVE_DAMAGED,
	"Nothing was changed. Copy the archive again from where it was made, or use another one."},
	{DG_ARCHIVE_UNSUPPORTED, DG_ERRCODE_ARCHIVE_UNSUPPORTED,
	"Restore it into another database and dump that with a present pg_dump."},
	{DG_ARCHIVE_FORBIDDEN, ERRCODE_INSUFFICIENT_PRIVILEGE,
	"Nothing was changed. Let the user mapping's role read the table, as with GRANT pg_read_all_data there, and give it BYPASSRLS against row security. To do without the table, name the others in relations."},
	{DG_ARCHIVE_TOO_LARGE, ERRCODE_PROGRAM_LIMIT_EXCEEDED, NULL},
	{DG_ARCHIVE_NO_MEMORY, ERRCODE_OUT_OF_MEMORY, NULL},
	{DG_ARCHIVE_INTERRUPTED, ERRCODE_QUERY_CANCELED, NULL},
};

static void
fail_on_archive(const char *path, const DgArchiveError *error)
{
	int			sqlerrcode = ERRCODE_INTERNAL_ERROR;
	const char *hint = NULL;

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < lengthof(faults); i++)
	{
		if (faults[i].status == error->code)
		{
			sqlerrcode = faults[i].sqlerrcode;
			hint = faults[i].hint;
		}
	}
	if (error->hint[0] != '\0')
		hint = error->hint;
	ereport(ERROR,
			(errcode(sqlerrcode),
			 errmsg("cannot read archive \"%s\"", path),
			 errdetail("%s", dg_printable(error->message)),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/*
 * Reports a fault that the reader found.
 */
void
dg_extract_fail(const DgExtractArchive *archive, const DgArchiveError *error)
{
	fail_on_archive(archive->path, error);
	pg_unreachable();
}

/* ----------------------------------------------------------------------
 * Opening
 * ----------------------------------------------------------------------
 */

/*
 * Polled by the reader, from where nothing may be thrown.
 */
static bool
check_interrupts(void *arg)
{
	dg_extract_progress_update(arg);
	return QueryCancelPending || ProcDiePending;
}

static void
close_archive(void *arg)
{
	dg_archive_close(&((DgExtractArchive *) arg)->archive);
}

static void
check_caller(const char *path)
{
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read archives on the server"),
				 errdetail("Only members of pg_read_server_files may."),
				 errhint("GRANT pg_read_server_files TO %s, or let a member make the call.",
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
	if (!is_absolute_path(path))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("relative path not allowed for archive \"%s\"", path),
				 errhint("Give its absolute path on the server.")));
}

static int
encoding_of(const DgExtractArchive *archive)
{
	int			encoding;

	if (archive->info->encoding[0] == '\0')
		return GetDatabaseEncoding();
	encoding = pg_char_to_encoding(archive->info->encoding);
	if (encoding < 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_ARCHIVE_UNSUPPORTED),
				 errmsg("cannot read archive \"%s\"", archive->path),
				 errdetail("Its encoding \"%s\" is not known here.", archive->info->encoding)));
	return encoding;
}

/*
 * Opens an archive, checking that the caller may. It is closed by
 * dg_extract_close(), or with the current memory context.
 */
DgExtractArchive *
dg_extract_open(const char *path)
{
	bool		is_server = strncmp(path, DG_SERVER_PREFIX, strlen(DG_SERVER_PREFIX)) == 0;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard archive",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DgExtractArchive *archive = palloc0(sizeof(DgExtractArchive));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	DgArchiveOptions options = {0};
	DgArchiveError error;

	options.database = get_database_name(MyDatabaseId);
	archive->path = pstrdup(path);
	archive->context = context;
	callback->func = close_archive;
	callback->arg = archive;
	MemoryContextRegisterResetCallback(context, callback);
	if (is_server)
	{
		archive->server = dg_server_open(path + strlen(DG_SERVER_PREFIX));
		archive->archive = dg_server_archive(archive->server);
	}
	MemoryContextSwitchTo(old);
	if (!is_server)
	{
		check_caller(path);
		options.interrupted = check_interrupts;
		options.arg = archive;
		archive->archive = dg_archive_open(path, &options, &error);
	}
	if (archive->archive == NULL)
		fail_on_archive(path, &error);
	archive->info = dg_archive_info(archive->archive);
	archive->encoding = encoding_of(archive);
	archive->convert = archive->encoding != GetDatabaseEncoding();
	return archive;
}

/*
 * Begins to read the rows of a table: of a running copy, those that a condition
 * asks for.
 */
void
dg_extract_rows_open(DgExtractArchive *archive, int index, const DgServerCondition *condition)
{
	DgArchiveError error;

	archive->rows = dg_archive_rows_open(archive->archive, index, &error);
	if (archive->rows == NULL)
		dg_extract_fail(archive, &error);
	archive->narrowed = archive->server != NULL && dg_server_rows_begin(archive->server, index, condition);
}

/*
 * The next row, good until the call after it; false behind the last one.
 */
bool
dg_extract_rows_next(DgExtractArchive *archive, DgArchiveRow *row)
{
	DgArchiveError error;
	const char *line;
	size_t		len;
	int			rc;

	if (archive->server == NULL)
	{
		rc = dg_archive_rows_next(archive->rows, row, &error);
		if (rc < 0)
			dg_extract_fail(archive, &error);
		return rc > 0;
	}
	if (!dg_server_rows_next(archive->server, &line, &len))
		return false;
	dg_archive_row_given(archive->rows, line, len, row);
	if (row->number % 1024 == 0)
		dg_extract_progress_update(archive);
	return true;
}

/*
 * After an error that was caught: what was being read is not read any further.
 */
void
dg_extract_abandon(DgExtractArchive *archive)
{
	dg_archive_rows_close(&archive->rows);
	archive->progress = NULL;
}

/*
 * Closes an archive, by its memory context.
 */
void
dg_extract_close(DgExtractArchive *archive)
{
	MemoryContextDelete(archive->context);
}

/* ----------------------------------------------------------------------
 * Names
 * ----------------------------------------------------------------------
 */

/*
 * Text of the archive in the database's encoding, palloc'd.
 */
char *
dg_extract_text(const DgExtractArchive *archive, const char *text)
{
	char	   *converted = pg_any_to_server(text, strlen(text), archive->encoding);

	return converted == text ? pstrdup(text) : converted;
}

/*
 * "schema.table", quoted, palloc'd.
 */
char *
dg_extract_table_name(const DgExtractArchive *archive, const DgArchiveTable *table)
{
	return quote_qualified_identifier(dg_extract_text(archive, table->schema),
									  dg_extract_text(archive, table->name));
}

/*
 * The live table of a name of the archive's, or InvalidOid.
 */
Oid
dg_extract_live_name(const DgExtractArchive *archive, const char *schema, const char *name)
{
	Oid			namespace = get_namespace_oid(dg_extract_text(archive, schema), true);
	Oid			relid;
	char		relkind;

	if (!OidIsValid(namespace))
		return InvalidOid;
	relid = get_relname_relid(dg_extract_text(archive, name), namespace);
	relkind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';
	return relkind == RELKIND_RELATION || relkind == RELKIND_PARTITIONED_TABLE ? relid : InvalidOid;
}

/*
 * For messages: "; it is of database "x"", if that is another one.
 */
char *
dg_extract_of_database(const DgExtractArchive *archive)
{
	char	   *database = dg_extract_text(archive, archive->info->database);

	if (database[0] == '\0' || strcmp(database, get_database_name(MyDatabaseId)) == 0)
		return "";
	return psprintf("; it is of database \"%s\"", database);
}

/*
 * Says what a person should know before any row is looked at: of which database
 * the archive is, which may be the right one or the mistake of a long night, and
 * that nothing tells whether it is whole. Once for each archive in a session, not
 * for each of many calls.
 */
void
dg_extract_tell(const DgExtractArchive *archive)
{
	static uint32 told = 0;
	uint32		hash = string_hash(archive->path, strlen(archive->path) + 1);

	if (told == hash)
		return;
	told = hash;
	if (archive->info->database[0] == '\0')
		ereport(NOTICE,
				(errmsg("archive \"%s\" does not say of which database it is", archive->path)));
	else if (dg_extract_of_database(archive)[0] != '\0')
		ereport(NOTICE,
				(errmsg("archive \"%s\" is of database \"%s\"", archive->path,
						dg_extract_text(archive, archive->info->database))));
	if (archive->info->format == DG_ARCHIVE_PLAIN && !archive->info->whole)
		ereport(WARNING,
				(errmsg("archive \"%s\" does not tell whether it is whole", archive->path),
				 errdetail("It has rows that are not followed by the last line of a dump. Had it been cut off behind some statement, nobody would know."),
				 errhint("Compare its size or checksum with those of the file that it was copied from.")));
}
