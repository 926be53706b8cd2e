-- Every public object says what it is for.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS deletion_guard;
RESET client_min_messages;
WITH object(kind, name, comment) AS (
	SELECT 'schema', nspname::text, pg_catalog.obj_description(oid, 'pg_namespace')
	FROM pg_catalog.pg_namespace WHERE nspname IN ('deletion_guard', 'deletion_guard_bin', 'deletion_guard_internal')
	UNION ALL
	SELECT 'relation', c.relname, pg_catalog.obj_description(c.oid, 'pg_class')
	FROM pg_catalog.pg_class c
	WHERE c.relnamespace = 'deletion_guard'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
	UNION ALL
	SELECT 'column', pg_catalog.format('%s.%s', c.relname, a.attname), pg_catalog.col_description(c.oid, a.attnum)
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
	WHERE c.relnamespace = 'deletion_guard'::pg_catalog.regnamespace AND c.relkind = 'v' AND a.attnum > 0
	UNION ALL
	SELECT 'function', p.oid::pg_catalog.regprocedure::text, pg_catalog.obj_description(p.oid, 'pg_proc')
	FROM pg_catalog.pg_proc p WHERE p.pronamespace IN ('deletion_guard'::pg_catalog.regnamespace, 'deletion_guard_internal'::pg_catalog.regnamespace)
	UNION ALL
	SELECT 'type', t.typname, pg_catalog.obj_description(t.oid, 'pg_type')
	FROM pg_catalog.pg_type t
	WHERE t.typnamespace = 'deletion_guard'::pg_catalog.regnamespace AND t.typtype IN ('d', 'e'))
SELECT kind, name FROM object WHERE comment IS NULL ORDER BY kind, name COLLATE "C";
-- What everyone may call and read; triggers check how they are called.
SELECT p.proname AS function FROM pg_catalog.pg_proc p
WHERE p.pronamespace IN ('deletion_guard'::pg_catalog.regnamespace, 'deletion_guard_internal'::pg_catalog.regnamespace)
	AND p.prorettype NOT IN ('trigger'::pg_catalog.regtype, 'event_trigger'::pg_catalog.regtype)
	AND EXISTS (SELECT FROM pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) WHERE grantee = 0)
ORDER BY p.proname COLLATE "C";
SELECT c.relname AS relation, a.privilege_type FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
WHERE c.relnamespace IN ('deletion_guard'::pg_catalog.regnamespace, 'deletion_guard_bin'::pg_catalog.regnamespace) AND a.grantee = 0
ORDER BY c.relname COLLATE "C";
-- Functions that run with their owner's rights pin their search_path.
SELECT p.oid::pg_catalog.regprocedure AS definer_without_search_path
FROM pg_catalog.pg_proc p
WHERE p.pronamespace IN ('deletion_guard'::pg_catalog.regnamespace, 'deletion_guard_internal'::pg_catalog.regnamespace) AND p.prosecdef
	AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) setting WHERE setting LIKE 'search_path=%')
ORDER BY 1;
-- Functions that no person calls are not listed among the others.
SELECT p.oid::pg_catalog.regprocedure AS internal_among_others
FROM pg_catalog.pg_proc p
WHERE p.pronamespace = 'deletion_guard'::pg_catalog.regnamespace
	AND p.prorettype IN ('trigger'::pg_catalog.regtype, 'event_trigger'::pg_catalog.regtype, 'table_am_handler'::pg_catalog.regtype)
ORDER BY 1;
