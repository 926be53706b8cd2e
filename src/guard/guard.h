/*
 * guard.h
 *		Which tables are guarded, and what must not happen to them.
 */
#ifndef DG_GUARD_H
#define DG_GUARD_H

#include "deletion_guard.h"

#include "catalog/objectaccess.h"
#include "executor/execdesc.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "nodes/plannodes.h"
#include "utils/relcache.h"

struct PgStat_SubXactStatus;
struct PgStat_TableXactStatus;

/* names of the guard triggers on a guarded table and on its partitions */
#define DG_TRIGGER_CAPTURE		"deletion_guard_capture"
#define DG_TRIGGER_CAPTURE_ROW	"deletion_guard_capture_row"
#define DG_TRIGGER_TRUNCATE		"deletion_guard_truncate"
#define DG_TRIGGER_LINK			"deletion_guard_link"
#define DG_TRIGGER_RENAME		"deletion_guard_rename"
#define DG_TRIGGER_PREFIX		"deletion_guard_"

/* names of the triggers on a bin table */
#define DG_TRIGGER_PROTECT		"deletion_guard_protect"
#define DG_TRIGGER_PROTECT_ROW	"deletion_guard_protect_row"

/* guard_catalog.c */

/*
 * What the registries say of one table. Valid until the end of the
 * transaction, even if the registries change meanwhile.
 */
typedef struct DgGuard
{
	Oid			relid;			/* hash key */
	bool		valid;
	bool		guarded;
	Oid			root;			/* the table that was enrolled: relid or an ancestor */
	bool		has_tenant_column;
	NameData	tenant_column;	/* of root and of relid alike */
	List	   *tenant_path;	/* names (char *) of foreign keys, or NIL */
	void	   *capture;		/* private to bin_, in context */
	MemoryContext context;
} DgGuard;

/* The table that lists the tenants. */
typedef struct DgTenantTable
{
	bool		valid;
	Oid			relid;			/* InvalidOid: none is set */
	NameData	key_column;
	NameData	name_column;	/* empty: none */
	NameData	contact_column; /* empty: none */
} DgTenantTable;

extern void dg_guard_catalog_init(void);
extern Oid	dg_partition_root(Oid relid);
extern DgGuard *dg_guard_lookup(Oid relid);
extern const DgTenantTable *dg_tenant_table(void);
extern void dg_guard_forget_all(void);
extern void dg_guard_changed(Oid relid);
extern void dg_guard_dropped(Oid relid);
extern void dg_tenant_table_changed(void);

/* guard_enrol.c */
extern void dg_guard_enrol(Oid relid, const char *tenant_column, List *tenant_path);
extern void dg_guard_check_owner(Relation rel);
extern void dg_guard_require_stored(Oid relid, const char *column);
extern bool dg_guard_require(Relation rel, int elevel);
extern bool dg_guard_is_unlogged(Oid relid);
extern void dg_guard_record(Oid relid);
extern void dg_guard_lock_owned(Oid relid);
extern void dg_guard_remove(Oid relid);

/* guard_path.c */

/* One table on a path to the tenant, and the query for a row of it. */
typedef struct DgPathStep
{
	Oid			relid;
	char	   *sql;
	int			nkeys;			/* the query's parameters: */
	AttrNumber	keys[INDEX_MAX_KEYS];	/* columns of the row before */
	Oid			key_types[INDEX_MAX_KEYS];
	SPIPlanPtr	plan;			/* NULL: not made yet */
} DgPathStep;

extern void dg_guard_check_path(Relation rel, List *path);
extern List *dg_guard_find_path(Relation rel, const char *tenant_column, char **problem);
extern List *dg_guard_path_keys(Oid relid, List *path, Oid *end, const char **column);
extern bool dg_guard_rename_in_path(Oid start, List *path, List *relids,
									const char *old, const char *new);
extern char *dg_guard_path_text(List *path);
extern void dg_guard_append_clause(StringInfo buf, const char *left, Oid left_type, Oid operator,
								   const char *right, Oid right_type);
extern DgPathStep *dg_guard_path_steps(Relation rel, List *path, int *nsteps);

/* guard_tenant.c */
extern bool dg_tenant_is_plain(Oid relid, const char *column);
extern bool dg_tenant_read_key(Oid relid, Oid type, const char *tenant, Datum *value);
extern void dg_tenant_table_altered(Oid relid);
extern bool dg_tenants_are_plain(void);
extern uint64 dg_tenant_generation(void);
extern bool dg_tenant_equal(const char *a, const char *b);
extern bool dg_tenant_equal_in(Oid relid, const char *a, const char *b);
extern int	dg_tenant_identity(Oid relid);
extern uint64 dg_tenant_hash(const char *tenant);
extern uint64 *dg_tenant_hashes(const char *tenant, int *n);
extern uint64 dg_tenant_text_hash(const char *tenant);

/* guard_trigger.c */
extern void dg_guard_create_triggers(Oid relid);
extern void dg_guard_drop_triggers(Oid relid);
extern void dg_guard_follow_tenants(Oid relid, bool follow);
extern bool dg_guard_trigger_is_right(HeapTuple tuple, TupleDesc desc, bool created);
extern void dg_guard_enable_trigger(Oid relid, const char *name);
extern bool dg_guard_is_complete(Oid relid);

/* guard_hooks.c */
#define DG_HOOK_EXECUTOR_START	0x01
#define DG_HOOK_EXECUTOR_RUN	0x02
#define DG_HOOK_EXECUTOR_FINISH	0x04
#define DG_HOOK_UTILITY			0x08
#define DG_HOOK_OBJECT_ACCESS	0x10

extern void dg_guard_hooks_init(void);
extern int	dg_hooks_reached(void);
extern bool dg_on_duty(void);

/* guard_statement.c */
typedef struct DgNesting
{
	int			depth;
	Oid			role;
	EState	   *firing;			/* of the query whose triggers fire, or NULL */
	const TriggerDesc *fires;	/* triggers of a table of that query, found last */
	List	   *by_row;
	bool		drops_tables;
} DgNesting;

extern void dg_statement_init(void);
extern void dg_statement_begin(const PlannedStmt *stmt);
extern void dg_statement_run(const void *query);
extern void dg_statement_note_plan(const PlannedStmt *plan);
extern bool dg_statement_may_delete(void);
extern DgNesting dg_statement_enter(void);
extern void dg_statement_set_role(Oid role);
extern void dg_statement_set_firing(EState *estate, List *by_row);
extern EState *dg_statement_firing(void);
extern bool dg_statement_fires(const Trigger *trigger);
extern bool dg_statement_none(void);
extern bool dg_statement_by_row(Oid root);
extern void dg_statement_set_utility(const Node *parsetree);
extern bool dg_statement_drops_tables(void);
extern void dg_statement_leave(DgNesting saved);
extern uint64 dg_statement_serial(void);
extern bool dg_statement_unseen(void);
extern Oid	dg_statement_role(void);

/* guard_merge.c */
extern bool dg_merge_hides_rows(void);
extern bool dg_merge_deletes(const ModifyTable *plan);
extern void dg_merge_prepare(QueryDesc *query);
extern List *dg_merge_roots(QueryDesc *query);
extern void dg_merge_check_unseen(Relation rel);

/* guard_trail.c */

/* Rows of one table, or of one partition. */
typedef struct DgStretch
{
	Oid			relid;
	DgTidLog   *log;
} DgStretch;

/* What queries have come to in the table that a trigger is of. */
typedef struct DgTrail
{
	Oid			relid;
	const EState *firing;		/* of the query whose end fires the trigger */
	TransactionId xid;			/* that the rows were deleted by */
	uint64		deleted;		/* rows, as the executor has counted */
	List	   *stretches;
	DgStretch  *last;			/* that was added to */
	MemoryContext context;
	MemoryContextCallback callback;
	struct DgTrail *next;
} DgTrail;

extern void dg_trail_prepare(QueryDesc *query);
extern void dg_trail_add(Oid relid, EState *firing, Oid partition, CommandId cid, ItemPointer tid);
extern void dg_trail_ran(QueryDesc *query);
extern void dg_trail_finish(QueryDesc *query);
extern DgTrail *dg_trail_take(Oid relid);

/* guard_move.c */
extern void dg_move_prepare(QueryDesc *query, bool certain);
extern void dg_move_ran(QueryDesc *query);
extern bool dg_move_stayed(Relation rel, HeapTuple tuple);
extern bool dg_move_arrived(Oid root, HeapTuple row);
extern void dg_move_init(void);

/* guard_balance.c */

/* An INSERT ... ON CONFLICT into a guarded table, as it begins to run. */
typedef struct DgUpsert
{
	Oid			root;			/* InvalidOid: it is none */
	int64		deleted;		/* from the table, as the server has counted */
	int64		written;
	int64		expected;		/* deletions, by what was kept */
	uint64		processed;
} DgUpsert;

extern struct PgStat_TableXactStatus *dg_balance_next(struct PgStat_SubXactStatus **level,
													  struct PgStat_TableXactStatus *counts);
extern int64 dg_balance_deleted(const struct PgStat_TableXactStatus *counts, int64 *written);
extern void dg_balance_kept(Oid root, int64 rows);
extern void dg_balance_row_kept(Oid root);
extern int64 dg_balance_take_row_kept(Oid root);
extern void dg_balance_moved(Oid root);
extern void dg_balance_corrected(Oid root, int64 rows);
extern void dg_balance_look(void);
extern void dg_balance_leave(Oid root, List *relids);
extern DgUpsert dg_balance_upsert_begin(QueryDesc *query);
extern void dg_balance_upsert_end(const DgUpsert *upsert, QueryDesc *query);
extern void dg_balance_check(Oid root);
extern void dg_balance_init(void);

/* guard_empty.c */
extern void dg_empty_begin(Relation rel);
extern void dg_empty_check(void);
extern void dg_empty_excuse(Oid relid);
extern void dg_empty_require(Oid relid);
extern void dg_empty_init(void);

/* guard_recount.c */
extern bool dg_recount(Oid root, int64 *deleted, int64 *moved);

/* guard_object.c */
extern void dg_guard_check_drop(Oid classid, Oid objid, int subid);
extern void dg_guard_check_trigger(Oid trigid, bool created);
extern void dg_guard_check_detach(Oid child, Oid parent);
extern void dg_guard_check_utility(Node *parsetree);

/* guard_access.c */

/* What kind of utility command runs, as far as that matters. */
typedef enum DgCommand
{
	DG_COMMAND_OTHER,			/* or none */
	DG_COMMAND_MAINTENANCE,		/* concerns storage only */
	DG_COMMAND_RESTORE,			/* what pg_restore does to a table that it has made */
	DG_COMMAND_CREATE,			/* makes a table */
	DG_COMMAND_COPY
} DgCommand;

extern HeapTuple dg_guard_copy_object(Relation rel, Oid indexid, AttrNumber attnum, Oid objid,
									  Snapshot snapshot);
extern DgCommand dg_command(void);
extern DgCommand dg_command_enter(Node *parsetree);
extern void dg_command_leave(DgCommand saved);
extern void dg_command_maintain(void);
extern void dg_command_init(void);
extern void dg_access_check(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg);
extern bool dg_access_judges_after(Node *parsetree);
extern void dg_access_check_after(Node *parsetree);

/* guard_builtin.c */
extern void dg_builtin_check_permissions(List *permissions);
extern void dg_builtin_check_truncate(Oid relid);
extern void dg_builtin_check_object(ObjectAccessType access, Oid classid, Oid objid, Oid relid);

/* guard_store.c */
extern bool dg_store_has_rows(Oid relid);
extern bool dg_store_at_stake(void);
extern void dg_store_allow_drop(void);
extern bool dg_store_drop_allowed(void);
pg_noreturn extern void dg_store_refuse_drop(const char *what);
pg_noreturn extern void dg_store_refuse(const char *what, const char *name);
extern DgCommand dg_store_command(Node *parsetree);
extern void dg_store_check_utility(Node *parsetree);

/* guard_publication.c */
extern void dg_publication_check(const char *what);
extern void dg_publication_follow(Node *parsetree);

/* guard_protect.c */
extern bool dg_is_store(Oid relid);
extern void dg_protect_check_query(PlannedStmt *stmt);
extern void dg_protect_check_permissions(List *permissions);
extern void dg_protect_check_truncate(Oid relid);

#endif							/* DG_GUARD_H */
