/*
 * Three tenants with their projects and issues, guarded.
 */
CREATE TABLE tenant (id integer PRIMARY KEY, name text NOT NULL, email text);
CREATE TABLE project (id integer PRIMARY KEY, tenant_id integer REFERENCES tenant ON DELETE CASCADE, title text);
CREATE TABLE issue (id integer PRIMARY KEY, tenant_id integer REFERENCES tenant ON DELETE CASCADE,
					project_id integer REFERENCES project ON DELETE CASCADE, body text);
INSERT INTO tenant VALUES (1, 'Acme', 'boss@acme.example'), (2, 'Birch', 'boss@birch.example'),
	(3, 'Cedar', NULL);
INSERT INTO project SELECT t * 10 + n, t, 'project ' || n FROM generate_series(1, 3) t, generate_series(1, 2) n;
INSERT INTO issue SELECT p.id * 100 + n, p.tenant_id, p.id, 'issue ' || n FROM project p, generate_series(1, 5) n;

SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name', 'email');
SELECT FROM deletion_guard.guard_schema('public', 'tenant_id');
