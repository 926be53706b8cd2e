/*
 * bin_shape.c
 *		Bin tables and the row shapes they hold.
 *
 * A bin table belongs to one guarded table and one shape: the live columns, in
 * order, with their types. It is made by the first deletion that needs it, not
 * when the table is enrolled, so that an unused bin never stands in the way of
 * dropping a type. When the guarded table's columns change, the next deletion
 * finds no bin of the new shape and makes another; old rows stay where they
 * are, as they were.
 *
 * A session that makes a bin holds a lock for its guarded table until the end
 * of the transaction, as others see the bin only then. They wait for it, but
 * not long: a transaction may stay open, or be prepared, and must not keep all
 * other sessions from deleting. Then they make a bin of their own; one shape
 * may have several.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "mb/pg_wchar.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "bin/bin_internal.h"
#include "capture/capture.h"
#include "common/own_tables.h"
#include "guard/guard.h"

/* how long to wait for another transaction that makes the bin, in milliseconds */
#define MAKER_WAIT 1000

/*
 * Does the bin keep this column? Dropped ones have no value any more, and a
 * virtual generated column has none in the row.
 */
bool
dg_bin_keeps_column(Form_pg_attribute att)
{
	return !att->attisdropped && att->attgenerated != ATTRIBUTE_GENERATED_VIRTUAL;
}

/*
 * "name type collation" of one column, as CREATE TABLE takes it.
 */
static void
append_column(StringInfo buf, Form_pg_attribute att)
{
	appendStringInfo(buf, "%s %s", quote_identifier(NameStr(att->attname)),
					 format_type_extended(att->atttypid, att->atttypmod,
										  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(att->atttypid))
	{
		HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(att->attcollation));
		Form_pg_collation coll;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for collation %u", att->attcollation);
		coll = (Form_pg_collation) GETSTRUCT(tuple);
		appendStringInfo(buf, " COLLATE %s",
						 quote_qualified_identifier(get_namespace_name(coll->collnamespace),
													NameStr(coll->collname)));
		ReleaseSysCache(tuple);
	}
}

/*
 * The shape of a table, palloc'd: its live columns but for the first few, as
 * CREATE TABLE takes them.
 */
static char *
shape_behind(TupleDesc desc, int skip)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = skip; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!dg_bin_keeps_column(att))
			continue;
		if (buf.len > 0)
			appendStringInfoString(&buf, ", ");
		append_column(&buf, att);
	}
	return buf.data;
}

/*
 * Is a column, by name and type, also that one?
 */
bool
dg_bin_same_column(Form_pg_attribute a, Form_pg_attribute b)
{
	return !a->attisdropped && strcmp(NameStr(a->attname), NameStr(b->attname)) == 0 &&
		a->atttypid == b->atttypid && a->atttypmod == b->atttypmod &&
		a->attcollation == b->attcollation;
}

/*
 * Does the table refuse writes of others, by statement and by row?
 */
static bool
is_protected(Relation bin)
{
	int			found = 0;

	for (int i = 0; bin->trigdesc != NULL && i < bin->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &bin->trigdesc->triggers[i];

		if (trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
			(strcmp(trigger->tgname, DG_TRIGGER_PROTECT) == 0 ||
			 strcmp(trigger->tgname, DG_TRIGGER_PROTECT_ROW) == 0))
			found++;
	}
	return found == 2;
}

/*
 * Is the table still what create_bin_table() makes? Rows are written into it
 * byte for byte, and must be safe there.
 */
bool
dg_bin_is_sound(Relation bin)
{
	static const Oid types[DG_BIN_COLUMNS] = {INT8OID, INT4OID, INT4OID};

	if (RelationGetNumberOfAttributes(bin) < DG_BIN_COLUMNS ||
		RelationGetNamespace(bin) != dg_objects()->bin_schema ||
		bin->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT ||
		bin->rd_tableam != dg_bin_storage() || !is_protected(bin))
		return false;
	for (int i = 0; i < DG_BIN_COLUMNS; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(bin), i);

		if (att->attisdropped || att->atttypid != types[i])
			return false;
	}
	return true;
}

/*
 * Is the bin empty, though it should have rows? Then the database was restored
 * without them, and other rows would hide that.
 */
static bool
has_lost_rows(Relation bin, int32 bin_id)
{
	DgOwnScan  *scan;
	bool		lost = false;

	if (RelationGetNumberOfBlocks(bin) > 0)
		return false;
	scan = dg_own_scan(DG_OWN_ALL(deletion_part), AccessShareLock, 0, NULL);
	while (!lost && dg_own_next(scan))
	{
		bool		isnull;

		lost = DatumGetInt32(dg_own_datum(scan, Anum_deletion_part_bin_id, &isnull)) == bin_id &&
			dg_own_int64(scan, Anum_deletion_part_rows) > dg_own_int64(scan, Anum_deletion_part_restored) +
			dg_own_int64(scan, Anum_deletion_part_purged);
	}
	dg_own_end(scan);
	return lost;
}

/*
 * Can rows of this shape go into the bin? What the registry says is not enough:
 * an empty bin may have lost a column with its type, and another type may have
 * the name by now.
 */
static bool
bin_fits(int32 bin_id, Oid bin_table, TupleDesc desc)
{
	Relation	bin = try_table_open(bin_table, AccessShareLock);
	int			natts = DG_BIN_COLUMNS;
	bool		fits;

	if (bin == NULL)
		return false;
	fits = dg_bin_is_sound(bin) && !has_lost_rows(bin, bin_id);
	for (int i = 0; fits && i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!dg_bin_keeps_column(att))
			continue;
		fits = natts < RelationGetNumberOfAttributes(bin) &&
			dg_bin_same_column(TupleDescAttr(RelationGetDescr(bin), natts), att);
		natts++;
	}
	fits = fits && natts == RelationGetNumberOfAttributes(bin);
	table_close(bin, AccessShareLock);
	return fits;
}

/*
 * Looks for the bin of a table and shape; false if there is none yet.
 */
static bool
find_bin(Oid root, TupleDesc rows, const char *shape, int32 *bin_id, Oid *bin_table)
{
	Relation	registry = table_open(dg_objects()->bin, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(registry);
	bool		found = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_registry_relation, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(root));
	scan = systable_beginscan(registry, dg_objects()->bin_relation_idx, true, NULL, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_registry_shape, desc, &isnull);

		if (strcmp(TextDatumGetCString(value), shape) != 0)
			continue;
		*bin_id = DatumGetInt32(heap_getattr(tuple, Anum_registry_bin_id, desc, &isnull));
		*bin_table = DatumGetObjectId(heap_getattr(tuple, Anum_registry_bin_table, desc, &isnull));
		found = OidIsValid(*bin_table) && bin_fits(*bin_id, *bin_table, rows);
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	return found;
}

/* ----------------------------------------------------------------------
 * Making a bin table
 * ----------------------------------------------------------------------
 */

/*
 * A name for one of the bin's own columns that the shape does not use.
 */
static const char *
own_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		if (dg_bin_keeps_column(TupleDescAttr(desc, i)) &&
			strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return own_column(desc, psprintf("%s_", name));
	}
	return quote_identifier(name);
}

/*
 * The number comes first, since the end of a long name is cut off. And a search
 * for tables by the beginning of their names, in all schemas, should not find
 * bins.
 */
static char *
bin_table_name(Oid root, int32 bin_id)
{
	char	   *prefix = psprintf("bin_%d_", bin_id);
	char	   *name = get_rel_name(root);

	return psprintf("%s%.*s", prefix,
					pg_mbcliplen(name, strlen(name), NAMEDATALEN - 1 - (int) strlen(prefix)), name);
}

/*
 * No query has conditions on the table's columns, and gathering statistics on
 * them would run code of those who made their types (a range type's
 * subtype_diff) as the extension's owner. ALTER TABLE takes time that is
 * quadratic in the columns.
 */
static void
keep_no_statistics(Oid bin_table)
{
	Relation	rel = table_open(AttributeRelationId, RowExclusiveLock);
	CatalogIndexState indexes = CatalogOpenIndexes(rel);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_attribute_attrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(bin_table));
	ScanKeyInit(&keys[1], Anum_pg_attribute_attnum, BTGreaterStrategyNumber, F_INT2GT,
				Int16GetDatum(DG_BIN_COLUMNS));
	scan = systable_beginscan(rel, AttributeRelidNumIndexId, true, NULL, lengthof(keys), keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		int			column = Anum_pg_attribute_attstattarget;
		Datum		none = (Datum) 0;
		bool		isnull = false;

		CatalogTupleUpdateWithInfo(rel, &tuple->t_self,
								   heap_modify_tuple_by_cols(tuple, RelationGetDescr(rel), 1, &column, &none, &isnull),
								   indexes);
	}
	systable_endscan(scan);
	CatalogCloseIndexes(indexes);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

static Oid
create_bin_table(Oid root, TupleDesc desc, const char *shape, int32 bin_id)
{
	char	   *name = bin_table_name(root, bin_id);
	const char *qualified = quote_qualified_identifier("deletion_guard_bin", name);
	const char *deletion = own_column(desc, "_deletion");
	const char *part = own_column(desc, "_part");
	const char *row = own_column(desc, "_row");

	SPI_connect();
	dg_query(psprintf("CREATE TABLE %s (%s bigint NOT NULL, %s integer NOT NULL,"
					  " %s integer NOT NULL%s%s) USING deletion_guard_bin",
					  qualified, deletion, part, row, *shape ? ", " : "", shape), DG_AS_US);
	keep_no_statistics(get_relname_relid(name, dg_objects()->bin_schema));
	dg_query(psprintf("REVOKE ALL ON %s FROM PUBLIC", qualified), DG_AS_US);
	/* as protect.sql does for the other tables */
	dg_query(psprintf("CREATE TRIGGER " DG_TRIGGER_PROTECT
					  " BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s"
					  " FOR EACH STATEMENT EXECUTE FUNCTION deletion_guard_internal.protect()", qualified), DG_AS_US);
	dg_query(psprintf("CREATE TRIGGER " DG_TRIGGER_PROTECT_ROW " BEFORE INSERT OR UPDATE OR DELETE ON %s"
					  " FOR EACH ROW EXECUTE FUNCTION deletion_guard_internal.protect()", qualified), DG_AS_US);
	dg_query(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER " DG_TRIGGER_PROTECT ","
					  " ENABLE ALWAYS TRIGGER " DG_TRIGGER_PROTECT_ROW, qualified), DG_AS_US);
	dg_bin_take_row_security(get_relname_relid(name, dg_objects()->bin_schema), root);
	SPI_finish();
	return get_relname_relid(name, dg_objects()->bin_schema);
}

/*
 * A plan may name a bin table that the transaction made; when that is rolled
 * back, so must the plan be.
 */
static bool bins_made = false;

static void
forget_plans(void)
{
	if (bins_made)
		dg_guard_forget_all();
}

static void
forget_plans_at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		forget_plans();
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		bins_made = false;
}

static void
forget_plans_at_subxact(SubXactEvent event, SubTransactionId mySubid,
						SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_plans();
}

/*
 * Makes ready, as the library is loaded, to forget plans for bins that were rolled
 * back.
 */
void
dg_bin_shape_init(void)
{
	RegisterXactCallback(forget_plans_at_xact, NULL);
	RegisterSubXactCallback(forget_plans_at_subxact, NULL);
}

/*
 * guard_table() has made sure of this; columns may have been added since.
 */
static void
check_columns(Oid root, TupleDesc desc)
{
	int			columns = DG_BIN_COLUMNS;

	for (int i = 0; i < desc->natts; i++)
	{
		if (dg_bin_keeps_column(TupleDescAttr(desc, i)))
			columns++;
	}
	if (columns > MaxHeapAttributeNumber)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot keep deleted rows of \"%s\": it has too many columns", get_rel_name(root)),
				 errdetail("The bin needs %d columns of its own; a table may have %d.",
						   DG_BIN_COLUMNS, MaxHeapAttributeNumber)));
}

/*
 * Makes a bin for rows of an enrolled table in this shape.
 */
Oid
dg_bin_create(Oid root, TupleDesc desc, int32 *bin_id)
{
	char	   *shape = shape_behind(desc, 0);
	Datum		values[Natts_registry];
	bool		nulls[Natts_registry] = {false};
	int64		known = -1;
	Oid			bin_table;

	check_columns(root, desc);
	bins_made = true;
	*bin_id = (int32) dg_own_draw(dg_objects()->bin_id_seq, DG_OWN_REGISTRY, Anum_registry_bin_id, DG_LEAP_OF_BINS, &known);
	bin_table = create_bin_table(root, desc, shape, *bin_id);

	values[Anum_registry_bin_id - 1] = Int32GetDatum(*bin_id);
	values[Anum_registry_relation - 1] = ObjectIdGetDatum(root);
	values[Anum_registry_relation_name - 1] = CStringGetTextDatum(dg_relation_name(root));
	values[Anum_registry_bin_table - 1] = ObjectIdGetDatum(bin_table);
	values[Anum_registry_shape - 1] = CStringGetTextDatum(shape);
	values[Anum_registry_created_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	nulls[Anum_registry_dropped_column - 1] = true;
	dg_own_insert(DG_OWN_REGISTRY, values, nulls);
	CommandCounterIncrement();
	return bin_table;
}

/*
 * The bin for rows of an enrolled table in this shape; makes it if there is none.
 */
Oid
dg_bin_find_or_create(Oid root, TupleDesc desc, int32 *bin_id)
{
	char	   *shape = shape_behind(desc, 0);
	Oid			bin_table;

	if (find_bin(root, desc, shape, bin_id, &bin_table))
		return bin_table;
	(void) dg_lock_object_within(dg_objects()->bin, root, ExclusiveLock, MAKER_WAIT);
	if (find_bin(root, desc, shape, bin_id, &bin_table))
		return bin_table;
	return dg_bin_create(root, desc, bin_id);
}

/* ----------------------------------------------------------------------
 * Following renames
 * ----------------------------------------------------------------------
 */

/*
 * The bins of a table that have a column of this name behind their own.
 */
static List *
bins_with_column(Oid relid, const char *column)
{
	Oid			types[] = {OIDOID, NAMEOID};
	Datum		values[] = {ObjectIdGetDatum(relid), DirectFunctionCall1(namein, CStringGetDatum(column))};

	dg_query("SELECT b.bin_table FROM deletion_guard.bin b JOIN pg_attribute a ON a.attrelid = b.bin_table"
			 " WHERE b.relation = $1 AND a.attname = $2 AND a.attnum > " CppAsString2(DG_BIN_COLUMNS)
			 " AND NOT a.attisdropped", DG_AS_US, 2, types, values,
			 .snapshot = GetLatestSnapshot());
	return dg_row_oids(1);
}

/*
 * A bin's columns have changed: so has what the registry says of them.
 */
void
dg_bin_update_shape(Oid bin_table)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Relation	bin = table_open(bin_table, AccessShareLock);
	Datum		values[] = {ObjectIdGetDatum(bin_table),
	CStringGetTextDatum(shape_behind(RelationGetDescr(bin), DG_BIN_COLUMNS))};

	table_close(bin, NoLock);
	dg_query("UPDATE deletion_guard.bin SET shape = $2 WHERE bin_table = $1", DG_AS_US, 2, types, values);
}

/*
 * A column of a guarded table has a new name: give it to the bins' columns
 * and the lost links too, so that they still go back to where they came from. The caller is
 * connected to SPI. ACCESS EXCLUSIVE on the bins.
 */
void
dg_bin_rename_column(Oid relid, const char *old, const char *new)
{
	ListCell   *lc;

	foreach(lc, bins_with_column(relid, old))
	{
		if (get_attnum(lfirst_oid(lc), new) != InvalidAttrNumber)
			continue;			/* an earlier column of that name, or the
								 * bin's own: leave both */
		dg_query(psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s",
						  dg_relation_name(lfirst_oid(lc)),
						  quote_identifier(old), quote_identifier(new)), DG_AS_US);
		dg_bin_update_shape(lfirst_oid(lc));
	}
}
