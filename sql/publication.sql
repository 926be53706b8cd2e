-- The extension's tables are in no publication, unless somebody insists: a
-- subscriber that lacks them would stop.
CREATE DATABASE regress_dg_publication;
\set maintenance_db :DBNAME
\c regress_dg_publication
CREATE ROLE regress_dg_publication;
GRANT CREATE ON DATABASE regress_dg_publication TO regress_dg_publication;
CREATE SCHEMA shop AUTHORIZATION regress_dg_publication;
SET client_min_messages = error;	-- wal_level may be less than logical
CREATE PUBLICATION "all of it" FOR ALL TABLES;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE EXTENSION deletion_guard; -- fails
-- the way out for who may change the publication
SET client_min_messages = error;
BEGIN;
DROP PUBLICATION "all of it";
CREATE PUBLICATION "all of it" FOR TABLES IN SCHEMA shop;
COMMIT;
RESET client_min_messages;
CREATE EXTENSION deletion_guard;
GRANT EXECUTE ON FUNCTION deletion_guard.guard_table, deletion_guard.guard_schema, deletion_guard.set_tenant_table TO regress_dg_publication;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_publication;
-- as a restore would, before anything else is done
CREATE PUBLICATION restored FOR ALL TABLES;
SET SESSION AUTHORIZATION regress_dg_publication;
CREATE TABLE shop.doc (id int PRIMARY KEY, org_id int);
SELECT deletion_guard.guard_table('shop.doc', 'org_id'); -- fails
\set VERBOSITY terse
SELECT deletion_guard.guard_schema('shop', 'org_id'); -- fails
SELECT deletion_guard.set_tenant_table('shop.doc', 'id'); -- fails
SET deletion_guard.publication = allow; -- fails
RESET SESSION AUTHORIZATION;
-- the way out for who may not: somebody else allows it
ALTER DATABASE regress_dg_publication SET deletion_guard.publication = allow;
\c -
SET SESSION AUTHORIZATION regress_dg_publication;
SELECT deletion_guard.guard_table('shop.doc', 'org_id');
RESET SESSION AUTHORIZATION;
SELECT object, ok, detail FROM deletion_guard.verify() WHERE check_name = 'publications';
DROP PUBLICATION restored;
ALTER DATABASE regress_dg_publication RESET deletion_guard.publication;

-- Later, in whatever form, and by the first command of a session.
\c -
\set VERBOSITY default
CREATE PUBLICATION other FOR ALL TABLES; -- fails
\set VERBOSITY terse
CREATE PUBLICATION other FOR TABLE shop.doc, deletion_guard.ledger; -- fails
CREATE PUBLICATION other FOR TABLES IN SCHEMA shop, deletion_guard_bin; -- fails
SET client_min_messages = error;
CREATE PUBLICATION other FOR TABLE shop.doc;
RESET client_min_messages;
\c -
ALTER PUBLICATION other ADD TABLES IN SCHEMA deletion_guard; -- fails
ALTER PUBLICATION other SET TABLE deletion_guard.deletion_part; -- fails
SET SESSION AUTHORIZATION regress_dg_publication;
CREATE PUBLICATION mine FOR TABLE deletion_guard.ledger; -- fails
RESET SESSION AUTHORIZATION;
ALTER PUBLICATION other SET (publish = 'insert');
INSERT INTO shop.doc VALUES (1, 1);
DELETE FROM shop.doc;
SELECT ok, detail FROM deletion_guard.verify() WHERE check_name = 'publications';

\c :maintenance_db
DROP DATABASE regress_dg_publication;
DROP ROLE regress_dg_publication;
