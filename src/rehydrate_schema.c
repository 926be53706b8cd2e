/*
 * rehydrate_schema.c
 *		A schema of its own for rehydrated rows, to look at before anything
 *		live is touched.
 *
 * The schema is new and belongs to the caller, as do the tables in it: they
 * have the columns, defaults, checks and unique constraints of the live ones,
 * but neither foreign keys nor triggers. All statements run with the caller's
 * privileges, which must include CREATE on the database and SELECT on the
 * tables.
 */
#include "rehydrate.h"

#include "catalog/namespace.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static void
execute(const char *sql)
{
	int			ret = SPI_execute(sql, false, 0);

	if (ret < 0)
		elog(ERROR, "internal statement failed: %s: %s", SPI_result_code_string(ret), sql);
}

/*
 * Tables of one name, from different schemas, cannot both be in the new one.
 */
static void
check_names(const char *schema, List *relations)
{
	ListCell   *a;
	ListCell   *b;

	foreach(a, relations)
	{
		for_each_cell(b, relations, lnext(relations, a))
		{
			if (strcmp(get_rel_name(lfirst_oid(a)), get_rel_name(lfirst_oid(b))) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_TABLE),
						 errmsg("tables %s and %s cannot both be rehydrated into schema \"%s\"",
								dg_relation_name(lfirst_oid(a)), dg_relation_name(lfirst_oid(b)), schema),
						 errhint("Name the tables of one schema at a time in relations.")));
		}
	}
}

/*
 * Creates a schema with empty copies of some tables. Returns the copies' OIDs,
 * in the same order.
 */
List *
dg_schema_create(const char *schema, List *relations)
{
	List	   *copies = NIL;
	ListCell   *lc;

	check_names(schema, relations);
	SPI_connect();
	execute(psprintf("CREATE SCHEMA %s", quote_identifier(schema)));
	foreach(lc, relations)
		execute(psprintf("CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED"
						 " INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE"
						 " INCLUDING COMPRESSION INCLUDING COMMENTS)",
						 quote_qualified_identifier(schema, get_rel_name(lfirst_oid(lc))),
						 dg_relation_name(lfirst_oid(lc))));
	SPI_finish();
	foreach(lc, relations)
		copies = lappend_oid(copies, get_relname_relid(get_rel_name(lfirst_oid(lc)),
													   get_namespace_oid(schema, false)));
	return copies;
}
