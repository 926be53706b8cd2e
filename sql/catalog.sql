-- What the server is made of stays as it is while the extension is installed: no
-- statement writes a catalog by hand, and nothing that is built in is changed.
CREATE DATABASE regress_dg_catalog;
\set maintenance_db :DBNAME
\c regress_dg_catalog
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int, title text);
INSERT INTO tenant VALUES (1, 'one'), (2, 'two');
INSERT INTO issue SELECT i, 1 + i % 2, 'issue' FROM generate_series(1, 4) i;
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT deletion_guard.guard_table('issue', 'tenant_id');
DELETE FROM issue WHERE id = 1;

-- Any catalog, by any statement.
COPY pg_class FROM '/dev/null'; -- fails
COPY pg_attribute (attrelid, attname) FROM '/dev/null'; -- fails
INSERT INTO pg_inherits VALUES ('issue'::regclass, 'tenant'::regclass, 1, false); -- fails
DELETE FROM pg_index; -- fails
DELETE FROM pg_description; -- fails
DELETE FROM pg_largeobject; -- fails
UPDATE pg_database SET datconnlimit = -1; -- fails
WITH gone AS (DELETE FROM pg_depend RETURNING 1) SELECT count(*) FROM gone; -- fails
MERGE INTO pg_trigger t USING pg_class c ON c.oid = t.tgrelid WHEN MATCHED THEN DELETE; -- fails
CREATE VIEW catalog_view AS SELECT * FROM pg_trigger;
DELETE FROM catalog_view; -- fails
EXPLAIN DELETE FROM pg_proc; -- fails
PREPARE p AS UPDATE pg_proc SET prosrc = 'int4eq' WHERE oid = 65;
EXECUTE p; -- fails
DO $$ BEGIN DELETE FROM pg_trigger; END $$; -- fails
SET allow_system_table_mods = on;
TRUNCATE pg_trigger; -- fails
TRUNCATE issue, pg_trigger; -- fails
TRUNCATE pg_description; -- fails
ALTER TABLE pg_trigger RENAME TO pg_triggered; -- fails
ALTER TABLE pg_trigger ADD COLUMN more int; -- fails
CREATE INDEX ON pg_trigger (tgname); -- fails
CREATE TRIGGER spy BEFORE INSERT ON pg_description FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(); -- fails
CREATE POLICY p ON pg_trigger; -- fails
CREATE RULE r AS ON DELETE TO pg_trigger DO INSTEAD NOTHING; -- fails
CREATE OR REPLACE VIEW pg_catalog.pg_tables AS SELECT NULL::name AS schemaname, NULL::name AS tablename, NULL::name AS tableowner,
	NULL::name AS tablespace, true AS hasindexes, true AS hasrules, true AS hastriggers, true AS rowsecurity; -- fails
ALTER TABLE pg_trigger SET (fillfactor = 90);
RESET allow_system_table_mods;
-- Locking rows, statistics, and the server's own ways are no writing by hand.
SELECT count(*) FROM (SELECT FROM pg_class WHERE relname = 'issue' FOR UPDATE) c;
UPDATE pg_class SET reltuples = 1000, relpages = 10 WHERE relname = 'issue';
SELECT pg_stat_reset();
VACUUM FULL pg_trigger;
REINDEX TABLE pg_trigger;
REINDEX TABLE CONCURRENTLY issue;
CLUSTER pg_class USING pg_class_oid_index;
ANALYZE pg_trigger;

-- What is built in.
CREATE FUNCTION zero_sfunc(bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT 0::bigint';
CREATE OR REPLACE AGGREGATE pg_catalog.count(*) (sfunc = zero_sfunc, stype = bigint, initcond = '0'); -- fails
CREATE OR REPLACE FUNCTION pg_catalog.int4eq(int, int) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4ne'; -- fails
ALTER FUNCTION pg_catalog.int4eq(int, int) COST 7; -- fails
ALTER FUNCTION pg_catalog.int4eq(int, int) RENAME TO int4equal; -- fails
ALTER FUNCTION pg_catalog.now() SET timezone = 'UTC'; -- fails
ALTER FUNCTION pg_catalog.now() OWNER TO CURRENT_USER; -- fails
ALTER OPERATOR pg_catalog.= (int, int) SET (RESTRICT = NONE); -- fails
ALTER OPERATOR pg_catalog.= (int, int) SET SCHEMA public; -- fails
ALTER TYPE pg_catalog.int4 RENAME TO integer4; -- fails
ALTER TYPE pg_catalog.text SET (STORAGE = main); -- fails
ALTER OPERATOR CLASS int4_ops USING btree RENAME TO other_ops; -- fails
ALTER OPERATOR FAMILY integer_ops USING btree RENAME TO other_ops; -- fails
ALTER OPERATOR FAMILY integer_ops USING btree ADD FUNCTION 3 (bool, bool) in_range(int, int, int, bool, bool); -- fails
ALTER OPERATOR FAMILY bool_ops USING btree ADD OPERATOR 1 < (int, bigint); -- fails
ALTER COLLATION "C" RENAME TO "D"; -- fails
ALTER LANGUAGE internal RENAME TO interna; -- fails
ALTER SCHEMA pg_catalog RENAME TO katalog; -- fails
ALTER CONVERSION koi8_r_to_utf8 RENAME TO k; -- fails
-- Not from a function either, and not with protection given up for tables.
SET deletion_guard.ddl = allow;
DO $$ BEGIN ALTER FUNCTION pg_catalog.now() COST 3; END $$; -- fails
DELETE FROM pg_trigger; -- fails
-- But what only describes.
DELETE FROM pg_statistic WHERE starelid = 'issue'::regclass;
RESET deletion_guard.ddl;
SELECT event, details FROM deletion_guard.ledger WHERE event = 'change_catalog';

-- All of this goes on as ever.
CREATE SCHEMA app;
ALTER SCHEMA public OWNER TO CURRENT_USER;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_reset() TO PUBLIC;
REVOKE EXECUTE ON FUNCTION pg_catalog.pg_stat_reset() FROM PUBLIC;
COMMENT ON FUNCTION pg_catalog.now() IS 'transaction time';
ALTER TEXT SEARCH CONFIGURATION english ALTER MAPPING FOR word WITH simple;
ALTER DATABASE regress_dg_catalog SET work_mem = '5MB';
CREATE OPERATOR app.= (LEFTARG = int, RIGHTARG = int, FUNCTION = int4ne);
CREATE TYPE app.colour AS ENUM ('red', 'blue');
CREATE OPERATOR FAMILY app.own USING btree;
ALTER OPERATOR FAMILY app.own USING btree ADD FUNCTION 1 (int, int) btint4cmp(int, int);
CREATE FUNCTION pg_catalog.of_my_own() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OR REPLACE FUNCTION pg_catalog.of_my_own() RETURNS int LANGUAGE sql AS 'SELECT 2';
DROP FUNCTION pg_catalog.of_my_own();

-- With nothing at stake, whoever means it may.
SELECT sum(restored) FROM deletion_guard.undelete_tenants('{1,2}');
SELECT deletion_guard.unguard_table('issue');
BEGIN;
ALTER FUNCTION pg_catalog.now() COST 3; -- fails
ROLLBACK;
BEGIN;
SET LOCAL deletion_guard.ddl = allow;
ALTER FUNCTION pg_catalog.now() COST 3;
UPDATE pg_database SET datconnlimit = -1 WHERE datname = current_database();
ROLLBACK;

\c :maintenance_db
DROP DATABASE regress_dg_catalog;
