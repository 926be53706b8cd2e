/*
 * undelete_lost.c
 *		The links that capture_link.c has noted, as they are read again: to be put
 *		back (undelete_relink.c), and to show rows in the bin as they were before
 *		(undelete_rows.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "bin/bin.h"
#include "capture/capture.h"
#include "undelete/undelete_internal.h"

/*
 * Is there no table of this OID any more, that rows could go to?
 */
bool
dg_undelete_table_is_gone(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	return relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE;
}

static List *
strings_of(uint64 row, int column)
{
	bool		isnull;

	return dg_array_strings(dg_row_datum(row, column, &isnull));
}

/*
 * Links that a condition on deletion_link selects, the latest first: of several
 * that one row has lost in turn, the last is what it had. In the current
 * memory context.
 */
List *
dg_undelete_links_read(const char *condition, int nargs, Oid *types, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext old;
	List	   *links = NIL;

	SPI_connect();
	dg_query(psprintf("SELECT ctid, relation, key_columns, key_values, columns, before, after,"
					  " deletion_id, waiting_since FROM deletion_guard.deletion_link"
					  " WHERE NOT restored AND (%s) ORDER BY deletion_id DESC, relation", condition),
			 DG_AS_US, nargs, types, values);
	old = MemoryContextSwitchTo(context);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		DgLink	   *link = palloc0(sizeof(DgLink));
		bool		isnull;

		link->tid = *(ItemPointer) DatumGetPointer(dg_row_datum(row, 1, &isnull));
		link->relation = (Oid) dg_row_int64(row, 2, NULL);
		link->key_columns = strings_of(row, 3);
		link->key_values = strings_of(row, 4);
		link->columns = strings_of(row, 5);
		link->before = strings_of(row, 6);
		link->after = strings_of(row, 7);
		link->deletion = dg_row_int64(row, 8, NULL);
		link->waiting_since = dg_row_int64(row, 9, &isnull);
		link->waiting = !isnull;
		links = lappend(links, link);
	}
	MemoryContextSwitchTo(old);
	SPI_finish();
	return links;
}

/*
 * Gives links the keys that tenants have now: so their rows have them, as long as
 * they are live, and when they come back.
 */
void
dg_undelete_links_rename(List *links)
{
	int			nestlevel = dg_canonical_input_begin();
	DgRenamedTexts *texts = NULL;
	Oid			relid = InvalidOid;
	ListCell   *lc;

	foreach(lc, dg_bin_any_renamed() ? links : NIL)
	{
		DgLink	   *link = lfirst(lc);

		if (dg_undelete_table_is_gone(link->relation))
			continue;
		if (link->relation != relid)
			texts = dg_capture_renamed_texts(link->relation);
		relid = link->relation;
		dg_capture_rename_texts(texts, link->deletion, link->key_columns, link->key_values);
		dg_capture_rename_texts(texts, link->deletion, link->columns, link->before);
		dg_capture_rename_texts(texts, link->deletion, link->columns, link->after);
	}
	AtEOXact_GUC(true, nestlevel);
}

/*
 * Some strings, NULLs among them, as one that no others make.
 */
static void
append_strings(StringInfo buf, List *strings)
{
	ListCell   *lc;

	foreach(lc, strings)
	{
		if (lfirst(lc) == NULL)
			appendStringInfoString(buf, "-;");
		else
			appendStringInfo(buf, "%zu:%s;", strlen(lfirst(lc)), (char *) lfirst(lc));
	}
	appendStringInfoChar(buf, '/');
}

/*
 * Which columns links name, of which table: equal for links of one set.
 */
static char *
set_name(DgLink *link)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%u/", link->relation);
	append_strings(&buf, link->key_columns);
	append_strings(&buf, link->columns);
	return buf.data;
}

/*
 * What a row has whose link was lost, in the columns that its set names.
 */
static char *
row_name(List *key_values, List *after)
{
	StringInfoData buf;

	initStringInfo(&buf);
	append_strings(&buf, key_values);
	append_strings(&buf, after);
	return buf.data;
}

/*
 * A column that the table of a set does not have any more, or NULL.
 */
static char *
missing_column(DgLink *link)
{
	ListCell   *lc;

	foreach(lc, list_concat_copy(link->key_columns, link->columns))
	{
		if (get_attnum(link->relation, lfirst(lc)) <= 0)
			return lfirst(lc);
	}
	return NULL;
}

static DgLinkSet *
make_set(DgLink *link, char *name)
{
	DgLinkSet  *set = palloc0(sizeof(DgLinkSet));
	char	   *missing;
	ListCell   *lc;
	int			i = 0;

	set->name = name;
	set->relation = link->relation;
	set->key_columns = link->key_columns;
	set->columns = link->columns;
	missing = missing_column(link);
	if (missing != NULL)
		set->problem = psprintf("it has no column \"%s\" any more", missing);
	set->n = list_length(link->columns);
	set->attnums = palloc(sizeof(AttrNumber) * set->n);
	foreach(lc, link->columns)
		set->attnums[i++] = get_attnum(link->relation, lfirst(lc));
	return set;
}

static int
compare_links(const ListCell *a, const ListCell *b)
{
	const DgLink *x = lfirst(a);
	const DgLink *y = lfirst(b);
	int			order = strcmp(x->row, y->row);

	return order != 0 ? order : (x->deletion < y->deletion) - (x->deletion > y->deletion);
}

/*
 * A value from its text, palloc'd. What reads it, a domain's check, may be code of the
 * links' table.
 */
static Datum
read_value(const DgLinkSet *set, Oid type, char *text)
{
	DgRowsRole	role = dg_rows_role_of(dg_relation_owner(set->relation));
	Datum		value;

	dg_rows_as_owner(&role);
	value = dg_value_of_text(type, -1, text);
	dg_rows_as_caller(&role);
	return value;
}

/*
 * A value of a column of the links' table from its text, palloc'd.
 */
Datum
dg_undelete_link_value(const DgLinkSet *set, AttrNumber attnum, char *text)
{
	return read_value(set, get_atttype(set->relation, attnum), text);
}

static void
read_link_values(void *arg)
{
	DgLinkSet  *set = arg;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard links", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	ListCell   *lc;

	foreach(lc, set->links)
	{
		for (int i = 0; i < set->n; i++)
			(void) dg_undelete_link_value(set, set->attnums[i], list_nth(((DgLink *) lfirst(lc))->before, i));
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * Can the columns still have the values of a set's links? They may have another type.
 */
static void
check_readable(DgLinkSet *set)
{
	int			nestlevel = dg_canonical_input_begin();

	if (set->problem == NULL && dg_try(read_link_values, set, true) != NULL)
		set->problem = "its columns have other types now, which do not have these values";
	AtEOXact_GUC(true, nestlevel);
}

/*
 * Links by the table and the columns that they name: a list of DgLinkSet, in
 * the order of their first links. Within a set, links that name one row follow one
 * another, the latest first. Links of tables that are gone are left out.
 */
List *
dg_undelete_links_by_set(List *links)
{
	List	   *sets = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, links)
	{
		DgLink	   *link = lfirst(lc);
		DgLinkSet  *set = NULL;
		char	   *name = set_name(link);

		if (get_rel_name(link->relation) == NULL)
			continue;
		foreach(lc2, sets)
		{
			if (strcmp(((DgLinkSet *) lfirst(lc2))->name, name) == 0)
				set = lfirst(lc2);
		}
		if (set == NULL)
			sets = lappend(sets, set = make_set(link, name));
		link->row = row_name(link->key_values, link->after);
		set->links = lappend(set->links, link);
	}
	foreach(lc, sets)
	{
		list_sort(((DgLinkSet *) lfirst(lc))->links, compare_links);
		check_readable(lfirst(lc));
	}
	return sets;
}

/*
 * The texts of a row's values in some columns, by the table's attribute numbers;
 * *missing if it has not all of them.
 */
static List *
texts_of_row(Relation rel, List *columns, const Datum *values, const bool *nulls, bool *missing)
{
	List	   *texts = NIL;
	ListCell   *lc;

	foreach(lc, columns)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), lfirst(lc));

		*missing |= (attnum == InvalidAttrNumber);
		if (*missing)
			return NIL;
		texts = lappend(texts, nulls[attnum - 1] ? NULL :
						dg_value_text(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid, values[attnum - 1]));
	}
	return texts;
}

/*
 * A link of the set that this row of the table, deleted by that deletion, has
 * lost last and before; NULL if there is none. Values are written as
 * dg_canonical_output_begin() has it.
 */
static DgLink *
link_of_row(DgLinkSet *set, Relation rel, int64 deletion, const Datum *values, const bool *nulls)
{
	DgLink		wanted = {.deletion = deletion};
	ListCell	key = {.ptr_value = &wanted};
	int			low = 0;
	int			high = list_length(set->links);
	bool		missing = false;

	wanted.row = row_name(texts_of_row(rel, set->key_columns, values, nulls, &missing),
						  texts_of_row(rel, set->columns, values, nulls, &missing));
	if (missing)
		return NULL;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (compare_links(list_nth_cell(set->links, middle), &key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < list_length(set->links); low++)
	{
		DgLink	   *link = list_nth(set->links, low);

		if (strcmp(link->row, wanted.row) != 0)
			break;
		if (!link->taken && (!link->waiting || deletion <= link->waiting_since))
			return link;
	}
	return NULL;
}

/*
 * Puts a link of a row back into its values, if one was lost before a deletion;
 * returns it, or NULL. The table may be a partition of the links', or a bin of it.
 */
static DgLink *
put_link_back(DgLinkSet *set, Relation rel, int64 deletion, Datum *values, bool *nulls)
{
	DgLink	   *link = link_of_row(set, rel, deletion, values, nulls);

	for (int i = 0; link != NULL && i < set->n; i++)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), list_nth(set->columns, i));

		values[attnum - 1] = read_value(set, TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid, list_nth(link->before, i));
		nulls[attnum - 1] = false;
	}
	return link;
}

/*
 * Puts all links back that a row of a table had lost before a deletion, the last
 * first; returns them. Without a key, a row may be known by columns that are
 * other lost links.
 */
List *
dg_undelete_links_put(List *sets, Relation rel, int64 deletion, Datum *values, bool *nulls)
{
	int			nestlevel = dg_canonical_input_begin();
	int64	   *before = palloc(sizeof(int64) * list_length(sets)); /* the deletions of
																	 * links to come */
	List	   *links = NIL;
	bool		any;
	ListCell   *lc;

	for (int i = 0; i < list_length(sets); i++)
		before[i] = deletion;
	do
	{
		any = false;
		foreach(lc, sets)
		{
			DgLink	   *link = ((DgLinkSet *) lfirst(lc))->problem != NULL ? NULL :
			put_link_back(lfirst(lc), rel, before[foreach_current_index(lc)], values, nulls);

			if (link == NULL)
				continue;
			before[foreach_current_index(lc)] = link->deletion - 1;
			links = lappend(links, link);
			any = true;
		}
	} while (any);
	AtEOXact_GUC(true, nestlevel);
	return links;
}

static void
copy_values(TupleTableSlot *slot, Datum **values, bool **nulls)
{
	int			natts = slot->tts_tupleDescriptor->natts;

	slot_getallattrs(slot);
	*values = memcpy(palloc(sizeof(Datum) * natts), slot->tts_values, sizeof(Datum) * natts);
	*nulls = memcpy(palloc(sizeof(bool) * natts), slot->tts_isnull, sizeof(bool) * natts);
}

/*
 * Is a live row of a table the saved one, but for links that either has lost? Those
 * that the saved one had lost before that deletion are in *saved_links, and
 * those that the live one has lost in *live_links.
 */
bool
dg_undelete_links_same(List *sets, Relation rel, TupleTableSlot *saved, int64 deletion, List **saved_links,
					   TupleTableSlot *live, List **live_links)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Datum	   *values[2];
	bool	   *nulls[2];

	if (sets == NIL)
		return false;
	copy_values(saved, &values[0], &nulls[0]);
	copy_values(live, &values[1], &nulls[1]);
	*saved_links = dg_undelete_links_put(sets, rel, deletion, values[0], nulls[0]);
	*live_links = dg_undelete_links_put(sets, rel, PG_INT64_MAX, values[1], nulls[1]);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attgenerated != '\0')
			continue;
		if (nulls[0][i] != nulls[1][i] ||
			(!nulls[0][i] && !datum_image_eq(values[0][i], values[1][i], att->attbyval, att->attlen)))
			return false;
	}
	return *saved_links != NIL || *live_links != NIL;
}

/*
 * The links that rows of a table have lost, by the columns that they name: a list
 * of DgLinkSet. With the keys that tenants have now, or as they were noted, as rows
 * in the bin have them.
 */
List *
dg_undelete_links_of_table(Oid relid, bool present)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};
	List	   *links = dg_undelete_links_read("relation = $1", 1, types, values);

	if (present)
		dg_undelete_links_rename(links);
	return dg_undelete_links_by_set(links);
}
