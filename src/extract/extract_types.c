/*
 * extract_types.c
 *		Values of an archive as values of the types they had there.
 *
 * A column's text goes straight to the input function of the live column
 * where that is of the type the archive says it was. Otherwise that function
 * might drop a part of the value without a word: date_in() drops a time,
 * float4in() digits, numeric_in() rounds to the column's scale. There the
 * text is read as the type it was, and the row map casts it (rows_map.c): an
 * error if casting back does not give the same value.
 *
 * Where the archive does not say (dumped without definitions) or where the
 * type does not exist here any more, the live type without its modifier
 * stands for it. A type that somebody has made (a domain, a composite, a
 * range, an array of these) may have changed under its name. Both are
 * guesses. Where the input function of such a type, or of a part of it, may
 * drop something, each value is written out again, and must be what was read.
 * Domains are read as their base types: none of their checks runs for a name
 * that an archive has chosen. Those of domains inside of a type do: as the
 * table's owner, where the caller is a superuser (rows_role.c).
 */
#include "postgres.h"

#include <ctype.h>
#include <float.h>

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "archive/archive.h"
#include "extract/extract_internal.h"
#include "rows/rows.h"

/* How a column's text is read before it is cast. */
typedef struct DgColumnInput
{
	bool		used;			/* else it stays text */
	bool		guessed;		/* has to be written as it was read */
	Oid			type;
	FmgrInfo	function;
	FmgrInfo	output;
	Oid			typioparam;
} DgColumnInput;

struct DgSourceTypes
{
	int			ncolumns;
	bool		any;			/* column's input is used */
	DgColumnInput *inputs;
	DgRowsRole	role;			/* as whom values are read */
	MemoryContext row_context;	/* values of the row at hand */
};

/* A type's name, and what it means. */
typedef struct NamedType
{
	const char *name;
	Oid			type;
	int32		typmod;
} NamedType;

static void
parse_type(void *arg)
{
	NamedType  *named = arg;

	dg_parse_type(named->name, &named->type, &named->typmod);
}

/*
 * The type of an archive's column; InvalidOid if there is none of that name.
 */
static Oid
archived_type(const char *name, int32 *typmod)
{
	NamedType	named = {name, InvalidOid, -1};

	if (name == NULL || dg_try(parse_type, &named, false) != NULL ||
		!OidIsValid(named.type) || get_typtype(named.type) == TYPTYPE_PSEUDO)
		return InvalidOid;
	*typmod = named.typmod;
	return named.type;
}

static bool drops_silently(Oid type);

/*
 * May a part of a type drop something of a text silently? Its modifier may round.
 */
static bool
part_drops_silently(Oid type, int32 typmod)
{
	Oid			base = getBaseTypeAndTypmod(type, &typmod);

	return typmod >= 0 || drops_silently(base);
}

static bool
field_drops_silently(Oid type)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	bool		result = false;

	for (int i = 0; i < desc->natts && !result; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		result = !att->attisdropped && part_drops_silently(att->atttypid, att->atttypmod);
	}
	ReleaseTupleDesc(desc);
	return result;
}

/*
 * Does the type's input function drop a part of what it cannot hold?
 */
static bool
drops_silently(Oid type)
{
	Oid			part = get_element_type(type);

	check_stack_depth();
	switch (type)
	{
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case NAMEOID:
		case CHAROID:
		case FLOAT4OID:
		case FLOAT8OID:
		case JSONBOID:
			return true;
	}
	if (!OidIsValid(part))
		part = get_range_subtype(type);
	if (!OidIsValid(part))
		part = get_multirange_range(type);
	if (OidIsValid(part))
		return part_drops_silently(part, -1);
	return get_typtype(type) == TYPTYPE_COMPOSITE && field_drops_silently(type);
}

/*
 * May the type have been another when the archive was made, under its name?
 */
static bool
is_somebodys(Oid type)
{
	return type >= FirstNormalObjectId;
}

/*
 * Is it a time of some kind, kept as text now? Then the archive's text is
 * taken as it is, however the session would write times.
 */
static bool
is_time_as_text(Oid archived, Oid live)
{
	char		category;
	bool		preferred;

	get_type_category_preferred(getBaseType(archived), &category, &preferred);
	return (category == TYPCATEGORY_DATETIME || category == TYPCATEGORY_TIMESPAN) &&
		(live == TEXTOID || live == VARCHAROID);
}

/*
 * The type to read a column's text as; InvalidOid for the live one. Sets
 * *guessed if the archive does not tell, and that may drop a part of the value.
 */
static Oid
type_to_read(const char *archived, Oid live, int32 live_typmod, bool *guessed)
{
	int32		typmod = -1;
	int32		base_typmod = live_typmod;
	Oid			base = getBaseTypeAndTypmod(live, &base_typmod);
	Oid			type;

	if (archived != NULL && !is_somebodys(live) &&
		strcmp(archived, format_type_extended(live, live_typmod, FORMAT_TYPE_TYPEMOD_GIVEN)) == 0)
		return InvalidOid;
	type = archived_type(archived, &typmod);
	if (OidIsValid(type) && is_time_as_text(type, base))
		return base_typmod >= 0 ? TEXTOID : InvalidOid;
	if (!OidIsValid(type))
		*guessed = drops_silently(base);
	else
		*guessed = is_somebodys(type) && drops_silently(getBaseType(type));
	if (*guessed)
		return OidIsValid(type) ? getBaseType(type) : base;
	if (!OidIsValid(type))
		return base_typmod >= 0 ? base : InvalidOid;
	/* a domain may have had another modifier when the archive was made */
	if (type == live && (base == live ? typmod == live_typmod : base_typmod < 0))
		return InvalidOid;
	return getBaseType(type);
}

static void
set_column(DgSourceTypes *types, DgSource *source, int column, const char *archived)
{
	AttrNumber	attnum = get_attnum(source->target, source->columns[column].name);
	DgColumnInput *input = &types->inputs[column];
	Oid			function;
	bool		varlena;
	Oid			live;
	Oid			type;
	Oid			collation;
	int32		typmod;

	if (attnum == InvalidAttrNumber)
		return;
	get_atttypetypmodcoll(source->target, attnum, &live, &typmod, &collation);
	type = type_to_read(archived, live, typmod, &input->guessed);
	if (!OidIsValid(type))
		return;
	input->type = type;
	getTypeInputInfo(type, &function, &input->typioparam);
	fmgr_info(function, &input->function);
	getTypeOutputInfo(type, &function, &varlena);
	fmgr_info(function, &input->output);
	input->used = types->any = true;
	source->columns[column].type = type;
}

/*
 * Finds out what the columns of a source's rows have to be read as, once.
 */
void
dg_extract_source_set_types(const DgExtractArchive *archive, DgSource *source)
{
	const DgArchiveTable *table = dg_archive_table(archive->archive, source->index);
	MemoryContext context = GetMemoryChunkContext(source);
	MemoryContext old = MemoryContextSwitchTo(context);
	DgSourceTypes *types;

	if (source->types == NULL)
	{
		types = palloc0(sizeof(DgSourceTypes));
		types->ncolumns = source->ncolumns;
		types->role = dg_rows_role_of(dg_relation_owner(source->target));
		types->inputs = palloc0(sizeof(DgColumnInput) * (source->ncolumns + 1));
		types->row_context = AllocSetContextCreate(context, "deletion_guard archived row",
												   ALLOCSET_DEFAULT_SIZES);
		for (int i = 0; i < source->ncolumns; i++)
		{
			const char *archived;

			if (source->fields[i] < 0)
				continue;		/* a constant, as the live column reads it */
			/* fewer where an empty table's columns are not told */
			archived = table->types == NULL || source->fields[i] >= table->column_count ? NULL :
				table->types[source->fields[i]];
			set_column(types, source, i, archived == NULL ? NULL : dg_extract_text(archive, archived));
		}
		source->types = types;
	}
	MemoryContextSwitchTo(old);
}

/*
 * The length of a value's text without the midnight that makes a date a
 * timestamp.
 */
static size_t
significant_length(const char *text)
{
	static const char midnight[] = " 00:00:00";
	size_t		len = strlen(text);
	size_t		tail = sizeof(midnight) - 1;

	return len > tail && strcmp(text + len - tail, midnight) == 0 ? len - tail : len;
}

/*
 * Is it a time with time zone, or an array, range or multirange of such?
 */
static bool
is_of_zoned_times(Oid type)
{
	Oid			part = type;

	while (OidIsValid(part))
	{
		type = part;
		part = get_element_type(type);
		if (!OidIsValid(part))
			part = get_range_subtype(type);
		if (!OidIsValid(part))
			part = get_multirange_range(type);
	}
	return type == TIMESTAMPTZOID;
}

/*
 * Does the text of such a value say of every time in which zone it is? pg_dump
 * writes them so; it does not say in which zone it wrote them. What does not begin
 * with a digit (infinity, null, empty) needs none.
 */
static bool
has_time_zones(const char *text)
{
	static const char between[] = "{}[](),\"\\";

	if (text[0] == '[' && strstr(text, "]=") != NULL)
		text = strstr(text, "]=") + 2;	/* bounds of an array */
	for (text += strspn(text, between); *text != '\0'; text += strspn(text, between))
	{
		size_t		len = strcspn(text, between);
		const char *time = memchr(text, ' ', len);

		if (isdigit((unsigned char) *text) &&
			(time == NULL || time + strcspn(time, "+-") >= text + len))
			return false;
		text += len;
	}
	return true;
}

/*
 * Is the text what a value is written as? Servers before 12 wrote floating-point
 * numbers with as many digits as they may need.
 */
static bool
is_written_as(const DgColumnInput *input, Datum value, const char *written, const char *text)
{
	size_t		len = significant_length(text);

	if (significant_length(written) == len && memcmp(written, text, len) == 0)
		return true;
	if (input->type == FLOAT4OID)
		return strcmp(psprintf("%.*g", FLT_DIG + 3, DatumGetFloat4(value)), text) == 0;
	if (input->type == FLOAT8OID)
		return strcmp(psprintf("%.*g", DBL_DIG + 3, DatumGetFloat8(value)), text) == 0;
	return is_of_zoned_times(input->type) && has_time_zones(text);
}

/*
 * A value of a type that was guessed: was it of that type?
 */
static void
check_guess(const DgSource *source, int column, const char *text, Datum value)
{
	DgColumnInput *input = &source->types->inputs[column];
	char	   *written = OutputFunctionCall(&input->output, value);

	if (is_written_as(input, value, written, text))
		return;
	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_RESTORE),
			 errmsg("a value of column \"%s\" would change: \"%s\" would become \"%s\"",
					source->columns[column].name, text, written),
			 is_somebodys(input->type) ?
			 errdetail("The archive does not tell what type %s was when it was made.", format_type_be(input->type)) :
			 errdetail("The archive does not tell of which type the column was."),
			 is_somebodys(input->type) ?
			 errhint("Nothing was restored. Give the type the definition that it had. If only a time zone differs, set timezone to that of the archive.") :
			 errhint("Nothing was restored. Give the column the type that it had, or use an archive with the table's definition.")));
}

/*
 * Turns a row's C strings into values of its columns' types, in place. They are
 * good until the next row of the source.
 */
void
dg_extract_source_read_values(const DgSource *source, Datum *values, const bool *nulls)
{
	DgSourceTypes *types = source->types;
	MemoryContext old;

	if (!types->any)
		return;
	MemoryContextReset(types->row_context);
	old = MemoryContextSwitchTo(types->row_context);
	dg_rows_as_owner(&types->role);
	for (int i = 0; i < types->ncolumns; i++)
	{
		DgColumnInput *input = &types->inputs[i];
		char	   *text = DatumGetCString(values[i]);

		if (!input->used || nulls[i])
			continue;
		values[i] = InputFunctionCall(&input->function, text, input->typioparam, -1);
		if (input->guessed)
			check_guess(source, i, text, values[i]);
	}
	dg_rows_as_caller(&types->role);
	MemoryContextSwitchTo(old);
}
