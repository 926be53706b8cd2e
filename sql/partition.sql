-- Partitions come and go, and rows move between them.
CREATE DATABASE regress_dg_partition;
\set maintenance_db :DBNAME
\c regress_dg_partition
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE item (tenant_id int, part int, note text) PARTITION BY LIST (part);
CREATE TABLE item_1 PARTITION OF item FOR VALUES IN (1);
SELECT deletion_guard.guard_table('item', 'tenant_id');
CREATE VIEW guards AS
	SELECT tgrelid::regclass AS relation, string_agg(replace(tgname, 'deletion_guard_', '') || ' ' || tgenabled::text, ', ' ORDER BY tgname) AS triggers
	FROM pg_trigger WHERE tgname LIKE 'deletion_guard%' AND tgrelid::regclass::text !~ '^deletion_guard'
	GROUP BY tgrelid ORDER BY tgrelid::regclass::text;
CREATE VIEW kept AS
	SELECT d.relation, d.tenant, d.rows FROM deletion_guard.deletion_detail d ORDER BY d.deletion_id, d.relation::text, d.tenant;

-- A table that is guarded already can become a partition, and one with
-- columns in another order, and one that is partitioned itself.
CREATE TABLE item_2 (note text, part int, gone int, tenant_id int);
ALTER TABLE item_2 DROP COLUMN gone;
SELECT deletion_guard.guard_table('item_2', 'tenant_id');
ALTER TABLE item ATTACH PARTITION item_2 FOR VALUES IN (2);
CREATE TABLE item_3 (tenant_id int, part int, note text) PARTITION BY LIST (tenant_id);
CREATE TABLE item_3_1 PARTITION OF item_3 FOR VALUES IN (1);
SELECT deletion_guard.guard_table('item_3', 'tenant_id');
ALTER TABLE item ATTACH PARTITION item_3 FOR VALUES IN (3);
CREATE TABLE item_3_2 PARTITION OF item_3 FOR VALUES IN (2);
SELECT relation FROM deletion_guard.guarded_table ORDER BY 1;
SELECT * FROM guards;
INSERT INTO item SELECT t, p, t || '/' || p FROM generate_series(1, 2) t, generate_series(1, 3) p;
DELETE FROM item WHERE tenant_id = 1;
DELETE FROM item_2;
DELETE FROM item_3_2;
SELECT * FROM kept;
SELECT * FROM deletion_guard.undelete_tenants('{1,2}') ORDER BY 1, 2;
SELECT tableoid::regclass, * FROM item ORDER BY tenant_id, part;

-- What is attached to a table that is not guarded stays guarded, whichever
-- table its rows are deleted from.
CREATE TABLE plain (tenant_id int, part int, note text) PARTITION BY LIST (part);
CREATE TABLE plain_1 PARTITION OF plain FOR VALUES IN (1);
CREATE TABLE plain_2 (tenant_id int, part int, note text) PARTITION BY LIST (tenant_id);
CREATE TABLE plain_2_1 PARTITION OF plain_2 FOR VALUES IN (1);
SELECT deletion_guard.guard_table('plain_2', 'tenant_id');
ALTER TABLE plain ATTACH PARTITION plain_2 FOR VALUES IN (2);
SELECT * FROM guards WHERE relation::text LIKE 'plain%';
INSERT INTO plain VALUES (1, 1, 'plain'), (1, 2, 'guarded'), (1, 2, 'guarded too'), (1, 2, 'the last');
DELETE FROM plain WHERE note IN ('plain', 'guarded');
DELETE FROM plain_2 WHERE note = 'guarded too';
DELETE FROM plain_2_1;
SELECT * FROM deletion_guard.deleted_rows(NULL::plain_2) ORDER BY note;
ALTER TABLE plain DETACH PARTITION plain_2;
SELECT * FROM guards WHERE relation::text LIKE 'plain%';
INSERT INTO plain_2 VALUES (1, 2, 'detached');
DELETE FROM plain_2;
SELECT * FROM deletion_guard.deleted_rows(NULL::plain_2) WHERE note = 'detached';

-- Detaching what its root guards is refused, unless a superuser lets it pass;
-- then it stays guarded.
ALTER TABLE item DETACH PARTITION item_1;  -- fails
DROP TABLE item_1;  -- fails
SET deletion_guard.ddl = allow;
ALTER TABLE item DETACH PARTITION item_1;
RESET deletion_guard.ddl;
DELETE FROM item_1 WHERE tenant_id = 1;
SELECT * FROM deletion_guard.deleted_rows(NULL::item_1);
ALTER TABLE item ATTACH PARTITION item_1 FOR VALUES IN (1);
SET ROLE pg_database_owner;
SET deletion_guard.ddl = allow;  -- fails
RESET ROLE;

-- With DDL allowed, a guarded table that is dropped leaves its bin.
CREATE TABLE brief (id int);
SELECT deletion_guard.guard_table('brief');
INSERT INTO brief VALUES (1);
DELETE FROM brief;
INSERT INTO brief VALUES (2);
DROP TABLE brief;  -- fails
BEGIN;
SET LOCAL deletion_guard.ddl = allow;
DROP TABLE brief;
COMMIT;
SELECT relation FROM deletion_guard.guarded_table ORDER BY 1;
SELECT relation_name, bin_table FROM deletion_guard.bin WHERE relation_name = 'public.brief';

-- Foreign tables cannot be partitions or children of a guarded table.
CREATE FOREIGN DATA WRAPPER regress_dg_fdw;
CREATE SERVER regress_dg_server FOREIGN DATA WRAPPER regress_dg_fdw;
CREATE FOREIGN TABLE item_4 PARTITION OF item FOR VALUES IN (4) SERVER regress_dg_server;  -- fails
CREATE FOREIGN TABLE item_4 (tenant_id int, part int, note text) SERVER regress_dg_server;
ALTER TABLE item ATTACH PARTITION item_4 FOR VALUES IN (4);  -- fails
CREATE TABLE parent (id int);
SELECT deletion_guard.guard_table('parent');
CREATE FOREIGN TABLE child (id int) INHERITS (parent) SERVER regress_dg_server;  -- fails
-- A parent is captured row by row as long as it has children.
CREATE TABLE child (id int) INHERITS (parent);
SELECT * FROM guards WHERE relation::text IN ('parent', 'child');
ALTER TABLE child NO INHERIT parent;
SELECT * FROM guards WHERE relation::text IN ('parent', 'child');
CREATE TABLE late_child (id int, more text);
SELECT deletion_guard.guard_table('late_child');
ALTER TABLE late_child INHERIT parent;
SELECT * FROM guards WHERE relation::text IN ('parent', 'late_child');
INSERT INTO late_child VALUES (1, 'once');
DELETE FROM parent;
SELECT * FROM deletion_guard.deleted_rows(NULL::parent);
SELECT * FROM deletion_guard.deleted_rows(NULL::late_child);
DROP FOREIGN DATA WRAPPER regress_dg_fdw CASCADE;

-- New tables in CREATE SCHEMA.
CREATE SCHEMA later CREATE TABLE part_5 PARTITION OF public.item FOR VALUES IN (5);
SELECT * FROM guards WHERE relation::text LIKE 'later%';

-- A row that an UPDATE moves is not deleted.
UPDATE item SET part = 1 WHERE part = 2 AND tenant_id = 2;
SELECT tableoid::regclass, * FROM item ORDER BY tenant_id, part, note;
SELECT * FROM deletion_guard.deleted_rows(NULL::item) WHERE note = '2/2';

-- Nor is one that MERGE moves, while it deletes others. The first one of a
-- session that has not loaded the library cannot tell.
CREATE FUNCTION newest() RETURNS TABLE (deletion bigint, tenant text, rows bigint) LANGUAGE sql
BEGIN ATOMIC
	SELECT deletion_id, d.tenant, d.rows FROM deletion_guard.deletion_detail d
	WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion) ORDER BY 2;
END;
CREATE TABLE change (tenant_id int, part int, new_part int);
INSERT INTO change VALUES (1, 2, 1), (2, 1, 3), (2, 3, NULL);
\c -
\set VERBOSITY terse
MERGE INTO item i USING change c ON i.tenant_id = c.tenant_id AND i.part = c.part
	WHEN MATCHED AND c.new_part IS NULL THEN DELETE
	WHEN MATCHED THEN UPDATE SET part = c.new_part;  -- fails
MERGE INTO item i USING change c ON i.tenant_id = c.tenant_id AND i.part = c.part
	WHEN MATCHED AND c.new_part IS NULL THEN DELETE
	WHEN MATCHED THEN UPDATE SET part = c.new_part;
SELECT tableoid::regclass, * FROM item ORDER BY tenant_id, part, note;
SELECT tenant, rows FROM newest();
SELECT tenant_id, part, note FROM deletion_guard.deleted_rows(NULL::item, deletion_id => (SELECT max(id) FROM deletion_guard.deletion));

-- So it is where the key is set by a trigger; where it cannot change, the
-- statement trigger goes on working.
CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.part := 5; RETURN NEW; END$$;
CREATE TRIGGER move BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION move();
MERGE INTO item i USING (VALUES (1, 1), (2, 3)) c (t, p) ON i.tenant_id = c.t AND i.part = c.p
	WHEN MATCHED AND c.t = 2 THEN DELETE
	WHEN MATCHED THEN UPDATE SET note = note || ' moved';
SELECT tableoid::regclass, * FROM item ORDER BY tenant_id, part, note;
SELECT tenant, rows FROM newest();
DROP TRIGGER move ON item;
INSERT INTO item VALUES (2, 3, 'one'), (2, 3, 'two');
MERGE INTO item i USING (VALUES (2, 3), (1, 5)) c (t, p) ON i.tenant_id = c.t AND i.part = c.p
	WHEN MATCHED AND i.part = 3 THEN DELETE
	WHEN MATCHED THEN UPDATE SET note = 'stays';
SELECT tableoid::regclass, * FROM item ORDER BY tenant_id, part, note;
SELECT tenant, rows FROM newest();
SELECT restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));

-- DETACH CONCURRENTLY that was interrupted: until it is finished the partition
-- belongs to the guarded table, with columns of its own; then it is guarded itself.
CREATE TABLE half (id integer PRIMARY KEY, tenant_id integer) PARTITION BY RANGE (id);
CREATE TABLE half_1 PARTITION OF half FOR VALUES FROM (0) TO (10);
CREATE TABLE half_2 PARTITION OF half FOR VALUES FROM (10) TO (20);
INSERT INTO half SELECT i, 1 FROM generate_series(0, 19) i;
SELECT deletion_guard.guard_table('half', 'tenant_id');
BEGIN;
SELECT count(*) FROM half;
PREPARE TRANSACTION 'regress_dg_half';
SET deletion_guard.ddl = allow;
SET lock_timeout = '200ms';
ALTER TABLE half DETACH PARTITION half_1 CONCURRENTLY; -- fails
RESET lock_timeout;
RESET deletion_guard.ddl;
ROLLBACK PREPARED 'regress_dg_half';
ALTER TABLE half ADD COLUMN word text;
SELECT deletion_guard.guard_table('half_1', 'tenant_id'); -- fails
DELETE FROM half_1 WHERE id < 3;
DELETE FROM half WHERE id > 16;
DROP TABLE half_1; -- fails
TRUNCATE half_2;
SELECT relation, rows FROM deletion_guard.deletion_detail WHERE relation::text ~ 'half' ORDER BY deletion_id, 1;
-- PostgreSQL 18 finalizes no partition that lacks a column.
SET deletion_guard.ddl = allow;
ALTER TABLE half DROP COLUMN word;
RESET deletion_guard.ddl;
ALTER TABLE half DETACH PARTITION half_1 FINALIZE;
DELETE FROM half_1 WHERE id < 5;
DROP TABLE half_1; -- fails
SELECT relation, tenant_source FROM deletion_guard.guarded_table WHERE relation::text ~ 'half' ORDER BY 1;
SELECT relation, rows FROM deletion_guard.deletion_detail WHERE relation::text ~ 'half' ORDER BY deletion_id, 1;
ALTER TABLE half ATTACH PARTITION half_1 FOR VALUES FROM (0) TO (10);
SELECT relation, sum(restored) FROM deletion_guard.undelete_tenant('1') WHERE relation::text ~ 'half' GROUP BY 1;
SELECT count(*) FROM half;

\c :maintenance_db
DROP DATABASE regress_dg_partition;
