-- Names of tenants beside what was deleted: looked up for rows that are shown,
-- as the query sees them.
CREATE DATABASE regress_dg_label;
\set maintenance_db :DBNAME
\c regress_dg_label
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_label_reader;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_label_reader;
GRANT SELECT ON deletion_guard.deletion_detail TO regress_dg_label_reader;
CREATE TABLE tenant (id int PRIMARY KEY, name text, contact text);
CREATE TABLE issue (id int, tenant_id int);
CREATE TABLE customer (code text PRIMARY KEY, since date);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name', 'contact');
SELECT relation FROM deletion_guard.guard_schema('public', 'tenant_id') WHERE problem IS NULL;
INSERT INTO tenant VALUES (1, 'one', 'ops@1'), (2, 'two', NULL), (3, NULL, NULL), (4, 'four', 'ops@4');
INSERT INTO issue SELECT i, 1 + i % 5 FROM generate_series(1, 10) i;
INSERT INTO issue VALUES (11, NULL);
DELETE FROM issue;
DELETE FROM tenant WHERE id = 4;
CREATE VIEW seen AS
	SELECT relation, tenant, tenant_name, contact, rows FROM deletion_guard.deletion_detail;
SELECT * FROM seen ORDER BY 1, 2;

-- Whoever may not look up names may count rows, and nothing else.
SET ROLE regress_dg_label_reader;
SELECT relation, sum(rows) FROM deletion_guard.deletion_detail GROUP BY 1 ORDER BY 1;
SELECT tenant_name FROM deletion_guard.deletion_detail; -- fails
SELECT contact FROM deletion_guard.deletion_detail; -- fails
SELECT 1 FROM deletion_guard.deletion_detail WHERE tenant_name = 'one'; -- fails
SELECT (deletion_guard.tenant_label('1')).tenant_name; -- fails
RESET ROLE;

-- A name that changes while one expression is evaluated again and again.
CREATE FUNCTION names() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..2 LOOP
		RETURN NEXT (deletion_guard.tenant_label('1')).tenant_name;
		UPDATE tenant SET name = name || '!' WHERE id = 1;
	END LOOP;
	FOR i IN 1..3 LOOP
		RETURN NEXT (deletion_guard.tenant_label('1')).tenant_name;
		IF i = 1 THEN
			BEGIN
				UPDATE tenant SET name = 'rolled back' WHERE id = 1;
				RETURN NEXT 'inside: ' || (deletion_guard.tenant_label('1')).tenant_name;
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		ELSIF i = 2 THEN
			DELETE FROM tenant WHERE id = 1;
		END IF;
	END LOOP;
END $$;
SELECT * FROM names();
-- One query sees one state, whatever it changes itself.
CREATE FUNCTION rename() RETURNS text LANGUAGE sql AS $$ UPDATE tenant SET name = name || '?' WHERE id = 2 RETURNING name $$;
SELECT tenant, tenant_name, rename() FROM seen WHERE tenant = '2';
SELECT tenant, tenant_name FROM seen WHERE tenant = '2';

-- The table that lists tenants, its columns and its owner may change; and keys of
-- the wrong kind are nobody's.
ALTER TABLE tenant RENAME name TO title;
SELECT tenant, tenant_name FROM seen WHERE tenant = '2';
ALTER TABLE tenant RENAME TO site;
ALTER TABLE site ALTER id TYPE bigint;
ALTER TABLE site OWNER TO regress_dg_label_reader;
SELECT tenant, tenant_name FROM seen WHERE tenant = '2';
SELECT * FROM deletion_guard.tenant_label('x');
INSERT INTO customer VALUES ('2', '2026-02-03');
SELECT deletion_guard.set_tenant_table('customer', 'code', 'since');
SELECT tenant, tenant_name FROM seen WHERE tenant = '2';
SELECT deletion_guard.set_tenant_table('site', 'id', 'title', 'contact');
SELECT tenant, tenant_name FROM seen WHERE tenant = '2';
-- Two keys that are equal, and not the same.
SELECT * FROM deletion_guard.tenant_label('02');

\c :maintenance_db
DROP DATABASE regress_dg_label;
DROP ROLE regress_dg_label_reader;
