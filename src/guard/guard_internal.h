/*
 * guard_internal.h
 *		What the files of guard/ share among themselves.
 */
#ifndef DG_GUARD_INTERNAL_H
#define DG_GUARD_INTERNAL_H

#include "catalog/objectaccess.h"
#include "executor/execdesc.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "nodes/plannodes.h"
#include "utils/relcache.h"

#include "guard/guard.h"

/* guard_tenant.c */
extern uint64 dg_tenant_generation(void);
extern uint64 *dg_tenant_hashes(const char *tenant, int *n);

#endif							/* DG_GUARD_INTERNAL_H */
