-- Authorities: enrolling and retiring them, and how many must agree.
CREATE DATABASE regress_dg_authority;
\set maintenance_db :DBNAME
\c regress_dg_authority
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
\set ECHO none
\i :signing
\set ECHO all
CREATE EXTENSION deletion_guard;
SELECT length(signing.make_key('legal')), length(signing.make_key('privacy', 'es256')),
	length(signing.make_key('spare')), length(signing.make_key('stranger'));

-- What cannot be enrolled
SELECT deletion_guard.add_authority('', signing.public_key('legal'));  -- fails
SELECT deletion_guard.add_authority('a b', signing.public_key('legal'));  -- fails
SELECT deletion_guard.add_authority('.legal', signing.public_key('legal'));  -- fails
SELECT deletion_guard.add_authority('legal', NULL);  -- fails
SELECT deletion_guard.add_authority('legal', '');  -- fails
SELECT deletion_guard.add_authority('legal', 'not a key');  -- fails
SELECT deletion_guard.add_authority('legal', private_key) FROM signing.key WHERE name = 'legal';  -- fails
SELECT deletion_guard.add_authority('legal', '{"kty":"oct","k":"AAAA"}');  -- fails
SELECT deletion_guard.add_authority('legal', repeat('x', 100000));  -- fails
SELECT count(*) FROM deletion_guard.authority;

-- The first is enrolled by the extension's owner, not by whoever may call the function.
CREATE ROLE regress_dg_clerk;
GRANT EXECUTE ON FUNCTION deletion_guard.add_authority TO regress_dg_clerk;
SELECT signing.public_key('legal') AS key \gset
SET ROLE regress_dg_clerk;
SELECT deletion_guard.add_authority('legal', :'key');  -- fails
RESET ROLE;
SELECT deletion_guard.add_authority('legal', :'key') = deletion_guard.key_fingerprint(:'key') AS enrolled;
SELECT name, algorithm, public_key = :'key' AS as_given, enrolled_by, retired_at FROM deletion_guard.authority;

-- A name and a key are enrolled once; the second takes a token of the first, made for that very key.
SELECT deletion_guard.audience() AS aud \gset
SELECT deletion_guard.add_authority('privacy', signing.public_key('privacy'));  -- fails
SELECT jsonb_build_object('act', 'add_authority', 'aud', :'aud', 'authority', 'privacy',
						  'fingerprint', deletion_guard.key_fingerprint(signing.public_key('privacy'))) AS claims \gset
SELECT signing.sign(:'claims') AS token \gset
SELECT deletion_guard.add_authority('privacy', signing.public_key('stranger'), :'token');  -- fails
SELECT deletion_guard.add_authority('stranger', signing.public_key('privacy'), :'token');  -- fails
SELECT ok, problem FROM deletion_guard.check_token(:'token');
SELECT signing.public_key('privacy') AS key2 \gset
SET ROLE regress_dg_clerk;
SELECT length(deletion_guard.add_authority('privacy', :'key2', :'token'));
RESET ROLE;
SELECT deletion_guard.add_authority('privacy', :'key2', :'token');  -- fails
SELECT ok, problem FROM deletion_guard.check_token(:'token');
SELECT signing.sign(jsonb_build_object('act', 'add_authority', 'aud', :'aud', 'authority', 'privacy2',
									   'fingerprint', deletion_guard.key_fingerprint(:'key2'))) AS token \gset
SELECT deletion_guard.add_authority('privacy2', :'key2', :'token');  -- fails
SELECT name, algorithm FROM deletion_guard.authority ORDER BY 1;

-- Asking for more approvals needs none, asking for fewer does.
SELECT deletion_guard.set_approvals(0);  -- fails
SELECT deletion_guard.set_approvals(2);
SELECT deletion_guard.set_approvals(1);  -- fails
SELECT signing.sign(jsonb_build_object('act', 'set_approvals', 'aud', :'aud', 'approvals', 1)) AS one,
	signing.sign(jsonb_build_object('act', 'set_approvals', 'aud', :'aud', 'approvals', 1), 'privacy') AS two,
	signing.sign(jsonb_build_object('act', 'set_approvals', 'aud', :'aud', 'approvals', 1)) AS one_again \gset
SELECT deletion_guard.set_approvals(1, :'one');  -- fails
SELECT deletion_guard.set_approvals(1, :'one', :'one_again');  -- fails
SELECT deletion_guard.set_approvals(1, :'one', :'two');
SELECT approvals FROM deletion_guard.approval_policy;
BEGIN;
SET LOCAL deletion_guard.approvals = 2;
SELECT deletion_guard.set_approvals(1, signing.sign(jsonb_build_object('act', 'set_approvals', 'aud', :'aud', 'approvals', 1)),
	signing.sign(jsonb_build_object('act', 'set_approvals', 'aud', :'aud', 'approvals', 1), 'privacy'));
ROLLBACK;
-- A name that is taken
SELECT deletion_guard.add_authority('privacy', signing.public_key('stranger'), signing.sign(jsonb_build_object('act', 'add_authority', 'aud', :'aud',
	'authority', 'privacy', 'fingerprint', deletion_guard.key_fingerprint(signing.public_key('stranger')))));  -- fails
-- What the setting has asked for once stays, whoever lowers the setting.
SET deletion_guard.approvals = 2;
SELECT signing.sign(jsonb_build_object('act', 'add_authority', 'aud', :'aud', 'authority', 'spare',
		'fingerprint', deletion_guard.key_fingerprint(signing.public_key('spare')))) AS one,
	signing.sign(jsonb_build_object('act', 'add_authority', 'aud', :'aud', 'authority', 'spare',
		'fingerprint', deletion_guard.key_fingerprint(signing.public_key('spare'))), 'privacy') AS two \gset
SELECT deletion_guard.add_authority('spare', signing.public_key('spare'), :'one');  -- fails
SELECT length(deletion_guard.add_authority('spare', signing.public_key('spare'), :'one', :'two'));
RESET deletion_guard.approvals;
SELECT approvals FROM deletion_guard.approval_policy;

-- Retiring
SELECT deletion_guard.retire_authority('nobody');  -- fails
SELECT deletion_guard.retire_authority('spare');  -- fails
SELECT signing.sign(jsonb_build_object('act', 'retire_authority', 'aud', :'aud', 'authority', 'spare')) AS one,
	signing.sign(jsonb_build_object('act', 'retire_authority', 'aud', :'aud', 'authority', 'spare'), 'privacy') AS two \gset
SELECT deletion_guard.retire_authority('spare', :'one');  -- fails
SELECT deletion_guard.retire_authority('legal', :'one', :'two');  -- fails
SELECT deletion_guard.retire_authority('spare', :'one', :'two');
SELECT deletion_guard.retire_authority('spare', :'one', :'two');  -- fails
SELECT ok, problem FROM deletion_guard.check_token(signing.sign(jsonb_build_object('act', 'retire_authority', 'aud', :'aud', 'authority', 'legal'), 'spare'));
SELECT deletion_guard.add_authority('spare', signing.public_key('stranger'), :'one');  -- fails
-- The last one stays.
SELECT signing.sign(jsonb_build_object('act', 'retire_authority', 'aud', :'aud', 'authority', 'privacy')) AS one,
	signing.sign(jsonb_build_object('act', 'retire_authority', 'aud', :'aud', 'authority', 'privacy'), 'privacy') AS two \gset
SELECT deletion_guard.retire_authority('privacy', :'one', :'two');
SELECT deletion_guard.retire_authority('legal', signing.sign(jsonb_build_object('act', 'retire_authority', 'aud', :'aud', 'authority', 'legal')));  -- fails
SELECT name, retired_at IS NOT NULL AS retired, retired_by FROM deletion_guard.authority ORDER BY 1;
SELECT event, details FROM deletion_guard.ledger WHERE event NOT IN ('add_authority', 'refusal') ORDER BY id;
SELECT ok, problem FROM deletion_guard.verify_ledger();

-- Not by hand, for anybody
INSERT INTO deletion_guard.authority SELECT 'mine', algorithm, public_key, 'x', now(), 'me', NULL, NULL, 0 FROM deletion_guard.authority LIMIT 1;  -- fails
UPDATE deletion_guard.authority SET retired_at = NULL;  -- fails
DELETE FROM deletion_guard.used_token;  -- fails
TRUNCATE deletion_guard.approval_policy;  -- fails

DROP OWNED BY regress_dg_clerk;
DROP ROLE regress_dg_clerk;
\c :maintenance_db
DROP DATABASE regress_dg_authority;
