/*
 * capture_deletion.c
 *		Deletions: everything that one top-level statement removes.
 *
 * The first row captured in a statement begins a deletion; each capture then
 * adds one part for each tenant, with its count (capture_part.c). The part that is
 * written first carries the deletion's record: when, who, why. Parts are written
 * by the subtransaction whose rows they describe and never touched again while
 * the statement runs, so an error, a savepoint or a crash can leave nothing
 * behind that does not match the rows. All deletions of a transaction are said to
 * have been made when the first was, so that they can be told to belong together; how
 * long rows are kept counts from their own statement on. If the part with the record is rolled
 * back and others follow, the next one carries it.
 *
 * The backend remembers the current deletion. It ends with the top-level
 * statement or the transaction, whichever is first, and is forgotten when the
 * subtransaction that began it is rolled back.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inet.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "bin/bin.h"
#include "capture/capture_internal.h"
#include "common/own_tables.h"
#include "guard/guard.h"

static DgDeletion current;

/* when the transaction first deleted something; 0: it has not */
static TimestampTz first_deleted_at = 0;

static void
forget_at_subxact(SubXactEvent event, SubTransactionId mySubid,
				  SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		if (current.subid == mySubid)
			current.id = 0;
		if (current.recorded == mySubid)
			current.recorded = InvalidSubTransactionId;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		if (current.subid == mySubid)
			current.subid = parentSubid;
		if (current.recorded == mySubid)
			current.recorded = parentSubid;
	}
}

static void
forget_at_xact(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
	{
		current.id = 0;
		first_deleted_at = 0;
	}
}

/*
 * Makes ready, as the library is loaded, to forget at the end of a transaction its
 * deletion.
 */
void
dg_capture_deletion_init(void)
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
purge_not_before(TimestampTz made_at)
{
	int64		seconds = dg_retention;

	if (seconds < 0 || made_at > DT_NOEND - seconds * USECS_PER_SEC)
		return DT_NOEND;
	return made_at + seconds * USECS_PER_SEC;
}

static void
set_record(Datum *values, bool *nulls)
{
	values[Anum_deletion_part_deleted_at - 1] = TimestampTzGetDatum(first_deleted_at);
	set_text(values, nulls, Anum_deletion_part_session_role, GetUserNameFromId(GetSessionUserId(), true));
	set_text(values, nulls, Anum_deletion_part_effective_role, GetUserNameFromId(current.role, true));
	set_text(values, nulls, Anum_deletion_part_application_name, application_name);
	set_client_addr(values, nulls, Anum_deletion_part_client_addr);
	set_text(values, nulls, Anum_deletion_part_actor, dg_actor);
	set_text(values, nulls, Anum_deletion_part_reason, dg_reason);
	set_text(values, nulls, Anum_deletion_part_statement, debug_query_string);
	values[Anum_deletion_part_xid - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[Anum_deletion_part_purge_not_before - 1] =
		TimestampTzGetDatum(purge_not_before(current.made_at));
}

static void
set_no_record(bool *nulls)
{
	for (int i = Anum_deletion_part_deleted_at; i <= Anum_deletion_part_purge_not_before; i++)
		nulls[i - 1] = true;
}

/*
 * Has the current statement deleted anything yet?
 */
bool
dg_capture_deletion_exists(void)
{
	return current.id != 0 && current.statement == dg_guard_statement_serial();
}

/*
 * Has the current statement's deletion written any parts before?
 */
bool
dg_capture_deletion_has_parts(void)
{
	return dg_capture_deletion_exists() && current.parts > 0;
}

/*
 * Is this the deletion that is remembered?
 */
bool
dg_capture_deletion_is(int64 deletion)
{
	return current.id == deletion;
}

/*
 * Does a part of the current deletion carry its record?
 */
bool
dg_capture_deletion_is_recorded(void)
{
	return current.recorded != InvalidSubTransactionId;
}

/*
 * Lets what follows be a deletion of its own, until dg_capture_deletion_resume().
 */
DgDeletion
dg_capture_deletion_suspend(void)
{
	DgDeletion	saved = current;

	memset(&current, 0, sizeof(DgDeletion));
	return saved;
}

/*
 * What was deleted since dg_capture_deletion_suspend() has been rolled back.
 */
void
dg_capture_deletion_resume(DgDeletion saved)
{
	current = saved;
}

/*
 * The id of the deletion that the current statement makes. A caller that asks
 * for it then writes a part, or calls dg_capture_deletion_record().
 */
int64
dg_capture_deletion_current(void)
{
	if (!dg_capture_deletion_exists())
	{
		int64		id = dg_capture_draw_number();

		memset(&current, 0, sizeof(DgDeletion));
		current.id = id;
		current.statement = dg_guard_statement_serial();
		current.subid = GetCurrentSubTransactionId();
		current.made_at = GetCurrentTimestamp();
		if (first_deleted_at == 0)
			first_deleted_at = current.made_at;
		current.role = dg_guard_statement_role();
	}
	return current.id;
}

/*
 * A number for the next part of the current deletion.
 */
int32
dg_capture_deletion_next_part(void)
{
	Assert(current.id != 0);
	if (current.parts == PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("one statement deleted rows of too many tenants and tables")));
	return ++current.parts;
}

/*
 * Writes one part of a deletion, as the command with this number.
 */
void
dg_capture_deletion_add_part(const DgPart *part, CommandId cid)
{
	Datum		values[Natts_deletion_part];
	bool		nulls[Natts_deletion_part] = {false};
	bool		recorded = dg_capture_deletion_is_recorded();

	if (!dg_capture_deletion_is(part->deletion))
		elog(ERROR, "deletion " INT64_FORMAT " is over, and a part of it is not written", part->deletion);
	values[Anum_deletion_part_deletion_id - 1] = Int64GetDatum(part->deletion);
	values[Anum_deletion_part_part - 1] = Int32GetDatum(part->part);
	values[Anum_deletion_part_bin_id - 1] = Int32GetDatum(part->bin_id);
	nulls[Anum_deletion_part_tenant - 1] = nulls[Anum_deletion_part_tenant_hash - 1] = (part->text == NULL);
	if (part->text != NULL)
	{
		values[Anum_deletion_part_tenant - 1] = CStringGetTextDatum(part->text);
		values[Anum_deletion_part_tenant_hash - 1] = UInt64GetDatum(dg_guard_tenant_text_hash(part->text));
	}
	set_text(values, nulls, Anum_deletion_part_tenant_name, part->name);
	set_text(values, nulls, Anum_deletion_part_contact, part->contact);
	values[Anum_deletion_part_rows - 1] = Int64GetDatum(part->rows);
	values[Anum_deletion_part_restored - 1] = Int64GetDatum(0);
	values[Anum_deletion_part_purged - 1] = Int64GetDatum(0);
	values[Anum_deletion_part_filenode - 1] = ObjectIdGetDatum(part->filenode);
	values[Anum_deletion_part_blocks - 1] = PointerGetDatum(dg_bin_blocks_pack(part->blocks));
	if (recorded)
		set_no_record(nulls);
	else
		set_record(values, nulls);
	dg_own_insert_as_of(DG_OWN_ALL(deletion_part), values, nulls, cid);
	dg_counter_add(DG_COUNT_ROWS_DELETED, part->rows);
	if (!recorded)
	{
		dg_counter_add(DG_COUNT_DELETIONS, 1);
		current.recorded = GetCurrentSubTransactionId();
	}
}

/*
 * Writes the record of the current deletion if no part carries it yet: with a
 * part that has no rows.
 */
void
dg_capture_deletion_record(CommandId cid)
{
	DgBlocks	none = {0};
	DgPart		part = {.deletion = current.id,.blocks = &none};

	if (!dg_capture_deletion_is_recorded())
		dg_capture_deletion_add_part(&part, cid);
}

/* ----------------------------------------------------------------------
 * Totals
 * ----------------------------------------------------------------------
 */

/*
 * An empty total. Its tenants are the same if they are in rows of a guarded
 * table; InvalidOid: in rows of any.
 */
DgTotal *
dg_capture_total_begin(Oid relid)
{
	DgTotal    *total = palloc0(sizeof(DgTotal));

	total->tenants = dg_guard_textset_of_tenants(CurrentMemoryContext, relid);
	return total;
}

/*
 * Adds rows of a tenant; NULL: of none.
 */
void
dg_capture_total_add(DgTotal *total, const char *tenant, int64 rows)
{
	total->rows += rows;
	if (tenant != NULL)
		(void) dg_guard_textset_add(total->tenants, tenant);
}
