/*
 * capture_link.c
 *		Links lost to ON DELETE SET NULL and SET DEFAULT.
 *
 * Such a foreign key changes rows that stay: their link to the deleted row is
 * lost, which no bin of deleted rows would know. So a guarded table with such
 * keys has a trigger that sees those updates, and only those, and notes for
 * each: the row (by its primary key, or all of its columns), the columns, what
 * they were and what they are now. undelete_relink.c puts them back.
 *
 * That an update is a referential action can be told only while it happens, by
 * the security context that the server runs it in; that is what the trigger's
 * WHEN condition does. That the action is of a DELETE is told when the trigger
 * fires: the statement has a query that deletes. The referenced table's own
 * trigger may not have begun a deletion by then: where a cascade comes back to
 * that table, it fires last.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "capture/capture_internal.h"
#include "common/own_tables.h"
#include "guard/guard.h"

PG_FUNCTION_INFO_V1(dg_in_referential_action);
PG_FUNCTION_INFO_V1(dg_capture_link);

/*
 * in_referential_action() -> boolean
 *
 * Is the current statement one that a foreign key runs? The server runs those,
 * and nothing else, in a context where FORCE ROW LEVEL SECURITY is off.
 */
Datum
dg_in_referential_action(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(InNoForceRLSOperation());
}

static Datum
names_of(Relation rel, const AttrNumber *attnums, int n)
{
	Datum	   *elems = palloc(sizeof(Datum) * (n + 1));

	for (int i = 0; i < n; i++)
		elems[i] = NameGetDatum(&TupleDescAttr(RelationGetDescr(rel), attnums[i] - 1)->attname);
	return dg_array(elems, n, NAMEOID);
}

/*
 * The columns' values as text[], null where they are null.
 */
static Datum
texts_of_columns(TupleTableSlot *slot, const AttrNumber *attnums, int n)
{
	Datum	   *elems = palloc(sizeof(Datum) * (n + 1));
	bool	   *nulls = palloc(sizeof(bool) * (n + 1));
	int			dims[] = {n};
	int			lbounds[] = {1};

	for (int i = 0; i < n; i++)
	{
		Datum		value = slot_getattr(slot, attnums[i], &nulls[i]);
		Oid			type = TupleDescAttr(slot->tts_tupleDescriptor, attnums[i] - 1)->atttypid;

		if (!nulls[i])
			elems[i] = CStringGetTextDatum(dg_value_text(type, value));
	}
	return PointerGetDatum(construct_md_array(elems, nulls, 1, dims, lbounds,
											  TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * The columns that identify a row: its primary key, or all columns.
 */
static int
identity_of(Relation rel, AttrNumber *attnums)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	int			n = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attgenerated != '\0')
			continue;
		if (bms_is_empty(key) || bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, key))
			attnums[n++] = att->attnum;
	}
	return n;
}

static void
note_link(Relation rel, ForeignKeyCacheInfo *fkey, TupleTableSlot *before, TupleTableSlot *after)
{
	Datum		values[Natts_deletion_link];
	bool		nulls[Natts_deletion_link] = {false};
	AttrNumber *identity = palloc(sizeof(AttrNumber) * RelationGetNumberOfAttributes(rel));
	int			nidentity = identity_of(rel, identity);

	values[Anum_deletion_link_deletion_id - 1] = Int64GetDatum(dg_capture_deletion_current());
	values[Anum_deletion_link_relation - 1] = ObjectIdGetDatum(dg_guard_lookup(RelationGetRelid(rel))->root);
	values[Anum_deletion_link_key_columns - 1] = names_of(rel, identity, nidentity);
	values[Anum_deletion_link_key_values - 1] = texts_of_columns(after, identity, nidentity);
	values[Anum_deletion_link_columns - 1] = names_of(rel, fkey->conkey, fkey->nkeys);
	values[Anum_deletion_link_before - 1] = texts_of_columns(before, fkey->conkey, fkey->nkeys);
	values[Anum_deletion_link_after - 1] = texts_of_columns(after, fkey->conkey, fkey->nkeys);
	values[Anum_deletion_link_restored - 1] = BoolGetDatum(false);
	nulls[Anum_deletion_link_waiting_since - 1] = true;
	nulls[Anum_deletion_link_relation_name - 1] = true;
	dg_capture_deletion_record(GetCurrentCommandId(true));
	dg_own_insert(DG_OWN_ALL(deletion_link), values, nulls);
}

/*
 * Did the update take a link of this key away, as the key's action on DELETE does?
 * A statement that deletes may also change the key of another row, and ON UPDATE
 * CASCADE then leads the link to where that row is now.
 */
static bool
lost_link(Relation rel, ForeignKeyCacheInfo *fkey, char action, TupleTableSlot *before, TupleTableSlot *after)
{
	bool		changed = false;

	for (int i = 0; i < fkey->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), fkey->conkey[i] - 1);
		bool		null_before;
		bool		null_after;
		Datum		value_before = slot_getattr(before, fkey->conkey[i], &null_before);
		Datum		value_after = slot_getattr(after, fkey->conkey[i], &null_after);

		if (null_before)
			return false;
		if (null_after || (action == FKCONSTR_ACTION_SETDEFAULT &&
						   !datum_image_eq(value_before, value_after, att->attbyval, att->attlen)))
			changed = true;
	}
	return changed;
}

/*
 * What the foreign key does when rows of the table it refers to are deleted; as
 * pg_constraint.confdeltype has it.
 */
static char
action_on_delete(ForeignKeyCacheInfo *fkey)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(fkey->conoid));
	char		action;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", fkey->conoid);
	action = ((Form_pg_constraint) GETSTRUCT(tuple))->confdeltype;
	ReleaseSysCache(tuple);
	return action;
}

/*
 * Does a foreign key take links, when rows of the table that it refers to are deleted?
 */
bool
dg_capture_link_is_taken_by(ForeignKeyCacheInfo *fkey)
{
	char		action = action_on_delete(fkey);

	return action == FKCONSTR_ACTION_SETNULL || action == FKCONSTR_ACTION_SETDEFAULT;
}

/*
 * A referential action has changed a row: notes the links that it has lost. Both
 * slots have the shape of rel, which is a partition if the action has moved the
 * row from there to another one; then no UPDATE trigger fires.
 */
void
dg_capture_link_note_lost(Relation rel, TupleTableSlot *before, TupleTableSlot *after)
{
	int			nestlevel;
	ListCell   *lc;

	/* an action of an UPDATE: nothing was deleted */
	if (!dg_capture_deletion_exists() && !dg_guard_statement_may_delete())
		return;
	nestlevel = dg_canonical_output_begin();
	foreach(lc, dg_foreign_keys(rel))
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);

		if (dg_capture_link_is_taken_by(fkey) &&
			dg_guard_lookup(fkey->confrelid)->guarded &&
			lost_link(rel, fkey, action_on_delete(fkey), before, after))
			note_link(rel, fkey, before, after);
	}
	AtEOXact_GUC(true, nestlevel);
}

/*
 * AFTER UPDATE, row, in a referential action.
 */
Datum
dg_capture_link(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) ||
		!TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		strcmp(trigdata->tg_trigger->tgname, DG_TRIGGER_LINK) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called as the trigger it is for", "capture_link"),
				 errhint("Let deletion_guard.guard_table() make the triggers.")));
	dg_capture_link_note_lost(trigdata->tg_relation, trigdata->tg_trigslot, trigdata->tg_newslot);
	dg_capture_preview_note(RelationGetRelid(trigdata->tg_relation), &trigdata->tg_newtuple->t_self);
	return PointerGetDatum(NULL);
}

/*
 * A column of a table has a new name: those of its links that know it by the
 * old one follow. The caller is connected to SPI.
 */
void
dg_capture_link_rename_column(Oid relid, const char *old, const char *new)
{
	Oid			types[] = {OIDOID, NAMEOID, NAMEOID};
	Datum		values[] = {ObjectIdGetDatum(relid), DirectFunctionCall1(namein, CStringGetDatum(old)),
	DirectFunctionCall1(namein, CStringGetDatum(new))};

	dg_query("UPDATE deletion_guard.deletion_link SET key_columns = array_replace(key_columns, $2, $3),"
			 " columns = array_replace(columns, $2, $3)"
			 " WHERE relation = $1 AND ($2 = ANY (key_columns) OR $2 = ANY (columns))",
			 DG_AS_US, 3, types, values);
}
