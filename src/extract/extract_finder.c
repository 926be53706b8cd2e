/*
 * extract_finder.c
 *		Telling the tenant of a row.
 *
 * A finder belongs to a table and to a way from its rows to their tenant: a
 * column, or a path of foreign keys. Either way some columns of the row are
 * looked up in a map of keys. The map of a column holds the tenants' keys. The
 * map of a path holds the keys of the parents that belong to the tenants; it
 * is fed by the parents' own finder while their rows are read, from the
 * archive, or, where that does not have the table, from the database.
 *
 * A pg_dump archive is one snapshot, so where it has a parent table, it has
 * all parents of the rows in it, and those are the ones that count: the
 * database may have moved a parent to another tenant since. Where it has some
 * partitions of a parent table only, the live rows are asked first and those of
 * the archive have the last word.
 *
 * Live parents need not be those of the time of the archive: some may be
 * gone, and then nothing tells whose their children were. So the map learns
 * of all live parents, other tenants' too: that tells a row whose parent is
 * unknown from a row of another tenant (extract_read.c counts the former).
 */
#include "postgres.h"

#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "guard/guard.h"
#include "extract/extract_internal.h"

/*
 * A finder by the column that holds the tenant.
 */
static void
make_by_column(DgFinder *finder, const char *column, const DgTenants *tenants)
{
	AttrNumber	attnum = get_attnum(finder->relid, column);

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_RESTORE),
				 errmsg("cannot tell tenants of \"%s\": its tenant column \"%s\" does not exist any more",
						get_rel_name(finder->relid), column),
				 errhint("Name the present one with deletion_guard.guard_table(%s, tenant_column => ...).",
						 quote_literal_cstr(dg_relation_name(finder->relid)))));
	finder->ncolumns = 1;
	finder->learned = tenants->all == NULL ? NULL : unconstify(DgTenants *, tenants);
	finder->columns = palloc(sizeof(char *));
	finder->columns[0] = pstrdup(column);
	finder->keys = dg_extract_keymap_of_columns(finder->relid, &attnum, 1);
	for (int i = 0; i < tenants->n && !tenants->nobody && tenants->all == NULL; i++)
	{
		char	   *key = dg_extract_tenant_in_column(finder->relid, attnum, tenants->keys[i]);
		DgKeyText	text = {key, strlen(key)};

		dg_extract_keymap_put(finder->keys, &text, i);
		finder->texts = lappend(finder->texts, memcpy(palloc(sizeof(char *)), &key, sizeof(char *)));
	}
}

/*
 * A finder for a table whose rows are all one tenant's.
 */
static void
make_by_table(DgFinder *finder, const DgTenants *tenants)
{
	finder->tenant = dg_extract_tenant_find(tenants, dg_guard_lookup(finder->relid)->tenant);
	finder->keys = dg_extract_keymap_create(0);
}

/*
 * The names of some columns of a table, palloc'd.
 */
const char **
dg_extract_column_names(Oid relid, const AttrNumber *attnums, int n)
{
	const char **names = palloc(sizeof(char *) * n);

	for (int i = 0; i < n; i++)
		names[i] = get_attname(relid, attnums[i], false);
	return names;
}

/*
 * Has a finder look for parents, by a foreign key or what is like one, and their finder
 * tell it of them. What is looked for are the columns, with the type if there is one.
 */
static void
look_for_parent(DgFinder *finder, ForeignKeyCacheInfo *fkey, DgFinder *parent)
{
	DgFeed	   *feed = palloc0(sizeof(DgFeed));
	AttrNumber	attnums[INDEX_MAX_KEYS + 1];
	AttrNumber	type = dg_guard_hop_type(fkey, &feed->type);

	feed->finder = finder;
	feed->ncolumns = fkey->nkeys;
	feed->columns = dg_extract_column_names(fkey->confrelid, fkey->confkey, fkey->nkeys);
	parent->feeds = lappend(parent->feeds, feed);
	finder->parents = lappend(finder->parents, parent);
	finder->length = Max(finder->length, parent->length + 1);
	finder->soft |= !OidIsValid(fkey->conoid);
	if (finder->keys != NULL)
		return;
	memcpy(attnums, fkey->conkey, sizeof(AttrNumber) * fkey->nkeys);
	finder->ncolumns = fkey->nkeys;
	finder->typed = type != InvalidAttrNumber;
	if (finder->typed)
		attnums[finder->ncolumns++] = type;
	finder->columns = dg_extract_column_names(finder->relid, attnums, finder->ncolumns);
	finder->keys = finder->typed ? dg_extract_keymap_of_columns(finder->relid, attnums, finder->ncolumns) :
		dg_extract_keymap_of_columns(fkey->confrelid, fkey->confkey, fkey->nkeys);
	dg_extract_keymap_may_spill(finder->keys);
}

/*
 * A finder by paths: one parent for each first element that they have.
 */
static void
make_by_paths(DgFinder *finder, List **finders, const DgTenants *tenants)
{
	List	   *done = NIL;
	ListCell   *lc;
	ListCell   *other;

	foreach(lc, finder->paths)
	{
		char	   *first = linitial(lfirst(lc));
		List	   *rest = NIL;
		const char *column;
		Oid			end;
		List	   *fkeys;

		if (list_member(done, makeString(first)))
			continue;
		done = lappend(done, makeString(first));
		foreach(other, finder->paths)
		{
			if (strcmp(linitial(lfirst(other)), first) == 0)
				rest = lappend(rest, list_copy_tail(lfirst(other), 1));
		}
		fkeys = dg_guard_path_keys(finder->relid, list_make1(first), &end, &column);
		look_for_parent(finder, linitial(fkeys), dg_extract_finder_get(finders, end, rest, tenants));
	}
}

/*
 * Several paths as text that tells them from others.
 */
static char *
paths_text(List *paths)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, paths)
		appendStringInfo(&buf, "%s;", dg_guard_path_text(lfirst(lc)));
	return buf.data;
}

/*
 * The finder of a table and its paths, from the list or new; new ones, and those of
 * the parents before them, are added to the list.
 */
DgFinder *
dg_extract_finder_get(List **finders, Oid relid, List *paths, const DgTenants *tenants)
{
	DgFinder   *finder;
	Oid			end;
	const char *column;
	ListCell   *lc;

	foreach(lc, *finders)
	{
		finder = lfirst(lc);
		if (finder->relid == relid && list_length(finder->paths) == list_length(paths) &&
			strcmp(paths_text(finder->paths), paths_text(paths)) == 0)
			return finder;
	}
	finder = palloc0(sizeof(DgFinder));
	finder->relid = relid;
	finder->paths = paths;
	finder->nobody = tenants->nobody;
	if (paths == NIL || linitial(paths) != NIL)
		make_by_paths(finder, finders, tenants);
	else
	{
		(void) dg_guard_path_keys(relid, NIL, &end, &column);
		if (column != NULL)
			make_by_column(finder, column, tenants);
		else if (dg_guard_lookup(relid)->tenant != NULL)
			make_by_table(finder, tenants);
		else
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_RESTORE),
					 errmsg("a tenant path ends at \"%s\", which knows no tenant", get_rel_name(relid)),
					 errhint("Guard that table with a tenant column, or enrol anew what has the path.")));
	}
	*finders = lappend(*finders, finder);
	return finder;
}

/*
 * The tables whose rows a finder looks for, as a person reads it.
 */
char *
dg_extract_finder_parents(const DgFinder *finder)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, finder->parents)
		appendStringInfo(&buf, "%s%s", foreach_current_index(lc) > 0 ? "\" or \"" : "", get_rel_name(((DgFinder *) lfirst(lc))->relid));
	return buf.data;
}

/*
 * A finder that learns has come to a key that it does not know.
 */
int
dg_extract_finder_learn(DgFinder *finder, const DgKeyText *key)
{
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(finder));
	int			tenant = dg_extract_tenant_find(finder->learned, key->ptr);

	dg_extract_keymap_put(finder->keys, key, tenant);
	MemoryContextSwitchTo(old);
	return tenant;
}
