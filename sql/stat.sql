-- stat_deletion_guard counts what was committed, and what was refused.
CREATE DATABASE regress_dg_stat;
\set maintenance_db :DBNAME
\c regress_dg_stat
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
RESET client_min_messages;
\set VERBOSITY terse
CREATE TABLE tenant (id integer PRIMARY KEY, name text);
CREATE TABLE item (id integer PRIMARY KEY, tenant_id integer NOT NULL REFERENCES tenant ON DELETE CASCADE);
INSERT INTO tenant SELECT i, 'T' || i FROM generate_series(1, 9) i;
INSERT INTO item SELECT i, i % 9 + 1 FROM generate_series(1, 90) i;
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT * FROM deletion_guard.guard_schema('public', 'tenant_id');
SELECT deletion_guard.stat_reset();
CREATE VIEW stat AS
	SELECT deletions, rows_deleted, tenants_deleted, undeletes, rows_undeleted, purges, rehydrates FROM deletion_guard.stat_deletion_guard;
CREATE VIEW refused AS
	SELECT refused_ceilings AS ceilings, refused_expected AS expected, refused_ddl AS ddl, refused_writes AS writes, refused_rows AS rows,
		refused_restores AS restores, refused_tokens AS tokens, refused_purges AS purges, refused_archives AS archives
	FROM deletion_guard.stat_deletion_guard;

DELETE FROM tenant WHERE id = 1;
DELETE FROM item WHERE id = 1000; -- nothing
SELECT * FROM stat;
-- What is rolled back does not count, nor what is previewed.
BEGIN;
DELETE FROM item WHERE id = 1;
SAVEPOINT a;
DELETE FROM item WHERE id = 2;
SAVEPOINT b;
DELETE FROM item WHERE id = 3;
RELEASE b;
ROLLBACK TO a;
SAVEPOINT c;
DELETE FROM item WHERE id IN (4, 5);
RELEASE c;
COMMIT;
BEGIN;
DELETE FROM item;
ROLLBACK;
SELECT sum(rows) FROM deletion_guard.preview('DELETE FROM item');
SELECT restored FROM deletion_guard.undelete(1, dry_run => true) ORDER BY 1;
SELECT * FROM stat;
DO $$
BEGIN
	FOR i IN 10 .. 19 LOOP
		BEGIN
			DELETE FROM item WHERE id = i;
			IF i % 2 = 0 THEN RAISE division_by_zero; END IF;
		EXCEPTION WHEN division_by_zero THEN
		END;
	END LOOP;
END
$$;
SELECT * FROM stat;
TRUNCATE item;
SELECT relation, sum(restored) FROM deletion_guard.undelete_tenant('1', on_conflict => 'skip') GROUP BY 1 ORDER BY 1;
SELECT * FROM stat;

-- Refusals by kind.
DROP TABLE item; -- fails
ALTER TABLE tenant DISABLE TRIGGER ALL; -- fails
DELETE FROM deletion_guard.ledger; -- fails
SET deletion_guard.max_rows = 1;
DELETE FROM tenant WHERE id IN (2, 3); -- fails
RESET deletion_guard.max_rows;
SET deletion_guard.expect_tenants = '2';
DELETE FROM tenant WHERE id = 3; -- fails
RESET deletion_guard.expect_tenants;
SELECT deletion_guard.purge('x'); -- fails
SELECT deletion_guard.withdraw_purge(1); -- fails
SELECT * FROM deletion_guard.undelete(1000); -- fails
SELECT 1 / 0; -- fails
DO $$ BEGIN DROP TABLE item; EXCEPTION WHEN OTHERS THEN END $$; -- caught
SELECT * FROM refused;

-- For everybody to read, for the owner to reset.
SELECT bin_bytes > 0 AS bin, stats_reset <= clock_timestamp() AS since FROM deletion_guard.stat_deletion_guard;
CREATE ROLE regress_dg_stat;
SET ROLE regress_dg_stat;
SELECT * FROM (SELECT deletions FROM deletion_guard.stat_deletion_guard) s;
SELECT deletion_guard.stat_reset(); -- fails
RESET ROLE;
DROP ROLE regress_dg_stat;
SELECT deletion_guard.stat_reset();
SELECT * FROM stat;
SELECT * FROM refused;
\c :maintenance_db
DROP DATABASE regress_dg_stat;
