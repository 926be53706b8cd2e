/*
 * rows_settle.c
 *		Writes the rows that come last.
 *
 * They wait (rows_late.c) until all others are written and visible. Then they are
 * written table by table, those that others refer to first. What does not pass is
 * tried again as long as any other has passed since; what is left then fails with
 * the server's own error.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "rows/rows_internal.h"

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
	while (dg_rows_late_next(target, late))
		any |= settle_row(target);
	PopActiveSnapshot();
	dg_rows_late_end(late);
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
