/*
 * objects.c
 *		Where the extension's own schemas and tables are in this database; and how
 *		tables and operators of others are written in queries.
 *
 * Looked up by name once, and again when the relcache is told that one of the
 * tables has changed, as DROP EXTENSION in any session does, and REINDEX
 * CONCURRENTLY, which gives a table's indexes new OIDs.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_operator.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "common/deletion_guard.h"
#include "common/tables.h"

static DgObjects objects;
static bool objects_known = false;
static bool objects_missing = false;	/* were they, when last looked for? */
static bool changed = false;	/* has any table, since this was last reset? */

/*
 * The tables, and the indexes and sequences that the library uses by itself. An
 * index must be of that table, on those columns, and ready for use.
 */
#define RELATION(name)	#name, offsetof(DgObjects, name)

static const struct
{
	const char *name;
	size_t		offset;
	const char *table;			/* of an index */
	bool		unique;
	AttrNumber	columns[4];
}			relations[] = {
	{RELATION(tenant_table)},
	{RELATION(guard)},
	{RELATION(guard_pkey), "guard", true, {Anum_guard_relation}},
	{RELATION(guard_step)},
	{RELATION(guard_step_pkey), "guard_step", true, {Anum_guard_step_relation, Anum_guard_step_step, Anum_guard_step_type_value}},
	{RELATION(guarded_schema)},
	{RELATION(schema_pattern)},
	{RELATION(left_unguarded)},
	{RELATION(bin)},
	{RELATION(bin_relation_idx), "bin", false, {Anum_registry_relation}},
	{RELATION(bin_bin_table_key), "bin", true, {Anum_registry_bin_table}},
	{RELATION(bin_id_seq)},
	{RELATION(deletion_id_seq)},
	{RELATION(deletion_link)},
	{RELATION(deletion_link_deletion_idx), "deletion_link", false, {Anum_deletion_link_deletion_id}},
	{RELATION(deletion_link_waiting_idx), "deletion_link", false, {Anum_deletion_link_relation, Anum_deletion_link_waiting_since}},
	{RELATION(deletion_part)},
	{RELATION(deletion_part_pkey), "deletion_part", true, {Anum_deletion_part_deletion_id, Anum_deletion_part_part}},
	{RELATION(deletion_part_tenant_idx), "deletion_part", false, {Anum_deletion_part_tenant_hash, Anum_deletion_part_deletion_id}},
	{RELATION(tenant_rename)},
	{RELATION(tenant_rename_pkey), "tenant_rename", true, {Anum_tenant_rename_rename_id}},
	{RELATION(dropped_table)},
	{RELATION(folded_deletion)},
	{RELATION(tenant_wipe)},
	{RELATION(tenant_wipe_at_idx), "tenant_wipe", false, {Anum_tenant_wipe_wiped_at}},
	{RELATION(authority)},
	{RELATION(authority_pkey), "authority", true, {Anum_authority_name}},
	{RELATION(approval_policy)},
	{RELATION(used_token)},
	{RELATION(used_token_pkey), "used_token", true, {Anum_used_token_authority, Anum_used_token_jti}},
	{RELATION(hold)},
	{RELATION(hold_pkey), "hold", true, {Anum_hold_hold_id}},
	{RELATION(hold_id_seq)},
	{RELATION(purge_request_record)},
	{RELATION(purge_request_record_pkey), "purge_request_record", true, {Anum_purge_request_record_request_id}},
	{RELATION(purge_request_record_tenant_idx), "purge_request_record", false, {Anum_purge_request_record_tenant}},
	{RELATION(purge_request_id_seq)},
	{RELATION(purge_request_part)},
	{RELATION(purge_request_part_pkey), "purge_request_part", true, {Anum_purge_request_part_request_id,
	Anum_purge_request_part_deletion_id, Anum_purge_request_part_part}},
	{RELATION(purge_record)},
	{RELATION(purge_record_pkey), "purge_record", true, {Anum_purge_record_purge_id}},
	{RELATION(purge_id_seq)},
	{RELATION(purge_table)},
	{RELATION(purge_table_pkey), "purge_table", true, {Anum_purge_table_purge_id, Anum_purge_table_table_no}},
	{RELATION(purged_key)},
	{RELATION(purged_key_pkey), "purged_key", true, {Anum_purged_key_purge_id, Anum_purged_key_table_no, Anum_purged_key_chunk}},
	{RELATION(refusal)},
	{RELATION(refusal_pkey), "refusal", true, {Anum_refusal_act, Anum_refusal_reason,
	Anum_refusal_request_id, Anum_refusal_authority}},
	{RELATION(rehydration_record)},
	{RELATION(drill_result)},
	{RELATION(installation)},
};

/* What is missing, or not as it was made, where the extension is not whole. */
static const char *missing = NULL;

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
 * Is an index what the library takes it for?
 */
static bool
index_is_right(Oid relid, int i, Oid schema)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(relid));
	Form_pg_index form;
	bool		right;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_index) GETSTRUCT(tuple);
	right = form->indrelid == get_relname_relid(relations[i].table, schema) &&
		form->indisvalid && form->indisready && form->indislive &&
		form->indisunique == relations[i].unique &&
		heap_attisnull(tuple, Anum_pg_index_indpred, NULL);
	for (int k = 0; right && k < lengthof(relations[i].columns) && relations[i].columns[k] != 0; k++)
		right = k < form->indnkeyatts && form->indkey.values[k] == relations[i].columns[k];
	ReleaseSysCache(tuple);
	return right;
}

/*
 * Fills in the objects; false if the extension is not here, or not whole.
 */
static bool
find_objects(DgObjects *found)
{
	found->owner = extension_owner();
	found->schema = get_namespace_oid("deletion_guard", true);
	found->bin_schema = get_namespace_oid("deletion_guard_bin", true);
	found->internal_schema = get_namespace_oid("deletion_guard_internal", true);
	missing = !OidIsValid(found->schema) ? "deletion_guard" :
		!OidIsValid(found->bin_schema) ? "deletion_guard_bin" : "deletion_guard_internal";
	if (!OidIsValid(found->owner) || !OidIsValid(found->schema) || !OidIsValid(found->bin_schema) ||
		!OidIsValid(found->internal_schema))
		return false;

	for (int i = 0; i < lengthof(relations); i++)
	{
		Oid			relid = get_relname_relid(relations[i].name, found->schema);

		missing = relations[i].name;
		if (!OidIsValid(relid) ||
			(relations[i].table != NULL && !index_is_right(relid, i, found->schema)))
			return false;
		*(Oid *) ((char *) found + relations[i].offset) = relid;
	}
	missing = NULL;
	return true;
}

/*
 * Is the extension here, whole or not?
 */
bool
dg_present(void)
{
	return objects_known || OidIsValid(get_extension_oid("deletion_guard", true));
}

/*
 * Is the extension installed in this database, and whole? Needs a transaction.
 */
bool
dg_installed(void)
{
	DgObjects	found = {0};
	DgObjects	before;

	if (objects_known)
		return true;
	/* nobody installs it without making tables */
	if (objects_missing && !changed)
		return false;

	/*
	 * What changes while they are being looked up may be among them. Where
	 * something always changes (debug_discard_caches), finding the same twice
	 * must do.
	 */
	do
	{
		before = found;
		changed = false;
		objects_missing = !find_objects(&found);
		if (objects_missing)
			return false;
	} while (changed && memcmp(&found, &before, sizeof(DgObjects)) != 0);
	objects = found;
	objects_known = true;
	dg_counter_attach();
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
	if (!dg_installed() && dg_present())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"deletion_guard\" in this database is not whole: its \"%s\" is missing, or not as the library knows it",
						missing),
				 errdetail("Until it is, nothing is deleted from guarded tables, dropped or purged."),
				 errhint("If the library is newer than the extension, run ALTER EXTENSION deletion_guard UPDATE.")));
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
	changed = true;
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

static RelcacheCallbackFunction followers[5];
static int	nfollowers = 0;

static void
tell_followers(Datum arg, Oid relid)
{
	for (int i = 0; i < nfollowers; i++)
		followers[i] (arg, relid);
}

/*
 * Has a function called whenever the server forgets what it knows of a table, or of all.
 * The server takes ten such functions in all, from everybody: for us, one.
 */
void
dg_follow_relcache(RelcacheCallbackFunction follower)
{
	Assert(nfollowers < lengthof(followers));
	followers[nfollowers++] = follower;
	if (nfollowers == 1)
		CacheRegisterRelcacheCallback(tell_followers, (Datum) 0);
}

/*
 * Makes ready, as the library is loaded, to forget the objects' OIDs when the catalog
 * changes.
 */
void
dg_objects_init(void)
{
	dg_follow_relcache(forget_objects);
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
	return psprintf("%s%s", dg_has_parts(relid) ? "" : "ONLY ",
					dg_relation_name(relid));
}

/*
 * A type as a cast names it that is to keep the whole value: "character" without a
 * length is one character long, "bit" one bit. palloc'd.
 */
char *
dg_type_name(Oid type)
{
	return format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
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

/*
 * Is this one of the extension's tables or sequences, or a bin table? Where it
 * is not known yet whether the extension is here, the schema's name tells, at
 * less cost than finding out.
 */
bool
dg_is_store(Oid relid)
{
	const DgObjects *known = dg_known_objects();
	char	   *schema;
	Oid			nspid;
	bool		result;

	if (relid < FirstNormalObjectId)
		return false;
	nspid = get_rel_namespace(relid);
	if (known != NULL)
		return nspid == known->schema || nspid == known->bin_schema;
	schema = get_namespace_name(nspid);
	if (schema == NULL)
		return false;
	result = strcmp(schema, "deletion_guard") == 0 || strcmp(schema, "deletion_guard_bin") == 0;
	pfree(schema);
	return result;
}

/*
 * Is there anything to guard in this process, now? Not while pg_upgrade makes
 * the catalogs of a new server: what it does to the extension's objects is what
 * nobody may do to them otherwise, and no row is touched.
 */
bool
dg_on_duty(void)
{
	return !IsBinaryUpgrade && !IsParallelWorker() && IsTransactionState() &&
		OidIsValid(MyDatabaseId) && !RecoveryInProgress();
}
