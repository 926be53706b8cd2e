/*
 * bin_plan.c
 *		How the rows of a table go into its bin.
 *
 * A plan says which of a row's columns go into which of the bin's, and which of them
 * tells the tenant. It is kept with the guard of the table, and is valid as long as
 * that is.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "bin/bin_internal.h"
#include "guard/guard.h"

/* Looks behind column "after" first: mostly two tables have columns in one order. */
static AttrNumber
attnum_of(TupleDesc desc, const char *name, AttrNumber after)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, (after + i) % desc->natts);

		if (!att->attisdropped && namestrcmp(&att->attname, name) == 0)
			return att->attnum;
	}
	return InvalidAttrNumber;
}

/*
 * Do the rows of a partition have its root's columns, in whatever order?
 * Perhaps not where DETACH CONCURRENTLY has begun and never ended: the
 * partition no longer follows changes to the root's columns.
 */
static bool
has_columns_of(TupleDesc rows, TupleDesc root)
{
	int			kept = 0;
	AttrNumber	attnum = 0;

	for (int i = 0; i < root->natts; i++)
	{
		if (!dg_bin_keeps_column(TupleDescAttr(root, i)))
			continue;
		attnum = attnum_of(rows, NameStr(TupleDescAttr(root, i)->attname), attnum);
		if (attnum == InvalidAttrNumber || !dg_bin_keeps_column(TupleDescAttr(rows, attnum - 1)) ||
			!dg_bin_same_column(TupleDescAttr(rows, attnum - 1), TupleDescAttr(root, i)))
			return false;
		kept++;
	}
	for (int i = 0; i < rows->natts; i++)
	{
		if (dg_bin_keeps_column(TupleDescAttr(rows, i)))
			kept--;
	}
	return kept == 0;
}

/*
 * Maps the bin's columns to those of the rows, by name: a partition may have
 * them in another order than its root, whose shape the bin has.
 */
static void
map_columns(DgBinPlan *plan, TupleDesc shape, TupleDesc rows)
{
	plan->source = palloc(sizeof(AttrNumber) * shape->natts);
	plan->nattrs = 0;
	for (int i = 0; i < shape->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(shape, i);
		AttrNumber	after = plan->nattrs > 0 ? plan->source[plan->nattrs - 1] : 0;

		if (dg_bin_keeps_column(att))
			plan->source[plan->nattrs++] = attnum_of(rows, NameStr(att->attname), after);
	}

	plan->spliced = (plan->nattrs == rows->natts);
	for (int i = 0; i < plan->nattrs; i++)
	{
		if (plan->source[i] != i + 1)
			plan->spliced = false;
	}
}

static void
find_tenant_column(DgBinPlan *plan, DgGuard *guard, Relation rel)
{
	if (!guard->has_tenant_column)
		return;
	plan->tenant_attnum = attnum_of(RelationGetDescr(rel), NameStr(guard->tenant_column), 0);
	if (plan->tenant_attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot keep deleted rows of \"%s\": its tenant column \"%s\" does not exist any more",
						RelationGetRelationName(rel), NameStr(guard->tenant_column)),
				 errhint("Name the present one with deletion_guard.guard_table(%s, tenant_column => ...).",
						 quote_literal_cstr(dg_relation_name(guard->root)))));
	dg_guard_require_stored(RelationGetRelid(rel), NameStr(guard->tenant_column));
	plan->plain = dg_guard_tenant_is_plain(RelationGetRelid(rel), NameStr(guard->tenant_column));
}

static void
find_tenant_names(DgBinPlan *plan, DgGuard *guard, Relation rel)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	TupleDesc	desc = RelationGetDescr(rel);

	if (tenants->relid != guard->root)
		return;
	plan->of_tenants = true;
	plan->name_attnum = attnum_of(desc, NameStr(tenants->name_column), 0);
	plan->contact_attnum = attnum_of(desc, NameStr(tenants->contact_column), 0);
}

/*
 * Fills in a plan: which columns of rel's rows, as plan->desc has them, go into which
 * of the bin's, whose shape is given, and which of them tells the tenant.
 */
void
dg_bin_map_columns(DgBinPlan *plan, TupleDesc shape, DgGuard *guard, Relation rel)
{
	map_columns(plan, shape, plan->desc);
	find_tenant_column(plan, guard, rel);
}

/*
 * How rows of rel, which guard describes, go into a bin of home; makes the bin if
 * need be.
 */
static DgBinPlan *
make_plan(DgGuard *guard, Relation rel, Oid home)
{
	MemoryContext old = MemoryContextSwitchTo(guard->context);
	DgBinPlan  *plan = palloc0(sizeof(DgBinPlan));
	Relation	root;
	TupleDesc	shape;

	MemoryContextSwitchTo(old);
	root = home == guard->relid ? rel : table_open(home, AccessShareLock);
	MemoryContextSwitchTo(guard->context);
	plan->root = home;
	plan->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	shape = has_columns_of(plan->desc, RelationGetDescr(root)) ? RelationGetDescr(root) : plan->desc;
	dg_bin_map_columns(plan, shape, guard, rel);
	find_tenant_names(plan, guard, rel);
	MemoryContextSwitchTo(old);

	plan->bin_table = dg_bin_find_or_create(home, shape, &plan->bin_id);
	if (root != rel)
		table_close(root, NoLock);
	return plan;
}

/*
 * How rows that are deleted from rel go into the bin. Cached in the guard; valid as
 * long as the guard is.
 */
DgBinPlan *
dg_bin_capture_plan(DgGuard *guard, Relation rel)
{
	if (guard->capture == NULL)
		guard->capture = make_plan(guard, rel, guard->root);
	return guard->capture;
}

/*
 * Is it still for the same people to read both tables?
 */
static bool
has_same_readers(Oid relid, Relation rel)
{
	Relation	other = table_open(relid, AccessShareLock);
	bool		result = other->rd_rel->relowner == rel->rd_rel->relowner &&
	(other->rd_rel->relrowsecurity || !rel->rd_rel->relrowsecurity);

	table_close(other, NoLock);
	return result;
}

/*
 * How they do as rel itself goes. Nobody will want them back in a partition that was
 * detached and dropped, but where it was detached from.
 */
DgBinPlan *
dg_bin_last_plan(DgGuard *guard, Relation rel)
{
	Oid			home = guard->detached_from;

	if (!OidIsValid(home) || !dg_guard_is_guarded(home) || !has_same_readers(home, rel))
		return dg_bin_capture_plan(guard, rel);
	return make_plan(guard, rel, home);
}
