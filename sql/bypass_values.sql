-- Rows of every form go into the bin and come back as they were.
CREATE DATABASE regress_dg_bypass_values;
\set maintenance_db :DBNAME
\c regress_dg_bypass_values
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN amount AS numeric(10, 3);

-- An expression for a random value of a type.
CREATE FUNCTION random_value(type text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r int := floor(random() * 1000);
BEGIN
	RETURN CASE type
		WHEN 'boolean' THEN (r % 2 = 0)::text
		WHEN '"char"' THEN quote_literal(chr(65 + r % 26))
		WHEN 'double precision' THEN quote_literal((ARRAY['NaN', '-0', '-Infinity', '0.1'])[1 + r % 4])
		WHEN 'numeric' THEN quote_literal((ARRAY['NaN', 'Infinity', '0.00', repeat('9', r)])[1 + r % 4])
		WHEN 'text' THEN (ARRAY['''''', quote_literal('v' || r), format('repeat(''x'', %s)', r * 10),
			format('(SELECT string_agg(md5((i * %s)::text), '''') FROM generate_series(1, %s) i)', r, r)])[1 + r % 4]
		WHEN 'bytea' THEN format('decode(repeat(''00ff'', %s), ''hex'')', r)
		WHEN 'char(7)' THEN quote_literal('c' || r)
		WHEN 'name' THEN quote_literal('n' || r)
		WHEN 'interval' THEN quote_literal(r || ' months 3 days 04:05:06')
		WHEN 'timestamptz' THEN '''infinity'''
		WHEN 'date' THEN '''4713-01-01 BC'''
		WHEN 'uuid' THEN quote_literal(md5(r::text))
		WHEN 'inet' THEN '''10.0.0.1/8'''
		WHEN 'tsvector' THEN quote_literal('a:1 b:' || r + 1)
		WHEN 'json' THEN quote_literal('{"a" :  ' || r || ', "a":null}')
		WHEN 'jsonb' THEN quote_literal('{"a": ' || r || '}')
		WHEN 'int4range' THEN quote_literal('[1,' || r + 2 || ')')
		WHEN 'polygon' THEN '''((0,0),(1,1),(2,0))'''
		WHEN 'bit varying' THEN 'B''10101'''
		WHEN 'integer[]' THEN quote_literal((ARRAY['[2:3]={1,NULL}', '{}', '{{1,2},{3,4}}'])[1 + r % 3])
		WHEN 'mood' THEN '''ok'''
		WHEN 'mood[]' THEN '''{ok,NULL,sad}'''
		WHEN 'pair' THEN format('ROW(%s, repeat(''p'', %s))::pair', r, r * 20)
		WHEN 'int4multirange' THEN '''{[1,2),[5,9)}'''
		ELSE r::text
	END;
END $$;

-- Deletes and undeletes n random tables: 1 to 33 columns, nulls, dropped, added
-- and generated columns; by DELETE, TRUNCATE, and row by row.
CREATE PROCEDURE try_tables(n int) LANGUAGE plpgsql AS $$
DECLARE
	types text[] := ARRAY['boolean', '"char"', 'smallint', 'integer', 'bigint', 'real', 'double precision', 'numeric',
		'text', 'bytea', 'char(7)', 'name', 'interval', 'timestamptz', 'date', 'uuid', 'inet', 'tsvector', 'json', 'jsonb',
		'int4range', 'polygon', 'bit varying', 'integer[]', 'mood', 'mood[]', 'pair', 'amount', 'int4multirange'];
	widths int[] := ARRAY[1, 2, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 24, 33];
	columns text[];
	nulls float;
	differences bigint;
BEGIN
	FOR i IN 1 .. n LOOP
		columns := (SELECT array_agg(types[1 + floor(random() * cardinality(types))])
					FROM generate_series(1, widths[1 + i % cardinality(widths)]));
		nulls := (ARRAY[0, 0.1, 0.5, 0.9])[1 + floor(random() * 4)];
		EXECUTE format('CREATE TABLE tried (%s)',
			(SELECT string_agg(format('c%s %s', o, t), ', ' ORDER BY o) FROM unnest(columns) WITH ORDINALITY u(t, o)));
		FOR line IN 1 .. 8 LOOP
			EXECUTE format('INSERT INTO tried VALUES (%s)',
				(SELECT string_agg(CASE WHEN random() < nulls THEN 'NULL' ELSE random_value(t) END, ', ' ORDER BY o)
				 FROM unnest(columns) WITH ORDINALITY u(t, o)));
		END LOOP;
		CASE i % 4
			WHEN 1 THEN ALTER TABLE tried DROP COLUMN c1; ALTER TABLE tried ADD COLUMN c1 int;
			WHEN 2 THEN
				ALTER TABLE tried ADD COLUMN late text DEFAULT 'late', ADD COLUMN later int;
				INSERT INTO tried (late) VALUES (NULL);
			WHEN 3 THEN ALTER TABLE tried ADD COLUMN five int GENERATED ALWAYS AS (5) STORED;
			ELSE NULL;
		END CASE;
		PERFORM deletion_guard.guard_table('tried');
		CREATE TEMPORARY TABLE original AS SELECT tried::text AS line FROM tried;
		IF i % 3 = 0 THEN
			TRUNCATE tried;
		ELSIF i % 3 = 1 THEN
			DELETE FROM tried;
		ELSE
			SET LOCAL session_replication_role = replica;
			DELETE FROM tried;
			SET LOCAL session_replication_role = origin;
		END IF;
		SELECT count(*) INTO differences FROM (
			(TABLE original EXCEPT ALL SELECT d::text FROM deletion_guard.deleted_rows(NULL::tried) d) UNION ALL
			(SELECT d::text FROM deletion_guard.deleted_rows(NULL::tried) d EXCEPT ALL TABLE original)) x;
		IF differences > 0 THEN
			RAISE EXCEPTION 'the bin differs from a table of %', columns;
		END IF;
		PERFORM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
		SELECT count(*) INTO differences FROM (
			(TABLE original EXCEPT ALL SELECT t::text FROM tried t) UNION ALL
			(SELECT t::text FROM tried t EXCEPT ALL TABLE original)) x;
		IF differences > 0 OR NOT EXISTS (SELECT FROM tried) THEN
			RAISE EXCEPTION 'undelete changed a table of %', columns;
		END IF;
		PERFORM deletion_guard.unguard_table('tried');
		DROP TABLE tried, original;
		COMMIT;
	END LOOP;
END $$;
SELECT setseed(0.25);
CALL try_tables(96);
SELECT count(*) AS deletions FROM deletion_guard.deletion;

-- Values that are stored out of line, compressed, and neither.
CREATE TABLE large (id int, plain text, compressed text, outside text);
ALTER TABLE large ALTER plain SET STORAGE PLAIN, ALTER outside SET STORAGE EXTERNAL;
SELECT deletion_guard.guard_table('large');
INSERT INTO large SELECT i, repeat('p', 3000), repeat('c', 1000000), repeat('o', 100000) FROM generate_series(1, 3) i;
DELETE FROM large WHERE id = 1;
VACUUM large;
TRUNCATE large;
SELECT id, length(plain), length(compressed), length(outside) FROM deletion_guard.deleted_rows(NULL::large) ORDER BY id;
SELECT restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT id, plain = repeat('p', 3000) AND compressed = repeat('c', 1000000) AND outside = repeat('o', 100000) AS same FROM large;

-- Rows that fill their page, and as many columns as there can be.
CREATE PROCEDURE make_wide(n int, type text, value text = '1') LANGUAGE plpgsql AS $$
BEGIN
	DROP TABLE IF EXISTS wide;
	EXECUTE format('CREATE TABLE wide (%s)',
		(SELECT string_agg(format('c%s %s DEFAULT %L', i, type, value), ', ' ORDER BY i) FROM generate_series(1, n) i));
	PERFORM deletion_guard.guard_table('wide');
	INSERT INTO wide DEFAULT VALUES;
END $$;
CALL make_wide(1014, 'bigint');
DELETE FROM wide;
SELECT c1014 FROM deletion_guard.deleted_rows(NULL::wide);
SELECT deletion_guard.unguard_table('wide');
CALL make_wide(1016, 'bigint');
DELETE FROM wide; -- fails
SELECT count(*) FROM wide;
SELECT deletion_guard.unguard_table('wide');
-- So with many short values, none of which is worth storing elsewhere; one that is
-- makes room.
CALL make_wide(387, 'text', repeat('x', 20));
DELETE FROM wide; -- fails
UPDATE wide SET c1 = repeat('y', 70), c2 = '', c3 = '';
DELETE FROM wide;
SELECT c1 = repeat('y', 70) AS c1, c387 FROM deletion_guard.deleted_rows(NULL::wide);
SELECT deletion_guard.unguard_table('wide');
CALL make_wide(1597, 'integer');
DELETE FROM wide;
SELECT c1597 FROM deletion_guard.deleted_rows(NULL::wide);
ALTER TABLE wide ADD COLUMN c1598 int;
DELETE FROM wide;
INSERT INTO wide DEFAULT VALUES;
DELETE FROM wide; -- fails
SELECT count(*) FROM wide;

-- Columns whose type has changed since.
CREATE TABLE changing (id int, n int, t text);
SELECT deletion_guard.guard_table('changing');
INSERT INTO changing VALUES (1, 10, '7'), (2, 20, 'seven');
DELETE FROM changing WHERE id = 1;
ALTER TABLE changing ALTER n TYPE numeric(5, 1), ALTER t TYPE varchar(10), ADD COLUMN more int;
DELETE FROM changing WHERE id = 2;
SELECT * FROM deletion_guard.deleted_rows(NULL::changing) ORDER BY id;

\c :maintenance_db
DROP DATABASE regress_dg_bypass_values;
