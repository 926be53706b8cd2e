/*
 * extract_place.c
 *		Where the rows of an archive's table belong now.
 *
 * To the live table of the same name or to that which a mapping names: for it, or
 * for what the archive says that it was a partition of. What was a
 * partition when the archive was made may have been merged, renamed or split
 * since: its rows belong to the table that the archive itself says it was a
 * partition of, or to what that was a partition of. What is guarded decides
 * whether a table holds rows of tenants, and how a row's tenant is told; so where
 * the table of the same name is guarded no more, the root goes first.
 *
 * Rows of a table that inherited do not go to its parent by themselves: nothing
 * says that they are not in another child by now. But those of a chunk go to its
 * hypertable.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "archive/archive.h"
#include "guard/guard.h"
#include "extract/extract_internal.h"

/* longer than any chain of partitions that makes sense; an archive may have a circle */
#define MAX_DEPTH	64

/*
 * How the tenant of a table's rows is told: false if it is not. *root is the
 * table that was enrolled, *paths a list of lists, as dg_guard_paths() has it.
 */
bool
dg_extract_tenant_source(Oid relid, Oid *root, List **paths)
{
	DgGuard    *guard = dg_guard_lookup(relid);

	*paths = list_make1(NIL);
	*root = guard->guarded ? guard->root : relid;
	if (dg_guard_tenant_table()->relid == *root)
		return true;
	if (!guard->guarded)
		return false;
	if (guard->tenant_path != NIL || guard->steps != NIL)
		*paths = dg_guard_paths(*root);
	return guard->has_tenant_column || guard->tenant_path != NIL || guard->steps != NIL || guard->tenant != NULL;
}

/*
 * How the tenant of a table's rows is told, in words, palloc'd; NULL if nothing tells
 * it.
 */
char *
dg_extract_tenant_source_text(Oid relid)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	DgTenantSource source = dg_guard_source(dg_guard_lookup(relid));
	Oid			root;
	List	   *paths;

	if (!dg_extract_tenant_source(relid, &root, &paths))
		return NULL;
	if (tenants->relid == root)
		source = (DgTenantSource)
	{
		.column = NameStr(tenants->key_column)
	};
	return dg_guard_source_text(&source);
}

/*
 * Are all rows of a table a tenant's who is none of these?
 */
bool
dg_extract_is_others(Oid relid, const DgTenants *tenants)
{
	DgGuard    *guard = dg_guard_lookup(relid);

	return guard->tenant != NULL && dg_extract_tenant_find(tenants, guard->tenant) < 0;
}

static bool
has_tenant_source(Oid relid)
{
	Oid			root;
	List	   *paths;

	return OidIsValid(relid) && dg_extract_tenant_source(relid, &root, &paths);
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
dg_extract_may_be_nobodys(Oid relid)
{
	Oid			root;
	Oid			end;
	List	   *paths;
	const char *column;
	const char *value;
	AttrNumber	attnum;
	ListCell   *lp;
	ListCell   *lc;

	if (!dg_extract_tenant_source(relid, &root, &paths))
		return true;
	foreach(lp, paths)
	{
		foreach(lc, dg_guard_path_keys(root, lfirst(lp), &end, &column))
		{
			ForeignKeyCacheInfo *fkey = lfirst(lc);

			if (dg_guard_hop_type(fkey, &value) != InvalidAttrNumber || has_nullable_column(fkey->conrelid, fkey->conkey, fkey->nkeys))
				return true;
		}
		attnum = column == NULL ? InvalidAttrNumber : get_attnum(end, column);
		if (attnum != InvalidAttrNumber && has_nullable_column(end, &attnum, 1))
			return true;
	}
	return false;
}

/*
 * Takes what the caller has said about one name of the archive's; where that was
 * said of a name nearer to the table before, only what it says of columns.
 */
static void
take_mapping(const DgExtractArchive *archive, const char *schema, const char *name,
			 List *mappings, DgPlace *place)
{
	DgTableMapping *mapping = dg_extract_mapping_find(mappings, quote_qualified_identifier(dg_extract_text(archive, schema),
																						   dg_extract_text(archive, name)));
	char		relkind;

	if (mapping == NULL)
		return;
	place->mappings = list_append_unique_ptr(place->mappings, mapping);
	place->left_out |= mapping->left_out && !place->mapped;
	if (place->mapped || !OidIsValid(mapping->relation))
		return;
	relkind = get_rel_relkind(mapping->relation);
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", get_rel_name(mapping->relation)),
				 errdetail("The archive's table %s is mapped to it.", mapping->name)));
	place->relid = mapping->relation;
	place->mapped = true;
}

/*
 * The live table of the same name, or of that of a table that the archive says
 * this one was a partition of, or inherited from.
 */
static void
find_live(const DgExtractArchive *archive, const DgArchiveTable *table, List *mappings, DgPlace *place)
{
	const DgArchiveParent *parent = dg_archive_parent(archive->archive, table->schema, table->name);
	bool		inherited = false;

	/*
	 * a chunk may be another's now, or gone: the hypertable finds the rows'
	 * chunks
	 */
	if (parent != NULL && !parent->partition)
	{
		place->relid = dg_extract_live_name(archive, parent->parent_schema, parent->parent_name);
		if (OidIsValid(place->relid) && dg_is_hypertable(place->relid))
			return;
	}
	place->relid = dg_extract_live_name(archive, table->schema, table->name);
	if (!OidIsValid(place->relid))
		place->relid = dg_extract_live_name(archive, table->target_schema, table->target_name);
	for (int depth = 0; depth < MAX_DEPTH && parent != NULL && !has_tenant_source(place->relid); depth++)
	{
		DgPlace		above = {.relid = InvalidOid};

		inherited |= !parent->partition;
		above.relid = dg_extract_live_name(archive, parent->parent_schema, parent->parent_name);
		take_mapping(archive, parent->parent_schema, parent->parent_name, mappings, &above);
		if (OidIsValid(place->relid) ? has_tenant_source(above.relid) && !inherited : OidIsValid(above.relid))
		{
			place->relid = above.relid;
			place->inherited = inherited;
			place->mappings = list_concat_unique_ptr(place->mappings, above.mappings);
		}
		parent = dg_archive_parent(archive->archive, parent->parent_schema, parent->parent_name);
	}
}

/*
 * Finds out where a table's rows belong: as a mapping of it, or of what it was a
 * partition of, says; else by the names. place.relid is InvalidOid if no live
 * table is known; inherited if only one is from which the table inherited.
 */
DgPlace
dg_extract_place(const DgExtractArchive *archive, const DgArchiveTable *table, List *mappings)
{
	DgPlace		place = {.relid = InvalidOid};
	const DgArchiveParent *parent = dg_archive_parent(archive->archive, table->schema, table->name);

	take_mapping(archive, table->schema, table->name, mappings, &place);
	take_mapping(archive, table->target_schema, table->target_name, mappings, &place);
	for (int depth = 0; depth < MAX_DEPTH && parent != NULL && parent->partition; depth++)
	{
		take_mapping(archive, parent->parent_schema, parent->parent_name, mappings, &place);
		parent = dg_archive_parent(archive->archive, parent->parent_schema, parent->parent_name);
	}
	if (!place.mapped)
		find_live(archive, table, mappings, &place);
	return place;
}
