/*
 * rows_update.c
 *		Changing live rows in place, without triggers of the application: a row
 *		that is replaced by its saved version, or that gets a lost link back.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_constraint.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "rows/rows_internal.h"

/*
 * Refuses to change live rows of a table for a caller without UPDATE on it, or
 * whom its row security applies to: policies are checked only for rows that are
 * inserted.
 */
void
dg_rows_require_update(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	AclResult	result = pg_class_aclcheck(relid, GetUserId(), ACL_UPDATE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, get_relkind_objtype(rel->rd_rel->relkind), RelationGetRelationName(rel));
	if (check_enable_rls(relid, InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot change live rows of \"%s\": row security applies to you",
						RelationGetRelationName(rel)),
				 errhint("Run the call as a role that bypasses row security.")));
}

/*
 * The columns of a table that foreign keys refer to, by its triggers.
 */
static Bitmapset *
referenced_columns(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;
	Bitmapset  *columns = NULL;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];
		AttrNumber	conkey[INDEX_MAX_KEYS];
		AttrNumber	confkey[INDEX_MAX_KEYS];
		Oid			pf_eq[INDEX_MAX_KEYS];
		Oid			pp_eq[INDEX_MAX_KEYS];
		Oid			ff_eq[INDEX_MAX_KEYS];
		AttrNumber	set_null[INDEX_MAX_KEYS];
		int			nset_null;
		int			nkeys;
		HeapTuple	tuple;

		if (RI_FKey_trigger_type(trigger->tgfoid) != RI_TRIGGER_PK)
			continue;
		tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(trigger->tgconstraint));
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for constraint %u", trigger->tgconstraint);
		DeconstructFkConstraintRow(tuple, &nkeys, conkey, confkey, pf_eq, pp_eq, ff_eq, &nset_null, set_null);
		ReleaseSysCache(tuple);
		for (int k = 0; k < nkeys; k++)
			columns = bms_add_member(columns, confkey[k] - FirstLowInvalidHeapAttributeNumber);
	}
	return columns;
}

/*
 * Are two rows versions of the same one, for the table's primary key and for
 * all that refers to it? Without a primary key, they must have all unique keys
 * in common.
 */
bool
dg_rows_same_row(Relation rel, TupleTableSlot *a, TupleTableSlot *b)
{
	Bitmapset  *columns = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	Oid			constraint;
	int			i = -1;

	/* the relcache does not count one that is deferrable */
	if (columns == NULL)
		columns = get_primary_key_attnos(RelationGetRelid(rel), true, &constraint);
	columns = columns == NULL ? RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_KEY) :
		bms_add_members(columns, referenced_columns(rel));
	slot_getallattrs(a);
	slot_getallattrs(b);
	while ((i = bms_next_member(columns, i)) >= 0)
	{
		AttrNumber	attnum = i + FirstLowInvalidHeapAttributeNumber;
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);

		if (a->tts_isnull[attnum - 1] != b->tts_isnull[attnum - 1])
			return false;
		if (!a->tts_isnull[attnum - 1] &&
			!datum_image_eq(a->tts_values[attnum - 1], b->tts_values[attnum - 1],
							att->attbyval, att->attlen))
			return false;
	}
	return true;
}

/*
 * Does a live row other than the one at tid have one of a row's keys? Then
 * *conflict describes it, palloc'd.
 */
bool
dg_rows_key_is_taken(ResultRelInfo *rri, EState *estate, List *arbiters, ItemPointer tid,
					 TupleTableSlot *slot, char **conflict)
{
	TupleTableSlot *other = table_slot_create(rri->ri_RelationDesc, NULL);
	bool		taken = false;
	ListCell   *lc;

	foreach(lc, arbiters)
	{
		taken = dg_rows_check_conflict(rri, estate, list_make1_oid(lfirst_oid(lc)), slot, other,
									   false, conflict) != DG_ROW_RESTORED &&
			!ItemPointerEquals(&other->tts_tid, tid);
		if (taken)
			break;
	}
	ExecDropSingleTupleTableSlot(other);
	return taken;
}

/*
 * Makes the live row at tid what the slot holds, with its index entries, and
 * has the server check what it checks of an updated row's keys. The slot has
 * passed the table's checks. A concurrent change of the row is an error.
 */
void
dg_rows_update(ResultRelInfo *rri, EState *estate, const DgRowsRole *role, DgRowsRechecks *rechecks,
			   ItemPointer tid, TupleTableSlot *slot)
{
	ItemPointerData old = *tid;
	DgUpdateIndexes indexes;
	List	   *recheck = NIL;

	simple_table_tuple_update(rri->ri_RelationDesc, tid, slot, estate->es_snapshot, &indexes);
	if (rri->ri_NumIndices > 0)
		recheck = dg_exec_update_index_tuples(rri, slot, estate, indexes);
	if (recheck != NIL)
		recheck = dg_rows_rechecks_note(rechecks, rri, role, recheck, &slot->tts_tid);
	if (rri->ri_TrigDesc != NULL)
		ExecARUpdateTriggers(estate, rri, NULL, NULL, &old, NULL, slot, recheck, NULL, false);
	list_free(recheck);
}

/*
 * Do foreign keys of any table lead to rows of this one?
 */
bool
dg_rows_is_referenced(ResultRelInfo *rri)
{
	TriggerDesc *triggers = rri->ri_RelationDesc->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		if (RI_FKey_trigger_type(triggers->triggers[i].tgfoid) == RI_TRIGGER_PK)
			return true;
	}
	return false;
}

/*
 * Takes the live row at tid, which is locked, out of a partition, as the server
 * does with one that moves to another.
 */
void
dg_rows_move_out(Oid relid, ItemPointer tid, Snapshot snapshot)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	TM_FailureData failure;

	if (dg_table_tuple_move_out(rel, tid, GetCurrentCommandId(true), snapshot, &failure) != TM_Ok)
		elog(ERROR, "row to move to another partition is gone");
	table_close(rel, NoLock);
}
