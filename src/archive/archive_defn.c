/*
 * archive_defn.c
 *		What the definitions in an archive say: the columns of CREATE TABLE,
 *		and what a table is a partition of.
 *
 * The columns are needed for INSERT statements without a column list, and
 * their types tell what a table looked like when it was dumped.  A definition
 * that cannot be read is no error: then the columns are not known.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

/* Words that end the type of a column; pg_dump quotes them as names. */
static const char *const type_enders[] = {
	"DEFAULT", "NOT", "NULL", "GENERATED", "COLLATE", "CONSTRAINT", "CHECK",
	"PRIMARY", "UNIQUE", "REFERENCES", "STORAGE", "COMPRESSION", "OPTIONS", NULL
};

/* Words that begin a table constraint rather than a column. */
static const char *const item_words[] = {
	"CONSTRAINT", "CHECK", "PRIMARY", "UNIQUE", "FOREIGN", "NOT", NULL
};

static bool
at_word_of(DgArchiveText *text, const char *const *words)
{
	dg_archive_text_space(text);
	for (; *words != NULL; words++)
	{
		if (dg_archive_text_is_word(text, *words))
			return true;
	}
	return false;
}

/*
 * Passes over tokens up to a comma or closing parenthesis of this level, or,
 * if stop is given, up to one of these words.
 */
static bool
skip_to(DgArchiveText *text, const char *const *stop, bool *generated)
{
	int			depth = 0;

	for (;;)
	{
		dg_archive_text_space(text);
		if (text->p >= text->end)
			return false;
		if (depth == 0)
		{
			if (*text->p == ',' || *text->p == ')')
				return true;
			if (stop != NULL && at_word_of(text, stop))
				return true;
			if (generated != NULL && dg_archive_text_is_word(text, "GENERATED"))
			{
				DgArchiveText look = *text;

				*generated = dg_archive_text_word(&look, "GENERATED") &&
					dg_archive_text_word(&look, "ALWAYS") &&
					dg_archive_text_word(&look, "AS") &&
					dg_archive_text_char(&look, '(');
			}
		}
		if (*text->p == '(' || *text->p == '[')
			depth++;
		else if (*text->p == ')' || *text->p == ']')
			depth--;
		if (depth < 0 || !dg_archive_text_skip_token(text))
			return false;
	}
}

typedef struct ColumnList
{
	const char **names;
	const char **types;
	bool	   *generated;
	int			count;
	int			cap;
} ColumnList;

/*
 * Makes room for cap items in *(T **) array, which lives in the arena and has
 * count of them.  The outgrown one is left there.
 */
static bool
enlarge_list(DgArchive *archive, void *array, int count, int cap, size_t item)
{
	void	   *old;
	void	   *new = dg_archive_alloc(&archive->arena, (size_t) cap * item);

	if (new == NULL)
		return false;
	memcpy(&old, array, sizeof(old));
	if (count > 0)
		memcpy(new, old, (size_t) count * item);
	memcpy(array, &new, sizeof(new));
	return true;
}

static bool
add_listed_column(DgArchive *archive, ColumnList *list, const char *name,
				  const char *type, bool generated)
{
	if (list->count >= DG_ARCHIVE_MAX_COLUMNS)
		return false;
	if (list->count >= list->cap)
	{
		list->cap = list->cap == 0 ? 8 : list->cap * 2;
		if (!enlarge_list(archive, &list->names, list->count, list->cap, sizeof(char *)) ||
			!enlarge_list(archive, &list->types, list->count, list->cap, sizeof(char *)) ||
			!enlarge_list(archive, &list->generated, list->count, list->cap, sizeof(bool)))
			return false;
	}
	list->names[list->count] = name;
	list->types[list->count] = type;
	list->generated[list->count++] = generated;
	return true;
}

static bool
parse_column(DgArchive *archive, DgArchiveText *text, ColumnList *list)
{
	const char *name;
	const char *type;
	const char *start;
	const char *end;
	bool		generated = false;

	if (!dg_archive_text_ident(text, &archive->arena, &name))
		return false;
	dg_archive_text_space(text);
	start = text->p;
	if (!skip_to(text, type_enders, NULL))
		return false;
	end = text->p;
	while (end > start && strchr(" \n\t\r", end[-1]) != NULL)
		end--;
	type = dg_archive_strdup(&archive->arena, start, (size_t) (end - start));
	if (type == NULL || !skip_to(text, NULL, &generated))
		return false;
	return add_listed_column(archive, list, name, type, generated);
}

/*
 * Does an exclusion constraint begin here?  A column may have that name as well.
 */
static bool
at_exclusion(const DgArchiveText *text)
{
	DgArchiveText look = *text;

	return dg_archive_text_word(&look, "EXCLUDE") &&
		(dg_archive_text_word(&look, "USING") || dg_archive_text_char(&look, '('));
}

static bool
parse_items(DgArchive *archive, DgArchiveText *text, ColumnList *list)
{
	if (dg_archive_text_char(text, ')'))
		return true;			/* no columns of its own */
	do
	{
		dg_archive_text_space(text);
		if (dg_archive_text_is_word(text, "LIKE"))
			return false;		/* columns of which nothing is said */
		if (at_word_of(text, item_words) || at_exclusion(text))
		{
			if (!skip_to(text, NULL, NULL))
				return false;
		}
		else if (!parse_column(archive, text, list))
			return false;
	} while (dg_archive_text_char(text, ','));
	return dg_archive_text_char(text, ')');
}

static bool
parse_parent(DgArchive *archive, DgArchiveText *text, DgArchiveShape *shape, int *cap)
{
	int			n = shape->parent_count;

	if (n >= *cap)
	{
		*cap = *cap == 0 ? 4 : *cap * 2;
		if (*cap > 64 ||
			!enlarge_list(archive, &shape->parent_schemas, n, *cap, sizeof(char *)) ||
			!enlarge_list(archive, &shape->parent_names, n, *cap, sizeof(char *)))
			return false;
	}
	if (!dg_archive_text_qualified(text, &archive->arena,
								   &shape->parent_schemas[n],
								   &shape->parent_names[n]))
		return false;
	shape->parent_count++;
	return true;
}

static bool
parse_inherits(DgArchive *archive, DgArchiveText *text, DgArchiveShape *shape)
{
	int			cap = 0;

	if (!dg_archive_text_word(text, "INHERITS"))
		return true;
	if (!dg_archive_text_char(text, '('))
		return false;
	do
	{
		if (!parse_parent(archive, text, shape, &cap))
			return false;
	} while (dg_archive_text_char(text, ','));
	return dg_archive_text_char(text, ')');
}

static bool
parse_create_table(DgArchive *archive, DgArchiveText *text, DgArchiveShape *shape)
{
	ColumnList	list;
	const char *schema;
	const char *name;
	int			parents = 0;

	memset(&list, 0, sizeof(list));
	if (!dg_archive_text_word(text, "CREATE"))
		return false;
	if (!dg_archive_text_word(text, "UNLOGGED"))
		(void) dg_archive_text_word(text, "FOREIGN");
	if (!dg_archive_text_word(text, "TABLE"))
		return false;
	if (dg_archive_text_word(text, "IF") &&
		(!dg_archive_text_word(text, "NOT") || !dg_archive_text_word(text, "EXISTS")))
		return false;
	if (!dg_archive_text_qualified(text, &archive->arena, &schema, &name))
		return false;
	if (schema[0] == '\0' && archive->schemas != NULL && archive->schemas->count > 0)
		schema = archive->schemas->names[0];
	if (shape->schema == NULL)
	{
		shape->schema = schema;
		shape->name = name;
	}
	if (dg_archive_text_word(text, "PARTITION"))
	{
		shape->partition = true;
		return dg_archive_text_word(text, "OF") && parse_parent(archive, text, shape, &parents);
	}
	if (!dg_archive_text_char(text, '(') ||
		!parse_items(archive, text, &list) ||
		!parse_inherits(archive, text, shape))
		return false;
	shape->columns = list.names;
	shape->types = list.types;
	shape->generated = list.generated;
	shape->count = list.count;
	return true;
}

/*
 * Records a table's definition.  schema and name may be NULL: then they are
 * taken from the definition, and one that cannot be read is left out.
 */
bool
dg_archive_defn_table(DgArchive *archive, const char *schema, const char *name,
					  const char *defn, size_t len, bool with_oids,
					  DgArchiveError *err)
{
	DgArchiveShape shape;
	DgArchiveText text;

	memset(&shape, 0, sizeof(shape));
	shape.schema = schema;
	shape.name = name;
	shape.with_oids = with_oids;
	shape.schemas = archive->schemas;
	dg_archive_text_init(&text, defn, len, archive->info.std_strings);
	shape.known = parse_create_table(archive, &text, &shape);
	if (shape.schema == NULL)
		return true;
	return dg_archive_append(&archive->shapes, &archive->shape_count, &archive->shape_cap, &shape, sizeof(shape), err);
}

/*
 * Records a parent.  Where a script leaves schemas away, the first one of its
 * search_path is meant.
 */
static bool
add_parent(DgArchive *archive, DgArchiveParent *parent, DgArchiveError *err)
{
	if (archive->schemas != NULL && archive->schemas->count > 0)
	{
		if (parent->schema[0] == '\0')
			parent->schema = archive->schemas->names[0];
		if (parent->parent_schema[0] == '\0')
			parent->parent_schema = archive->schemas->names[0];
	}
	return dg_archive_append(&archive->parents, &archive->parent_count, &archive->parent_cap, parent, sizeof(*parent), err);
}

/*
 * ALTER TABLE ONLY s.root ATTACH PARTITION s.t ..., or
 * CREATE TABLE s.t PARTITION OF s.root ...
 */
static bool
parse_partition(DgArchive *archive, DgArchiveText *text, DgArchiveParent *parent)
{
	if (dg_archive_text_word(text, "ALTER"))
	{
		if (!dg_archive_text_word(text, "TABLE"))
			return false;
		(void) dg_archive_text_word(text, "ONLY");
		return dg_archive_text_qualified(text, &archive->arena, &parent->parent_schema, &parent->parent_name) &&
			dg_archive_text_word(text, "ATTACH") && dg_archive_text_word(text, "PARTITION") &&
			dg_archive_text_qualified(text, &archive->arena, &parent->schema, &parent->name);
	}
	if (!dg_archive_text_word(text, "CREATE"))
		return false;
	(void) dg_archive_text_word(text, "UNLOGGED");
	return dg_archive_text_word(text, "TABLE") &&
		dg_archive_text_qualified(text, &archive->arena, &parent->schema, &parent->name) &&
		dg_archive_text_word(text, "PARTITION") && dg_archive_text_word(text, "OF") &&
		dg_archive_text_qualified(text, &archive->arena, &parent->parent_schema, &parent->parent_name);
}

/*
 * Records what statements say of partitions. pg_dump 13 and older attaches a
 * table in the statements that make it.
 */
bool
dg_archive_defn_parents(DgArchive *archive, const char *defn, size_t len, DgArchiveError *err)
{
	DgArchiveText text;

	dg_archive_text_init(&text, defn, len, archive->info.std_strings);
	while (text.p < text.end)
	{
		DgArchiveText statement = text;
		DgArchiveParent parent = {.partition = true};

		if (parse_partition(archive, &statement, &parent) && !add_parent(archive, &parent, err))
			return false;
		while (!dg_archive_text_char(&text, ';'))
		{
			if (!dg_archive_text_skip_token(&text))
				return true;
		}
		dg_archive_text_space(&text);
	}
	return true;
}

static int
compare_shapes(const void *a, const void *b)
{
	const DgArchiveShape *x = a;
	const DgArchiveShape *y = b;

	return dg_archive_name_compare(x->schema, x->name, y->schema, y->name);
}

/*
 * Sorts the definitions once all are known.  A table that is defined twice, and
 * not in the same way, has no definition.
 */
void
dg_archive_defn_sort(DgArchive *archive)
{
	size_t		i;
	int			k;

	if (archive->shape_count == 0)
		return;
	qsort(archive->shapes, archive->shape_count, sizeof(*archive->shapes),
		  compare_shapes);
	for (i = 1; i < archive->shape_count; i++)
	{
		DgArchiveShape *one = &archive->shapes[i - 1];
		DgArchiveShape *other = &archive->shapes[i];
		bool		same = one->known && other->known && one->count == other->count &&
		one->parent_count == other->parent_count;

		if (compare_shapes(one, other) != 0)
			continue;
		for (k = 0; same && k < one->count; k++)
			same = strcmp(one->columns[k], other->columns[k]) == 0;
		if (!same)
			one->known = other->known = false;
	}
	for (i = archive->shape_count; i-- > 1;)
	{
		/* the first of three tells the last as well */
		if (!archive->shapes[i].known && compare_shapes(&archive->shapes[i - 1], &archive->shapes[i]) == 0)
			archive->shapes[i - 1].known = false;
	}
}

/*
 * A table's columns are not those that its definition tells.
 */
void
dg_archive_defn_altered(DgArchive *archive, const char *schema, const char *name)
{
	DgArchiveShape *shape = (DgArchiveShape *) dg_archive_defn_find(archive, schema, name);

	if (shape == NULL)
		return;
	while (shape > archive->shapes && compare_shapes(shape - 1, shape) == 0)
		shape--;
	for (; shape < archive->shapes + archive->shape_count &&
		 dg_archive_name_compare(shape->schema, shape->name, schema, name) == 0; shape++)
		shape->known = false;
}

/*
 * Finds a table's definition, once dg_archive_defn_sort() has run.
 */
const DgArchiveShape *
dg_archive_defn_find(DgArchive *archive, const char *schema, const char *name)
{
	DgArchiveShape key = {schema, name};

	if (archive->shape_count == 0)
		return NULL;
	return bsearch(&key, archive->shapes, archive->shape_count,
				   sizeof(key), compare_shapes);
}

/*
 * Is there a definition of the table, in what pg_dump itself has written?
 */
bool
dg_archive_defines(DgArchive *archive, const char *schema, const char *name)
{
	return archive->info.dump_version[0] != '\0' && dg_archive_defn_find(archive, schema, name) != NULL;
}

static bool
list_has_column(const ColumnList *list, const char *name)
{
	int			i;

	for (i = 0; i < list->count; i++)
	{
		if (strcmp(list->names[i], name) == 0)
			return true;
	}
	return false;
}

static bool
merge_columns(DgArchive *archive, ColumnList *list, const DgArchiveShape *from)
{
	int			i;

	for (i = 0; i < from->count; i++)
	{
		if (!list_has_column(list, from->columns[i]) &&
			!add_listed_column(archive, list, from->columns[i], from->types[i],
							   from->generated[i]))
			return false;
	}
	return true;
}

/*
 * Finds the definition of a parent, whose name may be without a schema.
 */
static DgArchiveShape *
find_parent(DgArchive *archive, const DgArchiveShape *shape, int n)
{
	const char *schema = shape->parent_schemas[n];
	const DgArchiveShape *found = NULL;
	int			i;

	if (schema[0] != '\0' || shape->schemas == NULL)
		return (DgArchiveShape *) dg_archive_defn_find(archive, schema[0] != '\0' ? schema : shape->schema,
													   shape->parent_names[n]);
	for (i = 0; found == NULL && i < shape->schemas->count; i++)
		found = dg_archive_defn_find(archive, shape->schemas->names[i], shape->parent_names[n]);
	return (DgArchiveShape *) found;
}

/*
 * What a table inherits from is on record as well, if it is one table.
 */
static bool
add_inherited(DgArchive *archive, DgArchiveError *err)
{
	size_t		i;

	for (i = 0; i < archive->shape_count; i++)
	{
		const DgArchiveShape *shape = &archive->shapes[i];
		const DgArchiveShape *found;
		DgArchiveParent parent = {shape->schema, shape->name};

		if (shape->parent_count != 1 || shape->partition)
			continue;
		found = find_parent(archive, shape, 0);
		parent.parent_schema = found != NULL ? found->schema : shape->parent_schemas[0];
		parent.parent_name = shape->parent_names[0];
		if (!add_parent(archive, &parent, err))
			return false;
	}
	dg_archive_parents_sort(archive);
	return true;
}

/*
 * Puts inherited columns before a table's own, as CREATE TABLE will.  Tables
 * inherit to a depth that real schemas do not reach; cycles and anything
 * deeper leave the columns unknown.
 */
static void
resolve_shape(DgArchive *archive, DgArchiveShape *shape, int depth)
{
	ColumnList	list;
	int			i;

	if (shape->resolved)
		return;
	if (shape->visiting || depth > 100)
	{
		shape->known = false;
		return;
	}
	shape->visiting = true;
	memset(&list, 0, sizeof(list));
	for (i = 0; shape->known && i < shape->parent_count; i++)
	{
		DgArchiveShape *parent = find_parent(archive, shape, i);

		if (parent != NULL)
			resolve_shape(archive, parent, depth + 1);
		shape->known = shape->known && parent != NULL && parent->known &&
			merge_columns(archive, &list, parent);
	}
	if (shape->known && shape->parent_count > 0)
	{
		shape->known = merge_columns(archive, &list, shape);
		shape->columns = list.names;
		shape->types = list.types;
		shape->generated = list.generated;
		shape->count = list.count;
	}
	shape->resolved = true;
	shape->visiting = false;
}

/*
 * After the last definition: resolves inheritance.
 */
bool
dg_archive_defn_resolve(DgArchive *archive, DgArchiveError *err)
{
	size_t		i;

	if (!add_inherited(archive, err))
		return false;
	for (i = 0; i < archive->shape_count; i++)
	{
		if (dg_archive_interrupted(archive, err))
			return false;
		resolve_shape(archive, &archive->shapes[i], 0);
	}
	return true;
}
