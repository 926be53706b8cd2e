-- A partition in a superuser's table has an owner of its own. Whoever asks which
-- rows of the table exist plans a query for it, too, and so may run what she has
-- planted in its indexes: never with the rights of a superuser.
CREATE DATABASE regress_dg_parent_partition;
\set maintenance_db :DBNAME
\c regress_dg_parent_partition
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/'
\set archive :dir 'parent_partition.dump'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_planter;
CREATE SCHEMA hers AUTHORIZATION regress_dg_planter;
SET ROLE regress_dg_planter;
GRANT USAGE ON SCHEMA hers TO PUBLIC;
CREATE FUNCTION hers.note(v integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AND current_setting('hers.armed', true) = 'yes' THEN
		RAISE WARNING 'planted code runs as a superuser';
	END IF;
	RETURN v;
END $$;
RESET ROLE;
CREATE TABLE tenant (id integer PRIMARY KEY);
CREATE TABLE room (id integer PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE room_1 PARTITION OF room FOR VALUES FROM (0) TO (10);
CREATE TABLE hers.room_2 PARTITION OF room FOR VALUES FROM (10) TO (20);
ALTER TABLE hers.room_2 OWNER TO regress_dg_planter;
CREATE TABLE bed (id integer PRIMARY KEY, tenant_id integer REFERENCES tenant, room integer REFERENCES room) PARTITION BY RANGE (id);
CREATE TABLE bed_1 PARTITION OF bed FOR VALUES FROM (0) TO (3);
-- with its columns in another order
CREATE TABLE hers.bed_2 (gone integer, room integer, tenant_id integer, id integer NOT NULL);
ALTER TABLE hers.bed_2 DROP COLUMN gone;
ALTER TABLE bed ATTACH PARTITION hers.bed_2 FOR VALUES FROM (3) TO (9);
ALTER TABLE hers.bed_2 OWNER TO regress_dg_planter;
CREATE TABLE sheet (id integer PRIMARY KEY, bed integer CONSTRAINT sheet_bed REFERENCES bed);
SELECT deletion_guard.set_tenant_table('tenant', 'id');
SELECT deletion_guard.guard_table(t, c) FROM (VALUES ('tenant'::regclass, 'id'), ('room', NULL), ('bed', 'tenant_id')) g (t, c);
SELECT deletion_guard.guard_table('sheet', tenant_path => '{sheet_bed}');
INSERT INTO tenant VALUES (1);
INSERT INTO room VALUES (1), (2), (11), (12);
INSERT INTO bed VALUES (1, 1, 1), (2, 1, 2), (3, 1, 11), (4, 1, 12);
INSERT INTO sheet VALUES (1, 1), (2, 4);
\! pg_dump -Fc -f "${DIR}parent_partition.dump"
DELETE FROM sheet;
DELETE FROM bed;
DELETE FROM tenant;
DELETE FROM room WHERE id IN (2, 12);
SET ROLE regress_dg_planter;
CREATE INDEX ON hers.room_2 ((hers.note(7)));
CREATE INDEX ON hers.bed_2 ((hers.note(8)));
RESET ROLE;

-- each in a session of its own: the planner evaluates what is in an index once
\c
SET hers.armed = yes;
SELECT relation, restored FROM deletion_guard.rehydrate('1', :'archive', with_referenced => true) ORDER BY 1;
SELECT count(*) FROM bed;
\c
SET hers.armed = yes;
SELECT matches, problem FROM deletion_guard.drill(:'archive', '{1}');
\c
SET hers.armed = yes;
SELECT relation, archive_rows, live_rows, only_in_archive, only_live, different, problem
	FROM deletion_guard.compare_tenant('1', :'archive') ORDER BY relation::text;
UPDATE bed SET room = 1 WHERE id = 4;
INSERT INTO bed VALUES (0, 1, 1), (5, 1, 2);
\c
SET hers.armed = yes;
SELECT relation, key, what, columns, problem FROM deletion_guard.compare_rows('1', :'archive') ORDER BY relation::text;
SELECT relation, restored, identical, problem FROM deletion_guard.rehydrate('1', :'archive', on_conflict => 'skip', extra => 'delete') ORDER BY relation::text;
SELECT * FROM deletion_guard.deleted_rows(NULL::bed, deletion_id => (SELECT max(id) FROM deletion_guard.deletion)) ORDER BY id;
\c :maintenance_db
SET client_min_messages = warning;
DROP DATABASE regress_dg_parent_partition;
DROP ROLE regress_dg_planter;
