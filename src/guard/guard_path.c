/*
 * guard_path.c
 *		Tenant paths: chains of foreign keys from a table to one that knows the
 *		tenant.
 *
 * The last table of a path is the tenant table, or a guarded table with a
 * tenant column. A path is given by the names of its constraints, as these
 * survive dump and restore.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "parser/parse_coerce.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "guard/guard_internal.h"

/* a longer chain than this is a mistake */
#define MAX_PATH_LENGTH 16

/* ----------------------------------------------------------------------
 * Walking foreign keys
 * ----------------------------------------------------------------------
 */

/*
 * The tables that a table inherits from, other than as a partition.
 */
static List *
inheritance_parents(Oid relid)
{
	List	   *parents = NIL;
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (get_rel_relispartition(relid) || !has_superclass(relid))
		return NIL;
	rel = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		parents = lappend_oid(parents, ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return parents;
}

/*
 * Makes a foreign key of a parent one of its child: the columns are there by
 * the same names.
 */
static ForeignKeyCacheInfo *
inherit_foreign_key(ForeignKeyCacheInfo *fkey, Oid child)
{
	for (int i = 0; i < fkey->nkeys; i++)
		fkey->conkey[i] = get_attnum(child, get_attname(fkey->conrelid, fkey->conkey[i], false));
	fkey->conrelid = child;
	return fkey;
}

/*
 * A table's foreign keys as ForeignKeyCacheInfo, copied. Those of inheritance
 * parents are among them: the server does not enforce them for the child, but
 * they say what its columns mean.
 */
static List *
foreign_keys(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *fkeys = dg_foreign_keys(rel);
	ListCell   *parent;
	ListCell   *lc;

	table_close(rel, AccessShareLock);
	foreach(parent, inheritance_parents(relid))
	{
		foreach(lc, foreign_keys(lfirst_oid(parent)))
			fkeys = lappend(fkeys, inherit_foreign_key(lfirst(lc), relid));
	}
	return fkeys;
}

/*
 * The foreign key of a table that has a name in root: the table itself, or the
 * partitioned table that it is a partition of, in which it may have another.
 * NULL if there is none.
 */
static ForeignKeyCacheInfo *
foreign_key_named(Oid relid, const char *name, Oid root)
{
	ListCell   *lc;

	foreach(lc, foreign_keys(relid))
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);
		Oid			declared = relid == root ? fkey->conoid : dg_constraint_of(fkey->conoid, root);
		char	   *conname = OidIsValid(declared) ? get_constraint_name(declared) : NULL;

		if (conname != NULL && strcmp(conname, name) == 0)
			return fkey;
	}
	return NULL;
}

static ForeignKeyCacheInfo *
require_foreign_key(Oid relid, const char *name)
{
	ForeignKeyCacheInfo *fkey = foreign_key_named(relid, name, relid);

	if (fkey == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("\"%s\" is not a foreign key of \"%s\"", name, get_rel_name(relid)),
				 errhint("A tenant path names foreign key constraints, from the guarded table upwards; \\d %s lists them.",
						 dg_relation_name(relid))));
	return fkey;
}

/*
 * The column that holds the tenant in the last table of a path; NULL if the
 * table knows no tenant.
 */
static const char *
tenant_column_of(Oid relid)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	DgGuard    *guard;

	if (tenants->relid == relid)
		return NameStr(tenants->key_column);
	guard = dg_guard_lookup(relid);
	return guard->guarded && guard->has_tenant_column ? NameStr(guard->tenant_column) : NULL;
}

/*
 * Refuses a path that does not lead from rel to a tenant.
 */
void
dg_guard_check_path(Relation rel, List *path)
{
	Oid			relid = RelationGetRelid(rel);
	ListCell   *lc;

	if (list_length(path) > MAX_PATH_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a tenant path may have %d foreign keys at most", MAX_PATH_LENGTH)));
	foreach(lc, path)
		relid = require_foreign_key(relid, lfirst(lc))->confrelid;

	if (tenant_column_of(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the tenant path of \"%s\" ends at \"%s\", which knows no tenant",
						RelationGetRelationName(rel), get_rel_name(relid)),
				 errhint("Guard that table with a tenant column first, or make it the tenant table.")));
}

/*
 * The foreign keys of a path from relid, as ForeignKeyCacheInfo, and the table
 * it ends at. *column is the one that holds the tenant there, or NULL. An
 * empty path ends where it begins.
 */
List *
dg_guard_path_keys(Oid relid, List *path, Oid *end, const char **column)
{
	List	   *fkeys = NIL;
	ListCell   *lc;

	*end = relid;
	foreach(lc, path)
	{
		fkeys = lappend(fkeys, require_foreign_key(*end, lfirst(lc)));
		*end = ((ForeignKeyCacheInfo *) llast(fkeys))->confrelid;
	}
	*column = tenant_column_of(*end);
	return fkeys;
}

/* ----------------------------------------------------------------------
 * Finding a path
 * ----------------------------------------------------------------------
 */

typedef struct PathSearch
{
	const char *tenant_column;
	Oid			schema;
	List	   *found;			/* of paths, each a list of names */
} PathSearch;

/*
 * May a path end here? At the tenant table, or at a table with the column
 * that is guarded or about to be.
 */
static bool
is_end(PathSearch *search, Oid relid)
{
	if (dg_guard_tenant_table()->relid == relid)
		return true;
	if (get_attnum(relid, search->tenant_column) <= 0)
		return false;
	return get_rel_namespace(relid) == search->schema || tenant_column_of(relid) != NULL;
}

/*
 * Does an earlier foreign key in the list refer with the same columns to the
 * same row? A key that was declared twice does not lead two ways.
 */
static bool
has_twin(List *fkeys, int at)
{
	ForeignKeyCacheInfo *fkey = list_nth(fkeys, at);

	for (int i = 0; i < at; i++)
	{
		ForeignKeyCacheInfo *other = list_nth(fkeys, i);

		if (other->confrelid == fkey->confrelid && other->nkeys == fkey->nkeys &&
			memcmp(other->conkey, fkey->conkey, sizeof(AttrNumber) * fkey->nkeys) == 0 &&
			memcmp(other->confkey, fkey->confkey, sizeof(AttrNumber) * fkey->nkeys) == 0)
			return true;
	}
	return false;
}

static void
search_paths(PathSearch *search, Oid relid, List *visited, List *path)
{
	List	   *fkeys = foreign_keys(relid);
	ListCell   *lc;

	if (list_length(path) >= MAX_PATH_LENGTH)
		return;
	foreach(lc, fkeys)
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);
		List	   *longer;

		if (list_member_oid(visited, fkey->confrelid) || has_twin(fkeys, foreach_current_index(lc)))
			continue;
		longer = lappend(list_copy(path), get_constraint_name(fkey->conoid));
		if (is_end(search, fkey->confrelid))
			search->found = lappend(search->found, longer);
		else
			search_paths(search, fkey->confrelid,
						 lappend_oid(list_copy(visited), fkey->confrelid), longer);
	}
}

/*
 * May the foreign key be lost, with the row staying? Then the key may just as
 * well say what the row prefers, such as the project to begin with, as to whom
 * it belongs.
 */
static bool
may_be_lost(Oid relid, const char *name)
{
	ForeignKeyCacheInfo *fkey = require_foreign_key(relid, name);
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(fkey->conoid));
	char		action = ((Form_pg_constraint) GETSTRUCT(tuple))->confdeltype;
	Relation	rel;
	bool		nullable = false;

	ReleaseSysCache(tuple);
	if (action != FKCONSTR_ACTION_SETNULL && action != FKCONSTR_ACTION_SETDEFAULT)
		return false;
	rel = table_open(relid, AccessShareLock);
	for (int i = 0; i < fkey->nkeys; i++)
		nullable |= !TupleDescAttr(RelationGetDescr(rel), fkey->conkey[i] - 1)->attnotnull;
	table_close(rel, NoLock);
	return nullable;
}

/*
 * The first step of a path that may be lost, or NULL.
 */
static char *
doubtful_step(Oid relid, List *path)
{
	ListCell   *lc;

	foreach(lc, path)
	{
		if (may_be_lost(relid, lfirst(lc)))
			return lfirst(lc);
		relid = require_foreign_key(relid, lfirst(lc))->confrelid;
	}
	return NULL;
}

/*
 * A path as text of name[], palloc'd.
 */
static char *
path_array(List *path)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(NAMEARRAYOID, &output, &varlena);
	return OidOutputFunctionCall(output, dg_name_array(path));
}

/*
 * The only path from rel to a table with the tenant column. NIL if there is
 * none or more than one, or if it need not tell whose a row is; *problem then
 * says so.
 */
List *
dg_guard_find_path(Relation rel, const char *tenant_column, char **problem)
{
	PathSearch	search = {tenant_column, RelationGetNamespace(rel), NIL};
	char	   *doubtful;

	search_paths(&search, RelationGetRelid(rel), list_make1_oid(RelationGetRelid(rel)), NIL);
	if (list_length(search.found) == 1)
	{
		doubtful = doubtful_step(RelationGetRelid(rel), linitial(search.found));
		if (doubtful == NULL)
			return linitial(search.found);
		*problem = psprintf("no column \"%s\", and %s is the only way to it, but %s may be null and is lost with what it refers to; if it tells whose a row is, say so with guard_table(%s, tenant_path => %s)",
							tenant_column, dg_guard_path_text(linitial(search.found)), quote_identifier(doubtful),
							quote_literal_cstr(dg_relation_name(RelationGetRelid(rel))),
							quote_literal_cstr(path_array(linitial(search.found))));
		return NIL;
	}
	if (search.found == NIL)
		*problem = psprintf("no column \"%s\", and no foreign key leads to a table that has it",
							tenant_column);
	else
		*problem = psprintf("no column \"%s\", and %d paths of foreign keys lead to it, such as %s and %s; choose one with guard_table(..., tenant_path => ...)",
							tenant_column, list_length(search.found),
							dg_guard_path_text(linitial(search.found)),
							dg_guard_path_text(lsecond(search.found)));
	return NIL;
}

/*
 * A path as a person reads it, palloc'd.
 */
char *
dg_guard_path_text(List *path)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "path ");
	foreach(lc, path)
		appendStringInfo(&buf, "%s%s", foreach_current_index(lc) > 0 ? " > " : "",
						 quote_identifier(lfirst(lc)));
	return buf.data;
}

/*
 * Writes the new name of a foreign key of one of relids into the path of a
 * guarded table. True if the path leads over that key.
 */
bool
dg_guard_rename_in_path(Oid start, List *path, List *relids, const char *old, const char *new)
{
	Oid			relid = start;
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, path)
	{
		if (list_member_oid(relids, relid) && strcmp(lfirst(lc), old) == 0)
		{
			lfirst(lc) = pstrdup(new);
			changed = true;
		}
		relid = require_foreign_key(relid, lfirst(lc))->confrelid;
	}
	return changed;
}

/* ----------------------------------------------------------------------
 * The queries of a path
 * ----------------------------------------------------------------------
 */

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
 * to. Not from inheritance children, which it cannot refer to; a partitioned
 * table that can be referred to has no foreign partitions.
 */
static void
make_step(DgPathStep *step, ForeignKeyCacheInfo *fkey, const char *select)
{
	StringInfoData buf;

	step->relid = fkey->confrelid;
	step->nkeys = fkey->nkeys;
	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT %s FROM %s t WHERE ", select, dg_own_rows(step->relid));
	for (int i = 0; i < fkey->nkeys; i++)
	{
		char	   *column = psprintf("t.%s", quote_identifier(get_attname(fkey->confrelid, fkey->confkey[i], false)));

		step->keys[i] = fkey->conkey[i];
		step->key_types[i] = attribute_type(fkey->conrelid, fkey->conkey[i]);
		if (i > 0)
			appendStringInfoString(&buf, " AND ");
		dg_guard_append_clause(&buf, column, attribute_type(fkey->confrelid, fkey->confkey[i]),
							   fkey->conpfeqop[i], psprintf("$%d", i + 1), step->key_types[i]);
	}
	step->sql = buf.data;
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
 * How to find the tenant of a row of rel, which is the enrolled table or a
 * partition of it: a query for each table on the way. The parameters of each are
 * columns keys[] of the row before it, of key_types[]; the last query's result
 * is the tenant. Each is about one table, so that it can run as its owner.
 * Palloc'd; sets *nsteps.
 */
DgPathStep *
dg_guard_path_steps(Relation rel, List *path, int *nsteps)
{
	Oid			relid = RelationGetRelid(rel);
	Oid			root = dg_guard_lookup(relid)->root;
	DgPathStep *steps = palloc0(sizeof(DgPathStep) * list_length(path));
	List	   *fkeys = NIL;
	const char *column;
	ListCell   *lc;

	foreach(lc, path)
	{
		ForeignKeyCacheInfo *fkey = foreign_key_named(relid, lfirst(lc), fkeys == NIL ? root : relid);

		if (fkey == NULL)
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_CAPTURE),
					 errmsg("cannot keep deleted rows of \"%s\": \"%s\" has no foreign key \"%s\" any more",
							RelationGetRelationName(rel), get_rel_name(relid), (char *) lfirst(lc)),
					 errdetail("It is part of the tenant path of \"%s\", so nobody could tell whose rows they were.",
							   RelationGetRelationName(rel)),
					 errhint("Call deletion_guard.guard_table(%s, tenant_path => ...) with the present path.",
							 quote_literal_cstr(dg_relation_name(root)))));
		fkeys = lappend(fkeys, fkey);
		relid = fkey->confrelid;

		/*
		 * as the step's query will: what renames a column must be over before
		 * it is named
		 */
		LockRelationOid(relid, AccessShareLock);
	}
	column = tenant_column_of(relid);
	if (column == NULL)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_CAPTURE),
				 errmsg("cannot keep deleted rows of \"%s\": its tenant path ends at \"%s\", which knows no tenant",
						RelationGetRelationName(rel), get_rel_name(relid)),
				 errhint("Guard that table with a tenant column, or enrol this one anew.")));
	*nsteps = list_length(fkeys);
	for (int i = 0; i < *nsteps; i++)
		make_step(&steps[i], list_nth(fkeys, i),
				  i + 1 < *nsteps ? key_columns_text(list_nth(fkeys, i + 1)) :
				  psprintf("t.%s", quote_identifier(column)));
	return steps;
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
 * May a role know of which tenants rows of a guarded table are? A foreign key's
 * action deletes rows also of tables that the deleting role may not read, or not
 * all rows of; and a path leads through tables whose owners need not be this one's.
 */
bool
dg_guard_may_tell(Oid relid, Oid role)
{
	DgGuard    *guard = dg_guard_lookup(relid);
	const char *column;
	Oid			end;
	ListCell   *lc;

	if (guard->has_tenant_column)
		return may_read(relid, get_attnum(relid, NameStr(guard->tenant_column)), role);
	if (guard->tenant_path == NIL)
		return check_enable_rls(relid, role, true) != RLS_ENABLED &&
			pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK;
	foreach(lc, dg_guard_path_keys(relid, guard->tenant_path, &end, &column))
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);

		for (int i = 0; i < fkey->nkeys; i++)
		{
			if (!may_read(fkey->conrelid, fkey->conkey[i], role) || !may_read(fkey->confrelid, fkey->confkey[i], role))
				return false;
		}
	}
	return column != NULL && may_read(end, get_attnum(end, column), role);
}
