-- preview() runs a statement and undoes it.
CREATE DATABASE regress_dg_preview;
\set maintenance_db :DBNAME
\c regress_dg_preview
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_preview_app;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE, title text);
CREATE TABLE loose (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE);
CREATE TABLE link (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE SET NULL);
CREATE TABLE event (tenant_id int, at int) PARTITION BY RANGE (at);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (10);
CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (10) TO (20);
CREATE TABLE metric (tenant_id int, at int) PARTITION BY RANGE (at);
CREATE TABLE metric_1 PARTITION OF metric FOR VALUES FROM (0) TO (10);
CREATE TABLE metric_2 PARTITION OF metric FOR VALUES FROM (10) TO (20);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT deletion_guard.guard_table('tenant', 'id');
SELECT deletion_guard.guard_table('issue', 'tenant_id');
SELECT deletion_guard.guard_table('event', 'tenant_id');
INSERT INTO tenant SELECT i, 'Customer ' || i FROM generate_series(1, 4) i;
INSERT INTO issue SELECT i, 1 + i % 4, 'issue ' || i FROM generate_series(1, 20) i;
INSERT INTO loose SELECT i, 1 + i % 4 FROM generate_series(1, 8) i;
INSERT INTO link SELECT i, 1 + i % 4 FROM generate_series(1, 12) i;
INSERT INTO event SELECT 1 + i % 4, i FROM generate_series(0, 19) i;
INSERT INTO metric SELECT 1 + i % 4, i FROM generate_series(0, 19) i;

-- What is kept, what would be lost, what would be changed.
SELECT * FROM deletion_guard.preview('DELETE FROM tenant WHERE id <= 2');
SELECT * FROM deletion_guard.preview('TRUNCATE issue, loose');
SELECT * FROM deletion_guard.preview('UPDATE issue SET title = upper(title) WHERE tenant_id = 1');
SELECT * FROM deletion_guard.preview('WITH d AS (DELETE FROM issue WHERE id <= 3 RETURNING *) SELECT * FROM d');
SELECT * FROM deletion_guard.preview('WITH d AS (DELETE FROM loose RETURNING *) INSERT INTO link SELECT id + 100, tenant_id FROM d');
SELECT * FROM deletion_guard.preview('MERGE INTO issue i USING tenant t ON i.tenant_id = t.id WHEN MATCHED AND t.id = 4 THEN DELETE WHEN MATCHED THEN UPDATE SET title = NULL');
SELECT * FROM deletion_guard.preview('DELETE FROM issue WHERE id = 0');
-- Rows that move to another partition are not deleted.
SELECT * FROM deletion_guard.preview('DELETE FROM event WHERE at < 11 AND tenant_id = 1');
SELECT * FROM deletion_guard.preview('UPDATE event SET at = at + 10 WHERE at < 2');
SELECT * FROM deletion_guard.preview('UPDATE metric SET at = at + 10 WHERE at < 2');
SELECT * FROM deletion_guard.preview('DELETE FROM metric WHERE at < 2');

-- Nothing of it has happened, and nothing is remembered.
SELECT (SELECT count(*) FROM tenant) AS tenants, (SELECT count(*) FROM issue) AS issues,
	(SELECT count(*) FROM loose) AS loose, (SELECT count(*) FROM link WHERE tenant_id IS NULL) AS links_lost;
SELECT count(*) FROM deletion_guard.deletion;
SELECT count(*) FROM deletion_guard.tenant_wipe;

-- Ceilings are reported.
SET deletion_guard.max_rows = 5;
SET deletion_guard.max_tenants = 1;
SET deletion_guard.tenant_wipes_per_hour = 1;
SET deletion_guard.expect_tenants = '1';
SELECT * FROM deletion_guard.preview('DELETE FROM tenant WHERE id <= 2');
SELECT * FROM deletion_guard.preview('DELETE FROM issue WHERE tenant_id = 1');
SET deletion_guard.limit_action = warning;
SELECT * FROM deletion_guard.preview('DELETE FROM tenant WHERE id = 2');
RESET deletion_guard.limit_action;
DELETE FROM tenant WHERE id <= 2;
RESET deletion_guard.expect_tenants;
RESET deletion_guard.max_tenants;

-- In the middle of a statement that deletes: neither counts for the other.
DO $$
DECLARE
	previewed bigint;
BEGIN
	DELETE FROM issue WHERE id <= 2;
	SELECT sum(rows) INTO previewed FROM deletion_guard.preview('DELETE FROM issue') WHERE effect = 'deleted';
	RAISE WARNING 'previewed %', previewed;
	BEGIN
		PERFORM deletion_guard.preview('DELETE FROM issue WHERE 1 / (id - 5) = 0');
	EXCEPTION WHEN division_by_zero THEN RAISE WARNING 'failed as the statement would';
	END;
	DELETE FROM issue WHERE id <= 4;
END
$$;
SELECT rows, tenants FROM deletion_guard.deletion ORDER BY id;
RESET deletion_guard.max_rows;
RESET deletion_guard.tenant_wipes_per_hour;

-- Only what can be undone, one at a time.
SELECT * FROM deletion_guard.preview('SELECT 1');
SELECT * FROM deletion_guard.preview('SELECT * INTO copy FROM issue');
SELECT * FROM deletion_guard.preview('DROP TABLE issue');
SELECT * FROM deletion_guard.preview('COMMIT');
SELECT * FROM deletion_guard.preview('DO $d$ BEGIN DELETE FROM issue; END $d$');
SELECT * FROM deletion_guard.preview('DELETE FROM issue; DELETE FROM tenant');
SELECT * FROM deletion_guard.preview('');
SELECT * FROM deletion_guard.preview('DELETE FROM issue WHERE id = $1');
SELECT * FROM deletion_guard.preview('DELETE FROM deletion_guard.deletion_record');
SELECT * FROM deletion_guard.preview(NULL);

-- With the caller's privileges, row security included. Whose rows go is told to who
-- may read the table, whole: a foreign key's action asks no policy.
SET ROLE regress_dg_preview_app;
SELECT * FROM deletion_guard.preview('DELETE FROM issue');
RESET ROLE;
GRANT SELECT, DELETE ON issue TO regress_dg_preview_app;
ALTER TABLE issue ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON issue TO regress_dg_preview_app USING (tenant_id = 3);
SET ROLE regress_dg_preview_app;
SELECT * FROM deletion_guard.preview('DELETE FROM issue');
RESET ROLE;
GRANT SELECT, DELETE ON tenant TO regress_dg_preview_app;
SET ROLE regress_dg_preview_app;
SELECT * FROM deletion_guard.preview('DELETE FROM tenant');
SET deletion_guard.expect_tenants = '4';
DELETE FROM issue;
RESET ROLE;
DELETE FROM issue;
RESET deletion_guard.expect_tenants;
-- Not in a read-only transaction.
BEGIN READ ONLY;
SELECT * FROM deletion_guard.preview('DELETE FROM issue');
ROLLBACK;

\c :maintenance_db
SET client_min_messages = warning;
DROP DATABASE regress_dg_preview;
DROP ROLE regress_dg_preview_app;
