/*
 * guard_tenant.c
 *		Which tenants are the same one.
 *
 * A tenant is kept as text, but who it is is for its column's equality to say:
 * with citext, 'Acme' and 'acme' are one tenant, with numeric, 42 and 42.0 are.
 * All rooms ask here. guard_identity.c says whose equality counts; for most
 * types texts are compared as they are.
 *
 * A text that the type's input function does not take is only equal to itself.
 * Input functions may run code of the table's owner, and operators' functions
 * may be replaced by their owners: all of these run as the table's owner.
 */
#include "postgres.h"

#include "access/table.h"
#include "common/hashfn.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "common/tables.h"
#include "guard/guard_internal.h"

PG_FUNCTION_INFO_V1(dg_same_tenant);

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
	DgRole		caller = dg_role_become(rel->rd_rel->relowner, SECURITY_RESTRICTED_OPERATION);

	key->value = dg_value_of_text(key->type, -1, key->text);
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
dg_guard_tenant_read_key(Oid relid, Oid type, const char *tenant, Datum *value)
{
	KeyText		key = {relid, getBaseType(type), tenant};
	DgActing	saved = dg_acting_set(DG_ACTING_NOT);
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
call_function(const DgIdentity *identity, const FmgrInfo *function, Datum a, Datum b)
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
		saved = dg_acting_set(DG_ACTING_NOT);
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
hash_tenant_value(const DgIdentity *identity, Datum value)
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
dg_guard_tenant_text_hash(const char *tenant)
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
	texts_generation = dg_guard_identity_generation();
	texts_begun++;
}

/*
 * Reads a text as a key. Code of the table's owner runs here, and may come here,
 * too.
 */
static void
read_tenant_text(const DgIdentities *identities, Known *known)
{
	for (int i = 0; i < identities->n; i++)
	{
		const DgIdentity *identity = &identities->list[i];

		/*
		 * the table may have been dropped since the last message from the
		 * relcache
		 */
		if (get_rel_name(identity->relid) == NULL ||
			!dg_guard_tenant_read_key(identity->relid, identity->type, known->text, &known->values[i]))
			continue;
		known->taken[i] = true;
		known->hashes[known->nhashes++] = hash_tenant_value(identity, known->values[i]);
	}
	if (known->nhashes == 0)
		known->hashes[known->nhashes++] = dg_guard_tenant_text_hash(known->text);
}

static Known
begin_known(const DgIdentities *identities, const char *text)
{
	Known		known = {.text = pstrdup(text)};

	known.values = palloc0(sizeof(Datum) * identities->n);
	known.taken = palloc0(sizeof(bool) * identities->n);
	known.hashes = palloc0(sizeof(uint64) * identities->n);
	return known;
}

/*
 * Keeps what was read for the rest of the transaction.
 */
static Known
keep_known(const DgIdentities *identities, const Known *read)
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
know_text(const DgIdentities *identities, const char *text)
{
	Known	   *known;
	Known		read;

	if (texts == NULL || texts_generation != dg_guard_identity_generation() ||
		MemoryContextMemAllocated(known_context, true) > MAX_KNOWN_BYTES)
		begin_texts();
	known = known_lookup(texts, text);
	if (known != NULL)
		return *known;
	read = begin_known(identities, text);
	read_tenant_text(identities, &read);
	if (texts == NULL || texts_generation != dg_guard_identity_generation())
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
	const DgIdentities *identities;
	Known		x;
	Known		y;
	uint64		begun;

	do
	{
		identities = dg_guard_identities();
		x = know_text(identities, a);
		begun = texts_begun;
		y = know_text(identities, b);
	} while (begun != texts_begun);

	for (int i = first; i <= Min(last, identities->n - 1); i++)
	{
		const DgIdentity *identity = &identities->list[i];

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
dg_guard_tenant_equal(const char *a, const char *b)
{
	return strcmp(a, b) == 0 ||
		(dg_guard_identities()->n > 0 && are_equal(a, b, 0, dg_guard_identities()->n - 1));
}

/*
 * Do two texts stand for the same tenant in rows of a guarded table?
 * InvalidOid: of the tenant table, or of one that is not guarded (any more).
 */
bool
dg_guard_tenant_equal_in(Oid relid, const char *a, const char *b)
{
	int			identity = dg_guard_tenant_identity(relid);

	return strcmp(a, b) == 0 || (identity != DG_NO_IDENTITY && are_equal(a, b, identity, identity));
}

/*
 * The number of what counts in a guarded table; the same for all whose tenants are
 * told apart in the same way, and negative where it is by their texts.
 */
int
dg_guard_tenant_identity(Oid relid)
{
	const DgIdentities *identities = dg_guard_identities();
	const DgTableIdentity *table = identities->n > 0 ? dg_guard_identity_table(identities, relid) : NULL;

	return table != NULL ? table->identity : identities->general;
}

/*
 * same_tenant(a text, b text) -> boolean
 */
Datum
dg_same_tenant(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(dg_guard_tenant_equal(text_to_cstring(PG_GETARG_TEXT_PP(0)),
										 text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

/*
 * Numbers of which all texts of one tenant have one in common, *n of them;
 * palloc'd.
 */
uint64 *
dg_guard_tenant_hashes(const char *tenant, int *n)
{
	const DgIdentities *identities = dg_guard_identities();
	uint64	   *hashes;
	Known		known;

	if (identities->n == 0)
	{
		*n = 1;
		hashes = palloc(sizeof(uint64));
		*hashes = dg_guard_tenant_text_hash(tenant);
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
dg_guard_tenant_hash(const char *tenant)
{
	int			n;

	return dg_guard_identities()->n > 1 ? 0 : *dg_guard_tenant_hashes(tenant, &n);
}
