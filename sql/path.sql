-- Tenant paths: which foreign keys lead to the tenant, and what they say of
-- rows that are deleted.
CREATE DATABASE regress_dg_path;
\set maintenance_db :DBNAME
\c regress_dg_path
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');

-- Partitioned parents and children, on several levels. The server keeps copies
-- of foreign keys for each partition of either; they are no paths of their own.
CREATE TABLE project (id int, tenant_id int REFERENCES tenant ON DELETE CASCADE, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE project_0 PARTITION OF project FOR VALUES FROM (0) TO (10);
CREATE TABLE project_10 PARTITION OF project FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE project_10_a PARTITION OF project_10 FOR VALUES FROM (10) TO (15);
CREATE TABLE issue (id int, project_id int CONSTRAINT issue_project REFERENCES project ON DELETE CASCADE, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE issue_0 PARTITION OF issue FOR VALUES FROM (0) TO (10);
CREATE TABLE issue_10 PARTITION OF issue FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE issue_10_a PARTITION OF issue_10 FOR VALUES FROM (10) TO (15);
CREATE TABLE project_20 PARTITION OF project FOR VALUES FROM (20) TO (30);
CREATE TABLE remark (id int PRIMARY KEY, issue_id int CONSTRAINT remark_issue REFERENCES issue ON DELETE CASCADE);
-- A partition that brings the key along by another name, and a key by that name.
CREATE TABLE issue_20 (project_id int, id int NOT NULL, other_id int,
	CONSTRAINT own FOREIGN KEY (project_id) REFERENCES project ON DELETE CASCADE,
	CONSTRAINT issue_project FOREIGN KEY (other_id) REFERENCES tenant);
ALTER TABLE issue_20 DROP COLUMN other_id;
ALTER TABLE issue_20 ADD CONSTRAINT issue_project FOREIGN KEY (id) REFERENCES tenant;
ALTER TABLE issue ATTACH PARTITION issue_20 FOR VALUES FROM (20) TO (30);

-- Several columns; a key declared twice; a table that refers to itself.
CREATE TABLE part (maker int, number int, project_id int NOT NULL REFERENCES project, PRIMARY KEY (maker, number));
CREATE TABLE delivery (id int PRIMARY KEY, maker int, number int,
	CONSTRAINT delivery_part FOREIGN KEY (maker, number) REFERENCES part,
	CONSTRAINT delivery_part_again FOREIGN KEY (maker, number) REFERENCES part);
CREATE TABLE folder (id int PRIMARY KEY, parent int CONSTRAINT folder_parent REFERENCES folder, project_id int CONSTRAINT folder_project REFERENCES project);
-- A circle, with one way out of it, and one without.
CREATE TABLE ring_a (id int PRIMARY KEY, b int, project_id int CONSTRAINT ring_a_project REFERENCES project);
CREATE TABLE ring_b (id int PRIMARY KEY, a int CONSTRAINT ring_b_a REFERENCES ring_a);
ALTER TABLE ring_a ADD CONSTRAINT ring_a_b FOREIGN KEY (b) REFERENCES ring_b;
CREATE TABLE lost_a (id int PRIMARY KEY, b int);
CREATE TABLE lost_b (id int PRIMARY KEY, a int REFERENCES lost_a);
ALTER TABLE lost_a ADD FOREIGN KEY (b) REFERENCES lost_b;
-- Two keys to one table, which may differ: not for us to choose.
CREATE TABLE move (id int PRIMARY KEY, from_project int CONSTRAINT move_from REFERENCES project, to_project int CONSTRAINT move_to REFERENCES project);
-- Children have their parent's columns, but not its foreign keys.
CREATE TABLE note (id int, project_id int CONSTRAINT note_project REFERENCES project);
CREATE TABLE long_note (body text) INHERITS (note);
CREATE TABLE longer_note () INHERITS (long_note);
SELECT * FROM deletion_guard.guard_schema('public', 'tenant_id') ORDER BY relation::text;
SELECT deletion_guard.guard_table('move', tenant_path => '{move_to}');
-- What was chosen stands when the schema is enrolled again.
BEGIN;
SELECT deletion_guard.guard_table('lost_a');
SELECT * FROM deletion_guard.guard_schema('public', 'tenant_id') WHERE relation IN ('lost_a'::regclass, 'lost_b'::regclass, 'move'::regclass);
ROLLBACK;
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'tenant sources' AND NOT ok;

INSERT INTO tenant SELECT i, 'tenant ' || i FROM generate_series(1, 30) i;
INSERT INTO project VALUES (1, 1), (11, 2), (21, 3);
INSERT INTO issue VALUES (1, 1), (11, 1), (12, 11), (21, 11), (22, 21);
INSERT INTO remark SELECT id, id FROM issue;
INSERT INTO part VALUES (1, 1, 1), (1, 2, 11);
INSERT INTO delivery VALUES (1, 1, 1), (2, 1, 2), (3, 1, NULL);
INSERT INTO folder VALUES (1, NULL, 1), (2, 1, 11);
INSERT INTO ring_a VALUES (1, NULL, 1);
INSERT INTO ring_b VALUES (1, 1);
INSERT INTO move VALUES (1, 1, 11);
INSERT INTO note VALUES (1, 1);
INSERT INTO long_note VALUES (2, 11, 'long');
INSERT INTO longer_note VALUES (3, 21, 'longer'), (4, 99, 'of no project');
CREATE FUNCTION latest() RETURNS TABLE (relation regclass, tenant text, rows bigint) LANGUAGE sql
BEGIN ATOMIC
	SELECT d.relation, d.tenant, d.rows FROM deletion_guard.deletion_detail d
	WHERE d.deletion_id = (SELECT max(id) FROM deletion_guard.deletion) ORDER BY d.relation::text, d.tenant;
END;

-- By the root, by a partition, by a cascade, by TRUNCATE: the same tenants.
BEGIN;
DELETE FROM issue;
SELECT * FROM latest();
ROLLBACK;
BEGIN;
DELETE FROM issue_20;
SELECT * FROM latest();
ROLLBACK;
BEGIN;
TRUNCATE issue_20, issue_10_a, remark;
SELECT * FROM latest();
ROLLBACK;
BEGIN;
DELETE FROM delivery;
DELETE FROM part;
DELETE FROM folder;
DELETE FROM ring_b;
DELETE FROM ring_a;
DELETE FROM move;
DELETE FROM note;
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail ORDER BY deletion_id, relation::text, tenant;
DELETE FROM tenant WHERE id = 3;
SELECT * FROM latest();
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenants('{1,2,3}') ORDER BY relation::text, tenant;
SELECT tableoid::regclass, * FROM note ORDER BY id;
ROLLBACK;

-- A child that comes later, and one whose parent's key is renamed.
CREATE TABLE late_note () INHERITS (note);
ALTER TABLE note RENAME CONSTRAINT note_project TO project_of_note;
INSERT INTO late_note VALUES (5, 21);
DELETE FROM note WHERE id > 2;
SELECT * FROM latest();

-- Where keys are deferred, parents may go first.
ALTER TABLE remark ADD CONSTRAINT remark_issue_later FOREIGN KEY (issue_id) REFERENCES issue DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE remark DROP CONSTRAINT remark_issue;
SELECT deletion_guard.guard_table('remark', tenant_path => '{remark_issue_later,issue_project}');
BEGIN;
DELETE FROM issue WHERE id = 22;
DELETE FROM project WHERE id = 21;
DELETE FROM remark WHERE id IN (1, 22);
SELECT * FROM latest();
COMMIT;

-- A key that is dropped is missed.
ALTER TABLE move DROP CONSTRAINT move_to;
DELETE FROM move; -- fails
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'tenant sources' AND NOT ok;
-- A path that ends nowhere, or is too long.
CREATE TABLE country (code text PRIMARY KEY);
CREATE TABLE town (name text, country text CONSTRAINT town_country REFERENCES country);
SELECT deletion_guard.guard_table('town', tenant_path => '{town_country}'); -- fails
SELECT deletion_guard.guard_table('folder', tenant_path => array_fill('folder_parent'::name, '{16}') || '{folder_project}'); -- fails
SELECT deletion_guard.guard_table('country', 'code');
SELECT deletion_guard.guard_table('town', tenant_path => '{town_country}');
INSERT INTO country VALUES ('is');
INSERT INTO town VALUES ('Vik', 'is');
SELECT deletion_guard.guard_table('country');
DELETE FROM town; -- fails
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'tenant sources' AND object = 'public.town';

\c :maintenance_db
DROP DATABASE regress_dg_path;
