/*
 * deletion_guard: schemas.
 *
 * deletion_guard holds everything a person calls or reads; deletion_guard_internal
 * what triggers, views and our own functions call; deletion_guard_bin the bin
 * tables, which nobody but the extension writes.
 */
\echo Use "CREATE EXTENSION deletion_guard" to load this file. \quit

CREATE SCHEMA deletion_guard;
CREATE SCHEMA deletion_guard_bin;
CREATE SCHEMA deletion_guard_internal;

GRANT USAGE ON SCHEMA deletion_guard, deletion_guard_internal TO PUBLIC;

CREATE FUNCTION deletion_guard_internal.bin_handler(internal) RETURNS table_am_handler
	LANGUAGE C VOLATILE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'dg_bin_handler';
REVOKE EXECUTE ON FUNCTION deletion_guard_internal.bin_handler(internal) FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard_internal.bin_handler(internal) IS 'how bin tables are stored';
CREATE ACCESS METHOD deletion_guard_bin TYPE TABLE HANDLER deletion_guard_internal.bin_handler;
COMMENT ON ACCESS METHOD deletion_guard_bin IS 'heaps whose rows only deletion_guard takes out';

COMMENT ON SCHEMA deletion_guard IS 'deletion_guard: functions, views and registries';
COMMENT ON SCHEMA deletion_guard_internal IS 'deletion_guard: functions that it calls itself, as triggers, views and other functions';
COMMENT ON SCHEMA deletion_guard_bin IS 'deletion_guard: the recycle bin; written by the extension only';

