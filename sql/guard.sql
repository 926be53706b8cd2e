-- Enrolling tables, and what cannot be enrolled.
CREATE DATABASE regress_dg_guard;
\set maintenance_db :DBNAME
\c regress_dg_guard
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text NOT NULL, contact text);
CREATE TABLE project (id int PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenant ON DELETE CASCADE, name text);
CREATE TABLE issue (id int PRIMARY KEY, project_id int NOT NULL REFERENCES project ON DELETE CASCADE, title text);
CREATE TABLE comment (id int PRIMARY KEY, issue_id int NOT NULL REFERENCES issue ON DELETE CASCADE, body text);
CREATE TABLE watcher (issue_id int REFERENCES issue ON DELETE CASCADE, project_id int REFERENCES project ON DELETE CASCADE);
CREATE TABLE country (code text PRIMARY KEY);

SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name', 'contact');
SELECT * FROM deletion_guard.guard_schema('public', 'tenant_id', include_future => false);
SELECT relation, tenant_source, is_tenant_table FROM deletion_guard.guarded_table ORDER BY relation::text;
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger
WHERE tgname LIKE 'deletion_guard%' AND tgrelid IN ('tenant'::regclass, 'comment'::regclass) ORDER BY 1, 2;
\d project

-- Again is no error; another tenant source replaces the first.
SELECT deletion_guard.guard_table('watcher', tenant_path => ARRAY['watcher_project_id_fkey']);
SELECT deletion_guard.guard_table('watcher', tenant_path => ARRAY['watcher_issue_id_fkey', 'issue_project_id_fkey']);
SELECT tenant_source FROM deletion_guard.guarded_table WHERE relation = 'watcher'::regclass;

-- What cannot be guarded.
CREATE VIEW a_view AS SELECT * FROM issue;
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM issue;
CREATE TEMPORARY TABLE a_temp (id int);
CREATE SEQUENCE a_sequence;
CREATE INDEX an_index ON issue (title);
CREATE TABLE measured (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE measured_2026 PARTITION OF measured FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
SELECT deletion_guard.guard_table('a_view'); -- fails
SELECT deletion_guard.guard_table('a_matview'); -- fails
SELECT deletion_guard.guard_table('a_temp'); -- fails
SELECT deletion_guard.guard_table('a_sequence'); -- fails
SELECT deletion_guard.guard_table('an_index'); -- fails
SELECT deletion_guard.guard_table('measured_2026'); -- fails
SELECT deletion_guard.guard_table('pg_class'); -- fails
SELECT deletion_guard.guard_table('deletion_guard.guard'); -- fails
SELECT deletion_guard.guard_table('no_such_table'); -- fails
SELECT deletion_guard.guard_table(NULL); -- fails
SELECT deletion_guard.guard_table('issue', 'no_such_column'); -- fails
SELECT deletion_guard.guard_table('issue', 'title', ARRAY['issue_project_id_fkey']); -- fails
SELECT deletion_guard.guard_table('comment', tenant_path => ARRAY['no_such_key']); -- fails
SELECT deletion_guard.guard_table('comment', tenant_path => ARRAY['comment_issue_id_fkey', NULL]); -- fails
SELECT deletion_guard.unguard_table('country'); -- fails
SELECT deletion_guard.set_tenant_table('project', 'name'); -- fails: not unique
SELECT deletion_guard.set_tenant_table('tenant', 'no_such_column'); -- fails
SELECT deletion_guard.set_tenant_table('tenant', NULL); -- fails

-- A table without primary key, or without columns, can be.
CREATE TABLE no_key (a int);
CREATE TABLE no_columns ();
SELECT deletion_guard.guard_table('no_key');
SELECT deletion_guard.guard_table('no_columns');
INSERT INTO no_key VALUES (1), (1), (NULL);
INSERT INTO no_columns DEFAULT VALUES;
DELETE FROM no_key;
DELETE FROM no_columns;
SELECT relation, restored FROM deletion_guard.undelete(1);
SELECT relation, restored FROM deletion_guard.undelete(2);
SELECT (SELECT count(*) FROM no_key), (SELECT count(*) FROM no_columns);

-- Only the owner enrols, and only where it was granted.
CREATE ROLE regress_dg_owner;
CREATE ROLE regress_dg_other;
GRANT CREATE ON SCHEMA public TO regress_dg_owner;
SET ROLE regress_dg_owner;
CREATE TABLE owned (id int PRIMARY KEY);
SELECT deletion_guard.guard_table('owned'); -- fails: not granted
RESET ROLE;
GRANT EXECUTE ON FUNCTION deletion_guard.guard_table TO regress_dg_owner, regress_dg_other;
SET ROLE regress_dg_other;
SELECT deletion_guard.guard_table('owned'); -- fails: not the owner
SET ROLE regress_dg_owner;
SELECT deletion_guard.guard_table('owned');
RESET ROLE;
SELECT relation, guarded_by FROM deletion_guard.guarded_table WHERE relation = 'owned'::regclass;

-- Tables that come later.
SELECT count(*) FROM deletion_guard.guard_schema('public', 'tenant_id');
CREATE TABLE invoice (id int PRIMARY KEY, tenant_id int);
CREATE TABLE invoice_line (id int PRIMARY KEY, invoice_id int REFERENCES invoice);
CREATE TABLE unrelated (id int);
CREATE TABLE copied AS SELECT * FROM invoice;
SELECT relation, tenant_source FROM deletion_guard.guarded_table
WHERE relation IN ('invoice'::regclass, 'invoice_line'::regclass, 'unrelated'::regclass, 'copied'::regclass)
ORDER BY relation::text;

-- Renames are followed.
ALTER TABLE project RENAME COLUMN tenant_id TO owner_id;
ALTER TABLE tenant RENAME COLUMN name TO title;
ALTER TABLE tenant RENAME COLUMN contact TO phone;
ALTER TABLE tenant RENAME COLUMN id TO tenant_no;
ALTER TABLE issue RENAME CONSTRAINT issue_project_id_fkey TO issue_of_project;
ALTER TABLE comment RENAME TO remark;
SELECT relation, tenant_source FROM deletion_guard.guarded_table
WHERE relation IN ('project'::regclass, 'issue'::regclass, 'remark'::regclass) ORDER BY relation::text;
INSERT INTO tenant VALUES (1, 'Acme', 'ops@acme.example');
INSERT INTO project VALUES (1, 1, 'p');
INSERT INTO issue VALUES (1, 1, 'i');
INSERT INTO remark VALUES (1, 1, 'r');
DELETE FROM tenant;
SELECT relation, tenant, tenant_name, contact, rows FROM deletion_guard.deletion_detail
WHERE deletion_id = 3 ORDER BY relation::text;

-- Giving it up keeps what is in the bin.
SELECT deletion_guard.unguard_table('issue');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'issue'::regclass AND NOT tgisinternal;
SELECT relation, tenant, restored FROM deletion_guard.undelete(3) ORDER BY relation::text;

\c :maintenance_db
DROP DATABASE regress_dg_guard;
DROP ROLE regress_dg_owner, regress_dg_other;
