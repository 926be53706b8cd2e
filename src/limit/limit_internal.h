/*
 * limit_internal.h
 *		What the files of limit/ share among themselves.
 */
#ifndef DG_LIMIT_INTERNAL_H
#define DG_LIMIT_INTERNAL_H

#include "utils/guc.h"

#include "limit/limit.h"

/* limit_expect.c */
extern bool dg_expects_tenant(const char *tenant);

#define dg_expecting() (dg_expect_tenants != NULL && dg_expect_tenants[0] != '\0')

/* limit.c */

/* Ceilings, as bits. */
#define DG_CEILING_ROWS		0x01
#define DG_CEILING_TENANTS	0x02
#define DG_CEILING_WIPES	0x04
#define DG_CEILING_EXPECTED	0x08

typedef struct DgLimitState DgLimitState;

extern void dg_limit_add_known(DgTextSet *tenants);
extern bool dg_limit_observing(void);
extern DgLimitState *dg_limit_suspend(int *observed);
extern void dg_limit_resume(DgLimitState *saved);

/* limit_report.c */
extern bool dg_limit_may_tell(Oid relid, Oid role);
extern const char *dg_ceiling_name(int exceeded, int *limit);
extern char *dg_ceiling_effect(int ceiling);

/* limit_wipe.c */
extern int64 dg_wipe_begin(void);
extern void dg_wipe_end(int64 deletion, int64 rows);

/* limit_announce.c */

#define DG_ANNOUNCE_WIPE	0x10	/* beside the ceilings */

extern void dg_announce(int64 deletion, int what);

#endif							/* DG_LIMIT_INTERNAL_H */
