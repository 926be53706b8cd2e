-- A DELETE looks like any other, and its rows are in the bin.
CREATE DATABASE regress_dg_delete;
\set maintenance_db :DBNAME
\c regress_dg_delete
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text NOT NULL, contact text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE,
	title text DEFAULT 'untitled', parent int REFERENCES issue ON DELETE CASCADE);
CREATE TABLE log (seq serial, line text);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name', 'contact');
SELECT * FROM deletion_guard.guard_schema('public', 'tenant_id', false);
INSERT INTO tenant SELECT i, 'tenant ' || i, 'ops@' || i FROM generate_series(1, 5) i;
INSERT INTO issue SELECT i, 1 + i % 5, 'issue ' || i, CASE WHEN i > 10 THEN i - 10 END FROM generate_series(1, 20) i;
CREATE VIEW what AS
	SELECT deletion_id AS id, relation, tenant, rows FROM deletion_guard.deletion_detail;

-- Command tag and RETURNING, and nothing deleted leaves no record.
DELETE FROM issue WHERE id = 20 RETURNING *;
DELETE FROM issue WHERE id = 999;
DELETE FROM issue WHERE id = 999 RETURNING id;
SELECT * FROM what;
SELECT * FROM deletion_guard.deleted_rows(NULL::issue);

-- What is recorded of a deletion.
SET deletion_guard.reason = 'cleaning up';
SET deletion_guard.actor = 'alice@app';
SET application_name = 'script';
DELETE FROM issue WHERE id = 19;
SELECT session_role = current_user AS session_role, effective_role = current_user AS effective_role,
	application_name, client_addr, actor, reason, statement, rows, tenants, state,
	purge_not_before - deleted_at AS retention
FROM deletion_guard.deletion WHERE id = 2;
RESET deletion_guard.reason;
RESET deletion_guard.actor;

-- Retention, or for ever.
SET deletion_guard.retention = '12 h';
DELETE FROM issue WHERE id = 18;
SET deletion_guard.retention = '-1';
DELETE FROM issue WHERE id = 17;
SET deletion_guard.retention = '';
DELETE FROM issue WHERE id = 16;
SET deletion_guard.retention = 'soon'; -- fails
RESET deletion_guard.retention;
SELECT id, CASE WHEN isfinite(purge_not_before) THEN (purge_not_before - deleted_at)::text ELSE 'for ever' END AS kept
FROM deletion_guard.deletion ORDER BY id;

-- One statement is one deletion, cascades and levels of a tree included.
DELETE FROM issue WHERE id IN (1, 2);
SELECT * FROM what WHERE id = 6 ORDER BY 2, 3;
DELETE FROM tenant WHERE id = 4;
SELECT relation, tenant, tenant_name, contact, rows FROM deletion_guard.deletion_detail WHERE deletion_id = 7 ORDER BY 1, 2;
-- A function, a DO block, a CTE and a prepared statement too.
DO $$ BEGIN DELETE FROM issue WHERE id = 5; DELETE FROM issue WHERE id = 6; END $$;
WITH a AS (DELETE FROM issue WHERE id = 7 RETURNING id), b AS (DELETE FROM tenant WHERE id = 5 RETURNING id)
SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b);
PREPARE p(int) AS DELETE FROM issue WHERE id = $1;
EXECUTE p(9);
EXECUTE p(10);
SELECT id, rows, tenants FROM deletion_guard.deletion WHERE id > 7 ORDER BY id;

-- Two statements of one transaction are two deletions; of one message, too.
INSERT INTO issue SELECT i, 1 + i % 3 FROM generate_series(30, 39) i;
BEGIN;
DELETE FROM issue WHERE id = 30;
DELETE FROM issue WHERE id = 31;
COMMIT;
DELETE FROM issue WHERE id = 32\; DELETE FROM issue WHERE id = 33;
SELECT id, rows, statement FROM deletion_guard.deletion WHERE id > 10 ORDER BY id;

-- What is rolled back was not deleted.
BEGIN;
DELETE FROM tenant;
ROLLBACK;
BEGIN;
SAVEPOINT s;
DELETE FROM tenant WHERE id = 1;
ROLLBACK TO s;
DELETE FROM issue WHERE tenant_id = 2;
COMMIT;
DO $$
BEGIN
	BEGIN
		DELETE FROM tenant WHERE id = 1;
		RAISE EXCEPTION 'no';
	EXCEPTION WHEN raise_exception THEN
		DELETE FROM tenant WHERE id = 2;
	END;
END $$;
SELECT d.rows, d.tenants, count(w.*) AS lines FROM deletion_guard.deletion d JOIN what w USING (id)
WHERE d.id > 14 GROUP BY d.id, d.rows, d.tenants ORDER BY d.id;
TABLE tenant;

-- An aborted first deletion must not leave a bin behind that is not there.
CREATE TABLE late (id int);
SELECT deletion_guard.guard_table('late');
INSERT INTO late VALUES (1), (2);
BEGIN;
DELETE FROM late WHERE id = 1;
ROLLBACK;
BEGIN;
SAVEPOINT s;
DELETE FROM late WHERE id = 1;
ROLLBACK TO s;
DELETE FROM late WHERE id = 1;
COMMIT;
DELETE FROM late;
SELECT * FROM deletion_guard.deleted_rows(NULL::late);

-- A role with DELETE and nothing else can delete; it sees nothing of the bin.
CREATE ROLE regress_dg_clerk;
GRANT SELECT, DELETE ON issue TO regress_dg_clerk;
INSERT INTO issue VALUES (100, 1), (101, 1), (102, NULL);
SET ROLE regress_dg_clerk;
DELETE FROM issue WHERE id = 100;
SELECT id FROM deletion_guard.deleted_rows(NULL::issue) WHERE id >= 100;
SELECT * FROM deletion_guard.deletion; -- fails
SELECT * FROM deletion_guard_bin.bin_1_issue; -- fails
SELECT * FROM deletion_guard.deleted_rows(NULL::tenant); -- fails
SELECT deletion_guard.undelete(1); -- fails
RESET ROLE;
SELECT effective_role FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1;

-- Row security is not gone round by way of the bin.
ALTER TABLE issue ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON issue USING (tenant_id = 1);
SET ROLE regress_dg_clerk;
DELETE FROM issue;
SELECT id FROM deletion_guard.deleted_rows(NULL::issue); -- fails
RESET ROLE;
ALTER TABLE issue FORCE ROW LEVEL SECURITY;
SELECT count(*) FROM issue;
DELETE FROM issue WHERE id = 102;
ALTER TABLE issue DISABLE ROW LEVEL SECURITY;
SELECT id, tenant_id FROM deletion_guard.deleted_rows(NULL::issue) WHERE id IN (101, 102) ORDER BY id;

-- EXPLAIN does not delete, EXPLAIN ANALYZE does.
INSERT INTO issue VALUES (200, 1), (201, 1), (202, 1), (203, 1);
SELECT count(*) AS n FROM deletion_guard.deletion \gset
EXPLAIN (COSTS off) DELETE FROM issue WHERE id = 200;
SELECT count(*) - :n AS more FROM deletion_guard.deletion;
CREATE FUNCTION explain_quietly(statement text) RETURNS void LANGUAGE plpgsql AS
	$$ BEGIN EXECUTE 'EXPLAIN (ANALYZE, TIMING off, SUMMARY off, COSTS off) ' || statement; END $$;
SELECT explain_quietly('DELETE FROM issue WHERE id = 200');
SELECT count(*) - :n AS more FROM deletion_guard.deletion;

-- Views, rules, INSTEAD OF triggers, cursors, MERGE.
CREATE VIEW a_view AS SELECT * FROM issue WHERE id >= 200;
DELETE FROM a_view WHERE id = 201;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN DELETE FROM issue WHERE id = OLD.id; RETURN OLD; END $$;
CREATE TRIGGER instead INSTEAD OF DELETE ON a_view FOR EACH ROW EXECUTE FUNCTION instead();
DELETE FROM a_view WHERE id = 202;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM issue WHERE id = 203 FOR UPDATE;
FETCH c;
DELETE FROM issue WHERE CURRENT OF c;
COMMIT;
INSERT INTO issue VALUES (204, 1), (205, 1), (206, 1);
MERGE INTO issue USING (VALUES (204), (205)) v(id) ON issue.id = v.id
	WHEN MATCHED AND issue.id = 204 THEN DELETE
	WHEN MATCHED THEN UPDATE SET title = 'merged';
CREATE TABLE kept (LIKE issue);
CREATE RULE keep AS ON DELETE TO kept DO INSTEAD DELETE FROM issue WHERE id = OLD.id;
INSERT INTO kept VALUES (206, 1);
DELETE FROM kept;
SELECT id FROM deletion_guard.deleted_rows(NULL::issue) WHERE id BETWEEN 200 AND 299 ORDER BY id;

-- Triggers of the application see what they always saw, and may delete too.
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log (line) VALUES (concat_ws(' ', TG_WHEN, TG_LEVEL, TG_OP, OLD.id));
	RETURN OLD;
END $$;
CREATE TRIGGER a_before BEFORE DELETE ON issue FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER z_after AFTER DELETE ON issue FOR EACH ROW EXECUTE FUNCTION tell();
CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER b_veto BEFORE DELETE ON issue FOR EACH ROW WHEN (OLD.id = 300) EXECUTE FUNCTION veto();
CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN DELETE FROM late; DELETE FROM issue WHERE id = 302; RETURN NULL; END $$;
CREATE TRIGGER y_more AFTER DELETE ON issue FOR EACH ROW WHEN (OLD.id = 301) EXECUTE FUNCTION more();
INSERT INTO issue VALUES (300, 1), (301, 1), (302, 1);
INSERT INTO late VALUES (3);
DELETE FROM issue WHERE id IN (300, 301);
SELECT line FROM log ORDER BY seq;
SELECT relation, rows FROM what WHERE id = (SELECT max(id) FROM what) ORDER BY 1;

-- One key, deleted, inserted and deleted again in one transaction.
BEGIN;
INSERT INTO tenant VALUES (50, 'first', NULL);
DELETE FROM tenant WHERE id = 50;
INSERT INTO tenant VALUES (50, 'second', NULL);
DELETE FROM tenant WHERE id = 50;
COMMIT;
SELECT * FROM deletion_guard.deleted_rows(NULL::tenant, '50') ORDER BY name;

-- A column may change to another type of the same name: that is another bin.
CREATE TYPE mood AS ENUM ('sad');
CREATE TABLE feel (m mood);
SELECT deletion_guard.guard_table('feel');
INSERT INTO feel VALUES ('sad');
DELETE FROM feel;
ALTER TYPE mood RENAME TO former_mood;
CREATE TYPE mood AS ENUM ('happy');
ALTER TABLE feel ALTER m TYPE mood USING 'happy';
INSERT INTO feel VALUES ('happy');
DELETE FROM feel;
SELECT * FROM deletion_guard.deleted_rows(NULL::feel, deletion_id => (SELECT max(id) FROM deletion_guard.deletion));
SELECT count(*) AS bins FROM deletion_guard.bin WHERE relation = 'feel'::regclass;

-- A table whose tenants are no keys of the tenant table can still be looked at.
CREATE TABLE odd (tenant text);
SELECT deletion_guard.guard_table('odd', 'tenant');
INSERT INTO odd VALUES ('not a number');
DELETE FROM odd;
SELECT relation, tenant, tenant_name, rows FROM deletion_guard.deletion_detail WHERE relation = 'odd'::regclass;

\c :maintenance_db
DROP DATABASE regress_dg_delete;
DROP ROLE regress_dg_clerk;
