/*
 * Looking at deletions.
 */
CREATE FUNCTION deletion_guard.tenant_label(tenant text, OUT tenant_name text, OUT contact text)
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 100
	AS 'MODULE_PATHNAME', 'dg_tenant_label';
REVOKE EXECUTE ON FUNCTION deletion_guard.tenant_label FROM PUBLIC;
COMMENT ON FUNCTION deletion_guard.tenant_label IS
	'name and contact of a tenant, from the tenant table or, if it was deleted, from its latest deletion; nulls if unknown';

-- Labels stand outside of what is grouped: they are looked up only for rows that
-- a query returns, and only if it asks for them.
CREATE VIEW deletion_guard.deletion_detail AS
	SELECT s.deletion_id,
		   s.relation,
		   s.tenant,
		   (deletion_guard.tenant_label(s.tenant)).tenant_name,
		   (deletion_guard.tenant_label(s.tenant)).contact,
		   s.rows,
		   s.restored,
		   s.purged,
		   s.lost,
		   s.relation_name
	FROM (SELECT p.deletion_id, p.tenant,
				 CASE WHEN b.relation = 0 THEN min(b.bin_table::oid)::regclass ELSE b.relation END AS relation,
				 sum(p.rows)::bigint AS rows,
				 sum(p.restored)::bigint AS restored,
				 sum(p.purged)::bigint AS purged,
				 coalesce(sum(p.rows - p.restored - p.purged)
						  FILTER (WHERE p.bin_id IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)), 0)::bigint AS lost,
				 min(b.relation_name) AS relation_name
		  FROM deletion_guard.deletion_part p
		  JOIN deletion_guard.bin b USING (bin_id)
		  -- tables that were dropped are told by their names
		  GROUP BY p.deletion_id, b.relation, CASE WHEN b.relation = 0 THEN b.relation_name END, p.tenant) s;
COMMENT ON VIEW deletion_guard.deletion_detail IS
	'deletions by table and tenant: rows removed, of which restored and purged since; the rest is in the bin, unless it is lost';
COMMENT ON COLUMN deletion_guard.deletion_detail.deletion_id IS 'number of the deletion';
COMMENT ON COLUMN deletion_guard.deletion_detail.relation IS 'table the rows were in; of one that was dropped, the table of the bin they are in, as adopt_bin() takes it';
COMMENT ON COLUMN deletion_guard.deletion_detail.tenant IS 'tenant''s key; null for rows without one';
COMMENT ON COLUMN deletion_guard.deletion_detail.tenant_name IS 'tenant''s name, as it is now or was at its latest deletion';
COMMENT ON COLUMN deletion_guard.deletion_detail.contact IS 'tenant''s contact, likewise';
COMMENT ON COLUMN deletion_guard.deletion_detail.rows IS 'rows removed';
COMMENT ON COLUMN deletion_guard.deletion_detail.restored IS 'of these, rows that are back';
COMMENT ON COLUMN deletion_guard.deletion_detail.purged IS 'of these, rows that are gone for good';
COMMENT ON COLUMN deletion_guard.deletion_detail.lost IS 'of these, rows that are neither back nor purged nor in the bin: the database was restored without it; they are where it was dumped';
COMMENT ON COLUMN deletion_guard.deletion_detail.relation_name IS 'name of the table, also of one that was dropped';

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
		   CASE WHEN s.lost > 0 AND s.lost = s.rows THEN 'lost'
				WHEN s.lost > 0 THEN 'partly lost'
				WHEN s.restored + s.purged = 0 THEN 'deleted'
				WHEN s.restored = s.rows THEN 'restored'
				WHEN s.purged = s.rows THEN 'purged'
				WHEN s.restored + s.purged = s.rows THEN 'restored and purged'
				WHEN s.purged = 0 THEN 'partly restored'
				ELSE 'partly purged'
		   END AS state,
		   d.purge_not_before,
		   (SELECT count(*) FROM deletion_guard.deletion_link l
			WHERE l.deletion_id = d.deletion_id AND NOT l.restored) AS links
	FROM deletion_guard.deletion_record d
	CROSS JOIN LATERAL (
		SELECT sum(p.rows)::bigint AS rows,
			   count(DISTINCT p.tenant) AS tenants,
			   sum(p.restored)::bigint AS restored,
			   sum(p.purged)::bigint AS purged,
			   coalesce(sum(p.rows - p.restored - p.purged)
						FILTER (WHERE p.bin_id IN (SELECT e.bin_id FROM deletion_guard.empty_bin e)), 0)::bigint AS lost
		FROM deletion_guard.deletion_part p
		WHERE p.deletion_id = d.deletion_id) s;
COMMENT ON VIEW deletion_guard.deletion IS
	'deletions: what each top-level statement removed, cascades included, by whom, and what became of it';
COMMENT ON COLUMN deletion_guard.deletion.id IS 'number of the deletion, for undelete(). Numbers only go up; there are gaps where a statement was rolled back, previewed or refused, where a tenant got another key, and after a crash';
COMMENT ON COLUMN deletion_guard.deletion.deleted_at IS 'when its transaction first deleted something; all deletions of a transaction have the same time';
COMMENT ON COLUMN deletion_guard.deletion.session_role IS 'role that logged in';
COMMENT ON COLUMN deletion_guard.deletion.effective_role IS 'role that ran the statement, after SET ROLE';
COMMENT ON COLUMN deletion_guard.deletion.application_name IS 'application_name of the session';
COMMENT ON COLUMN deletion_guard.deletion.client_addr IS 'address of the client; null for a Unix socket';
COMMENT ON COLUMN deletion_guard.deletion.actor IS 'deletion_guard.actor: the application''s user';
COMMENT ON COLUMN deletion_guard.deletion.reason IS 'deletion_guard.reason';
COMMENT ON COLUMN deletion_guard.deletion.statement IS 'text of the top-level statement, with its literals, until a purge removes it';
COMMENT ON COLUMN deletion_guard.deletion.xid IS 'transaction that deleted; deletions with the same xid and time belong together, see undelete_transaction()';
COMMENT ON COLUMN deletion_guard.deletion.rows IS 'rows removed, over all tables';
COMMENT ON COLUMN deletion_guard.deletion.tenants IS 'distinct tenants whose rows were removed';
COMMENT ON COLUMN deletion_guard.deletion.state IS 'what became of the rows: deleted (all in the bin), restored, purged, or partly so; lost, if the database was restored without the bin''s rows';
COMMENT ON COLUMN deletion_guard.deletion.purge_not_before IS 'when a purge is possible at the earliest; infinity: never';
COMMENT ON COLUMN deletion_guard.deletion.links IS 'links that it took from rows that stayed, by ON DELETE SET NULL and SET DEFAULT, and that are not back';

CREATE FUNCTION deletion_guard.deleted_rows(target anyelement, tenant text = NULL,
		deletion_id bigint = NULL) RETURNS SETOF anyelement
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'dg_deleted_rows';
COMMENT ON FUNCTION deletion_guard.deleted_rows IS
	'rows of a table that are in the bin, as rows of the table: deleted_rows(NULL::public.issue, tenant => ''42''); of all tenants or deletions where these are null. Rows of partitions are those of their root, rows of a table that inherits its own. Columns that the table got later are null; links that ON DELETE SET NULL or SET DEFAULT had taken from a row are shown as they were. Anyone with SELECT on the table may call it, unless row security applies to them (42501). Fails if the bin does not have all of the rows, with 42804 for what has no type of a table, 42809 for a partition';

