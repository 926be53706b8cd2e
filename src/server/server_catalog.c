/*
 * server_catalog.c
 *		What a copy has: its tables, columns and sequences, as an archive's table of
 *		contents would tell them.
 *
 * Listed is what pg_dump would dump the rows of, partitions each by itself. What
 * cannot be read is listed with the reason.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "server/server_internal.h"

/* Relations of schemas that are the users', but for what extensions bring along, us included. */
#define USERS_RELATIONS \
"pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace" \
" AND n.nspname NOT IN ('information_schema', 'deletion_guard', 'deletion_guard_bin') AND n.nspname !~ '^pg_'" \
" AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid" \
" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'" \
" AND NOT c.oid = ANY (coalesce(e.extconfig, '{}')))"

#define USERS_TABLES USERS_RELATIONS " AND (c.relkind = 'r' OR c.relkind = 'f' AND c.relispartition) AND c.relpersistence <> 't'"

/* What it is a partition of, or inherits from; the topmost of the former; why it
 * cannot be read at all, and why not as this role; how large it is; would planning a
 * query for it run, as a superuser, what others have put into indexes and constraints? */
static const char tables_query[] =
"SELECT c.oid, n.nspname, c.relname, pn.nspname, p.relname, c.relispartition, rn.nspname, r.relname,"
" CASE WHEN c.relkind = 'f' THEN 'it is a foreign table'"
" WHEN c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery() THEN 'it is unlogged, and a standby does not have it' END,"
" CASE WHEN pg_catalog.row_security_active(c.oid) THEN 'row security would hide rows from role ' || pg_catalog.quote_ident(current_user)"
" WHEN NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') THEN 'role ' || pg_catalog.quote_ident(current_user) || ' has no USAGE on the schema'"
" WHEN NOT pg_catalog.has_table_privilege(c.oid, 'SELECT') THEN 'role ' || pg_catalog.quote_ident(current_user) || ' has no SELECT on it' END,"
" CASE WHEN a.amname = 'heap' THEN pg_catalog.pg_relation_size(c.oid) END,"
" (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) AND EXISTS (SELECT FROM (SELECT 'pg_catalog.pg_class'::pg_catalog.regclass AS class, indexrelid AS id"
" FROM pg_catalog.pg_index WHERE indrelid = c.oid UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, oid FROM pg_catalog.pg_constraint WHERE conrelid = c.oid"
" UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, oid FROM pg_catalog.pg_statistic_ext WHERE stxrelid = c.oid) o"
" JOIN pg_catalog.pg_depend d ON d.classid = o.class AND d.objid = o.id"
" LEFT JOIN pg_catalog.pg_operator op ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND op.oid = d.refobjid"
" JOIN pg_catalog.pg_proc f ON f.oid = CASE WHEN d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass THEN d.refobjid ELSE op.oprcode::pg_catalog.oid END"
" JOIN pg_catalog.pg_roles w ON w.oid = f.proowner AND NOT w.rolsuper)"
" FROM " USERS_TABLES
" LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam"
" LEFT JOIN (SELECT inhrelid, pg_catalog.min(inhparent::pg_catalog.int8)::pg_catalog.oid AS inhparent FROM pg_catalog.pg_inherits"
" GROUP BY inhrelid HAVING pg_catalog.count(*) = 1) i ON i.inhrelid = c.oid"
" LEFT JOIN pg_catalog.pg_class p ON p.oid = i.inhparent LEFT JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace"
" LEFT JOIN pg_catalog.pg_class r ON c.relispartition AND r.oid = pg_catalog.pg_partition_root(c.oid)"
" LEFT JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace"
" ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";

/* In the order of the tables. A domain's base type counts. */
static const char columns_query[] =
"WITH RECURSIVE base (type, base) AS (SELECT oid, oid FROM pg_catalog.pg_type WHERE typtype <> 'd'"
" UNION ALL SELECT t.oid, b.base FROM pg_catalog.pg_type t JOIN base b ON b.type = t.typbasetype WHERE t.typtype = 'd'),"
" types AS (SELECT b.type, bn.nspname, t.typname, CASE WHEN bn.nspname = 'pg_catalog' OR t.typtype = 'e' OR t.typcategory = 'A'"
" THEN 'OPERATOR(pg_catalog.=)' ELSE (SELECT pg_catalog.format('OPERATOR(%I.%s)', opn.nspname, op.oprname)"
" FROM pg_catalog.pg_opclass oc JOIN pg_catalog.pg_am am ON am.oid = oc.opcmethod AND am.amname = 'btree'"
" JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype"
" AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3"
" JOIN pg_catalog.pg_operator op ON op.oid = ao.amopopr JOIN pg_catalog.pg_namespace opn ON opn.oid = op.oprnamespace"
" WHERE oc.opcdefault AND oc.opcintype = t.oid LIMIT 1) END AS equality"
" FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.base JOIN pg_catalog.pg_namespace bn ON bn.oid = t.typnamespace)"
" SELECT a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), t.nspname, t.typname, t.equality,"
" CASE WHEN NOT co.collisdeterministic THEN con.nspname || '.' || co.collname ELSE '' END"
" FROM " USERS_TABLES " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
" JOIN types t ON t.type = a.atttypid LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation"
" LEFT JOIN pg_catalog.pg_namespace con ON con.oid = co.collnamespace"
" ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\", a.attnum";

/* Those of columns: others are not raised. */
static const char sequences_query[] =
"SELECT n.nspname, c.relname, pg_catalog.pg_sequence_last_value(c.oid)"
" FROM " USERS_RELATIONS " AND c.relkind = 'S' AND c.relpersistence = 'p'"
" WHERE EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
" AND d.objid = c.oid AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0)"
" AND CASE WHEN c.relkind = 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'USAGE, SELECT') END";

enum TableColumn
{
	T_OID, T_SCHEMA, T_NAME, T_PARENT_SCHEMA, T_PARENT, T_PARTITION, T_ROOT_SCHEMA, T_ROOT, T_UNREADABLE, T_FORBIDDEN, T_SIZE, T_PLANTED
};

enum ColumnColumn
{
	C_TABLE, C_NAME, C_TYPE, C_BASE_SCHEMA, C_BASE, C_EQUALITY, C_COLLATION
};

static char *
qualified_name(const char *schema, const char *name)
{
	return psprintf("%s.%s", dg_server_quote(schema), dg_server_quote(name));
}

/*
 * Why a table's rows cannot be read, palloc'd; NULL if they can.
 */
static DgArchiveError *
fault_of(char **row)
{
	const char *why = row[T_UNREADABLE] != NULL ? row[T_UNREADABLE] : row[T_FORBIDDEN];
	DgArchiveError *fault;

	if (why == NULL)
		return NULL;
	fault = palloc0(sizeof(DgArchiveError));
	fault->code = row[T_UNREADABLE] != NULL ? DG_ARCHIVE_UNSUPPORTED : DG_ARCHIVE_FORBIDDEN;
	snprintf(fault->message, sizeof(fault->message), "table %s.%s cannot be read there: %s", row[T_SCHEMA], row[T_NAME], why);
	return fault;
}

/*
 * Takes the columns of one table off the list's front, at *lc.
 */
static void
take_columns(DgServerTable *table, DgArchiveTable *entry, const List *columns, ListCell **lc)
{
	ListCell   *first = *lc;
	const char **names;
	const char **types;
	int			n = 0;

	for (; *lc != NULL && strcmp(((char **) lfirst(*lc))[C_TABLE], table->oid) == 0; *lc = lnext(columns, *lc))
		n++;
	names = palloc(sizeof(char *) * (n + 1));
	types = palloc(sizeof(char *) * (n + 1));
	table->names = palloc(sizeof(char *) * (n + 1));
	table->columns = palloc(sizeof(DgServerColumn) * (n + 1));
	for (int i = 0; i < n; i++, first = lnext(columns, first))
	{
		char	  **row = lfirst(first);
		DgServerColumn column = {row[C_BASE_SCHEMA], row[C_BASE], row[C_EQUALITY], row[C_COLLATION]};

		names[i] = row[C_NAME];
		types[i] = row[C_TYPE];
		table->names[i] = dg_server_quote(row[C_NAME]);
		table->columns[i] = column;
	}
	table->ncolumns = entry->column_count = n;
	entry->has_columns = true;
	entry->columns = names;
	entry->types = types;
}

static void
list_table(DgArchive *archive, DgServerTable *table, char **row, const List *columns, ListCell **lc)
{
	DgArchiveTable entry = {.form = DG_ARCHIVE_COPY,.compression = DG_ARCHIVE_NONE};
	DgArchiveParent parent = {row[T_SCHEMA], row[T_NAME], row[T_PARENT_SCHEMA], row[T_PARENT], row[T_PARTITION][0] == 't'};

	entry.schema = entry.target_schema = row[T_SCHEMA];
	entry.name = entry.target_name = row[T_NAME];
	entry.data_bytes = row[T_SIZE] == NULL ? -1 : strtoi64(row[T_SIZE], NULL, 10);
	table->oid = row[T_OID];
	table->name = qualified_name(row[T_SCHEMA], row[T_NAME]);
	table->from = psprintf("ONLY %s", table->name);
	table->root = row[T_ROOT] == NULL ? table->from : qualified_name(row[T_ROOT_SCHEMA], row[T_ROOT]);
	table->empty = entry.data_bytes == 0;
	table->planted = row[T_PLANTED][0] == 't';
	take_columns(table, &entry, columns, lc);
	dg_server_require_memory(dg_archive_give_table(archive, &entry, fault_of(row), NULL));
	if (parent.parent_name != NULL)
		dg_server_require_memory(dg_archive_give_parent(archive, &parent, NULL));
}

static void
add_sequences(DgArchive *archive, const List *rows)
{
	ListCell   *lc;

	foreach(lc, rows)
	{
		char	  **row = lfirst(lc);
		DgArchiveSequence sequence = {row[0], row[1], row[2] == NULL ? 0 : strtoi64(row[2], NULL, 10), row[2] != NULL};

		dg_server_require_memory(dg_archive_give_sequence(archive, &sequence, NULL));
	}
}

/*
 * An archive of what the copy has, whose rows come from dg_server_rows_begin(). It
 * is the caller's to close; its texts are in the current memory context.
 */
DgArchive *
dg_server_archive(DgServer *server)
{
	List	   *objects = dg_server_query(server, "SELECT FROM pg_catalog.pg_largeobject_metadata LIMIT 1", "");
	List	   *tables = dg_server_query(server, tables_query, "vvvnnvnnnnnv");
	List	   *columns = dg_server_query(server, columns_query, "vvvvvnv");
	List	   *sequences = dg_server_query(server, sequences_query, "vvn");
	DgArchiveInfo info = {.format = DG_ARCHIVE_GIVEN,.std_strings = true,.whole = true,.dump_version = ""};
	DgArchive  *archive;
	ListCell   *at = list_head(columns);
	ListCell   *lc;

	info.server_version = psprintf("%d", server->version);
	info.database = pstrdup(PQdb(server->conn));
	info.encoding = GetDatabaseEncodingName();
	info.large_objects = objects != NIL;
	archive = dg_archive_given(server->name, &info);
	dg_server_require_memory(archive != NULL);
	server->tables = palloc0(sizeof(DgServerTable) * (list_length(tables) + 1));
	foreach(lc, tables)
		list_table(archive, &server->tables[server->ntables++], lfirst(lc), columns, &at);
	if (at != NULL)
		dg_server_refuse_answer(server, NULL);
	add_sequences(archive, sequences);
	dg_archive_give_end(archive);
	return archive;
}
