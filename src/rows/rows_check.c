/*
 * rows_check.c
 *		What the server checks of an inserted row before it is stored: row
 *		security, constraints, a partition's bounds.
 *
 * The messages are the server's, which name the constraint; the row's key is in
 * the error context (rows_map.c). What to do about it is added here.
 *
 * A check may look at other rows, which perhaps come back in the same call: the
 * function in a constraint reads a table, or a policy does. Rows of a table
 * with such checks come last (rows_late.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "executor/nodeModifyTable.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "rows/rows_internal.h"

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

/* ----------------------------------------------------------------------
 * Checks that look around
 * ----------------------------------------------------------------------
 */

/* The checks of a table, of which some look at other rows. */
struct DgRowsLooks
{
	List	   *checks;			/* of ExprState */
};

/*
 * May a function look at tables? The server's own do not, nor those in C that are
 * said to be immutable; others may, whatever they are said to be.
 */
static bool
looks_at_tables(Oid function, void *context)
{
	HeapTuple	tuple;
	Form_pg_proc proc;
	bool		result;

	if (function < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	result = proc->prolang != ClanguageId || proc->provolatile != PROVOLATILE_IMMUTABLE;
	ReleaseSysCache(tuple);
	return result;
}

static bool
expression_looks(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubPlan) || IsA(node, AlternativeSubPlan) || IsA(node, SubLink) ||
		check_functions_in_node(node, looks_at_tables, context))
		return true;
	return expression_tree_walker(node, expression_looks, context);
}

static bool
policies_look(ResultRelInfo *rri)
{
	ListCell   *lc;

	foreach(lc, rri->ri_WithCheckOptions)
	{
		if (expression_looks(((WithCheckOption *) lfirst(lc))->qual, NULL))
			return true;
	}
	return false;
}

static bool
generated_look(TupleConstr *constr)
{
	for (int i = 0; constr->has_generated_stored && i < constr->num_defval; i++)
	{
		if (expression_looks(stringToNode(constr->defval[i].adbin), NULL))
			return true;
	}
	return false;
}

/*
 * NULL if nothing that is checked of the rows of an open table looks at other
 * rows, which may come back with them. In the current memory context.
 */
DgRowsLooks *
dg_rows_looks_make(ResultRelInfo *rri, EState *estate)
{
	TupleConstr *constr = RelationGetDescr(rri->ri_RelationDesc)->constr;
	DgRowsLooks *looks = palloc0(sizeof(DgRowsLooks));
	bool		any = policies_look(rri) || (constr != NULL && generated_look(constr));

	for (int i = 0; constr != NULL && i < constr->num_check; i++)
	{
		Node	   *check;

		if (!DG_CHECK_IS_ENFORCED(&constr->check[i]))
			continue;
		check = dg_check_expression(stringToNode(constr->check[i].ccbin), rri->ri_RelationDesc);
		any |= expression_looks(check, NULL);
		looks->checks = lappend(looks->checks, ExecPrepareExpr((Expr *) check, estate));
	}
	return any ? looks : NULL;
}

/*
 * Would a row pass?
 */
static bool
row_passes(DgRowsLooks *looks, ResultRelInfo *rri, EState *estate, TupleTableSlot *slot)
{
	ExprContext *econtext = GetPerTupleExprContext(estate);
	ListCell   *lc;
	ListCell   *lc2;

	econtext->ecxt_scantuple = slot;
	forboth(lc, rri->ri_WithCheckOptions, lc2, rri->ri_WithCheckOptionExprs)
	{
		if (((WithCheckOption *) lfirst(lc))->kind == WCO_RLS_INSERT_CHECK && !ExecQual(lfirst(lc2), econtext))
			return false;
	}
	foreach(lc, looks->checks)
	{
		if (!ExecCheck(lfirst(lc), econtext))
			return false;
	}
	return true;
}

/*
 * Checks a row that goes to rri, and computes its generated columns. With looks,
 * returns false if it does not pass, which it may do later; else that is an error.
 */
bool
dg_rows_check(ModifyTableState *mtstate, ResultRelInfo *rri, TupleTableSlot *slot, DgRowsLooks *looks)
{
	EState	   *estate = mtstate->ps.state;
	TupleConstr *constr = RelationGetDescr(rri->ri_RelationDesc)->constr;

	slot->tts_tableOid = RelationGetRelid(rri->ri_RelationDesc);
	if (constr != NULL && constr->has_generated_stored)
		ExecComputeStoredGenerated(rri, estate, slot, CMD_INSERT);
	if (looks != NULL && !row_passes(looks, rri, estate, slot))
		return false;
	if (rri->ri_WithCheckOptions != NIL)
		ExecWithCheckOptions(WCO_RLS_INSERT_CHECK, rri, slot, estate);
	if (constr != NULL)
		check_constraints(rri, slot, estate);
	if (rri->ri_RelationDesc->rd_rel->relispartition && rri == mtstate->resultRelInfo)
		ExecPartitionCheck(rri, slot, estate, true);
	return true;
}
