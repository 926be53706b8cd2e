/*
 * extract_keymap.c
 *		A map from keys, given as text, to tenants.
 *
 * Each row of the archive costs one look-up here, so most types are compared
 * by the bytes of their text: those whose equal values are always written in
 * the same way. An archive from before the column had such a type may have
 * spelled a value otherwise ("02"), so what is not written as the type writes it
 * is read by the type and written anew. A value of any other type (numeric, citext, text under a
 * nondeterministic collation, char(n)) is read by the type and compared by
 * its own equality; each distinct text is read once, then it is known.
 *
 * Memory is bounded by maintenance_work_mem: beyond that keys are parted, all
 * parts but one go to disk (rehydrate_spill.c), and the table whose rows are
 * looked up is read once for each part. The distinct values of the other
 * types are not bounded: they stay in memory.
 *
 * The archive reader asks from inside of its callbacks, where nothing may be
 * thrown: there dg_extract_keymap_guess() answers from what is known, or that it is
 * not sure.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "extract/extract_internal.h"
#include "rows/rows.h"

/* spellings of a type's values to remember */
#define MAX_SPELLINGS	100000

/* A value of a type that is not compared by bytes. */
typedef struct TypedValue
{
	struct TypedValue *next;	/* with the same hash */
	int			number;
	Datum		value;
} TypedValue;

typedef struct TypedBucket
{
	uint32		hash;			/* hash key */
	TypedValue *values;
} TypedBucket;

typedef struct KeyColumn
{
	bool		by_bytes;
	Oid			type;			/* under any domain */
	Oid			collation;
	Oid			typioparam;
	int32		typmod;
	int16		typlen;
	bool		typbyval;
	FmgrInfo	input;
	DgRowsRole	role;			/* as whom it runs */
	FmgrInfo	eq;
	FmgrInfo	hash;
	bool		has_hash;
	HTAB	   *buckets;
	int			nvalues;
	DgKeyTable	spellings;		/* text to number of its value, or NOT_A_VALUE */
} KeyColumn;

/* a spelling whose value is not among those that were added */
#define NOT_A_VALUE		INT32_MAX

struct DgKeyMap
{
	int			ncolumns;
	DgKeyTable	table;			/* of the part at hand */
	MemoryContext table_context;
	bool		may_spill;
	DgKeySpill *spill;			/* NULL: there is one part only */
	bool		complete;		/* all keys were added; no part is in memory
								 * only */
	int			part;
	StringInfoData key;			/* of several columns, put together */
	MemoryContext context;
	MemoryContext scratch;
	KeyColumn	columns[FLEXIBLE_ARRAY_MEMBER];
};

/* ----------------------------------------------------------------------
 * Values of a type
 * ----------------------------------------------------------------------
 */

/*
 * Is every value of the type written in one way only, and no other value in
 * the same way?
 */
static bool
equal_by_bytes(Oid type, Oid collation)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case BOOLOID:
		case UUIDOID:
		case NAMEOID:
			return true;
		case TEXTOID:
		case VARCHAROID:
			return get_collation_isdeterministic(OidIsValid(collation) ? collation : DEFAULT_COLLATION_OID);
		default:
			return type_is_enum(type);
	}
}

static bool
is_written_integer(const char *text, size_t len)
{
	const char *digits = len > 0 && text[0] == '-' ? text + 1 : text;
	const char *end = text + len;

	if (digits == end || (digits[0] == '0' && len > 1))
		return false;
	while (digits < end && isdigit((unsigned char) *digits))
		digits++;
	return digits == end;
}

static bool
is_written_uuid(const char *text, size_t len)
{
	if (len != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		bool		dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : strchr("0123456789abcdef", text[i]) == NULL || text[i] == '\0')
			return false;
	}
	return true;
}

/*
 * Is a text written as a type, of those that are compared by bytes, writes its values?
 */
static bool
is_written_so(Oid type, const char *text, size_t len)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
			return is_written_integer(text, len);
		case BOOLOID:
			return len == 1 && (text[0] == 't' || text[0] == 'f');
		case UUIDOID:
			return is_written_uuid(text, len);
		default:
			return true;
	}
}

static void
prepare_typed(KeyColumn *column, Oid type, MemoryContext context)
{
	TypeCacheEntry *cache = lookup_type_cache(type, TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_PROC_FINFO);
	Oid			input;
	HASHCTL		ctl = {0};

	if (!OidIsValid(cache->eq_opr_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an equality operator for type %s", format_type_be(type)),
				 errdetail("It is the type of a column that tells the tenant of rows.")));
	column->typlen = cache->typlen;
	column->typbyval = cache->typbyval;
	fmgr_info_copy(&column->eq, &cache->eq_opr_finfo, context);
	column->has_hash = OidIsValid(cache->hash_proc_finfo.fn_oid);
	if (column->has_hash)
		fmgr_info_copy(&column->hash, &cache->hash_proc_finfo, context);
	getTypeInputInfo(type, &input, &column->typioparam);
	fmgr_info_cxt(input, &column->input, context);
	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(TypedBucket);
	ctl.hcxt = context;
	column->buckets = hash_create("deletion_guard key values", 256, &ctl,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	dg_extract_keytable_init(&column->spellings, context);
}

/*
 * Looks for a value that is equal; adds it if asked to. Returns its number, or
 * NOT_A_VALUE.
 */
static int32
number_of_value(DgKeyMap *map, KeyColumn *column, Datum value, bool add)
{
	uint32		hash = 0;
	TypedBucket *bucket;
	TypedValue *typed;
	bool		found;
	MemoryContext old;

	if (column->has_hash)
		hash = DatumGetUInt32(FunctionCall1Coll(&column->hash, column->collation, value));
	bucket = hash_search(column->buckets, &hash, add ? HASH_ENTER : HASH_FIND, &found);
	for (typed = found ? bucket->values : NULL; typed != NULL; typed = typed->next)
	{
		if (DatumGetBool(FunctionCall2Coll(&column->eq, column->collation, typed->value, value)))
			return typed->number;
	}
	if (!add)
		return NOT_A_VALUE;

	old = MemoryContextSwitchTo(map->context);
	typed = palloc(sizeof(TypedValue));
	typed->number = column->nvalues++;
	typed->value = datumCopy(value, column->typbyval, column->typlen);
	typed->next = found ? bucket->values : NULL;
	bucket->values = typed;
	MemoryContextSwitchTo(old);
	return typed->number;
}

/*
 * The number that stands for a text's value.
 */
static int32
number_of_text(DgKeyMap *map, KeyColumn *column, const DgKeyText *text, bool add)
{
	int32		number = dg_extract_keytable_find(&column->spellings, text->ptr, text->len);
	MemoryContext old;
	Datum		value;

	if (number != DG_KEY_ABSENT && !(add && number == NOT_A_VALUE))
		return number;
	old = MemoryContextSwitchTo(map->scratch);
	dg_rows_as_owner(&column->role);
	value = InputFunctionCall(&column->input, pnstrdup(text->ptr, text->len), column->typioparam, -1);
	dg_rows_as_caller(&column->role);
	number = number_of_value(map, column, value, add);
	MemoryContextSwitchTo(old);
	MemoryContextReset(map->scratch);
	if (column->spellings.count < MAX_SPELLINGS || number != NOT_A_VALUE)
		dg_extract_keytable_put(&column->spellings, text->ptr, text->len, number);
	return number;
}

/* ----------------------------------------------------------------------
 * The map
 * ----------------------------------------------------------------------
 */

/*
 * Makes an empty table for a part.
 */
static void
init_part(DgKeyMap *map)
{
	map->table_context = AllocSetContextCreate(map->context, "deletion_guard key table",
											   ALLOCSET_DEFAULT_SIZES);
	dg_extract_keytable_init(&map->table, map->table_context);
}

/*
 * An empty map, in the current memory context. Its columns are to be set next.
 */
DgKeyMap *
dg_extract_keymap_create(int ncolumns)
{
	DgKeyMap   *map = palloc0(offsetof(DgKeyMap, columns) + sizeof(KeyColumn) * ncolumns);

	map->ncolumns = ncolumns;
	map->context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard keys",
										 ALLOCSET_DEFAULT_SIZES);
	map->scratch = AllocSetContextCreate(map->context, "deletion_guard key", ALLOCSET_SMALL_SIZES);
	init_part(map);
	initStringInfo(&map->key);
	return map;
}

/*
 * Says what type a column's values are of, which collation tells whether they
 * are equal, and who owns the table they are of.
 */
void
dg_extract_keymap_set_column(DgKeyMap *map, int column, Oid type, Oid collation, Oid owner)
{
	Oid			base = getBaseType(type);

	map->columns[column].collation = collation;
	map->columns[column].role = dg_rows_role_of(owner);
	map->columns[column].type = base;
	map->columns[column].by_bytes = equal_by_bytes(base, collation);
	if (!map->columns[column].by_bytes)
		prepare_typed(&map->columns[column], base, map->context);
}

/*
 * An empty map for keys that are values of some columns of a table.
 */
DgKeyMap *
dg_extract_keymap_of_columns(Oid relid, const AttrNumber *attnums, int n)
{
	DgKeyMap   *map = dg_extract_keymap_create(n);

	for (int i = 0; i < n; i++)
	{
		Oid			type;
		int32		typmod;
		Oid			collation;

		get_atttypetypmodcoll(relid, attnums[i], &type, &typmod, &collation);
		dg_extract_keymap_set_column(map, i, type, collation, dg_relation_owner(relid));
	}
	return map;
}

/*
 * A text as the column's type writes it. What the type cannot read is an error. The
 * types that it is about are built in.
 */
static DgKeyText
written_anew(DgKeyMap *map, const KeyColumn *column, const DgKeyText *text)
{
	MemoryContext old = MemoryContextSwitchTo(map->scratch);
	Oid			input;
	Oid			typioparam;
	char	   *anew;

	getTypeInputInfo(column->type, &input, &typioparam);
	anew = dg_value_text(column->type, OidInputFunctionCall(input, pnstrdup(text->ptr, text->len), typioparam, -1));
	MemoryContextSwitchTo(old);
	return (DgKeyText)
	{
		anew, strlen(anew)
	};
}

/*
 * One byte string that stands for the key, valid until the next. False if the key
 * cannot be in the map.
 */
static bool
compose_key(DgKeyMap *map, const DgKeyText *key, bool add, DgKeyText *whole)
{
	MemoryContextReset(map->scratch);
	resetStringInfo(&map->key);
	for (int i = 0; i < map->ncolumns; i++)
	{
		KeyColumn  *column = &map->columns[i];
		DgKeyText	text = key[i];
		uint32		number;

		if (column->by_bytes && !is_written_so(column->type, text.ptr, text.len))
			text = written_anew(map, column, &text);
		if (column->by_bytes && map->ncolumns == 1)
		{
			*whole = text;
			return true;
		}
		number = column->by_bytes ? text.len : number_of_text(map, column, &text, add);
		if (number == NOT_A_VALUE)
			return false;
		appendBinaryStringInfo(&map->key, (char *) &number, sizeof(number));
		if (column->by_bytes)
			appendBinaryStringInfo(&map->key, text.ptr, (int) text.len);
	}
	whole->ptr = map->key.data;
	whole->len = map->key.len;
	return true;
}

/*
 * Lets the map go to disk. Its keys are then looked up part by part.
 */
void
dg_extract_keymap_may_spill(DgKeyMap *map)
{
	map->may_spill = true;
}

/* ----------------------------------------------------------------------
 * Parts
 * ----------------------------------------------------------------------
 */

/*
 * Writes the keys in memory that are of other parts than the first, or all of
 * them, to files.
 */
static void
write_keys(DgKeyMap *map, const DgKeyTable *table, bool all)
{
	for (uint32 i = 0; i <= table->mask; i++)
	{
		const DgKeyEntry *entry = &table->entries[i];
		int			part;

		if (entry->tenant == DG_KEY_ABSENT)
			continue;
		part = dg_extract_spill_part(map->spill, entry->hash);
		if (part != 0 || all)
			dg_extract_spill_write(map->spill, part, dg_keytable_key(entry), entry->len, entry->tenant);
	}
}

/*
 * Doubles the number of parts until what is in memory is small again.
 */
static void
split_parts(DgKeyMap *map)
{
	DgKeyTable	whole = map->table;
	MemoryContext context = map->table_context;
	MemoryContext old = MemoryContextSwitchTo(map->context);

	if (map->spill == NULL)
		map->spill = dg_extract_spill_create();
	if (dg_extract_spill_double(map->spill))
	{
		init_part(map);
		write_keys(map, &whole, false);
		for (uint32 i = 0; i <= whole.mask; i++)
		{
			const DgKeyEntry *entry = &whole.entries[i];

			if (entry->tenant != DG_KEY_ABSENT && dg_extract_spill_part(map->spill, entry->hash) == 0)
				dg_extract_keytable_put(&map->table, dg_keytable_key(entry), entry->len, entry->tenant);
		}
		MemoryContextDelete(context);
	}
	MemoryContextSwitchTo(old);
}

/*
 * Would one more key make the table too large?
 */
static bool
is_full(const DgKeyMap *map)
{
	Size		limit = (Size) maintenance_work_mem * 1024;
	Size		entries = (Size) map->table.mask + 1;

	return MemoryContextMemAllocated(map->table_context, false) > limit ||
		(map->table.count + 1 > entries * 3 / 4 && entries * 2 * sizeof(DgKeyEntry) > limit);
}

/*
 * The number of parts, of which only one can be looked up at a time. No key is
 * added any more.
 */
int
dg_extract_keymap_parts(DgKeyMap *map)
{
	if (map->spill == NULL)
		return 1;
	if (!map->complete)
		write_keys(map, &map->table, true);
	map->complete = true;
	return dg_extract_spill_parts(map->spill);
}

static void
load_key(void *arg, const char *key, size_t len, int tenant)
{
	DgKeyMap   *map = arg;
	uint32		hash = dg_keytable_hash(key, len);

	if (dg_extract_spill_part(map->spill, hash) != map->part)
		return;
	dg_extract_keytable_put(&map->table, key, len, tenant);
}

/*
 * Makes one of several parts the one that is looked up.
 */
void
dg_extract_keymap_load(DgKeyMap *map, int part)
{
	if (map->spill == NULL)
		return;
	MemoryContextDelete(map->table_context);
	init_part(map);
	map->part = part;
	dg_extract_spill_read(map->spill, part, load_key, map);
}

/*
 * Takes all keys away.
 */
void
dg_extract_keymap_clear(DgKeyMap *map)
{
	if (map->spill != NULL)
		dg_extract_spill_free(map->spill);
	map->spill = NULL;
	map->complete = false;
	map->part = 0;
	MemoryContextDelete(map->table_context);
	init_part(map);
}

/* ----------------------------------------------------------------------
 * Keys
 * ----------------------------------------------------------------------
 */

/*
 * Adds a key, or changes the tenant of one that is there. DG_KEY_OTHER_TENANT is a
 * tenant, too.
 */
void
dg_extract_keymap_put(DgKeyMap *map, const DgKeyText *key, int tenant)
{
	DgKeyText	whole;
	int			part = 0;

	(void) compose_key(map, key, true, &whole);
	if (map->may_spill)
	{
		if (is_full(map))
			split_parts(map);
		if (map->spill != NULL)
			part = dg_extract_spill_part(map->spill, dg_keytable_hash(whole.ptr, whole.len));
	}
	if (part != 0)
		dg_extract_spill_write(map->spill, part, whole.ptr, whole.len, tenant);
	else
		dg_extract_keytable_put(&map->table, whole.ptr, whole.len, tenant);
}

/*
 * What a byte string stands for: the number it was put with, DG_KEY_ABSENT, or
 * DG_KEY_ELSEWHERE.
 */
static inline int32
find_whole(const DgKeyMap *map, const char *key, size_t len)
{
	uint32		hash = dg_keytable_hash(key, len);
	int32		tenant = dg_extract_keytable_look(&map->table, hash, key, len)->tenant;

	if (tenant == DG_KEY_ABSENT && map->spill != NULL && dg_extract_spill_part(map->spill, hash) != map->part)
		return DG_KEY_ELSEWHERE;
	return tenant;
}

/*
 * What stands for a key with a value that no key in the map has: only one part
 * says that it is absent.
 */
static inline int32
no_such_value(const DgKeyMap *map)
{
	return map->part == 0 ? DG_KEY_ABSENT : DG_KEY_ELSEWHERE;
}

/*
 * The tenant of a key, or one of DG_KEY_ABSENT, DG_KEY_OTHER_TENANT and
 * DG_KEY_ELSEWHERE.
 */
int
dg_extract_keymap_find(DgKeyMap *map, const DgKeyText *key)
{
	DgKeyText	whole;

	if (map->spill == NULL && map->table.count == 0)
		return DG_KEY_ABSENT;
	if (!compose_key(map, key, false, &whole))
		return no_such_value(map);
	return find_whole(map, whole.ptr, whole.len);
}

/*
 * Finds a key by the text of its first column, without ever throwing: DG_KEY_UNSURE
 * where that column does not settle it.
 */
int
dg_extract_keymap_guess(DgKeyMap *map, const char *text, size_t len)
{
	KeyColumn  *column = &map->columns[0];
	int32		number;

	if (map->spill == NULL && map->table.count == 0)
		return DG_KEY_ABSENT;
	if (map->ncolumns > 1)
		return DG_KEY_UNSURE;
	if (column->by_bytes && !is_written_so(column->type, text, len))
		return DG_KEY_UNSURE;
	if (column->by_bytes)
		return find_whole(map, text, len);
	number = dg_extract_keytable_find(&column->spellings, text, len);
	if (number == DG_KEY_ABSENT)
		return DG_KEY_UNSURE;
	if (number == NOT_A_VALUE)
		return no_such_value(map);
	return find_whole(map, (char *) &number, sizeof(number));
}

/*
 * Does each value have one spelling only?
 */
bool
dg_extract_keymap_is_exact(const DgKeyMap *map)
{
	for (int i = 0; i < map->ncolumns; i++)
	{
		if (!map->columns[i].by_bytes)
			return false;
	}
	return true;
}
