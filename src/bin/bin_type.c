/*
 * bin_type.c
 *		Bins give types up that are dropped.
 *
 * The usual way to change an enum is to make another type, give the table's
 * column that one, and drop the old type. A bin that still has rows of the old
 * type would keep that from working for as long as they are there. So its columns
 * become text first, as the type writes its values, which loses nothing; undelete
 * reads them as whatever type the table's column has then, and what does not fit
 * that is refused in words, like any value that does not (rows_convert.c).
 *
 * The rest is the server's: where anything else depends on the type, the DROP
 * fails, and what was done here is rolled back with it.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "bin/bin_internal.h"

/*
 * Does dropping a type take this one along? Its array type, a range's multirange.
 */
static bool
goes_with(Oid type, Oid dropped)
{
	Oid			element = get_element_type(type);

	if (OidIsValid(element))
		type = element;
	return type == dropped || (type_is_multirange(type) && get_multirange_range(type) == dropped);
}

/*
 * "ALTER TABLE ...": a bin's columns of a type become text. NULL if it has none.
 */
static char *
alter_statement(Relation bin, Oid type)
{
	TupleDesc	desc = RelationGetDescr(bin);
	StringInfoData sql;
	int			n = 0;

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE %s", dg_relation_name(RelationGetRelid(bin)));
	for (int i = DG_BIN_COLUMNS; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *column = quote_identifier(NameStr(att->attname));

		if (att->attisdropped || !goes_with(att->atttypid, type))
			continue;
		appendStringInfo(&sql, "%s ALTER COLUMN %s TYPE pg_catalog.text USING CASE"
						 " WHEN pg_catalog.num_nulls(%s) OPERATOR(pg_catalog.=) 0 THEN pg_catalog.concat(%s) END",
						 n++ > 0 ? "," : "", column, column, column);
	}
	return n > 0 ? sql.data : NULL;
}

/*
 * A type is about to be dropped, by somebody who may: bins give it up. ACCESS
 * EXCLUSIVE on them.
 */
void
dg_bin_give_up_type(Oid type)
{
	int			nestlevel = dg_canonical_output_begin();
	ListCell   *lc;

	SPI_connect();
	dg_query("SELECT bin_table FROM deletion_guard.bin ORDER BY bin_id", DG_AS_US);
	foreach(lc, dg_row_oids(1))
	{
		Relation	bin = try_table_open(lfirst_oid(lc), AccessShareLock);
		char	   *sql;

		if (bin == NULL)
			continue;
		sql = alter_statement(bin, type);
		table_close(bin, NoLock);
		if (sql == NULL)
			continue;
		dg_query(sql, DG_AS_US);
		dg_bin_update_shape(lfirst_oid(lc));
		ereport(NOTICE,
				(errmsg("deleted rows in %s keep their values of type %s as text",
						dg_relation_name(lfirst_oid(lc)), format_type_be(type))));
	}
	SPI_finish();
	AtEOXact_GUC(true, nestlevel);
}
