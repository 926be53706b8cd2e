/*
 * guard_trigger.c
 *		The triggers that a guarded table carries.
 *
 * They are ordinary triggers, so that \d shows them and pg_dump keeps them:
 *
 *	deletion_guard_capture		AFTER DELETE, statement, with the deleted rows
 *								as a transition table. Does all the work of
 *								ordinary sessions.
 *	deletion_guard_capture_row	AFTER DELETE, row. Set to REPLICA, it works
 *								where the first is silent: in logical
 *								replication's apply and under
 *								session_replication_role = replica.
 *	deletion_guard_truncate		BEFORE TRUNCATE, always.
 *	deletion_guard_link			AFTER UPDATE, row, on tables with a foreign key
 *								ON DELETE SET NULL or SET DEFAULT: notes the
 *								links that such a key takes (bin_link.c).
 *
 * PostgreSQL clones row triggers to partitions but not statement triggers, so
 * each partition gets its own of the latter. A table with inheritance children
 * or parents has the row trigger only, set to ALWAYS: a parent's transition
 * table would hold the parent's columns of a child's row.
 */
#include "guard.h"

#include "access/table.h"
#include "access/htup_details.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static int
execute(const char *sql)
{
	return dg_spi_execute(sql, 0, NULL, NULL, NULL);
}

static bool
has_trigger(Oid relid, const char *name)
{
	return OidIsValid(get_trigger_oid(relid, name, true));
}

/*
 * Is the table part of an inheritance tree that is not a partition tree?
 */
static bool
in_inheritance_tree(Oid relid)
{
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE || get_rel_relispartition(relid))
		return false;
	return has_subclass(relid) || has_superclass(relid);
}

static void
create_capture_statement(Oid relid)
{
	if (has_trigger(relid, DG_TRIGGER_CAPTURE))
		return;
	execute(psprintf("CREATE TRIGGER " DG_TRIGGER_CAPTURE " AFTER DELETE ON %s"
					 " REFERENCING OLD TABLE AS deleted_rows FOR EACH STATEMENT"
					 " EXECUTE FUNCTION deletion_guard.capture_statement()",
					 dg_relation_name(relid)));
}

static void
create_capture_row(Oid relid, bool always)
{
	char	   *name = dg_relation_name(relid);

	if (!has_trigger(relid, DG_TRIGGER_CAPTURE_ROW))
		execute(psprintf("CREATE TRIGGER " DG_TRIGGER_CAPTURE_ROW " AFTER DELETE ON %s"
						 " FOR EACH ROW EXECUTE FUNCTION deletion_guard.capture_row()", name));
	execute(psprintf("ALTER TABLE %s ENABLE %s TRIGGER " DG_TRIGGER_CAPTURE_ROW,
					 name, always ? "ALWAYS" : "REPLICA"));
}

static void
create_truncate(Oid relid)
{
	char	   *name = dg_relation_name(relid);

	if (!has_trigger(relid, DG_TRIGGER_TRUNCATE))
		execute(psprintf("CREATE TRIGGER " DG_TRIGGER_TRUNCATE " BEFORE TRUNCATE ON %s"
						 " FOR EACH STATEMENT EXECUTE FUNCTION deletion_guard.capture_truncate()", name));
	execute(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER " DG_TRIGGER_TRUNCATE, name));
}

/*
 * Does a foreign key of the table change its rows when the row they refer to
 * is deleted?
 */
static bool
may_lose_links(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	bool		result = false;
	ListCell   *lc;

	foreach(lc, dg_foreign_keys(rel))
	{
		HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(((ForeignKeyCacheInfo *) lfirst(lc))->conoid));
		char		action = ((Form_pg_constraint) GETSTRUCT(tuple))->confdeltype;

		if (action == FKCONSTR_ACTION_SETNULL || action == FKCONSTR_ACTION_SETDEFAULT)
			result = true;
		ReleaseSysCache(tuple);
	}
	table_close(rel, NoLock);
	return result;
}

static void
create_link(Oid relid)
{
	if (has_trigger(relid, DG_TRIGGER_LINK) || !may_lose_links(relid))
		return;
	execute(psprintf("CREATE TRIGGER " DG_TRIGGER_LINK " AFTER UPDATE ON %s FOR EACH ROW"
					 " WHEN (deletion_guard.in_referential_action())"
					 " EXECUTE FUNCTION deletion_guard.capture_link()", dg_relation_name(relid)));
}

static void
drop_trigger(Oid relid, const char *trigger)
{
	if (has_trigger(relid, trigger))
		execute(psprintf("DROP TRIGGER %s ON %s", quote_identifier(trigger),
						 dg_relation_name(relid)));
}

/*
 * Makes the triggers of a guarded table, or of a partition of one, what they
 * should be. The caller is connected to SPI and holds SHARE ROW EXCLUSIVE.
 */
void
dg_guard_create_triggers(Oid relid)
{
	bool		inherits = in_inheritance_tree(relid);

	if (inherits)
		drop_trigger(relid, DG_TRIGGER_CAPTURE);
	else
		create_capture_statement(relid);
	create_truncate(relid);

	/* a partition's row trigger is a clone of its root's */
	if (!has_trigger(relid, DG_TRIGGER_CAPTURE_ROW) || !get_rel_relispartition(relid))
		create_capture_row(relid, inherits);
	create_link(relid);
}

/*
 * Drops them again. The caller is connected to SPI and holds ACCESS EXCLUSIVE.
 */
void
dg_guard_drop_triggers(Oid relid)
{
	drop_trigger(relid, DG_TRIGGER_CAPTURE);
	drop_trigger(relid, DG_TRIGGER_TRUNCATE);
	if (!get_rel_relispartition(relid))
	{
		drop_trigger(relid, DG_TRIGGER_CAPTURE_ROW);
		drop_trigger(relid, DG_TRIGGER_LINK);
	}
}
