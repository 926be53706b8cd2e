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

\c :maintenance_db
DROP DATABASE regress_dg_write_all;
DROP ROLE regress_dg_writer;
