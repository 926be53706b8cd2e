/*
 * capture_total.c
 *		How many rows of how many tenants.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "capture/capture_internal.h"

/*
 * An empty total. Its tenants are the same if they are in rows of a guarded
 * table; InvalidOid: in rows of any.
 */
DgTotal *
dg_capture_total_begin(Oid relid)
{
	DgTotal    *total = palloc0(sizeof(DgTotal));

	total->tenants = dg_guard_textset_of_tenants(CurrentMemoryContext, relid);
	return total;
}

/*
 * Adds rows of a tenant; NULL: of none.
 */
void
dg_capture_total_add(DgTotal *total, const char *tenant, int64 rows)
{
	total->rows += rows;
	if (tenant != NULL)
		(void) dg_guard_textset_add(total->tenants, tenant);
}
