-- The script that deleted 883 sites in 23 minutes: ids of the wrong kind, one
-- statement for each, every one in a transaction of its own.
CREATE DATABASE regress_dg_incident;
\set maintenance_db :DBNAME
\c regress_dg_incident
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_incident_script;
CREATE TABLE site (id int PRIMARY KEY, name text NOT NULL, contact text NOT NULL);
CREATE TABLE app (id int PRIMARY KEY, site_id int NOT NULL REFERENCES site ON DELETE CASCADE);
CREATE TABLE page (site_id int NOT NULL REFERENCES site ON DELETE CASCADE, no int, body text, PRIMARY KEY (site_id, no));
INSERT INTO site SELECT i, 'Customer ' || i, 'admin@customer' || i || '.example' FROM generate_series(1, 1000) i;
INSERT INTO app SELECT 10000 + i, i FROM generate_series(1, 1000) i;
INSERT INTO page SELECT i, j, 'page ' || j FROM generate_series(1, 1000) i, generate_series(1, 3) j;
GRANT SELECT, DELETE ON site, app, page TO regress_dg_incident_script;
SELECT deletion_guard.set_tenant_table('site', 'id', 'name', 'contact');
SELECT * FROM deletion_guard.guard_schema('public', 'site_id');
CREATE TABLE before AS SELECT site, page FROM site JOIN page ON page.site_id = site.id;

-- A ceiling for everybody.
SELECT format('ALTER DATABASE %I SET deletion_guard.tenant_wipes_per_hour = 10', current_database()) \gexec
\c -
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_dg_incident_script;
\set VERBOSITY terse
-- The eleventh is refused,
SELECT format('DELETE FROM site WHERE id = %s', i) FROM generate_series(1, 12) i \gexec
RESET SESSION AUTHORIZATION;
CREATE PROCEDURE script(first int, last int) LANGUAGE plpgsql AS $$
DECLARE
	refused int := 0;
BEGIN
	FOR i IN first .. last LOOP
		BEGIN
			DELETE FROM site WHERE id = i;
		EXCEPTION WHEN SQLSTATE 'TG001' THEN refused := refused + 1;
		END;
		COMMIT;
	END LOOP;
	RAISE WARNING '% refused', refused;
END
$$;
SET SESSION AUTHORIZATION regress_dg_incident_script;
-- and all the others that the script goes on with.
CALL script(13, 883);
SELECT count(*) AS sites, min(id) AS first FROM site;
\set VERBOSITY default
DELETE FROM site WHERE id = 500;
\set VERBOSITY terse
-- Nor does it help to connect anew, or to look at an older snapshot.
\c -
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_dg_incident_script;
\set VERBOSITY terse
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM site;
DELETE FROM site WHERE id = 501;
ROLLBACK;
TRUNCATE site CASCADE;
SELECT count(*) FROM site;
RESET SESSION AUTHORIZATION;

-- Whom it was about is known, contacts included, and everything can be had back.
SELECT tenant, tenant_name, contact, rows FROM deletion_guard.deletion_detail
WHERE relation = 'site'::regclass ORDER BY tenant COLLATE "C";
SELECT count(*) AS deletions, sum(rows) AS rows, min(session_role) AS by FROM deletion_guard.deletion;
SELECT relation, sum(restored) AS restored, max(problem) AS problem
FROM deletion_guard.undelete_tenants(ARRAY(SELECT i::text FROM generate_series(1, 10) i)) GROUP BY relation ORDER BY relation;
(SELECT site, page FROM site JOIN page ON page.site_id = site.id) EXCEPT TABLE before;
TABLE before EXCEPT SELECT site, page FROM site JOIN page ON page.site_id = site.id;
SELECT tenants_wiped_last_hour FROM deletion_guard.status;

\c :maintenance_db
SET client_min_messages = warning;
DROP DATABASE regress_dg_incident;
DROP ROLE regress_dg_incident_script;
