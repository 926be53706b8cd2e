/*
 * Rehydrate: tenants' rows out of archives of pg_dump, or out of a running copy of
 * the database.
 *
 * These may read files of the server: beside the right to call them, which comes
 * with pg_read_server_files, the code checks that membership. For 'server:NAME' it
 * checks USAGE on the foreign server and the caller's user mapping instead.
 */

-- Tenants that a run is done with.
CREATE TABLE deletion_guard.rehydration_record
(
	run text COLLATE "C" NOT NULL,
	tenant text COLLATE "C" NOT NULL,
	archive text NOT NULL,
	rows bigint NOT NULL,
	finished_at timestamptz NOT NULL,
	problem text,
	relations regclass[]				-- NULL: every table
) USING heap;
-- Keys may be too long for a B-tree; that there is one row is the tenant's lock's to see to.
CREATE INDEX rehydration_record_tenant_idx ON deletion_guard.rehydration_record USING hash (tenant);
COMMENT ON TABLE deletion_guard.rehydration_record IS
	'tenants that were rehydrated under the name of a run, so that it can be taken up again';
COMMENT ON COLUMN deletion_guard.rehydration_record.run IS 'name of the run, as given to rehydrate_each()';
COMMENT ON COLUMN deletion_guard.rehydration_record.tenant IS 'tenant''s key';
COMMENT ON COLUMN deletion_guard.rehydration_record.archive IS 'archive';
COMMENT ON COLUMN deletion_guard.rehydration_record.rows IS 'rows restored';
COMMENT ON COLUMN deletion_guard.rehydration_record.finished_at IS 'when';
COMMENT ON COLUMN deletion_guard.rehydration_record.problem IS 'what rehydrate() said of the tenant';
COMMENT ON COLUMN deletion_guard.rehydration_record.relations IS 'tables that were asked for; null: all';

-- What drills have found.
CREATE TABLE deletion_guard.drill_result
(
	drill_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	archive text NOT NULL,
	drilled_at timestamptz NOT NULL,
	tenant text NOT NULL,
	rows bigint NOT NULL,
	seconds numeric NOT NULL,
	matches boolean NOT NULL,
	problem text
) USING heap;
COMMENT ON TABLE deletion_guard.drill_result IS 'results of drill()';
COMMENT ON COLUMN deletion_guard.drill_result.drill_id IS 'number';
COMMENT ON COLUMN deletion_guard.drill_result.archive IS 'archive';
COMMENT ON COLUMN deletion_guard.drill_result.drilled_at IS 'when';
COMMENT ON COLUMN deletion_guard.drill_result.tenant IS 'tenant''s key';
COMMENT ON COLUMN deletion_guard.drill_result.rows IS 'rows restored and compared';
COMMENT ON COLUMN deletion_guard.drill_result.seconds IS 'how long that took, in seconds';
COMMENT ON COLUMN deletion_guard.drill_result.matches IS 'was what came back what the archive has?';
COMMENT ON COLUMN deletion_guard.drill_result.problem IS 'if not, why';

SELECT pg_catalog.pg_extension_config_dump('deletion_guard.rehydration_record', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.drill_result', '');
SELECT pg_catalog.pg_extension_config_dump('deletion_guard.drill_result_drill_id_seq', '');

CREATE FUNCTION deletion_guard.rehydrate(tenant text, archive text, relations regclass[] = NULL,
		on_conflict text = 'error', into_schema name = NULL, dry_run boolean = false,
		with_referenced boolean = false, mapping jsonb = NULL, fire_triggers boolean = false,
		left_out text = 'error', extra text = 'keep', rows jsonb = NULL,
		as_tenant text = '', renumber boolean = false,
		OUT relation regclass, OUT tenant text, OUT found bigint, OUT restored bigint,
		OUT identical bigint, OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_rehydrate';
REVOKE EXECUTE ON FUNCTION deletion_guard.rehydrate(text, text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.rehydrate(text, text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.rehydrate(text, text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) IS
	'restores a tenant''s rows from an archive of pg_dump on the server or, with archive => ''server:NAME'', from a running copy of the database that a foreign server of postgres_fdw leads to, less those that were purged: all of them, or an error and nothing. relations: from these tables only. Rows of the tenants that the archive has and that have no place here, and rows whose tenant cannot be told, as their parents are neither in the archive nor live, make the call fail; with relations, or left_out => ''report'', they are left out and counted in problem. Tables of the archive of which nothing tells whose rows they have get a line each, and so do tables of tenants that it lacks. Rows of partitions that are gone go to the table that the archive says they were partitions of. Live rows that differ in links only that ON DELETE SET NULL or SET DEFAULT took count as identical and get the links back. on_conflict, dry_run: as for undelete(). into_schema: into copies of the tables in a new schema, which belong to the caller or, for a superuser, to the tables'' owners. with_referenced: also rows without a tenant, in whatever table, that they refer to and that are missing. mapping: {"old table": "new table"} or {"old table": {"relation": "new", "columns": {"old": "new", "gone": null, "owner": {"value": "3"}}}}, where null leaves a column out, or a table ("schema_migrations": null, of which nothing tells the tenant), and a value stands for what the rows had: they come back as another tenant''s, but are told, counted and reported as those of the tenant that the archive has them of. fire_triggers: row triggers of the application fire, except those with transition tables; statement triggers never do. rows: only these, as {"schema.table": [{"id": 7}, {"id": 9}]} with the keys that compare_rows() shows, and the tenants'' rows that they refer to and that are missing. extra => ''delete'': live rows of the tenants that the archive does not have go to the bin, as a deletion with its ceilings, which problem names; with on_conflict => ''replace'' the tenants are then exactly as they were, and undeleting that deletion with on_conflict => ''replace'' takes it back. No trigger of the application fires for them, nothing is cascaded, and if a row of another tenant, or one that the archive cannot tell anything of, refers to one of them, or it is not certain which rows the archive has, the call fails. as_tenant: the rows become another tenant''s: its key takes the place of the old one in columns that tell the tenant and in those that foreign keys connect with them. The tenant table''s row comes back under the new key; where that tenant exists, it stays out, and the two are merged. renumber: keys that tables make by a default (identity, serial, any volatile one of a column with a unique index) are kept where they are free, else they get new values, and so does every reference to them by foreign keys and declared steps, not from within jsonb and the like; other keys that are taken are conflicts. The old tenant''s live rows and its bin stay as they are; rows of it that were purged stay away. What the rows refer to of the old tenant''s has to come along. Not for tables that are a tenant''s as a whole. Large objects do not come back; problem counts references to them that lead nowhere: restore the archive elsewhere, and bring the objects over with lo_export() and lo_import(file, oid). Takes membership in pg_read_server_files or, for a copy, USAGE on the server and a user mapping and INSERT on the tables, UPDATE to replace rows and put links back, DELETE and SELECT for extra => ''delete''. ROW EXCLUSIVE lock on the tables; excludes undelete, rehydrate and purge of the tenant until the transaction ends, and with_referenced purges of rows without a tenant. Fails with TG04x for the archive, otherwise as undelete()';

CREATE FUNCTION deletion_guard.rehydrate(tenants text[], archive text, relations regclass[] = NULL,
		on_conflict text = 'error', into_schema name = NULL, dry_run boolean = false,
		with_referenced boolean = false, mapping jsonb = NULL, fire_triggers boolean = false,
		left_out text = 'error', extra text = 'keep', rows jsonb = NULL,
		as_tenant text = '', renumber boolean = false,
		OUT relation regclass, OUT tenant text, OUT found bigint, OUT restored bigint,
		OUT identical bigint, OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_rehydrate_tenants';
REVOKE EXECUTE ON FUNCTION deletion_guard.rehydrate(text[], text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.rehydrate(text[], text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.rehydrate(text[], text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) IS
	'rehydrate() for several tenants in one pass over the archive: all of them or none';

CREATE FUNCTION deletion_guard.rehydrate_without_tenant(archive text, relations regclass[] = NULL,
		on_conflict text = 'error', into_schema name = NULL, dry_run boolean = false,
		with_referenced boolean = false, mapping jsonb = NULL, fire_triggers boolean = false,
		left_out text = 'error', extra text = 'keep', rows jsonb = NULL,
		OUT relation regclass, OUT tenant text, OUT found bigint, OUT restored bigint,
		OUT identical bigint, OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_rehydrate_without_tenant';
REVOKE EXECUTE ON FUNCTION deletion_guard.rehydrate_without_tenant FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.rehydrate_without_tenant TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.rehydrate_without_tenant IS
	'rehydrate() for exactly those rows that have no tenant, in tables that have tenants: their tenant column is null, or no foreign key on their path leads to one. Excludes undelete, rehydrate and purge of such rows until the transaction ends';

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
	'rehydrations that are running: what they do, the table being read, and how far they have come. With client_min_messages = debug1 a caller gets a line for each table that has been read';
COMMENT ON COLUMN deletion_guard.rehydration_progress.pid IS 'process that rehydrates';
COMMENT ON COLUMN deletion_guard.rehydration_progress.database IS 'database it works in';
COMMENT ON COLUMN deletion_guard.rehydration_progress.phase IS 'finding (keys of parents, which tell whose rows are whose), restoring, or checking';
COMMENT ON COLUMN deletion_guard.rehydration_progress.relation IS 'table being read; null in another database';
COMMENT ON COLUMN deletion_guard.rehydration_progress.bytes_done IS 'bytes of the archive read';
COMMENT ON COLUMN deletion_guard.rehydration_progress.bytes_total IS 'bytes to be read; null where not known';
COMMENT ON COLUMN deletion_guard.rehydration_progress.rows_read IS 'rows read';
COMMENT ON COLUMN deletion_guard.rehydration_progress.rows_kept IS 'of these, rows of the tenants asked for';
COMMENT ON COLUMN deletion_guard.rehydration_progress.percent IS 'bytes_done of bytes_total';
COMMENT ON COLUMN deletion_guard.rehydration_progress.time_left IS 'estimate, if it goes on at this pace';
COMMENT ON COLUMN deletion_guard.rehydration_progress.started_at IS 'when it began';

CREATE FUNCTION deletion_guard_internal.rehydrate_once(run text, tenants text[], archive text,
		relations regclass[] = NULL, on_conflict text = 'error', with_referenced boolean = false,
		mapping jsonb = NULL, fire_triggers boolean = false, left_out text = 'error', extra text = 'keep',
		OUT relation regclass, OUT tenant text, OUT found bigint, OUT restored bigint,
		OUT identical bigint, OUT skipped bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_rehydrate_once';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.rehydrate_once FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard_internal.rehydrate_once TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard_internal.rehydrate_once IS
	'rehydrate() for those of the tenants that this run has not rehydrated yet';

/*
 * The work of many tenants in portions that stay done when a later one fails.
 * CALL it again with the same run to go on.
 */
CREATE PROCEDURE deletion_guard.rehydrate_each(tenants text[], archive text, run text,
		relations regclass[] = NULL, on_conflict text = 'error', with_referenced boolean = false,
		mapping jsonb = NULL, fire_triggers boolean = false, tenants_at_once integer = 1,
		left_out text = 'error', INOUT restored bigint = NULL, INOUT problem text = NULL, extra text = 'keep')
	LANGUAGE plpgsql
	AS $$
DECLARE
	portion text[];
	rows bigint;
	problems text;
BEGIN
	IF tenants IS NULL OR archive IS NULL OR run IS NULL OR tenants_at_once IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'tenants, archive, run and tenants_at_once must not be null';
	END IF;
	IF tenants_at_once < 1 THEN
		RAISE invalid_parameter_value USING MESSAGE = 'tenants_at_once must be 1 at least';
	END IF;
	restored := 0;
	problem := NULL;
	FOR i IN 1 .. coalesce(pg_catalog.array_length(tenants, 1), 0) BY tenants_at_once LOOP
		portion := tenants[i : i + tenants_at_once - 1];
		SELECT pg_catalog.sum(r.restored),
				pg_catalog.string_agg(pg_catalog.concat_ws(': ', r.tenant, r.relation, r.problem), '; ')
				FILTER (WHERE r.problem IS NOT NULL AND (r.tenant IS NOT NULL OR r.found IS NULL))
			INTO rows, problems
			FROM deletion_guard_internal.rehydrate_once(run, portion, archive, relations, on_conflict, with_referenced, mapping,
				fire_triggers, left_out, extra) r;
		COMMIT;
		restored := restored + coalesce(rows, 0);
		IF problems IS NOT NULL AND pg_catalog.strpos(coalesce(problem, ''), problems) = 0 THEN
			problem := pg_catalog.concat_ws('; ', problem, problems);
		END IF;
		IF rows IS NOT NULL THEN
			RAISE NOTICE 'rehydrated %: % rows%', pg_catalog.array_to_string(portion, ', '), rows,
				CASE WHEN problems IS NOT NULL THEN ', with problems' ELSE '' END;
		END IF;
	END LOOP;
END
$$;
REVOKE EXECUTE ON PROCEDURE deletion_guard.rehydrate_each FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE deletion_guard.rehydrate_each TO pg_read_server_files;
COMMENT ON PROCEDURE deletion_guard.rehydrate_each IS
	'rehydrates tenants, tenants_at_once of them in each transaction, which is committed; called again with the same run it goes on with those that are left, and fails if the run was of another archive or of other relations. Returns how many rows this call has restored, and the problems, which rehydration_record keeps for each tenant. Cannot run in a transaction block; otherwise as rehydrate()';

CREATE FUNCTION deletion_guard.drill(archive text, tenants text[] = NULL, sample integer = 5,
		left_out text = 'error', mapping jsonb = NULL,
		OUT tenant text, OUT rows bigint, OUT seconds numeric, OUT matches boolean, OUT problem text) RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_drill';
REVOKE EXECUTE ON FUNCTION deletion_guard.drill FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.drill TO pg_read_server_files;
COMMENT ON FUNCTION deletion_guard.drill IS
	'rehearses rehydrating these tenants, or a random sample of those in the archive: restores each into a new schema and rolls that back. Returns, and keeps in drill_result, how many rows, in how many seconds, and whether they match the archive. They do not if a row or a column of the archive could not be restored or compared, or may be the tenant''s and was left out: problem says which; with left_out => ''report'' it says so only; mapping, as for rehydrate(), where null takes out single tables that are of no tenant. Takes membership in pg_read_server_files or, for a copy, USAGE on the server and a user mapping, CREATE on the database and SELECT on the tables';

