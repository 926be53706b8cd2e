-- Records of deletions of which nothing is left become counts.
CREATE DATABASE regress_dg_fold;
\set maintenance_db :DBNAME
\c regress_dg_fold
\getenv srcdir PG_ABS_SRCDIR
\set signing :srcdir '/test/sql/signing.sql'
\set shop :srcdir '/test/sql/shop.sql'
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION deletion_guard;
\set ECHO none
\i :signing
\i :shop
\set ECHO all
SELECT length(deletion_guard.add_authority('legal', signing.make_key('legal')));
CREATE VIEW history AS
	SELECT tenant IS NULL AS nobody, tenant LIKE 'purged:%' AS forgotten, CASE WHEN tenant NOT LIKE 'purged:%' THEN tenant END AS tenant,
		   deletions, rows, restored, purged
	FROM deletion_guard.deletion_history WHERE day BETWEEN current_date - 1 AND current_date ORDER BY 1, 2, 3, 4;

SET deletion_guard.retention = '0';
INSERT INTO issue VALUES (9000, NULL, NULL, 'of nobody');
DELETE FROM issue WHERE id = 1101;				-- 1: stays in the bin
DELETE FROM issue WHERE id IN (1102, 2101);		-- 2: of two tenants, comes back
DELETE FROM issue WHERE id = 9000;				-- 3: of nobody, comes back
DELETE FROM issue WHERE id IN (1103, 2102);		-- 4: one of them comes back
DELETE FROM tenant WHERE id = 3;				-- 5: purged
DELETE FROM issue WHERE id = 1104;				-- 6: comes back
SELECT count(*) FROM deletion_guard.undelete(2);
SELECT count(*) FROM deletion_guard.undelete(3);
SELECT count(*) FROM deletion_guard.undelete_tenant('2');
SELECT count(*) FROM deletion_guard.undelete(6);
SELECT deletion_guard.request_purge('3', 'contract ended') AS claims \gset
SELECT deletion_guard.purge(signing.sign(:'claims')) -> 'rows' AS purged;
SELECT id, rows, state FROM deletion_guard.deletion ORDER BY id;

-- Only old ones, only whole ones.
SELECT deletion_guard.fold_deletions();
SELECT deletion_guard.fold_deletions(NULL);
SELECT deletion_guard.fold_deletions('-1 day');  -- fails
BEGIN;
DELETE FROM issue WHERE id = 1105;
SELECT count(*) FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SELECT deletion_guard.fold_deletions('0');		-- not that of this transaction
ROLLBACK;
SELECT id FROM deletion_guard.deletion ORDER BY id;
SELECT deletion_guard.fold_deletions('0');
SELECT id, rows, state FROM deletion_guard.deletion ORDER BY id;
SELECT count(*) FROM deletion_guard.deletion_part;
SELECT * FROM history;
SELECT deletion_guard.fold_deletions('0');
SELECT event, details FROM deletion_guard.ledger WHERE event = 'fold_deletions';
SELECT ok, problem FROM deletion_guard.verify_ledger();
SELECT * FROM deletion_guard.undelete(2);  -- fails
SELECT * FROM deletion_guard.verify() WHERE NOT ok AND check_name IN ('bins', 'sequences');

-- What is left comes back, and numbers go on.
SELECT relation, tenant, restored FROM deletion_guard.undelete(1);
SELECT relation, tenant, restored FROM deletion_guard.undelete(4);
SELECT deletion_guard.fold_deletions('0');
SELECT * FROM history;
DELETE FROM issue WHERE id = 1101;
SELECT max(id) > 6 AS goes_on FROM deletion_guard.deletion;

-- A tenant of whom nothing is left is forgotten in the counts, too.
DELETE FROM tenant WHERE id = 2;
SELECT deletion_guard.request_purge('2', 'contract ended') AS claims \gset
SELECT deletion_guard.purge(signing.sign(:'claims')) -> 'rows' AS purged;
SELECT * FROM history;

-- A link that is not back keeps the record, a table that was dropped does.
CREATE TABLE note (id integer PRIMARY KEY, tenant_id integer, issue_id integer REFERENCES issue ON DELETE SET NULL);
SELECT FROM deletion_guard.guard_table('note', 'tenant_id');
SELECT deletion_guard.fold_deletions('0');
INSERT INTO note VALUES (1, 1, 1105), (2, 1, NULL);
DELETE FROM issue WHERE id = 1105;
SELECT max(id) AS linked FROM deletion_guard.deletion \gset
DELETE FROM note WHERE id = 1;
SELECT restored FROM deletion_guard.undelete(:linked);
SELECT state, links FROM deletion_guard.deletion WHERE id = :linked;
SELECT deletion_guard.fold_deletions('0');
SELECT deletion_guard.undelete(:linked + 1);
SELECT issue_id FROM note WHERE id = 1;
SELECT deletion_guard.fold_deletions('0');
SELECT count(*) FROM deletion_guard.deletion_link;
SET deletion_guard.ddl = 'keep';
DROP TABLE note;
RESET deletion_guard.ddl;
SELECT deletion_guard.fold_deletions('0');
SELECT d.rows, d.state FROM deletion_guard.deletion d JOIN deletion_guard.dropped_table t ON t.deletion_id = d.id;

-- Not for everybody.
CREATE ROLE regress_dg_folder;
SET ROLE regress_dg_folder;
SELECT deletion_guard.fold_deletions();  -- fails
SELECT * FROM deletion_guard.deletion_history;  -- fails
RESET ROLE;
DROP ROLE regress_dg_folder;
\c :maintenance_db
DROP DATABASE regress_dg_fold;
