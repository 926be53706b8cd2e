/*
 * purge_scrub_page.c
 *		Overwriting what is left of rows in the free space of a heap's page.
 *
 * The page is written to the WAL as a whole, so that standbys and crash recovery
 * get the zeros too.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "purge/purge_internal.h"

static bool
zero_bytes(char *page, int from, int to)
{
	bool		dirty = false;

	for (int i = from; i < to && !dirty; i++)
		dirty = page[i] != 0;
	if (dirty)
		memset(page + from, 0, to - from);
	return dirty;
}

static int
compare_item_offsets(const void *a, const void *b)
{
	return (int) *(const uint32 *) a - (int) *(const uint32 *) b;
}

/*
 * Overwrites whatever of a heap page is no item: the hole, and gaps between
 * items. Works on a copy. Returns whether anything was there.
 */
static bool
clean_page(char *page)
{
	PageHeader	header = (PageHeader) page;
	OffsetNumber last = PageGetMaxOffsetNumber(page);
	uint32		items[MaxHeapTuplesPerPage];	/* offset << 16 | length */
	int			nitems = 0;
	int			covered = header->pd_upper;
	bool		dirty = zero_bytes(page, header->pd_lower, header->pd_upper);

	for (OffsetNumber offnum = FirstOffsetNumber; offnum <= last && nitems < MaxHeapTuplesPerPage; offnum++)
	{
		ItemId		item = PageGetItemId(page, offnum);

		if (ItemIdHasStorage(item))
			items[nitems++] = ((uint32) ItemIdGetOffset(item) << 16) | MAXALIGN(ItemIdGetLength(item));
	}
	qsort(items, nitems, sizeof(uint32), compare_item_offsets);
	for (int i = 0; i < nitems; i++)
	{
		dirty |= zero_bytes(page, covered, items[i] >> 16);
		covered = Max(covered, (int) (items[i] >> 16) + (int) (items[i] & 0xFFFF));
	}
	return zero_bytes(page, covered, header->pd_special) || dirty;
}

/*
 * How many versions on the page are dead, or will be, and still there?
 */
static int
dead_versions(Relation rel, Buffer buffer, TransactionId oldest)
{
	Page		page = BufferGetPage(buffer);
	int			dead = 0;

	for (OffsetNumber offnum = FirstOffsetNumber; offnum <= PageGetMaxOffsetNumber(page); offnum++)
	{
		ItemId		item = PageGetItemId(page, offnum);
		HeapTupleData tuple = {0};

		if (!ItemIdIsNormal(item))
			continue;
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		tuple.t_tableOid = RelationGetRelid(rel);
		ItemPointerSet(&tuple.t_self, BufferGetBlockNumber(buffer), offnum);
		switch (HeapTupleSatisfiesVacuum(&tuple, oldest, buffer))
		{
			case HEAPTUPLE_DEAD:
			case HEAPTUPLE_RECENTLY_DEAD:
				dead++;
				break;
			default:
				break;
		}
	}
	return dead;
}

/*
 * Cleans one page; true if there was something to clean. Adds to *kept how many
 * versions on it are dead but may still be needed: "oldest" tells. The caller
 * has locked the table as VACUUM does.
 */
bool
dg_purge_scrub_page(Relation rel, BlockNumber block, BufferAccessStrategy strategy, TransactionId oldest, int64 *kept)
{
	Buffer		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
	PGAlignedBlock copy;
	Page		page;
	bool		dirty = false;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	page = BufferGetPage(buffer);
	if (!PageIsNew(page))
	{
		*kept += dead_versions(rel, buffer, oldest);
		memcpy(copy.data, page, BLCKSZ);
		dirty = clean_page(copy.data);
	}
	if (dirty)
	{
		START_CRIT_SECTION();
		memcpy(page, copy.data, BLCKSZ);
		MarkBufferDirty(buffer);
		if (RelationNeedsWAL(rel))
			log_newpage_buffer(buffer, true);
		END_CRIT_SECTION();
	}
	UnlockReleaseBuffer(buffer);
	return dirty;
}
