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
 * Rows whose key is the empty string belong to no tenant either, unless the
 * tenant table has such a one: then a request for that tenant covers them.
 *
 * Rows that are in the bin do not change, so a part with as many rows as before
 * is the same part. Whatever is added, undeleted or purged meanwhile changes
 * the digest.
 */
#include "purge.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "guard.h"
#include "utils/builtins.h"

#define MAX_DIFFERENCES 10

/*
 * When a deletion is due is recorded with it. One that was made while the clock
 * was behind an earlier deletion's counts as made at that one's time: setting
 * the clock back makes nothing due. Times that are still to come are of a clock
 * that was ahead, and do not count.
 */
#define PLAN_QUERY(tenant_no, tenants) \
	"SELECT p.deletion_id, p.part, b.relation::oid, b.bin_table::oid, b.relation_name," \
	" p.rows - p.restored - p.purged, r.deleted_at, r.due_at, p.tenant_name, p.tenant = '', p.tenant, " tenant_no \
	" FROM deletion_guard.deletion_part p" \
	" JOIN deletion_guard.bin b ON b.bin_id = p.bin_id" \
	" JOIN (SELECT d.deletion_id, d.deleted_at, greatest(d.purge_not_before," \
	"        d.purge_not_before + (d.last_deleted_at - d.deleted_at)) AS due_at" \
	"       FROM (SELECT e.deletion_id, e.deleted_at, e.purge_not_before," \
	"              max(e.deleted_at) FILTER (WHERE e.deleted_at <= clock_timestamp()) OVER (ORDER BY e.deletion_id" \
	"               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last_deleted_at" \
	"             FROM deletion_guard.deletion_record e) d) r ON r.deletion_id = p.deletion_id" \
	" WHERE p.rows > p.restored + p.purged AND r.deleted_at <= $2" \
	" AND ($3 IS NULL OR b.relation = ANY ($3) OR b.bin_table = ANY ($3))" \
	" AND " tenants " ORDER BY p.deletion_id, p.part"

#define PLAN_OF_TENANT \
	PLAN_QUERY("1", "(p.tenant = $1 OR $1 IS NULL AND (p.tenant IS NULL OR p.tenant = '' AND $4))")

#define PLAN_BY_AGE \
	PLAN_QUERY("dense_rank() OVER (ORDER BY p.tenant)::integer", \
			   "p.tenant = ANY ($1) AND r.due_at <= $4" \
			   " AND p.tenant NOT IN (SELECT h.tenant FROM ONLY deletion_guard.hold h WHERE h.released_at IS NULL)" \
			   " AND p.tenant NOT IN (SELECT t.tenant FROM deletion_guard.deletion_part t" \
			   "  JOIN deletion_guard.bin b ON b.bin_id = t.bin_id" \
			   "  WHERE b.relation = $5 AND t.rows > t.restored + t.purged AND t.tenant IS NOT NULL)")

static void
plan_digest(DgPlan *plan, const DgRequest *request)
{
	StringInfoData buf;

	initStringInfo(&buf);
	dg_put_text(&buf, request->by_age ? "deletion_guard plan by age 1" : "deletion_guard plan 1");
	dg_put_utf8(&buf, dg_audience_text());
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
	dg_put_int64(&buf, plan->nparts);
	for (int i = 0; i < plan->nparts; i++)
	{
		dg_put_int64(&buf, plan->parts[i].deletion);
		dg_put_int64(&buf, plan->parts[i].part);
		dg_put_utf8(&buf, plan->parts[i].relation_name);
		dg_put_int64(&buf, plan->parts[i].rows);
	}
	dg_sha256(buf.data, buf.len, plan->digest);
	pfree(buf.data);
}

static void
read_part(DgPlanPart *part, uint64 row)
{
	bool		no_key;
	bool		empty_key = DatumGetBool(dg_row_datum(row, 10, &no_key));

	part->deletion = dg_row_int64(row, 1, NULL);
	part->part = (int32) dg_row_int64(row, 2, NULL);
	part->relation = (Oid) dg_row_int64(row, 3, NULL);
	part->bin_table = (Oid) dg_row_int64(row, 4, NULL);
	part->relation_name = dg_row_text(row, 5);
	part->rows = dg_row_int64(row, 6, NULL);
	part->deleted_at = dg_row_time(row, 7, NULL);
	part->due_at = dg_row_time(row, 8, NULL);
	part->tenant_name = dg_row_text(row, 9);
	part->blank = !no_key && empty_key;
	part->tenant = dg_row_text(row, 11);
	part->tenant_no = (int) dg_row_int64(row, 12, NULL);
}

static int
find_parts_of_tenant(const DgRequest *request)
{
	bool		blank = request->tenant == NULL && !dg_tenant_is_known("");
	Oid			types[] = {TEXTOID, TIMESTAMPTZOID, REGCLASSARRAYOID, BOOLOID};
	Datum		values[] = {request->tenant != NULL ? CStringGetTextDatum(request->tenant) : (Datum) 0,
		TimestampTzGetDatum(request->deleted_before), request->relations, BoolGetDatum(blank)};
	char		nulls[] = {request->tenant != NULL ? ' ' : 'n', ' ', request->all_relations ? 'n' : ' ', ' '};

	return dg_spi_select(PLAN_OF_TENANT, 4, types, values, nulls);
}

/*
 * The live ones of the tenants that the tables of a request by age have rows of
 * in the bin, as text[].
 */
static Datum
live_tenants(const DgRequest *request)
{
	Oid			types[] = {REGCLASSARRAYOID};
	Datum		values[] = {request->relations};
	bool		isnull;

	dg_spi_select("SELECT coalesce(array_agg(DISTINCT p.tenant), '{}') FROM deletion_guard.deletion_part p"
				  " JOIN deletion_guard.bin b ON b.bin_id = p.bin_id"
				  " WHERE p.rows > p.restored + p.purged AND p.tenant IS NOT NULL"
				  " AND (b.relation = ANY ($1) OR b.bin_table = ANY ($1))", 1, types, values, NULL);
	return dg_tenants_live(dg_row_datum(0, 1, &isnull));
}

static int
find_parts_by_age(const DgRequest *request)
{
	Oid			types[] = {TEXTARRAYOID, TIMESTAMPTZOID, REGCLASSARRAYOID, TIMESTAMPTZOID, OIDOID};
	Datum		values[] = {live_tenants(request), TimestampTzGetDatum(request->deleted_before),
		request->relations, TimestampTzGetDatum(request->requested_at), ObjectIdGetDatum(dg_tenant_table()->relid)};

	return dg_spi_select(PLAN_BY_AGE, 5, types, values, NULL);
}

/*
 * Finds what the request covers now; palloc'd. The caller is connected to SPI
 * and holds the tenant's lock.
 */
DgPlan *
dg_plan_make(const DgRequest *request)
{
	DgPlan	   *plan = palloc0(sizeof(DgPlan));

	plan->nparts = request->by_age ? find_parts_by_age(request) : find_parts_of_tenant(request);
	plan->parts = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(DgPlanPart) * Max(plan->nparts, 1),
											 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	plan->due_at = DT_NOBEGIN;
	for (int i = 0; i < plan->nparts; i++)
	{
		read_part(&plan->parts[i], i);
		plan->rows += plan->parts[i].rows;
		plan->due_at = Max(plan->due_at, plan->parts[i].due_at);
		plan->tenants = Max(plan->tenants, plan->parts[i].tenant_no);
	}
	SPI_freetuptable(SPI_tuptable);
	plan_digest(plan, request);
	return plan;
}

/*
 * Keeps the plan as it is reviewed.
 */
void
dg_plan_store(const DgPlan *plan, int64 request)
{
	Oid			types[] = {INT8OID, INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT8ARRAYOID};
	Datum	   *columns[4];
	Datum		values[5];

	for (int i = 0; i < lengthof(columns); i++)
		columns[i] = palloc_extended(sizeof(Datum) * Max(plan->nparts, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < plan->nparts; i++)
	{
		columns[0][i] = Int64GetDatum(plan->parts[i].deletion);
		columns[1][i] = Int32GetDatum(plan->parts[i].part);
		columns[2][i] = CStringGetTextDatum(plan->parts[i].relation_name);
		columns[3][i] = Int64GetDatum(plan->parts[i].rows);
	}
	values[0] = Int64GetDatum(request);
	values[1] = PointerGetDatum(construct_array(columns[0], plan->nparts, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[2] = PointerGetDatum(construct_array(columns[1], plan->nparts, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	values[3] = PointerGetDatum(construct_array(columns[2], plan->nparts, TEXTOID, -1, false, TYPALIGN_INT));
	values[4] = PointerGetDatum(construct_array(columns[3], plan->nparts, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	dg_spi_execute("INSERT INTO deletion_guard.purge_request_part"
				   " (request_id, deletion_id, part, relation_name, rows)"
				   " SELECT $1, * FROM unnest($2, $3, $4, $5)", 5, types, values, NULL);
}

/* ----------------------------------------------------------------------
 * For people
 * ----------------------------------------------------------------------
 */

static void
put_line(StringInfo buf, int *lines, const char *line)
{
	if ((*lines)++ < MAX_DIFFERENCES)
		appendStringInfo(buf, "%s%s", buf->len > 0 ? "\n" : "", line);
}

static void
describe_difference(StringInfo buf, int *lines, int64 deletion, const char *relation, int64 reviewed, int64 now)
{
	if (reviewed != now)
		put_line(buf, lines, psprintf("Deletion " INT64_FORMAT ", table %s: " INT64_FORMAT
									  " rows were reviewed, " INT64_FORMAT " are in the bin now.",
									  deletion, relation, reviewed, now));
}

static int
compare_parts(const DgPlanPart *a, const DgPlanPart *b)
{
	if (a->deletion != b->deletion)
		return a->deletion < b->deletion ? -1 : 1;
	if (a->part != b->part)
		return a->part < b->part ? -1 : 1;
	return 0;
}

/*
 * Reads the plan as it was reviewed.
 */
static DgPlan *
reviewed_plan(int64 request)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(request)};
	DgPlan	   *plan = palloc0(sizeof(DgPlan));

	plan->nparts = dg_spi_select("SELECT deletion_id, part, relation_name, rows"
								 " FROM deletion_guard.purge_request_part WHERE request_id = $1"
								 " ORDER BY deletion_id, part", 1, types, values, NULL);
	plan->parts = palloc0(sizeof(DgPlanPart) * Max(plan->nparts, 1));
	for (int i = 0; i < plan->nparts; i++)
	{
		plan->parts[i].deletion = dg_row_int64(i, 1, NULL);
		plan->parts[i].part = (int32) dg_row_int64(i, 2, NULL);
		plan->parts[i].relation_name = dg_row_text(i, 3);
		plan->parts[i].rows = dg_row_int64(i, 4, NULL);
	}
	return plan;
}

/*
 * Says how what is in the bin now differs from what was reviewed; palloc'd,
 * some lines at most.
 */
char *
dg_plan_difference(const DgPlan *plan, const DgRequest *request)
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
		int			cmp = old == NULL ? 1 : new == NULL ? -1 : compare_parts(old, new);

		if (cmp < 0)
			describe_difference(&buf, &lines, old->deletion, old->relation_name, old->rows, 0);
		else if (cmp > 0)
			describe_difference(&buf, &lines, new->deletion, new->relation_name, 0, new->rows);
		else
			describe_difference(&buf, &lines, new->deletion, new->relation_name, old->rows, new->rows);
		i += cmp <= 0;
		j += cmp >= 0;
	}
	if (lines > MAX_DIFFERENCES)
		appendStringInfo(&buf, "\nThere are %d more differences.", lines - MAX_DIFFERENCES);
	if (lines == 0)
		appendStringInfoString(&buf, "The tenant's name, or the database itself, is another one now.");
	else if (request->by_age)
		appendStringInfoString(&buf, "\nRows of tenants that are on hold, or were deleted, are not counted.");
	return buf.data;
}

/*
 * The plan in words, a line for each part; palloc'd.
 */
char *
dg_plan_summary(const DgPlan *plan)
{
	StringInfoData buf;
	int			lines = 0;

	initStringInfo(&buf);
	for (int i = 0; i < plan->nparts; i++)
	{
		const DgPlanPart *part = &plan->parts[i];

		put_line(&buf, &lines,
				 psprintf("Deletion " INT64_FORMAT " of %s, table %s: " INT64_FORMAT " rows%s, due %s.",
						  part->deletion, pstrdup(timestamptz_to_str(part->deleted_at)), part->relation_name, part->rows,
						  part->blank ? " with an empty key" : "",
						  TIMESTAMP_IS_NOEND(part->due_at) ? "never" : pstrdup(timestamptz_to_str(part->due_at))));
	}
	if (lines > MAX_DIFFERENCES)
		appendStringInfo(&buf, "\nAnd %d more parts, see deletion_guard.purge_plan().", lines - MAX_DIFFERENCES);
	return buf.data;
}
