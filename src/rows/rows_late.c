/*
 * rows_late.c
 *		Puts rows aside whose checks look at other rows: they come last.
 *
 * A constraint's function may read a table, a policy may look for a row's parent:
 * what they look at perhaps comes back in the same call. So rows of tables with
 * such checks (rows_check.c) wait, in the table's shape, until rows_settle.c
 * writes them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "rows/rows_internal.h"

/* columns behind the table's: what else is known of a row */
#define OWNER	0
#define ADDRESS	1
#define TENANT	2
#define TAG		3
#define MORE_COLUMNS 4

struct DgRowsLate
{
	TupleTableSlot *slot;
	Tuplestorestate *rows;
};

static DgRowsLate *
make_late(DgRowsTarget *target)
{
	TupleDesc	table = RelationGetDescr(target->rel);
	int			n = table->natts;
	TupleDesc	desc = CreateTemplateTupleDesc(n + MORE_COLUMNS);
	DgRowsLate *late = palloc(sizeof(DgRowsLate));

	for (int i = 1; i <= n; i++)
		TupleDescCopyEntry(desc, i, table, i);
	TupleDescInitEntry(desc, n + 1 + OWNER, "owner", INT8OID, -1, 0);
	TupleDescInitEntry(desc, n + 1 + ADDRESS, "address", INT8OID, -1, 0);
	TupleDescInitEntry(desc, n + 1 + TENANT, "tenant", INT8OID, -1, 0);
	TupleDescInitEntry(desc, n + 1 + TAG, "tag", INT4OID, -1, 0);
	dg_tupdesc_finalize(desc);
	late->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	late->rows = tuplestore_begin_heap(false, false, work_mem);
	return late;
}

/*
 * Puts the row in the target's slot aside.
 */
void
dg_rows_late_add(DgRowsTarget *target)
{
	MemoryContext old = MemoryContextSwitchTo(target->writer->context);
	int			n = RelationGetDescr(target->rel)->natts;
	TupleDesc	desc;
	Datum	   *values;
	bool	   *nulls;

	if (target->late == NULL)
		target->late = make_late(target);
	MemoryContextSwitchTo(GetPerTupleMemoryContext(target->estate));
	desc = target->late->slot->tts_tupleDescriptor;
	values = palloc0(sizeof(Datum) * desc->natts);
	nulls = palloc0(sizeof(bool) * desc->natts);
	memcpy(values, target->slot->tts_values, sizeof(Datum) * n);
	memcpy(nulls, target->slot->tts_isnull, sizeof(bool) * n);
	values[n + OWNER] = Int64GetDatum((int64) (intptr_t) target->row.owner);
	values[n + ADDRESS] = Int64GetDatum(target->row.address);
	values[n + TENANT] = Int64GetDatum((int64) (intptr_t) target->row.tenant);
	values[n + TAG] = Int32GetDatum(target->row.tag);
	tuplestore_putvalues(target->late->rows, desc, values, nulls);
	MemoryContextSwitchTo(old);
}

/*
 * Loads the next row that was put aside into the target; false at the end. It lasts
 * until the next one is loaded.
 */
bool
dg_rows_late_next(DgRowsTarget *target, DgRowsLate *late)
{
	int			n = RelationGetDescr(target->rel)->natts;
	const Datum *more;

	if (!tuplestore_gettupleslot(late->rows, true, false, late->slot))
		return false;
	slot_getallattrs(late->slot);
	ExecClearTuple(target->slot);
	memcpy(target->slot->tts_values, late->slot->tts_values, sizeof(Datum) * n);
	memcpy(target->slot->tts_isnull, late->slot->tts_isnull, sizeof(bool) * n);
	ExecStoreVirtualTuple(target->slot);
	more = late->slot->tts_values + n;
	memset(&target->row, 0, sizeof(DgRow));
	target->row.owner = (void *) (intptr_t) DatumGetInt64(more[OWNER]);
	target->row.address = DatumGetInt64(more[ADDRESS]);
	target->row.tenant = (const char *) (intptr_t) DatumGetInt64(more[TENANT]);
	target->row.tag = DatumGetInt32(more[TAG]);
	return true;
}

/*
 * Frees the rows, which the target does not have any more.
 */
void
dg_rows_late_end(DgRowsLate *late)
{
	tuplestore_end(late->rows);
	ExecDropSingleTupleTableSlot(late->slot);
}
