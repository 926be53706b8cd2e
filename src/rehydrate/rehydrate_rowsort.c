/*
 * rehydrate_rowsort.c
 *		Rows as two hashes, one of the key and one of the content, in a sort
 *		that spills to disk.
 *
 * They come out by tenant, key and content, so that two sorts can be merged.
 */
#include "postgres.h"

#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "utils/tuplesort.h"

#include "rehydrate/rehydrate_internal.h"

/* A row as a tuple. */
#define Anum_tenant		1
#define Anum_key		2
#define Anum_content	3
#define Anum_purged		4
#define Natts_row		4

struct DgRowSort
{
	Tuplesortstate *state;
	TupleDesc	desc;
	TupleTableSlot *in;
	TupleTableSlot *out;
};

/*
 * Begins a sort, in the current memory context; memory is in kilobytes.
 */
DgRowSort *
dg_rowsort_begin(int memory)
{
	AttrNumber	attnums[] = {Anum_tenant, Anum_key, Anum_content};
	Oid			operators[] = {Int4LessOperator, Int8LessOperator, Int8LessOperator};
	Oid			collations[] = {InvalidOid, InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false, false};
	DgRowSort  *sort = palloc(sizeof(DgRowSort));

	sort->desc = CreateTemplateTupleDesc(Natts_row);
	TupleDescInitEntry(sort->desc, Anum_tenant, "tenant", INT4OID, -1, 0);
	TupleDescInitEntry(sort->desc, Anum_key, "key", INT8OID, -1, 0);
	TupleDescInitEntry(sort->desc, Anum_content, "content", INT8OID, -1, 0);
	TupleDescInitEntry(sort->desc, Anum_purged, "purged", BOOLOID, -1, 0);
	dg_tupdesc_finalize(sort->desc);
	sort->in = MakeSingleTupleTableSlot(sort->desc, &TTSOpsVirtual);
	sort->out = MakeSingleTupleTableSlot(sort->desc, &TTSOpsMinimalTuple);
	sort->state = tuplesort_begin_heap(sort->desc, lengthof(attnums), attnums, operators, collations,
									   nulls_first, memory, NULL, TUPLESORT_NONE);
	return sort;
}

void
dg_rowsort_put(DgRowSort *sort, const DgHashedRow *row)
{
	TupleTableSlot *slot = sort->in;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, Natts_row * sizeof(bool));
	slot->tts_values[Anum_tenant - 1] = Int32GetDatum(row->tenant);
	slot->tts_values[Anum_key - 1] = Int64GetDatum(row->key);
	slot->tts_values[Anum_content - 1] = Int64GetDatum(row->content);
	slot->tts_values[Anum_purged - 1] = BoolGetDatum(row->purged);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(sort->state, slot);
}

/*
 * All rows were put.
 */
void
dg_rowsort_perform(DgRowSort *sort)
{
	tuplesort_performsort(sort->state);
}

/*
 * Gets the next row; false at the end.
 */
bool
dg_rowsort_next(DgRowSort *sort, DgHashedRow *row)
{
	TupleTableSlot *slot = sort->out;

	if (!tuplesort_gettupleslot(sort->state, true, false, slot, NULL))
		return false;
	slot_getallattrs(slot);
	row->tenant = DatumGetInt32(slot->tts_values[Anum_tenant - 1]);
	row->key = DatumGetInt64(slot->tts_values[Anum_key - 1]);
	row->content = DatumGetInt64(slot->tts_values[Anum_content - 1]);
	row->purged = DatumGetBool(slot->tts_values[Anum_purged - 1]);
	return true;
}

void
dg_rowsort_end(DgRowSort *sort)
{
	ExecDropSingleTupleTableSlot(sort->out);
	ExecDropSingleTupleTableSlot(sort->in);
	tuplesort_end(sort->state);
	pfree(sort);
}

/*
 * The order of two rows, by tenant and key.
 */
int
dg_rowsort_compare(const DgHashedRow *a, const DgHashedRow *b)
{
	if (a->tenant != b->tenant)
		return a->tenant < b->tenant ? -1 : 1;
	return a->key < b->key ? -1 : a->key > b->key;
}
