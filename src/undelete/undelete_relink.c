/*
 * undelete_relink.c
 *		Putting back the links that capture_link.c has noted.
 *
 * A row gets its link back if it is there and nobody has given it another link
 * since, and if what the link leads to is live.
 *
 * Links that name the same columns of one table are looked for together, by two
 * queries: which of what they lead to is live, and where their rows are. Keys
 * are compared by their types' own equality, whatever it is called and wherever
 * it is; rows without a key by the text of all their columns, which finds them
 * in one pass over the table.
 *
 * A link may have to wait: where its row was deleted, too, and comes back in a
 * later call, or where a row is known only by columns that are other lost
 * links. So whatever cannot be put back is tried again when others were.
 *
 * Undeletes of other tenants of the same deletion read the same links. A link
 * is locked when its own row is there, no earlier: then they need not wait for
 * each other's. If one has been marked meanwhile, what is still lost is read again.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "rows/rows.h"
#include "undelete/undelete_internal.h"

/* A row that a link was put back into in the present pass. */
typedef struct TakenRow
{
	Oid			relid;
	ItemPointerData tid;
} TakenRow;

/* Rows for a query, as lost_links: n, a link's place in its set, and columns. */
typedef struct LinkRows
{
	TupleDesc	desc;
	Tuplestorestate *store;
	Datum	   *values;
	bool	   *nulls;
} LinkRows;

static Datum
int8_array(List *numbers)
{
	Datum	   *elems = palloc(sizeof(Datum) * list_length(numbers));

	for (int i = 0; i < list_length(numbers); i++)
		elems[i] = Int64GetDatum(*(int64 *) list_nth(numbers, i));
	return dg_array(elems, list_length(numbers), INT8OID);
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
	List	   *links;

	links = dg_links_read("deletion_id = ANY ($1) AND waiting_since IS NULL"
						 " OR waiting_since IS NOT NULL AND (relation = ANY ($2) OR relation IN"
						 "  (SELECT l.relation FROM deletion_guard.deletion_link l WHERE l.deletion_id = ANY ($1)))"
						 " AND EXISTS (SELECT 1 FROM unnest($1) d WHERE d BETWEEN deletion_id AND waiting_since)",
						 2, types, values);
	dg_links_rename(links);
	return links;
}

/* ----------------------------------------------------------------------
 * Queries
 * ----------------------------------------------------------------------
 */

static LinkRows *
link_rows_begin(int ncolumns)
{
	LinkRows   *rows = palloc(sizeof(LinkRows));

	rows->desc = CreateTemplateTupleDesc(ncolumns + 1);
	TupleDescInitEntry(rows->desc, 1, "n", INT4OID, -1, 0);
	rows->store = tuplestore_begin_heap(false, false, work_mem);
	rows->values = palloc(sizeof(Datum) * (ncolumns + 1));
	rows->nulls = palloc0(sizeof(bool) * (ncolumns + 1));
	return rows;
}

static void
append_equality(StringInfo sql, const char *left, Oid left_type, Oid operator, const char *right, Oid right_type)
{
	appendStringInfoString(sql, " AND ");
	generate_operator_clause(sql, left, left_type, operator, right, right_type);
}

/*
 * A condition for one column by the text of its value: concat() uses the
 * type's output function, as texts_of() in capture_link.c does, and not a cast.
 */
static void
append_text_equality(StringInfo sql, const char *column, const char *text)
{
	appendStringInfo(sql, " AND pg_catalog.concat(r.%s) OPERATOR(pg_catalog.=) pg_catalog.concat(l.%s)"
					 " AND pg_catalog.num_nulls(r.%s) OPERATOR(pg_catalog.=) pg_catalog.num_nulls(l.%s)",
					 quote_identifier(column), text, quote_identifier(column), text);
}

/*
 * The foreign key of those columns, or NULL; the caller keeps rel open.
 */
static ForeignKeyCacheInfo *
foreign_key_of(Relation rel, const AttrNumber *attnums, int n)
{
	ListCell   *lc;

	foreach(lc, dg_foreign_keys(rel))
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);

		if (fkey->nkeys == n && memcmp(fkey->conkey, attnums, sizeof(AttrNumber) * n) == 0)
			return fkey;
	}
	return NULL;
}

/*
 * Asks which of the links that are still lost lead to live rows. Where no
 * foreign key says which those are, all do.
 */
static void
find_parents(DgLinkSet *set, DgRowsTarget *target)
{
	Relation	rel = table_open(set->relation, RowExclusiveLock);
	ForeignKeyCacheInfo *fkey = foreign_key_of(rel, set->attnums, set->n);
	LinkRows   *rows = link_rows_begin(set->n);
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	for (int i = 0; i < set->n; i++)
	{
		Oid			type = TupleDescAttr(RelationGetDescr(rel), set->attnums[i] - 1)->atttypid;

		TupleDescInitEntry(rows->desc, i + 2, psprintf("b%d", i + 1), type, -1, 0);
		if (fkey != NULL)
			append_equality(&sql, psprintf("p.%s", quote_identifier(get_attname(fkey->confrelid, fkey->confkey[i], false))),
							get_atttype(fkey->confrelid, fkey->confkey[i]), fkey->conpfeqop[i],
							psprintf("l.b%d", i + 1), type);
	}
	dg_tupdesc_finalize(rows->desc);
	foreach(lc, set->links)
	{
		DgLink	   *link = lfirst(lc);

		link->live = fkey == NULL;
		if (link->restored || link->stale)
			continue;
		rows->values[0] = Int32GetDatum(foreach_current_index(lc));
		for (int i = 0; i < set->n; i++)
			rows->values[i + 1] = dg_rows_writer_read(target, set->attnums[i], list_nth(link->before, i));
		tuplestore_putvalues(rows->store, rows->desc, rows->values, rows->nulls);
	}
	table_close(rel, NoLock);
	if (fkey == NULL)
		return;
	dg_spi_register_rows("lost_links", rows->store, rows->desc);
	foreach(lc, dg_rows_tables(fkey->confrelid))
	{
		dg_spi_execute_as_owner(lfirst_oid(lc), psprintf("SELECT l.n FROM lost_links l WHERE EXISTS (SELECT 1 FROM %s p WHERE true%s)",
														 dg_own_rows(lfirst_oid(lc)), sql.data), 0, NULL, NULL);
		for (uint64 row = 0; row < SPI_processed; row++)
			((DgLink *) list_nth(set->links, (int) dg_row_int64(row, 1, NULL)))->live = true;
	}
}

/*
 * Are the columns by which the set's links know their rows the primary key?
 */
static bool
is_keyed(Relation rel, List *key_columns)
{
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	ListCell   *lc;

	if (bms_num_members(key) != list_length(key_columns))
		return false;
	foreach(lc, key_columns)
	{
		if (!bms_is_member(get_attnum(RelationGetRelid(rel), lfirst(lc)) - FirstLowInvalidHeapAttributeNumber, key))
			return false;
	}
	return true;
}

/*
 * Appends the conditions that a row has the values of a link, in columns of the
 * query from *column on.
 */
static void
append_columns(StringInfo sql, LinkRows *rows, Relation rel, List *columns, bool keyed, int *column)
{
	ListCell   *lc;

	foreach(lc, columns)
	{
		Oid			type = keyed ? get_atttype(RelationGetRelid(rel), get_attnum(RelationGetRelid(rel), lfirst(lc))) : TEXTOID;
		char	   *name = psprintf("v%d", *column);

		TupleDescInitEntry(rows->desc, ++*column, name, type, -1, 0);
		if (keyed)
			append_equality(sql, psprintf("r.%s", quote_identifier(lfirst(lc))), type,
							lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr, psprintf("l.%s", name), type);
		else
			append_text_equality(sql, lfirst(lc), name);
	}
}

static void
put_texts(LinkRows *rows, List *texts, int *column)
{
	ListCell   *lc;

	foreach(lc, texts)
	{
		rows->nulls[*column] = lfirst(lc) == NULL;
		if (lfirst(lc) != NULL)
			rows->values[*column] = CStringGetTextDatum(lfirst(lc));
		(*column)++;
	}
}

static void
put_link(LinkRows *rows, DgLinkSet *set, int n, bool keyed, DgRowsTarget *target)
{
	DgLink	   *link = list_nth(set->links, n);
	int			column = 1;
	ListCell   *lc;
	ListCell   *lc2;

	rows->values[0] = Int32GetDatum(n);
	if (!keyed)
		put_texts(rows, link->key_values, &column);
	else
		forboth(lc, set->key_columns, lc2, link->key_values)
			rows->values[column++] = dg_rows_writer_read(target, get_attnum(set->relation, lfirst(lc)), lfirst(lc2));
	put_texts(rows, link->after, &column);
	tuplestore_putvalues(rows->store, rows->desc, rows->values, rows->nulls);
}

static bool
is_pending(const DgLink *link)
{
	return link->live && !link->restored && !link->stale;
}

/* ----------------------------------------------------------------------
 * Links
 * ----------------------------------------------------------------------
 */

/*
 * Locks a link as it was read; false if another undelete has put it back since,
 * or made it wait.
 */
static bool
claim_link(DgLink *link)
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
		link->tid = *(ItemPointer) DatumGetPointer(dg_row_datum(0, 1, &isnull));
	return !link->stale;
}

/*
 * Keeps what has become of a link: put back, or waiting for its row.
 */
static void
mark_link(DgLink *link)
{
	Oid			types[] = {TIDOID, BOOLOID};
	Datum		values[] = {PointerGetDatum(&link->tid), BoolGetDatum(link->restored)};
	bool		isnull;

	dg_spi_execute("UPDATE deletion_guard.deletion_link SET restored = $2, waiting_since ="
				   " CASE WHEN NOT $2 THEN (SELECT last_value FROM deletion_guard.deletion_id_seq) END"
				   " WHERE ctid = $1 RETURNING ctid", 2, types, values, NULL);
	if (SPI_processed != 1)
		elog(ERROR, "link of a deletion is gone");
	link->tid = *(ItemPointer) DatumGetPointer(dg_row_datum(0, 1, &isnull));
	link->waiting = true;
}

/*
 * Marks links that are not lost any more: live rows have them again.
 */
void
dg_links_found(List *links)
{
	ListCell   *lc;

	SPI_connect();
	foreach(lc, links)
	{
		DgLink	   *link = lfirst(lc);

		link->restored = claim_link(link);
		if (link->restored)
			mark_link(link);
	}
	SPI_finish();
}

/*
 * The next link, from the n-th of a set on, that names the same row and can be
 * put back; NULL if there is none.
 */
static DgLink *
next_pending(DgLinkSet *set, int n)
{
	const char *row = ((DgLink *) list_nth(set->links, n))->row;

	for (; n < list_length(set->links); n++)
	{
		DgLink	   *link = list_nth(set->links, n);

		if (strcmp(link->row, row) != 0)
			break;
		if (is_pending(link))
			return link;
	}
	return NULL;
}

static void
restore_link(DgLinkSet *set, DgRowsTarget *target, DgLink *link, TakenRow *row)
{
	Datum	   *values = palloc(sizeof(Datum) * set->n);
	bool	   *nulls = palloc0(sizeof(bool) * set->n);

	for (int i = 0; i < set->n; i++)
		values[i] = dg_rows_writer_read(target, set->attnums[i], list_nth(link->before, i));
	link->restored = claim_link(link) &&
		dg_rows_writer_change(target, row->relid, &row->tid, set->attnums, values, nulls, set->n);
	if (link->restored)
		mark_link(link);
}

/*
 * Puts links back into the rows that a query has found, into each row one:
 * it is another version then. Returns how many.
 */
static int64
restore_found(DgLinkSet *set, DgRowsTarget *target, HTAB *taken)
{
	SPITupleTable *found = SPI_tuptable;
	uint64		nfound = SPI_processed;
	int64		restored = 0;

	for (uint64 i = 0; i < nfound; i++)
	{
		TakenRow	row = {0};
		bool		isnull;
		int			n = DatumGetInt32(SPI_getbinval(found->vals[i], found->tupdesc, 1, &isnull));
		DgLink	   *link = next_pending(set, n);

		row.relid = DatumGetObjectId(SPI_getbinval(found->vals[i], found->tupdesc, 2, &isnull));
		row.tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(found->vals[i], found->tupdesc, 3, &isnull));
		if (link == NULL || hash_search(taken, &row, HASH_FIND, NULL) != NULL)
			continue;
		restore_link(set, target, link, &row);
		(void) hash_search(taken, &row, HASH_ENTER, NULL);
		restored += link->restored;
	}
	return restored;
}

/*
 * Asks where the rows are whose links can be put back, if nobody has given them
 * others since, locks them, and puts the links back. Links that name one row, or
 * rows that are the same, are asked about once, by the first. Returns how many
 * were put back.
 */
static int64
restore_rows(DgLinkSet *set, DgRowsTarget *target, HTAB *taken)
{
	Relation	rel = table_open(set->relation, RowExclusiveLock);
	bool		keyed = is_keyed(rel, set->key_columns);
	LinkRows   *rows = link_rows_begin(list_length(set->key_columns) + set->n);
	const DgLink *last = NULL;
	int			column = 1;
	int			nestlevel = NewGUCNestLevel();
	int64		restored = 0;
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	append_columns(&sql, rows, rel, set->key_columns, keyed, &column);
	append_columns(&sql, rows, rel, set->columns, false, &column);
	table_close(rel, NoLock);
	dg_tupdesc_finalize(rows->desc);
	foreach(lc, set->links)
	{
		DgLink	   *link = lfirst(lc);

		if (!is_pending(link) || (last != NULL && strcmp(last->row, link->row) == 0))
			continue;
		put_link(rows, set, foreach_current_index(lc), keyed, target);
		last = link;
	}
	/* no index knows the texts of rows, and no statistics how few there are */
	if (!keyed)
	{
		(void) set_config_option("enable_nestloop", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("enable_mergejoin", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	dg_spi_register_rows("lost_links", rows->store, rows->desc);
	foreach(lc, dg_rows_tables(set->relation))
	{
		dg_spi_execute_as_owner(lfirst_oid(lc), psprintf("SELECT l.n, r.tableoid, r.ctid FROM lost_links l, %s r WHERE true%s FOR NO KEY UPDATE OF r",
														 dg_own_rows(lfirst_oid(lc)), sql.data), 0, NULL, NULL);
		restored += restore_found(set, target, taken);
	}
	AtEOXact_GUC(true, nestlevel);
	return restored;
}

/*
 * Tries the links of a set; returns how many were put back. Others whose parents
 * are live begin to wait.
 */
static int64
restore_set(DgLinkSet *set, DgRowsTarget *target, HTAB *taken)
{
	int64		restored;
	ListCell   *lc;

	SPI_connect();
	find_parents(set, target);
	SPI_finish();
	SPI_connect();
	restored = restore_rows(set, target, taken);
	foreach(lc, set->links)
	{
		DgLink	   *link = lfirst(lc);

		if (is_pending(link) && !link->waiting && claim_link(link))
			mark_link(link);
	}
	SPI_finish();
	return restored;
}

static DgRowsTarget *
open_target(DgRowsWriter *writer, DgLinkSet *set)
{
	Relation	rel = table_open(set->relation, RowExclusiveLock);

	dg_rows_require_update(rel);
	table_close(rel, NoLock);
	return dg_rows_writer_target(writer, set->relation, NULL, 0);
}

/*
 * Says so where links stay lost with the columns of their table.
 */
static void
warn_of_missing_column(const DgLinkSet *set)
{
	ereport(WARNING,
			(errmsg("links that ON DELETE SET NULL or SET DEFAULT took from rows of \"%s\" stay lost: it has no column \"%s\" any more",
					get_rel_name(set->relation), set->missing),
			 errhint("Roll back, add the column with its values again, and call again.")));
}

/*
 * Opens the tables of sets that can be put back, one list for the other.
 */
static List *
open_targets(DgRowsWriter *writer, List **sets, bool warn)
{
	List	   *targets = NIL;
	ListCell   *lc;

	foreach(lc, *sets)
	{
		DgLinkSet  *set = lfirst(lc);

		if (set->missing == NULL)
		{
			targets = lappend(targets, open_target(writer, set));
			continue;
		}
		if (warn)
			warn_of_missing_column(set);
		*sets = foreach_delete_current(*sets, lc);
	}
	return targets;
}

/*
 * Tries every link until no more can be put back; returns how many were.
 * *stale says whether another undelete has marked some of them.
 */
static int64
restore_passes(DgRowsWriter *writer, List *sets, bool *stale)
{
	HASHCTL		ctl = {.keysize = sizeof(TakenRow),.entrysize = sizeof(TakenRow),.hcxt = CurrentMemoryContext};
	List	   *targets = open_targets(writer, &sets, !*stale);
	int64		restored = 0;
	int64		more;
	ListCell   *lc;
	ListCell   *lc2;

	do
	{
		HTAB	   *taken = hash_create("deletion_guard rows", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

		more = 0;
		forboth(lc, sets, lc2, targets)
			more += restore_set(lfirst(lc), lfirst(lc2), taken);
		restored += more;
		hash_destroy(taken);
	} while (more > 0);

	*stale = false;
	foreach(lc, sets)
	{
		foreach(lc2, ((DgLinkSet *) lfirst(lc))->links)
			*stale |= ((DgLink *) lfirst(lc2))->stale;
	}
	return restored;
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
	bool		stale = false;
	int64		restored = 0;

	do
		restored += restore_passes(writer, dg_links_by_set(read_links(deletions, relids)), &stale);
	while (stale);
	AtEOXact_GUC(true, nestlevel);
	return restored;
}

/*
 * The same for links that were read before, each of a live row. What another call
 * has put back meanwhile is not counted.
 */
int64
dg_restore_these_links(DgRowsWriter *writer, List *links)
{
	int			nestlevel = dg_canonical_output_begin();
	bool		stale = false;
	int64		restored = restore_passes(writer, dg_links_by_set(links), &stale);

	AtEOXact_GUC(true, nestlevel);
	return restored;
}
