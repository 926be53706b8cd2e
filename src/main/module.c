/*
 * module.c
 *		Loading the library: settings, caches and hooks.
 *
 * The library may be preloaded, or be loaded in the middle of a statement by
 * the first guard trigger or event trigger that fires in a session; nothing
 * here may rely on having seen the statement's beginning.
 */
#include "postgres.h"

#include "bin/bin.h"
#include "capture/capture.h"
#include "guard/guard.h"
#include "ledger/ledger.h"
#include "protect/protect.h"
#include "purge/purge.h"
#include "main/main_internal.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	dg_main_define_settings();
	dg_objects_init();
	dg_counter_init();
	dg_guard_catalog_init();
	dg_guard_tenant_init();
	dg_protect_hooks_init();
	dg_capture_deletion_init();
	dg_capture_open_init();
	dg_bin_shape_init();
	dg_capture_rename_init();
	dg_bin_moved_init();
	dg_ledger_init();
	dg_protect_taken_init();
	dg_purge_log_init();
	dg_capture_limit_init();
	dg_capture_announce_init();
}
