/*
 * enrol.h
 *		Tables come under guard, and leave it.
 */
#ifndef DG_ENROL_H
#define DG_ENROL_H

#include "nodes/pg_list.h"
#include "utils/relcache.h"

#include "guard/guard.h"

/* enrol.c */
extern void dg_enrol_table(Oid relid, const DgTenantSource *source);
extern bool dg_enrol_require(Relation rel, int elevel);
extern void dg_enrol_lock_owned(Oid relid);
extern void dg_enrol_remove(Oid relid);

/* enrol_schema.c */
extern bool dg_enrol_source_in_schema(Relation rel, const DgTenantSource *of_schema, DgTenantSource *source,
									  char **problem);

/* enrol_schemas.c */
extern bool dg_enrol_by_pattern(Oid nspid, char **problem);

#endif							/* DG_ENROL_H */
