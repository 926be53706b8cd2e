/*
 * purge_review.c
 *		A plan in words, for those who review it, and how it differs from what was
 *		reviewed.
 */
#include "postgres.h"

#include "nodes/bitmapset.h"
#include "utils/builtins.h"

#include "purge/purge_internal.h"

#define MAX_LINES 10

static void
put_plan_line(StringInfo buf, int *lines, const char *line)
{
	if ((*lines)++ < MAX_LINES)
		appendStringInfo(buf, "%s%s", buf->len > 0 ? "\n" : "", line);
}

static void
describe_difference(StringInfo buf, int *lines, int64 deletion, const char *relation, int64 reviewed, int64 now)
{
	if (reviewed != now)
		put_plan_line(buf, lines, psprintf("Deletion " INT64_FORMAT ", table %s: " INT64_FORMAT
										   " rows were reviewed, " INT64_FORMAT " are in the bin now.",
										   deletion, relation, reviewed, now));
}

/*
 * Reads the plan as it was reviewed.
 */
static DgPlan *
reviewed_plan(int64 request)
{
	ScanKeyData keys[] = {dg_own_key_int8(Anum_purge_request_part_request_id, request)};
	DgOwnScan  *scan = dg_own_scan(DG_OWN(purge_request_part), AccessShareLock, lengthof(keys), keys);
	DgPlan	   *plan = palloc0(sizeof(DgPlan));
	int			size = 64;

	plan->parts = palloc(sizeof(DgPlanPart) * size);
	while (dg_own_next(scan))
	{
		DgPlanPart *part;

		if (plan->nparts == size)
			plan->parts = repalloc_huge(plan->parts, sizeof(DgPlanPart) * (size *= 2));
		part = &plan->parts[plan->nparts++];
		part->deletion = dg_own_int64(scan, Anum_purge_request_part_deletion_id);
		part->part = (int32) dg_own_int64(scan, Anum_purge_request_part_part);
		part->relation_name = dg_own_text(scan, Anum_purge_request_part_relation_name);
		part->rows = dg_own_int64(scan, Anum_purge_request_part_rows);
	}
	dg_own_end(scan);
	qsort(plan->parts, plan->nparts, sizeof(DgPlanPart), dg_purge_plan_compare_parts);
	return plan;
}

/*
 * Says how what is in the bin now differs from what was reviewed; palloc'd,
 * some lines at most.
 */
char *
dg_purge_plan_difference(const DgPlan *plan, const DgRequest *request)
{
	DgPlan	   *reviewed = reviewed_plan(request->id);
	StringInfoData buf;
	int			lines = 0;
	int			i = 0;
	int			j = 0;

	initStringInfo(&buf);
	while (i < reviewed->nparts || j < plan->nparts)
	{
		DgPlanPart *old = i < reviewed->nparts ? &reviewed->parts[i] : NULL;
		DgPlanPart *new = j < plan->nparts ? &plan->parts[j] : NULL;
		int			cmp = old == NULL ? 1 : new == NULL ? -1 : dg_purge_plan_compare_parts(old, new);

		if (cmp < 0)
			describe_difference(&buf, &lines, old->deletion, old->relation_name, old->rows, 0);
		else if (cmp > 0)
			describe_difference(&buf, &lines, new->deletion, new->relation_name, 0, new->rows);
		else
			describe_difference(&buf, &lines, new->deletion, new->relation_name, old->rows, new->rows);
		i += cmp <= 0;
		j += cmp >= 0;
	}
	if (lines > MAX_LINES)
		appendStringInfo(&buf, "\nThere are %d more differences.", lines - MAX_LINES);
	if (lines == 0)
		appendStringInfoString(&buf, "The tenant's name, or the database itself, is another one now.");
	else if (request->by_age)
		appendStringInfoString(&buf, "\nRows of tenants that are on hold, or were deleted, are not counted.");
	return buf.data;
}

/*
 * The plan in words, a line for each part; palloc'd.
 */
static char *
plan_summary(const DgPlan *plan)
{
	StringInfoData buf;
	int			lines = 0;

	initStringInfo(&buf);
	for (int i = 0; i < plan->nparts; i++)
	{
		const DgPlanPart *part = &plan->parts[i];

		put_plan_line(&buf, &lines,
					  psprintf("Deletion " INT64_FORMAT " of %s, table %s: " INT64_FORMAT " rows%s, due %s.",
							   part->deletion, pstrdup(timestamptz_to_str(part->deleted_at)), part->relation_name, part->rows,
							   part->blank ? " with an empty key" : "",
							   TIMESTAMP_IS_NOEND(part->due_at) ? "never" : pstrdup(timestamptz_to_str(part->due_at))));
	}
	if (lines > MAX_LINES)
		appendStringInfo(&buf, "\nAnd %d more parts, see deletion_guard.purge_plan().", lines - MAX_LINES);
	return buf.data;
}

/*
 * What stands against a purge of this very tenant.
 */
static void
show_tenant(const DgRequest *request, const DgPlan *plan)
{
	TimestampTz held_at;
	int64		hold = dg_purge_hold_active(request->tenant, &held_at);

	if (hold != 0)
		ereport(NOTICE,
				(errmsg("the tenant is on hold since %s", timestamptz_to_str(held_at)),
				 errdetail("Nothing of it is purged until hold %lld is released.", (long long) hold)));
	for (int i = 0; i < plan->nparts; i++)
	{
		const char *name = plan->parts[i].tenant_name;

		if (name != NULL && strcmp(name, request->tenant_name) != 0)
			ereport(NOTICE,
					(errmsg("deletion %lld has the tenant under another name, \"%s\"",
							(long long) plan->parts[i].deletion, name),
					 errhint("Was it renamed, or has its key been given to another tenant since?")));
	}
}

static int
compare_by_table(const void *a, const void *b)
{
	const DgPlanPart *x = *(DgPlanPart *const *) a;
	const DgPlanPart *y = *(DgPlanPart *const *) b;
	int			cmp = strcmp(x->relation_name, y->relation_name);

	return cmp != 0 ? cmp : dg_purge_plan_compare_parts(x, y);
}

/*
 * Adds a line about the parts of one table, which are in the order of a plan.
 */
static void
put_table_line(StringInfo buf, DgPlanPart **parts, int nparts)
{
	Bitmapset  *tenants = NULL;
	int64		rows = 0;
	int64		deletions = 0;

	for (int i = 0; i < nparts; i++)
	{
		rows += parts[i]->rows;
		tenants = bms_add_member(tenants, parts[i]->tenant_no);
		deletions += i == 0 || parts[i]->deletion != parts[i - 1]->deletion;
	}
	appendStringInfo(buf, "%sTable %s: rows " INT64_FORMAT ", tenants %d, deletions " INT64_FORMAT ".",
					 buf->len > 0 ? "\n" : "", parts[0]->relation_name, rows, bms_num_members(tenants), deletions);
	bms_free(tenants);
}

/*
 * A plan by age, a line for each table; palloc'd.
 */
static char *
summary_by_table(const DgPlan *plan)
{
	DgPlanPart **parts = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(DgPlanPart *) * plan->nparts);
	StringInfoData buf;
	int			n;

	for (int i = 0; i < plan->nparts; i++)
		parts[i] = &plan->parts[i];
	qsort(parts, plan->nparts, sizeof(DgPlanPart *), compare_by_table);
	initStringInfo(&buf);
	for (int i = 0; i < plan->nparts; i += n)
	{
		for (n = 1; i + n < plan->nparts && strcmp(parts[i + n]->relation_name, parts[i]->relation_name) == 0;)
			n++;
		put_table_line(&buf, &parts[i], n);
	}
	return buf.data;
}

/*
 * Says whose rows a request by age leaves in the bin.
 */
static void
show_left_out(const DgPlan *plan)
{
	if (plan->left_out > 0)
		ereport(NOTICE,
				(errmsg("%lld rows of these tables stay in the bin", (long long) plan->left_out),
				 errdetail("They are not due yet, belong to no tenant, or belong to tenants that are on hold, were deleted, or are not in the tenant table."),
				 errhint("What is left of a deleted tenant is requested by its name, with deletion_guard.request_purge().")));
}

/*
 * Shows the plan and whatever stands against it. Notices only: the server's log
 * need not know the tenant's name.
 */
void
dg_purge_plan_show(const DgRequest *request, const DgPlan *plan)
{
	if (request->by_age)
	{
		ereport(NOTICE,
				(errmsg("request %lld covers %lld rows of %d tenants",
						(long long) request->id, (long long) plan->rows, plan->tenants),
				 errdetail("%s", summary_by_table(plan))));
		show_left_out(plan);
		return;
	}
	ereport(NOTICE,
			(request->tenant == NULL ?
			 errmsg("request %lld covers %lld rows without a tenant",
					(long long) request->id, (long long) plan->rows) :
			 errmsg("request %lld covers %lld rows of tenant \"%s\", named \"%s\"",
					(long long) request->id, (long long) plan->rows, request->tenant, request->tenant_name),
			 errdetail("%s", plan_summary(plan))));
	if (TIMESTAMP_IS_NOEND(plan->due_at))
		ereport(NOTICE,
				(errmsg("some of these rows are to be kept for ever"),
				 errdetail("deletion_guard.retention was -1 or empty when they were deleted.")));
	else if (plan->due_at > GetCurrentTimestamp())
		ereport(NOTICE,
				(errmsg("not all of these rows are due before %s", timestamptz_to_str(plan->due_at))));
	if (request->tenant != NULL)
		show_tenant(request, plan);
}
