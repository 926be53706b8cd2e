/*
 * ledger_verify.c
 *		SQL functions that check and show the ledger.
 *
 * Within the table, the chain shows every change, removal, insertion and
 * exchange of entries but two: entries cut off at the end, and a chain that
 * somebody recomputed from some point on. Against the first, other registries
 * remember the numbers of their entries, or what those say. Against both, a head
 * that was kept elsewhere helps: give it to verify_ledger().
 *
 * The registries are held against the ledger, too: a hold, a request, a purge or
 * an authority that was made or changed past the extension has no entry that
 * says so.
 */
#include "ledger.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "funcapi.h"
#include "miscadmin.h"
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
 * What is on record without an entry that says so. The texts are those that the
 * entries were made with.
 */
#define RECORDS_WITHOUT_ENTRY \
	"SELECT 'no entry tells of ' || what || ' as it is on record' FROM (" \
	"SELECT 'authority \"' || a.name || '\"' AS what, 'add_authority' AS event," \
	"  format('{\"authority\": %s, \"algorithm\": %s, \"fingerprint\": %s}', to_json(a.name), to_json(a.algorithm)," \
	"   to_json(a.fingerprint)) AS details," \
	"  a.fingerprint = encode(sha256(decode(regexp_replace(a.public_key, '-----[^-]*-----|\\s', '', 'g'), 'base64')), 'hex')" \
	"  AND (a.retired_at IS NOT NULL) = EXISTS (SELECT FROM ONLY deletion_guard.ledger r WHERE r.event = 'retire_authority'" \
	"   AND r.details = format('{\"authority\": %s}', to_json(a.name))) AS sound FROM ONLY deletion_guard.authority a" \
	" UNION ALL SELECT 'hold ' || h.hold_id, 'hold_tenant', format('{\"hold\": %s}', h.hold_id), true" \
	"  FROM ONLY deletion_guard.hold h" \
	" UNION ALL SELECT 'the release of hold ' || h.hold_id, 'release_hold', format('{\"hold\": %s}', h.hold_id), true" \
	"  FROM ONLY deletion_guard.hold h WHERE h.released_at IS NOT NULL" \
	" UNION ALL SELECT 'request ' || q.request_id, 'request_purge'," \
	"  format('{\"request\": %s, \"rows\": %s, \"digest\": \"%s\"}', q.request_id, q.rows, encode(q.digest, 'hex')), true" \
	"  FROM ONLY deletion_guard.purge_request_record q" \
	" UNION ALL SELECT 'purge ' || p.purge_id, 'purge', p.certificate, true FROM ONLY deletion_guard.purge_record p) x" \
	" WHERE NOT sound OR NOT EXISTS (SELECT FROM ONLY deletion_guard.ledger l WHERE l.event = x.event AND l.details = x.details)"

/* And the other way round. */
#define ENTRIES_WITHOUT_RECORD \
	"SELECT format('%s %s of entry %s is no longer on record', what, coalesce(number, '(unknown)'), id) FROM (" \
	"SELECT l.id, 'hold' AS what, substring(l.details FROM '^{\"hold\": (\\d{1,18})}$') AS number" \
	"  FROM ONLY deletion_guard.ledger l WHERE l.event = 'hold_tenant'" \
	" UNION ALL SELECT l.id, 'request', substring(l.details FROM '^{\"request\": (\\d{1,18}),')" \
	"  FROM ONLY deletion_guard.ledger l WHERE l.event = 'request_purge'" \
	" UNION ALL SELECT l.id, 'purge', substring(l.details FROM '^{\"purge\": (\\d{1,18}),')" \
	"  FROM ONLY deletion_guard.ledger l WHERE l.event = 'purge'" \
	" UNION ALL SELECT l.id, 'authority', substring(l.details FROM '^{\"authority\": \"([^\"]+)\",')" \
	"  FROM ONLY deletion_guard.ledger l WHERE l.event = 'add_authority') e" \
	" WHERE (what, number) NOT IN (SELECT 'hold', hold_id::text FROM ONLY deletion_guard.hold" \
	"  UNION ALL SELECT 'request', request_id::text FROM ONLY deletion_guard.purge_request_record" \
	"  UNION ALL SELECT 'purge', purge_id::text FROM ONLY deletion_guard.purge_record" \
	"  UNION ALL SELECT 'authority', name FROM ONLY deletion_guard.authority) IS NOT FALSE" \
	" ORDER BY id"

static void
add_problems_of(LedgerWalk *walk, const char *query)
{
	int			found;

	SPI_connect();
	found = dg_spi_select(query, 0, NULL, NULL, NULL);
	for (int i = 0; i < found; i++)
		add_problem(walk, "%s", dg_row_text(i, 1));
	SPI_finish();
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
	dg_spi_select("SELECT greatest("
				  "(SELECT max(ledger_id) FROM ONLY deletion_guard.authority),"
				  "(SELECT max(ledger_id) FROM ONLY deletion_guard.used_token),"
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
	dg_ledger_flush();
	walk_ledger(&walk, head_entry, head_hash);
	referred = Max(highest_reference(), head_entry);
	if (referred > walk.id)
		add_missing(&walk, walk.id + 1, referred, " at the end");
	add_problems_of(&walk, RECORDS_WITHOUT_ENTRY " ORDER BY what");
	add_problems_of(&walk, ENTRIES_WITHOUT_RECORD);
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
