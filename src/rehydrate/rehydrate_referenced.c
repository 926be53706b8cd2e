/*
 * rehydrate_referenced.c
 *		Shared rows that tenants' rows refer to and that are gone.
 *
 * Shared are the rows of a table that holds rows of no tenant in particular, and
 * those rows of other tables that have no tenant. While tenants' rows are read,
 * the keys of the rows that they refer to in tables that may have shared ones are
 * collected, each once. Those that no live row has are then looked for in the
 * archive, and what these rows refer to in turn, until nothing is missing or
 * nothing more is found; the foreign keys, which are checked at the end, have the
 * last word.
 *
 * Rows of other tenants are never brought in: in a table with tenants the archive
 * must tell that a row has none.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "archive/archive.h"
#include "rehydrate/rehydrate_internal.h"

/* One key of a shared table, to which any number of foreign keys lead. */
typedef struct Reference
{
	ForeignKeyCacheInfo *fkey;	/* the first of them */
	DgFinder   *finder;			/* of the rows referred to, by what is missing */
	bool		tenants;		/* the table has tenants: only rows without
								 * one */
	DgKeyMap   *seen;			/* keys that were asked for */
	List	   *pending;		/* char ** for each key that was not looked up
								 * yet */
} Reference;

/* Where a source has the columns of a reference. */
typedef struct Referring
{
	Reference  *reference;
	int		   *columns;		/* indexes of the source's */
} Referring;

struct DgReferences
{
	DgRehydrateArchive *archive;
	DgRehydratePlan *plan;
	MemoryContext context;
	List	   *references;
	List	   *plans_without_tenant;	/* plans for the rows without a
										 * tenant, each of one table */
	List	  **referring;		/* of Referring, by the index of a source */
	bool	   *known;			/* is that list made? */
};

/*
 * Begins to collect what rows of a call refer to, in the current memory
 * context.
 */
DgReferences *
dg_rehydrate_references_begin(DgRehydrateArchive *archive, DgRehydratePlan *plan)
{
	DgReferences *references = palloc0(sizeof(DgReferences));
	int			ntables = dg_archive_table_count(archive->archive);

	references->archive = archive;
	references->plan = plan;
	references->context = CurrentMemoryContext;
	references->referring = palloc0(sizeof(List *) * ntables);
	references->known = palloc0(sizeof(bool) * ntables);
	return references;
}

/* ----------------------------------------------------------------------
 * Which keys matter
 * ----------------------------------------------------------------------
 */

static Reference *
reference_of(DgReferences *references, ForeignKeyCacheInfo *fkey)
{
	Reference  *reference;
	ListCell   *lc;

	foreach(lc, references->references)
	{
		reference = lfirst(lc);
		if (reference->fkey->confrelid == fkey->confrelid && reference->fkey->nkeys == fkey->nkeys &&
			memcmp(reference->fkey->confkey, fkey->confkey, sizeof(AttrNumber) * fkey->nkeys) == 0)
			return reference;
	}
	reference = palloc0(sizeof(Reference));
	reference->fkey = copyObject(fkey);
	reference->seen = dg_rehydrate_keymap_of_columns(fkey->confrelid, fkey->confkey, fkey->nkeys);
	reference->finder = palloc0(sizeof(DgFinder));
	reference->finder->relid = fkey->confrelid;
	reference->finder->ncolumns = fkey->nkeys;
	reference->finder->columns = dg_rehydrate_column_names(fkey->confrelid, fkey->confkey, fkey->nkeys);
	reference->finder->needed = true;
	reference->tenants = dg_rehydrate_tenant_source_text(fkey->confrelid) != NULL;
	references->references = lappend(references->references, reference);
	return reference;
}

/*
 * Where the source has the columns, by index; NULL if it lacks one.
 */
static int *
columns_in(const DgSource *source, int n, const char **names)
{
	int		   *columns = palloc(sizeof(int) * n);

	for (int i = 0; i < n; i++)
	{
		columns[i] = 0;
		while (columns[i] < source->ncolumns &&
			   strcmp(source->columns[columns[i]].name, names[i]) != 0)
			columns[i]++;
		if (columns[i] == source->ncolumns)
			return NULL;
	}
	return columns;
}

/*
 * The foreign keys of a source's table to tables that may have shared rows.
 */
static List *
find_referring(DgReferences *references, const DgSource *source)
{
	Relation	rel = table_open(source->target, AccessShareLock);
	List	   *fkeys = dg_foreign_keys(rel);
	List	   *found = NIL;
	ListCell   *lc;

	table_close(rel, NoLock);
	foreach(lc, fkeys)
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);
		Referring  *referring;

		if (!dg_rehydrate_may_be_nobodys(fkey->confrelid))
			continue;
		referring = palloc(sizeof(Referring));
		referring->reference = reference_of(references, fkey);
		referring->columns = columns_in(source, fkey->nkeys,
										dg_rehydrate_column_names(fkey->conrelid, fkey->conkey, fkey->nkeys));
		if (referring->columns != NULL)
			found = lappend(found, referring);
	}
	return found;
}

static void
note_key(Reference *reference, const Referring *referring, Datum *values, bool *nulls)
{
	int			n = reference->fkey->nkeys;
	DgKeyText	key[INDEX_MAX_KEYS] = {{0}};
	char	  **texts;

	for (int i = 0; i < n; i++)
	{
		if (nulls[referring->columns[i]])
			return;
		key[i].ptr = DatumGetCString(values[referring->columns[i]]);
		key[i].len = strlen(key[i].ptr);
	}
	if (dg_rehydrate_keymap_find(reference->seen, key) != DG_KEY_ABSENT)
		return;
	dg_rehydrate_keymap_put(reference->seen, key, 0);
	texts = palloc(sizeof(char *) * n);
	for (int i = 0; i < n; i++)
		texts[i] = pstrdup(key[i].ptr);
	reference->pending = lappend(reference->pending, texts);
}

/*
 * Takes note of what a row refers to.
 */
void
dg_rehydrate_references_note(DgReferences *references, const DgSource *source, Datum *values, bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(references->context);
	ListCell   *lc;

	if (!references->known[source->index])
		references->referring[source->index] = find_referring(references, source);
	references->known[source->index] = true;
	foreach(lc, references->referring[source->index])
	{
		Referring  *referring = lfirst(lc);

		note_key(referring->reference, referring, values, nulls);
	}
	MemoryContextSwitchTo(old);
}

/* ----------------------------------------------------------------------
 * What is missing
 * ----------------------------------------------------------------------
 */

/*
 * The query for those of some keys, given as arrays of text, that no row has.
 */
static char *
missing_query(const ForeignKeyCacheInfo *fkey)
{
	StringInfoData sql;
	StringInfoData arrays;
	StringInfoData where;

	initStringInfo(&sql);
	initStringInfo(&arrays);
	initStringInfo(&where);
	for (int i = 0; i < fkey->nkeys; i++)
	{
		Oid			type = getBaseType(get_atttype(fkey->confrelid, fkey->confkey[i]));

		appendStringInfo(&arrays, "%spg_catalog.unnest($%d)", i > 0 ? ", " : "", i + 1);
		appendStringInfo(&where, "%sp.%s %s k.k%d::%s", i > 0 ? " AND " : "",
						 quote_identifier(get_attname(fkey->confrelid, fkey->confkey[i], false)),
						 dg_equality_operator(type), i + 1,
						 format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY));
		appendStringInfo(&sql, "%sk%d", i > 0 ? ", " : "", i + 1);
	}
	return psprintf("SELECT %s FROM ROWS FROM (%s) k (%s) WHERE NOT EXISTS (SELECT 1 FROM %s p WHERE %s)",
					sql.data, arrays.data, sql.data, dg_own_rows(fkey->confrelid), where.data);
}

static Datum
text_array(List *keys, int column)
{
	Datum	   *values = palloc(sizeof(Datum) * list_length(keys));
	ListCell   *lc;

	foreach(lc, keys)
		values[foreach_current_index(lc)] = CStringGetTextDatum(((char **) lfirst(lc))[column]);
	return dg_array(values, list_length(keys), TEXTOID);
}

/*
 * Looks the pending keys up and sets the finder to those that are missing.
 * False if none are.
 */
static bool
find_missing(DgReferences *references, Reference *reference)
{
	int			n = reference->fkey->nkeys;
	Oid			types[INDEX_MAX_KEYS];
	Datum		values[INDEX_MAX_KEYS];
	bool		missing;

	if (reference->pending == NIL)
		return false;
	SPI_connect();
	for (int i = 0; i < n; i++)
	{
		types[i] = TEXTARRAYOID;
		values[i] = text_array(reference->pending, i);
	}
	dg_query(missing_query(reference->fkey), DG_AS_OWNER, n, types, values,
			 .table = reference->fkey->confrelid);
	missing = SPI_processed > 0;
	if (missing)
	{
		MemoryContext old = MemoryContextSwitchTo(references->context);

		reference->finder->keys = dg_rehydrate_keymap_of_columns(reference->fkey->confrelid, reference->fkey->confkey,
																 reference->fkey->nkeys);
		reference->finder->texts = NIL;
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			DgKeyText	key[INDEX_MAX_KEYS];
			char	  **texts = palloc(sizeof(char *) * n);

			for (int i = 0; i < n; i++)
			{
				key[i].ptr = texts[i] = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, i + 1);
				key[i].len = strlen(key[i].ptr);
			}
			reference->finder->texts = lappend(reference->finder->texts, texts);
			dg_rehydrate_keymap_put(reference->finder->keys, key, 0);
		}
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	reference->pending = NIL;
	return missing;
}

/* Rows without a tenant on their way to a sink, if they are missing. */
typedef struct RowsWithoutTenant
{
	Reference  *reference;
	DgRowSink	sink;
	void	   *arg;
} RowsWithoutTenant;

static void
take_row_without_tenant(void *arg, DgSource *source, int tenant, Datum *values, bool *nulls)
{
	RowsWithoutTenant *rows = arg;
	DgFinder   *finder = rows->reference->finder;
	int		   *columns = columns_in(source, finder->ncolumns, finder->columns);
	DgKeyText	key[INDEX_MAX_KEYS] = {{0}};

	for (int i = 0; i < finder->ncolumns; i++)
	{
		if (columns == NULL || nulls[columns[i]])
			return;
		key[i].ptr = DatumGetCString(values[columns[i]]);
		key[i].len = strlen(key[i].ptr);
	}
	if (dg_rehydrate_keymap_find(finder->keys, key) >= 0)
		rows->sink(rows->arg, source, 0, values, nulls);
}

/*
 * A plan for the rows without a tenant of a table that has tenants.
 */
static DgRehydratePlan *
plan_for_nobody(DgReferences *references, Oid target)
{
	MemoryContext old;
	DgRehydratePlan *plan;
	ListCell   *lc;

	foreach(lc, references->plans_without_tenant)
	{
		plan = lfirst(lc);
		if (linitial_oid(plan->targets) == target)
			return plan;
	}
	old = MemoryContextSwitchTo(references->context);
	plan = dg_rehydrate_plan(references->archive, dg_rehydrate_tenants_nobody(), list_make1_oid(target),
							 references->plan->mapping, true);
	references->plans_without_tenant = lappend(references->plans_without_tenant, plan);
	MemoryContextSwitchTo(old);
	return plan;
}

/*
 * Gives the sink the missing rows that the pending keys of one reference are
 * of. All rows given before have been written: another reference to the same
 * table does not find them missing again. Returns whether there were any to look
 * for; what they refer to is pending then.
 */
bool
dg_rehydrate_references_read(DgReferences *references, DgRowSink sink, void *arg)
{
	ListCell   *lc;
	ListCell   *ls;

	foreach(lc, references->references)
	{
		Reference  *reference = lfirst(lc);

		if (!find_missing(references, reference))
			continue;
		foreach(ls, references->plan->sources)
		{
			DgSource   *source = lfirst(ls);
			DgPass		pass = {source, reference->finder, true, NULL};

			if (!list_member_oid(source->covers, reference->finder->relid) ||
				columns_in(source, reference->finder->ncolumns, reference->finder->columns) == NULL)
				continue;
			if (reference->tenants)
			{
				RowsWithoutTenant rows = {reference, sink, arg};

				dg_rehydrate_read(references->archive, plan_for_nobody(references, source->target),
								  take_row_without_tenant, &rows);
				break;
			}
			pass.condition = dg_rehydrate_condition(references->plan, source, reference->finder);
			dg_rehydrate_read_pass(references->archive, &pass, sink, arg);
		}
		return true;
	}
	return false;
}
