-- Live rows that have the keys of deleted ones, in every way a key can be had.
CREATE DATABASE regress_dg_undelete_conflict;
\set maintenance_db :DBNAME
\c regress_dg_undelete_conflict
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE FUNCTION last() RETURNS bigint LANGUAGE sql AS $$ SELECT max(id) FROM deletion_guard.deletion $$;

-- Several unique keys, partial, on an expression, with nulls that are equal.
CREATE TABLE account (id int PRIMARY KEY, tenant int, email text, phone text, active boolean DEFAULT true, note text,
	UNIQUE NULLS NOT DISTINCT (tenant, phone));
CREATE UNIQUE INDEX account_email ON account (lower(email)) WHERE active;
SELECT deletion_guard.guard_table('account', 'tenant');
INSERT INTO account VALUES (1, 1, 'A@x', '1', true, 'one'), (2, 2, 'b@x', NULL, true, 'two'), (3, 3, 'c@x', '3', true, 'three'), (4, 3, 'd@x', '4', false, 'four');
DELETE FROM account;
SELECT last() AS d \gset
INSERT INTO account VALUES (11, 9, 'a@X', '11', true, NULL), (12, 2, 'new@x', NULL, true, NULL), (3, 3, 'c@x', '3', true, 'other'), (4, 3, 'd@x', '4', false, 'four');
SELECT * FROM deletion_guard.undelete(last()); -- fails: keys and live rows are named
SELECT * FROM deletion_guard.undelete(last(), dry_run => true);
BEGIN;
SELECT tenant, restored, identical, skipped, problem FROM deletion_guard.undelete(last(), 'skip') ORDER BY 1;
ROLLBACK;
SELECT * FROM deletion_guard.undelete(last(), 'replace'); -- fails: rows 11 and 12 have other keys besides
DELETE FROM account WHERE id IN (11, 12);
SELECT tenant, restored, identical, skipped FROM deletion_guard.undelete(:d, 'replace') ORDER BY 1;
SELECT * FROM account ORDER BY id;
SELECT id, note FROM deletion_guard.deleted_rows(NULL::account) ORDER BY id;
-- An inactive one has the e-mail of a live one: not in the index, no conflict.
INSERT INTO account VALUES (5, 5, 'a@x', '5', false);
DELETE FROM account WHERE id = 5;
SELECT restored FROM deletion_guard.undelete(last());

-- The keys of two rows have changed places, or passed on in a chain.
CREATE TABLE seat (id int PRIMARY KEY, place text UNIQUE);
SELECT deletion_guard.guard_table('seat');
INSERT INTO seat VALUES (1, 'a'), (2, 'b');
DELETE FROM seat;
INSERT INTO seat VALUES (1, 'b'), (2, 'a');
SELECT * FROM deletion_guard.undelete(last(), 'replace'); -- fails: neither keeps all its keys
SELECT skipped FROM deletion_guard.undelete(last(), 'skip');
DELETE FROM seat;
SELECT restored FROM deletion_guard.undelete(last() - 1);
TABLE seat ORDER BY id;

-- The row of the same primary key is replaced though other keys of it differ,
-- unless another row has one of these, or a foreign key refers to one.
CREATE TABLE login (id int PRIMARY KEY, email text UNIQUE, nick text UNIQUE);
CREATE TABLE post (id int PRIMARY KEY, nick text REFERENCES login (nick) ON UPDATE CASCADE);
SELECT deletion_guard.guard_table('login');
INSERT INTO login VALUES (1, 'a@x', 'ann');
DELETE FROM login;
INSERT INTO login VALUES (1, 'new@x', 'ann'), (2, 'bob@x', 'bob');
BEGIN;
SELECT restored FROM deletion_guard.undelete(last(), 'replace');
TABLE login ORDER BY id;
SELECT * FROM deletion_guard.deleted_rows(NULL::login);
ROLLBACK;
BEGIN;
UPDATE login SET email = 'a@x' WHERE id = 2;
SELECT * FROM deletion_guard.undelete(last(), 'replace'); -- fails: the e-mail is bob's
ROLLBACK;
BEGIN;
UPDATE login SET nick = 'anna' WHERE id = 1;
INSERT INTO post VALUES (1, 'anna');
SAVEPOINT s;
SELECT * FROM deletion_guard.undelete(last(), 'replace'); -- fails: a post refers to the nick
ROLLBACK TO s;
UPDATE login SET nick = 'ann' WHERE id = 1;
SELECT restored FROM deletion_guard.undelete(last(), 'replace');
TABLE post;
ROLLBACK;

-- Exclusion constraints; two versions of one booking in one call.
CREATE TABLE booking (id int PRIMARY KEY, room box, note text, EXCLUDE USING gist (room WITH &&));
SELECT deletion_guard.guard_table('booking');
INSERT INTO booking VALUES (1, '(0,0),(2,2)', 'first'), (2, '(5,5),(6,6)', 'second');
DELETE FROM booking;
INSERT INTO booking VALUES (3, '(1,1),(3,3)', 'third');
SELECT * FROM deletion_guard.undelete(last()); -- fails
SELECT restored, skipped FROM deletion_guard.undelete(last(), 'skip');
TABLE booking ORDER BY id;

-- A row that was deleted twice: the later version is the one to come back.
CREATE TABLE version (id int PRIMARY KEY, tenant int, v text, span box, EXCLUDE USING gist (span WITH &&));
SELECT deletion_guard.guard_table('version', 'tenant');
CREATE TABLE nullable (tenant int, a int, v text, UNIQUE NULLS NOT DISTINCT (a));
SELECT deletion_guard.guard_table('nullable', 'tenant');
INSERT INTO version VALUES (1, 1, 'old', '(0,0),(1,1)');
INSERT INTO nullable VALUES (1, NULL, 'old');
DELETE FROM version;
DELETE FROM nullable;
INSERT INTO version VALUES (2, 1, 'new', '(0,0),(1,1)');
INSERT INTO nullable VALUES (1, NULL, 'new');
DELETE FROM version;
DELETE FROM nullable;
SELECT * FROM deletion_guard.undelete_tenant('1'); -- fails
BEGIN;
SELECT relation, restored, skipped FROM deletion_guard.undelete_tenant('1', on_conflict => 'skip') ORDER BY 1;
SELECT v FROM version UNION ALL SELECT v FROM nullable;
SELECT v FROM deletion_guard.deleted_rows(NULL::version);
ROLLBACK;
ALTER TABLE version DROP CONSTRAINT version_span_excl;
SELECT relation, restored, skipped FROM deletion_guard.undelete_tenant('1', on_conflict => 'replace') ORDER BY 1;
SELECT v FROM version UNION ALL SELECT v FROM nullable ORDER BY v;
-- What the later version replaced is in the bin again.
SELECT v FROM deletion_guard.deleted_rows(NULL::nullable);

-- Deferrable keys are the server's to check, at once or at the end, unless
-- something is to be done about conflicts.
CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, v text);
SELECT deletion_guard.guard_table('late');
INSERT INTO late VALUES (1, 'deleted');
DELETE FROM late;
INSERT INTO late VALUES (1, 'live');
SELECT * FROM deletion_guard.undelete(last()); -- fails
SELECT restored, skipped FROM deletion_guard.undelete(last(), 'skip');
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
SELECT restored, skipped FROM deletion_guard.undelete(last(), 'skip');
SELECT restored, skipped FROM deletion_guard.undelete(last(), 'replace');
COMMIT;
TABLE late;
SELECT v FROM deletion_guard.deleted_rows(NULL::late);
SELECT last() AS replaced \gset
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
SELECT restored FROM deletion_guard.undelete(:replaced);
COMMIT; -- fails
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
SELECT restored FROM deletion_guard.undelete(last());
UPDATE late SET id = 2 WHERE v = 'live';
COMMIT;
TABLE late ORDER BY id;

-- Of several versions the latest wins, and what is live already is.
TRUNCATE late;
INSERT INTO late VALUES (1, 'old'), (2, 'same');
DELETE FROM late;
SELECT last() AS d \gset
INSERT INTO late VALUES (1, 'new'), (3, 'three');
DELETE FROM late;
INSERT INTO late VALUES (2, 'same');
BEGIN;
SELECT restored, identical, skipped FROM deletion_guard.undelete(:d, 'skip');
SELECT restored, identical, skipped FROM deletion_guard.undelete(last(), 'skip');
TABLE late ORDER BY id;
ROLLBACK;
SELECT restored, identical, skipped FROM deletion_guard.undelete(:d, 'replace');
SELECT restored, identical, skipped FROM deletion_guard.undelete(:d + 1, 'replace');
TABLE late ORDER BY id;

-- A deferrable primary key tells whose place a row may take, like another.
CREATE TABLE later (id int PRIMARY KEY DEFERRABLE, code int UNIQUE DEFERRABLE);
SELECT deletion_guard.guard_table('later');
INSERT INTO later VALUES (1, 10), (2, 20);
DELETE FROM later;
INSERT INTO later VALUES (1, 11), (3, 20);
SELECT * FROM deletion_guard.undelete(last(), 'replace'); -- fails: 3 is another row
SELECT * FROM later ORDER BY id;
UPDATE later SET code = 30 WHERE id = 3;
SELECT restored FROM deletion_guard.undelete(last(), 'replace');
SELECT * FROM later ORDER BY id;

-- An exclusion constraint for some rows, whose index finds more than overlaps.
CREATE TABLE spot (id int, area circle, EXCLUDE USING gist (area WITH &&) WHERE (id > 0) DEFERRABLE);
SELECT deletion_guard.guard_table('spot');
INSERT INTO spot VALUES (0, '<(0,0),1>'), (1, '<(0,0),1>'), (2, '<(9,9),1>'), (3, NULL);
DELETE FROM spot;
INSERT INTO spot VALUES (4, '<(1.8,1.8),1>'), (5, '<(9,9),2>');
SELECT restored, skipped FROM deletion_guard.undelete(last(), 'skip');
SELECT * FROM spot ORDER BY id;

-- A parent that is kept or replaced, and its children of every kind.
CREATE TABLE owner (id int PRIMARY KEY, tenant int, name text);
CREATE TABLE pet (id int PRIMARY KEY, tenant int, owner_id int REFERENCES owner ON DELETE CASCADE);
CREATE TABLE bill (id int PRIMARY KEY, tenant int, owner_id int REFERENCES owner ON DELETE RESTRICT);
CREATE TABLE note (id int PRIMARY KEY, tenant int, owner_id int REFERENCES owner ON DELETE SET NULL);
SELECT deletion_guard.guard_table(t, 'tenant') FROM unnest('{owner,pet,note}'::regclass[]) t;
INSERT INTO owner VALUES (1, 1, 'deleted');
INSERT INTO pet VALUES (1, 1, 1);
INSERT INTO note VALUES (1, 1, 1);
DELETE FROM owner;
INSERT INTO owner VALUES (1, 1, 'live');
INSERT INTO pet VALUES (2, 1, 1);
INSERT INTO bill VALUES (2, 1, 1);
INSERT INTO note VALUES (2, 1, 1);
BEGIN;
SELECT relation, restored, skipped FROM deletion_guard.undelete(last(), 'skip') ORDER BY 1;
SELECT name, (SELECT array_agg(id ORDER BY id) FROM pet WHERE owner_id = 1) AS pets,
	(SELECT array_agg(id ORDER BY id) FROM note WHERE owner_id = 1) AS notes FROM owner;
ROLLBACK;
SELECT relation, restored, skipped FROM deletion_guard.undelete(last(), 'replace') ORDER BY 1;
SELECT name, (SELECT array_agg(id ORDER BY id) FROM pet WHERE owner_id = 1) AS pets,
	(SELECT array_agg(id) FROM bill WHERE owner_id = 1) AS bills,
	(SELECT array_agg(id ORDER BY id) FROM note WHERE owner_id = 1) AS notes FROM owner;
SELECT name FROM deletion_guard.deleted_rows(NULL::owner);

-- A replaced row's keys are checked as an updated row's.
CREATE TABLE place (id int PRIMARY KEY);
CREATE TABLE thing (id int PRIMARY KEY, place int REFERENCES place DEFERRABLE, shelf box, EXCLUDE USING gist (shelf WITH &&) DEFERRABLE);
SELECT deletion_guard.guard_table(t) FROM unnest('{place,thing}'::regclass[]) t;
INSERT INTO place VALUES (1), (2);
INSERT INTO thing VALUES (1, 1, '(0,0),(1,1)'), (2, 2, '(3,3),(4,4)');
DELETE FROM thing;
SELECT last() AS d \gset
DELETE FROM place WHERE id = 1;
INSERT INTO thing VALUES (1, 2, NULL), (2, 2, NULL);
SELECT * FROM deletion_guard.undelete(:d, 'replace'); -- fails: no place 1
INSERT INTO place VALUES (1);
INSERT INTO thing VALUES (3, 2, '(3,3),(4,4)');
SELECT * FROM deletion_guard.undelete(:d, 'replace'); -- fails: its shelf is taken
DELETE FROM thing WHERE id = 3;
SELECT restored FROM deletion_guard.undelete(:d, 'replace');
TABLE thing ORDER BY id;

-- Keys that other tenants have taken since: a row replaces none of another tenant.
CREATE TABLE desk (id int PRIMARY KEY, tenant_id int, guest text);
SELECT deletion_guard.guard_table('desk', 'tenant_id');
INSERT INTO desk VALUES (1, 1, 'ann'), (2, 1, 'bob'), (3, NULL, 'anyone'), (4, 2, 'eve');
DELETE FROM desk;
SELECT last() AS d \gset
INSERT INTO desk VALUES (1, 1, 'zoe'), (2, 2, 'max'), (3, 2, 'max'), (4, NULL, 'anyone');
SELECT * FROM deletion_guard.undelete(:d, 'replace'); -- fails
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::desk);
DELETE FROM desk WHERE guest = 'max';
SELECT tenant, restored FROM deletion_guard.undelete(:d, 'replace') ORDER BY 1;
TABLE desk ORDER BY id;

-- More conflicts than are named.
CREATE TABLE many (id int PRIMARY KEY, v int);
SELECT deletion_guard.guard_table('many');
INSERT INTO many SELECT i, i FROM generate_series(1, 5000) i;
DELETE FROM many;
INSERT INTO many SELECT i, -i FROM generate_series(1, 5000) i;
SELECT * FROM deletion_guard.undelete(last()); -- fails
SELECT restored, skipped FROM deletion_guard.undelete(last(), 'replace');
SELECT count(*) FILTER (WHERE v > 0) FROM many;

-- In a savepoint that is rolled back, in functions, in a procedure that commits.
DELETE FROM many WHERE id > 4990;
BEGIN;
SAVEPOINT s;
SELECT restored FROM deletion_guard.undelete(last());
ROLLBACK TO s;
SELECT count(*) FROM many;
SELECT restored FROM deletion_guard.undelete(last());
COMMIT;
SELECT count(*) FROM many;
DELETE FROM many WHERE id > 4990;
DO $$
BEGIN
	BEGIN
		PERFORM * FROM deletion_guard.undelete(last());
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		RAISE WARNING '% rows', (SELECT count(*) FROM many);
	END;
	PERFORM * FROM deletion_guard.undelete(last());
END $$;
SELECT count(*) FROM many;
CREATE PROCEDURE one_by_one() LANGUAGE plpgsql AS $$
DECLARE d bigint;
BEGIN
	FOR d IN SELECT id FROM deletion_guard.deletion WHERE state = 'deleted' AND statement LIKE '%FROM many WHERE id =%' ORDER BY id LOOP
		PERFORM * FROM deletion_guard.undelete(d);
		COMMIT;
	END LOOP;
END $$;
DELETE FROM many WHERE id = 1;
DELETE FROM many WHERE id = 2;
CALL one_by_one();
SELECT count(*) FROM many;
-- A deletion is undone in the transaction that made it.
BEGIN ISOLATION LEVEL SERIALIZABLE;
DELETE FROM many WHERE id < 10;
SELECT restored FROM deletion_guard.undelete(last());
COMMIT;
SELECT count(*) FROM many;

\c :maintenance_db
DROP DATABASE regress_dg_undelete_conflict;
