-- Tables that other extensions manage, told by those extensions' lists; here are only the lists.
CREATE DATABASE regress_dg_not_ordinary;
\set maintenance_db :DBNAME
\c regress_dg_not_ordinary
CREATE ACCESS METHOD heap_too TYPE TABLE HANDLER heap_tableam_handler;
SET allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
	SELECT 65000 + n, name, 10, 'pg_catalog'::regnamespace, false, '0' FROM unnest('{timescaledb,citus,age}'::text[]) WITH ORDINALITY x (name, n);
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass);
RESET allow_system_table_mods;
CREATE SCHEMA _timescaledb_catalog;
CREATE TABLE _timescaledb_catalog.hypertable (id serial, schema_name name, table_name name, compression_state smallint DEFAULT 1);
CREATE TABLE _timescaledb_catalog.continuous_agg (raw_hypertable_id int, mat_hypertable_id int);
CREATE SCHEMA ag_catalog;
CREATE TABLE ag_catalog.ag_label (relation regclass);

-- Our tables are heaps, whatever tables are by default.
SET default_table_access_method = heap_too;
CREATE EXTENSION deletion_guard;
SELECT amname, count(*) > 0 AS any FROM pg_class c JOIN pg_am a ON a.oid = c.relam
WHERE relnamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_bin'::regnamespace) AND relkind = 'r' GROUP BY 1;
CREATE TABLE note (id int PRIMARY KEY, tenant_id int);
RESET default_table_access_method;

-- While a list is not as it is known, no table is taken for an ordinary one.
SELECT deletion_guard.guard_table('note', 'tenant_id'); -- fails
ALTER EXTENSION timescaledb ADD TABLE _timescaledb_catalog.hypertable;
SELECT deletion_guard.guard_table('note', 'tenant_id'); -- fails
ALTER TABLE _timescaledb_catalog.hypertable ADD compressed_hypertable_id int;
ALTER EXTENSION timescaledb ADD TABLE _timescaledb_catalog.continuous_agg;
ALTER EXTENSION citus ADD TABLE pg_catalog.pg_dist_partition;
SELECT deletion_guard.guard_table('note', 'tenant_id'); -- fails
ALTER EXTENSION age ADD TABLE ag_catalog.ag_label;
ALTER TABLE ag_catalog.ag_label ALTER relation TYPE text;
SELECT deletion_guard.guard_table('note', 'tenant_id'); -- fails
ALTER TABLE ag_catalog.ag_label ALTER relation TYPE regclass USING relation::regclass;

-- Enrolment: a schema's other tables are guarded all the same.
CREATE SCHEMA app;
CREATE TABLE app.anchor (id int PRIMARY KEY, tenant_id int);
CREATE TABLE app.label (tenant_id int);
CREATE TABLE app.measured (tenant_id int);
CREATE TABLE app.chunk () INHERITS (app.measured);
CREATE TABLE app.summed (tenant_id int);
CREATE TABLE app.squeezed (tenant_id int);
CREATE TABLE app.spread (tenant_id int);
CREATE TABLE app.tree (tenant_id int) PARTITION BY LIST (tenant_id);
CREATE TABLE app.tree_1 PARTITION OF app.tree FOR VALUES IN (1);
CREATE TABLE app.last (tenant_id int);
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE app.far (tenant_id int) SERVER nowhere;
INSERT INTO ag_catalog.ag_label VALUES ('app.label');
INSERT INTO _timescaledb_catalog.hypertable (schema_name, table_name) VALUES ('app', 'measured'), ('public', 'anchor');
INSERT INTO _timescaledb_catalog.hypertable (schema_name, table_name, compression_state) VALUES ('app', 'summed', 0), ('app', 'squeezed', 0);
UPDATE _timescaledb_catalog.hypertable SET compressed_hypertable_id = 1 WHERE table_name = 'squeezed';
INSERT INTO _timescaledb_catalog.continuous_agg SELECT id, 0 FROM _timescaledb_catalog.hypertable WHERE table_name = 'summed';
INSERT INTO pg_dist_partition VALUES ('app.spread'), ('app.tree_1');
\x
SELECT * FROM deletion_guard.guard_schema('app', 'tenant_id');
SELECT * FROM deletion_guard.unguarded_table;
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'unguarded tables';
\x
SELECT deletion_guard.guard_table('app.label', 'tenant_id'); -- fails
SELECT deletion_guard.guard_table('app.tree_1', 'tenant_id'); -- fails
SELECT deletion_guard.guard_table('app.chunk', 'tenant_id'); -- fails
SELECT deletion_guard.guard_table('app.squeezed', 'tenant_id'); -- fails
SELECT deletion_guard.guard_table('app.tree', 'tenant_id'); -- fails
SELECT deletion_guard.set_tenant_table('app.spread', 'tenant_id'); -- fails
INSERT INTO app.label VALUES (1);
SELECT * FROM deletion_guard.preview('DELETE FROM app.label');
SELECT * FROM deletion_guard.preview('TRUNCATE app.label, app.anchor');

-- In an enrolled schema a table is guarded before anybody can take it over. With rows it is not let go.
CREATE TABLE app.later (id int, tenant_id int);
CREATE TABLE app.bare (id int, tenant_id int);
INSERT INTO app.later VALUES (1, 1);
CREATE FUNCTION taken() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION take(relation text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO _timescaledb_catalog.hypertable (schema_name, table_name) VALUES ('app', relation);
	EXECUTE format('CREATE TRIGGER ts_insert_blocker AFTER INSERT ON app.%I EXECUTE FUNCTION taken()', relation);
END $$;
SELECT take('later'); -- fails
BEGIN;
SELECT take('bare');
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT take('bare');
ROLLBACK TO a;
INSERT INTO app.bare VALUES (1, 1);
DELETE FROM app.bare;
COMMIT;
SELECT take('bare');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'app.bare'::regclass;
SELECT relation FROM deletion_guard.guarded_table WHERE relation IN ('app.later'::regclass, 'app.bare'::regclass);
SELECT event, details FROM deletion_guard.ledger WHERE event = 'unguard_table';

-- What became one later, unseen: its rows do not go.
SELECT deletion_guard.guard_table('note', 'tenant_id');
CREATE TABLE part (id int, tenant_id int) PARTITION BY LIST (tenant_id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2);
SELECT deletion_guard.guard_table('part', 'tenant_id');
INSERT INTO note SELECT i, 1 + i % 2 FROM generate_series(1, 5) i;
INSERT INTO part SELECT i, 1 + i % 2 FROM generate_series(1, 5) i;
DELETE FROM note WHERE id = 5;
DELETE FROM part WHERE id = 4;
INSERT INTO pg_dist_partition VALUES ('note');
INSERT INTO pg_dist_partition VALUES ('part_1');
\c
DELETE FROM note; -- fails
DELETE FROM note WHERE id = -1; -- fails
MERGE INTO note USING part ON note.id = part.id WHEN MATCHED THEN DELETE; -- fails
WITH gone AS (DELETE FROM note RETURNING *) SELECT * FROM gone; -- fails
TRUNCATE note; -- fails
SET session_replication_role = replica;
DELETE FROM note; -- fails
RESET session_replication_role;
UPDATE note SET id = -id WHERE id = 1;
SELECT * FROM deletion_guard.undelete_tenant('2', dry_run => true); -- fails
DELETE FROM part; -- fails
DELETE FROM part WHERE tenant_id = 2;
TRUNCATE part; -- fails
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'storage' AND NOT ok;
DELETE FROM pg_dist_partition;
SELECT deletion_guard.unguard_table('part');
\c
DELETE FROM note;
SELECT relation, sum(restored) FROM deletion_guard.undelete_tenant('2') GROUP BY 1 ORDER BY relation::text;

-- Nor does a table come under a guarded one as what it is.
CREATE TABLE parent (id int, tenant_id int);
CREATE TABLE child (id int, tenant_id int);
SELECT deletion_guard.guard_table('parent');
INSERT INTO ag_catalog.ag_label VALUES ('child');
ALTER TABLE child INHERIT parent; -- fails

\c :maintenance_db
DROP DATABASE regress_dg_not_ordinary;
