/*
 * extract_keyvalue.c
 *		Values of a column, given as text, as parts of keys: which texts are the same
 *		value?
 *
 * Most types are compared by the bytes of their text: those whose equal values are
 * always written in the same way. An archive from before the column had such a type
 * may have spelled a value otherwise ("02"), so what is not written as the type
 * writes it is read by the type and written anew. A value of any other type (numeric,
 * citext, text under a nondeterministic collation, char(n)) is read by the type and
 * compared by its own equality, and a number stands for it; each distinct text is
 * read once, then it is known. The distinct values stay in memory.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "extract/extract_internal.h"
#include "rows/rows.h"

/* spellings of a type's values to remember */
#define MAX_SPELLINGS	100000

/* A value of a type that is not compared by bytes. */
typedef struct TypedValue
{
	struct TypedValue *next;	/* with the same hash */
	int			number;
	Datum		value;
} TypedValue;

typedef struct TypedBucket
{
	uint32		hash;			/* hash key */
	TypedValue *values;
} TypedBucket;

struct DgKeyTyped
{
	Oid			collation;
	Oid			typioparam;
	int16		typlen;
	bool		typbyval;
	FmgrInfo	input;
	DgRowsRole	role;			/* as whom it runs */
	FmgrInfo	eq;
	FmgrInfo	hash;
	bool		has_hash;
	HTAB	   *buckets;
	int			nvalues;
	DgKeyTable	spellings;		/* text to number of its value, or
								 * DG_KEY_NO_VALUE */
	MemoryContext context;
};

/*
 * Is every value of the type written in one way only, and no other value in
 * the same way?
 */
static bool
equal_by_bytes(Oid type, Oid collation)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case BOOLOID:
		case UUIDOID:
		case NAMEOID:
			return true;
		case TEXTOID:
		case VARCHAROID:
			return get_collation_isdeterministic(OidIsValid(collation) ? collation : DEFAULT_COLLATION_OID);
		default:
			return type_is_enum(type);
	}
}

static bool
is_written_integer(const char *text, size_t len)
{
	const char *digits = len > 0 && text[0] == '-' ? text + 1 : text;
	const char *end = text + len;

	if (digits == end || (digits[0] == '0' && len > 1))
		return false;
	while (digits < end && isdigit((unsigned char) *digits))
		digits++;
	return digits == end;
}

static bool
is_written_uuid(const char *text, size_t len)
{
	if (len != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		bool		dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : strchr("0123456789abcdef", text[i]) == NULL || text[i] == '\0')
			return false;
	}
	return true;
}

/*
 * Is a text written as a type, of those that are compared by bytes, writes its values?
 */
bool
dg_extract_keyvalue_is_written(Oid type, const char *text, size_t len)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
			return is_written_integer(text, len);
		case BOOLOID:
			return len == 1 && (text[0] == 't' || text[0] == 'f');
		case UUIDOID:
			return is_written_uuid(text, len);
		default:
			return true;
	}
}

static DgKeyTyped *
make_typed(Oid type, Oid collation, Oid owner, MemoryContext context)
{
	DgKeyTyped *typed = MemoryContextAllocZero(context, sizeof(DgKeyTyped));
	TypeCacheEntry *cache = lookup_type_cache(type, TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_PROC_FINFO);
	Oid			input;
	HASHCTL		ctl = {.keysize = sizeof(uint32),.entrysize = sizeof(TypedBucket),.hcxt = context};

	if (!OidIsValid(cache->eq_opr_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an equality operator for type %s", format_type_be(type)),
				 errdetail("It is the type of a column that tells the tenant of rows.")));
	typed->collation = collation;
	typed->role = dg_rows_role_of(owner);
	typed->typlen = cache->typlen;
	typed->typbyval = cache->typbyval;
	fmgr_info_copy(&typed->eq, &cache->eq_opr_finfo, context);
	typed->has_hash = OidIsValid(cache->hash_proc_finfo.fn_oid);
	if (typed->has_hash)
		fmgr_info_copy(&typed->hash, &cache->hash_proc_finfo, context);
	getTypeInputInfo(type, &input, &typed->typioparam);
	fmgr_info_cxt(input, &typed->input, context);
	typed->buckets = hash_create("deletion_guard key values", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	dg_extract_keytable_init(&typed->spellings, context);
	typed->context = context;
	return typed;
}

/*
 * Makes ready for values of a type. The collation tells whether they are equal;
 * the owner is that of the table they are of. What has to be kept is put into the
 * context.
 */
void
dg_extract_keyvalue_init(DgKeyMapColumn *column, Oid type, Oid collation, Oid owner, MemoryContext context)
{
	column->type = getBaseType(type);
	if (!equal_by_bytes(column->type, collation))
		column->typed = make_typed(column->type, collation, owner, context);
}

/*
 * Looks for a value that is equal; adds it if asked to. Returns its number, or
 * DG_KEY_NO_VALUE.
 */
static int32
number_of_value(DgKeyTyped *typed, Datum datum, bool add)
{
	uint32		hash = 0;
	TypedBucket *bucket;
	TypedValue *value;
	bool		found;
	MemoryContext old;

	if (typed->has_hash)
		hash = DatumGetUInt32(FunctionCall1Coll(&typed->hash, typed->collation, datum));
	bucket = hash_search(typed->buckets, &hash, add ? HASH_ENTER : HASH_FIND, &found);
	for (value = found ? bucket->values : NULL; value != NULL; value = value->next)
	{
		if (DatumGetBool(FunctionCall2Coll(&typed->eq, typed->collation, value->value, datum)))
			return value->number;
	}
	if (!add)
		return DG_KEY_NO_VALUE;

	old = MemoryContextSwitchTo(typed->context);
	value = palloc(sizeof(TypedValue));
	value->number = typed->nvalues++;
	value->value = datumCopy(datum, typed->typbyval, typed->typlen);
	value->next = found ? bucket->values : NULL;
	bucket->values = value;
	MemoryContextSwitchTo(old);
	return value->number;
}

/*
 * The number that stands for a text's value, if that is known already; otherwise
 * DG_KEY_ABSENT. Throws nothing. Not for types that are compared by bytes.
 */
int32
dg_extract_keyvalue_known(const DgKeyMapColumn *column, const char *text, size_t len)
{
	return dg_extract_keytable_find(&column->typed->spellings, text, len);
}

/*
 * The number that stands for a text's value, which may be added; otherwise
 * DG_KEY_NO_VALUE where no key has it. Not for types that are compared by bytes.
 * The scratch context is reset.
 */
int32
dg_extract_keyvalue_number(DgKeyMapColumn *column, const DgKeyText *text, bool add, MemoryContext scratch)
{
	DgKeyTyped *typed = column->typed;
	int32		number = dg_extract_keytable_find(&typed->spellings, text->ptr, text->len);
	MemoryContext old;
	Datum		value;

	if (number != DG_KEY_ABSENT && !(add && number == DG_KEY_NO_VALUE))
		return number;
	old = MemoryContextSwitchTo(scratch);
	dg_rows_as_owner(&typed->role);
	value = InputFunctionCall(&typed->input, pnstrdup(text->ptr, text->len), typed->typioparam, -1);
	dg_rows_as_caller(&typed->role);
	number = number_of_value(typed, value, add);
	MemoryContextSwitchTo(old);
	MemoryContextReset(scratch);
	if (typed->spellings.count < MAX_SPELLINGS || number != DG_KEY_NO_VALUE)
		dg_extract_keytable_put(&typed->spellings, text->ptr, text->len, number);
	return number;
}

/*
 * A text as the column's type, of those that are compared by bytes, writes it,
 * palloc'd. What the type cannot read is an error. These types are built in.
 */
DgKeyText
dg_extract_keyvalue_anew(const DgKeyMapColumn *column, const DgKeyText *text)
{
	char	   *anew = dg_value_text(column->type, dg_value_of_text(column->type, -1, pnstrdup(text->ptr, text->len)));

	return (DgKeyText)
	{
		anew, strlen(anew)
	};
}
