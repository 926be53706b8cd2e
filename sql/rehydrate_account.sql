-- What an archive has of tenants and a call does not restore or compare is in the report of every function.
CREATE DATABASE regress_dg_rehydrate_account;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_account
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE FUNCTION refusal(statement text, dir text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d text;
	h text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
	RETURN replace(concat_ws(E'\n', SQLSTATE || ': ' || SQLERRM, nullif(d, ''), nullif(h, '')), dir, '');
END
$$;

-- Partitions that were merged, renamed, or hashed anew; a root that was renamed.
CREATE TABLE site (id text PRIMARY KEY);
CREATE TABLE event (id int, site_id text NOT NULL REFERENCES site, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE event_01 PARTITION OF event FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE event_02 PARTITION OF event FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY HASH (id);
CREATE TABLE event_02_0 PARTITION OF event_02 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE event_02_1 PARTITION OF event_02 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE note (id int PRIMARY KEY, event_id int NOT NULL, day date NOT NULL, FOREIGN KEY (event_id, day) REFERENCES event);
INSERT INTO site VALUES ('a'), ('b');
INSERT INTO event SELECT 10 * n + s, chr(96 + s), date '2026-01-01' + n % 50 FROM generate_series(1, 60) n, generate_series(1, 2) s;
INSERT INTO note SELECT id, id, day FROM event;
CREATE TABLE saved AS TABLE event;
SELECT deletion_guard.set_tenant_table('site', 'id');
SELECT * FROM deletion_guard.guard_schema('public', 'site_id') ORDER BY relation::text;
SELECT deletion_guard.unguard_table('saved');
\! pg_dump -Fc -f "${DIR}account.dump" -n public -T saved
\! pg_dump -f "${DIR}account.sql" -n public -T saved
\! pg_dump --inserts -f "${DIR}account_inserts.sql" -n public -T saved
\! pg_dump -Fc --load-via-partition-root -f "${DIR}account_root.dump" -n public -T saved
\! pg_dump -Fd -Z1 -f "${DIR}account.dir" -n public -T saved
DELETE FROM note WHERE event_id % 10 = 2;
DELETE FROM event WHERE site_id = 'b';
DELETE FROM site WHERE id = 'b';
SET deletion_guard.ddl = allow;
BEGIN;
ALTER TABLE note DROP CONSTRAINT note_event_id_day_fkey;
CREATE TABLE kept AS TABLE event;
DELETE FROM event;
ALTER TABLE event DETACH PARTITION event_01;
ALTER TABLE event DETACH PARTITION event_02;
DROP TABLE event_01, event_02;
CREATE TABLE event_2026 PARTITION OF event FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY HASH (id);
CREATE TABLE event_2026_0 PARTITION OF event_2026 FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE event_2026_1 PARTITION OF event_2026 FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE event_2026_2 PARTITION OF event_2026 FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO event SELECT * FROM kept;
DROP TABLE kept;
ALTER TABLE note ADD FOREIGN KEY (event_id, day) REFERENCES event;
COMMIT;
RESET deletion_guard.ddl;
SELECT deletion_guard.guard_table('note', tenant_path => '{note_event_id_day_fkey}');
SELECT relation, live_relation, tenant_source FROM deletion_guard.archive_contents(:'dir' || 'account.dump') ORDER BY relation;
SELECT name, r.* FROM unnest('{account.dump,account.sql,account_inserts.sql,account_root.dump,account.dir}'::text[]) name,
	deletion_guard.rehydrate('b', :'dir' || name, dry_run => true) r ORDER BY name, relation::text;
CALL deletion_guard.rehydrate_each('{b}', :'dir' || 'account.dump', 'merged');
SELECT run, tenant, rows, problem FROM deletion_guard.rehydration_record;
SELECT count(*), (SELECT count(*) FROM note), (SELECT count(*) FROM (TABLE saved EXCEPT TABLE event) x) AS missing FROM event;
SELECT name, r.* FROM unnest('{account.dump,account.sql,account_root.dump}'::text[]) name,
	deletion_guard.compare_tenants('{a,b}', :'dir' || name) r ORDER BY name, relation::text, tenant;
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'dir' || 'account.dump', '{a,b}') ORDER BY tenant;
-- A root of another name is said once, for all of its partitions.
ALTER TABLE event RENAME TO occurrence;
SELECT relation, tenant, found, problem FROM deletion_guard.rehydrate('b', :'dir' || 'account.dump', relations => '{site}') ORDER BY 1, 4;
SELECT relation, found, identical, problem FROM deletion_guard.rehydrate('b', :'dir' || 'account.dump',
	mapping => '{"public.event": "public.occurrence"}') ORDER BY relation::text;
SELECT relation, found, identical, problem FROM deletion_guard.rehydrate('b', :'dir' || 'account.dump',
	mapping => '{"public.event": {"relation": "public.occurrence", "columns": {"id": "id"}}}') ORDER BY relation::text;
ALTER TABLE occurrence RENAME TO event;

-- As older versions of pg_dump and people write it; and a circle.
\! printf 'CREATE TABLE public.old_1 PARTITION OF public.old_2 FOR VALUES IN (1);\nALTER TABLE public.event ATTACH PARTITION public.old_2 DEFAULT;\nALTER TABLE ONLY public.c1 ATTACH PARTITION public.c2 DEFAULT;\nALTER TABLE ONLY public.c2 ATTACH PARTITION public.c1 DEFAULT;\nCOPY public.old_1 (id, site_id, day) FROM stdin;\n7\tb\t2026-05-05\n\\.\nCOPY public.c1 (id) FROM stdin;\n1\n\\.\n-- PostgreSQL database dump complete\n' > "${DIR}account_old.sql"
SELECT relation, found, restored, problem FROM deletion_guard.rehydrate('b', :'dir' || 'account_old.sql') ORDER BY found, problem, relation::text;
DELETE FROM event WHERE id = 7;

-- A child that inherited is gone: its rows are counted, as nobody knows where they are now.
CREATE TABLE reading (id int PRIMARY KEY, site_id text NOT NULL REFERENCES site);
CREATE TABLE reading_1 (PRIMARY KEY (id)) INHERITS (reading);
CREATE TABLE reading_2 (extra text, PRIMARY KEY (id)) INHERITS (reading_1);
INSERT INTO reading VALUES (1, 'a'), (2, 'b');
INSERT INTO reading_1 SELECT n, 'b' FROM generate_series(11, 15) n;
INSERT INTO reading_2 VALUES (21, 'b');
\! pg_dump -Fc -f "${DIR}reading.dump" -t 'reading*' -t site
DELETE FROM reading WHERE site_id = 'b';
SET deletion_guard.ddl = allow;
DROP TABLE reading_1, reading_2;
RESET deletion_guard.ddl;
SELECT refusal(format('SELECT deletion_guard.rehydrate(%L, %L)', 'b', :'dir' || 'reading.dump'), :'dir');
SELECT refusal(format('SELECT deletion_guard.rehydrate(%L, %L, mapping => %L)', 'b', :'dir' || 'reading.dump', '{"public.reading_1": "public.reading"}'), :'dir');
SELECT problem FROM deletion_guard.rehydrate('b', :'dir' || 'reading.dump', dry_run => true) ORDER BY problem;
SELECT * FROM deletion_guard.rehydrate('a', :'dir' || 'reading.dump') WHERE found > 0 OR problem ~ 'reading' ORDER BY relation::text;
SELECT * FROM deletion_guard.compare_tenant('b', :'dir' || 'reading.dump') ORDER BY relation::text, problem;
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'dir' || 'reading.dump', '{b}', left_out => 'report');
CALL deletion_guard.rehydrate_each('{b}', :'dir' || 'reading.dump', 'left', left_out => 'report');
SELECT tenant, rows, problem FROM deletion_guard.rehydration_record WHERE run = 'left';
SELECT * FROM deletion_guard_internal.rehydrate_once('left', '{b}', :'dir' || 'reading.dump');
SELECT relation, found, restored, identical FROM deletion_guard.rehydrate('b', :'dir' || 'reading.dump',
	mapping => '{"public.reading_1": "public.reading", "public.reading_2": {"relation": "public.reading", "columns": {"extra": null}}}')
WHERE found > 0 ORDER BY relation::text;

-- Nothing tells whose the rows of some tables are, and some tables are gone.
CREATE TABLE attachment (id int PRIMARY KEY, of_table text, of_row int);
CREATE TABLE person (id int PRIMARY KEY);
CREATE TABLE comment (id int PRIMARY KEY, site_id text NOT NULL REFERENCES site, author int REFERENCES person, body text);
CREATE TABLE gone (id int);
CREATE TABLE gone_empty (id int);
CREATE TABLE empty (id int);
INSERT INTO person VALUES (1);
INSERT INTO comment SELECT n, chr(97 + n % 2), 1, 'text' FROM generate_series(1, 10) n;
INSERT INTO attachment SELECT id, 'comment', id FROM comment;
INSERT INTO gone VALUES (1);
SELECT deletion_guard.guard_table('attachment');
\! pg_dump -Fc -f "${DIR}untold.dump" -t site -t comment -t person -t attachment -t 'gone*' -t empty
DROP TABLE gone, gone_empty;
SELECT deletion_guard.unguard_table(r) FROM unnest('{event,note,reading}'::regclass[]) r;
DELETE FROM attachment;
DELETE FROM comment WHERE site_id = 'b';
SELECT * FROM deletion_guard.rehydrate('b', :'dir' || 'untold.dump', dry_run => true) ORDER BY relation::text, problem;
SELECT relation, found, problem FROM deletion_guard.rehydrate('b', :'dir' || 'untold.dump', into_schema => 'look') ORDER BY relation::text, problem;
DROP SCHEMA look CASCADE;
SELECT * FROM deletion_guard.compare_tenant('b', :'dir' || 'untold.dump') ORDER BY relation::text, problem;
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'dir' || 'untold.dump', '{b}');
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'dir' || 'untold.dump', '{b}', left_out => 'report');
SELECT tenant, matches, problem FROM deletion_guard.drill_result ORDER BY drill_id DESC LIMIT 2;
CALL deletion_guard.rehydrate_each('{b}', :'dir' || 'untold.dump', 'untold');
SELECT tenant, rows, problem FROM deletion_guard.rehydration_record WHERE run = 'untold';
SELECT relation, tenant, found, problem FROM deletion_guard.rehydrate('b', :'dir' || 'untold.dump', relations => '{comment}') ORDER BY relation::text;

-- Columns that only one side has.
SET deletion_guard.ddl = allow;
ALTER TABLE comment RENAME body TO content;
ALTER TABLE comment ADD state text DEFAULT 'new';
RESET deletion_guard.ddl;
UPDATE comment SET content = 'other';
SELECT relation, only_in_archive, only_live, different, problem FROM deletion_guard.compare_tenant('b', :'dir' || 'untold.dump')
WHERE relation = 'comment'::regclass;
SELECT relation, only_in_archive, only_live, different, problem FROM deletion_guard.compare_tenant('b', :'dir' || 'untold.dump',
	mapping => '{"public.comment": {"columns": {"body": "content"}}}') WHERE relation = 'comment'::regclass;
SELECT matches, problem FROM deletion_guard.drill(:'dir' || 'untold.dump', '{b}', left_out => 'report');
SET deletion_guard.ddl = allow;
ALTER TABLE comment RENAME content TO body;
RESET deletion_guard.ddl;
SELECT matches, problem FROM deletion_guard.drill(:'dir' || 'untold.dump', '{b}', left_out => 'report');

-- A table of tenants that the archive does not have.
CREATE TABLE invoice (id int PRIMARY KEY, site_id text NOT NULL);
INSERT INTO invoice VALUES (1, 'a');
SELECT relation, found, problem FROM deletion_guard.rehydrate('b', :'dir' || 'untold.dump', on_conflict => 'skip') WHERE relation = 'invoice'::regclass;
SELECT * FROM deletion_guard.compare_tenants('{a,b}', :'dir' || 'untold.dump') WHERE relation = 'invoice'::regclass;
SET deletion_guard.ddl = allow;
ALTER TABLE comment DROP state;
RESET deletion_guard.ddl;
SELECT tenant, matches, replace(problem, 'public.attachment: nothing tells which tenant its rows belong to; left alone', '...') AS problem
FROM deletion_guard.drill(:'dir' || 'untold.dump', '{a,b}', left_out => 'report') ORDER BY tenant;

SELECT refusal(format('SELECT deletion_guard.rehydrate(%L, %L, left_out => %L)', 'b', :'dir' || 'untold.dump', v), :'dir')
FROM unnest('{ignore,NULL}'::text[]) v;
SELECT refusal(format('SELECT deletion_guard.drill(%L, left_out => %L)', :'dir' || 'untold.dump', v), :'dir')
FROM unnest('{Report,NULL}'::text[]) v;

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_account;
