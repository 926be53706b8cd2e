/*
 * rehydrate_objects.c
 *		References of tenants' rows to large objects.
 *
 * Large objects belong to no row, and so to no tenant; they are not restored.
 * Rows come back with their references as they were. These may still lead to
 * the objects, which do not go when a row does; those that lead nowhere are
 * counted.
 *
 * A column of type oid, or of a domain over it, may hold such references, if the
 * archive has large objects at all.
 */
#include "postgres.h"

#include "catalog/pg_largeobject.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "rehydrate/rehydrate_internal.h"

/*
 * Finds the columns of a source that may refer to large objects.
 */
void
dg_rehydrate_source_set_objects(const DgRehydrateArchive *archive, DgSource *source)
{
	if (!archive->info->large_objects)
		return;
	source->objects = palloc(sizeof(int) * (source->ncolumns + 1));
	for (int i = 0; i < source->ncolumns; i++)
	{
		AttrNumber	attnum = get_attnum(source->target, source->columns[i].name);

		if (attnum != InvalidAttrNumber && getBaseType(get_atttype(source->target, attnum)) == OIDOID)
			source->objects[source->nobjects++] = i;
	}
}

/*
 * Counts a row's references; its values are text.
 */
void
dg_rehydrate_source_count_objects(const DgSource *source, const Datum *values, const bool *nulls,
								  DgObjectCount *count)
{
	for (int i = 0; i < source->nobjects; i++)
	{
		int			column = source->objects[i];
		Oid			object;

		if (nulls[column])
			continue;
		object = (Oid) strtoul(DatumGetCString(values[column]), NULL, 10);
		if (!OidIsValid(object))
			continue;
		count->references++;
		if (LargeObjectExists(object))
			continue;
		if (count->missing++ == 0)
			count->first_missing = object;
	}
}

/*
 * Appends what a person should know about references that were counted.
 */
void
dg_rehydrate_append_objects(StringInfo buf, const DgObjectCount *count)
{
	if (count->missing == 0)
		return;
	appendStringInfo(buf, count->references == 1 ? "%s%lld of %lld reference to large objects leads nowhere, to %u: large objects are not restored" :
					 "%s%lld of %lld references to large objects lead nowhere, to %u for one: large objects are not restored",
					 buf->len > 0 ? "; " : "", (long long) count->missing, (long long) count->references,
					 count->first_missing);
}
