/*
 * compare_rowsort.c
 *		Rows as two hashes, one of the key and one of the content, in a sort
 *		that spills to disk.
 *
 * A hash is of 64 bits, of a value as its type writes it; of a key, by its type's
 * equality. They come out by tenant, key and content, so that two sorts can be
 * merged. A sort may keep the rows themselves as well: then they come out as a
 * person would sort them, by the values of the key or, without one, of all columns.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/sortsupport.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#include "compare/compare_internal.h"

/* ----------------------------------------------------------------------
 * Hashes
 * ----------------------------------------------------------------------
 */

/* How a column is hashed. */
typedef struct Column
{
	bool		compared;		/* all of the archive's rows have it too */
	bool		in_key;
	bool		in_unique;		/* in a unique index that is not the key's */
	FmgrInfo	output;
	FmgrInfo	hash;			/* by the type's equality; unset: by its text */
	Oid			collation;
} Column;

struct DgRowHash
{
	Relation	rel;
	int			natts;
	Column	   *columns;
	bool		has_key;
	bool		uniques;		/* a hash of them is wanted */
	List	   *key;			/* column numbers of the primary key, in its
								 * order */
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
		hash->key = lappend_int(hash->key, index->rd_index->indkey.values[i]);
	}
	index_close(index, AccessShareLock);
}

static void
describe_columns(DgRowHash *hash, Relation rel, const DgExtractPlan *plan)
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
			!dg_extract_account_has_column(plan, RelationGetRelid(rel), NameStr(att->attname)))
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
dg_compare_rowhash_make(Relation rel, const DgExtractPlan *plan)
{
	DgRowHash  *hash = palloc0(sizeof(DgRowHash));

	hash->rel = rel;
	hash->natts = RelationGetDescr(rel)->natts;
	describe_columns(hash, rel, plan);
	find_key(hash, rel);
	initStringInfo(&hash->buf);
	return hash;
}

/*
 * From now on also makes a hash of the columns by which a row may be in another's
 * way, beside the primary key.
 */
void
dg_compare_rowhash_uniques(DgRowHash *hash)
{
	Oid			key = dg_primary_key_index(hash->rel);
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(hash->rel))
	{
		Relation	index;
		Bitmapset  *attnums = NULL;
		int			attnum = -1;

		if (lfirst_oid(lc) == key)
			continue;
		index = index_open(lfirst_oid(lc), AccessShareLock);
		for (int i = 0; i < index->rd_index->indnkeyatts; i++)
			attnums = bms_add_member(attnums, index->rd_index->indkey.values[i] - FirstLowInvalidHeapAttributeNumber);
		pull_varattnos((Node *) RelationGetIndexExpressions(index), 1, &attnums);
		pull_varattnos((Node *) RelationGetIndexPredicate(index), 1, &attnums);
		while ((index->rd_index->indisunique || index->rd_index->indisexclusion) &&
			   (attnum = bms_next_member(attnums, attnum)) >= 0)
		{
			if (attnum + FirstLowInvalidHeapAttributeNumber > 0)
				hash->columns[attnum + FirstLowInvalidHeapAttributeNumber - 1].in_unique = hash->uniques = true;
		}
		index_close(index, AccessShareLock);
	}
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
 * A hash of some columns' values as their types write them.
 */
static int64
hash_texts(DgRowHash *hash, TupleTableSlot *slot, bool uniques)
{
	StringInfo	buf = &hash->buf;

	resetStringInfo(buf);
	for (int i = 0; i < hash->natts; i++)
	{
		char	   *text = NULL;

		if (!hash->columns[i].compared || (uniques && !hash->columns[i].in_unique))
			continue;
		if (!slot->tts_isnull[i])
			text = OutputFunctionCall(&hash->columns[i].output, slot->tts_values[i]);
		appendStringInfoChar(buf, text == NULL ? 0 : 1);
		if (text != NULL)
			appendBinaryStringInfo(buf, text, (int) strlen(text) + 1);
	}
	return hash_of(buf);
}

/*
 * Makes the hashes of a live row, or of one that was mapped to be like one.
 */
void
dg_compare_rowhash(DgRowHash *hash, TupleTableSlot *slot, DgHashedRow *row)
{
	StringInfo	buf = &hash->buf;

	slot_getallattrs(slot);
	row->content = row->key = hash_texts(hash, slot, false);
	if (hash->uniques)
		row->uniques = hash_texts(hash, slot, true);
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

/*
 * The numbers of the columns of the primary key; NIL if rows are told by their
 * content.
 */
List *
dg_compare_rowhash_key(const DgRowHash *hash)
{
	return hash->has_key ? hash->key : NIL;
}

/*
 * The numbers of the columns that are compared.
 */
List *
dg_compare_rowhash_compared(const DgRowHash *hash)
{
	List	   *attnums = NIL;

	for (int i = 0; i < hash->natts; i++)
	{
		if (hash->columns[i].compared)
			attnums = lappend_int(attnums, i + 1);
	}
	return attnums;
}

static char *
text_of(DgRowHash *hash, TupleTableSlot *slot, AttrNumber attnum)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, attnum, &isnull);

	return isnull ? NULL : OutputFunctionCall(&hash->columns[attnum - 1].output, value);
}

/*
 * The numbers of the columns that two rows differ in.
 */
List *
dg_compare_rowhash_differing(DgRowHash *hash, TupleTableSlot *a, TupleTableSlot *b)
{
	List	   *attnums = NIL;
	ListCell   *lc;

	foreach(lc, dg_compare_rowhash_compared(hash))
	{
		char	   *left = text_of(hash, a, lfirst_int(lc));
		char	   *right = text_of(hash, b, lfirst_int(lc));

		if (left == NULL ? right != NULL : right == NULL || strcmp(left, right) != 0)
			attnums = lappend_int(attnums, lfirst_int(lc));
	}
	return attnums;
}

/* ----------------------------------------------------------------------
 * Sorts
 * ----------------------------------------------------------------------
 */

/* A row as a tuple; the columns of its table follow, if they are kept. */
#define Anum_tenant		1
#define Anum_key		2
#define Anum_content	3
#define Anum_purged		4
#define Anum_relid		5
#define Anum_address	6
#define Anum_uniques	7
#define Natts_row		7

/* By what rows are sorted. */
typedef struct Order
{
	int			n;
	AttrNumber	attnums[MaxHeapAttributeNumber + 3];
	Oid			operators[MaxHeapAttributeNumber + 3];
	Oid			collations[MaxHeapAttributeNumber + 3];
	bool		nulls_first[MaxHeapAttributeNumber + 3];
} Order;

struct DgRowSort
{
	Tuplesortstate *state;
	TupleDesc	desc;
	TupleTableSlot *in;
	TupleTableSlot *out;
	int			nvalues;		/* columns of the table that come first in the
								 * order */
	SortSupport values;
};

static void
add_to_order(Order *order, AttrNumber attnum, Oid operator, Oid collation)
{
	order->attnums[order->n] = attnum;
	order->operators[order->n] = operator;
	order->collations[order->n++] = collation;
}

/*
 * Adds those of some columns of the table that have an order; what they leave
 * undecided, the hashes decide.
 */
static void
add_values_to_order(Order *order, const DgRowHash *hash, List *attnums)
{
	ListCell   *lc;

	foreach(lc, attnums)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(hash->rel), lfirst_int(lc) - 1);
		TypeCacheEntry *cache = lookup_type_cache(att->atttypid, TYPECACHE_LT_OPR);

		if (OidIsValid(cache->lt_opr))
			add_to_order(order, Natts_row + lfirst_int(lc), cache->lt_opr, att->attcollation);
	}
}

/*
 * How to compare rows that come out of different sorts.
 */
static void
prepare_values(DgRowSort *sort, const Order *order)
{
	sort->nvalues = order->n - 3;
	sort->values = palloc0(sizeof(SortSupportData) * (sort->nvalues + 1));
	for (int i = 0; i < sort->nvalues; i++)
	{
		SortSupport support = &sort->values[i];

		support->ssup_cxt = CurrentMemoryContext;
		support->ssup_collation = order->collations[i + 1];
		support->ssup_attno = order->attnums[i + 1];
		PrepareSortSupportFromOrderingOp(order->operators[i + 1], support);
	}
}

static TupleDesc
describe_rows(const DgRowHash *whole)
{
	TupleDesc	desc = CreateTemplateTupleDesc(Natts_row + (whole == NULL ? 0 : whole->natts));

	TupleDescInitEntry(desc, Anum_tenant, "tenant", INT4OID, -1, 0);
	TupleDescInitEntry(desc, Anum_key, "key", INT8OID, -1, 0);
	TupleDescInitEntry(desc, Anum_content, "content", INT8OID, -1, 0);
	TupleDescInitEntry(desc, Anum_purged, "purged", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, Anum_relid, "relid", OIDOID, -1, 0);
	TupleDescInitEntry(desc, Anum_address, "address", INT8OID, -1, 0);
	TupleDescInitEntry(desc, Anum_uniques, "uniques", INT8OID, -1, 0);
	for (int i = 0; whole != NULL && i < whole->natts; i++)
		TupleDescCopyEntry(desc, Natts_row + i + 1, RelationGetDescr(whole->rel), i + 1);
	dg_tupdesc_finalize(desc);
	return desc;
}

/*
 * Begins a sort, in the current memory context; memory is in kilobytes. With
 * "whole", which has hashed the rows, these are kept.
 */
DgRowSort *
dg_compare_rowsort_begin(const DgRowHash *whole, int memory)
{
	DgRowSort  *sort = palloc0(sizeof(DgRowSort));
	Order	   *order = palloc0(sizeof(Order));

	add_to_order(order, Anum_tenant, Int4LessOperator, InvalidOid);
	if (whole != NULL)
		add_values_to_order(order, whole, whole->has_key ? whole->key : dg_compare_rowhash_compared(whole));
	add_to_order(order, Anum_key, Int8LessOperator, InvalidOid);
	add_to_order(order, Anum_content, Int8LessOperator, InvalidOid);
	prepare_values(sort, order);
	sort->desc = describe_rows(whole);
	sort->in = MakeSingleTupleTableSlot(sort->desc, &TTSOpsVirtual);
	sort->out = MakeSingleTupleTableSlot(sort->desc, &TTSOpsMinimalTuple);
	sort->state = tuplesort_begin_heap(sort->desc, order->n, order->attnums, order->operators, order->collations,
									   order->nulls_first, memory, NULL, TUPLESORT_NONE);
	pfree(order);
	return sort;
}

/*
 * Puts a row; its values are looked at only if they are kept.
 */
void
dg_compare_rowsort_put(DgRowSort *sort, const DgHashedRow *row, TupleTableSlot *values)
{
	TupleTableSlot *slot = sort->in;
	int			nvalues = sort->desc->natts - Natts_row;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, Natts_row * sizeof(bool));
	slot->tts_values[Anum_tenant - 1] = Int32GetDatum(row->tenant);
	slot->tts_values[Anum_key - 1] = Int64GetDatum(row->key);
	slot->tts_values[Anum_content - 1] = Int64GetDatum(row->content);
	slot->tts_values[Anum_purged - 1] = BoolGetDatum(row->purged);
	slot->tts_values[Anum_relid - 1] = ObjectIdGetDatum(row->relid);
	slot->tts_values[Anum_address - 1] = Int64GetDatum(row->address);
	slot->tts_values[Anum_uniques - 1] = Int64GetDatum(row->uniques);
	memcpy(slot->tts_values + Natts_row, values->tts_values, nvalues * sizeof(Datum));
	memcpy(slot->tts_isnull + Natts_row, values->tts_isnull, nvalues * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(sort->state, slot);
}

/*
 * All rows were put.
 */
void
dg_compare_rowsort_perform(DgRowSort *sort)
{
	tuplesort_performsort(sort->state);
}

/*
 * Gets the next row; false at the end.
 */
bool
dg_compare_rowsort_next(DgRowSort *sort, DgHashedRow *row)
{
	TupleTableSlot *slot = sort->out;

	if (!tuplesort_gettupleslot(sort->state, true, false, slot, NULL))
		return false;
	slot_getallattrs(slot);
	row->tenant = DatumGetInt32(slot->tts_values[Anum_tenant - 1]);
	row->key = DatumGetInt64(slot->tts_values[Anum_key - 1]);
	row->content = DatumGetInt64(slot->tts_values[Anum_content - 1]);
	row->purged = DatumGetBool(slot->tts_values[Anum_purged - 1]);
	row->relid = DatumGetObjectId(slot->tts_values[Anum_relid - 1]);
	row->address = DatumGetInt64(slot->tts_values[Anum_address - 1]);
	row->uniques = DatumGetInt64(slot->tts_values[Anum_uniques - 1]);
	return true;
}

/*
 * Stores the row that came out last in a slot of its table's shape, where it is
 * good until the next one comes.
 */
void
dg_compare_rowsort_row(DgRowSort *sort, TupleTableSlot *slot)
{
	int			nvalues = sort->desc->natts - Natts_row;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, sort->out->tts_values + Natts_row, nvalues * sizeof(Datum));
	memcpy(slot->tts_isnull, sort->out->tts_isnull + Natts_row, nvalues * sizeof(bool));
	ExecStoreVirtualTuple(slot);
}

/*
 * Frees the rows, and their files.
 */
void
dg_compare_rowsort_end(DgRowSort *sort)
{
	ExecDropSingleTupleTableSlot(sort->out);
	ExecDropSingleTupleTableSlot(sort->in);
	tuplesort_end(sort->state);
	pfree(sort);
}

/*
 * The order of two rows, by tenant and key: a came last out of one sort, b out of
 * another.
 */
int
dg_compare_rowsort_compare(const DgRowSort *sort_a, const DgHashedRow *a, const DgRowSort *sort_b, const DgHashedRow *b)
{
	if (a->tenant != b->tenant)
		return a->tenant < b->tenant ? -1 : 1;
	for (int i = 0; i < sort_a->nvalues; i++)
	{
		SortSupport support = &sort_a->values[i];
		int			column = support->ssup_attno - 1;
		int			order = ApplySortComparator(sort_a->out->tts_values[column], sort_a->out->tts_isnull[column],
												sort_b->out->tts_values[column], sort_b->out->tts_isnull[column], support);

		if (order != 0)
			return order;
	}
	return a->key < b->key ? -1 : a->key > b->key;
}
