/*
 * undelete_adopt.c
 *		Bins whose table is gone, and the table that takes its place.
 *
 * Rows of a table stay in the bin when it is dropped. Its OID must not: after
 * a dump and restore, or when OIDs have wrapped around, it may be another
 * table's, which would be taken for theirs. So a drop sets it to zero, and the
 * rows belong to no table, until adopt_bin() gives them to one.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "bin/bin.h"
#include "common/deletion_guard.h"
#include "common/tables.h"
#include "ledger/ledger.h"
#include "protect/protect.h"
#include "undelete/undelete_internal.h"

PG_FUNCTION_INFO_V1(dg_adopt_bin);

/*
 * Sets column attnum of a registry to zero in all rows in which it names this
 * relation, whose name they keep. For places where no statement can run.
 */
static void
forget_relation(Oid storeid, Oid indexid, AttrNumber attnum, AttrNumber name_attnum, Oid relid)
{
	Relation	store = table_open(storeid, RowExclusiveLock);
	TupleDesc	desc = RelationGetDescr(store);
	Datum	   *values = palloc0(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc0(sizeof(bool) * desc->natts);
	bool	   *replace = palloc0(sizeof(bool) * desc->natts);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	replace[attnum - 1] = replace[name_attnum - 1] = true;
	values[name_attnum - 1] = CStringGetTextDatum(dg_relation_name(relid));
	ScanKeyInit(&key, attnum, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(store, indexid, OidIsValid(indexid), NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleUpdate(store, &tuple->t_self,
						   heap_modify_tuple(tuple, desc, values, nulls, replace));
	systable_endscan(scan);
	table_close(store, RowExclusiveLock);
}

/*
 * A table is being dropped.
 */
void
dg_undelete_forget_table(Oid relid)
{
	const DgObjects *objects = dg_objects();
	char		relkind = get_rel_relkind(relid);

	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		return;
	forget_relation(objects->bin, objects->bin_relation_idx, Anum_registry_relation, Anum_registry_relation_name, relid);
	forget_relation(objects->deletion_link, objects->deletion_link_waiting_idx, Anum_deletion_link_relation,
					Anum_deletion_link_relation_name, relid);
}

/*
 * Fails unless the caller is the extension's owner. All who may read the table
 * will read the rows, and nothing tells any more who might read them before.
 */
static void
require_extension_owner(void)
{
	Oid			owner = dg_objects()->owner;

	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must have the privileges of role \"%s\", which owns deletion_guard, to give deleted rows to a table",
						GetUserNameFromId(owner, false))));
}

static void
require_table(Oid target)
{
	char		relkind = get_rel_relkind(target);

	if ((relkind == RELKIND_RELATION || relkind == RELKIND_PARTITIONED_TABLE) &&
		!dg_is_part(target) && !dg_is_store(target))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("deleted rows can be given to a table or a partitioned table only"),
			 errhint("For a partition, name the partitioned table, for a chunk, its hypertable.")));
}

/*
 * The name that the table of a bin had; fails if it is no bin, or its table
 * still exists. The caller is connected to SPI.
 */
static char *
require_orphan(Oid bin_table)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(bin_table)};
	bool		isnull;
	Oid			relid;

	dg_query("SELECT relation, relation_name FROM deletion_guard.bin WHERE bin_table = $1",
			 DG_AS_US, 1, types, values);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a bin table", get_rel_name(bin_table)),
				 errhint("The table deletion_guard.bin lists them.")));
	relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (get_rel_name(relid) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the bin \"%s\" belongs to table \"%s\"", get_rel_name(bin_table), get_rel_name(relid)),
				 errhint("Only rows whose table does not exist any more can be given to another.")));
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
}

/*
 * adopt_bin(bin_table regclass, target regclass)
 */
Datum
dg_adopt_bin(PG_FUNCTION_ARGS)
{
	Oid			bin_table = PG_GETARG_OID(0);
	Oid			target = PG_GETARG_OID(1);
	Oid			types[] = {OIDOID, OIDOID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(bin_table), ObjectIdGetDatum(target), (Datum) 0};
	char	   *name;

	require_extension_owner();
	LockRelationOid(target, AccessShareLock);
	require_table(target);
	/* not while its rows are coming back, or are purged */
	LockRelationOid(bin_table, ShareRowExclusiveLock);
	SPI_connect();
	name = require_orphan(bin_table);
	dg_query("UPDATE deletion_guard.bin SET relation = $2 WHERE bin_table = $1", DG_AS_US, 2, types, values);
	values[2] = CStringGetTextDatum(name);
	dg_query("UPDATE deletion_guard.deletion_link SET relation = $2, relation_name = NULL"
			 " WHERE relation = 0 AND relation_name = $3", DG_AS_US, 3, types, values);
	dg_bin_follow_row_security(target);
	dg_ledger_append("adopt_bin", psprintf("{\"bin\": %s, \"table\": %s, \"adopted_by\": %s}",
										   dg_json_string(get_rel_name(bin_table)), dg_json_string(name),
										   dg_json_string(dg_relation_name(target))));
	SPI_finish();
	PG_RETURN_VOID();
}
