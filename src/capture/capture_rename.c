/*
 * capture_rename.c
 *		Tenants whose key has changed: UPDATE of a natural key.
 *
 * A trigger on the tenant table notes each change, and gives the tenant's parts,
 * holds and requests the new key: so the bin knows every tenant by the key that
 * it has now, also after another tenant has got the old one. Rows in the bin stay
 * as they were; they get the new key as they go back. Which changes they have
 * missed is told by the number of the last deletion before each.
 *
 * A call that names a tenant by a key that nobody has any more means who had it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
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
#include "guard/guard.h"

PG_FUNCTION_INFO_V1(dg_capture_rename);

/* One change of a key. */
typedef struct Rename
{
	int64		id;				/* deletions of lower ids were made before */
	int64		first;			/* of the same UPDATE */
	char	   *old;
	char	   *new;
} Rename;

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
		dg_own_set(scan, hash_attnum, UInt64GetDatum(dg_tenant_text_hash(key)));
	dg_own_update(scan);
}

static void
rename_parts(const char *old, const char *new)
{
	ListCell   *lc;

	foreach(lc, dg_tenant_spellings(old))
	{
		ScanKeyData key = dg_own_key_int8(Anum_deletion_part_tenant_hash, (int64) dg_tenant_text_hash(lfirst(lc)));
		DgOwnScan  *scan = dg_own_scan(DG_OWN_BY(deletion_part, deletion_part_tenant_idx), RowExclusiveLock, 1, &key);

		while (dg_own_next(scan))
		{
			if (strcmp(dg_own_text(scan, Anum_deletion_part_tenant), lfirst(lc)) == 0 &&
				dg_tenant_has_part(old, dg_own_int64(scan, Anum_deletion_part_bin_id), lfirst(lc)))
				rename_row(scan, Anum_deletion_part_tenant, Anum_deletion_part_tenant_hash,
						   dg_own_int64(scan, Anum_deletion_part_deletion_id),
						   dg_own_int64(scan, Anum_deletion_part_part), new);
		}
		dg_own_end(scan);
	}
}

static void
rename_in(DgOwnTable table, AttrNumber id, AttrNumber attnum, const char *old, const char *new)
{
	DgOwnScan  *scan = dg_own_scan(table, RowExclusiveLock, 0, NULL);

	while (dg_own_next(scan))
	{
		char	   *tenant = dg_own_text(scan, attnum);

		if (tenant != NULL && dg_tenant_equal_in(InvalidOid, tenant, old))
			rename_row(scan, attnum, InvalidAttrNumber, dg_own_int64(scan, id), 0, new);
	}
	dg_own_end(scan);
}

/* ----------------------------------------------------------------------
 * Numbers
 *
 * Whether a deletion was made before a change of keys is told by their numbers, and
 * members of pg_write_all_data may set the sequence back. So a deletion draws
 * numbers until it has one that no change has reached, and a change one that
 * neither has. Backends keep the number of the last change that they know of, and
 * forget it when there is another.
 * ----------------------------------------------------------------------
 */

#define MAX_DRAWS 1000

static int64 last_rename = -1;	/* 0: there is none; -1: not known */

static void
forget_last(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || dg_known_objects() == NULL || relid == dg_known_objects()->tenant_rename)
		last_rename = -1;
}

void
dg_rename_init(void)
{
	CacheRegisterRelcacheCallback(forget_last, (Datum) 0);
}

static int64
find_last_rename(void)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(tenant_rename), AccessShareLock, 0, NULL);
	int64		last = 0;

	while (dg_own_next(scan))
		last = Max(last, dg_own_int64(scan, Anum_tenant_rename_rename_id));
	dg_own_end(scan);
	return last;
}

static int64
find_last_deletion(void)
{
	Relation	rel = table_open(dg_objects()->deletion_part, AccessShareLock);
	Relation	index = index_open(dg_objects()->deletion_part_pkey, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan_ordered(rel, index, snapshot, 0, NULL);
	HeapTuple	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	bool		isnull;
	int64		last = HeapTupleIsValid(tuple) ?
		DatumGetInt64(heap_getattr(tuple, Anum_deletion_part_deletion_id, RelationGetDescr(rel), &isnull)) : 0;

	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return last;
}

static int64
draw_number(int64 last)
{
	int64		id = 0;

	for (int i = 0; i < MAX_DRAWS; i++)
	{
		id = nextval_internal(dg_objects()->deletion_id_seq, false);
		if (id > last)
			return id;
	}
	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_CAPTURE),
			 errmsg("the numbers of deletions have been set back"),
			 errdetail("Number %lld was drawn, and %lld was there before.", (long long) id, (long long) last),
			 errhint("Have a superuser call setval('deletion_guard.deletion_id_seq', %lld).", (long long) last)));
	return 0;
}

/*
 * A number for a deletion.
 */
int64
dg_deletion_draw_number(void)
{
	if (last_rename < 0)
		last_rename = find_last_rename();
	return draw_number(last_rename);
}

static void
note_rename(const char *old, const char *new)
{
	Datum		values[Natts_tenant_rename];
	bool		nulls[Natts_tenant_rename] = {false};
	int64		id = draw_number(Max(find_last_rename(), find_last_deletion()));

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
 * A tenant has another key. Who undeletes or purges it at this time holds its lock,
 * and is waited for.
 */
static void
rename_tenant(const char *old, const char *new, CommandId cid)
{
	begin_update(cid);
	dg_lock_tenants(list_make2(unconstify(char *, old), unconstify(char *, new)));
	note_rename(old, new);
	rename_parts(old, new);
	rename_in(DG_OWN_ALL(hold), Anum_hold_hold_id, Anum_hold_tenant, old, new);
	rename_in(DG_OWN_ALL(purge_request_record), Anum_purge_request_record_request_id,
			  Anum_purge_request_record_tenant, old, new);
}

static char *
key_text(Oid type, Datum key)
{
	int			nestlevel = dg_canonical_output_begin();
	char	   *text = dg_value_text(type, key);

	AtEOXact_GUC(true, nestlevel);
	return text;
}

/*
 * AFTER UPDATE, row, on the tenant table and its partitions.
 */
Datum
dg_capture_rename(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	const DgTenantTable *tenants = dg_tenant_table();
	Relation	rel;
	AttrNumber	attnum;
	Form_pg_attribute att;
	Datum		old;
	Datum		new;
	bool		isnull[2];

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) ||
		!TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		strcmp(trigdata->tg_trigger->tgname, DG_TRIGGER_RENAME) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called as the trigger it is for", "capture_rename"),
				 errhint("Let deletion_guard.set_tenant_table() make the trigger.")));
	rel = trigdata->tg_relation;
	if (RelationGetRelid(rel) != tenants->relid && dg_partition_root(RelationGetRelid(rel)) != tenants->relid)
		return PointerGetDatum(NULL);
	attnum = get_attnum(RelationGetRelid(rel), NameStr(tenants->key_column));
	if (attnum == InvalidAttrNumber)
		return PointerGetDatum(NULL);
	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	old = slot_getattr(trigdata->tg_trigslot, attnum, &isnull[0]);
	new = slot_getattr(trigdata->tg_newslot, attnum, &isnull[1]);
	if (!isnull[0] && !isnull[1] && !datum_image_eq(old, new, att->attbyval, att->attlen))
		rename_tenant(key_text(att->atttypid, old), key_text(att->atttypid, new),
					  HeapTupleHeaderGetCmin(trigdata->tg_newtuple->t_data));
	return PointerGetDatum(NULL);
}

/* ----------------------------------------------------------------------
 * Reading the changes
 * ----------------------------------------------------------------------
 */

static int
compare_renames(const ListCell *a, const ListCell *b)
{
	int64		x = ((const Rename *) lfirst(a))->id;
	int64		y = ((const Rename *) lfirst(b))->id;

	return x < y ? -1 : x > y;
}

/*
 * All changes of keys, in the order they were made; palloc'd.
 */
static List *
read_renames(void)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(tenant_rename), AccessShareLock, 0, NULL);
	List	   *renames = NIL;

	while (dg_own_next(scan))
	{
		Rename	   *rename = palloc(sizeof(Rename));

		rename->id = dg_own_int64(scan, Anum_tenant_rename_rename_id);
		rename->first = dg_own_int64(scan, Anum_tenant_rename_first_id);
		rename->old = dg_own_text(scan, Anum_tenant_rename_old_key);
		rename->new = dg_own_text(scan, Anum_tenant_rename_new_key);
		renames = lappend(renames, rename);
	}
	dg_own_end(scan);
	list_sort(renames, compare_renames);
	return renames;
}

/*
 * Has any tenant's key ever changed?
 */
bool
dg_any_renamed(void)
{
	DgOwnScan  *scan = dg_own_find(DG_OWN_ALL(tenant_rename), AccessShareLock, 0, NULL);

	if (scan != NULL)
		dg_own_end(scan);
	return scan != NULL;
}

/*
 * The key that has come of one after the changes from the n-th on; the same pointer
 * if none is of it. One UPDATE changes a key once. "done" is the UPDATE that made it
 * what it is, or 0.
 */
static const char *
follow_key(List *renames, int n, int64 done, const char *key)
{
	for (int i = n; i < list_length(renames); i++)
	{
		Rename	   *rename = list_nth(renames, i);

		if (rename->first == done || !dg_tenant_equal_in(InvalidOid, rename->old, key))
			continue;
		key = rename->new;
		done = rename->first;
	}
	return key;
}

/*
 * The key that the tenant has now who had this one when a deletion was made; the
 * same pointer if that has not changed.
 */
static const char *
renamed_key(List *renames, int64 deletion, const char *key)
{
	int			n = 0;

	while (n < list_length(renames) && ((Rename *) list_nth(renames, n))->id < deletion)
		n++;
	return follow_key(renames, n, 0, key);
}

/*
 * The key that has come of the one that the n-th change made.
 */
static const char *
end_of_rename(List *renames, int n)
{
	Rename	   *rename = list_nth(renames, n);

	return follow_key(renames, n + 1, rename->first, rename->new);
}

/*
 * The key that a tenant has now who had this one before, palloc'd; NULL if nobody
 * had, or if somebody has it. The caller has seen that no live tenant does.
 */
char *
dg_renamed_tenant(const char *tenant)
{
	List	   *renames = read_renames();
	const char *found = NULL;

	for (int i = 0; i < list_length(renames); i++)
	{
		const char *end;

		if (!dg_tenant_equal_in(InvalidOid, ((Rename *) list_nth(renames, i))->old, tenant))
			continue;
		end = end_of_rename(renames, i);
		if (found != NULL && !dg_tenant_equal_in(InvalidOid, found, end))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" was the key of several tenants", tenant),
					 errdetail("Among them are those that are \"%s\" and \"%s\" now.", found, end),
					 errhint("Give the key that the tenant has now.")));
		found = end;
	}
	return found != NULL && !dg_tenant_equal_in(InvalidOid, found, tenant) ? pstrdup(found) : NULL;
}

/*
 * All keys (char *) that the tenant had before, palloc'd.
 */
List *
dg_former_keys(const char *tenant)
{
	List	   *renames = read_renames();
	List	   *keys = NIL;

	for (int i = 0; i < list_length(renames); i++)
	{
		if (dg_tenant_equal_in(InvalidOid, end_of_rename(renames, i), tenant))
			keys = lappend(keys, ((Rename *) list_nth(renames, i))->old);
	}
	return keys;
}

/*
 * Forgets under which keys a tenant, of whom nothing is left, was known.
 */
void
dg_forget_renames(const char *tenant)
{
	List	   *renames = read_renames();

	for (int i = 0; i < list_length(renames); i++)
	{
		Rename	   *rename = list_nth(renames, i);
		ScanKeyData key = dg_own_key_int8(Anum_tenant_rename_rename_id, rename->id);
		DgOwnScan  *scan;

		if (!dg_tenant_equal_in(InvalidOid, end_of_rename(renames, i), tenant))
			continue;
		scan = dg_own_find(DG_OWN(tenant_rename), RowExclusiveLock, 1, &key);
		if (scan != NULL && dg_own_lock(scan))
			dg_own_delete(scan);
		if (scan != NULL)
			dg_own_end(scan);
	}
}

/* ----------------------------------------------------------------------
 * Rows that go back
 * ----------------------------------------------------------------------
 */

struct DgRenamedColumns
{
	List	   *renames;
	List	   *columns;		/* of the bin table, from 0 after the bin's own */
	TupleDesc	desc;
	Oid			relid;
	MemoryContext context;		/* of new values */
};

/*
 * Columns of a guarded table that hold tenants' keys: its tenant column, and those
 * that refer to the key by a foreign key.
 */
static List *
key_columns(Relation rel)
{
	const DgTenantTable *tenants = dg_tenant_table();
	DgGuard    *guard = dg_guard_lookup(RelationGetRelid(rel));
	List	   *names = NIL;
	ListCell   *lc;

	if (guard->has_tenant_column)
		names = lappend(names, NameStr(guard->tenant_column));
	foreach(lc, dg_foreign_keys(rel))
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);

		for (int i = 0; i < fkey->nkeys; i++)
		{
			if (fkey->confrelid == tenants->relid &&
				strcmp(get_attname(fkey->confrelid, fkey->confkey[i], false), NameStr(tenants->key_column)) == 0)
				names = lappend(names, get_attname(RelationGetRelid(rel), fkey->conkey[i], false));
		}
	}
	return names;
}

/*
 * Prepares to give rows of a bin table, of these columns, the keys that tenants
 * have now. NULL if no key has ever changed.
 */
DgRenamedColumns *
dg_renamed_columns(Relation rel, TupleDesc desc)
{
	List	   *renames = read_renames();
	DgRenamedColumns *renamed_columns;
	ListCell   *lc;

	if (renames == NIL)
		return NULL;
	renamed_columns = palloc0(sizeof(DgRenamedColumns));
	renamed_columns->renames = renames;
	renamed_columns->desc = CreateTupleDescCopy(desc);
	renamed_columns->relid = RelationGetRelid(rel);
	renamed_columns->context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard renamed keys",
													 ALLOCSET_SMALL_SIZES);
	foreach(lc, key_columns(rel))
	{
		for (int i = DG_BIN_COLUMNS; i < desc->natts; i++)
		{
			if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), lfirst(lc)) == 0)
				renamed_columns->columns = list_append_unique_int(renamed_columns->columns, i);
		}
	}
	return renamed_columns;
}

/*
 * Gives one row of a deletion, all of whose values are there, the present keys.
 */
void
dg_rename_values(DgRenamedColumns *renamed_columns, int64 deletion, Datum *values, const bool *nulls)
{
	MemoryContext old;
	ListCell   *lc;

	MemoryContextReset(renamed_columns->context);
	old = MemoryContextSwitchTo(renamed_columns->context);
	foreach(lc, renamed_columns->columns)
	{
		int			column = lfirst_int(lc);
		Form_pg_attribute att = TupleDescAttr(renamed_columns->desc, column);
		const char *key;
		const char *present;

		if (nulls[column])
			continue;
		key = key_text(att->atttypid, values[column]);
		present = renamed_key(renamed_columns->renames, deletion, key);
		if (present != key &&
			!dg_tenant_read_key(renamed_columns->relid, att->atttypid, present, &values[column]))
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_RESTORE),
					 errmsg("cannot give a row of \"%s\" the key that its tenant has now",
							get_rel_name(renamed_columns->relid)),
					 errdetail("Tenant \"%s\" is \"%s\" now, which is no value of type %s, that the column \"%s\" had when the row was deleted.",
							   key, present, format_type_be(att->atttypid), NameStr(att->attname)),
					 errhint("The row is in the bin as it was. It can come back while its tenant has a key of that type.")));
	}
	MemoryContextSwitchTo(old);
}
