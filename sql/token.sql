-- Tokens that are refused: each with an SQLSTATE, what is wrong and what to do, and nothing changes.
CREATE DATABASE regress_dg_token;
\set maintenance_db :DBNAME
\c regress_dg_token
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
\set shop :srcdir '/test/sql/shop.sql'
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\i :shop
\set ECHO all
SELECT length(signing.make_key('legal')), length(signing.make_key('privacy', 'es256')),
	length(signing.make_key('stranger')), length(signing.make_key('stranger2', 'es256'));
SELECT deletion_guard.audience() LIKE 'deletion\_guard:%:regress\_dg\_token' AS audience;
SELECT length(deletion_guard.add_authority('legal', signing.public_key('legal')));
SELECT length(deletion_guard.add_authority('privacy', signing.public_key('privacy'),
	signing.sign(jsonb_build_object('act', 'add_authority', 'aud', deletion_guard.audience(), 'authority', 'privacy',
									'fingerprint', deletion_guard.key_fingerprint(signing.public_key('privacy'))))));

SET deletion_guard.retention = '0';
DELETE FROM tenant WHERE id = 1;
SELECT deletion_guard.request_purge('1', 'contract ended') AS claims \gset
SELECT jsonb_object_keys(:'claims') AS claim ORDER BY 1;

CREATE TABLE bad (n serial, what text, token text);
\set header '{"alg":"EdDSA","kid":"legal"}'
INSERT INTO bad (what, token) VALUES
	('empty', ''),
	('null', NULL),
	('a megabyte', repeat('A', 1048576)),
	('a megabyte of dots', repeat('.', 1048576)),
	('a word', 'token'),
	('two parts', 'a.b'),
	('four parts', signing.sign_raw(:'header', '{}') || '.x'),
	('not base64', '!!!.???.$$$'),
	('padded base64', 'e30=.e30=.AAAA'),
	('header is not JSON', signing.sign_raw('header', signing.timed(:'claims')::text)),
	('payload is not JSON', signing.sign_raw(:'header', 'payload')),
	('payload is an array', signing.sign_raw(:'header', '[]')),
	('bytes after the payload', signing.sign_raw(:'header', signing.timed(:'claims')::text || '{}')),
	('no kid', signing.sign_raw('{"alg":"EdDSA"}', signing.timed(:'claims')::text)),
	('kid is a path', signing.sign_raw('{"alg":"EdDSA","kid":"../legal"}', signing.timed(:'claims')::text)),
	('kid twice', signing.sign_raw('{"alg":"EdDSA","kid":"legal","kid":"privacy"}', signing.timed(:'claims')::text)),
	('key in the header', signing.sign_raw('{"alg":"EdDSA","kid":"legal","jwk":{"kty":"OKP"}}', signing.timed(:'claims')::text)),
	('critical extension', signing.sign_raw('{"alg":"EdDSA","kid":"legal","crit":["x"]}', signing.timed(:'claims')::text)),
	('authority in another case', signing.sign_raw('{"alg":"EdDSA","kid":"Legal"}', signing.timed(:'claims')::text)),
	('unknown authority', signing.sign(:'claims', 'stranger')),
	('alg none', signing.sign_raw('{"alg":"none","kid":"legal"}', signing.timed(:'claims')::text, 'legal', 'none')),
	('alg none with a signature', signing.sign_raw('{"alg":"none","kid":"legal"}', signing.timed(:'claims')::text)),
	('HS256 over the public key', signing.sign_raw('{"alg":"HS256","kid":"legal"}', signing.timed(:'claims')::text, 'legal', 'hmac')),
	('HS256 said to be EdDSA', signing.sign_raw(:'header', signing.timed(:'claims')::text, 'legal', 'hmac')),
	('ES256 said by an Ed25519 key', signing.sign_raw('{"alg":"ES256","kid":"legal"}', signing.timed(:'claims')::text)),
	('no signature', signing.sign_raw(:'header', signing.timed(:'claims')::text, 'legal', 'none')),
	('signed by another key', signing.sign(:'claims', 'legal', 'stranger')),
	('signed by another ES256 key', signing.sign(:'claims', 'privacy', 'stranger2')),
	('duplicate claims', signing.sign_raw(:'header', replace(signing.timed(:'claims')::text, '"rows":', '"rows": 1, "rows":'))),
	('a claim too many', signing.sign_raw(:'header', (signing.timed(:'claims') || '{"also": 1}')::text)),
	('a claim too few', signing.sign_raw(:'header', (signing.timed(:'claims') - 'digest')::text)),
	('no jti', signing.sign_raw(:'header', (signing.timed(:'claims') - 'jti')::text)),
	('no exp', signing.sign_raw(:'header', (signing.timed(:'claims') - 'exp')::text)),
	('rows as text', signing.sign_raw(:'header', (signing.timed(:'claims') || '{"rows": "13"}')::text)),
	('a fraction', signing.sign_raw(:'header', replace(signing.timed(:'claims')::text, '"rows": ', '"rows": 0.'))),
	('unknown act', signing.sign_raw(:'header', (signing.timed(:'claims') || '{"act": "drop"}')::text)),
	('another act', signing.sign(jsonb_build_object('act', 'annul_purge', 'aud', deletion_guard.audience(), 'purge', 1))),
	('another database', signing.sign((:'claims'::jsonb || '{"aud": "deletion_guard:1:regress_dg_token"}'))),
	('no database', signing.sign((:'claims'::jsonb || '{"aud": "deletion_guard"}'))),
	('expired', signing.sign((:'claims'::jsonb || '{"iat": 1600000000, "nbf": 1600000000, "exp": 1600000600}'))),
	('in the future', signing.sign((:'claims'::jsonb || '{"iat": 4100000000, "nbf": 4100000000, "exp": 4100000600}'))),
	('not yet', signing.sign((:'claims'::jsonb || '{"nbf": 4100000000, "exp": 4100000600}'))),
	('expired before it began', signing.sign((:'claims'::jsonb || '{"nbf": 4100000000, "exp": 4000000000}')));
-- One character changed in each part of a good token
INSERT INTO bad (what, token)
SELECT 'changed in part ' || part, overlay(token PLACING translate(substr(token, at, 1), 'ABCDEFabcdef0123', 'BCDEFAbcdefa1230') || '' FROM at FOR 1)
FROM signing.sign(:'claims') token, LATERAL (
	SELECT part, (SELECT min(i) FROM generate_series(length(token) * (part - 1) / 4 + 20, length(token)) i
				  WHERE substr(token, i, 1) ~ '[A-Fa-f0-3]' AND length(replace(left(token, i), '.', '')) = i - (part - 1)) AS at
	FROM generate_series(1, 3) part) p
WHERE at IS NOT NULL;

SELECT signing.state() AS before \gset
SELECT what, (signing.refusal(format('SELECT deletion_guard.purge(%L)', token))).* FROM bad ORDER BY n;
SELECT signing.state() = :'before' AS nothing_changed;
-- check_token() says the same and raises nothing.
SELECT what, ok, split_part(problem, E'\n', 1) AS problem, claims IS NOT NULL AS claims
FROM bad, deletion_guard.check_token(token) ORDER BY n;
-- All of it, of one
SELECT deletion_guard.purge(signing.sign(:'claims', 'legal', 'stranger'));  -- fails

-- How tokens are given
\set VERBOSITY terse
SELECT deletion_guard.purge();  -- fails
\set VERBOSITY default
SELECT deletion_guard.purge(VARIADIC NULL);  -- fails
SELECT deletion_guard.purge(VARIADIC '{}');  -- fails
SELECT deletion_guard.purge(VARIADIC array_fill('x'::text, ARRAY[17]));  -- fails
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L, NULL)', signing.sign(:'claims')))).*;
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L, %1$L)', signing.sign(:'claims')))).*;
SELECT (signing.refusal(format('SELECT deletion_guard.purge(%L, %L)', signing.sign(:'claims'), token))).* FROM bad WHERE what = 'expired';
SELECT signing.state() = :'before' AS nothing_changed;

-- Clocks may differ a little.
SET deletion_guard.clock_skew = 100;
SELECT ok, problem FROM deletion_guard.check_token(signing.sign(:'claims'::jsonb
	|| (SELECT jsonb_build_object('iat', n - 200, 'nbf', n - 200, 'exp', n - 50) FROM CAST(extract(epoch FROM clock_timestamp()) AS bigint) n)));
SELECT ok, problem FROM deletion_guard.check_token(signing.sign(:'claims'::jsonb
	|| (SELECT jsonb_build_object('iat', n + 50, 'nbf', n + 50, 'exp', n + 200) FROM CAST(extract(epoch FROM clock_timestamp()) AS bigint) n)));
SET deletion_guard.clock_skew = 10;
SELECT ok, split_part(problem, E'\n', 1) FROM deletion_guard.check_token(signing.sign(:'claims'::jsonb
	|| (SELECT jsonb_build_object('iat', n - 200, 'nbf', n - 200, 'exp', n - 50) FROM CAST(extract(epoch FROM clock_timestamp()) AS bigint) n)));
RESET deletion_guard.clock_skew;

-- ES256 is as good as Ed25519.
SELECT signing.sign(:'claims', 'privacy') AS token \gset
SELECT ok, problem, claims @> :'claims' AS claims FROM deletion_guard.check_token(:'token');
BEGIN;
SELECT (deletion_guard.purge(:'token'))->'rows' AS rows;
-- The same jti of the same authority is used up, also within the transaction.
SELECT ok, split_part(problem, E'\n', 1) AS problem FROM deletion_guard.check_token(:'token');
ROLLBACK;
-- What was rolled back was not used.
SELECT ok, problem FROM deletion_guard.check_token(:'token');
-- Two authorities may choose the same jti.
SELECT signing.sign(:'claims'::jsonb || '{"jti": "1"}', 'privacy') AS token2 \gset
SET deletion_guard.approvals = 2;
SELECT (deletion_guard.purge(signing.sign(:'claims'::jsonb || '{"jti": "1"}'), :'token2'))->'rows' AS rows;
SELECT authority, jti, act FROM deletion_guard.used_token WHERE act = 'purge' ORDER BY 1;

\c :maintenance_db
DROP DATABASE regress_dg_token;
