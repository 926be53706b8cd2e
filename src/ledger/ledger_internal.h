/*
 * ledger_internal.h
 *		What the files of ledger/ share among themselves.
 */
#ifndef DG_LEDGER_INTERNAL_H
#define DG_LEDGER_INTERNAL_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#include "ledger/ledger.h"

/* ledger.c */
extern Relation dg_ledger_open(LOCKMODE lockmode, Oid *pkey);
extern bool dg_ledger_read(HeapTuple tuple, TupleDesc desc, DgLedgerEntry *entry);
extern void dg_ledger_hash(const DgLedgerEntry *entry, uint8 *hash);

/* ledger_refusal.c */
extern void dg_ledger_refusal_record(const char *event, const char *details);

#endif							/* DG_LEDGER_INTERNAL_H */
