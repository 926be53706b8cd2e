/*
 * rows_convert.c
 *		A saved value, in the type that its column has now: if that loses
 *		nothing.
 *
 * A value is converted as by an assignment, or through text where there is no
 * such cast. Casts round, truncate and normalize without a word; so the
 * result is turned back, by any cast there is or else as text, and must be
 * the value again. An archive's text is read without the column's length,
 * scale or precision first, and what they then make of it must be equal to
 * it.
 *
 * jsonb drops blanks and the order of fields, which mean nothing, but also
 * all but the last of several fields of one name: so fields are counted.
 *
 * Between types with and without time zone, the result depends on the
 * session's, as for ALTER TABLE. Turned back, the value is the same; it still
 * may not be what was meant, so there is a warning.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "rows/rows_internal.h"

/* the longest value that an error message shows, in bytes */
#define SHOWN_VALUE		60

struct DgRowsConversion
{
	char	   *column;
	char	   *type_name;		/* of the column */
	Oid			from;			/* of a text source: the type that it is read
								 * as */
	Oid			to;

	bool		is_text;		/* the source has C strings */
	bool		through_text;
	FmgrInfo	input;
	FmgrInfo	output;			/* of the source's type */
	Oid			typioparam;
	int32		typmod;			/* for input */
	ExprState  *expr;			/* or NULL */

	/* how to see whether anything was lost */
	bool		check;
	ExprState  *back;			/* NULL: the result has the source's type, or
								 * compare texts */
	bool		compare_texts;
	bool		compare_json;
	FmgrInfo	equal;			/* of the source's type; fn_oid 0: compare
								 * bytes */
	Oid			collation;
	int16		len;
	bool		byval;

	bool		warn;			/* depends on the session's time zone, not
								 * said yet */
};

/*
 * An expression that turns a value of one type into one of another, planned;
 * NULL if there is no such cast.
 */
static Expr *
cast_expression(Oid from, int32 from_typmod, Oid to, int32 to_typmod, CoercionContext context)
{
	CaseTestExpr *value = makeNode(CaseTestExpr);
	Node	   *expr;

	value->typeId = from;
	value->typeMod = from_typmod;
	value->collation = get_typcollation(from);
	expr = coerce_to_target_type(NULL, (Node *) value, from, to, to_typmod, context,
								 context == COERCION_EXPLICIT ? COERCE_EXPLICIT_CAST : COERCE_IMPLICIT_CAST, -1);
	return expr == NULL ? NULL : expression_planner((Expr *) expr);
}

/*
 * Does a planned expression leave the value's bytes as they are?
 */
static bool
keeps_bytes(Expr *expr)
{
	while (IsA(expr, RelabelType))
		expr = ((RelabelType *) expr)->arg;
	return IsA(expr, CaseTestExpr);
}

static void
use_input(DgRowsConversion *conversion, Oid type, int32 typmod)
{
	Oid			function;

	getTypeInputInfo(type, &function, &conversion->typioparam);
	fmgr_info(function, &conversion->input);
	conversion->typmod = typmod;
}

static void
use_equality(DgRowsConversion *conversion)
{
	TypeCacheEntry *type = lookup_type_cache(conversion->from, TYPECACHE_EQ_OPR_FINFO);

	conversion->check = true;
	get_typlenbyval(conversion->from, &conversion->len, &conversion->byval);
	conversion->collation = type->typcollation;
	if (OidIsValid(type->eq_opr_finfo.fn_oid))
		fmgr_info(type->eq_opr_finfo.fn_oid, &conversion->equal);
}

/*
 * The way back: a cast, or the same text.
 */
static void
use_way_back(DgRowsConversion *conversion, const DgSourceColumn *source, int32 typmod)
{
	Expr	   *expr = cast_expression(conversion->to, typmod, source->type, source->typmod,
									   COERCION_ASSIGNMENT);

	if (expr == NULL)
		expr = cast_expression(conversion->to, typmod, source->type, source->typmod, COERCION_EXPLICIT);
	use_equality(conversion);
	conversion->compare_json = conversion->to == JSONBOID &&
		(source->type == JSONOID || TypeCategory(source->type) == TYPCATEGORY_STRING);
	if (expr == NULL)
		conversion->compare_texts = true;
	else if (conversion->from != conversion->to)
		conversion->back = ExecInitExpr(expr, NULL);
}

/*
 * Text for the column's input function. Where the column limits its values,
 * they are read as if it did not, and cast.
 */
static void
from_text(DgRowsConversion *conversion, Form_pg_attribute att)
{
	int32		typmod = att->atttypmod;
	Oid			base = getBaseTypeAndTypmod(att->atttypid, &typmod);
	Expr	   *expr = NULL;

	conversion->is_text = true;
	if (typmod >= 0)
		expr = cast_expression(base, -1, att->atttypid, att->atttypmod, COERCION_ASSIGNMENT);
	if (expr == NULL || keeps_bytes(expr))
	{
		use_input(conversion, att->atttypid, att->atttypmod);
		return;
	}
	conversion->from = base;
	use_input(conversion, base, -1);
	conversion->expr = ExecInitExpr(expr, NULL);
	use_equality(conversion);
}

/*
 * Is it a date or time, or an array of such?
 */
static bool
is_date_or_time(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_base_element_type(base);
	TYPCATEGORY category = TypeCategory(OidIsValid(element) ? element : base);

	return category == TYPCATEGORY_DATETIME || category == TYPCATEGORY_TIMESPAN;
}

static void
from_value(DgRowsConversion *conversion, Form_pg_attribute att, const DgSourceColumn *source)
{
	Expr	   *expr = cast_expression(source->type, source->typmod, att->atttypid, att->atttypmod,
									   COERCION_ASSIGNMENT);
	Oid			function;
	bool		varlena;

	conversion->from = source->type;
	getTypeOutputInfo(source->type, &function, &varlena);
	fmgr_info(function, &conversion->output);
	if (expr != NULL)
	{
		conversion->expr = ExecInitExpr(expr, NULL);
		conversion->warn = is_date_or_time(source->type) && is_date_or_time(att->atttypid) &&
			contain_mutable_functions((Node *) expr);
		if (keeps_bytes(expr))
			return;
	}
	else
	{
		conversion->through_text = true;
		use_input(conversion, att->atttypid, att->atttypmod);
	}
	use_way_back(conversion, source, att->atttypmod);
}

/*
 * How values of a source's column become values of the table's, in the current
 * memory context; NULL if they are that already.
 */
DgRowsConversion *
dg_rows_conversion_make(Form_pg_attribute att, const DgSourceColumn *source)
{
	DgRowsConversion *conversion;

	if (source->type == att->atttypid &&
		(source->typmod == att->atttypmod || att->atttypmod == -1))
		return NULL;
	conversion = palloc0(sizeof(DgRowsConversion));
	conversion->column = pstrdup(NameStr(att->attname));
	conversion->to = att->atttypid;
	conversion->type_name = format_type_with_typemod(att->atttypid, att->atttypmod);
	if (OidIsValid(source->type))
		from_value(conversion, att, source);
	else
		from_text(conversion, att);
	return conversion;
}

/* ----------------------------------------------------------------------
 * Values
 * ----------------------------------------------------------------------
 */

/*
 * How many fields all the objects in a JSON text have.
 */
static int64
count_fields(const char *json)
{
	bool		in_string = false;
	int64		fields = 0;

	for (const char *at = json; *at != '\0'; at++)
	{
		if (in_string && *at == '\\')
			at++;
		else if (*at == '"')
			in_string = !in_string;
		else if (*at == ':' && !in_string)
			fields++;
	}
	return fields;
}

/*
 * Are two values of the source's type the same? To the byte, mostly.
 */
static bool
same_value(DgRowsConversion *conversion, Datum a, Datum b)
{
	if (a == b || datum_image_eq(a, b, conversion->byval, conversion->len))
		return true;
	return OidIsValid(conversion->equal.fn_oid) &&
		DatumGetBool(FunctionCall2Coll(&conversion->equal, conversion->collation, a, b));
}

static bool
loses_nothing(DgRowsConversion *conversion, ExprContext *econtext, Datum value, Datum result)
{
	Datum		back = result;
	bool		isnull = false;

	if (conversion->compare_json)
		return count_fields(dg_value_text(conversion->from, value)) == count_fields(dg_value_text(conversion->to, result));
	if (conversion->compare_texts)
		return strcmp(dg_value_text(conversion->from, value), dg_value_text(conversion->to, result)) == 0;
	if (conversion->back != NULL)
	{
		econtext->caseValue_datum = result;
		econtext->caseValue_isNull = false;
		back = ExecEvalExpr(conversion->back, econtext, &isnull);
	}
	return !isnull && same_value(conversion, value, back);
}

/*
 * The beginning of a value's text, quoted.
 */
static char *
quoted_value(Oid type, Datum value)
{
	char	   *text = dg_value_text(type, value);
	int			len = strlen(text);
	int			cut = len > SHOWN_VALUE ? pg_mbcliplen(text, len, SHOWN_VALUE) : len;

	return psprintf("\"%.*s\"%s", cut, text, cut < len ? "..." : "");
}

static void
refuse_loss(DgRowsConversion *conversion, Datum value, Datum result, bool isnull, bool visible)
{
	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_RESTORE),
			 errmsg("a saved value does not fit its column any more without loss"),
			 !visible ? 0 :
			 errdetail("It is %s; the column, of type %s, would hold %s.",
					   quoted_value(conversion->from, value), conversion->type_name,
					   isnull ? "null" : quoted_value(conversion->to, result)),
			 errhint(DG_HINT_TYPE)));
}

static void
warn_of_time_zone(DgRowsConversion *conversion)
{
	conversion->warn = false;
	ereport(WARNING,
			(errmsg("saved values of column \"%s\" are converted from %s to %s in time zone \"%s\"",
					conversion->column, format_type_be(conversion->from), conversion->type_name,
					GetConfigOption("TimeZone", false, false)),
			 errhint("That is this session's. If they were meant for another, roll back, set it, and call again.")));
}

/*
 * Converts a value; a text source's is a C string. With visible, an error may
 * show it. What is new is palloc'd in the current memory context.
 */
Datum
dg_rows_conversion_apply(DgRowsConversion *conversion, ExprContext *econtext,
						 Datum value, bool *isnull, bool visible)
{
	bool		was_null = *isnull;
	Datum		result = value;

	if (conversion->warn && !was_null)
		warn_of_time_zone(conversion);
	if (conversion->is_text || conversion->through_text)
	{
		char	   *text = was_null ? NULL : conversion->is_text ? DatumGetCString(value) :
		OutputFunctionCall(&conversion->output, value);

		result = InputFunctionCall(&conversion->input, text, conversion->typioparam, conversion->typmod);
		if (conversion->is_text)
			value = result;
	}
	if (conversion->expr != NULL)
	{
		econtext->caseValue_datum = value;
		econtext->caseValue_isNull = was_null;
		result = ExecEvalExpr(conversion->expr, econtext, isnull);
	}
	if (conversion->check && !was_null &&
		(*isnull || !loses_nothing(conversion, econtext, value, result)))
		refuse_loss(conversion, value, result, *isnull, visible);
	return result;
}
