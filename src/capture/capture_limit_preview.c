/*
 * capture_limit_preview.c
 *		preview(): what a statement would delete.
 *
 * The statement is really run, with the caller's privileges, in a
 * subtransaction that is then rolled back: so triggers, cascades, rules and
 * row security have their say, and what is reported is what happened. Ceilings
 * do not apply, they are reported. Locks are released with the subtransaction;
 * what no rollback undoes (values taken from sequences, whatever triggers do
 * outside of the database) stays done.
 *
 * Rows of guarded tables are told from the deletion's own parts; of which tenants
 * they are, only where the caller may read them. Those of
 * others from the server's counters of this transaction, for which track_counts
 * must be on. Tables that the server does not count, foreign ones and the like, are
 * told from the locks.
 *
 * An UPDATE by a foreign key may take a link from a row that the statement deletes
 * next: such rows are told as deleted, not as updated, too.
 *
 * What waits for the end of the transaction is done as well: deferred triggers may
 * delete, and deferred constraints fail.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

#include "capture/capture_internal.h"


PG_FUNCTION_INFO_V1(dg_preview);

/* Counters of all tables, as parallel arrays: oid, file, inserted, updated, deleted. */
#define NCOUNTERS 5

#define UNCOUNTED_TEXT	"not known: with track_counts off, rows of tables that are not guarded are not counted"

static const char *const counters_query =
"SELECT array_agg(c.oid), array_agg(coalesce(pg_relation_filenode(c.oid), 0::oid)),"
" array_agg(pg_stat_get_xact_tuples_inserted(c.oid)),"
" array_agg(pg_stat_get_xact_tuples_updated(c.oid)),"
" array_agg(pg_stat_get_xact_tuples_deleted(c.oid))"
" FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
" WHERE c.relkind = 'r' AND c.relpersistence <> 't'"
" AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'deletion_guard', 'deletion_guard_bin')";

static const char *const effects_query =
"WITH now AS ("
" SELECT c.oid::regclass AS relation, c.relispartition,"
" coalesce(pg_relation_filenode(c.oid), 0::oid) <> w.filenode AS rewritten,"
" pg_stat_get_xact_tuples_inserted(c.oid) - w.inserted AS inserted,"
" pg_stat_get_xact_tuples_updated(c.oid) - w.updated"
" - coalesce((SELECT g.rows FROM unnest($8, $9) AS g (relid, rows) WHERE g.relid = c.oid), 0) AS updated,"
" pg_stat_get_xact_tuples_deleted(c.oid) - w.deleted AS deleted,"
" deletion_guard_internal.guarded_with(c.oid) IS NOT NULL AS guarded"
" FROM unnest($2, $3, $4, $5, $6) AS w (relid, filenode, inserted, updated, deleted)"
" JOIN pg_class c ON c.oid = w.relid),"
" effect AS ("
" SELECT 1 AS place, b.relation, p.tenant, sum(p.rows)::bigint AS rows, 'deleted' AS effect"
" FROM deletion_guard.deletion_part p JOIN deletion_guard.bin b USING (bin_id)"
" WHERE p.deletion_id = $1 GROUP BY b.relation, p.tenant"
" UNION ALL"
" SELECT 2, relation, NULL, deleted, CASE WHEN relispartition AND $7"
" THEN 'destroyed, or moved to another partition: not guarded' ELSE 'destroyed: not guarded' END"
" FROM now WHERE deleted > 0 AND NOT guarded"
" UNION ALL"
" SELECT 2, relation, NULL, NULL, 'destroyed: truncated and not guarded' FROM now WHERE rewritten AND NOT guarded"
" UNION ALL"
" SELECT DISTINCT 2, o.oid::regclass, NULL, NULL::bigint, 'not counted: ' || split_part(deletion_guard_internal.not_ordinary(o.oid), '. ', 1)"
" FROM pg_locks l JOIN pg_class o ON o.oid = l.relation AND o.relkind IN ('r', 'p', 'f')"
" WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.mode IN ('RowExclusiveLock', 'AccessExclusiveLock')"
" AND o.relnamespace NOT IN (SELECT objid FROM pg_depend WHERE classid = 'pg_namespace'::regclass AND deptype = 'e')"
" AND deletion_guard_internal.not_ordinary(o.oid) IS NOT NULL"
" UNION ALL"
" SELECT 3, relation, NULL, updated, 'updated' FROM now WHERE updated > 0"
" UNION ALL"
" SELECT 4, relation, NULL, inserted, 'inserted' FROM now WHERE inserted > 0)"
" SELECT relation, tenant, rows, effect FROM effect"
" ORDER BY place, relation::text COLLATE \"C\", tenant COLLATE \"C\"";

/* ----------------------------------------------------------------------
 * Which statements
 * ----------------------------------------------------------------------
 */

static bool
changes_rows(Node *query)
{
	switch (nodeTag(query))
	{
		case T_DeleteStmt:
		case T_UpdateStmt:
		case T_InsertStmt:
		case T_MergeStmt:
		case T_TruncateStmt:
			return true;
		default:
			return false;
	}
}

/*
 * Is it WITH ... (DELETE ...) SELECT?
 */
static bool
modifies_in_with(Node *query)
{
	SelectStmt *select = (SelectStmt *) query;
	ListCell   *lc;

	if (!IsA(query, SelectStmt) || select->intoClause != NULL || select->withClause == NULL)
		return false;
	foreach(lc, select->withClause->ctes)
	{
		if (changes_rows(lfirst_node(CommonTableExpr, lc)->ctequery))
			return true;
	}
	return false;
}

/*
 * Refuses what is not one statement that changes rows. *moves is set if it may
 * move rows between partitions.
 */
static void
check_statement(const char *sql, bool *moves)
{
	List	   *statements = pg_parse_query(sql);
	Node	   *query;

	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("preview() takes one statement, not %d", list_length(statements)),
				 errhint("Ceilings apply to each statement; preview them one by one.")));
	query = linitial_node(RawStmt, statements)->stmt;
	if (!changes_rows(query) && !modifies_in_with(query))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("preview() takes a DELETE, UPDATE, INSERT, MERGE or TRUNCATE, not %s",
						GetCommandTagName(CreateCommandTag(query)))));
	*moves = !IsA(query, DeleteStmt) && !IsA(query, TruncateStmt);
}

/* ----------------------------------------------------------------------
 * Rows that lost a link
 * ----------------------------------------------------------------------
 */

/* Where, after that, the rows of one table are. */
typedef struct Unlinked
{
	Oid			relid;
	DgTidLog   *log;
} Unlinked;

/* Those of the statement that is previewed. */
typedef struct UnlinkedRows
{
	List	   *rows;
	MemoryContext context;		/* NULL: none is */
} UnlinkedRows;

static UnlinkedRows unlinked;

/*
 * A referential action has taken a link from a row, which is there now.
 */
void
dg_capture_preview_note(Oid relid, ItemPointer tid)
{
	MemoryContext old;
	Unlinked   *of_table = NULL;
	ListCell   *lc;

	if (!dg_capture_limit_observing() || unlinked.context == NULL)
		return;
	foreach(lc, unlinked.rows)
	{
		if (((Unlinked *) lfirst(lc))->relid == relid)
			of_table = lfirst(lc);
	}
	if (of_table == NULL)
	{
		old = MemoryContextSwitchTo(unlinked.context);
		of_table = palloc(sizeof(Unlinked));
		of_table->relid = relid;
		of_table->log = dg_tidlog_begin(unlinked.context);
		unlinked.rows = lappend(unlinked.rows, of_table);
		MemoryContextSwitchTo(old);
	}
	dg_tidlog_add(of_table->log, 0, tid);
}

/*
 * How many of these rows are not there any more.
 */
static int64
count_gone(Unlinked *of_table)
{
	Relation	rel = table_open(of_table->relid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	DgTidEntry	entry;
	int64		gone = 0;

	dg_tidlog_rewind(of_table->log);
	while (dg_tidlog_next(of_table->log, &entry))
	{
		ItemPointerData tid;

		ItemPointerSet(&tid, DG_TID_BLOCK(entry.address), DG_TID_OFFSET(entry.address));
		if (!table_tuple_fetch_row_version(rel, &tid, SnapshotSelf, slot))
			gone++;
	}
	dg_tidlog_end(of_table->log);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, AccessShareLock);
	return gone;
}

/*
 * By table, as two arrays: oid[] and int8[].
 */
static void
read_gone(Datum *relids, Datum *counts)
{
	int			n = list_length(unlinked.rows);
	Datum	   *elems = palloc(sizeof(Datum) * (n + 1));
	List	   *oids = NIL;
	ListCell   *lc;

	foreach(lc, unlinked.rows)
	{
		oids = lappend_oid(oids, ((Unlinked *) lfirst(lc))->relid);
		elems[foreach_current_index(lc)] = Int64GetDatum(count_gone(lfirst(lc)));
	}
	*relids = dg_oid_array(oids);
	*counts = dg_array(elems, n, INT8OID);
}

/* ----------------------------------------------------------------------
 * Running it
 * ----------------------------------------------------------------------
 */

static void
read_table_counters(Datum *counters)
{
	dg_query(counters_query, DG_AS_US);
	for (int i = 0; i < NCOUNTERS; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &isnull);

		counters[i] = isnull ?
			PointerGetDatum(construct_empty_array(i < 2 ? OIDOID : INT8OID)) : datumCopy(value, false, -1);
	}
}

/*
 * Puts a line that is of no table; -1 rows are not known how many.
 */
static void
put_effect(ReturnSetInfo *rsinfo, int64 rows, const char *effect)
{
	Datum		values[4] = {(Datum) 0, (Datum) 0, Int64GetDatum(rows), CStringGetTextDatum(effect)};
	bool		nulls[4] = {true, true, rows < 0, false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * Is the effect one of the tenants of a table whose tenants the caller may not
 * know?
 */
static bool
is_hidden(const Datum *effect, const bool *isnull)
{
	return !isnull[1] && !dg_guard_may_tell(DatumGetObjectId(effect[0]), GetUserId());
}

/*
 * Tells SPI's result. It is sorted by tables, and rows of tenants whom the caller
 * may not know become one.
 */
static int64
put_effects(ReturnSetInfo *rsinfo)
{
	int64		deleted = 0;
	int64		hidden = 0;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		effect[4];
		bool		isnull[4];
		Datum		next[4];
		bool		next_isnull[4] = {true, true, true, true};

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, effect, isnull);
		if (strcmp(TextDatumGetCString(effect[3]), "deleted") == 0)
			deleted += DatumGetInt64(effect[2]);
		if (is_hidden(effect, isnull))
		{
			if (i + 1 < SPI_processed)
				heap_deform_tuple(SPI_tuptable->vals[i + 1], SPI_tuptable->tupdesc, next, next_isnull);
			hidden += DatumGetInt64(effect[2]);
			if (!next_isnull[0] && DatumGetObjectId(next[0]) == DatumGetObjectId(effect[0]) &&
				is_hidden(next, next_isnull))
				continue;
			isnull[1] = true;
			effect[2] = Int64GetDatum(hidden);
			hidden = 0;
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, effect, isnull);
	}
	return deleted;
}

/*
 * Reports what happened since the counters were read. failure is what would keep
 * the transaction from committing, or NULL.
 */
static void
report_effects(ReturnSetInfo *rsinfo, Datum *counters, bool moves, int exceeded, const char *failure)
{
	bool		any = dg_capture_deletion_exists();
	Oid			types[] = {INT8OID, OIDARRAYOID, OIDARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, BOOLOID,
	OIDARRAYOID, INT8ARRAYOID};
	Datum		values[9] = {any ? Int64GetDatum(dg_capture_deletion_current()) : (Datum) 0,
	counters[0], counters[1], counters[2], counters[3], counters[4], BoolGetDatum(moves)};
	const char *nulls = any ? NULL : "n        ";
	int64		rows;

	read_gone(&values[7], &values[8]);
	dg_query(effects_query, DG_AS_US, 9, types, values, nulls);
	rows = put_effects(rsinfo);
	for (int ceiling = DG_CEILING_EXPECTED; ceiling != 0; ceiling >>= 1)
	{
		if (exceeded & ceiling)
			put_effect(rsinfo, rows, dg_capture_ceiling_effect(ceiling));
	}
	if (!pgstat_track_counts)
		put_effect(rsinfo, -1, UNCOUNTED_TEXT);
	if (failure != NULL)
		put_effect(rsinfo, -1, psprintf("fails when the transaction commits: %s", failure));
}

/*
 * Does what waits for the end of the transaction.
 */
static void
do_deferred(void *arg)
{
	dg_query("SET CONSTRAINTS ALL IMMEDIATE", DG_AS_CALLER);
}

static void
run_previewed(ReturnSetInfo *rsinfo, const char *sql, bool moves, const int *exceeded)
{
	Datum		counters[NCOUNTERS];
	ErrorData  *error;

	SPI_connect();
	unlinked.rows = NIL;
	unlinked.context = CurrentMemoryContext;
	read_table_counters(counters);
	dg_query(sql, DG_AS_CALLER,
			 .discard = true);
	error = dg_try(do_deferred, NULL, true);
	report_effects(rsinfo, counters, moves, *exceeded, error == NULL ? NULL : error->message);
	SPI_finish();
}

/*
 * preview(statement text) -> setof (relation regclass, tenant text, rows bigint, effect text)
 */
Datum
dg_preview(PG_FUNCTION_ARGS)
{
	char	   *sql = text_to_cstring(PG_GETARG_TEXT_PP(0));
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	DgDeletion	deletion;
	DgLimitState *volatile limits = NULL;
	UnlinkedRows outer = unlinked;
	ErrorData  *volatile error = NULL;
	int			exceeded = 0;
	bool		moves;

	check_statement(sql, &moves);
	InitMaterializedSRF(fcinfo, 0);
	BeginInternalSubTransaction(NULL);
	deletion = dg_capture_deletion_suspend();
	PG_TRY();
	{
		MemoryContextSwitchTo(context);
		limits = dg_capture_limit_suspend(&exceeded);
		run_previewed((ReturnSetInfo *) fcinfo->resultinfo, sql, moves, &exceeded);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	unlinked = outer;
	if (limits != NULL)
		dg_capture_limit_resume(limits);
	dg_capture_deletion_resume(deletion);
	if (error != NULL)
		ReThrowError(error);
	return (Datum) 0;
}
