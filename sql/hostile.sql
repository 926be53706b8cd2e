-- What owners of tables could plant in them: nothing of it runs with the rights
-- of the extension's owner.
CREATE DATABASE regress_dg_hostile;
\set maintenance_db :DBNAME
\c regress_dg_hostile
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_hostile_owner;
CREATE SCHEMA shop AUTHORIZATION regress_dg_hostile_owner;
SET ROLE regress_dg_hostile_owner;
-- Says so where it runs as somebody else.
CREATE FUNCTION shop.note(place text) RETURNS integer LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog AS $$
BEGIN
	IF current_user <> 'regress_dg_hostile_owner' THEN
		RAISE WARNING '% runs as another role than its owner', place;
	END IF;
	RETURN 1;
END $$;
CREATE TYPE shop.label AS (word text);
CREATE FUNCTION shop.label_text(shop.label) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN PERFORM shop.note('cast to text'); RETURN $1.word; END $$;
CREATE CAST (shop.label AS text) WITH FUNCTION shop.label_text(shop.label);
CREATE FUNCTION shop.text_label(text) RETURNS shop.label LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN PERFORM shop.note('cast from text'); RETURN row($1)::shop.label; END $$;
CREATE CAST (text AS shop.label) WITH FUNCTION shop.text_label(text);
CREATE TABLE shop.tenant (id integer PRIMARY KEY, name shop.label);
CREATE TABLE shop.issue (id integer PRIMARY KEY, tenant_id integer CONSTRAINT issue_tenant REFERENCES shop.tenant);
CREATE TABLE shop.remark (id integer PRIMARY KEY, issue_id integer CONSTRAINT remark_issue REFERENCES shop.issue);
INSERT INTO shop.tenant SELECT i, row('tenant ' || i)::shop.label FROM generate_series(1, 3) i;
INSERT INTO shop.issue VALUES (1, 1), (2, 2), (3, NULL);
INSERT INTO shop.remark VALUES (1, 1), (2, 2), (3, 3);
RESET ROLE;
SELECT deletion_guard.set_tenant_table('shop.tenant', 'id', 'name');
SELECT deletion_guard.guard_table('shop.tenant', 'id');
SELECT deletion_guard.guard_table('shop.issue', 'tenant_id');
SELECT deletion_guard.guard_table('shop.remark', tenant_path => '{remark_issue,issue_tenant}');
-- The planner evaluates this whenever the table is read.
SET ROLE regress_dg_hostile_owner;
CREATE INDEX ON shop.tenant ((shop.note('index of tenant')));
CREATE INDEX ON shop.issue ((shop.note('index of issue')));
RESET ROLE;

-- A path is followed from table to table.
\c -
SET client_min_messages = warning;
SET ROLE regress_dg_hostile_owner;
DELETE FROM shop.remark;
RESET ROLE;
SELECT tenant, rows FROM deletion_guard.deletion_detail ORDER BY 1;
SELECT sum(restored) FROM deletion_guard.undelete(1);

-- A key refers to no row of an inheritance child, foreign ones included.
SET ROLE regress_dg_hostile_owner;
CREATE TABLE shop.issue_elsewhere () INHERITS (shop.issue);
INSERT INTO shop.issue_elsewhere VALUES (3, 2);
DELETE FROM shop.remark;
RESET ROLE;
SELECT tenant, rows FROM deletion_guard.deletion_detail WHERE deletion_id = 2 ORDER BY 1;

-- Names of tenants, for the message at a ceiling.
\c -
SET client_min_messages = warning;
SET deletion_guard.max_rows = 1;
SET ROLE regress_dg_hostile_owner;
DELETE FROM shop.issue; -- fails
RESET ROLE;
RESET deletion_guard.max_rows;

-- A purge asks for the live tenant's name.
DELETE FROM shop.issue WHERE id = 1;
SELECT deletion_guard.request_purge('1', 'contract ended') ->> 'tenant_name' AS tenant_name;
SELECT * FROM deletion_guard.tenant_label('1');

-- So does whoever looks at what was deleted; the key's type may have a domain
-- inside, which checks what it reads.
SET ROLE regress_dg_hostile_owner;
CREATE DOMAIN shop.small AS integer CHECK (shop.note('domain') = 1 AND VALUE < 100);
CREATE TYPE shop.key AS (id shop.small);
CREATE TABLE shop.customer (id shop.key PRIMARY KEY, name text);
INSERT INTO shop.customer VALUES (row(1), 'customer 1');
RESET ROLE;
SELECT deletion_guard.set_tenant_table('shop.customer', 'id', 'name');
SELECT deletion_guard.guard_table('shop.customer', 'id');
BEGIN;
SET LOCAL ROLE regress_dg_hostile_owner;
DELETE FROM shop.customer;
RESET ROLE;
SELECT tenant, tenant_name, rows FROM deletion_guard.deletion_detail WHERE relation = 'shop.customer'::regclass;
ROLLBACK;
SELECT * FROM deletion_guard.tenant_label('(1)');
SELECT * FROM deletion_guard.tenant_label('(1000)');

-- Keys of tenants are text, in one spelling whatever the session's settings.
CREATE TABLE entry (day date, at timestamptz, weight float8, bytes bytea, span interval, id integer);
INSERT INTO entry SELECT '2024-03-01', '2024-03-01 12:00+00', 0.1::float8 + 0.2, '\x6162', '1 day -02:03', i FROM generate_series(1, 2) i;
CREATE PROCEDURE delete_twice(tenant_column name) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM deletion_guard.guard_table('entry', tenant_column);
	DELETE FROM entry WHERE id = 1;
	PERFORM set_config('DateStyle', 'SQL, DMY', true), set_config('TimeZone', 'America/New_York', true),
		set_config('extra_float_digits', '0', true), set_config('bytea_output', 'escape', true),
		set_config('IntervalStyle', 'iso_8601', true);
	DELETE FROM entry WHERE id = 2;
END $$;
BEGIN;
CALL delete_twice('day');
SELECT tenant, sum(rows) FROM deletion_guard.deletion_detail WHERE relation = 'entry'::regclass GROUP BY 1;
ROLLBACK;
BEGIN;
CALL delete_twice('at');
SELECT tenant, sum(rows) FROM deletion_guard.deletion_detail WHERE relation = 'entry'::regclass GROUP BY 1;
ROLLBACK;
BEGIN;
CALL delete_twice('weight');
SELECT tenant, sum(rows) FROM deletion_guard.deletion_detail WHERE relation = 'entry'::regclass GROUP BY 1;
ROLLBACK;
BEGIN;
CALL delete_twice('bytes');
SELECT tenant, sum(rows) FROM deletion_guard.deletion_detail WHERE relation = 'entry'::regclass GROUP BY 1;
ROLLBACK;
BEGIN;
CALL delete_twice('span');
SELECT tenant, sum(rows) FROM deletion_guard.deletion_detail WHERE relation = 'entry'::regclass GROUP BY 1;
ROLLBACK;
-- By a path as well, and where a purge looks for the tenant.
CREATE TABLE day (day date PRIMARY KEY, name text);
CREATE TABLE note (id integer, day date CONSTRAINT note_day REFERENCES day);
INSERT INTO day VALUES ('2024-03-01', 'first of March');
INSERT INTO note VALUES (1, '2024-03-01'), (2, '2024-03-01');
SELECT deletion_guard.set_tenant_table('day', 'day', 'name');
SELECT deletion_guard.guard_table('note', tenant_path => '{note_day}');
DELETE FROM note WHERE id = 1;
SET DateStyle = 'SQL, DMY';
DELETE FROM note WHERE id = 2;
SELECT tenant, sum(rows) FROM deletion_guard.deletion_detail WHERE relation = 'note'::regclass GROUP BY 1;
SELECT deletion_guard.request_purge('2024-03-01', 'contract ended') ->> 'tenant_name' AS tenant_name;
SET deletion_guard.max_rows = 1;
INSERT INTO note VALUES (1, '2024-03-01'), (2, '2024-03-01');
DELETE FROM note; -- fails
RESET deletion_guard.max_rows;

-- Statistics call the subtype_diff of a range type, as the table's owner. Nobody
-- needs those of a bin, whose owner is a superuser.
SET ROLE regress_dg_hostile_owner;
CREATE FUNCTION shop.difference(float8, float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN PERFORM shop.note('subtype_diff'); RETURN $1 - $2; END $$;
CREATE TYPE shop.span AS RANGE (subtype = float8, subtype_diff = shop.difference, multirange_type_name = shop.multispan);
CREATE TABLE shop.visit (id integer PRIMARY KEY, span shop.span, all_spans shop.multispan);
INSERT INTO shop.visit SELECT i, s, shop.multispan(s) FROM generate_series(1, 9) i, shop.span(i, i + 1) s;
RESET ROLE;
SELECT deletion_guard.guard_table('shop.visit');
DELETE FROM shop.visit;
SELECT bin_table::regclass AS bin FROM deletion_guard.bin WHERE relation = 'shop.visit'::regclass \gset
ANALYZE :bin;
SELECT attname FROM pg_stats WHERE schemaname = 'deletion_guard_bin' AND attname !~ '^_';
SELECT restored FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));

\c :maintenance_db
DROP DATABASE regress_dg_hostile;
DROP ROLE regress_dg_hostile_owner;
