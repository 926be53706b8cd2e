/*
 * rehydrate_renumber.c
 *		New keys for rows whose own are taken.
 *
 * A new value comes from where the table itself takes one: the default of an identity
 * column, a serial, or any default that is volatile (gen_random_uuid()), if a unique
 * index has the column. It is evaluated as for an INSERT. The values that the archive
 * has in such columns were collected by a first reading. Those that a live row has
 * are taken; in an index that has the tenant's column as well, only rows of the new tenant
 * count. Values that are free are kept.
 *
 * Numbers that are drawn from a sequence are not put back if the call fails, or is a
 * dry run, as with any INSERT.
 *
 * Memory: about 100 bytes for each value that is replaced, more for longer types. What
 * else was collected is in tuplestores, which go to disk.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "guard/guard.h"
#include "rehydrate/rehydrate_internal.h"
#include "rows/rows.h"

/* times that new values are drawn for those whose last ones are taken, too */
#define MAX_ROUNDS	1000

/* ----------------------------------------------------------------------
 * What the archive has
 * ----------------------------------------------------------------------
 */

static void
put_value(Tuplestorestate *store, TupleDesc desc, const char *text, int number)
{
	Datum		values[] = {CStringGetTextDatum(text), Int32GetDatum(number)};
	bool		nulls[] = {false, false};

	tuplestore_putvalues(store, desc, values, nulls);
	pfree(DatumGetPointer(values[0]));
}

/*
 * The columns of a source that have keys which their table makes; mapping may have
 * left one out, or set it.
 */
static List *
made_places(const DgKeys *keys, const DgSource *source)
{
	List	   *places = NIL;

	for (int i = 0; i < source->ncolumns; i++)
	{
		DgKeyColumn *column = dg_rehydrate_keys_column(keys, source->target, get_attnum(source->target, source->columns[i].name));
		DgKeyPlace *place;

		if (source->fields[i] < 0 || column == NULL || !list_member_ptr(column->class->made, column))
			continue;
		if (column->found == NULL)
			column->found = tuplestore_begin_heap(false, false, work_mem);
		place = palloc(sizeof(DgKeyPlace));
		place->field = i;
		place->column = column;
		places = lappend(places, place);
	}
	return places;
}

/*
 * Collects the keys of a row of the archive, whose values are C strings.
 */
void
dg_rehydrate_keys_collect(DgKeys *keys, const DgSource *source, const Datum *values, const bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(keys->context);
	ListCell   *lc;

	if (keys->source != source)
	{
		keys->places = made_places(keys, source);
		keys->source = source;
	}
	foreach(lc, keys->places)
	{
		DgKeyPlace *place = lfirst(lc);

		if (!nulls[place->field])
			put_value(place->column->found, keys->desc, DatumGetCString(values[place->field]), 0);
	}
	MemoryContextSwitchTo(old);
}

/* ----------------------------------------------------------------------
 * New values
 * ----------------------------------------------------------------------
 */

/*
 * Prepares a class for values that are to be replaced.
 */
static void
prepare_class(DgKeyClass *class)
{
	Oid			output;
	bool		varlena;
	int32		typmod;
	Oid			collation;
	AttrNumber	attnum = class->column->id.attnum;

	if (class->old != NULL)
		return;
	class->old = dg_extract_keymap_of_columns(class->column->id.relid, &attnum, 1);
	get_atttypetypmodcoll(class->column->id.relid, attnum, &class->type, &typmod, &collation);
	get_typlenbyval(class->type, &class->len, &class->byval);
	getTypeOutputInfo(class->type, &output, &varlena);
	fmgr_info(output, &class->output);
	class->room = 64;
	class->fresh = palloc(sizeof(Datum) * class->room);
}

/*
 * The number of a value that is to be replaced.
 */
static int
add_old(DgKeyClass *class, const char *text)
{
	DgKeyText	key = {text, strlen(text)};
	int			number = dg_extract_keymap_find(class->old, &key);

	if (number >= 0)
		return number;
	if (class->n == class->room)
		class->fresh = repalloc_huge(class->fresh, sizeof(Datum) * (class->room *= 2));
	class->fresh[class->n] = (Datum) 0;
	dg_extract_keymap_put(class->old, &key, class->n);
	return class->n++;
}

/*
 * The new value, in its class's type, of a value that is replaced; false if it is
 * not.
 */
bool
dg_rehydrate_keys_find(DgKeyClass *class, const char *text, Datum *value)
{
	DgKeyText	key = {text, strlen(text)};
	int			number = class->old == NULL ? DG_KEY_ABSENT : dg_extract_keymap_find(class->old, &key);

	if (number >= 0)
		*value = class->fresh[number];
	return number >= 0;
}

/*
 * Replaces one value by another, both as text.
 */
void
dg_rehydrate_keys_set(DgKeys *keys, DgKeyClass *class, const char *text, const char *by)
{
	MemoryContext old = MemoryContextSwitchTo(keys->context);
	DgRowsRole	role = dg_rows_role_of(dg_relation_owner(class->column->id.relid));
	int			number;

	prepare_class(class);
	class->given = true;
	number = add_old(class, text);
	dg_rows_as_owner(&role);
	class->fresh[number] = dg_value_of_text(getBaseType(class->type), -1, by);
	dg_rows_as_caller(&role);
	MemoryContextSwitchTo(old);
}

/* Values that are looked for, and where those go that were found. */
typedef struct Search
{
	DgKeys	   *keys;
	DgKeyClass *class;
	int		   *again;			/* numbers of those that need another value */
	int			n;
	int			room;
} Search;

/*
 * A value of the archive is taken.
 */
static void
note_taken(void *arg, HeapTuple tuple, TupleDesc desc)
{
	Search	   *search = arg;
	MemoryContext old = MemoryContextSwitchTo(search->keys->context);
	char	   *text = SPI_getvalue(tuple, desc, 1);

	(void) add_old(search->class, text);
	pfree(text);
	MemoryContextSwitchTo(old);
}

/*
 * A new value is taken: another is drawn.
 */
static void
note_again(void *arg, HeapTuple tuple, TupleDesc desc)
{
	Search	   *search = arg;
	bool		isnull;

	if (search->n == search->room)
		search->again = repalloc_huge(search->again, sizeof(int) * (search->room *= 2));
	search->again[search->n++] = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull));
}

/*
 * "OPERATOR(=) k.k::type", to compare a column with values that are text.
 */
static char *
equal_to_value(const DgKeyColumn *column)
{
	Oid			type = getBaseType(get_atttype(column->id.relid, column->id.attnum));

	return psprintf("%s k.k::%s", dg_equality_operator(type),
					dg_type_name(type));
}

/*
 * Gives the sink those of some values that live rows have in a column.
 */
static void
find_among_live(Search *search, DgKeyColumn *column, Tuplestorestate *values, DgQuerySink sink)
{
	Oid			relid = column->id.relid;
	char	   *name = get_attname(relid, column->id.attnum, false);
	const char *tenant = column->everywhere ? NULL : dg_guard_tenant_column_of(relid);
	Oid			types[] = {TEXTOID};
	Datum		args[] = {CStringGetTextDatum(search->keys->tenant)};
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	appendStringInfo(&buf, "t.%s %s", quote_identifier(name), equal_to_value(column));
	if (tenant != NULL)
	{
		Oid			type = getBaseType(get_atttype(relid, get_attnum(relid, tenant)));

		appendStringInfo(&buf, " AND t.%s %s $1::%s", quote_identifier(tenant), dg_equality_operator(type),
						 dg_type_name(type));
	}
	foreach(lc, dg_query_tables(relid))
	{
		SPI_connect();
		dg_query_register_rows("values_of_keys", values, search->keys->desc);
		dg_query_each(sink, search,
					  psprintf("SELECT k.k, k.n FROM values_of_keys k WHERE EXISTS (SELECT 1 FROM %s t WHERE %s)",
							   dg_own_rows(lfirst_oid(lc)), buf.data), DG_AS_OWNER, tenant != NULL, types, args,
					  .table = lfirst_oid(lc),.snapshot = GetLatestSnapshot());
		SPI_finish();
	}
}

/*
 * Gives the sink those of some values that rows of the archive have in a column.
 */
static void
find_among_archived(Search *search, DgKeyColumn *column, Tuplestorestate *values, DgQuerySink sink)
{
	Oid			type = getBaseType(get_atttype(column->id.relid, column->id.attnum));

	SPI_connect();
	dg_query_register_rows("values_of_keys", values, search->keys->desc);
	dg_query_register_rows("archived", column->found, search->keys->desc);
	dg_query_each(sink, search,
				  psprintf("SELECT k.k, k.n FROM values_of_keys k WHERE EXISTS (SELECT 1 FROM archived t WHERE t.k::%s %s)",
						   dg_type_name(type), equal_to_value(column)), DG_AS_OWNER,
				  .table = column->id.relid);
	SPI_finish();
}

/*
 * Draws a new value for each of those that need one. Returns the values, with their
 * numbers.
 */
static Tuplestorestate *
draw_values(DgKeys *keys, DgKeyClass *class, const int *numbers, int n)
{
	Tuplestorestate *drawn = tuplestore_begin_heap(false, false, work_mem);
	DgRowsRole	role = dg_rows_role_of(dg_relation_owner(class->column->id.relid));
	ExprContext *econtext = CreateStandaloneExprContext();

	dg_rows_as_owner(&role);
	for (int i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
		bool		isnull;
		Datum		value = ExecEvalExpr(class->column->made, econtext, &isnull);

		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("the default of column \"%s\" of \"%s\" has made a null instead of a key",
							get_attname(class->column->id.relid, class->column->id.attnum, false),
							get_rel_name(class->column->id.relid))));
		put_value(drawn, keys->desc, OutputFunctionCall(&class->output, value), numbers[i]);
		MemoryContextSwitchTo(keys->context);
		class->fresh[numbers[i]] = datumCopy(value, class->byval, class->len);
		MemoryContextSwitchTo(old);
		ResetExprContext(econtext);
		CHECK_FOR_INTERRUPTS();
	}
	dg_rows_as_caller(&role);
	FreeExprContext(econtext, true);
	return drawn;
}

static void
refuse_spent(const DgKeyClass *class)
{
	ereport(ERROR,
			(errcode(DG_ERRCODE_ROW_CONFLICT),
			 errmsg("no new key can be found for rows of \"%s\"", get_rel_name(class->column->id.relid)),
			 errdetail("The default of column \"%s\" was evaluated %d times, and each time gave a key that a row has.",
					   get_attname(class->column->id.relid, class->column->id.attnum, false), MAX_ROUNDS),
			 errhint("Nothing was restored. If it is a sequence, set it behind the keys that there are, with setval().")));
}

/*
 * Draws new values for those that are numbered. Returns the numbers of those whose new
 * values are taken as well, *n of them.
 */
static int *
draw_round(DgKeys *keys, DgKeyClass *class, const int *numbers, int *n)
{
	Search		search = {keys, class,.room = 64};
	Tuplestorestate *drawn = draw_values(keys, class, numbers, *n);
	ListCell   *lc;

	search.again = MemoryContextAlloc(keys->context, sizeof(int) * search.room);
	foreach(lc, class->made)
	{
		find_among_live(&search, lfirst(lc), drawn, note_again);
		if (((DgKeyColumn *) lfirst(lc))->found != NULL)
			find_among_archived(&search, lfirst(lc), drawn, note_again);
	}
	tuplestore_end(drawn);
	*n = search.n;
	return search.again;
}

/*
 * Gives a class's values new ones, that neither a live row has nor one of the archive.
 */
static void
renumber_class(DgKeys *keys, DgKeyClass *class)
{
	Search		search = {keys, class};
	int		   *numbers;
	int			n;
	ListCell   *lc;

	prepare_class(class);
	foreach(lc, class->made)
	{
		if (((DgKeyColumn *) lfirst(lc))->found != NULL)
			find_among_live(&search, lfirst(lc), ((DgKeyColumn *) lfirst(lc))->found, note_taken);
	}
	n = class->n;
	numbers = MemoryContextAllocHuge(keys->context, sizeof(int) * (n + 1));
	for (int i = 0; i < n; i++)
		numbers[i] = i;
	for (int round = 0; n > 0; round++)
	{
		int		   *again;

		if (round == MAX_ROUNDS)
			refuse_spent(class);
		again = draw_round(keys, class, numbers, &n);
		pfree(numbers);
		numbers = again;
	}
	pfree(numbers);
}

/*
 * Forgets what was collected.
 */
static void
forget_found(DgKeyClass *class)
{
	ListCell   *lc;

	foreach(lc, class->made)
	{
		DgKeyColumn *column = lfirst(lc);

		if (column->found != NULL)
			tuplestore_end(column->found);
		column->found = NULL;
	}
}

/*
 * Gives new values to those keys which were collected and are taken.
 */
void
dg_rehydrate_keys_renumber(DgKeys *keys)
{
	ListCell   *lc;

	foreach(lc, keys->classes)
	{
		DgKeyClass *class = lfirst(lc);

		if (!class->tenant && !class->given && class->made != NIL)
			renumber_class(keys, class);
		forget_found(class);
	}
}
