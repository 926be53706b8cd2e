-- Rows that belong to no tenant: purged by naming their tables, and under a token of another kind.
CREATE DATABASE regress_dg_purge_without_tenant;
\set maintenance_db :DBNAME
\c regress_dg_purge_without_tenant
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
-- A table without a tenant source, one with rows that have none, and one that is blank
CREATE TABLE setting (name text PRIMARY KEY, value text);
CREATE TABLE message (id integer PRIMARY KEY, tenant_id text, body text);
SELECT deletion_guard.guard_table('setting');
SELECT deletion_guard.guard_table('message', 'tenant_id');
INSERT INTO setting VALUES ('colour', 'red'), ('size', 'large');
INSERT INTO message VALUES (1, NULL, 'nobody''s'), (2, '', 'of the blank'), (3, '1', 'of the first'), (4, NULL, 'nobody''s too');
DELETE FROM setting WHERE name = 'colour';
DELETE FROM message WHERE id < 4;
SELECT relation, tenant, tenant IS NULL AS without, rows FROM deletion_guard.deletion_detail ORDER BY 1, 2;

-- It does not happen by accident.
SELECT deletion_guard.request_purge(NULL, 'an empty variable');  -- fails
SELECT deletion_guard.request_purge('', 'an empty variable');  -- fails
SELECT deletion_guard.request_purge(NULL, 'an empty variable', ARRAY['message'::regclass]);  -- fails
SELECT deletion_guard.request_purge_without_tenant(NULL, 'which?');  -- fails
SELECT deletion_guard.request_purge_without_tenant('{}', 'which?');  -- fails
SELECT deletion_guard.request_purge_without_tenant(ARRAY[NULL::regclass], 'which?');  -- fails
SELECT deletion_guard.request_purge_without_tenant(ARRAY['message'::regclass, NULL], 'which?');  -- fails
SELECT deletion_guard.request_purge_without_tenant(ARRAY['pg_class'::regclass], 'not guarded');  -- fails
SELECT deletion_guard.request_purge_without_tenant(ARRAY['message'::regclass], NULL);  -- fails
SELECT deletion_guard.request_purge_without_tenant(ARRAY['message'::regclass], 'no time', NULL);  -- fails
SELECT deletion_guard.request_purge_without_tenant(ARRAY['message'::regclass], 'too early', '2020-01-01');  -- fails
SELECT deletion_guard.request_purge_without_tenant(array_fill('message'::regclass, '{300}'), 'too many');  -- fails

-- The claims name the tables, and no tenant.
SET client_min_messages = notice;
\set VERBOSITY terse
SELECT deletion_guard.request_purge_without_tenant(ARRAY['message'::regclass, 'setting'], 'cleaning up') AS claims \gset
SET client_min_messages = warning;
\set VERBOSITY default
SELECT :'claims'::jsonb - 'digest' - 'aud' AS claims;
SELECT state, tenant IS NULL AS without, tenant_name IS NULL AS nameless, relations, rows, on_hold FROM deletion_guard.purge_request;
SELECT relation, tenant_name, rows_reviewed, due FROM deletion_guard.purge_plan((:'claims'::jsonb->>'request')::bigint) ORDER BY 1;
-- Neither kind of token serves for the other.
CREATE TABLE other (n serial, what text, claims jsonb);
INSERT INTO other (what, claims) VALUES
	('as of a blank tenant', :'claims'::jsonb - 'relations' || '{"act": "purge", "tenant": "", "tenant_name": ""}'),
	('as of a tenant that is null', :'claims'::jsonb - 'relations' || '{"act": "purge", "tenant": null, "tenant_name": null}'),
	('as of the first tenant', :'claims'::jsonb - 'relations' || '{"act": "purge", "tenant": "1", "tenant_name": "Acme"}'),
	('tenant and tables', :'claims'::jsonb || '{"tenant": "1", "tenant_name": "Acme"}'),
	('no tables', :'claims'::jsonb - 'relations'),
	('tables as a list', :'claims'::jsonb || '{"relations": ["public.message", "public.setting"]}'),
	('one table', :'claims'::jsonb || '{"relations": "public.message"}'),
	('in another order', :'claims'::jsonb || '{"relations": "public.setting, public.message"}'),
	('another count', :'claims'::jsonb || '{"rows": 2}');
SELECT what, (signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(o.claims)))).* FROM other o ORDER BY n;
INSERT INTO tenant VALUES (4, '', NULL);
SELECT deletion_guard.request_purge('1', 'of a tenant') AS tenants \gset
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(:'tenants'::jsonb - 'tenant' - 'tenant_name'
	|| '{"act": "purge_without_tenant", "relations": "public.message"}')))).*;
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L, %L)', signing.sign(:'claims'), signing.sign(:'tenants')))).*;
SELECT ok, problem FROM deletion_guard.check_token(signing.sign(:'claims'));

-- Only what was named and has no tenant; what was deleted since is not in it.
DELETE FROM message WHERE id = 4;
SELECT signing.sign(:'claims') AS token \gset
SELECT deletion_guard.purge(:'token') AS certificate \gset
SELECT t->>'table' AS table, t->'rows' AS rows FROM jsonb_array_elements(:'certificate'::jsonb->'tables') t ORDER BY 1;
SELECT relation, tenant, rows, purged FROM deletion_guard.deletion_detail ORDER BY deletion_id, 1, 2;
SELECT ok, problem FROM deletion_guard.verify_certificate(:'certificate');
SELECT state, tenant IS NULL AS without, reason FROM deletion_guard.purge_request ORDER BY request_id;
SELECT deletion_guard.purge(:'token');  -- fails
-- Such rows are known again, too.
INSERT INTO setting VALUES ('colour', 'red');
INSERT INTO message VALUES (1, NULL, 'back'), (2, '', 'back');
SELECT name, deletion_guard.purge_of(s) FROM setting s ORDER BY 1;
SELECT id, deletion_guard.purge_of(m) FROM message m ORDER BY 1;
-- The digest of such a purge's tenant is that of no text at all.
SELECT tenant_digest = sha256(salt || '-,') AS of_none FROM deletion_guard.purge_record;

-- A table that is gone is named by its bin.
DELETE FROM setting;
SELECT bin_table AS bin FROM deletion_guard.bin WHERE relation = 'setting'::regclass \gset
SELECT deletion_guard.unguard_table('setting');
DROP TABLE setting;
SELECT deletion_guard.request_purge_without_tenant(ARRAY[:'bin'::regclass], 'the table is gone') AS claims \gset
SELECT :'claims'::jsonb->'relations' AS relations, :'claims'::jsonb->'rows' AS rows;
SELECT deletion_guard.purge(signing.sign(:'claims'))->'rows' AS rows;
-- So is one of a tenant's, without being named.
DELETE FROM issue WHERE tenant_id = 2;
SELECT deletion_guard.unguard_table('issue');
DROP TABLE issue;
SELECT deletion_guard.request_purge('2', 'the table is gone') AS claims \gset
SELECT deletion_guard.purge(signing.sign(:'claims'))->'tables'->0->'rows' AS rows;
-- A key that is empty is nobody's, unless the tenant table has it: then those
-- rows are a tenant's, live or deleted, and are not covered.
DELETE FROM message WHERE tenant_id = '';
CREATE TABLE account (code text PRIMARY KEY, title text);
SELECT deletion_guard.set_tenant_table('account', 'code', 'title');
SELECT deletion_guard.guard_table('account', 'code');
SELECT deletion_guard.request_purge_without_tenant(ARRAY['message'::regclass], 'of the blank') AS claims \gset
SELECT :'claims'::jsonb->'rows' AS rows;
INSERT INTO account VALUES ('', 'Blank'), ('1', 'First');
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(:'claims')))).*;
DELETE FROM account WHERE code = '';
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(:'claims')))).*;
SELECT deletion_guard.request_purge_without_tenant(ARRAY['message'::regclass], 'of nobody')->'rows' AS rows;
-- They are that tenant's, which can be held, and purged under its own name.
BEGIN;
SELECT deletion_guard.hold_tenant('', 'a matter') AS hold;
SELECT deletion_guard.request_purge('', 'of the blank one') AS claims \gset
SELECT :'claims'::jsonb->'tenant' AS tenant, :'claims'::jsonb->'tenant_name' AS name, :'claims'::jsonb->'rows' AS rows;
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(:'claims')))).*;
ROLLBACK;
BEGIN;
SELECT deletion_guard.request_purge('', 'of the blank one') AS claims \gset
WITH other (n, what, claims) AS (VALUES
	(1, 'no key', :'claims'::jsonb - 'tenant'),
	(2, 'another key', :'claims'::jsonb || '{"tenant": "1"}'),
	(3, 'no name', :'claims'::jsonb || '{"tenant_name": ""}'))
SELECT what, (signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(o.claims)))).* FROM other o ORDER BY n;
SELECT deletion_guard.purge(signing.sign(:'claims'))->'rows' AS rows;
SELECT relation, tenant, tenant_name, rows, purged FROM deletion_guard.deletion_detail WHERE tenant = '' ORDER BY deletion_id, 1;
-- Now nobody of that key is known any more.
SELECT deletion_guard.request_purge('', 'again');  -- fails
ROLLBACK;
SELECT relation, restored FROM deletion_guard.undelete_tenant('') ORDER BY 1;
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
-- Withdrawn
INSERT INTO message VALUES (5, NULL, 'x');
DELETE FROM message WHERE id = 5;
SELECT (deletion_guard.request_purge_without_tenant(ARRAY['message'::regclass], 'x')->>'request')::bigint AS request \gset
SELECT deletion_guard.withdraw_purge(:request);
SELECT ok, problem FROM deletion_guard.verify_ledger();

CREATE ROLE regress_dg_nobody;
SET ROLE regress_dg_nobody;
SELECT deletion_guard.request_purge_without_tenant(ARRAY['message'::regclass], 'x');  -- fails
RESET ROLE;
DROP ROLE regress_dg_nobody;
\c :maintenance_db
DROP DATABASE regress_dg_purge_without_tenant;
