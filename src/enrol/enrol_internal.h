/*
 * enrol_internal.h
 *		What the files of enrol/ share among themselves.
 */
#ifndef DG_ENROL_INTERNAL_H
#define DG_ENROL_INTERNAL_H

#include "nodes/execnodes.h"

#include "enrol/enrol.h"

/* enrol.c */
extern void dg_enrol_check_owner(Relation rel);
extern bool dg_enrol_is_unlogged(Oid relid);
extern void dg_enrol_record(Oid relid);
extern char *dg_enrol_tenant(Oid relid, const char *tenant);

/* enrol_path.c */
extern void dg_enrol_read_path(Relation rel, Datum value, DgTenantSource *source);
extern void dg_enrol_register_steps(Oid relid, List *steps);

/* enrol_schema.c */

/* What became of the tables of a schema. */
typedef struct DgSchemaReport
{
	ReturnSetInfo *rsinfo;		/* gets a row for each; NULL: they are counted */
	int64		tables;			/* that are guarded */
	StringInfoData problems;	/* of those that are not */
} DgSchemaReport;

extern void dg_enrol_schema(DgSchemaReport *report, Oid nspid, const DgTenantSource *source, bool include_future);
extern void dg_enrol_register_schema(const char *name, const DgTenantSource *source);

/* enrol_leave.c */
extern void dg_enrol_leave(Oid relid);
extern void dg_enrol_forget_left(Oid relid);
extern char *dg_enrol_left(Oid relid);

#endif							/* DG_ENROL_INTERNAL_H */
