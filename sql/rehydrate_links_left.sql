-- Rehydrated rows to which others had links, which their deletion took: rows of other tenants, of none, and newer than the
-- archive stay as they are, and the report says how many they are and what puts their links back.
CREATE DATABASE regress_dg_rehydrate_links_left;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_links_left
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/links_left.dump'
\setenv ARCHIVE :archive
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE org (id int PRIMARY KEY);
CREATE TABLE parent (id int PRIMARY KEY, org int REFERENCES org) PARTITION BY RANGE (id);
CREATE TABLE parent_1 PARTITION OF parent FOR VALUES FROM (0) TO (2);
CREATE TABLE parent_2 PARTITION OF parent DEFAULT;
CREATE TABLE keyed (id int PRIMARY KEY, org int REFERENCES org, p int REFERENCES parent ON DELETE SET NULL, q int DEFAULT 0 REFERENCES parent ON DELETE SET DEFAULT);
CREATE TABLE keyless (org int REFERENCES org, p int REFERENCES parent ON DELETE SET NULL, t text);
CREATE TABLE nobodys (id int PRIMARY KEY, p int REFERENCES parent ON DELETE SET NULL);
INSERT INTO org VALUES (1), (2);
INSERT INTO parent VALUES (0, 2), (1, 1), (2, 1), (3, 2);
INSERT INTO keyed VALUES (1, 1, 1, 2), (2, 2, 1, 2), (3, 2, 2, 3), (4, 2, 3, 3);
INSERT INTO keyless VALUES (1, 1, 'a'), (2, 1, 'a'), (2, 1, 'a'), (2, NULL, 'a'), (2, 3, 'a');
INSERT INTO nobodys VALUES (1, 1), (2, 3), (3, 2);
SELECT deletion_guard.set_tenant_table('org', 'id');
SELECT relation, tenant_source FROM deletion_guard.guard_schema('public', 'org') ORDER BY relation::text;
SELECT deletion_guard.guard_table('nobodys');
\! pg_dump -Fc -f "$ARCHIVE" -n public regress_dg_rehydrate_links_left
INSERT INTO keyed VALUES (5, 1, 2, 2);
CREATE TEMP TABLE keyed_before AS TABLE keyed;
CREATE TEMP TABLE keyless_before AS TABLE keyless;
CREATE TEMP TABLE nobodys_before AS TABLE nobodys;
DELETE FROM parent WHERE id = 1;
DELETE FROM parent WHERE id > 1;
-- somebody has given one another link since, and one is deleted
UPDATE nobodys SET p = 0 WHERE id = 3;
DELETE FROM keyed WHERE id = 2;

SELECT relation, tenant, restored, identical, problem FROM deletion_guard.rehydrate('1', :'archive', dry_run => true) ORDER BY relation::text, tenant, problem;
CALL deletion_guard.rehydrate_each('{1}', :'archive', 'run');
SELECT tenant, problem FROM deletion_guard.rehydration_record;
SELECT * FROM keyed ORDER BY id;
SELECT * FROM keyless ORDER BY org, p;
-- They were told of once.
SELECT relation, tenant, restored, identical, problem FROM deletion_guard.rehydrate('1', :'archive') ORDER BY relation::text, tenant, problem;
-- What the report says puts them back.
SELECT relation, tenant, restored, identical FROM deletion_guard.undelete_transaction(1) ORDER BY relation::text;
SELECT relation, tenant, restored, identical FROM deletion_guard.undelete(2) ORDER BY relation::text, tenant;
SELECT relation, tenant, restored, identical FROM deletion_guard.undelete(3) ORDER BY relation::text, tenant;
TABLE keyed_before EXCEPT ALL TABLE keyed;
TABLE keyless_before EXCEPT ALL TABLE keyless;
TABLE nobodys_before EXCEPT ALL TABLE nobodys;

-- Nor are links told of that led to rows which somebody else has put in their place.
DELETE FROM keyed WHERE id > 1;
DELETE FROM keyless;
DELETE FROM nobodys;
INSERT INTO nobodys VALUES (7, 3);
DELETE FROM parent WHERE id IN (1, 3);
INSERT INTO parent VALUES (3, 2);
SELECT relation, tenant, restored, identical, problem FROM deletion_guard.rehydrate('1', :'archive', relations => '{parent}') ORDER BY relation::text, tenant, problem;


-- To a schema of its own nobody has links.
DELETE FROM parent WHERE id > 0;
SELECT relation, tenant, restored, identical, problem FROM deletion_guard.rehydrate('1', :'archive', into_schema => 'copy') ORDER BY relation::text;
\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_links_left;
