/*
 * protect.h
 *		What must not happen to guarded tables and to what is kept.
 */
#ifndef DG_PROTECT_H
#define DG_PROTECT_H

#include "catalog/objectaccess.h"
#include "executor/execdesc.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "nodes/plannodes.h"
#include "utils/relcache.h"

#include "common/deletion_guard.h"
#include "common/frame.h"

/* protect_hooks.c */
extern void dg_protect_hooks_init(void);

/* protect_taken.c */
extern void dg_protect_taken_init(void);

/* protect_command.c */
extern void dg_protect_command_maintain(void);

/* protect_store.c */
extern bool dg_protect_store_has_rows(Oid relid);
extern void dg_protect_store_allow_drop(void);

#endif							/* DG_PROTECT_H */
