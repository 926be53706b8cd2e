/*
 * server_session.c
 *		The transaction that a copy is read in: one snapshot, nothing written, values
 *		as they are.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "server/server_internal.h"

/* All of it for the transaction only: there may be a pooler in between. */
static const char begin[] =
"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
"SET LOCAL search_path = pg_catalog;"
"SET LOCAL standard_conforming_strings = on;"
"SET LOCAL row_security = off;"
"SET LOCAL datestyle = 'ISO, MDY';"
"SET LOCAL intervalstyle = postgres;"
"SET LOCAL timezone = 'UTC';"
"SET LOCAL extra_float_digits = 3;"
"SET LOCAL bytea_output = hex;"
"SET LOCAL xmloption = content;"
"SET LOCAL statement_timeout = 0;"
"SET LOCAL lock_timeout = 0;"
"SET LOCAL idle_in_transaction_session_timeout = 0;";

/*
 * Asks the other side to look now and then whether this one is still there; not
 * every system can.
 */
static void
have_it_look(DgServer *server)
{
	PGresult   *result;

	if (server->version < 140000)
		return;
	(void) dg_server_query(server, "SAVEPOINT look", "");
	dg_server_send(server, "SET LOCAL client_connection_check_interval = '1s'");
	for (;;)
	{
		while (PQisBusy(server->conn))
			dg_server_wait(server, WL_SOCKET_READABLE);
		result = PQgetResult(server->conn);
		if (result == NULL)
			break;
		if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_FATAL_ERROR)
			dg_server_refuse_answer(server, result);
		PQclear(result);
	}
	if (PQtransactionStatus(server->conn) == PQTRANS_INERROR)
		(void) dg_server_query(server, "ROLLBACK TO look", "");
	(void) dg_server_query(server, "RELEASE look", "");
}

/*
 * Is it this very database that was connected to, by whatever name and way? A lock
 * that is held here is seen there only then: not in a clone of the files, which has
 * all of a database's marks, and not on a standby.
 */
static void
refuse_ourselves(DgServer *server)
{
	int64		key = (int64) pg_prng_uint64(&pg_global_prng_state);
	List	   *found;

	(void) DirectFunctionCall1(pg_advisory_xact_lock_shared_int8, Int64GetDatum(key));
	found = dg_server_query(server,
							psprintf("SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database"
									 " WHERE d.datname = pg_catalog.current_database() AND l.locktype = 'advisory' AND l.pid = %d"
									 " AND l.classid = %u AND l.objid = %u AND l.objsubid = 1",
									 MyProcPid, (uint32) ((uint64) key >> 32), (uint32) key), "");
	if (found != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("server \"%s\" is this very database", server->name),
				 errdetail("A lock that was taken here is seen there."),
				 errhint("Give the server the host, port and dbname of the copy that rows are to come from.")));
}

static void
begin_session(DgServer *server)
{
	if (server->version < 120000)
		ereport(ERROR,
				(errcode(DG_ERRCODE_ARCHIVE_VERSION),
				 errmsg("server \"%s\" is of a version that cannot be read", server->name),
				 errdetail("It is PostgreSQL %d; rows can be read from 12 and later.", server->version / 10000),
				 errhint("Dump it with a present pg_dump, and give the archive.")));
	(void) dg_server_query(server, begin, "");
	if (server->version >= 170000)
		(void) dg_server_query(server, "SET LOCAL transaction_timeout = 0", "");
	have_it_look(server);
	refuse_ourselves(server);
}

/*
 * Connects to a server as the caller, and begins the transaction, which lasts as
 * long as the connection: until the end of the current memory context or resource
 * owner.
 */
DgServer *
dg_server_open(const char *name)
{
	DgServerOptions options = dg_server_options(name);
	DgServer   *server = palloc0(sizeof(DgServer));

	server->name = pstrdup(name);
	dg_server_connect(server, &options);
	begin_session(server);
	return server;
}
