-- After the suite: what is wrong with the bin, or with the protection of the
-- tables that the suite has left; it drops others while the bin holds rows of
-- them. Prints nothing.
\set ON_ERROR_STOP off
SELECT check_name, object, detail FROM deletion_guard.verify()
WHERE NOT ok AND check_name NOT IN ('storage', 'bins') AND object <> 'deletion_guard.ddl';

-- What the parts say must be in the bins.
SELECT format('SELECT %L AS bin, %s AS bin_rows, sum(rows - restored - purged) AS part_rows '
			  'FROM deletion_guard.deletion_part WHERE bin_id = %s '
			  'HAVING %2$s <> coalesce(sum(rows - restored - purged), 0);',
			  bin_table, (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', bin_table), false, true, '')))[1], bin_id)
FROM deletion_guard.bin b JOIN pg_class c ON c.oid = b.bin_table \gexec

-- Each deletion has one record.
SELECT deletion_id, count(deleted_at) AS records FROM deletion_guard.deletion_part GROUP BY 1 HAVING count(deleted_at) <> 1;
