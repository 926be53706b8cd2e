/*
 * rehydrate_contents.c
 *		archive_contents(): the tables of an archive, and where their rows belong.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "archive/archive.h"
#include "rehydrate/rehydrate_internal.h"

PG_FUNCTION_INFO_V1(dg_archive_contents);
PG_FUNCTION_INFO_V1(dg_archive_inflater);

static const char *const format_names[] = {
	[DG_ARCHIVE_CUSTOM] = "custom",
	[DG_ARCHIVE_DIRECTORY] = "directory",
	[DG_ARCHIVE_TAR] = "tar",
	[DG_ARCHIVE_PLAIN] = "plain",
	[DG_ARCHIVE_GIVEN] = "server"
};

static const char *const compression_names[] = {
	[DG_ARCHIVE_NONE] = "none",
	[DG_ARCHIVE_GZIP] = "gzip",
	[DG_ARCHIVE_LZ4] = "lz4",
	[DG_ARCHIVE_ZSTD] = "zstd"
};

static Datum
column_array(const DgRehydrateArchive *archive, const DgArchiveTable *table)
{
	Datum	   *names = palloc(sizeof(Datum) * (table->column_count + 1));

	for (int i = 0; i < table->column_count; i++)
		names[i] = DirectFunctionCall1(namein, CStringGetDatum(dg_rehydrate_text(archive, table->columns[i])));
	return dg_array(names, table->column_count, NAMEOID);
}

static void
put_table(ReturnSetInfo *rsinfo, const DgRehydrateArchive *archive, const DgArchiveTable *table)
{
	Datum		values[8] = {0};
	bool		nulls[8] = {false};
	DgPlace		place = dg_rehydrate_place(archive, table, NIL);
	Oid			relid = place.inherited ? InvalidOid : place.relid;
	char	   *source = OidIsValid(relid) ? dg_rehydrate_tenant_source_text(relid) : NULL;

	values[0] = CStringGetTextDatum(dg_rehydrate_table_name(archive, table));
	nulls[1] = !table->has_columns;
	if (!nulls[1])
		values[1] = column_array(archive, table);
	values[2] = CStringGetTextDatum(format_names[archive->info->format]);
	values[3] = CStringGetTextDatum(compression_names[table->compression]);
	nulls[4] = (table->data_bytes < 0);
	values[4] = Int64GetDatum(table->data_bytes);
	nulls[5] = !OidIsValid(relid);
	values[5] = ObjectIdGetDatum(relid);
	nulls[6] = (source == NULL);
	if (source != NULL)
		values[6] = CStringGetTextDatum(source);
	nulls[7] = (table->problem == NULL);
	if (!nulls[7])
		values[7] = CStringGetTextDatum(dg_printable(table->problem));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * The columns of INSERT statements are known from the first of them.
 */
static void
complete_tables(DgRehydrateArchive *archive)
{
	DgArchiveError error;

	if (!dg_archive_measure(archive->archive, &error))
		dg_rehydrate_fail(archive, &error);
	for (int i = 0; i < dg_archive_table_count(archive->archive); i++)
	{
		DgArchiveRows *rows;
		const DgArchiveTable *table = dg_archive_table(archive->archive, i);

		if (table->form == DG_ARCHIVE_COPY || table->problem != NULL)
			continue;
		rows = dg_archive_rows_open(archive->archive, i, &error);
		if (rows == NULL)
			dg_rehydrate_fail(archive, &error);
		dg_archive_rows_close(&rows);
	}
}

/*
 * archive_contents(archive text)
 */
Datum
dg_archive_contents(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DgRehydrateArchive *archive;

	InitMaterializedSRF(fcinfo, 0);
	archive = dg_rehydrate_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	dg_rehydrate_tell(archive);
	complete_tables(archive);
	for (int i = 0; i < dg_archive_table_count(archive->archive); i++)
		put_table(rsinfo, archive, dg_archive_table(archive->archive, i));
	dg_rehydrate_close(archive);
	return (Datum) 0;
}

/*
 * archive_inflater() -> text
 */
Datum
dg_archive_inflater(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(dg_archive_has_isal() ? "ISA-L" : "zlib"));
}
