/*
 * extract_keymap.c
 *		A map from keys, given as text, to tenants.
 *
 * Each row of the archive costs one look-up here, so most types are compared by the
 * bytes of their text; the others, through a number for each distinct value
 * (extract_keyvalue.c). Of several columns, one byte string is made.
 *
 * Memory is bounded by maintenance_work_mem: beyond that keys are parted, all
 * parts but one go to disk (extract_keytable.c), and the table whose rows are
 * looked up is read once for each part. The distinct values of the other
 * types are not bounded: they stay in memory.
 *
 * The archive reader asks from inside of its callbacks, where nothing may be
 * thrown: there dg_extract_keymap_guess() answers from what is known, or that it is
 * not sure.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "extract/extract_internal.h"

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
	DgKeyMapColumn columns[FLEXIBLE_ARRAY_MEMBER];
};

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
	DgKeyMap   *map = palloc0(offsetof(DgKeyMap, columns) + sizeof(DgKeyMapColumn) * ncolumns);

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
	dg_extract_keyvalue_init(&map->columns[column], type, collation, owner, map->context);
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
		DgKeyMapColumn *column = &map->columns[i];
		bool		by_bytes = column->typed == NULL;
		DgKeyText	text = key[i];
		uint32		number;

		if (by_bytes && !dg_extract_keyvalue_is_written(column->type, text.ptr, text.len))
		{
			MemoryContext old = MemoryContextSwitchTo(map->scratch);

			text = dg_extract_keyvalue_anew(column, &text);
			MemoryContextSwitchTo(old);
		}
		if (by_bytes && map->ncolumns == 1)
		{
			*whole = text;
			return true;
		}
		number = by_bytes ? text.len : dg_extract_keyvalue_number(column, &text, add, map->scratch);
		if (number == DG_KEY_NO_VALUE)
			return false;
		appendBinaryStringInfo(&map->key, (char *) &number, sizeof(number));
		if (by_bytes)
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
	DgKeyMapColumn *column = &map->columns[0];
	int32		number;

	if (map->spill == NULL && map->table.count == 0)
		return DG_KEY_ABSENT;
	if (map->ncolumns > 1)
		return DG_KEY_UNSURE;
	if (column->typed == NULL)
		return dg_extract_keyvalue_is_written(column->type, text, len) ? find_whole(map, text, len) : DG_KEY_UNSURE;
	number = dg_extract_keyvalue_known(column, text, len);
	if (number == DG_KEY_ABSENT)
		return DG_KEY_UNSURE;
	if (number == DG_KEY_NO_VALUE)
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
		if (map->columns[i].typed != NULL)
			return false;
	}
	return true;
}
