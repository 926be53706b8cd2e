/*
 * rehydrate_run.c
 *		Runs: many tenants in transactions of their own, to be taken up again
 *		where they stopped.
 *
 * A run has a name. The tenants that were rehydrated under it are recorded in
 * the transaction that did it, so that another call under the same name leaves
 * them out. The tenants' locks are taken before the record is read. A run is one
 * of one archive and of certain tables: what was restored out of another, or of
 * others, is not what a call asks for.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "rehydrate/rehydrate_internal.h"

static void
refuse_other(const DgRun *run, const char *tenant, const char *archive)
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
List *
dg_run_leave_out(const DgRun *run, DgTenants *tenants)
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

		dg_spi_execute("SELECT problem, archive, relations IS NULL AND $3 IS NULL OR relations @> $3 AND relations <@ $3"
					   " FROM deletion_guard.rehydration_record WHERE run = $1 AND tenant = $2",
					   3, types, values, run->relations == 0 ? "  n" : NULL);
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
			dg_rows_problem(call, destination, &destination->counts[tenant]);

		if (problem != NULL)
			dg_account_append(&buf, destination->relid, problem);
	}
	foreach(lc, dg_rehydrate_account(call->plan))
	{
		DgLeftOut  *left = lfirst(lc);

		if (left->kind != DG_LEFT_SHARED)
			dg_account_append(&buf, left->relid, left->problem);
	}
	return buf.len > 0 ? buf.data : NULL;
}

/*
 * Records what a call has restored, and what not.
 */
void
dg_run_note(const DgRun *run, const DgRestore *call)
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
		dg_spi_execute("INSERT INTO deletion_guard.rehydration_record (run, tenant, archive, rows, finished_at, problem, relations)"
					   " VALUES ($1, $2, $3, $4, pg_catalog.clock_timestamp(), $5, $6)", 6, types, values, nulls);
	}
	SPI_finish();
}
