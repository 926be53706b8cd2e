/*
 * rows_batch.c
 *		Rows on their way into one table, written many at a time.
 *
 * A batch belongs to one table that stores rows: a target, or a partition of
 * it. Its rows are checked already. What follows a row into the table, its
 * index entries and its triggers, comes once the whole batch is in the heap.
 *
 * Until then no index knows of them, so the batch itself tells whether it may
 * hold the key of another row (rows_pending.c).
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "rows/rows_internal.h"

/* the limits that COPY has for its batches */
#define BATCH_ROWS		1000
#define BATCH_BYTES		65536

struct DgRowsBatch
{
	ResultRelInfo *rri;
	EState	   *estate;
	const DgRowsRole *role;		/* as whom the table's code runs */
	DgRowsPending *pending;		/* keys of the rows; NULL: no unique key */
	DgRowsRechecks *rechecks;
	DgRowsAfter *after;			/* NULL: no triggers fire at the end */
	BulkInsertState bistate;
	int			nrows;
	int			nslots;			/* that were made */
	Size		bytes;
	TupleTableSlot *slots[BATCH_ROWS];
	int			tags[BATCH_ROWS];
};

/*
 * An empty batch for an open table, in the current memory context. arbiters are
 * the indexes that conflicts are looked for in. What is passed must outlive the
 * batch.
 */
DgRowsBatch *
dg_rows_batch_make(ResultRelInfo *rri, EState *estate, const DgRowsRole *role, List *arbiters,
				   DgRowsRechecks *rechecks, DgRowsAfter *after)
{
	DgRowsBatch *batch = palloc0(sizeof(DgRowsBatch));

	batch->rri = rri;
	batch->estate = estate;
	batch->role = role;
	batch->pending = dg_rows_pending_make(arbiters);
	batch->rechecks = rechecks;
	batch->after = after;
	return batch;
}

/*
 * The slot for the batch's next row. The row is not part of the batch before
 * dg_rows_batch_add().
 */
TupleTableSlot *
dg_rows_batch_slot(DgRowsBatch *batch)
{
	if (batch->nrows == batch->nslots)
	{
		MemoryContext old = MemoryContextSwitchTo(batch->estate->es_query_cxt);

		batch->slots[batch->nslots++] = table_slot_create(batch->rri->ri_RelationDesc, NULL);
		MemoryContextSwitchTo(old);
	}
	return batch->slots[batch->nrows];
}

/*
 * Takes note of the keys of the row in the next slot. True if another row of the
 * batch seems to have one of them.
 */
bool
dg_rows_batch_has_key(DgRowsBatch *batch)
{
	return batch->pending != NULL &&
		dg_rows_pending_add(batch->pending, batch->rri, batch->estate, dg_rows_batch_slot(batch));
}

/*
 * Adds the row in the next slot.
 */
void
dg_rows_batch_add(DgRowsBatch *batch, int tag)
{
	bool		should_free;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(batch->slots[batch->nrows], true, &should_free);

	batch->tags[batch->nrows++] = tag;
	batch->bytes += tuple->t_len;
}

/*
 * Must the batch be written before another row is put?
 */
bool
dg_rows_batch_is_full(const DgRowsBatch *batch)
{
	return batch->nrows == BATCH_ROWS || batch->bytes >= BATCH_BYTES;
}

/*
 * Writes the rows, empties the batch and returns how many it had. Unless verify is NULL, each is read
 * back through the slot, which is one of the table.
 */
int
dg_rows_batch_write(DgRowsBatch *batch, DgRowsVerify *verify, TupleTableSlot *slot)
{
	EState	   *estate = batch->estate;
	ResultRelInfo *rri = batch->rri;
	MemoryContext old;
	int			nrows = batch->nrows;

	if (batch->pending != NULL)
		dg_rows_pending_reset(batch->pending);
	if (nrows == 0)
		return 0;
	old = MemoryContextSwitchTo(estate->es_query_cxt);
	if (batch->bistate == NULL && nrows > 1)
		batch->bistate = GetBulkInsertState();

	MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
	table_multi_insert(rri->ri_RelationDesc, batch->slots, nrows,
					   GetCurrentCommandId(true), 0, batch->bistate);
	MemoryContextSwitchTo(old);

	dg_rows_as_owner(batch->role);
	for (int i = 0; i < nrows; i++)
	{
		List	   *recheck = NIL;

		if (rri->ri_NumIndices > 0)
			recheck = dg_exec_insert_index_tuples(rri, batch->slots[i], estate);
		if (recheck != NIL)
			recheck = dg_rows_rechecks_note(batch->rechecks, rri, batch->role, recheck, &batch->slots[i]->tts_tid);
		if (rri->ri_TrigDesc != NULL)
			ExecARInsertTriggers(estate, rri, batch->slots[i], recheck, NULL);
		list_free(recheck);
		if (batch->after != NULL)
			dg_rows_after_note(batch->after, &batch->slots[i]->tts_tid);
		if (verify != NULL)
			dg_rows_verify_read(verify, rri->ri_RelationDesc, &batch->slots[i]->tts_tid, slot, batch->tags[i]);
		ExecClearTuple(batch->slots[i]);
		ResetPerTupleExprContext(estate);
	}
	dg_rows_as_caller(batch->role);
	batch->nrows = 0;
	batch->bytes = 0;
	return nrows;
}

/*
 * Lets go of what an empty batch holds outside of its memory.
 */
void
dg_rows_batch_end(DgRowsBatch *batch)
{
	for (int i = 0; i < batch->nslots; i++)
		ExecDropSingleTupleTableSlot(batch->slots[i]);
	if (batch->bistate != NULL)
		FreeBulkInsertState(batch->bistate);
}
