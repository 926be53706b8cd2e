-- One person of a tenant asks to be erased: some rows are purged, wherever they are in the bin.
CREATE DATABASE regress_dg_purge_rows;
\set maintenance_db :DBNAME
\c regress_dg_purge_rows
\getenv srcdir PG_ABS_SRCDIR
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/purge_rows.dump'
\setenv ARCHIVE :archive
\setenv PGDATABASE :DBNAME
\set signing :srcdir '/test/sql/signing.sql'
SET client_min_messages = warning;
\set VERBOSITY terse
SET timezone = 'UTC';
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
CREATE TABLE org (id int PRIMARY KEY, name text);
CREATE TABLE person (id int PRIMARY KEY, org int REFERENCES org ON DELETE CASCADE, name text, mail text);
CREATE TABLE issue (id bigint PRIMARY KEY, org int REFERENCES org ON DELETE CASCADE, author int REFERENCES person ON DELETE CASCADE, title text) PARTITION BY RANGE (id);
CREATE TABLE issue_1 PARTITION OF issue FOR VALUES FROM (0) TO (10);
CREATE TABLE issue_2 PARTITION OF issue FOR VALUES FROM (10) TO (100);
CREATE TABLE seen (issue bigint REFERENCES issue ON DELETE CASCADE, at timestamptz);
CREATE TABLE device (id int PRIMARY KEY, org int, person int REFERENCES person ON DELETE SET NULL, serial numeric(10,2));
SELECT deletion_guard.set_tenant_table('org', 'id', 'name');
SELECT deletion_guard.guard_table('org', 'id'), deletion_guard.guard_table('person', 'org'), deletion_guard.guard_table('issue', 'org'),
	deletion_guard.guard_table('seen', NULL, '{seen_issue_fkey}'), deletion_guard.guard_table('device', 'org');
INSERT INTO org VALUES (1, 'Acme'), (2, 'Birch');
INSERT INTO person SELECT n, 1 + n % 2, 'p' || n, 'p' || n || '@x.example' FROM generate_series(1, 8) n;
INSERT INTO issue SELECT n, 1 + n % 2, 1 + (n - 1) % 8, 'i' || n FROM generate_series(1, 40) n;
INSERT INTO seen SELECT 1 + n % 40, timestamptz '2026-01-01 12:00Z' + n * interval '1 hour' FROM generate_series(0, 79) n;
INSERT INTO device SELECT n, 1 + n % 2, n, n FROM generate_series(1, 8) n;
CREATE FUNCTION request(keys jsonb, tenant text = '1', deletions bigint[] = NULL, reason text = 'erasure') RETURNS jsonb LANGUAGE sql AS
	$$ SELECT deletion_guard.request_purge(tenant, reason, keys => keys, deletions => deletions) $$;
CREATE VIEW in_bin AS SELECT deletion_id, relation, tenant, rows, restored, purged FROM deletion_guard.deletion_detail ORDER BY deletion_id, relation::text COLLATE "C", tenant;
SET deletion_guard.retention = 0;
\! pg_dump -Fc -f "$ARCHIVE" -n public

-- The person is in the bin twice: an issue was deleted before the person was.
DELETE FROM issue WHERE id = 2;
DELETE FROM person WHERE id IN (2, 4);
SELECT * FROM in_bin;

-- What is not there, or nonsense
SELECT request(NULL); -- fails
SELECT request('{"person": [{"id": 99}]}'); -- fails
SELECT request('{"person": [{"id": 2}, {"id": 99}]}'); -- fails
SELECT request('{"person": [{"nothing": 2}]}'); -- fails
SELECT request('{"nowhere": [{"id": 2}]}'); -- fails
SELECT request('{"person": [{"id": 2}], "public.person": [{"id": 4}]}'); -- fails
SELECT request('{}'); -- fails
SELECT request('"person"'); -- fails
SELECT request('[]'); -- fails
SELECT request('{"person": [{"id": 3}]}'); -- fails: of another tenant
SELECT request('{"issue_1": [{"id": 2}]}'); -- fails: a partition
SELECT deletion_guard.request_purge('1', 'erasure', '{person}', keys => '{"person": [{"id": 2}]}'); -- fails
SELECT deletion_guard.request_purge('1', 'erasure', deletions => '{}'); -- fails
SELECT deletion_guard.request_purge('1', 'erasure', deletions => '{NULL}'); -- fails
SELECT deletion_guard.request_purge('1', 'erasure', deletions => '{99}'); -- fails
SELECT request('{"person": [{"id": 2}]}', deletions => '{1}'); -- fails: not by that deletion
SELECT request((SELECT jsonb_build_object('person', jsonb_agg(jsonb_build_object('id', n))) FROM generate_series(1, 1000) n)); -- fails

-- What refers to it is to be chosen, too, wherever it is.
\set VERBOSITY default
SELECT request('{"person": [{"id": 2}]}'); -- fails
SELECT request('{"person": [{"id": 2}], "issue": [{"author": "2"}]}'); -- fails
-- Live rows come first: one like it, of this tenant; others' do not count.
INSERT INTO person VALUES (2, 1, 'again', NULL), (9, 2, 'other', 'p2@x.example');
SELECT request('{"person": [{"id": 2}], "issue": [{"author": 2}], "seen": [{"issue": 2}, {"issue": 10}, {"issue": 18}, {"issue": 26}, {"issue": 34}]}'); -- fails
SELECT request('{"person": [{"id": 6}]}'); -- fails: only live
SELECT request('{"seen": [{"issue": 6}]}'); -- fails: live, by a path
\set VERBOSITY terse
DELETE FROM person WHERE name = 'again';

-- The request, its claims, and the plan.
SET client_min_messages = notice;
SELECT request('{"person": [{"mail": "p2@x.example"}, {"name": "again"}], "issue": [{"author": 2}], "seen": [{"issue": 2}, {"issue": 10}, {"issue": 18}, {"issue": 26}, {"issue": 34}]}',
	deletions => '{1, 2, 3}') AS claims \gset
SET client_min_messages = warning;
SELECT :'claims'::jsonb - 'digest' - 'aud' AS claims;
SELECT relation, deletion_id, rows_reviewed, rows_now, due FROM deletion_guard.purge_plan((:'claims'::jsonb->>'request')::bigint) ORDER BY 1, 2;
SELECT rows, tables, deletions, deletion_ids, keys FROM deletion_guard.purge_request;
-- Nobody changes what was signed.
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(:'claims'::jsonb - 'keys')));
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(:'claims'::jsonb - 'deletions')));
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(:'claims'::jsonb || '{"keys": "{\"public.person\": [{\"id\": 4}]}"}')));
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(:'claims'::jsonb || '{"deletions": "1, 2"}')));
SELECT signing.sign(:'claims') AS token \gset
-- A hold of the tenant forbids it.
SELECT deletion_guard.hold_tenant('1', 'lawsuit') AS hold \gset
SELECT split_part((deletion_guard.check_token(:'token')).problem, E'\n', 1) AS problem;
SELECT deletion_guard.release_hold(:hold, signing.sign(jsonb_build_object('act', 'release_hold', 'aud', deletion_guard.audience(), 'hold', :hold)));
-- It was put back meanwhile: all of it, or a live row like it.
BEGIN;
SELECT sum(restored) FROM deletion_guard.undelete(2, rows => '{"person": [{"id": 2}]}');
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', :'token'));
ROLLBACK;
BEGIN;
INSERT INTO person VALUES (22, 1, 'again', NULL);
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', :'token'));
ROLLBACK;
-- Of many settings
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SELECT ok, problem FROM deletion_guard.check_token(:'token');
SELECT deletion_guard.purge(:'token') AS certificate \gset
RESET datestyle;
SET timezone = 'UTC';
SELECT :'certificate'::jsonb->'rows' AS rows, jsonb_path_query_array(:'certificate', '$.tables[*].table') AS tables;
SELECT * FROM deletion_guard.verify_certificate(:'certificate');
SELECT (deletion_guard.check_token(:'token')).problem;
SELECT * FROM in_bin;
SELECT id, state, statement FROM deletion_guard.deletion ORDER BY 1;
SELECT request_id, state, tenant, reason, keys FROM deletion_guard.purge_request;
SELECT t FROM (SELECT row_to_json(x)::text t FROM deletion_guard.deletion_part x
	UNION ALL SELECT row_to_json(x)::text FROM deletion_guard.purge_request_record x
	UNION ALL SELECT row_to_json(x)::text FROM deletion_guard.purge_record x
	UNION ALL SELECT row_to_json(x)::text FROM deletion_guard.ledger x) all_of WHERE t ~ 'p2|again|erasure';
SELECT ok, problem FROM deletion_guard.verify_ledger();
SELECT check_name, object, detail FROM deletion_guard.verify() WHERE NOT ok AND check_name NOT IN ('preload', 'retention');
-- The link that was lost to the person went, too; the other's is there.
SELECT before, key_values FROM deletion_guard.deletion_link ORDER BY 1::text;
-- Known again, alone
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::person);
SELECT n, deletion_guard.purge_of(ROW(n, 1, 'x', 'y')::person) FROM generate_series(2, 4) n;

-- The rest comes back, and says what was purged.
SELECT * FROM deletion_guard.undelete(2) ORDER BY relation::text;
SELECT * FROM in_bin WHERE deletion_id = 2;
SELECT id FROM person ORDER BY 1;
SELECT id, person FROM device ORDER BY 1;
SELECT state FROM deletion_guard.deletion WHERE id = 2;

-- A backup does not bring the person back, until the purge is annulled by as many as purge.
SELECT relation, found, restored, identical, skipped, problem FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'skip') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT id FROM person WHERE id = 2 UNION ALL SELECT id FROM issue WHERE author = 2;
SELECT deletion_guard.annul_purge(1, signing.sign(jsonb_build_object('act', 'annul_purge', 'aud', deletion_guard.audience(), 'purge', 1)));
SELECT relation, found, restored, identical, skipped FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'skip') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT (SELECT count(*) FROM person WHERE id = 2) AS persons, (SELECT count(*) FROM issue WHERE author = 2) AS issues, (SELECT count(*) FROM seen) AS seen;

-- Without waiting for others: one row's retention is not over, another's is. Their own is waited for.
DELETE FROM device WHERE id = 2;
SET deletion_guard.retention = '30 days';
DELETE FROM device WHERE id IN (4, 6);
SET deletion_guard.retention = '-1';
DELETE FROM device WHERE id = 8;
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(deletion_guard.request_purge('1', 'all'))));
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(request('{"device": [{"id": 2}, {"id": 4}]}'))));
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(request('{"device": [{"id": 8}]}'))));
SELECT deletion_guard.purge(signing.sign(request('{"device": [{"serial": 2}]}')))->'rows' AS rows;
-- One more like it, deleted since: it must be reviewed.
SET deletion_guard.retention = 0;
INSERT INTO device VALUES (20, 1, NULL, 2), (21, 1, NULL, 2);
DELETE FROM device WHERE id = 20;
DELETE FROM device WHERE id = 21;
SELECT max(id) AS last, clock_timestamp() AS before FROM deletion_guard.deletion \gset
SELECT signing.sign(request('{"device": [{"serial": 2.00}]}')) AS token,
	signing.sign(deletion_guard.request_purge('1', 'by that deletion', deletions => ARRAY[:last])) AS deletion,
	signing.sign(deletion_guard.request_purge('1', 'until then', deleted_before => :'before', keys => '{"device": [{"serial": 2}]}')) AS past \gset
INSERT INTO device VALUES (22, 1, NULL, 2);
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', :'token'));
DELETE FROM device WHERE id = 22;
\set VERBOSITY default
SELECT problem FROM deletion_guard.check_token(:'token');
SELECT ok, problem FROM deletion_guard.check_token(:'past');
\set VERBOSITY terse
-- Of one deletion, all rows: what others had requested of them is void. Then two authorities, the rest.
SELECT deletion_guard.purge(:'deletion')->'rows' AS rows;
SELECT reason, state, keys FROM deletion_guard.purge_request WHERE state = 'open' OR reason = 'until then' ORDER BY request_id;
SELECT length(deletion_guard.add_authority('dpo', signing.make_key('dpo'), signing.sign(jsonb_build_object('act', 'add_authority', 'aud', deletion_guard.audience(), 'authority', 'dpo', 'fingerprint', deletion_guard.key_fingerprint(signing.public_key('dpo'))))));
SELECT deletion_guard.set_approvals(2);
SELECT request('{"device": [{"serial": 2}]}') AS claims, request('{"device": [{"id": 20}]}') AS other \gset
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L)', signing.sign(:'claims')));
SELECT * FROM signing.refusal(format('SELECT deletion_guard.purge(%L, %L)', signing.sign(:'claims'), signing.sign(:'other', 'dpo')));
SELECT deletion_guard.purge(signing.sign(:'claims'), signing.sign(:'claims', 'dpo'))->'rows' AS rows;
SELECT deletion_id, rows, restored, purged FROM in_bin WHERE relation::text = 'device' ORDER BY 1;
-- A request that is withdrawn keeps nobody's keys; nor does one of a tenant of whom nothing is left.
SELECT deletion_guard.withdraw_purge(request_id) FROM deletion_guard.purge_request WHERE state = 'open' AND keys->'public.device'->0 ? 'id';
SELECT state, keys, count(*) FROM deletion_guard.purge_request GROUP BY 1, 2 ORDER BY 1, 2;
SELECT ok, problem FROM deletion_guard.verify_ledger();

-- References without a foreign key: of a path, and of a pair of type and id.
CREATE TABLE file (id int PRIMARY KEY, kind text, of int);
CREATE TABLE thumb (id int PRIMARY KEY, file int);
SELECT deletion_guard.guard_table('file', tenant_path => '[{"type": "kind", "id": "of", "targets": {"Person": "person", "Device": "device", "None": null}}]'),
	deletion_guard.guard_table('thumb', tenant_path => '[{"columns": ["file"], "references": "file"}, {"type": "kind", "id": "of", "targets": {"Person": "person", "Device": "device"}}]');
INSERT INTO file VALUES (1, 'Person', 6), (2, 'Device', 6), (3, 'Person', 8), (4, 'None', 6);
INSERT INTO thumb VALUES (1, 1), (2, 2), (3, 3);
DELETE FROM thumb;
DELETE FROM file WHERE id <> 3;
DELETE FROM issue WHERE author = 6;
DELETE FROM person WHERE id = 6;
\set VERBOSITY default
SELECT request('{"person": [{"id": 6}]}'); -- fails
SELECT request('{"file": [{"id": 1}]}'); -- fails
-- A live row that only a purged one would tell the tenant of.
BEGIN;
DELETE FROM issue WHERE author = 8;
DELETE FROM person WHERE id = 8;
SELECT request('{"person": [{"id": 8}]}'); -- fails
ROLLBACK;
SET client_min_messages = notice;
\set VERBOSITY terse
SELECT request('{"person": [{"id": 6}], "file": [{"kind": "Person", "of": 6}], "thumb": [{"file": 1}], "issue": [{"author": 6}], "seen": [{"issue": 6}, {"issue": 14}, {"issue": 22}, {"issue": 30}, {"issue": 38}]}') AS claims \gset
SET client_min_messages = warning;
-- As the hint says
SELECT deletion_guard.purge(signing.sign(:'claims'), signing.sign(:'claims', 'dpo'))->'rows' AS rows;
SELECT deletion_guard.undelete(5); -- fails
INSERT INTO person VALUES (6, 1, 'nobody', NULL);
SELECT relation, restored, problem FROM deletion_guard.undelete(5);
DELETE FROM person WHERE id = 6;
SELECT * FROM device WHERE id = 6;

-- A table without a key, rows that are nobody's, a table that is gone, a bin that has shrunk.
CREATE TABLE keyless (org int, word text);
SELECT deletion_guard.guard_table('keyless', 'org');
INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (1, NULL), (NULL, 'x');
DELETE FROM keyless;
SELECT request('{"keyless": [{"word": "x"}]}')->'rows' AS rows;
SELECT request('{"keyless": [{"word": null}]}')->'rows' AS rows;
SELECT request('{"keyless": [{"org": null}]}'); -- fails: nobody's
SET deletion_guard.ddl = 'keep';
DROP TABLE keyless;
SELECT request('{"public.keyless": [{"word": "x"}]}') AS claims \gset
SELECT deletion_guard.purge(signing.sign(:'claims'), signing.sign(:'claims', 'dpo'))->'rows' AS rows;
SELECT rows, restored, purged FROM deletion_guard.deletion_detail WHERE relation IS NULL OR relation::text ~ 'keyless' ORDER BY 1;

-- Nobody tries out values that he may not read.
CREATE ROLE regress_dg_requester;
GRANT EXECUTE ON FUNCTION deletion_guard.request_purge TO regress_dg_requester;
GRANT SELECT ON issue TO regress_dg_requester;
SET ROLE regress_dg_requester;
SELECT deletion_guard.request_purge('1', 'peeping', keys => '{"public.person": [{"mail": "p4@x.example"}]}'); -- fails
SELECT deletion_guard.request_purge('1', 'peeping', keys => '{"public.keyless": [{"word": "x"}]}'); -- fails
SELECT deletion_guard.request_purge('1', 'not in the bin', keys => '{"public.issue": [{"id": 99}]}'); -- fails
RESET ROLE;
ALTER TABLE issue ENABLE ROW LEVEL SECURITY;
SET ROLE regress_dg_requester;
SELECT deletion_guard.request_purge('1', 'peeping', keys => '{"public.issue": [{"id": 99}]}'); -- fails
RESET ROLE;
DROP OWNED BY regress_dg_requester;
DROP ROLE regress_dg_requester;

\c :maintenance_db
DROP DATABASE regress_dg_purge_rows;
