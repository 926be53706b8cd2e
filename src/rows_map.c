/*
 * rows_map.c
 *		Maps the columns of a source to those of a live table, by name.
 *
 * The table may have changed since the rows were saved. A column that came
 * later gets the value that it was added with, or its default. One whose type has changed is converted as an
 * assignment would, or through text where there is no such cast. A value of a
 * column that is gone has nowhere to go: that is an error, as restoring without
 * it would lose it, unless it is null.
 *
 * Generated columns are left to the table.
 */
#include "rows.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

typedef enum ColumnRule
{
	COLUMN_NULL,				/* dropped, generated, or without default */
	COLUMN_COPY,
	COLUMN_INPUT,				/* text, through the type's input function */
	COLUMN_CAST,				/* by an expression over the source's value */
	COLUMN_THROUGH_TEXT,		/* output function, then input function */
	COLUMN_CONSTANT,
	COLUMN_DEFAULT				/* by an expression over nothing */
} ColumnRule;

typedef struct ColumnMap
{
	ColumnRule	rule;
	int			source;			/* index of the source's column */
	ExprState  *expr;
	FmgrInfo	input;
	FmgrInfo	output;
	Oid			typioparam;
	int32		typmod;
	Datum		constant;
} ColumnMap;

struct DgRowsMap
{
	char	   *relation;
	int			natts;
	ColumnMap  *columns;		/* one for each column of the table */
	int			nlost;			/* source columns that have no place any more */
	int		   *lost;
	const char **lost_names;
};

static int
find_source(const DgSourceColumn *columns, int ncolumns, const char *name)
{
	for (int i = 0; i < ncolumns; i++)
	{
		if (strcmp(columns[i].name, name) == 0)
			return i;
	}
	return -1;
}

static void
map_input(ColumnMap *map, Form_pg_attribute att)
{
	Oid			function;

	getTypeInputInfo(att->atttypid, &function, &map->typioparam);
	fmgr_info(function, &map->input);
	map->typmod = att->atttypmod;
}

/*
 * An expression that turns a value of the source's type into one of the
 * column's, NULL if there is no assignment cast.
 */
static ExprState *
cast_expression(const DgSourceColumn *source, Form_pg_attribute att)
{
	CaseTestExpr *value = makeNode(CaseTestExpr);
	Node	   *expr;

	value->typeId = source->type;
	value->typeMod = source->typmod;
	value->collation = get_typcollation(source->type);
	expr = coerce_to_target_type(NULL, (Node *) value, source->type,
								 att->atttypid, att->atttypmod,
								 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (expr == NULL)
		return NULL;
	return ExecInitExpr(expression_planner((Expr *) expr), NULL);
}

static void
map_source(ColumnMap *map, Form_pg_attribute att, const DgSourceColumn *source)
{
	if (!OidIsValid(source->type))
	{
		map->rule = COLUMN_INPUT;
		map_input(map, att);
	}
	else if (source->type == att->atttypid &&
			 (source->typmod == att->atttypmod || att->atttypmod == -1))
		map->rule = COLUMN_COPY;
	else if ((map->expr = cast_expression(source, att)) != NULL)
		map->rule = COLUMN_CAST;
	else
	{
		Oid			function;
		bool		varlena;

		map->rule = COLUMN_THROUGH_TEXT;
		map_input(map, att);
		getTypeOutputInfo(source->type, &function, &varlena);
		fmgr_info(function, &map->output);
	}
}

/*
 * A column that came after the rows were saved. Where it was added with a value
 * for the rows that were there, they get that; else its default.
 */
static void
map_missing(ColumnMap *map, Relation rel, Form_pg_attribute att)
{
	Node	   *expr;
	bool		isnull = true;
	Datum		value = getmissingattr(RelationGetDescr(rel), att->attnum, &isnull);

	if (!isnull)
	{
		map->rule = COLUMN_CONSTANT;
		map->constant = datumCopy(value, att->attbyval, att->attlen);
		return;
	}
	expr = build_column_default(rel, att->attnum);
	map->rule = COLUMN_NULL;
	if (expr != NULL)
	{
		map->rule = COLUMN_DEFAULT;
		map->expr = ExecInitExpr(expression_planner((Expr *) expr), NULL);
	}
}

/*
 * Makes the map, in the current memory context.
 */
DgRowsMap *
dg_rows_map_make(Relation rel, const DgSourceColumn *columns, int ncolumns)
{
	TupleDesc	desc = RelationGetDescr(rel);
	DgRowsMap  *map = palloc0(sizeof(DgRowsMap));

	map->relation = pstrdup(RelationGetRelationName(rel));
	map->natts = desc->natts;
	map->columns = palloc0(sizeof(ColumnMap) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attgenerated != '\0')
			continue;
		map->columns[i].source = find_source(columns, ncolumns, NameStr(att->attname));
		if (map->columns[i].source >= 0)
			map_source(&map->columns[i], att, &columns[map->columns[i].source]);
		else
			map_missing(&map->columns[i], rel, att);
	}

	map->lost = palloc(sizeof(int) * (ncolumns + 1));
	map->lost_names = palloc(sizeof(char *) * (ncolumns + 1));
	for (int i = 0; i < ncolumns; i++)
	{
		if (get_attnum(RelationGetRelid(rel), columns[i].name) != InvalidAttrNumber)
			continue;
		map->lost_names[map->nlost] = pstrdup(columns[i].name);
		map->lost[map->nlost++] = i;
	}
	return map;
}

static Datum
apply_column(ColumnMap *map, ExprContext *econtext, Datum value, bool *isnull)
{
	switch (map->rule)
	{
		case COLUMN_COPY:
			return value;
		case COLUMN_INPUT:
			return InputFunctionCall(&map->input, *isnull ? NULL : DatumGetCString(value),
									 map->typioparam, map->typmod);
		case COLUMN_THROUGH_TEXT:
			return InputFunctionCall(&map->input, *isnull ? NULL : OutputFunctionCall(&map->output, value),
									 map->typioparam, map->typmod);
		case COLUMN_CAST:
			econtext->caseValue_datum = value;
			econtext->caseValue_isNull = *isnull;
			return ExecEvalExpr(map->expr, econtext, isnull);
		case COLUMN_CONSTANT:
			*isnull = false;
			return map->constant;
		case COLUMN_DEFAULT:
			return ExecEvalExpr(map->expr, econtext, isnull);
		case COLUMN_NULL:
			break;
	}
	*isnull = true;
	return (Datum) 0;
}

/*
 * Fills a virtual slot of the table from the source's values, in the order of
 * its columns; a text source's values are C strings. What is new is palloc'd
 * in econtext's per-tuple memory.
 */
void
dg_rows_map_apply(DgRowsMap *map, ExprContext *econtext,
				  Datum *values, bool *nulls, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);

	for (int i = 0; i < map->nlost; i++)
	{
		if (!nulls[map->lost[i]])
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_RESTORE),
					 errmsg("cannot restore rows of \"%s\": column \"%s\" does not exist any more",
							map->relation, map->lost_names[i]),
					 errdetail("The saved rows have values in it, which would be lost."),
					 errhint("Add the column again, restore, and move its values to where they belong now.")));
	}

	ExecClearTuple(slot);
	for (int i = 0; i < map->natts; i++)
	{
		ColumnMap  *column = &map->columns[i];
		bool		from_source = column->rule != COLUMN_NULL && column->rule != COLUMN_CONSTANT &&
			column->rule != COLUMN_DEFAULT;

		slot->tts_isnull[i] = from_source ? nulls[column->source] : true;
		slot->tts_values[i] = apply_column(column, econtext,
										   from_source ? values[column->source] : (Datum) 0,
										   &slot->tts_isnull[i]);
	}
	ExecStoreVirtualTuple(slot);
	MemoryContextSwitchTo(old);
}
