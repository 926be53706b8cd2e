/*
 * bin_tenant_row.c
 *		A tenant's row: what the tenant is called, how its key is spelled, whom to
 *		tell.
 *
 * The row of the tenant table decides; where the tenant was deleted, its latest
 * deletion. A name that a deletion recorded stays with it until everything of the
 * tenant has been purged.
 *
 * The key is compared as its type compares, so that an index serves. Where that
 * leaves no choice of spelling (guard_tenant.c), the text must be the same, too:
 * '007' is not the key 7.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "bin/bin_internal.h"
#include "capture/capture.h"
#include "common/own_tables.h"
#include "guard/guard.h"

/*
 * A column of the first row that SPI has, in the given context; NULL for null.
 */
static char *
take_text(MemoryContext context, int column)
{
	char	   *value = dg_row_text(0, column);

	return value != NULL ? MemoryContextStrdup(context, value) : NULL;
}

/* ----------------------------------------------------------------------
 * The live row
 * ----------------------------------------------------------------------
 */

/*
 * A plan for this query and type of key, kept from call to call; NULL if there is
 * none. It is the caller's until put_plan(): code that runs with the query may
 * come here, too, and may have changed which is the tenant table.
 */
static struct
{
	char	   *sql;
	Oid			type;
	SPIPlanPtr	plan;
}			kept;

static SPIPlanPtr
take_plan(const char *sql, Oid type)
{
	SPIPlanPtr	plan = kept.plan;

	kept.plan = NULL;
	if (plan != NULL && (kept.type != type || strcmp(kept.sql, sql) != 0))
	{
		SPI_freeplan(plan);
		plan = NULL;
	}
	return plan;
}

static void
put_plan(SPIPlanPtr plan, const char *sql, Oid type)
{
	char	   *copy = MemoryContextStrdup(TopMemoryContext, sql);

	if (kept.plan != NULL)
		SPI_freeplan(kept.plan);
	if (kept.sql != NULL)
		pfree(kept.sql);
	kept.sql = copy;
	kept.type = type;
	kept.plan = plan;
}

static const char *
column_or_null(const NameData *column)
{
	return NameStr(*column)[0] == '\0' ? "NULL" :
		psprintf("t.%s", quote_identifier(NameStr(*column)));
}

/*
 * Runs the query for the row with a key, of a type that is no domain, in what is
 * named: the tenant table, or one of those that hold its rows.
 */
static void
select_live(const DgTenantTable *tenants, const char *from, Oid table, Oid type, Datum key, Snapshot snapshot)
{
	char	   *sql = psprintf("SELECT t.%s, %s, %s FROM %s t WHERE t.%s %s $1",
							   quote_identifier(NameStr(tenants->key_column)),
							   column_or_null(&tenants->name_column), column_or_null(&tenants->contact_column),
							   from,
							   quote_identifier(NameStr(tenants->key_column)), dg_equality_operator(type));
	SPIPlanPtr	plan = take_plan(sql, type);
	SPIPlanPtr volatile kept_plan = plan;

	PG_TRY();
	{
		dg_query(sql, DG_AS_OWNER, 1, &type, &key,
				 .table = table,
				 .snapshot = snapshot,
				 .count = 2,
				 .plan = &plan);
		if (kept_plan == NULL && SPI_keepplan(plan) == 0)
			kept_plan = plan;
	}
	PG_FINALLY();
	{
		if (kept_plan != NULL)
			put_plan(kept_plan, sql, type);
	}
	PG_END_TRY();
}

/*
 * Takes the row that SPI has in SPI_tuptable. False if it is that of another
 * spelling, which is another tenant.
 */
static bool
take_live(const char *tenant, MemoryContext context, DgTenantRow *row)
{
	int			nestlevel = dg_canonical_output_begin();
	DgTenantRow found = {take_text(context, 1), take_text(context, 2), take_text(context, 3)};

	AtEOXact_GUC(true, nestlevel);
	if (!dg_guard_tenant_equal_in(InvalidOid, found.tenant, tenant))
		return false;
	*row = found;
	return true;
}

/*
 * The tenant's row in the tenant table as a snapshot sees it, palloc'd. Returns
 * how many there are, 2 or more for more; there should be one at most.
 */
int
dg_bin_tenant_live(const char *tenant, Snapshot snapshot, DgTenantRow *row)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	MemoryContext context = CurrentMemoryContext;
	Oid			relid = tenants->relid;
	Oid			type;
	Datum		key;
	List	   *tables;
	ListCell   *lc;
	int			found = 0;

	if (!OidIsValid(relid) || get_rel_name(relid) == NULL)
		return 0;
	type = getBaseType(get_atttype(relid, get_attnum(relid, NameStr(tenants->key_column))));
	if (!OidIsValid(type) || !dg_guard_tenant_read_key(relid, type, tenant, &key))
		return 0;
	SPI_connect();
	tables = dg_query_tables_inherited(relid);
	foreach(lc, tables)
	{
		Oid			table = lfirst_oid(lc);

		select_live(tenants, list_length(tables) == 1 ? dg_relation_name(table) : dg_own_rows(table), table, type, key, snapshot);
		if (SPI_processed > 0 && take_live(tenant, context, row))
			found += (int) SPI_processed;
	}
	SPI_finish();
	return found;
}

/* ----------------------------------------------------------------------
 * How the bin spells a tenant
 * ----------------------------------------------------------------------
 */

/*
 * The first text in the index of deletion_part after those of a hash, which moves
 * on; palloc'd, or NULL.
 */
static char *
next_spelling(Relation registry, Relation index, Snapshot snapshot, int64 *hash)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *spelling = NULL;

	ScanKeyInit(&key, Anum_deletion_part_tenant_hash, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(*hash));
	scan = systable_beginscan_ordered(registry, index, snapshot, 1, &key);
	tuple = systable_getnext_ordered(scan, ForwardScanDirection);
	if (HeapTupleIsValid(tuple))
	{
		TupleDesc	desc = RelationGetDescr(registry);
		bool		isnull;

		*hash = DatumGetInt64(heap_getattr(tuple, Anum_deletion_part_tenant_hash, desc, &isnull));
		spelling = TextDatumGetCString(heap_getattr(tuple, Anum_deletion_part_tenant, desc, &isnull));
	}
	systable_endscan_ordered(scan);
	return spelling;
}

/*
 * All texts (char *) by which the bin may know this tenant, palloc'd; the one that
 * was given comes first. A part of such a text need not be this tenant's (has_part()).
 */
static List *
spellings_of_tenant(const char *tenant)
{
	List	   *spellings = list_make1(pstrdup(tenant));
	Relation	registry;
	Relation	index;
	Snapshot	snapshot;
	int64		hash = PG_INT64_MIN;
	char	   *next;

	if (dg_guard_tenants_are_plain())
		return spellings;
	registry = dg_own_open(dg_objects()->deletion_part, AccessShareLock);
	index = index_open(dg_objects()->deletion_part_tenant_idx, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	while ((next = next_spelling(registry, index, snapshot, &hash)) != NULL)
	{
		if (strcmp(next, tenant) != 0 && dg_guard_tenant_equal(next, tenant))
			spellings = lappend(spellings, next);
		else
			pfree(next);
	}
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(registry, AccessShareLock);
	return spellings;
}

/*
 * Is a part in a bin, with one of the tenant's spellings, the tenant's?
 */
static bool
has_part(const char *tenant, int32 bin_id, const char *spelling)
{
	Relation	registry;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;
	bool		result;

	if (strcmp(spelling, tenant) == 0)
		return true;
	registry = table_open(dg_objects()->bin, AccessShareLock);
	ScanKeyInit(&key, Anum_registry_bin_id, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(bin_id));
	scan = systable_beginscan(registry, InvalidOid, false, NULL, 1, &key);
	tuple = systable_getnext(scan);
	result = HeapTupleIsValid(tuple) &&
		dg_guard_tenant_equal_in(DatumGetObjectId(heap_getattr(tuple, Anum_registry_relation, RelationGetDescr(registry), &isnull)),
								 spelling, tenant);
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	return result;
}

/*
 * Calls the action with every part of a tenant, by a scan of deletion_part.
 */
void
dg_bin_tenant_each_part(const char *tenant, LOCKMODE lockmode, DgPartAction action, void *arg)
{
	ListCell   *lc;

	foreach(lc, spellings_of_tenant(tenant))
	{
		ScanKeyData keys[] = {dg_own_key_int8(Anum_deletion_part_tenant_hash, (int64) dg_guard_tenant_text_hash(lfirst(lc)))};
		DgOwnScan  *scan = dg_own_scan(DG_OWN_BY(deletion_part, deletion_part_tenant_idx), lockmode,
									   lengthof(keys), keys);

		while (dg_own_next(scan))
		{
			if (strcmp(dg_own_text(scan, Anum_deletion_part_tenant), lfirst(lc)) == 0 &&
				has_part(tenant, dg_own_int64(scan, Anum_deletion_part_bin_id), lfirst(lc)))
				action(scan, arg);
		}
		dg_own_end(scan);
	}
}

/* The parameters of DG_OF_TENANTS() in the making. */
typedef struct SpelledParts
{
	List	   *texts;			/* as Datum of text, */
	List	   *bins;			/* and the bin that the text counts in; 0: any */
} SpelledParts;

static void
add_spelling(SpelledParts *parts, const char *text, int bin_id)
{
	parts->texts = lappend(parts->texts, DatumGetPointer(CStringGetTextDatum(text)));
	parts->bins = lappend_int(parts->bins, bin_id);
}

/*
 * Adds a spelling of a tenant for the bins of those tables in which it is one.
 */
static void
add_where_equal(SpelledParts *parts, const char *spelling, const char *tenant)
{
	Relation	registry = table_open(dg_objects()->bin, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(registry);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(registry, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Oid			relation = DatumGetObjectId(heap_getattr(tuple, Anum_registry_relation, desc, &isnull));

		if (dg_guard_tenant_equal_in(relation, spelling, tenant))
			add_spelling(parts, spelling, DatumGetInt32(heap_getattr(tuple, Anum_registry_bin_id, desc, &isnull)));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(registry, AccessShareLock);
}

/*
 * The tenants (char *) as the two parameters of DG_OF_TENANTS(): texts as text[], and
 * for each the bin that it counts in, as int[].
 */
Datum
dg_bin_tenants_in_bin(List *tenants, Datum *bins)
{
	SpelledParts parts = {0};
	Datum	   *texts;
	Datum	   *ids;
	int			n;
	ListCell   *lc;

	foreach(lc, tenants)
	{
		List	   *spellings = spellings_of_tenant(lfirst(lc));

		add_spelling(&parts, lfirst(lc), 0);
		for (int i = 1; i < list_length(spellings); i++)
			add_where_equal(&parts, list_nth(spellings, i), lfirst(lc));
	}
	n = list_length(parts.texts);
	texts = palloc(sizeof(Datum) * Max(n, 1));
	ids = palloc(sizeof(Datum) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		texts[i] = PointerGetDatum(list_nth(parts.texts, i));
		ids[i] = Int32GetDatum(list_nth_int(parts.bins, i));
	}
	*bins = dg_array(ids, n, INT4OID);
	return dg_array(texts, n, TEXTOID);
}

/* ----------------------------------------------------------------------
 * The deleted row
 * ----------------------------------------------------------------------
 */

static int64
part_int64(HeapTuple part, AttrNumber attnum, TupleDesc desc)
{
	bool		isnull;

	return DatumGetInt64(heap_getattr(part, attnum, desc, &isnull));
}

static int32
part_int32(HeapTuple part, AttrNumber attnum, TupleDesc desc)
{
	bool		isnull;

	return DatumGetInt32(heap_getattr(part, attnum, desc, &isnull));
}

static char *
part_text(HeapTuple part, AttrNumber attnum, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(part, attnum, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/*
 * Is a bin table that of the tenant table?
 */
static bool
is_bin_of_tenants(int32 bin_id, Snapshot snapshot)
{
	Relation	registry = table_open(dg_objects()->bin, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;
	bool		result;

	ScanKeyInit(&key, Anum_registry_bin_id, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(bin_id));
	scan = systable_beginscan(registry, InvalidOid, false, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	result = HeapTupleIsValid(tuple) &&
		DatumGetObjectId(heap_getattr(tuple, Anum_registry_relation, RelationGetDescr(registry), &isnull)) ==
		dg_guard_tenant_table()->relid;
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	return result;
}

/*
 * Does a part tell what its tenant was called? One of which nothing is left in the
 * bin does only if it recorded a name.
 */
static bool
tells_label(HeapTuple part, TupleDesc desc, Snapshot snapshot)
{
	if (!heap_attisnull(part, Anum_deletion_part_tenant_name, desc) ||
		!heap_attisnull(part, Anum_deletion_part_contact, desc))
		return true;
	return part_int64(part, Anum_deletion_part_rows, desc) >
		part_int64(part, Anum_deletion_part_restored, desc) + part_int64(part, Anum_deletion_part_purged, desc) &&
		is_bin_of_tenants(part_int32(part, Anum_deletion_part_bin_id, desc), snapshot);
}

/*
 * Looks for the latest deletion of a tenant's row under one spelling.
 */
static void
find_deleted(const char *tenant, Snapshot snapshot, int64 *latest, DgTenantRow *row)
{
	Relation	registry = dg_own_open(dg_objects()->deletion_part, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(registry);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	part;
	int32		latest_part = 0;

	ScanKeyInit(&key, Anum_deletion_part_tenant_hash, BTEqualStrategyNumber, F_INT8EQ,
				UInt64GetDatum(dg_guard_tenant_text_hash(tenant)));
	scan = systable_beginscan(registry, dg_objects()->deletion_part_tenant_idx, true, snapshot, 1, &key);
	while (HeapTupleIsValid(part = systable_getnext(scan)))
	{
		int64		deletion = part_int64(part, Anum_deletion_part_deletion_id, desc);
		int32		number = part_int32(part, Anum_deletion_part_part, desc);

		if (deletion < *latest || (deletion == *latest && number < latest_part) ||
			strcmp(part_text(part, Anum_deletion_part_tenant, desc), tenant) != 0 ||
			!tells_label(part, desc, snapshot))
			continue;
		*latest = deletion;
		latest_part = number;
		row->tenant = pstrdup(tenant);
		row->name = part_text(part, Anum_deletion_part_tenant_name, desc);
		row->contact = part_text(part, Anum_deletion_part_contact, desc);
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
}

/*
 * What the latest deletion of the tenant's row recorded, palloc'd; false if there
 * is none.
 */
bool
dg_bin_tenant_deleted(const char *tenant, Snapshot snapshot, DgTenantRow *row)
{
	int64		latest = 0;
	ListCell   *lc;

	snapshot = RegisterSnapshot(snapshot);
	foreach(lc, spellings_of_tenant(tenant))
	{
		if (dg_guard_tenant_equal_in(InvalidOid, lfirst(lc), tenant))
			find_deleted(lfirst(lc), snapshot, &latest, row);
	}
	UnregisterSnapshot(snapshot);
	return latest > 0;
}

/*
 * The tenant's key as the tenant table has it or, where that does not, as the
 * latest deletion of its row had it; palloc'd. If that key was changed, the present
 * one. Else as it was given.
 */
char *
dg_bin_tenant_spelling(const char *tenant)
{
	DgTenantRow row;
	char	   *renamed;

	if (dg_bin_tenant_live(tenant, GetLatestSnapshot(), &row) > 0 ||
		dg_bin_tenant_deleted(tenant, GetLatestSnapshot(), &row))
		return row.tenant;
	renamed = dg_bin_renamed_tenant(tenant);
	return renamed != NULL ? renamed : pstrdup(tenant);
}

/*
 * The tenants (char *) that a call names, with the keys that they have now.
 */
List *
dg_bin_tenants_present(List *tenants)
{
	List	   *present = NIL;
	ListCell   *lc;

	foreach(lc, tenants)
	{
		DgTenantRow row;
		char	   *renamed = dg_bin_any_renamed() && dg_bin_tenant_live(lfirst(lc), GetLatestSnapshot(), &row) == 0 ?
		dg_bin_renamed_tenant(lfirst(lc)) : NULL;

		present = lappend(present, renamed != NULL ? renamed : lfirst(lc));
	}
	return present;
}

/*
 * The tenants under all spellings that a purge may have known them by, and keys that
 * they had.
 */
List *
dg_bin_tenants_known_by(List *tenants)
{
	List	   *all = NIL;
	ListCell   *lc;

	foreach(lc, tenants)
	{
		all = list_concat(all, spellings_of_tenant(lfirst(lc)));
		all = lappend(all, dg_bin_tenant_spelling(lfirst(lc)));
		all = list_concat(all, dg_bin_former_keys(llast(all)));
	}
	return all;
}
