/*
 * undelete_same.c
 *		Live rows that are the deleted ones, but for links that ON DELETE SET NULL
 *		or SET DEFAULT has taken.
 *
 * A row may have lost a link before it was deleted, and be there again with it, out
 * of an archive that is older: then the row in the bin is the one without. Or the
 * live row has lost a link since. Neither is another row: it counts as identical.
 * The links that a live row has again are not lost any more; those that it has
 * lost it gets back, if what they lead to is live.
 */
#include "postgres.h"

#include "undelete/undelete_internal.h"

/* The links that rows of a table have lost. */
typedef struct LostLinks
{
	Oid			relid;
	List	   *sets;
} LostLinks;

/*
 * The links that rows of a table have lost, as they are when they are first asked
 * for: a list of DgLinkSet.
 */
List *
dg_undelete_same_links(DgUndelete *call, Oid relid)
{
	MemoryContext old;
	LostLinks  *lost;
	ListCell   *lc;

	foreach(lc, call->lost_links)
	{
		lost = lfirst(lc);
		if (lost->relid == relid)
			return lost->sets;
	}
	old = MemoryContextSwitchTo(call->context);
	lost = palloc(sizeof(LostLinks));
	lost->relid = relid;
	lost->sets = dg_undelete_links_of_table(relid, true);
	call->lost_links = lappend(call->lost_links, lost);
	MemoryContextSwitchTo(old);
	return lost->sets;
}

/*
 * Has the row of the bin come back as the live row that has its key? A DgRowsSame.
 */
bool
dg_undelete_same_but_links(void *arg, const DgRow *row, Relation rel, TupleTableSlot *stored, TupleTableSlot *live)
{
	DgUndelete *call = arg;
	DgSavedPart *part = row->owner;
	List	   *found;
	List	   *missing;
	MemoryContext old;

	if (!dg_undelete_links_same(dg_undelete_same_links(call, part->relation), rel, stored, part->id.deletion, &found, live, &missing))
		return false;
	old = MemoryContextSwitchTo(call->context);
	call->links_found = list_concat(call->links_found, found);
	call->links_missing = list_concat(call->links_missing, missing);
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * A row without a key, which had lost these links, has come back as a live one; a
 * DgRowsAlias.
 */
void
dg_undelete_same_found(void *arg, const DgRow *row, void *links)
{
	DgUndelete *call = arg;
	MemoryContext old = MemoryContextSwitchTo(call->context);

	call->links_found = list_concat(call->links_found, links);
	MemoryContextSwitchTo(old);
}

/*
 * Marks the links that are there, and puts back those that are not; returns how
 * many. What was written so far has been flushed.
 */
int64
dg_undelete_same_end(DgUndelete *call, DgRowsWriter *writer)
{
	dg_undelete_links_found(call->links_found);
	return call->links_missing == NIL ? 0 : dg_undelete_restore_these_links(writer, call->links_missing);
}
