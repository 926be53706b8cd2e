/*
 * rehydrate_chosen.c
 *		rows => '{"public.issue": [{"id": 7}, {"id": 9}]}': only these come back.
 *
 * They are named by live tables, and of each some primary keys as compare_rows()
 * shows them.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "rehydrate/rehydrate_internal.h"

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
	Datum		datum;

	get_atttypetypmodcoll(choice->target, choice->attnums[column], &type, &typmod, &collation);
	dg_rows_as_owner(&role);
	datum = dg_value_of_text(type, typmod, value);
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
