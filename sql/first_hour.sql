-- What misled people in their first hour.
CREATE DATABASE regress_dg_first_hour;
\set maintenance_db :DBNAME
\c regress_dg_first_hour
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_hour_restorer;
RESET client_min_messages;
CREATE TABLE site (id integer PRIMARY KEY, name text);
CREATE TABLE issue (id integer PRIMARY KEY, site_id integer NOT NULL REFERENCES site ON DELETE CASCADE, title text);
CREATE TABLE country (code text PRIMARY KEY);
CREATE TABLE scratch (line text);
INSERT INTO site VALUES (1, 'one'), (2, 'two');
INSERT INTO issue VALUES (1, 1, 'a'), (2, 2, 'b');
SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
SELECT * FROM deletion_guard.guard_schema('public', 'site_id');

-- Tables that it could not place are named until somebody decides.
SELECT * FROM deletion_guard.unguarded_table ORDER BY 1;
SELECT unguarded_tables FROM deletion_guard.status;
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'unguarded tables';
SELECT deletion_guard.guard_table('country'); -- rows of no tenant
SELECT deletion_guard.leave_unguarded('scratch');
SELECT deletion_guard.leave_unguarded('scratch');
SELECT deletion_guard.leave_unguarded('issue'); -- fails
SELECT ok, detail FROM deletion_guard.verify() WHERE check_name = 'unguarded tables';
SELECT * FROM deletion_guard.guard_schema('public', 'site_id');
CREATE TABLE later (line text);
SELECT relation FROM deletion_guard.unguarded_table;
DROP TABLE later;
ALTER TABLE scratch RENAME TO renamed; -- is another table
SELECT relation FROM deletion_guard.unguarded_table;
ALTER TABLE renamed RENAME TO scratch;
ALTER SCHEMA public RENAME TO other; -- is followed
CREATE SCHEMA public;
DROP SCHEMA public;
ALTER SCHEMA other RENAME TO public;
SELECT schema_name, table_name FROM deletion_guard.left_unguarded;

-- What unguard_table() took off, guard_schema() does not put on again; guard_table() does.
SELECT deletion_guard.unguard_table('issue');
SELECT * FROM deletion_guard.guard_schema('public', 'site_id');
SELECT * FROM deletion_guard.unguarded_table ORDER BY 1;
SELECT deletion_guard.guard_table('issue', 'site_id');
SELECT schema_name, table_name FROM deletion_guard.left_unguarded;
SELECT relation, problem FROM deletion_guard.guard_schema('public', 'site_id');

-- A restorer is told what to ask for.
SET client_min_messages = warning;
GRANT EXECUTE ON FUNCTION deletion_guard.undelete TO regress_dg_hour_restorer;
RESET client_min_messages;
DELETE FROM site WHERE id = 1;
SELECT max(id) AS id FROM deletion_guard.deletion \gset
SET ROLE regress_dg_hour_restorer;
SELECT * FROM deletion_guard.undelete(:id); -- fails
RESET ROLE;

-- Twice is not the same as never.
SELECT relation, restored FROM deletion_guard.undelete(:id);
SELECT relation, restored FROM deletion_guard.undelete(:id); -- fails
\set VERBOSITY terse
SELECT * FROM deletion_guard.undelete(1234567); -- fails
SELECT * FROM deletion_guard.undelete_transaction(1234567); -- fails
\set VERBOSITY default

-- A table that was dropped has a name.
SET deletion_guard.ddl = keep;
DROP TABLE issue;
RESET deletion_guard.ddl;
SELECT regexp_replace(relation::text, '\d+', 'N') AS relation, relation_name, tenant, rows FROM deletion_guard.deletion_detail
WHERE rows > restored ORDER BY tenant;

-- What to sign, for every act.
SELECT act, deletion_guard.claims(act, object, 'asked for') - 'aud' AS claims
FROM (VALUES ('annul_purge', '3'), ('release_hold', '4'), ('set_approvals', '2'), ('retire_authority', 'legal'),
	('unguard', 'extension deletion_guard')) v (act, object);
SELECT deletion_guard.claims('set_approvals', '2') ->> 'aud' = deletion_guard.audience() AS aud,
	(deletion_guard.claims('unguard', 'site') ->> 'relation_id')::oid = 'site'::regclass AS oid;
SELECT deletion_guard.claims('add_authority', 'legal', public_key =>
	'{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}') - 'aud' AS claims;
\set VERBOSITY terse
SELECT deletion_guard.claims('add_authority', 'legal'); -- fails
SELECT deletion_guard.claims('purge', '1'); -- fails
SELECT deletion_guard.claims('annul_purge', 'x'); -- fails
SELECT deletion_guard.claims('unguard', NULL); -- fails
\set VERBOSITY default
SELECT deletion_guard.purge_of('(1,one)'); -- fails
SELECT deletion_guard.purge_of('(1,one)'::site);
SELECT deletion_guard.purge_of(s) FROM site s ORDER BY id;
-- In a session that has not loaded the library a ceiling can be set in appearance only.
GRANT DELETE, SELECT ON site TO regress_dg_hour_restorer;
ALTER DATABASE regress_dg_first_hour SET deletion_guard.max_tenants = 1;
\c regress_dg_first_hour
SET SESSION AUTHORIZATION regress_dg_hour_restorer;
SET deletion_guard.max_tenants = 0;
\set VERBOSITY terse
DELETE FROM site; -- fails
SHOW deletion_guard.max_tenants;
SET deletion_guard.max_tenants = 0; -- fails
\c :maintenance_db
DROP DATABASE regress_dg_first_hour;
DROP ROLE regress_dg_hour_restorer;
