/*
 * compare.c
 *		An archive's rows of tenants against the live ones.
 *
 * Rows with the same primary key belong together; a table without one is
 * compared as a bag of rows. The values of an archive's row are read by the
 * live columns' types, and both sides' are compared as these types write them,
 * in the columns that both have and that are not generated.
 *
 * Of each row only two hashes are kept, unless the rows themselves are wanted, in
 * sorts that spill to disk (compare_rowsort.c), so that memory does not grow with
 * the tenants.
 *
 * Live rows that have lost links to ON DELETE SET NULL or SET DEFAULT are compared
 * as they were with them, which problem says: rehydrate() puts the links back.
 *
 * Rows of the archive that were purged, and are not live, are told apart: they
 * are missing on purpose (see purge_subtract.c).
 *
 * Live rows are read with the caller's privileges, row security included; as the
 * tables' owners where the caller is a superuser (see dg_extract_live_rows()).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "archive/archive.h"
#include "purge/purge.h"
#include "compare/compare_internal.h"
#include "rows/rows.h"
#include "undelete/undelete.h"

/* How rows of one of the archive's tables become live ones. */
typedef struct DgCompareMapping
{
	DgCompared *table;
	DgRowsRole	role;			/* as whom the map's conversions run */
	DgRowsMap  *map;
	int			nkept;
	int		   *kept;			/* the source's columns that are live ones too */
	Datum	   *values;
	bool	   *nulls;
} Mapping;

/* ----------------------------------------------------------------------
 * Tables
 * ----------------------------------------------------------------------
 */

static DgCompared *
add_table(DgCompare *compare, Oid relid, DgFinder *finder)
{
	DgCompared *table = palloc0(sizeof(DgCompared));

	table->relid = relid;
	table->rel = table_open(relid, AccessShareLock);
	table->finder = finder;
	table->addresses = compare->addresses;
	table->hidden = dg_extract_live_is_hidden(finder);
	table->hash = dg_compare_rowhash_make(table->rel, compare->plan);
	if (compare->addresses)
		dg_compare_rowhash_uniques(table->hash);
	table->problem = dg_extract_account_columns(compare->plan, table->rel);
	table->subtract = dg_purge_subtract_begin(table->relid, RelationGetDescr(table->rel),
											  compare->plan->tenants->exact ?
											  dg_extract_tenant_list(compare->plan->tenants) : NIL);
	table->estate = CreateExecutorState();
	table->slot = MakeSingleTupleTableSlot(RelationGetDescr(table->rel), &TTSOpsVirtual);
	table->archive_rows = dg_compare_rowsort_begin(compare->whole ? table->hash : NULL,
												   Max(work_mem / list_length(compare->plan->targets), 64));
	table->lost_links = dg_undelete_links_of_table(relid, true);
	table->counts = palloc0(sizeof(DgComparedCounts) * compare->plan->tenants->n);
	compare->tables = lappend(compare->tables, table);
	return table;
}

static DgCompared *
table_of(DgCompare *compare, DgSource *source)
{
	ListCell   *lc;

	foreach(lc, compare->tables)
	{
		DgCompared *table = lfirst(lc);

		if (table->relid == source->target)
			return table;
	}
	return add_table(compare, source->target, source->finder);
}

/*
 * Adds the tables that the archive does not have, with the live rows that the
 * tenants have in them.
 */
static void
add_absent_tables(DgCompare *compare)
{
	ListCell   *lc;

	foreach(lc, compare->plan->absent)
	{
		Oid			root;
		List	   *paths;

		DgCompared *table;

		if (!dg_extract_tenant_source(lfirst_oid(lc), &root, &paths))
			continue;
		table = add_table(compare, root, dg_extract_finder_get(&compare->plan->finders, root, paths, compare->plan->tenants));
		table->absent = true;
		table->problem = list_member_oid(compare->plan->defined, lfirst_oid(lc)) ? DG_DEFINED_TEXT : DG_ABSENT_TEXT;
	}
}

/*
 * Maps a source to its live table, without the columns that are gone there.
 */
static void
map_source(DgCompare *compare, DgSource *source)
{
	Mapping    *mapping = palloc0(sizeof(Mapping));
	DgSourceColumn *columns = palloc(sizeof(DgSourceColumn) * (source->ncolumns + 1));

	dg_extract_source_set_types(compare->archive, source);
	mapping->table = table_of(compare, source);
	mapping->kept = palloc(sizeof(int) * (source->ncolumns + 1));
	mapping->values = palloc(sizeof(Datum) * (source->ncolumns + 1));
	mapping->nulls = palloc(sizeof(bool) * (source->ncolumns + 1));
	for (int i = 0; i < source->ncolumns; i++)
	{
		if (get_attnum(source->target, source->columns[i].name) == InvalidAttrNumber)
			continue;
		columns[mapping->nkept] = source->columns[i];
		mapping->kept[mapping->nkept++] = i;
	}
	mapping->role = dg_rows_role(mapping->table->rel);
	dg_rows_as_owner(&mapping->role);
	mapping->map = dg_rows_map_make(mapping->table->rel, columns, mapping->nkept);
	dg_rows_as_caller(&mapping->role);
	compare->mappings[source->index] = mapping;
}

/* ----------------------------------------------------------------------
 * Rows
 * ----------------------------------------------------------------------
 */

/*
 * Takes a row of the archive.
 */
static void
take_archive_row(void *arg, DgSource *source, int tenant, Datum *values, bool *nulls)
{
	DgCompare  *compare = arg;
	Mapping    *mapping = compare->mappings[source->index];
	DgCompared *table = mapping->table;
	ExprContext *econtext = GetPerTupleExprContext(table->estate);
	DgHashedRow row = {tenant};
	MemoryContext old;

	dg_extract_source_read_values(source, values, nulls);
	for (int i = 0; i < mapping->nkept; i++)
	{
		mapping->values[i] = values[mapping->kept[i]];
		mapping->nulls[i] = nulls[mapping->kept[i]];
	}
	old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	dg_rows_as_owner(&mapping->role);
	dg_rows_map_apply(mapping->map, econtext, mapping->values, mapping->nulls, table->slot);
	dg_rows_as_caller(&mapping->role);
	dg_compare_rowhash(table->hash, table->slot, &row);
	row.purged = dg_purge_of_row(table->subtract, table->slot) != 0;
	dg_compare_rowsort_put(table->archive_rows, &row, table->slot);
	ExecClearTuple(table->slot);
	MemoryContextSwitchTo(old);
	ResetExprContext(econtext);
	table->counts[tenant].in_archive++;
}

/* ----------------------------------------------------------------------
 * Live rows
 * ----------------------------------------------------------------------
 */

/*
 * Takes a live row: the table's columns that are not dropped come first, then,
 * if it is asked for, where the row is.
 */
static void
hash_live_row(void *arg, HeapTuple tuple, TupleDesc desc, int tenant)
{
	DgCompared *table = arg;
	TupleTableSlot *slot = table->slot;
	TupleDesc	shape = slot->tts_tupleDescriptor;
	DgHashedRow row = {tenant};
	int			column = 1;
	bool		isnull;
	List	   *links = NIL;
	ListCell   *lc;

	ExecClearTuple(slot);
	for (int i = 0; i < shape->natts; i++)
	{
		slot->tts_isnull[i] = true;
		if (!TupleDescAttr(shape, i)->attisdropped)
			slot->tts_values[i] = SPI_getbinval(tuple, desc, column++, &slot->tts_isnull[i]);
	}
	if (table->addresses)
	{
		row.relid = DatumGetObjectId(SPI_getbinval(tuple, desc, column, &isnull));
		row.address = DG_TID_ADDRESS((ItemPointer) DatumGetPointer(SPI_getbinval(tuple, desc, column + 1, &isnull)));
	}
	if (table->lost_links != NIL && !OidIsValid(table->copy))
		links = dg_undelete_links_put(table->lost_links, table->rel, PG_INT64_MAX, slot->tts_values, slot->tts_isnull);
	if (links != NIL)
		table->counts[tenant].unlinked++;
	foreach(lc, links)
		((DgLink *) lfirst(lc))->taken = true;
	ExecStoreVirtualTuple(slot);
	dg_compare_rowhash(table->hash, slot, &row);
	dg_compare_rowsort_put(table->live_rows, &row, slot);
	ExecClearTuple(slot);
	table->counts[tenant].live++;
}

/*
 * Takes a row of a copy, which has rows of one tenant only.
 */
static void
take_copied_row(void *arg, HeapTuple tuple, TupleDesc desc)
{
	DgCompared *table = arg;
	MemoryContext old = MemoryContextSwitchTo(table->estate->es_per_tuple_exprcontext->ecxt_per_tuple_memory);

	hash_live_row(arg, tuple, desc, 0);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(table->estate);
}

/*
 * "t.a, t.b": the table's columns, in its order, which a partition may not have.
 */
static char *
live_columns(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			appendStringInfo(&buf, "%st.%s", buf.len > 0 ? ", " : "", quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
	}
	return buf.len > 0 ? buf.data : "t.*";
}

static void
sort_live_rows(DgCompare *compare, DgCompared *table)
{
	DgExtractPlan *plan = compare->plan;

	table->live_rows = dg_compare_rowsort_begin(compare->whole ? table->hash : NULL, work_mem);
	if (table->addresses)
		dg_extract_live_twins(table->finder, &plan->finders, plan->tenants, psprintf("%s, t.tableoid, t.ctid", live_columns(table->rel)),
							  hash_live_row, table);
	else if (!OidIsValid(table->copy))
		dg_extract_live_rows(table->finder, &plan->finders, plan->tenants, live_columns(table->rel), hash_live_row, table);
	else
	{
		(void) GetPerTupleExprContext(table->estate);
		SPI_connect();
		dg_query_each(take_copied_row, table, psprintf("SELECT * FROM %s", dg_relation_name(table->copy)),
					  superuser() ? DG_AS_OWNER : DG_AS_CALLER,
					  .table = table->copy);
		SPI_finish();
	}
}

/* ----------------------------------------------------------------------
 * Comparing
 * ----------------------------------------------------------------------
 */

/*
 * Gives the sink the differences of a table's rows, by merging both sides'. The
 * rows themselves, if they are kept, came last out of their sorts.
 */
void
dg_compare_table(DgCompare *compare, DgCompared *table, DgDifferenceSink sink, void *arg)
{
	DgHashedRow archived;
	DgHashedRow live;
	bool		more_archived;
	bool		more_live;

	sort_live_rows(compare, table);
	dg_compare_rowsort_perform(table->archive_rows);
	dg_compare_rowsort_perform(table->live_rows);
	more_archived = dg_compare_rowsort_next(table->archive_rows, &archived);
	more_live = dg_compare_rowsort_next(table->live_rows, &live);
	while (more_archived || more_live)
	{
		int			order = !more_archived ? 1 : !more_live ? -1 :
		dg_compare_rowsort_compare(table->archive_rows, &archived, table->live_rows, &live);

		CHECK_FOR_INTERRUPTS();
		live.in_the_way = order == 0 && !archived.purged && archived.uniques != live.uniques;
		if (order < 0)
			sink(arg, table, archived.purged ? DG_DIFFERENCE_PURGED : DG_DIFFERENCE_MISSING, &archived);
		else if (order > 0)
			sink(arg, table, DG_DIFFERENCE_EXTRA, &live);
		else if (archived.content != live.content)
			sink(arg, table, DG_DIFFERENCE_DIFFERENT, &live);
		if (order <= 0)
			more_archived = dg_compare_rowsort_next(table->archive_rows, &archived);
		if (order >= 0)
			more_live = dg_compare_rowsort_next(table->live_rows, &live);
	}
	dg_compare_rowsort_end(table->live_rows);
	dg_compare_rowsort_end(table->archive_rows);
}

/*
 * Counts the differences; a DgDifferenceSink.
 */
void
dg_compare_count(void *arg, DgCompared *table, DgDifference what, const DgHashedRow *row)
{
	DgComparedCounts *counts = &table->counts[row->tenant];

	switch (what)
	{
		case DG_DIFFERENCE_MISSING:
			counts->only_in_archive++;
			break;
		case DG_DIFFERENCE_PURGED:
			counts->purged++;
			break;
		case DG_DIFFERENCE_EXTRA:
			counts->only_live++;
			break;
		case DG_DIFFERENCE_DIFFERENT:
			counts->different++;
			break;
	}
}

/* ----------------------------------------------------------------------
 * A comparison
 * ----------------------------------------------------------------------
 */

/*
 * Reads the archive's rows of a plan's tenants. With "absent" the comparison knows
 * tables that the archive lacks as well. Values are to be written under
 * dg_extract_settings().
 */
void
dg_compare_begin(DgCompare *compare, bool absent)
{
	ListCell   *lc;

	compare->mappings = palloc0(sizeof(Mapping *) * dg_archive_table_count(compare->archive->archive));
	foreach(lc, compare->plan->sources)
	{
		if (((DgSource *) lfirst(lc))->wanted)
			map_source(compare, lfirst(lc));
	}
	if (absent)
		add_absent_tables(compare);
	dg_extract_read(compare->archive, compare->plan, take_archive_row, compare);
}

/*
 * Frees what a comparison holds. Locks stay until the end of the transaction.
 */
void
dg_compare_end(DgCompare *compare)
{
	ListCell   *lc;

	foreach(lc, compare->tables)
	{
		DgCompared *table = lfirst(lc);

		ExecDropSingleTupleTableSlot(table->slot);
		FreeExecutorState(table->estate);
		table_close(table->rel, NoLock);
	}
}

/*
 * What a person should know of the comparison of a tenant's rows of a table,
 * palloc'd; NULL if nothing.
 */
char *
dg_compare_problem(const DgCompared *table, int tenant)
{
	int64		unlinked = table->counts[tenant].unlinked;
	StringInfoData buf;

	initStringInfo(&buf);
	if (table->hidden)
		dg_extract_account_append(&buf, InvalidOid, "row security applies to you: live rows that it hides are not counted");
	if (unlinked > 0)
		dg_extract_account_append(&buf, InvalidOid,
								  psprintf(unlinked == 1 ? "%lld live row has lost links to what was deleted, and was compared as it was with them" :
										   "%lld live rows have lost links to what was deleted, and were compared as they were with them",
										   (long long) unlinked));
	if (table->problem != NULL)
		dg_extract_account_append(&buf, InvalidOid, table->problem);
	return buf.len > 0 ? buf.data : NULL;
}
