/*
 * owner.c
 *		As whom queries run: our own tables' as the extension's owner, any other
 *		table's as that table's owner.
 *
 * Foreign keys are checked as the table's owner, too, and for the same reason.
 * Whoever owns a table decides which code runs when it is read: casts, domains'
 * checks, foreign tables among its children, and functions in indexes and
 * constraints, which the planner evaluates where their arguments are constant.
 * That code must neither have the extension's rights nor pass for the extension.
 * So each query is about one table.
 *
 * Nothing need be put back on error: the end of the (sub)transaction does it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "common/deletion_guard.h"

/* rows to fetch at a time */
#define FETCH_ROWS 1000

/*
 * From here to dg_role_leave(), which gets the result, everything runs as
 * another role, with a search_path of pg_catalog only. sec_context has flags of
 * SetUserIdAndSecContext() besides.
 */
DgRole
dg_role_enter(Oid role, int sec_context)
{
	DgRole		caller;

	GetUserIdAndSecContext(&caller.id, &caller.sec_context);
	SetUserIdAndSecContext(role, caller.sec_context | SECURITY_LOCAL_USERID_CHANGE | sec_context);
	caller.nestlevel = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return caller;
}

void
dg_role_leave(DgRole caller)
{
	AtEOXact_GUC(true, caller.nestlevel);
	SetUserIdAndSecContext(caller.id, caller.sec_context);
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
 * Runs a query as the owner of the one table that it is about.
 */
static void
run_as_owner(Oid relid, OwnerQuery *query)
{
	DgRole		caller = dg_role_enter(dg_relation_owner(relid),
									   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	DgActing	saved = dg_acting_suspend();
	volatile int ret = 0;

	PG_TRY();
	{
		ret = run_query(query);
	}
	PG_FINALLY();
	{
		dg_acting_resume(saved);
	}
	PG_END_TRY();

	dg_role_leave(caller);
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
