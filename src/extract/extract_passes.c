/*
 * extract_passes.c
 *		In which order the tables of an archive are read.
 *
 * Reading begins at the tables that have the tenant's key and goes on with
 * those whose path to it is one foreign key longer each time; so when a table
 * is read, the keys of its parents are known. Within such a round tables are
 * read in the archive's order, which is the order of the file. Parents that the
 * archive lacks are read from the database, before the round that they are of.
 *
 * Of a running copy only the tenants' rows are asked for, in its own SQL.
 *
 * A table is read for its rows, if these are wanted, and for its keys, if a
 * finder awaits them; more than once if it serves several finders.
 */
#include "postgres.h"

#include "catalog/pg_inherits.h"
#include "utils/lsyscache.h"

#include "extract/extract_internal.h"

static int
longest_path(const DgExtractPlan *plan)
{
	int			longest = 0;
	ListCell   *lc;

	foreach(lc, plan->finders)
		longest = Max(longest, ((DgFinder *) lfirst(lc))->length);
	return longest;
}

static void
need_finder(DgFinder *finder)
{
	ListCell   *lc;

	finder->needed = true;
	foreach(lc, finder->parents)
		need_finder(lfirst(lc));
}

/*
 * The finders of the wanted sources are needed, and those of their parents.
 */
static void
mark_needed(DgExtractPlan *plan)
{
	ListCell   *lc;

	foreach(lc, plan->sources)
	{
		DgSource   *source = lfirst(lc);

		if (!source->wanted && !source->counted)
			continue;
		if (source->finder != NULL)
			need_finder(source->finder);
	}
}

static bool
is_awaited(const DgFinder *finder)
{
	ListCell   *lc;

	foreach(lc, finder->feeds)
	{
		if (((DgFeed *) lfirst(lc))->finder->needed)
			return true;
	}
	return false;
}

/*
 * Does the source have what a finder looks at, and what is awaited of it?
 */
static bool
serves_finder(const DgSource *source, const DgFinder *finder)
{
	ListCell   *lc;

	if (!list_member_oid(source->covers, finder->relid) ||
		!dg_extract_source_has_columns(source, finder->ncolumns, finder->columns))
		return false;
	foreach(lc, finder->feeds)
	{
		DgFeed	   *feed = lfirst(lc);

		if (feed->finder->needed && !dg_extract_source_has_columns(source, feed->ncolumns, feed->columns))
			return false;
	}
	return true;
}

/*
 * Adds a pass over a source, if the finder is asked of its rows.
 */
static void
add_pass(DgExtractPlan *plan, DgSource *source, DgFinder *finder)
{
	bool		emit = (source->wanted || source->counted) && source->finder == finder;
	DgPass	   *pass;

	if (!emit && !(is_awaited(finder) && serves_finder(source, finder)))
		return;
	pass = palloc0(sizeof(DgPass));
	pass->source = source;
	pass->finder = finder;
	pass->emit = emit;
	plan->passes = lappend(plan->passes, pass);
}

/*
 * Does the archive have all of a table's rows, or, if some partitions are
 * missing, at least some? Otherwise neither is set. Rows that go to the root of
 * partitions do not say which of these they come from.
 */
static void
archive_has(const DgExtractPlan *plan, const DgFinder *finder, bool *all, bool *some)
{
	List	   *leaves = dg_has_parts(finder->relid) ?
	find_all_inheritors(finder->relid, NoLock, NULL) : list_make1_oid(finder->relid);
	ListCell   *lc;
	ListCell   *ls;

	*all = true;
	*some = false;
	foreach(lc, leaves)
	{
		Oid			leaf = lfirst_oid(lc);
		bool		has = false;

		foreach(ls, plan->sources)
		{
			DgSource   *source = lfirst(ls);

			if (!serves_finder(source, finder))
				continue;
			*some = true;
			has |= (source->relid == leaf);
		}
		if (!dg_has_parts(leaf))
			*all &= has;
	}
}

/*
 * Parents that the archive does not have are looked for in the database.
 */
static void
add_live_pass(DgExtractPlan *plan, DgFinder *finder)
{
	DgPass	   *pass = palloc0(sizeof(DgPass));
	bool		all;
	bool		some;
	ListCell   *lc;

	archive_has(plan, finder, &all, &some);
	/* a copy has all parents of its rows, whatever partitions came since */
	if (all || (some && plan->server))
		return;
	finder->overrides = some;
	foreach(lc, finder->feeds)
		((DgFeed *) lfirst(lc))->finder->knows_all = true;
	pass->finder = finder;
	plan->passes = lappend(plan->passes, pass);
}

/* ----------------------------------------------------------------------
 * What to ask of a running copy
 * ----------------------------------------------------------------------
 */

/*
 * The types and collations of some live columns.
 */
static void
types_of(Oid relid, int n, const char **columns, const Oid **types, const Oid **collations)
{
	Oid		   *type = palloc(sizeof(Oid) * n);
	Oid		   *collation = palloc(sizeof(Oid) * n);
	int32		typmod;

	for (int i = 0; i < n; i++)
		get_atttypetypmodcoll(relid, get_attnum(relid, columns[i]), &type[i], &typmod, &collation[i]);
	*types = type;
	*collations = collation;
}

/*
 * The rows that a finder finds in one of the parents' sources; NULL: nothing can be
 * asked.
 */
static DgServerParent *
parent_of(const DgExtractPlan *plan, const DgSource *source, const DgFinder *finder)
{
	DgServerParent *parent = palloc0(sizeof(DgServerParent));
	DgFinder   *parent_finder = linitial(finder->parents);
	int		   *fields = palloc(sizeof(int) * finder->ncolumns);
	ListCell   *lc;

	foreach(lc, parent_finder->feeds)
	{
		DgFeed	   *feed = lfirst(lc);

		if (feed->finder != finder)
			continue;
		types_of(parent_finder->relid, feed->ncolumns, feed->columns, &parent->types, &parent->collations);
		if (!dg_extract_source_find_columns(source, feed->ncolumns, feed->columns, fields))
			return NULL;
	}
	parent->table = source->index;
	parent->fields = fields;
	parent->condition = dg_extract_condition(plan, source, parent_finder);
	return parent->condition == NULL ? NULL : parent;
}

/*
 * A condition for the rows of a source that a finder finds; NULL: all have to come,
 * as only here it is known whose they are.
 */
DgServerCondition *
dg_extract_condition(const DgExtractPlan *plan, const DgSource *source, const DgFinder *finder)
{
	DgServerCondition *condition = palloc0(sizeof(DgServerCondition));
	int		   *fields = palloc(sizeof(int) * finder->ncolumns);
	ListCell   *lc;

	if (!plan->server || finder->knows_all || finder->soft || finder->overrides ||
		!dg_extract_source_find_columns(source, finder->ncolumns, finder->columns, fields))
		return NULL;
	condition->every = finder->ncolumns == 0 && finder->tenant >= 0;
	condition->ncolumns = finder->ncolumns;
	condition->fields = fields;
	types_of(finder->relid, finder->ncolumns, finder->columns, &condition->types, &condition->collations);
	condition->keys = finder->texts;
	condition->nulls = finder->nobody;
	foreach(lc, finder->parents == NIL ? NIL : plan->sources)
	{
		DgServerParent *parent;

		if (!serves_finder(lfirst(lc), linitial(finder->parents)))
			continue;
		parent = parent_of(plan, lfirst(lc), finder);
		if (parent == NULL)
			return NULL;
		condition->parents = lappend(condition->parents, parent);
	}
	return finder->ncolumns > 0 && condition->keys == NIL && condition->parents == NIL && !condition->nulls ? NULL : condition;
}

/*
 * Where some parents of a table's rows are read live, or no foreign key sees to it that
 * there are any, its finder takes a key that is not there for one of nobody: so it has to
 * hear of other tenants' rows in the archive, too.
 */
static void
tell_all(const DgExtractPlan *plan)
{
	ListCell   *lc;
	ListCell   *parent;

	foreach(lc, plan->finders)
	{
		DgFinder   *finder = lfirst(lc);

		foreach(parent, finder->soft || (finder->knows_all && list_length(finder->parents) > 1) ? finder->parents : NIL)
			((DgFinder *) lfirst(parent))->overrides = true;
	}
}

/*
 * Makes the passes of a plan, whose sources and finders are known.
 */
void
dg_extract_plan_passes(DgExtractPlan *plan)
{
	ListCell   *lc;

	mark_needed(plan);
	for (int length = 0; length <= longest_path(plan); length++)
	{
		List	   *finders = NIL;
		ListCell   *ls;
		ListCell   *lf;

		foreach(lf, plan->finders)
		{
			DgFinder   *finder = lfirst(lf);

			if (!finder->needed || finder->length != length)
				continue;
			finders = lappend(finders, finder);
			if (is_awaited(finder))
				add_live_pass(plan, finder);
		}
		foreach(ls, plan->sources)
		{
			foreach(lf, finders)
				add_pass(plan, lfirst(ls), lfirst(lf));
		}
	}
	tell_all(plan);
	foreach(lc, plan->passes)
	{
		DgPass	   *pass = lfirst(lc);

		if (pass->source != NULL)
			pass->condition = dg_extract_condition(plan, pass->source, pass->finder);
	}
}
