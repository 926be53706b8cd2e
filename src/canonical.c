/*
 * canonical.c
 *		Values as text that does not depend on the session's settings.
 *
 * What is kept as text or as a digest of text (tenants' keys, lost links, purged keys) is
 * compared later, in other sessions. So it is written, and read, under settings
 * of our own: those of pg_dump, UTC, and names with their schema.
 */
#include "deletion_guard.h"

#include "catalog/pg_type.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

/*
 * Sets them. The caller ends with AtEOXact_GUC(true, level), level being the
 * result; an error ends it too.
 */
int
dg_canonical_output_begin(void)
{
	static const char *const settings[][2] = {
		{"datestyle", "ISO"}, {"intervalstyle", "postgres"}, {"timezone", "UTC"},
		{"extra_float_digits", "3"}, {"bytea_output", "hex"}, {"xmloption", "content"},
		{"lc_monetary", "C"}, {"search_path", "pg_catalog, pg_temp"},
	};
	int			level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return level;
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
