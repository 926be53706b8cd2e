-- What TRUNCATE drops is what was kept: triggers that write to a table while it is
-- being emptied.
CREATE DATABASE regress_dg_truncate;
\set maintenance_db :DBNAME
\c regress_dg_truncate
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE issue (id int PRIMARY KEY, title text);
CREATE TABLE other (id int PRIMARY KEY);
CREATE TABLE free (id int);
CREATE TABLE place (id int, k int) PARTITION BY LIST (k);
CREATE TABLE place_1 PARTITION OF place FOR VALUES IN (1);
CREATE TABLE place_2 PARTITION OF place FOR VALUES IN (2);
SELECT deletion_guard.guard_table(t) FROM unnest('{issue,other,place}'::regclass[]) t;
INSERT INTO issue VALUES (1, 'a'), (2, 'b');
INSERT INTO other VALUES (10);
INSERT INTO place SELECT i, 2 FROM generate_series(1, 5) i;
CREATE VIEW rows AS SELECT (SELECT count(*) FROM issue) AS issue, (SELECT count(*) FROM other) AS other,
	(SELECT count(*) FROM place) AS place, (SELECT coalesce(sum(rows), 0) FROM deletion_guard.deletion_part) AS kept;
CREATE FUNCTION does() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN EXECUTE replace(tg_argv[0], ''NEW'', $$''new''$$); RETURN NULL; END';

-- Triggers that fire after ours.
CREATE TRIGGER zz BEFORE TRUNCATE ON issue EXECUTE FUNCTION does('INSERT INTO issue VALUES (3)');
TRUNCATE issue;
CREATE OR REPLACE TRIGGER zz BEFORE TRUNCATE ON issue EXECUTE FUNCTION does('UPDATE issue SET title = NEW WHERE id = 1');
TRUNCATE issue;
CREATE OR REPLACE TRIGGER zz BEFORE TRUNCATE ON issue EXECUTE FUNCTION does('DELETE FROM issue WHERE id = 1');
TRUNCATE issue;
CREATE OR REPLACE TRIGGER zz BEFORE TRUNCATE ON issue EXECUTE FUNCTION does('DO $$ BEGIN INSERT INTO issue VALUES (3); EXCEPTION WHEN others THEN NULL; END $$');
TRUNCATE issue;
CREATE OR REPLACE TRIGGER zz BEFORE TRUNCATE ON issue EXECUTE FUNCTION does('COPY issue (id) FROM PROGRAM $$echo 3$$');
TRUNCATE issue;

-- What is undone, or changes other tables, does no harm.
BEGIN;
CREATE OR REPLACE TRIGGER zz BEFORE TRUNCATE ON issue EXECUTE FUNCTION does('DO $$ BEGIN INSERT INTO issue VALUES (3); RAISE division_by_zero; EXCEPTION WHEN others THEN INSERT INTO free VALUES (1); END $$');
TRUNCATE issue;
TABLE rows;
ROLLBACK;
DROP TRIGGER zz ON issue;

-- Triggers of tables that are named later, guarded or not, and of those that the
-- command comes to by itself.
CREATE TRIGGER a BEFORE TRUNCATE ON other EXECUTE FUNCTION does('INSERT INTO issue VALUES (3)');
TRUNCATE issue, other;
TRUNCATE other, issue;
INSERT INTO issue VALUES (1), (2);
DROP TRIGGER a ON other;
CREATE TRIGGER a BEFORE TRUNCATE ON free EXECUTE FUNCTION does('INSERT INTO issue VALUES (3)');
TRUNCATE issue, free;
DROP TRIGGER a ON free;
CREATE TABLE remark (issue int REFERENCES issue);
CREATE TRIGGER a BEFORE TRUNCATE ON remark EXECUTE FUNCTION does('UPDATE issue SET title = NEW');
TRUNCATE issue CASCADE;
DROP TABLE remark;

-- Rows of one partition that are moved into another while it is emptied.
CREATE TRIGGER zz BEFORE TRUNCATE ON place_1 EXECUTE FUNCTION does('UPDATE place SET k = 1 WHERE k = 2');
TRUNCATE place_1;
TRUNCATE place;
DROP TRIGGER zz ON place_1;
TABLE rows;

-- Several times in one transaction, in savepoints, in a table that was made or
-- emptied in the same transaction: the server empties those in place.
BEGIN;
INSERT INTO issue VALUES (3);
DELETE FROM issue WHERE id = 1;
TRUNCATE issue;
TABLE rows;
INSERT INTO issue VALUES (4), (5);
DELETE FROM issue WHERE id = 4;
TRUNCATE issue;
TABLE rows;
SAVEPOINT a;
INSERT INTO issue VALUES (6);
TRUNCATE issue;
TABLE rows;
ROLLBACK TO a;
SAVEPOINT b;
INSERT INTO issue VALUES (7), (8);
DELETE FROM issue WHERE id = 8;
TRUNCATE issue;
RELEASE b;
INSERT INTO issue VALUES (9);
CREATE TRIGGER zz BEFORE TRUNCATE ON issue EXECUTE FUNCTION does('INSERT INTO issue VALUES (10)');
SAVEPOINT c;
TRUNCATE issue;
ROLLBACK TO c;
DROP TRIGGER zz ON issue;
TRUNCATE issue;
TABLE rows;
COMMIT;
TABLE rows;

BEGIN;
CREATE TABLE fresh (id int);
INSERT INTO fresh VALUES (1);
DELETE FROM fresh;
TRUNCATE fresh;
SELECT deletion_guard.guard_table('fresh');
INSERT INTO fresh VALUES (2);
TRUNCATE fresh;
INSERT INTO fresh VALUES (3);
CREATE TRIGGER zz BEFORE TRUNCATE ON fresh EXECUTE FUNCTION does('INSERT INTO fresh VALUES (4)');
SAVEPOINT a;
TRUNCATE fresh;
ROLLBACK TO a;
DELETE FROM fresh;
COMMIT;
TABLE rows;

-- In a function, and where the first command of a session is TRUNCATE.
CREATE FUNCTION empties() RETURNS void LANGUAGE plpgsql AS 'BEGIN TRUNCATE fresh; END';
INSERT INTO fresh VALUES (5);
SELECT empties();
\c
SELECT empties();
\c
TRUNCATE fresh;
DROP TRIGGER zz ON fresh;
SELECT empties();
TABLE rows;

\c :maintenance_db
DROP DATABASE regress_dg_truncate WITH (FORCE);
