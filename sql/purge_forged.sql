-- What a restore puts into the records of a database in use neither makes a live row a deleted one nor anything due.
CREATE DATABASE regress_dg_purge_forged;
\set maintenance_db :DBNAME
\c regress_dg_purge_forged
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
\set shop :srcdir '/test/sql/shop.sql'
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\i :shop
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
SET deletion_guard.retention = '0';
DELETE FROM issue WHERE id = 1101;
-- A table that looks like one of the bin, put into the registry as a restore would
CREATE TABLE live (a bigint, b integer, c integer, t text);
INSERT INTO live VALUES (77, 1, 1, 'alive'), (77, 1, 2, 'too');
SET deletion_guard.restoring = on;
INSERT INTO deletion_guard.bin VALUES (99, 'live', 'public.live', 'live', '', now());
INSERT INTO deletion_guard.deletion_part (deletion_id, part, bin_id, tenant, rows, filenode, blocks, deleted_at, session_role,
		effective_role, xid, purge_not_before)
	SELECT 77, 1, 99, '1', 2, pg_relation_filenode('live'), '', now(), 'nobody', 'nobody', '77', now();
RESET deletion_guard.restoring;
SELECT deletion_guard.request_purge('1', 'gone') AS claims \gset
SELECT deletion_guard.purge(signing.sign(:'claims'));  -- fails
SELECT relation, restored FROM deletion_guard.undelete(77);  -- fails
SELECT event, details FROM deletion_guard.ledger WHERE event = 'load_rows' ORDER BY id;
SELECT t FROM live ORDER BY c;
-- What is in the bin can still be purged without it.
SELECT deletion_guard.request_purge('1', 'gone', ARRAY['issue'::regclass]) AS claims \gset
SELECT deletion_guard.purge(signing.sign(:'claims'))->'rows' AS rows;
-- A second record of a deletion, by which it would be due
RESET deletion_guard.retention;
DELETE FROM issue WHERE id = 2101;
SELECT deletion_guard.request_purge('2', 'gone') AS claims \gset
SET deletion_guard.restoring = on;
INSERT INTO deletion_guard.deletion_part (deletion_id, part, bin_id, rows, filenode, blocks, deleted_at, session_role,
		effective_role, xid, purge_not_before)
	SELECT deletion_id, 1000, bin_id, 0, 0, '', deleted_at, 'nobody', 'nobody', '77', now() - interval '1 day'
	FROM deletion_guard.deletion_part WHERE tenant = '2';
RESET deletion_guard.restoring;
SELECT deletion_guard.purge(signing.sign(:'claims'));  -- fails
SELECT deletion_guard.request_purge('2', 'gone');  -- fails
\c :maintenance_db
DROP DATABASE regress_dg_purge_forged;
