-- Undelete restores exactly what was deleted, or nothing.
CREATE DATABASE regress_dg_undelete;
\set maintenance_db :DBNAME
\c regress_dg_undelete
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text NOT NULL, contact text);
CREATE TABLE project (id serial PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenant ON DELETE CASCADE,
	key text, lead int, UNIQUE (tenant_id, key));
CREATE TABLE person (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenant ON DELETE CASCADE,
	name text, boss int REFERENCES person ON DELETE SET NULL, home int REFERENCES project ON DELETE SET DEFAULT);
ALTER TABLE project ADD FOREIGN KEY (lead) REFERENCES person ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE touched (line text);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name', 'contact');
SELECT count(*) FROM deletion_guard.guard_schema('public', 'tenant_id', false);
INSERT INTO tenant SELECT i, 'tenant ' || i, 'ops@' || i FROM generate_series(1, 4) i;
INSERT INTO project (tenant_id, key) SELECT 1 + i % 4, 'P' || i FROM generate_series(1, 12) i;
INSERT INTO person (tenant_id, name, home) SELECT 1 + i % 4, 'p' || i, i FROM generate_series(1, 12) i;
UPDATE person SET boss = id - 4 WHERE id > 4;
UPDATE project SET lead = id;

CREATE FUNCTION content() RETURNS TABLE (relation text, rows bigint, digest numeric) LANGUAGE sql AS $$
	SELECT 'tenant', count(*), sum(hashtextextended(t::text, 0)) FROM tenant t UNION ALL
	SELECT 'project', count(*), sum(hashtextextended(t::text, 0)) FROM project t UNION ALL
	SELECT 'person', count(*), sum(hashtextextended(t::text, 0)) FROM person t $$;
CREATE TABLE before AS SELECT * FROM content();
CREATE VIEW changed AS SELECT * FROM content() EXCEPT SELECT * FROM before;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN NEW.name = 'touched'; INSERT INTO touched VALUES (TG_OP); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON person FOR EACH ROW EXECUTE FUNCTION touch();

-- Cascades over a cycle, a self-reference, links set to null: all back, and the
-- application's triggers keep out of it.
ALTER TABLE person DISABLE TRIGGER touch;
DELETE FROM tenant WHERE id IN (2, 3);
ALTER TABLE person ENABLE TRIGGER touch;
SELECT relation, rows FROM content();
SELECT * FROM deletion_guard.undelete(1, dry_run => true);
SELECT relation, rows FROM content();
SELECT * FROM deletion_guard.undelete(1);
SELECT * FROM changed;
SELECT * FROM touched;
SELECT id, state FROM deletion_guard.deletion;
SELECT relation, tenant, rows, restored, purged FROM deletion_guard.deletion_detail ORDER BY 1, 2;
SELECT * FROM deletion_guard.undelete(1); -- fails: done
SELECT * FROM deletion_guard.undelete(99); -- fails: no such deletion
SELECT * FROM deletion_guard.undelete_tenant('99'); -- fails

-- One tenant of several.
ALTER TABLE person DISABLE TRIGGER touch;
DELETE FROM tenant WHERE id <= 3;
SELECT relation, restored FROM deletion_guard.undelete_tenant('2');
SELECT relation, restored FROM deletion_guard.undelete_tenants('{1,99,3}') ORDER BY relation, tenant;
SELECT * FROM changed;
SELECT id, state FROM deletion_guard.deletion ORDER BY id;

-- Only what was deleted within a time.
DELETE FROM person WHERE id = 12;
SELECT now() AS between \gset
DELETE FROM person WHERE id = 11;
SELECT * FROM deletion_guard.undelete_tenant('4', since => :'between');
SELECT * FROM deletion_guard.undelete_tenant('1', until => '2000-01-01'); -- fails
SELECT relation, restored FROM deletion_guard.undelete_tenant('1', until => :'between');
SELECT * FROM changed;

-- A live row with the key: conflict, skip, replace.
INSERT INTO tenant VALUES (5, 'five', 'ops@5');
INSERT INTO project VALUES (50, 5, 'A'), (51, 5, 'B'), (52, 5, 'C'), (53, 5, 'D'), (54, 5, 'E');
CREATE TABLE project_before AS SELECT * FROM project WHERE tenant_id = 5;
DELETE FROM project WHERE tenant_id = 5;
SELECT max(id) AS d FROM deletion_guard.deletion \gset
INSERT INTO project VALUES (50, 5, 'A', NULL), (51, 5, 'B', 1), (60, 5, 'C', NULL);
SELECT * FROM deletion_guard.undelete(:d); -- fails
SELECT * FROM deletion_guard.undelete(:d, dry_run => true);
SELECT * FROM deletion_guard.undelete(:d, 'merge'); -- fails
BEGIN;
SELECT * FROM deletion_guard.undelete(:d, 'skip');
SELECT * FROM project WHERE tenant_id = 5 ORDER BY id;
SELECT * FROM deletion_guard.deleted_rows(NULL::project) WHERE tenant_id = 5 ORDER BY id;
SELECT state FROM deletion_guard.deletion WHERE id = :d;
ROLLBACK;
SELECT * FROM deletion_guard.undelete(:d, 'replace'); -- fails: project 60 has project 52's other key
DELETE FROM project WHERE id = 60;
SELECT * FROM deletion_guard.undelete(:d, 'replace');
SELECT * FROM project WHERE tenant_id = 5 EXCEPT SELECT * FROM project_before;
-- What was replaced is in the bin.
SELECT * FROM deletion_guard.deleted_rows(NULL::project) WHERE id = 51;

-- A row whose parent another deletion took.
DELETE FROM person WHERE tenant_id = 4;
DELETE FROM tenant WHERE id = 4;
SELECT max(id) AS d FROM deletion_guard.deletion \gset
SELECT * FROM deletion_guard.undelete(:d - 1); -- fails
SELECT relation, restored FROM deletion_guard.undelete_tenant('4') ORDER BY 1;
SELECT relation FROM changed WHERE relation = 'person';

-- Sequences are raised, never lowered.
INSERT INTO project VALUES (70, 1, 'seventy');
DELETE FROM project WHERE id = 70;
ALTER SEQUENCE project_id_seq RESTART;
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT nextval('project_id_seq');
SELECT setval('project_id_seq', 500);
DELETE FROM project WHERE id = 70;
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT nextval('project_id_seq');

-- TRUNCATE keeps the rows, and their order of tables.
TRUNCATE before;
INSERT INTO before SELECT * FROM content();
TRUNCATE tenant CASCADE;
SELECT relation, rows FROM content();
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion)) WHERE tenant = '1';
SELECT * FROM changed;
TRUNCATE person, project RESTART IDENTITY;
SELECT count(*) FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT * FROM changed;
INSERT INTO person (tenant_id, name) VALUES (1, 'new') RETURNING id > 12 AS raised;

-- The caller's rights on the live tables decide.
CREATE ROLE regress_dg_helper;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_helper;
GRANT EXECUTE ON FUNCTION deletion_guard.undelete TO regress_dg_helper;
DELETE FROM project WHERE id = 70;
SELECT max(id) AS d FROM deletion_guard.deletion \gset
SET ROLE regress_dg_helper;
SELECT relation, restored FROM deletion_guard.undelete(:d); -- fails
RESET ROLE;
GRANT INSERT ON project TO regress_dg_helper;
ALTER TABLE project ENABLE ROW LEVEL SECURITY;
CREATE POLICY two ON project FOR INSERT WITH CHECK (tenant_id = 2);
SET ROLE regress_dg_helper;
SELECT relation, restored FROM deletion_guard.undelete(:d); -- fails: row security
RESET ROLE;
ALTER POLICY two ON project WITH CHECK (tenant_id = 1);
SET ROLE regress_dg_helper;
SELECT relation, restored FROM deletion_guard.undelete(:d);
RESET ROLE;
-- To replace a live row takes UPDATE, and no row security that limits it.
DELETE FROM project WHERE id = 70;
SELECT max(id) AS d FROM deletion_guard.deletion \gset
INSERT INTO project VALUES (70, 1, 'seventy', 12);
SET ROLE regress_dg_helper;
SELECT relation, restored FROM deletion_guard.undelete(:d, 'replace'); -- fails
RESET ROLE;
GRANT UPDATE ON project TO regress_dg_helper;
SET ROLE regress_dg_helper;
SELECT relation, restored FROM deletion_guard.undelete(:d, 'replace'); -- fails: row security
RESET ROLE;
ALTER TABLE project DISABLE ROW LEVEL SECURITY;
SET ROLE regress_dg_helper;
SELECT relation, restored FROM deletion_guard.undelete(:d, 'replace');
RESET ROLE;

-- Rows that have moved in the bin's file are found again.
DELETE FROM project WHERE id = 70;
SELECT max(id) AS d FROM deletion_guard.deletion \gset
SELECT bin_table AS bin FROM deletion_guard.bin WHERE relation = 'project'::regclass \gset
VACUUM FULL :bin;
SELECT relation, restored FROM deletion_guard.undelete(:d);

-- A bin that holds other rows than are on record gives nothing back.
DELETE FROM project WHERE id = 70;
SELECT max(id) AS d FROM deletion_guard.deletion \gset
BEGIN;
SET LOCAL deletion_guard.restoring = on;
INSERT INTO :bin SELECT * FROM :bin;
SELECT relation, restored FROM deletion_guard.undelete(:d, 'skip'); -- fails
ROLLBACK;
SELECT relation, restored FROM deletion_guard.undelete(:d);

-- Where a foreign key is deferred, rows may come back before those they refer to.
INSERT INTO person (tenant_id, name) VALUES (1, 'lead') RETURNING id AS lead \gset
INSERT INTO project VALUES (71, 1, 'seventy-one', :lead);
DELETE FROM project WHERE id = 71;
DELETE FROM person WHERE id = :lead;
SELECT max(id) AS d FROM deletion_guard.deletion \gset
BEGIN;
SELECT relation, restored FROM deletion_guard.undelete(:d - 1);
COMMIT; -- fails
BEGIN;
SELECT relation, restored FROM deletion_guard.undelete(:d - 1);
SELECT relation, restored FROM deletion_guard.undelete(:d);
COMMIT;
SELECT p.name FROM project JOIN person p ON p.id = lead WHERE project.id = 71;

-- One tenant's rows lie between another's, over many pages of the bin.
CREATE TABLE page (id int PRIMARY KEY, tenant_id int, body char(1500));
SELECT deletion_guard.guard_table('page', 'tenant_id');
INSERT INTO page SELECT i, CASE WHEN i BETWEEN 20 AND 24 THEN 2 ELSE 1 END, i FROM generate_series(1, 200) i;
DELETE FROM page;
SELECT relation, tenant, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion)) ORDER BY tenant;

\c :maintenance_db
DROP DATABASE regress_dg_undelete;
DROP ROLE regress_dg_helper;
