-- As whom the code of a table runs when its rows come back: a superuser's
-- undelete runs it as the table's owner, anybody else's as who calls.
CREATE DATABASE regress_dg_undelete_rights;
\set maintenance_db :DBNAME
\c regress_dg_undelete_rights
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_shady;
CREATE ROLE regress_dg_support;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_support;
GRANT EXECUTE ON FUNCTION deletion_guard.undelete, deletion_guard.guard_table TO regress_dg_support, regress_dg_shady;
GRANT USAGE ON SCHEMA deletion_guard TO regress_dg_shady;
CREATE SCHEMA shady AUTHORIZATION regress_dg_shady;
CREATE FUNCTION last() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT max(id) FROM deletion_guard.deletion $$;

SET ROLE regress_dg_shady;
SET search_path = shady, public;
CREATE TABLE seen (what text, who text);
GRANT INSERT ON seen TO PUBLIC;
GRANT USAGE ON SCHEMA shady TO PUBLIC;
-- Whatever the owner may attach to a table notes who runs it.
CREATE FUNCTION note(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO shady.seen SELECT what, current_user;
	-- a superuser could
	BEGIN
		ALTER ROLE regress_dg_shady SUPERUSER;
	EXCEPTION WHEN insufficient_privilege THEN NULL;
	END;
END $$;
CREATE FUNCTION checked(v int, what text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM shady.note(what); RETURN true; END $$;
CREATE FUNCTION made(v int, what text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM shady.note(what); RETURN v; END $$;
CREATE TABLE item (id int PRIMARY KEY, a int, parent int REFERENCES item ON DELETE SET NULL);
INSERT INTO item VALUES (1, 1, NULL), (2, 2, 1), (3, 3, NULL);
SELECT deletion_guard.guard_table('item');
DELETE FROM item WHERE id IN (1, 3);
CREATE DOMAIN dom AS int CHECK (shady.checked(VALUE, 'domain'));
CREATE TYPE own AS (v int);
CREATE FUNCTION to_own(v int) RETURNS own LANGUAGE plpgsql AS $$ BEGIN PERFORM shady.note('cast'); RETURN ROW(v)::shady.own; END $$;
CREATE FUNCTION from_own(o own) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM shady.note('cast back'); RETURN o.v; END $$;
CREATE CAST (int AS own) WITH FUNCTION to_own AS ASSIGNMENT;
CREATE CAST (own AS int) WITH FUNCTION from_own AS ASSIGNMENT;
ALTER TABLE item ALTER a TYPE own USING ROW(a)::own, ALTER parent TYPE dom;
ALTER TABLE item ADD late int;
ALTER TABLE item ALTER late SET DEFAULT made(7, 'default');
ALTER TABLE item ADD CHECK (checked(id, 'check'));
ALTER TABLE item ADD twice int GENERATED ALWAYS AS (made(id, 'generated')) STORED;
CREATE UNIQUE INDEX ON item (made(id, 'index expression')) WHERE checked(id, 'index predicate');
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM shady.note('trigger'); RETURN NEW; END $$;
CREATE TRIGGER fire BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION fire();
GRANT INSERT, UPDATE ON item TO regress_dg_support;
TRUNCATE seen;
RESET ROLE;
RESET search_path;

SELECT relation, restored FROM deletion_guard.undelete(last());
SELECT DISTINCT what, who FROM shady.seen ORDER BY 1, 2;
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_dg_shady';
SELECT id, a, parent, late, twice FROM shady.item ORDER BY id;
-- With conflicts, replaced and kept.
SET ROLE regress_dg_shady;
DELETE FROM shady.item WHERE id = 3;
INSERT INTO shady.item (id) VALUES (3);
TRUNCATE shady.seen;
RESET ROLE;
SELECT relation, skipped FROM deletion_guard.undelete(last(), 'skip');
SELECT relation, restored FROM deletion_guard.undelete(last(), 'replace');
SELECT DISTINCT what, who FROM shady.seen ORDER BY 1, 2;
-- What was replaced was deleted by whoever called.
SELECT effective_role = session_user AS called FROM deletion_guard.deletion WHERE id = last();
-- Not in a restricted operation for those who run it anyway.
DELETE FROM shady.item WHERE id = 3;
TRUNCATE shady.seen;
SET ROLE regress_dg_support;
SELECT relation, restored FROM deletion_guard.undelete(last());
RESET ROLE;
SELECT DISTINCT what, who FROM shady.seen ORDER BY 1, 2;

SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_dg_shady';

-- Rules and row security that applies: there is no way to heed both.
ALTER TABLE shady.item ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON shady.item USING (true);
CREATE RULE also AS ON INSERT TO shady.item DO ALSO NOTHING;
DELETE FROM shady.item WHERE id = 3;
SET ROLE regress_dg_support;
SELECT relation, restored FROM deletion_guard.undelete(last()); -- fails
RESET ROLE;
DROP RULE also ON shady.item;
SET ROLE regress_dg_support;
SELECT relation, restored FROM deletion_guard.undelete(last());
RESET ROLE;

-- A key of several columns, all or none of them.
CREATE TABLE pair (a int, b int, PRIMARY KEY (a, b));
CREATE TABLE uses (id int PRIMARY KEY, a int, b int);
SELECT deletion_guard.guard_table('uses');
INSERT INTO uses VALUES (1, 1, NULL);
DELETE FROM uses;
ALTER TABLE uses ADD FOREIGN KEY (a, b) REFERENCES pair MATCH FULL;
SELECT * FROM deletion_guard.undelete(last()); -- fails

\c :maintenance_db
DROP DATABASE regress_dg_undelete_rights;
DROP ROLE regress_dg_shady, regress_dg_support;
