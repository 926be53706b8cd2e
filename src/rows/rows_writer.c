/*
 * rows_writer.c
 *		Writes saved rows into live tables.
 *
 * One writer serves one call, over all its tables. Rows are mapped to the
 * table's present columns, routed to their partition, checked like any
 * inserted row (constraints, row security of the caller), compared with a live
 * row of the same key, and inserted in batches.
 *
 * Foreign keys are checked when the writer ends, for all tables together (see
 * rows_fkey.c): so the order of tables does not matter, nor do cycles or
 * references within one table.
 *
 * Locks: ROW EXCLUSIVE on the tables, row locks on what foreign keys refer to.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "rows/rows_internal.h"

/*
 * Begins to write. The caller has an active snapshot.
 */
DgRowsWriter *
dg_rows_writer_begin(const DgRowsOptions *options)
{
	DgRowsWriter *writer = palloc0(sizeof(DgRowsWriter));

	writer->options = *options;
	writer->context = CurrentMemoryContext;
	writer->fkeys = dg_rows_fkeys_begin(&writer->options);
	writer->rechecks = dg_rows_rechecks_make(options->expect_no_conflict);
	initStringInfo(&writer->conflicts.described);
	AfterTriggerBeginQuery();
	return writer;
}

/*
 * What tells rows of a table without a key: the same for all of the table's targets,
 * as a live row is one of them only.
 */
static DgRowsTwins *
twins_of(DgRowsWriter *writer, Relation rel)
{
	ListCell   *lc;

	foreach(lc, writer->targets)
	{
		DgRowsTarget *target = lfirst(lc);

		if (RelationGetRelid(target->rel) == RelationGetRelid(rel))
			return target->twins;
	}
	return dg_rows_twins_make(rel);
}

/*
 * Opens a table for rows of the given columns. The table must be a table or a
 * partitioned table.
 */
DgRowsTarget *
dg_rows_writer_target(DgRowsWriter *writer, Oid relid,
					  const DgSourceColumn *columns, int ncolumns)
{
	MemoryContext old = MemoryContextSwitchTo(writer->context);
	DgRowsTarget *target = palloc0(sizeof(DgRowsTarget));

	target->writer = writer;
	target->rel = table_open(relid, RowExclusiveLock);
	target->role = dg_rows_role_of_tree(target->rel);
	dg_rows_open_target(target);
	dg_rows_as_owner(&target->role);
	target->map = dg_rows_map_make(target->rel, columns, ncolumns);
	dg_rows_as_caller(&target->role);
	target->sequences = dg_rows_sequences_find(target->rel);
	target->handled = dg_rows_fkeys_add(writer->fkeys, target->rel);
	target->slot = MakeSingleTupleTableSlot(RelationGetDescr(target->rel), &TTSOpsVirtual);
	target->twins = twins_of(writer, target->rel);
	target->noted = MakeSingleTupleTableSlot(RelationGetDescr(target->rel), &TTSOpsVirtual);
	writer->targets = lappend(writer->targets, target);
	MemoryContextSwitchTo(old);
	return target;
}

/*
 * Shows rows to a callback first, which may have them left out.
 */
void
dg_rows_writer_refuse(DgRowsTarget *target, DgRowsRefuse refuse, void *arg)
{
	target->refuse = refuse;
	target->refuse_arg = arg;
}

/*
 * From now on rows are read back after they were written, and the end fails if
 * that finds any difference.
 */
void
dg_rows_writer_verify(DgRowsTarget *target)
{
	MemoryContext old = MemoryContextSwitchTo(target->writer->context);

	target->verify = dg_rows_verify_make();
	MemoryContextSwitchTo(old);
}

static void
flush_leaf(DgRowsTarget *target, DgRowsLeaf *leaf)
{
	dg_rows_keep_pace(&target->writer->pace, dg_rows_batch_write(leaf->batch, target->verify, leaf->existing));
}

/* ----------------------------------------------------------------------
 * Rows
 * ----------------------------------------------------------------------
 */

/*
 * Takes note of a written row for what is checked or done at the end. A
 * partition may have foreign keys of its own.
 */
static void
note_written(DgRowsTarget *target, DgRowsLeaf *leaf, TupleTableSlot *stored)
{
	DgRowsForeignKeys *fkeys = target->writer->fkeys;

	dg_rows_sequences_note(target->sequences, target->slot);
	dg_rows_fkeys_note(fkeys, RelationGetRelid(target->rel), dg_rows_in_target_shape(target, leaf, stored), target->row.tag);
	if (dg_rows_is_routed(target, leaf))
		dg_rows_fkeys_note(fkeys, leaf->relid, stored, target->row.tag);
}

/*
 * Is what a row refers to known to be nowhere, and to be left out?
 */
static bool
refers_to_missing(DgRowsTarget *target, DgRowsLeaf *leaf, TupleTableSlot *stored)
{
	DgRowsForeignKeys *fkeys = target->writer->fkeys;

	return target->writer->options.missing != NULL &&
		(dg_rows_fkeys_is_orphan(fkeys, RelationGetRelid(target->rel), dg_rows_in_target_shape(target, leaf, stored)) ||
		 (dg_rows_is_routed(target, leaf) && dg_rows_fkeys_is_orphan(fkeys, leaf->relid, stored)));
}

/*
 * Is a row, that no live row has a key of, to be left out as what it refers to is
 * nowhere?
 */
static bool
is_orphan(DgRowsTarget *target, DgRowsLeaf *leaf, TupleTableSlot *stored)
{
	if (!refers_to_missing(target, leaf, stored))
		return false;
	dg_rows_fkeys_leave_out(target->writer->fkeys, RelationGetRelid(target->rel),
							dg_rows_in_target_shape(target, leaf, stored));
	return true;
}

/*
 * Replaces the live row that conflicts by the saved one, if that leaves its
 * primary key and every key that others refer to as it is, if no other live
 * row has one of the keys, and if the live row is not another tenant's. False
 * if not; *conflict says which row is in the way. The caller needs UPDATE on
 * the table.
 */
static bool
replace_row(DgRowsTarget *target, DgRowsLeaf *leaf, TupleTableSlot *stored, char **conflict)
{
	Relation	rel = leaf->rri->ri_RelationDesc;
	bool		displaced;

	if (target->writer->options.on_conflict != DG_ON_CONFLICT_REPLACE ||
		!dg_rows_same_row(rel, leaf->existing, stored) ||
		dg_rows_key_is_taken(leaf->rri, target->estate, leaf->arbiters, &leaf->existing->tts_tid, stored, conflict))
		return false;
	dg_rows_as_caller(&leaf->role);
	dg_rows_require_update(target->rel);
	displaced = target->writer->options.displace(rel, leaf->existing, target->row.tenant);
	dg_rows_as_owner(&leaf->role);
	if (!displaced)
	{
		*conflict = psprintf("%s, of another tenant", *conflict);
		return false;
	}
	if (target->verify != NULL)
		dg_rows_verify_written(target->verify, stored, target->row.tag);
	dg_rows_update(leaf->rri, target->estate, &leaf->role, target->writer->rechecks, &leaf->existing->tts_tid, stored);
	if (target->verify != NULL)
		dg_rows_verify_read(target->verify, rel, &stored->tts_tid, leaf->existing, target->row.tag);
	note_written(target, leaf, stored);
	return true;
}

static bool
has_before_triggers(const DgRowsLeaf *leaf)
{
	return leaf->rri->ri_TrigDesc != NULL && leaf->rri->ri_TrigDesc->trig_insert_before_row;
}

/*
 * Brings the row in the target's slot into the shape of the table that it goes
 * to, checked: it is in the next slot of that table's batch. NULL if it is not to
 * be written, for the reason in *outcome.
 */
static DgRowsLeaf *
place_row(DgRowsTarget *target, DgRowOutcome *outcome)
{
	DgRowsWriter *writer = target->writer;
	TupleTableSlot *slot = target->slot;
	TupleTableSlot *stored;
	ResultRelInfo *rri;
	DgRowsLeaf *leaf;

	dg_rows_as_owner(&target->role);
	rri = dg_rows_route(target, &slot);
	leaf = dg_rows_leaf_of(target, rri);
	*outcome = DG_ROW_LATER;
	if (leaf->looks != NULL && !writer->settling)
		return NULL;
	stored = dg_rows_batch_slot(leaf->batch);
	ExecCopySlot(stored, slot);
	*outcome = DG_ROW_SUPPRESSED;
	if (has_before_triggers(leaf) && !ExecBRInsertTriggers(target->estate, rri, stored))
		return NULL;
	dg_rows_map_check_required(target->map, rri->ri_RelationDesc, stored);
	if (dg_rows_check(target->mtstate, rri, stored, writer->insisting ? NULL : leaf->looks))
	{
		if (!writer->settling)
			dg_rows_map_check_generated(target->map, rri->ri_RelationDesc, stored);
		return leaf;
	}
	ExecClearTuple(stored);
	*outcome = DG_ROW_LATER;
	return NULL;
}

/*
 * Loads the row at hand into the target's slot. False if it is not to be written,
 * for the reason in *outcome.
 */
static bool
load_row(DgRowsTarget *target, DgRowOutcome *outcome)
{
	void	   *alias;

	dg_rows_as_owner(&target->role);
	dg_rows_map_apply(target->map, GetPerTupleExprContext(target->estate),
					  target->row.values, target->row.nulls, target->slot);
	*outcome = DG_ROW_REFUSED;
	if (target->refuse != NULL && target->refuse(target->refuse_arg, target->slot))
		return false;
	*outcome = DG_ROW_IDENTICAL;
	if (target->twins == NULL || !dg_rows_twins_take(target->twins, target->slot, &alias))
		return true;
	if (alias != NULL)
		target->writer->options.alias(target->writer->options.arg, &target->row, alias);
	return false;
}

static bool
is_anothers(DgRowsTarget *target, DgRowsLeaf *leaf)
{
	bool		result;

	if (target->writer->options.anothers == NULL)
		return false;
	dg_rows_as_caller(&leaf->role);
	result = target->writer->options.anothers(leaf->rri->ri_RelationDesc, leaf->existing, target->row.tenant);
	dg_rows_as_owner(&leaf->role);
	return result;
}

/*
 * Puts a prepared row into its batch, unless a live row has its key.
 */
static DgRowOutcome
store_row(DgRowsTarget *target, DgRowsLeaf *leaf)
{
	TupleTableSlot *stored = dg_rows_batch_slot(leaf->batch);
	char	   *conflict = NULL;
	DgRowOutcome outcome = dg_rows_check_conflict(leaf->rri, target->estate, leaf->arbiters, stored,
												  leaf->existing,
												  target->writer->options.on_conflict == DG_ON_CONFLICT_ERROR, &conflict);

	if (outcome == DG_ROW_CONFLICT && target->writer->options.same != NULL &&
		target->writer->options.same(target->writer->options.arg, &target->row, leaf->rri->ri_RelationDesc,
									 stored, leaf->existing))
		outcome = DG_ROW_IDENTICAL;
	if (outcome == DG_ROW_IDENTICAL && is_anothers(target, leaf))
	{
		outcome = DG_ROW_CONFLICT;
		conflict = pstrdup("the same values");
	}
	if (outcome == DG_ROW_RESTORED && is_orphan(target, leaf, stored))
		outcome = DG_ROW_ORPHANED;
	if (outcome == DG_ROW_RESTORED)
	{
		note_written(target, leaf, stored);
		if (target->verify != NULL)
			dg_rows_verify_written(target->verify, stored, target->row.tag);
		dg_rows_batch_add(leaf->batch, target->row.tag);
		return outcome;
	}
	if (outcome == DG_ROW_CONFLICT)
	{
		if (replace_row(target, leaf, stored, &conflict))
			outcome = DG_ROW_RESTORED;
		else if (target->writer->options.on_conflict == DG_ON_CONFLICT_SKIP)
			outcome = DG_ROW_SKIPPED;
		else
			dg_rows_conflicts_add(&target->writer->conflicts, leaf->rri->ri_RelationDesc, conflict);
	}
	ExecClearTuple(stored);
	return outcome;
}

/*
 * Places the row in the target's slot and stores it. *leaf is where it goes, NULL
 * if it is left out.
 */
static DgRowOutcome
place_and_store(DgRowsTarget *target, DgRowsLeaf **leaf)
{
	DgRowOutcome outcome;

	*leaf = place_row(target, &outcome);
	if (*leaf != NULL && dg_rows_batch_has_key((*leaf)->batch))
	{
		/* perhaps another version of a row in the batch: let that be found */
		ExecClearTuple(dg_rows_batch_slot((*leaf)->batch));
		dg_rows_as_caller(&target->role);
		dg_rows_writer_flush(target->writer);
		*leaf = place_row(target, &outcome);
		if (*leaf != NULL)
			(void) dg_rows_batch_has_key((*leaf)->batch);
	}
	return *leaf == NULL ? outcome : store_row(target, *leaf);
}

/*
 * Writes the row that is in the target's slot; target->row says the rest of it.
 */
DgRowOutcome
dg_rows_put_loaded(DgRowsTarget *target)
{
	DgRowsLeaf *leaf;
	DgRowOutcome outcome = place_and_store(target, &leaf);

	dg_rows_as_caller(&target->role);
	if (leaf != NULL && (dg_rows_batch_is_full(leaf->batch) || has_before_triggers(leaf)))
	{
		flush_leaf(target, leaf);
		if (target->writer->options.fire_triggers)
			CommandCounterIncrement();
	}
	return outcome;
}

/*
 * Writes one row. With a conflict, and on_conflict error, it goes on so that the
 * end can name more of them. Of a row that is to come LATER, the options' callback
 * is told what has become of it.
 */
DgRowOutcome
dg_rows_writer_put(DgRowsTarget *target, const DgRow *row)
{
	DgRowOutcome outcome;
	ErrorContextCallback context = {.previous = error_context_stack,
		.callback = dg_rows_map_context,
	.arg = target->map};
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(target->estate));

	error_context_stack = &context;
	target->row = *row;
	if (load_row(target, &outcome))
		outcome = dg_rows_put_loaded(target);
	dg_rows_as_caller(&target->role);
	if (outcome == DG_ROW_LATER)
		dg_rows_late_add(target);
	error_context_stack = context.previous;
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(target->estate);
	CHECK_FOR_INTERRUPTS();
	return outcome;
}

/*
 * Puts a live row of the target, or of a partition of it, into the target's
 * slot.
 */
static void
load_live_row(DgRowsTarget *target, Oid relid, ItemPointer tid)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	TupleTableSlot *stored = table_slot_create(rel, NULL);
	TupleConversionMap *map = NULL;

	if (!table_tuple_fetch_row_version(rel, tid, SnapshotAny, stored))
		elog(ERROR, "row to change is gone");
	if (relid != RelationGetRelid(target->rel))
		map = convert_tuples_by_name(RelationGetDescr(rel), RelationGetDescr(target->rel));
	if (map != NULL)
		execute_attr_map_slot(map->attrMap, stored, target->slot);
	else
		ExecCopySlot(target->slot, stored);
	ExecMaterializeSlot(target->slot);
	ExecDropSingleTupleTableSlot(stored);
	table_close(rel, NoLock);
}

/*
 * Moves a row, whose new version is in the next slot of the batch of the
 * partition it goes to, out of the partition that it is in.
 */
static void
move_row(DgRowsTarget *target, DgRowsLeaf *leaf, TupleTableSlot *stored, Oid from, ItemPointer tid)
{
	dg_rows_move_out(from, tid, target->estate->es_snapshot);
	target->writer->options.moved(from);
	note_written(target, leaf, stored);
	if (target->verify != NULL)
		dg_rows_verify_written(target->verify, stored, target->row.tag);
	dg_rows_batch_add(leaf->batch, target->row.tag);
	flush_leaf(target, leaf);
}

/*
 * May a live row (tid; NULL: it comes from another partition) have these values? Not
 * if what it refers to then is missing, or another row has its key, which is a
 * conflict.
 */
static bool
may_become(DgRowsTarget *target, DgRowsLeaf *leaf, ItemPointer tid, TupleTableSlot *stored)
{
	DgRowsWriter *writer = target->writer;
	ItemPointerData none;
	char	   *conflict = NULL;

	ItemPointerSetInvalid(&none);
	if (refers_to_missing(target, leaf, stored))
		return false;
	if (!dg_rows_key_is_taken(leaf->rri, target->estate, leaf->arbiters, tid == NULL ? &none : tid, stored, &conflict))
		return true;
	if (writer->options.on_conflict != DG_ON_CONFLICT_SKIP)
		dg_rows_conflicts_add(&writer->conflicts, leaf->rri->ri_RelationDesc, conflict);
	return false;
}

/*
 * Changes some columns of a live row of the target, in its shape, without
 * triggers of the application. The row is locked. False if it may not have these
 * values, or would have to move to another partition, and foreign keys lead to rows
 * of that.
 */
bool
dg_rows_writer_change(DgRowsTarget *target, Oid relid, ItemPointer tid,
					  const AttrNumber *attnums, const Datum *values, const bool *nulls, int n)
{
	TupleTableSlot *slot = target->slot;
	TupleTableSlot *stored;
	ResultRelInfo *rri;
	DgRowsLeaf *leaf;
	bool		stays;
	bool		changes;

	target->row.tag = -1;
	load_live_row(target, relid, tid);
	for (int i = 0; i < n; i++)
	{
		slot->tts_values[attnums[i] - 1] = values[i];
		slot->tts_isnull[attnums[i] - 1] = nulls[i];
	}
	dg_rows_as_owner(&target->role);
	rri = dg_rows_route(target, &slot);
	stays = RelationGetRelid(rri->ri_RelationDesc) == relid;
	changes = stays || !dg_rows_is_referenced(rri);
	if (changes)
	{
		leaf = dg_rows_leaf_of(target, rri);
		stored = dg_rows_batch_slot(leaf->batch);
		ExecCopySlot(stored, slot);
		(void) dg_rows_check(target->mtstate, rri, stored, NULL);
		changes = may_become(target, leaf, stays ? tid : NULL, stored);
		if (!changes)
			ExecClearTuple(stored);
	}
	if (changes)
	{
		dg_rows_fkeys_change(target->writer->fkeys, RelationGetRelid(target->rel));
		if (stays)
		{
			dg_rows_update(rri, target->estate, &leaf->role, target->writer->rechecks, tid, stored);
			note_written(target, leaf, stored);
			ExecClearTuple(stored);
		}
		else
			move_row(target, leaf, stored, relid, tid);
	}
	dg_rows_as_caller(&target->role);
	ResetPerTupleExprContext(target->estate);
	return changes;
}

/* ----------------------------------------------------------------------
 * The end
 * ----------------------------------------------------------------------
 */

static void
flush_target(DgRowsTarget *target)
{
	HASH_SEQ_STATUS status;
	DgRowsLeaf *leaf;

	hash_seq_init(&status, target->leaves);
	while ((leaf = hash_seq_search(&status)) != NULL)
		flush_leaf(target, leaf);
}

/*
 * Writes what is held back in batches, so that queries see it.
 */
void
dg_rows_writer_flush(DgRowsWriter *writer)
{
	ListCell   *lc;

	foreach(lc, writer->targets)
		flush_target(lfirst(lc));
	CommandCounterIncrement();
}

static void
close_target(DgRowsTarget *target)
{
	if (target->verify != NULL)
		dg_rows_verify_check(target->verify, RelationGetRelationName(target->rel));
	if (!target->writer->options.dry_run)
		dg_rows_sequences_raise(target->sequences);
	dg_rows_close_target(target);
	ExecDropSingleTupleTableSlot(target->slot);
	ExecDropSingleTupleTableSlot(target->noted);
	table_close(target->rel, NoLock);
}

/*
 * An error context: deferrable keys that were not asked about beforehand fail
 * as the writer ends.
 */
static void
end_context(void *arg)
{
	errcontext("end of the call, where triggers fire and deferrable keys are checked");
}

static void
fire_after_triggers(DgRowsWriter *writer, EState *estate)
{
	ErrorContextCallback context = {.previous = error_context_stack,.callback = end_context};
	ListCell   *lc;

	error_context_stack = &context;
	foreach(lc, writer->after)
		dg_rows_after_fire(lfirst(lc));
	dg_rows_rechecks_check(writer->rechecks);
	AfterTriggerEndQuery(estate);
	error_context_stack = context.previous;
}

/*
 * Writes what is left, fails if there were conflicts, checks foreign keys and
 * raises sequences.
 */
void
dg_rows_writer_end(DgRowsWriter *writer)
{
	ListCell   *lc;

	dg_rows_conflicts_refuse(&writer->conflicts, writer->options.on_conflict == DG_ON_CONFLICT_REPLACE,
							 writer->options.conflict_hint);
	dg_rows_writer_flush(writer);
	dg_rows_fkeys_check(writer->fkeys);
	if (writer->targets != NIL)
		fire_after_triggers(writer, ((DgRowsTarget *) linitial(writer->targets))->estate);
	else
	{
		EState	   *estate = CreateExecutorState();

		fire_after_triggers(writer, estate);
		FreeExecutorState(estate);
	}
	foreach(lc, writer->targets)
		close_target(lfirst(lc));
}
