/*
 * bin_scan.c
 *		Reading rows out of a bin table, by deletion and parts, and removing
 *		them.
 *
 * Rows of many tenants may lie mixed, so all the parts that are wanted of one
 * deletion are read in one pass over the blocks that any of them is in.
 *
 * Rows are read with the latest snapshot: a call that takes rows out of the bin
 * holds the lock of their tenant, and must see what others left of them before.
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
	int64		deletion;
	int32	   *parts;			/* sorted */
	int			nparts;
	int			last;			/* index of the last row's part */
	DgBlocks	blocks;
	int			range;			/* being read */
	Snapshot	snapshot;
	TableScanDesc scan;			/* of that range */
	TupleTableSlot *slot;
};

static int
compare_parts(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return (x > y) - (x < y);
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

/*
 * Begins to read parts of a deletion. lockmode is ROW EXCLUSIVE for rows that
 * will be removed, else ACCESS SHARE; it is held until the end of the
 * transaction.
 */
DgBinScan *
dg_bin_scan_begin(Oid bin_table, LOCKMODE lockmode, int64 deletion,
				  const int32 *parts, int nparts)
{
	DgBinScan  *scan = palloc0(sizeof(DgBinScan));

	scan->rel = open_bin(bin_table, lockmode);
	scan->deletion = deletion;
	scan->nparts = nparts;
	scan->parts = palloc(sizeof(int32) * nparts);
	memcpy(scan->parts, parts, sizeof(int32) * nparts);
	qsort(scan->parts, nparts, sizeof(int32), compare_parts);
	scan->blocks = dg_bin_blocks_of_parts(scan->rel, deletion, scan->parts, nparts, dg_bin_moved_part);
	scan->snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan->slot = table_slot_create(scan->rel, NULL);
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
	int32		part;
	int32	   *found;

	slot_getsomeattrs(scan->slot, DG_BIN_COLUMNS);
	if (DatumGetInt64(scan->slot->tts_values[Anum_bin_deletion - 1]) != scan->deletion)
		return false;
	part = DatumGetInt32(scan->slot->tts_values[Anum_bin_part - 1]);
	if (scan->parts[scan->last] == part)
		return true;
	found = bsearch(&part, scan->parts, scan->nparts, sizeof(int32), compare_parts);
	if (found == NULL)
		return false;
	scan->last = found - scan->parts;
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
int32
dg_bin_scan_part(DgBinScan *scan)
{
	return scan->parts[scan->last];
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
 * Removes every row of some parts of a deletion, for good, after showing it to
 * the callback. The caller has settled that it may.
 */
void
dg_bin_purge_parts(Oid bin_table, int64 deletion, const int32 *parts, int nparts,
				   DgBinRowCallback callback, void *arg)
{
	DgBinScan  *scan = dg_bin_scan_begin(bin_table, RowExclusiveLock, deletion, parts, nparts);
	TupleTableSlot *slot;

	while ((slot = dg_bin_scan_next(scan)) != NULL)
	{
		callback(slot, dg_bin_scan_part(scan), arg);
		dg_bin_scan_delete(scan);
	}
	dg_bin_scan_end(scan);
}
