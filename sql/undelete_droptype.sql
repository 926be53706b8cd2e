-- A type that only deleted rows are of can be dropped: they keep its values as text.
CREATE DATABASE regress_dg_undelete_droptype;
\set maintenance_db :DBNAME
\c regress_dg_undelete_droptype
SET client_min_messages = notice;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE FUNCTION last() RETURNS bigint LANGUAGE sql AS $$ SELECT max(id) FROM deletion_guard.deletion $$;
CREATE TYPE st AS ENUM ('open', 'closed', 'odd');
CREATE TYPE pair AS (a int, at timestamptz);
CREATE DOMAIN code AS text CHECK (VALUE ~ '^[a-z]');
CREATE TYPE span AS RANGE (subtype = float8);
CREATE TABLE t (id int PRIMARY KEY, s st, many st[], p pair, c code, r span, rs span_multirange);
SELECT deletion_guard.guard_table('t');
INSERT INTO t VALUES (1, 'open', '{open,closed}', '(1,"2020-01-01 00:00:00+02")', 'abc', '[0.1,0.3)', '{[1,2)}'),
	(2, 'closed', '{}', '(,)', 'x', 'empty', '{}'), (3, NULL, NULL, NULL, NULL, NULL, NULL), (4, 'odd', NULL, NULL, NULL, NULL, NULL);
CREATE TABLE before AS SELECT id, s::text, many::text, p::text, c::text, r::text, rs::text FROM t;
DELETE FROM t WHERE id < 4;
DELETE FROM t;
-- As migrations do it.
BEGIN;
ALTER TYPE st RENAME TO st_old;
CREATE TYPE st AS ENUM ('open', 'closed', 'done');
ALTER TABLE t ALTER s TYPE st USING s::text::st, ALTER many TYPE st[] USING many::text::st[];
DROP TYPE st_old;
ALTER TABLE t ALTER p TYPE text USING p::text, ALTER c TYPE text, ALTER r TYPE text USING r::text, ALTER rs TYPE text USING rs::text;
DROP TYPE pair, span;
DROP DOMAIN code;
COMMIT;
SET timezone = 'Asia/Tokyo';
SELECT id, s, many FROM deletion_guard.deleted_rows(NULL::t, deletion_id => last() - 1) ORDER BY id;
SELECT restored FROM deletion_guard.undelete(last() - 1);
SELECT id, s::text, many::text, c, r, rs FROM t EXCEPT SELECT id, s, many, c, r, rs FROM before;
SELECT id, p FROM t ORDER BY id;
SELECT restored FROM deletion_guard.undelete(last()); -- fails
SELECT problem FROM deletion_guard.undelete(last(), dry_run => true);
DELETE FROM t WHERE id = 1;
SELECT restored FROM deletion_guard.undelete(last());

-- What others need stays, and with it the bins as they were.
DELETE FROM t WHERE id = 1;
DROP TYPE st; -- fails
SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = (SELECT max(bin_table::oid) FROM deletion_guard.bin) AND attname = 's';
-- Who may not drop a type changes nothing.
CREATE ROLE regress_dg_droptype;
ALTER TABLE t ALTER s TYPE text, ALTER many TYPE text[];
SET ROLE regress_dg_droptype;
DROP TYPE st; -- fails
RESET ROLE;
SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = (SELECT max(bin_table::oid) FROM deletion_guard.bin) AND attname = 's';
DROP TYPE st;
SELECT restored FROM deletion_guard.undelete(last());
SELECT id, s, many FROM t ORDER BY id;
SELECT check_name, detail FROM deletion_guard.verify() WHERE NOT ok AND check_name ~ 'bin|guard' ORDER BY 1;

-- An extension takes its types along without asking for each.
CREATE EXTENSION citext;
CREATE TABLE mail (id int PRIMARY KEY, address citext);
SELECT deletion_guard.guard_table('mail');
INSERT INTO mail VALUES (1, 'A@x');
DELETE FROM mail;
ALTER TABLE mail ALTER address TYPE text;
DROP EXTENSION citext CASCADE; -- fails
SELECT restored FROM deletion_guard.undelete(last());

\c :maintenance_db
DROP DATABASE regress_dg_undelete_droptype;
DROP ROLE regress_dg_droptype;
