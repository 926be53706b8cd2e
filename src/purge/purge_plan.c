/*
 * purge_plan.c
 *		What a request covers: which parts of which deletions, how many rows.
 *
 * A plan's digest is what authorities sign. It is the SHA-256 of this canonical
 * text (see ledger_digest.c), all of it in UTF-8:
 *
 *		"deletion_guard plan 1", audience, request, tenant, tenant_name (both
 *		missing for rows without a tenant), number of parts, and for each part, by deletion and part:
 *		deletion, part, relation name, rows still in the bin
 *
 * For a request by age the first member is "deletion_guard plan by age 1", and
 * the number of tenants and deleted_before, in microseconds since 2000, stand
 * instead of tenant and tenant_name. It covers what was due when it was made,
 * of tenants that are in the tenant table and not on hold. A tenant that was
 * deleted goes for good under its own name only: while its own row is in the
 * bin it is not covered, even if another tenant has got its key.
 *
 * For some rows of a tenant it is "deletion_guard plan of rows 1"; after the tenant's
 * name comes what was asked for, the JSON of "keys", and after the number of rows of
 * each part their numbers in the bin (purge_rows.c).
 *
 * Rows whose key is the empty string belong to no tenant either, unless the
 * tenant table has such a one: then a request for that tenant covers them.
 *
 * Rows that are in the bin do not change, so a part with as many rows as before
 * is the same part. Whatever is added, undeleted or purged meanwhile changes
 * the digest.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "bin/bin.h"
#include "common/deletion_guard.h"
#include "guard/guard.h"
#include "purge/purge_internal.h"
#include "rows/rows.h"

/* A bin table, as the registry has it. */
typedef struct BinTable
{
	int32		id;
	Oid			relation;		/* may be gone */
	Oid			bin_table;
	char	   *relation_name;
	bool		wanted;			/* does the request name it? */
} BinTable;

/* A tenant of a request by age. */
typedef struct AgedTenant
{
	const char *tenant;			/* hash key */
	uint32		status;
	bool		judged;			/* is the next one known? */
	bool		covered;
	int			number;			/* in the plan; 0: not in it yet */
} AgedTenant;

#define SH_PREFIX aged
#define SH_ELEMENT_TYPE AgedTenant
#define SH_KEY_TYPE const char *
#define SH_KEY tenant
#define SH_HASH_KEY(table, key) ((uint32) dg_guard_tenant_hash(key))
#define SH_EQUAL(table, a, b) dg_guard_tenant_equal_in(InvalidOid, a, b)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* A plan in the making. */
typedef struct Planning
{
	const DgRequest *request;
	DgPlan	   *plan;
	int			size;			/* parts that there is room for */
	BinTable   *bins;			/* by id */
	int			nbins;
	aged_hash  *tenants;		/* of a request by age */
} Planning;

/* What is known of one deletion of a plan. */
typedef struct PlannedDeletion
{
	int64		id;
	int			records;		/* of it; anything but one: it is not known */
	TimestampTz deleted_at;
	TimestampTz not_before;
	TimestampTz before;			/* the latest deletion that was made before it */
} PlannedDeletion;

static void
plan_digest(DgPlan *plan, const DgRequest *request)
{
	StringInfoData buf;

	initStringInfo(&buf);
	dg_put_text(&buf, request->by_age ? "deletion_guard plan by age 1" :
				request->keys != NULL ? "deletion_guard plan of rows 1" : "deletion_guard plan 1");
	dg_put_utf8(&buf, dg_purge_audience_text());
	dg_put_int64(&buf, request->id);
	if (request->by_age)
	{
		dg_put_int64(&buf, plan->tenants);
		dg_put_int64(&buf, request->deleted_before);
	}
	else
	{
		dg_put_utf8(&buf, request->tenant);
		dg_put_utf8(&buf, request->tenant_name);
	}
	if (request->keys != NULL)
		dg_put_utf8(&buf, dg_purge_rows_text(request));
	dg_put_int64(&buf, plan->nparts);
	for (int i = 0; i < plan->nparts; i++)
	{
		dg_put_int64(&buf, plan->parts[i].deletion);
		dg_put_int64(&buf, plan->parts[i].part);
		dg_put_utf8(&buf, plan->parts[i].relation_name);
		dg_put_int64(&buf, plan->parts[i].rows);
		for (int64 row = 0; plan->parts[i].numbers != NULL && row < plan->parts[i].rows; row++)
			dg_put_int64(&buf, plan->parts[i].numbers[row]);
	}
	dg_sha256(buf.data, buf.len, plan->digest);
	pfree(buf.data);
}

/* ----------------------------------------------------------------------
 * Bin tables
 * ----------------------------------------------------------------------
 */

static int
compare_bins(const void *a, const void *b)
{
	int32		x = ((const BinTable *) a)->id;
	int32		y = ((const BinTable *) b)->id;

	return (x > y) - (x < y);
}

/*
 * Does the request cover rows of this table, which may be one of the bin's?
 */
static bool
is_requested(const DgRequest *request, Oid relid)
{
	List	   *named;
	bool		found;

	if (request->all_relations)
		return true;
	named = dg_array_oids(request->relations);
	found = list_member_oid(named, relid);
	list_free(named);
	return found;
}

/*
 * Reads the registry of bin tables.
 */
static void
read_bins(Planning *planning)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_REGISTRY, AccessShareLock, 0, NULL);
	int			size = 64;

	planning->bins = palloc(sizeof(BinTable) * size);
	while (dg_own_next(scan))
	{
		BinTable   *bin;

		if (planning->nbins == size)
			planning->bins = repalloc(planning->bins, sizeof(BinTable) * (size *= 2));
		bin = &planning->bins[planning->nbins++];
		bin->id = (int32) dg_own_int64(scan, Anum_registry_bin_id);
		bin->relation = (Oid) dg_own_int64(scan, Anum_registry_relation);
		bin->bin_table = (Oid) dg_own_int64(scan, Anum_registry_bin_table);
		bin->relation_name = dg_own_text(scan, Anum_registry_relation_name);
		bin->wanted = planning->plan->chosen != NIL ?
			dg_rows_chosen_of(planning->plan->chosen, bin->relation, bin->relation_name) != NULL :
			is_requested(planning->request, bin->relation) || is_requested(planning->request, bin->bin_table);
	}
	dg_own_end(scan);
	qsort(planning->bins, planning->nbins, sizeof(BinTable), compare_bins);
}

/*
 * The bin table of the scan's part, or NULL.
 */
static BinTable *
bin_of_part(const Planning *planning, const DgOwnScan *scan)
{
	BinTable	key = {.id = (int32) dg_own_int64(scan, Anum_deletion_part_bin_id)};

	return bsearch(&key, planning->bins, planning->nbins, sizeof(BinTable), compare_bins);
}

/* ----------------------------------------------------------------------
 * Parts
 * ----------------------------------------------------------------------
 */

/*
 * Does the request cover rows of this deletion?
 */
static bool
is_named_deletion(const DgRequest *request, int64 deletion)
{
	ArrayType  *array = request->deletions == 0 ? NULL : DatumGetArrayTypeP(request->deletions);
	const int64 *ids = array == NULL ? NULL : (const int64 *) ARR_DATA_PTR(array);

	for (int i = 0; array != NULL && i < ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)); i++)
	{
		if (ids[i] == deletion)
			return true;
	}
	return array == NULL;
}

/*
 * Adds the scan's part to the plan, if it has rows in a table that the request
 * names.
 */
static void
add_part(DgOwnScan *scan, void *arg)
{
	Planning   *planning = arg;
	DgPlan	   *plan = planning->plan;
	BinTable   *bin = bin_of_part(planning, scan);
	DgPlanPart *part;

	if (bin == NULL || !bin->wanted || dg_purge_part_rows_left(scan) <= 0 ||
		!is_named_deletion(planning->request, dg_own_int64(scan, Anum_deletion_part_deletion_id)))
		return;
	if (plan->nparts == planning->size)
		plan->parts = repalloc_huge(plan->parts, sizeof(DgPlanPart) * (planning->size *= 2));
	part = &plan->parts[plan->nparts++];
	memset(part, 0, sizeof(DgPlanPart));
	part->deletion = dg_own_int64(scan, Anum_deletion_part_deletion_id);
	part->part = (int32) dg_own_int64(scan, Anum_deletion_part_part);
	part->relation = bin->relation;
	part->bin_table = bin->bin_table;
	part->relation_name = bin->relation_name;
	part->rows = part->left = dg_purge_part_rows_left(scan);
	part->tenant = dg_own_text(scan, Anum_deletion_part_tenant);
	part->tenant_name = dg_own_text(scan, Anum_deletion_part_tenant_name);
	part->blank = part->tenant != NULL && part->tenant[0] == '\0';
	part->tenant_no = 1;
}

static void
find_parts_without_tenant(Planning *planning)
{
	bool		blank = !dg_purge_tenant_is_known("");
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(deletion_part), AccessShareLock, 0, NULL);

	while (dg_own_next(scan))
	{
		bool		isnull;
		Datum		tenant = dg_own_datum(scan, Anum_deletion_part_tenant, &isnull);

		if (isnull || (blank && VARSIZE_ANY_EXHDR(DatumGetPointer(tenant)) == 0))
			add_part(scan, planning);
	}
	dg_own_end(scan);
}

static AgedTenant *
aged_tenant(Planning *planning, const char *tenant)
{
	bool		found;
	AgedTenant *entry = aged_insert(planning->tenants, tenant, &found);

	if (!found)
	{
		entry->judged = false;
		entry->covered = false;
		entry->number = 0;
	}
	return entry;
}

/*
 * A request by age leaves the tenant out.
 */
static void
leave_out(Planning *planning, const char *tenant)
{
	aged_tenant(planning, tenant)->judged = true;
}

static void
leave_out_held(Planning *planning)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(hold), AccessShareLock, 0, NULL);

	while (dg_own_next(scan))
	{
		if (dg_own_isnull(scan, Anum_hold_released_at))
			leave_out(planning, dg_own_text(scan, Anum_hold_tenant));
	}
	dg_own_end(scan);
}

/*
 * Finds parts of all tenants, and leaves out whose own row is in the bin.
 */
static void
find_parts_by_age(Planning *planning)
{
	Oid			tenant_table = dg_guard_tenant_table()->relid;
	DgOwnScan  *scan;

	planning->tenants = aged_create(CurrentMemoryContext, 64, NULL);
	leave_out_held(planning);
	scan = dg_own_scan(DG_OWN_ALL(deletion_part), AccessShareLock, 0, NULL);
	while (dg_own_next(scan))
	{
		BinTable   *bin = bin_of_part(planning, scan);

		if (bin != NULL && bin->relation == tenant_table && dg_purge_part_rows_left(scan) > 0 &&
			!dg_own_isnull(scan, Anum_deletion_part_tenant))
			leave_out(planning, dg_own_text(scan, Anum_deletion_part_tenant));
		add_part(scan, planning);
	}
	dg_own_end(scan);
}

/*
 * The order of parts in a plan: by deletion and part.
 */
int
dg_purge_plan_compare_parts(const void *a, const void *b)
{
	const DgPlanPart *x = a;
	const DgPlanPart *y = b;

	if (x->deletion != y->deletion)
		return x->deletion < y->deletion ? -1 : 1;
	return (x->part > y->part) - (x->part < y->part);
}

/* ----------------------------------------------------------------------
 * Deletions
 * ----------------------------------------------------------------------
 */

/*
 * The index of the first of the deletions whose number is higher than this.
 */
static int
first_after(const PlannedDeletion *deletions, int n, int64 id)
{
	int			low = 0;

	while (low < n)
	{
		int			middle = low + (n - low) / 2;

		if (deletions[middle].id > id)
			n = middle;
		else
			low = middle + 1;
	}
	return low;
}

/*
 * Takes note of what the scan's part says of its deletion.
 */
static void
note_deletion(const DgOwnScan *scan, PlannedDeletion *deletions, int n, TimestampTz now)
{
	int64		id = dg_own_int64(scan, Anum_deletion_part_deletion_id);
	TimestampTz deleted_at = dg_own_time(scan, Anum_deletion_part_deleted_at);
	int			after = first_after(deletions, n, id);

	if (after > 0 && deletions[after - 1].id == id)
	{
		deletions[after - 1].records++;
		deletions[after - 1].deleted_at = deleted_at;
		deletions[after - 1].not_before = dg_own_time(scan, Anum_deletion_part_purge_not_before);
	}
	if (after < n && deleted_at <= now)
		deletions[after].before = Max(deletions[after].before, deleted_at);
}

/*
 * Reads the records of the deletions, and when those before them were made.
 */
static void
read_deletions(PlannedDeletion *deletions, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(deletion_part), AccessShareLock, 0, NULL);

	while (dg_own_next(scan))
	{
		if (!dg_own_isnull(scan, Anum_deletion_part_deleted_at))
			note_deletion(scan, deletions, n, now);
	}
	dg_own_end(scan);
	for (int i = 1; i < n; i++)
		deletions[i].before = Max(deletions[i].before, deletions[i - 1].before);
}

/*
 * When a deletion is due is recorded with it. One that was made while the clock
 * was behind an earlier deletion's counts as made at that one's time: setting
 * the clock back makes nothing due. Times that are still to come are of a clock
 * that was ahead, and do not count.
 */
static TimestampTz
due_at(const PlannedDeletion *deletion)
{
	if (TIMESTAMP_NOT_FINITE(deletion->not_before) || deletion->before <= deletion->deleted_at)
		return deletion->not_before;
	return deletion->not_before + (deletion->before - deletion->deleted_at);
}

/*
 * Says of each part when it was deleted and is due. Of a deletion without a
 * record, or with a second one, which a superuser may have restored into the
 * table, nothing is known: its parts are never covered.
 */
static void
date_parts(DgPlan *plan)
{
	PlannedDeletion *deletions = MemoryContextAllocHuge(CurrentMemoryContext,
														sizeof(PlannedDeletion) * Max(plan->nparts, 1));
	int			n = 0;

	for (int i = 0; i < plan->nparts; i++)
	{
		if (n == 0 || deletions[n - 1].id != plan->parts[i].deletion)
		{
			memset(&deletions[n], 0, sizeof(PlannedDeletion));
			deletions[n].id = plan->parts[i].deletion;
			deletions[n].before = DT_NOBEGIN;
			n++;
		}
	}
	if (n > 0)
		read_deletions(deletions, n);
	n = 0;
	for (int i = 0; i < plan->nparts; i++)
	{
		n += deletions[n].id != plan->parts[i].deletion;
		plan->parts[i].deleted_at = deletions[n].records == 1 ? deletions[n].deleted_at : DT_NOEND;
		plan->parts[i].due_at = deletions[n].records == 1 ? due_at(&deletions[n]) : DT_NOEND;
	}
	pfree(deletions);
}

/* ----------------------------------------------------------------------
 * The plan
 * ----------------------------------------------------------------------
 */

/*
 * Does a request by age cover the part? Whether a tenant is live is asked once.
 */
static bool
is_covered_by_age(Planning *planning, DgPlanPart *part)
{
	AgedTenant *tenant;

	if (part->tenant == NULL || part->due_at > planning->request->requested_at)
		return false;
	tenant = aged_tenant(planning, part->tenant);
	if (!tenant->judged)
	{
		tenant->covered = dg_purge_tenant_is_live(part->tenant);
		tenant->judged = true;
	}
	if (!tenant->covered)
		return false;
	if (tenant->number == 0)
		tenant->number = ++planning->plan->tenants;
	part->tenant_no = tenant->number;
	return true;
}

/*
 * A request for somebody's rows that leaves none of the past out is about all of
 * them: one that was deleted since must be reviewed, too.
 */
static bool
covers_later(const DgRequest *request)
{
	return request->keys != NULL && request->deleted_before >= request->requested_at;
}

/*
 * Keeps those parts that the request covers.
 */
static void
choose_parts(Planning *planning)
{
	DgPlan	   *plan = planning->plan;
	const DgRequest *request = planning->request;
	int			n = 0;

	for (int i = 0; i < plan->nparts; i++)
	{
		DgPlanPart *part = &plan->parts[i];

		if ((part->deleted_at > request->deleted_before && !covers_later(request)) || TIMESTAMP_IS_NOEND(part->deleted_at))
			continue;
		if (request->by_age && !is_covered_by_age(planning, part))
		{
			plan->left_out += part->rows;
			continue;
		}
		plan->rows += part->rows;
		plan->due_at = Max(plan->due_at, part->due_at);
		plan->parts[n++] = *part;
	}
	plan->nparts = n;
	if (!request->by_age && n > 0)
		plan->tenants = 1;
}

/*
 * Finds what the request covers now; palloc'd. The caller holds the
 * tenant's lock.
 */
DgPlan *
dg_purge_plan_make(const DgRequest *request)
{
	Planning	planning = {.request = request,.size = 64};
	DgPlan	   *plan = palloc0(sizeof(DgPlan));

	planning.plan = plan;
	plan->parts = palloc(sizeof(DgPlanPart) * planning.size);
	plan->due_at = DT_NOBEGIN;
	if (request->keys != NULL)
		plan->chosen = dg_rows_chosen_parse(request->keys);
	read_bins(&planning);
	if (request->by_age)
		find_parts_by_age(&planning);
	else if (request->tenant == NULL)
		find_parts_without_tenant(&planning);
	else
		dg_bin_tenant_each_part(request->tenant, AccessShareLock, add_part, &planning);
	qsort(plan->parts, plan->nparts, sizeof(DgPlanPart), dg_purge_plan_compare_parts);
	date_parts(plan);
	choose_parts(&planning);
	if (request->keys != NULL)
		dg_purge_rows_choose(plan);
	plan_digest(plan, request);
	return plan;
}

/* What is being stored of a plan. */
typedef struct StoredPlan
{
	const DgPlan *plan;
	int64		request;
} StoredPlan;

static void
fill_part(int64 row, Datum *values, bool *nulls, void *arg)
{
	StoredPlan *stored = arg;
	const DgPlanPart *part = &stored->plan->parts[row];

	values[Anum_purge_request_part_request_id - 1] = Int64GetDatum(stored->request);
	values[Anum_purge_request_part_deletion_id - 1] = Int64GetDatum(part->deletion);
	values[Anum_purge_request_part_part - 1] = Int32GetDatum(part->part);
	values[Anum_purge_request_part_relation_name - 1] = CStringGetTextDatum(part->relation_name);
	values[Anum_purge_request_part_rows - 1] = Int64GetDatum(part->rows);
}

/*
 * Keeps the plan as it is reviewed.
 */
void
dg_purge_plan_store(const DgPlan *plan, int64 request)
{
	StoredPlan	stored = {plan, request};

	dg_own_insert_many(DG_OWN(purge_request_part), plan->nparts, fill_part, &stored);
}
