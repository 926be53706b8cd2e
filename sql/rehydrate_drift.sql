-- Tables have changed since the archive was made; rows of shared tables are gone.
CREATE DATABASE regress_dg_rehydrate_drift;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_drift
\getenv srcdir PG_ABS_SRCDIR
\getenv builddir PG_ABS_BUILDDIR
\set tracker :srcdir '/test/sql/tracker.sql'
\set dir :builddir '/results/'
\set archive :dir 'drift.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :tracker
\set ECHO all
CREATE TABLE colour (id integer PRIMARY KEY, name text);
INSERT INTO colour VALUES (1, 'red'), (2, 'green'), (3, 'blue');
ALTER TABLE label ADD colour_id integer REFERENCES colour, ADD broader integer REFERENCES label;
UPDATE label SET colour_id = id, broader = 3 - id WHERE id = 2;
\! pg_dump -Fc -f "${DIR}drift.dump" -n public

-- Into a schema of its own, to look at: nothing live is touched.
SELECT lose(2);
SELECT relation, tenant, found, restored, problem FROM deletion_guard.rehydrate('2', :'archive', into_schema => 'rescue')
WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT (SELECT count(*) FROM rescue.issue WHERE site_id = 2) AS rescued,
	(SELECT count(*) FROM issue WHERE site_id = 2) AS live, (SELECT count(*) FROM rescue.file) AS files;
SELECT conrelid::regclass, conname, contype FROM pg_constraint WHERE connamespace = 'rescue'::regnamespace AND contype <> 'n' ORDER BY 1, 2;
SELECT failure(format('SELECT deletion_guard.rehydrate(''2'', %L, into_schema => ''rescue'')', :'archive'), :'dir');
SELECT failure(format('SELECT deletion_guard.rehydrate(''2'', %L, into_schema => ''other'', with_referenced => true)', :'archive'), :'dir');
SELECT failure(format('SELECT deletion_guard.rehydrate(''4'', %L, into_schema => ''other'')', :'archive'), :'dir');
SELECT relation, found FROM deletion_guard.rehydrate('2', :'archive', into_schema => 'other', dry_run => true)
WHERE relation = 'issue'::regclass;
SELECT nspname FROM pg_namespace WHERE nspname IN ('rescue', 'other');
CREATE ROLE regress_dg_looker;
GRANT pg_read_server_files TO regress_dg_looker;
SET ROLE regress_dg_looker;
SELECT failure(format('SELECT deletion_guard.rehydrate(''2'', %L, into_schema => ''mine'')', :'archive'), :'dir');
RESET ROLE;
DROP OWNED BY regress_dg_looker;
DROP ROLE regress_dg_looker;
DROP SCHEMA rescue CASCADE;

-- A column was added, one has another type, one another default; rows come back as they fit.
ALTER TABLE project ADD state text NOT NULL DEFAULT 'open';
ALTER TABLE comment ALTER body TYPE varchar(100), ALTER took TYPE text;
SELECT relation, restored, problem FROM deletion_guard.rehydrate('2', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT * FROM project WHERE site_id = 2 ORDER BY id;
SELECT * FROM deletion_guard.compare_tenant('2', :'archive') ORDER BY relation::text;

-- A column is gone: its values would be lost, unless the caller says so.
SELECT lose(2);
SELECT deletion_guard.unguard_table('comment');
ALTER TABLE comment DROP COLUMN data;
SELECT deletion_guard.guard_table('comment', tenant_path => '{comment_issue_id_fkey}');
SELECT failure(format('SELECT deletion_guard.rehydrate(''2'', %L)', :'archive'), :'dir');
SELECT relation, restored FROM deletion_guard.rehydrate('2', :'archive',
	mapping => '{"public.comment": {"columns": {"data": null}}}') WHERE tenant IS NOT NULL ORDER BY relation::text;

-- A value does not fit any more.
SELECT lose(2);
ALTER TABLE project ALTER title TYPE integer USING 1;
SELECT failure(format('SELECT deletion_guard.rehydrate(''2'', %L, mapping => %L)', :'archive',
	'{"public.comment": {"columns": {"data": null}}}'), :'dir');
ALTER TABLE project ALTER title TYPE text;
UPDATE project SET title = 'project ' || 2 - id % 2;
SELECT sum(restored) FROM deletion_guard.rehydrate('2', :'archive', mapping => '{"public.comment": {"columns": {"data": null}}}');

-- A constraint does not allow a row any more; the hint says what to do.
SELECT lose(2);
ALTER TABLE project ADD CONSTRAINT short CHECK (title <> 'project 1') NOT VALID;
SELECT failure(format('SELECT deletion_guard.rehydrate(''2'', %L, mapping => %L)', :'archive',
	'{"public.comment": {"columns": {"data": null}}}'), :'dir');
BEGIN;
ALTER TABLE project ALTER title SET DEFAULT 'untitled';
SELECT sum(restored) FROM deletion_guard.rehydrate('2', :'archive',
	mapping => '{"public.comment": {"columns": {"data": null}}, "public.project": {"columns": {"title": null}}}');
SELECT DISTINCT title FROM project WHERE site_id = 2;
ROLLBACK;
ALTER TABLE project DROP CONSTRAINT short;
SELECT sum(restored) FROM deletion_guard.rehydrate('2', :'archive', mapping => '{"public.comment": {"columns": {"data": null}}}');

-- Tables and columns have other names.
ALTER TABLE issue RENAME TO ticket;
ALTER TABLE ticket RENAME site_id TO customer;
ALTER TABLE comment RENAME issue_id TO ticket;
ALTER TABLE comment RENAME body TO words;
SELECT relation, live_relation, tenant_source FROM deletion_guard.archive_contents(:'archive')
WHERE relation IN ('public.issue', 'public.comment') ORDER BY 1;
SELECT failure(format('SELECT deletion_guard.rehydrate(''2'', %L)', :'archive'), :'dir');
SELECT relation, tenant, found, problem
FROM deletion_guard.rehydrate('2', :'archive', relations => '{site,project,file}', dry_run => true) ORDER BY tenant, relation::text, problem;
SELECT relation, restored, problem FROM deletion_guard.rehydrate('2', :'archive', mapping => '{
	"public.issue": {"relation": "ticket", "columns": {"site_id": "customer"}},
	"public.comment": {"columns": {"data": null, "issue_id": "ticket", "body": "words"}}}') ORDER BY tenant, relation::text;
SELECT relation, archive_rows, live_rows, only_in_archive, only_live, different FROM deletion_guard.compare_tenant('2', :'archive', mapping => '{
	"public.issue": {"relation": "public.ticket", "columns": {"site_id": "customer"}},
	"public.comment": {"columns": {"data": null, "issue_id": "ticket", "body": "words"}}}') ORDER BY relation::text;
ALTER TABLE label RENAME TO tag;
SELECT relation, tenant, problem FROM deletion_guard.rehydrate('2', :'archive', relations => '{project}', mapping => '{"public.label": "tag"}')
WHERE relation IN ('tag'::regclass, 'project'::regclass);
ALTER TABLE tag RENAME TO label;

-- Mappings that say nothing.
SELECT failure(format('SELECT deletion_guard.rehydrate(''2'', %L, mapping => %L)', :'archive', mapping), :'dir')
FROM unnest(ARRAY['[]', '1', '{"public.issue": 1}', '{"public.issue": {"relation": 1}}', '{"public.issue": {"colums": {}}}',
	'{"public.isue": "ticket"}', '{"public.issue": "ticet"}', '{"public.issue": {"relation": "ticket", "columns": {"sit": "customer"}}}',
	'{"public.issue": {"relation": "ticket", "columns": {"site_id": 1}}}', '{"public.issue": "issue_pkey"}']) mapping;

-- Rows of shared tables that are gone, and what these refer to, in circles.
ALTER TABLE ticket RENAME TO issue;
ALTER TABLE issue RENAME customer TO site_id;
ALTER TABLE comment RENAME ticket TO issue_id;
SELECT lose(3);
SET session_replication_role = replica;
DELETE FROM label;
DELETE FROM colour;
RESET session_replication_role;
SELECT failure(format('SELECT deletion_guard.rehydrate(''3'', %L, relations => ''{site,project,issue}'')', :'archive'), :'dir');
SELECT relation, tenant, found, restored, problem
FROM deletion_guard.rehydrate('3', :'archive', relations => '{site,project,issue}', with_referenced => true)
WHERE found IS NOT NULL ORDER BY tenant, relation::text;
SELECT * FROM label ORDER BY id;
SELECT * FROM colour;
-- There already: nothing to bring.
SELECT lose(3);
SELECT relation, tenant, found, restored, problem
FROM deletion_guard.rehydrate('3', :'archive', relations => '{site,project,issue}', with_referenced => true)
WHERE found IS NOT NULL ORDER BY tenant, relation::text;
-- A row that another tenant has is not brought in.
UPDATE issue SET parent_id = (SELECT min(id) FROM issue WHERE site_id = 1) WHERE site_id = 3 AND parent_id IS NULL;
\! pg_dump -Fc -f "${DIR}drift.dump" -n public
SELECT lose(1), lose(3);
SELECT failure(format('SELECT deletion_guard.rehydrate(''3'', %L, with_referenced => true)', :'archive'), :'dir');
SELECT sum(restored) FROM deletion_guard.rehydrate('{1,3}'::text[], :'archive', with_referenced => true);

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_drift;
\! rm -f "${DIR}drift.dump"
