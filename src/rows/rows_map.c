/*
 * rows_map.c
 *		Maps the columns of a source to those of a live table, by name.
 *
 * The table may have changed since the rows were saved. A column that was
 * added later gets the value that it was added with, or its default. A value
 * whose column has another type now is converted (rows_convert.c). A value whose
 * column is gone has nowhere to go, unless it is null: that is an error.
 *
 * Generated columns are left to the table. Where it makes another value than
 * was saved, as its expression is a new one or the column was a plain one
 * before, a warning says so.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "rows/rows_internal.h"

typedef enum ColumnRule
{
	COLUMN_NULL,				/* dropped, generated, or without default */
	COLUMN_COPY,
	COLUMN_CONVERT,
	COLUMN_CONSTANT,
	COLUMN_DEFAULT				/* by an expression over nothing */
} ColumnRule;

typedef struct ColumnMap
{
	ColumnRule	rule;
	int			source;			/* index of the source's column */
	DgRowsConversion *conversion;
	Datum		constant;
	ExprState  *expr;			/* the default */
} ColumnMap;

/* A generated column that the source has a value of. */
typedef struct GeneratedColumn
{
	const char *name;
	int			source;
} GeneratedColumn;

struct DgRowsMap
{
	char	   *relation;
	int			natts;
	ColumnMap  *columns;		/* one for each column of the table */
	int			nlost;			/* source columns that have no place any more */
	int		   *lost;
	const char **lost_names;

	int			nrequired;		/* columns that must not be null, and that the
								 * source lacks */
	const char **required;

	int			ngenerated;		/* 0 as well once there was a warning */
	GeneratedColumn *generated;

	/* the row at hand, for error messages */
	const char **names;			/* of the table's columns */
	bool		visible;		/* the caller may read the table */
	int			nkeys;			/* columns of the primary key, if it is
								 * visible */
	int			keys[INDEX_MAX_KEYS];	/* as the source's columns */
	DgSourceColumn key_columns[INDEX_MAX_KEYS];
	Datum	   *values;
	bool	   *nulls;
	int			column;			/* index of the table's column, -1: none */
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
map_source_column(ColumnMap *map, Form_pg_attribute att, const DgSourceColumn *source)
{
	map->conversion = dg_rows_conversion_make(att, source);
	map->rule = map->conversion == NULL ? COLUMN_COPY : COLUMN_CONVERT;
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
 * May the caller read the table, whole and all its rows? Saved values that he may
 * not read are not told.
 */
bool
dg_rows_may_read(Oid relid)
{
	return pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED;
}

/*
 * Prepares for saying which row failed.
 */
static void
map_names(DgRowsMap *map, Relation rel, const DgSourceColumn *columns, int ncolumns)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);

	map->visible = dg_rows_may_read(RelationGetRelid(rel));
	map->column = -1;
	map->names = palloc(sizeof(char *) * (desc->natts + 1));
	for (int i = 0; i < desc->natts; i++)
	{
		int			source = find_source(columns, ncolumns, NameStr(TupleDescAttr(desc, i)->attname));

		map->names[i] = pstrdup(NameStr(TupleDescAttr(desc, i)->attname));
		if (map->visible && source >= 0 && map->nkeys < INDEX_MAX_KEYS &&
			bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, key))
		{
			map->key_columns[map->nkeys] = columns[source];
			map->key_columns[map->nkeys].name = map->names[i];
			map->keys[map->nkeys++] = source;
		}
	}
}

/*
 * Takes note of a generated column, if the source has values to compare with.
 */
static void
note_generated(DgRowsMap *map, Form_pg_attribute att, const DgSourceColumn *columns, int ncolumns)
{
	int			source = find_source(columns, ncolumns, NameStr(att->attname));

	if (att->attgenerated != ATTRIBUTE_GENERATED_STORED || source < 0 || columns[source].type != att->atttypid)
		return;
	map->generated[map->ngenerated].name = pstrdup(NameStr(att->attname));
	map->generated[map->ngenerated++].source = source;
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
	map->generated = palloc(sizeof(GeneratedColumn) * (desc->natts + 1));
	map->required = palloc(sizeof(char *) * (desc->natts + 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (att->attgenerated != '\0')
		{
			note_generated(map, att, columns, ncolumns);
			continue;
		}
		map->columns[i].source = find_source(columns, ncolumns, NameStr(att->attname));
		if (map->columns[i].source >= 0)
			map_source_column(&map->columns[i], att, &columns[map->columns[i].source]);
		else
			map_missing(&map->columns[i], rel, att);
		if (map->columns[i].rule == COLUMN_NULL && att->attnotnull)
			map->required[map->nrequired++] = pstrdup(NameStr(att->attname));
	}

	map_names(map, rel, columns, ncolumns);
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

static char *
source_value_text(Oid type, Datum value)
{
	return OidIsValid(type) ? dg_value_text(type, value) : DatumGetCString(value);
}

static Datum
apply_column(DgRowsMap *map, ColumnMap *column, ExprContext *econtext, Datum value, bool *isnull)
{
	switch (column->rule)
	{
		case COLUMN_COPY:
			return value;
		case COLUMN_CONVERT:
			return dg_rows_conversion_apply(column->conversion, econtext, value, isnull, map->visible);
		case COLUMN_CONSTANT:
			*isnull = false;
			return column->constant;
		case COLUMN_DEFAULT:
			return ExecEvalExpr(column->expr, econtext, isnull);
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

	map->values = values;
	map->nulls = nulls;
	map->column = -1;
	for (int i = 0; i < map->nlost; i++)
	{
		if (!nulls[map->lost[i]])
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_RESTORE),
					 errmsg("cannot restore rows of \"%s\": column \"%s\" does not exist any more",
							map->relation, map->lost_names[i]),
					 errdetail("The saved rows have values in it, which would be lost."),
					 errhint("Add the column again, restore, and move its values to where they belong now. For rehydrate(), mapping can also name the column that it is now, or leave it out.")));
	}

	ExecClearTuple(slot);
	for (int i = 0; i < map->natts; i++)
	{
		ColumnMap  *column = &map->columns[i];
		bool		from_source = column->rule == COLUMN_COPY || column->rule == COLUMN_CONVERT;

		map->column = i;
		slot->tts_isnull[i] = from_source ? nulls[column->source] : true;
		slot->tts_values[i] = apply_column(map, column, econtext,
										   from_source ? values[column->source] : (Datum) 0,
										   &slot->tts_isnull[i]);
	}
	map->column = -1;
	ExecStoreVirtualTuple(slot);
	MemoryContextSwitchTo(old);
}

/*
 * Refuses a row without a value in a column that came after it was saved, and
 * that must have one. The slot is of the table or a partition of it.
 */
void
dg_rows_map_check_required(DgRowsMap *map, Relation rel, TupleTableSlot *slot)
{
	for (int i = 0; i < map->nrequired; i++)
	{
		if (!slot_attisnull(slot, get_attnum(RelationGetRelid(rel), map->required[i])))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("cannot restore rows of \"%s\": column \"%s\" must not be null",
						map->relation, map->required[i]),
				 errdetail("The saved rows do not have that column, and it has no default."),
				 errhint("Give it one with ALTER TABLE ... ALTER COLUMN ... SET DEFAULT, restore, and drop the default.")));
	}
}

/*
 * Compares what the table has generated for the row that was mapped last with
 * what was saved. The slot is of the table or a partition of it.
 */
void
dg_rows_map_check_generated(DgRowsMap *map, Relation rel, TupleTableSlot *slot)
{
	for (int i = 0; i < map->ngenerated; i++)
	{
		GeneratedColumn *column = &map->generated[i];
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), column->name);
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
		bool		isnull;
		Datum		value = slot_getattr(slot, attnum, &isnull);
		bool		was_null = map->nulls[column->source];
		Datum		was = map->values[column->source];

		if (isnull == was_null && (isnull || datum_image_eq(value, was, att->attbyval, att->attlen)))
			continue;
		map->ngenerated = 0;
		ereport(WARNING,
				(errmsg("generated column \"%s\" of \"%s\" is not what was saved", column->name, map->relation),
				 !map->visible ? 0 :
				 errdetail("It was %s; the table makes it %s, and perhaps others in rows that follow.",
						   was_null ? "null" : dg_value_text(att->atttypid, was),
						   isnull ? "null" : dg_value_text(att->atttypid, value))));
	}
}

/*
 * Takes values out of the error that is being raised, if the caller may not
 * read the table. The server shows rows and values to the user who writes them,
 * and knows them; saved rows the caller does not know. For error contexts.
 */
void
dg_rows_map_hide_values(const DgRowsMap *map)
{
	int			category = ERRCODE_TO_CATEGORY(geterrcode());

	if (map->visible || (category != ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) &&
						 category != ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)))
		return;
	if (category == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION))
		errmsg("a saved value is not valid in its column any more");
	errdetail("Values are not shown, as you may not read all of \"%s\".", map->relation);
}

/*
 * For an error context: "restoring row (id)=(5) of table "issue", column "x"",
 * of the row that dg_rows_map_apply() was given last.
 */
void
dg_rows_map_context(void *arg)
{
	DgRowsMap  *map = arg;
	StringInfoData names;
	StringInfoData values;

	dg_rows_map_hide_values(map);
	if (map->column >= 0 && ERRCODE_TO_CATEGORY(geterrcode()) == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION))
		errhint(DG_HINT_TYPE);
	if (map->values == NULL)
		return;
	initStringInfo(&names);
	initStringInfo(&values);
	for (int i = 0; i < map->nkeys; i++)
	{
		const DgSourceColumn *key = &map->key_columns[i];

		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", key->name);
		appendStringInfo(&values, "%s%s", i > 0 ? ", " : "",
						 map->nulls[map->keys[i]] ? "null" : source_value_text(key->type, map->values[map->keys[i]]));
	}
	if (map->nkeys == 0)
		errcontext("restoring a row of table \"%s\"%s%s%s", map->relation,
				   map->column < 0 ? "" : ", column \"", map->column < 0 ? "" : map->names[map->column],
				   map->column < 0 ? "" : "\"");
	else
		errcontext("restoring row (%s)=(%s) of table \"%s\"%s%s%s", names.data, values.data, map->relation,
				   map->column < 0 ? "" : ", column \"", map->column < 0 ? "" : map->names[map->column],
				   map->column < 0 ? "" : "\"");
}
