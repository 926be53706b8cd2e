-- A table in which no row lives may be dropped, by its owner's right alone:
-- what was deleted from it is in the bin. One with rows may not, and is named.
CREATE DATABASE regress_dg_drop_empty;
\set maintenance_db :DBNAME
\c regress_dg_drop_empty
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_drop_empty;
CREATE ROLE regress_dg_drop_other;
CREATE SCHEMA app AUTHORIZATION regress_dg_drop_empty;
GRANT USAGE ON SCHEMA app TO regress_dg_drop_other;
SET SESSION AUTHORIZATION regress_dg_drop_empty;
CREATE TABLE app.site (id int PRIMARY KEY, org int);
CREATE TABLE app.log (id int, org int, site int REFERENCES app.site) PARTITION BY RANGE (id);
CREATE TABLE app.log_0 PARTITION OF app.log FOR VALUES FROM (0) TO (10);
CREATE TABLE app.log_1 PARTITION OF app.log FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE app.log_1_a PARTITION OF app.log_1 FOR VALUES FROM (10) TO (20);
CREATE TABLE app.log_2 PARTITION OF app.log FOR VALUES FROM (20) TO (30);
CREATE TABLE app.base (id int, org int);
CREATE TABLE app.child () INHERITS (app.base);
CREATE TYPE app.kind AS (id int, org int);
CREATE TABLE app.typed OF app.kind;
RESET SESSION AUTHORIZATION;
SELECT relation, problem FROM deletion_guard.guard_schema('app', 'org');
INSERT INTO app.site VALUES (1, 1);
INSERT INTO app.log VALUES (1, 1, 1), (11, 1, 1);
INSERT INTO app.child VALUES (1, 1);
INSERT INTO app.typed VALUES (1, 1);

-- With rows: whoever asks, whatever the command, whether the library is there already.
\c -
SET SESSION AUTHORIZATION regress_dg_drop_empty;
DROP TABLE app.log_0; -- fails
DROP TABLE app.log_1; -- fails
ALTER TABLE app.log DETACH PARTITION app.log_1; -- fails
DROP TABLE app.base CASCADE; -- fails
\set VERBOSITY terse
DROP TYPE app.kind CASCADE; -- fails
\c -
SET SESSION AUTHORIZATION regress_dg_drop_empty;
SET client_min_messages = warning;
CREATE FUNCTION pg_temp.try(sql text) RETURNS text LANGUAGE plpgsql AS
	$$ BEGIN EXECUTE sql; RETURN 'done'; EXCEPTION WHEN SQLSTATE 'TG003' THEN RETURN regexp_replace(SQLERRM, '"\w+"', '...'); END $$;
SELECT pg_temp.try('DROP SCHEMA app CASCADE'); -- fails, at which of its tables depends on the version
\c -
SET SESSION AUTHORIZATION regress_dg_drop_empty;
CREATE FUNCTION pg_temp.try(sql text) RETURNS text LANGUAGE plpgsql AS
	$$ BEGIN EXECUTE sql; RETURN 'done'; EXCEPTION WHEN SQLSTATE 'TG003' THEN RETURN regexp_replace(SQLERRM, '"\w+"', '...'); END $$;
SELECT pg_temp.try('DROP OWNED BY regress_dg_drop_empty CASCADE'); -- fails
-- who may not drop it learns nothing of its rows
SET SESSION AUTHORIZATION regress_dg_drop_other;
DROP TABLE app.log_2; -- fails
ALTER TABLE app.log DETACH PARTITION app.log_2; -- fails
RESET SESSION AUTHORIZATION;
-- an empty table is guarded like any other until it goes
DROP TRIGGER deletion_guard_capture ON app.log_2; -- fails
DO $$
BEGIN
	LOCK TABLE app.log_2;
	DROP TRIGGER deletion_guard_capture ON app.log_2; -- fails
EXCEPTION WHEN SQLSTATE 'TG003' THEN RAISE NOTICE 'refused';
END $$;
-- what an event trigger drops does not make DROP TRIGGER another command
CREATE FUNCTION drop_something() RETURNS event_trigger LANGUAGE plpgsql AS
	$$ BEGIN IF tg_tag = 'DROP TRIGGER' THEN CREATE TEMP TABLE something (); DROP TABLE something; END IF; END $$;
CREATE EVENT TRIGGER regress_dg_drop_something ON ddl_command_start EXECUTE FUNCTION drop_something();
\c -
BEGIN;
LOCK TABLE app.log_2;
DROP TRIGGER deletion_guard_capture ON app.log_2; -- fails
ROLLBACK;
DROP EVENT TRIGGER regress_dg_drop_something;

-- Without.
\c -
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_dg_drop_empty;
DROP TABLE app.log_2;
CREATE TABLE app.log_3 PARTITION OF app.log FOR VALUES FROM (30) TO (40);
ALTER TABLE app.log DETACH PARTITION app.log_3;
CREATE TABLE app.log_4 PARTITION OF app.log FOR VALUES FROM (40) TO (50);
INSERT INTO app.log VALUES (40, 1, 1);
BEGIN;
DELETE FROM app.log WHERE id = 40;
ALTER TABLE app.log DETACH PARTITION app.log_4;
ROLLBACK;
ALTER TABLE app.log DETACH PARTITION app.log_4 CONCURRENTLY; -- fails
DELETE FROM app.log WHERE id = 40;
ALTER TABLE app.log DETACH PARTITION app.log_4 CONCURRENTLY;
INSERT INTO app.log_4 VALUES (41, 1, 1);
DROP TABLE app.log_4; -- fails
DELETE FROM app.log_4;
RESET SESSION AUTHORIZATION;
SELECT relation FROM deletion_guard.guarded_table ORDER BY 1;
SET SESSION AUTHORIZATION regress_dg_drop_empty;
-- rows that this transaction deletes, and rows that it writes then
BEGIN;
DELETE FROM app.log WHERE id = 11;
DROP TABLE app.log_1;
DROP TABLE app.log_3, app.log_4;
TRUNCATE app.site, app.log;
INSERT INTO app.site VALUES (7, 7);
SAVEPOINT written;
DROP TABLE app.site CASCADE; -- fails
ROLLBACK TO written;
DELETE FROM app.site;
DROP TABLE app.site CASCADE;
COMMIT;
DELETE FROM app.base;
DROP TABLE app.base CASCADE;
DELETE FROM app.typed;
\c -
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_dg_drop_empty;
DROP SCHEMA app CASCADE;
RESET SESSION AUTHORIZATION;
SELECT details FROM deletion_guard.ledger WHERE event = 'drop_table' ORDER BY details;
SELECT ok FROM deletion_guard.verify_ledger();
SELECT relation_name FROM deletion_guard.bin ORDER BY 1;
SELECT sum(rows) FROM deletion_guard.deletion WHERE state = 'deleted';
CREATE TABLE log (id int, org int, site int);
SELECT deletion_guard.adopt_bin(bin_table, 'log') FROM deletion_guard.bin WHERE relation_name = 'app.log';
SELECT sum(restored) FROM deletion_guard.undelete_tenant('1', on_conflict => 'skip');
SELECT * FROM log ORDER BY id;

\c :maintenance_db
DROP DATABASE regress_dg_drop_empty;
DROP ROLE regress_dg_drop_empty, regress_dg_drop_other;
