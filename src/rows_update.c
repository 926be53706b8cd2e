/*
 * rows_update.c
 *		Changing live rows in place, without triggers of the application: a row
 *		that is replaced by its saved version, or that gets a lost link back.
 */
#include "rows.h"

#include "access/sysattr.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/rls.h"

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
 * Do two rows of a table agree in every column that a foreign key of another
 * table may refer to?
 */
bool
dg_rows_same_keys(Relation rel, TupleTableSlot *a, TupleTableSlot *b)
{
	Bitmapset  *columns = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_KEY);
	int			i = -1;

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
 * Makes the live row at tid what the slot holds, with its index entries, and
 * has the server check what it checks of an updated row's keys. The slot has
 * passed the table's checks. A concurrent change of the row is an error.
 */
void
dg_rows_update(ResultRelInfo *rri, EState *estate, ItemPointer tid, TupleTableSlot *slot)
{
	ItemPointerData old = *tid;
	DgUpdateIndexes indexes;
	List	   *recheck = NIL;

	simple_table_tuple_update(rri->ri_RelationDesc, tid, slot, estate->es_snapshot, &indexes);
	if (rri->ri_NumIndices > 0)
		recheck = dg_exec_update_index_tuples(rri, slot, estate, indexes);
	if (rri->ri_TrigDesc != NULL)
		ExecARUpdateTriggers(estate, rri, NULL, NULL, &old, NULL, slot, recheck, NULL, false);
	list_free(recheck);
}
