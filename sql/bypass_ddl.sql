-- Every command that would take rows, or the guard, away: each is the first of
-- a session that has not loaded the library.
CREATE DATABASE regress_dg_bypass_ddl;
\set maintenance_db :DBNAME
\c regress_dg_bypass_ddl
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_bypass_owner;
CREATE SCHEMA app;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b int);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int, title text, mood mood, pair pair, pairs pair[], number positive);
CREATE TABLE app.note (id int NOT NULL, tenant_id int, body text);
CREATE TABLE reading (id int, tenant_id int, at int) PARTITION BY RANGE (at);
CREATE TABLE reading_0 PARTITION OF reading FOR VALUES FROM (0) TO (10);
CREATE TABLE reading_10 PARTITION OF reading FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (at);
CREATE TABLE reading_10_a PARTITION OF reading_10 FOR VALUES FROM (10) TO (15);
CREATE TABLE base (id int, tenant_id int);
CREATE TABLE child (extra text) INHERITS (base);
CREATE TABLE plain (LIKE issue);
CREATE TABLE whole (id int NOT NULL, tenant_id int, body text) PARTITION BY RANGE (id);
CREATE TABLE ancestor (id int, tenant_id int);
SELECT deletion_guard.guard_table(t, 'tenant_id')
FROM unnest('{issue,app.note,reading,base}'::regclass[]) t;
INSERT INTO issue SELECT i, i % 3, 'title', 'ok', ROW(i, i)::pair, ARRAY[ROW(i, i)::pair], i FROM generate_series(1, 6) i;
INSERT INTO app.note SELECT i, i % 3, 'body' FROM generate_series(1, 6) i;
INSERT INTO reading SELECT i, i % 3, i FROM generate_series(0, 14) i;
INSERT INTO base SELECT i, i % 3 FROM generate_series(1, 6) i;
INSERT INTO child SELECT i, i % 3, 'extra' FROM generate_series(7, 12) i;
DELETE FROM issue WHERE id = 6;
SELECT bin_table AS bin FROM deletion_guard.bin \gset

-- Dropping the table.
\c -
DROP TABLE issue; -- fails
\c -
DROP TABLE IF EXISTS no_such_table, plain, issue CASCADE; -- fails
\c -
DROP SCHEMA app CASCADE; -- fails
\c -
DO 'BEGIN EXECUTE ''DROP TABLE issue''; END'; -- fails
\c -
ALTER TABLE app.note OWNER TO regress_dg_bypass_owner;
\c -
DO $$
BEGIN
	DROP OWNED BY regress_dg_bypass_owner CASCADE; -- fails
EXCEPTION WHEN SQLSTATE 'TG003' THEN	-- at which of its objects depends on the version
	RAISE NOTICE 'refused';
END $$;
REASSIGN OWNED BY regress_dg_bypass_owner TO CURRENT_USER;
\c -
DROP TABLE reading_0; -- fails
\c -
DROP TABLE reading_10_a; -- fails
\c -
DROP TABLE reading; -- fails
\c -
DROP TABLE child; -- fails
\c -
DROP TABLE base CASCADE; -- fails
\c -
-- Swapping it for another, which can be done, and dropping it afterwards.
ALTER TABLE app.note RENAME TO old_note;
DROP TABLE app.old_note; -- fails
ALTER TABLE app.old_note RENAME TO note;

-- Dropping columns, by way of their types too.
\c -
ALTER TABLE issue DROP COLUMN title; -- fails
\c -
ALTER TABLE issue ADD COLUMN more int, DROP COLUMN title; -- fails
\c -
ALTER TABLE reading DROP COLUMN at; -- fails
\c -
ALTER TABLE base DROP COLUMN id; -- fails
\c -
\set VERBOSITY terse
DROP TYPE mood CASCADE; -- fails
\c -
DROP DOMAIN positive CASCADE; -- fails
\c -
DROP TYPE pair CASCADE; -- fails
\set VERBOSITY default
\c -
ALTER TYPE pair DROP ATTRIBUTE b; -- fails
SELECT count(*) FROM deletion_guard.undelete(1);
\c -
ALTER TYPE pair DROP ATTRIBUTE b; -- fails
-- out of reach: ALTER TABLE ... ALTER COLUMN ... TYPE ... USING NULL overwrites values, as UPDATE does

-- Taking partitions and children out, or under another table.
\c -
ALTER TABLE reading DETACH PARTITION reading_0; -- fails
\c -
ALTER TABLE reading DETACH PARTITION reading_0 CONCURRENTLY; -- fails
\c -
ALTER TABLE reading_10 DETACH PARTITION reading_10_a; -- fails
\c -
ALTER TABLE child NO INHERIT base;
\c -
DELETE FROM child WHERE id = 7;
SELECT * FROM deletion_guard.deleted_rows(NULL::child);
ALTER TABLE child INHERIT base;
\c -
ALTER TABLE app.note INHERIT ancestor;
\c -
DELETE FROM ancestor WHERE id = 1;
ALTER TABLE app.note NO INHERIT ancestor;
\c -
ALTER TABLE whole ATTACH PARTITION app.note DEFAULT;
\c -
DELETE FROM whole WHERE id = 2;
TRUNCATE whole;
SELECT * FROM deletion_guard.deleted_rows(NULL::app.note) ORDER BY id;
\c -
ALTER TABLE whole DETACH PARTITION app.note;
INSERT INTO app.note VALUES (10, 0, 'detached');
\c -
DELETE FROM app.note;
SELECT * FROM deletion_guard.deleted_rows(NULL::app.note) WHERE id = 10;

-- Taking its durability, or moving it.
\c -
ALTER TABLE app.note SET UNLOGGED; -- fails
\c -
ALTER TABLE issue SET SCHEMA app;
\c -
DELETE FROM app.issue WHERE id = 1;
ALTER TABLE app.issue SET SCHEMA public;
SELECT id FROM deletion_guard.deleted_rows(NULL::issue);

-- The guard triggers.
\c -
DROP TRIGGER deletion_guard_capture ON issue; -- fails
\c -
ALTER TRIGGER deletion_guard_capture ON issue RENAME TO other; -- fails
\c -
ALTER TABLE issue DISABLE TRIGGER deletion_guard_capture; -- fails
\c -
ALTER TABLE issue DISABLE TRIGGER ALL; -- fails
\c -
ALTER TABLE issue ALTER title SET DEFAULT 'none', DISABLE TRIGGER USER; -- fails
\c -
ALTER TABLE issue ENABLE REPLICA TRIGGER deletion_guard_capture; -- fails
\c -
ALTER TABLE reading_10_a DISABLE TRIGGER USER; -- fails
\c -
ALTER TABLE issue DISABLE TRIGGER deletion_guard_truncate; -- fails
\c -
CREATE OR REPLACE TRIGGER deletion_guard_capture AFTER DELETE ON issue
	REFERENCING OLD TABLE AS deleted_rows FOR EACH STATEMENT WHEN (false)
	EXECUTE FUNCTION deletion_guard_internal.capture_statement(); -- fails
\c -
CREATE OR REPLACE TRIGGER deletion_guard_truncate BEFORE TRUNCATE ON issue
	FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION deletion_guard_internal.capture_truncate(); -- fails

-- More of them would capture rows twice, or rows that stay.
\c -
BEGIN;
CREATE TRIGGER again AFTER DELETE ON issue REFERENCING OLD TABLE AS o
	FOR EACH STATEMENT EXECUTE FUNCTION deletion_guard_internal.capture_statement();
DELETE FROM issue; -- fails
ROLLBACK;
BEGIN;
CREATE TRIGGER again BEFORE DELETE ON issue FOR EACH ROW EXECUTE FUNCTION deletion_guard_internal.capture_row();
DELETE FROM issue; -- fails
ROLLBACK;
BEGIN;
CREATE TRIGGER again BEFORE TRUNCATE ON issue FOR EACH STATEMENT EXECUTE FUNCTION deletion_guard_internal.capture_truncate();
TRUNCATE issue; -- fails
ROLLBACK;

-- The functions, the event triggers, the extension.
\c -
CREATE OR REPLACE FUNCTION deletion_guard_internal.capture_statement() RETURNS trigger
	LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; -- fails
\c -
ALTER FUNCTION deletion_guard_internal.capture_statement() RENAME TO other; -- fails
\c -
ALTER FUNCTION deletion_guard_internal.capture_statement() SET SCHEMA app; -- fails
\c -
ALTER FUNCTION deletion_guard_internal.capture_statement() SET session_replication_role = replica; -- fails
\c -
DROP FUNCTION deletion_guard_internal.capture_statement() CASCADE; -- fails
\c -
DROP EVENT TRIGGER deletion_guard_ddl_start; -- fails
-- out of reach: the same as a session's first command, where the library is not preloaded (no trigger fires for it)
LOAD 'deletion_guard';
ALTER EVENT TRIGGER deletion_guard_ddl_start DISABLE; -- fails
ALTER EVENT TRIGGER deletion_guard_ddl_end ENABLE REPLICA; -- fails
ALTER EVENT TRIGGER deletion_guard_ddl_start RENAME TO other; -- fails
\c -
ALTER EXTENSION deletion_guard DROP FUNCTION deletion_guard_internal.capture_row(); -- fails
\c -
ALTER EXTENSION deletion_guard DROP TABLE deletion_guard.guard; -- fails
\c -
ALTER EXTENSION deletion_guard DROP EVENT TRIGGER deletion_guard_ddl_start; -- fails
\c -
ALTER EXTENSION deletion_guard SET SCHEMA app; -- fails
\c -
DROP EXTENSION deletion_guard; -- fails
\c -
DROP EXTENSION deletion_guard CASCADE; -- fails

-- The schemas, the registries, the bin.
\c -
ALTER SCHEMA deletion_guard RENAME TO other; -- fails
\c -
DROP SCHEMA deletion_guard CASCADE; -- fails
\c -
ALTER SCHEMA deletion_guard_bin RENAME TO other; -- fails
\c -
DROP SCHEMA deletion_guard_bin CASCADE; -- fails
\c -
ALTER TABLE deletion_guard.guard RENAME TO other; -- fails
\c -
ALTER TABLE deletion_guard.guard SET SCHEMA app; -- fails
\c -
ALTER TABLE deletion_guard.guard RENAME COLUMN relation TO other; -- fails
\c -
ALTER TABLE deletion_guard.guard DISABLE TRIGGER ALL; -- fails
\c -
ALTER TABLE :bin SET UNLOGGED; -- fails
\c -
ALTER TABLE :bin DROP COLUMN title; -- fails
\c -
ALTER TABLE :bin ALTER title TYPE int USING NULL; -- fails
\c -
DROP TABLE :bin; -- fails
\c -
TRUNCATE :bin; -- fails
\c -
CREATE RULE nothing AS ON UPDATE TO deletion_guard.deletion_part DO INSTEAD NOTHING; -- fails

-- Writing the catalogs by hand.
-- out of reach: as a session's first command, where the library is not preloaded
\c -
LOAD 'deletion_guard';
DELETE FROM pg_trigger WHERE tgname = 'deletion_guard_capture'; -- fails
UPDATE pg_trigger SET tgenabled = 'D'; -- fails
UPDATE pg_class SET relhastriggers = false WHERE relname = 'issue'; -- fails
UPDATE pg_proc SET prosrc = 'dg_ddl_start' WHERE proname = 'capture_statement'; -- fails
DELETE FROM pg_event_trigger; -- fails
DELETE FROM pg_extension WHERE extname = 'deletion_guard'; -- fails
UPDATE pg_namespace SET nspname = 'elsewhere' WHERE nspname = 'deletion_guard'; -- fails
-- out of reach: pg_surgery; single-user mode without the library

-- Still there.
SELECT count(*) FROM issue;
SELECT count(*) FROM reading;
SELECT count(*) FROM base;

-- New partitions and children are guarded as they come.
\c -
CREATE TABLE reading_20 PARTITION OF reading FOR VALUES FROM (20) TO (30);
\c -
CREATE TABLE late (tenant_id int, dropped text, at int, id int);
ALTER TABLE late DROP COLUMN dropped;
\c -
ALTER TABLE reading ATTACH PARTITION late FOR VALUES FROM (30) TO (40);
CREATE TABLE rest PARTITION OF reading DEFAULT;
CREATE TABLE grandchild (further text) INHERITS (child);
CREATE TABLE reading_like (LIKE reading INCLUDING ALL);
INSERT INTO reading SELECT i, 5, i FROM generate_series(20, 50, 10) i;
INSERT INTO grandchild VALUES (20, 5, 'extra', 'further');
\c -
DELETE FROM reading_20;
TRUNCATE late;
DELETE FROM ONLY rest WHERE at = 40;
TRUNCATE ONLY rest;
DELETE FROM base WHERE tenant_id = 5;
SELECT * FROM deletion_guard.deleted_rows(NULL::reading) ORDER BY id;
SELECT * FROM deletion_guard.deleted_rows(NULL::grandchild);

-- What is allowed does not stand in anybody's way.
ALTER TABLE issue ADD COLUMN more int DEFAULT 7;
ALTER TABLE issue ALTER title SET DEFAULT 'none';
CREATE INDEX ON issue (title);
CREATE TRIGGER own AFTER UPDATE ON issue FOR EACH STATEMENT EXECUTE FUNCTION suppress_redundant_updates_trigger();
ALTER TABLE issue DISABLE TRIGGER own;
DROP TRIGGER own ON issue;
VACUUM FULL issue;
CLUSTER issue USING issue_pkey;
REINDEX TABLE issue;
DROP TABLE plain, ancestor, reading_like;

-- Who may, can give the guard up.
SET deletion_guard.ddl = 'allow';
ALTER TABLE reading DETACH PARTITION reading_0;
DROP TABLE child CASCADE;
RESET deletion_guard.ddl;
\c -
DELETE FROM reading_0 WHERE id = 0;
SELECT relation, rows FROM deletion_guard.deletion_detail ORDER BY deletion_id DESC LIMIT 1;
SELECT deletion_guard.unguard_table('app.note');
DROP TABLE app.note;

\c :maintenance_db
DROP DATABASE regress_dg_bypass_ddl;
DROP ROLE regress_dg_bypass_owner;
-- out of reach: DROP DATABASE
