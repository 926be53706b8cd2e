/*
 * capture_limit_ceiling.c
 *		The ceilings' names and values, the most serious first.
 */
#include "postgres.h"

#include "capture/capture_internal.h"

static const struct
{
	int			ceiling;
	const char *name;
	int		   *limit;
}			ceilings[] = {
	{DG_CEILING_EXPECTED, "expect_tenants", NULL},
	{DG_CEILING_WIPES, "tenant_wipes_per_hour", &dg_tenant_wipes_per_hour},
	{DG_CEILING_TENANTS, "max_tenants", &dg_max_tenants},
	{DG_CEILING_ROWS, "max_rows", &dg_max_rows},
};

/*
 * The most serious of some ceilings: its name, and its value in *limit (0
 * where it has none).
 */
const char *
dg_capture_ceiling_name(int exceeded, int *limit)
{
	for (int i = 0; i < lengthof(ceilings); i++)
	{
		if (exceeded & ceilings[i].ceiling)
		{
			*limit = ceilings[i].limit != NULL ? *ceilings[i].limit : 0;
			return ceilings[i].name;
		}
	}
	elog(ERROR, "no ceiling was reached");
	return NULL;
}

/*
 * What a ceiling would do to a deletion, palloc'd.
 */
char *
dg_capture_ceiling_effect(int ceiling)
{
	int			limit;
	const char *name = dg_capture_ceiling_name(ceiling, &limit);

	if (ceiling == DG_CEILING_EXPECTED)
		return psprintf("refused: tenants that deletion_guard.%s does not name", name);
	return psprintf("%s: deletion_guard.%s is %d",
					dg_limit_action == DG_LIMIT_ERROR ? "refused" : "warning", name, limit);
}
