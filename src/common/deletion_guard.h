/*
 * deletion_guard.h
 *		What every room of the extension shares: settings, the extension's own
 *		objects, and statements run in its name.
 */
#ifndef DELETION_GUARD_H
#define DELETION_GUARD_H

#include "fmgr.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "utils/inval.h"
#include "utils/jsonb.h"

#include "common/compat.h"
#include "common/errors.h"

/* settings_values.c */
extern char *dg_reason;
extern char *dg_actor;
extern int	dg_max_rows;
extern int	dg_max_tenants;
extern int	dg_tenant_wipes_per_hour;
extern int	dg_restore_rate;
extern int	dg_limit_action;
extern int	dg_approvals;
extern int	dg_clock_skew;
extern bool dg_restoring;
extern bool dg_preloaded;
extern bool dg_locked;
extern char *dg_authorities_file;

typedef enum DgLimitAction
{
	DG_LIMIT_ERROR,
	DG_LIMIT_WARNING
}			DgLimitAction;

extern int64 dg_retention;

/* deletion_guard.ddl, and whether our own tables may be published */
typedef enum DgDdlMode
{
	DG_DDL_REFUSE,
	DG_DDL_KEEP,
	DG_DDL_ALLOW
}			DgDdlMode;

extern int	dg_ddl;
extern int	dg_publication;
extern bool dg_ddl_allowed(void);
extern bool dg_ddl_keeps(void);
extern bool dg_publication_allowed(void);

/* objects.c */
extern void dg_follow_relcache(RelcacheCallbackFunction follower);
typedef struct DgObjects
{
	Oid			owner;			/* of the extension */
	Oid			schema;			/* deletion_guard */
	Oid			bin_schema;		/* deletion_guard_bin */
	Oid			internal_schema;	/* deletion_guard_internal */
	Oid			tenant_table;
	Oid			guard;
	Oid			guard_pkey;
	Oid			guard_step;
	Oid			guard_step_pkey;
	Oid			guarded_schema;
	Oid			schema_pattern;
	Oid			left_unguarded;
	Oid			bin;
	Oid			bin_relation_idx;
	Oid			bin_bin_table_key;
	Oid			bin_id_seq;
	Oid			deletion_id_seq;
	Oid			deletion_link;
	Oid			deletion_link_deletion_idx;
	Oid			deletion_link_waiting_idx;
	Oid			deletion_part;
	Oid			deletion_part_pkey;
	Oid			deletion_part_tenant_idx;
	Oid			tenant_rename;
	Oid			tenant_rename_pkey;
	Oid			dropped_table;
	Oid			folded_deletion;
	Oid			tenant_wipe;
	Oid			tenant_wipe_at_idx;
	Oid			authority;
	Oid			authority_pkey;
	Oid			approval_policy;
	Oid			used_token;
	Oid			used_token_pkey;
	Oid			hold;
	Oid			hold_pkey;
	Oid			hold_id_seq;
	Oid			purge_request_record;
	Oid			purge_request_record_pkey;
	Oid			purge_request_record_tenant_idx;
	Oid			purge_request_id_seq;
	Oid			purge_request_part;
	Oid			purge_request_part_pkey;
	Oid			purge_record;
	Oid			purge_record_pkey;
	Oid			purge_id_seq;
	Oid			purge_table;
	Oid			purge_table_pkey;
	Oid			purged_key;
	Oid			purged_key_pkey;
	Oid			refusal;
	Oid			refusal_pkey;
	Oid			rehydration_record;
	Oid			drill_result;
	Oid			installation;
} DgObjects;

extern bool dg_present(void);
extern bool dg_installed(void);
extern bool dg_installing(void);
extern const DgObjects *dg_objects(void);
extern const DgObjects *dg_known_objects(void);
extern void dg_objects_init(void);
extern void dg_objects_forget(void);
extern char *dg_relation_name(Oid relid);
extern char *dg_own_rows(Oid relid);
extern char *dg_type_name(Oid type);
extern char *dg_equality_operator(Oid type);

/* canonical.c */
extern int	dg_canonical_output_begin(void);
extern int	dg_canonical_input_begin(void);
extern bool dg_canonical_always(Oid type);
extern char *dg_canonical_text(Oid type, Datum value);
extern char *dg_value_text(Oid type, Datum value);
extern Datum dg_value_of_text(Oid type, int32 typmod, const char *text);

/* fkey.c */
extern List *dg_foreign_keys(Relation rel);
extern Oid	dg_constraint_of(Oid constraint, Oid relid);
extern struct ForeignKeyCacheInfo *dg_foreign_key_of(Oid constraint);

extern bool dg_is_store(Oid relid);
extern bool dg_on_duty(void);

/* role.c */

/* Who to be again after having been somebody else. */
typedef struct DgRole
{
	Oid			id;
	int			sec_context;
	int			nestlevel;		/* of settings; 0: they stay */
} DgRole;

extern DgRole dg_role_now(void);
extern DgRole dg_role_become(Oid role, int sec_context);
extern DgRole dg_role_enter(Oid role, int sec_context);
extern void dg_role_leave(DgRole caller);
extern Oid	dg_relation_owner(Oid relid);
extern char *dg_session_role(void);

/* query.c */

/* As whom a query runs. There is no default. */
typedef enum DgAs
{
	DG_AS_CALLER = 1,
	DG_AS_OWNER,				/* of the one table that it is about */
	DG_AS_US					/* the extension's owner: about our own
								 * tables, and the catalogs */
} DgAs;

typedef struct DgQuery
{
	const char *sql;
	DgAs		as;
	int			nargs;
	Oid		   *types;
	Datum	   *values;
	const char *nulls;			/* as SPI has it; NULL: no argument is null */
	Oid			table;			/* whose owner DG_AS_OWNER is */
	Snapshot	snapshot;		/* by which it reads, and writes nothing;
								 * NULL: as any statement of the transaction */
	long		count;			/* of rows, at most; 0: all */
	SPIPlanPtr *plan;			/* keeps the plan from call to call, with a
								 * snapshot; NULL: none is kept */
	bool		for_session;	/* the plan is kept until the session ends */
	bool		discard;		/* the rows are of no interest; no arguments */
} DgQuery;

typedef void (*DgQuerySink) (void *arg, HeapTuple tuple, TupleDesc desc);

/* with members of DgQuery: dg_query("...", DG_AS_US, 1, types, values) */
#define dg_query(...)	dg_query_run(&(DgQuery) {__VA_ARGS__})
#define dg_query_each(sink, arg, ...)	dg_query_read(&(DgQuery) {__VA_ARGS__}, sink, arg)

extern List *dg_query_tables(Oid relid);
extern List *dg_query_tables_inherited(Oid relid);
extern uint64 dg_query_run(const DgQuery *query);
extern void dg_query_read(const DgQuery *query, DgQuerySink sink, void *arg);
extern void dg_query_put(void *tuplestore, HeapTuple tuple, TupleDesc desc);
extern void dg_query_register_rows(const char *name, Tuplestorestate *rows, TupleDesc desc);
extern char *dg_row_text(uint64 row, int column);
extern Datum dg_row_datum(uint64 row, int column, bool *isnull);
extern int64 dg_row_int64(uint64 row, int column, bool *isnull);
extern List *dg_row_oids(int column);

/* worker.c */
extern bool dg_worker_start(const char *function, const char *name, const char *type, Datum arg,
							const void *extra, Size size);
extern void dg_worker_unblock(void);
extern void dg_worker_begin(void);
extern void dg_worker_commit(void);

/* counter.c: in the order of the columns of stat_deletion_guard */
typedef enum DgCounter
{
	DG_COUNT_DELETIONS,
	DG_COUNT_ROWS_DELETED,
	DG_COUNT_TENANTS_DELETED,
	DG_COUNT_UNDELETES,
	DG_COUNT_ROWS_UNDELETED,
	DG_COUNT_PURGES,
	DG_COUNT_ROWS_PURGED,
	DG_COUNT_REHYDRATES,
	DG_COUNT_ROWS_REHYDRATED,
	DG_COUNT_REFUSED_CEILING,
	DG_COUNT_REFUSED_EXPECTED,
	DG_COUNT_REFUSED_DDL,
	DG_COUNT_REFUSED_WRITE,
	DG_COUNT_REFUSED_ROW,
	DG_COUNT_REFUSED_RESTORE,
	DG_COUNT_REFUSED_TOKEN,
	DG_COUNT_REFUSED_PURGE,
	DG_COUNT_REFUSED_ARCHIVE,
	DG_COUNTERS					/* how many */
} DgCounter;

extern void dg_counter_attach(void);
extern void dg_counter_add(DgCounter counter, int64 n);
extern void dg_counter_refusal(int sqlstate);
extern void dg_counter_init(void);

/* argument.c */
extern void dg_require_argument(FunctionCallInfo fcinfo, int n, const char *name);
extern const char *dg_printable(const char *message);

/* array.c */
extern Datum dg_array(Datum *elems, int n, Oid type);
extern Datum dg_oid_array(List *oids);
extern Datum dg_name_array(List *names);
extern List *dg_array_strings(Datum array);
extern List *dg_array_oids(Datum array);

/* ordinary.c */

/* What makes a table other than ordinary, as in "it is ...", and what to do. */
typedef struct DgOddity
{
	const char *what;			/* NULL: it is ordinary */
	const char *hint;
	bool		managed;		/* by another extension */
	bool		unknown;		/* it cannot be told whether it is */
} DgOddity;

extern bool dg_is_odd(Oid relid, DgOddity *odd);
extern bool dg_has_odd_member(Oid *relid, DgOddity *odd);
extern void dg_ordinary_require_target(Oid relid);

/* hypertable.c */
extern bool dg_is_hypertable(Oid relid);
extern Oid	dg_hypertable_of(Oid relid);
extern bool dg_has_parts(Oid relid);
extern bool dg_is_part(Oid relid);
extern bool dg_hypertable_is_odd(Oid relid, DgOddity *odd);
extern bool dg_hypertable_is_new(Oid relid);
extern Oid	dg_hypertable_signal(void);

/* lock.c */
extern void dg_lock_object(Oid classid, Oid objid, LOCKMODE mode);
extern bool dg_lock_object_within(Oid classid, Oid objid, LOCKMODE mode, int timeout);

/* tidlog.c */

/* A row's address, as a number that orders rows as they are in the table. */
#define DG_TID_ADDRESS(tid) \
	(((int64) ItemPointerGetBlockNumberNoCheck(tid) << 16) | ItemPointerGetOffsetNumberNoCheck(tid))
#define DG_TID_BLOCK(address)	((BlockNumber) ((address) >> 16))
#define DG_TID_OFFSET(address)	((OffsetNumber) ((address) & 0xffff))

typedef struct DgTidEntry
{
	int64		address;
	CommandId	cid;
} DgTidEntry;

typedef struct DgTidLog DgTidLog;

extern DgTidLog *dg_tidlog_begin(MemoryContext context);
extern void dg_tidlog_add(DgTidLog *log, CommandId cid, ItemPointer tid);
extern int64 dg_tidlog_count(const DgTidLog *log);
extern void dg_tidlog_rewind(DgTidLog *log);
extern bool dg_tidlog_next(DgTidLog *log, DgTidEntry *entry);
extern void dg_tidlog_end(DgTidLog *log);

/* subxact.c */
extern ErrorData *dg_try(void (*work) (void *arg), void *arg, bool keep);

/* ledger_digest.c */
extern void dg_sha256(const void *data, size_t len, uint8 *digest);
extern char *dg_hex(const uint8 *bytes, int len);
extern const uint8 *dg_digest_bytes(Datum value);
extern bytea *dg_bytea(const void *bytes, int len);
extern void dg_put_text(StringInfo buf, const char *value);
extern void dg_put_utf8(StringInfo buf, const char *value);
extern void dg_put_int64(StringInfo buf, int64 value);
extern char *dg_json_string(const char *value);
extern char *dg_json_member(Jsonb *object, const char *name);

#endif							/* DELETION_GUARD_H */
