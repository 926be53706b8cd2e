/*
 * ledger.h
 *		The hash-chained record of what was done, and what must be on record though the transaction fails.
 */
#ifndef DG_LEDGER_H
#define DG_LEDGER_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#include "common/deletion_guard.h"

#define DG_DIGEST_SIZE		32	/* SHA-256 */

/* ledger.c */
extern void dg_ledger_init(void);
extern void dg_ledger_append(const char *event, const char *details);
extern int64 dg_ledger_append_now(const char *event, const char *details);
extern void dg_ledger_flush(void);
extern bool dg_ledger_entry(int64 id, char **event, char **details, char **hash);
extern TimestampTz dg_ledger_clock(void);
extern bool dg_ledger_is_live(void);

/* ledger.c: an entry, for readers of the ledger */
typedef struct DgLedgerEntry
{
	int64		id;
	TimestampTz at;
	const char *event;
	const char *role;
	const char *details;
	const uint8 *prev_hash;		/* DG_DIGEST_SIZE bytes each */
	const uint8 *hash;
} DgLedgerEntry;

/* ledger_verify.c */

/* Where a walk along the chain has got to. */
typedef struct DgLedgerWalk
{
	int64		entries;
	int64		id;				/* of the last entry */
	TimestampTz at;
	uint8		hash[DG_DIGEST_SIZE];
	int			problems;
	StringInfoData text;		/* the first of them */
} DgLedgerWalk;

typedef void (*DgLedgerVisit) (const DgLedgerEntry *entry, void *arg);

extern void dg_ledger_walk(DgLedgerWalk *walk, int64 head_entry, const char *head_hash, DgLedgerVisit visit, void *arg);
extern void dg_ledger_add_problem(DgLedgerWalk *walk, const char *fmt,...) pg_attribute_printf(2, 3);
extern void dg_ledger_add_missing(DgLedgerWalk *walk, int64 first, int64 last, const char *where);
extern char *dg_ledger_problems(DgLedgerWalk *walk);

/* ledger_autonomous.c */
#define DG_CHANNEL "deletion_guard"

extern bool dg_ledger_autonomous(const char *event, const char *details, const char *payload);

/* ledger_refusal.c */

/* what the ledger calls a refused act of purge */
#define DG_EVENT_REFUSAL	"refusal"

#endif							/* DG_LEDGER_H */
