-- An archive none of whose tables can be read by tenant: every function says why, however much may be left out.
CREATE DATABASE regress_dg_rehydrate_untold;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_untold
\getenv builddir PG_ABS_BUILDDIR
\set rows :builddir '/results/rehydrate_untold.sql'
\setenv ROWS :rows
\set renamed :builddir '/results/rehydrate_untold.dump'
\setenv RENAMED :renamed
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE event (id int, tenant int) PARTITION BY LIST (tenant);
CREATE TABLE event_1 PARTITION OF event FOR VALUES IN (1);
SELECT deletion_guard.guard_table('event', 'tenant');
INSERT INTO event VALUES (1, 1);
\! pg_dump -a --inserts -t 'event*' -f "$ROWS" regress_dg_rehydrate_untold
\! pg_dump -Fc -t 'event*' -f "$RENAMED" regress_dg_rehydrate_untold
ALTER TABLE event RENAME tenant TO org;
CREATE FUNCTION told(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN regexp_replace(SQLERRM, '".*/', '"') || ': ' || detail;
END $$;
SELECT told(format('SELECT * FROM deletion_guard.compare_tenant(''1'', %L)', f)) FROM (VALUES (:'rows'), (:'renamed')) v(f);
SELECT told(format('SELECT * FROM deletion_guard.rehydrate(''1'', %L)', f)) FROM (VALUES (:'rows'), (:'renamed')) v(f);
SELECT told(format('SELECT * FROM deletion_guard.rehydrate(''1'', %L, left_out => ''report'')', f)) FROM (VALUES (:'rows'), (:'renamed')) v(f);

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_untold;
