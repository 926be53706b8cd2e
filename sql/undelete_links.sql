-- Links that ON DELETE SET NULL and SET DEFAULT took, whatever happened since.
CREATE DATABASE regress_dg_undelete_links;
\set maintenance_db :DBNAME
\c regress_dg_undelete_links
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE FUNCTION last() RETURNS bigint LANGUAGE sql AS $$ SELECT max(id) FROM deletion_guard.deletion $$;
CREATE TABLE boss (id int PRIMARY KEY);
CREATE TABLE worker (id int PRIMARY KEY, boss int REFERENCES boss ON DELETE SET NULL, note text);
CREATE TABLE visit (boss int REFERENCES boss ON DELETE SET NULL, host int REFERENCES boss ON DELETE SET NULL, note text);
SELECT deletion_guard.guard_table(t) FROM unnest('{boss,worker,visit}'::regclass[]) t;
INSERT INTO boss VALUES (1), (2), (3);
INSERT INTO worker VALUES (1, 1, 'a'), (2, 2, 'b');
INSERT INTO visit VALUES (1, 2, 'x');

-- Columns have other names: the key's, the link's, any of a row without a key.
DELETE FROM boss WHERE id = 1;
ALTER TABLE worker RENAME COLUMN id TO number;
ALTER TABLE worker RENAME COLUMN boss TO chief;
ALTER TABLE visit RENAME COLUMN note TO remark;
SELECT relation, restored FROM deletion_guard.undelete(last());
TABLE worker ORDER BY number;
TABLE visit;

-- Two links of a row without a key, which each tells it by the other.
DELETE FROM boss WHERE id = 1;
SELECT last() AS first \gset
DELETE FROM boss WHERE id = 2;
SELECT restored FROM deletion_guard.undelete(:first);
TABLE visit;
SELECT restored FROM deletion_guard.undelete(last());
TABLE visit;

-- A link that waits for its row is not given to another row of that key.
DELETE FROM boss WHERE id = 1;
SELECT last() AS first \gset
DELETE FROM worker WHERE number = 1;
SELECT last() AS second \gset
SELECT restored FROM deletion_guard.undelete(:first);
INSERT INTO worker VALUES (1, NULL, 'another');
DELETE FROM worker WHERE number = 1;
SELECT restored FROM deletion_guard.undelete(last());
TABLE worker ORDER BY number;
DELETE FROM worker WHERE number = 1;
SELECT restored FROM deletion_guard.undelete(:second);
TABLE worker ORDER BY number;

-- What a row was set to by default need not exist: it was deleted, too.
CREATE TABLE chain (id int PRIMARY KEY, next int DEFAULT 9 REFERENCES chain ON DELETE SET DEFAULT, up int REFERENCES chain ON DELETE CASCADE);
SELECT deletion_guard.guard_table('chain');
INSERT INTO chain VALUES (1, NULL, NULL), (2, 1, 1);
DELETE FROM chain WHERE id = 1;
SELECT * FROM deletion_guard.deleted_rows(NULL::chain) ORDER BY id;
SELECT restored FROM deletion_guard.undelete(last());
TABLE chain ORDER BY id;
-- But what a row refers to now must.
ALTER TABLE chain ADD COLUMN boss int;
UPDATE chain SET boss = 77 WHERE id = 2;
DELETE FROM chain WHERE id = 1;
ALTER TABLE chain ADD FOREIGN KEY (boss) REFERENCES boss;
SELECT restored FROM deletion_guard.undelete(last()); -- fails
INSERT INTO boss VALUES (77);
SELECT restored FROM deletion_guard.undelete(last());
TABLE chain ORDER BY id;

-- A link that is part of a key which others refer to by now.
CREATE TABLE branch (id int PRIMARY KEY, boss int UNIQUE DEFAULT 3 REFERENCES boss ON DELETE SET DEFAULT);
CREATE TABLE leaf (branch int REFERENCES branch (boss));
SELECT deletion_guard.guard_table('branch');
INSERT INTO branch VALUES (1, 2);
DELETE FROM boss WHERE id = 2;
INSERT INTO leaf VALUES (3);
SELECT restored FROM deletion_guard.undelete(last()); -- fails
DELETE FROM leaf;
SELECT restored FROM deletion_guard.undelete(last());
TABLE branch;
-- As part of a deferrable key.
CREATE TABLE twig (id int PRIMARY KEY, boss int REFERENCES boss ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED);
SELECT deletion_guard.guard_table('twig');
INSERT INTO twig VALUES (1, 2);
DELETE FROM branch;
DELETE FROM boss WHERE id = 2;
SELECT restored FROM deletion_guard.undelete(last());
TABLE twig;

-- The column is gone that the link was in, or that told the row.
DELETE FROM boss WHERE id = 2;
SET deletion_guard.ddl = allow;
ALTER TABLE worker DROP COLUMN chief;
ALTER TABLE visit DROP COLUMN remark;
RESET deletion_guard.ddl;
BEGIN;
SELECT restored FROM deletion_guard.undelete(last());
ROLLBACK;
ALTER TABLE worker ADD COLUMN chief int REFERENCES boss;
ALTER TABLE visit ADD COLUMN remark text DEFAULT 'x';
SELECT restored FROM deletion_guard.undelete(last());
TABLE worker ORDER BY number;
TABLE visit;

-- Keys that change are no deletions, not even in a statement that deletes as well:
-- where ON UPDATE CASCADE has led a link, it stays.
CREATE TABLE crew (id int PRIMARY KEY);
CREATE TABLE sailor (id int PRIMARY KEY, crew int REFERENCES crew ON DELETE SET NULL ON UPDATE CASCADE,
	second int REFERENCES crew ON DELETE SET NULL ON UPDATE SET NULL);
SELECT deletion_guard.guard_table(t) FROM unnest('{crew,sailor}'::regclass[]) t;
INSERT INTO crew VALUES (1), (2), (3);
INSERT INTO sailor VALUES (1, 1, 1), (2, 2, NULL), (3, 3, 3);
UPDATE crew SET id = 10 WHERE id = 1;
SELECT count(*) FROM deletion_guard.deletion_link WHERE relation = 'sailor'::regclass;
WITH gone AS (DELETE FROM crew WHERE id = 3) UPDATE crew SET id = 20 WHERE id = 2;
SELECT key_values, columns, before, after FROM deletion_guard.deletion_link WHERE relation = 'sailor'::regclass ORDER BY columns;
INSERT INTO crew VALUES (2);
SELECT relation, restored FROM deletion_guard.undelete(last());
TABLE sailor ORDER BY id;

\c :maintenance_db
DROP DATABASE regress_dg_undelete_links;
