-- Keys that the archive spells as their column's type of then did, and that of now does not.
CREATE DATABASE regress_dg_rehydrate_retyped;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_retyped
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'retyped.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE TABLE site (id int PRIMARY KEY);
CREATE TABLE issue (id text PRIMARY KEY, site_id int NOT NULL REFERENCES site);
CREATE TABLE comment (id int PRIMARY KEY, issue_id text NOT NULL CONSTRAINT comment_issue REFERENCES issue);
CREATE TABLE device (id int PRIMARY KEY, site_id text);
INSERT INTO site VALUES (1), (2), (3), (4);
INSERT INTO issue VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1), ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12', 2), ('a0eebc999c0b4ef8bb6d6bb9bd380a13', 3);
INSERT INTO comment SELECT row_number() OVER (ORDER BY site_id), id FROM issue;
INSERT INTO device VALUES (1, '1'), (4, '04'), (5, ' 4'), (6, '+4'), (7, '4');
\! pg_dump -Fc -f "${DIR}retyped.dump" -n public
ALTER TABLE comment DROP CONSTRAINT comment_issue;
ALTER TABLE issue ALTER id TYPE uuid USING id::uuid;
ALTER TABLE comment ALTER issue_id TYPE uuid USING issue_id::uuid;
ALTER TABLE comment ADD CONSTRAINT comment_issue FOREIGN KEY (issue_id) REFERENCES issue;
ALTER TABLE device ALTER site_id TYPE int USING site_id::int;
CREATE EXTENSION deletion_guard;
SELECT deletion_guard.set_tenant_table('site', 'id');
SELECT relation, tenant_source FROM deletion_guard.guard_schema('public', 'site_id') ORDER BY relation::text;
DELETE FROM comment; DELETE FROM device; DELETE FROM issue;
-- Written as they are now
SELECT relation, found, restored, problem FROM deletion_guard.rehydrate('1', :'archive') WHERE found > 0 ORDER BY relation::text;
-- Not so: whose they are is found, and no row is passed over
SELECT relation, found, restored, problem FROM deletion_guard.rehydrate('4', :'archive') WHERE found > 0 ORDER BY relation::text;
SELECT relation, found, restored, problem FROM deletion_guard.rehydrate('3', :'archive') WHERE found > 0 ORDER BY relation::text;
SELECT relation, found, restored, problem FROM deletion_guard.rehydrate('2', :'archive') WHERE found > 0 ORDER BY relation::text;
\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_retyped;
