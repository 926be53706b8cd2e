/*
 * guard_step.c
 *		Steps of a tenant path that are no foreign keys: columns that refer to a
 *		row without one, and pairs of a type and an id that refer to rows of
 *		several tables.
 *
 * A path is a list of strings: names of foreign keys, and marks that stand for
 * rows of the registry guard_step. Behind a pair of type and id the path goes on
 * as that of the table that the type stands for: so a table may have several
 * paths, of which a row's type chooses one.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "guard/guard_internal.h"

/* more tables than this on the way to a tenant are a mistake */
#define MAX_DEPTH	16

#define MARK	'\001'

/*
 * The element of a path that stands for a step of an enrolled table, palloc'd.
 */
static char *
mark_of_step(Oid relid, const DgStep *step)
{
	return step->foreign_key != NULL ? pstrdup(step->foreign_key) :
		psprintf("%c%u/%d/%s", MARK, relid, step->number, step->value);
}

/*
 * The step that an element of a path stands for; NULL if it is the name of a foreign
 * key.
 */
const DgStep *
dg_guard_step_marked(const char *element)
{
	unsigned int relid;
	int			number;
	int			offset = 0;
	ListCell   *lc;

	if (element[0] != MARK)
		return NULL;
	if (sscanf(element + 1, "%u/%d/%n", &relid, &number, &offset) < 2 || offset == 0)
		elog(ERROR, "no step of a tenant path: \"%s\"", element + 1);
	foreach(lc, dg_guard_lookup(relid)->steps)
	{
		DgStep	   *step = lfirst(lc);

		if (step->number == number && strcmp(step->value, element + 1 + offset) == 0)
			return step;
	}
	elog(ERROR, "the tenant path of table %u has changed", relid);
	return NULL;
}

/* ----------------------------------------------------------------------
 * A step as a foreign key
 * ----------------------------------------------------------------------
 */

static AttrNumber
column_of_step(Oid relid, const char *name)
{
	AttrNumber	attnum = get_attnum(relid, name);

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("a tenant path leads over column \"%s\" of \"%s\", which does not exist", name,
						get_rel_name(relid) == NULL ? "?" : get_rel_name(relid)),
				 errhint("Call deletion_guard.guard_table(..., tenant_path => ...) with the present path.")));
	return attnum;
}

/*
 * The operator that compares a key with what refers to it, as that of a foreign key.
 */
static Oid
comparing_operator(Oid key_type, Oid type)
{
	Oid			key_base = getBaseType(key_type);
	Oid			base = getBaseType(type);
	TypeCacheEntry *cache = lookup_type_cache(key_base, TYPECACHE_EQ_OPR | TYPECACHE_BTREE_OPFAMILY);
	Oid			operator = InvalidOid;

	if (OidIsValid(cache->btree_opf))
		operator = get_opfamily_member(cache->btree_opf, key_base, base, BTEqualStrategyNumber);
	if (!OidIsValid(operator) && (key_base == base || IsBinaryCoercible(base, key_base)))
		operator = cache->eq_opr;
	if (!OidIsValid(operator))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a tenant path cannot compare types %s and %s", format_type_be(type), format_type_be(key_type)),
				 errhint("Columns that refer to a row have the types of its key.")));
	return operator;
}

/*
 * A step as the foreign key that there would be, from relid: the table that it is
 * declared for, or a partition of it.
 */
DgHop *
dg_guard_step_hop(Oid relid, const DgStep *step)
{
	DgHop	   *hop = palloc0(sizeof(DgHop));
	ForeignKeyCacheInfo *fkey = &hop->fkey;

	fkey->type = T_ForeignKeyCacheInfo;
	fkey->conrelid = relid;
	fkey->confrelid = step->target;
	fkey->nkeys = list_length(step->columns);
	for (int i = 0; i < fkey->nkeys; i++)
	{
		fkey->conkey[i] = column_of_step(relid, list_nth(step->columns, i));
		fkey->confkey[i] = column_of_step(step->target, list_nth(step->keys, i));
		fkey->conpfeqop[i] = comparing_operator(get_atttype(step->target, fkey->confkey[i]),
												get_atttype(relid, fkey->conkey[i]));
	}
	if (step->type_column != NULL)
	{
		hop->type = column_of_step(relid, step->type_column);
		hop->value = pstrdup(step->value);
	}
	return hop;
}

/*
 * The column that must have a value for a foreign key of a path to count, or
 * InvalidAttrNumber.
 */
AttrNumber
dg_guard_hop_type(const ForeignKeyCacheInfo *fkey, const char **value)
{
	if (OidIsValid(fkey->conoid))
		return InvalidAttrNumber;
	*value = ((const DgHop *) fkey)->value;
	return ((const DgHop *) fkey)->type;
}

/*
 * Appends the condition that a row of table t has the type that a hop from there is for,
 * if it is for one.
 */
void
dg_guard_append_type(StringInfo buf, const ForeignKeyCacheInfo *fkey)
{
	const char *value;
	AttrNumber	attnum = dg_guard_hop_type(fkey, &value);
	Oid			type;

	if (attnum == InvalidAttrNumber)
		return;
	type = getBaseType(get_atttype(fkey->conrelid, attnum));
	appendStringInfo(buf, " AND t.%s %s %s::%s", quote_identifier(get_attname(fkey->conrelid, attnum, false)),
					 dg_equality_operator(type), quote_literal_cstr(value), dg_type_name(type));
}

/* ----------------------------------------------------------------------
 * All paths of a table
 * ----------------------------------------------------------------------
 */

static List *paths_from(Oid relid, List *seen);

/*
 * Where a path ends that leads over marks, it goes on as that of the table there.
 */
static List *
paths_continued(List *path, Oid end, List *seen)
{
	List	   *paths = NIL;
	ListCell   *lc;

	foreach(lc, paths_from(end, seen))
		paths = lappend(paths, list_concat_copy(path, lfirst(lc)));
	return paths;
}

static List *
paths_of_source(Oid relid, const DgTenantSource *source, List *seen)
{
	List	   *path = NIL;
	List	   *paths = NIL;
	Oid			end = relid;
	bool		typed = false;
	ListCell   *lc;

	if (source->steps == NIL)
		return list_make1(source->path);
	seen = lappend_oid(list_copy(seen), relid);
	foreach(lc, source->steps)
	{
		DgStep	   *step = lfirst(lc);
		char	   *mark = mark_of_step(relid, step);

		if (step->type_column == NULL)
		{
			path = lappend(path, mark);
			end = step->target;
			continue;
		}
		typed = true;
		if (OidIsValid(step->target))
			paths = list_concat(paths, paths_continued(lappend(list_copy(path), mark), step->target, seen));
	}
	return typed ? paths : paths_continued(path, end, seen);
}

static List *
paths_from(Oid relid, List *seen)
{
	DgGuard    *guard = dg_guard_lookup(relid);
	DgTenantSource source = dg_guard_source(guard);

	if (dg_guard_tenant_table()->relid == relid || guard->has_tenant_column)
		return list_make1(NIL);
	if (list_member_oid(seen, relid))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("the tenant path leads in a circle, back to \"%s\"", get_rel_name(relid)),
				 errhint("Leave a type out that leads back, or give the table a column with the tenant.")));
	if (list_length(seen) >= MAX_DEPTH || !guard->guarded || guard->tenant != NULL ||
		(source.path == NIL && source.steps == NIL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a tenant path leads to \"%s\", which knows no tenant",
						get_rel_name(relid) == NULL ? psprintf("%u", relid) : get_rel_name(relid)),
				 errhint("Guard that table with a tenant column or path first; a type whose rows are nobody's has null for a target.")));
	return paths_of_source(relid, &source, seen);
}

/*
 * The paths by which the tenant of a table's rows is told, each a list of
 * strings; of an enrolled table. One that is empty ends where it begins, at the
 * table's own column.
 */
List *
dg_guard_paths(Oid relid)
{
	DgGuard    *guard = dg_guard_lookup(relid);
	DgTenantSource source = dg_guard_source(guard);

	if (source.steps == NIL || dg_guard_tenant_table()->relid == relid)
		return list_make1(source.path);
	return paths_of_source(relid, &source, NIL);
}

/*
 * Refuses steps that lead nowhere, or in a circle.
 */
void
dg_guard_check_steps(Oid relid, const DgTenantSource *source)
{
	ListCell   *lc;
	Oid			at = relid;

	foreach(lc, source->steps)
	{
		DgStep	   *step = lfirst(lc);

		if (step->foreign_key == NULL && OidIsValid(step->target))
			(void) dg_guard_step_hop(at, step);
		if (step->type_column == NULL)
			at = step->target;
	}
	(void) paths_of_source(relid, source, NIL);
}

/*
 * Is the value of a type column declared, of the last step of a table's path? *nobodys (or
 * NULL) says whether rows of that type are.
 */
bool
dg_guard_type_is_declared(Oid relid, const char *value, bool *nobodys)
{
	ListCell   *lc;

	foreach(lc, dg_guard_lookup(relid)->steps)
	{
		DgStep	   *step = lfirst(lc);

		if (step->type_column != NULL && strcmp(step->value, value) == 0)
		{
			if (nobodys != NULL)
				*nobodys = !OidIsValid(step->target);
			return true;
		}
	}
	return false;
}

/*
 * Steps as a person reads them.
 */
void
dg_guard_append_steps(StringInfo buf, List *steps)
{
	int			before = 0;
	ListCell   *lc;

	foreach(lc, steps)
	{
		DgStep	   *step = lfirst(lc);
		ListCell   *column;

		if (step->number == before)
			appendStringInfoString(buf, ", ");
		else
			appendStringInfoString(buf, before > 0 ? " > " : "");
		if (step->foreign_key != NULL)
			appendStringInfoString(buf, quote_identifier(step->foreign_key));
		else if (step->type_column != NULL && step->number != before)
			appendStringInfo(buf, "%s ", quote_identifier(step->type_column));
		if (step->type_column != NULL)
			appendStringInfo(buf, "%s ", quote_literal_cstr(step->value));
		foreach(column, step->foreign_key == NULL ? step->columns : NIL)
			appendStringInfo(buf, "%s%s", foreach_current_index(column) > 0 ? "," : "", quote_identifier(lfirst(column)));
		if (step->foreign_key == NULL)
			appendStringInfo(buf, " to %s", !OidIsValid(step->target) ? "nobody" : dg_relation_name(step->target));
		before = step->number;
	}
}
