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

