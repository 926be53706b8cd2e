-- Keys, types and tenants of type character(n), and of bit(n), which a cast without a length cuts off.
CREATE DATABASE regress_dg_char_keys;
\set maintenance_db :DBNAME
\c regress_dg_char_keys
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/char_keys.dump'
\setenv ARCHIVE :archive
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE SEQUENCE codes;
CREATE TABLE country (code char(3) PRIMARY KEY);
CREATE TABLE site (id char(5) PRIMARY KEY, country char(3) REFERENCES country);
CREATE TABLE issue (id char(6) PRIMARY KEY DEFAULT 'i' || nextval('codes'), site_id char(5) REFERENCES site ON DELETE CASCADE, country char(3) REFERENCES country);
CREATE TABLE flag (id bit(4) PRIMARY KEY, issue char(6) REFERENCES issue ON DELETE CASCADE);
CREATE TABLE attachment (kind char(10), container char(6), file text);
INSERT INTO country VALUES ('abc'), ('abd');
INSERT INTO site VALUES ('aaa', 'abc'), ('aab', 'abd');
INSERT INTO issue (site_id, country) SELECT id, country FROM site, generate_series(1, 2) ORDER BY 1;
INSERT INTO flag SELECT ('1' || substr(id, 2, 1)::int::bit(3)::text)::bit(4), id FROM issue;
INSERT INTO attachment SELECT 'Issue', id, id FROM issue;
SELECT deletion_guard.set_tenant_table('site', 'id');
SELECT relation, tenant_source FROM deletion_guard.guard_schema('public', 'site_id') WHERE tenant_source IS NOT NULL ORDER BY relation::text;
SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "kind", "id": "container", "targets": {"Issue     ": "issue"}}]');
\! pg_dump -Fc -f "$ARCHIVE" -n public regress_dg_char_keys
-- The type counts whole.
DELETE FROM attachment;
SELECT relation, tenant, rows FROM deletion_guard.deletion_detail ORDER BY tenant;
SELECT tenant, restored FROM deletion_guard.undelete(1) ORDER BY tenant;
-- So do references to rows of nobody.
DELETE FROM attachment WHERE container IN (SELECT id FROM issue WHERE site_id = 'aaa');
DELETE FROM site WHERE id = 'aaa';
DELETE FROM country WHERE code = 'abc';
SELECT relation, tenant, restored FROM deletion_guard.rehydrate('aaa', :'archive', with_referenced => true) WHERE found > 0 ORDER BY relation::text;
SELECT relation, restored, problem FROM deletion_guard.rehydrate('aaa', :'archive', as_tenant => 'new', renumber => true,
	mapping => '{"public.flag": null}') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT site_id, i.id, country, file FROM issue i LEFT JOIN attachment ON kind = 'Issue' AND container = i.id ORDER BY 2;

\c :maintenance_db
DROP DATABASE regress_dg_char_keys;
\! rm -f "$ARCHIVE"
