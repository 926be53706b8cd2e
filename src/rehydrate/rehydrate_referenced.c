/*
 * rehydrate_referenced.c
 *		Rows that other rows refer to and that are gone: shared ones that tenants'
 *		rows refer to and, where only some rows are to come back, the tenants'.
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
#include "miscadmin.h"
#include "utils/builtins.h"
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
	DgExtractArchive *archive;
	DgExtractPlan *plan;
	bool		own;			/* rows of the tenants are looked for, instead
								 * of shared ones */
	MemoryContext context;
	List	   *references;
	List	   *plans;			/* for the rows without a tenant or of the
								 * tenants, each of one table */
	List	  **referring;		/* of Referring, by the index of a source */
	bool	   *known;			/* is that list made? */
};

/*
 * Begins to collect what rows of a call refer to, in the current memory
 * context: shared rows or, with own, the tenants', of which only some are to come
 * back.
 */
DgReferences *
dg_rehydrate_references_begin(DgExtractArchive *archive, DgExtractPlan *plan, bool own)
{
	DgReferences *references = palloc0(sizeof(DgReferences));
	int			ntables = dg_archive_table_count(archive->archive);

	references->archive = archive;
	references->plan = plan;
	references->own = own;
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
	reference->seen = dg_extract_keymap_of_columns(fkey->confrelid, fkey->confkey, fkey->nkeys);
	reference->finder = palloc0(sizeof(DgFinder));
	reference->finder->relid = fkey->confrelid;
	reference->finder->ncolumns = fkey->nkeys;
	reference->finder->columns = dg_extract_column_names(fkey->confrelid, fkey->confkey, fkey->nkeys);
	reference->finder->needed = true;
	reference->tenants = dg_extract_tenant_source_text(fkey->confrelid) != NULL;
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

		if (references->own ? dg_extract_tenant_source_text(fkey->confrelid) == NULL :
			!dg_extract_may_be_nobodys(fkey->confrelid))
			continue;
		referring = palloc(sizeof(Referring));
		referring->reference = reference_of(references, fkey);
		referring->columns = columns_in(source, fkey->nkeys,
										dg_extract_column_names(fkey->conrelid, fkey->conkey, fkey->nkeys));
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
	if (dg_extract_keymap_find(reference->seen, key) != DG_KEY_ABSENT)
		return;
	dg_extract_keymap_put(reference->seen, key, 0);
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
 * The finder looks for the keys that are missing.
 */
static void
set_missing(Reference *reference, Tuplestorestate *missing, TupleDesc desc)
{
	const ForeignKeyCacheInfo *fkey = reference->fkey;
	DgFinder   *finder = reference->finder;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	finder->keys = dg_extract_keymap_of_columns(fkey->confrelid, fkey->confkey, fkey->nkeys);
	finder->texts = NIL;
	while (tuplestore_gettupleslot(missing, true, false, slot))
	{
		DgKeyText	key[INDEX_MAX_KEYS] = {{0}};
		char	  **texts = palloc(sizeof(char *) * fkey->nkeys);

		slot_getallattrs(slot);
		for (int i = 0; i < fkey->nkeys; i++)
		{
			key[i].ptr = texts[i] = TextDatumGetCString(slot->tts_values[i]);
			key[i].len = strlen(key[i].ptr);
		}
		finder->texts = lappend(finder->texts, texts);
		dg_extract_keymap_put(finder->keys, key, 0);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Looks the pending keys up and sets the finder to those that are missing.
 * False if none are.
 */
static bool
find_missing(DgReferences *references, Reference *reference)
{
	const ForeignKeyCacheInfo *fkey = reference->fkey;
	DgRowsParents parents = {fkey,.as = DG_AS_OWNER,.text = true};
	Tuplestorestate *keys;
	bool		missing;
	ListCell   *lc;

	if (reference->pending == NIL)
		return false;
	parents.tables = dg_query_tables(fkey->confrelid);
	parents.desc = dg_rows_keys_desc(fkey, TEXTOID, false);
	keys = tuplestore_begin_heap(false, false, work_mem);
	foreach(lc, reference->pending)
	{
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS] = {0};

		for (int i = 0; i < fkey->nkeys; i++)
			values[i] = CStringGetTextDatum(((char **) lfirst(lc))[i]);
		tuplestore_putvalues(keys, parents.desc, values, nulls);
	}
	reference->pending = NIL;
	dg_rows_parentless(&parents, &keys);
	missing = tuplestore_tuple_count(keys) > 0;
	if (missing)
	{
		MemoryContext old = MemoryContextSwitchTo(references->context);

		set_missing(reference, keys, parents.desc);
		MemoryContextSwitchTo(old);
	}
	tuplestore_end(keys);
	return missing;
}

/* Rows without a tenant, or of the tenants, on their way to a sink, if they are missing. */
typedef struct MissingRows
{
	Reference  *reference;
	DgRowSink	sink;
	void	   *arg;
} MissingRows;

static void
take_missing_row(void *arg, DgSource *source, int tenant, Datum *values, bool *nulls)
{
	MissingRows *rows = arg;
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
	if (dg_extract_keymap_find(finder->keys, key) >= 0)
		rows->sink(rows->arg, source, tenant, values, nulls);
}

/*
 * A plan for the rows without a tenant, or of the tenants, of a table that has
 * tenants.
 */
static DgExtractPlan *
plan_for_table(DgReferences *references, Oid target)
{
	MemoryContext old;
	DgExtractPlan *plan;
	ListCell   *lc;

	foreach(lc, references->plans)
	{
		plan = lfirst(lc);
		if (linitial_oid(plan->targets) == target)
			return plan;
	}
	old = MemoryContextSwitchTo(references->context);
	plan = dg_extract_plan(references->archive, references->own ? references->plan->tenants : dg_extract_tenants_nobody(), list_make1_oid(target),
						   references->plan->mapping, true);
	references->plans = lappend(references->plans, plan);
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
				MissingRows rows = {reference, sink, arg};

				dg_extract_read(references->archive, plan_for_table(references, source->target),
								take_missing_row, &rows);
				break;
			}
			pass.condition = dg_extract_condition(references->plan, source, reference->finder);
			dg_extract_read_pass(references->archive, &pass, sink, arg);
		}
		return true;
	}
	return false;
}
