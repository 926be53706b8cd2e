/*
 * undelete_fold.c
 *		Records of deletions of which nothing is left are folded into counts.
 *
 * A deletion's record is some 300 bytes, and a table that is emptied row by row
 * makes a million of them a day. As long as rows are in the bin, it is needed to
 * find them. Once all of them are back or purged, it only says what was. Of old
 * ones the counts stay, by day and tenant, and the ledger.
 *
 * A record that is gone takes rows with it that are still in the bin: nothing
 * leads to them any more. So what decides is read by a scan, part by part. Parts
 * of one deletion come one after the other, by the index; where they do not, the
 * index has been tampered with, and nothing is folded. A part that is whole stays
 * so: no undelete and no purge touches it again. One thing does, the end of a
 * tenant's name (purge_forget.c), which is why a purge waits for the lock that
 * this holds on the table of counts, and then finds the tenant there.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "common/own_tables.h"
#include "ledger/ledger.h"
#include "undelete/undelete_internal.h"

PG_FUNCTION_INFO_V1(dg_fold_deletions);

/* What was deleted of a tenant on a day. */
typedef struct Count
{
	const char *key;			/* hash key: the day, and the tenant if there
								 * is one */
	uint32		status;
	DateADT		day;
	const char *tenant;			/* or NULL */
	int64		deletions;
	int64		last;			/* deletion that was counted */
	int64		rows;
	int64		restored;
	int64		purged;
} Count;

#define SH_PREFIX counts
#define SH_ELEMENT_TYPE Count
#define SH_KEY_TYPE const char *
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_bytes((const unsigned char *) key, strlen(key))
#define SH_EQUAL(table, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* A part of the deletion at hand. */
typedef struct FoldedPart
{
	ItemPointerData tid;
	char	   *tenant;			/* or NULL */
	int64		rows;
	int64		restored;
	int64		purged;
} FoldedPart;

typedef struct Folding
{
	TimestampTz before;			/* deletions as old as this stay */
	MemoryContext parts_context;
	counts_hash *counts;
	int64	   *needed;			/* deletions that something else leads to, in
								 * order */
	int			nneeded;
	int64		first;			/* deletion that was folded; 0: none yet */
	int64		last;
	int64		folded;			/* deletions */

	/* the deletion at hand */
	int64		deletion;
	bool		stays;
	TimestampTz deleted_at;		/* infinity: not known */
	List	   *parts;
} Folding;

static int
compare_int64(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

/*
 * Finds deletions whose record is needed although no row is left: links that they
 * took are not back, or a table was dropped with them that can be made again.
 */
static void
find_needed(Folding *folding, DgOwnTable table, AttrNumber deletion, AttrNumber unless)
{
	DgOwnScan  *scan = dg_own_scan(table, AccessShareLock, 0, NULL);

	while (dg_own_next(scan))
	{
		bool		isnull;

		if (dg_own_isnull(scan, deletion) || (unless != 0 && DatumGetBool(dg_own_datum(scan, unless, &isnull))))
			continue;
		folding->needed = folding->needed == NULL ? palloc(sizeof(int64)) :
			repalloc_huge(folding->needed, sizeof(int64) * pg_nextpower2_size_t(folding->nneeded + 1));
		folding->needed[folding->nneeded++] = dg_own_int64(scan, deletion);
	}
	dg_own_end(scan);
	qsort(folding->needed, folding->nneeded, sizeof(int64), compare_int64);
}

static void
count_part(Folding *folding, const FoldedPart *part)
{
	DateADT		day = (DateADT) floor((double) folding->deleted_at / USECS_PER_DAY);
	char	   *key = part->tenant == NULL ? psprintf("%d", day) : psprintf("%d %s", day, part->tenant);
	bool		found;
	Count	   *count = counts_insert(folding->counts, key, &found);

	if (!found)
	{
		count->key = MemoryContextStrdup(folding->counts->ctx, key);
		count->day = day;
		count->tenant = part->tenant == NULL ? NULL : strchr(count->key, ' ') + 1;
		count->deletions = count->last = count->rows = count->restored = count->purged = 0;
	}
	if (count->last != folding->deletion)
		count->deletions++;
	count->last = folding->deletion;
	count->rows += part->rows;
	count->restored += part->restored;
	count->purged += part->purged;
}

static void
delete_links(int64 deletion)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_BY(deletion_link, deletion_link_deletion_idx), RowExclusiveLock,
								   DG_KEYS(dg_own_key_int8(Anum_deletion_link_deletion_id, deletion)));

	while (dg_own_next(scan))
	{
		if (dg_own_lock(scan))
			dg_own_delete(scan);
	}
	dg_own_end(scan);
}

/*
 * All parts of the deletion at hand have been seen: folds it, if it may be.
 */
static void
end_deletion(Folding *folding)
{
	ListCell   *lc;

	if (folding->parts != NIL && !folding->stays && folding->deleted_at < folding->before &&
		(folding->nneeded == 0 || bsearch(&folding->deletion, folding->needed, folding->nneeded, sizeof(int64), compare_int64) == NULL))
	{
		foreach(lc, folding->parts)
		{
			FoldedPart *part = lfirst(lc);

			/* part 0 may be the record alone */
			if (part->rows > 0)
				count_part(folding, part);
			dg_own_delete_at(DG_OWN(deletion_part), &part->tid);
		}
		delete_links(folding->deletion);
		if (folding->folded++ == 0)
			folding->first = folding->deletion;
		folding->last = folding->deletion;
	}
	folding->parts = NIL;
	MemoryContextReset(folding->parts_context);
}

static void
begin_deletion(Folding *folding, int64 deletion)
{
	if (deletion < folding->deletion)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("the primary key of deletion_guard.deletion_part is not in order"),
				 errdetail("Deletion %lld comes after deletion %lld.", (long long) deletion, (long long) folding->deletion),
				 errhint("REINDEX TABLE deletion_guard.deletion_part makes it again. Find out what has changed it.")));
	folding->deletion = deletion;
	folding->stays = false;
	folding->deleted_at = DT_NOEND;
}

static void
see_part(Folding *folding, DgOwnScan *scan)
{
	MemoryContext old;
	FoldedPart *part;
	Datum		xid;
	bool		isnull;

	folding->deleted_at = Min(folding->deleted_at, dg_own_time(scan, Anum_deletion_part_deleted_at));
	old = MemoryContextSwitchTo(folding->parts_context);
	part = palloc(sizeof(FoldedPart));
	part->tid = scan->tuple->t_self;
	part->tenant = dg_own_text(scan, Anum_deletion_part_tenant);
	part->rows = dg_own_int64(scan, Anum_deletion_part_rows);
	part->restored = dg_own_int64(scan, Anum_deletion_part_restored);
	part->purged = dg_own_int64(scan, Anum_deletion_part_purged);
	xid = dg_own_datum(scan, Anum_deletion_part_xid, &isnull);
	folding->stays |= !isnull && TransactionIdIsCurrentTransactionId(XidFromFullTransactionId(DatumGetFullTransactionId(xid)));
	folding->stays |= part->restored < 0 || part->purged < 0 || part->rows != part->restored + part->purged;
	if (!folding->stays)
		folding->parts = lappend(folding->parts, part);
	else
	{
		folding->parts = NIL;
		MemoryContextReset(folding->parts_context);
	}
	MemoryContextSwitchTo(old);
}

static void
write_counts(const Folding *folding)
{
	counts_iterator iterator;
	Count	   *count;

	counts_start_iterate(folding->counts, &iterator);
	while ((count = counts_iterate(folding->counts, &iterator)) != NULL)
	{
		Datum		values[Natts_folded_deletion];
		bool		nulls[Natts_folded_deletion] = {false};

		values[Anum_folded_deletion_day - 1] = DateADTGetDatum(count->day);
		nulls[Anum_folded_deletion_tenant - 1] = count->tenant == NULL;
		values[Anum_folded_deletion_tenant - 1] = count->tenant == NULL ? (Datum) 0 : CStringGetTextDatum(count->tenant);
		values[Anum_folded_deletion_deletions - 1] = Int64GetDatum(count->deletions);
		values[Anum_folded_deletion_rows - 1] = Int64GetDatum(count->rows);
		values[Anum_folded_deletion_restored - 1] = Int64GetDatum(count->restored);
		values[Anum_folded_deletion_purged - 1] = Int64GetDatum(count->purged);
		dg_own_insert(DG_OWN_ALL(folded_deletion), values, nulls);
	}
}

/*
 * What the ceiling on tenants an hour has counted, and the view status shows for a
 * day.
 */
static void
delete_wipes(TimestampTz before)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(tenant_wipe), RowExclusiveLock, 0, NULL);

	while (dg_own_next(scan))
	{
		if (dg_own_time(scan, Anum_tenant_wipe_wiped_at) < before && dg_own_lock(scan))
			dg_own_delete(scan);
	}
	dg_own_end(scan);
}

static TimestampTz
time_before(Datum older_than)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz before = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(now), older_than));

	if (before > now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("older_than must not be negative")));
	return before;
}

/*
 * fold_deletions(older_than interval) -> how many
 */
Datum
dg_fold_deletions(PG_FUNCTION_ARGS)
{
	Folding		folding = {.before = time_before(PG_GETARG_DATUM(0))};
	DgOwnScan  *scan;

	folding.counts = counts_create(CurrentMemoryContext, 64, NULL);
	folding.parts_context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard fold", ALLOCSET_DEFAULT_SIZES);
	LockRelationOid(dg_objects()->folded_deletion, ShareRowExclusiveLock);
	find_needed(&folding, DG_OWN_ALL(deletion_link), Anum_deletion_link_deletion_id, Anum_deletion_link_restored);
	find_needed(&folding, DG_OWN_ALL(dropped_table), Anum_dropped_table_deletion_id, 0);
	scan = dg_own_scan(DG_OWN(deletion_part), RowExclusiveLock, 0, NULL);
	while (dg_own_next(scan))
	{
		int64		deletion = dg_own_int64(scan, Anum_deletion_part_deletion_id);

		if (deletion != folding.deletion)
		{
			end_deletion(&folding);
			begin_deletion(&folding, deletion);
		}
		see_part(&folding, scan);
	}
	end_deletion(&folding);
	dg_own_end(scan);
	write_counts(&folding);
	delete_wipes(Min(folding.before, GetCurrentTimestamp() - USECS_PER_DAY));
	if (folding.folded > 0)
		dg_ledger_append("fold_deletions", psprintf("{\"deletions\": %lld, \"first_deletion\": %lld, \"last_deletion\": %lld}",
													(long long) folding.folded, (long long) folding.first, (long long) folding.last));
	PG_RETURN_INT64(folding.folded);
}
