-- The ledger: complete, chained, and telling of every change.
CREATE DATABASE regress_dg_ledger;
\set maintenance_db :DBNAME
\c regress_dg_ledger
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
\set shop :srcdir '/test/sql/shop.sql'
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
-- Empty, it is in order.
SELECT * FROM deletion_guard.verify_ledger();
SELECT * FROM deletion_guard.ledger_head();
\set ECHO none
\i :signing
\i :shop
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
SET deletion_guard.retention = '0';
DELETE FROM tenant WHERE id IN (1, 2);
SELECT deletion_guard.hold_tenant('1', 'litigation') AS hold \gset
SELECT deletion_guard.release_hold(:hold, signing.sign(jsonb_build_object('act', 'release_hold', 'aud', deletion_guard.audience(), 'hold', :hold)));
SELECT deletion_guard.request_purge('1', 'contract ended') AS claims \gset
SELECT deletion_guard.purge(signing.sign(:'claims')) IS NOT NULL AS purged;
SELECT deletion_guard.unguard_table('issue');

SELECT id, event, role, details::jsonb IS NOT NULL AS json FROM deletion_guard.ledger ORDER BY id;
SELECT * FROM deletion_guard.verify_ledger();
-- No personal data
SELECT id FROM deletion_guard.ledger WHERE details ~* 'acme|boss|contract ended|litigation';
-- Anybody can recompute it.
CREATE FUNCTION canonical(VARIADIC members text[]) RETURNS bytea LANGUAGE sql AS $$
	SELECT convert_to(string_agg(octet_length(m) || ':' || m || ',', '' ORDER BY n), 'UTF8')
	FROM unnest(members) WITH ORDINALITY AS x(m, n)
$$;
SELECT bool_and(hash = sha256(canonical('deletion_guard ledger 1', id::text, CAST(extract(epoch FROM at) * 1000000 AS bigint)::text,
								event, role, details, encode(prev_hash, 'hex')))) AS hashes,
	bool_and(prev_hash = coalesce(before, decode(repeat('00', 32), 'hex'))) AS chain, bool_and(at >= before_at IS NOT FALSE) AS times
FROM (SELECT *, lag(hash) OVER w AS before, lag(at) OVER w AS before_at FROM deletion_guard.ledger WINDOW w AS (ORDER BY id)) l;
SELECT entry, hash AS head_hash FROM deletion_guard.ledger_head() \gset
SELECT * FROM deletion_guard.verify_ledger(:entry, :'head_hash');
SELECT * FROM deletion_guard.verify_ledger(3, :'head_hash');
SELECT * FROM deletion_guard.verify_ledger(99, :'head_hash');
SELECT * FROM deletion_guard.verify_ledger(3);  -- fails

-- What was rolled back leaves no gap.
BEGIN;
SELECT deletion_guard.hold_tenant('2', 'x') IS NOT NULL AS held;
SELECT deletion_guard.hold_tenant('2', 'y') IS NOT NULL AS held;
SELECT ok, entries - :entry AS more FROM deletion_guard.verify_ledger();
SAVEPOINT s;
SELECT deletion_guard.hold_tenant('2', 'z') IS NOT NULL AS held;
ROLLBACK TO s;
SELECT ok, entries - :entry AS more FROM deletion_guard.verify_ledger();
ROLLBACK;
SELECT ok, entries - :entry AS more FROM deletion_guard.verify_ledger();

-- A dump that was doctored and is restored somewhere does not get past the chain.
\set ECHO none
\getenv builddir PG_ABS_BUILDDIR
\set files :builddir '/results/ledger_'
SELECT format('COPY deletion_guard.%I TO %L', t, :'files' || t)
FROM unnest('{ledger,authority,used_token,hold,purge_request_record,purge_record}'::text[]) t \gexec
CREATE DATABASE regress_dg_doctored;
\c regress_dg_doctored
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
SELECT format('COPY deletion_guard.%I FROM %L', t, :'files' || t)
FROM unnest('{authority,used_token,hold,purge_request_record,purge_record}'::text[]) t \gexec
CREATE TABLE doctored (LIKE deletion_guard.ledger);
SELECT format('COPY doctored FROM %L', :'files' || 'ledger') \gexec
CREATE FUNCTION canonical(VARIADIC members text[]) RETURNS bytea LANGUAGE sql AS $$
	SELECT convert_to(string_agg(octet_length(m) || ':' || m || ',', '' ORDER BY n), 'UTF8')
	FROM unnest(members) WITH ORDINALITY AS u(m, n)
$$;
\set ECHO all
CREATE FUNCTION rehash(entry bigint) RETURNS void LANGUAGE sql AS $$
	UPDATE doctored SET hash = sha256(canonical('deletion_guard ledger 1', id::text,
		CAST(extract(epoch FROM at) * 1000000 AS bigint)::text, event, role, details, encode(prev_hash, 'hex')))
	WHERE id = $1
$$;
\set load 'INSERT INTO deletion_guard.ledger SELECT * FROM doctored;'
\set changed 'INSERT INTO deletion_guard.ledger SELECT * FROM doctored; SELECT ok, problem FROM deletion_guard.verify_ledger(); ROLLBACK;'
BEGIN; UPDATE doctored SET details = '{}' WHERE id = 3; :changed
BEGIN; UPDATE doctored SET event = 'guard' WHERE id = 3; :changed
BEGIN; UPDATE doctored SET role = 'somebody' WHERE id = 1; :changed
BEGIN; UPDATE doctored SET at = at - interval '1 microsecond' WHERE id = :entry; :changed
BEGIN; UPDATE doctored SET details = '{}' WHERE id = 3; SELECT rehash(3); :changed
BEGIN; UPDATE doctored SET prev_hash = '\x00' WHERE id = 4; :changed
BEGIN; DELETE FROM doctored WHERE id = 3; :changed
BEGIN; DELETE FROM doctored WHERE id BETWEEN 3 AND 5; :changed
BEGIN; DELETE FROM doctored WHERE id = 1; :changed
-- Renumbered
BEGIN; DELETE FROM doctored WHERE id = 3; UPDATE doctored SET id = id - 1 WHERE id = 4; :changed
-- Exchanged
BEGIN; UPDATE doctored SET id = CASE id WHEN 3 THEN -4 WHEN 4 THEN -3 END WHERE id IN (3, 4);
UPDATE doctored SET id = -id WHERE id < 0; :changed
-- Inserted
BEGIN; INSERT INTO doctored SELECT :entry + 1, now(), 'guard_table', role, details, prev_hash, hash FROM doctored WHERE id = 3; :changed
BEGIN; UPDATE doctored SET id = -id - 1 WHERE id > 5; UPDATE doctored SET id = -id WHERE id < 0;
INSERT INTO doctored SELECT 6, at, 'unguard_table', role, details, hash, hash FROM doctored WHERE id = 5;
SELECT rehash(6); :changed
-- Cut short: what other tables refer to shows, and a head kept elsewhere shows the rest.
BEGIN; DELETE FROM doctored WHERE id >= :entry - 1; :changed
BEGIN; DELETE FROM doctored WHERE id >= :entry; :changed
BEGIN; DELETE FROM doctored WHERE id >= :entry; :load SELECT ok, problem FROM deletion_guard.verify_ledger(:entry, :'head_hash'); ROLLBACK;
-- Recomputed from some entry on: only a head kept elsewhere tells.
BEGIN;
UPDATE doctored SET details = '{"table": "public.nothing"}' WHERE id = :entry;
SELECT rehash(:entry);
:load
SELECT ok, problem FROM deletion_guard.verify_ledger();
SELECT ok, problem FROM deletion_guard.verify_ledger(:entry, :'head_hash');
ROLLBACK;
BEGIN;
UPDATE doctored SET at = clock_timestamp() + interval '1 day' WHERE id = :entry;
SELECT rehash(:entry);
:load
SELECT ok, regexp_replace(detail, 'of .*, so', 'of then, so') AS detail FROM deletion_guard.verify() WHERE check_name = 'ledger';
ROLLBACK;
-- A damaged head is not built upon.
BEGIN; UPDATE doctored SET hash = '' WHERE id = :entry; :load
SELECT deletion_guard.set_approvals(1);
COMMIT;  -- fails
-- As it was, it is in order, and goes on; what follows is this database's own, and no more is restored.
BEGIN;
:load
SELECT ok, problem FROM deletion_guard.verify_ledger(:entry, :'head_hash');
SET LOCAL deletion_guard.restoring = on;
INSERT INTO deletion_guard.ledger SELECT id + 1, at, event, role, details, prev_hash, hash FROM doctored WHERE id = :entry;
SELECT ok, problem FROM deletion_guard.verify_ledger();
ROLLBACK;
BEGIN;
:load
SELECT deletion_guard.set_approvals(1);
SELECT ok, problem FROM deletion_guard.verify_ledger();
SET LOCAL deletion_guard.restoring = on;
INSERT INTO deletion_guard.ledger SELECT id + 2, at, event, role, details, prev_hash, hash FROM doctored WHERE id = :entry;  -- fails
ROLLBACK;
\c regress_dg_ledger
SELECT ok, problem FROM deletion_guard.verify_ledger(:entry, :'head_hash');

-- Entries are kept until the transaction ends; what is rolled back of it takes its own along, and no others.
CREATE FUNCTION hold(why text) RETURNS void LANGUAGE sql AS 'SELECT deletion_guard.hold_tenant(''2'', $1)';
CREATE TABLE kept AS SELECT :entry AS value;
CREATE VIEW new_entry AS SELECT row_number() OVER (ORDER BY l.id) AS n, event, h.reason, l.details::jsonb - 'hold' AS details
FROM deletion_guard.ledger l LEFT JOIN deletion_guard.hold h ON l.event LIKE '%hold%' AND l.details = format('{"hold": %s}', hold_id)
WHERE id > (SELECT value FROM kept);
BEGIN;
SELECT hold('a');
SELECT count(*) FROM new_entry;
SAVEPOINT s;
SELECT hold('b');
-- Written here, both of them
SELECT ok, entries - :entry AS more FROM deletion_guard.verify_ledger();
SELECT * FROM new_entry;
ROLLBACK TO s;
SELECT count(*) FROM new_entry;
SELECT hold('c');
SAVEPOINT t;
SELECT hold('d');
SAVEPOINT u;
SELECT hold('e');
SELECT ok, entries - :entry AS more FROM deletion_guard.verify_ledger();
RELEASE u;
ROLLBACK TO t;
SAVEPOINT v;
SELECT hold('f');
SAVEPOINT w;
SELECT ok, entries - :entry AS more FROM deletion_guard.verify_ledger();
RELEASE w;
RELEASE v;
DO $$
BEGIN
	PERFORM hold('g');
	RAISE 'x';
EXCEPTION WHEN OTHERS THEN
	PERFORM hold('h');
END
$$;
COMMIT;
SELECT * FROM new_entry;
SELECT ok, problem FROM deletion_guard.verify_ledger();
-- Procedures that commit, deferred triggers, transactions that are prepared
DO $$
BEGIN
	PERFORM hold('i');
	COMMIT;
	PERFORM hold('j');
	ROLLBACK;
	PERFORM hold('k');
END
$$;
CREATE TABLE later (why text);
CREATE FUNCTION hold_later() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM hold(NEW.why); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold_later();
BEGIN;
INSERT INTO later VALUES ('m');
SELECT hold('l');
COMMIT;
BEGIN;
SELECT hold('n');
SAVEPOINT s;
SELECT hold('o');
PREPARE TRANSACTION 'regress_dg_ledger';
SELECT ok, problem FROM deletion_guard.verify_ledger();
COMMIT PREPARED 'regress_dg_ledger';
BEGIN;
SELECT hold('p');
PREPARE TRANSACTION 'regress_dg_ledger';
ROLLBACK PREPARED 'regress_dg_ledger';
SELECT * FROM new_entry WHERE n > 5;
SELECT ok, problem FROM deletion_guard.verify_ledger();
-- The role is the one that made the entry.
CREATE ROLE regress_dg_holder SUPERUSER;
BEGIN;
SET SESSION AUTHORIZATION regress_dg_holder;
SELECT hold('q');
RESET SESSION AUTHORIZATION;
SELECT hold('r');
COMMIT;
SELECT reason, role = 'regress_dg_holder' AS holder FROM deletion_guard.ledger l
JOIN deletion_guard.hold ON details = format('{"hold": %s}', hold_id) WHERE reason IN ('q', 'r') ORDER BY l.id;
DROP ROLE regress_dg_holder;
-- What is on record is held against the ledger, and the other way round.
\set ECHO none
SELECT format('COPY deletion_guard.%I TO %L', t, :'files' || t)
FROM unnest('{ledger,authority,used_token,hold,purge_request_record,purge_record}'::text[]) t \gexec
\c :maintenance_db
DROP DATABASE regress_dg_doctored;
CREATE DATABASE regress_dg_doctored;
\c regress_dg_doctored
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE SCHEMA doctored;
SELECT format('CREATE TABLE doctored.%I (LIKE deletion_guard.%1$I)', t), format('COPY doctored.%I FROM %L', t, :'files' || t)
FROM unnest('{ledger,authority,used_token,hold,purge_request_record,purge_record}'::text[]) t \gexec
CREATE FUNCTION load() RETURNS TABLE (ok boolean, problem text) LANGUAGE plpgsql AS $$
DECLARE
	t text;
BEGIN
	FOREACH t IN ARRAY '{ledger,authority,used_token,hold,purge_request_record,purge_record}'::text[] LOOP
		EXECUTE format('INSERT INTO deletion_guard.%I SELECT * FROM doctored.%1$I', t);
	END LOOP;
	RETURN QUERY SELECT v.ok, v.problem FROM deletion_guard.verify_ledger() v;
END
$$;
\set ECHO all
SET search_path = doctored, public;
BEGIN; SELECT * FROM load(); ROLLBACK;
BEGIN; UPDATE authority SET public_key = replace(public_key, 'MCow', 'MCox'); SELECT * FROM load(); ROLLBACK;
BEGIN; UPDATE authority SET fingerprint = replace(fingerprint, left(fingerprint, 1), 'x'); SELECT * FROM load(); ROLLBACK;
BEGIN; INSERT INTO authority SELECT 'mine', algorithm, public_key, sha256('')::text, now(), 'me', NULL, NULL, 1 FROM authority; SELECT * FROM load(); ROLLBACK;
BEGIN; UPDATE authority SET retired_at = now(); SELECT * FROM load(); ROLLBACK;
BEGIN; DELETE FROM authority; SELECT * FROM load(); ROLLBACK;
BEGIN; UPDATE hold SET released_at = now() WHERE reason = 'a'; SELECT * FROM load(); ROLLBACK;
BEGIN; DELETE FROM hold WHERE reason = 'a'; SELECT * FROM load(); ROLLBACK;
BEGIN; UPDATE purge_request_record SET rows = rows + 1; SELECT * FROM load(); ROLLBACK;
BEGIN; UPDATE purge_request_record SET digest = sha256(''); SELECT * FROM load(); ROLLBACK;
BEGIN; DELETE FROM purge_request_record; SELECT * FROM load(); ROLLBACK;
BEGIN; UPDATE purge_record SET certificate = replace(certificate, '"rows": 1', '"rows": 2'); SELECT * FROM load(); ROLLBACK;
BEGIN; INSERT INTO purge_record SELECT 2, request_id, now(), 'me', 'purged', 1, salt, tenant_digest, '{"purge": 2}', ledger_id FROM purge_record; SELECT * FROM load(); ROLLBACK;
BEGIN; DELETE FROM purge_record; SELECT * FROM load(); ROLLBACK;
BEGIN; DELETE FROM ledger WHERE event = 'purge'; SELECT ok FROM load(); SELECT deletion_guard.purge_certificate(1); ROLLBACK;  -- fails
-- Before the library is loaded, catalogs can be written by hand.
\c -
BEGIN;
UPDATE pg_class SET relname = 'gone' WHERE oid = 'deletion_guard.ledger_pkey'::regclass;
SELECT deletion_guard.verify_ledger();  -- fails
ROLLBACK;
-- An entry kept when the extension is dropped goes with it.
\c -
SET client_min_messages = warning;
DROP SCHEMA doctored CASCADE;
BEGIN;
SELECT deletion_guard.set_approvals(1);
SELECT deletion_guard.allow_drop();
DROP EXTENSION deletion_guard CASCADE;
COMMIT;
SELECT count(*) FROM pg_extension WHERE extname = 'deletion_guard';

\c :maintenance_db
DROP DATABASE regress_dg_doctored;
DROP DATABASE regress_dg_ledger;
