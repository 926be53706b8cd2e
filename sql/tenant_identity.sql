-- One tenant, however its key is written: what the key's type calls equal.
CREATE DATABASE regress_dg_tenant_identity TEMPLATE template0 ENCODING 'UTF8';
\set maintenance_db :DBNAME
\c regress_dg_tenant_identity
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE SCHEMA ext;
CREATE EXTENSION citext SCHEMA ext;
CREATE EXTENSION isn SCHEMA ext;
CREATE EXTENSION ltree SCHEMA ext;
\set ECHO none
\i :signing
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
SET deletion_guard.retention = '0';
CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
\set VERBOSITY terse

-- Types whose equal values are written in several ways, and some whose are not: each with a table of tenants and one of their rows.
CREATE DOMAIN name_of_tenant AS ext.citext CHECK (VALUE <> '');
CREATE TABLE kind (kind text PRIMARY KEY, type text, referring text, key text, other text, third text, argument text);
INSERT INTO kind VALUES
	('num', 'numeric', 'numeric', '42', '42.0', '42.00', '42.000'),
	('pad', 'char(5)', 'char(8)', 'ab', 'ab', 'ab', 'ab'),
	('flo', 'float8', 'float8', '0', '-0', '0', '-0.0'),
	('ivl', 'interval', 'interval', '1 day', '24:00', '1 day', '24 hours'),
	('nde', 'text COLLATE caseless', 'text COLLATE caseless', 'Zed', 'zed', 'ZED', 'zEd'),
	('cit', 'ext.citext', 'ext.citext', 'Cit', 'cit', 'CIT', 'cIt'),
	('dom', 'name_of_tenant', 'name_of_tenant', 'Dom', 'dom', 'DOM', 'dOm'),
	('isn', 'ext.isbn13', 'ext.isbn', '978-0-306-40615-7', '0-306-40615-2', '0306406152', '9780306406157'),
	('ltr', 'ext.ltree', 'ext.ltree', 'a.b', 'a.b', 'a.b', 'a.b'),
	('jso', 'jsonb', 'jsonb', '{"a": 1}', '{"a": 1.0}', '{"a": 1.00}', '{"a":1}'),
	('arr', 'ext.citext[]', 'ext.citext[]', '{A,b}', '{a,b}', '{A,B}', '{a,B}'),
	('int', 'integer', 'bigint', '7', '7', '7', '7'),
	('txt', 'text', 'varchar', 'seven', 'seven', 'seven', 'seven');
SELECT format('CREATE TABLE %s_org (id %s PRIMARY KEY, name text)', kind, type),
	format('CREATE TABLE %s_row (id integer PRIMARY KEY, org %s REFERENCES %1$s_org ON DELETE CASCADE)', kind, referring),
	format('INSERT INTO %s_org VALUES (%L, %1$L)', kind, key),
	format('INSERT INTO %s_row VALUES (1, %L), (2, %L)', kind, other, third),
	format('SELECT deletion_guard.guard_table(%L, %L), deletion_guard.guard_table(%L, %L)', kind || '_org', 'id', kind || '_row', 'org')
FROM kind ORDER BY kind \gexec
SELECT format('DELETE FROM %s_org', kind) FROM kind ORDER BY kind \gexec
SELECT id, rows, tenants FROM deletion_guard.deletion ORDER BY id;
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail ORDER BY deletion_id, 1, 2;
SELECT k.kind, r.relation, r.tenant, r.restored FROM kind k, deletion_guard.undelete_tenant(argument) r ORDER BY 1, 2;
SELECT count(*) AS left_over FROM deletion_guard.deletion_detail WHERE rows <> restored;
SELECT org FROM num_row ORDER BY id;  -- rows are what they were

-- The same with a tenant table: its spelling, its name, in every room.
SELECT deletion_guard.set_tenant_table('cit_org', 'id', 'name');
DELETE FROM cit_row WHERE id = 1;
DELETE FROM cit_row WHERE id = 2;
SELECT deletion_id, relation, tenant, tenant_name, rows FROM deletion_guard.deletion_detail WHERE rows > restored ORDER BY 1;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::cit_row, 'CIT');
SELECT deletion_guard_internal.same_tenant('cit', 'CIT') AS same, deletion_guard_internal.same_tenant('cit', 'kit') AS other, (deletion_guard.tenant_label('CIT')).*;
-- Ceilings and expectations
INSERT INTO cit_row VALUES (3, 'cit'), (4, 'CIT');
BEGIN;
SET LOCAL deletion_guard.max_tenants = 1;
SET LOCAL deletion_guard.expect_tenants = 'ciT';
DELETE FROM cit_row;
ROLLBACK;
INSERT INTO cit_org VALUES ('Other', 'other');
INSERT INTO cit_row VALUES (5, 'OTHER');
SELECT relation, tenant, rows, effect FROM deletion_guard.preview('DELETE FROM cit_row') ORDER BY 1, 2;
BEGIN;
SET LOCAL deletion_guard.expect_tenants = 'ciT';
DELETE FROM cit_row;  -- fails
ROLLBACK;
BEGIN;
SET LOCAL deletion_guard.max_tenants = 1;
DELETE FROM cit_row;  -- fails
ROLLBACK;
-- Holds, requests, purges
SELECT deletion_guard.hold_tenant('CIT', 'a case') AS hold \gset
SELECT tenant FROM deletion_guard.hold;
SELECT claims->'tenant' AS tenant, claims->'tenant_name' AS name, claims->'rows' AS rows, signing.sign(claims) AS token
FROM deletion_guard.request_purge('cIT', 'contract ended') claims \gset
SELECT :'tenant' AS tenant, :'name' AS name, :'rows' AS rows;
SELECT on_hold FROM deletion_guard.purge_request;
SELECT bool_and(on_hold) FROM deletion_guard.purge_plan(1);
SELECT deletion_guard.purge(:'token');  -- fails
SELECT claims->'rows' AS rows FROM deletion_guard.request_purge_by_age(ARRAY['cit_row']::regclass[], 'old') claims;  -- fails
SELECT deletion_guard.release_hold(:hold, signing.sign(jsonb_build_object('act', 'release_hold', 'aud', deletion_guard.audience(), 'hold', :hold)));
SELECT deletion_guard.purge(:'token')->'rows' AS rows;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::cit_row);
SELECT deletion_guard.purge_of(r) IS NOT NULL AS purged FROM (VALUES (1), (2), (3)) v(id), LATERAL (SELECT v.id, 'x'::ext.citext) x(id, org), LATERAL (SELECT (x.id, x.org)::cit_row AS r) r ORDER BY v.id;

-- A tenant table does not decide for tables that cannot refer to it, nor they for others: '7' and '7.0' are two tenants of text and one of numeric.
DELETE FROM txt_row;
INSERT INTO txt_org VALUES ('7', 'Seven'), ('7.0', 'Seven point nought');
SELECT deletion_guard.set_tenant_table('txt_org', 'id', 'name');
INSERT INTO txt_row VALUES (1, '7'), (2, '7.0');
INSERT INTO num_org VALUES (7);
INSERT INTO num_row VALUES (3, 7.0), (4, 7);
DELETE FROM txt_row;
DELETE FROM num_row WHERE org = 7;
SELECT relation, tenant, tenant_name, rows FROM deletion_guard.deletion_detail WHERE rows > restored + purged ORDER BY 1, 2;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::txt_row, '7');
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::num_row, '7');
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::num_row, '7.00');
SELECT claims->'rows' AS rows FROM deletion_guard.request_purge('7', 'one of the two') claims;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('7') ORDER BY 1, 2;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('7.0') ORDER BY 1, 2;

-- A collation that a table's owner made says nothing of others' tenants, and of his own only where a superuser made it.
CREATE ROLE regress_dg_tenant_owner;
CREATE SCHEMA theirs AUTHORIZATION regress_dg_tenant_owner;
GRANT EXECUTE ON FUNCTION deletion_guard.guard_table TO regress_dg_tenant_owner;
SET ROLE regress_dg_tenant_owner;
CREATE COLLATION theirs.all_alike (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
CREATE TABLE theirs.row (id integer PRIMARY KEY, org text COLLATE theirs.all_alike);
SELECT deletion_guard.guard_table('theirs.row', 'org');
INSERT INTO theirs.row VALUES (1, 'Ete'), (2, U&'\00e9t\00e9');
DELETE FROM theirs.row;
RESET ROLE;
SELECT count(*) AS tenants FROM deletion_guard.deletion_detail WHERE relation = 'theirs.row'::regclass;
SELECT deletion_guard_internal.same_tenant('Ete', U&'\00e9t\00e9');
SELECT count(*) FROM deletion_guard.undelete_tenants(ARRAY['Ete', U&'\00e9t\00e9']);

-- A type changes, a table is set or dropped: what holds is what holds now.
CREATE TABLE late (id text PRIMARY KEY, name text);
CREATE TABLE late_row (id integer PRIMARY KEY, org text);
SELECT deletion_guard.guard_table('late', 'id'), deletion_guard.guard_table('late_row', 'org');
INSERT INTO late_row VALUES (1, 'Late'), (2, 'LATE'), (3, 'late');
DELETE FROM late_row WHERE id < 3;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::late_row, 'late');
ALTER TABLE late ALTER id TYPE ext.citext;
SELECT deletion_guard.set_tenant_table('late', 'id', 'name');
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::late_row, 'late');
DELETE FROM late_row;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('lAtE');
DELETE FROM late_row;
SELECT rows, tenants FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1;
ALTER TABLE late ALTER id TYPE text;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::late_row, 'late');
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('Late');

-- A key in a type of an extension that is in no search_path: names are found, and the name of the operator is not what it is found by.
SELECT deletion_guard.set_tenant_table('ltr_org', 'id', 'name');
DELETE FROM ltr_row WHERE id = 1;
SELECT tenant, tenant_name FROM deletion_guard.deletion_detail WHERE relation = 'ltr_row'::regclass AND rows > restored;
SELECT claims->'tenant_name' AS name FROM deletion_guard.request_purge('a.b', 'x') claims;
SELECT deletion_guard.set_tenant_table('isn_org', 'id', 'name');
DELETE FROM isn_row WHERE id = 1;
SELECT tenant, tenant_name FROM deletion_guard.deletion_detail WHERE relation = 'isn_row'::regclass AND rows > restored;
SELECT claims->'tenant' AS tenant, claims->'tenant_name' AS name FROM deletion_guard.request_purge('0306406152', 'x') claims;

\c :maintenance_db
DROP DATABASE regress_dg_tenant_identity;
DROP ROLE regress_dg_tenant_owner;
