-- Tenants come back from an archive of pg_dump.
CREATE DATABASE regress_dg_rehydrate;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate
\getenv srcdir PG_ABS_SRCDIR
\getenv builddir PG_ABS_BUILDDIR
\set tracker :srcdir '/test/sql/tracker.sql'
\set dir :builddir '/results/'
\set archive :dir 'tracker.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :tracker
\set ECHO all
CREATE TABLE before AS SELECT * FROM everything;
\! pg_dump -Fc -f "${DIR}tracker.dump" -n public

SELECT relation, columns, format, compression, data_bytes > 0 AS data, live_relation, tenant_source
FROM deletion_guard.archive_contents(:'archive') ORDER BY relation COLLATE "C";

-- One tenant, by column and by paths; the report has a line for each table.
SELECT lose(2);
SELECT * FROM deletion_guard.compare_tenant('2', :'archive') ORDER BY relation::text;
SELECT * FROM deletion_guard.rehydrate('2', :'archive', dry_run => true) WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT count(*) FROM everything WHERE site = 2;
SELECT * FROM deletion_guard.rehydrate('2', :'archive') ORDER BY tenant, relation::text;
TABLE everything EXCEPT TABLE before;
TABLE before EXCEPT TABLE everything;
SELECT * FROM deletion_guard.compare_tenant('2', :'archive') ORDER BY relation::text;

-- Again: everything is there.
SELECT relation, found, restored, identical, skipped FROM deletion_guard.rehydrate('2', :'archive')
WHERE tenant IS NOT NULL ORDER BY relation::text;

-- Several tenants; one twice, in two spellings.
SELECT lose(1), lose(3);
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('{3,1,01}'::text[], :'archive')
WHERE tenant IS NOT NULL ORDER BY relation::text, tenant;
TABLE everything EXCEPT TABLE before;
TABLE before EXCEPT TABLE everything;
SELECT relation, tenant, archive_rows, live_rows, only_in_archive + only_live + different AS differences
FROM deletion_guard.compare_tenants('{3,1}', :'archive') ORDER BY relation::text, tenant;

-- Some of the tables. Their parents are read, but not written.
DELETE FROM file;
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('1', :'archive', relations => '{file}')
WHERE tenant IS NOT NULL;
SELECT count(*) FROM file JOIN comment ON comment.id = comment_id JOIN issue ON issue.id = issue_id WHERE site_id <> 1;
SELECT relation, tenant, found, restored
FROM deletion_guard.rehydrate('{2,3}'::text[], :'archive', relations => '{file}') WHERE tenant IS NOT NULL ORDER BY tenant;
TABLE before EXCEPT TABLE everything;

-- Conflicts.
UPDATE project SET title = 'changed' WHERE id = 1;
DELETE FROM file WHERE comment_id < 5;
SELECT relation, found, restored, identical, skipped, problem
FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'skip') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT title FROM project WHERE id = 1;
SELECT problem FROM deletion_guard.rehydrate('1', :'archive', dry_run => true);
SELECT failure(format('SELECT deletion_guard.rehydrate(''1'', %L)', :'archive'), :'dir');
SELECT relation, found, restored, identical, skipped, problem
FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'replace') WHERE tenant IS NOT NULL ORDER BY relation::text;
TABLE before EXCEPT TABLE everything;
SELECT title FROM deletion_guard.deleted_rows(NULL::project) WHERE title = 'changed';

-- Sequences continue behind the rows and behind what the archive had given out.
SELECT setval('project_id_seq', 1, false), setval('comment_id_seq', 1, false), setval('issue_id_seq', 1, false);
SELECT lose(1);
SELECT count(*) > 0 AS done FROM deletion_guard.rehydrate('1', :'archive');
SELECT nextval('project_id_seq'), nextval('comment_id_seq'), nextval('issue_id_seq');
SELECT setval('project_id_seq', 1000);
SELECT lose(1);
SELECT count(*) > 0 AS done FROM deletion_guard.rehydrate('1', :'archive');
SELECT nextval('project_id_seq');

-- Triggers of the application fire if they are asked for.
CREATE TABLE noise (said text);
CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO noise VALUES (format('%s %s %s %s', TG_WHEN, TG_TABLE_NAME, NEW.id, (SELECT count(*) FROM project WHERE site_id = 2)));
	IF TG_WHEN = 'BEFORE' AND NEW.id = 3 THEN
		INSERT INTO noise SELECT format('%s %s: %s rows kept, %s', phase, relation, rows_kept, bytes_done <= bytes_total)
			FROM deletion_guard.rehydration_progress WHERE pid = pg_backend_pid() AND database = current_database();
		INSERT INTO noise SELECT format('%s %s %s', relid::regclass, command, type)
			FROM pg_stat_progress_copy WHERE pid = pg_backend_pid();
	END IF;
	IF TG_WHEN = 'BEFORE' AND NEW.id = 4 THEN
		RETURN NULL;
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER before BEFORE INSERT ON project FOR EACH ROW EXECUTE FUNCTION say();
CREATE TRIGGER after AFTER INSERT ON project FOR EACH ROW EXECUTE FUNCTION say();
CREATE TRIGGER named AFTER INSERT ON site FOR EACH ROW WHEN (NEW.name = 'site 2') EXECUTE FUNCTION say();
SELECT lose(2);
SELECT sum(restored) FROM deletion_guard.rehydrate('2', :'archive');
TABLE noise;
SELECT lose(2);
SELECT relation, found, restored, skipped, problem
FROM deletion_guard.rehydrate('2', :'archive', relations => '{project,site}', fire_triggers => true) WHERE tenant IS NOT NULL ORDER BY relation::text;
TABLE noise;
DROP TRIGGER before ON project;
DROP TRIGGER after ON project;
DROP TRIGGER named ON site;
SELECT sum(restored) FROM deletion_guard.rehydrate('2', :'archive');
TABLE before EXCEPT TABLE everything;

-- A parent of the tenant's rows that is gone.
SELECT lose(3);
SET session_replication_role = replica;
DELETE FROM label WHERE id = 2;
RESET session_replication_role;
SELECT failure(format('SELECT deletion_guard.rehydrate(''3'', %L)', :'archive'), :'dir');
INSERT INTO label VALUES (2, 'wish');

-- A tenant that the archive does not have; keys that cannot be one.
SELECT failure(format('SELECT deletion_guard.rehydrate(%L, %L)', tenant, :'archive'), :'dir')
FROM unnest('{4,acme,99999999999,NULL}'::text[]) tenant;
SELECT failure(format('SELECT deletion_guard.rehydrate(%L::text[], %L)', tenants, :'archive'), :'dir')
FROM unnest(ARRAY['{1,4,5}', '{}', '{1,NULL}']) tenants;

-- Arguments that make no sense.
SELECT failure(format('SELECT deletion_guard.rehydrate(''1'', %L, %s)', :'archive', arguments), :'dir')
FROM unnest(ARRAY['on_conflict => ''maybe''', 'on_conflict => NULL', 'dry_run => NULL',
	'relations => ''{}''', 'relations => ''{label}''']) arguments;
CREATE TABLE late (site_id integer);
SELECT deletion_guard.guard_table('late', 'site_id');
SELECT failure(format('SELECT deletion_guard.rehydrate(''1'', %L, relations => ''{late}'')', :'archive'), :'dir');
SELECT failure('SELECT deletion_guard.rehydrate(''1'', NULL)', '');

-- Files that are not an archive, not a whole one, not one we know.
\! head -c $(($(grep -abo -m1 'CREATE TABLE public.project' "${DIR}tracker.dump" | head -1 | cut -d: -f1) + 10)) "${DIR}tracker.dump" > "${DIR}toc.dump"
\! head -c -100 "${DIR}tracker.dump" > "${DIR}data.dump"
\! (head -c 6 "${DIR}tracker.dump"; printf '\177'; tail -c +8 "${DIR}tracker.dump") > "${DIR}newer.dump"
\! echo 'dear diary' > "${DIR}diary.dump"
\! : > "${DIR}empty.dump"
SELECT failure(format('SELECT deletion_guard.%s', call), :'dir') FROM
	unnest('{none,toc,data,newer,diary,empty}'::text[]) WITH ORDINALITY file(name, n), LATERAL
	unnest('{"rehydrate(''1'', %L)","compare_tenant(''1'', %L)",archive_contents(%L)}'::text[]) WITH ORDINALITY f(call_format, m), LATERAL
	format(call_format, :'dir' || name || '.dump') call
WHERE m = 1 OR name IN ('none', 'diary') ORDER BY n, m;
SELECT failure('SELECT deletion_guard.rehydrate(''1'', ''tracker.dump'')', '');
SELECT count(*) FROM everything WHERE site = 3;

-- The right to read files on the server is needed, and that to insert.
CREATE ROLE regress_dg_reader;
GRANT SELECT, INSERT ON site, project, issue, comment TO regress_dg_reader;
SET ROLE regress_dg_reader;
SELECT failure(format('SELECT deletion_guard.rehydrate(''3'', %L)', :'archive'), :'dir');
RESET ROLE;
GRANT EXECUTE ON FUNCTION deletion_guard.rehydrate(text, text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean),
	deletion_guard.compare_tenant, deletion_guard.archive_contents TO regress_dg_reader;
SET ROLE regress_dg_reader;
SELECT failure(format('SELECT deletion_guard.%s', format(call, :'archive')), :'dir') FROM
	unnest('{"rehydrate(''3'', %L)","compare_tenant(''3'', %L)",archive_contents(%L)}'::text[]) call;
RESET ROLE;
GRANT pg_read_server_files TO regress_dg_reader;
SET ROLE regress_dg_reader;
SELECT failure(format('SELECT deletion_guard.rehydrate(''3'', %L)', :'archive'), :'dir');
RESET ROLE;
GRANT INSERT ON file TO regress_dg_reader;
SET ROLE regress_dg_reader;
SELECT relation, restored FROM deletion_guard.rehydrate('3', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
RESET ROLE;
TABLE everything EXCEPT TABLE before;
TABLE before EXCEPT TABLE everything;

-- What was done is in the ledger.
SELECT event, details FROM deletion_guard.ledger WHERE event = 'rehydrate' ORDER BY id LIMIT 2;

DROP OWNED BY regress_dg_reader;
DROP ROLE regress_dg_reader;
\c :maintenance_db
DROP DATABASE regress_dg_rehydrate;
\! rm -f "${DIR}"tracker.dump "${DIR}"toc.dump "${DIR}"data.dump "${DIR}"newer.dump "${DIR}"diary.dump "${DIR}"empty.dump
