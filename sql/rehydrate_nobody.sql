-- Rows without a tenant, in tables that have tenants, come along where tenants' rows refer to them.
CREATE DATABASE regress_dg_rehydrate_nobody;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_nobody
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE org (id int PRIMARY KEY);
CREATE TABLE template (id int PRIMARY KEY, org_id int REFERENCES org, base int REFERENCES template, code text UNIQUE);
CREATE TABLE template_item (id int PRIMARY KEY, template_id int REFERENCES template);
CREATE TABLE template_part (id int PRIMARY KEY, item_id int NOT NULL REFERENCES template_item, colour int);
CREATE TABLE colour (id int PRIMARY KEY);
ALTER TABLE template_part ADD FOREIGN KEY (colour) REFERENCES colour;
CREATE TABLE doc (id int PRIMARY KEY, org_id int NOT NULL REFERENCES org, template_id int REFERENCES template,
	item_id int REFERENCES template_item, part_id int REFERENCES template_part, code text REFERENCES template (code));
INSERT INTO org VALUES (1), (2);
INSERT INTO template VALUES (1, NULL, NULL, 'a'), (2, NULL, 1, 'b'), (3, 1, NULL, 'c'), (4, 2, NULL, 'd'), (5, NULL, 5, 'e'), (6, NULL, NULL, 'f');
INSERT INTO template_item SELECT n, nullif(n, 7) FROM generate_series(1, 7) n;
INSERT INTO colour VALUES (1), (2);
INSERT INTO template_part SELECT n, n, 1 + n % 2 FROM generate_series(1, 7) n;
INSERT INTO doc VALUES (1, 1, 2, NULL, NULL, NULL), (2, 1, 3, NULL, NULL, 'e'), (3, 1, NULL, 7, 5, NULL), (4, 2, 4, NULL, NULL, NULL), (5, 2, 3, NULL, NULL, NULL),
	(6, 2, NULL, NULL, 7, NULL);
SELECT deletion_guard.set_tenant_table('org', 'id');
SELECT * FROM deletion_guard.guard_schema('public', 'org_id') ORDER BY relation::text;
SELECT deletion_guard.guard_table('template_item', tenant_path => '{template_item_template_id_fkey}'),
	deletion_guard.guard_table('template_part', tenant_path => '{template_part_item_id_fkey,template_item_template_id_fkey}');
\! pg_dump -Fc -f "${DIR}nobody.dump" -n public
\! pg_dump --inserts -f "${DIR}nobody.sql" -n public
\! pg_dump -Fc -f "${DIR}nobody_part.dump" -n public -T template -T template_item
\set VERBOSITY default
DELETE FROM doc;
DELETE FROM template_part;
DELETE FROM template_item;
DELETE FROM template;
DELETE FROM colour;
SELECT deletion_guard.rehydrate('1', :'dir' || 'nobody.dump');
BEGIN;
SELECT relation, tenant, found, restored, problem FROM deletion_guard.rehydrate('1', :'dir' || 'nobody.dump', with_referenced => true)
ORDER BY relation::text, tenant;
TABLE template ORDER BY 1;
TABLE template_item ORDER BY 1;
TABLE template_part ORDER BY 1;
ROLLBACK;
-- Rows of another tenant do not come along, those of nobody do.
SELECT deletion_guard.rehydrate('2', :'dir' || 'nobody.dump', with_referenced => true);
BEGIN;
SELECT relation, tenant, found, restored, problem FROM deletion_guard.rehydrate('{2,1}'::text[], :'dir' || 'nobody.sql', with_referenced => true)
WHERE restored > 0 ORDER BY relation::text, tenant;
SELECT relation, tenant, found, restored, identical FROM deletion_guard.rehydrate('{2,1}'::text[], :'dir' || 'nobody.dump', with_referenced => true)
WHERE found > identical ORDER BY relation::text, tenant;
SELECT id FROM template ORDER BY id;
ROLLBACK;
-- Live rows tell whose the rows are where the archive does not have the tables; those of nobody are not taken for a tenant's.
INSERT INTO template SELECT n, CASE n WHEN 3 THEN 1 WHEN 4 THEN 2 END, NULL, chr(96 + n) FROM generate_series(1, 6) n;
INSERT INTO template_item SELECT n, nullif(n, 7) FROM generate_series(1, 7) n;
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('2', :'dir' || 'nobody_part.dump', with_referenced => true)
WHERE found > 0 ORDER BY relation::text, tenant;
UPDATE template SET org_id = 2 WHERE id = 5;
SELECT deletion_guard.rehydrate('1', :'dir' || 'nobody_part.dump', with_referenced => true);

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_nobody;
