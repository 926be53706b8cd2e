/*
 * rehydrate_compare.c
 *		compare_tenant(), compare_tenants(): an archive's rows of tenants
 *		against the live ones.
 *
 * Rows with the same primary key belong together; a table without one is
 * compared as a bag of rows. The values of an archive's row are read by the
 * live columns' types, and both sides' are compared as these types write them,
 * in the columns that both have and that are not generated.
 *
 * Of each row only two hashes are kept, in sorts that spill to disk
 * (rehydrate_rowsort.c), so that memory does not grow with the tenants.
 *
 * Live rows that have lost links to ON DELETE SET NULL or SET DEFAULT are compared
 * as they were with them, which problem says: rehydrate() puts the links back.
 *
 * Rows of the archive that were purged, and are not live, are counted apart:
 * they are missing on purpose (see purge_subtract.c).
 *
 * Live rows are read with the caller's privileges, row security included; as the
 * tables' owners where the caller is a superuser (see dg_rehydrate_finder_live_rows()).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "archive/archive.h"
#include "purge/purge.h"
#include "rehydrate/rehydrate_internal.h"
#include "rows/rows.h"
#include "undelete/undelete.h"

PG_FUNCTION_INFO_V1(dg_compare_tenant);
PG_FUNCTION_INFO_V1(dg_compare_tenants);

/* One tenant's rows of a table. */
typedef struct TenantCounts
{
	int64		in_archive;
	int64		live;
	int64		only_in_archive;
	int64		only_live;
	int64		different;
	int64		purged;			/* else only in the archive */
	int64		unlinked;		/* live ones that have lost links */
} TenantCounts;

/* A live table that is compared. */
typedef struct Table
{
	Oid			relid;
	Oid			copy;			/* compared instead, if valid: a copy with the
								 * tenant's rows only */
	Relation	rel;
	DgFinder   *finder;
	DgRowHash  *hash;
	bool		absent;			/* from the archive */
	bool		told;			/* it has a line */
	bool		hidden;			/* the caller may not see all live rows */
	EState	   *estate;			/* for the map's expressions */
	TupleTableSlot *slot;		/* a row of the archive, as a live one */
	DgRowSort  *archive_rows;
	DgPurgeSubtract *subtract;	/* knows rows that were purged */
	char	   *problem;		/* columns that are not compared, or NULL */
	List	   *lost_links;		/* of its live rows, by set */
	TenantCounts *counts;		/* by tenant */
} Table;

/* How rows of one of the archive's tables become live ones. */
typedef struct Mapping
{
	Table	   *table;
	DgRowsRole	role;			/* as whom the map's conversions run */
	DgRowsMap  *map;
	int			nkept;
	int		   *kept;			/* the source's columns that are live ones too */
	Datum	   *values;
	bool	   *nulls;
} Mapping;

typedef struct Compare
{
	DgRehydrateArchive *archive;
	DgRehydratePlan *plan;
	List	   *tables;
	Mapping   **mappings;		/* by the index of a source */
} Compare;

/* ----------------------------------------------------------------------
 * Tables
 * ----------------------------------------------------------------------
 */

static Table *
add_table(Compare *compare, Oid relid, DgFinder *finder)
{
	Table	   *table = palloc0(sizeof(Table));

	table->relid = relid;
	table->rel = table_open(relid, AccessShareLock);
	table->finder = finder;
	table->hidden = dg_rehydrate_finder_is_hidden(finder);
	table->hash = dg_rehydrate_rowhash_make(table->rel, compare->plan);
	table->problem = dg_rehydrate_account_columns(compare->plan, table->rel);
	table->subtract = dg_purge_subtract_begin(table->relid, RelationGetDescr(table->rel),
											  compare->plan->tenants->exact ?
											  dg_rehydrate_tenant_list(compare->plan->tenants) : NIL);
	table->estate = CreateExecutorState();
	table->slot = MakeSingleTupleTableSlot(RelationGetDescr(table->rel), &TTSOpsVirtual);
	table->archive_rows = dg_rehydrate_rowsort_begin(Max(work_mem / list_length(compare->plan->targets), 64));
	table->lost_links = dg_undelete_links_of_table(relid, true);
	table->counts = palloc0(sizeof(TenantCounts) * compare->plan->tenants->n);
	compare->tables = lappend(compare->tables, table);
	return table;
}

static Table *
table_of(Compare *compare, DgSource *source)
{
	ListCell   *lc;

	foreach(lc, compare->tables)
	{
		Table	   *table = lfirst(lc);

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
add_absent_tables(Compare *compare)
{
	ListCell   *lc;

	foreach(lc, compare->plan->absent)
	{
		Oid			root;
		List	   *path;

		Table	   *table;

		if (!dg_rehydrate_tenant_source(lfirst_oid(lc), &root, &path))
			continue;
		table = add_table(compare, root, dg_rehydrate_finder_get(&compare->plan->finders, root, path, compare->plan->tenants));
		table->absent = true;
		table->problem = list_member_oid(compare->plan->defined, lfirst_oid(lc)) ? DG_DEFINED_TEXT : DG_ABSENT_TEXT;
	}
}

/*
 * Maps a source to its live table, without the columns that are gone there.
 */
static void
map_source(Compare *compare, DgSource *source)
{
	Mapping    *mapping = palloc0(sizeof(Mapping));
	DgSourceColumn *columns = palloc(sizeof(DgSourceColumn) * (source->ncolumns + 1));

	dg_rehydrate_source_set_types(compare->archive, source);
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
	Compare    *compare = arg;
	Mapping    *mapping = compare->mappings[source->index];
	Table	   *table = mapping->table;
	ExprContext *econtext = GetPerTupleExprContext(table->estate);
	DgHashedRow row = {tenant};
	MemoryContext old;

	dg_rehydrate_source_read_values(source, values, nulls);
	for (int i = 0; i < mapping->nkept; i++)
	{
		mapping->values[i] = values[mapping->kept[i]];
		mapping->nulls[i] = nulls[mapping->kept[i]];
	}
	old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	dg_rows_as_owner(&mapping->role);
	dg_rows_map_apply(mapping->map, econtext, mapping->values, mapping->nulls, table->slot);
	dg_rows_as_caller(&mapping->role);
	dg_rehydrate_rowhash(table->hash, table->slot, &row);
	row.purged = dg_purge_of_row(table->subtract, table->slot) != 0;
	dg_rehydrate_rowsort_put(table->archive_rows, &row);
	ExecClearTuple(table->slot);
	MemoryContextSwitchTo(old);
	ResetExprContext(econtext);
	table->counts[tenant].in_archive++;
}

/* ----------------------------------------------------------------------
 * Live rows
 * ----------------------------------------------------------------------
 */

typedef struct LiveRows
{
	Table	   *table;
	DgRowSort  *sort;
} LiveRows;

/*
 * Takes a live row: the table's columns that are not dropped come first.
 */
static void
hash_live_row(void *arg, HeapTuple tuple, TupleDesc desc, int tenant)
{
	LiveRows   *live = arg;
	TupleTableSlot *slot = live->table->slot;
	TupleDesc	shape = slot->tts_tupleDescriptor;
	DgHashedRow row = {tenant};
	int			column = 1;
	List	   *links = NIL;
	ListCell   *lc;

	ExecClearTuple(slot);
	for (int i = 0; i < shape->natts; i++)
	{
		slot->tts_isnull[i] = true;
		if (!TupleDescAttr(shape, i)->attisdropped)
			slot->tts_values[i] = SPI_getbinval(tuple, desc, column++, &slot->tts_isnull[i]);
	}
	if (live->table->lost_links != NIL && !OidIsValid(live->table->copy))
		links = dg_undelete_links_put(live->table->lost_links, live->table->rel, PG_INT64_MAX, slot->tts_values, slot->tts_isnull);
	if (links != NIL)
		live->table->counts[tenant].unlinked++;
	foreach(lc, links)
		((DgLink *) lfirst(lc))->taken = true;
	ExecStoreVirtualTuple(slot);
	dg_rehydrate_rowhash(live->table->hash, slot, &row);
	dg_rehydrate_rowsort_put(live->sort, &row);
	ExecClearTuple(slot);
	live->table->counts[tenant].live++;
}

/*
 * Takes a row of a copy, which has rows of one tenant only.
 */
static void
take_copied_row(void *arg, HeapTuple tuple, TupleDesc desc)
{
	LiveRows   *live = arg;
	MemoryContext old = MemoryContextSwitchTo(live->table->estate->es_per_tuple_exprcontext->ecxt_per_tuple_memory);

	hash_live_row(arg, tuple, desc, 0);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(live->table->estate);
}

static DgRowSort *
sort_live_rows(Compare *compare, Table *table)
{
	LiveRows	live = {table, dg_rehydrate_rowsort_begin(work_mem)};

	if (!OidIsValid(table->copy))
	{
		dg_rehydrate_finder_live_rows(table->finder, &compare->plan->finders, compare->plan->tenants, "t.*",
									  hash_live_row, &live);
		return live.sort;
	}
	(void) GetPerTupleExprContext(table->estate);
	SPI_connect();
	dg_query_each(take_copied_row, &live, psprintf("SELECT * FROM %s", dg_relation_name(table->copy)), superuser() ? DG_AS_OWNER : DG_AS_CALLER,
				  .table = table->copy);
	SPI_finish();
	return live.sort;
}

/* ----------------------------------------------------------------------
 * Comparing
 * ----------------------------------------------------------------------
 */

/*
 * Counts the differences, by merging both sides' rows.
 */
static void
count_differences(Compare *compare, Table *table)
{
	DgRowSort  *live_rows = sort_live_rows(compare, table);
	DgHashedRow archived;
	DgHashedRow live;
	bool		more_archived;
	bool		more_live;

	dg_rehydrate_rowsort_perform(table->archive_rows);
	dg_rehydrate_rowsort_perform(live_rows);
	more_archived = dg_rehydrate_rowsort_next(table->archive_rows, &archived);
	more_live = dg_rehydrate_rowsort_next(live_rows, &live);
	while (more_archived || more_live)
	{
		int			order = !more_archived ? 1 : !more_live ? -1 : dg_rehydrate_rowsort_compare(&archived, &live);

		CHECK_FOR_INTERRUPTS();
		if (order < 0 && archived.purged)
			table->counts[archived.tenant].purged++;
		else if (order < 0)
			table->counts[archived.tenant].only_in_archive++;
		else if (order > 0)
			table->counts[live.tenant].only_live++;
		else if (archived.content != live.content)
			table->counts[live.tenant].different++;
		if (order <= 0)
			more_archived = dg_rehydrate_rowsort_next(table->archive_rows, &archived);
		if (order >= 0)
			more_live = dg_rehydrate_rowsort_next(live_rows, &live);
	}
	dg_rehydrate_rowsort_end(live_rows);
	dg_rehydrate_rowsort_end(table->archive_rows);
}

/*
 * What a person should know of a tenant's rows of a table, palloc'd; NULL if
 * nothing.
 */
static char *
problem_of(const Table *table, int tenant)
{
	int64		unlinked = table->counts[tenant].unlinked;
	StringInfoData buf;

	initStringInfo(&buf);
	if (table->hidden)
		dg_rehydrate_account_append(&buf, InvalidOid, "row security applies to you: live rows that it hides are not counted");
	if (unlinked > 0)
		dg_rehydrate_account_append(&buf, InvalidOid,
									psprintf(unlinked == 1 ? "%lld live row has lost links to what was deleted, and was compared as it was with them" :
											 "%lld live rows have lost links to what was deleted, and were compared as they were with them",
											 (long long) unlinked));
	if (table->problem != NULL)
		dg_rehydrate_account_append(&buf, InvalidOid, table->problem);
	return buf.len > 0 ? buf.data : NULL;
}

static void
put_differences(ReturnSetInfo *rsinfo, const Compare *compare, Table *table, bool with_tenant)
{
	for (int i = 0; i < compare->plan->tenants->n; i++)
	{
		Datum		values[9];
		bool		nulls[9] = {false};
		char	   *problem;
		int			n = 0;

		if (table->absent && table->counts[i].live == 0 && !table->hidden)
			continue;
		table->told = true;
		values[n++] = ObjectIdGetDatum(table->relid);
		if (with_tenant)
			values[n++] = CStringGetTextDatum(compare->plan->tenants->keys[i]);
		values[n++] = Int64GetDatum(table->counts[i].in_archive);
		values[n++] = Int64GetDatum(table->counts[i].live);
		values[n++] = Int64GetDatum(table->counts[i].only_in_archive);
		values[n++] = Int64GetDatum(table->counts[i].only_live);
		values[n++] = Int64GetDatum(table->counts[i].different);
		values[n++] = Int64GetDatum(table->counts[i].purged);
		problem = problem_of(table, i);
		nulls[n] = (problem == NULL);
		values[n++] = problem == NULL ? (Datum) 0 : CStringGetTextDatum(problem);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/*
 * Has a table that the archive lacks lines with counts?
 */
static bool
has_lines(const Compare *compare, Oid relid)
{
	ListCell   *lc;

	foreach(lc, compare->tables)
	{
		Table	   *table = lfirst(lc);

		if (table->relid == relid)
			return table->told;
	}
	return false;
}

/*
 * Puts what was not compared.
 */
static void
put_left_out(ReturnSetInfo *rsinfo, const Compare *compare, bool with_tenant)
{
	ListCell   *lc;

	foreach(lc, dg_rehydrate_account(compare->plan))
	{
		DgLeftOut  *left = lfirst(lc);
		Datum		values[9] = {0};
		bool		nulls[9] = {true, true, true, true, true, true, true, true, true};
		int			problem = with_tenant ? 8 : 7;

		if ((left->kind == DG_LEFT_ABSENT || left->kind == DG_LEFT_EXCLUDED) && has_lines(compare, left->relid))
			continue;
		nulls[0] = !OidIsValid(left->relid);
		values[0] = ObjectIdGetDatum(left->relid);
		nulls[problem] = false;
		values[problem] = CStringGetTextDatum(left->problem);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

static void
begin_compare(Compare *compare)
{
	ListCell   *lc;

	compare->mappings = palloc0(sizeof(Mapping *) * dg_archive_table_count(compare->archive->archive));
	foreach(lc, compare->plan->sources)
	{
		if (((DgSource *) lfirst(lc))->wanted)
			map_source(compare, lfirst(lc));
	}
}

static void
end_compare(Compare *compare)
{
	ListCell   *lc;

	foreach(lc, compare->tables)
	{
		Table	   *table = lfirst(lc);

		ExecDropSingleTupleTableSlot(table->slot);
		FreeExecutorState(table->estate);
		table_close(table->rel, NoLock);
	}
}

/*
 * The body of both functions.
 */
static Datum
compare_tenants(FunctionCallInfo fcinfo, DgTenants *tenants, bool with_tenant)
{
	Compare		compare = {0};
	List	   *mapping = PG_ARGISNULL(2) ? NIL : dg_rehydrate_mapping_parse(PG_GETARG_JSONB_P(2));
	ListCell   *lc;
	int			level;

	dg_require_argument(fcinfo, 1, "archive");
	InitMaterializedSRF(fcinfo, 0);
	compare.archive = dg_rehydrate_open(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	compare.plan = dg_rehydrate_plan(compare.archive, tenants, NIL, mapping, true);
	level = dg_rehydrate_settings();
	begin_compare(&compare);
	add_absent_tables(&compare);
	dg_rehydrate_read(compare.archive, compare.plan, take_archive_row, &compare);
	foreach(lc, compare.tables)
	{
		count_differences(&compare, lfirst(lc));
		put_differences((ReturnSetInfo *) fcinfo->resultinfo, &compare, lfirst(lc), with_tenant);
	}
	put_left_out((ReturnSetInfo *) fcinfo->resultinfo, &compare, with_tenant);
	end_compare(&compare);
	AtEOXact_GUC(true, level);
	dg_rehydrate_close(compare.archive);
	return (Datum) 0;
}

/*
 * Compares what a call with one tenant has restored into copies of the tables
 * with the archive, which is read again. Sets the destinations' differences;
 * rows that were left out as purged are none.
 */
void
dg_rehydrate_compare_copies(DgRestore *call)
{
	Compare		compare = {call->archive, call->plan};
	ListCell   *lc;
	ListCell   *lc2;
	int			level = dg_rehydrate_settings();

	begin_compare(&compare);
	dg_rehydrate_read(compare.archive, compare.plan, take_archive_row, &compare);
	foreach(lc, call->destinations)
	{
		DgDestination *destination = lfirst(lc);

		foreach(lc2, compare.tables)
		{
			Table	   *table = lfirst(lc2);

			if (table->relid != destination->relid)
				continue;
			table->copy = destination->written;
			count_differences(&compare, table);
			destination->uncompared = table->problem;
			destination->differences = table->counts[0].only_in_archive + table->counts[0].only_live + table->counts[0].different;
		}
	}
	end_compare(&compare);
	AtEOXact_GUC(true, level);
}

/*
 * compare_tenant(tenant text, archive text, mapping jsonb)
 */
Datum
dg_compare_tenant(PG_FUNCTION_ARGS)
{
	char	   *tenant;

	dg_require_argument(fcinfo, 0, "tenant");
	tenant = text_to_cstring(PG_GETARG_TEXT_PP(0));
	return compare_tenants(fcinfo, dg_rehydrate_tenants_make(1, &tenant), false);
}

/*
 * compare_tenants(tenants text[], archive text, mapping jsonb)
 */
Datum
dg_compare_tenants(PG_FUNCTION_ARGS)
{
	dg_require_argument(fcinfo, 0, "tenants");
	return compare_tenants(fcinfo, dg_rehydrate_tenants_of_array(PG_GETARG_ARRAYTYPE_P(0)), true);
}
