/*
 * server_rows.c
 *		Queries on a copy: small ones, whose answer comes as a whole, and the rows of
 *		a table, which come one by one as lines of COPY.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"

#include "server/server_internal.h"

/*
 * Takes in a result's rows: arrays of strings, NULL for null. The other side may be
 * anything: what has not the columns that were asked for, or is no text, is no answer.
 */
static List *
take_rows(const DgServer *server, List *rows, PGresult *result, const char *columns)
{
	int			ncolumns = (int) strlen(columns);

	if (PQnfields(result) != ncolumns)
		dg_server_refuse_answer(server, result);
	for (int row = 0; row < PQntuples(result); row++)
	{
		char	  **values = palloc0(sizeof(char *) * (ncolumns + 1));

		for (int i = 0; i < ncolumns; i++)
		{
			const char *value = PQgetvalue(result, row, i);

			if (PQgetisnull(result, row, i) ? columns[i] != 'n' : !pg_verify_mbstr(GetDatabaseEncoding(), value, strlen(value), true))
				dg_server_refuse_answer(server, result);
			if (!PQgetisnull(result, row, i))
				values[i] = pstrdup(value);
		}
		rows = lappend(rows, values);
	}
	return rows;
}

/*
 * Takes in all that is left of a query's results: the rows, as a list of char **.
 */
static List *
take_results(DgServer *server, const char *columns)
{
	List	   *rows = NIL;
	PGresult   *result;

	while ((result = dg_server_result(server)) != NULL)
	{
		if (PQresultStatus(result) == PGRES_TUPLES_OK)
			rows = take_rows(server, rows, result, columns);
		else if (PQresultStatus(result) != PGRES_COMMAND_OK)
			dg_server_refuse_answer(server, result);
		PQclear(result);
	}
	return rows;
}

/*
 * Passes over the rows that are still to come: reading was given up, after an error
 * that was caught.
 */
static void
end_rows(DgServer *server)
{
	const char *line;
	size_t		len;

	while (server->reading != NULL && dg_server_rows_next(server, &line, &len))
		CHECK_FOR_INTERRUPTS();
}

/*
 * Runs a query, or some statements, and returns the rows as a list of char **. There
 * is a letter for each column of the answer: 'v', or 'n' if it may be null.
 */
List *
dg_server_query(DgServer *server, const char *sql, const char *columns)
{
	end_rows(server);
	dg_server_send(server, sql);
	return take_results(server, columns);
}

/* ----------------------------------------------------------------------
 * Rows of a table
 * ----------------------------------------------------------------------
 */

/*
 * What COPY is about: a query, or the table itself, for which nothing is planned.
 */
static char *
copy_source(const DgServerTable *table, const char *where)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < table->ncolumns; i++)
		appendStringInfo(&buf, "%s%s%s", i > 0 ? ", " : "", table->planted ? "" : "t0.", table->names[i]);
	if (table->planted)
		return psprintf("%s%s", table->name, table->ncolumns > 0 ? psprintf(" (%s)", buf.data) : "");
	return psprintf("(SELECT %s FROM %s t0%s%s)", buf.data, table->from, where == NULL ? "" : " WHERE ", where == NULL ? "" : where);
}

/*
 * Begins to read rows of a table: those that a condition asks for or, if it is
 * NULL or cannot be asked there, all. Returns whether it was asked.
 */
bool
dg_server_rows_begin(DgServer *server, int n, const DgServerCondition *condition)
{
	DgServerTable *table = &server->tables[n];
	char	   *where = dg_server_condition(server, n, condition);
	PGresult   *result;

	end_rows(server);
	/* the second statement tells whether the name still means the table */
	dg_server_send(server, psprintf("COPY %s TO STDOUT; SELECT pg_catalog.to_regclass(%s)::pg_catalog.oid",
									copy_source(table, where), quote_literal_cstr(table->name)));
	result = dg_server_result(server);
	if (PQresultStatus(result) != PGRES_COPY_OUT || PQbinaryTuples(result) || PQnfields(result) != table->ncolumns)
		dg_server_refuse_answer(server, result);
	PQclear(result);
	server->reading = table;
	server->rows = 0;
	return where != NULL;
}

/*
 * After the last row: is what was read all of it, and of the table that it was to
 * be of?
 */
static void
check_all_came(DgServer *server)
{
	DgServerTable *table = server->reading;
	PGresult   *result = dg_server_result(server);
	uint64		sent = result == NULL ? 0 : strtou64(PQcmdTuples(result), NULL, 10);
	List	   *rows;
	char	   *oid;

	PQclear(result);
	server->reading = NULL;
	rows = take_results(server, "n");
	oid = rows == NIL ? NULL : ((char **) linitial(rows))[0];
	if (oid == NULL || strcmp(oid, table->oid) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s of server \"%s\" was replaced while it was read", table->name, server->name),
				 errhint("Nothing was changed. Call again.")));
	if (sent != server->rows)
		ereport(ERROR,
				(errcode(DG_ERRCODE_VERIFICATION_FAILED),
				 errmsg("server \"%s\" has sent " UINT64_FORMAT " rows of table %s, and " UINT64_FORMAT " have come",
						server->name, sent, table->name, server->rows)));
}

/*
 * The next row, as a line without its newline, good until the next call; false
 * behind the last one.
 */
bool
dg_server_rows_next(DgServer *server, const char **line, size_t *len)
{
	int			rc;

	if (server->reading == NULL)
		return false;
	if (server->line != NULL)
		PQfreemem(server->line);
	server->line = NULL;
	while ((rc = PQgetCopyData(server->conn, &server->line, 1)) == 0)
		dg_server_wait(server, WL_SOCKET_READABLE);
	if (rc == -2)
		dg_server_fail(server, NULL);
	if (rc == -1)
	{
		check_all_came(server);
		return false;
	}
	if (server->line[rc - 1] != '\n')
		dg_server_refuse_answer(server, NULL);
	server->rows++;
	*line = server->line;
	*len = rc - 1;
	return true;
}

/*
 * Does a table have rows, which may be read? Where no query must be planned for it, it
 * has if it is not empty.
 */
bool
dg_server_has_rows(DgServer *server, int n)
{
	const DgServerTable *table = &server->tables[n];

	if (table->empty || table->planted)
		return !table->empty;
	return dg_server_query(server, psprintf("SELECT FROM %s LIMIT 1", table->from), "") != NIL;
}
