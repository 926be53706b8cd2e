/*
 * protect_keep.c
 *		deletion_guard.ddl = keep: what a command drops is kept first.
 *
 * Before a command drops anything, the tables that would go with what it names
 * are looked for in pg_depend, as the server will look for them, and locked as it
 * will lock them. Their rows go to the bin, and what it takes to make the tables
 * anew goes to dropped_table; that, where it is possible, whatever the setting. It
 * has to be that early: a table's TOAST table and foreign keys go before it does.
 *
 * Nothing depends on what is found here being right. Each table is asked about
 * when it goes (protect_object.c): it may if no row lives in it, or if its rows were
 * kept and nobody has written to it since; and no transaction commits while a
 * table is still there whose rows were kept because it would go.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/partition.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_shdepend.h"
#include "catalog/pg_type.h"
#include "commands/user.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "bin/bin.h"
#include "capture/capture.h"
#include "guard/guard.h"
#include "protect/protect_internal.h"

/* A table, or a column, whose rows were kept as it is about to be dropped. */
typedef struct Kept
{
	Oid			relid;
	AttrNumber	attnum;			/* 0: the table */
	SubTransactionId subid;
	int64		rows;
	int64		deleted;		/* in the transaction before, as the server
								 * has counted */
	int64		written;
	struct Kept *next;
} Kept;

static Kept *kept = NULL;		/* of the innermost subtransaction first */

/* ----------------------------------------------------------------------
 * What goes with what
 * ----------------------------------------------------------------------
 */

/* An object, the key of a hash table. */
typedef struct Object
{
	Oid			classid;
	Oid			objid;
} Object;

/* Objects that would go, each once, those that were named first. */
typedef struct Search
{
	HTAB	   *seen;
	List	   *objects;		/* of Object * */
} Search;

static void
add_object(Search *search, Oid classid, Oid objid)
{
	Object		object = {classid, objid};
	bool		found;

	if (objid < FirstNormalObjectId)
		return;
	(void) hash_search(search->seen, &object, HASH_ENTER, &found);
	if (!found)
	{
		Object	   *copy = palloc(sizeof(Object));

		*copy = object;
		search->objects = lappend(search->objects, copy);
	}
}

static void
add_dependents(Search *search, Relation depend, const Object *object)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object->classid));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object->objid));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, lengthof(keys), keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		/* a column that goes takes no table with it */
		if (form->objsubid == 0)
			add_object(search, form->classid, form->objid);
	}
	systable_endscan(scan);
}

/* What is ours to care about among what would go. */
typedef struct Going
{
	List	   *tables;			/* guarded ones */
	List	   *types;			/* that columns of bins may have */
} Going;

/*
 * Is it a type that was made for itself, not along with a table or another type?
 */
static bool
is_type_of_its_own(Oid type)
{
	char		kind = get_typtype(type);

	if (kind == TYPTYPE_COMPOSITE)
		return get_rel_relkind(get_typ_typrelid(type)) == RELKIND_COMPOSITE_TYPE;
	return kind != TYPTYPE_MULTIRANGE && kind != TYPTYPE_PSEUDO && !OidIsValid(get_element_type(type));
}

/*
 * Adds what goes with what was added to the search.
 */
static void
find_going(Search *search, Going *going)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);

	/* the list grows meanwhile */
	for (int i = 0; i < list_length(search->objects); i++)
	{
		Object	   *object = list_nth(search->objects, i);

		CHECK_FOR_INTERRUPTS();
		add_dependents(search, depend, object);
		if (object->classid == RelationRelationId && dg_guard_is_guarded(object->objid))
			going->tables = list_append_unique_oid(going->tables, object->objid);
		else if (object->classid == TypeRelationId && is_type_of_its_own(object->objid))
			going->types = list_append_unique_oid(going->types, object->objid);
	}
	table_close(depend, AccessShareLock);
}

static Search
search_begin(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Object),.entrysize = sizeof(Object),.hcxt = CurrentMemoryContext};
	Search		search = {0};

	search.seen = hash_create("deletion_guard objects", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return search;
}

static Going
going_with(Oid classid, Oid objid)
{
	Search		search = search_begin();
	Going		going = {NIL, NIL};

	add_object(&search, classid, objid);
	find_going(&search, &going);
	return going;
}

/* ----------------------------------------------------------------------
 * Keeping
 * ----------------------------------------------------------------------
 */

static Kept *
find_kept(Oid relid, AttrNumber attnum)
{
	Kept	   *table = kept;

	while (table != NULL && (table->relid != relid || table->attnum != attnum))
		table = table->next;
	return table;
}

/*
 * Rows of a table are about to be kept, all or those with a value in a column: notes
 * it, and returns where their number is to be put.
 */
int64 *
dg_protect_keep_note(Relation rel, AttrNumber attnum)
{
	Kept	   *table;

	if (!pgstat_track_counts && dg_protect_store_has_rows(RelationGetRelid(rel)))
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot keep \"%s\" while track_counts is off", RelationGetRelationName(rel)),
				 errdetail("Only PostgreSQL's counts tell whether anybody writes to the table before it is dropped."),
				 errhint("Set track_counts on, or delete the rows with DELETE.")));
	table = MemoryContextAllocZero(TopTransactionContext, sizeof(Kept));
	table->relid = RelationGetRelid(rel);
	table->attnum = attnum;
	table->subid = GetCurrentSubTransactionId();
	table->deleted = dg_capture_balance_so_far(rel, &table->written);
	table->next = kept;
	kept = table;
	return &table->rows;
}

static int64
keep_rows(Relation rel)
{
	int64	   *rows;

	dg_guard_require_ordinary(RelationGetRelid(rel));
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		return 0;
	rows = dg_protect_keep_note(rel, 0);
	*rows = dg_capture_dropped(rel);
	return *rows;
}

/*
 * A chunk of a hypertable goes, or a part of it, and no command has told so: keeps its
 * rows now. When they come back, TimescaleDB makes a chunk for them.
 */
void
dg_protect_keep_chunk(Oid relid)
{
	Relation	rel;

	if (!dg_ddl_keeps() || find_kept(relid, 0) != NULL)
		return;
	rel = table_open(relid, NoLock);
	(void) keep_rows(rel);
	table_close(rel, NoLock);
}

/*
 * The table that this one is a partition of, or was, as text; 0 if there is none.
 */
static Datum
former_parent(Oid relid)
{
	Oid			parent = get_rel_relispartition(relid) ? get_partition_parent(relid, true) :
	dg_guard_lookup(relid)->detached_from;

	return OidIsValid(parent) ? CStringGetTextDatum(dg_relation_name(parent)) : (Datum) 0;
}

/*
 * Writes down how to make a table again that goes along with others.
 */
static void
keep_definition(Oid relid, int64 rows, List *relids)
{
	Oid			types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, OIDOID, OIDARRAYOID};
	Datum		values[] = {rows > 0 ? Int64GetDatum(dg_capture_deletion_current()) : (Datum) 0,
		CStringGetTextDatum(dg_relation_name(relid)), former_parent(relid),
		CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false)), Int64GetDatum(rows),
	ObjectIdGetDatum(relid), dg_oid_array(relids)};
	char		nulls[] = {rows > 0 ? ' ' : 'n', ' ', values[2] != 0 ? ' ' : 'n', ' ', ' ', ' ', ' '};

	SPI_connect();
	dg_query("INSERT INTO deletion_guard.dropped_table"
			 " (dropped_id, deletion_id, relation_name, partition_of, dropped_at, dropped_by, rows, definition, foreign_keys)"
			 " SELECT nextval('deletion_guard.dropped_id_seq'), $1, $2, $3, now(), $4, $5, d.definition, d.foreign_keys"
			 " FROM deletion_guard_internal.table_definition($6::regclass, $7) d", DG_AS_US, 7, types, values, nulls);
	SPI_finish();
}

/*
 * All this is about to be dropped, by somebody who may.
 */
static void
keep_going(const Going *going)
{
	List	   *relids = going->tables;
	ListCell   *lc;

	if (relids != NIL && dg_ddl_keeps())
		dg_guard_forget_origins(relids);
	foreach(lc, relids)
	{
		Oid			relid = lfirst_oid(lc);
		Relation	rel;
		int64		rows;

		if (find_kept(relid, 0) != NULL)
			continue;
		rel = try_relation_open(relid, AccessExclusiveLock);
		if (rel == NULL)
			continue;
		rows = dg_ddl_keeps() ? keep_rows(rel) : 0;
		relation_close(rel, NoLock);
		keep_definition(relid, rows, relids);
	}
	foreach(lc, going->types)
		dg_bin_give_up_type(lfirst_oid(lc));
}

/*
 * Were the rows of a table kept, or the values of a column, all that are there now?
 */
bool
dg_protect_keep_has(Oid relid, AttrNumber attnum, int64 *rows)
{
	Kept	   *table = find_kept(relid, attnum);
	Relation	rel;
	int64		deleted;
	int64		written;

	if (table == NULL)
		return false;
	rel = table_open(relid, NoLock);
	deleted = dg_capture_balance_so_far(rel, &written);
	table_close(rel, NoLock);
	*rows = table->rows;
	return deleted == table->deleted && written == table->written;
}

/*
 * May the table be dropped, which is about to happen? With a table in which no
 * row lives nothing is lost: what was deleted from it is in the bin. Nobody can
 * put a row there any more, by the lock that DROP takes; without that lock, it
 * may not. A partitioned table has no rows, and its partitions are asked about
 * one by one. *kept is set to the number of rows that were kept just before.
 */
bool
dg_protect_keep_may_go(Oid relid, int64 *kept)
{
	Relation	rel = table_open(relid, NoLock);
	bool		locked = CheckRelationLockedByMe(rel, AccessExclusiveLock, false);
	bool		partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;

	table_close(rel, NoLock);
	return locked && (partitioned || dg_protect_keep_has(relid, 0, kept) || !dg_protect_store_has_rows(relid));
}

/*
 * Rows of a table that live, and have a value in a column (0: or not).
 */
int64
dg_protect_keep_count(Oid relid, AttrNumber attnum)
{
	Relation	rel = table_open(relid, NoLock);
	int64		rows = 0;

	if (rel->rd_rel->relkind == RELKIND_RELATION)
	{
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		TableScanDesc scan = dg_table_beginscan(rel, snapshot);
		TupleTableSlot *slot = table_slot_create(rel, NULL);

		while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		{
			CHECK_FOR_INTERRUPTS();
			if (attnum == 0 || !slot_attisnull(slot, attnum))
				rows++;
		}
		ExecDropSingleTupleTableSlot(slot);
		table_endscan(scan);
		UnregisterSnapshot(snapshot);
	}
	table_close(rel, NoLock);
	return rows;
}

/* ----------------------------------------------------------------------
 * Commands
 * ----------------------------------------------------------------------
 */

static void
add_going(Going *all, const Going *more)
{
	all->tables = list_concat_unique_oid(all->tables, more->tables);
	all->types = list_concat_unique_oid(all->types, more->types);
}

/*
 * DROP TABLE: the server locks a partition's parent first.
 */
static void
find_with_tables(DropStmt *stmt, Going *all)
{
	ListCell   *lc;

	foreach(lc, stmt->objects)
	{
		Oid			relid = RangeVarGetRelid(makeRangeVarFromNameList(lfirst(lc)), AccessShareLock, true);
		Going		going;

		if (!OidIsValid(relid) ||
			(!dg_class_ownercheck(relid, GetUserId()) &&
			 !dg_namespace_ownercheck(get_rel_namespace(relid), GetUserId())))
			continue;
		going = going_with(RelationRelationId, relid);
		if (going.tables != NIL && get_rel_relispartition(relid))
			LockRelationOid(get_partition_parent(relid, true), AccessExclusiveLock);
		add_going(all, &going);
	}
}

/*
 * Other kinds of objects, by which tables may go: a schema, a type, an extension,
 * a function that a partition key uses.
 */
static void
find_with_objects(DropStmt *stmt, Going *all)
{
	ListCell   *lc;

	foreach(lc, stmt->objects)
	{
		Relation	rel = NULL;
		ObjectAddress address = get_object_address(stmt->removeType, lfirst(lc), &rel, AccessShareLock, true);
		Going		going;
		Oid			nspid;

		if (!OidIsValid(address.objectId))
			continue;
		going = going_with(address.classId, address.objectId);
		if (going.tables == NIL && going.types == NIL)
			continue;
		/* as the server will check it */
		nspid = get_object_namespace(&address);
		if (!OidIsValid(nspid) || !dg_namespace_ownercheck(nspid, GetUserId()))
			check_object_ownership(GetUserId(), stmt->removeType, address, lfirst(lc), rel);
		add_going(all, &going);
	}
}

static void
find_with_drop(DropStmt *stmt, Going *all)
{
	switch (stmt->removeType)
	{
		case OBJECT_TABLE:
		case OBJECT_FOREIGN_TABLE:
			find_with_tables(stmt, all);
			break;
		case OBJECT_VIEW:
		case OBJECT_MATVIEW:
		case OBJECT_INDEX:
		case OBJECT_SEQUENCE:
		case OBJECT_TRIGGER:
		case OBJECT_RULE:
		case OBJECT_POLICY:
			break;				/* no table depends on these */
		case OBJECT_EXTENSION:
			find_with_objects(stmt, all);
			all->types = NIL;	/* what bins hold needs its functions, too */
			break;
		default:
			find_with_objects(stmt, all);
			break;
	}
}

/*
 * DROP OWNED: what belongs to roles in this database.
 */
static void
find_with_owned(DropOwnedStmt *stmt, Going *all)
{
	Search		search = search_begin();
	Relation	rel = table_open(SharedDependRelationId, AccessShareLock);
	ListCell   *lc;

	foreach(lc, roleSpecsToIds(stmt->roles))
	{
		ScanKeyData keys[2];
		SysScanDesc scan;
		HeapTuple	tuple;

		if (!has_privs_of_role(GetUserId(), lfirst_oid(lc)))
			continue;
		ScanKeyInit(&keys[0], Anum_pg_shdepend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(AuthIdRelationId));
		ScanKeyInit(&keys[1], Anum_pg_shdepend_refobjid, BTEqualStrategyNumber, F_OIDEQ, lfirst_oid(lc));
		scan = systable_beginscan(rel, SharedDependReferenceIndexId, true, NULL, lengthof(keys), keys);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			Form_pg_shdepend form = (Form_pg_shdepend) GETSTRUCT(tuple);

			if (form->deptype == SHARED_DEPENDENCY_OWNER && form->dbid == MyDatabaseId)
				add_object(&search, form->classid, form->objid);
		}
		systable_endscan(scan);
	}
	table_close(rel, AccessShareLock);
	find_going(&search, all);
}

/*
 * A command that is not the extension's is about to run, and what it names can
 * still be found.
 */
void
dg_protect_keep_before(Node *parsetree)
{
	Going		going = {NIL, NIL};

	if (!dg_installed())
		return;
	if (IsA(parsetree, DropStmt))
		find_with_drop((DropStmt *) parsetree, &going);
	else if (IsA(parsetree, DropOwnedStmt))
		find_with_owned((DropOwnedStmt *) parsetree, &going);
	keep_going(&going);
}

/* ----------------------------------------------------------------------
 * Transactions
 * ----------------------------------------------------------------------
 */

static void
kept_at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (Kept *table = kept; table != NULL && table->subid == mySubid; table = table->next)
			table->subid = parentSubid;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (kept != NULL && kept->subid == mySubid)
			kept = kept->next;
	}
}

/*
 * Is what was kept where it was, too? A column without values may be.
 */
static bool
is_still_there(const Kept *table)
{
	HeapTuple	tuple;

	if (table->attnum == 0 || get_rel_relkind(table->relid) == '\0')
		return get_rel_relkind(table->relid) != '\0';
	tuple = SearchSysCacheAttNum(table->relid, table->attnum);
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return HeapTupleIsValid(tuple) && table->rows > 0;
}

static void
kept_at_xact(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
	{
		kept = NULL;
		return;
	}
	for (const Kept *table = kept; table != NULL; table = table->next)
	{
		if (is_still_there(table))
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_CAPTURE),
					 errmsg("cannot commit: rows of \"%s\" went to the recycle bin as if it were dropped, and it is still there",
							get_rel_name(table->relid)),
					 errhint("Nothing is lost. Repeat the command, with the names of tables qualified by their schema.")));
	}
}

/*
 * Makes ready, as the library is loaded, to forget at the end of a command what was
 * kept for it.
 */
void
dg_protect_keep_init(void)
{
	RegisterSubXactCallback(kept_at_subxact, NULL);
	RegisterXactCallback(kept_at_xact, NULL);
}
