/*
 * Seeing what is not protected.
 */

CREATE FUNCTION deletion_guard_internal.not_ordinary(relation oid) RETURNS text
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_not_ordinary';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.not_ordinary FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.not_ordinary IS
	'why a table, or a partition or child of it, is not one that can be guarded, and what to do; null if nothing is in the way';

CREATE FUNCTION deletion_guard_internal.guarded_with(relation oid) RETURNS oid
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_guarded_with';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.guarded_with FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.guarded_with IS
	'the guarded table that a table is, or is a part of: a partition, or a chunk of a hypertable; null if it is not guarded';

-- Tables that hold tenants' rows, as far as one can tell from their columns and
-- foreign keys. Just-in-time compilation takes longer than any of these queries,
-- whose costs are overestimated. How many rows they look at is underestimated where
-- many tables were made a moment ago: then nested loops would take minutes.
CREATE FUNCTION deletion_guard_internal.find_unguarded_tables()
RETURNS TABLE (relation regclass, why text, obstacle text, undecided boolean)
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off SET enable_nestloop = off
AS $$
	WITH RECURSIVE
	tenants AS (
		SELECT g.relation::oid AS relid
		FROM deletion_guard.guard g
		WHERE g.tenant_column IS NOT NULL OR g.tenant_path IS NOT NULL OR g.tenant IS NOT NULL
		UNION
		SELECT t.relation::oid FROM deletion_guard.tenant_table t),
	-- names of tenant columns; the tenant table's own key is "id" or the like
	tenant_column AS (
		SELECT g.tenant_column AS name, min(g.relation::text COLLATE "C") AS relation
		FROM deletion_guard.guard g
		WHERE g.tenant_column IS NOT NULL
			AND NOT EXISTS (SELECT FROM deletion_guard.tenant_table t WHERE t.relation = g.relation)
		GROUP BY g.tenant_column),
	candidate AS (
		SELECT c.oid AS relid
		FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
			AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'deletion_guard', 'deletion_guard_bin')
			-- what an extension makes in a schema of its own is part of other tables
			AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid
				AND d.deptype = 'e')
			AND NOT EXISTS (SELECT FROM deletion_guard.guard g WHERE g.relation = c.oid)),
	-- candidates from which foreign keys lead to tenants' rows
	reached(relid) AS (
		SELECT relid FROM tenants
		UNION
		SELECT k.conrelid
		FROM reached
		JOIN pg_constraint k ON k.confrelid = reached.relid AND k.contype = 'f'
		JOIN candidate ON candidate.relid = k.conrelid),
	reason AS (
		SELECT t.relation::oid AS relid, 0 AS place, 'it is the tenant table' AS why
		FROM deletion_guard.tenant_table t
		UNION ALL
		SELECT i.inhrelid, 1, format('it inherits from %s, which is guarded', i.inhparent::regclass)
		FROM pg_inherits i JOIN tenants ON tenants.relid = i.inhparent
		UNION ALL
		SELECT a.attrelid, 2, format('column %I, the tenant column of %s', a.attname, c.relation)
		FROM pg_attribute a JOIN tenant_column c ON c.name = a.attname
		WHERE a.attnum > 0 AND NOT a.attisdropped
		UNION ALL
		SELECT k.conrelid, CASE WHEN tenants.relid IS NULL THEN 4 ELSE 3 END,
			format('foreign key %I to %s', k.conname, k.confrelid::regclass)
				|| CASE WHEN tenants.relid IS NULL THEN ', which holds tenants'' rows' ELSE '' END
		FROM pg_constraint k
		JOIN reached ON reached.relid = k.confrelid
		LEFT JOIN tenants ON tenants.relid = k.confrelid
		WHERE k.contype = 'f' AND k.conrelid <> k.confrelid
		UNION ALL
		-- tables that guard_schema() could not place, until somebody decides
		SELECT c.oid, 5, format('it is in schema %I, which is guarded, and nothing tells whose its rows are', s.schema_name)
		FROM deletion_guard.guarded_schema s
		JOIN pg_namespace n ON n.nspname = s.schema_name
		JOIN pg_class c ON c.relnamespace = n.oid
		WHERE NOT EXISTS (SELECT FROM deletion_guard.left_unguarded l WHERE l.schema_name = n.nspname AND l.table_name = c.relname)
			AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
	SELECT u.relation, u.why || coalesce(' (left unguarded by ' || quote_ident(l.left_by) || ')', ''),
		deletion_guard_internal.not_ordinary(u.relation), u.place = 5
	FROM (SELECT DISTINCT ON (candidate.relid) candidate.relid::regclass AS relation, reason.why, reason.place
		FROM candidate JOIN reason ON reason.relid = candidate.relid
		ORDER BY candidate.relid, reason.place, reason.why) u
	JOIN pg_class c ON c.oid = u.relation
	JOIN pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN deletion_guard.left_unguarded l ON l.schema_name = n.nspname AND l.table_name = c.relname
	ORDER BY u.relation::oid
$$;
COMMENT ON FUNCTION deletion_guard_internal.find_unguarded_tables IS 'what the view unguarded_table shows';

CREATE VIEW deletion_guard.unguarded_table AS
	SELECT relation, why || coalesce('; it cannot be guarded: ' || obstacle, '') AS why
	FROM deletion_guard_internal.find_unguarded_tables();
GRANT SELECT ON deletion_guard.unguarded_table TO PUBLIC;
COMMENT ON VIEW deletion_guard.unguarded_table IS
	'tables that are not guarded but hold tenants'' rows, and why we think so; and tables of guarded schemas of which nothing tells whose rows they have, until that is decided: guard_table() without a column, or leave_unguarded()';
COMMENT ON COLUMN deletion_guard.unguarded_table.relation IS 'table that is not guarded';
COMMENT ON COLUMN deletion_guard.unguarded_table.why IS 'why we think that it holds tenants'' rows';

/*
 * verify() asks these, each about one side. A row for each thing that was
 * looked at: ok, or what is wrong and what to do.
 */
CREATE FUNCTION deletion_guard_internal.unreached_hooks() RETURNS text[]
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_unreached_hooks';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.unreached_hooks FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.unreached_hooks IS
	'which of the guard''s hooks another library keeps from being called';

CREATE FUNCTION deletion_guard_internal.server_hides_merge() RETURNS boolean
	LANGUAGE C STABLE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_server_hides_merge';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.server_hides_merge FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.server_hides_merge IS
	'part of verify(): does this minor release of the server hide rows that a MERGE deletes from triggers?';

CREATE FUNCTION deletion_guard_internal.server_setting(name text) RETURNS text
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_server_setting';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.server_setting FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.server_setting IS
	'part of verify(): a setting, whoever owns the extension';

-- The server, the session, and the extension itself.
CREATE FUNCTION deletion_guard_internal.verify_server()
RETURNS TABLE (check_name text, object text, ok boolean, detail text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH preload AS (
		SELECT bool_or(trim(l) ~ '^"?(\$libdir/)?deletion_guard(\.so)?"?$') IS TRUE AS everywhere
		FROM unnest(string_to_array(deletion_guard_internal.server_setting('shared_preload_libraries'), ',')) l)
	SELECT 'preload', NULL, v.ok,
		CASE WHEN v.ok THEN 'loaded when a session starts'
			 ELSE 'the library loads with the first DDL command or guarded table that a session touches. Until '
				  'then, what fires no trigger gets past it: DDL with event triggers off, or in single-user mode. '
				  'And a MERGE that deletes rows of a partitioned table and moves others to another partition is '
				  'refused, as it cannot be told which are which. SET of what only superusers may set seems to work, until the '
				  'library loads: it does not take such a value, and warns. Add deletion_guard to session_preload_libraries or shared_preload_libraries.' END
	FROM (SELECT everywhere OR EXISTS (
			SELECT FROM unnest(string_to_array(deletion_guard_internal.server_setting('session_preload_libraries'), ',')) l
			WHERE trim(l) ~ '^"?(\$libdir/)?deletion_guard(\.so)?"?$') AS ok
		  FROM preload) v

	UNION ALL
	SELECT 'server version', current_setting('server_version'), v.ok,
		CASE WHEN v.ok THEN 'as tested'
			 ELSE 'this minor release hides rows that a MERGE deletes from triggers, so they are captured one by one; not those of a '
				  'MERGE inside the function that loads the library. Preload it, or install the latest minor release.' END
	FROM (SELECT NOT deletion_guard_internal.server_hides_merge() AS ok) v

	UNION ALL
	SELECT 'hooks', h.hook, h.hook IS NULL,
		CASE WHEN h.hook IS NULL THEN 'all are called'
			 ELSE 'not called: a library loaded after deletion_guard does not pass calls on. Load deletion_guard last, or do without that library.' END
	FROM (SELECT unnest(CASE WHEN u.hooks = '{}' THEN '{NULL}'::text[] ELSE u.hooks END) AS hook
		  FROM (SELECT deletion_guard_internal.unreached_hooks() AS hooks) u) h

	UNION ALL
	SELECT 'counting', NULL, v.ok,
		CASE WHEN v.ok THEN 'PostgreSQL counts the rows that are deleted, and they are compared with those that are kept'
			 ELSE 'track_counts is off: rows that are deleted without firing triggers go unnoticed, and guarded tables cannot be truncated. Set it on.' END
	FROM (SELECT deletion_guard_internal.server_setting('track_counts') = 'on' AND current_setting('track_counts') = 'on' AS ok) v

	UNION ALL
	SELECT 'event triggers', e.name, p.oid IS NOT NULL AND t.evtenabled = 'A',
		CASE WHEN t.oid IS NULL THEN 'it does not exist. Reinstall the extension: DDL goes unseen in new sessions, and new tables are not guarded.'
			 WHEN p.oid IS NULL THEN 'it calls another function. Reinstall the extension.'
			 WHEN t.evtenabled <> 'A' THEN format('it is not enabled always. ALTER EVENT TRIGGER %I ENABLE ALWAYS.', e.name) END
	FROM (VALUES ('deletion_guard_ddl_start', 'ddl_start'), ('deletion_guard_ddl_end', 'ddl_end')) AS e (name, function)
	LEFT JOIN pg_event_trigger t ON t.evtname = e.name
	LEFT JOIN pg_proc p ON p.oid = t.evtfoid AND p.proname = e.function AND p.pronamespace = 'deletion_guard_internal'::regnamespace

	UNION ALL
	SELECT 'settings', s.name, s.value = s.wanted,
		CASE WHEN s.value <> s.wanted THEN format('it is "%s" here. %s', s.value, s.advice) END
	FROM (VALUES
		('event_triggers', coalesce(current_setting('event_triggers', true), 'on'), 'on',
		 'Without event triggers new tables and partitions are not guarded. Set it to on.'),
		('session_replication_role', current_setting('session_replication_role'), 'origin',
		 'The application''s own triggers and foreign keys do not fire. Set it to origin.'),
		('deletion_guard.restoring', (SELECT reset_val FROM pg_settings WHERE name = 'deletion_guard.restoring'), 'off',
		 'It opens the bin and the ledger to superusers; set it in the session that restores a dump only.'),
		('deletion_guard.ddl', (SELECT replace(reset_val, 'keep', 'refuse') FROM pg_settings WHERE name = 'deletion_guard.ddl'), 'refuse',
		 'Guarded tables may be dropped, and their rows are lost. Set it to refuse or keep.'),
		('allow_system_table_mods', (SELECT reset_val FROM pg_settings WHERE name = 'allow_system_table_mods'), 'off',
		 'Superusers may take guard triggers out of the catalogs by hand. Set it to off.'))
		AS s (name, value, wanted, advice)

	UNION ALL
	SELECT 'stored settings', concat_ws(' in ', 'role ' || r.rolname, 'database ' || d.datname), false,
		format('%s. Take it back with ALTER ROLE or ALTER DATABASE ... RESET %s.', s.setting, split_part(s.setting, '=', 1))
	FROM preload, pg_db_role_setting c
	CROSS JOIN LATERAL unnest(c.setconfig) AS s (setting)
	LEFT JOIN pg_roles r ON r.oid = c.setrole
	LEFT JOIN pg_database d ON d.oid = c.setdatabase
	CROSS JOIN LATERAL (SELECT lower(split_part(s.setting, '=', 1)) AS name,
							   lower(substr(s.setting, strpos(s.setting, '=') + 1)) AS value) v
	WHERE (c.setdatabase = 0 OR d.datname = current_database())
		AND (v.name = 'deletion_guard.restoring' AND v.value NOT IN ('off', 'of', 'false', 'f', 'no', 'n', '0')
			 OR v.name = 'deletion_guard.ddl' AND v.value NOT IN ('refuse', 'keep')
			 OR v.name = 'session_replication_role' AND v.value <> 'origin'
			 OR v.name = 'event_triggers' AND v.value IN ('off', 'of', 'false', 'f', 'no', 'n', '0')
			 OR v.name = 'allow_system_table_mods' AND v.value NOT IN ('off', 'of', 'false', 'f', 'no', 'n', '0')
			 OR v.name = 'session_preload_libraries' AND NOT preload.everywhere AND v.value !~ 'deletion_guard')

	UNION ALL
	SELECT 'setting privileges', p.parname, false,
		format('%s may %s it, and so lift the guard. REVOKE %s ON PARAMETER %s FROM %s.', v.grantee, a.privilege_type,
			   a.privilege_type, p.parname, v.grantee)
	FROM pg_parameter_acl p
	CROSS JOIN LATERAL aclexplode(p.paracl) a
	LEFT JOIN pg_roles r ON r.oid = a.grantee
	CROSS JOIN LATERAL (SELECT coalesce(quote_ident(r.rolname), 'PUBLIC') AS grantee) v
	WHERE (p.parname IN ('deletion_guard.restoring', 'deletion_guard.locked', 'deletion_guard.authorities_file',
						 'allow_system_table_mods', 'event_triggers', 'session_preload_libraries', 'shared_preload_libraries')
			 OR p.parname = 'deletion_guard.ddl' AND a.privilege_type = 'ALTER SYSTEM')	-- "allow" is for superusers only, who may not expect it
		AND r.rolsuper IS NOT TRUE

	UNION ALL
	SELECT 'ceilings', NULL, true,
		CASE WHEN max_rows = 0 AND max_tenants = 0 AND wipes = 0
			 THEN 'none is set. Set deletion_guard.max_tenants and deletion_guard.tenant_wipes_per_hour to what the application needs.'
			 ELSE format('max_rows %s, max_tenants %s, tenant_wipes_per_hour %s%s', max_rows, max_tenants, wipes,
						 CASE WHEN current_setting('deletion_guard.limit_action') = 'warning' THEN '; they only warn' ELSE '' END) END
	FROM (SELECT current_setting('deletion_guard.max_rows')::integer AS max_rows,
				 current_setting('deletion_guard.max_tenants')::integer AS max_tenants,
				 current_setting('deletion_guard.tenant_wipes_per_hour')::integer AS wipes) c

	UNION ALL
	SELECT 'retention', NULL, r.value !~ '^\s*0+\s*[a-zA-Z]*$',
		CASE WHEN r.value ~ '^\s*0+\s*[a-zA-Z]*$' THEN 'none: deleted rows may be purged at once. Set deletion_guard.retention.'
			 WHEN r.value ~ '^\s*(-1)?\s*$' THEN 'deleted rows are kept for ever'
			 ELSE r.value END
	FROM (SELECT current_setting('deletion_guard.retention') AS value) r

	UNION ALL
	SELECT 'lock', NULL, l.everywhere OR NOT (l.locked OR l.file),
		CASE WHEN NOT l.everywhere AND (l.locked OR l.file)
			 THEN format('%s set, which does not bind: a reload changes that, and a session may have it otherwise before it loads the library. '
						 'Add deletion_guard to shared_preload_libraries and restart the server.',
						 CASE WHEN l.locked AND l.file THEN 'deletion_guard.locked and deletion_guard.authorities_file are'
							  WHEN l.locked THEN 'deletion_guard.locked is' ELSE 'deletion_guard.authorities_file is' END)
			 WHEN l.locked AND l.file THEN 'giving up protection takes a token, and authorities come from a file'
			 WHEN l.locked THEN 'giving up protection takes a token. Set deletion_guard.authorities_file too, so that SQL cannot name authorities.'
			 ELSE 'a table''s owner may give up its protection. Set deletion_guard.locked and deletion_guard.authorities_file in postgresql.conf, to make that take a token.' END
	FROM (SELECT everywhere, coalesce(current_setting('deletion_guard.locked', true), 'off') = 'on' AS locked,
				 coalesce(current_setting('deletion_guard.authorities_file', true), '') <> '' AS file
		  FROM preload) l

	UNION ALL
	SELECT 'authorities', NULL, a.problem IS NULL,
		coalesce(a.problem || CASE WHEN coalesce(a.active, 0) = 0 THEN '. No token counts until that is repaired.'
								   ELSE '. Give the file and its directory to another owner.' END,
				 CASE WHEN a.active = 0 THEN 'none is enrolled: nothing can be purged'
					  ELSE format('%s enrolled in %s, of which a purge takes %s', a.active, a.source,
								  greatest(current_setting('deletion_guard.approvals', true)::integer, (SELECT approvals FROM deletion_guard.approval_policy))) END)
	FROM deletion_guard.authority_source() a

	UNION ALL
	SELECT 'ledger', CASE WHEN NOT l.ok THEN 'deletion_guard.ledger' END, l.ok AND c.ahead IS NULL,
		CASE WHEN NOT l.ok THEN l.problem || '. Compare with a copy or a head kept elsewhere, and find out who did it.'
			 WHEN c.ahead IS NOT NULL THEN format('the server''s clock is behind its last entry, of %s, so purges are refused. Set the clock right.', c.ahead)
			 ELSE l.entries || ' entries' END
	FROM deletion_guard.verify_ledger() l
	CROSS JOIN (SELECT max(at) AS ahead FROM deletion_guard.ledger WHERE at > clock_timestamp()) c

	UNION ALL
	-- a new installation is given the interval to have its first
	SELECT 'drills', NULL, v.problem IS NULL,
		coalesce(v.problem, CASE WHEN v.wanted IS NULL THEN 'not expected: deletion_guard.drill_interval is not set'
								 WHEN v.succeeded IS NULL THEN format('one is expected every %s', v.setting)
								 ELSE 'the last one succeeded' END)
	FROM (SELECT d.*, CASE
			WHEN d.wanted IS NULL THEN NULL
			WHEN d.failed IS NOT NULL THEN d.failed
			WHEN coalesce(d.succeeded, d.since) < clock_timestamp() - d.wanted
				THEN format('none has succeeded for %s. Rehearse a restore with deletion_guard.drill(); deletion_guard.drill_interval says how often.', d.setting)
			END AS problem
		  FROM (SELECT s.setting, CASE WHEN s.setting !~ '^\s*(-1)?\s*$' THEN s.setting::interval END AS wanted,
					   (SELECT min(i.live_since) FROM deletion_guard.installation i) AS since,
					   (SELECT max(r.drilled_at) FROM deletion_guard.drill_result r WHERE r.matches) AS succeeded,
					   (SELECT format('the last one of tenant %s, from %s, did not succeed: %s. Repair that, and call deletion_guard.drill() again.',
									  r.tenant, r.archive, r.problem)
						FROM deletion_guard.drill_result r
						WHERE NOT r.matches AND NOT EXISTS (SELECT FROM deletion_guard.drill_result later
							WHERE later.tenant = r.tenant AND later.matches AND later.drill_id > r.drill_id)
							AND r.drilled_at > clock_timestamp() - CASE WHEN s.setting !~ '^\s*(-1)?\s*$' THEN s.setting::interval END
						ORDER BY r.drill_id DESC LIMIT 1) AS failed
				FROM (SELECT coalesce(current_setting('deletion_guard.drill_interval', true), '') AS setting) s) d) v

	UNION ALL
	SELECT 'archives', NULL, true,
		CASE a.inflater WHEN 'ISA-L' THEN 'gzip is read through ISA-L'
			 ELSE 'gzip is read through zlib, at about a third of the speed of ISA-L. Build deletion_guard where libisal-dev is installed.' END
	FROM deletion_guard_internal.archive_inflater() a (inflater)

	UNION ALL
	SELECT 'extension', e.extversion, e.extversion = a.default_version AND r.rolsuper,
		CASE WHEN e.extversion <> a.default_version THEN format('version %s is installed on the server. ALTER EXTENSION deletion_guard UPDATE.', a.default_version)
			 WHEN NOT r.rolsuper THEN format('its owner %I is not a superuser any more, so what it must write down or make may be refused, and deletions '
				  'with it. ALTER ROLE %I SUPERUSER, or REASSIGN OWNED BY %I TO a superuser.', r.rolname, r.rolname, r.rolname)
			 ELSE 'version ' || e.extversion END
	FROM pg_extension e
	LEFT JOIN pg_available_extensions a ON a.name = e.extname
	JOIN pg_roles r ON r.oid = e.extowner
	WHERE e.extname = 'deletion_guard'

	UNION ALL
	SELECT 'functions', 'deletion_guard_internal.' || f.name || '()', v.problem IS NULL, v.problem
	FROM unnest('{capture_statement,capture_row,capture_truncate,capture_link,capture_rename,protect,ddl_start,ddl_end}'::name[]) AS f (name)
	JOIN pg_extension e ON e.extname = 'deletion_guard'
	LEFT JOIN pg_proc p ON p.pronamespace = 'deletion_guard_internal'::regnamespace AND p.proname = f.name
	LEFT JOIN pg_language l ON l.oid = p.prolang
	CROSS JOIN LATERAL (SELECT CASE
		WHEN p.oid IS NULL THEN 'it does not exist. Reinstall the extension.'
		WHEN l.lanname <> 'c' OR p.prosrc <> 'dg_' || f.name OR p.probin <> '$libdir/deletion_guard'
			THEN 'it was replaced by another. Reinstall the extension, and find out who did it.'
		WHEN NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
							AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e')
			THEN 'it does not belong to the extension any more. ALTER EXTENSION deletion_guard ADD FUNCTION.'
		END AS problem) v
	UNION ALL
	-- some run with their owner's rights
	SELECT 'functions', p.oid::regprocedure::text, false,
		format('it belongs to %I, not to the owner of the extension. ALTER FUNCTION %s OWNER TO %I.',
			   pg_get_userbyid(p.proowner), p.oid::regprocedure, pg_get_userbyid(e.extowner))
	FROM pg_extension e
	JOIN pg_proc p ON p.pronamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_internal'::regnamespace) AND p.proowner <> e.extowner
	WHERE e.extname = 'deletion_guard'
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.verify_server FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.verify_server IS 'part of verify(): the server, the session, the extension';

-- The tables that are guarded, and those that should be.
CREATE FUNCTION deletion_guard_internal.verify_tables()
RETURNS TABLE (check_name text, object text, ok boolean, detail text)
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	-- guarded tables with their partitions, and chunks
	WITH RECURSIVE member AS (
		SELECT g.relation, g.relation AS root FROM deletion_guard.guard g
		UNION ALL
		SELECT p.relid, g.relation
		FROM deletion_guard.guard g CROSS JOIN LATERAL pg_partition_tree(g.relation) p
		WHERE NOT EXISTS (SELECT FROM deletion_guard.guard own WHERE own.relation = p.relid)
		UNION ALL
		SELECT i.inhrelid, g.relation
		FROM deletion_guard.guard g JOIN pg_inherits i ON i.inhparent = g.relation
		JOIN pg_class c ON c.oid = i.inhrelid AND NOT c.relispartition
		WHERE deletion_guard_internal.guarded_with(i.inhrelid) = g.relation),
	guarded AS (
		SELECT m.relation, c.relkind, c.relpersistence,
			-- then rows may leave by a statement on another table (see guard_trigger.c);
			-- a table that had children once may still be captured row by row
			CASE WHEN c.relispartition THEN pg_partition_root(c.oid) <> m.root
				 WHEN c.relkind = 'p' THEN false
				 ELSE EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid OR i.inhparent = c.oid)
					OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'deletion_guard_capture_row' AND t.tgenabled = 'A')
						AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'deletion_guard_capture')
			END AS by_row
		FROM member m JOIN pg_class c ON c.oid = m.relation
		WHERE c.relkind <> 'f'),
	wanted AS (
		SELECT relation, 'deletion_guard_capture' AS name, 'capture_statement' AS function, 'A' AS mode
		FROM guarded WHERE NOT by_row
		UNION ALL
		SELECT relation, 'deletion_guard_capture_row', 'capture_row', CASE WHEN by_row THEN 'A' ELSE 'R' END
		FROM guarded WHERE relkind <> 'p'
		UNION ALL
		SELECT relation, 'deletion_guard_truncate', 'capture_truncate', 'A' FROM guarded
		UNION ALL
		SELECT g.relation, 'deletion_guard_link', 'capture_link', 'A' FROM guarded g
		WHERE g.relkind <> 'p' AND EXISTS (SELECT FROM pg_constraint k
			WHERE k.conrelid = g.relation AND k.contype = 'f' AND k.confdeltype IN ('n', 'd'))
		UNION ALL
		SELECT g.relation, 'deletion_guard_rename', 'capture_rename', 'A' FROM guarded g
		WHERE g.relkind <> 'p' AND EXISTS (SELECT FROM member m JOIN deletion_guard.tenant_table t ON t.relation = m.root
			WHERE m.relation = g.relation)),
	-- children have their parents' columns, and so what the foreign keys say of them
	kin AS (
		SELECT i.inhrelid AS child, i.inhparent AS parent
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND NOT c.relispartition
		UNION
		SELECT k.child, i.inhparent FROM kin k JOIN pg_inherits i ON i.inhrelid = k.parent),
	-- each tenant path, followed constraint by constraint
	walk AS (
		SELECT g.relation, g.tenant_path AS path, 1 AS next, g.relation::oid AS at
		FROM deletion_guard.guard g WHERE g.tenant_path <> '{}'
		UNION ALL
		SELECT w.relation, w.path, w.next + 1, k.confrelid
		FROM walk w JOIN pg_constraint k ON k.conname = w.path[w.next] AND k.contype = 'f'
			AND (k.conrelid = w.at OR EXISTS (SELECT FROM kin WHERE kin.child = w.at AND kin.parent = k.conrelid))),
	walked AS (
		SELECT DISTINCT ON (relation) relation, path, next, at FROM walk ORDER BY relation, next DESC),
	unguarded AS MATERIALIZED (
		SELECT relation, why, obstacle, undecided FROM deletion_guard_internal.find_unguarded_tables())

	SELECT 'guarded tables', NULL, count(*) > 0,
		CASE WHEN count(*) = 0 THEN 'none: every DELETE is final. Call deletion_guard.guard_table() or guard_schema().'
			 ELSE count(*) || ' tables are guarded' END
	FROM deletion_guard.guard
	UNION ALL
	SELECT 'guarded tables', coalesce(b.name, 'table ' || g.relation::oid), false,
		format('it was dropped without deletion_guard having been asked. Find out by whom; its rows may be in a backup. '
			'Then call deletion_guard.unguard_table(%s).', g.relation::oid)
	FROM deletion_guard.guard g
	CROSS JOIN LATERAL (SELECT max(b.relation_name) AS name FROM deletion_guard.bin b WHERE b.relation = g.relation) b
	WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = g.relation)

	UNION ALL
	SELECT 'tenant table', t.relation::text, v.problem IS NULL,
		coalesce(v.problem, 'key ' || quote_ident(t.key_column))
	FROM (SELECT) AS one
	LEFT JOIN deletion_guard.tenant_table t ON true
	CROSS JOIN LATERAL (SELECT CASE
		WHEN t.relation IS NULL
			THEN 'none is set: purges cannot compare names, and tenants are not counted. Call deletion_guard.set_tenant_table().'
		WHEN NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.relation)
			THEN 'it does not exist. Call deletion_guard.set_tenant_table() with the present one.'
		WHEN NOT EXISTS (SELECT FROM pg_index i
				JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
				WHERE i.indrelid = t.relation AND a.attname = t.key_column AND i.indisunique AND i.indisvalid
					AND i.indnkeyatts = 1 AND i.indpred IS NULL)
			THEN format('its key %I is not unique. Make it unique, or name another key with deletion_guard.set_tenant_table().', t.key_column)
		WHEN t.name_column IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute a
				WHERE a.attrelid = t.relation AND a.attname = t.name_column AND NOT a.attisdropped)
			THEN format('its column %I does not exist. Call deletion_guard.set_tenant_table() anew.', t.name_column)
		WHEN NOT EXISTS (SELECT FROM deletion_guard.guard g WHERE g.relation = t.relation)
			THEN 'it is not guarded itself. Call deletion_guard.guard_table() for it, with its key as the tenant column.'
		END AS problem) v

	UNION ALL
	SELECT 'guard triggers', format('%s on %s', w.name, w.relation), v.problem IS NULL, v.problem
	FROM wanted w
	LEFT JOIN pg_trigger t ON t.tgrelid = w.relation AND t.tgname = w.name
	LEFT JOIN pg_proc p ON p.oid = t.tgfoid AND p.pronamespace = 'deletion_guard_internal'::regnamespace AND p.proname = w.function
	CROSS JOIN LATERAL (SELECT CASE
		WHEN t.oid IS NULL THEN 'it does not exist. Call deletion_guard.guard_table() again.'
		WHEN p.oid IS NULL THEN 'it calls another function. Drop it and call deletion_guard.guard_table() again.'
		WHEN t.tgqual IS NOT NULL AND w.function <> 'capture_link' THEN 'it has a condition. Drop it and call deletion_guard.guard_table() again.'
		WHEN t.tgenabled <> w.mode::"char"
			THEN format('it is %s. Call deletion_guard.guard_table() again.',
				CASE t.tgenabled WHEN 'D' THEN 'disabled' WHEN 'A' THEN 'enabled always' WHEN 'R' THEN 'enabled for replicas only'
					ELSE 'not enabled for replicas' END)
		END AS problem) v

	UNION ALL
	SELECT DISTINCT 'guard triggers', t.tgrelid::regclass::text, false,
		'it has guard triggers but is not enrolled, so deletions from it fail. Call deletion_guard.guard_table() for it, '
		'or drop its triggers whose names begin with "deletion_guard_".'
	FROM pg_trigger t
	JOIN pg_proc p ON p.oid = t.tgfoid AND p.pronamespace = 'deletion_guard_internal'::regnamespace
		AND p.proname IN ('capture_statement', 'capture_row', 'capture_truncate', 'capture_link')
	WHERE NOT EXISTS (SELECT FROM member m WHERE m.relation = t.tgrelid)

	UNION ALL
	SELECT 'tenant sources', g.relation::text, v.problem IS NULL, v.problem
	FROM deletion_guard.guard g
	JOIN pg_class c ON c.oid = g.relation
	LEFT JOIN walked w ON w.relation = g.relation
	CROSS JOIN LATERAL (SELECT CASE
		WHEN g.tenant_column IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute a
				WHERE a.attrelid = g.relation AND a.attname = g.tenant_column AND NOT a.attisdropped)
			THEN format('its tenant column %I does not exist, so its deletions fail. Call deletion_guard.guard_table() with the present one.', g.tenant_column)
		WHEN w.next <= cardinality(w.path)
			THEN format('%s has no foreign key %I, so deletions from it fail. Call deletion_guard.guard_table() with the present path.',
				w.at::regclass, w.path[w.next])
		WHEN w.next > cardinality(w.path)
				AND NOT EXISTS (SELECT FROM deletion_guard.tenant_table t WHERE t.relation = w.at)
				AND NOT EXISTS (SELECT FROM deletion_guard.guard e WHERE e.relation = w.at AND e.tenant_column IS NOT NULL)
			THEN format('its tenant path ends at %s, which knows no tenant, so its deletions fail. Guard that table with a tenant column.', w.at::regclass)
		END AS problem) v

	UNION ALL
	SELECT 'tenant sources', s.relation::text, false,
		format('its tenant path leads %s, so deletions from it fail. Call deletion_guard.guard_table() with the present path.', v.problem)
	FROM deletion_guard.guard_step s
	CROSS JOIN LATERAL (SELECT CASE
		WHEN s.foreign_key IS NOT NULL AND NOT EXISTS (SELECT FROM pg_constraint k
				WHERE k.conrelid = s.source AND k.conname = s.foreign_key AND k.contype = 'f')
			THEN format('over %I, which is no foreign key of %s', s.foreign_key, s.source)
		WHEN EXISTS (SELECT FROM unnest(s.columns || s.type_column) c (name) WHERE c.name IS NOT NULL
				AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = s.source AND a.attname = c.name AND NOT a.attisdropped))
			THEN format('over columns that %s does not have', s.source)
		WHEN s.target IS NOT NULL AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.target) THEN 'to a table that does not exist'
		WHEN EXISTS (SELECT FROM unnest(s.key_columns) c (name)
				WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = s.target AND a.attname = c.name AND NOT a.attisdropped))
			THEN format('to columns that %s does not have', s.target)
		WHEN s.step = (SELECT max(l.step) FROM deletion_guard.guard_step l WHERE l.relation = s.relation) AND s.target IS NOT NULL
				AND NOT EXISTS (SELECT FROM deletion_guard.tenant_table t WHERE t.relation = s.target)
				AND NOT EXISTS (SELECT FROM deletion_guard.guard e WHERE e.relation = s.target
					AND (e.tenant_column IS NOT NULL OR e.tenant_path IS NOT NULL))
			THEN format('to %s, which knows no tenant', s.target)
		END AS problem) v
	WHERE v.problem IS NOT NULL

	UNION ALL
	SELECT 'storage', m.relation::text, v.problem IS NULL, v.problem
	FROM member m
	JOIN pg_class c ON c.oid = m.relation
	-- its partitions are asked about one by one
	CROSS JOIN LATERAL (SELECT CASE WHEN c.relkind <> 'p' THEN deletion_guard_internal.not_ordinary(c.oid) END AS odd) o
	CROSS JOIN LATERAL (SELECT CASE
		WHEN o.odd IS NOT NULL THEN format('%s Deletions from it fail, or are not kept.', o.odd)
		WHEN c.relpersistence = 'u' THEN 'it is unlogged: a crash empties it. ALTER TABLE ... SET LOGGED.'
		WHEN c.relnatts > 1597 AND (SELECT count(*) > 1597 FROM pg_attribute a
				WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v')
			THEN 'it has more than 1597 columns, to which the bin would add 3 of its own, so deletions from it fail. '
				'Drop columns, or move some to another table.'
		END AS problem) v

	UNION ALL
	SELECT 'partition trees', g.relation::text, false,
		format('it is a partition of %s, which is not guarded: rows that UPDATE moves from here to another partition are kept as deleted ones. '
			'Call deletion_guard.guard_table() for %1$s.', pg_partition_root(g.relation))
	FROM deletion_guard.guard g JOIN pg_class c ON c.oid = g.relation AND c.relispartition
	WHERE NOT EXISTS (SELECT FROM member m WHERE m.relation = pg_partition_root(g.relation))

	UNION ALL
	SELECT DISTINCT 'row movement', m.root::text, false,
		'partitions have BEFORE INSERT triggers, which may keep rows away that UPDATE moves to them. In a session that has not loaded '
		'deletion_guard yet, such rows are lost. Add deletion_guard to session_preload_libraries or shared_preload_libraries.'
	FROM member m
	JOIN pg_class c ON c.oid = m.relation AND c.relispartition
	JOIN pg_trigger t ON t.tgrelid = m.relation AND t.tgtype & 7 = 7 AND t.tgenabled <> 'D'	-- row, before, insert
	WHERE NOT EXISTS (
		SELECT FROM unnest(string_to_array(deletion_guard_internal.server_setting('shared_preload_libraries') || ',' ||
										   deletion_guard_internal.server_setting('session_preload_libraries'), ',')) l
		WHERE trim(l) ~ '^"?(\$libdir/)?deletion_guard(\.so)?"?$')

	UNION ALL
	SELECT 'inheritance children', i.inhrelid::regclass::text,
		deletion_guard_internal.guarded_with(i.inhrelid) IS NOT NULL,
		CASE WHEN deletion_guard_internal.guarded_with(i.inhrelid) IS NULL
			 THEN 'it is not guarded, and its parent is. Call deletion_guard.guard_table() for it.' END
	FROM guarded g
	JOIN pg_inherits i ON i.inhparent = g.relation
	JOIN pg_class c ON c.oid = i.inhrelid
	WHERE g.relkind = 'r' AND c.relpersistence <> 't'

	UNION ALL
	SELECT 'guarded schemas', quote_ident(s.schema_name), n.oid IS NOT NULL OR s.tenant IS NOT NULL,
		CASE WHEN n.oid IS NULL AND s.tenant IS NOT NULL THEN format('it does not exist; rows of its tables are tenant %s''s', s.tenant)
			 WHEN n.oid IS NULL THEN 'it does not exist; tables to come are guarded once it does. If it has another name now, or is gone for good, call deletion_guard.guard_schema() for one that exists.' END
	FROM deletion_guard.guarded_schema s LEFT JOIN pg_namespace n ON n.nspname = s.schema_name
	UNION ALL
	SELECT 'guarded schemas', quote_ident(n.nspname), false,
		format('tables of it, %s for one, are not guarded as a tenant''s, but its name matches pattern %s. Once it is known whose they are, call deletion_guard.guard_schemas(%L, %L) again.',
			c.relation, p.pattern, p.pattern, coalesce(p.tenant_from::text, 'name'))
	FROM deletion_guard.schema_pattern p
	JOIN pg_namespace n ON n.nspname::text COLLATE "C" LIKE p.pattern AND n.nspname NOT LIKE 'pg\_%'
		AND n.nspname NOT LIKE 'deletion\_guard%' AND n.nspname NOT IN ('information_schema', 'public')
	-- once, not for each schema
	JOIN (SELECT c.relnamespace, min(c.oid::regclass::text COLLATE "C") AS relation
		FROM pg_class c LEFT JOIN deletion_guard.guard g ON g.relation = c.oid
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
			AND c.relnamespace <> 'deletion_guard_bin'::regnamespace
			AND num_nonnulls(g.tenant, g.tenant_column, g.tenant_path) = 0
		GROUP BY c.relnamespace) c ON c.relnamespace = n.oid
	WHERE NOT EXISTS (SELECT FROM deletion_guard.tenant_table t JOIN pg_class k ON k.oid = t.relation WHERE k.relnamespace = n.oid)
		AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')

	UNION ALL
	SELECT 'large objects', m.relation::text, t.tgname IS NULL,
		CASE WHEN t.tgname IS NOT NULL THEN format('its trigger %I unlinks large objects, which do not go to the bin, when rows are deleted. '
			'Drop it, and let vacuumlo remove those that nothing refers to: it looks into the bin as well.', t.tgname) END
	FROM member m
	LEFT JOIN (pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid AND p.prosrc = 'lo_manage')
		ON t.tgrelid = m.relation AND t.tgenabled <> 'D' AND t.tgtype & 8 <> 0

	UNION ALL
	SELECT 'cascades', k.conrelid::regclass::text, false,
		format(CASE k.confdeltype WHEN 'c' THEN 'its rows are deleted with those of %s (%I), and not kept.'
				   ELSE 'when rows of %s are deleted (%I), its links to them are taken, and not kept.' END
			   || ' Call deletion_guard.guard_table() for it.', k.confrelid::regclass, k.conname)
	FROM pg_constraint k
	JOIN member m ON m.relation = k.confrelid
	WHERE k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd') AND k.conparentid = 0
		AND NOT EXISTS (SELECT FROM member own WHERE own.relation = k.conrelid)
		AND NOT EXISTS (SELECT FROM unguarded u WHERE u.relation = k.conrelid AND NOT u.undecided)

	UNION ALL
	SELECT 'unguarded tables', u.relation::text, false,
		u.why || coalesce('; it cannot be guarded: ' || u.obstacle,
			CASE WHEN u.undecided THEN '. Call deletion_guard.guard_table() for it, without a column if they are no tenant''s, or leave_unguarded().'
				 ELSE '. Call deletion_guard.guard_table() for it, if its rows are worth it.' END)
	FROM unguarded u
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.verify_tables FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.verify_tables IS 'part of verify(): guarded tables, and those that should be';

-- What the extension keeps: who can get at it.
CREATE FUNCTION deletion_guard_internal.verify_stores()
RETURNS TABLE (check_name text, object text, ok boolean, detail text)
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH store AS (
		SELECT c.oid, c.oid::regclass::text AS name, c.relkind, c.relpersistence, c.relowner, c.relacl, c.relam,
			c.relforcerowsecurity, n.nspname = 'deletion_guard_bin' AS is_bin, e.extowner
		FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_extension e ON e.extname = 'deletion_guard'
		WHERE n.nspname IN ('deletion_guard', 'deletion_guard_bin') AND c.relkind IN ('r', 'p', 'S', 'v')),
	our_schema AS (
		SELECT n.oid, n.nspname, n.nspacl, n.nspowner, e.extowner
		FROM pg_namespace n JOIN pg_extension e ON e.extname = 'deletion_guard'
		WHERE n.nspname IN ('deletion_guard', 'deletion_guard_bin', 'deletion_guard_internal'))

	SELECT 'store triggers', s.name, v.problem IS NULL, v.problem
	FROM store s
	CROSS JOIN LATERAL (SELECT coalesce(
		(SELECT format('its trigger %s %s. %s', w.name, x.problem, x.advice)
		 FROM (VALUES ('deletion_guard_protect', 62), ('deletion_guard_protect_row', 31)) AS w (name, type)
		 LEFT JOIN pg_trigger t ON t.tgrelid = s.oid AND t.tgname = w.name
		 LEFT JOIN pg_proc p ON p.oid = t.tgfoid AND p.pronamespace = 'deletion_guard_internal'::regnamespace AND p.proname = 'protect'
		 CROSS JOIN LATERAL (VALUES
			(p.oid IS NULL, 'is missing', 'Reinstall the extension, and find out who dropped it.'),
			(t.tgenabled <> 'A', 'is not enabled always', format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I.', s.name, w.name)),
			(t.tgtype & w.type <> w.type OR t.tgqual IS NOT NULL, 'does not cover every write', 'Reinstall the extension.'))
			AS x (seen, problem, advice)
		 WHERE x.seen
		 LIMIT 1),
		(SELECT 'it has a trigger or rule that is not deletion_guard''s. Drop it.'
		 WHERE EXISTS (SELECT FROM pg_trigger o WHERE o.tgrelid = s.oid AND NOT o.tgisinternal
						AND o.tgname NOT IN ('deletion_guard_protect', 'deletion_guard_protect_row'))
			OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = s.oid))) AS problem) v
	WHERE s.relkind = 'r'

	UNION ALL
	SELECT 'store ownership', s.name, v.problem IS NULL, v.problem
	FROM store s
	CROSS JOIN LATERAL (SELECT CASE
		WHEN s.relowner <> s.extowner THEN format('it belongs to %I, not to the owner of the extension. ALTER TABLE %s OWNER TO %I.',
			pg_get_userbyid(s.relowner), s.name, pg_get_userbyid(s.extowner))
		WHEN s.is_bin AND s.relkind = 'r' AND s.relam <> (SELECT a.oid FROM pg_am a WHERE a.amname = 'deletion_guard_bin') THEN
			'it is stored as an ordinary table, as after pg_restore --no-table-access-method: only its triggers protect its rows. They can be brought back; new ones go to another bin.'
		WHEN s.relpersistence = 'u' THEN format('it is unlogged: a crash empties it. ALTER TABLE %s SET LOGGED.', s.name)
		WHEN s.relforcerowsecurity THEN format('row security is forced on it, which may hide rows. ALTER TABLE %s NO FORCE ROW LEVEL SECURITY.', s.name)
		WHEN EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = s.oid OR i.inhparent = s.oid) THEN 'it is part of an inheritance tree. ALTER TABLE ... NO INHERIT.'
		END AS problem) v
	UNION ALL
	SELECT 'store ownership', 'schema ' || n.nspname, n.nspowner = n.extowner,
		CASE WHEN n.nspowner <> n.extowner THEN format('it does not belong to the owner of the extension. ALTER SCHEMA %I OWNER TO %I.', n.nspname, pg_get_userbyid(n.extowner)) END
	FROM our_schema n

	UNION ALL
	SELECT 'store privileges', s.name, v.granted IS NULL,
		CASE WHEN v.granted IS NOT NULL THEN format('granted: %s. REVOKE that.', v.granted) END
	FROM store s
	CROSS JOIN LATERAL (
		SELECT string_agg(format('%s to %s', a.privilege_type,
								 CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END),
						  ', ' ORDER BY a.privilege_type, a.grantee) AS granted
		FROM (SELECT * FROM aclexplode(s.relacl)
			  UNION
			  SELECT x.* FROM pg_attribute c CROSS JOIN LATERAL aclexplode(c.attacl) x WHERE c.attrelid = s.oid) a
		WHERE a.grantee <> s.relowner AND (s.is_bin OR a.privilege_type <> 'SELECT' OR a.grantee = 0)
			-- but views that everybody may read since the extension was installed
			AND NOT EXISTS (SELECT FROM pg_init_privs i CROSS JOIN LATERAL aclexplode(i.initprivs) o
							WHERE i.objoid = s.oid AND i.classoid = 'pg_class'::regclass AND i.objsubid = 0
								AND o.grantee = a.grantee AND o.privilege_type = a.privilege_type)) v
	UNION ALL
	SELECT 'store privileges', 'schema ' || n.nspname, v.granted IS NULL,
		CASE WHEN v.granted IS NOT NULL THEN format('granted: CREATE to %s. REVOKE that.', v.granted) END
	FROM our_schema n
	CROSS JOIN LATERAL (
		SELECT string_agg(CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', ' ORDER BY a.grantee) AS granted
		FROM aclexplode(n.nspacl) a
		WHERE a.grantee <> n.nspowner AND a.privilege_type = 'CREATE') v

	UNION ALL
	SELECT 'function privileges', p.oid::regprocedure::text, false,
		'everybody may execute it, which was not so when the extension was installed. REVOKE EXECUTE ... FROM PUBLIC.'
	FROM pg_proc p
	LEFT JOIN pg_init_privs i ON i.objoid = p.oid AND i.classoid = 'pg_proc'::regclass AND i.objsubid = 0
	WHERE p.pronamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_internal'::regnamespace)
		AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)
		AND NOT EXISTS (SELECT FROM aclexplode(coalesce(i.initprivs, acldefault('f', p.proowner))) a WHERE a.grantee = 0)

	UNION ALL
	SELECT 'default privileges', concat_ws(' in ', 'role ' || d.defaclrole::regrole::text, 'schema ' || n.nspname), false,
		'grants on tables that the extension''s owner makes hold for new bin tables. ALTER DEFAULT PRIVILEGES ... REVOKE.'
	FROM pg_default_acl d
	JOIN pg_extension e ON e.extname = 'deletion_guard' AND e.extowner = d.defaclrole
	LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
	WHERE d.defaclobjtype = 'r' AND (d.defaclnamespace = 0 OR n.nspname = 'deletion_guard_bin')
		AND EXISTS (SELECT FROM aclexplode(d.defaclacl) a WHERE a.grantee <> d.defaclrole)

	UNION ALL
	SELECT 'bins', CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.oid = b.bin_table) THEN b.bin_table::text ELSE 'bin of ' || b.relation_name END,
		v.problem IS NULL, v.problem
	-- rows are counted only where they cannot simply come back
	FROM (SELECT b.bin_id, b.bin_table, b.relation, b.relation_name, c.rows
		  FROM deletion_guard.bin b
		  LEFT JOIN LATERAL (SELECT sum(p.rows - p.restored - p.purged) AS rows FROM deletion_guard.deletion_part p
							 WHERE p.bin_id = b.bin_id
								 AND (NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = b.relation)
									  OR b.bin_id IN (SELECT e.bin_id FROM deletion_guard.empty_bin e))) c ON true) b
	CROSS JOIN LATERAL (SELECT CASE
		WHEN b.rows > 0 AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = b.bin_table)
			THEN format('it is gone, with %s rows of %s. Find out who dropped it, and look for them in a backup.', b.rows, b.relation_name)
		WHEN b.rows > 0 AND b.bin_id IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)
			THEN format('it is empty, where %s rows of %s are recorded: the database was restored without them. They are where it was dumped.', b.rows, b.relation_name)
		WHEN b.rows > 0 AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = b.relation)
			THEN format('it holds %s rows of %s, which was dropped. If another table takes its place, deletion_guard.adopt_bin(%L, ...) gives it these rows.', b.rows, b.relation_name, b.bin_table)
		END AS problem) v

	UNION ALL
	SELECT 'sequences', v.name, false,
		format('it stands at %s, and the last number that was used is %s: somebody has set it. Members of pg_write_all_data may. '
			'Nothing is lost by that: the next number that is drawn puts it right.', v.value, coalesce(v.last, 0))
	FROM (VALUES
		('deletion_guard.deletion_id_seq', (SELECT last_value FROM deletion_guard.deletion_id_seq),
			(SELECT max(deletion_id) FROM deletion_guard.deletion_part), 4294967296),
		('deletion_guard.bin_id_seq', (SELECT last_value FROM deletion_guard.bin_id_seq), (SELECT max(bin_id) FROM deletion_guard.bin), 65536),
		('deletion_guard.purge_request_id_seq', (SELECT last_value FROM deletion_guard.purge_request_id_seq),
			(SELECT max(request_id) FROM deletion_guard.purge_request_record), 4294967296),
		('deletion_guard.purge_id_seq', (SELECT last_value FROM deletion_guard.purge_id_seq),
			(SELECT max(purge_id) FROM deletion_guard.purge_record), 4294967296),
		('deletion_guard.hold_id_seq', (SELECT last_value FROM deletion_guard.hold_id_seq), (SELECT max(hold_id) FROM deletion_guard.hold), 4294967296))
		v (name, value, last, leap)
	WHERE v.value < v.last OR v.value - coalesce(v.last, 0) > v.leap

	UNION ALL
	SELECT 'scrub', r.index::text, false,
		format('invalid: a scrub of %s was stopped. Every write keeps it up. The next deletion_guard.scrub() removes it; with resume => true it also goes on.', r.relation)
	FROM deletion_guard_internal.scrub_remains() r
	WHERE NOT EXISTS (SELECT FROM pg_stat_progress_create_index s, pg_index i WHERE i.indexrelid = r.index AND s.relid = i.indrelid)

	UNION ALL
	SELECT 'publications', format('%I: %s', p.pubname, x.what), false,
		'a subscriber that lacks the tables of deletion_guard stops at the first change of one; where it has them, deleted rows leave this server. '
			'Publish the application''s tables by name or by schema instead.'
	FROM pg_publication p
	CROSS JOIN LATERAL (
		SELECT 'all tables' AS what WHERE p.puballtables
		UNION ALL
		SELECT 'all sequences' WHERE (to_jsonb(p) ->> 'puballsequences')::boolean	-- from 19 on
		UNION ALL
		SELECT s.name FROM pg_publication_rel r JOIN store s ON s.oid = r.prrelid WHERE r.prpubid = p.oid
		UNION ALL
		SELECT 'schema ' || o.nspname FROM pg_publication_namespace r JOIN our_schema o ON o.oid = r.pnnspid WHERE r.pnpubid = p.oid) x
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.verify_stores FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.verify_stores IS 'part of verify(): what the extension keeps, and who can get at it';

CREATE FUNCTION deletion_guard.verify()
RETURNS TABLE (check_name text, object text, ok boolean, detail text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH seen AS MATERIALIZED (
		SELECT * FROM deletion_guard_internal.verify_server()
		UNION ALL SELECT * FROM deletion_guard_internal.verify_tables()
		UNION ALL SELECT * FROM deletion_guard_internal.verify_stores()),
	listed AS (
		SELECT c.name, c.place
		FROM unnest('{preload,server version,hooks,counting,event triggers,settings,stored settings,setting privileges,extension,functions,ceilings,retention,'
					'lock,authorities,ledger,drills,archives,guarded tables,guarded schemas,tenant table,tenant sources,guard triggers,storage,'
					'partition trees,row movement,inheritance children,unguarded tables,cascades,large objects,bins,sequences,store triggers,store ownership,store privileges,'
					'function privileges,default privileges,scrub,publications}'::text[])
			WITH ORDINALITY AS c (name, place))
	SELECT r.check_name, r.object, r.ok, r.detail
	FROM (
		SELECT l.place, s.check_name, s.object, s.ok, s.detail
		FROM seen s LEFT JOIN listed l ON l.name = s.check_name
		WHERE NOT s.ok
		UNION ALL
		SELECT l.place, l.name, CASE WHEN count(s.*) = 1 THEN min(s.object) END, true,
			CASE WHEN count(s.*) = 1 AND min(s.detail) IS NOT NULL THEN min(s.detail)
				 WHEN count(s.*) = 0 THEN 'none'
				 ELSE count(s.*) || ' checked' END
		FROM listed l LEFT JOIN seen s ON s.check_name = l.name
		GROUP BY l.place, l.name
		HAVING bool_and(s.ok) IS NOT FALSE) r
	ORDER BY r.place, r.object COLLATE "C"
$$;
REVOKE EXECUTE ON FUNCTION deletion_guard.verify FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deletion_guard.verify TO pg_monitor;
COMMENT ON FUNCTION deletion_guard.verify IS
	'every way in which protection could be less than it looks on this server, now: one row for each check, or for each thing that is wrong, with what to do';

