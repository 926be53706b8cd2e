/*
 * guard_way.c
 *		The queries that lead along a tenant path, and who may know what they find.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "parser/parse_coerce.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "guard/guard_internal.h"

static Oid
attribute_type(Oid relid, AttrNumber attnum)
{
	Oid			type;
	int32		typmod;
	Oid			collation;

	get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
	return type;
}

/*
 * Can a value of one type be used as another without running a function that
 * is not PostgreSQL's own? Anybody may make casts for a type of his own.
 */
static bool
casts_safely(Oid from, Oid to)
{
	Oid			function = InvalidOid;

	if (from == to || IsPolymorphicType(to) || IsBinaryCoercible(from, to))
		return true;
	return find_coercion_pathway(to, getBaseType(from), COERCION_EXPLICIT, &function) == COERCION_PATH_FUNC &&
		function < FirstNormalObjectId;
}

/*
 * Appends "left operator right" with the operator of a foreign key. A cast
 * that somebody has made is refused: the query runs as the owner of one
 * table, and the cast may come from the owner of the other.
 */
void
dg_guard_append_clause(StringInfo buf, const char *left, Oid left_type, Oid operator,
					   const char *right, Oid right_type)
{
	Oid			left_input;
	Oid			right_input;

	op_input_types(operator, &left_input, &right_input);
	if (!casts_safely(left_type, left_input) || !casts_safely(right_type, right_input))
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot follow a foreign key between types %s and %s",
						format_type_be(right_type), format_type_be(left_type)),
				 errdetail("Comparing them would run a cast function that is not PostgreSQL's own."),
				 errhint("Give both columns the same type, or name a tenant_column instead of a tenant_path.")));
	generate_operator_clause(buf, left, left_type, operator, right, right_type);
}

/*
 * "SELECT ... FROM t WHERE key = $1 ..." for the row that a foreign key refers
 * to, in a table, the one referred to or a partition of it; with the type that the next
 * hop is for. Not from inheritance children, which a foreign key cannot refer to.
 */
static DgPathStep *
make_step(Oid table, ForeignKeyCacheInfo *fkey, ForeignKeyCacheInfo *next, const char *select)
{
	DgPathStep *step = palloc0(sizeof(DgPathStep));
	StringInfoData buf;
	bool		built_in = true;
	int			start;

	step->relid = fkey->confrelid;
	step->table = table;
	step->nkeys = fkey->nkeys;
	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT %s FROM %s t WHERE ", select, dg_own_rows(table));
	start = buf.len;
	for (int i = 0; i < fkey->nkeys; i++)
	{
		char	   *column = psprintf("t.%s", quote_identifier(get_attname(fkey->confrelid, fkey->confkey[i], false)));

		step->keys[i] = fkey->conkey[i];
		step->key_types[i] = attribute_type(fkey->conrelid, fkey->conkey[i]);
		built_in = built_in && get_opcode(fkey->conpfeqop[i]) < FirstNormalObjectId;
		if (i > 0)
			appendStringInfoString(&buf, " AND ");
		dg_guard_append_clause(&buf, column, attribute_type(fkey->confrelid, fkey->confkey[i]),
							   fkey->conpfeqop[i], psprintf("$%d", i + 1), step->key_types[i]);
	}
	/* the bin is read as the extension's owner: with nobody's functions */
	if (!OidIsValid(fkey->conoid) && built_in)
	{
		step->condition = pstrdup(buf.data + start);
		step->key_column = get_attname(fkey->confrelid, fkey->confkey[0], false);
	}
	if (next != NULL)
		dg_guard_append_type(&buf, next);
	step->sql = buf.data;
	return step;
}

/*
 * "t.a, t.b": the columns of a foreign key.
 */
static char *
key_columns_text(ForeignKeyCacheInfo *fkey)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < fkey->nkeys; i++)
		appendStringInfo(&buf, "%st.%s", i > 0 ? ", " : "",
						 quote_identifier(get_attname(fkey->conrelid, fkey->conkey[i], false)));
	return buf.data;
}

/*
 * The foreign keys of a path from relid, which is the enrolled table root or a
 * partition of it, and the table it ends at. If one is gone, what is deleted cannot be
 * kept.
 */
static List *
present_keys(Oid relid, Oid root, List *path, Oid *end)
{
	List	   *fkeys = NIL;
	ListCell   *lc;

	*end = relid;
	foreach(lc, path)
	{
		const DgStep *step = dg_guard_step_marked(lfirst(lc));
		ForeignKeyCacheInfo *fkey = step != NULL ? &dg_guard_step_hop(*end, step)->fkey :
		dg_guard_foreign_key_named(*end, lfirst(lc), fkeys == NIL ? root : *end);

		if (fkey == NULL)
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_CAPTURE),
					 errmsg("cannot keep deleted rows of \"%s\": \"%s\" has no foreign key \"%s\" any more",
							get_rel_name(relid), get_rel_name(*end), (char *) lfirst(lc)),
					 errdetail("It is part of the tenant path of \"%s\", so nobody could tell whose rows they were.",
							   get_rel_name(relid)),
					 errhint("Call deletion_guard.guard_table(%s, tenant_path => ...) with the present path.",
							 quote_literal_cstr(dg_relation_name(root)))));
		fkeys = lappend(fkeys, fkey);
		*end = fkey->confrelid;

		/*
		 * as the step's query will: what renames a column must be over before
		 * it is named
		 */
		LockRelationOid(*end, AccessShareLock);
	}
	return fkeys;
}

/*
 * Makes a way; its steps are appended to a list.
 */
static void
make_way(DgWay *way, Oid relid, Oid root, List *path, List **steps)
{
	Oid			end;
	List	   *fkeys = present_keys(relid, root, path, &end);
	const char *column = dg_guard_tenant_column_of(end);
	ListCell   *lc;
	ListCell   *table;

	if (column == NULL)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot keep deleted rows of \"%s\": its tenant path ends at \"%s\", which knows no tenant",
						get_rel_name(relid), get_rel_name(end)),
				 errhint("Guard that table with a tenant column, or enrol this one anew.")));
	way->type = dg_guard_hop_type(linitial(fkeys), &way->value);
	foreach(lc, fkeys)
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);
		ForeignKeyCacheInfo *next = lnext(fkeys, lc) != NULL ? lfirst(lnext(fkeys, lc)) : NULL;
		List	   *tables = dg_query_tables(fkey->confrelid);

		foreach(table, tables)
		{
			DgPathStep *step = make_step(lfirst_oid(table), fkey, next,
										 next != NULL ? key_columns_text(next) : psprintf("t.%s", quote_identifier(column)));

			step->more = lnext(tables, table) != NULL;
			*steps = lappend(*steps, step);
			way->nsteps++;
		}
	}
}

static uint64 changes = 0;

static void
note_altered(Datum arg, Oid relid)
{
	changes++;
}

static void
note_renamed(Datum arg, int cacheid, uint32 hash)
{
	changes++;
}

/*
 * Changes when a table has been altered, or something may have been renamed that
 * queries name. Paths that were put into words while it was the same are up to date.
 */
uint64
dg_guard_path_changes(void)
{
	if (changes == 0)
	{
		changes = 1;
		dg_follow_relcache(note_altered);
		CacheRegisterSyscacheCallback(NAMESPACEOID, note_renamed, (Datum) 0);
		CacheRegisterSyscacheCallback(OPEROID, note_renamed, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, note_renamed, (Datum) 0);
	}
	return changes;
}

/*
 * How to find the tenant of a row of rel, which is the enrolled table or a
 * partition of it: for each path, a query for each table on the way. The parameters of
 * each are columns keys[] of the row before it, of key_types[]; the last query's result
 * is the tenant. Each is about one table, so that it can run as its owner.
 * Palloc'd, the steps of all ways one behind the other; sets *nways.
 */
DgWay *
dg_guard_path_ways(Relation rel, int *nways)
{
	Oid			root = dg_guard_lookup(RelationGetRelid(rel))->root;
	List	   *paths = dg_guard_paths(root);
	DgWay	   *ways = palloc0(sizeof(DgWay) * (list_length(paths) + 1));
	List	   *made = NIL;
	DgPathStep *steps;
	ListCell   *lc;

	*nways = list_length(paths);
	foreach(lc, paths)
		make_way(&ways[foreach_current_index(lc)], RelationGetRelid(rel), root, lfirst(lc), &made);
	steps = palloc(sizeof(DgPathStep) * (list_length(made) + 1));
	foreach(lc, made)
		steps[foreach_current_index(lc)] = *(DgPathStep *) lfirst(lc);
	for (int i = 0; i < *nways; steps += ways[i++].nsteps)
		ways[i].steps = steps;
	return ways;
}

/*
 * May a role read a column, in all rows?
 */
static bool
may_read(Oid relid, AttrNumber attnum, Oid role)
{
	return attnum != InvalidAttrNumber && check_enable_rls(relid, role, true) != RLS_ENABLED &&
		(pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK ||
		 pg_attribute_aclcheck(relid, attnum, role, ACL_SELECT) == ACLCHECK_OK);
}

/*
 * May a role read all columns that a path leads over?
 */
static bool
may_read_path(Oid relid, List *path, Oid role)
{
	const char *column;
	const char *value;
	Oid			end;
	ListCell   *lc;

	foreach(lc, dg_guard_path_keys(relid, path, &end, &column))
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);
		AttrNumber	type = dg_guard_hop_type(fkey, &value);

		if (type != InvalidAttrNumber && !may_read(fkey->conrelid, type, role))
			return false;
		for (int i = 0; i < fkey->nkeys; i++)
		{
			if (!may_read(fkey->conrelid, fkey->conkey[i], role) || !may_read(fkey->confrelid, fkey->confkey[i], role))
				return false;
		}
	}
	return column != NULL && may_read(end, get_attnum(end, column), role);
}

/*
 * May a role know of which tenants rows of a guarded table are? A foreign key's
 * action deletes rows also of tables that the deleting role may not read, or not
 * all rows of; and a path leads through tables whose owners need not be this one's.
 */
bool
dg_guard_may_tell(Oid relid, Oid role)
{
	DgGuard    *guard = dg_guard_lookup(relid);
	ListCell   *lc;

	if (guard->has_tenant_column)
		return may_read(relid, get_attnum(relid, NameStr(guard->tenant_column)), role);
	if (guard->tenant_path == NIL && guard->steps == NIL)
		return check_enable_rls(relid, role, true) != RLS_ENABLED &&
			pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK;
	foreach(lc, dg_guard_paths(guard->root))
	{
		if (!may_read_path(relid, lfirst(lc), role))
			return false;
	}
	return true;
}
