-- What a session can set, and what a role that is no superuser can do: owners
-- of guarded tables included.
CREATE DATABASE regress_dg_bypass_session;
\set maintenance_db :DBNAME
\c regress_dg_bypass_session
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_bypass_app;
CREATE ROLE regress_dg_bypass_other;
GRANT CREATE ON SCHEMA public TO regress_dg_bypass_app, regress_dg_bypass_other;
GRANT CREATE, TEMPORARY ON DATABASE regress_dg_bypass_session TO regress_dg_bypass_app;
SET ROLE regress_dg_bypass_app;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE, title text);
CREATE TABLE remark (id int PRIMARY KEY, issue_id int REFERENCES issue ON DELETE CASCADE, author int REFERENCES tenant ON DELETE SET NULL);
RESET ROLE;
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT deletion_guard.guard_table('tenant', 'id');
SELECT deletion_guard.guard_table('issue', 'tenant_id');
SELECT deletion_guard.guard_table('remark', tenant_path => '{remark_issue_id_fkey}');
INSERT INTO tenant SELECT i, 'tenant ' || i FROM generate_series(1, 4) i;
INSERT INTO issue SELECT i, 1 + i % 3, 'issue ' || i FROM generate_series(1, 9) i;
INSERT INTO remark SELECT i, i, 4 FROM generate_series(1, 9) i;

-- Settings, before the library is loaded and after.
\c -
SET ROLE regress_dg_bypass_app;
SET deletion_guard.retention = '0';
SET deletion_guard.ddl = 'allow';
SET deletion_guard.restoring = on;
DELETE FROM issue WHERE id = 9;
SELECT purge_not_before - deleted_at = interval '30 days' AS kept FROM deletion_guard.deletion; -- fails
DROP TABLE issue; -- fails
SET deletion_guard.retention = '0'; -- fails
SET deletion_guard.ddl = 'allow'; -- fails
SET deletion_guard.restoring = on; -- fails
SET deletion_guard.max_rows = 0; -- fails
SET session_replication_role = replica; -- fails
SET deletion_guard.no_such_setting = 1; -- fails
SELECT set_config('deletion_guard.limit_action', 'warning', false); -- fails
CREATE FUNCTION with_setting() RETURNS void LANGUAGE sql SET deletion_guard.max_tenants = 0 AS 'DELETE FROM issue'; -- fails
RESET ROLE;
SELECT purge_not_before - deleted_at = interval '30 days' AS kept FROM deletion_guard.deletion;
\c -
SET ROLE regress_dg_bypass_app;
ALTER ROLE regress_dg_bypass_app SET deletion_guard.retention = '0'; -- fails
RESET ROLE;
-- A client's connection options too.
ALTER ROLE regress_dg_bypass_app LOGIN;
\set superuser :USER
\set options 'user=regress_dg_bypass_app options=\'-c deletion_guard.max_rows=0\''
\c -reuse-previous=on :options
DELETE FROM issue; -- fails
DROP TABLE issue; -- fails
\set options 'user=regress_dg_bypass_app options=\'-c deletion_guard.retention=0\''
\c -reuse-previous=on :options
DELETE FROM issue; -- fails
\set options 'user=regress_dg_bypass_app options=\'-c deletion_guard.locked=off\''
\c -reuse-previous=on :options
DELETE FROM issue; -- fails
\set options 'user=regress_dg_bypass_app options=\'-c deletion_guard.reason=tidying\''
\c -reuse-previous=on :options
DELETE FROM issue WHERE id = 8;
\set options 'user=' :superuser ' options=\'-c deletion_guard.max_rows=1000\''
\c -reuse-previous=on :options
SHOW deletion_guard.max_rows;
\set options 'user=' :superuser ' options=\'\''
\c -reuse-previous=on :options
SELECT reason FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1;
-- out of reach: a superuser's own settings, ALTER SYSTEM, ALTER ROLE, ALTER DATABASE ... SET deletion_guard.ddl or restoring;
-- event_triggers = off (17) in a session that has not loaded the library

-- The owner of a guarded table can do no more than others.
SELECT bin_table AS bin FROM deletion_guard.bin WHERE relation = 'issue'::regclass \gset
\c -
SET ROLE regress_dg_bypass_app;
ALTER TABLE issue DISABLE TRIGGER USER; -- fails
DROP TRIGGER deletion_guard_capture ON issue; -- fails
DROP TABLE remark; -- fails
SELECT deletion_guard.unguard_table('issue'); -- fails
SELECT deletion_guard.guard_table('issue'); -- fails
SELECT deletion_guard.undelete(1); -- fails
SELECT * FROM deletion_guard.deletion; -- fails
SELECT * FROM :bin; -- fails
DELETE FROM deletion_guard.guard; -- fails
CREATE TABLE deletion_guard.mine (a int); -- fails
CREATE TABLE deletion_guard_bin.mine (a int); -- fails
ALTER TABLE issue SET SCHEMA deletion_guard_bin; -- fails
CREATE TRIGGER again AFTER DELETE ON issue REFERENCING OLD TABLE AS o FOR EACH STATEMENT
	EXECUTE FUNCTION deletion_guard_internal.capture_statement();
DELETE FROM issue WHERE id = 7; -- fails
DROP TRIGGER again ON issue;
-- a trigger of somebody who was given TRIGGER
GRANT TRIGGER, SELECT, DELETE ON issue TO regress_dg_bypass_other;
SET ROLE regress_dg_bypass_other;
CREATE TRIGGER own BEFORE DELETE ON issue FOR EACH ROW EXECUTE FUNCTION deletion_guard_internal.capture_row();
DELETE FROM issue WHERE id = 7; -- fails
RESET ROLE;
DROP TRIGGER own ON issue;
-- REASSIGN OWNED, another owner
ALTER TABLE issue OWNER TO regress_dg_bypass_other;
SET ROLE regress_dg_bypass_other;
ALTER TABLE issue DISABLE TRIGGER USER; -- fails
DELETE FROM issue WHERE id = 7;
RESET ROLE;
ALTER TABLE issue OWNER TO regress_dg_bypass_app;
SELECT id FROM deletion_guard.deleted_rows(NULL::issue) ORDER BY id;

-- Row security does not hide rows from the bin, nor the path to a tenant.
\c -
SET ROLE regress_dg_bypass_app;
ALTER TABLE issue ENABLE ROW LEVEL SECURITY;
ALTER TABLE issue FORCE ROW LEVEL SECURITY;
ALTER TABLE tenant ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant FORCE ROW LEVEL SECURITY;
DELETE FROM remark WHERE id = 6;
RESET ROLE;
SELECT relation, tenant, tenant_name FROM deletion_guard.deletion_detail ORDER BY deletion_id DESC LIMIT 1;
ALTER TABLE issue NO FORCE ROW LEVEL SECURITY;
ALTER TABLE tenant NO FORCE ROW LEVEL SECURITY;
ALTER TABLE issue DISABLE ROW LEVEL SECURITY;
ALTER TABLE tenant DISABLE ROW LEVEL SECURITY;

-- Names that shadow others.
\c -
SET ROLE regress_dg_bypass_app;
CREATE SCHEMA shadow;
CREATE FUNCTION shadow.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'shadow'; END $$;
CREATE FUNCTION shadow.equal_names(a name, b name) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'shadow'; END $$;
CREATE OPERATOR shadow.= (LEFTARG = name, RIGHTARG = name, FUNCTION = shadow.equal_names);
CREATE TABLE shadow.pg_class (oid int);
SET search_path = shadow, pg_temp, pg_catalog, public;
CREATE TEMPORARY TABLE tenant (id int, name text);
CREATE TEMPORARY TABLE issue (id int, tenant_id int);
CREATE TEMPORARY TABLE pg_attribute (a int);
CREATE TEMPORARY TABLE pg_namespace (a int);
DELETE FROM public.remark WHERE id = 5;
DELETE FROM public.tenant WHERE id = 3;
TRUNCATE public.remark;
CREATE TABLE public.late (id int);
ALTER TABLE public.issue RENAME COLUMN title TO subject;
RESET ROLE;
RESET search_path;
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail
WHERE deletion_id > (SELECT max(id) - 3 FROM deletion_guard.deletion) ORDER BY deletion_id, relation::text, tenant;
SELECT relation, sum(restored) FROM deletion_guard.undelete_tenants('{1,2,3}') GROUP BY 1 ORDER BY relation::text;

-- Code in types: casts, and checks of domains. It never runs as a superuser,
-- nor can it do what the extension may do.
\c -
CREATE TABLE ran (who name, what text);
GRANT INSERT ON ran TO PUBLIC;
SET ROLE regress_dg_bypass_app;
CREATE TYPE evil AS ENUM ('1', '2', '3');
CREATE FUNCTION evil_text(evil) RETURNS text LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO public.ran VALUES (current_user, 'cast to text'); RETURN 'evil'; END $$;
CREATE TYPE evil_key AS ENUM ('1', '2');
CREATE FUNCTION evil_int(evil_key) RETURNS int LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO public.ran VALUES (current_user, 'cast to int'); RETURN 1; END $$;
CREATE CAST (evil AS text) WITH FUNCTION evil_text(evil);
CREATE CAST (evil_key AS int) WITH FUNCTION evil_int(evil_key) AS IMPLICIT;
CREATE FUNCTION evil_check(int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.ran VALUES (current_user, 'check of a domain');
	BEGIN
		DELETE FROM deletion_guard.guard;
		INSERT INTO public.ran VALUES (current_user, 'the guard is gone');
	EXCEPTION WHEN insufficient_privilege OR SQLSTATE 'TG004' THEN NULL;
	END;
	RETURN true;
END $$;
CREATE DOMAIN evil_domain AS int CHECK (evil_check(VALUE));
CREATE TABLE owner (key evil PRIMARY KEY, name evil);
CREATE TABLE pet (id evil_domain PRIMARY KEY, tenant_id evil, owner evil REFERENCES owner ON DELETE SET NULL);
CREATE TABLE toy (id int PRIMARY KEY, n int, pet int REFERENCES pet ON DELETE CASCADE, made_by evil_key REFERENCES tenant);
INSERT INTO owner VALUES ('1', '2');
INSERT INTO pet VALUES (1, '1', '1'), (2, '2', '1');
INSERT INTO toy VALUES (1, 1, 1, '1'), (2, 2, 2, '1');
RESET ROLE;
SELECT deletion_guard.set_tenant_table('owner', 'key', 'name');
SELECT deletion_guard.guard_table('owner', 'key');
SELECT deletion_guard.guard_table('pet', 'tenant_id');
SELECT deletion_guard.guard_table('toy', tenant_path => '{toy_pet_fkey}');
TRUNCATE ran;
SET ROLE regress_dg_bypass_app;
DELETE FROM toy WHERE id = 2;
DELETE FROM owner;
RESET ROLE;
SELECT relation, tenant, tenant_name FROM deletion_guard.deletion_detail WHERE relation IN ('owner'::regclass, 'pet'::regclass, 'toy'::regclass) ORDER BY deletion_id;
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT deletion_guard.tenant_label('1');
TABLE pet;
-- the message of a ceiling names tenants
SET deletion_guard.max_tenants = 1;
SET deletion_guard.limit_action = 'warning';
INSERT INTO owner VALUES ('2', '3');
DELETE FROM owner;
RESET deletion_guard.max_tenants;
RESET deletion_guard.limit_action;
SELECT DISTINCT what FROM ran WHERE who <> 'regress_dg_bypass_app';
-- the column's type becomes one with checks, after rows of it went into the bin
SET ROLE regress_dg_bypass_app;
ALTER TABLE toy ALTER n TYPE evil_domain;
RESET ROLE;
TRUNCATE ran;
SELECT id, n FROM deletion_guard.deleted_rows(NULL::toy);
SELECT DISTINCT who = 'regress_dg_bypass_app' AS as_owner, what FROM ran;
-- a path over a key whose comparison runs a cast of somebody's own
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT deletion_guard.guard_table('toy', tenant_path => '{toy_made_by_fkey}');
DELETE FROM toy WHERE id = 1; -- fails

-- A function that fails while rows are captured: nothing is deleted.
SET ROLE regress_dg_bypass_app;
CREATE TABLE failing (id int, tenant_id int);
RESET ROLE;
SELECT deletion_guard.guard_table('failing', 'tenant_id');
INSERT INTO failing VALUES (1, 1);
ALTER TABLE failing RENAME tenant_id TO other;
DELETE FROM failing;
SELECT relation, tenant FROM deletion_guard.deletion_detail ORDER BY deletion_id DESC LIMIT 1;
\set SHOW_CONTEXT never
SET statement_timeout = '1ms';
DO $$ BEGIN DELETE FROM remark; PERFORM pg_sleep(1); END $$; -- fails
RESET statement_timeout;
\set SHOW_CONTEXT errors
SELECT count(*) FROM remark;

\c :maintenance_db
DROP DATABASE regress_dg_bypass_session;
DROP ROLE regress_dg_bypass_app, regress_dg_bypass_other;
