-- Tenants whose key is changed after rows of theirs were deleted.
CREATE DATABASE regress_dg_tenant_renamed;
\set maintenance_db :DBNAME
\c regress_dg_tenant_renamed
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
SET deletion_guard.retention = '0';
\set VERBOSITY terse
CREATE TABLE org (slug text PRIMARY KEY, name text, visits integer);
CREATE TABLE doc (id integer PRIMARY KEY, org text NOT NULL REFERENCES org ON UPDATE CASCADE ON DELETE CASCADE,
	shared_with text REFERENCES org ON UPDATE CASCADE ON DELETE CASCADE, UNIQUE (org, id));
CREATE TABLE note (id integer PRIMARY KEY, org text NOT NULL, doc integer,
	FOREIGN KEY (org, doc) REFERENCES doc (org, id) ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE line (id integer PRIMARY KEY, note integer REFERENCES note ON DELETE CASCADE);
SELECT deletion_guard.set_tenant_table('org', 'slug', 'name');
SELECT relation, tenant_source, problem FROM deletion_guard.guard_schema('public', 'org') ORDER BY 1;
DROP TRIGGER deletion_guard_rename ON org;  -- fails
ALTER TABLE org DISABLE TRIGGER deletion_guard_rename;  -- fails

INSERT INTO org VALUES ('acme', 'Acme'), ('globex', 'Globex');
INSERT INTO doc VALUES (1, 'acme', 'globex'), (2, 'acme', NULL), (3, 'globex', 'acme');
INSERT INTO note VALUES (1, 'acme', 1), (2, 'globex', 3);
INSERT INTO line VALUES (1, 1);
DELETE FROM doc;
UPDATE org SET visits = 1;
SELECT count(*) AS renames FROM deletion_guard.tenant_rename;
-- Twice, with a change that is rolled back in between.
UPDATE org SET slug = 'acme-corp' WHERE slug = 'acme';
BEGIN;
SAVEPOINT s;
UPDATE org SET slug = 'gone' WHERE slug = 'acme-corp';
ROLLBACK TO s;
UPDATE org SET slug = 'acme-inc' WHERE slug = 'acme-corp';
COMMIT;
SELECT old_key, new_key FROM deletion_guard.tenant_rename ORDER BY rename_id;
SELECT relation, tenant, tenant_name, rows FROM deletion_guard.deletion_detail ORDER BY 1, 2;
SELECT (deletion_guard.tenant_label('acme')).tenant_name;
SELECT id, org FROM deletion_guard.deleted_rows(NULL::doc, 'acme') ORDER BY 1;
SELECT deletion_guard.hold_tenant('acme', 'by its first key') AS hold \gset
SELECT tenant FROM deletion_guard.hold;
SELECT claims->'tenant' AS tenant, claims->'rows' AS rows FROM deletion_guard.request_purge('acme-corp', 'x') claims;
-- The old key is another tenant's now, who deletes, too.
INSERT INTO org VALUES ('acme', 'Acme the younger');
INSERT INTO doc VALUES (11, 'acme', NULL);
DELETE FROM doc WHERE id = 11;
SELECT relation, tenant, tenant_name, rows FROM deletion_guard.deletion_detail ORDER BY deletion_id, 1, 2;
SELECT claims->'tenant' AS tenant, claims->'rows' AS rows FROM deletion_guard.request_purge('acme', 'the younger only') claims;
BEGIN;
SELECT relation, tenant, restored FROM deletion_guard.undelete(1) ORDER BY 1, 2;
SELECT * FROM doc ORDER BY id;
SELECT * FROM note ORDER BY id;
SELECT * FROM line;
ROLLBACK;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('acme') ORDER BY 1, 2;
SELECT * FROM doc ORDER BY id;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenants('{acme-corp,globex}') ORDER BY 1, 2;
SELECT * FROM doc ORDER BY id;

-- Keys that change places, and keys that move up, in one UPDATE.
CREATE TABLE club (id integer PRIMARY KEY DEFERRABLE, name text);
CREATE TABLE member (id integer PRIMARY KEY, club integer);
SELECT deletion_guard.guard_table('club', 'id'), deletion_guard.guard_table('member', 'club');
SELECT deletion_guard.set_tenant_table('club', 'id', 'name');
SELECT tgrelid::regclass FROM pg_trigger WHERE tgname = 'deletion_guard_rename';
INSERT INTO club SELECT i, 'club ' || i FROM generate_series(1, 3) i;
INSERT INTO member SELECT i, i FROM generate_series(1, 3) i;
DELETE FROM member;
UPDATE club SET id = id + 1;
SELECT tenant, tenant_name FROM deletion_guard.deletion_detail WHERE relation = 'member'::regclass ORDER BY 1;
UPDATE club SET id = 6 - id WHERE id <> 3;
SELECT tenant, tenant_name FROM deletion_guard.deletion_detail WHERE relation = 'member'::regclass ORDER BY 1;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('4');
SELECT * FROM member;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenants('{2,3}');
SELECT * FROM member ORDER BY id;
-- A key that several tenants have had says nothing.
DELETE FROM member WHERE id = 1;
UPDATE club SET id = 10 WHERE id = 4;
UPDATE club SET id = 4 WHERE id = 3;
UPDATE club SET id = 30 WHERE id = 4;
SELECT deletion_guard.undelete_tenant('4');  -- fails

-- Where no trigger fires but those that always do, it works. Where the key becomes one that the row's column had no room for, that is said.
INSERT INTO club VALUES (50, 'fifty');
INSERT INTO member VALUES (5, 50);
DELETE FROM member WHERE id = 5;
SET session_replication_role = replica;
UPDATE club SET id = 51 WHERE id = 50;
RESET session_replication_role;
SELECT tenant FROM deletion_guard.deletion_detail WHERE tenant_name = 'fifty';
ALTER TABLE club ALTER id TYPE text;
UPDATE club SET id = 'fifty-one' WHERE id = '51';
\set VERBOSITY default
SELECT relation, restored FROM deletion_guard.undelete_tenant('fifty-one');  -- fails
\set VERBOSITY terse

-- Partitions of a tenant table
CREATE TABLE part_site (code text PRIMARY KEY, name text) PARTITION BY LIST (code);
CREATE TABLE part_site_a PARTITION OF part_site FOR VALUES IN ('a', 'aa');
CREATE TABLE page (id integer PRIMARY KEY, site text REFERENCES part_site ON UPDATE CASCADE ON DELETE CASCADE);
SELECT deletion_guard.guard_table('part_site', 'code'), deletion_guard.guard_table('page', 'site');
SELECT deletion_guard.set_tenant_table('part_site', 'code', 'name');
CREATE TABLE part_site_b PARTITION OF part_site FOR VALUES IN ('b', 'bb');
SELECT tgrelid::regclass FROM pg_trigger WHERE tgname = 'deletion_guard_rename' ORDER BY 1;
INSERT INTO part_site VALUES ('a', 'A'), ('b', 'B');
INSERT INTO page VALUES (1, 'a'), (2, 'b');
DELETE FROM page;
UPDATE part_site SET code = 'bb' WHERE code = 'b';
UPDATE part_site_a SET code = 'aa';
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenants('{a,bb}') ORDER BY 1, 2;
SELECT * FROM page ORDER BY id;

-- What was purged before the change does not come back under the new key, and goes out of mind with the tenant.
SELECT deletion_guard.set_tenant_table('org', 'slug', 'name');
INSERT INTO org VALUES ('hooli', 'Hooli');
INSERT INTO doc VALUES (21, 'hooli', NULL), (22, 'hooli', NULL);
DELETE FROM doc WHERE id = 21;
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('hooli', 'x')))->'rows' AS rows;
UPDATE org SET slug = 'hooli-xyz' WHERE slug = 'hooli';
DELETE FROM org WHERE slug = 'hooli-xyz';
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('hooli', 'y')))->'rows' AS rows;
SELECT count(*) AS left_over FROM deletion_guard.tenant_rename WHERE old_key LIKE 'hooli%' OR new_key LIKE 'hooli%';
SELECT ok, problem FROM deletion_guard.verify_ledger();
SELECT check_name, object, detail FROM deletion_guard.verify() WHERE check_name IN ('guard triggers', 'storage') AND NOT ok;
\c :maintenance_db
DROP DATABASE regress_dg_tenant_renamed;
