-- How a trigger finds the rows that a DELETE has taken: along the trail that the
-- query leaves, or in the transition table. Whatever the query, exactly the rows
-- that are gone are in the bin.
CREATE DATABASE regress_dg_trail;
\set maintenance_db :DBNAME
\c regress_dg_trail
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE item (id int PRIMARY KEY, tenant int, note text);
INSERT INTO item SELECT i, i % 3, 'note ' || i FROM generate_series(1, 30) i;
CREATE TABLE other (id int, item int);
INSERT INTO other SELECT i, i % 7 FROM generate_series(1, 30) i;
CREATE TABLE seen (what text);
SELECT deletion_guard.guard_table('item', 'tenant');
ANALYZE item, other;

-- Runs a statement, says what it did, and takes it back.
CREATE FUNCTION try(statement text, OUT gone bigint, OUT kept bigint, OUT exact boolean) LANGUAGE plpgsql AS $$
DECLARE
	lost int[];
	bin int[];
BEGIN
	EXECUTE statement;
	SELECT array_agg(i ORDER BY i) INTO lost FROM generate_series(1, 30) i WHERE NOT EXISTS (SELECT FROM item WHERE id = i);
	SELECT array_agg(id ORDER BY id) INTO bin FROM deletion_guard.deleted_rows(NULL::item)
	WHERE note = 'note ' || id AND tenant = id % 3;
	gone := coalesce(cardinality(lost), 0);
	kept := coalesce(cardinality(bin), 0);
	exact := lost IS NOT DISTINCT FROM bin AND (SELECT count(*) FROM deletion_guard.deleted_rows(NULL::item)) = kept;
	RAISE division_by_zero;
EXCEPTION
	WHEN division_by_zero THEN NULL;
END
$$;

-- Plans that come to a row once.
SELECT * FROM try('DELETE FROM item');
SELECT * FROM try('DELETE FROM item WHERE id = 3');
SELECT * FROM try('DELETE FROM item WHERE id = 300');
SELECT * FROM try($$DELETE FROM item WHERE ctid = ANY ('{"(0,1)","(0,1)","(0,5)"}')$$);
SELECT * FROM try($$DELETE FROM item WHERE ctid BETWEEN '(0,3)' AND '(0,8)'$$);
SET enable_seqscan = off;
SELECT * FROM try('DELETE FROM item WHERE id > 20');
SELECT * FROM try('DELETE FROM item WHERE id = ANY (ARRAY[1, 1, 2, 29])');
SET enable_indexscan = off;
SELECT * FROM try('DELETE FROM item WHERE id < 10 OR id IN (9, 20)');
RESET enable_seqscan;
RESET enable_indexscan;
SELECT * FROM try('DELETE FROM item WHERE id IN (SELECT item FROM other)');
SELECT * FROM try('DELETE FROM item WHERE NOT EXISTS (SELECT FROM other WHERE item = item.id)');
SET enable_hashjoin = off;
SELECT * FROM try('DELETE FROM item WHERE id IN (SELECT item FROM other)');
SET enable_mergejoin = off;
SELECT * FROM try('DELETE FROM item WHERE id IN (SELECT item FROM other)');
RESET enable_hashjoin;
RESET enable_mergejoin;

-- A plan that comes to rows several times, and one of several parts.
SELECT * FROM try('DELETE FROM item USING other WHERE item.id = other.item');
SELECT * FROM try('WITH a AS (DELETE FROM item WHERE id < 5 RETURNING id) DELETE FROM item WHERE id IN (SELECT id + 10 FROM a)');
SELECT * FROM try('WITH a AS (UPDATE item SET note = note WHERE id < 5) DELETE FROM item WHERE id BETWEEN 5 AND 9');

-- Rows of this transaction, and rows that it has locked or updated before.
SELECT * FROM try($q$DO $x$BEGIN
	UPDATE item SET note = note WHERE id < 9;
	PERFORM FROM item WHERE id > 5 FOR KEY SHARE;
	BEGIN
		DELETE FROM item WHERE id BETWEEN 3 AND 7;
		PERFORM FROM item WHERE id > 5 FOR SHARE;
		DELETE FROM item WHERE id BETWEEN 8 AND 10;
	EXCEPTION WHEN others THEN RAISE;
	END;
	BEGIN
		DELETE FROM item WHERE id > 20;
		RAISE no_data_found;
	EXCEPTION WHEN no_data_found THEN NULL;
	END;
END$x$$q$);

-- Triggers that keep rows, delete them themselves, delete others, or look at
-- the transition table.
CREATE FUNCTION before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.id % 5 = 0 THEN
		RETURN NULL;
	ELSIF OLD.id = 7 AND pg_trigger_depth() = 1 THEN
		DELETE FROM item WHERE id = 7;
		RETURN NULL;
	ELSIF OLD.id = 8 AND pg_trigger_depth() = 1 THEN
		DELETE FROM item WHERE id = 28;
	END IF;
	RETURN OLD;
END
$$;
CREATE TRIGGER before BEFORE DELETE ON item FOR EACH ROW EXECUTE FUNCTION before();
SELECT * FROM try('DELETE FROM item WHERE id < 15');
SELECT * FROM try('DELETE FROM item WHERE id % 5 = 0');
DELETE FROM item WHERE id = 8 OR id > 27; -- fails as it does without the guard
DROP TRIGGER before ON item;
CREATE FUNCTION after() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen SELECT TG_NAME || ' ' || count(*) FROM gone;
	RETURN NULL;
END
$$;
CREATE TRIGGER after AFTER DELETE ON item REFERENCING OLD TABLE AS gone EXECUTE FUNCTION after();
DELETE FROM item WHERE id < 4;
TABLE seen;
DROP TRIGGER after ON item;
SELECT restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
CREATE FUNCTION after_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen VALUES (TG_NAME || ' ' || OLD.id);
	DELETE FROM item WHERE id = OLD.id + 10;
	RETURN NULL;
END
$$;
CREATE TRIGGER after_row AFTER DELETE ON item FOR EACH ROW EXECUTE FUNCTION after_row();
SELECT * FROM try('DELETE FROM item WHERE id < 4');
ALTER TABLE item DISABLE TRIGGER after_row;
SELECT * FROM try('DELETE FROM item WHERE id < 4');
DROP TRIGGER after_row ON item;

-- session_replication_role changes while the statement runs.
CREATE FUNCTION as_replica(id int) RETURNS boolean LANGUAGE sql VOLATILE AS
	$$SELECT set_config('session_replication_role', CASE WHEN id % 2 = 0 THEN 'replica' ELSE 'origin' END, true) IS NOT NULL$$;
SELECT * FROM try('DELETE FROM item WHERE as_replica(id) AND id < 10');

-- Rules and views.
CREATE VIEW few AS SELECT id FROM item WHERE id < 10;
SELECT * FROM try('DELETE FROM few WHERE id > 3');
CREATE TABLE order_ (id int);
INSERT INTO order_ VALUES (1), (2);
CREATE RULE also AS ON DELETE TO order_ DO ALSO DELETE FROM item WHERE id = OLD.id;
SELECT * FROM try('DELETE FROM order_');

-- Foreign keys: one that refers to its own table, and two tables that delete in one.
ALTER TABLE item ADD COLUMN parent int REFERENCES item ON DELETE CASCADE, ADD COLUMN second int REFERENCES item ON DELETE CASCADE;
UPDATE item SET parent = nullif(id / 2, 0), second = nullif(id - 3, -2) WHERE id > 3;
SELECT * FROM try('DELETE FROM item WHERE id = 2');
SELECT * FROM try('DELETE FROM item WHERE id IN (1, 2)');
CREATE FUNCTION keep_some() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen VALUES ('cascade');
	IF OLD.id = 14 THEN
		DELETE FROM item WHERE id = 30;
	END IF;
	RETURN OLD;
END
$$;
CREATE TRIGGER keep_some BEFORE DELETE ON item FOR EACH ROW EXECUTE FUNCTION keep_some();
SELECT * FROM try('DELETE FROM item WHERE id = 7');
DROP TRIGGER keep_some ON item;

-- More rows than a trail has room for in memory, over many pages, in no order.
CREATE TABLE many (id int, tenant int, filler text DEFAULT repeat('x', 50));
INSERT INTO many SELECT i, i % 10 FROM generate_series(1, 100000) i;
CREATE INDEX ON many ((hashint4(id)));
SELECT deletion_guard.guard_table('many', 'tenant');
SET work_mem = '64kB';
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) DELETE FROM many WHERE hashint4(id) > 0;
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT pg_stat_reset() \g /dev/null
DELETE FROM many WHERE hashint4(id) > 0;
RESET ALL;
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT temp_bytes, temp_files > 0 AS "trail in a file", temp_bytes < 1000000 AS "rows not" FROM pg_stat_database WHERE datname = current_database();
SELECT (SELECT count(*) FROM many) + (SELECT count(*) FROM deletion_guard.deleted_rows(NULL::many)) AS all_rows,
	(SELECT count(*) FROM deletion_guard.deleted_rows(NULL::many) WHERE hashint4(id) > 0) =
	(SELECT count(*) FROM generate_series(1, 100000) i WHERE hashint4(i) > 0) AS exact;

\c :maintenance_db
SET client_min_messages = warning;
DROP DATABASE regress_dg_trail WITH (FORCE);
