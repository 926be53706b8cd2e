/*
 * archive.c
 *		Opening and closing archives, and what is known about them; archives that
 *		lie in no file.
 *
 * The format is found from the content: a directory with a toc.dat, or a file
 * that begins as a custom archive, a tar, or a plain dump does, itself maybe
 * compressed as a whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/archive_internal.h"

/*
 * An archive with no contents yet; NULL if there is no memory. opts may be NULL.
 */
static DgArchive *
create_archive(const char *path, const DgArchiveOptions *opts, DgArchiveError *err)
{
	DgArchive  *archive = calloc(1, sizeof(*archive));

	if (archive == NULL || (archive->path = strdup(path)) == NULL)
	{
		free(archive);
		dg_archive_no_memory(err);
		return NULL;
	}
	if (opts != NULL)
		archive->options = *opts;
	archive->dirfd = -1;
	archive->info.server_version = "";
	archive->info.dump_version = "";
	archive->info.database = "";
	archive->info.encoding = "";
	archive->info.std_strings = true;
	return archive;
}

/*
 * Fills head from the start of the main file.
 */
static bool
read_file_head(DgArchive *archive, unsigned char *head, size_t size, size_t *len,
			   DgArchiveError *err)
{
	*len = 0;
	while (*len < size)
	{
		size_t		got;

		if (!dg_archive_file_some(archive->file, *len, head + *len, size - *len,
								  &got, err))
			return false;
		if (got == 0)
			break;
		*len += got;
	}
	return true;
}

/*
 * Finds out what the main file is, and reads it.
 */
static bool
open_content(DgArchive *archive, DgArchiveError *err)
{
	unsigned char head[4096];
	size_t		len;
	DgArchiveCompression packed;

	if (!read_file_head(archive, head, sizeof(head), &len, err))
		return false;
	packed = dg_archive_probe_compression(head, len);
	if (packed != DG_ARCHIVE_NONE)
	{
		DgArchiveFile *file = dg_archive_file_packed(archive->file, packed, err);

		if (file == NULL)
			return false;
		archive->file = file;
		if (!read_file_head(archive, head, sizeof(head), &len, err))
			return false;
		if (dg_archive_probe_compression(head, len) != DG_ARCHIVE_NONE)
		{
			dg_archive_fail(err, DG_ARCHIVE_UNSUPPORTED, archive->path, 0, "file was compressed twice");
			return dg_archive_hint(err, "Decompress it once, with gzip -d, lz4 -d or zstd -d, and give what comes out.");
		}
	}
	if (len == 0)
		return dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, archive->path, 0,
							   "file is empty");
	if (len >= 5 && memcmp(head, "PGDMP", 5) == 0)
		return dg_archive_custom_open(archive, err);
	if (dg_archive_tar_probe(head, len))
		return dg_archive_tar_open(archive, err);
	if (!dg_archive_probe_stranger(archive, head, len, err))
		return false;
	if (dg_archive_plain_probe(head, len))
		return dg_archive_plain_open(archive, err);
	return dg_archive_fail(err, DG_ARCHIVE_NOT_AN_ARCHIVE, archive->path, 0,
						   "not an archive of pg_dump");
}

static bool
open_path(DgArchive *archive, DgArchiveError *err)
{
	struct stat st;

	if (stat(archive->path, &st) == 0 && S_ISDIR(st.st_mode))
	{
		archive->dirfd = open(archive->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (archive->dirfd < 0)
			return dg_archive_fail(err, DG_ARCHIVE_UNREADABLE, archive->path, 0,
								   "could not open directory: %s", strerror(errno));
		return dg_archive_directory_open(archive, err);
	}
	archive->file = dg_archive_file_open(archive, archive->path, err);
	return archive->file != NULL && open_content(archive, err);
}

static void
free_toc(DgArchive *archive)
{
	int			i;

	if (archive->toc != NULL)
	{
		dg_archive_stream_free(archive->toc);
		free(archive->toc);
		archive->toc = NULL;
	}
	for (i = 0; i < 5; i++)
		dg_archive_buffer_free(&archive->scratch[i]);
}

/*
 * Opens an archive and reads its table of contents.  NULL with *err filled in
 * if that fails.  opts may be NULL; what it points to is copied.
 */
DgArchive *
dg_archive_open(const char *path, const DgArchiveOptions *opts, DgArchiveError *err)
{
	DgArchive  *archive = create_archive(path, opts, err);

	if (archive == NULL)
		return NULL;
	if (!open_path(archive, err))
		dg_archive_close(&archive);
	else
		free_toc(archive);
	return archive;
}

/*
 * Opens an archive in memory that stays the caller's and must outlive the
 * archive. NULL with *err filled in if that fails.
 */
DgArchive *
dg_archive_open_memory(const void *data, size_t len, const DgArchiveOptions *opts,
					   DgArchiveError *err)
{
	DgArchive  *archive = create_archive("memory", opts, err);

	if (archive == NULL)
		return NULL;
	archive->file = dg_archive_file_memory(archive, "memory", data, len, err);
	if (archive->file == NULL || !open_content(archive, err))
		dg_archive_close(&archive);
	else
		free_toc(archive);
	return archive;
}

/*
 * Releases everything, rows still open included, and clears the caller's
 * pointer.  Closing NULL does nothing.
 */
void
dg_archive_close(DgArchive **link)
{
	DgArchive  *archive = *link;

	if (archive == NULL)
		return;
	*link = NULL;
	while (archive->rows != NULL)
	{
		DgArchiveRows *rows = archive->rows;

		dg_archive_rows_close(&rows);
	}
	free_toc(archive);
	while (archive->files != NULL)
		dg_archive_file_close(archive->files);
	if (archive->dirfd >= 0)
		close(archive->dirfd);
	free(archive->entries);
	free(archive->blocks);
	free(archive->ids);
	free(archive->shapes);
	free(archive->parents);
	free(archive->sequences);
	free(archive->by_name);
	free(archive->changes);
	free(archive->members);
	free(archive->path);
	dg_archive_arena_free(&archive->arena);
	free(archive);
}

/*
 * What was found out as the archive was opened. It lasts as long as the archive.
 */
const DgArchiveInfo *
dg_archive_info(const DgArchive *archive)
{
	return &archive->info;
}

/*
 * How many tables have an entry for their rows.
 */
int
dg_archive_table_count(const DgArchive *archive)
{
	return (int) archive->entry_count;
}

/*
 * The table at index, or NULL.  Its content may be completed by
 * dg_archive_rows_open() and dg_archive_measure(), its address stays.
 */
const DgArchiveTable *
dg_archive_table(const DgArchive *archive, int index)
{
	if (index < 0 || (size_t) index >= archive->entry_count)
		return NULL;
	return &archive->entries[index].pub;
}

/*
 * How many sequences have a value.
 */
int
dg_archive_sequence_count(const DgArchive *archive)
{
	return (int) archive->sequence_count;
}

/*
 * A sequence, by its number from 0; NULL if there is none. It lasts as long as the
 * archive.
 */
const DgArchiveSequence *
dg_archive_sequence(const DgArchive *archive, int index)
{
	if (index < 0 || (size_t) index >= archive->sequence_count)
		return NULL;
	return &archive->sequences[index];
}

/* ---- archives that lie in no file ---- */

/*
 * Whoever makes such an archive says what is in it, and reads its rows, which are
 * lines of COPY. What is told of tables is not copied and stays the caller's, and
 * must outlive the archive.
 */

/*
 * Makes an archive without tables. NULL without memory.
 */
DgArchive *
dg_archive_given(const char *name, const DgArchiveInfo *info)
{
	DgArchive  *archive = create_archive(name, NULL, NULL);

	if (archive != NULL)
		archive->info = *info;
	return archive;
}

/*
 * Adds a table. fault, if it is not NULL, is why its rows cannot be read.
 */
bool
dg_archive_give_table(DgArchive *archive, const DgArchiveTable *table, const DgArchiveError *fault,
					  DgArchiveError *err)
{
	DgArchiveEntry entry = {*table};

	entry.place = DG_ARCHIVE_AT_GIVEN;
	entry.fault = fault;
	entry.pub.problem = fault != NULL ? fault->message : NULL;
	return dg_archive_append(&archive->entries, &archive->entry_count, &archive->entry_cap, &entry,
							 sizeof(entry), err);
}

/*
 * Adds what a table is a partition of, or inherits from.
 */
bool
dg_archive_give_parent(DgArchive *archive, const DgArchiveParent *parent, DgArchiveError *err)
{
	return dg_archive_append(&archive->parents, &archive->parent_count, &archive->parent_cap, parent,
							 sizeof(*parent), err);
}

/*
 * Adds a sequence.
 */
bool
dg_archive_give_sequence(DgArchive *archive, const DgArchiveSequence *sequence, DgArchiveError *err)
{
	return dg_archive_append(&archive->sequences, &archive->sequence_count, &archive->sequence_cap, sequence,
							 sizeof(*sequence), err);
}

/*
 * All was added.
 */
void
dg_archive_give_end(DgArchive *archive)
{
	dg_archive_parents_sort(archive);
}

/*
 * A line, without its newline, as the next row of a table. It must stay as it is
 * for as long as the row is looked at.
 */
void
dg_archive_row_given(DgArchiveRows *rows, const char *line, size_t len, DgArchiveRow *row)
{
	memset(row, 0, sizeof(*row));
	row->rows = rows;
	row->number = ++rows->rows_read;
	row->escaped = true;
	row->data = line;
	row->len = len;
	rows->bytes_given += len + 1;
}
