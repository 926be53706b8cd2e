-- A tenant's key is changed where that moves its row to another partition; lost links know the keys that tenants have now.
CREATE DATABASE regress_dg_tenant_moved;
\set maintenance_db :DBNAME
\c regress_dg_tenant_moved
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE TABLE org (slug text PRIMARY KEY, name text) PARTITION BY LIST (slug);
CREATE TABLE org_a PARTITION OF org FOR VALUES IN ('acme', 'globex') PARTITION BY LIST (slug);
CREATE TABLE org_a1 PARTITION OF org_a DEFAULT;
CREATE TABLE org_rest (gone int, name text, slug text NOT NULL);
ALTER TABLE org_rest DROP gone;
ALTER TABLE org ATTACH PARTITION org_rest DEFAULT;
CREATE TABLE label (org text REFERENCES org ON UPDATE CASCADE ON DELETE CASCADE, name text, PRIMARY KEY (org, name));
CREATE TABLE issue (id int PRIMARY KEY, org text REFERENCES org ON UPDATE CASCADE ON DELETE CASCADE, label text,
	FOREIGN KEY (org, label) REFERENCES label ON UPDATE CASCADE ON DELETE SET NULL (label));
CREATE TABLE note (org text REFERENCES org ON UPDATE CASCADE ON DELETE CASCADE, label text, t text,
	FOREIGN KEY (org, label) REFERENCES label ON UPDATE CASCADE ON DELETE SET NULL (label));
-- The tenant's key is in a foreign key only, over another table.
CREATE TABLE vote (id int PRIMARY KEY, of text, label text, FOREIGN KEY (of, label) REFERENCES label ON UPDATE CASCADE ON DELETE CASCADE);
SELECT deletion_guard.set_tenant_table('org', 'slug', 'name');
SELECT relation, tenant_source, problem FROM deletion_guard.guard_schema('public', 'org') ORDER BY relation::text;
CREATE TABLE org_new PARTITION OF org FOR VALUES IN ('new');
SELECT tgrelid::regclass FROM pg_trigger WHERE tgname = 'deletion_guard_rename' ORDER BY tgrelid::regclass::text;
SELECT check_name, object, detail FROM deletion_guard.verify() WHERE check_name IN ('guard triggers', 'triggers') AND NOT ok;
CREATE OR REPLACE TRIGGER deletion_guard_rename AFTER UPDATE ON org_new FOR EACH ROW EXECUTE FUNCTION deletion_guard_internal.capture_rename();  -- fails
INSERT INTO org VALUES ('acme', 'Acme'), ('globex', 'Globex');
INSERT INTO label VALUES ('acme', 'bug'), ('globex', 'bug');
INSERT INTO issue VALUES (1, 'acme', 'bug'), (2, 'globex', 'bug'), (3, 'acme', 'bug');
INSERT INTO note VALUES ('acme', 'bug', 'n1'), ('globex', 'bug', 'n2'), ('acme', 'bug', 'n3');
INSERT INTO vote VALUES (1, 'acme', 'bug'), (2, 'globex', 'bug');
DELETE FROM label;
DELETE FROM issue WHERE id = 3;
DELETE FROM note WHERE t = 'n3';
UPDATE org SET slug = 'apex' WHERE slug = 'acme';
SELECT old_key, new_key FROM deletion_guard.tenant_rename ORDER BY rename_id;
SELECT * FROM deletion_guard.deleted_rows(NULL::issue);
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('acme') ORDER BY relation::text;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('globex') ORDER BY relation::text;
SELECT * FROM issue ORDER BY id;
SELECT * FROM note ORDER BY t;
SELECT * FROM vote ORDER BY id;
SELECT count(*) FROM deletion_guard.deletion_link WHERE NOT restored;

-- Several at once, all of which move.
DELETE FROM vote;
UPDATE org SET slug = CASE slug WHEN 'globex' THEN 'hooli' ELSE 'acme' END;
SELECT o.name, d.relation, d.rows FROM deletion_guard.deletion_detail d JOIN org o ON o.slug = d.tenant WHERE d.relation = 'vote'::regclass ORDER BY 1;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenants('{acme,hooli}') ORDER BY tenant;
SELECT v.id, v.of, o.name FROM vote v JOIN org o ON o.slug = v.of ORDER BY v.id;
-- A row that a trigger keeps away is deleted, and the next one that is inserted is nobody's.
CREATE FUNCTION keep_away() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN CASE WHEN NEW.slug <> 'new' OR NEW.name <> 'Acme' THEN NEW END; END$$;
CREATE TRIGGER keep_away BEFORE INSERT ON org_new FOR EACH ROW EXECUTE FUNCTION keep_away();
DELETE FROM vote;
SELECT count(*) FROM deletion_guard.tenant_rename;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
ALTER TABLE label DROP CONSTRAINT label_org_fkey;
ALTER TABLE issue DROP CONSTRAINT issue_org_fkey;
ALTER TABLE note DROP CONSTRAINT note_org_fkey;
SELECT slug, name FROM org ORDER BY 1;
MERGE INTO org USING (VALUES ('acme', 'new'), ('hooli', NULL), ('other', 'other')) v (old, new) ON slug = v.old
	WHEN MATCHED AND v.new IS NOT NULL THEN UPDATE SET slug = v.new
	WHEN NOT MATCHED THEN INSERT VALUES (v.new, 'Other');
SELECT slug, name FROM org ORDER BY 1;
SELECT count(*) FROM deletion_guard.tenant_rename;
SELECT relation, tenant FROM deletion_guard.deletion_detail WHERE relation = 'org'::regclass;
-- What MERGE moves is followed.
MERGE INTO org USING (VALUES ('hooli', 'globex')) v (old, new) ON slug = v.old WHEN MATCHED THEN UPDATE SET slug = v.new;
SELECT old_key, new_key FROM deletion_guard.tenant_rename ORDER BY rename_id DESC LIMIT 1;
ROLLBACK;
-- A row that is deleted and inserted anew is another tenant's.
DELETE FROM org WHERE slug = 'acme';
INSERT INTO org VALUES ('new', 'Acme the younger');
WITH d AS (DELETE FROM org WHERE slug = 'new' RETURNING name) INSERT INTO org SELECT 'brandnew', name FROM d;
SELECT count(*) FROM deletion_guard.tenant_rename;
\c :maintenance_db
DROP DATABASE regress_dg_tenant_moved;
