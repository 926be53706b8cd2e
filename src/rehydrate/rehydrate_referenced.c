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

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

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
	parents.tables = dg_rows_tables(fkey->confrelid);
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

/* ----------------------------------------------------------------------
 * Chosen rows
 *
 *	{"public.issue": [{"id": 7}, {"id": 9}]}
 *
 * Live tables, and of each some primary keys as compare_rows() prints them.
 * ----------------------------------------------------------------------
 */

/* The chosen rows of one table. */
typedef struct DgChoice
{
	Oid			target;
	int			nkeys;			/* columns of the primary key */
	AttrNumber	attnums[INDEX_MAX_KEYS];
	const char **columns;
	DgKeyMap   *keys;			/* to their numbers */
	List	   *texts;			/* of char *, by number, for messages */
	bool	   *found;			/* by number */
} DgChoice;

pg_noreturn static void
refuse_choice(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid choice of rows: %s", what),
			 errhint("It looks like {\"schema.table\": [{\"id\": 7}, {\"id\": 9}]}, with tables that exist here and primary keys as compare_rows() has them in key.")));
}

static DgChoice *
make_choice(const char *name)
{
	DgChoice   *choice = palloc0(sizeof(DgChoice));
	Oid			relid = DatumGetObjectId(DirectFunctionCall1(regclassin, CStringGetDatum(name)));
	List	   *paths;
	Relation	rel;
	Oid			indexid;

	if (!dg_extract_tenant_source(relid, &choice->target, &paths))
		refuse_choice(psprintf("nothing tells the tenants of table %s", name));
	rel = table_open(choice->target, AccessShareLock);
	indexid = dg_primary_key_index(rel);
	if (!OidIsValid(indexid))
		refuse_choice(psprintf("table %s has no primary key", name));
	else
	{
		Relation	index = index_open(indexid, AccessShareLock);

		choice->nkeys = index->rd_index->indnkeyatts;
		memcpy(choice->attnums, index->rd_index->indkey.values, sizeof(AttrNumber) * choice->nkeys);
		index_close(index, AccessShareLock);
	}
	choice->columns = dg_extract_column_names(choice->target, choice->attnums, choice->nkeys);
	choice->keys = dg_extract_keymap_of_columns(choice->target, choice->attnums, choice->nkeys);
	table_close(rel, NoLock);
	return choice;
}

/*
 * A value of a key, as the archive would have it, palloc'd. Its type's code runs as
 * the table's owner where the caller is a superuser.
 */
static char *
key_text(const DgChoice *choice, int column, char *value)
{
	DgRowsRole	role = dg_rows_role_of(dg_relation_owner(choice->target));
	Oid			type;
	int32		typmod;
	Oid			collation;
	Oid			input;
	Oid			typioparam;
	Datum		datum;

	get_atttypetypmodcoll(choice->target, choice->attnums[column], &type, &typmod, &collation);
	getTypeInputInfo(type, &input, &typioparam);
	dg_rows_as_owner(&role);
	datum = OidInputFunctionCall(input, value, typioparam, typmod);
	dg_rows_as_caller(&role);
	return dg_value_text(type, datum);
}

/*
 * Adds a key, given as an array of its columns' names and texts.
 */
static void
add_choice(DgChoice *choice, Datum names, Datum values)
{
	List	   *columns = dg_array_strings(names);
	List	   *texts = dg_array_strings(values);
	DgKeyText	key[INDEX_MAX_KEYS] = {{0}};
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < choice->nkeys; i++)
	{
		ListCell   *lc;

		foreach(lc, columns)
		{
			char	   *value = list_nth(texts, foreach_current_index(lc));

			if (strcmp(lfirst(lc), choice->columns[i]) != 0 || value == NULL)
				continue;
			key[i].ptr = key_text(choice, i, value);
			key[i].len = strlen(key[i].ptr);
		}
		if (key[i].ptr == NULL || list_length(columns) != choice->nkeys)
			refuse_choice(psprintf("a key of table %s does not have the columns of its primary key, and these only", dg_relation_name(choice->target)));
		appendStringInfo(&text, "%s%s=%s", i > 0 ? ", " : "", choice->columns[i], key[i].ptr);
	}
	if (dg_extract_keymap_find(choice->keys, key) != DG_KEY_ABSENT)
		return;
	dg_extract_keymap_put(choice->keys, key, list_length(choice->texts));
	choice->texts = lappend(choice->texts, text.data);
}

/*
 * The rows that a caller has chosen; a list of DgChoice.
 */
List *
dg_rehydrate_choices(Jsonb *rows)
{
	Oid			types[] = {JSONBOID};
	Datum		values[] = {JsonbPGetDatum(rows)};
	MemoryContext context = CurrentMemoryContext;
	List	   *choices = NIL;
	DgChoice   *choice = NULL;
	char	   *name = NULL;
	MemoryContext old;
	ListCell   *lc;

	if (!JB_ROOT_IS_OBJECT(rows) || JB_ROOT_COUNT(rows) == 0)
		refuse_choice("it is not an object that names tables");
	SPI_connect();
	dg_query("SELECT t.key, ARRAY(SELECT c.key FROM jsonb_each_text(CASE jsonb_typeof(r.k) WHEN 'object' THEN r.k END) c ORDER BY 1),"
			 " ARRAY(SELECT c.value FROM jsonb_each_text(CASE jsonb_typeof(r.k) WHEN 'object' THEN r.k END) c ORDER BY c.key)"
			 " FROM jsonb_each($1) t LEFT JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(t.value) WHEN 'array' THEN t.value END) r (k) ON true",
			 DG_AS_US, 1, types, values,
			 .snapshot = GetActiveSnapshot());
	old = MemoryContextSwitchTo(context);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;

		if (name == NULL || strcmp(name, dg_row_text(row, 1)) != 0)
		{
			name = dg_row_text(row, 1);
			choice = make_choice(name);
			foreach(lc, choices)
			{
				if (((DgChoice *) lfirst(lc))->target == choice->target)
					choice = lfirst(lc);
			}
		}
		choices = list_append_unique_ptr(choices, choice);
		add_choice(choice, dg_row_datum(row, 2, &isnull), dg_row_datum(row, 3, &isnull));
	}
	foreach(lc, choices)
	{
		choice = lfirst(lc);
		choice->found = palloc0(sizeof(bool) * list_length(choice->texts));
	}
	MemoryContextSwitchTo(old);
	SPI_finish();
	return choices;
}

/*
 * Is a row of the archive, whose values are text, one that was chosen?
 */
bool
dg_rehydrate_is_chosen(List *choices, const DgSource *source, const Datum *values, const bool *nulls)
{
	ListCell   *lc;

	foreach(lc, choices)
	{
		DgChoice   *choice = lfirst(lc);
		DgKeyText	key[INDEX_MAX_KEYS] = {{0}};
		int			number;
		bool		complete = choice->target == source->target;

		for (int i = 0; complete && i < choice->nkeys; i++)
		{
			for (int j = 0; j < source->ncolumns; j++)
			{
				if (strcmp(source->columns[j].name, choice->columns[i]) != 0 || nulls[j])
					continue;
				key[i].ptr = DatumGetCString(values[j]);
				key[i].len = strlen(key[i].ptr);
			}
			complete = key[i].ptr != NULL;
		}
		number = complete ? dg_extract_keymap_find(choice->keys, key) : DG_KEY_ABSENT;
		if (number < 0)
			continue;
		choice->found[number] = true;
		return true;
	}
	return false;
}

/*
 * What was chosen and is not there is a mistake. The archive has been read.
 */
void
dg_rehydrate_choices_check(List *choices)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, choices)
	{
		DgChoice   *choice = lfirst(lc);

		foreach(lc2, choice->texts)
		{
			if (!choice->found[foreach_current_index(lc2)])
				refuse_choice(psprintf("the archive has no row %s of table %s that is the tenants'",
									   (char *) lfirst(lc2), dg_relation_name(choice->target)));
		}
	}
}
