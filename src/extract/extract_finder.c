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

#include "catalog/pg_authid_d.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "guard/guard.h"
#include "extract/extract_internal.h"
#include "rows/rows.h"

/* ----------------------------------------------------------------------
 * Tenants' keys
 * ----------------------------------------------------------------------
 */

/*
 * Reads a tenant's key as a value of a column's type, as the table's owner where
 * the caller is a superuser. An error names both.
 */
static Datum
read_tenant(Oid relid, AttrNumber attnum, Oid type, int32 typmod, const char *tenant)
{
	MemoryContext old = CurrentMemoryContext;
	DgRowsRole	role = dg_rows_role_of(dg_relation_owner(relid));
	Oid			input;
	Oid			typioparam;
	Datum		value = (Datum) 0;

	getTypeInputInfo(type, &input, &typioparam);
	dg_rows_as_owner(&role);
	PG_TRY();
	{
		value = OidInputFunctionCall(input, unconstify(char *, tenant), typioparam, typmod);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		dg_rows_as_caller(&role);
		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("tenant \"%s\" cannot be a value of column \"%s\" of \"%s\", which tells tenants",
						tenant, get_attname(relid, attnum, false), get_rel_name(relid)),
				 errdetail("The column is of type %s: %s", format_type_with_typemod(type, typmod), error->message),
				 errhint("Give the key of the tenant, as that column has it; several as an array, such as ARRAY['7', '8'].")));
	}
	PG_END_TRY();
	dg_rows_as_caller(&role);
	return value;
}

static char *
tenant_in_column(Oid relid, AttrNumber attnum, const char *tenant)
{
	Oid			type;
	int32		typmod;
	Oid			collation;

	get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
	return dg_value_text(type, read_tenant(relid, attnum, type, typmod, tenant));
}

/*
 * The tenants of a call, each once, in the spelling of the tenant table's key.
 */
DgTenants *
dg_extract_tenants_make(int n, char **keys)
{
	const DgTenantTable *table = dg_guard_tenant_table();
	AttrNumber	attnum = OidIsValid(table->relid) ?
	get_attnum(table->relid, NameStr(table->key_column)) : InvalidAttrNumber;
	DgTenants  *tenants = palloc0(sizeof(DgTenants));
	DgKeyMap   *seen;

	if (attnum != InvalidAttrNumber)
		seen = dg_extract_keymap_of_columns(table->relid, &attnum, 1);
	else
	{
		seen = dg_extract_keymap_create(1);
		dg_extract_keymap_set_column(seen, 0, TEXTOID, C_COLLATION_OID, BOOTSTRAP_SUPERUSERID);
	}
	tenants->exact = dg_extract_keymap_is_exact(seen);
	tenants->keys = palloc(sizeof(char *) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		char	   *key = attnum == InvalidAttrNumber ? keys[i] :
		tenant_in_column(table->relid, attnum, keys[i]);
		DgKeyText	text = {key, strlen(key)};

		if (dg_extract_keymap_find(seen, &text) != DG_KEY_ABSENT)
			continue;
		dg_extract_keymap_put(seen, &text, i);
		tenants->keys[tenants->n++] = key;
	}
	return tenants;
}

/*
 * The tenants of an array of text, which must name some and have no nulls.
 */
DgTenants *
dg_extract_tenants_of_array(ArrayType *array)
{
	List	   *tenants = dg_array_strings(PointerGetDatum(array));
	char	  **keys = palloc(sizeof(char *) * list_length(tenants));
	ListCell   *lc;

	if (tenants == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tenants names no tenant")));
	foreach(lc, tenants)
	{
		if (lfirst(lc) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("tenants must not contain nulls")));
		keys[foreach_current_index(lc)] = lfirst(lc);
	}
	return dg_extract_tenants_make(list_length(tenants), keys);
}

/*
 * The tenants' keys as a list.
 */
List *
dg_extract_tenant_list(const DgTenants *tenants)
{
	List	   *keys = NIL;

	for (int i = 0; i < tenants->n; i++)
		keys = lappend(keys, tenants->keys[i]);
	return keys;
}

/*
 * Stands for all tenants of an archive: none is known yet.
 */
DgTenants *
dg_extract_tenants_all(void)
{
	DgTenants  *tenants = palloc0(sizeof(DgTenants));

	tenants->all = dg_guard_textset_of_tenants(CurrentMemoryContext, InvalidOid);
	tenants->keys = palloc(sizeof(char *));
	return tenants;
}

/*
 * The number of a tenant that may be new.
 */
static int
add_tenant(DgTenants *tenants, const char *key)
{
	int64		n = dg_guard_textset_find(tenants->all, key);

	if (n >= 0)
		return (int) n;
	(void) dg_guard_textset_add(tenants->all, key);
	if ((tenants->n & (tenants->n - 1)) == 0)
		tenants->keys = repalloc_huge(tenants->keys, sizeof(char *) * (tenants->n * 2 + 1));
	tenants->keys[tenants->n] = unconstify(char *, dg_guard_textset_get(tenants->all, tenants->n));
	return tenants->n++;
}

/*
 * The number of a tenant, or DG_KEY_OTHER_TENANT.
 */
int
dg_extract_tenant_find(const DgTenants *tenants, const char *tenant)
{
	if (tenants->all != NULL)
		return add_tenant(unconstify(DgTenants *, tenants), tenant);
	for (int i = 0; i < tenants->n && !tenants->nobody; i++)
	{
		if (dg_guard_tenant_equal(tenants->keys[i], tenant))
			return i;
	}
	return DG_KEY_OTHER_TENANT;
}

/*
 * Stands in for tenants: finds rows without a tenant.
 */
DgTenants *
dg_extract_tenants_nobody(void)
{
	DgTenants  *tenants = palloc0(sizeof(DgTenants));

	tenants->n = 1;
	tenants->keys = palloc(sizeof(char *));
	tenants->keys[0] = DG_NO_TENANT;
	tenants->nobody = true;
	return tenants;
}

/*
 * A finder that learns has come to a key that it does not know.
 */
int
dg_extract_finder_learn(DgFinder *finder, const DgKeyText *key)
{
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(finder));
	int			tenant = add_tenant(finder->learned, key->ptr);

	dg_extract_keymap_put(finder->keys, key, tenant);
	MemoryContextSwitchTo(old);
	return tenant;
}

/* ----------------------------------------------------------------------
 * Finders
 * ----------------------------------------------------------------------
 */

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
		char	   *key = tenant_in_column(finder->relid, attnum, tenants->keys[i]);
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

/* ----------------------------------------------------------------------
 * Parents in the database
 * ----------------------------------------------------------------------
 */

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
		values[i] = read_tenant(relid, attnum, type, -1, tenants->keys[i]);
	return dg_array(values, tenants->n, type);
}

/*
 * Makes the query for live rows of a table whose column tells their tenant, or for
 * those in a partition of it: of the table, which it calls t, what is asked for, and
 * last the tenant's key. Where all rows are one tenant's, that is its number.
 */
static void
make_live_query(Oid relid, Oid from, List **finders, const DgTenants *tenants,
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
 * Makes the query for the live rows that the tenants have in a table, or in one of
 * dg_rows_tables() of it.
 */
void
dg_extract_finder_live_query(Oid relid, Oid from, List **finders, const DgTenants *tenants,
							 const char *select, DgLiveQuery *query)
{
	make_live_query(relid, from, finders, tenants, select, false, query);
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
dg_extract_finder_keys_desc(const ForeignKeyCacheInfo *fkey, bool with_tenant)
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
	live->desc = dg_extract_finder_keys_desc(fkey, true);
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
	return as_caller ? list_make1_oid(relid) : dg_rows_tables(relid);
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

		make_live_query(end, lfirst_oid(lc), finders, tenants, fkeys == NIL ? select : parent_columns(llast(fkeys)),
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
dg_extract_finder_live_rows(DgFinder *finder, List **finders, const DgTenants *tenants, const char *select,
							DgLiveSink sink, void *arg)
{
	find_live_rows(finder, finders, tenants, select, false, !superuser(), sink, arg);
}

/*
 * May row security hide live rows that a finder looks for, or their parents, from
 * the caller?
 */
bool
dg_extract_finder_is_hidden(const DgFinder *finder)
{
	ListCell   *lc;

	foreach(lc, finder->parents)
	{
		if (dg_extract_finder_is_hidden(lfirst(lc)))
			return true;
	}
	return check_enable_rls(finder->relid, InvalidOid, true) == RLS_ENABLED;
}

/*
 * Like dg_extract_finder_live_rows(), but always reads as the tables' owners: for what the
 * caller is told no more of than that it is there.
 */
void
dg_extract_finder_live_twins(DgFinder *finder, List **finders, const DgTenants *tenants, const char *select,
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
dg_extract_finder_read_live(DgFinder *finder, List **finders, const DgTenants *tenants)
{
	find_live_rows(finder, finders, tenants, feed_columns(finder), true, false, feed_live_row, finder);
}
