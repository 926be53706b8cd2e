-- Rows that a function or a DO block deletes one by one share parts, which are
-- written before anybody can miss them.
CREATE DATABASE regress_dg_open_parts;
\set maintenance_db :DBNAME
\c regress_dg_open_parts
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id int PRIMARY KEY, name text);
CREATE TABLE item (id int PRIMARY KEY, site_id int NOT NULL REFERENCES site, title text);
INSERT INTO site SELECT i, 'Site ' || i FROM generate_series(1, 3) i;
INSERT INTO item SELECT i, 1 + i % 3, 'Item ' || i FROM generate_series(1, 900) i;
SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
SELECT count(*) FROM deletion_guard.guard_schema('public', 'site_id');

-- what parts say that is not in the bin, or the other way round: none
CREATE FUNCTION differences() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	bin regclass = (SELECT bin_table FROM deletion_guard.bin WHERE relation = 'item'::regclass);
	result bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM (SELECT deletion_id, part, rows - restored - purged AS n FROM deletion_guard.deletion_part p
			JOIN deletion_guard.bin USING (bin_id) WHERE relation = ''item''::regclass) p
		FULL JOIN (SELECT _deletion, _part, count(*) n FROM %s GROUP BY 1, 2) b
		ON (deletion_id, part) = (_deletion, _part)
		WHERE coalesce(p.n, 0) <> coalesce(b.n, 0)', bin) INTO result;
	RETURN result;
END $$;
CREATE FUNCTION delete_each(first int, last int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN first .. last LOOP
		DELETE FROM item WHERE id = i;
	END LOOP;
END $$;
CREATE VIEW last_parts AS
	SELECT count(*) AS parts, sum(rows) AS rows FROM deletion_guard.deletion_part
	WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion);

-- one part for each tenant, and the one with the record
DO $$ BEGIN PERFORM delete_each(1, 90); END $$;
SELECT * FROM last_parts;
SELECT delete_each(91, 120);
SELECT * FROM last_parts;
SELECT tenant, rows FROM deletion_guard.deletion_detail WHERE deletion_id = 1 ORDER BY tenant;
SELECT differences();

-- who looks sees all of it: queries, functions of ours, commands, triggers
DO $$
DECLARE
	seen bigint;
BEGIN
	PERFORM delete_each(121, 150);
	SELECT sum(rows) INTO seen FROM deletion_guard.deletion_detail WHERE deletion_id = 3;
	RAISE WARNING 'seen: %', seen;
	PERFORM delete_each(151, 160);
	SELECT count(*) INTO seen FROM deletion_guard.deleted_rows(NULL::item, tenant => '1', deletion_id => 3);
	RAISE WARNING 'of tenant 1: %', seen;
	PERFORM delete_each(161, 170);
	CREATE TEMPORARY TABLE copied AS SELECT sum(rows) AS rows FROM deletion_guard.deletion_part WHERE deletion_id = 3;
	PERFORM delete_each(171, 180);
END $$;
SELECT * FROM copied;
SELECT * FROM last_parts;
DO $$
BEGIN
	PERFORM delete_each(181, 200);
	PERFORM deletion_guard.undelete(4);
	PERFORM delete_each(190, 210);
	PERFORM deletion_guard.undelete_tenant('1');
	PERFORM delete_each(205, 220);
END $$;
SELECT count(*) FROM item WHERE id BETWEEN 181 AND 220;
SELECT tenant, rows, restored FROM deletion_guard.deletion_detail WHERE deletion_id = 4 ORDER BY tenant;
SELECT differences();
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT sum(rows) FROM deletion_guard.deletion_detail WHERE deletion_id = TG_ARGV[0]::bigint) % 10 = 0 THEN
		RAISE WARNING 'trigger has seen %', (SELECT sum(rows) FROM deletion_guard.deletion_detail WHERE deletion_id = TG_ARGV[0]::bigint);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER zz_look AFTER DELETE ON item FOR EACH STATEMENT EXECUTE FUNCTION look(5);
SELECT delete_each(301, 320);
DROP TRIGGER zz_look ON item;
SELECT differences();

-- blocks with exceptions: what is rolled back is not counted, what was written in one that is rolled back is written again
DO $$
BEGIN
	PERFORM delete_each(321, 330);
	BEGIN
		PERFORM delete_each(331, 340);
		RAISE WARNING 'inside: %', (SELECT sum(rows) FROM deletion_guard.deletion_detail WHERE deletion_id = 6);
		PERFORM delete_each(341, 350);
		RAISE EXCEPTION 'undone';
	EXCEPTION WHEN raise_exception THEN
		RAISE WARNING 'outside: %', (SELECT sum(rows) FROM deletion_guard.deletion_detail WHERE deletion_id = 6);
	END;
	PERFORM delete_each(351, 360);
	BEGIN
		PERFORM delete_each(361, 370);
	EXCEPTION WHEN raise_exception THEN
		NULL;
	END;
	BEGIN
		RAISE WARNING 'read in a block: %', (SELECT sum(rows) FROM deletion_guard.deletion_detail WHERE deletion_id = 6);
		BEGIN
			PERFORM delete_each(371, 380);
			RAISE EXCEPTION 'undone';
		EXCEPTION WHEN raise_exception THEN
			NULL;
		END;
	EXCEPTION WHEN division_by_zero THEN
		NULL;
	END;
END $$;
SELECT * FROM last_parts;
SELECT count(*) FROM item WHERE id BETWEEN 321 AND 380;
SELECT differences();
-- the first statement too
DO $$
BEGIN
	BEGIN
		PERFORM delete_each(381, 390);
		RAISE EXCEPTION 'undone';
	EXCEPTION WHEN raise_exception THEN
		NULL;
	END;
	PERFORM delete_each(391, 400);
END $$;
SELECT * FROM last_parts;
SELECT differences();
-- a savepoint of the client
BEGIN;
SELECT delete_each(401, 410);
SAVEPOINT s;
SELECT delete_each(411, 420);
DO $$ BEGIN PERFORM delete_each(421, 430); PERFORM 1 / 0; END $$;
ROLLBACK TO s;
SELECT delete_each(431, 440);
COMMIT;
SELECT count(*) FROM item WHERE id BETWEEN 401 AND 440;
SELECT differences();

-- procedures that commit or roll back
CREATE PROCEDURE delete_and_commit(first int) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM delete_each(first, first + 9);
	COMMIT;
	PERFORM delete_each(first + 10, first + 19);
	ROLLBACK;
	PERFORM delete_each(first + 20, first + 29);
	COMMIT;
	PERFORM delete_each(first + 30, first + 39);
END $$;
CALL delete_and_commit(441);
SELECT count(*) FROM item WHERE id BETWEEN 441 AND 480;
SELECT differences();

-- a cursor whose query deletes as it is read
BEGIN;
DECLARE c CURSOR FOR SELECT delete_each(i, i + 4) FROM generate_series(481, 500, 5) i;
FETCH 2 FROM c;
SELECT differences();
FETCH 1 FROM c;
COMMIT;
SELECT differences();

-- the reason is the one of the first statement
CREATE FUNCTION with_reason() RETURNS void LANGUAGE plpgsql SET deletion_guard.reason = 'nightly' AS $$
BEGIN
	PERFORM delete_each(501, 510);
END $$;
SELECT with_reason();
SELECT reason, rows FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1;
-- what is expected may change on the way
DO $$
BEGIN
	PERFORM set_config('deletion_guard.expect_tenants', '1,2,3', true);
	PERFORM delete_each(511, 520);
	PERFORM set_config('deletion_guard.expect_tenants', '1,3', true);
	PERFORM delete_each(521, 530);
END $$;
-- ceilings count all of it
SET deletion_guard.max_rows = 25;
SELECT delete_each(511, 535);
SELECT delete_each(541, 566);
RESET deletion_guard.max_rows;
SET deletion_guard.max_tenants = 2;
SELECT delete_each(541, 543);
RESET deletion_guard.max_tenants;
SELECT differences();
-- a preview in the middle
DO $$
BEGIN
	PERFORM delete_each(541, 550);
	RAISE WARNING 'previewed: %', (SELECT sum(rows) FROM deletion_guard.preview('DELETE FROM item WHERE id BETWEEN 551 AND 560') WHERE effect = 'deleted');
	PERFORM delete_each(551, 560);
END $$;
SELECT * FROM last_parts;
SELECT differences();

-- everything comes back
SELECT sum(restored) FROM deletion_guard.undelete_tenants('{1,2,3}');
SELECT count(*), sum(id) FROM item;
SELECT differences();
SELECT check_name, detail FROM deletion_guard.verify() WHERE NOT ok AND check_name ~ 'bin|part|deletion';

-- Who looks for a tenant finds all spellings of its key, also those that are only in
-- parts that are not written yet.
CREATE EXTENSION citext;
CREATE TABLE note (id int PRIMARY KEY, org citext);
SELECT FROM deletion_guard.guard_table('note', 'org');
INSERT INTO note SELECT i, CASE WHEN i = 1 THEN 'other' ELSE 'WILE' END FROM generate_series(1, 10) i;
DO $$
BEGIN
	FOR i IN 1 .. 8 LOOP
		DELETE FROM note WHERE id = i;
	END LOOP;
	RAISE WARNING 'restored: %', (SELECT sum(restored) FROM deletion_guard.undelete_tenant('wile'));
END $$;
SELECT org, count(*) FROM note GROUP BY org::text, org ORDER BY org::text COLLATE "C";

\c :maintenance_db
DROP DATABASE regress_dg_open_parts WITH (FORCE);
