-- A tenant path leads through a superuser's table that has a partition of another
-- owner; the tenant table has one, too. What she has planted in its indexes runs where
-- a query for it is planned: never with the rights of a superuser.
CREATE DATABASE regress_dg_parent_owner;
\set maintenance_db :DBNAME
\c regress_dg_parent_owner
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_parent_planter;
CREATE SCHEMA hers AUTHORIZATION regress_dg_parent_planter;
SET ROLE regress_dg_parent_planter;
GRANT USAGE ON SCHEMA hers TO PUBLIC;
CREATE FUNCTION hers.note(v integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AND current_setting('hers.armed', true) = 'yes' THEN
		RAISE WARNING 'planted code runs as a superuser';
	END IF;
	RETURN v;
END $$;
RESET ROLE;
CREATE TABLE site (id integer PRIMARY KEY, name text, folder text) PARTITION BY RANGE (id);
CREATE TABLE site_1 PARTITION OF site FOR VALUES FROM (0) TO (10);
-- with its columns in another order
CREATE TABLE hers.site_2 (folder text, gone integer, name text, id integer NOT NULL);
ALTER TABLE hers.site_2 DROP COLUMN gone;
ALTER TABLE site ATTACH PARTITION hers.site_2 FOR VALUES FROM (10) TO (20);
CREATE TABLE bed (id integer PRIMARY KEY, site_id integer) PARTITION BY RANGE (id);
CREATE TABLE bed_1 PARTITION OF bed FOR VALUES FROM (0) TO (3);
CREATE TABLE hers.bed_2 (gone integer, site_id integer, id integer NOT NULL);
ALTER TABLE hers.bed_2 DROP COLUMN gone;
ALTER TABLE bed ATTACH PARTITION hers.bed_2 FOR VALUES FROM (3) TO (9);
ALTER TABLE hers.site_2 OWNER TO regress_dg_parent_planter;
ALTER TABLE hers.bed_2 OWNER TO regress_dg_parent_planter;
CREATE TABLE sheet (id integer PRIMARY KEY, bed integer CONSTRAINT sheet_bed REFERENCES bed);
CREATE TABLE stain (id integer PRIMARY KEY, sheet integer CONSTRAINT stain_sheet REFERENCES sheet);
CREATE TABLE pillow (id integer PRIMARY KEY, bed integer);
SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
SELECT deletion_guard.guard_table(t, c) FROM (VALUES ('site'::regclass, 'id'), ('bed', 'site_id')) g (t, c);
SELECT deletion_guard.guard_table('sheet', tenant_path => '{sheet_bed}');
SELECT deletion_guard.guard_table('stain', tenant_path => '{stain_sheet,sheet_bed}');
SELECT deletion_guard.guard_table('pillow', tenant_path => '[{"columns": ["bed"], "references": "bed"}]');
INSERT INTO site VALUES (1, 'one', 'first'), (12, 'twelve', 'second');
INSERT INTO bed VALUES (1, 1), (2, 12), (3, 1), (4, 12);
INSERT INTO sheet VALUES (1, 1), (2, 4), (3, NULL), (4, 2);
INSERT INTO stain VALUES (1, 1), (2, 2);
INSERT INTO pillow VALUES (1, 1), (2, 4), (3, 7);
SET ROLE regress_dg_parent_planter;
CREATE INDEX ON hers.bed_2 ((hers.note(8)));
CREATE INDEX ON hers.site_2 ((hers.note(9)));
RESET ROLE;

-- each in a session of its own: the planner evaluates what is in an index once
\c
SET hers.armed = yes;
DELETE FROM stain;
DELETE FROM sheet;
DELETE FROM pillow WHERE id < 3;
\c
-- one whose parent is nowhere: its own deletion says what there is
SET hers.armed = yes;
DELETE FROM pillow;
SELECT relation, tenant, tenant_name, rows FROM deletion_guard.deletion_detail ORDER BY 1, 2;
\c
SET hers.armed = yes;
SELECT * FROM deletion_guard.tenant_label('12');
SELECT * FROM deletion_guard.tenant_label('1');
CREATE SCHEMA second;
CREATE TABLE second.thing (id integer PRIMARY KEY);
CREATE SCHEMA third;
CREATE TABLE third.thing (id integer PRIMARY KEY);
SELECT schema_name, tenant, tables, problem FROM deletion_guard.guard_schemas('%d', 'folder') WHERE schema_name <> 'deletion_guard' ORDER BY 1;
-- a row whose parent went from the bin
\c
INSERT INTO pillow VALUES (9, 4);
DELETE FROM bed WHERE id = 4;
\c
SET hers.armed = yes;
DELETE FROM pillow;
SELECT relation, tenant, tenant_name FROM deletion_guard.deletion_detail WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion);
\c :maintenance_db
SET client_min_messages = warning;
DROP DATABASE regress_dg_parent_owner;
DROP ROLE regress_dg_parent_planter;
