-- Nothing comes into our schemas that could be called or read instead of what is there.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS deletion_guard;
RESET client_min_messages;
\set VERBOSITY terse
CREATE FUNCTION deletion_guard.undelete(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'; -- fails
CREATE FUNCTION deletion_guard.guard_table(text) RETURNS void LANGUAGE sql AS ''; -- fails
CREATE PROCEDURE deletion_guard.purge(text) LANGUAGE sql AS ''; -- fails
CREATE AGGREGATE deletion_guard.undelete(integer) (sfunc = int4pl, stype = integer); -- fails
CREATE FUNCTION deletion_guard_internal.protect(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'; -- fails
CREATE DOMAIN deletion_guard.purge AS text; -- fails: purge('...') would be a cast
CREATE TYPE deletion_guard.undelete AS (id bigint); -- fails
CREATE TYPE deletion_guard.preview AS ENUM ('no'); -- fails
CREATE VIEW deletion_guard.shown AS SELECT 1; -- fails
CREATE TABLE deletion_guard_internal.kept (); -- fails
CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION mine() SET SCHEMA deletion_guard_internal; -- fails
ALTER FUNCTION mine() SET SCHEMA deletion_guard; -- fails
DROP FUNCTION mine();
ALTER FUNCTION deletion_guard_internal.capture_statement() RENAME TO other; -- fails
ALTER SCHEMA deletion_guard_internal RENAME TO other; -- fails
DROP SCHEMA deletion_guard_internal CASCADE; -- fails
-- Who fires a guard trigger, reads a view or calls a function needs no right on what they call.
SELECT has_schema_privilege('public', 'deletion_guard_internal', 'usage') AS usage,
	has_schema_privilege('public', 'deletion_guard_internal', 'create') AS create;
