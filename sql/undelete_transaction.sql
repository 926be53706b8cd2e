-- What one transaction deleted, by many statements, as if it had been one.
CREATE DATABASE regress_dg_undelete_transaction;
\set maintenance_db :DBNAME
\c regress_dg_undelete_transaction
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE org (id int PRIMARY KEY, name text, boss int);
CREATE TABLE task (id int, org_id int REFERENCES org, up int, t text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE task_1 PARTITION OF task FOR VALUES FROM (0) TO (50);
CREATE TABLE task_2 (t text, gone int, id int NOT NULL, org_id int, up int);
ALTER TABLE task_2 DROP COLUMN gone;
ALTER TABLE task ATTACH PARTITION task_2 FOR VALUES FROM (50) TO (1000);
ALTER TABLE task ADD FOREIGN KEY (up) REFERENCES task;
ALTER TABLE org ADD FOREIGN KEY (boss) REFERENCES task ON DELETE SET NULL DEFERRABLE;
CREATE TABLE note (org_id int REFERENCES org, body text);
SELECT deletion_guard.guard_table(t, c) FROM (VALUES ('org'::regclass, 'id'), ('task', 'org_id'), ('note', 'org_id')) v(t, c);
INSERT INTO org SELECT n, 'org ' || n FROM generate_series(1, 4) n;
INSERT INTO task SELECT n, 1 + n % 4, CASE WHEN n > 8 THEN n - 8 END, 't' FROM generate_series(1, 99) n;
UPDATE org SET boss = id * 4 + 3;
INSERT INTO note SELECT 1 + n % 4, 'same' FROM generate_series(1, 12) n;
CREATE TABLE was AS SELECT 'org' AS relation, o::text AS r FROM org o UNION ALL SELECT 'task', t::text FROM task t UNION ALL SELECT 'note', n::text FROM note n;
CREATE VIEW differs AS
	SELECT count(*) FROM (SELECT relation, r, count(*) FROM (SELECT 'org' AS relation, o::text AS r FROM org o UNION ALL SELECT 'task', t::text FROM task t
		UNION ALL SELECT 'note', n::text FROM note n) l GROUP BY 1, 2 EXCEPT SELECT relation, r, count(*) FROM was GROUP BY 1, 2) d;

-- As an ORM does it: children first, one by one, a savepoint that fails, another role in the middle.
CREATE ROLE regress_dg_orm;
GRANT SELECT, DELETE ON task, org, note TO regress_dg_orm;
GRANT UPDATE ON org TO regress_dg_orm;
DELETE FROM note WHERE org_id = 3;
SELECT max(id) AS before FROM deletion_guard.deletion \gset
BEGIN;
DELETE FROM note WHERE org_id = 1;
\o /dev/null
SELECT format('DELETE FROM task WHERE id = %s', id) FROM task WHERE org_id = 1 ORDER BY id DESC \gexec
\o
SAVEPOINT s;
DELETE FROM note WHERE org_id = 2;
ROLLBACK TO s;
SET SESSION AUTHORIZATION regress_dg_orm;
SAVEPOINT t;
DELETE FROM org WHERE id = 1;
RELEASE t;
RESET SESSION AUTHORIZATION;
COMMIT;
DELETE FROM note WHERE org_id = 2;
SELECT count(*) AS deletions, count(DISTINCT deleted_at) AS times, count(DISTINCT session_role) AS roles, sum(rows) AS rows,
	   bool_and(purge_not_before >= deleted_at + interval '30 days') AS kept, max(id) AS last, min(id) AS first
FROM deletion_guard.deletion WHERE xid = (SELECT xid FROM deletion_guard.deletion WHERE id = :before + 3) \gset
SELECT :deletions AS deletions, :times AS times, :roles AS roles, :rows AS rows, :'kept' AS kept;

-- One of them alone does not go, all do, whichever is named; nothing else does.
SELECT * FROM deletion_guard.undelete(:first + 1); -- fails
SELECT * FROM deletion_guard.undelete_transaction(:last, dry_run => true) ORDER BY relation::text;
SELECT * FROM deletion_guard.undelete_transaction(:first + 5) ORDER BY relation::text;
SELECT * FROM deletion_guard.undelete_transaction(:last); -- fails
SELECT org_id, count(*) FROM note GROUP BY 1 ORDER BY 1;
SELECT sum(restored) FROM deletion_guard.undelete_tenant('2'), LATERAL (SELECT 1) x;
SELECT sum(restored) FROM deletion_guard.undelete_transaction(:before);
TABLE differs;

-- Part of it is back already; a row is there that differs; one whose parent is gone.
BEGIN;
DELETE FROM note WHERE org_id = 4;
DELETE FROM task WHERE org_id = 4 AND id > 90;
DELETE FROM task WHERE org_id = 4 AND id BETWEEN 80 AND 90;
COMMIT;
SELECT max(id) AS last FROM deletion_guard.deletion \gset
SELECT sum(restored) FROM deletion_guard.undelete(:last);
UPDATE org SET boss = boss;
INSERT INTO task VALUES (91, 4, NULL, 'another');
SELECT * FROM deletion_guard.undelete_transaction(:last); -- fails
SELECT * FROM deletion_guard.undelete_transaction(:last, 'skip', dry_run => true) ORDER BY relation::text;
SELECT * FROM deletion_guard.undelete_transaction(:last, 'replace') ORDER BY relation::text;
TABLE differs;

-- A row that was deleted, made anew and deleted again: twice there, and not the same.
BEGIN;
DELETE FROM task WHERE id = 99;
INSERT INTO task VALUES (99, 4, NULL, 'between');
DELETE FROM task WHERE id = 99;
COMMIT;
SELECT max(id) AS last FROM deletion_guard.deletion \gset
SELECT * FROM deletion_guard.undelete_transaction(:last); -- fails
SELECT * FROM deletion_guard.undelete_transaction(:last, 'skip');
SELECT t FROM task WHERE id = 99;
SELECT * FROM deletion_guard.undelete(:last - 1, 'replace');
TABLE differs;

-- The same content twice is no conflict; a tenant with many deletions is read in one go, too.
BEGIN;
DELETE FROM task WHERE id = 98;
INSERT INTO task VALUES (98, 3, 90, 't');
DELETE FROM task WHERE id = 98;
COMMIT;
SELECT * FROM deletion_guard.undelete_transaction((SELECT max(id) FROM deletion_guard.deletion));
TABLE differs;
DELETE FROM note WHERE ctid = (SELECT max(ctid) FROM note WHERE org_id = 2);
DELETE FROM note WHERE ctid = (SELECT max(ctid) FROM note WHERE org_id = 2);
DELETE FROM task WHERE id = 97;
SELECT * FROM deletion_guard.undelete_tenants('{2}') ORDER BY relation::text;
TABLE differs;

-- There is no such deletion.
SELECT * FROM deletion_guard.undelete_transaction(999); -- fails
SELECT * FROM deletion_guard.undelete_transaction(1, 'maybe'); -- fails

\c :maintenance_db
DROP DATABASE regress_dg_undelete_transaction;
DROP ROLE regress_dg_orm;
