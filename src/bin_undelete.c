/*
 * bin_undelete.c
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
#include "bin.h"
#include "ledger.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* of which a warning gives the keys */
#define NAMED_TENANTS 5

PG_FUNCTION_INFO_V1(dg_undelete);
PG_FUNCTION_INFO_V1(dg_undelete_tenant);
PG_FUNCTION_INFO_V1(dg_undelete_tenants);

/*
 * Is there no table of this OID any more, that rows could go to?
 */
bool
dg_table_is_gone(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	return relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE;
}

static DgSavedPart *
read_part(uint64 row)
{
	DgSavedPart *part = palloc0(sizeof(DgSavedPart));

	part->deletion = dg_row_int64(row, 1, NULL);
	part->part = (int32) dg_row_int64(row, 2, NULL);
	part->bin_id = (int32) dg_row_int64(row, 3, NULL);
	part->relation = (Oid) dg_row_int64(row, 4, NULL);
	part->relation_name = dg_row_text(row, 5);
	part->bin_table = (Oid) dg_row_int64(row, 6, NULL);
	part->tenant = dg_row_text(row, 7);
	part->rows = dg_row_int64(row, 8, NULL);
	part->orphan = dg_table_is_gone(part->relation);
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
 * Parts with rows in the bin, by a condition on deletion_part p; a list in the
 * call's context. Of several versions of a row, the latest is to win: it comes
 * first with skip, which keeps the first, and last with replace.
 */
static List *
read_parts(DgUndelete *call, const char *condition, int nargs, Oid *types, Datum *values)
{
	List	   *parts = NIL;
	MemoryContext old;

	SPI_connect();
	dg_spi_execute(psprintf("SELECT p.deletion_id, p.part, p.bin_id, b.relation, b.relation_name,"
							" b.bin_table, p.tenant, p.rows - p.restored - p.purged"
							" FROM deletion_guard.deletion_part p"
							" JOIN deletion_guard.bin b USING (bin_id)"
							" WHERE p.rows > p.restored + p.purged AND %s"
							" ORDER BY p.deletion_id %s, p.bin_id, p.part", condition,
							call->on_conflict == DG_ON_CONFLICT_SKIP ? "DESC" : "ASC"),
				   nargs, types, values, NULL);
	old = MemoryContextSwitchTo(call->context);
	for (uint64 i = 0; i < SPI_processed; i++)
		parts = lappend(parts, read_part(i));
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
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			tenants = lappend(tenants, TextDatumGetCString(elems[i]));
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
start_over(DgUndelete *call)
{
	ListCell   *lc;

	call->reports = NIL;
	call->reports_by_name = NULL;
	call->rows = call->links = 0;
	foreach(lc, call->parts)
	{
		DgSavedPart *part = lfirst(lc);

		part->seen = part->left = 0;
	}
}

static void
expect_no_conflict(void *call)
{
	dg_restore_parts(call, true);
}

/*
 * Restores in the hope that no live row has the key of a saved one, as is
 * usual: then no index need be asked before each row. False if one had; then
 * nothing was done.
 */
static bool
restore_parts_hopefully(DgUndelete *call)
{
	ErrorData  *error = dg_try(expect_no_conflict, call, true);

	if (error == NULL)
		return true;
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION &&
		error->sqlerrcode != ERRCODE_EXCLUSION_VIOLATION)
		ReThrowError(error);
	start_over(call);
	return false;
}

static void
expect_conflicts(void *call)
{
	dg_restore_parts(call, false);
}

/*
 * Restores all of it or fails.
 */
static void
restore_all(void *arg)
{
	DgUndelete *call = arg;

	/* whoever wants something done about conflicts expects some */
	if (call->on_conflict != DG_ON_CONFLICT_ERROR || !restore_parts_hopefully(call))
		dg_parts_during(expect_conflicts, call);
}

/*
 * The same in a subtransaction that is rolled back, whatever happens.
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
	DgTextSet  *present = dg_textset_create(CurrentMemoryContext);
	DgTextSet  *absent = dg_textset_create(CurrentMemoryContext);
	StringInfoData names;
	int64		n;
	ListCell   *lc;

	if (tenants == NIL)
		return;
	foreach(lc, call->parts)
		(void) dg_textset_add(present, ((DgSavedPart *) lfirst(lc))->tenant);
	foreach(lc, tenants)
	{
		if (!dg_textset_has(present, lfirst(lc)))
			(void) dg_textset_add(absent, lfirst(lc));
	}
	n = dg_textset_count(absent);
	if (n == 0)
		return;

	initStringInfo(&names);
	for (int64 i = 0; i < Min(n, NAMED_TENANTS); i++)
		appendStringInfo(&names, "%s\"%s\"", i > 0 ? ", " : "", dg_textset_get(absent, i));
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

static char *
describe_skipped(DgReport *report)
{
	if (OidIsValid(report->orphan))
		return psprintf(ngettext("table %s does not exist any more: %lld row stays in %s",
								 "table %s does not exist any more: %lld rows stay in %s", report->skipped),
						report->relation_name, (long long) report->skipped, dg_relation_name(report->orphan));
	return psprintf(ngettext("%lld row stays in the bin: a different live row has its key",
							 "%lld rows stay in the bin: different live rows have their keys", report->skipped),
					(long long) report->skipped);
}

static void
put_report(ReturnSetInfo *rsinfo, DgReport *report)
{
	Datum		values[6];
	bool		nulls[6] = {false};

	values[0] = ObjectIdGetDatum(report->relation);
	nulls[0] = OidIsValid(report->orphan);
	nulls[1] = (report->tenant == NULL);
	if (!nulls[1])
		values[1] = CStringGetTextDatum(report->tenant);
	values[2] = Int64GetDatum(report->restored);
	values[3] = Int64GetDatum(report->identical);
	values[4] = Int64GetDatum(report->skipped);
	nulls[5] = (report->skipped == 0);
	if (!nulls[5])
		values[5] = CStringGetTextDatum(describe_skipped(report));
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
		first = Min(first, ((DgSavedPart *) lfirst(lc))->deletion);
	return first;
}

/*
 * Restores what a condition selects, of these tenants, or of whom it concerns
 * if they are NIL; the body of all three functions.
 */
static Datum
undelete(FunctionCallInfo fcinfo, const char *condition, int nargs, Oid *types, Datum *values,
		 List *tenants, const char *on_conflict, bool dry_run, const char *what)
{
	DgUndelete	call = {0};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	call.on_conflict = dg_rows_on_conflict(on_conflict);
	call.dry_run = dry_run;
	call.context = CurrentMemoryContext;
	InitMaterializedSRF(fcinfo, 0);

	dg_lock_tenants(tenants != NIL ? list_copy(tenants) :
					tenants_of_parts(read_parts(&call, condition, nargs, types, values)));
	/* now what others have left meanwhile */
	call.parts = read_parts(&call, condition, nargs, types, values);
	if (call.parts == NIL)
		ereport(ERROR,
				(errcode(DG_ERRCODE_NOTHING_TO_RESTORE),
				 errmsg("nothing of %s is in the bin", what),
				 errhint("The views deletion_guard.deletion and deletion_detail say what was deleted, and what became of it.")));

	warn_of_absent(&call, tenants);

	if (dry_run)
		restore_parts_dry(&call);
	else
	{
		restore_all(&call);
		dg_ledger_append("undelete", psprintf("{\"first_deletion\": %lld, \"rows\": %lld, \"links\": %lld}",
											  (long long) first_deletion(&call),
											  (long long) call.rows, (long long) call.links));
	}

	if (call.failure != NULL)
		put_failure(rsinfo, call.failure);
	else
	{
		foreach(lc, call.reports)
			put_report(rsinfo, lfirst(lc));
	}
	return (Datum) 0;
}

/*
 * undelete(deletion_id bigint, on_conflict text, dry_run boolean)
 */
Datum
dg_undelete(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {PG_GETARG_DATUM(0)};

	return undelete(fcinfo, "p.deletion_id = $1", 1, types, values, NIL,
					text_to_cstring(PG_GETARG_TEXT_PP(1)), PG_GETARG_BOOL(2),
					psprintf("deletion %lld", (long long) PG_GETARG_INT64(0)));
}

static Datum
undelete_tenants(FunctionCallInfo fcinfo, Datum tenants, const char *what)
{
	Oid			types[] = {TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {tenants, PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};

	return undelete(fcinfo, "p.tenant = ANY ($1) AND " DELETED_AT " BETWEEN $2 AND $3",
					3, types, values, tenants_of_array(tenants),
					text_to_cstring(PG_GETARG_TEXT_PP(3)), PG_GETARG_BOOL(4), what);
}

/*
 * undelete_tenant(tenant text, since, until timestamptz, on_conflict text, dry_run boolean)
 */
Datum
dg_undelete_tenant(PG_FUNCTION_ARGS)
{
	Datum		tenant = PG_GETARG_DATUM(0);
	ArrayType  *tenants = construct_array(&tenant, 1, TEXTOID, -1, false, TYPALIGN_INT);

	return undelete_tenants(fcinfo, PointerGetDatum(tenants),
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
