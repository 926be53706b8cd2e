/*
 * enrol_path.c
 *		The type tenant_path, and what it says: '{fkey, fkey}' names foreign keys, and
 *		JSON declares other steps.
 *
 * Both are kept as JSON: an array of names, and of objects
 *		{"columns": ["issue_id"], "references": "public.issue", "key": ["id"]}
 *		{"type": "container_type", "id": "container_id", "targets": {"Issue": "public.issue", "Note": null}}
 * the last of which goes on as the path of the table that the type stands for.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "common/deletion_guard.h"
#include "enrol/enrol_internal.h"
#include "guard/guard.h"

PG_FUNCTION_INFO_V1(dg_tenant_path_in);

/*
 * tenant_path_in(cstring) -> tenant_path
 */
Datum
dg_tenant_path_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	StringInfoData buf;
	ListCell   *lc;

	if (text[strspn(text, " \t\r\n")] != '{')
		return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '[');
	foreach(lc, dg_array_strings(dg_value_of_text(NAMEARRAYOID, -1, text)))
	{
		appendStringInfoString(&buf, foreach_current_index(lc) > 0 ? ", " : "");
		if (lfirst(lc) == NULL)
			appendStringInfoString(&buf, "null");
		else
			escape_json(&buf, lfirst(lc));
	}
	appendStringInfoChar(&buf, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data));
}

/* ----------------------------------------------------------------------
 * Reading one
 * ----------------------------------------------------------------------
 */

pg_noreturn static void
refuse_path(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid tenant_path: %s", what),
			 errhint("It looks like {comment_issue_fkey}, or [\"comment_issue_fkey\"], or [{\"columns\": [\"issue_id\"], \"references\": \"public.issue\", \"key\": [\"id\"]}], or [{\"type\": \"container_type\", \"id\": \"container_id\", \"targets\": {\"Issue\": \"public.issue\"}}].")));
}

static char *
path_string(const JsonbValue *value, const char *what)
{
	if (value->type != jbvString)
		refuse_path(what);
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/*
 * One name, or an array of names.
 */
static List *
path_names(const JsonbValue *value)
{
	const char *what = "\"columns\", \"key\" and \"id\" are names of columns";
	List	   *names = NIL;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	item;

	if (value->type != jbvBinary)
		return list_make1(path_string(value, what));
	if (!JsonContainerIsArray(value->val.binary.data))
		refuse_path(what);
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
			names = lappend(names, path_string(&item, what));
	}
	return names;
}

static Oid
target_named(const JsonbValue *value)
{
	return DatumGetObjectId(DirectFunctionCall1(regclassin,
												CStringGetDatum(path_string(value, "a target is the name of a table, or null"))));
}

/*
 * The names of a table's primary key.
 */
static List *
primary_key_of(Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	Bitmapset  *attnums = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	List	   *names = NIL;
	int			i = -1;

	while ((i = bms_next_member(attnums, i)) >= 0)
		names = lappend(names, get_attname(relid, i + FirstLowInvalidHeapAttributeNumber, false));
	relation_close(rel, NoLock);
	return names;
}

static char *
canonical_type_value(Oid relid, const char *column, const char *text)
{
	AttrNumber	attnum = get_attnum(relid, column);
	Oid			type;
	Datum		value;

	if (attnum <= 0)
		return pstrdup(text);	/* the step is refused later */
	type = getBaseType(get_atttype(relid, attnum));
	if (!dg_guard_tenant_read_key(relid, type, text, &value))
		refuse_path(psprintf("\"%s\" cannot be a value of column \"%s\", of type %s", text, column, format_type_be(type)));
	return dg_value_text(type, value);
}

/*
 * Steps of one object: one, or one for each type.
 */
static List *
steps_of_object(JsonbContainer *object, Oid from, int number)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	item;
	DgStep		common = {.number = number,.value = ""};
	List	   *steps = NIL;
	JsonbContainer *targets = NULL;
	char	   *name = NULL;

	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(item.val.string.val, item.val.string.len);
		else if (token != WJB_VALUE)
			continue;
		else if (strcmp(name, "type") == 0)
			common.type_column = path_string(&item, "\"type\" is the name of a column");
		else if (strcmp(name, "columns") == 0 || strcmp(name, "id") == 0)
			common.columns = path_names(&item);
		else if (strcmp(name, "key") == 0)
			common.keys = path_names(&item);
		else if (strcmp(name, "references") == 0)
			common.target = target_named(&item);
		else if (strcmp(name, "targets") == 0 && item.type == jbvBinary && JsonContainerIsObject(item.val.binary.data))
			targets = item.val.binary.data;
		else
			refuse_path(psprintf("\"%s\" is not known, or not of that kind", name));
	}
	if (common.columns == NIL || (common.type_column != NULL) != (targets != NULL) || (targets != NULL) == OidIsValid(common.target))
		refuse_path("a step has either \"columns\" and \"references\", or \"type\", \"id\" and \"targets\"");
	if (targets == NULL)
	{
		steps = list_make1(palloc(sizeof(DgStep)));
		*(DgStep *) linitial(steps) = common;
		return steps;
	}
	it = JsonbIteratorInit(targets);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			DgStep	   *step = palloc(sizeof(DgStep));

			*step = common;
			step->value = canonical_type_value(from, common.type_column, pnstrdup(item.val.string.val, item.val.string.len));
			steps = lappend(steps, step);
		}
		else if (token == WJB_VALUE && item.type != jbvNull)
			((DgStep *) llast(steps))->target = target_named(&item);
	}
	if (steps == NIL)
		refuse_path("\"targets\" names no type");
	return steps;
}

/*
 * The table that the foreign key of a name leads to; a step that leads over none.
 */
static void
complete_step(Oid at, DgStep *step)
{
	if (step->foreign_key != NULL)
	{
		const char *column;

		(void) dg_guard_path_keys(at, list_make1(step->foreign_key), &step->target, &column);
		return;
	}
	if (OidIsValid(step->target) && step->keys == NIL)
		step->keys = primary_key_of(step->target);
	if (OidIsValid(step->target) && list_length(step->keys) != list_length(step->columns))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid tenant_path: %d columns cannot refer to the key of \"%s\", which has %d",
						list_length(step->columns), get_rel_name(step->target), list_length(step->keys)),
				 errhint("Name the columns of \"%s\" with \"key\".", get_rel_name(step->target))));
}

/*
 * Reads a tenant path that a caller gives into a source: names of foreign keys only
 * are its path, all else its steps.
 */
void
dg_enrol_read_path(Relation rel, Datum value, DgTenantSource *source)
{
	Jsonb	   *path = DatumGetJsonbP(value);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	item;
	Oid			at = RelationGetRelid(rel);
	bool		plain = true;
	List	   *names = NIL;
	int			number = 0;

	if (!JB_ROOT_IS_ARRAY(path) || JB_ROOT_IS_SCALAR(path))
		refuse_path("it is an array");
	it = JsonbIteratorInit(&path->root);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		DgStep	   *step;
		ListCell   *lc;
		List	   *steps;

		if (token != WJB_ELEM)
			continue;
		if (source->steps != NIL && ((DgStep *) llast(source->steps))->type_column != NULL)
			refuse_path("a step with types is the last one");
		if (item.type == jbvNull)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("tenant_path must not contain nulls")));
		number++;
		if (item.type == jbvBinary && JsonContainerIsObject(item.val.binary.data))
		{
			plain = false;
			steps = steps_of_object(item.val.binary.data, at, number);
		}
		else
		{
			step = palloc0(sizeof(DgStep));
			step->number = number;
			step->value = "";
			step->foreign_key = path_string(&item, "a step is the name of a foreign key, or an object");
			names = lappend(names, step->foreign_key);
			steps = list_make1(step);
		}
		foreach(lc, steps)
			complete_step(at, lfirst(lc));
		source->steps = list_concat(source->steps, steps);
		at = ((DgStep *) linitial(steps))->target;
	}
	source->path = plain ? names : NIL;
	if (plain)
		source->steps = NIL;
}

/* ----------------------------------------------------------------------
 * The registry
 * ----------------------------------------------------------------------
 */

/*
 * Writes down the steps of a table's path in place of those that there were. The caller
 * is connected to SPI.
 */
void
dg_enrol_register_steps(Oid relid, List *steps)
{
	Oid			types[] = {REGCLASSOID, INT4OID, TEXTOID, REGCLASSOID, REGCLASSOID, NAMEOID, NAMEOID, NAMEARRAYOID, NAMEARRAYOID};
	Datum		table = ObjectIdGetDatum(relid);
	Oid			at = relid;
	ListCell   *lc;

	dg_query("DELETE FROM deletion_guard.guard_step WHERE relation = $1", DG_AS_US, 1, types, &table);
	foreach(lc, steps)
	{
		DgStep	   *step = lfirst(lc);
		bool		key = step->foreign_key != NULL;
		char		nulls[] = {' ', ' ', ' ', ' ', OidIsValid(step->target) ? ' ' : 'n', key ? ' ' : 'n',
		step->type_column != NULL ? ' ' : 'n', key ? 'n' : ' ', key || step->keys == NIL ? 'n' : ' '};
		Datum		values[] = {ObjectIdGetDatum(relid), Int32GetDatum(step->number), CStringGetTextDatum(step->value),
			ObjectIdGetDatum(at), ObjectIdGetDatum(step->target),
			DirectFunctionCall1(namein, CStringGetDatum(key ? step->foreign_key : "")),
			DirectFunctionCall1(namein, CStringGetDatum(step->type_column != NULL ? step->type_column : "")),
		dg_name_array(step->columns), dg_name_array(step->keys)};

		dg_query("INSERT INTO deletion_guard.guard_step (relation, step, type_value, source, target, foreign_key, type_column,"
				 " columns, key_columns) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)", DG_AS_US, lengthof(values), types, values, nulls);
		if (step->type_column == NULL)
			at = step->target;
	}
}
