/*
 * Scrubbing: getting the bytes of rows that are gone out of the files.
 */
-- What is to be scrubbed, and what was; not dumped.
CREATE TABLE deletion_guard.scrub_progress
(
	relation regclass PRIMARY KEY,
	step integer NOT NULL,
	queued_at timestamptz NOT NULL,
	phase text NOT NULL,				-- queued, vacuum, reindex, clean, done
	started_at timestamptz,
	ended_at timestamptz,
	total bigint,						-- pages, those of TOAST included
	pages bigint,						-- of them looked at
	cleaned bigint,						-- that had remains in their free space
	kept bigint,						-- dead versions that may still be needed
	problem text,
	rebuilding oid,						-- an index that is being rebuilt
	rebuilt_as oid						-- and the one that is made for it
) USING heap;

-- Invalid indexes that a scrub which was stopped has left, and all there are on
-- the extension's own tables. The next scrub removes them.
CREATE FUNCTION deletion_guard_internal.scrub_remains() RETURNS TABLE (relation regclass, index regclass)
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.oid, i.indexrelid
	FROM pg_index i
	JOIN pg_class c ON i.indrelid IN (c.oid, c.reltoastrelid)
	LEFT JOIN deletion_guard.scrub_progress p ON p.relation = c.oid
	WHERE NOT i.indisvalid AND c.relkind = 'r'
		AND (i.indexrelid IN (p.rebuilding, p.rebuilt_as) AND p.rebuilt_as IS NOT NULL
			OR c.relnamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_bin'::regnamespace))
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.scrub_remains FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.scrub_remains IS 'part of verify() and scrub(): invalid indexes that a scrub which was stopped has left';

CREATE FUNCTION deletion_guard.scrub(relation regclass = NULL, cost_delay double precision = NULL,
									 cost_limit integer = NULL, resume boolean = false) RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_scrub';

REVOKE EXECUTE ON FUNCTION deletion_guard.scrub(regclass, double precision, integer, boolean) FROM PUBLIC;

COMMENT ON TABLE deletion_guard.scrub_progress IS 'what scrub() has to do, is doing and has done';
COMMENT ON COLUMN deletion_guard.scrub_progress.relation IS 'table';
COMMENT ON COLUMN deletion_guard.scrub_progress.step IS 'place in the order';
COMMENT ON COLUMN deletion_guard.scrub_progress.queued_at IS 'when scrub() was called';
COMMENT ON COLUMN deletion_guard.scrub_progress.phase IS 'queued, vacuum, reindex, clean or done';
COMMENT ON COLUMN deletion_guard.scrub_progress.started_at IS 'when work on it began';
COMMENT ON COLUMN deletion_guard.scrub_progress.ended_at IS 'when it was done';
COMMENT ON COLUMN deletion_guard.scrub_progress.total IS 'pages to look at, those of TOAST included';
COMMENT ON COLUMN deletion_guard.scrub_progress.pages IS 'pages looked at';
COMMENT ON COLUMN deletion_guard.scrub_progress.cleaned IS 'of these, pages that had remains in their free space';
COMMENT ON COLUMN deletion_guard.scrub_progress.kept IS 'dead row versions that a snapshot may still need';
COMMENT ON COLUMN deletion_guard.scrub_progress.problem IS 'why it could not be done';
COMMENT ON COLUMN deletion_guard.scrub_progress.rebuilding IS 'index that is being rebuilt';
COMMENT ON COLUMN deletion_guard.scrub_progress.rebuilt_as IS 'index that takes its place';
COMMENT ON FUNCTION deletion_guard.scrub(regclass, double precision, integer, boolean) IS
	'has a background process remove what is left of deleted and purged rows from the files of one table (null: of guarded tables, the bin and the extension''s own), its indexes and statistics. Returns the number of tables at once, without waiting: see scrub_progress. Fails while another scrub is at work. Pauses like cost-based VACUUM, by default at autovacuum''s pace; resume goes on where a process that ended early has stopped. For the owner of the extension; locks as VACUUM and REINDEX CONCURRENTLY; what one that was stopped has left, the next removes. Not reached: WAL until recycled, standbys until they have replayed it, backups, logs';
