/*
 * rows_chosen.c
 *		Rows that a caller has chosen by values of their columns:
 *
 *	{"public.issue": [{"id": 7}, {"id": 9}], "public.note": [{"issue_id": 7}]}
 *
 * An object stands for every row that has all of its values; null stands for null.
 * Values are compared as texts: strings with what the column's type writes, dates and
 * times as JSON has them, numbers without zeros at their end. So no code of the
 * column's type is given what the caller has written. What is chosen and not found is
 * for the caller to refuse: it is a misspelling, or a row that is elsewhere.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "guard/guard.h"
#include "rows/rows_internal.h"

/* of those that were not found, as many are named */
#define NAMED_ROWS 5

typedef struct ChosenRow
{
	const char *key;			/* hash key: values, by column */
	const char *json;
	bool		found;
	uint32		hash;
	char		status;
} ChosenRow;

#define SH_PREFIX chosen
#define SH_ELEMENT_TYPE ChosenRow
#define SH_KEY_TYPE const char *
#define SH_KEY key
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) a->hash
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) key, strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Rows that are told by the same columns. */
typedef struct ChosenShape
{
	List	   *columns;		/* names, as jsonb sorts them */
	AttrNumber *attnums;		/* in the rows that are read now; 0: not there */
	chosen_hash *rows;
} ChosenShape;

struct DgChosenTable
{
	char	   *name;
	Oid			relid;			/* invalid: dropped */
	TupleDesc	desc;			/* of the rows that are read now */
	List	   *shapes;
	MemoryContext context;
};

static void
refuse_chosen(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid choice of rows: %s", what),
			 errhint("It looks like {\"public.issue\": [{\"id\": 7}, {\"id\": 9}]}: tables, and values of columns of the rows.")));
}

/* ----------------------------------------------------------------------
 * Texts to compare
 * ----------------------------------------------------------------------
 */

static char *
numeric_text(Datum number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, DirectFunctionCall1(numeric_trim_scale, number)));
}

static char *
json_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvBool:
			return value->val.boolean ? "t" : "f";
		case jbvNumeric:
			return numeric_text(NumericGetDatum(value->val.numeric));
		default:
			refuse_chosen("a column has a text, a number, a boolean or null");
			return NULL;
	}
}

/*
 * A value as it is compared, palloc'd.
 */
char *
dg_rows_chosen_text(Datum value, Oid type)
{
	char		buf[MAXDATELEN + 1];

	type = getBaseType(type);
	switch (type)
	{
		case NUMERICOID:
			return numeric_text(value);
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return pstrdup(JsonEncodeDateTime(buf, value, type, NULL));
		default:
			return dg_value_text(type, value);
	}
}

static void
append_chosen_text(StringInfo key, const char *text)
{
	if (text == NULL)
		appendStringInfoChar(key, '-');
	else
		appendStringInfo(key, "%zu:%s", strlen(text), text);
}

/* ----------------------------------------------------------------------
 * What the caller has written
 * ----------------------------------------------------------------------
 */

static ChosenShape *
shape_for_columns(DgChosenTable *table, List *columns)
{
	ChosenShape *shape;
	ListCell   *lc;

	foreach(lc, table->shapes)
	{
		shape = lfirst(lc);
		if (equal(shape->columns, columns))
			return shape;
	}
	shape = palloc0(sizeof(ChosenShape));
	shape->columns = columns;
	shape->attnums = palloc0(sizeof(AttrNumber) * list_length(columns));
	shape->rows = chosen_create(CurrentMemoryContext, 16, NULL);
	table->shapes = lappend(table->shapes, shape);
	return shape;
}

static void
parse_row(DgChosenTable *table, JsonbContainer *container)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;
	List	   *columns = NIL;
	StringInfoData key;
	ChosenRow  *row;
	bool		found;

	initStringInfo(&key);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			columns = lappend(columns, makeString(json_text(&value)));
		else if (token == WJB_VALUE)
			append_chosen_text(&key, json_text(&value));
	}
	if (columns == NIL)
		refuse_chosen("a row has a column at least");
	row = chosen_insert(shape_for_columns(table, columns)->rows, key.data, &found);
	row->json = JsonbToCString(NULL, container, VARSIZE_ANY_EXHDR(container));
	row->found = false;
}

static void
parse_rows(DgChosenTable *table, const JsonbValue *rows)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	row;

	if (rows->type != jbvBinary || !JsonContainerIsArray(rows->val.binary.data) || JsonContainerIsScalar(rows->val.binary.data))
		refuse_chosen("a table has a list of rows");
	it = JsonbIteratorInit(rows->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &row, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (row.type != jbvBinary || !JsonContainerIsObject(row.val.binary.data))
			refuse_chosen("a row is an object of columns and values");
		parse_row(table, row.val.binary.data);
	}
	if (table->shapes == NIL)
		refuse_chosen("a table has a row at least");
}

/*
 * Reads a choice of rows: a list of DgChosenTable, in the current context.
 */
List *
dg_rows_chosen_parse(Jsonb *rows)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	List	   *tables = NIL;
	DgChosenTable *table = NULL;

	if (!JB_ROOT_IS_OBJECT(rows) || JB_ROOT_COUNT(rows) == 0)
		refuse_chosen("it is an object of tables");
	it = JsonbIteratorInit(&rows->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			LOCAL_FCINFO(fcinfo, 1);
			Datum		relid;

			table = palloc0(sizeof(DgChosenTable));
			table->name = json_text(&value);
			InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
			fcinfo->args[0].value = CStringGetTextDatum(table->name);
			relid = to_regclass(fcinfo);
			table->relid = fcinfo->isnull ? InvalidOid : DatumGetObjectId(relid);
			if (OidIsValid(table->relid) && dg_rows_chosen_of(tables, table->relid, table->name) != NULL)
				refuse_chosen(psprintf("table %s is there twice", dg_relation_name(table->relid)));
			tables = lappend(tables, table);
		}
		else if (token == WJB_VALUE)
			parse_rows(table, &value);
	}
	return tables;
}

/*
 * The choice with the tables' whole names, which do not depend on search_path; what
 * dg_rows_chosen_parse() has made of it is given with it. palloc'd.
 */
char *
dg_rows_chosen_named(Jsonb *rows, List *tables)
{
	JsonbIterator *it = JsonbIteratorInit(&rows->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	StringInfoData buf;
	int			n = 0;

	initStringInfo(&buf);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			DgChosenTable *table = list_nth(tables, n);
			char	   *name = OidIsValid(table->relid) ? dg_relation_name(table->relid) : table->name;

			appendStringInfo(&buf, "%s%s: ", n++ > 0 ? ", " : "{", dg_json_string(name));
		}
		else if (token == WJB_VALUE)
			(void) JsonbToCString(&buf, value.val.binary.data, value.val.binary.len);
	}
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

/*
 * The tables that a choice names, InvalidOid for those that do not exist.
 */
List *
dg_rows_chosen_tables(List *tables)
{
	List	   *relids = NIL;
	ListCell   *lc;

	foreach(lc, tables)
		relids = lappend_oid(relids, ((DgChosenTable *) lfirst(lc))->relid);
	return relids;
}

/* ----------------------------------------------------------------------
 * Rows that are read
 * ----------------------------------------------------------------------
 */

/*
 * What is chosen of a table, NULL if nothing is. One that was dropped has its name
 * alone.
 */
DgChosenTable *
dg_rows_chosen_of(List *tables, Oid relid, const char *name)
{
	ListCell   *lc;

	foreach(lc, tables)
	{
		DgChosenTable *table = lfirst(lc);

		if (OidIsValid(table->relid) ? table->relid == relid : strcmp(table->name, name) == 0)
			return table;
	}
	return NULL;
}

/*
 * Rows of this shape follow.
 */
void
dg_rows_chosen_begin(DgChosenTable *table, TupleDesc desc)
{
	ListCell   *lc;
	ListCell   *name;

	table->desc = desc;
	if (table->context == NULL)
		table->context = AllocSetContextCreate(GetMemoryChunkContext(table), "deletion_guard chosen row", ALLOCSET_DEFAULT_SIZES);
	foreach(lc, table->shapes)
	{
		ChosenShape *shape = lfirst(lc);

		foreach(name, shape->columns)
		{
			AttrNumber *attnum = &shape->attnums[foreach_current_index(name)];

			*attnum = 0;
			for (int i = 0; i < desc->natts; i++)
			{
				if (!TupleDescAttr(desc, i)->attisdropped && strcmp(NameStr(TupleDescAttr(desc, i)->attname), strVal(lfirst(name))) == 0)
					*attnum = i + 1;
			}
		}
	}
}

static bool
shape_has(ChosenShape *shape, TupleDesc desc, const Datum *values, const bool *nulls)
{
	StringInfoData key;
	ChosenRow  *row;

	initStringInfo(&key);
	for (int i = 0; i < list_length(shape->columns); i++)
	{
		int			column = shape->attnums[i] - 1;

		if (column < 0)
			return false;
		append_chosen_text(&key, nulls[column] ? NULL : dg_rows_chosen_text(values[column], TupleDescAttr(desc, column)->atttypid));
	}
	row = chosen_lookup(shape->rows, key.data);
	if (row != NULL)
		row->found = true;
	return row != NULL;
}

/*
 * Is a row one of those that are chosen?
 */
bool
dg_rows_chosen_has(DgChosenTable *table, const Datum *values, const bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(table->context);
	bool		chosen = false;
	ListCell   *lc;

	/* all of them are asked: each wants to know whether it was found */
	foreach(lc, table->shapes)
		chosen |= shape_has(lfirst(lc), table->desc, values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(table->context);
	return chosen;
}

/*
 * How many of the chosen were not found; the first of them are named in text.
 */
int64
dg_rows_chosen_missing(List *tables, char **text)
{
	StringInfoData buf;
	int64		n = 0;
	ListCell   *lc;
	ListCell   *shape;

	initStringInfo(&buf);
	foreach(lc, tables)
	{
		DgChosenTable *table = lfirst(lc);

		foreach(shape, table->shapes)
		{
			chosen_iterator it;
			ChosenRow  *row;

			chosen_start_iterate(((ChosenShape *) lfirst(shape))->rows, &it);
			while ((row = chosen_iterate(((ChosenShape *) lfirst(shape))->rows, &it)) != NULL)
			{
				if (!row->found && n++ < NAMED_ROWS)
					appendStringInfo(&buf, "%s%s %s", n > 1 ? ", " : "", table->name, row->json);
			}
		}
	}
	*text = buf.data;
	return n;
}

/*
 * Nothing has been found yet.
 */
void
dg_rows_chosen_reset(List *tables)
{
	ListCell   *lc;
	ListCell   *shape;

	foreach(lc, tables)
	{
		foreach(shape, ((DgChosenTable *) lfirst(lc))->shapes)
		{
			chosen_iterator it;
			ChosenRow  *row;

			chosen_start_iterate(((ChosenShape *) lfirst(shape))->rows, &it);
			while ((row = chosen_iterate(((ChosenShape *) lfirst(shape))->rows, &it)) != NULL)
				row->found = false;
		}
	}
}
