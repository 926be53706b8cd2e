/*
 * rows_leaf.c
 *		The table that a target's row is stored in: the target itself, or the
 *		partition or chunk that the row goes to.
 *
 * The target is open as a query of the server's (rows_target.c), which finds
 * partitions and has what row security says; where what it reads was written by
 * the same call, it is opened again (rows_late.c).
 *
 * The chunk of a hypertable (TimescaleDB) is found here: its own CHECK constraints
 * say which rows it has. Where there is none for a row, TimescaleDB makes it when a row is
 * inserted by a statement; nothing else does. So the row is inserted in this way, and
 * deleted again, as what belongs to the table's owner runs, and without the
 * application's triggers. What is then written into the chunk has gone through all
 * checks that other rows go through.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "executor/execPartition.h"
#include "executor/spi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "capture/capture.h"
#include "common/compat.h"
#include "guard/guard.h"
#include "rows/rows_internal.h"

/* ----------------------------------------------------------------------
 * Chunks
 * ----------------------------------------------------------------------
 */

typedef struct Chunk
{
	Oid			relid;
	List	   *checks;			/* of ExprState, on rows of the hypertable */
	ResultRelInfo *rri;			/* NULL: not open */
} Chunk;

struct DgRowsChunks
{
	List	   *all;			/* of Chunk, the newest first */
	Chunk	   *last;			/* that a row went to */
};

/*
 * What a chunk checks that the hypertable does not: which rows it has.
 */
static List *
own_checks(Relation hypertable, Relation chunk, EState *estate)
{
	Relation	rel = table_open(ConstraintRelationId, AccessShareLock);
	List	   *checks = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RelationGetRelid(chunk)));
	scan = systable_beginscan(rel, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
		bool		isnull;
		Datum		bin;
		List	   *check;

		if (form->contype != CONSTRAINT_CHECK || form->coninhcount > 0)
			continue;
		bin = heap_getattr(tuple, Anum_pg_constraint_conbin, RelationGetDescr(rel), &isnull);
		check = map_partition_varattnos(list_make1(stringToNode(TextDatumGetCString(bin))), 1, hypertable, chunk);
		checks = lappend(checks, ExecPrepareCheck(check, estate));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return checks;
}

/*
 * The chunks that there are now, but for those in the list.
 */
static void
find_chunks(DgRowsTarget *target, DgRowsChunks *chunks)
{
	MemoryContext old = MemoryContextSwitchTo(target->estate->es_query_cxt);
	List	   *known = NIL;
	ListCell   *lc;

	foreach(lc, chunks->all)
		known = lappend_oid(known, ((Chunk *) lfirst(lc))->relid);
	foreach(lc, list_difference_oid(find_inheritance_children(RelationGetRelid(target->rel), NoLock), known))
	{
		Relation	rel = try_table_open(lfirst_oid(lc), AccessShareLock);
		Chunk	   *chunk;

		if (rel == NULL)
			continue;
		chunk = palloc0(sizeof(Chunk));
		chunk->relid = lfirst_oid(lc);
		chunk->checks = own_checks(target->rel, rel, target->estate);
		chunks->all = lcons(chunk, chunks->all);
		table_close(rel, AccessShareLock);
	}
	MemoryContextSwitchTo(old);
}

static DgRowsChunks *
open_chunks(DgRowsTarget *target)
{
	DgRowsChunks *chunks = MemoryContextAllocZero(target->estate->es_query_cxt, sizeof(DgRowsChunks));

	if (check_enable_rls(RelationGetRelid(target->rel), InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot restore rows of hypertable \"%s\": row security applies to you", RelationGetRelationName(target->rel)),
				 errhint("Run the call as a role that bypasses row security.")));
	find_chunks(target, chunks);
	return chunks;
}

static void
close_chunks(DgRowsChunks *chunks)
{
	ListCell   *lc;

	foreach(lc, chunks->all)
	{
		Chunk	   *chunk = lfirst(lc);

		if (chunk->rri == NULL)
			continue;
		ExecCloseIndices(chunk->rri);
		table_close(chunk->rri->ri_RelationDesc, NoLock);
	}
}

static bool
has_row(const Chunk *chunk, EState *estate, TupleTableSlot *slot)
{
	ExprContext *econtext = GetPerTupleExprContext(estate);
	ListCell   *lc;

	econtext->ecxt_scantuple = slot;
	foreach(lc, chunk->checks)
	{
		if (!ExecCheck(lfirst(lc), econtext))
			return false;
	}
	return true;
}

static Chunk *
find_chunk(DgRowsChunks *chunks, EState *estate, TupleTableSlot *slot)
{
	ListCell   *lc;

	if (chunks->last != NULL && has_row(chunks->last, estate, slot))
		return chunks->last;
	foreach(lc, chunks->all)
	{
		if (has_row(lfirst(lc), estate, slot))
			return lfirst(lc);
	}
	return NULL;
}

/*
 * Inserts the row by a statement; where it is then. The caller is connected to SPI.
 */
static ItemPointerData
insert_row(DgRowsTarget *target, TupleTableSlot *slot, Oid *relid)
{
	Oid		   *types;
	int			ntypes;
	char	   *sql = dg_rows_insert_statement(target->rel, &types, &ntypes);
	Datum	   *values = palloc(sizeof(Datum) * (ntypes + 1));
	char	   *nulls = palloc(ntypes + 1);
	int			n = 0;
	bool		isnull;

	slot_getallattrs(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(slot->tts_tupleDescriptor, i);

		if (att->attisdropped || att->attgenerated != '\0')
			continue;
		values[n] = slot->tts_values[i];
		nulls[n++] = slot->tts_isnull[i] ? 'n' : ' ';
	}
	dg_query(psprintf("%s RETURNING tableoid, ctid", sql), DG_AS_OWNER, n, types, values, nulls,.table = RelationGetRelid(target->rel));
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_RESTORE),
				 errmsg("cannot restore rows of hypertable \"%s\": there is no chunk for one, and none was made", RelationGetRelationName(target->rel)),
				 errhint("Insert a row of that time, and call again.")));
	*relid = DatumGetObjectId(dg_row_datum(0, 1, &isnull));
	return *(ItemPointer) DatumGetPointer(dg_row_datum(0, 2, &isnull));
}

/*
 * Has TimescaleDB make the chunk of a row.
 */
static void
make_chunk(DgRowsTarget *target, TupleTableSlot *slot)
{
	int			nestlevel;
	ItemPointerData tid;
	Relation	chunk;
	Oid			relid;

	dg_rows_as_caller(&target->role);
	nestlevel = NewGUCNestLevel();
	(void) set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	tid = insert_row(target, slot, &relid);
	CommandCounterIncrement();
	chunk = table_open(relid, RowExclusiveLock);
	PushActiveSnapshot(GetLatestSnapshot());
	simple_table_tuple_delete(chunk, &tid, GetActiveSnapshot());
	PopActiveSnapshot();
	table_close(chunk, NoLock);
	SPI_finish();
	CommandCounterIncrement();
	AtEOXact_GUC(true, nestlevel);
	if (dg_guard_lookup(relid)->guarded)
		dg_capture_balance_moved(dg_guard_lookup(relid)->root);
	dg_rows_as_owner(&target->role);
}

static void
open_chunk(DgRowsTarget *target, Chunk *chunk)
{
	MemoryContext old = MemoryContextSwitchTo(target->estate->es_query_cxt);
	ResultRelInfo *rri = makeNode(ResultRelInfo);

	InitResultRelInfo(rri, table_open(chunk->relid, RowExclusiveLock), 0, target->mtstate->resultRelInfo, 0);
	dg_make_root_to_child_map(rri);
	if (dg_root_to_child_map(rri, target->estate) != NULL)
		rri->ri_PartitionTupleSlot = table_slot_create(rri->ri_RelationDesc, &target->estate->es_tupleTable);
	chunk->rri = rri;
	MemoryContextSwitchTo(old);
}

/*
 * The chunk of a row in the hypertable's shape.
 */
static ResultRelInfo *
chunk_of(DgRowsTarget *target, TupleTableSlot *slot)
{
	DgRowsChunks *chunks = target->chunks;
	Chunk	   *chunk = find_chunk(chunks, target->estate, slot);

	if (chunk == NULL)
	{
		make_chunk(target, slot);
		find_chunks(target, chunks);
		chunk = find_chunk(chunks, target->estate, slot);
	}
	if (chunk == NULL)
		elog(ERROR, "TimescaleDB has made no chunk of \"%s\" for a row", RelationGetRelationName(target->rel));
	if (chunk->rri == NULL)
		open_chunk(target, chunk);
	chunks->last = chunk;
	return chunk->rri;
}

/* ----------------------------------------------------------------------
 * Leaves
 * ----------------------------------------------------------------------
 */

/*
 * What to do about a row of a partition that is gone. An error context callback,
 * for the hint alone.
 */
static void
partition_context(void *arg)
{
	if (geterrcode() == ERRCODE_CHECK_VIOLATION)
		errhint("Nothing was restored. Make a partition for such rows, or a default one, and call again. If there was one that has been dropped, deletion_guard.dropped_table says how it was made.");
}

/*
 * The table that a row, in the shape of the table that was opened, goes to. The
 * slot is then one in the shape of that table.
 */
ResultRelInfo *
dg_rows_route(DgRowsTarget *target, TupleTableSlot **slot)
{
	ModifyTableState *mtstate = target->mtstate;
	EState	   *estate = mtstate->ps.state;
	ErrorContextCallback context = {.previous = error_context_stack,.callback = partition_context};
	ResultRelInfo *leaf;
	TupleConversionMap *map;

	if (target->chunks != NULL)
		leaf = chunk_of(target, *slot);
	else if (mtstate->mt_partition_tuple_routing == NULL)
		return mtstate->resultRelInfo;
	else
	{
		error_context_stack = &context;
		leaf = ExecFindPartition(mtstate, mtstate->rootResultRelInfo, mtstate->mt_partition_tuple_routing,
								 *slot, estate);
		error_context_stack = context.previous;
	}
	map = dg_root_to_child_map(leaf, estate);
	if (map != NULL)
		*slot = execute_attr_map_slot(map->attrMap, *slot, leaf->ri_PartitionTupleSlot);
	return leaf;
}

/*
 * Opens a target's query, as its rows are visible now.
 */
void
dg_rows_open_target(DgRowsTarget *target)
{
	HASHCTL		ctl = {0};

	target->query = dg_rows_open_insert(target->rel, &target->role);
	target->mtstate = dg_rows_insert_of(target->query);
	target->estate = target->query->estate;
	target->chunks = dg_is_hypertable(RelationGetRelid(target->rel)) ? open_chunks(target) : NULL;
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
	if (target->chunks != NULL)
		close_chunks(target->chunks);
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
