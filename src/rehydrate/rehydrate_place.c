/*
 * rehydrate_place.c
 *		Where the rows of an archive's table belong now.
 *
 * To the live table of the same name or of that which a mapping names. What was a
 * partition when the archive was made may have been merged, renamed or split
 * since: its rows belong to the table that the archive itself says it was a
 * partition of, or to what that was a partition of. What is guarded decides
 * whether a table holds rows of tenants, and how a row's tenant is told; so where
 * the table of the same name is guarded no more, the root goes first.
 *
 * Rows of a table that inherited do not go to its parent by themselves: nothing
 * says that they are not in another child by now.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "archive/archive.h"
#include "guard/guard.h"
#include "rehydrate/rehydrate_internal.h"

/* longer than any chain of partitions that makes sense; an archive may have a circle */
#define MAX_DEPTH	64

/*
 * How the tenant of a table's rows is told: false if it is not. *root is the
 * table that was enrolled.
 */
bool
dg_tenant_source(Oid relid, Oid *root, List **path)
{
	DgGuard    *guard = dg_guard_lookup(relid);

	*path = NIL;
	*root = guard->guarded ? guard->root : relid;
	if (dg_tenant_table()->relid == *root)
		return true;
	if (!guard->guarded)
		return false;
	*path = list_copy(guard->tenant_path);
	return guard->has_tenant_column || guard->tenant_path != NIL;
}

/*
 * The same as a person reads it, palloc'd; NULL if nothing tells it.
 */
char *
dg_tenant_source_text(Oid relid)
{
	const DgTenantTable *tenants = dg_tenant_table();
	Oid			root;
	List	   *path;

	if (!dg_tenant_source(relid, &root, &path))
		return NULL;
	if (path != NIL)
		return dg_guard_path_text(path);
	return psprintf("column %s", quote_identifier(tenants->relid == root ? NameStr(tenants->key_column) :
												  NameStr(dg_guard_lookup(relid)->tenant_column)));
}

static bool
has_tenant_source(Oid relid)
{
	Oid			root;
	List	   *path;

	return OidIsValid(relid) && dg_tenant_source(relid, &root, &path);
}

static bool
has_nullable_column(Oid relid, const AttrNumber *attnums, int n)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		nullable = false;

	for (int i = 0; i < n; i++)
		nullable |= !TupleDescAttr(RelationGetDescr(rel), attnums[i] - 1)->attnotnull;
	table_close(rel, NoLock);
	return nullable;
}

/*
 * May a table have rows without a tenant? Only where a column on the way to it may
 * be null.
 */
bool
dg_may_be_nobodys(Oid relid)
{
	Oid			root;
	Oid			end;
	List	   *path;
	List	   *fkeys;
	const char *column;
	AttrNumber	attnum;
	ListCell   *lc;

	if (!dg_tenant_source(relid, &root, &path))
		return true;
	fkeys = dg_guard_path_keys(root, path, &end, &column);
	foreach(lc, fkeys)
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);

		if (has_nullable_column(fkey->conrelid, fkey->conkey, fkey->nkeys))
			return true;
	}
	attnum = column == NULL ? InvalidAttrNumber : get_attnum(end, column);
	return attnum != InvalidAttrNumber && has_nullable_column(end, &attnum, 1);
}

/*
 * The live table that one name of the archive's stands for, or InvalidOid.
 * Takes what a mapping says of it, unless that was found before.
 */
static Oid
table_of_name(const DgRehydrateArchive *archive, const char *schema, const char *name,
			  List *mappings, DgPlace *place)
{
	char	   *quoted = quote_qualified_identifier(dg_rehydrate_text(archive, schema),
													dg_rehydrate_text(archive, name));
	DgTableMapping *mapping = dg_mapping_find(mappings, quoted);
	char		relkind;

	if (mapping != NULL && place->mapping == NULL)
		place->mapping = mapping;
	if (mapping == NULL || !OidIsValid(mapping->relation))
		return dg_rehydrate_live_name(archive, schema, name);
	relkind = get_rel_relkind(mapping->relation);
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", get_rel_name(mapping->relation)),
				 errdetail("The archive's table %s is mapped to it.", mapping->name)));
	place->mapped = true;
	return mapping->relation;
}

/*
 * Finds out where a table's rows belong. place.relid is InvalidOid if no live
 * table is known; inherited if only one is from which the table inherited.
 */
DgPlace
dg_rehydrate_place(const DgRehydrateArchive *archive, const DgArchiveTable *table, List *mappings)
{
	DgPlace		place = {.relid = InvalidOid};
	const char *schema = table->schema;
	const char *name = table->name;
	bool		inherited = false;

	place.relid = table_of_name(archive, schema, name, mappings, &place);
	if (!OidIsValid(place.relid))
		place.relid = table_of_name(archive, table->target_schema, table->target_name, mappings, &place);
	for (int depth = 0; depth < MAX_DEPTH && !place.mapped && !has_tenant_source(place.relid); depth++)
	{
		const DgArchiveParent *parent;
		Oid			relid;

		parent = dg_archive_parent(archive->archive, schema, name);
		if (parent == NULL)
			break;
		schema = parent->parent_schema;
		name = parent->parent_name;
		inherited |= !parent->partition;
		relid = table_of_name(archive, schema, name, mappings, &place);
		if (OidIsValid(place.relid) ? !has_tenant_source(relid) || inherited : !OidIsValid(relid))
			continue;
		place.relid = relid;
		place.inherited = inherited;
	}
	return place;
}
