-- What a mapping and a run name: roots of partitions, tables that are left out, archives.
CREATE DATABASE regress_dg_rehydrate_named;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_named
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/named.dump'
\set bare :builddir '/results/named_data.dump'
\set root :builddir '/results/named_root.dump'
\setenv DIR :builddir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
-- A key that is too long for a B-tree.
CREATE FUNCTION long_key(salt text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(md5(salt || i), '') FROM generate_series(1, 100) i
$$;
CREATE TABLE page (id integer PRIMARY KEY, url text);
SELECT deletion_guard.guard_table('page', 'url');
INSERT INTO page VALUES (1, long_key('a')), (2, long_key('b'));
\! pg_dump -Fc -f "$DIR/results/named.dump" -t page
DELETE FROM page;
CALL deletion_guard.rehydrate_each(ARRAY[long_key('a')], :'archive', 'long');
CALL deletion_guard.rehydrate_each(ARRAY[long_key('a'), long_key('b')], :'archive', 'long');
SELECT id, url = long_key(CASE id WHEN 1 THEN 'a' ELSE 'b' END) AS same FROM page ORDER BY 1;
SELECT run, md5(tenant), rows FROM deletion_guard.rehydration_record WHERE run = 'long' ORDER BY 2;

SELECT deletion_guard.unguard_table('page');
DROP TABLE page;

CREATE TABLE site (id integer PRIMARY KEY, name text);
CREATE TABLE reading (id integer, site_id integer REFERENCES site, at integer, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE reading_1 PARTITION OF reading FOR VALUES FROM (0) TO (10);
CREATE TABLE reading_2 PARTITION OF reading FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (at);
CREATE TABLE reading_20 PARTITION OF reading_2 FOR VALUES FROM (10) TO (20);
CREATE TABLE reading_21 PARTITION OF reading_2 FOR VALUES FROM (20) TO (30);
CREATE TABLE remark (id integer PRIMARY KEY, site_id integer NOT NULL, body text);
CREATE TABLE schema_migrations (version text);
INSERT INTO schema_migrations VALUES ('20240101');
SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
SELECT relation FROM deletion_guard.guard_schema('public', 'site_id') WHERE problem IS NULL ORDER BY relation::text COLLATE "C";
INSERT INTO site VALUES (1, 'one'), (2, 'two');
INSERT INTO reading SELECT i, 1 + i % 2, i, 'note ' || i FROM generate_series(0, 29) i;
INSERT INTO remark SELECT i, 1 + i % 2, 'body ' || i FROM generate_series(0, 5) i;
\! pg_dump -Fc -f "$DIR/results/named.dump" -n public
\! pg_dump -Fc -a -f "$DIR/results/named_data.dump" -n public
\! pg_dump -Fc --load-via-partition-root -f "$DIR/results/named_root.dump" -n public

-- The root has another name, the leaves have not, or neither has.
DELETE FROM reading WHERE site_id = 1;
SET deletion_guard.ddl = allow;
ALTER TABLE reading RENAME TO measurement;
\set VERBOSITY terse
SELECT * FROM deletion_guard.rehydrate('1', :'archive', dry_run => true, mapping => '{"public.reading": "public.measurement"}');
SELECT * FROM deletion_guard.rehydrate('1', :'root', dry_run => true, mapping => '{"public.reading": "public.measurement"}');
ALTER TABLE measurement RENAME note TO remark;
SELECT * FROM deletion_guard.rehydrate('1', :'archive', dry_run => true, mapping => '{"public.reading": {"relation": "public.measurement", "columns": {"note": "remark"}}}');
SELECT * FROM deletion_guard.compare_tenant('1', :'archive', '{"public.reading": {"columns": {"note": "remark"}}}');
ALTER TABLE reading_1 RENAME TO measurement_1;
ALTER TABLE reading_20 RENAME TO measurement_20;
-- A partition's own mapping goes first, then that of the nearest it was a partition of.
SELECT * FROM deletion_guard.rehydrate('1', :'archive', dry_run => true, on_conflict => 'skip',
	mapping => '{"public.reading": {"relation": "public.measurement", "columns": {"note": null}}, "public.reading_2": {"columns": {"note": "remark"}}, "public.reading_1": null}');
-- The rows come back where they belong.
BEGIN;
SELECT * FROM deletion_guard.rehydrate('1', :'archive', mapping => '{"public.reading": {"relation": "public.measurement", "columns": {"note": "remark"}}}');
SELECT tableoid::regclass, count(*), min(remark), max(remark) FROM measurement WHERE site_id = 1 GROUP BY 1 ORDER BY 1;
ROLLBACK;
-- An archive without definitions does not tell roots; each partition can be named.
\set VERBOSITY default
SELECT * FROM deletion_guard.rehydrate('1', :'bare', mapping => '{"public.reading": {"relation": "public.measurement", "columns": {"note": "remark"}}}');
SELECT * FROM deletion_guard.rehydrate('1', :'bare', mapping => '{"public.remark": {"columns": {"text": "body"}}}');
\set VERBOSITY terse
SELECT relation, columns FROM deletion_guard.archive_contents(:'bare') ORDER BY relation COLLATE "C";
SELECT * FROM deletion_guard.rehydrate('1', :'bare', dry_run => true,
	mapping => '{"public.reading_1": {"relation": "public.measurement", "columns": {"note": "remark"}}, "public.reading_20": {"relation": "public.measurement", "columns": {"note": "remark"}}, "public.reading_21": {"columns": {"note": "remark"}}}');

-- A table of nobody makes a rehearsal fail, unless it is named.
ALTER TABLE measurement RENAME remark TO note;
ALTER TABLE measurement RENAME TO reading;
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'archive', '{1}');
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'archive', '{1}', mapping => '{"public.schema_migrations": null}');
SELECT tenant, matches, problem FROM deletion_guard.drill(:'archive', mapping => '{"public.schema_migration": null}');  -- fails
SELECT count(*), bool_and(matches) FROM deletion_guard.drill(:'archive', mapping => '{"public.schema_migrations": null}');
-- What holds tenants' rows is not left out without a word.
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'archive', '{1}', mapping => '{"public.schema_migrations": null, "public.remark": null}');
SELECT * FROM deletion_guard.rehydrate('1', :'archive', dry_run => true, mapping => '{"public.remark": null, "public.schema_migrations": null}');
SELECT * FROM deletion_guard.compare_tenant('1', :'archive', '{"public.remark": null, "public.reading": null}');
-- A tenant table of another name is found by the mapping.
ALTER TABLE site RENAME TO customer;
SELECT count(*), bool_and(matches) FROM deletion_guard.drill(:'archive', mapping => '{"public.site": "public.customer", "public.schema_migrations": null}');
ALTER TABLE customer RENAME TO site;

-- Rows of a table that does not exist here: a column tells whether they are the tenants'.
ALTER TABLE remark RENAME TO comment;
SELECT deletion_guard.rehydrate('1', :'archive', dry_run => true);
SELECT deletion_guard.rehydrate('1', :'archive');  -- fails
SELECT * FROM deletion_guard.rehydrate('1', :'archive', dry_run => true, left_out => 'report');
SELECT relation, problem FROM deletion_guard.rehydrate('1', :'archive', dry_run => true, relations => '{reading}');
SELECT relation, problem FROM deletion_guard.compare_tenant('1', :'archive');
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'archive', '{1}', mapping => '{"public.schema_migrations": null}');
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'archive', '{1}', mapping => '{"public.schema_migrations": null, "public.remark": "public.comment"}');
SELECT relation, found, problem FROM deletion_guard.rehydrate('1', :'archive', dry_run => true, mapping => '{"public.remark": "public.comment", "public.schema_migrations": null}');
-- A tenant without rows in it is not concerned.
INSERT INTO site VALUES (3, 'three');
\! pg_dump -Fc -f "$DIR/results/named_gone.dump" -n public
\set gone :builddir '/results/named_gone.dump'
ALTER TABLE comment RENAME TO remark;
ALTER TABLE reading RENAME TO measurement;
SELECT relation, found, problem FROM deletion_guard.rehydrate('3', :'gone', dry_run => true, mapping => '{"public.schema_migrations": null}');
SELECT tenant, matches, problem FROM deletion_guard.drill(:'gone', '{3}', mapping => '{"public.schema_migrations": null}');
ALTER TABLE measurement RENAME TO reading;
DELETE FROM site WHERE id = 3;

-- A run is one of an archive and of tables.
CALL deletion_guard.rehydrate_each('{1}', :'archive', 'first', relations => '{remark}');
CALL deletion_guard.rehydrate_each('{1,2}', :'archive', 'first');
CALL deletion_guard.rehydrate_each('{1,2}', :'bare', 'first', relations => '{remark}');
CALL deletion_guard.rehydrate_each('{1,2}', :'archive', 'first', relations => '{reading,remark}');
CALL deletion_guard.rehydrate_each('{1,2}', :'archive', 'first', relations => '{remark,remark}');
CALL deletion_guard.rehydrate_each('{1,2}', :'archive', 'second');
SELECT run, tenant, rows, relations FROM deletion_guard.rehydration_record ORDER BY run, tenant;

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_named;
\! rm -f "$DIR/results/named.dump" "$DIR/results/named_data.dump" "$DIR/results/named_root.dump" "$DIR/results/named_gone.dump"
