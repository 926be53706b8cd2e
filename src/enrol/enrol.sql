/*
 * Enrolling tables.
 */
CREATE FUNCTION deletion_guard_internal.capture_statement() RETURNS trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_capture_statement';
CREATE FUNCTION deletion_guard_internal.capture_row() RETURNS trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_capture_row';
CREATE FUNCTION deletion_guard_internal.capture_truncate() RETURNS trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_capture_truncate';
CREATE FUNCTION deletion_guard_internal.capture_link() RETURNS trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_capture_link';
CREATE FUNCTION deletion_guard_internal.capture_rename() RETURNS trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_capture_rename';
CREATE FUNCTION deletion_guard_internal.in_referential_action() RETURNS boolean
	LANGUAGE C VOLATILE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'dg_in_referential_action';
COMMENT ON FUNCTION deletion_guard_internal.capture_link() IS 'trigger: notes the links that ON DELETE SET NULL or SET DEFAULT takes';
COMMENT ON FUNCTION deletion_guard_internal.capture_rename() IS 'trigger: notes that a tenant has got another key';
COMMENT ON FUNCTION deletion_guard_internal.in_referential_action() IS 'is the current statement one that a foreign key runs?';
CREATE FUNCTION deletion_guard_internal.protect() RETURNS trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_protect';

COMMENT ON FUNCTION deletion_guard_internal.capture_statement() IS 'trigger: puts the rows that a DELETE removed into the bin';
COMMENT ON FUNCTION deletion_guard_internal.capture_row() IS 'trigger: puts one deleted row into the bin, where statement triggers do not fire';
COMMENT ON FUNCTION deletion_guard_internal.capture_truncate() IS 'trigger: puts the rows that a TRUNCATE is about to remove into the bin';
COMMENT ON FUNCTION deletion_guard_internal.protect() IS 'trigger: refuses writes to the tables of deletion_guard';

CREATE FUNCTION deletion_guard.set_tenant_table(tenant_table regclass, key_column name,
		name_column name = NULL, contact_column name = NULL) RETURNS void
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_set_tenant_table';
REVOKE EXECUTE ON FUNCTION deletion_guard.set_tenant_table FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.set_tenant_table IS
	'names the table that lists the tenants, one row each: its unique key, whose text is the tenant key, and the columns with names and contacts. A trigger notes keys that are changed later. For the owner of the table; SHARE ROW EXCLUSIVE lock. Fails with 42703 for a column that is not there, 42P16 for a key that is not unique, 42809 for what is no ordinary table';

-- A tenant path is given as an array of names, as JSON, or as a literal of either: '{a_b_fkey}', '[{"type": ...}]'.
CREATE TYPE deletion_guard.tenant_path;
CREATE FUNCTION deletion_guard_internal.tenant_path_in(cstring) RETURNS deletion_guard.tenant_path
	LANGUAGE C STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'dg_tenant_path_in';
CREATE FUNCTION deletion_guard_internal.tenant_path_out(deletion_guard.tenant_path) RETURNS cstring
	LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE
	AS 'jsonb_out';
CREATE TYPE deletion_guard.tenant_path
	(INPUT = deletion_guard_internal.tenant_path_in, OUTPUT = deletion_guard_internal.tenant_path_out, LIKE = jsonb);
CREATE FUNCTION deletion_guard_internal.tenant_path_of(names text[]) RETURNS deletion_guard.tenant_path
	LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT to_jsonb(names)::text::deletion_guard.tenant_path $$;
CREATE FUNCTION deletion_guard_internal.tenant_path_of(names name[]) RETURNS deletion_guard.tenant_path
	LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT to_jsonb(names)::text::deletion_guard.tenant_path $$;
CREATE CAST (jsonb AS deletion_guard.tenant_path) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (text[] AS deletion_guard.tenant_path) WITH FUNCTION deletion_guard_internal.tenant_path_of(text[]) AS IMPLICIT;
CREATE CAST (name[] AS deletion_guard.tenant_path) WITH FUNCTION deletion_guard_internal.tenant_path_of(name[]) AS IMPLICIT;
COMMENT ON TYPE deletion_guard.tenant_path IS 'how a row''s tenant is found: foreign keys by name, or steps that are declared in JSON';
COMMENT ON FUNCTION deletion_guard_internal.tenant_path_in IS 'reads a tenant_path: an array of names, or JSON';
COMMENT ON FUNCTION deletion_guard_internal.tenant_path_out IS 'a tenant_path as JSON';
COMMENT ON FUNCTION deletion_guard_internal.tenant_path_of(text[]) IS 'an array of names as a tenant_path';
COMMENT ON FUNCTION deletion_guard_internal.tenant_path_of(name[]) IS 'an array of names as a tenant_path';

CREATE FUNCTION deletion_guard.guard_table(target regclass, tenant_column name = NULL,
		tenant_path deletion_guard.tenant_path = NULL, tenant text = NULL) RETURNS void
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_guard_table';
REVOKE EXECUTE ON FUNCTION deletion_guard.guard_table FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.guard_table IS
	'makes deletions from a table soft, partitions included. Rows belong to the tenant in tenant_column, to the one that tenant_path leads to (foreign keys by name, and steps that are none), or all to one tenant; to none if all three are null. For the owner of the table; SHARE ROW EXCLUSIVE lock. Fails with 42703 for a column and 42704 for a foreign key that is not there, 22023 for a path that says nothing or refers to keys of another table, 42P17 for one that leads in a circle, 55000 for one that leads nowhere, 42809 for a table that cannot be guarded';

CREATE FUNCTION deletion_guard.guard_schema(target regnamespace, tenant_column name = NULL,
		include_future boolean = true, tenant text = NULL,
		OUT relation regclass, OUT tenant_source text, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_guard_schema';
REVOKE EXECUTE ON FUNCTION deletion_guard.guard_schema FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.guard_schema IS
	'guards every table of a schema that has the tenant column, or one path of foreign keys to it; or every table, as one whose rows are all one tenant''s; with include_future, later tables too. Returns a row for each table: where its rows'' tenant comes from, or the problem why it was left out; with include_future, unguarded_table and verify() name these until it is decided: guard_table() without a column for rows of no tenant, or leave_unguarded(). Tables that unguard_table() or leave_unguarded() was called for are left out. For the owner of all these tables; SHARE ROW EXCLUSIVE lock on each';

CREATE FUNCTION deletion_guard.guard_schemas(pattern text, tenant_from text = 'name',
		include_future boolean = true, at_most integer = NULL,
		OUT schema_name name, OUT tenant text, OUT tables bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_guard_schemas';
REVOKE EXECUTE ON FUNCTION deletion_guard.guard_schemas FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.guard_schemas IS
	'guards every table of all schemas whose names match the pattern, as LIKE does: each schema is one tenant''s, whose key is its name or that of the row of the tenant table which has the name in the column tenant_from; with include_future, also schemas that are created later by who could call this for them. Returns a row for each schema that was not complete before, at_most so many. For the owner of all these schemas and tables; SHARE ROW EXCLUSIVE lock on each table';

CREATE FUNCTION deletion_guard.unguard_table(target regclass, VARIADIC tokens text[] = '{}') RETURNS void
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_unguard_table';
REVOKE EXECUTE ON FUNCTION deletion_guard.unguard_table FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.unguard_table IS
	'makes deletions from a table final again, also for later calls of guard_schema(), until guard_table() is called for it; what is in the bin stays there. Takes tokens for the act "unguard" where deletion_guard.locked is set. For the owner of the table; ACCESS EXCLUSIVE lock. Fails with 55000 if it is not guarded, TG02x for a token, TG035 for too few';

CREATE FUNCTION deletion_guard.leave_unguarded(target regclass) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_leave_unguarded';
REVOKE EXECUTE ON FUNCTION deletion_guard.leave_unguarded FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.leave_unguarded IS
	'says that a table is not to be guarded, as a list that all tenants share: guard_schema() leaves it out, and unguarded_table and verify() ask no more whose its rows are; those that do have tenants'' rows they name all the same. guard_table() takes it back. For the owner of the table. Fails with 55000 if it is guarded';

CREATE FUNCTION deletion_guard.retire_partition(target regclass) RETURNS bigint
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_retire_partition';
REVOKE EXECUTE ON FUNCTION deletion_guard.retire_partition FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.retire_partition IS
	'drops a partition of a guarded table after its rows went to the bin, and returns the deletion they are in, null if there were none; undelete() brings them back into the partitioned table. For who has TRUNCATE on that table; ceilings apply. ACCESS EXCLUSIVE lock on the partition and its parent. Fails with 42809 if it is no such partition, 42501, TG001, TG002, 2BP01 if other objects depend on it';

CREATE VIEW deletion_guard.guarded_table AS
	SELECT g.relation,
		   CASE WHEN g.tenant_column IS NOT NULL THEN 'column ' || pg_catalog.quote_ident(g.tenant_column)
				WHEN g.tenant_path = '{}' THEN 'path ' || (SELECT pg_catalog.string_agg(s.text, ' > ' ORDER BY s.step)
					FROM (SELECT p.step, pg_catalog.string_agg(
								coalesce(p.foreign_key::text, coalesce(p.type_column || ' ' || pg_catalog.quote_literal(p.type_value) || ' ', '')
									|| pg_catalog.array_to_string(p.columns, ',') || ' to ' || coalesce(p.target::text, 'nobody')),
								', ' ORDER BY p.type_value) AS text
						  FROM deletion_guard.guard_step p WHERE p.relation = g.relation GROUP BY p.step) s)
				WHEN g.tenant_path IS NOT NULL THEN 'path ' || pg_catalog.array_to_string(g.tenant_path, ' > ')
				WHEN g.tenant IS NOT NULL THEN 'tenant ' || g.tenant
		   END AS tenant_source,
		   g.tenant_column,
		   g.tenant_path,
		   g.tenant,
		   g.relation = t.relation IS TRUE AS is_tenant_table,
		   g.guarded_at,
		   g.guarded_by
	FROM deletion_guard.guard g
	LEFT JOIN deletion_guard.tenant_table t ON t.relation = g.relation;
GRANT SELECT ON deletion_guard.guarded_table TO PUBLIC;
COMMENT ON VIEW deletion_guard.guarded_table IS 'guarded tables and where their rows'' tenant comes from; partitions are covered by their root';
COMMENT ON COLUMN deletion_guard.guarded_table.relation IS 'guarded table, or root of partitions';
COMMENT ON COLUMN deletion_guard.guarded_table.tenant_source IS 'where a row''s tenant comes from: a column, a path of foreign keys, or nothing, as all rows are one tenant''s; null: rows have no tenant';
COMMENT ON COLUMN deletion_guard.guarded_table.tenant_column IS 'the column, if it is one';
COMMENT ON COLUMN deletion_guard.guarded_table.tenant_path IS 'the foreign keys, from this table upwards, if it is a path; empty if it has other steps';
COMMENT ON COLUMN deletion_guard.guarded_table.tenant IS 'whose all rows are, if they are one tenant''s';
COMMENT ON COLUMN deletion_guard.guarded_table.is_tenant_table IS 'is it the table that lists the tenants?';
COMMENT ON COLUMN deletion_guard.guarded_table.guarded_at IS 'since when';
COMMENT ON COLUMN deletion_guard.guarded_table.guarded_by IS 'role that guarded it';

/*
 * Event triggers: they load the library, refuse what would go round the guard,
 * and let the guard follow the tables.
 */
CREATE FUNCTION deletion_guard_internal.ddl_start() RETURNS event_trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_ddl_start';
CREATE FUNCTION deletion_guard_internal.ddl_end() RETURNS event_trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_ddl_end';
COMMENT ON FUNCTION deletion_guard_internal.ddl_start() IS 'event trigger: loads the guard before a command can go round it';
COMMENT ON FUNCTION deletion_guard_internal.ddl_end() IS 'event trigger: guards new partitions and tables, follows renames';

CREATE EVENT TRIGGER deletion_guard_ddl_start ON ddl_command_start
	EXECUTE FUNCTION deletion_guard_internal.ddl_start();
ALTER EVENT TRIGGER deletion_guard_ddl_start ENABLE ALWAYS;
CREATE EVENT TRIGGER deletion_guard_ddl_end ON ddl_command_end
	WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'CREATE SCHEMA',
		'ALTER SCHEMA', 'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'CREATE TRIGGER',
		'ALTER INDEX', 'ALTER FUNCTION', 'ALTER TRIGGER', 'CREATE SUBSCRIPTION', 'ALTER SUBSCRIPTION',
		'CREATE PUBLICATION', 'ALTER PUBLICATION')
	EXECUTE FUNCTION deletion_guard_internal.ddl_end();
ALTER EVENT TRIGGER deletion_guard_ddl_end ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER deletion_guard_ddl_start IS 'loads deletion_guard before a command can go round it';
COMMENT ON EVENT TRIGGER deletion_guard_ddl_end IS 'guards new partitions and tables, follows renames';

