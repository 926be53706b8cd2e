/*
 * extract_mapping.c
 *		What a caller says about tables and columns that have other names now:
 *
 *	{"public.ticket": "public.issue",
 *	 "public.schema_migrations": null,
 *	 "public.note": {"relation": "public.comment",
 *					 "columns": {"text": "body", "draft": null,
 *								 "author": {"column": "creator", "value": "3"}}}}
 *
 * Tables are named as archive_contents() names them, and the root of partitions
 * by its name. A table, or a column, that is mapped to null is left out; a column
 * with a value gets that in every row. Either still tells whose a row is. What
 * names nothing in the archive is an error, as it is a misspelling.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "extract/extract_internal.h"

static void
refuse_mapping(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid mapping: %s", what),
			 errhint("It looks like {\"schema.old\": \"schema.new\"} or {\"schema.old\": {\"relation\": \"schema.new\", \"columns\": {\"old\": \"new\", \"gone\": null, \"owner\": {\"value\": \"3\"}}}}.")));
}

static char *
string_of(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static Oid
relation_of(const JsonbValue *value)
{
	return DatumGetObjectId(DirectFunctionCall1(regclassin, CStringGetDatum(string_of(value))));
}

/*
 * {"column": "new", "value": "text"}; the column is that of the same name if it
 * is not given.
 */
static void
parse_constant(DgColumnMapping *column, JsonbContainer *container)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *key = NULL;

	column->to = column->from;
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = string_of(&value);
		else if (token != WJB_VALUE)
			continue;
		else if (strcmp(key, "column") == 0 && value.type == jbvString)
			column->to = string_of(&value);
		else if (strcmp(key, "value") == 0 && value.type != jbvBinary)
		{
			column->constant = true;
			if (value.type != jbvNull)
				column->value = value.type == jbvString ? string_of(&value) :
					value.type == jbvBool ? pstrdup(value.val.boolean ? "t" : "f") :
					DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
		}
		else
			refuse_mapping("a column has \"column\", the name of a column, and \"value\", a text, a number, a boolean or null");
	}
	if (!column->constant)
		refuse_mapping("a column that is mapped to an object has a \"value\"");
}

static List *
parse_columns(JsonbContainer *container)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;
	List	   *columns = NIL;
	DgColumnMapping *column = NULL;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			column = palloc0(sizeof(DgColumnMapping));
			column->from = string_of(&value);
			columns = lappend(columns, column);
		}
		else if (token == WJB_VALUE)
		{
			bool		object = value.type == jbvBinary && JsonContainerIsObject(value.val.binary.data);

			if (value.type != jbvString && value.type != jbvNull && !object)
				refuse_mapping("a column is mapped to the name of a column, to an object with a value, or to null");
			if (object)
				parse_constant(column, value.val.binary.data);
			if (value.type == jbvString)
				column->to = string_of(&value);
		}
	}
	return columns;
}

static void
parse_table(DgTableMapping *table, const JsonbValue *value)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	item;
	char	   *key = NULL;

	table->left_out = (value->type == jbvNull);
	if (table->left_out)
		return;
	if (value->type == jbvString)
	{
		table->relation = relation_of(value);
		return;
	}
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		refuse_mapping("a table is mapped to the name of a table, to an object, or to null");
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = string_of(&item);
		else if (token != WJB_VALUE)
			continue;
		else if (strcmp(key, "relation") == 0 && item.type == jbvString)
			table->relation = relation_of(&item);
		else if (strcmp(key, "columns") == 0 && item.type == jbvBinary &&
				 JsonContainerIsObject(item.val.binary.data))
			table->columns = parse_columns(item.val.binary.data);
		else
			refuse_mapping("a table has \"relation\", the name of a table, and \"columns\", an object");
	}
}

/*
 * Reads a mapping: a list of DgTableMapping.
 */
List *
dg_extract_mapping_parse(Jsonb *mapping)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	List	   *tables = NIL;
	DgTableMapping *table = NULL;

	if (!JB_ROOT_IS_OBJECT(mapping))
		refuse_mapping("it is not an object");
	it = JsonbIteratorInit(&mapping->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			table = palloc0(sizeof(DgTableMapping));
			table->name = string_of(&value);
			tables = lappend(tables, table);
		}
		else if (token == WJB_VALUE)
			parse_table(table, &value);
	}
	return tables;
}

/*
 * What the mapping says about a table of the archive, or NULL.
 */
DgTableMapping *
dg_extract_mapping_find(List *mapping, const char *name)
{
	ListCell   *lc;

	foreach(lc, mapping)
	{
		DgTableMapping *table = lfirst(lc);

		if (strcmp(table->name, name) == 0)
		{
			table->used = true;
			return table;
		}
	}
	return NULL;
}

/*
 * What the first of some mappings of a table that mentions a column says about
 * it, or NULL.
 */
DgColumnMapping *
dg_extract_mapping_column(List *tables, const char *name)
{
	DgColumnMapping *found = NULL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, tables)
	{
		foreach(lc2, ((DgTableMapping *) lfirst(lc))->columns)
		{
			DgColumnMapping *column = lfirst(lc2);

			if (strcmp(column->from, name) != 0)
				continue;
			column->used = true;
			if (found == NULL)
				found = column;
		}
	}
	return found;
}

pg_noreturn static void
refuse_unused(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid mapping: %s", what),
			 errhint("deletion_guard.archive_contents() has the names, in relation and columns. A partitioned table can be named as well if the archive has its definition; else name each of its partitions.")));
}

/*
 * Complains about what was not asked for.
 */
void
dg_extract_mapping_check_used(List *mapping)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, mapping)
	{
		DgTableMapping *table = lfirst(lc);

		if (!table->used)
			refuse_unused(psprintf("the archive has no table %s", table->name));
		foreach(lc2, table->columns)
		{
			DgColumnMapping *column = lfirst(lc2);

			if (!column->used)
				refuse_unused(psprintf("the archive's table %s has no column \"%s\"", table->name, column->from));
		}
	}
}
