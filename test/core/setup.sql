-- The core suite's database: every table is guarded as it is created.
CREATE EXTENSION deletion_guard;
CREATE SCHEMA deletion_guard_core;
GRANT USAGE ON SCHEMA deletion_guard_core TO PUBLIC;
CREATE FUNCTION deletion_guard_core.guard_new_table(oid) RETURNS void
	LANGUAGE C AS '$libdir/deletion_guard', 'dg_guard_new_table';
CREATE FUNCTION deletion_guard_core.guard_new_tables() RETURNS event_trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	relid oid;
BEGIN
	-- a test may make a table that is not guarded
	IF current_setting('deletion_guard_core.guard', true) = 'off' THEN
		RETURN;
	END IF;
	FOR relid IN
		SELECT DISTINCT c.oid
		FROM pg_event_trigger_ddl_commands() d
		JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
			AND n.nspname NOT IN ('deletion_guard', 'deletion_guard_bin', 'pg_catalog', 'information_schema')
			AND d.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')
			AND NOT EXISTS (SELECT FROM deletion_guard.guarded_table g WHERE g.relation = c.oid)
	LOOP
		PERFORM deletion_guard_core.guard_new_table(relid);
	END LOOP;
END
$$;
-- The last event trigger by name, so that the extension's own come first.
CREATE EVENT TRIGGER zz_guard_new_tables ON ddl_command_end
	WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE SCHEMA')
	EXECUTE FUNCTION deletion_guard_core.guard_new_tables();
