/*
 * extract_account.c
 *		What a call leaves out of what an archive has of its tenants, and why.
 *
 * There is one account for each call, and every function's report is made from
 * it: rehydrate(), its dry run and its runs, compare_tenants(), drill().
 * Planning and reading put down here what is not restored or compared, or
 * cannot be:
 *
 *	chosen	by the caller: relations, mapping
 *	shared	a table of no tenant's rows that tenants' tables refer to: foreign
 *			keys say what of it is missing, with_referenced brings it
 *	absent	a table that holds tenants' rows here, which the archive does not have
 *	excluded	the same, but the archive defines it: it was made without its rows
 *	unknown	nothing tells whether the rows are of the tenants
 *	certain	rows of the tenants
 *
 * Rows that certainly are, or may be, of the tenants, and that were read, fail a
 * call, unless the caller wants them reported. A table whose rows nothing tells
 * anything about is reported.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "archive/archive.h"
#include "guard/guard.h"
#include "extract/extract_internal.h"

/* ----------------------------------------------------------------------
 * Putting down
 * ----------------------------------------------------------------------
 */

static List *
add_line(List *account, Oid relid, DgLeftKind kind, char *problem)
{
	DgLeftOut  *left;
	ListCell   *lc;

	foreach(lc, account)
	{
		left = lfirst(lc);
		if (left->relid == relid && strcmp(left->problem, problem) == 0)
			return account;
	}
	left = palloc0(sizeof(DgLeftOut));
	left->relid = relid;
	left->kind = kind;
	left->problem = problem;
	return lappend(account, left);
}

/*
 * Puts down what is known to be left out before anything is read: of a live
 * table or, where there is none, InvalidOid.
 */
void
dg_extract_account_leave(DgExtractPlan *plan, Oid relid, DgLeftKind kind, char *problem)
{
	plan->left_out = add_line(plan->left_out, relid, kind, problem);
}

/*
 * Does a table of the archive have rows? One that cannot be read may.
 */
bool
dg_extract_has_rows(DgExtractArchive *archive, int index)
{
	DgArchiveError error;
	DgArchiveRow row;
	int			rc;

	if (archive->server != NULL)
		return dg_archive_table(archive->archive, index)->problem != NULL || dg_server_has_rows(archive->server, index);
	archive->rows = dg_archive_rows_open(archive->archive, index, &error);
	if (archive->rows == NULL)
		return true;
	rc = dg_archive_rows_next(archive->rows, &row, &error);
	dg_archive_rows_close(&archive->rows);
	return rc != 0;
}

/*
 * The tables that some tables refer to, and those that these do, until there are
 * no more, behind those given.
 */
static List *
with_referenced_tables(List *tables)
{
	List	   *all = list_copy(tables);

	for (int i = 0; i < list_length(all); i++)
	{
		Relation	rel = table_open(list_nth_oid(all, i), AccessShareLock);
		ListCell   *lc;

		foreach(lc, dg_foreign_keys(rel))
			all = list_append_unique_oid(all, ((ForeignKeyCacheInfo *) lfirst(lc))->confrelid);
		table_close(rel, NoLock);
	}
	return all;
}

static bool
is_referenced(const DgSource *source, const List *referenced)
{
	ListCell   *lc;

	foreach(lc, source->covers)
	{
		if (list_member_oid(referenced, lfirst_oid(lc)))
			return true;
	}
	return false;
}

/*
 * Is it a table that an extension has made for itself, in a schema of its own? Such
 * tables come with the extension.
 */
static bool
belongs_to_extension(Oid relid)
{
	return OidIsValid(getExtensionOfObject(RelationRelationId, relid)) &&
		OidIsValid(getExtensionOfObject(NamespaceRelationId, get_rel_namespace(relid)));
}

/*
 * Puts down the tables of which nothing tells whose rows they have.
 */
static void
leave_untold(DgExtractArchive *archive, DgExtractPlan *plan)
{
	List	   *referenced = with_referenced_tables(plan->targets);
	ListCell   *lc;

	foreach(lc, plan->sources)
	{
		DgSource   *source = lfirst(lc);
		bool		guarded = dg_guard_lookup(source->relid)->guarded;

		if (source->finder == NULL && dg_extract_has_rows(archive, source->index) &&
			(guarded || !belongs_to_extension(source->relid)))
			dg_extract_account_leave(plan, source->target,
									 is_referenced(source, referenced) ? DG_LEFT_SHARED : DG_LEFT_UNKNOWN,
									 guarded ?
									 "nothing tells which tenant its rows belong to; left alone" :
									 "not guarded; left alone");
	}
}

/*
 * The guarded tables that may hold rows of the plan's tenants, in the order of their
 * names; of those that are one tenant's whole only theirs.
 */
static List *
tables_of_tenants(const DgExtractPlan *plan)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *relids = NIL;

	SPI_connect();
	dg_query("SELECT relation::oid FROM ONLY deletion_guard.guard"
			 " WHERE tenant_column IS NOT NULL OR tenant_path IS NOT NULL OR tenant IS NOT NULL"
			 " ORDER BY relation::text", DG_AS_US,.snapshot = GetLatestSnapshot());
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;
		Oid			relid = DatumGetObjectId(dg_row_datum(row, 1, &isnull));
		MemoryContext old = MemoryContextSwitchTo(context);

		if (!dg_extract_is_others(relid, plan->tenants))
			relids = lappend_oid(relids, relid);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return relids;
}

/*
 * Finds the live tables that hold tenants' rows and are not in the archive.
 */
static void
find_absent(DgExtractPlan *plan)
{
	List	   *present = list_copy(plan->unwanted);
	ListCell   *lc;

	foreach(lc, plan->sources)
	{
		DgSource   *source = lfirst(lc);

		if (!source->inherited)
			present = list_append_unique_oid(present, source->target);
	}
	plan->absent = list_difference_oid(tables_of_tenants(plan), present);
}

static bool
is_defined(const DgExtractArchive *archive, Oid relid)
{
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	char	   *name = get_rel_name(relid);

	return schema != NULL && name != NULL &&
		dg_archive_defines(archive->archive, pg_server_to_any(schema, strlen(schema), archive->encoding),
						   pg_server_to_any(name, strlen(name), archive->encoding));
}

/*
 * Puts down what can be told from the tables alone. The sources are chosen.
 */
void
dg_extract_account_tables(DgExtractArchive *archive, DgExtractPlan *plan)
{
	ListCell   *lc;

	if (archive->info->row_security)
		dg_extract_account_leave(plan, InvalidOid, DG_LEFT_UNKNOWN,
								 "the archive was made with row security on (pg_dump --enable-row-security): rows that policies hid from its maker are not in it");
	leave_untold(archive, plan);
	if (plan->chosen)
		return;
	find_absent(plan);
	foreach(lc, plan->absent)
	{
		Oid			relid = lfirst_oid(lc);
		bool		defined = is_defined(archive, relid);

		if (defined)
			plan->defined = lappend_oid(plan->defined, relid);
		/* of a partitioned table there may have been no partition */
		dg_extract_account_leave(plan, relid, defined && get_rel_relkind(relid) == RELKIND_RELATION ? DG_LEFT_EXCLUDED : DG_LEFT_ABSENT,
								 defined ? DG_DEFINED_TEXT : DG_ABSENT_TEXT);
	}
}

/* ----------------------------------------------------------------------
 * The account
 * ----------------------------------------------------------------------
 */

/*
 * What a person should know about a pass's orphans, palloc'd.
 */
static char *
orphans_text(const DgPass *pass)
{
	return psprintf(pass->orphans == 1 ? "%lld row of the archive's table %s was left out, as nothing tells whose it is: it refers to a row of \"%s\", %s, that the archive does not have and that is gone here, or has no tenant any more" :
					"%lld rows of the archive's table %s were left out, as nothing tells whose they are: they refer to rows of \"%s\", %s for one, that the archive does not have and that are gone here, or have no tenant any more",
					(long long) pass->orphans, pass->source->name,
					dg_extract_finder_parents(pass->finder), pass->orphan);
}

static char *
counted_text(const DgSource *source)
{
	if (source->gone)
		return psprintf(source->left_rows == 1 ? "%lld row of the tenants in the archive's table %s was left out: no table of that name exists here" :
						"%lld rows of the tenants in the archive's table %s were left out: no table of that name exists here",
						(long long) source->left_rows, source->name);
	return psprintf(source->left_rows == 1 ? "%lld row of the tenants in the archive's table %s was left out: the table, which inherited from \"%s\", does not exist here" :
					"%lld rows of the tenants in the archive's table %s were left out: the table, which inherited from \"%s\", does not exist here",
					(long long) source->left_rows, source->name, get_rel_name(source->relid));
}

/*
 * All that a call has left out: a list of DgLeftOut. The archive has been read, or
 * nothing of it.
 */
List *
dg_extract_account(const DgExtractPlan *plan)
{
	List	   *account = NIL;
	ListCell   *lc;

	foreach(lc, plan->passes)
	{
		DgPass	   *pass = lfirst(lc);

		if (pass->orphans > 0)
			account = add_line(account, pass->source->target, DG_LEFT_UNKNOWN, orphans_text(pass));
		if (pass->dangling > 0)
			account = add_line(account, pass->source->target, DG_LEFT_NOBODYS,
							   psprintf(pass->dangling == 1 ? "%lld row of the archive's table %s is nobody's: it refers to a row of \"%s\", %s, that the archive does not have" :
										"%lld rows of the archive's table %s are nobody's: they refer to rows of \"%s\", %s for one, that the archive does not have",
										(long long) pass->dangling, pass->source->name,
										dg_extract_finder_parents(pass->finder), pass->orphan));
		if (pass->undeclared > 0)
			account = add_line(account, pass->source->target, DG_LEFT_UNKNOWN,
							   psprintf("%lld rows of the archive's table %s were left out, as nothing tells whose they are: the tenant path does not declare their type, \"%s\" for one",
										(long long) pass->undeclared, pass->source->name, pass->undeclared_type));
		if (pass->source != NULL && pass->source->counted && pass->source->left_rows > 0)
			account = add_line(account, InvalidOid, DG_LEFT_CERTAIN, counted_text(pass->source));
	}
	return list_concat(account, plan->left_out);
}

static void
refuse_orphans(const DgPass *pass)
{
	const char *parent = dg_extract_finder_parents(pass->finder);

	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_RESTORE),
			 errmsg_plural("cannot tell whose %lld row of the archive's table %s is",
						   "cannot tell whose %lld rows of the archive's table %s are",
						   (unsigned long) pass->orphans, (long long) pass->orphans, pass->source->name),
			 errdetail_plural("It refers to a row of \"%s\", %s, that the archive does not have and that is gone here, or has no tenant any more.",
							  "They refer to rows of \"%s\", %s for one, that the archive does not have and that are gone here, or have no tenant any more.",
							  (unsigned long) pass->orphans, parent, pass->orphan),
			 errhint("Nothing was restored. Take an archive that has \"%s\" as well (if it has another name there, say so with mapping), or bring its rows back first, with undelete_tenant() or out of another archive. To restore only what is known to be the tenants', say left_out => 'report', or name the tables in relations.",
					 parent)));
}

static void
refuse_undeclared(const DgPass *pass)
{
	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_RESTORE),
			 errmsg("cannot tell whose rows of type \"%s\" in the archive's table %s are", pass->undeclared_type, pass->source->name),
			 errdetail("There are %lld rows of types that the tenant path of \"%s\" does not declare.",
					   (long long) pass->undeclared, get_rel_name(pass->source->target)),
			 errhint("Nothing was restored. Call deletion_guard.guard_table() with a tenant_path that has the type among its targets, null if such rows are nobody's; or leave them out with left_out => 'report'.")));
}

static void
refuse_counted(const DgSource *source)
{
	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_RESTORE),
			 errmsg_plural("%lld row of the tenants in the archive's table %s has no place here",
						   "%lld rows of the tenants in the archive's table %s have no place here",
						   (unsigned long) source->left_rows, (long long) source->left_rows, source->name),
			 source->gone ? errdetail("No table of that name exists here.") :
			 errdetail("The table inherited from \"%s\" and does not exist any more.", get_rel_name(source->relid)),
			 errhint("Nothing was restored. Say with mapping which table the rows are of now, or null for none; or leave them out with left_out => 'report'.")));
}

/*
 * Rows that are, or may be, the tenants' are not left out, unless the caller wants
 * that, or has chosen the tables, and so takes what can be had of them: then
 * they are reported.
 */
void
dg_extract_account_check(const DgExtractPlan *plan)
{
	ListCell   *lc;

	foreach(lc, plan->passes)
	{
		DgPass	   *pass = lfirst(lc);

		if (pass->orphans > 0 && !plan->chosen && !plan->report)
			refuse_orphans(pass);
		if (pass->undeclared > 0 && !plan->chosen && !plan->report)
			refuse_undeclared(pass);
		if (pass->source != NULL && pass->source->counted && pass->source->left_rows > 0 && !plan->report)
			refuse_counted(pass->source);
	}
}

/*
 * Fails because of orphans, if there are any: they may be the rows of a tenant who
 * has no others.
 */
void
dg_extract_account_refuse_orphans(const DgExtractPlan *plan)
{
	ListCell   *lc;

	foreach(lc, plan->passes)
	{
		if (((DgPass *) lfirst(lc))->orphans > 0)
			refuse_orphans(lfirst(lc));
	}
}

/*
 * "table: problem": a line as part of a longer text.
 */
void
dg_extract_account_append(StringInfo buf, Oid relid, const char *problem)
{
	if (buf->len > 0)
		appendStringInfoString(buf, "; ");
	if (OidIsValid(relid))
		appendStringInfo(buf, "%s: ", dg_relation_name(relid));
	appendStringInfoString(buf, problem);
}

/* ----------------------------------------------------------------------
 * Columns
 * ----------------------------------------------------------------------
 */

static bool
has_column(const DgSource *source, const char *name)
{
	for (int i = 0; i < source->ncolumns; i++)
	{
		if (strcmp(source->columns[i].name, name) == 0)
			return true;
	}
	return false;
}

/*
 * Do all sources of a table's rows have a column?
 */
bool
dg_extract_account_has_column(const DgExtractPlan *plan, Oid target, const char *name)
{
	ListCell   *lc;

	foreach(lc, plan->sources)
	{
		DgSource   *source = lfirst(lc);

		if (source->wanted && source->target == target && !has_column(source, name))
			return false;
	}
	return true;
}

static void
add_column_name(StringInfo buf, const char *name, const char *why)
{
	char	   *text = psprintf("column \"%s\" %s", name, why);

	if (strstr(buf->data, text) == NULL)
		appendStringInfo(buf, "%s%s", buf->len > 0 ? "; " : "", text);
}

/*
 * The columns that a comparison of a table cannot compare, as a person reads it,
 * palloc'd; NULL if there are none.
 */
char *
dg_extract_account_columns(const DgExtractPlan *plan, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, plan->sources)
	{
		DgSource   *source = lfirst(lc);

		if (!source->wanted || source->target != RelationGetRelid(rel))
			continue;
		for (int i = 0; i < source->ncolumns; i++)
		{
			AttrNumber	attnum = get_attnum(source->target, source->columns[i].name);

			if (attnum == InvalidAttrNumber)
				add_column_name(&buf, source->columns[i].name, "is in the archive only, and not compared");
			else if (attnum > 0 && TupleDescAttr(desc, attnum - 1)->attgenerated != '\0')
				add_column_name(&buf, source->columns[i].name, "is generated here, and not compared");
		}
	}
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && att->attgenerated == '\0' &&
			!dg_extract_account_has_column(plan, RelationGetRelid(rel), NameStr(att->attname)))
			add_column_name(&buf, NameStr(att->attname), "is not in the archive, and not compared");
	}
	return buf.len > 0 ? buf.data : NULL;
}
