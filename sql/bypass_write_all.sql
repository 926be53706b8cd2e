-- Members of pg_write_all_data may insert into every table there is. What
-- deletion_guard keeps is not theirs to make up, empty or not: an authority, a
-- link that an undelete would put into others' rows, a tenant's change of keys.
CREATE DATABASE regress_dg_write_all;
\set maintenance_db :DBNAME
\c regress_dg_write_all
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_writer;
GRANT pg_read_all_data, pg_write_all_data TO regress_dg_writer;
CREATE TABLE note (id int PRIMARY KEY, tenant_id int, word text);

-- which of our tables take a row
CREATE FUNCTION taken() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	t regclass;
BEGIN
	FOR t IN SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname IN ('deletion_guard', 'deletion_guard_bin') AND c.relkind = 'r' ORDER BY c.oid
	LOOP
		BEGIN
			EXECUTE format('INSERT INTO %s DEFAULT VALUES', t);
			RETURN NEXT t;
		EXCEPTION
			WHEN SQLSTATE 'TG004' THEN NULL;
			WHEN OTHERS THEN RETURN NEXT t || ': ' || sqlerrm;
		END;
	END LOOP;
END $$;

SET ROLE regress_dg_writer;
SELECT taken();
COPY deletion_guard.deletion_link FROM STDIN; -- fails
\.
RESET ROLE;
SELECT deletion_guard.guard_table('note', 'tenant_id');
INSERT INTO note VALUES (1, 1, 'kept');
DELETE FROM note;
SELECT relation, restored FROM deletion_guard.undelete_tenant('1');
-- the bin is empty
SET ROLE regress_dg_writer;
SELECT taken();
RESET ROLE;
TABLE note;

-- the sequence of numbers is set back, so that a deletion of a tenant's rows would
-- pass for one that was made before another tenant had its key
CREATE TABLE tenant (id text PRIMARY KEY);
CREATE TABLE paper (id int PRIMARY KEY, tenant_id text REFERENCES tenant ON UPDATE CASCADE, word text);
INSERT INTO tenant VALUES ('A');
SELECT deletion_guard.set_tenant_table('tenant', 'id');
SELECT deletion_guard.guard_table('paper', 'tenant_id');
INSERT INTO paper VALUES (1, 'A', 'of the old A');
BEGIN;
DELETE FROM paper;
ROLLBACK;
DELETE FROM paper;
SELECT last_value AS deleted FROM deletion_guard.deletion_id_seq \gset
\set unused :deleted - 1
SET ROLE regress_dg_writer;
SELECT setval('deletion_guard.deletion_id_seq', :unused, false) > 0 AS set;
RESET ROLE;
UPDATE tenant SET id = 'B';
INSERT INTO tenant VALUES ('A');
INSERT INTO paper VALUES (2, 'A', 'of the new A');
SET ROLE regress_dg_writer;
SELECT setval('deletion_guard.deletion_id_seq', :unused, false) > 0 AS set;
RESET ROLE;
DELETE FROM paper;
SELECT tenant, restored FROM deletion_guard.undelete_tenants('{A,B}') ORDER BY 1;
TABLE paper ORDER BY id;
-- and further back
SET ROLE regress_dg_writer;
SELECT setval('deletion_guard.deletion_id_seq', 5000);
RESET ROLE;
UPDATE tenant SET id = 'C' WHERE id = 'B';
SET ROLE regress_dg_writer;
SELECT setval('deletion_guard.deletion_id_seq', 2000);
RESET ROLE;
DELETE FROM paper;
SELECT tenant, restored FROM deletion_guard.undelete_tenants('{A,C}') ORDER BY 1;

\c :maintenance_db
DROP DATABASE regress_dg_write_all;
DROP ROLE regress_dg_writer;
