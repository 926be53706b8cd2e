-- What owners of tables could plant in them, for whoever brings their rows back
-- from an archive: nothing of it runs with the rights of a superuser.
CREATE DATABASE regress_dg_hostile_archive;
\set maintenance_db :DBNAME
\c regress_dg_hostile_archive
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'hostile.dump'
\set rows_only :dir 'hostile_rows.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_hostile_owner;
CREATE ROLE regress_dg_hostile_other;
CREATE SCHEMA shop;
GRANT USAGE, CREATE ON SCHEMA shop TO regress_dg_hostile_owner, regress_dg_hostile_other;
-- Says so where it runs as a superuser.
CREATE FUNCTION shop.note(place text) RETURNS integer LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog AS $$
BEGIN
	IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AND
		coalesce(current_setting('shop.armed', true), '') = 'yes' THEN
		RAISE WARNING '% runs as a superuser', place;
	END IF;
	RETURN 1;
END $$;
-- A key whose type checks what it reads.
SET ROLE regress_dg_hostile_owner;
CREATE DOMAIN shop.small AS integer CHECK (shop.note('domain') = 1 AND VALUE < 1000);
CREATE TYPE shop.key AS (id shop.small);
CREATE TABLE shop.tenant (id shop.key PRIMARY KEY, name text);
CREATE TABLE shop.color (id shop.key PRIMARY KEY, name text);
CREATE TABLE shop.issue (id integer PRIMARY KEY, tenant_id shop.key CONSTRAINT issue_tenant REFERENCES shop.tenant,
	color shop.key REFERENCES shop.color, CHECK (shop.note('check') = 1));
GRANT REFERENCES, SELECT ON shop.issue TO regress_dg_hostile_other;
RESET ROLE;
-- Another's, on the same way.
SET ROLE regress_dg_hostile_other;
CREATE TABLE shop.remark (id integer PRIMARY KEY, issue_id integer CONSTRAINT remark_issue REFERENCES shop.issue, note shop.key);
CREATE INDEX ON shop.remark ((shop.note('index of remark')));
RESET ROLE;
SET ROLE regress_dg_hostile_owner;
CREATE INDEX ON shop.tenant ((shop.note('index of tenant')));
CREATE INDEX ON shop.color ((shop.note('index of color')));
CREATE INDEX ON shop.issue ((shop.note('index of issue')));
RESET ROLE;
INSERT INTO shop.tenant SELECT row(i)::shop.key, 'tenant ' || i FROM generate_series(1, 3) i;
INSERT INTO shop.color SELECT row(i)::shop.key, 'color ' || i FROM generate_series(1, 3) i;
INSERT INTO shop.issue SELECT i, row(i)::shop.key, row(i)::shop.key FROM generate_series(1, 3) i;
INSERT INTO shop.remark SELECT i, i, row(i)::shop.key FROM generate_series(1, 3) i;
SELECT deletion_guard.set_tenant_table('shop.tenant', 'id', 'name');
SELECT deletion_guard.guard_table('shop.tenant', 'id');
SELECT deletion_guard.guard_table('shop.issue', 'tenant_id');
SELECT deletion_guard.guard_table('shop.remark', tenant_path => '{remark_issue}');
\! pg_dump -Fc -n shop -f "${DIR}hostile.dump"
\! pg_dump -Fc -a -t shop.remark -f "${DIR}hostile_rows.dump"

-- The planner evaluates what is in an index once in each session, so each call
-- has one of its own. The parents of these rows are live only: of two owners.
\c -
SET client_min_messages = warning;
DELETE FROM shop.remark;
\c -
SET client_min_messages = warning;
SET shop.armed = 'yes';
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('(2)', :'rows_only') WHERE tenant IS NOT NULL ORDER BY relation::text;
\c -
SET client_min_messages = warning;
SET shop.armed = 'yes';
SELECT relation, only_in_archive, only_live, different FROM deletion_guard.compare_tenant('(2)', :'rows_only') ORDER BY relation::text;

-- The whole tenant, and what its rows refer to.
SET shop.armed = 'no';
DELETE FROM shop.remark; DELETE FROM shop.issue; DELETE FROM shop.tenant; DELETE FROM shop.color;
\c -
SET client_min_messages = warning;
SET shop.armed = 'yes';
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('(2)', :'archive', with_referenced => true)
WHERE found > 0 ORDER BY relation::text;
\c -
SET client_min_messages = warning;
SET shop.armed = 'yes';
SELECT relation, only_in_archive, only_live, different FROM deletion_guard.compare_tenant('(2)', :'archive') ORDER BY relation::text;

-- Copies of the tables bring their code along, so they belong to the same roles.
\c -
SET client_min_messages = warning;
SET shop.armed = 'yes';
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('(2)', :'archive', into_schema => 'look')
WHERE found > 0 ORDER BY relation::text;
SELECT relname, relowner::regrole FROM pg_class WHERE relnamespace = 'look'::regnamespace AND relkind = 'r' ORDER BY 1;
SELECT has_schema_privilege(r, 'look', 'CREATE') AS may_create FROM unnest('{regress_dg_hostile_owner,regress_dg_hostile_other}'::name[]) r;
\c -
SET client_min_messages = warning;
SET shop.armed = 'yes';
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'archive', '{(2)}');
-- All of the parents are live again.
\c -
SET client_min_messages = warning;
SET shop.armed = 'no';
SELECT sum(restored) FROM deletion_guard.rehydrate('{(1),(3)}'::text[], :'archive', with_referenced => true) WHERE tenant IS NOT NULL;
\c -
SET client_min_messages = warning;
SET shop.armed = 'yes';
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'rows_only', '{(2)}');
-- A column that had another type is read as that one.
SET shop.armed = 'no';
DELETE FROM shop.remark;
ALTER TABLE shop.remark ALTER note TYPE text USING note::text;
\c -
SET client_min_messages = warning;
SET shop.armed = 'yes';
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('(2)', :'archive', '{shop.remark}') WHERE found > 0;

\c :maintenance_db
DROP DATABASE regress_dg_hostile_archive;
DROP ROLE regress_dg_hostile_owner, regress_dg_hostile_other;
