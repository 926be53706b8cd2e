/*
 * rehydrate_drill.c
 *		drill(): rehearses rehydrating tenants, and measures it.
 *
 * Each tenant is restored into a schema made for it, within a subtransaction
 * that is rolled back; nothing live is touched, and nothing is left but the
 * result, which is kept in drill_result. A tenant's rows match if the restored
 * ones are those of the archive, less what was purged, if every row that they
 * refer to is either among them or live, and if nothing was left out that may be
 * the tenant's: unless the caller says that this is only to be reported.
 *
 * The time is that of the restore alone, from the first byte read.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "guard/guard.h"
#include "rehydrate/rehydrate_internal.h"
#include "rows/rows.h"

PG_FUNCTION_INFO_V1(dg_drill);

typedef struct Drill
{
	DgExtractArchive *archive;
	MemoryContext context;
	char	   *tenant;
	List	   *mapping;
	bool		report;			/* what is left out does not make it fail */
	DgRestore	call;
	int64		rows;
	double		seconds;
	bool		matches;
	StringInfoData problem;
} Drill;

/*
 * Notes that the rehearsal has not come out as it should.
 */
static void
note_failure(Drill *drill, Oid relid, const char *problem)
{
	dg_extract_account_append(&drill->problem, relid, problem);
	drill->matches = false;
}

/*
 * Notes that something was left out.
 */
static void
note_left_out(Drill *drill, Oid relid, const char *problem)
{
	dg_extract_account_append(&drill->problem, relid, problem);
	drill->matches &= drill->report;
}

/* ----------------------------------------------------------------------
 * Which tenants
 * ----------------------------------------------------------------------
 */

static void
require_tenant_table(void)
{
	if (!OidIsValid(dg_guard_tenant_table()->relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot choose tenants to rehearse: no tenant table is set"),
				 errhint("Name tenants, or call deletion_guard.set_tenant_table().")));
}

/* A sample of unknown many. */
typedef struct Sample
{
	int			size;
	int			n;
	int64		seen;
	char	  **keys;
	MemoryContext context;
} Sample;

static void
take_tenant(void *arg, const char *key)
{
	Sample	   *sample = arg;
	uint64		at = sample->seen++;

	if (at >= (uint64) sample->size)
		at = pg_prng_uint64_range(&pg_global_prng_state, 0, at);
	if (at >= (uint64) sample->size)
		return;
	if (at < (uint64) sample->n)
		pfree(sample->keys[at]);
	else
		sample->n++;
	sample->keys[at] = MemoryContextStrdup(sample->context, key);
}

/*
 * Some tenants of the archive, at random.
 */
static DgTenants *
sample_tenants(DgExtractArchive *archive, List *mapping, int size)
{
	Sample		sample = {size};
	const DgTenantTable *tenants = dg_guard_tenant_table();

	if (size < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sample must be 1 at least")));
	require_tenant_table();
	sample.keys = palloc(sizeof(char *) * size);
	sample.context = CurrentMemoryContext;
	dg_extract_read_column(archive, tenants->relid, NameStr(tenants->key_column), mapping,
						   take_tenant, &sample);
	if (sample.n == 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_TENANT_NOT_IN_ARCHIVE),
				 errmsg("archive \"%s\" has no rows of the tenant table \"%s\"",
						archive->path, get_rel_name(tenants->relid)),
				 errhint("Name the tenants to rehearse.")));
	return dg_extract_tenants_make(sample.n, sample.keys);
}

/* ----------------------------------------------------------------------
 * What a rehearsal finds
 * ----------------------------------------------------------------------
 */

/*
 * The copy of a table, or InvalidOid.
 */
static Oid
copy_of(const Drill *drill, Oid relid)
{
	ListCell   *lc;

	foreach(lc, drill->call.destinations)
	{
		DgDestination *destination = lfirst(lc);

		if (destination->relid == relid)
			return destination->written;
	}
	return InvalidOid;
}

/*
 * The keys that the rows of a child refer to, read as the caller or, where that is a
 * superuser, as the table's owner.
 */
static Tuplestorestate *
referring_keys(const ForeignKeyCacheInfo *fkey, Oid child)
{
	Tuplestorestate *keys = tuplestore_begin_heap(false, false, work_mem);
	StringInfoData columns;
	StringInfoData where;

	initStringInfo(&columns);
	initStringInfo(&where);
	for (int i = 0; i < fkey->nkeys; i++)
	{
		const char *column = quote_identifier(get_attname(fkey->conrelid, fkey->conkey[i], false));

		appendStringInfo(&columns, "%sc.%s", i > 0 ? ", " : "", column);
		appendStringInfo(&where, "%sc.%s IS NOT NULL", i > 0 ? " AND " : "", column);
	}
	SPI_connect();
	dg_query_each(dg_query_put, keys, psprintf("SELECT %s FROM %s c WHERE %s", columns.data, dg_relation_name(child), where.data),
				  superuser() ? DG_AS_OWNER : DG_AS_CALLER,
				  .table = child);
	SPI_finish();
	return keys;
}

/*
 * Counts the restored rows whose parent is neither restored nor live.
 */
static int64
count_orphans(const Drill *drill, const ForeignKeyCacheInfo *fkey, Oid child)
{
	DgRowsParents parents = {fkey, list_make1_oid(fkey->confrelid), DG_AS_CALLER,.many = true};
	Oid			parent = copy_of(drill, fkey->confrelid);
	Tuplestorestate *keys = referring_keys(fkey, child);
	int64		count;

	parents.desc = dg_rows_keys_desc(fkey, InvalidOid, false);
	if (superuser())
	{
		parents.tables = dg_query_tables(fkey->confrelid);
		parents.as = DG_AS_OWNER;
	}
	if (OidIsValid(parent))
		parents.tables = lcons_oid(parent, parents.tables);
	dg_rows_parentless(&parents, &keys);
	count = tuplestore_tuple_count(keys);
	tuplestore_end(keys);
	return count;
}

static void
check_references(Drill *drill, const DgDestination *destination)
{
	Relation	rel = table_open(destination->relid, AccessShareLock);
	List	   *fkeys = dg_foreign_keys(rel);
	ListCell   *lc;

	table_close(rel, NoLock);
	foreach(lc, fkeys)
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);
		int64		orphans = count_orphans(drill, fkey, destination->written);

		if (orphans > 0)
			note_failure(drill, InvalidOid,
						 psprintf("%lld rows of %s refer to rows of %s that are neither in the archive, as this tenant's, nor live",
								  (long long) orphans, dg_relation_name(destination->relid),
								  dg_relation_name(fkey->confrelid)));
	}
}

/*
 * Compares what a call with one tenant has restored into copies of the tables
 * with the archive, which is read again. Sets the destinations' differences;
 * rows that were left out as purged are none.
 */
static void
compare_copies(DgRestore *call)
{
	DgCompare	compare = {call->archive, call->plan};
	ListCell   *lc;
	ListCell   *lc2;
	int			level = dg_extract_settings();

	dg_compare_begin(&compare, false);
	foreach(lc, call->destinations)
	{
		DgDestination *destination = lfirst(lc);

		foreach(lc2, compare.tables)
		{
			DgCompared *table = lfirst(lc2);

			if (table->relid != destination->relid)
				continue;
			table->copy = destination->written;
			dg_compare_table(&compare, table, dg_compare_count, NULL);
			destination->uncompared = table->problem;
			destination->differences = table->counts[0].only_in_archive + table->counts[0].only_live + table->counts[0].different;
		}
	}
	dg_compare_end(&compare);
	AtEOXact_GUC(true, level);
}

static void
check_contents(Drill *drill)
{
	ListCell   *lc;

	compare_copies(&drill->call);
	foreach(lc, drill->call.destinations)
	{
		DgDestination *destination = lfirst(lc);

		if (destination->differences > 0)
			note_failure(drill, InvalidOid, psprintf("%lld rows of %s differ from those of the archive",
													 (long long) destination->differences,
													 dg_relation_name(destination->relid)));
		if (destination->uncompared != NULL)
			note_left_out(drill, destination->relid, destination->uncompared);
		check_references(drill, destination);
	}
}

static void
count_live_row(void *rows, HeapTuple tuple, TupleDesc desc, int tenant)
{
	(*(int64 *) rows)++;
}

/*
 * Rows that the tenant has here in a table that the archive does not have.
 */
static int64
count_absent_rows(Drill *drill, Oid relid)
{
	DgExtractPlan *plan = drill->call.plan;
	int64		rows = 0;
	Oid			root;
	List	   *paths;

	if (dg_extract_tenant_source(relid, &root, &paths))
	{
		DgFinder   *finder = dg_extract_finder_get(&plan->finders, root, paths, plan->tenants);

		/* there may be some that the caller does not see */
		rows = dg_extract_live_is_hidden(finder);
		dg_extract_live_rows(finder, &plan->finders, plan->tenants, "1", count_live_row, &rows);
	}
	return rows;
}

/*
 * Looks at what was left out. Shared tables are looked after by the foreign keys
 * that lead to them.
 */
static void
check_account(Drill *drill)
{
	ListCell   *lc;

	foreach(lc, dg_extract_account(drill->call.plan))
	{
		DgLeftOut  *left = lfirst(lc);

		if (left->kind == DG_LEFT_SHARED || left->kind == DG_LEFT_NOBODYS ||
			(left->kind == DG_LEFT_ABSENT && count_absent_rows(drill, left->relid) == 0))
			continue;
		note_left_out(drill, left->relid, left->problem);
	}
}

/*
 * Restores the tenant and looks at what came of it.
 */
static void
rehearse_tenant(Drill *drill)
{
	instr_time	start;
	instr_time	now;
	ListCell   *lc;

	drill->call.archive = drill->archive;
	drill->call.context = drill->context;
	drill->call.on_conflict = DG_ON_CONFLICT_ERROR;
	drill->call.into_schema = psprintf("deletion_guard_drill_%d", MyProcPid);
	drill->call.any_name = true;
	drill->call.report = true;
	INSTR_TIME_SET_CURRENT(start);
	drill->call.plan = dg_extract_plan(drill->archive, dg_extract_tenants_make(1, &drill->tenant), NIL,
									   drill->mapping, true);
	dg_rehydrate_restore_run(&drill->call);
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	drill->seconds = INSTR_TIME_GET_DOUBLE(now);
	foreach(lc, drill->call.destinations)
		drill->rows += ((DgDestination *) lfirst(lc))->restored;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	check_contents(drill);
	check_account(drill);
	PopActiveSnapshot();
}

static void
rehearse_now(void *drill)
{
	rehearse_tenant(drill);
}

/*
 * Rehearses in a subtransaction that is rolled back; an error is the result then.
 */
static void
try_rehearsal(Drill *drill)
{
	MemoryContext old = MemoryContextSwitchTo(drill->context);
	ErrorData  *error = dg_try(rehearse_now, drill, false);

	if (error != NULL)
	{
		dg_extract_abandon(drill->archive);
		note_failure(drill, InvalidOid, error->detail != NULL ? psprintf("%s: %s", error->message, error->detail) :
					 error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && error->hint != NULL ?
					 psprintf("%s (%s)", error->message, error->hint) : error->message);
	}
	MemoryContextSwitchTo(old);
}

/* ----------------------------------------------------------------------
 * drill(archive text, tenants text[], sample integer, left_out text, mapping jsonb)
 * ----------------------------------------------------------------------
 */

static void
keep_result(const Drill *drill)
{
	Oid			types[] = {TEXTOID, TEXTOID, INT8OID, FLOAT8OID, BOOLOID, TEXTOID};
	Datum		values[6] = {0};

	values[0] = CStringGetTextDatum(drill->archive->path);
	values[1] = CStringGetTextDatum(drill->tenant);
	values[2] = Int64GetDatum(drill->rows);
	values[3] = Float8GetDatum(drill->seconds);
	values[4] = BoolGetDatum(drill->matches);
	values[5] = CStringGetTextDatum(drill->problem.data);
	SPI_connect();
	dg_query("INSERT INTO deletion_guard.drill_result (archive, drilled_at, tenant, rows, seconds, matches, problem)"
			 " VALUES ($1, pg_catalog.clock_timestamp(), $2, $3, pg_catalog.round($4::pg_catalog.numeric, 3),"
			 " $5, nullif($6, ''))", DG_AS_US, 6, types, values);
	SPI_finish();
}

static void
put_result(ReturnSetInfo *rsinfo, const Drill *drill)
{
	Datum		values[5] = {0};
	bool		nulls[5] = {false};

	values[0] = CStringGetTextDatum(drill->tenant);
	values[1] = Int64GetDatum(drill->rows);
	values[2] = DirectFunctionCall3(numeric_in, CStringGetDatum(psprintf("%.3f", drill->seconds)),
									ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	values[3] = BoolGetDatum(drill->matches);
	nulls[4] = (drill->problem.len == 0);
	values[4] = CStringGetTextDatum(drill->problem.data);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * drill(archive, tenants, sample, left_out, mapping) -> a line for each tenant
 */
Datum
dg_drill(PG_FUNCTION_ARGS)
{
	DgExtractArchive *archive;
	DgTenants  *tenants;
	List	   *mapping;
	bool		report;

	dg_require_argument(fcinfo, 0, "archive");
	dg_require_argument(fcinfo, 2, "sample");
	dg_require_argument(fcinfo, 3, "left_out");
	report = dg_rehydrate_report_left_out(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	mapping = PG_ARGISNULL(4) ? NIL : dg_extract_mapping_parse(PG_GETARG_JSONB_P(4));
	InitMaterializedSRF(fcinfo, 0);
	archive = dg_extract_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	tenants = PG_ARGISNULL(1) ? sample_tenants(archive, mapping, PG_GETARG_INT32(2)) :
		dg_extract_tenants_of_array(PG_GETARG_ARRAYTYPE_P(1));
	for (int i = 0; i < tenants->n; i++)
	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard drill",
													  ALLOCSET_DEFAULT_SIZES);
		Drill		drill = {archive, context, tenants->keys[i], mapping, report,.matches = true};

		initStringInfo(&drill.problem);
		try_rehearsal(&drill);
		keep_result(&drill);
		put_result((ReturnSetInfo *) fcinfo->resultinfo, &drill);
		MemoryContextDelete(context);
	}
	dg_extract_close(archive);
	return (Datum) 0;
}
