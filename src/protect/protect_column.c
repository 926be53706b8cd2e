/*
 * protect_column.c
 *		deletion_guard.ddl = keep: the values of a column that ALTER TABLE drops.
 *
 * They go to a bin of their own, with what identifies their rows, as a deletion; and
 * into dropped_table goes the SQL that makes the column again and puts them back.
 * What protect_keep.c says of tables holds for columns: each is asked about when it
 * goes. Not kept are the column by which a table's tenants are told, and columns that
 * go with something else (DROP TYPE ... CASCADE): they are refused.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "bin/bin.h"
#include "capture/capture.h"
#include "guard/guard.h"
#include "ledger/ledger.h"
#include "protect/protect_internal.h"

/*
 * Adds the tables, of those that inherit from one, whose column of this name goes
 * along with its.
 */
static List *
add_heirs(List *relids, Oid relid, const char *column)
{
	ListCell   *lc;

	relids = lappend_oid(relids, relid);
	foreach(lc, find_inheritance_children(relid, AccessExclusiveLock))
	{
		HeapTuple	tuple = SearchSysCacheAttName(lfirst_oid(lc), column);
		bool		goes = HeapTupleIsValid(tuple) && !((Form_pg_attribute) GETSTRUCT(tuple))->attislocal &&
		((Form_pg_attribute) GETSTRUCT(tuple))->attinhcount == 1;

		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		if (goes)
			relids = add_heirs(relids, lfirst_oid(lc), column);
	}
	return relids;
}

/*
 * Is there something in the column that only the column has?
 */
static bool
has_own_values(Oid relid, AttrNumber attnum)
{
	return attnum > 0 && get_attgenerated(relid, attnum) == '\0';
}

static bool
is_tenant_column(const DgGuard *guard, const char *column)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();

	return (guard->has_tenant_column && strcmp(NameStr(guard->tenant_column), column) == 0) ||
		(tenants->relid == guard->root && strcmp(NameStr(tenants->key_column), column) == 0);
}

/*
 * Keeps the values of one table, or of one partition; *plan is that of another
 * partition of the same, if there was one. Returns how many.
 */
static int64
keep_values(Oid relid, Relation root, const char *column, DgBinPlan **plan)
{
	Relation	rel = table_open(relid, NoLock);
	AttrNumber	attnum = get_attnum(relid, column);
	int64	   *rows = dg_protect_keep_note(rel, attnum);

	if (rel->rd_rel->relkind == RELKIND_RELATION && dg_protect_keep_count(relid, attnum) > 0)
	{
		*plan = dg_bin_column_plan(dg_guard_lookup(relid), rel, root, get_attnum(RelationGetRelid(root), column), *plan);
		*rows = dg_capture_column(rel, attnum, *plan);
	}
	table_close(rel, NoLock);
	return *rows;
}

/*
 * Writes down how to get the column of an enrolled table back, and its values out of
 * their bin (NULL: there are none).
 */
static void
keep_column_definition(Oid relid, const char *column, const DgBinPlan *plan, int64 rows)
{
	Oid			types[] = {INT8OID, OIDOID, TEXTOID, TEXTOID, INT8OID, OIDOID, TEXTOID};
	Datum		values[] = {plan != NULL ? Int64GetDatum(dg_capture_deletion_current()) : (Datum) 0,
		ObjectIdGetDatum(relid), CStringGetTextDatum(column),
		CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false)), Int64GetDatum(rows),
		ObjectIdGetDatum(plan != NULL ? plan->bin_table : InvalidOid),
	CStringGetTextDatum(psprintf("%s.%s", dg_relation_name(relid), quote_identifier(column)))};

	SPI_connect();
	dg_query("INSERT INTO deletion_guard.dropped_table"
			 " (dropped_id, deletion_id, relation_name, dropped_at, dropped_by, rows, definition)"
			 " SELECT nextval('deletion_guard.dropped_id_seq'), $1, $7, now(), $4, $5,"
			 " deletion_guard_internal.column_definition($2::regclass, $3, $6::regclass, $1)",
			 DG_AS_US, 7, types, values, plan != NULL ? NULL : "n      ");
	SPI_finish();
}

/*
 * Keeps a column of one enrolled table with its partitions: those of relids that
 * are.
 */
static void
keep_column(Oid relid, const char *column, List *relids)
{
	Relation	root = table_open(relid, NoLock);
	DgBinPlan  *plan = NULL;
	int64		rows = 0;
	ListCell   *lc;

	foreach(lc, relids)
	{
		if (dg_guard_lookup(lfirst_oid(lc))->root == relid)
			rows += keep_values(lfirst_oid(lc), root, column, &plan);
	}
	table_close(root, NoLock);
	keep_column_definition(relid, column, plan, rows);
}

/*
 * ALTER TABLE ... DROP COLUMN is about to run.
 */
static void
before_drop_column(AlterTableStmt *stmt, const char *column)
{
	Oid			relid = RangeVarGetRelid(stmt->relation, AccessShareLock, true);
	List	   *relids;
	ListCell   *lc;

	if (!OidIsValid(relid) || !dg_guard_is_guarded(relid) || !dg_class_ownercheck(relid, GetUserId()) ||
		!has_own_values(relid, get_attnum(relid, column)))
		return;
	LockRelationOid(relid, AccessExclusiveLock);
	relids = stmt->relation->inh ? add_heirs(NIL, relid, column) : list_make1_oid(relid);
	foreach(lc, relids)
	{
		DgGuard    *guard = dg_guard_lookup(lfirst_oid(lc));

		dg_guard_require_ordinary(lfirst_oid(lc));
		if (guard->root == lfirst_oid(lc) && !is_tenant_column(guard, column))
			keep_column(lfirst_oid(lc), column, relids);
	}
}

/*
 * A command that is not the extension's is about to run.
 */
void
dg_protect_keep_columns_before(Node *parsetree)
{
	AlterTableStmt *stmt = (AlterTableStmt *) parsetree;
	ListCell   *lc;

	if (!IsA(parsetree, AlterTableStmt) || stmt->objtype != OBJECT_TABLE || !dg_ddl_keeps() || !dg_installed())
		return;
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype == AT_DropColumn)
			before_drop_column(stmt, cmd->name);
	}
}
