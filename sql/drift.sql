-- The table has changed since its rows were deleted: they come back by name
-- where that loses nothing; otherwise the error says which row and why, and
-- nothing has changed.
CREATE DATABASE regress_dg_drift;
\set maintenance_db :DBNAME
\c regress_dg_drift
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE FUNCTION last() RETURNS bigint LANGUAGE sql AS $$ SELECT max(id) FROM deletion_guard.deletion $$;
-- Deletes all rows of a table and runs something on it, unguarded if need be.
CREATE FUNCTION drift(target regclass, statements text, unguard boolean = false) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('DELETE FROM %s', target);
	IF unguard THEN PERFORM deletion_guard.unguard_table(target); END IF;
	EXECUTE statements;
	IF unguard THEN PERFORM deletion_guard.guard_table(target); END IF;
END $$;
CREATE TABLE item (id int PRIMARY KEY, a int, b text, c numeric);
SELECT deletion_guard.guard_table('item');
INSERT INTO item VALUES (1, 1, 'one', 1.10), (2, NULL, 'two', NULL), (3, 3, NULL, 'NaN');

-- A column came: empty, with a value for rows that were there, with a default.
SELECT drift('item', 'ALTER TABLE item ADD COLUMN d text');
SELECT relation, restored FROM deletion_guard.undelete(last());
TABLE item ORDER BY id;
SELECT drift('item', $$ALTER TABLE item ADD COLUMN e int NOT NULL DEFAULT 5; ALTER TABLE item ALTER COLUMN e DROP DEFAULT$$);
SELECT relation, restored FROM deletion_guard.undelete(last());
SELECT drift('item', $$ALTER TABLE item ADD COLUMN f text; ALTER TABLE item ALTER COLUMN f SET DEFAULT 'later'$$);
SELECT relation, restored FROM deletion_guard.undelete(last());
TABLE item ORDER BY id;
-- Without any, but required: refused until there is one.
SELECT drift('item', 'ALTER TABLE item ADD COLUMN g int NOT NULL');
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails
SELECT count(*) FROM item;
ALTER TABLE item ALTER COLUMN g SET DEFAULT 7;
SELECT relation, restored FROM deletion_guard.undelete(last());
TABLE item ORDER BY id;

-- A column went: nothing lost if its values were null.
DELETE FROM item;
ALTER TABLE item DROP COLUMN g; -- fails
SELECT deletion_guard.undelete(last()) IS NOT NULL AS undone;
SELECT drift('item', 'ALTER TABLE item DROP COLUMN d', true);
SELECT relation, restored FROM deletion_guard.undelete(last());
SELECT drift('item', 'ALTER TABLE item DROP COLUMN c', true);
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails
SELECT count(*) FROM item;
SELECT problem FROM deletion_guard.undelete(last(), dry_run => true);
ALTER TABLE item ADD COLUMN c numeric;
SELECT relation, restored FROM deletion_guard.undelete(last());
TABLE item ORDER BY id;

-- Renamed, in two steps too; a new column of the old name is another one.
SELECT drift('item', 'ALTER TABLE item RENAME COLUMN b TO bb; ALTER TABLE item RENAME COLUMN bb TO bbb');
SELECT relation, restored FROM deletion_guard.undelete(last());
SELECT drift('item', 'ALTER TABLE item RENAME COLUMN bbb TO title; ALTER TABLE item ADD COLUMN bbb text');
SELECT relation, restored FROM deletion_guard.undelete(last());
-- Two columns change their names.
SELECT drift('item', 'ALTER TABLE item RENAME COLUMN title TO x; ALTER TABLE item RENAME COLUMN bbb TO title; ALTER TABLE item RENAME COLUMN x TO bbb');
SELECT relation, restored FROM deletion_guard.undelete(last());
SELECT id, title, bbb FROM item ORDER BY id;

-- Dropped and made again: a column of that name, whatever it was.
SELECT drift('item', 'ALTER TABLE item DROP COLUMN f; ALTER TABLE item ADD COLUMN f varchar', true);
SELECT relation, restored FROM deletion_guard.undelete(last());
SELECT id, f FROM item ORDER BY id;

-- Another type: by a cast, through text, or not at all.
SELECT drift('item', 'ALTER TABLE item ALTER COLUMN a TYPE bigint');
SELECT relation, restored FROM deletion_guard.undelete(last());
SELECT drift('item', 'ALTER TABLE item ALTER COLUMN a TYPE text');
SELECT relation, restored FROM deletion_guard.undelete(last());
SELECT drift('item', 'ALTER TABLE item ALTER COLUMN a TYPE smallint USING a::smallint');
SELECT relation, restored FROM deletion_guard.undelete(last());
UPDATE item SET bbb = 'twenty-two', c = 1.15 WHERE id = 2;
SELECT drift('item', 'ALTER TABLE item ALTER COLUMN bbb TYPE varchar(5)');
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails: too long
SELECT count(*) FROM item;
SELECT problem FROM deletion_guard.undelete(last(), dry_run => true);
ALTER TABLE item ALTER COLUMN bbb TYPE integer USING NULL;
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails: no number
ALTER TABLE item ALTER COLUMN bbb TYPE text;
ALTER TABLE item ALTER COLUMN c TYPE integer USING NULL;
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails: no fractions
ALTER TABLE item ALTER COLUMN c TYPE numeric(3,1);
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails: digits would be lost
ALTER TABLE item ALTER COLUMN c TYPE double precision;
SELECT relation, restored FROM deletion_guard.undelete(last());
TABLE item ORDER BY id;

-- New constraints.
SELECT drift('item', 'ALTER TABLE item ALTER COLUMN a SET NOT NULL');
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails
ALTER TABLE item ALTER COLUMN a DROP NOT NULL;
ALTER TABLE item ADD CONSTRAINT small CHECK (a < 3);
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails
ALTER TABLE item DROP CONSTRAINT small;
ALTER TABLE item ADD CONSTRAINT once UNIQUE (g);
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails
ALTER TABLE item DROP CONSTRAINT once;
CREATE TABLE other (id int PRIMARY KEY);
ALTER TABLE item ADD CONSTRAINT known FOREIGN KEY (a) REFERENCES other;
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails
INSERT INTO other VALUES (1), (3);
SELECT relation, restored FROM deletion_guard.undelete(last());

-- Another name, another schema.
CREATE SCHEMA elsewhere;
SELECT drift('item', 'ALTER TABLE item RENAME TO thing; ALTER TABLE thing SET SCHEMA elsewhere');
SELECT relation, restored FROM deletion_guard.undelete(last());
ALTER TABLE elsewhere.thing SET SCHEMA public;

-- Made anew, with its columns in another order: another table.
DROP TABLE thing; -- fails
SELECT drift('thing', 'DROP TABLE thing');
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails
CREATE TABLE thing (c float8, f text, e int, g int, title text, bbb text, a int, id int PRIMARY KEY);
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails still

-- A column became generated: it is what the table makes of it. An identity keeps
-- its values, and the sequence goes beyond them.
CREATE TABLE made (id int PRIMARY KEY, a int, twice int);
SELECT deletion_guard.guard_table('made');
INSERT INTO made VALUES (1, 1, 2), (2, 2, 5);
SELECT drift('made', 'ALTER TABLE made DROP COLUMN twice; ALTER TABLE made ADD COLUMN twice int GENERATED ALWAYS AS (a * 2) STORED', true);
SELECT relation, restored FROM deletion_guard.undelete(last());
TABLE made ORDER BY id;
SELECT drift('made', 'ALTER TABLE made ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY');
SELECT relation, restored FROM deletion_guard.undelete(last());
TABLE made ORDER BY id;
SELECT nextval('made_id_seq');
-- By another expression; what a column of that name was before does not matter.
SELECT drift('made', 'ALTER TABLE made DROP COLUMN twice; ALTER TABLE made ADD COLUMN twice int GENERATED ALWAYS AS (a * 3) STORED', true);
SELECT relation, restored FROM deletion_guard.undelete(last());
TABLE made ORDER BY id;
-- And the other way.
CREATE TABLE formed (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED);
SELECT deletion_guard.guard_table('formed');
INSERT INTO formed VALUES (1, 1), (2, 2);
SELECT drift('formed', 'ALTER TABLE formed ALTER COLUMN twice DROP EXPRESSION');
SELECT relation, restored FROM deletion_guard.undelete(last());
TABLE formed ORDER BY id;

-- Types that change: a label renamed, an attribute added, a domain made stricter.
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN positive AS int;
CREATE TYPE pair AS (a int, b text);
CREATE TABLE typed (id int PRIMARY KEY, m mood, p positive, r pair);
SELECT deletion_guard.guard_table('typed');
INSERT INTO typed VALUES (1, 'sad', 1, (1, 'x')), (2, 'ok', -2, NULL);
SELECT drift('typed', $$ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'; ALTER TYPE pair ADD ATTRIBUTE c int$$);
ALTER DOMAIN positive ADD CONSTRAINT positive CHECK (VALUE > 0); -- fails: the bin has another
-- Rows that are there do not have to comply then; these were there.
ALTER DOMAIN positive ADD CONSTRAINT positive CHECK (VALUE > 0) NOT VALID;
SELECT relation, restored FROM deletion_guard.undelete(last());
TABLE typed ORDER BY id;
-- An enum without one of the values.
CREATE TYPE mood2 AS ENUM ('ok');
SELECT drift('typed', $$ALTER TABLE typed ALTER COLUMN m TYPE mood2 USING NULL$$);
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails
-- The bin gives the type up, not the values.
DROP TYPE mood CASCADE;
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails

-- Partitions that went, or came.
CREATE TABLE part (id int, k text) PARTITION BY LIST (k);
CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
CREATE TABLE part_b PARTITION OF part FOR VALUES IN ('b');
SELECT deletion_guard.guard_table('part');
INSERT INTO part VALUES (1, 'a'), (2, 'b');
SELECT drift('part', 'DROP TABLE part_b', true);
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails
SELECT count(*) FROM part;
CREATE TABLE part_rest (k text, id int);
ALTER TABLE part ATTACH PARTITION part_rest DEFAULT;
SELECT relation, restored FROM deletion_guard.undelete(last());
SELECT tableoid::regclass, id, k FROM part ORDER BY id;
-- A column that came to a partitioned table.
SELECT drift('part', 'ALTER TABLE part ADD COLUMN late int DEFAULT 4');
SELECT relation, restored FROM deletion_guard.undelete(last());
SELECT * FROM part ORDER BY id;

\c :maintenance_db
DROP DATABASE regress_dg_drift;
