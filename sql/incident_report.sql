-- What customers and managers ask, in each format, and what values can do to it.
CREATE DATABASE regress_dg_incident_report;
\set maintenance_db :DBNAME
\c regress_dg_incident_report
SET client_min_messages = warning;
\set VERBOSITY terse
SET TimeZone = 'UTC';
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id text PRIMARY KEY, name text, contact text);
CREATE TABLE doc (id int, site text REFERENCES site ON DELETE CASCADE, body text);
CREATE TABLE "odd | table <b>" (id int PRIMARY KEY, site text REFERENCES site ON DELETE CASCADE);
SELECT deletion_guard.set_tenant_table('site', 'id', 'name', 'contact');
SELECT count(*) FROM deletion_guard.guard_schema('public', 'site');
INSERT INTO site VALUES ('a', '<script>alert(1)</script> & "Co"', 'boss@a.example'),
	('b', E'=1+1|`x` [l](http://evil) **b**\n# h', '+49 30 1'), ('c', '-2', '@SUM(A1)'), ('-d', NULL, NULL),
	('e', E'tab\there \u001b[31m \u202eevil \uff1dx', E'\t=cmd');
INSERT INTO doc SELECT n, (ARRAY['a', 'b', 'c', '-d', 'e', NULL])[1 + n % 6] FROM generate_series(0, 59) n;
INSERT INTO "odd | table <b>" VALUES (1, 'a');

-- A report without times and what else differs from run to run.
CREATE FUNCTION report(format text, deletions bigint[] = NULL, since timestamptz = NULL, until timestamptz = NULL) RETURNS SETOF text
LANGUAGE sql AS $$
	SELECT regexp_replace(regexp_replace(regexp_replace(line, '\d{4}-\d\d-\d\d (at )?\d\d:\d\d:\d\d', 'TIME', 'g'), 'role [^ ,<]*(, application [^,]*)?', 'role X'),
						  'From TIME to TIME \([^)]*\)', 'On TIME')
	FROM string_to_table(deletion_guard.incident_report(deletions, since, until, format), E'\n') line
$$;

-- Nothing yet: that is said.
\pset format unaligned
\pset tuples_only on
SELECT * FROM report('text');
SELECT * FROM report('csv');

SET deletion_guard.actor = 'eve <eve@x>, 2';
SET deletion_guard.reason = 'a | b';
DELETE FROM site WHERE id <> 'e' /* ``` </pre> */;
DELETE FROM doc WHERE id = 5;
DELETE FROM doc WHERE id = 11;
RESET deletion_guard.reason;
DELETE FROM site WHERE id = 'e';
SELECT count(*) FROM deletion_guard.undelete_tenant('a');
SELECT sum(restored) FROM deletion_guard.undelete(2);

SELECT * FROM report('text');
SELECT * FROM report('markdown');
SELECT * FROM report('csv');
-- The page: no tag but ours, the bar of a filter, the values as they are.
SELECT regexp_replace(line, '<svg.*</figure>', '<svg>') FROM report('html') line WHERE line ~ '<script|evil|eve &|odd|SUM|</pre' ORDER BY line COLLATE "C";
\pset format aligned
\pset tuples_only off
SELECT array_agg(DISTINCT m[1] ORDER BY m[1]) AS tags
FROM regexp_matches(deletion_guard.incident_report(format => 'html'), '<([a-zA-Z][a-z0-9]*)', 'g') m;
SELECT deletion_guard.incident_report(format => 'html') ~ '\u001b|\u202e|https?://(?!evil)|src=|@import|url\(' AS bad;

-- One deletion, twice named; a time; one in which nothing was.
SELECT * FROM report('text', '{4, 4}') LIMIT 4;
SELECT (regexp_match(line, 'by \d+ deletions'))[1] FROM report('text', since => now() - interval '1 hour', until => now() + interval '1 hour') line WHERE line ~ 'by \d+ del';
SELECT * FROM report('text', until => '2001-01-01');
SELECT * FROM report('markdown', deletions => '{}');
SELECT deletion_guard.incident_report(since => '-infinity') LIKE '%Deletions until now%' AS says;

-- What it does not take.
SELECT deletion_guard.incident_report(deletions => '{1, 99, 98}'); -- fails
SELECT deletion_guard.incident_report(deletions => '{1, NULL}'); -- fails
SELECT deletion_guard.incident_report(deletions => '{1}', since => now()); -- fails
SELECT deletion_guard.incident_report(since => '2026-01-02', until => '2026-01-01'); -- fails
SELECT deletion_guard.incident_report(format => 'pdf'); -- fails
SELECT deletion_guard.incident_report(format => NULL); -- fails

-- Whose rights: as those of the views.
SELECT 'CREATE ROLE regress_dg_reporter' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'regress_dg_reporter') \gexec
SET ROLE regress_dg_reporter;
SELECT deletion_guard.incident_report(); -- fails
RESET ROLE;
GRANT SELECT ON deletion_guard.deletion, deletion_guard.deletion_detail TO regress_dg_reporter;
SET ROLE regress_dg_reporter;
SELECT deletion_guard.incident_report() ~ 'boss@|script' AS told, deletion_guard.incident_report(format => 'html') ~ 'boss@|script' AS told;
SELECT * FROM report('csv', '{1}');
SELECT line FROM report('text') line WHERE line ~ 'not shown';
RESET ROLE;
GRANT EXECUTE ON FUNCTION deletion_guard.tenant_label TO regress_dg_reporter;
SET ROLE regress_dg_reporter;
SELECT deletion_guard.incident_report() ~ 'boss@' AS told;
-- Nothing of the caller's takes part.
CREATE TEMP TABLE ledger (id int);
CREATE FUNCTION pg_temp.format(text, text) RETURNS text LANGUAGE sql AS 'SELECT (1/0)::text';
CREATE FUNCTION pg_temp.concat(text, text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''mine''; END';
SET search_path = pg_temp, public;
SELECT deletion_guard.incident_report(format => 'html') ~ 'boss@' AS told;
RESET search_path;
RESET ROLE;

-- What is gone: purged rows, and a table that was dropped.
SELECT deletion_guard_internal.incident_state(s) FROM unnest('{back,rehydrated,partly,waiting,gone}'::text[]) s;
SET deletion_guard.ddl = 'keep';
DROP TABLE "odd | table <b>";
SELECT line FROM report('text', '{1}') line WHERE line ~ '^public';
-- The pace of drills, and how long it takes yet.
SELECT deletion_guard_internal.incident_left_lines('{"left": 7200, "gone": 1, "links": 2, "repairs": [{"what": "rehydrate"}], "labels": true, "keep_until": "infinity",
	"pace": {"rows_per_second": 2.0, "at": "2026-01-01 12:00:00Z", "tenants": 5}}');
SELECT deletion_guard_internal.incident_running_lines('{"running": [{"pid": 7, "what": "rehydrate", "since": "2026-01-01 12:00:00Z", "phase": "restoring",
	"relation": "public.<doc>", "rows": 1234, "percent": 12.5, "seconds_left": 100.4}, {"pid": 8, "what": "Undelete_tenant (", "since": "2026-01-01 12:00:00Z"}]}', 'html');
SELECT deletion_guard_internal.incident_duration(s) FROM unnest('{0.2,59,61,3700,200000}'::numeric[]) s;

\c :maintenance_db
DROP DATABASE regress_dg_incident_report;
DROP ROLE regress_dg_reporter;
