/*
 * protect_access.c
 *		What happens to an object, judged by the object: its OID is known and the
 *		lock on it is held, so that neither a name that has changed its meaning
 *		meanwhile nor the road by which a command came here matters.
 *
 * The command matters only as far as it tells that nothing but storage is
 * concerned (VACUUM FULL, REINDEX, ALTER TABLE ... SET (fillfactor = ...)), or
 * what pg_restore does to a bin that it has just made. What a command says by its
 * parse tree is refused earlier, in words that fit it (protect_store.c); whatever
 * comes through there is refused here.
 *
 * Objects that belong to a table of ours are as much ours: triggers, rules,
 * policies, constraints, defaults, indexes.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_event_trigger.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_subscription_rel.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "capture/capture.h"
#include "guard/guard.h"
#include "protect/protect_internal.h"

/* Catalogs of what belongs to a table: where its OID is, and the table's. */
static const struct
{
	Oid			catalog;
	Oid			indexid;
	AttrNumber	oid;
	AttrNumber	relation;
	AttrNumber	other;			/* another table that it is on, or 0 */
}			belongings[] = {
	{TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_oid, Anum_pg_trigger_tgrelid, 0},
	{RewriteRelationId, RewriteOidIndexId, Anum_pg_rewrite_oid, Anum_pg_rewrite_ev_class, 0},
	{PolicyRelationId, PolicyOidIndexId, Anum_pg_policy_oid, Anum_pg_policy_polrelid, 0},
	{ConstraintRelationId, ConstraintOidIndexId, Anum_pg_constraint_oid, Anum_pg_constraint_conrelid,
	Anum_pg_constraint_confrelid},
	{AttrDefaultRelationId, AttrDefaultOidIndexId, Anum_pg_attrdef_oid, Anum_pg_attrdef_adrelid, 0},
	{IndexRelationId, IndexRelidIndexId, Anum_pg_index_indexrelid, Anum_pg_index_indrelid, 0},
};

/*
 * A copy of an object's row in its catalog as the present command leaves it;
 * NULL if there is none.
 */
static HeapTuple
copy_row(Relation rel, Oid indexid, AttrNumber attnum, Oid objid)
{
	return dg_protect_copy_object(rel, indexid, attnum, objid, SnapshotSelf);
}

/*
 * The table that an object is, or belongs to; InvalidOid if none. *other: a
 * second one, which it refers to.
 */
static Oid
relation_of_object(Oid classid, Oid objid, Oid *other)
{
	Oid			relid = InvalidOid;

	*other = InvalidOid;
	if (classid == RelationRelationId)
	{
		relid = relation_of_object(IndexRelationId, objid, other);
		return OidIsValid(relid) ? relid : objid;
	}
	for (int i = 0; i < lengthof(belongings); i++)
	{
		Relation	rel;
		HeapTuple	tuple;
		bool		isnull;

		if (belongings[i].catalog != classid)
			continue;
		rel = table_open(classid, AccessShareLock);
		tuple = copy_row(rel, belongings[i].indexid, belongings[i].oid, objid);
		if (tuple != NULL)
		{
			relid = DatumGetObjectId(heap_getattr(tuple, belongings[i].relation, RelationGetDescr(rel), &isnull));
			if (belongings[i].other != 0)
				*other = DatumGetObjectId(heap_getattr(tuple, belongings[i].other, RelationGetDescr(rel), &isnull));
			heap_freetuple(tuple);
		}
		table_close(rel, AccessShareLock);
	}
	return relid;
}

/*
 * The schema that the present command leaves a table, function or type in.
 */
static Oid
namespace_of(Oid classid, Oid objid)
{
	Relation	rel = table_open(classid, AccessShareLock);
	HeapTuple	tuple =
	classid == ProcedureRelationId ? copy_row(rel, ProcedureOidIndexId, Anum_pg_proc_oid, objid) :
	classid == TypeRelationId ? copy_row(rel, TypeOidIndexId, Anum_pg_type_oid, objid) :
	copy_row(rel, ClassOidIndexId, Anum_pg_class_oid, objid);
	Oid			result = InvalidOid;

	if (tuple != NULL)
	{
		result = classid == ProcedureRelationId ? ((Form_pg_proc) GETSTRUCT(tuple))->pronamespace :
			classid == TypeRelationId ? ((Form_pg_type) GETSTRUCT(tuple))->typnamespace :
			((Form_pg_class) GETSTRUCT(tuple))->relnamespace;
		heap_freetuple(tuple);
	}
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * Does the present command only give the object to another superuser? REASSIGN
 * OWNED does, when the role that made the extension is to be dropped.
 */
static bool
only_changes_owner(Oid classid, Oid objid)
{
	static const struct
	{
		Oid			catalog;
		Oid			indexid;
		AttrNumber	oid;
		AttrNumber	owner;
		AttrNumber	acl;
	}			owned[] = {
		{ProcedureRelationId, ProcedureOidIndexId, Anum_pg_proc_oid, Anum_pg_proc_proowner, Anum_pg_proc_proacl},
		{EventTriggerRelationId, EventTriggerOidIndexId, Anum_pg_event_trigger_oid, Anum_pg_event_trigger_evtowner, 0},
		{RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, Anum_pg_class_relowner, Anum_pg_class_relacl},
		{NamespaceRelationId, NamespaceOidIndexId, Anum_pg_namespace_oid, Anum_pg_namespace_nspowner, Anum_pg_namespace_nspacl},
	};
	int			k = 0;
	Relation	rel;
	TupleDesc	desc;
	HeapTuple	before;
	HeapTuple	after;
	bool		result;

	while (owned[k].catalog != classid)
	{
		if (++k == lengthof(owned))
			return false;
	}
	rel = table_open(classid, AccessShareLock);
	desc = RelationGetDescr(rel);
	before = dg_protect_copy_object(rel, owned[k].indexid, owned[k].oid, objid, NULL);
	after = copy_row(rel, owned[k].indexid, owned[k].oid, objid);
	result = before != NULL && after != NULL;
	for (AttrNumber i = 1; result && i <= desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i - 1);
		bool		null_before;
		bool		null_after;
		Datum		value_before = heap_getattr(before, i, desc, &null_before);
		Datum		value_after = heap_getattr(after, i, desc, &null_after);

		if (i == owned[k].owner)
			result = superuser_arg(DatumGetObjectId(value_after));
		else if (i != owned[k].acl)
			result = null_before == null_after &&
				(null_before || datum_image_eq(value_before, value_after, att->attbyval, att->attlen));
	}
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * Is a new trigger on one of our tables what pg_restore makes there: the one
 * that protects it?
 */
static bool
is_protecting_by_oid(Oid trigid)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	HeapTuple	tuple = copy_row(rel, TriggerOidIndexId, Anum_pg_trigger_oid, trigid);
	bool		result = false;

	if (tuple != NULL)
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
		int16		every = TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE;
		char	   *function = get_func_name(form->tgfoid);

		result = function != NULL && strcmp(function, "protect") == 0 &&
			get_func_namespace(form->tgfoid) == dg_objects()->internal_schema &&
			heap_attisnull(tuple, Anum_pg_trigger_tgqual, RelationGetDescr(rel)) && !OidIsValid(form->tgconstraint) &&
			((strcmp(NameStr(form->tgname), DG_TRIGGER_PROTECT) == 0 && form->tgtype == (every | TRIGGER_TYPE_TRUNCATE)) ||
			 (strcmp(NameStr(form->tgname), DG_TRIGGER_PROTECT_ROW) == 0 && form->tgtype == (every | TRIGGER_TYPE_ROW)));
		heap_freetuple(tuple);
	}
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * An empty bin. What pg_restore does to one that it has just made is allowed.
 */
static bool
is_empty_bin(Oid relid)
{
	return get_rel_namespace(relid) == dg_objects()->bin_schema && !dg_protect_store_has_rows(relid);
}

/*
 * Something was made of, or done to, one of our tables or what belongs to it.
 */
static void
check_own_by_oid(Oid classid, Oid objid, int subid, Oid relid, bool created)
{
	if (dg_frame->command == DG_COMMAND_MAINTENANCE)
		return;
	/* a table of its own; its constraints and defaults come with it */
	if (created && (dg_frame->command == DG_COMMAND_CREATE || (classid == RelationRelationId && subid == 0 && objid == relid)))
		return;
	if (created && classid == TriggerRelationId && is_protecting_by_oid(objid))
		return;
	if (!created && only_changes_owner(classid, objid))
		return;
	if (dg_frame->command == DG_COMMAND_RESTORE && is_empty_bin(relid))
		return;
	dg_protect_store_refuse("change", get_rel_name(relid));
}

/*
 * What belongs to one of our tables is about to be dropped, and not by a command
 * that only makes it anew. Tables, and the triggers that protect them, are
 * protect_object.c's.
 */
static void
check_store_drop(Oid relid)
{
	if (dg_frame->command == DG_COMMAND_MAINTENANCE)
		return;
	if (get_rel_namespace(relid) == dg_objects()->bin_schema ? dg_protect_store_has_rows(relid) : dg_protect_store_at_stake())
		dg_protect_store_refuse("drop a part of", get_rel_name(relid));
}

/*
 * Is it a schema of the extension's functions and views?
 */
static bool
is_code_schema(Oid nspid)
{
	return nspid == dg_objects()->schema || nspid == dg_objects()->internal_schema;
}

static bool
is_our_function(Oid objid)
{
	Oid			nspid = get_func_namespace(objid);

	return OidIsValid(nspid) && is_code_schema(nspid);
}

/*
 * Was it a type in one of our schemas before the present command? Rows of our tables
 * have types there.
 */
static bool
is_our_type(Oid objid)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(objid));
	Oid			nspid = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		nspid = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
		ReleaseSysCache(tuple);
	}
	return OidIsValid(nspid) && (is_code_schema(nspid) || nspid == dg_objects()->bin_schema);
}

static bool
is_our_event_trigger(Oid objid)
{
	return objid == get_event_trigger_oid("deletion_guard_ddl_start", true) ||
		objid == get_event_trigger_oid("deletion_guard_ddl_end", true);
}

/*
 * Does an extension, other than ours, have any of our tables or functions, or
 * take them with it when it is dropped?
 */
static void
check_members(Oid extension)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, SnapshotSelf, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
		Oid			other;
		Oid			relid = relation_of_object(form->classid, form->objid, &other);

		if ((OidIsValid(relid) && dg_is_store(relid)) ||
			(form->classid == ProcedureRelationId && is_our_function(form->objid)) ||
			(form->classid == EventTriggerRelationId && is_our_event_trigger(form->objid)))
			dg_protect_store_refuse("make an extension's own what is in schema",
									get_namespace_name(OidIsValid(relid) ? get_rel_namespace(relid) : dg_objects()->schema));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * Logical replication runs no statements, and catalogs have no triggers: no
 * subscription may write to them, nor to our tables.
 */
static void
check_subscriptions(void)
{
	Relation	rel = table_open(SubscriptionRelRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, SnapshotSelf, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid			relid = ((Form_pg_subscription_rel) GETSTRUCT(tuple))->srrelid;

		if (relid < FirstNormalObjectId || dg_is_store(relid))
			dg_protect_store_refuse("replicate into", get_rel_name(relid));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * Is a command one for which no hook is called, or none that says what was
 * done?
 */
bool
dg_protect_access_judges_after(Node *parsetree)
{
	return IsA(parsetree, AlterObjectDependsStmt) || IsA(parsetree, CreateSubscriptionStmt) ||
		IsA(parsetree, AlterSubscriptionStmt);
}

/*
 * Judges a command of that kind, which has run, by what is in the catalogs now;
 * an error refuses it. Called by the hook, and by the event trigger for the
 * command that loaded the library.
 */
void
dg_protect_access_check_after(Node *parsetree)
{
	Oid			extension;

	if (!dg_installed())
		return;
	if (!IsA(parsetree, AlterObjectDependsStmt))
	{
		check_subscriptions();
		return;
	}
	extension = get_extension_oid(strVal(((AlterObjectDependsStmt *) parsetree)->extname), true);
	if (OidIsValid(extension))
		check_members(extension);
}

/*
 * A table became, or ceased to be, the child of another.
 */
static void
check_inherits(Oid child, Oid parent)
{
	if (dg_is_store(parent))
		dg_protect_store_refuse("inherit from", get_rel_name(parent));
	if (dg_is_store(child))
		dg_protect_store_refuse("change", get_rel_name(child));
	dg_protect_check_detach(child, parent);
}

/*
 * A table, function or type that was not ours is now in a schema of ours. Nothing
 * comes where it could be called or read instead of what is there, as a type of a
 * function's name can, too; pg_restore makes tables in the bin's.
 */
static void
check_arrival(Oid classid, Oid objid, bool created)
{
	Oid			schema;

	if (dg_frame->command == DG_COMMAND_MAINTENANCE)
		return;
	schema = namespace_of(classid, objid);
	if (is_code_schema(schema) || (schema == dg_objects()->bin_schema && !created))
		dg_protect_store_refuse("put anything into schema", get_namespace_name(schema));
}

/*
 * An object was created, replaced or altered.
 */
static void
check_alter(Oid classid, Oid objid, int subid, Oid relid, Oid other, bool created)
{
	if ((classid == ProcedureRelationId && !is_our_function(objid)) ||
		(classid == TypeRelationId && !is_our_type(objid)) ||
		(classid == RelationRelationId && subid == 0 && objid == relid && !dg_is_store(objid)))
		check_arrival(classid, objid, created);
	else if (classid == ProcedureRelationId)
	{
		if (!only_changes_owner(classid, objid))
			dg_protect_store_refuse("change function", get_func_name(objid));
	}
	else if (classid == EventTriggerRelationId)
	{
		if (!created && is_our_event_trigger(objid) && !only_changes_owner(classid, objid))
			dg_protect_store_refuse("change event trigger", objid == get_event_trigger_oid("deletion_guard_ddl_end", true) ?
									"deletion_guard_ddl_end" : "deletion_guard_ddl_start");
	}
	else if (classid == NamespaceRelationId)
	{
		if ((is_code_schema(objid) || objid == dg_objects()->bin_schema) && !only_changes_owner(classid, objid))
			dg_protect_store_refuse("change schema", get_namespace_name(objid));
	}
	else if (classid == ExtensionRelationId)
	{
		if (!created && objid != get_extension_oid("deletion_guard", true))
			check_members(objid);
	}
	else if (OidIsValid(relid) && dg_is_store(relid))
		check_own_by_oid(classid, objid, subid, relid, created);
	else if (OidIsValid(other) && dg_is_store(other))
		dg_protect_store_refuse("refer to", get_rel_name(other));
}

/*
 * A function or an event trigger is about to be dropped. Ours are members of the
 * extension, but membership is a row in a catalog.
 */
static void
check_drop_by_oid(Oid classid, Oid objid, Oid relid)
{
	if (classid == ProcedureRelationId || classid == EventTriggerRelationId)
	{
		bool		ours = classid == ProcedureRelationId ?
		is_our_function(objid) : is_our_event_trigger(objid);

		if (ours && (!dg_protect_store_drop_allowed() || dg_protect_store_at_stake()))
			dg_protect_store_refuse(classid == ProcedureRelationId ? "drop function" : "drop event trigger",
									classid == ProcedureRelationId ? get_func_name(objid) : "deletion_guard_ddl");
	}
	else if (classid != TriggerRelationId && OidIsValid(relid) && relid != objid && dg_is_store(relid))
		check_store_drop(relid);
}

/*
 * Where the extension is not whole, nothing can be decided but this: rows in the
 * bin are not let go. DROP EXTENSION, half way through, finds none.
 */
static void
check_unknown(Oid relid)
{
	char	   *schema = OidIsValid(relid) ? get_namespace_name(get_rel_namespace(relid)) : NULL;

	if (schema != NULL && strcmp(schema, "deletion_guard_bin") == 0 &&
		get_rel_relkind(relid) == RELKIND_RELATION && dg_protect_store_has_rows(relid))
		(void) dg_objects();
}

/*
 * A table is about to be truncated. pg_restore does that to one that it has just
 * made: it is empty, listed as guarded, and has no trigger yet that could tell.
 */
static void
excuse_truncate(Oid relid)
{
	if (get_rel_relkind(relid) == RELKIND_RELATION && dg_guard_lookup(relid)->guarded &&
		!dg_guard_is_complete(relid) && !dg_protect_store_has_rows(relid))
		dg_capture_empty_excuse(relid);
}

/*
 * object_access_hook, where the extension is on duty: something was created,
 * replaced or altered, or is about to be dropped or truncated.
 */
void
dg_protect_access_check(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg)
{
	Oid			other = InvalidOid;
	Oid			relid;

	if (dg_acting())
		return;
	if (access == OAT_TRUNCATE)
	{
		dg_protect_builtin_check_truncate(objid);
		dg_protect_check_truncate(objid);
		if (dg_installed())
			excuse_truncate(objid);
		return;
	}
	relid = classid == InheritsRelationId ? objid : relation_of_object(classid, objid, &other);
	dg_protect_builtin_check_object(access, classid, objid, relid);
	if (!dg_installed())
	{
		if (access != OAT_POST_CREATE && dg_present())
			check_unknown(relid);
	}
	else if (access == OAT_DROP)
	{
		check_drop_by_oid(classid, objid, relid);
		dg_protect_check_drop(classid, objid, subid);
	}
	else if (classid == InheritsRelationId)
		check_inherits(objid, ((ObjectAccessPostAlter *) arg)->auxiliary_id);
	else
	{
		check_alter(classid, objid, subid, relid, other, access == OAT_POST_CREATE);
		if (classid == TriggerRelationId)
			dg_protect_check_trigger(objid, access == OAT_POST_CREATE);
		if (access == OAT_POST_CREATE && OidIsValid(relid) && relid != objid)
			dg_protect_check_taken(relid);
		if (classid == RelationRelationId && access == OAT_POST_ALTER)
			dg_protect_check_altered(objid);
	}
}
