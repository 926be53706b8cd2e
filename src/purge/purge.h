/*
 * purge.h
 *		Destroying for good, under tokens.
 */
#ifndef DG_PURGE_H
#define DG_PURGE_H

#include "common/cryptohash.h"
#include "common/own_tables.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

#include "common/deletion_guard.h"

/* purge_subtract.c */

typedef struct DgPurgeSubtract DgPurgeSubtract;

extern DgPurgeSubtract *dg_purge_subtract_begin(Oid relid, TupleDesc desc, List *tenants);
extern void dg_purge_subtract_require(const DgPurgeSubtract *subtract, List *has);
extern int64 dg_purge_of_row(DgPurgeSubtract *subtract, TupleTableSlot *slot);

/* purge_key.c */
extern void dg_purge_salted_digest(const uint8 *salt, const char *value, uint8 *digest);

/* purge_log.c */
extern void dg_purge_log_init(void);

#endif							/* DG_PURGE_H */
