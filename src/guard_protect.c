/*
 * guard_protect.c
 *		Keeps everybody but the extension from writing its tables: the bin, the
 *		registries, the ledger.
 *
 * Twice: triggers on each table, which work in every session and load the
 * library if need be, and the executor hook, which also works where triggers
 * are off. Logical replication runs no statements; only row triggers see what
 * its workers write. Superusers are refused like anybody else.
 *
 * pg_dump's restore is let through where it can do no harm: into a table that
 * is still empty, or row by row in a superuser's session with
 * deletion_guard.restoring. Nothing but INSERT ever is. Authorities, holds,
 * requests, purges and the ledger are evidence: once this installation has
 * made an entry of its own in the ledger, they no longer take rows from a
 * restore, or a superuser could restore an authority of his own making. From
 * then on, what the bin takes is noted in the ledger; where protection is
 * locked, it takes nothing either.
 */
#include "guard.h"
#include "bin.h"

#include "access/sysattr.h"
#include "access/tableam.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_event_trigger.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "ledger.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "replication/logicalworker.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dg_protect);

/*
 * Is this one of the extension's tables or sequences, or a bin table? Where it
 * is not known yet whether the extension is here, the schema's name tells, at
 * less cost than finding out.
 */
bool
dg_is_store(Oid relid)
{
	const DgObjects *known = dg_known_objects();
	char	   *schema;
	Oid			nspid;
	bool		result;

	if (relid < FirstNormalObjectId)
		return false;
	nspid = get_rel_namespace(relid);
	if (known != NULL)
		return nspid == known->schema || nspid == known->bin_schema;
	schema = get_namespace_name(nspid);
	if (schema == NULL)
		return false;
	result = strcmp(schema, "deletion_guard") == 0 || strcmp(schema, "deletion_guard_bin") == 0;
	pfree(schema);
	return result;
}

static void
refuse_write(Oid relid)
{
	bool		locked = dg_locked && dg_restoring && superuser();

	ereport(ERROR,
			(errcode(DG_ERRCODE_PROTECTED_STORE),
			 errmsg("\"%s\" is written by deletion_guard only", get_rel_name(relid)),
			 errdetail("What it holds is evidence, or rows that may be wanted back; no role may change it, superusers included."),
			 errhint("Bring rows back with deletion_guard.undelete(); destroy them with deletion_guard.purge() and a signed token. %s",
					 locked ? "A dump is restored into a new database, or while deletion_guard.locked is not set." :
					 "A superuser who restores a dump sets deletion_guard.restoring.")));
}

/*
 * Does the plan insert into one table and do nothing else to any? Then the
 * table's trigger decides: it looks whether the table is empty.
 */
static bool
is_plain_insert(const PlannedStmt *stmt)
{
	return stmt->commandType == CMD_INSERT && list_length(dg_result_relations(stmt)) == 1 &&
		IsA(stmt->planTree, ModifyTable) &&
		((ModifyTable *) stmt->planTree)->onConflictAction != ONCONFLICT_UPDATE;
}

/*
 * The catalogs that say what is guarded by what: the triggers, the functions
 * behind them, which tables, columns and types there are and where they belong,
 * and by which the library knows the extension. A superuser may write catalogs
 * by hand; whatever else that breaks, not these.
 */
static bool
is_catalog_of_guards(Oid relid)
{
	static const Oid catalogs[] = {
		TriggerRelationId, EventTriggerRelationId, ProcedureRelationId, RelationRelationId,
		NamespaceRelationId, ExtensionRelationId, AttributeRelationId, RewriteRelationId,
		InheritsRelationId, ConstraintRelationId, OperatorRelationId, TypeRelationId,
	};

	for (int i = 0; i < lengthof(catalogs); i++)
	{
		if (relid == catalogs[i])
			return true;
	}
	return false;
}

/*
 * Does the plan only update the statistics in pg_class, as people do to see
 * what the planner would make of other ones?
 */
static bool
updates_statistics(PlannedStmt *stmt, RangeTblEntry *rte)
{
	DgPermissions *permissions = dg_permissions(stmt, rte);
	int			column = -1;

	if (rte->relid != RelationRelationId || permissions == NULL ||
		(permissions->requiredPerms & (ACL_INSERT | ACL_DELETE)) != 0 ||
		bms_is_empty(permissions->updatedCols))
		return false;
	while ((column = bms_next_member(permissions->updatedCols, column)) >= 0)
	{
		int			attnum = column + FirstLowInvalidHeapAttributeNumber;

		if (attnum != Anum_pg_class_reltuples && attnum != Anum_pg_class_relpages)
			return false;
	}
	return true;
}

/*
 * With deletion_guard.ddl = allow, or with allow_system_table_mods where
 * protection is not locked, somebody has said that he means it: then catalogs
 * may be written, unless there are rows in the bin.
 */
static void
refuse_catalog(Oid relid)
{
	if (creating_extension || !dg_installed() ||
		((dg_ddl_allowed() || (allowSystemTableMods && !dg_locked)) && !dg_store_bin_has_rows()))
		return;
	ereport(ERROR,
			(errcode(DG_ERRCODE_GUARDED_OBJECT),
			 errmsg("cannot write the catalog \"%s\" by hand: it holds what guards tables against deletion",
					get_rel_name(relid)),
			 errhint("Use the commands for it: CREATE, ALTER, DROP.")));
}

/*
 * Refuses a plan that modifies one of the extension's tables, or locks rows of
 * one; or that modifies a catalog which the guard relies on.
 */
void
dg_protect_check_query(PlannedStmt *stmt)
{
	List	   *written = dg_result_relations(stmt);
	ListCell   *lc;

	if ((written == NIL && stmt->rowMarks == NIL) || dg_acting_next())
		return;
	foreach(lc, written)
	{
		RangeTblEntry *rte = rt_fetch(lfirst_int(lc), stmt->rtable);

		if (dg_is_store(rte->relid) && !is_plain_insert(stmt))
			refuse_write(rte->relid);
		if (is_catalog_of_guards(rte->relid) && !updates_statistics(stmt, rte))
			refuse_catalog(rte->relid);
	}
	foreach(lc, stmt->rowMarks)
	{
		PlanRowMark *mark = lfirst(lc);
		Oid			relid = rt_fetch(mark->rti, stmt->rtable)->relid;

		if (RowMarkRequiresRowShareLock(mark->markType) && dg_is_store(relid))
			refuse_write(relid);
	}
}

static bool
is_empty(Relation rel)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = dg_table_beginscan(rel, snapshot);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		empty = !table_scan_getnextslot(scan, ForwardScanDirection, slot);

	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	return empty;
}

/*
 * Is it a table whose rows are not evidence: what is guarded, what was deleted?
 * A table that is not named here is evidence. That is the safe side for a new
 * one: a restore cannot bring its rows into a database in use, and nobody can
 * make them up. sql/store.sql lists which table is what.
 */
static bool
is_record_of_deletions(Relation rel)
{
	static const char *const names[] = {
		"tenant_table", "guard", "guarded_schema", "bin", "deletion_part", "deletion_link",
	};

	if (RelationGetNamespace(rel) == dg_objects()->bin_schema)
		return true;
	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(RelationGetRelationName(rel), names[i]) == 0)
			return true;
	}
	return false;
}

/*
 * May a statement that the extension did not make insert rows?
 */
static bool
may_load(Relation rel)
{
	if (IsLogicalWorker() || strcmp(RelationGetRelationName(rel), "installation") == 0)
		return false;
	if ((dg_locked || !is_record_of_deletions(rel)) && dg_ledger_is_live())
		return false;
	return is_empty(rel) || (dg_restoring && superuser());
}

/*
 * Rows that did not get into the bin of a database in use by being deleted are
 * told apart later by an entry in the ledger.
 */
static void
note_load(Relation rel)
{
	dg_ledger_append("load_rows",
					 psprintf("{\"table\": %s}", dg_json_string(dg_relation_name(RelationGetRelid(rel)))));
}

/*
 * The BEFORE triggers, for each statement and for each row, of the extension's
 * own tables.
 */
Datum
dg_protect(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	bool		insert;
	bool		row;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"protect\" was not called as a trigger")));
	insert = TRIGGER_FIRED_BY_INSERT(trigdata->tg_event);
	row = TRIGGER_FIRED_FOR_ROW(trigdata->tg_event);

	/* rows of an INSERT have had their statement's permission, except in a worker */
	if (!dg_acting() &&
		!(insert && (row ? !IsLogicalWorker() : may_load(trigdata->tg_relation))))
		refuse_write(RelationGetRelid(trigdata->tg_relation));
	if (!row)
	{
		if (!dg_acting() && dg_ledger_is_live())
			note_load(trigdata->tg_relation);
		return PointerGetDatum(NULL);
	}
	if (insert && !dg_acting() && RelationGetRelid(trigdata->tg_relation) == dg_objects()->deletion_part)
		return PointerGetDatum(dg_blocks_forget(trigdata->tg_trigtuple, RelationGetDescr(trigdata->tg_relation)));
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
						   trigdata->tg_newtuple : trigdata->tg_trigtuple);
}
