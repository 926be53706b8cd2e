/*
 * undelete_destination.c
 *		The table that the rows of a bin table go to.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "bin/bin.h"
#include "capture/capture.h"
#include "rows/rows.h"
#include "undelete/undelete_internal.h"

/*
 * The columns of a bin table that are the guarded table's.
 */
static DgSourceColumn *
source_columns(TupleDesc desc, int *ncolumns)
{
	DgSourceColumn *columns = palloc(sizeof(DgSourceColumn) * desc->natts);

	*ncolumns = 0;
	for (int i = DG_BIN_COLUMNS; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		/* a column of the bin cannot be dropped, but see what is there */
		if (att->attisdropped)
			elog(ERROR, "bin table lost a column");
		columns[*ncolumns].name = NameStr(att->attname);
		columns[*ncolumns].type = att->atttypid;
		columns[*ncolumns].typmod = att->atttypmod;
		(*ncolumns)++;
	}
	return columns;
}

/*
 * How a table can be made again that was dropped, palloc'd; NULL if that is not
 * known.
 */
static char *
definition_of(const char *relation_name)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(relation_name)};
	MemoryContext caller = CurrentMemoryContext;
	char	   *definition = NULL;

	SPI_connect();
	dg_query("SELECT concat_ws(E'\n', definition, foreign_keys) FROM deletion_guard.dropped_table"
			 " WHERE relation_name = $1 ORDER BY dropped_id DESC LIMIT 1", DG_AS_US, 1, types, values);
	if (SPI_processed > 0)
		definition = MemoryContextStrdup(caller, dg_row_text(0, 1));
	SPI_finish();
	return definition;
}

/*
 * Fails, as the table is gone that a part is of.
 */
void
dg_undelete_refuse_orphan(DgSavedPart *part)
{
	char	   *bin = dg_relation_name(part->bin_table);
	char	   *definition = definition_of(part->relation_name);

	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_RESTORE),
			 errmsg("cannot restore rows of \"%s\": the table does not exist any more",
					part->relation_name),
			 definition == NULL ?
			 errdetail("%lld of its rows are in the bin, in deletion %lld.",
					   (long long) part->rows, (long long) part->id.deletion) :
			 errdetail("%lld of its rows are in the bin, in deletion %lld. As it was dropped, this would have made it again:\n%s",
					   (long long) part->rows, (long long) part->id.deletion, definition),
			 errhint("With on_conflict => 'skip' they stay in the bin and rows of other tables come back. When it has been made again, or if another table takes its place, deletion_guard.adopt_bin(%s, ...) gives it these rows.",
					 quote_literal_cstr(bin))));
}

static DgUndeleteDestination *
open_destination(DgRowsWriter *writer, DgSavedPart *part)
{
	Relation	bin;
	Relation	rel;
	DgUndeleteDestination *destination = palloc(sizeof(DgUndeleteDestination));
	DgSourceColumn *columns;
	int			ncolumns;

	LockRelationOid(part->relation, RowExclusiveLock);
	if (dg_undelete_table_is_gone(part->relation))
		dg_undelete_refuse_orphan(part);	/* dropped while the lock was
											 * waited for */
	bin = table_open(part->bin_table, RowExclusiveLock);
	columns = source_columns(RelationGetDescr(bin), &ncolumns);
	destination->bin_id = part->bin_id;
	destination->target = dg_rows_writer_target(writer, part->relation, columns, ncolumns);
	rel = table_open(part->relation, NoLock);
	destination->renamed = dg_capture_renamed_columns(rel, RelationGetDescr(bin));
	table_close(rel, NoLock);
	table_close(bin, NoLock);
	return destination;
}

/*
 * The destination of a bin, from a list; opens it the first time.
 */
DgUndeleteDestination *
dg_undelete_destination(DgRowsWriter *writer, DgSavedPart *part, List **destinations)
{
	ListCell   *lc;

	foreach(lc, *destinations)
	{
		if (((DgUndeleteDestination *) lfirst(lc))->bin_id == part->bin_id)
			return lfirst(lc);
	}
	*destinations = lappend(*destinations, open_destination(writer, part));
	return llast(*destinations);
}
