/*
 * extract_read.c
 *		Reading the rows of tenants.
 *
 * The rows of other tenants are passed over inside of the archive reader, by
 * the bytes of one field and without being looked at any further. A row that
 * stays is cut into fields in one buffer, which is used again for the next.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "archive/archive.h"
#include "guard/guard.h"
#include "extract/extract_internal.h"

/* A pass underway. */
typedef struct Reading
{
	DgExtractArchive *archive;
	DgPass	   *pass;
	uint64		number;			/* of the row, for messages */
	int			tenant;			/* as the filter found it */
	int		   *key_fields;		/* of the finder's columns */
	List	   *feed_fields;	/* int * for each of the finder's feeds */
	DgArchiveField *fields;
	Datum	   *values;
	bool	   *nulls;
	StringInfoData text;		/* the row's values, each with a NUL */
} Reading;

/*
 * The settings that pg_dump writes values under, for reading them and for
 * writing others in the same way. Ended by AtEOXact_GUC() of the level
 * returned.
 */
int
dg_extract_settings(void)
{
	static const char *const settings[][2] = {
		{"datestyle", "ISO, MDY"},
		{"intervalstyle", "postgres"},
		{"extra_float_digits", "3"},
		{"bytea_output", "hex"},
		{"xmloption", "content"},
		{"array_nulls", "on"},
	};
	int			level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/* ----------------------------------------------------------------------
 * Text
 * ----------------------------------------------------------------------
 */

pg_noreturn static void
bad_escape(Reading *reading)
{
	DgArchiveError error = {0};

	error.code = DG_ARCHIVE_CORRUPT;
	snprintf(error.message, sizeof(error.message), "row %llu of table %s has an invalid escape",
			 (unsigned long long) reading->number, reading->pass->source->name);
	dg_extract_fail(reading->archive, &error);
}

/*
 * Appends a field's text in the database's encoding, with a NUL; returns where
 * it begins in the buffer. What came out of an escape is checked like the rest.
 */
static int
append_field(Reading *reading, const DgArchiveField *field, bool escaped)
{
	StringInfo	buf = &reading->text;
	int			start = buf->len;
	size_t		len = field->len;
	bool		changed = false;

	enlargeStringInfo(buf, (int) field->len + 1);
	if (escaped && memchr(field->ptr, '\\', field->len) != NULL)
	{
		if (!dg_archive_copy_unescape(reading->archive->info, field->ptr, field->len,
									  buf->data + start, &len))
			bad_escape(reading);
		changed = true;
	}
	else
		memcpy(buf->data + start, field->ptr, field->len);
	buf->data[start + len] = '\0';

	if (reading->archive->convert)
	{
		char	   *converted = pg_any_to_server(buf->data + start, (int) len, reading->archive->encoding);

		if (converted != buf->data + start)
		{
			len = strlen(converted);
			enlargeStringInfo(buf, (int) len + 1);
			memcpy(buf->data + start, converted, len + 1);
			pfree(converted);
		}
	}
	else if (changed || !escaped)
		(void) pg_verify_mbstr(GetDatabaseEncoding(), buf->data + start, (int) len, false);
	buf->len = start + (int) len + 1;
	return start;
}

/*
 * Splits a row into C strings: values and nulls are set.
 */
static void
split_row(Reading *reading, const DgArchiveRow *row)
{
	DgSource   *source = reading->pass->source;
	DgArchiveError error;
	int			n = dg_archive_row_split(row, reading->fields, source->nfields, &error);

	if (n < 0)
		dg_extract_fail(reading->archive, &error);
	if (n != source->nfields)
		elog(ERROR, "row of table %s has %d fields where there are %d columns",
			 source->name, n, source->nfields);
	if (row->escaped && !reading->archive->convert)
		(void) pg_verify_mbstr(GetDatabaseEncoding(), row->data, (int) row->len, false);

	resetStringInfo(&reading->text);
	for (int i = 0; i < source->ncolumns; i++)
	{
		DgArchiveField *field;

		if (source->fields[i] < 0)
		{
			reading->nulls[i] = source->constants[i] == NULL;
			reading->values[i] = PointerGetDatum(source->constants[i]);
			continue;
		}
		field = &reading->fields[source->fields[i]];
		reading->nulls[i] = field->isnull || field->isdefault;
		reading->values[i] = reading->nulls[i] ? 0 : append_field(reading, field, row->escaped);
	}
	/* the buffer does not move any more */
	for (int i = 0; i < source->ncolumns; i++)
	{
		if (!reading->nulls[i] && source->fields[i] >= 0)
			reading->values[i] = CStringGetDatum(reading->text.data + reading->values[i]);
	}
}

/* ----------------------------------------------------------------------
 * Whose row is it
 * ----------------------------------------------------------------------
 */

static bool
is_ascii(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if (IS_HIGHBIT_SET(text[i]))
			return false;
	}
	return true;
}

/*
 * Called by the archive reader for each row; may not throw. A row that is let
 * through unsure is looked at again by tenant_of_row().
 */
static bool
may_be_wanted(void *arg, const char *text, size_t len)
{
	Reading    *reading = arg;

	reading->tenant = DG_KEY_UNSURE;
	if (unlikely(InterruptPending) || (reading->archive->convert && !is_ascii(text, len)))
		return true;
	reading->tenant = dg_extract_keymap_guess(reading->pass->finder->keys, text, len);
	if (reading->tenant == DG_KEY_ABSENT && reading->pass->finder->knows_all)
		reading->tenant = DG_KEY_UNSURE;
	return reading->tenant >= 0 || reading->tenant == DG_KEY_UNSURE;
}

/*
 * The key that some fields of a row make up, in the reading's buffer. False if
 * one of them is null.
 */
static bool
key_of_row(Reading *reading, const DgArchiveRow *row, const int *key_fields, int n, DgKeyText *key)
{
	int			starts[INDEX_MAX_KEYS + 1];

	resetStringInfo(&reading->text);
	for (int i = 0; i < n; i++)
	{
		DgArchiveField field;

		if (!dg_archive_row_field(row, key_fields[i], &field) || field.isnull || field.isdefault)
			return false;
		starts[i] = append_field(reading, &field, row->escaped);
		key[i].len = reading->text.len - starts[i] - 1;
	}
	for (int i = 0; i < n; i++)
		key[i].ptr = reading->text.data + starts[i];
	return true;
}

/*
 * Takes note of a row whose parent is neither in the archive nor live.
 */
static void
note_orphan(DgPass *pass, int64 *count, const DgKeyText *key)
{
	StringInfoData names;
	StringInfoData values;
	MemoryContext old;

	if ((*count)++ > 0)
		return;
	old = MemoryContextSwitchTo(GetMemoryChunkContext(pass));
	initStringInfo(&names);
	initStringInfo(&values);
	for (int i = 0; i < pass->finder->ncolumns; i++)
	{
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", pass->finder->columns[i]);
		appendStringInfo(&values, "%s%s", i > 0 ? ", " : "", key[i].ptr);
	}
	pass->orphan = psprintf("(%s)=(%s)", names.data, values.data);
	MemoryContextSwitchTo(old);
}

/*
 * Takes note of a row whose type the path does not declare: it may belong to anybody.
 */
static void
note_undeclared(DgPass *pass, const char *type)
{
	if (pass->undeclared++ == 0)
		pass->undeclared_type = MemoryContextStrdup(GetMemoryChunkContext(pass), type);
}

/*
 * Whose a row is that refers to none that is known. Where there is a foreign key, it may
 * be one of the tenants'; without one, it is nobody's.
 */
static int
tenant_without_parent(Reading *reading, const DgKeyText *key)
{
	DgPass	   *pass = reading->pass;
	DgFinder   *finder = pass->finder;
	const char *type = finder->typed ? key[finder->ncolumns - 1].ptr : NULL;
	bool		nobodys = false;

	if (type != NULL && !dg_guard_type_is_declared(finder->relid, type, &nobodys))
		note_undeclared(pass, type);
	/* a copy sends rows of the tenants only */
	else if (!nobodys && (finder->knows_all || (reading->archive->narrowed && finder->parents != NIL && !finder->soft)))
		note_orphan(pass, &pass->orphans, key);
	else if (finder->soft && finder->nobody)
		return 0;
	else if (finder->soft && !nobodys)
		note_orphan(pass, &pass->dangling, key);
	return DG_KEY_ABSENT;
}

static int
tenant_of_row(Reading *reading, const DgArchiveRow *row)
{
	DgFinder   *finder = reading->pass->finder;
	DgKeyText	key[INDEX_MAX_KEYS + 1];
	int			tenant;

	if (reading->tenant >= 0)
		return reading->tenant;
	if (finder->ncolumns == 0)
		return finder->tenant;
	if (!key_of_row(reading, row, reading->key_fields, finder->ncolumns, key))
		return finder->nobody && reading->pass->part == 0 ? 0 : DG_KEY_OTHER_TENANT;
	tenant = dg_extract_keymap_find(finder->keys, key);
	if (tenant == DG_KEY_ABSENT && finder->learned != NULL)
		return dg_extract_finder_learn(finder, key);
	return tenant == DG_KEY_ABSENT ? tenant_without_parent(reading, key) : tenant;
}

/*
 * Tells the finders of the row's children which tenant it belongs to, or that
 * it is none of those wanted.
 */
static void
feed_row(Reading *reading, const DgArchiveRow *row, int tenant)
{
	ListCell   *lc;
	ListCell   *lf;

	forboth(lc, reading->pass->finder->feeds, lf, reading->feed_fields)
	{
		DgFeed	   *feed = lfirst(lc);
		DgKeyText	key[INDEX_MAX_KEYS + 1];

		if (!feed->finder->needed || lfirst(lf) == NULL ||
			!key_of_row(reading, row, lfirst(lf), feed->ncolumns, key))
			continue;
		if (feed->type != NULL)
			key[feed->ncolumns] = (DgKeyText)
		{
			feed->type, strlen(feed->type)
		};
		dg_extract_keymap_put(feed->finder->keys, key, tenant >= 0 ? tenant : DG_KEY_OTHER_TENANT);
	}
}

/* ----------------------------------------------------------------------
 * A pass
 * ----------------------------------------------------------------------
 */

/*
 * Where a source has some columns, palloc'd; NULL if it lacks one.
 */
static int *
fields_of(const DgSource *source, int ncolumns, const char **columns)
{
	int		   *fields = palloc(sizeof(int) * ncolumns);

	return dg_extract_source_find_columns(source, ncolumns, columns, fields) ? fields : NULL;
}

static void
begin_reading(Reading *reading)
{
	DgSource   *source = reading->pass->source;
	DgFinder   *finder = reading->pass->finder;
	DgArchiveFilter by_key = {0};
	DgArchiveError error;
	ListCell   *lc;

	reading->key_fields = fields_of(source, finder->ncolumns, finder->columns);
	foreach(lc, finder->feeds)
	{
		DgFeed	   *feed = lfirst(lc);

		reading->feed_fields = lappend(reading->feed_fields,
									   fields_of(source, feed->ncolumns, feed->columns));
	}
	reading->fields = palloc(sizeof(DgArchiveField) * (source->nfields + 1));
	reading->values = palloc(sizeof(Datum) * (source->ncolumns + 1));
	reading->nulls = palloc(sizeof(bool) * (source->ncolumns + 1));
	initStringInfo(&reading->text);

	dg_extract_rows_open(reading->archive, source->index, reading->pass->condition);
	reading->tenant = DG_KEY_UNSURE;
	if (finder->overrides || finder->nobody || finder->soft || finder->learned != NULL || finder->ncolumns == 0 || reading->archive->server != NULL)
		return;
	by_key.field = reading->key_fields[0];
	by_key.match = may_be_wanted;
	by_key.arg = reading;
	if (!dg_archive_rows_set_filter(reading->archive->rows, &by_key, &error))
		dg_extract_fail(reading->archive, &error);
}

/*
 * Names the place in the archive when a value is not accepted.
 */
static void
error_context(void *arg)
{
	Reading    *reading = arg;

	if (reading->number > 0)
		errcontext("archive \"%s\", table %s, row %llu", reading->archive->path,
				   reading->pass->source->name, (unsigned long long) reading->number);
}

static void
read_archive_rows(Reading *reading, DgRowSink sink, void *arg)
{
	DgArchiveRow row;

	while (dg_extract_rows_next(reading->archive, &row))
	{
		int			tenant;

		CHECK_FOR_INTERRUPTS();
		reading->number = row.number;
		tenant = tenant_of_row(reading, &row);
		if (tenant >= 0 || (reading->pass->finder->overrides && tenant != DG_KEY_ELSEWHERE))
			feed_row(reading, &row, tenant);
		if (tenant >= 0 && reading->pass->source->counted)
			reading->pass->source->left_rows++;
		else if (tenant >= 0 && reading->pass->emit)
		{
			split_row(reading, &row);
			dg_extract_progress_kept(reading->archive);
			sink(arg, reading->pass->source, tenant, reading->values, reading->nulls);
		}
	}
	reading->number = 0;
}

/*
 * Reads one table of the archive, and gives the sink the rows that the pass's
 * finder finds.
 */
void
dg_extract_read_pass(DgExtractArchive *archive, DgPass *pass, DgRowSink sink, void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard pass",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Reading		reading = {0};
	ErrorContextCallback callback;

	reading.archive = archive;
	reading.pass = pass;
	begin_reading(&reading);
	dg_extract_progress_pass(archive, pass);

	callback.callback = error_context;
	callback.arg = &reading;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	read_archive_rows(&reading, sink, arg);
	error_context_stack = callback.previous;

	dg_extract_progress_pass_end(archive, pass);
	dg_archive_rows_close(&archive->rows);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * Reads one table of the archive as often as its finder has parts.
 */
static void
read_key_parts(DgExtractArchive *archive, DgPass *pass, DgRowSink sink, void *arg)
{
	DgKeyMap   *keys = pass->finder->keys;
	int			nparts = dg_extract_keymap_parts(keys);

	for (int part = 0; part < nparts; part++)
	{
		dg_extract_keymap_load(keys, part);
		pass->part = part;
		dg_extract_read_pass(archive, pass, sink, arg);
	}
}

/*
 * Reads all that the plan wants. Each wanted row is given to the sink once.
 */
void
dg_extract_read(DgExtractArchive *archive, DgExtractPlan *plan, DgRowSink sink, void *arg)
{
	DgArchiveError error;
	ListCell   *lc;

	foreach(lc, plan->finders)
	{
		DgFinder   *finder = lfirst(lc);

		/* parents' keys that an earlier reading of the plan has left */
		if (finder->parents != NIL)
			dg_extract_keymap_clear(finder->keys);
	}
	foreach(lc, plan->passes)
	{
		DgPass	   *pass = lfirst(lc);

		pass->orphans = pass->undeclared = pass->dangling = 0;
		if (pass->source != NULL)
			pass->source->left_rows = 0;
		if (pass->source != NULL)
			read_key_parts(archive, pass, sink, arg);
		else
		{
			dg_extract_progress_pass(archive, pass);
			dg_extract_live_feed(pass->finder, &plan->finders, plan->tenants);
		}
	}
	foreach(lc, plan->finders)
	{
		DgFinder   *finder = lfirst(lc);

		if (finder->parents != NIL)
			dg_extract_keymap_clear(finder->keys);
	}
	if (!dg_archive_finish(archive->archive, &error))
		dg_extract_fail(archive, &error);
}

/* ----------------------------------------------------------------------
 * One column
 * ----------------------------------------------------------------------
 */

static void
read_column_of(DgExtractArchive *archive, DgSource *source, const char *column,
			   DgKeySink sink, void *arg)
{
	DgPass		pass = {source};
	Reading		reading = {archive, &pass};
	DgArchiveRow row;
	DgKeyText	key;
	int			field;

	if (!dg_extract_source_find_columns(source, 1, &column, &field))
		return;
	initStringInfo(&reading.text);
	dg_extract_rows_open(archive, source->index, NULL);
	while (dg_extract_rows_next(archive, &row))
	{
		CHECK_FOR_INTERRUPTS();
		reading.number = row.number;
		if (key_of_row(&reading, &row, &field, 1, &key))
			sink(arg, key.ptr);
	}
	dg_archive_rows_close(&archive->rows);
}

/*
 * Gives the sink one column's value of every row that the archive has of a
 * table, unless it is null.
 */
void
dg_extract_read_column(DgExtractArchive *archive, Oid relid, const char *column,
					   List *mapping, DgKeySink sink, void *arg)
{
	List	   *sources = dg_extract_sources(archive, relid, mapping);
	ListCell   *lc;

	foreach(lc, sources)
		read_column_of(archive, lfirst(lc), column, sink, arg);
}
