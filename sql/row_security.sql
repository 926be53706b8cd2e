-- Row security of a guarded table is that of its bins: a role that may read every
-- table does not read there what policies keep from it.
CREATE DATABASE regress_dg_row_security;
\set maintenance_db :DBNAME
\c regress_dg_row_security
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_row_owner;
CREATE ROLE regress_dg_row_auditor;
CREATE ROLE regress_dg_row_backup BYPASSRLS;
GRANT pg_read_all_data TO regress_dg_row_auditor, regress_dg_row_backup;
CREATE SCHEMA app AUTHORIZATION regress_dg_row_owner;
SET ROLE regress_dg_row_owner;
CREATE TABLE app.author (id int PRIMARY KEY);
CREATE TABLE app.note (id int PRIMARY KEY, tenant_id int, author int REFERENCES app.author ON DELETE SET NULL, secret text);
CREATE TABLE app.memo (id int, tenant_id int, secret text) PARTITION BY LIST (tenant_id);
CREATE TABLE app.memo_1 PARTITION OF app.memo DEFAULT;
CREATE POLICY own ON app.note USING (tenant_id = 1);
ALTER TABLE app.note ENABLE ROW LEVEL SECURITY;
INSERT INTO app.author VALUES (1), (2);
INSERT INTO app.note VALUES (1, 1, 1, 'a'), (2, 2, 2, 'b'), (3, 2, NULL, 'c');
INSERT INTO app.memo VALUES (1, 1, 'd'), (2, 2, 'e');
RESET ROLE;
SELECT deletion_guard.guard_table('app.author');
SELECT deletion_guard.guard_table('app.note', 'tenant_id');
SELECT deletion_guard.guard_table('app.memo', 'tenant_id');

-- what somebody sees of a table's bins
CREATE FUNCTION seen(target regclass) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	bin regclass;
BEGIN
	FOR bin IN SELECT bin_table FROM deletion_guard.bin WHERE relation = target ORDER BY 1 LOOP
		RETURN QUERY EXECUTE format('SELECT secret FROM %s ORDER BY 1', bin);
	END LOOP;
END $$;

DELETE FROM app.author;
DELETE FROM app.note WHERE id < 3;
DELETE FROM app.memo;
SET ROLE regress_dg_row_auditor;
SELECT seen('app.note');
SELECT seen('app.memo');
SELECT before FROM deletion_guard.deletion_link ORDER BY 1;
SET ROLE regress_dg_row_backup;
SELECT seen('app.note');
SELECT before FROM deletion_guard.deletion_link ORDER BY 1;
RESET ROLE;

-- turned on later, and off; another shape, another bin
SET ROLE regress_dg_row_owner;
ALTER TABLE app.memo ADD COLUMN more int, ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE app.note DISABLE ROW LEVEL SECURITY;
RESET ROLE;
INSERT INTO app.memo VALUES (3, 1, 'f');
DELETE FROM app.memo;
SET ROLE regress_dg_row_auditor;
SELECT seen('app.note');
SELECT seen('app.memo');
RESET ROLE;

-- rolled back, nothing has changed
BEGIN;
ALTER TABLE app.memo DISABLE ROW LEVEL SECURITY;
ROLLBACK;
SELECT bool_and(relrowsecurity) FROM pg_class JOIN deletion_guard.bin ON bin_table = pg_class.oid WHERE relation = 'app.memo'::regclass;

-- a bin that is given to another table takes that one's
SET deletion_guard.ddl = allow;
DROP TABLE app.note;
RESET deletion_guard.ddl;
CREATE TABLE app.note_2 (id int PRIMARY KEY, tenant_id int, author int, secret text);
ALTER TABLE app.note_2 ENABLE ROW LEVEL SECURITY;
SELECT deletion_guard.guard_table('app.note_2', 'tenant_id');
SELECT deletion_guard.adopt_bin(bin_table, 'app.note_2') FROM deletion_guard.bin WHERE relation = 0;
SET ROLE regress_dg_row_auditor;
SELECT seen('app.note_2');
RESET ROLE;

-- it is the extension's to turn off
SELECT bin_table AS bin FROM deletion_guard.bin WHERE relation = 'app.note_2'::regclass \gset
ALTER TABLE :bin ENABLE ROW LEVEL SECURITY;
\set VERBOSITY sqlstate
ALTER TABLE :bin DISABLE ROW LEVEL SECURITY; -- fails
CREATE POLICY all_of_it ON :bin USING (true); -- fails
\set VERBOSITY terse

-- and the rows come back
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenants('{1,2}') ORDER BY 1, 2;

-- names and contacts of tenants, if the tenant table has row security
CREATE TABLE app.tenant (id int PRIMARY KEY, name text);
INSERT INTO app.tenant VALUES (1, 'Acme'), (2, 'Globex');
SELECT deletion_guard.set_tenant_table('app.tenant', 'id', 'name');
SELECT deletion_guard.guard_table('app.tenant', 'id');
DELETE FROM app.tenant WHERE id = 1;
SET ROLE regress_dg_row_auditor;
SELECT DISTINCT tenant_name FROM deletion_guard.deletion_part WHERE tenant_name IS NOT NULL;
RESET ROLE;
ALTER TABLE app.tenant ENABLE ROW LEVEL SECURITY;
DELETE FROM app.tenant WHERE id = 2;
SET ROLE regress_dg_row_auditor;
SELECT DISTINCT tenant_name FROM deletion_guard.deletion_part WHERE tenant_name IS NOT NULL;
RESET ROLE;
SELECT deletion_guard.tenant_label('2');
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenants('{1,2}') ORDER BY 1, 2;

\c :maintenance_db
DROP DATABASE regress_dg_row_security;
DROP ROLE regress_dg_row_owner, regress_dg_row_auditor, regress_dg_row_backup;
