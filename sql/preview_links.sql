-- A link that is taken from a row which the same statement deletes is not an update.
CREATE DATABASE regress_dg_preview_links;
\set maintenance_db :DBNAME
\c regress_dg_preview_links
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
RESET client_min_messages;
CREATE TABLE site (id integer PRIMARY KEY, name text);
CREATE TABLE issue (id integer PRIMARY KEY, site_id integer NOT NULL REFERENCES site ON DELETE CASCADE);
CREATE TABLE board (id integer PRIMARY KEY, site_id integer NOT NULL REFERENCES site ON DELETE CASCADE);
-- issues go first, and take the links of notes, which go with their boards
CREATE TABLE note (id integer PRIMARY KEY, issue_id integer REFERENCES issue ON DELETE SET NULL,
	other_id integer REFERENCES issue ON DELETE SET NULL, board_id integer REFERENCES board ON DELETE CASCADE, site_id integer);
INSERT INTO site VALUES (1, 'one'), (2, 'two');
INSERT INTO issue SELECT i, i % 2 + 1 FROM generate_series(1, 20) i;
INSERT INTO board SELECT i, i % 2 + 1 FROM generate_series(1, 4) i;
INSERT INTO note SELECT i, i, i, (i - 1) % 4 + 1, i % 2 + 1 FROM generate_series(1, 20) i;
SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
SELECT relation, tenant_source FROM deletion_guard.guard_schema('public', 'site_id');
SELECT * FROM deletion_guard.preview('DELETE FROM site WHERE id = 1');
-- Rows that stay are updated: each once, whatever it has lost.
INSERT INTO note VALUES (100, 1, 3, 2, 2), (101, 1, 2, NULL, 1);
SELECT * FROM deletion_guard.preview('DELETE FROM site WHERE id = 2');
-- A preview within a preview, which fails.
CREATE FUNCTION peek() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM deletion_guard.preview('DELETE FROM note');
	PERFORM deletion_guard.preview('no statement');
	RETURN OLD;
EXCEPTION WHEN syntax_error THEN RETURN OLD;
END
$$;
CREATE TRIGGER peek BEFORE DELETE ON board FOR EACH ROW EXECUTE FUNCTION peek();
SELECT * FROM deletion_guard.preview('DELETE FROM site WHERE id = 2');
SELECT count(*) FROM note;
\c :maintenance_db
DROP DATABASE regress_dg_preview_links;
