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

/* guard_enrol.c */
extern void dg_guard_check_owner(Relation rel);
extern bool dg_guard_is_unlogged(Oid relid);
extern void dg_guard_record(Oid relid);

/* guard_path.c */
extern void dg_guard_check_path(Relation rel, List *path);

/* guard_tenant.c */
extern void dg_tenant_table_altered(Oid relid);
extern uint64 dg_tenant_generation(void);
extern uint64 *dg_tenant_hashes(const char *tenant, int *n);

/* guard_trigger.c */
extern void dg_guard_drop_triggers(Oid relid);
extern void dg_guard_follow_tenants(Oid relid, bool follow);

/* guard_publication.c */
extern void dg_publication_check(const char *what);

#endif							/* DG_GUARD_INTERNAL_H */
