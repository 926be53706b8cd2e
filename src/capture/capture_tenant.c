/*
 * capture_tenant.c
 *		Which tenant a captured row belongs to.
 *
 * By a column of the row, or by a path of foreign keys; or to one that all rows
 * of the table belong to. A path is followed
 * from table to table, with the snapshot of the statement that deletes: in a
 * cascade the parent rows are gone already, but that snapshot still sees them
 * (query_tenant() says what else is tried). Answers are remembered for the
 * rest of the capture, as many rows share a parent.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "bin/bin.h"
#include "capture/capture_internal.h"
#include "guard/guard.h"

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
	bool		canonical;		/* its text is the same whatever the settings */
	Datum		constant;		/* whose all rows are, as text, or 0 */

	/* for a path */
	DgPathStep *steps;
	int			nsteps;
	int			nkeys;			/* of the first step */
	int16		key_len[MAX_KEYS];
	bool		key_byval[MAX_KEYS];
	HTAB	   *known;
	MemoryContext context;
};

/*
 * The steps of a path with the plans of their queries, which cost more than the
 * rest of a small deletion. Kept with the plan of the table's capture.
 */
typedef struct DgKeptPath
{
	int			nsteps;
	DgPathStep *steps;
	MemoryContextCallback callback;
} DgKeptPath;

static void
free_plans(void *arg)
{
	DgKeptPath *path = arg;

	for (int i = 0; i < path->nsteps; i++)
	{
		if (path->steps[i].plan != NULL)
			SPI_freeplan(path->steps[i].plan);
	}
}

static DgKeptPath *
keep_path(MemoryContext context, const DgPathStep *steps, int nsteps)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	DgKeptPath *path = palloc0(sizeof(DgKeptPath));

	path->nsteps = nsteps;
	path->steps = palloc(sizeof(DgPathStep) * nsteps);
	memcpy(path->steps, steps, sizeof(DgPathStep) * nsteps);
	for (int i = 0; i < nsteps; i++)
		path->steps[i].sql = pstrdup(steps[i].sql);
	path->callback.func = free_plans;
	path->callback.arg = path;
	MemoryContextRegisterResetCallback(context, &path->callback);
	MemoryContextSwitchTo(old);
	return path;
}

/*
 * The tables along a path may have changed since: then so have its queries.
 */
static bool
is_kept(const DgKeptPath *path, const DgPathStep *steps, int nsteps)
{
	if (path == NULL || path->nsteps != nsteps)
		return false;
	for (int i = 0; i < nsteps; i++)
	{
		const DgPathStep *kept = &path->steps[i];

		if (kept->relid != steps[i].relid || strcmp(kept->sql, steps[i].sql) != 0 ||
			kept->nkeys != steps[i].nkeys ||
			memcmp(kept->keys, steps[i].keys, sizeof(AttrNumber) * kept->nkeys) != 0 ||
			memcmp(kept->key_types, steps[i].key_types, sizeof(Oid) * kept->nkeys) != 0)
			return false;
	}
	return true;
}

static void
begin_path(DgTenantResolver *resolver, DgGuard *guard, DgBinPlan *plan, Relation rel)
{
	HASHCTL		ctl = {0};
	int			nsteps;
	DgPathStep *steps = dg_guard_path_steps(rel, guard->tenant_path, &nsteps);

	if (!is_kept(plan->path, steps, nsteps))
		plan->path = keep_path(guard->context, steps, nsteps);
	resolver->steps = plan->path->steps;
	resolver->nsteps = nsteps;
	resolver->nkeys = resolver->steps[0].nkeys;
	for (int i = 0; i < resolver->nkeys; i++)
		get_typlenbyval(resolver->steps[0].key_types[i], &resolver->key_len[i], &resolver->key_byval[i]);
	resolver->context = CurrentMemoryContext;
	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(KnownParent);
	ctl.hcxt = CurrentMemoryContext;
	resolver->known = hash_create("deletion_guard parents", 256, &ctl,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

/*
 * A resolver for rows of rel; NULL if the table has no tenant source. With a
 * path, SPI stays connected until dg_capture_tenant_resolver_end().
 */
DgTenantResolver *
dg_capture_tenant_resolver_begin(DgGuard *guard, DgBinPlan *plan, Relation rel)
{
	DgTenantResolver *resolver;
	Oid			output;
	bool		varlena;

	if (plan->tenant_attnum == InvalidAttrNumber && guard->tenant_path == NIL && guard->tenant == NULL)
		return NULL;

	resolver = palloc0(sizeof(DgTenantResolver));
	resolver->attnum = plan->tenant_attnum;
	resolver->type = resolver->attnum == InvalidAttrNumber ? TEXTOID :
		TupleDescAttr(RelationGetDescr(rel), resolver->attnum - 1)->atttypid;
	get_typlenbyval(resolver->type, &resolver->len, &resolver->byval);
	getTypeOutputInfo(resolver->type, &output, &varlena);
	fmgr_info(output, &resolver->output);
	resolver->canonical = dg_canonical_always(resolver->type);
	if (guard->tenant != NULL)
		resolver->constant = CStringGetTextDatum(guard->tenant);
	else if (resolver->attnum == InvalidAttrNumber)
		begin_path(resolver, guard, plan, rel);
	return resolver;
}

void
dg_capture_tenant_resolver_type(DgTenantResolver *resolver, int16 *len, bool *byval)
{
	*len = resolver->len;
	*byval = resolver->byval;
}

/* ----------------------------------------------------------------------
 * Following a path
 * ----------------------------------------------------------------------
 */

/*
 * The tenant as text, palloc'd in the resolver's context; NULL for null.
 */
static char *
tenant_of_result(DgTenantResolver *resolver)
{
	HeapTuple	tuple = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	char	   *value;

	if (dg_canonical_always(SPI_gettypeid(desc, 1)))
		value = SPI_getvalue(tuple, desc, 1);
	else
	{
		int			nestlevel = dg_canonical_output_begin();

		value = SPI_getvalue(tuple, desc, 1);
		AtEOXact_GUC(true, nestlevel);
	}
	return value != NULL ? MemoryContextStrdup(resolver->context, value) : NULL;
}

/*
 * Follows the path from a parent to its tenant, as a snapshot sees them; NULL
 * if a row on the way is missing.
 */
static char *
follow_path(DgTenantResolver *resolver, Datum *keys, Snapshot snapshot)
{
	Datum		values[MAX_KEYS];
	SPITupleTable *result = NULL;	/* which values point into */
	char	   *tenant = NULL;

	memcpy(values, keys, sizeof(Datum) * resolver->nkeys);
	for (int i = 0; i < resolver->nsteps; i++)
	{
		DgPathStep *step = &resolver->steps[i];
		SPIPlanPtr	plan = step->plan;
		bool		found;

		dg_query(step->sql, DG_AS_OWNER, step->nkeys, step->key_types, values,
				 .table = step->relid,
				 .snapshot = snapshot,
				 .count = 1,
				 .plan = &plan);
		if (step->plan == NULL)
		{
			SPI_keepplan(plan);
			step->plan = plan;
		}
		if (result != NULL)
			SPI_freetuptable(result);
		result = SPI_tuptable;
		found = SPI_processed > 0;
		if (found && i + 1 == resolver->nsteps)
			tenant = tenant_of_result(resolver);
		else if (found)
		{
			for (int key = 0; key < step[1].nkeys && found; key++)
			{
				bool		isnull;

				values[key] = SPI_getbinval(result->vals[0], result->tupdesc, key + 1, &isnull);
				found = !isnull;
			}
		}
		if (!found)
			break;
	}
	SPI_freetuptable(result);
	return tenant;
}

/*
 * The tenant of one parent, first as the deleting statement sees it, then as
 * of now: somebody else may have inserted the parent since, and moved the row
 * under it. Then as it was before the transaction did anything: where foreign
 * keys are deferred, an earlier statement may have deleted the parent. Null
 * if none of these finds one.
 */
static Datum
query_tenant(DgTenantResolver *resolver, Datum *keys, bool *isnull)
{
	char	   *tenant = NULL;
	MemoryContext old;
	Datum		value;

	if (ActiveSnapshotSet())
		tenant = follow_path(resolver, keys, GetActiveSnapshot());
	if (tenant == NULL)
		tenant = follow_path(resolver, keys, GetLatestSnapshot());
	if (tenant == NULL)
	{
		PushCopiedSnapshot(GetLatestSnapshot());
		GetActiveSnapshot()->curcid = FirstCommandId;
		tenant = follow_path(resolver, keys, GetActiveSnapshot());
		PopActiveSnapshot();
	}
	*isnull = (tenant == NULL);
	if (*isnull)
		return (Datum) 0;
	old = MemoryContextSwitchTo(resolver->context);
	value = CStringGetTextDatum(tenant);
	MemoryContextSwitchTo(old);
	pfree(tenant);
	return value;
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
		keys[i] = slot_getattr(slot, resolver->steps[0].keys[i], isnull);
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
dg_capture_tenant_resolve(DgTenantResolver *resolver, TupleTableSlot *slot, bool *isnull)
{
	if (resolver->attnum != InvalidAttrNumber)
		return slot_getattr(slot, resolver->attnum, isnull);
	*isnull = false;
	if (resolver->constant != 0)
		return resolver->constant;
	return resolve_path(resolver, slot, isnull);
}

/*
 * A tenant's key as text, palloc'd.
 */
char *
dg_capture_tenant_text(DgTenantResolver *resolver, Datum tenant)
{
	int			nestlevel;
	char	   *text;

	if (resolver->canonical)
		return OutputFunctionCall(&resolver->output, tenant);
	nestlevel = dg_canonical_output_begin();
	text = OutputFunctionCall(&resolver->output, tenant);
	AtEOXact_GUC(true, nestlevel);
	return text;
}

void
dg_capture_tenant_resolver_end(DgTenantResolver *resolver)
{
	if (resolver->steps != NULL)
		SPI_finish();
	pfree(resolver);
}
