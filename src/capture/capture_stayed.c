/*
 * capture_stayed.c
 *		What the row trigger has to know of rows that were moved to another partition:
 *		are they still in the guarded table?
 *
 * Of a query's rows that is known from watching it (capture_move.c): in a tree of
 * which only a part is guarded, it notes each row that has stayed in the guarded
 * part. A replication worker moves one row at a time, without a query.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pgstat_internal.h"
#include "utils/rel.h"

#include "capture/capture_internal.h"
#include "guard/guard.h"

/* A row that was moved and has stayed in its guarded table; compared as bytes. */
typedef struct StayedRow
{
	Oid			relid;
	CommandId	cid;
	int64		address;		/* as in DgTidEntry */
} StayedRow;

static HTAB *stayed = NULL;		/* of this transaction; NULL: none */

static int64
address_of(ItemPointer tid)
{
	return (int64) ItemPointerGetBlockNumber(tid) << 16 | ItemPointerGetOffsetNumber(tid);
}

/*
 * A row that has left one partition has arrived in another, which it is in now.
 */
void
dg_capture_move_note_stayed(Oid relid, CommandId cid, ItemPointer tid)
{
	StayedRow	row = {relid, cid, address_of(tid)};

	if (stayed == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(StayedRow),.entrysize = sizeof(StayedRow),.hcxt = TopTransactionContext};

		stayed = hash_create("deletion_guard moved rows", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(stayed, &row, HASH_ENTER, NULL);
}

/*
 * A row was moved from a partition to another one. Is it still guarded?
 */
bool
dg_capture_move_stayed(Relation rel, HeapTuple tuple)
{
	StayedRow	row = {RelationGetRelid(rel), HeapTupleHeaderGetCmax(tuple->t_data), address_of(&tuple->t_self)};

	if (dg_guard_lookup(dg_guard_partition_root(RelationGetRelid(rel)))->guarded)
		return true;
	return stayed != NULL && hash_search(stayed, &row, HASH_REMOVE, NULL) != NULL;
}

/* ----------------------------------------------------------------------
 * Logical replication
 * ----------------------------------------------------------------------
 */

/*
 * Has this transaction put a row on the page that it wrote to last, by command
 * cid or after it?
 */
static bool
has_new_row(Relation rel, CommandId cid)
{
	BlockNumber block = RelationGetTargetBlock(rel);
	Buffer		buffer;
	Page		page;
	bool		found = false;

	if (block == InvalidBlockNumber || block >= RelationGetNumberOfBlocks(rel))
		return false;
	buffer = ReadBuffer(rel, block);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	for (OffsetNumber i = FirstOffsetNumber; i <= PageGetMaxOffsetNumber(page) && !found; i++)
	{
		ItemId		item = PageGetItemId(page, i);
		HeapTupleHeader row;

		if (!ItemIdIsNormal(item))
			continue;
		row = (HeapTupleHeader) PageGetItem(page, item);
		found = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(row)) &&
			HeapTupleHeaderGetCmin(row) >= cid;
	}
	UnlockReleaseBuffer(buffer);
	return found;
}

/*
 * A replication worker has deleted a row from a partition to insert it into
 * another one, which is over by now. Has it arrived there? Where that cannot be
 * told it has not: better a row too many in the bin than one too few.
 */
bool
dg_capture_move_arrived(Oid root, HeapTuple row)
{
	CommandId	cid = HeapTupleHeaderGetCmax(row->t_data);
	PgStat_SubXactStatus *level = NULL;
	PgStat_TableXactStatus *counts = NULL;

	while ((counts = dg_capture_balance_next(&level, counts)) != NULL)
	{
		Oid			relid = DG_COUNTED_RELID(counts);
		bool		found;
		Relation	rel;

		if (relid < FirstNormalObjectId || dg_guard_lookup(relid)->root != root ||
			get_rel_relkind(relid) != RELKIND_RELATION)
			continue;
		rel = table_open(relid, NoLock);
		found = has_new_row(rel, cid);
		table_close(rel, NoLock);
		if (found)
			return true;
	}
	return false;
}

static void
stayed_at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		stayed = NULL;
}

/*
 * Makes ready, as the library is loaded, to forget at the end of a transaction the
 * rows that have arrived.
 */
void
dg_capture_stayed_init(void)
{
	RegisterXactCallback(stayed_at_xact, NULL);
}
