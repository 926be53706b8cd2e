-- What superusers could plant in the way of the extension's own statements:
-- none of it passes for the extension.
CREATE DATABASE regress_dg_planted;
\set maintenance_db :DBNAME
\c regress_dg_planted
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id integer PRIMARY KEY, name text);
CREATE TABLE issue (id integer PRIMARY KEY, tenant_id integer);
CREATE TABLE remark (id integer PRIMARY KEY, tenant_id integer);
INSERT INTO tenant VALUES (1, 'one'), (2, 'two');
INSERT INTO issue SELECT i, 1 FROM generate_series(1, 4) i;
INSERT INTO remark VALUES (1, 1), (2, 1);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT deletion_guard.guard_table('issue', 'tenant_id');
SELECT deletion_guard.guard_table('remark', 'tenant_id');
DELETE FROM issue WHERE id = 1;

-- Takes what it can get, once called, and says so.
CREATE SEQUENCE calls;
CREATE FUNCTION grab() RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
BEGIN
	PERFORM nextval('public.calls');
	BEGIN
		DELETE FROM deletion_guard_bin.bin_1_issue;
		RAISE WARNING 'rows are gone from the bin';
	EXCEPTION WHEN SQLSTATE 'TG004' THEN NULL;
	END;
	BEGIN
		INSERT INTO deletion_guard.ledger SELECT * FROM deletion_guard.ledger;
		RAISE WARNING 'the ledger has been written';
	EXCEPTION WHEN SQLSTATE 'TG004' THEN NULL;
	END;
	BEGIN
		DROP TRIGGER deletion_guard_capture ON public.issue;
		RAISE WARNING 'a guard trigger is gone';
	EXCEPTION WHEN SQLSTATE 'TG003' THEN NULL;
	END;
END $$;

-- Event triggers do not see what the extension does for itself, whether it makes
-- a bin table in somebody's DELETE or a guard trigger.
CREATE TABLE seen (tag text);
CREATE FUNCTION on_command() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen VALUES (tg_event || ' ' || tg_tag);
	IF tg_tag <> 'DROP TRIGGER' THEN
		PERFORM grab();
	END IF;
END $$;
CREATE EVENT TRIGGER start_of_command ON ddl_command_start EXECUTE FUNCTION on_command();
CREATE EVENT TRIGGER drops ON sql_drop EXECUTE FUNCTION on_command();
CREATE EVENT TRIGGER a_rewrite ON table_rewrite EXECUTE FUNCTION on_command();
CREATE EVENT TRIGGER z_end_of_command ON ddl_command_end EXECUTE FUNCTION on_command();
DELETE FROM remark WHERE id = 1;
CREATE TABLE extra (id integer PRIMARY KEY, tenant_id integer);
SELECT deletion_guard.guard_table('extra', 'tenant_id');
ALTER TABLE issue RENAME COLUMN tenant_id TO customer_id;
SELECT deletion_guard.unguard_table('extra');
DROP TABLE extra;
SELECT tag, count(*) FROM seen WHERE tag !~ 'DROP TRIGGER' GROUP BY 1 ORDER BY 1;
DROP EVENT TRIGGER start_of_command;
DROP EVENT TRIGGER drops;
DROP EVENT TRIGGER a_rewrite;
DROP EVENT TRIGGER z_end_of_command;

-- Nor are they told of what follows from a command.
CREATE TABLE visit (id integer, tenant_id integer) PARTITION BY LIST (id);
SELECT deletion_guard.guard_table('visit', 'tenant_id');
CREATE FUNCTION report() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
	command record;
BEGIN
	FOR command IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
		RAISE WARNING '% %: % %', tg_event, tg_tag, command.command_tag, command.object_identity;
	END LOOP;
END $$;
CREATE EVENT TRIGGER z_report ON ddl_command_end EXECUTE FUNCTION report();
CREATE TABLE visit_1 PARTITION OF visit FOR VALUES IN (1);
ALTER TABLE visit ADD COLUMN word text;
DROP EVENT TRIGGER z_report;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'visit_1'::regclass;

-- One that allows no DDL stands in the way of nobody's first DELETE.
CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no DDL today'; END $$;
CREATE TABLE task (id integer PRIMARY KEY, tenant_id integer);
SELECT deletion_guard.guard_table('task', 'tenant_id');
INSERT INTO task VALUES (1, 1);
CREATE EVENT TRIGGER no_ddl ON ddl_command_start EXECUTE FUNCTION no_ddl();
DELETE FROM task;
CREATE TABLE never (id integer); -- fails
DROP EVENT TRIGGER no_ddl;

-- Operators and casts that fit our queries better than the server's own: one
-- that is evaluated for each row, one by the planner.
CREATE FUNCTION pg_catalog.planted(regclass, oid) RETURNS boolean LANGUAGE plpgsql VOLATILE AS
	$$ BEGIN PERFORM public.grab(); RETURN $1::oid::text = $2::text; END $$;
CREATE OPERATOR pg_catalog.= (leftarg = regclass, rightarg = oid, function = pg_catalog.planted);
SELECT setval('calls', 1, false);
ALTER TABLE issue RENAME COLUMN customer_id TO tenant_id;
DELETE FROM issue WHERE id = 2;
SELECT deletion_guard.unguard_table('task');
DROP OPERATOR pg_catalog.= (regclass, oid);
SELECT is_called FROM calls;
CREATE FUNCTION pg_catalog.planted_early(text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN PERFORM public.grab(); RETURN jsonb_in(textout($1)); END $$;
CREATE CAST (text AS jsonb) WITH FUNCTION pg_catalog.planted_early(text);
SELECT setval('calls', 1, false);
SELECT deletion_guard.purge('no token'); -- fails, and another process says so
DO $$ BEGIN
	FOR i IN 1..1000 LOOP
		EXIT WHEN (SELECT count(*) = 1 FROM deletion_guard.refusal);
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
DROP CAST (text AS jsonb);
SELECT is_called FROM calls;

-- All is where it was.
SELECT relation, rows FROM deletion_guard.deletion_detail ORDER BY 1, 2;
SELECT ok FROM deletion_guard.verify_ledger();
SELECT sum(restored) FROM deletion_guard.undelete_tenant('1');

\c :maintenance_db
DROP DATABASE regress_dg_planted;
