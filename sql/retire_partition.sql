-- retire_partition(): a job without other rights drops partitions whose rows were
-- kept. A partition that was detached is kept in the bin of the table it was of.
CREATE DATABASE regress_dg_retire;
\set maintenance_db :DBNAME
\c regress_dg_retire
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_retire_owner;
CREATE ROLE regress_dg_retire_job;
CREATE SCHEMA app AUTHORIZATION regress_dg_retire_owner;
GRANT USAGE ON SCHEMA app, deletion_guard TO regress_dg_retire_job;
SET SESSION AUTHORIZATION regress_dg_retire_owner;
CREATE TABLE app.log (id int, site_id int) PARTITION BY RANGE (id);
CREATE TABLE app.log_0 PARTITION OF app.log FOR VALUES FROM (0) TO (10);
CREATE TABLE app.log_1 PARTITION OF app.log FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE app.log_1_a PARTITION OF app.log_1 FOR VALUES FROM (10) TO (20);
CREATE TABLE app.log_2 PARTITION OF app.log FOR VALUES FROM (20) TO (30);
CREATE TABLE app.log_3 (site_id int, extra text, id int);
ALTER TABLE app.log_3 DROP COLUMN extra;
ALTER TABLE app.log ATTACH PARTITION app.log_3 FOR VALUES FROM (30) TO (40);
CREATE TABLE app.log_4 PARTITION OF app.log FOR VALUES FROM (40) TO (50) PARTITION BY RANGE (id);
CREATE TABLE app.log_4_a PARTITION OF app.log_4 FOR VALUES FROM (40) TO (50);
CREATE TABLE app.plain (id int);
CREATE TABLE app.open (id int) PARTITION BY RANGE (id);
CREATE TABLE app.open_0 PARTITION OF app.open FOR VALUES FROM (0) TO (10);
RESET SESSION AUTHORIZATION;
SELECT deletion_guard.guard_table('app.log', 'site_id'), deletion_guard.guard_table('app.plain');
INSERT INTO app.log SELECT i, i % 2 FROM generate_series(1, 49) i;

\c -
SET SESSION AUTHORIZATION regress_dg_retire_job;
SELECT deletion_guard.retire_partition('app.log_0'); -- fails
RESET SESSION AUTHORIZATION;
GRANT EXECUTE ON FUNCTION deletion_guard.retire_partition TO regress_dg_retire_job;
SET SESSION AUTHORIZATION regress_dg_retire_job;
SELECT deletion_guard.retire_partition('app.log_0'); -- fails
RESET SESSION AUTHORIZATION;
GRANT TRUNCATE ON app.log TO regress_dg_retire_job;
CREATE VIEW on_it AS SELECT * FROM app.log_0;
SET SESSION AUTHORIZATION regress_dg_retire_job;
SELECT deletion_guard.retire_partition('app.log'); -- fails
SELECT deletion_guard.retire_partition('app.plain'); -- fails
SELECT deletion_guard.retire_partition('app.open_0'); -- fails
SELECT deletion_guard.retire_partition('app.log_0'); -- fails: a view is on it
RESET SESSION AUTHORIZATION;
DROP VIEW on_it;
SET deletion_guard.max_rows = 5;
SET SESSION AUTHORIZATION regress_dg_retire_job;
SELECT deletion_guard.retire_partition('app.log_0'); -- fails
SET deletion_guard.expect_tenants = '1';
RESET SESSION AUTHORIZATION;
SET deletion_guard.max_rows = 0;
SELECT deletion_guard.retire_partition('app.log_0'); -- fails
RESET deletion_guard.expect_tenants;
SET SESSION AUTHORIZATION regress_dg_retire_job;
SELECT deletion_guard.retire_partition('app.log_0') IS NOT NULL AS kept;
SELECT deletion_guard.retire_partition('app.log_1') IS NOT NULL AS kept;
SHOW deletion_guard.ddl;
DROP TABLE app.log_2; -- fails
RESET SESSION AUTHORIZATION;
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail ORDER BY deletion_id, tenant;
SELECT relation_name, partition_of, dropped_by, rows FROM deletion_guard.dropped_table ORDER BY dropped_id;
SELECT count(*) FROM app.log;
-- rows without a place go into a default partition
CREATE TABLE app.log_rest PARTITION OF app.log DEFAULT;
SELECT sum(restored) FROM deletion_guard.deletion d CROSS JOIN LATERAL deletion_guard.undelete(d.id);
SELECT tableoid::regclass, count(*) FROM app.log GROUP BY 1 ORDER BY 1;
-- nothing was in it: it is no deletion
DELETE FROM app.log_rest;
SELECT deletion_guard.retire_partition('app.log_rest');

-- Detached, and dropped later: its rows are those of the table it was of.
SET deletion_guard.ddl = keep;
ALTER TABLE app.log DETACH PARTITION app.log_2;
ALTER TABLE app.log DETACH PARTITION app.log_3 CONCURRENTLY;
-- before 19 it leaves its bounds as a check
SET client_min_messages = warning;
ALTER TABLE app.log_3 DROP CONSTRAINT IF EXISTS log_3_id_check;
RESET client_min_messages;
ALTER TABLE app.log DETACH PARTITION app.log_4;
SELECT relation, detached_from FROM deletion_guard.guard ORDER BY relation::text;
-- what is deleted from it comes back into it
DELETE FROM app.log_2 WHERE id = 21;
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
\c -
SET client_min_messages = warning;
SET deletion_guard.ddl = keep;
ALTER TABLE app.log_2 RENAME TO log_two;
DROP TABLE app.log_two, app.log_3, app.log_4;
SELECT max(id) AS last FROM deletion_guard.deletion \gset
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail WHERE deletion_id = :last ORDER BY tenant;
SELECT relation_name, partition_of, rows, definition FROM deletion_guard.dropped_table WHERE deletion_id = :last ORDER BY dropped_id;
SELECT FROM deletion_guard.undelete(:last); -- fails
CREATE TABLE app.log_rest PARTITION OF app.log DEFAULT;
SELECT relation, tenant, restored FROM deletion_guard.undelete(:last) ORDER BY tenant;
SELECT min(id), max(id), count(*) FROM app.log;
-- Who may read the other might not read these: another owner, or row security.
BEGIN;
ALTER TABLE app.log DETACH PARTITION app.log_rest;
SAVEPOINT detached;
ALTER TABLE app.log_rest OWNER TO regress_dg_retire_job;
DROP TABLE app.log_rest;
SELECT DISTINCT relation_name FROM deletion_guard.deletion_detail WHERE deletion_id > :last;
ROLLBACK TO detached;
ALTER TABLE app.log_rest ENABLE ROW LEVEL SECURITY;
DROP TABLE app.log_rest;
SELECT DISTINCT relation_name FROM deletion_guard.deletion_detail WHERE deletion_id > :last;
ROLLBACK;
-- Attached again it is no table of its own; and when the other is gone, there is none to go back to.
CREATE TABLE app.log_5 PARTITION OF app.log FOR VALUES FROM (50) TO (60);
CREATE TABLE app.log_6 PARTITION OF app.log FOR VALUES FROM (60) TO (70);
INSERT INTO app.log VALUES (51, 1), (61, 1);
ALTER TABLE app.log DETACH PARTITION app.log_5;
ALTER TABLE app.log ATTACH PARTITION app.log_5 FOR VALUES FROM (50) TO (60);
ALTER TABLE app.log DETACH PARTITION app.log_6;
SELECT relation, detached_from FROM deletion_guard.guard ORDER BY relation::text;
DROP TABLE app.log;
SELECT relation, detached_from FROM deletion_guard.guard ORDER BY relation::text;
DROP TABLE app.log_6;
SELECT relation_name, sum(rows) FROM deletion_guard.deletion_detail WHERE rows > restored GROUP BY 1 ORDER BY 1;
SELECT ok FROM deletion_guard.verify_ledger();

\c :maintenance_db
DROP DATABASE regress_dg_retire;
DROP ROLE regress_dg_retire_owner, regress_dg_retire_job;
