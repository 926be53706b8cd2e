/*
 * capture_total.c
 *		How many rows of how many tenants.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "capture/capture_internal.h"
#include "common/tables.h"

/*
 * Nothing, of tenants who are the same if they are in rows of a guarded table;
 * InvalidOid: of any.
 */
DgTotal *
dg_total_begin(Oid relid)
{
	DgTotal    *total = palloc0(sizeof(DgTotal));

	total->tenants = dg_textset_of_tenants(CurrentMemoryContext, relid);
	return total;
}

/*
 * Adds rows of a tenant; NULL: of none.
 */
void
dg_total_add(DgTotal *total, const char *tenant, int64 rows)
{
	total->rows += rows;
	if (tenant != NULL)
		(void) dg_textset_add(total->tenants, tenant);
}

/*
 * Adds what is known of a deletion so far, by this transaction too. Parts that
 * were rolled back are not seen.
 */
void
dg_total_add_deletion(DgTotal *total, int64 deletion)
{
	Relation	registry = table_open(dg_objects()->deletion_part, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(registry);
	Snapshot	snapshot;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyInit(&key, Anum_deletion_part_deletion_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(deletion));
	scan = systable_beginscan(registry, dg_objects()->deletion_part_pkey, true, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		rows = heap_getattr(tuple, Anum_deletion_part_rows, desc, &isnull);
		Datum		tenant = heap_getattr(tuple, Anum_deletion_part_tenant, desc, &isnull);

		dg_total_add(total, isnull ? NULL : TextDatumGetCString(tenant), DatumGetInt64(rows));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(registry, AccessShareLock);
	dg_parts_add_open(total, deletion);
}
