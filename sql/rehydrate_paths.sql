-- Rows that refer to one another in every direction, and who may see them.
CREATE DATABASE regress_dg_rehydrate_paths;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_paths
\getenv srcdir PG_ABS_SRCDIR
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'paths.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;

/*
 * A path of four keys, whose tables lie in the archive in the order opposite to
 * it; a cycle of two tables; references to rows of one's own table and to rows
 * of another tenant; two paths, of which one was chosen.
 */
CREATE TABLE e_tenant (id text PRIMARY KEY, name text);
CREATE TABLE d_house (id integer PRIMARY KEY, tenant text REFERENCES e_tenant);
CREATE TABLE c_floor (id integer PRIMARY KEY, house integer CONSTRAINT of_house REFERENCES d_house, above integer REFERENCES c_floor);
CREATE TABLE b_room (id integer PRIMARY KEY, floor integer CONSTRAINT of_floor REFERENCES c_floor,
	next_door integer REFERENCES b_room, house integer REFERENCES d_house);
CREATE TABLE a_key (id integer PRIMARY KEY, room integer NOT NULL CONSTRAINT of_room REFERENCES b_room);
ALTER TABLE d_house ADD master_key integer REFERENCES a_key;
SELECT deletion_guard.set_tenant_table('e_tenant', 'id', 'name');
SELECT deletion_guard.guard_table('e_tenant', 'id');
SELECT deletion_guard.guard_table('d_house', 'tenant');
SELECT deletion_guard.guard_table('c_floor', tenant_path => '{of_house}');
SELECT deletion_guard.guard_table('b_room', tenant_path => '{of_floor,of_house}');
SELECT deletion_guard.guard_table('a_key', tenant_path => '{of_room,of_floor,of_house}');
INSERT INTO e_tenant SELECT t, 'tenant ' || t FROM unnest('{ann,bob,cat}'::text[]) t;
INSERT INTO d_house SELECT row_number() OVER (ORDER BY id), id FROM e_tenant;
INSERT INTO c_floor SELECT h.id * 10 + n, h.id, CASE n WHEN 1 THEN h.id * 10 + 3 WHEN 3 THEN h.id * 10 + 2 END FROM d_house h, generate_series(1, 3) n;
INSERT INTO b_room SELECT f.id * 10 + n, f.id, NULL, f.house FROM c_floor f, generate_series(1, 2) n;
INSERT INTO a_key SELECT id * 10, id FROM b_room;
UPDATE d_house SET master_key = (SELECT max(k.id) FROM a_key k JOIN b_room r ON r.id = room WHERE r.house = d_house.id);
UPDATE b_room SET next_door = 211 WHERE id = 112;          -- ann's next to bob's
UPDATE b_room SET next_door = id + 1 WHERE id % 10 = 1 AND id <> 211;
CREATE VIEW everything AS
	SELECT 'e_tenant' AS relation, id AS tenant, t::text AS row FROM e_tenant t
	UNION ALL SELECT 'd_house', tenant, t::text FROM d_house t
	UNION ALL SELECT 'c_floor', tenant, t::text FROM c_floor t JOIN d_house h ON h.id = house
	UNION ALL SELECT 'b_room', tenant, t::text FROM b_room t JOIN d_house h ON h.id = house
	UNION ALL SELECT 'a_key', tenant, t::text FROM a_key t JOIN b_room r ON r.id = room JOIN d_house h ON h.id = house;
CREATE TABLE before AS TABLE everything;
CREATE FUNCTION lose(VARIADIC lost text[]) RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
BEGIN
	DELETE FROM a_key WHERE room / 100 IN (SELECT id FROM d_house WHERE tenant = ANY (lost));
	DELETE FROM b_room WHERE house IN (SELECT id FROM d_house WHERE tenant = ANY (lost));
	DELETE FROM c_floor WHERE house IN (SELECT id FROM d_house WHERE tenant = ANY (lost));
	DELETE FROM d_house WHERE tenant = ANY (lost);
	DELETE FROM e_tenant WHERE id = ANY (lost);
END $$;
-- Without the path of an archive's name in it.
CREATE FUNCTION failure(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE sql;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN regexp_replace(concat_ws(E'\n', SQLSTATE || ': ' || message, nullif(detail, ''), nullif(hint, '')), '"/[^"]*/', '"', 'g');
END $$;
\! pg_dump -Fc -f "${DIR}paths.dump" -n public 2>/dev/null; pg_dump -Fp -a -f "${DIR}data.dump" -n public 2>/dev/null
SELECT relation FROM deletion_guard.archive_contents(:'archive');
\set data :dir 'data.dump'

SELECT lose('cat');
SELECT relation, found, restored FROM deletion_guard.rehydrate('cat', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
(TABLE before EXCEPT TABLE everything) UNION ALL (TABLE everything EXCEPT TABLE before);
SELECT lose('cat');
SELECT sum(restored) FROM deletion_guard.rehydrate('cat', :'data');
(TABLE before EXCEPT TABLE everything) UNION ALL (TABLE everything EXCEPT TABLE before);

-- A row of another tenant is never brought along: that is named, or asked for as well.
SELECT lose('ann', 'bob');
SELECT failure(format('SELECT deletion_guard.rehydrate(''ann'', %L)', :'archive'));
SELECT failure(format('SELECT deletion_guard.rehydrate(''ann'', %L, with_referenced => true)', :'archive'));
SELECT count(*) FROM everything WHERE tenant <> 'cat';
SELECT tenant, sum(restored) FROM deletion_guard.rehydrate('{ann,bob}'::text[], :'archive') WHERE tenant IS NOT NULL GROUP BY 1 ORDER BY 1;
(TABLE before EXCEPT TABLE everything) UNION ALL (TABLE everything EXCEPT TABLE before);
SELECT lose('ann');
SELECT sum(restored) FROM deletion_guard.rehydrate('ann', :'archive');
(TABLE before EXCEPT TABLE everything) UNION ALL (TABLE everything EXCEPT TABLE before);

-- Parts of the path in the archive, parts live.
\! pg_dump -Fc -f "${DIR}data.dump" -t a_key -t c_floor
SET session_replication_role = replica;
DELETE FROM a_key;
RESET session_replication_role;
SELECT relation, tenant, restored, identical FROM deletion_guard.rehydrate('{ann,bob,cat}'::text[], :'data') WHERE tenant IS NOT NULL ORDER BY relation::text, tenant;
(TABLE before EXCEPT TABLE everything) UNION ALL (TABLE everything EXCEPT TABLE before);

/*
 * Live parents are gone, and the archive does not have them either: rows whose
 * tenant nothing tells are not passed over without a word. Rows of others are,
 * and those that are nobody's.
 */
CREATE TABLE e_bell (id integer PRIMARY KEY, house integer CONSTRAINT of_house REFERENCES d_house, note text);
SELECT deletion_guard.guard_table('e_bell', tenant_path => '{of_house}');
INSERT INTO e_bell SELECT 10 * id, id FROM d_house;
INSERT INTO e_bell VALUES (40, NULL, 'nobody''s');
\! pg_dump -Fc -f "${DIR}data.dump" -t e_bell -t a_key
CREATE FUNCTION lose_keys() RETURNS void LANGUAGE sql SET session_replication_role = replica AS 'DELETE FROM a_key; DELETE FROM e_bell';
SELECT lose_keys();
SELECT relation, sum(restored), min(problem) AS problem FROM deletion_guard.rehydrate('{ann,bob,cat}'::text[], :'data') WHERE tenant IS NOT NULL GROUP BY 1 ORDER BY relation::text;
-- the middle table's rows are gone
SELECT lose_keys();
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM b_room WHERE id IN (331, 332);
SET LOCAL session_replication_role = origin;
SELECT failure(format('SELECT deletion_guard.rehydrate(''cat'', %L)', :'data'));
SELECT failure(format('SELECT deletion_guard.rehydrate(''ann'', %L)', :'data'));
SELECT problem FROM deletion_guard.rehydrate('cat', :'data', dry_run => true);
SELECT matches, problem FROM deletion_guard.drill(:'data', '{cat}');
SET LOCAL client_min_messages = warning;
SELECT relation, tenant, found, restored, problem FROM deletion_guard.rehydrate('cat', :'data', relations => '{a_key,e_bell}') ORDER BY relation::text, tenant;
SELECT relation, archive_rows, live_rows, only_in_archive FROM deletion_guard.compare_tenant('cat', :'data') ORDER BY relation::text;
ROLLBACK;
-- they are there, but what they refer to is not
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM c_floor WHERE id = 33;
SET LOCAL session_replication_role = origin;
SELECT failure(format('SELECT deletion_guard.rehydrate(''cat'', %L)', :'data'));
ROLLBACK;
-- or do not refer to anything: then they are nobody's, like those in the archive that do not
BEGIN;
UPDATE b_room SET floor = NULL WHERE id = 331;
UPDATE d_house SET tenant = NULL WHERE id = 2;
SELECT relation, tenant, found, restored, problem FROM deletion_guard.rehydrate('cat', :'data', relations => '{a_key,e_bell}') ORDER BY relation::text, tenant;
SELECT failure(format('SELECT deletion_guard.rehydrate(''{bob,cat}''::text[], %L, relations => ''{a_key,e_bell}'')', :'data'));
ROLLBACK;
-- all of a tenant is gone: that its rows cannot be told is what is wrong, not the tenant's key
BEGIN;
SELECT lose('cat');
SELECT failure(format('SELECT deletion_guard.rehydrate(''cat'', %L)', :'data'));
SELECT failure(format('SELECT deletion_guard.rehydrate(''cat'', %L, relations => ''{e_bell}'')', :'data'));
ROLLBACK;
-- more parents than fit into memory
BEGIN;
SET LOCAL session_replication_role = replica;
SET LOCAL maintenance_work_mem = '1MB';
INSERT INTO b_room (id, floor) SELECT n, 10 * (n % 3 + 1) + 1 FROM generate_series(1001, 60000) n;
INSERT INTO a_key SELECT n * 10, n FROM generate_series(1001, 60000) n;
COMMIT;
\! pg_dump -Fc -f "${DIR}data.dump" -t a_key
BEGIN;
SET LOCAL session_replication_role = replica;
SET LOCAL maintenance_work_mem = '1MB';
DELETE FROM a_key;
DELETE FROM b_room WHERE id > 50000;
SELECT relation, tenant, found, problem FROM deletion_guard.rehydrate('cat', :'data', relations => '{a_key}');
ROLLBACK;
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM a_key WHERE room > 1000;
DELETE FROM b_room WHERE id > 1000;
COMMIT;
SELECT deletion_guard.unguard_table('e_bell');
DROP TABLE e_bell;
SELECT sum(restored) FROM deletion_guard.rehydrate('{ann,bob,cat}'::text[], :'archive', on_conflict => 'skip');
(TABLE before EXCEPT TABLE everything) UNION ALL (TABLE everything EXCEPT TABLE before);

-- The other path: whose the rows are is what the guard says.
SELECT deletion_guard.guard_table('b_room', tenant_path => '{b_room_house_fkey}');
UPDATE b_room SET house = 2 WHERE id = 331;
SELECT relation, found FROM deletion_guard.rehydrate('cat', :'archive', on_conflict => 'skip', dry_run => true) WHERE relation IN ('a_key'::regclass, 'b_room'::regclass) ORDER BY relation::text;
UPDATE b_room SET house = 3 WHERE id = 331;

-- Row security, forced: what the caller may not insert is refused, what he may not see is not compared.
CREATE ROLE regress_dg_janitor;
GRANT pg_read_server_files TO regress_dg_janitor;
GRANT SELECT, INSERT ON e_tenant, d_house, c_floor, b_room, a_key TO regress_dg_janitor;
ALTER TABLE c_floor ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY low ON c_floor USING (id % 10 < 3);
SELECT lose('cat');
SET ROLE regress_dg_janitor;
SELECT failure(format('SELECT deletion_guard.rehydrate(''cat'', %L)', :'archive'));
RESET ROLE;
ALTER POLICY low ON c_floor WITH CHECK (true);
SET ROLE regress_dg_janitor;
SELECT sum(restored) FROM deletion_guard.rehydrate('cat', :'archive') WHERE tenant IS NOT NULL;
SELECT relation, archive_rows, live_rows, only_in_archive FROM deletion_guard.compare_tenant('cat', :'archive') ORDER BY relation::text;
RESET ROLE;
(TABLE before EXCEPT TABLE everything) UNION ALL (TABLE everything EXCEPT TABLE before);
DROP OWNED BY regress_dg_janitor;
DROP ROLE regress_dg_janitor;

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_paths;
\! rm -f "${DIR}paths.dump" "${DIR}data.dump"
