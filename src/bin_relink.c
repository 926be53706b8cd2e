/*
 * bin_relink.c
 *		Putting back the links that bin_link.c has noted.
 *
 * A row gets its link back if it is there and nobody has given it another link
 * since, and if what the link leads to is live.
 *
 * A link may have to wait: where its row was deleted, too, and comes back in a
 * later call, or where a row is known only by columns that are other lost
 * links. So whatever cannot be put back is tried again when others were.
 *
 * Undeletes of other tenants of the same deletion read the same links. A link
 * is locked when its own row is there, no earlier: then they need not wait for
 * each other's. If one has been marked meanwhile, what is still lost is read again.
 */
#include "bin.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

typedef struct Link
{
	ItemPointerData tid;		/* of the row in deletion_link */
	int64		deletion;
	Oid			relation;
	List	   *key_columns;	/* of char * */
	List	   *key_values;		/* of char *, NULL where null */
	List	   *columns;
	List	   *before;
	List	   *after;
	bool		waiting;
	bool		restored;
	bool		stale;			/* another undelete has marked it since it was read */
	char	   *missing;		/* a column that the table has lost, without which it stays lost */
} Link;

static List *
strings_of(Datum array, Oid type)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	List	   *strings = NIL;

	if (type == NAMEOID)
		deconstruct_array(DatumGetArrayTypeP(array), NAMEOID, NAMEDATALEN, false,
						  TYPALIGN_CHAR, &elems, &nulls, &n);
	else
		deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
						  TYPALIGN_INT, &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
		strings = lappend(strings, nulls[i] ? NULL :
						  type == NAMEOID ? pstrdup(NameStr(*DatumGetName(elems[i]))) :
						  TextDatumGetCString(elems[i]));
	return strings;
}

static Datum
int8_array(List *numbers)
{
	Datum	   *elems = palloc(sizeof(Datum) * list_length(numbers));

	for (int i = 0; i < list_length(numbers); i++)
		elems[i] = Int64GetDatum(*(int64 *) list_nth(numbers, i));
	return PointerGetDatum(construct_array(elems, list_length(numbers), INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * Links that are still lost, of these deletions, or waiting for rows of these
 * tables or for links of rows without a key; in the current context. A link
 * waits for what was deleted before it began to wait: a row that was deleted
 * later is another, even if it has the key.
 */
static List *
read_links(List *deletions, List *relids)
{
	Oid			types[] = {INT8ARRAYOID, OIDARRAYOID};
	Datum		values[] = {int8_array(deletions), dg_oid_array(relids)};
	MemoryContext context = CurrentMemoryContext;
	List	   *links = NIL;

	SPI_connect();
	dg_spi_execute("SELECT ctid, relation, key_columns, key_values, columns, before, after, waiting_since IS NOT NULL, deletion_id"
				   " FROM deletion_guard.deletion_link"
				   " WHERE deletion_id = ANY ($1) AND NOT restored AND waiting_since IS NULL"
				   " OR waiting_since IS NOT NULL AND (relation = ANY ($2) OR relation IN"
				   "  (SELECT l.relation FROM deletion_guard.deletion_link l WHERE l.deletion_id = ANY ($1)))"
				   " AND EXISTS (SELECT 1 FROM unnest($1) d WHERE d BETWEEN deletion_id AND waiting_since)"
				   " ORDER BY deletion_id, relation",
				   2, types, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext old = MemoryContextSwitchTo(context);
		Link	   *link = palloc0(sizeof(Link));
		bool		isnull;

		link->tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(tuple, desc, 1, &isnull));
		link->relation = DatumGetObjectId(SPI_getbinval(tuple, desc, 2, &isnull));
		link->key_columns = strings_of(SPI_getbinval(tuple, desc, 3, &isnull), NAMEOID);
		link->key_values = strings_of(SPI_getbinval(tuple, desc, 4, &isnull), TEXTOID);
		link->columns = strings_of(SPI_getbinval(tuple, desc, 5, &isnull), NAMEOID);
		link->before = strings_of(SPI_getbinval(tuple, desc, 6, &isnull), TEXTOID);
		link->after = strings_of(SPI_getbinval(tuple, desc, 7, &isnull), TEXTOID);
		link->waiting = DatumGetBool(SPI_getbinval(tuple, desc, 8, &isnull));
		link->deletion = DatumGetInt64(SPI_getbinval(tuple, desc, 9, &isnull));
		links = lappend(links, link);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return links;
}

/*
 * A condition for one column by the text of its value: concat() uses the
 * type's output function, as texts_of() does, and not a cast. It must not lead
 * the planner to an index: rows that have lost their links are many, and the
 * statistics do not know it yet.
 */
static void
append_condition(StringInfo sql, const char *column, const char *value)
{
	if (value == NULL)
		appendStringInfo(sql, " AND (%s IS NULL) IS TRUE", quote_identifier(column));
	else
		appendStringInfo(sql, " AND pg_catalog.concat(%s) OPERATOR(pg_catalog.=) %s",
						 quote_identifier(column), quote_literal_cstr(value));
}

/*
 * A condition for one column that can use an index on it.
 */
static void
append_key(StringInfo sql, Oid relid, const char *column, const char *value)
{
	if (value == NULL)
		append_condition(sql, column, value);
	else
		appendStringInfo(sql, " AND %s = %s::%s", quote_identifier(column), quote_literal_cstr(value),
						 format_type_extended(get_atttype(relid, get_attnum(relid, column)), -1,
											  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
}

static bool
has_primary_key(Oid relid)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	bool		result = !bms_is_empty(RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY));

	table_close(rel, NoLock);
	return result;
}

/*
 * Is the row live that the link leads to? True where no foreign key says which
 * that is.
 */
static bool
parent_is_live(Link *link, const AttrNumber *attnums, int n)
{
	Relation	rel = table_open(link->relation, RowExclusiveLock);
	bool		live = true;
	ListCell   *lc;

	foreach(lc, dg_foreign_keys(rel))
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);
		StringInfoData sql;

		if (fkey->nkeys != n || memcmp(fkey->conkey, attnums, sizeof(AttrNumber) * n) != 0)
			continue;
		initStringInfo(&sql);
		appendStringInfo(&sql, "SELECT 1 FROM %s WHERE true", dg_relation_name(fkey->confrelid));
		for (int i = 0; i < n; i++)
			append_key(&sql, fkey->confrelid, get_attname(fkey->confrelid, fkey->confkey[i], false),
					   list_nth(link->before, i));
		dg_spi_execute_as_owner(fkey->confrelid, sql.data, 0, NULL, NULL);
		live = SPI_processed > 0;
		break;
	}
	table_close(rel, NoLock);
	return live;
}

/*
 * Finds the row whose link was lost, if it is there and nobody has given it
 * another link since; locks it.
 */
static bool
find_row(Link *link, bool keyed, Oid *relid, ItemPointer tid)
{
	StringInfoData sql;
	ListCell   *lc;
	ListCell   *lc2;
	bool		isnull;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT tableoid, ctid FROM %s WHERE true", dg_relation_name(link->relation));
	forboth(lc, link->key_columns, lc2, link->key_values)
	{
		if (keyed)
			append_key(&sql, link->relation, lfirst(lc), lfirst(lc2));
		else
			append_condition(&sql, lfirst(lc), lfirst(lc2));
	}
	forboth(lc, link->columns, lc2, link->after)
		append_condition(&sql, lfirst(lc), lfirst(lc2));
	appendStringInfoString(&sql, " LIMIT 1 FOR NO KEY UPDATE");

	dg_spi_execute_as_owner(link->relation, sql.data, 0, NULL, NULL);
	if (SPI_processed == 0)
		return false;
	*relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	*tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	return true;
}

/*
 * Locks a link as it was read; false if another undelete has put it back since,
 * or made it wait.
 */
static bool
claim_link(Link *link)
{
	Oid			types[] = {TIDOID, INT8OID, BOOLOID};
	Datum		values[] = {PointerGetDatum(&link->tid), Int64GetDatum(link->deletion), BoolGetDatum(link->waiting)};
	bool		isnull;

	dg_spi_execute("SELECT ctid FROM deletion_guard.deletion_link"
				   " WHERE ctid = $1 AND deletion_id = $2 AND NOT restored"
				   " AND (waiting_since IS NOT NULL) = $3 FOR NO KEY UPDATE",
				   3, types, values, NULL);
	link->stale = (SPI_processed == 0);
	if (!link->stale)
		link->tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[0],
																 SPI_tuptable->tupdesc, 1, &isnull));
	return !link->stale;
}

/*
 * Keeps what has become of a link: put back, or waiting for its row.
 */
static void
mark_link(Link *link)
{
	Oid			types[] = {TIDOID, BOOLOID};
	Datum		values[] = {PointerGetDatum(&link->tid), BoolGetDatum(link->restored)};
	bool		isnull;

	dg_spi_execute("UPDATE deletion_guard.deletion_link SET restored = $2, waiting_since ="
				   " CASE WHEN NOT $2 THEN (SELECT last_value FROM deletion_guard.deletion_id_seq) END"
				   " WHERE ctid = $1 RETURNING ctid", 2, types, values, NULL);
	if (SPI_processed != 1)
		elog(ERROR, "link of a deletion is gone");
	link->tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[0],
															 SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * A column that the link needs and the table does not have any more, or NULL.
 */
static char *
missing_column(Link *link)
{
	ListCell   *lc;

	foreach(lc, link->key_columns)
	{
		if (get_attnum(link->relation, lfirst(lc)) <= 0)
			return lfirst(lc);
	}
	foreach(lc, link->columns)
	{
		if (get_attnum(link->relation, lfirst(lc)) <= 0)
			return lfirst(lc);
	}
	return NULL;
}

/*
 * Puts one link back; false if its row is gone or has another link now, or the
 * table has lost the columns. *live says whether what it leads to is live.
 */
static bool
restore_link(Link *link, DgRowsTarget *target, bool *live)
{
	int			n = list_length(link->columns);
	AttrNumber *attnums = palloc(sizeof(AttrNumber) * n);
	Datum	   *values = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc0(sizeof(bool) * n);
	bool		keyed;
	Oid			relid;
	ItemPointerData tid;

	*live = false;
	if (link->missing != NULL)
		return false;
	keyed = has_primary_key(link->relation);
	for (int i = 0; i < n; i++)
	{
		attnums[i] = get_attnum(link->relation, list_nth(link->columns, i));
		values[i] = dg_rows_writer_read(target, attnums[i], list_nth(link->before, i));
	}
	if (!parent_is_live(link, attnums, n))
		return false;
	*live = true;
	return find_row(link, keyed, &relid, &tid) && claim_link(link) &&
		dg_rows_writer_change(target, relid, &tid, attnums, values, nulls, n);
}

/*
 * One try at every link that is still lost; returns how many were put back.
 */
static int64
restore_pass(DgRowsWriter *writer, List *links)
{
	DgRowsTarget *target = NULL;
	Oid			open = InvalidOid;
	int64		restored = 0;
	ListCell   *lc;

	foreach(lc, links)
	{
		Link	   *link = lfirst(lc);
		bool		live;

		if (link->restored || link->stale)
			continue;
		if (link->relation != open)
		{
			Relation	rel = table_open(link->relation, RowExclusiveLock);

			dg_rows_require_update(rel);
			table_close(rel, NoLock);
			target = dg_rows_writer_target(writer, link->relation, NULL, 0);
			open = link->relation;
		}
		SPI_connect();
		link->restored = restore_link(link, target, &live);
		if (link->restored)
			restored++;
		if (link->restored || (live && !link->waiting && !link->stale && claim_link(link)))
		{
			mark_link(link);
			link->waiting = true;
		}
		SPI_finish();
	}
	return restored;
}

/*
 * Says so where links stay lost with the columns of their table, once for each
 * column.
 */
static void
warn_of_missing_columns(List *links)
{
	const Link *last = NULL;
	ListCell   *lc;

	foreach(lc, links)
	{
		Link	   *link = lfirst(lc);

		if (link->missing == NULL ||
			(last != NULL && last->relation == link->relation && strcmp(last->missing, link->missing) == 0))
			continue;
		last = link;
		ereport(WARNING,
				(errmsg("links that ON DELETE SET NULL or SET DEFAULT took from rows of \"%s\" stay lost: it has no column \"%s\" any more",
						get_rel_name(link->relation), link->missing),
				 errhint("Roll back, add the column with its values again, and call again.")));
	}
}

/*
 * Tries every link until no more can be put back; returns how many were.
 * *stale says whether another undelete has marked some of them.
 */
static int64
restore_passes(DgRowsWriter *writer, List *links, bool *stale)
{
	int64		restored = 0;
	int64		more;
	ListCell   *lc;

	do
	{
		more = restore_pass(writer, links);
		restored += more;
	} while (more > 0 && restored < list_length(links));

	*stale = false;
	foreach(lc, links)
		*stale |= ((Link *) lfirst(lc))->stale;
	return restored;
}

/*
 * Links that can be tried: their table is there.
 */
static List *
links_to_restore(List *deletions, List *relids)
{
	List	   *links = NIL;
	ListCell   *lc;

	foreach(lc, read_links(deletions, relids))
	{
		Link	   *link = lfirst(lc);

		if (get_rel_name(link->relation) == NULL)
			continue;
		link->missing = missing_column(link);
		links = lappend(links, link);
	}
	return links;
}

/*
 * Puts back the links that deletions took, as far as what they lead to is live
 * again, and those that wait for rows of the tables given. Returns how many.
 * What was written so far must be flushed; foreign keys are checked when the
 * writer ends. The caller needs UPDATE on the tables.
 */
int64
dg_restore_links(DgRowsWriter *writer, List *deletions, List *relids)
{
	int			nestlevel = dg_canonical_output_begin();
	List	   *links = links_to_restore(deletions, relids);
	bool		stale;
	int64		restored;

	warn_of_missing_columns(links);
	restored = restore_passes(writer, links, &stale);
	while (stale)
		restored += restore_passes(writer, links_to_restore(deletions, relids), &stale);
	AtEOXact_GUC(true, nestlevel);
	return restored;
}
