-- deletion_guard.ddl = keep: the values of a column that is dropped go to the bin, with
-- the keys of their rows, and there is a way to get them back.
CREATE DATABASE regress_dg_drop_column;
\set maintenance_db :DBNAME
\c regress_dg_drop_column
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
SELECT FROM deletion_guard.add_authority('legal', signing.make_key('legal'));
\set ECHO all
ALTER DATABASE regress_dg_drop_column SET deletion_guard.retention = 0;
CREATE ROLE regress_dg_drop_column;
GRANT SET ON PARAMETER deletion_guard.ddl TO regress_dg_drop_column;
CREATE SCHEMA app AUTHORIZATION regress_dg_drop_column;
SET SESSION AUTHORIZATION regress_dg_drop_column;
CREATE TYPE app.mood AS ENUM ('sad', 'ok');
CREATE TABLE app.site (id int PRIMARY KEY, name text, plan text);
CREATE TABLE app.issue (id int PRIMARY KEY, site_id int NOT NULL REFERENCES app.site, "the body" text COLLATE "C" NOT NULL DEFAULT 'none',
	size int GENERATED ALWAYS AS (length("the body")) STORED, unused text, m app.mood);
CREATE TABLE app.log (id int, site_id int, note text) PARTITION BY RANGE (id);
CREATE TABLE app.log_0 PARTITION OF app.log FOR VALUES FROM (0) TO (10);
CREATE TABLE app.log_1 (note text, gone int, site_id int, id int);
ALTER TABLE app.log_1 DROP COLUMN gone;
ALTER TABLE app.log ATTACH PARTITION app.log_1 FOR VALUES FROM (10) TO (20);
CREATE TABLE app.base (id int, site_id int, v text);
CREATE TABLE app.heir (w text) INHERITS (app.base);
CREATE TABLE app.own_heir (v text) INHERITS (app.base);
RESET SESSION AUTHORIZATION;
SELECT deletion_guard.set_tenant_table('app.site', 'id', 'name');
SELECT count(*) FROM deletion_guard.guard_schema('app', 'site_id');
INSERT INTO app.site SELECT i, 'site ' || i, CASE i WHEN 1 THEN 'free' ELSE 'paid' END FROM generate_series(1, 3) i;
INSERT INTO app.issue (id, site_id, "the body", m) SELECT i, 1 + i % 3, repeat(i::text, 3000), 'ok' FROM generate_series(1, 6) i;
INSERT INTO app.log SELECT i, 1 + i % 3, CASE WHEN i % 2 = 0 THEN 'note ' || i END FROM generate_series(1, 19) i;
INSERT INTO app.base VALUES (1, 1, 'base'), (2, 2, 'base');
INSERT INTO app.heir VALUES (3, 3, 'heir', 'w');
INSERT INTO app.own_heir VALUES (4, 1, 'own');
CREATE VIEW detail AS SELECT CASE WHEN relation::text LIKE 'deletion_guard_bin.%' THEN relation_name END AS dropped_table, tenant, rows FROM deletion_guard.deletion_detail WHERE rows > restored + purged ORDER BY 1, 2;

\set VERBOSITY terse
\c -
SET SESSION AUTHORIZATION regress_dg_drop_column;
ALTER TABLE app.log DROP COLUMN note; -- fails
SET deletion_guard.ddl = keep;
ALTER TABLE app.issue DROP COLUMN site_id; -- fails: it tells whose rows these are
ALTER TABLE app.site DROP COLUMN id CASCADE; -- fails
DROP TYPE app.mood CASCADE; -- fails: a column would go with it
-- a column without values, and one that is computed
ALTER TABLE app.issue DROP COLUMN unused, DROP COLUMN size;
BEGIN;
ALTER TABLE app.issue ADD COLUMN again text GENERATED ALWAYS AS ("the body") STORED;
ALTER TABLE app.issue DROP COLUMN "the body" CASCADE;
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT * FROM detail;
SET SESSION AUTHORIZATION regress_dg_drop_column;
BEGIN;
SAVEPOINT a;
ALTER TABLE app.issue DROP COLUMN "the body";
ROLLBACK TO a;
UPDATE app.issue SET "the body" = 'changed' WHERE id = 1;
ALTER TABLE app.issue DROP COLUMN IF EXISTS "the body", DROP COLUMN IF EXISTS nothing;
COMMIT;
ALTER TABLE app.log DROP COLUMN note;
ALTER TABLE app.base DROP COLUMN v;
ALTER TABLE app.site DROP COLUMN plan;
ALTER TABLE app.issue DROP COLUMN m;
ALTER TABLE app.issue ADD COLUMN m int;
SELECT * FROM app.own_heir;
RESET SESSION AUTHORIZATION;
SELECT * FROM detail;
SELECT relation_name, rows, definition FROM deletion_guard.dropped_table ORDER BY dropped_id;
SELECT event, details FROM deletion_guard.ledger WHERE event = 'drop_column' ORDER BY id;
-- what is deleted meanwhile is kept as it is then
DELETE FROM app.issue WHERE id = 6;

-- which comes back with what else a tenant has lost; values of columns wait until they are asked for
BEGIN;
SELECT relation, restored, problem FROM deletion_guard.undelete_tenant('1');
ROLLBACK;

-- Ceilings; a column of the tenant table wipes no tenants. Others' event triggers.
SET deletion_guard.ddl = keep;
ALTER TABLE app.heir ADD COLUMN x int DEFAULT 1;
ALTER TABLE app.site ADD COLUMN x int DEFAULT 1;
SET deletion_guard.tenant_wipes_per_hour = 1;
BEGIN;
ALTER TABLE app.site DROP COLUMN x;
ROLLBACK;
SET deletion_guard.tenant_wipes_per_hour = 0;
SET deletion_guard.max_tenants = 1;
ALTER TABLE app.site DROP COLUMN x; -- fails
SET deletion_guard.max_tenants = 0;
CREATE FUNCTION meddle() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	IF tg_tag = 'ALTER TABLE' THEN
		UPDATE app.heir SET x = 2;
	END IF;
END $$;
CREATE EVENT TRIGGER zz_meddle ON ddl_command_start EXECUTE FUNCTION meddle();
ALTER TABLE app.heir DROP COLUMN x; -- fails
DROP EVENT TRIGGER zz_meddle;
-- "allow" loses them, on record
SET deletion_guard.ddl = allow;
ALTER TABLE app.heir DROP COLUMN x;
SELECT details FROM deletion_guard.ledger WHERE event = 'drop_column' AND details::text LIKE '%lost%' ORDER BY id;
RESET deletion_guard.ddl;

-- They are purged with their tenant.
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('3', 'contract ended', deleted_before => 'infinity'))) ->> 'rows' AS purged;
SELECT * FROM detail;
SELECT * FROM app.site ORDER BY id;

-- And back.
\set VERBOSITY default
SELECT FROM deletion_guard.undelete((SELECT deletion_id FROM deletion_guard.dropped_table WHERE relation_name = 'app.log.note')); -- fails, and says how
\set VERBOSITY terse
SELECT definition FROM deletion_guard.dropped_table WHERE relation_name IN ('app.issue."the body"', 'app.log.note', 'app.base.v', 'app.heir.v') ORDER BY dropped_id DESC \gexec
SELECT id, site_id, left("the body", 10), length("the body") FROM app.issue ORDER BY id;
SELECT * FROM app.log WHERE note IS NOT NULL ORDER BY id;
SELECT tableoid::regclass, * FROM app.base ORDER BY id;
SELECT ok FROM deletion_guard.verify_ledger();

\c :maintenance_db
DROP DATABASE regress_dg_drop_column;
REVOKE SET ON PARAMETER deletion_guard.ddl FROM regress_dg_drop_column;
DROP ROLE regress_dg_drop_column;
