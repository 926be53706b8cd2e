/*
 * capture_recount.c
 *		Counts the rows of a guarded table that this transaction has deleted, in
 *		the table itself.
 *
 * A row that was deleted is still where it was, with the transaction's mark,
 * until the transaction is over. That is exact, and slow: every page that is not
 * all-visible has to be looked at. It is done only where the server's count
 * cannot be explained (capture_balance.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/visibilitymap.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/pgstat_internal.h"
#include "utils/rel.h"

#include "capture/capture_internal.h"
#include "guard/guard.h"

/*
 * Looks at all rows of a page, which the caller holds a lock on.
 */
static void
count_page(Page page, BlockNumber block, int64 *deleted, int64 *moved)
{
	OffsetNumber last = PageGetMaxOffsetNumber(page);

	for (OffsetNumber offset = FirstOffsetNumber; offset <= last; offset++)
	{
		ItemId		item = PageGetItemId(page, offset);
		HeapTupleHeader row;
		ItemPointerData tid;

		if (!ItemIdIsNormal(item))
			continue;
		row = (HeapTupleHeader) PageGetItem(page, item);
		if ((row->t_infomask & HEAP_XMAX_INVALID) != 0 || HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask) ||
			!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(row)))
			continue;
		ItemPointerSet(&tid, block, offset);
		if (HeapTupleHeaderIndicatesMovedPartitions(row))
			(*moved)++;
		else if (ItemPointerEquals(&tid, &row->t_ctid))
			(*deleted)++;
	}
}

static bool
count_table(Oid relid, int64 *deleted, int64 *moved)
{
	Relation	rel = table_open(relid, AccessShareLock);
	BlockNumber nblocks = RelationGetNumberOfBlocks(rel);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	Buffer		vmbuffer = InvalidBuffer;
	bool		known = DG_NEW_FILE_SUBID(rel) == InvalidSubTransactionId;

	for (BlockNumber block = 0; block < nblocks; block++)
	{
		Buffer		buffer;

		CHECK_FOR_INTERRUPTS();
		if (visibilitymap_get_status(rel, block, &vmbuffer) & VISIBILITYMAP_ALL_VISIBLE)
			continue;
		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		count_page(BufferGetPage(buffer), block, deleted, moved);
		UnlockReleaseBuffer(buffer);
	}
	if (BufferIsValid(vmbuffer))
		ReleaseBuffer(vmbuffer);
	FreeAccessStrategy(strategy);
	table_close(rel, AccessShareLock);
	return known;
}

/*
 * How many rows this transaction has deleted from an enrolled table and its
 * partitions, and how many it has moved from one partition to another. False if
 * that cannot be told, as it has also rewritten one of them.
 */
bool
dg_capture_recount(Oid root, int64 *deleted, int64 *moved)
{
	PgStat_SubXactStatus *level = NULL;
	PgStat_TableXactStatus *counts = NULL;
	bool		known = true;

	*deleted = *moved = 0;
	while ((counts = dg_capture_balance_next(&level, counts)) != NULL)
	{
		Oid			relid = DG_COUNTED_RELID(counts);

		if (dg_capture_balance_deleted(counts, NULL) > 0 && dg_guard_lookup(relid)->guarded &&
			dg_guard_lookup(relid)->root == root)
			known &= count_table(relid, deleted, moved);
	}
	return known;
}
