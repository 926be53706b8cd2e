-- archive_tenants() and rows of nobody, of tenants of all shapes: a schema each, keys that are equal and spelled otherwise, references to nothing.
CREATE DATABASE regress_dg_archive_shapes;
\set maintenance_db :DBNAME
\c regress_dg_archive_shapes
\getenv srcdir PG_ABS_SRCDIR
\getenv builddir PG_ABS_BUILDDIR
\set signing :srcdir '/test/sql/signing.sql'
\set archive :builddir '/results/archive_shapes.dump'
\setenv ARCHIVE :archive
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\set ECHO all
CREATE COLLATION anycase (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false);
CREATE TABLE client (id text COLLATE anycase PRIMARY KEY, name text);
CREATE SCHEMA s1;
CREATE SCHEMA s2;
CREATE SCHEMA s3;
CREATE TABLE s1.person (id int PRIMARY KEY);
CREATE TABLE s2.person (id int PRIMARY KEY);
CREATE TABLE s3.person (id int PRIMARY KEY);
CREATE TABLE note (id int PRIMARY KEY, client text COLLATE anycase);
CREATE TABLE mark (id int PRIMARY KEY, kind text, of int);
CREATE TABLE page (id int PRIMARY KEY, note int);
INSERT INTO client VALUES ('Acme', 'A'), ('globex', 'G'), ('Empty', 'E');
INSERT INTO s1.person SELECT generate_series(1, 5);
INSERT INTO s2.person SELECT generate_series(1, 3);
INSERT INTO note VALUES (1, 'acme'), (2, 'ACME'), (3, 'Globex'), (4, NULL), (5, 'nowhere'), (6, 'NOWHERE');
INSERT INTO mark VALUES (1, 'Note', 1), (2, 'Note', 3), (3, 'Note', 77), (4, NULL, NULL), (5, 'User', 1), (6, 'Note', 4), (7, 'Note', 78);
INSERT INTO page VALUES (1, 1), (2, 3), (3, 77), (4, NULL), (5, 4);
SELECT deletion_guard.set_tenant_table('client', 'id', 'name');
SELECT deletion_guard.guard_table('client', 'id'), deletion_guard.guard_table('note', 'client');
SELECT deletion_guard.guard_table('mark', tenant_path => '[{"type": "kind", "id": "of", "targets": {"Note": "note", "User": null}}]'),
	deletion_guard.guard_table('page', tenant_path => '[{"columns": ["note"], "references": "note"}]');
SELECT (deletion_guard.guard_schema('s1', tenant => 'acme')).tenant_source UNION ALL SELECT (deletion_guard.guard_schema('s2', tenant => 'globex')).tenant_source
UNION ALL SELECT (deletion_guard.guard_schema('s3', tenant => 'GLOBEX')).tenant_source;
\! pg_dump -Fc -f "$ARCHIVE" -N signing
\! pg_dump -f "$ARCHIVE.sql" -N signing
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
SET deletion_guard.retention = 0;
DELETE FROM note WHERE id IN (1, 5);
DELETE FROM note WHERE id IN (2, 6);
DELETE FROM s1.person WHERE id < 3;
DELETE FROM s2.person WHERE id < 3;
SELECT tenant, rows FROM deletion_guard.deletion_detail ORDER BY deletion_id, relation::text, tenant COLLATE "C";
SELECT lower(tenant) AS tenant, tenant_name, rows, live, in_bin, purged FROM deletion_guard.archive_tenants(:'archive') ORDER BY 1;
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('nowhere', 'who is it?')))->'rows' AS rows;
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('ACME', 'some', keys => '{"s1.person": [{"id": 1}]}')))->'rows' AS rows;
SELECT lower(tenant) AS tenant, rows, live, in_bin, purged FROM deletion_guard.archive_tenants(:'archive') ORDER BY 1;

-- Rows that refer to nothing are nobody's; a call for a tenant says so, and has no other trouble with them.
DELETE FROM mark;
DELETE FROM page;
SELECT relation, tenant, found, restored, problem FROM deletion_guard.rehydrate('globex', :'archive', on_conflict => 'skip') ORDER BY relation::text, tenant;
SELECT relation, tenant, found, restored, problem FROM deletion_guard.rehydrate('globex', :'archive' || '.sql', on_conflict => 'skip', dry_run => true) WHERE problem IS NOT NULL ORDER BY relation::text, tenant;
SELECT relation, problem FROM deletion_guard.compare_tenant('globex', :'archive') WHERE problem IS NOT NULL ORDER BY relation::text;
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'archive', '{globex}');
SELECT id FROM mark ORDER BY id;
SELECT relation, tenant, found, restored, problem FROM deletion_guard.rehydrate_without_tenant(:'archive') ORDER BY relation::text;
SELECT id FROM mark ORDER BY id;
SELECT id FROM page ORDER BY id;

-- A schema that is gone is still in the archive.
SET deletion_guard.ddl = keep;
DROP SCHEMA s1 CASCADE;
DROP SCHEMA s2 CASCADE;
SELECT lower(tenant) AS tenant, rows, live, in_bin, purged FROM deletion_guard.archive_tenants(:'archive') ORDER BY 1;
SELECT lower(tenant) AS tenant, rows FROM deletion_guard.archive_tenants(:'archive' || '.sql') ORDER BY 1;

\c :maintenance_db
DROP DATABASE regress_dg_archive_shapes;
