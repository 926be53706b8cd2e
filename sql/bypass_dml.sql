-- Every statement that removes rows: they are in the bin, as they were.
CREATE DATABASE regress_dg_bypass_dml;
\set maintenance_db :DBNAME
\c regress_dg_bypass_dml
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE, title text);
CREATE TABLE remark (id int PRIMARY KEY, issue_id int REFERENCES issue ON DELETE CASCADE, author int REFERENCES tenant ON DELETE SET NULL);
CREATE TABLE reading (id int, tenant_id int, at int, PRIMARY KEY (id, at, tenant_id)) PARTITION BY RANGE (at);
CREATE TABLE reading_0 PARTITION OF reading FOR VALUES FROM (0) TO (100);
CREATE TABLE reading_100 (note text, at int NOT NULL, gone int, id int NOT NULL, tenant_id int NOT NULL);
ALTER TABLE reading_100 DROP COLUMN gone, DROP COLUMN note;
ALTER TABLE reading ATTACH PARTITION reading_100 FOR VALUES FROM (100) TO (200);
CREATE TABLE reading_rest PARTITION OF reading DEFAULT PARTITION BY LIST (tenant_id);
CREATE TABLE reading_rest_1 PARTITION OF reading_rest DEFAULT;
CREATE TABLE base (id int, tenant_id int);
CREATE TABLE child (extra text) INHERITS (base);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT relation, tenant_source FROM deletion_guard.guard_schema('public', 'tenant_id') ORDER BY relation::text;
SELECT deletion_guard.guard_table('remark', tenant_path => ARRAY['remark_issue_id_fkey']);
INSERT INTO tenant SELECT i, 'tenant ' || i FROM generate_series(1, 9) i;

-- Puts ten rows into each table.
CREATE PROCEDURE fill() LANGUAGE sql AS $$
	INSERT INTO issue SELECT i, 1 + i % 3, 'issue ' || i FROM generate_series(1, 10) i ON CONFLICT DO NOTHING;
	INSERT INTO remark SELECT i, i, 4 FROM generate_series(1, 10) i ON CONFLICT DO NOTHING;
	INSERT INTO reading SELECT i, 1 + i % 3, i * 30 FROM generate_series(0, 9) i ON CONFLICT DO NOTHING $$;
-- What the latest deletion took; then it is undone.
CREATE FUNCTION taken() RETURNS TABLE (relation regclass, rows numeric, restored numeric) LANGUAGE plpgsql AS $$
DECLARE
	latest bigint := (SELECT max(id) FROM deletion_guard.deletion);
BEGIN
	PERFORM deletion_guard.undelete(latest);
	RETURN QUERY SELECT d.relation, sum(d.rows), sum(d.restored) FROM deletion_guard.deletion_detail d
		WHERE d.deletion_id = latest GROUP BY 1 ORDER BY 1::text;
END $$;
CALL fill();

-- Kinds of DELETE that delete.sql does not have.
DELETE FROM issue WHERE true;
SELECT * FROM taken();
WITH d AS (DELETE FROM issue RETURNING id) SELECT count(*) FROM d;
SELECT * FROM taken();
DELETE FROM issue USING remark r WHERE r.issue_id = issue.id AND r.id < 5;
SELECT * FROM taken();
\copy (DELETE FROM issue WHERE id = 1 RETURNING id) TO stdout
SELECT * FROM taken();
CREATE TABLE chosen AS SELECT 2 AS id;
MERGE INTO remark USING chosen ON remark.id = chosen.id WHEN MATCHED THEN DELETE;
SELECT * FROM taken();
MERGE INTO reading USING chosen ON reading.id = chosen.id WHEN MATCHED THEN DELETE;
SELECT * FROM taken();
CREATE VIEW checked AS SELECT * FROM issue WHERE id > 3 WITH CHECK OPTION;
CREATE VIEW nested AS SELECT id, title FROM checked WHERE id < 6;
DELETE FROM nested;
SELECT * FROM taken();
CREATE TABLE door (id int);
CREATE RULE issue_door AS ON INSERT TO door DO INSTEAD DELETE FROM issue WHERE id = NEW.id;
INSERT INTO door VALUES (3);
SELECT * FROM taken();
CREATE FUNCTION definer(n int) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM issue WHERE id = n';
SELECT definer(id) FROM issue WHERE id IN (1, 2) ORDER BY id;
SELECT * FROM taken();
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM reading WHERE at >= 90 FOR UPDATE;
FETCH c;
DELETE FROM reading WHERE CURRENT OF c;
COMMIT;
SELECT * FROM taken();
SELECT count(*) FROM issue, remark WHERE issue_id = issue.id;

-- Cascades, in order and by a key that is updated to nothing.
DELETE FROM tenant WHERE id IN (1, 4);
SELECT * FROM taken();
SELECT count(*) FROM remark WHERE author = 4;
DELETE FROM issue WHERE id = 1;
UPDATE remark SET author = NULL WHERE id = 2;
DELETE FROM tenant WHERE id = 4;
SELECT * FROM taken();
SELECT id FROM remark WHERE author IS NULL;
-- out of reach: UPDATE ... SET column = NULL, ON UPDATE CASCADE, INSERT ... ON CONFLICT DO UPDATE: values that are
-- overwritten are not deletions. DELETE ... FOR PORTION OF is of version 19, for which this is not built.
CALL fill();
INSERT INTO issue VALUES (1, 1, 'new') ON CONFLICT (id) DO UPDATE SET title = 'overwritten';

-- TRUNCATE, of everything that can be.
TRUNCATE remark;
SELECT * FROM taken();
TRUNCATE tenant CASCADE;
SELECT * FROM taken();
TRUNCATE reading RESTART IDENTITY;
SELECT * FROM taken();
TRUNCATE reading_0;
SELECT * FROM taken();
TRUNCATE ONLY reading_rest_1, remark;
SELECT * FROM taken();
BEGIN;
TRUNCATE remark;
COPY remark FROM stdin WITH (FREEZE);
\.
COMMIT;
SELECT * FROM taken();
BEGIN;
INSERT INTO remark VALUES (100, 1, NULL);
TRUNCATE remark;
SELECT max(id) FROM deletion_guard.deleted_rows(NULL::remark);
ROLLBACK;

-- Partitions and children.
DELETE FROM reading_100;
SELECT * FROM taken();
DELETE FROM reading_rest WHERE at > 200;
SELECT * FROM taken();
DELETE FROM reading WHERE at IN (0, 90, 120, 210);
SELECT * FROM deletion_guard.deleted_rows(NULL::reading) ORDER BY id;
SELECT * FROM taken();
DELETE FROM ONLY reading;
-- A row that moves is not deleted.
SELECT count(*) AS before FROM deletion_guard.deletion \gset
UPDATE reading SET at = at + 100 WHERE at < 100;
UPDATE reading SET at = at - 100 WHERE id < 4;
UPDATE reading_rest SET tenant_id = 7 WHERE at > 200;
SELECT count(*) - :before AS more FROM deletion_guard.deletion;
INSERT INTO base VALUES (1, 1), (2, 2);
INSERT INTO child VALUES (3, 1, 'extra'), (4, 2, 'extra');
DELETE FROM ONLY base WHERE id = 1;
SELECT * FROM taken();
DELETE FROM base;
SELECT * FROM deletion_guard.deleted_rows(NULL::child);
SELECT * FROM taken();
TRUNCATE base;
SELECT * FROM taken();

-- Two-phase commit, savepoints, procedures, triggers that fire at COMMIT.
BEGIN;
DELETE FROM issue WHERE id = 1;
PREPARE TRANSACTION 'regress_dg_bypass';
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue);
COMMIT PREPARED 'regress_dg_bypass';
SELECT id FROM deletion_guard.deleted_rows(NULL::issue);
SELECT * FROM taken();
DO $$
BEGIN
	FOR i IN 1 .. 6 LOOP
		BEGIN
			DELETE FROM remark WHERE id = i;
			IF i % 2 = 0 THEN
				RAISE EXCEPTION 'no';
			END IF;
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	END LOOP;
END $$;
SELECT id FROM deletion_guard.deleted_rows(NULL::remark) ORDER BY id;
SELECT * FROM taken();
CREATE PROCEDURE delete_twice() LANGUAGE plpgsql AS
	$$ BEGIN DELETE FROM remark WHERE id = 1; COMMIT; DELETE FROM remark WHERE id = 2; COMMIT; END $$;
SELECT count(*) AS before FROM deletion_guard.deletion \gset
CALL delete_twice();
SELECT count(*) - :before AS more FROM deletion_guard.deletion;
SELECT id FROM deletion_guard.deleted_rows(NULL::remark) ORDER BY id;
SELECT restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT restored FROM deletion_guard.undelete((SELECT max(id) - 1 FROM deletion_guard.deletion));
CREATE FUNCTION delete_more() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN DELETE FROM remark WHERE id = NEW.id; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON door DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION delete_more();
DROP RULE issue_door ON door;
BEGIN;
INSERT INTO door VALUES (5);
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::remark);
COMMIT;
SELECT id FROM deletion_guard.deleted_rows(NULL::remark);
SELECT * FROM taken();
DROP TABLE door;
-- While another deletion is undone: the application's triggers keep out of it.
CREATE FUNCTION delete_other() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN DELETE FROM remark WHERE id = 9; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER other AFTER INSERT ON issue FOR EACH ROW WHEN (NEW.id = 10) EXECUTE FUNCTION delete_other();
DELETE FROM issue WHERE id = 10;
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion)) ORDER BY relation::text;
SELECT id FROM remark WHERE id = 9 UNION ALL SELECT id FROM deletion_guard.deleted_rows(NULL::remark) WHERE id = 9;
DROP TRIGGER other ON issue;
CALL fill();

-- Isolation levels.
BEGIN ISOLATION LEVEL SERIALIZABLE;
DELETE FROM issue WHERE id = 1;
COMMIT;
SELECT * FROM taken();
BEGIN ISOLATION LEVEL REPEATABLE READ;
DELETE FROM issue WHERE id = 1;
TRUNCATE remark;
COMMIT;
SELECT * FROM taken();
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
DELETE FROM issue; -- fails
ROLLBACK;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CALL fill();
DELETE FROM issue WHERE id IN (SELECT issue_id FROM remark);
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue);
SELECT count(*) FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));

-- With triggers set aside.
SELECT bin_table AS bin FROM deletion_guard.bin WHERE relation = 'issue'::regclass \gset
SET session_replication_role = replica;
DELETE FROM remark WHERE id = 1;
SELECT * FROM taken();
DELETE FROM reading;
SELECT * FROM taken();
INSERT INTO base VALUES (1, 1);
INSERT INTO child VALUES (3, 1, 'extra');
DELETE FROM base;
SELECT * FROM taken();
TRUNCATE remark, reading;
SELECT * FROM taken();
DELETE FROM :bin; -- fails
SELECT count(*) AS before FROM deletion_guard.deletion \gset
UPDATE reading SET at = at + 1000;
SELECT count(*) - :before AS more FROM deletion_guard.deletion;
RESET session_replication_role;

-- out of reach: large objects, and rows of foreign tables, which are guarded where they are (remote.sql)
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE foreign_table (id int NOT NULL, at int NOT NULL, tenant_id int NOT NULL) SERVER nowhere;
SELECT deletion_guard.guard_table('foreign_table'); -- fails
CREATE TABLE loose (id int, at int, tenant_id int) PARTITION BY LIST (tenant_id);
SELECT deletion_guard.guard_table('loose', 'tenant_id');
ALTER TABLE loose ATTACH PARTITION foreign_table FOR VALUES IN (99); -- fails
CREATE FOREIGN TABLE foreign_part PARTITION OF loose FOR VALUES IN (98) SERVER nowhere; -- fails

\c :maintenance_db
DROP DATABASE regress_dg_bypass_dml;
