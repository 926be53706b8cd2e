-- Rows that row security hides from the caller of a comparison are not missing.
CREATE DATABASE regress_dg_report_hidden;
\set maintenance_db :DBNAME
\c regress_dg_report_hidden
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/hidden.dump'
\set part :builddir '/results/hidden_part.dump'
\setenv DIR :builddir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_hidden_app IN ROLE pg_read_server_files;
CREATE ROLE regress_dg_hidden_owner;
CREATE TABLE site (id integer PRIMARY KEY, name text);
CREATE TABLE issue (id integer PRIMARY KEY, site_id integer, title text);
CREATE TABLE remark (id integer PRIMARY KEY, issue_id integer REFERENCES issue, body text);
CREATE TABLE note (site_id integer, body text);
SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
SELECT relation, problem FROM deletion_guard.guard_schema('public', 'site_id') ORDER BY relation::text;
INSERT INTO site VALUES (1, 'one'), (2, 'two');
INSERT INTO issue SELECT i, 1 + i % 2, 'issue ' || i FROM generate_series(1, 6) i;
INSERT INTO remark SELECT i, i, 'remark ' || i FROM generate_series(1, 6) i;
INSERT INTO note SELECT 1 + i % 2, 'note ' || i FROM generate_series(1, 6) i;
\! pg_dump -Fc -f "$DIR/results/hidden.dump" -n public
\! pg_dump -Fc -f "$DIR/results/hidden_part.dump" -n public -T note -T remark
GRANT ALL ON ALL TABLES IN SCHEMA public TO regress_dg_hidden_app;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO regress_dg_hidden_app', current_database()); END $$;
ALTER TABLE issue ENABLE ROW LEVEL SECURITY;
ALTER TABLE note ENABLE ROW LEVEL SECURITY;
CREATE POLICY late ON issue USING (id > 3) WITH CHECK (true);
CREATE POLICY none ON note USING (false) WITH CHECK (true);

SET ROLE regress_dg_hidden_app;
SELECT * FROM deletion_guard.compare_tenant('1', :'archive');
SELECT * FROM deletion_guard.compare_tenant('1', :'part');
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'archive', '{1}');
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'part', '{1}');
-- Nothing is doubled because it is not seen.
SELECT * FROM deletion_guard.rehydrate('1', :'archive');
RESET ROLE;
SELECT (SELECT count(*) FROM note) AS notes, (SELECT count(*) FROM issue) AS issues;
-- An archive that was made by somebody who did not see all.
\set mine :builddir '/results/hidden_mine.sql'
\! PGOPTIONS='-c role=regress_dg_hidden_app' pg_dump --enable-row-security -f "$DIR/results/hidden_mine.sql" -n public
SELECT * FROM deletion_guard.compare_tenant('1', :'mine');
SELECT relation, found, identical, problem FROM deletion_guard.rehydrate('1', :'mine');
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'mine', '{1}');
-- A superuser sees all, though it asks as an owner whom policies bind.
ALTER TABLE note OWNER TO regress_dg_hidden_owner;
ALTER TABLE note FORCE ROW LEVEL SECURITY;
SELECT * FROM deletion_guard.compare_tenant('1', :'archive');

\c :maintenance_db
DROP DATABASE regress_dg_report_hidden;
DROP ROLE regress_dg_hidden_app, regress_dg_hidden_owner;
\! rm -f "$DIR/results/hidden.dump" "$DIR/results/hidden_part.dump" "$DIR/results/hidden_mine.sql"
