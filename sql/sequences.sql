-- The sequences of the extension's numbers may be set by members of pg_write_all_data:
-- forward, so that none are left, or back. Nothing stops by that, and verify() says so.
CREATE DATABASE regress_dg_sequences;
\set maintenance_db :DBNAME
\c regress_dg_sequences
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_dg_sequences;
GRANT pg_write_all_data, pg_read_all_data TO regress_dg_sequences;
CREATE EXTENSION deletion_guard;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_sequences;
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int);
INSERT INTO issue SELECT i, i % 3 FROM generate_series(1, 30) i;
SELECT deletion_guard.guard_table('issue', 'tenant_id');
DELETE FROM issue WHERE id = 1;
CREATE VIEW off AS SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'sequences' AND NOT ok ORDER BY object COLLATE "C";
CREATE FUNCTION set_all(deletions bigint, bins bigint, others bigint) RETURNS void LANGUAGE sql AS $$
	SELECT setval('deletion_guard.deletion_id_seq', deletions), setval('deletion_guard.bin_id_seq', bins),
		setval('deletion_guard.purge_request_id_seq', others), setval('deletion_guard.hold_id_seq', others) $$;
CREATE FUNCTION kept() RETURNS TABLE (deletions bigint, rows bigint) LANGUAGE sql AS
	'SELECT count(*), sum(d.rows)::bigint FROM deletion_guard.deletion d';

-- to the end, and almost
SET ROLE regress_dg_sequences;
SELECT set_all(9223372036854775807, 2147483647, 9223372036854775807);
RESET ROLE;
TABLE off;
DELETE FROM issue WHERE id = 2;
CREATE TABLE other (id int);
SELECT deletion_guard.guard_table('other');
INSERT INTO other VALUES (1);
DELETE FROM other;
SELECT deletion_guard.hold_tenant('1', 'a case') < 5000 AS held;
SELECT (deletion_guard.request_purge('1', 'done') ->> 'request')::bigint < 5000 AS requested;
TABLE off;
SET ROLE regress_dg_sequences;
SELECT set_all(9223372036854775806, 2147483646, 9223372036854775800);
RESET ROLE;
-- another session, and this one again
\c -
\set VERBOSITY terse
SET client_min_messages = warning;
DELETE FROM issue WHERE id = 3;
ALTER TABLE other ADD more int;
INSERT INTO other VALUES (2);
DELETE FROM other;
SELECT deletion_guard.hold_tenant('1', 'a case') < 5000 AS held;
SELECT (deletion_guard.request_purge('2', 'done') ->> 'request')::bigint < 5000 AS requested;
SELECT * FROM kept();
SELECT max(id) < 5000 AS id, count(DISTINCT id) FROM deletion_guard.deletion;
TABLE off;

-- back
SET ROLE regress_dg_sequences;
SELECT set_all(1, 1, 1);
RESET ROLE;
SELECT object FROM off;
SET client_min_messages = log;
DELETE FROM issue WHERE id = 4;
SET client_min_messages = warning;
ALTER TABLE other ADD still_more int;
INSERT INTO other VALUES (3);
DELETE FROM other;
SELECT deletion_guard.hold_tenant('1', 'a case') > 1000 AS held;
SELECT (deletion_guard.request_purge('0', 'done') ->> 'request')::bigint > 1000 AS requested;
TABLE off;
-- to a number that another session has had since: once that is an error, and no more
SELECT max(id) AS mine FROM deletion_guard.deletion \gset
\set again `psql -X -q -t -A -d regress_dg_sequences -c 'DELETE FROM issue WHERE id = 5'`
SET ROLE regress_dg_sequences;
SELECT setval('deletion_guard.deletion_id_seq', :mine) > 0 AS set;
RESET ROLE;
DELETE FROM issue WHERE id = 6; -- fails
DELETE FROM issue WHERE id = 6;
BEGIN;
DELETE FROM issue WHERE id = 7;
SAVEPOINT s;
DELETE FROM issue WHERE id = 8;
ROLLBACK TO s;
DELETE FROM issue WHERE id = 9;
COMMIT;
SELECT * FROM kept();
SELECT sum(restored) FROM deletion_guard.deletion d CROSS JOIN LATERAL deletion_guard.undelete(d.id) WHERE d.id > 1;

\c :maintenance_db
DROP DATABASE regress_dg_sequences WITH (FORCE);
DROP ROLE regress_dg_sequences;
