/*
 * undelete.c
 *		undelete(), undelete_tenant(), undelete_tenants(): rows go from the bin
 *		back into their tables.
 *
 * A call restores all of what was asked for, or fails and restores nothing.
 * It holds the lock of every tenant it concerns, or names, so that two
 * undeletes, or an undelete and a purge, follow one another; the second finds
 * what the first left.
 *
 * A dry run does everything in a subtransaction, which is then rolled back: it
 * reports what would have happened, a failure included.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "bin/bin.h"
#include "capture/capture.h"
#include "guard/guard.h"
#include "ledger/ledger.h"
#include "rows/rows.h"
#include "undelete/undelete_internal.h"

/* of which a warning gives the keys */
#define NAMED_TENANTS 5

PG_FUNCTION_INFO_V1(dg_undelete);
PG_FUNCTION_INFO_V1(dg_undelete_tenant);
PG_FUNCTION_INFO_V1(dg_undelete_tenants);
PG_FUNCTION_INFO_V1(dg_undelete_without_tenant);
PG_FUNCTION_INFO_V1(dg_undelete_transaction);

/* What a call is for. */
typedef struct Selection
{
	const char *condition;		/* on deletion_part p */
	int			nargs;
	Oid		   *types;
	Datum	   *values;
	List	   *tenants;		/* that the call names; NIL: of whom it
								 * concerns */
	const char *what;
	int64		deletion;		/* that the call names by its number, or 0 */
} Selection;

static DgSavedPart *
read_part(uint64 row)
{
	DgSavedPart *part = palloc0(sizeof(DgSavedPart));

	part->id.deletion = dg_row_int64(row, 1, NULL);
	part->id.part = (int32) dg_row_int64(row, 2, NULL);
	part->bin_id = (int32) dg_row_int64(row, 3, NULL);
	part->relation = (Oid) dg_row_int64(row, 4, NULL);
	part->relation_name = dg_row_text(row, 5);
	part->bin_table = (Oid) dg_row_int64(row, 6, NULL);
	part->tenant = dg_row_text(row, 7);
	part->rows = dg_row_int64(row, 8, NULL);
	part->purged = dg_row_int64(row, 9, NULL);
	part->orphan = dg_undelete_table_is_gone(part->relation);
	return part;
}

/*
 * When part p's deletion was made. It may have a million parts, of which one of
 * the first has its record: looking at them in order finds it at once.
 */
#define DELETED_AT \
	"(SELECT r.deleted_at FROM deletion_guard.deletion_part r" \
	" WHERE r.deletion_id = p.deletion_id AND r.deleted_at IS NOT NULL ORDER BY r.part LIMIT 1)"

/*
 * Those parts that are of tables of which rows were chosen.
 */
static List *
chosen_parts(List *chosen, List *parts)
{
	List	   *kept = NIL;
	ListCell   *lc;

	foreach(lc, parts)
	{
		DgSavedPart *part = lfirst(lc);

		if (dg_rows_chosen_of(chosen, part->relation, part->relation_name) != NULL)
			kept = lappend(kept, part);
	}
	return kept;
}

/*
 * Parts with rows in the bin, by a condition on deletion_part p; a list in the
 * call's context. Of several versions of a row, the latest is to win: it comes
 * first with skip, which keeps the first, and last with replace. Where two versions
 * are an error, each bin table is read once.
 */
static List *
select_parts(DgUndelete *call, const Selection *selection)
{
	List	   *parts = NIL;
	MemoryContext old;

	SPI_connect();
	dg_query(psprintf("SELECT p.deletion_id, p.part, p.bin_id, b.relation, b.relation_name,"
					  " b.bin_table, p.tenant, p.rows - p.restored - p.purged, p.purged"
					  " FROM deletion_guard.deletion_part p"
					  " JOIN deletion_guard.bin b USING (bin_id)"
					  " WHERE p.rows > p.restored + p.purged AND %s"
					  " ORDER BY %s, p.part", selection->condition,
					  call->options.on_conflict == DG_ON_CONFLICT_ERROR ? "p.bin_id, p.deletion_id" :
					  call->options.on_conflict == DG_ON_CONFLICT_SKIP ? "p.deletion_id DESC, p.bin_id" :
					  "p.deletion_id, p.bin_id"),
			 DG_AS_US, selection->nargs, selection->types, selection->values);
	old = MemoryContextSwitchTo(call->context);
	for (uint64 i = 0; i < SPI_processed; i++)
		parts = lappend(parts, read_part(i));
	if (call->chosen != NIL)
		parts = chosen_parts(call->chosen, parts);
	MemoryContextSwitchTo(old);
	SPI_finish();
	return parts;
}

/*
 * The tenants of a deletion, to be locked. They do not change: what of it is in
 * the bin only becomes less.
 */
static List *
tenants_of_parts(List *parts)
{
	List	   *tenants = NIL;
	ListCell   *lc;

	foreach(lc, parts)
	{
		DgSavedPart *part = lfirst(lc);

		tenants = lappend(tenants, part->tenant != NULL ? part->tenant : DG_NO_TENANT);
	}
	return tenants;
}

/*
 * The tenants that a call names, to be locked even if they have nothing in the
 * bin: rows of one may come there while another's lock is waited for.
 */
static List *
tenants_of_array(Datum array)
{
	List	   *tenants = NIL;
	ListCell   *lc;

	foreach(lc, dg_array_strings(array))
	{
		if (lfirst(lc) != NULL)
			tenants = lappend(tenants, lfirst(lc));
	}
	return tenants;
}

/*
 * An error as the report of a dry run has it: what, why, and where it says so,
 * which row.
 */
static char *
describe_failure(ErrorData *error)
{
	static const char row[] = "restoring ";
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, error->message);
	if (error->detail != NULL)
		appendStringInfo(&buf, ": %s", error->detail);
	if (error->context != NULL && strncmp(error->context, row, strlen(row)) == 0)
		appendStringInfo(&buf, " (%.*s)", (int) strcspn(error->context, "\n"), error->context);
	return buf.data;
}

/*
 * Forgets what a first try has counted.
 */
static void
forget_bin_try(void *arg)
{
	DgUndelete *call = arg;
	ListCell   *lc;

	call->reports = NIL;
	call->reports_by_name = NULL;
	call->lost_links = call->links_found = call->links_missing = NIL;
	call->rows = call->links = 0;
	dg_rows_chosen_reset(call->chosen);
	foreach(lc, call->parts)
	{
		DgSavedPart *part = lfirst(lc);

		part->seen = part->left = 0;
	}
}

/*
 * Restores all of it or fails. A caller that wants something done about
 * conflicts expects some.
 */
static void
restore_all(void *arg)
{
	DgUndelete *call = arg;
	DgRowsWork	work = {.work = dg_undelete_restore_parts,.start_over = forget_bin_try,.arg = call,.options = &call->options};

	dg_rows_try(&work, call->options.on_conflict == DG_ON_CONFLICT_ERROR);
}

/*
 * Restores all in a subtransaction that is rolled back, whatever happens.
 */
static void
restore_parts_dry(DgUndelete *call)
{
	ErrorData  *error = dg_try(restore_all, call, false);

	if (error != NULL)
		call->failure = describe_failure(error);
}

/*
 * Says which of the tenants that a call names it can do nothing for: a list of
 * keys of the wrong kind should not pass for one that is done.
 */
static void
warn_of_absent(DgUndelete *call, List *tenants)
{
	DgTextSet  *present = dg_guard_textset_of_tenants(CurrentMemoryContext, InvalidOid);
	DgTextSet  *absent = dg_guard_textset_of_tenants(CurrentMemoryContext, InvalidOid);
	StringInfoData names;
	int64		n;
	ListCell   *lc;

	if (tenants == NIL)
		return;
	foreach(lc, call->parts)
		(void) dg_guard_textset_add(present, ((DgSavedPart *) lfirst(lc))->tenant);
	foreach(lc, tenants)
	{
		if (!dg_guard_textset_has(present, lfirst(lc)))
			(void) dg_guard_textset_add(absent, lfirst(lc));
	}
	n = dg_guard_textset_count(absent);
	if (n == 0)
		return;

	initStringInfo(&names);
	for (int64 i = 0; i < Min(n, NAMED_TENANTS); i++)
		appendStringInfo(&names, "%s\"%s\"", i > 0 ? ", " : "", dg_guard_textset_get(absent, i));
	ereport(WARNING,
			(errmsg_plural("%lld of the tenants has nothing in the bin that this call would restore",
						   "%lld of the tenants have nothing in the bin that this call would restore",
						   (unsigned long) n, (long long) n),
			 n > NAMED_TENANTS ?
			 errdetail("Keys: %s and %lld more.", names.data, (long long) (n - NAMED_TENANTS)) :
			 errdetail("Keys: %s.", names.data),
			 errhint("Are these keys of tenants, deleted in the time given and not yet undeleted? The view deletion_guard.deletion_detail says.")));
}

/* ----------------------------------------------------------------------
 * The report
 * ----------------------------------------------------------------------
 */

static void
append_problem(StringInfo buf, const char *problem)
{
	if (problem != NULL)
		appendStringInfo(buf, "%s%s", buf->len > 0 ? "; " : "", problem);
}

/*
 * What a person should know of some rows; NULL if nothing.
 */
static char *
describe_problem(DgReport *report)
{
	int64		taken = report->skipped - report->orphaned;
	StringInfoData buf;

	if (OidIsValid(report->orphan))
		return psprintf(report->skipped == 1 ? "table %s does not exist any more: %lld row stays in %s" :
						"table %s does not exist any more: %lld rows stay in %s",
						report->relation_name, (long long) report->skipped, dg_relation_name(report->orphan));
	initStringInfo(&buf);
	if (taken > 0)
		append_problem(&buf, psprintf(taken == 1 ? "%lld row stays in the bin: a different live row has its key" :
									  "%lld rows stay in the bin: different live rows have their keys",
									  (long long) taken));
	if (report->orphaned > 0)
		append_problem(&buf, psprintf(report->orphaned == 1 ? "%lld row stays in the bin: what it refers to does not exist" :
									  "%lld rows stay in the bin: what they refer to does not exist",
									  (long long) report->orphaned));
	if (report->purged > 0)
		append_problem(&buf, psprintf(report->purged == 1 ? "%lld row was purged" : "%lld rows were purged",
									  (long long) report->purged));
	append_problem(&buf, report->note);
	return buf.len > 0 ? buf.data : NULL;
}

/*
 * Keeps a word about rows of a line of the report.
 */
static void
note_on_report(void *arg, Oid relid, int tag, const char *problem)
{
	DgUndelete *call = arg;
	DgReport   *report;
	MemoryContext old;

	if (tag < 0)
		return;					/* a row that got a link back: what that leads
								 * to is there */
	report = list_nth(call->reports, tag);
	old = MemoryContextSwitchTo(call->context);
	report->note = report->note == NULL ? pstrdup(problem) : psprintf("%s; %s", report->note, problem);
	MemoryContextSwitchTo(old);
}

static void
put_undelete_line(ReturnSetInfo *rsinfo, DgReport *report)
{
	Datum		values[6];
	bool		nulls[6] = {false};
	char	   *problem = describe_problem(report);

	values[0] = ObjectIdGetDatum(report->relation);
	nulls[0] = OidIsValid(report->orphan);
	nulls[1] = (report->tenant == NULL);
	if (!nulls[1])
		values[1] = CStringGetTextDatum(report->tenant);
	values[2] = Int64GetDatum(report->restored);
	values[3] = Int64GetDatum(report->identical);
	values[4] = Int64GetDatum(report->skipped);
	nulls[5] = (problem == NULL);
	if (problem != NULL)
		values[5] = CStringGetTextDatum(problem);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_failure(ReturnSetInfo *rsinfo, const char *failure)
{
	Datum		values[6] = {0};
	bool		nulls[6] = {true, true, true, true, true, false};

	values[5] = CStringGetTextDatum(failure);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static int64
first_deletion(DgUndelete *call)
{
	int64		first = PG_INT64_MAX;
	ListCell   *lc;

	foreach(lc, call->parts)
		first = Min(first, ((DgSavedPart *) lfirst(lc))->id.deletion);
	return first;
}

/*
 * A row that has got its link back belongs in another partition.
 */
static void
note_moved(Oid partition)
{
	dg_capture_balance_moved(dg_guard_lookup(partition)->root);
}

static void
set_undelete_options(DgUndelete *call, FunctionCallInfo fcinfo, int n)
{
	DgRowsOptions *options = &call->options;

	options->on_conflict = dg_rows_on_conflict(text_to_cstring(PG_GETARG_TEXT_PP(n)));
	options->dry_run = PG_GETARG_BOOL(n + 1);
	options->displace = dg_capture_displaced;
	options->moved = note_moved;
	options->hint = "Nothing was restored. If the rows referred to are in the bin, restore them together with these: undelete_transaction() brings back what one transaction deleted, undelete_tenant() all that a tenant lost. If they are gone for good, on_conflict => 'skip' leaves rows that refer to them in the bin, and the others come back.";
	if (options->on_conflict == DG_ON_CONFLICT_SKIP)
		options->missing = dg_rows_missing_make();
	if (PG_NARGS() > n + 2 && !PG_ARGISNULL(n + 2))
	{
		call->chosen = dg_rows_chosen_parse(PG_GETARG_JSONB_P(n + 2));
		options->hint = "Nothing was restored. Choose the rows that they refer to, too, if these are in the bin; undelete() without rows brings all back.";
	}
	options->same = dg_undelete_same_but_links;
	options->alias = dg_undelete_same_found;
	options->tell = note_on_report;
	options->settle = dg_undelete_restore_settle;
	options->arg = call;
}

static void
put_reports(ReturnSetInfo *rsinfo, DgUndelete *call)
{
	ListCell   *lc;

	if (call->failure != NULL)
	{
		put_failure(rsinfo, call->failure);
		return;
	}
	foreach(lc, call->reports)
	{
		DgReport   *report = lfirst(lc);

		/* of a table none of this tenant's rows may have been chosen */
		if (call->chosen == NIL || report->restored + report->identical + report->skipped > 0)
			put_undelete_line(rsinfo, report);
	}
}

/*
 * There is nothing to restore. Of a deletion that is named by its number, says what
 * became of it, or that there is none.
 */
pg_noreturn static void
refuse_nothing(const Selection *selection)
{
	char	   *became = NULL;

	if (selection->deletion != 0)
	{
		SPI_connect();
		dg_query(psprintf("SELECT count(*), sum(p.rows)::bigint, sum(p.restored)::bigint, sum(p.purged)::bigint"
						  " FROM deletion_guard.deletion_part p WHERE %s", selection->condition),
				 DG_AS_US, selection->nargs, selection->types, selection->values);
		if (dg_row_int64(0, 1, NULL) == 0)
			ereport(ERROR,
					(errcode(DG_ERRCODE_NOTHING_TO_RESTORE),
					 errmsg("there is no deletion %lld", (long long) selection->deletion),
					 errhint("The view deletion_guard.deletion lists deletions. Of old ones, of which nothing is left, deletion_history has the counts.")));
		became = psprintf("Rows it removed: %lld, restored since: %lld, purged: %lld.", (long long) dg_row_int64(0, 2, NULL),
						  (long long) dg_row_int64(0, 3, NULL), (long long) dg_row_int64(0, 4, NULL));
	}
	ereport(ERROR,
			(errcode(DG_ERRCODE_NOTHING_TO_RESTORE),
			 errmsg("nothing of %s is in the bin", selection->what),
			 became == NULL ? 0 : errdetail("%s", became),
			 errhint("The views deletion_guard.deletion and deletion_detail say what was deleted, and what became of it.")));
}

/*
 * Restores what is selected; the body of all five functions, whose arguments from
 * n on are on_conflict, dry_run and, if there is one more, the rows that are chosen.
 */
static Datum
undelete_selected(FunctionCallInfo fcinfo, const Selection *selection, int n)
{
	DgUndelete	call = {0};

	call.context = CurrentMemoryContext;
	set_undelete_options(&call, fcinfo, n);
	InitMaterializedSRF(fcinfo, 0);

	dg_guard_lock_tenants(selection->tenants != NIL ? list_copy(selection->tenants) :
						  tenants_of_parts(select_parts(&call, selection)));
	/* now what others have left meanwhile */
	call.parts = select_parts(&call, selection);
	if (call.parts == NIL)
	{
		dg_undelete_check_chosen(call.chosen);
		refuse_nothing(selection);
	}

	warn_of_absent(&call, selection->tenants);
	if (call.options.dry_run)
		restore_parts_dry(&call);
	else
	{
		restore_all(&call);
		dg_counter_add(DG_COUNT_UNDELETES, 1);
		dg_counter_add(DG_COUNT_ROWS_UNDELETED, call.rows);
		dg_ledger_append("undelete", psprintf("{\"first_deletion\": %lld, \"rows\": %lld, \"links\": %lld}",
											  (long long) first_deletion(&call),
											  (long long) call.rows, (long long) call.links));
	}
	put_reports((ReturnSetInfo *) fcinfo->resultinfo, &call);
	return (Datum) 0;
}

static Datum
undelete_deletions(FunctionCallInfo fcinfo, const char *condition, const char *what)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {PG_GETARG_DATUM(0)};
	Selection	selection = {condition, 1, types, values, NIL,
	psprintf("%s %lld", what, (long long) PG_GETARG_INT64(0)), PG_GETARG_INT64(0)};

	return undelete_selected(fcinfo, &selection, 1);
}

/*
 * undelete(deletion_id bigint, on_conflict text, dry_run boolean, rows jsonb)
 *
 * Not strict, as rows may be null.
 */
Datum
dg_undelete(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
	{
		InitMaterializedSRF(fcinfo, 0);
		return (Datum) 0;
	}
	return undelete_deletions(fcinfo, "p.deletion_id = $1", "deletion");
}

/*
 * undelete_transaction(deletion_id bigint, on_conflict text, dry_run boolean)
 *
 * All deletions of a transaction have the time of its first one. The number of a
 * transaction alone may come again in a database that was restored from a dump.
 */
Datum
dg_undelete_transaction(PG_FUNCTION_ARGS)
{
	return undelete_deletions(fcinfo,
							  "p.deletion_id IN (SELECT o.deletion_id FROM deletion_guard.deletion_part d"
							  " JOIN deletion_guard.deletion_part o ON o.xid = d.xid AND o.deleted_at = d.deleted_at"
							  " WHERE d.deletion_id = $1)",
							  "the transaction of deletion");
}

static Datum
undelete_tenants(FunctionCallInfo fcinfo, Datum array, const char *what)
{
	List	   *tenants = dg_bin_tenants_present(tenants_of_array(array));
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTARRAYOID, INT4ARRAYOID};
	Datum		values[4] = {PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	Selection	selection = {DG_OF_TENANTS("$3", "$4") " AND " DELETED_AT " BETWEEN $1 AND $2 AND NOT (b.relation = 0 AND b.dropped_column IS NOT NULL)",
	4, types, values, tenants, what};

	values[2] = dg_bin_tenants_in_bin(tenants, &values[3]);
	return undelete_selected(fcinfo, &selection, 3);
}

/*
 * undelete_tenant(tenant text, since, until timestamptz, on_conflict text, dry_run boolean)
 */
Datum
dg_undelete_tenant(PG_FUNCTION_ARGS)
{
	Datum		tenant = PG_GETARG_DATUM(0);
	Datum		tenants = dg_array(&tenant, 1, TEXTOID);

	return undelete_tenants(fcinfo, tenants,
							psprintf("tenant \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/*
 * undelete_tenants(tenants text[], ...)
 */
Datum
dg_undelete_tenants(PG_FUNCTION_ARGS)
{
	return undelete_tenants(fcinfo, PG_GETARG_DATUM(0), "these tenants");
}

/*
 * undelete_without_tenant(relations regclass[], since, until timestamptz, on_conflict text, dry_run boolean)
 *
 * A key that is the empty string is nobody's, too, unless there is such a tenant.
 */
Datum
dg_undelete_without_tenant(PG_FUNCTION_ARGS)
{
	DgTenantRow row;
	bool		blank = !OidIsValid(dg_guard_tenant_table()->relid) ||
	(dg_bin_tenant_live("", GetLatestSnapshot(), &row) == 0 && !dg_bin_tenant_deleted("", GetLatestSnapshot(), &row));
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, OIDARRAYOID, BOOLOID};
	Datum		values[4] = {PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), dg_oid_array(dg_array_oids(PG_GETARG_DATUM(0))), BoolGetDatum(blank)};
	Selection	selection = {"b.relation = ANY ($3) AND (p.tenant IS NULL OR ($4 AND p.tenant = ''))"
		" AND " DELETED_AT " BETWEEN $1 AND $2 AND b.dropped_column IS NULL",
	4, types, values, NIL, "these tables' rows without a tenant"};

	return undelete_selected(fcinfo, &selection, 3);
}
