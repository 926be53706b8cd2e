/*
 * bin_writer.c
 *		Puts captured rows into a bin table, in batches.
 *
 * This is the hot path of every guarded DELETE. A bin row is the guarded
 * table's row behind 16 bytes of the bin's own: the columns keep their
 * alignment, so where all columns of the row are in the bin, in order, the
 * row's data is copied as it is, without being taken apart ("spliced"). Rows
 * that cannot be (dropped columns, columns added since the row was stored) are
 * formed anew. Out-of-line values are fetched and stored again by the heap's
 * own toaster, in the bin's TOAST table.
 *
 * A bin table has no index. Where the rows of a part are is noted here, block
 * by block, and kept with the part (bin_blocks.c).
 *
 * Large deletions go through a ring of buffers, as COPY does, so as not to
 * push the application's pages out of the cache; smaller ones leave their
 * pages there, which is faster.
 *
 * Lives in one call of a trigger: memory is the caller's, locks last until the
 * end of the transaction.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/heapam.h"
#include "access/hio.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/freespace.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "bin/bin_internal.h"

/* the limits that COPY has for its batches */
#define BATCH_ROWS		1000
#define BATCH_BYTES		65536

/* a deletion that has written an eighth of the buffers goes on in a ring of them */
#define RING_BYTES		((int64) NBuffers / 8 * BLCKSZ)

/* the bin's own columns in a row: deletion, part, row */
#define OWN_BYTES		(sizeof(int64) + 2 * sizeof(int32))

struct DgBinWriter
{
	DgBinPlan  *plan;
	int64		deletion;
	Relation	rel;
	BulkInsertState bistate;
	int			options;		/* of the insertions */
	DgExtension *extension;		/* NULL: the server makes room for rows */
	CommandId	cid;
	int64		written;		/* bytes */
	Size		bytes;			/* in the batch */
	int			nslots;			/* in the batch */
	int			nslots_made;
	int			size;			/* of the arrays; most deletions are of one
								 * row */
	TupleTableSlot **slots;
	DgBlocks  **blocks;
	MemoryContext batch_context;	/* what inserting a batch leaves behind */
	Datum	   *values;			/* work space of one row */
	bool	   *nulls;
};

/*
 * Opens the plan's bin table; NULL if it has been dropped since the plan was
 * made, or is not what it was.
 */
DgBinWriter *
dg_bin_writer_begin(DgBinPlan *plan, int64 deletion)
{
	Relation	rel = try_table_open(plan->bin_table, RowExclusiveLock);
	DgBinWriter *writer;

	if (rel == NULL)
		return NULL;
	if (!dg_bin_is_sound(rel))
	{
		table_close(rel, NoLock);
		return NULL;
	}
	writer = palloc0(sizeof(DgBinWriter));
	writer->plan = plan;
	writer->deletion = deletion;
	writer->rel = rel;
	writer->batch_context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard batch",
												  ALLOCSET_SMALL_SIZES);
	writer->cid = GetCurrentCommandId(true);
	return writer;
}

/* ----------------------------------------------------------------------
 * Forming a bin row
 * ----------------------------------------------------------------------
 */

/*
 * The row as one piece of header and data, if the slot has it like that; else
 * NULL, and the row must be taken apart.
 */
static HeapTupleHeader
stored_tuple(TupleTableSlot *slot, uint32 *len)
{
	HeapTuple	tuple;

	if (TTS_IS_MINIMALTUPLE(slot))
		tuple = ((MinimalTupleTableSlot *) slot)->tuple;
	else if (TTS_IS_HEAPTUPLE(slot) || TTS_IS_BUFFERTUPLE(slot))
		tuple = ((HeapTupleTableSlot *) slot)->tuple;
	else
		tuple = NULL;
	if (tuple == NULL)
		return NULL;
	*len = tuple->t_len;
	return tuple->t_data;
}

/*
 * Copies a row's null bitmap (bit set: not null), shifted to leave the first
 * bits to the bin's own columns, which are never null.
 */
static void
shift_null_bitmap(uint8 *to, const uint8 *from, int natts)
{
	int			bytes = BITMAPLEN(natts + DG_BIN_COLUMNS);
	int			carry = (1 << DG_BIN_COLUMNS) - 1;

	for (int i = 0; i < bytes; i++)
	{
		int			bits = i < BITMAPLEN(natts) ? from[i] : 0;

		to[i] = (uint8) ((bits << DG_BIN_COLUMNS) | carry);
		carry = bits >> (8 - DG_BIN_COLUMNS);
	}
}

static HeapTuple
splice_row(DgBinWriter *writer, HeapTupleHeader row, uint32 len, int32 part, int32 rowno)
{
	int			natts = writer->plan->nattrs;
	bool		hasnull = (row->t_infomask & HEAP_HASNULL) != 0;
	Size		data_len = len - row->t_hoff;
	Size		hoff = SizeofHeapTupleHeader;
	HeapTuple	tuple;
	HeapTupleHeader td;
	char	   *data;

	StaticAssertStmt(OWN_BYTES == MAXALIGN(OWN_BYTES),
					 "the bin's own columns keep the alignment of those behind them");

	if (hasnull)
		hoff += BITMAPLEN(natts + DG_BIN_COLUMNS);
	hoff = MAXALIGN(hoff);

	tuple = palloc(HEAPTUPLESIZE + hoff + OWN_BYTES + data_len);
	memset(tuple, 0, HEAPTUPLESIZE + hoff);
	tuple->t_data = td = (HeapTupleHeader) ((char *) tuple + HEAPTUPLESIZE);
	tuple->t_len = hoff + OWN_BYTES + data_len;
	ItemPointerSetInvalid(&tuple->t_self);
	tuple->t_tableOid = RelationGetRelid(writer->rel);

	HeapTupleHeaderSetNatts(td, natts + DG_BIN_COLUMNS);
	td->t_hoff = hoff;
	td->t_infomask = row->t_infomask & (HEAP_HASNULL | HEAP_HASVARWIDTH | HEAP_HASEXTERNAL);
	ItemPointerSetInvalid(&td->t_ctid);
	if (hasnull)
		shift_null_bitmap(td->t_bits, row->t_bits, natts);

	data = (char *) td + hoff;
	memcpy(data, &writer->deletion, sizeof(int64));
	memcpy(data + sizeof(int64), &part, sizeof(int32));
	memcpy(data + sizeof(int64) + sizeof(int32), &rowno, sizeof(int32));
	memcpy(data + OWN_BYTES, (char *) row + row->t_hoff, data_len);
	return tuple;
}

static HeapTuple
form_row(DgBinWriter *writer, TupleTableSlot *slot, int32 part, int32 rowno)
{
	DgBinPlan  *plan = writer->plan;

	if (writer->values == NULL)
	{
		writer->values = palloc(sizeof(Datum) * (plan->nattrs + DG_BIN_COLUMNS));
		writer->nulls = palloc0(sizeof(bool) * (plan->nattrs + DG_BIN_COLUMNS));
	}
	slot_getallattrs(slot);
	writer->values[Anum_bin_deletion - 1] = Int64GetDatum(writer->deletion);
	writer->values[Anum_bin_part - 1] = Int32GetDatum(part);
	writer->values[Anum_bin_row - 1] = Int32GetDatum(rowno);
	for (int i = 0; i < plan->nattrs; i++)
	{
		writer->values[DG_BIN_COLUMNS + i] = slot->tts_values[plan->source[i] - 1];
		writer->nulls[DG_BIN_COLUMNS + i] = slot->tts_isnull[plan->source[i] - 1];
	}
	return heap_form_tuple(RelationGetDescr(writer->rel), writer->values, writer->nulls);
}

/*
 * How many bytes the toaster can take off a row at most: of values that are larger
 * than what points to one stored out of line.
 */
static Size
movable_bytes(TupleDesc desc, HeapTuple tuple)
{
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);
	Size		movable = 0;

	heap_deform_tuple(tuple, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attlen == -1 && att->attstorage != TYPSTORAGE_PLAIN && !nulls[i] &&
			VARSIZE_ANY(DatumGetPointer(values[i])) > MAXALIGN(TOAST_POINTER_SIZE))
			movable += VARSIZE_ANY(DatumGetPointer(values[i])) - TOAST_POINTER_SIZE;
	}
	pfree(values);
	pfree(nulls);
	return movable;
}

/*
 * A row that fills a page cannot go into the bin, where it is 16 bytes longer,
 * unless enough of it can be stored out of line. Then it is not deleted either.
 */
static void
check_fits(DgBinWriter *writer, HeapTuple tuple)
{
	if (tuple->t_len <= MaxHeapTupleSize ||
		tuple->t_len - movable_bytes(RelationGetDescr(writer->rel), tuple) <= MaxHeapTupleSize)
		return;
	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_CAPTURE),
			 errmsg("cannot keep a deleted row: with the bin's own columns it has %u bytes, a page takes %zu",
					tuple->t_len, (Size) MaxHeapTupleSize),
			 errdetail("It would be a row of \"%s\", of which too little can be stored out of line.",
					   RelationGetRelationName(writer->rel)),
			 errhint("Change a column of the table to a type that takes less space, or give up its protection with deletion_guard.unguard_table().")));
}

/* ----------------------------------------------------------------------
 * Batches
 * ----------------------------------------------------------------------
 */

/*
 * Until rows leave a bin, and again once others have taken their place, all its
 * free space is at the end. Then there is no use in asking the free space map
 * before each page, and a page that has less than a quarter free is not worth it.
 */
static int
insert_options(Relation rel)
{
	return GetPageWithFreeSpace(rel, BLCKSZ / 4) == InvalidBlockNumber ? TABLE_INSERT_SKIP_FSM : 0;
}

/*
 * Makes ready for a batch of several rows: the page that takes them stays pinned
 * from batch to batch, and pages come from a ring once many have been written.
 */
static void
prepare_bulk_insert(DgBinWriter *writer)
{
	if (writer->bistate == NULL)
	{
		writer->bistate = GetBulkInsertState();
		FreeAccessStrategy(writer->bistate->strategy);
		writer->bistate->strategy = NULL;
	}
	if (writer->bistate->strategy == NULL && writer->written > RING_BYTES)
		writer->bistate->strategy = GetAccessStrategy(BAS_BULKWRITE);
	if (writer->options == 0)
	{
		writer->options = insert_options(writer->rel);
		if (writer->options != 0)
			writer->extension = dg_bin_extension_begin(writer->rel);
	}
}

/*
 * How many bytes are left on the page that takes rows now. Read without a lock:
 * if others put rows on it meanwhile, the server finds another page.
 */
static Size
space_left(BulkInsertState bistate)
{
	Page		page;

	if (bistate->current_buf == InvalidBuffer)
		return 0;
	page = BufferGetPage(bistate->current_buf);
	return PageIsNew(page) ? BLCKSZ - SizeOfPageHeaderData : PageGetExactFreeSpace(page);
}

/*
 * How many rows of the batch, from "first" on, to insert together: as many as
 * fit on the present page, or on one of the pages made in advance. If there is
 * none of these, all of them: the server finds their pages.
 */
static int
rows_of_page(DgBinWriter *writer, int first)
{
	Size		space = space_left(writer->bistate);
	int			n = 0;

	for (; first + n < writer->nslots; n++)
	{
		HeapTuple	tuple = ((HeapTupleTableSlot *) writer->slots[first + n])->tuple;
		Size		needed = MAXALIGN(tuple->t_len) + sizeof(ItemIdData);

		if (needed > space && n == 0)
		{
			Buffer		page = dg_bin_extension_next_page(writer->extension, writer->written,
														  writer->bistate->strategy);

			if (page == InvalidBuffer)
				return writer->nslots - first;
			if (writer->bistate->current_buf != InvalidBuffer)
				ReleaseBuffer(writer->bistate->current_buf);
			writer->bistate->current_buf = page;
			space = space_left(writer->bistate);
		}
		else if (needed > space)
			break;
		space -= Min(needed, space);
	}
	return n;
}

static void
insert_batch(DgBinWriter *writer)
{
	int			n;

	for (int done = 0; done < writer->nslots; done += n)
	{
		n = writer->extension != NULL ? rows_of_page(writer, done) : writer->nslots;
		table_multi_insert(writer->rel, writer->slots + done, n, writer->cid,
						   writer->options, writer->bistate);
	}
}

static void
flush_batch(DgBinWriter *writer)
{
	MemoryContext old;

	if (writer->nslots == 0)
		return;
	if (writer->nslots > 1)
		prepare_bulk_insert(writer);
	old = MemoryContextSwitchTo(writer->batch_context);
	if (writer->nslots == 1)
		table_tuple_insert(writer->rel, writer->slots[0], writer->cid, 0, writer->bistate);
	else
		insert_batch(writer);
	MemoryContextSwitchTo(old);
	MemoryContextReset(writer->batch_context);

	for (int i = 0; i < writer->nslots; i++)
	{
		dg_bin_blocks_add(writer->blocks[i], ItemPointerGetBlockNumber(&writer->slots[i]->tts_tid));
		ExecClearTuple(writer->slots[i]);
	}
	writer->nslots = 0;
	writer->written += writer->bytes;
	writer->bytes = 0;
}

/*
 * The slot that the batch's next row goes to.
 */
static TupleTableSlot *
next_slot(DgBinWriter *writer)
{
	if (writer->nslots == writer->size)
	{
		writer->size = writer->size == 0 ? 1 : BATCH_ROWS;
		writer->slots = writer->slots == NULL ? palloc(sizeof(TupleTableSlot *)) :
			repalloc(writer->slots, sizeof(TupleTableSlot *) * BATCH_ROWS);
		writer->blocks = writer->blocks == NULL ? palloc(sizeof(DgBlocks *)) :
			repalloc(writer->blocks, sizeof(DgBlocks *) * BATCH_ROWS);
	}
	if (writer->nslots == writer->nslots_made)
		writer->slots[writer->nslots_made++] =
			MakeSingleTupleTableSlot(RelationGetDescr(writer->rel), &TTSOpsHeapTuple);
	return writer->slots[writer->nslots++];
}

/*
 * Adds one row, which has the shape that the plan was made for. Where it goes
 * is added to blocks, not necessarily at once.
 */
void
dg_bin_writer_put(DgBinWriter *writer, TupleTableSlot *slot, int32 part, int32 row,
				  DgBlocks *blocks)
{
	HeapTupleHeader stored;
	uint32		len = 0;
	HeapTuple	tuple;

	stored = writer->plan->spliced ? stored_tuple(slot, &len) : NULL;
	if (stored != NULL && HeapTupleHeaderGetNatts(stored) == writer->plan->nattrs)
		tuple = splice_row(writer, stored, len, part, row);
	else
		tuple = form_row(writer, slot, part, row);
	check_fits(writer, tuple);

	ExecStoreHeapTuple(tuple, next_slot(writer), true);
	writer->blocks[writer->nslots - 1] = blocks;
	writer->bytes += tuple->t_len;
	if (writer->nslots == BATCH_ROWS || writer->bytes >= BATCH_BYTES)
		flush_batch(writer);
}

/*
 * The number of the bin table's file, which the noted blocks are in.
 */
Oid
dg_bin_writer_file(DgBinWriter *writer)
{
	return DG_RELFILENUMBER(writer->rel);
}

/*
 * Writes what is left and frees the writer. Locks are kept.
 */
void
dg_bin_writer_end(DgBinWriter *writer)
{
	flush_batch(writer);
	for (int i = 0; i < writer->nslots_made; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	if (writer->extension != NULL)
		dg_bin_extension_end(writer->extension);
	if (writer->bistate != NULL)
		FreeBulkInsertState(writer->bistate);
	MemoryContextDelete(writer->batch_context);
	table_close(writer->rel, NoLock);
	pfree(writer);
}
