/*
 * rows_target.c
 *		A live table as the server inserts into it, opened.
 *
 * The table is opened by starting, but never running, the plan of an INSERT
 * into it: the server then checks the caller's privileges, adds the row
 * security policies that apply to the caller, sets up partition routing, and
 * takes ROW EXCLUSIVE, as for any INSERT.
 *
 * A partition key is kept from then on as the planner has made it, by functions
 * in it that are evaluated at once; so it is asked for first, as the owner.
 */
#include "postgres.h"

#include "parser/analyze.h"
#include "miscadmin.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "common/compat.h"
#include "rows/rows_internal.h"

/*
 * "INSERT INTO t (a, b) OVERRIDING SYSTEM VALUE VALUES ($1, $2)", and the
 * parameters' types.
 */
char *
dg_rows_insert_statement(Relation rel, Oid **types, int *ntypes)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData columns;
	StringInfoData params;

	initStringInfo(&columns);
	initStringInfo(&params);
	*types = palloc(sizeof(Oid) * (desc->natts + 1));
	*ntypes = 0;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attgenerated != '\0')
			continue;
		(*types)[(*ntypes)++] = att->atttypid;
		appendStringInfo(&columns, "%s%s", *ntypes > 1 ? ", " : "",
						 quote_identifier(NameStr(att->attname)));
		appendStringInfo(&params, "%s$%d", *ntypes > 1 ? ", " : "", *ntypes);
	}

	if (*ntypes == 0)
		return psprintf("INSERT INTO %s DEFAULT VALUES", dg_relation_name(RelationGetRelid(rel)));
	return psprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES (%s)",
					dg_relation_name(RelationGetRelid(rel)), columns.data, params.data);
}

static bool
has_insert_rule(Relation rel)
{
	if (rel->rd_rules == NULL)
		return false;
	for (int i = 0; i < rel->rd_rules->numLocks; i++)
	{
		if (rel->rd_rules->rules[i]->event == CMD_INSERT)
			return true;
	}
	return false;
}

/*
 * The analyzed INSERT with row security applied. Rules are not: as with COPY,
 * rows go into the table that was named.
 */
static Query *
rewritten_insert(Relation rel, const char *sql, Oid *types, int ntypes)
{
	List	   *raw = pg_parse_query(sql);
	Query	   *query = parse_analyze_fixedparams(linitial_node(RawStmt, raw), sql,
												  types, ntypes, NULL);

	if (!has_insert_rule(rel))
		return linitial_node(Query, pg_rewrite_query(query));
	if (check_enable_rls(RelationGetRelid(rel), InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot restore rows of \"%s\": it has both INSERT rules and row security that applies to you",
						RelationGetRelationName(rel)),
				 errhint("Run the call as a role that bypasses row security.")));
	AcquireRewriteLocks(query, true, false);
	return query;
}

/*
 * What a caller is to be granted who lacks it, as a GRANT has it: "SELECT ON t". An
 * error context callback, for the hint alone.
 */
void
dg_rows_privilege_context(void *arg)
{
	if (geterrcode() == ERRCODE_INSUFFICIENT_PRIVILEGE)
		errhint("This runs with its caller's rights: GRANT %s TO %s.", (const char *) arg,
				quote_identifier(GetUserNameFromId(GetUserId(), true)));
}

/*
 * Opens a table, whose partitions are found as a role: a started query, of which
 * dg_rows_insert_of() has the state. The caller closes it with ExecutorFinish() and ExecutorEnd(), and provides the
 * level of after-trigger events itself.
 */
QueryDesc *
dg_rows_open_insert(Relation rel, const DgRowsRole *role)
{
	Oid		   *types;
	int			ntypes;
	char	   *sql = dg_rows_insert_statement(rel, &types, &ntypes);
	Query	   *query;
	QueryDesc  *desc;
	ErrorContextCallback context = {.previous = error_context_stack,.callback = dg_rows_privilege_context};

	dg_ordinary_require_target(RelationGetRelid(rel));
	dg_rows_as_owner(role);
	(void) RelationGetPartitionKey(rel);
	dg_rows_as_caller(role);
	query = rewritten_insert(rel, sql, types, ntypes);
	desc = CreateQueryDesc(dg_plan_query(query, sql), sql, GetActiveSnapshot(), InvalidSnapshot,
						   None_Receiver, NULL, NULL, 0);
	context.arg = psprintf("SELECT, INSERT, UPDATE ON %s", dg_relation_name(RelationGetRelid(rel)));
	error_context_stack = &context;
	ExecutorStart(desc, EXEC_FLAG_SKIP_TRIGGERS);
	error_context_stack = context.previous;
	return desc;
}

/*
 * The state of a query's INSERT. TimescaleDB puts a node of its own on top of it.
 */
ModifyTableState *
dg_rows_insert_of(const QueryDesc *query)
{
	PlanState  *state = query->planstate;

	if (IsA(state, CustomScanState) && ((CustomScanState *) state)->custom_ps != NIL)
		state = linitial(((CustomScanState *) state)->custom_ps);
	return castNode(ModifyTableState, state);
}
