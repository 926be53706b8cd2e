/*
 * rows_check.c
 *		What the server checks of an inserted row before it is stored: row
 *		security, constraints, a partition's bounds.
 *
 * The messages are the server's, which name the constraint; the row's key is in
 * the error context (rows_map.c). What to do about it is added here.
 */
#include "rows.h"

#include "executor/nodeModifyTable.h"
#include "utils/rel.h"

/*
 * What to do about a row that a constraint does not allow: it came later, or was
 * not valid for all rows. An error context callback, for the hint alone.
 */
static void
constraint_context(void *arg)
{
	if (geterrcode() == ERRCODE_NOT_NULL_VIOLATION)
		errhint("Nothing was restored. DROP NOT NULL from the column, call again, give such rows a value, and set it again. "
				"For rehydrate(), mapping can name the column that has the values, or leave a column out, so that it gets its default.");
	else if (geterrcode() == ERRCODE_CHECK_VIOLATION)
		errhint("Nothing was restored. Drop the constraint, call again, correct such rows, and add it again; NOT VALID, if they are to stay as they are. "
				"For rehydrate(), mapping can leave a column out, so that it gets its default.");
}

static void
check_constraints(ResultRelInfo *rri, TupleTableSlot *slot, EState *estate)
{
	ErrorContextCallback context = {.previous = error_context_stack,.callback = constraint_context};

	error_context_stack = &context;
	ExecConstraints(rri, slot, estate);
	error_context_stack = context.previous;
}

/*
 * Checks a row that goes to rri, and computes its generated columns.
 */
void
dg_rows_check(ModifyTableState *mtstate, ResultRelInfo *rri, TupleTableSlot *slot)
{
	EState	   *estate = mtstate->ps.state;
	TupleConstr *constr = RelationGetDescr(rri->ri_RelationDesc)->constr;

	slot->tts_tableOid = RelationGetRelid(rri->ri_RelationDesc);
	if (constr != NULL && constr->has_generated_stored)
		ExecComputeStoredGenerated(rri, estate, slot, CMD_INSERT);
	if (rri->ri_WithCheckOptions != NIL)
		ExecWithCheckOptions(WCO_RLS_INSERT_CHECK, rri, slot, estate);
	if (constr != NULL)
		check_constraints(rri, slot, estate);
	if (rri->ri_RelationDesc->rd_rel->relispartition && rri == mtstate->resultRelInfo)
		ExecPartitionCheck(rri, slot, estate, true);
}
