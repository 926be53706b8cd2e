/*
 * guard_trigger.c
 *		The triggers that a guarded table carries.
 *
 * They are ordinary triggers, so that \d shows them and pg_dump keeps them:
 *
 *	deletion_guard_capture		AFTER DELETE, statement, with the deleted rows
 *								as a transition table (or without, see
 *								capture_note.c). Does all the work of statements.
 *	deletion_guard_capture_row	AFTER DELETE, row. Set to REPLICA, it works
 *								where no statement runs: in logical
 *								replication's apply.
 *	deletion_guard_truncate		BEFORE TRUNCATE.
 *	deletion_guard_link			AFTER UPDATE, row, on tables with a foreign key
 *								ON DELETE SET NULL or SET DEFAULT: notes the
 *								links that such a key takes (capture_link.c).
 *
 *	deletion_guard_rename		AFTER UPDATE, row, on the tenant table: notes keys that
 *								are changed (capture_rename.c). On its partitions
 *								also AFTER INSERT and DELETE: an UPDATE may move a
 *								row.
 *
 * All but the second fire always: whether a trigger fires is decided for each
 * row when it goes, and for the statement at its end, and in between a
 * statement can change session_replication_role. Two triggers that take turns
 * by that setting would leave the rows to each other.
 *
 * Partitions have triggers of their own, no clones of their root's: statement
 * triggers are not cloned, and a row trigger that is would keep a guarded table
 * from being attached. A partitioned table, which has no rows, has no row
 * trigger.
 *
 * Where rows may leave by a statement on a table that is not guarded, or whose
 * transition table would hold only some of their columns, the row trigger does
 * all the work, set to ALWAYS: inheritance children and parents, hypertables of
 * TimescaleDB with their chunks, and a guarded table that was attached to an
 * unguarded one.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "guard/guard_internal.h"

#define NO_TRIGGER	'\0'

static int
execute_command(const char *sql)
{
	return dg_query(sql, DG_AS_US);
}

/*
 * When the trigger fires, as pg_trigger.tgenabled has it; NO_TRIGGER if there
 * is none of that name.
 */
static char
trigger_state(Oid relid, const char *name)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	char		state = NO_TRIGGER;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[1], Anum_pg_trigger_tgname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(name));
	scan = systable_beginscan(rel, TriggerRelidNameIndexId, true, NULL, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		state = ((Form_pg_trigger) GETSTRUCT(tuple))->tgenabled;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return state;
}

/*
 * TimescaleDB refuses the command for its tables.
 */
static void
set_trigger_state_directly(Oid relid, const char *name, char state)
{
	Relation	rel = table_open(relid, ShareRowExclusiveLock);

	dg_enable_disable_trigger(rel, name, state, ShareRowExclusiveLock);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

static void
set_trigger_state(Oid relid, const char *name, char state)
{
	if (dg_is_hypertable(relid) || OidIsValid(dg_hypertable_of(relid)))
	{
		set_trigger_state_directly(relid, name, state);
		return;
	}
	execute_command(psprintf("ALTER TABLE %s ENABLE %s TRIGGER %s", dg_relation_name(relid),
							 state == TRIGGER_FIRES_ALWAYS ? "ALWAYS" :
							 state == TRIGGER_FIRES_ON_REPLICA ? "REPLICA" : "",
							 quote_identifier(name)));
}

/*
 * Makes a trigger if it is not there, and has it fire when it should. Where
 * nothing has to change, no command is run: ALTER TABLE would lock out writers
 * for nothing.
 */
static void
ensure_trigger(Oid relid, const char *name, const char *definition, char state)
{
	if (trigger_state(relid, name) == NO_TRIGGER)
		execute_command(psprintf(definition, name, dg_relation_name(relid)));
	if (trigger_state(relid, name) != state)
		set_trigger_state(relid, name, state);
}

static void
drop_trigger(Oid relid, const char *name)
{
	if (trigger_state(relid, name) != NO_TRIGGER)
		execute_command(psprintf("DROP TRIGGER %s ON %s", name, dg_relation_name(relid)));
}

/*
 * Must the row trigger do all the work?
 */
static bool
needs_row_trigger(Oid relid)
{
	if (get_rel_relispartition(relid))
		return dg_guard_partition_root(relid) != dg_guard_lookup(relid)->root;
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		return false;
	return has_superclass(relid) || find_inheritance_children(relid, NoLock) != NIL || dg_is_hypertable(relid);
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

/*
 * Makes the triggers of a guarded table, or of a partition of one, what they
 * should be. The caller is connected to SPI. Takes SHARE ROW EXCLUSIVE, but
 * only if something is to be changed.
 */
void
dg_guard_create_triggers(Oid relid)
{
	bool		by_row = needs_row_trigger(relid);

	if (by_row)
		drop_trigger(relid, DG_TRIGGER_CAPTURE);
	else
		ensure_trigger(relid, DG_TRIGGER_CAPTURE,
					   "CREATE TRIGGER %s AFTER DELETE ON %s"
					   " REFERENCING OLD TABLE AS deleted_rows FOR EACH STATEMENT"
					   " EXECUTE FUNCTION deletion_guard_internal.capture_statement()",
					   TRIGGER_FIRES_ALWAYS);

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
	{
		ensure_trigger(relid, DG_TRIGGER_CAPTURE_ROW,
					   "CREATE TRIGGER %s AFTER DELETE ON %s"
					   " FOR EACH ROW EXECUTE FUNCTION deletion_guard_internal.capture_row()",
					   by_row ? TRIGGER_FIRES_ALWAYS : TRIGGER_FIRES_ON_REPLICA);
		if (may_lose_links(relid))
			ensure_trigger(relid, DG_TRIGGER_LINK,
						   "CREATE TRIGGER %s AFTER UPDATE ON %s"
						   " FOR EACH ROW WHEN (deletion_guard_internal.in_referential_action())"
						   " EXECUTE FUNCTION deletion_guard_internal.capture_link()",
						   TRIGGER_FIRES_ALWAYS);
		if (OidIsValid(dg_guard_tenant_table()->relid) && dg_guard_lookup(relid)->root == dg_guard_tenant_table()->relid)
			dg_guard_follow_tenants(relid, true);
	}

	ensure_trigger(relid, DG_TRIGGER_TRUNCATE,
				   "CREATE TRIGGER %s BEFORE TRUNCATE ON %s"
				   " FOR EACH STATEMENT EXECUTE FUNCTION deletion_guard_internal.capture_truncate()",
				   TRIGGER_FIRES_ALWAYS);
}

/*
 * Has changes of keys noted in a table of tenants, or no longer. The caller is
 * connected to SPI. Takes SHARE ROW EXCLUSIVE, or ACCESS EXCLUSIVE, but only if
 * something is to be changed.
 */
void
dg_guard_follow_tenants(Oid relid, bool follow)
{
	if (follow)
		ensure_trigger(relid, DG_TRIGGER_RENAME,
					   get_rel_relispartition(relid) ? "CREATE TRIGGER %s AFTER INSERT OR UPDATE OR DELETE ON %s"
					   " FOR EACH ROW EXECUTE FUNCTION deletion_guard_internal.capture_rename()" :
					   "CREATE TRIGGER %s AFTER UPDATE ON %s"
					   " FOR EACH ROW EXECUTE FUNCTION deletion_guard_internal.capture_rename()",
					   TRIGGER_FIRES_ALWAYS);
	else
		drop_trigger(relid, DG_TRIGGER_RENAME);
}

/*
 * Drops the triggers of a guarded table. The caller is connected to SPI and holds ACCESS EXCLUSIVE.
 */
void
dg_guard_drop_triggers(Oid relid)
{
	drop_trigger(relid, DG_TRIGGER_CAPTURE);
	drop_trigger(relid, DG_TRIGGER_TRUNCATE);
	drop_trigger(relid, DG_TRIGGER_CAPTURE_ROW);
	drop_trigger(relid, DG_TRIGGER_LINK);
	drop_trigger(relid, DG_TRIGGER_RENAME);
}

/* ----------------------------------------------------------------------
 * Are they what they should be?
 * ----------------------------------------------------------------------
 */

static const struct
{
	const char *name;
	const char *function;
	int16		type;
	bool		when;			/* has a WHEN condition */
}			kinds[] = {
	{DG_TRIGGER_CAPTURE, "capture_statement", TRIGGER_TYPE_DELETE, false},
	{DG_TRIGGER_CAPTURE_ROW, "capture_row", TRIGGER_TYPE_ROW | TRIGGER_TYPE_DELETE, false},
	{DG_TRIGGER_TRUNCATE, "capture_truncate", TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_TRUNCATE, false},
	{DG_TRIGGER_LINK, "capture_link", TRIGGER_TYPE_ROW | TRIGGER_TYPE_UPDATE, true},
	{DG_TRIGGER_RENAME, "capture_rename", TRIGGER_TYPE_ROW | TRIGGER_TYPE_UPDATE, false},
};

static char
expected_state(Oid relid, const char *name)
{
	if (strcmp(name, DG_TRIGGER_CAPTURE_ROW) == 0 && !needs_row_trigger(relid))
		return TRIGGER_FIRES_ON_REPLICA;
	return TRIGGER_FIRES_ALWAYS;
}

static int16
expected_type(Oid relid, int kind)
{
	if (strcmp(kinds[kind].name, DG_TRIGGER_RENAME) == 0 && get_rel_relispartition(relid))
		return kinds[kind].type | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_DELETE;
	return kinds[kind].type;
}

/*
 * Is a trigger of ours as dg_guard_create_triggers() makes it? A new trigger
 * ("created") may still lack its state: pg_restore creates it by one command and
 * sets when it fires by the next.
 */
bool
dg_guard_trigger_is_right(HeapTuple tuple, TupleDesc desc, bool created)
{
	Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
	char	   *function = get_func_name(trigger->tgfoid);
	bool		no_when;

	(void) heap_getattr(tuple, Anum_pg_trigger_tgqual, desc, &no_when);
	for (int i = 0; i < lengthof(kinds); i++)
	{
		if (strcmp(NameStr(trigger->tgname), kinds[i].name) != 0)
			continue;
		return function != NULL && strcmp(function, kinds[i].function) == 0 &&
			get_func_namespace(trigger->tgfoid) == dg_objects()->internal_schema &&
			trigger->tgtype == expected_type(trigger->tgrelid, i) && no_when != kinds[i].when &&
			trigger->tgnargs == 0 && trigger->tgattr.dim1 == 0 &&
			(created || trigger->tgenabled == expected_state(trigger->tgrelid, kinds[i].name));
	}
	return false;
}

/*
 * Gives a trigger of a guarded table the state that it should have.
 */
void
dg_guard_enable_trigger(Oid relid, const char *name)
{
	if (trigger_state(relid, name) != NO_TRIGGER)
		set_trigger_state(relid, name, expected_state(relid, name));
}

/*
 * Does a guarded table have the triggers that all of them have? While pg_restore
 * is making them it does not.
 */
bool
dg_guard_is_complete(Oid relid)
{
	if (trigger_state(relid, DG_TRIGGER_TRUNCATE) == NO_TRIGGER)
		return false;
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		return true;

	/* which of the two does the work may be what is about to be changed */
	return trigger_state(relid, DG_TRIGGER_CAPTURE_ROW) == TRIGGER_FIRES_ALWAYS ||
		(trigger_state(relid, DG_TRIGGER_CAPTURE_ROW) != NO_TRIGGER &&
		 trigger_state(relid, DG_TRIGGER_CAPTURE) != NO_TRIGGER);
}
