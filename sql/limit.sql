-- Ceilings: how much may be deleted, by one statement and within an hour.
CREATE DATABASE regress_dg_limit;
\set maintenance_db :DBNAME
\c regress_dg_limit
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_limit_app;
CREATE ROLE regress_dg_limit_ops;
CREATE TABLE tenant (id int PRIMARY KEY, name text, contact text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE, title text);
CREATE TABLE remark (id int PRIMARY KEY, issue_id int REFERENCES issue ON DELETE CASCADE);
CREATE TABLE country (code text PRIMARY KEY);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name', 'contact');
SELECT deletion_guard.guard_table('tenant', 'id');
SELECT deletion_guard.guard_table('issue', 'tenant_id');
SELECT deletion_guard.guard_table('remark', tenant_path => '{remark_issue_id_fkey}');
SELECT deletion_guard.guard_table('country');
INSERT INTO tenant SELECT i, 'Customer ' || i, 'ops@' || i FROM generate_series(1, 20) i;
INSERT INTO issue SELECT i, 1 + i % 20, 'issue ' || i FROM generate_series(1, 200) i;
INSERT INTO remark SELECT i, 1 + i % 200 FROM generate_series(1, 400) i;
INSERT INTO country VALUES ('de'), ('fr');
GRANT ALL ON ALL TABLES IN SCHEMA public TO regress_dg_limit_app;
REVOKE SELECT ON tenant FROM regress_dg_limit_app;
CREATE VIEW left_over AS
	SELECT (SELECT count(*) FROM tenant) AS tenants, (SELECT count(*) FROM issue) AS issues,
		(SELECT count(*) FROM remark) AS remarks;

-- Rows of one statement.
SET deletion_guard.max_rows = 50;
DELETE FROM issue;
TABLE left_over;
\set VERBOSITY terse
-- Cascades count, whichever way round they are captured.
DELETE FROM tenant WHERE id <= 2;
DELETE FROM tenant WHERE id = 1;
-- Exactly as many as are allowed, and one more.
BEGIN;
DELETE FROM remark WHERE id <= 50;
DELETE FROM remark WHERE id BETWEEN 51 AND 101;
ROLLBACK;
TRUNCATE remark;
TRUNCATE country, remark;
WITH d AS (DELETE FROM remark WHERE id <= 30 RETURNING *), e AS (DELETE FROM country RETURNING *)
	DELETE FROM remark WHERE id BETWEEN 31 AND 60;
MERGE INTO remark r USING generate_series(1, 51) i ON r.id = i WHEN MATCHED THEN DELETE;
TABLE left_over;
-- Nothing is left of what was refused.
SELECT rows, tenants FROM deletion_guard.deletion ORDER BY id;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue);

-- Everything that one statement does counts together.
DO $$
BEGIN
	FOR i IN 1 .. 400 LOOP
		DELETE FROM remark WHERE id = i;
	END LOOP;
END
$$;
-- What was rolled back does not.
DO $$
BEGIN
	FOR i IN 1 .. 10 LOOP
		BEGIN
			DELETE FROM remark WHERE id <= 40;
			RAISE SQLSTATE 'RG001';
		EXCEPTION WHEN SQLSTATE 'RG001' THEN NULL;
		END;
		BEGIN
			BEGIN
				DELETE FROM remark WHERE id <= i;
			END;
			RAISE SQLSTATE 'RG001';
		EXCEPTION WHEN SQLSTATE 'RG001' THEN NULL;
		END;
		BEGIN
			BEGIN
				DELETE FROM remark WHERE id = i;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
	DELETE FROM remark WHERE id <= 50;
	BEGIN
		DELETE FROM remark WHERE id <= 51;
	EXCEPTION WHEN SQLSTATE 'TG001' THEN RAISE WARNING 'caught: %', SQLERRM;
	END;
	RAISE SQLSTATE 'RG001' USING MESSAGE = 'rows left: ' || (SELECT count(*) FROM remark);
END
$$;
-- What a procedure has committed does.
CREATE PROCEDURE wipe_slowly() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 400 LOOP
		DELETE FROM remark WHERE id = i;
		IF i % 30 = 0 THEN COMMIT; END IF;
		IF i % 30 = 10 THEN ROLLBACK; END IF;
	END LOOP;
END
$$;
CALL wipe_slowly();
SELECT count(*), min(id) FROM remark;
-- The next statement begins anew; so does one in a savepoint.
DELETE FROM remark WHERE id <= 80;
BEGIN;
SAVEPOINT a;
DELETE FROM remark WHERE id BETWEEN 81 AND 130;
SAVEPOINT b;
DELETE FROM remark WHERE id BETWEEN 131 AND 181;
ROLLBACK TO b;
DELETE FROM remark WHERE id BETWEEN 131 AND 180;
ROLLBACK;
RESET deletion_guard.max_rows;

-- Tenants of one statement.
\set VERBOSITY default
SET deletion_guard.max_tenants = 2;
DELETE FROM issue WHERE id <= 30;
\set VERBOSITY terse
DELETE FROM tenant WHERE id IN (1, 2);
DELETE FROM remark WHERE id > 300;
-- The same tenant by several tables is one.
DELETE FROM tenant WHERE id IN (3, 4);
DO $$
BEGIN
	DELETE FROM issue WHERE tenant_id = 5;
	BEGIN
		DELETE FROM issue WHERE tenant_id = 6;
		RAISE SQLSTATE 'RG001';
	EXCEPTION WHEN SQLSTATE 'RG001' THEN NULL;
	END;
	DELETE FROM issue WHERE tenant_id = 7;
	DELETE FROM tenant WHERE id IN (5, 7);
	DELETE FROM tenant WHERE id = 6;
END
$$;
SET deletion_guard.max_tenants = 12;
DELETE FROM tenant WHERE id > 7;
RESET deletion_guard.max_tenants;
TABLE left_over;

-- Names are for those who may read them.
SET deletion_guard.max_rows = 1;
\set VERBOSITY default
SET ROLE regress_dg_limit_app;
DELETE FROM issue;
RESET ROLE;
GRANT SELECT (name) ON tenant TO regress_dg_limit_app;
SET ROLE regress_dg_limit_app;
DELETE FROM issue;
RESET ROLE;
ALTER TABLE tenant ENABLE ROW LEVEL SECURITY;
SET ROLE regress_dg_limit_app;
DELETE FROM issue;
RESET ROLE;
ALTER TABLE tenant DISABLE ROW LEVEL SECURITY;
REVOKE SELECT (name) ON tenant FROM regress_dg_limit_app;
-- Rows of no tenant.
DELETE FROM country;
\set VERBOSITY terse
-- A ceiling may only warn; then it does so once.
SET deletion_guard.limit_action = warning;
SET deletion_guard.max_tenants = 1;
BEGIN;
DO $$
BEGIN
	DELETE FROM issue WHERE id <= 100;
	DELETE FROM issue WHERE id > 100;
END
$$;
TABLE left_over;
\set VERBOSITY default
DELETE FROM country;
\set VERBOSITY terse
ROLLBACK;
RESET deletion_guard.limit_action;
RESET deletion_guard.max_tenants;

-- A session that says which tenants it means.
RESET deletion_guard.max_rows;
SET deletion_guard.expect_tenants = '5, 6';
DELETE FROM issue WHERE tenant_id = 5;
\set VERBOSITY default
DELETE FROM issue WHERE tenant_id IN (6, 7);
INSERT INTO issue VALUES (1001, NULL, 'of nobody');
DELETE FROM issue WHERE id = 1001;
\set VERBOSITY terse
-- Tables that belong to no tenant are nobody else's.
DELETE FROM country WHERE code = 'fr';
-- limit_action is about ceilings, not about this.
SET deletion_guard.limit_action = warning;
DELETE FROM tenant WHERE id = 7;
RESET deletion_guard.limit_action;
SET deletion_guard.expect_tenants = '"7" ,8';
DELETE FROM issue WHERE tenant_id = 7;
CREATE TABLE note (tenant_id text, line int);
SELECT deletion_guard.guard_table('note', 'tenant_id');
INSERT INTO note VALUES ('A, "B"', 1), ('Cee Dee', 2), ('E', 3), (' F', 4);
SET deletion_guard.expect_tenants = '"A, ""B""",  Cee Dee  , " F"';
DELETE FROM note WHERE line <> 3;
DELETE FROM note;
-- Not a list.
SET deletion_guard.expect_tenants = ',';
SET deletion_guard.expect_tenants = '5,';
SET deletion_guard.expect_tenants = ' ';
SET deletion_guard.expect_tenants = '"5';
SET deletion_guard.expect_tenants = '"5" 6';
RESET deletion_guard.expect_tenants;

-- Tenants within an hour, those included that were deleted above.
SELECT sum(rows) FROM deletion_guard.tenant_wipe;
SET deletion_guard.tenant_wipes_per_hour = 8;
\set VERBOSITY default
DELETE FROM tenant WHERE id BETWEEN 6 AND 10;
\set VERBOSITY terse
DELETE FROM tenant WHERE id BETWEEN 6 AND 7;
BEGIN;
DELETE FROM tenant WHERE id = 8;
SAVEPOINT a;
DELETE FROM tenant WHERE id = 9;
ROLLBACK TO a;
ROLLBACK;
-- Other tables are not tenants.
DELETE FROM issue WHERE tenant_id = 9;
DELETE FROM tenant WHERE id BETWEEN 8 AND 9;
DELETE FROM tenant WHERE id = 10;
-- Bringing tenants back is no deletion, but does not clear the count.
SELECT relation, restored FROM deletion_guard.undelete_tenant('1') ORDER BY 1;
UPDATE tenant SET name = 'renamed' WHERE id = 1;
DELETE FROM tenant WHERE id = 1;
RESET deletion_guard.tenant_wipes_per_hour;

-- Who may set a ceiling.
GRANT SET ON PARAMETER deletion_guard.max_rows TO regress_dg_limit_ops;
SET SESSION AUTHORIZATION regress_dg_limit_app;
SET deletion_guard.max_rows = 0;
SET deletion_guard.max_tenants = 0;
SET deletion_guard.tenant_wipes_per_hour = 0;
SET deletion_guard.limit_action = warning;
SET deletion_guard.expect_tenants = '1';
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_dg_limit_ops;
SET deletion_guard.max_rows = 10;
SET deletion_guard.max_tenants = 10;
RESET SESSION AUTHORIZATION;

\c :maintenance_db
SET client_min_messages = warning;
DROP DATABASE regress_dg_limit;
DROP ROLE regress_dg_limit_app;
REVOKE SET ON PARAMETER deletion_guard.max_rows FROM regress_dg_limit_ops;
DROP ROLE regress_dg_limit_ops;
