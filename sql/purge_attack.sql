-- Attempts to get a purge that nobody has signed, by those who have much: SQL rights, or a token for something else.
CREATE DATABASE regress_dg_purge_attack;
\set maintenance_db :DBNAME
\c regress_dg_purge_attack
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
\set shop :srcdir '/test/sql/shop.sql'
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\i :shop
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
SET deletion_guard.retention = '0';
\set VERBOSITY terse

-- Tenants of similar names: Latin, Cyrillic, composed, decomposed, with a blank, in other letters, with what does not show
INSERT INTO tenant VALUES (11, 'Acme', NULL), (12, U&'\0410cme', NULL), (13, U&'Caf\00e9', NULL), (14, U&'Cafe\0301', NULL),
	(15, 'Acme ', NULL), (16, 'ACME', NULL), (17, U&'Ac\200bme', NULL), (18, '', NULL);
DELETE FROM tenant WHERE id > 10;
CREATE TABLE claims AS SELECT id, deletion_guard.request_purge(id::text, 'similar') AS claims FROM generate_series(11, 18) id;
-- A token for one of them, with the name of another, is one for none.
SELECT count(*) AS tried, count(*) FILTER (WHERE state = 'TG030') AS refused FROM claims a, claims b,
	signing.sign(a.claims || jsonb_build_object('tenant_name', b.claims->'tenant_name')) t,
	signing.refusal(format('SELECT deletion_guard.purge(%L)', t)) WHERE a.id <> b.id;
-- Keys that are padded, or that their type calls equal: one tenant, under the key that its row has
CREATE TABLE padded (key char(6) PRIMARY KEY, name text);
CREATE COLLATION deaf (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
CREATE TABLE deaf (key text COLLATE deaf PRIMARY KEY, name text);
SELECT deletion_guard.guard_table('padded', 'key'), deletion_guard.guard_table('deaf', 'key');
INSERT INTO padded VALUES ('a', 'Padded');
INSERT INTO deaf VALUES ('Jose', 'Deaf');
DELETE FROM padded;
DELETE FROM deaf;
SELECT deletion_guard.set_tenant_table('padded', 'key', 'name');
SELECT tenant, length(tenant) FROM deletion_guard.deletion_detail WHERE relation = 'padded'::regclass;
SELECT deletion_guard.request_purge('a', 'not as the row has it')->'tenant' AS key;
SELECT deletion_guard.request_purge('a     ', 'as the row has it')->'rows' AS rows;
INSERT INTO padded VALUES ('a', 'Padded again');
SELECT deletion_guard.request_purge('a     ', 'its live row')->'tenant_name' AS name;
SELECT deletion_guard.set_tenant_table('deaf', 'key', 'name');
SELECT deletion_guard.request_purge('JOSE', 'equal to the type')->'tenant' AS key;
INSERT INTO deaf VALUES ('JOSE', 'Live');
SELECT deletion_guard.request_purge('Jose', 'it lives again')->'tenant_name' AS name;
SELECT tenant, tenant_name FROM deletion_guard.deletion_detail WHERE tenant = 'Jose';
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name', 'email');

-- Operators and functions of the caller's own, in front of the server's
DELETE FROM tenant WHERE id IN (1, 2);
SELECT deletion_guard.request_purge('1', 'contract ended') AS claims1 \gset
SELECT deletion_guard.request_purge('2', 'contract ended') AS claims2 \gset
SELECT signing.sign(:'claims1') AS token1, signing.sign(:'claims1'::jsonb || '{"tenant": "2", "tenant_name": "Birch"}') AS token2 \gset
CREATE SCHEMA evil;
CREATE FUNCTION evil.yes(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, PROCEDURE = evil.yes);
CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, PROCEDURE = evil.yes);
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS $$SELECT 'infinity'::timestamptz$$;
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$SELECT 'infinity'::timestamptz$$;
CREATE FUNCTION evil.format(text, VARIADIC "any") RETURNS text LANGUAGE internal AS 'text_format';
CREATE TEMP TABLE hold AS SELECT 1;
CREATE TEMP TABLE deletion_part AS SELECT 1;
SELECT signing.state() AS before \gset
SET search_path = evil, pg_temp, public, pg_catalog;
SELECT deletion_guard.purge(:'token2');  -- fails
SELECT pg_catalog.split_part(problem, E'\n', 1) FROM deletion_guard.check_token(:'token2');
SELECT rows_reviewed FROM deletion_guard.purge_plan(1);
RESET search_path;
DROP SCHEMA evil CASCADE;
SELECT signing.state() = :'before' AS nothing_changed;

-- A function with another's rights, and roles that are set: the token decides, not who shows it.
CREATE ROLE regress_dg_purger;
CREATE ROLE regress_dg_user;
GRANT EXECUTE ON FUNCTION deletion_guard.purge, deletion_guard.check_token TO regress_dg_purger;
CREATE FUNCTION purge_for_me(token text) RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS 'SELECT deletion_guard.purge($1)';
ALTER FUNCTION purge_for_me OWNER TO regress_dg_purger;
SET ROLE regress_dg_user;
SELECT deletion_guard.purge(:'token1');  -- fails
SELECT purge_for_me(:'token2');  -- fails
SELECT purge_for_me('eyJhbGciOiJub25lIiwia2lkIjoibGVnYWwifQ.e30.');  -- fails
SET ROLE regress_dg_purger;
-- What the errors tell such a role: nothing of a request or a tenant unless the token is genuine
SELECT problem, claims FROM deletion_guard.check_token(regexp_replace(:'token1', '.{8}$', 'AAAAAAAA'));
SELECT deletion_guard.request_purge('1', 'x');  -- fails
SELECT * FROM deletion_guard.purge_request;  -- fails
SELECT * FROM deletion_guard.authority;  -- fails
SELECT deletion_guard.purge_certificate(1);  -- fails
SELECT deletion_guard.deleted_rows(NULL::tenant);  -- fails
RESET ROLE;

-- Taken back: by a savepoint, an exception, a transaction that was prepared. The token is then unused.
BEGIN;
SAVEPOINT s;
SELECT deletion_guard.purge(:'token1')->'rows' AS rows;
ROLLBACK TO s;
SELECT ok, problem FROM deletion_guard.check_token(:'token1');
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::tenant, '1');
COMMIT;
BEGIN;
SELECT deletion_guard.purge(:'token1')->'rows' AS rows;
PREPARE TRANSACTION 'regress_dg_purge_attack';
-- Everybody else waits for it.
SET lock_timeout = '50ms';
SELECT deletion_guard.purge(:'token1');  -- fails
SELECT deletion_guard.hold_tenant('1', 'too late');  -- fails
SELECT deletion_guard.undelete_tenant('1');  -- fails
RESET lock_timeout;
ROLLBACK PREPARED 'regress_dg_purge_attack';
SELECT signing.state() = :'before' AS nothing_changed;
BEGIN;
SELECT deletion_guard.purge(:'token1') AS certificate \gset
PREPARE TRANSACTION 'regress_dg_purge_attack';
COMMIT PREPARED 'regress_dg_purge_attack';
SELECT ok, problem FROM deletion_guard.verify_certificate(:'certificate');
SELECT deletion_guard.purge(:'token1');  -- fails

-- The catalogs that say what the extension is and has are not written by hand.
UPDATE pg_namespace SET nspname = 'mine' WHERE nspname = 'deletion_guard';  -- fails
UPDATE pg_extension SET extname = 'mine' WHERE extname = 'deletion_guard';  -- fails
UPDATE pg_attribute SET attname = 'mine' WHERE attrelid = 'deletion_guard.hold'::regclass AND attname = 'released_at';  -- fails
DELETE FROM pg_rewrite WHERE ev_class = 'deletion_guard.purge_request'::regclass;  -- fails
DELETE FROM pg_constraint WHERE conrelid = 'deletion_guard.used_token'::regclass;  -- fails
INSERT INTO pg_inherits VALUES ('claims'::regclass, 'deletion_guard.deletion_part'::regclass, 1, false);  -- fails
UPDATE pg_operator SET oprcode = 'textne' WHERE oid = '=(text,text)'::regoperator;  -- fails
UPDATE pg_type SET typoutput = 'textout' WHERE typname = 'int4';  -- fails
UPDATE pg_database SET datconnlimit = -1 WHERE datname = current_database();  -- fails

-- What the configuration asks for cannot be lowered in a session.
ALTER DATABASE regress_dg_purge_attack SET deletion_guard.approvals = 2;
SELECT signing.sign(:'claims2') AS token \gset
\c -
\set VERBOSITY terse
SET client_min_messages = warning;
SET deletion_guard.approvals = 1;
SELECT deletion_guard.purge(:'token');  -- fails
ALTER DATABASE regress_dg_purge_attack RESET deletion_guard.approvals;

-- A copy of the database, under its name: none of its tokens.
\c -
SET client_min_messages = warning;
SELECT ok, split_part(problem, E'\n', 1) AS problem FROM deletion_guard.check_token(:'token');
\c :maintenance_db
CREATE DATABASE regress_dg_purge_copy TEMPLATE regress_dg_purge_attack;
ALTER DATABASE regress_dg_purge_attack RENAME TO regress_dg_purge_original;
ALTER DATABASE regress_dg_purge_copy RENAME TO regress_dg_purge_attack;
\c regress_dg_purge_attack
SELECT ok, split_part(problem, E'\n', 1) AS problem FROM deletion_guard.check_token(:'token');
\c regress_dg_purge_original
SELECT ok, split_part(problem, E'\n', 1) AS problem FROM deletion_guard.check_token(:'token');
\c :maintenance_db
DROP DATABASE regress_dg_purge_attack;
ALTER DATABASE regress_dg_purge_original RENAME TO regress_dg_purge_attack;
\c regress_dg_purge_attack
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT (deletion_guard.purge(:'token'))->'rows' AS rows;
SELECT ok, problem FROM deletion_guard.verify_ledger();

-- What parallel plans are made of does not matter.
SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SET deletion_guard.retention = '0';
DELETE FROM tenant WHERE id = 3;
SELECT (deletion_guard.purge(signing.sign(deletion_guard.request_purge('3', 'in parallel'))))->'rows' AS rows;

DROP OWNED BY regress_dg_purger, regress_dg_user;
DROP ROLE regress_dg_purger, regress_dg_user;
\c :maintenance_db
DROP DATABASE regress_dg_purge_attack;
