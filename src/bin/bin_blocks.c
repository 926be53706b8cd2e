/*
 * bin_blocks.c
 *		Where in a bin table the rows of a part are.
 *
 * A bin table has no index. Its rows are written once, in batches, and stay
 * where they are until they leave: they are never updated, and VACUUM does not
 * move rows. So the ranges of blocks that a part was written to are all it
 * takes to find it again, at no cost for each row. Ranges are a hint: the
 * reader looks at every row's deletion and part, and knows how many rows there
 * must be.
 *
 * What does move rows (VACUUM FULL, CLUSTER, pg_repack, dump and restore)
 * gives the table another file. The file's number is kept with the ranges;
 * where it differs, the rows are looked for (bin_moved.c). Another database may
 * use the same number for a file of its own, so a part that is restored from a
 * dump loses both.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "bin/bin_internal.h"
#include "common/own_tables.h"
#include "common/varint.h"

static const DgBlocks no_blocks = {0};

/* reading this many blocks in vain is cheaper than another range */
#define MAX_GAP 16

static void
add_range(DgBlocks *blocks, BlockNumber first, BlockNumber last)
{
	if (blocks->nranges == blocks->size)
	{
		blocks->size = blocks->size == 0 ? 1 : blocks->size * 2;
		blocks->ranges = blocks->ranges == NULL ?
			MemoryContextAlloc(blocks->context, sizeof(*blocks->ranges) * blocks->size) :
			repalloc(blocks->ranges, sizeof(*blocks->ranges) * blocks->size);
	}
	blocks->ranges[blocks->nranges].first = first;
	blocks->ranges[blocks->nranges++].last = last;
}

/*
 * Adds a block. Blocks come in ascending order, but for jumps.
 */
void
dg_bin_blocks_add(DgBlocks *blocks, BlockNumber block)
{
	if (blocks->nranges > 0)
	{
		BlockNumber last = blocks->ranges[blocks->nranges - 1].last;

		if (block >= blocks->ranges[blocks->nranges - 1].first && block <= last)
			return;
		if (block > last && block - last <= MAX_GAP)
		{
			blocks->ranges[blocks->nranges - 1].last = block;
			return;
		}
	}
	add_range(blocks, block, block);
}

/* ----------------------------------------------------------------------
 * As they are kept
 *
 * A large deletion of many tenants has a range for nearly every row. Written as
 * a distance from the one before, most of them take one byte (varint.h). A range
 * begins with the distance of its first block from the last of the range before,
 * folded; that doubled, plus one if the range has several blocks. Then follows
 * how many blocks the last one is behind the first.
 * ----------------------------------------------------------------------
 */

/*
 * The ranges as they are kept, palloc'd.
 */
bytea *
dg_bin_blocks_pack(const DgBlocks *blocks)
{
	bytea	   *packed = palloc(VARHDRSZ + 2 * DG_VARINT_MAX * blocks->nranges);
	uint8	   *p = (uint8 *) VARDATA(packed);
	int64		before = 0;

	for (int i = 0; i < blocks->nranges; i++)
	{
		int64		first = blocks->ranges[i].first;
		int64		last = blocks->ranges[i].last;

		p = dg_varint_put(p, dg_varint_fold(first - before) * 2 + (last > first));
		if (last > first)
			p = dg_varint_put(p, last - first);
		before = last;
	}
	SET_VARSIZE(packed, (char *) p - (char *) packed);
	return packed;
}

static uint64
get_packed_number(const uint8 **p, const uint8 *end)
{
	uint64		number;

	if (!dg_varint_get(p, end, &number))
		elog(ERROR, "malformed block ranges of a part");
	return number;
}

static void
unpack_ranges(DgBlocks *blocks, bytea *packed)
{
	const uint8 *p = (const uint8 *) VARDATA_ANY(packed);
	const uint8 *end = p + VARSIZE_ANY_EXHDR(packed);
	int64		last = 0;

	while (p < end)
	{
		uint64		number = get_packed_number(&p, end);
		int64		first = last + dg_varint_unfold(number / 2);

		last = first;
		if (number % 2 != 0)
			last += (int64) get_packed_number(&p, end);
		if (first < 0 || last < first || last > MaxBlockNumber)
			elog(ERROR, "malformed block ranges of a part");
		add_range(blocks, (BlockNumber) first, (BlockNumber) last);
	}
}

/*
 * A row of deletion_part as it comes from a dump, without the place that its
 * rows had in another database.
 */
HeapTuple
dg_bin_blocks_forget(HeapTuple part, TupleDesc desc)
{
	int			columns[] = {Anum_deletion_part_filenode, Anum_deletion_part_blocks};
	Datum		values[] = {ObjectIdGetDatum(InvalidOid), PointerGetDatum(dg_bin_blocks_pack(&no_blocks))};
	bool		nulls[lengthof(columns)] = {0};

	return heap_modify_tuple_by_cols(part, desc, lengthof(columns), columns, values, nulls);
}

/* ----------------------------------------------------------------------
 * Reading them
 * ----------------------------------------------------------------------
 */

static int
compare_ranges(const void *a, const void *b)
{
	BlockNumber x = *(const BlockNumber *) a;
	BlockNumber y = *(const BlockNumber *) b;

	return (x > y) - (x < y);
}

/*
 * Puts ranges in ascending order and joins those that overlap or nearly touch.
 */
static void
merge_ranges(DgBlocks *blocks)
{
	int			n = 0;

	if (blocks->nranges == 0)
		return;
	qsort(blocks->ranges, blocks->nranges, sizeof(*blocks->ranges), compare_ranges);
	for (int i = 1; i < blocks->nranges; i++)
	{
		if (blocks->ranges[i].first <= blocks->ranges[n].last ||
			blocks->ranges[i].first - blocks->ranges[n].last <= MAX_GAP)
			blocks->ranges[n].last = Max(blocks->ranges[n].last, blocks->ranges[i].last);
		else
			blocks->ranges[++n] = blocks->ranges[i];
	}
	blocks->nranges = n + 1;
}

/*
 * Begins to look for a part in its open registry; the caller ends the scan.
 */
HeapTuple
dg_bin_part_scan(Relation registry, Snapshot snapshot, int64 deletion, int32 part, SysScanDesc *scan)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], Anum_deletion_part_deletion_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(deletion));
	ScanKeyInit(&keys[1], Anum_deletion_part_part, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(part));
	*scan = systable_beginscan(registry, dg_objects()->deletion_part_pkey, true, snapshot, 2, keys);
	return systable_getnext(*scan);
}

/*
 * Adds the ranges of one part as they were written down; false if they are of
 * another file.
 */
static bool
read_part_ranges(Relation bin, Relation registry, Snapshot snapshot, int64 deletion, int32 part,
				 DgBlocks *blocks)
{
	TupleDesc	desc = RelationGetDescr(registry);
	SysScanDesc scan;
	HeapTuple	tuple = dg_bin_part_scan(registry, snapshot, deletion, part, &scan);
	bool		current = false;
	bool		isnull;

	if (HeapTupleIsValid(tuple))
	{
		current = DatumGetObjectId(heap_getattr(tuple, Anum_deletion_part_filenode, desc, &isnull)) ==
			DG_RELFILENUMBER(bin);
		if (current)
			unpack_ranges(blocks, DatumGetByteaPP(heap_getattr(tuple, Anum_deletion_part_blocks, desc, &isnull)));
	}
	systable_endscan(scan);
	return current;
}

/*
 * Where the rows of some parts are in an open bin table, in ascending order. What
 * has moved is asked of find_moved.
 */
DgBlocks
dg_bin_blocks_of_parts(Relation bin, const DgPartId *parts, int nparts, DgMovedPart find_moved)
{
	DgBlocks	blocks = {.context = CurrentMemoryContext};
	Relation	registry = dg_own_open(dg_objects()->deletion_part, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	for (int i = 0; i < nparts; i++)
	{
		const DgBlocks *moved;

		if (read_part_ranges(bin, registry, snapshot, parts[i].deletion, parts[i].part, &blocks))
			continue;
		moved = find_moved(bin, parts[i].deletion, parts[i].part);
		for (int j = 0; moved != NULL && j < moved->nranges; j++)
			add_range(&blocks, moved->ranges[j].first, moved->ranges[j].last);
	}
	UnregisterSnapshot(snapshot);
	table_close(registry, AccessShareLock);
	merge_ranges(&blocks);
	return blocks;
}

/*
 * The same, of parts as their records place them, of which one may be anywhere in
 * the table if it has got another file.
 */
DgBlocks
dg_bin_blocks_of_placed(Relation bin, const DgPlacedPart *parts, int64 nparts)
{
	DgBlocks	blocks = {.context = CurrentMemoryContext};
	BlockNumber nblocks = RelationGetNumberOfBlocks(bin);

	for (int64 i = 0; i < nparts; i++)
	{
		if (parts[i].filenode == DG_RELFILENUMBER(bin))
			unpack_ranges(&blocks, parts[i].blocks);
		else if (nblocks > 0)
		{
			blocks.nranges = 0;
			add_range(&blocks, 0, nblocks - 1);
			break;
		}
	}
	merge_ranges(&blocks);
	return blocks;
}
