/*
 * rows_recheck.c
 *		Deferrable constraints whose check runs code of the table's owner.
 *
 * The server checks a deferrable constraint again at the end of the statement
 * or of the transaction, and then evaluates the expressions and the predicate
 * of its index as whoever is the user at that moment: a superuser, perhaps, who
 * does not know of it. So where an index has such code, only an exclusion
 * constraint's does, its check is not left to the server: it is made as the writer
 * ends, as the owner (rows_role.c).
 *
 * Only rows that seemed to conflict as they were written are noted: few.
 */
#include "rows.h"

#include "access/tableam.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef struct Recheck
{
	ResultRelInfo *rri;
	const DgRowsRole *role;
	Oid			indexid;
	ItemPointerData tid;
} Recheck;

struct DgRowsRechecks
{
	MemoryContext context;
	List	   *rechecks;
};

/*
 * In the current memory context.
 */
DgRowsRechecks *
dg_rows_rechecks_make(void)
{
	DgRowsRechecks *rechecks = palloc0(sizeof(DgRowsRechecks));

	rechecks->context = CurrentMemoryContext;
	return rechecks;
}

static bool
has_code(ResultRelInfo *rri, Oid indexid)
{
	for (int i = 0; i < rri->ri_NumIndices; i++)
	{
		IndexInfo  *info = rri->ri_IndexRelationInfo[i];

		if (RelationGetRelid(rri->ri_IndexRelationDescs[i]) == indexid)
			return info->ii_Expressions != NIL || info->ii_Predicate != NIL;
	}
	return true;
}

/*
 * Takes note of a row that was written, and of the indexes in which it seems to
 * conflict. Returns those that the server is to check; the list given is gone.
 */
List *
dg_rows_rechecks_note(DgRowsRechecks *rechecks, ResultRelInfo *rri, const DgRowsRole *role,
					  List *indexes, ItemPointer tid)
{
	MemoryContext old = MemoryContextSwitchTo(rechecks->context);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Recheck    *recheck;

		if (!has_code(rri, lfirst_oid(lc)))
			continue;
		recheck = palloc(sizeof(Recheck));
		*recheck = (Recheck) {.rri = rri, .role = role, .indexid = lfirst_oid(lc), .tid = *tid};
		rechecks->rechecks = lappend(rechecks->rechecks, recheck);
		indexes = foreach_delete_current(indexes, lc);
	}
	MemoryContextSwitchTo(old);
	return indexes;
}

/*
 * Lets the server's own trigger function check one row, if it is still there.
 */
static void
check_row(Recheck *recheck, TupleTableSlot *slot)
{
	LOCAL_FCINFO(fcinfo, 0);
	FmgrInfo	function;
	Trigger		trigger = {.tgconstrindid = recheck->indexid};
	TriggerData data = {.type = T_TriggerData,.tg_event = TRIGGER_EVENT_INSERT | TRIGGER_EVENT_ROW | TRIGGER_EVENT_AFTER,
		.tg_relation = recheck->rri->ri_RelationDesc,.tg_trigslot = slot,.tg_trigger = &trigger};

	fmgr_info(F_UNIQUE_KEY_RECHECK, &function);
	InitFunctionCallInfoData(*fcinfo, &function, 0, InvalidOid, (Node *) &data, NULL);
	(void) FunctionCallInvoke(fcinfo);
}

/*
 * Checks what was noted. All rows have been written.
 */
void
dg_rows_rechecks_check(DgRowsRechecks *rechecks)
{
	ListCell   *lc;

	foreach(lc, rechecks->rechecks)
	{
		Recheck    *recheck = lfirst(lc);
		TupleTableSlot *slot = table_slot_create(recheck->rri->ri_RelationDesc, NULL);

		dg_rows_as_owner(recheck->role);
		if (table_tuple_fetch_row_version(recheck->rri->ri_RelationDesc, &recheck->tid, SnapshotAny, slot))
			check_row(recheck, slot);
		dg_rows_as_caller(recheck->role);
		ExecDropSingleTupleTableSlot(slot);
	}
}
