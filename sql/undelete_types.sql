-- Links of rows whose keys are of types from anywhere: their equality is not in
-- pg_catalog, or is not the bytes' one.
CREATE DATABASE regress_dg_undelete_types;
\set maintenance_db :DBNAME
\c regress_dg_undelete_types
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE SCHEMA ext;
CREATE EXTENSION ltree SCHEMA ext;
CREATE EXTENSION isn SCHEMA ext;
CREATE EXTENSION citext SCHEMA ext;
CREATE EXTENSION hstore SCHEMA ext;
CREATE FUNCTION last() RETURNS bigint LANGUAGE sql AS $$ SELECT max(id) FROM deletion_guard.deletion $$;
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN path AS ext.ltree;
CREATE DOMAIN email AS ext.citext CHECK (VALUE OPERATOR(ext.~) '@');
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TYPE pair AS (a int, b text);

-- For each type: a row whose key is of it loses its link, and a link is of it.
CREATE TABLE tried (type text, first text, second text);
INSERT INTO tried VALUES ('ext.ltree', 'top', 'top.a'), ('public.path', 'top', 'top.a'), ('ext.ltree[]', '{a,b.c}', '{a}'),
	('ext.isbn13', '978-0-11-000533-1', '978-0-393-04002-9'), ('ext.citext', 'One', 'Two'), ('public.email', 'A@x', 'B@x'),
	('ext.citext[]', '{One,two}', '{Three}'), ('public.path[]', '{top,top.a}', '{top}'), ('ext.hstore', 'a=>1', 'b=>NULL'),
	('public.mood', 'sad', 'glad'), ('public.pair', '(1,x)', '(2,)'), ('text COLLATE public.nocase', 'One', 'Two'),
	('numeric', '1.50', '2'), ('char(5)', 'a', 'b'), ('int4range', '[1,3)', '[5,7)'), ('interval', '1 mon', '2 days'),
	('timestamptz', '2020-01-01', '2021-01-01'), ('bytea', '\x00', '\x01'), ('"char"', 'a', 'b'), ('float8', '0.1', '-0');
CREATE FUNCTION try(type text, first text, second text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('CREATE TABLE parent (k %s PRIMARY KEY)', type);
	EXECUTE format('CREATE TABLE child (k %1$s PRIMARY KEY, p %1$s REFERENCES parent ON DELETE SET NULL)', type);
	EXECUTE format('CREATE TABLE keyless (n int, k %1$s, p %1$s REFERENCES parent ON DELETE SET NULL)', type);
	EXECUTE $q$SELECT deletion_guard.guard_table(t) FROM unnest('{parent,child,keyless}'::regclass[]) t$q$;
	EXECUTE format('INSERT INTO parent VALUES (%L), (%L)', first, second);
	EXECUTE format('INSERT INTO child VALUES (%1$L, %2$L), (%2$L, %1$L)', first, second);
	EXECUTE format('INSERT INTO keyless VALUES (1, %1$L, %2$L), (2, %2$L, %1$L), (1, %1$L, %2$L)', first, second);
	EXECUTE $q$CREATE TABLE before AS SELECT 'child' AS t, NULL::int AS n, c.k::text, c.p::text FROM child c
		UNION ALL SELECT 'keyless', n, k::text, p::text FROM keyless$q$;
	EXECUTE 'DELETE FROM parent';
	PERFORM deletion_guard.undelete(last());
	EXECUTE $q$SELECT string_agg(x::text, ' ') FROM
		(SELECT 'child' AS t, NULL::int AS n, c.k::text, c.p::text FROM child c UNION ALL SELECT 'keyless', n, k::text, p::text FROM keyless
		 EXCEPT ALL TABLE before) x$q$ INTO result;
	EXECUTE $q$SELECT deletion_guard.unguard_table(t) FROM unnest('{parent,child,keyless}'::regclass[]) t$q$;
	DROP TABLE parent, child, keyless, before;
	RETURN coalesce(result, 'as before');
END $$;
SELECT type, try(type, first, second) FROM tried;

-- Many rows that are the same, and more of them than lost links.
CREATE TABLE parent (k int PRIMARY KEY);
CREATE TABLE keyless (p int REFERENCES parent ON DELETE SET NULL, note text);
SELECT deletion_guard.guard_table(t) FROM unnest('{parent,keyless}'::regclass[]) t;
INSERT INTO parent VALUES (1), (2);
INSERT INTO keyless SELECT CASE WHEN n % 3 > 0 THEN n % 3 END, 'same' FROM generate_series(1, 3000) n;
DELETE FROM parent;
SELECT restored FROM deletion_guard.undelete(last());
SELECT p, count(*) FROM keyless GROUP BY 1 ORDER BY 1;

-- Of several links that a row has lost in turn, the last is what it had; rows in
-- the bin are shown with what they come back with.
CREATE TABLE task (id int PRIMARY KEY, p int REFERENCES parent ON DELETE SET NULL);
SELECT deletion_guard.guard_table('task');
INSERT INTO task VALUES (1, 1), (2, 2), (3, NULL);
DELETE FROM parent WHERE k = 1;
SELECT last() AS first \gset
UPDATE task SET p = 2 WHERE id = 1;
DELETE FROM parent WHERE k = 2;
SELECT last() AS second \gset
DELETE FROM task;
SELECT * FROM deletion_guard.deleted_rows(NULL::task) ORDER BY id;
SELECT restored FROM deletion_guard.undelete(last());
TABLE task ORDER BY id;
SELECT restored FROM deletion_guard.undelete(:first);
SELECT restored FROM deletion_guard.undelete(:second);
TABLE task ORDER BY id;
DELETE FROM keyless;
SELECT p, count(*) FROM deletion_guard.deleted_rows(NULL::keyless) GROUP BY 1 ORDER BY 1;

\c :maintenance_db
DROP DATABASE regress_dg_undelete_types;
