/*
 * rehydrate_finder.c
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
 */
#include "rehydrate.h"
#include "guard.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* keys of live parents to fetch at a time */
#define FETCH_ROWS	10000

/* ----------------------------------------------------------------------
 * Tenants' keys
 * ----------------------------------------------------------------------
 */

/*
 * Reads a tenant's key as a value of a column's type. An error names both.
 */
static Datum
read_tenant(Oid relid, AttrNumber attnum, Oid type, int32 typmod, const char *tenant)
{
	MemoryContext old = CurrentMemoryContext;
	Oid			input;
	Oid			typioparam;
	Datum		value = (Datum) 0;

	getTypeInputInfo(type, &input, &typioparam);
	PG_TRY();
	{
		value = OidInputFunctionCall(input, unconstify(char *, tenant), typioparam, typmod);
	}
	PG_CATCH();
	{
		ErrorData  *error;

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
				 errhint("Give the key of the tenant, as that column has it.")));
	}
	PG_END_TRY();
	return value;
}

static char *
write_tenant(Oid type, Datum value)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}

static char *
tenant_in_column(Oid relid, AttrNumber attnum, const char *tenant)
{
	Oid			type;
	int32		typmod;
	Oid			collation;

	get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
	return write_tenant(type, read_tenant(relid, attnum, type, typmod, tenant));
}

static void
set_key_column(DgKeyMap *keys, int column, Oid relid, AttrNumber attnum)
{
	Oid			type;
	int32		typmod;
	Oid			collation;

	get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
	dg_keymap_set_column(keys, column, type, collation);
}

/*
 * The tenants of a call, each once, in the spelling of the tenant table's key.
 */
DgTenants *
dg_tenants_make(int n, char **keys)
{
	const DgTenantTable *table = dg_tenant_table();
	AttrNumber	attnum = OidIsValid(table->relid) ?
		get_attnum(table->relid, NameStr(table->key_column)) : InvalidAttrNumber;
	DgTenants  *tenants = palloc0(sizeof(DgTenants));
	DgKeyMap   *seen = dg_keymap_create(1);

	if (attnum == InvalidAttrNumber)
		dg_keymap_set_column(seen, 0, TEXTOID, C_COLLATION_OID);
	else
		set_key_column(seen, 0, table->relid, attnum);
	tenants->exact = dg_keymap_is_exact(seen);
	tenants->keys = palloc(sizeof(char *) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		char	   *key = attnum == InvalidAttrNumber ? keys[i] :
			tenant_in_column(table->relid, attnum, keys[i]);
		DgKeyText	text = {key, strlen(key)};

		if (dg_keymap_find(seen, &text) != DG_KEY_ABSENT)
			continue;
		dg_keymap_put(seen, &text, i);
		tenants->keys[tenants->n++] = key;
	}
	return tenants;
}

/*
 * The same from an array of text.
 */
DgTenants *
dg_tenants_of_array(ArrayType *array)
{
	Datum	   *elems;
	bool	   *nulls;
	char	  **keys;
	int			n;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tenants names no tenant")));
	keys = palloc(sizeof(char *) * n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("tenants must not contain nulls")));
		keys[i] = TextDatumGetCString(elems[i]);
	}
	return dg_tenants_make(n, keys);
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
	finder->columns = palloc(sizeof(char *));
	finder->columns[0] = pstrdup(column);
	finder->keys = dg_keymap_create(1);
	set_key_column(finder->keys, 0, finder->relid, attnum);
	for (int i = 0; i < tenants->n; i++)
	{
		char	   *key = tenant_in_column(finder->relid, attnum, tenants->keys[i]);
		DgKeyText	text = {key, strlen(key)};

		dg_keymap_put(finder->keys, &text, i);
	}
}

static const char **
column_names(Oid relid, const AttrNumber *attnums, int n)
{
	const char **names = palloc(sizeof(char *) * n);

	for (int i = 0; i < n; i++)
		names[i] = get_attname(relid, attnums[i], false);
	return names;
}

/*
 * A finder by a foreign key, fed by the finder of its parents.
 */
static void
make_by_key(DgFinder *finder, ForeignKeyCacheInfo *fkey, List **finders, const DgTenants *tenants)
{
	DgFinder   *parent = dg_finder_get(finders, fkey->confrelid,
									   list_copy_tail(finder->path, 1), tenants);
	DgFeed	   *feed = palloc0(sizeof(DgFeed));

	finder->parent = parent;
	finder->ncolumns = fkey->nkeys;
	finder->columns = column_names(fkey->conrelid, fkey->conkey, fkey->nkeys);
	finder->keys = dg_keymap_create(fkey->nkeys);
	dg_keymap_may_spill(finder->keys);
	for (int i = 0; i < fkey->nkeys; i++)
		set_key_column(finder->keys, i, fkey->confrelid, fkey->confkey[i]);
	feed->finder = finder;
	feed->ncolumns = fkey->nkeys;
	feed->columns = column_names(fkey->confrelid, fkey->confkey, fkey->nkeys);
	parent->feeds = lappend(parent->feeds, feed);
}

/*
 * The finder of a table and path, from the list or new; new ones, and those of
 * the parents before them, are added to the list.
 */
DgFinder *
dg_finder_get(List **finders, Oid relid, List *path, const DgTenants *tenants)
{
	DgFinder   *finder;
	Oid			end;
	const char *column;
	List	   *fkeys;
	ListCell   *lc;

	foreach(lc, *finders)
	{
		finder = lfirst(lc);
		if (finder->relid == relid && list_length(finder->path) == list_length(path) &&
			strcmp(dg_guard_path_text(finder->path), dg_guard_path_text(path)) == 0)
			return finder;
	}
	fkeys = dg_guard_path_keys(relid, path, &end, &column);
	if (column == NULL)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_RESTORE),
				 errmsg("cannot tell tenants of \"%s\": its tenant path ends at \"%s\", which knows no tenant",
						get_rel_name(relid), get_rel_name(end)),
				 errhint("Guard that table with a tenant column, or enrol this one anew.")));
	finder = palloc0(sizeof(DgFinder));
	finder->relid = relid;
	finder->path = path;
	if (path == NIL)
		make_by_column(finder, column, tenants);
	else
		make_by_key(finder, linitial(fkeys), finders, tenants);
	*finders = lappend(*finders, finder);
	return finder;
}

/* ----------------------------------------------------------------------
 * Parents in the database
 * ----------------------------------------------------------------------
 */

/*
 * "OPERATOR(schema.=)" of a type, palloc'd.
 */
char *
dg_equality_operator(Oid type)
{
	Oid			oper = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple	tuple;
	Form_pg_operator form;
	char	   *text;

	if (!OidIsValid(oper))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an equality operator for type %s", format_type_be(type))));
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(oper));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", oper);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	text = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return text;
}

static Oid
column_type(Oid relid, AttrNumber attnum)
{
	return getBaseType(get_atttype(relid, attnum));
}

/*
 * Appends ", t<n>" and the condition that its rows are the parents of t<n-1>'s.
 */
static void
append_parent(StringInfo from, StringInfo where, ForeignKeyCacheInfo *fkey, int n)
{
	appendStringInfo(from, ", %s t%d", dg_relation_name(fkey->confrelid), n);
	for (int i = 0; i < fkey->nkeys; i++)
	{
		char	   *parent = psprintf("t%d.%s", n, quote_identifier(get_attname(fkey->confrelid, fkey->confkey[i], false)));
		char	   *child = psprintf("t%d.%s", n - 1, quote_identifier(get_attname(fkey->conrelid, fkey->conkey[i], false)));

		dg_guard_append_clause(where, parent, get_atttype(fkey->confrelid, fkey->confkey[i]),
							   fkey->conpfeqop[i], child, get_atttype(fkey->conrelid, fkey->conkey[i]));
		appendStringInfoString(where, " AND ");
	}
}

/*
 * An array of the tenants, of the column's base type.
 */
static Datum
tenant_array(Oid relid, AttrNumber attnum, const DgTenants *tenants)
{
	Oid			type = column_type(relid, attnum);
	Datum	   *values = palloc(sizeof(Datum) * tenants->n);
	int16		typlen;
	bool		typbyval;
	char		typalign;

	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	for (int i = 0; i < tenants->n; i++)
		values[i] = read_tenant(relid, attnum, type, -1, tenants->keys[i]);
	return PointerGetDatum(construct_array(values, tenants->n, type, typlen, typbyval, typalign));
}

/*
 * Makes the query for the live rows that a finder would find: of the table,
 * which it calls t0, what is asked for, and last the tenant's key.
 */
void
dg_finder_live_query(DgFinder *finder, List **finders, const DgTenants *tenants,
					 const char *select, DgLiveQuery *query)
{
	StringInfoData from;
	StringInfoData where;
	Oid			end;
	const char *column;
	List	   *fkeys = dg_guard_path_keys(finder->relid, finder->path, &end, &column);
	AttrNumber	attnum = get_attnum(end, column);
	ListCell   *lc;

	initStringInfo(&from);
	initStringInfo(&where);
	appendStringInfo(&from, "%s t0", dg_relation_name(finder->relid));
	foreach(lc, fkeys)
		append_parent(&from, &where, lfirst(lc), foreach_current_index(lc) + 1);
	query->sql = psprintf("SELECT %s, t%d.%s FROM %s WHERE %st%d.%s %s ANY ($1)",
						  select, list_length(fkeys), quote_identifier(column), from.data,
						  where.data, list_length(fkeys), quote_identifier(column),
						  dg_equality_operator(column_type(end, attnum)));
	query->type = get_array_type(column_type(end, attnum));
	query->tenants = tenant_array(end, attnum, tenants);
	query->keys = dg_finder_get(finders, end, NIL, tenants)->keys;
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
			appendStringInfo(&buf, "%st0.%s", buf.len > 0 ? ", " : "", quote_identifier(feed->columns[i]));
	}
	return buf.data;
}

static void
feed_live_row(DgFinder *finder, DgKeyMap *tenants, HeapTuple tuple, TupleDesc desc)
{
	char	   *value = SPI_getvalue(tuple, desc, desc->natts);
	DgKeyText	key[INDEX_MAX_KEYS] = {{value, strlen(value)}};
	int			tenant = dg_keymap_find(tenants, key);
	int			column = 1;
	ListCell   *lc;

	if (tenant < 0)
		return;
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
		if (!isnull && feed->finder->needed)
			dg_keymap_put(feed->finder->keys, key, tenant);
	}
}

static Oid
owner_of(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Becomes the role that may read all tables of a finder's path and whose code may
 * run there: their owner, if they have one in common, else the caller as he is.
 */
static void
become_reader(const DgFinder *finder, int sec_context)
{
	Oid			owner = owner_of(finder->relid);
	Oid			end;
	const char *column;
	ListCell   *lc;

	foreach(lc, dg_guard_path_keys(finder->relid, finder->path, &end, &column))
	{
		if (owner_of(((ForeignKeyCacheInfo *) lfirst(lc))->confrelid) != owner)
			return;
	}
	SetUserIdAndSecContext(owner, sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
}

/*
 * Feeds those who wait for a finder's rows from the live table. Never as the
 * extension's owner: reading a table may run code of its owner.
 */
void
dg_finder_read_live(DgFinder *finder, List **finders, const DgTenants *tenants)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard live keys",
												  ALLOCSET_DEFAULT_SIZES);
	DgLiveQuery query;
	Oid			save_userid;
	int			save_sec_context;
	Portal		portal;
	uint64		n;

	dg_finder_live_query(finder, finders, tenants, feed_columns(finder), &query);
	GetUserIdAndSecContext(&save_userid, &save_sec_context);
	become_reader(finder, save_sec_context);
	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL, query.sql, 1, &query.type, &query.tenants, NULL, true,
									   CURSOR_OPT_NO_SCROLL);
	do
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		n = SPI_processed;
		for (uint64 i = 0; i < n; i++)
			feed_live_row(finder, query.keys, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		SPI_freetuptable(SPI_tuptable);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	} while (n > 0);
	SPI_cursor_close(portal);
	SPI_finish();
	SetUserIdAndSecContext(save_userid, save_sec_context);
	MemoryContextDelete(context);
}
