-- From CREATE EXTENSION to DROP EXTENSION: installing, maintenance of guarded and
-- of bin tables, copies of the database, a library that is newer than the extension.
CREATE DATABASE regress_dg_lifecycle;
\set maintenance_db :DBNAME
\c regress_dg_lifecycle
SET client_min_messages = warning;

-- Who may install it, and where
CREATE ROLE regress_dg_plain;
GRANT CREATE ON DATABASE regress_dg_lifecycle TO regress_dg_plain;
SET ROLE regress_dg_plain;
CREATE EXTENSION deletion_guard;  -- fails: not trusted
RESET ROLE;
REVOKE CREATE ON DATABASE regress_dg_lifecycle FROM regress_dg_plain;
-- The context names the line of the script since version 18.
\set SHOW_CONTEXT never
CREATE SCHEMA deletion_guard;
CREATE EXTENSION deletion_guard;  -- fails: the name is taken
DROP SCHEMA deletion_guard;
CREATE SCHEMA deletion_guard_bin;
CREATE EXTENSION deletion_guard;  -- fails: so is this one
DROP SCHEMA deletion_guard_bin;
\set SHOW_CONTEXT errors
CREATE EXTENSION deletion_guard SCHEMA public;  -- fails: it makes its own

-- A search_path with functions and operators that pretend to be the server's
CREATE SCHEMA evil;
CREATE FUNCTION evil.format(text, regclass) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil'; END $$;
CREATE FUNCTION evil.pg_extension_config_dump(text, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil'; END $$;
CREATE FUNCTION evil.eq(oid, regnamespace) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil'; END $$;
CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = regnamespace, FUNCTION = evil.eq);
SET search_path = evil, pg_catalog, public;
CREATE EXTENSION deletion_guard;
RESET search_path;
SELECT count(*) AS ours, count(*) FILTER (WHERE t.tgfoid = 'deletion_guard_internal.protect'::regproc) AS protected
FROM pg_class c LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname = 'deletion_guard_protect'
WHERE c.relnamespace = 'deletion_guard'::regnamespace AND c.relkind = 'r' HAVING count(*) <> count(t.oid);
DROP SCHEMA evil CASCADE;

-- Where it stays
ALTER EXTENSION deletion_guard SET SCHEMA public;  -- fails
\set VERBOSITY sqlstate
ALTER EXTENSION deletion_guard UPDATE TO '99';  -- fails
\set VERBOSITY default
ALTER EXTENSION deletion_guard UPDATE;
SET ROLE regress_dg_plain;
ALTER EXTENSION deletion_guard UPDATE;  -- fails
DROP EXTENSION deletion_guard;  -- fails
RESET ROLE;

-- What every deletion writes is written as rows of catalogs are, which have no
-- partial indexes and none on expressions
SELECT indexrelid::regclass FROM pg_index
WHERE indrelid::regclass::text ~ '^deletion_guard\.(deletion_.*|bin|tenant_wipe|ledger|installation)$'
	AND (indpred IS NOT NULL OR indexprs IS NOT NULL OR indisexclusion);

-- Maintenance, while a session knows the tables: all of them get new files, and
-- their indexes new OIDs.
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int, body text);
INSERT INTO issue SELECT i, i % 5, repeat(md5(i::text), 100) FROM generate_series(1, 500) i;
SELECT deletion_guard.guard_table('issue', 'tenant_id');
DELETE FROM issue WHERE tenant_id = 1;
DELETE FROM issue WHERE tenant_id = 2;
SELECT bin_table::text AS bin FROM deletion_guard.bin \gset
CREATE TEMP TABLE file AS SELECT oid, relfilenode FROM pg_class;
VACUUM FULL issue;
CLUSTER issue USING issue_pkey;
REINDEX TABLE CONCURRENTLY issue;
VACUUM FULL :bin;
VACUUM FREEZE :bin;
ANALYZE :bin;
SELECT count(*) AS moved FROM file f JOIN pg_class c USING (oid) WHERE c.relfilenode <> f.relfilenode AND c.oid IN ('issue'::regclass, :'bin'::regclass);
REINDEX SCHEMA CONCURRENTLY deletion_guard;
ALTER TABLE issue ADD COLUMN extra int;
DELETE FROM issue WHERE tenant_id = 3;
SELECT * FROM deletion_guard.undelete(1);
SELECT * FROM deletion_guard.undelete_tenants('{2,3}');
SELECT format('VACUUM (FULL, FREEZE) %s', oid::regclass) FROM pg_class WHERE relnamespace = 'deletion_guard'::regnamespace AND relkind = 'r' ORDER BY oid \gexec
DELETE FROM issue WHERE tenant_id = 4;
SELECT * FROM deletion_guard.undelete_tenant('4');
SELECT count(*), sum(length(body)) FROM issue;
CREATE INDEX ON :bin (deletion);  -- fails
ALTER TABLE :bin SET UNLOGGED;  -- fails

-- Rows that nobody asks for are frozen like any others, and found after it
DELETE FROM issue WHERE tenant_id = 0;
VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) :bin;
SELECT age(relfrozenxid) < 100 AS frozen FROM pg_class WHERE oid = :'bin'::regclass;
SELECT restored FROM deletion_guard.undelete_tenant('0');

-- A copy of the database is another database: it has the bin, guards and goes
-- on by itself. Tokens name the database, so those for one are not good in the other.
DELETE FROM issue WHERE tenant_id = 1;
SELECT max(id) AS deletion FROM deletion_guard.deletion \gset
SELECT deletion_guard.audience() AS audience \gset
\c :maintenance_db
CREATE DATABASE regress_dg_lifecycle_copy TEMPLATE regress_dg_lifecycle;
\c regress_dg_lifecycle_copy
SET client_min_messages = warning;
DROP TABLE issue;  -- fails
SELECT deletion_guard.audience() = :'audience' AS same_audience;
SELECT * FROM deletion_guard.undelete(:deletion);
DELETE FROM issue WHERE tenant_id = 2;
SELECT ok FROM deletion_guard.verify_ledger();
\c :maintenance_db
ALTER DATABASE regress_dg_lifecycle_copy RENAME TO regress_dg_lifecycle_renamed;
\c regress_dg_lifecycle_renamed
SELECT deletion_guard.audience() ~ ':regress_dg_lifecycle_renamed$' AS renamed;
SELECT * FROM deletion_guard.undelete_tenant('2');
\c :maintenance_db
DROP DATABASE regress_dg_lifecycle_renamed;
\c regress_dg_lifecycle
SET client_min_messages = warning;
SELECT * FROM deletion_guard.undelete(:deletion);

-- A library that knows a table which the extension in the database has not got,
-- as after a new package was installed: nothing is deleted, and nothing dropped,
-- until the extension is updated.
-- Catalogs can be written by hand before the library is loaded only.
SELECT bin_table::text AS bin FROM deletion_guard.bin ORDER BY bin_id LIMIT 1 \gset
\c -
SET client_min_messages = warning;
BEGIN;
UPDATE pg_class SET relname = 'unknown' WHERE oid = 'deletion_guard.tenant_wipe'::regclass;
SAVEPOINT s;
\set VERBOSITY default
DELETE FROM issue;  -- fails
\set VERBOSITY terse
ROLLBACK TO s;
TRUNCATE issue;  -- fails
ROLLBACK TO s;
DROP TABLE issue;  -- fails
ROLLBACK TO s;
ALTER TABLE issue DISABLE TRIGGER ALL;  -- fails
ROLLBACK TO s;
DELETE FROM :bin;  -- fails
ROLLBACK TO s;
DROP EXTENSION deletion_guard CASCADE;  -- fails
ROLLBACK TO s;
SELECT * FROM deletion_guard.undelete(1);  -- fails
ROLLBACK TO s;
SELECT * FROM deletion_guard.verify();  -- fails
ROLLBACK TO s;
ALTER EXTENSION deletion_guard UPDATE;
ROLLBACK;

-- Nor is anything deleted where a table has other columns than the library knows: before that
-- update, or after it, in a session that began before.
\c -
BEGIN;
DELETE FROM pg_attribute WHERE attrelid = 'deletion_guard.deletion_part'::regclass AND attname = 'purge_not_before';
DELETE FROM pg_constraint WHERE conrelid = 'deletion_guard.deletion_part'::regclass AND contype IN ('c', 'n');
UPDATE pg_class SET relnatts = relnatts - 1, relchecks = 0 WHERE oid = 'deletion_guard.deletion_part'::regclass;
\set VERBOSITY default
DELETE FROM issue;  -- fails
ROLLBACK;
SET client_min_messages = warning;

-- And away with it
DELETE FROM issue WHERE tenant_id = 1;
DROP EXTENSION deletion_guard;  -- fails: there are rows in the bin
DROP EXTENSION deletion_guard CASCADE;  -- fails: the same
SELECT restored FROM deletion_guard.undelete_tenant('1');
DROP EXTENSION deletion_guard CASCADE;  -- fails: a table is guarded
SELECT deletion_guard.unguard_table('issue');
DROP EXTENSION deletion_guard;  -- fails: the empty bins
DROP EXTENSION deletion_guard CASCADE;
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'deletion_guard%';
SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'deletion_guard%';
SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'deletion_guard%';
DELETE FROM issue WHERE tenant_id = 1;

-- Again, in the same session, which knew the first one
CREATE EXTENSION deletion_guard;
SELECT deletion_guard.guard_table('issue', 'tenant_id');
DELETE FROM issue WHERE tenant_id = 2;
SELECT id, rows, state FROM deletion_guard.deletion;
SELECT * FROM deletion_guard.undelete(1);
SELECT entries, ok FROM deletion_guard.verify_ledger();

-- The one who made the extension leaves: a superuser takes it over, and nobody else can.
CREATE ROLE regress_dg_leaving SUPERUSER;
CREATE ROLE regress_dg_heir SUPERUSER;
CREATE ROLE regress_dg_nobody;
CREATE DATABASE regress_dg_lifecycle_2;
\c regress_dg_lifecycle_2
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_dg_leaving;
CREATE EXTENSION deletion_guard;
RESET SESSION AUTHORIZATION;
CREATE TABLE issue (id integer PRIMARY KEY, tenant_id integer);
INSERT INTO issue SELECT i, 1 FROM generate_series(1, 3) i;
SELECT deletion_guard.guard_table('issue', 'tenant_id');
DELETE FROM issue WHERE id = 1;
DO $$ BEGIN
	REASSIGN OWNED BY regress_dg_leaving TO regress_dg_nobody;
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '% %', SQLSTATE, regexp_replace(SQLERRM, '(schema|function|event trigger|") .*', 'something');
END $$;
ALTER FUNCTION deletion_guard_internal.protect() OWNER TO regress_dg_nobody; -- fails
-- Who made it is no superuser any more: verify() says so, and whatever else it says.
SELECT count(*) AS checks FROM deletion_guard.verify() \gset
ALTER ROLE regress_dg_leaving NOSUPERUSER;
SELECT detail FROM deletion_guard.verify() WHERE check_name = 'extension';
SELECT count(*) - :checks AS less FROM deletion_guard.verify();
SELECT problems > 0 AS seen FROM deletion_guard.status;
SET ROLE regress_dg_nobody;
SELECT deletion_guard_internal.server_setting('shared_preload_libraries'); -- fails
RESET ROLE;
REASSIGN OWNED BY regress_dg_leaving TO regress_dg_heir;
DROP ROLE regress_dg_leaving;
SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_bin'::regnamespace);
SELECT extowner::regrole FROM pg_extension WHERE extname = 'deletion_guard';
DELETE FROM issue WHERE id = 2;
ALTER TABLE issue ADD COLUMN word text;
DELETE FROM issue WHERE id = 3;
SELECT sum(restored) FROM deletion_guard.undelete_tenant('1');
\c :maintenance_db
DROP DATABASE regress_dg_lifecycle_2;
DROP ROLE regress_dg_heir, regress_dg_nobody;
DROP DATABASE regress_dg_lifecycle;
DROP ROLE regress_dg_plain;
