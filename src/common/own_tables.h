/*
 * own_tables.h
 *		Reading and writing the extension's own tables without a query.
 */
#ifndef DG_OWN_TABLES_H
#define DG_OWN_TABLES_H

#include "common/deletion_guard.h"
#include "common/tables.h"

#include "access/genam.h"
#include "access/htup.h"
#include "access/skey.h"
#include "catalog/indexing.h"
#include "executor/tuptable.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/*
 * A table as the library knows it: "DG_OWN(hold)" stands for deletion_guard.hold
 * and its primary key.
 */
typedef struct DgOwnTable
{
	Oid			relid;
	int			natts;
	Oid			indexid;		/* or InvalidOid: rows are found without one */
} DgOwnTable;

#define DG_OWN(table)			DG_OWN_BY(table, table##_pkey)
#define DG_OWN_BY(table, index)	(DgOwnTable) {dg_objects()->table, Natts_##table, dg_objects()->index}
#define DG_OWN_ALL(table)		(DgOwnTable) {dg_objects()->table, Natts_##table, InvalidOid}
#define DG_OWN_REGISTRY			(DgOwnTable) {dg_objects()->bin, Natts_registry, InvalidOid}

/* Rows of one table, one after the other. */
typedef struct DgOwnScan
{
	Relation	rel;
	TupleDesc	desc;
	Snapshot	snapshot;
	SysScanDesc scan;
	HeapTuple	tuple;			/* the present row */
	TupleTableSlot *slot;		/* of dg_own_lock() */
	Datum	   *values;			/* to be written by dg_own_update() */
	bool	   *nulls;
	bool	   *changes;
	CatalogIndexState indexes;	/* open for writing, or NULL */
} DgOwnScan;

/* Fills in the values of one of the rows that are inserted. */
typedef void (*DgOwnFill) (int64 row, Datum *values, bool *nulls, void *arg);

/* How many keys, and the keys, for dg_own_scan() and dg_own_find(). */
#define DG_KEYS(...) \
	lengthof(((ScanKeyData[]) {__VA_ARGS__})), (ScanKeyData[]) {__VA_ARGS__}

extern ScanKeyData dg_own_key_int8(AttrNumber attnum, int64 value);
extern ScanKeyData dg_own_key_int4(AttrNumber attnum, int32 value);
extern ScanKeyData dg_own_key_oid(AttrNumber attnum, Oid value);
extern ScanKeyData dg_own_key_text(AttrNumber attnum, const char *value);

extern Relation dg_own_open(Oid relid, LOCKMODE lockmode);
extern DgOwnScan *dg_own_scan(DgOwnTable table, LOCKMODE lockmode, int nkeys, ScanKeyData *keys);
extern bool dg_own_next(DgOwnScan *scan);
extern void dg_own_end(DgOwnScan *scan);
extern DgOwnScan *dg_own_find(DgOwnTable table, LOCKMODE lockmode, int nkeys, ScanKeyData *keys);

extern Datum dg_own_datum(const DgOwnScan *scan, AttrNumber attnum, bool *isnull);
extern bool dg_own_isnull(const DgOwnScan *scan, AttrNumber attnum);
extern char *dg_own_text(const DgOwnScan *scan, AttrNumber attnum);
extern int64 dg_own_int64(const DgOwnScan *scan, AttrNumber attnum);
extern TimestampTz dg_own_time(const DgOwnScan *scan, AttrNumber attnum);

extern bool dg_own_lock(DgOwnScan *scan);
extern void dg_own_set(DgOwnScan *scan, AttrNumber attnum, Datum value);
extern void dg_own_set_null(DgOwnScan *scan, AttrNumber attnum);
extern void dg_own_update(DgOwnScan *scan);
extern void dg_own_delete(DgOwnScan *scan);
extern void dg_own_delete_at(DgOwnTable table, ItemPointer tid);

extern void dg_own_insert(DgOwnTable table, Datum *values, bool *nulls);
extern void dg_own_insert_as_of(DgOwnTable table, Datum *values, bool *nulls, CommandId cid);
extern void dg_own_before_reading(void (*function) (Oid relid));
extern void dg_own_insert_many(DgOwnTable table, int64 nrows, DgOwnFill fill, void *arg);
extern void dg_own_delete_by_oid(DgOwnTable table, AttrNumber attnum, Oid key);
extern int64 dg_own_last(DgOwnTable table, AttrNumber attnum);

/* own_number.c */

/* Numbers that are never drawn and not used one after the other, so many. */
#define DG_LEAP			(INT64CONST(1) << 32)
#define DG_LEAP_OF_BINS	(1 << 16)

extern int64 dg_own_draw(Oid sequence, DgOwnTable table, AttrNumber attnum, int64 leap, int64 *known);
extern int64 dg_own_next_id(Oid sequence, DgOwnTable table, AttrNumber attnum);

#endif							/* DG_OWN_TABLES_H */
