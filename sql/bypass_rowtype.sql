-- The rows of one table as values in another: a column that the first one loses
-- would be lost in the bin, too, without a word.
CREATE DATABASE regress_dg_rowtype;
\set maintenance_db :DBNAME
\c regress_dg_rowtype
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE DOMAIN tag AS text;
CREATE TABLE place (a int, b tag);
CREATE TABLE part_of (LIKE place) PARTITION BY LIST (a);
CREATE TABLE route (id int PRIMARY KEY, tenant_id int, stops place[], last part_of);
SELECT deletion_guard.guard_table('route', 'tenant_id');
INSERT INTO route VALUES (1, 1, ARRAY[ROW(1, 'x')::place], ROW(2, 'y'));

-- while such rows live
ALTER TABLE place DROP COLUMN b CASCADE; -- fails
ALTER TABLE part_of DROP COLUMN b; -- fails

-- and while they are only in the bin
DELETE FROM route;
ALTER TABLE route ALTER COLUMN stops TYPE text USING NULL, ALTER COLUMN last TYPE text USING NULL;
ALTER TABLE place DROP COLUMN b CASCADE; -- fails
ALTER TABLE part_of DROP COLUMN b; -- fails
DROP DOMAIN tag CASCADE; -- fails
SELECT * FROM deletion_guard.deleted_rows(NULL::route);

-- tables of which there are no such rows are as free as ever
CREATE TABLE free (a int, b tag);
ALTER TABLE free DROP COLUMN b;

\c :maintenance_db
DROP DATABASE regress_dg_rowtype;
