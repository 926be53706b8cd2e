-- Every public object says what it is for.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS deletion_guard;
RESET client_min_messages;
WITH object(kind, name, comment) AS (
	SELECT 'schema', nspname::text, pg_catalog.obj_description(oid, 'pg_namespace')
	FROM pg_catalog.pg_namespace WHERE nspname IN ('deletion_guard', 'deletion_guard_bin')
	UNION ALL
	SELECT 'relation', c.relname, pg_catalog.obj_description(c.oid, 'pg_class')
	FROM pg_catalog.pg_class c
	WHERE c.relnamespace = 'deletion_guard'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
	UNION ALL
	SELECT 'function', p.oid::pg_catalog.regprocedure::text, pg_catalog.obj_description(p.oid, 'pg_proc')
	FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'deletion_guard'::pg_catalog.regnamespace
	UNION ALL
	SELECT 'type', t.typname, pg_catalog.obj_description(t.oid, 'pg_type')
	FROM pg_catalog.pg_type t
	WHERE t.typnamespace = 'deletion_guard'::pg_catalog.regnamespace AND t.typtype IN ('d', 'e'))
SELECT kind, name FROM object WHERE comment IS NULL ORDER BY kind, name COLLATE "C";
-- Nor is anything callable by everyone by accident: definer functions pin their search_path.
SELECT p.oid::pg_catalog.regprocedure AS definer_without_search_path
FROM pg_catalog.pg_proc p
WHERE p.pronamespace = 'deletion_guard'::pg_catalog.regnamespace AND p.prosecdef
	AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) setting WHERE setting LIKE 'search_path=%')
ORDER BY 1;
