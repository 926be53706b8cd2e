/*
 * archive_custom.c
 *		Custom archives: one file, with the tables' data blocks behind the TOC.
 *
 * The TOC of an archive that was written to a file says where each block is;
 * one that was written to a pipe does not.  Then blocks are looked for from
 * the front, hopping over chunks, and what is met on the way is remembered:
 * however many tables are read, in whatever order, no block is hopped over
 * twice, and one that was read to its end is not hopped over at all.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

#define BLOCK_DATA		1
#define BLOCK_BLOBS		3

static int
compare_block_offsets(const void *a, const void *b)
{
	uint64_t	x = *(const uint64_t *) a;
	uint64_t	y = *(const uint64_t *) b;

	return (x > y) - (x < y);
}

/*
 * Estimates sizes of blocks: each reaches to the next one.
 */
static bool
size_blocks(DgArchive *archive, DgArchiveError *err)
{
	uint64_t   *offsets;
	size_t		count = 0;
	size_t		i;

	if (archive->block_count == 0)
		return true;
	offsets = malloc((archive->block_count + 1) * sizeof(*offsets));
	if (offsets == NULL)
		return dg_archive_no_memory(err);
	for (i = 0; i < archive->block_count; i++)
	{
		if (archive->blocks[i].located)
			offsets[count++] = archive->blocks[i].offset;
	}
	if (archive->file->size_known)
		offsets[count++] = archive->file->size;
	qsort(offsets, count, sizeof(*offsets), compare_block_offsets);
	for (i = 0; i < archive->entry_count; i++)
	{
		DgArchiveEntry *entry = &archive->entries[i];
		uint64_t   *at;

		if (entry->place != DG_ARCHIVE_AT_BLOCK)
			continue;
		at = bsearch(&entry->offset, offsets, count, sizeof(*offsets), compare_block_offsets);
		if (at != NULL && at + 1 < offsets + count && at[1] - at[0] <= INT64_MAX)
			entry->pub.data_bytes = (int64_t) (at[1] - at[0]);
	}
	free(offsets);
	return true;
}

/*
 * Every offset must lie between the TOC and the end of the file.
 */
static bool
check_offsets(DgArchive *archive, DgArchiveError *err)
{
	size_t		i;

	for (i = 0; i < archive->block_count; i++)
	{
		DgArchiveBlock *block = &archive->blocks[i];
		const DgArchiveEntry *entry;

		if (!block->located)
			continue;
		if (block->offset >= archive->data_start && block->offset < archive->file->size)
			continue;
		dg_archive_fail(err, block->offset < archive->data_start ?
						DG_ARCHIVE_CORRUPT : DG_ARCHIVE_TRUNCATED,
						archive->file->name, block->offset,
						block->offset < archive->data_start ?
						"data of dump id %d lies inside of the table of contents" :
						"data of dump id %d lies beyond the end of the file",
						block->dump_id);
		if (block->entry >= 0)
		{
			entry = &archive->entries[block->entry];
			dg_archive_error_table(err, entry->pub.schema, entry->pub.name);
		}
		return false;
	}
	return true;
}

/*
 * The data begin where the TOC ends: what lies between is unknown to the TOC.
 */
static bool
check_start(DgArchive *archive, DgArchiveError *err)
{
	uint64_t	first = UINT64_MAX;
	char		byte;
	size_t		got;
	size_t		i;

	for (i = 0; i < archive->block_count; i++)
	{
		if (!archive->blocks[i].located)
			return true;		/* they will be looked for from the front */
		if (archive->blocks[i].offset < first)
			first = archive->blocks[i].offset;
	}
	if (first == archive->data_start)
		return true;
	if (archive->block_count == 0)
	{
		if (!dg_archive_file_some(archive->file, archive->data_start, &byte, 1, &got, err))
			return false;
		if (got == 0)
			return true;
	}
	return dg_archive_fail(err, DG_ARCHIVE_CORRUPT, archive->file->name, archive->data_start,
						   "data behind the table of contents that it does not know of");
}

/*
 * Reads the table of contents of a file in custom format.
 */
bool
dg_archive_custom_open(DgArchive *archive, DgArchiveError *err)
{
	DgArchiveStream *toc = calloc(1, sizeof(*toc));

	if (toc == NULL)
		return dg_archive_no_memory(err);
	archive->toc = toc;
	archive->info.format = DG_ARCHIVE_CUSTOM;
	if (!dg_archive_stream_init(toc, archive, DG_ARCHIVE_NONE,
								DG_ARCHIVE_FRAME_FILE, err))
		return false;
	dg_archive_source_extent(&toc->source, archive->file, 0, archive->file->size);
	if (!dg_archive_toc_read(archive, toc, err))
		return false;
	archive->data_start = dg_archive_stream_tell(toc);
	archive->scan_pos = archive->data_start;
	return check_offsets(archive, err) && check_start(archive, err) && size_blocks(archive, err);
}

/*
 * Passes over the rest of a block whose type and dump id were read.
 */
static bool
skip_block(DgArchiveSource *source, int type, DgArchiveError *err)
{
	bool		empty;
	int64_t		oid;

	if (type == BLOCK_DATA)
		return dg_archive_source_skip_chunks(source, &empty, err);
	for (;;)
	{
		if (!dg_archive_source_int(source, &oid, err))
			return false;
		if (oid == 0)
			return true;
		if (!dg_archive_source_skip_chunks(source, &empty, err))
			return false;
	}
}

/*
 * Reads a block's type and dump id.  *type is -1 at the end of the file.
 */
static bool
read_block_head(DgArchiveSource *source, int *type, int64_t *dump_id,
				DgArchiveError *err)
{
	const unsigned char *p;
	size_t		got;
	uint64_t	at = source->pos;

	*type = -1;
	if (!dg_archive_source_peek(source, 1, &p, &got, err))
		return false;
	if (got == 0)
		return true;
	*type = *p;
	source->raw_start++;
	source->pos++;
	if (*type != BLOCK_DATA && *type != BLOCK_BLOBS)
		return dg_archive_fail(err, DG_ARCHIVE_CORRUPT, source->file->name, at,
							   "data block has unknown type %d", *type);
	return dg_archive_source_int(source, dump_id, err);
}

/*
 * Records that a block has been met at start and ends at end.
 */
static void
note_block(DgArchive *archive, DgArchiveBlock *block, uint64_t start, uint64_t end)
{
	DgArchiveEntry *entry;

	if (block == NULL)
		return;
	block->located = true;
	block->offset = start;
	if (block->entry < 0)
		return;
	entry = &archive->entries[block->entry];
	entry->place = DG_ARCHIVE_AT_BLOCK;
	entry->offset = start;
	if (end > start)
		entry->pub.data_bytes = (int64_t) (end - start);
}

/*
 * Scans forward until wanted (or, if NULL, everything) is found.
 */
static bool
scan_blocks(DgArchive *archive, DgArchiveSource *source,
			const DgArchiveEntry *wanted, DgArchiveError *err)
{
	while (!archive->scan_done)
	{
		uint64_t	start = source->pos;
		DgArchiveBlock *block;
		int			type = 0;
		int64_t		dump_id = 0;

		if (!read_block_head(source, &type, &dump_id, err))
			return false;
		if (type < 0)
		{
			archive->scan_done = true;
			break;
		}
		block = dg_archive_block(archive, dump_id);
		if (block == NULL || (block->located && block->offset != start))
			return dg_archive_fail(err, DG_ARCHIVE_CORRUPT, source->file->name, start,
								   "unexpected data block of dump id %lld",
								   (long long) dump_id);
		note_block(archive, block, start, 0);
		if (wanted != NULL && wanted->place == DG_ARCHIVE_AT_BLOCK)
			break;				/* scan_pos stays: reading it will move that */
		if (!skip_block(source, type, err))
			return false;
		note_block(archive, block, start, source->pos);
		archive->scan_pos = source->pos;
	}
	return true;
}

/*
 * An entry's block has been read from start to end; if that is where the
 * search had got to, it goes on behind it.
 */
void
dg_archive_custom_passed(DgArchive *archive, DgArchiveEntry *entry, uint64_t start,
						 uint64_t end)
{
	if (archive->scan_pos == start)
		archive->scan_pos = end;
	if (entry->pub.data_bytes < 0)
		entry->pub.data_bytes = (int64_t) (end - start);
}

static bool
scan_file(DgArchive *archive, const DgArchiveEntry *wanted, DgArchiveError *err)
{
	DgArchiveSource source;
	bool		ok;

	ok = dg_archive_source_chunks(&source, archive->file, archive->scan_pos,
								  archive->scan_pos, archive->int_size, err) &&
		scan_blocks(archive, &source, wanted, err);
	dg_archive_source_free(&source);
	return ok;
}

/*
 * Finds an entry's block and sets up source (of a stream that was just
 * initialised) to read it.
 */
bool
dg_archive_custom_source(DgArchive *archive, DgArchiveEntry *entry,
						 DgArchiveSource *source, DgArchiveError *err)
{
	int			type = 0;
	int64_t		dump_id = 0;

	if (entry->place == DG_ARCHIVE_AT_UNKNOWN && !scan_file(archive, entry, err))
		return false;
	if (entry->place == DG_ARCHIVE_AT_UNKNOWN)
		return dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, archive->file->name,
							   archive->scan_pos,
							   "file ends before the data of dump id %d",
							   entry->pub.dump_id);
	if (!dg_archive_source_chunks(source, archive->file, entry->offset,
								  entry->offset, archive->int_size, err) ||
		!read_block_head(source, &type, &dump_id, err))
		return false;
	if (type != BLOCK_DATA || dump_id != entry->pub.dump_id)
		return dg_archive_fail(err, DG_ARCHIVE_CORRUPT, archive->file->name,
							   entry->offset,
							   "expected the data of dump id %d, found dump id %lld of type %d",
							   entry->pub.dump_id, (long long) dump_id, type);
	return true;
}

/*
 * Finds every block whose place is not known yet, so that data_bytes of all
 * tables is.  Other formats know from the start.
 */
bool
dg_archive_measure(DgArchive *archive, DgArchiveError *err)
{
	size_t		i;

	if (archive->info.format != DG_ARCHIVE_CUSTOM)
		return true;
	for (i = 0; i < archive->entry_count; i++)
	{
		if (archive->entries[i].pub.data_bytes < 0 &&
			archive->entries[i].place != DG_ARCHIVE_AT_NOWHERE)
			return scan_file(archive, NULL, err);
	}
	return true;
}
