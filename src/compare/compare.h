/*
 * compare.h
 *		Tenants' rows of an archive against the live ones.
 */
#ifndef DG_COMPARE_H
#define DG_COMPARE_H

#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "extract/extract.h"

/* compare_rowsort.c */

/* What is kept of a row to be compared. */
typedef struct DgHashedRow
{
	int			tenant;
	int64		key;
	int64		content;
	bool		purged;
	Oid			relid;			/* where a live row is, if that is asked for: */
	int64		address;		/* DG_TID_ADDRESS() */
	int64		uniques;		/* other unique values, if they are asked for */
	bool		in_the_way;		/* of a live row: it has others than the
								 * archive's, which is to come back */
} DgHashedRow;

typedef struct DgRowHash DgRowHash;

extern List *dg_compare_rowhash_key(const DgRowHash *hash);

typedef struct DgRowSort DgRowSort;

/* compare.c */

/* One tenant's rows of a table. */
typedef struct DgComparedCounts
{
	int64		in_archive;
	int64		live;
	int64		only_in_archive;
	int64		only_live;
	int64		different;
	int64		purged;			/* else only in the archive */
	int64		unlinked;		/* live ones that have lost links */
} DgComparedCounts;

/* A live table that is compared. */
typedef struct DgCompared
{
	Oid			relid;
	Oid			copy;			/* compared instead, if valid: a copy with the
								 * tenant's rows only */
	Relation	rel;
	DgFinder   *finder;
	DgRowHash  *hash;
	bool		addresses;		/* see DgCompare */
	bool		absent;			/* from the archive */
	bool		told;			/* it has a line */
	bool		hidden;			/* the caller may not see all live rows */
	EState	   *estate;			/* for the map's expressions */
	TupleTableSlot *slot;		/* a row of the archive, as a live one */
	DgRowSort  *archive_rows;
	DgRowSort  *live_rows;
	struct DgPurgeSubtract *subtract;	/* knows rows that were purged */
	char	   *problem;		/* columns that are not compared, or NULL */
	List	   *lost_links;		/* of its live rows, by set */
	DgComparedCounts *counts;	/* by tenant */
} DgCompared;

typedef struct DgCompare
{
	DgExtractArchive *archive;
	DgExtractPlan *plan;
	bool		whole;			/* the rows themselves are kept */
	bool		addresses;		/* live rows tell where they are, and whether
								 * they are in the way; they are read as the
								 * tables' owners */
	List	   *tables;			/* of DgCompared */
	struct DgCompareMapping **mappings; /* by the index of a source */
} DgCompare;

typedef enum DgDifference
{
	DG_DIFFERENCE_MISSING,
	DG_DIFFERENCE_PURGED,
	DG_DIFFERENCE_EXTRA,
	DG_DIFFERENCE_DIFFERENT
} DgDifference;

typedef void (*DgDifferenceSink) (void *arg, DgCompared *table, DgDifference what, const DgHashedRow *row);

extern void dg_compare_begin(DgCompare *compare, bool absent);
extern void dg_compare_table(DgCompare *compare, DgCompared *table, DgDifferenceSink sink, void *arg);
extern void dg_compare_count(void *arg, DgCompared *table, DgDifference what, const DgHashedRow *row);
extern void dg_compare_end(DgCompare *compare);

#endif							/* DG_COMPARE_H */
