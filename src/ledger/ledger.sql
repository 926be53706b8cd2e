/*
 * The ledger: what was done, as a chain of hashes.
 *
 * Entries are numbered without gaps and each carries the hash of the one
 * before, so that no entry can be changed, removed, inserted or moved without
 * verify_ledger() noticing. An entry's hash is the SHA-256 of its members as
 * described in src/ledger/ledger.c; anyone with a copy of the table can recompute it.
 * Entries hold no personal data: ids, counts, digests, names of tables and of
 * roles.
 */
CREATE TABLE deletion_guard.ledger
(
	id bigint PRIMARY KEY,
	at timestamptz NOT NULL,
	event text NOT NULL,
	role text NOT NULL,
	details text NOT NULL,				-- JSON, exactly as it was hashed
	prev_hash bytea NOT NULL,
	hash bytea NOT NULL
) USING heap;

-- Since when this installation has made entries of its own; at most one row.
-- Not dumped: a restored database has made none yet.
CREATE TABLE deletion_guard.installation
(
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	live_since timestamptz NOT NULL
) USING heap;

SELECT pg_catalog.pg_extension_config_dump('deletion_guard.ledger', '');

CREATE FUNCTION deletion_guard.verify_ledger(head_entry bigint = NULL, head_hash text = NULL,
											 OUT ok boolean, OUT entries bigint, OUT problem text)
RETURNS record
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_verify_ledger';

CREATE FUNCTION deletion_guard.ledger_head(OUT entry bigint, OUT at timestamptz, OUT hash text)
RETURNS record
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_ledger_head';

REVOKE EXECUTE ON FUNCTION deletion_guard.verify_ledger(bigint, text),
	deletion_guard.ledger_head() FROM PUBLIC;

COMMENT ON TABLE deletion_guard.installation IS 'since when the ledger has entries that were not restored';
COMMENT ON TABLE deletion_guard.ledger IS 'hash-chained record of what was done; a transaction''s own entries are there once it has committed, or has called purge() or verify_ledger()';
COMMENT ON COLUMN deletion_guard.ledger.id IS 'number of the entry; without gaps';
COMMENT ON COLUMN deletion_guard.ledger.at IS 'when';
COMMENT ON COLUMN deletion_guard.ledger.event IS 'what was done';
COMMENT ON COLUMN deletion_guard.ledger.role IS 'role that had logged in';
COMMENT ON COLUMN deletion_guard.ledger.details IS 'JSON, exactly as it was hashed';
COMMENT ON COLUMN deletion_guard.ledger.prev_hash IS 'hash of the entry before';
COMMENT ON COLUMN deletion_guard.ledger.hash IS 'SHA-256 of this entry and prev_hash';
COMMENT ON FUNCTION deletion_guard.verify_ledger(bigint, text) IS
	'recomputes the chain of hashes: ok, or in problem the first entry that was changed, removed, inserted or moved, or the authority, hold, request or purge that has none. Given a head kept elsewhere (see ledger_head()), also finds a chain that was cut short or rewritten. Reads the whole ledger';
COMMENT ON FUNCTION deletion_guard.ledger_head() IS
	'the last entry and its hash (SHA-256, hex), for keeping elsewhere; nulls while the ledger is empty';

