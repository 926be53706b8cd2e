/*
 * Every table of the extension refuses writes that the extension did not make.
 */
DO $$
DECLARE
	t regclass;
BEGIN
	FOR t IN
		SELECT oid FROM pg_catalog.pg_class
		WHERE relnamespace = 'deletion_guard'::regnamespace AND relkind = 'r'
		ORDER BY oid
	LOOP
		EXECUTE pg_catalog.format('CREATE TRIGGER deletion_guard_protect '
			'BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s '
			'FOR EACH STATEMENT EXECUTE FUNCTION deletion_guard.protect()', t);
		EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER deletion_guard_protect', t);
		EXECUTE pg_catalog.format('CREATE TRIGGER deletion_guard_protect_row '
			'BEFORE INSERT OR UPDATE OR DELETE ON %s '
			'FOR EACH ROW EXECUTE FUNCTION deletion_guard.protect()', t);
		EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER deletion_guard_protect_row', t);
	END LOOP;
END
$$;
