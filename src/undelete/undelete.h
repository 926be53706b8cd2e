/*
 * undelete.h
 *		Rows come back out of the bin.
 */
#ifndef DG_UNDELETE_H
#define DG_UNDELETE_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

#include "common/deletion_guard.h"
#include "rows/rows.h"

/* undelete_adopt.c */
extern void dg_undelete_forget_table(Oid relid);

/* undelete_live.c */
typedef void (*DgLiveRow) (TupleTableSlot *slot, void *arg);

extern void dg_undelete_live_each(Relation rel, DgLiveRow action, void *arg);
extern int64 dg_undelete_live_chosen(const char *tenant, List *chosen, char **text);

/* undelete_rows.c */
extern void dg_undelete_require_reading(Oid relid);

/* undelete_lost.c */

/* A link that is still lost. */
typedef struct DgLink
{
	ItemPointerData tid;		/* of the row in deletion_link */
	int64		deletion;
	Oid			relation;
	List	   *key_columns;	/* of char * */
	List	   *key_values;		/* of char *, NULL where null */
	List	   *columns;
	List	   *before;
	List	   *after;
	char	   *row;			/* what its row has, equal for links that name
								 * the same row */
	bool		waiting;
	int64		waiting_since;	/* the last deletion then */

	/* for undelete_relink.c */
	bool		live;			/* what it leads to is */
	bool		blocked;		/* by another foreign key it would lead to
								 * what is not */
	bool		restored;
	bool		stale;			/* another undelete has marked it since it was
								 * read */
	bool		refused;		/* its row, as it is now, cannot have it */

	bool		taken;			/* by one of several rows that it fits:
								 * dg_undelete_links_put() leaves it alone */
} DgLink;

extern List *dg_undelete_links_put(List *sets, Relation rel, int64 deletion, Datum *values, bool *nulls);
extern bool dg_undelete_links_same(List *sets, Relation rel, TupleTableSlot *saved, int64 deletion, List **saved_links,
								   TupleTableSlot *live, List **live_links);
extern List *dg_undelete_links_of_table(Oid relid, bool present);

/* undelete_seek.c */
/* is told of rows that have lost links of some columns, and of the deletions that took them */
typedef void (*DgLinkTell) (void *arg, Oid relid, List *columns, int64 rows, List *deletions);

extern void dg_undelete_links_tell(List *relids, CommandId since, DgLinkTell tell, void *arg);

/* undelete_relink.c */
extern int64 dg_undelete_restore_these_links(DgRowsWriter *writer, List *links);

#endif							/* DG_UNDELETE_H */
