-- What switches turn off, and for how long after.
CREATE DATABASE regress_dg_switches;
\set maintenance_db :DBNAME
\c regress_dg_switches
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY);
CREATE TABLE p (id int, tenant_id int, k int) PARTITION BY LIST (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE old (id int PRIMARY KEY, tenant_id int);
CREATE TABLE base (id int, tenant_id int);
SELECT deletion_guard.set_tenant_table('tenant', 'id');
SELECT * FROM deletion_guard.guard_schema('public', 'tenant_id') ORDER BY 1;
CREATE VIEW guards AS
	SELECT tgrelid::regclass AS relation, string_agg(replace(tgname, 'deletion_guard_', '') || ' ' || tgenabled::text, ', ' ORDER BY tgname) AS triggers
	FROM pg_trigger WHERE tgname LIKE 'deletion_guard%' AND tgrelid::regclass::text !~ '^deletion_guard'
	GROUP BY tgrelid ORDER BY tgrelid::regclass::text;

-- restoring lets rows into our tables, and turns off nothing else: partitions,
-- children and tables that are made meanwhile are guarded, renames are followed.
SET deletion_guard.restoring = on;
CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
CREATE TABLE p3 (id int, tenant_id int, k int);
ALTER TABLE p ATTACH PARTITION p3 FOR VALUES IN (3);
CREATE TABLE child () INHERITS (base);
CREATE TABLE future (id int PRIMARY KEY, tenant_id int);
ALTER TABLE old RENAME tenant_id TO customer;
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE p4 PARTITION OF p FOR VALUES IN (4) SERVER nowhere;
ALTER TABLE p1 DISABLE TRIGGER ALL;
-- a dump brings triggers for tables that have theirs already
CREATE TRIGGER deletion_guard_truncate BEFORE TRUNCATE ON future FOR EACH STATEMENT EXECUTE FUNCTION deletion_guard_internal.capture_truncate();
ALTER TABLE future ENABLE ALWAYS TRIGGER deletion_guard_truncate;
CREATE TRIGGER deletion_guard_truncate BEFORE TRUNCATE ON future FOR EACH STATEMENT EXECUTE FUNCTION deletion_guard_internal.capture_statement();
RESET deletion_guard.restoring;
\c
SELECT * FROM guards;
SELECT relation, tenant_column FROM deletion_guard.guard ORDER BY relation::text;
INSERT INTO p SELECT i, 1, 1 + i % 3 FROM generate_series(1, 9) i;
TRUNCATE p2;
DELETE FROM p3;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::p);

-- ddl = allow lets commands pass that take the guard's triggers from a table. As
-- long as it is guarded, rows are kept without them, or not deleted.
SET deletion_guard.ddl = allow;
ALTER TABLE p1 DISABLE TRIGGER ALL;
ALTER TABLE future DISABLE TRIGGER USER;
INSERT INTO future VALUES (1, 1), (2, 1);
RESET deletion_guard.ddl;
DELETE FROM p1;
TRUNCATE p1;
DELETE FROM future WHERE id = 1;
SELECT id FROM deletion_guard.deleted_rows(NULL::future);
WITH d AS (DELETE FROM future WHERE id = 2 RETURNING id) SELECT * FROM d;
SELECT check_name, object FROM deletion_guard.verify() WHERE NOT ok AND check_name = 'guard triggers' ORDER BY 2;
ALTER TABLE p1 ENABLE ALWAYS TRIGGER deletion_guard_capture;
ALTER TABLE p1 ENABLE ALWAYS TRIGGER deletion_guard_truncate;
TRUNCATE p1;

-- session_replication_role turns off other triggers, not ours, neither those on
-- tables nor those on events.
SET session_replication_role = replica;
CREATE TABLE p5 PARTITION OF p FOR VALUES IN (5);
INSERT INTO p VALUES (50, 1, 5), (51, 1, 5);
UPDATE p SET k = 2 WHERE id = 50;
DELETE FROM p5;
TRUNCATE p2;
RESET session_replication_role;
SELECT id, k FROM deletion_guard.deleted_rows(NULL::p) WHERE id >= 50 ORDER BY id;

\c :maintenance_db
DROP DATABASE regress_dg_switches WITH (FORCE);
