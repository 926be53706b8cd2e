/*
 * purge_scrub_index.c
 *		Rebuilding the indexes of a table that is scrubbed, and removing what a
 *		rebuilding that was stopped has left.
 *
 * REINDEX CONCURRENTLY makes a second index beside the first, lets it take the
 * first one's place, and drops the first. Where it is stopped in between, by an
 * error, a cancel or a crash, one of the two stays, marked invalid, and is kept
 * up by every write to the table. So scrub() writes down what it is about to
 * rebuild before it begins, and the new index in the transaction that makes it.
 * Whatever of these two is invalid is removed: at once after an error, by the next
 * scrub after anything else. verify() names it meanwhile. No other index of a
 * user's table is touched.
 *
 * On the extension's own tables nobody may make an index, nor drop one: there an
 * invalid index is what some REINDEX CONCURRENTLY has left, and goes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "purge/purge_internal.h"

static object_access_hook_type prev_object_access = NULL;

/* The table of which an index is being rebuilt, until the new index is known. */
static Oid	rebuilding = InvalidOid;

/*
 * Writes down which index of a table is rebuilt, or no more (InvalidOid). False,
 * and nothing is written, while something is left over that could not be removed.
 */
static bool
note_rebuilding(Oid relid, Oid index)
{
	Oid			types[] = {OIDOID, OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid), ObjectIdGetDatum(index)};
	char		nulls[] = {' ', OidIsValid(index) ? ' ' : 'n'};
	bool		noted;

	dg_worker_begin();
	SPI_connect();
	dg_query("UPDATE deletion_guard.scrub_progress SET rebuilding = $2, rebuilt_as = NULL"
			 " WHERE relation = $1 AND (rebuilding IS NULL OR $2 IS NULL)",
			 DG_AS_US, 2, types, values, nulls);
	noted = SPI_processed > 0;
	SPI_finish();
	dg_worker_commit();
	return noted;
}

/*
 * The first relation that is made while an index is rebuilt is the new index.
 */
static void
note_rebuilt(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classid, objid, subid, arg);
	if (access == OAT_POST_CREATE && classid == RelationRelationId && subid == 0 && OidIsValid(rebuilding))
	{
		Oid			types[] = {OIDOID, OIDOID};
		Datum		values[] = {ObjectIdGetDatum(rebuilding), ObjectIdGetDatum(objid)};

		rebuilding = InvalidOid;
		SPI_connect();
		dg_query("UPDATE deletion_guard.scrub_progress SET rebuilt_as = $2 WHERE relation = $1",
				 DG_AS_US, 2, types, values);
		SPI_finish();
	}
}

/*
 * Makes the process that scrubs, which calls this once, note the new index of
 * each rebuilding.
 */
void
dg_purge_scrub_index_init(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = note_rebuilt;
}

/* ----------------------------------------------------------------------
 * What is left over
 * ----------------------------------------------------------------------
 */

/*
 * Drops an index if it is invalid, with the locks of DROP INDEX CONCURRENTLY.
 * The lock is waited for without a snapshot, and the index looked at again
 * then: a REINDEX of another session may just have replaced it.
 */
static void
drop_if_invalid(const void *arg)
{
	Oid			index = *(const Oid *) arg;
	Oid			table;
	ObjectAddresses *objects;
	ObjectAddress object;

	StartTransactionCommand();
	MemoryContextSwitchTo(PortalContext);
	table = get_rel_relkind(index) == RELKIND_INDEX ? IndexGetRelation(index, true) : InvalidOid;
	if (OidIsValid(table))
	{
		InvalidateCatalogSnapshot();
		LockRelationOid(table, ShareUpdateExclusiveLock);
	}
	if (OidIsValid(table) && get_rel_relkind(index) == RELKIND_INDEX && !get_index_isvalid(index))
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		objects = new_object_addresses();
		ObjectAddressSet(object, RelationRelationId, index);
		add_exact_object_address(&object, objects);
		performMultipleDeletions(objects, DROP_RESTRICT, PERFORM_DELETION_CONCURRENTLY);
		if (ActiveSnapshotSet())
			PopActiveSnapshot();
	}
	CommitTransactionCommand();
	MemoryContextReset(PortalContext);
}

/*
 * The OIDs that a query returns, allocated to last.
 */
static List *
select_oids(const char *sql)
{
	List	   *oids;
	MemoryContext old;

	dg_worker_begin();
	SPI_connect();
	dg_query(sql, DG_AS_US,
			 .snapshot = GetLatestSnapshot());
	old = MemoryContextSwitchTo(TopMemoryContext);
	oids = dg_row_oids(1);
	MemoryContextSwitchTo(old);
	SPI_finish();
	dg_worker_commit();
	return oids;
}

static void
forget_done(void)
{
	dg_worker_begin();
	SPI_connect();
	dg_query("UPDATE deletion_guard.scrub_progress p SET rebuilding = NULL, rebuilt_as = NULL"
			 " WHERE rebuilding IS NOT NULL"
			 " AND NOT EXISTS (SELECT FROM deletion_guard_internal.scrub_remains() r WHERE r.relation = p.relation)",
			 DG_AS_US);
	SPI_finish();
	dg_worker_commit();
}

/*
 * Removes what a scrub that was stopped has left, and of the extension's own
 * tables every invalid index.
 */
void
dg_purge_scrub_clear(void)
{
	List	   *indexes = select_oids("SELECT r.index::oid FROM deletion_guard_internal.scrub_remains() r");
	ListCell   *lc;

	foreach(lc, indexes)
		(void) dg_purge_scrub_try(drop_if_invalid, &lfirst_oid(lc));
	list_free(indexes);
	forget_done();
}

/* ----------------------------------------------------------------------
 * Rebuilding
 * ----------------------------------------------------------------------
 */

/*
 * Rebuilds one index of a table, or of its TOAST table; returns what went wrong.
 */
static char *
rebuild_index(Oid relid, Oid index)
{
	char	   *sql = NULL;
	char	   *problem;

	dg_worker_begin();
	if (get_rel_relkind(index) == RELKIND_INDEX)
		sql = MemoryContextStrdup(TopMemoryContext,
								  psprintf("REINDEX (CONCURRENTLY) INDEX %s", dg_relation_name(index)));
	dg_worker_commit();
	if (sql == NULL)
		return NULL;			/* dropped meanwhile */
	if (!note_rebuilding(relid, index))
		return MemoryContextStrdup(TopMemoryContext, "what an earlier scrub has left could not be removed, see the server's log");

	rebuilding = relid;
	problem = dg_purge_scrub_run(sql);
	rebuilding = InvalidOid;
	pfree(sql);
	if (problem == NULL)
		(void) note_rebuilding(relid, InvalidOid);
	else
		dg_purge_scrub_clear();
	return problem;
}

/*
 * Rebuilds the indexes of a table and of its TOAST table, one after the other, but
 * for those that are invalid and those of exclusion constraints, which cannot be
 * rebuilt concurrently. Returns the first problem, allocated to last, or NULL.
 */
char *
dg_purge_scrub_indexes(Oid relid)
{
	char	   *problem = NULL;
	List	   *indexes = select_oids(psprintf("SELECT i.indexrelid FROM pg_index i JOIN pg_class c ON i.indrelid IN (c.oid, c.reltoastrelid)"
											   " WHERE c.oid = %u AND i.indisvalid AND NOT i.indisexclusion ORDER BY 1", relid));
	ListCell   *lc;

	foreach(lc, indexes)
	{
		char	   *failed = rebuild_index(relid, lfirst_oid(lc));

		if (problem == NULL)
			problem = failed;
	}
	list_free(indexes);
	return problem;
}

/*
 * Indexes that are not rebuilt: invalid ones of somebody else's making, and those
 * of exclusion constraints; palloc'd, NULL if there are none.
 */
char *
dg_purge_scrub_skipped_indexes(Oid relid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};

	if (dg_query("SELECT string_agg(i.indexrelid::regclass::text, ', ' ORDER BY i.indexrelid) FROM pg_index i"
				 " WHERE i.indrelid IN (SELECT $1 UNION ALL SELECT reltoastrelid FROM pg_class WHERE oid = $1)"
				 " AND (NOT i.indisvalid OR i.indisexclusion)", DG_AS_US, 1, types, values,
				 .snapshot = GetLatestSnapshot()) == 0)
		return NULL;
	return dg_row_text(0, 1);
}
