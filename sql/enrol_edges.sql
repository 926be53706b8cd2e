-- Enrolling what is not quite an ordinary table, and schemas that change.
CREATE DATABASE regress_dg_enrol_edges;
\set maintenance_db :DBNAME
\c regress_dg_enrol_edges
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE VIEW guards AS
	SELECT tgrelid::regclass AS relation, string_agg(replace(tgname, 'deletion_guard_', '') || ' ' || tgenabled::text, ', ' ORDER BY tgname) AS triggers
	FROM pg_trigger WHERE tgname LIKE 'deletion_guard%' AND tgrelid::regclass::text !~ '^deletion_guard'
	GROUP BY tgrelid ORDER BY tgrelid::regclass::text;

-- Unlogged tables: a crash empties them.
CREATE UNLOGGED TABLE cache (id int, tenant_id int);
SELECT deletion_guard.guard_table('cache', 'tenant_id');
INSERT INTO cache VALUES (1, 1);
DELETE FROM cache;
SELECT c.relpersistence FROM deletion_guard.bin b JOIN pg_class c ON c.oid = b.bin_table WHERE b.relation = 'cache'::regclass;
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'storage' AND NOT ok;
ALTER TABLE cache SET LOGGED;
ALTER TABLE cache SET UNLOGGED; -- fails
CREATE TABLE reading (id int, tenant_id int) PARTITION BY LIST (tenant_id);
CREATE UNLOGGED TABLE reading_1 PARTITION OF reading FOR VALUES IN (1);
SELECT * FROM deletion_guard.guard_schema('public', 'tenant_id') ORDER BY 1;
ALTER TABLE reading_1 SET LOGGED;
ALTER TABLE reading_1 SET UNLOGGED; -- fails
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'storage' AND NOT ok;

-- A temporary table's rows are none of its parent's, whichever way they meet.
CREATE TABLE base (id int, tenant_id int);
CREATE TEMPORARY TABLE scratch (note text) INHERITS (base);
SELECT * FROM guards WHERE relation = 'base'::regclass;
INSERT INTO base VALUES (1, 1), (2, 1);
INSERT INTO scratch VALUES (3, 1, 'temporary');
DELETE FROM base;
SELECT * FROM deletion_guard.deleted_rows(NULL::base) ORDER BY id;
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT tableoid::regclass, * FROM base ORDER BY id;
INSERT INTO scratch VALUES (3, 1, 'temporary');
TRUNCATE base;
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT tableoid::regclass, * FROM base ORDER BY id;
CREATE TEMPORARY TABLE other_scratch (id int, tenant_id int);
ALTER TABLE scratch NO INHERIT base;
SELECT * FROM guards WHERE relation = 'base'::regclass;
ALTER TABLE other_scratch INHERIT base;
SELECT * FROM guards WHERE relation = 'base'::regclass;
SELECT deletion_guard.guard_table('base', 'tenant_id');
SELECT count(*) FROM guards WHERE relation = 'other_scratch'::regclass;
SELECT * FROM deletion_guard.unguarded_table;
SELECT check_name, object, detail FROM deletion_guard.verify() WHERE NOT ok AND check_name IN ('inheritance children', 'guard triggers', 'unguarded tables');
CREATE TABLE late_base (id int);
CREATE TEMPORARY TABLE late_scratch () INHERITS (late_base);
SELECT deletion_guard.guard_table('late_base');
SELECT * FROM guards WHERE relation IN ('late_base'::regclass, 'late_scratch'::regclass);
\c -
-- With the session its temporary tables are gone; base may stay as it is.
SELECT count(*) FROM guards WHERE relation = 'base'::regclass;
INSERT INTO base VALUES (4, 1);
DELETE FROM base WHERE id = 4;
SELECT * FROM deletion_guard.deleted_rows(NULL::base) ORDER BY id;
SELECT check_name, object, detail FROM deletion_guard.verify() WHERE NOT ok AND check_name = 'guard triggers';

-- An enrolled schema is renamed, dropped, and made again.
CREATE SCHEMA app;
CREATE SCHEMA app_2;
SELECT * FROM deletion_guard.guard_schema('app', 'tenant_id');
SELECT * FROM deletion_guard.guard_schema('app_2', 'owner_id');
ALTER SCHEMA app RENAME TO shop;
CREATE TABLE shop.article (id int, tenant_id int);
CREATE TABLE shop.owned (id int, owner_id int);
SELECT relation FROM deletion_guard.guarded_table WHERE relation::text ~ 'shop';
DROP SCHEMA app_2;
TABLE deletion_guard.guarded_schema;
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'guarded schemas' AND NOT ok;
CREATE SCHEMA app_2 CREATE TABLE item (id int, owner_id int);
SELECT relation FROM deletion_guard.guarded_table WHERE relation::text ~ 'app_2';
CREATE ROLE regress_dg_edges;
ALTER SCHEMA shop OWNER TO regress_dg_edges;
TABLE deletion_guard.guarded_schema;
-- With event triggers off, and before the library is loaded, nobody follows.
\c -
SET session_replication_role = replica;
SET allow_system_table_mods = on;
UPDATE pg_namespace SET nspname = 'store' WHERE nspname = 'shop';
RESET allow_system_table_mods;
RESET session_replication_role;
\c -
SELECT object, ok, detail FROM deletion_guard.verify() WHERE check_name = 'guarded schemas';
INSERT INTO app_2.item VALUES (1, 1);
DROP SCHEMA app_2 CASCADE; -- fails
SELECT * FROM deletion_guard.guard_schema('store', 'tenant_id') ORDER BY 1;
TABLE deletion_guard.guarded_schema;
SELECT deletion_guard.guard_schema(0::oid::regnamespace, 'tenant_id'); -- fails

-- Deletions that cascade to tables which nobody guards.
CREATE TABLE country (code text PRIMARY KEY);
CREATE TABLE town (name text, country text CONSTRAINT town_country REFERENCES country ON DELETE CASCADE);
CREATE TABLE flag (name text, country text CONSTRAINT flag_country REFERENCES country ON DELETE SET NULL);
CREATE TABLE coast (country text CONSTRAINT coast_country REFERENCES country);
SELECT deletion_guard.guard_table('country');
SELECT object, ok, detail FROM deletion_guard.verify() WHERE check_name = 'cascades';


-- A table may take the place of one that was dropped and that had its name last;
-- but not for anybody.
CREATE TABLE parcel (id int PRIMARY KEY, tenant_id int);
CREATE TABLE label (id int PRIMARY KEY, parcel_id int REFERENCES parcel ON DELETE SET NULL);
SELECT deletion_guard.guard_table('parcel', 'tenant_id');
SELECT deletion_guard.guard_table('label');
INSERT INTO parcel VALUES (1, 1), (2, 1);
INSERT INTO label VALUES (1, 1), (2, 2);
DELETE FROM parcel WHERE id = 1;
SELECT max(id) AS deletion FROM deletion_guard.deletion \gset
ALTER TABLE parcel RENAME TO package;
BEGIN;
SET LOCAL deletion_guard.ddl = allow;
DROP TABLE package, label;
COMMIT;
SELECT relation_name FROM deletion_guard.bin WHERE relation_name ~ 'pa[cr]';
SELECT details FROM deletion_guard.ledger WHERE event = 'drop_table' ORDER BY id;
SELECT * FROM deletion_guard.undelete(:deletion); -- fails
GRANT CREATE ON SCHEMA public TO regress_dg_edges;
GRANT EXECUTE ON FUNCTION deletion_guard.guard_table TO regress_dg_edges;
SET client_min_messages = notice;
SET ROLE regress_dg_edges;
CREATE TABLE package (weight int, tenant_id int, id int PRIMARY KEY);
SELECT deletion_guard.guard_table('package', 'tenant_id');
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::package);
RESET ROLE;
SELECT deletion_guard.guard_table('package', 'tenant_id');
SELECT deletion_guard.adopt_bin('deletion_guard_bin.bin_3_parcel', 'package');
CREATE TABLE label (id int PRIMARY KEY, parcel_id int REFERENCES package ON DELETE SET NULL);
INSERT INTO label VALUES (1, NULL);
SELECT deletion_guard.guard_table('label');
SELECT * FROM deletion_guard.deleted_rows(NULL::package);
SELECT relation, restored FROM deletion_guard.undelete(:deletion);
SELECT * FROM package, label WHERE parcel_id = package.id;
SELECT details FROM deletion_guard.ledger ORDER BY id DESC LIMIT 3;

\c :maintenance_db
DROP DATABASE regress_dg_enrol_edges;
DROP ROLE regress_dg_edges;
