/*
 * Rehydrate: tenants' rows out of archives of pg_dump.
 *
 * All of these read files of the server: beside the right to call them, which
 * comes with pg_read_server_files, the code checks that membership.
 */
CREATE FUNCTION deletion_guard.archive_contents(archive text,
		OUT relation text, OUT columns name[], OUT format text, OUT compression text,
		OUT data_bytes bigint, OUT live_relation regclass, OUT tenant_source text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_archive_contents';
REVOKE EXECUTE ON FUNCTION deletion_guard.archive_contents FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.archive_contents TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.archive_contents IS
	'tables with rows in an archive of pg_dump on the server, the live tables they belong to, and how these tell their rows'' tenants';

CREATE FUNCTION deletion_guard.rehydrate(tenant text, archive text, relations regclass[] = NULL,
		on_conflict text = 'error', into_schema name = NULL, dry_run boolean = false,
		with_referenced boolean = false, mapping jsonb = NULL,
		OUT relation regclass, OUT tenant text, OUT found bigint, OUT restored bigint,
		OUT identical bigint, OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_rehydrate';
REVOKE EXECUTE ON FUNCTION deletion_guard.rehydrate(text, text, regclass[], text, name, boolean, boolean, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.rehydrate(text, text, regclass[], text, name, boolean, boolean, jsonb) TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.rehydrate(text, text, regclass[], text, name, boolean, boolean, jsonb) IS
	'restores a tenant''s rows from an archive of pg_dump on the server; all or nothing; needs INSERT on the tables';

CREATE FUNCTION deletion_guard.rehydrate(tenants text[], archive text, relations regclass[] = NULL,
		on_conflict text = 'error', into_schema name = NULL, dry_run boolean = false,
		with_referenced boolean = false, mapping jsonb = NULL,
		OUT relation regclass, OUT tenant text, OUT found bigint, OUT restored bigint,
		OUT identical bigint, OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_rehydrate_tenants';
REVOKE EXECUTE ON FUNCTION deletion_guard.rehydrate(text[], text, regclass[], text, name, boolean, boolean, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.rehydrate(text[], text, regclass[], text, name, boolean, boolean, jsonb) TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.rehydrate(text[], text, regclass[], text, name, boolean, boolean, jsonb) IS
	'restores the rows of several tenants in one pass over the archive; all or nothing';

CREATE FUNCTION deletion_guard.compare_tenant(tenant text, archive text, mapping jsonb = NULL,
		OUT relation regclass, OUT archive_rows bigint, OUT live_rows bigint,
		OUT only_in_archive bigint, OUT only_live bigint, OUT different bigint) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_compare_tenant';
REVOKE EXECUTE ON FUNCTION deletion_guard.compare_tenant FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.compare_tenant TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.compare_tenant IS
	'compares a tenant''s rows in an archive of pg_dump with the live ones, by primary key and content; needs SELECT on the tables';

CREATE FUNCTION deletion_guard.compare_tenants(tenants text[], archive text, mapping jsonb = NULL,
		OUT relation regclass, OUT tenant text, OUT archive_rows bigint, OUT live_rows bigint,
		OUT only_in_archive bigint, OUT only_live bigint, OUT different bigint) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_compare_tenants';
REVOKE EXECUTE ON FUNCTION deletion_guard.compare_tenants FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.compare_tenants TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.compare_tenants IS
	'compare_tenant() for several tenants, in one pass over the archive';

CREATE VIEW deletion_guard.rehydration_progress AS
	SELECT p.pid,
		   d.datname AS database,
		   (ARRAY['finding', 'restoring', 'checking'])[p.param13] AS phase,
		   CASE WHEN d.datname = pg_catalog.current_database() THEN p.relid::regclass END AS relation,
		   p.param15 AS bytes_done,
		   nullif(p.param16, 0) AS bytes_total,
		   p.param17 AS rows_read,
		   p.param18 AS rows_kept,
		   round(100.0 * p.param15 / nullif(p.param16, 0), 1) AS percent,
		   CASE WHEN p.param15 > 0 AND p.param16 > 0
				THEN (clock_timestamp() - s.started_at) * ((p.param16 - p.param15)::float8 / p.param15)
		   END AS time_left,
		   s.started_at
	FROM pg_catalog.pg_stat_get_progress_info('COPY') p
	CROSS JOIN LATERAL (SELECT timestamptz '2000-01-01 00:00:00+00' + p.param14 / 1000000.0 * interval '1 second' AS started_at) s
	LEFT JOIN pg_catalog.pg_database d ON d.oid = p.datid
	WHERE p.param12 = x'6467726568796400'::bigint;
GRANT SELECT ON deletion_guard.rehydration_progress TO PUBLIC;
COMMENT ON VIEW deletion_guard.rehydration_progress IS
	'rehydrations that are running: what they do, the table being read, and how far they have come';

