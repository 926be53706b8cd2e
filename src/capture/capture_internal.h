/*
 * capture_internal.h
 *		What the files of capture/ share among themselves.
 */
#ifndef DG_CAPTURE_INTERNAL_H
#define DG_CAPTURE_INTERNAL_H

#include "access/genam.h"
#include "catalog/objectaccess.h"
#include "executor/execdesc.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "nodes/plannodes.h"
#include "utils/relcache.h"

#include "capture/capture.h"
#include "bin/bin.h"
#include "guard/guard.h"

/* capture_part.c */

/* The rows of one tenant in one capture, or in several. */
typedef struct DgPart
{
	int64		deletion;
	int32		part;
	int32		rows;
	int32		bin_id;
	Oid			filenode;		/* of the bin table */
	char	   *text;			/* the tenant's key, or NULL */
	char	   *name;
	char	   *contact;
	DgBlocks   *blocks;			/* NULL: none */

	/* see capture_open.c */
	bool		open;
	bool		in_use;			/* by a capture that has not ended */
	CommandId	cid;			/* that captured the last row */
	SubTransactionId subid;		/* that captured the rows */
	SubTransactionId written;	/* that has written it; invalid: none has */
} DgPart;

/* capture_deletion.c */
extern bool dg_capture_deletion_has_parts(void);
extern bool dg_capture_deletion_is(int64 deletion);
extern bool dg_capture_deletion_is_recorded(void);
extern void dg_capture_deletion_record(CommandId cid);
extern int32 dg_capture_deletion_next_part(void);
extern void dg_capture_deletion_add_part(const DgPart *part, CommandId cid);

/* capture_trail.c */

typedef struct DgTrailWalk DgTrailWalk;

extern DgTrailWalk *dg_capture_trail_walk(Relation rel);
extern TupleTableSlot *dg_capture_trail_next(DgTrailWalk *walk);
extern void dg_capture_trail_end(DgTrailWalk *walk);

/* capture.c */
extern void dg_capture_along_trail(Relation rel);

/* capture_link.c */
extern void dg_capture_link_note_lost(Relation rel, TupleTableSlot *before, TupleTableSlot *after);

/* capture_tenant.c */
extern DgTenantResolver *dg_capture_tenant_resolver_begin(DgGuard *guard, DgBinPlan *plan, Relation rel);
extern Datum dg_capture_tenant_resolve(DgTenantResolver *resolver, TupleTableSlot *slot, bool *isnull);
extern void dg_capture_tenant_resolver_type(DgTenantResolver *resolver, int16 *len, bool *byval);
extern char *dg_capture_tenant_text(DgTenantResolver *resolver, Datum tenant);

/* capture_rename.c */
extern void dg_capture_rename_not_moved(Oid relid, ItemPointer tid);
extern int64 dg_capture_draw_number(void);

/* capture_part.c */

typedef struct DgParts DgParts;

extern DgParts *dg_capture_parts_begin(const DgBinPlan *plan, DgTenantResolver *resolver,
									   int64 deletion, Oid filenode, bool stay_open);
extern DgPart *dg_capture_parts_of_row(DgParts *parts, DgTenantResolver *resolver,
									   TupleTableSlot *slot, bool *created);
extern void dg_capture_parts_end(DgParts *parts);
extern void dg_capture_parts_add(DgTotal *total, DgParts *parts);

/* capture_open.c */
extern MemoryContext dg_capture_open_context(void);
extern DgPart *dg_capture_open_find(DgPart *like);
extern void dg_capture_open_add(DgPart *part);
extern void dg_capture_open_release(DgPart *part);
extern void dg_capture_open_add_to_total(DgTotal *total, int64 deletion);

/* capture_merge.c */
extern void dg_capture_merge_check_unseen(Relation rel);

/* capture_stretch.c */

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

extern DgTrail *dg_capture_trail_find(Oid relid, const EState *firing);
extern DgTrail *dg_capture_trail_of(Oid relid, EState *firing);
extern DgTidLog *dg_capture_trail_log(DgTrail *trail, Oid relid);
extern void dg_capture_trail_add(Oid relid, EState *firing, Oid partition, CommandId cid, ItemPointer tid);
extern DgTrail *dg_capture_trail_take(Oid relid);

/* capture_move.c */

/* capture_stayed.c */
extern void dg_capture_move_note_stayed(Oid relid, CommandId cid, ItemPointer tid);
extern bool dg_capture_move_stayed(Relation rel, HeapTuple tuple);
extern bool dg_capture_move_arrived(Oid root, HeapTuple row);

/* capture_account.c */

/* What one subtransaction did to one enrolled table. */
typedef struct DgAccount
{
	Oid			root;
	SubTransactionId subid;
	int64		kept;			/* rows */
	int64		moved;
	int64		corrected;
	int64		by_row;			/* of those kept, see
								 * dg_capture_balance_row_kept() */
	int64		deleted;		/* as the server has counted, while accounts
								 * are compared */
	struct DgAccount *next;
} DgAccount;

extern struct PgStat_TableXactStatus *dg_capture_balance_next(struct PgStat_SubXactStatus **level,
															  struct PgStat_TableXactStatus *counts);
extern int64 dg_capture_balance_deleted(const struct PgStat_TableXactStatus *counts, int64 *written);
extern void dg_capture_balance_kept(Oid root, int64 rows);
extern void dg_capture_balance_row_kept(Oid root);
extern int64 dg_capture_balance_take_row_kept(Oid root);
extern void dg_capture_balance_corrected(Oid root, int64 rows);
extern DgAccount *dg_capture_account_of(Oid root);
extern DgAccount dg_capture_account_sum(Oid root);
extern int64 dg_capture_account_expected(Oid root);
extern void dg_capture_account_pass_on(SubTransactionId subid, SubTransactionId parent);
extern void dg_capture_account_drop(SubTransactionId subid);
extern void dg_capture_account_reset(void);
extern DgAccount *dg_capture_account_first(void);
extern bool dg_capture_account_is_counted(void);

/* capture_empty.c */
extern void dg_capture_empty_begin(Relation rel);
extern void dg_capture_empty_require(Oid relid);

/* capture_recount.c */
extern bool dg_capture_recount(Oid root, int64 *deleted, int64 *moved);

/* capture_limit_ceiling.c */

/* Ceilings, as bits. */
#define DG_CEILING_ROWS		0x01
#define DG_CEILING_TENANTS	0x02
#define DG_CEILING_WIPES	0x04
#define DG_CEILING_EXPECTED	0x08

extern const char *dg_capture_ceiling_name(int exceeded, int *limit);
extern char *dg_capture_ceiling_effect(int ceiling);

/* capture_limit_expect.c */
extern bool dg_capture_expects_tenant(const char *tenant);

#define dg_expecting() (dg_expect_tenants != NULL && dg_expect_tenants[0] != '\0')

/* capture_limit.c */

/* One capture, as seen by the ceilings. */
typedef struct DgLimit
{
	Oid			root;			/* the enrolled table */
	int64		rows;			/* of this capture; counted by the caller */
	int64		free_rows;		/* beyond these, ask dg_capture_limit_row() */
	int64		rows_before;	/* of the statement's earlier captures */
	int64		wiped;			/* rows of the tenant table in the last hour */
	bool		exempt;
	bool		tenants;		/* dg_capture_limit_tenant() wants to know of
								 * each tenant */
	bool		wipes;			/* these are rows of the tenant table */
	bool		stopped;		/* the statement will be refused */
	int			exceeded;		/* ceilings */
	char	   *unexpected;		/* tenant that was not expected; NULL: no
								 * known one */
} DgLimit;

extern void dg_capture_limit_begin(DgLimit *limit, Oid root, bool exempt);
extern void dg_capture_limit_tenant(DgLimit *limit, const char *tenant);
extern bool dg_capture_limit_row(DgLimit *limit);
extern void dg_capture_limit_end(DgLimit *limit, int64 deletion);

typedef struct DgLimitState DgLimitState;

extern void dg_capture_limit_add_known(DgTextSet *tenants);
extern bool dg_capture_limit_observing(void);
extern DgLimitState *dg_capture_limit_suspend(int *observed);
extern void dg_capture_limit_resume(DgLimitState *saved);

/* capture_limit_preview.c */
extern void dg_capture_preview_note(Oid relid, ItemPointer tid);

/* capture_limit_report.c */
extern void dg_capture_limit_report(const DgLimit *limit, int64 deletion, DgTotal *capture);

/* capture_limit_wipe.c */
extern int64 dg_capture_wipe_begin(void);
extern void dg_capture_wipe_end(int64 deletion, int64 rows);

/* capture_limit_announce.c */

#define DG_ANNOUNCE_WIPE	0x10	/* beside the ceilings */

extern void dg_capture_announce(int64 deletion, int what);

#endif							/* DG_CAPTURE_INTERNAL_H */
