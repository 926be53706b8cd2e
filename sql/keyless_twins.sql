-- Rows of tables without a key, where live rows of the same content are not what they seem: older ones that were
-- written anew, or ones that are the archive's but for the links that they have lost.
CREATE DATABASE regress_dg_keyless_twins;
\set maintenance_db :DBNAME
\c regress_dg_keyless_twins
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/keyless_twins.dump'
\setenv ARCHIVE :archive
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;

-- One of two equal rows is deleted, the other written anew: the deleted one comes back.
CREATE TABLE retyped (a int, b int);
CREATE TABLE updated (a int, b int);
CREATE TABLE made_again (a int, b int);
CREATE INDEX ON updated (a);
SELECT deletion_guard.guard_table(t) FROM unnest('{retyped,updated,made_again}'::regclass[]) t;
INSERT INTO retyped VALUES (1, 1), (1, 1);
INSERT INTO updated TABLE retyped;
INSERT INTO made_again TABLE retyped;
DELETE FROM retyped WHERE ctid = '(0,1)';
DELETE FROM updated WHERE ctid = '(0,1)';
DELETE FROM made_again WHERE ctid = '(0,1)';
ALTER TABLE retyped ALTER b TYPE bigint;
UPDATE updated SET b = b;
INSERT INTO made_again VALUES (1, 1);
SELECT r.relation, r.restored, r.identical FROM generate_series(1, 3) d, deletion_guard.undelete(d) r;
SELECT (SELECT count(*) FROM retyped) AS retyped, (SELECT count(*) FROM updated) AS updated, (SELECT count(*) FROM made_again) AS made_again;

-- In a database that was restored from a dump, nothing tells what was written later.
DELETE FROM made_again WHERE ctid = '(0,2)';
\! pg_dump -f "$ARCHIVE" regress_dg_keyless_twins
CREATE DATABASE regress_dg_keyless_twins_restored;
\! psql -Xqd regress_dg_keyless_twins_restored -f "$ARCHIVE" > "$ARCHIVE".log
\c regress_dg_keyless_twins_restored
SELECT relation, restored, identical FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
\c regress_dg_keyless_twins
SET client_min_messages = warning;
DROP DATABASE regress_dg_keyless_twins_restored;

-- Live rows that have lost links are the archive's; each link is of one row.
CREATE TABLE org (id int PRIMARY KEY);
CREATE TABLE parent (id int PRIMARY KEY, org int REFERENCES org ON DELETE CASCADE);
CREATE TABLE child (org int REFERENCES org ON DELETE CASCADE, p int REFERENCES parent ON DELETE SET NULL, q int REFERENCES parent ON DELETE SET NULL, t text) PARTITION BY LIST (org);
CREATE TABLE child_1 (t text, gone int, q int, p int, org int);
ALTER TABLE child_1 DROP gone;
ALTER TABLE child ATTACH PARTITION child_1 FOR VALUES IN (1);
CREATE TABLE child_rest PARTITION OF child DEFAULT;
SELECT deletion_guard.set_tenant_table('org', 'id');
SELECT * FROM deletion_guard.guard_schema('public', 'org') WHERE tenant_source IS NOT NULL;
INSERT INTO org VALUES (1), (2);
INSERT INTO parent SELECT i, 1 + i % 2 FROM generate_series(1, 4) i;
INSERT INTO child SELECT 1 + i % 2, i, i, 't' || i FROM generate_series(1, 4) i;
INSERT INTO child TABLE child;
INSERT INTO child VALUES (1, NULL, NULL, 't2'), (1, 2, NULL, 't2'), (1, NULL, NULL, 'none');
CREATE TEMP TABLE before AS SELECT * FROM child;
\! pg_dump -Fc -f "$ARCHIVE" -n public regress_dg_keyless_twins
DELETE FROM parent WHERE org = 1;
SELECT relation, only_in_archive, only_live, different, problem FROM deletion_guard.compare_tenant('1', :'archive') WHERE archive_rows IS NOT NULL ORDER BY relation::text;
SELECT relation, restored, identical, problem FROM deletion_guard.rehydrate('1', :'archive', dry_run => true) WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT relation, restored, identical, problem FROM deletion_guard.rehydrate('1', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT * FROM (TABLE child EXCEPT ALL TABLE before) extra UNION ALL SELECT * FROM (TABLE before EXCEPT ALL TABLE child) lost;
SELECT relation, restored, identical, problem FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT * FROM (TABLE child EXCEPT ALL TABLE before) extra UNION ALL SELECT * FROM (TABLE before EXCEPT ALL TABLE child) lost;

\c :maintenance_db
DROP DATABASE regress_dg_keyless_twins;
