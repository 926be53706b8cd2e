/*
 * undelete_internal.h
 *		What the files of undelete/ share among themselves.
 */
#ifndef DG_UNDELETE_INTERNAL_H
#define DG_UNDELETE_INTERNAL_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

#include "bin/bin.h"
#include "undelete/undelete.h"
#include "rows/rows.h"

/* undelete_lost.c */

/* Links of one table that name the same columns. */
typedef struct DgLinkSet
{
	char	   *name;
	Oid			relation;
	List	   *key_columns;
	List	   *columns;
	int			n;				/* of columns */
	AttrNumber *attnums;
	const char *problem;		/* why they stay lost, as the table is now;
								 * NULL: they need not */
	List	   *links;
} DgLinkSet;

extern bool dg_undelete_table_is_gone(Oid relid);
extern List *dg_undelete_links_read(const char *condition, int nargs, Oid *types, Datum *values);
extern void dg_undelete_links_rename(List *links);
extern List *dg_undelete_links_by_set(List *links);
extern Datum dg_undelete_link_value(const DgLinkSet *set, AttrNumber attnum, char *text);

/* undelete_seek.c */

/* is given a row that has lost the set's n-th link, or one that names the same row */
typedef void (*DgLinkSink) (void *arg, DgLinkSet *set, int n, Oid relid, ItemPointer tid);

extern bool dg_undelete_link_is_pending(const DgLink *link);
extern void dg_undelete_links_find_parents(DgLinkSet *set, CommandId since);
extern void dg_undelete_links_find_rows(DgLinkSet *set, bool lock, DgLinkSink sink, void *arg);

/* undelete_relink.c */
extern void dg_undelete_links_found(List *links);
extern int64 dg_undelete_restore_links(DgRowsWriter *writer, List *deletions, List *relids);

/* undelete.c */

/* A part that has rows in the bin, of what is to be restored. */
typedef struct DgSavedPart
{
	DgPartId	id;
	int32		bin_id;
	Oid			relation;
	char	   *relation_name;
	Oid			bin_table;
	char	   *tenant;			/* or NULL */
	bool		orphan;			/* the table is gone */
	int64		rows;			/* still in the bin */
	int64		purged;
	int64		seen;
	int64		left;			/* of those, gone back */
	struct DgReport *report;
} DgSavedPart;

/* A line of the report. */
typedef struct DgReport
{
	Oid			relation;
	Oid			orphan;			/* bin table, where the relation is gone */
	char	   *relation_name;
	char	   *tenant;
	int			tag;			/* its place in the list */
	int64		restored;
	int64		identical;
	int64		skipped;
	int64		orphaned;		/* of the skipped: what they refer to is
								 * nowhere */
	int64		purged;			/* of the same parts, before */
	char	   *note;			/* or NULL */
} DgReport;

typedef struct DgUndelete
{
	DgRowsOptions options;
	MemoryContext context;		/* of the parts and the report */
	List	   *parts;
	List	   *chosen;			/* DgChosenTable; NIL: all rows of the parts */
	List	   *reports;
	HTAB	   *reports_by_name;	/* NULL: none yet */
	List	   *lost_links;		/* of tables, as undelete_same.c knows them */
	List	   *links_found;	/* of deleted rows; live ones, which are the
								 * same, have them again */
	List	   *links_missing;	/* of live rows, which are the same as deleted
								 * ones but for these */
	int64		rows;			/* that left the bin */
	int64		links;			/* that were put back */
	char	   *failure;		/* of a dry run */
} DgUndelete;

/* undelete_same.c */
extern List *dg_undelete_same_links(DgUndelete *call, Oid relid);
extern bool dg_undelete_same_but_links(void *call, const DgRow *row, Relation rel, TupleTableSlot *stored, TupleTableSlot *live);
extern void dg_undelete_same_found(void *call, const DgRow *row, void *links);
extern int64 dg_undelete_same_end(DgUndelete *call, DgRowsWriter *writer);

/* undelete_destination.c */

/* Where the rows of a bin go. */
typedef struct DgUndeleteDestination
{
	int32		bin_id;
	DgRowsTarget *target;
	struct DgRenamedColumns *renamed;	/* NULL: no tenant's key was changed */
} DgUndeleteDestination;

pg_noreturn extern void dg_undelete_refuse_orphan(DgSavedPart *part);
extern DgUndeleteDestination *dg_undelete_destination(DgRowsWriter *writer, DgSavedPart *part, List **destinations);

/* undelete_restore.c */
extern void dg_undelete_check_chosen(List *chosen);
extern void dg_undelete_check_part(const char *relation_name, int64 deletion, int part, int64 found, int64 recorded);
extern void dg_undelete_restore_settle(void *arg, const DgRow *row, DgRowOutcome outcome);
extern void dg_undelete_restore_parts(void *call);

#endif							/* DG_UNDELETE_INTERNAL_H */
