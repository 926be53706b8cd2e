-- Some rows of a deletion come back, the others stay.
CREATE DATABASE regress_dg_undelete_rows;
\set maintenance_db :DBNAME
\c regress_dg_undelete_rows
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE org (id int PRIMARY KEY, name text);
CREATE TABLE issue (id bigint, org int REFERENCES org ON DELETE CASCADE, title text, at timestamptz, n numeric(8,2), ok boolean, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE issue_1 PARTITION OF issue FOR VALUES FROM (0) TO (10);
CREATE TABLE issue_2 PARTITION OF issue FOR VALUES FROM (10) TO (100);
CREATE TABLE note (issue bigint REFERENCES issue ON DELETE CASCADE, body text);
CREATE TABLE seen (id int PRIMARY KEY, issue bigint REFERENCES issue ON DELETE SET NULL);
SELECT deletion_guard.guard_table('org', 'id'), deletion_guard.guard_table('issue', 'org'), deletion_guard.guard_table('note', NULL, '{note_issue_fkey}'), deletion_guard.guard_table('seen');
INSERT INTO org VALUES (1, 'a'), (2, 'b');
INSERT INTO issue SELECT n, 1 + n % 2, 'i' || n, timestamptz '2026-01-01 12:00Z' + n * interval '1 hour', n + 0.5, n % 3 = 0 FROM generate_series(1, 20) n;
INSERT INTO note SELECT 1 + n % 20, CASE WHEN n % 4 > 0 THEN 'b' END FROM generate_series(0, 79) n;
INSERT INTO seen SELECT n, n FROM generate_series(1, 20) n;
CREATE FUNCTION undelete(rows jsonb, on_conflict text = 'error', dry_run boolean = false)
RETURNS TABLE (relation regclass, tenant text, restored bigint, identical bigint, skipped bigint, problem text) LANGUAGE sql AS
	$$ SELECT * FROM deletion_guard.undelete((SELECT min(id) FROM deletion_guard.deletion), on_conflict, dry_run, rows) ORDER BY relation::text, tenant $$;
SET TimeZone = 'UTC';
DELETE FROM issue;

-- One row; its notes stay, its link comes back.
SELECT * FROM undelete('{"public.issue": [{"id": 7}]}', dry_run => true);
SELECT * FROM undelete('{"public.issue": [{"id": 7}]}');
SELECT id FROM issue;
SELECT * FROM seen WHERE issue IS NOT NULL;
SELECT relation, tenant, rows, restored FROM deletion_guard.deletion_detail ORDER BY relation::text, tenant;
SELECT state FROM deletion_guard.deletion;
-- By other columns than the key, of several tables, of rows without a key.
SELECT * FROM undelete('{"issue": [{"title": "i8"}, {"ok": true, "org": 1}, {"n": 11.50}, {"at": "2026-01-02T00:00:00+00:00"}, {"id": "9"}], "public.note": [{"issue": 8}, {"issue": "9", "body": null}]}');
SELECT id FROM issue ORDER BY id;
SELECT issue, body FROM note ORDER BY 1, 2;

-- A row that what is chosen refers to is not chosen with it.
SELECT * FROM undelete('{"note": [{"issue": 20}]}'); -- fails
SELECT * FROM undelete('{"note": [{"issue": 20}]}', dry_run => true);
SELECT * FROM undelete('{"note": [{"issue": 20}], "issue": [{"id": 20}]}');
-- Conflicts are those of the chosen rows alone.
INSERT INTO issue (id, org, title) VALUES (1, 2, 'other'), (2, 1, 'other');
SELECT * FROM undelete('{"issue": [{"id": 1}, {"id": 3}]}'); -- fails
SELECT * FROM undelete('{"issue": [{"id": 1}, {"id": 3}]}', 'skip');
SELECT * FROM undelete('{"issue": [{"id": 1}]}', 'replace');
SELECT id, title FROM issue WHERE id < 4 ORDER BY id;

-- What is not there is a misspelling: nothing comes back.
SELECT * FROM undelete('{"issue": [{"id": 4}, {"id": 7}, {"id": 400}]}'); -- fails
SELECT * FROM undelete('{"issue": [{"id": 4}, {"id": 400}]}', dry_run => true);
SELECT * FROM undelete('{"issue": [{"id": 4}], "org": [{"id": 1}]}'); -- fails
SELECT * FROM undelete('{"org": [{"id": 1}]}'); -- fails
SELECT * FROM undelete('{"issue": [{"no": 1}]}'); -- fails
SELECT * FROM undelete('{"nowhere": [{"id": 1}]}'); -- fails
SELECT * FROM undelete('[]'); -- fails
SELECT * FROM undelete('{}'); -- fails
SELECT * FROM undelete('"issue"'); -- fails
SELECT * FROM undelete('{"issue": {"id": 1}}'); -- fails
SELECT * FROM undelete('{"issue": 7}'); -- fails
SELECT * FROM undelete('{"issue": [7]}'); -- fails
SELECT * FROM undelete('{"issue": [[{"id": 7}]]}'); -- fails
SELECT * FROM undelete('{"issue": [{}]}'); -- fails
SELECT * FROM undelete('{"issue": [{"id": [4]}]}'); -- fails
SELECT * FROM undelete('{"issue": []}'); -- fails
SELECT * FROM deletion_guard.undelete(NULL, rows => '{"issue": [{"id": 4}]}');
SELECT count(*) FROM issue WHERE id = 4;

-- Whose rights: as for all of it.
CREATE ROLE regress_dg_chooser;
GRANT EXECUTE ON FUNCTION deletion_guard.undelete TO regress_dg_chooser;
GRANT SELECT, INSERT, UPDATE ON issue TO regress_dg_chooser;
SET ROLE regress_dg_chooser;
SELECT sum(restored) FROM deletion_guard.undelete(1, rows => '{"public.note": [{"issue": 3}]}'); -- fails
RESET ROLE;
-- The rest.
SELECT * FROM undelete(NULL, 'skip');
SELECT count(*) FROM issue;
SELECT count(*) FROM note;
SELECT count(*) FROM seen WHERE issue = id;

\c :maintenance_db
DROP DATABASE regress_dg_undelete_rows;
DROP ROLE regress_dg_chooser;
