-- Code that owners attach to tables never runs as the superuser who brings rows
-- back: not in what the server would evaluate later, not in a partition of
-- another owner, not in triggers.
CREATE DATABASE regress_dg_undelete_owner;
\set maintenance_db :DBNAME
\c regress_dg_undelete_owner
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_owner;
CREATE ROLE regress_dg_owner2;
CREATE ROLE regress_dg_member IN ROLE regress_dg_owner;
CREATE SCHEMA hers AUTHORIZATION regress_dg_owner;
CREATE FUNCTION last() RETURNS bigint LANGUAGE sql AS $$ SELECT max(id) FROM deletion_guard.deletion $$;
SET ROLE regress_dg_owner;
CREATE TABLE hers.seen (what text, who text);
GRANT INSERT ON hers.seen TO PUBLIC;
GRANT USAGE ON SCHEMA hers TO PUBLIC;
CREATE FUNCTION hers.note(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO hers.seen SELECT what, current_user;
	IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
		ALTER ROLE regress_dg_owner SUPERUSER;
	END IF;
END $$;
CREATE FUNCTION hers.made(v int, what text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM hers.note(what); RETURN v; END $$;
CREATE FUNCTION hers.ok(v int, what text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM hers.note(what); RETURN true; END $$;
RESET ROLE;

-- A deferrable exclusion constraint: the server would check it again at commit.
SET ROLE regress_dg_owner;
CREATE TABLE hers.seat (id int, place int);
RESET ROLE;
SELECT deletion_guard.guard_table('hers.seat');
SET ROLE regress_dg_owner;
INSERT INTO hers.seat VALUES (1, 1);
DELETE FROM hers.seat;
INSERT INTO hers.seat VALUES (2, 1);
ALTER TABLE hers.seat ADD CONSTRAINT place EXCLUDE USING btree (hers.made(place, 'excluded') WITH =)
	WHERE (hers.ok(place, 'excluded where')) DEFERRABLE INITIALLY DEFERRED;
RESET ROLE;
TRUNCATE hers.seen;
BEGIN;
SELECT restored FROM deletion_guard.undelete(last()); -- fails now, not at commit
ROLLBACK;
SELECT restored, problem FROM deletion_guard.undelete(last(), dry_run => true);
DELETE FROM hers.seat WHERE id = 2;
SELECT restored FROM deletion_guard.undelete(last() - 1);
SELECT DISTINCT what, who FROM hers.seen ORDER BY 1, 2;

-- A partition of hers in a table of somebody else's.
CREATE TABLE visit (id int, day int) PARTITION BY LIST (day);
CREATE TABLE hers.visit_1 PARTITION OF visit FOR VALUES IN (1);
ALTER TABLE hers.visit_1 OWNER TO regress_dg_owner;
SELECT deletion_guard.guard_table('visit');
SET ROLE regress_dg_owner;
INSERT INTO hers.visit_1 VALUES (1, 1);
RESET ROLE;
DELETE FROM visit;
SET ROLE regress_dg_owner;
ALTER TABLE hers.visit_1 ADD CHECK (hers.ok(id, 'check of a partition'));
CREATE INDEX ON hers.visit_1 (hers.made(id, 'index of a partition'));
CREATE INDEX ON hers.visit_1 ((hers.made(7, 'constant in an index')));
RESET ROLE;
TRUNCATE hers.seen;
\c
SET client_min_messages = warning;
SELECT restored FROM deletion_guard.undelete(last());
SELECT DISTINCT what, who FROM hers.seen ORDER BY 1, 2;
-- A second owner: whose code finds the partition?
CREATE TABLE visit_2 PARTITION OF visit FOR VALUES IN (2);
ALTER TABLE visit_2 OWNER TO regress_dg_owner2;
DELETE FROM visit;
SELECT restored FROM deletion_guard.undelete(last());
ALTER TABLE visit_2 OWNER TO regress_dg_owner;
SELECT restored FROM deletion_guard.undelete(last());

-- A partition of hers is what others refer to, or what lost links.
CREATE TABLE room (id int, day int, boss int, PRIMARY KEY (id, day)) PARTITION BY LIST (day);
CREATE TABLE room_1 PARTITION OF room FOR VALUES IN (1);
CREATE TABLE hers.room_2 PARTITION OF room FOR VALUES IN (2);
CREATE TABLE boss (id int PRIMARY KEY);
ALTER TABLE room ADD FOREIGN KEY (boss) REFERENCES boss ON DELETE SET NULL;
CREATE TABLE bed (id int PRIMARY KEY, room int, day int, FOREIGN KEY (room, day) REFERENCES room ON DELETE SET NULL);
ALTER TABLE hers.room_2 OWNER TO regress_dg_owner;
SELECT deletion_guard.guard_table(t) FROM unnest('{room,bed,boss}'::regclass[]) t;
INSERT INTO boss VALUES (1);
INSERT INTO room VALUES (1, 1, 1), (2, 2, 1);
INSERT INTO bed VALUES (1, 1, 1), (2, 2, 2), (3, 2, 2);
DELETE FROM bed WHERE id < 3;
SELECT last() AS beds \gset
DELETE FROM room WHERE id = 2;
SELECT last() AS room \gset
DELETE FROM boss;
SET ROLE regress_dg_owner;
CREATE INDEX ON hers.room_2 ((hers.made(8, 'constant in an index')));
TRUNCATE hers.seen;
RESET ROLE;
\c
SET client_min_messages = warning;
SELECT restored FROM deletion_guard.undelete(:beds); -- fails
\c
SET client_min_messages = warning;
SELECT relation, restored FROM deletion_guard.undelete(last());
\c
SET client_min_messages = warning;
SELECT relation, restored FROM deletion_guard.undelete(:room);
\c
SET client_min_messages = warning;
SELECT relation, restored FROM deletion_guard.undelete(:beds);
TABLE bed ORDER BY id;
TABLE room ORDER BY id;
SELECT DISTINCT what, who FROM hers.seen ORDER BY 1, 2;

-- A partition key.
SET ROLE regress_dg_owner;
CREATE TABLE hers.log (id int, day int) PARTITION BY LIST ((day + hers.made(0, 'partition key')));
CREATE TABLE hers.log_1 PARTITION OF hers.log DEFAULT;
RESET ROLE;
SELECT deletion_guard.guard_table('hers.log');
SET ROLE regress_dg_owner;
INSERT INTO hers.log VALUES (1, 1);
DELETE FROM hers.log;
TRUNCATE hers.seen;
RESET ROLE;
\c
SET client_min_messages = warning;
SELECT restored FROM deletion_guard.undelete(last());
SELECT DISTINCT what, who FROM hers.seen ORDER BY 1, 2;

-- A member of her role could be her; who calls for her through a function that
-- runs as a superuser is one.
SET ROLE regress_dg_owner;
CREATE TABLE hers.task (id int PRIMARY KEY);
RESET ROLE;
SELECT deletion_guard.guard_table('hers.task');
SET ROLE regress_dg_owner;
INSERT INTO hers.task VALUES (1), (2);
DELETE FROM hers.task WHERE id = 1;
DELETE FROM hers.task WHERE id = 2;
ALTER TABLE hers.task ADD CHECK (hers.ok(id, 'check'));
TRUNCATE hers.seen;
RESET ROLE;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_member;
GRANT EXECUTE ON FUNCTION deletion_guard.undelete TO regress_dg_member;
SELECT last() AS last \gset
SET ROLE regress_dg_member;
SELECT restored FROM deletion_guard.undelete(:last);
RESET ROLE;
SELECT DISTINCT what, who FROM hers.seen ORDER BY 1, 2;
TRUNCATE hers.seen;
CREATE FUNCTION back(deletion bigint) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT restored FROM deletion_guard.undelete(deletion) $$;
SET ROLE regress_dg_owner;
SELECT back(:last - 1);
RESET ROLE;
SELECT DISTINCT what, who FROM hers.seen ORDER BY 1, 2;

-- Triggers, where they are asked for; deferred ones too.
CREATE TABLE tenant (id int PRIMARY KEY);
INSERT INTO tenant VALUES (1);
SELECT deletion_guard.set_tenant_table('tenant', 'id');
SET ROLE regress_dg_owner;
CREATE TABLE hers.issue (id int PRIMARY KEY, tenant_id int);
INSERT INTO hers.issue VALUES (1, 1), (2, 1);
CREATE FUNCTION hers.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM hers.note(tg_name); RETURN NEW; END $$;
CREATE TRIGGER a_before BEFORE INSERT ON hers.issue FOR EACH ROW WHEN (hers.ok(NEW.id, 'when')) EXECUTE FUNCTION hers.fire();
CREATE TRIGGER b_after AFTER INSERT ON hers.issue FOR EACH ROW EXECUTE FUNCTION hers.fire();
CREATE CONSTRAINT TRIGGER c_deferred AFTER INSERT ON hers.issue DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW WHEN (hers.ok(NEW.id, 'when deferred')) EXECUTE FUNCTION hers.fire();
RESET ROLE;
SELECT deletion_guard.guard_table('hers.issue', 'tenant_id');
\getenv builddir PG_ABS_BUILDDIR
\set archive :builddir '/results/undelete_owner.dump'
\setenv ARCHIVE :archive
\! pg_dump -Fc -f "$ARCHIVE" regress_dg_undelete_owner
DELETE FROM hers.issue;
TRUNCATE hers.seen;
BEGIN;
SELECT relation, restored FROM deletion_guard.rehydrate('1', :'archive', relations => '{hers.issue}', fire_triggers => true) WHERE tenant IS NOT NULL;
COMMIT;
SELECT what, who, count(*) FROM hers.seen GROUP BY 1, 2 ORDER BY 1, 2;

SELECT rolname, rolsuper FROM pg_roles WHERE rolname ~ '^regress_dg_(owner|member)' ORDER BY 1;
\c :maintenance_db
DROP DATABASE regress_dg_undelete_owner;
DROP ROLE regress_dg_member, regress_dg_owner, regress_dg_owner2;
