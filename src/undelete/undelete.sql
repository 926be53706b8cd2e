/*
 * Undelete: from the bin back into the tables.
 */
CREATE FUNCTION deletion_guard.undelete(deletion_id bigint, on_conflict text = 'error',
		dry_run boolean = false, rows jsonb = NULL,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete IS
	'restores exactly what one deletion removed and is still in the bin: all of it, or an error and nothing. on_conflict, for live rows with the key of a deleted one: error, skip (which leaves it in the bin, and with it rows that refer to what is not there) or replace (the live row of the same primary key goes to the bin, but none of another tenant). rows chooses some of them by values of columns, null for null: {"public.issue": [{"id": 7}]}; the others stay in the bin, and so does what the chosen refer to unless it is chosen, too. With dry_run, does it and rolls it back; problem then says why it would fail. Returns rows restored, identical to live ones, and skipped, by table and tenant. Needs INSERT on the tables, UPDATE to replace rows or to put lost links back. ROW EXCLUSIVE lock on the tables; excludes undelete, rehydrate and purge of the same tenants until the transaction ends. Fails with TG010 for a conflict, TG011 for rows that no longer fit, TG012 if nothing is left or a chosen row is not there, TG013 if what was written is not what was deleted';

CREATE FUNCTION deletion_guard.undelete_transaction(deletion_id bigint, on_conflict text = 'error',
		dry_run boolean = false,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete_transaction';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete_transaction FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete_transaction IS
	'restores all that the transaction of a deletion removed, by however many statements, and that is still in the bin, as if it had been one deletion; otherwise as undelete(). A row that the transaction deleted, inserted anew and deleted again is there twice, which is a conflict unless both are the same: with skip or replace the later one comes back';

CREATE FUNCTION deletion_guard.undelete_tenant(tenant text, since timestamptz = '-infinity',
		until timestamptz = 'infinity', on_conflict text = 'error', dry_run boolean = false,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete_tenant';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete_tenant FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete_tenant IS
	'restores all rows of a tenant that were deleted from since to until and are still in the bin; otherwise as undelete()';

CREATE FUNCTION deletion_guard.undelete_tenants(tenants text[], since timestamptz = '-infinity',
		until timestamptz = 'infinity', on_conflict text = 'error', dry_run boolean = false,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete_tenants';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete_tenants FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete_tenants IS
	'undelete_tenant() for several tenants at once: all of them or none. Warns of those that have nothing in the bin';


/*
 * For rows whose table was dropped.
 */
CREATE FUNCTION deletion_guard.adopt_bin(bin_table regclass, target regclass) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_adopt_bin';
REVOKE EXECUTE ON FUNCTION deletion_guard.adopt_bin FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.adopt_bin IS
	'gives the rows of a bin whose table was dropped, and the links that rows of it had lost, to the table that has taken its place: undelete, deleted_rows and purges find them there; for the owner of the extension; SHARE ROW EXCLUSIVE lock on the bin. Fails with 42809 for what is no bin, 55000 for one whose table is there';
