/*
 * One row for monitoring. Each column is worked out only where it is asked for: that
 * holds as long as nothing in the view is volatile.
 */
CREATE FUNCTION deletion_guard_internal.count_problems() RETURNS bigint
	LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS 'SELECT count(*) FROM deletion_guard.verify() v WHERE NOT v.ok';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.count_problems FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard_internal.count_problems TO pg_monitor;
COMMENT ON FUNCTION deletion_guard_internal.count_problems IS 'part of the view status: how many checks of verify() are not ok';

CREATE FUNCTION deletion_guard_internal.bin_bytes() RETURNS bigint
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS 'SELECT coalesce(sum(pg_total_relation_size(b.bin_table)), 0)::bigint FROM deletion_guard.bin b';
COMMENT ON FUNCTION deletion_guard_internal.bin_bytes IS 'part of the views status and stat_deletion_guard: size of the bin on disk';

-- Deletions get their numbers in the order of time, but for moments: the first one of
-- the period is searched for by halves.
CREATE FUNCTION deletion_guard_internal.deletions_since(since timestamptz) RETURNS bigint
	LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	low bigint := 0;				-- is before the period
	high bigint := (SELECT p.deletion_id + 1 FROM deletion_guard.deletion_part p ORDER BY p.deletion_id DESC LIMIT 1);
	middle bigint;
	at timestamptz;
BEGIN
	WHILE high - low > 1 LOOP
		middle := low + (high - low) / 2;
		SELECT p.deleted_at INTO at FROM deletion_guard.deletion_part p
		WHERE p.deletion_id >= middle AND p.deleted_at IS NOT NULL ORDER BY p.deletion_id, p.part LIMIT 1;
		IF at < since - interval '1 minute' THEN
			low := middle;
		ELSE
			high := middle;
		END IF;
	END LOOP;
	RETURN (SELECT count(*) FROM deletion_guard.deletion_part p WHERE p.deletion_id >= high AND p.deleted_at > since);
END
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.deletions_since FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard_internal.deletions_since TO pg_monitor;
COMMENT ON FUNCTION deletion_guard_internal.deletions_since IS 'part of the view status: how many deletions there were since then';

CREATE VIEW deletion_guard.status AS
	SELECT (SELECT count(*) FROM deletion_guard.guard) AS guarded_tables,
		   (SELECT count(*) FROM deletion_guard_internal.find_unguarded_tables()) AS unguarded_tables,
		   -- sums of floats are fast, and exact up to 2^53
		   (SELECT coalesce(sum((p.rows - p.restored - p.purged)::float8), 0)::bigint
			FROM deletion_guard.deletion_part p
			WHERE p.bin_id NOT IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)) AS bin_rows,
		   deletion_guard_internal.bin_bytes() AS bin_bytes,
		   deletion_guard_internal.deletions_since(pg_catalog.statement_timestamp() - interval '1 hour') AS deletions_last_hour,
		   deletion_guard_internal.deletions_since(pg_catalog.statement_timestamp() - interval '1 day') AS deletions_last_day,
		   (SELECT coalesce(sum(w.rows), 0)::bigint FROM deletion_guard.tenant_wipe w
			WHERE w.wiped_at > pg_catalog.statement_timestamp() - interval '1 hour') AS tenants_wiped_last_hour,
		   (SELECT coalesce(sum(w.rows), 0)::bigint FROM deletion_guard.tenant_wipe w
			WHERE w.wiped_at > pg_catalog.statement_timestamp() - interval '1 day') AS tenants_wiped_last_day,
		   -- those that carry their deletion's record, and the others
		   (SELECT coalesce(sum((p.rows - p.restored - p.purged)::float8), 0)::bigint
			FROM deletion_guard.deletion_part p
			WHERE p.purge_not_before <= pg_catalog.statement_timestamp()
				AND p.bin_id NOT IN (SELECT e.bin_id FROM deletion_guard.empty_bin e))
		   + (SELECT coalesce(sum((p.rows - p.restored - p.purged)::float8), 0)::bigint
			FROM deletion_guard.deletion_part p
			WHERE p.deleted_at IS NULL
				AND p.deletion_id IN (SELECT d.deletion_id FROM deletion_guard.deletion_record d
									  WHERE d.purge_not_before <= pg_catalog.statement_timestamp())
				AND p.bin_id NOT IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)) AS rows_due,
		   (SELECT count(*) FROM deletion_guard.hold h WHERE h.released_at IS NULL) AS holds,
		   (SELECT count(*) FROM deletion_guard.purge_request_record r WHERE r.state = 'open') AS open_requests,
		   (SELECT max(r.drilled_at) FROM deletion_guard.drill_result r) AS last_drill,
		   deletion_guard_internal.count_problems() AS problems,
		   (SELECT max(r.drilled_at) FROM deletion_guard.drill_result r WHERE r.matches) AS last_successful_drill,
		   (SELECT max(r.last_at) FROM deletion_guard.refusal r) AS last_refusal,
		   (SELECT max(p.purged_at) FROM deletion_guard.purge_record p WHERE p.state <> 'begun') AS last_purge,
		   (SELECT d.deleted_at FROM deletion_guard.deletion_record d
			WHERE d.deletion_id = (SELECT p.deletion_id FROM deletion_guard.deletion_part p
								   WHERE p.rows > p.restored + p.purged
									   AND p.bin_id NOT IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)
								   ORDER BY p.deletion_id LIMIT 1)
			LIMIT 1) AS oldest_bin_row,
		   CASE WHEN EXISTS (SELECT FROM deletion_guard.empty_bin)
				THEN (SELECT coalesce(sum(p.rows - p.restored - p.purged), 0)::bigint
					  FROM deletion_guard.deletion_part p
					  WHERE p.bin_id IN (SELECT e.bin_id FROM deletion_guard.empty_bin e))
				ELSE 0 END AS rows_lost;
GRANT SELECT ON deletion_guard.status TO pg_monitor;
COMMENT ON VIEW deletion_guard.status IS
	'one row for monitoring: what is guarded, what is in the bin, what happened lately, what is open; problems are those that verify() sees';
COMMENT ON COLUMN deletion_guard.status.guarded_tables IS 'guarded tables; partitions count as their root';
COMMENT ON COLUMN deletion_guard.status.unguarded_tables IS 'tables that hold tenants'' rows and are not guarded';
COMMENT ON COLUMN deletion_guard.status.bin_rows IS 'rows in the bin';
COMMENT ON COLUMN deletion_guard.status.bin_bytes IS 'size of the bin on disk, in bytes';
COMMENT ON COLUMN deletion_guard.status.deletions_last_hour IS 'deletions in the last hour';
COMMENT ON COLUMN deletion_guard.status.deletions_last_day IS 'deletions in the last 24 hours';
COMMENT ON COLUMN deletion_guard.status.tenants_wiped_last_hour IS 'rows of the tenant table deleted in the last hour, undeleted or not';
COMMENT ON COLUMN deletion_guard.status.tenants_wiped_last_day IS 'the same in the last 24 hours';
COMMENT ON COLUMN deletion_guard.status.rows_due IS 'rows in the bin whose time to be kept is over';
COMMENT ON COLUMN deletion_guard.status.holds IS 'tenants'' holds in force';
COMMENT ON COLUMN deletion_guard.status.open_requests IS 'requests to purge that are open';
COMMENT ON COLUMN deletion_guard.status.last_drill IS 'when drill() last ran';
COMMENT ON COLUMN deletion_guard.status.problems IS 'checks of verify() that are not ok';
COMMENT ON COLUMN deletion_guard.status.last_successful_drill IS 'when a drill last found what it restored to match';
COMMENT ON COLUMN deletion_guard.status.last_refusal IS 'when a token was last refused';
COMMENT ON COLUMN deletion_guard.status.last_purge IS 'when rows were last purged';
COMMENT ON COLUMN deletion_guard.status.oldest_bin_row IS 'when the oldest rows in the bin were deleted';
COMMENT ON COLUMN deletion_guard.status.rows_lost IS 'rows that should be in the bin and are not, as the database was restored without it';

/*
 * What fills the disk, and since when.
 */
CREATE VIEW deletion_guard.bin_usage AS
	SELECT b.relation, b.relation_name, b.bin_table,
		   coalesce(pg_catalog.pg_total_relation_size(b.bin_table), 0) AS bytes,
		   CASE WHEN e.bin_id IS NULL THEN coalesce(u.rows, 0) ELSE 0 END AS rows,
		   CASE WHEN e.bin_id IS NULL THEN coalesce(u.rows_due, 0) ELSE 0 END AS rows_due,
		   CASE WHEN e.bin_id IS NULL THEN u.oldest END AS oldest,
		   CASE WHEN e.bin_id IS NOT NULL AND u.rows > 0 THEN pg_catalog.format('it is %s, where %s rows are recorded',
					CASE WHEN pg_catalog.pg_relation_size(b.bin_table) IS NULL THEN 'gone' ELSE 'empty' END, u.rows)
				WHEN b.relation = 0 AND u.rows > 0 THEN 'the table was dropped; adopt_bin() gives the rows to another'
		   END AS problem
	FROM deletion_guard.bin b
	LEFT JOIN deletion_guard.empty_bin e USING (bin_id)
	LEFT JOIN (SELECT p.bin_id, sum(p.rows - p.restored - p.purged)::bigint AS rows,
					  sum(p.rows - p.restored - p.purged)
						  FILTER (WHERE d.purge_not_before <= pg_catalog.statement_timestamp())::bigint AS rows_due,
					  min(d.deleted_at) AS oldest
			   FROM deletion_guard.deletion_part p
			   JOIN deletion_guard.deletion_record d USING (deletion_id)
			   WHERE p.rows > p.restored + p.purged
			   GROUP BY p.bin_id) u USING (bin_id);
GRANT SELECT ON deletion_guard.bin_usage TO pg_monitor;
COMMENT ON VIEW deletion_guard.bin_usage IS
	'the tables of the bin: how large they are, what is in them, how much of it is due, and since when; request_purge_by_age() empties them of old rows';
COMMENT ON COLUMN deletion_guard.bin_usage.relation IS 'table the rows were in; 0 if it was dropped';
COMMENT ON COLUMN deletion_guard.bin_usage.relation_name IS 'its name';
COMMENT ON COLUMN deletion_guard.bin_usage.bin_table IS 'table of the bin; a guarded table has one for each shape that its deleted rows had';
COMMENT ON COLUMN deletion_guard.bin_usage.bytes IS 'size on disk, in bytes; what a purge frees is used again, after VACUUM, by later deletions';
COMMENT ON COLUMN deletion_guard.bin_usage.rows IS 'rows in it';
COMMENT ON COLUMN deletion_guard.bin_usage.rows_due IS 'of these, rows whose time to be kept is over';
COMMENT ON COLUMN deletion_guard.bin_usage.oldest IS 'when the oldest of them were deleted';
COMMENT ON COLUMN deletion_guard.bin_usage.problem IS 'why its rows cannot simply come back';

/*
 * Cumulative, as the server's own statistics are.
 */
CREATE FUNCTION deletion_guard_internal.stat(OUT stats_reset timestamptz,
		OUT deletions bigint,
		OUT rows_deleted bigint,
		OUT tenants_deleted bigint,
		OUT undeletes bigint,
		OUT rows_undeleted bigint,
		OUT purges bigint,
		OUT rows_purged bigint,
		OUT rehydrates bigint,
		OUT rows_rehydrated bigint,
		OUT refused_ceilings bigint,
		OUT refused_expected bigint,
		OUT refused_ddl bigint,
		OUT refused_writes bigint,
		OUT refused_rows bigint,
		OUT refused_restores bigint,
		OUT refused_tokens bigint,
		OUT refused_purges bigint,
		OUT refused_archives bigint)
	LANGUAGE C VOLATILE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'dg_stat';
COMMENT ON FUNCTION deletion_guard_internal.stat IS 'what the view stat_deletion_guard shows';

CREATE VIEW deletion_guard.stat_deletion_guard AS
	SELECT s.deletions,
		   s.rows_deleted,
		   s.tenants_deleted,
		   s.undeletes,
		   s.rows_undeleted,
		   s.purges,
		   s.rows_purged,
		   s.rehydrates,
		   s.rows_rehydrated,
		   s.refused_ceilings,
		   s.refused_expected,
		   s.refused_ddl,
		   s.refused_writes,
		   s.refused_rows,
		   s.refused_restores,
		   s.refused_tokens,
		   s.refused_purges,
		   s.refused_archives,
		   deletion_guard_internal.bin_bytes() AS bin_bytes,
		   s.stats_reset
	FROM deletion_guard_internal.stat() s;
GRANT SELECT ON deletion_guard.stat_deletion_guard TO PUBLIC;
COMMENT ON VIEW deletion_guard.stat_deletion_guard IS
	'what happened in this database since stats_reset: counters that only go up, kept in memory, at no cost to read. What is done counts when its transaction commits or is prepared; refusals count when the error is reported to the client or the log, not where a function catches it';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.deletions IS 'deletions: statements that deleted from guarded tables';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.rows_deleted IS 'rows that went to the bin';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.tenants_deleted IS 'of these, rows of the tenant table';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.undeletes IS 'calls of undelete() and its kin that restored';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.rows_undeleted IS 'rows that they restored';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.purges IS 'purges';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.rows_purged IS 'rows that they destroyed';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.rehydrates IS 'calls of rehydrate() that restored';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.rows_rehydrated IS 'rows that they restored';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_ceilings IS 'deletions beyond a ceiling (TG001)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_expected IS 'deletions of tenants that the session did not expect (TG002)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_ddl IS 'commands that would have gone round the guard: DROP, DETACH, DISABLE TRIGGER (TG003)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_writes IS 'writes to the tables, functions and schemas of deletion_guard (TG004)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_rows IS 'deletions of rows that could not be kept (TG005)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_restores IS 'restores that met a conflict, or rows that do not fit (TG010 to TG013)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_tokens IS 'tokens (TG020 to TG02D)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_purges IS 'purges and other acts, for what they were to do (TG030 to TG038)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.refused_archives IS 'archives that could not be read (TG040 to TG044)';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.bin_bytes IS 'size of the bin on disk, now';
COMMENT ON COLUMN deletion_guard.stat_deletion_guard.stats_reset IS 'since when: the start of the server, or stat_reset(); null if nothing is counted, as the server has no shared memory left or more than 64 databases have deletion_guard';

CREATE FUNCTION deletion_guard.stat_reset() RETURNS void
	LANGUAGE C VOLATILE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'dg_stat_reset';
REVOKE EXECUTE ON FUNCTION deletion_guard.stat_reset FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.stat_reset IS 'sets the counters of stat_deletion_guard to zero';
