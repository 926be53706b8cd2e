/*
 * rows_sequence.c
 *		Sequences are only ever raised.
 *
 * Rows come back with their old keys, so the sequences behind those columns
 * must not hand them out again: after a TRUNCATE ... RESTART IDENTITY, or when
 * the rows come from a backup of an older or another database.
 *
 * setval() cannot do this while others draw from the sequence: between reading
 * its value and setting it, others may have gone past, and it would be turned
 * back. So the comparison is made here under the sequence's own buffer lock.
 * Like setval(), this is not undone by a rollback, which does no harm.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "catalog/dependency.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "rows/rows_internal.h"

typedef struct ColumnSequence
{
	Oid			sequence;
	AttrNumber	attnum;
	Oid			type;
	bool		descending;
	bool		seen;
	int64		furthest;
} ColumnSequence;

struct DgRowsSequences
{
	int			n;
	ColumnSequence columns[FLEXIBLE_ARRAY_MEMBER];
};

static bool
is_descending(Oid sequence)
{
	HeapTuple	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(sequence));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", sequence);
	result = ((Form_pg_sequence) GETSTRUCT(tuple))->seqincrement < 0;
	ReleaseSysCache(tuple);
	return result;
}

/*
 * The sequences that columns of a table own: serial and identity.
 */
DgRowsSequences *
dg_rows_sequences_find(Relation rel)
{
	List	   *owned = getOwnedSequences(RelationGetRelid(rel));
	DgRowsSequences *sequences;
	ListCell   *lc;

	sequences = palloc0(offsetof(DgRowsSequences, columns) +
						sizeof(ColumnSequence) * (list_length(owned) + 1));
	foreach(lc, owned)
	{
		ColumnSequence *column = &sequences->columns[sequences->n];
		Oid			table;
		int32		attnum;

		column->sequence = lfirst_oid(lc);
		if (!sequenceIsOwned(column->sequence, DEPENDENCY_AUTO, &table, &attnum) &&
			!sequenceIsOwned(column->sequence, DEPENDENCY_INTERNAL, &table, &attnum))
			continue;
		column->attnum = attnum;
		column->type = TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid;
		column->descending = is_descending(column->sequence);
		if (column->type == INT2OID || column->type == INT4OID || column->type == INT8OID)
			sequences->n++;
	}
	return sequences;
}

/*
 * Takes note of the keys of a row that was written.
 */
void
dg_rows_sequences_note(DgRowsSequences *sequences, TupleTableSlot *slot)
{
	for (int i = 0; i < sequences->n; i++)
	{
		ColumnSequence *column = &sequences->columns[i];
		bool		isnull;
		Datum		value = slot_getattr(slot, column->attnum, &isnull);
		int64		key;

		if (isnull)
			continue;
		key = column->type == INT2OID ? DatumGetInt16(value) :
			column->type == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value);
		if (!column->seen || (column->descending ? key < column->furthest : key > column->furthest))
			column->furthest = key;
		column->seen = true;
	}
}

static void
log_sequence(Relation rel, Buffer buf, HeapTupleHeader tuple, uint32 len)
{
	xl_seq_rec	record;
	XLogRecPtr	recptr;

	XLogBeginInsert();
	XLogRegisterBuffer(0, buf, REGBUF_WILL_INIT);
	record.DG_XL_SEQ_LOCATOR = rel->DG_RD_LOCATOR;
	XLogRegisterData((char *) &record, sizeof(xl_seq_rec));
	XLogRegisterData((char *) tuple, len);
	recptr = XLogInsert(RM_SEQ_ID, XLOG_SEQ_LOG);
	PageSetLSN(BufferGetPage(buf), recptr);
}

/*
 * Makes a sequence continue behind value, unless it is past it already. Takes
 * the lock that nextval() takes.
 */
void
dg_rows_raise_sequence(Oid sequence, int64 value)
{
	bool		descending = is_descending(sequence);
	Relation	rel = relation_open(sequence, RowExclusiveLock);
	Buffer		buf = ReadBuffer(rel, 0);
	Form_pg_sequence_data seq;
	ItemId		item;
	HeapTupleHeader tuple;

	/* as nextval() does: commit must flush the record */
	if (RelationNeedsWAL(rel))
		(void) GetTopTransactionId();

	LockBuffer(buf, BUFFER_LOCK_EXCLUSIVE);
	item = PageGetItemId(BufferGetPage(buf), FirstOffsetNumber);
	tuple = (HeapTupleHeader) PageGetItem(BufferGetPage(buf), item);
	seq = (Form_pg_sequence_data) ((char *) tuple + tuple->t_hoff);
	if (descending ? value < seq->last_value || (value == seq->last_value && !seq->is_called)
		: value > seq->last_value || (value == seq->last_value && !seq->is_called))
	{
		START_CRIT_SECTION();
		seq->last_value = value;
		seq->is_called = true;
		seq->log_cnt = 0;
		MarkBufferDirty(buf);
		if (RelationNeedsWAL(rel))
			log_sequence(rel, buf, tuple, ItemIdGetLength(item));
		END_CRIT_SECTION();
	}
	UnlockReleaseBuffer(buf);
	relation_close(rel, NoLock);
}

/*
 * Raises the sequences behind the rows that were noted.
 */
void
dg_rows_sequences_raise(DgRowsSequences *sequences)
{
	for (int i = 0; i < sequences->n; i++)
	{
		if (sequences->columns[i].seen)
			dg_rows_raise_sequence(sequences->columns[i].sequence, sequences->columns[i].furthest);
	}
}
