/*
 * ledger_verify.c
 *		SQL functions that check and show the ledger.
 *
 * Within the table, the chain shows every change, removal, insertion and
 * exchange of entries but two: entries cut off at the end, and a chain that
 * somebody recomputed from some point on. Against the first, other registries
 * remember the numbers of their entries. Against both, a head that was kept
 * elsewhere helps: give it to verify_ledger().
 */
#include "ledger.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "purge.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dg_verify_ledger);
PG_FUNCTION_INFO_V1(dg_ledger_head);

#define MAX_PROBLEMS 10

/* Where a walk along the chain has got to. */
typedef struct LedgerWalk
{
	int64		entries;
	int64		id;				/* of the last entry */
	TimestampTz at;
	uint8		hash[DG_DIGEST_SIZE];
	int			problems;
	StringInfoData text;		/* the problems */
} LedgerWalk;

static void
add_problem(LedgerWalk *walk, const char *fmt,...) pg_attribute_printf(2, 3);

static void
add_problem(LedgerWalk *walk, const char *fmt,...)
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

static void
add_missing(LedgerWalk *walk, int64 first, int64 last, const char *where)
{
	if (first == last)
		add_problem(walk, "entry " INT64_FORMAT " is missing%s", first, where);
	else
		add_problem(walk, "entries " INT64_FORMAT " to " INT64_FORMAT " are missing%s", first, last, where);
}

/*
 * Does the entry have the number that follows?
 */
static void
check_number(LedgerWalk *walk, int64 id)
{
	if (id > walk->id + 1)
		add_missing(walk, walk->id + 1, id - 1, "");
	else if (id <= walk->id)
		add_problem(walk, "entry " INT64_FORMAT " is there more than once", id);
}

static void
check_entry(LedgerWalk *walk, const DgLedgerEntry *entry)
{
	uint8		hash[DG_DIGEST_SIZE];
	bool		adjacent = entry->id == walk->id + 1;

	check_number(walk, entry->id);
	if (adjacent && memcmp(entry->prev_hash, walk->hash, DG_DIGEST_SIZE) != 0)
		add_problem(walk, "entry " INT64_FORMAT " does not follow entry " INT64_FORMAT
					", one of them was changed or inserted", entry->id, walk->id);
	dg_ledger_hash(entry, hash);
	if (memcmp(entry->hash, hash, DG_DIGEST_SIZE) != 0)
		add_problem(walk, "entry " INT64_FORMAT " was changed or moved: its hash is not that of its content", entry->id);
	if (walk->entries > 0 && entry->at < walk->at)
		add_problem(walk, "entry " INT64_FORMAT " is dated before the one it follows", entry->id);

	walk->entries++;
	walk->id = entry->id;
	walk->at = entry->at;
	memcpy(walk->hash, entry->hash, DG_DIGEST_SIZE);
}

/*
 * Compares with a head that was kept elsewhere, when the walk passes it.
 */
static void
check_kept_head(LedgerWalk *walk, const DgLedgerEntry *entry, int64 head_entry, const char *head_hash)
{
	if (entry->id != head_entry)
		return;
	if (pg_strcasecmp(dg_hex(entry->hash, DG_DIGEST_SIZE), head_hash) != 0)
		add_problem(walk, "entry " INT64_FORMAT " is not the one whose hash was kept: the chain was rewritten", head_entry);
}

static void
walk_ledger(LedgerWalk *walk, int64 head_entry, const char *head_hash)
{
	Oid			pkey;
	Relation	ledger = dg_ledger_open(AccessShareLock, &pkey);
	Relation	index = index_open(pkey, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan_ordered(ledger, index, snapshot, 0, NULL);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard ledger",
												  ALLOCSET_DEFAULT_SIZES);
	HeapTuple	tuple;

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
		}
		else
		{
			check_number(walk, entry.id);
			add_problem(walk, "entry " INT64_FORMAT " is damaged", entry.id);
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
 * The highest entry that another registry refers to.
 */
static int64
highest_reference(void)
{
	int64		highest = 0;
	bool		isnull;

	SPI_connect();
	dg_purge_select("SELECT greatest("
					"(SELECT max(ledger_id) FROM ONLY deletion_guard.authority),"
					"(SELECT max(ledger_id) FROM ONLY deletion_guard.used_token),"
					"(SELECT max(ledger_id) FROM ONLY deletion_guard.hold),"
					"(SELECT max(ledger_id) FROM ONLY deletion_guard.purge_request_record),"
					"(SELECT max(greatest(ledger_id, annulled_ledger_id)) FROM ONLY deletion_guard.purge_record))",
					0, NULL, NULL, NULL);
	highest = dg_row_int64(0, 1, &isnull);
	SPI_finish();
	return isnull ? 0 : highest;
}

/*
 * verify_ledger(head_entry bigint, head_hash text)
 *		-> (ok boolean, entries bigint, problem text)
 */
Datum
dg_verify_ledger(PG_FUNCTION_ARGS)
{
	LedgerWalk	walk = {0};
	int64		head_entry = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
	char	   *head_hash = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	int64		referred;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (PG_ARGISNULL(0) != PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("give both head_entry and head_hash, or neither"),
				 errhint("deletion_guard.ledger_head() prints the two.")));

	initStringInfo(&walk.text);
	walk_ledger(&walk, head_entry, head_hash);
	referred = Max(highest_reference(), head_entry);
	if (referred > walk.id)
		add_missing(&walk, walk.id + 1, referred, " at the end");
	if (walk.problems > MAX_PROBLEMS)
		appendStringInfo(&walk.text, "; and %d more", walk.problems - MAX_PROBLEMS);

	values[0] = BoolGetDatum(walk.problems == 0);
	values[1] = Int64GetDatum(walk.entries);
	nulls[2] = walk.problems == 0;
	values[2] = CStringGetTextDatum(walk.text.data);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
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
