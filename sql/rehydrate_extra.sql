-- extra => 'delete': live rows of the tenants that the archive does not have go to the bin; with on_conflict => 'replace' a tenant is as it was.
CREATE DATABASE regress_dg_rehydrate_extra;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_extra
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'extra.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id int PRIMARY KEY, name text);
CREATE TABLE label (id int PRIMARY KEY, site_id int NOT NULL REFERENCES site, name text, parent int REFERENCES label, UNIQUE (site_id, name));
CREATE TABLE issue (dropped int, site_id int NOT NULL REFERENCES site, no int, label_id int REFERENCES label ON DELETE SET NULL, label_name text,
	PRIMARY KEY (no), FOREIGN KEY (site_id, label_name) REFERENCES label (site_id, name) ON DELETE CASCADE) PARTITION BY RANGE (no);
ALTER TABLE issue DROP dropped;
CREATE TABLE issue_1 (label_name text, no int NOT NULL, label_id int, site_id int NOT NULL);
ALTER TABLE issue ATTACH PARTITION issue_1 FOR VALUES FROM (-10) TO (10);
CREATE TABLE issue_2 PARTITION OF issue FOR VALUES FROM (10) TO (1000);
CREATE TABLE comment (id int PRIMARY KEY, issue int NOT NULL REFERENCES issue ON DELETE CASCADE, body text);
CREATE TABLE note (site_id int REFERENCES site, body text);
INSERT INTO site VALUES (1, 'One'), (2, 'Two');
INSERT INTO label SELECT n, 1 + n % 2, 'label ' || n FROM generate_series(1, 8) n;
INSERT INTO issue SELECT 1 + n % 2, n, 1 + (n - 1) % 8 FROM generate_series(1, 16) n;
INSERT INTO comment SELECT n, 1 + n % 16, 'body ' || n FROM generate_series(1, 48) n;
INSERT INTO note SELECT 1 + n % 2, 'note ' || n % 4 FROM generate_series(1, 16) n;
INSERT INTO note VALUES (NULL, 'for all');
SELECT deletion_guard.set_tenant_table('site', 'id');
SELECT relation, tenant_source, problem FROM deletion_guard.guard_schema('public', 'site_id') ORDER BY relation::text;
\! pg_dump -Fc -f "${DIR}extra.dump" -n public
-- All that the tenants have, as text
CREATE VIEW state AS
	SELECT 'label' AS t, site_id, l::text AS r FROM label l UNION ALL SELECT 'issue', site_id, i::text FROM issue i
	UNION ALL SELECT 'comment', site_id, c::text FROM comment c JOIN issue i ON i.no = c.issue UNION ALL SELECT 'note', site_id, n::text FROM note n
	UNION ALL SELECT 'site', id, s::text FROM site s;
CREATE TEMP TABLE archived AS TABLE state;
CREATE PROCEDURE change() LANGUAGE SQL AS $$
	-- one that has taken another's name, and one that changed rows refer to
	DELETE FROM comment WHERE issue = 4;
	DELETE FROM issue WHERE no IN (4, 12);
	DELETE FROM label WHERE id = 4;
	INSERT INTO label VALUES (104, 1, 'label 4', 2), (101, 1, 'new', 104), (102, 1, 'newer', 101);
	UPDATE label SET parent = 102, name = 'changed' WHERE id = 2;
	INSERT INTO label VALUES (105, 1, 'label 2', NULL);
	UPDATE issue SET label_id = 101, label_name = 'new' WHERE no IN (2, 14);
	INSERT INTO issue VALUES (1, 200, 101, 'new'), (1, -9, NULL, 'newer'), (2, 300, 1, NULL);
	INSERT INTO comment VALUES (200, 200, 'new'), (201, -9, 'new'), (202, 2, 'new'), (300, 300, 'of the other');
	UPDATE comment SET issue = 200 WHERE id = 1;
	INSERT INTO note VALUES (1, 'note 1'), (1, 'new'), (1, 'new'), (NULL, 'for all, too');
	DELETE FROM note WHERE ctid = (SELECT min(ctid) FROM note WHERE site_id = 1 AND body = 'note 3');
	UPDATE site SET name = 'Renamed' WHERE id = 1;
$$;
CALL change();
CREATE TEMP TABLE changed AS TABLE state;
SELECT relation, count(*) FILTER (WHERE what = 'missing') AS missing, count(*) FILTER (WHERE what = 'extra') AS extra, count(*) FILTER (WHERE what = 'different') AS different
FROM deletion_guard.compare_rows('1', :'archive') GROUP BY 1 ORDER BY relation::text;
-- keep is the default; a dry run changes nothing.
SELECT relation, found, restored, identical, skipped, regexp_replace(problem, 'deletion \d+', 'deletion N') AS problem
FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete', dry_run => true) ORDER BY relation::text;
SELECT * FROM (TABLE state EXCEPT ALL TABLE changed) x;
BEGIN;
SELECT relation, found, restored, identical, skipped, regexp_replace(problem, 'deletion \d+', 'deletion N') AS problem
FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete') ORDER BY relation::text;
-- The tenant is as it was, nobody else is touched.
SELECT * FROM deletion_guard.compare_rows('1', :'archive');
SELECT * FROM (TABLE state EXCEPT ALL TABLE archived) x WHERE site_id = 1;
SELECT * FROM (TABLE archived EXCEPT ALL TABLE state) x WHERE site_id = 1;
SELECT * FROM (TABLE state EXCEPT ALL TABLE changed) x WHERE site_id IS DISTINCT FROM 1;
SELECT * FROM (TABLE changed EXCEPT ALL TABLE state) x WHERE site_id IS DISTINCT FROM 1;
-- Again: nothing is left to do.
SELECT relation, found, restored, identical, problem FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete') ORDER BY relation::text;
-- It is one deletion, of what was extra and of what was replaced.
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion) ORDER BY relation::text;
-- Undeleting it takes back what was changed and deleted.
UPDATE comment SET body = 'changed', issue = 4 WHERE id = 1;
UPDATE site SET name = 'Renamed' WHERE id = 1;
INSERT INTO label VALUES (104, 1, 'label 104', 2);
INSERT INTO issue VALUES (1, 200, 104, 'label 104');
UPDATE issue SET label_id = 104 WHERE no = 2;
INSERT INTO comment VALUES (200, 200, 'new');
INSERT INTO note VALUES (1, 'note 1'), (1, 'new');
CREATE TEMP TABLE changed_again AS TABLE state;
SELECT sum(restored) FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete');
SELECT count(*) FROM deletion_guard.compare_rows('1', :'archive');
SELECT max(id) AS deletion FROM deletion_guard.deletion \gset
SELECT relation, restored, identical, skipped, problem FROM deletion_guard.undelete(:deletion, on_conflict => 'replace') ORDER BY relation::text;
SELECT * FROM (TABLE state EXCEPT ALL TABLE changed_again) x;
SELECT * FROM (TABLE changed_again EXCEPT ALL TABLE state) x;
ROLLBACK;

-- Conflicts are as without it: an error, or the live row wins.
SELECT deletion_guard.rehydrate('1', :'archive', extra => 'delete');
BEGIN;
UPDATE issue SET label_id = NULL, label_name = NULL;
UPDATE comment SET issue = 2 WHERE id = 1;
UPDATE label SET parent = NULL;
SELECT relation, restored, skipped, regexp_replace(problem, 'deletion \d+', 'deletion N') AS problem
FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'skip', extra => 'delete') WHERE relation IS NOT NULL ORDER BY relation::text;
SELECT relation, key, what, columns FROM deletion_guard.compare_rows('1', :'archive');
ROLLBACK;
-- Some tables: rows that refer to theirs would have to change, too.
SELECT deletion_guard.rehydrate('1', :'archive', '{label}', on_conflict => 'replace', extra => 'delete');
BEGIN;
SELECT relation, regexp_replace(problem, 'deletion \d+', 'deletion N') AS problem
FROM deletion_guard.rehydrate('1', :'archive', '{comment,note}', on_conflict => 'replace', extra => 'delete') WHERE found > 0 ORDER BY relation::text;
ROLLBACK;
-- Ceilings hold, as for any deletion; so does what a session expects.
SET deletion_guard.max_rows = 3;
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete');
RESET deletion_guard.max_rows;
SET deletion_guard.expect_tenants = '2';
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete');
RESET deletion_guard.expect_tenants;

-- Other tenants' rows are not changed: not by cascade, not by a link set to null.
BEGIN;
INSERT INTO comment VALUES (400, -9, 'refers to a row that would go');
ALTER TABLE comment ADD site_id int;
CREATE TABLE watch (id int PRIMARY KEY, site_id int REFERENCES site, issue int REFERENCES issue ON DELETE SET NULL);
CREATE TABLE seen (issue int REFERENCES issue ON DELETE CASCADE);
SELECT deletion_guard.guard_table('watch', 'site_id');
SAVEPOINT a;
INSERT INTO watch VALUES (1, 2, -9);
\set VERBOSITY default
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete');
\set VERBOSITY terse
ROLLBACK TO a;
INSERT INTO watch VALUES (1, NULL, 200);
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete');
ROLLBACK TO a;
INSERT INTO seen VALUES (-9), (2);
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete');
ROLLBACK TO a;
-- Of a table that the archive does not have, rows stay, and the report says so.
INSERT INTO watch VALUES (1, 1, 2), (2, NULL, 2), (3, 2, 2);
INSERT INTO seen VALUES (2);
SELECT relation, tenant, found, regexp_replace(problem, 'deletion \d+', 'deletion N') AS problem
FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete') WHERE problem IS NOT NULL ORDER BY relation::text;
TABLE watch;
SELECT relation, what, problem FROM deletion_guard.compare_rows('1', :'archive');
ROLLBACK;

-- Many tenants
BEGIN;
SELECT relation, tenant, found, restored, identical, regexp_replace(problem, 'deletion \d+', 'deletion N') AS problem
FROM deletion_guard.rehydrate('{1,2}'::text[], :'archive', on_conflict => 'replace', extra => 'delete') ORDER BY relation::text, tenant;
SELECT * FROM (TABLE state EXCEPT ALL TABLE archived) x;
SELECT * FROM (TABLE archived EXCEPT ALL TABLE state) x;
ROLLBACK;
SELECT count(*) FROM (TABLE state EXCEPT ALL TABLE changed) x;
CALL deletion_guard.rehydrate_each('{1,2}', :'archive', 'rewind', on_conflict => 'replace', extra => 'delete');
SELECT * FROM (TABLE state EXCEPT ALL TABLE archived) x;
SELECT * FROM (TABLE archived EXCEPT ALL TABLE state) x;
SELECT tenant, rows, regexp_replace(problem, 'deletion \d+', 'deletion N', 'g') AS problem FROM deletion_guard.rehydration_record ORDER BY 1;

-- Where it is not certain what the archive has, nothing goes.
INSERT INTO issue VALUES (1, 500), (1, -9);
\! pg_dump -Fc -f "${DIR}extra_part.dump" -n public -T issue_2
SELECT deletion_guard.rehydrate('1', :'dir' || 'extra_part.dump', on_conflict => 'replace', extra => 'delete');
\! pg_dump -Fc -f "${DIR}extra_untold.dump" -n public -T issue -T issue_1 -T issue_2
DELETE FROM comment WHERE issue = 2;
DELETE FROM issue WHERE no = 2;
SELECT deletion_guard.rehydrate('1', :'dir' || 'extra_untold.dump', '{comment,label}', on_conflict => 'replace', extra => 'delete');
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete', mapping => '{"public.note": {"columns": {"site_id": {"value": "2"}}}}');
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete', mapping => '{"public.note": {"columns": {"body": null}}}');
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete', mapping => '{"public.comment": {"columns": {"id": null}}}');
\! pg_dump -f "${DIR}extra_secure.dump" -n public --enable-row-security
SELECT deletion_guard.rehydrate('1', :'dir' || 'extra_secure.dump', on_conflict => 'replace', extra => 'delete');
\set VERBOSITY sqlstate
SELECT deletion_guard.rehydrate('3', :'archive', on_conflict => 'replace', extra => 'delete');
\set VERBOSITY terse

-- Under the caller's privileges
CREATE ROLE regress_dg_rewind IN ROLE pg_read_server_files;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_rewind;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO regress_dg_rewind;
SET ROLE regress_dg_rewind;
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete');
RESET ROLE;
GRANT DELETE ON ALL TABLES IN SCHEMA public TO regress_dg_rewind;
REVOKE ALL ON issue_1, issue_2 FROM regress_dg_rewind;
ALTER TABLE issue ENABLE ROW LEVEL SECURITY;
CREATE POLICY most ON issue USING (no <> 500) WITH CHECK (true);
SET ROLE regress_dg_rewind;
\set VERBOSITY default
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete');
\set VERBOSITY terse
RESET ROLE;
ALTER TABLE issue DISABLE ROW LEVEL SECURITY;
-- No trigger of the application fires, the guard's does.
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'trigger %', tg_name; RETURN NULL; END $$;
CREATE TRIGGER keep BEFORE DELETE ON issue_2 FOR EACH ROW EXECUTE FUNCTION keep();
SET ROLE regress_dg_rewind;
SELECT relation, restored, regexp_replace(problem, 'deletion \d+', 'deletion N') AS problem
FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete') WHERE problem IS NOT NULL ORDER BY 1;
RESET ROLE;
SELECT * FROM (TABLE state EXCEPT ALL TABLE archived) x;
SELECT session_role = current_user AS session, effective_role FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1;
INSERT INTO issue VALUES (1, 500);
ALTER TABLE issue_2 ENABLE ALWAYS TRIGGER keep;
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete');
ALTER TABLE issue_2 ENABLE REPLICA TRIGGER keep;
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete');
ALTER TABLE issue_2 ENABLE TRIGGER keep;
CREATE RULE also AS ON DELETE TO issue DO ALSO SELECT 1;
ALTER TABLE issue ENABLE ALWAYS RULE also;
SELECT deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace', extra => 'delete');
DROP RULE also ON issue;
ALTER TABLE issue_2 DISABLE TRIGGER keep;
SHOW session_replication_role;

-- Bad input
SELECT deletion_guard.rehydrate('1', :'archive', extra => 'remove');
SELECT deletion_guard.rehydrate('1', :'archive', extra => NULL);
SELECT deletion_guard.rehydrate('1', :'archive', extra => 'delete', into_schema => 'elsewhere');
CALL deletion_guard.rehydrate_each('{1}', :'archive', 'x', extra => NULL);
SELECT * FROM deletion_guard.verify() WHERE NOT ok AND check_name ~ 'balance|count';

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_extra;
DROP ROLE regress_dg_rewind;
