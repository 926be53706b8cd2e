-- As another tenant: whose code runs, and whose rows are meant.
CREATE DATABASE regress_dg_as_tenant_whose;
\set maintenance_db :DBNAME
\c regress_dg_as_tenant_whose
\set archive `echo "${TMPDIR:-/tmp}/regress_dg_as_tenant_whose.dump"`
\setenv ARCHIVE :archive
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION deletion_guard;
CREATE ROLE regress_dg_whose_owner;
CREATE TABLE site (id text PRIMARY KEY, name text);
CREATE TABLE post (id int PRIMARY KEY, site_id text NOT NULL REFERENCES site, title text);
CREATE TABLE comment (id int PRIMARY KEY, post_id int NOT NULL REFERENCES post, body text);
CREATE TABLE tag (post_id int NOT NULL REFERENCES post, tag text);
CREATE SEQUENCE number;
CREATE TABLE file (id int PRIMARY KEY DEFAULT nextval('number'), site_id text NOT NULL REFERENCES site);
INSERT INTO site VALUES (1, 'one'), (2, 'two');
INSERT INTO post VALUES (10, 1, 'a'), (11, 1, 'b');
INSERT INTO comment VALUES (100, 10, 'c'), (101, 11, 'd');
INSERT INTO tag VALUES (10, 'red'), (10, 'red');
INSERT INTO file SELECT nextval('number'), 1 FROM generate_series(1, 3);
CREATE SCHEMA acme;
CREATE TABLE acme.page (id int PRIMARY KEY, title text);
CREATE TABLE remark (id int PRIMARY KEY, site_id text NOT NULL, page_id int REFERENCES acme.page);
CREATE TABLE book (id int PRIMARY KEY, site_id text NOT NULL);
CREATE TABLE chapter (id int PRIMARY KEY, book_id int NOT NULL REFERENCES book);
CREATE TABLE word (id int PRIMARY KEY, site_id text NOT NULL, chapter_id int REFERENCES chapter);
INSERT INTO acme.page VALUES (1, 'front');
INSERT INTO remark VALUES (1, 'acme', 1);
INSERT INTO book VALUES (1, 'acme');
INSERT INTO chapter VALUES (1, 1);
INSERT INTO word VALUES (1, 'acme', 1);
SELECT deletion_guard.guard_table('site', 'id'), deletion_guard.guard_table('post', 'site_id'), deletion_guard.guard_table('file', 'site_id');
SELECT deletion_guard.guard_table('comment', tenant_path => '{comment_post_id_fkey}'), deletion_guard.guard_table('tag', tenant_path => '{tag_post_id_fkey}');
SELECT deletion_guard.guard_table('acme.page', tenant => 'acme'), deletion_guard.guard_table('remark', 'site_id');
SELECT deletion_guard.guard_table('book', 'site_id'), deletion_guard.guard_table('chapter', tenant_path => '{chapter_book_id_fkey}'), deletion_guard.guard_table('word', 'site_id');
\! pg_dump -Fc -f "$ARCHIVE" regress_dg_as_tenant_whose
\! chmod 644 "$ARCHIVE"

-- A constant in a default is evaluated when that is prepared: by the table's owner.
CREATE FUNCTION who() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	RAISE WARNING 'evaluated by %', current_user;
	RETURN 0;
END $$;
ALTER TABLE file ALTER id SET DEFAULT who() + nextval('number');
GRANT USAGE ON SEQUENCE number TO regress_dg_whose_owner;
ALTER TABLE file OWNER TO regress_dg_whose_owner;
SELECT relation, restored FROM deletion_guard.rehydrate('1', :'archive', relations => '{site,file}', as_tenant => '3', renumber => true) WHERE found > 0 ORDER BY 1;
SELECT count(*) FROM file WHERE site_id = 3;

-- Rows that are the same as the old tenant's live ones are not the new one's: they are in the way.
SELECT * FROM deletion_guard.rehydrate('1', :'archive', relations => '{comment}', as_tenant => '2');  -- fails
SELECT relation, found, restored, identical, skipped FROM deletion_guard.rehydrate('1', :'archive', relations => '{comment}', as_tenant => '2', on_conflict => 'skip') WHERE found > 0;
SELECT * FROM deletion_guard.rehydrate('1', :'archive', relations => '{comment}', as_tenant => '2', on_conflict => 'replace');  -- fails
-- Without a key they are not told by what they have, and hang on the old one's.
SELECT * FROM deletion_guard.rehydrate('1', :'archive', relations => '{tag}', as_tenant => '2');  -- fails
SELECT count(*) FROM tag;

-- What belongs to one tenant as a whole may not be hung on, either.
DELETE FROM remark;
DELETE FROM word;
SELECT * FROM deletion_guard.rehydrate('acme', :'archive', relations => '{remark}', as_tenant => 'globex');  -- fails
-- Nor what leads to it by a path.
SELECT deletion_guard.guard_table('book', tenant => 'acme');
SELECT * FROM deletion_guard.rehydrate('acme', :'archive', relations => '{word}', as_tenant => 'globex');  -- fails

\c :maintenance_db
DROP DATABASE regress_dg_as_tenant_whose;
DROP ROLE regress_dg_whose_owner;
\! rm -f "$ARCHIVE"
