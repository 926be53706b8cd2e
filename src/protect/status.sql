/*
 * One row for monitoring.
 */
CREATE VIEW deletion_guard.status AS
	SELECT (SELECT count(*) FROM deletion_guard.guard) AS guarded_tables,
		   (SELECT count(*) FROM deletion_guard_internal.find_unguarded_tables()) AS unguarded_tables,
		   (SELECT coalesce(sum(p.rows - p.restored - p.purged), 0)::bigint
			FROM deletion_guard.deletion_part p
			WHERE p.bin_id NOT IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)) AS bin_rows,
		   (SELECT coalesce(sum(pg_catalog.pg_total_relation_size(b.bin_table)), 0)::bigint
			FROM deletion_guard.bin b) AS bin_bytes,
		   (SELECT count(*) FROM deletion_guard.deletion_record d
			WHERE d.deleted_at > pg_catalog.clock_timestamp() - interval '1 hour') AS deletions_last_hour,
		   (SELECT count(*) FROM deletion_guard.deletion_record d
			WHERE d.deleted_at > pg_catalog.clock_timestamp() - interval '1 day') AS deletions_last_day,
		   (SELECT coalesce(sum(w.rows), 0)::bigint FROM deletion_guard.tenant_wipe w
			WHERE w.wiped_at > pg_catalog.clock_timestamp() - interval '1 hour') AS tenants_wiped_last_hour,
		   (SELECT coalesce(sum(w.rows), 0)::bigint FROM deletion_guard.tenant_wipe w
			WHERE w.wiped_at > pg_catalog.clock_timestamp() - interval '1 day') AS tenants_wiped_last_day,
		   (SELECT coalesce(sum(p.rows - p.restored - p.purged), 0)::bigint
			FROM deletion_guard.deletion_part p
			JOIN deletion_guard.deletion_record d USING (deletion_id)
			WHERE d.purge_not_before <= pg_catalog.clock_timestamp()
				AND p.bin_id NOT IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)) AS rows_due,
		   (SELECT count(*) FROM deletion_guard.hold h WHERE h.released_at IS NULL) AS holds,
		   (SELECT count(*) FROM deletion_guard.purge_request_record r WHERE r.state = 'open') AS open_requests,
		   (SELECT max(r.drilled_at) FROM deletion_guard.drill_result r) AS last_drill,
		   (SELECT count(*) FROM deletion_guard.verify() v WHERE NOT v.ok) AS problems,
		   (SELECT max(r.drilled_at) FROM deletion_guard.drill_result r WHERE r.matches) AS last_successful_drill,
		   (SELECT max(r.last_at) FROM deletion_guard.refusal r) AS last_refusal,
		   (SELECT max(p.purged_at) FROM deletion_guard.purge_record p WHERE p.state <> 'begun') AS last_purge,
		   (SELECT min(d.deleted_at) FROM deletion_guard.deletion_record d
			WHERE EXISTS (SELECT FROM deletion_guard.deletion_part p
						  WHERE p.deletion_id = d.deletion_id AND p.rows > p.restored + p.purged
							AND p.bin_id NOT IN (SELECT e.bin_id FROM deletion_guard.empty_bin e))) AS oldest_bin_row,
		   (SELECT coalesce(sum(p.rows - p.restored - p.purged), 0)::bigint
			FROM deletion_guard.deletion_part p
			WHERE p.bin_id IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)) AS rows_lost;
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
						  FILTER (WHERE d.purge_not_before <= pg_catalog.clock_timestamp())::bigint AS rows_due,
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
