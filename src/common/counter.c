/*
 * counter.c
 *		What happened in this database since the server started, for the view
 *		stat_deletion_guard.
 *
 * Counters are in shared memory, so that counting costs a statement next to nothing
 * and nobody waits for anybody; as the server's own statistics they begin anew when
 * it starts. What is done is counted when its transaction commits (or prepares),
 * until then by the subtransaction that did it. Refusals are counted as the error is
 * reported; those that a function catches are not.
 *
 * The shared memory is taken from what the server leaves for such use, so the library
 * need not be preloaded. Where there is none left, nothing is counted.
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "common/deletion_guard.h"

/* Databases that are counted for, at a time; of more, those that come first. */
#define DATABASES	64
#define FREE		InvalidOid
#define BEING_FREED	OID_MAX

typedef struct Counters
{
	pg_atomic_uint32 database;	/* FREE: none */
	pg_atomic_uint64 since;
	pg_atomic_uint64 counts[DG_COUNTERS];
} Counters;

/* What a subtransaction has done; the innermost one first. */
typedef struct Pending
{
	SubTransactionId subid;
	int64		counts[DG_COUNTERS];
	struct Pending *next;
} Pending;

static Counters *counters = NULL;	/* this database's */
static bool attached = false;	/* or tried to */
static Pending *pending = NULL;
static shmem_request_hook_type prev_shmem_request = NULL;

PG_FUNCTION_INFO_V1(dg_stat);
PG_FUNCTION_INFO_V1(dg_stat_reset);

static Counters *
counters_of(Counters *all, Oid database)
{
	for (int i = 0; i < DATABASES; i++)
	{
		if (pg_atomic_read_u32(&all[i].database) == database)
			return &all[i];
	}
	return NULL;
}

/*
 * This database's counters among all; NULL if there are too many databases. The
 * caller holds the lock.
 */
static Counters *
find_database(Counters *all)
{
	Counters   *place = counters_of(all, MyDatabaseId);

	if (place != NULL)
		return place;
	place = counters_of(all, FREE);
	if (place == NULL)
		return NULL;
	pg_atomic_write_u64(&place->since, (uint64) GetCurrentTimestamp());
	pg_atomic_write_u32(&place->database, MyDatabaseId);
	return place;
}

/*
 * Makes room: databases that were dropped are counted for no more. Reads a catalog, so
 * without the lock.
 */
static void
forget_dropped(Counters *all)
{
	for (int i = 0; i < DATABASES; i++)
	{
		uint32		database = pg_atomic_read_u32(&all[i].database);

		if (database == FREE || database == BEING_FREED ||
			SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database)) ||
			!pg_atomic_compare_exchange_u32(&all[i].database, &database, BEING_FREED))
			continue;
		for (int k = 0; k < DG_COUNTERS; k++)
			pg_atomic_write_u64(&all[i].counts[k], 0);
		pg_atomic_write_u32(&all[i].database, FREE);
	}
}

static Counters *
shared_counters(void)
{
	bool		found;
	Counters   *all = ShmemInitStruct("deletion_guard counters", sizeof(Counters) * DATABASES, &found);

	for (int i = 0; !found && i < DATABASES; i++)
	{
		pg_atomic_init_u32(&all[i].database, FREE);
		pg_atomic_init_u64(&all[i].since, 0);
		for (int k = 0; k < DG_COUNTERS; k++)
			pg_atomic_init_u64(&all[i].counts[k], 0);
	}
	return all;
}

/*
 * Looks for the counters; returns those of all databases, or NULL. That there is no
 * room for them is no reason for anything to fail; the server has released its own
 * lock by then.
 */
static Counters *
look_for_counters(void)
{
	MemoryContext context = CurrentMemoryContext;
	Counters   *volatile all = NULL;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	PG_TRY();
	{
		all = shared_counters();
		counters = find_database(all);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	LWLockRelease(AddinShmemInitLock);
	return all;
}

/*
 * Finds the counters, once in a session. Needs a transaction.
 */
void
dg_counter_attach(void)
{
	Counters   *all;

	if (attached || !IsUnderPostmaster || !OidIsValid(MyDatabaseId))
		return;
	attached = true;
	all = look_for_counters();
	if (all == NULL || counters != NULL)
		return;
	forget_dropped(all);
	(void) look_for_counters();
}

/*
 * Counts what the present subtransaction has done.
 */
void
dg_counter_add(DgCounter counter, int64 n)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	if (pending == NULL || pending->subid != subid)
	{
		Pending    *own = MemoryContextAllocZero(TopTransactionContext, sizeof(Pending));

		own->subid = subid;
		own->next = pending;
		pending = own;
	}
	pending->counts[counter] += n;
}

/*
 * Counts an error that is about to be reported, if it is a refusal of ours. Throws
 * nothing.
 */
void
dg_counter_refusal(int sqlstate)
{
	static const DgCounter deleting[] = {
		DG_COUNT_REFUSED_CEILING, DG_COUNT_REFUSED_EXPECTED, DG_COUNT_REFUSED_DDL, DG_COUNT_REFUSED_WRITE,
		DG_COUNT_REFUSED_ROW
	};
	static const DgCounter groups[] = {
		DG_COUNT_REFUSED_ROW, DG_COUNT_REFUSED_RESTORE, DG_COUNT_REFUSED_TOKEN, DG_COUNT_REFUSED_PURGE,
		DG_COUNT_REFUSED_ARCHIVE
	};
	int			group = PGUNSIXBIT(sqlstate >> 18) - '0';
	int			code = PGUNSIXBIT(sqlstate >> 24) - '0';

	if (counters == NULL || ERRCODE_TO_CATEGORY(sqlstate) != ERRCODE_TO_CATEGORY(DG_ERRCODE_LIMIT_EXCEEDED) ||
		group < 0 || group >= lengthof(groups))
		return;
	pg_atomic_fetch_add_u64(&counters->counts[group == 0 && code >= 1 && code <= lengthof(deleting) ?
											  deleting[code - 1] : groups[group]], 1);
}

static void
count_at_xact(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_PREPARE && event != XACT_EVENT_ABORT)
		return;
	if (event != XACT_EVENT_ABORT && pending != NULL && counters != NULL)
	{
		for (int i = 0; i < DG_COUNTERS; i++)
		{
			if (pending->counts[i] != 0)
				pg_atomic_fetch_add_u64(&counters->counts[i], pending->counts[i]);
		}
	}
	pending = NULL;
}

static void
count_at_subxact(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	Pending    *own = pending;

	if (own == NULL || own->subid != subid)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		pending = own->next;
	else if (event == SUBXACT_EVENT_COMMIT_SUB && own->next != NULL && own->next->subid == parent)
	{
		for (int i = 0; i < DG_COUNTERS; i++)
			own->next->counts[i] += own->counts[i];
		pending = own->next;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		own->subid = parent;
}

static void
request_shmem(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	RequestAddinShmemSpace(sizeof(Counters) * DATABASES);
}

/*
 * Makes ready, as the library is loaded, to count what transactions commit.
 */
void
dg_counter_init(void)
{
	RegisterXactCallback(count_at_xact, NULL);
	RegisterSubXactCallback(count_at_subxact, NULL);
	if (process_shared_preload_libraries_in_progress)
	{
		prev_shmem_request = shmem_request_hook;
		shmem_request_hook = request_shmem;
	}
}

/*
 * stat() -> (since, and the counters in the order of DgCounter); nulls where nothing
 * is counted
 */
Datum
dg_stat(PG_FUNCTION_ARGS)
{
	Datum		values[DG_COUNTERS + 1] = {0};
	bool		nulls[DG_COUNTERS + 1];
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != lengthof(values))
		elog(ERROR, "stat() has other columns than the library knows");
	dg_counter_attach();
	memset(nulls, counters == NULL, sizeof(nulls));
	if (counters != NULL)
	{
		values[0] = TimestampTzGetDatum((TimestampTz) pg_atomic_read_u64(&counters->since));
		for (int i = 0; i < DG_COUNTERS; i++)
			values[i + 1] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->counts[i]));
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * stat_reset() -> void
 */
Datum
dg_stat_reset(PG_FUNCTION_ARGS)
{
	dg_counter_attach();
	if (counters != NULL)
	{
		for (int i = 0; i < DG_COUNTERS; i++)
			pg_atomic_write_u64(&counters->counts[i], 0);
		pg_atomic_write_u64(&counters->since, (uint64) GetCurrentTimestamp());
	}
	PG_RETURN_VOID();
}
