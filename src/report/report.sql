/*
 * The report on an incident: what customers and managers ask while it is going on.
 *
 * incident_facts() gathers what there is to say, as JSON; the others write it down.
 * All of it runs with the caller's rights over views that they may read or not: what
 * somebody may not see is left out, and the report says so. Facts are raw; each value
 * goes through incident_escape() on its way into a text.
 *
 * Functions of SQL have parsed bodies: what they call was found when they were made.
 */

/*
 * Which deletions a report is on.
 */
CREATE FUNCTION deletion_guard_internal.incident_deletions(deletions bigint[], since timestamptz, until timestamptz)
	RETURNS bigint[]
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	found bigint[];
	missing bigint[];
BEGIN
	IF deletions IS NULL THEN
		IF since > until THEN
			RAISE invalid_parameter_value USING MESSAGE = 'the time that the report is on ends before it begins',
				DETAIL = format('It is from %s to %s.', since, until);
		END IF;
		RETURN ARRAY(SELECT d.id FROM deletion_guard.deletion d
					 WHERE d.deleted_at BETWEEN coalesce(since, CASE WHEN until IS NULL THEN now() - interval '1 day' END, '-infinity')
						AND coalesce(until, 'infinity') ORDER BY d.id);
	END IF;
	IF num_nonnulls(since, until) > 0 THEN
		RAISE invalid_parameter_value USING MESSAGE = 'a report is on deletions or on a time, not on both',
			HINT = 'Leave out deletions, or since and until.';
	END IF;
	IF array_position(deletions, NULL) IS NOT NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'deletions must not contain nulls';
	END IF;
	found := ARRAY(SELECT d.id FROM deletion_guard.deletion d WHERE d.id = ANY (deletions) ORDER BY d.id);
	missing := ARRAY(SELECT DISTINCT u.id FROM unnest(deletions) u(id) WHERE u.id <> ALL (found) ORDER BY u.id);
	IF cardinality(missing) > 0 THEN
		RAISE undefined_object USING
			MESSAGE = format('there is no deletion %s', array_to_string(missing[:5], ', ')),
			HINT = 'The view deletion_guard.deletion lists them.';
	END IF;
	RETURN found;
END
$$;
COMMENT ON FUNCTION deletion_guard_internal.incident_deletions IS 'part of incident_report(): the deletions that it is on';

/*
 * Deletions that were done by the same person, in the same way, are one act: they
 * differ in the numbers and literals of their statements only.
 */
CREATE FUNCTION deletion_guard_internal.incident_acts(deletions bigint[]) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
	WITH act AS (
		SELECT d.session_role, d.effective_role, d.application_name, d.client_addr, d.actor, d.reason,
			   (array_agg(d.statement ORDER BY d.id))[1] AS statement,
			   array_agg(d.id ORDER BY d.id) AS ids, min(d.deleted_at) AS since, max(d.deleted_at) AS until,
			   sum(d.rows) AS rows, sum(d.links) AS links, max(d.tenants) AS tenants
		FROM deletion_guard.deletion d
		WHERE d.id = ANY ($1)
		GROUP BY d.session_role, d.effective_role, d.application_name, d.client_addr, d.actor, d.reason,
			regexp_replace(left(d.statement, 1000), '''([^'']|'''')*''|\m[0-9]+\M', '?', 'g')
		ORDER BY sum(d.rows) DESC, min(d.id))
	SELECT coalesce(jsonb_agg(to_jsonb(a) || jsonb_build_object('ids', a.ids[:10], 'deletions', cardinality(a.ids), 'tenants',
					CASE WHEN cardinality(a.ids) = 1 THEN a.tenants
						 ELSE (SELECT count(DISTINCT p.tenant) FROM deletion_guard.deletion_detail p WHERE p.deletion_id = ANY (a.ids)) END)
					ORDER BY a.since, a.ids), '[]')
	FROM (SELECT * FROM act LIMIT 20) a;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_acts IS 'part of incident_report(): who deleted, when and how';

/*
 * What has become of the rows: by table, by tenant, or of all of them. "left" is in
 * the bin; "gone" is neither back nor there.
 */
CREATE FUNCTION deletion_guard_internal.incident_tables(deletions bigint[]) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.rows DESC, s.name), '[]')
	FROM (SELECT d.relation_name AS name, sum(d.rows) AS rows, sum(d.restored) AS back,
				 sum(d.rows - d.restored - d.purged - d.lost) AS "left", sum(d.purged + d.lost) AS gone
		  FROM deletion_guard.deletion_detail d WHERE d.deletion_id = ANY ($1)
		  GROUP BY d.relation_name) s;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_tables IS 'part of incident_report(): rows lost and back, by table';

CREATE FUNCTION deletion_guard_internal.incident_tenants(deletions bigint[]) RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	tenants jsonb;
	labels jsonb := '{}';
	runs jsonb := '{}';
BEGIN
	SELECT coalesce(jsonb_agg(to_jsonb(s)), '[]') INTO tenants
	FROM (SELECT d.tenant, sum(d.rows) AS rows, sum(d.restored) AS back,
				 sum(d.rows - d.restored - d.purged - d.lost) AS "left", sum(d.purged + d.lost) AS gone
		  FROM deletion_guard.deletion_detail d WHERE d.deletion_id = ANY (deletions)
		  GROUP BY d.tenant) s;
	IF has_function_privilege('deletion_guard.tenant_label(text)', 'EXECUTE') THEN
		SELECT coalesce(jsonb_object_agg(t.tenant, to_jsonb(l)), '{}') INTO labels
		FROM (SELECT e ->> 'tenant' AS tenant FROM jsonb_array_elements(tenants) e) t,
			LATERAL (SELECT (deletion_guard.tenant_label(t.tenant)).*) l
		WHERE t.tenant IS NOT NULL;
	END IF;
	IF has_table_privilege('deletion_guard.rehydration_record', 'SELECT') THEN
		SELECT coalesce(jsonb_object_agg(r.tenant, jsonb_build_object('rehydrated_at', r.finished_at)), '{}') INTO runs
		FROM (SELECT r.tenant, max(r.finished_at) AS finished_at FROM deletion_guard.rehydration_record r
			  WHERE r.finished_at > (SELECT min(d.deleted_at) FROM deletion_guard.deletion d WHERE d.id = ANY (deletions))
			  GROUP BY r.tenant) r;
	END IF;
	RETURN coalesce(jsonb_agg(t ORDER BY t -> 'tenant' = 'null', t -> 'left' DESC, t ->> 'tenant_name', t ->> 'tenant'), '[]')
		FROM (SELECT e || coalesce(labels -> (e ->> 'tenant'), '{}') || coalesce(runs -> (e ->> 'tenant'), '{}') ||
					 jsonb_build_object('state', CASE
						WHEN runs ? (e ->> 'tenant') AND (e ->> 'rows') <> (e ->> 'back') THEN 'rehydrated'
						WHEN (e ->> 'rows') = (e ->> 'back') THEN 'back'
						WHEN (e ->> 'rows') = (e ->> 'gone') THEN 'gone'
						WHEN (e ->> 'rows') = (e ->> 'left') THEN 'waiting'
						ELSE 'partly' END) AS t
			  FROM jsonb_array_elements(tenants) e) s;
END
$$;
COMMENT ON FUNCTION deletion_guard_internal.incident_tenants IS 'part of incident_report(): whom it concerns, and what they have back; names and contacts for who may call tenant_label()';

/*
 * What was done about it since, as far as the caller may read the ledger.
 */
CREATE FUNCTION deletion_guard_internal.incident_repairs(deletions bigint[], since timestamptz) RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	IF NOT has_table_privilege('deletion_guard.ledger', 'SELECT') THEN
		RETURN NULL;
	END IF;
	RETURN coalesce(jsonb_agg(jsonb_build_object('at', l.at, 'what', l.event, 'role', l.role,
								'rows', l.details -> 'rows', 'tenants', l.details -> 'tenants') ORDER BY l.id), '[]')
		FROM (SELECT e.id, e.at, e.event, e.role, e.details::jsonb FROM deletion_guard.ledger e
			  WHERE e.at >= since AND e.event IN ('undelete', 'rehydrate')) l
		WHERE l.event = 'rehydrate' OR (l.details ->> 'first_deletion')::bigint = ANY (deletions);
END
$$;
COMMENT ON FUNCTION deletion_guard_internal.incident_repairs IS 'part of incident_report(): undeletes and rehydrations since; null for who may not read the ledger';

/*
 * What runs at this moment. Others' statements are not shown: they may hold tokens.
 */
CREATE FUNCTION deletion_guard_internal.incident_running() RETURNS jsonb
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.since), '[]')
	FROM (SELECT p.pid, 'rehydrate' AS what, p.started_at AS since, p.phase, p.relation::text AS relation, p.percent,
				 p.rows_kept AS rows, extract(epoch FROM p.time_left) AS seconds_left
		  FROM deletion_guard.rehydration_progress p WHERE p.database = current_database()
		  UNION ALL
		  SELECT a.pid, substring(a.query FROM '(?i)\m(undelete|rehydrate|purge|drill)\w*\s*\('), a.query_start, NULL, NULL, NULL, NULL, NULL
		  FROM pg_stat_activity a
		  WHERE a.datname = current_database() AND a.state = 'active' AND a.pid <> pg_backend_pid()
			AND a.query ~* '\m(undelete|rehydrate|purge|drill)\w*\s*\('
			AND NOT EXISTS (SELECT FROM deletion_guard.rehydration_progress p WHERE p.pid = a.pid)) r;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_running IS 'part of incident_report(): undeletes, rehydrations and purges that are running';

/*
 * How fast rows came out of archives in past drills.
 */
CREATE FUNCTION deletion_guard_internal.incident_pace() RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	IF NOT has_table_privilege('deletion_guard.drill_result', 'SELECT') THEN
		RETURN NULL;
	END IF;
	RETURN (SELECT jsonb_build_object('tenants', count(*), 'at', max(r.drilled_at), 'rows_per_second', sum(r.rows) / nullif(sum(r.seconds), 0))
			FROM (SELECT * FROM deletion_guard.drill_result d WHERE d.rows > 0 AND d.matches ORDER BY d.drill_id DESC LIMIT 100) r);
END
$$;
COMMENT ON FUNCTION deletion_guard_internal.incident_pace IS 'part of incident_report(): what past drills say of how long it takes; null for who may not read drill_result';

/*
 * Rows lost and rows back in equal stretches of the time that it took, for a picture.
 */
CREATE FUNCTION deletion_guard_internal.incident_picture(deletions bigint[], repairs jsonb, since timestamptz, until timestamptz) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
	WITH event AS (
		SELECT d.deleted_at AS at, d.rows AS lost, 0::numeric AS back FROM deletion_guard.deletion d WHERE d.id = ANY ($1)
		UNION ALL
		SELECT (e ->> 'at')::timestamptz, 0, (e ->> 'rows')::numeric FROM jsonb_array_elements($2) e)
	SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.n), '[]')
	FROM (SELECT least(60, 1 + floor(60 * extract(epoch FROM e.at - $3) / extract(epoch FROM $4 - $3)))::int AS n,
				 sum(e.lost) AS lost, sum(e.back) AS back
		  FROM event e GROUP BY 1) s;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_picture IS 'part of incident_report(): rows lost and back in sixty stretches of time';

CREATE FUNCTION deletion_guard_internal.incident_facts(deletions bigint[], since timestamptz, until timestamptz) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	ids bigint[] := deletion_guard_internal.incident_deletions(deletions, since, until);
	tenants jsonb := deletion_guard_internal.incident_tenants(ids);
	begun timestamptz;
	ended timestamptz;
	repairs jsonb;
	facts jsonb;
	picture_until timestamptz;
BEGIN
	SELECT min(d.deleted_at), max(d.deleted_at),
		jsonb_build_object('deletions', count(*), 'ids', coalesce(to_jsonb((array_agg(d.id ORDER BY d.id))[:10]), '[]'),
			'links', coalesce(sum(d.links), 0), 'keep_until', min(d.purge_not_before) FILTER (WHERE d.state NOT IN ('restored', 'purged', 'lost')))
		INTO begun, ended, facts
		FROM deletion_guard.deletion d WHERE d.id = ANY (ids);
	SELECT facts || jsonb_build_object('rows', coalesce(sum((t ->> 'rows')::bigint), 0), 'back', coalesce(sum((t ->> 'back')::bigint), 0),
			'left', coalesce(sum((t ->> 'left')::bigint), 0), 'gone', coalesce(sum((t ->> 'gone')::bigint), 0),
			'tenants', count(t ->> 'tenant'), 'complete', count(t ->> 'tenant') FILTER (WHERE t ->> 'state' IN ('back', 'rehydrated')))
		INTO facts FROM jsonb_array_elements(tenants) t;
	repairs := deletion_guard_internal.incident_repairs(ids, begun);
	picture_until := greatest(ended, (SELECT max((e ->> 'at')::timestamptz) FROM jsonb_array_elements(repairs) e),
							  CASE WHEN facts -> 'left' <> '0' THEN clock_timestamp() END, begun + interval '1 second');
	RETURN facts || jsonb_build_object('database', current_database(), 'made_at', clock_timestamp(), 'zone', current_setting('TimeZone'),
		'window', deletions IS NULL, 'since', coalesce(since, CASE WHEN until IS NULL THEN now() - interval '1 day' END), 'until', until,
		'begun', begun, 'ended', ended, 'picture_until', picture_until,
		'labels', has_function_privilege('deletion_guard.tenant_label(text)', 'EXECUTE'),
		'acts', deletion_guard_internal.incident_acts(ids), 'by_table', deletion_guard_internal.incident_tables(ids), 'by_tenant', tenants,
		'repairs', repairs, 'running', deletion_guard_internal.incident_running(), 'pace', deletion_guard_internal.incident_pace(),
		'picture', deletion_guard_internal.incident_picture(ids, repairs, begun, picture_until));
END
$$;
COMMENT ON FUNCTION deletion_guard_internal.incident_facts IS 'part of incident_report(): all that it says, as JSON';

/*
 * A value as a text, a table of Markdown, a page of HTML or a field of CSV may have it:
 * on one line, with nothing that a terminal, a browser or a spreadsheet would obey.
 * Marks that turn the direction of what follows are not let through.
 */
CREATE FUNCTION deletion_guard_internal.incident_escape(value text, format text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT CASE $2
		WHEN 'html' THEN replace(replace(replace(replace(replace(l.line, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;')
		WHEN 'markdown' THEN regexp_replace(replace(replace(replace(l.line, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'),
											'([][\\`*_{}()#+!|~$-])', '\\\1', 'g')
		WHEN 'csv' THEN '"' || replace(CASE WHEN l.line ~ l.formula THEN '''' ELSE '' END || l.line, '"', '""') || '"'
		ELSE l.line END
	FROM (SELECT regexp_replace(btrim(regexp_replace($1, '\s+', ' ', 'g')),
								CASE getdatabaseencoding() WHEN 'UTF8' THEN '[\x01-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]'
									ELSE '[\x01-\x1f\x7f]' END, '?', 'g') AS line,
				 CASE getdatabaseencoding() WHEN 'UTF8' THEN '^[-=+@\uff0b\uff0d\uff1d\uff20]' ELSE '^[-=+@]' END AS formula) l;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_escape IS 'part of incident_report(): a value, so that it is nothing but a value in text, markdown, html or csv';

CREATE FUNCTION deletion_guard_internal.incident_number(value jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN to_char(($1 #>> '{}')::numeric, 'FM999,999,999,999,990');
COMMENT ON FUNCTION deletion_guard_internal.incident_number IS 'part of incident_report(): a number for people';

/* "12 tenants", "1 tenant" */
CREATE FUNCTION deletion_guard_internal.incident_count(value jsonb, what text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN deletion_guard_internal.incident_number($1) || ' ' || $2 || CASE WHEN $1 = '1' THEN '' ELSE 's' END;
COMMENT ON FUNCTION deletion_guard_internal.incident_count IS 'part of incident_report(): a number of things';

CREATE FUNCTION deletion_guard_internal.incident_time(value jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN to_char(($1 #>> '{}')::timestamptz, 'YYYY-MM-DD HH24:MI:SS');
COMMENT ON FUNCTION deletion_guard_internal.incident_time IS 'part of incident_report(): a time for people';

/* two units are enough: "23 min 9 s" */
CREATE FUNCTION deletion_guard_internal.incident_duration(seconds numeric) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE WHEN $1 < 1 THEN 'less than a second'
				WHEN $1 < 60 THEN round($1) || ' s'
				WHEN $1 < 3600 THEN floor($1 / 60) || ' min ' || floor($1 % 60) || ' s'
				WHEN $1 < 172800 THEN floor($1 / 3600) || ' h ' || floor($1 % 3600 / 60) || ' min'
				ELSE floor($1 / 86400) || ' days ' || floor($1 % 86400 / 3600) || ' h' END;
COMMENT ON FUNCTION deletion_guard_internal.incident_duration IS 'part of incident_report(): a duration for people';

CREATE FUNCTION deletion_guard_internal.incident_state(state text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE $1 WHEN 'back' THEN 'back' WHEN 'rehydrated' THEN 'back from a backup' WHEN 'partly' THEN 'partly back'
		WHEN 'gone' THEN 'not in the bin' ELSE 'in the bin' END;
COMMENT ON FUNCTION deletion_guard_internal.incident_state IS 'part of incident_report(): what has become of a tenant''s rows, in words';

/*
 * Sentences, which text, Markdown and HTML share. What is not a number or a word of
 * ours in them is escaped for the format.
 */
CREATE FUNCTION deletion_guard_internal.incident_headline(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE WHEN $1 -> 'deletions' = '0' THEN 'Nothing was deleted'
		WHEN $1 -> 'tenants' = '0' THEN deletion_guard_internal.incident_count($1 -> 'rows', 'row') || CASE WHEN $1 -> 'rows' = '1' THEN ' was' ELSE ' were' END || ' deleted'
		ELSE deletion_guard_internal.incident_count($1 -> 'tenants', 'tenant') || ' lost ' || deletion_guard_internal.incident_count($1 -> 'rows', 'row') END;
COMMENT ON FUNCTION deletion_guard_internal.incident_headline IS 'part of incident_report(): all of it in one line';

CREATE FUNCTION deletion_guard_internal.incident_lead(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE WHEN $1 -> 'deletions' = '0' THEN 'There is no deletion' || CASE WHEN $1 -> 'window' = 'true' THEN ' in this time' ELSE '' END || '.'
		ELSE concat_ws(' ',
			CASE WHEN deletion_guard_internal.incident_time($1 -> 'begun') = deletion_guard_internal.incident_time($1 -> 'ended') THEN
					 'On ' || to_char(($1 ->> 'begun')::timestamptz, 'YYYY-MM-DD "at" HH24:MI:SS')
				 ELSE 'From ' || deletion_guard_internal.incident_time($1 -> 'begun') || ' to ' || deletion_guard_internal.incident_time($1 -> 'ended') || ' (' ||
					 deletion_guard_internal.incident_duration(extract(epoch FROM ($1 ->> 'ended')::timestamptz - ($1 ->> 'begun')::timestamptz)) || ')' END || ', by ' ||
				deletion_guard_internal.incident_count($1 -> 'deletions', 'deletion') || ', from ' ||
				deletion_guard_internal.incident_count(to_jsonb(jsonb_array_length($1 -> 'by_table')), 'table') || '.',
			CASE WHEN $1 -> 'left' = '0' AND $1 -> 'gone' = '0' THEN 'All of it is back.'
				 WHEN $1 -> 'tenants' = '0' THEN NULL
				 WHEN $1 -> 'complete' = '0' THEN 'No tenant has everything back yet.'
				 ELSE 'Of ' || deletion_guard_internal.incident_count($1 -> 'tenants', 'tenant') || ', ' || deletion_guard_internal.incident_number($1 -> 'complete') ||
					 CASE WHEN $1 -> 'complete' = '1' THEN ' has' ELSE ' have' END || ' everything back.' END) END;
COMMENT ON FUNCTION deletion_guard_internal.incident_lead IS 'part of incident_report(): the first paragraph';

CREATE FUNCTION deletion_guard_internal.incident_scope(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE WHEN $1 -> 'window' = 'true' THEN
			concat_ws(' ', 'Deletions', CASE WHEN ($1 ->> 'since')::timestamptz > '-infinity' THEN 'from ' || deletion_guard_internal.incident_time($1 -> 'since') END,
				CASE WHEN ($1 ->> 'until')::timestamptz < 'infinity' THEN 'until ' || deletion_guard_internal.incident_time($1 -> 'until') ELSE 'until now' END)
		ELSE CASE WHEN $1 -> 'deletions' = '1' THEN 'Deletion ' ELSE 'Deletions ' END ||
			coalesce((SELECT string_agg(e, ', ') FROM jsonb_array_elements_text($1 -> 'ids') e), '(none)') ||
			CASE WHEN ($1 ->> 'deletions')::bigint > 10 THEN ' and ' || (($1 ->> 'deletions')::bigint - 10) || ' more' ELSE '' END END;
COMMENT ON FUNCTION deletion_guard_internal.incident_scope IS 'part of incident_report(): which deletions it is on';

CREATE FUNCTION deletion_guard_internal.incident_act(act jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN deletion_guard_internal.incident_count($1 -> 'rows', 'row') || CASE WHEN $1 -> 'tenants' = '0' THEN '' ELSE
			' of ' || deletion_guard_internal.incident_count($1 -> 'tenants', 'tenant') END || ' deleted (' ||
		CASE WHEN $1 -> 'deletions' = '1' THEN 'deletion ' || ($1 -> 'ids' ->> 0)
			 ELSE deletion_guard_internal.incident_number($1 -> 'deletions') || ' deletions like this, from ' || ($1 -> 'ids' ->> 0) || ' on, until ' ||
				 deletion_guard_internal.incident_time($1 -> 'until') END || ')';
COMMENT ON FUNCTION deletion_guard_internal.incident_act IS 'part of incident_report(): what somebody deleted';

CREATE FUNCTION deletion_guard_internal.incident_who(act jsonb, format text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN concat_ws(', ', 'role ' || deletion_guard_internal.incident_escape($1 ->> 'session_role', $2) ||
			CASE WHEN $1 -> 'effective_role' <> $1 -> 'session_role' THEN ' as ' || deletion_guard_internal.incident_escape($1 ->> 'effective_role', $2) ELSE '' END,
		'application ' || deletion_guard_internal.incident_escape($1 ->> 'application_name', $2),
		CASE WHEN $1 ->> 'client_addr' IS NULL THEN 'on the server itself' ELSE 'from ' || deletion_guard_internal.incident_escape($1 ->> 'client_addr', $2) END,
		'user ' || deletion_guard_internal.incident_escape($1 ->> 'actor', $2),
		'reason: ' || deletion_guard_internal.incident_escape($1 ->> 'reason', $2),
		CASE WHEN $1 -> 'links' > '0' THEN deletion_guard_internal.incident_count($1 -> 'links', 'link') || ' of other rows lost' END);
COMMENT ON FUNCTION deletion_guard_internal.incident_who IS 'part of incident_report(): who deleted';

/* the statement, at most a page of it; what is left of it is said */
CREATE FUNCTION deletion_guard_internal.incident_statement(act jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE WHEN $1 ->> 'statement' IS NULL THEN '(the statement was removed by a purge)' ELSE
		regexp_replace(left($1 ->> 'statement', 1000), CASE getdatabaseencoding() WHEN 'UTF8' THEN
					   '[\x01-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]' ELSE '[\x01-\x08\x0b-\x1f\x7f]' END, '?', 'g') ||
		CASE WHEN length($1 ->> 'statement') > 1000 THEN ' ... (' || (length($1 ->> 'statement') - 1000) || ' more characters)' ELSE '' END END;
COMMENT ON FUNCTION deletion_guard_internal.incident_statement IS 'part of incident_report(): what was typed';

/*
 * Repairs of one kind by one role in one stretch of time, as lines of the timeline.
 */
CREATE FUNCTION deletion_guard_internal.incident_repair_lines(facts jsonb, format text) RETURNS TABLE (at jsonb, line text)
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT to_jsonb(r.at), deletion_guard_internal.incident_count(to_jsonb(r.rows), 'row') || CASE r.what WHEN 'undelete' THEN ' undeleted' ELSE ' rehydrated from a backup' END ||
		CASE WHEN r.calls > 1 THEN ' in ' || r.calls || ' calls' ELSE '' END || CASE WHEN r.tenants > 0 THEN ', for ' || deletion_guard_internal.incident_count(to_jsonb(r.tenants), 'tenant') ELSE '' END ||
		', by role ' || deletion_guard_internal.incident_escape(r.role, $2)
	FROM (SELECT min((e ->> 'at')::timestamptz) AS at, e ->> 'what' AS what, e ->> 'role' AS role, count(*) AS calls,
				 sum((e ->> 'rows')::numeric) AS rows, sum((e ->> 'tenants')::numeric) AS tenants
		  FROM jsonb_array_elements(nullif($1 -> 'repairs', 'null')) e
		  GROUP BY e ->> 'what', e ->> 'role', floor(extract(epoch FROM (e ->> 'at')::timestamptz - ($1 ->> 'begun')::timestamptz) /
				greatest(60, extract(epoch FROM ($1 ->> 'picture_until')::timestamptz - ($1 ->> 'begun')::timestamptz) / 12))) r
	ORDER BY r.at;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_repair_lines IS 'part of incident_report(): what was done about it';

CREATE FUNCTION deletion_guard_internal.incident_running_lines(facts jsonb, format text) RETURNS SETOF text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT concat_ws(', ', deletion_guard_internal.incident_escape(lower(regexp_replace(e ->> 'what', '\W', '', 'g')), $2) || ' in process ' || (e ->> 'pid') || ', since ' ||
			deletion_guard_internal.incident_time(e -> 'since'), e ->> 'phase' || coalesce(' ' || deletion_guard_internal.incident_escape(e ->> 'relation', $2), ''),
		deletion_guard_internal.incident_number(e -> 'rows') || ' rows', (e ->> 'percent') || ' %',
		'about ' || deletion_guard_internal.incident_duration((e ->> 'seconds_left')::numeric) || ' left')
	FROM jsonb_array_elements($1 -> 'running') e;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_running_lines IS 'part of incident_report(): what runs, and for how long yet';

CREATE FUNCTION deletion_guard_internal.incident_left_lines(facts jsonb) RETURNS SETOF text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT v.line FROM (VALUES
		(CASE WHEN $1 -> 'left' <> '0' THEN deletion_guard_internal.incident_count($1 -> 'left', 'row') || CASE WHEN $1 -> 'left' = '1' THEN ' is' ELSE ' are' END ||
			' in the bin: undelete(), undelete_transaction() or undelete_tenants() brings them back.' || CASE
				WHEN ($1 ->> 'keep_until')::timestamptz < 'infinity' THEN ' They cannot be purged before ' || deletion_guard_internal.incident_time($1 -> 'keep_until') || '.' ELSE '' END END),
		(CASE WHEN $1 -> 'gone' <> '0' THEN deletion_guard_internal.incident_count($1 -> 'gone', 'row') || CASE WHEN $1 -> 'gone' = '1' THEN ' is' ELSE ' are' END ||
			' neither back nor in the bin (purged, or lost with it): rehydrate() brings such rows back from a backup; those that were purged, once annul_purge() allows it.' END),
		(CASE WHEN $1 -> 'links' <> '0' THEN deletion_guard_internal.incident_count($1 -> 'links', 'link') || ' of rows that stayed ' ||
			CASE WHEN $1 -> 'links' = '1' THEN 'is' ELSE 'are' END || ' still lost.' END),
		(CASE WHEN $1 -> 'left' <> '0' AND ($1 -> 'pace' ->> 'rows_per_second')::numeric > 0 THEN 'Out of a backup, this would take about ' ||
			deletion_guard_internal.incident_duration(($1 ->> 'left')::numeric / ($1 -> 'pace' ->> 'rows_per_second')::numeric) || ', as drills went (' ||
			deletion_guard_internal.incident_count(to_jsonb(round(($1 -> 'pace' ->> 'rows_per_second')::numeric)), 'row') || ' a second, ' ||
			deletion_guard_internal.incident_time($1 -> 'pace' -> 'at') || ').' END),
		(CASE WHEN EXISTS (SELECT FROM jsonb_array_elements(nullif($1 -> 'repairs', 'null')) e WHERE e ->> 'what' = 'rehydrate') THEN
			'What rehydrate() brought from backups counts as back by tenant where rehydrate_each() did it; the bin keeps its rows, and undelete() finds them identical.' END),
		(CASE WHEN $1 -> 'repairs' = 'null' THEN 'When rows came back is not shown: whoever asked may not read deletion_guard.ledger.' END),
		(CASE WHEN $1 -> 'labels' = 'false' THEN 'Names and contacts are not shown: whoever asked may not call deletion_guard.tenant_label().' END)) v(line)
	WHERE v.line IS NOT NULL;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_left_lines IS 'part of incident_report(): what is left to do, and what it does not say';

/*
 * Rows of values as lines: columns for a terminal, a table of Markdown, or CSV. align
 * has a letter for each column: l, or r for numbers.
 */
CREATE FUNCTION deletion_guard_internal.incident_table(header jsonb, lines jsonb, align text, format text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	WITH cell AS (
		SELECT l.n AS line, c.n AS field, deletion_guard_internal.incident_escape(coalesce(c.v, ''), $4) AS v
		FROM jsonb_array_elements(jsonb_build_array($1) || $2) WITH ORDINALITY l(v, n), jsonb_array_elements_text(l.v) WITH ORDINALITY c(v, n)),
	width AS (SELECT field, max(length(v)) AS n, substr($3, field::int, 1) AS align FROM cell GROUP BY field)
	SELECT string_agg(l.line || CASE WHEN l.n > 1 THEN '' WHEN $4 = 'csv' THEN '' WHEN $4 = 'markdown' THEN
						  (SELECT E'\n|' || string_agg(CASE w.align WHEN 'r' THEN '---:|' ELSE '---|' END, '' ORDER BY w.field) FROM width w)
						  ELSE (SELECT E'\n' || string_agg(repeat('-', w.n), '  ' ORDER BY w.field) FROM width w) END, E'\n' ORDER BY l.n)
	FROM (SELECT c.line AS n, CASE $4 WHEN 'csv' THEN string_agg(c.v, ',' ORDER BY c.field)
				 WHEN 'markdown' THEN '| ' || string_agg(c.v, ' | ' ORDER BY c.field) || ' |'
				 ELSE rtrim(string_agg(CASE w.align WHEN 'r' THEN lpad(c.v, w.n) ELSE rpad(c.v, w.n) END, '  ' ORDER BY c.field)) END AS line
		  FROM cell c JOIN width w USING (field) GROUP BY c.line) l;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_table IS 'part of incident_report(): a table of values';

CREATE FUNCTION deletion_guard_internal.incident_text(facts jsonb, format text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	WITH style AS (
		SELECT CASE $2 WHEN 'markdown' THEN E'\n\n## ' ELSE E'\n\n' END AS heading, CASE $2 WHEN 'markdown' THEN E'\n\n- ' ELSE E'\n\n* ' END AS first,
			   CASE $2 WHEN 'markdown' THEN E'\n- ' ELSE E'\n* ' END AS item, CASE $2 WHEN 'markdown' THEN repeat('`', 3 + coalesce((
				   SELECT max(length(m[1])) FROM jsonb_array_elements($1 -> 'acts') a, regexp_matches(a ->> 'statement', '(`+)', 'g') m), 0)) END AS fence),
	line AS (
		SELECT a -> 'since' AS at, deletion_guard_internal.incident_time(a -> 'since') || ' ' || deletion_guard_internal.incident_act(a) || E'\n  by ' ||
			deletion_guard_internal.incident_who(a, $2) || E'\n\n' || regexp_replace(concat_ws(E'\n', s.fence, deletion_guard_internal.incident_statement(a), s.fence), '^', '    ', 'gn') || E'\n' AS line
		FROM style s, jsonb_array_elements($1 -> 'acts') a
		UNION ALL
		SELECT r.at, deletion_guard_internal.incident_time(r.at) || ' ' || r.line FROM deletion_guard_internal.incident_repair_lines($1, $2) r)
	SELECT CASE $2 WHEN 'markdown' THEN '# ' ELSE '' END || deletion_guard_internal.incident_headline($1) || E'\n\n' || deletion_guard_internal.incident_lead($1) || E'\n' ||
		deletion_guard_internal.incident_scope($1) || ' in database ' || deletion_guard_internal.incident_escape($1 ->> 'database', $2) || ', as of ' ||
		deletion_guard_internal.incident_time($1 -> 'made_at') || ' (' || deletion_guard_internal.incident_escape($1 ->> 'zone', $2) || ').' ||
		coalesce(s.heading || 'What happened' || (SELECT s.first || string_agg(l.line, s.item ORDER BY (l.at ->> 0)::timestamptz) FROM line l), '') ||
		coalesce(s.heading || 'Running now' || (SELECT s.first || string_agg(r, s.item) FROM deletion_guard_internal.incident_running_lines($1, $2) r), '') ||
		coalesce(s.heading || 'Left to do' || (SELECT s.first || string_agg(r, s.item) FROM deletion_guard_internal.incident_left_lines($1) r), '') ||
		coalesce(s.heading || 'By table' || E'\n\n' || (SELECT deletion_guard_internal.incident_table('["table", "lost", "back", "in the bin", "gone"]', jsonb_agg(jsonb_build_array(
				t -> 'name', deletion_guard_internal.incident_number(t -> 'rows'), deletion_guard_internal.incident_number(t -> 'back'), deletion_guard_internal.incident_number(t -> 'left'),
				deletion_guard_internal.incident_number(t -> 'gone')) ORDER BY n), 'lrrrr', $2) FROM jsonb_array_elements($1 -> 'by_table') WITH ORDINALITY e(t, n)), '') ||
		coalesce(s.heading || 'By tenant' || E'\n\n' || (SELECT deletion_guard_internal.incident_table('["tenant", "lost", "back", "in the bin", "gone", "state", "contact", "name"]', jsonb_agg(jsonb_build_array(
				coalesce(t ->> 'tenant', '(none)'), deletion_guard_internal.incident_number(t -> 'rows'), deletion_guard_internal.incident_number(t -> 'back'), deletion_guard_internal.incident_number(t -> 'left'),
				deletion_guard_internal.incident_number(t -> 'gone'), deletion_guard_internal.incident_state(t ->> 'state'), t -> 'contact', t -> 'tenant_name') ORDER BY n), 'lrrrrlll', $2)
				FROM jsonb_array_elements($1 -> 'by_tenant') WITH ORDINALITY e(t, n)), '') || E'\n'
	FROM style s;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_text IS 'part of incident_report(): as text or markdown';

/*
 * A mailing list: a line for each tenant.
 */
CREATE FUNCTION deletion_guard_internal.incident_csv(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN (SELECT deletion_guard_internal.incident_table('["tenant", "tenant_name", "contact", "rows_lost", "rows_back", "rows_in_bin", "rows_gone", "state"]',
				coalesce(jsonb_agg(jsonb_build_array(t -> 'tenant', t -> 'tenant_name', t -> 'contact', t -> 'rows', t -> 'back', t -> 'left', t -> 'gone',
					deletion_guard_internal.incident_state(t ->> 'state')) ORDER BY n) FILTER (WHERE t ->> 'tenant' IS NOT NULL), '[]'), '', 'csv')
			FROM jsonb_array_elements($1 -> 'by_tenant') WITH ORDINALITY e(t, n));
COMMENT ON FUNCTION deletion_guard_internal.incident_csv IS 'part of incident_report(): as csv, a mailing list';

CREATE FUNCTION deletion_guard.incident_report(deletions bigint[] = NULL, since timestamptz = NULL, until timestamptz = NULL,
		format text = 'text') RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	facts jsonb;
BEGIN
	IF format IS NULL OR format NOT IN ('text', 'markdown', 'csv', 'html') THEN
		RAISE invalid_parameter_value USING MESSAGE = format('"%s" is no format of a report', format),
			HINT = 'Formats are text, markdown, csv and html.';
	END IF;
	facts := deletion_guard_internal.incident_facts(deletions, since, until);
	IF format = 'csv' AND facts -> 'labels' = 'false' THEN
		RAISE WARNING USING MESSAGE = 'names and contacts are left out',
			DETAIL = 'Whoever asked may not call deletion_guard.tenant_label().';
	END IF;
	RETURN CASE format WHEN 'csv' THEN deletion_guard_internal.incident_csv(facts)
		WHEN 'html' THEN deletion_guard_internal.incident_html(facts)
		ELSE deletion_guard_internal.incident_text(facts, format) END;
END
$$;
COMMENT ON FUNCTION deletion_guard.incident_report IS
	'what to tell customers and managers of these deletions, or of all from since to until (without any: of the last 24 hours): when, by whom, by what statement, which tenants, rows lost and back by table and tenant, what is running and left; as text, markdown, csv (a mailing list) or html (one page that needs nothing else: psql -Atc > page.html). Runs with the rights of whoever asks: SELECT on the views deletion and deletion_detail is needed; names and contacts take EXECUTE on tenant_label(), when rows came back SELECT on ledger. Fails with 42704 for a deletion that is not there, 22023 for another format, or for deletions and a time at once';
