-- Whoever may undelete rows that he may not read is not told what is in them when
-- they do not fit.
CREATE DATABASE regress_dg_hidden;
\set maintenance_db :DBNAME
\c regress_dg_hidden
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_blind;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_blind;
GRANT EXECUTE ON FUNCTION deletion_guard.undelete TO regress_dg_blind;
CREATE TABLE customer (id int PRIMARY KEY);
CREATE TABLE memo (id int PRIMARY KEY, customer_id int REFERENCES customer, word text, n int, CHECK (n > 0));
GRANT INSERT, UPDATE ON memo TO regress_dg_blind;
GRANT SELECT (id) ON memo TO regress_dg_blind;
SELECT deletion_guard.guard_table('memo', 'customer_id');
INSERT INTO customer VALUES (4711);
INSERT INTO memo VALUES (1, 4711, 'secret', 42);
DELETE FROM memo;

-- each way in which a row may fail, as who may read the table and as who may not
CREATE PROCEDURE try() LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM deletion_guard.undelete(1);
	RAISE WARNING 'restored';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RAISE WARNING '%: %', sqlerrm, detail;
END $$;
CREATE PROCEDURE try_both() LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL ROLE regress_dg_blind;
	CALL try();
	RESET ROLE;
	CALL try();
	ROLLBACK;
END $$;
\set SHOW_CONTEXT never

ALTER TABLE memo ALTER COLUMN word TYPE int USING NULL;
CALL try_both();
ALTER TABLE memo ALTER COLUMN word TYPE varchar(3) USING NULL;
CALL try_both();
ALTER TABLE memo ALTER COLUMN word TYPE text, ADD CHECK (n < 42) NOT VALID;
CALL try_both();
ALTER TABLE memo DROP CONSTRAINT memo_n_check1;
-- a check that looks at other rows is made last
CREATE FUNCTION others() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM memo';
ALTER TABLE memo ADD CHECK (n < others()) NOT VALID;
CALL try_both();
ALTER TABLE memo DROP CONSTRAINT memo_n_check1;
ALTER TABLE memo ADD CHECK (n IS NULL OR length(word) < 3) NOT VALID;
-- row security keeps rows from somebody who has the privilege
GRANT SELECT ON memo TO regress_dg_blind;
CREATE POLICY own ON memo USING (n < 42) WITH CHECK (true);
ALTER TABLE memo ENABLE ROW LEVEL SECURITY;
CALL try_both();
ALTER TABLE memo DROP CONSTRAINT memo_check;
DELETE FROM customer;
CALL try_both();

\c :maintenance_db
DROP DATABASE regress_dg_hidden;
DROP ROLE regress_dg_blind;
