# Applications whose tables hang together by more than foreign keys lose tenants in every way, and get them back byte for byte:
# one as Redmine is (attachments, journals and custom values of rows of several tables), one as Django is (content types, and a
# deletion of many statements in one transaction).
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir;
my $ways = 0;

# --- two applications ------------------------------------------------------------------------

my %schema = (
	tracker => q{
	CREATE TABLE project (id int PRIMARY KEY, name text);
	CREATE TABLE member (id int PRIMARY KEY, project_id int NOT NULL REFERENCES project ON DELETE CASCADE, mail text UNIQUE);
	CREATE TABLE issue (id bigserial PRIMARY KEY, project_id int NOT NULL REFERENCES project ON DELETE CASCADE, parent_id bigint REFERENCES issue ON DELETE CASCADE DEFERRABLE,
		author_id int REFERENCES member ON DELETE SET NULL, subject text, done numeric(5,2), at timestamptz);
	CREATE TABLE wiki (id int PRIMARY KEY, project_id int NOT NULL REFERENCES project ON DELETE CASCADE);
	CREATE TABLE page (id int PRIMARY KEY, wiki_id int NOT NULL, title text);
	CREATE TABLE attachment (id int PRIMARY KEY, container_type varchar(20), container_id bigint, author_id int, content bytea);
	CREATE TABLE thumbnail (id int PRIMARY KEY, attachment_id int NOT NULL CONSTRAINT thumbnail_of REFERENCES attachment ON DELETE CASCADE);
	CREATE TABLE journal (id int, journalized_type text, journalized_id bigint, notes text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
	CREATE TABLE journal_1 PARTITION OF journal FOR VALUES FROM (0) TO (50);
	CREATE TABLE journal_2 PARTITION OF journal DEFAULT;
	CREATE TABLE detail (journal_id int NOT NULL, key text, old text, new text);
	CREATE TYPE customized AS ENUM ('Issue', 'Project', 'Member');
	CREATE TABLE custom_value (type customized, of bigint, field int, value text);
	INSERT INTO project SELECT n, 'project ' || n FROM generate_series(1, 3) n;
	INSERT INTO member SELECT n, 1 + n % 3, 'm' || n || '@x.example' FROM generate_series(1, 9) n;
	INSERT INTO issue (project_id, parent_id, author_id, subject, done, at) SELECT 1 + n % 3, CASE WHEN n > 30 THEN n - 30 END, 1 + (n + 8) % 9, E'sub\tject\\ ' || n, n / 3.0, timestamptz '2026-01-01 00:00:00.123456+00' + n * interval '1 hour' FROM generate_series(1, 60) n;
	INSERT INTO wiki SELECT n, 1 + n % 3 FROM generate_series(1, 6) n;
	INSERT INTO page SELECT n, 1 + n % 6, 'page ' || n FROM generate_series(1, 12) n;
	INSERT INTO attachment SELECT id, 'Issue', id, author_id, decode(md5(id::text), 'hex') FROM issue UNION ALL SELECT 100 + id, 'Page', id, NULL, NULL FROM page UNION ALL SELECT 200 + id, 'Project', id, NULL, '\x00' FROM project;
	INSERT INTO thumbnail SELECT id, id FROM attachment WHERE container_type = 'Issue';
	INSERT INTO journal SELECT id, 'Issue', id, 'note ' || id FROM issue UNION ALL SELECT 100 + id, 'Page', id, NULL FROM page;
	INSERT INTO detail SELECT id, 'status', NULL, v FROM journal, unnest(ARRAY['open', 'open', 'done']) v;
	INSERT INTO custom_value SELECT 'Issue'::customized, id, 1, 'v' || id % 2 FROM issue UNION ALL SELECT 'Project', id, 2, NULL FROM project UNION ALL SELECT 'Member', id, 3, mail FROM member;
	-- what is nobody's, and refers to nothing
	INSERT INTO attachment VALUES (900, NULL, NULL, NULL, NULL), (901, 'Issue', 4711, NULL, NULL);
	INSERT INTO custom_value VALUES (NULL, NULL, 9, 'template');
	},
	orm => q{
	CREATE TABLE content_type (id int PRIMARY KEY, model text UNIQUE);
	CREATE TABLE shop (id int PRIMARY KEY, name text);
	CREATE TABLE customer (id int PRIMARY KEY, shop_id int NOT NULL REFERENCES shop DEFERRABLE INITIALLY DEFERRED, mail text);
	CREATE TABLE "order" (id int PRIMARY KEY, customer_id int NOT NULL CONSTRAINT order_customer REFERENCES customer DEFERRABLE INITIALLY DEFERRED, total numeric);
	CREATE TABLE line (id int PRIMARY KEY, order_id int NOT NULL CONSTRAINT line_order REFERENCES "order" DEFERRABLE INITIALLY DEFERRED, what text);
	CREATE TABLE tag (id int PRIMARY KEY, content_type_id int NOT NULL REFERENCES content_type, object_id int NOT NULL, word text);
	INSERT INTO content_type VALUES (7, 'customer'), (8, 'order'), (9, 'user');
	INSERT INTO shop VALUES (1, 'one'), (2, 'two'), (3, 'three');
	INSERT INTO customer SELECT n, 1 + n % 3, 'c' || n || '@x.example' FROM generate_series(1, 150) n;
	INSERT INTO "order" SELECT n, 1 + n % 150, n / 7.0 FROM generate_series(1, 600) n;
	INSERT INTO line SELECT n, 1 + n % 600, 'thing ' || n FROM generate_series(1, 1800) n;
	INSERT INTO tag SELECT id, 7, id, 'good' FROM customer UNION ALL SELECT 1000 + id, 8, id, 'late' FROM "order" UNION ALL SELECT 5000, 9, 1, 'nobody''s';
	});
my %guard = (
	tracker => q{
	SELECT deletion_guard.set_tenant_table('project', 'id', 'name'), deletion_guard.guard_table('project', 'id'), deletion_guard.guard_table('member', 'project_id'), deletion_guard.guard_table('issue', 'project_id'),
		deletion_guard.guard_table('wiki', 'project_id'), deletion_guard.guard_table('page', tenant_path => '[{"columns": ["wiki_id"], "references": "wiki"}]');
	SELECT deletion_guard.guard_table('attachment', tenant_path => '[{"type": "container_type", "id": "container_id", "targets": {"Issue": "issue", "Page": "page", "Project": "project"}}]'),
		deletion_guard.guard_table('journal', tenant_path => '[{"type": "journalized_type", "id": "journalized_id", "targets": {"Issue": "issue", "Page": "page"}}]'),
		deletion_guard.guard_table('custom_value', tenant_path => '[{"type": "type", "id": "of", "targets": {"Issue": "issue", "Project": "project", "Member": "member"}}]');
	SELECT deletion_guard.guard_table('thumbnail', tenant_path => '["thumbnail_of", {"type": "container_type", "id": "container_id", "targets": {"Issue": "issue", "Page": "page", "Project": "project"}}]'),
		deletion_guard.guard_table('detail', tenant_path => '[{"columns": ["journal_id"], "references": "journal", "key": ["id"]}]');
	},
	orm => q{
	SELECT deletion_guard.set_tenant_table('shop', 'id', 'name'), deletion_guard.guard_table('shop', 'id'), deletion_guard.guard_table('customer', 'shop_id'),
		deletion_guard.guard_table('"order"', tenant_path => '{order_customer}'), deletion_guard.guard_table('line', tenant_path => '{line_order,order_customer}');
	SELECT deletion_guard.guard_table('tag', tenant_path => '[{"type": "content_type_id", "id": "object_id", "targets": {"7": "customer", "8": "\"order\"", "9": null}}]');
	});
my %tables = (
	tracker => [qw(project member issue wiki page attachment thumbnail journal detail custom_value)],
	orm => [qw(shop customer "order" line tag content_type)]);

# What the application deletes of tenant 2, in its order: a list of statements.
sub by_the_application
{
	my ($app, $name) = @_;

	return (
		q{DELETE FROM thumbnail USING attachment a, issue i WHERE a.id = attachment_id AND a.container_type = 'Issue' AND i.id = a.container_id AND i.project_id = 2},
		q{DELETE FROM attachment a USING issue i WHERE a.container_type = 'Issue' AND i.id = a.container_id AND i.project_id = 2},
		q{DELETE FROM attachment a USING page g, wiki w WHERE a.container_type = 'Page' AND g.id = a.container_id AND w.id = g.wiki_id AND w.project_id = 2},
		q{DELETE FROM attachment WHERE container_type = 'Project' AND container_id = 2},
		q{DELETE FROM detail d USING journal j, issue i WHERE j.id = d.journal_id AND j.journalized_type = 'Issue' AND i.id = j.journalized_id AND i.project_id = 2},
		q{DELETE FROM detail d USING journal j, page g, wiki w WHERE j.id = d.journal_id AND j.journalized_type = 'Page' AND g.id = j.journalized_id AND w.id = g.wiki_id AND w.project_id = 2},
		q{DELETE FROM journal j USING issue i WHERE j.journalized_type = 'Issue' AND i.id = j.journalized_id AND i.project_id = 2},
		q{DELETE FROM journal j USING page g, wiki w WHERE j.journalized_type = 'Page' AND g.id = j.journalized_id AND w.id = g.wiki_id AND w.project_id = 2},
		q{DELETE FROM custom_value c USING issue i WHERE c.type = 'Issue' AND i.id = c.of AND i.project_id = 2},
		q{DELETE FROM custom_value c USING member m WHERE c.type = 'Member' AND m.id = c.of AND m.project_id = 2},
		q{DELETE FROM custom_value WHERE type = 'Project' AND of = 2},
		q{DELETE FROM page g USING wiki w WHERE w.id = g.wiki_id AND w.project_id = 2},
		q{DELETE FROM project WHERE id = 2}) if $app eq 'tracker';
	# as Django's collector: what depends first, by lists of keys
	my @statements;
	for my $deleted ([ 'tag', q{SELECT t.id FROM tag t JOIN customer c ON t.content_type_id = 7 AND t.object_id = c.id WHERE c.shop_id = 2} ],
		[ 'tag', q{SELECT t.id FROM tag t JOIN "order" o ON t.content_type_id = 8 AND t.object_id = o.id JOIN customer c ON c.id = o.customer_id WHERE c.shop_id = 2} ],
		[ 'line', q{SELECT l.id FROM line l JOIN "order" o ON o.id = l.order_id JOIN customer c ON c.id = o.customer_id WHERE c.shop_id = 2} ],
		[ '"order"', q{SELECT o.id FROM "order" o JOIN customer c ON c.id = o.customer_id WHERE c.shop_id = 2} ],
		[ 'customer', q{SELECT id FROM customer WHERE shop_id = 2} ], [ 'shop', q{SELECT 2} ])
	{
		my @ids = split /\n/, $node->safe_psql($name, $deleted->[1]);

		while (my @some = splice(@ids, 0, 100))
		{
			push @statements, "DELETE FROM $deleted->[0] WHERE id IN (" . join(', ', @some) . ')';
		}
	}
	return @statements;
}

# Tenant 2 of the tracker goes by its row; what no foreign key takes along goes later, when nothing but the bin knows whose it was.
my @parents_first = (
	q{DELETE FROM project WHERE id = 2},
	q{DELETE FROM page WHERE wiki_id NOT IN (SELECT id FROM wiki)},
	q{DELETE FROM journal WHERE journalized_type = 'Issue' AND journalized_id NOT IN (SELECT id FROM issue) OR journalized_type = 'Page' AND journalized_id NOT IN (SELECT id FROM page)},
	q{DELETE FROM detail WHERE journal_id NOT IN (SELECT id FROM journal)},
	q{DELETE FROM custom_value WHERE type = 'Issue' AND of NOT IN (SELECT id FROM issue) OR type = 'Project' AND of = 2 OR type = 'Member' AND of NOT IN (SELECT id FROM member)},
	q{DELETE FROM attachment WHERE id <> 901 AND (container_type = 'Issue' AND container_id NOT IN (SELECT id FROM issue) OR container_type = 'Page' AND container_id NOT IN (SELECT id FROM page) OR container_type = 'Project' AND container_id = 2)});

sub everything
{
	my ($app, $name) = @_;

	return $node->safe_psql($name, join(' UNION ALL ', map { "SELECT '$_' || t::text FROM $_ t" } @{ $tables{$app} }) . ' ORDER BY 1');
}

# --- ways to lose a tenant, and back -----------------------------------------------------------

# A fresh copy of the application loses tenant 2; then it is as before.
sub way
{
	my ($app, $what, $lose, $back) = @_;
	my $name = $app . '_' . ++$ways;

	$node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE $app");
	my $before = everything($app, $name);
	$lose->($name);
	isnt(everything($app, $name), $before, "$app, $what: lost");
	my $at = $back->($name) // $name;
	is(everything($app, $at), $before, "$app, $what: byte for byte");
	is($node->safe_psql($at, 'SELECT ok FROM deletion_guard.verify_ledger()'), 't', "$app, $what: the ledger");
	$node->safe_psql('postgres', "DROP DATABASE $_") for $at eq $name ? ($name) : ($name, $at);
	return;
}

sub statements
{
	my ($name, @statements) = @_;

	$node->safe_psql($name, "SET client_min_messages = warning; $_") for @statements;
}

sub together
{
	my ($name, @statements) = @_;

	$node->safe_psql($name, join(";\n", 'BEGIN', 'SET CONSTRAINTS ALL DEFERRED', @statements, 'COMMIT'));
}

sub back_with
{
	my ($sql) = @_;

	return sub { $node->safe_psql($_[0], "SET client_min_messages = warning; $sql"); return };
}

for my $app (qw(tracker orm))
{
	$node->safe_psql('postgres', "CREATE DATABASE $app");
	$node->safe_psql($app, 'CREATE EXTENSION deletion_guard; CREATE EXTENSION postgres_fdw; SET client_min_messages = warning; ' . $schema{$app} . $guard{$app});
	$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/$app.dump", $app ], "$app: an archive");
	$node->command_ok([ 'pg_dump', '-f', "$dir/$app.sql", $app ], "$app: a script");
	$node->safe_psql('postgres', "CREATE DATABASE ${app}_copy TEMPLATE $app");
	$node->safe_psql($app, sprintf("CREATE SERVER copy FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname '%s'); CREATE USER MAPPING FOR CURRENT_USER SERVER copy", $node->host, $node->port, "${app}_copy"));

	my $application = sub { my ($name) = @_; statements($name, by_the_application($app, $name)) };
	my $transaction = sub { my ($name) = @_; together($name, by_the_application($app, $name)) };

	way($app, 'statement by statement', $application, back_with(q{SELECT deletion_guard.undelete_tenant('2')}));
	way($app, 'in one transaction, and that undone', $transaction, back_with(q{SELECT deletion_guard.undelete_transaction(max(id)) FROM deletion_guard.deletion}));
	way($app, 'in one transaction, and its tenant', $transaction, back_with(q{SELECT deletion_guard.undelete_tenants('{2}')}));
	my $truncate = sub { $node->safe_psql($_[0], 'SET client_min_messages = warning; TRUNCATE ' . join(', ', grep { $_ ne 'content_type' } @{ $tables{$app} })) };
	way($app, 'TRUNCATE of everything', $truncate,
		back_with(q{SELECT deletion_guard.undelete(max(id)) FROM deletion_guard.deletion}));
	way($app, 'out of an archive', $application, back_with("SELECT deletion_guard.rehydrate('2', '$dir/$app.dump')"));
	way($app, 'out of a script', $transaction, back_with("SELECT deletion_guard.rehydrate('2', '$dir/$app.sql')"));
	way($app, 'out of a running copy', $application, back_with("SELECT deletion_guard.rehydrate('2', 'server:copy')"));
	way($app, 'all tenants and what is nobody\'s, out of an archive', $truncate,
		back_with("SELECT deletion_guard.rehydrate('{1,2,3}'::text[], '$dir/$app.dump'); SELECT deletion_guard.rehydrate_without_tenant('$dir/$app.dump')"));
	way($app, 'all tenants and what is nobody\'s, out of a running copy', $truncate,
		back_with("SELECT deletion_guard.rehydrate('{1,2,3}'::text[], 'server:copy'); SELECT deletion_guard.rehydrate_without_tenant('server:copy')"));
	way($app, 'dumped with its bin, restored elsewhere, and undone there', $transaction,
		sub {
			my ($name) = @_;

			$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/$name.dump", $name ], "$name: dumped");
			$node->safe_psql('postgres', "CREATE DATABASE ${name}_restored");
			$node->command_ok([ 'pg_restore', '-d', "${name}_restored", "$dir/$name.dump" ], "$name: restored");
			$node->safe_psql("${name}_restored", q{SELECT deletion_guard.undelete_transaction(max(id)) FROM deletion_guard.deletion});
			return "${name}_restored";
		});
}
way('tracker', 'parents first', sub { statements($_[0], @parents_first) }, back_with(q{SELECT deletion_guard.undelete_tenant('2')}));
way('tracker', 'parents first, out of an archive', sub { statements($_[0], @parents_first) }, back_with("SELECT deletion_guard.rehydrate('2', '$dir/tracker.dump')"));

# --- for good ---------------------------------------------------------------------------------

# One person of a tenant, in the bin with all that hangs on it; the rest of the tenant comes back. A hold of the tenant holds the person.
$node->safe_psql('tracker', slurp_file('test/sql/signing.sql'));
$node->safe_psql('tracker', q{SELECT deletion_guard.add_authority('legal', signing.make_key('legal'))});
for my $lose ([ 'statement by statement', sub { statements($_[0], by_the_application('tracker', $_[0])) } ], [ 'parents first', sub { statements($_[0], @parents_first) } ])
{
	$node->safe_psql('postgres', 'CREATE DATABASE person TEMPLATE tracker');
	my $others = everything('tracker', 'person');
	$node->safe_psql('person', "ALTER DATABASE person SET deletion_guard.retention = '0'");
	$lose->[1]->('person');
	my $keys = '{"member": [{"id": 1}], "custom_value": [{"type": "Member", "of": 1}]}';
	my ($ret, $out, $err) = $node->psql('person', qq{SELECT deletion_guard.request_purge('2', 'erasure', keys => '{"member": [{"id": 1}]}')});
	like($err, qr/rows in the bin refer to rows chosen.*"public\.custom_value": \[\{"type": "Member", "of": "1"\}\]/s, "$lose->[0]: what refers to a person without a foreign key is named");
	my $claims = $node->safe_psql('person', qq{SET client_min_messages = warning; SELECT deletion_guard.request_purge('2', 'erasure', keys => '$keys')});
	my $token = $node->safe_psql('person', "SELECT signing.sign('" . $claims =~ s/'/''/gr . "')");
	my $hold = $node->safe_psql('person', q{SELECT deletion_guard.hold_tenant('2', 'lawsuit')});
	($ret, $out, $err) = $node->psql('person', "\\set VERBOSITY verbose\nSELECT deletion_guard.purge('$token')");
	like($err, qr/TG033/, "$lose->[0]: a hold of the tenant holds the person's rows");
	$node->safe_psql('person', "SELECT deletion_guard.release_hold($hold, signing.sign(jsonb_build_object('act', 'release_hold', 'aud', deletion_guard.audience(), 'hold', $hold)))");
	is($node->safe_psql('person', "SELECT deletion_guard.purge('$token')->'rows'"), 2, "$lose->[0]: purged");
	$node->safe_psql('person', q{SET client_min_messages = warning; INSERT INTO member VALUES (1, 1, 'nobody'); SELECT deletion_guard.undelete_tenant('2'); DELETE FROM member WHERE id = 1});
	my %now = map { $_ => 1 } split(/\n/, everything('tracker', 'person'));
	is(join("\n", grep { !$now{$_} && !/^issue/ } split(/\n/, $others)), qq{custom_value(Member,1,3,m1\@x.example)\nmember(1,2,m1\@x.example)}, "$lose->[0]: the person is gone, and nothing else");
	unlike($node->safe_psql('person', "SELECT string_agg(t::text, ' ') FROM (SELECT * FROM deletion_guard.purge_request_record) t"), qr/member/, "$lose->[0]: nor do the requests tell");
	$node->safe_psql('person', "SET client_min_messages = warning; SELECT deletion_guard.rehydrate('2', '$dir/tracker.dump', on_conflict => 'skip')");
	is($node->safe_psql('person', 'SELECT count(*) FROM member WHERE id = 1'), 0, "$lose->[0]: a backup does not bring the person back");
	$node->safe_psql('postgres', 'DROP DATABASE person');
}

done_testing();
