/*
 * server.h
 *		A running copy of the database: another server that rows are read from, by
 *		the name of a foreign server here.
 */
#ifndef DG_SERVER_H
#define DG_SERVER_H

#include "nodes/pg_list.h"

#include "archive/archive.h"

typedef struct DgServer DgServer;

/* How an archive is named that is a server. */
#define DG_SERVER_PREFIX "server:"

/* Which rows of a table there are wanted. */
typedef struct DgServerCondition
{
	bool		every;			/* without columns: all of them are */
	int			ncolumns;		/* that tell them: */
	const int  *fields;			/* of a row there */
	const Oid  *types;			/* and of the live columns */
	const Oid  *collations;
	List	   *keys;			/* char **: what these are in wanted rows; */
	bool		nulls;			/* or one of them is null; */
	List	   *parents;		/* of DgServerParent: or they refer to such a
								 * row */
} DgServerCondition;

typedef struct DgServerParent
{
	int			table;
	const int  *fields;			/* what the columns refer to */
	const Oid  *types;			/* as live columns */
	const Oid  *collations;
	DgServerCondition *condition;
} DgServerParent;

/* server_session.c */
extern DgServer *dg_server_open(const char *name);

/* server_connection.c */

/* server_catalog.c */
extern DgArchive *dg_server_archive(DgServer *server);

/* server_rows.c */
extern bool dg_server_rows_begin(DgServer *server, int table, const DgServerCondition *condition);
extern bool dg_server_rows_next(DgServer *server, const char **line, size_t *len);
extern bool dg_server_has_rows(DgServer *server, int table);

#endif							/* DG_SERVER_H */
