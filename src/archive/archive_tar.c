/*
 * archive_tar.c
 *		Tar archives: the files of a directory archive, one behind the other.
 *
 * The headers are read once, and a sorted list of members made.  Member sizes
 * may be octal or base-256; a member must end within the file, so members
 * cannot overlap.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

#define TAR_BLOCK		512
#define MAX_MEMBERS		10000000

/*
 * Reads a number of a tar header.  False if it is not one.
 */
static bool
tar_number(const unsigned char *p, size_t len, uint64_t *value)
{
	uint64_t	n = 0;
	size_t		i = 0;

	if (p[0] & 0x80)
	{
		/* base-256, highest byte first; negative ones have 0xff there */
		if (p[0] != 0x80)
			return false;
		for (i = 1; i < len; i++)
		{
			if (n > (UINT64_MAX >> 8))
				return false;
			n = n << 8 | p[i];
		}
		*value = n;
		return true;
	}
	while (i < len && p[i] == ' ')
		i++;
	for (; i < len && p[i] >= '0' && p[i] <= '7'; i++)
	{
		if (n > (UINT64_MAX >> 3))
			return false;
		n = n << 3 | (uint64_t) (p[i] - '0');
	}
	for (; i < len; i++)
	{
		if (p[i] != ' ' && p[i] != '\0')
			return false;
	}
	*value = n;
	return true;
}

static bool
checksum_ok(const unsigned char *block)
{
	uint64_t	stated;
	uint64_t	sum = 0;
	int			i;

	if (!tar_number(block + 148, 8, &stated))
		return false;
	for (i = 0; i < TAR_BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : block[i];
	return sum == stated;
}

/*
 * Does a file that begins with these bytes look like a tar?
 */
bool
dg_archive_tar_probe(const unsigned char *block, size_t len)
{
	return len >= TAR_BLOCK && block[0] != '\0' && checksum_ok(block);
}

static bool
fail_tar(DgArchive *archive, DgArchiveError *err, DgArchiveStatus code,
		 uint64_t offset, const char *what)
{
	return dg_archive_fail(err, code, archive->file->name, offset, "%s", what);
}

static bool
add_tar_member(DgArchive *archive, const unsigned char *block, uint64_t offset,
			   uint64_t size, DgArchiveError *err)
{
	DgArchiveMember member;
	const char *name = (const char *) block;
	size_t		len = strnlen(name, 100);

	while (len >= 2 && name[0] == '.' && name[1] == '/')
	{
		name += 2;
		len -= 2;
	}
	member.name = dg_archive_strdup(&archive->arena, name, len);
	member.offset = offset;
	member.size = size;
	if (member.name == NULL)
		return dg_archive_no_memory(err);
	return dg_archive_append(&archive->members, &archive->member_count, &archive->member_cap, &member, sizeof(member), err);
}

static int
compare_members(const void *a, const void *b)
{
	return strcmp(((const DgArchiveMember *) a)->name,
				  ((const DgArchiveMember *) b)->name);
}

static bool
all_zero(const unsigned char *block)
{
	int			i;

	for (i = 0; i < TAR_BLOCK; i++)
	{
		if (block[i] != 0)
			return false;
	}
	return true;
}

/*
 * Reads one header at *offset and moves on to the next.  *end is set at the
 * end of the archive.
 */
static bool
read_tar_header(DgArchive *archive, uint64_t *offset, bool *end, DgArchiveError *err)
{
	unsigned char block[TAR_BLOCK];
	uint64_t	size;

	if (!dg_archive_file_exact(archive->file, *offset, block, TAR_BLOCK, err))
		return false;
	if (all_zero(block))
	{
		*end = true;
		return true;
	}
	if (!checksum_ok(block))
		return fail_tar(archive, err, DG_ARCHIVE_CORRUPT, *offset,
						"tar header has a wrong checksum");
	if (!tar_number(block + 124, 12, &size))
		return fail_tar(archive, err, DG_ARCHIVE_CORRUPT, *offset,
						"tar header has an invalid size");
	if (size > INT64_MAX - TAR_BLOCK ||
		(archive->file->size_known &&
		 size > archive->file->size - *offset - TAR_BLOCK))
		return fail_tar(archive, err, DG_ARCHIVE_TRUNCATED, *offset,
						"tar member reaches beyond the end of the file");
	if ((block[156] == '0' || block[156] == '\0') &&
		!add_tar_member(archive, block, *offset + TAR_BLOCK, size, err))
		return false;
	if (archive->member_count > MAX_MEMBERS)
		return fail_tar(archive, err, DG_ARCHIVE_TOO_LARGE, *offset,
						"too many members");
	*offset += TAR_BLOCK + (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	return true;
}

static bool
read_members(DgArchive *archive, DgArchiveError *err)
{
	uint64_t	offset = 0;
	bool		end = false;
	size_t		i;

	while (!end)
	{
		if (!read_tar_header(archive, &offset, &end, err))
			return false;
	}
	qsort(archive->members, archive->member_count, sizeof(*archive->members),
		  compare_members);
	for (i = 1; i < archive->member_count; i++)
	{
		if (strcmp(archive->members[i].name, archive->members[i - 1].name) == 0)
			return fail_tar(archive, err, DG_ARCHIVE_CORRUPT,
							archive->members[i].offset, "tar member occurs twice");
	}
	return true;
}

/*
 * Finds a member with whatever suffix it has, or NULL.
 */
static const DgArchiveMember *
find_tar_member(DgArchive *archive, const char *name, DgArchiveCompression *compression)
{
	int			i;

	for (i = 0; i < 4; i++)
	{
		char		full[256];
		DgArchiveMember key;
		const DgArchiveMember *found;

		strcpy(full, name);
		strcat(full, dg_archive_suffixes[i]);
		key.name = full;
		found = bsearch(&key, archive->members, archive->member_count,
						sizeof(key), compare_members);
		if (found != NULL)
		{
			*compression = (DgArchiveCompression) i;
			return found;
		}
	}
	return NULL;
}

static bool
find_tables(DgArchive *archive, DgArchiveError *err)
{
	size_t		i;

	for (i = 0; i < archive->entry_count; i++)
	{
		DgArchiveEntry *entry = &archive->entries[i];
		const DgArchiveMember *member = NULL;
		DgArchiveError fault;

		if (dg_archive_member_name(entry->member))
			member = find_tar_member(archive, entry->member, &entry->pub.compression);
		if (member == NULL)
		{
			fail_tar(archive, &fault, DG_ARCHIVE_TRUNCATED, 0, "data of a table is missing");
			if (!dg_archive_entry_fault(archive, entry, &fault))
				return dg_archive_no_memory(err);
			continue;
		}
		entry->place = DG_ARCHIVE_AT_EXTENT;
		entry->offset = member->offset;
		entry->end = member->offset + member->size;
		entry->pub.data_bytes = (int64_t) member->size;
	}
	return true;
}

/*
 * A tar of something else: say what it is where that can be told.
 */
static bool
fail_no_toc(DgArchive *archive, DgArchiveError *err)
{
	static const char toc[] = "/toc.dat";
	const char *what = "tar has no member toc.dat";
	bool		unpack = false;
	size_t		i;

	for (i = 0; i < archive->member_count; i++)
	{
		const char *name = archive->members[i].name;
		size_t		len = strlen(name);

		if (strcmp(name, "PG_VERSION") == 0 || strcmp(name, "backup_label") == 0)
			what = "tar is of a base backup; a server has to be started from it, and pg_dump run there";
		else if (len >= sizeof(toc) && strcmp(name + len - (sizeof(toc) - 1), toc) == 0)
		{
			what = "the archive is the directory in this tar, which has to be unpacked";
			unpack = true;
		}
	}
	fail_tar(archive, err, DG_ARCHIVE_NOT_AN_ARCHIVE, 0, what);
	return unpack && dg_archive_hint(err, "Unpack it, tar -xf FILE, and give the directory that has the toc.dat.");
}

/*
 * Finds the members of a tar file, and reads the table of contents.
 */
bool
dg_archive_tar_open(DgArchive *archive, DgArchiveError *err)
{
	DgArchiveCompression compression;
	DgArchiveStream *toc = calloc(1, sizeof(*toc));
	const DgArchiveMember *member;

	if (toc == NULL)
		return dg_archive_no_memory(err);
	archive->toc = toc;
	archive->info.format = DG_ARCHIVE_TAR;
	if (!read_members(archive, err))
		return false;
	member = find_tar_member(archive, "toc.dat", &compression);
	if (member == NULL)
		return fail_no_toc(archive, err);
	if (!dg_archive_stream_init(toc, archive, compression, DG_ARCHIVE_FRAME_FILE, err))
		return false;
	dg_archive_source_extent(&toc->source, archive->file, member->offset,
							 member->offset + member->size);
	return dg_archive_toc_read(archive, toc, err) &&
		dg_archive_toc_finish(toc, err) && find_tables(archive, err);
}
