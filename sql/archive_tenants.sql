-- archive_tenants(): whose rows an archive has; rehydrate_without_tenant(): exactly the rows of nobody.
CREATE DATABASE regress_dg_archive_tenants;
\set maintenance_db :DBNAME
\c regress_dg_archive_tenants
\getenv srcdir PG_ABS_SRCDIR
\getenv builddir PG_ABS_BUILDDIR
\set signing :srcdir '/test/sql/signing.sql'
\set dir :builddir '/results/'
\set archive :dir 'tenants.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\set ECHO all
CREATE TABLE org (id int PRIMARY KEY, name text, mail text);
CREATE TABLE template (id int PRIMARY KEY, org_id int REFERENCES org, base int REFERENCES template, name text);
CREATE TABLE item (id int PRIMARY KEY, template_id int REFERENCES template ON DELETE CASCADE, body text);
CREATE TABLE hint (org_id int, body text);
CREATE TABLE doc (id int PRIMARY KEY, org_id int NOT NULL, template_id int REFERENCES template);
INSERT INTO org SELECT n, 'Org ' || n, 'mail' || n || '@example.org' FROM generate_series(1, 12) n;
INSERT INTO template SELECT n, nullif(n % 4, 0), CASE WHEN n = 12 THEN 4 END, 'template ' || n FROM generate_series(1, 12) n;
INSERT INTO item SELECT n, nullif(1 + n % 13, 13), 'body ' || n FROM generate_series(1, 26) n;
INSERT INTO hint VALUES (NULL, 'all'), (NULL, 'all'), (1, 'one');
INSERT INTO doc SELECT n, 1 + n % 3, 1 + n % 12 FROM generate_series(1, 12) n;
INSERT INTO doc VALUES (100, 99, NULL);
SELECT deletion_guard.set_tenant_table('org', 'id', 'name', 'mail');
SELECT deletion_guard.guard_table('org', 'id'), deletion_guard.guard_table('template', 'org_id'), deletion_guard.guard_table('hint', 'org_id'),
	deletion_guard.guard_table('doc', 'org_id'), deletion_guard.guard_table('item', tenant_path => '{item_template_id_fkey}');
\! pg_dump -Fc -f "${DIR}tenants.dump" -n public
\! pg_dump --inserts -f "${DIR}tenants.sql" -n public
-- Of some tenants all is gone, of one the row, of one it was purged; one is new.
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
SET deletion_guard.retention = '0';
DELETE FROM item WHERE template_id IN (SELECT id FROM template WHERE org_id = 3);
DELETE FROM doc WHERE org_id = 3;
UPDATE doc SET template_id = NULL WHERE template_id IN (SELECT id FROM template WHERE org_id = 3);
DELETE FROM template WHERE org_id = 3;
DELETE FROM org WHERE id IN (3, 12);
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('12', 'contract ended')))->'rows' AS purged;
DELETE FROM doc WHERE org_id = 2;
INSERT INTO org VALUES (13, 'new', NULL);
SELECT * FROM deletion_guard.archive_tenants(:'archive');
SELECT count(*) FROM (SELECT * FROM deletion_guard.archive_tenants(:'archive') EXCEPT SELECT * FROM deletion_guard.archive_tenants(:'dir' || 'tenants.sql')) x;
-- By name as well as by key
SELECT restored, problem FROM deletion_guard.rehydrate((SELECT tenant FROM deletion_guard.archive_tenants(:'archive') WHERE tenant_name = 'Org 3'), :'archive')
WHERE found > 0;
-- The sums are those of the rows that have tenants.
SELECT sum(rows) FROM deletion_guard.archive_tenants(:'archive');

-- Rows of nobody
CREATE TEMP TABLE before AS SELECT 'template' AS t, x::text AS r FROM template x UNION ALL SELECT 'item', x::text FROM item x UNION ALL SELECT 'hint', x::text FROM hint x;
SELECT relation, tenant, found, restored, identical, problem FROM deletion_guard.rehydrate_without_tenant(:'archive') ORDER BY relation::text;
DELETE FROM doc;
DELETE FROM item;
DELETE FROM hint;
DELETE FROM template;
SELECT relation, tenant, found, restored, problem FROM deletion_guard.rehydrate_without_tenant(:'archive', dry_run => true) ORDER BY relation::text;
SELECT relation, tenant, found, restored, problem FROM deletion_guard.rehydrate_without_tenant(:'archive') ORDER BY relation::text;
SELECT id, org_id FROM template ORDER BY id;
SELECT id, template_id FROM item ORDER BY id;
TABLE hint;
SELECT (SELECT count(*) FROM template WHERE org_id IS NOT NULL) + (SELECT count(*) FROM hint WHERE org_id IS NOT NULL) AS of_tenants;
SELECT sum(restored) FROM deletion_guard.rehydrate('{1,2,3}'::text[], :'archive');
SELECT count(*) FROM (TABLE before EXCEPT ALL (SELECT 'template' AS t, x::text AS r FROM template x UNION ALL SELECT 'item', x::text FROM item x UNION ALL SELECT 'hint', x::text FROM hint x)) x;
-- Conflicts, and extra rows; tenants' rows are not touched.
UPDATE template SET name = 'changed' WHERE id IN (4, 5);
INSERT INTO template VALUES (200, NULL, NULL, 'new'), (201, 1, NULL, 'new');
INSERT INTO item VALUES (200, 200, 'new'), (201, 201, 'new'), (202, NULL, 'new');
INSERT INTO hint VALUES (NULL, 'all'), (1, 'new');
SELECT relation, found, restored, skipped, problem FROM deletion_guard.rehydrate_without_tenant(:'archive', on_conflict => 'skip') ORDER BY relation::text;
SELECT deletion_guard.rehydrate_without_tenant(:'archive');
SELECT relation, found, restored, identical, regexp_replace(problem, 'deletion \d+', 'deletion N') AS problem
FROM deletion_guard.rehydrate_without_tenant(:'archive', on_conflict => 'replace', extra => 'delete') ORDER BY relation::text;
SELECT id, org_id, name FROM template WHERE id IN (4, 5) OR id > 100 ORDER BY id;
SELECT id FROM item WHERE id > 100 ORDER BY id;
SELECT org_id, count(*) FROM hint GROUP BY 1 ORDER BY 1;
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion) ORDER BY relation::text;
-- One table, a schema of its own
SELECT relation, found, restored FROM deletion_guard.rehydrate_without_tenant(:'archive', '{hint}', into_schema => 'elsewhere') WHERE found > 0;
SELECT * FROM elsewhere.hint;
-- Who may not
CREATE ROLE regress_dg_archive_tenants IN ROLE pg_read_server_files;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_archive_tenants;
SET ROLE regress_dg_archive_tenants;
SELECT * FROM deletion_guard.archive_tenants(:'archive');
SELECT deletion_guard.rehydrate_without_tenant(:'archive');
RESET ROLE;
REVOKE pg_read_server_files FROM regress_dg_archive_tenants;
SET ROLE regress_dg_archive_tenants;
SELECT * FROM deletion_guard.archive_tenants(:'archive');
SELECT deletion_guard.rehydrate_without_tenant(:'archive');
RESET ROLE;
-- Bad input
SELECT * FROM deletion_guard.archive_tenants('/nowhere');
SELECT * FROM deletion_guard.archive_tenants(NULL);
SELECT deletion_guard.rehydrate_without_tenant(NULL);
SELECT deletion_guard.rehydrate_without_tenant('nowhere');
SELECT set_config('test.archive', :'archive', false) IS NOT NULL AS set;
DO $$
BEGIN
	PERFORM deletion_guard.rehydrate_without_tenant(current_setting('test.archive'), '{doc}');
EXCEPTION WHEN SQLSTATE 'TG044' THEN
	RAISE EXCEPTION '%', regexp_replace(sqlerrm, '".*/', '"');
END $$;
SELECT ok, problem FROM deletion_guard.verify_ledger();

\c :maintenance_db
DROP DATABASE regress_dg_archive_tenants;
DROP ROLE regress_dg_archive_tenants;
