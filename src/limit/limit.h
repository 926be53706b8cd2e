/*
 * limit.h
 *		How much may be deleted at once.
 */
#ifndef DG_LIMIT_H
#define DG_LIMIT_H

#include "utils/guc.h"

#include "common/deletion_guard.h"

/* limit_expect.c */
extern bool dg_check_expect_tenants(char **newval, void **extra, GucSource source);

/* limit.c */

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

extern void dg_limit_init(void);
extern void dg_limit_begin(DgLimit *limit, Oid root, bool exempt);
extern void dg_limit_tenant(DgLimit *limit, const char *tenant);
extern bool dg_limit_row(DgLimit *limit);
extern void dg_limit_end(DgLimit *limit, int64 deletion);

/* limit_report.c */

struct DgTotal;

extern void dg_limit_report(const DgLimit *limit, int64 deletion, struct DgTotal *capture);

/* limit_wipe.c */
extern void dg_wipe_expect(const PlannedStmt *stmt, int eflags);

/* limit_announce.c */
extern void dg_announce_init(void);

#endif							/* DG_LIMIT_H */
