/*
 * purge_scrub_command.c
 *		Commands of the process that scrubs.
 *
 * A lock is waited for without a snapshot wherever that can be: its holder may be a
 * REINDEX CONCURRENTLY, which waits for snapshots that are older than its own.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/defrem.h"
#include "commands/vacuum.h"
#include "parser/parser.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "purge/purge_internal.h"

/*
 * Runs VACUUM or REINDEX, which want no transaction around them.
 */
static void
run_command(const void *arg)
{
	const char *sql = arg;
	ParseState *pstate;
	Node	   *stmt;

	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, sql);
	StartTransactionCommand();
	MemoryContextSwitchTo(PortalContext);
	pstate = make_parsestate(NULL);
	pstate->p_sourcetext = sql;
	stmt = castNode(RawStmt, linitial(raw_parser(sql, RAW_PARSE_DEFAULT)))->stmt;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (IsA(stmt, VacuumStmt))
		ExecVacuum(pstate, (VacuumStmt *) stmt, true);
	else
		ExecReindex(pstate, (ReindexStmt *) stmt, true);
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextReset(PortalContext);
}

/*
 * Calls work(arg), in no transaction. Returns the message of its error, which has
 * gone to the log, allocated to last; NULL if there was none. Being cancelled ends
 * the process.
 */
char *
dg_purge_scrub_try(void (*work) (const void *arg), const void *arg)
{
	char	   *volatile message = NULL;

	PG_TRY();
	{
		work(arg);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		message = error->message;
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextReset(PortalContext);
	}
	PG_END_TRY();
	return message;
}

/*
 * Runs VACUUM or REINDEX; returns as dg_purge_scrub_try() does.
 */
char *
dg_purge_scrub_run(const char *sql)
{
	return dg_purge_scrub_try(run_command, sql);
}
