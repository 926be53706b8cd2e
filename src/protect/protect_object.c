/*
 * protect_object.c
 *		What must not happen to a guarded table, its triggers, or the bin.
 *
 * Decided where objects are dropped and altered (object_access_hook), so that
 * every road to it is closed at once: DROP TABLE, DROP SCHEMA ... CASCADE,
 * DROP OWNED, DROP EXTENSION ... CASCADE, DROP TYPE ... CASCADE, DISABLE
 * TRIGGER, ALTER TRIGGER ... RENAME. Commands that lead there by a detour, or
 * whose refusal there would name a trigger and not the table, are recognised
 * earlier, by their parse tree.
 *
 * What the extension does itself (unguard_table()) runs under dg_acting().
 *
 * deletion_guard.ddl = keep lets tables go whose rows were kept (protect_keep.c), and
 * partitions be detached, as they stay guarded. "allow" lets all of it pass, but
 * for what would harm the bin; the server's log says so each time, and the ledger
 * how many rows were lost.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "capture/capture.h"
#include "common/tables.h"
#include "guard/guard.h"
#include "ledger/ledger.h"
#include "protect/protect_internal.h"
#include "undelete/undelete.h"

#define DETAIL_ROWS		"Rows would be lost without having gone to the recycle bin."
#define DETAIL_UNFORESEEN "Its rows could not be kept as the command began, or it was written to since."
#define DETAIL_VALUES	"Its values, and those of deleted rows when they come back, would be lost."

/*
 * The way out of a refusal, palloc'd: to give up the protection of the table.
 */
static char *
way_to_unguard(Oid relid)
{
	return psprintf("To give up the protection, call deletion_guard.unguard_table(%s%s) first; that is recorded.",
					quote_literal_cstr(dg_relation_name(dg_guard_lookup(relid)->root)),
					dg_locked ? ", tokens" : "");
}

/*
 * Refuses a command on a guarded table. "what" says all of it, as in "cannot
 * ..."; hint may be NULL: then it is way_to_unguard().
 */
void
dg_protect_refuse_on_guarded(Oid relid, const char *what, const char *detail, const char *hint)
{
	if (dg_ddl_allowed())
	{
		ereport(LOG_SERVER_ONLY,
				(errmsg("deletion_guard.ddl allows to %s, which is guarded against deletion", what)));
		return;
	}
	ereport(ERROR,
			(errcode(DG_ERRCODE_GUARDED_OBJECT),
			 errmsg("cannot %s: it is guarded against deletion", what),
			 errdetail("%s", detail),
			 errhint("%s", hint != NULL ? hint : way_to_unguard(relid))));
}

/*
 * A table with rows is to be dropped, or a partition with rows detached. What
 * has gone to the bin is safe, so emptying it first is a way out, too.
 */
void
dg_protect_refuse_departure(Oid relid, const char *what)
{
	dg_protect_refuse_on_guarded(relid, what, dg_ddl_keeps() ? DETAIL_UNFORESEEN : DETAIL_ROWS,
								 psprintf("%s the rows first, which keeps them in the recycle bin: an empty table may go. %s",
										  dg_ddl_keeps() ? "Delete" : "With deletion_guard.ddl = keep, which superusers set and may GRANT, the command keeps them itself. Or delete",
										  way_to_unguard(relid)));
}

/*
 * Refuses to drop a guarded table with rows.
 */
void
dg_protect_refuse_drop(Oid relid)
{
	dg_protect_refuse_departure(relid, psprintf("drop table \"%s\"", get_rel_name(relid)));
}

/*
 * Does any row live in the table, or in a part of it?
 */
bool
dg_protect_has_rows(Oid relid)
{
	ListCell   *lc;

	if (get_rel_relkind(relid) == RELKIND_RELATION && dg_protect_store_has_rows(relid))
		return true;
	if (!dg_has_parts(relid))
		return false;
	foreach(lc, find_inheritance_children(relid, AccessShareLock))
	{
		if (dg_protect_has_rows(lfirst_oid(lc)))
			return true;
	}
	return false;
}

/*
 * The name of the guarded table whose bin this is, palloc'd; NULL if it is no
 * bin. Other tables may lie in the bins' schema for a while: VACUUM FULL makes
 * and drops one.
 */
static char *
table_of_bin(Oid relid)
{
	Relation	registry;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *name = NULL;

	if (get_rel_namespace(relid) != dg_objects()->bin_schema)
		return NULL;
	registry = table_open(dg_objects()->bin, AccessShareLock);
	ScanKeyInit(&key, Anum_registry_bin_table, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(registry, dg_objects()->bin_bin_table_key, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		name = TextDatumGetCString(heap_getattr(tuple, Anum_registry_relation_name,
												RelationGetDescr(registry), &isnull));
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	return name;
}

/*
 * Does a value of this type hold one of that type?
 */
static bool
type_holds(Oid type, Oid wanted)
{
	Oid			base = getBaseType(type);
	Oid			relid;
	bool		result = false;

	if (type == wanted || base == wanted)
		return true;
	if (OidIsValid(get_element_type(base)))
		return type_holds(get_element_type(base), wanted);
	if (OidIsValid(get_multirange_range(base)))
		return type_holds(get_multirange_range(base), wanted);
	if (OidIsValid(get_range_subtype(base)))
		return type_holds(get_range_subtype(base), wanted);
	relid = get_typ_typrelid(base);
	if (OidIsValid(relid))
	{
		Relation	rel = relation_open(relid, AccessShareLock);

		for (int i = 0; i < RelationGetNumberOfAttributes(rel) && !result; i++)
		{
			Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

			result = !att->attisdropped && type_holds(att->atttypid, wanted);
		}
		relation_close(rel, NoLock);
	}
	return result;
}

/*
 * An attribute of a composite type, which may be a table's, is about to be
 * dropped: not if rows of a guarded table, or of the bin, have values of that type.
 */
static void
check_attribute(Oid typrelid)
{
	Oid			type = get_rel_type_id(typrelid);
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(type))
		return;
	rel = table_open(AttributeRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_attribute att = (Form_pg_attribute) GETSTRUCT(tuple);
		char	   *table;

		if (att->attisdropped || att->atttypid < FirstNormalObjectId)
			continue;
		table = table_of_bin(att->attrelid);
		if ((table == NULL && !dg_guard_is_guarded(att->attrelid)) || !type_holds(att->atttypid, type))
			continue;
		if (table == NULL)
			dg_protect_refuse_on_guarded(att->attrelid,
										 psprintf("drop an attribute of type %s of column \"%s\" of table \"%s\"", format_type_be(type),
												  NameStr(att->attname), get_rel_name(att->attrelid)),
										 DETAIL_VALUES, NULL);
		else if (dg_protect_store_has_rows(att->attrelid))
			ereport(ERROR,
					(errcode(DG_ERRCODE_PROTECTED_STORE),
					 errmsg("cannot drop an attribute of type %s: the bin of %s holds rows with such values",
							format_type_be(type), table),
					 errhint("Undelete the rows, or purge them with a signed token.")));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * What became of the values of a column that goes.
 */
static void
record_column(Oid relid, const char *column, const char *what, int64 values)
{
	if (values > 0)
		dg_ledger_append("drop_column",
						 psprintf("{\"table\": %s, \"column\": %s, \"%s\": %lld}",
								  dg_json_string(dg_relation_name(relid)), dg_json_string(column), what, (long long) values));
}

/*
 * A column of a guarded table is about to be dropped. One that is computed has no
 * values of its own.
 */
static void
check_column(Oid relid, AttrNumber attnum)
{
	char	   *column = get_attname(relid, attnum, false);
	int64		kept;

	if (get_attgenerated(relid, attnum) == ATTRIBUTE_GENERATED_VIRTUAL)
		return;
	if (get_attgenerated(relid, attnum) != '\0' && dg_ddl_keeps())
		return;
	if (dg_protect_keep_has(relid, attnum, &kept))
	{
		record_column(relid, column, "values_kept", kept);
		return;
	}
	dg_protect_refuse_on_guarded(relid, psprintf("drop column \"%s\" of table \"%s\"", column, get_rel_name(relid)), DETAIL_VALUES,
								 psprintf("%s deletion_guard.unguard_table(%s%s), which is recorded, drop the column, and guard the table again.",
										  dg_ddl_keeps() ? "ALTER TABLE ... DROP COLUMN keeps the values, if the column is not what tells the rows' tenants. If it is, name another with guard_table() first. Or call" :
										  "With deletion_guard.ddl = keep, which superusers set and may GRANT, ALTER TABLE keeps them itself. Or call",
										  quote_literal_cstr(dg_relation_name(dg_guard_lookup(relid)->root)),
										  dg_locked ? ", tokens" : ""));
	record_column(relid, column, "values_lost", dg_protect_keep_count(relid, attnum));
}

/*
 * A guarded table is about to be dropped.
 */
static void
check_table(Oid relid)
{
	int64		kept = 0;
	int64		lost = 0;

	if (OidIsValid(dg_hypertable_of(relid)))
	{
		/*
		 * TRUNCATE drops chunks when it has emptied them; then the counts are
		 * gone
		 */
		dg_capture_empty_check();
		/* without rows of its own, it may have compressed ones */
		if (!dg_ddl_allowed())
			dg_guard_require_ordinary(relid);
		dg_protect_keep_chunk(relid);
	}
	if (!dg_protect_keep_may_go(relid, &kept))
	{
		dg_protect_refuse_drop(relid);
		lost = dg_protect_keep_count(relid, 0);
	}
	dg_guard_dropped(relid, kept, lost);
}

static void
check_relation(Oid relid, int subid)
{
	char	   *table;

	if (subid != 0)
		check_attribute(relid);
	table = table_of_bin(relid);
	if (table != NULL)
	{
		if (!dg_protect_store_drop_allowed())
			dg_protect_store_refuse_drop("tables of the bin");
		if (dg_protect_store_has_rows(relid))
			ereport(ERROR,
					(errcode(DG_ERRCODE_PROTECTED_STORE),
					 errmsg("cannot drop %sthe bin of %s: it holds deleted rows",
							subid != 0 ? "a column of " : "", table),
					 errhint("Undelete the rows, or purge them with a signed token.%s",
							 subid == 0 ? "" : psprintf(" If %s loses such a column, too, call deletion_guard.unguard_table() for it as well.", table))));
	}
	else if (dg_guard_is_guarded(relid) && subid != 0)
		check_column(relid, subid);
	else if (dg_guard_is_guarded(relid))
		check_table(relid);
	if (subid == 0 && table == NULL)
		dg_undelete_forget_table(relid);
}

static HeapTuple
copy_trigger(Relation rel, Oid trigid, Snapshot snapshot)
{
	return dg_protect_copy_object(rel, TriggerOidIndexId, Anum_pg_trigger_oid, trigid, snapshot);
}

/*
 * The guarded table that a trigger of ours belongs to, or InvalidOid; *name is
 * the trigger's, before any change.
 */
static Oid
guarded_table_of_trigger(Oid trigid, char **name)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	HeapTuple	tuple = copy_trigger(rel, trigid, NULL);
	Form_pg_trigger trigger;

	table_close(rel, AccessShareLock);
	if (tuple == NULL)
		return InvalidOid;
	trigger = (Form_pg_trigger) GETSTRUCT(tuple);
	*name = NameStr(trigger->tgname);
	if (strncmp(*name, DG_TRIGGER_PREFIX, strlen(DG_TRIGGER_PREFIX)) != 0 ||
		(!dg_is_store(trigger->tgrelid) && !dg_guard_is_guarded(trigger->tgrelid)))
		return InvalidOid;
	return trigger->tgrelid;
}

/*
 * Does a trigger of ours go because its table goes, too? That of a chunk may go by any
 * statement but DROP TRIGGER: TimescaleDB drops chunks when it is called. Should
 * the chunk stay, the transaction will fail.
 */
static bool
goes_with_table(Oid relid)
{
	bool		chunk = OidIsValid(dg_hypertable_of(relid)) && !dg_frame->drops_trigger;

	if (chunk)
		dg_protect_keep_chunk(relid);
	return chunk || dg_frame->drops_tables;
}

/*
 * A trigger of ours is dropped, or altered to what it should not be. Those of the
 * extension's own tables go with DROP EXTENSION once there is nothing left to protect.
 */
static void
check_trigger(Oid trigid, bool dropping)
{
	char	   *name = NULL;
	Oid			relid = guarded_table_of_trigger(trigid, &name);

	if (!OidIsValid(relid))
		return;
	if (!dg_is_store(relid) && dropping && goes_with_table(relid))
	{
		int64		rows;

		if (!dg_ddl_allowed() && !dg_protect_keep_may_go(relid, &rows))
			dg_protect_refuse_drop(relid);
		return;
	}
	if (!dg_is_store(relid))
	{
		dg_protect_refuse_on_guarded(relid, psprintf("%s trigger \"%s\" of table \"%s\"", dropping ? "drop" : "change", name,
													 get_rel_name(relid)),
									 DG_DETAIL_GUARD, NULL);
		return;
	}
	/* commands that alter them are refused by protect_store.c */
	if (!dropping)
		return;
	if (!dg_protect_store_drop_allowed())
		dg_protect_store_refuse_drop("what protects deletion_guard");
	if (get_rel_namespace(relid) == dg_objects()->bin_schema ?
		!dg_protect_store_has_rows(relid) : !dg_protect_store_at_stake())
		return;
	ereport(ERROR,
			(errcode(DG_ERRCODE_PROTECTED_STORE),
			 errmsg("cannot drop trigger %s of \"%s\"", name, get_rel_name(relid)),
			 errdetail("It protects what deletion_guard keeps."),
			 errhint("To remove deletion_guard, unguard its tables, empty the bin, and DROP EXTENSION deletion_guard CASCADE.")));
}

/*
 * Refuses to drop an object that is about to be dropped: a guarded table with
 * rows, a bin, a trigger of ours.
 */
void
dg_protect_check_drop(Oid classid, Oid objid, int subid)
{
	if (classid == RelationRelationId)
		check_relation(objid, subid);
	else if (classid == TriggerRelationId)
		check_trigger(objid, true);
}

/*
 * Is a trigger now, after the present command's change, what a guard trigger
 * should be?
 */
static bool
trigger_is_right(Oid trigid, bool created)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	HeapTuple	tuple = copy_trigger(rel, trigid, SnapshotSelf);
	bool		result = tuple != NULL && dg_guard_trigger_is_right(tuple, RelationGetDescr(rel), created);

	table_close(rel, AccessShareLock);
	return result;
}

/*
 * A table's row in pg_inherits before the present command's change (NULL) or
 * after it (SnapshotSelf): is there one, and not of a partition that was being
 * detached already?
 */
static bool
has_parent(Oid relid, Snapshot snapshot)
{
	Relation	rel = table_open(InheritsRelationId, AccessShareLock);
	HeapTuple	tuple = dg_protect_copy_object(rel, InheritsRelidSeqnoIndexId, Anum_pg_inherits_inhrelid, relid, snapshot);
	bool		result = HeapTupleIsValid(tuple) && !((Form_pg_inherits) GETSTRUCT(tuple))->inhdetachpending;

	table_close(rel, AccessShareLock);
	return result;
}

/*
 * Refuses what a command has made of a trigger of ours, created, replaced or
 * altered it.
 */
void
dg_protect_check_trigger(Oid trigid, bool created)
{
	if (!trigger_is_right(trigid, created))
		check_trigger(trigid, false);
}

/*
 * A table became, or ceased to be, the child of another: a partition that leaves
 * a guarded table takes its rows out of the guard's reach. For where the name in
 * ALTER TABLE ... DETACH meant another table at first.
 */
void
dg_protect_check_detach(Oid child, Oid parent)
{
	/* what is attached is not looked up before it is guarded */
	if (get_rel_relkind(parent) != RELKIND_PARTITIONED_TABLE ||
		!has_parent(child, NULL) || has_parent(child, SnapshotSelf) || dg_ddl_keeps() ||
		!dg_guard_is_guarded(parent) || !dg_guard_is_guarded(child) || !dg_protect_has_rows(child))
		return;
	dg_protect_refuse_departure(child, psprintf("detach partition \"%s\" from table \"%s\"", get_rel_name(child), get_rel_name(parent)));
}

/*
 * Refuses what would make a guarded table unlogged.
 */
void
dg_protect_refuse_unlogged(Oid relid)
{
	dg_protect_refuse_on_guarded(relid, psprintf("set table \"%s\" unlogged", get_rel_name(relid)),
								 "A crash empties unlogged tables, without their rows having gone to the recycle bin.", NULL);
}

/*
 * Is a table unlogged before the present command's change (NULL), or after it
 * (SnapshotSelf)?
 */
static bool
is_unlogged(Oid relid, Snapshot snapshot)
{
	Relation	rel = table_open(RelationRelationId, AccessShareLock);
	HeapTuple	tuple = dg_protect_copy_object(rel, ClassOidIndexId, Anum_pg_class_oid, relid, snapshot);
	bool		result = HeapTupleIsValid(tuple) &&
	((Form_pg_class) GETSTRUCT(tuple))->relpersistence == RELPERSISTENCE_UNLOGGED;

	table_close(rel, AccessShareLock);
	return result;
}

/*
 * A table was altered. For where the name in ALTER TABLE ... SET UNLOGGED meant
 * another table at first.
 */
void
dg_protect_check_altered(Oid relid)
{
	if (is_unlogged(relid, SnapshotSelf) && !is_unlogged(relid, NULL) && dg_guard_is_guarded(relid))
		dg_protect_refuse_unlogged(relid);
}
