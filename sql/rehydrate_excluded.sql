-- An archive that defines a table and has none of its data: --exclude-table-data.
CREATE DATABASE regress_dg_rehydrate_excluded;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_excluded
\getenv builddir PG_ABS_BUILDDIR
\setenv DIR :builddir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id integer PRIMARY KEY, name text);
CREATE TABLE issue (id integer PRIMARY KEY, site_id integer REFERENCES site, title text);
CREATE TABLE note (site_id integer, body text);
CREATE TABLE reading (site_id integer, at integer) PARTITION BY RANGE (at);
SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
SELECT relation FROM deletion_guard.guard_schema('public', 'site_id') WHERE problem IS NULL ORDER BY relation::text;
INSERT INTO site VALUES (1, 'one'), (2, 'two');
INSERT INTO issue SELECT i, 1 + i % 2, 'issue ' || i FROM generate_series(1, 6) i;
\! cd "$DIR/results"; pg_dump -Fc -f excluded_issue.dump -n public -T note --exclude-table-data=issue; pg_dump -f excluded_issue.sql -n public -T note --exclude-table-data=issue; pg_dump --inserts -f excluded_none.sql -n public; pg_dump -Fc -f excluded_none.dump -n public
CREATE TEMP TABLE archive AS SELECT kind, :'builddir' || '/results/excluded_' || kind AS file FROM unnest('{issue.dump,issue.sql,none.sql,none.dump}'::text[]) kind;
-- A tenant that has live rows there, and one that is gone.
DELETE FROM issue WHERE site_id = 2;
DELETE FROM site WHERE id = 2;
SELECT kind, c.* FROM archive, deletion_guard.compare_tenants('{1,2}', file) c WHERE relation <> 'site'::regclass AND (kind ~ 'issue' OR problem IS NOT NULL) ORDER BY kind, relation::text, tenant;
SELECT kind, d.tenant, d.matches, d.problem FROM archive, deletion_guard.drill(file, '{1,2}') d ORDER BY kind, d.tenant;
SELECT kind, r.relation, r.tenant, r.found, r.problem FROM archive, deletion_guard.rehydrate('2', file, dry_run => true) r ORDER BY kind, relation::text;

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_excluded;
\! cd "$DIR/results"; rm -f excluded_issue.dump excluded_issue.sql excluded_none.sql excluded_none.dump
