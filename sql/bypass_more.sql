-- What a superuser could do to come between a deletion and the bin, or to have a
-- bin that does not keep what it is given.
CREATE DATABASE regress_dg_bypass_more;
\set maintenance_db :DBNAME
\c regress_dg_bypass_more
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE, title text);
CREATE TABLE remark (id int PRIMARY KEY, issue_id int REFERENCES issue ON DELETE SET NULL);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT deletion_guard.guard_table('tenant', 'id');
SELECT deletion_guard.guard_table('issue', 'tenant_id');
SELECT deletion_guard.guard_table('remark');
INSERT INTO tenant SELECT i, 'tenant ' || i FROM generate_series(1, 4) i;
INSERT INTO issue SELECT i, 1 + i % 3, 'issue ' || i FROM generate_series(1, 9) i;
INSERT INTO issue VALUES (10, 4, 'issue 10');
INSERT INTO remark SELECT i, i FROM generate_series(1, 9) i;

-- A statement that changes the replication role between the deletion of a row
-- and its own end, either way; in a session that has not loaded the library, and
-- in one that has.
\c -
SET client_min_messages = warning;
DELETE FROM remark WHERE id = 9 RETURNING set_config('session_replication_role', 'replica', false);
DELETE FROM remark WHERE id = 8 RETURNING set_config('session_replication_role', 'origin', false);
DELETE FROM remark WHERE id = 7 RETURNING set_config('session_replication_role', 'replica', false);
RESET session_replication_role;
WITH gone AS (DELETE FROM remark WHERE id IN (5, 6) RETURNING id, set_config('session_replication_role', 'replica', false) AS role)
SELECT id, role, set_config('session_replication_role', 'origin', false) AS after FROM gone;
-- Cascades, and links that are lost, of rows that go while it changes.
DELETE FROM tenant WHERE id = 4 RETURNING set_config('session_replication_role', 'replica', false);
RESET session_replication_role;
DELETE FROM issue WHERE id = 1 RETURNING set_config('session_replication_role', 'replica', false);
RESET session_replication_role;
SELECT d.id, p.relation, sum(p.rows) AS rows FROM deletion_guard.deletion d
	JOIN deletion_guard.deletion_detail p ON p.deletion_id = d.id GROUP BY 1, 2 ORDER BY 1, 2;
SELECT deletion_id, count(*) FROM deletion_guard.deletion_link GROUP BY 1;
SELECT id, (SELECT sum(restored) FROM deletion_guard.undelete(id)) AS restored FROM deletion_guard.deletion ORDER BY 1 DESC;
SELECT count(*) AS tenants, (SELECT count(*) FROM issue) AS issues, (SELECT count(issue_id) FROM remark) AS remarks FROM tenant;

-- An index of links that wait must not list the others.
DELETE FROM issue WHERE id = 4;
SET enable_seqscan = off;
SELECT count(*) FROM deletion_guard.deletion_link WHERE relation = 'remark'::regclass AND waiting_since IS NOT NULL;
RESET enable_seqscan;
SELECT sum(restored) FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));

-- A bin that happens to be empty is no playground: rows will come.
SELECT relation, bin_table::text, (SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue)) AS rows
FROM deletion_guard.bin WHERE relation = 'issue'::regclass;
ALTER TABLE deletion_guard_bin.bin_3_issue SET UNLOGGED; -- fails
ALTER TABLE deletion_guard_bin.bin_3_issue DISABLE TRIGGER ALL; -- fails
ALTER TABLE deletion_guard_bin.bin_3_issue ALTER COLUMN _row TYPE text; -- fails
ALTER TABLE deletion_guard_bin.bin_3_issue DROP COLUMN _part; -- fails
ALTER TABLE deletion_guard_bin.bin_3_issue ADD PRIMARY KEY (_deletion, _part, _row); -- fails
ALTER TABLE deletion_guard_bin.bin_3_issue RENAME TO bin; -- fails
ALTER TABLE deletion_guard_bin.bin_3_issue RENAME COLUMN _row TO _part_; -- fails
ALTER TABLE deletion_guard_bin.bin_3_issue SET SCHEMA public; -- fails
ALTER TRIGGER deletion_guard_protect ON deletion_guard_bin.bin_3_issue RENAME TO protect; -- fails
DROP TRIGGER deletion_guard_protect ON deletion_guard_bin.bin_3_issue; -- fails
-- It can be dropped, and the next deletion makes another.
BEGIN;
DROP TABLE deletion_guard_bin.bin_3_issue;
DELETE FROM issue WHERE id = 4;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue);
ROLLBACK;

-- Before the library is loaded, whoever means it may write catalogs. Rows do not
-- go into a bin that is not as it was made.
\c -
BEGIN;
UPDATE pg_class SET relnamespace = 'public'::regnamespace WHERE relname = 'bin_3_issue';
DELETE FROM issue WHERE id = 4;
SELECT count(*) FROM public.bin_3_issue;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue);
ROLLBACK;

-- Else nobody writes catalogs.
SET client_min_messages = warning;
DELETE FROM issue WHERE id = 4;
SET allow_system_table_mods = on;
SET deletion_guard.ddl = allow;
UPDATE pg_class SET relnamespace = 'public'::regnamespace WHERE relname = 'bin_3_issue'; -- fails
UPDATE pg_class SET relpersistence = 'u' WHERE relname = 'bin_3_issue'; -- fails
UPDATE pg_class SET reltuples = 0, relkind = 'v' WHERE relname = 'bin_3_issue'; -- fails
UPDATE pg_class SET reltuples = 1000, relpages = 100 WHERE relname = 'issue';
UPDATE pg_namespace SET nspname = 'bin' WHERE nspname = 'deletion_guard_bin'; -- fails
DELETE FROM pg_extension WHERE extname = 'deletion_guard'; -- fails
UPDATE pg_attribute SET attisdropped = true WHERE attrelid = 'deletion_guard_bin.bin_3_issue'::regclass; -- fails
DELETE FROM pg_inherits; -- fails
DELETE FROM pg_trigger; -- fails
-- No longer a member of the extension, but not to be dropped.
\c -
SET client_min_messages = warning;
BEGIN;
DELETE FROM pg_depend WHERE objid = (SELECT oid FROM pg_event_trigger WHERE evtname = 'deletion_guard_ddl_start') AND deptype = 'e';
LOAD 'deletion_guard';
DROP EVENT TRIGGER deletion_guard_ddl_start; -- fails
ROLLBACK;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue);

\c :maintenance_db
DROP DATABASE regress_dg_bypass_more;
