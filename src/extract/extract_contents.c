/*
 * extract_contents.c
 *		archive_contents(): the tables of an archive, and where their rows belong.
 *		archive_tenants(): whose rows it has.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "archive/archive.h"
#include "guard/guard.h"
#include "extract/extract_internal.h"

PG_FUNCTION_INFO_V1(dg_archive_contents);
PG_FUNCTION_INFO_V1(dg_archive_inflater);
PG_FUNCTION_INFO_V1(dg_archive_tenants);

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
column_array(const DgExtractArchive *archive, const DgArchiveTable *table)
{
	Datum	   *names = palloc(sizeof(Datum) * (table->column_count + 1));

	for (int i = 0; i < table->column_count; i++)
		names[i] = DirectFunctionCall1(namein, CStringGetDatum(dg_extract_text(archive, table->columns[i])));
	return dg_array(names, table->column_count, NAMEOID);
}

static void
put_table(ReturnSetInfo *rsinfo, const DgExtractArchive *archive, const DgArchiveTable *table)
{
	Datum		values[8] = {0};
	bool		nulls[8] = {false};
	DgPlace		place = dg_extract_place(archive, table, NIL);
	Oid			relid = place.inherited ? InvalidOid : place.relid;
	char	   *source = OidIsValid(relid) ? dg_extract_tenant_source_text(relid) : NULL;

	values[0] = CStringGetTextDatum(dg_extract_table_name(archive, table));
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
complete_tables(DgExtractArchive *archive)
{
	DgArchiveError error;

	if (!dg_archive_measure(archive->archive, &error))
		dg_extract_fail(archive, &error);
	for (int i = 0; i < dg_archive_table_count(archive->archive); i++)
	{
		DgArchiveRows *rows;
		const DgArchiveTable *table = dg_archive_table(archive->archive, i);

		if (table->form == DG_ARCHIVE_COPY || table->problem != NULL)
			continue;
		rows = dg_archive_rows_open(archive->archive, i, &error);
		if (rows == NULL)
			dg_extract_fail(archive, &error);
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
	DgExtractArchive *archive;

	InitMaterializedSRF(fcinfo, 0);
	archive = dg_extract_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	dg_extract_tell(archive);
	complete_tables(archive);
	for (int i = 0; i < dg_archive_table_count(archive->archive); i++)
		put_table(rsinfo, archive, dg_archive_table(archive->archive, i));
	dg_extract_close(archive);
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

/* ----------------------------------------------------------------------
 * Tenants
 * ----------------------------------------------------------------------
 */

/* What is known of one tenant. */
typedef struct TenantLine
{
	const char *key;
	char	   *name;			/* or NULL */
	char	   *contact;
	int64		rows;
	int64		live;
	int64		in_bin;
	int64		purged;
} TenantLine;

typedef struct TenantList
{
	DgExtractPlan *plan;
	MemoryContext context;
	TenantLine *lines;			/* by the tenant's number */
	int			n;
} TenantList;

static TenantLine *
line_of(TenantList *list, int tenant)
{
	while (tenant >= list->n)
	{
		int			n = Max(list->n * 2, 64);

		list->lines = repalloc_huge(list->lines, sizeof(TenantLine) * n);
		memset(list->lines + list->n, 0, sizeof(TenantLine) * (n - list->n));
		list->n = n;
	}
	return &list->lines[tenant];
}

/*
 * The text of a row's column; NULL if it has no such column, or null there.
 */
static char *
text_of_column(const TenantList *list, const DgSource *source, const NameData *column, const Datum *values, const bool *nulls)
{
	for (int i = 0; i < source->ncolumns; i++)
	{
		if (strcmp(source->columns[i].name, NameStr(*column)) == 0 && !nulls[i])
			return MemoryContextStrdup(list->context, DatumGetCString(values[i]));
	}
	return NULL;
}

/*
 * Counts a row of the archive; a DgRowSink.
 */
static void
count_archive_row(void *arg, DgSource *source, int tenant, Datum *values, bool *nulls)
{
	TenantList *list = arg;
	const DgTenantTable *table = dg_guard_tenant_table();
	TenantLine *line = line_of(list, tenant);

	line->rows++;
	if (source->target != table->relid)
		return;
	line->name = text_of_column(list, source, &table->name_column, values, nulls);
	line->contact = text_of_column(list, source, &table->contact_column, values, nulls);
}

static void
count_live_tenant_row(void *arg, HeapTuple tuple, TupleDesc desc, int tenant)
{
	line_of(arg, tenant)->live++;
}

/*
 * Counts the tenants' live rows.
 */
static void
count_live_rows_of_tenants(TenantList *list)
{
	DgTenants  *tenants = dg_extract_tenants_make(list->plan->tenants->n, list->plan->tenants->keys);
	List	   *finders = NIL;
	ListCell   *lc;

	foreach(lc, list->plan->targets)
	{
		Oid			root;
		List	   *paths;

		if (dg_extract_tenant_source(lfirst_oid(lc), &root, &paths))
			dg_extract_live_rows(dg_extract_finder_get(&finders, root, paths, tenants), &finders, tenants, "1",
								 count_live_tenant_row, list);
	}
}

/*
 * How many rows of each tenant, by number, are in the bin, and how many were purged. A
 * purge keeps a digest of the tenant's key with a salt of its own.
 */
static const char kept_query[] =
"SELECT k.n, (SELECT sum(p.rows - p.restored - p.purged) FROM ONLY deletion_guard.deletion_part p WHERE p.tenant = k.tenant),"
" (SELECT sum(r.rows) FROM ONLY deletion_guard.purge_record r WHERE r.state = 'purged' AND r.tenant_digest = sha256(r.salt || k.bytes)),"
" (SELECT sum(octet_length(d.digests) / 16) FROM ONLY deletion_guard.purged_key d JOIN ONLY deletion_guard.purge_record r"
"  ON r.purge_id = d.purge_id AND r.state = 'purged' WHERE d.tenant_digest = sha256(r.salt || k.bytes))"
" FROM (SELECT t.n, t.tenant, convert_to(octet_length(convert_to(t.tenant, 'UTF8')) || ':' || t.tenant || ',', 'UTF8') AS bytes"
"  FROM unnest($1) WITH ORDINALITY t (tenant, n)) k";

static void
count_kept_rows(TenantList *list)
{
	const DgTenants *tenants = list->plan->tenants;
	Datum	   *keys = palloc(sizeof(Datum) * (tenants->n + 1));
	Oid			types[] = {TEXTARRAYOID};
	Datum		values[1];

	for (int i = 0; i < tenants->n; i++)
		keys[i] = CStringGetTextDatum(tenants->keys[i]);
	values[0] = dg_array(keys, tenants->n, TEXTOID);
	SPI_connect();
	dg_query(kept_query, DG_AS_US, 1, types, values,
			 .snapshot = GetLatestSnapshot());
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		TenantLine *line = line_of(list, (int) dg_row_int64(row, 1, NULL) - 1);
		char	   *in_bin = dg_row_text(row, 2);
		char	   *purged = dg_row_text(row, 3);
		char	   *purged_by_age = dg_row_text(row, 4);

		line->in_bin = in_bin == NULL ? 0 : strtoll(in_bin, NULL, 10);
		line->purged = (purged == NULL ? 0 : strtoll(purged, NULL, 10)) +
			(purged_by_age == NULL ? 0 : strtoll(purged_by_age, NULL, 10));
	}
	SPI_finish();
}

/*
 * By key, numbers as numbers.
 */
static int
compare_lines(const void *a, const void *b)
{
	const char *left = ((const TenantLine *) a)->key;
	const char *right = ((const TenantLine *) b)->key;
	bool		numbers = strspn(left, "0123456789") == strlen(left) && strspn(right, "0123456789") == strlen(right);

	if (numbers && strlen(left) != strlen(right))
		return strlen(left) < strlen(right) ? -1 : 1;
	return strcmp(left, right);
}

static void
put_tenant(ReturnSetInfo *rsinfo, const TenantLine *line)
{
	Datum		values[7] = {CStringGetTextDatum(line->key)};
	bool		nulls[7] = {false};

	nulls[1] = line->name == NULL;
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(line->name);
	nulls[2] = line->contact == NULL;
	values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(line->contact);
	values[3] = Int64GetDatum(line->rows);
	values[4] = Int64GetDatum(line->live);
	values[5] = Int64GetDatum(line->in_bin);
	values[6] = Int64GetDatum(line->purged);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * archive_tenants(archive text)
 */
Datum
dg_archive_tenants(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TenantList	list = {.context = CurrentMemoryContext};
	DgTenants  *tenants = dg_extract_tenants_all();
	DgExtractArchive *archive;

	InitMaterializedSRF(fcinfo, 0);
	archive = dg_extract_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	list.lines = palloc(sizeof(TenantLine));
	list.plan = dg_extract_plan(archive, tenants, NIL, NIL, true);
	dg_extract_read(archive, list.plan, count_archive_row, &list);
	if (tenants->n > 0)
	{
		count_live_rows_of_tenants(&list);
		count_kept_rows(&list);
		for (int i = 0; i < tenants->n; i++)
			line_of(&list, i)->key = tenants->keys[i];
		qsort(list.lines, tenants->n, sizeof(TenantLine), compare_lines);
	}
	for (int i = 0; i < tenants->n; i++)
		put_tenant(rsinfo, &list.lines[i]);
	dg_extract_close(archive);
	return (Datum) 0;
}
