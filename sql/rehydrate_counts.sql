-- Every row is counted once: rows of tables that inherit, and shared rows that several foreign keys lead to.
CREATE DATABASE regress_dg_rehydrate_counts;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_counts
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'counts.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id int PRIMARY KEY);
CREATE TABLE reading (site_id int NOT NULL REFERENCES site, value int, id int PRIMARY KEY);
CREATE TABLE reading_1 (PRIMARY KEY (id), FOREIGN KEY (site_id) REFERENCES site) INHERITS (reading);
CREATE TABLE reading_2 (extra text, PRIMARY KEY (id), FOREIGN KEY (site_id) REFERENCES site) INHERITS (reading_1);
CREATE TABLE remark (id int PRIMARY KEY, reading_id int NOT NULL REFERENCES reading);
CREATE TABLE person (id int PRIMARY KEY, email text UNIQUE NOT NULL, boss int REFERENCES person);
CREATE TABLE document (id int PRIMARY KEY, site_id int NOT NULL REFERENCES site, author int REFERENCES person,
	editor int REFERENCES person, reader text REFERENCES person (email));
INSERT INTO site VALUES (1), (2);
INSERT INTO reading VALUES (1, 0, 1), (2, 0, 2);
INSERT INTO reading_1 SELECT 1 + n % 2, n, n FROM generate_series(11, 20) n;
INSERT INTO reading_2 SELECT 1, n, n, 'x' FROM generate_series(21, 23) n;
INSERT INTO remark VALUES (1, 1), (2, 2), (3, 1);
INSERT INTO person VALUES (1, 'a', NULL), (2, 'b', 1), (3, 'c', 3), (4, 'd', 2), (5, 'e', NULL);
INSERT INTO document VALUES (1, 1, 2, 3, 'c'), (2, 1, 3, 4, 'd'), (3, 1, 4, 2, 'b'), (4, 2, 5, 5, 'e');
SELECT deletion_guard.set_tenant_table('site', 'id');
SELECT deletion_guard.guard_table(t, 'site_id') FROM unnest('{reading,document}'::regclass[]) t;
SELECT deletion_guard.guard_table('site', 'id'), deletion_guard.guard_table('person'),
	deletion_guard.guard_table('remark', tenant_path => '{remark_reading_id_fkey}');
\! pg_dump -Fc -f "${DIR}counts.dump" -n public

-- A parent's rows are its own.
SELECT * FROM deletion_guard.compare_tenant('1', :'archive') ORDER BY relation::text;
DELETE FROM remark WHERE reading_id = 1;
DELETE FROM reading WHERE site_id = 1;
SELECT relation, archive_rows, live_rows, only_in_archive, only_live, different
FROM deletion_guard.compare_tenant('1', :'archive') ORDER BY relation::text;
SELECT relation, found, restored, identical FROM deletion_guard.rehydrate('1', :'archive')
WHERE found > 0 ORDER BY relation::text;
SELECT relation, archive_rows, live_rows, only_in_archive, only_live, different
FROM deletion_guard.compare_tenant('1', :'archive') ORDER BY relation::text;

-- A row that inherits does not tell whose a row is that refers to the parent table.
DELETE FROM remark WHERE reading_id = 1;
INSERT INTO reading_1 VALUES (2, 0, 1);
SELECT relation, found, restored FROM deletion_guard.rehydrate('1', :'archive', relations => '{remark}') WHERE found > 0;
DELETE FROM ONLY reading_1 WHERE id = 1;

-- A shared row is found once, by however many keys.
DELETE FROM document;
DELETE FROM person;
SELECT relation, tenant, found, restored, identical FROM deletion_guard.rehydrate('1', :'archive', with_referenced => true)
WHERE found > 0 ORDER BY relation::text;
SELECT * FROM person ORDER BY id;
SELECT relation, tenant, found, restored, identical
FROM deletion_guard.rehydrate('{1,2}'::text[], :'archive', with_referenced => true)
WHERE restored > 0 ORDER BY relation::text;

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_counts;
