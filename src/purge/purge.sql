/*
 * Purging: requests, holds, and what was purged.
 *
 * A request says what shall go and is reviewed; authorities sign its claims;
 * purge() removes exactly that from the bin, or nothing.
 */

-- What was asked for. The tenant's name and the reason are blanked once nothing
-- of the tenant is left in the bin, and its key is replaced by a digest if it is
-- not live either (src/purge/purge_forget.c).
CREATE TABLE deletion_guard.purge_request_record
(
	request_id bigint PRIMARY KEY,
	tenant text COLLATE "C",			-- NULL: rows without a tenant, or of many
	tenant_name text,
	reason text,
	relations regclass[],				-- NULL: every table
	deleted_before timestamptz NOT NULL,
	requested_at timestamptz NOT NULL,
	requested_by text NOT NULL,
	rows bigint NOT NULL,
	digest bytea NOT NULL,				-- of the plan, see src/purge/purge_plan.c
	state text NOT NULL CHECK (state IN ('open', 'withdrawn', 'purged')),
	closed_at timestamptz,
	closed_by text,
	tenants bigint,						-- of a request by age; NULL: any other
	deletion_ids bigint[],				-- NULL: every deletion
	keys jsonb							-- of some rows only, until it is closed; NULL: all rows
) USING heap;
CREATE INDEX purge_request_record_tenant_idx ON deletion_guard.purge_request_record USING hash (tenant); -- may be long
CREATE SEQUENCE deletion_guard.purge_request_id_seq CYCLE OWNED BY deletion_guard.purge_request_record.request_id;

-- The plan as it was reviewed.
CREATE TABLE deletion_guard.purge_request_part
(
	request_id bigint,
	deletion_id bigint,
	part integer,
	relation_name text NOT NULL,
	rows bigint NOT NULL,
	PRIMARY KEY (request_id, deletion_id, part)
) USING heap;

-- Purges. The tenant is remembered as a digest with the purge's own salt.
CREATE TABLE deletion_guard.purge_record
(
	purge_id bigint PRIMARY KEY,
	request_id bigint NOT NULL,
	purged_at timestamptz NOT NULL,
	purged_by text NOT NULL,
	state text NOT NULL CHECK (state IN ('begun', 'purged', 'annulled')),
	rows bigint NOT NULL,				-- planned; removed once it is purged
	salt bytea NOT NULL,
	tenant_digest bytea NOT NULL,
	certificate text,					-- as in the ledger
	ledger_id bigint,
	annulled_at timestamptz,
	annulled_by text,
	annulled_ledger_id bigint
) USING heap;
CREATE SEQUENCE deletion_guard.purge_id_seq CYCLE OWNED BY deletion_guard.purge_record.purge_id;

-- Per purge and table: how many rows, the sum of their digests, and which
-- columns the digests of keys are made of.
CREATE TABLE deletion_guard.purge_table
(
	purge_id bigint,
	table_no integer,
	relation_name text NOT NULL,
	key_columns name[] NOT NULL,
	rows bigint NOT NULL,
	digest bytea NOT NULL,
	PRIMARY KEY (purge_id, table_no)
) USING heap;

-- The purged rows' keys as salted digests of 16 bytes, many to a row: enough to
-- know a row again that a backup still has, not enough to tell what it was.
CREATE TABLE deletion_guard.purged_key
(
	purge_id bigint,
	table_no integer,
	chunk integer,
	digests bytea NOT NULL,
	tenant_digest bytea,				-- whose they are, of a purge of many; as in purge_record
	PRIMARY KEY (purge_id, table_no, chunk)
) USING heap;
ALTER TABLE deletion_guard.purged_key ALTER digests SET STORAGE EXTERNAL;

-- What was refused, each kind once: "request_id" 0 and "authority" '' where none
-- is known. The ledger tells of each kind once a day at most.
CREATE TABLE deletion_guard.refusal
(
	act text COLLATE "C",
	reason text COLLATE "C",
	request_id bigint,
	authority text COLLATE "C",
	first_at timestamptz NOT NULL,
	last_at timestamptz NOT NULL,
	last_by text NOT NULL,
	count bigint NOT NULL,
	recorded_at timestamptz,			-- in the ledger
	PRIMARY KEY (act, reason, request_id, authority)
) USING heap;

-- While a hold is not released, nothing of its tenant is purged.
CREATE TABLE deletion_guard.hold
(
	hold_id bigint PRIMARY KEY,
	tenant text COLLATE "C" NOT NULL,
	reason text,
	held_at timestamptz NOT NULL,
	held_by text NOT NULL,
	released_at timestamptz,
	released_by text
) USING heap;
-- Keys may be too long for a B-tree.
CREATE INDEX hold_tenant_idx ON deletion_guard.hold USING hash (tenant);
CREATE SEQUENCE deletion_guard.hold_id_seq CYCLE OWNED BY deletion_guard.hold.hold_id;

SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purge_request_record', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purge_request_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purge_request_part', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purge_record', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purge_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purge_table', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.purged_key', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.refusal', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.hold', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.hold_id_seq', '');

-- "keys" has a default of its own: null, as of a variable that was not set, does not mean
-- all rows.
CREATE FUNCTION deletion_guard.request_purge(tenant text, reason text, relations regclass[] = NULL,
											 deleted_before timestamptz = now(), deletions bigint[] = NULL,
											 keys jsonb = '"all"')
RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_request_purge';

CREATE FUNCTION deletion_guard.request_purge_without_tenant(relations regclass[], reason text,
															deleted_before timestamptz = now())
RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_request_purge_without_tenant';

CREATE FUNCTION deletion_guard.request_purge_by_age(relations regclass[], reason text,
													deleted_before timestamptz = now())
RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_request_purge_by_age';

CREATE FUNCTION deletion_guard.withdraw_purge(request_id bigint)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_withdraw_purge';

CREATE FUNCTION deletion_guard.purge(VARIADIC tokens text[])
RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_purge';

CREATE FUNCTION deletion_guard.annul_purge(purge_id bigint, VARIADIC tokens text[] = '{}')
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_annul_purge';

CREATE FUNCTION deletion_guard.hold_tenant(tenant text, reason text)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_hold_tenant';

CREATE FUNCTION deletion_guard.release_hold(hold_id bigint, VARIADIC tokens text[] = '{}')
RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_release_hold';

CREATE FUNCTION deletion_guard.purge_certificate(purge_id bigint)
RETURNS jsonb
LANGUAGE C STABLE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_purge_certificate';

CREATE FUNCTION deletion_guard.verify_certificate(certificate jsonb, OUT ok boolean, OUT problem text)
RETURNS record
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_verify_certificate';

CREATE FUNCTION deletion_guard.purge_of(row_value "any") RETURNS bigint
LANGUAGE C STABLE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_purge_of';

-- What a request would remove, part by part, as reviewed and as it is now. A
-- deletion may have a million parts, of which one of the first has its record:
-- looking at them in order finds it at once.
CREATE VIEW deletion_guard.purge_request_detail AS
SELECT q.request_id, q.deletion_id, d.deleted_at, q.relation_name AS relation,
	p.tenant, p.tenant_name, q.rows AS rows_reviewed,
	CASE WHEN (SELECT r.keys IS NULL FROM deletion_guard.purge_request_record r WHERE r.request_id = q.request_id)
		THEN coalesce(p.rows - p.restored - p.purged, 0) END AS rows_now,
	d.purge_not_before AS due_at, coalesce(d.purge_not_before <= now(), false) AS due
FROM deletion_guard.purge_request_part q
LEFT JOIN deletion_guard.deletion_part p ON p.deletion_id = q.deletion_id AND p.part = q.part
LEFT JOIN LATERAL (SELECT r.deleted_at, r.purge_not_before FROM deletion_guard.deletion_part r
				   WHERE r.deletion_id = q.deletion_id AND r.deleted_at IS NOT NULL
				   ORDER BY r.part LIMIT 1) d ON true;

CREATE VIEW deletion_guard.purge_request AS
SELECT r.request_id, r.state, r.tenant, r.tenant_name, r.reason, r.requested_at, r.requested_by,
	r.relations, r.deleted_before, r.rows, t.tables, t.deletions, t.due_at,
	EXISTS (SELECT FROM deletion_guard.hold h
			WHERE h.released_at IS NULL AND deletion_guard_internal.same_tenant(h.tenant, r.tenant)) AS on_hold,
	encode(r.digest, 'hex') AS digest, r.closed_at, r.closed_by,
	(SELECT p.purge_id FROM deletion_guard.purge_record p WHERE p.request_id = r.request_id) AS purge_id,
	r.tenants, r.deletion_ids, r.keys
FROM deletion_guard.purge_request_record r,
	LATERAL (SELECT count(DISTINCT q.relation_name) AS tables, count(DISTINCT q.deletion_id) AS deletions,
					max(d.purge_not_before) AS due_at
			 FROM deletion_guard.purge_request_part q
			 LEFT JOIN LATERAL (SELECT e.purge_not_before FROM deletion_guard.deletion_part e
								WHERE e.deletion_id = q.deletion_id AND e.deleted_at IS NOT NULL
								ORDER BY e.part LIMIT 1) d ON true
			 WHERE q.request_id = r.request_id) AS t;

-- The same for one request, for roles that may call this and not read the views.
CREATE FUNCTION deletion_guard.purge_plan(request_id bigint)
RETURNS TABLE (relation text, deletion_id bigint, deleted_at timestamptz, tenant_name text,
			   rows_reviewed bigint, rows_now bigint, due_at timestamptz, due boolean, on_hold boolean)
LANGUAGE sql STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
SELECT d.relation, d.deletion_id, d.deleted_at, d.tenant_name, d.rows_reviewed, d.rows_now,
	d.due_at, d.due,
	EXISTS (SELECT FROM deletion_guard.purge_request_record r
			JOIN deletion_guard.hold h ON h.released_at IS NULL AND deletion_guard_internal.same_tenant(h.tenant, r.tenant)
			WHERE r.request_id = $1)
FROM deletion_guard.purge_request_detail d
WHERE d.request_id = $1
ORDER BY d.deletion_id, d.relation
$$;

REVOKE EXECUTE ON FUNCTION
	deletion_guard.request_purge(text, text, regclass[], timestamptz, bigint[], jsonb),
	deletion_guard.request_purge_without_tenant(regclass[], text, timestamptz),
	deletion_guard.request_purge_by_age(regclass[], text, timestamptz),
	deletion_guard.withdraw_purge(bigint),
	deletion_guard.purge(text[]),
	deletion_guard.annul_purge(bigint, text[]),
	deletion_guard.hold_tenant(text, text),
	deletion_guard.release_hold(bigint, text[]),
	deletion_guard.purge_certificate(bigint),
	deletion_guard.verify_certificate(jsonb),
	deletion_guard.purge_of("any"),
	deletion_guard.purge_plan(bigint) FROM PUBLIC;

COMMENT ON TABLE deletion_guard.purge_request_record IS 'requests to purge; see the view purge_request';
COMMENT ON SEQUENCE deletion_guard.purge_request_id_seq IS 'ids of requests';
COMMENT ON TABLE deletion_guard.purge_request_part IS 'what was reviewed; see the view purge_request_detail';
COMMENT ON TABLE deletion_guard.purge_record IS 'purges, without personal data';
COMMENT ON SEQUENCE deletion_guard.purge_id_seq IS 'ids of purges';
COMMENT ON TABLE deletion_guard.purge_table IS 'purges by table';
COMMENT ON TABLE deletion_guard.purged_key IS 'salted digests of purged rows'' keys, which a rehydration subtracts';
COMMENT ON TABLE deletion_guard.refusal IS 'purges and other acts that were refused, and deletions that ran into a ceiling: why, how often, when, and in whose session last';
COMMENT ON COLUMN deletion_guard.refusal.act IS 'what was refused: purge, release_hold, delete and so on';
COMMENT ON COLUMN deletion_guard.refusal.reason IS 'why, in one word';
COMMENT ON COLUMN deletion_guard.refusal.request_id IS 'request to purge; 0: none';
COMMENT ON COLUMN deletion_guard.refusal.authority IS 'authority that the token names; empty: none known';
COMMENT ON COLUMN deletion_guard.refusal.first_at IS 'when first';
COMMENT ON COLUMN deletion_guard.refusal.last_at IS 'when last';
COMMENT ON COLUMN deletion_guard.refusal.last_by IS 'role that had logged in, last';
COMMENT ON COLUMN deletion_guard.refusal.count IS 'how often';
COMMENT ON COLUMN deletion_guard.refusal.recorded_at IS 'when the ledger was last told';
COMMENT ON TABLE deletion_guard.hold IS 'tenants of whom nothing may be purged, until released';
COMMENT ON COLUMN deletion_guard.hold.hold_id IS 'number, for release_hold()';
COMMENT ON COLUMN deletion_guard.hold.tenant IS 'tenant''s key';
COMMENT ON COLUMN deletion_guard.hold.reason IS 'why';
COMMENT ON COLUMN deletion_guard.hold.held_at IS 'since when';
COMMENT ON COLUMN deletion_guard.hold.held_by IS 'role that asked for it';
COMMENT ON COLUMN deletion_guard.hold.released_at IS 'until when; null: it is in force';
COMMENT ON COLUMN deletion_guard.hold.released_by IS 'role that released it';
COMMENT ON SEQUENCE deletion_guard.hold_id_seq IS 'ids of holds';
COMMENT ON VIEW deletion_guard.purge_request IS 'requests to purge, open and closed';
COMMENT ON COLUMN deletion_guard.purge_request.request_id IS 'number of the request';
COMMENT ON COLUMN deletion_guard.purge_request.state IS 'open, withdrawn or purged';
COMMENT ON COLUMN deletion_guard.purge_request.tenant IS 'tenant''s key, or a pseudonym once nothing is left of the tenant; null: rows without a tenant, or of many';
COMMENT ON COLUMN deletion_guard.purge_request.tenant_name IS 'tenant''s name when it was requested';
COMMENT ON COLUMN deletion_guard.purge_request.reason IS 'why, as the token must say; null once a purge has removed it';
COMMENT ON COLUMN deletion_guard.purge_request.requested_at IS 'when';
COMMENT ON COLUMN deletion_guard.purge_request.requested_by IS 'role that requested it';
COMMENT ON COLUMN deletion_guard.purge_request.relations IS 'tables it is for; null: all';
COMMENT ON COLUMN deletion_guard.purge_request.deleted_before IS 'only rows deleted before this time';
COMMENT ON COLUMN deletion_guard.purge_request.rows IS 'rows reviewed';
COMMENT ON COLUMN deletion_guard.purge_request.tables IS 'tables they are of';
COMMENT ON COLUMN deletion_guard.purge_request.deletions IS 'deletions they are of';
COMMENT ON COLUMN deletion_guard.purge_request.due_at IS 'when all of them may be purged; infinity: never';
COMMENT ON COLUMN deletion_guard.purge_request.on_hold IS 'does a hold forbid it now?';
COMMENT ON COLUMN deletion_guard.purge_request.digest IS 'SHA-256 of what was reviewed, in hexadecimal, as the token must say';
COMMENT ON COLUMN deletion_guard.purge_request.closed_at IS 'when it was closed';
COMMENT ON COLUMN deletion_guard.purge_request.closed_by IS 'role that closed it';
COMMENT ON COLUMN deletion_guard.purge_request.purge_id IS 'the purge that carried it out';
COMMENT ON COLUMN deletion_guard.purge_request.tenants IS 'tenants that a request by age covers; null for any other';
COMMENT ON COLUMN deletion_guard.purge_request.deletion_ids IS 'deletions it is for; null: all';
COMMENT ON COLUMN deletion_guard.purge_request.keys IS 'rows it is for, until it is closed; null: all';
COMMENT ON VIEW deletion_guard.purge_request_detail IS 'what each request would remove, as reviewed and now';
COMMENT ON COLUMN deletion_guard.purge_request_detail.request_id IS 'number of the request';
COMMENT ON COLUMN deletion_guard.purge_request_detail.deletion_id IS 'deletion that the rows are of';
COMMENT ON COLUMN deletion_guard.purge_request_detail.deleted_at IS 'when they were deleted';
COMMENT ON COLUMN deletion_guard.purge_request_detail.relation IS 'table they were in';
COMMENT ON COLUMN deletion_guard.purge_request_detail.tenant IS 'tenant''s key';
COMMENT ON COLUMN deletion_guard.purge_request_detail.tenant_name IS 'tenant''s name';
COMMENT ON COLUMN deletion_guard.purge_request_detail.rows_reviewed IS 'rows in the bin when it was requested';
COMMENT ON COLUMN deletion_guard.purge_request_detail.rows_now IS 'rows in the bin now; null for a request with keys, which check_token() counts anew';
COMMENT ON COLUMN deletion_guard.purge_request_detail.due_at IS 'when they may be purged at the earliest; infinity: never';
COMMENT ON COLUMN deletion_guard.purge_request_detail.due IS 'may they be purged by now?';
COMMENT ON FUNCTION deletion_guard.request_purge(text, text, regclass[], timestamptz, bigint[], jsonb) IS
	'asks for the purge of what the bin has of a tenant, from these tables (null: all), deleted before this time, by these deletions (null: all). keys chooses rows, as somebody of the tenant asks to be erased: {"public.person": [{"id": 7}], "public.note": [{"person_id": 7}]}, each object standing for all rows with its values. Returns the claims to sign, as JSON; removes nothing. Excludes undelete, rehydrate and purge of the tenant until the transaction ends. Fails with TG036 if the bin has nothing of it, or not all that was chosen, TG030 if the tenant is not known, TG039 if rows chosen are live, or rows in the bin that were not chosen refer to them';
COMMENT ON FUNCTION deletion_guard.request_purge_without_tenant(regclass[], text, timestamptz) IS
	'asks for the purge of rows of these tables that belong to no tenant (a key that is null, or empty where the tenant table has no such tenant, or a table without a tenant source); a table that is gone is named by its table in the bin. Otherwise as request_purge()';
COMMENT ON FUNCTION deletion_guard.request_purge_by_age(regclass[], text, timestamptz) IS
	'asks for the purge of what these tables have in the bin that was deleted before this time and is due, of all tenants that are in the tenant table and not on hold; a tenant that was deleted, whose own row is in the bin, is purged by name only. Excludes undelete, rehydrate and purge of any tenant until the transaction ends. Otherwise as request_purge_without_tenant()';
COMMENT ON FUNCTION deletion_guard.withdraw_purge(bigint) IS
	'closes a request without a purge. Fails with TG031 if it is not open';
COMMENT ON FUNCTION deletion_guard.purge(text[]) IS
	'removes for good what authorities have approved with these tokens: all of it, or an error and nothing; returns the certificate. Excludes undelete, rehydrate and purge of the tenant, or of any tenant if it is by age, until the transaction ends. Fails with TG02x for a token, TG030 for another tenant, TG031 for no open request, TG032 if the bin is not what was reviewed, TG033 for a hold, TG034 before retention is over, TG035 for too few tokens; each refusal is counted in deletion_guard.refusal';
COMMENT ON FUNCTION deletion_guard.annul_purge(bigint, text[]) IS
	'declares a purge to have been wrong, so that rehydrate() may bring its rows back out of a backup; takes tokens for the act "annul_purge". Fails with 42704 if there is none, 55000 if it was annulled before, TG02x for a token, TG035 for too few';
COMMENT ON FUNCTION deletion_guard.hold_tenant(text, text) IS
	'forbids purging a tenant until the hold is released; returns its id. Waits for a purge of the tenant that is under way';
COMMENT ON FUNCTION deletion_guard.release_hold(bigint, text[]) IS
	'ends a hold; takes tokens for the act "release_hold". Fails with 42704 if there is none, 55000 if it was released before, TG02x for a token, TG035 for too few';
COMMENT ON FUNCTION deletion_guard.purge_certificate(bigint) IS
	'the certificate of a purge, as purge() returned it. Fails with 42704 if there is none, TG037 if the ledger does not have it';
COMMENT ON FUNCTION deletion_guard.verify_certificate(jsonb) IS
	'is this certificate what the ledger says? If not, problem says what is wrong';
COMMENT ON FUNCTION deletion_guard.purge_of("any") IS
	'the purge that removed a row with this key from this table: purge_of(i) for a row i of it, purge_of(''(42,...)''::public.issue) for one that is gone. Null if none did; annulled purges do not count';
COMMENT ON FUNCTION deletion_guard.purge_plan(bigint) IS
	'what a request would remove, by table and deletion: rows as reviewed and now (null for a request with keys), when it is due (retention), and whether the tenant is on hold';

