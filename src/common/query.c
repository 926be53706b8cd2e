/*
 * query.c
 *		Queries: as whom they run, and what they return.
 *
 * Those about our own tables run as the extension's owner. What reads them to
 * decide something has a snapshot of its own, whatever the transaction's
 * isolation level: after a lock was granted it must see what was committed
 * before.
 *
 * Those about any other table run as that table's owner. Foreign keys are
 * checked as the table's owner, too, and for the same reason. A table's owner
 * decides which code runs when it is read: casts, domains' checks, foreign
 * tables among its children, and functions in indexes and constraints, which
 * the planner evaluates where their arguments are constant. That code must
 * neither have the extension's rights nor pass for the extension. So each query
 * is about one table.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "common/deletion_guard.h"

/* rows to fetch at a time */
#define FETCH_ROWS 1000

/* ----------------------------------------------------------------------
 * About our own tables
 * ----------------------------------------------------------------------
 */

/*
 * Runs one statement as the extension's owner, with a search_path of
 * pg_catalog only. The caller is connected to SPI. Returns SPI's code; an
 * unexpected one is an error.
 */
int
dg_spi_execute(const char *sql, int nargs, Oid *argtypes, Datum *values, const char *nulls)
{
	DgRole		caller = dg_role_enter(dg_objects()->owner, 0);
	DgActing	saved;
	volatile int ret = 0;

	(void) set_config_option("default_tablespace", "", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	saved = dg_acting_begin();
	PG_TRY();
	{
		ret = SPI_execute_with_args(sql, nargs, argtypes, values, nulls, false, 0);
	}
	PG_FINALLY();
	{
		dg_acting_resume(saved);
	}
	PG_END_TRY();

	dg_role_leave(caller);
	if (ret < 0)
		elog(ERROR, "internal statement failed: %s: %s", SPI_result_code_string(ret), sql);
	return ret;
}

/*
 * Runs one query as the extension's owner, seeing what is committed now and
 * what this transaction has done. The caller is connected to SPI; the rows are
 * in SPI_tuptable.
 */
int
dg_spi_select(const char *sql, int nargs, Oid *argtypes, Datum *values, const char *nulls)
{
	DgRole		caller = dg_role_enter(dg_objects()->owner, 0);
	int			ret;

	PushActiveSnapshot(GetLatestSnapshot());
	ret = SPI_execute_with_args(sql, nargs, argtypes, values, nulls, true, 0);
	PopActiveSnapshot();
	dg_role_leave(caller);
	if (ret != SPI_OK_SELECT)
		elog(ERROR, "internal query failed: %s: %s", SPI_result_code_string(ret), sql);
	return (int) SPI_processed;
}

/* ----------------------------------------------------------------------
 * About others' tables
 * ----------------------------------------------------------------------
 */

/* What is run as a table's owner: sql, or a plan that was made of it. */
typedef struct OwnerQuery
{
	const char *sql;
	int			nargs;
	Oid		   *argtypes;
	Datum	   *values;
	SPIPlanPtr *plan;			/* NULL: none is kept */
	Snapshot	snapshot;		/* InvalidSnapshot: a new one, and rows may be
								 * locked */
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
 * Runs a SELECT about one table as that table's owner. It sees what a snapshot
 * does and ends after a number of rows (0: all). *plan, if there is such a place, keeps the plan from call to
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
 * Runs a SELECT with many rows about one table as that table's owner, as the
 * active snapshot sees them: they are given to the sink, which runs as the caller,
 * some at a time. InvalidOid
 * instead of a table runs the query as the caller, too.
 */
void
dg_spi_read_as_owner(Oid relid, const char *sql, int nargs, Oid *argtypes, Datum *values,
					 DgSpiSink sink, void *arg)
{
	OwnerQuery	query = {sql, nargs, argtypes, values,.count = FETCH_ROWS,.cursor = true};
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

/* ----------------------------------------------------------------------
 * What goes in and comes out
 * ----------------------------------------------------------------------
 */

/*
 * Lets the queries of this SPI connection use rows by a name, as if they were
 * a table.
 */
void
dg_spi_register_rows(const char *name, Tuplestorestate *rows, TupleDesc desc)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

	enr->md.name = pstrdup(name);
	enr->md.tupdesc = desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = tuplestore_tuple_count(rows);
	enr->reldata = rows;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register %s", name);
}

/*
 * A column (from 1) of a row (from 0) of the last result, as text; NULL for
 * null.
 */
char *
dg_row_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

Datum
dg_row_datum(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

/*
 * An integer column; 0 for null. isnull may be NULL.
 */
int64
dg_row_int64(uint64 row, int column, bool *isnull)
{
	bool		null;
	Datum		value = dg_row_datum(row, column, &null);

	if (isnull != NULL)
		*isnull = null;
	if (null)
		return 0;
	switch (SPI_gettypeid(SPI_tuptable->tupdesc, column))
	{
		case INT8OID:
			return DatumGetInt64(value);
		case INT4OID:
			return DatumGetInt32(value);
		case OIDOID:
		case REGCLASSOID:
			return DatumGetObjectId(value);
		default:
			elog(ERROR, "column %d is not an integer", column);
	}
}

/*
 * All of a column of OIDs, as a list in the current memory context.
 */
List *
dg_row_oids(int column)
{
	List	   *oids = NIL;

	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;

		oids = lappend_oid(oids, DatumGetObjectId(dg_row_datum(row, column, &isnull)));
	}
	return oids;
}
