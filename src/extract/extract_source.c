/*
 * extract_source.c
 *		Tables of an archive as sources of rows: which live table one belongs to,
 *		and its columns under the names that they have now.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_largeobject.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "archive/archive.h"
#include "extract/extract_internal.h"
#include "rows/rows.h"

/*
 * Is the table one of this extension, dumped along with the database?
 */
static bool
is_ours(const DgArchiveTable *table)
{
	return strcmp(table->schema, "deletion_guard") == 0 ||
		strcmp(table->schema, "deletion_guard_bin") == 0;
}

static void
add_source_column(DgSource *source, const char *name, int field, char *constant)
{
	source->columns[source->ncolumns].name = name;
	source->columns[source->ncolumns].typmod = -1;
	source->constants[source->ncolumns] = constant;
	source->fields[source->ncolumns++] = field;
}

/*
 * Learns the columns of a source's rows, under the names they have now.
 */
static void
set_columns(DgExtractArchive *archive, DgExtractPlan *plan, DgSource *source,
			const DgArchiveTable *table, List *mappings)
{
	source->nfields = table->column_count;
	source->columns = palloc0(sizeof(DgSourceColumn) * (source->nfields + 1));
	source->fields = palloc0(sizeof(int) * (source->nfields + 1));
	source->constants = palloc0(sizeof(char *) * (source->nfields + 1));
	source->hidden = palloc0(sizeof(char *) * (source->nfields + 1));
	source->hidden_fields = palloc0(sizeof(int) * (source->nfields + 1));
	for (int i = 0; i < source->nfields; i++)
	{
		char	   *archived = dg_extract_text(archive, table->columns[i]);
		DgColumnMapping *column = dg_extract_mapping_column(mappings, archived);

		if (table->generated != NULL && table->generated[i])
			continue;
		if (column == NULL || (column->to != NULL && !column->constant))
		{
			add_source_column(source, column == NULL ? archived : column->to, i, NULL);
			continue;
		}
		source->hidden[source->nhidden] = archived;
		source->hidden_fields[source->nhidden++] = i;
		if (column->constant)
			add_source_column(source, column->to, -1, column->value);
		dg_extract_account_leave(plan, source->relid, DG_LEFT_CHOSEN,
								 psprintf(column->constant ?
										  "column \"%s\" of the archive's table %s was replaced by a value, as mapping says" :
										  "column \"%s\" of the archive's table %s was left out, as mapping says",
										  archived, source->name));
	}
}

/*
 * A table without rows whose columns nothing tells is taken to have had those of
 * today.
 */
static void
set_live_columns(DgSource *source, List *mappings)
{
	Relation	rel = table_open(source->relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	ListCell   *lc;
	ListCell   *lc2;

	source->columns = palloc0(sizeof(DgSourceColumn) * (desc->natts + 1));
	source->fields = palloc0(sizeof(int) * (desc->natts + 1));
	source->constants = palloc0(sizeof(char *) * (desc->natts + 1));
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			add_source_column(source, pstrdup(NameStr(TupleDescAttr(desc, i)->attname)), source->ncolumns, NULL);
	}
	source->nfields = source->ncolumns;
	table_close(rel, NoLock);
	foreach(lc, mappings)
	{
		foreach(lc2, ((DgTableMapping *) lfirst(lc))->columns)
			((DgColumnMapping *) lfirst(lc2))->used = true;
	}
}

/*
 * Where a column is in a source's rows, by its live name; -1 if it is not there.
 * One that mapping leaves out, or replaces, is known by the archive's name.
 */
static int
field_of(const DgSource *source, const char *name)
{
	for (int i = 0; i < source->ncolumns; i++)
	{
		if (source->fields[i] >= 0 && strcmp(source->columns[i].name, name) == 0)
			return source->fields[i];
	}
	for (int i = 0; i < source->nhidden; i++)
	{
		if (strcmp(source->hidden[i], name) == 0)
			return source->hidden_fields[i];
	}
	return -1;
}

/*
 * Finds out where some columns are in a source's rows; false if it lacks one.
 */
bool
dg_extract_source_find_columns(const DgSource *source, int ncolumns, const char **columns, int *fields)
{
	for (int i = 0; i < ncolumns; i++)
	{
		fields[i] = field_of(source, columns[i]);
		if (fields[i] < 0)
			return false;
	}
	return true;
}

/*
 * Does the source have all of these columns?
 */
bool
dg_extract_source_has_columns(const DgSource *source, int ncolumns, const char **columns)
{
	int			fields[INDEX_MAX_KEYS + 1];

	return dg_extract_source_find_columns(source, ncolumns, columns, fields);
}

/*
 * Finds out the columns of a table. The first statement tells those of INSERTs,
 * whatever the table's definition says; only one without a list of them leaves
 * it to the definition. Sets *empty if they stay unknown because there are no
 * rows.
 */
static bool
complete_columns(DgExtractArchive *archive, const DgArchiveTable *table, int index, bool *empty)
{
	DgArchiveRow row;

	*empty = false;
	if ((table->form == DG_ARCHIVE_COPY && table->has_columns) || table->problem != NULL)
		return table->has_columns;
	dg_extract_rows_open(archive, index, NULL);
	if (!table->has_columns)
		*empty = !dg_extract_rows_next(archive, &row);
	dg_archive_rows_close(&archive->rows);
	return table->has_columns;
}

/*
 * Accounts for a table of the archive that the caller does not want. If none of
 * its rows can be tenants', as far as is known here, it need not be told of each.
 */
static void
leave_table(DgExtractArchive *archive, DgExtractPlan *plan, int index, Oid relid, const char *name)
{
	Oid			root = InvalidOid;
	List	   *paths;
	bool		tenants = OidIsValid(relid) && dg_extract_tenant_source(relid, &root, &paths);

	if (tenants)
		plan->unwanted = lappend_oid(plan->unwanted, root);
	if (dg_extract_has_rows(archive, index))
		dg_extract_account_leave(plan, root, tenants ? DG_LEFT_CHOSEN : DG_LEFT_SHARED,
								 psprintf("the archive's table %s was left out, as mapping says", name));
}

/*
 * A guarded table whose tenant column a table of the archive has as well, by name
 * and type, or InvalidOid.
 */
static Oid
table_of_column(const DgExtractArchive *archive, const DgArchiveTable *table)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Oid			relid = InvalidOid;

	SPI_connect();
	for (int i = 0; i < table->column_count && !OidIsValid(relid); i++)
	{
		const char *type = table->types == NULL ? NULL : table->types[i];
		Datum		values[] = {CStringGetTextDatum(dg_extract_text(archive, table->columns[i])),
		type == NULL ? (Datum) 0 : CStringGetTextDatum(dg_extract_text(archive, type))};

		dg_query("SELECT g.relation::oid FROM ONLY deletion_guard.guard g JOIN pg_catalog.pg_attribute a"
				 " ON a.attrelid = g.relation AND a.attname = g.tenant_column AND NOT a.attisdropped"
				 " WHERE g.tenant_column = $1::name AND format_type(a.atttypid, a.atttypmod) = coalesce($2, format_type(a.atttypid, a.atttypmod))"
				 " AND g.relation NOT IN (SELECT t.relation FROM ONLY deletion_guard.tenant_table t)"
				 " ORDER BY g.relation::text LIMIT 1", DG_AS_US, 2, types, values, type == NULL ? " n" : NULL,
				 .snapshot = GetLatestSnapshot());
		if (SPI_processed > 0)
			relid = linitial_oid(dg_row_oids(1));
	}
	SPI_finish();
	return relid;
}

/*
 * Of a table that does not exist here: the tenants' rows are counted, if a column
 * tells them as in other tables.
 */
static DgSource *
make_gone(DgExtractArchive *archive, DgExtractPlan *plan, int index, const char *name, List *mappings)
{
	const DgArchiveTable *table = dg_archive_table(archive->archive, index);
	DgSource   *source;
	Oid			relid;

	if (!dg_extract_has_rows(archive, index) || dg_extract_note_lost(archive, plan, index, name))
		return NULL;
	relid = table->problem == NULL && table->has_columns ? table_of_column(archive, table) : InvalidOid;
	if (!OidIsValid(relid))
	{
		dg_extract_account_leave(plan, InvalidOid, DG_LEFT_UNKNOWN, psprintf(DG_GONE_TEXT, name));
		return NULL;
	}
	source = palloc0(sizeof(DgSource));
	source->known = true;
	source->index = index;
	source->name = pstrdup(name);
	source->relid = relid;
	source->inherited = source->gone = true;
	set_columns(archive, plan, source, table, mappings);
	return source;
}

/*
 * A source for one table of the archive; NULL if no live table is meant.
 */
DgSource *
dg_extract_source_make(DgExtractArchive *archive, DgExtractPlan *plan, int index, List *mappings)
{
	const DgArchiveTable *table = dg_archive_table(archive->archive, index);
	char	   *name = dg_extract_table_name(archive, table);
	DgPlace		place;
	DgSource   *source;
	bool		empty;

	if (is_ours(table))
		return NULL;
	place = dg_extract_place(archive, table, mappings);
	if (place.left_out)
	{
		leave_table(archive, plan, index, place.relid, name);
		return NULL;
	}
	if (!OidIsValid(place.relid))
		return make_gone(archive, plan, index, name, place.mappings);
	if (plan->tenants != NULL && dg_extract_is_others(place.relid, plan->tenants))
		return NULL;
	source = palloc0(sizeof(DgSource));
	source->known = complete_columns(archive, table, index, &empty) || empty;
	source->index = index;
	source->name = name;
	source->relid = place.relid;
	source->inherited = place.inherited;
	/* no foreign key leads to rows of a table that inherits */
	if (!place.inherited)
		source->covers = lcons_oid(place.relid, get_rel_relispartition(place.relid) ?
								   get_partition_ancestors(place.relid) : NIL);
	if (empty)
		set_live_columns(source, place.mappings);
	else
		set_columns(archive, plan, source, table, place.mappings);
	return source;
}

/*
 * The tables of the archive that have rows of a table, or of partitions of it;
 * a list of DgSource.
 */
List *
dg_extract_sources(DgExtractArchive *archive, Oid relid, List *mapping)
{
	DgExtractPlan plan = {0};
	List	   *sources = NIL;

	for (int i = 0; i < dg_archive_table_count(archive->archive); i++)
	{
		DgSource   *source = dg_extract_source_make(archive, &plan, i, mapping);

		if (source != NULL && list_member_oid(source->covers, relid))
			sources = lappend(sources, source);
	}
	return sources;
}

/* ----------------------------------------------------------------------
 * Large objects
 *
 * They belong to no row, and so to no tenant, and are not restored. Rows come
 * back with their references as they were. These may still lead to the objects,
 * which do not go when a row does; those that lead nowhere are counted.
 *
 * A column of type oid, or of a domain over it, may hold such references, if the
 * archive has large objects at all.
 * ----------------------------------------------------------------------
 */

/*
 * Finds the columns of a source that may refer to large objects.
 */
void
dg_extract_source_set_objects(const DgExtractArchive *archive, DgSource *source)
{
	if (!archive->info->large_objects)
		return;
	source->objects = palloc(sizeof(int) * (source->ncolumns + 1));
	for (int i = 0; i < source->ncolumns; i++)
	{
		AttrNumber	attnum = get_attnum(source->target, source->columns[i].name);

		if (attnum != InvalidAttrNumber && getBaseType(get_atttype(source->target, attnum)) == OIDOID)
			source->objects[source->nobjects++] = i;
	}
}

/*
 * Counts a row's references; its values are text.
 */
void
dg_extract_source_count_objects(const DgSource *source, const Datum *values, const bool *nulls,
								DgObjectCount *count)
{
	for (int i = 0; i < source->nobjects; i++)
	{
		int			column = source->objects[i];
		Oid			object;

		if (nulls[column])
			continue;
		object = (Oid) strtoul(DatumGetCString(values[column]), NULL, 10);
		if (!OidIsValid(object))
			continue;
		count->references++;
		if (LargeObjectExists(object))
			continue;
		if (count->missing++ == 0)
			count->first_missing = object;
	}
}

/*
 * Appends what a person should know about references that were counted.
 */
void
dg_extract_append_objects(StringInfo buf, const DgObjectCount *count)
{
	if (count->missing == 0)
		return;
	appendStringInfo(buf, count->references == 1 ? "%s%lld of %lld reference to large objects leads nowhere, to %u: large objects are not restored" :
					 "%s%lld of %lld references to large objects lead nowhere, to %u for one: large objects are not restored",
					 buf->len > 0 ? "; " : "", (long long) count->missing, (long long) count->references,
					 count->first_missing);
}
