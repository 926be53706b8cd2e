/*
 * rows.h
 *		Writing rows back into live tables: the one writer that undelete and
 *		rehydrate share.
 */
#ifndef DG_ROWS_H
#define DG_ROWS_H

#include "deletion_guard.h"

#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"
#include "utils/tuplestore.h"

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
	DG_ROW_CONFLICT,			/* the same, and the whole call will fail */
	DG_ROW_ORPHANED,			/* left out: a row that it refers to is not there */
	DG_ROW_REFUSED,				/* by the caller's DgRowsRefuse */
	DG_ROW_SUPPRESSED,			/* by a trigger of the application */
	DG_ROW_LATER				/* not known yet: DgRowsOptions.settle says */
} DgRowOutcome;

/* A row that is to be written, by the source's columns. */
typedef struct DgRow
{
	Datum	   *values;
	bool	   *nulls;
	const char *tenant;			/* whose it is, NULL: nobody's; lasts as long as the writer */
	int			tag;			/* a small number under which it is counted and told of */
	void	   *owner;			/* of the caller's, and where it has the row */
	int64		address;
} DgRow;

/* A column as the source has it. */
typedef struct DgSourceColumn
{
	const char *name;
	Oid			type;			/* InvalidOid: text for the live column's input function */
	int32		typmod;
} DgSourceColumn;

/* rows_convert.c */
typedef struct DgRowsConversion DgRowsConversion;

extern DgRowsConversion *dg_rows_conversion_make(Form_pg_attribute att, const DgSourceColumn *source);
extern Datum dg_rows_conversion_apply(DgRowsConversion *conversion, ExprContext *econtext,
									  Datum value, bool *isnull, bool visible);

/* rows_map.c */
typedef struct DgRowsMap DgRowsMap;

extern DgRowsMap *dg_rows_map_make(Relation rel, const DgSourceColumn *columns, int ncolumns);
extern void dg_rows_map_apply(DgRowsMap *map, ExprContext *econtext,
							  Datum *values, bool *nulls, TupleTableSlot *slot);
extern void dg_rows_map_check_required(DgRowsMap *map, Relation rel, TupleTableSlot *slot);
extern void dg_rows_map_check_generated(DgRowsMap *map, Relation rel, TupleTableSlot *slot);
extern bool dg_rows_may_read(Oid relid);
extern void dg_rows_map_hide_values(const DgRowsMap *map);
extern void dg_rows_map_context(void *arg);

/* rows_role.c */
typedef struct DgRowsRole
{
	Oid			owner;			/* of the table; InvalidOid: its code runs as the caller */
	Oid			caller;
	int			sec_context;
} DgRowsRole;

extern DgRowsRole dg_rows_role(Relation rel);
extern DgRowsRole dg_rows_role_of(Oid owner);
extern DgRowsRole dg_rows_role_of_tree(Relation rel);
extern List *dg_rows_tables(Oid relid);
extern void dg_rows_as_owner(const DgRowsRole *role);
extern void dg_rows_as_caller(const DgRowsRole *role);

/* rows_target.c */
extern QueryDesc *dg_rows_open_insert(Relation rel, const DgRowsRole *role);
extern ResultRelInfo *dg_rows_route(ModifyTableState *mtstate, TupleTableSlot **slot);

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
extern DgOnConflict dg_rows_on_conflict(const char *name);

/* Conflicts that fail a call. */
typedef struct DgRowsConflicts
{
	int64		count;
	StringInfoData described;	/* the first of them */
} DgRowsConflicts;

extern void dg_rows_conflicts_add(DgRowsConflicts *conflicts, Relation rel, const char *conflict);
extern void dg_rows_conflicts_refuse(const DgRowsConflicts *conflicts, bool replacing);

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
extern void dg_rows_batch_write(DgRowsBatch *batch, DgRowsVerify *verify, TupleTableSlot *slot);
extern void dg_rows_batch_end(DgRowsBatch *batch);

/* rows_update.c */
extern void dg_rows_require_update(Relation rel);
extern bool dg_rows_same_row(Relation rel, TupleTableSlot *a, TupleTableSlot *b);
extern bool dg_rows_key_is_taken(ResultRelInfo *rri, EState *estate, List *arbiters, ItemPointer tid,
								 TupleTableSlot *slot, char **conflict);
extern void dg_rows_update(ResultRelInfo *rri, EState *estate, const DgRowsRole *role,
						   DgRowsRechecks *rechecks, ItemPointer tid, TupleTableSlot *slot);
extern bool dg_rows_is_referenced(ResultRelInfo *rri);
extern void dg_rows_move_out(Oid relid, ItemPointer tid, Snapshot snapshot);

/* rows_keyset.c */
typedef struct DgKeySet DgKeySet;

extern DgKeySet *dg_keyset_make(MemoryContext parent, TupleDesc desc, int nkeys, const AttrNumber *attnums);
extern int	dg_keyset_read(DgKeySet *set, TupleTableSlot *slot);
extern bool dg_keyset_add(DgKeySet *set);
extern bool dg_keyset_has_of(DgKeySet *set, const DgKeySet *other);
extern bool dg_keyset_add_of(DgKeySet *set, const DgKeySet *other);
extern bool dg_keyset_is_full(DgKeySet *set);
extern void dg_keyset_store(DgKeySet *set, DgKeySet *except, TupleTableSlot *slot,
							Tuplestorestate **store);
extern void dg_keyset_forget(DgKeySet *set);

/* rows_missing.c */
typedef struct DgRowsMissing DgRowsMissing;

extern DgRowsMissing *dg_rows_missing_make(void);
extern DgKeySet *dg_rows_missing_of(DgRowsMissing *missing, Oid conoid);
extern DgKeySet *dg_rows_missing_add(DgRowsMissing *missing, Oid conoid, TupleDesc desc, int nkeys);
extern void dg_rows_missing_note(DgRowsMissing *missing, DgKeySet *keys, SPITupleTable *found, uint64 n);
extern void dg_rows_missing_refuse(const DgRowsMissing *missing);
extern bool dg_rows_missing_grown(DgRowsMissing *missing);

/* rows_fkey.c */
typedef struct DgRowsForeignKeys DgRowsForeignKeys;

/* told of rows that refer to none, as a key that is not valid allows */
typedef void (*DgRowsTell) (void *arg, Oid relid, int tag, const char *problem);


/* told what has become of a row that was to come later; it has no values any more */
typedef bool (*DgRowsSame) (void *arg, const DgRow *row, Relation rel, TupleTableSlot *stored, TupleTableSlot *live);
typedef void (*DgRowsAlias) (void *arg, const DgRow *row, void *alias);
typedef void (*DgRowsSettle) (void *arg, const DgRow *row, DgRowOutcome outcome);

typedef struct DgRowsOptions DgRowsOptions;

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
extern void dg_rows_raise_sequence(Oid sequence, int64 value);

/* rows_twin.c */
typedef struct DgRowsTwins DgRowsTwins;

/* When a row was written or deleted. */
typedef struct DgRowsMoment
{
	TransactionId top;			/* or invalid: not known */
	TransactionId xid;			/* the same, or a subtransaction; or invalid: in another database */
	CommandId	cid;
} DgRowsMoment;

extern DgRowsTwins *dg_rows_twins_make(Relation rel);
extern Oid	dg_rows_twins_table(const DgRowsTwins *twins);
extern char *dg_rows_twins_columns(DgRowsTwins *twins);
extern void dg_rows_twins_live(DgRowsTwins *twins, HeapTuple tuple, TupleDesc desc);
extern void dg_rows_twins_alias(DgRowsTwins *twins, HeapTuple tuple, TupleDesc desc,
								const Datum *values, const bool *nulls, void *alias);
extern void dg_rows_twins_expect(DgRowsTwins *twins, TupleTableSlot *slot, const DgRowsMoment *deleted);
extern void dg_rows_twins_put_back(DgRowsTwins *twins, TransactionId xid);
extern void dg_rows_twins_find(DgRowsTwins *twins);
extern bool dg_rows_twins_take(DgRowsTwins *twins, TupleTableSlot *slot, void **alias);

/* rows_writer.c */
typedef struct DgRowsWriter DgRowsWriter;
typedef struct DgRowsTarget DgRowsTarget;

/* saves a live row that is about to be replaced by one of a tenant (NULL: of none); false: it may not be */
typedef bool (*DgRowsDisplace) (Relation rel, TupleTableSlot *slot, const char *tenant);

/* looks at a row, in the table's shape, before it is written; true: leave it out */
typedef bool (*DgRowsRefuse) (void *arg, TupleTableSlot *slot);

struct DgRowsOptions
{
	DgOnConflict on_conflict;
	DgRowsDisplace displace;	/* of on_conflict replace */
	void		(*moved) (Oid partition);	/* is called when a changed row has left it for another */

	/*
	 * A row whose key a live row has is the server's unique violation; the
	 * caller, who has begun a subtransaction, tries again without this. Asking
	 * the indexes first takes a third of the time.
	 */
	bool		expect_no_conflict;

	/*
	 * The rows will be rolled back, which a sequence is not; so no constraint is
	 * left for the end of the transaction to check.
	 */
	bool		dry_run;

	/* of the application, for each row; BEFORE triggers see rows put before */
	bool		fire_triggers;

	/* what to do where a row that is referred to does not exist */
	const char *hint;

	/*
	 * Of on_conflict skip: keys that earlier tries found missing. Rows that refer
	 * to them are left out.
	 */
	DgRowsMissing *missing;

	/* is the live row that has a row's key the same, but for what the caller knows? may be NULL */
	DgRowsSame	same;
	DgRowsAlias alias;			/* of dg_rows_twins_alias(): a live row was taken for that one */

	DgRowsTell	tell;
	DgRowsSettle settle;
	void	   *arg;			/* of these */
};

/* rows_try.c */

/* Work that writes rows, and that may be tried again. */
typedef struct DgRowsWork
{
	void		(*work) (void *arg);	/* by the present options */
	void		(*start_over) (void *arg);
	void	   *arg;
	DgRowsOptions *options;
} DgRowsWork;

extern void dg_rows_try(DgRowsWork *work, bool optimistically);

extern DgRowsWriter *dg_rows_writer_begin(const DgRowsOptions *options);
extern DgRowsTarget *dg_rows_writer_target(DgRowsWriter *writer, Oid relid,
										   const DgSourceColumn *columns, int ncolumns);
extern void dg_rows_writer_refuse(DgRowsTarget *target, DgRowsRefuse refuse, void *arg);
extern void dg_rows_writer_verify(DgRowsTarget *target);
extern DgRowOutcome dg_rows_writer_put(DgRowsTarget *target, const DgRow *row);
extern DgRowsTwins *dg_rows_writer_twins(DgRowsTarget *target);
extern void dg_rows_writer_expect(DgRowsTarget *target, Datum *values, bool *nulls, const DgRowsMoment *deleted);
extern bool dg_rows_writer_change(DgRowsTarget *target, Oid relid, ItemPointer tid,
								  const AttrNumber *attnums, const Datum *values,
								  const bool *nulls, int n);
extern Datum dg_rows_writer_read(DgRowsTarget *target, AttrNumber attnum, char *text);
extern void dg_rows_writer_flush(DgRowsWriter *writer);
extern void dg_rows_writer_end(DgRowsWriter *writer);

/* rows_late.c */
typedef struct DgRowsLate DgRowsLate;

extern void dg_rows_writer_settle(DgRowsWriter *writer);

#endif							/* DG_ROWS_H */
