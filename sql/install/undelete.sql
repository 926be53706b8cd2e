/*
 * Undelete: from the bin back into the tables.
 */
CREATE FUNCTION deletion_guard.undelete(deletion_id bigint, on_conflict text = 'error',
		dry_run boolean = false,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete IS
	'restores exactly what one deletion removed and is still in the bin; all or nothing; needs INSERT on the tables';

CREATE FUNCTION deletion_guard.undelete_tenant(tenant text, since timestamptz = '-infinity',
		until timestamptz = 'infinity', on_conflict text = 'error', dry_run boolean = false,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete_tenant';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete_tenant FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete_tenant IS
	'restores a tenant''s rows that were deleted within a time and are still in the bin; all or nothing; needs INSERT on the tables';

CREATE FUNCTION deletion_guard.undelete_tenants(tenants text[], since timestamptz = '-infinity',
		until timestamptz = 'infinity', on_conflict text = 'error', dry_run boolean = false,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete_tenants';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete_tenants FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete_tenants IS
	'undelete_tenant() for several tenants at once; all or nothing';


/*
 * For rows whose table was dropped.
 */
CREATE FUNCTION deletion_guard.adopt_bin(bin_table regclass, target regclass) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_adopt_bin';
REVOKE EXECUTE ON FUNCTION deletion_guard.adopt_bin FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.adopt_bin IS
	'gives the rows of a bin whose table was dropped to the table that has taken its place: undelete, deleted_rows and purges find them there; for the owner of the extension; SHARE ROW EXCLUSIVE lock on the bin';
