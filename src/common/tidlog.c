/*
 * tidlog.c
 *		A log of rows by their addresses, each with the command it is of.
 *
 * Addresses are written as distances from the one before: rows of a table that
 * is read from its beginning to its end take about a byte each. What does not
 * fit into work_mem goes to a temporary file. A log is written, then read once.
 *
 * A number is a row: its distance, folded, plus one. Zero is followed by the
 * command of the rows behind it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "common/deletion_guard.h"
#include "common/varint.h"

#define FIRST_SIZE	64			/* most deletions are of few rows */

/* an entry: zero, a command, a row */
#define MAX_ENTRY	(3 * DG_VARINT_MAX)

struct DgTidLog
{
	MemoryContext context;
	BufFile    *file;			/* NULL: all of it is in the buffer */
	uint8	   *buffer;
	Size		size;
	uint8	   *end;			/* of what is in the buffer */
	const uint8 *next;			/* to be read */
	DgTidEntry	before;			/* the entry before, if its command is valid */
	int64		count;			/* of entries */
};

/*
 * An empty log in a memory context, to be ended with dg_tidlog_end().
 */
DgTidLog *
dg_tidlog_begin(MemoryContext context)
{
	DgTidLog   *log = MemoryContextAllocZero(context, sizeof(DgTidLog));

	log->context = context;
	log->size = FIRST_SIZE;
	log->buffer = MemoryContextAlloc(context, log->size);
	log->end = log->buffer;
	log->before.cid = InvalidCommandId;
	return log;
}

/*
 * Moves the buffer's content to the file, as its length and its bytes.
 */
static void
spill_to_file(DgTidLog *log)
{
	Size		length = log->end - log->buffer;

	if (log->file == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(log->context);
		ResourceOwner owner = CurrentResourceOwner;

		/*
		 * the file may be read after the query that writes it has ended, as
		 * transition tables are
		 */
		CurrentResourceOwner = CurTransactionResourceOwner;
		log->file = BufFileCreateTemp(false);
		CurrentResourceOwner = owner;
		MemoryContextSwitchTo(old);
	}
	BufFileWrite(log->file, &length, sizeof(length));
	BufFileWrite(log->file, log->buffer, length);
	log->end = log->buffer;
}

static void
make_room(DgTidLog *log)
{
	Size		length = log->end - log->buffer;

	if (log->size * 2 > Min(work_mem * (Size) 1024, MaxAllocSize))
	{
		spill_to_file(log);
		return;
	}
	log->size *= 2;
	log->buffer = repalloc(log->buffer, log->size);
	log->end = log->buffer + length;
}

/*
 * Adds a row's address, and the command that wrote or deleted it.
 */
void
dg_tidlog_add(DgTidLog *log, CommandId cid, ItemPointer tid)
{
	int64		address = DG_TID_ADDRESS(tid);

	if (log->buffer + log->size - log->end < MAX_ENTRY)
		make_room(log);
	if (cid != log->before.cid)
	{
		log->end = dg_varint_put(log->end, 0);
		log->end = dg_varint_put(log->end, cid);
	}
	log->end = dg_varint_put(log->end, dg_varint_fold(address - log->before.address) + 1);
	log->before.cid = cid;
	log->before.address = address;
	log->count++;
}

/*
 * How many addresses the log has.
 */
int64
dg_tidlog_count(const DgTidLog *log)
{
	return log->count;
}

/*
 * From here on the log is read.
 */
void
dg_tidlog_rewind(DgTidLog *log)
{
	if (log->file != NULL)
	{
		spill_to_file(log);
		if (BufFileSeek(log->file, 0, 0, SEEK_SET) != 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not rewind the temporary file of a deletion's rows")));
	}
	log->next = log->buffer;
	log->before.address = 0;
	log->before.cid = InvalidCommandId;
}

/*
 * Reads the file's next piece; false at its end.
 */
static bool
read_piece(DgTidLog *log)
{
	Size		length;
	size_t		got;

	if (log->file == NULL)
		return false;
	got = BufFileRead(log->file, &length, sizeof(length));
	if (got == 0)
		return false;
	if (got != sizeof(length) || length > log->size ||
		BufFileRead(log->file, log->buffer, length) != length)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read the temporary file of a deletion's rows")));
	log->next = log->buffer;
	log->end = log->buffer + length;
	return true;
}

static uint64
get_number(DgTidLog *log)
{
	uint64		number;

	if (!dg_varint_get(&log->next, log->end, &number))
		elog(ERROR, "malformed log of a deletion's rows");
	return number;
}

/*
 * The next entry; false if there is none.
 */
bool
dg_tidlog_next(DgTidLog *log, DgTidEntry *entry)
{
	uint64		number;

	while (log->next == log->end)
	{
		if (!read_piece(log))
			return false;
	}
	number = get_number(log);
	if (number == 0)
	{
		log->before.cid = (CommandId) get_number(log);
		number = get_number(log);
	}
	log->before.address += dg_varint_unfold(number - 1);
	*entry = log->before;
	return true;
}

/*
 * Frees the log. One that goes with its memory context instead leaves its file
 * to the end of the transaction.
 */
void
dg_tidlog_end(DgTidLog *log)
{
	if (log->file != NULL)
		BufFileClose(log->file);
	pfree(log->buffer);
	pfree(log);
}
