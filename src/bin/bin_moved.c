/*
 * bin_moved.c
 *		Finding rows of the bin again that have moved to another file.
 *
 * The first to miss rows in a bin table reads it all, and keeps to the end of its
 * transaction where the rows of every part are. Then, as it commits, it writes
 * that down for those parts that nobody else is at, so that others need not read
 * the table.
 *
 * Not before: a transaction that writes a part's record keeps others from it
 * until its end, and the parts are those of all tenants. Undeletes that met in
 * two bins waited for each other. Now no record of another tenant's part is
 * locked while there is anything left to wait for. A transaction that is
 * prepared writes nothing.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "bin/bin_internal.h"
#include "common/own_tables.h"

typedef struct PartKey
{
	int64		deletion;
	int64		part;			/* wide, so that there is no padding */
} PartKey;

typedef struct FoundPart
{
	PartKey		key;
	DgBlocks	blocks;
} FoundPart;

/* A bin table that was read in this transaction. */
typedef struct MovedBin
{
	Oid			relid;
	Oid			filenode;		/* when it was read */
	HTAB	   *parts;
} MovedBin;

static List *moved = NIL;		/* of MovedBin */
static MemoryContext moved_context = NULL;	/* in TopTransactionContext */

static HTAB *
find_parts(Relation bin)
{
	HASHCTL		ctl = {.keysize = sizeof(PartKey),.entrysize = sizeof(FoundPart),
	.hcxt = moved_context};
	HTAB	   *found = hash_create("deletion_guard parts", 1024, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = dg_table_beginscan(bin, snapshot);
	TupleTableSlot *slot = table_slot_create(bin, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		PartKey		key;
		FoundPart  *part;
		bool		known;

		CHECK_FOR_INTERRUPTS();
		slot_getsomeattrs(slot, DG_BIN_COLUMNS);
		key.deletion = DatumGetInt64(slot->tts_values[Anum_bin_deletion - 1]);
		key.part = DatumGetInt32(slot->tts_values[Anum_bin_part - 1]);
		part = hash_search(found, &key, HASH_ENTER, &known);
		if (!known)
		{
			memset(&part->blocks, 0, sizeof(DgBlocks));
			part->blocks.context = moved_context;
		}
		dg_bin_blocks_add(&part->blocks, ItemPointerGetBlockNumber(&slot->tts_tid));
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * Reads the bin table, unless this transaction has read the same file before.
 */
static MovedBin *
moved_bin(Relation bin)
{
	MemoryContext old;
	MovedBin   *entry;
	ListCell   *lc;

	foreach(lc, moved)
	{
		entry = lfirst(lc);
		if (entry->relid == RelationGetRelid(bin) && entry->filenode == DG_RELFILENUMBER(bin))
			return entry;
	}
	ereport(DEBUG1,
			(errmsg_internal("looking for the rows of \"%s\" again, its file has changed",
							 RelationGetRelationName(bin))));
	if (moved_context == NULL)
		moved_context = AllocSetContextCreate(TopTransactionContext, "deletion_guard moved rows",
											  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(moved_context);
	entry = palloc(sizeof(MovedBin));
	entry->relid = RelationGetRelid(bin);
	entry->filenode = DG_RELFILENUMBER(bin);
	entry->parts = find_parts(bin);
	moved = lappend(moved, entry);
	MemoryContextSwitchTo(old);
	return entry;
}

/*
 * Where the rows of a part are in an open bin table whose file has changed since
 * that was written down; NULL if it has none left. Valid until the end of the
 * subtransaction.
 */
const DgBlocks *
dg_bin_moved_part(Relation bin, int64 deletion, int32 part)
{
	PartKey		key = {deletion, part};
	FoundPart  *found = hash_search(moved_bin(bin)->parts, &key, HASH_FIND, NULL);

	return found != NULL ? &found->blocks : NULL;
}

/*
 * Locks the record of a part, if nobody else is at it.
 */
static bool
try_lock(Relation registry, HeapTuple tuple)
{
	HeapTupleData locked = {.t_self = tuple->t_self};
	TM_FailureData failure;
	Buffer		buffer;
	TM_Result	result = heap_lock_tuple(registry, &locked, GetCurrentCommandId(true), LockTupleNoKeyExclusive,
										 LockWaitSkip, false, &buffer, &failure);

	ReleaseBuffer(buffer);
	return result == TM_Ok;
}

static void
write_part(Relation registry, Snapshot snapshot, const MovedBin *bin, FoundPart *part)
{
	int			columns[] = {Anum_deletion_part_filenode, Anum_deletion_part_blocks};
	Datum		values[] = {ObjectIdGetDatum(bin->filenode), (Datum) 0};
	bool		nulls[lengthof(columns)] = {0};
	TupleDesc	desc = RelationGetDescr(registry);
	SysScanDesc scan;
	HeapTuple	tuple = dg_bin_part_scan(registry, snapshot, part->key.deletion, (int32) part->key.part, &scan);
	bool		isnull;

	if (HeapTupleIsValid(tuple) &&
		DatumGetObjectId(heap_getattr(tuple, Anum_deletion_part_filenode, desc, &isnull)) != bin->filenode &&
		try_lock(registry, tuple))
	{
		values[1] = PointerGetDatum(dg_bin_blocks_pack(&part->blocks));
		CatalogTupleUpdate(registry, &tuple->t_self,
						   heap_modify_tuple_by_cols(tuple, desc, lengthof(columns), columns, values, nulls));
	}
	systable_endscan(scan);
}

static void
write_moved(void)
{
	Relation	registry = dg_own_open(dg_objects()->deletion_part, RowExclusiveLock);
	Snapshot	snapshot;
	ListCell   *lc;

	snapshot = RegisterSnapshot(GetLatestSnapshot());
	foreach(lc, moved)
	{
		MovedBin   *bin = lfirst(lc);
		HASH_SEQ_STATUS status;
		FoundPart  *part;

		hash_seq_init(&status, bin->parts);
		while ((part = hash_seq_search(&status)) != NULL)
		{
			CHECK_FOR_INTERRUPTS();
			write_part(registry, snapshot, bin, part);
		}
	}
	UnregisterSnapshot(snapshot);
	table_close(registry, NoLock);
}

static void
forget_moved(void)
{
	if (moved_context != NULL)
		MemoryContextDelete(moved_context);
	moved_context = NULL;
	moved = NIL;
}

static void
moved_at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT && moved != NIL)
		write_moved();
	if (event != XACT_EVENT_PRE_PREPARE)
		forget_moved();
}

/*
 * Rows that were taken out of a bin before it was read may be there again.
 */
static void
moved_at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_moved();
}

/*
 * Makes ready, as the library is loaded, to find parts again that were moved.
 */
void
dg_bin_moved_init(void)
{
	RegisterXactCallback(moved_at_xact, NULL);
	RegisterSubXactCallback(moved_at_subxact, NULL);
}
