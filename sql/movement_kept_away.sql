-- A trigger keeps a moved row away from its new partition, and something else puts
-- rows into the table meanwhile, which are not to be taken for it. No row is lost, and
-- none that has arrived is in the bin.
CREATE DATABASE regress_dg_movement_kept_away;
\set maintenance_db :DBNAME
\c regress_dg_movement_kept_away
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE t (id int, k int, v text) PARTITION BY LIST (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);
CREATE TABLE t3 PARTITION OF t FOR VALUES IN (3);
SELECT deletion_guard.guard_table('t');
CREATE VIEW wrong AS SELECT i AS id, CASE WHEN live THEN 'both' ELSE 'lost' END FROM (
	SELECT i, EXISTS (SELECT FROM t WHERE id = i) AS live, EXISTS (SELECT FROM deletion_guard.deleted_rows(NULL::t) d WHERE d.id = i) AS kept
	FROM generate_series(1, 20) i) x WHERE live = kept ORDER BY i;
INSERT INTO t SELECT i, 3, 'v' || i FROM generate_series(1, 20) i;
CREATE FUNCTION d() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER d BEFORE INSERT ON t1 FOR EACH ROW EXECUTE FUNCTION d();

-- where the first row goes to a partition without a trigger
UPDATE t SET k = CASE WHEN id = 1 THEN 2 ELSE 1 END WHERE k = 3 AND id IN (1, 2);
TABLE wrong;

-- the trigger puts another row there
CREATE OR REPLACE FUNCTION d() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (100, 2, 'decoy'); RETURN NULL; END $$;
UPDATE t SET k = 1 WHERE id = 3;
TABLE wrong;

-- in a part of a query, by MERGE
WITH u AS (UPDATE t SET k = 1 WHERE id = 4 RETURNING id) SELECT * FROM u;
MERGE INTO t USING (VALUES (5), (9999)) x (i) ON x.i = t.id WHEN MATCHED THEN UPDATE SET k = 1 WHEN NOT MATCHED THEN INSERT VALUES (i, 3);
TABLE wrong;

-- another part of the query inserts
CREATE OR REPLACE FUNCTION d() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
WITH i AS (INSERT INTO t VALUES (6000, 2) RETURNING id) UPDATE t SET k = 1 FROM i WHERE t.id = i.id / 1000;
TABLE wrong;

-- another trigger inserts
CREATE FUNCTION bu() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (101, 2, 'bu'); RETURN new; END $$;
CREATE TRIGGER bu BEFORE UPDATE ON t3 FOR EACH ROW EXECUTE FUNCTION bu();
UPDATE t SET k = 1 WHERE id IN (7, 8);
TABLE wrong;

-- with errors that are caught
CREATE OR REPLACE FUNCTION d() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN BEGIN INSERT INTO t VALUES (102, 2, 'x'); PERFORM 1/0; EXCEPTION WHEN OTHERS THEN NULL; END; INSERT INTO t VALUES (103, 2); RETURN CASE WHEN new.id = 9 THEN new END; END $$;
UPDATE t SET k = 1 WHERE id IN (9, 10);
TABLE wrong;

-- by COPY
CREATE OR REPLACE FUNCTION d() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'COPY t FROM PROGRAM ''echo 104,2,copied'' (FORMAT csv)'; RETURN NULL; END $$;
UPDATE t SET k = 1 WHERE id IN (11);
TABLE wrong;

-- by moving another row
CREATE OR REPLACE FUNCTION d() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET k = 2 WHERE id = new.id + 1 AND k = 3; RETURN NULL; END $$;
UPDATE t SET k = 1 WHERE id IN (12);
TABLE wrong;
DROP TRIGGER d ON t1;
CREATE OR REPLACE FUNCTION d() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET k = 1 WHERE id = new.id + 1 AND k = 3; RETURN new; END $$;
CREATE TRIGGER d BEFORE INSERT ON t2 FOR EACH ROW EXECUTE FUNCTION d();
UPDATE t SET k = 2 WHERE id IN (14, 16) AND k = 3;
TABLE wrong;
SELECT id, k FROM t WHERE id < 99 ORDER BY id;
SELECT id FROM deletion_guard.deleted_rows(NULL::t) ORDER BY id;

-- Out of reach: a session that has not loaded the library, which UPDATE does not. verify() says so.
CREATE OR REPLACE FUNCTION d() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'row movement';
\c
UPDATE t SET k = 2 WHERE id = 18;
TABLE wrong;
UPDATE t SET k = 2 WHERE id = 19;
TABLE wrong;

\c :maintenance_db
DROP DATABASE regress_dg_movement_kept_away WITH (FORCE);
