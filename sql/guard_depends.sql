-- An owner lets the guard triggers of his table depend on an extension of his own, which
-- he drops: they would go with it.
CREATE DATABASE regress_dg_guard_depends;
\set maintenance_db :DBNAME
\c regress_dg_guard_depends
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_depends;
GRANT CREATE ON DATABASE regress_dg_guard_depends TO regress_dg_depends;
CREATE SCHEMA app AUTHORIZATION regress_dg_depends;
SET ROLE regress_dg_depends;
CREATE TABLE app.site (id integer PRIMARY KEY);
INSERT INTO app.site VALUES (1), (2);
CREATE EXTENSION citext SCHEMA app;
RESET ROLE;
SELECT deletion_guard.guard_table('app.site', 'id');
SET ROLE regress_dg_depends;
ALTER TRIGGER deletion_guard_capture ON app.site DEPENDS ON EXTENSION citext;
ALTER TRIGGER deletion_guard_capture_row ON app.site DEPENDS ON EXTENSION citext;
ALTER TRIGGER deletion_guard_truncate ON app.site DEPENDS ON EXTENSION citext;
DROP EXTENSION citext; -- fails
\c
SET client_min_messages = warning;
SET ROLE regress_dg_depends;
DROP EXTENSION citext CASCADE; -- fails
RESET ROLE;
SET deletion_guard.ddl = keep;
DROP EXTENSION citext; -- fails
DELETE FROM app.site;
SELECT rows FROM deletion_guard.deletion;
\c :maintenance_db
SET client_min_messages = warning;
DROP DATABASE regress_dg_guard_depends;
DROP ROLE regress_dg_depends;
