/*
 * archive_directory.c
 *		Directory archives: toc.dat and one file for each table.
 *
 * The TOC names files without the suffix that tells their compression; the
 * suffix is found by trying, per file.  Names are single plain file names:
 * anything that could lead out of the directory is refused.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/archive_internal.h"

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
 * there is none, or none that can be read, which *err says then.  Returns false
 * without memory only.
 */
static bool
find_data_file(DgArchive *archive, const char *name, const char **member,
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
		if (fstatat(archive->dirfd, full, &st, 0) != 0)
		{
			if (errno == ENOENT)
				continue;
			dg_archive_fail(err, DG_ARCHIVE_UNREADABLE, full, 0,
							"could not examine file: %s", strerror(errno));
			return true;
		}
		if (!S_ISREG(st.st_mode))
		{
			dg_archive_file_kind(full, st.st_mode, err);
			return true;
		}
		*member = dg_archive_strdup(&archive->arena, full, strlen(full));
		if (*member == NULL)
			return dg_archive_no_memory(err);
		*compression = (DgArchiveCompression) i;
		*size = (int64_t) st.st_size;
		return true;
	}
	dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, name, 0, "data file is missing");
	dg_archive_hint(err, "Nothing was changed. Copy the archive again from where it was made, or use another one. Tables whose files are there can be read: name them in relations.");
	return true;
}

/*
 * Finds every table's data file.  One that is missing is missed by those only who
 * ask for the table.
 */
static bool
find_members(DgArchive *archive, DgArchiveError *err)
{
	size_t		i;

	for (i = 0; i < archive->entry_count; i++)
	{
		DgArchiveEntry *entry = &archive->entries[i];
		const char *name = entry->member;
		DgArchiveError fault;

		if (dg_archive_interrupted(archive, err))
			return false;
		if (!dg_archive_member_name(name))
		{
			dg_archive_fail(err, DG_ARCHIVE_CORRUPT, archive->path, 0,
							"invalid name of a data file");
			dg_archive_error_table(err, entry->pub.schema, entry->pub.name);
			return false;
		}
		if (!find_data_file(archive, name, &entry->member, &entry->pub.compression,
							&entry->pub.data_bytes, &fault) ||
			(entry->member == NULL && !dg_archive_entry_fault(archive, entry, &fault)))
			return dg_archive_no_memory(err);
	}
	return true;
}

/*
 * The number of a name such as 3345.dat.gz; 0 if it is not one.
 */
static int
data_file_number(const char *name)
{
	long		number = 0;
	int			i;

	if (*name < '1' || *name > '9')
		return 0;
	for (; *name >= '0' && *name <= '9'; name++)
	{
		number = number * 10 + (*name - '0');
		if (number > INT32_MAX)
			return 0;
	}
	for (i = 0; i < 4; i++)
	{
		if (strncmp(name, ".dat", 4) == 0 && strcmp(name + 4, dg_archive_suffixes[i]) == 0)
			return (int) number;
	}
	return 0;
}

/*
 * Is there a data file of another dump?  toc is the name of the table of contents.
 */
static bool
is_of_another_dump(DgArchive *archive, const char *name, const char *toc)
{
	const DgArchiveBlock *block;
	int			number = data_file_number(name);

	if (number == 0)
		return strncmp(name, "toc.dat", 7) == 0 && strcmp(name, toc) != 0 &&
			(strcmp(name + 7, ".gz") == 0 || strcmp(name + 7, ".lz4") == 0 || strcmp(name + 7, ".zst") == 0);
	block = dg_archive_block(archive, number);
	return block == NULL || (block->entry >= 0 && archive->entries[block->entry].member != NULL &&
							 strcmp(name, archive->entries[block->entry].member) != 0);
}

/*
 * pg_dump writes to an empty directory.  Files that the table of contents does
 * not know show that those of two dumps were mixed; which of them are whose,
 * nobody can tell.
 */
static bool
check_one_dump(DgArchive *archive, const char *toc, DgArchiveError *err)
{
	int			fd = openat(archive->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR		   *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *file;
	bool		ok = true;

	if (dir == NULL)
	{
		dg_archive_fail(err, DG_ARCHIVE_UNREADABLE, archive->path, 0,
						"could not list directory: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (ok && (file = readdir(dir)) != NULL)
	{
		ok = !dg_archive_interrupted(archive, err);
		if (ok && is_of_another_dump(archive, file->d_name, toc))
		{
			ok = dg_archive_fail(err, DG_ARCHIVE_CORRUPT, file->d_name, 0,
								 "files of more than one dump are in the directory: its table of contents does not know this one");
			dg_archive_hint(err, "Take the archive anew from where it was made, into an empty directory. If all others are certainly of one dump, move this one away.");
		}
	}
	closedir(dir);
	return ok;
}

/*
 * Reads the table of contents of a directory.
 */
bool
dg_archive_directory_open(DgArchive *archive, DgArchiveError *err)
{
	DgArchiveCompression compression;
	DgArchiveStream *toc = calloc(1, sizeof(*toc));
	DgArchiveFile *file;
	const char *member;
	int64_t		size;
	DgArchiveError fault;

	if (toc == NULL)
		return dg_archive_no_memory(err);
	archive->toc = toc;
	archive->info.format = DG_ARCHIVE_DIRECTORY;
	if (!find_data_file(archive, "toc.dat", &member, &compression, &size, &fault))
		return dg_archive_no_memory(err);
	if (member == NULL)
	{
		if (err != NULL)
			*err = fault;
		if (fault.code != DG_ARCHIVE_TRUNCATED)
			return false;
		dg_archive_fail(err, DG_ARCHIVE_NOT_AN_ARCHIVE, archive->path, 0, "directory has no toc.dat");
		return dg_archive_hint(err, "Give the directory that has one. pg_dump writes it last: one that was interrupted has left none.");
	}
	file = dg_archive_file_open_at(archive, archive->dirfd, member, err);
	if (file == NULL ||
		!dg_archive_stream_init(toc, archive, compression, DG_ARCHIVE_FRAME_FILE, err))
		return false;
	dg_archive_source_extent(&toc->source, file, 0, file->size);
	return dg_archive_toc_read(archive, toc, err) &&
		dg_archive_toc_finish(toc, err) && find_members(archive, err) &&
		check_one_dump(archive, member, err);
}
