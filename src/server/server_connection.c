/*
 * server_connection.c
 *		A connection to another server that never keeps this one waiting.
 *
 * Everything is sent and received without blocking; in between, the process waits
 * for its latch as well, so that a query is cancelled at once however long the
 * other side is silent. For the same reason nobody is asked to cancel what runs
 * there: that would take a connection of its own, and waiting. The other side finds
 * out by itself that nobody listens any more (see server_session.c).
 *
 * A connection is closed with the resource owner or with the memory context that
 * was current when it was opened, whatever ends first.
 */
#include "postgres.h"

#include "libpq/pqsignal.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "common/compat.h"
#include "server/server_internal.h"

static uint32 wait_event = 0;	/* 0: not known yet */
static dlist_head open_servers = DLIST_STATIC_INIT(open_servers);

/* ----------------------------------------------------------------------
 * Closing
 * ----------------------------------------------------------------------
 */

/*
 * Closes the connection. Nothing here waits.
 */
static void
close_server(void *arg)
{
	DgServer   *server = arg;

	if (server->conn == NULL)
		return;
	dlist_delete(&server->node);
	if (server->line != NULL)
		PQfreemem(server->line);
	PQfinish(server->conn);
	ReleaseExternalFD();
	server->conn = NULL;
	server->line = NULL;
}

static void
close_with_owner(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	dlist_mutable_iter iter;

	if (phase != RESOURCE_RELEASE_AFTER_LOCKS)
		return;
	dlist_foreach_modify(iter, &open_servers)
	{
		DgServer   *server = dlist_container(DgServer, node, iter.cur);

		if (server->owner == CurrentResourceOwner)
			close_server(server);
	}
}

/* ----------------------------------------------------------------------
 * Errors
 * ----------------------------------------------------------------------
 */

/*
 * What to do about an error there.
 */
static const char *
hint_by_sqlstate(int sqlerrcode)
{
	switch (sqlerrcode)
	{
		case ERRCODE_INSUFFICIENT_PRIVILEGE:
			return "Nothing was changed. The role of the user mapping must be able to read the tables that hold tenants' rows, and those that tenant paths lead through, as with GRANT pg_read_all_data; where these have row security, it must have BYPASSRLS.";
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
			return "Nothing was changed. If it is a standby, pause its replay with pg_wal_replay_pause() there, or let its queries last with max_standby_streaming_delay, and call again.";
		case ERRCODE_UNTRANSLATABLE_CHARACTER:
		case ERRCODE_CHARACTER_NOT_IN_REPERTOIRE:
			return "Nothing was changed. The text cannot be stored in a database of this encoding; change it in the copy, or leave the table out.";
	}
	if (ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_CONNECTION_EXCEPTION ||
		ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
		return "Nothing was changed. Look into that server's log for the reason, and call again.";
	return "Nothing was changed.";
}

static char *
printable_message(const char *message)
{
	char	   *copy = pchomp(message == NULL ? "" : message);

	return (char *) dg_printable(copy);
}

/*
 * Reports what the other side has said, or that it says nothing any more.
 */
void
dg_server_fail(DgServer *server, PGresult *result)
{
	const char *sqlstate = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *primary = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	int			code = sqlstate == NULL || strlen(sqlstate) != 5 ? ERRCODE_CONNECTION_FAILURE :
	MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
	char	   *text = printable_message(primary != NULL ? primary : PQerrorMessage(server->conn));

	if (detail != NULL)
		text = psprintf("%s: %s", text, printable_message(detail));
	PQclear(result);
	ereport(ERROR,
			(errcode(code),
			 errmsg("cannot read server \"%s\"", server->name),
			 errdetail_internal("%s", text),
			 errhint("%s", hint_by_sqlstate(code))));
	pg_unreachable();
}

/*
 * Reports that the other side did not answer as a server does. It is not listened to any
 * further: the connection is closed with the call.
 */
void
dg_server_refuse_answer(const DgServer *server, PGresult *result)
{
	PQclear(result);
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("server \"%s\" gives another answer than was asked for", server->name),
			 errhint("Nothing was changed. See what the options of the server lead to: it is no PostgreSQL, or is changed on its way.")));
	pg_unreachable();
}

static void
fail_connecting(const DgServer *server, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			 errmsg("could not connect to server \"%s\"", server->name),
			 errdetail_internal("%s", printable_message(why)),
			 errhint("Nothing was changed. See that it runs and lets this server in (pg_hba.conf there), and compare the options of the server and of your user mapping (\\des+ and \\deu+ in psql).")));
}

/* ----------------------------------------------------------------------
 * Waiting
 * ----------------------------------------------------------------------
 */

/*
 * Waits until the socket is ready, for so many milliseconds at most; -1: as long
 * as it takes. False if it is not ready yet.
 */
static bool
wait_for(const DgServer *server, int event, long timeout)
{
	int			rc;

	if (wait_event == 0)
		wait_event = dg_wait_event("DeletionGuardServer");
	rc = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | event | (timeout < 0 ? 0 : WL_TIMEOUT),
						   PQsocket(server->conn), timeout, wait_event);
	if (rc & WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return (rc & event) != 0;
}

/*
 * Waits for the other side, and takes in what it has sent.
 */
void
dg_server_wait(DgServer *server, int event)
{
	if (wait_for(server, event, -1) && !PQconsumeInput(server->conn))
		dg_server_fail(server, NULL);
}

/*
 * Sends a query.
 */
void
dg_server_send(DgServer *server, const char *sql)
{
	int			rc;

	if (server->conn == NULL)
		elog(ERROR, "connection to server \"%s\" is closed", server->name);
	if (!PQsendQuery(server->conn, sql))
		dg_server_fail(server, NULL);
	while ((rc = PQflush(server->conn)) > 0)
		dg_server_wait(server, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE);
	if (rc < 0)
		dg_server_fail(server, NULL);
}

/*
 * The next result of a query, or NULL; never one that is an error.
 */
PGresult *
dg_server_result(DgServer *server)
{
	PGresult   *result;

	while (PQisBusy(server->conn))
		dg_server_wait(server, WL_SOCKET_READABLE);
	result = PQgetResult(server->conn);
	if (result != NULL && (PQresultStatus(result) == PGRES_FATAL_ERROR || PQresultStatus(result) == PGRES_BAD_RESPONSE))
		dg_server_fail(server, result);
	return result;
}

/* ----------------------------------------------------------------------
 * Opening
 * ----------------------------------------------------------------------
 */

/*
 * Tries to connect for as long as the options allow.
 */
static void
poll_connection(DgServer *server, int timeout)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout * 1000L);

	while (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING)
	{
		long		left = timeout <= 0 ? -1 : TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (PQstatus(server->conn) == CONNECTION_BAD)
			break;
		if (left == 0)
			fail_connecting(server, "timeout expired");
		if (wait_for(server, status == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE, left))
			status = PQconnectPoll(server->conn);
	}
	if (PQstatus(server->conn) != CONNECTION_OK || PQsetnonblocking(server->conn, 1) != 0)
		fail_connecting(server, PQerrorMessage(server->conn));
}

/*
 * What else the other side has to say is for its own log.
 */
static void
ignore_notice(void *arg, const PGresult *result)
{
}

/*
 * Connects a server that is not connected yet. It is closed with the
 * current memory context or resource owner.
 */
void
dg_server_connect(DgServer *server, const DgServerOptions *options)
{
	static bool registered = false;
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	if (!registered)
		RegisterResourceReleaseCallback(close_with_owner, NULL);
	registered = true;
	callback->func = close_server;
	callback->arg = server;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	server->owner = CurrentResourceOwner;
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not connect to server \"%s\": there are too many open files", server->name),
				 errhint("Raise max_files_per_process.")));
	server->conn = PQconnectStartParams(options->keywords, options->values, 0);
	if (server->conn == NULL)
		ReleaseExternalFD();
	dg_server_require_memory(server->conn != NULL);
	dlist_push_head(&open_servers, &server->node);
	(void) PQsetNoticeReceiver(server->conn, ignore_notice, NULL);
	poll_connection(server, options->timeout);
	if (options->needs_password && !PQconnectionUsedPassword(server->conn))
		ereport(ERROR,
				(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
				 errmsg("server \"%s\" did not ask for the password of the user mapping", server->name),
				 errdetail("Who is no superuser cannot connect without one that is checked."),
				 errhint("Have the other server ask for a password (scram-sha-256 in its pg_hba.conf), or let a superuser set password_required to false in the user mapping.")));
	server->version = PQserverVersion(server->conn);
}
