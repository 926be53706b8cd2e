/*
 * purge_scrub.c
 *		scrub(): makes sure that the bytes of rows that are gone are gone from the
 *		database's files too.
 *
 * PostgreSQL leaves them in many places: dead row versions that were not
 * vacuumed yet, the free space of pages from which versions were removed,
 * separators in indexes, the values that ANALYZE keeps of a table's columns. A
 * background process, since VACUUM cannot run in a function, does for each
 * guarded table, each table of the bin and each of the extension's own:
 *
 *		VACUUM and ANALYZE; statistics of an empty table are removed
 *		REINDEX CONCURRENTLY of each index (purge_scrub_index.c)
 *		free space of the table's and its TOAST table's pages overwritten with
 *		zeros, and the pages written to the WAL as a whole, so that standbys and
 *		crash recovery get the zeros too
 *
 * and in the end the same, but for the indexes, for the catalogs of statistics.
 * What it does and has done is in the table scrub_progress. Where the process
 * ends early, scrub(resume => true) goes on with the step, or the slice of pages,
 * that it was at.
 *
 * It takes the locks that VACUUM and REINDEX CONCURRENTLY take, and waits for
 * other transactions in REINDEX only. VACUUM and the cleaning of pages pause as
 * cost-based VACUUM does, by default at autovacuum's pace; REINDEX knows no
 * pauses. Versions that an old snapshot, a prepared transaction or a
 * replication slot may still need are not removed; it says so, and who that is.
 *
 * Out of its reach: WAL until it is recycled, standbys until they have
 * replayed it, backups, logs, temporary files, and blocks that the file
 * system has freed.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/xact.h"
#include "catalog/heap.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/vacuum.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "bin/bin.h"
#include "protect/protect.h"
#include "purge/purge_internal.h"

PG_FUNCTION_INFO_V1(dg_scrub);

PGDLLEXPORT void dg_purge_scrub_main(Datum arg);

/* Pages that are cleaned in one transaction, after which progress is on record. */
#define SLICE_PAGES		16384

#define MAX_COST_DELAY	100		/* as vacuum_cost_delay has it */
#define MAX_COST_LIMIT	10000

/* What is handed to the process, in bgw_extra. */
typedef struct ScrubStart
{
	Oid			database;
	TransactionId caller;		/* has written what is to be done */
	double		cost_delay;		/* milliseconds; negative: autovacuum's */
	int			cost_limit;		/* 0: autovacuum's */
} ScrubStart;

/* What was found in one table, its TOAST table's pages after its own. */
typedef struct ScrubResult
{
	int64		total;
	int64		pages;
	int64		cleaned;
	int64		kept;			/* dead versions that may still be needed */
} ScrubResult;

/* A table that is to be done. */
typedef struct ScrubTask
{
	Oid			relid;
	int			step;
	char		phase[16];
	ScrubResult result;			/* so far */
	char		problem[256];	/* empty: none */
} ScrubTask;

/* The process's pace. */
static double cost_delay;
static int	cost_limit;
static int	cost_balance;

/* ----------------------------------------------------------------------
 * The session's side
 * ----------------------------------------------------------------------
 */

static bool
start_scrub_worker(double delay, int limit)
{
	ScrubStart	start = {MyDatabaseId, GetTopTransactionId(), delay, limit};

	return dg_worker_start("dg_purge_scrub_main", "deletion_guard scrub", "deletion_guard scrub", (Datum) 0,
						   &start, sizeof(start));
}

/*
 * What one process that scrubs holds, and a session that asks for one until it
 * commits. Locks that a session keeps are released at its end only if they are of
 * the kind that users take; 3 tells it from theirs.
 */
static LOCKTAG
scrub_lock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, dg_objects()->schema, 0, 3);
	return tag;
}

static int64
count_unfinished(void)
{
	dg_query("SELECT count(*) FROM deletion_guard.scrub_progress WHERE ended_at IS NULL", DG_AS_US,
			 .snapshot = GetLatestSnapshot());
	return dg_row_int64(0, 1, NULL);
}

/*
 * Fails while a process is at work, which would count a table as done that it has
 * passed already. One that has nothing more to do is about to end.
 */
static void
require_no_scrub(void)
{
	LOCKTAG		tag = scrub_lock();

	if (LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
		return;
	if (count_unfinished() > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("tables are being scrubbed already"),
				 errhint("The table deletion_guard.scrub_progress shows how far that is. Call scrub() again when it has ended.")));
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/*
 * Puts one table, or all, on the list. Null stands for all.
 */
static void
queue_tables(Datum relation, bool all)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {relation};
	char		nulls[] = {all ? 'n' : ' '};

	dg_query("INSERT INTO deletion_guard.scrub_progress (relation, step, queued_at, phase)"
			 " SELECT c.oid, CASE WHEN c.relnamespace = 'pg_catalog'::regnamespace THEN 2 ELSE 1 END, now(), 'queued'"
			 " FROM pg_class c WHERE c.relkind IN ('r', 'p') AND (c.oid = $1 OR ($1 IS NULL AND ("
			 "   c.relnamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_bin'::regnamespace)"
			 "   OR c.oid IN (SELECT g.relation FROM deletion_guard.guard g"
			 "    UNION SELECT t.relid FROM deletion_guard.guard g, pg_partition_tree(g.relation) t)))"
			 "  OR c.oid IN ('pg_statistic'::regclass, 'pg_statistic_ext_data'::regclass))"
			 " ON CONFLICT (relation) DO UPDATE SET queued_at = now(), phase = 'queued', started_at = NULL,"
			 "  ended_at = NULL, total = NULL, pages = NULL, cleaned = NULL, kept = NULL, problem = NULL",
			 DG_AS_US, 1, types, values, nulls);
}

/*
 * scrub(relation regclass, cost_delay double precision, cost_limit integer,
 *		 resume boolean) -> bigint: how many tables are to be done once the
 * transaction commits.
 */
Datum
dg_scrub(PG_FUNCTION_ARGS)
{
	double		delay = PG_ARGISNULL(1) ? -1 : PG_GETARG_FLOAT8(1);
	int			limit = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	bool		resume = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	int64		queued;

	PreventCommandIfReadOnly("scrub()");
	if (!PG_ARGISNULL(1) && !(delay >= 0 && delay <= MAX_COST_DELAY))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cost_delay must be from 0 to %d milliseconds", MAX_COST_DELAY)));
	if (!PG_ARGISNULL(2) && (limit < 1 || limit > MAX_COST_LIMIT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cost_limit must be from 1 to %d", MAX_COST_LIMIT)));
	SPI_connect();
	dg_purge_require_extension_owner("scrub");
	require_no_scrub();
	if (!resume)
		queue_tables(PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	queued = count_unfinished();
	SPI_finish();
	if (!start_scrub_worker(delay, limit))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a process to scrub"),
				 errhint("Raise max_worker_processes.")));
	PG_RETURN_INT64(queued);
}

/* ----------------------------------------------------------------------
 * Cleaning
 * ----------------------------------------------------------------------
 */

/*
 * Pauses when so much has been done that cost-based VACUUM would.
 */
static void
pause_like_vacuum(int cost)
{
	static uint32 wait_event = 0;

	cost_balance += cost;
	if (cost_delay <= 0 || cost_balance < cost_limit)
		return;
	cost_balance = 0;
	if (wait_event == 0)
		wait_event = dg_wait_event("DeletionGuardScrub");
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Max((long) cost_delay, 1), wait_event);
	ResetLatch(MyLatch);
}

static BlockNumber
pages_of(Oid relid)
{
	Relation	rel = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;
	BlockNumber pages = 0;

	if (rel == NULL)
		return 0;
	if (rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_TOASTVALUE)
		pages = RelationGetNumberOfBlocks(rel);
	relation_close(rel, AccessShareLock);
	return pages;
}

/*
 * Cleans a slice of a heap's pages. A lock as VACUUM's keeps others from
 * shortening the file meanwhile; it may be shorter than it was before.
 */
static void
clean_slice(Oid relid, BlockNumber first, BlockNumber end, ScrubResult *result)
{
	Relation	rel = try_relation_open(relid, ShareUpdateExclusiveLock);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_VACUUM);

	if (rel != NULL && dg_bin_is_heap(rel))
	{
		TransactionId oldest = GetOldestNonRemovableTransactionId(rel);
		BlockNumber blocks = Min(end, RelationGetNumberOfBlocks(rel));

		for (BlockNumber block = first; block < blocks; block++)
		{
			bool		dirty;

			CHECK_FOR_INTERRUPTS();
			dirty = dg_purge_scrub_page(rel, block, strategy, oldest, &result->kept);
			result->cleaned += dirty;
			pause_like_vacuum(VacuumCostPageMiss + (dirty ? VacuumCostPageDirty : 0));
		}
	}
	FreeAccessStrategy(strategy);
	if (rel != NULL)
		relation_close(rel, ShareUpdateExclusiveLock);
}

/* ----------------------------------------------------------------------
 * The worker's side
 * ----------------------------------------------------------------------
 */

/*
 * Which sessions, slots or prepared transactions keep dead versions from being
 * removed, in words; palloc'd.
 */
static char *
who_holds_back(void)
{
	if (dg_query("SELECT string_agg(who, ', ' ORDER BY age DESC) FROM ("
				 "SELECT format('process %s', pid) AS who, age(backend_xmin) AS age FROM pg_stat_activity"
				 " WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() AND datid = (SELECT oid FROM pg_database WHERE datname = current_database())"
				 " UNION ALL SELECT format('replication slot %I', slot_name), age(xmin) FROM pg_replication_slots WHERE xmin IS NOT NULL"
				 " UNION ALL SELECT format('prepared transaction %L', gid), age(transaction) FROM pg_prepared_xacts WHERE database = current_database()"
				 " ORDER BY 2 DESC LIMIT 5) h", DG_AS_US,
				 .snapshot = GetLatestSnapshot()) == 0)
		return NULL;
	return dg_row_text(0, 1);
}

/*
 * What is left to be done by hand, or later; palloc'd, NULL for nothing.
 */
static char *
problem_of_task(const ScrubTask *task)
{
	const ScrubResult *result = &task->result;
	char	   *who;
	char	   *skipped = dg_purge_scrub_skipped_indexes(task->relid);

	if (task->problem[0] != '\0')
		return pstrdup(task->problem);
	if (skipped != NULL)
		return psprintf("indexes that are invalid, or of exclusion constraints, were not rebuilt: %s; REINDEX or drop them", skipped);
	if (result->kept == 0)
		return NULL;
	who = who_holds_back();
	return psprintf(INT64_FORMAT " dead row versions may still be needed%s%s; scrub again later",
					result->kept, who ? ": " : "", who ? who : "");
}

/*
 * Writes down how far the task has got.
 */
static void
report_task(const ScrubTask *task)
{
	Oid			types[] = {OIDOID, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID};
	const ScrubResult *result = &task->result;
	Datum		values[] = {ObjectIdGetDatum(task->relid), CStringGetTextDatum(task->phase),
		Int64GetDatum(result->total), Int64GetDatum(result->pages), Int64GetDatum(result->cleaned),
	Int64GetDatum(result->kept), 0};
	char		nulls[] = {' ', ' ', ' ', ' ', ' ', ' ', 'n'};
	char	   *problem = NULL;

	SPI_connect();
	if (strcmp(task->phase, "done") == 0 || task->problem[0] != '\0')
		problem = problem_of_task(task);
	if (problem != NULL)
	{
		nulls[6] = ' ';
		values[6] = CStringGetTextDatum(problem);
	}
	dg_query("UPDATE deletion_guard.scrub_progress SET phase = $2, started_at = coalesce(started_at, now()),"
			 " ended_at = CASE WHEN $2 = 'done' THEN clock_timestamp() END,"
			 " total = $3, pages = $4, cleaned = $5, kept = $6, problem = $7 WHERE relation = $1",
			 DG_AS_US, 7, types, values, nulls);
	SPI_finish();
}

static void
enter_phase(ScrubTask *task, const char *phase)
{
	strlcpy(task->phase, phase, sizeof(task->phase));
	dg_worker_begin();
	report_task(task);
	dg_worker_commit();
}

/*
 * ANALYZE of an empty table leaves what it knew before.
 */
static void
forget_statistics(Oid relid)
{
	if (get_rel_relkind(relid) == RELKIND_RELATION && !dg_protect_store_has_rows(relid))
		RemoveStatistics(relid, 0);
}

/*
 * Cleans the next slice; false if there is none.
 */
static bool
clean_next(ScrubTask *task, Oid toast, BlockNumber own)
{
	ScrubResult *result = &task->result;
	BlockNumber first = (BlockNumber) (result->pages < own ? result->pages : result->pages - own);
	BlockNumber end;

	if (result->pages >= result->total)
		return false;
	end = (BlockNumber) Min((int64) first + SLICE_PAGES, result->pages < own ? own : result->total - own);

	/* no snapshot: this may take long, and needs none */
	StartTransactionCommand();
	clean_slice(result->pages < own ? task->relid : toast, first, end, result);
	CommitTransactionCommand();
	result->pages += end - first;
	dg_worker_begin();
	report_task(task);
	dg_worker_commit();
	return true;
}

static void
clean_table(ScrubTask *task)
{
	Oid			toast = InvalidOid;
	BlockNumber own;
	Relation	rel;

	dg_worker_begin();
	forget_statistics(task->relid);
	rel = try_relation_open(task->relid, AccessShareLock);
	if (rel != NULL)
	{
		toast = rel->rd_rel->reltoastrelid;
		relation_close(rel, AccessShareLock);
	}
	own = pages_of(task->relid);
	task->result.total = (int64) own + pages_of(toast);
	dg_worker_commit();

	while (clean_next(task, toast, own))
		;
	task->result.pages = task->result.total;
	enter_phase(task, "done");
}

/*
 * The table's name for a command, allocated to last; NULL if it is gone.
 */
static char *
table_name(Oid relid, char *relkind)
{
	char	   *name = NULL;

	dg_worker_begin();
	*relkind = get_rel_relkind(relid);
	if (*relkind != '\0')
		name = MemoryContextStrdup(TopMemoryContext, dg_relation_name(relid));
	dg_worker_commit();
	return name;
}

static void
vacuum_table(ScrubTask *task, const char *name, char relkind)
{
	char		sql[1024];
	char	   *problem;

	enter_phase(task, "vacuum");
	if (task->step > 1)
		snprintf(sql, sizeof(sql), "VACUUM (DISABLE_PAGE_SKIPPING) %s", name);
	else if (relkind == RELKIND_PARTITIONED_TABLE)
		snprintf(sql, sizeof(sql), "ANALYZE %s", name);
	else
		snprintf(sql, sizeof(sql), "VACUUM (ANALYZE, INDEX_CLEANUP ON, DISABLE_PAGE_SKIPPING) %s", name);
	problem = dg_purge_scrub_run(sql);
	if (problem != NULL)
		snprintf(task->problem, sizeof(task->problem), "it was not vacuumed: %s; scrub again", problem);
}

static void
reindex_table(ScrubTask *task, char relkind)
{
	char	   *problem;

	if (task->step > 1 || relkind != RELKIND_RELATION)
		return;
	enter_phase(task, "reindex");
	problem = dg_purge_scrub_indexes(task->relid);
	if (problem != NULL && task->problem[0] == '\0')
		snprintf(task->problem, sizeof(task->problem), "indexes were not rebuilt: %s; scrub again", problem);
}

/*
 * Does all that is still to be done with one table.
 */
static void
scrub_table(ScrubTask *task)
{
	char		relkind;
	char	   *name = table_name(task->relid, &relkind);

	if (strcmp(task->phase, "clean") != 0)
	{
		if (name != NULL && strcmp(task->phase, "reindex") != 0)
			vacuum_table(task, name, relkind);
		if (name != NULL)
			reindex_table(task, relkind);
		enter_phase(task, "clean");
	}
	clean_table(task);
}

/*
 * The next table to be done; false if there is none.
 */
static bool
next_task(ScrubTask *task)
{
	bool		found;

	memset(task, 0, sizeof(*task));
	dg_worker_begin();
	SPI_connect();
	found = dg_installed() &&
		dg_query("SELECT relation::oid, step, phase, pages, cleaned, kept, coalesce(problem, '') FROM deletion_guard.scrub_progress"
				 " WHERE ended_at IS NULL ORDER BY step, started_at NULLS FIRST, relation LIMIT 1", DG_AS_US,
				 .snapshot = GetLatestSnapshot()) > 0;
	if (found)
	{
		task->relid = (Oid) dg_row_int64(0, 1, NULL);
		task->step = (int) dg_row_int64(0, 2, NULL);
		strlcpy(task->phase, dg_row_text(0, 3), sizeof(task->phase));
		task->result.pages = dg_row_int64(0, 4, NULL);
		task->result.cleaned = dg_row_int64(0, 5, NULL);
		task->result.kept = dg_row_int64(0, 6, NULL);
		strlcpy(task->problem, dg_row_text(0, 7), sizeof(task->problem));
	}
	SPI_finish();
	dg_worker_commit();
	return found;
}

/*
 * Sets the pace of the process, and of its VACUUMs.
 */
static void
set_pace(const ScrubStart *start)
{
	const char *delay = GetConfigOption("autovacuum_vacuum_cost_delay", false, false);
	const char *limit = GetConfigOption("autovacuum_vacuum_cost_limit", false, false);

	cost_delay = start->cost_delay >= 0 ? start->cost_delay : atof(delay);
	if (cost_delay < 0)
		cost_delay = atof(GetConfigOption("vacuum_cost_delay", false, false));
	cost_limit = start->cost_limit > 0 ? start->cost_limit : atoi(limit);
	if (cost_limit <= 0)
		cost_limit = atoi(GetConfigOption("vacuum_cost_limit", false, false));
	SetConfigOption("vacuum_cost_delay", psprintf("%g", cost_delay), PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("vacuum_cost_limit", psprintf("%d", cost_limit), PGC_USERSET, PGC_S_SESSION);
}

/*
 * Waits until no other process scrubs: the second does what is on the list
 * then. It waits without a snapshot, for which the first one's REINDEX would
 * wait.
 */
static bool
lock_scrub(void)
{
	LOCKTAG		tag;
	bool		installed;

	dg_worker_begin();
	installed = dg_installed();
	if (installed)
		tag = scrub_lock();
	dg_worker_commit();
	if (!installed)
		return false;
	StartTransactionCommand();
	(void) LockAcquire(&tag, ExclusiveLock, true, false);
	CommitTransactionCommand();
	return true;
}

/*
 * Entry point of the worker that cleans the files of what was purged.
 */
void
dg_purge_scrub_main(Datum arg)
{
	ScrubStart	start;
	ScrubTask	task;

	memcpy(&start, MyBgworkerEntry->bgw_extra, sizeof(start));
	dg_worker_unblock();
	BackgroundWorkerInitializeConnectionByOid(start.database, InvalidOid, 0);
	dg_protect_command_maintain();
	PortalContext = AllocSetContextCreate(TopMemoryContext, "deletion_guard scrub", ALLOCSET_DEFAULT_SIZES);

	StartTransactionCommand();
	XactLockTableWait(start.caller, NULL, NULL, XLTW_None);
	CommitTransactionCommand();
	if (!lock_scrub())
		return;
	set_pace(&start);
	dg_purge_scrub_index_init();
	dg_purge_scrub_clear();
	while (next_task(&task))
		scrub_table(&task);
}
