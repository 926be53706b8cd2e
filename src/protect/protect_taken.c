/*
 * protect_taken.c
 *		Guarded tables that an extension takes over: they are none of ours any more.
 *
 * An extension that manages tables makes triggers or indexes on those that it takes
 * over, and by then has put the table on its list (ordinary.c). A table with rows is
 * not let go. One without is what CREATE TABLE in an enrolled schema has just made and
 * guarded: its guard is taken off, with a warning and on record, as such a table would not
 * have been guarded had it been there before. That is done when the outermost statement
 * ends, as the table is in use until then.
 *
 * TimescaleDB's hypertables stay guarded where they can be (hypertable.c): when the
 * statement ends, the table and its new chunks get the triggers that they need.
 * Where they cannot, as they are to be compressed, TimescaleDB's list of them
 * tells, once it has changed.
 *
 * Nobody may insist: what extensions do to such tables is not seen here.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "common/deletion_guard.h"
#include "enrol/enrol.h"
#include "guard/guard.h"
#include "ledger/ledger.h"
#include "protect/protect_internal.h"

static List *taken = NIL;		/* OIDs; what a savepoint has undone is looked
								 * at again */

/*
 * Has somebody taken the table over, and is it guarded? *root is the table that was
 * enrolled. odd->what is NULL if it stays guarded.
 */
static bool
is_taken(Oid relid, Oid *root, DgOddity *odd)
{
	DgGuard    *guard;

	/*
	 * most tables that something is made of are not: the extensions' lists
	 * come last
	 */
	if (!dg_installed())
		return false;
	guard = dg_guard_lookup(relid);
	*root = guard->root;
	return guard->guarded && (dg_is_odd(relid, odd) ? odd->managed :
							  dg_is_hypertable(relid) || OidIsValid(dg_hypertable_of(relid)));
}

/*
 * Something was made that belongs to a table, or the table was altered.
 */
void
dg_protect_check_taken(Oid relid)
{
	MemoryContext old;
	DgOddity	odd;
	Oid			root;

	if (!is_taken(relid, &root, &odd) || list_member_oid(taken, root))
		return;
	if (odd.what == NULL ? dg_is_hypertable(relid) && dg_protect_store_has_rows(relid) :
		root != relid || dg_protect_has_rows(relid) || find_inheritance_children(relid, NoLock) != NIL)
		ereport(ERROR,
				(errcode(DG_ERRCODE_GUARDED_OBJECT),
				 errmsg("cannot make table \"%s\" %s: it is guarded against deletion", get_rel_name(relid),
						odd.what != NULL ? odd.what : "a hypertable of TimescaleDB"),
				 errdetail("Rows could then be deleted without going to the recycle bin."),
				 errhint("To give up the protection, call deletion_guard.unguard_table(%s%s) first; that is recorded.%s",
						 quote_literal_cstr(dg_relation_name(root)), dg_locked ? ", tokens" : "",
						 odd.what != NULL ? "" : " A hypertable can be guarded again.")));
	old = MemoryContextSwitchTo(TopMemoryContext);
	taken = lappend_oid(taken, relid);
	MemoryContextSwitchTo(old);
}

/*
 * A hypertable, or a chunk: rows leave it by statements on another table.
 */
static void
follow_parts(Oid relid)
{
	ListCell   *lc;

	SPI_connect();
	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
		dg_guard_create_triggers(lfirst_oid(lc));
	SPI_finish();
}

static void
let_go(Oid relid)
{
	DgOddity	odd;
	Oid			root;

	if (!is_taken(relid, &root, &odd))
		return;
	if (odd.what == NULL)
		follow_parts(relid);
	if (odd.what == NULL || root != relid)
		return;
	table_close(table_open(relid, AccessExclusiveLock), NoLock);
	dg_enrol_remove(relid);
	dg_ledger_append("unguard_table",
					 psprintf("{\"table\": %s, \"is\": %s}", dg_json_string(dg_relation_name(relid)), dg_json_string(odd.what)));
	ereport(WARNING,
			(errmsg("table \"%s\" is not guarded any more: it is %s", get_rel_name(relid), odd.what),
			 errhint("%s", odd.hint)));
}

/*
 * Hypertables that this transaction has made what cannot be guarded, by a command of
 * which nothing was seen: TimescaleDB's hook may be called before ours.
 */
static void
check_hypertables(void)
{
	ListCell   *lc;

	SPI_connect();
	dg_query("SELECT relation::oid FROM deletion_guard.guard", DG_AS_US,.snapshot = GetLatestSnapshot());
	foreach(lc, dg_row_oids(1))
	{
		if (dg_hypertable_is_new(lfirst_oid(lc)))
			dg_protect_check_taken(lfirst_oid(lc));
	}
	SPI_finish();
}

/*
 * An outermost statement ends, or the transaction.
 */
void
dg_protect_taken_finish(void)
{
	bool		pushed = false;
	bool		changed = dg_guard_hypertables_changed();

	if ((taken == NIL && !changed) || !dg_on_duty() || !IsTransactionState())
		return;
	if (!ActiveSnapshotSet())
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		pushed = true;
	}
	if (changed && dg_installed())
		check_hypertables();
	while (taken != NIL)
	{
		Oid			relid = linitial_oid(taken);

		taken = list_delete_first(taken);
		let_go(relid);
	}
	if (pushed)
		PopActiveSnapshot();
}

/*
 * The statement that has loaded the library does not end in our hooks.
 */
static void
at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		dg_protect_taken_finish();
	else if (event == XACT_EVENT_ABORT)
	{
		list_free(taken);
		taken = NIL;
	}
}

/*
 * After the ledger's, so that it is called before: what is appended then is written.
 */
void
dg_protect_taken_init(void)
{
	RegisterXactCallback(at_xact, NULL);
}
