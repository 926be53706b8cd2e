-- A schema for each tenant: every row of its tables is of that tenant. Deleted, undeleted, taken out of an archive, purged.
CREATE DATABASE regress_dg_tenant_schemas;
\set maintenance_db :DBNAME
\c regress_dg_tenant_schemas
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/tenant_schemas.dump'
\setenv ARCHIVE :archive
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
SELECT deletion_guard.guard_schemas('%', 'schema_name');
CREATE TABLE client (schema_name text PRIMARY KEY, name text);
CREATE TABLE country (code text PRIMARY KEY);
CREATE SCHEMA acme;
CREATE TABLE acme.person (id int PRIMARY KEY, country text REFERENCES country);
CREATE TABLE acme.post (id int PRIMARY KEY, author int REFERENCES acme.person ON DELETE CASCADE);
CREATE TABLE acme.event (id int, at int) PARTITION BY LIST (at);
CREATE TABLE acme.event_1 PARTITION OF acme.event FOR VALUES IN (1);
CREATE SCHEMA globex;
CREATE TABLE globex.person (LIKE acme.person INCLUDING ALL);
CREATE SCHEMA acme_files;
CREATE TABLE acme_files.file (id int, name text);
INSERT INTO client VALUES ('acme', 'Acme'), ('globex', 'Globex');
INSERT INTO country VALUES ('de'), ('fr');
INSERT INTO acme.person SELECT n, 'de' FROM generate_series(1, 10) n;
INSERT INTO acme.post SELECT n, n FROM generate_series(1, 10) n;
INSERT INTO acme.event SELECT n, 1 FROM generate_series(1, 3) n;
INSERT INTO globex.person TABLE acme.person;
INSERT INTO acme_files.file VALUES (1, 'f'), (1, 'f');
SELECT deletion_guard.set_tenant_table('client', 'schema_name', 'name'), deletion_guard.guard_table('client', 'schema_name');

-- Bad input.
SELECT deletion_guard.guard_schema('acme');
SELECT deletion_guard.guard_schema('acme', 'tenant_id', tenant => 'acme');
SELECT deletion_guard.guard_schema('acme', tenant => '');
SELECT deletion_guard.guard_table('acme.person', 'id', tenant => 'acme');
SELECT deletion_guard.guard_table('client', tenant => 'acme');
SET client_min_messages = notice;
SELECT deletion_guard.guard_table('acme_files.file', tenant => 'acmee');
SET client_min_messages = warning;

CREATE TABLE numbered (id int PRIMARY KEY);
BEGIN;
SELECT deletion_guard.set_tenant_table('numbered', 'id');
SELECT deletion_guard.guard_schema('acme', tenant => 'acme');
ROLLBACK;
DROP TABLE numbered;

-- One tenant with two schemas.
SELECT * FROM deletion_guard.guard_schema('acme', tenant => 'acme') ORDER BY relation::text;
SELECT * FROM deletion_guard.guard_schema('acme_files', tenant => 'acme');
SELECT * FROM deletion_guard.guard_schema('globex', tenant => 'globex');
SELECT relation, tenant_source, tenant FROM deletion_guard.guarded_table ORDER BY relation::text;
TABLE deletion_guard.guarded_schema ORDER BY 1;
\! pg_dump -Fc -f "$ARCHIVE" regress_dg_tenant_schemas

-- A table of another schema may not find its tenant by way of one of these.
CREATE TABLE note (id int PRIMARY KEY, person int CONSTRAINT note_person REFERENCES acme.person ON DELETE CASCADE);
SELECT deletion_guard.guard_table('note', tenant_path => '{note_person}');
SELECT * FROM deletion_guard.unguarded_table;
DROP TABLE note;

-- Ceilings, expectations, previews.
SET deletion_guard.expect_tenants = 'globex';
DELETE FROM acme.person WHERE id = 1;
RESET deletion_guard.expect_tenants;
SET deletion_guard.max_tenants = 1;
TRUNCATE acme.person, globex.person CASCADE;
RESET deletion_guard.max_tenants;
SELECT relation, tenant, rows FROM deletion_guard.preview('DELETE FROM acme.person WHERE id < 3') ORDER BY 1;

-- Losing all of a tenant, and back out of the bin.
TRUNCATE acme.person CASCADE;
DELETE FROM acme.event;
DELETE FROM acme_files.file;
DELETE FROM client WHERE schema_name = 'acme';
SELECT deletion_id, relation, tenant, tenant_name, rows FROM deletion_guard.deletion_detail ORDER BY 1, 2;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::acme.person, 'acme');
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::acme.person, 'globex');
SELECT relation, tenant, archive_rows, only_in_archive FROM deletion_guard.compare_tenants('{acme}', :'archive') ORDER BY relation::text;
BEGIN;
SELECT relation, tenant, restored, problem FROM deletion_guard.rehydrate('acme', :'archive') ORDER BY relation::text;
SELECT relation, only_in_archive, only_live, different FROM deletion_guard.compare_tenant('acme', :'archive') ORDER BY relation::text;
ROLLBACK;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('acme') ORDER BY relation::text;
SELECT relation, only_in_archive, only_live, different FROM deletion_guard.compare_tenant('acme', :'archive') ORDER BY relation::text;
SELECT deletion_guard.rehydrate('acme', :'archive', relations => '{globex.person}');
SELECT tenant, rows, matches FROM deletion_guard.drill(:'archive', '{acme,globex}') ORDER BY tenant;

-- Tables that come, and that go elsewhere.
CREATE TABLE acme.later (id int PRIMARY KEY);
INSERT INTO acme.later VALUES (1);
DELETE FROM acme.later;
ALTER TABLE acme.later SET SCHEMA globex;
SELECT deletion_guard.guard_table('acme.later', tenant => 'globex');
ALTER TABLE acme.later SET SCHEMA globex;
CREATE TABLE stray (id int PRIMARY KEY);
ALTER TABLE stray SET SCHEMA acme;
SELECT relation, tenant FROM deletion_guard.guarded_table WHERE relation IN ('globex.later'::regclass, 'acme.stray'::regclass) ORDER BY 2;
DROP TABLE acme.stray;

-- The tenant's key changes, and is exchanged with another's in one statement.
UPDATE client SET schema_name = 'acme2' WHERE schema_name = 'acme';
DELETE FROM acme.post WHERE id = 1;
SELECT tenant, sum(rows) FROM deletion_guard.deletion_detail GROUP BY 1 ORDER BY 1;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('acme2');
CREATE TABLE held AS SELECT relation, tenant FROM deletion_guard.guarded_table WHERE tenant IS NOT NULL;
ALTER TABLE client DROP CONSTRAINT client_pkey, ADD CONSTRAINT client_pkey PRIMARY KEY (schema_name) DEFERRABLE INITIALLY DEFERRED;
UPDATE client SET schema_name = CASE schema_name WHEN 'acme2' THEN 'globex' ELSE 'acme2' END;
SELECT h.relation, h.tenant AS was, g.tenant FROM held h JOIN deletion_guard.guarded_table g USING (relation) ORDER BY 1;
UPDATE client SET schema_name = CASE schema_name WHEN 'acme2' THEN 'globex' ELSE 'acme' END;
SELECT relation, tenant FROM deletion_guard.guarded_table WHERE tenant IS NOT NULL ORDER BY relation::text;
TABLE deletion_guard.guarded_schema ORDER BY 1;

-- The schema has another name: the tenant is who it was, also of tables to come.
ALTER SCHEMA acme_files RENAME TO files;
CREATE TABLE files.more (id int);
SELECT relation, tenant FROM deletion_guard.guarded_table WHERE relation::text ~ 'files' ORDER BY relation::text;
ALTER SCHEMA files RENAME TO acme_files;
DROP TABLE acme_files.more;

-- The schema has gone: pg_restore makes it anew, and rehydrate fills it.
SET deletion_guard.ddl = 'keep';
DROP SCHEMA acme CASCADE;
RESET deletion_guard.ddl;
DELETE FROM client WHERE schema_name = 'acme';
SELECT object, ok, detail FROM deletion_guard.verify() WHERE check_name = 'guarded schemas';
SELECT set_config('dg.archive', :'archive', false) \g /dev/null
DO $$
DECLARE hint text;
BEGIN
	PERFORM deletion_guard.rehydrate('acme', current_setting('dg.archive'));
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RAISE WARNING '%: %', sqlerrm, regexp_replace(hint, '''[^'']*/results/', '''');
END
$$;
SELECT relation, tenant, restored, problem FROM deletion_guard.rehydrate('globex', :'archive') ORDER BY relation::text;
SELECT relation, tenant, found, problem FROM deletion_guard.rehydrate('acme', :'archive', left_out => 'report', dry_run => true) ORDER BY relation::text;
CREATE SCHEMA acme;
\! PGOPTIONS='-c deletion_guard.restoring=on' pg_restore -n acme --schema-only -d regress_dg_tenant_schemas "$ARCHIVE"
SELECT relation, tenant, restored, problem FROM deletion_guard.rehydrate('acme', :'archive') ORDER BY relation::text;
SELECT relation, only_in_archive, only_live, different FROM deletion_guard.compare_tenant('acme', :'archive') ORDER BY relation::text;
SELECT relation, tenant FROM deletion_guard.guarded_table WHERE tenant IS NOT NULL ORDER BY relation::text;

-- Dump and restore of all of it.
DELETE FROM acme.post WHERE id > 8;
\! pg_dump -Fc -f "$ARCHIVE" regress_dg_tenant_schemas
CREATE DATABASE regress_dg_tenant_schemas_restored;
\! pg_restore -d regress_dg_tenant_schemas_restored "$ARCHIVE"
\c regress_dg_tenant_schemas_restored
SELECT relation, tenant FROM deletion_guard.guarded_table WHERE tenant IS NOT NULL ORDER BY relation::text;
TABLE deletion_guard.guarded_schema ORDER BY 1;
SELECT relation, tenant, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
CREATE TABLE acme.restored_later (id int);
SELECT relation, tenant FROM deletion_guard.guarded_table WHERE relation::text = 'acme.restored_later';
\c :maintenance_db
DROP DATABASE regress_dg_tenant_schemas_restored;
\c regress_dg_tenant_schemas
SET client_min_messages = warning;
\set VERBOSITY terse

-- Hundreds at once, and those to come: by the schema's name, or by a column of the tenant table.
ALTER TABLE client ADD lives_in name;
INSERT INTO client VALUES ('one', '1', 't_1'), ('two', '2', 't_2'), ('twin', '3', 't_3'), ('twin2', '3', 't_3'), ('soon', '4', 't_new');
CREATE SCHEMA t_1 CREATE TABLE item (id int);
CREATE SCHEMA t_2 CREATE TABLE item (id int);
CREATE SCHEMA t_3 CREATE TABLE item (id int);
CREATE SCHEMA t_4 CREATE TABLE item (id int);
CREATE SCHEMA u_5 CREATE TABLE item (id int);
SELECT * FROM deletion_guard.guard_schemas('t\_%', 'no_column');
SELECT * FROM deletion_guard.guard_schemas('t\_%', at_most => 0);
SELECT * FROM deletion_guard.guard_schemas('t\_%', NULL);
SELECT * FROM deletion_guard.guard_schemas('t\_%', 'lives_in', at_most => 1);
SELECT * FROM deletion_guard.guard_schemas('t\_%', 'lives_in');
SELECT * FROM deletion_guard.guard_schemas('u%');
SELECT * FROM deletion_guard.guard_schemas('%', include_future => false) WHERE schema_name !~ '^t_';
TABLE deletion_guard.schema_pattern ORDER BY 1;
SELECT relation, tenant FROM deletion_guard.guarded_table WHERE relation::text ~ '^[tu]_' ORDER BY relation::text;
SELECT object, ok, detail FROM deletion_guard.verify() WHERE check_name = 'guarded schemas';
CREATE SCHEMA t_new CREATE TABLE item (id int);
CREATE SCHEMA u_new;
CREATE TABLE u_new.item (id int);
CREATE SCHEMA t_unknown CREATE TABLE item (id int);   -- guarded, as nobody's
INSERT INTO t_unknown.item VALUES (1);
DELETE FROM t_unknown.item;
INSERT INTO client VALUES ('unknown', '5', 't_unknown');
CREATE TABLE t_unknown.item2 (id int);
SELECT relation, tenant FROM deletion_guard.guarded_table WHERE relation::text ~ 'new|unknown' ORDER BY relation::text;
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'guarded schemas' AND object = 't_unknown';
SELECT * FROM deletion_guard.guard_schemas('t\_%', 'lives_in') WHERE problem IS NULL;
SELECT relation, tenant FROM deletion_guard.guarded_table WHERE relation::text ~ 'unknown' ORDER BY relation::text;

-- A schema that another role makes is not enrolled by who could not have enrolled it.
CREATE ROLE regress_dg_patron;
CREATE ROLE regress_dg_stranger;
GRANT CREATE ON DATABASE regress_dg_tenant_schemas TO regress_dg_patron, regress_dg_stranger;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_patron;
GRANT EXECUTE ON FUNCTION deletion_guard.guard_schemas TO regress_dg_patron;
SET ROLE regress_dg_patron;
SELECT * FROM deletion_guard.guard_schemas('v%');
CREATE SCHEMA v_own CREATE TABLE item (id int);
SELECT * FROM deletion_guard.guard_schemas('t\_1', 'lives_in', include_future => false);
SET ROLE regress_dg_stranger;
CREATE SCHEMA v_other CREATE TABLE item (id int);
RESET ROLE;
SELECT relation, tenant FROM deletion_guard.guarded_table WHERE relation::text ~ '^v_' ORDER BY relation::text;
-- A schema made again is whose it is now.
DROP SCHEMA t_1 CASCADE;
UPDATE client SET lives_in = CASE schema_name WHEN 'one' THEN 'gone' ELSE 't_1' END WHERE schema_name IN ('one', 'two');
CREATE SCHEMA t_1 CREATE TABLE item (id int);
SELECT relation, tenant FROM deletion_guard.guarded_table WHERE relation::text ~ '^t_1' ORDER BY relation::text;

-- What is not there is not moved to what is not there either.
ALTER TABLE IF EXISTS nowhere SET SCHEMA no_such_schema;
DROP SCHEMA v_own, v_other CASCADE;
DROP OWNED BY regress_dg_patron, regress_dg_stranger;
DROP ROLE regress_dg_patron, regress_dg_stranger;
\c :maintenance_db
DROP DATABASE regress_dg_tenant_schemas;
