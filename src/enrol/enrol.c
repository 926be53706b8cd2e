/*
 * enrol.c
 *		SQL functions that enrol tables: set_tenant_table(), guard_table(); and
 *		what unguard_table() (purge_unguard.c) does.
 *
 * Only the owner of a table may enrol it. The registries are written and the
 * triggers made in the name of the extension's owner.
 *
 * Locks: SHARE ROW EXCLUSIVE on the table and its partitions, as CREATE TRIGGER
 * takes it (readers go on, writers wait); ACCESS EXCLUSIVE to unguard.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "bin/bin.h"
#include "capture/capture.h"
#include "common/deletion_guard.h"
#include "enrol/enrol_internal.h"
#include "ledger/ledger.h"

PG_FUNCTION_INFO_V1(dg_set_tenant_table);
PG_FUNCTION_INFO_V1(dg_guard_table);
PG_FUNCTION_INFO_V1(dg_guard_new_table);

static void
require_column(Relation rel, const char *column)
{
	if (get_attnum(RelationGetRelid(rel), column) > 0)
	{
		dg_guard_require_stored(RelationGetRelid(rel), column);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of relation \"%s\" does not exist",
					column, RelationGetRelationName(rel)),
			 errhint("Name a column of %s; \\d %s lists them.",
					 dg_relation_name(RelationGetRelid(rel)),
					 dg_relation_name(RelationGetRelid(rel)))));
}

/*
 * Refuses who does not own the table.
 */
void
dg_enrol_check_owner(Relation rel)
{
	if (!dg_class_ownercheck(RelationGetRelid(rel), GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(rel->rd_rel->relkind),
					   RelationGetRelationName(rel));
}

static bool
refuse_relation(Relation rel, int elevel, const char *why, const char *hint)
{
	ereport(elevel,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot guard \"%s\": %s", RelationGetRelationName(rel), why),
			 errhint("%s", hint)));
	return false;
}

/*
 * Refuses what cannot be guarded, with the reason and the way out; at a lower
 * level than ERROR, returns false. The relation may be of any kind, an index too.
 */
bool
dg_enrol_require(Relation rel, int elevel)
{
	char		relkind = rel->rd_rel->relkind;
	Oid			nspid = RelationGetNamespace(rel);
	DgOddity	odd;

	if (IsCatalogRelation(rel) || nspid == dg_objects()->schema || nspid == dg_objects()->bin_schema)
		return refuse_relation(rel, elevel, "it is a system table",
							   "Tables of PostgreSQL and of deletion_guard itself are not guarded.");
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		return refuse_relation(rel, elevel, "it is a temporary table",
							   "Its rows end with the session; there is nothing to guard.");
	if (relkind == RELKIND_VIEW || relkind == RELKIND_MATVIEW)
		return refuse_relation(rel, elevel, "it is a view",
							   "Guard the tables beneath it: what is deleted through the view is kept there.");
	if (dg_is_odd(RelationGetRelid(rel), &odd))
		return refuse_relation(rel, elevel, psprintf("it is %s", odd.what), odd.hint);
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		return refuse_relation(rel, elevel, "it is not a table", "Only tables and partitioned tables hold rows to guard.");
	if (dg_is_part(RelationGetRelid(rel)))
		return refuse_relation(rel, elevel, rel->rd_rel->relispartition ? "it is a partition" : "it is a chunk of a hypertable",
							   psprintf("Guard %s: that covers all parts of it, present and future.",
										dg_relation_name(dg_guard_partition_root(RelationGetRelid(rel)))));
	if (RelationGetNumberOfAttributes(rel) > MaxHeapAttributeNumber - DG_BIN_COLUMNS)
		return refuse_relation(rel, elevel, "it has too many columns",
							   psprintf("The bin needs %d columns of its own; a table may have %d in all, dropped ones included.",
										DG_BIN_COLUMNS, MaxHeapAttributeNumber));
	return true;
}

/*
 * Does a crash empty the table, or a partition of it?
 */
bool
dg_enrol_is_unlogged(Oid relid)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		if (get_rel_persistence(lfirst_oid(lc)) == RELPERSISTENCE_UNLOGGED)
			return true;
	}
	return false;
}

/* ----------------------------------------------------------------------
 * The registries
 * ----------------------------------------------------------------------
 */

static void
register_guard(Oid relid, const DgTenantSource *source)
{
	Oid			types[] = {REGCLASSOID, NAMEOID, NAMEARRAYOID, TEXTOID, TEXTOID};
	Datum		values[5] = {ObjectIdGetDatum(relid)};
	char		nulls[5] = {' ', 'n', 'n', ' ', 'n'};

	if (source->column != NULL)
	{
		values[1] = DirectFunctionCall1(namein, CStringGetDatum(source->column));
		nulls[1] = ' ';
	}
	if (source->path != NIL || source->steps != NIL)
	{
		values[2] = dg_name_array(source->path);
		nulls[2] = ' ';
	}
	if (source->tenant != NULL)
	{
		values[4] = CStringGetTextDatum(source->tenant);
		nulls[4] = ' ';
	}
	values[3] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));

	dg_query("INSERT INTO deletion_guard.guard AS g"
			 " (relation, tenant_column, tenant_path, guarded_at, guarded_by, tenant)"
			 " VALUES ($1, $2, $3, now(), $4, $5)"
			 " ON CONFLICT (relation) DO UPDATE SET tenant_column = EXCLUDED.tenant_column,"
			 " tenant_path = EXCLUDED.tenant_path, tenant = EXCLUDED.tenant",
			 DG_AS_US, 5, types, values, nulls);
	dg_enrol_register_steps(relid, source->steps);
	dg_enrol_forget_left(relid);
	dg_guard_changed(relid);
}

/*
 * The tables to guard with one: its partitions, or its inheritance children
 * but for temporary ones, whose rows end with their session. Each is locked
 * before those below it are looked for, so that none can be added meanwhile.
 */
static List *
members_to_guard(Oid relid)
{
	List	   *members = NIL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, ShareRowExclusiveLock, NULL))
	{
		if (get_rel_persistence(lfirst_oid(lc)) != RELPERSISTENCE_TEMP)
			members = lappend_oid(members, lfirst_oid(lc));
	}
	return members;
}

/*
 * Guards a table that has been checked, with its partitions, or its
 * inheritance children, which become guarded tables of their own. The caller
 * is connected to SPI, and holds SHARE ROW EXCLUSIVE on the table but does not
 * have it open: it is altered.
 */
void
dg_enrol_table(Oid relid, const DgTenantSource *source)
{
	bool		parts = dg_has_parts(relid);
	List	   *relids = members_to_guard(relid);
	Oid			odd_member = relid;
	DgOddity	odd;
	ListCell   *lc;

	if (source->column != NULL)
		dg_guard_require_stored(relid, source->column);
	dg_capture_balance_look();
	if (dg_has_odd_member(&odd_member, &odd))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot guard \"%s\": its %s \"%s\" is %s", get_rel_name(relid),
						parts ? "partition" : "child", get_rel_name(odd_member), odd.what),
				 errhint("Detach it first. %s", odd.hint)));

	/*
	 * the root comes first: which triggers its partitions need is decided by
	 * its entry
	 */
	foreach(lc, relids)
	{
		Oid			member = lfirst_oid(lc);

		if (member == relid || !parts)
			register_guard(member, source);
		dg_guard_create_triggers(member);
		dg_bin_follow_row_security(member);
	}
	list_free(relids);
	CommandCounterIncrement();
	dg_capture_balance_look();
}

/*
 * A table may take the place of a dropped one of the same name, as it does in
 * a restore with --clean. Tells how to give it what is in the bin, and gives
 * it the lost links. Both for superusers only: anybody else might make a
 * table of that name to get at what the old one held.
 */
static void
inherit_from_dropped(Oid relid)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[2];

	if (!superuser())
		return;
	values[0] = ObjectIdGetDatum(relid);
	values[1] = CStringGetTextDatum(dg_relation_name(relid));
	dg_query("UPDATE deletion_guard.deletion_link l SET relation = $1, relation_name = NULL"
			 " WHERE l.relation = 0 AND l.relation_name = $2", DG_AS_US, 2, types, values);
	dg_query("SELECT FROM deletion_guard.bin b WHERE b.relation = 0 AND b.relation_name = $2"
			 " AND EXISTS (SELECT FROM deletion_guard.deletion_part p"
			 " WHERE p.bin_id = b.bin_id AND p.rows > p.restored + p.purged)", DG_AS_US, 2, types, values);
	if (SPI_processed > 0)
		ereport(NOTICE,
				(errmsg("a table \"%s\" was dropped while the bin held rows of it", get_rel_name(relid)),
				 errhint("If this table takes its place: SELECT deletion_guard.adopt_bin(bin_table, %s) FROM deletion_guard.bin WHERE relation = 0 AND relation_name = %s.",
						 quote_literal_cstr(dg_relation_name(relid)), quote_literal_cstr(dg_relation_name(relid)))));
}

/*
 * What somebody enrols goes into the ledger. What ddl_end() enrols later
 * because of that does not.
 */
void
dg_enrol_record(Oid relid)
{
	ListCell   *lc;

	foreach(lc, members_to_guard(relid))
		inherit_from_dropped(lfirst_oid(lc));
	dg_ledger_append("guard_table",
					 psprintf("{\"table\": %s}", dg_json_string(dg_relation_name(relid))));
}

/* ----------------------------------------------------------------------
 * set_tenant_table
 * ----------------------------------------------------------------------
 */

/*
 * The key must identify one tenant: a unique index on that column alone.
 */
static void
require_unique_key(Relation rel, const char *column)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), column);
	List	   *indexes = RelationGetIndexList(rel);
	bool		unique = false;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (form->indisunique && form->indisvalid && form->indnkeyatts == 1 &&
			form->indkey.values[0] == attnum && RelationGetIndexPredicate(index) == NIL)
			unique = true;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);

	if (!unique)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("column \"%s\" of \"%s\" does not identify a tenant",
						column, RelationGetRelationName(rel)),
				 errdetail("There is no unique index on that column alone."),
				 errhint("Name the column that is the tenant's key, or make it unique.")));
}

/*
 * Has changes of keys noted in a table and its partitions, or no longer; the table
 * may be gone.
 */
static void
follow_tenants(Oid relid, bool follow)
{
	ListCell   *lc;

	if (!OidIsValid(relid) || get_rel_name(relid) == NULL)
		return;
	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		char		relkind = get_rel_relkind(lfirst_oid(lc));

		if (relkind == RELKIND_RELATION && get_rel_persistence(lfirst_oid(lc)) != RELPERSISTENCE_TEMP)
			dg_guard_follow_tenants(lfirst_oid(lc), follow);
	}
}

/*
 * set_tenant_table(tenant_table regclass, key_column name, name_column name,
 *					contact_column name) -> void
 */
Datum
dg_set_tenant_table(PG_FUNCTION_ARGS)
{
	Oid			types[] = {REGCLASSOID, NAMEOID, NAMEOID, NAMEOID};
	Datum		values[4];
	char		nulls[4];
	Relation	rel;
	Oid			relid;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant_table and key_column must not be null")));

	relid = PG_GETARG_OID(0);
	rel = relation_open(relid, ShareRowExclusiveLock);
	dg_enrol_check_owner(rel);
	dg_guard_publication_check("name a tenant table");
	(void) dg_enrol_require(rel, ERROR);
	if (dg_is_hypertable(relid))
		(void) refuse_relation(rel, ERROR, "a hypertable cannot be the tenant table", "Keep the list of tenants in an ordinary table.");
	for (int i = 1; i < 4; i++)
	{
		if (!PG_ARGISNULL(i))
			require_column(rel, NameStr(*PG_GETARG_NAME(i)));
	}
	require_unique_key(rel, NameStr(*PG_GETARG_NAME(1)));

	for (int i = 0; i < 4; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	table_close(rel, NoLock);	/* it is altered */
	SPI_connect();
	if (dg_guard_tenant_table()->relid != relid)
		follow_tenants(dg_guard_tenant_table()->relid, false);
	dg_query("DELETE FROM deletion_guard.tenant_table", DG_AS_US);
	dg_query("INSERT INTO deletion_guard.tenant_table"
			 " (relation, key_column, name_column, contact_column)"
			 " VALUES ($1, $2, $3, $4)", DG_AS_US, 4, types, values, nulls);
	dg_guard_tenant_table_changed();
	follow_tenants(relid, true);
	dg_bin_follow_row_security(relid);
	dg_ledger_append("set_tenant_table",
					 psprintf("{\"table\": %s}", dg_json_string(dg_relation_name(relid))));
	SPI_finish();
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------------
 * guard_table, and taking a guard off
 * ----------------------------------------------------------------------
 */

/*
 * The key of a tenant whose all rows of a table are to be, or of a schema, as the
 * tenant table spells it; palloc'd. relid may be InvalidOid.
 */
char *
dg_enrol_tenant(Oid relid, const char *tenant)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	DgTenantRow row;
	Oid			type;
	Datum		value;

	if (tenant[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tenant must not be empty")));
	if (!OidIsValid(tenants->relid))
		return pstrdup(tenant);
	if (relid == tenants->relid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is the tenant table: each of its rows is another tenant's", get_rel_name(relid)),
				 errhint("Guard it with tenant_column => %s.", quote_literal_cstr(NameStr(tenants->key_column)))));
	if (dg_bin_tenant_live(tenant, GetLatestSnapshot(), &row) > 0)
		return row.tenant;
	type = get_atttype(tenants->relid, get_attnum(tenants->relid, NameStr(tenants->key_column)));
	if (!dg_guard_tenant_read_key(tenants->relid, type, tenant, &value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" cannot be a tenant's key", tenant),
				 errdetail("Keys are values of column \"%s\" of %s, of type %s.", NameStr(tenants->key_column),
						   dg_relation_name(tenants->relid), format_type_be(type))));
	ereport(NOTICE,
			(errmsg("%s has no tenant \"%s\" now", dg_relation_name(tenants->relid), tenant)));
	return dg_value_text(getBaseType(type), value);
}

static DgTenantSource
source_arguments(FunctionCallInfo fcinfo)
{
	DgTenantSource source = {0};

	if (!PG_ARGISNULL(1))
		source.column = NameStr(*PG_GETARG_NAME(1));
	if (!PG_ARGISNULL(3))
		source.tenant = text_to_cstring(PG_GETARG_TEXT_PP(3));
	if ((source.column != NULL) + !PG_ARGISNULL(2) + (source.tenant != NULL) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("give one of tenant_column, tenant_path and tenant")));
	return source;
}

/*
 * guard_table(target regclass, tenant_column name, tenant_path tenant_path, tenant text)
 *		-> void
 */
Datum
dg_guard_table(PG_FUNCTION_ARGS)
{
	DgTenantSource source;
	Relation	rel;

	dg_require_argument(fcinfo, 0, "target");
	source = source_arguments(fcinfo);
	rel = relation_open(PG_GETARG_OID(0), ShareRowExclusiveLock);
	dg_enrol_check_owner(rel);
	dg_guard_publication_check("guard a table");
	(void) dg_enrol_require(rel, ERROR);
	if (source.column != NULL)
		require_column(rel, source.column);
	if (!PG_ARGISNULL(2))
		dg_enrol_read_path(rel, PG_GETARG_DATUM(2), &source);
	if (source.path != NIL)
		dg_guard_check_path(rel, source.path);
	if (source.steps != NIL)
		dg_guard_check_steps(PG_GETARG_OID(0), &source);
	if (source.tenant != NULL)
		source.tenant = dg_enrol_tenant(PG_GETARG_OID(0), source.tenant);
	table_close(rel, NoLock);

	if (dg_enrol_is_unlogged(PG_GETARG_OID(0)))
		ereport(WARNING,
				(errmsg("table \"%s\" is unlogged, or has such partitions", get_rel_name(PG_GETARG_OID(0))),
				 errdetail("A crash empties unlogged tables, without their rows having gone to the recycle bin."),
				 errhint("ALTER TABLE ... SET LOGGED.")));
	SPI_connect();
	dg_enrol_table(PG_GETARG_OID(0), &source);
	dg_enrol_record(PG_GETARG_OID(0));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * guard_new_table(oid) -> void: guards a table as ddl_end() guards a new table
 * of an enrolled schema, but without a tenant. The extension does not declare
 * it; test/core does.
 */
Datum
dg_guard_new_table(PG_FUNCTION_ARGS)
{
	DgTenantSource nothing = {0};

	SPI_connect();
	dg_enrol_table(PG_GETARG_OID(0), &nothing);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * Locks a table whose guard is to be taken off; the caller must own it.
 */
void
dg_enrol_lock_owned(Oid relid)
{
	Relation	rel = table_open(relid, AccessExclusiveLock);

	dg_enrol_check_owner(rel);
	table_close(rel, NoLock);
}

/*
 * A table that an extension has taken over may have given its triggers to children
 * that are not guarded.
 */
static void
drop_copied_triggers(Oid relid)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		if (lfirst_oid(lc) != relid && !dg_guard_lookup(lfirst_oid(lc))->guarded)
			dg_guard_drop_triggers(lfirst_oid(lc));
	}
}

/*
 * Takes the guard off a table, for unguard_table(). The caller has checked that
 * it may, holds the table's ACCESS EXCLUSIVE lock, and tells the ledger. What is
 * in the bin stays there.
 */
void
dg_enrol_remove(Oid relid)
{
	Oid			types[] = {REGCLASSOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};
	Relation	rel = table_open(relid, NoLock);
	List	   *relids;
	ListCell   *lc;

	if (dg_guard_lookup(relid)->guarded && dg_guard_lookup(relid)->root != relid)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is guarded as a part of \"%s\"", RelationGetRelationName(rel),
						get_rel_name(dg_guard_lookup(relid)->root)),
				 errhint("Call deletion_guard.unguard_table(%s) for all of it.",
						 quote_literal_cstr(dg_relation_name(dg_guard_lookup(relid)->root)))));
	if (!dg_guard_lookup(relid)->guarded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not guarded", RelationGetRelationName(rel)),
				 errhint("The view deletion_guard.guarded_table lists the tables that are.")));

	dg_capture_balance_check(relid);
	dg_capture_balance_look();
	relids = dg_has_parts(relid) ?
		find_all_inheritors(relid, AccessExclusiveLock, NULL) : list_make1_oid(relid);
	table_close(rel, NoLock);
	dg_capture_balance_leave(relid, relids);

	SPI_connect();
	foreach(lc, relids)
		dg_guard_drop_triggers(lfirst_oid(lc));
	drop_copied_triggers(relid);
	dg_enrol_register_steps(relid, NIL);
	dg_query("DELETE FROM deletion_guard.guard WHERE relation = $1", DG_AS_US, 1, types, values);
	dg_enrol_leave(relid);
	dg_guard_changed(relid);
	SPI_finish();
}
