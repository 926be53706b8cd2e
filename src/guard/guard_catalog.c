/*
 * guard_catalog.c
 *		The backend's cache of the registries "guard" and "tenant_table".
 *
 * An entry describes one table, guarded or not; a partition is described by
 * the ancestor that was enrolled. Entries are dropped by relcache
 * invalidation: of the table itself, which CREATE TRIGGER and every ALTER
 * TABLE send, and of the registry, which stands for all of them. What an entry
 * points to lives until the end of the transaction at least, so that it may be
 * used while output functions or triggers cause invalidations.
 *
 * What is invalidated while it is read is read again. Where that never ends
 * (debug_discard_caches), reading the same twice is good enough for one use.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "common/deletion_guard.h"
#include "common/own_tables.h"
#include "guard/guard_internal.h"
#include "ledger/ledger.h"

static HTAB *guards = NULL;
static DgTenantTable tenant_table;
static Oid	registry_relid = InvalidOid;	/* of deletion_guard.tenant_table */
static Oid	hypertable_signal = InvalidOid; /* dg_hypertable_signal() */
static bool hypertables_changed = false;

static void
invalidate_guards(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	DgGuard    *guard;

	if (OidIsValid(relid))
	{
		guard = hash_search(guards, &relid, HASH_FIND, NULL);
		if (guard != NULL)
			guard->valid = false;
		if (relid != tenant_table.relid && relid != registry_relid && relid != hypertable_signal)
			return;
		hypertables_changed |= relid == hypertable_signal;
	}

	/* everything */
	tenant_table.valid = false;
	hash_seq_init(&status, guards);
	while ((guard = hash_seq_search(&status)) != NULL)
		guard->valid = false;
}

/*
 * Makes ready, as the library is loaded, to forget what is known of guarded tables
 * when the catalog changes.
 */
void
dg_guard_catalog_init(void)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(DgGuard);
	guards = hash_create("deletion_guard tables", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	dg_follow_relcache(invalidate_guards);
}

static List *
step_names(HeapTuple tuple, TupleDesc desc, AttrNumber attnum)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	return isnull ? NIL : dg_array_strings(value);
}

static char *
step_name(HeapTuple tuple, TupleDesc desc, AttrNumber attnum)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	return isnull ? NULL : pstrdup(NameStr(*DatumGetName(value)));
}

/*
 * Reads the steps of an enrolled table's path, as DgStep, in order.
 */
static List *
read_steps(Oid relid)
{
	const DgObjects *objects = dg_objects();
	Relation	registry = table_open(objects->guard_step, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(registry);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *steps = NIL;

	ScanKeyInit(&key, Anum_guard_step_relation, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(registry, objects->guard_step_pkey, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		DgStep	   *step = palloc0(sizeof(DgStep));
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_guard_step_target, desc, &isnull);

		step->target = isnull ? InvalidOid : DatumGetObjectId(value);
		step->number = DatumGetInt32(heap_getattr(tuple, Anum_guard_step_step, desc, &isnull));
		step->value = TextDatumGetCString(heap_getattr(tuple, Anum_guard_step_type_value, desc, &isnull));
		step->foreign_key = step_name(tuple, desc, Anum_guard_step_foreign_key);
		step->type_column = step_name(tuple, desc, Anum_guard_step_type_column);
		step->columns = step_names(tuple, desc, Anum_guard_step_columns);
		step->keys = step_names(tuple, desc, Anum_guard_step_key_columns);
		steps = lappend(steps, step);
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	return steps;
}

/*
 * Reads the registry's row for a table into the entry; false if there is none.
 */
static bool
read_guard(DgGuard *guard, Oid relid)
{
	const DgObjects *objects = dg_objects();
	Relation	registry = table_open(objects->guard, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(registry);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_guard_relation, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(registry, objects->guard_pkey, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value;

		guard->guarded = true;
		guard->root = relid;
		value = heap_getattr(tuple, Anum_guard_tenant_column, desc, &isnull);
		if (!isnull)
		{
			guard->has_tenant_column = true;
			namestrcpy(&guard->tenant_column, NameStr(*DatumGetName(value)));
		}
		value = heap_getattr(tuple, Anum_guard_tenant_path, desc, &isnull);
		if (!isnull)
		{
			MemoryContext old = MemoryContextSwitchTo(guard->context);

			guard->tenant_path = dg_array_strings(value);
			if (guard->tenant_path == NIL)
				guard->steps = read_steps(relid);
			MemoryContextSwitchTo(old);
		}
		value = heap_getattr(tuple, Anum_guard_tenant, desc, &isnull);
		if (!isnull)
			guard->tenant = MemoryContextStrdup(guard->context, TextDatumGetCString(value));
		value = heap_getattr(tuple, Anum_guard_detached_from, desc, &isnull);
		if (!isnull)
			guard->detached_from = DatumGetObjectId(value);
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

/*
 * The tables that a partition or a chunk belongs to, its parent first. It still counts
 * as a partition until DETACH CONCURRENTLY has ended, which may never happen;
 * the server's own list leaves its ancestors out before.
 */
static List *
partition_ancestors(Oid relid)
{
	Relation	rel = table_open(InheritsRelationId, AccessShareLock);
	List	   *ancestors = NIL;

	do
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(relid));
		scan = systable_beginscan(rel, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
		tuple = systable_getnext(scan);
		relid = HeapTupleIsValid(tuple) ? ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent : InvalidOid;
		systable_endscan(scan);
		if (OidIsValid(relid))
			ancestors = lappend_oid(ancestors, relid);
	} while (OidIsValid(relid));
	table_close(rel, AccessShareLock);
	return ancestors;
}

/* The table that a partition or a chunk belongs to in the end. */
Oid
dg_guard_partition_root(Oid relid)
{
	List	   *ancestors = partition_ancestors(relid);

	return ancestors == NIL ? relid : llast_oid(ancestors);
}

/*
 * What cannot be told is no reason to fail: the table was ordinary when it was enrolled.
 */
static void
note_oddity(DgGuard *guard)
{
	MemoryContext old = MemoryContextSwitchTo(guard->context);

	hypertable_signal = dg_hypertable_signal();
	if (!guard->guarded || !dg_is_odd(guard->relid, &guard->odd) || guard->odd.unknown)
		guard->odd.what = NULL;
	MemoryContextSwitchTo(old);
}

static void
build_guard(DgGuard *guard)
{
	if (guard->context != NULL)
		MemoryContextSetParent(guard->context, TopTransactionContext);
	guard->context = AllocSetContextCreate(CacheMemoryContext, "deletion_guard table",
										   ALLOCSET_SMALL_SIZES);
	guard->guarded = false;
	guard->root = InvalidOid;
	guard->has_tenant_column = false;
	guard->tenant_path = guard->steps = NIL;
	guard->tenant = NULL;
	guard->detached_from = InvalidOid;
	guard->capture = NULL;

	if (!read_guard(guard, guard->relid) && dg_is_part(guard->relid))
	{
		List	   *ancestors = partition_ancestors(guard->relid);
		ListCell   *lc;

		foreach(lc, ancestors)
		{
			if (read_guard(guard, lfirst_oid(lc)))
				break;
		}
		list_free(ancestors);
	}
	note_oddity(guard);
}

static bool
same_guard(const DgGuard *a, const DgGuard *b)
{
	ListCell   *x;
	ListCell   *y;

	if (a->guarded != b->guarded || a->root != b->root || a->has_tenant_column != b->has_tenant_column ||
		a->detached_from != b->detached_from ||
		(a->has_tenant_column && strcmp(NameStr(a->tenant_column), NameStr(b->tenant_column)) != 0) ||
		(a->tenant == NULL) != (b->tenant == NULL) || (a->tenant != NULL && strcmp(a->tenant, b->tenant) != 0) ||
		list_length(a->tenant_path) != list_length(b->tenant_path) || list_length(a->steps) != list_length(b->steps))
		return false;
	forboth(x, a->tenant_path, y, b->tenant_path)
	{
		if (strcmp(lfirst(x), lfirst(y)) != 0)
			return false;
	}
	return true;
}

static void
refresh_guard(DgGuard *guard)
{
	/* set first: an invalidation that arrives meanwhile is kept */
	guard->valid = true;
	PG_TRY();
	{
		build_guard(guard);
	}
	PG_CATCH();
	{
		guard->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * The entry of a table, never NULL; "guarded" tells whether it is guarded.
 * The caller holds a lock on the table.
 */
DgGuard *
dg_guard_lookup(Oid relid)
{
	bool		found;
	DgGuard    *guard;

	guard = hash_search(guards, &relid, HASH_ENTER, &found);
	if (!found)
	{
		guard->valid = false;
		guard->context = NULL;
	}
	for (int tries = 0; !guard->valid; tries++)
	{
		DgGuard		before = *guard;

		refresh_guard(guard);
		if (tries > 0 && same_guard(guard, &before))
			break;
	}
	return guard;
}

/*
 * A guarded table has become something else since it was enrolled: what is deleted
 * from it now might be lost.
 */
void
dg_guard_require_ordinary(Oid relid)
{
	DgGuard    *guard = dg_guard_lookup(relid);

	if (!guard->guarded || guard->odd.what == NULL)
		return;
	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_CAPTURE),
			 errmsg("cannot delete from \"%s\": it is %s, and guarded", get_rel_name(relid), guard->odd.what),
			 errdetail("Its deleted rows would be lost."),
			 errhint("Make it an ordinary table again, or give up its protection by deletion_guard.unguard_table(%s%s), which is recorded.",
					 quote_literal_cstr(dg_relation_name(guard->root)), dg_locked ? ", tokens" : "")));
}

/*
 * Is it a guarded table, or a partition of one? The relation may be of any kind,
 * or none.
 */
bool
dg_guard_is_guarded(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	return (relkind == RELKIND_RELATION || relkind == RELKIND_PARTITIONED_TABLE) &&
		dg_guard_lookup(relid)->guarded;
}

/*
 * How a table is guarded; points into the guard.
 */
DgTenantSource
dg_guard_source(const DgGuard *guard)
{
	DgTenantSource source = {guard->has_tenant_column ? NameStr(guard->tenant_column) : NULL,
	guard->tenant_path, guard->steps, guard->tenant};

	return source;
}

static void
copy_name(NameData *to, Datum value, bool isnull)
{
	memset(to, 0, sizeof(NameData));
	if (!isnull)
		namestrcpy(to, NameStr(*DatumGetName(value)));
}

static void
read_tenant_table(void)
{
	const DgObjects *objects = dg_objects();
	Relation	registry = table_open(objects->tenant_table, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(registry);
	SysScanDesc scan;
	HeapTuple	tuple;

	registry_relid = objects->tenant_table;
	tenant_table.relid = InvalidOid;
	copy_name(&tenant_table.key_column, (Datum) 0, true);
	copy_name(&tenant_table.name_column, (Datum) 0, true);
	copy_name(&tenant_table.contact_column, (Datum) 0, true);
	scan = systable_beginscan(registry, InvalidOid, false, NULL, 0, NULL);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value;

		tenant_table.relid = DatumGetObjectId(heap_getattr(tuple, Anum_tenant_table_relation, desc, &isnull));
		value = heap_getattr(tuple, Anum_tenant_table_key_column, desc, &isnull);
		copy_name(&tenant_table.key_column, value, isnull);
		value = heap_getattr(tuple, Anum_tenant_table_name_column, desc, &isnull);
		copy_name(&tenant_table.name_column, value, isnull);
		value = heap_getattr(tuple, Anum_tenant_table_contact_column, desc, &isnull);
		copy_name(&tenant_table.contact_column, value, isnull);
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
}

static void
refresh_tenant_table(void)
{
	tenant_table.valid = true;
	PG_TRY();
	{
		read_tenant_table();
	}
	PG_CATCH();
	{
		tenant_table.valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * The table that lists the tenants; relid is InvalidOid where none is set.
 */
const DgTenantTable *
dg_guard_tenant_table(void)
{
	for (int tries = 0; !tenant_table.valid; tries++)
	{
		DgTenantTable before = tenant_table;

		refresh_tenant_table();
		before.valid = tenant_table.valid;
		if (tries > 0 && memcmp(&before, &tenant_table, sizeof(DgTenantTable)) == 0)
			break;
	}
	return &tenant_table;
}

/*
 * Makes this session look everything up again.
 */
void
dg_guard_forget_all(void)
{
	invalidate_guards((Datum) 0, InvalidOid);
}

/*
 * Has TimescaleDB's list of hypertables changed since this was asked last?
 */
bool
dg_guard_hypertables_changed(void)
{
	bool		changed = hypertables_changed;

	hypertables_changed = false;
	return changed;
}

/*
 * Tells every session, at commit, that a table's registry row has changed: by the
 * registry itself, too, for those who look at all rows of it.
 */
void
dg_guard_changed(Oid relid)
{
	ListCell   *lc;
	List	   *relids = find_all_inheritors(relid, NoLock, NULL);

	foreach(lc, relids)
		CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
	list_free(relids);
	CacheInvalidateRelcacheByRelid(dg_objects()->guard);
}

/*
 * Is a table guarded by itself that was a partition of one of these? All rows are
 * looked at, with a snapshot that the server's serializable transactions do not
 * follow: else guarding another table meanwhile would fail one of the two.
 */
static bool
has_detached(List *relids)
{
	Relation	registry = table_open(dg_objects()->guard, AccessShareLock);
	SysScanDesc scan = systable_beginscan(registry, InvalidOid, false, SnapshotSelf, 0, NULL);
	HeapTuple	tuple;
	bool		found = false;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		origin = heap_getattr(tuple, Anum_guard_detached_from, RelationGetDescr(registry), &isnull);

		found = !isnull && list_member_oid(relids, DatumGetObjectId(origin));
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	return found;
}

/*
 * These tables are being dropped: rows of their detached partitions do not go back
 * to them any more.
 */
void
dg_guard_forget_origins(List *relids)
{
	Oid			types[] = {OIDARRAYOID};
	Datum		values[1];
	ListCell   *lc;

	if (!has_detached(relids))
		return;
	values[0] = dg_oid_array(relids);
	SPI_connect();
	dg_query("UPDATE deletion_guard.guard SET detached_from = NULL WHERE detached_from = ANY ($1) RETURNING relation",
			 DG_AS_US, 1, types, values);
	foreach(lc, dg_row_oids(1))
		dg_guard_changed(lfirst_oid(lc));
	SPI_finish();
	CommandCounterIncrement();
}

/*
 * A guarded table is being dropped, or a partition of one, since it is empty, its
 * rows were kept, or deletion_guard.ddl allows them to be lost: takes it out of the
 * registries. Its bins keep the name it had last, so that a table that takes its
 * place can take them over.
 */
void
dg_guard_dropped(Oid relid, int64 kept, int64 lost)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[2];

	values[0] = ObjectIdGetDatum(relid);
	values[1] = CStringGetTextDatum(dg_relation_name(relid));
	SPI_connect();
	dg_query("UPDATE deletion_guard.bin SET relation_name = $2"
			 " WHERE relation = $1 AND relation_name <> $2", DG_AS_US, 2, types, values);
	dg_query("UPDATE deletion_guard.deletion_link SET relation = 0, relation_name = $2 WHERE relation = $1",
			 DG_AS_US, 2, types, values);
	dg_query("DELETE FROM deletion_guard.guard_step WHERE relation = $1", DG_AS_US, 1, types, values);
	dg_ledger_append("drop_table",
					 psprintf("{\"table\": %s%s}", dg_json_string(dg_relation_name(relid)),
							  lost > 0 ? psprintf(", \"rows_lost\": %lld", (long long) lost) :
							  kept > 0 ? psprintf(", \"rows_kept\": %lld", (long long) kept) : ""));
	SPI_finish();
	dg_guard_forget_origins(list_make1_oid(relid));
	if (dg_guard_lookup(relid)->root != relid)
		return;
	dg_own_delete_by_oid(DG_OWN(guard), Anum_guard_relation, relid);
	dg_guard_changed(relid);
	if (dg_guard_tenant_table()->relid == relid)
	{
		dg_own_delete_by_oid(DG_OWN_ALL(tenant_table), Anum_tenant_table_relation, relid);
		dg_guard_tenant_table_changed();
	}
}

/*
 * Tells every session that the tenant table is another one now, which concerns
 * every guarded table.
 */
void
dg_guard_tenant_table_changed(void)
{
	CacheInvalidateRelcacheByRelid(dg_objects()->tenant_table);
}

/*
 * A virtual column has no value in the rows that are deleted.
 */
void
dg_guard_require_stored(Oid relid, const char *column)
{
	AttrNumber	attnum = get_attnum(relid, column);

	if (attnum > 0 && get_attgenerated(relid, attnum) == ATTRIBUTE_GENERATED_VIRTUAL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of \"%s\" cannot tell whose rows are deleted: it is a virtual generated column",
						column, get_rel_name(relid)),
				 errhint("Make it STORED, or name another column.")));
}
