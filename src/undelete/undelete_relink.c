/*
 * undelete_relink.c
 *		Putting back the links that capture_link.c has noted.
 *
 * A row gets its link back if it is there and nobody has given it another link
 * since, and if what the link leads to is live.
 *
 * A link may have to wait: where its row was deleted, too, and comes back in a
 * later call, or where a row is known only by columns that are other lost
 * links. So whatever cannot be put back is tried again when others were.
 *
 * Undeletes of other tenants of the same deletion read the same links. A link
 * is locked when its own row is there, no earlier: then they need not wait for
 * each other's. If one has been marked meanwhile, what is still lost is read again.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "rows/rows.h"
#include "undelete/undelete_internal.h"

/* A row that a link was put back into in the present pass. */
typedef struct TakenRow
{
	Oid			relid;
	ItemPointerData tid;
} TakenRow;

static Datum
int8_array(List *numbers)
{
	Datum	   *elems = palloc(sizeof(Datum) * list_length(numbers));

	for (int i = 0; i < list_length(numbers); i++)
		elems[i] = Int64GetDatum(*(int64 *) list_nth(numbers, i));
	return dg_array(elems, list_length(numbers), INT8OID);
}

/*
 * Links that are still lost, of these deletions, or waiting for rows of these
 * tables or for links of rows without a key; in the current context. A link
 * waits for what was deleted before it began to wait: a row that was deleted
 * later is another, even if it has the key.
 */
static List *
read_links(List *deletions, List *relids)
{
	Oid			types[] = {INT8ARRAYOID, OIDARRAYOID};
	Datum		values[] = {int8_array(deletions), dg_oid_array(relids)};
	List	   *links;

	links = dg_undelete_links_read("deletion_id = ANY ($1) AND waiting_since IS NULL"
								   " OR waiting_since IS NOT NULL AND (relation = ANY ($2)"
								   " OR relation IN (SELECT coalesce(pg_partition_root(c.conrelid), c.conrelid)"
								   "  FROM pg_constraint c WHERE c.contype = 'f' AND c.confrelid = ANY ($2)) OR relation IN"
								   "  (SELECT l.relation FROM deletion_guard.deletion_link l WHERE l.deletion_id = ANY ($1)))"
								   " AND EXISTS (SELECT 1 FROM unnest($1) d WHERE d BETWEEN deletion_id AND waiting_since)",
								   2, types, values);
	dg_undelete_links_rename(links);
	return links;
}

/* ----------------------------------------------------------------------
 * Links
 * ----------------------------------------------------------------------
 */

/*
 * Locks a link as it was read; false if another undelete has put it back since,
 * or made it wait.
 */
static bool
claim_link(DgLink *link)
{
	Oid			types[] = {TIDOID, INT8OID, BOOLOID};
	Datum		values[] = {PointerGetDatum(&link->tid), Int64GetDatum(link->deletion), BoolGetDatum(link->waiting)};
	bool		isnull;

	dg_query("SELECT ctid FROM deletion_guard.deletion_link"
			 " WHERE ctid = $1 AND deletion_id = $2 AND NOT restored"
			 " AND (waiting_since IS NOT NULL) = $3 FOR NO KEY UPDATE", DG_AS_US, 3, types, values);
	link->stale = (SPI_processed == 0);
	if (!link->stale)
		link->tid = *(ItemPointer) DatumGetPointer(dg_row_datum(0, 1, &isnull));
	return !link->stale;
}

/*
 * Keeps what has become of a link: put back, or waiting for its row.
 */
static void
mark_link(DgLink *link)
{
	Oid			types[] = {TIDOID, BOOLOID};
	Datum		values[] = {PointerGetDatum(&link->tid), BoolGetDatum(link->restored)};
	bool		isnull;

	dg_query("UPDATE deletion_guard.deletion_link SET restored = $2, waiting_since ="
			 " CASE WHEN NOT $2 THEN (SELECT last_value FROM deletion_guard.deletion_id_seq) END"
			 " WHERE ctid = $1 RETURNING ctid", DG_AS_US, 2, types, values);
	if (SPI_processed != 1)
		elog(ERROR, "link of a deletion is gone");
	link->tid = *(ItemPointer) DatumGetPointer(dg_row_datum(0, 1, &isnull));
	link->waiting = true;
}

/*
 * Marks links that are not lost any more: live rows have them again.
 */
void
dg_undelete_links_found(List *links)
{
	ListCell   *lc;

	SPI_connect();
	foreach(lc, links)
	{
		DgLink	   *link = lfirst(lc);

		link->restored = claim_link(link);
		if (link->restored)
			mark_link(link);
	}
	SPI_finish();
}

/*
 * The next link, from the n-th of a set on, that names the same row and can be
 * put back; NULL if there is none.
 */
static DgLink *
next_pending(DgLinkSet *set, int n)
{
	const char *row = ((DgLink *) list_nth(set->links, n))->row;

	for (; n < list_length(set->links); n++)
	{
		DgLink	   *link = list_nth(set->links, n);

		if (strcmp(link->row, row) != 0)
			break;
		if (dg_undelete_link_is_pending(link))
			return link;
	}
	return NULL;
}

static void
restore_link(DgLinkSet *set, DgRowsTarget *target, DgLink *link, TakenRow *row)
{
	Datum	   *values = palloc(sizeof(Datum) * set->n);
	bool	   *nulls = palloc0(sizeof(bool) * set->n);

	for (int i = 0; i < set->n; i++)
		values[i] = dg_undelete_link_value(set, set->attnums[i], list_nth(link->before, i));
	if (!claim_link(link))
		return;
	link->restored = !link->blocked && dg_rows_writer_change(target, row->relid, &row->tid, set->attnums, values, nulls, set->n);
	link->refused = !link->restored;
	if (link->restored)
		mark_link(link);
}

/* What is put back in a pass. */
typedef struct Pass
{
	DgRowsTarget *target;
	HTAB	   *taken;
	int64		restored;
} Pass;

/*
 * Puts a link back into a row that was found, into each row one: it is another
 * version then. A DgLinkSink.
 */
static void
restore_found(void *arg, DgLinkSet *set, int n, Oid relid, ItemPointer tid)
{
	Pass	   *pass = arg;
	TakenRow	row = {0};
	DgLink	   *link = next_pending(set, n);

	row.relid = relid;
	row.tid = *tid;
	if (link == NULL || hash_search(pass->taken, &row, HASH_FIND, NULL) != NULL)
		return;
	restore_link(set, pass->target, link, &row);
	if (!link->restored)
		return;
	(void) hash_search(pass->taken, &row, HASH_ENTER, NULL);
	pass->restored++;
}

/*
 * Tries the links of a set; returns how many were put back. Others whose parents
 * are live begin to wait.
 */
static int64
restore_set(DgLinkSet *set, DgRowsTarget *target, HTAB *taken)
{
	Pass		pass = {target, taken, 0};
	ListCell   *lc;

	dg_undelete_links_find_parents(set, InvalidCommandId);
	dg_undelete_links_find_rows(set, true, restore_found, &pass);
	SPI_connect();
	foreach(lc, set->links)
	{
		DgLink	   *link = lfirst(lc);

		if ((dg_undelete_link_is_pending(link) || link->refused) && !link->waiting && claim_link(link))
			mark_link(link);
	}
	SPI_finish();
	return pass.restored;
}

static DgRowsTarget *
open_linked_table(DgRowsWriter *writer, DgLinkSet *set)
{
	Relation	rel = table_open(set->relation, RowExclusiveLock);

	dg_rows_require_update(rel);
	table_close(rel, NoLock);
	return dg_rows_writer_target(writer, set->relation, NULL, 0);
}

/*
 * Says so where links stay lost.
 */
static void
warn_of_lost(const DgLinkSet *set)
{
	ereport(WARNING,
			(errmsg("links that ON DELETE SET NULL or SET DEFAULT took from rows of \"%s\" stay lost: %s",
					get_rel_name(set->relation), set->problem),
			 errhint("Roll back, give the table its column back with the values, and call again.")));
}

static void
warn_of_refused(const DgLinkSet *set)
{
	int64		refused = 0;
	ListCell   *lc;

	foreach(lc, set->links)
		refused += ((DgLink *) lfirst(lc))->refused;
	if (refused > 0)
		ereport(WARNING,
				(errmsg_plural("%lld link that ON DELETE SET NULL or SET DEFAULT took from a row of \"%s\" stays lost",
							   "%lld links that ON DELETE SET NULL or SET DEFAULT took from rows of \"%s\" stay lost",
							   (unsigned long) refused, (long long) refused, get_rel_name(set->relation)),
				 errdetail("With its link a row would have the key of another, would refer by another foreign key to what does not exist, or would have to move to another partition while rows refer to it."),
				 errhint("Roll back, remove what is in the way, and call again. Or give the rows their links by hand: deletion_guard.deletion_link has what they were.")));
}

/*
 * Opens the tables of sets that can be put back, one list for the other.
 */
static List *
open_linked_tables(DgRowsWriter *writer, List **sets, bool warn)
{
	List	   *targets = NIL;
	ListCell   *lc;

	foreach(lc, *sets)
	{
		DgLinkSet  *set = lfirst(lc);

		if (set->problem == NULL)
		{
			targets = lappend(targets, open_linked_table(writer, set));
			continue;
		}
		if (warn)
			warn_of_lost(set);
		*sets = foreach_delete_current(*sets, lc);
	}
	return targets;
}

/*
 * Tries every link until no more can be put back; returns how many were.
 * *stale says whether another undelete has marked some of them.
 */
static int64
restore_passes(DgRowsWriter *writer, List *sets, bool *stale)
{
	HASHCTL		ctl = {.keysize = sizeof(TakenRow),.entrysize = sizeof(TakenRow),.hcxt = CurrentMemoryContext};
	List	   *targets = open_linked_tables(writer, &sets, !*stale);
	int64		restored = 0;
	int64		more;
	ListCell   *lc;
	ListCell   *lc2;

	do
	{
		HTAB	   *taken = hash_create("deletion_guard rows", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

		more = 0;
		forboth(lc, sets, lc2, targets)
			more += restore_set(lfirst(lc), lfirst(lc2), taken);
		restored += more;
		hash_destroy(taken);
	} while (more > 0);

	*stale = false;
	foreach(lc, sets)
	{
		warn_of_refused(lfirst(lc));
		foreach(lc2, ((DgLinkSet *) lfirst(lc))->links)
			* stale |= ((DgLink *) lfirst(lc2))->stale;
	}
	return restored;
}

/*
 * Puts back the links that deletions took, as far as what they lead to is live
 * again, and those that wait for rows of the tables given. Returns how many.
 * What was written so far must be flushed; foreign keys are checked when the
 * writer ends. The caller needs UPDATE on the tables.
 */
int64
dg_undelete_restore_links(DgRowsWriter *writer, List *deletions, List *relids)
{
	int			nestlevel = dg_canonical_input_begin();
	bool		stale = false;
	int64		restored = 0;

	do
		restored += restore_passes(writer, dg_undelete_links_by_set(read_links(deletions, relids)), &stale);
	while (stale);
	AtEOXact_GUC(true, nestlevel);
	return restored;
}

/*
 * Puts back links that were read before, each of a live row; returns how many. What
 * another call has put back meanwhile is not counted.
 */
int64
dg_undelete_restore_these_links(DgRowsWriter *writer, List *links)
{
	int			nestlevel = dg_canonical_input_begin();
	bool		stale = false;
	int64		restored = restore_passes(writer, dg_undelete_links_by_set(links), &stale);

	AtEOXact_GUC(true, nestlevel);
	return restored;
}
