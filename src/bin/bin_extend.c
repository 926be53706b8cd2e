/*
 * bin_extend.c
 *		Makes a bin table longer by many pages at once, on PostgreSQL 15.
 *
 * Later versions do so themselves. PostgreSQL 15 adds page by page, each under a
 * lock of its own, and writes it to the file as zeros before it is written with
 * rows: of a large DELETE that was a quarter of the time.
 *
 * The order of steps is that of PostgreSQL 16. The lock on the table's
 * extension is taken. Zeroed buffers for the pages behind the end of the file
 * are pinned; nobody else knows of these pages yet. Then the file system is
 * asked for the space, so that a full disk is found now and not at a
 * checkpoint. From here on the pages are free pages like any other: any session
 * may initialize one and put rows on it, and one that stays unused is entered
 * into the free space map, or is found by VACUUM. Nothing is logged; replay
 * makes pages as it finds rows for them. Where any of it does not work, nothing
 * has happened, and the server adds its pages one by one, with its own errors.
 */
#include "postgres.h"

#include "bin/bin_internal.h"

#if DG_EXTENDS_BY_PAGE

#include <fcntl.h>

#include "access/htup_details.h"
#include "common/relpath.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/freespace.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/rel.h"

/* what PostgreSQL 16 adds at once, at most */
#define MAX_PAGES 64

struct DgExtension
{
	Relation	rel;
	bool		failed;			/* it does not work here */
	int			next;			/* page to hand out */
	int			npages;
	Buffer		pages[MAX_PAGES];	/* pinned from next on */
};

/*
 * For a bin that is written to; palloc'd.
 */
DgExtension *
dg_bin_extension_begin(Relation rel)
{
	DgExtension *extension = palloc0(sizeof(DgExtension));

	extension->rel = rel;
	return extension;
}

/*
 * Reserves the space for pages behind the end of a file; false if that cannot
 * be done here.
 */
static bool
reserve_space(Relation rel, BlockNumber first, int npages)
{
	bool		reserved = false;
#ifdef __linux__
	BlockNumber segment = first / RELSEG_SIZE;
	char	   *path = relpath(RelationGetSmgr(rel)->smgr_rnode, MAIN_FORKNUM);
	int			fd;

	if (segment > 0)
		path = psprintf("%s.%u", path, segment);
	fd = OpenTransientFile(path, O_RDWR | PG_BINARY);
	if (fd < 0)
		return false;
	/* not posix_fallocate(), which writes where the file system cannot */
	reserved = fallocate(fd, 0, (off_t) (first % RELSEG_SIZE) * BLCKSZ, (off_t) npages * BLCKSZ) == 0;
	CloseTransientFile(fd);
#endif
	return reserved;
}

/*
 * A zeroed buffer for a page that is not in the file yet.
 */
static Buffer
pin_page(Relation rel, BlockNumber block, BufferAccessStrategy strategy)
{
	Buffer		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_ZERO_AND_LOCK, strategy);
	bool		is_new = PageIsNew(BufferGetPage(buffer));

	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (is_new)
		return buffer;
	/* something is wrong with the file; the server knows how to say so */
	ReleaseBuffer(buffer);
	return InvalidBuffer;
}

static void
add_pages(DgExtension *extension, int wanted, BufferAccessStrategy strategy)
{
	Relation	rel = extension->rel;
	BlockNumber first;

	LockRelationForExtension(rel, ExclusiveLock);
	first = RelationGetNumberOfBlocks(rel);
	/* one file has so many pages; the server begins the next one */
	wanted = first % RELSEG_SIZE == 0 ? 0 : Min(wanted, RELSEG_SIZE - first % RELSEG_SIZE);
	extension->next = 0;
	extension->npages = 0;
	while (extension->npages < wanted)
	{
		Buffer		buffer = pin_page(rel, first + extension->npages, strategy);

		if (!BufferIsValid(buffer))
			break;
		extension->pages[extension->npages++] = buffer;
	}
	if (extension->npages > 0 && !reserve_space(rel, first, extension->npages))
	{
		extension->failed = true;
		while (extension->npages > 0)
			ReleaseBuffer(extension->pages[--extension->npages]);
	}
	UnlockRelationForExtension(rel, ExclusiveLock);
}

/*
 * A pin on a page without rows, which the caller releases; invalid if the server
 * is to find or make one.
 *
 * An eighth of what the deletion has written so far is added at a time, so that
 * a small one adds nothing in vain. No backend pins more than its share of the
 * buffers, less two for other pages that it needs meanwhile.
 */
Buffer
dg_bin_extension_next_page(DgExtension *extension, int64 written, BufferAccessStrategy strategy)
{
	int			wanted = Min(Min(MAX_PAGES, written / BLCKSZ / 8), NBuffers / (MaxBackends + 1) - 2);

	if (extension->next == extension->npages)
	{
		if (extension->failed || wanted < 2)
			return InvalidBuffer;
		add_pages(extension, wanted, strategy);
		if (extension->npages == 0)
			return InvalidBuffer;
	}
	return extension->pages[extension->next++];
}

/*
 * Enters pages that were not used into the free space map, for others to fill,
 * and frees the extension.
 */
void
dg_bin_extension_end(DgExtension *extension)
{
	BlockNumber first = InvalidBlockNumber;

	for (int i = extension->next; i < extension->npages; i++)
	{
		BlockNumber block = BufferGetBlockNumber(extension->pages[i]);

		ReleaseBuffer(extension->pages[i]);
		RecordPageWithFreeSpace(extension->rel, block, BLCKSZ - SizeOfPageHeaderData);
		if (i == extension->next)
			first = block;
	}
	if (first != InvalidBlockNumber)
		FreeSpaceMapVacuumRange(extension->rel, first, first + extension->npages - extension->next);
	pfree(extension);
}

#endif							/* DG_EXTENDS_BY_PAGE */
