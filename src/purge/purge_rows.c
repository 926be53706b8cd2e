/*
 * purge_rows.c
 *		Some rows of a tenant: request_purge(..., keys => '{"public.person": [{"id": 7}]}').
 *
 * The request keeps the choice as it was asked for (rows_chosen.c), and each plan is
 * made by it anew: so rows that were put back since, and others like them that have
 * been deleted since, make another plan. A plan names its rows by the bin's own
 * numbers, which never change, and says nothing of what is in them; its digest, which
 * stays in the ledger, is no help to somebody who guesses.
 *
 * Values are compared as they are written under the settings of canonical.c, whatever
 * the session's are: times are UTC.
 */
#include "postgres.h"

#include "access/table.h"
#include "port/pg_bitutils.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "bin/bin.h"
#include "capture/capture.h"
#include "common/deletion_guard.h"
#include "purge/purge_internal.h"
#include "rows/rows.h"

/*
 * The argument "keys" with whole names of tables; NULL if all rows are asked for. Null is
 * refused: it is a variable that somebody forgot to set.
 */
Jsonb *
dg_purge_rows_argument(Jsonb *keys)
{
	JsonbValue	all;
	char	   *text;

	if (JB_ROOT_IS_SCALAR(keys) && JsonbExtractScalar(&keys->root, &all) && all.type == jbvString &&
		all.val.string.len == 3 && strncmp(all.val.string.val, "all", 3) == 0)
		return NULL;
	text = dg_rows_chosen_named(keys, dg_rows_chosen_parse(keys));
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

/*
 * The rows that a request is for, as in the claim "keys", palloc'd; NULL for all.
 */
char *
dg_purge_rows_text(const DgRequest *request)
{
	return request->keys == NULL ? NULL : JsonbToCString(NULL, &request->keys->root, VARSIZE(request->keys));
}

/* ----------------------------------------------------------------------
 * Choosing
 * ----------------------------------------------------------------------
 */

/* Parts of a plan that are in one bin table, in the plan's order. */
typedef struct BinParts
{
	DgPlanPart **parts;
	int			nparts;
	int			last;			/* the part of the last row */
} BinParts;

static DgBinScan *
scan_parts(const BinParts *bin)
{
	DgPartId   *ids = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(DgPartId) * bin->nparts);
	DgBinScan  *scan;

	for (int i = 0; i < bin->nparts; i++)
	{
		ids[i].deletion = bin->parts[i]->deletion;
		ids[i].part = bin->parts[i]->part;
	}
	scan = dg_bin_scan_begin(bin->parts[0]->bin_table, AccessShareLock, ids, bin->nparts);
	pfree(ids);
	return scan;
}

static int
compare_with_part(const void *id, const void *part)
{
	DgPartId	other = {.deletion = (*(DgPlanPart *const *) part)->deletion,.part = (*(DgPlanPart *const *) part)->part};

	return dg_bin_compare_parts(id, &other);
}

/*
 * Which of the parts the row is of that was read last.
 */
static int
part_of_scan(BinParts *bin, DgBinScan *scan)
{
	DgPartId	id = dg_bin_scan_part(scan);

	if (compare_with_part(&id, &bin->parts[bin->last]) != 0)
		bin->last = (DgPlanPart **) bsearch(&id, bin->parts, bin->nparts, sizeof(DgPlanPart *), compare_with_part) - bin->parts;
	return bin->last;
}

static TupleDesc
bin_columns(Oid bin_table)
{
	Relation	rel = table_open(bin_table, NoLock);
	TupleDesc	desc = CreateTupleDescCopy(RelationGetDescr(rel));

	table_close(rel, NoLock);
	return desc;
}

/*
 * Values are as they would come back: with the keys that tenants have now.
 */
static DgRenamedColumns *
renamed_columns(Oid relation, TupleDesc desc)
{
	DgRenamedColumns *columns;
	Relation	rel;

	if (get_rel_name(relation) == NULL)
		return NULL;
	rel = table_open(relation, AccessShareLock);
	columns = dg_capture_renamed_columns(rel, desc);
	table_close(rel, NoLock);
	return columns;
}

/*
 * Adds a row to those of a part that the plan covers.
 */
static void
choose_row(DgPlanPart *part, TupleTableSlot *slot)
{
	bool		isnull;

	if (part->chosen == NULL)
	{
		part->chosen = palloc(sizeof(int64));
		part->numbers = palloc(sizeof(int32));
	}
	else if (pg_popcount64(part->rows) == 1)
	{
		part->chosen = repalloc_huge(part->chosen, sizeof(int64) * part->rows * 2);
		part->numbers = repalloc_huge(part->numbers, sizeof(int32) * part->rows * 2);
	}
	part->chosen[part->rows] = DG_TID_ADDRESS(&slot->tts_tid);
	part->numbers[part->rows] = DatumGetInt32(slot_getattr(slot, Anum_bin_row, &isnull));
	part->rows++;
}

static int
compare_row_addresses(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

static int
compare_row_numbers(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return (x > y) - (x < y);
}

/*
 * All rows of a part have been seen: as many as there should be?
 */
static void
end_part(DgPlanPart *part, int64 seen)
{
	if (seen != part->left)
		ereport(ERROR,
				(errcode(DG_ERRCODE_VERIFICATION_FAILED),
				 errmsg("purge of deletion %lld found %lld rows instead of %lld",
						(long long) part->deletion, (long long) seen, (long long) part->left),
				 errdetail("Table %s. Nothing was purged.", part->relation_name),
				 errhint("Somebody has written the bin past deletion_guard; look into it before anything else.")));
	if (part->rows == 0)
		return;
	qsort(part->chosen, part->rows, sizeof(int64), compare_row_addresses);
	qsort(part->numbers, part->rows, sizeof(int32), compare_row_numbers);
}

static void
choose_from_bin(const DgPlan *plan, BinParts *bin, void *arg)
{
	const DgPlanPart *first = bin->parts[0];
	DgChosenTable *table = dg_rows_chosen_of(plan->chosen, first->relation, first->relation_name);
	DgBinScan  *scan = scan_parts(bin);
	TupleDesc	desc = bin_columns(first->bin_table);
	DgRenamedColumns *renamed = renamed_columns(first->relation, desc);
	int64	   *seen = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(int64) * bin->nparts,
												  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	TupleTableSlot *slot;

	dg_rows_chosen_begin(table, desc);
	while ((slot = dg_bin_scan_next(scan)) != NULL)
	{
		int			n = part_of_scan(bin, scan);

		seen[n]++;
		slot_getallattrs(slot);
		if (renamed != NULL)
			dg_capture_rename_values(renamed, bin->parts[n]->deletion, slot->tts_values, slot->tts_isnull);
		if (dg_rows_chosen_has(table, slot->tts_values, slot->tts_isnull))
			choose_row(bin->parts[n], slot);
	}
	dg_bin_scan_end(scan);
	for (int i = 0; i < bin->nparts; i++)
		end_part(bin->parts[i], seen[i]);
	pfree(seen);
}

/*
 * Calls the action with the parts of a plan that are in one bin table, table after table;
 * with those of one relation only, unless it is InvalidOid.
 */
static void
each_bin(const DgPlan *plan, Oid relation, void (*action) (const DgPlan *plan, BinParts *bin, void *arg), void *arg)
{
	BinParts	bin = {MemoryContextAllocHuge(CurrentMemoryContext, sizeof(DgPlanPart *) * (plan->nparts + 1))};
	List	   *bins = NIL;
	ListCell   *lc;

	for (int i = 0; i < plan->nparts; i++)
	{
		if (!OidIsValid(relation) || plan->parts[i].relation == relation)
			bins = list_append_unique_oid(bins, plan->parts[i].bin_table);
	}
	foreach(lc, bins)
	{
		bin.nparts = bin.last = 0;
		for (int i = 0; i < plan->nparts; i++)
		{
			if (plan->parts[i].bin_table == lfirst_oid(lc))
				bin.parts[bin.nparts++] = &plan->parts[i];
		}
		action(plan, &bin, arg);
	}
	pfree(bin.parts);
}

/*
 * Leaves of a plan the rows that were chosen. They stay where they are until the end of
 * the transaction: the bin's table is locked, and so are their tenants.
 */
void
dg_purge_rows_choose(DgPlan *plan)
{
	int			nestlevel = dg_canonical_output_begin();
	int			n = 0;

	for (int i = 0; i < plan->nparts; i++)
		plan->parts[i].rows = 0;
	each_bin(plan, InvalidOid, choose_from_bin, NULL);
	AtEOXact_GUC(true, nestlevel);
	plan->rows = 0;
	plan->due_at = DT_NOBEGIN;
	for (int i = 0; i < plan->nparts; i++)
	{
		if (plan->parts[i].rows == 0)
			continue;
		plan->rows += plan->parts[i].rows;
		plan->due_at = Max(plan->due_at, plan->parts[i].due_at);
		plan->parts[n++] = plan->parts[i];
	}
	plan->nparts = n;
}

/*
 * Is a row of the bin, of this part, one that the plan covers?
 */
bool
dg_purge_rows_has(const DgPlanPart *part, TupleTableSlot *slot)
{
	int64		address = DG_TID_ADDRESS(&slot->tts_tid);

	return part->chosen == NULL ||
		bsearch(&address, part->chosen, part->rows, sizeof(int64), compare_row_addresses) != NULL;
}

/* ----------------------------------------------------------------------
 * What was chosen
 * ----------------------------------------------------------------------
 */

/* What dg_purge_rows_each() calls. */
typedef struct EachRow
{
	DgPlanRow	action;
	void	   *arg;
} EachRow;

static void
each_row_of_bin(const DgPlan *plan, BinParts *bin, void *arg)
{
	EachRow    *each = arg;
	DgBinScan  *scan = scan_parts(bin);
	TupleTableSlot *slot;

	while ((slot = dg_bin_scan_next(scan)) != NULL)
	{
		if (dg_purge_rows_has(bin->parts[part_of_scan(bin, scan)], slot))
			each->action(slot, each->arg);
	}
	dg_bin_scan_end(scan);
}

/*
 * Calls the action with each row of a table that the plan covers.
 */
void
dg_purge_rows_each(const DgPlan *plan, Oid relation, DgPlanRow action, void *arg)
{
	EachRow		each = {action, arg};

	each_bin(plan, relation, each_row_of_bin, &each);
}

/*
 * Fails if rows were asked for that the bin does not have: a misspelling, perhaps.
 */
void
dg_purge_rows_require_found(const DgPlan *plan)
{
	char	   *rows;
	int64		n = dg_rows_chosen_missing(plan->chosen, &rows);

	if (n > 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_NOTHING_TO_PURGE),
				 errmsg_plural("%lld of the rows chosen is not in the bin", "%lld of the rows chosen are not in the bin", (unsigned long) n, (long long) n),
				 errdetail("Of this tenant, and of the deletions that the request covers, there are none with these values: %s.", rows),
				 errhint("deletion_guard.deleted_rows() shows the rows of a tenant. Those of a partition are its root's; times are UTC.")));
}
