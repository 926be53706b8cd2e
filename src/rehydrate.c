/*
 * rehydrate.c
 *		rehydrate(): tenants' rows come back from an archive of pg_dump.
 *
 * A call restores all rows that the archive has of its tenants, or fails and
 * restores nothing. The rows are written as the caller, with the caller's
 * privileges; other tenants' rows are neither read nor locked, but for the row
 * locks that foreign keys take.
 *
 * Locks: each tenant's (see dg_lock_tenants()), then ROW EXCLUSIVE on the
 * tables that rows go to.
 *
 * A dry run does everything in a subtransaction, which is then rolled back: it
 * reports what would have happened, a failure included.
 */
#include "rehydrate.h"
#include "bin.h"
#include "guard.h"
#include "ledger.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

PG_FUNCTION_INFO_V1(dg_rehydrate);
PG_FUNCTION_INFO_V1(dg_rehydrate_tenants);

/* What became of one tenant's rows of one table. */
typedef struct Count
{
	int64		found;
	int64		restored;
	int64		identical;
	int64		skipped;
} Count;

/* A table that rows go to. */
typedef struct Destination
{
	Oid			relid;			/* the table that the rows belong to */
	Oid			written;		/* the one they are written to */
	bool		shared;			/* rows of no tenant, counted as the first one's */
	Count	   *counts;			/* one for each tenant */
	int64		restored;
} Destination;

typedef struct Rehydrate
{
	DgOnConflict on_conflict;
	char	   *into_schema;	/* or NULL */
	bool		dry_run;
	bool		with_referenced;
	MemoryContext context;		/* of the plan and the counts */
	DgRehydrateArchive *archive;
	DgRehydratePlan *plan;
	List	   *destinations;	/* in the order of the plan's targets */
	DgReferences *references;	/* with_referenced: what tenants' rows refer to */
	DgRowsWriter *writer;
	DgRowsTarget **targets;		/* by the index of a source */
	Destination **by_source;	/* the same */
	char	   *failure;		/* of a dry run */
} Rehydrate;

/* ----------------------------------------------------------------------
 * Writing
 * ----------------------------------------------------------------------
 */

static Destination *
destination_of(Rehydrate *call, Oid relid)
{
	Destination *destination;
	ListCell   *lc;

	foreach(lc, call->destinations)
	{
		destination = lfirst(lc);
		if (destination->relid == relid)
			return destination;
	}
	destination = palloc0(sizeof(Destination));
	destination->relid = destination->written = relid;
	destination->counts = palloc0(sizeof(Count) * call->plan->tenants->n);
	call->destinations = lappend(call->destinations, destination);
	return destination;
}

static void
open_target(Rehydrate *call, DgSource *source)
{
	MemoryContext old = MemoryContextSwitchTo(call->context);
	Destination *destination = destination_of(call, source->target);

	call->by_source[source->index] = destination;
	call->targets[source->index] = dg_rows_writer_target(call->writer, destination->written,
														 source->columns, source->ncolumns);
	dg_rows_writer_verify(call->targets[source->index]);
	MemoryContextSwitchTo(old);
}

/*
 * All tables are opened before the first row is written: then the writer knows
 * which keys its own rows will provide.
 */
static void
open_targets(Rehydrate *call)
{
	ListCell   *lc;

	foreach(lc, call->plan->passes)
	{
		DgPass	   *pass = lfirst(lc);

		if (pass->emit)
			open_target(call, pass->source);
	}
}

/*
 * Makes the schema that rows are to go to.
 */
static void
create_schema(Rehydrate *call)
{
	List	   *copies = dg_schema_create(call->into_schema, call->plan->targets);
	ListCell   *lc;
	ListCell   *lc2;

	forboth(lc, call->plan->targets, lc2, copies)
		destination_of(call, lfirst_oid(lc))->written = lfirst_oid(lc2);
}

/*
 * Writes one row.
 */
static void
write_row(void *arg, DgSource *source, int tenant, Datum *values, bool *nulls)
{
	Rehydrate  *call = arg;
	Destination *destination = call->by_source[source->index];
	Count	   *count = &destination->counts[tenant];

	if (call->references != NULL)
		dg_references_note(call->references, source, values, nulls);
	count->found++;
	dg_rows_writer_tag(call->targets[source->index], tenant);
	switch (dg_rows_writer_put(call->targets[source->index], values, nulls))
	{
		case DG_ROW_RESTORED:
			count->restored++;
			destination->restored++;
			break;
		case DG_ROW_IDENTICAL:
			count->identical++;
			break;
		case DG_ROW_SKIPPED:
		case DG_ROW_CONFLICT:
			count->skipped++;
			break;
	}
}

/*
 * Writes a row of a shared table.
 */
static void
write_shared_row(void *arg, DgSource *source, int tenant, Datum *values, bool *nulls)
{
	Rehydrate  *call = arg;

	if (call->targets[source->index] == NULL)
		open_target(call, source);
	call->by_source[source->index]->shared = true;
	write_row(arg, source, tenant, values, nulls);
}

/*
 * Brings in what the rows written so far refer to, and what that refers to.
 */
static void
write_referenced_rows(Rehydrate *call)
{
	do
		dg_rows_writer_flush(call->writer);
	while (dg_references_read(call->references, write_shared_row, call));
}

/*
 * Does a sequence belong to a column of a table that got rows?
 */
static bool
is_behind_restored_rows(Rehydrate *call, Oid sequence)
{
	ListCell   *lc;
	Oid			table;
	int32		attnum;

	if (!sequenceIsOwned(sequence, DEPENDENCY_AUTO, &table, &attnum) &&
		!sequenceIsOwned(sequence, DEPENDENCY_INTERNAL, &table, &attnum))
		return false;
	foreach(lc, call->destinations)
	{
		Destination *destination = lfirst(lc);

		if (destination->written == table)
			return destination->restored > 0;
	}
	return false;
}

/*
 * The database that the archive is of may have given out keys that are beyond
 * those of the rows restored: to other tenants, who may come back later.
 */
static void
raise_sequences(Rehydrate *call)
{
	for (int i = 0; i < dg_archive_sequence_count(call->archive->archive); i++)
	{
		const DgArchiveSequence *sequence = dg_archive_sequence(call->archive->archive, i);
		Oid			namespace = get_namespace_oid(dg_rehydrate_text(call->archive, sequence->schema), true);
		Oid			relid;

		if (!sequence->is_called || !OidIsValid(namespace))
			continue;
		relid = get_relname_relid(dg_rehydrate_text(call->archive, sequence->name), namespace);
		if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_SEQUENCE &&
			is_behind_restored_rows(call, relid))
			dg_rows_raise_sequence(relid, sequence->value);
	}
}

/* ----------------------------------------------------------------------
 * Checks
 * ----------------------------------------------------------------------
 */

static int64
rows_of_tenant(const Rehydrate *call, int tenant)
{
	int64		rows = 0;
	ListCell   *lc;

	foreach(lc, call->destinations)
		rows += ((Destination *) lfirst(lc))->counts[tenant].found;
	return rows;
}

/*
 * A tenant without a single row in the archive is a mistake: of the key, or of
 * the archive.
 */
static void
check_all_found(const Rehydrate *call)
{
	DgTenants  *tenants = call->plan->tenants;
	StringInfoData missing;
	int			nmissing = 0;

	initStringInfo(&missing);
	for (int i = 0; i < tenants->n; i++)
	{
		if (rows_of_tenant(call, i) > 0)
			continue;
		if (nmissing++ < 10)
			appendStringInfo(&missing, "%s\"%s\"", nmissing > 1 ? ", " : "", tenants->keys[i]);
	}
	if (nmissing > 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_TENANT_NOT_IN_ARCHIVE),
				 errmsg_plural("%d tenant is not in archive \"%s\"", "%d tenants are not in archive \"%s\"",
							   nmissing, nmissing, call->archive->path),
				 errdetail("There is no row of %s%s in any of %d tables that were searched.",
						   missing.data, nmissing > 10 ? " and others" : "", list_length(call->plan->targets)),
				 errhint("Nothing was restored. Check the key, or take an archive from before the tenant was deleted.")));
}

static void
check_counts(const Rehydrate *call)
{
	ListCell   *lc;

	foreach(lc, call->destinations)
	{
		Destination *destination = lfirst(lc);

		for (int i = 0; i < call->plan->tenants->n; i++)
		{
			Count	   *count = &destination->counts[i];

			if (count->found != count->restored + count->identical + count->skipped)
				ereport(ERROR,
						(errcode(DG_ERRCODE_VERIFICATION_FAILED),
						 errmsg("rows of \"%s\" that were found and restored differ in number",
								get_rel_name(destination->relid))));
		}
	}
}

static void
restore(Rehydrate *call)
{
	int			ntables = dg_archive_table_count(call->archive->archive);
	int			level = dg_rehydrate_settings();

	call->targets = palloc0(sizeof(DgRowsTarget *) * ntables);
	call->by_source = palloc0(sizeof(Destination *) * ntables);
	if (call->into_schema != NULL)
		create_schema(call);
	if (call->with_referenced)
		call->references = dg_references_begin(call->archive, call->plan);
	call->writer = dg_rows_writer_begin(call->on_conflict, dg_bin_capture_row);
	dg_rows_writer_hint(call->writer, call->with_referenced ?
						"Nothing was restored. The archive does not have these rows either, or they are of other tenants: rehydrate those too." :
						"Nothing was restored. Rehydrate the tenants that these rows are of, or bring in rows of shared tables with with_referenced => true.");
	open_targets(call);
	dg_rehydrate_progress_begin(call->archive, call->plan);
	dg_rehydrate_read(call->archive, call->plan, write_row, call);
	check_all_found(call);
	if (call->with_referenced)
		write_referenced_rows(call);
	dg_rehydrate_progress_checking(call->archive);
	dg_rows_writer_end(call->writer);
	check_counts(call);
	if (!call->dry_run && call->into_schema == NULL)
		raise_sequences(call);
	dg_rehydrate_progress_end(call->archive);
	AtEOXact_GUC(true, level);
}

/*
 * The same in a subtransaction that is rolled back, whatever happens.
 */
static void
restore_dry(Rehydrate *call)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old);
	PG_TRY();
	{
		restore(call);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(call->context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(call->context);
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		call->failure = error->detail == NULL ? error->message :
			psprintf("%s: %s", error->message, error->detail);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
}

/* ----------------------------------------------------------------------
 * The report
 * ----------------------------------------------------------------------
 */

/*
 * Puts a line; the count is left out where there is none.
 */
static void
put_line(ReturnSetInfo *rsinfo, Oid relid, const char *tenant, const Count *count, const char *problem)
{
	Datum		values[7] = {0};
	bool		nulls[7] = {true, true, true, true, true, true, true};

	nulls[0] = !OidIsValid(relid);
	values[0] = ObjectIdGetDatum(relid);
	nulls[1] = (tenant == NULL);
	if (tenant != NULL)
		values[1] = CStringGetTextDatum(tenant);
	if (count != NULL)
	{
		memset(&nulls[2], false, 4);
		values[2] = Int64GetDatum(count->found);
		values[3] = Int64GetDatum(count->restored);
		values[4] = Int64GetDatum(count->identical);
		values[5] = Int64GetDatum(count->skipped);
	}
	nulls[6] = (problem == NULL);
	if (problem != NULL)
		values[6] = CStringGetTextDatum(problem);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_destination(ReturnSetInfo *rsinfo, const Rehydrate *call, const Destination *destination)
{
	Oid			relid = call->dry_run ? destination->relid : destination->written;

	for (int i = 0; i < call->plan->tenants->n; i++)
	{
		Count	   *count = &destination->counts[i];
		char	   *problem = NULL;

		if (count->found == 0)
			continue;
		if (count->skipped > 0)
			problem = psprintf(ngettext("%lld row was not restored: a different live row has its key",
										"%lld rows were not restored: different live rows have their keys",
										count->skipped), (long long) count->skipped);
		else if (destination->shared)
			problem = "rows that the tenants' rows refer to and that were gone";
		put_line(rsinfo, relid, destination->shared ? NULL : call->plan->tenants->keys[i], count, problem);
	}
}

static bool
is_destination(const Rehydrate *call, Oid relid)
{
	ListCell   *lc;

	foreach(lc, call->destinations)
	{
		if (((Destination *) lfirst(lc))->relid == relid)
			return true;
	}
	return false;
}

static void
put_report(ReturnSetInfo *rsinfo, const Rehydrate *call)
{
	ListCell   *lc;

	if (call->failure != NULL)
	{
		put_line(rsinfo, InvalidOid, NULL, NULL, call->failure);
		return;
	}
	foreach(lc, call->destinations)
		put_destination(rsinfo, call, lfirst(lc));
	foreach(lc, call->plan->left_alone)
	{
		DgLeftAlone *left = lfirst(lc);

		if (!OidIsValid(left->relid) || !is_destination(call, left->relid))
			put_line(rsinfo, left->relid, NULL, NULL, left->problem);
	}
}

static void
append_to_ledger(const Rehydrate *call)
{
	int64		rows = 0;
	ListCell   *lc;

	foreach(lc, call->destinations)
		rows += ((Destination *) lfirst(lc))->restored;
	dg_ledger_append("rehydrate", psprintf("{\"tenants\": %d, \"rows\": %lld}",
										   call->plan->tenants->n, (long long) rows));
}

/* ----------------------------------------------------------------------
 * The functions
 * ----------------------------------------------------------------------
 */

static void
lock_tenants(const DgTenants *tenants)
{
	List	   *keys = NIL;

	for (int i = 0; i < tenants->n; i++)
		keys = lappend(keys, tenants->keys[i]);
	dg_lock_tenants(keys);
}

/*
 * Refuses a null.
 */
void
dg_require_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

static List *
relations_argument(FunctionCallInfo fcinfo, int n)
{
	List	   *relations = NIL;
	Datum	   *elems;
	bool	   *nulls;
	int			nelems;

	if (PG_ARGISNULL(n))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT,
					  &elems, &nulls, &nelems);
	for (int i = 0; i < nelems; i++)
	{
		if (!nulls[i])
			relations = lappend_oid(relations, DatumGetObjectId(elems[i]));
	}
	if (relations == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("relations names no table"),
				 errhint("Leave it null for all tables that hold tenants' rows.")));
	return relations;
}

static void
read_arguments(FunctionCallInfo fcinfo, Rehydrate *call)
{
	dg_require_argument(fcinfo, 1, "archive");
	dg_require_argument(fcinfo, 3, "on_conflict");
	dg_require_argument(fcinfo, 5, "dry_run");
	dg_require_argument(fcinfo, 6, "with_referenced");
	call->on_conflict = dg_rows_on_conflict(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	if (!PG_ARGISNULL(4))
		call->into_schema = pstrdup(NameStr(*PG_GETARG_NAME(4)));
	call->dry_run = PG_GETARG_BOOL(5);
	call->with_referenced = PG_GETARG_BOOL(6);
	if (call->into_schema != NULL && call->with_referenced)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("with_referenced cannot be combined with into_schema"),
				 errdetail("The tables of a schema made for rehydrated rows have no foreign keys.")));
}

/*
 * The body of both functions.
 */
static Datum
rehydrate(FunctionCallInfo fcinfo, DgTenants *tenants)
{
	Rehydrate	call = {0};
	List	   *relations = relations_argument(fcinfo, 2);
	List	   *mapping = PG_ARGISNULL(7) ? NIL : dg_mapping_parse(PG_GETARG_JSONB_P(7));

	call.context = CurrentMemoryContext;
	read_arguments(fcinfo, &call);
	InitMaterializedSRF(fcinfo, 0);

	call.archive = dg_rehydrate_open(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	call.plan = dg_rehydrate_plan(call.archive, tenants, relations, mapping);
	lock_tenants(tenants);
	if (call.dry_run)
		restore_dry(&call);
	else
	{
		restore(&call);
		append_to_ledger(&call);
	}
	put_report((ReturnSetInfo *) fcinfo->resultinfo, &call);
	dg_rehydrate_close(call.archive);
	return (Datum) 0;
}

/*
 * rehydrate(tenant text, archive text, relations regclass[], on_conflict text,
 *			 into_schema name, dry_run boolean, with_referenced boolean,
 *			 mapping jsonb)
 */
Datum
dg_rehydrate(PG_FUNCTION_ARGS)
{
	char	   *tenant;

	dg_require_argument(fcinfo, 0, "tenant");
	tenant = text_to_cstring(PG_GETARG_TEXT_PP(0));
	return rehydrate(fcinfo, dg_tenants_make(1, &tenant));
}

/*
 * rehydrate(tenants text[], ...)
 */
Datum
dg_rehydrate_tenants(PG_FUNCTION_ARGS)
{
	dg_require_argument(fcinfo, 0, "tenants");
	return rehydrate(fcinfo, dg_tenants_of_array(PG_GETARG_ARRAYTYPE_P(0)));
}
