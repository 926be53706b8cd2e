/*
 * extract_contents.c
 *		archive_contents(): the tables of an archive, and where their rows belong.
 *		archive_tenants(): whose rows it has.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "archive/archive.h"
#include "bin/bin.h"
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
 * Counts rows of tables that are all one tenant's, and do not exist here.
 */
static void
count_lost_rows(TenantList *list, DgExtractArchive *archive)
{
	ListCell   *lc;

	foreach(lc, list->plan->lost)
	{
		DgLostTable *lost = lfirst(lc);
		TenantLine *line = line_of(list, dg_extract_tenant_find(list->plan->tenants, lost->tenant));
		DgArchiveRow row;

		dg_extract_rows_open(archive, lost->index, NULL);
		while (dg_extract_rows_next(archive, &row))
		{
			CHECK_FOR_INTERRUPTS();
			line->rows++;
		}
		dg_archive_rows_close(&archive->rows);
	}
}

/*
 * How many rows of each tenant, by number, are in the bin, and how many were purged. The
 * tenants' texts there are told with the bins that they count in; a purge keeps a digest
 * of a key with a salt of its own.
 */
static const char kept_query[] =
"WITH known AS (SELECT n, convert_to(octet_length(convert_to(tenant, 'UTF8')) || ':' || tenant || ',', 'UTF8') AS bytes"
"  FROM (SELECT DISTINCT n, tenant FROM unnest($4, $5) k (n, tenant)) k),"
" purges AS (SELECT purge_id, rows, salt, tenant_digest FROM ONLY deletion_guard.purge_record WHERE state = 'purged')"
"SELECT s.n::bigint, true, sum(p.rows - p.restored - p.purged)::bigint FROM unnest($1, $2, $3) s (n, tenant, bin_id)"
" JOIN ONLY deletion_guard.deletion_part p ON p.tenant_hash = hashtextextended(s.tenant, 0) AND p.tenant = s.tenant AND s.bin_id IN (0, p.bin_id)"
" GROUP BY s.n UNION ALL "
"SELECT k.n, false, sum(r.rows)::bigint FROM known k JOIN purges r ON r.tenant_digest = sha256(r.salt || k.bytes) GROUP BY k.n UNION ALL "
"SELECT k.n, false, sum(octet_length(d.digests) / 16)::bigint FROM known k CROSS JOIN purges r"
" JOIN ONLY deletion_guard.purged_key d ON d.purge_id = r.purge_id AND d.tenant_digest = sha256(r.salt || k.bytes) GROUP BY k.n";

/* Texts of tenants, by their numbers, for a query. */
typedef struct TenantTexts
{
	List	   *numbers;
	List	   *texts;			/* Datum */
	List	   *bins;
} TenantTexts;

static void
add_texts(TenantTexts *texts, int tenant, List *strings)
{
	ListCell   *lc;

	foreach(lc, strings)
	{
		texts->numbers = lappend_int(texts->numbers, tenant);
		texts->texts = lappend(texts->texts, DatumGetPointer(CStringGetTextDatum(lfirst(lc))));
	}
}

static Datum
array_of_numbers(List *numbers)
{
	Datum	   *values = palloc(sizeof(Datum) * (list_length(numbers) + 1));
	ListCell   *lc;

	foreach(lc, numbers)
		values[foreach_current_index(lc)] = Int32GetDatum(lfirst_int(lc));
	return dg_array(values, list_length(numbers), INT4OID);
}

static Datum
array_of_texts(List *texts)
{
	Datum	   *values = palloc(sizeof(Datum) * (list_length(texts) + 1));
	ListCell   *lc;

	foreach(lc, texts)
		values[foreach_current_index(lc)] = PointerGetDatum(lfirst(lc));
	return dg_array(values, list_length(texts), TEXTOID);
}

static void
count_kept_rows(TenantList *list)
{
	const DgTenants *tenants = list->plan->tenants;
	TenantTexts in_bin = {0};
	TenantTexts known = {0};
	Oid			types[] = {INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TEXTARRAYOID};
	Datum		values[5];

	for (int i = 0; i < tenants->n; i++)
	{
		List	   *one = list_make1(dg_bin_tenant_spelling(tenants->keys[i]));
		Datum		bins;
		ListCell   *lc;

		add_texts(&in_bin, i, dg_array_strings(dg_bin_tenants_in_bin(one, &bins)));
		foreach(lc, dg_array_oids(bins))
			in_bin.bins = lappend_int(in_bin.bins, (int) lfirst_oid(lc));
		add_texts(&known, i, dg_bin_tenants_known_by(lappend(one, tenants->keys[i])));
	}
	values[0] = array_of_numbers(in_bin.numbers);
	values[1] = array_of_texts(in_bin.texts);
	values[2] = array_of_numbers(in_bin.bins);
	values[3] = array_of_numbers(known.numbers);
	values[4] = array_of_texts(known.texts);
	SPI_connect();
	dg_query(kept_query, DG_AS_US, lengthof(types), types, values,.snapshot = GetLatestSnapshot());
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		TenantLine *line = line_of(list, (int) dg_row_int64(row, 1, NULL));
		bool		isnull;

		if (DatumGetBool(dg_row_datum(row, 2, &isnull)))
			line->in_bin += dg_row_int64(row, 3, NULL);
		else
			line->purged += dg_row_int64(row, 3, NULL);
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
	count_lost_rows(&list, archive);
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
