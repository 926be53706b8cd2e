/*
 * capture.c
 *		The guard triggers' functions: rows that leave a guarded table go into
 *		its bin.
 *
 * Capturing happens after the rows were really deleted and within the same
 * statement, so that what is in the bin is exactly what left the table, or
 * nothing is. Whatever cannot be kept is an error, and the rows stay.
 *
 * A row that moves to another partition by UPDATE is not a deletion, unless that
 * one is not guarded (capture_move.c). It does not reach the transition table of
 * a DELETE; the row trigger tells it by the mark that heap_delete() leaves in
 * such a tuple, or, in logical replication, by what the worker is applying.
 * (Where the publisher's table is partitioned, too, it sends a DELETE and an
 * INSERT; that is a deletion here.) MERGE is a case of its own (capture_merge.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "bin/bin.h"
#include "capture/capture_internal.h"
#include "guard/guard.h"

PG_FUNCTION_INFO_V1(dg_capture_statement);
PG_FUNCTION_INFO_V1(dg_capture_row);
PG_FUNCTION_INFO_V1(dg_capture_truncate);

typedef struct CaptureState
{
	DgGuard    *guard;
	DgBinPlan  *plan;
	int64		deletion;
	DgBinWriter *writer;
	DgTenantResolver *resolver;
	DgParts    *parts;
	DgLimit		limit;
	int64		kept;			/* rows */
	bool		deleted;		/* by heap, which counts them */
} CaptureState;

/* ----------------------------------------------------------------------
 * One capture: rows of one table, one call of a trigger
 * ----------------------------------------------------------------------
 */

/* How rows leave the table. */
typedef enum Departure
{
	DELETED,
	EMPTIED,					/* by TRUNCATE: heap deletes no row */
	DROPPED,					/* with their table: nor here */
	STRIPPED,					/* they do not, but a column's values do */
	REPLACED					/* they do not: ceilings do not count them */
} Departure;

static DgBinPlan *
plan_for(DgGuard *guard, Relation rel, Departure departure)
{
	return departure == DROPPED ? dg_bin_last_plan(guard, rel) : dg_bin_capture_plan(guard, rel);
}

/*
 * A table has a trigger of ours, and is not guarded: somebody has made the trigger, or
 * an extension has given it to a part of a guarded table.
 */
pg_noreturn static void
refuse_unenrolled(Relation rel)
{
	DgOddity	odd;
	bool		part = dg_is_odd(RelationGetRelid(rel), &odd);

	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_CAPTURE),
			 errmsg("cannot delete from \"%s\": it %s but is not enrolled", RelationGetRelationName(rel),
					part ? psprintf("is %s with a guard trigger", odd.what) : "has a guard trigger"),
			 errdetail("Its deleted rows would be lost."),
			 part ? errhint("Give up the protection of the table that it is part of by deletion_guard.unguard_table(), which is recorded.") :
			 errhint("Enrol it with deletion_guard.guard_table(%s), or drop the triggers whose names begin with \"%s\".",
					 quote_literal_cstr(dg_relation_name(RelationGetRelid(rel))), DG_TRIGGER_PREFIX)));
}

/*
 * Will somebody write the parts of single rows that are kept open? Not in a
 * statement that began before the library was loaded.
 */
static bool
parts_can_wait(void)
{
	return dg_frame->depth > 0 || IsLogicalWorker() || dg_guard_statement_none();
}

/*
 * May other captures of the same statement take rows like these? A query inside of
 * another, or of a command, is likely to be one of many. Not where a row's tenant
 * may have to be looked for in parts that this capture keeps open, nor where a
 * part has the tenant's name, which may change from one capture to the next.
 */
static bool
others_may_follow(const DgBinPlan *plan)
{
	return dg_frame->depth > 1 && !IsLogicalWorker() &&
		AttributeNumberIsValid(plan->tenant_attnum) && !plan->of_tenants;
}

/*
 * Begins to capture rows of rel, as the plan says or, if that is NULL, as they
 * usually are. With by_row it is one row, which may share its part with rows
 * captured before.
 */
static void
capture_begin(CaptureState *state, Relation rel, bool by_row, Departure departure, DgBinPlan *plan)
{
	DgGuard    *guard = dg_guard_lookup(RelationGetRelid(rel));

	if (!guard->guarded)
		refuse_unenrolled(rel);
	dg_guard_require_ordinary(RelationGetRelid(rel));
	memset(state, 0, sizeof(CaptureState));
	state->plan = plan != NULL ? plan : plan_for(guard, rel, departure);
	state->deletion = dg_capture_deletion_current();
	state->writer = dg_bin_writer_begin(state->plan, state->deletion);
	if (state->writer == NULL && plan == NULL)
	{
		/*
		 * the bin table was dropped or changed since the plan was made: make
		 * another
		 */
		dg_guard_forget_all();
		guard = dg_guard_lookup(RelationGetRelid(rel));
		state->plan = plan_for(guard, rel, departure);
		state->writer = dg_bin_writer_begin(state->plan, state->deletion);
	}
	if (state->writer == NULL)
		elog(ERROR, "bin table %u of \"%s\" is gone", state->plan->bin_table,
			 RelationGetRelationName(rel));
	state->guard = guard;
	state->deleted = departure == DELETED;
	state->resolver = dg_capture_tenant_resolver_begin(guard, state->plan, rel);
	state->parts = dg_capture_parts_begin(state->plan, state->resolver, state->deletion,
										  dg_bin_writer_file(state->writer),
										  by_row ? parts_can_wait() : departure == DELETED && others_may_follow(state->plan));
	dg_capture_limit_begin(&state->limit, guard->root, departure == REPLACED);
	if (departure == STRIPPED)
		state->limit.wipes = false;
}

static void
capture_put(CaptureState *state, TupleTableSlot *slot)
{
	bool		created;
	DgPart	   *part = dg_capture_parts_of_row(state->parts, state->resolver, slot, &created);

	if (created && state->limit.tenants && state->resolver != NULL)
		dg_capture_limit_tenant(&state->limit, part->text);
	if (part->rows == PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("one statement cannot delete more than %d rows of one tenant from \"%s\"",
						PG_INT32_MAX, get_rel_name(state->guard->root)),
				 errhint("Delete them in several statements.")));
	part->rows++;
	if (++state->limit.rows > state->limit.free_rows && !dg_capture_limit_row(&state->limit))
		return;
	dg_bin_writer_put(state->writer, slot, part->part, part->rows, part->blocks);
	state->kept++;
}

/*
 * The capture has run into a ceiling: says so, with its tenants in the order
 * they came.
 */
static void
report_limit(CaptureState *state)
{
	DgTotal    *total = dg_capture_total_begin(InvalidOid);

	dg_capture_parts_add(total, state->parts);
	dg_capture_limit_report(&state->limit, state->deletion, total);
}

static void
capture_end(CaptureState *state)
{
	if (state->limit.exceeded != 0)
		report_limit(state);
	dg_bin_writer_end(state->writer);
	if (state->deleted)
		dg_capture_balance_kept(state->guard->root, state->kept);
	dg_capture_parts_end(state->parts);
	if (state->resolver != NULL)
		dg_capture_tenant_resolver_end(state->resolver);
	dg_capture_limit_end(&state->limit, state->deletion);
}

/*
 * Captures all rows that next() returns, until it returns NULL; returns how many.
 */
static int64
capture_rows(Relation rel, Departure departure, DgBinPlan *plan, TupleTableSlot *(*next) (void *source), void *source)
{
	CaptureState state;
	TupleTableSlot *slot = next(source);

	if (slot == NULL)
		return 0;
	capture_begin(&state, rel, false, departure, plan);
	for (; slot != NULL; slot = next(source))
	{
		CHECK_FOR_INTERRUPTS();
		capture_put(&state, slot);
	}
	capture_end(&state);
	return state.kept;
}

static void
capture_row(Relation rel, TupleTableSlot *slot)
{
	CaptureState state;

	capture_begin(&state, rel, true, DELETED, NULL);
	capture_put(&state, slot);
	capture_end(&state);
}

/*
 * Does a row belong to a tenant other than the one given? NULL is none.
 */
static bool
belongs_to_another(CaptureState *state, TupleTableSlot *slot, const char *tenant)
{
	bool		isnull;
	Datum		other;

	if (state->resolver == NULL)
		return false;
	other = dg_capture_tenant_resolve(state->resolver, slot, &isnull);
	return !isnull &&
		(tenant == NULL || !dg_guard_tenant_equal_in(state->guard->root, dg_capture_tenant_text(state->resolver, other), tenant));
}

/*
 * Is a live row of a tenant other than the one given? NULL is none.
 */
bool
dg_capture_is_anothers(Relation rel, TupleTableSlot *slot, const char *tenant)
{
	DgTenantResolver *resolver = dg_capture_tenant_resolver_of(rel);
	char	   *other;
	bool		result;

	if (resolver == NULL)
		return false;
	other = dg_capture_tenant_of(resolver, slot);
	result = other != NULL &&
		(tenant == NULL || !dg_guard_tenant_equal_in(dg_guard_lookup(RelationGetRelid(rel))->root, other, tenant));
	dg_capture_tenant_resolver_end(resolver);
	return result;
}

/*
 * Puts a live row into the bin that is about to be replaced by a row of a
 * tenant, or of none (NULL). Returns false if the live row must stay, because
 * it is another tenant's: a call that brings one tenant's rows back leaves
 * those of the others alone. Ceilings must not stand in the way of a rescue, so
 * they do not count it.
 */
bool
dg_capture_displaced(Relation rel, TupleTableSlot *slot, const char *tenant)
{
	CaptureState state;
	bool		stays;

	capture_begin(&state, rel, true, REPLACED, NULL);
	stays = belongs_to_another(&state, slot, tenant);
	if (!stays)
		capture_put(&state, slot);
	capture_end(&state);
	return !stays;
}

/* ----------------------------------------------------------------------
 * The triggers
 * ----------------------------------------------------------------------
 */

/*
 * The trigger's data. Fails unless the trigger is the one that guard_table()
 * makes: another one with the same function would put rows into the bin
 * twice, or rows that are not deleted.
 */
static TriggerData *
trigger_data(FunctionCallInfo fcinfo, TriggerEvent expected, const char *name, const char *function)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	const TriggerEvent mask = TRIGGER_EVENT_OPMASK | TRIGGER_EVENT_ROW | TRIGGER_EVENT_TIMINGMASK;

	if (!CALLED_AS_TRIGGER(fcinfo) || (trigdata->tg_event & mask) != expected ||
		strcmp(trigdata->tg_trigger->tgname, name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called as the trigger it is for", function),
				 errhint("Let deletion_guard.guard_table() make the triggers.")));
	return trigdata;
}

static TupleTableSlot *
next_of_trail(void *walk)
{
	return dg_capture_trail_next(walk);
}

/*
 * Captures the rows of a table that queries have left a trail to, if any.
 */
void
dg_capture_along_trail(Relation rel)
{
	DgTrailWalk *walk = dg_capture_trail_walk(rel);

	if (walk == NULL)
		return;
	(void) capture_rows(rel, DELETED, NULL, next_of_trail, walk);
	dg_capture_trail_end(walk);
}

/*
 * Makes sure that there is an active snapshot, and returns whether it made one.
 * Code that deletes rows without a query, as replication of any kind does, may
 * have none.
 */
static bool
push_snapshot(void)
{
	if (ActiveSnapshotSet())
		return false;
	PushActiveSnapshot(GetTransactionSnapshot());
	return true;
}

static void
pop_snapshot(bool pushed)
{
	if (pushed)
		PopActiveSnapshot();
}

typedef struct StoredRows
{
	Tuplestorestate *rows;
	TupleTableSlot *slot;
} StoredRows;

static TupleTableSlot *
next_stored(void *arg)
{
	StoredRows *stored = arg;

	return tuplestore_gettupleslot(stored->rows, true, false, stored->slot) ? stored->slot : NULL;
}

/*
 * Has the row trigger captured the rows already, as it did not know the query that
 * fires both triggers? That is so where our hooks were not called for the query,
 * and session_replication_role is replica.
 */
static bool
captured_by_row(TriggerData *trigdata)
{
	int64		rows;

	if (dg_guard_statement_fires(trigdata->tg_trigger))
		return false;
	rows = dg_capture_balance_take_row_kept(dg_guard_lookup(RelationGetRelid(trigdata->tg_relation))->root);
	if (rows != 0 && rows != tuplestore_tuple_count(trigdata->tg_oldtable))
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot tell which rows of \"%s\" this statement deletes",
						RelationGetRelationName(trigdata->tg_relation)),
				 errdetail("deletion_guard was loaded after the statement had begun, and session_replication_role was changed meanwhile."),
				 errhint("Repeat the statement. To avoid this, add deletion_guard to session_preload_libraries.")));
	return rows != 0;
}

/*
 * AFTER DELETE, statement: captures the rows that queries have left a trail to,
 * and those in the transition table. Mostly one of the two is empty; after a
 * cascade there may be rows in both.
 */
Datum
dg_capture_statement(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = trigger_data(fcinfo, TRIGGER_EVENT_DELETE,
										 DG_TRIGGER_CAPTURE, "capture_statement");
	Relation	rel = trigdata->tg_relation;
	StoredRows	stored;
	bool		pushed;

	if (!TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event) || trigdata->tg_trigger->tgoldtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" has no transition table", trigdata->tg_trigger->tgname),
				 errhint("Let deletion_guard.guard_table() make the triggers.")));
	if (trigdata->tg_oldtable == NULL)
		return PointerGetDatum(NULL);
	if (dg_guard_statement_unseen())
		dg_capture_merge_check_unseen(rel);

	pushed = push_snapshot();
	dg_capture_along_trail(rel);
	if (!captured_by_row(trigdata))
	{
		stored.rows = trigdata->tg_oldtable;
		stored.slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
		tuplestore_rescan(stored.rows);
		(void) capture_rows(rel, DELETED, NULL, next_stored, &stored);
		ExecDropSingleTupleTableSlot(stored.slot);
	}
	pop_snapshot(pushed);
	return PointerGetDatum(NULL);
}

/*
 * Is a logical replication worker applying an UPDATE? Where that moves a row to
 * another partition, the worker deletes it and inserts it there, without the mark
 * that other sessions leave in it. Only the error context tells: if there is
 * another one on top of the worker's, a statement in a function that the worker
 * called deletes the row.
 */
static bool
applying_update(void)
{
	char	   *context;

	if (!IsLogicalWorker() || error_context_stack == NULL || error_context_stack->previous != NULL)
		return false;
	context = GetErrorContextStack();
	return context != NULL && strstr(context, "UPDATE") != NULL && strstr(context, "DELETE") == NULL;
}

/*
 * For each row that it deletes from a partition with a trigger like ours, the
 * server warns, at the end of the transaction, of a relation that was not
 * closed. A parallel worker of logical replication sends its warnings to a leader
 * that only reads them while it does not wait for the worker: past some dozens,
 * each waits for the other. The leader does nothing with them; the log has them.
 */
static void
send_no_warnings(void)
{
	if (IsLogicalParallelApplyWorker() && client_min_messages < ERROR)
		SetConfigOption("client_min_messages", "error", PGC_USERSET, PGC_S_SESSION);
}

/*
 * Has the row moved to another partition that is guarded too? Queries count such
 * rows themselves (capture_move.c).
 */
static bool
has_moved(TriggerData *trigdata, Oid root)
{
	if (ItemPointerIndicatesMovedPartitions(&trigdata->tg_trigtuple->t_data->t_ctid))
		return dg_capture_move_stayed(trigdata->tg_relation, trigdata->tg_trigtuple);
	if (!trigdata->tg_relation->rd_rel->relispartition || !applying_update() ||
		!dg_capture_move_arrived(root, trigdata->tg_trigtuple))
		return false;
	dg_capture_balance_moved(root);
	return true;
}

/*
 * AFTER DELETE, row: captures one row, unless it has moved to another
 * partition. Where it is not set to do all the work, it leaves to the statement
 * trigger what it knows that will fire; it has to know, not to guess.
 */
Datum
dg_capture_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = trigger_data(fcinfo, TRIGGER_EVENT_DELETE | TRIGGER_EVENT_ROW,
										 DG_TRIGGER_CAPTURE_ROW, "capture_row");
	Oid			root = dg_guard_lookup(RelationGetRelid(trigdata->tg_relation))->root;
	bool		alone = trigdata->tg_trigger->tgenabled != TRIGGER_FIRES_ON_REPLICA || dg_guard_statement_by_row(root);
	bool		pushed;

	if (!alone && dg_guard_statement_fires(trigdata->tg_trigger))
		return PointerGetDatum(NULL);
	send_no_warnings();
	pushed = push_snapshot();
	if (!has_moved(trigdata, root))
	{
		capture_row(trigdata->tg_relation, trigdata->tg_trigslot);
		if (!alone)
			dg_capture_balance_row_kept(root);
	}
	pop_snapshot(pushed);
	return PointerGetDatum(NULL);
}

typedef struct ScannedRows
{
	TableScanDesc scan;
	TupleTableSlot *slot;
	AttrNumber	attnum;			/* only rows with a value there; 0: all */
} ScannedRows;

static TupleTableSlot *
next_scanned(void *arg)
{
	ScannedRows *scanned = arg;

	while (table_scan_getnextslot(scanned->scan, ForwardScanDirection, scanned->slot))
	{
		if (scanned->attnum == 0 || !slot_attisnull(scanned->slot, scanned->attnum))
			return scanned->slot;
		CHECK_FOR_INTERRUPTS();
	}
	return NULL;
}

/*
 * Captures what the table holds now, before it is emptied or dropped; returns how
 * many rows. Everybody else is locked out, so the latest snapshot sees every row
 * that is about to go, which the transaction's own snapshot might not.
 */
static int64
capture_table(Relation rel, Departure departure, DgBinPlan *plan, AttrNumber attnum)
{
	bool		pushed = push_snapshot();
	ScannedRows scanned;
	Snapshot	snapshot;
	int64		rows;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scanned.attnum = attnum;
	scanned.slot = table_slot_create(rel, NULL);
	scanned.scan = dg_table_beginscan(rel, snapshot);
	rows = capture_rows(rel, departure, plan, next_scanned, &scanned);
	table_endscan(scanned.scan);
	ExecDropSingleTupleTableSlot(scanned.slot);
	UnregisterSnapshot(snapshot);
	pop_snapshot(pushed);
	return rows;
}

/*
 * Captures what a table holds that is about to be dropped.
 */
int64
dg_capture_dropped(Relation rel)
{
	return capture_table(rel, DROPPED, NULL, 0);
}

/*
 * Captures what a column holds that is about to be dropped, as the plan says:
 * dg_bin_column_plan()'s.
 */
int64
dg_capture_column(Relation rel, AttrNumber attnum, DgBinPlan *plan)
{
	return capture_table(rel, STRIPPED, plan, attnum);
}

static void
capture_emptied(Relation rel)
{
	(void) capture_table(rel, EMPTIED, NULL, 0);
	dg_capture_empty_begin(rel);
}

/* Chunks that were made by the present statement have no trigger for this yet. */
static void
capture_new_chunks(Relation hypertable)
{
	ListCell   *lc;

	foreach(lc, find_inheritance_children(RelationGetRelid(hypertable), NoLock))
	{
		Relation	chunk;

		if (dg_guard_is_complete(lfirst_oid(lc)))
			continue;
		chunk = table_open(lfirst_oid(lc), NoLock);
		capture_emptied(chunk);
		table_close(chunk, NoLock);
	}
}

/*
 * BEFORE TRUNCATE.
 */
Datum
dg_capture_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = trigger_data(fcinfo, TRIGGER_EVENT_TRUNCATE | TRIGGER_EVENT_BEFORE,
										 DG_TRIGGER_TRUNCATE, "capture_truncate");
	Relation	rel = trigdata->tg_relation;

	dg_guard_require_ordinary(RelationGetRelid(rel));
	/* parts have triggers of their own */
	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		capture_emptied(rel);
	if (dg_is_hypertable(RelationGetRelid(rel)))
		capture_new_chunks(rel);
	return PointerGetDatum(NULL);
}
