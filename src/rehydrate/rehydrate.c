/*
 * rehydrate.c
 *		rehydrate(): tenants' rows come back from an archive of pg_dump.
 *
 * A call restores all rows that the archive has of its tenants, or fails and
 * restores nothing. It holds the lock of every tenant it concerns (see
 * dg_guard_lock_tenants()), so that it and undeletes or purges of the same tenants
 * follow one another.
 *
 * A dry run does everything in a subtransaction, which is then rolled back: it
 * reports what would have happened, a failure included.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "guard/guard.h"
#include "ledger/ledger.h"
#include "purge/purge.h"
#include "rehydrate/rehydrate_internal.h"
#include "rows/rows.h"

PG_FUNCTION_INFO_V1(dg_rehydrate);
PG_FUNCTION_INFO_V1(dg_rehydrate_tenants);
PG_FUNCTION_INFO_V1(dg_rehydrate_without_tenant);
PG_FUNCTION_INFO_V1(dg_rehydrate_once);

/* ----------------------------------------------------------------------
 * The report
 * ----------------------------------------------------------------------
 */

/*
 * Puts a line; the count is left out where there is none.
 */
static void
put_line(ReturnSetInfo *rsinfo, Oid relid, const char *tenant, const DgCount *count, const char *problem)
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

/*
 * Adds to what a person should know about some rows.
 */
static void
add_problem(StringInfo buf, const char *one, const char *many, int64 rows)
{
	if (rows > 0)
		appendStringInfo(buf, "%s%lld %s", buf->len > 0 ? "; " : "", (long long) rows,
						 rows == 1 ? one : many);
}

/*
 * What a person should know about some rows, palloc'd; NULL if nothing.
 */
static char *
rows_problem(const DgRestore *call, const DgDestination *destination, const DgCount *count)
{
	StringInfoData buf;

	initStringInfo(&buf);
	add_problem(&buf, "row was not restored: a different live row has its key",
				"rows were not restored: different live rows have their keys",
				count->skipped - count->purged - count->suppressed - count->orphaned - count->merged);
	add_problem(&buf, "row was not restored: what it refers to does not exist",
				"rows were not restored: what they refer to does not exist", count->orphaned);
	add_problem(&buf, psprintf("row was purged (%s) and stays away until %s", dg_rehydrate_purges_text(destination, "purge ", ""),
							   dg_rehydrate_purges_text(destination, "annul_purge(", ")")),
				psprintf("rows were purged (%s) and stay away until %s", dg_rehydrate_purges_text(destination, "purge ", ""),
						 dg_rehydrate_purges_text(destination, "annul_purge(", ")")),
				count->purged);
	add_problem(&buf, "row was not restored: the other tenant has its own, and the two are merged", "", count->merged);
	add_problem(&buf, "row was given another key, as its own was taken", "rows were given other keys, as their own were taken",
				count->renumbered);
	add_problem(&buf, "row was suppressed by a trigger", "rows were suppressed by triggers", count->suppressed);
	add_problem(&buf, "live row had lost a link, which it has again", "live rows had lost links, which they have again",
				call->links_missing > 0 ? 0 : count->relinked);
	add_problem(&buf, "live row has lost a link, and not all such links could be put back",
				"live rows have lost links, and not all of these could be put back",
				call->links_missing > 0 ? count->relinked : 0);
	if (!destination->shared)
		add_problem(&buf, psprintf("live row that the archive does not have went to the bin (deletion %lld)", (long long) call->deletion),
					psprintf("live rows that the archive does not have went to the bin (deletion %lld)", (long long) call->deletion),
					dg_rehydrate_extra_rows(call, destination->relid, (int) (count - destination->counts)));
	if (count->note != NULL)
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? "; " : "", count->note);
	dg_extract_append_objects(&buf, &count->objects);
	if (destination->shared && buf.len == 0)
		appendStringInfoString(&buf, "rows that the tenants' rows refer to and that were gone");
	return buf.len > 0 ? buf.data : NULL;
}

static void
put_destination(ReturnSetInfo *rsinfo, const DgRestore *call, const DgDestination *destination)
{
	Oid			relid = call->dry_run ? destination->relid : destination->written;

	for (int i = 0; i < call->plan->tenants->n; i++)
	{
		DgCount    *count = &destination->counts[i];

		if (count->found > 0 || (!destination->shared && dg_rehydrate_extra_rows(call, destination->relid, i) > 0))
			put_line(rsinfo, relid, destination->shared || call->plan->tenants->nobody ? NULL :
					 call->as_tenant != NULL ? call->as_tenant : call->plan->tenants->keys[i],
					 count, rows_problem(call, destination, count));
	}
}

/*
 * Did rows of a table come back, as tenants' or as shared ones?
 */
static bool
is_destination(const DgRestore *call, Oid relid)
{
	ListCell   *lc;

	foreach(lc, call->destinations)
	{
		if (((DgDestination *) lfirst(lc))->relid == relid)
			return true;
	}
	return false;
}

/*
 * What a call has left out, and left as it was.
 */
static List *
account_of_call(const DgRestore *call)
{
	return list_concat_copy(dg_extract_account(call->plan), call->links_left);
}

/*
 * Puts the report of a call. Shared tables that were left alone are no news for
 * each tenant of a run.
 */
static void
put_rehydrate_report(ReturnSetInfo *rsinfo, const DgRestore *call, bool with_shared)
{
	ListCell   *lc;

	if (call->failure != NULL)
		put_line(rsinfo, InvalidOid, NULL, NULL, call->failure);
	else
	{
		foreach(lc, call->destinations)
			put_destination(rsinfo, call, lfirst(lc));
	}
	foreach(lc, account_of_call(call))
	{
		DgLeftOut  *left = lfirst(lc);

		if (left->kind != DG_LEFT_SHARED || (with_shared && !is_destination(call, left->relid)))
			put_line(rsinfo, left->relid, NULL, NULL, left->problem);
	}
}

/*
 * Puts the problems that the run had with tenants that it is done with.
 */
static void
put_done(ReturnSetInfo *rsinfo, List *problems)
{
	ListCell   *lc;

	foreach(lc, problems)
		put_line(rsinfo, InvalidOid, linitial(lfirst(lc)), NULL, lsecond(lfirst(lc)));
}

/*
 * As which tenant rows have come back, for the ledger: it keeps no keys, but whoever
 * knows one can compare.
 */
static char *
as_tenant_json(const DgRestore *call)
{
	uint8		salt[DG_DIGEST_SIZE];
	uint8		digest[DG_DIGEST_SIZE];

	if (call->as_tenant == NULL)
		return "";
	if (!pg_strong_random(salt, sizeof(salt)))
		elog(ERROR, "could not generate a random salt");
	dg_purge_salted_digest(salt, call->as_tenant, digest);
	return psprintf(", \"as_tenant\": {\"salt\": \"%s\", \"digest\": \"%s\"}", dg_hex(salt, sizeof(salt)), dg_hex(digest, sizeof(digest)));
}

static void
append_to_ledger(const DgRestore *call)
{
	int64		rows = 0;
	ListCell   *lc;

	foreach(lc, call->destinations)
		rows += ((DgDestination *) lfirst(lc))->restored;
	dg_counter_add(DG_COUNT_REHYDRATES, 1);
	dg_counter_add(DG_COUNT_ROWS_REHYDRATED, rows);
	dg_ledger_append("rehydrate", psprintf("{\"tenants\": %d, \"rows\": %lld%s}",
										   call->plan->tenants->nobody ? 0 : call->plan->tenants->n, (long long) rows,
										   as_tenant_json(call)));
}

/* ----------------------------------------------------------------------
 * The functions
 * ----------------------------------------------------------------------
 */

/*
 * Reads the argument left_out: is what is left out to be reported, instead of an
 * error?
 */
bool
dg_rehydrate_report_left_out(const char *left_out)
{
	if (strcmp(left_out, "report") != 0 && strcmp(left_out, "error") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("left_out must be error or report, not \"%s\"", left_out)));
	return strcmp(left_out, "report") == 0;
}

/*
 * Reads the argument extra: are live rows that the archive does not have to be
 * deleted?
 */
static bool
deletes_extra(FunctionCallInfo fcinfo, int n)
{
	char	   *extra = text_to_cstring(PG_GETARG_TEXT_PP(n));

	if (strcmp(extra, "keep") != 0 && strcmp(extra, "delete") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("extra must be keep or delete, not \"%s\"", extra)));
	return strcmp(extra, "delete") == 0;
}

/*
 * Reads the arguments, of which the first that all functions have is the archive.
 */
static void
read_arguments(FunctionCallInfo fcinfo, int archive, DgRestore *call)
{
	dg_require_argument(fcinfo, archive, "archive");
	dg_require_argument(fcinfo, archive + 2, "on_conflict");
	dg_require_argument(fcinfo, archive + 4, "dry_run");
	dg_require_argument(fcinfo, archive + 5, "with_referenced");
	dg_require_argument(fcinfo, archive + 7, "fire_triggers");
	dg_require_argument(fcinfo, archive + 8, "left_out");
	dg_require_argument(fcinfo, archive + 9, "extra");
	call->on_conflict = dg_rows_on_conflict(text_to_cstring(PG_GETARG_TEXT_PP(archive + 2)));
	if (!PG_ARGISNULL(archive + 3))
		call->into_schema = pstrdup(NameStr(*PG_GETARG_NAME(archive + 3)));
	call->dry_run = PG_GETARG_BOOL(archive + 4);
	call->with_referenced = PG_GETARG_BOOL(archive + 5);
	call->fire_triggers = PG_GETARG_BOOL(archive + 7);
	call->report = dg_rehydrate_report_left_out(text_to_cstring(PG_GETARG_TEXT_PP(archive + 8)));
	call->delete_extra = deletes_extra(fcinfo, archive + 9);
	if (PG_NARGS() > archive + 12)
	{
		dg_require_argument(fcinfo, archive + 11, "as_tenant");
		dg_require_argument(fcinfo, archive + 12, "renumber");
		call->as_tenant = text_to_cstring(PG_GETARG_TEXT_PP(archive + 11));
		call->renumber = PG_GETARG_BOOL(archive + 12);
	}
	if (call->as_tenant != NULL && call->as_tenant[0] == '\0')
		call->as_tenant = NULL;
	if (!PG_ARGISNULL(archive + 10))
		call->choices = dg_rehydrate_choices(PG_GETARG_JSONB_P(archive + 10));
	if (call->choices != NIL && (call->delete_extra || call->into_schema != NULL || !PG_ARGISNULL(archive + 1)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rows cannot be combined with relations, into_schema or extra => 'delete'"),
				 errdetail("The rows chosen come back, and the tenants' rows that they refer to and that are missing, in whatever table.")));
	if (call->into_schema != NULL && call->delete_extra)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("extra => 'delete' cannot be combined with into_schema"),
				 errdetail("A schema made for rehydrated rows has no others.")));
	if (call->into_schema != NULL && call->with_referenced)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("with_referenced cannot be combined with into_schema"),
				 errdetail("The tables of a schema made for rehydrated rows have no foreign keys.")));
}

/*
 * The tenants of a call, and those rows that have none, if it brings back rows
 * of shared tables.
 */
static void
lock_tenants(const DgRestore *call, List *keys)
{
	if (call->with_referenced)
		keys = lappend(keys, DG_NO_TENANT);
	if (call->as_tenant != NULL)
		keys = lappend(keys, call->as_tenant);
	dg_guard_lock_tenants(keys);
}

/*
 * Does what the call says, and puts the report.
 */
static void
run_and_report(FunctionCallInfo fcinfo, DgRestore *call)
{
	if (call->dry_run)
		dg_rehydrate_restore_try(call);
	else
	{
		dg_rehydrate_restore_run(call);
		append_to_ledger(call);
	}
	put_rehydrate_report((ReturnSetInfo *) fcinfo->resultinfo, call, true);
	dg_extract_close(call->archive);
}

/*
 * The body of all functions; the number of the argument archive tells them apart.
 */
static Datum
rehydrate_tenants(FunctionCallInfo fcinfo, int archive, DgTenants *tenants)
{
	DgRestore	call = {0};
	List	   *relations = dg_extract_relations_argument(fcinfo, archive + 1);
	List	   *mapping = PG_ARGISNULL(archive + 6) ? NIL : dg_extract_mapping_parse(PG_GETARG_JSONB_P(archive + 6));

	call.context = CurrentMemoryContext;
	read_arguments(fcinfo, archive, &call);
	InitMaterializedSRF(fcinfo, 0);
	call.archive = dg_extract_open(text_to_cstring(PG_GETARG_TEXT_PP(archive)));
	call.plan = dg_extract_plan(call.archive, tenants, relations, mapping, call.report);
	/* what else the archive has is left out by choice */
	call.plan->chosen |= call.choices != NIL;
	dg_rehydrate_as_tenant_arguments(&call);
	lock_tenants(&call, dg_extract_plan_tenants(call.plan));
	run_and_report(fcinfo, &call);
	return (Datum) 0;
}

/*
 * rehydrate(tenant text, archive text, relations regclass[], on_conflict text,
 *			 into_schema name, dry_run boolean, with_referenced boolean,
 *			 mapping jsonb, fire_triggers boolean, left_out text, extra text, rows jsonb)
 */
Datum
dg_rehydrate(PG_FUNCTION_ARGS)
{
	char	   *tenant;

	dg_require_argument(fcinfo, 0, "tenant");
	tenant = text_to_cstring(PG_GETARG_TEXT_PP(0));
	return rehydrate_tenants(fcinfo, 1, dg_extract_tenants_make(1, &tenant));
}

/*
 * rehydrate(tenants text[], ...)
 */
Datum
dg_rehydrate_tenants(PG_FUNCTION_ARGS)
{
	dg_require_argument(fcinfo, 0, "tenants");
	return rehydrate_tenants(fcinfo, 1, dg_extract_tenants_of_array(PG_GETARG_ARRAYTYPE_P(0)));
}

/*
 * rehydrate_without_tenant(archive text, ...)
 */
Datum
dg_rehydrate_without_tenant(PG_FUNCTION_ARGS)
{
	return rehydrate_tenants(fcinfo, 0, dg_extract_tenants_nobody());
}

/* ----------------------------------------------------------------------
 * Runs
 *
 * Many tenants in transactions of their own, to be taken up again where they
 * stopped. A run has a name. The tenants that were rehydrated under it are recorded
 * in the transaction that did it, so that another call under the same name leaves
 * them out. The tenants' locks are taken before the record is read. A run is one
 * of one archive and of certain tables: what was restored out of another, or of
 * others, is not what a call asks for.
 * ----------------------------------------------------------------------
 */

typedef struct Run
{
	const char *name;
	const char *archive;
	Datum		relations;		/* regclass[] as the call has it, 0: every
								 * table */
} Run;

static void
refuse_other(const Run *run, const char *tenant, const char *archive)
{
	bool		other = strcmp(run->archive, archive) != 0;

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg(other ? "run \"%s\" has rehydrated tenant \"%s\" out of another archive" :
					"run \"%s\" has rehydrated tenant \"%s\" from other tables", run->name, tenant),
			 errdetail("The archive was \"%s\".", archive),
			 errhint("Give this run another name. What has come back already is identical then.")));
}

/*
 * Takes away those tenants that the run is done with; the problems that it had
 * with them are in the list returned, as "tenant: problem".
 */
static List *
leave_out_done(const Run *run, DgTenants *tenants)
{
	Oid			types[] = {TEXTOID, TEXTOID, REGCLASSARRAYOID};
	MemoryContext context = CurrentMemoryContext;
	List	   *problems = NIL;
	int			left = 0;

	SPI_connect();
	for (int i = 0; i < tenants->n; i++)
	{
		Datum		values[] = {CStringGetTextDatum(run->name), CStringGetTextDatum(tenants->keys[i]), run->relations};
		char	   *problem;
		char	   *same;

		dg_query("SELECT problem, archive, relations IS NULL AND $3 IS NULL OR relations @> $3 AND relations <@ $3"
				 " FROM deletion_guard.rehydration_record WHERE run = $1 AND tenant = $2",
				 DG_AS_US, 3, types, values, run->relations == 0 ? "  n" : NULL);
		if (SPI_processed == 0)
		{
			tenants->keys[left++] = tenants->keys[i];
			continue;
		}
		same = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3);
		if (same == NULL || *same != 't' ||
			strcmp(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2), run->archive) != 0)
			refuse_other(run, tenants->keys[i], SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
		problem = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		if (problem != NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(context);

			problems = lappend(problems, list_make2(pstrdup(tenants->keys[i]), pstrdup(problem)));
			MemoryContextSwitchTo(old);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_finish();
	tenants->n = left;
	return problems;
}

/*
 * What a call has left out of a tenant's rows, or may have, palloc'd; NULL if
 * nothing.
 */
static char *
problem_of_tenant(const DgRestore *call, int tenant)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, call->destinations)
	{
		DgDestination *destination = lfirst(lc);
		char	   *problem = destination->shared ? NULL :
		rows_problem(call, destination, &destination->counts[tenant]);

		if (problem != NULL)
			dg_extract_account_append(&buf, destination->relid, problem);
	}
	foreach(lc, account_of_call(call))
	{
		DgLeftOut  *left = lfirst(lc);

		if (left->kind != DG_LEFT_SHARED)
			dg_extract_account_append(&buf, left->relid, left->problem);
	}
	return buf.len > 0 ? buf.data : NULL;
}

/*
 * Records what a call has restored, and what not.
 */
static void
note_run(const Run *run, const DgRestore *call)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, REGCLASSARRAYOID};
	Datum		values[6];

	values[0] = CStringGetTextDatum(run->name);
	values[2] = CStringGetTextDatum(run->archive);
	values[5] = run->relations;
	SPI_connect();
	for (int i = 0; i < call->plan->tenants->n; i++)
	{
		char	   *problem = problem_of_tenant(call, i);
		char		nulls[] = "      ";
		int64		rows = 0;
		ListCell   *lc;

		foreach(lc, call->destinations)
		{
			DgDestination *destination = lfirst(lc);

			if (!destination->shared)
				rows += destination->counts[i].restored;
		}
		values[1] = CStringGetTextDatum(call->plan->tenants->keys[i]);
		values[3] = Int64GetDatum(rows);
		values[4] = problem == NULL ? (Datum) 0 : CStringGetTextDatum(problem);
		if (problem == NULL)
			nulls[4] = 'n';
		if (run->relations == 0)
			nulls[5] = 'n';
		dg_query("INSERT INTO deletion_guard.rehydration_record (run, tenant, archive, rows, finished_at, problem, relations)"
				 " VALUES ($1, $2, $3, $4, pg_catalog.clock_timestamp(), $5, $6)",
				 DG_AS_US, 6, types, values, nulls);
	}
	SPI_finish();
}

/*
 * rehydrate_once(run text, tenants text[], archive text, relations regclass[],
 *				  on_conflict text, with_referenced boolean, mapping jsonb,
 *				  fire_triggers boolean, left_out text, extra text)
 */
Datum
dg_rehydrate_once(PG_FUNCTION_ARGS)
{
	DgRestore	call = {0};
	List	   *relations = dg_extract_relations_argument(fcinfo, 3);
	List	   *mapping = PG_ARGISNULL(6) ? NIL : dg_extract_mapping_parse(PG_GETARG_JSONB_P(6));
	DgTenants  *tenants;
	Run			run = {0};

	dg_require_argument(fcinfo, 0, "run");
	dg_require_argument(fcinfo, 1, "tenants");
	dg_require_argument(fcinfo, 2, "archive");
	dg_require_argument(fcinfo, 4, "on_conflict");
	dg_require_argument(fcinfo, 5, "with_referenced");
	dg_require_argument(fcinfo, 7, "fire_triggers");
	dg_require_argument(fcinfo, 8, "left_out");
	dg_require_argument(fcinfo, 9, "extra");
	run.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	run.archive = text_to_cstring(PG_GETARG_TEXT_PP(2));
	run.relations = PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3);
	tenants = dg_extract_tenants_of_array(PG_GETARG_ARRAYTYPE_P(1));
	call.on_conflict = dg_rows_on_conflict(text_to_cstring(PG_GETARG_TEXT_PP(4)));
	call.with_referenced = PG_GETARG_BOOL(5);
	call.fire_triggers = PG_GETARG_BOOL(7);
	call.report = dg_rehydrate_report_left_out(text_to_cstring(PG_GETARG_TEXT_PP(8)));
	call.delete_extra = deletes_extra(fcinfo, 9);
	call.context = CurrentMemoryContext;
	InitMaterializedSRF(fcinfo, 0);
	lock_tenants(&call, dg_extract_tenant_list(tenants));
	call.archive = dg_extract_open(run.archive);
	put_done((ReturnSetInfo *) fcinfo->resultinfo, leave_out_done(&run, tenants));
	if (tenants->n == 0)
	{
		dg_extract_close(call.archive);
		return (Datum) 0;
	}
	call.plan = dg_extract_plan(call.archive, tenants, relations, mapping, call.report);
	lock_tenants(&call, dg_extract_plan_tenants(call.plan));
	dg_rehydrate_restore_run(&call);
	append_to_ledger(&call);
	note_run(&run, &call);
	put_rehydrate_report((ReturnSetInfo *) fcinfo->resultinfo, &call, false);
	dg_extract_close(call.archive);
	return (Datum) 0;
}
