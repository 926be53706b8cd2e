-- A tenant path is put into words once. What they name may get another name, or
-- go, between two deletions of a session.
CREATE DATABASE regress_dg_path_renamed;
\set maintenance_db :DBNAME
\c regress_dg_path_renamed
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE SCHEMA app;
CREATE DOMAIN app.key AS int;
CREATE TABLE app.list (id int PRIMARY KEY, tenant int);
CREATE TABLE app.task (id app.key PRIMARY KEY, list_id int CONSTRAINT to_list REFERENCES app.list);
CREATE TABLE app.step (id int PRIMARY KEY, task_id app.key CONSTRAINT to_task REFERENCES app.task);
INSERT INTO app.list SELECT i, i FROM generate_series(1, 3) i;
INSERT INTO app.task SELECT i, 1 + i % 3 FROM generate_series(1, 30) i;
INSERT INTO app.step SELECT i, 1 + i % 30 FROM generate_series(1, 300) i;
SELECT deletion_guard.guard_table('app.list', 'tenant'), deletion_guard.guard_table('app.task', tenant_path => '{to_list}'), deletion_guard.guard_table('app.step', tenant_path => '{to_task,to_list}');
CREATE VIEW latest AS SELECT tenant, rows FROM deletion_guard.deletion_detail WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion) ORDER BY tenant;
DELETE FROM app.step WHERE id = 1;
DELETE FROM app.step WHERE id = 2;
TABLE latest;
ALTER TABLE app.list RENAME tenant TO customer;
DELETE FROM app.step WHERE id = 3;
TABLE latest;
ALTER TABLE app.task RENAME list_id TO l;
DELETE FROM app.step WHERE id = 4;
TABLE latest;
ALTER TABLE app.task RENAME TO job;
DELETE FROM app.step WHERE id = 5;
TABLE latest;
ALTER SCHEMA app RENAME TO shop;
DELETE FROM shop.step WHERE id = 6;
TABLE latest;
ALTER DOMAIN shop.key RENAME TO number;
DELETE FROM shop.step WHERE id = 7;
TABLE latest;
CREATE SCHEMA other;
ALTER TABLE shop.list SET SCHEMA other;
DELETE FROM shop.step WHERE id = 8;
TABLE latest;
-- in one transaction, and one function
DO $$ BEGIN
	DELETE FROM shop.step WHERE id = 9;
	ALTER TABLE shop.job RENAME TO task;
	DELETE FROM shop.step WHERE id = 10;
	ALTER SCHEMA shop RENAME TO app;
	DELETE FROM app.step WHERE id = 11;
END $$;
TABLE latest;
-- another session does it
\setenv DB :DBNAME
\! psql -XqAt -d "$DB" -c 'ALTER TABLE other.list RENAME customer TO tenant' -c 'ALTER SCHEMA other RENAME TO third' -c 'ALTER TABLE app.task RENAME l TO list_id'
DELETE FROM app.step WHERE id = 12;
TABLE latest;
-- another key, and another owner
ALTER TABLE third.list ADD code int UNIQUE;
UPDATE third.list SET code = 100 + id;
CREATE ROLE regress_dg_path_owner;
GRANT USAGE ON SCHEMA app, third TO regress_dg_path_owner;
ALTER TABLE third.list OWNER TO regress_dg_path_owner;
DELETE FROM app.step WHERE id = 13;
TABLE latest;
SELECT sum(restored) FROM deletion_guard.undelete_tenants('{1,2,3}');
SELECT count(*), sum(task_id) FROM app.step;
\c :maintenance_db
DROP DATABASE regress_dg_path_renamed WITH (FORCE);
DROP ROLE regress_dg_path_owner;
