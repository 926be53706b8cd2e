/*
 * rows_trigger.c
 *		Which triggers fire for rows that are written back, when, and as whom.
 *
 * Of a table's triggers only those remain that enforce foreign keys and
 * deferrable unique constraints. Triggers of the application do not fire: the
 * rows were inserted once before, and are to come back as they were. Where the
 * caller wants them, those for each row do.
 *
 * The latter are the table owner's code (rows_role.c). Where that does not run
 * as the caller, AFTER triggers fire at the end of the call, as the owner,
 * deferred ones too: later, the server would run them as somebody else.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "rows/rows_internal.h"

struct DgRowsAfter
{
	Oid			relid;
	TriggerDesc *triggers;		/* NULL: none */
	DgRowsRole	role;
	DgTidLog   *rows;
};

/*
 * Does a trigger enforce a constraint that is not handled otherwise, on rows
 * that are inserted, are replaced or get a link back? Of a key that refers to
 * its own table, only the referring side is handled otherwise.
 */
static bool
enforces_constraint(const Trigger *trigger, Oid relid, List *handled)
{
	if (TRIGGER_FOR_DELETE(trigger->tgtype))
		return false;
	if (RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_FK)
		return !list_member_oid(handled, trigger->tgconstraint) &&
			!list_member_oid(handled, dg_constraint_of(trigger->tgconstraint, relid));
	return RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_PK ||
		trigger->tgfoid == F_UNIQUE_KEY_RECHECK;
}

/*
 * Is it one of the application's that can fire? There are no transition tables.
 */
static bool
is_row_trigger(const Trigger *trigger, bool before)
{
	return !trigger->tgisinternal && TRIGGER_FOR_ROW(trigger->tgtype) &&
		TRIGGER_FOR_INSERT(trigger->tgtype) && trigger->tgnewtable == NULL &&
		!TRIGGER_FOR_BEFORE(trigger->tgtype) == !before;
}

static void
add_trigger(TriggerDesc *kept, const Trigger *trigger, bool now)
{
	Trigger    *copy = &kept->triggers[kept->numtriggers++];

	*copy = *trigger;
	if (now)
		copy->tgdeferrable = copy->tginitdeferred = false;
	if (TRIGGER_FOR_BEFORE(trigger->tgtype))
		kept->trig_insert_before_row = true;
	else
	{
		kept->trig_insert_after_row |= TRIGGER_FOR_INSERT(trigger->tgtype);
		kept->trig_update_after_row |= TRIGGER_FOR_UPDATE(trigger->tgtype);
	}
}

static TriggerDesc *
no_triggers(const TriggerDesc *all)
{
	TriggerDesc *kept = palloc0(sizeof(TriggerDesc));

	kept->triggers = palloc(sizeof(Trigger) * all->numtriggers);
	return kept;
}

/*
 * The triggers of a table that are to fire as rows are written: those that
 * enforce constraints on them, but for the foreign keys that are handled
 * otherwise (constraints of the table relid, which this one may be a partition
 * of), and with "fire" the application's BEFORE triggers. With "now" none is
 * deferred. NULL if there are none.
 */
TriggerDesc *
dg_rows_triggers(TriggerDesc *all, Oid relid, List *handled, bool fire, bool now)
{
	TriggerDesc *kept;

	if (all == NULL)
		return NULL;
	kept = no_triggers(all);
	for (int i = 0; i < all->numtriggers; i++)
	{
		if (enforces_constraint(&all->triggers[i], relid, handled) ||
			(fire && is_row_trigger(&all->triggers[i], true)))
			add_trigger(kept, &all->triggers[i], now);
	}
	return kept->numtriggers > 0 ? kept : NULL;
}

static TriggerDesc *
after_triggers(TriggerDesc *all, bool now)
{
	TriggerDesc *kept;

	if (all == NULL)
		return NULL;
	kept = no_triggers(all);
	for (int i = 0; i < all->numtriggers; i++)
	{
		if (is_row_trigger(&all->triggers[i], false))
			add_trigger(kept, &all->triggers[i], now);
	}
	return kept->numtriggers > 0 ? kept : NULL;
}

/*
 * The application's AFTER triggers of a table, for the end of the call; NULL if
 * there are none. They are made once, in the current memory context, and added
 * to a list.
 */
DgRowsAfter *
dg_rows_after_of(List **list, Relation rel, const DgRowsRole *role, bool now)
{
	MemoryContext old;
	DgRowsAfter *after;
	ListCell   *lc;

	foreach(lc, *list)
	{
		after = lfirst(lc);
		if (after->relid == RelationGetRelid(rel))
			return after->triggers == NULL ? NULL : after;
	}
	old = MemoryContextSwitchTo(CurTransactionContext);
	after = palloc0(sizeof(DgRowsAfter));
	after->relid = RelationGetRelid(rel);
	after->triggers = after_triggers(rel->trigdesc, now || OidIsValid(role->owner));
	after->role = *role;
	after->rows = dg_tidlog_begin(CurrentMemoryContext);
	*list = lappend(*list, after);
	MemoryContextSwitchTo(old);
	return after->triggers == NULL ? NULL : after;
}

/*
 * Takes note of a row that was inserted.
 */
void
dg_rows_after_note(DgRowsAfter *after, ItemPointer tid)
{
	dg_tidlog_add(after->rows, FirstCommandId, tid);
}

static void
queue_events(DgRowsAfter *after, EState *estate, ResultRelInfo *rri)
{
	TupleTableSlot *slot = table_slot_create(rri->ri_RelationDesc, NULL);
	DgTidEntry	entry;

	dg_tidlog_rewind(after->rows);
	while (dg_tidlog_next(after->rows, &entry))
	{
		ItemPointerData tid;

		ItemPointerSet(&tid, DG_TID_BLOCK(entry.address), DG_TID_OFFSET(entry.address));
		if (table_tuple_fetch_row_version(rri->ri_RelationDesc, &tid, SnapshotAny, slot))
			ExecARInsertTriggers(estate, rri, slot, NIL, NULL);
		ResetPerTupleExprContext(estate);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Fires the triggers for all rows that were noted. They have been written.
 */
void
dg_rows_after_fire(DgRowsAfter *after)
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *rri;

	if (after->triggers == NULL)
		return;
	rel = table_open(after->relid, NoLock);
	estate = CreateExecutorState();
	rri = makeNode(ResultRelInfo);
	InitResultRelInfo(rri, rel, 0, NULL, 0);
	rri->ri_TrigDesc = after->triggers;
	dg_rows_as_owner(&after->role);
	AfterTriggerBeginQuery();
	queue_events(after, estate, rri);
	AfterTriggerEndQuery(estate);
	dg_rows_as_caller(&after->role);
	dg_tidlog_end(after->rows);
	ExecCloseResultRelations(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	table_close(rel, NoLock);
}
