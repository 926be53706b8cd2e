/*
 * extract_keytable.c
 *		Byte strings with a number for each: a hash table, and temporary files
 *		for those that do not fit into memory.
 *
 * The table is asked once for each row of an archive: open addressing, entries
 * that hold short strings themselves, at most three quarters full.
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/buffile.h"

#include "extract/extract_internal.h"


/*
 * Makes an empty table, whose memory is all of one context.
 */
void
dg_extract_keytable_init(DgKeyTable *table, MemoryContext context)
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
dg_extract_keytable_look(const DgKeyTable *table, uint32 hash, const char *key, size_t len)
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
dg_extract_keytable_put(DgKeyTable *table, const char *key, size_t len, int32 number)
{
	uint32		hash = dg_keytable_hash(key, len);
	DgKeyEntry *entry = dg_extract_keytable_look(table, hash, key, len);

	if (entry->tenant != DG_KEY_ABSENT)
	{
		entry->tenant = number;
		return;
	}
	if (table->count + 1 > ((int64) table->mask + 1) * 3 / 4)
	{
		table_grow(table);
		entry = dg_extract_keytable_look(table, hash, key, len);
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
dg_extract_keytable_find(const DgKeyTable *table, const char *key, size_t len)
{
	return dg_extract_keytable_look(table, dg_keytable_hash(key, len), key, len)->tenant;
}

/* ----------------------------------------------------------------------
 * Keys that do not fit into memory
 *
 * Keys are parted by bits of their hash; a map keeps one part in memory at a
 * time. Whenever that has become too large, the number of parts is doubled:
 * part p becomes p and p + n. Keys are written to the file that their part had
 * at the time, so those of a part are in its own file and in the files that it
 * came out of; reading these from the eldest on gives the keys in the order in
 * which they were written.
 *
 * The files belong to the subtransaction that made them, and are gone with it
 * if it is rolled back.
 * ----------------------------------------------------------------------
 */

#define MAX_PARTS		4096

struct DgKeySpill
{
	MemoryContext context;
	SubTransactionId owner;
	int			nparts;			/* a power of two */
	BufFile    *files[MAX_PARTS];
	StringInfoData key;			/* read last */
};

typedef struct Record
{
	int32		tenant;
	uint32		len;
} Record;

/*
 * An empty spill with one part, in the current memory context.
 */
DgKeySpill *
dg_extract_spill_create(void)
{
	DgKeySpill *spill = palloc0(sizeof(DgKeySpill));

	spill->context = CurrentMemoryContext;
	spill->owner = GetCurrentSubTransactionId();
	spill->nparts = 1;
	initStringInfo(&spill->key);
	return spill;
}

/*
 * Doubles the number of parts; false if there are as many as can be.
 */
bool
dg_extract_spill_double(DgKeySpill *spill)
{
	if (spill->nparts == MAX_PARTS)
		return false;
	spill->nparts *= 2;
	return true;
}

/*
 * How many parts the keys were divided into.
 */
int
dg_extract_spill_parts(const DgKeySpill *spill)
{
	return spill->nparts;
}

/*
 * The part of a hash. Maps use its lower bits for themselves.
 */
int
dg_extract_spill_part(const DgKeySpill *spill, uint32 hash)
{
	return (hash >> 20) & (spill->nparts - 1);
}

/*
 * Writes a key to the file of a part.
 */
void
dg_extract_spill_write(DgKeySpill *spill, int part, const char *key, size_t len, int tenant)
{
	Record		record = {tenant, (uint32) len};

	if (spill->files[part] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(spill->context);

		spill->files[part] = BufFileCreateTemp(false);
		MemoryContextSwitchTo(old);
	}
	BufFileWrite(spill->files[part], &record, sizeof(record));
	BufFileWrite(spill->files[part], unconstify(char *, key), len);
}

static void
read_spill_file(DgKeySpill *spill, BufFile *file, DgSpillSink sink, void *arg)
{
	Record		record;

	if (BufFileSeek(file, 0, 0, SEEK_SET) != 0)
		elog(ERROR, "could not rewind the temporary file of keys");
	while (BufFileRead(file, &record, sizeof(record)) == sizeof(record))
	{
		resetStringInfo(&spill->key);
		enlargeStringInfo(&spill->key, (int) record.len);
		if (BufFileRead(file, spill->key.data, record.len) != record.len)
			elog(ERROR, "temporary file of keys ends early");
		sink(arg, spill->key.data, record.len, record.tenant);
	}
}

/*
 * Gives the sink all keys of a part in order, and maybe some of other parts.
 */
void
dg_extract_spill_read(DgKeySpill *spill, int part, DgSpillSink sink, void *arg)
{
	int			last = -1;

	for (int n = part == 0 ? 1 : 2; n <= spill->nparts; n *= 2)
	{
		int			file = part & (n - 1);

		if (file == last || spill->files[file] == NULL)
			continue;
		last = file;
		read_spill_file(spill, spill->files[file], sink, arg);
	}
}

/*
 * Closes the files, unless they are gone already.
 */
void
dg_extract_spill_free(DgKeySpill *spill)
{
	for (int i = 0; i < spill->nparts && SubTransactionIsActive(spill->owner); i++)
	{
		if (spill->files[i] != NULL)
			BufFileClose(spill->files[i]);
	}
	pfree(spill->key.data);
	pfree(spill);
}
