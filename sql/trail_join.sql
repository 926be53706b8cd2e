-- A DELETE whose plan comes to a row more than once, or to rows that it does not
-- delete: what has been deleted is in the bin, once.
CREATE DATABASE regress_dg_trail_join;
\set maintenance_db :DBNAME
\c regress_dg_trail_join
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE item (id int PRIMARY KEY, tenant int, note text);
CREATE TABLE other (item int, filler text DEFAULT repeat('x', 200));
INSERT INTO item SELECT i, i % 3, 'note ' || i FROM generate_series(1, 3000) i;
-- each item many times, far from each other
INSERT INTO other SELECT 1 + i * 7 % 3000 FROM generate_series(1, 12000) i;
CREATE TABLE base AS TABLE item;
SELECT deletion_guard.guard_table('item', 'tenant');
ANALYZE item, other;
-- Runs a statement, compares what is gone with what is in the bin, and takes it back.
CREATE FUNCTION try(statement text, OUT gone bigint, OUT kept bigint, OUT exact boolean) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	SELECT count(*) INTO kept FROM deletion_guard.deleted_rows(NULL::item);
	SELECT 3000 - count(*) INTO gone FROM item;
	exact := gone = kept AND NOT EXISTS (TABLE base EXCEPT (TABLE item UNION ALL SELECT * FROM deletion_guard.deleted_rows(NULL::item)));
	RAISE division_by_zero;
EXCEPTION
	WHEN division_by_zero THEN NULL;
END
$$;
SET work_mem = '64kB';
-- Every way to join.
SELECT * FROM try('DELETE FROM item USING other WHERE item.id = other.item');
SET enable_hashjoin = off;
SELECT * FROM try('DELETE FROM item USING other WHERE item.id = other.item');
SET enable_mergejoin = off;
SELECT * FROM try('DELETE FROM item USING other WHERE item.id = other.item AND other.item < 1000');
RESET enable_hashjoin;
RESET enable_mergejoin;
SELECT * FROM try('DELETE FROM item USING item i WHERE item.id = i.id + 1');
SELECT * FROM try('DELETE FROM item USING (SELECT item, count(*) FROM other GROUP BY 1) o WHERE item.id = o.item AND o.count > 3');
SELECT * FROM try('DELETE FROM item USING (SELECT item FROM other ORDER BY filler, item LIMIT 100) o WHERE item.id = o.item');
SELECT * FROM try('WITH o AS MATERIALIZED (SELECT item FROM other) DELETE FROM item USING o WHERE item.id = o.item');
SELECT * FROM try('DELETE FROM item USING generate_series(10, 20) g, generate_series(1, 3)  WHERE item.id = g');
SELECT * FROM try('DELETE FROM item USING other WHERE false');
-- Again, with the deletion in parts.
DO $$ BEGIN DELETE FROM item USING other WHERE id = item AND id < 100; DELETE FROM item USING other WHERE id = item AND id < 200; END $$;
SELECT sum(restored) FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));

-- A trigger that keeps some.
CREATE FUNCTION keep_odd() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.id % 2 = 1 THEN
		RETURN NULL;
	END IF;
	RETURN OLD;
END $$;
CREATE TRIGGER keep_odd BEFORE DELETE ON item FOR EACH ROW EXECUTE FUNCTION keep_odd();
SELECT * FROM try('DELETE FROM item USING other WHERE item.id = other.item');
SELECT * FROM try('DELETE FROM item USING other WHERE item.id = other.item AND item.id IN (2999, 3000)');
SELECT * FROM try('DELETE FROM item USING other WHERE item.id = other.item AND item.id = 2999');
DROP TRIGGER keep_odd ON item;

-- Read in pieces, and stopped before its end.
BEGIN;
CREATE FUNCTION first_of(n int) RETURNS SETOF int LANGUAGE sql AS
	$$DELETE FROM item USING other WHERE item.id = other.item RETURNING item.id$$;
SELECT count(*) FROM (SELECT first_of(1) LIMIT 5) f;
SELECT (SELECT count(*) FROM base) - (SELECT count(*) FROM item) = (SELECT count(*) FROM deletion_guard.deleted_rows(NULL::item)) AS all_kept;
ROLLBACK;
BEGIN;
PREPARE d AS DELETE FROM item USING other WHERE item.id = other.item AND item.id < 30 RETURNING item.id % 3 = 0 AS third;
EXECUTE d \g /dev/null
EXECUTE d;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::item);
ROLLBACK;

-- Cascades.
ALTER TABLE item ADD COLUMN parent int REFERENCES item ON DELETE CASCADE;
CREATE INDEX ON item (parent);
UPDATE item SET parent = id / 2 WHERE id > 1;
DROP TABLE base;
CREATE TABLE base AS TABLE item;
SELECT * FROM try('DELETE FROM item USING other WHERE item.id = other.item AND item.id IN (8, 16, 17, 100, 1499)');
SELECT check_name, detail FROM deletion_guard.verify() WHERE NOT ok AND check_name ~ 'bin|part|deletion';

\c :maintenance_db
DROP DATABASE regress_dg_trail_join WITH (FORCE);
