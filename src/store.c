/*
 * store.c
 *		Writing the extension's own tables.
 *
 * The tables refuse every write that the extension did not make (see
 * guard_protect.c). Two ways lead past that: a tuple inserted straight into
 * the heap, which the hot path uses, and a statement run by dg_spi_execute(),
 * during which dg_acting() is true. An error cannot leave it true.
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
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"

static DgActing acting;

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
 * The same of the statement that is about to begin.
 */
bool
dg_acting_next(void)
{
	return (acting.on && acting.depth == 0) || dg_installing();
}

/*
 * Between this and dg_acting_leave(), which gets the result, a statement runs or
 * is planned. What begins in between is another statement, inside it.
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
 * From here to dg_acting_resume() nothing that runs is the extension's own.
 */
DgActing
dg_acting_suspend(void)
{
	DgActing	saved = acting;

	acting = (DgActing) {0};
	return saved;
}

void
dg_acting_resume(DgActing saved)
{
	acting = saved;
}

/*
 * Inserts one row, of natts values, into a table of the extension, with its
 * index entries. Needs no privilege; takes ROW EXCLUSIVE on the table until the
 * end of the transaction.
 *
 * The table may have other columns than the library knows: before ALTER
 * EXTENSION UPDATE, and after it, in a session that has the old library loaded.
 */
void
dg_store_insert(Oid relid, int natts, Datum *values, bool *nulls)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	HeapTuple	tuple;

	if (RelationGetNumberOfAttributes(rel) != natts)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"deletion_guard\" in this database is of another version than the library in this session"),
				 errdetail("Its table \"%s\" has %d columns, and the library knows %d.",
						   RelationGetRelationName(rel), RelationGetNumberOfAttributes(rel), natts),
				 errhint("Run ALTER EXTENSION deletion_guard UPDATE; if that has been done, connect anew.")));
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
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
	DgRole		caller = dg_role_enter(dg_objects()->owner, 0);
	DgActing	saved = acting;
	volatile int ret = 0;

	(void) set_config_option("default_tablespace", "", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	acting = (DgActing) {.on = true};
	PG_TRY();
	{
		ret = SPI_execute_with_args(sql, nargs, argtypes, values, nulls, false, 0);
	}
	PG_FINALLY();
	{
		acting = saved;
	}
	PG_END_TRY();

	dg_role_leave(caller);
	if (ret < 0)
		elog(ERROR, "internal statement failed: %s: %s", SPI_result_code_string(ret), sql);
	return ret;
}
