/*
 * protect_command.c
 *		Which utility command is running, and catalog rows as it finds and leaves them.
 */
#include "postgres.h"

#include "access/genam.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/fmgroids.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

#include "protect/protect_internal.h"

/*
 * Notes in the frame at hand which command runs.
 */
void
dg_protect_command_begin(Node *parsetree)
{
	dg_frame->command = dg_protect_store_command(parsetree);
	dg_frame->drops_trigger = IsA(parsetree, DropStmt) && ((DropStmt *) parsetree)->removeType == OBJECT_TRIGGER;
	dg_frame->drops_tables = IsA(parsetree, DropOwnedStmt) || (IsA(parsetree, DropStmt) && !dg_frame->drops_trigger);
}

/*
 * Says that this process does nothing but maintenance, until it ends.
 */
void
dg_protect_command_maintain(void)
{
	dg_frame->command = DG_COMMAND_MAINTENANCE;
}

/*
 * The library may be loaded in the middle of a command that fires no event
 * trigger, by a bin that VACUUM FULL opens. No catalog can be read here.
 */
void
dg_protect_command_init(void)
{
	PlannedStmt *stmt = ActivePortal == NULL || list_length(ActivePortal->stmts) != 1 ? NULL :
	linitial_node(PlannedStmt, ActivePortal->stmts);

	if (stmt != NULL && stmt->commandType == CMD_UTILITY &&
		(IsA(stmt->utilityStmt, VacuumStmt) || nodeTag(stmt->utilityStmt) == T_ClusterStmt ||
		 IsA(stmt->utilityStmt, ReindexStmt)))
		dg_frame->command = DG_COMMAND_MAINTENANCE;
}

/*
 * A copy of an object's row in its open catalog, NULL if there is none. The
 * catalog's own snapshot (NULL) shows it as it was before the present command's
 * change, SnapshotSelf as it is after it.
 */
HeapTuple
dg_protect_copy_object(Relation rel, Oid indexid, AttrNumber attnum, Oid objid, Snapshot snapshot)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, attnum, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(objid));
	scan = systable_beginscan(rel, indexid, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	tuple = HeapTupleIsValid(tuple) ? heap_copytuple(tuple) : NULL;
	systable_endscan(scan);
	return tuple;
}
