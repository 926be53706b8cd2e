/*
 * extract_live.c
 *		Live rows of tenants, for who compares or counts them, and live parents, which
 *		tell whose their children in the archive are.
 *
 * Each table is read by a query of its own, as its owner or as the caller; the keys
 * found there are what the next query, along the path of a finder, looks for.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"

#include "guard/guard.h"
#include "extract/extract_internal.h"
#include "rows/rows.h"

static Oid
column_type(Oid relid, AttrNumber attnum)
{
	return getBaseType(get_atttype(relid, attnum));
}

/*
 * An array of the tenants, of the column's base type.
 */
static Datum
tenant_array(Oid relid, AttrNumber attnum, const DgTenants *tenants)
{
	Oid			type = column_type(relid, attnum);
	Datum	   *values = palloc(sizeof(Datum) * tenants->n);

	for (int i = 0; i < tenants->n; i++)
		values[i] = dg_extract_tenant_value(relid, attnum, type, -1, tenants->keys[i]);
	return dg_array(values, tenants->n, type);
}

/*
 * Makes the query for the live rows that the tenants have in a table whose column
 * tells them, or for those in one of dg_query_tables() of it: of the table, which it
 * calls t, what is asked for, and last the tenant's key. Where all rows are one
 * tenant's, that is its number. With all_tenants, also other tenants' rows.
 */
void
dg_extract_live_query(Oid relid, Oid from, List **finders, const DgTenants *tenants,
					  const char *select, bool all_tenants, DgLiveQuery *query)
{
	Oid			end;
	const char *column;
	AttrNumber	attnum;
	DgFinder   *finder = dg_extract_finder_get(finders, relid, list_make1(NIL), tenants);

	(void) dg_guard_path_keys(relid, NIL, &end, &column);
	query->keys = column == NULL ? NULL : finder->keys;
	query->nparams = 0;
	if (column == NULL)
	{
		query->sql = psprintf("SELECT %s, %d FROM %s t", select, finder->tenant, dg_own_rows(from));
		return;
	}
	query->sql = psprintf("SELECT %s, t.%s FROM %s t", select, quote_identifier(column), dg_own_rows(from));
	if (all_tenants)
		return;
	if (tenants->nobody)
	{
		query->sql = psprintf("%s WHERE t.%s IS NULL", query->sql, quote_identifier(column));
		return;
	}
	query->nparams = 1;
	attnum = get_attnum(end, column);
	query->sql = psprintf("%s WHERE t.%s %s ANY ($1)", query->sql, quote_identifier(column),
						  dg_equality_operator(column_type(relid, attnum)));
	query->type = get_array_type(column_type(relid, attnum));
	query->tenants = tenant_array(relid, attnum, tenants);
}

/*
 * Live rows on their way to a sink, one table at a time: each is read by a query
 * of its own, so that it can run as the table's owner. The keys of the parents
 * that were found last are what the next query looks for. With all_tenants, rows
 * that are of none of the tenants come as well, as DG_KEY_OTHER_TENANT.
 */
typedef struct LiveRows
{
	bool		all_tenants;
	bool		nobody;			/* a row without a tenant is of tenant 0 */
	DgKeyMap   *tenants;		/* by the last column; NULL: that is the
								 * tenant's number */
	Tuplestorestate *parents;	/* keys and tenants; NULL: the rows are for
								 * the sink */
	TupleDesc	desc;			/* of parents */
	MemoryContext row;
	DgLiveSink	sink;
	void	   *arg;
} LiveRows;

static void
pass_live_row(void *arg, HeapTuple tuple, TupleDesc desc)
{
	LiveRows   *live = arg;
	MemoryContext old = MemoryContextSwitchTo(live->row);
	bool		isnull = false;
	int			tenant;

	if (live->tenants != NULL)
	{
		char	   *value = SPI_getvalue(tuple, desc, desc->natts);
		DgKeyText	key = {value, value == NULL ? 0 : strlen(value)};

		if (value == NULL)
			tenant = live->nobody ? 0 : DG_KEY_ABSENT;
		else
			tenant = dg_extract_keymap_find(live->tenants, &key);
	}
	else
		tenant = DatumGetInt32(SPI_getbinval(tuple, desc, desc->natts, &isnull));
	if (tenant < 0 && live->all_tenants)
		tenant = DG_KEY_OTHER_TENANT;
	if ((tenant >= 0 || live->all_tenants) && live->parents != NULL)
	{
		Datum		values[INDEX_MAX_KEYS + 1];
		bool		nulls[INDEX_MAX_KEYS + 1];

		heap_deform_tuple(tuple, desc, values, nulls);
		values[desc->natts - 1] = Int32GetDatum(tenant);
		nulls[desc->natts - 1] = false;
		tuplestore_putvalues(live->parents, live->desc, values, nulls);
	}
	else if (tenant >= 0 || live->all_tenants)
		live->sink(live->arg, tuple, desc, tenant);
	MemoryContextSwitchTo(old);
	MemoryContextReset(live->row);
}

/*
 * Columns k1, k2, ... for the keys that a foreign key refers to and, if they are
 * told apart, one for the tenant's number.
 */
TupleDesc
dg_extract_live_keys_desc(const ForeignKeyCacheInfo *fkey, bool with_tenant)
{
	TupleDesc	desc = CreateTemplateTupleDesc(fkey->nkeys + with_tenant);

	for (int i = 0; i < fkey->nkeys; i++)
	{
		Oid			type;
		int32		typmod;
		Oid			collation;

		get_atttypetypmodcoll(fkey->confrelid, fkey->confkey[i], &type, &typmod, &collation);
		TupleDescInitEntry(desc, i + 1, psprintf("k%d", i + 1), type, typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, collation);
	}
	if (with_tenant)
		TupleDescInitEntry(desc, fkey->nkeys + 1, "tenant", INT4OID, -1, 0);
	dg_tupdesc_finalize(desc);
	return desc;
}

/*
 * Makes the place for the parents' keys that a foreign key refers to.
 */
static void
begin_parents(LiveRows *live, const ForeignKeyCacheInfo *fkey)
{
	live->desc = dg_extract_live_keys_desc(fkey, true);
	live->parents = tuplestore_begin_heap(false, false, work_mem);
}

/*
 * "t.a, t.b": the columns that a foreign key refers to.
 */
static char *
parent_columns(ForeignKeyCacheInfo *fkey)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < fkey->nkeys; i++)
		appendStringInfo(&buf, "%st.%s", i > 0 ? ", " : "",
						 quote_identifier(get_attname(fkey->confrelid, fkey->confkey[i], false)));
	return buf.data;
}

/*
 * The query for the children of the parents that were found and, with
 * all_tenants or nobody, for those that refer to none. The foreign key may be one that the
 * table has inherited.
 */
static char *
children_query(Oid from, ForeignKeyCacheInfo *fkey, const char *select, bool all_tenants, bool nobody)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT %s, p.tenant FROM %s t, parents p WHERE true", select,
					 dg_own_rows(from));
	for (int i = 0; i < fkey->nkeys; i++)
	{
		char	   *child = psprintf("t.%s", quote_identifier(get_attname(fkey->conrelid, fkey->conkey[i], false)));

		appendStringInfoString(&buf, " AND ");
		dg_guard_append_clause(&buf, psprintf("p.k%d", i + 1), get_atttype(fkey->confrelid, fkey->confkey[i]),
							   fkey->conpfeqop[i], child, get_atttype(fkey->conrelid, fkey->conkey[i]));
	}
	dg_guard_append_type(&buf, fkey);
	if (!all_tenants && !nobody)
		return buf.data;
	appendStringInfo(&buf, " UNION ALL SELECT %s, %d FROM %s t WHERE (false", select, nobody ? 0 : DG_KEY_OTHER_TENANT,
					 dg_own_rows(from));
	for (int i = 0; i < fkey->nkeys; i++)
		appendStringInfo(&buf, " OR t.%s IS NULL",
						 quote_identifier(get_attname(fkey->conrelid, fkey->conkey[i], false)));
	appendStringInfoChar(&buf, ')');
	dg_guard_append_type(&buf, fkey);
	return buf.data;
}

/*
 * The tables that are asked for a table's rows, each by a query of its own: as the
 * caller one is enough.
 */
static List *
tables_to_ask(Oid relid, bool as_caller)
{
	return as_caller ? list_make1_oid(relid) : dg_query_tables(relid);
}

/*
 * Reads live rows of a table, as the caller or as its owner.
 */
static void
read_live(LiveRows *live, DgLiveQuery *query, bool as_caller, Oid relid)
{
	ErrorContextCallback context = {.previous = error_context_stack,.callback = dg_rows_privilege_context,
	.arg = psprintf("SELECT ON %s", dg_relation_name(relid))};

	if (as_caller)
		error_context_stack = &context;
	dg_query_each(pass_live_row, live, query->sql, as_caller ? DG_AS_CALLER : DG_AS_OWNER, query->nparams, &query->type,
				  &query->tenants,.table = relid);
	error_context_stack = context.previous;
}

/*
 * Gives the sink live rows of a finder's table, by one of its paths: of the table, which is called
 * t, what is asked for, and a column more; and the number of the tenant. Reads
 * as the tables' owners where as_caller is false.
 */
static void
find_live_rows_along(DgFinder *finder, List *path, List **finders, const DgTenants *tenants, const char *select,
					 bool all_tenants, bool as_caller, DgLiveSink sink, void *arg)
{
	LiveRows	live = {.all_tenants = all_tenants,.nobody = finder->nobody,.sink = sink,.arg = arg};
	Oid			end;
	const char *column;
	List	   *fkeys = dg_guard_path_keys(finder->relid, path, &end, &column);
	ListCell   *lc;

	live.row = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard live row", ALLOCSET_DEFAULT_SIZES);
	if (fkeys != NIL)
		begin_parents(&live, llast(fkeys));
	foreach(lc, tables_to_ask(end, as_caller))
	{
		DgLiveQuery query;

		dg_extract_live_query(end, lfirst_oid(lc), finders, tenants, fkeys == NIL ? select : parent_columns(llast(fkeys)),
							  all_tenants, &query);
		live.tenants = query.keys;
		SPI_connect();
		read_live(&live, &query, as_caller, lfirst_oid(lc));
		SPI_finish();
	}
	for (int i = list_length(fkeys) - 1; i >= 0; i--)
	{
		ForeignKeyCacheInfo *fkey = list_nth(fkeys, i);
		ForeignKeyCacheInfo *below = i == 0 ? NULL : list_nth(fkeys, i - 1);
		Oid			relid = i == 0 ? finder->relid : below->confrelid;
		LiveRows	children = {.all_tenants = all_tenants,.nobody = finder->nobody,.row = live.row,.sink = sink,.arg = arg};

		if (i > 0)
			begin_parents(&children, below);
		SPI_connect();
		dg_query_register_rows("parents", live.parents, live.desc);
		foreach(lc, tables_to_ask(relid, as_caller))
		{
			DgLiveQuery query = {children_query(lfirst_oid(lc), fkey, i == 0 ? select : parent_columns(below), all_tenants,
												finder->nobody)};

			read_live(&children, &query, as_caller, lfirst_oid(lc));
		}
		SPI_finish();
		tuplestore_end(live.parents);
		live = children;
	}
	MemoryContextDelete(live.row);
}

static void
find_live_rows(DgFinder *finder, List **finders, const DgTenants *tenants, const char *select,
			   bool all_tenants, bool as_caller, DgLiveSink sink, void *arg)
{
	ListCell   *lc;

	foreach(lc, finder->paths)
		find_live_rows_along(finder, lfirst(lc), finders, tenants, select, all_tenants, as_caller, sink, arg);
}

/*
 * Gives the sink the live rows that a finder would find. Reads as the caller
 * or, where that is a superuser, as the tables' owners: a superuser who reads
 * other people's tables has not chosen to run their code.
 */
void
dg_extract_live_rows(DgFinder *finder, List **finders, const DgTenants *tenants, const char *select,
					 DgLiveSink sink, void *arg)
{
	find_live_rows(finder, finders, tenants, select, false, !superuser(), sink, arg);
}

/*
 * May row security hide live rows that a finder looks for, or their parents, from
 * the caller?
 */
bool
dg_extract_live_is_hidden(const DgFinder *finder)
{
	ListCell   *lc;

	foreach(lc, finder->parents)
	{
		if (dg_extract_live_is_hidden(lfirst(lc)))
			return true;
	}
	return check_enable_rls(finder->relid, InvalidOid, true) == RLS_ENABLED;
}

/*
 * Like dg_extract_live_rows(), but always reads as the tables' owners: for what the
 * caller is told no more of than that it is there.
 */
void
dg_extract_live_twins(DgFinder *finder, List **finders, const DgTenants *tenants, const char *select,
					  DgLiveSink sink, void *arg)
{
	find_live_rows(finder, finders, tenants, select, false, false, sink, arg);
}

static char *
feed_columns(const DgFinder *finder)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, finder->feeds)
	{
		DgFeed	   *feed = lfirst(lc);

		for (int i = 0; i < feed->ncolumns; i++)
			appendStringInfo(&buf, "%st.%s", buf.len > 0 ? ", " : "", quote_identifier(feed->columns[i]));
	}
	return buf.data;
}

static void
feed_live_row(void *arg, HeapTuple tuple, TupleDesc desc, int tenant)
{
	DgFinder   *finder = arg;
	DgKeyText	key[INDEX_MAX_KEYS + 1] = {{0}};
	int			column = 1;
	ListCell   *lc;

	foreach(lc, finder->feeds)
	{
		DgFeed	   *feed = lfirst(lc);
		bool		isnull = false;

		for (int i = 0; i < feed->ncolumns; i++)
		{
			key[i].ptr = SPI_getvalue(tuple, desc, column++);
			isnull |= (key[i].ptr == NULL);
			key[i].len = isnull ? 0 : strlen(key[i].ptr);
		}
		if (feed->type != NULL)
			key[feed->ncolumns] = (DgKeyText)
		{
			feed->type, strlen(feed->type)
		};
		if (!isnull && feed->finder->needed)
			dg_extract_keymap_put(feed->finder->keys, key, tenant);
	}
}

/*
 * Feeds those who wait for a finder's rows from the live table, other tenants'
 * rows included. Reads as the tables' owners, like the guard when it follows a
 * path: the caller need not be able to.
 */
void
dg_extract_live_feed(DgFinder *finder, List **finders, const DgTenants *tenants)
{
	find_live_rows(finder, finders, tenants, feed_columns(finder), true, false, feed_live_row, finder);
}
