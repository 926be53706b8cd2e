/*
 * rows_pending.c
 *		Keys of rows that are held back in a batch.
 *
 * The bin may hold several versions of a row: of several deletions of one key.
 * Whether a row conflicts with a live one is asked before it is written, and
 * an index does not know of rows in a batch yet. So the hashes of their keys
 * are kept, and where a row seems to have one of them, the batch is written
 * first. A hash that is found by chance costs no more than that. What an
 * exclusion constraint compares cannot be hashed: with one, rows are written one
 * by one.
 */
#include "postgres.h"

#include "catalog/index.h"
#include "common/hashfn.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "rows/rows_internal.h"

typedef struct PendingKey
{
	uint32		hash;			/* hash key */
	char		status;
} PendingKey;

#define SH_PREFIX pending
#define SH_ELEMENT_TYPE PendingKey
#define SH_KEY_TYPE uint32
#define SH_KEY hash
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct DgRowsPending
{
	List	   *arbiters;		/* OIDs of the indexes that are asked */
	pending_hash *keys;
	bool		any;			/* there are rows */
};

/*
 * An empty set of keys of rows in a batch, by the table's arbiters
 * (dg_rows_arbiters()), in the current memory context; NULL if there are no
 * arbiters.
 */
DgRowsPending *
dg_rows_pending_make(List *arbiters)
{
	DgRowsPending *pending;

	if (arbiters == NIL)
		return NULL;
	pending = palloc0(sizeof(DgRowsPending));
	pending->arbiters = arbiters;
	pending->keys = pending_create(CurrentMemoryContext, 1024, NULL);
	return pending;
}

/*
 * A hash that equal values of the column share.
 */
static uint32
hash_key_value(Relation index, int column, Datum value)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(index), column);
	TypeCacheEntry *type = lookup_type_cache(index->rd_opcintype[column], TYPECACHE_HASH_PROC_FINFO);

	if (OidIsValid(type->hash_proc_finfo.fn_oid))
		return DatumGetUInt32(FunctionCall1Coll(&type->hash_proc_finfo,
												index->rd_indcollation[column], value));
	return datum_image_hash(value, att->attbyval, att->attlen);
}

/*
 * The hash of a row's key; false if it has none that another row could have too,
 * as nulls are not equal.
 */
static bool
hash_key(Relation index, IndexInfo *info, EState *estate, TupleTableSlot *slot, uint32 *hash)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];

	FormIndexDatum(info, slot, estate, values, isnull);
	*hash = hash_uint32(RelationGetRelid(index));
	for (int i = 0; i < info->ii_NumIndexKeyAttrs; i++)
	{
		if (isnull[i] && !info->ii_NullsNotDistinct)
			return false;
		*hash = hash_combine(*hash, isnull[i] ? 0 : hash_key_value(index, i, values[i]));
	}
	return true;
}

/*
 * Takes note of a row's keys. True if a row that was noted before seems to
 * have one of them.
 */
bool
dg_rows_pending_add(DgRowsPending *pending, ResultRelInfo *rri, EState *estate, TupleTableSlot *slot)
{
	bool		seen = false;
	bool		any = pending->any;

	pending->any = true;
	GetPerTupleExprContext(estate)->ecxt_scantuple = slot;
	for (int i = 0; i < rri->ri_NumIndices; i++)
	{
		Relation	index = rri->ri_IndexRelationDescs[i];
		bool		found;
		uint32		hash;

		if (!list_member_oid(pending->arbiters, RelationGetRelid(index)))
			continue;
		if (rri->ri_IndexRelationInfo[i]->ii_ExclusionOps != NULL)
		{
			seen |= any;
			continue;
		}
		if (!hash_key(index, rri->ri_IndexRelationInfo[i], estate, slot, &hash))
			continue;
		(void) pending_insert(pending->keys, hash, &found);
		seen |= found;
	}
	return seen;
}

/*
 * Forgets the keys: the batch has been written.
 */
void
dg_rows_pending_reset(DgRowsPending *pending)
{
	pending_reset(pending->keys);
	pending->any = false;
}
