/*
 * compare_report.c
 *		compare_tenant(), compare_tenants(), compare_rows(): how many rows of
 *		tenants an archive has that are not live, or other than the live ones, and
 *		the other way round; and which.
 *
 * compare_rows() has a line for each such row, in the order of the key. What cannot
 * be compared, or was not, has a line of its own, and so has what max_rows has cut
 * off: no line at all means that both sides are the same.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/rel.h"

#include "common/deletion_guard.h"
#include "compare/compare_internal.h"
#include "rows/rows.h"

PG_FUNCTION_INFO_V1(dg_compare_tenant);
PG_FUNCTION_INFO_V1(dg_compare_tenants);
PG_FUNCTION_INFO_V1(dg_compare_rows);

/* ----------------------------------------------------------------------
 * Counts
 * ----------------------------------------------------------------------
 */

static void
put_differences(ReturnSetInfo *rsinfo, const DgCompare *compare, DgCompared *table, bool with_tenant)
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
		problem = dg_compare_problem(table, i);
		nulls[n] = (problem == NULL);
		values[n++] = problem == NULL ? (Datum) 0 : CStringGetTextDatum(problem);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/*
 * Has a table that the archive lacks lines with counts?
 */
static bool
has_lines(const DgCompare *compare, Oid relid)
{
	ListCell   *lc;

	foreach(lc, compare->tables)
	{
		DgCompared *table = lfirst(lc);

		if (table->relid == relid)
			return table->told;
	}
	return false;
}

/*
 * Puts what was not compared.
 */
static void
put_left_out(ReturnSetInfo *rsinfo, const DgCompare *compare, bool with_tenant)
{
	ListCell   *lc;

	foreach(lc, dg_extract_account(compare->plan))
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

/*
 * The body of both functions.
 */
static Datum
compare_tenants(FunctionCallInfo fcinfo, DgTenants *tenants, bool with_tenant)
{
	DgCompare	compare = {0};
	List	   *mapping = PG_ARGISNULL(2) ? NIL : dg_extract_mapping_parse(PG_GETARG_JSONB_P(2));
	ListCell   *lc;
	int			level;

	dg_require_argument(fcinfo, 1, "archive");
	InitMaterializedSRF(fcinfo, 0);
	compare.archive = dg_extract_open(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	compare.plan = dg_extract_plan(compare.archive, tenants, NIL, mapping, true);
	level = dg_extract_settings();
	dg_compare_begin(&compare, true);
	foreach(lc, compare.tables)
	{
		dg_compare_table(&compare, lfirst(lc), dg_compare_count, NULL);
		put_differences((ReturnSetInfo *) fcinfo->resultinfo, &compare, lfirst(lc), with_tenant);
	}
	put_left_out((ReturnSetInfo *) fcinfo->resultinfo, &compare, with_tenant);
	dg_compare_end(&compare);
	AtEOXact_GUC(true, level);
	dg_extract_close(compare.archive);
	return (Datum) 0;
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
	return compare_tenants(fcinfo, dg_extract_tenants_make(1, &tenant), false);
}

/*
 * compare_tenants(tenants text[], archive text, mapping jsonb)
 */
Datum
dg_compare_tenants(PG_FUNCTION_ARGS)
{
	dg_require_argument(fcinfo, 0, "tenants");
	return compare_tenants(fcinfo, dg_extract_tenants_of_array(PG_GETARG_ARRAYTYPE_P(0)), true);
}

/* ----------------------------------------------------------------------
 * Rows
 * ----------------------------------------------------------------------
 */

#define NOT_COMPARED	"not compared"

/* Columns of a table that are shown. */
typedef struct Shown
{
	TupleDesc	desc;
	List	   *attnums;
} Shown;

typedef struct RowReport
{
	ReturnSetInfo *rsinfo;
	DgCompare	compare;
	int64		left;			/* rows to be shown */
	int64		more;			/* of the table at hand, that are not */
	Shown		key;			/* without columns: it has none */
	Shown		archived;
	Shown		live;
	DgRowsRole	role;			/* as whom casts to json run */
	TupleTableSlot *archive_slot;
	TupleTableSlot *live_slot;
	MemoryContext row;
} RowReport;

/* A line of the report. */
typedef struct RowLine
{
	Oid			relid;			/* InvalidOid: of no table here */
	const char *what;
	Datum		key;			/* 0: null, like the others */
	Datum		columns;
	Datum		archive_row;
	Datum		live_row;
	const char *problem;
} RowLine;

static void
put_row_line(RowReport *report, const RowLine *line)
{
	Datum		values[] = {ObjectIdGetDatum(line->relid), line->key, CStringGetTextDatum(line->what), line->columns,
	line->archive_row, line->live_row, line->problem == NULL ? (Datum) 0 : CStringGetTextDatum(line->problem)};
	bool		nulls[lengthof(values)];

	for (int i = 0; i < lengthof(values); i++)
		nulls[i] = (values[i] == (Datum) 0);
	tuplestore_putvalues(report->rsinfo->setResult, report->rsinfo->setDesc, values, nulls);
}

static void
put_not_compared(RowReport *report, Oid relid, const char *problem)
{
	RowLine		line = {.relid = relid,.what = NOT_COMPARED,.problem = problem};

	put_row_line(report, &line);
}

static Shown
show_columns(Relation rel, List *attnums)
{
	Shown		shown = {NULL, attnums};
	ListCell   *lc;

	if (attnums == NIL)
		return shown;
	shown.desc = CreateTemplateTupleDesc(list_length(attnums));
	foreach(lc, attnums)
		TupleDescCopyEntry(shown.desc, foreach_current_index(lc) + 1, RelationGetDescr(rel), lfirst_int(lc));
	dg_tupdesc_finalize(shown.desc);
	BlessTupleDesc(shown.desc);
	return shown;
}

static List *
all_columns(Relation rel)
{
	List	   *attnums = NIL;

	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		if (!TupleDescAttr(RelationGetDescr(rel), i)->attisdropped)
			attnums = lappend_int(attnums, i + 1);
	}
	return attnums;
}

/*
 * Some columns of a row, as to_jsonb() writes them; 0 if there are none. A type
 * may come with a cast to json, which is its owner's code.
 */
static Datum
row_as_json(const RowReport *report, const Shown *shown, TupleTableSlot *slot)
{
	int			n = list_length(shown->attnums);
	Datum	   *values = palloc(sizeof(Datum) * (n + 1));
	bool	   *nulls = palloc(sizeof(bool) * (n + 1));
	Datum		json;
	ListCell   *lc;

	if (n == 0)
		return (Datum) 0;
	foreach(lc, shown->attnums)
		values[foreach_current_index(lc)] = slot_getattr(slot, lfirst_int(lc), &nulls[foreach_current_index(lc)]);
	dg_rows_as_owner(&report->role);
	json = DirectFunctionCall1(row_to_json, HeapTupleGetDatum(heap_form_tuple(shown->desc, values, nulls)));
	dg_rows_as_caller(&report->role);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(DatumGetTextPP(json))));
}

static Datum
names_of_columns(const DgCompared *table, List *attnums)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, attnums)
		names = lappend(names, NameStr(TupleDescAttr(RelationGetDescr(table->rel), lfirst_int(lc) - 1)->attname));
	return dg_name_array(names);
}

/*
 * Shows one difference; a DgDifferenceSink.
 */
static void
show_difference(void *arg, DgCompared *table, DgDifference what, const DgHashedRow *row)
{
	static const char *const words[] = {
		[DG_DIFFERENCE_MISSING] = "missing",
		[DG_DIFFERENCE_PURGED] = "purged",
		[DG_DIFFERENCE_EXTRA] = "extra",
		[DG_DIFFERENCE_DIFFERENT] = "different"
	};
	RowReport  *report = arg;
	RowLine		line = {.relid = table->relid,.what = words[what]};
	MemoryContext old;

	if (report->left == 0)
	{
		report->more++;
		return;
	}
	report->left--;
	old = MemoryContextSwitchTo(report->row);
	if (what != DG_DIFFERENCE_EXTRA)
	{
		dg_compare_rowsort_row(table->archive_rows, report->archive_slot);
		line.key = row_as_json(report, &report->key, report->archive_slot);
		line.archive_row = row_as_json(report, &report->archived, report->archive_slot);
	}
	if (what == DG_DIFFERENCE_EXTRA || what == DG_DIFFERENCE_DIFFERENT)
	{
		dg_compare_rowsort_row(table->live_rows, report->live_slot);
		line.key = row_as_json(report, &report->key, report->live_slot);
		line.live_row = row_as_json(report, &report->live, report->live_slot);
	}
	if (what == DG_DIFFERENCE_DIFFERENT)
		line.columns = names_of_columns(table, dg_compare_rowhash_differing(table->hash, report->archive_slot, report->live_slot));
	put_row_line(report, &line);
	ExecClearTuple(report->archive_slot);
	ExecClearTuple(report->live_slot);
	MemoryContextSwitchTo(old);
	MemoryContextReset(report->row);
}

/*
 * Of a table that the archive does not have, no row is shown as an extra one: there is
 * nothing to tell which rows are.
 */
static void
show_nothing(void *arg, DgCompared *table, DgDifference what, const DgHashedRow *row)
{
}

static void
compare_rows_of_table(RowReport *report, DgCompared *table)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	char	   *problem;

	report->role = dg_rows_role(table->rel);
	report->key = show_columns(table->rel, dg_compare_rowhash_key(table->hash));
	report->archived = show_columns(table->rel, dg_compare_rowhash_compared(table->hash));
	report->live = show_columns(table->rel, all_columns(table->rel));
	report->archive_slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	report->live_slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	report->more = 0;
	dg_compare_table(&report->compare, table, table->absent ? show_nothing : show_difference, report);
	ExecDropSingleTupleTableSlot(report->archive_slot);
	ExecDropSingleTupleTableSlot(report->live_slot);
	if (report->more > 0)
	{
		RowLine		line = {.relid = table->relid,.what = "more"};

		line.problem = psprintf(report->more == 1 ? "%lld row more differs; a larger max_rows shows it" :
								"%lld rows more differ; a larger max_rows shows them", (long long) report->more);
		put_row_line(report, &line);
	}
	problem = dg_compare_problem(table, 0);
	if (problem != NULL && (!table->absent || table->counts[0].live > 0 || table->hidden))
		put_not_compared(report, table->relid, problem);
}

/*
 * Says what else was not compared and may have rows of the tenant: not what the
 * caller has left out, nor tables of no tenant, nor tables that the archive
 * lacks, which had their turn.
 */
static void
put_rest(RowReport *report)
{
	ListCell   *lc;

	foreach(lc, dg_extract_account(report->compare.plan))
	{
		DgLeftOut  *left = lfirst(lc);

		if (left->kind == DG_LEFT_UNKNOWN || left->kind == DG_LEFT_CERTAIN || left->kind == DG_LEFT_NOBODYS)
			put_not_compared(report, left->relid, left->problem);
	}
}

static int64
max_rows_argument(FunctionCallInfo fcinfo, int n)
{
	int64		max_rows = PG_ARGISNULL(n) ? PG_INT64_MAX : PG_GETARG_INT64(n);

	if (max_rows < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must not be negative"),
				 errhint("0 counts the rows only, null shows all of them.")));
	return max_rows;
}

/*
 * compare_rows(tenant text, archive text, relations regclass[], mapping jsonb, max_rows bigint)
 */
Datum
dg_compare_rows(PG_FUNCTION_ARGS)
{
	RowReport	report = {(ReturnSetInfo *) fcinfo->resultinfo};
	DgCompare  *compare = &report.compare;
	List	   *relations = dg_extract_relations_argument(fcinfo, 2);
	List	   *mapping = PG_ARGISNULL(3) ? NIL : dg_extract_mapping_parse(PG_GETARG_JSONB_P(3));
	char	   *tenant;
	int			level;
	ListCell   *lc;

	dg_require_argument(fcinfo, 0, "tenant");
	dg_require_argument(fcinfo, 1, "archive");
	report.left = max_rows_argument(fcinfo, 4);
	tenant = text_to_cstring(PG_GETARG_TEXT_PP(0));
	InitMaterializedSRF(fcinfo, 0);
	report.row = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard row", ALLOCSET_DEFAULT_SIZES);
	compare->whole = true;
	compare->archive = dg_extract_open(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	compare->plan = dg_extract_plan(compare->archive, dg_extract_tenants_make(1, &tenant), relations, mapping, true);
	level = dg_extract_settings();
	dg_compare_begin(compare, true);
	foreach(lc, compare->tables)
		compare_rows_of_table(&report, lfirst(lc));
	put_rest(&report);
	dg_compare_end(compare);
	AtEOXact_GUC(true, level);
	dg_extract_close(compare->archive);
	return (Datum) 0;
}
