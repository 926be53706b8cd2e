-- Purging what was deleted, under a token, from the request to the certificate.
CREATE DATABASE regress_dg_purge;
\set maintenance_db :DBNAME
\c regress_dg_purge
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
\set shop :srcdir '/test/sql/shop.sql'
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\i :shop
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));

SET deletion_guard.retention = '0';
DELETE FROM tenant WHERE id IN (1, 2);
DELETE FROM issue WHERE tenant_id = 3 AND id % 100 = 1;

-- The request shows what would go, and returns the claims.
SET client_min_messages = notice;
\set VERBOSITY terse
SELECT deletion_guard.request_purge('1', 'contract 4711 ended') AS claims \gset
RESET client_min_messages;
SET client_min_messages = warning;
\set VERBOSITY default
SELECT :'claims'::jsonb - 'digest' - 'aud' AS claims;
SELECT :'claims'::jsonb->>'aud' = deletion_guard.audience() AS aud,
	:'claims'::jsonb->>'digest' = (SELECT digest FROM deletion_guard.purge_request) AS digest;
SELECT relation, tenant_name, rows_reviewed, rows_now, due, on_hold FROM deletion_guard.purge_plan(1) ORDER BY 1;
SELECT request_id, state, tenant, tenant_name, reason, requested_by, rows, tables, deletions, on_hold, purge_id
FROM deletion_guard.purge_request;
SELECT request_id, deletion_id, relation, tenant, tenant_name, rows_reviewed, rows_now, due
FROM deletion_guard.purge_request_detail ORDER BY relation;

-- A role needs no more than EXECUTE.
CREATE ROLE regress_dg_purger;
GRANT EXECUTE ON FUNCTION deletion_guard.purge, deletion_guard.check_token TO regress_dg_purger;
SELECT signing.sign(:'claims') AS token \gset
SET ROLE regress_dg_purger;
SELECT ok, problem FROM deletion_guard.check_token(:'token');
SELECT deletion_guard.purge(:'token') AS certificate \gset
SELECT ok, problem FROM deletion_guard.verify_ledger();  -- fails
SELECT * FROM deletion_guard.purge_record;  -- fails
RESET ROLE;

-- The certificate: no personal data, and the ledger agrees with it.
SELECT key FROM jsonb_object_keys(:'certificate') key ORDER BY 1;
SELECT c->'purge' AS purge, c->'request' AS request, c->'rows' AS rows,
	c->>'plan_digest' = :'claims'::jsonb->>'digest' AS plan_digest, c->>'audience' = deletion_guard.audience() AS audience,
	(c->>'at')::timestamptz <= clock_timestamp() AS at
FROM (SELECT :'certificate'::jsonb) AS certificate(c);
SELECT t->>'table' AS table, t->'rows' AS rows, t->>'digest' ~ '^[0-9a-f]{64}$' AS digest
FROM jsonb_array_elements(:'certificate'::jsonb->'tables') t ORDER BY 1;
SELECT a->>'authority' AS authority, a->>'fingerprint' = deletion_guard.key_fingerprint(signing.public_key('legal')) AS fingerprint,
	length(a->>'token') AS token
FROM jsonb_array_elements(:'certificate'::jsonb->'approvals') a;
SELECT * FROM deletion_guard.verify_certificate(:'certificate');
SELECT * FROM deletion_guard.verify_certificate(:'certificate'::jsonb || '{"rows": 1}');
SELECT * FROM deletion_guard.verify_certificate(:'certificate'::jsonb || '{"purge": 99}');
SELECT * FROM deletion_guard.verify_certificate('[]');
SELECT * FROM deletion_guard.verify_certificate(NULL);
SELECT deletion_guard.purge_certificate(1) = :'certificate' AS same;
SELECT deletion_guard.purge_certificate(99);  -- fails
SELECT ok, problem FROM deletion_guard.verify_ledger();
SELECT id, event FROM deletion_guard.ledger WHERE id > 5 ORDER BY id;

-- The rows are gone from the bin, for this tenant only.
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue, '1');
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue, '2');
SELECT count(*) FROM issue WHERE tenant_id = 3;
SELECT id, statement, rows, tenants, state FROM deletion_guard.deletion ORDER BY id;
SELECT regexp_replace(tenant, '^purged:[0-9a-f]{32}$', 'purged:(digest)') AS tenant, tenant_name, contact, rows, restored, purged
FROM deletion_guard.deletion_part ORDER BY 1, rows;
SELECT state, tenant_name, reason, closed_by IS NOT NULL AS closed FROM deletion_guard.purge_request;
-- Nothing in the registries knows the tenant's name or contact any more.
SELECT t FROM (SELECT row_to_json(x)::text t FROM deletion_guard.deletion_record x
	UNION ALL SELECT row_to_json(x)::text FROM deletion_guard.deletion_part x
	UNION ALL SELECT row_to_json(x)::text FROM deletion_guard.purge_request_record x
	UNION ALL SELECT row_to_json(x)::text FROM deletion_guard.purge_record x
	UNION ALL SELECT row_to_json(x)::text FROM deletion_guard.ledger x) all_of
WHERE t ~* 'acme';

-- Keys are remembered as digests, in the table's key columns.
SELECT relation_name, key_columns, t.rows, sum(length(digests)) / 16 AS keys
FROM deletion_guard.purge_table t JOIN deletion_guard.purged_key USING (purge_id, table_no)
GROUP BY 1, 2, 3 ORDER BY 1;
-- They are reproducible: SHA-256 over salt and canonical text.
CREATE FUNCTION canonical(VARIADIC members text[]) RETURNS bytea LANGUAGE sql AS $$
	SELECT convert_to(string_agg(octet_length(m) || ':' || m || ',', '' ORDER BY n), 'UTF8')
	FROM unnest(members) WITH ORDINALITY AS x(m, n)
$$;
SELECT substr(sha256(salt || canonical('public.tenant', '1')), 1, 16) = digests AS key_digest,
	purge_record.tenant_digest = sha256(salt || canonical('1')) AS tenant_digest,
	sha256(salt || canonical('public.tenant', 'id', '1', 'name', 'Acme', 'email', 'boss@acme.example')) = t.digest AS row_digest
FROM deletion_guard.purge_record JOIN deletion_guard.purge_table t USING (purge_id)
	JOIN deletion_guard.purged_key USING (purge_id, table_no)
WHERE relation_name = 'public.tenant';
SELECT decode(:'claims'::jsonb->>'digest', 'hex') = sha256(canonical(VARIADIC
	ARRAY['deletion_guard plan 1', deletion_guard.audience(), '1', '1', 'Acme', '3']
	|| (SELECT array_agg(v ORDER BY d, p, o) FROM deletion_guard.purge_request_part q,
		LATERAL (VALUES (deletion_id, part, 1, deletion_id::text), (deletion_id, part, 2, part::text),
						(deletion_id, part, 3, relation_name), (deletion_id, part, 4, rows::text)) m(d, p, o, v)))) AS plan_digest;

-- Some tables, and up to a time
SELECT (deletion_guard.purge(signing.sign(deletion_guard.request_purge('2', 'project data', ARRAY['issue'::regclass]))))->'rows' AS rows;
SELECT b.relation, p.tenant_name, p.rows, p.purged FROM deletion_guard.deletion_part p JOIN deletion_guard.bin b USING (bin_id)
WHERE p.tenant = '2' ORDER BY 1;
SELECT clock_timestamp() AS before \gset
DELETE FROM issue WHERE tenant_id = 3 AND id % 100 = 2;
SELECT deletion_guard.request_purge('3', 'old issues', NULL, :'before') AS claims \gset
SELECT :'claims'::jsonb->'rows' AS rows;
SELECT (deletion_guard.purge(signing.sign(:'claims')))->'rows' AS rows;
SELECT deletion_id, rows, purged FROM deletion_guard.deletion_part WHERE tenant = '3' ORDER BY 1;
-- What is left of the second tenant; its name was known until now.
SELECT deletion_guard.request_purge('2', 'the rest') AS claims \gset
SELECT :'claims'::jsonb->>'tenant_name' AS name, :'claims'::jsonb->'rows' AS rows;
SELECT (deletion_guard.purge(signing.sign(:'claims')))->'rows' AS rows;
SELECT count(*) FROM deletion_guard.deletion_part WHERE tenant = '2' OR tenant_name IS NOT NULL;

-- Only deleted rows: a live tenant keeps what is live.
DELETE FROM project WHERE tenant_id = 3;
INSERT INTO project VALUES (31, 3, 'again');
SELECT (deletion_guard.purge(signing.sign(deletion_guard.request_purge('3', 'projects'))))->'rows' AS rows;
SELECT (SELECT count(*) FROM tenant WHERE id = 3) AS tenants, (SELECT count(*) FROM project) AS projects;

-- Tables that have changed since, or are gone, or have no key; values of all sorts
CREATE TABLE note (tenant_id integer, at timestamptz, amount float8, span interval, raw bytea, text text);
SELECT deletion_guard.guard_table('note', 'tenant_id');
INSERT INTO note VALUES (3, '2024-02-03 04:05:06+09', 0.1, '1 day 2 hours', '\x00ff', 'café'), (3, NULL, 'NaN', NULL, '', '');
DELETE FROM note WHERE text = '';
ALTER TABLE note RENAME COLUMN text TO body;
ALTER TABLE note ADD COLUMN id integer;
UPDATE note SET id = 7;
ALTER TABLE note ADD PRIMARY KEY (id);
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
DELETE FROM note;
SELECT (deletion_guard.purge(signing.sign(deletion_guard.request_purge('3', 'notes'))))->'rows' AS rows;
RESET timezone;
RESET datestyle;
SELECT purge_id, table_no, key_columns, rows FROM deletion_guard.purge_table WHERE relation_name = 'public.note' ORDER BY 1, 2;
SELECT digest = sha256(salt || canonical('public.note', 'tenant_id', '3', 'at', '2024-02-02 19:05:06+00', 'amount', '0.1',
	'span', '1 day 02:00:00', 'raw', '\x00ff', 'body', 'café', 'id', '7')) AS row_digest
FROM deletion_guard.purge_table JOIN deletion_guard.purge_record USING (purge_id) WHERE key_columns = '{id}' AND relation_name = 'public.note';

-- Rows that a backup brings back are known again, by the key that the table had then.
BEGIN;
INSERT INTO tenant VALUES (1, 'Somebody else', NULL), (9, 'Nine', NULL);
INSERT INTO note VALUES (3, '2024-02-02 19:05:06+00', 1, NULL, NULL, 'changed', 7),
	(3, NULL, 'NaN', NULL, '', '', 8), (3, NULL, 'NaN', NULL, '', 'x', 9);
SET LOCAL timezone = 'America/New_York';
SET LOCAL datestyle = 'German';
SELECT id, deletion_guard.purge_of(t) FROM tenant t ORDER BY 1;
SELECT id, deletion_guard.purge_of(n) FROM note n ORDER BY 1;
SELECT deletion_guard.purge_of(1);  -- fails
ROLLBACK;
BEGIN;
ALTER TABLE note DROP CONSTRAINT note_pkey;
ALTER TABLE note RENAME COLUMN id TO key;
INSERT INTO note (tenant_id, key) VALUES (3, 7);
SELECT deletion_guard.purge_of(n) FROM note n;  -- fails
ROLLBACK;

-- Links that a deletion took from rows that stayed go when nothing of it is left.
CREATE TABLE label (id integer PRIMARY KEY, tenant_id integer, project_id integer REFERENCES project ON DELETE SET NULL);
SELECT deletion_guard.guard_table('label', 'tenant_id');
INSERT INTO label VALUES (1, 3, 31);
DELETE FROM project WHERE id = 31;
SELECT relation, columns, before, after FROM deletion_guard.deletion_link;
SELECT (deletion_guard.purge(signing.sign(deletion_guard.request_purge('3', 'project'))))->'rows' AS rows;
SELECT count(*) FROM deletion_guard.deletion_link;

-- Two authorities
SELECT length(deletion_guard.add_authority('privacy', signing.make_key('privacy', 'es256'), signing.sign(jsonb_build_object(
	'act', 'add_authority', 'aud', deletion_guard.audience(), 'authority', 'privacy',
	'fingerprint', deletion_guard.key_fingerprint(signing.public_key('privacy'))))));
SELECT deletion_guard.set_approvals(2);
DELETE FROM tenant;
SELECT deletion_guard.request_purge('3', 'all of it') AS claims \gset
SELECT deletion_guard.request_purge('3', 'the tenant only', ARRAY['tenant'::regclass]) AS other \gset
SELECT deletion_guard.purge(signing.sign(:'claims'), signing.sign(:'other', 'privacy'));  -- fails: each agrees to something else
SELECT deletion_guard.purge(signing.sign(:'claims'), signing.sign(:'claims'::jsonb || '{"tenant": "2"}', 'privacy'));  -- fails
SELECT deletion_guard.purge(signing.sign(:'claims'), signing.sign(:'claims', 'privacy')) AS certificate \gset
SELECT jsonb_path_query_array(:'certificate', '$.approvals[*].authority') AS authorities;
SELECT ok, problem FROM deletion_guard.verify_certificate(:'certificate');
SELECT a.authority, a.act FROM deletion_guard.used_token a JOIN deletion_guard.purge_record p USING (ledger_id)
WHERE p.purge_id = (:'certificate'::jsonb->>'purge')::int ORDER BY 1;

-- A purge of the wrong rows is annulled, once, by as many.
SELECT deletion_guard.annul_purge(99);  -- fails
SELECT deletion_guard.annul_purge(1);  -- fails
SELECT jsonb_build_object('act', 'annul_purge', 'aud', deletion_guard.audience(), 'purge', 1) AS claims \gset
SELECT deletion_guard.annul_purge(1, signing.sign(:'claims'));  -- fails
SELECT deletion_guard.annul_purge(2, signing.sign(:'claims'), signing.sign(:'claims', 'privacy'));  -- fails
SELECT deletion_guard.annul_purge(1, signing.sign(:'claims'), signing.sign(:'claims', 'privacy'));
SELECT deletion_guard.annul_purge(1, signing.sign(:'claims'), signing.sign(:'claims', 'privacy'));  -- fails
SELECT purge_id, state, annulled_by IS NOT NULL AS annulled FROM deletion_guard.purge_record ORDER BY 1;
SELECT event, details FROM deletion_guard.ledger WHERE event <> 'refusal' ORDER BY id DESC LIMIT 1;
INSERT INTO tenant VALUES (1, 'Acme', NULL), (2, 'Birch', NULL);
SELECT id, deletion_guard.purge_of(t) FROM tenant t ORDER BY 1;

-- Requests can be withdrawn.
INSERT INTO tenant VALUES (4, 'Dill', NULL);
DELETE FROM tenant WHERE id = 4;
SELECT deletion_guard.request_purge('4', 'a mistake') AS claims \gset
SELECT deletion_guard.withdraw_purge((:'claims'::jsonb->>'request')::bigint);
SELECT deletion_guard.withdraw_purge((:'claims'::jsonb->>'request')::bigint);  -- fails
SELECT deletion_guard.withdraw_purge(99);  -- fails
SELECT state, tenant, rows FROM deletion_guard.purge_request ORDER BY request_id DESC LIMIT 1;
SELECT ok, problem FROM deletion_guard.verify_ledger();

DROP OWNED BY regress_dg_purger;
DROP ROLE regress_dg_purger;
\c :maintenance_db
DROP DATABASE regress_dg_purge;
