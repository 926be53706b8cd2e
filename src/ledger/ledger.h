/*
 * ledger.h
 *		The hash-chained record of what was done.
 */
#ifndef DG_LEDGER_H
#define DG_LEDGER_H

#include "deletion_guard.h"

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#define DG_DIGEST_SIZE		32	/* SHA-256 */

/* ledger_digest.c */
extern void dg_sha256(const void *data, size_t len, uint8 *digest);
extern char *dg_hex(const uint8 *bytes, int len);
extern const uint8 *dg_digest_bytes(Datum value);
extern bytea *dg_bytea(const void *bytes, int len);
extern void dg_put_text(StringInfo buf, const char *value);
extern void dg_put_utf8(StringInfo buf, const char *value);
extern void dg_put_int64(StringInfo buf, int64 value);
extern char *dg_json_string(const char *value);
extern char *dg_json_member(Jsonb *object, const char *name);

/* ledger.c */
extern void dg_ledger_init(void);
extern void dg_ledger_append(const char *event, const char *details);
extern int64 dg_ledger_append_now(const char *event, const char *details);
extern void dg_ledger_flush(void);
extern bool dg_ledger_entry(int64 id, char **event, char **details, char **hash);
extern TimestampTz dg_ledger_clock(void);
extern bool dg_ledger_is_live(void);

/* ledger.c, for who reads the ledger */
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

extern Relation dg_ledger_open(LOCKMODE lockmode, Oid *pkey);
extern bool dg_ledger_read(HeapTuple tuple, TupleDesc desc, DgLedgerEntry *entry);
extern void dg_ledger_hash(const DgLedgerEntry *entry, uint8 *hash);

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

#endif							/* DG_LEDGER_H */
