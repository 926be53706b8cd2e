/*
 * ledger.c
 *		Appending to the hash-chained record of what was done.
 *
 * An entry's hash is the SHA-256 of this canonical text (see ledger_digest.c),
 * all of it in UTF-8:
 *
 *		"deletion_guard ledger 1", id, at, event, role, details, prev_hash
 *
 * where "at" is microseconds since 1970-01-01 UTC and prev_hash is the
 * preceding entry's hash in hexadecimal; 64 zeros before the first.
 *
 * Locking: a transaction that writes entries holds a self-conflicting lock on
 * the ledger until the end of the transaction, so the chain never forks and
 * numbers have no gaps. The head is read with a snapshot taken after the lock
 * was granted, whatever the transaction's isolation level. The lock is taken
 * last, after table and tenant locks.
 *
 * So that nobody waits for a transaction that takes its time, entries are
 * kept in memory, in the order they were made, and written when the
 * transaction commits or is prepared: the lock is held for no longer than the
 * commit. If that fails, so does the transaction. Only an act that must know
 * its place in the chain (a purge, whatever uses up a token) has them written
 * at once, and those that were kept before it. A subtransaction that is
 * rolled back takes along the entries made in it; entries that were merely
 * written in it are kept again.
 *
 * The first entry that this installation makes is noted in the table
 * "installation", which no dump carries: from then on no dump is restored into
 * the ledger any more (see protect.c).
 *
 * "at" never goes backwards from one entry to the next: an entry made while the
 * clock is behind is dated like the one before it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "common/deletion_guard.h"
#include "common/own_tables.h"
#include "ledger/ledger_internal.h"

/* What the next entry follows. */
typedef struct LedgerHead
{
	int64		id;				/* 0: the ledger is empty */
	TimestampTz at;
	uint8		hash[DG_DIGEST_SIZE];
} LedgerHead;

/* An entry of this transaction. */
typedef struct PendingEntry
{
	char	   *event;
	char	   *role;
	char	   *details;
	SubTransactionId made_in;
	SubTransactionId written_in;	/* invalid: not written yet */
	int64		id;				/* once it is written */
} PendingEntry;

/* Of this transaction, in the order they were made; in TopTransactionContext. */
static List *pending = NIL;
static bool committing = false;

/*
 * Opens the ledger, and tells its primary key's index.
 */
Relation
dg_ledger_open(LOCKMODE lockmode, Oid *pkey)
{
	Oid			schema = dg_objects()->schema;
	Oid			relid = get_relname_relid("ledger", schema);

	*pkey = get_relname_relid("ledger_pkey", schema);
	if (!OidIsValid(relid) || !OidIsValid(*pkey))
		ereport(ERROR,
				(errcode(DG_ERRCODE_LEDGER_BROKEN),
				 errmsg("the ledger or its index is missing"),
				 errhint("Nothing is purged without it. Restore the database from a backup, as a new one.")));
	return table_open(relid, lockmode);
}

static Datum
ledger_attr(HeapTuple tuple, AttrNumber attnum, TupleDesc desc, bool *any_null)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	*any_null |= isnull;
	return value;
}

/*
 * Reads a tuple of the ledger; false if it is not an entry as this file writes
 * them; then only its number is set. What it points to is palloc'd or part of
 * the tuple.
 */
bool
dg_ledger_read(HeapTuple tuple, TupleDesc desc, DgLedgerEntry *entry)
{
	Datum		values[Natts_ledger];
	bool		any_null = false;

	for (int i = 0; i < Natts_ledger; i++)
		values[i] = ledger_attr(tuple, i + 1, desc, &any_null);
	entry->id = DatumGetInt64(values[Anum_ledger_id - 1]);
	if (any_null)
		return false;
	entry->at = DatumGetTimestampTz(values[Anum_ledger_at - 1]);
	entry->event = TextDatumGetCString(values[Anum_ledger_event - 1]);
	entry->role = TextDatumGetCString(values[Anum_ledger_role - 1]);
	entry->details = TextDatumGetCString(values[Anum_ledger_details - 1]);
	entry->prev_hash = dg_digest_bytes(values[Anum_ledger_prev_hash - 1]);
	entry->hash = dg_digest_bytes(values[Anum_ledger_hash - 1]);
	return entry->prev_hash != NULL && entry->hash != NULL;
}

/*
 * Computes the hash that an entry should have.
 */
void
dg_ledger_hash(const DgLedgerEntry *entry, uint8 *hash)
{
	StringInfoData buf;

	initStringInfo(&buf);
	dg_put_text(&buf, "deletion_guard ledger 1");
	dg_put_int64(&buf, entry->id);
	dg_put_int64(&buf, entry->at + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
	dg_put_utf8(&buf, entry->event);
	dg_put_utf8(&buf, entry->role);
	dg_put_utf8(&buf, entry->details);
	dg_put_text(&buf, dg_hex(entry->prev_hash, DG_DIGEST_SIZE));
	dg_sha256(buf.data, buf.len, hash);
	pfree(buf.data);
}

static void
read_ledger_head(Relation ledger, Oid pkey, LedgerHead *head)
{
	Relation	index = index_open(pkey, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan_ordered(ledger, index, snapshot, 0, NULL);
	HeapTuple	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	DgLedgerEntry entry;

	memset(head, 0, sizeof(*head));
	head->at = DT_NOBEGIN;
	if (HeapTupleIsValid(tuple))
	{
		if (!dg_ledger_read(tuple, RelationGetDescr(ledger), &entry))
			ereport(ERROR,
					(errcode(DG_ERRCODE_LEDGER_BROKEN),
					 errmsg("the ledger's last entry is damaged"),
					 errhint("Run deletion_guard.verify_ledger(), which says where it begins, and restore the database from a backup, as a new one.")));
		head->id = entry.id;
		head->at = entry.at;
		memcpy(head->hash, entry.hash, DG_DIGEST_SIZE);
	}
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
}

static void
insert_entry(Oid ledger, const DgLedgerEntry *entry)
{
	DgOwnTable	table = {ledger, Natts_ledger};
	Datum		values[Natts_ledger];
	bool		nulls[Natts_ledger] = {0};

	values[Anum_ledger_id - 1] = Int64GetDatum(entry->id);
	values[Anum_ledger_at - 1] = TimestampTzGetDatum(entry->at);
	values[Anum_ledger_event - 1] = CStringGetTextDatum(entry->event);
	values[Anum_ledger_role - 1] = CStringGetTextDatum(entry->role);
	values[Anum_ledger_details - 1] = CStringGetTextDatum(entry->details);
	values[Anum_ledger_prev_hash - 1] = PointerGetDatum(dg_bytea(entry->prev_hash, DG_DIGEST_SIZE));
	values[Anum_ledger_hash - 1] = PointerGetDatum(dg_bytea(entry->hash, DG_DIGEST_SIZE));
	dg_own_insert(table, values, nulls);
}

/*
 * Has this installation made an entry of its own?
 */
bool
dg_ledger_is_live(void)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(installation), AccessShareLock, 0, NULL);
	bool		live = dg_own_next(scan);

	dg_own_end(scan);
	return live;
}

static void
note_first_entry(void)
{
	Datum		values[Natts_installation] = {BoolGetDatum(true), TimestampTzGetDatum(GetCurrentTimestamp())};
	bool		nulls[Natts_installation] = {0};

	if (!dg_ledger_is_live())
		dg_own_insert(DG_OWN_ALL(installation), values, nulls);
}

/*
 * Writes one entry behind the head, which it then is.
 */
static void
write_entry(PendingEntry *pending_entry, Oid ledger, LedgerHead *head)
{
	DgLedgerEntry entry;
	uint8		hash[DG_DIGEST_SIZE];

	entry.id = head->id + 1;
	entry.at = Max(GetCurrentTimestamp(), head->at);
	entry.event = pending_entry->event;
	entry.role = pending_entry->role;
	entry.details = pending_entry->details;
	entry.prev_hash = head->hash;
	entry.hash = hash;
	dg_ledger_hash(&entry, hash);
	insert_entry(ledger, &entry);

	pending_entry->id = entry.id;
	pending_entry->written_in = GetCurrentSubTransactionId();
	head->id = entry.id;
	head->at = entry.at;
	memcpy(head->hash, hash, DG_DIGEST_SIZE);
}

static bool
any_unwritten(void)
{
	ListCell   *lc;

	foreach(lc, pending)
	{
		if (((PendingEntry *) lfirst(lc))->written_in == InvalidSubTransactionId)
			return true;
	}
	return false;
}

/*
 * Writes the entries that are still kept in memory, and so takes the ledger's
 * lock until the end of the transaction. For callers that must see them in the
 * table.
 */
void
dg_ledger_flush(void)
{
	Oid			pkey;
	Relation	ledger;
	LedgerHead	head;
	ListCell   *lc;

	if (!any_unwritten())
		return;
	ledger = dg_ledger_open(RowExclusiveLock, &pkey);
	dg_lock_object(RelationGetRelid(ledger), 0, ExclusiveLock);

	/* entries that this transaction has written become visible to the scan */
	CommandCounterIncrement();
	read_ledger_head(ledger, pkey, &head);
	foreach(lc, pending)
	{
		PendingEntry *entry = lfirst(lc);

		if (entry->written_in == InvalidSubTransactionId)
			write_entry(entry, RelationGetRelid(ledger), &head);
	}
	note_first_entry();
	table_close(ledger, NoLock);
	CommandCounterIncrement();
}

static PendingEntry *
keep_entry(const char *event, const char *details)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	PendingEntry *entry = palloc0(sizeof(PendingEntry));

	entry->event = pstrdup(event);
	entry->role = GetUserNameFromId(GetSessionUserId(), false);
	entry->details = pstrdup(details);
	entry->made_in = GetCurrentSubTransactionId();
	pending = lappend(pending, entry);
	MemoryContextSwitchTo(old);
	return entry;
}

/*
 * Appends an entry, which is written when the transaction ends. "details" is a
 * JSON object, stored as it is; it must hold no personal data.
 */
void
dg_ledger_append(const char *event, const char *details)
{
	(void) keep_entry(event, details);
	if (committing)
		dg_ledger_flush();
}

/*
 * Appends an entry, writes it and returns its number. Holds the ledger's lock
 * until the end of the transaction: do it last.
 */
int64
dg_ledger_append_now(const char *event, const char *details)
{
	PendingEntry *entry = keep_entry(event, details);

	dg_ledger_flush();
	return entry->id;
}

/*
 * The transaction commits or is prepared: the last moment at which an error
 * takes everything back. Where the extension was dropped, the ledger is gone,
 * too.
 */
static void
flush_at_commit(void)
{
	if (pending == NIL)
		return;
	committing = true;
	if (!dg_installed())
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	dg_ledger_flush();
	PopActiveSnapshot();
}

static void
ledger_at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		flush_at_commit();
	else if (event != XACT_EVENT_PARALLEL_PRE_COMMIT)
	{
		pending = NIL;
		committing = false;
	}
}

static void
ledger_at_subxact(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	ListCell   *lc;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(lc, pending)
	{
		PendingEntry *entry = lfirst(lc);

		if (event == SUBXACT_EVENT_ABORT_SUB && entry->made_in == subid)
		{
			pending = foreach_delete_current(pending, lc);
			continue;
		}
		if (entry->made_in == subid)
			entry->made_in = parent;
		if (entry->written_in == subid)
			entry->written_in = event == SUBXACT_EVENT_COMMIT_SUB ? parent : InvalidSubTransactionId;
	}
}

/*
 * Makes ready, as the library is loaded, to write entries of a transaction as it
 * commits.
 */
void
dg_ledger_init(void)
{
	RegisterXactCallback(ledger_at_xact, NULL);
	RegisterSubXactCallback(ledger_at_subxact, NULL);
}

/*
 * Finds an entry by its number; false if there is none. The results are
 * palloc'd, the hash in hexadecimal.
 */
bool
dg_ledger_entry(int64 id, char **event, char **details, char **hash)
{
	Oid			pkey;
	Relation	ledger = dg_ledger_open(AccessShareLock, &pkey);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	DgLedgerEntry entry;
	bool		found = false;

	ScanKeyInit(&key, Anum_ledger_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	scan = systable_beginscan(ledger, pkey, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) && dg_ledger_read(tuple, RelationGetDescr(ledger), &entry))
	{
		found = true;
		*event = pstrdup(entry.event);
		*details = pstrdup(entry.details);
		*hash = dg_hex(entry.hash, DG_DIGEST_SIZE);
	}
	systable_endscan(scan);
	table_close(ledger, AccessShareLock);
	return found;
}

/*
 * When the last entry was made; -infinity if there is none.
 */
TimestampTz
dg_ledger_clock(void)
{
	Oid			pkey;
	Relation	ledger = dg_ledger_open(AccessShareLock, &pkey);
	LedgerHead	head;

	read_ledger_head(ledger, pkey, &head);
	table_close(ledger, AccessShareLock);
	return head.at;
}
