/*
 * rehydrate_as_tenant.c
 *		rehydrate(..., as_tenant => '77'): a tenant's rows become another's.
 *
 * Rows are read, told and subtracted if they were purged as those of the tenant that
 * the archive has them of. Then, in the table's shape and before anything checks or
 * routes them (dg_rows_writer_refuse()), values are replaced:
 *
 * - the tenant's key in the columns that tell the tenant, in the tenant table's row,
 *	 and in all columns that are connected with these by foreign keys, where it is the
 *	 old one;
 * - with renumber, keys that are taken, and all references to them
 *	 (rehydrate_renumber.c). Without it, they are conflicts like others.
 *
 * The tenant table's row comes back under the new key or, where that tenant
 * exists, stays out: the tenants are merged. What referred to it by another of its
 * columns then gets the other row's.
 *
 * It takes a reading of the archive in advance, to know which keys there are.
 *
 * What the rows refer to must be theirs, too: a reference to a row that does
 * not come along, and that is the old tenant's, is an error, as the new rows would hang on
 * another tenant's; so is one on the path to the tenant that leads to anybody
 * but the new one. References that nobody declared, as from jsonb, are not known, and stay
 * as they are.
 *
 * A table that is a tenant's as a whole cannot be somebody else's.
 *
 * Live rows and the bin of the old tenant are left alone: links that live rows have
 * lost to rows of the archive do not lead to the copies.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "guard/guard.h"
#include "rehydrate/rehydrate_internal.h"
#include "rows/rows.h"

/* ----------------------------------------------------------------------
 * What is asked for
 * ----------------------------------------------------------------------
 */

/*
 * Refuses what cannot be combined, and a tenant that cannot be meant. Puts its key
 * into the tenant table's spelling.
 */
void
dg_rehydrate_as_tenant_arguments(DgRestore *call)
{
	if (call->as_tenant == NULL && call->renumber)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("renumber goes with as_tenant only"),
				 errdetail("Rows that come back as what they were have the keys that they had.")));
	if (call->as_tenant == NULL)
		return;
	if (call->delete_extra || call->into_schema != NULL || call->choices != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("as_tenant cannot be combined with rows, into_schema or extra => 'delete'")));
	if (call->plan->tenants->n != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("only one tenant at a time can come back as another"),
				 errhint("Rehydrate one after the other.")));
	call->as_tenant = dg_extract_tenants_make(1, &call->as_tenant)->keys[0];
	if (dg_guard_tenant_equal(call->as_tenant, call->plan->tenants->keys[0]))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("as_tenant is the tenant \"%s\" itself", call->as_tenant),
				 errhint("Leave it out to restore the tenant as what it was.")));
}

/*
 * Rows of a table that is one tenant's as a whole cannot be another's.
 */
static void
refuse_whole(const DgRestore *call, Oid relid)
{
	const char *tenant = dg_guard_lookup(relid)->tenant;

	if (tenant != NULL)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_RESTORE),
				 errmsg("rows of \"%s\" cannot become tenant \"%s\"'s: all of its rows are tenant \"%s\"'s",
						get_rel_name(relid), call->as_tenant, tenant),
				 errhint("Nothing was restored. Name tables that have rows of several tenants in relations. A schema that is a tenant's becomes another with pg_restore in another database, ALTER SCHEMA ... RENAME TO there, and pg_dump of that.")));
}

static int
number_of_columns(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	int			n = RelationGetNumberOfAttributes(rel);

	table_close(rel, NoLock);
	return n;
}

/* ----------------------------------------------------------------------
 * The tenants' own rows
 * ----------------------------------------------------------------------
 */

/*
 * The columns of the tenant table that have keys, besides that of the tenants.
 */
static List *
tenant_key_columns(const DgAsTenant *as)
{
	List	   *columns = NIL;
	ListCell   *lc;

	foreach(lc, dg_rehydrate_keys_of_table(as->keys, as->table))
	{
		DgKeyColumn *column = lfirst(lc);

		if (!column->class->tenant)
			columns = lappend_int(columns, column->id.attnum);
	}
	return columns;
}

/*
 * What a tenant's live row has in these columns, by attribute number; NULL if there
 * is none.
 */
static char **
live_tenant_row(const DgAsTenant *as, const char *tenant, List *attnums)
{
	const char *key = dg_guard_tenant_column_of(as->table);
	Oid			type = getBaseType(get_atttype(as->table, get_attnum(as->table, key)));
	Oid			types[] = {TEXTOID};
	Datum		args[] = {CStringGetTextDatum(tenant)};
	MemoryContext context = CurrentMemoryContext;
	char	  **row = NULL;
	StringInfoData select;
	ListCell   *lc;
	ListCell   *lc2;

	initStringInfo(&select);
	foreach(lc, attnums)
		appendStringInfo(&select, "t.%s, ", quote_identifier(get_attname(as->table, lfirst_int(lc), false)));
	SPI_connect();
	foreach(lc, dg_query_tables(as->table))
	{
		if (dg_query(psprintf("SELECT %sNULL FROM %s t WHERE t.%s %s $1::%s", select.data, dg_own_rows(lfirst_oid(lc)),
							  quote_identifier(key), dg_equality_operator(type),
							  dg_type_name(type)), DG_AS_OWNER, 1, types, args,
					 .table = lfirst_oid(lc)) == 0)
			continue;
		row = MemoryContextAllocZero(context, sizeof(char *) * (number_of_columns(as->table) + 1));
		foreach(lc2, attnums)
		{
			char	   *text = dg_row_text(0, foreach_current_index(lc2) + 1);

			if (text != NULL)
				row[lfirst_int(lc2)] = MemoryContextStrdup(context, text);
		}
	}
	SPI_finish();
	return row;
}

/*
 * Where the tenants are merged, what referred to the old one's row refers to the
 * new one's.
 */
static void
merge_tenant_rows(DgRestore *call, DgAsTenant *as)
{
	List	   *attnums;
	char	  **live;
	ListCell   *lc;

	if (!OidIsValid(as->table))
		return;
	attnums = tenant_key_columns(as);
	live = live_tenant_row(as, call->as_tenant, attnums);
	as->merged = live != NULL;
	if (as->row == NULL)
		as->row = live_tenant_row(as, as->old, attnums);
	if (live == NULL || as->row == NULL)
		return;
	foreach(lc, attnums)
	{
		int			attnum = lfirst_int(lc);

		if (as->row[attnum] != NULL && live[attnum] != NULL)
			dg_rehydrate_keys_set(as->keys, dg_rehydrate_keys_column(as->keys, as->table, attnum)->class,
								  as->row[attnum], live[attnum]);
	}
}

/*
 * Is the source's rows the tenant's own one, which is not to come back, as the other
 * tenant has one?
 */
bool
dg_rehydrate_as_tenant_stays_out(const DgRestore *call, const DgSource *source)
{
	return call->as != NULL && call->as->merged && source->target == call->as->table;
}

/* ----------------------------------------------------------------------
 * The first reading
 * ----------------------------------------------------------------------
 */

/*
 * Takes note of a row's keys; a DgRowSink.
 */
static void
collect_row(void *arg, DgSource *source, int tenant, Datum *values, bool *nulls)
{
	DgRestore  *call = arg;
	DgAsTenant *as = call->as;

	if (as->source != source)
		refuse_whole(call, source->target);
	as->source = source;
	if (call->renumber)
		dg_rehydrate_keys_collect(as->keys, source, values, nulls);
	if (source->target != as->table)
		return;
	as->row = MemoryContextAllocZero(call->context, sizeof(char *) * (number_of_columns(as->table) + 1));
	for (int i = 0; i < source->ncolumns; i++)
	{
		AttrNumber	attnum = get_attnum(as->table, source->columns[i].name);

		if (attnum > 0 && !nulls[i])
			as->row[attnum] = MemoryContextStrdup(call->context, DatumGetCString(values[i]));
	}
}

/*
 * Prepares to write the rows as another tenant's: finds out which keys are
 * connected, and which are taken.
 */
void
dg_rehydrate_as_tenant_begin(DgRestore *call)
{
	MemoryContext old = MemoryContextSwitchTo(call->context);
	DgAsTenant *as = palloc0(sizeof(DgAsTenant));
	int			level;

	call->as = as;
	as->old = call->plan->tenants->keys[0];
	as->table = dg_guard_tenant_table()->relid;
	as->keys = dg_rehydrate_keys_make(OidIsValid(as->table) ?
									  list_append_unique_oid(list_copy(call->plan->targets), as->table) : call->plan->targets);
	as->keys->tenant = call->as_tenant;
	level = dg_extract_settings();
	dg_extract_progress_begin(call->archive, call->plan);
	dg_extract_read(call->archive, call->plan, collect_row, call);
	AtEOXact_GUC(true, level);
	merge_tenant_rows(call, as);
	if (call->renumber)
		dg_rehydrate_keys_renumber(as->keys);
	MemoryContextSwitchTo(old);
}
