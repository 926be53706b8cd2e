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

CREATE FUNCTION deletion_guard.undelete_without_tenant(relations regclass[], since timestamptz = '-infinity',
		until timestamptz = 'infinity', on_conflict text = 'error', dry_run boolean = false,
		OUT relation regclass, OUT tenant text, OUT restored bigint, OUT identical bigint,
		OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_undelete_without_tenant';
REVOKE EXECUTE ON FUNCTION deletion_guard.undelete_without_tenant FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.undelete_without_tenant IS
	'restores exactly those rows of these tables that belong to no tenant (templates for all, say), and were deleted from since to until and are still in the bin; otherwise as undelete()';


/*
 * Records of deletions of which nothing is left.
 */
CREATE FUNCTION deletion_guard.fold_deletions(older_than interval = '90 days') RETURNS bigint
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_fold_deletions';
REVOKE EXECUTE ON FUNCTION deletion_guard.fold_deletions FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.fold_deletions IS
	'removes the records of deletions that are older than this and of which every row was restored or purged and no link is lost: by whom and by what statement they were is known no more. Their counts stay in deletion_history, what was done with them in the ledger. Records of tables that were dropped with their rows stay. Returns how many deletions. For a job, say every night; a purge that is under way at the same time waits. status counts the deletions of the last day only as far as they have a record. Fails with 22023 if older_than is negative';

CREATE VIEW deletion_guard.deletion_history AS
	SELECT f.day, f.tenant,
		   sum(f.deletions)::bigint AS deletions,
		   sum(f.rows)::bigint AS rows,
		   sum(f.restored)::bigint AS restored,
		   sum(f.purged)::bigint AS purged
	FROM deletion_guard.folded_deletion f
	GROUP BY f.day, f.tenant;
COMMENT ON VIEW deletion_guard.deletion_history IS
	'deletions whose records fold_deletions() has removed, counted by day and tenant; those that have a record are in the view deletion';
COMMENT ON COLUMN deletion_guard.deletion_history.day IS 'day of the deletions, in UTC';
COMMENT ON COLUMN deletion_guard.deletion_history.tenant IS 'tenant''s key; null for rows without one, a digest in its place once nothing of the tenant was left';
COMMENT ON COLUMN deletion_guard.deletion_history.deletions IS 'deletions with rows of this tenant; one with rows of several tenants counts for each';
COMMENT ON COLUMN deletion_guard.deletion_history.rows IS 'rows that they removed';
COMMENT ON COLUMN deletion_guard.deletion_history.restored IS 'of these, rows that came back';
COMMENT ON COLUMN deletion_guard.deletion_history.purged IS 'of these, rows that are gone for good';

/*
 * For rows whose table was dropped.
 */
CREATE FUNCTION deletion_guard.adopt_bin(bin_table regclass, target regclass) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_adopt_bin';
REVOKE EXECUTE ON FUNCTION deletion_guard.adopt_bin FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.adopt_bin IS
	'gives the rows of a bin whose table was dropped, and the links that rows of it had lost, to the table that has taken its place: undelete, deleted_rows and purges find them there; for the owner of the extension; SHARE ROW EXCLUSIVE lock on the bin. Fails with 42809 for what is no bin, 55000 for one whose table is there';
