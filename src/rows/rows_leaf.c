/*
 * rows_leaf.c
 *		The table that a target's row is stored in: the target itself, or the
 *		partition that the row goes to.
 *
 * The target is open as a query of the server's (rows_target.c), which finds
 * partitions and has what row security says; where what it reads was written by
 * the same call, it is opened again (rows_late.c).
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "utils/rel.h"

#include "rows/rows_internal.h"

/*
 * Opens a target's query, as its rows are visible now.
 */
void
dg_rows_open_target(DgRowsTarget *target)
{
	HASHCTL		ctl = {0};

	target->query = dg_rows_open_insert(target->rel, &target->role);
	target->mtstate = (ModifyTableState *) target->query->planstate;
	target->estate = target->query->estate;
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(DgRowsLeaf);
	ctl.hcxt = target->writer->context;
	target->leaves = hash_create("deletion_guard leaves", 16, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	target->last = NULL;
}

/*
 * Closes a target's query. Its batches are empty.
 */
void
dg_rows_close_target(DgRowsTarget *target)
{
	HASH_SEQ_STATUS status;
	DgRowsLeaf *leaf;

	hash_seq_init(&status, target->leaves);
	while ((leaf = hash_seq_search(&status)) != NULL)
	{
		dg_rows_batch_end(leaf->batch);
		ExecDropSingleTupleTableSlot(leaf->existing);
	}
	hash_destroy(target->leaves);
	ExecutorFinish(target->query);
	ExecutorEnd(target->query);
	FreeQueryDesc(target->query);
}

/*
 * Is it a partition of the target's table?
 */
bool
dg_rows_is_routed(DgRowsTarget *target, const DgRowsLeaf *leaf)
{
	return leaf->relid != RelationGetRelid(target->rel);
}

/*
 * A partition may have foreign keys of its own, which are checked like the table's.
 */
static void
handle_own_keys(DgRowsTarget *target, Relation leaf)
{
	MemoryContext old = MemoryContextSwitchTo(target->writer->context);

	target->handled = list_concat_unique_oid(target->handled, dg_rows_fkeys_add(target->writer->fkeys, leaf));
	MemoryContextSwitchTo(old);
}

static void
open_leaf(DgRowsTarget *target, DgRowsLeaf *leaf, ResultRelInfo *rri)
{
	DgRowsWriter *writer = target->writer;
	const DgRowsOptions *options = &writer->options;
	Relation	rel = rri->ri_RelationDesc;
	MemoryContext old = MemoryContextSwitchTo(target->estate->es_query_cxt);

	dg_ordinary_require_target(RelationGetRelid(rel));
	memset((char *) leaf + sizeof(Oid), 0, sizeof(DgRowsLeaf) - sizeof(Oid));
	leaf->rri = rri;
	dg_rows_as_caller(&target->role);
	leaf->role = dg_rows_role(rel);
	if (options->fire_triggers)
		leaf->after = dg_rows_after_of(&writer->after, rel, &leaf->role, options->dry_run);
	dg_rows_as_owner(&leaf->role);
	if (rel->rd_rel->relhasindex && rri->ri_IndexRelationDescs == NULL)
		ExecOpenIndices(rri, false);
	leaf->arbiters = options->expect_no_conflict ? NIL :
		dg_rows_arbiters(rri);
	leaf->existing = table_slot_create(rel, NULL);
	leaf->looks = dg_rows_looks_make(rri, target->estate);

	/*
	 * the server makes this map where it is first asked for, in whatever
	 * memory is current then
	 */
	if (dg_rows_is_routed(target, leaf))
		(void) ExecGetChildToRootMap(rri);
	if (dg_rows_is_routed(target, leaf))
		handle_own_keys(target, rel);
	rri->ri_TrigDesc = dg_rows_triggers(rri->ri_TrigDesc, RelationGetRelid(target->rel), target->handled,
										options->fire_triggers, options->dry_run);
	leaf->batch = dg_rows_batch_make(rri, target->estate, &leaf->role, leaf->arbiters, writer->rechecks, leaf->after);
	MemoryContextSwitchTo(old);
}

/*
 * What is known of the table that rri stands for. From here on, its code may run.
 */
DgRowsLeaf *
dg_rows_leaf_of(DgRowsTarget *target, ResultRelInfo *rri)
{
	Oid			relid = RelationGetRelid(rri->ri_RelationDesc);
	bool		found;
	DgRowsLeaf *leaf;

	if (target->last == NULL || target->last->relid != relid)
	{
		leaf = hash_search(target->leaves, &relid, HASH_ENTER, &found);
		if (!found)
			open_leaf(target, leaf, rri);
		target->last = leaf;
	}
	dg_rows_as_owner(&target->last->role);
	return target->last;
}

/*
 * A row as it is stored, with its generated columns, in the target's shape.
 */
TupleTableSlot *
dg_rows_in_target_shape(DgRowsTarget *target, DgRowsLeaf *leaf, TupleTableSlot *stored)
{
	TupleConversionMap *map;
	MemoryContext old;

	if (!dg_rows_is_routed(target, leaf))
		return stored;
	/* the server keeps the map in whatever context is the current one */
	old = MemoryContextSwitchTo(target->estate->es_query_cxt);
	map = ExecGetChildToRootMap(leaf->rri);
	MemoryContextSwitchTo(old);
	return map == NULL ? stored : execute_attr_map_slot(map->attrMap, stored, target->noted);
}
