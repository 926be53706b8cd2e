/*
 * rehydrate_run.c
 *		Runs: many tenants in transactions of their own, to be taken up again
 *		where they stopped.
 *
 * A run has a name. The tenants that were rehydrated under it are recorded in
 * the transaction that did it, so that another call under the same name leaves
 * them out. The tenants' locks are taken before the record is read.
 */
#include "rehydrate.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

/*
 * Takes away those tenants that the run is done with.
 */
void
dg_run_leave_out(const char *run, DgTenants *tenants)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	int			left = 0;

	SPI_connect();
	for (int i = 0; i < tenants->n; i++)
	{
		Datum		values[] = {CStringGetTextDatum(run), CStringGetTextDatum(tenants->keys[i])};

		dg_spi_execute("SELECT FROM deletion_guard.rehydration_record WHERE run = $1 AND tenant = $2",
					   2, types, values, NULL);
		if (SPI_processed == 0)
			tenants->keys[left++] = tenants->keys[i];
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_finish();
	tenants->n = left;
}

/*
 * Records what a call has restored.
 */
void
dg_run_note(const char *run, const DgRestore *call)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, INT8OID};
	Datum		values[4];

	values[0] = CStringGetTextDatum(run);
	values[2] = CStringGetTextDatum(call->archive->path);
	SPI_connect();
	for (int i = 0; i < call->plan->tenants->n; i++)
	{
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
		dg_spi_execute("INSERT INTO deletion_guard.rehydration_record (run, tenant, archive, rows, finished_at)"
					   " VALUES ($1, $2, $3, $4, pg_catalog.clock_timestamp())", 4, types, values, NULL);
	}
	SPI_finish();
}
