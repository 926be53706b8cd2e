/*
 * Extract: what an archive of pg_dump, or a running copy of the database, has of tenants.
 *
 * These may read files of the server: rehydrate.sql says who may call them.
 */

CREATE FUNCTION deletion_guard.archive_contents(archive text,
		OUT relation text, OUT columns name[], OUT format text, OUT compression text,
		OUT data_bytes bigint, OUT live_relation regclass, OUT tenant_source text, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_archive_contents';
REVOKE EXECUTE ON FUNCTION deletion_guard.archive_contents FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.archive_contents TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.archive_contents IS
	'tables with rows in an archive of pg_dump on the server, or in a running copy of the database (''server:NAME'', a foreign server of postgres_fdw): their columns, format, compression and stored bytes, the live tables they belong to, how these tell their rows'' tenants, and in problem why the rows of a table cannot be read, such as a file that is missing. Takes membership in pg_read_server_files or, for a copy, USAGE on the server and a user mapping. Fails with TG04x for an archive it cannot read';

CREATE FUNCTION deletion_guard_internal.archive_inflater() RETURNS text
	LANGUAGE C STABLE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_archive_inflater';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.archive_inflater FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.archive_inflater IS
	'the library that decompresses gzip in archives, as deletion_guard was built: ISA-L or zlib. verify() shows it';

CREATE FUNCTION deletion_guard.archive_tenants(archive text,
		OUT tenant text, OUT tenant_name text, OUT contact text, OUT rows bigint,
		OUT live bigint, OUT in_bin bigint, OUT purged bigint) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_archive_tenants';
REVOKE EXECUTE ON FUNCTION deletion_guard.archive_tenants FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.archive_tenants TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.archive_tenants IS
	'tenants that an archive has rows of, in the order of their keys: name and contact as the archive has them, how many rows the archive has, how many are live in the same tables, in the bin, and purged. Rows of no tenant are not counted, nor rows of which nothing tells the tenant. One pass over the archive, and one over each of the live tables. Takes membership in pg_read_server_files and SELECT on the tables; live rows that row security hides from the caller are not counted';
