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
ForeignKeyCacheInfo *
dg_guard_foreign_key_named(Oid relid, const char *name, Oid root)
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

/*
 * The foreign key of a table that an element of a path stands for, or a step that is
 * like one.
 */
static ForeignKeyCacheInfo *
require_foreign_key(Oid relid, const char *name)
{
	const DgStep *step = dg_guard_step_marked(name);
	ForeignKeyCacheInfo *fkey = step != NULL ? &dg_guard_step_hop(relid, step)->fkey : dg_guard_foreign_key_named(relid, name, relid);

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
const char *
dg_guard_tenant_column_of(Oid relid)
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

	if (dg_guard_tenant_column_of(relid) == NULL)
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
	*column = dg_guard_tenant_column_of(*end);
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
	return get_rel_namespace(relid) == search->schema || dg_guard_tenant_column_of(relid) != NULL;
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
 * it belongs. So may one that is null where the row has a typed reference instead.
 */
static bool
may_be_lost(Oid relid, const char *name, bool typed)
{
	ForeignKeyCacheInfo *fkey = require_foreign_key(relid, name);
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(fkey->conoid));
	char		action = ((Form_pg_constraint) GETSTRUCT(tuple))->confdeltype;
	Relation	rel;
	bool		nullable = false;

	ReleaseSysCache(tuple);
	if (!typed && action != FKCONSTR_ACTION_SETNULL && action != FKCONSTR_ACTION_SETDEFAULT)
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
doubtful_step(Oid relid, List *path, bool typed)
{
	ListCell   *lc;

	foreach(lc, path)
	{
		if (may_be_lost(relid, lfirst(lc), typed))
			return lfirst(lc);
		relid = require_foreign_key(relid, lfirst(lc))->confrelid;
	}
	return NULL;
}

/*
 * A pair of columns of a type and an id, as "x_type" and "x_id" are or Django's
 * "content_type_id" and "object_id": what to say to guard_table(), palloc'd, or NULL.
 */
static char *
typed_reference(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);
		int			len = strlen(name);
		bool		django = strcmp(name, "content_type_id") == 0;
		char	   *id = django ? "object_id" : len < 6 || strcmp(name + len - 5, "_type") != 0 ? NULL :
		psprintf("%.*s_id", len - 5, name);

		if (TupleDescAttr(desc, i)->attisdropped || id == NULL || get_attnum(RelationGetRelid(rel), id) <= 0)
			continue;
		return psprintf("columns %s and %s look like references to rows of several tables; if they tell whose a row is, say so with guard_table(%s, tenant_path => '[{\"type\": \"%s\", \"id\": \"%s\", \"targets\": {...}}]')",
						quote_identifier(name), quote_identifier(id),
						quote_literal_cstr(dg_relation_name(RelationGetRelid(rel))), name, id);
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
	char	   *typed = typed_reference(rel);
	char	   *doubtful;

	search_paths(&search, RelationGetRelid(rel), list_make1_oid(RelationGetRelid(rel)), NIL);
	if (list_length(search.found) == 1)
	{
		doubtful = doubtful_step(RelationGetRelid(rel), linitial(search.found), typed != NULL);
		if (doubtful == NULL)
			return linitial(search.found);
		*problem = psprintf("no column \"%s\", and %s is the only way to it, but %s may be null and is lost with what it refers to; if it tells whose a row is, say so with guard_table(%s, tenant_path => %s)",
							tenant_column, dg_guard_path_text(linitial(search.found)), quote_identifier(doubtful),
							quote_literal_cstr(dg_relation_name(RelationGetRelid(rel))),
							quote_literal_cstr(path_array(linitial(search.found))));
		if (typed != NULL)
			*problem = psprintf("no column \"%s\", and %s, its only path to it, may be null; %s", tenant_column,
								dg_guard_path_text(linitial(search.found)), typed);
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
	if (typed != NULL)
		*problem = psprintf("%s; %s", *problem, typed);
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
	{
		const DgStep *step = dg_guard_step_marked(lfirst(lc));

		appendStringInfoString(&buf, foreach_current_index(lc) > 0 ? " > " : "");
		if (step != NULL)
			dg_guard_append_steps(&buf, list_make1(unconstify(DgStep *, step)));
		else
			appendStringInfoString(&buf, quote_identifier(lfirst(lc)));
	}
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
