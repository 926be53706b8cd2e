-- Reports say what they do not know, and count nothing that is not there.
CREATE DATABASE regress_dg_report_unknown;
CREATE DATABASE regress_dg_report_restored;
\set maintenance_db :DBNAME
\c regress_dg_report_unknown
\getenv builddir PG_ABS_BUILDDIR
\setenv DIR :builddir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id integer PRIMARY KEY, name text);
CREATE TABLE note (id integer PRIMARY KEY, site_id integer REFERENCES site ON DELETE CASCADE, body text);
CREATE TABLE pref (id integer PRIMARY KEY, site_id integer REFERENCES site ON DELETE CASCADE, note_id integer REFERENCES note ON DELETE SET NULL);
CREATE TABLE log (note_id integer REFERENCES note ON DELETE CASCADE);
CREATE TABLE past (site_id integer, body text);
CREATE TABLE older (site_id integer, body text);
SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
SELECT deletion_guard.guard_table(t, 'site_id') FROM unnest('{note,pref,past,older}'::regclass[]) t;
SELECT deletion_guard.guard_table('site', 'id');
INSERT INTO site VALUES (1, 'one'), (2, 'two');
INSERT INTO note SELECT i, 1 + i % 2, 'note ' || i FROM generate_series(1, 6) i;
INSERT INTO pref SELECT i, 1 + i % 2, i FROM generate_series(1, 6) i;
INSERT INTO log SELECT i FROM generate_series(1, 6) i;
INSERT INTO past VALUES (1, 'x'), (2, 'y');
INSERT INTO older VALUES (1, 'x'), (1, 'y');

-- preview(): what is not counted has a line.
SELECT * FROM deletion_guard.preview('DELETE FROM note WHERE site_id = 1');
SET track_counts = off;
SELECT * FROM deletion_guard.preview('DELETE FROM note WHERE site_id = 1');
RESET track_counts;
CREATE EXTENSION postgres_fdw;
DO $$
BEGIN
	EXECUTE format('CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L)',
		split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database());
END $$;
CREATE USER MAPPING FOR CURRENT_USER SERVER here;
CREATE TABLE there (id integer);
INSERT INTO there VALUES (1), (2);
CREATE FOREIGN TABLE away (id integer) SERVER here OPTIONS (table_name 'there');
SELECT * FROM deletion_guard.preview('DELETE FROM away');
SELECT count(*) FROM there;
DO $$ BEGIN PERFORM postgres_fdw_disconnect_all(); END $$;
-- What waits for the end of the transaction.
CREATE FUNCTION sweep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM past WHERE site_id = OLD.site_id;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER sweep AFTER DELETE ON older DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sweep();
SELECT * FROM deletion_guard.preview('DELETE FROM older');
CREATE TABLE leaf (id integer, note_id integer REFERENCES note DEFERRABLE INITIALLY DEFERRED);
INSERT INTO leaf VALUES (1, 2);
SELECT * FROM deletion_guard.preview('DELETE FROM note WHERE id = 2');
BEGIN;
DELETE FROM leaf;
SELECT * FROM deletion_guard.preview('DELETE FROM note WHERE id = 2');
COMMIT;
SELECT count(*) FROM note;
DROP TABLE leaf;
DROP TRIGGER sweep ON older;

-- Links that were lost, and tables that are gone.
SET deletion_guard.retention = '0';
DELETE FROM note WHERE site_id = 1;
DELETE FROM pref WHERE id = 2;
DELETE FROM past WHERE site_id = 1;
WITH d AS (DELETE FROM past RETURNING 1) DELETE FROM older;
SET deletion_guard.ddl = allow;
DROP TABLE past, older;
SELECT rows, links, state FROM deletion_guard.deletion ORDER BY id;
SELECT relation, relation_name, tenant, rows, restored, purged, lost FROM deletion_guard.deletion_detail ORDER BY deletion_id, relation_name COLLATE "C", tenant;
SELECT relation_name, rows, rows_due, oldest IS NOT NULL AS since, problem FROM deletion_guard.bin_usage ORDER BY relation_name COLLATE "C";

-- Rows of partitions are those of the root; what is not guarded is not kept.
CREATE TABLE reading (id integer, site_id integer, at integer) PARTITION BY RANGE (at);
CREATE TABLE reading_1 PARTITION OF reading FOR VALUES FROM (0) TO (10);
CREATE TABLE reading_2 (site_id integer, at integer, id integer);
SELECT deletion_guard.guard_table(t, 'site_id') FROM unnest('{reading,reading_2}'::regclass[]) t;
INSERT INTO reading VALUES (1, 1, 1), (2, 2, 2);
INSERT INTO reading_2 VALUES (1, 11, 3), (1, 12, 4);
DELETE FROM reading_2 WHERE id = 3;
ALTER TABLE reading ATTACH PARTITION reading_2 FOR VALUES FROM (10) TO (20);
DELETE FROM reading WHERE site_id = 1;
\set VERBOSITY terse
SET client_min_messages = notice;
SELECT id FROM deletion_guard.deleted_rows(NULL::reading) ORDER BY 1;
SELECT id FROM deletion_guard.deleted_rows(NULL::reading_1) ORDER BY 1;  -- fails
SELECT id FROM deletion_guard.deleted_rows(NULL::reading_2) ORDER BY 1;
SELECT * FROM deletion_guard.deleted_rows(NULL::log);
SET client_min_messages = warning;
DROP TABLE reading;

-- A database that was restored without its bin.
\! pg_dump -Fc -f "$DIR/results/unknown.dump" --exclude-table-data='deletion_guard_bin.*'
\c regress_dg_report_restored
\! pg_restore -d regress_dg_report_restored "$DIR/results/unknown.dump"
SELECT rows, links, state FROM deletion_guard.deletion ORDER BY id;
SELECT relation, relation_name, tenant, rows, restored, purged, lost FROM deletion_guard.deletion_detail ORDER BY deletion_id, relation_name COLLATE "C", tenant;
SELECT relation_name, rows, rows_due, oldest, problem FROM deletion_guard.bin_usage ORDER BY relation_name COLLATE "C";
SELECT bin_rows, rows_due, oldest_bin_row, rows_lost FROM deletion_guard.status;
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'bins' ORDER BY object;
SELECT min(id) AS first FROM deletion_guard.deletion \gset
\set VERBOSITY terse
SELECT * FROM deletion_guard.deleted_rows(NULL::note);  -- fails
SELECT * FROM deletion_guard.deleted_rows(NULL::note, tenant => '1', deletion_id => :first);  -- fails
SELECT * FROM deletion_guard.deleted_rows(NULL::note, tenant => '2');
SELECT * FROM deletion_guard.undelete(:first);  -- fails
-- Nor is it purged.
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
\set ECHO none
\i :signing
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
SELECT signing.sign(deletion_guard.request_purge('1', 'contract ended')) AS token \gset
SELECT deletion_guard.purge(:'token');  -- fails
-- What is deleted from now on is there, and does not hide what is not.
DELETE FROM note WHERE id = 1;
DELETE FROM note WHERE id = 3;
SELECT relation_name, tenant, rows, lost FROM deletion_guard.deletion_detail WHERE relation_name = 'public.note' ORDER BY deletion_id;
SELECT relation_name, rows, problem FROM deletion_guard.bin_usage WHERE relation_name = 'public.note' ORDER BY problem;
SELECT id, body FROM deletion_guard.deleted_rows(NULL::note, tenant => '2') ORDER BY id;
SELECT * FROM deletion_guard.deleted_rows(NULL::note, tenant => '1');  -- fails
SELECT relation, restored FROM deletion_guard.undelete_tenant('2', since => now() - interval '1 hour', on_conflict => 'skip');
SELECT count(*) FROM note;

\c :maintenance_db
DROP DATABASE regress_dg_report_restored;
DROP DATABASE regress_dg_report_unknown;
\! rm -f "$DIR/results/unknown.dump"
