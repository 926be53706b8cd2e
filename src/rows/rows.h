/*
 * rows.h
 *		Rows are written back: mapping, conflicts, references, sequences.
 */
#ifndef DG_ROWS_H
#define DG_ROWS_H

#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/execnodes.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"
#include "utils/tuplestore.h"

#include "common/deletion_guard.h"

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
	DG_ROW_ORPHANED,			/* left out: a row that it refers to is not
								 * there */
	DG_ROW_REFUSED,				/* by the caller's DgRowsRefuse */
	DG_ROW_SUPPRESSED,			/* by a trigger of the application */
	DG_ROW_LATER				/* not known yet: DgRowsOptions.settle says */
} DgRowOutcome;

/* A row that is to be written, by the source's columns. */
typedef struct DgRow
{
	Datum	   *values;
	bool	   *nulls;
	const char *tenant;			/* its tenant, or NULL; lasts as long as the
								 * writer */
	int			tag;			/* a small number under which it is counted
								 * and told of */
	void	   *owner;			/* of the caller's, and where it has the row */
	int64		address;
} DgRow;

/* A column as the source has it. */
typedef struct DgSourceColumn
{
	const char *name;
	Oid			type;			/* InvalidOid: text for the live column's
								 * input function */
	int32		typmod;
} DgSourceColumn;

/* rows_map.c */

typedef struct DgRowsMap DgRowsMap;

extern DgRowsMap *dg_rows_map_make(Relation rel, const DgSourceColumn *columns, int ncolumns);
extern void dg_rows_map_apply(DgRowsMap *map, ExprContext *econtext,
							  Datum *values, bool *nulls, TupleTableSlot *slot);

/* rows_role.c */

typedef struct DgRowsRole
{
	Oid			owner;			/* of the table; InvalidOid: its code runs as
								 * the caller */
	DgRole		caller;
	int			depth;			/* how many owners' code has led here */
} DgRowsRole;

extern DgRowsRole dg_rows_role(Relation rel);
extern DgRowsRole dg_rows_role_of(Oid owner);
extern void dg_rows_as_owner(const DgRowsRole *role);
extern void dg_rows_as_caller(const DgRowsRole *role);

/* rows_conflict.c */
extern DgOnConflict dg_rows_on_conflict(const char *name);

/* rows_update.c */
extern void dg_rows_require_update(Relation rel);

/* rows_missing.c */

typedef struct DgRowsMissing DgRowsMissing;

extern DgRowsMissing *dg_rows_missing_make(void);

/* rows_parent.c */

/* Where keys of a foreign key may have parents. */
typedef struct DgRowsParents
{
	const ForeignKeyCacheInfo *fkey;
	List	   *tables;			/* OIDs */
	DgAs		as;				/* whom they are asked */
	TupleDesc	desc;			/* of dg_rows_keys_desc() */
	bool		text;			/* keys are text, of the parent's types */
	bool		lock;			/* parents that are found */
	bool		many;			/* keys, that may be */
} DgRowsParents;

extern TupleDesc dg_rows_keys_desc(const ForeignKeyCacheInfo *fkey, Oid type, bool tagged);
extern void dg_rows_parentless(const DgRowsParents *parents, Tuplestorestate **keys);

/* rows_fkey.c */

/* told of rows that refer to none, as a key that is not valid allows */
typedef void (*DgRowsTell) (void *arg, Oid relid, int tag, const char *problem);

/* told what has become of a row that was to come later; it has no values any more */
typedef bool (*DgRowsSame) (void *arg, const DgRow *row, Relation rel, TupleTableSlot *stored, TupleTableSlot *live);
typedef void (*DgRowsAlias) (void *arg, const DgRow *row, void *alias);
typedef void (*DgRowsSettle) (void *arg, const DgRow *row, DgRowOutcome outcome);

/* told of the keys that rows refer to and that no row of the call has; columns are k1, k2, ... */
typedef void (*DgRowsOutside) (void *arg, const ForeignKeyCacheInfo *fkey, Tuplestorestate *keys, TupleDesc desc);

typedef struct DgRowsOptions DgRowsOptions;

/* rows_chosen.c */

typedef struct DgChosenTable DgChosenTable;

extern List *dg_rows_chosen_parse(Jsonb *rows);
extern char *dg_rows_chosen_named(Jsonb *rows, List *tables);
extern List *dg_rows_chosen_tables(List *tables);
extern char *dg_rows_chosen_text(Datum value, Oid type);
extern DgChosenTable *dg_rows_chosen_of(List *tables, Oid relid, const char *name);
extern void dg_rows_chosen_begin(DgChosenTable *table, TupleDesc desc);
extern bool dg_rows_chosen_has(DgChosenTable *table, const Datum *values, const bool *nulls);
extern int64 dg_rows_chosen_missing(List *tables, char **text);
extern void dg_rows_chosen_reset(List *tables);

/* rows_sequence.c */
extern void dg_rows_raise_sequence(Oid sequence, int64 value);

/* rows_twin.c */

typedef struct DgRowsTwins DgRowsTwins;

/* When a row was written or deleted. */
typedef struct DgRowsMoment
{
	TransactionId top;			/* or invalid: not known */
	TransactionId xid;			/* the same, or a subtransaction; or invalid:
								 * in another database */
	CommandId	cid;
} DgRowsMoment;

extern Oid	dg_rows_twins_table(const DgRowsTwins *twins);
extern char *dg_rows_twins_columns(DgRowsTwins *twins);
extern void dg_rows_twins_live(DgRowsTwins *twins, HeapTuple tuple, TupleDesc desc);
extern void dg_rows_twins_alias(DgRowsTwins *twins, HeapTuple tuple, TupleDesc desc,
								const Datum *values, const bool *nulls, void *alias);
extern void dg_rows_twins_put_back(DgRowsTwins *twins, TransactionId xid);
extern bool dg_rows_twins_known(DgRowsTwins *twins);
extern void dg_rows_twins_find(DgRowsTwins *twins);

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

	/*
	 * Is a live row another tenant's than the one given? Then it is in the
	 * way, also if it is the same; NULL: the same row is there already,
	 * whosever it is.
	 */
	bool		(*anothers) (Relation rel, TupleTableSlot *existing, const char *tenant);
	void		(*moved) (Oid partition);	/* is called when a changed row
											 * has left it for another */

	/*
	 * A row whose key a live row has is the server's unique violation; the
	 * caller, who has begun a subtransaction, tries again without this.
	 * Asking the indexes first takes a third of the time.
	 */
	bool		expect_no_conflict;

	/*
	 * The rows will be rolled back, which a sequence is not; so no constraint
	 * is left for the end of the transaction to check.
	 */
	bool		dry_run;

	/* of the application, for each row; BEFORE triggers see rows put before */
	bool		fire_triggers;

	/* what to do where a row that is referred to does not exist */
	const char *hint;

	/* and where a live row has a row's key; NULL: the usual */
	const char *conflict_hint;

	/*
	 * Of on_conflict skip: keys that earlier tries found missing. Rows that
	 * refer to them are left out.
	 */
	DgRowsMissing *missing;

	/*
	 * is the live row that has a row's key the same, but for what the caller
	 * knows? may be NULL
	 */
	DgRowsSame	same;
	DgRowsAlias alias;			/* of dg_rows_twins_alias(): a live row was
								 * taken for that one */

	DgRowsTell	tell;
	DgRowsSettle settle;
	DgRowsOutside outside;		/* NULL: what rows refer to need only exist */
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
extern bool dg_rows_writer_change(DgRowsTarget *target, Oid relid, ItemPointer tid,
								  const AttrNumber *attnums, const Datum *values,
								  const bool *nulls, int n);
extern void dg_rows_writer_flush(DgRowsWriter *writer);
extern void dg_rows_writer_end(DgRowsWriter *writer);

/* rows_twin.c, of a target */
extern DgRowsTwins *dg_rows_writer_twins(DgRowsTarget *target);
extern void dg_rows_writer_expect(DgRowsTarget *target, Datum *values, bool *nulls, const DgRowsMoment *deleted, void *alias);

/* rows_settle.c */
extern void dg_rows_writer_settle(DgRowsWriter *writer);

/* rows_target.c */
extern void dg_rows_privilege_context(void *arg);

#endif							/* DG_ROWS_H */
