-- A column's type has changed since rows were deleted. No value comes back
-- rounded, cut or otherwise less than it was: the call fails and says which.
CREATE DATABASE regress_dg_drift_values;
\set maintenance_db :DBNAME
\c regress_dg_drift_values
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET intervalstyle = 'postgres';
CREATE EXTENSION deletion_guard;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE feeling AS ENUM ('ok', 'glad');
CREATE DOMAIN price AS numeric(6,1);
CREATE DOMAIN small AS integer CHECK (VALUE < 10);
CREATE TYPE pair AS (a int, b text);
CREATE TYPE pair3 AS (a int, b text, c int);
-- What becomes of a value of one type in a column of another, or what is said.
CREATE FUNCTION drift(was text, value text, is_now text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE now_holds text; message text; detail text;
BEGIN
	EXECUTE format('CREATE TABLE drifting (id int PRIMARY KEY, v %s)', was);
	PERFORM deletion_guard.guard_table('drifting');
	EXECUTE 'INSERT INTO drifting VALUES (1, ' || value || '), (2, NULL)';
	DELETE FROM drifting;
	EXECUTE format('ALTER TABLE drifting ALTER COLUMN v TYPE %s USING NULL', is_now);
	BEGIN
		PERFORM * FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
		SELECT v::text INTO STRICT now_holds FROM drifting WHERE id = 1;
		RAISE SQLSTATE 'DRIFT';
	EXCEPTION
		WHEN SQLSTATE 'DRIFT' THEN message := now_holds;
		WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
			ASSERT (SELECT count(*) FROM drifting) = 0;
			message := message || '. ' || detail;
	END;
	PERFORM deletion_guard.unguard_table('drifting');
	DROP TABLE drifting;
	RETURN message;
END $$;

-- Numbers.
SELECT drift('integer', '7', 'bigint');
SELECT drift('bigint', '7', 'smallint');
SELECT drift('bigint', '70000', 'smallint');
SELECT drift('bigint', '9007199254740993', 'float8');
SELECT drift('bigint', '9007199254740992', 'float8');
SELECT drift('float8', '0.1', 'float4');
SELECT drift('float8', '0.5', 'float4');
SELECT drift('float8', '0.1::float8 + 0.2', 'numeric');
SELECT drift('numeric(10,2)', '1.10', 'numeric(6,1)');
SELECT drift('numeric(10,2)', '1.15', 'numeric(6,1)');
SELECT drift('numeric(10,2)', '1234567.00', 'numeric(6,1)');
SELECT drift('numeric', '1.15', 'price');
SELECT drift('numeric[]', '''{1.10, 1.15}''', 'numeric(6,1)[]');
SELECT drift('numeric[]', '''[0:1]={1.10, 2}''', 'numeric(6,1)[]');
SELECT drift('integer', '12', 'small');
SELECT drift('integer', '1', 'boolean');
SELECT drift('integer', '2', 'boolean');

-- Text.
SELECT drift('varchar(100)', '''a longer text''', 'varchar(10)');
SELECT drift('varchar(100)', '''blanks      ''', 'varchar(10)');
SELECT drift('varchar(100)', '''short''', 'varchar(10)');
SELECT drift('text', '''blanks    ''', 'char(6)');
SELECT drift('char(20)', '''blanks''', 'varchar(10)');
SELECT drift('text', '''a''', 'text COLLATE "C"');
SELECT drift('text', '''7''', 'integer');
SELECT drift('text', '''007''', 'integer');
SELECT drift('text', '''seven''', 'integer');
SELECT drift('integer', '7', 'text');
SELECT drift('integer', '70000', 'varchar(3)');
SELECT drift('text', '''a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11''', 'uuid');
SELECT drift('text', '''A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11''', 'uuid');
SELECT drift('bytea', '''\xdead''', 'text');
SET extra_float_digits = 0;
SELECT drift('float8', '0.1::float8 + 0.2', 'text');
RESET extra_float_digits;

-- Dates and times; what the session's settings decide is said.
SELECT drift('timestamp', '''2022-04-05 07:38:00.5''', 'timestamp(0)');
SELECT drift('timestamp', '''2022-04-05 07:38''', 'date');
SELECT drift('timestamp', '''2022-04-05 00:00''', 'date');
SELECT drift('timestamp', '''2022-04-05 07:38''', 'time');
SELECT drift('interval', '''1 day 07:38''', 'interval day');
SELECT drift('timestamp', '''2022-04-05 07:38''', 'timestamptz');
SET timezone = 'Europe/Berlin';
SELECT drift('timestamp', '''2022-04-05 07:38''', 'timestamptz');
-- An hour that there was not, one that there was twice.
SELECT drift('timestamp[]', '''{2022-04-05 07:38}''', 'timestamptz[]');
SELECT drift('timestamp', '''2022-03-27 02:30''', 'timestamptz');
SELECT drift('timestamptz', '''2022-10-30 00:30+00''', 'timestamp');
SELECT drift('timestamptz', '''2022-04-05 07:38+10''', 'text');
RESET timezone;

-- JSON: what means nothing may go.
SELECT drift('json', '''{"b": 1,  "a": "\":", "c" : [{}]}''', 'jsonb');
SELECT drift('json', '''{"a": {"b": 1, "b": 2}}''', 'jsonb');
SELECT drift('jsonb', '''{"a": 1}''', 'json');
SELECT drift('json', '''{"a":1}''', 'text');
SELECT drift('text', '''{"a": 1}''', 'jsonb');
SELECT drift('text', '''{"a":1}''', 'jsonb');

-- Types of one's own.
SELECT drift('mood', '''ok''', 'feeling');
SELECT drift('mood', '''sad''', 'feeling');
SELECT drift('mood', '''sad''', 'text');
SELECT drift('text', '''sad''', 'mood');
SELECT drift('pair', 'ROW(1, ''x'')', 'pair3');
SELECT drift('pair3', 'ROW(1, ''x'', NULL)', 'pair');
SELECT drift('point', '''(1,2)''', 'text');
SELECT drift('box', '''(1,2),(3,4)''', 'polygon');
SELECT drift('inet', '''10.0.0.1/8''', 'cidr');

-- The row is named, its values only to those who may read them.
CREATE TABLE item (id int PRIMARY KEY, v numeric);
SELECT deletion_guard.guard_table('item');
INSERT INTO item VALUES (1, 1.15);
DELETE FROM item;
ALTER TABLE item ALTER COLUMN v TYPE numeric(6,1);
SELECT max(id) AS d FROM deletion_guard.deletion \gset
CREATE ROLE regress_dg_drift_helper;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_drift_helper;
GRANT EXECUTE ON FUNCTION deletion_guard.undelete TO regress_dg_drift_helper;
GRANT INSERT ON item TO regress_dg_drift_helper;
SELECT * FROM deletion_guard.undelete(:d); -- fails
SET ROLE regress_dg_drift_helper;
SELECT * FROM deletion_guard.undelete(:d); -- fails
RESET ROLE;
SELECT problem FROM deletion_guard.undelete(:d, dry_run => true);

-- The text of an archive is read by the same rules.
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/drift_values.dump'
\setenv ARCHIVE :archive
\setenv PGDATABASE :DBNAME
CREATE TABLE shop (id int PRIMARY KEY, name text);
CREATE TABLE priced (id int PRIMARY KEY, shop_id int, price numeric, at timestamp, span interval, word text, code text, prices numeric[]);
SELECT deletion_guard.set_tenant_table('shop', 'id', 'name');
SELECT deletion_guard.guard_table('shop', 'id');
SELECT deletion_guard.guard_table('priced', 'shop_id');
INSERT INTO shop VALUES (1, 'one');
INSERT INTO priced VALUES (1, 1, 1.10, '2022-04-05 07:38:00', '1 day', 'short', 'x', '{1.10,NULL}'),
	(2, 1, NULL, NULL, NULL, NULL, NULL, NULL), (3, 1, 1.15, '2022-04-05 07:38:00.5', '1 day 07:38', 'blanks        ', 'y ', '{1.15}');
\! pg_dump -Fc -n public -f "$ARCHIVE"
DELETE FROM priced;
CREATE FUNCTION try(archive text, change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; detail text; context text;
BEGIN
	EXECUTE 'ALTER TABLE priced ' || change;
	PERFORM * FROM deletion_guard.rehydrate('1', archive);
	RAISE 'restored: %', (SELECT to_jsonb(p) FROM priced p WHERE id = 3);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
	RETURN concat_ws(' ', message, detail, substring(context FROM 'restoring row[^\n]*'));
END $$;
SELECT try(:'archive', 'ALTER price TYPE numeric(6,1)');
SELECT try(:'archive', 'ALTER price TYPE price');
SELECT try(:'archive', 'ALTER price TYPE numeric(6,2)');
SELECT try(:'archive', 'ALTER prices TYPE numeric(6,1)[]');
SELECT try(:'archive', 'ALTER at TYPE timestamp(0)');
SELECT try(:'archive', 'ALTER span TYPE interval day');
SELECT try(:'archive', 'ALTER word TYPE varchar(10)');
SELECT try(:'archive', 'ALTER code TYPE char(4)');

\c :maintenance_db
DROP DATABASE regress_dg_drift_values;
DROP ROLE regress_dg_drift_helper;
