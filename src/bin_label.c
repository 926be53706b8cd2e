/*
 * bin_label.c
 *		Names and contacts of tenants.
 *
 * They are looked up in the live tenant table or, for a tenant that was
 * deleted, in its latest deletion. They are not copied into the other parts
 * of a deletion, so that a purge has few places to clear.
 */
#include "bin.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dg_tenant_label);

static const char *
column_or_null(const NameData *column)
{
	return NameStr(*column)[0] == '\0' ? "NULL" :
		psprintf("t.%s", quote_identifier(NameStr(*column)));
}

/*
 * The name and contact in the first row that SPI has, in the given context.
 * False if there is none.
 */
static bool
take_label(MemoryContext context, char **name, char **contact)
{
	MemoryContext old;
	char	   *value;

	if (SPI_processed == 0)
		return false;
	old = MemoryContextSwitchTo(context);
	value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	*name = value != NULL ? MemoryContextStrdup(context, value) : NULL;
	value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	*contact = value != NULL ? MemoryContextStrdup(context, value) : NULL;
	MemoryContextSwitchTo(old);
	return true;
}

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
	Oid			save_userid;
	int			save_sec_context;

	GetUserIdAndSecContext(&save_userid, &save_sec_context);
	SetUserIdAndSecContext(rel->rd_rel->relowner, save_sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	getTypeInputInfo(key->type, &input, &ioparam);
	key->value = OidInputFunctionCall(input, unconstify(char *, key->text), ioparam, -1);
	SetUserIdAndSecContext(save_userid, save_sec_context);
	table_close(rel, NoLock);
}

/*
 * Reads a tenant's key by the input function of a type or, of a domain, of
 * its base type. False if the function refuses it: then no tenant can have
 * this key. Input functions refuse by an error, hence the subtransaction; and
 * there may be domains inside the type, whose checks are code of the table's
 * owner.
 */
bool
dg_tenant_read_key(Oid relid, Oid type, const char *tenant, Datum *value)
{
	KeyText		key = {relid, getBaseType(type), tenant};
	ErrorData  *error = dg_try(input_key, &key, true);

	*value = key.value;
	if (error != NULL && ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
		ReThrowError(error);
	return error == NULL;
}

/*
 * The query of a live tenant, $1 being its key and $2 the same as text; palloc'd.
 */
static char *
live_query(const DgTenantTable *tenants)
{
	const char *key = quote_identifier(NameStr(tenants->key_column));

	return psprintf("SELECT %s, %s FROM %s t WHERE t.%s = $1 AND pg_catalog.concat(t.%s) COLLATE \"C\" = $2",
					column_or_null(&tenants->name_column), column_or_null(&tenants->contact_column),
					dg_relation_name(tenants->relid), key, key);
}

/*
 * A plan for this query and type of key, kept from call to call; NULL if there is
 * none. It is the caller's until put_plan(): code that runs with the query may
 * come here, too, and may have changed which is the tenant table.
 */
static struct
{
	char	   *sql;
	Oid			type;
	SPIPlanPtr	plan;
}			kept;

static SPIPlanPtr
take_plan(const char *sql, Oid type)
{
	SPIPlanPtr	plan = kept.plan;

	kept.plan = NULL;
	if (plan != NULL && (kept.type != type || strcmp(kept.sql, sql) != 0))
	{
		SPI_freeplan(plan);
		plan = NULL;
	}
	return plan;
}

static void
put_plan(SPIPlanPtr plan, const char *sql, Oid type)
{
	char	   *copy = MemoryContextStrdup(TopMemoryContext, sql);

	if (kept.plan != NULL)
		SPI_freeplan(kept.plan);
	if (kept.sql != NULL)
		pfree(kept.sql);
	kept.sql = copy;
	kept.type = type;
	kept.plan = plan;
}

static bool
live_label(const char *tenant, MemoryContext context, char **name, char **contact)
{
	const DgTenantTable *tenants = dg_tenant_table();
	Oid			types[] = {InvalidOid, TEXTOID};
	Datum		values[] = {(Datum) 0, CStringGetTextDatum(tenant)};
	SPIPlanPtr	plan;
	SPIPlanPtr	volatile kept_plan;
	char	   *sql;
	int			nestlevel;

	if (!OidIsValid(tenants->relid) || get_rel_name(tenants->relid) == NULL)
		return false;
	types[0] = get_atttype(tenants->relid, get_attnum(tenants->relid, NameStr(tenants->key_column)));
	if (!OidIsValid(types[0]) || !dg_tenant_read_key(tenants->relid, types[0], tenant, &values[0]))
		return false;
	types[0] = getBaseType(types[0]);
	sql = live_query(tenants);
	plan = kept_plan = take_plan(sql, types[0]);
	nestlevel = dg_canonical_always(types[0]) ? 0 : dg_canonical_output_begin();
	PG_TRY();
	{
		dg_spi_select_as_owner(tenants->relid, sql, 2, types, values, &plan, GetActiveSnapshot(), 1);
		if (kept_plan == NULL && SPI_keepplan(plan) == 0)
			kept_plan = plan;
	}
	PG_FINALLY();
	{
		if (kept_plan != NULL)
			put_plan(kept_plan, sql, types[0]);
	}
	PG_END_TRY();
	if (nestlevel != 0)
		AtEOXact_GUC(true, nestlevel);
	return take_label(context, name, contact);
}

static bool
deleted_label(const char *tenant, MemoryContext context, char **name, char **contact)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(tenant)};

	dg_spi_select_kept("SELECT p.tenant_name, p.contact FROM deletion_guard.deletion_part p"
					   " JOIN deletion_guard.bin b USING (bin_id)"
					   " JOIN deletion_guard.tenant_table t ON t.relation = b.relation"
					   " WHERE p.tenant = $1 ORDER BY p.deletion_id DESC LIMIT 1",
					   1, types, values, &plan, GetActiveSnapshot());
	return take_label(context, name, contact);
}

/*
 * Name and contact of a tenant, palloc'd, or NULL.
 */
static void
find_label(const char *tenant, char **name, char **contact)
{
	MemoryContext context = CurrentMemoryContext;

	*name = *contact = NULL;
	SPI_connect();
	if (!live_label(tenant, context, name, contact))
		(void) deleted_label(tenant, context, name, contact);
	SPI_finish();
}

/* ----------------------------------------------------------------------
 * Labels that a query has asked for
 *
 * A list of deletions has each tenant many times, and asks for its name and for
 * its contact. What was found is kept as long as the query that called runs, and
 * sees the same. (An expression of a PL/pgSQL function calls again and again, and
 * may see something else each time.)
 * ----------------------------------------------------------------------
 */

/* what to forget everything at */
#define MAX_MEMO_BYTES ((Size) 32 * 1024 * 1024)

typedef struct Label
{
	const char *tenant;			/* hash key */
	uint32		hash;
	char		status;
	char	   *name;
	char	   *contact;
} Label;

#define SH_PREFIX labels
#define SH_ELEMENT_TYPE Label
#define SH_KEY_TYPE const char *
#define SH_KEY tenant
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) a->hash
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) key, strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What tells snapshots of one session apart by what they see. */
typedef struct SnapshotMark
{
	TransactionId xmin;
	TransactionId xmax;
	uint32		xcnt;
	int32		subxcnt;
	CommandId	curcid;
	SubTransactionId subid;
} SnapshotMark;

typedef struct Memo
{
	MemoryContext query;		/* the caller's */
	MemoryContext context;
	MemoryContextCallback callback;
	SnapshotMark mark;
	labels_hash *labels;		/* NULL: none yet */
} Memo;

static Memo *last_memo = NULL;

static void
forget_memo(void *memo)
{
	if (last_memo == memo)
		last_memo = NULL;
}

/*
 * The memo of the query that calls: its calls for names and for contacts share one.
 */
static Memo *
memo_of(FmgrInfo *caller)
{
	Memo	   *memo = caller->fn_extra;

	if (memo == NULL && last_memo != NULL && last_memo->query == caller->fn_mcxt)
		memo = last_memo;
	if (memo == NULL)
	{
		memo = MemoryContextAllocZero(caller->fn_mcxt, sizeof(Memo));
		memo->query = caller->fn_mcxt;
		memo->context = AllocSetContextCreate(caller->fn_mcxt, "deletion_guard labels", ALLOCSET_DEFAULT_SIZES);
		memo->callback.func = forget_memo;
		memo->callback.arg = memo;
		MemoryContextRegisterResetCallback(caller->fn_mcxt, &memo->callback);
		last_memo = memo;
	}
	caller->fn_extra = memo;
	return memo;
}

/*
 * Forgets what the present snapshot may see otherwise, or is too much.
 */
static void
refresh_memo(Memo *memo)
{
	Snapshot	snapshot = GetActiveSnapshot();
	SnapshotMark mark = {snapshot->xmin, snapshot->xmax, snapshot->xcnt, snapshot->subxcnt,
	snapshot->curcid, GetCurrentSubTransactionId()};

	if (memo->labels != NULL && memcmp(&memo->mark, &mark, sizeof(SnapshotMark)) == 0 &&
		MemoryContextMemAllocated(memo->context, true) < MAX_MEMO_BYTES)
		return;
	MemoryContextReset(memo->context);
	memo->labels = labels_create(memo->context, 64, NULL);
	memo->mark = mark;
}

static Label *
memo_label(Memo *memo, const char *tenant)
{
	Label	   *label;
	Label		found = {0};
	MemoryContext old;
	bool		exists;

	refresh_memo(memo);
	label = labels_lookup(memo->labels, tenant);
	if (label != NULL)
		return label;
	old = MemoryContextSwitchTo(memo->context);
	find_label(tenant, &found.name, &found.contact);
	label = labels_insert(memo->labels, pstrdup(tenant), &exists);
	MemoryContextSwitchTo(old);
	label->name = found.name;
	label->contact = found.contact;
	return label;
}

/*
 * tenant_label(tenant text) -> (tenant_name text, contact text)
 */
Datum
dg_tenant_label(PG_FUNCTION_ARGS)
{
	Label	   *label;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	label = memo_label(memo_of(fcinfo->flinfo), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	nulls[0] = (label->name == NULL);
	nulls[1] = (label->contact == NULL);
	values[0] = nulls[0] ? (Datum) 0 : CStringGetTextDatum(label->name);
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(label->contact);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
