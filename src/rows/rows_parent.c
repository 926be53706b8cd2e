/*
 * rows_parent.c
 *		Which keys no parent has.
 *
 * Keys are rows of columns k1, k2, ..., and possibly more. Each table that may have
 * their parents is asked for those that it lacks, by a query of its own: planning
 * one may run code of the table's owner.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "rows/rows.h"

/*
 * Columns k1, k2, ... for the keys of a foreign key, of a type or, if it is
 * InvalidOid, of the types that they have; tagged with a number if asked.
 */
TupleDesc
dg_rows_keys_desc(const ForeignKeyCacheInfo *fkey, Oid type, bool tagged)
{
	TupleDesc	desc = CreateTemplateTupleDesc(fkey->nkeys + tagged);

	for (int i = 0; i < fkey->nkeys; i++)
		TupleDescInitEntry(desc, i + 1, psprintf("k%d", i + 1),
						   OidIsValid(type) ? type : get_atttype(fkey->conrelid, fkey->conkey[i]), -1, 0);
	if (tagged)
		TupleDescInitEntry(desc, fkey->nkeys + 1, "tag", INT4OID, -1, 0);
	dg_tupdesc_finalize(desc);
	return desc;
}

/*
 * The query for those of "keys" that a table, the one referred to, a partition of it
 * or its copy, does not have.
 */
static char *
parentless_query(const DgRowsParents *parents, Oid table)
{
	const ForeignKeyCacheInfo *fkey = parents->fkey;
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT k.* FROM keys k WHERE NOT EXISTS (SELECT 1 FROM %s p WHERE ", dg_own_rows(table));
	for (int i = 0; i < fkey->nkeys; i++)
	{
		Oid			type = get_atttype(fkey->confrelid, fkey->confkey[i]);
		Oid			key_type = TupleDescAttr(parents->desc, i)->atttypid;
		Oid			operator = fkey->conpfeqop[i];
		char	   *key = psprintf("k.k%d", i + 1);

		if (parents->text)
		{
			key_type = getBaseType(type);
			key = psprintf("%s::%s", key, dg_type_name(key_type));
			operator = lookup_type_cache(key_type, TYPECACHE_EQ_OPR)->eq_opr;
		}
		if (i > 0)
			appendStringInfoString(&buf, " AND ");
		generate_operator_clause(&buf, psprintf("p.%s", quote_identifier(get_attname(fkey->confrelid, fkey->confkey[i], false))),
								 type, operator, key, key_type);
	}
	appendStringInfoString(&buf, parents->lock ? " FOR KEY SHARE OF p)" : ")");
	return buf.data;
}

/*
 * Leaves of some keys those that no row of the tables has. With "lock", a row that is
 * found cannot lose its key before the transaction ends. With "many", the keys may be
 * more than fit into memory; rows are found as the active snapshot sees them.
 */
void
dg_rows_parentless(const DgRowsParents *parents, Tuplestorestate **keys)
{
	ListCell   *lc;

	foreach(lc, parents->tables)
	{
		Tuplestorestate *left = tuplestore_begin_heap(false, false, work_mem);
		char	   *sql = parentless_query(parents, lfirst_oid(lc));
		uint64		n = 0;

		SPI_connect();
		dg_query_register_rows("keys", *keys, parents->desc);
		if (parents->many)
			dg_query_each(dg_query_put, left, sql, parents->as,
						  .table = lfirst_oid(lc));
		else
			n = dg_query(sql, parents->as,
						 .table = lfirst_oid(lc));
		for (uint64 i = 0; i < n; i++)
			tuplestore_puttuple(left, SPI_tuptable->vals[i]);
		SPI_finish();
		tuplestore_end(*keys);
		*keys = left;
	}
}
