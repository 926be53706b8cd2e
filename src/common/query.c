/*
 * query.c
 *		Queries: about which tables, as whom they run, and what they return.
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

#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "common/deletion_guard.h"
#include "common/frame.h"

/* rows to fetch at a time */
#define FETCH_ROWS 1000

/* ----------------------------------------------------------------------
 * About which tables
 * ----------------------------------------------------------------------
 */

static List *
tables_by_owner(Oid relid)
{
	Oid			owner = dg_relation_owner(relid);
	bool		several = false;
	List	   *tables = NIL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		several |= dg_relation_owner(lfirst_oid(lc)) != owner;
		if (!dg_has_parts(lfirst_oid(lc)))
			tables = lappend_oid(tables, lfirst_oid(lc));
	}
	return several ? tables : list_make1_oid(relid);
}

/*
 * The tables that a query for a table's rows is about, so that it can run as
 * their owner: planning it alone may run what is in indexes of partitions. They
 * are asked one by one only where they have several owners.
 */
List *
dg_query_tables(Oid relid)
{
	return dg_has_parts(relid) ? tables_by_owner(relid) : list_make1_oid(relid);
}

/*
 * Those where rows of tables that inherit from it are wanted, too.
 */
List *
dg_query_tables_inherited(Oid relid)
{
	return has_subclass(relid) ? tables_by_owner(relid) : list_make1_oid(relid);
}

/* ----------------------------------------------------------------------
 * Running
 * ----------------------------------------------------------------------
 */

/*
 * Runs a query as whoever the current role is or, where there is a place for a
 * portal, opens one for it, and from then on fetches from that. Returns SPI's code.
 */
static int
run_as_is(const DgQuery *query, Portal *portal)
{
	if (portal != NULL && *portal != NULL)
	{
		SPI_cursor_fetch(*portal, true, FETCH_ROWS);
		return SPI_OK_FETCH;
	}
	if (portal != NULL)
	{
		*portal = SPI_cursor_open_with_args(NULL, query->sql, query->nargs, query->types, query->values,
											query->nulls, true, CURSOR_OPT_NO_SCROLL);
		return SPI_OK_CURSOR;
	}
	if (query->discard)
	{
		SPIExecuteOptions options = {.dest = CreateDestReceiver(DestNone)};

		return SPI_execute_extended(query->sql, &options);
	}
	Assert(query->plan == NULL || query->snapshot != NULL);
	if (query->plan == NULL)
		return SPI_execute_with_args(query->sql, query->nargs, query->types, query->values, query->nulls,
									 query->snapshot != NULL, query->count);
	if (*query->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(query->sql, query->nargs, query->types);

		if (plan == NULL || (query->for_session && SPI_keepplan(plan) != 0))
			return SPI_result;
		*query->plan = plan;
	}
	return SPI_execute_snapshot(*query->plan, query->values, query->nulls, GetActiveSnapshot(),
								InvalidSnapshot, true, false, query->count);
}

static DgRole
enter_role(const DgQuery *query)
{
	switch (query->as)
	{
		case DG_AS_OWNER:
			return dg_role_enter(dg_relation_owner(query->table),
								 SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
		case DG_AS_US:
			return dg_role_enter(dg_objects()->owner, 0);
		default:
			elog(ERROR, "a query without a role: %s", query->sql);
	}
}

/*
 * Whatever becomes of the query, who passes for the extension is as before then.
 */
static pg_noinline int
run_acting(const DgQuery *query, Portal *portal, bool acting)
{
	DgActing	before = dg_acting_set(acting ? DG_ACTING_NEXT : DG_ACTING_NOT);
	volatile int ret = 0;

	PG_TRY();
	{
		ret = run_as_is(query, portal);
	}
	PG_FINALLY();
	{
		dg_acting_resume(before);
	}
	PG_END_TRY();
	return ret;
}

/*
 * Only a statement of ours that may write passes for the extension.
 */
static void
run_as(const DgQuery *query, Portal *portal)
{
	bool		acting = query->as == DG_AS_US && query->snapshot == NULL;
	int			ret;

	if (query->as == DG_AS_CALLER)
		ret = run_as_is(query, portal);
	else
	{
		DgRole		caller = enter_role(query);

		if (acting)
			(void) set_config_option("default_tablespace", "", PGC_USERSET,
									 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		ret = run_acting(query, portal, acting);
		dg_role_leave(caller);
	}
	if (ret < 0)
		elog(ERROR, "internal statement failed: %s: %s", SPI_result_code_string(ret), query->sql);
}

/*
 * Runs a query, with a search_path of pg_catalog only unless it is the caller's.
 * We are connected to SPI, where the rows are found: SPI_tuptable, and dg_row_text()
 * and the like. Returns their number.
 */
uint64
dg_query_run(const DgQuery *query)
{
	if (query->snapshot != NULL)
		PushActiveSnapshot(query->snapshot);
	run_as(query, NULL);
	if (query->snapshot != NULL)
		PopActiveSnapshot();
	return SPI_processed;
}

/*
 * Runs a query with many rows: they are given to the sink, which runs as the caller,
 * some at a time. Without a snapshot, the active one is used.
 */
void
dg_query_read(const DgQuery *query, DgQuerySink sink, void *arg)
{
	Portal		portal = NULL;
	SPITupleTable *table;
	uint64		n;

	if (query->snapshot != NULL)
		PushActiveSnapshot(query->snapshot);
	run_as(query, &portal);
	do
	{
		run_as(query, &portal);
		table = SPI_tuptable;
		n = SPI_processed;
		for (uint64 i = 0; i < n; i++)
			sink(arg, table->vals[i], table->tupdesc);
		SPI_freetuptable(table);
	} while (n > 0);
	SPI_cursor_close(portal);
	if (query->snapshot != NULL)
		PopActiveSnapshot();
}

/*
 * A sink that puts rows into a tuplestore.
 */
void
dg_query_put(void *tuplestore, HeapTuple tuple, TupleDesc desc)
{
	tuplestore_puttuple(tuplestore, tuple);
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
dg_query_register_rows(const char *name, Tuplestorestate *rows, TupleDesc desc)
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

/*
 * A column (from 1) of a row (from 0) of the last result. It lasts as long as the
 * result.
 */
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
