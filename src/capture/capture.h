/*
 * capture.h
 *		Rows go in: from a DELETE to the bin.
 */
#ifndef DG_CAPTURE_H
#define DG_CAPTURE_H

#include "access/genam.h"
#include "catalog/objectaccess.h"
#include "executor/execdesc.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "nodes/plannodes.h"
#include "utils/guc.h"
#include "utils/relcache.h"

#include "bin/bin.h"
#include "guard/guard.h"

/* capture_deletion.c */

/* The deletion that the current statement makes. */
typedef struct DgDeletion
{
	int64		id;				/* 0: none */
	uint64		statement;		/* serial of its top-level statement */
	SubTransactionId subid;		/* that began it */
	SubTransactionId recorded;	/* that wrote its record; invalid: none has */
	TimestampTz made_at;
	Oid			role;			/* that ran the statement */
	int32		parts;
} DgDeletion;

/* Rows, and the tenants they belong to. */
typedef struct DgTotal
{
	int64		rows;
	DgTextSet  *tenants;		/* in the order they came */
} DgTotal;

extern void dg_capture_deletion_init(void);
extern DgDeletion dg_capture_deletion_suspend(void);
extern void dg_capture_deletion_resume(DgDeletion saved);
extern bool dg_capture_deletion_exists(void);
extern int64 dg_capture_deletion_current(void);
extern DgTotal *dg_capture_total_begin(Oid relid);
extern void dg_capture_total_add(DgTotal *total, const char *tenant, int64 rows);

/* capture_part.c */
extern void dg_capture_total_add_deletion(DgTotal *total, int64 deletion);

/* capture.c */
extern bool dg_capture_is_anothers(Relation rel, TupleTableSlot *slot, const char *tenant);
extern bool dg_capture_displaced(Relation rel, TupleTableSlot *slot, const char *tenant);
extern int64 dg_capture_dropped(Relation rel);
extern int64 dg_capture_column(Relation rel, AttrNumber attnum, DgBinPlan *plan);

/* capture_tenant.c */

typedef struct DgTenantResolver DgTenantResolver;

extern DgTenantResolver *dg_capture_tenant_resolver_of(Relation rel);
extern char *dg_capture_tenant_of(DgTenantResolver *resolver, TupleTableSlot *slot);
extern void dg_capture_tenant_resolver_end(DgTenantResolver *resolver);

/* capture_limit.c */
extern void dg_capture_limit_init(void);

/* capture_limit_expect.c */
extern char *dg_expect_tenants;

extern bool dg_capture_check_expect_tenants(char **newval, void **extra, GucSource source);

/* capture_limit_wipe.c */
extern void dg_capture_wipe_expect(const PlannedStmt *stmt, int eflags);

/* capture_limit_announce.c */
extern void dg_capture_announce_init(void);

/* capture_link.c */
extern bool dg_capture_link_is_taken_by(ForeignKeyCacheInfo *fkey);
extern void dg_capture_link_rename_column(Oid relid, const char *old, const char *new);

/* capture_rename.c */
extern void dg_capture_rename_init(void);

/* capture_present.c */

typedef struct DgRenamedColumns DgRenamedColumns;
typedef struct DgRenamedTexts DgRenamedTexts;

extern DgRenamedColumns *dg_capture_renamed_columns(Relation rel, TupleDesc desc);
extern void dg_capture_rename_values(DgRenamedColumns *columns, int64 deletion, Datum *values, const bool *nulls);
extern DgRenamedTexts *dg_capture_renamed_texts(Oid relid);
extern void dg_capture_rename_texts(const DgRenamedTexts *texts, int64 deletion, List *columns, List *values);

/* capture_open.c */
extern void dg_capture_open_before(const PlannedStmt *stmt);
extern void dg_capture_open_end(bool whole_statement);
extern void dg_capture_open_init(void);

/* capture_merge.c */
extern bool dg_capture_merge_hides_rows(void);
extern bool dg_capture_merge_deletes(const ModifyTable *plan);
extern void dg_capture_merge_prepare(QueryDesc *query);
extern List *dg_capture_merge_roots(QueryDesc *query);

/* capture_note.c */
extern void dg_capture_trail_prepare(QueryDesc *query);
extern void dg_capture_trail_ran(QueryDesc *query);
extern void dg_capture_trail_finish(QueryDesc *query);

/* capture_move.c */
extern void dg_capture_move_prepare(QueryDesc *query, bool certain);
extern void dg_capture_move_ran(QueryDesc *query);
extern void dg_capture_move_pause(const EState *estate);
extern void dg_capture_move_resume(const EState *estate, bool failed);
extern void dg_capture_move_init(void);
extern void dg_capture_stayed_init(void);

/* capture_account.c */
extern int64 dg_capture_balance_so_far(Relation rel, int64 *written);
extern void dg_capture_balance_moved(Oid root);

/* capture_balance.c */

/* An INSERT ... ON CONFLICT into a guarded table, as it begins to run. */
typedef struct DgUpsert
{
	Oid			root;			/* InvalidOid: it is none */
	int64		deleted;		/* from the table, as the server has counted */
	int64		written;
	int64		expected;		/* deletions, by what was kept */
	uint64		processed;
} DgUpsert;

extern void dg_capture_balance_look(void);
extern void dg_capture_balance_leave(Oid root, List *relids);
extern DgUpsert dg_capture_balance_upsert_begin(QueryDesc *query);
extern void dg_capture_balance_upsert_end(const DgUpsert *upsert, QueryDesc *query);
extern void dg_capture_balance_check(Oid root);
extern void dg_capture_balance_init(void);

/* capture_empty.c */
extern void dg_capture_empty_check(void);
extern void dg_capture_empty_excuse(Oid relid);
extern void dg_capture_empty_init(void);

#endif							/* DG_CAPTURE_H */
