-- Code of owners that runs when a superuser brings rows back, compares or asks
-- leaves his session's settings as they were, and those that other owners' code
-- runs under: a search_path of theirs would make him run what they like.
CREATE DATABASE regress_dg_owner_settings;
\set maintenance_db :DBNAME
\c regress_dg_owner_settings
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
\set archive :dir 'owner_settings.dump'
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_setter;
CREATE ROLE regress_dg_victim;
CREATE SCHEMA evil AUTHORIZATION regress_dg_setter;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE SCHEMA hers AUTHORIZATION regress_dg_victim;
SET ROLE regress_dg_setter;
CREATE FUNCTION evil.set(v text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	PERFORM set_config('search_path', 'evil', false), set_config('work_mem', '77MB', false);
	RETURN true;
END $$;
CREATE DOMAIN evil.word AS text CHECK (evil.set(value));
CREATE TABLE evil.tenant (id evil.word PRIMARY KEY);
CREATE TABLE evil.note (id integer PRIMARY KEY, tenant_id evil.word, a text CHECK (evil.set(a)), b text GENERATED ALWAYS AS (CASE WHEN evil.set(a) THEN a END) STORED);
CREATE INDEX ON evil.note ((evil.set(a)));
CREATE FUNCTION evil.shout(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil.shout() as %', current_user; END $$;
SET ROLE regress_dg_victim;
CREATE FUNCTION hers.shout(text) RETURNS text LANGUAGE sql AS $$ SELECT upper($1) $$;
CREATE FUNCTION hers.loud(v text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN shout(v) = v; END $$;
SET search_path = hers, pg_catalog;
CREATE TABLE hers.cry (id integer PRIMARY KEY, tenant_id text, v text CHECK (hers.loud(v)));
RESET search_path;
RESET ROLE;
SELECT deletion_guard.set_tenant_table('evil.tenant', 'id');
SELECT deletion_guard.guard_table('evil.tenant', 'id');
SELECT deletion_guard.guard_table('evil.note', 'tenant_id');
SELECT deletion_guard.guard_table('hers.cry', 'tenant_id');
SET ROLE regress_dg_setter;
INSERT INTO evil.tenant VALUES ('t');
INSERT INTO evil.note VALUES (1, 't', 'x');
RESET ROLE;
SET search_path = hers, pg_catalog;
INSERT INTO hers.cry VALUES (1, 't', 'X');
\! pg_dump -Fc -f "${DIR}owner_settings.dump"
\c
SET client_min_messages = warning;
SET search_path = hers, pg_catalog;
CREATE FUNCTION pg_temp.settings() RETURNS text LANGUAGE sql AS $$
	SELECT pg_catalog.current_setting('search_path') || '; ' || pg_catalog.current_setting('work_mem')
$$;

DELETE FROM evil.note;
DELETE FROM hers.cry;
DELETE FROM evil.tenant;
SELECT pg_temp.settings();
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::evil.note, tenant => 't');
SELECT pg_temp.settings();
SELECT relation, restored FROM deletion_guard.undelete_tenant('t', dry_run => true) ORDER BY 1;
SELECT pg_temp.settings();
SELECT relation, restored FROM deletion_guard.undelete_tenant('t') ORDER BY 1;
SELECT pg_temp.settings();
SELECT relation, archive_rows, live_rows FROM deletion_guard.compare_tenant('t', :'archive') ORDER BY 1;
SELECT pg_temp.settings();
DELETE FROM evil.note;
DELETE FROM hers.cry;
DELETE FROM evil.tenant;
SELECT relation, restored FROM deletion_guard.rehydrate('t'::text, :'archive') ORDER BY 1;
SELECT pg_temp.settings();
SELECT matches FROM deletion_guard.drill(:'archive');
SELECT pg_temp.settings();
SELECT deletion_guard.hold_tenant('t', 'a lawsuit');
SELECT pg_temp.settings();

\c :maintenance_db
SET client_min_messages = warning;
DROP DATABASE regress_dg_owner_settings;
DROP ROLE regress_dg_setter, regress_dg_victim;
