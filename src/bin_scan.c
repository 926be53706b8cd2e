/*
 * bin_scan.c
 *		Reading rows out of a bin table, by deletion and part, and removing
 *		them.
 *
 * Rows come in the order of the primary key, which is the order in which they
 * were captured. They are read with the latest snapshot: whoever takes rows
 * out of the bin holds the lock of their tenant or deletion, and must see what
 * others left of them before.
 */
#include "bin.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

struct DgBinScan
{
	Relation	rel;
	Relation	index;
	Snapshot	snapshot;
	IndexScanDesc scan;
	TupleTableSlot *slot;
};

/*
 * Begins to read one part of a deletion. lockmode is ROW EXCLUSIVE for rows
 * that will be removed, else ACCESS SHARE; it is held until the end of the
 * transaction.
 */
DgBinScan *
dg_bin_scan_begin(Oid bin_table, LOCKMODE lockmode, int64 deletion, int32 part)
{
	DgBinScan  *scan = palloc0(sizeof(DgBinScan));
	ScanKeyData keys[2];

	scan->rel = table_open(bin_table, lockmode);
	scan->index = index_open(dg_primary_key_index(scan->rel), lockmode);
	scan->snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan->slot = table_slot_create(scan->rel, NULL);

	ScanKeyInit(&keys[0], Anum_bin_deletion, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(deletion));
	ScanKeyInit(&keys[1], Anum_bin_part, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(part));
	scan->scan = dg_index_beginscan(scan->rel, scan->index, scan->snapshot, 2, 0);
	index_rescan(scan->scan, keys, 2, NULL, 0);
	return scan;
}

/*
 * The next row, NULL at the end. It has the bin table's columns, the bin's own
 * three first, and is valid until the next call.
 */
TupleTableSlot *
dg_bin_scan_next(DgBinScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	if (!index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot))
		return NULL;
	return scan->slot;
}

Relation
dg_bin_scan_relation(DgBinScan *scan)
{
	return scan->rel;
}

/*
 * Removes the row that was read last.
 */
void
dg_bin_scan_delete(DgBinScan *scan)
{
	simple_heap_delete(scan->rel, &scan->slot->tts_tid);
}

void
dg_bin_scan_end(DgBinScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	index_close(scan->index, NoLock);
	table_close(scan->rel, NoLock);
	pfree(scan);
}

/*
 * Removes every row of one part, for good, after showing it to the callback
 * (which may be NULL). Returns how many there were. The caller has settled
 * that it may.
 */
int64
dg_bin_purge_part(Oid bin_table, int64 deletion, int32 part,
				  DgBinRowCallback callback, void *arg)
{
	DgBinScan  *scan = dg_bin_scan_begin(bin_table, RowExclusiveLock, deletion, part);
	TupleTableSlot *slot;
	int64		rows = 0;

	while ((slot = dg_bin_scan_next(scan)) != NULL)
	{
		if (callback != NULL)
			callback(slot, arg);
		dg_bin_scan_delete(scan);
		rows++;
	}
	dg_bin_scan_end(scan);
	return rows;
}
