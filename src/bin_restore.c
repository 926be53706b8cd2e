/*
 * bin_restore.c
 *		Restoring parts of deletions: the work of an undelete.
 *
 * The parts of one deletion that are in one bin table are read together, as
 * rows of many tenants may lie mixed. What goes back leaves the bin; each
 * part's count says how much that was.
 *
 * Rows whose table was dropped cannot come back: that fails the call, or with
 * on_conflict skip leaves them in the bin, as whatever else has no place.
 */
#include "bin.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Lines of the report for one table; tenants are told apart by their names. */
typedef struct ReportKey
{
	Oid			relation;
	Oid			orphan;
	uint32		tenant;			/* hash */
} ReportKey;

typedef struct ReportEntry
{
	ReportKey	key;
	List	   *reports;
} ReportEntry;

static ReportEntry *
report_entry(DgUndelete *call, DgSavedPart *part)
{
	ReportKey	key = {.relation = part->relation,
		.orphan = part->orphan ? part->bin_table : InvalidOid,
	.tenant = part->tenant ? (uint32) dg_tenant_hash(part->tenant) : 0};
	HASHCTL		ctl = {.keysize = sizeof(ReportKey),.entrysize = sizeof(ReportEntry),.hcxt = call->context};
	ReportEntry *entry;
	bool		found;

	if (call->reports_by_name == NULL)
		call->reports_by_name = hash_create("deletion_guard reports", 256, &ctl,
											HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	entry = hash_search(call->reports_by_name, &key, HASH_ENTER, &found);
	if (!found)
		entry->reports = NIL;
	return entry;
}

static DgReport *
report_for(DgUndelete *call, DgSavedPart *part)
{
	ReportEntry *entry = report_entry(call, part);
	MemoryContext old;
	DgReport   *report;
	ListCell   *lc;

	foreach(lc, entry->reports)
	{
		report = lfirst(lc);
		if (report->tenant == part->tenant ||
			(report->tenant && part->tenant && dg_tenant_equal_in(part->relation, report->tenant, part->tenant)))
			return report;
	}
	old = MemoryContextSwitchTo(call->context);
	report = palloc0(sizeof(DgReport));
	report->relation = part->relation;
	report->orphan = entry->key.orphan;
	report->relation_name = part->relation_name;
	report->tenant = part->tenant;
	report->tag = list_length(call->reports);
	entry->reports = lappend(entry->reports, report);
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
refuse_orphan(DgSavedPart *part)
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
open_target(DgRowsWriter *writer, DgSavedPart *part)
{
	Relation	bin;
	DgRowsTarget *target;
	DgSourceColumn *columns;
	int			ncolumns;

	LockRelationOid(part->relation, RowExclusiveLock);
	if (dg_table_is_gone(part->relation))
		refuse_orphan(part);	/* dropped while the lock was waited for */
	bin = table_open(part->bin_table, RowExclusiveLock);
	columns = source_columns(RelationGetDescr(bin), &ncolumns);
	target = dg_rows_writer_target(writer, part->relation, columns, ncolumns);
	table_close(bin, NoLock);
	return target;
}

static int
compare_part_numbers(const void *key, const void *element)
{
	int32		part = *(const int32 *) key;
	const DgSavedPart *other = lfirst((const ListCell *) element);

	return (part > other->part) - (part < other->part);
}

/*
 * Restores the parts of one deletion that are in one bin table: n of them,
 * the first of them at cells.
 */
static void
restore_group(DgUndelete *call, DgRowsTarget *target, ListCell *cells, int n)
{
	DgSavedPart *part = lfirst(&cells[0]);
	int32	   *numbers = palloc(sizeof(int32) * n);
	DgBinScan  *scan;
	TupleTableSlot *slot;

	for (int i = 0; i < n; i++)
	{
		numbers[i] = ((DgSavedPart *) lfirst(&cells[i]))->part;
		((DgSavedPart *) lfirst(&cells[i]))->report = report_for(call, lfirst(&cells[i]));
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
		dg_rows_writer_tenant(target, part->tenant);
		dg_rows_writer_tag(target, part->report->tag);
		outcome = dg_rows_writer_put(target, slot->tts_values + DG_BIN_COLUMNS,
									 slot->tts_isnull + DG_BIN_COLUMNS);
		if (outcome == DG_ROW_SKIPPED || outcome == DG_ROW_CONFLICT || outcome == DG_ROW_ORPHANED)
		{
			part->report->skipped++;
			part->report->orphaned += outcome == DG_ROW_ORPHANED;
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
}

/*
 * Parts whose table is gone: what cannot come back stays, if it may.
 */
static void
leave_group(DgUndelete *call, ListCell *cells, int n)
{
	for (int i = 0; i < n; i++)
	{
		DgSavedPart *part = lfirst(&cells[i]);

		if (call->options.on_conflict != DG_ON_CONFLICT_SKIP)
			refuse_orphan(part);
		report_for(call, part)->skipped += part->rows;
	}
}

/*
 * The open target of a bin, from two parallel lists; opens it the first time.
 */
static DgRowsTarget *
target_of(DgRowsWriter *writer, DgSavedPart *part, List **bins, List **targets)
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
 * Counts the rows of parts that have left the bin, all of them by one statement: a
 * tenant may have as many deletions as rows.
 */
static void
mark_restored(List *parts)
{
	int			n = list_length(parts);
	Datum	   *deletions = palloc(sizeof(Datum) * n);
	Datum	   *numbers = palloc(sizeof(Datum) * n);
	Datum	   *rows = palloc(sizeof(Datum) * n);
	Oid			types[] = {INT8ARRAYOID, INT4ARRAYOID, INT8ARRAYOID};
	Datum		values[3];

	for (int i = 0; i < n; i++)
	{
		DgSavedPart *part = list_nth(parts, i);

		deletions[i] = Int64GetDatum(part->deletion);
		numbers[i] = Int32GetDatum(part->part);
		rows[i] = Int64GetDatum(part->left);
	}
	values[0] = PointerGetDatum(construct_array(deletions, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[1] = PointerGetDatum(construct_array(numbers, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	values[2] = PointerGetDatum(construct_array(rows, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	SPI_connect();
	dg_spi_execute("UPDATE deletion_guard.deletion_part p SET restored = restored + u.rows"
				   " FROM unnest($1, $2, $3) u (deletion_id, part, rows)"
				   " WHERE p.deletion_id = u.deletion_id AND p.part = u.part",
				   3, types, values, NULL);
	SPI_finish();
}

static void
check_part(DgSavedPart *part)
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

static void
account_for(DgUndelete *call, List *parts)
{
	ListCell   *lc;

	/* first what fails where a snapshot is older than another's undelete */
	mark_restored(parts);
	foreach(lc, parts)
	{
		check_part(lfirst(lc));
		call->rows += ((DgSavedPart *) lfirst(lc))->left;
	}
}

/*
 * Puts back the links that these deletions took from rows that stayed, and
 * those that earlier calls could not put back for want of the rows that have
 * come back now.
 */
static void
restore_links(DgUndelete *call, DgRowsWriter *writer)
{
	List	   *deletions = NIL;
	List	   *relids = NIL;
	int64		deletion = 0;
	ListCell   *lc;

	dg_rows_writer_flush(writer);
	foreach(lc, call->parts)
	{
		DgSavedPart *part = lfirst(lc);

		if (part->deletion != deletion)
			deletions = lappend(deletions, &part->deletion);
		deletion = part->deletion;
		relids = list_append_unique_oid(relids, part->relation);
	}
	call->links = dg_restore_links(writer, deletions, relids);
}

/*
 * Restores all parts of a call (DgUndelete) by its options, and fails if that
 * cannot be.
 */
void
dg_restore_parts(void *arg)
{
	DgUndelete *call = arg;
	DgRowsWriter *writer = dg_rows_writer_begin(&call->options);
	List	   *bins = NIL;
	List	   *targets = NIL;
	List	   *restored = NIL;
	int			first = 0;
	ListCell   *lc;

	/* all tables first: the writer knows then which rows refer to which */
	foreach(lc, call->parts)
	{
		if (!((DgSavedPart *) lfirst(lc))->orphan)
			(void) target_of(writer, lfirst(lc), &bins, &targets);
	}

	while (first < list_length(call->parts))
	{
		DgSavedPart *part = list_nth(call->parts, first);
		int			n = 1;

		while (first + n < list_length(call->parts))
		{
			DgSavedPart *next = list_nth(call->parts, first + n);

			if (next->deletion != part->deletion || next->bin_id != part->bin_id)
				break;
			n++;
		}
		if (part->orphan)
			leave_group(call, list_nth_cell(call->parts, first), n);
		else
			restore_group(call, target_of(writer, part, &bins, &targets),
						  list_nth_cell(call->parts, first), n);
		for (int i = 0; i < n && !part->orphan; i++)
			restored = lappend(restored, list_nth(call->parts, first + i));
		first += n;
	}
	account_for(call, restored);
	restore_links(call, writer);
	dg_rows_writer_end(writer);
}
