/*
 * protect.c
 *		Lets nothing but the extension itself write its tables: the bin, the
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
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "bin/bin.h"
#include "common/deletion_guard.h"
#include "guard/guard.h"
#include "ledger/ledger.h"
#include "protect/protect_internal.h"

PG_FUNCTION_INFO_V1(dg_protect);

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
 * Does the plan insert into one table and do nothing else to any?
 */
static bool
is_plain_insert(const PlannedStmt *stmt)
{
	return stmt->commandType == CMD_INSERT && list_length(dg_result_relations(stmt)) == 1 &&
		IsA(stmt->planTree, ModifyTable) &&
		((ModifyTable *) stmt->planTree)->onConflictAction != ONCONFLICT_UPDATE;
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
		"tenant_table", "guard", "guard_step", "guarded_schema", "schema_pattern", "left_unguarded", "bin", "deletion_part", "deletion_link",
		"tenant_rename", "dropped_table", "folded_deletion",
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
 * May a statement that the extension did not make insert rows? Only the owner
 * of a table restores it: members of pg_write_all_data may insert into every
 * table there is.
 */
static bool
may_load(Relation rel)
{
	if (!has_privs_of_role(GetUserId(), rel->rd_rel->relowner))
		return false;
	if (IsLogicalWorker() || strcmp(RelationGetRelationName(rel), "installation") == 0)
		return false;
	if ((dg_locked || !is_record_of_deletions(rel)) && dg_ledger_is_live())
		return false;
	return is_empty(rel) || (dg_restoring && superuser());
}

/*
 * Refuses a statement that is about to insert rows into one of our tables,
 * unless it may.
 */
static void
check_load(Oid relid)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	bool		allowed = may_load(rel);

	table_close(rel, NoLock);
	if (!allowed)
		refuse_write(relid);
}

/*
 * Refuses a plan that modifies one of the extension's tables, or locks rows of
 * one.
 */
void
dg_protect_check_query(PlannedStmt *stmt)
{
	List	   *written = dg_result_relations(stmt);
	bool		deletes = stmt->commandType == CMD_DELETE || stmt->commandType == CMD_MERGE || stmt->hasModifyingCTE;
	ListCell   *lc;

	if ((written == NIL && stmt->rowMarks == NIL) || dg_acting_next())
		return;
	foreach(lc, written)
	{
		Oid			relid = rt_fetch(lfirst_int(lc), stmt->rtable)->relid;

		if (!dg_is_store(relid))
		{
			if (deletes && dg_installed())
				dg_guard_require_ordinary(relid);
			continue;
		}
		if (!is_plain_insert(stmt))
			refuse_write(relid);
		check_load(relid);
	}
	foreach(lc, stmt->rowMarks)
	{
		PlanRowMark *mark = lfirst(lc);
		Oid			relid = rt_fetch(mark->rti, stmt->rtable)->relid;

		if (RowMarkRequiresRowShareLock(mark->markType) && dg_is_store(relid))
			refuse_write(relid);
	}
}

/*
 * COPY makes no plan, and other libraries' plans need not say what they delete from:
 * what they ask permission for.
 */
void
dg_protect_check_permissions(List *permissions)
{
	bool		copies = dg_frame->command == DG_COMMAND_COPY;
	ListCell   *lc;

	if (dg_acting())
		return;
	foreach(lc, permissions)
	{
		DgPermissions *asked = lfirst(lc);

		if (copies && (asked->requiredPerms & ACL_INSERT) != 0 && dg_is_store(asked->relid))
			check_load(asked->relid);
		if ((asked->requiredPerms & ACL_DELETE) != 0 && asked->relid >= FirstNormalObjectId && dg_installed())
			dg_guard_require_ordinary(asked->relid);
	}
}

/*
 * Refuses TRUNCATE of one of our tables, whose trigger may be gone. pg_restore
 * empties tables that it has just made, before they have triggers.
 */
void
dg_protect_check_truncate(Oid relid)
{
	if (dg_is_store(relid) && dg_protect_store_has_rows(relid))
		refuse_write(relid);
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

	/*
	 * rows of an INSERT have had their statement's permission, except where
	 * replication applies rows
	 */
	if (!dg_acting() &&
		!(insert && (row ? !IsLogicalWorker() && !dg_guard_statement_none() : may_load(trigdata->tg_relation))))
		refuse_write(RelationGetRelid(trigdata->tg_relation));
	if (!row)
	{
		if (!dg_acting() && dg_ledger_is_live())
			note_load(trigdata->tg_relation);
		return PointerGetDatum(NULL);
	}
	if (insert && !dg_acting() && RelationGetRelid(trigdata->tg_relation) == dg_objects()->deletion_part)
		return PointerGetDatum(dg_bin_blocks_forget(trigdata->tg_trigtuple, RelationGetDescr(trigdata->tg_relation)));
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
						   trigdata->tg_newtuple : trigdata->tg_trigtuple);
}
