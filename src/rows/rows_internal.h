/*
 * rows_internal.h
 *		What the files of rows/ share among themselves.
 */
#ifndef DG_ROWS_INTERNAL_H
#define DG_ROWS_INTERNAL_H

#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"
#include "utils/tuplestore.h"

#include "rows/rows.h"

/* rows_convert.c */

/* What to do about a value that a column's present type does not take. */
#define DG_HINT_TYPE \
	"Nothing was restored. Give the column a type that holds the value, restore, and change it again."

typedef struct DgRowsConversion DgRowsConversion;

extern DgRowsConversion *dg_rows_conversion_make(Form_pg_attribute att, const DgSourceColumn *source);
extern Datum dg_rows_conversion_apply(DgRowsConversion *conversion, ExprContext *econtext,
									  Datum value, bool *isnull, bool visible);

/* rows_map.c */
extern void dg_rows_map_check_required(DgRowsMap *map, Relation rel, TupleTableSlot *slot);
extern void dg_rows_map_check_generated(DgRowsMap *map, Relation rel, TupleTableSlot *slot);
extern bool dg_rows_may_read(Oid relid);
extern void dg_rows_map_hide_values(const DgRowsMap *map);
extern void dg_rows_map_context(void *arg);

/* rows_role.c */
extern DgRowsRole dg_rows_role_of_tree(Relation rel);

/* rows_target.c */
extern QueryDesc *dg_rows_open_insert(Relation rel, const DgRowsRole *role);
extern char *dg_rows_insert_statement(Relation rel, Oid **types, int *ntypes);
extern ModifyTableState *dg_rows_insert_of(const QueryDesc *query);

typedef struct DgRowsChunks DgRowsChunks;	/* of a hypertable; rows_leaf.c */

/* rows_trigger.c */

typedef struct DgRowsAfter DgRowsAfter;

extern TriggerDesc *dg_rows_triggers(TriggerDesc *all, Oid relid, List *handled, bool fire, bool now);
extern DgRowsAfter *dg_rows_after_of(List **list, Relation rel, const DgRowsRole *role, bool now);
extern void dg_rows_after_note(DgRowsAfter *after, ItemPointer tid);
extern void dg_rows_after_fire(DgRowsAfter *after);

/* rows_recheck.c */

typedef struct DgRowsRechecks DgRowsRechecks;

extern DgRowsRechecks *dg_rows_rechecks_make(bool refuse);
extern List *dg_rows_rechecks_note(DgRowsRechecks *rechecks, ResultRelInfo *rri, const DgRowsRole *role,
								   List *indexes, ItemPointer tid);
extern void dg_rows_rechecks_check(DgRowsRechecks *rechecks);

/* rows_check.c */

typedef struct DgRowsLooks DgRowsLooks;

extern DgRowsLooks *dg_rows_looks_make(ResultRelInfo *rri, EState *estate);
extern bool dg_rows_check(ModifyTableState *mtstate, ResultRelInfo *rri, TupleTableSlot *slot,
						  DgRowsLooks *looks);

/* rows_conflict.c */
extern List *dg_rows_arbiters(ResultRelInfo *rri);
extern DgRowOutcome dg_rows_check_conflict(ResultRelInfo *rri, EState *estate, List *arbiters,
										   TupleTableSlot *slot, TupleTableSlot *existing,
										   bool leave, char **conflict);

/* Conflicts that fail a call. */
typedef struct DgRowsConflicts
{
	int64		count;
	StringInfoData described;	/* the first of them */
} DgRowsConflicts;

extern void dg_rows_conflicts_add(DgRowsConflicts *conflicts, Relation rel, const char *conflict);
extern void dg_rows_conflicts_refuse(const DgRowsConflicts *conflicts, bool replacing, const char *hint);

/* rows_pending.c */

typedef struct DgRowsPending DgRowsPending;

extern DgRowsPending *dg_rows_pending_make(List *arbiters);
extern bool dg_rows_pending_add(DgRowsPending *pending, ResultRelInfo *rri, EState *estate,
								TupleTableSlot *slot);
extern void dg_rows_pending_reset(DgRowsPending *pending);

/* rows_verify.c */
extern void dg_rows_append_value(StringInfo row, Datum value, bool isnull, Form_pg_attribute att);

typedef struct DgRowsVerify DgRowsVerify;

extern DgRowsVerify *dg_rows_verify_make(void);
extern void dg_rows_verify_written(DgRowsVerify *verify, TupleTableSlot *slot, int tag);
extern void dg_rows_verify_read(DgRowsVerify *verify, Relation rel, ItemPointer tid,
								TupleTableSlot *slot, int tag);
extern void dg_rows_verify_check(DgRowsVerify *verify, const char *relation);

/* rows_batch.c */

typedef struct DgRowsBatch DgRowsBatch;

extern DgRowsBatch *dg_rows_batch_make(ResultRelInfo *rri, EState *estate, const DgRowsRole *role,
									   List *arbiters, DgRowsRechecks *rechecks, DgRowsAfter *after);
extern TupleTableSlot *dg_rows_batch_slot(DgRowsBatch *batch);
extern bool dg_rows_batch_has_key(DgRowsBatch *batch);
extern void dg_rows_batch_add(DgRowsBatch *batch, int tag);
extern bool dg_rows_batch_is_full(const DgRowsBatch *batch);
extern int	dg_rows_batch_write(DgRowsBatch *batch, DgRowsVerify *verify, TupleTableSlot *slot);
extern void dg_rows_batch_end(DgRowsBatch *batch);

/* rows_update.c */
extern bool dg_rows_same_row(Relation rel, TupleTableSlot *a, TupleTableSlot *b);
extern bool dg_rows_key_is_taken(ResultRelInfo *rri, EState *estate, List *arbiters, ItemPointer tid,
								 TupleTableSlot *slot, char **conflict);
extern void dg_rows_update(ResultRelInfo *rri, EState *estate, const DgRowsRole *role,
						   DgRowsRechecks *rechecks, ItemPointer tid, TupleTableSlot *slot);
extern bool dg_rows_is_referenced(ResultRelInfo *rri);
extern void dg_rows_move_out(Oid relid, ItemPointer tid, Snapshot snapshot);

/* rows_keyset.c */

typedef struct DgKeySet DgKeySet;

extern DgKeySet *dg_rows_keyset_make(MemoryContext parent, TupleDesc desc, int nkeys, const AttrNumber *attnums);
extern int	dg_rows_keyset_read(DgKeySet *set, TupleTableSlot *slot);
extern bool dg_rows_keyset_add(DgKeySet *set);
extern bool dg_rows_keyset_has_of(DgKeySet *set, const DgKeySet *other);
extern bool dg_rows_keyset_add_of(DgKeySet *set, const DgKeySet *other);
extern bool dg_rows_keyset_is_full(DgKeySet *set);
extern void dg_rows_keyset_store(DgKeySet *set, DgKeySet *except, TupleTableSlot *slot,
								 Tuplestorestate **store);
extern void dg_rows_keyset_forget(DgKeySet *set);

/* rows_missing.c */
extern DgKeySet *dg_rows_missing_of(DgRowsMissing *missing, Oid conoid);
extern DgKeySet *dg_rows_missing_add(DgRowsMissing *missing, Oid conoid, TupleDesc desc, int nkeys);
extern void dg_rows_missing_added(DgRowsMissing *missing);
extern void dg_rows_missing_note(DgRowsMissing *missing, DgKeySet *keys, SPITupleTable *found, uint64 n);
extern void dg_rows_missing_refuse(const DgRowsMissing *missing);
extern bool dg_rows_missing_grown(DgRowsMissing *missing);

/* rows_fkey.c */

typedef struct DgRowsForeignKeys DgRowsForeignKeys;

extern DgRowsForeignKeys *dg_rows_fkeys_begin(const DgRowsOptions *options);
extern List *dg_rows_fkeys_add(DgRowsForeignKeys *fkeys, Relation rel);
extern bool dg_rows_fkeys_is_orphan(DgRowsForeignKeys *fkeys, Oid relid, TupleTableSlot *slot);
extern void dg_rows_fkeys_leave_out(DgRowsForeignKeys *fkeys, Oid relid, TupleTableSlot *slot);
extern void dg_rows_fkeys_note(DgRowsForeignKeys *fkeys, Oid relid, TupleTableSlot *slot, int tag);
extern void dg_rows_fkeys_change(DgRowsForeignKeys *fkeys, Oid relid);
extern void dg_rows_fkeys_check(DgRowsForeignKeys *fkeys);

/* rows_sequence.c */

typedef struct DgRowsSequences DgRowsSequences;

extern DgRowsSequences *dg_rows_sequences_find(Relation rel);
extern void dg_rows_sequences_note(DgRowsSequences *sequences, TupleTableSlot *slot);
extern void dg_rows_sequences_raise(DgRowsSequences *sequences);

/* rows_twin.c */
extern DgRowsTwins *dg_rows_twins_make(Relation rel);
extern bool dg_rows_twins_take(DgRowsTwins *twins, TupleTableSlot *slot, void **alias);

/* rows_late.c */

typedef struct DgRowsLate DgRowsLate;


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
	DgRowsRole	role;			/* as whom the table's code runs, and finds
								 * partitions */
	DgRowsMap  *map;
	DgRowsSequences *sequences;
	List	   *handled;		/* foreign keys that are checked without
								 * triggers */
	TupleTableSlot *slot;		/* a row in the target's shape */
	DgRowsChunks *chunks;		/* NULL: it is no hypertable */
	HTAB	   *leaves;
	DgRowsLeaf *last;
	DgRowsRefuse refuse;		/* or NULL */
	void	   *refuse_arg;
	TupleTableSlot *noted;		/* one that was routed, in the target's shape
								 * again */
	DgRowsTwins *twins;			/* NULL: rows are told by their keys */
	DgRowsLate *late;			/* rows that come last; NULL: none yet */
	DgRowsVerify *verify;		/* NULL: rows are not read back */
	DgRow		row;			/* at hand */
};

/* rows_pace.c */
typedef struct DgRowsPace
{
	TimestampTz due;			/* when what was written may be done */
} DgRowsPace;

extern void dg_rows_keep_pace(DgRowsPace *pace, int nrows);

struct DgRowsWriter
{
	DgRowsOptions options;
	MemoryContext context;
	List	   *targets;
	DgRowsForeignKeys *fkeys;
	DgRowsRechecks *rechecks;
	List	   *after;			/* of DgRowsAfter */
	DgRowsConflicts conflicts;
	DgRowsPace	pace;
	bool		settling;		/* late rows are being written, */
	bool		insisting;		/* for the last time */
};

/* rows_leaf.c */
extern void dg_rows_open_target(DgRowsTarget *target);
extern void dg_rows_close_target(DgRowsTarget *target);
extern ResultRelInfo *dg_rows_route(DgRowsTarget *target, TupleTableSlot **slot);
extern bool dg_rows_is_routed(DgRowsTarget *target, const DgRowsLeaf *leaf);
extern DgRowsLeaf *dg_rows_leaf_of(DgRowsTarget *target, ResultRelInfo *rri);
extern TupleTableSlot *dg_rows_in_target_shape(DgRowsTarget *target, DgRowsLeaf *leaf, TupleTableSlot *stored);

/* rows_late.c */
extern void dg_rows_late_add(DgRowsTarget *target);
extern bool dg_rows_late_next(DgRowsTarget *target, DgRowsLate *late);
extern void dg_rows_late_end(DgRowsLate *late);

/* rows_writer.c */
extern DgRowOutcome dg_rows_put_loaded(DgRowsTarget *target);

#endif							/* DG_ROWS_INTERNAL_H */
