/*
 * enrol.h
 *		Tables come under guard, and leave it.
 */
#ifndef DG_ENROL_H
#define DG_ENROL_H

#include "nodes/pg_list.h"
#include "utils/relcache.h"

/* enrol.c */
extern void dg_enrol_table(Oid relid, const char *tenant_column, List *tenant_path);
extern bool dg_enrol_require(Relation rel, int elevel);
extern void dg_enrol_lock_owned(Oid relid);
extern void dg_enrol_remove(Oid relid);

#endif							/* DG_ENROL_H */
