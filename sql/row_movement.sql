-- Rows that UPDATE and MERGE move to another partition: the server deletes them here
-- and inserts them there.
CREATE DATABASE regress_dg_row_movement;
\set maintenance_db :DBNAME
\c regress_dg_row_movement
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE item (id int, k int, note text) PARTITION BY LIST (k);
CREATE TABLE item_1 PARTITION OF item FOR VALUES IN (1);
CREATE TABLE item_2 (note text, gone int, k int, id int);
ALTER TABLE item_2 DROP COLUMN gone;
ALTER TABLE item ATTACH PARTITION item_2 FOR VALUES IN (2);
CREATE TABLE item_3 PARTITION OF item FOR VALUES IN (3) PARTITION BY LIST (id);
CREATE TABLE item_3_rest PARTITION OF item_3 DEFAULT;
SELECT deletion_guard.guard_table('item');
CREATE VIEW rows AS SELECT id, k, 'live' AS place FROM item
	UNION ALL SELECT id, k, 'bin' FROM deletion_guard.deleted_rows(NULL::item) ORDER BY 1, 3, 2;
INSERT INTO item SELECT i, 1, 'item ' || i FROM generate_series(1, 12) i;

-- Moved rows are no deletions, whoever moves them.
UPDATE item SET k = 2 WHERE id <= 3;
UPDATE item SET k = 3 WHERE id IN (1, 4);
WITH moved AS (UPDATE item SET k = 2 WHERE id = 4 RETURNING *) SELECT id, k FROM moved;
MERGE INTO item USING (VALUES (1), (5)) v (id) ON v.id = item.id WHEN MATCHED THEN UPDATE SET k = 2;
BEGIN;
UPDATE item SET k = 1 WHERE id = 5;
SAVEPOINT a;
UPDATE item SET k = 3;
ROLLBACK TO a;
DELETE FROM item WHERE id = 12;
UPDATE item SET k = 3 WHERE id = 6;
COMMIT;
TABLE rows;

-- A trigger keeps them away from the partition they go to: they are deleted, and
-- kept as all deleted rows are.
CREATE FUNCTION keeps_away() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN IF new.id % 2 = tg_argv[0]::int THEN RETURN NULL; END IF; RETURN new; END';
CREATE TRIGGER t BEFORE INSERT ON item_2 FOR EACH ROW EXECUTE FUNCTION keeps_away(1);
UPDATE item SET k = 2 WHERE id IN (5, 7, 8) RETURNING id;
SELECT * FROM rows WHERE id IN (5, 7, 8);
-- by MERGE, which also inserts rows
MERGE INTO item USING (VALUES (9), (10), (20), (21), (22)) v (id) ON v.id = item.id
	WHEN MATCHED THEN UPDATE SET k = 2
	WHEN NOT MATCHED THEN INSERT VALUES (v.id, 3);
SELECT * FROM rows WHERE id IN (9, 10, 20, 21, 22);
-- by MERGE, which also deletes rows
MERGE INTO item USING (VALUES (11), (20), (22)) v (id) ON v.id = item.id
	WHEN MATCHED AND item.id = 20 THEN DELETE
	WHEN MATCHED THEN UPDATE SET k = 2;
SELECT * FROM rows WHERE id IN (11, 20, 22);
-- in a part of a query, by a cursor that stops in between
INSERT INTO item SELECT i, 1 FROM generate_series(30, 37) i;
WITH moved AS (UPDATE item SET k = 2 WHERE id IN (30, 31) RETURNING *) SELECT id, k FROM moved;
CREATE FUNCTION moves(int) RETURNS SETOF int LANGUAGE sql AS 'UPDATE item SET k = 2 WHERE id >= $1 AND id < $1 + 2 RETURNING id';
SELECT moves(32);
CREATE RULE r AS ON INSERT TO item_3 DO INSTEAD UPDATE item SET k = 2 WHERE id = 35;
INSERT INTO item_3 VALUES (1);
DROP RULE r ON item_3;
BEGIN;
SAVEPOINT a;
UPDATE item SET k = 2 WHERE id = 37;
ROLLBACK TO a;
COMMIT;
SELECT * FROM rows WHERE id >= 30;
SELECT relation, restored FROM deletion_guard.deletion d, deletion_guard.undelete(d.id) WHERE d.id = (SELECT max(id) FROM deletion_guard.deletion);
SELECT * FROM rows WHERE id = 35;
-- where the trigger inserts another row instead, which need not be the same
CREATE OR REPLACE FUNCTION keeps_away() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN INSERT INTO item VALUES (new.id, 3, new.note); RETURN NULL; END';
UPDATE item SET k = 2 WHERE id = 36;
SELECT * FROM rows WHERE id = 36;
DROP TRIGGER t ON item_2;

-- A guarded table that is a partition of an unguarded one: a row that arrives is
-- no deletion, one that does not is.
CREATE TABLE loose (id int, k int) PARTITION BY LIST (k);
CREATE TABLE loose_1 (id int, k int);
SELECT deletion_guard.guard_table('loose_1');
ALTER TABLE loose ATTACH PARTITION loose_1 FOR VALUES IN (1);
CREATE TABLE loose_2 PARTITION OF loose FOR VALUES IN (2);
CREATE OR REPLACE FUNCTION keeps_away() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN IF new.id % 2 = tg_argv[0]::int THEN RETURN NULL; END IF; RETURN new; END';
CREATE TRIGGER t BEFORE INSERT ON loose_2 FOR EACH ROW EXECUTE FUNCTION keeps_away(1);
INSERT INTO loose SELECT i, 1 FROM generate_series(1, 4) i;
UPDATE loose SET k = 2 WHERE id <= 2;
SELECT * FROM loose ORDER BY id;
SELECT * FROM deletion_guard.deleted_rows(NULL::loose_1);

-- A foreign key moves the row whose link it takes: the link is noted, and put back.
CREATE TABLE agent (id int PRIMARY KEY);
CREATE TABLE ticket (id int, agent int REFERENCES agent ON DELETE SET NULL) PARTITION BY LIST (agent);
CREATE TABLE ticket_none PARTITION OF ticket FOR VALUES IN (NULL);
CREATE TABLE ticket_rest PARTITION OF ticket DEFAULT;
CREATE TABLE call (id int, agent int DEFAULT 0 REFERENCES agent ON DELETE SET DEFAULT ON UPDATE CASCADE, note text,
	PRIMARY KEY (id, agent)) PARTITION BY RANGE (agent);
CREATE TABLE call_0 PARTITION OF call FOR VALUES FROM (0) TO (1);
CREATE TABLE call_1 (note text, agent int NOT NULL, id int NOT NULL);
ALTER TABLE call ATTACH PARTITION call_1 FOR VALUES FROM (1) TO (100);
SELECT deletion_guard.guard_table(t) FROM unnest('{agent,ticket,call}'::regclass[]) t;
INSERT INTO agent SELECT generate_series(0, 4);
INSERT INTO ticket SELECT i, i FROM generate_series(1, 4) i;
INSERT INTO call SELECT i + 10, i, repeat('note ', i) FROM generate_series(1, 4) i;
DELETE FROM agent WHERE id IN (1, 2);
SELECT tableoid::regclass, * FROM ticket ORDER BY id;
SELECT tableoid::regclass, * FROM call ORDER BY id;
SELECT relation, key_columns, key_values, columns, before, after FROM deletion_guard.deletion_link ORDER BY relation::text, before;
SELECT relation, restored FROM deletion_guard.deletion d, deletion_guard.undelete(d.id) WHERE d.id = (SELECT max(id) FROM deletion_guard.deletion);
SELECT tableoid::regclass, * FROM ticket ORDER BY id;
SELECT tableoid::regclass, * FROM call ORDER BY id;
-- ON UPDATE CASCADE takes no link
DELETE FROM ticket;
UPDATE agent SET id = 50 WHERE id = 3;
SELECT tableoid::regclass, * FROM call ORDER BY id;
SELECT count(*) FROM deletion_guard.deletion_link WHERE NOT restored;

\c :maintenance_db
DROP DATABASE regress_dg_row_movement WITH (FORCE);
