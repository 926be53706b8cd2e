/*
 * rehydrate_spill.c
 *		Keys that do not fit into memory, in temporary files.
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
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/buffile.h"

#include "rehydrate/rehydrate_internal.h"

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
dg_rehydrate_spill_create(void)
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
dg_rehydrate_spill_double(DgKeySpill *spill)
{
	if (spill->nparts == MAX_PARTS)
		return false;
	spill->nparts *= 2;
	return true;
}

int
dg_rehydrate_spill_parts(const DgKeySpill *spill)
{
	return spill->nparts;
}

/*
 * The part of a hash. Maps use its lower bits for themselves.
 */
int
dg_rehydrate_spill_part(const DgKeySpill *spill, uint32 hash)
{
	return (hash >> 20) & (spill->nparts - 1);
}

/*
 * Writes a key to the file of a part.
 */
void
dg_rehydrate_spill_write(DgKeySpill *spill, int part, const char *key, size_t len, int tenant)
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
dg_rehydrate_spill_read(DgKeySpill *spill, int part, DgSpillSink sink, void *arg)
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
dg_rehydrate_spill_free(DgKeySpill *spill)
{
	for (int i = 0; i < spill->nparts && SubTransactionIsActive(spill->owner); i++)
	{
		if (spill->files[i] != NULL)
			BufFileClose(spill->files[i]);
	}
	pfree(spill->key.data);
	pfree(spill);
}
