/*
 * compare_internal.h
 *		What the files of compare/ share among themselves.
 */
#ifndef DG_COMPARE_INTERNAL_H
#define DG_COMPARE_INTERNAL_H

#include "compare/compare.h"

/* compare_rowsort.c */
extern DgRowHash *dg_compare_rowhash_make(Relation rel, const DgExtractPlan *plan);
extern void dg_compare_rowhash(DgRowHash *hash, TupleTableSlot *slot, DgHashedRow *row);
extern void dg_compare_rowhash_uniques(DgRowHash *hash);
extern List *dg_compare_rowhash_compared(const DgRowHash *hash);
extern List *dg_compare_rowhash_differing(DgRowHash *hash, TupleTableSlot *a, TupleTableSlot *b);

extern DgRowSort *dg_compare_rowsort_begin(const DgRowHash *whole, int memory);
extern void dg_compare_rowsort_put(DgRowSort *sort, const DgHashedRow *row, TupleTableSlot *values);
extern void dg_compare_rowsort_perform(DgRowSort *sort);
extern bool dg_compare_rowsort_next(DgRowSort *sort, DgHashedRow *row);
extern void dg_compare_rowsort_row(DgRowSort *sort, TupleTableSlot *slot);
extern void dg_compare_rowsort_end(DgRowSort *sort);
extern int	dg_compare_rowsort_compare(const DgRowSort *sort_a, const DgHashedRow *a, const DgRowSort *sort_b, const DgHashedRow *b);

/* compare.c */
extern char *dg_compare_problem(const DgCompared *table, int tenant);

#endif							/* DG_COMPARE_INTERNAL_H */
