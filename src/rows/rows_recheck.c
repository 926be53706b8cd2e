/*
 * rows_recheck.c
 *		Deferrable constraints whose check runs code of the table's owner.
 *
 * The server checks a deferrable constraint again at the end of the statement
 * or of the transaction, and then evaluates the expressions and the predicate
 * of its index as the user of that moment: perhaps a superuser, who does not
 * know of it. So where an index has such code, only an exclusion constraint's
 * does, its check is not left to the server: it is made as the writer ends, as
 * the owner (rows_role.c).
 *
 * Only rows that seemed to conflict as they were written are noted: few.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "rows/rows_internal.h"

typedef struct Recheck
{
	Oid			relid;
	DgRowsRole	role;
	Oid			indexid;
	ItemPointerData tid;
} Recheck;

struct DgRowsRechecks
{
	MemoryContext context;
	bool		refuse;			/* a row that seems to conflict */
	List	   *rechecks;
};

/*
 * Begins to collect rows that are to be checked again, in the current memory
 * context. With "refuse", a row that seems to conflict is an error at once: it
 * was not expected.
 */
DgRowsRechecks *
dg_rows_rechecks_make(bool refuse)
{
	DgRowsRechecks *rechecks = palloc0(sizeof(DgRowsRechecks));

	rechecks->context = CurrentMemoryContext;
	rechecks->refuse = refuse;
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

	if (rechecks->refuse)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg_internal("a row seems to conflict with another")));
	foreach(lc, indexes)
	{
		Recheck    *recheck;

		if (!has_code(rri, lfirst_oid(lc)))
			continue;
		recheck = palloc(sizeof(Recheck));
		recheck->relid = RelationGetRelid(rri->ri_RelationDesc);
		recheck->role = *role;
		recheck->indexid = lfirst_oid(lc);
		recheck->tid = *tid;
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
check_row(Recheck *recheck, Relation rel, TupleTableSlot *slot)
{
	LOCAL_FCINFO(fcinfo, 0);
	FmgrInfo	function;
	Trigger		trigger = {.tgconstrindid = recheck->indexid};
	TriggerData data = {.type = T_TriggerData,.tg_event = TRIGGER_EVENT_INSERT | TRIGGER_EVENT_ROW | TRIGGER_EVENT_AFTER,
	.tg_relation = rel,.tg_trigslot = slot,.tg_trigger = &trigger};

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
		Relation	rel = table_open(recheck->relid, NoLock);
		TupleTableSlot *slot = table_slot_create(rel, NULL);

		dg_rows_as_owner(&recheck->role);
		if (table_tuple_fetch_row_version(rel, &recheck->tid, SnapshotAny, slot))
			check_row(recheck, rel, slot);
		dg_rows_as_caller(&recheck->role);
		ExecDropSingleTupleTableSlot(slot);
		table_close(rel, NoLock);
	}
}
