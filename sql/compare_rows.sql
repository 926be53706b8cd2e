-- compare_rows(): which rows of a tenant an archive has that are not live, or other than the live ones.
CREATE DATABASE regress_dg_compare_rows;
\set maintenance_db :DBNAME
\c regress_dg_compare_rows
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'compare_rows.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id int PRIMARY KEY, name text);
CREATE TABLE label (id int PRIMARY KEY, site_id int NOT NULL REFERENCES site, name text, seen timestamptz, extra jsonb, twice text GENERATED ALWAYS AS (name || name) STORED);
CREATE TABLE issue (dropped int, site_id int NOT NULL REFERENCES site, "No" numeric, part text COLLATE "C", label_id int REFERENCES label ON DELETE SET NULL,
	PRIMARY KEY (part, "No")) PARTITION BY LIST (part);
ALTER TABLE issue DROP dropped;
CREATE TABLE issue_b PARTITION OF issue FOR VALUES IN ('b');
CREATE TABLE issue_a PARTITION OF issue DEFAULT;
CREATE TABLE comment (id bigint PRIMARY KEY, part text COLLATE "C", issue numeric, body text, FOREIGN KEY (part, issue) REFERENCES issue ON DELETE CASCADE);
CREATE TABLE note (site_id int REFERENCES site, body text, n numeric);
INSERT INTO site VALUES (1, 'One'), (2, 'Two');
INSERT INTO label SELECT n, 1 + n % 2, 'label ' || n, '2020-01-01 00:00:00+00', '{"a": [1, null]}' FROM generate_series(1, 12) n;
INSERT INTO issue SELECT 1 + n % 2, n, chr(97 + n % 4), n FROM generate_series(1, 12) n;
INSERT INTO comment SELECT n, part, "No", 'body ' || n FROM issue, generate_series("No" * 10, "No" * 10 + 1) n;
INSERT INTO note SELECT 1 + n % 2, 'note ' || n % 3, n % 2 FROM generate_series(1, 12) n;
SELECT deletion_guard.set_tenant_table('site', 'id');
SELECT relation, tenant_source, problem FROM deletion_guard.guard_schema('public', 'site_id') ORDER BY relation::text;
SELECT deletion_guard.guard_table('comment', tenant_path => '{comment_part_issue_fkey}');
\! pg_dump -Fc -f "${DIR}compare_rows.dump" -n public
SELECT * FROM deletion_guard.compare_rows('1', :'archive');
-- Missing, extra, different; other tenants' rows are nowhere.
DELETE FROM comment WHERE id BETWEEN 100 AND 121;
DELETE FROM issue WHERE "No" > 9;
UPDATE label SET name = NULL, seen = '2021-01-01 00:00:00+00' WHERE id <= 2;
UPDATE comment SET part = 'c', issue = 6 WHERE id = 20;
INSERT INTO issue VALUES (1, 100.50, 'b', 2), (1, 5, 'x', NULL), (2, 101, 'b', 3);
UPDATE note SET body = 'other' WHERE ctid = (SELECT min(ctid) FROM note WHERE site_id = 1);
SELECT relation, key, what, columns FROM deletion_guard.compare_rows('1', :'archive');
SELECT relation, key, archive_row, live_row, problem FROM deletion_guard.compare_rows('1', :'archive') WHERE relation IN ('label'::regclass, 'note'::regclass);
SELECT count(*), bool_and(live_row = to_jsonb(l)) FROM deletion_guard.compare_rows('1', :'archive', '{label}') c JOIN label l ON l.id = (c.key->>'id')::int;
-- The counts of compare_tenant() are those of the lines.
SELECT relation, count(*) FILTER (WHERE what = 'missing') - only_in_archive AS missing, count(*) FILTER (WHERE what = 'extra') - only_live AS extra,
	count(*) FILTER (WHERE what = 'different') - different AS different
FROM deletion_guard.compare_tenant('1', :'archive') LEFT JOIN deletion_guard.compare_rows('1', :'archive') r USING (relation)
GROUP BY relation, only_in_archive, only_live, different ORDER BY relation::text;
-- A part of it
SELECT relation, key, what FROM deletion_guard.compare_rows('1', :'archive', '{issue_b,note}');
SELECT relation, key, what, problem FROM deletion_guard.compare_rows('1', :'archive', max_rows => 3);
SELECT relation, what, problem FROM deletion_guard.compare_rows('1', :'archive', '{label}', max_rows => 0);
SELECT count(*) FROM deletion_guard.compare_rows('1', :'archive', max_rows => NULL);
-- A lost link is no difference, and is told.
DELETE FROM label WHERE id = 4;
SELECT relation, key, what, columns, problem FROM deletion_guard.compare_rows('1', :'archive', '{label,issue}') WHERE what <> 'extra';
-- Other names, and a column that one side does not have
ALTER TABLE label RENAME TO tag;
ALTER TABLE tag RENAME COLUMN name TO title;
ALTER TABLE tag ADD added int DEFAULT 7;
SELECT relation, key, what, columns, archive_row, live_row, problem FROM deletion_guard.compare_rows('1', :'archive', '{tag}', '{"public.label": {"relation": "public.tag", "columns": {"name": "title"}}}');
-- Tables that the archive lacks, or that are gone, are told.
CREATE TABLE later (id int PRIMARY KEY, site_id int REFERENCES site);
SELECT deletion_guard.guard_table('later', 'site_id');
SELECT relation, what, problem FROM deletion_guard.compare_rows('1', :'archive') WHERE what = 'not compared';
INSERT INTO later VALUES (1, 1);
SELECT relation, key, what, live_row, problem FROM deletion_guard.compare_rows('1', :'archive') WHERE what = 'not compared';

-- Who may not read the table, or not all of it
CREATE ROLE regress_dg_compare_rows IN ROLE pg_read_server_files;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_compare_rows;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO regress_dg_compare_rows;
REVOKE SELECT ON note FROM regress_dg_compare_rows;
SET ROLE regress_dg_compare_rows;
SELECT * FROM deletion_guard.compare_rows('1', :'archive', '{note}');
SELECT relation, key, what FROM deletion_guard.compare_rows('1', :'archive', '{comment}');
RESET ROLE;
ALTER TABLE comment ENABLE ROW LEVEL SECURITY;
CREATE POLICY even ON comment USING (id % 2 = 0);
SET ROLE regress_dg_compare_rows;
SELECT key, what, problem FROM deletion_guard.compare_rows('1', :'archive', '{comment}', max_rows => 2);
RESET ROLE;
REVOKE pg_read_server_files FROM regress_dg_compare_rows;
SET ROLE regress_dg_compare_rows;
SELECT * FROM deletion_guard.compare_rows('1', :'archive');
RESET ROLE;

-- Bad input
\set VERBOSITY default
SELECT * FROM deletion_guard.compare_rows(NULL, :'archive');
SELECT * FROM deletion_guard.compare_rows('1', NULL);
SELECT * FROM deletion_guard.compare_rows('1', :'archive', '{}');
SELECT * FROM deletion_guard.compare_rows('1', :'archive', max_rows => -1);
SELECT * FROM deletion_guard.compare_rows('one', :'archive');

\c :maintenance_db
DROP DATABASE regress_dg_compare_rows;
DROP ROLE regress_dg_compare_rows;
