-- Links that ON DELETE SET NULL took are known to rehydrate and compare, as they are to undelete.
CREATE DATABASE regress_dg_rehydrate_links;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_links
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'links.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id int PRIMARY KEY);
CREATE TABLE label (id int PRIMARY KEY, site_id int NOT NULL REFERENCES site);
CREATE TABLE issue (dropped int, id int, site_id int NOT NULL REFERENCES site, label_id int REFERENCES label ON DELETE SET NULL,
	other_id int DEFAULT 0 REFERENCES label ON DELETE SET DEFAULT, title text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
ALTER TABLE issue DROP dropped;
CREATE TABLE issue_1 (title text, id int NOT NULL, other_id int DEFAULT 0, label_id int, site_id int NOT NULL);
ALTER TABLE issue ATTACH PARTITION issue_1 FOR VALUES FROM (1) TO (11);
CREATE TABLE issue_2 PARTITION OF issue FOR VALUES FROM (11) TO (100);
INSERT INTO site VALUES (1), (2);
INSERT INTO label VALUES (0, 2), (1, 1), (2, 1), (3, 2);
INSERT INTO issue (id, site_id, label_id, other_id, title) SELECT n, 1 + n % 2, 2 + n % 2, 1 + n % 3, 'title ' || n FROM generate_series(1, 20) n;
SELECT deletion_guard.set_tenant_table('site', 'id');
SELECT relation, tenant_source FROM deletion_guard.guard_schema('public', 'site_id') ORDER BY relation::text;
\! pg_dump -Fc -f "${DIR}links.dump" -n public
CREATE TEMP TABLE before AS TABLE issue;
-- Labels of both sites are lost; rows of site 1 have links to both.
DELETE FROM label WHERE id IN (1, 2);
UPDATE issue SET title = 'changed' WHERE id = 4;
SELECT * FROM deletion_guard.compare_tenants('{1,2}', :'archive') ORDER BY relation::text, tenant;
SELECT * FROM deletion_guard.rehydrate('1', :'archive', dry_run => true) ORDER BY relation::text, tenant;
UPDATE issue SET title = 'title 4' WHERE id = 4;
BEGIN;
SELECT * FROM deletion_guard.rehydrate('1', :'archive', relations => '{issue}') ORDER BY relation::text, tenant;
ROLLBACK;
SELECT * FROM deletion_guard.rehydrate('1', :'archive') WHERE found > 0 ORDER BY relation::text, tenant;
SELECT site_id, count(*) FROM (TABLE before EXCEPT TABLE issue) x GROUP BY 1;
SELECT count(*) FROM (TABLE before EXCEPT TABLE issue) x WHERE site_id = 1;
SELECT count(*) FROM deletion_guard.deletion_link WHERE NOT restored;
SELECT * FROM deletion_guard.compare_tenants('{1,2}', :'archive') WHERE relation = 'issue'::regclass ORDER BY tenant;
SELECT relation, tenant, restored, identical, skipped FROM deletion_guard.undelete_tenant('1') ORDER BY relation::text;
SELECT relation, found, identical, problem FROM deletion_guard.rehydrate('2', :'archive') WHERE found > 0 ORDER BY relation::text;
TABLE before EXCEPT TABLE issue;
SELECT count(*) FROM deletion_guard.deletion_link WHERE NOT restored;

-- A link that somebody has given a row since is not lost.
DELETE FROM label WHERE id = 2;
UPDATE issue SET label_id = 3 WHERE id = 2;
SELECT relation, different, problem FROM deletion_guard.compare_tenant('1', :'archive') WHERE relation = 'issue'::regclass;
SELECT problem FROM deletion_guard.rehydrate('1', :'archive', dry_run => true) WHERE relation IS NULL;
SELECT relation, found, restored, identical, skipped, problem FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace') WHERE found > 0 ORDER BY relation::text;
TABLE before EXCEPT TABLE issue;

-- Rows of a drill's copies are those of the archive, whatever live ones have lost.
DELETE FROM label WHERE id = 2;

\! pg_dump -Fc -f "${DIR}links.dump" -n public
SELECT tenant, matches, problem FROM deletion_guard.drill(:'archive', '{1,2}') ORDER BY tenant;

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_links;
