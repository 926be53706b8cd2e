/*
 * guard_statement.c
 *		Which top-level statement is running.
 *
 * A deletion is what one top-level statement removes, so rooms that keep
 * something for the length of a statement need to know when the next one
 * begins. The executor and utility hooks push a frame for each (frame.h); each
 * entry from outside is a new statement with a new serial number, unless it is
 * for another of the queries that rules have made of the statement.
 *
 * The library may be loaded in the middle of a statement, at an unknown depth.
 * Until the client sends the next message, everything then counts as that one
 * statement.
 *
 * Logical replication applies changes of rows, not statements: what its workers
 * delete in one transaction is one deletion. The queries that triggers run
 * there, ours among them, are not statements either. Replication of another make
 * (pglogical) is known by its deleting rows while no statement runs.
 *
 * A deletion is put down to the role of the query whose end fires the
 * triggers. A trigger does not always run as that role: from PostgreSQL 18 on
 * it runs as the role that was active when it was queued, which is the owner
 * of the table for rows that a foreign key deletes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "tcop/pquery.h"
#include "utils/portal.h"

#include "capture/capture.h"
#include "guard/guard_internal.h"

static uint64 serial = 0;
static TimestampTz loaded_during = 0;	/* start of the message that loaded us */
static const void *top_query = NULL;	/* of the present serial, if it is a
										 * query */
static uint64 deleting_serial = 0;	/* of the last statement with a query that
									 * may delete */

void
dg_guard_statement_init(void)
{
	loaded_during = GetCurrentStatementStartTimestamp();
}

static bool (*waits) (void) = NULL;

/*
 * As long as a function says so, a statement from outside continues the last one:
 * rows of an unfinished deletion are being held back.
 */
void
dg_guard_statement_continue_while(bool (*function) (void))
{
	waits = function;
}

static bool
is_waiting(void)
{
	return waits != NULL && waits();
}

/*
 * Is this one of several queries that rules have made of one statement, and not
 * the first of them?
 */
static bool
continues_statement(const PlannedStmt *stmt)
{
	return stmt != NULL && ActivePortal != NULL && ActivePortal->stmts != NIL &&
		linitial(ActivePortal->stmts) != stmt && list_member_ptr(ActivePortal->stmts, stmt);
}

/*
 * A statement is about to begin at the present depth, or another query of the
 * present statement, as stmt tells (NULL: a statement).
 */
void
dg_guard_statement_begin(const PlannedStmt *stmt)
{
	if (dg_frame->depth == 0 && continues_statement(stmt))
	{
		top_query = NULL;
		return;
	}
	if (dg_frame->depth > 0 || IsLogicalWorker() || is_waiting() || GetCurrentStatementStartTimestamp() == loaded_during)
		return;
	loaded_during = 0;
	serial++;
	top_query = NULL;
}

/*
 * A query that began earlier runs, or runs on: a portal that is fetched from
 * in several messages is one statement.
 */
void
dg_guard_statement_run(const void *query)
{
	if (dg_frame->depth > 0 || query == top_query)
		return;
	if (top_query != NULL)
		dg_guard_statement_begin(NULL);
	top_query = query;
}

/*
 * A query of the present statement, at any depth, is about to run.
 */
void
dg_guard_statement_note_plan(const PlannedStmt *plan)
{
	if (plan->commandType == CMD_DELETE || plan->commandType == CMD_MERGE || plan->hasModifyingCTE)
		deleting_serial = serial;
}

/*
 * May the present statement delete rows? Where the library came too late to
 * know, it may.
 */
bool
dg_guard_statement_may_delete(void)
{
	return deleting_serial == serial || GetCurrentStatementStartTimestamp() == loaded_during;
}

static const TriggerDesc *
triggers_with(List *rels, const Trigger *trigger)
{
	ListCell   *lc;

	foreach(lc, rels)
	{
		const TriggerDesc *triggers = ((ResultRelInfo *) lfirst(lc))->ri_TrigDesc;

		if (triggers != NULL && trigger >= triggers->triggers &&
			trigger < triggers->triggers + triggers->numtriggers)
			return triggers;
	}
	return NULL;
}

/*
 * Does the query that is known to fire triggers now fire this one, which is what
 * the server has called us with? Then it also fires those of the statement. If
 * not, somebody deletes rows without a query, as replication does, or our hooks
 * were not called for the query.
 */
bool
dg_guard_statement_fires(const Trigger *trigger)
{
	const EState *estate = dg_frame->firing;

	if (estate == NULL)
		return false;
	if (dg_frame->fires == NULL || trigger < dg_frame->fires->triggers ||
		trigger >= dg_frame->fires->triggers + dg_frame->fires->numtriggers)
	{
		dg_frame->fires = triggers_with(estate->es_opened_result_relations, trigger);
		if (dg_frame->fires == NULL)
			dg_frame->fires = triggers_with(estate->es_tuple_routing_result_relations, trigger);
		if (dg_frame->fires == NULL)
			dg_frame->fires = triggers_with(estate->es_trig_target_relations, trigger);
	}
	return dg_frame->fires != NULL;
}

/*
 * Is no statement running, so that the code at work works on single rows, as
 * replication does?
 */
bool
dg_guard_statement_none(void)
{
	return dg_frame->depth == 0 && !dg_guard_statement_unseen();
}

/*
 * Are rows of the table kept one by one in the present statement?
 */
bool
dg_guard_statement_by_row(Oid root)
{
	return list_member_oid(dg_frame->by_row, root);
}

/*
 * The role that deletions are put down to now.
 */
Oid
dg_guard_statement_role(void)
{
	return OidIsValid(dg_frame->role) ? dg_frame->role : GetUserId();
}

/*
 * Did the current statement begin before the library was loaded?
 */
bool
dg_guard_statement_unseen(void)
{
	return loaded_during != 0 && GetCurrentStatementStartTimestamp() == loaded_during;
}

/*
 * A number that tells one top-level statement of the session from the next.
 */
uint64
dg_guard_statement_serial(void)
{
	return serial;
}
