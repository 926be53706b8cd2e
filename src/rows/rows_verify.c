/*
 * rows_verify.c
 *		Reading back what was written.
 *
 * Each row is hashed as it is handed to the table, and again as it is read
 * back from there, by its value in every column. Per table and tag the hashes
 * are added up, so that the order of the rows does not matter and memory does
 * not grow with them. At the end the sums and counts of both sides must be
 * the same.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

#include "rows/rows_internal.h"

typedef struct Digest
{
	int64		rows;
	uint64		sum;
} Digest;

/* Per tag, first what was written, then what was read. */
struct DgRowsVerify
{
	MemoryContext context;
	int			ntags;
	Digest		(*digests)[2];
	StringInfoData row;
};

/*
 * Begins to compare what is written with what is read back, in the current
 * memory context.
 */
DgRowsVerify *
dg_rows_verify_make(void)
{
	DgRowsVerify *verify = palloc0(sizeof(DgRowsVerify));

	verify->context = CurrentMemoryContext;
	initStringInfo(&verify->row);
	return verify;
}

/*
 * Appends a value's bytes, and whether it is null.
 */
void
dg_rows_append_value(StringInfo row, Datum value, bool isnull, Form_pg_attribute att)
{
	appendStringInfoCharMacro(row, isnull ? 0 : 1);
	if (isnull)
		return;
	if (att->attbyval)
		appendBinaryStringInfo(row, (char *) &value, sizeof(Datum));
	else if (att->attlen == -1)
	{
		struct varlena *plain = PG_DETOAST_DATUM_PACKED(value);
		uint32		len = VARSIZE_ANY_EXHDR(plain);

		appendBinaryStringInfo(row, (char *) &len, sizeof(len));
		appendBinaryStringInfo(row, VARDATA_ANY(plain), len);
		if ((Pointer) plain != DatumGetPointer(value))
			pfree(plain);
	}
	else
		appendBinaryStringInfo(row, DatumGetPointer(value),
							   (int) datumGetSize(value, false, att->attlen));
}

static uint64
hash_row_values(DgRowsVerify *verify, TupleTableSlot *slot)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;

	slot_getallattrs(slot);
	resetStringInfo(&verify->row);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
			continue;
		dg_rows_append_value(&verify->row, slot->tts_values[i], slot->tts_isnull[i], att);
	}
	return hash_bytes_extended((unsigned char *) verify->row.data, verify->row.len, 0);
}

static Digest *
digest_of(DgRowsVerify *verify, int tag, bool read)
{
	if (tag >= verify->ntags)
	{
		int			ntags = Max(tag + 1, verify->ntags * 2);
		Size		size = sizeof(verify->digests[0]);

		verify->digests = verify->digests == NULL ?
			MemoryContextAlloc(verify->context, size * ntags) :
			repalloc(verify->digests, size * ntags);
		memset(verify->digests[verify->ntags], 0, size * (ntags - verify->ntags));
		verify->ntags = ntags;
	}
	return &verify->digests[tag][read];
}

/*
 * Takes note of a row that is going to be written.
 */
void
dg_rows_verify_written(DgRowsVerify *verify, TupleTableSlot *slot, int tag)
{
	Digest	   *digest = digest_of(verify, tag, false);

	digest->rows++;
	digest->sum += hash_row_values(verify, slot);
}

/*
 * Reads a written row back, through a slot of its table.
 */
void
dg_rows_verify_read(DgRowsVerify *verify, Relation rel, ItemPointer tid, TupleTableSlot *slot, int tag)
{
	Digest	   *digest = digest_of(verify, tag, true);

	if (!table_tuple_fetch_row_version(rel, tid, SnapshotSelf, slot))
		return;
	digest->rows++;
	digest->sum += hash_row_values(verify, slot);
	ExecClearTuple(slot);
}

/*
 * Fails unless all rows of a table were read as they were written.
 */
void
dg_rows_verify_check(DgRowsVerify *verify, const char *relation)
{
	for (int i = 0; i < verify->ntags; i++)
	{
		Digest	   *written = &verify->digests[i][false];
		Digest	   *read = &verify->digests[i][true];

		if (written->rows != read->rows || written->sum != read->sum)
			ereport(ERROR,
					(errcode(DG_ERRCODE_VERIFICATION_FAILED),
					 errmsg("rows restored to \"%s\" were not read back as they were written", relation),
					 errdetail("%lld rows with digest %016llX were written, %lld with digest %016llX were read.",
							   (long long) written->rows, (unsigned long long) written->sum,
							   (long long) read->rows, (unsigned long long) read->sum),
					 errhint("Nothing was restored. Check the server's storage and log.")));
	}
}
