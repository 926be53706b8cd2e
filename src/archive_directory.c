/*
 * archive_directory.c
 *		Directory archives: toc.dat and one file for each table.
 *
 * The TOC names files without the suffix that tells their compression; the
 * suffix is found by trying, per file.  Names are single plain file names:
 * anything that could lead out of the directory is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "archive_internal.h"

/* By DgArchiveCompression. */
const char *const dg_archive_suffixes[4] = {"", ".gz", ".lz4", ".zst"};

/*
 * Is this one plain file name?
 */
bool
dg_archive_member_name(const char *name)
{
	return name[0] != '\0' && strlen(name) < 200 && strchr(name, '/') == NULL &&
		strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/*
 * Finds name with whatever suffix it has.  *member is in the arena, NULL if
 * there is none.
 */
static bool
find_member(DgArchive *archive, const char *name, const char **member,
			DgArchiveCompression *compression, int64_t *size, DgArchiveError *err)
{
	int			i;

	*member = NULL;
	for (i = 0; i < 4; i++)
	{
		char		full[256];
		struct stat st;

		strcpy(full, name);
		strcat(full, dg_archive_suffixes[i]);
		if (fstatat(archive->dirfd, full, &st, AT_SYMLINK_NOFOLLOW) != 0)
		{
			if (errno == ENOENT)
				continue;
			return dg_archive_fail(err, DG_ARCHIVE_UNREADABLE, full, 0,
								   "could not examine file: %s", strerror(errno));
		}
		if (!S_ISREG(st.st_mode))
			return dg_archive_fail(err, DG_ARCHIVE_UNREADABLE, full, 0,
								   "not a regular file");
		*member = dg_archive_strdup(&archive->arena, full, strlen(full));
		if (*member == NULL)
			return dg_archive_no_memory(err);
		*compression = (DgArchiveCompression) i;
		*size = (int64_t) st.st_size;
		return true;
	}
	return true;
}

/*
 * Finds every table's data file.
 */
static bool
find_members(DgArchive *archive, DgArchiveError *err)
{
	size_t		i;

	for (i = 0; i < archive->entry_count; i++)
	{
		DgArchiveEntry *entry = &archive->entries[i];
		const char *name = entry->member;
		bool		ok;

		if (dg_archive_interrupted(archive, err))
			return false;
		if (!dg_archive_member_name(name))
			ok = dg_archive_fail(err, DG_ARCHIVE_CORRUPT, archive->path, 0,
								 "invalid name of a data file");
		else
			ok = find_member(archive, name, &entry->member, &entry->pub.compression,
							 &entry->pub.data_bytes, err);
		if (ok && entry->member == NULL)
			ok = dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, name, 0,
								 "data file is missing");
		if (!ok)
		{
			dg_archive_error_table(err, entry->pub.schema, entry->pub.name);
			return false;
		}
	}
	return true;
}

bool
dg_archive_directory_open(DgArchive *archive, DgArchiveError *err)
{
	DgArchiveCompression compression;
	DgArchiveStream *toc = calloc(1, sizeof(*toc));
	DgArchiveFile *file;
	const char *member;
	int64_t		size;

	if (toc == NULL)
		return dg_archive_no_memory(err);
	archive->toc = toc;
	archive->info.format = DG_ARCHIVE_DIRECTORY;
	if (!find_member(archive, "toc.dat", &member, &compression, &size, err))
		return false;
	if (member == NULL)
		return dg_archive_fail(err, DG_ARCHIVE_NOT_AN_ARCHIVE, archive->path, 0,
							   "directory has no toc.dat");
	file = dg_archive_file_open_at(archive, archive->dirfd, member, err);
	if (file == NULL ||
		!dg_archive_stream_init(toc, archive, compression, DG_ARCHIVE_FRAME_FILE, err))
		return false;
	dg_archive_source_extent(&toc->source, file, 0, file->size);
	return dg_archive_toc_read(archive, toc, err) &&
		dg_archive_toc_finish(toc, err) && find_members(archive, err);
}
