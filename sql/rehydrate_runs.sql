-- Many tenants in transactions of their own, and rehearsals.
CREATE DATABASE regress_dg_rehydrate_runs;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_runs
\getenv srcdir PG_ABS_SRCDIR
\getenv builddir PG_ABS_BUILDDIR
\set tracker :srcdir '/test/sql/tracker.sql'
\set dir :builddir '/results/'
\set archive :dir 'runs.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :tracker
\set ECHO all
CREATE TABLE before AS SELECT * FROM everything;
\! pg_dump -Fc -f "${DIR}runs.dump" -n public

-- One of the tenants cannot come back; those before it stay, and it goes on from there.
SELECT lose(1), lose(2), lose(3);
INSERT INTO site VALUES (4, 'site 4');
INSERT INTO project (id, site_id, title) VALUES (3, 4, 'mine now');
RESET client_min_messages;
\set VERBOSITY terse
CALL deletion_guard.rehydrate_each('{1,2,3}', :'archive', 'incident 7');
SELECT DISTINCT site FROM everything ORDER BY 1;
SELECT run, tenant, rows FROM deletion_guard.rehydration_record ORDER BY tenant;
UPDATE project SET id = 100 WHERE id = 3;
CALL deletion_guard.rehydrate_each('{1,2,3}', :'archive', 'incident 7');
SELECT run, tenant, rows FROM deletion_guard.rehydration_record ORDER BY tenant;
CALL deletion_guard.rehydrate_each('{1,2,3}', :'archive', 'incident 7');
CALL deletion_guard.rehydrate_each('{1,2,3}', :'archive', 'another', tenants_at_once => 2);
TABLE before EXCEPT TABLE everything;
SELECT lose(2);
CALL deletion_guard.rehydrate_each('{1,2,3}', :'archive', 'a third', on_conflict => 'skip', tenants_at_once => 10);
SELECT relation, found FROM deletion_guard_internal.rehydrate_once('a third', '{1,2}', :'archive');
CALL deletion_guard.rehydrate_each('{1,2,3}', :'archive', NULL);
CALL deletion_guard.rehydrate_each('{1,2,3}', :'archive', 'x', tenants_at_once => 0);
BEGIN;
CALL deletion_guard.rehydrate_each('{1}', :'archive', 'x');
ROLLBACK;
DELETE FROM deletion_guard.rehydration_record;  -- fails
\set VERBOSITY default
SET client_min_messages = warning;
SELECT failure(format('SELECT deletion_guard_internal.rehydrate_once(%L, ''{1}'', %L)', run, :'archive'), :'dir') FROM unnest('{NULL}'::text[]) run;

-- A rehearsal leaves nothing but its result.
SELECT tenant, rows, seconds > 0 AS timed, matches, problem FROM deletion_guard.drill(:'archive', '{1,3}', left_out => 'report') ORDER BY tenant;
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'archive', left_out => 'report') ORDER BY tenant;
SELECT count(*) FROM deletion_guard.drill(:'archive', sample => 2, left_out => 'report');
SELECT count(DISTINCT tenant) > 1 AS tenants, count(*), bool_and(matches) FROM deletion_guard.drill_result;
SELECT count(*) FROM pg_namespace WHERE nspname ~ 'drill';
-- What would stand in the way of the real thing shows.
SET session_replication_role = replica;
DELETE FROM label WHERE id = 1;
RESET session_replication_role;
SELECT tenant, rows, matches, replace(problem, :'dir', '...') AS problem FROM deletion_guard.drill(:'archive', '{2,4}') ORDER BY tenant;
ALTER TABLE project ADD CHECK (title <> 'project 2') NOT VALID;
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'archive', '{2}');
ALTER TABLE project DROP CONSTRAINT project_title_check;
SELECT failure(format('SELECT deletion_guard.drill(%L, sample => 0)', :'archive'), :'dir');
SELECT failure('SELECT deletion_guard.drill(NULL)', '');
SELECT failure(format('SELECT deletion_guard.drill(%L, ''{x}'')', :'archive'), :'dir');
SELECT count(*) FROM deletion_guard.drill_result WHERE NOT matches;

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_runs;
\! rm -f "${DIR}runs.dump"
