/*
 * guard_source.c
 *		How the tenant of a table's rows is told.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "guard/guard_internal.h"

/*
 * How a row's tenant is told, as a person reads it, palloc'd; NULL if nothing tells it.
 */
char *
dg_guard_source_text(const DgTenantSource *source)
{
	StringInfoData buf;

	if (source->column != NULL)
		return psprintf("column %s", quote_identifier(source->column));
	if (source->tenant != NULL)
		return psprintf("tenant %s", source->tenant);
	if (source->path != NIL)
		return dg_guard_path_text(source->path);
	if (source->steps == NIL)
		return NULL;
	initStringInfo(&buf);
	appendStringInfoString(&buf, "path ");
	dg_guard_append_steps(&buf, source->steps);
	return buf.data;
}
