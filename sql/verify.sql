-- verify(): every way in which protection could be less than it looks.
CREATE DATABASE regress_dg_verify;
\set maintenance_db :DBNAME
\c regress_dg_verify
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_verify_app;
CREATE ROLE regress_dg_verify_monitor IN ROLE pg_monitor;
-- How the library is loaded depends on the server; so does the version.
CREATE VIEW problem AS -- the same before and after PostgreSQL got the privilege MAINTAIN
	SELECT check_name, object, regexp_replace(detail, 'MAINTAIN to \w+, ', '') AS detail FROM deletion_guard.verify() WHERE NOT ok AND check_name <> 'preload';
SELECT check_name, object, ok FROM deletion_guard.verify() WHERE check_name IN ('preload', 'hooks');
SELECT ok, detail LIKE 'gzip is read through ' || deletion_guard_internal.archive_inflater() || '%' AS named FROM deletion_guard.verify() WHERE check_name = 'archives';

-- Freshly installed.
TABLE problem;
-- What is restored into its tables is looked at.
BEGIN;
INSERT INTO deletion_guard.ledger VALUES (1, now(), 'guard_table', 'postgres', '{}', '', '');
SELECT * FROM problem WHERE check_name = 'ledger';
ROLLBACK;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE);
CREATE TABLE remark (id int PRIMARY KEY, issue_id int CONSTRAINT remark_issue REFERENCES issue ON DELETE CASCADE);
CREATE TABLE link (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE SET NULL);
CREATE TABLE event (tenant_id int, at int) PARTITION BY RANGE (at);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (10);
CREATE TABLE asset (tenant_id int, name text);
CREATE TABLE machine (serial text) INHERITS (asset);
CREATE TABLE country (code text PRIMARY KEY);
CREATE TABLE tag (tenant_id int, tag text);
CREATE TABLE tagging (issue_id int REFERENCES issue, weight int);
CREATE TABLE tagging_log (id int PRIMARY KEY);
ALTER TABLE tagging ADD PRIMARY KEY (issue_id);
ALTER TABLE tagging_log ADD FOREIGN KEY (id) REFERENCES tagging;
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT deletion_guard.guard_table('issue', 'tenant_id');
SELECT * FROM deletion_guard.unguarded_table;
TABLE problem;
SELECT deletion_guard.guard_table('tenant', 'id');
SELECT deletion_guard.guard_table('remark', tenant_path => '{remark_issue}');
SELECT deletion_guard.guard_table('link', 'tenant_id');
SELECT deletion_guard.guard_table('event', 'tenant_id');
SELECT deletion_guard.guard_table('asset', 'tenant_id');
SELECT deletion_guard.guard_table('tag', 'tenant_id');
SELECT deletion_guard.guard_table('tagging', tenant_path => '{tagging_issue_id_fkey}');
SELECT deletion_guard.guard_table('tagging_log', tenant_path => '{tagging_log_id_fkey,tagging_issue_id_fkey}');
CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (10) TO (20);
INSERT INTO tenant VALUES (1, 'one'), (2, 'two');
INSERT INTO tag VALUES (1, 'a'), (2, 'b');
DELETE FROM tag;
DELETE FROM tenant WHERE id = 2;
SELECT * FROM deletion_guard.unguarded_table;
TABLE problem;
-- All of it, but for what differs from server to server and version to version.
SELECT check_name, CASE WHEN check_name NOT IN ('extension', 'functions', 'archives') AND check_name NOT LIKE 'store %' THEN detail END AS detail
FROM deletion_guard.verify() WHERE ok AND check_name <> 'preload';

-- A superuser who means to get past it has to leave traces. What the guard
-- refuses to do is done here to the catalogs, before the library is loaded.
SELECT sum(restored) FROM deletion_guard.undelete_tenants('{1,2}');
\c -
BEGIN;
UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'tag'::regclass AND tgname = 'deletion_guard_capture';
UPDATE pg_trigger SET tgenabled = 'O' WHERE tgrelid = 'event_1'::regclass AND tgname = 'deletion_guard_capture_row';
UPDATE pg_trigger SET tgenabled = 'R' WHERE tgrelid = 'machine'::regclass AND tgname = 'deletion_guard_capture_row';
UPDATE pg_trigger SET tgname = 'away' WHERE tgrelid = 'event_2'::regclass AND tgname = 'deletion_guard_truncate';
UPDATE pg_trigger SET tgfoid = 'deletion_guard_internal.capture_row'::regproc WHERE tgrelid = 'issue'::regclass AND tgname = 'deletion_guard_capture';
TABLE problem;
ROLLBACK;
\c -
BEGIN;
UPDATE pg_event_trigger SET evtenabled = 'O' WHERE evtname = 'deletion_guard_ddl_start';
UPDATE pg_event_trigger SET evtname = 'away' WHERE evtname = 'deletion_guard_ddl_end';
UPDATE pg_proc SET prosrc = 'dg_verify' WHERE oid = 'deletion_guard_internal.protect'::regproc;
UPDATE pg_proc SET probin = 'somewhere' WHERE oid = 'deletion_guard_internal.capture_row'::regproc;
UPDATE pg_proc SET proowner = 'regress_dg_verify_app'::regrole WHERE oid = 'deletion_guard_internal.capture_truncate'::regproc;
DELETE FROM pg_depend WHERE objid = 'deletion_guard_internal.capture_statement'::regproc AND deptype = 'e';
TABLE problem;
ROLLBACK;
CREATE TRIGGER spy BEFORE UPDATE ON country FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
\c -
BEGIN;
UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'deletion_guard.ledger'::regclass AND tgname = 'deletion_guard_protect';
UPDATE pg_trigger SET tgname = 'away' WHERE tgrelid = 'deletion_guard_bin.bin_1_tag'::regclass AND tgname = 'deletion_guard_protect_row';
UPDATE pg_trigger SET tgrelid = 'deletion_guard.deletion_part'::regclass WHERE tgname = 'spy';
UPDATE pg_class SET relowner = 'regress_dg_verify_app'::regrole
	WHERE oid IN ('deletion_guard.hold'::regclass, 'deletion_guard.status'::regclass, 'deletion_guard_bin.bin_1_tag'::regclass);
UPDATE pg_namespace SET nspowner = 'regress_dg_verify_app'::regrole WHERE nspname = 'deletion_guard_bin';
UPDATE pg_proc SET proowner = 'regress_dg_verify_app'::regrole WHERE oid = 'deletion_guard.purge_plan'::regproc;
UPDATE pg_class SET relforcerowsecurity = true WHERE oid = 'deletion_guard.authority'::regclass;
TABLE problem;
-- What it advises can be done, and helps; nothing else can be.
SELECT substring(detail FROM '(ALTER (TABLE|FUNCTION|SCHEMA) \S+ (ENABLE|NO FORCE|OWNER TO) .*)\.$') FROM problem \gexec
SELECT check_name, object FROM problem;
SAVEPOINT s;
ALTER TABLE deletion_guard_bin.bin_1_tag OWNER TO regress_dg_verify_app;  -- it is empty: pg_restore does that
ROLLBACK TO s;
ALTER TABLE deletion_guard.hold OWNER TO regress_dg_verify_app; -- fails
ROLLBACK TO s;
ALTER TABLE deletion_guard.hold OWNER TO nobody; -- fails
ROLLBACK TO s;
ALTER SCHEMA deletion_guard_bin OWNER TO regress_dg_verify_app; -- fails
ROLLBACK TO s;
ALTER TABLE deletion_guard.hold OWNER TO CURRENT_USER, FORCE ROW LEVEL SECURITY; -- fails
ROLLBACK;
DROP TRIGGER spy ON country;
SET client_min_messages = warning;
DELETE FROM tag;
DELETE FROM tenant WHERE id = 2;

-- What can simply be done.
BEGIN;
GRANT SELECT ON deletion_guard_bin.bin_1_tag TO regress_dg_verify_app;
GRANT SELECT (_row), INSERT (_part) ON deletion_guard_bin.bin_1_tag TO regress_dg_verify_app;
GRANT SELECT ON deletion_guard.deletion_record TO regress_dg_verify_app;
GRANT SELECT ON deletion_guard.deletion TO PUBLIC;
GRANT INSERT, DELETE ON deletion_guard.ledger TO regress_dg_verify_app;
GRANT SELECT ON deletion_guard.hold TO PUBLIC;
GRANT CREATE ON SCHEMA deletion_guard_bin TO regress_dg_verify_app;
GRANT EXECUTE ON FUNCTION deletion_guard.purge TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO regress_dg_verify_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA deletion_guard_bin GRANT ALL ON TABLES TO regress_dg_verify_app;
TABLE problem;
ROLLBACK;
BEGIN;
SET deletion_guard.publication = allow;
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE PUBLICATION several FOR TABLE tenant, deletion_guard.deletion_part, TABLES IN SCHEMA deletion_guard_bin;
TABLE problem;
ROLLBACK;
BEGIN;
ALTER TABLE country SET UNLOGGED;
SELECT deletion_guard.guard_table('country');
ALTER TABLE remark DROP CONSTRAINT remark_issue;
ALTER TABLE tenant DROP CONSTRAINT tenant_pkey CASCADE;
TABLE problem;
ROLLBACK;
-- A table that has grown past what its bin can have.
BEGIN;
DO $$ BEGIN EXECUTE (SELECT 'CREATE TABLE wide (' || string_agg('c' || i || ' bool', ', ') || ')' FROM generate_series(1, 1597) i); END $$;
SELECT deletion_guard.guard_table('wide');
SELECT count(*) FROM problem WHERE object = 'public.wide';
ALTER TABLE wide ADD d bool;
SELECT * FROM problem WHERE object = 'public.wide';
SAVEPOINT s;
INSERT INTO wide DEFAULT VALUES;
DELETE FROM wide; -- fails
ROLLBACK TO s;
SET LOCAL deletion_guard.ddl = allow;
ALTER TABLE wide DROP d, DROP c1;
ALTER TABLE wide ADD d bool;
SELECT count(*) FROM problem WHERE object = 'public.wide';
INSERT INTO wide DEFAULT VALUES;
DELETE FROM wide;
ROLLBACK;
BEGIN;
SELECT deletion_guard.unguard_table('tenant');
SELECT deletion_guard.unguard_table('machine');
TABLE problem;
ROLLBACK;
BEGIN;
SELECT deletion_guard.unguard_table('issue');
TABLE problem;
ROLLBACK;
CREATE PROCEDURE stored(sql text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format(sql, current_database());
END
$$;
BEGIN;
CALL stored('ALTER DATABASE %I SET deletion_guard.restoring = on');
ALTER ROLE regress_dg_verify_app SET session_replication_role = replica;
CALL stored('ALTER ROLE regress_dg_verify_app IN DATABASE %I SET deletion_guard.restoring = 1');
ALTER ROLE regress_dg_verify_app SET deletion_guard.restoring = off;
SET LOCAL session_replication_role = replica;
TABLE problem;
ROLLBACK;

BEGIN;
GRANT SET ON PARAMETER deletion_guard.ddl, deletion_guard.max_rows TO regress_dg_verify_app;
GRANT ALTER SYSTEM ON PARAMETER session_preload_libraries, deletion_guard.ddl TO PUBLIC;
CALL stored('ALTER DATABASE %I SET allow_system_table_mods = on');
TABLE problem;
ROLLBACK;

-- Tables outside that a deletion reaches.
BEGIN;
CREATE TABLE region (name text PRIMARY KEY);
CREATE TABLE city (name text, region text CONSTRAINT city_region REFERENCES region ON DELETE CASCADE);
SELECT deletion_guard.guard_table('region');
CREATE EXTENSION lo;
ALTER TABLE tag ADD COLUMN picture lo;
CREATE TRIGGER tidy BEFORE UPDATE OR DELETE ON tag FOR EACH ROW EXECUTE FUNCTION lo_manage(picture);
TABLE problem;
ROLLBACK;

-- Rows in the bin that have no table any more, and none where they should be.
BEGIN;
SET LOCAL deletion_guard.ddl = allow;
DROP TABLE tag;
TABLE problem;
ROLLBACK;
-- By hand, before the library is loaded.
\c -
SET client_min_messages = warning;
SET allow_system_table_mods = on;
BEGIN;
DELETE FROM pg_class WHERE oid = 'deletion_guard_bin.bin_1_tag'::regclass;
SELECT check_name, detail FROM problem;
ROLLBACK;
RESET allow_system_table_mods;

-- Advice.
CREATE VIEW advice AS
	SELECT check_name, ok, detail FROM deletion_guard.verify() WHERE check_name IN ('ceilings', 'retention');
TABLE advice;
SET deletion_guard.max_tenants = 5;
SET deletion_guard.retention = '-1';
TABLE advice;
SET deletion_guard.limit_action = warning;
SET deletion_guard.retention = '0 days';
TABLE advice;
RESET deletion_guard.max_tenants;
RESET deletion_guard.limit_action;
RESET deletion_guard.retention;

-- For monitoring.
SELECT deletion_guard.hold_tenant('1', 'a matter') AS hold;
SELECT deletion_guard.request_purge('2', 'left') IS NOT NULL AS requested;
SELECT guarded_tables, unguarded_tables, bin_rows, bin_bytes > 0 AS bin_bytes, deletions_last_hour,
	deletions_last_day, tenants_wiped_last_hour, tenants_wiped_last_day, rows_due, holds, open_requests, last_drill,
	last_successful_drill, last_refusal, last_purge, oldest_bin_row = (SELECT min(deleted_at) FROM deletion_guard.deletion) AS oldest_bin_row,
	problems = (SELECT count(*) FROM deletion_guard.verify() WHERE NOT ok) AS problems
FROM deletion_guard.status;
SET ROLE regress_dg_verify_monitor;
SELECT guarded_tables, bin_rows FROM deletion_guard.status;
SELECT count(*) > 0 AS verified FROM deletion_guard.verify();
SELECT * FROM deletion_guard.deletion;
SELECT * FROM deletion_guard_internal.verify_stores();
RESET ROLE;
SET ROLE regress_dg_verify_app;
SELECT count(*) FROM deletion_guard.verify();
SELECT * FROM deletion_guard.unguarded_table;
SELECT * FROM deletion_guard.status;
RESET ROLE;

-- Drills, in a database where nothing has been done yet: later, nobody writes
-- their results but drill().
\c :maintenance_db
CREATE DATABASE regress_dg_verify_drill;
\c regress_dg_verify_drill
CREATE EXTENSION deletion_guard;
-- Restores that should be rehearsed.
SET deletion_guard.drill_interval = 'often'; -- fails
CREATE VIEW drills AS SELECT ok, detail FROM deletion_guard.verify() WHERE check_name = 'drills';
SET deletion_guard.drill_interval = '0 s';
TABLE drills;
SET deletion_guard.drill_interval = '-1';
TABLE drills;
RESET deletion_guard.drill_interval;
BEGIN;
INSERT INTO deletion_guard.drill_result (archive, drilled_at, tenant, rows, seconds, matches, problem) VALUES
	('/backup/old', now() - interval '40 days', '1', 5, 1, true, NULL),
	('/backup/new', now() - interval '35 days', '2', 5, 1, false, 'two rows are missing');
TABLE drills;
SET LOCAL deletion_guard.drill_interval = '36 days';
TABLE drills;
SET LOCAL deletion_guard.drill_interval = '41 d';
TABLE drills;
SELECT last_drill = now() - interval '35 days' AS last_drill, last_successful_drill = now() - interval '40 days' AS last_successful_drill
FROM deletion_guard.status;
ROLLBACK;
BEGIN;
INSERT INTO deletion_guard.drill_result (archive, drilled_at, tenant, rows, seconds, matches, problem) VALUES
	('/backup/new', now() - interval '2 days', '2', 5, 1, false, 'two rows are missing'),
	('/backup/new', now() - interval '1 day', '2', 5, 1, true, NULL);
TABLE drills;
ROLLBACK;

\c :maintenance_db
SET client_min_messages = warning;
DROP DATABASE regress_dg_verify;
DROP DATABASE regress_dg_verify_drill;
DROP ROLE regress_dg_verify_app;
DROP ROLE regress_dg_verify_monitor;
