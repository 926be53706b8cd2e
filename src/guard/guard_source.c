/*
 * guard_source.c
 *		How the tenant of a table's rows is told.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "guard/guard_internal.h"

/*
 * How a table is guarded; points into the guard.
 */
DgTenantSource
dg_guard_source(const DgGuard *guard)
{
	DgTenantSource source = {guard->has_tenant_column ? NameStr(guard->tenant_column) : NULL,
	guard->tenant_path, guard->tenant};

	return source;
}

/*
 * How a row's tenant is told, as a person reads it, palloc'd; NULL if nothing tells it.
 */
char *
dg_guard_source_text(const DgTenantSource *source)
{
	if (source->column != NULL)
		return psprintf("column %s", quote_identifier(source->column));
	if (source->tenant != NULL)
		return psprintf("tenant %s", source->tenant);
	return source->path != NIL ? dg_guard_path_text(source->path) : NULL;
}
