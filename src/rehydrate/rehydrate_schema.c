/*
 * rehydrate_schema.c
 *		A schema of its own for rehydrated rows, to look at before anything
 *		live is touched.
 *
 * The schema is new and belongs to the caller, as do the tables in it, unless
 * the caller is a superuser: then each belongs to the owner of the live one,
 * whose code comes along with it (rows_role.c). The tables
 * have the columns, defaults, checks and unique constraints of the live ones,
 * but neither foreign keys nor triggers. All statements run with the caller's
 * privileges, which must include CREATE on the database and SELECT on the
 * tables.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "rehydrate/rehydrate_internal.h"
#include "rows/rows.h"

/*
 * The name of a table's copy, palloc'd. Tables of one name, from different
 * schemas, cannot both be in the new one; with any_name the second gets another
 * name.
 */
static char *
name_of_copy(const char *schema, List *relations, const ListCell *table, bool any_name)
{
	char	   *name = get_rel_name(lfirst_oid(table));
	ListCell   *lc;

	foreach(lc, relations)
	{
		if (lc == table)
			break;
		if (strcmp(get_rel_name(lfirst_oid(lc)), name) != 0)
			continue;
		if (any_name)
			return psprintf("%u", lfirst_oid(table));
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("tables %s and %s cannot both be rehydrated into schema \"%s\"",
						dg_relation_name(lfirst_oid(lc)), dg_relation_name(lfirst_oid(table)), schema),
				 errhint("Name the tables of one schema at a time in relations.")));
	}
	return name;
}

/*
 * Copies a table, for a superuser as its owner, who may make tables in the
 * schema for this moment only: functions in defaults, checks and indexes run
 * as soon as these are made.
 */
static void
copy_table(const char *sql, const char *schema, Oid relid)
{
	DgRowsRole	role = dg_rows_role_of(dg_relation_owner(relid));
	char	   *owner;

	if (!OidIsValid(role.owner))
	{
		dg_query(sql, DG_AS_CALLER);
		return;
	}
	owner = pstrdup(quote_identifier(GetUserNameFromId(role.owner, false)));
	dg_query(psprintf("GRANT USAGE, CREATE ON SCHEMA %s TO %s", schema, owner), DG_AS_CALLER);
	dg_rows_as_owner(&role);
	dg_query(sql, DG_AS_CALLER);
	dg_rows_as_caller(&role);
	dg_query(psprintf("REVOKE CREATE ON SCHEMA %s FROM %s", schema, owner), DG_AS_CALLER);
}

/*
 * Creates a schema with empty copies of some tables. Returns the copies' OIDs,
 * in the same order.
 */
List *
dg_rehydrate_schema_create(const char *schema, List *relations, bool any_name)
{
	List	   *names = NIL;
	List	   *copies = NIL;
	ErrorContextCallback context = {.previous = error_context_stack,.callback = dg_rows_privilege_context};
	ListCell   *lc;

	foreach(lc, relations)
		names = lappend(names, name_of_copy(schema, relations, lc, any_name));
	SPI_connect();
	context.arg = psprintf("CREATE ON DATABASE %s", quote_identifier(get_database_name(MyDatabaseId)));
	error_context_stack = &context;
	dg_query(psprintf("CREATE SCHEMA %s", quote_identifier(schema)), DG_AS_CALLER);
	error_context_stack = context.previous;
	foreach(lc, relations)
		copy_table(psprintf("CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED"
							" INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE"
							" INCLUDING COMPRESSION INCLUDING COMMENTS) USING heap",
							quote_qualified_identifier(schema, list_nth(names, foreach_current_index(lc))),
							dg_relation_name(lfirst_oid(lc))),
				   quote_identifier(schema), lfirst_oid(lc));
	SPI_finish();
	foreach(lc, names)
		copies = lappend_oid(copies, get_relname_relid(lfirst(lc), get_namespace_oid(schema, false)));
	return copies;
}
