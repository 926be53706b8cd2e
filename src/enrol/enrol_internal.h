/*
 * enrol_internal.h
 *		What the files of enrol/ share among themselves.
 */
#ifndef DG_ENROL_INTERNAL_H
#define DG_ENROL_INTERNAL_H

#include "enrol/enrol.h"

/* enrol.c */
extern void dg_enrol_check_owner(Relation rel);
extern bool dg_enrol_is_unlogged(Oid relid);
extern void dg_enrol_record(Oid relid);

#endif							/* DG_ENROL_INTERNAL_H */
