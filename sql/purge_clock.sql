-- A clock that was set back makes nothing due, and the ledger's times do not go backwards.
CREATE DATABASE regress_dg_purge_clock;
\set maintenance_db :DBNAME
\c regress_dg_purge_clock
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
\set shop :srcdir '/test/sql/shop.sql'
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
-- A ledger that begins while the clock is a century ahead
CREATE FUNCTION canonical(VARIADIC members text[]) RETURNS bytea LANGUAGE sql AS $$
	SELECT convert_to(string_agg(octet_length(m) || ':' || m || ',', '' ORDER BY n), 'UTF8')
	FROM unnest(members) WITH ORDINALITY AS x(m, n)
$$;
INSERT INTO deletion_guard.ledger
SELECT 1, at, 'guard_table', 'somebody', '{}', zero, sha256(canonical('deletion_guard ledger 1', '1',
	CAST(extract(epoch FROM at) * 1000000 AS bigint)::text, 'guard_table', 'somebody', '{}', encode(zero, 'hex')))
FROM (SELECT '2126-01-01 00:00:00+00'::timestamptz AS at, decode(repeat('00', 32), 'hex') AS zero) x;
SELECT * FROM deletion_guard.verify_ledger();
\set ECHO none
\i :signing
\i :shop
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
SELECT count(*) > 1 AS more, count(DISTINCT at) AS times FROM deletion_guard.ledger;
SET deletion_guard.retention = '0';
DELETE FROM tenant WHERE id = 1;
\set VERBOSITY terse
SET timezone = 'UTC';
SELECT (deletion_guard.purge(signing.sign(deletion_guard.request_purge('1', 'with the clock as it is now'))))->'rows' AS rows;
RESET timezone;
\set VERBOSITY default
SELECT ok, problem FROM deletion_guard.verify_ledger();

-- Deletions: number 1001 an hour ago; 1002 after it, with the clock set back by ten days, and due five days after that.
DELETE FROM tenant WHERE id = 2;
CREATE TABLE copied AS SELECT max(deletion_id) AS deletion_id FROM deletion_guard.deletion_record;
SET deletion_guard.restoring = on;
CREATE TEMP TABLE forged AS
SELECT (jsonb_populate_record(p, jsonb_build_object('deletion_id', id, 'tenant', '9', 'tenant_name', 'Ninth',
	'deleted_at', now() - ago, 'purge_not_before', now() - ago + interval '5 days'))).*
FROM deletion_guard.deletion_part p JOIN copied USING (deletion_id), (VALUES (1001, interval '1 hour'), (1002, interval '10 days')) d(id, ago)
WHERE p.deleted_at IS NOT NULL;
SELECT string_agg(attname, ', ' ORDER BY attnum) AS columns FROM pg_attribute
WHERE attrelid = 'deletion_guard.deletion_part'::regclass AND attnum > 0 AND attgenerated = '' \gset
INSERT INTO deletion_guard.deletion_part (:columns) SELECT :columns FROM forged;
RESET deletion_guard.restoring;
SELECT id, rows, purge_not_before < now() AS past FROM deletion_guard.deletion WHERE id > 1000 ORDER BY 1;
-- Number 1002 counts as made when 1001 was: neither is due.
CREATE FUNCTION refusal_of(tenant text, before timestamptz) RETURNS text LANGUAGE sql AS $$
	SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(deletion_guard.request_purge(tenant, 'x', NULL, before))))).message
$$;
SELECT refusal_of('9', now());
SELECT refusal_of('9', now() - interval '5 days');

-- Rows that somebody has put into the bin past the extension are not purged along.
SET deletion_guard.restoring = on;
DO $$
BEGIN
	EXECUTE format('INSERT INTO %s SELECT * FROM %1$s WHERE _deletion = (SELECT deletion_id FROM copied) LIMIT 1',
				   (SELECT bin_table FROM deletion_guard.bin WHERE relation = 'tenant'::regclass));
END
$$;
RESET deletion_guard.restoring;
SELECT signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(deletion_guard.request_purge('2', 'x'))));

\c :maintenance_db
DROP DATABASE regress_dg_purge_clock;
