/*
 * ordinary.c
 *		What is not an ordinary table: one whose rows are elsewhere, are not stored
 *		as heap stores them, or leave by other ways than the server's statements.
 *
 * Such a table is not guarded, and nothing that was deleted is written into it. It
 * is told by the catalogs: the server's, and those of extensions that manage
 * tables (TimescaleDB's by hypertable.c). These are found by what belongs to the extension, and read by scans.
 * Where an extension's catalog is not as it is known here, none of its tables can
 * be told from others, and no table is taken for an ordinary one when it is
 * enrolled. What is not in this list at all is caught when a transaction ends, by
 * the double entry.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "common/deletion_guard.h"

PG_FUNCTION_INFO_V1(dg_not_ordinary);

/* An extension's list of tables that it manages. */
typedef struct Managed
{
	const char *extension;
	const char *schema;
	const char *list;			/* the table that has the list */
	const char *oid_column;		/* of the tables' OIDs */
	const char *what;
	const char *hint;
} Managed;

static const Managed managed[] = {
	{"citus", "pg_catalog", "pg_dist_partition", "logicalrelid",
		"a table that Citus manages",
	"Its rows are in shards, perhaps on other servers, where no trigger of this table fires. Keep rows that may be wanted back in a table that Citus does not know."},
	{"age", "ag_catalog", "ag_label", "relation",
		"a label of an Apache AGE graph",
	"Cypher deletes its rows past all triggers. Keep rows that may be wanted back in an ordinary table."},
};

/*
 * The list, InvalidOid if the extension is not there, or has none.
 */
static Oid
find_list(const Managed *kind, Oid extension)
{
	Oid			nspid = get_namespace_oid(kind->schema, true);
	Oid			relid = OidIsValid(nspid) ? get_relname_relid(kind->list, nspid) : InvalidOid;

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_RELATION ||
		getExtensionOfObject(RelationRelationId, relid) != extension)
		return InvalidOid;
	return relid;
}

/*
 * Is the table in the list? *unknown is set if the extension is there, and its list
 * is not what it should be.
 */
static bool
is_listed(const Managed *kind, Form_pg_class class, bool *unknown)
{
	Oid			extension = get_extension_oid(kind->extension, true);
	Oid			relid = OidIsValid(extension) ? find_list(kind, extension) : InvalidOid;
	AttrNumber	column = OidIsValid(relid) ? get_attnum(relid, kind->oid_column) : InvalidAttrNumber;
	ScanKeyData key;
	Relation	list;
	SysScanDesc scan;
	bool		found;

	*unknown = OidIsValid(extension) &&
		(column <= 0 || (get_atttype(relid, column) != REGCLASSOID && get_atttype(relid, column) != OIDOID));
	if (*unknown || !OidIsValid(extension))
		return false;
	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(class->oid));
	list = table_open(relid, AccessShareLock);
	scan = systable_beginscan(list, InvalidOid, false, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(list, AccessShareLock);
	return found;
}

static bool
is_managed(Form_pg_class class, DgOddity *odd)
{
	for (int i = 0; i < lengthof(managed); i++)
	{
		bool		unknown;

		if (is_listed(&managed[i], class, &unknown))
		{
			odd->what = managed[i].what;
			odd->hint = managed[i].hint;
			odd->managed = true;
			odd->unknown = false;
			return true;
		}
		if (unknown && !odd->unknown)
		{
			odd->unknown = true;
			odd->what = psprintf("perhaps %s", managed[i].what);
			odd->hint = psprintf("This version of extension \"%s\" is not known to deletion_guard, which cannot tell its tables from others.",
								 managed[i].extension);
		}
	}
	return odd->unknown;
}

/*
 * Does a table's access method store rows as heap does?
 */
static bool
is_heap(Oid am)
{
	HeapTuple	tuple = SearchSysCache1(AMOID, ObjectIdGetDatum(am));
	bool		result = HeapTupleIsValid(tuple) &&
	((Form_pg_am) GETSTRUCT(tuple))->amhandler == F_HEAP_TABLEAM_HANDLER;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

static bool
is_odd(Form_pg_class class, DgOddity *odd)
{
	if (class->relkind == RELKIND_FOREIGN_TABLE)
	{
		odd->what = "a foreign table";
		odd->hint = "Install deletion_guard on the server that holds the rows, and guard the table there.";
		return true;
	}
	if (class->relkind == RELKIND_RELATION && !is_heap(class->relam))
	{
		odd->what = psprintf("stored by access method \"%s\"", get_am_name(class->relam));
		odd->hint = "Rows are kept as heap tuples; ALTER TABLE ... SET ACCESS METHOD heap first.";
		return true;
	}
	return dg_hypertable_is_odd(class->oid, odd) || is_managed(class, odd);
}

/*
 * Is this something other than an ordinary or partitioned table? Says what. Nothing
 * is, that is not there. The table itself is asked about, not its partitions or children.
 */
bool
dg_is_odd(Oid relid, DgOddity *odd)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		result;

	memset(odd, 0, sizeof(DgOddity));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = is_odd((Form_pg_class) GETSTRUCT(tuple), odd);
	ReleaseSysCache(tuple);
	return result;
}

/*
 * Is one of a table's partitions or inheritance children no ordinary table?
 * *relid is then set to the first of them, and *odd says what it is. The caller
 * holds a lock on the table.
 */
bool
dg_has_odd_member(Oid *relid, DgOddity *odd)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(*relid, AccessShareLock, NULL))
	{
		if (lfirst_oid(lc) != *relid && dg_is_odd(lfirst_oid(lc), odd))
		{
			*relid = lfirst_oid(lc);
			return true;
		}
	}
	return false;
}

/*
 * Rows are about to be written into a table without a statement, past what makes it odd.
 */
void
dg_ordinary_require_target(Oid relid)
{
	DgOddity	odd;

	if (dg_is_odd(relid, &odd) && !odd.unknown)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_RESTORE),
				 errmsg("cannot restore rows of \"%s\": it is %s", get_rel_name(relid), odd.what),
				 errhint("Take them with deletion_guard.deleted_rows(), or deletion_guard.rehydrate(..., into_schema => ...), and insert them by a statement.")));
}

/*
 * not_ordinary(relation oid) -> text: why the table or one that would be guarded
 * with it cannot be, and what to do; NULL if there is nothing in the way.
 */
Datum
dg_not_ordinary(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Oid			member = relid;
	DgOddity	odd;

	if (get_rel_relkind(relid) == '\0')
		PG_RETURN_NULL();
	if (dg_is_odd(relid, &odd))
		PG_RETURN_TEXT_P(cstring_to_text(psprintf("it is %s. %s", odd.what, odd.hint)));
	if (dg_has_odd_member(&member, &odd))
		PG_RETURN_TEXT_P(cstring_to_text(psprintf("its %s %s is %s. %s",
												  get_rel_relispartition(member) ? "partition" : "child",
												  dg_relation_name(member), odd.what, odd.hint)));
	PG_RETURN_NULL();
}
