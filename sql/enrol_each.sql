-- What keeps one table of a schema from being guarded keeps no other from it.
CREATE DATABASE regress_dg_enrol_each;
\set maintenance_db :DBNAME
\c regress_dg_enrol_each
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_each;
CREATE SCHEMA app AUTHORIZATION regress_dg_each;
DO $$ BEGIN
	EXECUTE (SELECT format('CREATE TABLE app.a_wide (id integer PRIMARY KEY, tenant integer, %s)', string_agg('c' || n || ' boolean', ', '))
		FROM generate_series(1, 1596) n);
END $$;
CREATE TABLE app.b_narrow (id integer PRIMARY KEY, tenant integer);
CREATE TABLE app.c_foreign (id integer PRIMARY KEY, tenant integer);
CREATE TABLE app.d_last (id integer PRIMARY KEY, tenant integer);
CREATE TABLE app.e_child (id integer PRIMARY KEY, parent integer REFERENCES app.d_last);
INSERT INTO app.a_wide (id, tenant) VALUES (1, 1);
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA deletion_guard TO regress_dg_each;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_each;
ALTER TABLE app.a_wide OWNER TO regress_dg_each;
ALTER TABLE app.b_narrow OWNER TO regress_dg_each;
ALTER TABLE app.d_last OWNER TO regress_dg_each;
ALTER TABLE app.e_child OWNER TO regress_dg_each;
SET ROLE regress_dg_each;
SELECT * FROM deletion_guard.guard_schema('app', 'tenant') ORDER BY relation::text;
RESET ROLE;
SELECT relation FROM deletion_guard.guarded_table ORDER BY 1;
SELECT deletion_guard.guard_table('app.a_wide', 'tenant');  -- fails for the same reason
DELETE FROM app.a_wide;                                     -- is not guarded

/*
 * So it is with a table that comes later.
 */
DO $$ BEGIN
	EXECUTE (SELECT format('CREATE TABLE app.f_wide (id integer PRIMARY KEY, tenant integer, %s)', string_agg('c' || n || ' boolean', ', '))
		FROM generate_series(1, 1596) n);
END $$;
CREATE TABLE app.g_narrow (id integer PRIMARY KEY, tenant integer);
DELETE FROM app.f_wide;
SELECT relation FROM deletion_guard.guarded_table ORDER BY 1;

\c :maintenance_db
DROP DATABASE regress_dg_enrol_each;
DROP ROLE regress_dg_each;
