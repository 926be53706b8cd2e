/*
 * store.c
 *		Writing the extension's own tables.
 *
 * The tables refuse every write that the extension did not make (see
 * guard_protect.c). Two ways lead past that: a tuple inserted straight into
 * the heap, which the hot path uses, and a statement run by dg_spi_execute(),
 * during which dg_acting() is true. An error cannot leave that so.
 *
 * It is true of that one statement, not of others that run inside it. A
 * superuser may have planted some: in operators of pg_catalog which the
 * statement takes for the server's own, and in event triggers, which our
 * commands do not fire (guard_hooks.c).
 */
#include "deletion_guard.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* tenants that are locked one by one */
#define MAX_TENANT_LOCKS 64

/* rows to fetch at a time */
#define FETCH_ROWS 1000

/* The statement that the extension runs for itself, if it does. */
typedef struct Acting
{
	bool		on;
	int			depth;			/* 0: it has not begun; 1: it runs; more: others inside it */
} Acting;

static Acting acting;

/*
 * Is the current statement one that the extension runs for itself? Those of
 * its own install script are.
 */
bool
dg_acting(void)
{
	return (acting.on && acting.depth <= 1) || dg_installing();
}

/*
 * Is the statement that is about to begin such a one?
 */
bool
dg_acting_next(void)
{
	return (acting.on && acting.depth == 0) || dg_installing();
}

/*
 * From here to dg_acting_leave(), which gets the result, a statement runs, or
 * is planned: what begins now is another one.
 */
int
dg_acting_enter(void)
{
	return acting.depth++;
}

void
dg_acting_leave(int saved)
{
	acting.depth = saved;
}

/*
 * Inserts one row into a table of the extension, with its index entries.
 * Needs no privilege; takes ROW EXCLUSIVE on the table until the end of the
 * transaction.
 */
void
dg_store_insert(Oid relid, Datum *values, bool *nulls)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);

	CatalogTupleInsert(rel, tuple);
	heap_freetuple(tuple);
	table_close(rel, NoLock);
}

/*
 * Deletes the rows of a table of the extension whose column attnum, the first
 * of the index, is the OID key. For where no statement can run.
 */
void
dg_store_delete(Oid relid, Oid indexid, AttrNumber attnum, Oid key)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	ScanKeyData scankey;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&scankey, attnum, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(key));
	scan = systable_beginscan(rel, indexid, OidIsValid(indexid), NULL, 1, &scankey);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
}

/*
 * Runs one statement as the extension's owner, with a search_path of
 * pg_catalog only. The caller is connected to SPI. Returns SPI's code; an
 * unexpected one is an error.
 */
int
dg_spi_execute(const char *sql, int nargs, Oid *argtypes, Datum *values, const char *nulls)
{
	Oid			save_userid;
	int			save_sec_context;
	int			nestlevel;
	Acting		saved = acting;
	volatile int ret = 0;

	GetUserIdAndSecContext(&save_userid, &save_sec_context);
	SetUserIdAndSecContext(dg_objects()->owner,
						   save_sec_context | SECURITY_LOCAL_USERID_CHANGE);
	nestlevel = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("default_tablespace", "", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	acting = (Acting) {.on = true};
	PG_TRY();
	{
		ret = SPI_execute_with_args(sql, nargs, argtypes, values, nulls, false, 0);
	}
	PG_FINALLY();
	{
		acting = saved;
	}
	PG_END_TRY();

	AtEOXact_GUC(true, nestlevel);
	SetUserIdAndSecContext(save_userid, save_sec_context);
	if (ret < 0)
		elog(ERROR, "internal statement failed: %s: %s", SPI_result_code_string(ret), sql);
	return ret;
}

Oid
dg_relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* What is run as a table's owner: sql, or a plan that was made of it. */
typedef struct OwnerQuery
{
	const char *sql;
	int			nargs;
	Oid		   *argtypes;
	Datum	   *values;
	SPIPlanPtr *plan;			/* NULL: none is kept */
	Snapshot	snapshot;		/* InvalidSnapshot: a new one, and rows may be locked */
	long		count;
	bool		cursor;			/* open a portal, or fetch from it */
	Portal		portal;
} OwnerQuery;

static int
run_query(OwnerQuery *query)
{
	SPIPlanPtr	plan;

	if (query->portal != NULL)
	{
		SPI_cursor_fetch(query->portal, true, query->count);
		return SPI_OK_FETCH;
	}
	if (query->cursor)
	{
		query->portal = SPI_cursor_open_with_args(NULL, query->sql, query->nargs, query->argtypes,
												  query->values, NULL, true, CURSOR_OPT_NO_SCROLL);
		return SPI_OK_CURSOR;
	}
	if (query->snapshot == InvalidSnapshot)
		return SPI_execute_with_args(query->sql, query->nargs, query->argtypes, query->values,
									 NULL, false, query->count);
	plan = query->plan != NULL ? *query->plan : NULL;
	if (plan == NULL)
		plan = SPI_prepare(query->sql, query->nargs, query->argtypes);
	if (plan == NULL)
		return SPI_result;
	if (query->plan != NULL)
		*query->plan = plan;
	return SPI_execute_snapshot(plan, query->values, NULL, query->snapshot, InvalidSnapshot,
								true, false, query->count);
}

/*
 * Runs a query as the owner of the one table that it is about, as foreign keys
 * do. Whoever owns a table decides which code runs when it is read: casts,
 * domains' checks, foreign tables among its children, and functions in indexes
 * and constraints, which the planner evaluates where their arguments are
 * constant. That must neither have the extension's rights nor pass for the
 * extension.
 */
static void
run_as_owner(Oid relid, OwnerQuery *query)
{
	Oid			owner = dg_relation_owner(relid);
	Oid			save_userid;
	int			save_sec_context;
	int			nestlevel;
	Acting		saved = acting;
	volatile int ret = 0;

	GetUserIdAndSecContext(&save_userid, &save_sec_context);
	SetUserIdAndSecContext(owner, save_sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	nestlevel = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	acting = (Acting) {0};
	PG_TRY();
	{
		ret = run_query(query);
	}
	PG_FINALLY();
	{
		acting = saved;
	}
	PG_END_TRY();

	AtEOXact_GUC(true, nestlevel);
	SetUserIdAndSecContext(save_userid, save_sec_context);
	if (ret < 0)
		elog(ERROR, "internal statement failed: %s: %s", SPI_result_code_string(ret), query->sql);
}

/*
 * Runs one statement that only looks at one table (and, for UPDATE's sake,
 * locks its rows) as that table's owner. The caller is connected to SPI.
 */
void
dg_spi_execute_as_owner(Oid relid, const char *sql, int nargs, Oid *argtypes, Datum *values)
{
	OwnerQuery	query = {sql, nargs, argtypes, values};

	run_as_owner(relid, &query);
}

/*
 * The same for a SELECT that sees what a snapshot does and ends after a number
 * of rows (0: all). *plan, if there is such a place, keeps the plan from call to
 * call, for as long as SPI stays connected or, after SPI_keepplan(), longer.
 */
void
dg_spi_select_as_owner(Oid relid, const char *sql, int nargs, Oid *argtypes, Datum *values,
					   SPIPlanPtr *plan, Snapshot snapshot, long count)
{
	OwnerQuery	query = {sql, nargs, argtypes, values, plan, snapshot, count};

	run_as_owner(relid, &query);
}

static void
run_as(Oid relid, OwnerQuery *query)
{
	if (OidIsValid(relid))
		run_as_owner(relid, query);
	else
		(void) run_query(query);
}

/*
 * The same for a SELECT with many rows, as the active snapshot sees them: they
 * are given to the sink, which runs as the caller, some at a time. InvalidOid
 * instead of a table runs the query as the caller, too.
 */
void
dg_spi_read_as_owner(Oid relid, const char *sql, int nargs, Oid *argtypes, Datum *values,
					 DgSpiSink sink, void *arg)
{
	OwnerQuery	query = {sql, nargs, argtypes, values, .count = FETCH_ROWS, .cursor = true};
	SPITupleTable *table;
	uint64		n;

	run_as(relid, &query);
	do
	{
		run_as(relid, &query);
		table = SPI_tuptable;
		n = SPI_processed;
		for (uint64 i = 0; i < n; i++)
			sink(arg, table->vals[i], table->tupdesc);
		SPI_freetuptable(table);
	} while (n > 0);
	SPI_cursor_close(query.portal);
}

/*
 * Locks something that is not a table, until the end of the transaction. The
 * class is the OID of the registry that lists such things, so that the locks
 * are nobody else's.
 */
void
dg_lock_object(Oid classid, Oid objid, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, classid, objid, 0);
	(void) LockAcquire(&tag, mode, false, false);
}

/*
 * Locks one of the tenants. Two tenants may share a lock; then they wait for
 * each other.
 */
static void
lock_tenant(const char *tenant)
{
	dg_lock_object(dg_objects()->tenant_table,
				   (Oid) hash_bytes((const unsigned char *) tenant, strlen(tenant)),
				   ExclusiveLock);
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/*
 * The lock that undelete, rehydrate, request_purge and purge take on the
 * tenants they concern, until the end of the transaction. The list (of char *)
 * is sorted, so that two such calls cannot wait for each other in a circle.
 * Many tenants are locked as one, so as not to fill the lock table: whoever
 * locks single tenants shares a lock that excludes that.
 */
void
dg_lock_tenants(List *tenants)
{
	Oid			registry = dg_objects()->tenant_table;
	ListCell   *lc;

	if (list_length(tenants) > MAX_TENANT_LOCKS)
	{
		dg_lock_object(registry, InvalidOid, ExclusiveLock);
		return;
	}
	dg_lock_object(registry, InvalidOid, RowExclusiveLock);
	list_sort(tenants, compare_names);
	foreach(lc, tenants)
		lock_tenant(lfirst(lc));
}

void
dg_lock_tenant(const char *tenant)
{
	dg_lock_tenants(list_make1(unconstify(char *, tenant)));
}
