/*
 * Three sites with projects, issues, comments and files, guarded: by column,
 * and by paths of one and two foreign keys. Labels are nobody's.
 */
CREATE TABLE label (id integer PRIMARY KEY, name text UNIQUE);
CREATE TABLE site (id integer PRIMARY KEY, name text NOT NULL, contact text);
CREATE TABLE project (id serial PRIMARY KEY, site_id integer NOT NULL REFERENCES site, title text);
CREATE TABLE issue (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, site_id integer NOT NULL REFERENCES site,
					project_id integer REFERENCES project, parent_id bigint REFERENCES issue, label_id integer REFERENCES label,
					title text, words integer GENERATED ALWAYS AS (length(title)) STORED);
CREATE TABLE comment (id serial PRIMARY KEY, issue_id bigint NOT NULL REFERENCES issue, body text, data bytea,
					  written timestamptz, took interval);
CREATE TABLE file (comment_id integer REFERENCES comment, name text, tags text[], PRIMARY KEY (comment_id, name));

INSERT INTO label VALUES (1, 'bug'), (2, 'wish');
INSERT INTO site SELECT n, 'site ' || n, 'boss@site' || n || '.example' FROM generate_series(1, 3) n;
INSERT INTO project (site_id, title) SELECT s, 'project ' || n FROM generate_series(1, 3) s, generate_series(1, 2) n ORDER BY s, n;
INSERT INTO issue (site_id, project_id, label_id, title)
	SELECT p.site_id, p.id, 1 + n % 2, 'issue ' || n || E' of\ta\nproject \\' FROM project p, generate_series(1, 5) n
	ORDER BY p.id, n;
UPDATE issue SET parent_id = id - 1 WHERE id % 5 = 3;
INSERT INTO comment (issue_id, body, data, written, took)
	SELECT i.id, nullif(repeat(E'comment\r\n', n), ''), decode('00ff5c0a', 'hex'),
		timestamptz '2024-05-06 07:08:09.1+02' + i.id * interval '1 day', n * interval '-1 hour 2 days'
	FROM issue i, generate_series(0, 1) n ORDER BY i.id, n;
INSERT INTO file SELECT id, 'name ' || n, ARRAY['a', NULL, '"{b}"', ''] FROM comment, generate_series(1, 2) n WHERE id % 3 = 0;

SELECT deletion_guard.set_tenant_table('site', 'id', 'name', 'contact');
SELECT deletion_guard.guard_table('site', 'id');
SELECT deletion_guard.guard_table('project', 'site_id');
SELECT deletion_guard.guard_table('issue', 'site_id');
SELECT deletion_guard.guard_table('comment', tenant_path => ARRAY['comment_issue_id_fkey']);
SELECT deletion_guard.guard_table('file', tenant_path => ARRAY['file_comment_id_fkey', 'comment_issue_id_fkey']);

-- Everything, in one line each.
CREATE VIEW everything AS
	SELECT 'site' AS relation, id AS site, site::text AS row FROM site
	UNION ALL SELECT 'project', site_id, project::text FROM project
	UNION ALL SELECT 'issue', site_id, issue::text FROM issue
	UNION ALL SELECT 'comment', site_id, comment::text FROM comment JOIN issue ON issue.id = issue_id
	UNION ALL SELECT 'file', site_id, file::text
		FROM file JOIN comment ON comment.id = comment_id JOIN issue ON issue.id = issue_id;

-- Deletes a site, even where rows of other sites refer to its own.
CREATE FUNCTION lose(lost integer) RETURNS void LANGUAGE plpgsql
	SET session_replication_role = replica AS $$
BEGIN
	DELETE FROM file USING comment, issue WHERE comment.id = comment_id AND issue.id = issue_id AND site_id = lost;
	DELETE FROM comment USING issue WHERE issue.id = issue_id AND site_id = lost;
	DELETE FROM issue WHERE site_id = lost;
	DELETE FROM project WHERE site_id = lost;
	DELETE FROM site WHERE id = lost;
END
$$;

-- What a call fails with, the place of the archive and places in it left out.
CREATE FUNCTION failure(sql text, place text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
	context text;
BEGIN
	EXECUTE sql;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
		context = PG_EXCEPTION_CONTEXT;
	RETURN regexp_replace(replace(concat_ws(E'\n', SQLSTATE || ': ' || message, nullif(detail, ''), nullif(hint, ''),
			substring(context, '^.*archive[^\n]*')), place, '...'), '(byte|dump id) \d+', '\1 N', 'g');
END
$$;
