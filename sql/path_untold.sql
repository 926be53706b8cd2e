-- Whose rows a table has is told by a path of foreign keys only to who may read what it leads through.
CREATE DATABASE regress_dg_path_untold;
\set maintenance_db :DBNAME
\c regress_dg_path_untold
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_untold_parent;
CREATE ROLE regress_dg_untold_child;
CREATE SCHEMA hers AUTHORIZATION regress_dg_untold_parent;
CREATE SCHEMA his AUTHORIZATION regress_dg_untold_child;
GRANT USAGE ON SCHEMA hers TO regress_dg_untold_child;
SET ROLE regress_dg_untold_parent;
CREATE TABLE hers.project (id integer PRIMARY KEY, tenant_id integer);
INSERT INTO hers.project VALUES (1, 4711), (2, 4712);
GRANT REFERENCES ON hers.project TO regress_dg_untold_child;
SET ROLE regress_dg_untold_child;
CREATE TABLE his.note (id integer PRIMARY KEY, project_id integer REFERENCES hers.project);
INSERT INTO his.note VALUES (1, 1), (2, 2);
RESET ROLE;
SELECT deletion_guard.guard_table('hers.project', 'tenant_id');
SELECT deletion_guard.guard_table('his.note', tenant_path => '{note_project_id_fkey}');

-- He owns the table, and may not read hers.
SET ROLE regress_dg_untold_child;
SELECT * FROM hers.project; -- fails
SELECT * FROM deletion_guard.preview('DELETE FROM his.note');
SET deletion_guard.expect_tenants = '1';
\set VERBOSITY default
DELETE FROM his.note; -- fails
\set VERBOSITY terse
RESET deletion_guard.expect_tenants;
DELETE FROM his.note;
SELECT * FROM deletion_guard.deleted_rows(NULL::his.note);
SELECT * FROM deletion_guard.deleted_rows(NULL::his.note, tenant => '4711'); -- fails

-- The key alone does not do.
RESET ROLE;
GRANT SELECT (id) ON hers.project TO regress_dg_untold_child;
SET ROLE regress_dg_untold_child;
SELECT * FROM deletion_guard.deleted_rows(NULL::his.note, tenant => '4711'); -- fails
-- Both columns do, but not where row security hides rows.
RESET ROLE;
GRANT SELECT (tenant_id) ON hers.project TO regress_dg_untold_child;
SET ROLE regress_dg_untold_child;
SELECT * FROM deletion_guard.deleted_rows(NULL::his.note, tenant => '4711');
INSERT INTO his.note VALUES (1, 1), (2, 2);
SELECT * FROM deletion_guard.preview('DELETE FROM his.note');
RESET ROLE;
ALTER TABLE hers.project ENABLE ROW LEVEL SECURITY;
SET ROLE regress_dg_untold_child;
SELECT * FROM deletion_guard.preview('DELETE FROM his.note');
SELECT * FROM deletion_guard.deleted_rows(NULL::his.note, tenant => '4711'); -- fails

RESET ROLE;
\c :maintenance_db
SET client_min_messages = warning;
DROP DATABASE regress_dg_path_untold;
DROP ROLE regress_dg_untold_parent, regress_dg_untold_child;
