-- Tenant paths that lead over columns without a foreign key, and over pairs of a type and an id.
CREATE DATABASE regress_dg_tenant_steps;
\set maintenance_db :DBNAME
\c regress_dg_tenant_steps
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/tenant_steps.dump'
\setenv ARCHIVE :archive
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;

-- An application as Redmine is: attachments, journals with details, and custom values hang on issues, wiki pages and projects.
CREATE TABLE project (id int PRIMARY KEY, name text);
CREATE TABLE tracker (id int PRIMARY KEY, project_id int REFERENCES project);
CREATE TABLE issue (id int PRIMARY KEY, project_id int NOT NULL REFERENCES project ON DELETE CASCADE, subject text);
CREATE TABLE wiki (id bigint PRIMARY KEY, project_id int NOT NULL CONSTRAINT wiki_project REFERENCES project ON DELETE CASCADE);
CREATE TABLE page (id int PRIMARY KEY, wiki_id bigint);
CREATE TABLE attachment (id int PRIMARY KEY, container_type varchar(20), container_id int, filename text);
CREATE TABLE thumbnail (id int PRIMARY KEY, attachment_id int CONSTRAINT thumbnail_attachment REFERENCES attachment ON DELETE CASCADE);
CREATE TABLE journal (id int PRIMARY KEY, journalized_type text, journalized_id bigint) PARTITION BY HASH (id);
CREATE TABLE journal_1 PARTITION OF journal FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE journal_2 (journalized_id bigint, id int NOT NULL, journalized_type text);
ALTER TABLE journal ATTACH PARTITION journal_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE detail (id int PRIMARY KEY, journal_id int);
CREATE TYPE customized AS ENUM ('Issue', 'Project', 'User');
CREATE TABLE custom_value (customized_type customized, customized_id int, tracker_id int REFERENCES tracker, value text);
INSERT INTO project SELECT n, 'p' || n FROM generate_series(1, 3) n;
INSERT INTO issue SELECT n, 1 + n % 3, 's' FROM generate_series(1, 30) n;
INSERT INTO wiki SELECT n, 1 + n % 3 FROM generate_series(1, 6) n;
INSERT INTO page SELECT n, 1 + n % 6 FROM generate_series(1, 12) n;
INSERT INTO attachment SELECT id, 'Issue', id, 'f' FROM issue UNION ALL SELECT 100 + id, 'Page', id, 'f' FROM page;
INSERT INTO thumbnail SELECT id, id FROM attachment;
INSERT INTO journal SELECT id, 'Issue', id FROM issue;
INSERT INTO detail SELECT id, id FROM journal;
INSERT INTO custom_value SELECT 'Issue'::customized, id, NULL::int, 'v' FROM issue UNION ALL SELECT 'Project', id, NULL, 'v' FROM project UNION ALL SELECT 'User', 7, NULL, 'v';
SELECT deletion_guard.set_tenant_table('project', 'id', 'name');

-- What it sees is said, and never guessed; nor is a reference taken that may be null, where there is a pair beside it.
SELECT relation, tenant_source, problem FROM deletion_guard.guard_schema('public', 'project_id') ORDER BY relation::text;

-- Bad input.
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": "container_id"}]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": "container_id", "targets": {}}]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": "container_id", "targets": {"Issue": 1}}]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": 1, "id": "container_id", "targets": {"Issue": "issue"}}]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": {}, "targets": {"Issue": "issue"}}]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"kind": "container_type"}]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '{"type": "container_type"}');
SELECT deletion_guard.guard_table('attachment', tenant_path => '"container_type"');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[1]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[null]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "no_column", "id": "container_id", "targets": {"Issue": "issue"}}]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": "no_column", "targets": {"Issue": "issue"}}]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": "container_id", "targets": {"Issue": "no_table"}}]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": "filename", "targets": {"Issue": "issue"}}]');  -- keys of another table
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": ["container_id", "id"], "targets": {"Issue": "issue"}}]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": "container_id", "targets": {"Detail": "detail"}}]');  -- leads nowhere
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": "container_id", "targets": {"Attachment": "attachment"}}]');  -- in a circle
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": "container_id", "targets": {"Issue": "issue"}}, "thumbnail_attachment"]');
SELECT deletion_guard.guard_table('attachment', 'container_id', '[{"type": "container_type", "id": "container_id", "targets": {"Issue": "issue"}}]');
SELECT deletion_guard.guard_table('custom_value', tenant_path => '[{"type": "customized_type", "id": "customized_id", "targets": {"Version": "issue"}}]');
SELECT deletion_guard.guard_table('page', tenant_path => '[{"columns": ["wiki_id"], "references": "wiki", "key": ["no_column"]}]');
SELECT deletion_guard.guard_table('page', tenant_path => '[{"columns": ["wiki_id", "id"], "references": "wiki"}]');

-- The ways that work, also as they were: names of foreign keys in an array, or in JSON.
SELECT deletion_guard.guard_table('wiki', tenant_path => '{wiki_project}');
SELECT deletion_guard.guard_table('wiki', tenant_path => ARRAY['wiki_project']);
SELECT deletion_guard.guard_table('wiki', NULL, ARRAY['wiki_project']::name[]);
SELECT deletion_guard.guard_table('wiki', tenant_path => '["wiki_project"]'::jsonb);
SELECT relation, tenant_source, tenant_path FROM deletion_guard.guarded_table WHERE relation = 'wiki'::regclass;
SELECT deletion_guard.guard_table('page', tenant_path => '[{"columns": "wiki_id", "references": "wiki"}]');
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": "container_id", "targets": {"Issue": "issue", "Page": "page", "Motd": null}}]');
SELECT deletion_guard.guard_table('thumbnail', tenant_path => '["thumbnail_attachment", {"type": "container_type", "id": "container_id", "targets": {"Issue": "issue", "Page": "page"}}]');
SELECT deletion_guard.guard_table('journal', tenant_path => '[{"type": "journalized_type", "id": "journalized_id", "targets": {"Issue": "issue"}}]');
SELECT deletion_guard.guard_table('detail', tenant_path => '[{"columns": ["journal_id"], "references": "journal", "key": ["id"]}]');
SELECT deletion_guard.guard_table('custom_value', tenant_path => '[{"type": "customized_type", "id": "customized_id", "targets": {"Issue": "issue", "Project": "project", "User": null}}]');
SELECT relation, tenant_source FROM deletion_guard.guarded_table WHERE tenant_path IS NOT NULL ORDER BY relation::text;
-- Now a circle would close.
SELECT deletion_guard.guard_table('page', tenant_path => '[{"type": "id", "id": "wiki_id", "targets": {"1": "attachment"}}]');
SELECT check_name, object, detail FROM deletion_guard.verify() WHERE check_name = 'tenant sources';

\! pg_dump -Fc -f "$ARCHIVE" regress_dg_tenant_steps
CREATE SCHEMA before;
CREATE TABLE before.attachment AS TABLE attachment;
CREATE TABLE before.thumbnail AS TABLE thumbnail;
CREATE TABLE before.journal AS TABLE journal;
CREATE TABLE before.detail AS TABLE detail;
CREATE TABLE before.custom_value AS TABLE custom_value;
CREATE TABLE before.page AS TABLE page;
CREATE TABLE before.issue AS TABLE issue;
CREATE TABLE before.wiki AS TABLE wiki;
CREATE FUNCTION changed() RETURNS TABLE (relation text, lost bigint, extra bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR relation IN SELECT relname FROM pg_class WHERE relnamespace = 'before'::regnamespace AND relkind = 'r' ORDER BY 1 LOOP
		EXECUTE format('SELECT (SELECT count(*) FROM (TABLE before.%1$I EXCEPT ALL TABLE %1$I) x), (SELECT count(*) FROM (TABLE %1$I EXCEPT ALL TABLE before.%1$I) x)', relation) INTO lost, extra;
		IF lost + extra > 0 THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;

-- Children first, as an ORM deletes; parents first, each by a transaction of its own, so that the children's tenant is known by the bin only.
CREATE PROCEDURE wipe_children(p int) LANGUAGE sql AS $$
	DELETE FROM thumbnail USING attachment a, issue i WHERE a.id = attachment_id AND a.container_type = 'Issue' AND i.id = a.container_id AND i.project_id = p;
	DELETE FROM attachment a USING issue i WHERE a.container_type = 'Issue' AND i.id = a.container_id AND i.project_id = p;
	DELETE FROM attachment a USING page g, wiki w WHERE a.container_type = 'Page' AND g.id = a.container_id AND w.id = g.wiki_id AND w.project_id = p;
	DELETE FROM detail d USING journal j, issue i WHERE j.id = d.journal_id AND i.id = j.journalized_id AND i.project_id = p;
	DELETE FROM journal j USING issue i WHERE i.id = j.journalized_id AND i.project_id = p;
	DELETE FROM custom_value c USING issue i WHERE customized_type = 'Issue' AND i.id = customized_id AND i.project_id = p;
	DELETE FROM custom_value WHERE customized_type = 'Project' AND customized_id = p;
	DELETE FROM page g USING wiki w WHERE w.id = g.wiki_id AND w.project_id = p;
	DELETE FROM project WHERE id = p;
$$;
CALL wipe_children(1);
DELETE FROM project WHERE id = 2;
DELETE FROM page WHERE wiki_id NOT IN (SELECT id FROM wiki);
DELETE FROM journal WHERE journalized_id NOT IN (SELECT id FROM issue);
DELETE FROM detail WHERE journal_id NOT IN (SELECT id FROM journal);
DELETE FROM custom_value WHERE customized_type = 'Issue' AND customized_id NOT IN (SELECT id FROM issue) OR customized_type = 'Project' AND customized_id = 2;
DELETE FROM attachment WHERE container_type = 'Issue' AND container_id NOT IN (SELECT id FROM issue) OR container_type = 'Page' AND container_id NOT IN (SELECT id FROM page);
SELECT relation, tenant, sum(rows) AS rows FROM deletion_guard.deletion_detail GROUP BY 1, 2 ORDER BY relation::text, tenant;
SELECT relation, tenant, archive_rows, live_rows, only_in_archive FROM deletion_guard.compare_tenants('{1,2}', :'archive') WHERE tenant IS NOT NULL ORDER BY 1, 2;
BEGIN;
SELECT relation, tenant, restored, problem FROM deletion_guard.rehydrate('{1,2}'::text[], :'archive') ORDER BY relation::text, tenant;
SELECT * FROM changed();
SELECT relation, tenant, live_rows, only_in_archive, only_live, different FROM deletion_guard.compare_tenants('{1,2}', :'archive') WHERE tenant IS NOT NULL AND only_in_archive + only_live + different > 0;
ROLLBACK;
SELECT tenant, rows, matches FROM deletion_guard.drill(:'archive', '{1,3}') ORDER BY tenant;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('1') ORDER BY relation::text;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('2') ORDER BY relation::text;
SELECT * FROM changed();

-- All in one transaction, and one statement that deletes both.
BEGIN;
DELETE FROM issue WHERE project_id = 3;
DELETE FROM attachment WHERE container_type = 'Issue' AND container_id NOT IN (SELECT id FROM issue);
COMMIT;
WITH gone AS (DELETE FROM journal WHERE journalized_id % 3 = 0 RETURNING id) DELETE FROM detail USING gone WHERE journal_id = gone.id;
SELECT relation, tenant, sum(rows) AS rows FROM deletion_guard.deletion_detail WHERE rows > restored GROUP BY 1, 2 ORDER BY relation::text, tenant;
SELECT sum(restored) FROM deletion_guard.undelete_tenant('1') UNION ALL SELECT sum(restored) FROM deletion_guard.undelete_tenant('3');
SELECT * FROM changed();

-- Types that nobody has declared, or whose rows are nobody's; a reference to nothing.
INSERT INTO attachment VALUES (901, 'Version', 1), (902, 'Motd', 1), (903, NULL, 1), (904, 'Issue', NULL), (905, 'Issue', 999);
DELETE FROM attachment WHERE id = 901;
DELETE FROM attachment WHERE id > 901;
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion);
\! pg_dump -Fc -t 'public.*' -f "$ARCHIVE" regress_dg_tenant_steps
SELECT deletion_guard.rehydrate('1', :'archive');
SELECT relation, problem FROM deletion_guard.rehydrate('1', :'archive', left_out => 'report') WHERE problem IS NOT NULL ORDER BY 1;
SELECT relation, problem FROM deletion_guard.compare_tenant('1', :'archive') WHERE problem IS NOT NULL ORDER BY 1;
SET session_replication_role = replica;
UPDATE attachment SET container_type = 'Motd' WHERE id = 901;
RESET session_replication_role;
DELETE FROM attachment WHERE id = 901;

-- Ceilings and expectations; who may read what the path leads over.
SET deletion_guard.expect_tenants = '1';
DELETE FROM attachment WHERE container_type = 'Issue' AND container_id IN (3, 4);
RESET deletion_guard.expect_tenants;
CREATE ROLE regress_dg_steps;
GRANT SELECT, DELETE ON attachment TO regress_dg_steps;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_steps;
SET ROLE regress_dg_steps;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::attachment, '1');
DELETE FROM attachment WHERE id = 3;
RESET ROLE;
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion);
REVOKE ALL ON attachment FROM regress_dg_steps;
REVOKE ALL ON SCHEMA deletion_guard FROM regress_dg_steps;
DROP ROLE regress_dg_steps;

-- Tables, columns and foreign keys get other names; then the path is broken, and verify() says so.
ALTER TABLE issue RENAME TO ticket;
ALTER TABLE ticket RENAME id TO number;
ALTER TABLE attachment RENAME container_id TO held_by;
ALTER TABLE attachment RENAME container_type TO held_as;
ALTER TABLE thumbnail RENAME CONSTRAINT thumbnail_attachment TO thumbnail_of;
SELECT relation, tenant_source FROM deletion_guard.guarded_table WHERE relation IN ('attachment'::regclass, 'thumbnail'::regclass) ORDER BY 1;
DELETE FROM attachment WHERE id = 4;
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion) ORDER BY 1;
SELECT deletion_guard.unguard_table('page');
SELECT object, detail FROM deletion_guard.verify() WHERE check_name = 'tenant sources' AND NOT ok;
DELETE FROM attachment WHERE id = 101;
SELECT deletion_guard.guard_table('page', tenant_path => '[{"columns": "wiki_id", "references": "wiki"}]');
ALTER TABLE detail DROP COLUMN journal_id;
DELETE FROM detail WHERE id = 1;

-- Dump and restore of the registry.
\! pg_dump -Fc -f "$ARCHIVE" regress_dg_tenant_steps
CREATE DATABASE regress_dg_tenant_steps_restored;
\! pg_restore -d regress_dg_tenant_steps_restored "$ARCHIVE"
\c regress_dg_tenant_steps_restored
\set VERBOSITY terse
SELECT relation, tenant_source FROM deletion_guard.guarded_table WHERE tenant_path = '{}' ORDER BY relation::text;
DELETE FROM attachment WHERE id = 5;
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion) ORDER BY 1;
SELECT relation, restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion)) ORDER BY 1;
\c :maintenance_db
DROP DATABASE regress_dg_tenant_steps_restored;
DROP DATABASE regress_dg_tenant_steps;
