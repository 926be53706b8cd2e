-- Rows captured one by one, by row triggers: a deletion has one part for each
-- table and tenant all the same, through errors and savepoints.
CREATE DATABASE regress_dg_row_capture;
\set maintenance_db :DBNAME
\c regress_dg_row_capture
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE note (id int PRIMARY KEY, tenant_id int, body text);
CREATE TABLE memo (PRIMARY KEY (id)) INHERITS (note);
CREATE TABLE letter (PRIMARY KEY (id)) INHERITS (note);
CREATE TABLE page (id int PRIMARY KEY, letter_id int REFERENCES letter ON DELETE CASCADE);
SELECT deletion_guard.guard_table(t, 'tenant_id') FROM unnest('{note,memo,letter}'::regclass[]) t;
SELECT deletion_guard.guard_table('page', tenant_path => '{page_letter_id_fkey}');

CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS $$
	INSERT INTO note SELECT i, 1 + i % 3, 'note ' || i FROM generate_series(1, 30) i ON CONFLICT DO NOTHING;
	INSERT INTO memo SELECT i, nullif(i % 3, 0), repeat('memo ' || i, i * 20) FROM generate_series(101, 130) i ON CONFLICT DO NOTHING;
	INSERT INTO letter SELECT i, 1 + i % 3, 'letter ' || i FROM generate_series(201, 230) i ON CONFLICT DO NOTHING;
	INSERT INTO page SELECT i, 201 + i % 30 FROM generate_series(1, 60) i ON CONFLICT DO NOTHING $$;
CREATE VIEW content AS
	SELECT tableoid::regclass::text || n::text AS content FROM note n UNION ALL SELECT 'page' || p::text FROM page p;
-- The parts of the latest deletion; then it is undone.
CREATE FUNCTION taken() RETURNS TABLE (relation text, tenant text, parts bigint, rows numeric, live bigint) LANGUAGE plpgsql AS $$
DECLARE
	latest bigint := (SELECT max(id) FROM deletion_guard.deletion);
BEGIN
	RETURN QUERY SELECT b.relation_name, p.tenant, count(*), sum(p.rows), NULL::bigint
		FROM deletion_guard.deletion_part p JOIN deletion_guard.bin b USING (bin_id)
		WHERE p.deletion_id = latest GROUP BY 1, 2 ORDER BY 1, 2;
	PERFORM deletion_guard.undelete(latest);
	RETURN QUERY SELECT 'all', NULL, NULL::bigint, NULL::numeric, count(*) FROM content;
END $$;
SELECT fill();
CREATE TABLE original AS TABLE content;

DELETE FROM note;
SELECT * FROM taken();
DELETE FROM letter WHERE id > 220;
SELECT * FROM taken();
SET session_replication_role = replica;
DELETE FROM page;
DELETE FROM note;
RESET session_replication_role;
SELECT * FROM taken();
SELECT fill();
-- two queries of one statement
DO $$ BEGIN DELETE FROM memo WHERE id < 110; DELETE FROM memo WHERE id < 120; END $$;
SELECT * FROM taken();
WITH a AS (DELETE FROM memo WHERE id < 110 RETURNING 1), b AS (DELETE FROM memo WHERE id > 110 RETURNING 1)
SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b);
SELECT * FROM taken();

-- Triggers that delete more, and fail now and then.
CREATE FUNCTION delete_next() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.id % 2 = 0 THEN
		DELETE FROM letter WHERE id = OLD.id + 100;
	ELSE
		BEGIN
			DELETE FROM letter WHERE id = OLD.id + 100;
			DELETE FROM memo WHERE id = OLD.id + 1;
			PERFORM 1 / (OLD.id % 3);
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER a AFTER DELETE ON memo FOR EACH ROW EXECUTE FUNCTION delete_next();
DELETE FROM note WHERE id BETWEEN 1 AND 110;
SELECT relation, tenant, sum(rows) AS rows FROM deletion_guard.deletion_detail
	WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion) GROUP BY 1, 2 ORDER BY relation::text, 2;
SELECT count(*) FROM content;
-- every row in the bin belongs to a part, and a part has the rows that it counts
SELECT format('SELECT coalesce(sum(n), 0) AS rows, count(*) FILTER (WHERE n <> coalesce(p.rows, 0)) AS wrong
	FROM (SELECT _deletion, _part, count(*) AS n FROM %s GROUP BY 1, 2) r
	LEFT JOIN deletion_guard.deletion_part p ON (p.deletion_id, p.part) = (_deletion, _part)', bin_table)
	FROM deletion_guard.bin ORDER BY bin_id \gexec
SELECT count(*) FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));

-- A deletion has one record. The first part of this one is rolled back, and the next carries it.
ALTER TRIGGER a ON memo RENAME TO z;
CREATE VIEW latest AS
	SELECT p.part, b.relation_name, p.tenant, p.rows, p.deleted_at IS NOT NULL AS record
	FROM deletion_guard.deletion_part p LEFT JOIN deletion_guard.bin b USING (bin_id)
	WHERE p.deletion_id = (SELECT max(deletion_id) FROM deletion_guard.deletion_part) ORDER BY p.part;
DELETE FROM memo WHERE id = 105;
TABLE latest;
SELECT restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
DELETE FROM memo WHERE id IN (104, 105, 108);
TABLE latest;
SELECT sum(restored) FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
DROP TRIGGER z ON memo;
SELECT count(*) AS deletions, count(DISTINCT deletion_id) FROM deletion_guard.deletion_record;
SELECT count(DISTINCT deletion_id) AS deletions FROM deletion_guard.deletion_part;
TABLE content EXCEPT TABLE original;
SELECT count(*) FROM content;

-- An error takes all of it back, a savepoint its own.
CREATE TABLE stamp (memo_id int REFERENCES memo);
INSERT INTO stamp VALUES (120);
SELECT count(*) AS before FROM deletion_guard.deletion_part \gset
DELETE FROM note; -- fails
SELECT count(*) - :before AS more FROM deletion_guard.deletion_part;
BEGIN;
DELETE FROM memo WHERE id = 101;
SAVEPOINT s;
DELETE FROM memo WHERE id < 105;
DELETE FROM memo WHERE id = 120; -- fails
ROLLBACK TO s;
DELETE FROM memo WHERE id IN (102, 105);
COMMIT;
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail
	WHERE relation = 'memo'::regclass AND restored = 0 ORDER BY deletion_id, tenant;
SELECT deletion_guard.undelete(id) FROM deletion_guard.deletion WHERE state = 'deleted' ORDER BY id;

-- Ceilings count them.
SET deletion_guard.max_rows = 25;
DELETE FROM letter; -- fails
DELETE FROM letter WHERE id <= 208;
SELECT * FROM taken();
SET deletion_guard.max_rows = 0;
SET deletion_guard.max_tenants = 2;
DELETE FROM letter; -- fails
SET deletion_guard.limit_action = 'warning';
DELETE FROM letter;
RESET deletion_guard.max_tenants;
RESET deletion_guard.limit_action;
SELECT * FROM taken();
SET deletion_guard.expect_tenants = '1,2';
DELETE FROM letter WHERE tenant_id = 3; -- fails
RESET deletion_guard.expect_tenants;
SELECT relation, tenant, sum(rows) AS rows FROM deletion_guard.preview('DELETE FROM letter') GROUP BY 1, 2 ORDER BY relation::text, 2;

-- Rows that others replace.
DROP TABLE stamp;
DELETE FROM memo;
SELECT max(id) AS d FROM deletion_guard.deletion \gset
INSERT INTO memo SELECT i, nullif(i % 3, 0), 'new' FROM generate_series(101, 130) i;
SELECT relation, sum(restored) AS restored FROM deletion_guard.undelete(:d, 'replace') GROUP BY 1;
SELECT b.relation_name, p.tenant, count(*) AS parts, sum(p.rows) AS rows
	FROM deletion_guard.deletion_part p JOIN deletion_guard.bin b USING (bin_id) WHERE p.deletion_id > :d GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*), min(body), max(body) FROM deletion_guard.deleted_rows(NULL::memo, deletion_id => :d + 1);

TABLE content EXCEPT TABLE original;
SELECT count(*) FROM content;
\c :maintenance_db
DROP DATABASE regress_dg_row_capture;
