/*
 * ledger_verify.c
 *		Checking the chain of the ledger, and showing its head.
 *
 * Within the table, the chain shows every change, removal, insertion and
 * exchange of entries but two: entries cut off at the end, and a chain that
 * somebody recomputed from some point on. Against the first, other registries
 * remember the numbers of their entries, or what those say. Against both, a head
 * that was kept elsewhere helps: give it to verify_ledger().
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "common/deletion_guard.h"
#include "ledger/ledger_internal.h"

PG_FUNCTION_INFO_V1(dg_ledger_head);

#define MAX_PROBLEMS 10

/*
 * Adds a problem that a walk along the chain has come upon. The first ones are
 * told, the others counted.
 */
void
dg_ledger_add_problem(DgLedgerWalk *walk, const char *fmt,...)
{
	va_list		args;
	char		problem[256];

	if (walk->problems++ >= MAX_PROBLEMS)
		return;
	va_start(args, fmt);
	vsnprintf(problem, sizeof(problem), fmt, args);
	va_end(args);
	if (walk->text.len > 0)
		appendStringInfoString(&walk->text, "; ");
	appendStringInfoString(&walk->text, problem);
}

/*
 * Reports that entries from first to last are missing; where is empty, or says more.
 */
void
dg_ledger_add_missing(DgLedgerWalk *walk, int64 first, int64 last, const char *where)
{
	if (first == last)
		dg_ledger_add_problem(walk, "entry " INT64_FORMAT " is missing%s", first, where);
	else
		dg_ledger_add_problem(walk, "entries " INT64_FORMAT " to " INT64_FORMAT " are missing%s", first, last, where);
}

/*
 * Does the entry have the number that follows?
 */
static void
check_number(DgLedgerWalk *walk, int64 id)
{
	if (id > walk->id + 1)
		dg_ledger_add_missing(walk, walk->id + 1, id - 1, "");
	else if (id <= walk->id)
		dg_ledger_add_problem(walk, "entry " INT64_FORMAT " is there more than once", id);
}

static void
check_entry(DgLedgerWalk *walk, const DgLedgerEntry *entry)
{
	uint8		hash[DG_DIGEST_SIZE];
	bool		adjacent = entry->id == walk->id + 1;

	check_number(walk, entry->id);
	if (adjacent && memcmp(entry->prev_hash, walk->hash, DG_DIGEST_SIZE) != 0)
		dg_ledger_add_problem(walk, "entry " INT64_FORMAT " does not follow entry " INT64_FORMAT
							  ", one of them was changed or inserted", entry->id, walk->id);
	dg_ledger_hash(entry, hash);
	if (memcmp(entry->hash, hash, DG_DIGEST_SIZE) != 0)
		dg_ledger_add_problem(walk, "entry " INT64_FORMAT " was changed or moved: its hash is not that of its content", entry->id);
	if (walk->entries > 0 && entry->at < walk->at)
		dg_ledger_add_problem(walk, "entry " INT64_FORMAT " is dated before the one it follows", entry->id);

	walk->entries++;
	walk->id = entry->id;
	walk->at = entry->at;
	memcpy(walk->hash, entry->hash, DG_DIGEST_SIZE);
}

/*
 * Compares with a head that was kept elsewhere, when the walk passes it.
 */
static void
check_kept_head(DgLedgerWalk *walk, const DgLedgerEntry *entry, int64 head_entry, const char *head_hash)
{
	if (entry->id != head_entry)
		return;
	if (pg_strcasecmp(dg_hex(entry->hash, DG_DIGEST_SIZE), head_hash) != 0)
		dg_ledger_add_problem(walk, "entry " INT64_FORMAT " is not the one whose hash was kept: the chain was rewritten", head_entry);
}

/*
 * Walks along the chain, from the first entry to the last, and shows each that
 * can be read to the callback. head_hash (may be NULL) is that of an entry which
 * was kept elsewhere.
 */
void
dg_ledger_walk(DgLedgerWalk *walk, int64 head_entry, const char *head_hash, DgLedgerVisit visit, void *arg)
{
	Oid			pkey;
	Relation	ledger = dg_ledger_open(AccessShareLock, &pkey);
	Relation	index = index_open(pkey, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan_ordered(ledger, index, snapshot, 0, NULL);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard ledger",
												  ALLOCSET_DEFAULT_SIZES);
	HeapTuple	tuple;

	memset(walk, 0, sizeof(*walk));
	initStringInfo(&walk->text);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		DgLedgerEntry entry;

		CHECK_FOR_INTERRUPTS();
		if (dg_ledger_read(tuple, RelationGetDescr(ledger), &entry))
		{
			check_entry(walk, &entry);
			if (head_hash != NULL)
				check_kept_head(walk, &entry, head_entry, head_hash);
			visit(&entry, arg);
		}
		else
		{
			check_number(walk, entry.id);
			dg_ledger_add_problem(walk, "entry " INT64_FORMAT " is damaged", entry.id);
			walk->entries++;
			walk->id = entry.id;
			memset(walk->hash, 0, DG_DIGEST_SIZE);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(ledger, AccessShareLock);
}

/*
 * The problems in one text, palloc'd; NULL if there are none.
 */
char *
dg_ledger_problems(DgLedgerWalk *walk)
{
	if (walk->problems == 0)
		return NULL;
	return walk->problems <= MAX_PROBLEMS ? walk->text.data :
		psprintf("%s; and %d more", walk->text.data, walk->problems - MAX_PROBLEMS);
}

/*
 * ledger_head() -> (entry bigint, at timestamptz, hash text); nulls where the
 * ledger is empty.
 */
Datum
dg_ledger_head(PG_FUNCTION_ARGS)
{
	Oid			pkey;
	Relation	ledger = dg_ledger_open(AccessShareLock, &pkey);
	Relation	index = index_open(pkey, AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(ledger, index, NULL, 0, NULL);
	HeapTuple	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	DgLedgerEntry entry;
	TupleDesc	desc;
	Datum		values[3] = {0};
	bool		nulls[3] = {true, true, true};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (HeapTupleIsValid(tuple) && dg_ledger_read(tuple, RelationGetDescr(ledger), &entry))
	{
		values[0] = Int64GetDatum(entry.id);
		values[1] = TimestampTzGetDatum(entry.at);
		values[2] = CStringGetTextDatum(dg_hex(entry.hash, DG_DIGEST_SIZE));
		memset(nulls, false, sizeof(nulls));
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(ledger, AccessShareLock);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
