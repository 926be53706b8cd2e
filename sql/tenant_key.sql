-- Tenants' keys that are too long for an index.
CREATE DATABASE regress_dg_tenant_key;
\set maintenance_db :DBNAME
\c regress_dg_tenant_key
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
SET deletion_guard.retention = '0';
\set VERBOSITY terse
CREATE FUNCTION long_key(salt text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(md5(salt || i), '') FROM generate_series(1, 100) i
$$;
CREATE TABLE page (id integer PRIMARY KEY, url text);
SELECT deletion_guard.guard_table('page', 'url');
INSERT INTO page VALUES (1, long_key('a')), (2, long_key('a')), (3, long_key('b')), (4, NULL);
DELETE FROM page;
SELECT tenants, rows FROM deletion_guard.deletion;
SELECT md5(tenant), rows FROM deletion_guard.deletion_detail ORDER BY 1 NULLS LAST;
SELECT id FROM deletion_guard.deleted_rows(NULL::page, long_key('a')) ORDER BY 1;
SELECT relation, restored FROM deletion_guard.undelete_tenant(long_key('b'));
SELECT id, url = long_key('b') AS same FROM page;
SELECT deletion_guard.hold_tenant(long_key('a'), 'a case') AS hold \gset
SELECT signing.sign(deletion_guard.request_purge(long_key('a'), 'x')) AS token \gset
SELECT deletion_guard.purge(:'token');  -- fails
SELECT deletion_guard.release_hold(:hold, signing.sign(jsonb_build_object('act', 'release_hold', 'aud', deletion_guard.audience(), 'hold', :hold)));
SELECT deletion_guard.purge(:'token')->'rows' AS rows;
SELECT id FROM deletion_guard.deleted_rows(NULL::page) ORDER BY 1;
-- The number by which they are found is made of the key, whoever writes it.
SELECT count(*) AS wrong FROM deletion_guard.deletion_part WHERE tenant_hash IS DISTINCT FROM hashtextextended(tenant, 0);
SELECT left(tenant, 7) AS tenant, tenant_hash = hashtextextended(tenant, 0) AS found FROM deletion_guard.deletion_part WHERE purged > 0;

\c :maintenance_db
DROP DATABASE regress_dg_tenant_key;
