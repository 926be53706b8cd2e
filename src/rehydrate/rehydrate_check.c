/*
 * rehydrate_check.c
 *		Has a call found all tenants, and has each row that it found come to something?
 */
#include "postgres.h"

#include "utils/lsyscache.h"

#include "rehydrate/rehydrate_internal.h"

static int64
rows_of_tenant(const DgRestore *call, int tenant)
{
	int64		rows = 0;
	ListCell   *lc;

	foreach(lc, call->destinations)
		rows += ((DgDestination *) lfirst(lc))->counts[tenant].found;
	return rows;
}

/*
 * A tenant without a single row in the archive is a mistake: of the key, or of
 * the archive.
 */
static void
check_all_found(const DgRestore *call)
{
	DgTenants  *tenants = call->plan->tenants;
	StringInfoData missing;
	int			nmissing = 0;

	if (tenants->nobody && rows_of_tenant(call, 0) == 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_TENANT_NOT_IN_ARCHIVE),
				 errmsg("archive \"%s\" has no rows without a tenant", call->archive->path),
				 errdetail("%d tables were searched.", list_length(call->plan->targets)),
				 errhint("Nothing was restored. rehydrate() is for the rows of tenants; tables that have no tenants at all are for pg_restore.")));
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

static bool
all_found(const DgRestore *call)
{
	for (int i = 0; i < call->plan->tenants->n; i++)
	{
		if (rows_of_tenant(call, i) == 0)
			return false;
	}
	return true;
}

/*
 * What was not restored is an error, or in the account.
 */
void
dg_rehydrate_check_left_out(const DgRestore *call)
{
	if (!all_found(call))
		dg_extract_account_refuse_orphans(call->plan);
	dg_extract_account_check(call->plan);
	check_all_found(call);
}

/*
 * Each row that was found has one outcome.
 */
void
dg_rehydrate_check_counts(const DgRestore *call)
{
	ListCell   *lc;

	foreach(lc, call->destinations)
	{
		DgDestination *destination = lfirst(lc);

		for (int i = 0; i < call->plan->tenants->n; i++)
		{
			DgCount    *count = &destination->counts[i];

			if (count->found != count->restored + count->identical + count->skipped)
				ereport(ERROR,
						(errcode(DG_ERRCODE_VERIFICATION_FAILED),
						 errmsg("rows of \"%s\" that were found and restored differ in number",
								get_rel_name(destination->relid))));
		}
	}
}
