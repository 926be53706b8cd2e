/*
 * rehydrate_keytable.c
 *		A hash table of byte strings, with a number for each.
 *
 * It is asked once for each row of an archive: open addressing, entries
 * that hold short strings themselves, at most three quarters full.
 */
#include "postgres.h"

#include "rehydrate/rehydrate_internal.h"


/*
 * Makes an empty table, whose memory is all of one context.
 */
void
dg_rehydrate_keytable_init(DgKeyTable *table, MemoryContext context)
{
	table->mask = 63;
	table->count = 0;
	table->context = context;
	table->entries = MemoryContextAlloc(context, sizeof(DgKeyEntry) * (table->mask + 1));
	for (uint32 i = 0; i <= table->mask; i++)
		table->entries[i].tenant = DG_KEY_ABSENT;
}

/*
 * The entry of a key, or the free one where it belongs.
 */
DgKeyEntry *
dg_rehydrate_keytable_look(const DgKeyTable *table, uint32 hash, const char *key, size_t len)
{
	uint32		i = hash & table->mask;

	for (;;)
	{
		DgKeyEntry *entry = &table->entries[i];

		if (entry->tenant == DG_KEY_ABSENT ||
			(entry->hash == hash && entry->len == len &&
			 memcmp(dg_keytable_key(entry), key, len) == 0))
			return entry;
		i = (i + 1) & table->mask;
	}
}

static void
table_grow(DgKeyTable *table)
{
	uint32		nold = table->mask + 1;
	DgKeyEntry *old = table->entries;

	if (nold >= (UINT32_C(1) << 31))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many keys to follow at once"),
				 errhint("Rehydrate fewer tenants in one call.")));
	table->mask = nold * 2 - 1;
	table->entries = MemoryContextAllocHuge(table->context, sizeof(DgKeyEntry) * (Size) nold * 2);
	for (uint32 i = 0; i <= table->mask; i++)
		table->entries[i].tenant = DG_KEY_ABSENT;
	for (uint32 i = 0; i < nold; i++)
	{
		uint32		at = old[i].hash & table->mask;

		if (old[i].tenant == DG_KEY_ABSENT)
			continue;
		while (table->entries[at].tenant != DG_KEY_ABSENT)
			at = (at + 1) & table->mask;
		table->entries[at] = old[i];
	}
	pfree(old);
}

/*
 * Adds a key, or gives one that is there another number.
 */
void
dg_rehydrate_keytable_put(DgKeyTable *table, const char *key, size_t len, int32 number)
{
	uint32		hash = dg_keytable_hash(key, len);
	DgKeyEntry *entry = dg_rehydrate_keytable_look(table, hash, key, len);

	if (entry->tenant != DG_KEY_ABSENT)
	{
		entry->tenant = number;
		return;
	}
	if (table->count + 1 > ((int64) table->mask + 1) * 3 / 4)
	{
		table_grow(table);
		entry = dg_rehydrate_keytable_look(table, hash, key, len);
	}
	if (len > DG_INLINE_KEY)
		entry->key.ptr = memcpy(MemoryContextAlloc(table->context, len), key, len);
	else
		memcpy(entry->key.bytes, key, len);
	entry->hash = hash;
	entry->len = (uint32) len;
	entry->tenant = number;
	table->count++;
}

/*
 * The number of a key, or DG_KEY_ABSENT.
 */
int32
dg_rehydrate_keytable_find(const DgKeyTable *table, const char *key, size_t len)
{
	return dg_rehydrate_keytable_look(table, dg_keytable_hash(key, len), key, len)->tenant;
}
