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
 *		REINDEX CONCURRENTLY
 *		free space of the table's and its TOAST table's pages overwritten with
 *		zeros, and the pages written to the WAL as a whole, so that standbys and
 *		crash recovery get the zeros too
 *
 * and in the end the same, but for the indexes, for the catalogs of statistics.
 * What it does and has done is in the table scrub_progress; tables that are
 * still to be done when the process ends early are done by the next call.
 *
 * It takes the locks that VACUUM and REINDEX CONCURRENTLY take, pauses now and
 * then, and waits for nobody's transaction but in REINDEX. Versions that an old
 * snapshot, a prepared transaction or a replication slot may still need are not
 * removed; it says so, and who that is.
 *
 * Not reached: WAL until it is recycled, standbys until they have replayed it,
 * backups, logs, temporary files, and blocks that the file system has freed.
 */
#include "purge.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/heapam_xlog.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "catalog/heap.h"
#include "catalog/pg_class.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/vacuum.h"
#include "executor/spi.h"
#include "guard.h"
#include "miscadmin.h"
#include "parser/parser.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dg_scrub);

PGDLLEXPORT void dg_scrub_main(Datum arg);

/* A pause of so long after so many pages that were written. */
#define PAGES_PER_PAUSE	128
#define PAUSE_US		10000

/* What is handed to the process, in bgw_extra. */
typedef struct ScrubStart
{
	Oid			database;
	TransactionId caller;		/* has written what is to be done */
} ScrubStart;

/* What was found in one table. */
typedef struct ScrubResult
{
	int64		pages;
	int64		cleaned;
	int64		kept;			/* dead versions that may still be needed */
} ScrubResult;

/* ----------------------------------------------------------------------
 * The session's side
 * ----------------------------------------------------------------------
 */

static bool
start_worker(void)
{
	BackgroundWorker worker = {0};
	ScrubStart	start = {MyDatabaseId, GetTopTransactionId()};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "$libdir/deletion_guard", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "dg_scrub_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "deletion_guard scrub", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "deletion_guard scrub", sizeof(worker.bgw_type));
	memcpy(worker.bgw_extra, &start, sizeof(start));
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/*
 * scrub(relation regclass) -> bigint: how many tables are to be done once the
 * transaction commits; null stands for all.
 */
Datum
dg_scrub(PG_FUNCTION_ARGS)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0)};
	char		nulls[] = {PG_ARGISNULL(0) ? 'n' : ' '};
	int64		queued;

	PreventCommandIfReadOnly("scrub()");
	SPI_connect();
	dg_require_extension_owner("scrub");
	dg_spi_execute("INSERT INTO deletion_guard.scrub_progress (relation, step, queued_at, phase)"
				   " SELECT c.oid, CASE WHEN c.relnamespace = 'pg_catalog'::regnamespace THEN 2 ELSE 1 END, now(), 'queued'"
				   " FROM pg_class c WHERE c.relkind IN ('r', 'p') AND (c.oid = $1 OR ($1 IS NULL AND ("
				   "   c.relnamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_bin'::regnamespace)"
				   "   OR c.oid IN (SELECT g.relation FROM deletion_guard.guard g"
				   "    UNION SELECT t.relid FROM deletion_guard.guard g, pg_partition_tree(g.relation) t)))"
				   "  OR c.oid IN ('pg_statistic'::regclass, 'pg_statistic_ext_data'::regclass))"
				   " ON CONFLICT (relation) DO UPDATE SET queued_at = now(), phase = 'queued', started_at = NULL,"
				   "  ended_at = NULL, pages = NULL, cleaned = NULL, problem = NULL", 1, types, values, nulls);
	queued = SPI_processed;
	SPI_finish();
	if (!start_worker())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a process to scrub"),
				 errhint("Raise max_worker_processes.")));
	PG_RETURN_INT64(queued);
}

/* ----------------------------------------------------------------------
 * Pages
 * ----------------------------------------------------------------------
 */

static bool
zero(char *page, int from, int to)
{
	bool		dirty = false;

	for (int i = from; i < to && !dirty; i++)
		dirty = page[i] != 0;
	if (dirty)
		memset(page + from, 0, to - from);
	return dirty;
}

static int
compare_offsets(const void *a, const void *b)
{
	return (int) *(const uint32 *) a - (int) *(const uint32 *) b;
}

/*
 * Overwrites whatever of a heap page is no item: the hole, and gaps between
 * items. Works on a copy. Returns whether anything was there.
 */
static bool
clean_page(char *page)
{
	PageHeader	header = (PageHeader) page;
	OffsetNumber last = PageGetMaxOffsetNumber(page);
	uint32		items[MaxHeapTuplesPerPage];	/* offset << 16 | length */
	int			nitems = 0;
	int			covered = header->pd_upper;
	bool		dirty = zero(page, header->pd_lower, header->pd_upper);

	for (OffsetNumber offnum = FirstOffsetNumber; offnum <= last && nitems < MaxHeapTuplesPerPage; offnum++)
	{
		ItemId		item = PageGetItemId(page, offnum);

		if (ItemIdHasStorage(item))
			items[nitems++] = ((uint32) ItemIdGetOffset(item) << 16) | MAXALIGN(ItemIdGetLength(item));
	}
	qsort(items, nitems, sizeof(uint32), compare_offsets);
	for (int i = 0; i < nitems; i++)
	{
		dirty |= zero(page, covered, items[i] >> 16);
		covered = Max(covered, (int) (items[i] >> 16) + (int) (items[i] & 0xFFFF));
	}
	return zero(page, covered, header->pd_special) || dirty;
}

/*
 * How many versions on the page are dead, or will be, and still there?
 */
static int
dead_versions(Relation rel, Buffer buffer, TransactionId oldest)
{
	Page		page = BufferGetPage(buffer);
	int			dead = 0;

	for (OffsetNumber offnum = FirstOffsetNumber; offnum <= PageGetMaxOffsetNumber(page); offnum++)
	{
		ItemId		item = PageGetItemId(page, offnum);
		HeapTupleData tuple = {0};

		if (!ItemIdIsNormal(item))
			continue;
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		tuple.t_tableOid = RelationGetRelid(rel);
		ItemPointerSet(&tuple.t_self, BufferGetBlockNumber(buffer), offnum);
		switch (HeapTupleSatisfiesVacuum(&tuple, oldest, buffer))
		{
			case HEAPTUPLE_DEAD:
			case HEAPTUPLE_RECENTLY_DEAD:
				dead++;
				break;
			default:
				break;
		}
	}
	return dead;
}

static void
clean_block(Relation rel, BlockNumber block, BufferAccessStrategy strategy, TransactionId oldest,
			ScrubResult *result)
{
	Buffer		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
	PGAlignedBlock copy;
	Page		page;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	page = BufferGetPage(buffer);
	if (!PageIsNew(page))
	{
		result->kept += dead_versions(rel, buffer, oldest);
		memcpy(copy.data, page, BLCKSZ);
		if (clean_page(copy.data))
		{
			START_CRIT_SECTION();
			memcpy(page, copy.data, BLCKSZ);
			MarkBufferDirty(buffer);
			if (RelationNeedsWAL(rel))
				log_newpage_buffer(buffer, true);
			END_CRIT_SECTION();
			result->cleaned++;
		}
	}
	UnlockReleaseBuffer(buffer);
	result->pages++;
}

/*
 * Cleans a heap. A lock as VACUUM's keeps others from shortening the file.
 */
static void
clean_heap(Oid relid, ScrubResult *result)
{
	Relation	rel = try_relation_open(relid, ShareUpdateExclusiveLock);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_VACUUM);
	TransactionId oldest;
	BlockNumber blocks;
	int64		paused_at = 0;

	if (rel == NULL)
		return;
	if (rel->rd_tableam == GetHeapamTableAmRoutine())
	{
		oldest = GetOldestNonRemovableTransactionId(rel);
		blocks = RelationGetNumberOfBlocks(rel);
		for (BlockNumber block = 0; block < blocks; block++)
		{
			CHECK_FOR_INTERRUPTS();
			clean_block(rel, block, strategy, oldest, result);
			if (result->cleaned - paused_at >= PAGES_PER_PAUSE)
			{
				pg_usleep(PAUSE_US);
				paused_at = result->cleaned;
			}
		}
	}
	FreeAccessStrategy(strategy);
	relation_close(rel, ShareUpdateExclusiveLock);
}

/* ----------------------------------------------------------------------
 * The worker's side
 * ----------------------------------------------------------------------
 */

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/*
 * Runs a command that wants no transaction around it.
 */
static void
run(const char *sql)
{
	ParseState *pstate;
	Node	   *stmt;

	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, sql);
	StartTransactionCommand();
	MemoryContextSwitchTo(PortalContext);
	pstate = make_parsestate(NULL);
	pstate->p_sourcetext = sql;
	stmt = castNode(RawStmt, linitial(raw_parser(sql, RAW_PARSE_DEFAULT)))->stmt;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (IsA(stmt, VacuumStmt))
		ExecVacuum(pstate, (VacuumStmt *) stmt, true);
	else
		ExecReindex(pstate, (ReindexStmt *) stmt, true);
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextReset(PortalContext);
}

/*
 * Who keeps dead versions from being removed; palloc'd.
 */
static char *
who_holds_back(void)
{
	if (dg_purge_select("SELECT string_agg(who, ', ' ORDER BY age DESC) FROM ("
						"SELECT format('process %s', pid) AS who, age(backend_xmin) AS age FROM pg_stat_activity"
						" WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() AND datid = (SELECT oid FROM pg_database WHERE datname = current_database())"
						" UNION ALL SELECT format('replication slot %I', slot_name), age(xmin) FROM pg_replication_slots WHERE xmin IS NOT NULL"
						" UNION ALL SELECT format('prepared transaction %L', gid), age(transaction) FROM pg_prepared_xacts WHERE database = current_database()"
						" ORDER BY 2 DESC LIMIT 5) h", 0, NULL, NULL, NULL) == 0)
		return NULL;
	return dg_row_text(0, 1);
}

static void
report(Oid relid, const char *phase, const ScrubResult *result)
{
	Oid			types[] = {OIDOID, TEXTOID, INT8OID, INT8OID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(relid), CStringGetTextDatum(phase), 0, 0, 0};
	char		nulls[] = {' ', ' ', 'n', 'n', 'n'};

	SPI_connect();
	if (result != NULL)
	{
		nulls[2] = nulls[3] = ' ';
		values[2] = Int64GetDatum(result->pages);
		values[3] = Int64GetDatum(result->cleaned);
		if (result->kept > 0)
		{
			char	   *who = who_holds_back();

			nulls[4] = ' ';
			values[4] = CStringGetTextDatum(psprintf(INT64_FORMAT " dead row versions may still be needed%s%s; scrub again later",
													 result->kept, who ? ": " : "", who ? who : ""));
		}
	}
	dg_spi_execute("UPDATE deletion_guard.scrub_progress SET phase = $2, started_at = coalesce(started_at, now()),"
				   " ended_at = CASE WHEN $2 = 'done' THEN clock_timestamp() END,"
				   " pages = $3, cleaned = $4, problem = $5 WHERE relation = $1", 5, types, values, nulls);
	SPI_finish();
}

static void
report_phase(Oid relid, const char *phase)
{
	begin();
	report(relid, phase, NULL);
	commit();
}

/*
 * ANALYZE of an empty table leaves what it knew before.
 */
static void
forget_statistics(Oid relid)
{
	if (get_rel_relkind(relid) == RELKIND_RELATION && !dg_store_has_rows(relid))
		RemoveStatistics(relid, 0);
}

static void
clean_table(Oid relid)
{
	ScrubResult result = {0};
	Oid			toast = InvalidOid;
	Relation	rel;

	begin();
	forget_statistics(relid);
	rel = try_relation_open(relid, AccessShareLock);
	if (rel != NULL)
	{
		toast = rel->rd_rel->reltoastrelid;
		relation_close(rel, AccessShareLock);
	}
	commit();

	/* no snapshot: this may take long, and needs none */
	StartTransactionCommand();
	if (get_rel_relkind(relid) == RELKIND_RELATION)
		clean_heap(relid, &result);
	if (OidIsValid(toast))
		clean_heap(toast, &result);
	CommitTransactionCommand();

	begin();
	report(relid, "done", &result);
	commit();
}

/*
 * The table's name for a command, allocated to last; NULL if it is gone.
 */
static char *
table_name(Oid relid, char *relkind)
{
	char	   *name = NULL;

	begin();
	*relkind = get_rel_relkind(relid);
	if (*relkind != '\0')
		name = MemoryContextStrdup(TopMemoryContext, dg_relation_name(relid));
	commit();
	return name;
}

static void
scrub_table(Oid relid, int step)
{
	char		relkind;
	char	   *name = table_name(relid, &relkind);
	char		sql[1024];

	if (name != NULL)
	{
		report_phase(relid, "vacuum");
		snprintf(sql, sizeof(sql), step > 1 ? "VACUUM (DISABLE_PAGE_SKIPPING) %s" :
				 relkind == RELKIND_PARTITIONED_TABLE ? "ANALYZE %s" :
				 "VACUUM (ANALYZE, INDEX_CLEANUP ON, DISABLE_PAGE_SKIPPING) %s", name);
		run(sql);
		if (step == 1 && relkind == RELKIND_RELATION)
		{
			report_phase(relid, "reindex");
			snprintf(sql, sizeof(sql), "REINDEX (CONCURRENTLY) TABLE %s", name);
			run(sql);
		}
	}
	report_phase(relid, "clean");
	clean_table(relid);
}

/*
 * The next table to be done; InvalidOid if there is none.
 */
static Oid
next_table(int *step)
{
	Oid			relid = InvalidOid;

	begin();
	SPI_connect();
	if (dg_installed() &&
		dg_purge_select("SELECT relation::oid, step FROM deletion_guard.scrub_progress WHERE ended_at IS NULL"
						" ORDER BY step, started_at NULLS FIRST, relation LIMIT 1", 0, NULL, NULL, NULL) > 0)
	{
		relid = (Oid) dg_row_int64(0, 1, NULL);
		*step = (int) dg_row_int64(0, 2, NULL);
	}
	SPI_finish();
	commit();
	return relid;
}

/*
 * One process at a time: whoever comes second does what the first leaves. Locks
 * that a session keeps are released at its end only if they are of the kind
 * that users take; 3 tells it from theirs.
 */
static bool
lock_scrub(void)
{
	LOCKTAG		tag;
	bool		installed;

	begin();
	installed = dg_installed();
	if (installed)
	{
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, dg_objects()->schema, 0, 3);
		(void) LockAcquire(&tag, ExclusiveLock, true, false);
	}
	commit();
	return installed;
}

void
dg_scrub_main(Datum arg)
{
	ScrubStart	start;
	Oid			relid;
	int			step;

	memcpy(&start, MyBgworkerEntry->bgw_extra, sizeof(start));
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(start.database, InvalidOid, 0);
	PortalContext = AllocSetContextCreate(TopMemoryContext, "deletion_guard scrub", ALLOCSET_DEFAULT_SIZES);

	StartTransactionCommand();
	XactLockTableWait(start.caller, NULL, NULL, XLTW_None);
	CommitTransactionCommand();
	if (!lock_scrub())
		return;
	while (OidIsValid(relid = next_table(&step)))
		scrub_table(relid, step);
}
