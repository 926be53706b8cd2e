-- Kinds of keys, partitions, parents in the archive, live, or both.
CREATE DATABASE regress_dg_rehydrate_keys;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_keys
\getenv srcdir PG_ABS_SRCDIR
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'keys.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION deletion_guard;

-- A tenant key that is equal in several spellings: numeric, char(n). Keys of
-- several columns, and such that contain what separates fields.
CREATE TABLE tenant (id numeric PRIMARY KEY, name text);
CREATE TABLE depot (tenant_id numeric, code char(6), town text, PRIMARY KEY (code, town));
CREATE TABLE crate (id integer PRIMARY KEY, code varchar(8), town text, content text,
	CONSTRAINT depot FOREIGN KEY (code, town) REFERENCES depot);
CREATE TABLE item (crate_id bigint, n smallint, CONSTRAINT crate FOREIGN KEY (crate_id) REFERENCES crate);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT deletion_guard.guard_table('tenant', 'id');
SELECT deletion_guard.guard_table('depot', 'tenant_id');
SELECT deletion_guard.guard_table('crate', tenant_path => '{depot}');
SELECT deletion_guard.guard_table('item', tenant_path => '{crate,depot}');
INSERT INTO tenant VALUES (1, 'one'), (2.0, 'two'), (10, 'ten');
INSERT INTO depot VALUES (1.00, 'a', E'x\ty'), (1.0, 'b', E'\\N'), (2, 'a', 'x'), (2.000, 'ab', 'y'), (10, 'b', E'\n'), (NULL, 'c', 'z');
INSERT INTO crate SELECT row_number() OVER (ORDER BY code, town, n), code || repeat(' ', n), town, n
	FROM depot, generate_series(0, 2) n;
INSERT INTO crate VALUES (100, NULL, 'x'), (101, 'a', NULL);
INSERT INTO item SELECT id, 1 FROM crate;
CREATE VIEW everything AS
	SELECT 'tenant' AS relation, tenant::text AS row FROM tenant UNION ALL SELECT 'depot', depot::text FROM depot
	UNION ALL SELECT 'crate', crate::text FROM crate UNION ALL SELECT 'item', item::text FROM item;
CREATE TABLE before AS SELECT * FROM everything;
\! pg_dump -Fc -f "${DIR}keys.dump" -n public
DELETE FROM item; DELETE FROM crate; DELETE FROM depot; DELETE FROM tenant;
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('2.00', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT * FROM deletion_guard.compare_tenant('2', :'archive') ORDER BY relation::text;
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('{10,1.000}'::text[], :'archive')
WHERE tenant IS NOT NULL ORDER BY relation::text, tenant;
TABLE everything EXCEPT TABLE before ORDER BY 1, 2;
TABLE before EXCEPT TABLE everything ORDER BY 1, 2;
-- Their parents may be live ones: only the last table is in the archive.
\! pg_dump -Fc -f "${DIR}keys.dump" -t item
DELETE FROM item;
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('{10,2,1.000}'::text[], :'archive')
WHERE tenant IS NOT NULL ORDER BY relation::text, tenant;
-- The first and the last, with the path leading through a live one.
\! pg_dump -Fc -f "${DIR}keys.dump" -t item -t tenant
DELETE FROM item WHERE crate_id > 6;
SELECT relation, tenant, found, restored, identical FROM deletion_guard.rehydrate('{10,2,1.000}'::text[], :'archive')
WHERE tenant IS NOT NULL ORDER BY relation::text, tenant;
DROP TABLE before;

-- Partitions, some with columns in another order; the archive has one entry each.
CREATE TABLE event (tenant_id integer, at date, id bigserial, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE event_2024 (note text, at date NOT NULL, dropped text, id bigint NOT NULL, tenant_id integer);
ALTER TABLE event_2024 DROP dropped;
ALTER TABLE event ATTACH PARTITION event_2024 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE event_2025 PARTITION OF event FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY HASH (at);
CREATE TABLE event_2025_0 PARTITION OF event_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE event_2025_1 PARTITION OF event_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE detail (event_id bigint, event_at date, text text,
	CONSTRAINT event FOREIGN KEY (event_id, event_at) REFERENCES event);
SELECT deletion_guard.guard_table('event', 'tenant_id');
SELECT deletion_guard.guard_table('detail', tenant_path => '{event}');
INSERT INTO event (tenant_id, at, note) SELECT 1 + n % 3, date '2024-06-01' + n * 30, 'note ' || n FROM generate_series(0, 17) n;
INSERT INTO detail SELECT id, at, 'detail of ' || id FROM event;
CREATE VIEW events AS SELECT 'event' AS relation, event::text AS row FROM event UNION ALL SELECT 'detail', detail::text FROM detail;
CREATE TABLE before AS SELECT * FROM events;
\! pg_dump -Fc -f "${DIR}keys.dump" -n public
\! pg_dump -Fc -f "${DIR}root.dump" -n public --load-via-partition-root
\! pg_dump -Fc -f "${DIR}some.dump" -n public -T event_2024
\set root :dir 'root.dump'
\set some :dir 'some.dump'
SELECT relation, live_relation, tenant_source FROM deletion_guard.archive_contents(:'archive') WHERE relation ~ 'event|detail' ORDER BY 1;
DELETE FROM detail; DELETE FROM event;
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('{1,2}'::text[], :'archive', relations => '{event,detail}')
WHERE tenant IS NOT NULL ORDER BY relation::text, tenant;
SELECT tableoid::regclass, count(*) FROM event GROUP BY 1 ORDER BY 1;
-- A partition stands for its root; there are other partitions now.
DELETE FROM detail; DELETE FROM event;
SELECT deletion_guard.unguard_table('event');
ALTER TABLE event DETACH PARTITION event_2025;
DROP TABLE event_2025;
CREATE TABLE event_later PARTITION OF event DEFAULT;
SELECT deletion_guard.guard_table('event', 'tenant_id');
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('{3,1,2}'::text[], :'root', relations => '{event_2024,detail}')
WHERE tenant IS NOT NULL ORDER BY relation::text, tenant;
SELECT tableoid::regclass, count(*) FROM event GROUP BY 1 ORDER BY 1;
TABLE events EXCEPT TABLE before ORDER BY 1, 2;
TABLE before EXCEPT TABLE events ORDER BY 1, 2;
-- What the root had elsewhere is the root's, as the archive says; a mapping may say so too.
SELECT lower(problem) FROM deletion_guard.rehydrate('1', :'archive', relations => '{detail}', dry_run => true) WHERE tenant IS NULL AND problem ~ 'event' ORDER BY 1;
DELETE FROM detail; DELETE FROM event;
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('{3,1,2}'::text[], :'archive', relations => '{event,detail}',
	mapping => '{"public.event_2025_0": "event", "public.event_2025_1": "event"}')
WHERE tenant IS NOT NULL ORDER BY relation::text, tenant;
TABLE events EXCEPT TABLE before ORDER BY 1, 2;
TABLE before EXCEPT TABLE events ORDER BY 1, 2;

-- One partition is not in the archive: live rows tell the tenants of the rows
-- that refer to it. A row that has another tenant in the archive is that one's.
DELETE FROM detail;
UPDATE event SET tenant_id = 2 WHERE id = 16;
SELECT id, tenant_id FROM event WHERE id IN (1, 4, 16) ORDER BY id;
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('2', :'some', relations => '{detail}',
	mapping => '{"public.event_2025_0": "event", "public.event_2025_1": "event"}') WHERE tenant IS NOT NULL;
SELECT event_id, tenant_id FROM detail JOIN event ON id = event_id WHERE tenant_id <> 2 OR event_id = 16;
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('1', :'some', relations => '{detail}',
	mapping => '{"public.event_2025_0": "event", "public.event_2025_1": "event"}') WHERE tenant IS NOT NULL;
SELECT event_id FROM detail WHERE event_id = 16;

-- More parents than there is memory for: their keys go to disk, and the table
-- below is read in parts.
CREATE TABLE parent (id integer PRIMARY KEY, tenant_id integer);
CREATE TABLE child (parent_id integer, text text, CONSTRAINT parent FOREIGN KEY (parent_id) REFERENCES parent);
SELECT deletion_guard.guard_table('parent', 'tenant_id');
SELECT deletion_guard.guard_table('child', tenant_path => '{parent}');
INSERT INTO parent SELECT n, 1 + n % 2 FROM generate_series(1, 200000) n;
INSERT INTO child SELECT id, 'child of ' || id FROM parent WHERE id % 3 = 0;
\! pg_dump -Fc -f "${DIR}keys.dump" -t parent -t child
DELETE FROM child;
DELETE FROM parent WHERE tenant_id = 2;
SET maintenance_work_mem = '1MB';
SELECT relation, tenant, found, restored FROM deletion_guard.rehydrate('2', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
SELECT count(*), count(DISTINCT parent_id), bool_and(tenant_id = 2) FROM child JOIN parent ON id = parent_id;
SELECT * FROM deletion_guard.compare_tenants('{1,2}', :'archive') ORDER BY relation::text, tenant;
SELECT tenant, rows, matches, problem FROM deletion_guard.drill(:'archive', '{1}');
SELECT relation, tenant, restored, identical FROM deletion_guard.rehydrate('1', :'archive') WHERE tenant IS NOT NULL ORDER BY relation::text;
\! pg_dump -Fc -f "${DIR}keys.dump" -t child
DELETE FROM child;
SELECT relation, tenant, restored FROM deletion_guard.rehydrate('{1,2}'::text[], :'archive') WHERE tenant IS NOT NULL ORDER BY tenant;
-- The same with a table in between, of which the archive has one partition.
CREATE TABLE middle (id integer PRIMARY KEY, parent_id integer CONSTRAINT parent REFERENCES parent) PARTITION BY RANGE (id);
CREATE TABLE middle_a PARTITION OF middle FOR VALUES FROM (1) TO (150000);
CREATE TABLE middle_b PARTITION OF middle DEFAULT;
CREATE TABLE leaf (middle_id integer CONSTRAINT middle REFERENCES middle);
SELECT deletion_guard.guard_table('middle', tenant_path => '{parent}');
SELECT deletion_guard.guard_table('leaf', tenant_path => '{middle,parent}');
INSERT INTO middle SELECT id, id FROM parent WHERE id % 3 = 0;
INSERT INTO leaf SELECT id FROM middle WHERE id % 5 = 0;
\! pg_dump -Fc -f "${DIR}keys.dump" -t parent -t middle_a -t leaf
DELETE FROM leaf;
SELECT relation, tenant, restored FROM deletion_guard.rehydrate('{1,2}'::text[], :'archive', relations => '{leaf}') WHERE tenant IS NOT NULL ORDER BY tenant;
SELECT 1 + id % 2 AS tenant, count(*) FROM parent WHERE id % 15 = 0 GROUP BY 1 ORDER BY 1;
RESET maintenance_work_mem;

-- A shared table's key is of a type with a cast from text of somebody's own:
-- the cast runs as the owner of the table.
CREATE ROLE regress_dg_rehydrate_owner;
GRANT CREATE ON SCHEMA public TO regress_dg_rehydrate_owner;
CREATE TABLE ran (who name);
GRANT INSERT ON ran TO PUBLIC;
SET ROLE regress_dg_rehydrate_owner;
CREATE TYPE code AS (letter text);
CREATE FUNCTION to_code(text) RETURNS code LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO public.ran VALUES (current_user); RETURN ROW(trim('()' FROM $1)); END $$;
CREATE CAST (text AS code) WITH FUNCTION to_code(text);
CREATE TABLE color (id code PRIMARY KEY);
GRANT REFERENCES, SELECT, INSERT ON color TO PUBLIC;
RESET ROLE;
INSERT INTO color VALUES (ROW('r')::code), (ROW('b')::code);
CREATE TABLE painting (id integer PRIMARY KEY, tenant_id integer, color code REFERENCES color);
INSERT INTO painting VALUES (1, 1, ROW('r')::code), (2, 1, ROW('b')::code);
SELECT deletion_guard.guard_table('painting', 'tenant_id');
\! pg_dump -Fc -f "${DIR}keys.dump" -t painting -t color
DELETE FROM painting;
DELETE FROM color WHERE id = ROW('r')::code;
SELECT relation, tenant, restored FROM deletion_guard.rehydrate('1', :'archive', with_referenced => true)
WHERE restored > 0 ORDER BY relation::text;
SELECT DISTINCT who FROM ran;

\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_keys;
DROP ROLE regress_dg_rehydrate_owner;
\! rm -f "${DIR}keys.dump" "${DIR}root.dump" "${DIR}some.dump"
