/*
 * Publications that would take the extension's tables along.
 */
CREATE FUNCTION deletion_guard_internal.refuse_published() RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dg_refuse_published';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.refuse_published FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.refuse_published IS
	'part of CREATE EXTENSION: fails where a publication has the extension''s tables, unless deletion_guard.publication is "allow"';
SELECT deletion_guard_internal.refuse_published();
