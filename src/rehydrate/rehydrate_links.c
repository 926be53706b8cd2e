/*
 * rehydrate_links.c
 *		Live rows that have lost links to ON DELETE SET NULL or SET DEFAULT, as
 *		the archive's rows have them.
 *
 * Such a row has the key of the archive's row and not its content; but it is not
 * another one, as the links that it has lost are known (capture_link.c). It counts as
 * identical, and gets its links back at the end of the call, when what they lead
 * to is live again. A later undelete finds nothing left to do.
 */
#include "postgres.h"

#include "access/table.h"
#include "executor/spi.h"
#include "utils/rel.h"

#include "rehydrate/rehydrate_internal.h"
#include "rows/rows.h"
#include "undelete/undelete.h"

/* of which a line of the report gives the numbers */
#define NAMED_DELETIONS 5

static List *
lost_links(DgRestore *call, DgDestination *destination)
{
	MemoryContext old = MemoryContextSwitchTo(call->context);

	if (!destination->links_known)
		destination->lost_links = dg_undelete_links_of_table(destination->relid, true);
	destination->links_known = true;
	MemoryContextSwitchTo(old);
	return destination->lost_links;
}

/*
 * Is a live row the archive's, once it has its links back? Then these are put down
 * to be put back; a DgRowsSame.
 */
bool
dg_rehydrate_links_make_same(void *arg, const DgRow *row, Relation rel, TupleTableSlot *stored, TupleTableSlot *live)
{
	DgRestore  *call = arg;
	DgDestination *destination = row->owner;
	MemoryContext old;
	List	   *links;
	List	   *none;

	/* the archive's row has lost nothing: what it has is what it had */
	if (!dg_undelete_links_same(lost_links(call, destination), rel, stored, 0, &none, live, &links))
		return false;
	old = MemoryContextSwitchTo(call->context);
	call->links = list_concat(call->links, links);
	MemoryContextSwitchTo(old);
	destination->counts[row->tag].relinked++;
	return true;
}

/*
 * Of a table without a key, tells the twins what a live row, whose columns they have
 * asked for, was with the links that it may have lost. A link is of one row.
 */
void
dg_rehydrate_links_alias(DgRestore *call, DgDestination *destination, DgRowsTwins *twins, HeapTuple tuple, TupleDesc desc)
{
	Relation	rel;
	Datum	   *values;
	bool	   *nulls;
	int			column = 1;
	List	   *links;
	ListCell   *lc;

	if (lost_links(call, destination) == NIL)
		return;
	rel = table_open(destination->relid, NoLock);
	values = palloc(sizeof(Datum) * RelationGetNumberOfAttributes(rel));
	nulls = palloc(sizeof(bool) * RelationGetNumberOfAttributes(rel));
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		nulls[i] = true;
		if (!att->attisdropped && att->attgenerated == '\0')
			values[i] = SPI_getbinval(tuple, desc, column++, &nulls[i]);
	}
	links = dg_undelete_links_put(destination->lost_links, rel, PG_INT64_MAX, values, nulls);
	foreach(lc, links)
		((DgLink *) lfirst(lc))->taken = true;
	if (links != NIL)
	{
		MemoryContext old = MemoryContextSwitchTo(call->context);

		dg_rows_twins_alias(twins, tuple, desc, values, nulls, list_copy(links));
		MemoryContextSwitchTo(old);
	}
	table_close(rel, NoLock);
}

/*
 * A live row was taken for the archive's; a DgRowsAlias.
 */
void
dg_rehydrate_links_take(void *arg, const DgRow *row, void *links)
{
	DgRestore  *call = arg;
	MemoryContext old = MemoryContextSwitchTo(call->context);

	call->links = list_concat(call->links, links);
	MemoryContextSwitchTo(old);
	((DgDestination *) row->owner)->counts[row->tag].relinked++;
}

/*
 * Some deletions, each named once, as a person reads them.
 */
static char *
name_deletions(List *deletions)
{
	StringInfoData buf;
	int64		last = 0;
	int			n = 0;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, deletions)
	{
		int64		deletion = *(int64 *) lfirst(lc);

		if (deletion == last)
			continue;
		if (++n <= NAMED_DELETIONS)
			appendStringInfo(&buf, "%s%lld", n > 1 ? ", " : "", (long long) deletion);
		last = deletion;
	}
	return psprintf(ngettext("deletion %s%s", "deletions %s%s", n), buf.data, n > NAMED_DELETIONS ? " and others" : "");
}

/*
 * Keeps a word about rows that stay as they are; a DgLinkTell.
 */
static void
tell_lost(void *arg, Oid relid, List *columns, int64 rows, List *deletions)
{
	DgRestore  *call = arg;
	MemoryContext old = MemoryContextSwitchTo(call->context);
	DgLeftOut  *left = palloc(sizeof(DgLeftOut));
	StringInfoData names;
	ListCell   *lc;

	initStringInfo(&names);
	foreach(lc, columns)
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", (char *) lfirst(lc));
	left->relid = relid;
	left->kind = DG_LEFT_CERTAIN;
	left->problem = psprintf(ngettext("%lld other live row has lost its link (%s) to a row that came back; undelete() of %s puts it back",
									  "%lld other live rows have lost their links (%s) to rows that came back; undelete() of %s puts them back",
									  (unsigned long) rows),
							 (long long) rows, names.data, name_deletions(deletions));
	call->links_left = lappend(call->links_left, left);
	MemoryContextSwitchTo(old);
}

/*
 * Puts the links back. Other rows that have lost links to rows that are back, other
 * tenants' or newer than the archive, are not for this call to change: they are
 * counted. All rows have been written.
 */
void
dg_rehydrate_links_come_back(DgRestore *call, CommandId since)
{
	List	   *relids = NIL;
	ListCell   *lc;

	if (call->into_schema != NULL)
		return;
	dg_rows_writer_flush(call->writer);
	if (call->links != NIL)
		call->links_missing = list_length(call->links) - dg_undelete_restore_these_links(call->writer, call->links);
	foreach(lc, call->destinations)
	{
		DgDestination *destination = lfirst(lc);

		if (destination->restored > 0)
			relids = list_append_unique_oid(relids, destination->relid);
	}
	if (relids != NIL)
		dg_undelete_links_tell(relids, since, tell_lost, call);
}
