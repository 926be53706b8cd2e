/*
 * rows.h
 *		Writing rows back into live tables: the one writer that undelete and
 *		rehydrate share.
 */
#ifndef DG_ROWS_H
#define DG_ROWS_H

#include "deletion_guard.h"

#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"

/* What to do with a row whose key a different live row has. */
typedef enum DgOnConflict
{
	DG_ON_CONFLICT_ERROR,
	DG_ON_CONFLICT_SKIP,
	DG_ON_CONFLICT_REPLACE
} DgOnConflict;

/* What became of a row. */
typedef enum DgRowOutcome
{
	DG_ROW_RESTORED,
	DG_ROW_IDENTICAL,			/* a live row has the same key and content */
	DG_ROW_SKIPPED,				/* a different live row has the key */
	DG_ROW_CONFLICT				/* the same, and the whole call will fail */
} DgRowOutcome;

/* A column as the source has it. */
typedef struct DgSourceColumn
{
	const char *name;
	Oid			type;			/* InvalidOid: text for the live column's input function */
	int32		typmod;
} DgSourceColumn;

/* rows_map.c */
typedef struct DgRowsMap DgRowsMap;

extern DgRowsMap *dg_rows_map_make(Relation rel, const DgSourceColumn *columns, int ncolumns);
extern void dg_rows_map_apply(DgRowsMap *map, ExprContext *econtext,
							  Datum *values, bool *nulls, TupleTableSlot *slot);

/* rows_target.c */
extern QueryDesc *dg_rows_open_insert(Relation rel);
extern TriggerDesc *dg_rows_constraint_triggers(TriggerDesc *all);

/* rows_conflict.c */
extern List *dg_rows_arbiters(ResultRelInfo *rri);
extern DgRowOutcome dg_rows_check_conflict(ResultRelInfo *rri, EState *estate, List *arbiters,
										   TupleTableSlot *slot, TupleTableSlot *existing,
										   char **conflict);
extern DgOnConflict dg_rows_on_conflict(const char *name);

/* rows_sequence.c */
typedef struct DgRowsSequences DgRowsSequences;

extern DgRowsSequences *dg_rows_sequences_find(Relation rel);
extern void dg_rows_sequences_note(DgRowsSequences *sequences, TupleTableSlot *slot);
extern void dg_rows_sequences_raise(DgRowsSequences *sequences);
extern void dg_rows_raise_sequence(Oid sequence, int64 value);

/* rows_writer.c */
typedef struct DgRowsWriter DgRowsWriter;
typedef struct DgRowsTarget DgRowsTarget;

extern DgRowsWriter *dg_rows_writer_begin(DgOnConflict on_conflict);
extern DgRowsTarget *dg_rows_writer_target(DgRowsWriter *writer, Oid relid,
										   const DgSourceColumn *columns, int ncolumns);
extern DgRowOutcome dg_rows_writer_put(DgRowsTarget *target, Datum *values, bool *nulls);
extern void dg_rows_writer_end(DgRowsWriter *writer);

#endif							/* DG_ROWS_H */
