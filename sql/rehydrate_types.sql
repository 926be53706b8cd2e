-- Columns have other types than when the archive was made: a value comes back
-- whole, or its row is named.
CREATE DATABASE regress_dg_rehydrate_types;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_types
\getenv srcdir PG_ABS_SRCDIR
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'types.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
\setenv PGTZ UTC
SET datestyle = iso;
SET timezone = 'UTC';
CREATE EXTENSION deletion_guard;
SET deletion_guard.ddl = allow;
CREATE DOMAIN price AS numeric(8,2);
CREATE DOMAIN picky AS text CHECK (length(value) < 70);
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE t (tenant integer, id integer PRIMARY KEY, n numeric(8,3), free numeric, p price, v varchar(10), c char(5),
				ts timestamp, tz timestamptz, d date, tm time, iv interval, f float8, txt text, a numeric(6,2)[], b bit varying(10),
				i integer, j json, e mood, x picky);
SELECT deletion_guard.guard_table('t', 'tenant');
INSERT INTO t VALUES (1, 1, 1.234, 1.55, 1.55, 'abc   ', 'ab', '2024-01-01 01:02:03.456789', '2024-01-01 01:02:03.456789+00',
	'2024-01-01', '01:02:03.456789', '1.5 sec', 0.1, repeat('x', 70), '{1.25,2.5}', '1010', 5, '{"a": 1, "a": 2}', 'happy', 'y');
\! pg_dump -Fc -f "${DIR}types.dump" -t t
\! pg_dump -Fc -a -f "${DIR}bare.dump" -t t
\set bare :dir 'bare.dump'

/*
 * Restores the row into the table as an ALTER TABLE made it, and undoes both.
 */
CREATE FUNCTION altered(change text, archive text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE 'DELETE FROM t';
	EXECUTE 'ALTER TABLE t ALTER ' || change;
	PERFORM deletion_guard.rehydrate('1', archive);
	EXECUTE format('SELECT coalesce(quote_literal(%I), ''null'') FROM t', split_part(change, ' ', 1)) INTO result;
	RAISE EXCEPTION USING ERRCODE = 'P0002', MESSAGE = result;
EXCEPTION
	WHEN SQLSTATE 'P0002' THEN RETURN SQLERRM;
	WHEN OTHERS THEN RETURN CASE WHEN SQLERRM ~ 'without loss' THEN 'not without loss' ELSE SQLERRM END;
END
$$;
SELECT change, altered(change, :'archive') AS restored, altered(change, :'bare') AS without_definitions
FROM unnest(ARRAY['n TYPE numeric(8,2)', 'n TYPE numeric(9,4)', 'n TYPE integer', 'n TYPE text', 'free TYPE numeric(3,1)', 'free TYPE numeric(3,2)',
	'p TYPE numeric(8,1)', 'p TYPE numeric', 'v TYPE varchar(5)', 'v TYPE varchar(20)', 'v TYPE text', 'c TYPE char(2)', 'c TYPE char(1)',
	'ts TYPE timestamp(3)', 'ts TYPE timestamptz', 'tz TYPE timestamptz(0)', 'tz TYPE timestamp', 'd TYPE timestamp', 'tm TYPE time(0)',
	'iv TYPE interval(0)', 'iv TYPE text', 'f TYPE numeric(5,2)', 'a TYPE numeric(6,1)[]', 'b TYPE varbit(3)', 'b TYPE varbit(4)',
	'i TYPE bigint', 'i TYPE smallint', 'i TYPE text', 'j TYPE text', 'e TYPE text', 'x TYPE text', 'txt TYPE picky']) change;
SELECT change, altered(change, :'archive') AS restored, altered(change, :'bare') AS without_definitions
FROM unnest(ARRAY['ts TYPE date', 'tz TYPE date', 'f TYPE float4', 'txt TYPE name', 'f TYPE integer', 'txt TYPE "char"']) change;
-- A domain that is narrower than it was, and a type that is gone.
TRUNCATE t;
ALTER DOMAIN price RENAME TO former;
CREATE DOMAIN price AS numeric(8,1);
ALTER TYPE mood RENAME TO temper;
SELECT altered('p TYPE price', :'archive'), altered('p TYPE former', :'archive'), altered('e TYPE text', :'archive');
DROP DOMAIN price;
ALTER DOMAIN former RENAME TO price;
ALTER TYPE temper RENAME TO mood;
SELECT restored FROM deletion_guard.rehydrate('1', :'archive');
SELECT * FROM deletion_guard.compare_tenant('1', :'archive');
SELECT * FROM deletion_guard.compare_tenant('1', :'bare');

/*
 * Types that somebody has made are known by their names only: they may have
 * become others. And without definitions nothing but the value itself tells what
 * it was.
 */
CREATE TYPE point_of AS (name text, x float8, weight numeric(6,3));
CREATE DOMAIN degree AS float8;
CREATE TYPE span AS RANGE (subtype = float8);
CREATE TABLE part (tenant integer, p point_of, ps point_of[], deg degree, degs degree[], s span, f float8, fs float8[],
	tsr tsrange, j json, tzs timestamptz[], tzm tstzmultirange[], ds date[], tsm tsmultirange, r float4, b text);
SELECT deletion_guard.guard_table('part', 'tenant');
INSERT INTO part VALUES (1, ('a', 0.1, 1.125), ARRAY[('b', 1.0::float8 / 3, 2)::point_of], 2.0::float8 / 3, '{0.30000000000000004}',
	'[0.1,0.30000000000000004)', 0.30000000000000004, '{0.1,0.30000000000000004}', '[2024-01-01 00:00,2024-01-02 12:00)',
	'{"a": 1, "a": 2}', '[0:3]={2024-01-01 12:00+00,infinity,NULL,0044-03-15 12:00:00.5-03:30 BC}',
	ARRAY['{[2024-01-01 12:00+00,2024-01-02 12:00+00),[2024-02-01 12:00+00,)}', '{}']::tstzmultirange[], '{-infinity,2024-01-01}',
	'{[2024-01-01 00:00,2024-01-02 12:00)}', 0.1, '2024-01-01 12:00:00.5');
CREATE TABLE as_it_was AS SELECT to_jsonb(part) FROM part;
\! pg_dump -Fc -f "${DIR}types.dump" -t part
\! pg_dump -Fc -a -f "${DIR}bare.dump" -t part
CREATE FUNCTION changed(change text, archive text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	problem text;
	detail text;
BEGIN
	TRUNCATE part;
	EXECUTE change;
	PERFORM deletion_guard.rehydrate('1', archive);
	RAISE EXCEPTION USING ERRCODE = 'P0002', MESSAGE = coalesce(
		(SELECT string_agg(key || ' is ' || p.value, ', ') FROM jsonb_each_text((SELECT to_jsonb(part) FROM part)) p
		 LEFT JOIN jsonb_each_text((TABLE as_it_was)) b USING (key) WHERE p.value IS DISTINCT FROM b.value), 'as it was');
EXCEPTION
	WHEN SQLSTATE 'P0002' THEN RETURN SQLERRM;
	WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
		RETURN concat_ws(': ', problem, detail);
END
$$;
-- Puts another type in the place of one.
CREATE FUNCTION another(type text, col text, definition text) RETURNS text LANGUAGE sql AS $$
	SELECT format('ALTER TYPE %1$s RENAME TO former; CREATE %3$s; ALTER TABLE part DROP %2$s; ALTER TABLE part ADD %2$s %1$s%4$s',
				  type, col, definition, CASE WHEN col ~ 's$' AND col <> 's' THEN '[]' END)
$$;
\x on
SELECT change, changed(change, :'archive') AS restored, changed(change, :'bare') AS without_definitions
FROM unnest(ARRAY['SELECT 1', 'SET LOCAL timezone = ''Asia/Tokyo''',
	another('point_of', 'p', 'TYPE point_of AS (name text, x float8, weight numeric(6,2))'),
	another('point_of', 'p', 'TYPE point_of AS (name text, x float4, weight numeric(6,3))'),
	another('point_of', 'p', 'TYPE point_of AS (name text, x numeric, weight numeric)'),
	another('point_of', 'ps', 'TYPE point_of AS (name text, x float4, weight numeric(6,3))'),
	another('degree', 'deg', 'DOMAIN degree AS float4'),
	another('degree', 'degs', 'DOMAIN degree AS float4'),
	another('span', 's', 'TYPE span AS RANGE (subtype = float4, multirange_type_name = spans)'),
	'ALTER TABLE part ALTER f TYPE float4', 'ALTER TABLE part ALTER fs TYPE float4[]', 'ALTER TABLE part ALTER tsr TYPE text',
	'ALTER TABLE part DROP tsr; ALTER TABLE part ADD tsr daterange', 'ALTER TABLE part DROP tsr; ALTER TABLE part ADD tsr tstzrange',
	'ALTER TABLE part DROP ds; ALTER TABLE part ADD ds timestamptz[]', 'ALTER TABLE part DROP tsm; ALTER TABLE part ADD tsm tstzmultirange',
	'ALTER TABLE part ALTER j TYPE jsonb',
	'ALTER TABLE part ALTER b TYPE timestamptz USING b::timestamptz', 'ALTER TABLE part ALTER r TYPE float8']) change;
\x off
-- Servers before 12 write more digits: the same number.
\! pg_dump -a -f "${DIR}bare.dump" -t part && sed -i 's/\t0\.1\t2024-01-01/\t0.100000001\t2024-01-01/; s/\t0\.30000000000000004\t{/\t0.300000000000000044\t{/' "${DIR}bare.dump"
SELECT f, r FROM part;
DELETE FROM part;
SELECT restored FROM deletion_guard.rehydrate('1', :'bare');
SELECT f, r FROM part;

-- Large objects do not come back; the report counts references that lead nowhere.
CREATE DOMAIN lo AS oid;
CREATE TABLE photo (tenant integer, picture oid, thumb lo, size integer);
SELECT deletion_guard.guard_table('photo', 'tenant');
INSERT INTO photo VALUES (1, lo_from_bytea(4711, 'a picture'), NULL, 9), (1, lo_from_bytea(4712, 'another'), 4711, 7), (2, 4712, NULL, 7), (3, NULL, 0, 0);
\! pg_dump -Fc -f "${DIR}types.dump" -n public -b && pg_dump -Fp -f "${DIR}bare.dump" -n public -b
DELETE FROM photo;
SELECT tenant, restored, problem FROM deletion_guard.rehydrate('{1,2,3}'::text[], :'archive', relations => '{photo}', dry_run => true) ORDER BY tenant;
SELECT lo_unlink(4711);
SELECT tenant, restored, problem FROM deletion_guard.rehydrate('{1,2,3}'::text[], :'bare', relations => '{photo}') ORDER BY tenant;
SELECT picture FROM photo ORDER BY 1;
SELECT lo_unlink(4712);

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_types;
\! rm -f "${DIR}types.dump" "${DIR}bare.dump"
