/*
 * capture_open.c
 *		Parts that stay open, so that later captures of the same statement go on
 *		with them.
 *
 * A function or a DO block that deletes row by row makes as many captures as
 * rows, and so does a row trigger. A part for each would take more room, and more
 * time, than the rows. So these captures share parts, one for each tenant and
 * bin. The rows are in the bin at once; the part, which says how many there are
 * and where, is written
 *
 * - when the top-level statement ends, or commits (dg_capture_open_end());
 * - before anything reads deletion_part: a query, a command, or we;
 * - before the subtransaction commits that captured the rows.
 *
 * It is written as of the command that captured its last row, so who reads it then
 * sees what there would be to see had it been written at once. The deletion's
 * record never waits: the part that carries it is written by the query it is of.
 * Replication runs no queries: the parts of the rows that it deletes stay open
 * until the transaction ends.
 *
 * A part belongs to the subtransaction that captured its rows, and is dropped
 * with it. Where another one, which began later, has to write it, it is kept until
 * that one is through: if it is rolled back, the part is written again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "replication/logicalworker.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "capture/capture_internal.h"
#include "common/own_tables.h"
#include "guard/guard.h"

/* more are not kept open */
#define MAX_OPEN 1000

typedef struct OpenEntry
{
	DgPart	   *part;			/* hash key */
	uint32		hash;
	char		status;
} OpenEntry;

static inline bool
is_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/*
 * Would rows go into the same part?
 */
static bool
takes_same_rows(const DgPart *a, const DgPart *b)
{
	return a->bin_id == b->bin_id && a->filenode == b->filenode && a->deletion == b->deletion &&
		a->subid == b->subid && is_same(a->text, b->text);
}

static uint32
hash_part(const DgPart *part)
{
	uint32		hash = murmurhash32((uint32) part->bin_id);

	return part->text == NULL ? hash : hash ^ hash_bytes((const unsigned char *) part->text, strlen(part->text));
}

#define SH_PREFIX open
#define SH_ELEMENT_TYPE OpenEntry
#define SH_KEY_TYPE DgPart *
#define SH_KEY part
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) a->hash
#define SH_HASH_KEY(tb, key) hash_part(key)
#define SH_EQUAL(tb, a, b) takes_same_rows(a, b)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static MemoryContext context = NULL;	/* of all that is open */
static List *parts = NIL;		/* in the order they came */
static open_hash *going_on = NULL;	/* those that take more rows */

static void
forget_all(void)
{
	context = NULL;
	parts = NIL;
	going_on = NULL;
}

/*
 * The memory for what an open part holds.
 */
MemoryContext
dg_capture_open_context(void)
{
	if (context == NULL)
	{
		context = AllocSetContextCreate(TopTransactionContext, "deletion_guard parts", ALLOCSET_DEFAULT_SIZES);
		going_on = open_create(context, 16, NULL);
	}
	return context;
}

/*
 * The open part that takes rows like the one given, or NULL. Until the capture
 * that asks calls dg_capture_open_release(), it is not written.
 */
DgPart *
dg_capture_open_find(DgPart *like)
{
	OpenEntry  *entry;

	like->subid = GetCurrentSubTransactionId();
	entry = going_on == NULL ? NULL : open_lookup(going_on, like);
	if (entry == NULL)
		return NULL;
	entry->part->in_use = true;
	return entry->part;
}

/*
 * A capture that put rows into the part has ended.
 */
void
dg_capture_open_release(DgPart *part)
{
	part->in_use = false;
	part->cid = GetCurrentCommandId(true);
}

/*
 * Adds the rows and tenants of a deletion's parts that are not written.
 */
void
dg_capture_open_add_to_total(DgTotal *total, int64 deletion)
{
	ListCell   *lc;

	foreach(lc, parts)
	{
		const DgPart *part = lfirst(lc);

		if (part->deletion == deletion && part->written == InvalidSubTransactionId)
			dg_capture_total_add(total, part->text, part->rows);
	}
}

/* ----------------------------------------------------------------------
 * Writing
 * ----------------------------------------------------------------------
 */

static bool
is_to_write(const DgPart *part, SubTransactionId of)
{
	return part->written == InvalidSubTransactionId && !part->in_use &&
		(of == InvalidSubTransactionId || part->subid == of) && dg_capture_deletion_is(part->deletion);
}

/*
 * Writes parts, of one subtransaction if that is given.
 */
static void
write_parts(SubTransactionId of)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	List	   *now = NIL;
	ListCell   *lc;

	foreach(lc, parts)
	{
		if (is_to_write(lfirst(lc), of))
			now = lappend(now, lfirst(lc));
	}
	if (now == NIL)
		return;
	/* what is long goes into a TOAST table, which takes a snapshot */
	PushActiveSnapshot(GetTransactionSnapshot());
	if (list_length(now) > 1)
		dg_capture_deletion_record(((DgPart *) linitial(now))->cid);
	foreach(lc, now)
	{
		DgPart	   *part = lfirst(lc);

		dg_capture_deletion_add_part(part, part->cid);
		(void) open_delete(going_on, part);
		part->written = subid;
		if (part->subid == subid)
			parts = list_delete_ptr(parts, part);
	}
	PopActiveSnapshot();
	list_free(now);
	if (parts == NIL)
	{
		MemoryContextDelete(context);
		forget_all();
	}
}

/*
 * A capture has begun a part, in the memory of dg_capture_open_context(), which may
 * stay open. It is in use, as one that was found.
 */
void
dg_capture_open_add(DgPart *part)
{
	MemoryContext old = MemoryContextSwitchTo(dg_capture_open_context());
	bool		found;

	if (list_length(parts) >= MAX_OPEN)
		write_parts(InvalidSubTransactionId);
	MemoryContextSwitchTo(dg_capture_open_context());
	part->open = part->in_use = true;
	part->subid = GetCurrentSubTransactionId();
	parts = lappend(parts, part);
	(void) open_insert(going_on, part, &found);
	MemoryContextSwitchTo(old);
}

/*
 * A query at some depth of the present statement has ended, or all of the statement.
 * Parts are written now if that is so, or if none carries the record yet.
 */
void
dg_capture_open_end(bool whole_statement)
{
	if (parts != NIL && !IsLogicalWorker() && (whole_statement || !dg_capture_deletion_is_recorded()))
		write_parts(InvalidSubTransactionId);
}

/*
 * Is about to be read what parts are written to?
 */
static void
write_before_reading(Oid relid)
{
	if (parts != NIL && relid == dg_objects()->deletion_part)
		write_parts(InvalidSubTransactionId);
}

/*
 * A query or, if stmt has no plan, a command is about to run: writes the parts that it
 * may want to read.
 */
void
dg_capture_open_before(const PlannedStmt *stmt)
{
	if (parts != NIL && (stmt->commandType == CMD_UTILITY ||
						 list_member_oid(stmt->relationOids, dg_objects()->deletion_part)))
		write_parts(InvalidSubTransactionId);
}

/* ----------------------------------------------------------------------
 * Transactions
 * ----------------------------------------------------------------------
 */

/*
 * A subtransaction has been rolled back: its parts are dropped, and parts that it
 * has written for others are to be written again.
 */
static void
roll_back(SubTransactionId subid)
{
	ListCell   *lc;

	foreach(lc, parts)
	{
		DgPart	   *part = lfirst(lc);

		if (part->written == subid)
			part->written = InvalidSubTransactionId;
		if (part->subid != subid)
			continue;
		(void) open_delete(going_on, part);
		parts = foreach_delete_current(parts, lc);
	}
}

/*
 * What a subtransaction has written is its parent's from now on.
 */
static void
pass_on(SubTransactionId subid, SubTransactionId parent)
{
	ListCell   *lc;

	foreach(lc, parts)
	{
		DgPart	   *part = lfirst(lc);

		if (part->written == subid)
			part->written = parent;
		if (part->written != InvalidSubTransactionId && part->written == part->subid)
			parts = foreach_delete_current(parts, lc);
	}
}

static void
open_at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (parts == NIL)
		return;
	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		write_parts(mySubid);
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		pass_on(mySubid, parentSubid);
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		roll_back(mySubid);
}

static void
open_at_xact(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		forget_all();
	else if (parts != NIL)
	{
		write_parts(InvalidSubTransactionId);
		if (parts != NIL)
			elog(ERROR, "%d parts of deletions are not written", list_length(parts));
	}
}

/*
 * Are there parts that stay open until the transaction ends, as in replication?
 */
static bool
parts_wait(void)
{
	return parts != NIL && dg_frame->depth == 0;
}

/*
 * Makes ready, as the library is loaded, to write parts in time.
 */
void
dg_capture_open_init(void)
{
	dg_guard_statement_continue_while(parts_wait);
	dg_own_before_reading(write_before_reading);
	RegisterSubXactCallback(open_at_subxact, NULL);
	RegisterXactCallback(open_at_xact, NULL);
}
