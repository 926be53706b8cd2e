/*
 * protect_retire.c
 *		retire_partition(): a partition is dropped after its rows were kept.
 *
 * For a scheduled job that may do nothing else. It needs no right on the
 * partition, which it could not drop, nor on deletion_guard.ddl, but TRUNCATE on
 * the guarded table: whoever may empty it may let go of a part of it. DROP TABLE
 * then runs as the partition's owner. All that holds for the command under
 * deletion_guard.ddl = keep holds here, ceilings and expectations among it.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "capture/capture.h"
#include "guard/guard.h"
#include "protect/protect_internal.h"

PG_FUNCTION_INFO_V1(dg_retire_partition);

/*
 * Fails unless the table is a partition of a guarded table that the caller may
 * empty.
 */
static void
require_partition(Oid relid)
{
	Oid			root;

	if (!get_rel_relispartition(relid) || !dg_guard_is_guarded(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a partition of a guarded table", dg_relation_name(relid)),
				 errhint("A table that is no partition is dropped with DROP TABLE by its owner, under deletion_guard.ddl = keep.")));
	root = dg_guard_lookup(relid)->root;
	if (pg_class_aclcheck(root, GetUserId(), ACL_TRUNCATE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to retire partitions of %s", dg_relation_name(root)),
				 errhint("It takes TRUNCATE on %s.", dg_relation_name(root))));
}

/*
 * Locks the partition as DROP TABLE does, its parent first.
 */
static void
lock_partition(Oid relid)
{
	Oid			parent = get_partition_parent(relid, true);

	LockRelationOid(parent, AccessExclusiveLock);
	LockRelationOid(relid, AccessExclusiveLock);
	require_partition(relid);
}

/*
 * retire_partition(target regclass) -> bigint, the deletion that its rows are in;
 * null if there were none.
 */
Datum
dg_retire_partition(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	int			nestlevel;

	PreventCommandIfReadOnly("retire_partition()");
	require_partition(relid);
	lock_partition(relid);
	nestlevel = NewGUCNestLevel();
	(void) set_config_option("deletion_guard.ddl", "keep", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	dg_query(psprintf("DROP TABLE %s", dg_relation_name(relid)), DG_AS_OWNER,
			 .table = relid);
	SPI_finish();
	AtEOXact_GUC(true, nestlevel);
	if (!dg_capture_deletion_exists())
		PG_RETURN_NULL();
	PG_RETURN_INT64(dg_capture_deletion_current());
}
