/*
 * limit.h
 *		How much may be deleted at once: ceilings, what sessions expect, and who is
 *		told.
 */
#ifndef DG_LIMIT_H
#define DG_LIMIT_H

#include "deletion_guard.h"

#include "utils/guc.h"

/* limit_expect.c */
extern bool dg_check_expect_tenants(char **newval, void **extra, GucSource source);
extern bool dg_expects_tenant(const char *tenant);
#define dg_expecting() (dg_expect_tenants != NULL && dg_expect_tenants[0] != '\0')

/* limit.c */

/* Ceilings, as bits. */
#define DG_CEILING_ROWS		0x01
#define DG_CEILING_TENANTS	0x02
#define DG_CEILING_WIPES	0x04
#define DG_CEILING_EXPECTED	0x08

/* One capture, as seen by the ceilings. */
typedef struct DgLimit
{
	Oid			root;			/* the enrolled table */
	int64		rows;			/* of this capture; counted by the caller */
	int64		free_rows;		/* beyond these, ask dg_limit_row() */
	int64		rows_before;	/* of the statement's earlier captures */
	int64		wiped;			/* rows of the tenant table in the last hour */
	bool		exempt;
	bool		tenants;		/* dg_limit_tenant() wants to know of each tenant */
	bool		wipes;			/* these are rows of the tenant table */
	bool		stopped;		/* the statement will be refused */
	int			exceeded;		/* ceilings */
	char	   *unexpected;		/* tenant that was not expected; NULL: no known one */
} DgLimit;

typedef struct DgLimitState DgLimitState;

extern void dg_limit_init(void);
extern void dg_limit_begin(DgLimit *limit, Oid root, bool exempt);
extern void dg_limit_tenant(DgLimit *limit, const char *tenant);
extern bool dg_limit_row(DgLimit *limit);
extern void dg_limit_end(DgLimit *limit, int64 deletion);
extern void dg_limit_add_known(DgTextSet *tenants);
extern bool dg_limit_observing(void);
extern DgLimitState *dg_limit_suspend(int *observed);
extern void dg_limit_resume(DgLimitState *saved);

/* limit_report.c */
struct DgTotal;
extern void dg_limit_report(const DgLimit *limit, int64 deletion, struct DgTotal *capture);
extern bool dg_limit_may_tell(Oid relid, Oid role);
extern const char *dg_ceiling_name(int exceeded, int *limit);
extern char *dg_ceiling_effect(int ceiling);

/* limit_wipe.c */
extern void dg_wipe_expect(const PlannedStmt *stmt, int eflags);
extern int64 dg_wipe_begin(void);
extern void dg_wipe_end(int64 deletion, int64 rows);

/* limit_announce.c */
#define DG_ANNOUNCE_WIPE	0x10	/* beside the ceilings */

extern void dg_announce_init(void);
extern void dg_announce(int64 deletion, int what);

#endif							/* DG_LIMIT_H */
