/*
 * capture_limit_announce.c
 *		Telling the sessions that listen on the channel "deletion_guard".
 *
 * A deletion that removed tenants, or that ran into a ceiling and was let go
 * on, is announced once, when its transaction commits, with what it came to. The
 * payload names no tenant. What was rolled back is not announced; nor is
 * anything from a transaction that is prepared announced by NOTIFY, which would
 * forbid preparing it, but by a process of its own.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "capture/capture_internal.h"
#include "common/deletion_guard.h"
#include "ledger/ledger.h"

/* Something to say about a deletion. */
typedef struct Announcement
{
	struct Announcement *next;	/* said earlier */
	int64		deletion;
	SubTransactionId subid;		/* that it goes back with */
	int			what;
} Announcement;

static Announcement *announcements = NULL;	/* in TopTransactionContext */

/*
 * Notes that a deletion is to be announced, and why.
 */
void
dg_capture_announce(int64 deletion, int what)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	Announcement *announcement = announcements;

	if (announcement == NULL || announcement->deletion != deletion || announcement->subid != subid)
	{
		announcement = MemoryContextAlloc(TopTransactionContext, sizeof(Announcement));
		announcement->next = announcements;
		announcement->deletion = deletion;
		announcement->subid = subid;
		announcement->what = 0;
		announcements = announcement;
	}
	announcement->what |= what;
}

static void
announce_at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	/* the innermost subtransaction's are in front */
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (announcements != NULL && announcements->subid == mySubid)
			announcements = announcements->next;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (Announcement *a = announcements; a != NULL && a->subid == mySubid; a = a->next)
			a->subid = parentSubid;
	}
}

/* ----------------------------------------------------------------------
 * At the end of the transaction
 * ----------------------------------------------------------------------
 */

static char *
make_payload(const Announcement *announcement, bool prepared)
{
	DgTotal    *total = dg_capture_total_begin(InvalidOid);
	int			limit = 0;
	int			exceeded = announcement->what & ~DG_ANNOUNCE_WIPE;
	const char *ceiling = exceeded != 0 ?
	psprintf("\"%s\"", dg_capture_ceiling_name(exceeded, &limit)) : "null";

	dg_capture_total_add_deletion(total, announcement->deletion);
	return psprintf("{\"event\": \"%s\", \"deletion\": " INT64_FORMAT ", \"ceiling\": %s, \"limit\": %d"
					", \"tenants\": " INT64_FORMAT ", \"rows\": " INT64_FORMAT ", \"role\": %s%s}",
					(announcement->what & DG_ANNOUNCE_WIPE) ? "tenants_deleted" : "ceiling_exceeded",
					announcement->deletion, ceiling, limit,
					dg_guard_textset_count(total->tenants), total->rows,
					dg_json_string(GetUserNameFromId(GetSessionUserId(), false)),
					prepared ? ", \"prepared\": true" : "");
}

/*
 * Puts the announcements into the order they came in, one for each deletion.
 */
static void
sort_announcements(void)
{
	Announcement *ordered = NULL;

	while (announcements != NULL)
	{
		Announcement *announcement = announcements;

		announcements = announcement->next;
		if (ordered != NULL && ordered->deletion == announcement->deletion)
			ordered->what |= announcement->what;
		else
		{
			announcement->next = ordered;
			ordered = announcement;
		}
	}
	announcements = ordered;
}

static void
announce_all(bool prepared)
{
	sort_announcements();
	for (Announcement *a = announcements; a != NULL; a = a->next)
	{
		char	   *text = make_payload(a, prepared);

		if (prepared)
			(void) dg_ledger_autonomous(NULL, NULL, text);
		else
			Async_Notify(DG_CHANNEL, text);
	}
}

static void
announce_at_xact(XactEvent event, void *arg)
{
	/*
	 * here tables can still be read, and notifications are not on their way
	 * yet
	 */
	if (announcements != NULL && (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE))
		announce_all(event == XACT_EVENT_PRE_PREPARE);
	announcements = NULL;
}

/*
 * Makes ready, as the library is loaded, to announce at commit what was kept.
 */
void
dg_capture_announce_init(void)
{
	RegisterSubXactCallback(announce_at_subxact, NULL);
	RegisterXactCallback(announce_at_xact, NULL);
}
