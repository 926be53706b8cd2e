/*
 * undelete_seek.c
 *		Where rows are that have lost links, and whether what the links lead to is
 *		live.
 *
 * Links that name the same columns of one table are looked for together, by two
 * queries: which of what they lead to is live, and where their rows are. Keys
 * are compared by their types' own equality, whatever it is called and wherever
 * it is; rows without a key by the text of all their columns, which finds them
 * in one pass over the table.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "capture/capture.h"
#include "undelete/undelete_internal.h"

/* Rows for a query, as lost_links: n, a link's place in its set, and columns. */
typedef struct LinkRows
{
	TupleDesc	desc;
	Tuplestorestate *store;
	Datum	   *values;
	bool	   *nulls;
} LinkRows;

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
 * type's output function, as texts_of_columns() in capture_link.c does, and not a cast.
 */
static void
append_text_equality(StringInfo sql, const char *column, const char *text)
{
	appendStringInfo(sql, " AND pg_catalog.concat(r.%s) OPERATOR(pg_catalog.=) pg_catalog.concat(l.%s)"
					 " AND pg_catalog.num_nulls(r.%s) OPERATOR(pg_catalog.=) pg_catalog.num_nulls(l.%s)",
					 quote_identifier(column), text, quote_identifier(column), text);
}

/* What links of a set lead to, by one foreign key. */
typedef struct ParentKey
{
	Oid			relid;
	bool		takes;			/* links, on delete */
	char	   *condition;		/* of a row p of it, and of a row l of
								 * lost_links */
} ParentKey;

/*
 * What a foreign key leads to, if it is one of the set's columns; NULL if not. The
 * table may be a partition of the set's.
 */
static ParentKey *
parent_key(const DgLinkSet *set, Relation rel, ForeignKeyCacheInfo *fkey)
{
	ParentKey  *key = palloc(sizeof(ParentKey));
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < fkey->nkeys; i++)
	{
		const FormData_pg_attribute *att = TupleDescAttr(RelationGetDescr(rel), fkey->conkey[i] - 1);
		int			column = 0;

		while (column < set->n && strcmp(list_nth(set->columns, column), NameStr(att->attname)) != 0)
			column++;
		if (fkey->nkeys != set->n || column == set->n)
			return NULL;
		append_equality(&sql, psprintf("p.%s", quote_identifier(get_attname(fkey->confrelid, fkey->confkey[i], false))),
						get_atttype(fkey->confrelid, fkey->confkey[i]), fkey->conpfeqop[i],
						psprintf("l.b%d", column + 1), att->atttypid);
	}
	key->relid = fkey->confrelid;
	key->takes = dg_capture_link_is_taken_by(fkey);
	key->condition = sql.data;
	return key;
}

/*
 * By all of a table's keys. Where none takes links any more, each may have.
 */
static List *
parent_keys(const DgLinkSet *set, Oid relid)
{
	bool		takes = false;
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *keys = NIL;
	ListCell   *lc;

	foreach(lc, dg_foreign_keys(rel))
	{
		ParentKey  *key = parent_key(set, rel, lfirst(lc));

		if (key == NULL)
			continue;
		keys = lappend(keys, key);
		takes |= key->takes;
	}
	table_close(rel, NoLock);
	foreach(lc, takes ? NIL : keys)
		((ParentKey *) lfirst(lc))->takes = true;
	return keys;
}

/*
 * By all keys of a table's parts, where the table itself has none.
 */
static List *
parent_keys_of_partitions(const DgLinkSet *set)
{
	List	   *keys = NIL;
	ListCell   *lc;

	if (!dg_has_parts(set->relation))
		return NIL;
	foreach(lc, find_all_inheritors(set->relation, AccessShareLock, NULL))
		keys = list_concat(keys, parent_keys(set, lfirst_oid(lc)));
	return keys;
}

/*
 * Has this transaction written a row, by that command or later?
 */
static bool
is_written(uint64 row, CommandId since)
{
	bool		isnull;

	return TransactionIdIsCurrentTransactionId(DatumGetTransactionId(dg_row_datum(row, 2, &isnull))) &&
		DatumGetCommandId(dg_row_datum(row, 3, &isnull)) >= since;
}

/*
 * Asks which links lead to live rows by a key, and which to rows that this transaction
 * has written. The caller is connected to SPI.
 */
static void
find_parents(const ParentKey *key, CommandId since, bool *live, bool *written)
{
	ListCell   *lc;

	foreach(lc, dg_query_tables(key->relid))
	{
		dg_query(psprintf("SELECT l.n, p.xmin, p.cmin FROM lost_links l, %s p WHERE true%s",
						  dg_own_rows(lfirst_oid(lc)), key->condition), DG_AS_OWNER,
				 .table = lfirst_oid(lc));
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			int			n = (int) dg_row_int64(row, 1, NULL);

			live[n] = true;
			written[n] |= is_written(row, since);
		}
	}
}

/*
 * The links of a set that are still lost, as rows for queries.
 */
static LinkRows *
links_as_rows(DgLinkSet *set)
{
	LinkRows   *rows = link_rows_begin(set->n);
	ListCell   *lc;

	for (int i = 0; i < set->n; i++)
		TupleDescInitEntry(rows->desc, i + 2, psprintf("b%d", i + 1), get_atttype(set->relation, set->attnums[i]), -1, 0);
	dg_tupdesc_finalize(rows->desc);
	foreach(lc, set->links)
	{
		DgLink	   *link = lfirst(lc);

		if (link->restored || link->stale)
			continue;
		rows->values[0] = Int32GetDatum(foreach_current_index(lc));
		for (int i = 0; i < set->n; i++)
			rows->values[i + 1] = dg_undelete_link_value(set, set->attnums[i], list_nth(link->before, i));
		tuplestore_putvalues(rows->store, rows->desc, rows->values, rows->nulls);
	}
	return rows;
}

/*
 * Asks which of the links that are still lost lead to live rows or, unless "since" is
 * InvalidCommandId, to those that this transaction has written since then. Where no
 * foreign key says which live rows those are, all links do. By other foreign keys of
 * the same columns they must lead to live rows, too.
 */
void
dg_undelete_links_find_parents(DgLinkSet *set, CommandId since)
{
	int			n = list_length(set->links);
	List	   *keys = parent_keys(set, set->relation);
	bool		own = keys != NIL;	/* not of a partition, of which one may
									 * lead elsewhere */
	bool	   *written = palloc0(sizeof(bool) * n);
	LinkRows   *rows = links_as_rows(set);
	ListCell   *lc;
	ListCell   *lc2;

	if (!own)
		keys = parent_keys_of_partitions(set);
	foreach(lc, set->links)
	{
		((DgLink *) lfirst(lc))->live = (keys == NIL);
		((DgLink *) lfirst(lc))->blocked = false;
	}
	SPI_connect();
	dg_query_register_rows("lost_links", rows->store, rows->desc);
	foreach(lc, keys)
	{
		ParentKey  *key = lfirst(lc);
		bool	   *live = palloc0(sizeof(bool) * n);

		find_parents(key, since, live, written);
		foreach(lc2, set->links)
		{
			DgLink	   *link = lfirst(lc2);

			link->live |= key->takes && live[foreach_current_index(lc2)];
			link->blocked |= own && !live[foreach_current_index(lc2)];
		}
	}
	SPI_finish();
	foreach(lc, set->links)
		((DgLink *) lfirst(lc))->live &= since == InvalidCommandId || written[foreach_current_index(lc)];
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
put_link(LinkRows *rows, DgLinkSet *set, int n, bool keyed)
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
			rows->values[column++] = dg_undelete_link_value(set, get_attnum(set->relation, lfirst(lc)), lfirst(lc2));
	put_texts(rows, link->after, &column);
	tuplestore_putvalues(rows->store, rows->desc, rows->values, rows->nulls);
}

/*
 * Is a link still lost, and does it lead to what was looked for? One that was tried in
 * vain is not tried again.
 */
bool
dg_undelete_link_is_pending(const DgLink *link)
{
	return link->live && !link->restored && !link->stale && !link->refused;
}

/*
 * Gives the sink the rows that a query has found.
 */
static void
give_rows(DgLinkSet *set, DgLinkSink sink, void *arg)
{
	SPITupleTable *found = SPI_tuptable;
	uint64		nfound = SPI_processed;

	for (uint64 i = 0; i < nfound; i++)
	{
		bool		isnull;
		Datum		tid = SPI_getbinval(found->vals[i], found->tupdesc, 3, &isnull);

		sink(arg, set, DatumGetInt32(SPI_getbinval(found->vals[i], found->tupdesc, 1, &isnull)),
			 DatumGetObjectId(SPI_getbinval(found->vals[i], found->tupdesc, 2, &isnull)),
			 (ItemPointer) DatumGetPointer(tid));
	}
}

/*
 * Asks where the rows are whose links are pending, if nobody has given them others
 * since, and locks them, if that is wanted. Links that name one row, or rows that are
 * the same, are asked about once, by the first.
 */
void
dg_undelete_links_find_rows(DgLinkSet *set, bool lock, DgLinkSink sink, void *arg)
{
	Relation	rel = table_open(set->relation, lock ? RowExclusiveLock : AccessShareLock);
	bool		keyed = is_keyed(rel, set->key_columns);
	LinkRows   *rows = link_rows_begin(list_length(set->key_columns) + set->n);
	const DgLink *last = NULL;
	int			column = 1;
	int			nestlevel = NewGUCNestLevel();
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

		if (!dg_undelete_link_is_pending(link) || (last != NULL && strcmp(last->row, link->row) == 0))
			continue;
		put_link(rows, set, foreach_current_index(lc), keyed);
		last = link;
	}
	/* no index knows the texts of rows, and no statistics how few there are */
	if (!keyed)
	{
		(void) set_config_option("enable_nestloop", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("enable_mergejoin", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	SPI_connect();
	dg_query_register_rows("lost_links", rows->store, rows->desc);
	foreach(lc, last == NULL ? NIL : dg_query_tables(set->relation))
	{
		dg_query(psprintf("SELECT l.n, r.tableoid, r.ctid FROM lost_links l, %s r WHERE true%s%s",
						  dg_own_rows(lfirst_oid(lc)), sql.data, lock ? " FOR NO KEY UPDATE OF r" : ""),
				 DG_AS_OWNER,
				 .table = lfirst_oid(lc));
		give_rows(set, sink, arg);
	}
	SPI_finish();
	AtEOXact_GUC(true, nestlevel);
}

/* ----------------------------------------------------------------------
 * Telling
 * ----------------------------------------------------------------------
 */

/*
 * Counts the rows that each link has found: a DgLinkSink.
 */
static void
count_found_row(void *arg, DgLinkSet *set, int n, Oid relid, ItemPointer tid)
{
	((int64 *) arg)[n]++;
}

static int
compare_numbers(const ListCell *a, const ListCell *b)
{
	int64		x = *(int64 *) lfirst(a);
	int64		y = *(int64 *) lfirst(b);

	return (x < y) - (x > y);
}

/*
 * How many live rows have lost links of a set that are pending, and by which
 * deletions: a list of int64 *, the latest first.
 */
static int64
count_rows(DgLinkSet *set, List **deletions)
{
	int64	   *found = palloc0(sizeof(int64) * list_length(set->links));
	int64		rows = 0;
	int			first = 0;
	int			links = 0;
	ListCell   *lc;

	*deletions = NIL;
	dg_undelete_links_find_rows(set, false, count_found_row, found);
	foreach(lc, set->links)
	{
		DgLink	   *link = lfirst(lc);

		if (!dg_undelete_link_is_pending(link))
			continue;
		if (links == 0 || strcmp(link->row, ((DgLink *) list_nth(set->links, first))->row) != 0)
		{
			first = foreach_current_index(lc);
			links = 0;
		}
		if (++links > found[first])
			continue;
		rows++;
		*deletions = lappend(*deletions, &link->deletion);
	}
	list_sort(*deletions, compare_numbers);
	return rows;
}

/*
 * Tells of live rows that have lost links to rows of these tables that this transaction
 * has written, by that command or later. They are not changed.
 */
void
dg_undelete_links_tell(List *relids, CommandId since, DgLinkTell tell, void *arg)
{
	Oid			types[] = {OIDARRAYOID};
	Datum		values[] = {dg_oid_array(relids)};
	int			nestlevel = dg_canonical_input_begin();
	List	   *links = dg_undelete_links_read("relation IN (SELECT coalesce(pg_partition_root(c.conrelid), c.conrelid)"
											   " FROM pg_constraint c WHERE c.contype = 'f' AND c.confrelid = ANY ($1))",
											   1, types, values);
	ListCell   *lc;

	dg_undelete_links_rename(links);
	foreach(lc, dg_undelete_links_by_set(links))
	{
		DgLinkSet  *set = lfirst(lc);
		List	   *deletions;
		int64		rows;

		if (set->problem != NULL)
			continue;
		dg_undelete_links_find_parents(set, since);
		rows = count_rows(set, &deletions);
		if (rows > 0)
			tell(arg, set->relation, set->columns, rows, deletions);
	}
	AtEOXact_GUC(true, nestlevel);
}
