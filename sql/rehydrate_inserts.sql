-- Dumps of INSERT statements: names that a comment cannot have, columns without values.
CREATE DATABASE regress_dg_rehydrate_inserts;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_inserts
\getenv builddir PG_ABS_BUILDDIR
\set plain :builddir '/results/inserts.sql'
\set copied :builddir '/results/inserts_copy.sql'
\set custom :builddir '/results/inserts.dump'
\setenv DIR :builddir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id integer PRIMARY KEY, name text);
CREATE TABLE "two
lines" (id integer PRIMARY KEY, twice integer GENERATED ALWAYS AS (id * 2) STORED, site_id integer REFERENCES site, body text);
SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
SELECT relation::oid > 0 AS guarded FROM deletion_guard.guard_schema('public', 'site_id');
INSERT INTO site VALUES (1, 'one'), (2, 'two');
INSERT INTO "two
lines" (id, site_id, body) SELECT i, 1 + i % 2, E'a\n--\n-- Data for Name: x\nb' || i FROM generate_series(1, 6) i;
\! pg_dump --inserts -f "$DIR/results/inserts.sql" -n public
\! pg_dump -f "$DIR/results/inserts_copy.sql" -n public
\! pg_dump -Fc --inserts -f "$DIR/results/inserts.dump" -n public

CREATE TEMP TABLE archive AS SELECT * FROM (VALUES ('plain', :'plain'), ('copied', :'copied'), ('custom', :'custom')) v (name, file);
SELECT name, c.columns, c.live_relation IS NOT NULL AS live FROM archive, deletion_guard.archive_contents(file) c ORDER BY 1, 2;
DELETE FROM "two
lines" WHERE site_id = 1;
SELECT name, sum(found) AS found, sum(restored) AS restored, string_agg(problem, ' ') AS problem
FROM archive, deletion_guard.rehydrate('1', file, dry_run => true) GROUP BY 1 ORDER BY 1;
SELECT sum(restored) FROM deletion_guard.rehydrate('1', :'plain');
SELECT id, twice, site_id, length(body) FROM "two
lines" ORDER BY 1;
-- A column that is generated in the archive and here is no difference.
SELECT name, sum(archive_rows) AS rows, sum(only_in_archive + only_live + different) AS differences, string_agg(problem, ' ') AS problem
FROM archive, deletion_guard.compare_tenant('1', file) GROUP BY 1 ORDER BY 1;
SELECT name, rows, matches, problem FROM archive, deletion_guard.drill(file, '{1}') ORDER BY 1;
-- One that is generated in the archive only has no value there.
SET deletion_guard.ddl = allow;
ALTER TABLE "two
lines" ALTER twice DROP EXPRESSION;
SELECT name, matches, problem FROM archive, deletion_guard.drill(file, '{1}') ORDER BY 1;

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_inserts;
\! rm -f "$DIR/results/inserts.sql" "$DIR/results/inserts_copy.sql" "$DIR/results/inserts.dump"
