-- What mappers, drivers, poolers and hurried administrators send: their rows
-- are in the bin, as one deletion each, under the tenant that they had.
CREATE DATABASE regress_dg_bypass_client;
\set maintenance_db :DBNAME
\c regress_dg_bypass_client
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant DEFERRABLE INITIALLY DEFERRED, title text, lock_version int DEFAULT 0);
CREATE TABLE remark (id int PRIMARY KEY, issue_id int REFERENCES issue ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE job (id int PRIMARY KEY, tenant_id int, payload text);
CREATE TABLE archive (LIKE issue);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT count(*) FROM deletion_guard.guard_schema('public', 'tenant_id');
INSERT INTO tenant SELECT i, 'tenant ' || i FROM generate_series(1, 5) i;
INSERT INTO issue SELECT i, 1 + i % 5, 'issue ' || i FROM generate_series(1, 50) i;
INSERT INTO remark SELECT i, i FROM generate_series(1, 50) i;
INSERT INTO job SELECT i, 1 + i % 5, 'payload' FROM generate_series(1, 60) i;
CREATE VIEW latest AS
	SELECT id, rows, tenants, reason, actor, statement FROM deletion_guard.deletion ORDER BY id DESC LIMIT 2;
-- What there was is there again once all of it is undone.
CREATE TABLE before AS
	SELECT t::text AS row FROM issue t UNION ALL SELECT t::text FROM remark t UNION ALL SELECT t::text FROM job t UNION ALL SELECT t::text FROM tenant t;

-- Moved to another table, taken from a queue, with an optimistic lock, in batches.
\c -
WITH moved AS (DELETE FROM issue WHERE id <= 3 RETURNING *) INSERT INTO archive SELECT * FROM moved;
DELETE FROM job WHERE id IN (SELECT id FROM job ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED) RETURNING id;
TABLE latest;
DELETE FROM issue AS i USING tenant t WHERE i.tenant_id = t.id AND t.name = 'tenant 5' AND i.lock_version = 0 AND i.id < 20 RETURNING i.id, t.name;
DELETE FROM issue WHERE id = 5 AND lock_version = 7;
DELETE FROM job WHERE ctid = ANY (ARRAY(SELECT ctid FROM job ORDER BY id LIMIT 3));
TABLE latest;
-- Tried, rolled back to a savepoint, tried again in another order.
BEGIN;
SAVEPOINT active_record_1;
DELETE FROM tenant WHERE id = 1;
SET CONSTRAINTS ALL IMMEDIATE; -- fails
ROLLBACK TO active_record_1;
DELETE FROM remark WHERE issue_id IN (SELECT id FROM issue WHERE tenant_id = 1);
DELETE FROM issue WHERE tenant_id = 1;
DELETE FROM tenant WHERE id = 1;
RELEASE active_record_1;
COMMIT;
TABLE latest;
-- Parents first, and children later: the server looks at COMMIT only.
BEGIN;
DELETE FROM tenant WHERE id = 2;
DELETE FROM issue WHERE tenant_id = 2;
COMMIT;
SELECT relation, tenant, tenant_name, rows FROM deletion_guard.deletion_detail
WHERE deletion_id >= (SELECT max(id) - 1 FROM deletion_guard.deletion) ORDER BY deletion_id, relation::text;
-- Prepared, until the plan is a generic one.
PREPARE del(int) AS DELETE FROM job WHERE id = $1;
EXECUTE del(10);
EXECUTE del(11);
EXECUTE del(12);
EXECUTE del(13);
EXECUTE del(14);
EXECUTE del(15);
EXECUTE del(16);
SELECT rows, statement FROM latest;

-- What a session says of itself ends with it, with RESET ALL and with DISCARD ALL.
SET deletion_guard.reason = 'request 1';
SET deletion_guard.actor = 'anna';
SET deletion_guard.expect_tenants = '1';
DELETE FROM job WHERE id = 21; -- fails
DISCARD ALL;
DELETE FROM job WHERE id = 21;
SET deletion_guard.reason = 'request 2';
BEGIN;
SET LOCAL deletion_guard.reason = 'request 3';
DELETE FROM job WHERE id = 22;
COMMIT;
DELETE FROM job WHERE id = 23;
TABLE latest;
RESET ALL;
DELETE FROM job WHERE id = 24;
-- Two statements of one message are two deletions; not where the first loads the library.
DELETE FROM job WHERE id = 25 \; DELETE FROM job WHERE id = 26;
TABLE latest;
\c -
DELETE FROM job WHERE id = 27 \; DELETE FROM job WHERE id = 28;
SELECT rows, tenants FROM latest LIMIT 1;

-- Settings that clients like to make.
SET row_security = off;
SET search_path = '';
SET default_transaction_isolation = 'serializable';
SET default_transaction_deferrable = on;
SELECT current_setting('server_version_num')::int < 190000 AS has_old_strings \gset
\if :has_old_strings
SET standard_conforming_strings = off;
\endif
SET backslash_quote = off;
SET bytea_output = 'escape';
SET datestyle = 'SQL, DMY';
SET extra_float_digits = -3;
SET work_mem = '64kB';
SET enable_seqscan = off;
SET plan_cache_mode = force_generic_plan;
SET check_function_bodies = off;
SET client_encoding = 'LATIN1';
SET jit_above_cost = 0;
DELETE FROM public.job WHERE id BETWEEN 30 AND 40;
SELECT rows, tenants FROM public.latest LIMIT 1;
RESET ALL;
SET default_transaction_read_only = on;
DELETE FROM job; -- fails
RESET ALL;
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM job ORDER BY id;
FETCH 1 FROM c;
DELETE FROM job;
COMMIT;
FETCH 1 FROM c;
CLOSE c;
-- Before a test run or a new import.
TRUNCATE job, remark, issue RESTART IDENTITY CASCADE;
SELECT relation, sum(rows) FROM deletion_guard.deletion_detail
WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion) GROUP BY 1 ORDER BY 1::text;

-- All of it back.
DO $$
DECLARE
	d bigint;
BEGIN
	FOR d IN SELECT id FROM deletion_guard.deletion ORDER BY id DESC LOOP
		SET CONSTRAINTS ALL DEFERRED;
		PERFORM deletion_guard.undelete(d);
	END LOOP;
END $$;
(TABLE before) EXCEPT ALL (SELECT t::text FROM issue t UNION ALL SELECT t::text FROM remark t UNION ALL SELECT t::text FROM job t UNION ALL SELECT t::text FROM tenant t);
SELECT (SELECT count(*) FROM before) = (SELECT count(*) FROM issue) + (SELECT count(*) FROM remark) + (SELECT count(*) FROM job) + (SELECT count(*) FROM tenant) AS same;

-- Rules that keep rows from being deleted, or delete others: one statement.
CREATE RULE nothing AS ON DELETE TO job WHERE OLD.id = 1 DO INSTEAD NOTHING;
CREATE RULE other AS ON DELETE TO job WHERE OLD.id = 2 DO ALSO DELETE FROM issue WHERE id = OLD.id;
DELETE FROM job WHERE id IN (1, 2, 3);
SELECT relation, rows FROM deletion_guard.deletion_detail WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion) ORDER BY relation::text;
SELECT id FROM job WHERE id < 5 ORDER BY id;
SET deletion_guard.max_rows = 2;
DELETE FROM job WHERE id IN (2, 4, 5);
CREATE RULE more AS ON DELETE TO job WHERE OLD.id > 40 DO ALSO DELETE FROM issue WHERE id = OLD.id;
DELETE FROM job WHERE id IN (41, 42); -- fails
DELETE FROM job WHERE id = 41; -- fails
RESET deletion_guard.max_rows;
DROP RULE more ON job;
DROP RULE nothing ON job;
DROP RULE other ON job;
-- TRUNCATE has a privilege of its own, and passes row security by.
CREATE ROLE regress_dg_truncater;
GRANT TRUNCATE ON job TO regress_dg_truncater;
ALTER TABLE job ENABLE ROW LEVEL SECURITY;
SELECT count(*) AS jobs FROM job \gset
SET ROLE regress_dg_truncater;
DELETE FROM job; -- fails
TRUNCATE job;
RESET ROLE;
SELECT rows = :jobs AS all_of_them FROM latest LIMIT 1;
SELECT sum(restored) = :jobs AS back FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
ALTER TABLE job DISABLE ROW LEVEL SECURITY;
-- A row that has been given to another tenant is that tenant's.
UPDATE job SET tenant_id = 5 WHERE id = 10;
DELETE FROM job WHERE id = 10;
SELECT tenant FROM deletion_guard.deletion_detail WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion);

-- Other libraries' hooks, loaded before and after.
\c -
LOAD 'auto_explain';
LOAD 'deletion_guard';
DROP TABLE job; -- fails
SELECT detail FROM deletion_guard.verify() WHERE check_name = 'hooks';
DELETE FROM job WHERE id = 11;
\c -
LOAD 'deletion_guard';
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_analyze = on;
SET auto_explain.log_nested_statements = on;
DROP TABLE job; -- fails
DELETE FROM job WHERE id = 12;
RESET auto_explain.log_min_duration;
SELECT detail FROM deletion_guard.verify() WHERE check_name = 'hooks';
SELECT rows FROM latest;

-- out of reach: what overwrites values, or goes round the executor as a superuser
ALTER TABLE job ALTER payload TYPE text USING 'overwritten';
SELECT DISTINCT payload FROM job;
SELECT DISTINCT payload FROM deletion_guard.deleted_rows(NULL::job);
CREATE EXTENSION pg_surgery;
SELECT count(*) AS jobs FROM job \gset
SELECT max(id) AS latest FROM deletion_guard.deletion \gset
SELECT ctid AS victim FROM job LIMIT 1 \gset
SELECT heap_force_kill('job', ARRAY[:'victim'::tid]);
SELECT count(*) = :jobs - 1 AS gone, (SELECT max(id) FROM deletion_guard.deletion) = :latest AS unseen FROM job;

\c :maintenance_db
DROP DATABASE regress_dg_bypass_client;
DROP ROLE regress_dg_truncater;
