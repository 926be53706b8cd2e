/*
 * ledger_autonomous.c
 *		Saying something that the transaction's rollback cannot unsay.
 *
 * A refusal is an error, and the error takes everything with it that the
 * session has written. So a background worker, started for this alone, sends
 * the notification and makes the ledger's entry, in transactions of its own.
 * Nobody waits for it. That works without preloading; where no worker can be
 * had (max_worker_processes), the server's log remains.
 *
 * What is to be said is handed over in a segment of dynamic shared memory that
 * the worker frees. It is pinned, as the session may be gone before the worker
 * comes.
 */
#include "postgres.h"

#include "commands/async.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "ledger/ledger_internal.h"

/* A session may start so many workers at once, and then one at each interval. */
#define BURST		8
#define INTERVAL	(2 * USECS_PER_SEC)

/* How long the worker waits for the ledger. */
#define LEDGER_TIMEOUT	"60s"

/* What is handed over; the strings follow, in this order, each with its '\0'. */
typedef struct Message
{
	Oid			database;
	Oid			role;			/* in whose session it happened */
	bool		superuser;
	bool		has_event;
	bool		has_payload;
	Size		length;			/* of the strings */
	char		strings[FLEXIBLE_ARRAY_MEMBER];
} Message;

PGDLLEXPORT void dg_ledger_autonomous_main(Datum arg);

/* ----------------------------------------------------------------------
 * The session's side
 * ----------------------------------------------------------------------
 */

/*
 * Keeps a session that is refused over and over from starting workers without
 * end: a bucket of BURST that fills again by one each INTERVAL.
 */
static bool
too_many(void)
{
	static TimestampTz full_at = 0; /* when the bucket is full again */
	TimestampTz now = GetCurrentTimestamp();

	full_at = Max(full_at, now);
	if (full_at - now > (BURST - 1) * INTERVAL)
		return true;
	full_at += INTERVAL;
	return false;
}

static dsm_segment *
make_message(const char *event, const char *details, const char *payload)
{
	const char *strings[] = {event, details, payload};
	Size		length = 0;
	dsm_segment *segment;
	Message    *message;
	char	   *p;

	for (int i = 0; i < lengthof(strings); i++)
		length += (strings[i] != NULL ? strlen(strings[i]) : 0) + 1;
	segment = dsm_create(offsetof(Message, strings) + length, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (segment == NULL)
		return NULL;

	message = dsm_segment_address(segment);
	message->database = MyDatabaseId;
	message->role = GetSessionUserId();
	message->superuser = superuser_arg(GetSessionUserId());
	message->has_event = (event != NULL);
	message->has_payload = (payload != NULL);
	message->length = length;
	p = message->strings;
	for (int i = 0; i < lengthof(strings); i++)
	{
		strcpy(p, strings[i] != NULL ? strings[i] : "");
		p += strlen(p) + 1;
	}
	return segment;
}

static bool
start_record_worker(dsm_segment *segment)
{
	dsm_pin_segment(segment);
	if (dg_worker_start("dg_ledger_autonomous_main", "deletion_guard record", "deletion_guard",
						UInt32GetDatum(dsm_segment_handle(segment)), NULL, 0))
		return true;
	dsm_unpin_segment(dsm_segment_handle(segment));
	return false;
}

/*
 * Has a refusal recorded (event may be NULL: none) and sends a notification
 * (payload may be NULL: none), whatever becomes of the current transaction. Both
 * details and payload are JSON objects without personal data; a payload has less
 * than 8000 bytes. Returns at once; false if it will not happen, which the caller's
 * own entry in the server's log must make up for.
 */
bool
dg_ledger_autonomous(const char *event, const char *details, const char *payload)
{
	dsm_segment *segment;
	bool		started;

	if (!IsUnderPostmaster || too_many())
		return false;
	segment = make_message(event, details, payload);
	started = segment != NULL && start_record_worker(segment);
	if (!started)
		ereport(LOG,
				(errmsg("deletion_guard could not start a process to record what happened"),
				 errhint("Raise max_worker_processes.")));
	if (segment != NULL)
		dsm_detach(segment);
	return started;
}

/* ----------------------------------------------------------------------
 * The worker's side
 * ----------------------------------------------------------------------
 */

/*
 * Takes the message out of shared memory; NULL if it is not there.
 */
static Message *
take_message(dsm_handle handle)
{
	dsm_segment *segment = dsm_attach(handle);
	Message    *shared;
	Message    *message;
	Size		size;

	if (segment == NULL)
		return NULL;
	shared = dsm_segment_address(segment);
	size = offsetof(Message, strings) + shared->length;
	message = MemoryContextAlloc(TopMemoryContext, size);
	memcpy(message, shared, size);
	dsm_unpin_segment(handle);
	dsm_detach(segment);
	return message;
}

static void
begin_worker_transaction(const Message *message)
{
	dg_worker_begin();
	/* the ledger names the role in whose session it happened */
	SetSessionAuthorization(message->role, message->superuser);
}

/*
 * Entry point of the worker that writes one entry whatever becomes of the caller's
 * transaction.
 */
void
dg_ledger_autonomous_main(Datum arg)
{
	Message    *message;
	const char *event;
	const char *details;
	const char *payload;

	dg_worker_unblock();
	message = take_message(DatumGetUInt32(arg));
	if (message == NULL)
		return;
	event = message->strings;
	details = event + strlen(event) + 1;
	payload = details + strlen(details) + 1;

	BackgroundWorkerInitializeConnectionByOid(message->database, InvalidOid, 0);
	pgstat_report_activity(STATE_RUNNING, "deletion_guard record");
	SetConfigOption("lock_timeout", LEDGER_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);

	/*
	 * Whatever the database's defaults are: workers that count the same
	 * refusal wait for each other, and none may fail because another was
	 * first
	 */
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);

	/* first the alarm: the ledger may be locked for a while */
	if (message->has_payload)
	{
		begin_worker_transaction(message);
		Async_Notify(DG_CHANNEL, payload);
		dg_worker_commit();
	}
	if (message->has_event)
	{
		begin_worker_transaction(message);
		if (dg_installed())
			dg_ledger_refusal_record(event, details);
		dg_worker_commit();
	}
}
