-- Chosen rows come back, with the rows of the tenant that they refer to and that are missing.
CREATE DATABASE regress_dg_rehydrate_rows;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_rows
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'rows.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id int PRIMARY KEY);
CREATE TABLE template (id int PRIMARY KEY, site_id int REFERENCES site);
CREATE TABLE label (id uuid PRIMARY KEY, site_id int NOT NULL REFERENCES site, parent uuid REFERENCES label);
CREATE TABLE issue (site_id int NOT NULL, no numeric, label uuid REFERENCES label, template_id int REFERENCES template, title text, PRIMARY KEY (site_id, no));
CREATE TABLE comment (id int PRIMARY KEY, site_id int, issue numeric, body text, FOREIGN KEY (site_id, issue) REFERENCES issue);
CREATE TABLE note (site_id int, body text);
INSERT INTO site VALUES (1), (2);
INSERT INTO template VALUES (1, NULL), (2, 2);
INSERT INTO label SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 1 + n % 2, CASE WHEN n > 2 THEN ('00000000-0000-0000-0000-00000000000' || n - 2)::uuid END FROM generate_series(1, 8) n;
INSERT INTO issue SELECT 1 + n % 2, n, ('00000000-0000-0000-0000-00000000000' || n)::uuid, CASE n WHEN 2 THEN 1 WHEN 4 THEN 2 END, 'title ' || n FROM generate_series(1, 8) n;
INSERT INTO comment SELECT n, 1 + n % 2, n, 'body ' || n FROM generate_series(1, 8) n;
INSERT INTO note VALUES (1, 'x');
SELECT deletion_guard.set_tenant_table('site', 'id');
SELECT relation, tenant_source FROM deletion_guard.guard_schema('public', 'site_id') ORDER BY relation::text;
\! pg_dump -Fc -f "${DIR}rows.dump" -n public
DELETE FROM comment; DELETE FROM issue; DELETE FROM label; DELETE FROM template;
-- One comment: its issue, that one's label and its parents; nothing else
BEGIN;
SELECT relation, tenant, found, restored, problem FROM deletion_guard.rehydrate('1', :'archive', rows => '{"public.comment": [{"id": 6}]}') WHERE found > 0 ORDER BY relation::text;
SELECT id FROM comment UNION ALL SELECT no FROM issue;
SELECT id FROM label ORDER BY 1;
-- What is there is not brought, and one that is different is a conflict.
SELECT relation, found, restored, identical FROM deletion_guard.rehydrate('1', :'archive', rows => '{"comment": [{"id": 6}, {"id": 8}]}') WHERE found > 0 ORDER BY relation::text;
UPDATE issue SET title = 'changed' WHERE no = 6;
SELECT relation, found, restored, identical FROM deletion_guard.rehydrate('1', :'archive', rows => '{"comment": [{"id": 6}]}') WHERE found > 0 ORDER BY relation::text;
SELECT relation, found, restored, identical FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', rows => '{"issue": [{"site_id": 1, "no": 6.0}]}') WHERE found > 0 ORDER BY relation::text;
SELECT title FROM issue WHERE no = 6;
ROLLBACK;
-- Rows of nobody come with with_referenced; those of other tenants do not.
SELECT deletion_guard.rehydrate('1', :'archive', rows => '{"issue": [{"site_id": 1, "no": 2}]}');
BEGIN;
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('1', :'archive', with_referenced => true, rows => '{"issue": [{"site_id": 1, "no": 2}]}') WHERE found > 0 ORDER BY relation::text;
ROLLBACK;
SELECT deletion_guard.rehydrate('1', :'archive', with_referenced => true, rows => '{"issue": [{"site_id": 1, "no": 4}]}');
-- As compare_rows() shows them
BEGIN;
SELECT sum(restored) FROM deletion_guard.rehydrate('1', :'archive', with_referenced => true,
	rows => (SELECT jsonb_object_agg(relation, keys) FROM (SELECT relation, jsonb_agg(key) AS keys FROM deletion_guard.compare_rows('1', :'archive', '{comment,label}') GROUP BY relation) c
		WHERE relation = 'label'::regclass));
SELECT relation, count(*) FROM deletion_guard.compare_rows('1', :'archive') WHERE what = 'missing' GROUP BY 1 ORDER BY relation::text;
ROLLBACK;
SELECT relation, tenant, found FROM deletion_guard.rehydrate('1', :'archive', dry_run => true, rows => '{"comment": [{"id": 6}], "label": [{"id": "00000000-0000-0000-0000-000000000008"}]}') WHERE found > 0 ORDER BY relation::text;
-- Bad input
\set VERBOSITY default
SELECT deletion_guard.rehydrate('1', :'archive', rows => '[]');
SELECT deletion_guard.rehydrate('1', :'archive', rows => '{}');
\set VERBOSITY terse
SELECT deletion_guard.rehydrate('1', :'archive', rows => '{"comment": []}');
SELECT deletion_guard.rehydrate('1', :'archive', rows => '{"comment": 7}');
SELECT deletion_guard.rehydrate('1', :'archive', rows => '{"comment": [7]}');
SELECT deletion_guard.rehydrate('1', :'archive', rows => '{"comment": [{"no": 7}]}');
SELECT deletion_guard.rehydrate('1', :'archive', rows => '{"comment": [{"id": 7, "body": "x"}]}');
SELECT deletion_guard.rehydrate('1', :'archive', rows => '{"comment": [{"id": "seven"}]}');
SELECT deletion_guard.rehydrate('1', :'archive', rows => '{"comment": [{"id": 7}]}');
SELECT deletion_guard.rehydrate('1', :'archive', rows => '{"nowhere": [{"id": 7}]}');
SELECT deletion_guard.rehydrate('1', :'archive', rows => '{"note": [{"body": "x"}]}');
SELECT deletion_guard.rehydrate('1', :'archive', rows => '{"pg_class": [{"oid": "1"}]}');
SELECT deletion_guard.rehydrate('1', :'archive', '{comment}', rows => '{"comment": [{"id": 6}]}');
SELECT deletion_guard.rehydrate('1', :'archive', extra => 'delete', rows => '{"comment": [{"id": 6}]}');

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_rows;
