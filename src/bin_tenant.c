/*
 * bin_tenant.c
 *		Which tenant a captured row belongs to.
 *
 * By a column of the row, or by a path of foreign keys. A path is followed by
 * a query, with the snapshot of the statement that deletes: in a cascade the
 * parent rows are gone already, but that snapshot still sees them (what else is
 * tried says query_tenant()). Answers are remembered for the rest of the capture, as many rows share a parent.
 */
#include "bin.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define MAX_KEYS INDEX_MAX_KEYS

/* A parent that was looked up; kept in a chain per hash. */
typedef struct KnownParent
{
	uint32		hash;			/* hash key */
	struct KnownParent *next;
	Datum		keys[MAX_KEYS];
	bool		isnull;
	Datum		tenant;			/* text */
} KnownParent;

struct DgTenantResolver
{
	AttrNumber	attnum;			/* tenant column, or 0 */
	Oid			type;			/* of the tenant as resolved */
	int16		len;
	bool		byval;
	FmgrInfo	output;

	/* for a path */
	SPIPlanPtr	query;
	int			nkeys;
	AttrNumber	keys[MAX_KEYS];
	int16		key_len[MAX_KEYS];
	bool		key_byval[MAX_KEYS];
	HTAB	   *known;
	MemoryContext context;
};

/*
 * The query of a path, prepared. Kept with the plan of its table; of no use any
 * more when the tables along the path have changed so that the query has.
 */
typedef struct DgPathQuery
{
	char	   *sql;
	int			nkeys;
	Oid			types[MAX_KEYS];
	SPIPlanPtr	plan;
	MemoryContextCallback callback;
} DgPathQuery;

static void
free_path_query(void *arg)
{
	SPI_freeplan(((DgPathQuery *) arg)->plan);
}

static DgPathQuery *
prepare_path_query(MemoryContext context, const char *sql, int nkeys, Oid *types)
{
	DgPathQuery *query = MemoryContextAllocZero(context, sizeof(DgPathQuery));
	SPIPlanPtr	plan = SPI_prepare(sql, nkeys, types);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	query->sql = MemoryContextStrdup(context, sql);
	query->nkeys = nkeys;
	memcpy(query->types, types, sizeof(Oid) * nkeys);
	SPI_keepplan(plan);
	query->plan = plan;
	query->callback.func = free_path_query;
	query->callback.arg = query;
	MemoryContextRegisterResetCallback(context, &query->callback);
	return query;
}

static void
begin_path(DgTenantResolver *resolver, DgGuard *guard, DgCapture *plan, Relation rel)
{
	Oid			types[MAX_KEYS];
	HASHCTL		ctl = {0};
	char	   *sql = dg_guard_path_query(rel, guard->tenant_path, &resolver->nkeys,
										  resolver->keys, types);
	DgPathQuery *known = plan->path_query;

	for (int i = 0; i < resolver->nkeys; i++)
		get_typlenbyval(types[i], &resolver->key_len[i], &resolver->key_byval[i]);
	resolver->context = CurrentMemoryContext;
	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(KnownParent);
	ctl.hcxt = CurrentMemoryContext;
	resolver->known = hash_create("deletion_guard parents", 256, &ctl,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (known == NULL || strcmp(known->sql, sql) != 0 || known->nkeys != resolver->nkeys ||
		memcmp(known->types, types, sizeof(Oid) * resolver->nkeys) != 0)
		plan->path_query = known = prepare_path_query(guard->context, sql, resolver->nkeys, types);
	resolver->query = known->plan;
}

/*
 * A resolver for rows of rel; NULL if the table has no tenant source. With a
 * path, SPI stays connected until dg_tenant_resolver_end().
 */
DgTenantResolver *
dg_tenant_resolver_begin(DgGuard *guard, DgCapture *plan, Relation rel)
{
	DgTenantResolver *resolver;
	Oid			output;
	bool		varlena;

	if (plan->tenant_attnum == InvalidAttrNumber && guard->tenant_path == NIL)
		return NULL;

	resolver = palloc0(sizeof(DgTenantResolver));
	resolver->attnum = plan->tenant_attnum;
	resolver->type = resolver->attnum == InvalidAttrNumber ? TEXTOID :
		TupleDescAttr(RelationGetDescr(rel), resolver->attnum - 1)->atttypid;
	get_typlenbyval(resolver->type, &resolver->len, &resolver->byval);
	getTypeOutputInfo(resolver->type, &output, &varlena);
	fmgr_info(output, &resolver->output);
	if (resolver->attnum == InvalidAttrNumber)
		begin_path(resolver, guard, plan, rel);
	return resolver;
}

void
dg_tenant_resolver_type(DgTenantResolver *resolver, int16 *len, bool *byval)
{
	*len = resolver->len;
	*byval = resolver->byval;
}

/* ----------------------------------------------------------------------
 * Following a path
 * ----------------------------------------------------------------------
 */

/*
 * Runs the query for one parent with a snapshot. Null if that shows none.
 */
static Datum
query_tenant_as_of(DgTenantResolver *resolver, Datum *keys, Snapshot snapshot, bool *isnull)
{
	Datum		tenant = (Datum) 0;
	int			ret = SPI_execute_snapshot(resolver->query, keys, NULL, snapshot,
										   InvalidSnapshot, true, false, 1);

	if (ret != SPI_OK_SELECT)
		elog(ERROR, "looking for a tenant failed: %s", SPI_result_code_string(ret));
	*isnull = true;
	if (SPI_processed > 0)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		MemoryContext old = MemoryContextSwitchTo(resolver->context);

		*isnull = (value == NULL);
		if (!*isnull)
			tenant = CStringGetTextDatum(value);
		MemoryContextSwitchTo(old);
	}
	SPI_freetuptable(SPI_tuptable);
	return tenant;
}

/*
 * The tenant of one parent, first as the deleting statement sees it, then as of
 * now: a parent may have been inserted since by somebody else, and the row have
 * been moved under it. Then as before the transaction did anything: where
 * foreign keys are deferred, an earlier statement may have deleted the parent.
 * Null if there is none by any of these.
 */
static Datum
query_tenant(DgTenantResolver *resolver, Datum *keys, bool *isnull)
{
	Datum		tenant;
	Oid			save_userid;
	int			save_sec_context;

	GetUserIdAndSecContext(&save_userid, &save_sec_context);
	SetUserIdAndSecContext(dg_objects()->owner, save_sec_context | SECURITY_LOCAL_USERID_CHANGE);
	tenant = query_tenant_as_of(resolver, keys,
								ActiveSnapshotSet() ? GetActiveSnapshot() : GetLatestSnapshot(), isnull);
	if (*isnull)
		tenant = query_tenant_as_of(resolver, keys, GetLatestSnapshot(), isnull);
	if (*isnull)
	{
		PushCopiedSnapshot(GetLatestSnapshot());
		GetActiveSnapshot()->curcid = FirstCommandId;
		tenant = query_tenant_as_of(resolver, keys, GetActiveSnapshot(), isnull);
		PopActiveSnapshot();
	}
	SetUserIdAndSecContext(save_userid, save_sec_context);
	return tenant;
}

static bool
same_keys(DgTenantResolver *resolver, Datum *a, Datum *b)
{
	for (int i = 0; i < resolver->nkeys; i++)
	{
		if (!datum_image_eq(a[i], b[i], resolver->key_byval[i], resolver->key_len[i]))
			return false;
	}
	return true;
}

static KnownParent *
known_parent(DgTenantResolver *resolver, Datum *keys)
{
	uint32		hash = 0;
	KnownParent *first;
	KnownParent *parent;
	bool		found;
	MemoryContext old;

	for (int i = 0; i < resolver->nkeys; i++)
		hash = pg_rotate_left32(hash, 1) ^
			datum_image_hash(keys[i], resolver->key_byval[i], resolver->key_len[i]);
	first = hash_search(resolver->known, &hash, HASH_ENTER, &found);
	for (parent = found ? first : NULL; parent != NULL; parent = parent->next)
	{
		if (same_keys(resolver, parent->keys, keys))
			return parent;
	}

	old = MemoryContextSwitchTo(resolver->context);
	parent = first;
	if (found)
	{
		parent = palloc0(sizeof(KnownParent));
		parent->next = first->next;
		first->next = parent;
	}
	else
		parent->next = NULL;
	for (int i = 0; i < resolver->nkeys; i++)
		parent->keys[i] = datumCopy(keys[i], resolver->key_byval[i], resolver->key_len[i]);
	MemoryContextSwitchTo(old);
	parent->tenant = query_tenant(resolver, keys, &parent->isnull);
	return parent;
}

static Datum
resolve_path(DgTenantResolver *resolver, TupleTableSlot *slot, bool *isnull)
{
	Datum		keys[MAX_KEYS];
	KnownParent *parent;

	for (int i = 0; i < resolver->nkeys; i++)
	{
		keys[i] = slot_getattr(slot, resolver->keys[i], isnull);
		if (*isnull)
			return (Datum) 0;
	}
	parent = known_parent(resolver, keys);
	*isnull = parent->isnull;
	return parent->tenant;
}

/*
 * The tenant of a row; valid until the slot changes.
 */
Datum
dg_tenant_resolve(DgTenantResolver *resolver, TupleTableSlot *slot, bool *isnull)
{
	if (resolver->attnum != InvalidAttrNumber)
		return slot_getattr(slot, resolver->attnum, isnull);
	return resolve_path(resolver, slot, isnull);
}

/*
 * A tenant's key as text, palloc'd.
 */
char *
dg_tenant_text(DgTenantResolver *resolver, Datum tenant)
{
	return OutputFunctionCall(&resolver->output, tenant);
}

void
dg_tenant_resolver_end(DgTenantResolver *resolver)
{
	if (resolver->query != NULL)
		SPI_finish();
	pfree(resolver);
}
