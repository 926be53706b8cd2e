-- Rows that refer to others that are nowhere: left out with skip, as they were
-- under a key that is NOT VALID, an error else; dry runs say the same.
CREATE DATABASE regress_dg_undelete_orphans;
\set maintenance_db :DBNAME
\c regress_dg_undelete_orphans
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE FUNCTION last() RETURNS bigint LANGUAGE sql AS $$ SELECT max(id) FROM deletion_guard.deletion $$;
CREATE TABLE org (id int PRIMARY KEY);
CREATE TABLE node (id int PRIMARY KEY, org int REFERENCES org ON DELETE CASCADE, up int REFERENCES node ON DELETE CASCADE);
CREATE TABLE leaf (id int, node int REFERENCES node ON DELETE CASCADE, part int) PARTITION BY LIST (part);
CREATE TABLE leaf_1 PARTITION OF leaf FOR VALUES IN (1);
CREATE TABLE leaf_2 (part int, junk int, node int, id int);
ALTER TABLE leaf_2 DROP COLUMN junk;
ALTER TABLE leaf ATTACH PARTITION leaf_2 FOR VALUES IN (2);
CREATE TABLE late (id int PRIMARY KEY, node int REFERENCES node ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
SELECT deletion_guard.guard_table(t) FROM unnest('{org,node,leaf,late}'::regclass[]) t;

-- A tree, of which one branch hangs on what is gone.
INSERT INTO org VALUES (1), (2);
INSERT INTO node SELECT n, CASE n WHEN 51 THEN 2 ELSE 1 END, CASE WHEN n NOT IN (1, 51) THEN n - 1 END FROM generate_series(1, 100) n;
INSERT INTO leaf SELECT n, n, 1 + n % 2 FROM generate_series(1, 100) n;
INSERT INTO late SELECT n, n FROM generate_series(1, 100) n;
DELETE FROM node WHERE id = 1;
SELECT last() AS first \gset
DELETE FROM node WHERE id = 51;
SELECT last() AS second \gset
DELETE FROM org WHERE id = 2;
SELECT relation, restored, problem FROM deletion_guard.undelete(:second, dry_run => true);
SELECT relation, restored FROM deletion_guard.undelete(:second); -- fails
SELECT * FROM deletion_guard.undelete(:second, 'skip', dry_run => true) ORDER BY relation::text;
SELECT * FROM deletion_guard.undelete(:second, 'skip') ORDER BY relation::text;
SELECT rows, restored FROM deletion_guard.deletion_detail WHERE deletion_id = :second ORDER BY relation::text;
SELECT relation, restored, skipped FROM deletion_guard.undelete(:first, 'skip') ORDER BY relation::text;
SELECT relation, restored, skipped FROM deletion_guard.undelete(last()) ORDER BY relation::text;
SELECT relation, restored, skipped FROM deletion_guard.undelete(:second) ORDER BY relation::text;

-- Rows whose row is live, though a different one, are no orphans.
DELETE FROM node WHERE id = 90;
INSERT INTO node VALUES (95, 1, NULL);
SELECT * FROM deletion_guard.undelete(last(), 'skip') ORDER BY relation::text;
SELECT count(*), count(up) FROM node;
DELETE FROM node WHERE id >= 90;

-- A partitioned table is told in our words.
DELETE FROM leaf WHERE id = 1;
SELECT last() AS first \gset
DELETE FROM node WHERE id = 1;
SELECT restored FROM deletion_guard.undelete(:first); -- fails
SELECT restored, skipped, problem FROM deletion_guard.undelete(:first, 'skip');

-- What one transaction deleted, by however many statements.
INSERT INTO node VALUES (1, 1, NULL), (2, 1, 1);
INSERT INTO late VALUES (1, 1), (2, 2);
BEGIN;
DELETE FROM late;
DELETE FROM node WHERE id = 2;
SAVEPOINT s;
DELETE FROM node WHERE id = 1;
RELEASE s;
COMMIT;
INSERT INTO node VALUES (3, 1, NULL);
DELETE FROM node WHERE id = 3;
SELECT relation, restored FROM deletion_guard.undelete_transaction(last() - 2, dry_run => true) ORDER BY relation::text;
SELECT relation, restored FROM deletion_guard.undelete_transaction(last() - 2) ORDER BY relation::text;
SELECT relation, restored FROM deletion_guard.undelete_transaction(last() - 3); -- fails

-- A key that is NOT VALID, of a table, of a partition, and deferrable.
CREATE TABLE account (id int PRIMARY KEY, tenant int);
CREATE TABLE invoice (id int PRIMARY KEY, tenant int, account int);
CREATE TABLE entry (id int, tenant int, account int, twice int GENERATED ALWAYS AS (account + 0) STORED) PARTITION BY LIST (tenant);
CREATE TABLE entry_1 PARTITION OF entry FOR VALUES IN (1);
CREATE TABLE entry_2 PARTITION OF entry FOR VALUES IN (2);
SELECT deletion_guard.guard_table(t, 'tenant') FROM unnest('{account,invoice,entry}'::regclass[]) t;
INSERT INTO account VALUES (1, 1), (2, 2);
INSERT INTO invoice SELECT n, 1 + n % 2, CASE WHEN n <= 3 THEN 99 ELSE 1 + n % 2 END FROM generate_series(1, 10) n;
INSERT INTO entry SELECT n, 1 + n % 2, CASE WHEN n <= 3 THEN 99 ELSE 1 + n % 2 END FROM generate_series(1, 10) n;
ALTER TABLE invoice ADD FOREIGN KEY (account) REFERENCES account NOT VALID;
ALTER TABLE invoice ADD CONSTRAINT later FOREIGN KEY (account) REFERENCES account DEFERRABLE INITIALLY DEFERRED NOT VALID;
ALTER TABLE entry_1 ADD CONSTRAINT own FOREIGN KEY (account) REFERENCES account NOT VALID;
ALTER TABLE entry_2 ADD CONSTRAINT own FOREIGN KEY (account) REFERENCES account NOT VALID;
BEGIN;
DELETE FROM invoice;
DELETE FROM entry;
DELETE FROM account;
COMMIT;
SELECT * FROM deletion_guard.undelete_transaction(last()) ORDER BY relation::text, tenant;
SELECT count(*) FROM invoice WHERE account = 99;
DELETE FROM invoice WHERE account = 99;
SELECT tenant, restored, skipped, problem FROM deletion_guard.undelete(last(), 'skip') ORDER BY tenant;

-- A key over a generated column of a partitioned table.
CREATE TABLE made (id int, a int, b int GENERATED ALWAYS AS (a + 1) STORED REFERENCES account) PARTITION BY LIST (id);
CREATE TABLE made_1 (a int, junk int, b int GENERATED ALWAYS AS (a + 1) STORED, id int);
ALTER TABLE made_1 DROP COLUMN junk;
ALTER TABLE made ATTACH PARTITION made_1 DEFAULT;
SELECT deletion_guard.guard_table('made');
INSERT INTO made VALUES (1, 0), (2, 1);
DELETE FROM made;
DELETE FROM entry;
DELETE FROM invoice;
DELETE FROM account WHERE id = 2;
SELECT restored FROM deletion_guard.undelete(last() - 3); -- fails
SELECT restored, skipped FROM deletion_guard.undelete(last() - 3, 'skip');
TABLE made;

-- Rows that were written before the one that they refer to was left out.
CREATE TABLE step (id int PRIMARY KEY, org int REFERENCES org ON DELETE CASCADE, up int REFERENCES step ON DELETE CASCADE);
SELECT deletion_guard.guard_table('step');
INSERT INTO org VALUES (7);
INSERT INTO step VALUES (1, 7, NULL), (2, NULL, 1), (3, NULL, 2);
UPDATE step SET org = 7 WHERE id = 1;
DELETE FROM step;
DELETE FROM org WHERE id = 7;
SELECT restored, skipped FROM deletion_guard.undelete(last() - 1, 'skip', dry_run => true);
SELECT restored, skipped FROM deletion_guard.undelete(last() - 1, 'skip');
TABLE step;

\c :maintenance_db
DROP DATABASE regress_dg_undelete_orphans;
