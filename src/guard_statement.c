/*
 * guard_statement.c
 *		Which top-level statement is running.
 *
 * A deletion is what one top-level statement removes, so rooms that keep
 * something for the length of a statement need to know when the next one
 * begins. The executor and utility hooks count how deep they are nested; each
 * entry from outside is a new statement with a new serial number.
 *
 * The library may be loaded in the middle of a statement, at an unknown depth.
 * Until the client sends the next message, everything then counts as that one
 * statement.
 */
#include "guard.h"

#include "access/xact.h"

static int	depth = 0;
static uint64 serial = 0;
static TimestampTz loaded_during = 0;	/* start of the message that loaded us */
static const void *top_query = NULL;	/* of the present serial, if it is a query */
static uint64 deleting_serial = 0;	/* of the last statement with a query that may delete */

void
dg_statement_init(void)
{
	loaded_during = GetCurrentStatementStartTimestamp();
}

/*
 * A statement is about to begin at the present depth.
 */
void
dg_statement_begin(void)
{
	if (depth > 0 || GetCurrentStatementStartTimestamp() == loaded_during)
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
dg_statement_run(const void *query)
{
	if (depth > 0 || query == top_query)
		return;
	if (top_query != NULL)
		dg_statement_begin();
	top_query = query;
}

/*
 * A query of the present statement, at any depth, is about to run.
 */
void
dg_statement_note_plan(const PlannedStmt *plan)
{
	if (plan->commandType == CMD_DELETE || plan->commandType == CMD_MERGE || plan->hasModifyingCTE)
		deleting_serial = serial;
}

/*
 * May the present statement delete rows? Where the library came too late to
 * know, it may.
 */
bool
dg_statement_may_delete(void)
{
	return deleting_serial == serial || GetCurrentStatementStartTimestamp() == loaded_during;
}

/*
 * Enters a nested level; returns what dg_statement_leave() restores.
 */
int
dg_statement_enter(void)
{
	return depth++;
}

void
dg_statement_leave(int saved)
{
	depth = saved;
}

/*
 * A number that tells one top-level statement of the session from the next.
 */
uint64
dg_statement_serial(void)
{
	return serial;
}
