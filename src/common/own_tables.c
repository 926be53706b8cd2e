/*
 * own_tables.c
 *		Reading and writing the extension's own tables without a query.
 *
 * What decides must not depend on anything that SQL can replace: a superuser
 * may make count(*) return 0, or put an operator, a rule, a child table or a
 * policy in a query's way. So the tables that authorities, holds, requests,
 * plans and used tokens are in are read by scans: of one table by its OID, with
 * comparisons that are built into the server, of values by their column's number.
 * Nothing is looked up in a catalog by name on the way.
 *
 * A scan sees what is committed when it begins, whatever the transaction's
 * isolation level, and what this transaction has done: what decides after a lock
 * was granted must see what was committed before. Writes keep the transaction's
 * rules: a row that somebody else has changed is waited for, and then either its
 * newest version counts (READ COMMITTED) or a serialization error is raised.
 *
 * Rows are written straight into the heap, past triggers and defaults, so each
 * has all its values. No index of these tables may be partial: rows go into
 * every one of them without its condition being asked.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "common/own_tables.h"

/* ----------------------------------------------------------------------
 * Opening
 * ----------------------------------------------------------------------
 */

/*
 * Opens the table, which must look as the library knows it. It has other columns
 * before ALTER EXTENSION UPDATE and, after it, in a session that has the old
 * library loaded.
 */
static Relation
open_table(DgOwnTable table, LOCKMODE lockmode)
{
	Relation	rel = table_open(table.relid, lockmode);

	if (RelationGetNumberOfAttributes(rel) != table.natts)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"deletion_guard\" in this database is of another version than the library in this session"),
				 errdetail("Its table \"%s\" has %d columns, and the library knows %d.",
						   RelationGetRelationName(rel), RelationGetNumberOfAttributes(rel), table.natts),
				 errhint("Run ALTER EXTENSION deletion_guard UPDATE; if that has been done, connect anew.")));
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not the table that deletion_guard made", RelationGetRelationName(rel))));
	return rel;
}

/*
 * Does a column of an index compare as the server does, whose functions are not
 * looked up in a catalog?
 */
static bool
is_plain_column(Relation index, int column)
{
	if (OidIsValid(index->rd_indcollation[column]) && index->rd_indcollation[column] != C_COLLATION_OID)
		return false;
	switch (index_getprocid(index, column + 1, BTORDER_PROC))
	{
		case F_BTINT4CMP:
		case F_BTINT8CMP:
		case F_BTOIDCMP:
		case F_BTTEXTCMP:
		case F_BTBOOLCMP:
		case F_TIMESTAMPTZ_CMP:
			return true;
		default:
			return false;
	}
}

/*
 * Does the index find what a scan of the whole table would? One with a condition,
 * or of an operator class that was tampered with, need not; then the table is
 * read.
 */
static bool
is_plain_index(Relation rel, Oid indexid)
{
	Relation	index = index_open(indexid, AccessShareLock);
	bool		plain = index->rd_rel->relam == BTREE_AM_OID &&
	index->rd_index->indrelid == RelationGetRelid(rel) && index->rd_index->indisvalid &&
	heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);

	for (int i = 0; plain && i < IndexRelationGetNumberOfKeyAttributes(index); i++)
		plain = is_plain_column(index, i);
	index_close(index, NoLock);
	return plain;
}

static ScanKeyData
own_key(AttrNumber attnum, RegProcedure equal, Datum value)
{
	ScanKeyData key;

	ScanKeyInit(&key, attnum, BTEqualStrategyNumber, equal, value);
	return key;
}

/*
 * What to look for: rows whose column has this value.
 */
ScanKeyData
dg_own_key_int8(AttrNumber attnum, int64 value)
{
	return own_key(attnum, F_INT8EQ, Int64GetDatum(value));
}

/*
 * A scan key: an integer column has the value.
 */
ScanKeyData
dg_own_key_int4(AttrNumber attnum, int32 value)
{
	return own_key(attnum, F_INT4EQ, Int32GetDatum(value));
}

/*
 * A scan key: a column of OIDs has the value.
 */
ScanKeyData
dg_own_key_oid(AttrNumber attnum, Oid value)
{
	return own_key(attnum, F_OIDEQ, ObjectIdGetDatum(value));
}

/*
 * A scan key: a column of text has the value, byte for byte.
 */
ScanKeyData
dg_own_key_text(AttrNumber attnum, const char *value)
{
	return own_key(attnum, F_TEXTEQ, CStringGetTextDatum(value));
}

/* ----------------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------------
 */

static void (*before_reading) (Oid relid) = NULL;

/*
 * Calls the function before one of our tables is read, so that it can write what it has
 * not written yet.
 */
void
dg_own_before_reading(void (*function) (Oid relid))
{
	before_reading = function;
}

static void
write_what_waits(Oid relid)
{
	if (before_reading != NULL)
		before_reading(relid);
	/* what this transaction has written becomes visible to the scan */
	CommandCounterIncrement();
}

/*
 * Opens one of our tables to be read otherwise than by dg_own_scan(), with a snapshot
 * that is taken afterwards.
 */
Relation
dg_own_open(Oid relid, LOCKMODE lockmode)
{
	write_what_waits(relid);
	return table_open(relid, lockmode);
}

/*
 * Begins to read the rows that have the keys' values, by the table's index where
 * that serves the keys and is sound; without keys all rows, in the index's order.
 * Ends with dg_own_end(). With ROW EXCLUSIVE, which is held until the end of the
 * transaction, rows may be written.
 */
DgOwnScan *
dg_own_scan(DgOwnTable table, LOCKMODE lockmode, int nkeys, ScanKeyData *keys)
{
	DgOwnScan  *scan = palloc0(sizeof(DgOwnScan));
	bool		by_index;

	write_what_waits(table.relid);
	scan->rel = open_table(table, lockmode);
	scan->desc = RelationGetDescr(scan->rel);
	by_index = OidIsValid(table.indexid) && is_plain_index(scan->rel, table.indexid);
	scan->snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan->scan = systable_beginscan(scan->rel, table.indexid, by_index, scan->snapshot, nkeys, keys);
	return scan;
}

/*
 * Turns to the next row; false at the end.
 */
bool
dg_own_next(DgOwnScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	scan->tuple = systable_getnext(scan->scan);
	return HeapTupleIsValid(scan->tuple);
}

/*
 * Ends a scan. The lock on the table stays until the end of the transaction.
 */
void
dg_own_end(DgOwnScan *scan)
{
	systable_endscan(scan->scan);
	if (scan->slot != NULL)
		ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	if (scan->indexes != NULL)
		CatalogCloseIndexes(scan->indexes);
	table_close(scan->rel, NoLock);
	pfree(scan);
}

/*
 * Finds one row by its key: a scan that has turned to it, or NULL if there is
 * none.
 */
DgOwnScan *
dg_own_find(DgOwnTable table, LOCKMODE lockmode, int nkeys, ScanKeyData *keys)
{
	DgOwnScan  *scan = dg_own_scan(table, lockmode, nkeys, keys);

	if (dg_own_next(scan))
		return scan;
	dg_own_end(scan);
	return NULL;
}

/*
 * The greatest value in an integer column, which is the first of the table's index, if
 * that is given; 0 if there are no rows. Rows that others are inserting count. No
 * serializable transaction depends on what this has seen.
 */
int64
dg_own_last(DgOwnTable table, AttrNumber attnum)
{
	Relation	rel = open_table(table, AccessShareLock);
	DgOwnScan	scan = {.rel = rel,.desc = RelationGetDescr(rel)};
	bool		by_index = OidIsValid(table.indexid) && is_plain_index(rel, table.indexid);
	Relation	index = by_index ? index_open(table.indexid, AccessShareLock) : NULL;
	SnapshotData dirty;
	int64		last = 0;

	InitDirtySnapshot(dirty);
	scan.scan = by_index ? systable_beginscan_ordered(rel, index, &dirty, 0, NULL) :
		systable_beginscan(rel, InvalidOid, false, &dirty, 0, NULL);
	while ((scan.tuple = by_index ? systable_getnext_ordered(scan.scan, BackwardScanDirection) :
			systable_getnext(scan.scan)) != NULL)
	{
		last = Max(last, dg_own_int64(&scan, attnum));
		if (by_index)
			break;
	}
	if (by_index)
	{
		systable_endscan_ordered(scan.scan);
		index_close(index, AccessShareLock);
	}
	else
		systable_endscan(scan.scan);
	table_close(rel, NoLock);
	return last;
}

/*
 * A value of the present row. What it points to is part of the row.
 */
Datum
dg_own_datum(const DgOwnScan *scan, AttrNumber attnum, bool *isnull)
{
	return heap_getattr(scan->tuple, attnum, scan->desc, isnull);
}

/*
 * Is a column of the row at hand null?
 */
bool
dg_own_isnull(const DgOwnScan *scan, AttrNumber attnum)
{
	return heap_attisnull(scan->tuple, attnum, scan->desc);
}

/*
 * A text of the present row, palloc'd; NULL for null.
 */
char *
dg_own_text(const DgOwnScan *scan, AttrNumber attnum)
{
	bool		isnull;
	Datum		value = dg_own_datum(scan, attnum, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/*
 * An integer or OID of the present row; 0 for null.
 */
int64
dg_own_int64(const DgOwnScan *scan, AttrNumber attnum)
{
	bool		isnull;
	Datum		value = dg_own_datum(scan, attnum, &isnull);

	if (isnull)
		return 0;
	switch (TupleDescAttr(scan->desc, attnum - 1)->attlen)
	{
		case sizeof(int64):
			return DatumGetInt64(value);
		case sizeof(int32):
			return TupleDescAttr(scan->desc, attnum - 1)->atttypid == INT4OID ?
				(int64) DatumGetInt32(value) : (int64) DatumGetObjectId(value);
		default:
			elog(ERROR, "column %d of \"%s\" is not an integer", attnum, RelationGetRelationName(scan->rel));
	}
}

/*
 * A time of the present row; infinity for null.
 */
TimestampTz
dg_own_time(const DgOwnScan *scan, AttrNumber attnum)
{
	bool		isnull;
	Datum		value = dg_own_datum(scan, attnum, &isnull);

	return isnull ? DT_NOEND : DatumGetTimestampTz(value);
}

/* ----------------------------------------------------------------------
 * Writing
 * ----------------------------------------------------------------------
 */

static void
fail_to_serialize(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent update")));
}

/*
 * Locks a row, waits for a transaction that has changed it, and gets its newest
 * version; false if it is gone.
 */
static bool
lock_row(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot)
{
	uint8		flags = IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_lock(rel, tid, snapshot, slot, GetCurrentCommandId(false), LockTupleExclusive,
							  LockWaitBlock, flags, &failure);
	if (result == TM_Deleted && !IsolationUsesXactSnapshot())
		return false;
	if (result == TM_Deleted || result == TM_Updated)
		fail_to_serialize();
	if (result != TM_Ok)
		elog(ERROR, "could not lock a row of \"%s\": result %d", RelationGetRelationName(rel), result);

	/*
	 * it may have been changed after this transaction's snapshot, and before
	 * the scan's
	 */
	if (IsolationUsesXactSnapshot() && !table_tuple_satisfies_snapshot(rel, slot, GetTransactionSnapshot()))
		fail_to_serialize();
	return true;
}

/*
 * Locks the present row, waits for a transaction that has changed it, and turns
 * to its newest version, which the caller looks at again. False if it is gone.
 * To be called once for each row of a scan.
 */
bool
dg_own_lock(DgOwnScan *scan)
{
	if (scan->slot == NULL)
		scan->slot = table_slot_create(scan->rel, NULL);
	if (!lock_row(scan->rel, &scan->tuple->t_self, scan->snapshot, scan->slot))
		return false;
	scan->tuple = ExecFetchSlotHeapTuple(scan->slot, false, NULL);
	return true;
}

/*
 * Sets a value that dg_own_update() will write.
 */
void
dg_own_set(DgOwnScan *scan, AttrNumber attnum, Datum value)
{
	if (scan->values == NULL)
	{
		scan->values = palloc0(sizeof(Datum) * scan->desc->natts);
		scan->nulls = palloc0(sizeof(bool) * scan->desc->natts);
		scan->changes = palloc0(sizeof(bool) * scan->desc->natts);
	}
	scan->values[attnum - 1] = value;
	scan->nulls[attnum - 1] = false;
	scan->changes[attnum - 1] = true;
}

/*
 * A column of the row at hand shall be null; dg_own_update() writes it.
 */
void
dg_own_set_null(DgOwnScan *scan, AttrNumber attnum)
{
	dg_own_set(scan, attnum, (Datum) 0);
	scan->nulls[attnum - 1] = true;
}

/*
 * Writes the values that were set into the present row, which dg_own_lock() has
 * locked. Later scans see them.
 */
void
dg_own_update(DgOwnScan *scan)
{
	HeapTuple	tuple = heap_modify_tuple(scan->tuple, scan->desc, scan->values, scan->nulls, scan->changes);

	if (scan->indexes == NULL)
		scan->indexes = CatalogOpenIndexes(scan->rel);
	CatalogTupleUpdateWithInfo(scan->rel, &scan->slot->tts_tid, tuple, scan->indexes);
	heap_freetuple(tuple);
	memset(scan->changes, false, sizeof(bool) * scan->desc->natts);
}

/*
 * Deletes the present row, which dg_own_lock() has locked.
 */
void
dg_own_delete(DgOwnScan *scan)
{
	CatalogTupleDelete(scan->rel, &scan->slot->tts_tid);
}

/*
 * Deletes a row that a scan has seen at this address, if it is still there.
 */
void
dg_own_delete_at(DgOwnTable table, ItemPointer tid)
{
	Relation	rel = open_table(table, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	Snapshot	snapshot;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (lock_row(rel, tid, snapshot, slot))
		CatalogTupleDelete(rel, &slot->tts_tid);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
}

/*
 * Inserts a tuple, as the command with this number, with its index entries.
 */
static void
insert_tuple(Relation rel, HeapTuple tuple, CommandId cid)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);
	List	   *indexes = RelationGetIndexList(rel);
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	ListCell   *lc;

	heap_insert(rel, tuple, cid, 0, NULL);
	ExecStoreHeapTuple(tuple, slot, false);
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);

		if (info->ii_ReadyForInserts)
		{
			FormIndexDatum(info, slot, NULL, values, nulls);
			index_insert(index, values, nulls, &tuple->t_self, rel,
						 info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, false, info);
		}
		index_close(index, NoLock);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Inserts one row with its index entries. Needs no privilege; takes ROW
 * EXCLUSIVE on the table until the end of the transaction.
 */
void
dg_own_insert(DgOwnTable table, Datum *values, bool *nulls)
{
	dg_own_insert_as_of(table, values, nulls, GetCurrentCommandId(true));
}

/*
 * Inserts one row as dg_own_insert() does, but as an earlier command of the
 * transaction: queries that have begun since see it.
 */
void
dg_own_insert_as_of(DgOwnTable table, Datum *values, bool *nulls, CommandId cid)
{
	Relation	rel = open_table(table, RowExclusiveLock);
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);

	insert_tuple(rel, tuple, cid);
	heap_freetuple(tuple);
	table_close(rel, NoLock);
}

/*
 * Inserts many rows, whose values the callback fills in, one row after the
 * other.
 */
void
dg_own_insert_many(DgOwnTable table, int64 nrows, DgOwnFill fill, void *arg)
{
	Relation	rel = open_table(table, RowExclusiveLock);
	CatalogIndexState indexes = CatalogOpenIndexes(rel);
	Datum	   *values = palloc0(sizeof(Datum) * table.natts);
	bool	   *nulls = palloc0(sizeof(bool) * table.natts);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard rows", ALLOCSET_DEFAULT_SIZES);

	for (int64 i = 0; i < nrows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		fill(i, values, nulls, arg);
		CatalogTupleInsertWithInfo(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls), indexes);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	CatalogCloseIndexes(indexes);
	table_close(rel, NoLock);
}

/*
 * Deletes the rows whose column is this OID. For where no statement can run, and
 * in the middle of one: what it has not finished is not seen.
 */
void
dg_own_delete_by_oid(DgOwnTable table, AttrNumber attnum, Oid key)
{
	Relation	rel = open_table(table, RowExclusiveLock);
	ScanKeyData keys[] = {own_key(attnum, F_OIDEQ, ObjectIdGetDatum(key))};
	SysScanDesc scan = systable_beginscan(rel, table.indexid, OidIsValid(table.indexid), NULL, lengthof(keys), keys);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
}
