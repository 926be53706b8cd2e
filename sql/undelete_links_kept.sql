-- Lost links outlive their table, as its deleted rows do, and are read whatever the settings are.
CREATE DATABASE regress_dg_undelete_links_kept;
\set maintenance_db :DBNAME
\c regress_dg_undelete_links_kept
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
-- Dropped when it was not guarded any more; links of a table without rows in the bin, too.
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent ON DELETE SET NULL);
CREATE TABLE other (id int PRIMARY KEY, p int REFERENCES parent ON DELETE SET NULL);
SELECT deletion_guard.guard_table(t) FROM unnest('{parent,child,other}'::regclass[]) t;
INSERT INTO parent VALUES (1), (2);
INSERT INTO child VALUES (1, 1), (2, 2), (3, 1);
INSERT INTO other VALUES (1, 1);
DELETE FROM parent;
DELETE FROM child WHERE id = 1;
CREATE TABLE kept_child AS TABLE child;
SELECT deletion_guard.unguard_table('child'), deletion_guard.unguard_table('other');
ALTER TABLE child RENAME TO child_1;
DROP TABLE child_1, other;
SELECT relation::oid, relation_name, key_values, before FROM deletion_guard.deletion_link ORDER BY 2, 3;
CREATE TABLE child_2 (id int PRIMARY KEY, p int REFERENCES parent ON DELETE SET NULL);
INSERT INTO child_2 TABLE kept_child;
SELECT deletion_guard.guard_table('child_2');
SELECT deletion_guard.adopt_bin(bin_table, 'child_2') FROM deletion_guard.bin WHERE relation = 0;
SELECT * FROM deletion_guard.deleted_rows(NULL::child_2);
SELECT relation, restored FROM deletion_guard.undelete(1);
SELECT relation, restored FROM deletion_guard.undelete(2);
SELECT * FROM child_2 ORDER BY id;

-- Settings that change how values are written and read
CREATE TABLE at (ts timestamptz, f float8, a int[], PRIMARY KEY (ts, f, a));
CREATE TABLE seen (ts timestamptz, f float8, a int[], b bytea, i interval, FOREIGN KEY (ts, f, a) REFERENCES at ON DELETE SET NULL);
SELECT deletion_guard.guard_table(t) FROM unnest('{at,seen}'::regclass[]) t;
INSERT INTO at VALUES ('2020-03-29 01:30:00.123456+00', 0.1::float8 + 0.2, '{1,NULL}'), ('infinity', 'NaN', '{}'), ('2020-10-25 00:30+00', 1e-300, '[0:1]={1,2}');
INSERT INTO seen SELECT ts, f, a, '\xdead', '1 year 2 mons -3 days' FROM at;
CREATE TABLE seen_before AS TABLE seen;
SET DateStyle = 'German'; SET TimeZone = 'Europe/Berlin'; SET extra_float_digits = -5; SET bytea_output = escape; SET IntervalStyle = iso_8601;
DELETE FROM at;
SET DateStyle = 'SQL, DMY'; SET TimeZone = 'America/New_York'; SET extra_float_digits = 0; SET bytea_output = hex; SET IntervalStyle = sql_standard; SET array_nulls = off;
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT count(*) FROM (TABLE seen_before EXCEPT ALL TABLE seen) lost;
\c :maintenance_db
DROP DATABASE regress_dg_undelete_links_kept;
