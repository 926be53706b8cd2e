/*
 * rows_late.c
 *		Rows whose checks look at other rows: they come last.
 *
 * A constraint's function may read a table, a policy may look for a row's parent:
 * what they look at perhaps comes back in the same call. So rows of tables with
 * such checks (rows_check.c) wait, in the table's shape, until all others
 * are written and visible. Then they are written table by table, those that
 * others refer to first. What does not pass is tried again as long as any other
 * has passed since; what is left then fails with the server's own error.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

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
 * Loads the next row into the target; false at the end. It lasts until the next
 * one is loaded.
 */
static bool
load_late(DgRowsTarget *target, DgRowsLate *late)
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
	target->row = (DgRow) {
		.owner = (void *) (intptr_t) DatumGetInt64(more[OWNER]),
		.address = DatumGetInt64(more[ADDRESS]),
		.tenant = (const char *) (intptr_t) DatumGetInt64(more[TENANT]),
		.tag = DatumGetInt32(more[TAG])
	};
	return true;
}

static void
late_context(void *arg)
{
	DgRowsTarget *target = arg;

	dg_rows_map_hide_values(target->map);
	errcontext("restoring a row of table \"%s\", after all others", RelationGetRelationName(target->rel));
}

/*
 * Writes one row, or puts it aside again; false then.
 */
static bool
settle_row(DgRowsTarget *target)
{
	DgRowsWriter *writer = target->writer;
	DgRowOutcome outcome;
	ErrorContextCallback context = {.previous = error_context_stack,.callback = late_context,.arg = target};
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(target->estate));

	error_context_stack = &context;
	outcome = dg_rows_put_loaded(target);
	error_context_stack = context.previous;
	if (outcome == DG_ROW_LATER)
		dg_rows_late_add(target);
	else
		writer->options.settle(writer->options.arg, &target->row, outcome);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(target->estate);
	CHECK_FOR_INTERRUPTS();
	return outcome != DG_ROW_LATER;
}

/*
 * Tries a target's rows, seeing all that was written before. A query that has row
 * security is opened anew: policies may keep what they have read. Returns whether
 * any row has passed.
 */
static bool
settle_target(DgRowsTarget *target)
{
	DgRowsLate *late = target->late;
	bool		any = false;

	target->late = NULL;
	dg_rows_writer_flush(target->writer);
	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	if (target->mtstate->resultRelInfo->ri_WithCheckOptions != NIL)
	{
		dg_rows_close_target(target);
		dg_rows_open_target(target);
	}
	while (load_late(target, late))
		any |= settle_row(target);
	PopActiveSnapshot();
	tuplestore_end(late->rows);
	ExecDropSingleTupleTableSlot(late->slot);
	return any;
}

static bool
refers_to(DgRowsTarget *target, DgRowsTarget *other)
{
	ListCell   *lc;

	foreach(lc, dg_foreign_keys(target->rel))
	{
		if (((ForeignKeyCacheInfo *) lfirst(lc))->confrelid == RelationGetRelid(other->rel))
			return true;
	}
	return false;
}

/*
 * One of the targets that refers to no other of them, if there is one.
 */
static DgRowsTarget *
first_of(List *targets)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, targets)
	{
		bool		refers = false;

		foreach(lc2, targets)
			refers |= lfirst(lc) != lfirst(lc2) && refers_to(lfirst(lc), lfirst(lc2));
		if (!refers)
			return lfirst(lc);
	}
	return linitial(targets);
}

/*
 * Targets with rows that wait, those that others refer to first.
 */
static List *
late_targets(DgRowsWriter *writer)
{
	List	   *left = NIL;
	List	   *targets = NIL;
	ListCell   *lc;

	foreach(lc, writer->targets)
	{
		if (((DgRowsTarget *) lfirst(lc))->late != NULL)
			left = lappend(left, lfirst(lc));
	}
	while (left != NIL)
	{
		DgRowsTarget *first = first_of(left);

		targets = lappend(targets, first);
		left = list_delete_ptr(left, first);
	}
	return targets;
}

/*
 * Writes the rows that are to come last, or fails. All others have been put. Where
 * the application's triggers fire, each row is tried once.
 */
void
dg_rows_writer_settle(DgRowsWriter *writer)
{
	List	   *targets;

	writer->settling = true;
	writer->insisting = writer->options.fire_triggers;
	while ((targets = late_targets(writer)) != NIL)
	{
		bool		any = false;
		ListCell   *lc;

		foreach(lc, targets)
			any |= settle_target(lfirst(lc));
		writer->insisting |= !any;
	}
	writer->settling = false;
}
