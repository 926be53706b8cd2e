/*
 * capture_limit_wipe.c
 *		Rows of the tenant table that are deleted, by whomever: counted over an
 *		hour.
 *
 * Each capture of tenants leaves a row in deletion_guard.tenant_wipe. Sessions
 * that delete tenants would not see each other's rows until they commit, so
 * one for which the ceiling is set first locks the others out until it ends;
 * those without a ceiling only have to wait for those with one.
 *
 * The lock is taken before the statement locks any row, so that two sessions
 * which delete several tenants each do not come to wait for each other, for a
 * row here and for that lock there. Where the statement could not be seen
 * coming (it loads the library, or tenants go by a cascade), it is taken when
 * they are captured; and a transaction may have locked tenants before, by an
 * UPDATE. Then the server may have to end one of two with "deadlock detected".
 */
#include "postgres.h"

#include "access/table.h"
#include "executor/executor.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "capture/capture_internal.h"
#include "common/own_tables.h"
#include "guard/guard.h"

/*
 * How many tenants were deleted within the last hour, as of now: by
 * transactions that have committed, whatever this one's snapshot sees, and by
 * this one.
 */
static int64
count_wipes(void)
{
	ScanKeyData key;
	DgOwnScan  *scan;
	int64		wiped = 0;

	ScanKeyInit(&key, Anum_tenant_wipe_wiped_at, BTGreaterStrategyNumber, F_TIMESTAMPTZ_GT,
				TimestampTzGetDatum(GetCurrentTimestamp() - USECS_PER_HOUR));
	scan = dg_own_scan(DG_OWN_BY(tenant_wipe, tenant_wipe_at_idx), AccessShareLock, 1, &key);
	while (dg_own_next(scan))
		wiped += dg_own_int64(scan, Anum_tenant_wipe_rows);
	dg_own_end(scan);
	return wiped;
}

static void
lock_wipes(void)
{
	dg_lock_object(dg_objects()->tenant_wipe, InvalidOid,
				   dg_tenant_wipes_per_hour > 0 ? ExclusiveLock : RowExclusiveLock);
}

/*
 * Is it the tenant table, or a partition of it? Asks its triggers first, which
 * says in a database without the extension that it is not.
 */
static bool
is_tenant_table(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	bool		captured = rel->trigdesc != NULL && rel->trigdesc->trig_delete_old_table;

	table_close(rel, NoLock);
	return captured && dg_installed() && OidIsValid(dg_guard_tenant_table()->relid) &&
		(relid == dg_guard_tenant_table()->relid ||
		 (get_rel_relispartition(relid) && dg_guard_lookup(relid)->root == dg_guard_tenant_table()->relid));
}

static bool
may_delete_tenants(Plan *plan, const PlannedStmt *stmt)
{
	ModifyTable *modify = (ModifyTable *) plan;

	if (plan == NULL || !IsA(plan, ModifyTable) ||
		(modify->operation != CMD_DELETE && !dg_capture_merge_deletes(modify)))
		return false;
	return is_tenant_table(rt_fetch(modify->rootRelation > 0 ? modify->rootRelation :
									linitial_int(modify->resultRelations), stmt->rtable)->relid);
}

/*
 * Waits for the turn of a query that is about to start, if it deletes tenants.
 */
void
dg_capture_wipe_expect(const PlannedStmt *stmt, int eflags)
{
	bool		found;
	ListCell   *lc;

	if (dg_result_relations(stmt) == NIL || (eflags & EXEC_FLAG_EXPLAIN_ONLY) || dg_acting_next())
		return;
	found = may_delete_tenants(stmt->planTree, stmt);
	if (stmt->hasModifyingCTE)
	{
		foreach(lc, stmt->subplans)
			found = found || may_delete_tenants(lfirst(lc), stmt);
	}
	if (found)
		lock_wipes();
}

/*
 * Takes the lock before tenants are captured. Returns how many were deleted
 * within the last hour, if there is a ceiling.
 */
int64
dg_capture_wipe_begin(void)
{
	lock_wipes();
	return dg_tenant_wipes_per_hour > 0 ? count_wipes() : 0;
}

/*
 * Records that tenants have been captured, for the counts of the next hour.
 */
void
dg_capture_wipe_end(int64 deletion, int64 rows)
{
	Datum		values[Natts_tenant_wipe];
	bool		nulls[Natts_tenant_wipe] = {false};

	values[Anum_tenant_wipe_deletion_id - 1] = Int64GetDatum(deletion);
	values[Anum_tenant_wipe_wiped_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_tenant_wipe_rows - 1] = Int64GetDatum(rows);
	dg_own_insert(DG_OWN_ALL(tenant_wipe), values, nulls);
	dg_counter_add(DG_COUNT_TENANTS_DELETED, rows);
}
