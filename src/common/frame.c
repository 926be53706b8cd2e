/*
 * frame.c
 *		The frame at hand, and which statements are the extension's own.
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
#include "common/frame.h"

static DgFrame bottom;

DgFrame    *dg_frame = &bottom;

/*
 * Is the current statement one that the extension runs for itself? Those of
 * its own install script are.
 */
bool
dg_acting(void)
{
	return dg_frame->acting != DG_ACTING_NOT || dg_installing();
}

/*
 * Is the statement that is about to begin one that the extension runs for itself?
 */
bool
dg_acting_next(void)
{
	return dg_frame->acting == DG_ACTING_NEXT || dg_installing();
}

/*
 * Says so, or that it is not, nor what runs now. Returns what dg_acting_resume() wants.
 */
DgActing
dg_acting_set(DgActing acting)
{
	DgActing	before = dg_frame->acting;

	dg_frame->acting = acting;
	return before;
}

/*
 * Undoes dg_acting_set().
 */
void
dg_acting_resume(DgActing before)
{
	dg_frame->acting = before;
}
