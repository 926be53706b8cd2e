/*
 * enrol.h
 *		Tables come under guard, and leave it.
 */
#ifndef DG_ENROL_H
#define DG_ENROL_H

#include "nodes/pg_list.h"
#include "utils/relcache.h"

/* enrol.c */
extern void dg_guard_enrol(Oid relid, const char *tenant_column, List *tenant_path);
extern bool dg_guard_require(Relation rel, int elevel);
extern void dg_guard_lock_owned(Oid relid);
extern void dg_guard_remove(Oid relid);

#endif							/* DG_ENROL_H */
