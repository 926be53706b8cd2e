-- Undelete, holds and purges of tenants of all shapes: a schema each, declared steps, and rows of nobody.
CREATE DATABASE regress_dg_purge_shapes;
\set maintenance_db :DBNAME
\c regress_dg_purge_shapes
\getenv srcdir PG_ABS_SRCDIR
\getenv builddir PG_ABS_BUILDDIR
\set signing :srcdir '/test/sql/signing.sql'
\set archive :builddir '/results/purge_shapes.dump'
\setenv ARCHIVE :archive
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
CREATE TABLE client (id text PRIMARY KEY, name text);
CREATE SCHEMA acme;
CREATE TABLE acme.person (id int PRIMARY KEY, mail text);
CREATE TABLE acme.reply (id int PRIMARY KEY, person int REFERENCES acme.person ON DELETE CASCADE);
CREATE TABLE template (id int PRIMARY KEY, client text, body text);
CREATE TABLE item (id int PRIMARY KEY, template int);
CREATE TABLE mark (id int PRIMARY KEY, kind text, of int);
CREATE TABLE label (id int PRIMARY KEY);
INSERT INTO client VALUES ('acme', 'Acme'), ('globex', 'Globex');
INSERT INTO acme.person VALUES (1, 'a@x.example'), (2, 'b@x.example');
INSERT INTO acme.reply VALUES (1, 1), (2, 1), (3, 2);
INSERT INTO template VALUES (1, 'acme', 'x'), (2, 'globex', 'x'), (3, NULL, 'for all'), (4, '', 'for all');
INSERT INTO item SELECT n, n FROM generate_series(1, 4) n;
INSERT INTO item VALUES (5, NULL), (6, 77);
INSERT INTO mark VALUES (1, 'Template', 1), (2, 'Item', 2), (3, 'Template', 3), (4, 'User', 1), (5, NULL, NULL);
INSERT INTO label VALUES (1);
SELECT deletion_guard.set_tenant_table('client', 'id', 'name');
SELECT deletion_guard.guard_table('client', 'id'), deletion_guard.guard_table('template', 'client'), deletion_guard.guard_table('label'),
	deletion_guard.guard_table('item', tenant_path => '[{"columns": ["template"], "references": "template"}]'),
	deletion_guard.guard_table('mark', tenant_path => '[{"type": "kind", "id": "of", "targets": {"Template": "template", "Item": "item", "User": null}}]');
SELECT relation, tenant_source, problem FROM deletion_guard.guard_schema('acme', tenant => 'acme') ORDER BY relation::text;
\! pg_dump -Fc -f "$ARCHIVE" -N signing
SET deletion_guard.retention = 0;
DELETE FROM mark;
DELETE FROM item;
DELETE FROM template;
DELETE FROM acme.person;
DELETE FROM label;
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail ORDER BY relation::text, tenant;

-- Exactly nobody's rows come back; those of tables that are not named do not.
SELECT * FROM deletion_guard.undelete_without_tenant('{template, item, mark}', dry_run => true) ORDER BY relation::text, tenant;
SELECT * FROM deletion_guard.undelete_without_tenant('{template, item, mark}', until => '2020-01-01'); -- fails
SELECT * FROM deletion_guard.undelete_without_tenant('{}'); -- fails
SELECT * FROM deletion_guard.undelete_without_tenant('{acme.person}'); -- fails
SELECT * FROM deletion_guard.undelete_without_tenant(NULL);
SELECT * FROM deletion_guard.undelete_without_tenant('{template, item, mark}') ORDER BY relation::text, tenant;
SELECT * FROM deletion_guard.undelete_without_tenant('{template, item, mark}'); -- fails
SELECT id FROM template ORDER BY 1;
SELECT id FROM item ORDER BY 1;
SELECT id FROM mark ORDER BY 1;
-- An empty key that is a tenant's is not nobody's.
DELETE FROM template;
INSERT INTO client VALUES ('', 'Nameless');
SELECT relation, restored FROM deletion_guard.undelete_without_tenant('{template}');
SELECT relation, restored FROM deletion_guard.undelete_tenant('');
DELETE FROM client WHERE id = '';
CREATE ROLE regress_dg_nobodys;
SET ROLE regress_dg_nobodys;
SELECT deletion_guard.undelete_without_tenant('{label}'); -- fails
RESET ROLE;
DROP ROLE regress_dg_nobodys;

-- A hold of a tenant holds what its schema and its steps have; a purge takes all of it, and nothing else.
SELECT deletion_guard.hold_tenant('acme', 'lawsuit') AS hold \gset
SELECT signing.sign(deletion_guard.request_purge('acme', 'contract ended')) AS token \gset
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', :'token'));
SELECT deletion_guard.request_purge_by_age('{acme.person, acme.reply, item, mark}', 'old')->'rows' AS rows_of_others;
SELECT deletion_guard.release_hold(:hold, signing.sign(jsonb_build_object('act', 'release_hold', 'aud', deletion_guard.audience(), 'hold', :hold)));
-- One person of the schema, of declared steps one row; then the rest.
SELECT deletion_guard.request_purge('acme', 'erasure', keys => '{"acme.person": [{"id": 1}]}'); -- fails
SELECT deletion_guard.request_purge('globex', 'erasure', keys => '{"acme.person": [{"id": 1}], "acme.reply": [{"person": 1}]}'); -- fails
SELECT deletion_guard.request_purge('acme', 'erasure', keys => '{"template": [{"id": 1}]}'); -- fails
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('acme', 'erasure', keys => '{"acme.person": [{"id": 1}], "acme.reply": [{"person": 1}], "mark": [{"kind": "Template", "of": 1}]}')))->'rows' AS rows;
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', :'token'));
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('acme', 'contract ended')))->'rows' AS rows;
SELECT relation, CASE WHEN tenant ~ '^purged:' THEN 'purged' ELSE tenant END AS tenant, sum(rows) AS rows, sum(restored) AS restored, sum(purged) AS purged
FROM deletion_guard.deletion_detail GROUP BY 1, 2 ORDER BY relation::text, 2;
-- Rows of nobody are purged as such.
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge_without_tenant('{label}', 'nobody''s')))->'rows' AS rows;
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge_by_age('{template, item, mark}', 'old')))->'rows' AS rows;
-- What was purged stays away, of every shape.
SELECT relation, tenant, found, restored, identical, problem FROM deletion_guard.rehydrate('{acme,globex}'::text[], :'archive', on_conflict => 'skip') ORDER BY relation::text, tenant;
SELECT ok, problem FROM deletion_guard.verify_ledger();

\c :maintenance_db
DROP DATABASE regress_dg_purge_shapes;
