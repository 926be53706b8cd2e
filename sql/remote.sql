-- Rows that are deleted from another server, and what is not a row: foreign
-- tables, large objects.
CREATE DATABASE regress_dg_remote;
\set maintenance_db :DBNAME
\c regress_dg_remote
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION lo;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE, title text);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT relation, tenant_source, problem FROM deletion_guard.guard_schema('public', 'tenant_id') ORDER BY relation::text;
INSERT INTO tenant SELECT i, 'tenant ' || i FROM generate_series(1, 3) i;
INSERT INTO issue SELECT i, 1 + i % 3, 'issue ' || i FROM generate_series(1, 9) i;

-- This very server, seen from another.
DO $$
BEGIN
	EXECUTE format('CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L, application_name %L, options %L)',
				   split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database(),
				   'another server', '-c deletion_guard.reason=nightly -c deletion_guard.actor=batch');
END $$;
CREATE USER MAPPING FOR CURRENT_USER SERVER here;
CREATE SCHEMA remote;
IMPORT FOREIGN SCHEMA public LIMIT TO (tenant, issue) FROM SERVER here INTO remote;
CREATE FUNCTION taken() RETURNS TABLE (relation regclass, tenant text, rows bigint, reason text, actor text, application_name text) LANGUAGE sql
BEGIN ATOMIC
	SELECT d.relation, d.tenant, d.rows, r.reason, r.actor, r.application_name
	FROM deletion_guard.deletion_detail d JOIN deletion_guard.deletion r ON r.id = d.deletion_id
	WHERE d.deletion_id = (SELECT max(id) FROM deletion_guard.deletion) ORDER BY 1::text, 2;
END;
-- In one statement, and row by row: then each row is a statement of its own there.
EXPLAIN (VERBOSE, COSTS off) DELETE FROM remote.issue WHERE id < 3;
DELETE FROM remote.issue WHERE id < 3;
SELECT * FROM taken();
SELECT count(*) AS before FROM deletion_guard.deletion \gset
DELETE FROM remote.issue WHERE id < 5 AND random() >= 0 RETURNING id;
SELECT count(*) - :before AS more FROM deletion_guard.deletion;
TRUNCATE remote.issue;
SELECT * FROM taken();
DELETE FROM remote.tenant WHERE id = 2;
SELECT * FROM taken();
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenants('{1,2,3}') ORDER BY relation::text, tenant;
-- A transaction that is rolled back here is rolled back there.
BEGIN;
DELETE FROM remote.issue;
ROLLBACK;
SELECT count(*) FROM issue;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue);
-- Ceilings hold there.
CREATE PROCEDURE set_there(setting text, value text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('ALTER DATABASE %I SET %s = %L', current_database(), setting, value);
	PERFORM postgres_fdw_disconnect_all();
END $$;
CALL set_there('deletion_guard.max_tenants', '2');
DELETE FROM remote.issue; -- fails
CALL set_there('deletion_guard.max_tenants', '0');
CALL set_there('deletion_guard.expect_tenants', '1');
DELETE FROM remote.issue WHERE tenant_id = 2; -- fails
TRUNCATE remote.tenant CASCADE; -- fails
DELETE FROM remote.issue WHERE tenant_id = 1;
SELECT * FROM taken();
-- A foreign table is guarded where it is.
SELECT deletion_guard.guard_table('remote.issue', 'tenant_id'); -- fails
CREATE TABLE reading (id int, tenant_id int) PARTITION BY LIST (tenant_id);
CREATE FOREIGN TABLE reading_1 PARTITION OF reading FOR VALUES IN (1) SERVER here; -- fails
CREATE TABLE remote.reading (id int, tenant_id int) PARTITION BY LIST (tenant_id);
CREATE FOREIGN TABLE remote.reading_1 PARTITION OF remote.reading FOR VALUES IN (1) SERVER here;
CREATE TABLE remote.note (id int, tenant_id int);
CREATE FOREIGN TABLE remote.far_note () INHERITS (remote.note) SERVER here;
SELECT deletion_guard.guard_table('remote.reading', 'tenant_id'); -- fails
SELECT deletion_guard.guard_table('remote.note', 'tenant_id'); -- fails
SELECT postgres_fdw_disconnect_all() IS NOT NULL AS disconnected;

-- Large objects are no rows: a row that comes back refers to what is gone, if it
-- was unlinked. verify() tells of triggers that do so.
CREATE TABLE picture (id int, tenant_id int, content lo);
SELECT detail FROM deletion_guard.verify() WHERE check_name = 'large objects' AND NOT ok;
INSERT INTO picture VALUES (1, 1, lo_from_bytea(0, 'kept')), (2, 1, lo_from_bytea(0, 'unlinked')), (3, 1, lo_from_bytea(0, 'with the row'));
DELETE FROM picture WHERE id = 1;
SELECT lo_unlink(content) FROM picture WHERE id = 2;
DELETE FROM picture WHERE id = 2;
CREATE TRIGGER manage BEFORE UPDATE OR DELETE ON picture FOR EACH ROW EXECUTE FUNCTION lo_manage(content);
SELECT detail FROM deletion_guard.verify() WHERE check_name = 'large objects' AND NOT ok;
DELETE FROM picture WHERE id = 3;
SELECT sum(restored) FROM deletion_guard.undelete_tenant('1');
SELECT id, (SELECT convert_from(lo_get(content), 'UTF8') WHERE EXISTS (SELECT FROM pg_largeobject_metadata m WHERE m.oid = content)) AS content
FROM picture ORDER BY id;

\c :maintenance_db
DROP DATABASE regress_dg_remote;
