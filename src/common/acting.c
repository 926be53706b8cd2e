/*
 * acting.c
 *		Which statements are the extension's own.
 *
 * The extension's tables refuse every write that it did not make (protect.c). Two
 * ways lead past that: a row written straight into the heap (own_tables.c), and
 * a statement run by dg_query() as DG_AS_US, during which dg_acting() is true. An error
 * cannot leave it true.
 *
 * It is true of that one statement, not of others that run inside it. A
 * superuser may have planted some: in operators of pg_catalog which the
 * statement takes for the server's own, and in event triggers, which our
 * commands do not fire (protect_hooks.c).
 */
#include "postgres.h"

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
 * Is the statement that is about to begin one that the extension runs for itself?
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

/*
 * The statement is over that dg_acting_enter() began.
 */
void
dg_acting_leave(int saved)
{
	acting.depth = saved;
}

/*
 * The next statement is the extension's own or, if not "on", neither that nor
 * what runs from here to dg_acting_resume(), which gets the result.
 */
DgActing
dg_acting_set(bool on)
{
	DgActing	saved = acting;

	acting = (DgActing)
	{
		.on = on
	};
	return saved;
}

/*
 * Undoes dg_acting_set(), whose result it gets.
 */
void
dg_acting_resume(DgActing saved)
{
	acting = saved;
}
