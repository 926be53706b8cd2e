/*
 * undelete_label.c
 *		Names and contacts of tenants.
 *
 * They are looked up in the tenant's row (bin_tenant_row.c), and not copied into
 * the other parts of a deletion, so that a purge has few places to clear.
 */
#include "postgres.h"

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

#include "bin/bin.h"

PG_FUNCTION_INFO_V1(dg_tenant_label);

/*
 * Name and contact of a tenant, palloc'd, or NULL.
 */
static void
find_label(const char *tenant, char **name, char **contact)
{
	Snapshot	snapshot = GetActiveSnapshot();
	DgTenantRow row = {0};

	tenant = linitial(dg_bin_tenants_present(list_make1(unconstify(char *, tenant))));
	if (dg_bin_tenant_live(tenant, snapshot, &row) == 0)
		(void) dg_bin_tenant_deleted(tenant, snapshot, &row);
	*name = row.name;
	*contact = row.contact;
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
