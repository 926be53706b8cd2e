/*
 * store.c
 *		Statements that write the extension's own tables.
 *
 * The tables refuse every write that the extension did not make (see
 * protect.c). Two ways lead past that: a row written straight into the
 * heap (own_tables.c), and a statement run by dg_spi_execute(), during which
 * dg_acting() is true. An error cannot leave it true.
 *
 * It is true of that one statement, not of others that run inside it. A
 * superuser may have planted some: in operators of pg_catalog which the
 * statement takes for the server's own, and in event triggers, which our
 * commands do not fire (protect_hooks.c).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "common/deletion_guard.h"

static DgActing acting;

/*
 * Is the current statement one that the extension runs for itself? Those of
 * its own install script are.
 */
bool
dg_acting(void)
{
	return (acting.on && acting.depth <= 1) || dg_installing();
}

/*
 * The same of the statement that is about to begin.
 */
bool
dg_acting_next(void)
{
	return (acting.on && acting.depth == 0) || dg_installing();
}

/*
 * Between this and dg_acting_leave(), which gets the result, a statement runs or
 * is planned. What begins in between is another statement, inside it.
 */
int
dg_acting_enter(void)
{
	return acting.depth++;
}

void
dg_acting_leave(int saved)
{
	acting.depth = saved;
}

/*
 * From here to dg_acting_resume() nothing that runs is the extension's own.
 */
DgActing
dg_acting_suspend(void)
{
	DgActing	saved = acting;

	acting = (DgActing) {0};
	return saved;
}

void
dg_acting_resume(DgActing saved)
{
	acting = saved;
}

/*
 * Runs one statement as the extension's owner, with a search_path of
 * pg_catalog only. The caller is connected to SPI. Returns SPI's code; an
 * unexpected one is an error.
 */
int
dg_spi_execute(const char *sql, int nargs, Oid *argtypes, Datum *values, const char *nulls)
{
	DgRole		caller = dg_role_enter(dg_objects()->owner, 0);
	DgActing	saved = acting;
	volatile int ret = 0;

	(void) set_config_option("default_tablespace", "", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	acting = (DgActing) {.on = true};
	PG_TRY();
	{
		ret = SPI_execute_with_args(sql, nargs, argtypes, values, nulls, false, 0);
	}
	PG_FINALLY();
	{
		acting = saved;
	}
	PG_END_TRY();

	dg_role_leave(caller);
	if (ret < 0)
		elog(ERROR, "internal statement failed: %s: %s", SPI_result_code_string(ret), sql);
	return ret;
}
