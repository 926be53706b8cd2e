/*
 * deletion_guard: schemas.
 *
 * deletion_guard holds everything a person calls or reads; deletion_guard_bin
 * holds the bin tables, which nobody but the extension writes.
 */
\echo Use "CREATE EXTENSION deletion_guard" to load this file. \quit

CREATE SCHEMA deletion_guard;
CREATE SCHEMA deletion_guard_bin;

GRANT USAGE ON SCHEMA deletion_guard TO PUBLIC;

COMMENT ON SCHEMA deletion_guard IS 'deletion_guard: functions, views and registries';
COMMENT ON SCHEMA deletion_guard_bin IS 'deletion_guard: the recycle bin; written by the extension only';

