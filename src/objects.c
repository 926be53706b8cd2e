/*
 * objects.c
 *		Where the extension's own schemas and tables are in this database; and how
 *		tables and operators of others are written in queries.
 *
 * Looked up by name once, and again when the relcache is told that one of the
 * tables has changed, as DROP EXTENSION in any session does, and REINDEX
 * CONCURRENTLY, which gives a table's indexes new OIDs.
 */
#include "deletion_guard.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_operator.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static DgObjects objects;
static bool objects_known = false;
static bool changed = false;	/* has any table, since this was last reset? */

static const struct
{
	const char *name;
	size_t		offset;
}			relations[] = {
	{"tenant_table", offsetof(DgObjects, tenant_table)},
	{"guard", offsetof(DgObjects, guard)},
	{"guard_pkey", offsetof(DgObjects, guard_pkey)},
	{"guarded_schema", offsetof(DgObjects, guarded_schema)},
	{"bin", offsetof(DgObjects, bin)},
	{"bin_relation_idx", offsetof(DgObjects, bin_relation_idx)},
	{"bin_bin_table_key", offsetof(DgObjects, bin_bin_table_key)},
	{"bin_id_seq", offsetof(DgObjects, bin_id_seq)},
	{"deletion_id_seq", offsetof(DgObjects, deletion_id_seq)},
	{"deletion_link", offsetof(DgObjects, deletion_link)},
	{"deletion_link_deletion_idx", offsetof(DgObjects, deletion_link_deletion_idx)},
	{"deletion_link_waiting_idx", offsetof(DgObjects, deletion_link_waiting_idx)},
	{"deletion_part", offsetof(DgObjects, deletion_part)},
	{"deletion_part_pkey", offsetof(DgObjects, deletion_part_pkey)},
	{"deletion_part_tenant_idx", offsetof(DgObjects, deletion_part_tenant_idx)},
	{"tenant_wipe", offsetof(DgObjects, tenant_wipe)},
	{"tenant_wipe_at_idx", offsetof(DgObjects, tenant_wipe_at_idx)},
	{"authority", offsetof(DgObjects, authority)},
	{"authority_pkey", offsetof(DgObjects, authority_pkey)},
	{"approval_policy", offsetof(DgObjects, approval_policy)},
	{"used_token", offsetof(DgObjects, used_token)},
	{"used_token_pkey", offsetof(DgObjects, used_token_pkey)},
	{"hold", offsetof(DgObjects, hold)},
	{"hold_pkey", offsetof(DgObjects, hold_pkey)},
	{"hold_id_seq", offsetof(DgObjects, hold_id_seq)},
	{"purge_request_record", offsetof(DgObjects, purge_request_record)},
	{"purge_request_record_pkey", offsetof(DgObjects, purge_request_record_pkey)},
	{"purge_request_record_tenant_idx", offsetof(DgObjects, purge_request_record_tenant_idx)},
	{"purge_request_id_seq", offsetof(DgObjects, purge_request_id_seq)},
	{"purge_request_part", offsetof(DgObjects, purge_request_part)},
	{"purge_request_part_pkey", offsetof(DgObjects, purge_request_part_pkey)},
	{"purge_record", offsetof(DgObjects, purge_record)},
	{"purge_record_pkey", offsetof(DgObjects, purge_record_pkey)},
	{"purge_id_seq", offsetof(DgObjects, purge_id_seq)},
	{"purge_table", offsetof(DgObjects, purge_table)},
	{"purge_table_pkey", offsetof(DgObjects, purge_table_pkey)},
	{"purged_key", offsetof(DgObjects, purged_key)},
	{"purged_key_pkey", offsetof(DgObjects, purged_key_pkey)},
	{"refusal", offsetof(DgObjects, refusal)},
	{"refusal_pkey", offsetof(DgObjects, refusal_pkey)},
	{"rehydration_record", offsetof(DgObjects, rehydration_record)},
	{"drill_result", offsetof(DgObjects, drill_result)},
	{"installation", offsetof(DgObjects, installation)},
};

/*
 * The role that owns the extension, in whose name its tables are written.
 */
static Oid
extension_owner(void)
{
	Oid			extension = get_extension_oid("deletion_guard", true);
	Oid			owner = InvalidOid;
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	if (!OidIsValid(extension))
		return InvalidOid;

	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return owner;
}

/*
 * Fills in the objects; false if the extension is not (completely) here.
 */
static bool
find_objects(DgObjects *found)
{
	found->owner = extension_owner();
	found->schema = get_namespace_oid("deletion_guard", true);
	found->bin_schema = get_namespace_oid("deletion_guard_bin", true);
	if (!OidIsValid(found->owner) || !OidIsValid(found->schema) || !OidIsValid(found->bin_schema))
		return false;

	for (int i = 0; i < lengthof(relations); i++)
	{
		Oid			relid = get_relname_relid(relations[i].name, found->schema);

		if (!OidIsValid(relid))
			return false;
		*(Oid *) ((char *) found + relations[i].offset) = relid;
	}
	return true;
}

/*
 * Is the extension installed in this database? Needs a transaction.
 */
bool
dg_installed(void)
{
	DgObjects	found = {0};
	DgObjects	before;

	if (objects_known)
		return true;
	/*
	 * What changes while they are being looked up may be among them. Where
	 * something always changes (debug_discard_caches), finding the same twice
	 * must do.
	 */
	do
	{
		before = found;
		changed = false;
		if (!find_objects(&found))
			return false;
	} while (changed && memcmp(&found, &before, sizeof(DgObjects)) != 0);
	objects = found;
	objects_known = true;
	return true;
}

/*
 * The extension's objects if they were looked up before, else NULL.
 */
const DgObjects *
dg_known_objects(void)
{
	return objects_known ? &objects : NULL;
}

/*
 * Is the extension's own install or upgrade script running?
 */
bool
dg_installing(void)
{
	return creating_extension &&
		CurrentExtensionObject == get_extension_oid("deletion_guard", true);
}

/*
 * The extension's objects; an error where it is not installed.
 */
const DgObjects *
dg_objects(void)
{
	if (!dg_installed() && OidIsValid(get_extension_oid("deletion_guard", true)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"deletion_guard\" in this database is older than its library"),
				 errhint("Run ALTER EXTENSION deletion_guard UPDATE.")));
	if (!dg_installed())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"deletion_guard\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION deletion_guard.")));
	return &objects;
}

/*
 * Makes this session look them up again.
 */
void
dg_objects_forget(void)
{
	objects_known = false;
}

static void
forget_objects(Datum arg, Oid relid)
{
	changed = true;
	if (!objects_known)
		return;
	if (relid == InvalidOid)
		objects_known = false;
	for (int i = 0; i < lengthof(relations); i++)
	{
		if (relid == *(Oid *) ((char *) &objects + relations[i].offset))
			objects_known = false;
	}
}

void
dg_objects_init(void)
{
	CacheRegisterRelcacheCallback(forget_objects, (Datum) 0);
}

/*
 * "schema.table", quoted as SQL wants it; palloc'd. The OID's digits if there
 * is no such table.
 */
char *
dg_relation_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		return psprintf("%u", relid);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

/*
 * The table as a query names it that wants its own rows, as a foreign key does:
 * those of its partitions, but not those of tables that inherit from it.
 */
char *
dg_own_rows(Oid relid)
{
	return psprintf("%s%s", get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ",
					dg_relation_name(relid));
}

/*
 * "OPERATOR(schema.=)" of a type, palloc'd.
 */
char *
dg_equality_operator(Oid type)
{
	Oid			oper = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple	tuple;
	Form_pg_operator form;
	char	   *text;

	if (!OidIsValid(oper))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an equality operator for type %s", format_type_be(type))));
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(oper));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", oper);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	text = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return text;
}
