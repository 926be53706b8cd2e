/*
 * server_condition.c
 *		Conditions in the other side's SQL, for its indexes.
 *
 * Whose a row is, is decided here, when it has come (extract_read.c). A condition
 * only keeps rows from coming that would be turned down; it must not keep others.
 * So it is asked there only where that side compares the columns as this one does:
 * they are of the same type on both sides, and equality that is not byte by byte
 * (collations) has the same name. Otherwise all rows come.
 *
 * Nor is it asked where planning the query would run code that an owner has planted,
 * in an index, with the rights of a superuser: those of the user mapping's role there.
 *
 * Operators are named with their schemas. Values stand in the text, as literals:
 * COPY takes no parameters.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "server/server_internal.h"

/*
 * A name in quotes, whatever words are reserved there.
 */
char *
dg_server_quote(const char *name)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '"');
	for (; *name != '\0'; name++)
	{
		if (*name == '"')
			appendStringInfoChar(&buf, '"');
		appendStringInfoChar(&buf, *name);
	}
	appendStringInfoChar(&buf, '"');
	return buf.data;
}

/* ----------------------------------------------------------------------
 * Types on both sides
 * ----------------------------------------------------------------------
 */

/*
 * Types that compare with each other count as the widest of them.
 */
static const char *
comparable_type(const char *schema, const char *type)
{
	if (strcmp(schema, "pg_catalog") == 0 && (strcmp(type, "int2") == 0 || strcmp(type, "int4") == 0))
		return "int8";
	if (strcmp(schema, "pg_catalog") == 0 && strcmp(type, "varchar") == 0)
		return "text";
	return type;
}

static bool
is_same_type(const char *schema, const char *type, const char *other_schema, const char *other_type)
{
	return strcmp(schema, other_schema) == 0 &&
		strcmp(comparable_type(schema, type), comparable_type(other_schema, other_type)) == 0;
}

/*
 * "schema.name" of a collation that is not deterministic, else "".
 */
static const char *
live_collation(Oid collation)
{
	HeapTuple	tuple = OidIsValid(collation) ? SearchSysCache1(COLLOID, ObjectIdGetDatum(collation)) : NULL;
	Form_pg_collation form;
	const char *name = "";

	if (!HeapTupleIsValid(tuple))
		return name;
	form = (Form_pg_collation) GETSTRUCT(tuple);
	if (!form->collisdeterministic)
		name = psprintf("%s.%s", get_namespace_name(form->collnamespace), NameStr(form->collname));
	ReleaseSysCache(tuple);
	return name;
}

/*
 * Does the other side compare a column's values as the live column does?
 */
static bool
compares_alike(const DgServerColumn *column, Oid type, Oid collation)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(getBaseType(type)));
	Form_pg_type form;
	bool		alike;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_type) GETSTRUCT(tuple);
	alike = is_same_type(column->schema, column->type, get_namespace_name(form->typnamespace), NameStr(form->typname)) &&
		strcmp(column->collation, live_collation(collation)) == 0;
	ReleaseSysCache(tuple);
	return alike && column->equality != NULL;
}

/*
 * May other sessions read a value of these types otherwise than this one wrote it?
 */
static bool
has_times(const Oid *types, int n)
{
	for (int i = 0; i < n; i++)
	{
		char		category;
		bool		preferred;

		get_type_category_preferred(getBaseType(types[i]), &category, &preferred);
		if (category == TYPCATEGORY_DATETIME || category == TYPCATEGORY_TIMESPAN)
			return true;
	}
	return false;
}

/*
 * Columns with what they are in SQL; false if one does not compare as here.
 */
static bool
find_columns(const DgServer *server, int table, int n, const int *fields, const Oid *types, const Oid *collations,
			 const DgServerColumn **columns)
{
	for (int i = 0; i < n; i++)
	{
		columns[i] = &server->tables[table].columns[fields[i]];
		if (!compares_alike(columns[i], types[i], collations[i]))
			return false;
	}
	return true;
}

/* ----------------------------------------------------------------------
 * SQL
 * ----------------------------------------------------------------------
 */

static char *
type_in_sql(const DgServerColumn *column)
{
	return psprintf("%s.%s", dg_server_quote(column->schema), dg_server_quote(comparable_type(column->schema, column->type)));
}

/*
 * The values of one column, as an array.
 */
static void
append_any(StringInfo buf, const char *column, const DgServerColumn *type, List *keys)
{
	StringInfoData array;
	ListCell   *lc;

	initStringInfo(&array);
	foreach(lc, keys)
	{
		appendStringInfoString(&array, array.len > 0 ? ",\"" : "\"");
		for (const char *p = ((char **) lfirst(lc))[0]; *p != '\0'; p++)
		{
			if (*p == '"' || *p == '\\')
				appendStringInfoChar(&array, '\\');
			appendStringInfoChar(&array, *p);
		}
		appendStringInfoChar(&array, '"');
	}
	appendStringInfo(buf, "%s %s ANY (%s::%s[])", column, type->equality,
					 quote_literal_cstr(psprintf("{%s}", array.data)), type_in_sql(type));
}

static void
append_keys(StringInfo buf, const DgServerTable *table, const char *alias, const DgServerCondition *condition,
			const DgServerColumn **columns)
{
	ListCell   *lc;

	if (condition->ncolumns == 1)
	{
		append_any(buf, psprintf("%s.%s", alias, table->names[condition->fields[0]]), columns[0], condition->keys);
		return;
	}
	foreach(lc, condition->keys)
	{
		appendStringInfoString(buf, foreach_current_index(lc) > 0 ? " OR (" : "(");
		for (int i = 0; i < condition->ncolumns; i++)
			appendStringInfo(buf, "%s%s.%s %s %s::%s", i > 0 ? " AND " : "", alias, table->names[condition->fields[i]],
							 columns[i]->equality, quote_literal_cstr(((char **) lfirst(lc))[i]), type_in_sql(columns[i]));
		appendStringInfoChar(buf, ')');
	}
}

/*
 * Is no query to be planned for a table, or for one that is read with it, as they are
 * partitions of the same?
 */
static bool
is_planted(const DgServer *server, const DgServerTable *table)
{
	for (int i = 0; i < server->ntables; i++)
	{
		if (server->tables[i].planted && strcmp(server->tables[i].root, table->root) == 0)
			return true;
	}
	return false;
}

static bool append_condition(StringInfo buf, const DgServer *server, int table, const DgServerCondition *condition, int depth);

/*
 * EXISTS (the row that the columns refer to, if it is wanted).
 */
static bool
append_parent(StringInfo buf, const DgServer *server, int table, const DgServerCondition *condition,
			  const DgServerColumn **columns, const DgServerParent *parent, int depth)
{
	const DgServerTable *child = &server->tables[table];
	const DgServerTable *above = &server->tables[parent->table];
	const DgServerColumn *referred[INDEX_MAX_KEYS];

	if (!find_columns(server, parent->table, condition->ncolumns, parent->fields, parent->types, parent->collations, referred))
		return false;
	appendStringInfo(buf, "EXISTS (SELECT FROM %s t%d WHERE ", above->root, depth + 1);
	for (int i = 0; i < condition->ncolumns; i++)
	{
		if (!is_same_type(columns[i]->schema, columns[i]->type, referred[i]->schema, referred[i]->type))
			return false;
		appendStringInfo(buf, "t%d.%s %s t%d.%s AND ", depth + 1, above->names[parent->fields[i]],
						 referred[i]->equality, depth, child->names[condition->fields[i]]);
	}
	if (!append_condition(buf, server, parent->table, parent->condition, depth + 1))
		return false;
	appendStringInfoChar(buf, ')');
	return true;
}

/*
 * Appends a condition on the table called by its depth; false if it cannot be asked
 * there.
 */
static bool
append_condition(StringInfo buf, const DgServer *server, int table, const DgServerCondition *condition, int depth)
{
	const DgServerColumn *columns[INDEX_MAX_KEYS];
	const char *alias = psprintf("t%d", depth);
	const char *before = "(";
	List	   *roots = NIL;
	ListCell   *lc;

	if (condition == NULL || is_planted(server, &server->tables[table]) ||
		!find_columns(server, table, condition->ncolumns, condition->fields, condition->types, condition->collations, columns) ||
		(condition->keys != NIL && has_times(condition->types, condition->ncolumns)))
		return false;
	for (int i = 0; i < condition->ncolumns && condition->nulls; i++, before = " OR ")
		appendStringInfo(buf, "%s%s.%s IS NULL", before, alias, server->tables[table].names[condition->fields[i]]);
	if (condition->keys != NIL)
	{
		appendStringInfoString(buf, before);
		append_keys(buf, &server->tables[table], alias, condition, columns);
		before = " OR ";
	}
	foreach(lc, condition->parents)
	{
		DgServerParent *parent = lfirst(lc);
		const char *root = server->tables[parent->table].root;

		/* all partitions are in it */
		if (list_member(roots, makeString(pstrdup(root))))
			continue;
		roots = lappend(roots, makeString(pstrdup(root)));
		appendStringInfoString(buf, before);
		if (!append_parent(buf, server, table, condition, columns, parent, depth))
			return false;
		before = " OR ";
	}
	appendStringInfoString(buf, strcmp(before, "(") != 0 ? ")" : condition->every ? "true" : "false");
	return true;
}

/*
 * A condition in SQL, of the table as t0; NULL if it cannot be asked there.
 */
char *
dg_server_condition(const DgServer *server, int table, const DgServerCondition *condition)
{
	StringInfoData buf;

	initStringInfo(&buf);
	return append_condition(&buf, server, table, condition, 0) ? buf.data : NULL;
}
