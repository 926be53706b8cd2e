/*
 * Looking at deletions.
 */
CREATE FUNCTION deletion_guard.tenant_label(tenant text, OUT tenant_name text, OUT contact text)
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_tenant_label';
REVOKE EXECUTE ON FUNCTION deletion_guard.tenant_label FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.tenant_label IS
	'name and contact of a tenant, from the tenant table or, if it was deleted, from its latest deletion; nulls if unknown';

CREATE VIEW deletion_guard.deletion_detail AS
	SELECT p.deletion_id,
		   b.relation,
		   p.tenant,
		   l.tenant_name,
		   l.contact,
		   sum(p.rows)::bigint AS rows,
		   sum(p.restored)::bigint AS restored,
		   sum(p.purged)::bigint AS purged
	FROM deletion_guard.deletion_part p
	JOIN deletion_guard.bin b USING (bin_id)
	LEFT JOIN LATERAL deletion_guard.tenant_label(p.tenant) l ON true
	GROUP BY p.deletion_id, b.relation, p.tenant, l.tenant_name, l.contact;
COMMENT ON VIEW deletion_guard.deletion_detail IS
	'deletions by table and tenant: rows removed, of which restored and purged since';

CREATE VIEW deletion_guard.deletion AS
	SELECT d.deletion_id AS id,
		   d.deleted_at,
		   d.session_role,
		   d.effective_role,
		   d.application_name,
		   d.client_addr,
		   d.actor,
		   d.reason,
		   d.statement,
		   d.xid,
		   s.rows,
		   s.tenants,
		   CASE WHEN s.restored + s.purged = 0 THEN 'deleted'
				WHEN s.restored = s.rows THEN 'restored'
				WHEN s.purged = s.rows THEN 'purged'
				WHEN s.restored + s.purged = s.rows THEN 'restored and purged'
				WHEN s.purged = 0 THEN 'partly restored'
				ELSE 'partly purged'
		   END AS state,
		   d.purge_not_before
	FROM deletion_guard.deletion_record d
	CROSS JOIN LATERAL (
		SELECT sum(p.rows)::bigint AS rows,
			   count(DISTINCT p.tenant) AS tenants,
			   sum(p.restored)::bigint AS restored,
			   sum(p.purged)::bigint AS purged
		FROM deletion_guard.deletion_part p
		WHERE p.deletion_id = d.deletion_id) s;
COMMENT ON VIEW deletion_guard.deletion IS
	'deletions: what each top-level statement removed, cascades included, by whom, and what became of it';

CREATE FUNCTION deletion_guard.deleted_rows(target anyelement, tenant text = NULL,
		deletion_id bigint = NULL) RETURNS SETOF anyelement
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_deleted_rows';
COMMENT ON FUNCTION deletion_guard.deleted_rows IS
	'rows of a table that are in the bin, as rows of the table: deleted_rows(NULL::public.issue, tenant => ''42''); of all tenants or deletions where these are null. Columns that the table got later are null. Anyone with SELECT on the table may call it, unless row security applies to them (42501)';

