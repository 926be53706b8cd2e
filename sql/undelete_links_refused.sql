-- Links that cannot be put back, as rows are now: they keep no row from coming back, break no other constraint, and are told.
CREATE DATABASE regress_dg_undelete_links_refused;
\set maintenance_db :DBNAME
\c regress_dg_undelete_links_refused
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;

-- Two foreign keys of the same columns: what the other one refers to is deleted, too.
CREATE TABLE x (id int PRIMARY KEY);
CREATE TABLE y (id int PRIMARY KEY);
CREATE TABLE z (id int PRIMARY KEY, v int REFERENCES x ON DELETE SET NULL REFERENCES y ON DELETE CASCADE, w int REFERENCES x ON DELETE SET NULL);
SELECT deletion_guard.guard_table(t) FROM unnest('{x,y,z}'::regclass[]) t;
INSERT INTO x VALUES (1), (2);
INSERT INTO y VALUES (1), (2);
INSERT INTO z VALUES (1, 1, 1), (2, 2, 2);
DELETE FROM x;
DELETE FROM y;
BEGIN;
SELECT relation, restored FROM deletion_guard.undelete(1, 'skip');
TABLE z;
ROLLBACK;
SELECT relation, restored FROM deletion_guard.undelete(1);
TABLE z;
SELECT relation, restored FROM deletion_guard.undelete(2);
TABLE z;

-- A foreign key of some of the same columns
CREATE TABLE area (a int, b int, PRIMARY KEY (a, b));
CREATE TABLE place (id int PRIMARY KEY, a int REFERENCES x ON DELETE SET NULL, b int, FOREIGN KEY (a, b) REFERENCES area);
SELECT deletion_guard.guard_table(t) FROM unnest('{area,place}'::regclass[]) t;
INSERT INTO area VALUES (1, 1), (2, 1);
INSERT INTO place VALUES (1, 1, 1), (2, 2, 1);
DELETE FROM x;
DELETE FROM area WHERE a = 1;
SELECT relation, restored FROM deletion_guard.undelete(3);  -- fails
SELECT relation, restored FROM deletion_guard.undelete(3, 'skip');
SELECT * FROM place ORDER BY id;
SELECT relation, restored FROM deletion_guard.undelete(4);
SELECT * FROM place ORDER BY id;

-- Another row has the key that the row with its link would have.
CREATE TABLE chosen (id int PRIMARY KEY, x int UNIQUE REFERENCES x ON DELETE SET NULL);
SELECT deletion_guard.guard_table('chosen');
INSERT INTO chosen VALUES (1, 1), (2, 2);
DELETE FROM x;
INSERT INTO x VALUES (2);
INSERT INTO chosen VALUES (3, 2);
SELECT relation, restored, identical FROM deletion_guard.undelete(5);  -- fails
SELECT relation, restored, identical FROM deletion_guard.undelete(5, 'skip');
SELECT * FROM chosen ORDER BY id;

-- Foreign keys of partitions only: one of two parents comes back.
CREATE TABLE parent (id int PRIMARY KEY, org int);
CREATE TABLE shard (id int, k int, p int) PARTITION BY LIST (k);
CREATE TABLE shard_1 PARTITION OF shard FOR VALUES IN (1);
CREATE TABLE shard_2 (p int, k int, id int);
ALTER TABLE shard ATTACH PARTITION shard_2 FOR VALUES IN (2);
ALTER TABLE shard_1 ADD FOREIGN KEY (p) REFERENCES parent ON DELETE SET NULL;
ALTER TABLE shard_2 ADD FOREIGN KEY (p) REFERENCES parent ON DELETE SET NULL;
SELECT deletion_guard.guard_table('parent', 'org'), deletion_guard.guard_table('shard');
INSERT INTO parent VALUES (1, 1), (2, 2);
INSERT INTO shard VALUES (1, 1, 1), (2, 2, 2), (3, 1, 2);
DELETE FROM parent;
SELECT relation, restored FROM deletion_guard.undelete_tenant('1');
SELECT * FROM shard ORDER BY id;
SELECT relation, restored FROM deletion_guard.undelete_tenant('2');
SELECT * FROM shard ORDER BY id;

-- The column has another type, that cannot have the value.
CREATE TABLE typed (id int PRIMARY KEY, x int REFERENCES x ON DELETE SET NULL, t text);
SELECT deletion_guard.guard_table('typed');
INSERT INTO typed VALUES (1, 1, 'a'), (2, 2, 'b');
DELETE FROM x;
DELETE FROM typed WHERE id = 2;
ALTER TABLE typed DROP CONSTRAINT typed_x_fkey;
ALTER TABLE typed ALTER x TYPE date USING NULL;
SELECT * FROM deletion_guard.deleted_rows(NULL::typed);
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(deletion_id) FROM deletion_guard.deletion_link));
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT * FROM typed ORDER BY id;

-- A row that no partition takes any more
CREATE TABLE part (id int, k int) PARTITION BY LIST (k);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2);
SELECT deletion_guard.guard_table('part');
INSERT INTO part VALUES (1, 1), (2, 2);
DELETE FROM part;
DROP TABLE part_2;
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));  -- fails
CREATE TABLE part_rest PARTITION OF part DEFAULT;
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
\c :maintenance_db
DROP DATABASE regress_dg_undelete_links_refused;
