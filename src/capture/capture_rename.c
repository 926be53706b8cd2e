/*
 * capture_rename.c
 *		Tenants whose key has changed: UPDATE of a natural key.
 *
 * A trigger on the tenant table notes each change, and gives the tenant's parts,
 * holds and requests the new key: so the bin knows every tenant by the key that
 * it has now, also after another tenant has got the old one. Rows in the bin stay
 * as they were; they get the new key as they go back. Which changes they have
 * missed is told by the number of the last deletion before each (bin_rename.c reads
 * them). Tables and schemas whose rows are all the tenant's are so by its new key.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "replication/logicalworker.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "bin/bin.h"
#include "capture/capture_internal.h"
#include "common/own_tables.h"
#include "common/tables.h"
#include "guard/guard.h"

PG_FUNCTION_INFO_V1(dg_capture_rename);

/* ----------------------------------------------------------------------
 * What an UPDATE has renamed
 *
 * An UPDATE may give one tenant's old key to another (SET id = id + 1). What it has
 * renamed once must not be renamed again when the other's turn comes.
 * ----------------------------------------------------------------------
 */

typedef struct Renamed
{
	Oid			relid;			/* of a table of ours, */
	int32		part;
	int64		id;				/* and its row */
} Renamed;

static HTAB *renamed = NULL;	/* in the transaction's memory */
static LocalTransactionId renamed_lxid;
static CommandId renamed_by;	/* the UPDATE, */
static int64 first_rename;		/* and its first change; 0: none yet */

static void
begin_update(CommandId cid)
{
	HASHCTL		ctl = {.keysize = sizeof(Renamed),.entrysize = sizeof(Renamed),.hcxt = TopTransactionContext};

	if (renamed != NULL && renamed_lxid == DG_MY_LXID && renamed_by == cid)
		return;
	renamed = hash_create("deletion_guard renamed", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	renamed_lxid = DG_MY_LXID;
	renamed_by = cid;
	first_rename = 0;
}

/*
 * Writes the tenant's new key into the scan's row, unless this UPDATE has been there.
 */
static void
rename_row(DgOwnScan *scan, AttrNumber attnum, AttrNumber hash_attnum, int64 id, int32 part, const char *key)
{
	Renamed		row = {RelationGetRelid(scan->rel), part, id};
	bool		found;

	(void) hash_search(renamed, &row, HASH_ENTER, &found);
	if (found || !dg_own_lock(scan))
		return;
	dg_own_set(scan, attnum, CStringGetTextDatum(key));
	if (hash_attnum != InvalidAttrNumber)
		dg_own_set(scan, hash_attnum, UInt64GetDatum(dg_guard_tenant_text_hash(key)));
	dg_own_update(scan);
}

static void
rename_row_of_part(DgOwnScan *scan, void *key)
{
	rename_row(scan, Anum_deletion_part_tenant, Anum_deletion_part_tenant_hash,
			   dg_own_int64(scan, Anum_deletion_part_deletion_id), dg_own_int64(scan, Anum_deletion_part_part), key);
}

static void
rename_in(DgOwnTable table, AttrNumber id, AttrNumber attnum, const char *old, const char *new)
{
	DgOwnScan  *scan = dg_own_scan(table, RowExclusiveLock, 0, NULL);

	while (dg_own_next(scan))
	{
		char	   *tenant = dg_own_text(scan, attnum);

		if (tenant != NULL && dg_guard_tenant_equal_in(InvalidOid, tenant, old))
			rename_row(scan, attnum, InvalidAttrNumber, dg_own_int64(scan, id), 0, new);
	}
	dg_own_end(scan);
}

/*
 * Of tables and schemas that are a tenant's whole; each once, as another may get the
 * old key by the same UPDATE.
 */
static void
rename_registered(DgOwnTable table, AttrNumber id, AttrNumber attnum, const char *old, const char *new)
{
	DgOwnScan  *scan = dg_own_scan(table, RowExclusiveLock, 0, NULL);

	while (dg_own_next(scan))
	{
		char	   *tenant = dg_own_text(scan, attnum);
		bool		isnull;
		Datum		key = dg_own_datum(scan, id, &isnull);

		if (tenant != NULL && dg_guard_tenant_equal_in(InvalidOid, tenant, old))
			rename_row(scan, attnum, InvalidAttrNumber,
					   table.relid == dg_objects()->guard ? (int64) DatumGetObjectId(key) :
					   (int64) dg_guard_tenant_text_hash(NameStr(*DatumGetName(key))), 0, new);
	}
	dg_own_end(scan);
}

/* ----------------------------------------------------------------------
 * Numbers
 *
 * Whether a deletion was made before a change of keys is told by their numbers, and
 * members of pg_write_all_data may set the sequence (own_number.c). So a deletion takes a
 * number that no change has reached, and a change one that neither has. Backends keep
 * the number of the last change that they know of, and forget it when there is
 * another; and the last number that they know of, and forget it when a transaction
 * fails, which may be for another's having had the same.
 * ----------------------------------------------------------------------
 */

static int64 last_rename = -1;	/* 0: there is none; -1: not known */
static int64 last_number = -1;	/* that this session knows of; -1: none */

static void
forget_last(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || dg_known_objects() == NULL || relid == dg_known_objects()->tenant_rename)
		last_rename = -1;
}

static void
rename_at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		last_number = -1;
}

static void
rename_at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		last_number = -1;
}

/*
 * Makes ready, as the library is loaded, to forget at the end of a transaction the
 * keys that it changed.
 */
void
dg_capture_rename_init(void)
{
	dg_follow_relcache(forget_last);
	RegisterXactCallback(rename_at_xact, NULL);
	RegisterSubXactCallback(rename_at_subxact, NULL);
}

static int64
find_last_rename(void)
{
	return dg_own_last(DG_OWN_ALL(tenant_rename), Anum_tenant_rename_rename_id);
}

/*
 * Draws the number of a new deletion, which is higher than that of every
 * deletion and every change of a key before.
 */
int64
dg_capture_draw_number(void)
{
	if (last_rename < 0)
		last_rename = find_last_rename();
	if (last_number < 0)
		last_number = dg_own_last(DG_OWN(deletion_part), Anum_deletion_part_deletion_id);
	last_number = Max(last_number, last_rename);
	return dg_own_draw(dg_objects()->deletion_id_seq, DG_OWN(deletion_part), Anum_deletion_part_deletion_id,
					   DG_LEAP, &last_number);
}

static void
note_rename(const char *old, const char *new)
{
	Datum		values[Natts_tenant_rename];
	bool		nulls[Natts_tenant_rename] = {false};
	int64		id;

	/* above all that there is */
	last_rename = find_last_rename();
	last_number = -1;
	id = dg_capture_draw_number();
	if (first_rename == 0)
		first_rename = id;
	values[Anum_tenant_rename_rename_id - 1] = Int64GetDatum(id);
	values[Anum_tenant_rename_first_id - 1] = Int64GetDatum(first_rename);
	values[Anum_tenant_rename_old_key - 1] = CStringGetTextDatum(old);
	values[Anum_tenant_rename_new_key - 1] = CStringGetTextDatum(new);
	values[Anum_tenant_rename_renamed_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	dg_own_insert(DG_OWN(tenant_rename), values, nulls);
	CacheInvalidateRelcacheByRelid(dg_objects()->tenant_rename);
}

/*
 * Follows a tenant's key that has changed. A call that undeletes or purges the
 * tenant at this time holds its lock, and is waited for.
 */
static void
rename_tenant(const char *old, const char *new, CommandId cid)
{
	begin_update(cid);
	dg_guard_lock_tenants(list_make2(unconstify(char *, old), unconstify(char *, new)));
	note_rename(old, new);
	dg_bin_tenant_each_part(old, RowExclusiveLock, rename_row_of_part, unconstify(char *, new));
	rename_in(DG_OWN_ALL(hold), Anum_hold_hold_id, Anum_hold_tenant, old, new);
	rename_in(DG_OWN_ALL(purge_request_record), Anum_purge_request_record_request_id,
			  Anum_purge_request_record_tenant, old, new);
	rename_registered(DG_OWN_ALL(guard), Anum_guard_relation, Anum_guard_tenant, old, new);
	rename_registered(DG_OWN_ALL(guarded_schema), Anum_guarded_schema_schema_name, Anum_guarded_schema_tenant, old, new);
	CacheInvalidateRelcacheByRelid(dg_objects()->guard);
}

/* ----------------------------------------------------------------------
 * The trigger
 *
 * Where a key decides what partition its row is in, the server moves the row: no
 * UPDATE trigger fires, but one for the row's deletion here and the next one for its
 * insertion there, both of one command.
 * ----------------------------------------------------------------------
 */

static char *moved_key = NULL;	/* of a row that has left a partition; in the
								 * transaction's memory */
static LocalTransactionId moved_lxid;
static CommandId moved_by;

/* Rows that left a partition and came nowhere, as a trigger kept them away. */
typedef struct NotMoved
{
	Oid			relid;
	ItemPointerData tid;
} NotMoved;

static List *not_moved = NIL;	/* in the transaction's memory */
static LocalTransactionId not_moved_lxid;

/*
 * Is it the tenant table, or a partition of it?
 */
static bool
is_of_tenants(Oid relid)
{
	Oid			tenants = dg_guard_tenant_table()->relid;

	return OidIsValid(tenants) && (relid == tenants || dg_guard_partition_root(relid) == tenants);
}

/*
 * A row of a partition was to be moved, and is deleted: no other's key is what has
 * come of its.
 */
void
dg_capture_rename_not_moved(Oid relid, ItemPointer tid)
{
	MemoryContext old;
	NotMoved   *row;

	if (!is_of_tenants(relid))
		return;
	if (not_moved_lxid != DG_MY_LXID)
		not_moved = NIL;
	not_moved_lxid = DG_MY_LXID;
	old = MemoryContextSwitchTo(TopTransactionContext);
	row = palloc(sizeof(NotMoved));
	row->relid = relid;
	row->tid = *tid;
	not_moved = lappend(not_moved, row);
	MemoryContextSwitchTo(old);
}

/*
 * Is a row that has been deleted from a partition going to be in another? A
 * replication worker does not mark it.
 */
static bool
is_moved(Relation rel, HeapTuple row)
{
	ListCell   *lc;

	if (!HeapTupleHeaderIndicatesMovedPartitions(row->t_data) && !IsLogicalWorker())
		return false;
	foreach(lc, not_moved_lxid == DG_MY_LXID ? not_moved : NIL)
	{
		NotMoved   *other = lfirst(lc);

		if (other->relid == RelationGetRelid(rel) && ItemPointerEquals(&other->tid, &row->t_self))
			return false;
	}
	return true;
}

static void
note_leaving(Relation rel, HeapTuple row, Oid type, Datum key)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	moved_key = is_moved(rel, row) ? dg_canonical_text(type, key) : NULL;
	moved_lxid = DG_MY_LXID;
	moved_by = HeapTupleHeaderGetCmax(row->t_data);
	MemoryContextSwitchTo(old);
}

static void
note_arriving(HeapTuple row, Oid type, Datum key)
{
	CommandId	cid = HeapTupleHeaderGetCmin(row->t_data);

	if (moved_key != NULL && moved_lxid == DG_MY_LXID && moved_by == cid)
	{
		char	   *new = dg_canonical_text(type, key);

		if (strcmp(moved_key, new) != 0)
			rename_tenant(moved_key, new, cid);
	}
	moved_key = NULL;
}

static void
require_trigger(FunctionCallInfo fcinfo)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		strcmp(trigdata->tg_trigger->tgname, DG_TRIGGER_RENAME) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called as the trigger it is for", "capture_rename"),
				 errhint("Let deletion_guard.set_tenant_table() make the trigger.")));
}

/*
 * AFTER UPDATE, row, on the tenant table; on its partitions also AFTER INSERT and
 * DELETE.
 */
Datum
dg_capture_rename(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Relation	rel;
	AttrNumber	attnum;
	Form_pg_attribute att;
	Datum		old;
	Datum		new;
	bool		isnull[2] = {false};

	require_trigger(fcinfo);
	rel = trigdata->tg_relation;
	if (!is_of_tenants(RelationGetRelid(rel)))
		return PointerGetDatum(NULL);
	attnum = get_attnum(RelationGetRelid(rel), NameStr(dg_guard_tenant_table()->key_column));
	if (attnum == InvalidAttrNumber)
		return PointerGetDatum(NULL);
	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	old = slot_getattr(trigdata->tg_trigslot, attnum, &isnull[0]);
	if (isnull[0])
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		note_leaving(rel, trigdata->tg_trigtuple, att->atttypid, old);
	else if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		note_arriving(trigdata->tg_trigtuple, att->atttypid, old);
	else
	{
		new = slot_getattr(trigdata->tg_newslot, attnum, &isnull[1]);
		if (!isnull[1] && !datum_image_eq(old, new, att->attbyval, att->attlen))
			rename_tenant(dg_canonical_text(att->atttypid, old), dg_canonical_text(att->atttypid, new),
						  HeapTupleHeaderGetCmin(trigdata->tg_newtuple->t_data));
	}
	return PointerGetDatum(NULL);
}
