/*
 * rehydrate_rowsort.c
 *		Rows as two hashes, one of the key and one of the content, in a sort
 *		that spills to disk.
 *
 * A hash is of 64 bits, of a value as its type writes it; of a key, by its type's
 * equality. They come out by tenant, key and content, so that two sorts can be
 * merged.
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "utils/lsyscache.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#include "rehydrate/rehydrate_internal.h"

/* ----------------------------------------------------------------------
 * Hashes
 * ----------------------------------------------------------------------
 */

/* How a column is hashed. */
typedef struct Column
{
	bool		compared;		/* all of the archive's rows have it too */
	bool		in_key;
	FmgrInfo	output;
	FmgrInfo	hash;			/* by the type's equality; unset: by its text */
	Oid			collation;
} Column;

struct DgRowHash
{
	int			natts;
	Column	   *columns;
	bool		has_key;
	StringInfoData buf;
};

/*
 * Marks the columns of the primary key, unless the archive lacks one of them.
 */
static void
find_key(DgRowHash *hash, Relation rel)
{
	Oid			indexid = dg_primary_key_index(rel);
	Relation	index;

	if (!OidIsValid(indexid))
		return;
	index = index_open(indexid, AccessShareLock);
	hash->has_key = true;
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		Column	   *column = &hash->columns[index->rd_index->indkey.values[i] - 1];

		column->in_key = true;
		hash->has_key &= column->compared;
	}
	index_close(index, AccessShareLock);
}

static void
describe_columns(DgRowHash *hash, Relation rel, const DgRehydratePlan *plan)
{
	TupleDesc	desc = RelationGetDescr(rel);

	hash->columns = palloc0(sizeof(Column) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Column	   *column = &hash->columns[i];
		TypeCacheEntry *cache;
		Oid			output;
		bool		varlena;

		if (att->attisdropped || att->attgenerated != '\0' ||
			!dg_rehydrate_account_has_column(plan, RelationGetRelid(rel), NameStr(att->attname)))
			continue;
		column->compared = true;
		column->collation = att->attcollation;
		getTypeOutputInfo(att->atttypid, &output, &varlena);
		fmgr_info(output, &column->output);
		cache = lookup_type_cache(att->atttypid, TYPECACHE_HASH_EXTENDED_PROC_FINFO);
		if (OidIsValid(cache->hash_extended_proc_finfo.fn_oid))
			fmgr_info_copy(&column->hash, &cache->hash_extended_proc_finfo, CurrentMemoryContext);
	}
}

/*
 * How rows of a live table are hashed, by what a plan's archive has of it; in the
 * current memory context.
 */
DgRowHash *
dg_rehydrate_rowhash_make(Relation rel, const DgRehydratePlan *plan)
{
	DgRowHash  *hash = palloc0(sizeof(DgRowHash));

	hash->natts = RelationGetDescr(rel)->natts;
	describe_columns(hash, rel, plan);
	find_key(hash, rel);
	initStringInfo(&hash->buf);
	return hash;
}

static void
append_key(StringInfo buf, const Column *column, Datum value)
{
	uint64		hash;

	if (!OidIsValid(column->hash.fn_oid))
	{
		char	   *text = OutputFunctionCall(unconstify(FmgrInfo *, &column->output), value);

		appendBinaryStringInfo(buf, text, (int) strlen(text) + 1);
		return;
	}
	hash = DatumGetUInt64(FunctionCall2Coll(unconstify(FmgrInfo *, &column->hash), column->collation,
											value, Int64GetDatum(0)));
	appendBinaryStringInfo(buf, (char *) &hash, sizeof(hash));
}

static int64
hash_of(StringInfo buf)
{
	return (int64) hash_bytes_extended((unsigned char *) buf->data, buf->len, 0);
}

/*
 * Makes the hashes of a live row, or of one that was mapped to be like one.
 */
void
dg_rehydrate_rowhash(DgRowHash *hash, TupleTableSlot *slot, DgHashedRow *row)
{
	StringInfo	buf = &hash->buf;

	slot_getallattrs(slot);
	resetStringInfo(buf);
	for (int i = 0; i < hash->natts; i++)
	{
		char	   *text = NULL;

		if (!hash->columns[i].compared)
			continue;
		if (!slot->tts_isnull[i])
			text = OutputFunctionCall(&hash->columns[i].output, slot->tts_values[i]);
		appendStringInfoChar(buf, text == NULL ? 0 : 1);
		if (text != NULL)
			appendBinaryStringInfo(buf, text, (int) strlen(text) + 1);
	}
	row->content = row->key = hash_of(buf);
	if (!hash->has_key)
		return;

	resetStringInfo(buf);
	for (int i = 0; i < hash->natts; i++)
	{
		if (hash->columns[i].in_key && !slot->tts_isnull[i])
			append_key(buf, &hash->columns[i], slot->tts_values[i]);
	}
	row->key = hash_of(buf);
}

/* ----------------------------------------------------------------------
 * Sorts
 * ----------------------------------------------------------------------
 */

/* A row as a tuple. */
#define Anum_tenant		1
#define Anum_key		2
#define Anum_content	3
#define Anum_purged		4
#define Natts_row		4

struct DgRowSort
{
	Tuplesortstate *state;
	TupleDesc	desc;
	TupleTableSlot *in;
	TupleTableSlot *out;
};

/*
 * Begins a sort, in the current memory context; memory is in kilobytes.
 */
DgRowSort *
dg_rehydrate_rowsort_begin(int memory)
{
	AttrNumber	attnums[] = {Anum_tenant, Anum_key, Anum_content};
	Oid			operators[] = {Int4LessOperator, Int8LessOperator, Int8LessOperator};
	Oid			collations[] = {InvalidOid, InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false, false};
	DgRowSort  *sort = palloc(sizeof(DgRowSort));

	sort->desc = CreateTemplateTupleDesc(Natts_row);
	TupleDescInitEntry(sort->desc, Anum_tenant, "tenant", INT4OID, -1, 0);
	TupleDescInitEntry(sort->desc, Anum_key, "key", INT8OID, -1, 0);
	TupleDescInitEntry(sort->desc, Anum_content, "content", INT8OID, -1, 0);
	TupleDescInitEntry(sort->desc, Anum_purged, "purged", BOOLOID, -1, 0);
	dg_tupdesc_finalize(sort->desc);
	sort->in = MakeSingleTupleTableSlot(sort->desc, &TTSOpsVirtual);
	sort->out = MakeSingleTupleTableSlot(sort->desc, &TTSOpsMinimalTuple);
	sort->state = tuplesort_begin_heap(sort->desc, lengthof(attnums), attnums, operators, collations,
									   nulls_first, memory, NULL, TUPLESORT_NONE);
	return sort;
}

void
dg_rehydrate_rowsort_put(DgRowSort *sort, const DgHashedRow *row)
{
	TupleTableSlot *slot = sort->in;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, Natts_row * sizeof(bool));
	slot->tts_values[Anum_tenant - 1] = Int32GetDatum(row->tenant);
	slot->tts_values[Anum_key - 1] = Int64GetDatum(row->key);
	slot->tts_values[Anum_content - 1] = Int64GetDatum(row->content);
	slot->tts_values[Anum_purged - 1] = BoolGetDatum(row->purged);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(sort->state, slot);
}

/*
 * All rows were put.
 */
void
dg_rehydrate_rowsort_perform(DgRowSort *sort)
{
	tuplesort_performsort(sort->state);
}

/*
 * Gets the next row; false at the end.
 */
bool
dg_rehydrate_rowsort_next(DgRowSort *sort, DgHashedRow *row)
{
	TupleTableSlot *slot = sort->out;

	if (!tuplesort_gettupleslot(sort->state, true, false, slot, NULL))
		return false;
	slot_getallattrs(slot);
	row->tenant = DatumGetInt32(slot->tts_values[Anum_tenant - 1]);
	row->key = DatumGetInt64(slot->tts_values[Anum_key - 1]);
	row->content = DatumGetInt64(slot->tts_values[Anum_content - 1]);
	row->purged = DatumGetBool(slot->tts_values[Anum_purged - 1]);
	return true;
}

void
dg_rehydrate_rowsort_end(DgRowSort *sort)
{
	ExecDropSingleTupleTableSlot(sort->out);
	ExecDropSingleTupleTableSlot(sort->in);
	tuplesort_end(sort->state);
	pfree(sort);
}

/*
 * The order of two rows, by tenant and key.
 */
int
dg_rehydrate_rowsort_compare(const DgHashedRow *a, const DgHashedRow *b)
{
	if (a->tenant != b->tenant)
		return a->tenant < b->tenant ? -1 : 1;
	return a->key < b->key ? -1 : a->key > b->key;
}
