/*
 * guard.h
 *		Which tables are guarded, by what, and whose rows they hold.
 */
#ifndef DG_GUARD_H
#define DG_GUARD_H

#include "catalog/objectaccess.h"
#include "executor/execdesc.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "nodes/plannodes.h"
#include "utils/relcache.h"

#include "common/deletion_guard.h"
#include "common/frame.h"

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
	Oid			root;			/* the table that was enrolled: relid or an
								 * ancestor */
	bool		has_tenant_column;
	NameData	tenant_column;	/* of root and of relid alike */
	List	   *tenant_path;	/* names (char *) of foreign keys, or NIL */
	List	   *steps;			/* of DgStep: instead of tenant_path */
	char	   *tenant;			/* whose all rows are, or NULL */
	Oid			detached_from;	/* the guarded table that root was a partition
								 * of, or InvalidOid */
	DgOddity	odd;			/* what relid has become since it was enrolled */
	void	   *capture;		/* private to bin_, in context */
	MemoryContext context;
} DgGuard;

/* How the tenant of a table's rows is told: by one of these, or by nothing. */
typedef struct DgTenantSource
{
	const char *column;
	List	   *path;			/* names (char *) of foreign keys, */
	List	   *steps;			/* or DgStep */
	const char *tenant;			/* all rows are this one's */
} DgTenantSource;

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
extern Oid	dg_guard_partition_root(Oid relid);
extern DgGuard *dg_guard_lookup(Oid relid);
extern bool dg_guard_is_guarded(Oid relid);
extern DgTenantSource dg_guard_source(const DgGuard *guard);
extern const DgTenantTable *dg_guard_tenant_table(void);
extern void dg_guard_forget_all(void);
extern bool dg_guard_hypertables_changed(void);
extern void dg_guard_changed(Oid relid);
extern void dg_guard_forget_origins(List *relids);
extern void dg_guard_dropped(Oid relid, int64 kept, int64 lost);
extern void dg_guard_require_ordinary(Oid relid);
extern void dg_guard_tenant_table_changed(void);

extern void dg_guard_require_stored(Oid relid, const char *column);

/* guard_source.c */
extern char *dg_guard_source_text(const DgTenantSource *source);

/* guard_step.c */

/* A step of a tenant path, as it is declared. */
typedef struct DgStep
{
	int			number;			/* in the path, from 1 */
	char	   *foreign_key;	/* its name; or NULL: */
	List	   *columns;		/* names of columns that refer to */
	Oid			target;			/* a table's (InvalidOid: rows are nobody's) */
	List	   *keys;			/* columns, by name; */
	char	   *type_column;	/* if this one, unless it is NULL, */
	char	   *value;			/* has this for its text; else empty */
} DgStep;

/* A step as a foreign key, whose conoid is InvalidOid. */
typedef struct DgHop
{
	ForeignKeyCacheInfo fkey;
	AttrNumber	type;			/* of conrelid, or InvalidAttrNumber */
	char	   *value;
} DgHop;

extern const DgStep *dg_guard_step_marked(const char *element);
extern DgHop *dg_guard_step_hop(Oid relid, const DgStep *step);
extern AttrNumber dg_guard_hop_type(const ForeignKeyCacheInfo *fkey, const char **value);
extern void dg_guard_append_type(StringInfo buf, const ForeignKeyCacheInfo *fkey);
extern List *dg_guard_paths(Oid relid);
extern void dg_guard_check_steps(Oid relid, const DgTenantSource *source);
extern void dg_guard_append_steps(StringInfo buf, List *steps);
extern bool dg_guard_type_is_declared(Oid relid, const char *value, bool *nobodys);

/* guard_path.c */
extern void dg_guard_check_path(Relation rel, List *path);

/* One table on a path to the tenant, and the query for a row of it. */
typedef struct DgPathStep
{
	Oid			relid;
	Oid			table;			/* that the query is about: it, or a partition */
	bool		more;			/* the next step asks another partition */
	char	   *sql;
	int			nkeys;			/* the query's parameters: */
	AttrNumber	keys[INDEX_MAX_KEYS];	/* columns of the row before */
	Oid			key_types[INDEX_MAX_KEYS];
	SPIPlanPtr	plan;			/* NULL: not made yet */
	char	   *condition;		/* on rows t, by the same parameters, where no
								 * foreign key sees to it that there is one;
								 * else NULL */
	char	   *key_column;		/* of relid: the first that it is about */
} DgPathStep;

/* A path from a row to its tenant. */
typedef struct DgWay
{
	DgPathStep *steps;
	int			nsteps;
	AttrNumber	type;			/* it is for rows with this column, unless 0, */
	const char *value;			/* having this for its text */
} DgWay;

extern const char *dg_guard_tenant_column_of(Oid relid);
extern List *dg_guard_find_path(Relation rel, const char *tenant_column, char **problem);
extern List *dg_guard_path_keys(Oid relid, List *path, Oid *end, const char **column);
extern bool dg_guard_rename_in_path(Oid start, List *path, List *relids,
									const char *old, const char *new);
extern char *dg_guard_path_text(List *path);

/* guard_way.c */
extern void dg_guard_append_clause(StringInfo buf, const char *left, Oid left_type, Oid operator,
								   const char *right, Oid right_type);
extern uint64 dg_guard_path_changes(void);
extern DgWay *dg_guard_path_ways(Relation rel, int *nways);
extern bool dg_guard_may_tell(Oid relid, Oid role);

/* guard_identity.c */
extern void dg_guard_tenant_init(void);
extern bool dg_guard_tenant_is_plain(Oid relid, const char *column);
extern bool dg_guard_tenants_are_plain(void);

/* guard_tenant.c */
extern bool dg_guard_tenant_read_key(Oid relid, Oid type, const char *tenant, Datum *value);
extern bool dg_guard_tenant_equal(const char *a, const char *b);
extern bool dg_guard_tenant_equal_in(Oid relid, const char *a, const char *b);
extern int	dg_guard_tenant_identity(Oid relid);
extern uint64 dg_guard_tenant_hash(const char *tenant);
extern uint64 dg_guard_tenant_text_hash(const char *tenant);

/* guard_trigger.c */
extern void dg_guard_follow_tenants(Oid relid, bool follow);
extern void dg_guard_drop_triggers(Oid relid);
extern void dg_guard_create_triggers(Oid relid);
extern bool dg_guard_trigger_is_right(HeapTuple tuple, TupleDesc desc, bool created);
extern void dg_guard_enable_trigger(Oid relid, const char *name);
extern bool dg_guard_is_complete(Oid relid);

/* guard_statement.c */
extern void dg_guard_statement_init(void);
extern void dg_guard_statement_continue_while(bool (*function) (void));
extern void dg_guard_statement_begin(const PlannedStmt *stmt);
extern void dg_guard_statement_run(const void *query);
extern void dg_guard_statement_note_plan(const PlannedStmt *plan);
extern bool dg_guard_statement_may_delete(void);
extern bool dg_guard_statement_fires(const Trigger *trigger);
extern bool dg_guard_statement_none(void);
extern bool dg_guard_statement_by_row(Oid root);
extern uint64 dg_guard_statement_serial(void);
extern bool dg_guard_statement_unseen(void);
extern Oid	dg_guard_statement_role(void);

/* guard_publication.c */
extern void dg_guard_publication_check(const char *what);
extern void dg_guard_publication_follow(Node *parsetree);

/* guard_lock.c */
extern void dg_guard_lock_tenant(const char *tenant);
extern void dg_guard_lock_tenants(List *tenants);
extern void dg_guard_lock_all_tenants(void);

/* what rows without a tenant are locked as */
#define DG_NO_TENANT ""

/* guard_textset.c */
typedef struct DgTextSet DgTextSet;

extern DgTextSet *dg_guard_textset_create(MemoryContext context);
extern DgTextSet *dg_guard_textset_of_tenants(MemoryContext context, Oid relid);
extern int64 dg_guard_textset_find(DgTextSet *set, const char *text);
extern bool dg_guard_textset_has(DgTextSet *set, const char *text);
extern bool dg_guard_textset_add(DgTextSet *set, const char *text);
extern void dg_guard_textset_truncate(DgTextSet *set, int64 n);
extern int64 dg_guard_textset_count(DgTextSet *set);
extern const char *dg_guard_textset_get(DgTextSet *set, int64 i);

#endif							/* DG_GUARD_H */
