/*
 * undelete_restore.c
 *		Restoring parts of deletions: the work of an undelete.
 *
 * The parts that are in one bin table are read together, as rows of many tenants,
 * and of many small deletions, may lie mixed. What goes back leaves the bin; each
 * part's count says how much that was.
 *
 * Rows whose table was dropped cannot come back: that fails the call, or with
 * on_conflict skip leaves them in the bin, as whatever else has no place.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/xid8.h"

#include "bin/bin.h"
#include "capture/capture.h"
#include "guard/guard.h"
#include "rows/rows.h"
#include "undelete/undelete_internal.h"

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
	.tenant = part->tenant ? (uint32) dg_guard_tenant_hash(part->tenant) : 0};
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
			(report->tenant && part->tenant && dg_guard_tenant_equal_in(part->relation, report->tenant, part->tenant)))
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

static int
compare_id(const void *id, const void *element)
{
	return dg_bin_compare_parts(id, &((DgSavedPart *) lfirst((const ListCell *) element))->id);
}

/*
 * Begins to read parts that are in one bin table: n of them, the first of them at
 * cells.
 */
static DgBinScan *
scan_group(ListCell *cells, int n)
{
	DgPartId   *ids = palloc(sizeof(DgPartId) * n);

	for (int i = 0; i < n; i++)
		ids[i] = ((DgSavedPart *) lfirst(&cells[i]))->id;
	return dg_bin_scan_begin(((DgSavedPart *) lfirst(&cells[0]))->bin_table, RowExclusiveLock, ids, n);
}

/*
 * Counts a row that was put; false if it stays in the bin.
 */
static bool
count_row(DgSavedPart *part, DgRowOutcome outcome)
{
	DgReport   *report = part->report;

	if (outcome == DG_ROW_SKIPPED || outcome == DG_ROW_CONFLICT || outcome == DG_ROW_ORPHANED)
	{
		report->skipped++;
		report->orphaned += outcome == DG_ROW_ORPHANED;
		return false;
	}
	if (outcome == DG_ROW_RESTORED)
		report->restored++;
	else
		report->identical++;
	part->left++;
	return true;
}

/*
 * What has become of a row that was to come later; a DgRowsSettle.
 */
void
dg_undelete_restore_settle(void *arg, const DgRow *row, DgRowOutcome outcome)
{
	DgSavedPart *part = row->owner;

	if (count_row(part, outcome))
		dg_bin_delete_row(part->bin_table, row->address);
}

/*
 * Gets the values of a row that goes back, with the keys that tenants have now.
 */
static void
get_values(const DgUndeleteDestination *destination, int64 deletion, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	if (destination->renamed != NULL)
		dg_capture_rename_values(destination->renamed, deletion, slot->tts_values, slot->tts_isnull);
}

/*
 * Is a row of the bin, whose values are got, among those that come back? table is
 * what was chosen of the table, NULL if all rows were.
 */
static bool
is_chosen(DgChosenTable *table, TupleTableSlot *slot)
{
	return table == NULL || dg_rows_chosen_has(table, slot->tts_values, slot->tts_isnull);
}

/*
 * What was chosen of a group's table, before its rows are read.
 */
static DgChosenTable *
begin_chosen(DgUndelete *call, DgSavedPart *part)
{
	DgChosenTable *table = dg_rows_chosen_of(call->chosen, part->relation, part->relation_name);
	Relation	bin;

	if (table != NULL)
	{
		bin = table_open(part->bin_table, NoLock);
		dg_rows_chosen_begin(table, CreateTupleDescCopy(RelationGetDescr(bin)));
		table_close(bin, NoLock);
	}
	return table;
}

static void
restore_group(DgUndelete *call, const DgUndeleteDestination *destination, ListCell *cells, int n)
{
	DgSavedPart *part = lfirst(&cells[0]);
	DgChosenTable *chosen;
	DgBinScan  *scan;
	TupleTableSlot *slot;

	for (int i = 0; i < n; i++)
	{
		DgSavedPart *one = lfirst(&cells[i]);

		one->report = report_for(call, one);
		one->report->purged += call->chosen == NIL ? one->purged : 0;
	}
	scan = scan_group(cells, n);
	chosen = begin_chosen(call, part);
	while ((slot = dg_bin_scan_next(scan)) != NULL)
	{
		DgPartId	id = dg_bin_scan_part(scan);
		DgRowOutcome outcome;
		DgRow		row;

		if (dg_bin_compare_parts(&part->id, &id) != 0)
			part = lfirst((ListCell *) bsearch(&id, cells, n, sizeof(ListCell), compare_id));
		part->seen++;
		get_values(destination, part->id.deletion, slot);
		if (!is_chosen(chosen, slot))
			continue;
		row.values = slot->tts_values + DG_BIN_COLUMNS;
		row.nulls = slot->tts_isnull + DG_BIN_COLUMNS;
		row.tenant = part->tenant;
		row.tag = part->report->tag;
		row.owner = part;
		row.address = DG_TID_ADDRESS(&slot->tts_tid);
		outcome = dg_rows_writer_put(destination->target, &row);
		if (outcome != DG_ROW_LATER && count_row(part, outcome))
			dg_bin_scan_delete(scan);
	}
	dg_bin_scan_end(scan);
}

/*
 * Fails if rows were chosen that were not found.
 */
void
dg_undelete_check_chosen(List *chosen)
{
	char	   *rows;
	int64		n = dg_rows_chosen_missing(chosen, &rows);

	if (n > 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_NOTHING_TO_RESTORE),
				 errmsg_plural("%lld of the rows chosen is not in the bin", "%lld of the rows chosen are not in the bin", (unsigned long) n, (long long) n),
				 errdetail("Not found: %s.", rows),
				 errhint("deletion_guard.deleted_rows() shows the rows of a deletion.")));
}

/* ----------------------------------------------------------------------
 * Rows without a key
 * ----------------------------------------------------------------------
 */

/*
 * The number of the transaction that made a deletion; invalid if that was in
 * another database, of which this one was restored: it is older than our tables
 * here, or has not been yet.
 */
static TransactionId
transaction_of(int64 deletion)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(deletion)};
	TransactionId xid = InvalidTransactionId;
	bool		isnull;

	SPI_connect();
	dg_query("SELECT p.xid, a.xmin FROM deletion_guard.deletion_part p JOIN pg_catalog.pg_attribute a"
			 " ON a.attrelid = p.tableoid AND a.attnum = 1 WHERE p.deletion_id = $1 AND p.xid IS NOT NULL",
			 DG_AS_US, 1, types, values);
	if (SPI_processed > 0)
	{
		FullTransactionId full = DatumGetFullTransactionId(dg_row_datum(0, 1, &isnull));
		TransactionId installed = DatumGetTransactionId(dg_row_datum(0, 2, &isnull));

		if (FullTransactionIdPrecedes(full, ReadNextFullTransactionId()) &&
			!TransactionIdPrecedes(XidFromFullTransactionId(full), installed))
			xid = XidFromFullTransactionId(full);
	}
	SPI_finish();
	return xid;
}

/*
 * A row that is expected may be there with the links that it had lost before; each
 * link is of one row. The current memory context is short-lived.
 */
static void
expect_links(DgUndelete *call, const DgUndeleteDestination *destination, List *sets, int64 deletion, TupleTableSlot *slot,
			 const DgRowsMoment *deleted)
{
	Relation	bin = table_open(slot->tts_tableOid, NoLock);
	List	   *links = dg_undelete_links_put(sets, bin, deletion, slot->tts_values, slot->tts_isnull);
	MemoryContext old;
	ListCell   *lc;

	table_close(bin, NoLock);
	if (links == NIL)
		return;
	old = MemoryContextSwitchTo(call->context);
	links = list_copy(links);
	MemoryContextSwitchTo(old);
	foreach(lc, links)
		((DgLink *) lfirst(lc))->taken = true;
	dg_rows_writer_expect(destination->target, slot->tts_values + DG_BIN_COLUMNS, slot->tts_isnull + DG_BIN_COLUMNS,
						  deleted, links);
}

/*
 * Tells the writer which rows of a group it will get, and when they were deleted:
 * their own transaction and command wrote them to the bin.
 */
static void
expect_group(DgUndelete *call, const DgUndeleteDestination *destination, ListCell *cells, int n)
{
	List	   *sets = dg_undelete_same_links(call, ((DgSavedPart *) lfirst(&cells[0]))->relation);
	DgRowsMoment deleted = {0};
	int64		deletion = 0;
	DgBinScan  *scan = scan_group(cells, n);
	DgChosenTable *chosen = begin_chosen(call, lfirst(&cells[0]));
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard expected row", ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *slot;
	bool		isnull;

	while ((slot = dg_bin_scan_next(scan)) != NULL)
	{
		if (dg_bin_scan_part(scan).deletion != deletion)
		{
			deletion = dg_bin_scan_part(scan).deletion;
			deleted.top = transaction_of(deletion);
		}
		get_values(destination, deletion, slot);
		if (!is_chosen(chosen, slot))
			continue;
		deleted.xid = !TransactionIdIsValid(deleted.top) ? InvalidTransactionId :
			DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull));
		deleted.cid = DatumGetCommandId(slot_getsysattr(slot, MinCommandIdAttributeNumber, &isnull));
		dg_rows_writer_expect(destination->target, slot->tts_values + DG_BIN_COLUMNS, slot->tts_isnull + DG_BIN_COLUMNS,
							  &deleted, NULL);
		if (sets != NIL)
		{
			MemoryContext old = MemoryContextSwitchTo(row);

			expect_links(call, destination, sets, deletion, slot, &deleted);
			MemoryContextSwitchTo(old);
			MemoryContextReset(row);
		}
	}
	MemoryContextDelete(row);
	dg_bin_scan_end(scan);
}

/*
 * Live rows that an undelete has brought back are not made again by somebody. It
 * wrote them together with the counts of its parts.
 */
static void
find_new_twins(DgRowsTwins *twins, Oid relid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};
	bool		isnull;

	SPI_connect();
	dg_query("SELECT DISTINCT p.xmin FROM deletion_guard.deletion_part p JOIN deletion_guard.bin b USING (bin_id)"
			 " WHERE b.relation = $1 AND p.restored > 0", DG_AS_US, 1, types, values);
	for (uint64 i = 0; i < SPI_processed; i++)
		dg_rows_twins_put_back(twins, DatumGetTransactionId(dg_row_datum(i, 1, &isnull)));
	SPI_finish();
	dg_rows_twins_find(twins);
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
			dg_undelete_refuse_orphan(part);
		report_for(call, part)->skipped += part->rows;
	}
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

		deletions[i] = Int64GetDatum(part->id.deletion);
		numbers[i] = Int32GetDatum(part->id.part);
		rows[i] = Int64GetDatum(part->left);
	}
	values[0] = dg_array(deletions, n, INT8OID);
	values[1] = dg_array(numbers, n, INT4OID);
	values[2] = dg_array(rows, n, INT8OID);
	SPI_connect();
	dg_query("UPDATE deletion_guard.deletion_part p SET restored = restored + u.rows"
			 " FROM unnest($1, $2, $3) u (deletion_id, part, rows)"
			 " WHERE p.deletion_id = u.deletion_id AND p.part = u.part", DG_AS_US, 3, types, values);
	SPI_finish();
}

/*
 * Fails unless the bin has as many rows of a part as are recorded.
 */
void
dg_undelete_check_part(const char *relation_name, int64 deletion, int part, int64 found, int64 recorded)
{
	if (found == recorded)
		return;
	ereport(ERROR,
			(errcode(DG_ERRCODE_VERIFICATION_FAILED),
			 errmsg("the bin of \"%s\" holds %lld rows of deletion %lld, part %d, where %lld are recorded",
					relation_name, (long long) found, (long long) deletion, part, (long long) recorded),
			 errdetail("The bin has been changed by other means than deletion_guard's, or the database was restored without its rows."),
			 errhint("Rows that were not restored are in the database that was dumped, or in another dump of it.")));
}

static void
account_for(DgUndelete *call, List *parts)
{
	ListCell   *lc;

	/* first what fails where a snapshot is older than another's undelete */
	mark_restored(parts);
	foreach(lc, parts)
	{
		DgSavedPart *part = lfirst(lc);

		dg_undelete_check_part(part->relation_name, part->id.deletion, part->id.part, part->seen, part->rows);
		call->rows += part->left;
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

		if (part->id.deletion != deletion)
			deletions = lappend(deletions, &part->id.deletion);
		deletion = part->id.deletion;
		relids = list_append_unique_oid(relids, part->relation);
	}
	call->links = dg_undelete_same_end(call, writer);
	call->links += dg_undelete_restore_links(writer, deletions, relids);
}

/*
 * How many parts, from that one on, are read together: all of one bin table where
 * no version of a row wins over another, else those of one deletion.
 */
static int
group_at(DgUndelete *call, int first)
{
	DgSavedPart *part = list_nth(call->parts, first);
	int			n = 1;

	while (first + n < list_length(call->parts))
	{
		DgSavedPart *next = list_nth(call->parts, first + n);

		if (next->bin_id != part->bin_id ||
			(next->id.deletion != part->id.deletion && call->options.on_conflict != DG_ON_CONFLICT_ERROR))
			break;
		n++;
	}
	return n;
}

/*
 * Looks for live rows like those of tables without a key that are to come back.
 */
static void
expect_rows(DgUndelete *call, DgRowsWriter *writer, List **destinations)
{
	int			n;
	ListCell   *lc;

	for (int first = 0; first < list_length(call->parts); first += n)
	{
		DgSavedPart *part = list_nth(call->parts, first);
		DgUndeleteDestination *destination;

		n = group_at(call, first);
		destination = part->orphan ? NULL : dg_undelete_destination(writer, part, destinations);
		if (destination != NULL && dg_rows_writer_twins(destination->target) != NULL)
			expect_group(call, destination, list_nth_cell(call->parts, first), n);
	}
	foreach(lc, *destinations)
	{
		DgRowsTwins *twins = dg_rows_writer_twins(((DgUndeleteDestination *) lfirst(lc))->target);

		if (twins != NULL && !dg_rows_twins_known(twins))
			find_new_twins(twins, dg_rows_twins_table(twins));
	}
}

/*
 * Restores all parts of a call (DgUndelete) by its options, and fails if that
 * cannot be.
 */
void
dg_undelete_restore_parts(void *arg)
{
	DgUndelete *call = arg;
	DgRowsWriter *writer = dg_rows_writer_begin(&call->options);
	List	   *destinations = NIL;
	List	   *restored = NIL;
	int			n;
	ListCell   *lc;

	/* all tables first: the writer knows then which rows refer to which */
	foreach(lc, call->parts)
	{
		if (!((DgSavedPart *) lfirst(lc))->orphan)
			(void) dg_undelete_destination(writer, lfirst(lc), &destinations);
	}

	expect_rows(call, writer, &destinations);
	for (int first = 0; first < list_length(call->parts); first += n)
	{
		DgSavedPart *part = list_nth(call->parts, first);
		ListCell   *cells = list_nth_cell(call->parts, first);

		n = group_at(call, first);
		if (part->orphan)
			leave_group(call, cells, n);
		else
			restore_group(call, dg_undelete_destination(writer, part, &destinations), cells, n);
		for (int i = 0; i < n && !part->orphan; i++)
			restored = lappend(restored, list_nth(call->parts, first + i));
	}
	dg_undelete_check_chosen(call->chosen);
	dg_rows_writer_settle(writer);
	account_for(call, restored);
	restore_links(call, writer);
	dg_rows_writer_end(writer);
}
