-- A rehydration does not bring back what was purged, unless the purge was annulled.
CREATE DATABASE regress_dg_rehydrate_purged;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_purged
\getenv srcdir PG_ABS_SRCDIR
\getenv builddir PG_ABS_BUILDDIR
\set signing :srcdir '/test/sql/signing.sql'
\set tracker :srcdir '/test/sql/tracker.sql'
\set dir :builddir '/results/'
\set archive :dir 'purged.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\i :tracker
\set ECHO all
CREATE TABLE before AS SELECT * FROM everything;
\! pg_dump -Fc -f "${DIR}purged.dump" -n public
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal'))) > 0 AS added;
SET deletion_guard.retention = '0';

-- Of old rows of all sites, purged by their age, those of the sites asked for are known.
DELETE FROM file WHERE comment_id % 2 = 0;
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge_by_age('{file}', 'old'))) AS certificate \gset
SELECT :'certificate'::jsonb -> 'rows' AS rows, (SELECT count(DISTINCT tenant_digest) FROM deletion_guard.purged_key) AS sites;
SELECT tenant, found, restored, identical, skipped, problem FROM deletion_guard.rehydrate(ARRAY['1', '3'], :'archive')
WHERE relation = 'file'::regclass AND tenant IS NOT NULL ORDER BY tenant;
SELECT tenant, relation, found, restored, skipped FROM deletion_guard.rehydrate('2', :'archive', into_schema => 'look')
WHERE relation::text = 'look.file' AND tenant IS NOT NULL;
DROP SCHEMA look CASCADE;
SELECT deletion_guard.annul_purge((:'certificate'::jsonb ->> 'purge')::bigint, signing.sign(jsonb_build_object('act', 'annul_purge',
	'aud', deletion_guard.audience(), 'purge', :'certificate'::jsonb -> 'purge'))) IS NOT NULL AS annulled;
SELECT tenant, restored, skipped FROM deletion_guard.rehydrate(ARRAY['1', '2', '3'], :'archive')
WHERE relation = 'file'::regclass AND tenant IS NOT NULL ORDER BY tenant;
TABLE before EXCEPT TABLE everything;

-- Some rows of site 1 are deleted and purged, then all the rest is lost.
DELETE FROM file WHERE comment_id IN (SELECT id FROM comment WHERE issue_id <= 3);
DELETE FROM comment WHERE issue_id <= 3;
SET client_min_messages = error;
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('1', 'erasure'))) ->> 'purge' AS purge \gset
SELECT lose(1);
SELECT relation, tenant, found, restored, skipped, problem FROM deletion_guard.rehydrate('1', :'archive')
WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT relation, count(*) FROM (TABLE before EXCEPT TABLE everything) gone GROUP BY 1 ORDER BY 1;
-- The comparison knows that they are missing on purpose; rows that came again are live.
SELECT * FROM deletion_guard.compare_tenant('1', :'archive') ORDER BY relation::text;
SELECT tenant, matches, problem FROM deletion_guard.drill(:'archive', '{1}', left_out => 'report');
BEGIN;
INSERT INTO comment (id, issue_id, body) VALUES (1, 4, 'the key of a purged row');
SELECT relation, only_in_archive, only_live, different, purged FROM deletion_guard.compare_tenant('1', :'archive') WHERE relation = 'comment'::regclass;
ROLLBACK;
-- Nor into another schema; other sites' rows are not concerned.
SELECT relation, restored, skipped FROM deletion_guard.rehydrate('1', :'archive', into_schema => 'look') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT lose(2);
SELECT relation, restored, skipped, problem FROM deletion_guard.rehydrate('2', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
-- The purge was of the wrong rows.
SELECT deletion_guard.annul_purge(:purge, signing.sign(jsonb_build_object('act', 'annul_purge',
	'aud', deletion_guard.audience(), 'purge', :purge, 'reason', 'wrong rows'))) IS NOT NULL AS annulled;
SELECT relation, tenant, found, restored, skipped, problem FROM deletion_guard.rehydrate('1', :'archive')
WHERE tenant IS NOT NULL ORDER BY relation::text;
TABLE before EXCEPT TABLE everything;

-- A key whose text depends on settings is known again under others.
CREATE TABLE setting (site_id integer, relation regclass, since timestamptz, PRIMARY KEY (relation, since));
SELECT deletion_guard.guard_table('setting', 'site_id');
INSERT INTO setting VALUES (3, 'label', '2024-05-06 07:08:09+02');
DELETE FROM setting;
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('3', 'erasure', '{setting}'))) ->> 'purge' AS purge \gset
INSERT INTO setting VALUES (3, 'label', '2024-05-06 07:08:09+02');
SET search_path = pg_catalog;
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SELECT deletion_guard.purge_of(s) = :purge AS known FROM public.setting s;

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_purged;
\! rm -f "${DIR}purged.dump"
