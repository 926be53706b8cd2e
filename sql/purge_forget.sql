-- After a purge no table of the extension knows the tenant any more, and what other tenants have in the bin is whole.
CREATE DATABASE regress_dg_purge_forget;
\set maintenance_db :DBNAME
\c regress_dg_purge_forget
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
SET deletion_guard.retention = '0';

-- Keys that are personal data. Notes have no key, and lose their link to a topic that belongs to nobody's tenant alone.
CREATE TABLE account (email text PRIMARY KEY, name text, contact text);
CREATE TABLE topic (id integer PRIMARY KEY, account text);
CREATE TABLE topic_part (id integer, account text, topic_id integer REFERENCES topic ON DELETE SET NULL, body text,
	PRIMARY KEY (id, account)) PARTITION BY LIST (account);
CREATE TABLE topic_part_1 PARTITION OF topic_part FOR VALUES IN ('alice@wonder.example');
CREATE TABLE topic_part_2 PARTITION OF topic_part DEFAULT;
CREATE TABLE note (account text, topic_id integer REFERENCES topic ON DELETE SET NULL, body text);
SELECT deletion_guard.set_tenant_table('account', 'email', 'name', 'contact');
SELECT relation, problem FROM deletion_guard.guard_schema('public', 'account', false) WHERE problem IS NOT NULL;
SELECT deletion_guard.guard_table('account', 'email');
INSERT INTO account VALUES ('alice@wonder.example', 'Alice Liddell', 'alice@home.example'), ('bob@wonder.example', 'Bob', NULL);
INSERT INTO topic VALUES (11, 'alice@wonder.example'), (22, 'bob@wonder.example'), (33, 'alice@wonder.example');
INSERT INTO topic_part VALUES (1, 'alice@wonder.example', 11, 'Alice on rabbits'), (2, 'bob@wonder.example', 22, 'Bob on Bob'),
	(3, 'bob@wonder.example', 11, 'Bob on her topic');
INSERT INTO note VALUES ('alice@wonder.example', 22, 'note of Alice'), ('bob@wonder.example', 22, 'note of Bob');

-- Everything that the extension's tables say, but rows of the ledger that name roles only.
CREATE FUNCTION known(word text) RETURNS TABLE (found text) LANGUAGE plpgsql AS $$
DECLARE
	t regclass;
BEGIN
	FOR t IN SELECT oid FROM pg_class WHERE relkind = 'r'
		AND relnamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_bin'::regnamespace) ORDER BY oid::regclass::text
	LOOP
		RETURN QUERY EXECUTE format('SELECT %L || '': '' || count(*) FROM %s t WHERE t::text ~* %L HAVING count(*) > 0', t, t, word);
	END LOOP;
END
$$;

-- A deletion that was undone, one statement with rows and links of both, an open request, a hold.
DELETE FROM topic WHERE id = 33 AND account = 'alice@wonder.example';
SELECT relation, tenant, restored FROM deletion_guard.undelete(1);
SET deletion_guard.reason = 'Alice has asked for it';
SET deletion_guard.actor = 'liddell_the_clerk';
DELETE FROM topic WHERE id IN (11, 22);
RESET deletion_guard.reason;
SET deletion_guard.actor = 'liddell_herself';
SELECT deletion_guard.request_purge('alice@wonder.example', 'one of hers', ARRAY['topic'::regclass]) IS NOT NULL AS requested;
SELECT deletion_guard.hold_tenant('alice@wonder.example', 'Liddell against Hatter') AS hold \gset
SELECT deletion_guard.release_hold(:hold, signing.sign(jsonb_build_object('act', 'release_hold', 'aud', deletion_guard.audience(), 'hold', :hold)));
SELECT relation, key_columns, key_values, before, after FROM deletion_guard.deletion_link ORDER BY 1, 3;

-- She is live: her deleted rows go, and with them what quotes them; her key stays.
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('alice@wonder.example', 'topics'))) ->'rows' AS rows;
SELECT relation, key_values, before FROM deletion_guard.deletion_link ORDER BY 1, 2;
SELECT id, statement, reason FROM deletion_guard.deletion ORDER BY 1;
SELECT tenant, tenant_name, rows, purged FROM deletion_guard.deletion_detail ORDER BY deletion_id, 1;
SELECT deletion_guard.request_purge('alice@wonder.example', 'nothing is left');  -- fails
-- Now she goes as a whole. Her note, deleted in the end, was one whose link was lost before.
DELETE FROM note WHERE body = 'note of Alice';
DELETE FROM topic WHERE id = 33;
DELETE FROM topic_part WHERE account = 'alice@wonder.example';
DELETE FROM account WHERE email = 'alice@wonder.example';
SELECT * FROM known('alice|liddell');
SELECT deletion_guard.request_purge('alice@wonder.example', 'account closed') AS claims \gset
SELECT signing.sign(:'claims') AS token \gset
SELECT deletion_guard.purge(:'token')->'rows' AS rows;
SELECT * FROM known('alice|liddell(?!_the_clerk)|rabbits');
SELECT id, regexp_replace(actor, 'purged:[0-9a-f]{32}$', 'purged:(digest)') AS actor FROM deletion_guard.deletion ORDER BY 1;
-- Who knows her key can show what was done about it; the record of the purge has the same digest.
SELECT regexp_replace(d.tenant, ':.*', '') AS tenant, tenant_name, contact, count(*) AS parts, bool_and(d.tenant = 'purged:'
	|| encode(substr((SELECT sha256(salt || '20:alice@wonder.example,') FROM deletion_guard.purge_record WHERE purge_id = 2), 1, 16), 'hex')) AS digest
FROM deletion_guard.deletion_detail d WHERE tenant LIKE 'purged:%' GROUP BY 1, 2, 3;
SELECT id, rows, tenants, state, statement FROM deletion_guard.deletion ORDER BY id;
SELECT request_id, state, tenant LIKE 'purged:%' AS forgotten, tenant_name, reason, closed_by = tenant AS closed_by_the_purge
FROM deletion_guard.purge_request ORDER BY 1;
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L)', :'token'))).*;
SELECT ok, problem FROM deletion_guard.verify_ledger();
-- Bob has everything back.
SELECT relation, key_values, before FROM deletion_guard.deletion_link ORDER BY 1, 2;
SELECT relation, tenant, restored FROM deletion_guard.undelete_tenant('bob@wonder.example') ORDER BY 1;
SELECT * FROM topic ORDER BY id;
SELECT id, account, topic_id FROM topic_part ORDER BY id;
SELECT account, topic_id FROM note;

\c :maintenance_db
DROP DATABASE regress_dg_purge_forget;
