-- Rows that lost a link, were deleted, came back from an archive that has them with the link, and are undeleted:
-- they are there once, with a key or without, and so is the link.
CREATE DATABASE regress_dg_undelete_rehydrated;
\set maintenance_db :DBNAME
\c regress_dg_undelete_rehydrated
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/undelete_rehydrated.dump'
\setenv ARCHIVE :archive
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_links_owner;
GRANT CREATE ON SCHEMA public TO regress_dg_links_owner;

-- Values of links are read by the owner's domain.
CREATE TABLE seen_as (role name);
GRANT INSERT ON seen_as TO PUBLIC;
SET ROLE regress_dg_links_owner;
CREATE FUNCTION look(v int) RETURNS boolean LANGUAGE plpgsql AS
$$BEGIN IF current_user <> 'regress_dg_links_owner' THEN INSERT INTO seen_as VALUES (current_user); END IF; RETURN true; END$$;
CREATE DOMAIN parent_id AS int CHECK (look(VALUE));
CREATE TABLE org (id int PRIMARY KEY);
CREATE TABLE parent (id int PRIMARY KEY, org int REFERENCES org);
CREATE TABLE keyed (id int PRIMARY KEY, org int REFERENCES org, p parent_id REFERENCES parent ON DELETE SET NULL, q int DEFAULT 0 REFERENCES parent ON DELETE SET DEFAULT, t text);
CREATE TABLE keyless (org int REFERENCES org, p parent_id REFERENCES parent ON DELETE SET NULL, q int DEFAULT 0 REFERENCES parent ON DELETE SET DEFAULT, t text) PARTITION BY LIST (t);
CREATE TABLE keyless_1 (t text, gone int, q int DEFAULT 0, p parent_id, org int);
ALTER TABLE keyless_1 DROP gone;
ALTER TABLE keyless ATTACH PARTITION keyless_1 FOR VALUES IN ('t1', 't2');
CREATE TABLE keyless_rest PARTITION OF keyless DEFAULT;
INSERT INTO org VALUES (1), (2);
INSERT INTO parent VALUES (0, 2);
INSERT INTO parent SELECT i, 1 + i % 2 FROM generate_series(1, 4) i;
INSERT INTO keyed SELECT i, 1 + i % 2, i, i, 't' || i FROM generate_series(1, 4) i;
-- equal rows, some of which never had a link
INSERT INTO keyless SELECT 1 + i % 2, i, i, 't' || i FROM generate_series(1, 4) i;
INSERT INTO keyless SELECT 1 + i % 2, i, i, 't' || i FROM generate_series(1, 4) i;
INSERT INTO keyless VALUES (1, NULL, 0, 't2'), (1, 4, 0, 't2'), (1, NULL, 4, 't2');
RESET ROLE;
SELECT deletion_guard.set_tenant_table('org', 'id');
SELECT relation, tenant_source FROM deletion_guard.guard_schema('public', 'org') WHERE tenant_source IS NOT NULL;
\! pg_dump -Fc -f "$ARCHIVE" -n public regress_dg_undelete_rehydrated
CREATE TEMP TABLE keyed_before AS TABLE keyed;
CREATE TEMP TABLE keyless_before AS TABLE keyless;
CREATE TEMP VIEW changed AS
	SELECT 'extra' AS what, x::text FROM (TABLE keyed EXCEPT ALL TABLE keyed_before) x
	UNION ALL SELECT 'lost', x::text FROM (TABLE keyed_before EXCEPT ALL TABLE keyed) x
	UNION ALL SELECT 'extra', x::text FROM (TABLE keyless EXCEPT ALL TABLE keyless_before) x
	UNION ALL SELECT 'lost', x::text FROM (TABLE keyless_before EXCEPT ALL TABLE keyless) x;
DELETE FROM parent WHERE org = 1;
DELETE FROM keyed WHERE org = 1;
DELETE FROM keyless WHERE org = 1;
TRUNCATE seen_as;
SELECT relation, restored, identical, problem FROM deletion_guard.rehydrate('1', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT * FROM changed ORDER BY 1, 2;
SELECT relation, restored, identical, problem FROM deletion_guard.undelete_tenant('1', dry_run => true) ORDER BY relation::text, restored;
SELECT relation, restored, identical, problem FROM deletion_guard.undelete_tenant('1') ORDER BY relation::text, restored;
SELECT * FROM changed ORDER BY 1, 2;
SELECT count(*) FROM deletion_guard.deletion_link WHERE NOT restored;
TABLE seen_as;

-- Some of them have come back only.
DELETE FROM parent WHERE org = 1;
DELETE FROM keyless WHERE org = 1;
INSERT INTO parent VALUES (2, 1);
INSERT INTO keyless VALUES (1, 2, 2, 't2'), (1, NULL, 0, 't2');
TRUNCATE seen_as;
SELECT relation, restored, identical, problem FROM deletion_guard.undelete_tenant('1') ORDER BY relation::text, restored;
SELECT * FROM changed ORDER BY 1, 2;

-- Live rows that have lost links
DELETE FROM parent WHERE org = 1;
SELECT relation, restored, identical FROM deletion_guard.rehydrate('1', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT * FROM changed ORDER BY 1, 2;
SELECT relation, restored, identical, problem FROM deletion_guard.undelete_tenant('1') ORDER BY relation::text, restored;
SELECT * FROM changed ORDER BY 1, 2;

-- The other way round: deleted with its link, back from the archive, and then the link is lost.
DELETE FROM keyed WHERE org = 1;
SELECT relation, restored, identical FROM deletion_guard.rehydrate('1', :'archive') WHERE relation = 'keyed'::regclass;
DELETE FROM parent WHERE id = 2;
SELECT relation, restored, identical, problem FROM deletion_guard.undelete((SELECT max(id) - 1 FROM deletion_guard.deletion));
SELECT * FROM changed WHERE x LIKE '%t2%' ORDER BY 1, 2;
SELECT relation, restored, identical, problem FROM deletion_guard.undelete_tenant('1') ORDER BY relation::text, restored;
SELECT * FROM changed ORDER BY 1, 2;
-- A live row that differs in more is another one.
DELETE FROM parent WHERE id = 2;
DELETE FROM keyed WHERE org = 1;
SELECT relation, restored, identical FROM deletion_guard.rehydrate('1', :'archive') WHERE relation = 'keyed'::regclass;
UPDATE keyed SET t = 'changed' WHERE id = 2;
SELECT deletion_guard.undelete_tenant('1');  -- fails
SELECT relation, restored, identical, skipped FROM deletion_guard.undelete_tenant('1', on_conflict => 'replace') ORDER BY relation::text, restored;
SELECT * FROM changed ORDER BY 1, 2;
TABLE seen_as;

-- Equal rows that were deleted in different shapes of the table: of two of them one is there.
DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless WHERE t = 't4') AND t = 't4';
ALTER TABLE keyless ADD extra int;
DELETE FROM keyless WHERE t = 't4';
INSERT INTO keyless VALUES (1, 4, 4, 't4');
SELECT relation, restored, identical FROM deletion_guard.undelete_tenant('1', on_conflict => 'skip') WHERE relation = 'keyless'::regclass;
SELECT count(*) FROM keyless WHERE t = 't4';

\c :maintenance_db
DROP DATABASE regress_dg_undelete_rehydrated;
DROP ROLE regress_dg_links_owner;
