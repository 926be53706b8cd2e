/*
 * ledger.h
 *		The hash-chained record of what was done.
 */
#ifndef DG_LEDGER_H
#define DG_LEDGER_H

#include "deletion_guard.h"

/* ledger.c */
extern int64 dg_ledger_append(const char *event, const char *details);
extern char *dg_json_string(const char *value);

#endif							/* DG_LEDGER_H */
