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
#include "storage/lmgr.h"
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

	/* for paths */
	struct Way *ways;
	int			nways;
	Oid			root;
	bool		connected;		/* to SPI */
	MemoryContext context;
};

/* A path, and the parents at its beginning that were looked up. */
typedef struct Way
{
	DgPathStep *steps;
	int			nsteps;
	AttrNumber	type;			/* as in DgWay */
	const char *value;
	bool		asks_bin;		/* a step is no foreign key */
	int			nkeys;			/* of the first step */
	int16		key_len[MAX_KEYS];
	bool		key_byval[MAX_KEYS];
	HTAB	   *known;
} Way;

/*
 * The steps of a path with the plans of their queries, which cost more than the
 * rest of a small deletion. Kept with the plan of the table's capture.
 */
typedef struct DgKeptPath
{
	uint64		changes;		/* of the catalog; see dg_guard_path_changes() */
	int			nways;
	DgWay	   *ways;
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

static void
keep_ways(DgKeptPath *path, const DgWay *ways, int nways)
{
	path->nways = nways;
	path->ways = palloc0(sizeof(DgWay) * (nways + 1));
	for (int i = 0, at = 0; i < nways; at += ways[i++].nsteps)
	{
		path->ways[i] = ways[i];
		path->ways[i].steps = path->steps + at;
		if (ways[i].value != NULL)
			path->ways[i].value = pstrdup(ways[i].value);
	}
}

static DgKeptPath *
keep_path(MemoryContext context, const DgWay *ways, int nways, int nsteps)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	DgKeptPath *path = palloc0(sizeof(DgKeptPath));
	const DgPathStep *steps = ways[0].steps;

	path->nsteps = nsteps;
	path->steps = palloc(sizeof(DgPathStep) * nsteps);
	memcpy(path->steps, steps, sizeof(DgPathStep) * nsteps);
	for (int i = 0; i < nsteps; i++)
	{
		path->steps[i].sql = pstrdup(steps[i].sql);
		if (steps[i].condition != NULL)
		{
			path->steps[i].condition = pstrdup(steps[i].condition);
			path->steps[i].key_column = pstrdup(steps[i].key_column);
		}
	}
	keep_ways(path, ways, nways);
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

		if (kept->relid != steps[i].relid || kept->table != steps[i].table || strcmp(kept->sql, steps[i].sql) != 0 ||
			kept->nkeys != steps[i].nkeys ||
			memcmp(kept->keys, steps[i].keys, sizeof(AttrNumber) * kept->nkeys) != 0 ||
			memcmp(kept->key_types, steps[i].key_types, sizeof(Oid) * kept->nkeys) != 0)
			return false;
	}
	return true;
}

/*
 * The paths of a table, as it and the tables along them are now. They are put into
 * words again only if something has changed since.
 */
static DgKeptPath *
current_path(DgGuard *guard, DgBinPlan *plan, Relation rel)
{
	uint64		changes;
	DgWay	   *ways;
	int			nways;
	int			nsteps = 0;

	/*
	 * whoever alters one of the tables is through then, and we have heard of
	 * it
	 */
	for (int i = 0; plan->path != NULL && i < plan->path->nsteps; i++)
		LockRelationOid(plan->path->steps[i].relid, AccessShareLock);
	changes = dg_guard_path_changes();
	if (plan->path != NULL && plan->path->changes == changes)
		return plan->path;

	ways = dg_guard_path_ways(rel, &nways);
	for (int i = 0; i < nways; i++)
		nsteps += ways[i].nsteps;
	if (!is_kept(plan->path, ways[0].steps, nsteps))
		plan->path = keep_path(guard->context, ways, nways, nsteps);
	plan->path->changes = changes;
	return plan->path;
}

static void
begin_way(Way *way, const DgWay *from)
{
	HASHCTL		ctl = {0};

	way->steps = from->steps;
	way->nsteps = from->nsteps;
	way->type = from->type;
	way->value = from->value;
	for (int i = 0; i < way->nsteps; i++)
		way->asks_bin |= way->steps[i].condition != NULL;
	way->nkeys = way->steps[0].nkeys;
	for (int i = 0; i < way->nkeys; i++)
		get_typlenbyval(way->steps[0].key_types[i], &way->key_len[i], &way->key_byval[i]);
	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(KnownParent);
	ctl.hcxt = CurrentMemoryContext;
	way->known = hash_create("deletion_guard parents", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
begin_paths(DgTenantResolver *resolver, DgGuard *guard, DgBinPlan *plan, Relation rel)
{
	DgKeptPath *path = current_path(guard, plan, rel);

	resolver->nways = path->nways;
	resolver->ways = palloc0(sizeof(Way) * (path->nways + 1));
	for (int i = 0; i < path->nways; i++)
		begin_way(&resolver->ways[i], &path->ways[i]);
	resolver->root = guard->root;
	resolver->context = CurrentMemoryContext;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	resolver->connected = true;
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

	if (plan->tenant_attnum == InvalidAttrNumber && guard->tenant_path == NIL && guard->steps == NIL && guard->tenant == NULL)
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
		begin_paths(resolver, guard, plan, rel);
	return resolver;
}

/*
 * How values of the tenants' type are stored.
 */
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
 * The tenant that a row in the bin had, of the table that a step leads to. No foreign
 * key keeps such a row from going before those that refer to it.
 */
static char *
tenant_in_bin(DgTenantResolver *resolver, const DgPathStep *step, Datum *values)
{
	Oid			types[] = {OIDOID};
	Datum		relid[] = {ObjectIdGetDatum(step->relid)};
	char	   *tenant = NULL;
	List	   *bins;
	ListCell   *lc;

	if (step->condition == NULL)
		return NULL;
	dg_query("SELECT bin_table::oid FROM deletion_guard.bin WHERE relation = $1 AND dropped_column IS NULL"
			 " ORDER BY bin_id DESC", DG_AS_US, 1, types, relid,.snapshot = GetLatestSnapshot());
	bins = dg_row_oids(1);
	foreach(lc, bins)
	{
		Oid			bin = lfirst_oid(lc);

		if (tenant != NULL || get_rel_name(bin) == NULL || get_attnum(bin, step->key_column) == InvalidAttrNumber)
			continue;
		dg_query(psprintf("SELECT p.tenant FROM %s t JOIN deletion_guard.deletion_part p"
						  " ON p.deletion_id = t.%s AND p.part = t.%s WHERE %s ORDER BY p.deletion_id DESC",
						  dg_own_rows(bin), quote_identifier(get_attname(bin, Anum_bin_deletion, false)),
						  quote_identifier(get_attname(bin, Anum_bin_part, false)), step->condition),
				 DG_AS_US, step->nkeys, (Oid *) step->key_types, values,.snapshot = GetLatestSnapshot(),.count = 1);
		if (SPI_processed > 0)
			tenant = tenant_of_result(resolver);
	}
	return tenant;
}

/*
 * Follows the path from a parent to its tenant, as a snapshot sees them; NULL
 * if a row on the way is missing, also from the bin if that is to be asked.
 */
static char *
follow_path(DgTenantResolver *resolver, Way *way, Datum *keys, Snapshot snapshot, bool ask_bin)
{
	Datum		values[MAX_KEYS];
	SPITupleTable *result = NULL;	/* which values point into */
	char	   *tenant = NULL;

	memcpy(values, keys, sizeof(Datum) * way->nkeys);
	for (int i = 0; i < way->nsteps; i++)
	{
		DgPathStep *step = &way->steps[i];
		SPIPlanPtr	plan = step->plan;
		bool		found;

		dg_query(step->sql, DG_AS_OWNER, step->nkeys, step->key_types, values,
				 .table = step->table,
				 .snapshot = snapshot,
				 .count = 1,
				 .plan = &plan);
		if (step->plan == NULL)
		{
			SPI_keepplan(plan);
			step->plan = plan;
		}
		found = SPI_processed > 0;
		if (!found && step->more)
		{
			SPI_freetuptable(SPI_tuptable);
			continue;
		}
		while (way->steps[i].more)
			i++;
		if (result != NULL)
			SPI_freetuptable(result);
		result = SPI_tuptable;
		if (found && i + 1 == way->nsteps)
			tenant = tenant_of_result(resolver);
		else if (found)
		{
			for (int key = 0; key < way->steps[i + 1].nkeys && found; key++)
			{
				bool		isnull;

				values[key] = SPI_getbinval(result->vals[0], result->tupdesc, key + 1, &isnull);
				found = !isnull;
			}
		}
		if (!found)
		{
			if (ask_bin && SPI_processed == 0)
				tenant = tenant_in_bin(resolver, step, values);
			break;
		}
	}
	SPI_freetuptable(result);
	return tenant;
}

/*
 * The tenant of one parent, first as the deleting statement sees it, then as
 * of now: somebody else may have inserted the parent since, and moved the row
 * under it. Then as it was before the transaction did anything: where foreign
 * keys are deferred, an earlier statement may have deleted the parent. Last, in
 * the bin, where there is no foreign key. Null if none of these finds one.
 */
static Datum
query_tenant(DgTenantResolver *resolver, Way *way, Datum *keys, bool *isnull)
{
	char	   *tenant = NULL;
	MemoryContext old;
	Datum		value;

	if (ActiveSnapshotSet())
		tenant = follow_path(resolver, way, keys, GetActiveSnapshot(), false);
	if (tenant == NULL)
		tenant = follow_path(resolver, way, keys, GetLatestSnapshot(), false);
	if (tenant == NULL)
	{
		PushCopiedSnapshot(GetLatestSnapshot());
		GetActiveSnapshot()->curcid = FirstCommandId;
		tenant = follow_path(resolver, way, keys, GetActiveSnapshot(), false);
		PopActiveSnapshot();
	}
	if (tenant == NULL && way->asks_bin && ActiveSnapshotSet())
		tenant = follow_path(resolver, way, keys, GetActiveSnapshot(), true);
	if (tenant == NULL && way->asks_bin)
		tenant = follow_path(resolver, way, keys, GetLatestSnapshot(), true);
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
same_keys(Way *way, Datum *a, Datum *b)
{
	for (int i = 0; i < way->nkeys; i++)
	{
		if (!datum_image_eq(a[i], b[i], way->key_byval[i], way->key_len[i]))
			return false;
	}
	return true;
}

static KnownParent *
known_parent(DgTenantResolver *resolver, Way *way, Datum *keys)
{
	uint32		hash = 0;
	KnownParent *first;
	KnownParent *parent;
	bool		found;
	MemoryContext old;

	for (int i = 0; i < way->nkeys; i++)
		hash = pg_rotate_left32(hash, 1) ^
			datum_image_hash(keys[i], way->key_byval[i], way->key_len[i]);
	first = hash_search(way->known, &hash, HASH_ENTER, &found);
	for (parent = found ? first : NULL; parent != NULL; parent = parent->next)
	{
		if (same_keys(way, parent->keys, keys))
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
	for (int i = 0; i < way->nkeys; i++)
		parent->keys[i] = datumCopy(keys[i], way->key_byval[i], way->key_len[i]);
	MemoryContextSwitchTo(old);
	parent->tenant = query_tenant(resolver, way, keys, &parent->isnull);
	return parent;
}

/*
 * Is a way for rows of this row's type? Fails if that is not declared.
 */
static bool
is_for_type(DgTenantResolver *resolver, Way *way, TupleTableSlot *slot)
{
	Oid			type;
	bool		isnull;
	Datum		value;
	char	   *text;
	bool		same;

	if (way->type == InvalidAttrNumber)
		return true;
	value = slot_getattr(slot, way->type, &isnull);
	if (isnull)
		return false;
	type = TupleDescAttr(slot->tts_tupleDescriptor, way->type - 1)->atttypid;
	text = dg_value_text(type, value);
	same = strcmp(text, way->value) == 0;
	if (!same && !dg_guard_type_is_declared(resolver->root, text, NULL))
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot keep deleted rows of \"%s\": nothing tells whose those of type \"%s\" are",
						get_rel_name(resolver->root), text),
				 errdetail("The tenant path of \"%s\" does not declare that type.", get_rel_name(resolver->root)),
				 errhint("Call deletion_guard.guard_table() with a tenant_path that has it among its targets; null if such rows are nobody's.")));
	pfree(text);
	return same;
}

static Datum
resolve_way(DgTenantResolver *resolver, Way *way, TupleTableSlot *slot, bool *isnull)
{
	Datum		keys[MAX_KEYS];
	KnownParent *parent;

	for (int i = 0; i < way->nkeys; i++)
	{
		keys[i] = slot_getattr(slot, way->steps[0].keys[i], isnull);
		if (*isnull)
			return (Datum) 0;
	}
	parent = known_parent(resolver, way, keys);
	*isnull = parent->isnull;
	return parent->tenant;
}

static Datum
resolve_paths(DgTenantResolver *resolver, TupleTableSlot *slot, bool *isnull)
{
	Datum		tenant = (Datum) 0;

	*isnull = true;
	for (int i = 0; *isnull && i < resolver->nways; i++)
	{
		if (is_for_type(resolver, &resolver->ways[i], slot))
			tenant = resolve_way(resolver, &resolver->ways[i], slot, isnull);
	}
	return tenant;
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
	return resolve_paths(resolver, slot, isnull);
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

/*
 * A resolver for rows of a guarded table that are not being deleted; NULL if it has
 * no tenant source.
 */
DgTenantResolver *
dg_capture_tenant_resolver_of(Relation rel)
{
	DgGuard    *guard = dg_guard_lookup(RelationGetRelid(rel));
	DgBinPlan	plan = {0};

	if (guard->has_tenant_column)
		plan.tenant_attnum = get_attnum(RelationGetRelid(rel), NameStr(guard->tenant_column));
	return dg_capture_tenant_resolver_begin(guard, &plan, rel);
}

/*
 * The tenant of a row as text, palloc'd; NULL if it is nobody's.
 */
char *
dg_capture_tenant_of(DgTenantResolver *resolver, TupleTableSlot *slot)
{
	bool		isnull;
	Datum		tenant = dg_capture_tenant_resolve(resolver, slot, &isnull);

	return isnull ? NULL : dg_capture_tenant_text(resolver, tenant);
}

/*
 * Frees a resolver, and leaves SPI if it was following a path.
 */
void
dg_capture_tenant_resolver_end(DgTenantResolver *resolver)
{
	if (resolver->connected)
		SPI_finish();
	pfree(resolver);
}
