-- Purging by age: one request and one token for the old rows of all tenants.
CREATE DATABASE regress_dg_purge_by_age;
\set maintenance_db :DBNAME
\c regress_dg_purge_by_age
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
CREATE TABLE event (id integer PRIMARY KEY, tenant_id integer, at date);
SELECT deletion_guard.guard_table('event', 'tenant_id');
INSERT INTO event SELECT t * 1000 + n, t, date '2024-01-01' + n FROM generate_series(1, 3) t, generate_series(1, 30) n;
INSERT INTO event VALUES (1, NULL, '2024-01-01');
-- Three nights of a job that deletes what is old, and what is not to be touched by a purge of that
SET deletion_guard.retention = '0';
DELETE FROM event WHERE at <= '2024-01-05';
DELETE FROM event WHERE at <= '2024-01-10';
SELECT clock_timestamp() AS night \gset
SET deletion_guard.retention = '1 day';
DELETE FROM event WHERE at <= '2024-01-15';
SET deletion_guard.retention = '-1';
DELETE FROM event WHERE at <= '2024-01-16';
SET deletion_guard.retention = '0';
DELETE FROM event WHERE at <= '2024-01-20';
DELETE FROM issue WHERE tenant_id = 1 AND id % 2 = 0;

-- What is there, and how much of it is due
SELECT relation, relation_name, bytes > 0 AS has_size, rows, rows_due, oldest = (SELECT min(deleted_at) FROM deletion_guard.deletion) AS oldest
FROM deletion_guard.bin_usage ORDER BY relation_name;

-- What a request must say
SELECT deletion_guard.request_purge_by_age(NULL, 'which?');  -- fails
SELECT deletion_guard.request_purge_by_age('{}', 'which?');  -- fails
SELECT deletion_guard.request_purge_by_age('{pg_class}', 'not guarded');  -- fails
SELECT deletion_guard.request_purge_by_age('{event}', NULL);  -- fails
SELECT deletion_guard.request_purge_by_age('{event}', 'no time', NULL);  -- fails
SELECT deletion_guard.request_purge_by_age('{event}', 'no time', 'infinity');  -- fails
SELECT deletion_guard.request_purge_by_age('{event}', 'too early', '2020-01-01');  -- fails

-- Due rows of live tenants, without those on hold and those of nobody
SELECT deletion_guard.hold_tenant('3', 'a lawsuit') AS hold \gset
SET client_min_messages = notice;
SELECT deletion_guard.request_purge_by_age('{event, issue}', 'old rows', :'night') AS claims \gset
SET client_min_messages = warning;
SELECT :'claims'::jsonb - 'digest' - 'aud' - 'deleted_before' AS claims, (:'claims'::jsonb->>'deleted_before')::timestamptz = :'night' AS same_time;
SELECT state, tenant, tenants, relations, rows, tables, deletions FROM deletion_guard.purge_request;
SELECT relation, deletion_id, rows_reviewed, rows_now, due FROM deletion_guard.purge_plan((:'claims'::jsonb->>'request')::bigint);
-- The digest can be computed by whoever signs.
CREATE FUNCTION canonical(v text) RETURNS text LANGUAGE sql IMMUTABLE AS
	$$SELECT CASE WHEN v IS NULL THEN '-,' ELSE octet_length(v) || ':' || v || ',' END$$;
SELECT digest = encode(sha256(convert_to((SELECT string_agg(canonical(v), '' ORDER BY n)
	FROM unnest(ARRAY['deletion_guard plan by age 1', :'claims'::jsonb->>'aud', request_id::text, tenants::text,
			(extract(epoch FROM :'night'::timestamptz - '2000-01-01 00:00+00') * 1000000)::bigint::text,
			(SELECT count(*)::text FROM deletion_guard.purge_request_part)]
		|| (SELECT array_agg(v ORDER BY d, p, o) FROM deletion_guard.purge_request_part q,
			LATERAL (VALUES (q.deletion_id, q.part, 1, q.deletion_id::text), (q.deletion_id, q.part, 2, q.part::text),
				(q.deletion_id, q.part, 3, q.relation_name), (q.deletion_id, q.part, 4, q.rows::text)) x (d, p, o, v)))
		WITH ORDINALITY AS m (v, n)), 'UTF8')), 'hex') AS as_documented FROM deletion_guard.purge_request;

-- A token says all of it, and is for this act.
CREATE TABLE other (n serial, what text, claims jsonb);
INSERT INTO other (what, claims) VALUES
	('of one tenant', :'claims'::jsonb - 'relations' - 'tenants' - 'deleted_before' || '{"act": "purge", "tenant": "1", "tenant_name": "Acme"}'),
	('of no tenant', :'claims'::jsonb - 'tenants' - 'deleted_before' || '{"act": "purge_without_tenant"}'),
	('fewer tables', :'claims'::jsonb || '{"relations": "public.event"}'),
	('more tenants', :'claims'::jsonb || '{"tenants": 3}'),
	('another time', :'claims'::jsonb || '{"deleted_before": "2024-01-31T00:00:00.000000Z"}'),
	('no time', :'claims'::jsonb - 'deleted_before');
SELECT what, (signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(o.claims)))).* FROM other o ORDER BY n;
SELECT deletion_guard.request_purge_without_tenant('{event}', 'nobody''s') AS nobodys \gset
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(:'nobodys'::jsonb || jsonb_build_object('act', 'purge_by_age',
	'tenants', 2, 'deleted_before', :'claims'::jsonb->>'deleted_before'))))).*;
SELECT ok, problem FROM deletion_guard.check_token(signing.sign(:'claims'));

-- Whoever is deleted or put on hold after the review is not covered: nothing goes.
\set VERBOSITY default
BEGIN;
DELETE FROM tenant WHERE id = 2;
SELECT ok, problem FROM deletion_guard.check_token(signing.sign(:'claims'));
ROLLBACK;
BEGIN;
SELECT deletion_guard.hold_tenant('2', 'another lawsuit') IS NOT NULL AS held;
SELECT deletion_guard.purge(signing.sign(:'claims'));  -- fails
ROLLBACK;
-- What is deleted or becomes due after it is not in it.
DELETE FROM event WHERE at <= '2024-01-25';
SELECT signing.sign(:'claims') AS token \gset
SELECT deletion_guard.purge(:'token') AS certificate \gset
SELECT t->>'table' AS table, t->'rows' AS rows FROM jsonb_array_elements(:'certificate'::jsonb->'tables') t ORDER BY 1;
SELECT ok, problem FROM deletion_guard.verify_certificate(:'certificate');
SELECT deletion_id, relation, tenant, rows, purged FROM deletion_guard.deletion_detail
WHERE relation = 'event'::regclass ORDER BY deletion_id, tenant;
SELECT count(*), count(DISTINCT tenant_id) FROM deletion_guard.deleted_rows(NULL::event) WHERE at <= '2024-01-10';
SELECT state, reason FROM deletion_guard.purge_request ORDER BY request_id;
SELECT relation, rows, rows_due FROM deletion_guard.bin_usage ORDER BY relation_name;
SELECT deletion_guard.purge(:'token');  -- fails
SELECT ok, problem FROM deletion_guard.verify_ledger();
-- Rows of each tenant are known again, by keys that are kept apart.
SELECT count(*) AS chunks, count(DISTINCT tenant_digest) AS tenants, sum(length(digests)) / 16 AS keys FROM deletion_guard.purged_key;
INSERT INTO event VALUES (1001, 1, '2024-01-02'), (2001, 2, '2024-01-02'), (3001, 3, '2024-01-02');
SELECT id, deletion_guard.purge_of(e) IS NOT NULL AS purged FROM event e WHERE id IN (1001, 2001, 3001) ORDER BY id;

-- A tenant that was deleted keeps all it had until it is purged by its name.
DELETE FROM tenant WHERE id = 1;
SELECT deletion_guard.release_hold(:hold, signing.sign(jsonb_build_object('act', 'release_hold', 'aud', deletion_guard.audience(), 'hold', :hold)));
SELECT deletion_guard.guard_table('other');
SELECT deletion_guard.request_purge_by_age(array_agg(relation ORDER BY relation::text), 'all there is') AS claims
FROM deletion_guard.guarded_table \gset
SELECT :'claims'::jsonb->'relations' AS relations, :'claims'::jsonb->'tenants' AS tenants, :'claims'::jsonb->'rows' AS rows;
SELECT deletion_guard.purge(signing.sign(:'claims'))->'rows' AS rows;
SELECT relation, restored FROM deletion_guard.undelete_tenant('1') ORDER BY 1;
-- So does one whose key has been given to somebody else.
DELETE FROM tenant WHERE id = 2;
INSERT INTO tenant VALUES (2, 'Beech', NULL);
SELECT deletion_guard.request_purge_by_age(array_agg(relation), 'all there is') FROM deletion_guard.guarded_table;  -- fails
DELETE FROM event WHERE at <= '2024-01-26';
-- EXECUTE is all it takes.
CREATE ROLE regress_dg_nobody;
SET ROLE regress_dg_nobody;
SELECT deletion_guard.request_purge_by_age('{event}', 'old rows');  -- fails
RESET ROLE;
GRANT EXECUTE ON FUNCTION deletion_guard.request_purge_by_age TO regress_dg_nobody;
SET ROLE regress_dg_nobody;
SELECT deletion_guard.request_purge_by_age('{event}', 'old rows')->'tenants' AS tenants;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION deletion_guard.request_purge_by_age FROM regress_dg_nobody;
DROP ROLE regress_dg_nobody;
-- And so does one of whom no table tells any more.
SELECT deletion_guard.unguard_table('other');
DROP TABLE other;
SET deletion_guard.ddl = 'allow';
SELECT deletion_guard.unguard_table('tenant');
DROP TABLE tenant CASCADE;
RESET deletion_guard.ddl;
SELECT deletion_guard.request_purge_by_age('{event}', 'of whom?');  -- fails
\c :maintenance_db
DROP DATABASE regress_dg_purge_by_age;
