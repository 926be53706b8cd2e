/*
 * heap_delete.c
 *		Deletes rows, and empties tables, by calling heap and no trigger, for
 *		051_double_entry.pl: as Apache AGE's DELETE in Cypher does.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "fmgr.h"
#include "pgstat.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

PG_MODULE_MAGIC;

#if PG_VERSION_NUM >= 160000
#define RelationSetNewRelfilenode RelationSetNewRelfilenumber
#endif

PG_FUNCTION_INFO_V1(heap_delete_rows);
PG_FUNCTION_INFO_V1(heap_empty);

/*
 * heap_delete_rows(regclass, int) -> int: the first n rows.
 */
Datum
heap_delete_rows(PG_FUNCTION_ARGS)
{
	Relation	rel = table_open(PG_GETARG_OID(0), RowExclusiveLock);
	TableScanDesc scan = table_beginscan_strat(rel, GetActiveSnapshot(), 0, NULL, true, true);
	HeapTuple	tuple;
	int			n = 0;

	while (n < PG_GETARG_INT32(1) && (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		simple_heap_delete(rel, &tuple->t_self);
		n++;
	}
	table_endscan(scan);
	table_close(rel, NoLock);
	PG_RETURN_INT32(n);
}

/*
 * heap_empty(regclass)
 */
Datum
heap_empty(PG_FUNCTION_ARGS)
{
	Relation	rel = table_open(PG_GETARG_OID(0), AccessExclusiveLock);

	RelationSetNewRelfilenode(rel, rel->rd_rel->relpersistence);
	pgstat_count_truncate(rel);
	table_close(rel, NoLock);
	PG_RETURN_VOID();
}
