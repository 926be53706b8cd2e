/*
 * server_internal.h
 *		What the files of server/ share.
 */
#ifndef DG_SERVER_INTERNAL_H
#define DG_SERVER_INTERNAL_H

#include "lib/ilist.h"
#include "libpq-fe.h"
#include "utils/resowner.h"

#include "common/deletion_guard.h"
#include "server/server.h"

/* A column there. */
typedef struct DgServerColumn
{
	const char *schema;			/* of its type, or of a domain's base type */
	const char *type;
	const char *equality;		/* OPERATOR(...); NULL: none is known */
	const char *collation;		/* if it is not deterministic, else "" */
} DgServerColumn;

typedef struct DgServerTable
{
	const char *oid;
	const char *name;			/* quoted */
	const char *from;			/* to read its rows, and those of no other; */
	const char *root;			/* what foreign keys see: the table, or all
								 * that it is a partition of */
	bool		empty;			/* for certain */
	bool		planted;		/* no query must be planned for it */
	int			ncolumns;
	const char **names;			/* quoted */
	DgServerColumn *columns;
} DgServerTable;

struct DgServer
{
	char	   *name;
	PGconn	   *conn;			/* NULL: closed */
	int			version;
	ResourceOwner owner;		/* its release closes the connection */
	dlist_node	node;
	int			ntables;
	DgServerTable *tables;		/* as in the archive made of them */
	DgServerTable *reading;		/* rows of it are on their way */
	uint64		rows;			/* of them, that came */
	char	   *line;			/* the last one; libpq's memory */
};

/* Connection options, for PQconnectStartParams(). */
typedef struct DgServerOptions
{
	const char **keywords;
	const char **values;
	bool		needs_password; /* of the mapping's, really used */
	int			timeout;		/* seconds for connecting; 0: none */
} DgServerOptions;

/* server_options.c */
extern void dg_server_require_memory(bool enough);
extern DgServerOptions dg_server_options(const char *name);

/* server_connection.c */
extern void dg_server_connect(DgServer *server, const DgServerOptions *options);
pg_noreturn extern void dg_server_fail(DgServer *server, PGresult *result);
pg_noreturn extern void dg_server_refuse_answer(const DgServer *server, PGresult *result);
extern void dg_server_send(DgServer *server, const char *sql);
extern void dg_server_wait(DgServer *server, int event);
extern PGresult *dg_server_result(DgServer *server);

/* server_rows.c */
extern List *dg_server_query(DgServer *server, const char *sql, const char *columns);

/* server_condition.c */
extern char *dg_server_condition(const DgServer *server, int table, const DgServerCondition *condition);
extern char *dg_server_quote(const char *name);

#endif							/* DG_SERVER_INTERNAL_H */
