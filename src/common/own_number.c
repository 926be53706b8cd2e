/*
 * own_number.c
 *		Numbers for what the extension keeps: deletions, bins, requests, purges, holds.
 *
 * They come from sequences, and whoever may update these, as members of
 * pg_write_all_data may, can set them to any value: back, so that numbers are drawn
 * that were given before, or so far ahead that soon there are none left. So the
 * table that has the numbers is asked which was the last, and one that is not above
 * it, or too far, is not taken: then the sequence is put right.
 *
 * Numbers are drawn one after the other, so whatever a session draws is above what
 * the table had before, and above what the session has drawn. Others may have drawn
 * numbers that are not in the table yet; MARGIN leaves room for them. Who gets a number
 * that is there after all fails by the table's primary key.
 *
 * The sequences begin anew behind their greatest value (CYCLE): that there is no
 * other number is no error then, but a number that is too small.
 */
#include "postgres.h"

#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "common/own_tables.h"

#define MARGIN 1000

static bool
is_right(int64 id, int64 last, int64 leap)
{
	return id > last && id - last <= leap;
}

/*
 * A number was drawn that cannot be right: draws another, and puts the sequence right
 * if that is none either. Only one session does it at a time.
 */
static int64
draw_again(Oid sequence, DgOwnTable table, AttrNumber attnum, int64 leap, int64 known)
{
	LOCKTAG		tag;
	DgRole		caller;
	int64		last;
	int64		id;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, table.relid, sequence, 0);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	last = Max(known, dg_own_last(table, attnum));
	id = nextval_internal(sequence, false);
	if (!is_right(id, last, leap))
	{
		ereport(LOG,
				(errmsg("deletion_guard has put the sequence \"%s\" right", get_rel_name(sequence)),
				 errdetail("Number %lld was drawn, after %lld. Somebody has set it; members of pg_write_all_data may.",
						   (long long) id, (long long) last)));
		caller = dg_role_enter(dg_objects()->owner, 0);
		(void) DirectFunctionCall2(setval_oid, ObjectIdGetDatum(sequence), Int64GetDatum(last + MARGIN));
		dg_role_leave(caller);
		id = nextval_internal(sequence, false);
	}
	(void) LockRelease(&tag, ExclusiveLock, false);
	return id;
}

/*
 * Draws a number for a row of a table of ours: above all that its column has, and
 * above *known, but by no more than "leap". *known is set to it; if *known is
 * negative, the table is asked what there is.
 */
int64
dg_own_draw(Oid sequence, DgOwnTable table, AttrNumber attnum, int64 leap, int64 *known)
{
	int64		id;

	if (*known < 0)
		*known = dg_own_last(table, attnum);
	id = nextval_internal(sequence, false);
	if (!is_right(id, *known, leap))
		id = draw_again(sequence, table, attnum, leap, *known);
	*known = id;
	return id;
}

/*
 * Draws a number for a row of ours that is above all in the table, whatever the
 * sequence was set to. The table is asked each time.
 */
int64
dg_own_next_id(Oid sequence, DgOwnTable table, AttrNumber attnum)
{
	int64		known = -1;

	return dg_own_draw(sequence, table, attnum, DG_LEAP, &known);
}
