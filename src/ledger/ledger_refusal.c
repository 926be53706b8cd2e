/*
 * ledger_refusal.c
 *		Counts what was refused.
 *
 * Each kind of refusal has a row in the table "refusal". The ledger tells of it
 * once a day at most, so that a job which is refused every night does not flood
 * it. Deletions that a ceiling has refused, of one table and ceiling, are in the
 * ledger once an hour at most, or once a minute if another role's come in
 * between.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "common/own_tables.h"
#include "common/tables.h"
#include "ledger/ledger_internal.h"

/* What the table "refusal" knows one by. */
typedef struct RefusalKey
{
	char	   *act;
	char	   *reason;
	int64		request;
	char	   *authority;
	bool		deletion;		/* refused by a ceiling */
} RefusalKey;

static RefusalKey
key_of(const char *event, Jsonb *details)
{
	RefusalKey	key = {.authority = "",.deletion = strcmp(event, DG_EVENT_REFUSAL) != 0};

	if (key.deletion)
	{
		key.act = psprintf("delete from %s", dg_json_member(details, "table"));
		key.reason = dg_json_member(details, "ceiling");
		return key;
	}
	key.act = dg_json_member(details, "act");
	key.reason = dg_json_member(details, "reason");
	key.request = strtoll(dg_json_member(details, "request"), NULL, 10);
	if (dg_json_member(details, "authority") != NULL)
		key.authority = dg_json_member(details, "authority");
	return key;
}

/*
 * Adds a refusal that the table does not have yet.
 */
static void
insert_refusal(const RefusalKey *key, int64 count, TimestampTz now)
{
	Datum		values[Natts_refusal] = {0};
	bool		nulls[Natts_refusal] = {false};

	values[Anum_refusal_act - 1] = CStringGetTextDatum(key->act);
	values[Anum_refusal_reason - 1] = CStringGetTextDatum(key->reason);
	values[Anum_refusal_request_id - 1] = Int64GetDatum(key->request);
	values[Anum_refusal_authority - 1] = CStringGetTextDatum(key->authority);
	values[Anum_refusal_first_at - 1] = TimestampTzGetDatum(now);
	values[Anum_refusal_last_at - 1] = TimestampTzGetDatum(now);
	values[Anum_refusal_last_by - 1] = CStringGetTextDatum(dg_session_role());
	values[Anum_refusal_count - 1] = Int64GetDatum(count);
	values[Anum_refusal_recorded_at - 1] = TimestampTzGetDatum(now);
	dg_own_insert(DG_OWN(refusal), values, nulls);
}

/*
 * Is a refusal that is in the table to be recorded in the ledger again?
 */
static bool
is_due(DgOwnScan *scan, const RefusalKey *key, TimestampTz now)
{
	int64		interval = USECS_PER_DAY;

	if (dg_own_isnull(scan, Anum_refusal_recorded_at))
		return true;
	if (key->deletion)
		interval = strcmp(dg_own_text(scan, Anum_refusal_last_by), dg_session_role()) == 0 ? USECS_PER_HOUR : USECS_PER_MINUTE;
	return dg_own_time(scan, Anum_refusal_recorded_at) <= now - interval;
}

/*
 * Counts a refusal that is in the table. Is it to be recorded again?
 */
static bool
count_refusal(DgOwnScan *scan, const RefusalKey *key, int64 count, TimestampTz now)
{
	bool		record = is_due(scan, key, now);

	dg_own_set(scan, Anum_refusal_last_at, TimestampTzGetDatum(now));
	dg_own_set(scan, Anum_refusal_last_by, CStringGetTextDatum(dg_session_role()));
	dg_own_set(scan, Anum_refusal_count, Int64GetDatum(dg_own_int64(scan, Anum_refusal_count) + count));
	if (record)
		dg_own_set(scan, Anum_refusal_recorded_at, TimestampTzGetDatum(now));
	dg_own_update(scan);
	return record;
}

/*
 * Counts a refusal, and has the ledger tell of it if it has not lately. The
 * details are those of log_refusal() in purge_refusal.c, or those of a deletion that a
 * ceiling refused (capture_limit_report.c). Runs
 * in a process and a transaction of its own; those of one kind of refusal come one
 * after the other.
 */
void
dg_ledger_refusal_record(const char *event, const char *text)
{
	Jsonb	   *details = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	RefusalKey	key = key_of(event, details);
	int64		count = strtoll(dg_json_member(details, "count"), NULL, 10);
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	DgOwnScan  *scan;
	bool		record = true;

	dg_lock_object(dg_objects()->refusal, 0, ExclusiveLock);
	scan = dg_own_find(DG_OWN(refusal), RowExclusiveLock,
					   DG_KEYS(dg_own_key_text(Anum_refusal_act, key.act),
							   dg_own_key_text(Anum_refusal_reason, key.reason),
							   dg_own_key_int8(Anum_refusal_request_id, key.request),
							   dg_own_key_text(Anum_refusal_authority, key.authority)));
	if (scan == NULL)
		insert_refusal(&key, count, now);
	else
	{
		if (dg_own_lock(scan))
			record = count_refusal(scan, &key, count, now);
		dg_own_end(scan);
	}
	if (record)
		dg_ledger_append(event, text);
}
