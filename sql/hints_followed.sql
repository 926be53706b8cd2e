-- Hints lead on: each is followed here, and what was refused works.
CREATE DATABASE regress_dg_hints;
\set maintenance_db :DBNAME
\c regress_dg_hints
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
\set shop :srcdir '/test/sql/shop.sql'
\set ECHO none
\i :signing
\o /dev/null
\i :shop
\o
\set ECHO all
SELECT deletion_guard.audience() AS aud \gset

-- A partition whose rows are in the bin is gone.
CREATE TABLE event (id integer, tenant_id integer) PARTITION BY RANGE (id);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (10);
INSERT INTO event VALUES (1, 2);
SELECT deletion_guard.unguard_table('event_1'); -- fails
DELETE FROM event;
DROP TABLE event_1;
SELECT id AS deletion FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1 \gset
SELECT * FROM deletion_guard.undelete(:deletion); -- fails
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (10);
SELECT * FROM deletion_guard.undelete(:deletion);
SELECT deletion_guard.unguard_table('public.event');
DROP TABLE event_1;

-- A column goes with what its type belongs to.
CREATE EXTENSION citext;
CREATE TABLE note (id integer PRIMARY KEY, tenant_id integer, body citext);
INSERT INTO note VALUES (1, 2, 'text');
DELETE FROM note;
SELECT id AS deletion FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1 \gset
DROP EXTENSION citext CASCADE; -- fails
SELECT * FROM deletion_guard.undelete(:deletion);
SELECT deletion_guard.unguard_table('public.note');
DROP EXTENSION citext CASCADE;

-- A column's type no longer takes a value.
CREATE TABLE code (id integer PRIMARY KEY, tenant_id integer, word text);
SELECT deletion_guard.guard_table('code', 'tenant_id');
INSERT INTO code VALUES (1, 2, 'long');
DELETE FROM code;
SELECT id AS deletion FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1 \gset
ALTER TABLE code ALTER word TYPE varchar(2);
SELECT * FROM deletion_guard.undelete(:deletion); -- fails
ALTER TABLE code ALTER word TYPE integer USING NULL;
SELECT * FROM deletion_guard.undelete(:deletion); -- fails
ALTER TABLE code ALTER word TYPE text;
SELECT * FROM deletion_guard.undelete(:deletion);

-- Live rows have keys of saved ones; not all are replaced.
DELETE FROM code;
SELECT id AS deletion FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1 \gset
ALTER TABLE code ADD UNIQUE (word);
INSERT INTO code VALUES (1, 2, 'live');
SELECT * FROM deletion_guard.undelete(:deletion); -- fails
SELECT * FROM deletion_guard.undelete(:deletion, on_conflict => 'replace');
DELETE FROM code WHERE id = 1;
SELECT id AS deletion FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1 \gset
INSERT INTO code VALUES (5, 2, 'long');
SELECT * FROM deletion_guard.undelete(:deletion, on_conflict => 'replace'); -- fails
DELETE FROM code WHERE id = 5;
SELECT * FROM deletion_guard.undelete(:deletion, on_conflict => 'replace');

-- What an authority signs, for whatever is not a purge.
SELECT deletion_guard.add_authority('legal', signing.make_key('legal')) IS NOT NULL AS enrolled;
SELECT deletion_guard.hold_tenant('3', 'a lawsuit') AS hold \gset
SELECT deletion_guard.release_hold(:hold); -- fails
SELECT deletion_guard.release_hold(:hold, signing.sign(jsonb_build_object('act', 'release_hold', 'aud', :'aud'))); -- fails
SELECT deletion_guard.release_hold(:hold, signing.sign(jsonb_build_object('aud', :'aud') || '{"act": "release_hold", "hold": 1}'));
SELECT deletion_guard.set_approvals(2);
SELECT deletion_guard.set_approvals(1); -- fails
SELECT deletion_guard.set_approvals(1, signing.sign(jsonb_build_object('aud', :'aud') || '{"act": "set_approvals", "approvals": 1}'));
SELECT deletion_guard.retire_authority('legal'); -- fails
SELECT signing.make_key('privacy') AS key \gset
SELECT deletion_guard.add_authority('privacy', :'key'); -- fails
SELECT jsonb_build_object('aud', :'aud', 'fingerprint', deletion_guard.key_fingerprint(:'key')) || '{"act": "add_authority", "authority": "privacy"}' AS claims \gset
SELECT deletion_guard.add_authority('privacy', :'key', signing.sign(:'claims')) IS NOT NULL AS enrolled;
SELECT deletion_guard.retire_authority('legal'); -- fails
SELECT deletion_guard.retire_authority('legal', signing.sign(jsonb_build_object('aud', :'aud') || '{"act": "retire_authority", "authority": "legal"}'));

\c :maintenance_db
SET client_min_messages = warning;
DROP DATABASE regress_dg_hints;
