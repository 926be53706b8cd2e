-- A multi-tenant database: sites, with users, projects, issues and comments.
-- Variables: tenants, issues (per tenant; three comments each).
BEGIN;
CREATE TABLE site (id int PRIMARY KEY, name text NOT NULL, contact text);
CREATE TABLE app_user (
	site_id int NOT NULL REFERENCES site ON DELETE CASCADE,
	id bigint NOT NULL, email text, name text,
	PRIMARY KEY (site_id, id), UNIQUE (site_id, email));
CREATE TABLE project (
	site_id int NOT NULL REFERENCES site ON DELETE CASCADE,
	id bigint NOT NULL, key text, name text,
	PRIMARY KEY (site_id, id));
CREATE TABLE issue (
	site_id int NOT NULL,
	id bigserial, project_id bigint NOT NULL, reporter bigint, title text, body text, status smallint, created_at timestamptz,
	PRIMARY KEY (site_id, id), FOREIGN KEY (site_id, project_id) REFERENCES project ON DELETE CASCADE);
CREATE TABLE comment (
	id bigserial PRIMARY KEY,
	site_id int NOT NULL, issue_id bigint NOT NULL, body text, created_at timestamptz,
	FOREIGN KEY (site_id, issue_id) REFERENCES issue ON DELETE CASCADE);

INSERT INTO site SELECT i, ('{Acme,Globex,Hooli,Initech,Stark,Umbrella}'::text[])[1 + i % 6] || ' ' || i, 'ops@site' || i || '.example' FROM generate_series(1, :tenants) i;
INSERT INTO app_user SELECT 1 + i % :tenants, i, 'u' || i || '@example.com', 'User ' || i FROM generate_series(1, :tenants * 100) i;
INSERT INTO project SELECT 1 + i % :tenants, i, 'P' || i, 'Project ' || i FROM generate_series(1, :tenants * 10) i;
INSERT INTO issue
	SELECT p.site_id, g, p.id, g * 31 % 100000, 'Issue title ' || g, repeat(md5(g::text) || ' ', 1 + g % 8), g % 5,
		timestamptz '2022-01-01' + g * interval '1 second'
	FROM generate_series(1, :tenants * :issues) g JOIN project p ON p.id = 1 + g::bigint * 104729 % (:tenants * 10);
INSERT INTO comment (site_id, issue_id, body, created_at)
	SELECT i.site_id, i.id, repeat(md5((i.id * 3 + k)::text) || E'\n\t', 1 + k), now() FROM issue i, generate_series(1, 3) k;
SELECT setval('issue_id_seq', :tenants * :issues) \g /dev/null
CREATE INDEX ON issue (site_id, project_id);
CREATE INDEX ON comment (site_id, issue_id);

-- The application's owner, who is not a superuser.
SELECT 'CREATE ROLE app LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') \gexec
ALTER TABLE site OWNER TO app;
ALTER TABLE app_user OWNER TO app;
ALTER TABLE project OWNER TO app;
ALTER TABLE issue OWNER TO app;
ALTER TABLE comment OWNER TO app;
COMMIT;
VACUUM ANALYZE;
