-- Rows of tables without a key: what is there already is told by content.
CREATE DATABASE regress_dg_undelete_keyless;
\set maintenance_db :DBNAME
\c regress_dg_undelete_keyless
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/undelete_keyless.dump'
\setenv ARCHIVE :archive
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE FUNCTION last() RETURNS bigint LANGUAGE sql AS $$ SELECT max(id) FROM deletion_guard.deletion $$;
CREATE TABLE tenant (id int PRIMARY KEY);
SELECT deletion_guard.set_tenant_table('tenant', 'id');
CREATE TABLE a (id int PRIMARY KEY, tenant int REFERENCES tenant);
CREATE TABLE b (id int PRIMARY KEY, tenant int REFERENCES tenant);
CREATE TABLE a_b (a int REFERENCES a ON DELETE CASCADE, b int REFERENCES b ON DELETE CASCADE);
CREATE TABLE log (tenant int, what text, more jsonb, twice int GENERATED ALWAYS AS (tenant * 2) STORED) PARTITION BY LIST (tenant);
CREATE TABLE log_1 PARTITION OF log FOR VALUES IN (1);
CREATE TABLE log_2 (more jsonb, junk int, what text, twice int GENERATED ALWAYS AS (tenant * 2) STORED, tenant int);
ALTER TABLE log_2 DROP COLUMN junk;
ALTER TABLE log ATTACH PARTITION log_2 DEFAULT;
CREATE TABLE partly (id int UNIQUE, tenant int);
CREATE TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, tenant int);
SELECT deletion_guard.guard_table('tenant', 'id');
SELECT deletion_guard.guard_table(t, 'tenant') FROM unnest('{a,b,log,partly,late}'::regclass[]) t;
SELECT deletion_guard.guard_table('a_b', tenant_path => ARRAY['a_b_a_fkey']);
INSERT INTO tenant VALUES (1), (2);
INSERT INTO a VALUES (1, 1), (2, 2);
INSERT INTO b VALUES (1, 1), (2, 2);
INSERT INTO a_b VALUES (1, 1), (2, 2), (2, 1);
INSERT INTO log SELECT n % 2 + 1, 'same', '{"a": 1}' FROM generate_series(1, 6) n;
INSERT INTO partly VALUES (1, 1), (NULL, 1), (NULL, 1), (2, 2);
INSERT INTO late VALUES (1, 1), (2, 1), (3, 2);
\! pg_dump -Fc -f "$ARCHIVE" -n public regress_dg_undelete_keyless

-- An archive has all rows that there were: again and again the same.
DELETE FROM log WHERE ctid = '(0,1)' AND tenant = 1;
DELETE FROM partly WHERE ctid = '(0,2)';
SELECT relation, restored, identical FROM deletion_guard.rehydrate('1', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT relation, restored, identical FROM deletion_guard.rehydrate('1', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT relation, restored, identical FROM deletion_guard.rehydrate('{1,2}'::text[], :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text, tenant;
SELECT (SELECT count(*) FROM log), (SELECT count(*) FROM a_b), (SELECT count(*) FROM partly), (SELECT count(*) FROM late);

-- What the application has made again is there, at once or later.
DELETE FROM a_b WHERE a = 2;
SELECT last() AS d \gset
INSERT INTO a_b VALUES (2, 1);
SELECT relation, restored, identical FROM deletion_guard.undelete(:d, dry_run => true);
SELECT relation, restored, identical FROM deletion_guard.undelete(:d);
BEGIN;
DELETE FROM a_b WHERE a = 1;
INSERT INTO a_b VALUES (1, 1);
COMMIT;
SELECT restored, identical FROM deletion_guard.undelete(last());
BEGIN;
SAVEPOINT s;
DELETE FROM a_b WHERE a = 1;
RELEASE s;
INSERT INTO a_b VALUES (1, 1);
COMMIT;
SELECT restored, identical FROM deletion_guard.undelete(last());
TABLE a_b ORDER BY a, b;
-- More of them than were deleted.
DELETE FROM a_b WHERE a = 1;
INSERT INTO a_b VALUES (1, 1), (1, 1);
SELECT restored, identical FROM deletion_guard.undelete(last());
SELECT count(*) FROM a_b WHERE a = 1;
DELETE FROM a_b WHERE a = 1;
INSERT INTO a_b VALUES (1, 1);
SELECT restored, identical FROM deletion_guard.undelete(last());
SELECT count(*) FROM a_b WHERE a = 1;

-- What was there before is another row; so is what an undelete brought back.
DELETE FROM log WHERE ctid = '(0,2)' AND tenant = 1;
SELECT restored, identical FROM deletion_guard.undelete(last());
DELETE FROM log WHERE ctid = '(0,3)' AND tenant = 1;
SELECT last() AS d \gset
DELETE FROM log WHERE tenant = 1;
SELECT restored, identical FROM deletion_guard.undelete(:d);
SELECT restored, identical FROM deletion_guard.undelete(last());
SELECT tenant, count(*) FROM log GROUP BY 1 ORDER BY 1;
BEGIN;
INSERT INTO log (tenant, what) VALUES (2, 'x'), (2, 'x');
DELETE FROM log WHERE ctid = (SELECT max(ctid) FROM log_2);
COMMIT;
SELECT restored, identical FROM deletion_guard.undelete(last());
SELECT count(*) FROM log WHERE what = 'x';

-- By an index, where there is one, whatever its type's equality says.
CREATE TABLE price (amount numeric, what text);
CREATE INDEX ON price (amount);
SELECT deletion_guard.guard_table('price');
INSERT INTO price VALUES (1.0, 'a'), (1.00, 'a'), (NULL, 'a');
DELETE FROM price WHERE amount IS NOT NULL;
SELECT last() AS d \gset
DELETE FROM price;
INSERT INTO price VALUES (1.0, 'a'), (NULL, 'a');
SELECT restored, identical FROM deletion_guard.undelete(:d);
SELECT restored, identical FROM deletion_guard.undelete(last());
TABLE price ORDER BY amount, amount::text;

-- A row with a deferrable key is there already, too.
DELETE FROM late WHERE id = 1;
INSERT INTO late VALUES (1, 1);
SELECT restored, identical FROM deletion_guard.undelete(last());

\c :maintenance_db
DROP DATABASE regress_dg_undelete_keyless;
