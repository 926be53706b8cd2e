/*
 * enrol_leave.c
 *		Tables that somebody has decided not to guard, by unguard_table() or by
 *		leave_unguarded(). guard_schema() leaves them out, and says so; verify()
 *		asks no more about those of which nothing tells whose rows they have.
 *
 * A table that is guarded after all, by whatever way, is forgotten here. One that is
 * renamed is another table: it has to be decided anew.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "common/deletion_guard.h"
#include "enrol/enrol_internal.h"

/*
 * Runs a query about the entry of one table: $1 and $2 are its schema and name, $3 who
 * the session is. The caller is connected to SPI.
 */
static uint64
left_query(Oid relid, const char *sql)
{
	Oid			types[] = {NAMEOID, NAMEOID, TEXTOID};
	Datum		values[3];

	values[0] = DirectFunctionCall1(namein, CStringGetDatum(get_namespace_name(get_rel_namespace(relid))));
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(get_rel_name(relid)));
	values[2] = CStringGetTextDatum(dg_session_role());
	return dg_query(sql, DG_AS_US, 3, types, values);
}

/*
 * Remembers that a table is not to be guarded.
 */
void
dg_enrol_leave(Oid relid)
{
	left_query(relid, "INSERT INTO deletion_guard.left_unguarded (schema_name, table_name, left_at, left_by)"
			   " VALUES ($1, $2, now(), $3) ON CONFLICT DO NOTHING");
}

/*
 * The table is guarded after all.
 */
void
dg_enrol_forget_left(Oid relid)
{
	left_query(relid, "DELETE FROM deletion_guard.left_unguarded WHERE schema_name = $1 AND table_name = $2");
}

/*
 * Who has decided that a table is not to be guarded, as guard_schema() reports it;
 * NULL if nobody has.
 */
char *
dg_enrol_left(Oid relid)
{
	if (left_query(relid, "SELECT format('left unguarded by %I; guard_table() brings it back', left_by)"
				   " FROM deletion_guard.left_unguarded WHERE schema_name = $1 AND table_name = $2") == 0)
		return NULL;
	return dg_row_text(0, 1);
}
