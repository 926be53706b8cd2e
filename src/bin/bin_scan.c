/*
 * bin_scan.c
 *		Reading rows out of a bin table, by deletions and parts, and removing
 *		them.
 *
 * Rows of many tenants may lie mixed, so all the parts that are wanted are read
 * in one pass over the blocks that any of them is in.
 *
 * A call that takes rows out of the bin reads it with the latest snapshot: it holds
 * the lock of their tenants, and must see what others left of them before. One that
 * only shows rows reads with the snapshot that it has found the parts by.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "bin/bin_internal.h"

struct DgBinScan
{
	Relation	rel;
	DgPlacedPart *parts;		/* sorted */
	int64		nparts;
	DgPlacedPart *last;			/* of the last row */
	DgBlocks	blocks;
	int			range;			/* being read */
	Snapshot	snapshot;
	TableScanDesc scan;			/* of that range */
	TupleTableSlot *slot;
};

/*
 * By deletion, then by number.
 */
int
dg_bin_compare_parts(const DgPartId *x, const DgPartId *y)
{
	if (x->deletion != y->deletion)
		return (x->deletion > y->deletion) - (x->deletion < y->deletion);
	return (x->part > y->part) - (x->part < y->part);
}

static DgPartId
part_id(const DgPlacedPart *part)
{
	DgPartId	id = {.deletion = part->deletion,.part = part->part};

	return id;
}

static int
compare_parts(const void *a, const void *b)
{
	DgPartId	x = part_id(a);
	DgPartId	y = part_id(b);

	return dg_bin_compare_parts(&x, &y);
}

/*
 * Opens a table of the bin. What the registry says is not enough: a superuser may
 * have restored a row into it that names a live table.
 */
static Relation
open_bin(Oid bin_table, LOCKMODE lockmode)
{
	Relation	rel = table_open(bin_table, lockmode);

	if (RelationGetNamespace(rel) != dg_objects()->bin_schema || rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(DG_ERRCODE_VERIFICATION_FAILED),
				 errmsg("\"%s\" is not a table of the bin", RelationGetRelationName(rel)),
				 errdetail("The table deletion_guard.bin says that it is."),
				 errhint("Somebody has put rows into what deletion_guard keeps; look into it before anything else.")));
	return rel;
}

static DgBinScan *
begin_scan(Relation rel, DgPlacedPart *parts, int64 nparts, Snapshot snapshot)
{
	DgBinScan  *scan = palloc0(sizeof(DgBinScan));

	qsort(parts, nparts, sizeof(DgPlacedPart), compare_parts);
	scan->rel = rel;
	scan->parts = scan->last = parts;
	scan->nparts = nparts;
	scan->snapshot = RegisterSnapshot(snapshot);
	scan->slot = table_slot_create(rel, NULL);
	return scan;
}

/*
 * Begins to read parts, one at least. lockmode is ROW EXCLUSIVE for rows that will be
 * removed, else ACCESS SHARE; it is held until the end of the transaction.
 */
DgBinScan *
dg_bin_scan_begin(Oid bin_table, LOCKMODE lockmode, const DgPartId *parts, int nparts)
{
	DgPlacedPart *placed = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(DgPlacedPart) * nparts,
													  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	DgBinScan  *scan;

	for (int i = 0; i < nparts; i++)
	{
		placed[i].deletion = parts[i].deletion;
		placed[i].part = parts[i].part;
	}
	scan = begin_scan(open_bin(bin_table, lockmode), placed, nparts, GetLatestSnapshot());
	scan->blocks = dg_bin_blocks_of_parts(scan->rel, parts, nparts, dg_bin_moved_part);
	return scan;
}

/*
 * Begins to read parts, one at least, in a bin table that stays
 * open until the end of the transaction, by the snapshot that has shown where they
 * are. The array is sorted, and stays the caller's.
 */
DgBinScan *
dg_bin_scan_begin_placed(Oid bin_table, DgPlacedPart *parts, int64 nparts, Snapshot snapshot)
{
	DgBinScan  *scan = begin_scan(open_bin(bin_table, AccessShareLock), parts, nparts, snapshot);

	scan->blocks = dg_bin_blocks_of_placed(scan->rel, parts, nparts);
	return scan;
}

static void
begin_range(DgBinScan *scan)
{
	ItemPointerData first;
	ItemPointerData last;

	ItemPointerSet(&first, scan->blocks.ranges[scan->range].first, FirstOffsetNumber);
	ItemPointerSet(&last, scan->blocks.ranges[scan->range].last, MaxOffsetNumber);
	scan->scan = dg_table_beginscan_tidrange(scan->rel, scan->snapshot, &first, &last);
}

static bool
is_wanted_row(DgBinScan *scan)
{
	DgPlacedPart key;
	DgPlacedPart *found;

	slot_getsomeattrs(scan->slot, DG_BIN_COLUMNS);
	key.deletion = DatumGetInt64(scan->slot->tts_values[Anum_bin_deletion - 1]);
	key.part = DatumGetInt32(scan->slot->tts_values[Anum_bin_part - 1]);
	if (compare_parts(scan->last, &key) == 0)
		return true;
	found = bsearch(&key, scan->parts, scan->nparts, sizeof(DgPlacedPart), compare_parts);
	if (found == NULL)
		return false;
	scan->last = found;
	return true;
}

/*
 * The next row, NULL at the end. It has the bin table's columns, the bin's own
 * three first, and is valid until the next call.
 */
TupleTableSlot *
dg_bin_scan_next(DgBinScan *scan)
{
	for (; scan->range < scan->blocks.nranges; scan->range++)
	{
		if (scan->scan == NULL)
			begin_range(scan);
		while (table_scan_getnextslot_tidrange(scan->scan, ForwardScanDirection, scan->slot))
		{
			CHECK_FOR_INTERRUPTS();
			if (is_wanted_row(scan))
				return scan->slot;
		}
		table_endscan(scan->scan);
		scan->scan = NULL;
	}
	return NULL;
}

/*
 * The part of the row that was read last.
 */
DgPartId
dg_bin_scan_part(DgBinScan *scan)
{
	return part_id(scan->last);
}

/*
 * The same, as the caller of dg_bin_scan_begin_placed() has given it.
 */
DgPlacedPart *
dg_bin_scan_placed(DgBinScan *scan)
{
	return scan->last;
}

/*
 * Removes the row that was read last.
 */
void
dg_bin_scan_delete(DgBinScan *scan)
{
	simple_heap_delete(scan->rel, &scan->slot->tts_tid);
}

/*
 * Removes the row at an address that was read before.
 */
void
dg_bin_delete_row(Oid bin_table, int64 address)
{
	Relation	rel = table_open(bin_table, RowExclusiveLock);
	ItemPointerData tid;

	ItemPointerSet(&tid, DG_TID_BLOCK(address), DG_TID_OFFSET(address));
	simple_heap_delete(rel, &tid);
	table_close(rel, NoLock);
}

/*
 * Ends a scan. The lock on the bin stays until the end of the transaction.
 */
void
dg_bin_scan_end(DgBinScan *scan)
{
	if (scan->scan != NULL)
		table_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	table_close(scan->rel, NoLock);
	pfree(scan);
}

/*
 * Removes those rows of some parts, for good, that the callback wants to go. The
 * caller has settled that it may.
 */
void
dg_bin_purge_parts(Oid bin_table, const DgPartId *parts, int nparts, DgBinRowCallback callback, void *arg)
{
	DgBinScan  *scan = dg_bin_scan_begin(bin_table, RowExclusiveLock, parts, nparts);
	TupleTableSlot *slot;

	while ((slot = dg_bin_scan_next(scan)) != NULL)
	{
		if (callback(slot, arg))
			dg_bin_scan_delete(scan);
	}
	dg_bin_scan_end(scan);
}
