/*
 * extract_plan.c
 *		Which tables of an archive hold tenants' rows, and where these go.
 *
 * A table of the archive belongs to a live one (extract_source.c), and its rows
 * go to that or, if it is a partition, to the root that is guarded. What is not
 * read is accounted for (extract_account.c).
 *
 * In which order they are read is extract_passes.c's.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "archive/archive.h"
#include "guard/guard.h"
#include "extract/extract_internal.h"
#include "rows/rows.h"

/*
 * Finds how the tenants of a source's rows are told, if at all.
 */
static void
plan_source(DgExtractPlan *plan, DgSource *source)
{
	List	   *paths;

	if (!dg_extract_tenant_source(source->relid, &source->target, &paths))
		return;
	LockRelationOid(source->target, AccessShareLock);
	if (get_rel_name(source->target) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table that %s of the archive belongs to was dropped just now", source->name)));
	source->finder = dg_extract_finder_get(&plan->finders, source->target, paths, plan->tenants);
}

/* ----------------------------------------------------------------------
 * Which of them are wanted
 * ----------------------------------------------------------------------
 */

static bool
is_in_archive(const DgExtractPlan *plan, Oid root)
{
	ListCell   *lc;

	foreach(lc, plan->sources)
	{
		DgSource   *source = lfirst(lc);

		if (source->finder != NULL && !source->inherited && source->target == root)
			return true;
	}
	return false;
}

/*
 * The enrolled tables that the caller named, each once.
 */
static List *
named_roots(const DgExtractArchive *archive, const DgExtractPlan *plan, List *relations)
{
	List	   *roots = NIL;
	ListCell   *lc;

	foreach(lc, relations)
	{
		Oid			root;
		List	   *paths;

		if (get_rel_name(lfirst_oid(lc)) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation with OID %u does not exist", lfirst_oid(lc))));
		if (!dg_extract_tenant_source(lfirst_oid(lc), &root, &paths))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot tell tenants of \"%s\": it is not guarded with a tenant column or path",
							get_rel_name(lfirst_oid(lc))),
					 errhint("Guard it with deletion_guard.guard_table(), or leave it out of relations.")));
		if (dg_extract_is_others(root, plan->tenants))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("all rows of \"%s\" are tenant \"%s\"'s, who is not asked for",
							get_rel_name(root), dg_guard_lookup(root)->tenant),
					 errhint("Leave the table out of relations.")));
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
 * Does the source have the columns that tell its rows' tenants?
 */
static bool
tells_tenants(const DgSource *source)
{
	return source->known &&
		dg_extract_source_has_columns(source, source->finder->ncolumns, source->finder->columns);
}

/*
 * Only the caller may decide to leave out a table that holds tenants' rows.
 */
static void
refuse_untold(const DgSource *source, const DgArchiveTable *table)
{
	const DgFinder *finder = source->finder;

	if (!source->known)
		ereport(ERROR,
				(errcode(DG_ERRCODE_ARCHIVE_UNSUPPORTED),
				 errmsg("the archive does not tell the columns of table %s", source->name),
				 errdetail("Its rows are INSERT statements without column lists, and the archive %s.", table->no_columns),
				 errhint("Dump with table definitions, or with --column-inserts; before a script, put what pg_dump --schema-only writes. To do without the table, name others in relations, or say left_out => 'report'.")));
	for (int i = 0; i < finder->ncolumns; i++)
	{
		if (!dg_extract_source_has_columns(source, 1, &finder->columns[i]))
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_RESTORE),
					 errmsg("cannot tell tenants of the archive's table %s: it has no column \"%s\"",
							source->name, finder->columns[i]),
					 errdetail("The live table \"%s\" is guarded by that column.", get_rel_name(source->target)),
					 errhint("If the column had another name, say so with mapping. To do without the table, name the others in relations, or say left_out => 'report'.")));
	}
}

/*
 * Is a source to be read for its rows? If not, that is accounted for.
 */
static bool
is_wanted(DgExtractArchive *archive, DgExtractPlan *plan, DgSource *source, List *roots)
{
	const DgArchiveTable *table = dg_archive_table(archive->archive, source->index);
	DgArchiveError error;

	if (source->finder == NULL)
		return false;
	if (plan->chosen && source->gone)
	{
		dg_extract_account_leave(plan, InvalidOid, DG_LEFT_UNKNOWN, psprintf(DG_GONE_TEXT, source->name));
		return false;
	}
	if (plan->chosen && !list_member_oid(roots, source->target))
	{
		dg_extract_account_leave(plan, source->target, DG_LEFT_CHOSEN, "not among relations; left out");
		return false;
	}
	if (table->problem != NULL)
	{
		/* say what, with the way out */
		if (!plan->report && dg_archive_rows_open(archive->archive, source->index, &error) == NULL)
			dg_extract_fail(archive, &error);
		dg_extract_account_leave(plan, source->target, DG_LEFT_UNKNOWN,
								 psprintf("%s; left out", dg_extract_text(archive, table->problem)));
		return false;
	}
	if (!tells_tenants(source))
	{
		if (!plan->report && !source->inherited)
			refuse_untold(source, table);
		dg_extract_account_leave(plan, source->target, DG_LEFT_UNKNOWN,
								 psprintf("the archive's table %s does not have the columns that tell its rows' tenants; left out",
										  source->name));
		return false;
	}
	source->counted = source->inherited;
	return !source->counted;
}

/*
 * Why no table of the archive that is guarded here can be read; NULL if it has
 * none.
 */
static char *
why_none(DgExtractArchive *archive, DgExtractPlan *plan)
{
	ListCell   *lc;

	foreach(lc, plan->sources)
	{
		DgSource   *source = lfirst(lc);
		const DgArchiveTable *table = dg_archive_table(archive->archive, source->index);

		if (source->finder == NULL || source->inherited)
			continue;
		if (table->problem != NULL)
			return psprintf("Table %s: %s.", source->name, dg_extract_text(archive, table->problem));
		return source->known ?
			psprintf("Table %s does not have the columns that tell its rows' tenants.", source->name) :
			psprintf("Rows of table %s are INSERT statements without column lists, and the archive %s.", source->name, table->no_columns);
	}
	return NULL;
}

/*
 * That a call has nothing to read is an error, however much may be left out.
 */
static void
refuse_none(DgExtractArchive *archive, DgExtractPlan *plan)
{
	char	   *why = why_none(archive, plan);

	if (dg_archive_table_count(archive->archive) == 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_TENANT_NOT_IN_ARCHIVE),
				 errmsg("archive \"%s\" has no rows", archive->path),
				 errdetail("It has no data of any table%s.", dg_extract_of_database(archive)),
				 errhint("It may have been made with --schema-only or --section=pre-data, or be of an empty database. Take another one.")));
	if (why != NULL)
		ereport(ERROR,
				(errcode(DG_ERRCODE_ARCHIVE_UNSUPPORTED),
				 errmsg("archive \"%s\" has no table whose rows can be told by tenant", archive->path),
				 errdetail_internal("%s", why),
				 errhint("Take an archive with table definitions, or one of --column-inserts. If columns had other names, say so with mapping.")));
	ereport(ERROR,
			(errcode(DG_ERRCODE_TENANT_NOT_IN_ARCHIVE),
			 errmsg("archive \"%s\" has no table that holds tenants' rows", archive->path),
			 errdetail("None of its tables has the name of a table that is guarded here with a tenant column or path%s.",
					   dg_extract_of_database(archive)),
			 errhint("deletion_guard.archive_contents() lists its tables. Guard the tables that hold tenants' rows.")));
}

static void
choose_sources(DgExtractArchive *archive, DgExtractPlan *plan, List *relations)
{
	List	   *roots = named_roots(archive, plan, relations);
	ListCell   *lc;

	foreach(lc, plan->sources)
	{
		DgSource   *source = lfirst(lc);

		if (!is_wanted(archive, plan, source, roots))
			continue;
		source->wanted = true;
		dg_extract_source_set_objects(archive, source);
		plan->targets = list_append_unique_oid(plan->targets, source->target);
	}
	if (plan->targets == NIL)
		refuse_none(archive, plan);
}

/*
 * The tenants that rows are to be of: those of the call and, where mapping gives a
 * column that tells it a value, that one; as keys.
 */
List *
dg_extract_plan_tenants(const DgExtractPlan *plan)
{
	List	   *keys = dg_extract_tenant_list(plan->tenants);
	ListCell   *lc;

	foreach(lc, plan->sources)
	{
		DgSource   *source = lfirst(lc);

		for (int i = 0; source->wanted && i < source->ncolumns; i++)
		{
			if (source->constants[i] != NULL && source->finder->parents == NIL && source->finder->ncolumns == 1 &&
				strcmp(source->columns[i].name, source->finder->columns[0]) == 0)
				keys = lappend(keys, source->constants[i]);
		}
	}
	return keys;
}

/*
 * Plans a call. relations is a list of OIDs, NIL for all; mapping one of
 * DgTableMapping. What is left out is an error if that can be told, unless it is
 * to be reported. The plan is in the current memory context.
 */
DgExtractPlan *
dg_extract_plan(DgExtractArchive *archive, DgTenants *tenants, List *relations, List *mapping,
				bool report)
{
	DgExtractPlan *plan = palloc0(sizeof(DgExtractPlan));
	ListCell   *lc;

	plan->tenants = tenants;
	plan->mapping = mapping;
	plan->chosen = (relations != NIL);
	plan->report = report;
	plan->server = archive->server != NULL;
	dg_extract_tell(archive);
	for (int i = 0; i < dg_archive_table_count(archive->archive); i++)
	{
		DgSource   *source = dg_extract_source_make(archive, plan, i, mapping);

		if (source != NULL)
			plan->sources = lappend(plan->sources, source);
	}
	dg_extract_mapping_check_used(mapping);
	if (!report && !plan->chosen)
		dg_extract_check_lost_schemas(archive, plan);
	foreach(lc, plan->sources)
		plan_source(plan, lfirst(lc));
	choose_sources(archive, plan, relations);
	dg_extract_account_tables(archive, plan);
	dg_extract_plan_passes(plan);
	return plan;
}

/*
 * The tables that an argument names; NIL: all.
 */
List *
dg_extract_relations_argument(FunctionCallInfo fcinfo, int n)
{
	List	   *relations;

	if (PG_ARGISNULL(n))
		return NIL;
	relations = dg_array_oids(PG_GETARG_DATUM(n));
	if (relations == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("relations names no table"),
				 errhint("Leave it null for all tables that hold tenants' rows.")));
	return relations;
}
