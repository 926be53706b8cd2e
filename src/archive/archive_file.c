/*
 * archive_file.c
 *		Opening files of an archive, and bounded reads at a position.
 *
 * Only regular files are read: opening a FIFO would block, a device may have no
 * end.  A symbolic link inside of a directory archive is followed only where it
 * cannot show more than its maker may read (see link_is_safe()).  The size is
 * taken once, at opening; a file that shrinks afterwards is reported as
 * truncated.  After a table was read, dg_archive_files_unchanged() tells
 * whether its files are still those that were opened: a backup job may write
 * over one in place, and what was read would be a mixture.
 *
 * Every open file is in its archive's list and is closed with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/archive_internal.h"

/* No single read is larger, so that interrupts are noticed. */
#define READ_MAX	((size_t) 1024 * 1024)

/*
 * False, with an error, if the caller's callback wants to stop.
 */
bool
dg_archive_interrupted(DgArchive *archive, DgArchiveError *err)
{
	if (archive->options.interrupted == NULL ||
		!archive->options.interrupted(archive->options.arg))
		return false;
	dg_archive_fail(err, DG_ARCHIVE_INTERRUPTED, NULL, 0, "reading was interrupted");
	return true;
}

/*
 * Makes a file that is closed with its archive.  How it is read is for the
 * caller to fill in.
 */
DgArchiveFile *
dg_archive_file_create(DgArchive *archive, const char *name, DgArchiveError *err)
{
	DgArchiveFile *file = calloc(1, sizeof(*file));

	if (file == NULL || (file->name = strdup(name)) == NULL)
	{
		free(file);
		dg_archive_no_memory(err);
		return NULL;
	}
	file->archive = archive;
	file->fd = -1;
	file->size_known = true;
	file->next = archive->files;
	archive->files = file;
	return file;
}

static bool
fail_errno(DgArchiveError *err, const char *name, const char *what)
{
	DgArchiveStatus code = DG_ARCHIVE_UNREADABLE;

	if (errno == ENOENT || errno == ENOTDIR)
		code = DG_ARCHIVE_NOT_FOUND;
	else if (errno == ENOMEM)
		code = DG_ARCHIVE_NO_MEMORY;
	return dg_archive_fail(err, code, name, 0, "could not %s: %s", what,
						   strerror(errno));
}

/*
 * What is no regular file cannot be read.
 */
bool
dg_archive_file_kind(const char *name, mode_t mode, DgArchiveError *err)
{
	if (S_ISFIFO(mode))
	{
		dg_archive_fail(err, DG_ARCHIVE_UNREADABLE, name, 0, "it is a named pipe");
		return dg_archive_hint(err, "An archive is read several times, and not from front to back. Write what comes out of the pipe to a file, and give that: cat PIPE > FILE");
	}
	dg_archive_fail(err, DG_ARCHIVE_UNREADABLE, name, 0, S_ISDIR(mode) ? "it is a directory" :
					"it is neither a file nor a directory");
	return dg_archive_hint(err, "Give the archive itself: a file that pg_dump wrote, or a directory with a toc.dat in it.");
}

/*
 * Takes over fd (also on failure) once its kind has been checked.
 */
static DgArchiveFile *
file_from_fd(DgArchive *archive, int fd, const char *name, DgArchiveError *err)
{
	DgArchiveFile *file;
	struct stat st;

	if (fstat(fd, &st) != 0)
	{
		fail_errno(err, name, "examine file");
		close(fd);
		return NULL;
	}
	if (!S_ISREG(st.st_mode))
	{
		dg_archive_file_kind(name, st.st_mode, err);
		close(fd);
		return NULL;
	}
	file = dg_archive_file_create(archive, name, err);
	if (file == NULL)
	{
		close(fd);
		return NULL;
	}
	file->fd = fd;
	file->size = (uint64_t) st.st_size;
	file->modified = st.st_mtim;
	return file;
}

/*
 * False, with an error, if one of the open files was written to since.
 */
bool
dg_archive_files_unchanged(DgArchive *archive, DgArchiveError *err)
{
	const DgArchiveFile *file;

	for (file = archive->files; file != NULL; file = file->next)
	{
		struct stat st;

		if (file->fd < 0)
			continue;
		if (fstat(file->fd, &st) != 0)
			return fail_errno(err, file->name, "examine file");
		if ((uint64_t) st.st_size != file->size ||
			st.st_mtim.tv_sec != file->modified.tv_sec ||
			st.st_mtim.tv_nsec != file->modified.tv_nsec)
			return dg_archive_fail(err, DG_ARCHIVE_CORRUPT, file->name, 0,
								   "file was changed while it was read");
	}
	return true;
}

/*
 * O_NONBLOCK keeps open() of a FIFO from waiting for a writer; it has no
 * effect on the regular files that pass the check.
 */
DgArchiveFile *
dg_archive_file_open(DgArchive *archive, const char *path, DgArchiveError *err)
{
	int			fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
	{
		fail_errno(err, path, "open file");
		return NULL;
	}
	return file_from_fd(archive, fd, path, err);
}

/*
 * May what a link in a directory led to be read?  The server reads more than
 * most who can write to a directory of backups.  So nobody but the directory's
 * owner may be able to have made the link, and the owner has to be one who
 * can read the file without us: its owner, root, or the server's own user.
 */
static bool
link_is_safe(int dirfd, int fd)
{
	struct stat dir;
	struct stat st;

	return fstat(dirfd, &dir) == 0 && fstat(fd, &st) == 0 &&
		(dir.st_mode & (S_IWGRP | S_IWOTH)) == 0 &&
		(dir.st_uid == st.st_uid || dir.st_uid == 0 || dir.st_uid == geteuid());
}

/*
 * Opens a member of a directory archive; name has been checked to be one
 * plain file name.
 */
DgArchiveFile *
dg_archive_file_open_at(DgArchive *archive, int dirfd, const char *name,
						DgArchiveError *err)
{
	int			flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int			fd = openat(dirfd, name, flags | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
	{
		fd = openat(dirfd, name, flags);
		if (fd >= 0 && !link_is_safe(dirfd, fd))
		{
			close(fd);
			dg_archive_fail(err, DG_ARCHIVE_UNREADABLE, name, 0, "it is a symbolic link that is not followed");
			dg_archive_hint(err, "Links are followed out of a directory that only its owner can write to, to files of that owner. Otherwise copy what they lead to, cp -rL DIRECTORY COPY, and give the copy.");
			return NULL;
		}
	}
	if (fd < 0)
	{
		fail_errno(err, name, "open file");
		return NULL;
	}
	return file_from_fd(archive, fd, name, err);
}

/*
 * The caller keeps the memory until the archive is closed.
 */
DgArchiveFile *
dg_archive_file_memory(DgArchive *archive, const char *name, const void *data,
					   size_t len, DgArchiveError *err)
{
	DgArchiveFile *file = dg_archive_file_create(archive, name, err);

	if (file == NULL)
		return NULL;
	file->memory = data;
	file->size = len;
	return file;
}

/*
 * Closes a file, which may be NULL, and takes it from the archive's list.
 */
void
dg_archive_file_close(DgArchiveFile *file)
{
	DgArchiveFile **link;

	if (file == NULL)
		return;
	for (link = &file->archive->files; *link != NULL; link = &(*link)->next)
	{
		if (*link == file)
		{
			*link = file->next;
			break;
		}
	}
	if (file->fd >= 0)
		close(file->fd);
	if (file->packed != NULL)
		file->free_packed(file->packed);
	free(file->name);
	free(file);
}

/*
 * Reads up to want bytes at offset.  *got is 0 at the end of the file only.
 */
bool
dg_archive_file_some(DgArchiveFile *file, uint64_t offset, void *buf,
					 size_t want, size_t *got, DgArchiveError *err)
{
	ssize_t		n;

	*got = 0;
	if (dg_archive_interrupted(file->archive, err))
		return false;
	if (want > READ_MAX)
		want = READ_MAX;
	if (file->packed != NULL)
		return file->read_packed(file, offset, buf, want, got, err);
	if (offset >= file->size)
		return true;
	if (want > file->size - offset)
		want = (size_t) (file->size - offset);
	if (file->fd < 0)
	{
		memcpy(buf, file->memory + offset, want);
		*got = want;
		return true;
	}
	do
		n = pread(file->fd, buf, want, (off_t) offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return fail_errno(err, file->name, "read file");
	*got = (size_t) n;
	return true;
}

/*
 * Reads exactly len bytes at offset, or fails.
 */
bool
dg_archive_file_exact(DgArchiveFile *file, uint64_t offset, void *buf, size_t len,
					  DgArchiveError *err)
{
	while (len > 0)
	{
		size_t		got;

		if (!dg_archive_file_some(file, offset, buf, len, &got, err))
			return false;
		if (got == 0)
			return dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, file->name, offset,
								   "unexpected end of file");
		offset += got;
		buf = (char *) buf + got;
		len -= got;
	}
	return true;
}
