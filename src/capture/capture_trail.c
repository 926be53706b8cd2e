/*
 * capture_trail.c
 *		Goes along the trail that queries have left (capture_note.c), to the rows
 *		that they deleted.
 *
 * The trail is a list of rows that were about to be deleted. A deleted row is
 * still where it was and bears the marks of the transaction and the command
 * that deleted it. One that does not bear them was left alone by a BEFORE
 * trigger, or deleted by another session, or updated by one: then it is a newer
 * version that was deleted, or none.
 *
 * The executor has counted the rows that it deleted. If the trail leads to any
 * other number of rows, the statement fails.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tupconvert.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "capture/capture_internal.h"

static inline int
compare_rows(const DgTidEntry *a, const DgTidEntry *b)
{
	if (a->address != b->address)
		return a->address < b->address ? -1 : 1;
	return a->cid < b->cid ? -1 : a->cid > b->cid;
}

#define ST_SORT sort_rows
#define ST_ELEMENT_TYPE DgTidEntry
#define ST_COMPARE(a, b) compare_rows(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

struct DgTrailWalk
{
	DgTrail    *trail;
	Relation	root;
	uint64		found;			/* rows */

	/* a stretch of the trail */
	int			stretch;		/* to go to next */
	DgTidLog   *log;
	Relation	rel;			/* NULL: none yet */
	BufferAccessStrategy strategy;
	TupleTableSlot *slot;
	TupleConversionMap *map;	/* into the root's shape, NULL: it is the same */
	TupleTableSlot *root_slot;

	/* some of its rows, in the order of the table */
	DgTidEntry *rows;
	int			size;
	int			nrows;
	int			row;			/* to look at next */

	/* those of its rows that are on one page */
	Buffer		buffer;
	int			page_begin;
	int			page_end;
	bool		marked[MaxHeapTuplesPerPage];
	HeapTupleData tuple;
};

/*
 * Begins to walk along the trail that leads to the deleted rows of rel, for the
 * trigger that fires now; NULL if there is none. A trail is walked once.
 */
DgTrailWalk *
dg_capture_trail_walk(Relation rel)
{
	DgTrail    *trail = dg_capture_trail_take(RelationGetRelid(rel));
	DgTrailWalk *walk;

	if (trail == NULL)
		return NULL;
	walk = palloc0(sizeof(DgTrailWalk));
	walk->trail = trail;
	walk->root = rel;
	return walk;
}

static void
end_stretch(DgTrailWalk *walk)
{
	if (walk->rel == NULL)
		return;
	ExecDropSingleTupleTableSlot(walk->slot);
	if (walk->map != NULL)
	{
		ExecDropSingleTupleTableSlot(walk->root_slot);
		free_conversion_map(walk->map);
	}
	if (walk->strategy != NULL)
		FreeAccessStrategy(walk->strategy);
	walk->strategy = NULL;
	dg_tidlog_end(walk->log);
	pfree(walk->rows);
	table_close(walk->rel, NoLock);
	walk->rel = NULL;
}

/*
 * Goes to the next stretch; false if the trail has ended.
 */
static bool
begin_stretch(DgTrailWalk *walk)
{
	DgStretch  *stretch;

	end_stretch(walk);
	if (walk->stretch == list_length(walk->trail->stretches))
		return false;
	stretch = list_nth(walk->trail->stretches, walk->stretch++);
	walk->log = stretch->log;
	dg_tidlog_rewind(walk->log);
	/* the query has locked it */
	walk->rel = table_open(stretch->relid, NoLock);
	/* a large table passes through a ring of buffers, as in a scan */
	if (RelationGetNumberOfBlocks(walk->rel) > NBuffers / 4)
		walk->strategy = GetAccessStrategy(BAS_BULKREAD);
	walk->slot = table_slot_create(walk->rel, NULL);
	walk->map = walk->rel == walk->root ? NULL :
		convert_tuples_by_name(RelationGetDescr(walk->rel), RelationGetDescr(walk->root));
	if (walk->map != NULL)
		walk->root_slot = MakeSingleTupleTableSlot(RelationGetDescr(walk->root), &TTSOpsVirtual);
	walk->size = Min(dg_tidlog_count(walk->log),
					 Min(work_mem * (int64) 1024, MaxAllocSize) / sizeof(DgTidEntry));
	walk->rows = palloc(sizeof(DgTidEntry) * walk->size);
	return true;
}

/*
 * Reads on along the stretch; false if it has ended. The queries of a foreign
 * key come to the same pages again and again: in the order of the table, each
 * page is looked at once for all of them.
 */
static bool
read_along(DgTrailWalk *walk)
{
	walk->row = walk->page_begin = walk->page_end = 0;
	walk->nrows = 0;
	if (walk->rel == NULL)
		return false;
	while (walk->nrows < walk->size && dg_tidlog_next(walk->log, &walk->rows[walk->nrows]))
		walk->nrows++;
	sort_rows(walk->rows, walk->nrows);
	return walk->nrows > 0;
}

/*
 * Does a row bear the marks of a command? The caller holds a lock on its buffer.
 */
static bool
is_marked(const DgTrailWalk *walk, CommandId cid, HeapTupleHeader row)
{
	return (row->t_infomask & HEAP_XMAX_INVALID) == 0 && !HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask) &&
		TransactionIdEquals(HeapTupleHeaderGetUpdateXid(row), walk->trail->xid) &&
		HeapTupleHeaderGetCmax(row) == cid;
}

/*
 * Makes walk->tuple the row at an address of the page; false if there is none
 * any more.
 */
static bool
get_row(DgTrailWalk *walk, const DgTidEntry *entry)
{
	HeapTuple	tuple = &walk->tuple;
	Page		page = BufferGetPage(walk->buffer);
	ItemId		item;

	ItemPointerSet(&tuple->t_self, DG_TID_BLOCK(entry->address), DG_TID_OFFSET(entry->address));
	if (DG_TID_OFFSET(entry->address) > PageGetMaxOffsetNumber(page))
		return false;
	item = PageGetItemId(page, DG_TID_OFFSET(entry->address));
	if (!ItemIdIsNormal(item))
		return false;
	tuple->t_len = ItemIdGetLength(item);
	tuple->t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple->t_tableOid = RelationGetRelid(walk->rel);
	return true;
}

static void
release_page(DgTrailWalk *walk)
{
	if (BufferIsValid(walk->buffer))
		ReleaseBuffer(walk->buffer);
	walk->buffer = InvalidBuffer;
}

/*
 * Goes to the page of the next row, and looks at all rows that are on it.
 */
static void
read_page(DgTrailWalk *walk)
{
	BlockNumber block = DG_TID_BLOCK(walk->rows[walk->row].address);
	int			i = walk->row;

	release_page(walk);
	walk->page_begin = i;
	walk->buffer = ReadBufferExtended(walk->rel, MAIN_FORKNUM, block, RBM_NORMAL, walk->strategy);
	LockBuffer(walk->buffer, BUFFER_LOCK_SHARE);
	for (; i < walk->nrows && i - walk->page_begin < MaxHeapTuplesPerPage &&
		 DG_TID_BLOCK(walk->rows[i].address) == block; i++)
		walk->marked[i - walk->page_begin] = get_row(walk, &walk->rows[i]) &&
			is_marked(walk, walk->rows[i].cid, walk->tuple.t_data);
	LockBuffer(walk->buffer, BUFFER_LOCK_UNLOCK);
	walk->page_end = i;
}

/*
 * Looks for the version of a row that the command deleted, among those that
 * other sessions have made of it since; false if there is none.
 */
static bool
find_newer_version(DgTrailWalk *walk, const DgTidEntry *entry)
{
	TransactionId updated_by = InvalidTransactionId;
	ItemPointerData tid;
	bool		marked = false;
	bool		last = false;

	ItemPointerSet(&tid, DG_TID_BLOCK(entry->address), DG_TID_OFFSET(entry->address));
	while (!last)
	{
		Buffer		buffer;
		HeapTupleHeader row;

		if (!table_tuple_fetch_row_version(walk->rel, &tid, SnapshotAny, walk->slot))
			return false;
		buffer = ((BufferHeapTupleTableSlot *) walk->slot)->buffer;
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		row = ((HeapTupleTableSlot *) walk->slot)->tuple->t_data;
		if (TransactionIdIsValid(updated_by) &&
			!TransactionIdEquals(HeapTupleHeaderGetXmin(row), updated_by))
			last = true;		/* another row has taken its place */
		else
		{
			marked = is_marked(walk, entry->cid, row);
			last = marked || (row->t_infomask & HEAP_XMAX_INVALID) != 0 ||
				HeapTupleHeaderIsOnlyLocked(row) || HeapTupleHeaderIndicatesMovedPartitions(row) ||
				ItemPointerEquals(&tid, &row->t_ctid);
			updated_by = HeapTupleHeaderGetUpdateXid(row);
			tid = row->t_ctid;
		}
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	return marked;
}

/*
 * The next deleted row, in the root's shape; NULL if there is none. They do not
 * come in the order in which they were deleted.
 */
TupleTableSlot *
dg_capture_trail_next(DgTrailWalk *walk)
{
	for (;;)
	{
		const DgTidEntry *entry;

		if (walk->row == walk->nrows && !read_along(walk))
		{
			release_page(walk);
			if (!begin_stretch(walk))
				return NULL;
			continue;
		}
		CHECK_FOR_INTERRUPTS();
		entry = &walk->rows[walk->row];
		if (walk->row == walk->page_end)
			read_page(walk);
		if (walk->marked[walk->row++ - walk->page_begin])
		{
			get_row(walk, entry);
			ExecStoreBufferHeapTuple(&walk->tuple, walk->slot, walk->buffer);
		}
		else if (!find_newer_version(walk, entry))
			continue;
		walk->found++;
		return walk->map == NULL ? walk->slot :
			execute_attr_map_slot(walk->map->attrMap, walk->slot, walk->root_slot);
	}
}

/*
 * Ends a walk to the end. Fails if it has not found as many rows as were
 * deleted.
 */
void
dg_capture_trail_end(DgTrailWalk *walk)
{
	if (walk->found != walk->trail->deleted)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot keep the rows deleted from \"%s\"", RelationGetRelationName(walk->root)),
				 errdetail("The statement has deleted %llu rows, %llu of them were found.",
						   (unsigned long long) walk->trail->deleted, (unsigned long long) walk->found)));
	MemoryContextDelete(walk->trail->context);
	pfree(walk);
}
