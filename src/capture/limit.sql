/*
 * Seeing what a statement would delete.
 */
CREATE FUNCTION deletion_guard.preview(statement text,
		OUT relation regclass, OUT tenant text, OUT rows bigint, OUT effect text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_preview';
COMMENT ON FUNCTION deletion_guard.preview IS
	'what one DELETE, TRUNCATE, UPDATE, INSERT or MERGE would do, by table and, where the caller may read the rows, tenant: runs it with the caller''s privileges and locks, then rolls it back. Deferred constraints and triggers have their turn. What is not known, as rows of foreign tables, has a line without a number. Ceilings are reported, not enforced; values taken from sequences, and what triggers do outside of the database, stay done. Fails with 0A000 for another statement, 22023 for several, otherwise as the statement would';

