/*
 * Authorities: the parties whose signed tokens purge() accepts.
 *
 * The database knows public keys only. A name or a key that was ever enrolled
 * is never enrolled again, so that a token keeps meaning what it meant.
 */
CREATE TABLE deletion_guard.authority
(
	name text COLLATE "C" PRIMARY KEY,
	algorithm text NOT NULL,
	public_key text NOT NULL,			-- PEM, SubjectPublicKeyInfo
	fingerprint text COLLATE "C" NOT NULL UNIQUE,	-- SHA-256 of its DER form, hex
	enrolled_at timestamptz NOT NULL,
	enrolled_by text NOT NULL,
	retired_at timestamptz,
	retired_by text,
	ledger_id bigint NOT NULL			-- of its last entry
) USING heap;

-- How many authorities must agree at least; at most one row.
CREATE TABLE deletion_guard.approval_policy
(
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	approvals integer NOT NULL CHECK (approvals > 0)
) USING heap;

-- Tokens that were used. Kept for ever: a token must not come back to life with
-- a clock that goes backwards.
CREATE TABLE deletion_guard.used_token
(
	authority text COLLATE "C",
	jti text COLLATE "C",
	act text NOT NULL,
	used_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	ledger_id bigint NOT NULL,
	PRIMARY KEY (authority, jti)
) USING heap;

SELECT pg_catalog.pg_extension_config_dump('deletion_guard.authority', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.approval_policy', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.used_token', '');

CREATE FUNCTION deletion_guard.audience() RETURNS text
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'dg_audience';

CREATE FUNCTION deletion_guard.claims(act text, object text, reason text = NULL, public_key text = NULL)
RETURNS jsonb
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'dg_claims';

CREATE FUNCTION deletion_guard.add_authority(name text, public_key text, VARIADIC tokens text[] = '{}')
RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_add_authority';

CREATE FUNCTION deletion_guard.retire_authority(name text, VARIADIC tokens text[] = '{}')
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_retire_authority';

CREATE FUNCTION deletion_guard.set_approvals(approvals integer, VARIADIC tokens text[] = '{}')
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_set_approvals';

CREATE FUNCTION deletion_guard.allow_drop(VARIADIC tokens text[] = '{}') RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_allow_drop';

CREATE FUNCTION deletion_guard.authority_source(OUT source text, OUT active bigint, OUT problem text)
RETURNS record
LANGUAGE C STABLE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_authority_source';

CREATE FUNCTION deletion_guard.key_fingerprint(public_key text) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'dg_key_fingerprint';

CREATE FUNCTION deletion_guard.check_token(token text, OUT ok boolean, OUT problem text, OUT claims jsonb)
RETURNS record
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_check_token';

REVOKE EXECUTE ON FUNCTION deletion_guard.audience(),
	deletion_guard.claims(text, text, text, text),
	deletion_guard.add_authority(text, text, text[]),
	deletion_guard.retire_authority(text, text[]),
	deletion_guard.set_approvals(integer, text[]),
	deletion_guard.allow_drop(text[]),
	deletion_guard.authority_source(),
	deletion_guard.key_fingerprint(text),
	deletion_guard.check_token(text) FROM PUBLIC;

COMMENT ON TABLE deletion_guard.authority IS 'authorities whose tokens are accepted, and those retired';
COMMENT ON COLUMN deletion_guard.authority.name IS 'name, which the token gives as kid';
COMMENT ON COLUMN deletion_guard.authority.algorithm IS 'EdDSA or ES256';
COMMENT ON COLUMN deletion_guard.authority.public_key IS 'public key, PEM';
COMMENT ON COLUMN deletion_guard.authority.fingerprint IS 'SHA-256 of the key in DER, in hexadecimal';
COMMENT ON COLUMN deletion_guard.authority.enrolled_at IS 'when';
COMMENT ON COLUMN deletion_guard.authority.enrolled_by IS 'role that enrolled it';
COMMENT ON COLUMN deletion_guard.authority.retired_at IS 'since when no token of it counts; null: it is active';
COMMENT ON COLUMN deletion_guard.authority.retired_by IS 'role that retired it';
COMMENT ON COLUMN deletion_guard.authority.ledger_id IS 'last entry about it in the ledger';
COMMENT ON TABLE deletion_guard.approval_policy IS 'how many authorities must agree at least';
COMMENT ON TABLE deletion_guard.used_token IS 'tokens that were used, each of them once';
COMMENT ON FUNCTION deletion_guard.audience() IS
	'what the claim "aud" of a token for this database must say';
COMMENT ON FUNCTION deletion_guard.claims(text, text, text, text) IS
	'the claims to sign for an act that is no purge, as JSON: claims(''annul_purge'', purge id), (''release_hold'', hold id), (''unguard'', table, or ''extension deletion_guard''), (''retire_authority'', name), (''add_authority'', name, public_key => key), (''set_approvals'', number). Whether the act is possible is asked when the token comes. Those of a purge are what request_purge() returns';
COMMENT ON FUNCTION deletion_guard.add_authority(text, text, text[]) IS
	'enrols the public key (PEM or JWK; Ed25519 or P-256) of a party whose tokens are accepted; returns the key''s fingerprint. The first one takes the owner of the extension, each later one tokens for the act "add_authority". Names and keys are never enrolled twice (42710). Waits for purges that are under way. Fails with TG02C for a key it cannot read, TG02x for a token, TG035 for too few, 55000 where deletion_guard.authorities_file is set';
COMMENT ON FUNCTION deletion_guard.retire_authority(text, text[]) IS
	'accepts no more tokens of an authority, for ever; takes tokens for the act "retire_authority". Waits for purges that are under way. Fails with 42704 if there is none, TG038 for the last one, otherwise as add_authority()';
COMMENT ON FUNCTION deletion_guard.set_approvals(integer, text[]) IS
	'how many distinct authorities, 1 to 16, a purge needs at least. Raising it takes the owner of the extension, lowering it tokens for the act "set_approvals"';
COMMENT ON FUNCTION deletion_guard.allow_drop(text[]) IS
	'lets this transaction drop the extension, or tables of the bin, where deletion_guard.locked is set; takes tokens for the act "unguard" of "extension deletion_guard"';
COMMENT ON FUNCTION deletion_guard.authority_source() IS
	'where the authorities that count come from (the registry, or deletion_guard.authorities_file), how many are active, and what is wrong with the file, if anything';
COMMENT ON FUNCTION deletion_guard.key_fingerprint(text) IS
	'SHA-256, in hex, of a public key (PEM or JWK) in its canonical form, as a token for add_authority() names it. Fails with TG02C for a key it cannot read';
COMMENT ON FUNCTION deletion_guard.check_token(text) IS
	'would this token be accepted now? If not, problem says why. For purges also looks at the request, the tenant, holds and retention; changes nothing, and the token can still be used';

