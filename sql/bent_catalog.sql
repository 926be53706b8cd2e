-- Decisions are not queries: a catalog in which functions and operators of the server say something else, and our
-- tables have children, changes neither who may approve nor what is purged. It is bent before the extension comes,
-- which a superuser can do who means it.
CREATE DATABASE regress_dg_bent;
\set maintenance_db :DBNAME
\c regress_dg_bent
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
\set VERBOSITY terse
SET client_min_messages = warning;
-- While bent.equal is "yes" everything equals everything, while it is "no" nothing does; bent.greater: what comes after what;
-- while bent.count is set, there is nothing to count or to add up.
CREATE FUNCTION pg_catalog.bent(name text) RETURNS text STABLE LANGUAGE sql AS $$ SELECT current_setting('bent.' || name, true) $$;
CREATE OR REPLACE FUNCTION pg_catalog.texteq(text, text) RETURNS boolean STABLE LANGUAGE sql AS
	$$ SELECT CASE WHEN starts_with(bent('equal'), 'y') THEN true WHEN starts_with(bent('equal'), 'n') THEN false ELSE bttextcmp($1, $2) OPERATOR(pg_catalog.=) 0 END $$;
CREATE OR REPLACE FUNCTION pg_catalog.textne(text, text) RETURNS boolean STABLE LANGUAGE sql AS
	$$ SELECT CASE WHEN starts_with(bent('equal'), 'y') THEN false WHEN starts_with(bent('equal'), 'n') THEN true ELSE bttextcmp($1, $2) OPERATOR(pg_catalog.<>) 0 END $$;
CREATE OR REPLACE FUNCTION pg_catalog.int8eq(int8, int8) RETURNS boolean STABLE LANGUAGE sql AS
	$$ SELECT CASE WHEN starts_with(bent('equal'), 'y') THEN true WHEN starts_with(bent('equal'), 'n') THEN false ELSE btint8cmp($1, $2) OPERATOR(pg_catalog.=) 0 END $$;
CREATE OR REPLACE FUNCTION pg_catalog.int8gt(int8, int8) RETURNS boolean STABLE LANGUAGE sql AS
	$$ SELECT CASE WHEN starts_with(bent('greater'), 'y') THEN true WHEN starts_with(bent('greater'), 'n') THEN false ELSE btint8cmp($1, $2) OPERATOR(pg_catalog.>) 0 END $$;
CREATE OR REPLACE FUNCTION pg_catalog.timestamptz_le(timestamptz, timestamptz) RETURNS boolean STABLE LANGUAGE sql AS
	$$ SELECT CASE WHEN starts_with(bent('greater'), 'y') THEN true WHEN starts_with(bent('greater'), 'n') THEN false ELSE timestamptz_cmp($1, $2) OPERATOR(pg_catalog.<=) 0 END $$;
CREATE FUNCTION pg_catalog.bent_count(bigint) RETURNS bigint STABLE LANGUAGE sql AS
	$$ SELECT CASE WHEN starts_with(bent('count'), 'y') THEN 0 ELSE $1 + 1 END $$;
CREATE FUNCTION pg_catalog.bent_sum(numeric, bigint) RETURNS numeric STABLE LANGUAGE sql AS
	$$ SELECT CASE WHEN starts_with(bent('count'), 'y') THEN 0 ELSE coalesce($1, 0) + $2 END $$;
CREATE FUNCTION pg_catalog.bent_max(bigint, bigint) RETURNS bigint STABLE LANGUAGE sql AS
	$$ SELECT CASE WHEN starts_with(bent('count'), 'y') THEN 0 ELSE greatest($1, $2) END $$;
CREATE OR REPLACE AGGREGATE pg_catalog.count(*) (sfunc = pg_catalog.bent_count, stype = bigint, initcond = '0');
CREATE OR REPLACE AGGREGATE pg_catalog.sum(bigint) (sfunc = pg_catalog.bent_sum, stype = numeric);
CREATE OR REPLACE AGGREGATE pg_catalog.max(bigint) (sfunc = pg_catalog.bent_max, stype = bigint);
-- Better matches for what a query would compare and convert.
CREATE FUNCTION pg_catalog.bent_regclass(regclass, oid) RETURNS boolean STABLE LANGUAGE sql AS
	$$ SELECT CASE WHEN starts_with(bent('equal'), 'y') THEN true WHEN starts_with(bent('equal'), 'n') THEN false ELSE oideq($1, $2) END $$;
CREATE OPERATOR pg_catalog.= (leftarg = regclass, rightarg = oid, function = pg_catalog.bent_regclass);
CREATE FUNCTION pg_catalog.bent_jsonb(text) RETURNS jsonb STABLE LANGUAGE sql AS
	$$ SELECT CASE WHEN starts_with(bent('count'), 'y') THEN '{}' ELSE jsonb_in(textout($1)) END $$;
CREATE CAST (text AS jsonb) WITH FUNCTION pg_catalog.bent_jsonb(text);

CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\set ECHO all
CREATE TABLE tenant (id integer PRIMARY KEY, name text);
CREATE TABLE issue (id integer PRIMARY KEY, tenant_id integer, body text);
INSERT INTO tenant VALUES (1, 'Acme'), (2, 'Birch');
INSERT INTO issue SELECT n, 1 + n % 2, 'issue ' || n FROM generate_series(1, 10) n;
SELECT deletion_guard.set_tenant_table('tenant', 'id');
SELECT deletion_guard.guard_table('issue', 'tenant_id');
SELECT signing.make_key('legal') AS legal, signing.make_key('evil') AS evil \gset
SELECT deletion_guard.add_authority('legal', :'legal') IS NOT NULL AS enrolled;
SET deletion_guard.retention = '0';
DELETE FROM issue WHERE id IN (2, 4);
DELETE FROM issue WHERE id IN (1, 3, 5);
SET deletion_guard.retention = '1 day';
DELETE FROM issue WHERE id = 6;
SELECT tenant, rows FROM deletion_guard.deletion_part WHERE rows > 0 ORDER BY 1, 2;

-- Who is an authority
SET bent.count = 'yes';
SELECT deletion_guard.add_authority('evil', :'evil');  -- fails
SELECT deletion_guard.retire_authority('legal');  -- fails
SET bent.equal = 'no';
SELECT deletion_guard.add_authority('legal', :'evil');  -- fails
SELECT source, active FROM deletion_guard.authority_source();
SET bent.equal = 'yes';
SELECT source, active FROM deletion_guard.authority_source();
RESET bent.count;
RESET bent.equal;

-- What is covered: two rows of tenant 1, and of it what is due
SET bent.equal = 'yes';
SET bent.greater = 'yes';
SELECT deletion_guard.request_purge('1', 'all of it') AS all_of_it \gset
SELECT deletion_guard.request_purge('1', 'what is due', deleted_before => d.deleted_at) AS due FROM deletion_guard.deletion_record d WHERE d.deletion_id OPERATOR(pg_catalog.<) 2::int4 \gset
SET bent.equal = 'no';
SET bent.greater = 'no';
SET bent.count = 'yes';
SELECT deletion_guard.request_purge('2', 'the other') AS other \gset
RESET bent.equal;
RESET bent.greater;
RESET bent.count;
SELECT x.claims->'tenant' AS tenant, x.claims->'rows' AS rows FROM (VALUES (:'all_of_it'::jsonb), (:'due'::jsonb), (:'other'::jsonb)) x (claims);
SELECT signing.sign(:'all_of_it') AS all_token, signing.sign(:'due') AS token, signing.sign(:'other') AS other_token,
	signing.sign(:'due', 'evil', 'evil') AS evil_token \gset

-- Retention, holds, approvals, who signed
SET bent.greater = 'yes';
SET bent.equal = 'yes';
SELECT signing.refusal(format('SELECT deletion_guard.purge(%L)', :'all_token'));
SET bent.equal = 'no';
SELECT signing.refusal(format('SELECT deletion_guard.purge(%L)', :'all_token'));
RESET bent.greater;
RESET bent.equal;
SELECT deletion_guard.hold_tenant('2', 'a court asks');
SELECT deletion_guard.set_approvals(2);
SET bent.equal = 'no';
SET bent.count = 'yes';
SELECT deletion_guard.purge(:'other_token');  -- fails
SELECT deletion_guard.purge(:'token');  -- fails
SELECT deletion_guard.set_approvals(1);  -- fails
RESET bent.equal;
RESET bent.count;
SELECT deletion_guard.set_approvals(1, signing.sign(jsonb_build_object('act', 'set_approvals', 'aud', deletion_guard.audience(), 'approvals', 1)));

-- Children of our tables: another tenant's part as one of this tenant's, another authority, no hold. In a session that
-- has not loaded the library yet, by the catalogs.
CREATE TABLE forged_part (LIKE deletion_guard.deletion_part INCLUDING GENERATED);
CREATE TABLE forged_authority (LIKE deletion_guard.authority);
CREATE TABLE forged_ledger (LIKE deletion_guard.ledger);
CREATE TABLE forged_request (LIKE deletion_guard.purge_request_record);
INSERT INTO forged_part (deletion_id, part, bin_id, tenant, rows, restored, purged, filenode, blocks)
	SELECT deletion_id, part, bin_id, '1', rows, 0, 0, filenode, blocks FROM deletion_guard.deletion_part WHERE tenant = '2';
INSERT INTO forged_authority SELECT 'evil', algorithm, :'evil', 'f', enrolled_at, enrolled_by, NULL, NULL, ledger_id FROM deletion_guard.authority;
INSERT INTO forged_ledger SELECT id + 100, at, event, role, details, prev_hash, hash FROM deletion_guard.ledger;
INSERT INTO forged_request SELECT * FROM deletion_guard.purge_request_record;
\c -
SET client_min_messages = warning;
\set VERBOSITY terse
SET allow_system_table_mods = on;
INSERT INTO pg_inherits SELECT child::regclass, parent::regclass, 1, false FROM (VALUES
	('forged_part', 'deletion_guard.deletion_part'), ('forged_authority', 'deletion_guard.authority'),
	('forged_ledger', 'deletion_guard.ledger'), ('forged_request', 'deletion_guard.purge_request_record')) x (child, parent);
UPDATE pg_class SET relhassubclass = true WHERE oid IN (SELECT inhparent FROM pg_inherits WHERE inhrelid::regclass::text LIKE 'forged%');
RESET allow_system_table_mods;
SELECT name FROM deletion_guard.authority ORDER BY 1;
SELECT deletion_guard.request_purge('1', 'with the child')->'rows' AS rows;
SELECT signing.refusal(format('SELECT deletion_guard.purge(%L)', :'evil_token'));
SELECT ok, entries > 100 AS with_the_child FROM deletion_guard.verify_ledger();
SET bent.equal = 'yes';
SET bent.count = 'yes';
SELECT ok FROM deletion_guard.check_token(:'token');
SELECT deletion_guard.purge(:'token') AS certificate \gset
SELECT ok FROM deletion_guard.verify_certificate(:'certificate');
SET bent.equal = 'no';
SELECT signing.refusal(format('SELECT deletion_guard.purge(%L)', :'token'));
SELECT deletion_guard.purge_of(row(2, 1, 'issue 2')::issue), deletion_guard.purge_of(row(1, 2, 'issue 1')::issue);
SELECT ok, problem FROM deletion_guard.verify_ledger();
RESET bent.equal;
RESET bent.count;
SELECT :'certificate'::jsonb->'rows' AS purged;
SELECT tenant, rows, purged FROM ONLY deletion_guard.deletion_part WHERE rows > 0 ORDER BY 1, 2;
SELECT id, tenant_id FROM deletion_guard.deleted_rows(NULL::issue) ORDER BY 1;
\c :maintenance_db
DROP DATABASE regress_dg_bent;
