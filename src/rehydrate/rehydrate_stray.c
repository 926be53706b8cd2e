/*
 * rehydrate_stray.c
 *		Rows that become another tenant's must not hang on rows of the old one.
 *
 * What such rows refer to either came along, or is somebody else's, or nobody's. Keys
 * that no row of the call has are followed here to the rows that have them, and along their
 * paths to the tenant. They are read as each table's owner, by a query for each table.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"

#include "guard/guard.h"
#include "rehydrate/rehydrate_internal.h"
#include "rows/rows.h"

static void
refuse_strays(const DgRestore *call, const ForeignKeyCacheInfo *fkey, int64 rows)
{
	ereport(ERROR,
			(errcode(DG_ERRCODE_CANNOT_RESTORE),
			 errmsg("rows of \"%s\" would be tenant \"%s\"'s and refer to rows of \"%s\" that are not",
					get_rel_name(fkey->conrelid), call->as_tenant, get_rel_name(fkey->confrelid)),
			 errdetail("%s leads to %lld of them.", OidIsValid(fkey->conoid) ?
					   psprintf("Foreign key \"%s\"", get_constraint_name(fkey->conoid)) :
					   psprintf("The tenant path of \"%s\"", get_rel_name(fkey->conrelid)), (long long) rows),
			 errhint("Nothing was restored. Let them come along: name their table in relations as well, or leave relations out. Rows that were purged stay away, and what refers to them stays with them: leave its table out.")));
}

/*
 * Appends the condition that a row t is one that keys k lead to.
 */
static void
append_match(StringInfo buf, const ForeignKeyCacheInfo *fkey, TupleDesc desc)
{
	for (int i = 0; i < fkey->nkeys; i++)
	{
		if (i > 0)
			appendStringInfoString(buf, " AND ");
		generate_operator_clause(buf, psprintf("t.%s", quote_identifier(get_attname(fkey->confrelid, fkey->confkey[i], false))),
								 get_atttype(fkey->confrelid, fkey->confkey[i]), fkey->conpfeqop[i],
								 psprintf("k.k%d", i + 1), TupleDescAttr(desc, i)->atttypid);
	}
}

/*
 * The keys by which those rows refer to others that some keys lead to.
 */
static Tuplestorestate *
follow_keys(const ForeignKeyCacheInfo *fkey, Tuplestorestate *keys, TupleDesc desc, const ForeignKeyCacheInfo *next)
{
	Tuplestorestate *found = tuplestore_begin_heap(false, false, work_mem);
	StringInfoData where;
	StringInfoData select;
	ListCell   *lc;

	initStringInfo(&where);
	initStringInfo(&select);
	CommandCounterIncrement();
	append_match(&where, fkey, desc);
	dg_guard_append_type(&where, next);
	for (int i = 0; i < next->nkeys; i++)
		appendStringInfo(&select, "%st.%s", i > 0 ? ", " : "", quote_identifier(get_attname(next->conrelid, next->conkey[i], false)));
	foreach(lc, dg_query_tables(fkey->confrelid))
	{
		SPI_connect();
		dg_query_register_rows("keys_to_follow", keys, desc);
		dg_query_each(dg_query_put, found, psprintf("SELECT DISTINCT %s FROM keys_to_follow k JOIN %s t ON %s", select.data,
													dg_own_rows(lfirst_oid(lc)), where.data), DG_AS_OWNER,
					  .table = lfirst_oid(lc),.snapshot = GetLatestSnapshot());
		SPI_finish();
	}
	return found;
}

/*
 * Are rows of this tenant (NULL: it is not known) the old one's or, with "path", not
 * the new one's?
 */
static bool
is_stray(const DgRestore *call, const char *tenant, bool path)
{
	return tenant == NULL || (path ? !dg_guard_tenant_equal(tenant, call->as_tenant) :
							  dg_guard_tenant_equal(tenant, call->as->old));
}

/*
 * How many of the rows that some keys lead to, which know their tenant, are the old one's or,
 * with "path", not the new one's?
 */
static int64
count_strays(const DgRestore *call, const ForeignKeyCacheInfo *fkey, Tuplestorestate *keys, TupleDesc desc, bool path)
{
	const char *column = dg_guard_tenant_column_of(fkey->confrelid);
	Oid			type;
	Oid			types[] = {TEXTOID};
	Datum		args[] = {CStringGetTextDatum(path ? call->as_tenant : call->as->old)};
	int64		rows = 0;
	StringInfoData where;
	ListCell   *lc;

	/* a table that is one tenant's as a whole */
	if (column == NULL)
		return is_stray(call, dg_guard_lookup(fkey->confrelid)->tenant, path) ? tuplestore_tuple_count(keys) : 0;
	type = getBaseType(get_atttype(fkey->confrelid, get_attnum(fkey->confrelid, column)));
	initStringInfo(&where);
	append_match(&where, fkey, desc);
	appendStringInfo(&where, " WHERE (t.%s %s $1::%s)%s", quote_identifier(column), dg_equality_operator(type),
					 dg_type_name(type), path ? " IS NOT TRUE" : "");
	foreach(lc, dg_query_tables(fkey->confrelid))
	{
		SPI_connect();
		dg_query_register_rows("keys_to_follow", keys, desc);
		(void) dg_query(psprintf("SELECT pg_catalog.count(*) FROM keys_to_follow k JOIN %s t ON %s",
								 dg_own_rows(lfirst_oid(lc)), where.data), DG_AS_OWNER, 1, types, args,
						.table = lfirst_oid(lc),.snapshot = GetLatestSnapshot());
		rows += dg_row_int64(0, 1, NULL);
		SPI_finish();
	}
	return rows;
}

/*
 * Refuses keys that lead to rows of the wrong tenant, along each path of the table that they
 * lead to.
 */
static void
check_keys(const DgRestore *call, const ForeignKeyCacheInfo *fkey, Tuplestorestate *keys, TupleDesc desc, bool path)
{
	Oid			root;
	List	   *paths;
	ListCell   *lc;
	ListCell   *lc2;

	if (!dg_extract_tenant_source(fkey->confrelid, &root, &paths))
		return;
	foreach(lc, paths)
	{
		Oid			end;
		const char *column;
		const ForeignKeyCacheInfo *at = fkey;
		Tuplestorestate *here = keys;
		TupleDesc	here_desc = desc;
		int64		rows;

		foreach(lc2, dg_guard_path_keys(root, lfirst(lc), &end, &column))
		{
			Tuplestorestate *next = follow_keys(at, here, here_desc, lfirst(lc2));

			if (here != keys)
				tuplestore_end(here);
			at = lfirst(lc2);
			here = next;
			here_desc = dg_rows_keys_desc(at, InvalidOid, false);
		}
		rows = count_strays(call, at, here, here_desc, path);
		if (here != keys)
			tuplestore_end(here);
		if (rows > 0)
			refuse_strays(call, fkey, rows);
	}
}

/*
 * Is a foreign key the first step of its table's path?
 */
static bool
begins_path(const ForeignKeyCacheInfo *fkey)
{
	Oid			root;
	List	   *paths;
	ListCell   *lc;

	if (!dg_extract_tenant_source(fkey->conrelid, &root, &paths))
		return false;
	foreach(lc, paths)
	{
		Oid			end;
		const char *column;
		List	   *fkeys = dg_guard_path_keys(root, lfirst(lc), &end, &column);

		if (fkeys != NIL && ((ForeignKeyCacheInfo *) linitial(fkeys))->conoid == fkey->conoid)
			return true;
	}
	return false;
}

/*
 * Checks keys that no row of the call has, and that others refer to; a DgRowsOutside.
 */
void
dg_rehydrate_as_tenant_outside(void *arg, const ForeignKeyCacheInfo *fkey, Tuplestorestate *keys, TupleDesc desc)
{
	check_keys(arg, fkey, keys, desc, begins_path(fkey));
}

/*
 * Checks what rows refer to by steps without a foreign key. All rows have been written.
 */
void
dg_rehydrate_as_tenant_end(DgRestore *call)
{
	ListCell   *lc;

	foreach(lc, call->as->references)
	{
		DgReference *reference = lfirst(lc);
		DgRowsParents parents = {reference->step, dg_query_tables(reference->step->confrelid), DG_AS_OWNER, reference->desc};

		check_keys(call, reference->step, reference->keys, reference->desc, true);
		dg_rows_parentless(&parents, &reference->keys);
		if (tuplestore_tuple_count(reference->keys) > 0)
			refuse_strays(call, reference->step, tuplestore_tuple_count(reference->keys));
		tuplestore_end(reference->keys);
	}
	call->as->references = NIL;
}

/*
 * A call is tried again.
 */
void
dg_rehydrate_as_tenant_start_over(DgRestore *call)
{
	if (call->as != NULL)
		call->as->references = NIL;
}
