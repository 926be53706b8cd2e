/*
 * guard_identity.c
 *		What makes two tenants one: the equality of which columns.
 *
 * A tenant is kept as text, but who it is is for its column's equality to say:
 * with citext, 'Acme' and 'acme' are one tenant, with numeric, 42 and 42.0 are.
 * For most types (integers, uuid, text) two values are equal
 * only if their bytes are, as the B-tree's operator class says of itself, and
 * texts are compared as they are.
 *
 * Where that is not so, the type and collation of the tenant table's key are
 * the identity of tenants in all tables; but for a table from whose tenant
 * column no foreign key could lead there, whose own type and collation count,
 * and for its rows only. The latter must be a superuser's: the owner of a table
 * may give it a collation in which all keys are equal. Nearly always there is
 * one identity, or none.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "common/tables.h"
#include "guard/guard_internal.h"

static DgIdentities *current = NULL;
static bool valid = false;
static bool stale = false;		/* was anything altered while they were looked
								 * for? */
static uint64 generation = 0;


/*
 * Are values of the type equal only if their bytes, and their texts, are? Of
 * char(n) the B-tree says so because a column has one length; tenants come from
 * several columns.
 */
static bool
is_plain(Oid type, Oid collation)
{
	TypeCacheEntry *cache = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
	Oid			proc;

	if (!OidIsValid(cache->btree_opf))
		return true;
	if (type == BPCHAROID)
		return false;
	proc = get_opfamily_proc(cache->btree_opf, cache->btree_opintype, cache->btree_opintype, BTEQUALIMAGE_PROC);
	return OidIsValid(proc) &&
		DatumGetBool(OidFunctionCall1Coll(proc, collation, ObjectIdGetDatum(cache->btree_opintype)));
}

static bool
is_superusers(int cacheid, AttrNumber attnum, Oid object)
{
	HeapTuple	tuple = SearchSysCache1(cacheid, ObjectIdGetDatum(object));
	bool		isnull;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = superuser_arg(DatumGetObjectId(SysCacheGetAttr(cacheid, tuple, attnum, &isnull)));
	ReleaseSysCache(tuple);
	return result;
}

static bool
is_trusted(Oid type, Oid collation)
{
	return is_superusers(TYPEOID, Anum_pg_type_typowner, type) &&
		(!OidIsValid(collation) || is_superusers(COLLOID, Anum_pg_collation_collowner, collation));
}

/*
 * The type, without domains, and the collation of a column; false if there is
 * no such column.
 */
static bool
type_of_column(Oid relid, const char *column, Oid *type, Oid *collation)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, column);

	if (!HeapTupleIsValid(tuple))
		return false;
	*type = getBaseType(((Form_pg_attribute) GETSTRUCT(tuple))->atttypid);
	*collation = ((Form_pg_attribute) GETSTRUCT(tuple))->attcollation;
	ReleaseSysCache(tuple);
	return true;
}

/*
 * The number of the identity that a type and collation are, in a table's column.
 */
static int
add_identity(DgIdentities *identities, Oid relid, Oid type, Oid collation)
{
	const int	flags = TYPECACHE_EQ_OPR | TYPECACHE_HASH_PROC | TYPECACHE_HASH_EXTENDED_PROC;
	TypeCacheEntry *cache = lookup_type_cache(type, flags);
	DgIdentity *identity;

	for (int i = 0; i < identities->n; i++)
	{
		if (identities->list[i].type == type && identities->list[i].collation == collation)
			return i;
	}
	if (!OidIsValid(cache->eq_opr))
		return DG_NO_IDENTITY;
	identities->list = identities->n == 0 ? MemoryContextAlloc(identities->context, sizeof(DgIdentity)) :
		repalloc(identities->list, sizeof(DgIdentity) * (identities->n + 1));
	identity = &identities->list[identities->n];
	memset(identity, 0, sizeof(DgIdentity));
	identity->relid = relid;
	identity->type = type;
	identity->collation = collation;
	get_typlenbyval(type, &identity->len, &identity->byval);
	identity->extended = OidIsValid(cache->hash_extended_proc);
	fmgr_info_cxt(get_opcode(cache->eq_opr), &identity->equal, identities->context);
	if (OidIsValid(cache->hash_proc))
		fmgr_info_cxt(identity->extended ? cache->hash_extended_proc : cache->hash_proc,
					  &identity->hash, identities->context);
	return identities->n++;
}

static void
add_table_identity(DgIdentities *identities, Oid relid, int identity)
{
	identities->tables = identities->ntables == 0 ?
		MemoryContextAlloc(identities->context, sizeof(DgTableIdentity)) :
		repalloc(identities->tables, sizeof(DgTableIdentity) * (identities->ntables + 1));
	identities->tables[identities->ntables].relid = relid;
	identities->tables[identities->ntables++].identity = identity;
}

static int
compare_table_identities(const void *a, const void *b)
{
	const DgTableIdentity *x = a;
	const DgTableIdentity *y = b;

	return x->relid < y->relid ? -1 : x->relid > y->relid;
}

/*
 * Which columns' equality makes tenants of a table one; NULL if it has none.
 */
DgTableIdentity *
dg_guard_identity_table(const DgIdentities *identities, Oid relid)
{
	DgTableIdentity key = {relid};

	return bsearch(&key, identities->tables, identities->ntables, sizeof(DgTableIdentity), compare_table_identities);
}

static void
sort_tables(DgIdentities *identities)
{
	qsort(identities->tables, identities->ntables, sizeof(DgTableIdentity), compare_table_identities);
}

/*
 * What counts in a guarded table with this tenant column. key_type is the type of
 * the tenant table's key.
 */
static int
identity_of_column(DgIdentities *identities, Oid relid, const char *column, Oid key_type)
{
	Oid			type;
	Oid			collation;

	if (!type_of_column(relid, column, &type, &collation) || is_plain(type, collation) ||
		(OidIsValid(key_type) && can_coerce_type(1, &type, &key_type, COERCION_IMPLICIT)))
		return identities->general;
	return is_trusted(type, collation) ? add_identity(identities, relid, type, collation) : DG_NO_IDENTITY;
}

/*
 * The table that a foreign key refers to; none if there is no such key, or if it
 * is an inheritance parent's. Locks nothing.
 */
static Oid
referenced_table(Oid relid, const char *key)
{
	Oid			constraint = get_relation_constraint_oid(relid, key, true);
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Oid			referenced;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	referenced = ((Form_pg_constraint) GETSTRUCT(tuple))->confrelid;
	ReleaseSysCache(tuple);
	return referenced;
}

/*
 * What counts in a guarded table with a tenant path: what does at its end.
 */
static int
identity_of_path(DgIdentities *identities, Oid relid)
{
	const DgTableIdentity *table;
	Oid			end = relid;
	ListCell   *lc;

	foreach(lc, linitial(dg_guard_paths(relid)))
	{
		const DgStep *step = dg_guard_step_marked(lfirst(lc));

		end = step != NULL ? step->target : referenced_table(end, lfirst(lc));
	}
	table = dg_guard_identity_table(identities, end);
	return table != NULL ? table->identity : identities->general;
}

/*
 * Looks at all guarded tables. Those with a path need not be in the list unless
 * there is more than one answer.
 */
static void
look_at_guards(DgIdentities *identities, Oid key_type)
{
	Relation	registry = table_open(dg_objects()->guard, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(registry);
	SysScanDesc scan = systable_beginscan(registry, InvalidOid, false, NULL, 0, NULL);
	List	   *with_path = NIL;
	ListCell   *lc;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Oid			relid = DatumGetObjectId(heap_getattr(tuple, Anum_guard_relation, desc, &isnull));
		Datum		column = heap_getattr(tuple, Anum_guard_tenant_column, desc, &isnull);

		if (isnull && heap_attisnull(tuple, Anum_guard_tenant_path, desc))
			continue;
		if (isnull)
			with_path = lappend_oid(with_path, relid);
		else if (relid != dg_guard_tenant_table()->relid)
			add_table_identity(identities, relid,
							   identity_of_column(identities, relid, NameStr(*DatumGetName(column)), key_type));
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	sort_tables(identities);
	if (identities->n == (identities->general == DG_NO_IDENTITY ? 0 : 1))
		return;
	foreach(lc, with_path)
	{
		add_table_identity(identities, lfirst_oid(lc), identity_of_path(identities, lfirst_oid(lc)));
		sort_tables(identities);
	}
}

static DgIdentities *
find_identities(void)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard identities",
												  ALLOCSET_SMALL_SIZES);
	DgIdentities *identities = MemoryContextAllocZero(context, sizeof(DgIdentities));
	Oid			key_type = InvalidOid;
	Oid			collation;

	identities->context = context;
	identities->general = DG_NO_IDENTITY;
	if (OidIsValid(tenants->relid) &&
		type_of_column(tenants->relid, NameStr(tenants->key_column), &key_type, &collation) &&
		!is_plain(key_type, collation))
		identities->general = add_identity(identities, tenants->relid, key_type, collation);
	add_table_identity(identities, tenants->relid, identities->general);
	look_at_guards(identities, key_type);
	return identities;
}

/*
 * The relcache says that a table has changed, InvalidOid: that any may have.
 */
static void
table_altered(Datum arg, Oid relid)
{
	const DgObjects *objects = dg_known_objects();

	if (!valid)
		stale = true;
	else if (!OidIsValid(relid) || objects == NULL || relid == objects->guard || relid == objects->tenant_table ||
			 dg_guard_identity_table(current, relid) != NULL)
		valid = false;
}

/*
 * Makes ready, as the library is loaded, to forget how tenants are compared when the
 * catalog changes.
 */
void
dg_guard_tenant_init(void)
{
	dg_follow_relcache(table_altered);
}

/*
 * The identities that count now. They live until the end of the transaction at
 * least.
 */
const DgIdentities *
dg_guard_identities(void)
{
	/* where caches are always discarded, twice must do */
	for (int tries = 0; !valid && tries < 2; tries++)
	{
		DgIdentities *found;

		stale = false;
		found = find_identities();
		if (current != NULL)
			MemoryContextSetParent(current->context, TopTransactionContext);
		MemoryContextSetParent(found->context, CacheMemoryContext);
		current = found;
		generation++;
		valid = !stale;
	}
	return current;
}

/*
 * Are the tenants in a column what their texts are? So it is if neither its type
 * nor that of the tenant table's key says otherwise.
 */
bool
dg_guard_tenant_is_plain(Oid relid, const char *column)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	Oid			type;
	Oid			collation;

	return (!type_of_column(relid, column, &type, &collation) || is_plain(type, collation)) &&
		(!OidIsValid(tenants->relid) ||
		 !type_of_column(tenants->relid, NameStr(tenants->key_column), &type, &collation) ||
		 is_plain(type, collation));
}

/*
 * Are all tenants what their texts are?
 */
bool
dg_guard_tenants_are_plain(void)
{
	return dg_guard_identities()->n == 0;
}

/*
 * Changes whenever two tenants that were one, or one that was two, may be
 * something else now.
 */
uint64
dg_guard_tenant_generation(void)
{
	(void) dg_guard_identities();
	return generation;
}

/*
 * Counts how often the identities have changed, as far as is known.
 */
uint64
dg_guard_identity_generation(void)
{
	return generation;
}
