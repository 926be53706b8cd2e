-- Roads to the extension's own tables that no list of commands has: whatever
-- belongs to them, or makes them belong to something, is judged by the object.
CREATE DATABASE regress_dg_store_routes;
\set maintenance_db :DBNAME
\c regress_dg_store_routes
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int, title text);
INSERT INTO issue SELECT i, 1, 'issue' FROM generate_series(1, 4) i;
SELECT deletion_guard.guard_table('issue', 'tenant_id');
DELETE FROM issue WHERE id = 1;
SELECT bin_table::text AS bin FROM deletion_guard.bin \gset

-- Children and parents: rows of a child appear as its parent's.
CREATE EXTENSION postgres_fdw;
CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw;
CREATE FOREIGN TABLE forged () INHERITS (deletion_guard.deletion_part) SERVER loop; -- fails
CREATE TABLE forged () INHERITS (deletion_guard.deletion_part); -- fails
CREATE TABLE forged () INHERITS (:bin); -- fails
CREATE TABLE forged (LIKE deletion_guard.deletion_part INCLUDING ALL);
ALTER TABLE forged INHERIT deletion_guard.deletion_part; -- fails
CREATE TABLE parent (LIKE deletion_guard.hold);
ALTER TABLE deletion_guard.hold INHERIT parent; -- fails
CREATE TABLE parted (LIKE deletion_guard.hold) PARTITION BY LIST (tenant);
ALTER TABLE parted ATTACH PARTITION deletion_guard.hold DEFAULT; -- fails
CREATE TYPE of_type AS (id bigint);
ALTER TABLE deletion_guard.hold OF of_type; -- fails
CREATE TABLE refers (id bigint REFERENCES deletion_guard.hold); -- fails
ALTER TABLE forged ADD FOREIGN KEY (bin_id) REFERENCES deletion_guard.bin; -- fails
-- Other storage, other columns, other names, defaults, constraints.
ALTER TABLE :bin SET ACCESS METHOD heap; -- fails
ALTER TABLE deletion_guard.hold ALTER tenant SET DEFAULT 'x'; -- fails
ALTER TABLE deletion_guard.hold ADD CHECK (false) NOT VALID; -- fails
ALTER TABLE deletion_guard.hold RENAME CONSTRAINT hold_pkey TO other; -- fails
ALTER INDEX deletion_guard.hold_pkey RENAME TO other; -- fails
ALTER SEQUENCE deletion_guard.deletion_id_seq RESTART; -- fails
ALTER TABLE deletion_guard.hold ENABLE ROW LEVEL SECURITY; -- fails
CREATE POLICY p ON deletion_guard.hold; -- fails
COPY deletion_guard.hold FROM '/dev/null'; -- fails
COPY deletion_guard.ledger FROM '/dev/null'; -- fails
SET session_replication_role = replica;
COPY deletion_guard.ledger FROM '/dev/null'; -- fails
TRUNCATE deletion_guard.ledger; -- fails
TRUNCATE :bin; -- fails
RESET session_replication_role;

-- Nothing comes into the schema, where it could be called instead of what is there.
CREATE FUNCTION deletion_guard.undelete(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'; -- fails
CREATE FUNCTION public.undelete(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION public.undelete(integer) SET SCHEMA deletion_guard; -- fails
CREATE TABLE deletion_guard.mine (id integer); -- fails
ALTER TABLE forged SET SCHEMA deletion_guard; -- fails
ALTER TABLE forged SET SCHEMA deletion_guard_bin; -- fails
CREATE TYPE deletion_guard.mine AS (id integer); -- fails

-- Bins are stored so that nothing but the extension takes rows out, without
-- triggers, and without the library until they are opened.
SELECT amname FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE c.oid = :'bin'::regclass;
CREATE TABLE mine (id integer) USING deletion_guard_bin; -- fails
CREATE EXTENSION pg_surgery;
SELECT heap_force_kill(:'bin', ARRAY['(0,1)'::tid]); -- fails
-- what they keep out of line, too
CREATE TABLE long (id integer, content text);
ALTER TABLE long ALTER content SET STORAGE EXTERNAL;
SELECT deletion_guard.guard_table('long');
INSERT INTO long SELECT i, repeat('long ' || i, 5000) FROM generate_series(1, 20) i;
DELETE FROM long;
SELECT bin_table AS long_bin, reltoastrelid::regclass AS toast FROM deletion_guard.bin b JOIN pg_class c ON c.oid = b.bin_table
WHERE b.relation = 'long'::regclass \gset
SELECT heap_force_kill(:'toast', ARRAY['(0,1)'::tid]); -- fails
REINDEX TABLE :toast;
REINDEX TABLE CONCURRENTLY :long_bin;
VACUUM (FULL, FREEZE) :long_bin;
VACUUM FULL :toast;
REINDEX TABLE CONCURRENTLY :toast;
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT count(*) FROM long WHERE content = repeat('long ' || id, 5000);
DROP EXTENSION pg_surgery;
\c -
SET client_min_messages = warning;
BEGIN;
DELETE FROM pg_trigger WHERE tgrelid = :'bin'::regclass;
UPDATE pg_class SET relhastriggers = false, relname = 'away', relnamespace = 'public'::regnamespace WHERE oid = :'bin'::regclass;
SAVEPOINT s;
DELETE FROM public.away; -- fails
ROLLBACK TO s;
UPDATE public.away SET id = 7; -- fails
ROLLBACK TO s;
TRUNCATE public.away; -- fails
ROLLBACK TO s;
MERGE INTO public.away a USING issue i ON true WHEN MATCHED THEN DELETE; -- fails
ROLLBACK;

-- Members of another extension are dropped with it, and not dumped.
CREATE EXTENSION citext;
ALTER INDEX deletion_guard.tenant_wipe_at_idx DEPENDS ON EXTENSION citext; -- fails
ALTER FUNCTION deletion_guard_internal.protect() DEPENDS ON EXTENSION citext; -- fails
ALTER TRIGGER deletion_guard_protect ON :bin DEPENDS ON EXTENSION citext; -- fails
ALTER EXTENSION citext ADD TABLE :bin; -- fails
ALTER EXTENSION citext ADD TABLE deletion_guard.hold; -- fails
ALTER EXTENSION citext ADD EVENT TRIGGER deletion_guard_ddl_start; -- fails
ALTER EXTENSION deletion_guard DROP TABLE deletion_guard.hold; -- fails
ALTER EXTENSION deletion_guard ADD TABLE issue; -- fails
-- As a session's first command, too.
\c -
SET client_min_messages = warning;
ALTER INDEX deletion_guard.tenant_wipe_at_idx DEPENDS ON EXTENSION citext; -- fails
\c -
SET client_min_messages = warning;
ALTER EXTENSION citext ADD TABLE :bin; -- fails
CREATE INDEX own ON issue (title);
ALTER INDEX own DEPENDS ON EXTENSION citext;
-- Done by hand before the library is loaded: it does not go with the extension.
\c -
SET client_min_messages = warning;
BEGIN;
INSERT INTO pg_depend SELECT 'pg_class'::regclass, 'deletion_guard.tenant_wipe_at_idx'::regclass, 0, 'pg_extension'::regclass, oid, 0, 'x'
	FROM pg_extension WHERE extname = 'citext';
DROP EXTENSION citext; -- fails
ROLLBACK;
DROP EXTENSION citext;

-- Schemas.
ALTER SCHEMA deletion_guard_bin RENAME TO other; -- fails
ALTER EXTENSION deletion_guard SET SCHEMA public; -- fails
-- No subscription writes to them, or to catalogs.
SET client_min_messages = error;	-- the words of the warning have changed
CREATE SUBSCRIPTION s CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE, enabled = false);
\c -
SET client_min_messages = warning;
BEGIN;
INSERT INTO pg_subscription_rel SELECT oid, 'pg_trigger'::regclass, 'r', '0/1' FROM pg_subscription WHERE subname = 's';
ALTER SUBSCRIPTION s SET (binary = true); -- fails
ROLLBACK;
\c -
SET client_min_messages = warning;
BEGIN;
INSERT INTO pg_subscription_rel SELECT oid, :'bin'::regclass, 'r', '0/1' FROM pg_subscription WHERE subname = 's';
ALTER SUBSCRIPTION s SET (binary = true); -- fails
ROLLBACK;
DROP SUBSCRIPTION s;

-- What is missing is missed: nothing is deleted, dropped or purged, no catalog is
-- written, and nobody takes the extension for not installed.
\c -
SET client_min_messages = warning;
BEGIN;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'deletion_guard.bin_bin_table_key'::regclass;
SAVEPOINT s;
DELETE FROM issue; -- fails
ROLLBACK TO s;
TRUNCATE issue; -- fails
ROLLBACK TO s;
DROP TABLE issue; -- fails
ROLLBACK TO s;
DELETE FROM pg_trigger; -- fails
ROLLBACK TO s;
DELETE FROM :bin; -- fails
ROLLBACK TO s;
DROP EXTENSION deletion_guard CASCADE; -- fails
ROLLBACK TO s;
SET LOCAL deletion_guard.ddl = allow;
DROP TABLE :bin; -- fails
ROLLBACK TO s;
SET LOCAL deletion_guard.ddl = allow;
DROP EXTENSION deletion_guard CASCADE; -- fails
ROLLBACK TO s;
ROLLBACK;
\c -
SET client_min_messages = warning;
BEGIN;
UPDATE pg_index SET indkey = '2' WHERE indexrelid = 'deletion_guard.guard_pkey'::regclass;
DELETE FROM issue; -- fails
ROLLBACK;

-- All of it is there.
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue);
VACUUM FULL :bin;
-- As a session's first command, in which the bin loads the library.
\c -
VACUUM FULL;
\c -
VACUUM FULL :bin;
ALTER TABLE :bin RENAME TO other; -- fails
\c -
SET client_min_messages = warning;
REINDEX TABLE CONCURRENTLY deletion_guard.bin;
ALTER TABLE :bin SET (autovacuum_enabled = off);
DELETE FROM issue WHERE id = 2;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue);
SELECT count(*) FROM deletion_guard.verify() WHERE NOT ok AND check_name LIKE 'store%';

\c :maintenance_db
DROP DATABASE regress_dg_store_routes;
