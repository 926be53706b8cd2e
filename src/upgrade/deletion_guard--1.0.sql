/*
 * deletion_guard: schemas.
 *
 * deletion_guard holds everything a person calls or reads; deletion_guard_internal
 * what triggers, views and our own functions call; deletion_guard_bin the bin
 * tables, which nobody but the extension writes.
 */
\echo Use "CREATE EXTENSION deletion_guard" to load this file. \quit

CREATE SCHEMA deletion_guard;
CREATE SCHEMA deletion_guard_bin;
CREATE SCHEMA deletion_guard_internal;

GRANT USAGE ON SCHEMA deletion_guard, deletion_guard_internal TO PUBLIC;

CREATE FUNCTION deletion_guard_internal.bin_handler(internal) RETURNS table_am_handler
	LANGUAGE C VOLATILE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'dg_bin_handler';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.bin_handler(internal) FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.bin_handler(internal) IS 'how bin tables are stored';
CREATE ACCESS METHOD deletion_guard_bin TYPE TABLE HANDLER deletion_guard_internal.bin_handler;
COMMENT ON ACCESS METHOD deletion_guard_bin IS 'heaps whose rows only deletion_guard takes out';

COMMENT ON SCHEMA deletion_guard IS 'deletion_guard: functions, views and registries';
COMMENT ON SCHEMA deletion_guard_internal IS 'deletion_guard: functions that it calls itself, as triggers, views and other functions';
COMMENT ON SCHEMA deletion_guard_bin IS 'deletion_guard: the recycle bin; written by the extension only';

/*
 * What is guarded, and what was deleted.
 *
 * These tables are written by the extension only (see protect.sql). All of
 * them are dumped with their data; tables are named by regclass, which pg_dump
 * writes as names, so that they survive dump and restore.
 */

-- The one table that lists the tenants; at most one row.
CREATE TABLE deletion_guard.tenant_table
(
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	relation regclass NOT NULL,
	key_column name NOT NULL,
	name_column name,
	contact_column name
) USING heap;

-- Guarded tables, without the partitions that their root stands for.
CREATE TABLE deletion_guard.guard
(
	relation regclass PRIMARY KEY,
	tenant_column name,
	tenant_path name[],
	guarded_at timestamptz NOT NULL,
	guarded_by text NOT NULL,
	detached_from regclass,						-- the guarded table that it was a partition of
	tenant text COLLATE "C",					-- whose all of its rows are
	CHECK (pg_catalog.num_nonnulls(tenant_column, tenant_path, tenant) <= 1)
) USING heap;

-- Tenant paths that lead over columns which are no foreign keys: guard.tenant_path is
-- empty, and the steps are here, foreign keys among them. A step with types comes last.
CREATE TABLE deletion_guard.guard_step
(
	relation regclass NOT NULL,
	step integer NOT NULL,
	type_value text COLLATE "C" NOT NULL,		-- that this step is for; empty: there are no types
	source regclass NOT NULL,					-- the table that the step leads away from
	target regclass,							-- null: rows of this type are nobody's
	foreign_key name,
	type_column name,
	columns name[],
	key_columns name[],
	PRIMARY KEY (relation, step, type_value)
) USING heap;

-- Schemas whose future tables are guarded as they are created.
CREATE TABLE deletion_guard.guarded_schema
(
	schema_name name PRIMARY KEY,
	tenant_column name,
	tenant text COLLATE "C",					-- whose all rows of its tables are
	CHECK (pg_catalog.num_nonnulls(tenant_column, tenant) = 1)
) USING heap;

-- Schemas by whose names, or by rows of the tenant table, whose they are is known.
CREATE TABLE deletion_guard.schema_pattern
(
	pattern text COLLATE "C" PRIMARY KEY,		-- as LIKE has it
	tenant_from name,							-- column of the tenant table that names a schema; null: it is the schema's name
	guarded_by text NOT NULL
) USING heap;

-- Tables that somebody has decided not to guard. Known by name, as schemas are, so that
-- a table that a restore makes again stays as it was decided.
CREATE TABLE deletion_guard.left_unguarded
(
	schema_name name,
	table_name name,
	left_at timestamptz NOT NULL,
	left_by text NOT NULL,
	PRIMARY KEY (schema_name, table_name)
) USING heap;

-- Bin tables: one for each guarded table and row shape. A shape is the list of
-- live columns, in order, with their types.
CREATE TABLE deletion_guard.bin
(
	bin_id integer PRIMARY KEY,
	relation regclass NOT NULL,
	relation_name text NOT NULL,
	bin_table regclass NOT NULL UNIQUE,
	shape text NOT NULL,
	created_at timestamptz NOT NULL,
	dropped_column name							-- whose values these are, with the keys of their rows
) USING heap;
CREATE INDEX bin_relation_idx ON deletion_guard.bin (relation);
CREATE SEQUENCE deletion_guard.bin_id_seq AS integer CYCLE OWNED BY deletion_guard.bin.bin_id;

CREATE FUNCTION deletion_guard_internal.same_tenant(a text, b text) RETURNS boolean
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_same_tenant';
COMMENT ON FUNCTION deletion_guard_internal.same_tenant IS
	'do two texts stand for one tenant? Yes if the type of the tenant table''s key says that they are equal (''Acme'' and ''acme'' where it is citext), or if a guarded table''s tenant column does that could not refer to the tenant table; otherwise only if they are the same text';

-- One row for each deletion, bin table and tenant. The rows themselves carry
-- (deletion, part, row) in the bin table; "rows" is what went in, of which
-- "restored" and "purged" have left again. A bin table has no index: "blocks"
-- says where in the file the rows are (ranges of blocks, packed by bin_blocks.c),
-- as long as the file is still "filenode"; where it is not, after a restore or a
-- VACUUM FULL, they are looked for once and written down again.
-- What there is to say of a deletion as a whole, from deleted_at on, is said once,
-- in the row of it that was written first: deleting one row makes one part, and a
-- table of its own for the rest made that a fifth slower. Of a deletion that
-- begins with several tenants, or by taking links, that row is part 0, without rows.
CREATE TABLE deletion_guard.deletion_part
(
	deletion_id bigint NOT NULL,
	part integer NOT NULL,
	bin_id integer NOT NULL,
	tenant text COLLATE "C",
	tenant_hash bigint GENERATED ALWAYS AS (pg_catalog.hashtextextended(tenant, 0)) STORED,
	tenant_name text,
	contact text,
	rows bigint NOT NULL,
	restored bigint NOT NULL DEFAULT 0,
	purged bigint NOT NULL DEFAULT 0,
	filenode oid NOT NULL,
	blocks bytea NOT NULL,
	deleted_at timestamptz,
	session_role text,
	effective_role text,
	application_name text,
	client_addr inet,
	actor text,
	reason text,
	statement text,
	xid xid8,
	purge_not_before timestamptz,				-- infinity: keep for ever
	PRIMARY KEY (deletion_id, part),
	CHECK (num_nonnulls(deleted_at, session_role, effective_role, xid, purge_not_before) IN (0, 5))
) USING heap;
-- By the hash: a tenant's key may be too long for an index.
CREATE INDEX deletion_part_tenant_idx ON deletion_guard.deletion_part (tenant_hash, deletion_id);
CREATE SEQUENCE deletion_guard.deletion_id_seq CYCLE OWNED BY deletion_guard.deletion_part.deletion_id;

-- Deletions: what one top-level statement removed.
CREATE VIEW deletion_guard.deletion_record AS
	SELECT deletion_id, deleted_at, session_role, effective_role, application_name, client_addr,
		   actor, reason, statement, xid, purge_not_before
	FROM deletion_guard.deletion_part
	WHERE deleted_at IS NOT NULL;

-- Bins that have no rows, whatever the parts say: dropped, or restored without their
-- data. Rows take pages, and a bin gives pages back only when it is empty.
-- The server calls what a file's size is volatile, and does not leave out what a query
-- does not ask for where it depends on that.
CREATE FUNCTION deletion_guard_internal.file_bytes(relation regclass) RETURNS bigint
	LANGUAGE sql STABLE PARALLEL SAFE
	AS 'SELECT pg_catalog.pg_relation_size($1)';
COMMENT ON FUNCTION deletion_guard_internal.file_bytes IS 'pg_relation_size(), called stable';
CREATE VIEW deletion_guard.empty_bin AS
	SELECT bin_id FROM deletion_guard.bin
	WHERE coalesce(deletion_guard_internal.file_bytes(bin_table), 0) = 0;

-- Links that a deletion took from rows that stayed, by ON DELETE SET NULL or SET
-- DEFAULT: the row, the columns of the key, what they were and what they became.
CREATE TABLE deletion_guard.deletion_link
(
	deletion_id bigint NOT NULL,
	relation regclass NOT NULL,
	key_columns name[] NOT NULL,
	key_values text[] NOT NULL,
	columns name[] NOT NULL,
	before text[] NOT NULL,
	after text[] NOT NULL,
	restored boolean NOT NULL DEFAULT false,
	waiting_since bigint,						-- the last deletion when this one was undone, but the row was not there
	relation_name text							-- of a table that was dropped since
) USING heap;
CREATE INDEX deletion_link_deletion_idx ON deletion_guard.deletion_link (deletion_id);
-- Not a partial index: rows are inserted into every index without asking its condition.
CREATE INDEX deletion_link_waiting_idx ON deletion_guard.deletion_link (relation, waiting_since);

-- Keys of tenants that were changed, numbered along with deletions: what was deleted
-- under the old key has a lower number. One UPDATE may change many, and give one
-- tenant's old key to another.
CREATE TABLE deletion_guard.tenant_rename
(
	rename_id bigint PRIMARY KEY,
	first_id bigint NOT NULL,					-- of the same UPDATE
	old_key text COLLATE "C" NOT NULL,
	new_key text COLLATE "C" NOT NULL,
	renamed_at timestamptz NOT NULL
) USING heap;

-- Guarded tables, and partitions of them, that were dropped: how to make them again.
CREATE TABLE deletion_guard.dropped_table
(
	dropped_id bigint PRIMARY KEY,
	deletion_id bigint,
	relation_name text NOT NULL,
	partition_of text,
	dropped_at timestamptz NOT NULL,
	dropped_by text NOT NULL,
	rows bigint NOT NULL,
	definition text NOT NULL,
	foreign_keys text
) USING heap;
CREATE SEQUENCE deletion_guard.dropped_id_seq OWNED BY deletion_guard.dropped_table.dropped_id;

-- What is left of the records of old deletions, when fold_deletions() has removed them.
CREATE TABLE deletion_guard.folded_deletion
(
	day date NOT NULL,							-- UTC
	tenant text COLLATE "C",
	deletions bigint NOT NULL,
	rows bigint NOT NULL,
	restored bigint NOT NULL,
	purged bigint NOT NULL
) USING heap;

-- Rows of the tenant table that were deleted, for the ceiling on them. A row
-- for each capture, kept although they may have been undeleted since.
CREATE TABLE deletion_guard.tenant_wipe
(
	deletion_id bigint NOT NULL,
	wiped_at timestamptz NOT NULL,
	rows bigint NOT NULL
) USING heap;
CREATE INDEX tenant_wipe_at_idx ON deletion_guard.tenant_wipe (wiped_at);

SELECT pg_catalog.pg_extension_config_dump('deletion_guard.tenant_table', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.guard', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.guard_step', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.guarded_schema', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.schema_pattern', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.left_unguarded', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.bin', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.bin_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.deletion_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.deletion_part', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.deletion_link', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.tenant_rename', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.dropped_table', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.dropped_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.folded_deletion', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.tenant_wipe', '');

COMMENT ON TABLE deletion_guard.tenant_table IS 'the table that lists the tenants, set by set_tenant_table()';
COMMENT ON TABLE deletion_guard.guard IS 'guarded tables; see the view guarded_table';
COMMENT ON TABLE deletion_guard.guard_step IS 'steps of tenant paths that are no foreign keys; see the view guarded_table';
COMMENT ON TABLE deletion_guard.guarded_schema IS 'schemas whose future tables are guarded as they are created';
COMMENT ON TABLE deletion_guard.schema_pattern IS 'patterns of schemas that are guarded as they are created, by guard_schemas()';
COMMENT ON TABLE deletion_guard.left_unguarded IS 'tables that somebody has decided not to guard, by unguard_table() or leave_unguarded(): guard_schema() leaves them out';
COMMENT ON TABLE deletion_guard.bin IS 'bin tables: one for each guarded table and row shape';
COMMENT ON SEQUENCE deletion_guard.bin_id_seq IS 'ids of bin tables';
COMMENT ON VIEW deletion_guard.deletion_record IS 'deletions, without what became of them; see the view deletion';
COMMENT ON COLUMN deletion_guard.deletion_record.deletion_id IS 'number of the deletion';
COMMENT ON COLUMN deletion_guard.deletion_record.deleted_at IS 'when its transaction first deleted something';
COMMENT ON COLUMN deletion_guard.deletion_record.session_role IS 'role that logged in';
COMMENT ON COLUMN deletion_guard.deletion_record.effective_role IS 'role that ran the statement, after SET ROLE';
COMMENT ON COLUMN deletion_guard.deletion_record.application_name IS 'application_name of the session';
COMMENT ON COLUMN deletion_guard.deletion_record.client_addr IS 'address of the client; null for a Unix socket';
COMMENT ON COLUMN deletion_guard.deletion_record.actor IS 'deletion_guard.actor: the application''s user';
COMMENT ON COLUMN deletion_guard.deletion_record.reason IS 'deletion_guard.reason';
COMMENT ON COLUMN deletion_guard.deletion_record.statement IS 'text of the top-level statement, until a purge removes it';
COMMENT ON COLUMN deletion_guard.deletion_record.xid IS 'transaction that deleted';
COMMENT ON COLUMN deletion_guard.deletion_record.purge_not_before IS 'when a purge is possible at the earliest; infinity: never';
COMMENT ON VIEW deletion_guard.empty_bin IS 'bins without rows; what parts record there as in the bin is lost';
COMMENT ON COLUMN deletion_guard.empty_bin.bin_id IS 'id of the bin';
COMMENT ON SEQUENCE deletion_guard.deletion_id_seq IS 'ids of deletions';
COMMENT ON TABLE deletion_guard.tenant_rename IS 'keys of tenants that were changed in the tenant table; forgotten when nothing of the tenant is left';
COMMENT ON TABLE deletion_guard.deletion_link IS 'links that deletions took from rows that stayed (ON DELETE SET NULL, SET DEFAULT)';
COMMENT ON TABLE deletion_guard.folded_deletion IS 'counts of deletions whose records fold_deletions() has removed; see the view deletion_history';
COMMENT ON TABLE deletion_guard.dropped_table IS 'guarded tables and partitions that were dropped, and how to make them again';
COMMENT ON COLUMN deletion_guard.dropped_table.dropped_id IS 'number; of tables that went together, the first must be made first';
COMMENT ON COLUMN deletion_guard.dropped_table.deletion_id IS 'deletion by which its rows went to the bin; null if it had none, or they were lost';
COMMENT ON COLUMN deletion_guard.dropped_table.relation_name IS 'table, with its schema';
COMMENT ON COLUMN deletion_guard.dropped_table.partition_of IS 'partitioned table that it was a partition of';
COMMENT ON COLUMN deletion_guard.dropped_table.dropped_at IS 'when the transaction began that dropped it';
COMMENT ON COLUMN deletion_guard.dropped_table.dropped_by IS 'role that had logged in';
COMMENT ON COLUMN deletion_guard.dropped_table.rows IS 'rows that went to the bin';
COMMENT ON COLUMN deletion_guard.dropped_table.definition IS 'SQL that makes it again, see table_definition()';
COMMENT ON COLUMN deletion_guard.dropped_table.foreign_keys IS 'SQL that makes its foreign keys, and those that led to it, when all tables are there again';
COMMENT ON SEQUENCE deletion_guard.dropped_id_seq IS 'ids of dropped tables';
COMMENT ON TABLE deletion_guard.tenant_wipe IS 'how many tenants were deleted when';
COMMENT ON TABLE deletion_guard.deletion_part IS 'deletions by table and tenant; see the view deletion_detail';

/*
 * What it takes to make a table again, as SQL. Statements come in the order in
 * which they can be run; names outside of pg_catalog are qualified.
 */
CREATE FUNCTION deletion_guard_internal.table_definition(target regclass, dropped oid[] = '{}', OUT definition text, OUT foreign_keys text)
	LANGUAGE sql STABLE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH t AS (
		SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name,
			   (SELECT string_agg(format('%I.%I', pn.nspname, pc.relname), ', ' ORDER BY i.inhseqno)
				FROM pg_inherits i JOIN pg_class pc ON pc.oid = i.inhparent
				JOIN pg_namespace pn ON pn.oid = pc.relnamespace WHERE i.inhrelid = c.oid) AS parents
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = target AND c.relkind IN ('r', 'p')),
	col AS (
		SELECT a.*, d.adbin, l.collname, ln.nspname AS collschema
		FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
		LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		JOIN pg_type y ON y.oid = a.atttypid
		LEFT JOIN pg_collation l ON l.oid = a.attcollation AND l.oid <> y.typcollation
		LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace),
	statement (place, name, text) AS (
		-- sequences of columns that are no identity: their defaults name them
		SELECT 1, s.oid::regclass::text,
			   format('CREATE SEQUENCE %I.%I AS %s INCREMENT %s MINVALUE %s MAXVALUE %s START %s CACHE %s%s', n.nspname, s.relname,
					  format_type(q.seqtypid, NULL), q.seqincrement, q.seqmin, q.seqmax, q.seqstart, q.seqcache,
					  CASE WHEN q.seqcycle THEN ' CYCLE' ELSE '' END)
		FROM t JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.refobjsubid > 0
			AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'
		JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_sequence q ON q.seqrelid = s.oid
		JOIN pg_namespace n ON n.oid = s.relnamespace
		UNION ALL
		SELECT 2, '',
			   format('CREATE %sTABLE %s', CASE t.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, t.name) ||
			   CASE WHEN t.relispartition THEN format(' PARTITION OF %s %s', t.parents, pg_get_expr(t.relpartbound, t.oid))
			   ELSE ' (' || coalesce((
				SELECT string_agg(E'\n\t' || concat_ws(' ', quote_ident(c.attname), format_type(c.atttypid, c.atttypmod),
							'COLLATE ' || quote_ident(c.collschema) || '.' || quote_ident(c.collname),
							CASE WHEN c.attidentity = 'a' THEN 'GENERATED ALWAYS AS IDENTITY'
								 WHEN c.attidentity = 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY'
								 WHEN c.attgenerated = 's' THEN format('GENERATED ALWAYS AS (%s) STORED', pg_get_expr(c.adbin, t.oid))
								 WHEN c.attgenerated = 'v' THEN format('GENERATED ALWAYS AS (%s) VIRTUAL', pg_get_expr(c.adbin, t.oid))
								 WHEN c.adbin IS NOT NULL THEN 'DEFAULT ' || pg_get_expr(c.adbin, t.oid) END,
							CASE WHEN c.attnotnull THEN 'NOT NULL' END), ',' ORDER BY c.attnum)
				FROM col c WHERE c.attislocal), '') || E'\n)' || coalesce(' INHERITS (' || t.parents || ')', '') END ||
			   coalesce(' PARTITION BY ' || pg_get_partkeydef(t.oid), '') ||
			   coalesce(' WITH (' || (SELECT string_agg(format('%I=%L', o.option_name, o.option_value), ', ')
									  FROM pg_options_to_table(t.reloptions) o) || ')', '')
		FROM t
		UNION ALL
		SELECT 4, t.name, format('ALTER TABLE %s OWNER TO %s', t.name, t.relowner::regrole) FROM t
		UNION ALL
		SELECT 3, s.oid::regclass::text, format('ALTER SEQUENCE %I.%I OWNED BY %s.%I', n.nspname, s.relname, t.name, a.attname)
		FROM t JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.refobjsubid > 0
			AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'
		JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
		JOIN pg_namespace n ON n.oid = s.relnamespace
		JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
		UNION ALL
		SELECT 5 + (k.contype = 'f')::int, k.conname,
			   format('ALTER TABLE %s ADD CONSTRAINT %I %s', t.name, k.conname, pg_get_constraintdef(k.oid))
		FROM t JOIN pg_constraint k ON k.conrelid = t.oid
		WHERE k.contype IN ('p', 'u', 'x', 'c', 'f') AND k.conislocal AND k.conparentid = 0
		UNION ALL
		SELECT 5, x.relname, regexp_replace(pg_get_indexdef(x.oid), ' ON ONLY ', ' ON ')
		FROM t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class x ON x.oid = i.indexrelid
		WHERE NOT x.relispartition
			AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
		UNION ALL
		-- of other tables, which go with it
		SELECT 6, k.conname, format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid))
		FROM t JOIN pg_constraint k ON k.confrelid = t.oid AND k.conrelid <> t.oid AND k.contype = 'f' AND k.conparentid = 0
		WHERE k.conrelid <> ALL (dropped)
		UNION ALL
		SELECT 8, g.tgname, pg_get_triggerdef(g.oid)
		FROM t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal AND g.tgparentid = 0
		WHERE NOT starts_with(g.tgname, 'deletion_guard_') AND g.tgname <> 'ts_insert_blocker'	-- create_hypertable() makes this one
		UNION ALL
		SELECT 9, '', format('ALTER TABLE %s %s ROW LEVEL SECURITY', t.name, v.what)
		FROM t CROSS JOIN LATERAL (VALUES (t.relrowsecurity, 'ENABLE'), (t.relforcerowsecurity, 'FORCE')) v (has, what) WHERE v.has
		UNION ALL
		SELECT 10, p.polname,
			   format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.polname, t.name,
					  CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
					  CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
					  (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END, ', ') FROM unnest(p.polroles) r)) ||
			   coalesce(' USING (' || pg_get_expr(p.polqual, t.oid) || ')', '') ||
			   coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, t.oid) || ')', '')
		FROM t JOIN pg_policy p ON p.polrelid = t.oid
		UNION ALL
		SELECT 11, a.grantee::text,
			   format('GRANT %s ON %s TO %s%s', string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type), t.name,
					  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
					  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
		FROM t CROSS JOIN LATERAL aclexplode(t.relacl) a
		WHERE a.grantee <> t.relowner
		GROUP BY t.name, a.grantee, a.is_grantable
		UNION ALL
		SELECT 12, lpad(d.objsubid::text, 5, '0'),
			   CASE d.objsubid WHEN 0 THEN format('COMMENT ON TABLE %s IS %L', t.name, d.description)
			   ELSE format('COMMENT ON COLUMN %s.%I IS %L', t.name, c.attname, d.description) END
		FROM t JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = t.oid
		LEFT JOIN col c ON c.attnum = d.objsubid)
	SELECT string_agg(s.text || ';', E'\n' ORDER BY s.place, s.name COLLATE "C", s.text COLLATE "C") FILTER (WHERE s.place <> 6),
		   string_agg(s.text || ';', E'\n' ORDER BY s.name COLLATE "C", s.text COLLATE "C") FILTER (WHERE s.place = 6)
	FROM statement s
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.table_definition FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.table_definition IS
	'SQL that makes a table again: columns, constraints, indexes, triggers, row security, privileges, comments; and its foreign keys with those of others that lead to it (but for tables in "dropped"), to be run when all tables are there. Not views, statistics objects, publications, settings of columns. Nulls if it is no table. Reads the catalogs only';

/*
 * What brings a column back, and its values if they are in a bin. They come by way
 * of a table that takes them from the bin.
 */
CREATE FUNCTION deletion_guard_internal.column_definition(target regclass, column_name text, bin_table regclass, deletion bigint) RETURNS text
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT concat_ws(E'\n',
		format('ALTER TABLE %s ADD COLUMN %I %s%s%s;', n.name, a.attname, format_type(a.atttypid, a.atttypmod),
			   ' COLLATE ' || quote_ident(ln.nspname) || '.' || quote_ident(l.collname),
			   ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)),
		v.back,
		CASE WHEN a.attnotnull THEN format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL;', n.name, a.attname) END)
	FROM pg_class c
	JOIN pg_namespace s ON s.oid = c.relnamespace
	CROSS JOIN LATERAL (SELECT format('%I.%I', s.nspname, c.relname) AS name,
							   format('%I.%I', s.nspname, c.relname || '.' || column_name) AS other) n
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
	JOIN pg_type y ON y.oid = a.atttypid
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	LEFT JOIN pg_collation l ON l.oid = a.attcollation AND l.oid <> y.typcollation
	LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
	LEFT JOIN LATERAL (
		SELECT concat_ws(E'\n',
			format('CREATE TABLE %s (%s);', n.other, string_agg(format('%I %s', b.attname, format_type(b.atttypid, b.atttypmod)), ', ' ORDER BY b.attnum)),
			format('SELECT deletion_guard.adopt_bin(%L, %L);', format('%I.%I', bs.nspname, bc.relname), n.other),
			format('SELECT * FROM deletion_guard.undelete(%s, ''skip'');', deletion),
			format('UPDATE %s%s t SET %I = v.%I FROM %s v WHERE %s;', CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END,
				   n.name, column_name, column_name, n.other,
				   string_agg(format(CASE WHEN k.attnotnull THEN 't.%1$I = v.%1$I' ELSE 't.%1$I IS NOT DISTINCT FROM v.%1$I' END, b.attname),
							  ' AND ' ORDER BY b.attnum) FILTER (WHERE b.attname <> column_name))) AS back
		FROM pg_attribute b JOIN pg_class bc ON bc.oid = b.attrelid JOIN pg_namespace bs ON bs.oid = bc.relnamespace
		LEFT JOIN pg_attribute k ON k.attrelid = c.oid AND k.attname = b.attname AND NOT k.attisdropped
		WHERE b.attrelid = bin_table AND b.attnum > 3
		GROUP BY bs.nspname, bc.relname) v ON true
	WHERE c.oid = target
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.column_definition FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.column_definition IS
	'SQL that makes a column again and gets its values back from a bin (null: they are not in one); null if there is no such column. Reads the catalogs only';
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

/*
 * Looking at deletions.
 */
CREATE FUNCTION deletion_guard.tenant_label(tenant text, OUT tenant_name text, OUT contact text)
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 100
	AS 'MODULE_PATHNAME', 'dg_tenant_label';
REVOKE EXECUTE ON FUNCTION deletion_guard.tenant_label FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.tenant_label IS
	'name and contact of a tenant, from the tenant table or, if it was deleted, from its latest deletion; nulls if unknown';

-- Labels stand outside of what is grouped: they are looked up only for rows that
-- a query returns, and only if it asks for them.
CREATE VIEW deletion_guard.deletion_detail AS
	SELECT s.deletion_id,
		   s.relation,
		   s.tenant,
		   (deletion_guard.tenant_label(s.tenant)).tenant_name,
		   (deletion_guard.tenant_label(s.tenant)).contact,
		   s.rows,
		   s.restored,
		   s.purged,
		   s.lost,
		   s.relation_name
	FROM (SELECT p.deletion_id, p.tenant,
				 CASE WHEN b.relation = 0 THEN min(b.bin_table::oid)::regclass ELSE b.relation END AS relation,
				 sum(p.rows)::bigint AS rows,
				 sum(p.restored)::bigint AS restored,
				 sum(p.purged)::bigint AS purged,
				 coalesce(sum(p.rows - p.restored - p.purged)
						  FILTER (WHERE p.bin_id IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)), 0)::bigint AS lost,
				 min(b.relation_name) AS relation_name
		  FROM deletion_guard.deletion_part p
		  JOIN deletion_guard.bin b USING (bin_id)
		  -- tables that were dropped are told by their names
		  GROUP BY p.deletion_id, b.relation, CASE WHEN b.relation = 0 THEN b.relation_name END, p.tenant) s;
COMMENT ON VIEW deletion_guard.deletion_detail IS
	'deletions by table and tenant: rows removed, of which restored and purged since; the rest is in the bin, unless it is lost';
COMMENT ON COLUMN deletion_guard.deletion_detail.deletion_id IS 'number of the deletion';
COMMENT ON COLUMN deletion_guard.deletion_detail.relation IS 'table the rows were in; of one that was dropped, the table of the bin they are in, as adopt_bin() takes it';
COMMENT ON COLUMN deletion_guard.deletion_detail.tenant IS 'tenant''s key; null for rows without one';
COMMENT ON COLUMN deletion_guard.deletion_detail.tenant_name IS 'tenant''s name, as it is now or was at its latest deletion';
COMMENT ON COLUMN deletion_guard.deletion_detail.contact IS 'tenant''s contact, likewise';
COMMENT ON COLUMN deletion_guard.deletion_detail.rows IS 'rows removed';
COMMENT ON COLUMN deletion_guard.deletion_detail.restored IS 'of these, rows that are back';
COMMENT ON COLUMN deletion_guard.deletion_detail.purged IS 'of these, rows that are gone for good';
COMMENT ON COLUMN deletion_guard.deletion_detail.lost IS 'of these, rows that are neither back nor purged nor in the bin: the database was restored without it; they are where it was dumped';
COMMENT ON COLUMN deletion_guard.deletion_detail.relation_name IS 'name of the table, also of one that was dropped';

CREATE VIEW deletion_guard.deletion AS
	SELECT d.deletion_id AS id,
		   d.deleted_at,
		   d.session_role,
		   d.effective_role,
		   d.application_name,
		   d.client_addr,
		   d.actor,
		   d.reason,
		   d.statement,
		   d.xid,
		   s.rows,
		   s.tenants,
		   CASE WHEN s.lost > 0 AND s.lost = s.rows THEN 'lost'
				WHEN s.lost > 0 THEN 'partly lost'
				WHEN s.restored + s.purged = 0 THEN 'deleted'
				WHEN s.restored = s.rows THEN 'restored'
				WHEN s.purged = s.rows THEN 'purged'
				WHEN s.restored + s.purged = s.rows THEN 'restored and purged'
				WHEN s.purged = 0 THEN 'partly restored'
				ELSE 'partly purged'
		   END AS state,
		   d.purge_not_before,
		   (SELECT count(*) FROM deletion_guard.deletion_link l
			WHERE l.deletion_id = d.deletion_id AND NOT l.restored) AS links
	FROM deletion_guard.deletion_record d
	CROSS JOIN LATERAL (
		SELECT sum(p.rows)::bigint AS rows,
			   count(DISTINCT p.tenant) AS tenants,
			   sum(p.restored)::bigint AS restored,
			   sum(p.purged)::bigint AS purged,
			   coalesce(sum(p.rows - p.restored - p.purged)
						FILTER (WHERE p.bin_id IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)), 0)::bigint AS lost
		FROM deletion_guard.deletion_part p
		WHERE p.deletion_id = d.deletion_id) s;
COMMENT ON VIEW deletion_guard.deletion IS
	'deletions: what each top-level statement removed, cascades included, by whom, and what became of it';
COMMENT ON COLUMN deletion_guard.deletion.id IS 'number of the deletion, for undelete(). Numbers only go up; there are gaps where a statement was rolled back, previewed or refused, where a tenant got another key, and after a crash';
COMMENT ON COLUMN deletion_guard.deletion.deleted_at IS 'when its transaction first deleted something; all deletions of a transaction have the same time';
COMMENT ON COLUMN deletion_guard.deletion.session_role IS 'role that logged in';
COMMENT ON COLUMN deletion_guard.deletion.effective_role IS 'role that ran the statement, after SET ROLE';
COMMENT ON COLUMN deletion_guard.deletion.application_name IS 'application_name of the session';
COMMENT ON COLUMN deletion_guard.deletion.client_addr IS 'address of the client; null for a Unix socket';
COMMENT ON COLUMN deletion_guard.deletion.actor IS 'deletion_guard.actor: the application''s user';
COMMENT ON COLUMN deletion_guard.deletion.reason IS 'deletion_guard.reason';
COMMENT ON COLUMN deletion_guard.deletion.statement IS 'text of the top-level statement, with its literals, until a purge removes it';
COMMENT ON COLUMN deletion_guard.deletion.xid IS 'transaction that deleted; deletions with the same xid and time belong together, see undelete_transaction()';
COMMENT ON COLUMN deletion_guard.deletion.rows IS 'rows removed, over all tables';
COMMENT ON COLUMN deletion_guard.deletion.tenants IS 'distinct tenants whose rows were removed';
COMMENT ON COLUMN deletion_guard.deletion.state IS 'what became of the rows: deleted (all in the bin), restored, purged, or partly so; lost, if the database was restored without the bin''s rows';
COMMENT ON COLUMN deletion_guard.deletion.purge_not_before IS 'when a purge is possible at the earliest; infinity: never';
COMMENT ON COLUMN deletion_guard.deletion.links IS 'links that it took from rows that stayed, by ON DELETE SET NULL and SET DEFAULT, and that are not back';

CREATE FUNCTION deletion_guard.deleted_rows(target anyelement, tenant text = NULL,
		deletion_id bigint = NULL) RETURNS SETOF anyelement
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_deleted_rows';
COMMENT ON FUNCTION deletion_guard.deleted_rows IS
	'rows of a table that are in the bin, as rows of the table: deleted_rows(NULL::public.issue, tenant => ''42''); of all tenants or deletions where these are null. Rows of partitions are those of their root, rows of a table that inherits its own. Columns that the table got later are null; links that ON DELETE SET NULL or SET DEFAULT had taken from a row are shown as they were. Anyone with SELECT on the table may call it, unless row security applies to them (42501). Fails if the bin does not have all of the rows, with 42804 for what has no type of a table, 42809 for a partition';

/*
 * Seeing what a statement would delete.
 */
CREATE FUNCTION deletion_guard.preview(statement text,
		OUT relation regclass, OUT tenant text, OUT rows bigint, OUT effect text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_preview';
COMMENT ON FUNCTION deletion_guard.preview IS
	'what one DELETE, TRUNCATE, UPDATE, INSERT or MERGE would do, by table and, where the caller may read the rows, tenant: runs it with the caller''s privileges and locks, then rolls it back. Deferred constraints and triggers have their turn. What is not known, as rows of foreign tables, has a line without a number. Ceilings are reported, not enforced; values taken from sequences, and what triggers do outside of the database, stay done. Fails with 0A000 for another statement, 22023 for several, otherwise as the statement would';

/*
 * Undelete: from the bin back into the tables.
 */
CREATE FUNCTION deletion_guard.undelete(deletion_id bigint, on_conflict text = 'error',
		dry_run boolean = false, rows jsonb = NULL,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete IS
	'restores exactly what one deletion removed and is still in the bin: all of it, or an error and nothing. on_conflict, for live rows with the key of a deleted one: error, skip (which leaves it in the bin, and with it rows that refer to what is not there) or replace (the live row of the same primary key goes to the bin, but none of another tenant). rows chooses some of them by values of columns, null for null: {"public.issue": [{"id": 7}]}; the others stay in the bin, and so does what the chosen refer to unless it is chosen, too. With dry_run, does it and rolls it back; problem then says why it would fail. Returns rows restored, identical to live ones, and skipped, by table and tenant. Needs INSERT on the tables, UPDATE to replace rows or to put lost links back. ROW EXCLUSIVE lock on the tables; excludes undelete, rehydrate and purge of the same tenants until the transaction ends. Fails with TG010 for a conflict, TG011 for rows that no longer fit, TG012 if nothing is left or a chosen row is not there, TG013 if what was written is not what was deleted';

CREATE FUNCTION deletion_guard.undelete_transaction(deletion_id bigint, on_conflict text = 'error',
		dry_run boolean = false,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete_transaction';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete_transaction FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete_transaction IS
	'restores all that the transaction of a deletion removed, by however many statements, and that is still in the bin, as if it had been one deletion; otherwise as undelete(). A row that the transaction deleted, inserted anew and deleted again is there twice, which is a conflict unless both are the same: with skip or replace the later one comes back';

CREATE FUNCTION deletion_guard.undelete_tenant(tenant text, since timestamptz = '-infinity',
		until timestamptz = 'infinity', on_conflict text = 'error', dry_run boolean = false,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete_tenant';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete_tenant FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete_tenant IS
	'restores all rows of a tenant that were deleted from since to until and are still in the bin; otherwise as undelete()';

CREATE FUNCTION deletion_guard.undelete_tenants(tenants text[], since timestamptz = '-infinity',
		until timestamptz = 'infinity', on_conflict text = 'error', dry_run boolean = false,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete_tenants';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete_tenants FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete_tenants IS
	'undelete_tenant() for several tenants at once: all of them or none. Warns of those that have nothing in the bin';

CREATE FUNCTION deletion_guard.undelete_without_tenant(relations regclass[], since timestamptz = '-infinity',
		until timestamptz = 'infinity', on_conflict text = 'error', dry_run boolean = false,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete_without_tenant';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete_without_tenant FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete_without_tenant IS
	'restores exactly those rows of these tables that belong to no tenant (templates for all, say), and were deleted from since to until and are still in the bin; otherwise as undelete()';


/*
 * Records of deletions of which nothing is left.
 */
CREATE FUNCTION deletion_guard.fold_deletions(older_than interval = '90 days') RETURNS bigint
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_fold_deletions';
REVOKE EXECUTE ON FUNCTION deletion_guard.fold_deletions FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.fold_deletions IS
	'removes the records of deletions that are older than this and of which every row was restored or purged and no link is lost: by whom and by what statement they were is known no more. Their counts stay in deletion_history, what was done with them in the ledger. Records of tables that were dropped with their rows stay. Returns how many deletions. For a job, say every night; a purge that is under way at the same time waits. status counts the deletions of the last day only as far as they have a record. Fails with 22023 if older_than is negative';

CREATE VIEW deletion_guard.deletion_history AS
	SELECT f.day, f.tenant,
		   sum(f.deletions)::bigint AS deletions,
		   sum(f.rows)::bigint AS rows,
		   sum(f.restored)::bigint AS restored,
		   sum(f.purged)::bigint AS purged
	FROM deletion_guard.folded_deletion f
	GROUP BY f.day, f.tenant;
COMMENT ON VIEW deletion_guard.deletion_history IS
	'deletions whose records fold_deletions() has removed, counted by day and tenant; those that have a record are in the view deletion';
COMMENT ON COLUMN deletion_guard.deletion_history.day IS 'day of the deletions, in UTC';
COMMENT ON COLUMN deletion_guard.deletion_history.tenant IS 'tenant''s key; null for rows without one, a digest in its place once nothing of the tenant was left';
COMMENT ON COLUMN deletion_guard.deletion_history.deletions IS 'deletions with rows of this tenant; one with rows of several tenants counts for each';
COMMENT ON COLUMN deletion_guard.deletion_history.rows IS 'rows that they removed';
COMMENT ON COLUMN deletion_guard.deletion_history.restored IS 'of these, rows that came back';
COMMENT ON COLUMN deletion_guard.deletion_history.purged IS 'of these, rows that are gone for good';

/*
 * For rows whose table was dropped.
 */
CREATE FUNCTION deletion_guard.adopt_bin(bin_table regclass, target regclass) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_adopt_bin';
REVOKE EXECUTE ON FUNCTION deletion_guard.adopt_bin FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.adopt_bin IS
	'gives the rows of a bin whose table was dropped, and the links that rows of it had lost, to the table that has taken its place: undelete, deleted_rows and purges find them there; for the owner of the extension; SHARE ROW EXCLUSIVE lock on the bin. Fails with 42809 for what is no bin, 55000 for one whose table is there';
/*
 * The ledger: what was done, as a chain of hashes.
 *
 * Entries are numbered without gaps and each carries the hash of the one
 * before, so that no entry can be changed, removed, inserted or moved without
 * verify_ledger() noticing. An entry's hash is the SHA-256 of its members as
 * described in src/ledger/ledger.c; anyone with a copy of the table can recompute it.
 * Entries hold no personal data: ids, counts, digests, names of tables and of
 * roles.
 */
CREATE TABLE deletion_guard.ledger
(
	id bigint PRIMARY KEY,
	at timestamptz NOT NULL,
	event text NOT NULL,
	role text NOT NULL,
	details text NOT NULL,				-- JSON, exactly as it was hashed
	prev_hash bytea NOT NULL,
	hash bytea NOT NULL
) USING heap;

-- Since when this installation has made entries of its own; at most one row.
-- Not dumped: a restored database has made none yet.
CREATE TABLE deletion_guard.installation
(
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	live_since timestamptz NOT NULL
) USING heap;

SELECT pg_catalog.pg_extension_config_dump('deletion_guard.ledger', '');

CREATE FUNCTION deletion_guard.verify_ledger(head_entry bigint = NULL, head_hash text = NULL,
											 OUT ok boolean, OUT entries bigint, OUT problem text)
RETURNS record
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_verify_ledger';

CREATE FUNCTION deletion_guard.ledger_head(OUT entry bigint, OUT at timestamptz, OUT hash text)
RETURNS record
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_ledger_head';

REVOKE EXECUTE ON FUNCTION deletion_guard.verify_ledger(bigint, text),
	deletion_guard.ledger_head() FROM PUBLIC;

COMMENT ON TABLE deletion_guard.installation IS 'since when the ledger has entries that were not restored';
COMMENT ON TABLE deletion_guard.ledger IS 'hash-chained record of what was done; a transaction''s own entries are there once it has committed, or has called purge() or verify_ledger()';
COMMENT ON COLUMN deletion_guard.ledger.id IS 'number of the entry; without gaps';
COMMENT ON COLUMN deletion_guard.ledger.at IS 'when';
COMMENT ON COLUMN deletion_guard.ledger.event IS 'what was done';
COMMENT ON COLUMN deletion_guard.ledger.role IS 'role that had logged in';
COMMENT ON COLUMN deletion_guard.ledger.details IS 'JSON, exactly as it was hashed';
COMMENT ON COLUMN deletion_guard.ledger.prev_hash IS 'hash of the entry before';
COMMENT ON COLUMN deletion_guard.ledger.hash IS 'SHA-256 of this entry and prev_hash';
COMMENT ON FUNCTION deletion_guard.verify_ledger(bigint, text) IS
	'recomputes the chain of hashes: ok, or in problem the first entry that was changed, removed, inserted or moved, or the authority, hold, request or purge that has none. Given a head kept elsewhere (see ledger_head()), also finds a chain that was cut short or rewritten. Reads the whole ledger';
COMMENT ON FUNCTION deletion_guard.ledger_head() IS
	'the last entry and its hash (SHA-256, hex), for keeping elsewhere; nulls while the ledger is empty';

/*
 * Authorities: the parties whose signed tokens purge() accepts.
 *
 * The database knows public keys only. A name or a key that was ever enrolled
 * is never enrolled again, so that a token keeps meaning what it meant.
 */
CREATE TABLE deletion_guard.authority
(
	name text COLLATE "C" PRIMARY KEY,
	algorithm text NOT NULL,
	public_key text NOT NULL,			-- PEM, SubjectPublicKeyInfo
	fingerprint text COLLATE "C" NOT NULL UNIQUE,	-- SHA-256 of its DER form, hex
	enrolled_at timestamptz NOT NULL,
	enrolled_by text NOT NULL,
	retired_at timestamptz,
	retired_by text,
	ledger_id bigint NOT NULL			-- of its last entry
) USING heap;

-- How many authorities must agree at least; at most one row.
CREATE TABLE deletion_guard.approval_policy
(
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	approvals integer NOT NULL CHECK (approvals > 0)
) USING heap;

-- Tokens that were used. Kept for ever: a token must not come back to life with
-- a clock that goes backwards.
CREATE TABLE deletion_guard.used_token
(
	authority text COLLATE "C",
	jti text COLLATE "C",
	act text NOT NULL,
	used_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	ledger_id bigint NOT NULL,
	PRIMARY KEY (authority, jti)
) USING heap;

SELECT pg_catalog.pg_extension_config_dump('deletion_guard.authority', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.approval_policy', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.used_token', '');

CREATE FUNCTION deletion_guard.audience() RETURNS text
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'dg_audience';

CREATE FUNCTION deletion_guard.claims(act text, object text, reason text = NULL, public_key text = NULL)
RETURNS jsonb
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'dg_claims';

CREATE FUNCTION deletion_guard.add_authority(name text, public_key text, VARIADIC tokens text[] = '{}')
RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_add_authority';

CREATE FUNCTION deletion_guard.retire_authority(name text, VARIADIC tokens text[] = '{}')
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_retire_authority';

CREATE FUNCTION deletion_guard.set_approvals(approvals integer, VARIADIC tokens text[] = '{}')
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_set_approvals';

CREATE FUNCTION deletion_guard.allow_drop(VARIADIC tokens text[] = '{}') RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_allow_drop';

CREATE FUNCTION deletion_guard.authority_source(OUT source text, OUT active bigint, OUT problem text)
RETURNS record
LANGUAGE C STABLE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_authority_source';

CREATE FUNCTION deletion_guard.key_fingerprint(public_key text) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'dg_key_fingerprint';

CREATE FUNCTION deletion_guard.check_token(token text, OUT ok boolean, OUT problem text, OUT claims jsonb)
RETURNS record
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_check_token';

REVOKE EXECUTE ON FUNCTION deletion_guard.audience(),
	deletion_guard.claims(text, text, text, text),
	deletion_guard.add_authority(text, text, text[]),
	deletion_guard.retire_authority(text, text[]),
	deletion_guard.set_approvals(integer, text[]),
	deletion_guard.allow_drop(text[]),
	deletion_guard.authority_source(),
	deletion_guard.key_fingerprint(text),
	deletion_guard.check_token(text) FROM PUBLIC;

COMMENT ON TABLE deletion_guard.authority IS 'authorities whose tokens are accepted, and those retired';
COMMENT ON COLUMN deletion_guard.authority.name IS 'name, which the token gives as kid';
COMMENT ON COLUMN deletion_guard.authority.algorithm IS 'EdDSA or ES256';
COMMENT ON COLUMN deletion_guard.authority.public_key IS 'public key, PEM';
COMMENT ON COLUMN deletion_guard.authority.fingerprint IS 'SHA-256 of the key in DER, in hexadecimal';
COMMENT ON COLUMN deletion_guard.authority.enrolled_at IS 'when';
COMMENT ON COLUMN deletion_guard.authority.enrolled_by IS 'role that enrolled it';
COMMENT ON COLUMN deletion_guard.authority.retired_at IS 'since when no token of it counts; null: it is active';
COMMENT ON COLUMN deletion_guard.authority.retired_by IS 'role that retired it';
COMMENT ON COLUMN deletion_guard.authority.ledger_id IS 'last entry about it in the ledger';
COMMENT ON TABLE deletion_guard.approval_policy IS 'how many authorities must agree at least';
COMMENT ON TABLE deletion_guard.used_token IS 'tokens that were used, each of them once';
COMMENT ON FUNCTION deletion_guard.audience() IS
	'what the claim "aud" of a token for this database must say';
COMMENT ON FUNCTION deletion_guard.claims(text, text, text, text) IS
	'the claims to sign for an act that is no purge, as JSON: claims(''annul_purge'', purge id), (''release_hold'', hold id), (''unguard'', table, or ''extension deletion_guard''), (''retire_authority'', name), (''add_authority'', name, public_key => key), (''set_approvals'', number). Whether the act is possible is asked when the token comes. Those of a purge are what request_purge() returns';
COMMENT ON FUNCTION deletion_guard.add_authority(text, text, text[]) IS
	'enrols the public key (PEM or JWK; Ed25519 or P-256) of a party whose tokens are accepted; returns the key''s fingerprint. The first one takes the owner of the extension, each later one tokens for the act "add_authority". Names and keys are never enrolled twice (42710). Waits for purges that are under way. Fails with TG02C for a key it cannot read, TG02x for a token, TG035 for too few, 55000 where deletion_guard.authorities_file is set';
COMMENT ON FUNCTION deletion_guard.retire_authority(text, text[]) IS
	'accepts no more tokens of an authority, for ever; takes tokens for the act "retire_authority". Waits for purges that are under way. Fails with 42704 if there is none, TG038 for the last one, otherwise as add_authority()';
COMMENT ON FUNCTION deletion_guard.set_approvals(integer, text[]) IS
	'how many distinct authorities, 1 to 16, a purge needs at least. Raising it takes the owner of the extension, lowering it tokens for the act "set_approvals"';
COMMENT ON FUNCTION deletion_guard.allow_drop(text[]) IS
	'lets this transaction drop the extension, or tables of the bin, where deletion_guard.locked is set; takes tokens for the act "unguard" of "extension deletion_guard"';
COMMENT ON FUNCTION deletion_guard.authority_source() IS
	'where the authorities that count come from (the registry, or deletion_guard.authorities_file), how many are active, and what is wrong with the file, if anything';
COMMENT ON FUNCTION deletion_guard.key_fingerprint(text) IS
	'SHA-256, in hex, of a public key (PEM or JWK) in its canonical form, as a token for add_authority() names it. Fails with TG02C for a key it cannot read';
COMMENT ON FUNCTION deletion_guard.check_token(text) IS
	'would this token be accepted now? If not, problem says why. For purges also looks at the request, the tenant, holds and retention; changes nothing, and the token can still be used';

/*
 * Purging: requests, holds, and what was purged.
 *
 * A request says what shall go and is reviewed; authorities sign its claims;
 * purge() removes exactly that from the bin, or nothing.
 */

-- What was asked for. The tenant's name and the reason are blanked once nothing
-- of the tenant is left in the bin, and its key is replaced by a digest if it is
-- not live either (src/purge/purge_forget.c).
CREATE TABLE deletion_guard.purge_request_record
(
	request_id bigint PRIMARY KEY,
	tenant text COLLATE "C",			-- NULL: rows without a tenant, or of many
	tenant_name text,
	reason text,
	relations regclass[],				-- NULL: every table
	deleted_before timestamptz NOT NULL,
	requested_at timestamptz NOT NULL,
	requested_by text NOT NULL,
	rows bigint NOT NULL,
	digest bytea NOT NULL,				-- of the plan, see src/purge/purge_plan.c
	state text NOT NULL CHECK (state IN ('open', 'withdrawn', 'purged')),
	closed_at timestamptz,
	closed_by text,
	tenants bigint,						-- of a request by age; NULL: any other
	deletion_ids bigint[],				-- NULL: every deletion
	keys jsonb							-- of some rows only, until it is closed; NULL: all rows
) USING heap;
CREATE INDEX purge_request_record_tenant_idx ON deletion_guard.purge_request_record USING hash (tenant); -- may be long
CREATE SEQUENCE deletion_guard.purge_request_id_seq CYCLE OWNED BY deletion_guard.purge_request_record.request_id;

-- The plan as it was reviewed.
CREATE TABLE deletion_guard.purge_request_part
(
	request_id bigint,
	deletion_id bigint,
	part integer,
	relation_name text NOT NULL,
	rows bigint NOT NULL,
	PRIMARY KEY (request_id, deletion_id, part)
) USING heap;

-- Purges. The tenant is remembered as a digest with the purge's own salt.
CREATE TABLE deletion_guard.purge_record
(
	purge_id bigint PRIMARY KEY,
	request_id bigint NOT NULL,
	purged_at timestamptz NOT NULL,
	purged_by text NOT NULL,
	state text NOT NULL CHECK (state IN ('begun', 'purged', 'annulled')),
	rows bigint NOT NULL,				-- planned; removed once it is purged
	salt bytea NOT NULL,
	tenant_digest bytea NOT NULL,
	certificate text,					-- as in the ledger
	ledger_id bigint,
	annulled_at timestamptz,
	annulled_by text,
	annulled_ledger_id bigint
) USING heap;
CREATE SEQUENCE deletion_guard.purge_id_seq CYCLE OWNED BY deletion_guard.purge_record.purge_id;

-- Per purge and table: how many rows, the sum of their digests, and which
-- columns the digests of keys are made of.
CREATE TABLE deletion_guard.purge_table
(
	purge_id bigint,
	table_no integer,
	relation_name text NOT NULL,
	key_columns name[] NOT NULL,
	rows bigint NOT NULL,
	digest bytea NOT NULL,
	PRIMARY KEY (purge_id, table_no)
) USING heap;

-- The purged rows' keys as salted digests of 16 bytes, many to a row: enough to
-- know a row again that a backup still has, not enough to tell what it was.
CREATE TABLE deletion_guard.purged_key
(
	purge_id bigint,
	table_no integer,
	chunk integer,
	digests bytea NOT NULL,
	tenant_digest bytea,				-- whose they are, of a purge of many; as in purge_record
	PRIMARY KEY (purge_id, table_no, chunk)
) USING heap;
ALTER TABLE deletion_guard.purged_key ALTER digests SET STORAGE EXTERNAL;

-- What was refused, each kind once: "request_id" 0 and "authority" '' where none
-- is known. The ledger tells of each kind once a day at most.
CREATE TABLE deletion_guard.refusal
(
	act text COLLATE "C",
	reason text COLLATE "C",
	request_id bigint,
	authority text COLLATE "C",
	first_at timestamptz NOT NULL,
	last_at timestamptz NOT NULL,
	last_by text NOT NULL,
	count bigint NOT NULL,
	recorded_at timestamptz,			-- in the ledger
	PRIMARY KEY (act, reason, request_id, authority)
) USING heap;

-- While a hold is not released, nothing of its tenant is purged.
CREATE TABLE deletion_guard.hold
(
	hold_id bigint PRIMARY KEY,
	tenant text COLLATE "C" NOT NULL,
	reason text,
	held_at timestamptz NOT NULL,
	held_by text NOT NULL,
	released_at timestamptz,
	released_by text
) USING heap;
-- Keys may be too long for a B-tree.
CREATE INDEX hold_tenant_idx ON deletion_guard.hold USING hash (tenant);
CREATE SEQUENCE deletion_guard.hold_id_seq CYCLE OWNED BY deletion_guard.hold.hold_id;

SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purge_request_record', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purge_request_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purge_request_part', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purge_record', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purge_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purge_table', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purged_key', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.refusal', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.hold', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.hold_id_seq', '');

-- "keys" has a default of its own: null, as of a variable that was not set, does not mean
-- all rows.
CREATE FUNCTION deletion_guard.request_purge(tenant text, reason text, relations regclass[] = NULL,
											 deleted_before timestamptz = now(), deletions bigint[] = NULL,
											 keys jsonb = '"all"')
RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_request_purge';

CREATE FUNCTION deletion_guard.request_purge_without_tenant(relations regclass[], reason text,
															deleted_before timestamptz = now())
RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_request_purge_without_tenant';

CREATE FUNCTION deletion_guard.request_purge_by_age(relations regclass[], reason text,
													deleted_before timestamptz = now())
RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_request_purge_by_age';

CREATE FUNCTION deletion_guard.withdraw_purge(request_id bigint)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_withdraw_purge';

CREATE FUNCTION deletion_guard.purge(VARIADIC tokens text[])
RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_purge';

CREATE FUNCTION deletion_guard.annul_purge(purge_id bigint, VARIADIC tokens text[] = '{}')
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_annul_purge';

CREATE FUNCTION deletion_guard.hold_tenant(tenant text, reason text)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_hold_tenant';

CREATE FUNCTION deletion_guard.release_hold(hold_id bigint, VARIADIC tokens text[] = '{}')
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_release_hold';

CREATE FUNCTION deletion_guard.purge_certificate(purge_id bigint)
RETURNS jsonb
LANGUAGE C STABLE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_purge_certificate';

CREATE FUNCTION deletion_guard.verify_certificate(certificate jsonb, OUT ok boolean, OUT problem text)
RETURNS record
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_verify_certificate';

CREATE FUNCTION deletion_guard.purge_of(row_value "any") RETURNS bigint
LANGUAGE C STABLE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_purge_of';

-- What a request would remove, part by part, as reviewed and as it is now. A
-- deletion may have a million parts, of which one of the first has its record:
-- looking at them in order finds it at once.
CREATE VIEW deletion_guard.purge_request_detail AS
SELECT q.request_id, q.deletion_id, d.deleted_at, q.relation_name AS relation,
	p.tenant, p.tenant_name, q.rows AS rows_reviewed,
	CASE WHEN (SELECT r.keys IS NULL FROM deletion_guard.purge_request_record r WHERE r.request_id = q.request_id)
		THEN coalesce(p.rows - p.restored - p.purged, 0) END AS rows_now,
	d.purge_not_before AS due_at, coalesce(d.purge_not_before <= now(), false) AS due
FROM deletion_guard.purge_request_part q
LEFT JOIN deletion_guard.deletion_part p ON p.deletion_id = q.deletion_id AND p.part = q.part
LEFT JOIN LATERAL (SELECT r.deleted_at, r.purge_not_before FROM deletion_guard.deletion_part r
				   WHERE r.deletion_id = q.deletion_id AND r.deleted_at IS NOT NULL
				   ORDER BY r.part LIMIT 1) d ON true;

CREATE VIEW deletion_guard.purge_request AS
SELECT r.request_id, r.state, r.tenant, r.tenant_name, r.reason, r.requested_at, r.requested_by,
	r.relations, r.deleted_before, r.rows, t.tables, t.deletions, t.due_at,
	EXISTS (SELECT FROM deletion_guard.hold h
			WHERE h.released_at IS NULL AND deletion_guard_internal.same_tenant(h.tenant, r.tenant)) AS on_hold,
	encode(r.digest, 'hex') AS digest, r.closed_at, r.closed_by,
	(SELECT p.purge_id FROM deletion_guard.purge_record p WHERE p.request_id = r.request_id) AS purge_id,
	r.tenants, r.deletion_ids, r.keys
FROM deletion_guard.purge_request_record r,
	LATERAL (SELECT count(DISTINCT q.relation_name) AS tables, count(DISTINCT q.deletion_id) AS deletions,
					max(d.purge_not_before) AS due_at
			 FROM deletion_guard.purge_request_part q
			 LEFT JOIN LATERAL (SELECT e.purge_not_before FROM deletion_guard.deletion_part e
								WHERE e.deletion_id = q.deletion_id AND e.deleted_at IS NOT NULL
								ORDER BY e.part LIMIT 1) d ON true
			 WHERE q.request_id = r.request_id) AS t;

-- The same for one request, for roles that may call this and not read the views.
CREATE FUNCTION deletion_guard.purge_plan(request_id bigint)
RETURNS TABLE (relation text, deletion_id bigint, deleted_at timestamptz, tenant_name text,
			   rows_reviewed bigint, rows_now bigint, due_at timestamptz, due boolean, on_hold boolean)
LANGUAGE sql STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
SELECT d.relation, d.deletion_id, d.deleted_at, d.tenant_name, d.rows_reviewed, d.rows_now,
	d.due_at, d.due,
	EXISTS (SELECT FROM deletion_guard.purge_request_record r
			JOIN deletion_guard.hold h ON h.released_at IS NULL AND deletion_guard_internal.same_tenant(h.tenant, r.tenant)
			WHERE r.request_id = $1)
FROM deletion_guard.purge_request_detail d
WHERE d.request_id = $1
ORDER BY d.deletion_id, d.relation
$$;

REVOKE EXECUTE ON FUNCTION
	deletion_guard.request_purge(text, text, regclass[], timestamptz, bigint[], jsonb),
	deletion_guard.request_purge_without_tenant(regclass[], text, timestamptz),
	deletion_guard.request_purge_by_age(regclass[], text, timestamptz),
	deletion_guard.withdraw_purge(bigint),
	deletion_guard.purge(text[]),
	deletion_guard.annul_purge(bigint, text[]),
	deletion_guard.hold_tenant(text, text),
	deletion_guard.release_hold(bigint, text[]),
	deletion_guard.purge_certificate(bigint),
	deletion_guard.verify_certificate(jsonb),
	deletion_guard.purge_of("any"),
	deletion_guard.purge_plan(bigint) FROM PUBLIC;

COMMENT ON TABLE deletion_guard.purge_request_record IS 'requests to purge; see the view purge_request';
COMMENT ON SEQUENCE deletion_guard.purge_request_id_seq IS 'ids of requests';
COMMENT ON TABLE deletion_guard.purge_request_part IS 'what was reviewed; see the view purge_request_detail';
COMMENT ON TABLE deletion_guard.purge_record IS 'purges, without personal data';
COMMENT ON SEQUENCE deletion_guard.purge_id_seq IS 'ids of purges';
COMMENT ON TABLE deletion_guard.purge_table IS 'purges by table';
COMMENT ON TABLE deletion_guard.purged_key IS 'salted digests of purged rows'' keys, which a rehydration subtracts';
COMMENT ON TABLE deletion_guard.refusal IS 'purges and other acts that were refused, and deletions that ran into a ceiling: why, how often, when, and in whose session last';
COMMENT ON COLUMN deletion_guard.refusal.act IS 'what was refused: purge, release_hold, delete and so on';
COMMENT ON COLUMN deletion_guard.refusal.reason IS 'why, in one word';
COMMENT ON COLUMN deletion_guard.refusal.request_id IS 'request to purge; 0: none';
COMMENT ON COLUMN deletion_guard.refusal.authority IS 'authority that the token names; empty: none known';
COMMENT ON COLUMN deletion_guard.refusal.first_at IS 'when first';
COMMENT ON COLUMN deletion_guard.refusal.last_at IS 'when last';
COMMENT ON COLUMN deletion_guard.refusal.last_by IS 'role that had logged in, last';
COMMENT ON COLUMN deletion_guard.refusal.count IS 'how often';
COMMENT ON COLUMN deletion_guard.refusal.recorded_at IS 'when the ledger was last told';
COMMENT ON TABLE deletion_guard.hold IS 'tenants of whom nothing may be purged, until released';
COMMENT ON COLUMN deletion_guard.hold.hold_id IS 'number, for release_hold()';
COMMENT ON COLUMN deletion_guard.hold.tenant IS 'tenant''s key';
COMMENT ON COLUMN deletion_guard.hold.reason IS 'why';
COMMENT ON COLUMN deletion_guard.hold.held_at IS 'since when';
COMMENT ON COLUMN deletion_guard.hold.held_by IS 'role that asked for it';
COMMENT ON COLUMN deletion_guard.hold.released_at IS 'until when; null: it is in force';
COMMENT ON COLUMN deletion_guard.hold.released_by IS 'role that released it';
COMMENT ON SEQUENCE deletion_guard.hold_id_seq IS 'ids of holds';
COMMENT ON VIEW deletion_guard.purge_request IS 'requests to purge, open and closed';
COMMENT ON COLUMN deletion_guard.purge_request.request_id IS 'number of the request';
COMMENT ON COLUMN deletion_guard.purge_request.state IS 'open, withdrawn or purged';
COMMENT ON COLUMN deletion_guard.purge_request.tenant IS 'tenant''s key, or a pseudonym once nothing is left of the tenant; null: rows without a tenant, or of many';
COMMENT ON COLUMN deletion_guard.purge_request.tenant_name IS 'tenant''s name when it was requested';
COMMENT ON COLUMN deletion_guard.purge_request.reason IS 'why, as the token must say; null once a purge has removed it';
COMMENT ON COLUMN deletion_guard.purge_request.requested_at IS 'when';
COMMENT ON COLUMN deletion_guard.purge_request.requested_by IS 'role that requested it';
COMMENT ON COLUMN deletion_guard.purge_request.relations IS 'tables it is for; null: all';
COMMENT ON COLUMN deletion_guard.purge_request.deleted_before IS 'only rows deleted before this time';
COMMENT ON COLUMN deletion_guard.purge_request.rows IS 'rows reviewed';
COMMENT ON COLUMN deletion_guard.purge_request.tables IS 'tables they are of';
COMMENT ON COLUMN deletion_guard.purge_request.deletions IS 'deletions they are of';
COMMENT ON COLUMN deletion_guard.purge_request.due_at IS 'when all of them may be purged; infinity: never';
COMMENT ON COLUMN deletion_guard.purge_request.on_hold IS 'does a hold forbid it now?';
COMMENT ON COLUMN deletion_guard.purge_request.digest IS 'SHA-256 of what was reviewed, in hexadecimal, as the token must say';
COMMENT ON COLUMN deletion_guard.purge_request.closed_at IS 'when it was closed';
COMMENT ON COLUMN deletion_guard.purge_request.closed_by IS 'role that closed it';
COMMENT ON COLUMN deletion_guard.purge_request.purge_id IS 'the purge that carried it out';
COMMENT ON COLUMN deletion_guard.purge_request.tenants IS 'tenants that a request by age covers; null for any other';
COMMENT ON COLUMN deletion_guard.purge_request.deletion_ids IS 'deletions it is for; null: all';
COMMENT ON COLUMN deletion_guard.purge_request.keys IS 'rows it is for, until it is closed; null: all';
COMMENT ON VIEW deletion_guard.purge_request_detail IS 'what each request would remove, as reviewed and now';
COMMENT ON COLUMN deletion_guard.purge_request_detail.request_id IS 'number of the request';
COMMENT ON COLUMN deletion_guard.purge_request_detail.deletion_id IS 'deletion that the rows are of';
COMMENT ON COLUMN deletion_guard.purge_request_detail.deleted_at IS 'when they were deleted';
COMMENT ON COLUMN deletion_guard.purge_request_detail.relation IS 'table they were in';
COMMENT ON COLUMN deletion_guard.purge_request_detail.tenant IS 'tenant''s key';
COMMENT ON COLUMN deletion_guard.purge_request_detail.tenant_name IS 'tenant''s name';
COMMENT ON COLUMN deletion_guard.purge_request_detail.rows_reviewed IS 'rows in the bin when it was requested';
COMMENT ON COLUMN deletion_guard.purge_request_detail.rows_now IS 'rows in the bin now; null for a request with keys, which check_token() counts anew';
COMMENT ON COLUMN deletion_guard.purge_request_detail.due_at IS 'when they may be purged at the earliest; infinity: never';
COMMENT ON COLUMN deletion_guard.purge_request_detail.due IS 'may they be purged by now?';
COMMENT ON FUNCTION deletion_guard.request_purge(text, text, regclass[], timestamptz, bigint[], jsonb) IS
	'asks for the purge of what the bin has of a tenant, from these tables (null: all), deleted before this time, by these deletions (null: all). keys chooses rows, as somebody of the tenant asks to be erased: {"public.person": [{"id": 7}], "public.note": [{"person_id": 7}]}, each object standing for all rows with its values. Returns the claims to sign, as JSON; removes nothing. Excludes undelete, rehydrate and purge of the tenant until the transaction ends. Fails with TG036 if the bin has nothing of it, or not all that was chosen, TG030 if the tenant is not known, TG039 if rows chosen are live, or rows in the bin that were not chosen refer to them';
COMMENT ON FUNCTION deletion_guard.request_purge_without_tenant(regclass[], text, timestamptz) IS
	'asks for the purge of rows of these tables that belong to no tenant (a key that is null, or empty where the tenant table has no such tenant, or a table without a tenant source); a table that is gone is named by its table in the bin. Otherwise as request_purge()';
COMMENT ON FUNCTION deletion_guard.request_purge_by_age(regclass[], text, timestamptz) IS
	'asks for the purge of what these tables have in the bin that was deleted before this time and is due, of all tenants that are in the tenant table and not on hold; a tenant that was deleted, whose own row is in the bin, is purged by name only. Excludes undelete, rehydrate and purge of any tenant until the transaction ends. Otherwise as request_purge_without_tenant()';
COMMENT ON FUNCTION deletion_guard.withdraw_purge(bigint) IS
	'closes a request without a purge. Fails with TG031 if it is not open';
COMMENT ON FUNCTION deletion_guard.purge(text[]) IS
	'removes for good what authorities have approved with these tokens: all of it, or an error and nothing; returns the certificate. Excludes undelete, rehydrate and purge of the tenant, or of any tenant if it is by age, until the transaction ends. Fails with TG02x for a token, TG030 for another tenant, TG031 for no open request, TG032 if the bin is not what was reviewed, TG033 for a hold, TG034 before retention is over, TG035 for too few tokens; each refusal is counted in deletion_guard.refusal';
COMMENT ON FUNCTION deletion_guard.annul_purge(bigint, text[]) IS
	'declares a purge to have been wrong, so that rehydrate() may bring its rows back out of a backup; takes tokens for the act "annul_purge". Fails with 42704 if there is none, 55000 if it was annulled before, TG02x for a token, TG035 for too few';
COMMENT ON FUNCTION deletion_guard.hold_tenant(text, text) IS
	'forbids purging a tenant until the hold is released; returns its id. Waits for a purge of the tenant that is under way';
COMMENT ON FUNCTION deletion_guard.release_hold(bigint, text[]) IS
	'ends a hold; takes tokens for the act "release_hold". Fails with 42704 if there is none, 55000 if it was released before, TG02x for a token, TG035 for too few';
COMMENT ON FUNCTION deletion_guard.purge_certificate(bigint) IS
	'the certificate of a purge, as purge() returned it. Fails with 42704 if there is none, TG037 if the ledger does not have it';
COMMENT ON FUNCTION deletion_guard.verify_certificate(jsonb) IS
	'is this certificate what the ledger says? If not, problem says what is wrong';
COMMENT ON FUNCTION deletion_guard.purge_of("any") IS
	'the purge that removed a row with this key from this table: purge_of(i) for a row i of it, purge_of(''(42,...)''::public.issue) for one that is gone. Null if none did; annulled purges do not count';
COMMENT ON FUNCTION deletion_guard.purge_plan(bigint) IS
	'what a request would remove, by table and deletion: rows as reviewed and now (null for a request with keys), when it is due (retention), and whether the tenant is on hold';

/*
 * Scrubbing: getting the bytes of rows that are gone out of the files.
 */
-- What is to be scrubbed, and what was; not dumped.
CREATE TABLE deletion_guard.scrub_progress
(
	relation regclass PRIMARY KEY,
	step integer NOT NULL,
	queued_at timestamptz NOT NULL,
	phase text NOT NULL,				-- queued, vacuum, reindex, clean, done
	started_at timestamptz,
	ended_at timestamptz,
	total bigint,						-- pages, those of TOAST included
	pages bigint,						-- of them looked at
	cleaned bigint,						-- that had remains in their free space
	kept bigint,						-- dead versions that may still be needed
	problem text,
	rebuilding oid,						-- an index that is being rebuilt
	rebuilt_as oid						-- and the one that is made for it
) USING heap;

-- Invalid indexes that a scrub which was stopped has left, and all there are on
-- the extension's own tables. The next scrub removes them.
CREATE FUNCTION deletion_guard_internal.scrub_remains() RETURNS TABLE (relation regclass, index regclass)
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.oid, i.indexrelid
	FROM pg_index i
	JOIN pg_class c ON i.indrelid IN (c.oid, c.reltoastrelid)
	LEFT JOIN deletion_guard.scrub_progress p ON p.relation = c.oid
	WHERE NOT i.indisvalid AND c.relkind = 'r'
		AND (i.indexrelid IN (p.rebuilding, p.rebuilt_as) AND p.rebuilt_as IS NOT NULL
			OR c.relnamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_bin'::regnamespace))
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.scrub_remains FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.scrub_remains IS 'part of verify() and scrub(): invalid indexes that a scrub which was stopped has left';

CREATE FUNCTION deletion_guard.scrub(relation regclass = NULL, cost_delay double precision = NULL,
									 cost_limit integer = NULL, resume boolean = false) RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_scrub';

REVOKE EXECUTE ON FUNCTION deletion_guard.scrub(regclass, double precision, integer, boolean) FROM PUBLIC;

COMMENT ON TABLE deletion_guard.scrub_progress IS 'what scrub() has to do, is doing and has done';
COMMENT ON COLUMN deletion_guard.scrub_progress.relation IS 'table';
COMMENT ON COLUMN deletion_guard.scrub_progress.step IS 'place in the order';
COMMENT ON COLUMN deletion_guard.scrub_progress.queued_at IS 'when scrub() was called';
COMMENT ON COLUMN deletion_guard.scrub_progress.phase IS 'queued, vacuum, reindex, clean or done';
COMMENT ON COLUMN deletion_guard.scrub_progress.started_at IS 'when work on it began';
COMMENT ON COLUMN deletion_guard.scrub_progress.ended_at IS 'when it was done';
COMMENT ON COLUMN deletion_guard.scrub_progress.total IS 'pages to look at, those of TOAST included';
COMMENT ON COLUMN deletion_guard.scrub_progress.pages IS 'pages looked at';
COMMENT ON COLUMN deletion_guard.scrub_progress.cleaned IS 'of these, pages that had remains in their free space';
COMMENT ON COLUMN deletion_guard.scrub_progress.kept IS 'dead row versions that a snapshot may still need';
COMMENT ON COLUMN deletion_guard.scrub_progress.problem IS 'why it could not be done';
COMMENT ON COLUMN deletion_guard.scrub_progress.rebuilding IS 'index that is being rebuilt';
COMMENT ON COLUMN deletion_guard.scrub_progress.rebuilt_as IS 'index that takes its place';
COMMENT ON FUNCTION deletion_guard.scrub(regclass, double precision, integer, boolean) IS
	'has a background process remove what is left of deleted and purged rows from the files of one table (null: of guarded tables, the bin and the extension''s own), its indexes and statistics. Returns the number of tables at once, without waiting: see scrub_progress. Fails while another scrub is at work. Pauses like cost-based VACUUM, by default at autovacuum''s pace; resume goes on where a process that ended early has stopped. For the owner of the extension; locks as VACUUM and REINDEX CONCURRENTLY; what one that was stopped has left, the next removes. Not reached: WAL until recycled, standbys until they have replayed it, backups, logs';
/*
 * Extract: what an archive of pg_dump, or a running copy of the database, has of tenants.
 *
 * These may read files of the server: rehydrate.sql says who may call them.
 */

CREATE FUNCTION deletion_guard.archive_contents(archive text,
		OUT relation text, OUT columns name[], OUT format text, OUT compression text,
		OUT data_bytes bigint, OUT live_relation regclass, OUT tenant_source text, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_archive_contents';
REVOKE EXECUTE ON FUNCTION deletion_guard.archive_contents FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.archive_contents TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.archive_contents IS
	'tables with rows in an archive of pg_dump on the server, or in a running copy of the database (''server:NAME'', a foreign server of postgres_fdw): their columns, format, compression and stored bytes, the live tables they belong to, how these tell their rows'' tenants, and in problem why the rows of a table cannot be read, such as a file that is missing. Takes membership in pg_read_server_files or, for a copy, USAGE on the server and a user mapping. Fails with TG04x for an archive it cannot read';

CREATE FUNCTION deletion_guard_internal.archive_inflater() RETURNS text
	LANGUAGE C STABLE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_archive_inflater';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.archive_inflater FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.archive_inflater IS
	'the library that decompresses gzip in archives, as deletion_guard was built: ISA-L or zlib. verify() shows it';

CREATE FUNCTION deletion_guard.archive_tenants(archive text,
		OUT tenant text, OUT tenant_name text, OUT contact text, OUT rows bigint,
		OUT live bigint, OUT in_bin bigint, OUT purged bigint) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_archive_tenants';
REVOKE EXECUTE ON FUNCTION deletion_guard.archive_tenants FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.archive_tenants TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.archive_tenants IS
	'tenants that an archive has rows of, in the order of their keys: name and contact as the archive has them, how many rows the archive has, how many are live in the same tables, in the bin, and purged. Rows of no tenant are not counted, nor rows of which nothing tells the tenant. One pass over the archive, and one over each of the live tables. Takes membership in pg_read_server_files and SELECT on the tables; live rows that row security hides from the caller are not counted';
/*
 * Compare: tenants' rows in an archive, or in a running copy, against the live ones.
 *
 * These may read files of the server: rehydrate.sql says who may call them.
 */

CREATE FUNCTION deletion_guard.compare_tenant(tenant text, archive text, mapping jsonb = NULL,
		OUT relation regclass, OUT archive_rows bigint, OUT live_rows bigint,
		OUT only_in_archive bigint, OUT only_live bigint, OUT different bigint, OUT purged bigint,
		OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_compare_tenant';
REVOKE EXECUTE ON FUNCTION deletion_guard.compare_tenant FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.compare_tenant TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.compare_tenant IS
	'compares a tenant''s rows in an archive of pg_dump on the server, or in a running copy (''server:NAME''), with the live ones, by primary key and content: counts by table; rows that are gone because they were purged count as purged; rows that have lost links to ON DELETE SET NULL or SET DEFAULT are compared as they were with them, and counted in problem; problem names columns that are not compared as only one side has them, and tables and rows of the archive that were not compared, in lines without counts. Takes membership in pg_read_server_files or, for a copy, USAGE on the server and a user mapping and SELECT on the tables; live rows that row security hides from the caller are not counted, and problem says so. ACCESS SHARE lock on them';

CREATE FUNCTION deletion_guard.compare_tenants(tenants text[], archive text, mapping jsonb = NULL,
		OUT relation regclass, OUT tenant text, OUT archive_rows bigint, OUT live_rows bigint,
		OUT only_in_archive bigint, OUT only_live bigint, OUT different bigint, OUT purged bigint,
		OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_compare_tenants';
REVOKE EXECUTE ON FUNCTION deletion_guard.compare_tenants FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.compare_tenants TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.compare_tenants IS
	'compare_tenant() for several tenants, in one pass over the archive';

CREATE FUNCTION deletion_guard.compare_rows(tenant text, archive text, relations regclass[] = NULL, mapping jsonb = NULL,
		max_rows bigint = 1000,
		OUT relation regclass, OUT key jsonb, OUT what text, OUT columns name[],
		OUT archive_row jsonb, OUT live_row jsonb, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_compare_rows';
REVOKE EXECUTE ON FUNCTION deletion_guard.compare_rows FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.compare_rows TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.compare_rows IS
	'compares a tenant''s rows in an archive of pg_dump on the server with the live ones, as compare_tenant() does, and shows each row that differs, in the order of the key. what: missing (the archive has it), extra (live only), different (columns says in which), purged (missing on purpose). A table without a primary key has no key; its rows are missing or extra, by their content. Where max_rows cuts the list, a line "more" for each table says how many differ besides; null is no limit, 0 counts only. Lines "not compared" have in problem what could not be compared; without any line, both sides are the same. Privileges and locks as for compare_tenant()';
/*
 * Rehydrate: tenants' rows out of archives of pg_dump, or out of a running copy of
 * the database.
 *
 * These may read files of the server: beside the right to call them, which comes
 * with pg_read_server_files, the code checks that membership. For 'server:NAME' it
 * checks USAGE on the foreign server and the caller's user mapping instead.
 */

-- Tenants that a run is done with.
CREATE TABLE deletion_guard.rehydration_record
(
	run text COLLATE "C" NOT NULL,
	tenant text COLLATE "C" NOT NULL,
	archive text NOT NULL,
	rows bigint NOT NULL,
	finished_at timestamptz NOT NULL,
	problem text,
	relations regclass[]				-- NULL: every table
) USING heap;
-- Keys may be too long for a B-tree; that there is one row is the tenant's lock's to see to.
CREATE INDEX rehydration_record_tenant_idx ON deletion_guard.rehydration_record USING hash (tenant);
COMMENT ON TABLE deletion_guard.rehydration_record IS
	'tenants that were rehydrated under the name of a run, so that it can be taken up again';
COMMENT ON COLUMN deletion_guard.rehydration_record.run IS 'name of the run, as given to rehydrate_each()';
COMMENT ON COLUMN deletion_guard.rehydration_record.tenant IS 'tenant''s key';
COMMENT ON COLUMN deletion_guard.rehydration_record.archive IS 'archive';
COMMENT ON COLUMN deletion_guard.rehydration_record.rows IS 'rows restored';
COMMENT ON COLUMN deletion_guard.rehydration_record.finished_at IS 'when';
COMMENT ON COLUMN deletion_guard.rehydration_record.problem IS 'what rehydrate() said of the tenant';
COMMENT ON COLUMN deletion_guard.rehydration_record.relations IS 'tables that were asked for; null: all';

-- What drills have found.
CREATE TABLE deletion_guard.drill_result
(
	drill_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	archive text NOT NULL,
	drilled_at timestamptz NOT NULL,
	tenant text NOT NULL,
	rows bigint NOT NULL,
	seconds numeric NOT NULL,
	matches boolean NOT NULL,
	problem text
) USING heap;
COMMENT ON TABLE deletion_guard.drill_result IS 'results of drill()';
COMMENT ON COLUMN deletion_guard.drill_result.drill_id IS 'number';
COMMENT ON COLUMN deletion_guard.drill_result.archive IS 'archive';
COMMENT ON COLUMN deletion_guard.drill_result.drilled_at IS 'when';
COMMENT ON COLUMN deletion_guard.drill_result.tenant IS 'tenant''s key';
COMMENT ON COLUMN deletion_guard.drill_result.rows IS 'rows restored and compared';
COMMENT ON COLUMN deletion_guard.drill_result.seconds IS 'how long that took, in seconds';
COMMENT ON COLUMN deletion_guard.drill_result.matches IS 'was what came back what the archive has?';
COMMENT ON COLUMN deletion_guard.drill_result.problem IS 'if not, why';

SELECT pg_catalog.pg_extension_config_dump('deletion_guard.rehydration_record', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.drill_result', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.drill_result_drill_id_seq', '');

CREATE FUNCTION deletion_guard.rehydrate(tenant text, archive text, relations regclass[] = NULL,
		on_conflict text = 'error', into_schema name = NULL, dry_run boolean = false,
		with_referenced boolean = false, mapping jsonb = NULL, fire_triggers boolean = false,
		left_out text = 'error', extra text = 'keep', rows jsonb = NULL,
		as_tenant text = '', renumber boolean = false,
		OUT relation regclass, OUT tenant text, OUT found bigint, OUT restored bigint,
		OUT identical bigint, OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_rehydrate';
REVOKE EXECUTE ON FUNCTION deletion_guard.rehydrate(text, text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.rehydrate(text, text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.rehydrate(text, text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) IS
	'restores a tenant''s rows from an archive of pg_dump on the server or, with archive => ''server:NAME'', from a running copy of the database that a foreign server of postgres_fdw leads to, less those that were purged: all of them, or an error and nothing. relations: from these tables only. Rows of the tenants that the archive has and that have no place here, and rows whose tenant cannot be told, as their parents are neither in the archive nor live, make the call fail; with relations, or left_out => ''report'', they are left out and counted in problem. Tables of the archive of which nothing tells whose rows they have get a line each, and so do tables of tenants that it lacks. Rows of partitions that are gone go to the table that the archive says they were partitions of. Live rows that differ in links only that ON DELETE SET NULL or SET DEFAULT took count as identical and get the links back. on_conflict, dry_run: as for undelete(). into_schema: into copies of the tables in a new schema, which belong to the caller or, for a superuser, to the tables'' owners. with_referenced: also rows without a tenant, in whatever table, that they refer to and that are missing. mapping: {"old table": "new table"} or {"old table": {"relation": "new", "columns": {"old": "new", "gone": null, "owner": {"value": "3"}}}}, where null leaves a column out, or a table ("schema_migrations": null, of which nothing tells the tenant), and a value stands for what the rows had: they come back as another tenant''s, but are told, counted and reported as those of the tenant that the archive has them of. fire_triggers: row triggers of the application fire, except those with transition tables; statement triggers never do. rows: only these, as {"schema.table": [{"id": 7}, {"id": 9}]} with the keys that compare_rows() shows, and the tenants'' rows that they refer to and that are missing. extra => ''delete'': live rows of the tenants that the archive does not have go to the bin, as a deletion with its ceilings, which problem names; with on_conflict => ''replace'' the tenants are then exactly as they were, and undeleting that deletion with on_conflict => ''replace'' takes it back. No trigger of the application fires for them, nothing is cascaded, and if a row of another tenant, or one that the archive cannot tell anything of, refers to one of them, or it is not certain which rows the archive has, the call fails. as_tenant: the rows become another tenant''s: its key takes the place of the old one in columns that tell the tenant and in those that foreign keys connect with them. The tenant table''s row comes back under the new key; where that tenant exists, it stays out, and the two are merged. renumber: keys that tables make by a default (identity, serial, any volatile one of a column with a unique index) are kept where they are free, else they get new values, and so does every reference to them by foreign keys and declared steps, not from within jsonb and the like; other keys that are taken are conflicts. The old tenant''s live rows and its bin stay as they are; rows of it that were purged stay away. What the rows refer to of the old tenant''s has to come along. Not for tables that are a tenant''s as a whole. Large objects do not come back; problem counts references to them that lead nowhere: restore the archive elsewhere, and bring the objects over with lo_export() and lo_import(file, oid). Takes membership in pg_read_server_files or, for a copy, USAGE on the server and a user mapping and INSERT on the tables, UPDATE to replace rows and put links back, DELETE and SELECT for extra => ''delete''. ROW EXCLUSIVE lock on the tables; excludes undelete, rehydrate and purge of the tenant until the transaction ends, and with_referenced purges of rows without a tenant. Fails with TG04x for the archive, otherwise as undelete()';

CREATE FUNCTION deletion_guard.rehydrate(tenants text[], archive text, relations regclass[] = NULL,
		on_conflict text = 'error', into_schema name = NULL, dry_run boolean = false,
		with_referenced boolean = false, mapping jsonb = NULL, fire_triggers boolean = false,
		left_out text = 'error', extra text = 'keep', rows jsonb = NULL,
		as_tenant text = '', renumber boolean = false,
		OUT relation regclass, OUT tenant text, OUT found bigint, OUT restored bigint,
		OUT identical bigint, OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_rehydrate_tenants';
REVOKE EXECUTE ON FUNCTION deletion_guard.rehydrate(text[], text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.rehydrate(text[], text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.rehydrate(text[], text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) IS
	'rehydrate() for several tenants in one pass over the archive: all of them or none';

CREATE FUNCTION deletion_guard.rehydrate_without_tenant(archive text, relations regclass[] = NULL,
		on_conflict text = 'error', into_schema name = NULL, dry_run boolean = false,
		with_referenced boolean = false, mapping jsonb = NULL, fire_triggers boolean = false,
		left_out text = 'error', extra text = 'keep', rows jsonb = NULL,
		OUT relation regclass, OUT tenant text, OUT found bigint, OUT restored bigint,
		OUT identical bigint, OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_rehydrate_without_tenant';
REVOKE EXECUTE ON FUNCTION deletion_guard.rehydrate_without_tenant FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.rehydrate_without_tenant TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.rehydrate_without_tenant IS
	'rehydrate() for exactly those rows that have no tenant, in tables that have tenants: their tenant column is null, or no foreign key on their path leads to one. Excludes undelete, rehydrate and purge of such rows until the transaction ends';

CREATE VIEW deletion_guard.rehydration_progress AS
	SELECT p.pid,
		   d.datname AS database,
		   (ARRAY['finding', 'restoring', 'checking'])[p.param13] AS phase,
		   CASE WHEN d.datname = pg_catalog.current_database() THEN p.relid::regclass END AS relation,
		   p.param15 AS bytes_done,
		   nullif(p.param16, 0) AS bytes_total,
		   p.param17 AS rows_read,
		   p.param18 AS rows_kept,
		   round(100.0 * p.param15 / nullif(p.param16, 0), 1) AS percent,
		   CASE WHEN p.param15 > 0 AND p.param16 > 0
				THEN (clock_timestamp() - s.started_at) * ((p.param16 - p.param15)::float8 / p.param15)
		   END AS time_left,
		   s.started_at
	FROM pg_catalog.pg_stat_get_progress_info('COPY') p
	CROSS JOIN LATERAL (SELECT timestamptz '2000-01-01 00:00:00+00' + p.param14 / 1000000.0 * interval '1 second' AS started_at) s
	LEFT JOIN pg_catalog.pg_database d ON d.oid = p.datid
	WHERE p.param12 = x'6467726568796400'::bigint;
GRANT SELECT ON deletion_guard.rehydration_progress TO PUBLIC;
COMMENT ON VIEW deletion_guard.rehydration_progress IS
	'rehydrations that are running: what they do, the table being read, and how far they have come. With client_min_messages = debug1 a caller gets a line for each table that has been read';
COMMENT ON COLUMN deletion_guard.rehydration_progress.pid IS 'process that rehydrates';
COMMENT ON COLUMN deletion_guard.rehydration_progress.database IS 'database it works in';
COMMENT ON COLUMN deletion_guard.rehydration_progress.phase IS 'finding (keys of parents, which tell whose rows are whose), restoring, or checking';
COMMENT ON COLUMN deletion_guard.rehydration_progress.relation IS 'table being read; null in another database';
COMMENT ON COLUMN deletion_guard.rehydration_progress.bytes_done IS 'bytes of the archive read';
COMMENT ON COLUMN deletion_guard.rehydration_progress.bytes_total IS 'bytes to be read; null where not known';
COMMENT ON COLUMN deletion_guard.rehydration_progress.rows_read IS 'rows read';
COMMENT ON COLUMN deletion_guard.rehydration_progress.rows_kept IS 'of these, rows of the tenants asked for';
COMMENT ON COLUMN deletion_guard.rehydration_progress.percent IS 'bytes_done of bytes_total';
COMMENT ON COLUMN deletion_guard.rehydration_progress.time_left IS 'estimate, if it goes on at this pace';
COMMENT ON COLUMN deletion_guard.rehydration_progress.started_at IS 'when it began';

CREATE FUNCTION deletion_guard_internal.rehydrate_once(run text, tenants text[], archive text,
		relations regclass[] = NULL, on_conflict text = 'error', with_referenced boolean = false,
		mapping jsonb = NULL, fire_triggers boolean = false, left_out text = 'error', extra text = 'keep',
		OUT relation regclass, OUT tenant text, OUT found bigint, OUT restored bigint,
		OUT identical bigint, OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_rehydrate_once';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.rehydrate_once FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard_internal.rehydrate_once TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard_internal.rehydrate_once IS
	'rehydrate() for those of the tenants that this run has not rehydrated yet';

/*
 * The work of many tenants in portions that stay done when a later one fails.
 * CALL it again with the same run to go on.
 */
CREATE PROCEDURE deletion_guard.rehydrate_each(tenants text[], archive text, run text,
		relations regclass[] = NULL, on_conflict text = 'error', with_referenced boolean = false,
		mapping jsonb = NULL, fire_triggers boolean = false, tenants_at_once integer = 1,
		left_out text = 'error', INOUT restored bigint = NULL, INOUT problem text = NULL, extra text = 'keep')
	LANGUAGE plpgsql
	AS $$
DECLARE
	portion text[];
	rows bigint;
	problems text;
BEGIN
	IF tenants IS NULL OR archive IS NULL OR run IS NULL OR tenants_at_once IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'tenants, archive, run and tenants_at_once must not be null';
	END IF;
	IF tenants_at_once < 1 THEN
		RAISE invalid_parameter_value USING MESSAGE = 'tenants_at_once must be 1 at least';
	END IF;
	restored := 0;
	problem := NULL;
	FOR i IN 1 .. coalesce(pg_catalog.array_length(tenants, 1), 0) BY tenants_at_once LOOP
		portion := tenants[i : i + tenants_at_once - 1];
		SELECT pg_catalog.sum(r.restored),
				pg_catalog.string_agg(pg_catalog.concat_ws(': ', r.tenant, r.relation, r.problem), '; ')
				FILTER (WHERE r.problem IS NOT NULL AND (r.tenant IS NOT NULL OR r.found IS NULL))
			INTO rows, problems
			FROM deletion_guard_internal.rehydrate_once(run, portion, archive, relations, on_conflict, with_referenced, mapping,
				fire_triggers, left_out, extra) r;
		COMMIT;
		restored := restored + coalesce(rows, 0);
		IF problems IS NOT NULL AND pg_catalog.strpos(coalesce(problem, ''), problems) = 0 THEN
			problem := pg_catalog.concat_ws('; ', problem, problems);
		END IF;
		IF rows IS NOT NULL THEN
			RAISE NOTICE 'rehydrated %: % rows%', pg_catalog.array_to_string(portion, ', '), rows,
				CASE WHEN problems IS NOT NULL THEN ', with problems' ELSE '' END;
		END IF;
	END LOOP;
END
$$;
REVOKE EXECUTE ON PROCEDURE deletion_guard.rehydrate_each FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE deletion_guard.rehydrate_each TO pg_read_server_files;
COMMENT ON PROCEDURE deletion_guard.rehydrate_each IS
	'rehydrates tenants, tenants_at_once of them in each transaction, which is committed; called again with the same run it goes on with those that are left, and fails if the run was of another archive or of other relations. Returns how many rows this call has restored, and the problems, which rehydration_record keeps for each tenant. Cannot run in a transaction block; otherwise as rehydrate()';

CREATE FUNCTION deletion_guard.drill(archive text, tenants text[] = NULL, sample integer = 5,
		left_out text = 'error', mapping jsonb = NULL,
		OUT tenant text, OUT rows bigint, OUT seconds numeric, OUT matches boolean, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_drill';
REVOKE EXECUTE ON FUNCTION deletion_guard.drill FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.drill TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.drill IS
	'rehearses rehydrating these tenants, or a random sample of those in the archive: restores each into a new schema and rolls that back. Returns, and keeps in drill_result, how many rows, in how many seconds, and whether they match the archive. They do not if a row or a column of the archive could not be restored or compared, or may be the tenant''s and was left out: problem says which; with left_out => ''report'' it says so only; mapping, as for rehydrate(), where null takes out single tables that are of no tenant. Takes membership in pg_read_server_files or, for a copy, USAGE on the server and a user mapping, CREATE on the database and SELECT on the tables';

/*
 * The report on an incident: what customers and managers ask while it is going on.
 *
 * incident_facts() gathers what there is to say, as JSON; the others write it down.
 * All of it runs with the caller's rights over views that they may read or not: what
 * somebody may not see is left out, and the report says so. Facts are raw; each value
 * goes through incident_escape() on its way into a text.
 *
 * Functions of SQL have parsed bodies: what they call was found when they were made.
 */

/*
 * Which deletions a report is on.
 */
CREATE FUNCTION deletion_guard_internal.incident_deletions(deletions bigint[], since timestamptz, until timestamptz)
	RETURNS bigint[]
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	found bigint[];
	missing bigint[];
BEGIN
	IF deletions IS NULL THEN
		IF since > until THEN
			RAISE invalid_parameter_value USING MESSAGE = 'the time that the report is on ends before it begins',
				DETAIL = format('It is from %s to %s.', since, until);
		END IF;
		RETURN ARRAY(SELECT d.id FROM deletion_guard.deletion d
					 WHERE d.deleted_at BETWEEN coalesce(since, CASE WHEN until IS NULL THEN now() - interval '1 day' END, '-infinity')
						AND coalesce(until, 'infinity') ORDER BY d.id);
	END IF;
	IF num_nonnulls(since, until) > 0 THEN
		RAISE invalid_parameter_value USING MESSAGE = 'a report is on deletions or on a time, not on both',
			HINT = 'Leave out deletions, or since and until.';
	END IF;
	IF array_position(deletions, NULL) IS NOT NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'deletions must not contain nulls';
	END IF;
	found := ARRAY(SELECT d.id FROM deletion_guard.deletion d WHERE d.id = ANY (deletions) ORDER BY d.id);
	missing := ARRAY(SELECT DISTINCT u.id FROM unnest(deletions) u(id) WHERE u.id <> ALL (found) ORDER BY u.id);
	IF cardinality(missing) > 0 THEN
		RAISE undefined_object USING
			MESSAGE = format('there is no deletion %s', array_to_string(missing[:5], ', ')),
			HINT = 'The view deletion_guard.deletion lists them.';
	END IF;
	RETURN found;
END
$$;
COMMENT ON FUNCTION deletion_guard_internal.incident_deletions IS 'part of incident_report(): the deletions that it is on';

/*
 * Deletions that were done by the same person, in the same way, are one act: they
 * differ in the numbers and literals of their statements only.
 */
CREATE FUNCTION deletion_guard_internal.incident_acts(deletions bigint[]) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
	WITH act AS (
		SELECT d.session_role, d.effective_role, d.application_name, d.client_addr, d.actor, d.reason,
			   (array_agg(d.statement ORDER BY d.id))[1] AS statement,
			   array_agg(d.id ORDER BY d.id) AS ids, min(d.deleted_at) AS since, max(d.deleted_at) AS until,
			   sum(d.rows) AS rows, sum(d.links) AS links, max(d.tenants) AS tenants
		FROM deletion_guard.deletion d
		WHERE d.id = ANY ($1)
		GROUP BY d.session_role, d.effective_role, d.application_name, d.client_addr, d.actor, d.reason,
			regexp_replace(left(d.statement, 1000), '''([^'']|'''')*''|\m[0-9]+\M', '?', 'g')
		ORDER BY sum(d.rows) DESC, min(d.id))
	SELECT coalesce(jsonb_agg(to_jsonb(a) || jsonb_build_object('ids', a.ids[:10], 'deletions', cardinality(a.ids), 'tenants',
					CASE WHEN cardinality(a.ids) = 1 THEN a.tenants
						 ELSE (SELECT count(DISTINCT p.tenant) FROM deletion_guard.deletion_detail p WHERE p.deletion_id = ANY (a.ids)) END)
					ORDER BY a.since, a.ids), '[]')
	FROM (SELECT * FROM act LIMIT 20) a;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_acts IS 'part of incident_report(): who deleted, when and how';

/*
 * What has become of the rows: by table, by tenant, or of all of them. "left" is in
 * the bin; "gone" is neither back nor there.
 */
CREATE FUNCTION deletion_guard_internal.incident_tables(deletions bigint[]) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.rows DESC, s.name), '[]')
	FROM (SELECT d.relation_name AS name, sum(d.rows) AS rows, sum(d.restored) AS back,
				 sum(d.rows - d.restored - d.purged - d.lost) AS "left", sum(d.purged + d.lost) AS gone
		  FROM deletion_guard.deletion_detail d WHERE d.deletion_id = ANY ($1)
		  GROUP BY d.relation_name) s;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_tables IS 'part of incident_report(): rows lost and back, by table';

CREATE FUNCTION deletion_guard_internal.incident_tenants(deletions bigint[]) RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	tenants jsonb;
	labels jsonb := '{}';
	runs jsonb := '{}';
BEGIN
	SELECT coalesce(jsonb_agg(to_jsonb(s)), '[]') INTO tenants
	FROM (SELECT d.tenant, sum(d.rows) AS rows, sum(d.restored) AS back,
				 sum(d.rows - d.restored - d.purged - d.lost) AS "left", sum(d.purged + d.lost) AS gone
		  FROM deletion_guard.deletion_detail d WHERE d.deletion_id = ANY (deletions)
		  GROUP BY d.tenant) s;
	IF has_function_privilege('deletion_guard.tenant_label(text)', 'EXECUTE') THEN
		SELECT coalesce(jsonb_object_agg(t.tenant, to_jsonb(l)), '{}') INTO labels
		FROM (SELECT e ->> 'tenant' AS tenant FROM jsonb_array_elements(tenants) e) t,
			LATERAL (SELECT (deletion_guard.tenant_label(t.tenant)).*) l
		WHERE t.tenant IS NOT NULL;
	END IF;
	IF has_table_privilege('deletion_guard.rehydration_record', 'SELECT') THEN
		SELECT coalesce(jsonb_object_agg(r.tenant, jsonb_build_object('rehydrated_at', r.finished_at)), '{}') INTO runs
		FROM (SELECT r.tenant, max(r.finished_at) AS finished_at FROM deletion_guard.rehydration_record r
			  WHERE r.finished_at > (SELECT min(d.deleted_at) FROM deletion_guard.deletion d WHERE d.id = ANY (deletions))
			  GROUP BY r.tenant) r;
	END IF;
	RETURN coalesce(jsonb_agg(t ORDER BY t -> 'tenant' = 'null', t -> 'left' DESC, t ->> 'tenant_name', t ->> 'tenant'), '[]')
		FROM (SELECT e || coalesce(labels -> (e ->> 'tenant'), '{}') || coalesce(runs -> (e ->> 'tenant'), '{}') ||
					 jsonb_build_object('state', CASE
						WHEN runs ? (e ->> 'tenant') AND (e ->> 'rows') <> (e ->> 'back') THEN 'rehydrated'
						WHEN (e ->> 'rows') = (e ->> 'back') THEN 'back'
						WHEN (e ->> 'rows') = (e ->> 'gone') THEN 'gone'
						WHEN (e ->> 'rows') = (e ->> 'left') THEN 'waiting'
						ELSE 'partly' END) AS t
			  FROM jsonb_array_elements(tenants) e) s;
END
$$;
COMMENT ON FUNCTION deletion_guard_internal.incident_tenants IS 'part of incident_report(): whom it concerns, and what they have back; names and contacts for who may call tenant_label()';

/*
 * What was done about it since, as far as the caller may read the ledger.
 */
CREATE FUNCTION deletion_guard_internal.incident_repairs(deletions bigint[], since timestamptz) RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	IF NOT has_table_privilege('deletion_guard.ledger', 'SELECT') THEN
		RETURN NULL;
	END IF;
	RETURN coalesce(jsonb_agg(jsonb_build_object('at', l.at, 'what', l.event, 'role', l.role,
								'rows', l.details -> 'rows', 'tenants', l.details -> 'tenants') ORDER BY l.id), '[]')
		FROM (SELECT e.id, e.at, e.event, e.role, e.details::jsonb FROM deletion_guard.ledger e
			  WHERE e.at >= since AND e.event IN ('undelete', 'rehydrate')) l
		WHERE l.event = 'rehydrate' OR (l.details ->> 'first_deletion')::bigint = ANY (deletions);
END
$$;
COMMENT ON FUNCTION deletion_guard_internal.incident_repairs IS 'part of incident_report(): undeletes and rehydrations since; null for who may not read the ledger';

/*
 * What runs at this moment. Others' statements are not shown: they may hold tokens.
 */
CREATE FUNCTION deletion_guard_internal.incident_running() RETURNS jsonb
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.since), '[]')
	FROM (SELECT p.pid, 'rehydrate' AS what, p.started_at AS since, p.phase, p.relation::text AS relation, p.percent,
				 p.rows_kept AS rows, extract(epoch FROM p.time_left) AS seconds_left
		  FROM deletion_guard.rehydration_progress p WHERE p.database = current_database()
		  UNION ALL
		  SELECT a.pid, substring(a.query FROM '(?i)\m(undelete|rehydrate|purge|drill)\w*\s*\('), a.query_start, NULL, NULL, NULL, NULL, NULL
		  FROM pg_stat_activity a
		  WHERE a.datname = current_database() AND a.state = 'active' AND a.pid <> pg_backend_pid()
			AND a.query ~* '\m(undelete|rehydrate|purge|drill)\w*\s*\('
			AND NOT EXISTS (SELECT FROM deletion_guard.rehydration_progress p WHERE p.pid = a.pid)) r;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_running IS 'part of incident_report(): undeletes, rehydrations and purges that are running';

/*
 * How fast rows came out of archives in past drills.
 */
CREATE FUNCTION deletion_guard_internal.incident_pace() RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	IF NOT has_table_privilege('deletion_guard.drill_result', 'SELECT') THEN
		RETURN NULL;
	END IF;
	RETURN (SELECT jsonb_build_object('tenants', count(*), 'at', max(r.drilled_at), 'rows_per_second', sum(r.rows) / nullif(sum(r.seconds), 0))
			FROM (SELECT * FROM deletion_guard.drill_result d WHERE d.rows > 0 AND d.matches ORDER BY d.drill_id DESC LIMIT 100) r);
END
$$;
COMMENT ON FUNCTION deletion_guard_internal.incident_pace IS 'part of incident_report(): what past drills say of how long it takes; null for who may not read drill_result';

/*
 * Rows lost and rows back in equal stretches of the time that it took, for a picture.
 */
CREATE FUNCTION deletion_guard_internal.incident_picture(deletions bigint[], repairs jsonb, since timestamptz, until timestamptz) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
	WITH event AS (
		SELECT d.deleted_at AS at, d.rows AS lost, 0::numeric AS back FROM deletion_guard.deletion d WHERE d.id = ANY ($1)
		UNION ALL
		SELECT (e ->> 'at')::timestamptz, 0, (e ->> 'rows')::numeric FROM jsonb_array_elements($2) e)
	SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.n), '[]')
	FROM (SELECT least(60, 1 + floor(60 * extract(epoch FROM e.at - $3) / extract(epoch FROM $4 - $3)))::int AS n,
				 sum(e.lost) AS lost, sum(e.back) AS back
		  FROM event e GROUP BY 1) s;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_picture IS 'part of incident_report(): rows lost and back in sixty stretches of time';

CREATE FUNCTION deletion_guard_internal.incident_facts(deletions bigint[], since timestamptz, until timestamptz) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	ids bigint[] := deletion_guard_internal.incident_deletions(deletions, since, until);
	tenants jsonb := deletion_guard_internal.incident_tenants(ids);
	begun timestamptz;
	ended timestamptz;
	repairs jsonb;
	facts jsonb;
	picture_until timestamptz;
BEGIN
	SELECT min(d.deleted_at), max(d.deleted_at),
		jsonb_build_object('deletions', count(*), 'ids', coalesce(to_jsonb((array_agg(d.id ORDER BY d.id))[:10]), '[]'),
			'links', coalesce(sum(d.links), 0), 'keep_until', min(d.purge_not_before) FILTER (WHERE d.state NOT IN ('restored', 'purged', 'lost')))
		INTO begun, ended, facts
		FROM deletion_guard.deletion d WHERE d.id = ANY (ids);
	SELECT facts || jsonb_build_object('rows', coalesce(sum((t ->> 'rows')::bigint), 0), 'back', coalesce(sum((t ->> 'back')::bigint), 0),
			'left', coalesce(sum((t ->> 'left')::bigint), 0), 'gone', coalesce(sum((t ->> 'gone')::bigint), 0),
			'tenants', count(t ->> 'tenant'), 'complete', count(t ->> 'tenant') FILTER (WHERE t ->> 'state' IN ('back', 'rehydrated')))
		INTO facts FROM jsonb_array_elements(tenants) t;
	repairs := deletion_guard_internal.incident_repairs(ids, begun);
	picture_until := greatest(ended, (SELECT max((e ->> 'at')::timestamptz) FROM jsonb_array_elements(repairs) e),
							  CASE WHEN facts -> 'left' <> '0' THEN clock_timestamp() END, begun + interval '1 second');
	RETURN facts || jsonb_build_object('database', current_database(), 'made_at', clock_timestamp(), 'zone', current_setting('TimeZone'),
		'window', deletions IS NULL, 'since', coalesce(since, CASE WHEN until IS NULL THEN now() - interval '1 day' END), 'until', until,
		'begun', begun, 'ended', ended, 'picture_until', picture_until,
		'labels', has_function_privilege('deletion_guard.tenant_label(text)', 'EXECUTE'),
		'acts', deletion_guard_internal.incident_acts(ids), 'by_table', deletion_guard_internal.incident_tables(ids), 'by_tenant', tenants,
		'repairs', repairs, 'running', deletion_guard_internal.incident_running(), 'pace', deletion_guard_internal.incident_pace(),
		'picture', deletion_guard_internal.incident_picture(ids, repairs, begun, picture_until));
END
$$;
COMMENT ON FUNCTION deletion_guard_internal.incident_facts IS 'part of incident_report(): all that it says, as JSON';

/*
 * A value as a text, a table of Markdown, a page of HTML or a field of CSV may have it:
 * on one line, with nothing that a terminal, a browser or a spreadsheet would obey.
 * Marks that turn the direction of what follows are not let through.
 */
CREATE FUNCTION deletion_guard_internal.incident_escape(value text, format text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT CASE $2
		WHEN 'html' THEN replace(replace(replace(replace(replace(l.line, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;')
		WHEN 'markdown' THEN regexp_replace(replace(replace(replace(l.line, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'),
											'([][\\`*_{}()#+!|~$-])', '\\\1', 'g')
		WHEN 'csv' THEN '"' || replace(CASE WHEN l.line ~ l.formula THEN '''' ELSE '' END || l.line, '"', '""') || '"'
		ELSE l.line END
	FROM (SELECT regexp_replace(btrim(regexp_replace($1, '\s+', ' ', 'g')),
								CASE getdatabaseencoding() WHEN 'UTF8' THEN '[\x01-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]'
									ELSE '[\x01-\x1f\x7f]' END, '?', 'g') AS line,
				 CASE getdatabaseencoding() WHEN 'UTF8' THEN '^[-=+@\uff0b\uff0d\uff1d\uff20]' ELSE '^[-=+@]' END AS formula) l;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_escape IS 'part of incident_report(): a value, so that it is nothing but a value in text, markdown, html or csv';

CREATE FUNCTION deletion_guard_internal.incident_number(value jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN to_char(($1 #>> '{}')::numeric, 'FM999,999,999,999,990');
COMMENT ON FUNCTION deletion_guard_internal.incident_number IS 'part of incident_report(): a number for people';

/* "12 tenants", "1 tenant" */
CREATE FUNCTION deletion_guard_internal.incident_count(value jsonb, what text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN deletion_guard_internal.incident_number($1) || ' ' || $2 || CASE WHEN $1 = '1' THEN '' ELSE 's' END;
COMMENT ON FUNCTION deletion_guard_internal.incident_count IS 'part of incident_report(): a number of things';

CREATE FUNCTION deletion_guard_internal.incident_time(value jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN to_char(($1 #>> '{}')::timestamptz, 'YYYY-MM-DD HH24:MI:SS');
COMMENT ON FUNCTION deletion_guard_internal.incident_time IS 'part of incident_report(): a time for people';

/* two units are enough: "23 min 9 s" */
CREATE FUNCTION deletion_guard_internal.incident_duration(seconds numeric) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE WHEN $1 < 1 THEN 'less than a second'
				WHEN $1 < 60 THEN round($1) || ' s'
				WHEN $1 < 3600 THEN floor($1 / 60) || ' min ' || floor($1 % 60) || ' s'
				WHEN $1 < 172800 THEN floor($1 / 3600) || ' h ' || floor($1 % 3600 / 60) || ' min'
				ELSE floor($1 / 86400) || ' days ' || floor($1 % 86400 / 3600) || ' h' END;
COMMENT ON FUNCTION deletion_guard_internal.incident_duration IS 'part of incident_report(): a duration for people';

CREATE FUNCTION deletion_guard_internal.incident_state(state text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE $1 WHEN 'back' THEN 'back' WHEN 'rehydrated' THEN 'back from a backup' WHEN 'partly' THEN 'partly back'
		WHEN 'gone' THEN 'not in the bin' ELSE 'in the bin' END;
COMMENT ON FUNCTION deletion_guard_internal.incident_state IS 'part of incident_report(): what has become of a tenant''s rows, in words';

/*
 * Sentences, which text, Markdown and HTML share. What is not a number or a word of
 * ours in them is escaped for the format.
 */
CREATE FUNCTION deletion_guard_internal.incident_headline(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE WHEN $1 -> 'deletions' = '0' THEN 'Nothing was deleted'
		WHEN $1 -> 'tenants' = '0' THEN deletion_guard_internal.incident_count($1 -> 'rows', 'row') || CASE WHEN $1 -> 'rows' = '1' THEN ' was' ELSE ' were' END || ' deleted'
		ELSE deletion_guard_internal.incident_count($1 -> 'tenants', 'tenant') || ' lost ' || deletion_guard_internal.incident_count($1 -> 'rows', 'row') END;
COMMENT ON FUNCTION deletion_guard_internal.incident_headline IS 'part of incident_report(): all of it in one line';

CREATE FUNCTION deletion_guard_internal.incident_lead(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE WHEN $1 -> 'deletions' = '0' THEN 'There is no deletion' || CASE WHEN $1 -> 'window' = 'true' THEN ' in this time' ELSE '' END || '.'
		ELSE concat_ws(' ',
			CASE WHEN deletion_guard_internal.incident_time($1 -> 'begun') = deletion_guard_internal.incident_time($1 -> 'ended') THEN
					 'On ' || to_char(($1 ->> 'begun')::timestamptz, 'YYYY-MM-DD "at" HH24:MI:SS')
				 ELSE 'From ' || deletion_guard_internal.incident_time($1 -> 'begun') || ' to ' || deletion_guard_internal.incident_time($1 -> 'ended') || ' (' ||
					 deletion_guard_internal.incident_duration(extract(epoch FROM ($1 ->> 'ended')::timestamptz - ($1 ->> 'begun')::timestamptz)) || ')' END || ', by ' ||
				deletion_guard_internal.incident_count($1 -> 'deletions', 'deletion') || ', from ' ||
				deletion_guard_internal.incident_count(to_jsonb(jsonb_array_length($1 -> 'by_table')), 'table') || '.',
			CASE WHEN $1 -> 'left' = '0' AND $1 -> 'gone' = '0' THEN 'All of it is back.'
				 WHEN $1 -> 'tenants' = '0' THEN NULL
				 WHEN $1 -> 'complete' = '0' THEN 'No tenant has everything back yet.'
				 ELSE 'Of ' || deletion_guard_internal.incident_count($1 -> 'tenants', 'tenant') || ', ' || deletion_guard_internal.incident_number($1 -> 'complete') ||
					 CASE WHEN $1 -> 'complete' = '1' THEN ' has' ELSE ' have' END || ' everything back.' END) END;
COMMENT ON FUNCTION deletion_guard_internal.incident_lead IS 'part of incident_report(): the first paragraph';

CREATE FUNCTION deletion_guard_internal.incident_scope(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE WHEN $1 -> 'window' = 'true' THEN
			concat_ws(' ', 'Deletions', CASE WHEN ($1 ->> 'since')::timestamptz > '-infinity' THEN 'from ' || deletion_guard_internal.incident_time($1 -> 'since') END,
				CASE WHEN ($1 ->> 'until')::timestamptz < 'infinity' THEN 'until ' || deletion_guard_internal.incident_time($1 -> 'until') ELSE 'until now' END)
		ELSE CASE WHEN $1 -> 'deletions' = '1' THEN 'Deletion ' ELSE 'Deletions ' END ||
			coalesce((SELECT string_agg(e, ', ') FROM jsonb_array_elements_text($1 -> 'ids') e), '(none)') ||
			CASE WHEN ($1 ->> 'deletions')::bigint > 10 THEN ' and ' || (($1 ->> 'deletions')::bigint - 10) || ' more' ELSE '' END END;
COMMENT ON FUNCTION deletion_guard_internal.incident_scope IS 'part of incident_report(): which deletions it is on';

CREATE FUNCTION deletion_guard_internal.incident_act(act jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN deletion_guard_internal.incident_count($1 -> 'rows', 'row') || CASE WHEN $1 -> 'tenants' = '0' THEN '' ELSE
			' of ' || deletion_guard_internal.incident_count($1 -> 'tenants', 'tenant') END || ' deleted (' ||
		CASE WHEN $1 -> 'deletions' = '1' THEN 'deletion ' || ($1 -> 'ids' ->> 0)
			 ELSE deletion_guard_internal.incident_number($1 -> 'deletions') || ' deletions like this, from ' || ($1 -> 'ids' ->> 0) || ' on, until ' ||
				 deletion_guard_internal.incident_time($1 -> 'until') END || ')';
COMMENT ON FUNCTION deletion_guard_internal.incident_act IS 'part of incident_report(): what somebody deleted';

CREATE FUNCTION deletion_guard_internal.incident_who(act jsonb, format text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN concat_ws(', ', 'role ' || deletion_guard_internal.incident_escape($1 ->> 'session_role', $2) ||
			CASE WHEN $1 -> 'effective_role' <> $1 -> 'session_role' THEN ' as ' || deletion_guard_internal.incident_escape($1 ->> 'effective_role', $2) ELSE '' END,
		'application ' || deletion_guard_internal.incident_escape($1 ->> 'application_name', $2),
		CASE WHEN $1 ->> 'client_addr' IS NULL THEN 'on the server itself' ELSE 'from ' || deletion_guard_internal.incident_escape($1 ->> 'client_addr', $2) END,
		'user ' || deletion_guard_internal.incident_escape($1 ->> 'actor', $2),
		'reason: ' || deletion_guard_internal.incident_escape($1 ->> 'reason', $2),
		CASE WHEN $1 -> 'links' > '0' THEN deletion_guard_internal.incident_count($1 -> 'links', 'link') || ' of other rows lost' END);
COMMENT ON FUNCTION deletion_guard_internal.incident_who IS 'part of incident_report(): who deleted';

/* the statement, at most a page of it; what is left of it is said */
CREATE FUNCTION deletion_guard_internal.incident_statement(act jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE WHEN $1 ->> 'statement' IS NULL THEN '(the statement was removed by a purge)' ELSE
		regexp_replace(left($1 ->> 'statement', 1000), CASE getdatabaseencoding() WHEN 'UTF8' THEN
					   '[\x01-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]' ELSE '[\x01-\x08\x0b-\x1f\x7f]' END, '?', 'g') ||
		CASE WHEN length($1 ->> 'statement') > 1000 THEN ' ... (' || (length($1 ->> 'statement') - 1000) || ' more characters)' ELSE '' END END;
COMMENT ON FUNCTION deletion_guard_internal.incident_statement IS 'part of incident_report(): what was typed';

/*
 * Repairs of one kind by one role in one stretch of time, as lines of the timeline.
 */
CREATE FUNCTION deletion_guard_internal.incident_repair_lines(facts jsonb, format text) RETURNS TABLE (at jsonb, line text)
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT to_jsonb(r.at), deletion_guard_internal.incident_count(to_jsonb(r.rows), 'row') || CASE r.what WHEN 'undelete' THEN ' undeleted' ELSE ' rehydrated from a backup' END ||
		CASE WHEN r.calls > 1 THEN ' in ' || r.calls || ' calls' ELSE '' END || CASE WHEN r.tenants > 0 THEN ', for ' || deletion_guard_internal.incident_count(to_jsonb(r.tenants), 'tenant') ELSE '' END ||
		', by role ' || deletion_guard_internal.incident_escape(r.role, $2)
	FROM (SELECT min((e ->> 'at')::timestamptz) AS at, e ->> 'what' AS what, e ->> 'role' AS role, count(*) AS calls,
				 sum((e ->> 'rows')::numeric) AS rows, sum((e ->> 'tenants')::numeric) AS tenants
		  FROM jsonb_array_elements(nullif($1 -> 'repairs', 'null')) e
		  GROUP BY e ->> 'what', e ->> 'role', floor(extract(epoch FROM (e ->> 'at')::timestamptz - ($1 ->> 'begun')::timestamptz) /
				greatest(60, extract(epoch FROM ($1 ->> 'picture_until')::timestamptz - ($1 ->> 'begun')::timestamptz) / 12))) r
	ORDER BY r.at;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_repair_lines IS 'part of incident_report(): what was done about it';

CREATE FUNCTION deletion_guard_internal.incident_running_lines(facts jsonb, format text) RETURNS SETOF text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT concat_ws(', ', deletion_guard_internal.incident_escape(lower(regexp_replace(e ->> 'what', '\W', '', 'g')), $2) || ' in process ' || (e ->> 'pid') || ', since ' ||
			deletion_guard_internal.incident_time(e -> 'since'), e ->> 'phase' || coalesce(' ' || deletion_guard_internal.incident_escape(e ->> 'relation', $2), ''),
		deletion_guard_internal.incident_number(e -> 'rows') || ' rows', (e ->> 'percent') || ' %',
		'about ' || deletion_guard_internal.incident_duration((e ->> 'seconds_left')::numeric) || ' left')
	FROM jsonb_array_elements($1 -> 'running') e;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_running_lines IS 'part of incident_report(): what runs, and for how long yet';

CREATE FUNCTION deletion_guard_internal.incident_left_lines(facts jsonb) RETURNS SETOF text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT v.line FROM (VALUES
		(CASE WHEN $1 -> 'left' <> '0' THEN deletion_guard_internal.incident_count($1 -> 'left', 'row') || CASE WHEN $1 -> 'left' = '1' THEN ' is' ELSE ' are' END ||
			' in the bin: undelete(), undelete_transaction() or undelete_tenants() brings them back.' || CASE
				WHEN ($1 ->> 'keep_until')::timestamptz < 'infinity' THEN ' They cannot be purged before ' || deletion_guard_internal.incident_time($1 -> 'keep_until') || '.' ELSE '' END END),
		(CASE WHEN $1 -> 'gone' <> '0' THEN deletion_guard_internal.incident_count($1 -> 'gone', 'row') || CASE WHEN $1 -> 'gone' = '1' THEN ' is' ELSE ' are' END ||
			' neither back nor in the bin (purged, or lost with it): rehydrate() brings such rows back from a backup; those that were purged, once annul_purge() allows it.' END),
		(CASE WHEN $1 -> 'links' <> '0' THEN deletion_guard_internal.incident_count($1 -> 'links', 'link') || ' of rows that stayed ' ||
			CASE WHEN $1 -> 'links' = '1' THEN 'is' ELSE 'are' END || ' still lost.' END),
		(CASE WHEN $1 -> 'left' <> '0' AND ($1 -> 'pace' ->> 'rows_per_second')::numeric > 0 THEN 'Out of a backup, this would take about ' ||
			deletion_guard_internal.incident_duration(($1 ->> 'left')::numeric / ($1 -> 'pace' ->> 'rows_per_second')::numeric) || ', as drills went (' ||
			deletion_guard_internal.incident_count(to_jsonb(round(($1 -> 'pace' ->> 'rows_per_second')::numeric)), 'row') || ' a second, ' ||
			deletion_guard_internal.incident_time($1 -> 'pace' -> 'at') || ').' END),
		(CASE WHEN EXISTS (SELECT FROM jsonb_array_elements(nullif($1 -> 'repairs', 'null')) e WHERE e ->> 'what' = 'rehydrate') THEN
			'What rehydrate() brought from backups counts as back by tenant where rehydrate_each() did it; the bin keeps its rows, and undelete() finds them identical.' END),
		(CASE WHEN $1 -> 'repairs' = 'null' THEN 'When rows came back is not shown: whoever asked may not read deletion_guard.ledger.' END),
		(CASE WHEN $1 -> 'labels' = 'false' THEN 'Names and contacts are not shown: whoever asked may not call deletion_guard.tenant_label().' END)) v(line)
	WHERE v.line IS NOT NULL;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_left_lines IS 'part of incident_report(): what is left to do, and what it does not say';

/*
 * Rows of values as lines: columns for a terminal, a table of Markdown, or CSV. align
 * has a letter for each column: l, or r for numbers.
 */
CREATE FUNCTION deletion_guard_internal.incident_table(header jsonb, lines jsonb, align text, format text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	WITH cell AS (
		SELECT l.n AS line, c.n AS field, deletion_guard_internal.incident_escape(coalesce(c.v, ''), $4) AS v
		FROM jsonb_array_elements(jsonb_build_array($1) || $2) WITH ORDINALITY l(v, n), jsonb_array_elements_text(l.v) WITH ORDINALITY c(v, n)),
	width AS (SELECT field, max(length(v)) AS n, substr($3, field::int, 1) AS align FROM cell GROUP BY field)
	SELECT string_agg(l.line || CASE WHEN l.n > 1 THEN '' WHEN $4 = 'csv' THEN '' WHEN $4 = 'markdown' THEN
						  (SELECT E'\n|' || string_agg(CASE w.align WHEN 'r' THEN '---:|' ELSE '---|' END, '' ORDER BY w.field) FROM width w)
						  ELSE (SELECT E'\n' || string_agg(repeat('-', w.n), '  ' ORDER BY w.field) FROM width w) END, E'\n' ORDER BY l.n)
	FROM (SELECT c.line AS n, CASE $4 WHEN 'csv' THEN string_agg(c.v, ',' ORDER BY c.field)
				 WHEN 'markdown' THEN '| ' || string_agg(c.v, ' | ' ORDER BY c.field) || ' |'
				 ELSE rtrim(string_agg(CASE w.align WHEN 'r' THEN lpad(c.v, w.n) ELSE rpad(c.v, w.n) END, '  ' ORDER BY c.field)) END AS line
		  FROM cell c JOIN width w USING (field) GROUP BY c.line) l;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_table IS 'part of incident_report(): a table of values';

CREATE FUNCTION deletion_guard_internal.incident_text(facts jsonb, format text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	WITH style AS (
		SELECT CASE $2 WHEN 'markdown' THEN E'\n\n## ' ELSE E'\n\n' END AS heading, CASE $2 WHEN 'markdown' THEN E'\n\n- ' ELSE E'\n\n* ' END AS first,
			   CASE $2 WHEN 'markdown' THEN E'\n- ' ELSE E'\n* ' END AS item, CASE $2 WHEN 'markdown' THEN repeat('`', 3 + coalesce((
				   SELECT max(length(m[1])) FROM jsonb_array_elements($1 -> 'acts') a, regexp_matches(a ->> 'statement', '(`+)', 'g') m), 0)) END AS fence),
	line AS (
		SELECT a -> 'since' AS at, deletion_guard_internal.incident_time(a -> 'since') || ' ' || deletion_guard_internal.incident_act(a) || E'\n  by ' ||
			deletion_guard_internal.incident_who(a, $2) || E'\n\n' || regexp_replace(concat_ws(E'\n', s.fence, deletion_guard_internal.incident_statement(a), s.fence), '^', '    ', 'gn') || E'\n' AS line
		FROM style s, jsonb_array_elements($1 -> 'acts') a
		UNION ALL
		SELECT r.at, deletion_guard_internal.incident_time(r.at) || ' ' || r.line FROM deletion_guard_internal.incident_repair_lines($1, $2) r)
	SELECT CASE $2 WHEN 'markdown' THEN '# ' ELSE '' END || deletion_guard_internal.incident_headline($1) || E'\n\n' || deletion_guard_internal.incident_lead($1) || E'\n' ||
		deletion_guard_internal.incident_scope($1) || ' in database ' || deletion_guard_internal.incident_escape($1 ->> 'database', $2) || ', as of ' ||
		deletion_guard_internal.incident_time($1 -> 'made_at') || ' (' || deletion_guard_internal.incident_escape($1 ->> 'zone', $2) || ').' ||
		coalesce(s.heading || 'What happened' || (SELECT s.first || string_agg(l.line, s.item ORDER BY (l.at ->> 0)::timestamptz) FROM line l), '') ||
		coalesce(s.heading || 'Running now' || (SELECT s.first || string_agg(r, s.item) FROM deletion_guard_internal.incident_running_lines($1, $2) r), '') ||
		coalesce(s.heading || 'Left to do' || (SELECT s.first || string_agg(r, s.item) FROM deletion_guard_internal.incident_left_lines($1) r), '') ||
		coalesce(s.heading || 'By table' || E'\n\n' || (SELECT deletion_guard_internal.incident_table('["table", "lost", "back", "in the bin", "gone"]', jsonb_agg(jsonb_build_array(
				t -> 'name', deletion_guard_internal.incident_number(t -> 'rows'), deletion_guard_internal.incident_number(t -> 'back'), deletion_guard_internal.incident_number(t -> 'left'),
				deletion_guard_internal.incident_number(t -> 'gone')) ORDER BY n), 'lrrrr', $2) FROM jsonb_array_elements($1 -> 'by_table') WITH ORDINALITY e(t, n)), '') ||
		coalesce(s.heading || 'By tenant' || E'\n\n' || (SELECT deletion_guard_internal.incident_table('["tenant", "lost", "back", "in the bin", "gone", "state", "contact", "name"]', jsonb_agg(jsonb_build_array(
				coalesce(t ->> 'tenant', '(none)'), deletion_guard_internal.incident_number(t -> 'rows'), deletion_guard_internal.incident_number(t -> 'back'), deletion_guard_internal.incident_number(t -> 'left'),
				deletion_guard_internal.incident_number(t -> 'gone'), deletion_guard_internal.incident_state(t ->> 'state'), t -> 'contact', t -> 'tenant_name') ORDER BY n), 'lrrrrlll', $2)
				FROM jsonb_array_elements($1 -> 'by_tenant') WITH ORDINALITY e(t, n)), '') || E'\n'
	FROM style s;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_text IS 'part of incident_report(): as text or markdown';

/*
 * A mailing list: a line for each tenant.
 */
CREATE FUNCTION deletion_guard_internal.incident_csv(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN (SELECT deletion_guard_internal.incident_table('["tenant", "tenant_name", "contact", "rows_lost", "rows_back", "rows_in_bin", "rows_gone", "state"]',
				coalesce(jsonb_agg(jsonb_build_array(t -> 'tenant', t -> 'tenant_name', t -> 'contact', t -> 'rows', t -> 'back', t -> 'left', t -> 'gone',
					deletion_guard_internal.incident_state(t ->> 'state')) ORDER BY n) FILTER (WHERE t ->> 'tenant' IS NOT NULL), '[]'), '', 'csv')
			FROM jsonb_array_elements($1 -> 'by_tenant') WITH ORDINALITY e(t, n));
COMMENT ON FUNCTION deletion_guard_internal.incident_csv IS 'part of incident_report(): as csv, a mailing list';

CREATE FUNCTION deletion_guard.incident_report(deletions bigint[] = NULL, since timestamptz = NULL, until timestamptz = NULL,
		format text = 'text') RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	facts jsonb;
BEGIN
	IF format IS NULL OR format NOT IN ('text', 'markdown', 'csv', 'html') THEN
		RAISE invalid_parameter_value USING MESSAGE = format('"%s" is no format of a report', format),
			HINT = 'Formats are text, markdown, csv and html.';
	END IF;
	facts := deletion_guard_internal.incident_facts(deletions, since, until);
	IF format = 'csv' AND facts -> 'labels' = 'false' THEN
		RAISE WARNING USING MESSAGE = 'names and contacts are left out',
			DETAIL = 'Whoever asked may not call deletion_guard.tenant_label().';
	END IF;
	RETURN CASE format WHEN 'csv' THEN deletion_guard_internal.incident_csv(facts)
		WHEN 'html' THEN deletion_guard_internal.incident_html(facts)
		ELSE deletion_guard_internal.incident_text(facts, format) END;
END
$$;
COMMENT ON FUNCTION deletion_guard.incident_report IS
	'what to tell customers and managers of these deletions, or of all from since to until (without any: of the last 24 hours): when, by whom, by what statement, which tenants, rows lost and back by table and tenant, what is running and left; as text, markdown, csv (a mailing list) or html (one page that needs nothing else: psql -Atc > page.html). Runs with the rights of whoever asks: SELECT on the views deletion and deletion_detail is needed; names and contacts take EXECUTE on tenant_label(), when rows came back SELECT on ledger. Fails with 42704 for a deletion that is not there, 22023 for another format, or for deletions and a time at once';
/*
 * The report as a page: one file, without scripts, that asks nothing of the network
 * and forbids itself to. It follows the reader's light or dark setting, becomes cards
 * on a phone, and is black on white in print. All of it is ASCII but for the values.
 */
CREATE FUNCTION deletion_guard_internal.incident_style() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN $css$
:root{color-scheme:light dark;--paper:#fff;--ground:#f5f6f8;--ink:#17202e;--soft:#586374;--line:#dfe3e9;--lost:#c4314b;--back:#15803d;--wait:#b45309;--gone:#6b7280;--code:#f0f2f5}
@media (prefers-color-scheme:dark){:root{--paper:#171c24;--ground:#0e1218;--ink:#e8ecf2;--soft:#9aa6b6;--line:#2c3541;--lost:#f0788b;--back:#4cc38a;--wait:#eba552;--gone:#8d97a5;--code:#1f2630}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main{max-width:68rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:clamp(1.7rem,1.2rem + 2.4vw,2.6rem);line-height:1.15;margin:.2rem 0 .8rem;letter-spacing:-.02em;text-wrap:balance}
h2{font-size:1.15rem;margin:0 0 1rem}
p{margin:0 0 .6rem}
.kicker,.made,footer{color:var(--soft);font-size:.875rem}
.kicker{text-transform:uppercase;letter-spacing:.08em;font-weight:600;font-size:.75rem;margin:0}
.lead{font-size:1.125rem;max-width:48rem}
section{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:1.4rem;margin-top:1.25rem}
bdi{unicode-bidi:isolate;overflow-wrap:anywhere}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{display:flex;gap:2px;height:.9rem;border-radius:99px;overflow:hidden;background:var(--line)}
.bar i{display:block;min-width:3px}
.b{background:var(--back)}.w{background:var(--wait)}.g{background:var(--gone)}.l{background:var(--lost)}
.sums{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:1rem;margin:1.1rem 0 0}
.sums div{border-inline-start:4px solid;padding-inline-start:.8rem}
.sums .b,.sums .w,.sums .g,.sums .l{background:none}
.sums .b{border-color:var(--back)}.sums .w{border-color:var(--wait)}.sums .g{border-color:var(--gone)}.sums .l{border-color:var(--lost)}
.sums dt{color:var(--soft);font-size:.875rem}
.sums dd{margin:0;font-size:1.5rem;line-height:1.3;font-weight:650;font-variant-numeric:tabular-nums}
.sums small{font-size:.8rem;font-weight:400;color:var(--soft)}
figure{margin:0 0 1.6rem}
svg{display:block;width:100%;height:8.5rem}
.axis{display:flex;justify-content:space-between;gap:1rem;color:var(--soft);font-size:.8rem;border-top:1px solid var(--line);padding-top:.35rem;font-variant-numeric:tabular-nums}
.axis span:last-child{text-align:right}
figcaption{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.8rem;color:var(--soft);margin-bottom:.4rem}
.key{display:inline-block;width:.7rem;height:.7rem;border-radius:2px;margin-inline-end:.4rem}
ol{list-style:none;margin:0;padding:0}
ol>li{position:relative;padding:0 0 1.25rem 1.6rem;border-left:2px solid var(--line);margin-left:.4rem}
ol>li:last-child{padding-bottom:0;border-color:transparent}
ol>li::before{content:"";position:absolute;left:-.45rem;top:.35rem;width:.75rem;height:.75rem;border-radius:50%;background:var(--lost);box-shadow:0 0 0 3px var(--paper)}
ol>li.back::before{background:var(--back)}
time{font-variant-numeric:tabular-nums;color:var(--soft);font-size:.875rem;display:block}
.who{color:var(--soft);font-size:.9rem;margin:0}
pre{margin:.6rem 0 0;padding:.7rem .9rem;background:var(--code);border-radius:8px;font:.82rem/1.5 ui-monospace,"SF Mono",Consolas,"DejaVu Sans Mono",monospace;white-space:pre-wrap;overflow-wrap:anywhere;max-height:16rem;overflow:auto}
section ul{margin:0;padding-inline-start:1.2rem}
section li+li{margin-top:.4rem}
table{width:100%;border-collapse:collapse;font-size:.925rem}
th{font-weight:600;font-size:.8rem;color:var(--soft);text-align:start;white-space:nowrap}
th,td{padding:.5rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th:first-child,td:first-child{padding-inline-start:0}th:last-child,td:last-child{padding-inline-end:0}
tbody tr:last-child td{border-bottom:0}
.id{display:block;color:var(--soft);font-size:.8rem}
.who-is{font-weight:600}
.mail{width:27%}
.zero{color:var(--soft);opacity:.6}
.pill{display:inline-block;white-space:nowrap;font-size:.8rem;font-weight:600;border:1px solid;border-radius:99px;padding:.05rem .6rem}
.back .pill,.rehydrated .pill{color:var(--back)}.waiting .pill,.partly .pill{color:var(--wait)}.gone .pill{color:var(--gone)}
.pick{position:absolute;opacity:0;pointer-events:none}
.pick+label{display:inline-block;border:1px solid var(--line);border-radius:99px;padding:.25rem .8rem;margin:0 .35rem .8rem 0;font-size:.875rem;cursor:pointer}
.pick:checked+label{background:var(--ink);border-color:var(--ink);color:var(--paper)}
.pick:focus-visible+label{outline:2px solid var(--wait);outline-offset:2px}
#s-waiting:checked~table tbody tr:not(.waiting),#s-partly:checked~table tbody tr:not(.partly),#s-back:checked~table tbody tr:not(.back),#s-gone:checked~table tbody tr:not(.gone),#s-rehydrated:checked~table tbody tr:not(.rehydrated){display:none}
footer{margin-top:1.5rem}
@media (max-width:44rem){
main{padding:1.4rem .8rem 3rem}section{padding:1.1rem;border-radius:10px}
thead{position:absolute;clip-path:inset(50%);height:1px;overflow:hidden}
table,tbody{display:block}
tr{display:grid;grid-template-columns:repeat(4,1fr);gap:.15rem .6rem;padding:.8rem 0;border-bottom:1px solid var(--line)}
tr:last-child{border-bottom:0}
td{border:0;padding:0}
td[data-l]::before{content:attr(data-l);display:block;font-size:.72rem;color:var(--soft)}
td.num{text-align:start}td.mail{width:auto}
td.wide{grid-column:1/-1}
td.state{grid-column:1/-1;margin-top:.3rem}
td:empty{display:none}
}
@media print{
:root{color-scheme:light;--paper:#fff;--ground:#fff;--ink:#000;--soft:#444;--line:#bbb;--lost:#b3203a;--back:#11702f;--wait:#a34a00;--gone:#555;--code:#f3f3f3}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
@page{margin:15mm}
body{font-size:10pt}main{max-width:none;padding:0}
section{border:0;border-top:1px solid var(--line);border-radius:0;padding:1rem 0 0}
h2{break-after:avoid}tr,li,figure{break-inside:avoid}thead{display:table-header-group}
table{font-size:8.5pt}th,td{padding:.25rem .4rem}
pre{max-height:none}.pick+label{display:none}
tbody tr{display:table-row!important}
}
$css$;
COMMENT ON FUNCTION deletion_guard_internal.incident_style IS 'part of incident_report(): how the page looks';

/* the share of one number in another, in percent */
CREATE FUNCTION deletion_guard_internal.incident_share(part jsonb, whole jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN coalesce(round(100.0 * ($1 #>> '{}')::numeric / nullif(($2 #>> '{}')::numeric, 0), 1), 0)::text;
COMMENT ON FUNCTION deletion_guard_internal.incident_share IS 'part of incident_report(): percent';

/* how much is back, in the bin, gone, as one bar */
CREATE FUNCTION deletion_guard_internal.incident_bar(counts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN '<div class="bar" aria-hidden="true">' || (SELECT coalesce(string_agg('<i class="' || v.class || '" style="width:' ||
			deletion_guard_internal.incident_share($1 -> v.what, $1 -> 'rows') || '%"></i>', '' ORDER BY v.n), '')
		FROM (VALUES (1, 'b', 'back'), (2, 'w', 'left'), (3, 'g', 'gone')) v(n, class, what) WHERE $1 -> v.what <> '0') || '</div>';
COMMENT ON FUNCTION deletion_guard_internal.incident_bar IS 'part of incident_report(): a bar';

CREATE FUNCTION deletion_guard_internal.incident_sums(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN '<section aria-label="Progress">' || deletion_guard_internal.incident_bar($1) || '<dl class="sums">' ||
		(SELECT string_agg('<div class="' || v.class || '"><dt>' || v.label || '</dt><dd>' || deletion_guard_internal.incident_number($1 -> v.what) ||
				CASE WHEN v.what = 'rows' THEN '' ELSE ' <small>' || deletion_guard_internal.incident_share($1 -> v.what, $1 -> 'rows') || '&nbsp;%</small>' END ||
				'</dd></div>', '' ORDER BY v.n)
		 FROM (VALUES (1, 'l', 'rows', 'Rows lost'), (2, 'b', 'back', 'Back'), (3, 'w', 'left', 'In the bin'), (4, 'g', 'gone', 'Gone')) v(n, class, what, label)
		 WHERE v.what <> 'gone' OR $1 -> 'gone' <> '0') ||
		'</dl></section>';
COMMENT ON FUNCTION deletion_guard_internal.incident_sums IS 'part of incident_report(): how much is lost and back';

/*
 * The picture: rows lost up, rows back down, by the square root of how many, so that
 * little is still seen beside much.
 */
CREATE FUNCTION deletion_guard_internal.incident_chart(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN '<figure><figcaption><span><span class="key l"></span>rows lost</span>' ||
		CASE WHEN $1 -> 'repairs' = 'null' THEN '' ELSE '<span><span class="key b"></span>rows back</span>' END || '</figcaption>' ||
		'<svg viewBox="0 0 600 200" preserveAspectRatio="none" role="img" aria-label="Rows lost and rows back over time">' ||
		(SELECT string_agg(bar.rect, '') FROM (
			SELECT max(greatest((e ->> 'lost')::numeric, (e ->> 'back')::numeric)) AS most FROM jsonb_array_elements($1 -> 'picture') e) m,
			jsonb_array_elements($1 -> 'picture') e, LATERAL (VALUES
				('<rect x="' || ((e ->> 'n')::int * 10 - 9) || '" width="8" y="' || 100 - round(98 * sqrt((e ->> 'lost')::numeric / m.most), 1) ||
				 '" height="' || round(98 * sqrt((e ->> 'lost')::numeric / m.most), 1) || '" fill="var(--lost)"/>'),
				('<rect x="' || ((e ->> 'n')::int * 10 - 9) || '" width="8" y="101" height="' ||
				 round(98 * sqrt((e ->> 'back')::numeric / m.most), 1) || '" fill="var(--back)"/>')) bar(rect)) ||
		'<path d="M0 100.5H600" stroke="var(--line)" vector-effect="non-scaling-stroke"/></svg><div class="axis"><span>' ||
		deletion_guard_internal.incident_time($1 -> 'begun') || '</span><span>' ||
		to_char(($1 ->> 'begun')::timestamptz + (($1 ->> 'picture_until')::timestamptz - ($1 ->> 'begun')::timestamptz) / 2,
				CASE WHEN ($1 ->> 'picture_until')::timestamptz - ($1 ->> 'begun')::timestamptz < '12:00' THEN 'HH24:MI:SS' ELSE 'YYYY-MM-DD HH24:MI' END) || '</span><span>' ||
		deletion_guard_internal.incident_time($1 -> 'picture_until') || '</span></div></figure>';
COMMENT ON FUNCTION deletion_guard_internal.incident_chart IS 'part of incident_report(): rows lost and back over time, drawn';

CREATE FUNCTION deletion_guard_internal.incident_timeline(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT '<section><h2>What happened</h2>' || deletion_guard_internal.incident_chart($1) || '<ol>' || string_agg(i.item, E'\n' ORDER BY i.at) || '</ol></section>'
	FROM (SELECT (a ->> 'since')::timestamptz AS at, '<li><time>' || deletion_guard_internal.incident_time(a -> 'since') || '</time><strong>' ||
				 deletion_guard_internal.incident_act(a) || '</strong><p class="who">by ' || deletion_guard_internal.incident_who(a, 'html') || '</p><pre dir="auto">' ||
				 replace(replace(replace(deletion_guard_internal.incident_statement(a), '&', '&amp;'), '<', '&lt;'), '>', '&gt;') || '</pre></li>' AS item
		  FROM jsonb_array_elements($1 -> 'acts') a
		  UNION ALL
		  SELECT (r.at #>> '{}')::timestamptz, '<li class="back"><time>' || deletion_guard_internal.incident_time(r.at) || '</time>' || r.line || '</li>'
		  FROM deletion_guard_internal.incident_repair_lines($1, 'html') r) i
	HAVING count(*) > 0;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_timeline IS 'part of incident_report(): what happened, in order';

/* a number of a table, which a phone shows with its heading */
CREATE FUNCTION deletion_guard_internal.incident_cell(value jsonb, label text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN '<td class="num' || CASE WHEN $1 = '0' THEN ' zero' ELSE '' END || '" data-l="' || $2 || '">' || deletion_guard_internal.incident_number($1) || '</td>';
COMMENT ON FUNCTION deletion_guard_internal.incident_cell IS 'part of incident_report(): a number in a table of the page';

CREATE FUNCTION deletion_guard_internal.incident_counts(counts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN deletion_guard_internal.incident_cell($1 -> 'rows', 'Lost') || deletion_guard_internal.incident_cell($1 -> 'back', 'Back') ||
		deletion_guard_internal.incident_cell($1 -> 'left', 'In the bin') || deletion_guard_internal.incident_cell($1 -> 'gone', 'Gone');
COMMENT ON FUNCTION deletion_guard_internal.incident_counts IS 'part of incident_report(): the numbers of a table or a tenant';

CREATE FUNCTION deletion_guard_internal.incident_page_tables(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT '<section><h2>Tables</h2><table><thead><tr><th>Table<th class="num">Lost<th class="num">Back<th class="num">In the bin<th class="num">Gone<tbody>' ||
		string_agg('<tr><td class="wide who-is"><bdi>' || deletion_guard_internal.incident_escape(t ->> 'name', 'html') || '</bdi></td>' ||
				   deletion_guard_internal.incident_counts(t) || '</tr>', E'\n' ORDER BY n) || '</table></section>'
	FROM jsonb_array_elements($1 -> 'by_table') WITH ORDINALITY e(t, n)
	HAVING count(*) > 0;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_page_tables IS 'part of incident_report(): the tables, on the page';

CREATE FUNCTION deletion_guard_internal.incident_page_tenants(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	WITH tenant AS (SELECT t, n, t ->> 'state' AS state FROM jsonb_array_elements($1 -> 'by_tenant') WITH ORDINALITY e(t, n)),
	choice AS (SELECT '<input type="radio" class="pick" name="s" id="s-all" checked><label for="s-all">all ' ||
					  deletion_guard_internal.incident_number(to_jsonb((SELECT count(*) FROM tenant))) || '</label>' ||
					  string_agg('<input type="radio" class="pick" name="s" id="s-' || s.state || '"><label for="s-' || s.state || '">' ||
								 deletion_guard_internal.incident_state(s.state) || ' ' || deletion_guard_internal.incident_number(to_jsonb(s.n)) || '</label>', '' ORDER BY s.n DESC) AS html
			   FROM (SELECT state, count(*) AS n FROM tenant GROUP BY state) s HAVING count(*) > 1)
	SELECT '<section><h2>Tenants</h2>' || coalesce((SELECT html FROM choice), '') ||
		'<table><thead><tr><th>Tenant<th>Contact<th class="num">Lost<th class="num">Back<th class="num">In the bin<th class="num">Gone<th>State<tbody>' ||
		string_agg('<tr class="' || state || '"><td class="wide"><bdi class="who-is">' ||
				   coalesce(deletion_guard_internal.incident_escape(coalesce(t ->> 'tenant_name', t ->> 'tenant'), 'html'), 'rows of no tenant') || '</bdi>' ||
				   CASE WHEN t ->> 'tenant_name' IS NULL THEN '' ELSE '<bdi class="id">' || deletion_guard_internal.incident_escape(t ->> 'tenant', 'html') || '</bdi>' END ||
				   '</td><td class="wide mail">' || coalesce('<bdi>' || deletion_guard_internal.incident_escape(t ->> 'contact', 'html') || '</bdi>', '') || '</td>' ||
				   deletion_guard_internal.incident_counts(t) || '<td class="state"><span class="pill">' || deletion_guard_internal.incident_state(state) || '</span>' ||
				   coalesce('<span class="id">' || deletion_guard_internal.incident_time(t -> 'rehydrated_at') || '</span>', '') || '</td></tr>', E'\n' ORDER BY n) ||
		'</table></section>'
	FROM tenant
	HAVING count(*) > 0;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_page_tenants IS 'part of incident_report(): the tenants, on the page';

CREATE FUNCTION deletion_guard_internal.incident_page_list(title text, lines text[]) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN (SELECT '<section><h2>' || $1 || '</h2><ul><li>' || string_agg(l, '</li><li>') || '</li></ul></section>' FROM unnest($2) l);
COMMENT ON FUNCTION deletion_guard_internal.incident_page_list IS 'part of incident_report(): lines, on the page';

CREATE FUNCTION deletion_guard_internal.incident_html(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN concat_ws(E'\n', '<!DOCTYPE html>', '<html lang="en">', '<head>',
		'<meta charset="' || CASE WHEN current_setting('client_encoding') ~ '^(UTF8|SQL_ASCII)$' THEN 'utf-8'
			ELSE replace(regexp_replace(lower(current_setting('client_encoding')), '^win', 'windows-'), 'latin1', 'iso-8859-1') END || '">',
		'<meta name="viewport" content="width=device-width,initial-scale=1">',
		'<meta http-equiv="Content-Security-Policy" content="default-src ''none''; style-src ''unsafe-inline''">',
		'<meta name="referrer" content="no-referrer">', '<meta name="robots" content="noindex">',
		'<title>' || deletion_guard_internal.incident_headline($1) || '</title>',
		'<style>' || deletion_guard_internal.incident_style() || '</style>', '</head>', '<body><main>', '<header><p class="kicker">Incident report</p>',
		'<h1>' || deletion_guard_internal.incident_headline($1) || '</h1>', '<p class="lead">' || deletion_guard_internal.incident_lead($1) || '</p>',
		'<p class="made">' || deletion_guard_internal.incident_scope($1) || ' in database <bdi>' || deletion_guard_internal.incident_escape($1 ->> 'database', 'html') ||
			'</bdi>. As of ' || deletion_guard_internal.incident_time($1 -> 'made_at') || ' (' || deletion_guard_internal.incident_escape($1 ->> 'zone', 'html') || ').</p></header>',
		CASE WHEN $1 -> 'deletions' <> '0' THEN deletion_guard_internal.incident_sums($1) END, deletion_guard_internal.incident_timeline($1),
		deletion_guard_internal.incident_page_list('Running now', ARRAY(SELECT deletion_guard_internal.incident_running_lines($1, 'html'))),
		deletion_guard_internal.incident_page_list('Left to do', ARRAY(SELECT deletion_guard_internal.incident_left_lines($1))),
		deletion_guard_internal.incident_page_tables($1), deletion_guard_internal.incident_page_tenants($1),
		'<footer>Made by deletion_guard. ' || CASE WHEN $1 -> 'labels' = 'true' THEN 'This page names people and how to reach them: pass it on with care. ' ELSE '' END ||
			'Times are in ' || deletion_guard_internal.incident_escape($1 ->> 'zone', 'html') || '.</footer>', '</main></body>', '</html>') || E'\n';
COMMENT ON FUNCTION deletion_guard_internal.incident_html IS 'part of incident_report(): as a page';
/*
 * Seeing what is not protected.
 */

CREATE FUNCTION deletion_guard_internal.not_ordinary(relation oid) RETURNS text
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_not_ordinary';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.not_ordinary FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.not_ordinary IS
	'why a table, or a partition or child of it, is not one that can be guarded, and what to do; null if nothing is in the way';

CREATE FUNCTION deletion_guard_internal.guarded_with(relation oid) RETURNS oid
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_guarded_with';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.guarded_with FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.guarded_with IS
	'the guarded table that a table is, or is a part of: a partition, or a chunk of a hypertable; null if it is not guarded';

-- Tables that hold tenants' rows, as far as one can tell from their columns and
-- foreign keys. Just-in-time compilation takes longer than any of these queries,
-- whose costs are overestimated. How many rows they look at is underestimated where
-- many tables were made a moment ago: then nested loops would take minutes.
CREATE FUNCTION deletion_guard_internal.find_unguarded_tables()
RETURNS TABLE (relation regclass, why text, obstacle text, undecided boolean)
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off SET enable_nestloop = off
AS $$
	WITH RECURSIVE
	tenants AS (
		SELECT g.relation::oid AS relid
		FROM deletion_guard.guard g
		WHERE g.tenant_column IS NOT NULL OR g.tenant_path IS NOT NULL OR g.tenant IS NOT NULL
		UNION
		SELECT t.relation::oid FROM deletion_guard.tenant_table t),
	-- names of tenant columns; the tenant table's own key is "id" or the like
	tenant_column AS (
		SELECT g.tenant_column AS name, min(g.relation::text COLLATE "C") AS relation
		FROM deletion_guard.guard g
		WHERE g.tenant_column IS NOT NULL
			AND NOT EXISTS (SELECT FROM deletion_guard.tenant_table t WHERE t.relation = g.relation)
		GROUP BY g.tenant_column),
	candidate AS (
		SELECT c.oid AS relid
		FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
			AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'deletion_guard', 'deletion_guard_bin')
			-- what an extension makes in a schema of its own is part of other tables
			AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid
				AND d.deptype = 'e')
			AND NOT EXISTS (SELECT FROM deletion_guard.guard g WHERE g.relation = c.oid)),
	-- candidates from which foreign keys lead to tenants' rows
	reached(relid) AS (
		SELECT relid FROM tenants
		UNION
		SELECT k.conrelid
		FROM reached
		JOIN pg_constraint k ON k.confrelid = reached.relid AND k.contype = 'f'
		JOIN candidate ON candidate.relid = k.conrelid),
	reason AS (
		SELECT t.relation::oid AS relid, 0 AS place, 'it is the tenant table' AS why
		FROM deletion_guard.tenant_table t
		UNION ALL
		SELECT i.inhrelid, 1, format('it inherits from %s, which is guarded', i.inhparent::regclass)
		FROM pg_inherits i JOIN tenants ON tenants.relid = i.inhparent
		UNION ALL
		SELECT a.attrelid, 2, format('column %I, the tenant column of %s', a.attname, c.relation)
		FROM pg_attribute a JOIN tenant_column c ON c.name = a.attname
		WHERE a.attnum > 0 AND NOT a.attisdropped
		UNION ALL
		SELECT k.conrelid, CASE WHEN tenants.relid IS NULL THEN 4 ELSE 3 END,
			format('foreign key %I to %s', k.conname, k.confrelid::regclass)
				|| CASE WHEN tenants.relid IS NULL THEN ', which holds tenants'' rows' ELSE '' END
		FROM pg_constraint k
		JOIN reached ON reached.relid = k.confrelid
		LEFT JOIN tenants ON tenants.relid = k.confrelid
		WHERE k.contype = 'f' AND k.conrelid <> k.confrelid
		UNION ALL
		-- tables that guard_schema() could not place, until somebody decides
		SELECT c.oid, 5, format('it is in schema %I, which is guarded, and nothing tells whose its rows are', s.schema_name)
		FROM deletion_guard.guarded_schema s
		JOIN pg_namespace n ON n.nspname = s.schema_name
		JOIN pg_class c ON c.relnamespace = n.oid
		WHERE NOT EXISTS (SELECT FROM deletion_guard.left_unguarded l WHERE l.schema_name = n.nspname AND l.table_name = c.relname)
			AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
	SELECT u.relation, u.why || coalesce(' (left unguarded by ' || quote_ident(l.left_by) || ')', ''),
		deletion_guard_internal.not_ordinary(u.relation), u.place = 5
	FROM (SELECT DISTINCT ON (candidate.relid) candidate.relid::regclass AS relation, reason.why, reason.place
		FROM candidate JOIN reason ON reason.relid = candidate.relid
		ORDER BY candidate.relid, reason.place, reason.why) u
	JOIN pg_class c ON c.oid = u.relation
	JOIN pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN deletion_guard.left_unguarded l ON l.schema_name = n.nspname AND l.table_name = c.relname
	ORDER BY u.relation::oid
$$;
COMMENT ON FUNCTION deletion_guard_internal.find_unguarded_tables IS 'what the view unguarded_table shows';

CREATE VIEW deletion_guard.unguarded_table AS
	SELECT relation, why || coalesce('; it cannot be guarded: ' || obstacle, '') AS why
	FROM deletion_guard_internal.find_unguarded_tables();
GRANT SELECT ON deletion_guard.unguarded_table TO PUBLIC;
COMMENT ON VIEW deletion_guard.unguarded_table IS
	'tables that are not guarded but hold tenants'' rows, and why we think so; and tables of guarded schemas of which nothing tells whose rows they have, until that is decided: guard_table() without a column, or leave_unguarded()';
COMMENT ON COLUMN deletion_guard.unguarded_table.relation IS 'table that is not guarded';
COMMENT ON COLUMN deletion_guard.unguarded_table.why IS 'why we think that it holds tenants'' rows';

/*
 * verify() asks these, each about one side. A row for each thing that was
 * looked at: ok, or what is wrong and what to do.
 */
CREATE FUNCTION deletion_guard_internal.unreached_hooks() RETURNS text[]
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_unreached_hooks';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.unreached_hooks FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.unreached_hooks IS
	'which of the guard''s hooks another library keeps from being called';

CREATE FUNCTION deletion_guard_internal.server_hides_merge() RETURNS boolean
	LANGUAGE C STABLE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_server_hides_merge';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.server_hides_merge FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.server_hides_merge IS
	'part of verify(): does this minor release of the server hide rows that a MERGE deletes from triggers?';

CREATE FUNCTION deletion_guard_internal.server_setting(name text) RETURNS text
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_server_setting';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.server_setting FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.server_setting IS
	'part of verify(): a setting, whoever owns the extension';

-- The server, the session, and the extension itself.
CREATE FUNCTION deletion_guard_internal.verify_server()
RETURNS TABLE (check_name text, object text, ok boolean, detail text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH preload AS (
		SELECT bool_or(trim(l) ~ '^"?(\$libdir/)?deletion_guard(\.so)?"?$') IS TRUE AS everywhere
		FROM unnest(string_to_array(deletion_guard_internal.server_setting('shared_preload_libraries'), ',')) l)
	SELECT 'preload', NULL, v.ok,
		CASE WHEN v.ok THEN 'loaded when a session starts'
			 ELSE 'the library loads with the first DDL command or guarded table that a session touches. Until '
				  'then, what fires no trigger gets past it: DDL with event triggers off, or in single-user mode. '
				  'And a MERGE that deletes rows of a partitioned table and moves others to another partition is '
				  'refused, as it cannot be told which are which. SET of what only superusers may set seems to work, until the '
				  'library loads: it does not take such a value, and warns. Add deletion_guard to session_preload_libraries or shared_preload_libraries.' END
	FROM (SELECT everywhere OR EXISTS (
			SELECT FROM unnest(string_to_array(deletion_guard_internal.server_setting('session_preload_libraries'), ',')) l
			WHERE trim(l) ~ '^"?(\$libdir/)?deletion_guard(\.so)?"?$') AS ok
		  FROM preload) v

	UNION ALL
	SELECT 'server version', current_setting('server_version'), v.ok,
		CASE WHEN v.ok THEN 'as tested'
			 ELSE 'this minor release hides rows that a MERGE deletes from triggers, so they are captured one by one; not those of a '
				  'MERGE inside the function that loads the library. Preload it, or install the latest minor release.' END
	FROM (SELECT NOT deletion_guard_internal.server_hides_merge() AS ok) v

	UNION ALL
	SELECT 'hooks', h.hook, h.hook IS NULL,
		CASE WHEN h.hook IS NULL THEN 'all are called'
			 ELSE 'not called: a library loaded after deletion_guard does not pass calls on. Load deletion_guard last, or do without that library.' END
	FROM (SELECT unnest(CASE WHEN u.hooks = '{}' THEN '{NULL}'::text[] ELSE u.hooks END) AS hook
		  FROM (SELECT deletion_guard_internal.unreached_hooks() AS hooks) u) h

	UNION ALL
	SELECT 'counting', NULL, v.ok,
		CASE WHEN v.ok THEN 'PostgreSQL counts the rows that are deleted, and they are compared with those that are kept'
			 ELSE 'track_counts is off: rows that are deleted without firing triggers go unnoticed, and guarded tables cannot be truncated. Set it on.' END
	FROM (SELECT deletion_guard_internal.server_setting('track_counts') = 'on' AND current_setting('track_counts') = 'on' AS ok) v

	UNION ALL
	SELECT 'event triggers', e.name, p.oid IS NOT NULL AND t.evtenabled = 'A',
		CASE WHEN t.oid IS NULL THEN 'it does not exist. Reinstall the extension: DDL goes unseen in new sessions, and new tables are not guarded.'
			 WHEN p.oid IS NULL THEN 'it calls another function. Reinstall the extension.'
			 WHEN t.evtenabled <> 'A' THEN format('it is not enabled always. ALTER EVENT TRIGGER %I ENABLE ALWAYS.', e.name) END
	FROM (VALUES ('deletion_guard_ddl_start', 'ddl_start'), ('deletion_guard_ddl_end', 'ddl_end')) AS e (name, function)
	LEFT JOIN pg_event_trigger t ON t.evtname = e.name
	LEFT JOIN pg_proc p ON p.oid = t.evtfoid AND p.proname = e.function AND p.pronamespace = 'deletion_guard_internal'::regnamespace

	UNION ALL
	SELECT 'settings', s.name, s.value = s.wanted,
		CASE WHEN s.value <> s.wanted THEN format('it is "%s" here. %s', s.value, s.advice) END
	FROM (VALUES
		('event_triggers', coalesce(current_setting('event_triggers', true), 'on'), 'on',
		 'Without event triggers new tables and partitions are not guarded. Set it to on.'),
		('session_replication_role', current_setting('session_replication_role'), 'origin',
		 'The application''s own triggers and foreign keys do not fire. Set it to origin.'),
		('deletion_guard.restoring', (SELECT reset_val FROM pg_settings WHERE name = 'deletion_guard.restoring'), 'off',
		 'It opens the bin and the ledger to superusers; set it in the session that restores a dump only.'),
		('deletion_guard.ddl', (SELECT replace(reset_val, 'keep', 'refuse') FROM pg_settings WHERE name = 'deletion_guard.ddl'), 'refuse',
		 'Guarded tables may be dropped, and their rows are lost. Set it to refuse or keep.'),
		('allow_system_table_mods', (SELECT reset_val FROM pg_settings WHERE name = 'allow_system_table_mods'), 'off',
		 'Superusers may take guard triggers out of the catalogs by hand. Set it to off.'))
		AS s (name, value, wanted, advice)

	UNION ALL
	SELECT 'stored settings', concat_ws(' in ', 'role ' || r.rolname, 'database ' || d.datname), false,
		format('%s. Take it back with ALTER ROLE or ALTER DATABASE ... RESET %s.', s.setting, split_part(s.setting, '=', 1))
	FROM preload, pg_db_role_setting c
	CROSS JOIN LATERAL unnest(c.setconfig) AS s (setting)
	LEFT JOIN pg_roles r ON r.oid = c.setrole
	LEFT JOIN pg_database d ON d.oid = c.setdatabase
	CROSS JOIN LATERAL (SELECT lower(split_part(s.setting, '=', 1)) AS name,
							   lower(substr(s.setting, strpos(s.setting, '=') + 1)) AS value) v
	WHERE (c.setdatabase = 0 OR d.datname = current_database())
		AND (v.name = 'deletion_guard.restoring' AND v.value NOT IN ('off', 'of', 'false', 'f', 'no', 'n', '0')
			 OR v.name = 'deletion_guard.ddl' AND v.value NOT IN ('refuse', 'keep')
			 OR v.name = 'session_replication_role' AND v.value <> 'origin'
			 OR v.name = 'event_triggers' AND v.value IN ('off', 'of', 'false', 'f', 'no', 'n', '0')
			 OR v.name = 'allow_system_table_mods' AND v.value NOT IN ('off', 'of', 'false', 'f', 'no', 'n', '0')
			 OR v.name = 'session_preload_libraries' AND NOT preload.everywhere AND v.value !~ 'deletion_guard')

	UNION ALL
	SELECT 'setting privileges', p.parname, false,
		format('%s may %s it, and so lift the guard. REVOKE %s ON PARAMETER %s FROM %s.', v.grantee, a.privilege_type,
			   a.privilege_type, p.parname, v.grantee)
	FROM pg_parameter_acl p
	CROSS JOIN LATERAL aclexplode(p.paracl) a
	LEFT JOIN pg_roles r ON r.oid = a.grantee
	CROSS JOIN LATERAL (SELECT coalesce(quote_ident(r.rolname), 'PUBLIC') AS grantee) v
	WHERE (p.parname IN ('deletion_guard.restoring', 'deletion_guard.locked', 'deletion_guard.authorities_file',
						 'allow_system_table_mods', 'event_triggers', 'session_preload_libraries', 'shared_preload_libraries')
			 OR p.parname = 'deletion_guard.ddl' AND a.privilege_type = 'ALTER SYSTEM')	-- "allow" is for superusers only, who may not expect it
		AND r.rolsuper IS NOT TRUE

	UNION ALL
	SELECT 'ceilings', NULL, true,
		CASE WHEN max_rows = 0 AND max_tenants = 0 AND wipes = 0
			 THEN 'none is set. Set deletion_guard.max_tenants and deletion_guard.tenant_wipes_per_hour to what the application needs.'
			 ELSE format('max_rows %s, max_tenants %s, tenant_wipes_per_hour %s%s', max_rows, max_tenants, wipes,
						 CASE WHEN current_setting('deletion_guard.limit_action') = 'warning' THEN '; they only warn' ELSE '' END) END
	FROM (SELECT current_setting('deletion_guard.max_rows')::integer AS max_rows,
				 current_setting('deletion_guard.max_tenants')::integer AS max_tenants,
				 current_setting('deletion_guard.tenant_wipes_per_hour')::integer AS wipes) c

	UNION ALL
	SELECT 'retention', NULL, r.value !~ '^\s*0+\s*[a-zA-Z]*$',
		CASE WHEN r.value ~ '^\s*0+\s*[a-zA-Z]*$' THEN 'none: deleted rows may be purged at once. Set deletion_guard.retention.'
			 WHEN r.value ~ '^\s*(-1)?\s*$' THEN 'deleted rows are kept for ever'
			 ELSE r.value END
	FROM (SELECT current_setting('deletion_guard.retention') AS value) r

	UNION ALL
	SELECT 'lock', NULL, l.everywhere OR NOT (l.locked OR l.file),
		CASE WHEN NOT l.everywhere AND (l.locked OR l.file)
			 THEN format('%s set, which does not bind: a reload changes that, and a session may have it otherwise before it loads the library. '
						 'Add deletion_guard to shared_preload_libraries and restart the server.',
						 CASE WHEN l.locked AND l.file THEN 'deletion_guard.locked and deletion_guard.authorities_file are'
							  WHEN l.locked THEN 'deletion_guard.locked is' ELSE 'deletion_guard.authorities_file is' END)
			 WHEN l.locked AND l.file THEN 'giving up protection takes a token, and authorities come from a file'
			 WHEN l.locked THEN 'giving up protection takes a token. Set deletion_guard.authorities_file too, so that SQL cannot name authorities.'
			 ELSE 'a table''s owner may give up its protection. Set deletion_guard.locked and deletion_guard.authorities_file in postgresql.conf, to make that take a token.' END
	FROM (SELECT everywhere, coalesce(current_setting('deletion_guard.locked', true), 'off') = 'on' AS locked,
				 coalesce(current_setting('deletion_guard.authorities_file', true), '') <> '' AS file
		  FROM preload) l

	UNION ALL
	SELECT 'authorities', NULL, a.problem IS NULL,
		coalesce(a.problem || CASE WHEN coalesce(a.active, 0) = 0 THEN '. No token counts until that is repaired.'
								   ELSE '. Give the file and its directory to another owner.' END,
				 CASE WHEN a.active = 0 THEN 'none is enrolled: nothing can be purged'
					  ELSE format('%s enrolled in %s, of which a purge takes %s', a.active, a.source,
								  greatest(current_setting('deletion_guard.approvals', true)::integer, (SELECT approvals FROM deletion_guard.approval_policy))) END)
	FROM deletion_guard.authority_source() a

	UNION ALL
	SELECT 'ledger', CASE WHEN NOT l.ok THEN 'deletion_guard.ledger' END, l.ok AND c.ahead IS NULL,
		CASE WHEN NOT l.ok THEN l.problem || '. Compare with a copy or a head kept elsewhere, and find out who did it.'
			 WHEN c.ahead IS NOT NULL THEN format('the server''s clock is behind its last entry, of %s, so purges are refused. Set the clock right.', c.ahead)
			 ELSE l.entries || ' entries' END
	FROM deletion_guard.verify_ledger() l
	CROSS JOIN (SELECT max(at) AS ahead FROM deletion_guard.ledger WHERE at > clock_timestamp()) c

	UNION ALL
	-- a new installation is given the interval to have its first
	SELECT 'drills', NULL, v.problem IS NULL,
		coalesce(v.problem, CASE WHEN v.wanted IS NULL THEN 'not expected: deletion_guard.drill_interval is not set'
								 WHEN v.succeeded IS NULL THEN format('one is expected every %s', v.setting)
								 ELSE 'the last one succeeded' END)
	FROM (SELECT d.*, CASE
			WHEN d.wanted IS NULL THEN NULL
			WHEN d.failed IS NOT NULL THEN d.failed
			WHEN coalesce(d.succeeded, d.since) < clock_timestamp() - d.wanted
				THEN format('none has succeeded for %s. Rehearse a restore with deletion_guard.drill(); deletion_guard.drill_interval says how often.', d.setting)
			END AS problem
		  FROM (SELECT s.setting, CASE WHEN s.setting !~ '^\s*(-1)?\s*$' THEN s.setting::interval END AS wanted,
					   (SELECT min(i.live_since) FROM deletion_guard.installation i) AS since,
					   (SELECT max(r.drilled_at) FROM deletion_guard.drill_result r WHERE r.matches) AS succeeded,
					   (SELECT format('the last one of tenant %s, from %s, did not succeed: %s. Repair that, and call deletion_guard.drill() again.',
									  r.tenant, r.archive, r.problem)
						FROM deletion_guard.drill_result r
						WHERE NOT r.matches AND NOT EXISTS (SELECT FROM deletion_guard.drill_result later
							WHERE later.tenant = r.tenant AND later.matches AND later.drill_id > r.drill_id)
							AND r.drilled_at > clock_timestamp() - CASE WHEN s.setting !~ '^\s*(-1)?\s*$' THEN s.setting::interval END
						ORDER BY r.drill_id DESC LIMIT 1) AS failed
				FROM (SELECT coalesce(current_setting('deletion_guard.drill_interval', true), '') AS setting) s) d) v

	UNION ALL
	SELECT 'archives', NULL, true,
		CASE a.inflater WHEN 'ISA-L' THEN 'gzip is read through ISA-L'
			 ELSE 'gzip is read through zlib, at about a third of the speed of ISA-L. Build deletion_guard where libisal-dev is installed.' END
	FROM deletion_guard_internal.archive_inflater() a (inflater)

	UNION ALL
	SELECT 'extension', e.extversion, e.extversion = a.default_version AND r.rolsuper,
		CASE WHEN e.extversion <> a.default_version THEN format('version %s is installed on the server. ALTER EXTENSION deletion_guard UPDATE.', a.default_version)
			 WHEN NOT r.rolsuper THEN format('its owner %I is not a superuser any more, so what it must write down or make may be refused, and deletions '
				  'with it. ALTER ROLE %I SUPERUSER, or REASSIGN OWNED BY %I TO a superuser.', r.rolname, r.rolname, r.rolname)
			 ELSE 'version ' || e.extversion END
	FROM pg_extension e
	LEFT JOIN pg_available_extensions a ON a.name = e.extname
	JOIN pg_roles r ON r.oid = e.extowner
	WHERE e.extname = 'deletion_guard'

	UNION ALL
	SELECT 'functions', 'deletion_guard_internal.' || f.name || '()', v.problem IS NULL, v.problem
	FROM unnest('{capture_statement,capture_row,capture_truncate,capture_link,capture_rename,protect,ddl_start,ddl_end}'::name[]) AS f (name)
	JOIN pg_extension e ON e.extname = 'deletion_guard'
	LEFT JOIN pg_proc p ON p.pronamespace = 'deletion_guard_internal'::regnamespace AND p.proname = f.name
	LEFT JOIN pg_language l ON l.oid = p.prolang
	CROSS JOIN LATERAL (SELECT CASE
		WHEN p.oid IS NULL THEN 'it does not exist. Reinstall the extension.'
		WHEN l.lanname <> 'c' OR p.prosrc <> 'dg_' || f.name OR p.probin <> '$libdir/deletion_guard'
			THEN 'it was replaced by another. Reinstall the extension, and find out who did it.'
		WHEN NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
							AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e')
			THEN 'it does not belong to the extension any more. ALTER EXTENSION deletion_guard ADD FUNCTION.'
		END AS problem) v
	UNION ALL
	-- some run with their owner's rights
	SELECT 'functions', p.oid::regprocedure::text, false,
		format('it belongs to %I, not to the owner of the extension. ALTER FUNCTION %s OWNER TO %I.',
			   pg_get_userbyid(p.proowner), p.oid::regprocedure, pg_get_userbyid(e.extowner))
	FROM pg_extension e
	JOIN pg_proc p ON p.pronamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_internal'::regnamespace) AND p.proowner <> e.extowner
	WHERE e.extname = 'deletion_guard'
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.verify_server FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.verify_server IS 'part of verify(): the server, the session, the extension';

-- The tables that are guarded, and those that should be.
CREATE FUNCTION deletion_guard_internal.verify_tables()
RETURNS TABLE (check_name text, object text, ok boolean, detail text)
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	-- guarded tables with their partitions, and chunks
	WITH RECURSIVE member AS (
		SELECT g.relation, g.relation AS root FROM deletion_guard.guard g
		UNION ALL
		SELECT p.relid, g.relation
		FROM deletion_guard.guard g CROSS JOIN LATERAL pg_partition_tree(g.relation) p
		WHERE NOT EXISTS (SELECT FROM deletion_guard.guard own WHERE own.relation = p.relid)
		UNION ALL
		SELECT i.inhrelid, g.relation
		FROM deletion_guard.guard g JOIN pg_inherits i ON i.inhparent = g.relation
		JOIN pg_class c ON c.oid = i.inhrelid AND NOT c.relispartition
		WHERE deletion_guard_internal.guarded_with(i.inhrelid) = g.relation),
	guarded AS (
		SELECT m.relation, c.relkind, c.relpersistence,
			-- then rows may leave by a statement on another table (see guard_trigger.c);
			-- a table that had children once may still be captured row by row
			CASE WHEN c.relispartition THEN pg_partition_root(c.oid) <> m.root
				 WHEN c.relkind = 'p' THEN false
				 ELSE EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid OR i.inhparent = c.oid)
					OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'deletion_guard_capture_row' AND t.tgenabled = 'A')
						AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'deletion_guard_capture')
			END AS by_row
		FROM member m JOIN pg_class c ON c.oid = m.relation
		WHERE c.relkind <> 'f'),
	wanted AS (
		SELECT relation, 'deletion_guard_capture' AS name, 'capture_statement' AS function, 'A' AS mode
		FROM guarded WHERE NOT by_row
		UNION ALL
		SELECT relation, 'deletion_guard_capture_row', 'capture_row', CASE WHEN by_row THEN 'A' ELSE 'R' END
		FROM guarded WHERE relkind <> 'p'
		UNION ALL
		SELECT relation, 'deletion_guard_truncate', 'capture_truncate', 'A' FROM guarded
		UNION ALL
		SELECT g.relation, 'deletion_guard_link', 'capture_link', 'A' FROM guarded g
		WHERE g.relkind <> 'p' AND EXISTS (SELECT FROM pg_constraint k
			WHERE k.conrelid = g.relation AND k.contype = 'f' AND k.confdeltype IN ('n', 'd'))
		UNION ALL
		SELECT g.relation, 'deletion_guard_rename', 'capture_rename', 'A' FROM guarded g
		WHERE g.relkind <> 'p' AND EXISTS (SELECT FROM member m JOIN deletion_guard.tenant_table t ON t.relation = m.root
			WHERE m.relation = g.relation)),
	-- children have their parents' columns, and so what the foreign keys say of them
	kin AS (
		SELECT i.inhrelid AS child, i.inhparent AS parent
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND NOT c.relispartition
		UNION
		SELECT k.child, i.inhparent FROM kin k JOIN pg_inherits i ON i.inhrelid = k.parent),
	-- each tenant path, followed constraint by constraint
	walk AS (
		SELECT g.relation, g.tenant_path AS path, 1 AS next, g.relation::oid AS at
		FROM deletion_guard.guard g WHERE g.tenant_path <> '{}'
		UNION ALL
		SELECT w.relation, w.path, w.next + 1, k.confrelid
		FROM walk w JOIN pg_constraint k ON k.conname = w.path[w.next] AND k.contype = 'f'
			AND (k.conrelid = w.at OR EXISTS (SELECT FROM kin WHERE kin.child = w.at AND kin.parent = k.conrelid))),
	walked AS (
		SELECT DISTINCT ON (relation) relation, path, next, at FROM walk ORDER BY relation, next DESC),
	unguarded AS MATERIALIZED (
		SELECT relation, why, obstacle, undecided FROM deletion_guard_internal.find_unguarded_tables())

	SELECT 'guarded tables', NULL, count(*) > 0,
		CASE WHEN count(*) = 0 THEN 'none: every DELETE is final. Call deletion_guard.guard_table() or guard_schema().'
			 ELSE count(*) || ' tables are guarded' END
	FROM deletion_guard.guard
	UNION ALL
	SELECT 'guarded tables', coalesce(b.name, 'table ' || g.relation::oid), false,
		format('it was dropped without deletion_guard having been asked. Find out by whom; its rows may be in a backup. '
			'Then call deletion_guard.unguard_table(%s).', g.relation::oid)
	FROM deletion_guard.guard g
	CROSS JOIN LATERAL (SELECT max(b.relation_name) AS name FROM deletion_guard.bin b WHERE b.relation = g.relation) b
	WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = g.relation)

	UNION ALL
	SELECT 'tenant table', t.relation::text, v.problem IS NULL,
		coalesce(v.problem, 'key ' || quote_ident(t.key_column))
	FROM (SELECT) AS one
	LEFT JOIN deletion_guard.tenant_table t ON true
	CROSS JOIN LATERAL (SELECT CASE
		WHEN t.relation IS NULL
			THEN 'none is set: purges cannot compare names, and tenants are not counted. Call deletion_guard.set_tenant_table().'
		WHEN NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.relation)
			THEN 'it does not exist. Call deletion_guard.set_tenant_table() with the present one.'
		WHEN NOT EXISTS (SELECT FROM pg_index i
				JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
				WHERE i.indrelid = t.relation AND a.attname = t.key_column AND i.indisunique AND i.indisvalid
					AND i.indnkeyatts = 1 AND i.indpred IS NULL)
			THEN format('its key %I is not unique. Make it unique, or name another key with deletion_guard.set_tenant_table().', t.key_column)
		WHEN t.name_column IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute a
				WHERE a.attrelid = t.relation AND a.attname = t.name_column AND NOT a.attisdropped)
			THEN format('its column %I does not exist. Call deletion_guard.set_tenant_table() anew.', t.name_column)
		WHEN NOT EXISTS (SELECT FROM deletion_guard.guard g WHERE g.relation = t.relation)
			THEN 'it is not guarded itself. Call deletion_guard.guard_table() for it, with its key as the tenant column.'
		END AS problem) v

	UNION ALL
	SELECT 'guard triggers', format('%s on %s', w.name, w.relation), v.problem IS NULL, v.problem
	FROM wanted w
	LEFT JOIN pg_trigger t ON t.tgrelid = w.relation AND t.tgname = w.name
	LEFT JOIN pg_proc p ON p.oid = t.tgfoid AND p.pronamespace = 'deletion_guard_internal'::regnamespace AND p.proname = w.function
	CROSS JOIN LATERAL (SELECT CASE
		WHEN t.oid IS NULL THEN 'it does not exist. Call deletion_guard.guard_table() again.'
		WHEN p.oid IS NULL THEN 'it calls another function. Drop it and call deletion_guard.guard_table() again.'
		WHEN t.tgqual IS NOT NULL AND w.function <> 'capture_link' THEN 'it has a condition. Drop it and call deletion_guard.guard_table() again.'
		WHEN t.tgenabled <> w.mode::"char"
			THEN format('it is %s. Call deletion_guard.guard_table() again.',
				CASE t.tgenabled WHEN 'D' THEN 'disabled' WHEN 'A' THEN 'enabled always' WHEN 'R' THEN 'enabled for replicas only'
					ELSE 'not enabled for replicas' END)
		END AS problem) v

	UNION ALL
	SELECT DISTINCT 'guard triggers', t.tgrelid::regclass::text, false,
		'it has guard triggers but is not enrolled, so deletions from it fail. Call deletion_guard.guard_table() for it, '
		'or drop its triggers whose names begin with "deletion_guard_".'
	FROM pg_trigger t
	JOIN pg_proc p ON p.oid = t.tgfoid AND p.pronamespace = 'deletion_guard_internal'::regnamespace
		AND p.proname IN ('capture_statement', 'capture_row', 'capture_truncate', 'capture_link')
	WHERE NOT EXISTS (SELECT FROM member m WHERE m.relation = t.tgrelid)

	UNION ALL
	SELECT 'tenant sources', g.relation::text, v.problem IS NULL, v.problem
	FROM deletion_guard.guard g
	JOIN pg_class c ON c.oid = g.relation
	LEFT JOIN walked w ON w.relation = g.relation
	CROSS JOIN LATERAL (SELECT CASE
		WHEN g.tenant_column IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute a
				WHERE a.attrelid = g.relation AND a.attname = g.tenant_column AND NOT a.attisdropped)
			THEN format('its tenant column %I does not exist, so its deletions fail. Call deletion_guard.guard_table() with the present one.', g.tenant_column)
		WHEN w.next <= cardinality(w.path)
			THEN format('%s has no foreign key %I, so deletions from it fail. Call deletion_guard.guard_table() with the present path.',
				w.at::regclass, w.path[w.next])
		WHEN w.next > cardinality(w.path)
				AND NOT EXISTS (SELECT FROM deletion_guard.tenant_table t WHERE t.relation = w.at)
				AND NOT EXISTS (SELECT FROM deletion_guard.guard e WHERE e.relation = w.at AND e.tenant_column IS NOT NULL)
			THEN format('its tenant path ends at %s, which knows no tenant, so its deletions fail. Guard that table with a tenant column.', w.at::regclass)
		END AS problem) v

	UNION ALL
	SELECT 'tenant sources', s.relation::text, false,
		format('its tenant path leads %s, so deletions from it fail. Call deletion_guard.guard_table() with the present path.', v.problem)
	FROM deletion_guard.guard_step s
	CROSS JOIN LATERAL (SELECT CASE
		WHEN s.foreign_key IS NOT NULL AND NOT EXISTS (SELECT FROM pg_constraint k
				WHERE k.conrelid = s.source AND k.conname = s.foreign_key AND k.contype = 'f')
			THEN format('over %I, which is no foreign key of %s', s.foreign_key, s.source)
		WHEN EXISTS (SELECT FROM unnest(s.columns || s.type_column) c (name) WHERE c.name IS NOT NULL
				AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = s.source AND a.attname = c.name AND NOT a.attisdropped))
			THEN format('over columns that %s does not have', s.source)
		WHEN s.target IS NOT NULL AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.target) THEN 'to a table that does not exist'
		WHEN EXISTS (SELECT FROM unnest(s.key_columns) c (name)
				WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = s.target AND a.attname = c.name AND NOT a.attisdropped))
			THEN format('to columns that %s does not have', s.target)
		WHEN s.step = (SELECT max(l.step) FROM deletion_guard.guard_step l WHERE l.relation = s.relation) AND s.target IS NOT NULL
				AND NOT EXISTS (SELECT FROM deletion_guard.tenant_table t WHERE t.relation = s.target)
				AND NOT EXISTS (SELECT FROM deletion_guard.guard e WHERE e.relation = s.target
					AND (e.tenant_column IS NOT NULL OR e.tenant_path IS NOT NULL))
			THEN format('to %s, which knows no tenant', s.target)
		END AS problem) v
	WHERE v.problem IS NOT NULL

	UNION ALL
	SELECT 'storage', m.relation::text, v.problem IS NULL, v.problem
	FROM member m
	JOIN pg_class c ON c.oid = m.relation
	-- its partitions are asked about one by one
	CROSS JOIN LATERAL (SELECT CASE WHEN c.relkind <> 'p' THEN deletion_guard_internal.not_ordinary(c.oid) END AS odd) o
	CROSS JOIN LATERAL (SELECT CASE
		WHEN o.odd IS NOT NULL THEN format('%s Deletions from it fail, or are not kept.', o.odd)
		WHEN c.relpersistence = 'u' THEN 'it is unlogged: a crash empties it. ALTER TABLE ... SET LOGGED.'
		WHEN c.relnatts > 1597 AND (SELECT count(*) > 1597 FROM pg_attribute a
				WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v')
			THEN 'it has more than 1597 columns, to which the bin would add 3 of its own, so deletions from it fail. '
				'Drop columns, or move some to another table.'
		END AS problem) v

	UNION ALL
	SELECT 'partition trees', g.relation::text, false,
		format('it is a partition of %s, which is not guarded: rows that UPDATE moves from here to another partition are kept as deleted ones. '
			'Call deletion_guard.guard_table() for %1$s.', pg_partition_root(g.relation))
	FROM deletion_guard.guard g JOIN pg_class c ON c.oid = g.relation AND c.relispartition
	WHERE NOT EXISTS (SELECT FROM member m WHERE m.relation = pg_partition_root(g.relation))

	UNION ALL
	SELECT DISTINCT 'row movement', m.root::text, false,
		'partitions have BEFORE INSERT triggers, which may keep rows away that UPDATE moves to them. In a session that has not loaded '
		'deletion_guard yet, such rows are lost. Add deletion_guard to session_preload_libraries or shared_preload_libraries.'
	FROM member m
	JOIN pg_class c ON c.oid = m.relation AND c.relispartition
	JOIN pg_trigger t ON t.tgrelid = m.relation AND t.tgtype & 7 = 7 AND t.tgenabled <> 'D'	-- row, before, insert
	WHERE NOT EXISTS (
		SELECT FROM unnest(string_to_array(deletion_guard_internal.server_setting('shared_preload_libraries') || ',' ||
										   deletion_guard_internal.server_setting('session_preload_libraries'), ',')) l
		WHERE trim(l) ~ '^"?(\$libdir/)?deletion_guard(\.so)?"?$')

	UNION ALL
	SELECT 'inheritance children', i.inhrelid::regclass::text,
		deletion_guard_internal.guarded_with(i.inhrelid) IS NOT NULL,
		CASE WHEN deletion_guard_internal.guarded_with(i.inhrelid) IS NULL
			 THEN 'it is not guarded, and its parent is. Call deletion_guard.guard_table() for it.' END
	FROM guarded g
	JOIN pg_inherits i ON i.inhparent = g.relation
	JOIN pg_class c ON c.oid = i.inhrelid
	WHERE g.relkind = 'r' AND c.relpersistence <> 't'

	UNION ALL
	SELECT 'guarded schemas', quote_ident(s.schema_name), n.oid IS NOT NULL OR s.tenant IS NOT NULL,
		CASE WHEN n.oid IS NULL AND s.tenant IS NOT NULL THEN format('it does not exist; rows of its tables are tenant %s''s', s.tenant)
			 WHEN n.oid IS NULL THEN 'it does not exist; tables to come are guarded once it does. If it has another name now, or is gone for good, call deletion_guard.guard_schema() for one that exists.' END
	FROM deletion_guard.guarded_schema s LEFT JOIN pg_namespace n ON n.nspname = s.schema_name
	UNION ALL
	SELECT 'guarded schemas', quote_ident(n.nspname), false,
		format('tables of it, %s for one, are not guarded as a tenant''s, but its name matches pattern %s. Once it is known whose they are, call deletion_guard.guard_schemas(%L, %L) again.',
			c.relation, p.pattern, p.pattern, coalesce(p.tenant_from::text, 'name'))
	FROM deletion_guard.schema_pattern p
	JOIN pg_namespace n ON n.nspname::text COLLATE "C" LIKE p.pattern AND n.nspname NOT LIKE 'pg\_%'
		AND n.nspname NOT LIKE 'deletion\_guard%' AND n.nspname NOT IN ('information_schema', 'public')
	-- once, not for each schema
	JOIN (SELECT c.relnamespace, min(c.oid::regclass::text COLLATE "C") AS relation
		FROM pg_class c LEFT JOIN deletion_guard.guard g ON g.relation = c.oid
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
			AND c.relnamespace <> 'deletion_guard_bin'::regnamespace
			AND num_nonnulls(g.tenant, g.tenant_column, g.tenant_path) = 0
		GROUP BY c.relnamespace) c ON c.relnamespace = n.oid
	WHERE NOT EXISTS (SELECT FROM deletion_guard.tenant_table t JOIN pg_class k ON k.oid = t.relation WHERE k.relnamespace = n.oid)
		AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')

	UNION ALL
	SELECT 'large objects', m.relation::text, t.tgname IS NULL,
		CASE WHEN t.tgname IS NOT NULL THEN format('its trigger %I unlinks large objects, which do not go to the bin, when rows are deleted. '
			'Drop it, and let vacuumlo remove those that nothing refers to: it looks into the bin as well.', t.tgname) END
	FROM member m
	LEFT JOIN (pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid AND p.prosrc = 'lo_manage')
		ON t.tgrelid = m.relation AND t.tgenabled <> 'D' AND t.tgtype & 8 <> 0

	UNION ALL
	SELECT 'cascades', k.conrelid::regclass::text, false,
		format(CASE k.confdeltype WHEN 'c' THEN 'its rows are deleted with those of %s (%I), and not kept.'
				   ELSE 'when rows of %s are deleted (%I), its links to them are taken, and not kept.' END
			   || ' Call deletion_guard.guard_table() for it.', k.confrelid::regclass, k.conname)
	FROM pg_constraint k
	JOIN member m ON m.relation = k.confrelid
	WHERE k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd') AND k.conparentid = 0
		AND NOT EXISTS (SELECT FROM member own WHERE own.relation = k.conrelid)
		AND NOT EXISTS (SELECT FROM unguarded u WHERE u.relation = k.conrelid AND NOT u.undecided)

	UNION ALL
	SELECT 'unguarded tables', u.relation::text, false,
		u.why || coalesce('; it cannot be guarded: ' || u.obstacle,
			CASE WHEN u.undecided THEN '. Call deletion_guard.guard_table() for it, without a column if they are no tenant''s, or leave_unguarded().'
				 ELSE '. Call deletion_guard.guard_table() for it, if its rows are worth it.' END)
	FROM unguarded u
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.verify_tables FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.verify_tables IS 'part of verify(): guarded tables, and those that should be';

-- What the extension keeps: who can get at it.
CREATE FUNCTION deletion_guard_internal.verify_stores()
RETURNS TABLE (check_name text, object text, ok boolean, detail text)
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH store AS (
		SELECT c.oid, c.oid::regclass::text AS name, c.relkind, c.relpersistence, c.relowner, c.relacl, c.relam,
			c.relforcerowsecurity, n.nspname = 'deletion_guard_bin' AS is_bin, e.extowner
		FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_extension e ON e.extname = 'deletion_guard'
		WHERE n.nspname IN ('deletion_guard', 'deletion_guard_bin') AND c.relkind IN ('r', 'p', 'S', 'v')),
	our_schema AS (
		SELECT n.oid, n.nspname, n.nspacl, n.nspowner, e.extowner
		FROM pg_namespace n JOIN pg_extension e ON e.extname = 'deletion_guard'
		WHERE n.nspname IN ('deletion_guard', 'deletion_guard_bin', 'deletion_guard_internal'))

	SELECT 'store triggers', s.name, v.problem IS NULL, v.problem
	FROM store s
	CROSS JOIN LATERAL (SELECT coalesce(
		(SELECT format('its trigger %s %s. %s', w.name, x.problem, x.advice)
		 FROM (VALUES ('deletion_guard_protect', 62), ('deletion_guard_protect_row', 31)) AS w (name, type)
		 LEFT JOIN pg_trigger t ON t.tgrelid = s.oid AND t.tgname = w.name
		 LEFT JOIN pg_proc p ON p.oid = t.tgfoid AND p.pronamespace = 'deletion_guard_internal'::regnamespace AND p.proname = 'protect'
		 CROSS JOIN LATERAL (VALUES
			(p.oid IS NULL, 'is missing', 'Reinstall the extension, and find out who dropped it.'),
			(t.tgenabled <> 'A', 'is not enabled always', format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I.', s.name, w.name)),
			(t.tgtype & w.type <> w.type OR t.tgqual IS NOT NULL, 'does not cover every write', 'Reinstall the extension.'))
			AS x (seen, problem, advice)
		 WHERE x.seen
		 LIMIT 1),
		(SELECT 'it has a trigger or rule that is not deletion_guard''s. Drop it.'
		 WHERE EXISTS (SELECT FROM pg_trigger o WHERE o.tgrelid = s.oid AND NOT o.tgisinternal
						AND o.tgname NOT IN ('deletion_guard_protect', 'deletion_guard_protect_row'))
			OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = s.oid))) AS problem) v
	WHERE s.relkind = 'r'

	UNION ALL
	SELECT 'store ownership', s.name, v.problem IS NULL, v.problem
	FROM store s
	CROSS JOIN LATERAL (SELECT CASE
		WHEN s.relowner <> s.extowner THEN format('it belongs to %I, not to the owner of the extension. ALTER TABLE %s OWNER TO %I.',
			pg_get_userbyid(s.relowner), s.name, pg_get_userbyid(s.extowner))
		WHEN s.is_bin AND s.relkind = 'r' AND s.relam <> (SELECT a.oid FROM pg_am a WHERE a.amname = 'deletion_guard_bin') THEN
			'it is stored as an ordinary table, as after pg_restore --no-table-access-method: only its triggers protect its rows. They can be brought back; new ones go to another bin.'
		WHEN s.relpersistence = 'u' THEN format('it is unlogged: a crash empties it. ALTER TABLE %s SET LOGGED.', s.name)
		WHEN s.relforcerowsecurity THEN format('row security is forced on it, which may hide rows. ALTER TABLE %s NO FORCE ROW LEVEL SECURITY.', s.name)
		WHEN EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = s.oid OR i.inhparent = s.oid) THEN 'it is part of an inheritance tree. ALTER TABLE ... NO INHERIT.'
		END AS problem) v
	UNION ALL
	SELECT 'store ownership', 'schema ' || n.nspname, n.nspowner = n.extowner,
		CASE WHEN n.nspowner <> n.extowner THEN format('it does not belong to the owner of the extension. ALTER SCHEMA %I OWNER TO %I.', n.nspname, pg_get_userbyid(n.extowner)) END
	FROM our_schema n

	UNION ALL
	SELECT 'store privileges', s.name, v.granted IS NULL,
		CASE WHEN v.granted IS NOT NULL THEN format('granted: %s. REVOKE that.', v.granted) END
	FROM store s
	CROSS JOIN LATERAL (
		SELECT string_agg(format('%s to %s', a.privilege_type,
								 CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END),
						  ', ' ORDER BY a.privilege_type, a.grantee) AS granted
		FROM (SELECT * FROM aclexplode(s.relacl)
			  UNION
			  SELECT x.* FROM pg_attribute c CROSS JOIN LATERAL aclexplode(c.attacl) x WHERE c.attrelid = s.oid) a
		WHERE a.grantee <> s.relowner AND (s.is_bin OR a.privilege_type <> 'SELECT' OR a.grantee = 0)
			-- but views that everybody may read since the extension was installed
			AND NOT EXISTS (SELECT FROM pg_init_privs i CROSS JOIN LATERAL aclexplode(i.initprivs) o
							WHERE i.objoid = s.oid AND i.classoid = 'pg_class'::regclass AND i.objsubid = 0
								AND o.grantee = a.grantee AND o.privilege_type = a.privilege_type)) v
	UNION ALL
	SELECT 'store privileges', 'schema ' || n.nspname, v.granted IS NULL,
		CASE WHEN v.granted IS NOT NULL THEN format('granted: CREATE to %s. REVOKE that.', v.granted) END
	FROM our_schema n
	CROSS JOIN LATERAL (
		SELECT string_agg(CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', ' ORDER BY a.grantee) AS granted
		FROM aclexplode(n.nspacl) a
		WHERE a.grantee <> n.nspowner AND a.privilege_type = 'CREATE') v

	UNION ALL
	SELECT 'function privileges', p.oid::regprocedure::text, false,
		'everybody may execute it, which was not so when the extension was installed. REVOKE EXECUTE ... FROM PUBLIC.'
	FROM pg_proc p
	LEFT JOIN pg_init_privs i ON i.objoid = p.oid AND i.classoid = 'pg_proc'::regclass AND i.objsubid = 0
	WHERE p.pronamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_internal'::regnamespace)
		AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)
		AND NOT EXISTS (SELECT FROM aclexplode(coalesce(i.initprivs, acldefault('f', p.proowner))) a WHERE a.grantee = 0)

	UNION ALL
	SELECT 'default privileges', concat_ws(' in ', 'role ' || d.defaclrole::regrole::text, 'schema ' || n.nspname), false,
		'grants on tables that the extension''s owner makes hold for new bin tables. ALTER DEFAULT PRIVILEGES ... REVOKE.'
	FROM pg_default_acl d
	JOIN pg_extension e ON e.extname = 'deletion_guard' AND e.extowner = d.defaclrole
	LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
	WHERE d.defaclobjtype = 'r' AND (d.defaclnamespace = 0 OR n.nspname = 'deletion_guard_bin')
		AND EXISTS (SELECT FROM aclexplode(d.defaclacl) a WHERE a.grantee <> d.defaclrole)

	UNION ALL
	SELECT 'bins', CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.oid = b.bin_table) THEN b.bin_table::text ELSE 'bin of ' || b.relation_name END,
		v.problem IS NULL, v.problem
	-- rows are counted only where they cannot simply come back
	FROM (SELECT b.bin_id, b.bin_table, b.relation, b.relation_name, c.rows
		  FROM deletion_guard.bin b
		  LEFT JOIN LATERAL (SELECT sum(p.rows - p.restored - p.purged) AS rows FROM deletion_guard.deletion_part p
							 WHERE p.bin_id = b.bin_id
								 AND (NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = b.relation)
									  OR b.bin_id IN (SELECT e.bin_id FROM deletion_guard.empty_bin e))) c ON true) b
	CROSS JOIN LATERAL (SELECT CASE
		WHEN b.rows > 0 AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = b.bin_table)
			THEN format('it is gone, with %s rows of %s. Find out who dropped it, and look for them in a backup.', b.rows, b.relation_name)
		WHEN b.rows > 0 AND b.bin_id IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)
			THEN format('it is empty, where %s rows of %s are recorded: the database was restored without them. They are where it was dumped.', b.rows, b.relation_name)
		WHEN b.rows > 0 AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = b.relation)
			THEN format('it holds %s rows of %s, which was dropped. If another table takes its place, deletion_guard.adopt_bin(%L, ...) gives it these rows.', b.rows, b.relation_name, b.bin_table)
		END AS problem) v

	UNION ALL
	SELECT 'sequences', v.name, false,
		format('it stands at %s, and the last number that was used is %s: somebody has set it. Members of pg_write_all_data may. '
			'Nothing is lost by that: the next number that is drawn puts it right.', v.value, coalesce(v.last, 0))
	FROM (VALUES
		('deletion_guard.deletion_id_seq', (SELECT last_value FROM deletion_guard.deletion_id_seq),
			(SELECT max(deletion_id) FROM deletion_guard.deletion_part), 4294967296),
		('deletion_guard.bin_id_seq', (SELECT last_value FROM deletion_guard.bin_id_seq), (SELECT max(bin_id) FROM deletion_guard.bin), 65536),
		('deletion_guard.purge_request_id_seq', (SELECT last_value FROM deletion_guard.purge_request_id_seq),
			(SELECT max(request_id) FROM deletion_guard.purge_request_record), 4294967296),
		('deletion_guard.purge_id_seq', (SELECT last_value FROM deletion_guard.purge_id_seq),
			(SELECT max(purge_id) FROM deletion_guard.purge_record), 4294967296),
		('deletion_guard.hold_id_seq', (SELECT last_value FROM deletion_guard.hold_id_seq), (SELECT max(hold_id) FROM deletion_guard.hold), 4294967296))
		v (name, value, last, leap)
	WHERE v.value < v.last OR v.value - coalesce(v.last, 0) > v.leap

	UNION ALL
	SELECT 'scrub', r.index::text, false,
		format('invalid: a scrub of %s was stopped. Every write keeps it up. The next deletion_guard.scrub() removes it; with resume => true it also goes on.', r.relation)
	FROM deletion_guard_internal.scrub_remains() r
	WHERE NOT EXISTS (SELECT FROM pg_stat_progress_create_index s, pg_index i WHERE i.indexrelid = r.index AND s.relid = i.indrelid)

	UNION ALL
	SELECT 'publications', format('%I: %s', p.pubname, x.what), false,
		'a subscriber that lacks the tables of deletion_guard stops at the first change of one; where it has them, deleted rows leave this server. '
			'Publish the application''s tables by name or by schema instead.'
	FROM pg_publication p
	CROSS JOIN LATERAL (
		SELECT 'all tables' AS what WHERE p.puballtables
		UNION ALL
		SELECT 'all sequences' WHERE (to_jsonb(p) ->> 'puballsequences')::boolean	-- from 19 on
		UNION ALL
		SELECT s.name FROM pg_publication_rel r JOIN store s ON s.oid = r.prrelid WHERE r.prpubid = p.oid
		UNION ALL
		SELECT 'schema ' || o.nspname FROM pg_publication_namespace r JOIN our_schema o ON o.oid = r.pnnspid WHERE r.pnpubid = p.oid) x
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.verify_stores FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.verify_stores IS 'part of verify(): what the extension keeps, and who can get at it';

CREATE FUNCTION deletion_guard.verify()
RETURNS TABLE (check_name text, object text, ok boolean, detail text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH seen AS MATERIALIZED (
		SELECT * FROM deletion_guard_internal.verify_server()
		UNION ALL SELECT * FROM deletion_guard_internal.verify_tables()
		UNION ALL SELECT * FROM deletion_guard_internal.verify_stores()),
	listed AS (
		SELECT c.name, c.place
		FROM unnest('{preload,server version,hooks,counting,event triggers,settings,stored settings,setting privileges,extension,functions,ceilings,retention,'
					'lock,authorities,ledger,drills,archives,guarded tables,guarded schemas,tenant table,tenant sources,guard triggers,storage,'
					'partition trees,row movement,inheritance children,unguarded tables,cascades,large objects,bins,sequences,store triggers,store ownership,store privileges,'
					'function privileges,default privileges,scrub,publications}'::text[])
			WITH ORDINALITY AS c (name, place))
	SELECT r.check_name, r.object, r.ok, r.detail
	FROM (
		SELECT l.place, s.check_name, s.object, s.ok, s.detail
		FROM seen s LEFT JOIN listed l ON l.name = s.check_name
		WHERE NOT s.ok
		UNION ALL
		SELECT l.place, l.name, CASE WHEN count(s.*) = 1 THEN min(s.object) END, true,
			CASE WHEN count(s.*) = 1 AND min(s.detail) IS NOT NULL THEN min(s.detail)
				 WHEN count(s.*) = 0 THEN 'none'
				 ELSE count(s.*) || ' checked' END
		FROM listed l LEFT JOIN seen s ON s.check_name = l.name
		GROUP BY l.place, l.name
		HAVING bool_and(s.ok) IS NOT FALSE) r
	ORDER BY r.place, r.object COLLATE "C"
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard.verify FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.verify TO pg_monitor;
COMMENT ON FUNCTION deletion_guard.verify IS
	'every way in which protection could be less than it looks on this server, now: one row for each check, or for each thing that is wrong, with what to do';

/*
 * One row for monitoring. Each column is worked out only where it is asked for: that
 * holds as long as nothing in the view is volatile.
 */
CREATE FUNCTION deletion_guard_internal.count_problems() RETURNS bigint
	LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS 'SELECT count(*) FROM deletion_guard.verify() v WHERE NOT v.ok';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.count_problems FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard_internal.count_problems TO pg_monitor;
COMMENT ON FUNCTION deletion_guard_internal.count_problems IS 'part of the view status: how many checks of verify() are not ok';

CREATE FUNCTION deletion_guard_internal.bin_bytes() RETURNS bigint
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS 'SELECT coalesce(sum(pg_total_relation_size(b.bin_table)), 0)::bigint FROM deletion_guard.bin b';
COMMENT ON FUNCTION deletion_guard_internal.bin_bytes IS 'part of the views status and stat_deletion_guard: size of the bin on disk';

-- Deletions get their numbers in the order of time, but for moments: the first one of
-- the period is searched for by halves.
CREATE FUNCTION deletion_guard_internal.deletions_since(since timestamptz) RETURNS bigint
	LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	low bigint := 0;				-- is before the period
	high bigint := (SELECT p.deletion_id + 1 FROM deletion_guard.deletion_part p ORDER BY p.deletion_id DESC LIMIT 1);
	middle bigint;
	at timestamptz;
BEGIN
	WHILE high - low > 1 LOOP
		middle := low + (high - low) / 2;
		SELECT p.deleted_at INTO at FROM deletion_guard.deletion_part p
		WHERE p.deletion_id >= middle AND p.deleted_at IS NOT NULL ORDER BY p.deletion_id, p.part LIMIT 1;
		IF at < since - interval '1 minute' THEN
			low := middle;
		ELSE
			high := middle;
		END IF;
	END LOOP;
	RETURN (SELECT count(*) FROM deletion_guard.deletion_part p WHERE p.deletion_id >= high AND p.deleted_at > since);
END
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.deletions_since FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard_internal.deletions_since TO pg_monitor;
COMMENT ON FUNCTION deletion_guard_internal.deletions_since IS 'part of the view status: how many deletions there were since then';

CREATE VIEW deletion_guard.status AS
	SELECT (SELECT count(*) FROM deletion_guard.guard) AS guarded_tables,
		   (SELECT count(*) FROM deletion_guard_internal.find_unguarded_tables()) AS unguarded_tables,
		   -- sums of floats are fast, and exact up to 2^53
		   (SELECT coalesce(sum((p.rows - p.restored - p.purged)::float8), 0)::bigint
			FROM deletion_guard.deletion_part p
			WHERE p.bin_id NOT IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)) AS bin_rows,
		   deletion_guard_internal.bin_bytes() AS bin_bytes,
		   deletion_guard_internal.deletions_since(pg_catalog.statement_timestamp() - interval '1 hour') AS deletions_last_hour,
		   deletion_guard_internal.deletions_since(pg_catalog.statement_timestamp() - interval '1 day') AS deletions_last_day,
		   (SELECT coalesce(sum(w.rows), 0)::bigint FROM deletion_guard.tenant_wipe w
			WHERE w.wiped_at > pg_catalog.statement_timestamp() - interval '1 hour') AS tenants_wiped_last_hour,
		   (SELECT coalesce(sum(w.rows), 0)::bigint FROM deletion_guard.tenant_wipe w
			WHERE w.wiped_at > pg_catalog.statement_timestamp() - interval '1 day') AS tenants_wiped_last_day,
		   -- those that carry their deletion's record, and the others
		   (SELECT coalesce(sum((p.rows - p.restored - p.purged)::float8), 0)::bigint
			FROM deletion_guard.deletion_part p
			WHERE p.purge_not_before <= pg_catalog.statement_timestamp()
				AND p.bin_id NOT IN (SELECT e.bin_id FROM deletion_guard.empty_bin e))
		   + (SELECT coalesce(sum((p.rows - p.restored - p.purged)::float8), 0)::bigint
			FROM deletion_guard.deletion_part p
			WHERE p.deleted_at IS NULL
				AND p.deletion_id IN (SELECT d.deletion_id FROM deletion_guard.deletion_record d
									  WHERE d.purge_not_before <= pg_catalog.statement_timestamp())
				AND p.bin_id NOT IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)) AS rows_due,
		   (SELECT count(*) FROM deletion_guard.hold h WHERE h.released_at IS NULL) AS holds,
		   (SELECT count(*) FROM deletion_guard.purge_request_record r WHERE r.state = 'open') AS open_requests,
		   (SELECT max(r.drilled_at) FROM deletion_guard.drill_result r) AS last_drill,
		   deletion_guard_internal.count_problems() AS problems,
		   (SELECT max(r.drilled_at) FROM deletion_guard.drill_result r WHERE r.matches) AS last_successful_drill,
		   (SELECT max(r.last_at) FROM deletion_guard.refusal r) AS last_refusal,
		   (SELECT max(p.purged_at) FROM deletion_guard.purge_record p WHERE p.state <> 'begun') AS last_purge,
		   (SELECT d.deleted_at FROM deletion_guard.deletion_record d
			WHERE d.deletion_id = (SELECT p.deletion_id FROM deletion_guard.deletion_part p
								   WHERE p.rows > p.restored + p.purged
									   AND p.bin_id NOT IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)
								   ORDER BY p.deletion_id LIMIT 1)
			LIMIT 1) AS oldest_bin_row,
		   CASE WHEN EXISTS (SELECT FROM deletion_guard.empty_bin)
				THEN (SELECT coalesce(sum(p.rows - p.restored - p.purged), 0)::bigint
					  FROM deletion_guard.deletion_part p
					  WHERE p.bin_id IN (SELECT e.bin_id FROM deletion_guard.empty_bin e))
				ELSE 0 END AS rows_lost;
GRANT SELECT ON deletion_guard.status TO pg_monitor;
COMMENT ON VIEW deletion_guard.status IS
	'one row for monitoring: what is guarded, what is in the bin, what happened lately, what is open; problems are those that verify() sees';
COMMENT ON COLUMN deletion_guard.status.guarded_tables IS 'guarded tables; partitions count as their root';
COMMENT ON COLUMN deletion_guard.status.unguarded_tables IS 'tables that hold tenants'' rows and are not guarded';
COMMENT ON COLUMN deletion_guard.status.bin_rows IS 'rows in the bin';
COMMENT ON COLUMN deletion_guard.status.bin_bytes IS 'size of the bin on disk, in bytes';
COMMENT ON COLUMN deletion_guard.status.deletions_last_hour IS 'deletions in the last hour';
COMMENT ON COLUMN deletion_guard.status.deletions_last_day IS 'deletions in the last 24 hours';
COMMENT ON COLUMN deletion_guard.status.tenants_wiped_last_hour IS 'rows of the tenant table deleted in the last hour, undeleted or not';
COMMENT ON COLUMN deletion_guard.status.tenants_wiped_last_day IS 'the same in the last 24 hours';
COMMENT ON COLUMN deletion_guard.status.rows_due IS 'rows in the bin whose time to be kept is over';
COMMENT ON COLUMN deletion_guard.status.holds IS 'tenants'' holds in force';
COMMENT ON COLUMN deletion_guard.status.open_requests IS 'requests to purge that are open';
COMMENT ON COLUMN deletion_guard.status.last_drill IS 'when drill() last ran';
COMMENT ON COLUMN deletion_guard.status.problems IS 'checks of verify() that are not ok';
COMMENT ON COLUMN deletion_guard.status.last_successful_drill IS 'when a drill last found what it restored to match';
COMMENT ON COLUMN deletion_guard.status.last_refusal IS 'when a token was last refused';
COMMENT ON COLUMN deletion_guard.status.last_purge IS 'when rows were last purged';
COMMENT ON COLUMN deletion_guard.status.oldest_bin_row IS 'when the oldest rows in the bin were deleted';
COMMENT ON COLUMN deletion_guard.status.rows_lost IS 'rows that should be in the bin and are not, as the database was restored without it';

/*
 * What fills the disk, and since when.
 */
CREATE VIEW deletion_guard.bin_usage AS
	SELECT b.relation, b.relation_name, b.bin_table,
		   coalesce(pg_catalog.pg_total_relation_size(b.bin_table), 0) AS bytes,
		   CASE WHEN e.bin_id IS NULL THEN coalesce(u.rows, 0) ELSE 0 END AS rows,
		   CASE WHEN e.bin_id IS NULL THEN coalesce(u.rows_due, 0) ELSE 0 END AS rows_due,
		   CASE WHEN e.bin_id IS NULL THEN u.oldest END AS oldest,
		   CASE WHEN e.bin_id IS NOT NULL AND u.rows > 0 THEN pg_catalog.format('it is %s, where %s rows are recorded',
					CASE WHEN pg_catalog.pg_relation_size(b.bin_table) IS NULL THEN 'gone' ELSE 'empty' END, u.rows)
				WHEN b.relation = 0 AND u.rows > 0 THEN 'the table was dropped; adopt_bin() gives the rows to another'
		   END AS problem
	FROM deletion_guard.bin b
	LEFT JOIN deletion_guard.empty_bin e USING (bin_id)
	LEFT JOIN (SELECT p.bin_id, sum(p.rows - p.restored - p.purged)::bigint AS rows,
					  sum(p.rows - p.restored - p.purged)
						  FILTER (WHERE d.purge_not_before <= pg_catalog.statement_timestamp())::bigint AS rows_due,
					  min(d.deleted_at) AS oldest
			   FROM deletion_guard.deletion_part p
			   JOIN deletion_guard.deletion_record d USING (deletion_id)
			   WHERE p.rows > p.restored + p.purged
			   GROUP BY p.bin_id) u USING (bin_id);
GRANT SELECT ON deletion_guard.bin_usage TO pg_monitor;
COMMENT ON VIEW deletion_guard.bin_usage IS
	'the tables of the bin: how large they are, what is in them, how much of it is due, and since when; request_purge_by_age() empties them of old rows';
COMMENT ON COLUMN deletion_guard.bin_usage.relation IS 'table the rows were in; 0 if it was dropped';
COMMENT ON COLUMN deletion_guard.bin_usage.relation_name IS 'its name';
COMMENT ON COLUMN deletion_guard.bin_usage.bin_table IS 'table of the bin; a guarded table has one for each shape that its deleted rows had';
COMMENT ON COLUMN deletion_guard.bin_usage.bytes IS 'size on disk, in bytes; what a purge frees is used again, after VACUUM, by later deletions';
COMMENT ON COLUMN deletion_guard.bin_usage.rows IS 'rows in it';
COMMENT ON COLUMN deletion_guard.bin_usage.rows_due IS 'of these, rows whose time to be kept is over';
COMMENT ON COLUMN deletion_guard.bin_usage.oldest IS 'when the oldest of them were deleted';
COMMENT ON COLUMN deletion_guard.bin_usage.problem IS 'why its rows cannot simply come back';

/*
 * Cumulative, as the server's own statistics are.
 */
CREATE FUNCTION deletion_guard_internal.stat(OUT stats_reset timestamptz,
		OUT deletions bigint,
		OUT rows_deleted bigint,
		OUT tenants_deleted bigint,
		OUT undeletes bigint,
		OUT rows_undeleted bigint,
		OUT purges bigint,
		OUT rows_purged bigint,
		OUT rehydrates bigint,
		OUT rows_rehydrated bigint,
		OUT refused_ceilings bigint,
		OUT refused_expected bigint,
		OUT refused_ddl bigint,
		OUT refused_writes bigint,
		OUT refused_rows bigint,
		OUT refused_restores bigint,
		OUT refused_tokens bigint,
		OUT refused_purges bigint,
		OUT refused_archives bigint)
	LANGUAGE C VOLATILE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'dg_stat';
COMMENT ON FUNCTION deletion_guard_internal.stat IS 'what the view stat_deletion_guard shows';

CREATE VIEW deletion_guard.stat_deletion_guard AS
	SELECT s.deletions,
		   s.rows_deleted,
		   s.tenants_deleted,
		   s.undeletes,
		   s.rows_undeleted,
		   s.purges,
		   s.rows_purged,
		   s.rehydrates,
		   s.rows_rehydrated,
		   s.refused_ceilings,
		   s.refused_expected,
		   s.refused_ddl,
		   s.refused_writes,
		   s.refused_rows,
		   s.refused_restores,
		   s.refused_tokens,
		   s.refused_purges,
		   s.refused_archives,
		   deletion_guard_internal.bin_bytes() AS bin_bytes,
		   s.stats_reset
	FROM deletion_guard_internal.stat() s;
GRANT SELECT ON deletion_guard.stat_deletion_guard TO PUBLIC;
COMMENT ON VIEW deletion_guard.stat_deletion_guard IS
	'what happened in this database since stats_reset: counters that only go up, kept in memory, at no cost to read. What is done counts when its transaction commits or is prepared; refusals count when the error is reported to the client or the log, not where a function catches it';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.deletions IS 'deletions: statements that deleted from guarded tables';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.rows_deleted IS 'rows that went to the bin';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.tenants_deleted IS 'of these, rows of the tenant table';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.undeletes IS 'calls of undelete() and its kin that restored';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.rows_undeleted IS 'rows that they restored';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.purges IS 'purges';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.rows_purged IS 'rows that they destroyed';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.rehydrates IS 'calls of rehydrate() that restored';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.rows_rehydrated IS 'rows that they restored';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_ceilings IS 'deletions beyond a ceiling (TG001)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_expected IS 'deletions of tenants that the session did not expect (TG002)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_ddl IS 'commands that would have gone round the guard: DROP, DETACH, DISABLE TRIGGER (TG003)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_writes IS 'writes to the tables, functions and schemas of deletion_guard (TG004)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_rows IS 'deletions of rows that could not be kept (TG005)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_restores IS 'restores that met a conflict, or rows that do not fit (TG010 to TG013)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_tokens IS 'tokens (TG020 to TG02D)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_purges IS 'purges and other acts, for what they were to do (TG030 to TG038)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_archives IS 'archives that could not be read (TG040 to TG044)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.bin_bytes IS 'size of the bin on disk, now';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.stats_reset IS 'since when: the start of the server, or stat_reset(); null if nothing is counted, as the server has no shared memory left or more than 64 databases have deletion_guard';

CREATE FUNCTION deletion_guard.stat_reset() RETURNS void
	LANGUAGE C VOLATILE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'dg_stat_reset';
REVOKE EXECUTE ON FUNCTION deletion_guard.stat_reset FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.stat_reset IS 'sets the counters of stat_deletion_guard to zero';
/*
 * Every table of the extension refuses writes that the extension did not make.
 * Bin tables, made later, get the same triggers from create_bin_table() in
 * bin_shape.c; sql/store.sql compares them.
 * One without a key could not be written at all while a publication of all
 * tables has it, had it not a replica identity.
 */
DO $$
DECLARE
	t regclass;
BEGIN
	FOR t IN
		SELECT oid FROM pg_catalog.pg_class
		WHERE relnamespace = 'deletion_guard'::regnamespace AND relkind = 'r'
		ORDER BY oid
	LOOP
		EXECUTE pg_catalog.format('CREATE TRIGGER deletion_guard_protect '
			'BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s '
			'FOR EACH STATEMENT EXECUTE FUNCTION deletion_guard_internal.protect()', t);
		EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER deletion_guard_protect', t);
		EXECUTE pg_catalog.format('CREATE TRIGGER deletion_guard_protect_row '
			'BEFORE INSERT OR UPDATE OR DELETE ON %s '
			'FOR EACH ROW EXECUTE FUNCTION deletion_guard_internal.protect()', t);
		EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER deletion_guard_protect_row', t);
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = t AND i.indisprimary) THEN
			EXECUTE pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY FULL', t);
		END IF;
	END LOOP;
END
$$;
/*
 * Publications that would take the extension's tables along.
 */
CREATE FUNCTION deletion_guard_internal.refuse_published() RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_refuse_published';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.refuse_published FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.refuse_published IS
	'part of CREATE EXTENSION: fails where a publication has the extension''s tables, unless deletion_guard.publication is "allow"';
SELECT deletion_guard_internal.refuse_published();
