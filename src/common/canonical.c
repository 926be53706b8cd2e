/*
 * canonical.c
 *		Values as text, in one spelling.
 *
 * Many types are written in a way that sessions choose: dates, floating-point
 * numbers, bytea. What is kept as text and compared later, tenants' keys above
 * all, must not depend on who wrote it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "common/deletion_guard.h"

/*
 * Makes output functions write what pg_dump would; ends with AtEOXact_GUC() of
 * the level returned.
 */
int
dg_canonical_output_begin(void)
{
	static const char *const settings[][2] = {
		{"DateStyle", "ISO"}, {"IntervalStyle", "postgres"}, {"extra_float_digits", "3"},
		{"TimeZone", "UTC"}, {"bytea_output", "hex"}, {"xmloption", "content"}, {"lc_monetary", "C"},
		{"search_path", "pg_catalog, pg_temp"},
	};
	int			nestlevel = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return nestlevel;
}

/*
 * From here on, texts that dg_canonical_output_begin() has had written are read as
 * they were written. The result goes to AtEOXact_GUC().
 */
int
dg_canonical_input_begin(void)
{
	int			nestlevel = dg_canonical_output_begin();

	(void) set_config_option("array_nulls", "on", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return nestlevel;
}

/*
 * Are values of the type written in the same way whatever the settings? May say
 * no where they are.
 */
bool
dg_canonical_always(Oid type)
{
	char		category;
	bool		preferred;

	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case OIDOID:
		case UUIDOID:
			return true;
		default:
			get_type_category_preferred(getBaseType(type), &category, &preferred);
			return category == TYPCATEGORY_STRING || category == TYPCATEGORY_ENUM ||
				category == TYPCATEGORY_BOOLEAN;
	}
}

/*
 * A value as its type writes it under the settings in force, palloc'd.
 */
char *
dg_value_text(Oid type, Datum value)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}

/*
 * A value of a type from its text.
 */
Datum
dg_value_of_text(Oid type, int32 typmod, const char *text)
{
	Oid			input;
	Oid			typioparam;

	getTypeInputInfo(type, &input, &typioparam);
	return OidInputFunctionCall(input, unconstify(char *, text), typioparam, typmod);
}

/*
 * A value as text that does not depend on the session's settings, palloc'd.
 */
char *
dg_canonical_text(Oid type, Datum value)
{
	int			nestlevel = dg_canonical_output_begin();
	char	   *text = dg_value_text(type, value);

	AtEOXact_GUC(true, nestlevel);
	return text;
}
