/*
 * bin_deletion.c
 *		Deletions: everything that one top-level statement removes.
 *
 * The first row captured in a statement writes the deletion's record; each
 * capture then adds one part for each tenant, with its count (bin_part.c). Both
 * are written by the subtransaction whose rows they describe and never touched
 * again while the statement runs, so an error, a savepoint or a crash can leave
 * nothing behind that does not match the rows.
 *
 * The backend remembers the current deletion. It ends with the top-level
 * statement or the transaction, whichever is first, and is forgotten when the
 * subtransaction that wrote its record is rolled back.
 */
#include "bin.h"

#include "access/xact.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "tables.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inet.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

static DgDeletion current;

static void
forget_at_subxact(SubXactEvent event, SubTransactionId mySubid,
				  SubTransactionId parentSubid, void *arg)
{
	if (current.id == 0 || current.subid != mySubid)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		current.id = 0;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		current.subid = parentSubid;
}

static void
forget_at_xact(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		current.id = 0;
}

void
dg_deletion_init(void)
{
	RegisterSubXactCallback(forget_at_subxact, NULL);
	RegisterXactCallback(forget_at_xact, NULL);
}

/* ----------------------------------------------------------------------
 * The record
 * ----------------------------------------------------------------------
 */

static void
set_text(Datum *values, bool *nulls, AttrNumber column, const char *text)
{
	nulls[column - 1] = (text == NULL || *text == '\0');
	values[column - 1] = nulls[column - 1] ? (Datum) 0 : CStringGetTextDatum(text);
}

/*
 * The client's address; null for a unix socket or a background worker.
 */
static void
set_client_addr(Datum *values, bool *nulls, AttrNumber column)
{
	FunctionCallInfoBaseData fcinfo_data;
	FunctionCallInfo fcinfo = &fcinfo_data;

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	values[column - 1] = inet_client_addr(fcinfo);
	nulls[column - 1] = fcinfo->isnull;
}

/*
 * When the rows may be purged at the earliest; infinity: never.
 */
static TimestampTz
purge_not_before(TimestampTz deleted_at)
{
	int64		seconds = dg_retention_seconds();

	if (seconds < 0 || deleted_at > DT_NOEND - seconds * USECS_PER_SEC)
		return DT_NOEND;
	return deleted_at + seconds * USECS_PER_SEC;
}

static void
write_record(int64 id)
{
	Datum		values[Natts_deletion_record];
	bool		nulls[Natts_deletion_record] = {false};
	TimestampTz now = GetCurrentTimestamp();

	values[Anum_deletion_record_deletion_id - 1] = Int64GetDatum(id);
	values[Anum_deletion_record_deleted_at - 1] = TimestampTzGetDatum(now);
	set_text(values, nulls, Anum_deletion_record_session_role, GetUserNameFromId(GetSessionUserId(), true));
	set_text(values, nulls, Anum_deletion_record_effective_role, GetUserNameFromId(dg_statement_role(), true));
	set_text(values, nulls, Anum_deletion_record_application_name, application_name);
	set_client_addr(values, nulls, Anum_deletion_record_client_addr);
	set_text(values, nulls, Anum_deletion_record_actor, dg_actor);
	set_text(values, nulls, Anum_deletion_record_reason, dg_reason);
	set_text(values, nulls, Anum_deletion_record_statement, debug_query_string);
	values[Anum_deletion_record_xid - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[Anum_deletion_record_purge_not_before - 1] = TimestampTzGetDatum(purge_not_before(now));
	dg_store_insert(dg_objects()->deletion_record, values, nulls);
}

/*
 * Has the current statement deleted anything yet?
 */
bool
dg_deletion_exists(void)
{
	return current.id != 0 && current.statement == dg_statement_serial();
}

/*
 * Lets what follows be a deletion of its own, until dg_deletion_resume().
 */
DgDeletion
dg_deletion_suspend(void)
{
	DgDeletion	saved = current;

	current.id = 0;
	return saved;
}

/*
 * What was deleted since dg_deletion_suspend() has been rolled back.
 */
void
dg_deletion_resume(DgDeletion saved)
{
	current = saved;
}

/*
 * The id of the deletion that the current statement makes; writes its record
 * if this is its first row.
 */
int64
dg_deletion_current(void)
{
	int64		id;

	if (dg_deletion_exists())
		return current.id;

	current.id = 0;
	current.statement = dg_statement_serial();
	current.subid = GetCurrentSubTransactionId();
	current.parts = 0;
	id = nextval_internal(dg_objects()->deletion_id_seq, false);
	write_record(id);
	current.id = id;
	return id;
}

/*
 * A number for the next part of the current deletion.
 */
int32
dg_deletion_next_part(void)
{
	Assert(current.id != 0);
	if (current.parts == PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("one statement deleted rows of too many tenants and tables")));
	return ++current.parts;
}

/*
 * Writes one part of a deletion. tenant, tenant_name and contact may be null.
 */
void
dg_deletion_add_part(int64 deletion, int32 part, int32 bin_id, const char *tenant,
					 const char *tenant_name, const char *contact, int64 rows,
					 Oid filenode, bytea *blocks)
{
	Datum		values[Natts_deletion_part];
	bool		nulls[Natts_deletion_part] = {false};

	values[Anum_deletion_part_deletion_id - 1] = Int64GetDatum(deletion);
	values[Anum_deletion_part_part - 1] = Int32GetDatum(part);
	values[Anum_deletion_part_bin_id - 1] = Int32GetDatum(bin_id);
	nulls[Anum_deletion_part_tenant - 1] = (tenant == NULL);
	if (tenant != NULL)
		values[Anum_deletion_part_tenant - 1] = CStringGetTextDatum(tenant);
	set_text(values, nulls, Anum_deletion_part_tenant_name, tenant_name);
	set_text(values, nulls, Anum_deletion_part_contact, contact);
	values[Anum_deletion_part_rows - 1] = Int64GetDatum(rows);
	values[Anum_deletion_part_restored - 1] = Int64GetDatum(0);
	values[Anum_deletion_part_purged - 1] = Int64GetDatum(0);
	values[Anum_deletion_part_filenode - 1] = ObjectIdGetDatum(filenode);
	values[Anum_deletion_part_blocks - 1] = PointerGetDatum(blocks);
	dg_store_insert(dg_objects()->deletion_part, values, nulls);
}
