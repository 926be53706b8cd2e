/*
 * module.c
 *		Loading the library: settings, caches and hooks.
 *
 * The library may be preloaded, or be loaded in the middle of a statement by
 * the first guard trigger or event trigger that fires in a session; nothing
 * here may rely on having seen the statement's beginning.
 */
#include "deletion_guard.h"

#include "bin.h"
#include "compat.h"
#include "guard.h"
#include "ledger.h"
#include "limit.h"
#include "purge.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/*
 * The server that runs may be older than the one that the library was built
 * for. Better no library than rows that never reach the bin.
 */
static void
check_server(void)
{
	int			version = atoi(GetConfigOption("server_version_num", false, false));

	if (version % 10000 < DG_OLDEST_MINOR)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("deletion_guard needs PostgreSQL %d.%d or later", version / 10000, DG_OLDEST_MINOR),
				 errdetail("This is %s. In earlier minor releases, triggers do not see every row that a MERGE deletes.",
						   GetConfigOption("server_version", false, false)),
				 errhint("Install the latest minor release of PostgreSQL %d.", version / 10000)));
}

void
_PG_init(void)
{
	check_server();
	dg_define_settings();
	dg_objects_init();
	dg_guard_catalog_init();
	dg_guard_hooks_init();
	dg_deletion_init();
	dg_bin_shape_init();
	dg_ledger_init();
	dg_purge_log_init();
	dg_limit_init();
	dg_announce_init();
}
