/*
 * guard_protect.c
 *		Keeps everybody but the extension from writing its tables: the bin, the
 *		registries, the ledger.
 *
 * Twice: a trigger on each table, which works in every session and loads the
 * library if need be, and the executor hook, which also works where triggers
 * are off. Superusers are refused like anybody else.
 *
 * pg_dump's restore is let through where it can do no harm: into a table that
 * is still empty, or in a superuser's session with deletion_guard.restoring.
 */
#include "guard.h"

#include "access/table.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
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
	ereport(ERROR,
			(errcode(DG_ERRCODE_PROTECTED_STORE),
			 errmsg("\"%s\" is written by deletion_guard only", get_rel_name(relid)),
			 errdetail("What it holds is evidence, or rows that may be wanted back; no role may change it, superusers included."),
			 errhint("Bring rows back with deletion_guard.undelete(); destroy them with deletion_guard.purge() and a signed token. A superuser who restores a dump sets deletion_guard.restoring.")));
}

static bool
restoring(void)
{
	return dg_restoring && superuser();
}

/*
 * Refuses a plan that modifies one of the extension's tables.
 */
void
dg_protect_check_query(PlannedStmt *stmt)
{
	ListCell   *lc;

	if (stmt->resultRelations == NIL || dg_acting())
		return;
	foreach(lc, stmt->resultRelations)
	{
		Oid			relid = rt_fetch(lfirst_int(lc), stmt->rtable)->relid;

		/* an INSERT is left to the trigger, which knows whether the table is empty */
		if (dg_is_store(relid) && stmt->commandType != CMD_INSERT && !restoring())
			refuse_write(relid);
	}
}

static bool
is_empty(Relation rel)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		empty = !table_scan_getnextslot(scan, ForwardScanDirection, slot);

	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	return empty;
}

/*
 * The BEFORE trigger, for each statement, of the extension's own tables.
 */
Datum
dg_protect(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"protect\" was not called as a trigger")));
	if (dg_acting() || restoring())
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) && is_empty(trigdata->tg_relation))
		return PointerGetDatum(NULL);
	refuse_write(RelationGetRelid(trigdata->tg_relation));
	return PointerGetDatum(NULL);
}
