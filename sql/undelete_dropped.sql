-- The bin holds rows of a table that was dropped: they stay, and have ways out.
CREATE DATABASE regress_dg_undelete_dropped;
\set maintenance_db :DBNAME
\c regress_dg_undelete_dropped
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE FUNCTION last() RETURNS bigint LANGUAGE sql AS $$ SELECT max(id) FROM deletion_guard.deletion $$;
CREATE TABLE site (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, site_id int REFERENCES site ON DELETE CASCADE, title text);
CREATE TABLE draft (id int PRIMARY KEY, site_id int REFERENCES site ON DELETE CASCADE, body text);
SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
SELECT count(*) FROM deletion_guard.guard_schema('public', 'site_id', false);
INSERT INTO site VALUES (1, 'one'), (2, 'two');
INSERT INTO issue SELECT i, 1 + i % 2, 'issue ' || i FROM generate_series(1, 4) i;
INSERT INTO draft SELECT i, 1 + i % 2, 'draft ' || i FROM generate_series(1, 6) i;
DELETE FROM site;
SET deletion_guard.ddl = allow;
BEGIN;
DROP TABLE draft;
ROLLBACK;
SELECT relation, rows FROM deletion_guard.deletion_detail ORDER BY 1, tenant;
ALTER TABLE draft DROP CONSTRAINT draft_site_id_fkey;
DROP TABLE draft;
RESET deletion_guard.ddl;

-- The whole call fails, and says what to do; the rest comes back if that is asked for.
SELECT * FROM deletion_guard.undelete(last()); -- fails
SELECT * FROM deletion_guard.undelete_tenant('1', on_conflict => 'replace'); -- fails
SELECT problem FROM deletion_guard.undelete_tenants('{1,2}', dry_run => true);
SELECT * FROM deletion_guard.undelete_tenant('1', on_conflict => 'skip', dry_run => true);
SELECT * FROM deletion_guard.undelete_tenant('1', on_conflict => 'skip');
SELECT * FROM deletion_guard.undelete(last(), 'skip');
SELECT * FROM deletion_guard.undelete(last(), 'skip');
SELECT state FROM deletion_guard.deletion;
-- A table of that name is another one, and one of that OID would be, too.
SELECT relation, tenant, rows - restored AS rows FROM deletion_guard.deletion_detail WHERE rows > restored ORDER BY 2;
CREATE TABLE draft (site_id int, id int, body text, late text, PRIMARY KEY (site_id, id)) PARTITION BY LIST (site_id);
CREATE TABLE draft_1 PARTITION OF draft FOR VALUES IN (1);
CREATE TABLE draft_rest PARTITION OF draft DEFAULT;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::draft);
SELECT bin_table AS bin FROM deletion_guard.bin WHERE relation = 0 \gset
SELECT id, body FROM :bin ORDER BY id;

-- It is given to the table that takes its place, by whoever owns the extension.
CREATE ROLE regress_dg_adopter;
GRANT USAGE ON SCHEMA deletion_guard, deletion_guard_bin TO regress_dg_adopter;
SET ROLE regress_dg_adopter;
SELECT deletion_guard.adopt_bin(:'bin', 'draft'); -- fails
RESET ROLE;
GRANT EXECUTE ON FUNCTION deletion_guard.adopt_bin TO regress_dg_adopter;
SET ROLE regress_dg_adopter;
SELECT deletion_guard.adopt_bin(:'bin', 'draft'); -- fails
RESET ROLE;
CREATE VIEW drafts AS SELECT * FROM draft;
SELECT deletion_guard.adopt_bin(:'bin', 'drafts'); -- fails
SELECT deletion_guard.adopt_bin(:'bin', 'draft_1'); -- fails
SELECT deletion_guard.adopt_bin(:'bin', :'bin'); -- fails
SELECT deletion_guard.adopt_bin('draft', 'draft'); -- fails
SELECT deletion_guard.adopt_bin((SELECT bin_table FROM deletion_guard.bin WHERE relation = 'issue'::regclass), 'draft'); -- fails
SELECT deletion_guard.adopt_bin(:'bin', 'draft');
SELECT deletion_guard.adopt_bin(:'bin', 'draft'); -- fails: it has a table now
SELECT * FROM deletion_guard.deleted_rows(NULL::draft, tenant => '1') ORDER BY id;
SELECT * FROM deletion_guard.undelete_tenant('1');
SELECT relation, restored, problem FROM deletion_guard.undelete(last());
SELECT tableoid::regclass, * FROM draft ORDER BY id;
SELECT state FROM deletion_guard.deletion;
SELECT event, details FROM deletion_guard.ledger WHERE event = 'adopt_bin';

-- deleted_rows() says which value it cannot show.
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE felt (id int PRIMARY KEY, m mood, n numeric);
SELECT deletion_guard.guard_table('felt');
INSERT INTO felt VALUES (1, 'sad', 1.15), (2, 'ok', 2);
DELETE FROM felt;
DELETE FROM issue;
CREATE TYPE mood2 AS ENUM ('ok');
ALTER TABLE felt ALTER m TYPE mood2 USING NULL, ALTER n TYPE numeric(6,1);
SELECT * FROM deletion_guard.deleted_rows(NULL::felt); -- fails
ALTER TYPE mood2 ADD VALUE 'sad';
SELECT * FROM deletion_guard.deleted_rows(NULL::felt) ORDER BY id;
SELECT * FROM deletion_guard.deleted_rows(1); -- fails
SELECT * FROM deletion_guard.deleted_rows(NULL::drafts); -- fails

-- Its tenant column is gone: what is deleted now could not be told apart.
DROP VIEW drafts;
ALTER TABLE draft DROP CONSTRAINT draft_pkey;
SELECT deletion_guard.guard_table('draft', 'id');
SET deletion_guard.ddl = allow;
ALTER TABLE draft DROP COLUMN id;
RESET deletion_guard.ddl;
DELETE FROM draft; -- fails

\c :maintenance_db
DROP DATABASE regress_dg_undelete_dropped;
DROP ROLE regress_dg_adopter;
