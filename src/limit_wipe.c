/*
 * limit_wipe.c
 *		Rows of the tenant table that are deleted, by whomever: counted over an
 *		hour.
 *
 * Each capture of tenants leaves a row in deletion_guard.tenant_wipe. Sessions
 * that delete tenants would not see each other's rows until they commit, so
 * one for which the ceiling is set first locks the others out until it ends;
 * those without a ceiling only have to wait for those with one. Two sessions
 * that each delete several tenants in one transaction can come to wait for each
 * other, for a row here and for that lock there; the server then ends one of
 * them with "deadlock detected".
 */
#include "guard.h"
#include "limit.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* columns of deletion_guard.tenant_wipe */
#define Anum_wipe_deletion	1
#define Anum_wipe_at		2
#define Anum_wipe_rows		3
#define Natts_wipe			3

/*
 * How many tenants were deleted within the last hour, as of now: by
 * transactions that have committed, whatever this one's snapshot sees, and by
 * this one.
 */
static int64
count_wipes(void)
{
	Relation	rel = table_open(dg_objects()->tenant_wipe, AccessShareLock);
	TimestampTz since = GetCurrentTimestamp() - USECS_PER_HOUR;
	int64		wiped = 0;
	Snapshot	snapshot;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyInit(&key, Anum_wipe_at, BTGreaterStrategyNumber, F_TIMESTAMPTZ_GT,
				TimestampTzGetDatum(since));
	scan = systable_beginscan(rel, dg_objects()->tenant_wipe_at_idx, true, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		wiped += DatumGetInt64(heap_getattr(tuple, Anum_wipe_rows, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return wiped;
}

/*
 * Tenants are about to be captured. Returns how many were deleted within the
 * last hour, if there is a ceiling.
 */
int64
dg_wipe_begin(void)
{
	bool		ceiling = dg_tenant_wipes_per_hour > 0;

	dg_lock_object(dg_objects()->tenant_wipe, InvalidOid, ceiling ? ExclusiveLock : RowExclusiveLock);
	return ceiling ? count_wipes() : 0;
}

/*
 * Tenants have been captured.
 */
void
dg_wipe_end(int64 deletion, int64 rows)
{
	Datum		values[Natts_wipe];
	bool		nulls[Natts_wipe] = {false};

	values[Anum_wipe_deletion - 1] = Int64GetDatum(deletion);
	values[Anum_wipe_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_wipe_rows - 1] = Int64GetDatum(rows);
	dg_store_insert(dg_objects()->tenant_wipe, values, nulls);
}
