-- A restore that takes its time, for the calm of others.
CREATE DATABASE regress_dg_restore_rate;
\set maintenance_db :DBNAME
\c regress_dg_restore_rate
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE note (id integer PRIMARY KEY, tenant_id text);
SELECT FROM deletion_guard.guard_table('note', 'tenant_id');
INSERT INTO note SELECT i, 'acme' FROM generate_series(1, 3000) i;
SET deletion_guard.restore_rate = -1;  -- fails
DELETE FROM note WHERE id <= 1000;
DELETE FROM note;
-- 1000 rows take a tenth of a second at least, 2000 two.
SET deletion_guard.restore_rate = 10000;
SELECT clock_timestamp() AS began \gset
SELECT restored FROM deletion_guard.undelete(1);
SELECT clock_timestamp() - :'began' BETWEEN '0.1 s' AND '60 s' AS took_its_time;
SELECT clock_timestamp() AS began \gset
SELECT restored FROM deletion_guard.undelete(2);
SELECT clock_timestamp() - :'began' BETWEEN '0.2 s' AND '60 s' AS took_its_time;
DELETE FROM note;
-- It can be cancelled while it waits; nothing has come back then.
SET deletion_guard.restore_rate = 1;
SET statement_timeout = '0.5 s';
SELECT restored FROM deletion_guard.undelete(3);  -- fails
RESET statement_timeout;
SELECT count(*) FROM note;
RESET deletion_guard.restore_rate;
SELECT restored FROM deletion_guard.undelete(3);
\c :maintenance_db
DROP DATABASE regress_dg_restore_rate;
