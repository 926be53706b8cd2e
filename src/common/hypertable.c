/*
 * hypertable.c
 *		What is known of TimescaleDB: all differences between its versions are here.
 *
 * A hypertable is a table without rows; its chunks, which are its inheritance
 * children, have them. It is guarded with its chunks as a partitioned table is with
 * its partitions, by row triggers: TimescaleDB gives each new chunk those of the
 * hypertable, but deletes rows from a chunk as from a table of its own where a foreign
 * key cascades.
 *
 * Chunks are dropped by functions, and by background jobs, which fire no event
 * trigger: so the library has to be there when the server starts. A hypertable whose
 * chunks are compressed, or that has a continuous aggregate, is not guarded:
 * compressed rows are deleted in batches that fire no trigger, and rows that come
 * back without a statement would not be in the aggregate.
 *
 * TimescaleDB's list of hypertables is read as it is, by a scan. It tells of a change
 * to it by invalidating a table made for that.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/deletion_guard.h"

#define LISTS		"_timescaledb_catalog"

/* What the list says of a hypertable. */
typedef struct Hypertable
{
	int32		id;
	bool		compresses;
	bool		is_new;			/* written by the present transaction */
} Hypertable;

static Oid
table_of_timescaledb(const char *schema, const char *name)
{
	Oid			nspid = get_namespace_oid(schema, true);
	Oid			relid = OidIsValid(nspid) ? get_relname_relid(name, nspid) : InvalidOid;

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_RELATION ||
		getExtensionOfObject(RelationRelationId, relid) != get_extension_oid("timescaledb", true))
		return InvalidOid;
	return relid;
}

/*
 * A column of the list, which has to be there.
 */
static AttrNumber
column_of(Oid list, const char *name, Oid type)
{
	AttrNumber	attnum = get_attnum(list, name);

	return attnum > 0 && get_atttype(list, attnum) == type ? attnum : InvalidAttrNumber;
}

static Datum
value_of(Relation list, HeapTuple tuple, const char *name, bool *isnull)
{
	return heap_getattr(tuple, get_attnum(RelationGetRelid(list), name), RelationGetDescr(list), isnull);
}

/*
 * Is the list as it is known here?
 */
static bool
is_known(Oid list)
{
	return column_of(list, "id", INT4OID) && column_of(list, "schema_name", NAMEOID) &&
		column_of(list, "table_name", NAMEOID) && column_of(list, "compression_state", INT2OID) &&
		column_of(list, "compressed_hypertable_id", INT4OID);
}

/*
 * Looks a table up in the list. *unknown is set if TimescaleDB is there, and its list
 * is not what it should be.
 */
static bool
find_hypertable(Oid relid, Hypertable *hypertable, bool *unknown)
{
	Oid			list = table_of_timescaledb(LISTS, "hypertable");
	char	   *name = get_rel_name(relid);
	NameData	names[2];
	ScanKeyData keys[2];
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;

	*unknown = OidIsValid(list) ? !is_known(list) : OidIsValid(get_extension_oid("timescaledb", true));
	if (!OidIsValid(list) || *unknown || name == NULL)
		return false;
	namestrcpy(&names[0], name);
	namestrcpy(&names[1], get_namespace_name(get_rel_namespace(relid)));
	ScanKeyInit(&keys[0], get_attnum(list, "table_name"), BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&names[0]));
	ScanKeyInit(&keys[1], get_attnum(list, "schema_name"), BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&names[1]));
	rel = table_open(list, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		hypertable->id = DatumGetInt32(value_of(rel, tuple, "id", &isnull));
		hypertable->compresses = DatumGetInt16(value_of(rel, tuple, "compression_state", &isnull)) != 0;
		(void) value_of(rel, tuple, "compressed_hypertable_id", &isnull);
		hypertable->compresses |= !isnull;
		hypertable->is_new = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

/*
 * Has the hypertable a continuous aggregate, or the rows of one?
 */
static bool
is_aggregated(const Hypertable *hypertable)
{
	Oid			list = table_of_timescaledb(LISTS, "continuous_agg");
	static const char *const columns[] = {"raw_hypertable_id", "mat_hypertable_id"};
	bool		found = !OidIsValid(list);

	for (int i = 0; i < lengthof(columns) && !found; i++)
	{
		AttrNumber	attnum = column_of(list, columns[i], INT4OID);
		Relation	rel;
		ScanKeyData key;
		SysScanDesc scan;

		if (attnum == InvalidAttrNumber)
			return true;
		ScanKeyInit(&key, attnum, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(hypertable->id));
		rel = table_open(list, AccessShareLock);
		scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
		found = HeapTupleIsValid(systable_getnext(scan));
		systable_endscan(scan);
		table_close(rel, AccessShareLock);
	}
	return found;
}

/*
 * The table that a table inherits from, if it is one, and not as a partition.
 */
static Oid
inherits_from(Oid relid)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			parent = InvalidOid;

	if (get_rel_relispartition(relid))
		return InvalidOid;
	rel = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		parent = ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return parent;
}

/*
 * Nearly always false, by one look into a cache.
 */
static bool
is_installed(void)
{
	return OidIsValid(get_namespace_oid(LISTS, true));
}

/*
 * Is the table a hypertable? The caller holds a lock on it.
 */
bool
dg_is_hypertable(Oid relid)
{
	Hypertable	hypertable;
	bool		unknown;

	return is_installed() && get_rel_relkind(relid) == RELKIND_RELATION && find_hypertable(relid, &hypertable, &unknown);
}

/*
 * The hypertable that a table is a chunk of, or InvalidOid.
 */
Oid
dg_hypertable_of(Oid relid)
{
	Oid			parent = is_installed() ? inherits_from(relid) : InvalidOid;

	return OidIsValid(parent) && dg_is_hypertable(parent) ? parent : InvalidOid;
}

/*
 * Are a table's rows in other tables, which are parts of it: partitions or chunks?
 */
bool
dg_has_parts(Oid relid)
{
	return get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE || dg_is_hypertable(relid);
}

/*
 * Is a table a part of another one: a partition or a chunk?
 */
bool
dg_is_part(Oid relid)
{
	return get_rel_relispartition(relid) || OidIsValid(dg_hypertable_of(relid));
}

/*
 * Is the table one of TimescaleDB's that cannot be guarded? Says what.
 */
bool
dg_hypertable_is_odd(Oid relid, DgOddity *odd)
{
	Oid			of = dg_hypertable_of(relid);
	Hypertable	hypertable;

	if (!is_installed())
		return false;
	if (!find_hypertable(OidIsValid(of) ? of : relid, &hypertable, &odd->unknown))
	{
		odd->what = odd->unknown ? "perhaps a hypertable of TimescaleDB" : NULL;
		odd->hint = "This version of extension \"timescaledb\" is not known to deletion_guard, which cannot tell its tables from others.";
		return odd->unknown;
	}
	odd->managed = true;
	if (hypertable.compresses)
	{
		odd->what = "a hypertable of TimescaleDB whose chunks may be compressed";
		odd->hint = "Compressed rows are deleted without triggers. Decompress the chunks and take compression (the columnstore) off the hypertable, or keep rows that may be wanted back elsewhere.";
	}
	else if (is_aggregated(&hypertable))
	{
		odd->what = "a hypertable of TimescaleDB with a continuous aggregate";
		odd->hint = "Rows that come back would be missing in the aggregate. Keep rows that may be wanted back in a hypertable without one.";
	}
	else if (!dg_preloaded)
	{
		odd->what = "a hypertable of TimescaleDB, and deletion_guard is not in shared_preload_libraries";
		odd->hint = "drop_chunks() and background jobs drop chunks without a command that would load the library. Add deletion_guard to shared_preload_libraries, and restart the server.";
	}
	else
		return odd->managed = false;
	if (OidIsValid(of))
		odd->what = psprintf("a chunk of %s", odd->what);
	return true;
}

/*
 * Has the present transaction changed what the list says of a hypertable?
 */
bool
dg_hypertable_is_new(Oid relid)
{
	Hypertable	hypertable;
	bool		unknown;

	return is_installed() && find_hypertable(relid, &hypertable, &unknown) && hypertable.is_new;
}

/*
 * What is invalidated when the list has changed; InvalidOid if that is nothing.
 */
Oid
dg_hypertable_signal(void)
{
	return is_installed() ? table_of_timescaledb("_timescaledb_cache", "cache_inval_hypertable") : InvalidOid;
}
