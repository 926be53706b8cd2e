/*
 * rehydrate_plan.c
 *		Which tables of an archive hold tenants' rows, and where these go.
 *
 * A table of the archive belongs to the live table of the same name, and its
 * rows go to that table or, if it is a partition, to the root that is guarded.
 * What is guarded decides whether it holds rows of tenants, and how a row's
 * tenant is told.
 *
 * In which order they are read is rehydrate_passes.c's.
 */
#include "rehydrate.h"
#include "guard.h"

#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* ----------------------------------------------------------------------
 * Live tables
 * ----------------------------------------------------------------------
 */

/*
 * How the tenant of a table's rows is told: false if it is not. *root is the
 * table that was enrolled.
 */
static bool
tenant_source(Oid relid, Oid *root, List **path)
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

	if (!tenant_source(relid, &root, &path))
		return NULL;
	if (path != NIL)
		return dg_guard_path_text(path);
	return psprintf("column %s", quote_identifier(tenants->relid == root ? NameStr(tenants->key_column) :
												  NameStr(dg_guard_lookup(relid)->tenant_column)));
}

/* ----------------------------------------------------------------------
 * Tables of the archive
 * ----------------------------------------------------------------------
 */

static void
leave_alone(DgRehydratePlan *plan, Oid relid, char *problem)
{
	DgLeftAlone *left = palloc0(sizeof(DgLeftAlone));

	left->relid = relid;
	left->problem = problem;
	plan->left_alone = lappend(plan->left_alone, left);
}

/*
 * Is the table one of this extension, dumped along with the database?
 */
static bool
is_ours(const DgArchiveTable *table)
{
	return strcmp(table->schema, "deletion_guard") == 0 ||
		strcmp(table->schema, "deletion_guard_bin") == 0;
}

/*
 * Learns the columns of a source's rows, under the names they have now.
 */
static void
set_columns(DgRehydrateArchive *archive, DgSource *source, const DgArchiveTable *table,
			DgTableMapping *mapping)
{
	source->nfields = table->column_count;
	source->columns = palloc0(sizeof(DgSourceColumn) * (source->nfields + 1));
	source->fields = palloc0(sizeof(int) * (source->nfields + 1));
	for (int i = 0; i < source->nfields; i++)
	{
		const char *name = dg_mapping_column(mapping, dg_rehydrate_text(archive, table->columns[i]));

		if (name == NULL)
			continue;
		source->columns[source->ncolumns].name = name;
		source->columns[source->ncolumns].typmod = -1;
		source->fields[source->ncolumns++] = i;
	}
}

/*
 * Finds out where some columns are in a source's rows; false if it lacks one.
 */
bool
dg_source_find_columns(const DgSource *source, int ncolumns, const char **columns, int *fields)
{
	for (int i = 0; i < ncolumns; i++)
	{
		int			at = 0;

		while (at < source->ncolumns && strcmp(source->columns[at].name, columns[i]) != 0)
			at++;
		if (at == source->ncolumns)
			return false;
		fields[i] = source->fields[at];
	}
	return true;
}

bool
dg_source_has_columns(const DgSource *source, int ncolumns, const char **columns)
{
	int			fields[INDEX_MAX_KEYS];

	return dg_source_find_columns(source, ncolumns, columns, fields);
}

/*
 * Finds out the columns of a table. The first statement tells those of INSERTs,
 * whatever the table's definition says; only one without a list of them leaves
 * it to the definition. Sets *empty if they stay unknown because there are no
 * rows.
 */
static bool
complete_columns(DgRehydrateArchive *archive, const DgArchiveTable *table, int index, bool *empty)
{
	DgArchiveError error;
	DgArchiveRow row;
	int			rc;

	*empty = false;
	if (table->form == DG_ARCHIVE_COPY && table->has_columns)
		return true;
	archive->rows = dg_archive_rows_open(archive->archive, index, &error);
	if (archive->rows == NULL)
		dg_rehydrate_fail(archive, &error);
	if (!table->has_columns)
	{
		rc = dg_archive_rows_next(archive->rows, &row, &error);
		if (rc < 0)
			dg_rehydrate_fail(archive, &error);
		*empty = (rc == 0);
	}
	dg_archive_rows_close(&archive->rows);
	return table->has_columns;
}

/*
 * The live table that a table of the archive belongs to.
 */
static Oid
live_table(DgRehydrateArchive *archive, const DgArchiveTable *table, const DgTableMapping *mapping)
{
	char		relkind;

	if (mapping == NULL || !OidIsValid(mapping->relation))
		return dg_rehydrate_live_table(archive, table);
	relkind = get_rel_relkind(mapping->relation);
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", get_rel_name(mapping->relation)),
				 errdetail("The archive's table %s is mapped to it.", mapping->name)));
	return mapping->relation;
}

/*
 * A source for one table of the archive; NULL if no live table is meant.
 */
static DgSource *
make_source(DgRehydrateArchive *archive, DgRehydratePlan *plan, int index, List *mappings)
{
	const DgArchiveTable *table = dg_archive_table(archive->archive, index);
	char	   *name = dg_rehydrate_table_name(archive, table);
	DgTableMapping *mapping = dg_mapping_find(mappings, name);
	Oid			relid = live_table(archive, table, mapping);
	DgSource   *source;
	bool		empty;

	if (!OidIsValid(relid))
	{
		leave_alone(plan, InvalidOid,
					psprintf("the archive has a table %s, which does not exist here; its rows were not looked at (mapping can say which table they are of now)",
							 name));
		return NULL;
	}
	source = palloc0(sizeof(DgSource));
	source->known = complete_columns(archive, table, index, &empty);
	if (empty)
		return NULL;
	source->index = index;
	source->name = name;
	source->relid = relid;
	source->covers = lcons_oid(relid, get_rel_relispartition(relid) ? get_partition_ancestors(relid) : NIL);
	set_columns(archive, source, table, mapping);
	return source;
}

/*
 * Finds how the tenants of a source's rows are told, if at all.
 */
static void
plan_source(DgRehydratePlan *plan, DgSource *source)
{
	List	   *path;

	if (!tenant_source(source->relid, &source->target, &path))
	{
		leave_alone(plan, source->target, dg_guard_lookup(source->relid)->guarded ?
					"nothing tells which tenant its rows belong to; left alone" :
					"not guarded; left alone");
		return;
	}
	LockRelationOid(source->target, AccessShareLock);
	if (get_rel_name(source->target) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table that %s of the archive belongs to was dropped just now", source->name)));
	source->finder = dg_finder_get(&plan->finders, source->target, path, plan->tenants);
}

/* ----------------------------------------------------------------------
 * Which of them are wanted
 * ----------------------------------------------------------------------
 */

static bool
is_in_archive(const DgRehydratePlan *plan, Oid root)
{
	ListCell   *lc;

	foreach(lc, plan->sources)
	{
		DgSource   *source = lfirst(lc);

		if (source->finder != NULL && source->target == root)
			return true;
	}
	return false;
}

/*
 * The enrolled tables that the caller named, each once.
 */
static List *
named_roots(const DgRehydrateArchive *archive, const DgRehydratePlan *plan, List *relations)
{
	List	   *roots = NIL;
	ListCell   *lc;

	foreach(lc, relations)
	{
		Oid			root;
		List	   *path;

		if (get_rel_name(lfirst_oid(lc)) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation with OID %u does not exist", lfirst_oid(lc))));
		if (!tenant_source(lfirst_oid(lc), &root, &path))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot tell tenants of \"%s\": it is not guarded with a tenant column or path",
							get_rel_name(lfirst_oid(lc))),
					 errhint("Guard it with deletion_guard.guard_table(), or leave it out of relations.")));
		if (!is_in_archive(plan, root))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table \"%s\" is not in archive \"%s\"", get_rel_name(root), archive->path),
					 errhint("deletion_guard.archive_contents() lists what is.")));
		roots = list_append_unique_oid(roots, root);
	}
	return roots;
}

/*
 * Only the caller may decide to leave out a table that holds tenants' rows.
 */
static void
check_tenant_known(const DgSource *source)
{
	const DgFinder *finder = source->finder;

	if (!source->known)
		ereport(ERROR,
				(errcode(DG_ERRCODE_ARCHIVE_UNSUPPORTED),
				 errmsg("the archive does not tell the columns of table %s", source->name),
				 errdetail("Its rows are INSERT statements without column lists, and it has no table definitions."),
				 errhint("Dump with table definitions, or with --column-inserts. To do without the table, name others in relations.")));
	for (int i = 0; i < finder->ncolumns; i++)
	{
		if (!dg_source_has_columns(source, 1, &finder->columns[i]))
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_RESTORE),
					 errmsg("cannot tell tenants of the archive's table %s: it has no column \"%s\"",
							source->name, finder->columns[i]),
					 errdetail("The live table \"%s\" is guarded by that column.", get_rel_name(source->target)),
					 errhint("If the column had another name, say so with mapping. To do without the table, name the others in relations.")));
	}
}

/*
 * For messages: "; it is of database "x"", if that is another one.
 */
static char *
of_database(const DgRehydrateArchive *archive)
{
	char	   *database = dg_rehydrate_text(archive, archive->info->database);

	if (database[0] == '\0' || strcmp(database, get_database_name(MyDatabaseId)) == 0)
		return "";
	return psprintf("; it is of database \"%s\"", database);
}

static void
choose_sources(DgRehydrateArchive *archive, DgRehydratePlan *plan, List *relations)
{
	List	   *roots = named_roots(archive, plan, relations);
	ListCell   *lc;

	foreach(lc, plan->sources)
	{
		DgSource   *source = lfirst(lc);

		source->wanted = source->finder != NULL &&
			(relations == NIL || list_member_oid(roots, source->target));
		if (!source->wanted)
			continue;
		check_tenant_known(source);
		dg_source_set_objects(archive, source);
		plan->targets = list_append_unique_oid(plan->targets, source->target);
	}
	if (plan->targets == NIL && dg_archive_table_count(archive->archive) == 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_TENANT_NOT_IN_ARCHIVE),
				 errmsg("archive \"%s\" has no rows", archive->path),
				 errdetail("It has no data of any table%s.", of_database(archive)),
				 errhint("It may have been made with --schema-only or --section=pre-data, or be of an empty database. Take another one.")));
	if (plan->targets == NIL)
		ereport(ERROR,
				(errcode(DG_ERRCODE_TENANT_NOT_IN_ARCHIVE),
				 errmsg("archive \"%s\" has no table that holds tenants' rows", archive->path),
				 errdetail("None of its tables has the name of a table that is guarded here with a tenant column or path%s.",
						   of_database(archive)),
				 errhint("deletion_guard.archive_contents() lists its tables. Guard the tables that hold tenants' rows.")));
}

/*
 * The tables of the archive that have rows of a table, or of partitions of it;
 * a list of DgSource.
 */
List *
dg_rehydrate_sources(DgRehydrateArchive *archive, Oid relid)
{
	DgRehydratePlan plan = {0};
	List	   *sources = NIL;

	for (int i = 0; i < dg_archive_table_count(archive->archive); i++)
	{
		DgSource   *source = is_ours(dg_archive_table(archive->archive, i)) ? NULL :
			make_source(archive, &plan, i, NIL);

		if (source != NULL && list_member_oid(source->covers, relid))
			sources = lappend(sources, source);
	}
	return sources;
}

/*
 * An archive of a database with another name may be the right one, or the
 * mistake of a long night. The notice comes once for each archive in a
 * session, not for each of many calls.
 */
static void
tell_database(const DgRehydrateArchive *archive)
{
	static uint32 told = 0;
	uint32		hash = string_hash(archive->path, strlen(archive->path) + 1);

	if (of_database(archive)[0] == '\0' || told == hash)
		return;
	told = hash;
	ereport(NOTICE,
			(errmsg("archive \"%s\" is of database \"%s\"", archive->path,
					dg_rehydrate_text(archive, archive->info->database))));
}

/*
 * Plans a call. relations is a list of OIDs, NIL for all; mapping one of
 * DgTableMapping. The plan is in the current memory context.
 */
DgRehydratePlan *
dg_rehydrate_plan(DgRehydrateArchive *archive, DgTenants *tenants, List *relations, List *mapping)
{
	DgRehydratePlan *plan = palloc0(sizeof(DgRehydratePlan));
	ListCell   *lc;

	plan->tenants = tenants;
	plan->chosen = (relations != NIL);
	tell_database(archive);
	for (int i = 0; i < dg_archive_table_count(archive->archive); i++)
	{
		DgSource   *source = is_ours(dg_archive_table(archive->archive, i)) ? NULL :
			make_source(archive, plan, i, mapping);

		if (source != NULL)
			plan->sources = lappend(plan->sources, source);
	}
	dg_mapping_check_used(mapping);
	foreach(lc, plan->sources)
		plan_source(plan, lfirst(lc));
	choose_sources(archive, plan, relations);
	dg_plan_passes(plan);
	return plan;
}
