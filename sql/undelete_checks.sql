-- Checks and policies that look at other rows, which come back with them.
CREATE DATABASE regress_dg_undelete_checks;
\set maintenance_db :DBNAME
\c regress_dg_undelete_checks
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/undelete_checks.dump'
\setenv ARCHIVE :archive
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE FUNCTION last() RETURNS bigint LANGUAGE sql AS $$ SELECT max(id) FROM deletion_guard.deletion $$;
CREATE TABLE org (id int PRIMARY KEY, kind text);
SELECT deletion_guard.set_tenant_table('org', 'id');
CREATE FUNCTION kind_of(i int) RETURNS text STABLE LANGUAGE sql AS $$ SELECT kind FROM public.org WHERE id = i $$;
CREATE FUNCTION has_kind(i int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN EXISTS (SELECT FROM public.org WHERE id = i); END $$;
CREATE FUNCTION must_have(i int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
	IF NOT EXISTS (SELECT FROM public.item WHERE id = i) THEN RAISE EXCEPTION 'no item %', i; END IF;
	RETURN true;
END $$;
CREATE TABLE item (id int PRIMARY KEY, org int REFERENCES org ON DELETE CASCADE, CHECK (kind_of(org) = 'firm'));
CREATE TABLE a_part (id int PRIMARY KEY, org int REFERENCES org ON DELETE CASCADE, item int REFERENCES item ON DELETE CASCADE,
	k text GENERATED ALWAYS AS (has_kind(org)::text) STORED, CHECK (must_have(item)));
CREATE TABLE tree (id int PRIMARY KEY, org int REFERENCES org ON DELETE CASCADE, up int REFERENCES tree ON DELETE CASCADE);
CREATE FUNCTION up_exists(i int) RETURNS boolean LANGUAGE sql AS $$ SELECT i IS NULL OR EXISTS (SELECT FROM public.tree WHERE id = i) $$;
CREATE TABLE visit (id int, org int REFERENCES org ON DELETE CASCADE) PARTITION BY LIST (id);
CREATE TABLE visit_1 PARTITION OF visit (CHECK (has_kind(org))) DEFAULT;
SELECT deletion_guard.guard_table('org', 'id');
SELECT deletion_guard.guard_table(t, 'org') FROM unnest('{item,a_part,tree,visit}'::regclass[]) t;
INSERT INTO org VALUES (1, 'firm'), (2, 'firm');
INSERT INTO item SELECT n, 1 + n % 2 FROM generate_series(1, 6) n;
INSERT INTO a_part SELECT n, 1 + n % 2, n FROM generate_series(1, 6) n;
INSERT INTO tree SELECT n, 1 + n % 2, CASE WHEN n > 2 THEN n - 2 END FROM generate_series(1, 20) n;
INSERT INTO visit SELECT n, 1 + n % 2 FROM generate_series(1, 6) n;
ALTER TABLE tree ADD CHECK (up_exists(up));
\! pg_dump -Fc -f "$ARCHIVE" -n public regress_dg_undelete_checks

CREATE VIEW everything AS SELECT 'item' AS t, x::text FROM item x UNION ALL SELECT 'a_part', x::text FROM a_part x
	UNION ALL SELECT 'tree', x::text FROM tree x UNION ALL SELECT 'visit', x::text FROM visit x;
CREATE TABLE before AS SELECT * FROM everything;
DELETE FROM org WHERE id = 1;
SELECT relation, restored FROM deletion_guard.undelete(last(), dry_run => true) ORDER BY relation::text;
SELECT relation, restored FROM deletion_guard.undelete(last()) ORDER BY relation::text;
TABLE everything EXCEPT ALL TABLE before;
TABLE before EXCEPT ALL TABLE everything;
DELETE FROM org WHERE id = 1;
SELECT relation, restored FROM deletion_guard.rehydrate('1', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT relation, restored, identical FROM deletion_guard.undelete(last()) ORDER BY relation::text;
TABLE everything EXCEPT ALL TABLE before;
TABLE before EXCEPT ALL TABLE everything;

-- What does not pass then either fails, with its constraint; skipped rows stay.
DELETE FROM item WHERE id = 2;
UPDATE org SET kind = 'other' WHERE id = 1;
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails
SELECT restored, problem FROM deletion_guard.undelete(last(), dry_run => true);
UPDATE org SET kind = 'firm' WHERE id = 1;
INSERT INTO item VALUES (2, 2);
SELECT relation, restored, skipped FROM deletion_guard.undelete(last(), 'skip') ORDER BY relation::text;
SELECT rows, restored FROM deletion_guard.deletion_detail WHERE deletion_id = last() ORDER BY relation::text;
SELECT relation, restored, skipped FROM deletion_guard.undelete(last(), 'replace') ORDER BY relation::text;
TABLE everything EXCEPT ALL TABLE before;

-- Row security of the caller, by subqueries that a plan may keep.
CREATE ROLE regress_dg_checked;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_checked;
GRANT EXECUTE ON FUNCTION deletion_guard.undelete TO regress_dg_checked;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO regress_dg_checked;
ALTER TABLE item ENABLE ROW LEVEL SECURITY;
ALTER TABLE tree ENABLE ROW LEVEL SECURITY;
ALTER TABLE visit ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON item USING (org IN (SELECT id FROM org));
CREATE POLICY p ON tree USING (up IS NULL OR up IN (SELECT t.id FROM everything, LATERAL (SELECT (regexp_match(x, '^\((\d+),'))[1]::int AS id) t WHERE everything.t = 'tree'));
CREATE POLICY p ON visit USING (EXISTS (SELECT FROM item WHERE item.org = visit.org));
DELETE FROM org WHERE id = 1;
SELECT last() AS d \gset
SET ROLE regress_dg_checked;
SELECT relation, restored FROM deletion_guard.undelete(:d) ORDER BY relation::text;
RESET ROLE;
TABLE before EXCEPT ALL TABLE everything;

\c :maintenance_db
DROP DATABASE regress_dg_undelete_checks;
DROP ROLE regress_dg_checked;
