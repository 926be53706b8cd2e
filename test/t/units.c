/*
 * units.c
 *		Tests of parts that need a server around them and no tables, for
 *		011_units.pl. Each function checks one part and returns how many checks
 *		it made; the first that fails is an error.
 *
 * Parts whose insides matter are included whole, the others linked in.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "bin/bin_blocks.c"
#include "capture/capture_limit_expect.c"
#include "rows/rows_internal.h"

PG_MODULE_MAGIC;

#define CHECK(condition) \
	do { \
		checks++; \
		if (!(condition)) \
			elog(ERROR, "units.c:%d: not so: %s", __LINE__, #condition); \
	} while (0)

static int64 checks;

/* the same numbers in each run */
static pg_prng_state prng;

static void
begin_checks(void)
{
	checks = 0;
	pg_prng_seed(&prng, 15);
}

static bool
fails(void (*work) (void *arg), void *arg)
{
	return dg_try(work, arg, true) != NULL;
}

/* ----------------------------------------------------------------------
 * varint.h
 * ----------------------------------------------------------------------
 */

static int
length_of_number(uint64 number)
{
	uint8		bytes[DG_VARINT_MAX];
	const uint8 *p = bytes;
	const uint8 *end = dg_varint_put(bytes, number);
	uint64		got;

	CHECK(end - bytes <= DG_VARINT_MAX);
	CHECK(dg_varint_get(&p, end, &got) && got == number && p == end);
	for (const uint8 *cut = bytes; cut < end; cut++)
	{
		p = bytes;
		CHECK(!dg_varint_get(&p, cut, &got));
	}
	CHECK(dg_varint_fold(dg_varint_unfold(number)) == number);
	CHECK(dg_varint_unfold(dg_varint_fold((int64) number)) == (int64) number);
	return end - bytes;
}

PG_FUNCTION_INFO_V1(test_varint);

Datum
test_varint(PG_FUNCTION_ARGS)
{
	uint8		endless[DG_VARINT_MAX + 1];
	const uint8 *p = endless;
	uint64		number;

	begin_checks();
	CHECK(length_of_number(0) == 1);
	CHECK(length_of_number(0x7f) == 1);
	CHECK(length_of_number(0x80) == 2);
	CHECK(length_of_number(PG_UINT64_MAX) == DG_VARINT_MAX);
	for (int bit = 0; bit < 64; bit++)
	{
		int			length = length_of_number(UINT64CONST(1) << bit);

		CHECK(length == bit / 7 + 1);
		(void) length_of_number((UINT64CONST(1) << bit) - 1);
		(void) length_of_number((UINT64CONST(1) << bit) + 1);
	}
	CHECK(dg_varint_fold(-1) == 1);
	CHECK(dg_varint_fold(1) == 2);
	CHECK(dg_varint_fold(PG_INT64_MIN) == PG_UINT64_MAX);
	memset(endless, 0x80, sizeof(endless));
	CHECK(!dg_varint_get(&p, endless + sizeof(endless), &number));
	PG_RETURN_INT64(checks);
}

/* ----------------------------------------------------------------------
 * tidlog.c
 * ----------------------------------------------------------------------
 */

static void
random_row(ItemPointer tid, CommandId *cid)
{
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(tid) + 1;
	OffsetNumber offset = 1 + pg_prng_uint32(&prng) % MaxHeapTuplesPerPage;

	if (pg_prng_uint32(&prng) % 10 == 0)
		block = pg_prng_uint32(&prng) % MaxBlockNumber;
	if (pg_prng_uint32(&prng) % 50 == 0)
		*cid = pg_prng_uint32(&prng) % InvalidCommandId;
	ItemPointerSet(tid, block > MaxBlockNumber ? 0 : block, offset);
}

static void
check_tidlog(int64 n)
{
	DgTidLog   *log = dg_tidlog_begin(CurrentMemoryContext);
	DgTidEntry *expected = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(DgTidEntry) * (n + 1));
	DgTidEntry	entry;
	ItemPointerData tid;
	CommandId	cid = FirstCommandId;

	ItemPointerSet(&tid, 0, 1);
	for (int64 i = 0; i < n; i++)
	{
		expected[i].address = DG_TID_ADDRESS(&tid);
		expected[i].cid = cid;
		CHECK(DG_TID_BLOCK(expected[i].address) == ItemPointerGetBlockNumberNoCheck(&tid));
		CHECK(DG_TID_OFFSET(expected[i].address) == ItemPointerGetOffsetNumberNoCheck(&tid));
		dg_tidlog_add(log, cid, &tid);
		random_row(&tid, &cid);
	}
	CHECK(dg_tidlog_count(log) == n);
	dg_tidlog_rewind(log);
	for (int64 i = 0; i < n; i++)
		CHECK(dg_tidlog_next(log, &entry) && entry.address == expected[i].address && entry.cid == expected[i].cid);
	CHECK(!dg_tidlog_next(log, &entry));
	dg_tidlog_end(log);
	pfree(expected);
}

/* With the smallest work_mem, a hundred thousand rows go to a file. */
PG_FUNCTION_INFO_V1(test_tidlog);

Datum
test_tidlog(PG_FUNCTION_ARGS)
{
	begin_checks();
	check_tidlog(0);
	check_tidlog(1);
	check_tidlog(2);
	check_tidlog(100);
	check_tidlog(100000);
	PG_RETURN_INT64(checks);
}

/* ----------------------------------------------------------------------
 * bin_blocks.c
 * ----------------------------------------------------------------------
 */

static bool
has_block(const DgBlocks *blocks, BlockNumber block)
{
	for (int i = 0; i < blocks->nranges; i++)
	{
		if (block >= blocks->ranges[i].first && block <= blocks->ranges[i].last)
			return true;
	}
	return false;
}

/* Packs and unpacks ranges, and then puts them in order. */
static void
check_blocks(const DgBlocks *blocks, const BlockNumber *added, int n)
{
	DgBlocks	copy = {.context = CurrentMemoryContext};

	unpack_ranges(&copy, dg_bin_blocks_pack(blocks));
	CHECK(copy.nranges == blocks->nranges);
	for (int i = 0; i < copy.nranges; i++)
		CHECK(copy.ranges[i].first == blocks->ranges[i].first && copy.ranges[i].last == blocks->ranges[i].last);
	merge_ranges(&copy);
	for (int i = 0; i < copy.nranges; i++)
		CHECK(copy.ranges[i].first <= copy.ranges[i].last &&
			  (i == 0 || copy.ranges[i].first > copy.ranges[i - 1].last + MAX_GAP));
	for (int i = 0; i < n; i++)
		CHECK(has_block(blocks, added[i]) && has_block(&copy, added[i]));
}

static void
unpack_bytes(void *arg)
{
	DgBlocks	blocks = {.context = CurrentMemoryContext};

	unpack_ranges(&blocks, arg);
}

PG_FUNCTION_INFO_V1(test_blocks);

Datum
test_blocks(PG_FUNCTION_ARGS)
{
	static const BlockNumber some[] = {5, 5, 6, 7 + MAX_GAP, 3, MaxBlockNumber, 0, MaxBlockNumber - 1};
	static const uint8 bad[][11] = {
		{0x80},					/* no end */
		{0x05},					/* several blocks, but not how many */
		{0x02},					/* before the first block */
		{0x80, 0x80, 0x80, 0x80, 0x80, 0x01},	/* behind the last */
		{0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}	/* backwards */
	};
	static const int bad_lengths[] = {1, 1, 1, 6, 11};
	DgBlocks	blocks = {.context = CurrentMemoryContext};

	begin_checks();
	check_blocks(&blocks, NULL, 0);
	for (int i = 0; i < lengthof(some); i++)
	{
		dg_bin_blocks_add(&blocks, some[i]);
		check_blocks(&blocks, some, i + 1);
	}
	CHECK(blocks.nranges == 6);
	for (int run = 0; run < 200; run++)
	{
		BlockNumber added[100];

		blocks = (DgBlocks) {.context = CurrentMemoryContext};
		for (int i = 0; i < lengthof(added); i++)
		{
			added[i] = pg_prng_uint32(&prng) % (run < 100 ? 1000 : MaxBlockNumber);
			dg_bin_blocks_add(&blocks, added[i]);
		}
		check_blocks(&blocks, added, lengthof(added));
	}
	for (int i = 0; i < lengthof(bad); i++)
		CHECK(fails(unpack_bytes, dg_bytea(bad[i], bad_lengths[i])));
	PG_RETURN_INT64(checks);
}

/* ----------------------------------------------------------------------
 * guard_textset.c
 * ----------------------------------------------------------------------
 */

static void
check_textset(DgTextSet *set, int n)
{
	for (int i = 0; i < n; i++)
	{
		char	   *text = i == 0 ? "" : psprintf("text %d", i);

		CHECK(dg_guard_textset_count(set) == i && !dg_guard_textset_has(set, text));
		CHECK(dg_guard_textset_add(set, text) && !dg_guard_textset_add(set, text));
	}
	CHECK(dg_guard_textset_count(set) == n);
	for (int i = 0; i < n; i++)
		CHECK(dg_guard_textset_find(set, dg_guard_textset_get(set, i)) == i);
	CHECK(dg_guard_textset_find(set, "Text 1") == -1);
	CHECK(dg_guard_textset_find(set, "text 1 ") == -1);
}

/* With few members, and with so many that they are hashed; emptied and filled again. */
PG_FUNCTION_INFO_V1(test_textset);

Datum
test_textset(PG_FUNCTION_ARGS)
{
	begin_checks();
	for (int n = 1; n < 40; n += 3)
	{
		DgTextSet  *texts = dg_guard_textset_create(CurrentMemoryContext);
		DgTextSet  *tenants = dg_guard_textset_of_tenants(CurrentMemoryContext, InvalidOid);

		check_textset(tenants, n);
		check_textset(texts, n);
		dg_guard_textset_truncate(texts, n / 2);
		CHECK(dg_guard_textset_count(texts) == n / 2);
		CHECK(dg_guard_textset_find(texts, psprintf("text %d", n - 1)) == -1);
		CHECK(dg_guard_textset_add(texts, "another") && dg_guard_textset_find(texts, "another") == n / 2);
		dg_guard_textset_truncate(texts, 0);
		check_textset(texts, n);
	}
	PG_RETURN_INT64(checks);
}

/* ----------------------------------------------------------------------
 * rows_keyset.c
 * ----------------------------------------------------------------------
 */

static TupleTableSlot *
put_row(TupleTableSlot *slot, int number, const char *text)
{
	ExecClearTuple(slot);
	slot->tts_values[0] = Int32GetDatum(number);
	slot->tts_isnull[0] = false;
	slot->tts_values[1] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
	slot->tts_isnull[1] = text == NULL;
	return ExecStoreVirtualTuple(slot);
}

/* A text that is as long as the number says. */
static char *
text_of_length(int n)
{
	char	   *text = palloc(n + 1);

	memset(text, 'x', n);
	text[n] = '\0';
	return text;
}

static int64
count_stored(DgKeySet *set, DgKeySet *except, TupleTableSlot *slot)
{
	Tuplestorestate *store = NULL;

	dg_rows_keyset_store(set, except, slot, &store);
	return store == NULL ? 0 : tuplestore_tuple_count(store);
}

PG_FUNCTION_INFO_V1(test_keyset);

Datum
test_keyset(PG_FUNCTION_ARGS)
{
	static const AttrNumber both[] = {1, 2};
	static const AttrNumber second[] = {2};
	TupleDesc	desc = CreateTemplateTupleDesc(2);
	DgKeySet   *set;
	DgKeySet   *other;
	DgKeySet   *texts;
	TupleTableSlot *slot;

	begin_checks();
	TupleDescInitEntry(desc, 1, "number", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 2, "text", TEXTOID, -1, 0);
	dg_tupdesc_finalize(desc);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	set = dg_rows_keyset_make(CurrentMemoryContext, desc, 2, both);
	other = dg_rows_keyset_make(CurrentMemoryContext, desc, 2, both);
	texts = dg_rows_keyset_make(CurrentMemoryContext, desc, 1, second);
	CHECK(dg_rows_keyset_read(set, put_row(slot, 1, NULL)) == 1);
	for (int length = 0; length < 300; length++)
	{
		put_row(slot, length % 2, text_of_length(length));
		CHECK(dg_rows_keyset_read(set, slot) == 0);
		CHECK(!dg_rows_keyset_has_of(set, set) && dg_rows_keyset_add(set));
		CHECK(dg_rows_keyset_has_of(set, set) && !dg_rows_keyset_add(set));
		CHECK(dg_rows_keyset_read(other, slot) == 0 && dg_rows_keyset_has_of(set, other));
		CHECK(!dg_rows_keyset_has_of(other, set));
		if (length % 3 == 0)
			CHECK(dg_rows_keyset_add_of(other, set) && dg_rows_keyset_has_of(other, set));
		CHECK(dg_rows_keyset_read(texts, slot) == 0 && dg_rows_keyset_add(texts));
		/* the other column counts, too */
		(void) dg_rows_keyset_read(other, put_row(slot, 2, text_of_length(length)));
		CHECK(!dg_rows_keyset_has_of(set, other));
	}
	CHECK(!dg_rows_keyset_is_full(set));
	CHECK(count_stored(set, NULL, slot) == 300);
	CHECK(count_stored(set, other, slot) == 200);
	CHECK(count_stored(set, set, slot) == 0);
	dg_rows_keyset_forget(set);
	CHECK(count_stored(set, NULL, slot) == 0);
	/* what it has fits into memory no more */
	for (int i = 0; i < 20000 && !dg_rows_keyset_is_full(set); i++)
	{
		(void) dg_rows_keyset_read(set, put_row(slot, i, text_of_length(4000)));
		CHECK(dg_rows_keyset_add(set));
	}
	CHECK(dg_rows_keyset_is_full(set));
	dg_rows_keyset_forget(set);
	CHECK(!dg_rows_keyset_is_full(set));
	PG_RETURN_INT64(checks);
}

/* ----------------------------------------------------------------------
 * deletion_guard.expect_tenants
 * ----------------------------------------------------------------------
 */

/* Is the list read as these keys, separated by "|"? NULL: it is none. */
static bool
reads_as(const char *list, const char *keys)
{
	DgTextSet  *set = dg_guard_textset_create(CurrentMemoryContext);
	StringInfoData buf;

	if (!parse_keys(list, set))
		return keys == NULL;
	initStringInfo(&buf);
	for (int64 i = 0; i < dg_guard_textset_count(set); i++)
		appendStringInfo(&buf, "%s%s", i > 0 ? "|" : "", dg_guard_textset_get(set, i));
	return keys != NULL && strcmp(buf.data, keys) == 0;
}

PG_FUNCTION_INFO_V1(test_expect_tenants);

Datum
test_expect_tenants(PG_FUNCTION_ARGS)
{
	begin_checks();
	CHECK(reads_as("7", "7"));
	CHECK(reads_as(" 7 ,\t8\n, 9", "7|8|9"));
	CHECK(reads_as("7,7", "7"));
	CHECK(reads_as("a b , c", "a b|c"));
	CHECK(reads_as("\"a,b\", c", "a,b|c"));
	CHECK(reads_as("\" a \"", " a "));
	CHECK(reads_as("\"a\"\"b\"", "a\"b"));
	CHECK(reads_as("\"\"", ""));
	CHECK(reads_as("A,a", "A|a"));
	CHECK(reads_as("a\"b", "a\"b"));
	CHECK(reads_as("", NULL));
	CHECK(reads_as(" ", NULL));
	CHECK(reads_as("7,", NULL));
	CHECK(reads_as(",7", NULL));
	CHECK(reads_as("7,,8", NULL));
	CHECK(reads_as("\"7", NULL));
	CHECK(reads_as("\"7\"\"", NULL));
	CHECK(reads_as("\"7\" 8", NULL));
	PG_RETURN_INT64(checks);
}
