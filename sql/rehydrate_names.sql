-- Names that are hard to spell, in every argument; triggers and keys that need a word.
CREATE DATABASE regress_dg_rehydrate_names;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_names
\getenv srcdir PG_ABS_SRCDIR
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'names.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE SCHEMA "Büro ""1"".x";
CREATE SCHEMA "select";
SET search_path = public;

-- One name in two schemas and two cases, quotes, dots, 63 bytes, reserved words.
CREATE TABLE tenant ("key of '""tenant""" text PRIMARY KEY, "order" text);
CREATE TABLE shade (id text PRIMARY KEY);
CREATE TABLE "Büro ""1"".x".item (id integer PRIMARY KEY, "desc" text REFERENCES tenant, "Desc" text, "a.b" text REFERENCES shade, "\" text);
CREATE TABLE "select".item (LIKE "Büro ""1"".x".item INCLUDING ALL);
CREATE TABLE "select"."Item" ("group" text, "pg_catalog" integer);
CREATE TABLE public."x234567890123456789012345678901234567890123456789012345678901é" (
	"c234567890123456789012345678901234567890123456789012345678901é" integer REFERENCES "Büro ""1"".x".item, "$1" text);
SELECT deletion_guard.set_tenant_table('tenant', 'key of ''"tenant"', 'order');
SELECT deletion_guard.guard_table('tenant', 'key of ''"tenant"');
SELECT deletion_guard.guard_table('"Büro ""1"".x".item', 'desc');
SELECT deletion_guard.guard_table('"select".item', 'Desc');
SELECT deletion_guard.guard_table('"select"."Item"', 'group');
SELECT conname AS long_key FROM pg_constraint WHERE conrelid = 'public."x234567890123456789012345678901234567890123456789012345678901é"'::regclass \gset
SELECT deletion_guard.guard_table('public."x234567890123456789012345678901234567890123456789012345678901é"', tenant_path => ARRAY[:'long_key']::name[]);
INSERT INTO tenant VALUES (E'o''br"ien\\', 'x'), ('{a,b}', 'y'), ('NULL', 'z'), ('', 'empty'), (E'tab\there', 't');
INSERT INTO shade VALUES ('{}'), (E'\\N'), ('.');
INSERT INTO "Büro ""1"".x".item SELECT n, t, t, s.id, E'\\.' FROM
	(SELECT row_number() OVER (ORDER BY "key of '""tenant""" COLLATE "C") AS n, "key of '""tenant""" AS t FROM tenant) x JOIN (VALUES (1, '{}'), (2, E'\\N'), (0, '.')) s (k, id) ON n % 3 = k;
INSERT INTO "select".item SELECT id, NULL, "Desc", "a.b", "\" FROM "Büro ""1"".x".item;
INSERT INTO "select"."Item" SELECT "Desc", id FROM "select".item;
INSERT INTO "x234567890123456789012345678901234567890123456789012345678901é" SELECT id, "a.b" FROM "Büro ""1"".x".item;
CREATE VIEW everything AS
	SELECT 1 AS n, t::text AS row FROM tenant t UNION ALL SELECT 2, t::text FROM "Büro ""1"".x".item t UNION ALL SELECT 3, t::text FROM "select".item t
	UNION ALL SELECT 4, t::text FROM "select"."Item" t UNION ALL SELECT 5, t::text FROM "x234567890123456789012345678901234567890123456789012345678901é" t;
CREATE TABLE before AS TABLE everything;
\! pg_dump -Fc -f "${DIR}names.dump"
SELECT relation, live_relation, tenant_source FROM deletion_guard.archive_contents(:'archive')
WHERE relation !~ 'deletion_guard' ORDER BY relation COLLATE "C";
CREATE FUNCTION lose() RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
BEGIN
	DELETE FROM "x234567890123456789012345678901234567890123456789012345678901é";
	DELETE FROM "select"."Item"; DELETE FROM "select".item; DELETE FROM "Büro ""1"".x".item; DELETE FROM tenant;
END $$;

SELECT lose();
DELETE FROM shade WHERE id = E'\\N';
SELECT relation, tenant, found, restored, problem
FROM deletion_guard.rehydrate(ARRAY[E'o''br"ien\\', '{a,b}', 'NULL', '', E'tab\there'], :'archive', with_referenced => true)
WHERE tenant IS NOT NULL OR relation = 'shade'::regclass ORDER BY relation::text COLLATE "C", tenant COLLATE "C";
TABLE before EXCEPT TABLE everything;
TABLE everything EXCEPT TABLE before;
SELECT count(*) FROM shade;
SELECT relation, only_in_archive + only_live + different AS differences FROM deletion_guard.compare_tenant(E'o''br"ien\\', :'archive') ORDER BY relation::text COLLATE "C";
SELECT tenant, matches, problem FROM deletion_guard.drill(:'archive', ARRAY['{a,b}', 'NULL']) ORDER BY tenant;

-- Two tables of one name cannot share a schema to look at; odd names of schemas.
SELECT deletion_guard.rehydrate('NULL', :'archive', into_schema => 'look');
SELECT relation, restored FROM deletion_guard.rehydrate('NULL', :'archive', relations => '{tenant,"\"select\".\"Item\""}', into_schema => 'A "look".x')
WHERE tenant IS NOT NULL ORDER BY relation::text;
TABLE "A ""look"".x"."Item";
SELECT deletion_guard.rehydrate('NULL', :'archive', relations => '{tenant}', into_schema => 'pg_look');
SELECT deletion_guard.rehydrate('NULL', :'archive', relations => '{tenant}', into_schema => '');
SELECT deletion_guard.rehydrate('NULL', :'archive', relations => '{tenant}', into_schema => 'deletion_guard');
DROP SCHEMA "A ""look"".x" CASCADE;

-- Everything is called otherwise now.
ALTER TABLE "Büro ""1"".x".item RENAME TO "ITEM";
ALTER TABLE "Büro ""1"".x"."ITEM" RENAME "desc" TO "from";
ALTER TABLE "Büro ""1"".x"."ITEM" RENAME "a.b" TO "a""b";
ALTER SCHEMA "Büro ""1"".x" RENAME TO "table";
ALTER TABLE "select"."Item" RENAME TO "i'""tem";
SET session_replication_role = replica;
DELETE FROM "x234567890123456789012345678901234567890123456789012345678901é"; DELETE FROM "select"."i'""tem"; DELETE FROM "select".item; DELETE FROM "table"."ITEM"; DELETE FROM tenant;
RESET session_replication_role;
SELECT relation, tenant, restored, problem FROM deletion_guard.rehydrate(ARRAY['', 'NULL'], :'archive', mapping => $${
	"\"Büro \"\"1\"\".x\".item": {"relation": "\"table\".\"ITEM\"", "columns": {"desc": "from", "a.b": "a\"b"}},
	"\"select\".\"Item\"": "\"select\".\"i'\"\"tem\""}$$) WHERE tenant IS NOT NULL ORDER BY relation::text COLLATE "C", tenant COLLATE "C";
SELECT deletion_guard.rehydrate('NULL', :'archive', mapping => '{"select.Item": "tenant"}');
SELECT deletion_guard.rehydrate('NULL', :'archive', mapping => '{"\"select\".\"Item\"": {"columns": {"GROUP": "x"}}}');
SELECT deletion_guard.rehydrate('NULL', :'archive', mapping => '{"\"select\".\"Item\"": "public.nowhere"}');
SELECT deletion_guard.rehydrate('NULL', :'archive', mapping => '{"\"select\".\"Item\"": "everything"}');

-- Runs have names too, and go on where they stopped.
\set VERBOSITY terse
SET client_min_messages = notice;
CALL deletion_guard.rehydrate_each(ARRAY['{a,b}', '', E'o''br"ien\\'], :'archive', E'run ''"1"\\ é', relations => '{tenant}', on_conflict => 'skip');
CALL deletion_guard.rehydrate_each(ARRAY[E'tab\there', '', '{a,b}'], :'archive', E'run ''"1"\\ é', relations => '{tenant}', on_conflict => 'skip');
CALL deletion_guard.rehydrate_each(ARRAY['']::text[], :'archive', '', relations => '{tenant}', on_conflict => 'skip');
CALL deletion_guard.rehydrate_each(ARRAY['']::text[], :'archive', 'without mapping');
SET client_min_messages = warning;
\set VERBOSITY default
SELECT run, tenant, rows FROM deletion_guard.rehydration_record ORDER BY tenant COLLATE "C";

-- Triggers for each statement do not fire, asked for or not; nor those that want to see new rows as a table.
CREATE TABLE trap (tenant text, id integer PRIMARY KEY, code integer UNIQUE DEFERRABLE, later integer UNIQUE DEFERRABLE INITIALLY DEFERRED);
SELECT deletion_guard.guard_table('trap', 'tenant');
INSERT INTO trap VALUES ('NULL', 1, 10, 100), ('NULL', 2, 20, 200);
\! pg_dump -Fc -f "${DIR}names.dump" -t trap
CREATE TABLE noise (said text);
CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO noise VALUES (TG_NAME); RETURN NEW; END $$;
CREATE TRIGGER statement_before BEFORE INSERT ON trap FOR EACH STATEMENT EXECUTE FUNCTION say();
CREATE TRIGGER statement_after AFTER INSERT ON trap FOR EACH STATEMENT EXECUTE FUNCTION say();
CREATE TRIGGER statement_table AFTER INSERT ON trap REFERENCING NEW TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION say();
CREATE TRIGGER row_table AFTER INSERT ON trap REFERENCING NEW TABLE AS rows FOR EACH ROW EXECUTE FUNCTION say();
CREATE TRIGGER row_after AFTER INSERT ON trap FOR EACH ROW EXECUTE FUNCTION say();
CREATE CONSTRAINT TRIGGER row_deferred AFTER INSERT ON trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION say();
DELETE FROM trap;
SELECT sum(restored) FROM deletion_guard.rehydrate('NULL', :'archive', fire_triggers => true);
SELECT said, count(*) FROM noise GROUP BY 1 ORDER BY 1;

-- Deferrable keys are checked at the end, unless rows are to be skipped or replaced.
DELETE FROM trap;
INSERT INTO trap VALUES ('else', 3, 20, 300);
SELECT deletion_guard.rehydrate('NULL', :'archive');
BEGIN;
SELECT deletion_guard.rehydrate('NULL', :'archive', on_conflict => 'skip');
TABLE trap ORDER BY id;
ROLLBACK;
UPDATE trap SET code = 30, later = 200;
SELECT deletion_guard.rehydrate('NULL', :'archive', on_conflict => 'replace');
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
SELECT deletion_guard.rehydrate('NULL', :'archive');
COMMIT;
TABLE trap;

-- What cannot tell a tenant any more, or never could.
CREATE FUNCTION refusal(sql text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE sql;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	RETURN regexp_replace(SQLERRM, '"/[^"]*/', '"');
END $$;
SELECT deletion_guard.rehydrate('NULL', :'archive', relations => '{99999999}');
CREATE TABLE odd (place point);
SELECT deletion_guard.guard_table('odd', 'place');
CREATE TABLE base (id integer PRIMARY KEY, owner text);
CREATE TABLE leaf (base integer CONSTRAINT to_base REFERENCES base);
SELECT deletion_guard.guard_table('base', 'owner');
SELECT deletion_guard.guard_table('leaf', tenant_path => '{to_base}');
INSERT INTO odd VALUES ('(1,1)');
INSERT INTO leaf VALUES (NULL);
\! pg_dump -Fc -f "${DIR}names.dump" -t odd
SELECT deletion_guard.rehydrate('(1,1)', :'archive');
\! pg_dump -Fc -f "${DIR}names.dump" -t leaf
SELECT refusal(format('SELECT deletion_guard.rehydrate(''me'', %L)', :'archive'));
SELECT deletion_guard.unguard_table('base');
SELECT deletion_guard.rehydrate('me', :'archive');
SELECT deletion_guard.guard_table('base', 'owner');
BEGIN;
SET LOCAL deletion_guard.ddl = allow;
ALTER TABLE base DROP COLUMN owner;
SELECT deletion_guard.rehydrate('me', :'archive');
ROLLBACK;
SELECT refusal(format('SELECT deletion_guard.drill(%L)', :'archive'));
CREATE DATABASE regress_dg_rehydrate_names_2;
\c regress_dg_rehydrate_names_2
CREATE EXTENSION deletion_guard;
SELECT deletion_guard.drill(:'archive');

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_names;
DROP DATABASE regress_dg_rehydrate_names_2;
\! rm -f "${DIR}names.dump"
