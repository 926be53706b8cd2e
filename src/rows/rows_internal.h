/*
 * rows_internal.h
 *		What the parts of the row writer share: rows_writer.c, rows_leaf.c and
 *		rows_late.c.
 */
#ifndef DG_ROWS_INTERNAL_H
#define DG_ROWS_INTERNAL_H

#include "rows.h"

/* One table that rows are really stored in: the target, or a partition of it. */
typedef struct DgRowsLeaf
{
	Oid			relid;			/* hash key */
	ResultRelInfo *rri;
	DgRowsRole	role;			/* as whom its code runs */
	List	   *arbiters;
	TupleTableSlot *existing;	/* for live rows */
	DgRowsLooks *looks;			/* NULL: no check looks at other rows */
	DgRowsBatch *batch;
	DgRowsAfter *after;			/* triggers of the application; NULL: none */
} DgRowsLeaf;

struct DgRowsTarget
{
	DgRowsWriter *writer;
	Relation	rel;
	QueryDesc  *query;
	ModifyTableState *mtstate;
	EState	   *estate;
	DgRowsRole	role;			/* as whom the table's code runs, and finds partitions */
	DgRowsMap  *map;
	DgRowsSequences *sequences;
	List	   *handled;		/* foreign keys that are checked without triggers */
	TupleTableSlot *slot;		/* a row in the target's shape */
	HTAB	   *leaves;
	DgRowsLeaf *last;
	DgRowsRefuse refuse;		/* or NULL */
	void	   *refuse_arg;
	TupleTableSlot *noted;		/* one that was routed, in the target's shape again */
	DgRowsTwins *twins;			/* NULL: rows are told by their keys */
	DgRowsLate *late;			/* rows that come last; NULL: none yet */
	DgRowsVerify *verify;		/* NULL: rows are not read back */
	DgRow		row;			/* at hand */
};

struct DgRowsWriter
{
	DgRowsOptions options;
	MemoryContext context;
	List	   *targets;
	DgRowsForeignKeys *fkeys;
	DgRowsRechecks *rechecks;
	List	   *after;			/* of DgRowsAfter */
	DgRowsConflicts conflicts;
	bool		settling;		/* late rows are being written, */
	bool		insisting;		/* for the last time */
};

/* rows_leaf.c */
extern void dg_rows_open_target(DgRowsTarget *target);
extern void dg_rows_close_target(DgRowsTarget *target);
extern bool dg_rows_is_routed(DgRowsTarget *target, const DgRowsLeaf *leaf);
extern DgRowsLeaf *dg_rows_leaf_of(DgRowsTarget *target, ResultRelInfo *rri);
extern TupleTableSlot *dg_rows_in_target_shape(DgRowsTarget *target, DgRowsLeaf *leaf, TupleTableSlot *stored);

/* rows_late.c */
extern void dg_rows_late_add(DgRowsTarget *target);

/* rows_writer.c */
extern DgRowOutcome dg_rows_put_loaded(DgRowsTarget *target);

#endif							/* DG_ROWS_INTERNAL_H */
