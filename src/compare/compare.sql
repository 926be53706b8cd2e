/*
 * Compare: tenants' rows in an archive, or in a running copy, against the live ones.
 *
 * These may read files of the server: rehydrate.sql says who may call them.
 */

CREATE FUNCTION deletion_guard.compare_tenant(tenant text, archive text, mapping jsonb = NULL,
		OUT relation regclass, OUT archive_rows bigint, OUT live_rows bigint,
		OUT only_in_archive bigint, OUT only_live bigint, OUT different bigint, OUT purged bigint,
		OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_compare_tenant';
REVOKE EXECUTE ON FUNCTION deletion_guard.compare_tenant FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.compare_tenant TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.compare_tenant IS
	'compares a tenant''s rows in an archive of pg_dump on the server, or in a running copy (''server:NAME''), with the live ones, by primary key and content: counts by table; rows that are gone because they were purged count as purged; rows that have lost links to ON DELETE SET NULL or SET DEFAULT are compared as they were with them, and counted in problem; problem names columns that are not compared as only one side has them, and tables and rows of the archive that were not compared, in lines without counts. Takes membership in pg_read_server_files or, for a copy, USAGE on the server and a user mapping and SELECT on the tables; live rows that row security hides from the caller are not counted, and problem says so. ACCESS SHARE lock on them';

CREATE FUNCTION deletion_guard.compare_tenants(tenants text[], archive text, mapping jsonb = NULL,
		OUT relation regclass, OUT tenant text, OUT archive_rows bigint, OUT live_rows bigint,
		OUT only_in_archive bigint, OUT only_live bigint, OUT different bigint, OUT purged bigint,
		OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_compare_tenants';
REVOKE EXECUTE ON FUNCTION deletion_guard.compare_tenants FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.compare_tenants TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.compare_tenants IS
	'compare_tenant() for several tenants, in one pass over the archive';

CREATE FUNCTION deletion_guard.compare_rows(tenant text, archive text, relations regclass[] = NULL, mapping jsonb = NULL,
		max_rows bigint = 1000,
		OUT relation regclass, OUT key jsonb, OUT what text, OUT columns name[],
		OUT archive_row jsonb, OUT live_row jsonb, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_compare_rows';
REVOKE EXECUTE ON FUNCTION deletion_guard.compare_rows FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.compare_rows TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.compare_rows IS
	'compares a tenant''s rows in an archive of pg_dump on the server with the live ones, as compare_tenant() does, and shows each row that differs, in the order of the key. what: missing (the archive has it), extra (live only), different (columns says in which), purged (missing on purpose). A table without a primary key has no key; its rows are missing or extra, by their content. Where max_rows cuts the list, a line "more" for each table says how many differ besides; null is no limit, 0 counts only. Lines "not compared" have in problem what could not be compared; without any line, both sides are the same. Privileges and locks as for compare_tenant()';
