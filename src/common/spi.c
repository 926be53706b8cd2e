/*
 * spi.c
 *		Reading the extension's own tables by queries, what those return, and
 *		lists as the arrays that they take.
 *
 * Such a query has a snapshot of its own, whatever the transaction's isolation
 * level: what decides after a lock was granted must see what was committed
 * before. store.c has the statements that write.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "common/deletion_guard.h"

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

/*
 * A list of OIDs as oid[].
 */
Datum
dg_oid_array(List *oids)
{
	Datum	   *elems = palloc(sizeof(Datum) * list_length(oids));

	for (int i = 0; i < list_length(oids); i++)
		elems[i] = ObjectIdGetDatum(list_nth_oid(oids, i));
	return PointerGetDatum(construct_array(elems, list_length(oids), OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

/*
 * A list of names (char *) as name[].
 */
Datum
dg_name_array(List *names)
{
	Datum	   *elems = palloc(sizeof(Datum) * list_length(names));

	for (int i = 0; i < list_length(names); i++)
		elems[i] = DirectFunctionCall1(namein, CStringGetDatum(list_nth(names, i)));
	return PointerGetDatum(construct_array(elems, list_length(names), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
}
