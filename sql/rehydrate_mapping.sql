-- Rows come back under another tenant, or none; and guard_schema() does not take a preference for the tenant.
CREATE DATABASE regress_dg_rehydrate_mapping;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_mapping
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'mapping.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE users (id int PRIMARY KEY, email text);
CREATE TABLE dashboard (id int PRIMARY KEY, name text, creator_id int REFERENCES users ON DELETE CASCADE, made date DEFAULT '2026-01-01', ok bool);
CREATE TABLE widget (id int PRIMARY KEY, dashboard_id int NOT NULL REFERENCES dashboard ON DELETE CASCADE);
INSERT INTO users VALUES (1, 'a'), (2, 'b'), (3, 'c');
INSERT INTO dashboard SELECT n, 'd', 1 + n % 2, '2025-05-05', false FROM generate_series(1, 6) n;
INSERT INTO widget SELECT n, n FROM generate_series(1, 6) n;
SELECT deletion_guard.set_tenant_table('users', 'id', 'email');
SELECT * FROM deletion_guard.guard_schema('public', 'creator_id') ORDER BY relation::text;
\! pg_dump -Fc -f "${DIR}mapping.dump" -n public
\! pg_dump --inserts -f "${DIR}mapping.sql" -n public
DELETE FROM users WHERE id = 2;
CREATE FUNCTION refusal(columns jsonb, archive text, relations regclass[] = '{dashboard,widget}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d text;
	h text;
BEGIN
	PERFORM deletion_guard.rehydrate('2', archive, relations => relations,
		mapping => jsonb_build_object('public.dashboard', jsonb_build_object('columns', columns)));
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n', SQLSTATE || ': ' || SQLERRM, nullif(d, ''), nullif(h, ''));
END
$$;
SELECT refusal('{}', :'archive');
BEGIN;
SELECT relation, tenant, found, restored, problem FROM deletion_guard.rehydrate('2', :'archive', relations => '{dashboard,widget}',
	mapping => '{"public.dashboard": {"columns": {"creator_id": null, "made": null}}}') ORDER BY relation::text, tenant, problem;
SELECT * FROM dashboard WHERE creator_id IS DISTINCT FROM 1 ORDER BY id;
SELECT count(*) FROM widget;
ROLLBACK;
SELECT f, relation, tenant, found, restored, problem FROM unnest('{mapping.dump,mapping.sql}'::text[]) f, deletion_guard.rehydrate('2', :'dir' || f, relations => '{dashboard,widget}',
	on_conflict => 'skip', mapping => '{"public.dashboard": {"columns": {"creator_id": {"value": "3"}, "ok": {"value": true}, "made": {"value": null}, "name": {"column": "name", "value": 7.50}}}}')
ORDER BY f, relation::text, tenant, problem;
SELECT * FROM dashboard WHERE creator_id <> 1 ORDER BY id;
SELECT count(*) FROM widget;
SELECT tenant, rows FROM deletion_guard.deletion_detail WHERE relation = 'dashboard'::regclass;
DELETE FROM dashboard WHERE creator_id = 3;
SELECT tenant, rows FROM deletion_guard.deletion_detail WHERE relation = 'dashboard'::regclass ORDER BY 1;
-- Refused
SELECT refusal(m, :'archive') FROM unnest(ARRAY['{"creator_id": {"value": "77"}}', '{"creator_id": {"value": "x"}}', '{"creator_id": {}}', '{"creator_id": []}',
	'{"creator_id": {"value": []}}', '{"creator_id": {"column": "creator_id"}}', '{"creator_id": {"values": 3}}', '{"nothing": {"value": 3}}', '{"creator_id": 3}']::jsonb[]) m;

-- A preference that may be lost is not what tells a row's tenant, unless somebody says so.
CREATE SCHEMA app;
CREATE TABLE app.project (id int PRIMARY KEY);
CREATE TABLE app.users (id int PRIMARY KEY, "default project" int CONSTRAINT "a default" REFERENCES app.project ON DELETE SET NULL);
CREATE TABLE app.roles (user_id int REFERENCES app.users, project_id int REFERENCES app.project, PRIMARY KEY (user_id, project_id));
CREATE TABLE app.token (id int PRIMARY KEY, user_id int NOT NULL REFERENCES app.users);
CREATE TABLE app.bound (id int PRIMARY KEY, of_project int NOT NULL REFERENCES app.project ON DELETE SET NULL);
CREATE TABLE app.plain (id int PRIMARY KEY, of_project int REFERENCES app.project);
CREATE TABLE app.fallback (id int PRIMARY KEY, of_project int DEFAULT 1 REFERENCES app.project ON DELETE SET DEFAULT);
CREATE TABLE app.two (id int PRIMARY KEY, of_project int NOT NULL REFERENCES app.project, liked int REFERENCES app.project ON DELETE SET NULL);
SELECT deletion_guard.set_tenant_table('app.project', 'id');
SELECT * FROM deletion_guard.guard_schema('app', 'project_id') ORDER BY relation::text;
INSERT INTO app.project VALUES (1), (2);
INSERT INTO app.users VALUES (1, NULL), (2, 1);
INSERT INTO app.roles VALUES (1, 1), (2, 1), (1, 2);
\! pg_dump -Fc -f "${DIR}mapping.dump" -n app
DELETE FROM app.roles;
DELETE FROM app.users;
SELECT relation, found, restored FROM deletion_guard.rehydrate('1', :'archive', with_referenced => true) WHERE found > 0 ORDER BY relation::text;
SELECT deletion_guard.guard_table('app.users', tenant_path => '{"a default"}');
SELECT relation, tenant_source, problem FROM deletion_guard.guard_schema('app', 'project_id') WHERE relation = 'app.users'::regclass;

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_mapping;
