/*
 * guard_tenant.c
 *		Which tenants are the same one.
 *
 * A tenant is kept as text, but who it is is for its column's equality to say:
 * with citext, 'Acme' and 'acme' are one tenant, with numeric, 42 and 42.0 are.
 * All rooms ask here. For most types (integers, uuid, text) two values are equal
 * only if their bytes are, as the B-tree's operator class says of itself, and
 * texts are compared as they are.
 *
 * Where that is not so, the type and collation of the tenant table's key are
 * the identity of tenants in all tables; but for a table from whose tenant
 * column no foreign key could lead there, whose own type and collation count,
 * and for its rows only. The latter must be a superuser's: the owner of a table
 * may give it a collation in which all keys are equal. Nearly always there is
 * one identity, or none.
 *
 * A text that the type's input function does not take is only equal to itself.
 * Input functions may run code of the table's owner, and operators' functions
 * may be replaced by their owners: all of these run as the table's owner.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "common/tables.h"
#include "guard/guard_internal.h"

PG_FUNCTION_INFO_V1(dg_same_tenant);

typedef struct Identity
{
	Oid			relid;			/* the table whose column it comes from */
	Oid			type;			/* no domain */
	Oid			collation;
	int16		len;
	bool		byval;
	FmgrInfo	equal;
	FmgrInfo	hash;			/* fn_oid is InvalidOid: the type cannot be hashed */
	bool		extended;		/* hash gives 64 bits */
} Identity;

/* What counts in one guarded table, or the tenant table. */
typedef struct TableIdentity
{
	Oid			relid;			/* key */
	int			identity;		/* its number; NO_IDENTITY: texts are compared */
} TableIdentity;

#define NO_IDENTITY (-1)

/* The identities, and the tables that they were looked for in. */
typedef struct Identities
{
	MemoryContext context;
	int			n;
	Identity   *list;
	int			general;		/* of tenants in all other tables */
	TableIdentity *tables;		/* by OID */
	int			ntables;
} Identities;

static Identities *current = NULL;
static bool valid = false;
static bool stale = false;		/* was anything altered while they were looked for? */
static uint64 generation = 0;

/* What a text stands for, by each identity. */
typedef struct Known
{
	const char *text;			/* hash key */
	uint32		hash;
	char		status;
	Datum	   *values;
	bool	   *taken;			/* by the input function */
	uint64	   *hashes;
	int			nhashes;
} Known;

#define SH_PREFIX known
#define SH_ELEMENT_TYPE Known
#define SH_KEY_TYPE const char *
#define SH_KEY text
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) a->hash
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) key, strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* what to forget everything at */
#define MAX_KNOWN_BYTES ((Size) 64 * 1024 * 1024)

static known_hash *texts = NULL;	/* of this transaction */
static MemoryContext known_context = NULL;
static uint64 texts_generation;
static uint64 texts_begun = 0;

/* ----------------------------------------------------------------------
 * Finding the identities
 * ----------------------------------------------------------------------
 */

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
add_identity(Identities *identities, Oid relid, Oid type, Oid collation)
{
	const int	flags = TYPECACHE_EQ_OPR | TYPECACHE_HASH_PROC | TYPECACHE_HASH_EXTENDED_PROC;
	TypeCacheEntry *cache = lookup_type_cache(type, flags);
	Identity   *identity;

	for (int i = 0; i < identities->n; i++)
	{
		if (identities->list[i].type == type && identities->list[i].collation == collation)
			return i;
	}
	if (!OidIsValid(cache->eq_opr))
		return NO_IDENTITY;
	identities->list = identities->n == 0 ? MemoryContextAlloc(identities->context, sizeof(Identity)) :
		repalloc(identities->list, sizeof(Identity) * (identities->n + 1));
	identity = &identities->list[identities->n];
	memset(identity, 0, sizeof(Identity));
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
add_table_identity(Identities *identities, Oid relid, int identity)
{
	identities->tables = identities->ntables == 0 ?
		MemoryContextAlloc(identities->context, sizeof(TableIdentity)) :
		repalloc(identities->tables, sizeof(TableIdentity) * (identities->ntables + 1));
	identities->tables[identities->ntables++] = (TableIdentity) {relid, identity};
}

static int
compare_table_identities(const void *a, const void *b)
{
	const TableIdentity *x = a;
	const TableIdentity *y = b;

	return x->relid < y->relid ? -1 : x->relid > y->relid;
}

static TableIdentity *
find_table(const Identities *identities, Oid relid)
{
	TableIdentity key = {relid};

	return bsearch(&key, identities->tables, identities->ntables, sizeof(TableIdentity), compare_table_identities);
}

static void
sort_tables(Identities *identities)
{
	qsort(identities->tables, identities->ntables, sizeof(TableIdentity), compare_table_identities);
}

/*
 * What counts in a guarded table with this tenant column. key_type is the type of
 * the tenant table's key.
 */
static int
identity_of_column(Identities *identities, Oid relid, const char *column, Oid key_type)
{
	Oid			type;
	Oid			collation;

	if (!type_of_column(relid, column, &type, &collation) || is_plain(type, collation) ||
		(OidIsValid(key_type) && can_coerce_type(1, &type, &key_type, COERCION_IMPLICIT)))
		return identities->general;
	return is_trusted(type, collation) ? add_identity(identities, relid, type, collation) : NO_IDENTITY;
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
identity_of_path(Identities *identities, Oid relid)
{
	const TableIdentity *table;
	Oid			end = relid;
	ListCell   *lc;

	foreach(lc, dg_guard_lookup(relid)->tenant_path)
		end = referenced_table(end, lfirst(lc));
	table = find_table(identities, end);
	return table != NULL ? table->identity : identities->general;
}

/*
 * Looks at all guarded tables. Those with a path need not be in the list unless
 * there is more than one answer.
 */
static void
look_at_guards(Identities *identities, Oid key_type)
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

		if (isnull)
			with_path = lappend_oid(with_path, relid);
		else if (relid != dg_tenant_table()->relid)
			add_table_identity(identities, relid,
					  identity_of_column(identities, relid, NameStr(*DatumGetName(column)), key_type));
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	sort_tables(identities);
	if (identities->n == (identities->general == NO_IDENTITY ? 0 : 1))
		return;
	foreach(lc, with_path)
	{
		add_table_identity(identities, lfirst_oid(lc), identity_of_path(identities, lfirst_oid(lc)));
		sort_tables(identities);
	}
}

static Identities *
find_identities(void)
{
	const DgTenantTable *tenants = dg_tenant_table();
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard identities",
												  ALLOCSET_SMALL_SIZES);
	Identities *identities = MemoryContextAllocZero(context, sizeof(Identities));
	Oid			key_type = InvalidOid;
	Oid			collation;

	identities->context = context;
	identities->general = NO_IDENTITY;
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
			 find_table(current, relid) != NULL)
		valid = false;
}

void
dg_tenant_init(void)
{
	CacheRegisterRelcacheCallback(table_altered, (Datum) 0);
}

/*
 * The identities that count now. They live until the end of the transaction at
 * least.
 */
static const Identities *
get_identities(void)
{
	/* where caches are always discarded, twice must do */
	for (int tries = 0; !valid && tries < 2; tries++)
	{
		Identities *found;

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
dg_tenant_is_plain(Oid relid, const char *column)
{
	const DgTenantTable *tenants = dg_tenant_table();
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
dg_tenants_are_plain(void)
{
	return get_identities()->n == 0;
}

/*
 * Changes whenever two tenants that were one, or one that was two, may be
 * something else now.
 */
uint64
dg_tenant_generation(void)
{
	(void) get_identities();
	return generation;
}

/* ----------------------------------------------------------------------
 * What texts stand for
 * ----------------------------------------------------------------------
 */

typedef struct KeyText
{
	Oid			relid;
	Oid			type;
	const char *text;
	Datum		value;
} KeyText;

static void
input_key(void *arg)
{
	KeyText    *key = arg;
	Relation	rel = table_open(key->relid, AccessShareLock);
	Oid			input;
	Oid			ioparam;
	DgRole		caller = dg_role_become(rel->rd_rel->relowner, SECURITY_RESTRICTED_OPERATION);

	getTypeInputInfo(key->type, &input, &ioparam);
	key->value = OidInputFunctionCall(input, unconstify(char *, key->text), ioparam, -1);
	dg_role_leave(caller);
	table_close(rel, NoLock);
}

/*
 * Is it no fault of the text that it could not be read?
 */
static bool
is_trouble(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return true;
		default:
			return false;
	}
}

/*
 * Reads a tenant's key by the input function of a type or, of a domain, of
 * its base type. False if the function refuses it: then no tenant can have
 * this key. Input functions refuse by an error, of whatever class, hence the
 * subtransaction; and there may be domains inside the type, whose checks are code
 * of the table's owner.
 */
bool
dg_tenant_read_key(Oid relid, Oid type, const char *tenant, Datum *value)
{
	KeyText		key = {relid, getBaseType(type), tenant};
	DgActing	saved = dg_acting_suspend();
	ErrorData  *error = dg_try(input_key, &key, true);

	dg_acting_resume(saved);
	*value = key.value;
	if (error != NULL && is_trouble(error))
		ReThrowError(error);
	return error == NULL;
}

/*
 * Calls a function of an identity with one value, or two, as the owner of the
 * table that it comes from.
 */
static Datum
call_function(const Identity *identity, const FmgrInfo *function, Datum a, Datum b)
{
	FmgrInfo	copy = *function;
	bool		built_in = function->fn_oid < FirstNormalObjectId;
	DgRole		caller;
	DgActing	saved;
	Datum		result;

	copy.fn_mcxt = CurrentMemoryContext;
	copy.fn_extra = NULL;
	if (!built_in)
	{
		caller = dg_role_enter(dg_relation_owner(identity->relid), SECURITY_RESTRICTED_OPERATION);
		saved = dg_acting_suspend();
	}
	result = FunctionCall2Coll(&copy, identity->collation, a, b);
	if (!built_in)
	{
		dg_acting_resume(saved);
		dg_role_leave(caller);
	}
	return result;
}

static uint64
hash_tenant_value(const Identity *identity, Datum value)
{
	Datum		hash;

	if (!OidIsValid(identity->hash.fn_oid))
		return 0;
	hash = call_function(identity, &identity->hash, value, UInt64GetDatum(0));
	return identity->extended ? DatumGetUInt64(hash) : DatumGetUInt32(hash);
}

/*
 * What deletion_part is indexed by: keys may be too long for an index. It
 * equals hashtextextended(tenant, 0), by which the table makes it (a dump does
 * not have it, as it depends on the machine).
 */
uint64
dg_tenant_text_hash(const char *tenant)
{
	return hash_bytes_extended((const unsigned char *) tenant, strlen(tenant), 0);
}

static void
forget_texts(void *arg)
{
	texts = NULL;
	known_context = NULL;
}

static void
begin_texts(void)
{
	MemoryContextCallback *callback;

	if (known_context != NULL)
		MemoryContextDelete(known_context);
	known_context = AllocSetContextCreate(TopTransactionContext, "deletion_guard tenants", ALLOCSET_DEFAULT_SIZES);
	callback = MemoryContextAlloc(known_context, sizeof(MemoryContextCallback));
	callback->func = forget_texts;
	MemoryContextRegisterResetCallback(known_context, callback);
	texts = known_create(known_context, 64, NULL);
	texts_generation = generation;
	texts_begun++;
}

/*
 * Reads a text as a key. Code of the table's owner runs here, and may come here,
 * too.
 */
static void
read_tenant_text(const Identities *identities, Known *known)
{
	for (int i = 0; i < identities->n; i++)
	{
		const Identity *identity = &identities->list[i];

		/* the table may have been dropped since the last message from the relcache */
		if (get_rel_name(identity->relid) == NULL ||
			!dg_tenant_read_key(identity->relid, identity->type, known->text, &known->values[i]))
			continue;
		known->taken[i] = true;
		known->hashes[known->nhashes++] = hash_tenant_value(identity, known->values[i]);
	}
	if (known->nhashes == 0)
		known->hashes[known->nhashes++] = dg_tenant_text_hash(known->text);
}

static Known
begin_known(const Identities *identities, const char *text)
{
	return (Known) {
		.text = pstrdup(text),
		.values = palloc0(sizeof(Datum) * identities->n),
		.taken = palloc0(sizeof(bool) * identities->n),
		.hashes = palloc0(sizeof(uint64) * identities->n)
	};
}

/*
 * Keeps what was read for the rest of the transaction.
 */
static Known
keep_known(const Identities *identities, const Known *read)
{
	MemoryContext old = MemoryContextSwitchTo(known_context);
	Known		copy = begin_known(identities, read->text);
	Known	   *known;
	bool		exists;

	for (int i = 0; i < identities->n; i++)
	{
		copy.taken[i] = read->taken[i];
		if (read->taken[i])
			copy.values[i] = datumCopy(read->values[i], identities->list[i].byval, identities->list[i].len);
	}
	copy.nhashes = read->nhashes;
	memcpy(copy.hashes, read->hashes, sizeof(uint64) * read->nhashes);
	MemoryContextSwitchTo(old);
	known = known_insert(texts, copy.text, &exists);
	copy.hash = known->hash;
	copy.status = known->status;
	*known = copy;
	return copy;
}

/*
 * What a text stands for; valid until a next call counts texts_begun up.
 */
static Known
know_text(const Identities *identities, const char *text)
{
	Known	   *known;
	Known		read;

	if (texts == NULL || texts_generation != generation ||
		MemoryContextMemAllocated(known_context, true) > MAX_KNOWN_BYTES)
		begin_texts();
	known = known_lookup(texts, text);
	if (known != NULL)
		return *known;
	read = begin_known(identities, text);
	read_tenant_text(identities, &read);
	if (texts == NULL || texts_generation != generation)
		begin_texts();
	return keep_known(identities, &read);
}

/* ----------------------------------------------------------------------
 * The same tenant?
 * ----------------------------------------------------------------------
 */

/*
 * Are two texts equal by one of the identities from first to last? (They are not
 * the same text.)
 */
static bool
are_equal(const char *a, const char *b, int first, int last)
{
	const Identities *identities;
	Known		x;
	Known		y;
	uint64		begun;

	do
	{
		identities = get_identities();
		x = know_text(identities, a);
		begun = texts_begun;
		y = know_text(identities, b);
	} while (begun != texts_begun);

	for (int i = first; i <= Min(last, identities->n - 1); i++)
	{
		const Identity *identity = &identities->list[i];

		if (x.taken[i] && y.taken[i] &&
			DatumGetBool(call_function(identity, &identity->equal, x.values[i], y.values[i])))
			return true;
	}
	return false;
}

/*
 * Do two texts stand for the same tenant in any table? For what had better be
 * done for one tenant too many: locks, holds.
 */
bool
dg_tenant_equal(const char *a, const char *b)
{
	return strcmp(a, b) == 0 ||
		(get_identities()->n > 0 && are_equal(a, b, 0, get_identities()->n - 1));
}

/*
 * Do two texts stand for the same tenant in rows of a guarded table?
 * InvalidOid: of the tenant table, or of one that is not guarded (any more).
 */
bool
dg_tenant_equal_in(Oid relid, const char *a, const char *b)
{
	int			identity = dg_tenant_identity(relid);

	return strcmp(a, b) == 0 || (identity != NO_IDENTITY && are_equal(a, b, identity, identity));
}

/*
 * The number of what counts in a guarded table; the same for all whose tenants are
 * told apart in the same way, and negative where it is by their texts.
 */
int
dg_tenant_identity(Oid relid)
{
	const Identities *identities = get_identities();
	const TableIdentity *table = identities->n > 0 ? find_table(identities, relid) : NULL;

	return table != NULL ? table->identity : identities->general;
}

/*
 * same_tenant(a text, b text) -> boolean
 */
Datum
dg_same_tenant(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(dg_tenant_equal(text_to_cstring(PG_GETARG_TEXT_PP(0)),
								   text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

/*
 * Numbers of which all texts of one tenant have one in common, *n of them;
 * palloc'd.
 */
uint64 *
dg_tenant_hashes(const char *tenant, int *n)
{
	const Identities *identities = get_identities();
	uint64	   *hashes;
	Known		known;

	if (identities->n == 0)
	{
		*n = 1;
		hashes = palloc(sizeof(uint64));
		*hashes = dg_tenant_text_hash(tenant);
		return hashes;
	}
	known = know_text(identities, tenant);
	*n = known.nhashes;
	hashes = palloc(sizeof(uint64) * known.nhashes);
	memcpy(hashes, known.hashes, sizeof(uint64) * known.nhashes);
	return hashes;
}

/*
 * A number that is the same for all texts of one tenant. Where there are several
 * identities, and so no chain of them by which any two tenants could become one
 * can be ruled out, it is the same for all.
 */
uint64
dg_tenant_hash(const char *tenant)
{
	int			n;

	return get_identities()->n > 1 ? 0 : *dg_tenant_hashes(tenant, &n);
}
