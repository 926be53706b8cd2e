/*
 * bin_undelete.c
 *		undelete(), undelete_tenant(), undelete_tenants(): rows go from the bin
 *		back into their tables.
 *
 * A call restores all of what was asked for, or fails and restores nothing.
 * It holds the lock of every tenant it concerns, so that two undeletes, or an
 * undelete and a purge, follow one another; the second finds what the first
 * left.
 *
 * Rows whose table was dropped cannot come back: that fails the call, or with
 * on_conflict skip leaves them in the bin, as whatever else has no place.
 *
 * A dry run does everything in a subtransaction, which is then rolled back: it
 * reports what would have happened, a failure included.
 */
#include "bin.h"
#include "ledger.h"
#include "rows.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dg_undelete);
PG_FUNCTION_INFO_V1(dg_undelete_tenant);
PG_FUNCTION_INFO_V1(dg_undelete_tenants);

/* A part that has rows in the bin. */
typedef struct Part
{
	int64		deletion;
	int32		part;
	int32		bin_id;
	Oid			relation;
	char	   *relation_name;
	Oid			bin_table;
	char	   *tenant;			/* or NULL */
	bool		orphan;			/* the table is gone */
	int64		rows;			/* still in the bin */
	int64		seen;
	int64		left;			/* of those, gone back */
	struct Report *report;
} Part;

/* A line of the report. */
typedef struct Report
{
	Oid			relation;
	Oid			orphan;			/* bin table, where the relation is gone */
	char	   *relation_name;
	char	   *tenant;
	int64		restored;
	int64		identical;
	int64		skipped;
} Report;

typedef struct Undelete
{
	DgOnConflict on_conflict;
	MemoryContext context;		/* of the parts and the report */
	List	   *parts;
	List	   *reports;
	int64		rows;			/* that left the bin */
	int64		links;			/* that were put back */
	char	   *failure;		/* of a dry run */
} Undelete;

/* ----------------------------------------------------------------------
 * What to restore
 * ----------------------------------------------------------------------
 */

static bool
is_gone(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	return relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE;
}

static Part *
part_of_tuple(HeapTuple tuple, TupleDesc desc)
{
	Part	   *part = palloc0(sizeof(Part));
	bool		isnull;

	part->deletion = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
	part->part = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull));
	part->bin_id = DatumGetInt32(SPI_getbinval(tuple, desc, 3, &isnull));
	part->relation = DatumGetObjectId(SPI_getbinval(tuple, desc, 4, &isnull));
	part->relation_name = pstrdup(SPI_getvalue(tuple, desc, 5));
	part->bin_table = DatumGetObjectId(SPI_getbinval(tuple, desc, 6, &isnull));
	part->tenant = SPI_getvalue(tuple, desc, 7);
	part->rows = DatumGetInt64(SPI_getbinval(tuple, desc, 8, &isnull));
	part->orphan = is_gone(part->relation);
	return part;
}

/*
 * Parts with rows in the bin, by a condition on deletion_part p and
 * deletion_record d; a list in the call's context. Of several versions of a
 * row, the latest is to win: it comes first where the first is kept, last
 * where it replaces the others.
 */
static List *
read_parts(Undelete *call, const char *condition, int nargs, Oid *types, Datum *values)
{
	List	   *parts = NIL;
	MemoryContext old;

	SPI_connect();
	dg_spi_execute(psprintf("SELECT p.deletion_id, p.part, p.bin_id, b.relation, b.relation_name,"
							" b.bin_table, p.tenant, p.rows - p.restored - p.purged"
							" FROM deletion_guard.deletion_part p"
							" JOIN deletion_guard.deletion_record d USING (deletion_id)"
							" JOIN deletion_guard.bin b USING (bin_id)"
							" WHERE p.rows > p.restored + p.purged AND %s"
							" ORDER BY p.deletion_id %s, p.bin_id, p.part", condition,
							call->on_conflict == DG_ON_CONFLICT_SKIP ? "DESC" : "ASC"),
				   nargs, types, values, NULL);
	old = MemoryContextSwitchTo(call->context);
	for (uint64 i = 0; i < SPI_processed; i++)
		parts = lappend(parts, part_of_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc));
	MemoryContextSwitchTo(old);
	SPI_finish();
	return parts;
}

static void
lock_tenants_of(List *parts)
{
	List	   *tenants = NIL;
	ListCell   *lc;

	foreach(lc, parts)
	{
		Part	   *part = lfirst(lc);

		tenants = lappend(tenants, part->tenant != NULL ? part->tenant : DG_NO_TENANT);
	}
	dg_lock_tenants(tenants);
}

/* ----------------------------------------------------------------------
 * Restoring
 * ----------------------------------------------------------------------
 */

static Report *
report_for(Undelete *call, Part *part)
{
	MemoryContext old;
	Report	   *report;
	ListCell   *lc;

	foreach(lc, call->reports)
	{
		report = lfirst(lc);
		if (report->relation == part->relation &&
			report->orphan == (part->orphan ? part->bin_table : InvalidOid) &&
			(report->tenant == part->tenant ||
			 (report->tenant && part->tenant && strcmp(report->tenant, part->tenant) == 0)))
			return report;
	}
	old = MemoryContextSwitchTo(call->context);
	report = palloc0(sizeof(Report));
	report->relation = part->relation;
	report->orphan = part->orphan ? part->bin_table : InvalidOid;
	report->relation_name = part->relation_name;
	report->tenant = part->tenant;
	call->reports = lappend(call->reports, report);
	MemoryContextSwitchTo(old);
	return report;
}

/*
 * The columns of a bin table that are the guarded table's.
 */
static DgSourceColumn *
source_columns(TupleDesc desc, int *ncolumns)
{
	DgSourceColumn *columns = palloc(sizeof(DgSourceColumn) * desc->natts);

	*ncolumns = 0;
	for (int i = DG_BIN_COLUMNS; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		/* a column of the bin cannot be dropped, but see what is there */
		if (att->attisdropped)
			elog(ERROR, "bin table lost a column");
		columns[*ncolumns].name = NameStr(att->attname);
		columns[*ncolumns].type = att->atttypid;
		columns[*ncolumns].typmod = att->atttypmod;
		(*ncolumns)++;
	}
	return columns;
}

static void
refuse_orphan(Part *part)
{
	char	   *bin = dg_relation_name(part->bin_table);

	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_RESTORE),
			 errmsg("cannot restore rows of \"%s\": the table does not exist any more",
					part->relation_name),
			 errdetail("%lld of its rows are in the bin, in deletion %lld.",
					   (long long) part->rows, (long long) part->deletion),
			 errhint("With on_conflict => 'skip' they stay in the bin and rows of other tables come back. If another table takes its place, deletion_guard.adopt_bin(%s, ...) gives it these rows.",
					 quote_literal_cstr(bin))));
}

static DgRowsTarget *
open_target(DgRowsWriter *writer, Part *part)
{
	Relation	bin;
	DgRowsTarget *target;
	DgSourceColumn *columns;
	int			ncolumns;

	LockRelationOid(part->relation, RowExclusiveLock);
	if (is_gone(part->relation))
		refuse_orphan(part);	/* dropped while the lock was waited for */
	bin = table_open(part->bin_table, RowExclusiveLock);
	columns = source_columns(RelationGetDescr(bin), &ncolumns);
	target = dg_rows_writer_target(writer, part->relation, columns, ncolumns);
	table_close(bin, NoLock);
	return target;
}

/*
 * Counts the rows of a part that have left the bin.
 */
static void
mark_restored(Part *part, int64 rows)
{
	Oid			types[] = {INT8OID, INT4OID, INT8OID};
	Datum		values[] = {Int64GetDatum(part->deletion), Int32GetDatum(part->part), Int64GetDatum(rows)};

	SPI_connect();
	dg_spi_execute("UPDATE deletion_guard.deletion_part SET restored = restored + $3"
				   " WHERE deletion_id = $1 AND part = $2", 3, types, values, NULL);
	SPI_finish();
}

static int
compare_part_numbers(const void *key, const void *element)
{
	int32		part = *(const int32 *) key;
	const Part *other = lfirst((const ListCell *) element);

	return (part > other->part) - (part < other->part);
}

static void
check_part(Part *part)
{
	if (part->seen == part->rows)
		return;
	ereport(ERROR,
			(errcode(DG_ERRCODE_VERIFICATION_FAILED),
			 errmsg("the bin of \"%s\" holds %lld rows of deletion %lld, part %d, where %lld are recorded",
					part->relation_name, (long long) part->seen, (long long) part->deletion,
					part->part, (long long) part->rows),
			 errdetail("The bin has been changed by other means than deletion_guard's.")));
}

/*
 * Restores the parts of one deletion that are in one bin table: n of them,
 * the first of them at cells.
 */
static void
restore_group(Undelete *call, DgRowsTarget *target, ListCell *cells, int n)
{
	Part	   *part = lfirst(&cells[0]);
	int32	   *numbers = palloc(sizeof(int32) * n);
	DgBinScan  *scan;
	TupleTableSlot *slot;

	for (int i = 0; i < n; i++)
	{
		numbers[i] = ((Part *) lfirst(&cells[i]))->part;
		((Part *) lfirst(&cells[i]))->report = report_for(call, lfirst(&cells[i]));
	}
	scan = dg_bin_scan_begin(part->bin_table, RowExclusiveLock, part->deletion, numbers, n);
	while ((slot = dg_bin_scan_next(scan)) != NULL)
	{
		int32		number = dg_bin_scan_part(scan);
		DgRowOutcome outcome;

		if (part->part != number)
			part = lfirst((ListCell *) bsearch(&number, cells, n, sizeof(ListCell), compare_part_numbers));
		part->seen++;
		slot_getallattrs(slot);
		outcome = dg_rows_writer_put(target, slot->tts_values + DG_BIN_COLUMNS,
									 slot->tts_isnull + DG_BIN_COLUMNS);
		if (outcome == DG_ROW_SKIPPED || outcome == DG_ROW_CONFLICT)
		{
			part->report->skipped++;
			continue;
		}
		if (outcome == DG_ROW_RESTORED)
			part->report->restored++;
		else
			part->report->identical++;
		dg_bin_scan_delete(scan);
		part->left++;
	}
	dg_bin_scan_end(scan);

	for (int i = 0; i < n; i++)
	{
		part = lfirst(&cells[i]);
		/* first what fails where a snapshot is older than another's undelete */
		mark_restored(part, part->left);
		check_part(part);
		call->rows += part->left;
	}
}

/*
 * Parts whose table is gone: what cannot come back stays, if it may.
 */
static void
leave_group(Undelete *call, ListCell *cells, int n)
{
	for (int i = 0; i < n; i++)
	{
		Part	   *part = lfirst(&cells[i]);

		if (call->on_conflict != DG_ON_CONFLICT_SKIP)
			refuse_orphan(part);
		report_for(call, part)->skipped += part->rows;
	}
}

/*
 * The open target of a bin, from two parallel lists; opens it the first time.
 */
static DgRowsTarget *
target_of(DgRowsWriter *writer, Part *part, List **bins, List **targets)
{
	DgRowsTarget *target;

	for (int i = 0; i < list_length(*bins); i++)
	{
		if (list_nth_int(*bins, i) == part->bin_id)
			return list_nth(*targets, i);
	}
	target = open_target(writer, part);
	*bins = lappend_int(*bins, part->bin_id);
	*targets = lappend(*targets, target);
	return target;
}

/*
 * Puts back the links that these deletions took from rows that stayed, and
 * those that earlier calls could not put back for want of the rows that have
 * come back now.
 */
static void
restore_links(Undelete *call, DgRowsWriter *writer)
{
	List	   *deletions = NIL;
	List	   *relids = NIL;
	int64		deletion = 0;
	ListCell   *lc;

	dg_rows_writer_flush(writer);
	foreach(lc, call->parts)
	{
		Part	   *part = lfirst(lc);

		if (part->deletion != deletion)
			deletions = lappend(deletions, &part->deletion);
		deletion = part->deletion;
		relids = list_append_unique_oid(relids, part->relation);
	}
	call->links = dg_restore_links(writer, deletions, relids);
}

static void
restore_parts(Undelete *call, bool expect_no_conflict)
{
	DgRowsWriter *writer = dg_rows_writer_begin(call->on_conflict, dg_bin_capture_row);
	List	   *bins = NIL;
	List	   *targets = NIL;
	int			first = 0;
	ListCell   *lc;

	if (expect_no_conflict)
		dg_rows_writer_expect_no_conflict(writer);

	/* all tables first: the writer knows then which rows refer to which */
	foreach(lc, call->parts)
	{
		if (!((Part *) lfirst(lc))->orphan)
			(void) target_of(writer, lfirst(lc), &bins, &targets);
	}

	while (first < list_length(call->parts))
	{
		Part	   *part = list_nth(call->parts, first);
		int			n = 1;

		while (first + n < list_length(call->parts))
		{
			Part	   *next = list_nth(call->parts, first + n);

			if (next->deletion != part->deletion || next->bin_id != part->bin_id)
				break;
			n++;
		}
		if (part->orphan)
			leave_group(call, list_nth_cell(call->parts, first), n);
		else
			restore_group(call, target_of(writer, part, &bins, &targets),
						  list_nth_cell(call->parts, first), n);
		first += n;
	}
	restore_links(call, writer);
	dg_rows_writer_end(writer);
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
start_over(Undelete *call)
{
	ListCell   *lc;

	call->reports = NIL;
	call->rows = call->links = 0;
	foreach(lc, call->parts)
	{
		Part	   *part = lfirst(lc);

		part->seen = part->left = 0;
	}
}

static void
expect_no_conflict(void *call)
{
	restore_parts(call, true);
}

/*
 * Restores in the hope that no live row has the key of a saved one, as is
 * usual: then no index need be asked before each row. False if one had; then
 * nothing was done.
 */
static bool
restore_parts_hopefully(Undelete *call)
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

/*
 * Restores all of it or fails.
 */
static void
restore_all(void *arg)
{
	Undelete   *call = arg;

	/* whoever wants something done about conflicts expects some */
	if (call->on_conflict != DG_ON_CONFLICT_ERROR || !restore_parts_hopefully(call))
		restore_parts(call, false);
}

/*
 * The same in a subtransaction that is rolled back, whatever happens.
 */
static void
restore_parts_dry(Undelete *call)
{
	ErrorData  *error = dg_try(restore_all, call, false);

	if (error != NULL)
		call->failure = describe_failure(error);
}

/* ----------------------------------------------------------------------
 * The report
 * ----------------------------------------------------------------------
 */

static char *
describe_skipped(Report *report)
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
put_report(ReturnSetInfo *rsinfo, Report *report)
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
first_deletion(Undelete *call)
{
	int64		first = PG_INT64_MAX;
	ListCell   *lc;

	foreach(lc, call->parts)
		first = Min(first, ((Part *) lfirst(lc))->deletion);
	return first;
}

/*
 * Restores what a condition selects; the body of all three functions.
 */
static Datum
undelete(FunctionCallInfo fcinfo, const char *condition, int nargs, Oid *types, Datum *values,
		 const char *on_conflict, bool dry_run, const char *what)
{
	Undelete	call = {0};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	call.on_conflict = dg_rows_on_conflict(on_conflict);
	call.context = CurrentMemoryContext;
	InitMaterializedSRF(fcinfo, 0);

	/* once to know whom to lock, once more for what others left meanwhile */
	lock_tenants_of(read_parts(&call, condition, nargs, types, values));
	call.parts = read_parts(&call, condition, nargs, types, values);
	if (call.parts == NIL)
		ereport(ERROR,
				(errcode(DG_ERRCODE_NOTHING_TO_RESTORE),
				 errmsg("nothing of %s is in the bin", what),
				 errhint("The views deletion_guard.deletion and deletion_detail say what was deleted, and what became of it.")));

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

	return undelete(fcinfo, "p.deletion_id = $1", 1, types, values,
					text_to_cstring(PG_GETARG_TEXT_PP(1)), PG_GETARG_BOOL(2),
					psprintf("deletion %lld", (long long) PG_GETARG_INT64(0)));
}

static Datum
undelete_tenants(FunctionCallInfo fcinfo, Datum tenants, const char *what)
{
	Oid			types[] = {TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {tenants, PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};

	return undelete(fcinfo, "p.tenant = ANY ($1) AND d.deleted_at BETWEEN $2 AND $3",
					3, types, values, text_to_cstring(PG_GETARG_TEXT_PP(3)),
					PG_GETARG_BOOL(4), what);
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
