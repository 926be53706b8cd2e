-- Every way to change what deletion_guard keeps, tried by a superuser, each marked -- fails.
CREATE DATABASE regress_dg_store;
\set maintenance_db :DBNAME
\c regress_dg_store
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
\set shop :srcdir '/test/sql/shop.sql'
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\i :shop
SELECT FROM deletion_guard.add_authority('legal', signing.make_key('legal'));
\set ECHO all
DELETE FROM tenant WHERE id = 1;
SELECT deletion_guard.hold_tenant('1', 'litigation') AS hold \gset
SELECT bin_table::text AS bin FROM deletion_guard.bin WHERE relation = 'issue'::regclass \gset
SELECT signing.state() AS before \gset
\set VERBOSITY terse

-- Statements
UPDATE deletion_guard.hold SET released_at = now();  -- fails
DELETE FROM deletion_guard.hold;  -- fails
DELETE FROM ONLY deletion_guard.hold;  -- fails
DELETE FROM deletion_guard.hold WHERE false;  -- fails
TRUNCATE deletion_guard.hold;  -- fails
TRUNCATE tenant, deletion_guard.hold CASCADE;  -- fails
INSERT INTO deletion_guard.hold SELECT hold_id + 1, tenant, reason, held_at, held_by, now(), 'me' FROM deletion_guard.hold;  -- fails
INSERT INTO deletion_guard.hold SELECT * FROM deletion_guard.hold ON CONFLICT (hold_id) DO UPDATE SET released_at = now();  -- fails
INSERT INTO deletion_guard.used_token VALUES ('a', 'b', 'purge', now(), now(), 1), ('c', 'd', 'purge', now(), now(), 1) ON CONFLICT (authority, jti) DO UPDATE SET act = 'unguard';  -- fails
MERGE INTO deletion_guard.hold h USING tenant t ON true WHEN MATCHED THEN UPDATE SET released_at = now();  -- fails
MERGE INTO deletion_guard.hold h USING tenant t ON true WHEN MATCHED THEN DELETE;  -- fails
MERGE INTO deletion_guard.used_token u USING tenant t ON false WHEN NOT MATCHED THEN INSERT VALUES ('a', 'b', 'purge', now(), now(), 1);  -- fails
WITH gone AS (DELETE FROM deletion_guard.hold RETURNING *) SELECT count(*) FROM gone;  -- fails
CREATE TABLE kept AS SELECT * FROM deletion_guard.hold;
WITH gone AS (DELETE FROM deletion_guard.hold RETURNING *) INSERT INTO kept SELECT * FROM gone;  -- fails
COPY deletion_guard.hold FROM PROGRAM 'echo';  -- fails
SELECT * FROM deletion_guard.hold FOR UPDATE;  -- fails
SELECT * FROM deletion_guard.hold FOR KEY SHARE;  -- fails
CREATE VIEW through AS SELECT * FROM deletion_guard.hold;
UPDATE through SET released_at = now();  -- fails
DELETE FROM through;  -- fails
DROP VIEW through;
PREPARE gone AS DELETE FROM deletion_guard.hold;
EXECUTE gone;  -- fails
DO $$ BEGIN DELETE FROM deletion_guard.hold; END $$;  -- fails
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM deletion_guard.hold;
FETCH c \gset
DELETE FROM deletion_guard.hold WHERE CURRENT OF c;  -- fails
ROLLBACK;
EXPLAIN (ANALYZE, COSTS off) DELETE FROM deletion_guard.hold;  -- fails
DELETE FROM :bin;  -- fails
UPDATE :bin SET body = 'x';  -- fails
TRUNCATE :bin;  -- fails
INSERT INTO :bin SELECT * FROM :bin;  -- fails
-- Evidence is not made up where there was none either.
INSERT INTO deletion_guard.approval_policy VALUES (true, 1);  -- fails
INSERT INTO deletion_guard.used_token VALUES ('legal', 'jti', 'purge', now(), now(), 1);  -- fails
INSERT INTO deletion_guard.purge_request_record VALUES (1, '1', 'Acme', 'x', NULL, now(), now(), 'me', 0, '', 'open');  -- fails
INSERT INTO deletion_guard.purge_record VALUES (1, 1, now(), 'me', 'purged', 1, sha256(''), sha256(''), '{}', 1);  -- fails
INSERT INTO deletion_guard.purge_table VALUES (1, 1, 'public.issue', '{id}', 1, '');  -- fails
INSERT INTO deletion_guard.purged_key VALUES (1, 1, 1, '');  -- fails
COPY deletion_guard.refusal FROM PROGRAM 'echo';  -- fails
SET session_replication_role = replica;
DELETE FROM deletion_guard.hold;  -- fails
TRUNCATE deletion_guard.ledger;  -- fails
COPY deletion_guard.hold FROM PROGRAM 'echo';  -- fails
RESET session_replication_role;

-- "restoring" lets rows in where they only add to what is in the bin, and changes none.
SET deletion_guard.restoring = on;
UPDATE deletion_guard.authority SET public_key = 'x';  -- fails
DELETE FROM deletion_guard.authority;  -- fails
TRUNCATE deletion_guard.authority;  -- fails
INSERT INTO deletion_guard.authority SELECT 'mine', algorithm, public_key, 'x', now(), 'me', NULL, NULL, 1 FROM deletion_guard.authority;  -- fails
INSERT INTO deletion_guard.ledger SELECT id + 100, at, event, role, details, prev_hash, hash FROM deletion_guard.ledger;  -- fails
INSERT INTO deletion_guard.installation VALUES (false, now());  -- fails
DELETE FROM deletion_guard.installation;  -- fails
UPDATE deletion_guard.deletion_record SET purge_not_before = now();  -- fails
INSERT INTO deletion_guard.deletion_part (deletion_id, part) SELECT deletion_id, part FROM deletion_guard.deletion_part ON CONFLICT (deletion_id, part) DO UPDATE SET purge_not_before = now();  -- fails
DELETE FROM deletion_guard.guard;  -- fails
DELETE FROM :bin;  -- fails
BEGIN;
INSERT INTO deletion_guard.guarded_schema VALUES ('a', 'b');
INSERT INTO deletion_guard.guarded_schema VALUES ('c', 'd');
ROLLBACK;
-- What a restore may still add to, and what is evidence. An INSERT of no rows tells.
CREATE FUNCTION pg_temp.takes_rows(target regclass) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %1$s WHERE false', target,
		(SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
		 WHERE attrelid = target AND attnum > 0 AND NOT attisdropped AND attgenerated = ''));
	RETURN true;
EXCEPTION WHEN SQLSTATE 'TG004' THEN
	RETURN false;
END
$$;
BEGIN;
SELECT c.relname, CASE WHEN pg_temp.takes_rows(c.oid) THEN 'can be loaded' ELSE 'evidence' END AS what
FROM pg_class c WHERE c.relnamespace = 'deletion_guard'::regnamespace AND c.relkind = 'r'
ORDER BY 2, c.relname COLLATE "C";
SELECT pg_temp.takes_rows(:'bin') AS a_bin_table_takes_rows;
ROLLBACK;
RESET deletion_guard.restoring;
INSERT INTO deletion_guard.guarded_schema VALUES ('c', 'd');  -- fails
CREATE ROLE regress_dg_restorer;
GRANT INSERT ON deletion_guard.guarded_schema TO regress_dg_restorer;
GRANT SET ON PARAMETER deletion_guard.restoring TO regress_dg_restorer;
SET ROLE regress_dg_restorer;
SET deletion_guard.restoring = on;
INSERT INTO deletion_guard.guarded_schema VALUES ('c', 'd');  -- fails
RESET deletion_guard.restoring;
RESET ROLE;

-- Tables
DROP TABLE deletion_guard.hold;  -- fails
DROP TABLE :bin;  -- fails
DROP TABLE :bin CASCADE;  -- fails
DROP SCHEMA deletion_guard_bin CASCADE;  -- fails
DROP SCHEMA deletion_guard CASCADE;  -- fails
ALTER TABLE deletion_guard.hold DROP COLUMN reason;  -- fails
ALTER TABLE deletion_guard.hold ALTER tenant DROP NOT NULL;  -- fails
ALTER TABLE deletion_guard.hold ALTER tenant SET DEFAULT 'x';  -- fails
ALTER TABLE deletion_guard.hold ADD COLUMN mine text;  -- fails
ALTER TABLE deletion_guard.hold ADD CHECK (tenant <> '1') NOT VALID;  -- fails
ALTER TABLE deletion_guard.used_token DROP CONSTRAINT used_token_pkey;  -- fails
ALTER TABLE deletion_guard.ledger ALTER details TYPE varchar USING '{}';  -- fails
ALTER TABLE deletion_guard.hold OWNER TO regress_dg_restorer;  -- fails
ALTER TABLE deletion_guard.hold RENAME TO mine;  -- fails
ALTER TABLE deletion_guard.hold RENAME tenant TO mine;  -- fails
ALTER TABLE deletion_guard.hold SET SCHEMA public;  -- fails
ALTER TABLE deletion_guard.hold SET UNLOGGED;  -- fails
ALTER TABLE deletion_guard.hold ENABLE ROW LEVEL SECURITY;  -- fails
ALTER TABLE deletion_guard.hold FORCE ROW LEVEL SECURITY;  -- fails
CREATE POLICY mine ON deletion_guard.hold USING (false);  -- fails
CREATE TABLE mine () INHERITS (deletion_guard.authority);  -- fails
CREATE TABLE mine (LIKE deletion_guard.authority);
ALTER TABLE mine INHERIT deletion_guard.authority;  -- fails
ALTER TABLE deletion_guard.authority INHERIT mine;  -- fails
DROP TABLE mine;
CREATE TABLE mine (LIKE deletion_guard.hold) PARTITION BY LIST (tenant);
ALTER TABLE mine ATTACH PARTITION deletion_guard.hold DEFAULT;  -- fails
DROP TABLE mine;
CREATE INDEX ON deletion_guard.hold ((1 / 0));  -- fails
DROP INDEX deletion_guard.deletion_part_tenant_idx;  -- fails
ALTER INDEX deletion_guard.deletion_part_tenant_idx RENAME TO mine;  -- fails
CREATE RULE mine AS ON INSERT TO deletion_guard.hold DO INSTEAD NOTHING;  -- fails
ALTER SEQUENCE deletion_guard.hold_id_seq RESTART;  -- fails
CREATE OR REPLACE VIEW deletion_guard.guarded_table AS SELECT 1;  -- fails
ALTER TABLE :bin DROP COLUMN body;  -- fails
ALTER TABLE :bin SET SCHEMA public;  -- fails
ALTER TABLE :bin RENAME TO mine;  -- fails
ALTER TABLE :bin SET UNLOGGED;  -- fails
CREATE INDEX ON :bin ((1 / 0));  -- fails
CREATE RULE mine AS ON INSERT TO :bin DO INSTEAD NOTHING;  -- fails
-- How rows are stored is the administrator's business, and pg_restore sets triggers to what they are.
ALTER TABLE deletion_guard.hold ENABLE ALWAYS TRIGGER deletion_guard_protect;
ALTER TABLE deletion_guard.ledger SET (autovacuum_enabled = false);
ALTER TABLE deletion_guard.ledger RESET (autovacuum_enabled);

-- Triggers and functions
ALTER TABLE deletion_guard.hold DISABLE TRIGGER deletion_guard_protect;  -- fails
ALTER TABLE deletion_guard.hold DISABLE TRIGGER ALL;  -- fails
ALTER TABLE deletion_guard.hold ENABLE TRIGGER deletion_guard_protect;  -- fails
DROP TRIGGER deletion_guard_protect ON deletion_guard.hold;  -- fails
ALTER TRIGGER deletion_guard_protect ON deletion_guard.hold RENAME TO mine;  -- fails
\set VERBOSITY default
CREATE TRIGGER mine BEFORE INSERT ON deletion_guard.hold FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();  -- fails
\set VERBOSITY terse
CREATE OR REPLACE TRIGGER deletion_guard_protect BEFORE UPDATE ON deletion_guard.hold WHEN (false) EXECUTE FUNCTION deletion_guard_internal.protect();  -- fails
ALTER TABLE :bin DISABLE TRIGGER ALL;  -- fails
DROP TRIGGER deletion_guard_protect ON :bin;  -- fails
CREATE TRIGGER mine BEFORE DELETE ON :bin FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();  -- fails
DROP FUNCTION deletion_guard_internal.protect();  -- fails
DROP FUNCTION deletion_guard_internal.protect() CASCADE;  -- fails
CREATE OR REPLACE FUNCTION deletion_guard_internal.protect() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;  -- fails
ALTER FUNCTION deletion_guard_internal.protect() RENAME TO mine;  -- fails
ALTER FUNCTION deletion_guard_internal.protect() SET SCHEMA public;  -- fails
ALTER FUNCTION deletion_guard_internal.protect() OWNER TO regress_dg_restorer;  -- fails
ALTER FUNCTION deletion_guard_internal.protect() SET work_mem = '1MB';  -- fails
ALTER EVENT TRIGGER deletion_guard_ddl_start DISABLE;  -- fails
ALTER EVENT TRIGGER deletion_guard_ddl_start RENAME TO mine;  -- fails
DROP EVENT TRIGGER deletion_guard_ddl_start;  -- fails

CREATE OR REPLACE TRIGGER deletion_guard_capture AFTER DELETE ON issue EXECUTE FUNCTION suppress_redundant_updates_trigger();  -- fails
ALTER TABLE issue DISABLE TRIGGER deletion_guard_capture;  -- fails
ALTER TABLE issue ENABLE REPLICA TRIGGER deletion_guard_capture;  -- fails
ALTER TABLE issue ENABLE REPLICA TRIGGER deletion_guard_capture_row;
ALTER TABLE issue ENABLE ALWAYS TRIGGER deletion_guard_capture_row;  -- fails: both triggers would keep each row
ALTER TRIGGER deletion_guard_capture ON issue RENAME TO mine;  -- fails

-- Schemas and the extension
ALTER SCHEMA deletion_guard RENAME TO mine;  -- fails
ALTER SCHEMA deletion_guard_bin RENAME TO mine;  -- fails
ALTER SCHEMA deletion_guard_bin OWNER TO regress_dg_restorer;  -- fails
ALTER EXTENSION deletion_guard DROP TABLE deletion_guard.hold;  -- fails
ALTER EXTENSION deletion_guard SET SCHEMA public;  -- fails
DROP EXTENSION deletion_guard;  -- fails
DROP EXTENSION deletion_guard CASCADE;  -- fails
BEGIN;
REASSIGN OWNED BY CURRENT_USER TO regress_dg_restorer;  -- fails
ROLLBACK;
-- Nothing has changed.
SELECT signing.state() = :'before' AS unchanged;
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'deletion_guard_protect%' AND tgenabled <> 'A';
-- Tables of the extension and of the bin have the same triggers: protect.sql makes the ones, the library the others.
SELECT t.tgname, count(DISTINCT c.relnamespace) AS schemas, count(DISTINCT (t.tgtype, t.tgfoid, t.tgenabled, t.tgqual)) AS kinds
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace::regnamespace::text LIKE 'deletion\_guard%' AND NOT t.tgisinternal
GROUP BY t.tgname ORDER BY t.tgname;

-- Rows that somebody puts into the records of a database in use are in the ledger.
SET deletion_guard.restoring = on;
INSERT INTO deletion_guard.deletion_link VALUES (100, 'tenant', '{id}', '{1}', '{name}', '{Forged}', '{Acme}');
RESET deletion_guard.restoring;
SELECT event, role = current_user AS by_me, details FROM deletion_guard.ledger WHERE event = 'load_rows';
SELECT ok, problem FROM deletion_guard.verify_ledger();

-- The extension goes once there is nothing left to lose.
SELECT FROM deletion_guard.guarded_table g, deletion_guard.unguard_table(g.relation);
DROP EXTENSION deletion_guard CASCADE;  -- fails
SELECT count(*) FROM deletion_guard.undelete_tenant('1');
BEGIN;
DROP EXTENSION deletion_guard CASCADE;
SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'deletion\_guard%';
ROLLBACK;

DROP OWNED BY regress_dg_restorer;
DROP ROLE regress_dg_restorer;
\c :maintenance_db
DROP DATABASE regress_dg_store;
