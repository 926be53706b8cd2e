-- Purges that are refused, although the token is genuine. Each names what to do and changes nothing.
CREATE DATABASE regress_dg_purge_refused;
\set maintenance_db :DBNAME
\c regress_dg_purge_refused
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

-- Requests that cannot be made
SELECT deletion_guard.annul_purge(NULL);  -- fails
SELECT deletion_guard.release_hold(NULL);  -- fails
BEGIN;
CREATE TABLE twice (key text UNIQUE, name text);
SELECT deletion_guard.set_tenant_table('twice', 'key', 'name');
ALTER TABLE twice DROP CONSTRAINT twice_key_key;
INSERT INTO twice VALUES ('x', 'One'), ('x', 'Two');
SELECT deletion_guard.request_purge('x', 'which of them?');  -- fails
ROLLBACK;
SELECT deletion_guard.request_purge('1', 'live rows are never purged');  -- fails
SELECT deletion_guard.request_purge('9', 'nobody');  -- fails
SELECT deletion_guard.request_purge('01', 'not the key as it is written');  -- fails
SELECT deletion_guard.request_purge('Acme', 'a name is not a key');  -- fails
DELETE FROM tenant WHERE id IN (1, 2);
SELECT deletion_guard.request_purge(NULL, 'no tenant');  -- fails
SELECT deletion_guard.request_purge('', 'no tenant');  -- fails
SELECT deletion_guard.request_purge('1', NULL);  -- fails
SELECT deletion_guard.request_purge('1', '');  -- fails
SELECT deletion_guard.request_purge('1', repeat('x', 2000));  -- fails
SELECT deletion_guard.request_purge('1', 'no time', NULL, NULL);  -- fails
SELECT deletion_guard.request_purge('1', 'before it was deleted', NULL, '2020-01-01');  -- fails
SELECT deletion_guard.request_purge('1', 'another table', ARRAY['pg_class'::regclass]);  -- fails
SELECT count(*) FROM deletion_guard.purge_request;

SELECT deletion_guard.request_purge('1', 'contract ended') AS claims \gset
SELECT deletion_guard.request_purge('2', 'contract ended') AS claims2 \gset
SELECT signing.sign(:'claims') AS token, signing.sign(:'claims2') AS token2 \gset
SELECT signing.state() AS before \gset

-- A token that does not say what the request says
CREATE TABLE other (n serial, what text, claims jsonb);
INSERT INTO other (what, claims) VALUES
	('no such request', '{"request": 99999}'),
	('the other request', jsonb_build_object('request', :'claims2'::jsonb->'request')),
	('the other tenant''s key', '{"tenant": "2"}'),
	('the other tenant''s name', '{"tenant_name": "Birch"}'),
	('both', '{"tenant": "2", "tenant_name": "Birch"}'),
	('the name in other letters', '{"tenant_name": "ACME"}'),
	('the key with a blank', '{"tenant": "1 "}'),
	('no name', '{"tenant_name": ""}'),
	('another digest', jsonb_build_object('digest', :'claims2'::jsonb->'digest')),
	('another count', '{"rows": 12}'),
	('another reason', '{"reason": "because"}');
SELECT what, (signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(:'claims'::jsonb || o.claims)))).* FROM other o ORDER BY n;
SELECT what, ok, split_part(problem, E'\n', 1) AS problem
FROM other o, LATERAL (SELECT signing.sign(:'claims'::jsonb || o.claims) AS token) s, deletion_guard.check_token(s.token) ORDER BY n;
SELECT deletion_guard.purge(:'token', :'token2');  -- fails
SELECT signing.state() = :'before' AS nothing_changed;

-- The tenant was renamed, or its key belongs to somebody else now.
INSERT INTO tenant VALUES (1, 'Acme & Sons', NULL);
SELECT deletion_guard.purge(:'token');  -- fails
SET client_min_messages = notice;
\set VERBOSITY terse
BEGIN;
SELECT deletion_guard.request_purge('1', 'renamed')->>'tenant_name' AS tenant_name;
ROLLBACK;
\set VERBOSITY default
SET client_min_messages = warning;
BEGIN;
DELETE FROM tenant WHERE id = 1;
SELECT deletion_guard.purge(:'token');  -- fails
ROLLBACK;
UPDATE tenant SET name = 'Acme' WHERE id = 1;
SELECT ok, problem FROM deletion_guard.check_token(:'token');

-- A hold beats every token.
SELECT deletion_guard.hold_tenant('1', NULL);  -- fails
SELECT deletion_guard.hold_tenant('1', '');  -- fails
SELECT deletion_guard.hold_tenant('', 'litigation');  -- fails
SELECT deletion_guard.hold_tenant('1', 'litigation') AS hold \gset
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L)', :'token'))).*;
SELECT regexp_replace(problem, 'since .*?\.\n', E'since (time).\n') AS problem FROM deletion_guard.check_token(:'token');
SELECT on_hold FROM deletion_guard.purge_request ORDER BY request_id;
SET client_min_messages = notice;
SELECT deletion_guard.hold_tenant('no such tenant', 'litigation') AS hold2 \gset
SELECT deletion_guard.hold_tenant('77', 'litigation') AS hold2 \gset
SET client_min_messages = warning;
SELECT deletion_guard.release_hold(:hold);  -- fails
SELECT jsonb_build_object('act', 'release_hold', 'aud', deletion_guard.audience(), 'hold', :hold) AS release \gset
SELECT deletion_guard.release_hold(:hold2, signing.sign(:'release'));  -- fails
SELECT deletion_guard.release_hold(99, signing.sign(:'release'));  -- fails
SELECT deletion_guard.hold_tenant('1', 'a second one') AS second \gset
SELECT deletion_guard.release_hold(:hold, signing.sign(:'release'));
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L)', :'token'))).*;
SELECT deletion_guard.release_hold(:second, signing.sign(:'release'::jsonb || jsonb_build_object('hold', :second)));
SELECT deletion_guard.release_hold(:second, signing.sign(:'release'::jsonb || jsonb_build_object('hold', :second)));  -- fails
SELECT ok, problem FROM deletion_guard.check_token(:'token');
SELECT tenant, reason, released_by FROM deletion_guard.hold ORDER BY hold_id;
SELECT event, details FROM deletion_guard.ledger WHERE event LIKE '%hold%' ORDER BY id;

-- What is in the bin has changed since the review.
SELECT relation, restored FROM deletion_guard.undelete_tenant('2') ORDER BY 1::text;
SELECT deletion_guard.purge(:'token2');  -- fails
SELECT ok, problem FROM deletion_guard.check_token(:'token2');
DELETE FROM tenant WHERE id = 2;
SELECT deletion_guard.purge(:'token2');  -- fails
BEGIN;
SELECT deletion_guard.request_purge('1', 'a part of it', '{issue}') AS part \gset
SELECT (deletion_guard.purge(signing.sign(:'part')))->'rows' AS rows;
SELECT deletion_guard.purge(:'token');  -- fails
ROLLBACK;

-- Retention is stamped when rows are deleted.
SET deletion_guard.retention = '30 days';
DELETE FROM tenant WHERE id = 3;
SET deletion_guard.retention = '0';
SELECT deletion_guard.request_purge('3', 'too early') AS claims3 \gset
SELECT signing.sign(:'claims3') AS token3 \gset
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L)', :'token3'))).*;
SELECT ok, split_part(problem, E'\n', 2) FROM deletion_guard.check_token(:'token3');
SELECT due, due_at - deleted_at AS after, rows_now FROM deletion_guard.purge_plan((:'claims3'::jsonb->>'request')::bigint) ORDER BY rows_now;
INSERT INTO tenant VALUES (5, 'Elm', NULL), (6, 'Fir', NULL);
SET deletion_guard.retention = '-1';
DELETE FROM tenant WHERE id = 5;
SET deletion_guard.retention = '';
DELETE FROM tenant WHERE id = 6;
SET deletion_guard.retention = '0';
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('5', 'kept for ever')));  -- fails
SELECT deletion_guard.request_purge('6', 'kept for ever') AS claims6 \gset
SELECT deletion_guard.purge(signing.sign(:'claims6'));  -- fails
SELECT tenant, due_at FROM deletion_guard.purge_request WHERE tenant = '6';

-- More authorities
SET deletion_guard.approvals = 2;
SELECT deletion_guard.purge(:'token');  -- fails
SELECT deletion_guard.purge(:'token', signing.sign(:'claims'));  -- fails
RESET deletion_guard.approvals;

-- Withdrawn, done
BEGIN;
SELECT deletion_guard.withdraw_purge((:'claims'::jsonb->>'request')::bigint);
SELECT deletion_guard.purge(:'token');  -- fails
ROLLBACK;
SELECT (deletion_guard.purge(:'token'))->'rows' AS rows;
SELECT deletion_guard.purge(:'token');  -- fails
SELECT deletion_guard.purge(signing.sign(:'claims'));  -- fails

-- Reading is not enough.
BEGIN READ ONLY;
SELECT deletion_guard.purge(:'token3');  -- fails
ROLLBACK;
CREATE ROLE regress_dg_nobody;
SET ROLE regress_dg_nobody;
SELECT deletion_guard.request_purge('1', 'x');  -- fails
SELECT deletion_guard.purge('x');  -- fails
SELECT deletion_guard.check_token('x');  -- fails
SELECT deletion_guard.hold_tenant('1', 'x');  -- fails
SELECT deletion_guard.release_hold(1);  -- fails
SELECT deletion_guard.withdraw_purge(1);  -- fails
SELECT deletion_guard.annul_purge(1);  -- fails
SELECT deletion_guard.purge_plan(1);  -- fails
SELECT deletion_guard.purge_certificate(1);  -- fails
RESET ROLE;
DROP ROLE regress_dg_nobody;

-- Nor is a superuser who writes the tables
UPDATE deletion_guard.hold SET released_at = now();  -- fails
UPDATE deletion_guard.deletion_record SET purge_not_before = '-infinity';  -- fails
INSERT INTO deletion_guard.purge_request_record SELECT (r).* FROM (SELECT r FROM deletion_guard.purge_request_record r LIMIT 1) x;  -- fails
DELETE FROM deletion_guard.purged_key;  -- fails
TRUNCATE deletion_guard.ledger;  -- fails
SELECT ok, problem FROM deletion_guard.verify_ledger();

-- Without a tenant table, or one without names, every name is empty.
SELECT deletion_guard.set_tenant_table('tenant', 'id');
INSERT INTO tenant VALUES (7, 'Gorse', NULL);
DELETE FROM tenant WHERE id = 7;
SELECT deletion_guard.request_purge('7', 'no names')->>'tenant_name' AS tenant_name;

-- What has changed since the review is told in full, however long the names are.
SELECT repeat('x"', 31) AS long \gset
CREATE SCHEMA :"long";
CREATE TABLE :"long".:"long" (id integer PRIMARY KEY, tenant_id integer);
SELECT deletion_guard.guard_table(format('%I.%1$I', :'long')::regclass, 'tenant_id');
INSERT INTO :"long".:"long" SELECT i, 8 FROM generate_series(1, 10) i;
\set ECHO none
SELECT format('DELETE FROM %I.%1$I WHERE id = %s', :'long', i) FROM generate_series(1, 10) i \gexec
\set ECHO all
SELECT deletion_guard.request_purge('8', 'long names') AS claims \gset
SELECT sum(restored) FROM deletion_guard.undelete_tenant('8');
SELECT regexp_count(problem, '0 are in the bin now') FROM deletion_guard.check_token(signing.sign(:'claims'));

-- Refusals are on record, although the transactions were rolled back: counted, and once a day in the ledger.
\c -
BEGIN;
SELECT deletion_guard.purge(VARIADIC '{}');  -- fails
ROLLBACK;
\c -
SELECT deletion_guard.purge(VARIADIC '{}');  -- fails
DO $$
BEGIN
	FOR i IN 1 .. 100 LOOP
		EXIT WHEN (SELECT count FROM deletion_guard.refusal WHERE act = 'purge' AND reason = 'token_required') >= 2;
		COMMIT;					-- a new snapshot, if transactions keep theirs
		PERFORM pg_sleep(0.1);
	END LOOP;
END
$$;
SELECT act, reason, request_id, authority, last_by = current_user AS by_us, count >= 2 AS counted
FROM deletion_guard.refusal WHERE act = 'purge' AND reason = 'token_required';
SELECT count(*) FROM deletion_guard.ledger WHERE event = 'refusal' AND details::jsonb->>'reason' = 'token_required' AND details::jsonb->>'act' = 'purge';
SELECT ok, problem FROM deletion_guard.verify_ledger();

\c :maintenance_db
DROP DATABASE regress_dg_purge_refused;
