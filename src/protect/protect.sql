/*
 * Every table of the extension refuses writes that the extension did not make.
 * Bin tables, made later, get the same triggers from create_bin_table() in
 * bin_shape.c; sql/store.sql compares them.
 * One without a key could not be written at all while a publication of all
 * tables has it, had it not a replica identity.
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
			'FOR EACH STATEMENT EXECUTE FUNCTION deletion_guard_internal.protect()', t);
		EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER deletion_guard_protect', t);
		EXECUTE pg_catalog.format('CREATE TRIGGER deletion_guard_protect_row '
			'BEFORE INSERT OR UPDATE OR DELETE ON %s '
			'FOR EACH ROW EXECUTE FUNCTION deletion_guard_internal.protect()', t);
		EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER deletion_guard_protect_row', t);
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = t AND i.indisprimary) THEN
			EXECUTE pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY FULL', t);
		END IF;
	END LOOP;
END
$$;
