-- Rows that UPDATE moves from a guarded table to a partition that is not
-- guarded, where DELETE would destroy them: they are kept, as if they had been
-- deleted from the one and inserted into the other. Rows that stay in the guarded
-- table are moved, no more.
CREATE DATABASE regress_dg_movement_out;
\set maintenance_db :DBNAME
\c regress_dg_movement_out
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;

-- A guarded table becomes a partition.
CREATE TABLE whole (id int, part int, note text) PARTITION BY LIST (part);
CREATE TABLE open_1 PARTITION OF whole FOR VALUES IN (1);
CREATE TABLE held_2 (note text, id int, part int);
SELECT deletion_guard.guard_table('held_2');
ALTER TABLE whole ATTACH PARTITION held_2 FOR VALUES IN (2);
INSERT INTO whole SELECT i, 2, 'row ' || i FROM generate_series(1, 6) i;
-- the first statement of a session
\c
\set VERBOSITY terse
UPDATE whole SET part = 1 WHERE id = 1 RETURNING id, part;
DELETE FROM whole WHERE id = 1;
SELECT id, part, note FROM deletion_guard.deleted_rows(NULL::held_2) ORDER BY id;

-- By other statements: of several parts, MERGE, with a savepoint that goes.
WITH u AS (UPDATE whole SET part = 1 WHERE id = 2 RETURNING id) SELECT * FROM u;
MERGE INTO whole w USING (VALUES (3)) s (id) ON w.id = s.id WHEN MATCHED THEN UPDATE SET part = 1;
BEGIN;
SAVEPOINT s;
UPDATE whole SET part = 1 WHERE id = 4;
ROLLBACK TO s;
UPDATE whole SET note = 'changed' WHERE id = 4;
COMMIT;
DELETE FROM open_1;
SELECT id, part, note FROM deletion_guard.deleted_rows(NULL::held_2) ORDER BY id;
SELECT id, part, note FROM whole ORDER BY id;

-- As a replica, and by a foreign key.
SET session_replication_role = replica;
UPDATE whole SET part = 1 WHERE id = 4;
RESET session_replication_role;
CREATE TABLE parts (part int PRIMARY KEY);
INSERT INTO parts VALUES (1), (2);
ALTER TABLE whole ADD CONSTRAINT whole_part FOREIGN KEY (part) REFERENCES parts ON DELETE SET DEFAULT ON UPDATE CASCADE;
ALTER TABLE whole ALTER part SET DEFAULT 1;
DELETE FROM parts WHERE part = 2;
SELECT tableoid::regclass, id, part FROM whole ORDER BY id;
SELECT id, part, note FROM deletion_guard.deleted_rows(NULL::held_2) ORDER BY id;
ALTER TABLE whole DROP CONSTRAINT whole_part;

-- They come back where they were.
DELETE FROM whole;
SELECT relation, restored, problem FROM deletion_guard.deletion d
CROSS JOIN LATERAL deletion_guard.undelete(d.id) ORDER BY d.id;
SELECT tableoid::regclass, id, part, note FROM whole ORDER BY id;

-- A guarded table with partitions of its own: rows stay in it, or leave it.
CREATE TABLE tree (id int, part int, note text) PARTITION BY LIST (part);
CREATE TABLE open_tree PARTITION OF tree FOR VALUES IN (1);
CREATE TABLE held_tree (id int, part int, note text) PARTITION BY LIST (part);
CREATE TABLE held_tree_2 PARTITION OF held_tree FOR VALUES IN (2);
CREATE TABLE held_tree_3 PARTITION OF held_tree FOR VALUES IN (3);
SELECT deletion_guard.guard_table('held_tree');
ALTER TABLE tree ATTACH PARTITION held_tree FOR VALUES IN (2, 3);
INSERT INTO tree SELECT i, 2, 'row ' || i FROM generate_series(1, 6) i;
UPDATE tree SET part = CASE WHEN id < 3 THEN 1 WHEN id < 5 THEN 3 ELSE 2 END;
UPDATE held_tree SET part = 5 - part WHERE id > 3;
SELECT tableoid::regclass, id FROM tree ORDER BY id;
SELECT id, part, note FROM deletion_guard.deleted_rows(NULL::held_tree) ORDER BY id;
MERGE INTO tree t USING generate_series(3, 7) s (id) ON t.id = s.id
WHEN MATCHED AND t.id = 3 THEN DELETE
WHEN MATCHED AND t.id = 4 THEN UPDATE SET part = 1
WHEN MATCHED THEN UPDATE SET part = 5 - t.part
WHEN NOT MATCHED THEN INSERT VALUES (s.id, 2, 'merged');
SELECT tableoid::regclass, id FROM tree ORDER BY id;
SELECT id, part, note FROM deletion_guard.deleted_rows(NULL::held_tree) ORDER BY id;

-- A trigger that writes to the guarded table meanwhile does not make a row that
-- leaves it look like one that stays; one that keeps the row away loses none.
CREATE FUNCTION decoy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO held_tree VALUES (0, 3, 'decoy');
	RETURN CASE WHEN new.id = 5 THEN new END;
END $$;
CREATE TRIGGER decoy BEFORE INSERT ON open_tree FOR EACH ROW EXECUTE FUNCTION decoy();
UPDATE tree SET part = 1 WHERE id IN (5, 6);
SELECT tableoid::regclass, id FROM tree ORDER BY id;
SELECT id, part, note FROM deletion_guard.deleted_rows(NULL::held_tree) ORDER BY id;

-- verify() says that only a part is guarded.
SELECT check_name, object, detail FROM deletion_guard.verify() WHERE check_name = 'partition trees' ORDER BY object;

-- Where the whole tree is, no row leaves it.
SELECT deletion_guard.guard_table('tree');
SELECT deletion_guard.guard_table('whole');
DROP TRIGGER decoy ON open_tree;
UPDATE tree SET part = 1 WHERE id = 7;
DELETE FROM tree WHERE id = 7;
SELECT id, part, note FROM deletion_guard.deleted_rows(NULL::tree) ORDER BY id;
SELECT check_name, object FROM deletion_guard.verify() WHERE check_name = 'partition trees' ORDER BY object;

\c :maintenance_db
DROP DATABASE regress_dg_movement_out WITH (FORCE);
