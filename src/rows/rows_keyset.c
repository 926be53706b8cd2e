/*
 * rows_keyset.c
 *		Sets of keys: the values of some columns of many rows, each once.
 *
 * Two keys are the same if their bytes are. A set that has taken up its share
 * of memory says so, and what is not in it may have been left out.
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "rows/rows_internal.h"

#define MAX_KEYS_BYTES	(32 * 1024 * 1024)

/*
 * A key: for each column the value's bytes, with their number in front where
 * the type does not fix it. Short ones are kept where they are, so that an
 * entry takes 24 bytes; of a longer one there is a pointer to its length and
 * bytes.
 */
#define INLINE_KEY		14
#define LONG_KEY		(INLINE_KEY + 1)

typedef struct Key
{
	uint16		len;			/* or LONG_KEY */
	char		bytes[INLINE_KEY];
} Key;

typedef struct KeyEntry
{
	uint32		hash;
	Key			key;			/* hash key */
	char		status;
} KeyEntry;

static inline const char *
key_bytes(const Key *key, uint32 *len)
{
	char	   *at;

	*len = key->len;
	if (key->len != LONG_KEY)
		return key->bytes;
	memcpy(&at, key->bytes, sizeof(at));
	memcpy(len, at, sizeof(*len));
	return at + sizeof(*len);
}

static inline uint32
key_hash(const Key *key)
{
	uint32		len;
	const char *bytes = key_bytes(key, &len);

	return hash_bytes((const unsigned char *) bytes, len);
}

static inline bool
key_equal(const Key *a, const Key *b)
{
	uint32		alen;
	uint32		blen;
	const char *abytes = key_bytes(a, &alen);
	const char *bbytes = key_bytes(b, &blen);

	return alen == blen && memcmp(abytes, bbytes, alen) == 0;
}

#define SH_PREFIX keyset
#define SH_ELEMENT_TYPE KeyEntry
#define SH_KEY_TYPE Key
#define SH_KEY key
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) a->hash
#define SH_HASH_KEY(tb, key) key_hash(&(key))
#define SH_EQUAL(tb, a, b) key_equal(&(a), &(b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Keys of one set of columns. */
struct DgKeySet
{
	MemoryContext context;
	keyset_hash *keys;
	int			nkeys;
	AttrNumber	attnums[INDEX_MAX_KEYS];
	int16		len[INDEX_MAX_KEYS];
	bool		byval[INDEX_MAX_KEYS];
	Oid			types[INDEX_MAX_KEYS];
	bool		full;			/* no more are added */
	Key			key;			/* the one at hand */
	char	   *work;			/* its length and bytes */
	uint32		work_len;
	Size		work_size;
};

/*
 * An empty set of keys, of some columns of rows of that kind, in a memory context.
 */
DgKeySet *
dg_rows_keyset_make(MemoryContext parent, TupleDesc desc, int nkeys, const AttrNumber *attnums)
{
	MemoryContext context = AllocSetContextCreate(parent, "deletion_guard keys", ALLOCSET_DEFAULT_SIZES);
	DgKeySet   *set = MemoryContextAllocZero(parent, sizeof(DgKeySet));

	set->context = context;
	set->keys = keyset_create(context, 256, NULL);
	set->nkeys = nkeys;
	for (int i = 0; i < nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, attnums[i] - 1);

		set->attnums[i] = attnums[i];
		set->len[i] = att->attlen;
		set->byval[i] = att->attbyval;
		set->types[i] = att->atttypid;
	}
	set->work_size = 256;
	set->work = MemoryContextAlloc(parent, set->work_size);
	return set;
}

/*
 * Makes room for so many more bytes of the key at hand.
 */
static inline char *
extend_key(DgKeySet *set, Size size)
{
	char	   *at;

	if (set->work_len + size > set->work_size)
	{
		set->work_size = (set->work_len + size) * 2;
		set->work = repalloc(set->work, set->work_size);
	}
	at = set->work + set->work_len;
	set->work_len += size;
	return at;
}

static void
append_value(DgKeySet *set, Datum value, int i)
{
	Datum		plain = value;
	uint32		size;
	char	   *at;

	if (set->byval[i])
	{
		Datum		aligned = (Datum) 0;

		store_att_byval(&aligned, value, set->len[i]);
		memcpy(extend_key(set, set->len[i]), &aligned, set->len[i]);
		return;
	}
	if (set->len[i] == -1)
		plain = PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	size = set->len[i] == -1 ? VARSIZE_ANY_EXHDR(DatumGetPointer(plain)) :
		datumGetSize(value, false, set->len[i]);
	at = extend_key(set, sizeof(size) + size);
	memcpy(at, &size, sizeof(size));
	memcpy(at + sizeof(size), set->len[i] == -1 ? VARDATA_ANY(DatumGetPointer(plain)) :
		   DatumGetPointer(plain), size);
	if (plain != value)
		pfree(DatumGetPointer(plain));
}

/*
 * What is in work becomes the key at hand.
 */
static void
set_key(DgKeySet *set)
{
	uint32		len = set->work_len - sizeof(len);

	if (len <= INLINE_KEY)
	{
		set->key.len = (uint16) len;
		memcpy(set->key.bytes, set->work + sizeof(len), len);
		return;
	}
	memcpy(set->work, &len, sizeof(len));
	set->key.len = LONG_KEY;
	memcpy(set->key.bytes, &set->work, sizeof(set->work));
}

/*
 * Makes the key of a row the one at hand. Returns how many of its columns are
 * null; with any, there is no key.
 */
int
dg_rows_keyset_read(DgKeySet *set, TupleTableSlot *slot)
{
	int			nulls = 0;

	set->work_len = sizeof(uint32);
	for (int i = 0; i < set->nkeys; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, set->attnums[i], &isnull);

		if (isnull)
			nulls++;
		else if (nulls == 0)
			append_value(set, value, i);
	}
	set_key(set);
	return nulls;
}

/*
 * Adds the key at hand; true if it is a new one.
 */
bool
dg_rows_keyset_add(DgKeySet *set)
{
	return dg_rows_keyset_add_of(set, set);
}

/*
 * Is the key that another set has at hand, of columns of the same types, in this
 * one?
 */
bool
dg_rows_keyset_has_of(DgKeySet *set, const DgKeySet *other)
{
	return keyset_lookup(set->keys, other->key) != NULL;
}

/*
 * Adds such a key; true if it is a new one.
 */
bool
dg_rows_keyset_add_of(DgKeySet *set, const DgKeySet *other)
{
	bool		found;
	KeyEntry   *entry = keyset_insert(set->keys, other->key, &found);

	if (found)
		return false;
	if (other->key.len == LONG_KEY)
	{
		char	   *copy = MemoryContextAlloc(set->context, other->work_len);

		memcpy(copy, other->work, other->work_len);
		memcpy(entry->key.bytes, &copy, sizeof(copy));
	}
	set->full = MemoryContextMemAllocated(set->context, false) > MAX_KEYS_BYTES;
	return true;
}

/*
 * Forgets all keys.
 */
void
dg_rows_keyset_forget(DgKeySet *set)
{
	MemoryContextReset(set->context);
	set->keys = keyset_create(set->context, 256, NULL);
	set->full = false;
}

/*
 * The values of a key, palloc'd; for a foreign key's slot.
 */
static void
key_values(DgKeySet *set, const Key *key, TupleTableSlot *slot)
{
	uint32		len;
	const char *at = key_bytes(key, &len);

	ExecClearTuple(slot);
	for (int i = 0; i < set->nkeys; i++)
	{
		uint32		size = set->len[i];
		char	   *value;

		slot->tts_isnull[i] = false;
		if (set->byval[i])
		{
			Datum		aligned = (Datum) 0;

			memcpy(&aligned, at, size);
			slot->tts_values[i] = fetch_att(&aligned, true, size);
			at += size;
			continue;
		}
		memcpy(&size, at, sizeof(size));
		at += sizeof(size);
		value = palloc(VARHDRSZ + size);
		if (set->len[i] == -1)
			SET_VARSIZE(value, VARHDRSZ + size);
		memcpy(set->len[i] == -1 ? VARDATA(value) : value, at, size);
		slot->tts_values[i] = PointerGetDatum(value);
		at += size;
	}
	ExecStoreVirtualTuple(slot);
}

/*
 * Has the set taken up its share of memory?
 */
bool
dg_rows_keyset_is_full(DgKeySet *set)
{
	return set->full;
}

/*
 * Appends the keys that another set (or NULL) does not have to a tuplestore,
 * by a slot of the keys' columns. The tuplestore is made, in the current memory
 * context, for the first of them.
 */
void
dg_rows_keyset_store(DgKeySet *set, DgKeySet *except, TupleTableSlot *slot, Tuplestorestate **store)
{
	keyset_iterator it;
	KeyEntry   *entry;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard key",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	keyset_start_iterate(set->keys, &it);
	while ((entry = keyset_iterate(set->keys, &it)) != NULL)
	{
		if (except != NULL && keyset_lookup(except->keys, entry->key) != NULL)
			continue;
		if (*store == NULL)
		{
			MemoryContextSwitchTo(old);
			*store = tuplestore_begin_heap(false, false, work_mem);
			MemoryContextSwitchTo(context);
		}
		key_values(set, &entry->key, slot);
		tuplestore_puttupleslot(*store, slot);
		ExecClearTuple(slot);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
