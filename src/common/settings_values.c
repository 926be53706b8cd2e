/*
 * settings_values.c
 *		What the settings are set to; main/settings.c defines them.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "common/deletion_guard.h"

char	   *dg_reason = NULL;
char	   *dg_actor = NULL;
int			dg_max_rows = 0;
int			dg_max_tenants = 0;
int			dg_tenant_wipes_per_hour = 0;
int			dg_restore_rate = 0;
int			dg_limit_action = DG_LIMIT_ERROR;
int			dg_approvals = 1;
int			dg_clock_skew = 0;
bool		dg_restoring = false;

/* Is the library there from the server's start, in all its processes? */
bool		dg_preloaded = false;

bool		dg_locked = false;
char	   *dg_authorities_file = NULL;

/* How long deleted rows are kept before they may be purged, in seconds; -1 for ever. */
int64		dg_retention = -1;

int			dg_ddl = DG_DDL_REFUSE;
int			dg_publication = DG_DDL_REFUSE;

/*
 * Does "allow" mean that? For superusers only, also those that have taken another
 * role; whoever was granted the setting could otherwise lose rows with it.
 */
static bool
may_allow(void)
{
	return superuser() || superuser_arg(GetSessionUserId());
}

/*
 * May commands take the protection off a guarded table? Not where that takes a
 * token.
 */
bool
dg_ddl_allowed(void)
{
	return dg_ddl == DG_DDL_ALLOW && !dg_locked && may_allow();
}

/*
 * May commands drop a guarded table if what they take is kept first?
 */
bool
dg_ddl_keeps(void)
{
	return dg_ddl == DG_DDL_KEEP || (dg_ddl == DG_DDL_ALLOW && !may_allow());
}

/*
 * May a publication have the extension's own tables?
 */
bool
dg_publication_allowed(void)
{
	return dg_publication == DG_DDL_ALLOW;
}
