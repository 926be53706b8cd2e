# pg_dump and back: tables, bin, deletions and protection are all there, and
# what was deleted before the dump can be undeleted after it.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir();

$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE tenant (id int PRIMARY KEY, name text, contact text);
CREATE TABLE issue (id serial PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE, title text, gone int, m mood);
CREATE TABLE comment (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, issue_id int NOT NULL, body text,
	CONSTRAINT comment_issue_fkey FOREIGN KEY (issue_id) REFERENCES issue ON DELETE CASCADE);
CREATE TABLE bookmark (id int PRIMARY KEY, issue_id int REFERENCES issue ON DELETE SET NULL);
CREATE TABLE event (tenant_id int, at int, what text) PARTITION BY RANGE (at);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (100);
CREATE TABLE event_2 (what text, at int, tenant_id int);
ALTER TABLE event ATTACH PARTITION event_2 DEFAULT;
CREATE TABLE base (id int);
CREATE TABLE derived (extra text) INHERITS (base);
CREATE TABLE setting (name text PRIMARY KEY, value text);
ALTER TABLE issue DROP COLUMN gone;
CREATE SCHEMA future;
SELECT * FROM deletion_guard.guard_schema('future', 'tenant_id', true);
SQL
my $enrol = <<'SQL';
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name', 'contact');
SELECT deletion_guard.guard_table('tenant', 'id');
SELECT deletion_guard.guard_table('issue', 'tenant_id');
SELECT deletion_guard.guard_table('comment', tenant_path => ARRAY['comment_issue_fkey']);
SELECT deletion_guard.guard_table('bookmark', tenant_path => ARRAY['bookmark_issue_id_fkey']);
SELECT deletion_guard.guard_table('event', 'tenant_id');
SELECT deletion_guard.guard_table('base');
SELECT deletion_guard.guard_table('setting');
SQL
$node->safe_psql('app', $enrol);
$node->safe_psql('app', <<'SQL');
INSERT INTO tenant SELECT i, 'tenant ' || i, 'ops@' || i FROM generate_series(1, 5) i;
INSERT INTO issue (tenant_id, title, m) SELECT 1 + i % 5, 'issue ' || i, 'ok' FROM generate_series(1, 50) i;
INSERT INTO comment (issue_id, body) SELECT i, (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 200) j) FROM generate_series(1, 50) i;
INSERT INTO bookmark SELECT i, i FROM generate_series(1, 50) i;
INSERT INTO event SELECT 1 + i % 5, i * 4, 'event ' || i FROM generate_series(1, 50) i;
INSERT INTO base VALUES (1), (2);
INSERT INTO derived VALUES (3, 'three');
INSERT INTO setting VALUES ('a', '1'), ('b', '2');
SQL

# Every row of every table, as text; the same question for every database.
my $content = <<'SQL';
SELECT 'tenant', t::text FROM tenant t UNION ALL
SELECT 'issue', t::text FROM issue t UNION ALL
SELECT 'comment', concat_ws(',', id, issue_id, md5(body)) FROM comment t UNION ALL
SELECT 'bookmark', t::text FROM bookmark t UNION ALL
SELECT tableoid::regclass::text, concat_ws(',', tenant_id, at, what) FROM event t UNION ALL
SELECT 'base', t::text FROM ONLY base t UNION ALL
SELECT 'derived', t::text FROM derived t UNION ALL
SELECT 'setting', t::text FROM setting t ORDER BY 1, 2
SQL
my $deletions = 'SELECT id, statement, rows, tenants, state FROM deletion_guard.deletion WHERE id <= 8 ORDER BY id';
my $triggers = q(SELECT tgrelid::regclass, tgname, tgenabled, tgparentid <> 0 FROM pg_trigger
	WHERE tgname LIKE 'deletion_guard%' AND tgrelid::regclass::text !~ 'deletion_guard' ORDER BY tgrelid::regclass::text, tgname);
my $config = q(SELECT relation, tenant_source, is_tenant_table FROM deletion_guard.guarded_table ORDER BY relation::text);
my $original = $node->safe_psql('app', $content);

$node->safe_psql('app', $_) for 'DELETE FROM event WHERE tenant_id = 2', 'DELETE FROM tenant WHERE id IN (2, 3)',
  'DELETE FROM base', "DELETE FROM setting WHERE name = 'a'", 'TRUNCATE event', 'DELETE FROM issue WHERE id = 4';
$node->safe_psql('app', 'SELECT * FROM deletion_guard.undelete(1)');
my $expected = join "\n--\n", map { $node->safe_psql('app', $_) } $deletions, $triggers, $config, $content;

# A database that a dump was restored into is what the first one was: it tells
# the same, goes on guarding, and gives back what was deleted in the other.
sub check
{
	my ($db, $how) = @_;

	is(join("\n--\n", map { $node->safe_psql($db, $_) } $deletions, $triggers, $config, $content), $expected,
		"$how: rows, deletions and protection are the same");
	my ($ret, $out, $err) = $node->psql($db, 'SELECT ok, problem FROM deletion_guard.verify_ledger()');
	is($out, 't|', "$how: the ledger's chain holds") or diag($err);
	for my $id (6, 5, 4, 3, 2)
	{
		my ($r, $o, $e) = $node->psql($db, "SELECT * FROM deletion_guard.undelete($id)");
		is($e, '', "$how: undelete of deletion $id");
	}
	is($node->safe_psql($db, $content), $original, "$how: everything is back");
	$node->safe_psql($db, 'DELETE FROM tenant WHERE id = 4');
	is($node->safe_psql($db, 'SELECT max(id) FROM deletion_guard.deletion'), 7,
		"$how: a new deletion has the next number");
	isnt($node->psql($db, 'DROP TABLE issue'), 0, "$how: guarded tables cannot be dropped");
	$node->safe_psql($db, 'CREATE TABLE future.thing (tenant_id int)');
	is($node->safe_psql($db, "SELECT tenant_source FROM deletion_guard.guarded_table WHERE relation = 'future.thing'::regclass"),
		'column tenant_id', "$how: new tables are guarded as they were");
	$node->safe_psql($db, 'DELETE FROM issue; SELECT * FROM deletion_guard.undelete(8)');
	return;
}

sub pg_dump { return $node->command_ok([ 'pg_dump', '-d', $node->connstr('app'), @_ ], "pg_dump @_") }

sub fresh { $node->safe_psql('postgres', "CREATE DATABASE $_[0]"); return $_[0] }

# Runs a program that must not say a word.
sub quiet_ok
{
	my ($how, @command) = @_;
	my ($stdout, $stderr);

	my $ok = run_log(\@command, '>', \$stdout, '2>', \$stderr);
	ok($ok && $stderr !~ /error/i, "$how: no errors") or diag($stderr);
	return;
}

# --- whole dumps -----------------------------------------------------------

for my $options ([], ['--inserts'], ['--column-inserts', '--rows-per-insert=7'], ['--disable-triggers'], ['--no-owner', '--no-privileges'])
{
	my $how = "plain @$options";
	my $db = fresh('plain_' . ($options->[0] // 'copy') =~ tr/a-z//cdr);

	pg_dump('-f', "$dir/$db.sql", @$options);

	# many INSERTs into one table of the extension's: only where asked for
	my $pgoptions = grep({ /insert/ } @$options) ? '-c deletion_guard.restoring=on' : '';
	quiet_ok($how, 'env', "PGOPTIONS=$pgoptions", 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', "$dir/$db.sql");
	check($db, $how);
}

pg_dump('-Fc', '-f', "$dir/app.dump");
pg_dump('-Fd', '-f', "$dir/app.dir");
my $db = fresh('custom');
quiet_ok('custom', 'pg_restore', '-d', $node->connstr($db), "$dir/app.dump");
check($db, 'custom');
$db = fresh('parallel');
quiet_ok('parallel', 'pg_restore', '-j', '3', '-d', $node->connstr($db), "$dir/app.dir");
check($db, 'parallel');
$db = fresh('single');
quiet_ok('single transaction', 'pg_restore', '-1', '-d', $node->connstr($db), "$dir/app.dump");
check($db, 'single transaction');
$db = fresh('sections');
quiet_ok("section $_", 'pg_restore', "--section=$_", '-d', $node->connstr($db), "$dir/app.dump") for qw(pre-data data post-data);
check($db, 'sections');

# Without its access method a bin is an ordinary table, and verify() says so.
$db = fresh('heaps');
quiet_ok('without access methods', 'pg_restore', '--no-table-access-method', '-d', $node->connstr($db), "$dir/app.dump");
cmp_ok($node->safe_psql($db, "SELECT count(*) FROM deletion_guard.verify() WHERE check_name = 'store ownership' AND detail LIKE '%stored as an ordinary table%'"),
	'>', 0, 'bins that are ordinary tables are named');
check($db, 'without access methods');
is($node->safe_psql($db, "SELECT count(*) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE c.relnamespace = 'deletion_guard_bin'::regnamespace AND a.amname = 'deletion_guard_bin'") > 0,
	1, 'new rows go to bins of the right kind');

# --- files -----------------------------------------------------------------

# A dump says where rows were in files that are not there any more, but whose
# numbers other files may have. Here all of them have, and nothing is where the
# dump says.
pg_dump('-f', "$dir/plain.sql");
$db = fresh('numbers');
quiet_ok('pre-data', 'pg_restore', '--section=pre-data', '-d', $node->connstr($db), "$dir/app.dump");
my %file = map { split /\|/ } split /\n/,
  $node->safe_psql($db, q(SELECT substring(relname FROM '\d+'), relfilenode FROM pg_class
	WHERE relnamespace = 'deletion_guard_bin'::regnamespace AND relkind = 'r'));
my ($block) = slurp_file("$dir/plain.sql") =~ /^(COPY deletion_guard\.deletion_part .*?^\\\.\n)/ms;
my ($header, @lines) = split /\n/, $block;
my @columns = $header =~ /\((.*)\)/ ? split(/, /, $1) : ();
my ($bin, $filenode, $blocks) = map { my $name = $_; grep { $columns[$_] eq $name } 0 .. $#columns } qw(bin_id filenode blocks);
for (@lines[ 0 .. $#lines - 1 ])
{
	my @values = split /\t/, $_, -1;
	next if $values[$bin] == 0;	# a deletion's record alone
	@values[ $filenode, $blocks ] = ($file{ $values[$bin] }, '\\\\x00ffff0000ffff00');
	$_ = join "\t", @values;
}
append_to_file("$dir/part.sql", join("\n", $header, @lines, ''));
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', "$dir/part.sql" ], 'numbers: parts');
is($node->safe_psql($db, 'SELECT count(*) > 0, bool_and(filenode = 0), bool_and(length(blocks) = 0) FROM deletion_guard.deletion_part'), 't|t|t',
	'numbers: where the rows are is not known');
system_or_bail('sh', '-c', "pg_restore -l $dir/app.dump | grep -v 'TABLE DATA deletion_guard deletion_part ' > $dir/list");
quiet_ok('data', 'pg_restore', '--section=data', '-L', "$dir/list", '-d', $node->connstr($db), "$dir/app.dump");
quiet_ok('post-data', 'pg_restore', '--section=post-data', '-d', $node->connstr($db), "$dir/app.dump");
check($db, 'numbers');

# --- over what is there ----------------------------------------------------

# --clean drops the tables that it then makes anew, the bin included. That is
# refused, whatever is set: a dump goes into a new database.
my $before = $node->safe_psql('custom', $content);
for my $options ('', '-c deletion_guard.ddl=allow -c deletion_guard.restoring=on')
{
	local $ENV{PGOPTIONS} = $options;
	my $stderr;

	my $ok = run_log([ 'pg_restore', '--clean', '--if-exists', '-1', '-d', $node->connstr('custom'), "$dir/app.dump" ], '2>', \$stderr);
	ok(!$ok, "clean: refused $options");
	like($stderr, qr/guarded against deletion|belongs to deletion_guard/, 'clean: says why');
	is($node->safe_psql('custom', $content), $before, 'clean: nothing has changed');
}

# The application's own schemas can be restored over what is there, by a superuser
# who says so. That is written down, and until the tables have been enrolled anew
# nothing is deleted from them; then they are given the bins of those before.
# Types that bins use cannot be dropped, and are left out.
system_or_bail('sh', '-c', "pg_restore -l $dir/app.dump | grep -v ' TYPE public ' > $dir/no_types");
$db = fresh('again');
quiet_ok('first', 'pg_restore', '-d', $node->connstr($db), "$dir/app.dump");
$node->safe_psql($db, "DELETE FROM tenant WHERE id = 4; INSERT INTO setting VALUES ('c', 'newer than the dump'); TRUNCATE setting");
my @again = ('pg_restore', '--clean', '--if-exists', '-n', 'public', '-L', "$dir/no_types", '-1', '-d', $node->connstr($db), "$dir/app.dump");
ok(!run_log([ @again ]), 'clean, one schema: refused');
my $log_at = -s $node->logfile;
quiet_ok('clean, one schema', 'env', 'PGOPTIONS=-c deletion_guard.ddl=allow -c deletion_guard.restoring=on', @again);
like(substr(slurp_file($node->logfile), $log_at), qr/deletion_guard.ddl allows to drop table "issue", which is guarded against deletion/, 'clean, one schema: in the log');
is($node->safe_psql($db, q(SELECT count(*) FROM deletion_guard.ledger WHERE event = 'drop_table' AND details::jsonb ->> 'table' = 'public.issue' AND (details::jsonb ->> 'rows_lost')::int > 0)),
	1, 'clean, one schema: in the ledger');
is($node->safe_psql($db, $content), $node->safe_psql('app', $content), 'clean, one schema: as in the dump');
my ($ret, $stdout, $stderr) = $node->psql($db, 'DELETE FROM tenant');
like($stderr, qr/has a guard trigger but is not enrolled/, 'clean, one schema: nothing is deleted before it is enrolled');
like($node->safe_psql($db, "SELECT detail FROM deletion_guard.verify() WHERE check_name = 'bins' AND object ~ 'issue'"),
	qr/holds \d+ rows of public\.issue, which was dropped/, 'clean, one schema: verify says so');
$node->safe_psql($db, $enrol);
$node->safe_psql($db, 'SELECT deletion_guard.adopt_bin(bin_table, relation_name::regclass) FROM deletion_guard.bin WHERE relation = 0');
is($node->safe_psql($db, $config), $node->safe_psql('app', $config), 'clean, one schema: enrolled');
is($node->safe_psql($db, $triggers), $node->safe_psql('app', $triggers), 'clean, one schema: with the same triggers');
is($node->safe_psql($db, "SELECT sum(restored), sum(identical) FROM deletion_guard.undelete(7)"), '0|21',
	'clean, one schema: a deletion since the dump is undone by the dump');
is($node->safe_psql($db, "SELECT restored, identical FROM deletion_guard.undelete(8, on_conflict => 'skip')"), '1|1',
	'clean, one schema: rows newer than the dump, which were put into the bin first, come back');
$node->safe_psql($db, "DELETE FROM setting WHERE name = 'c'; SELECT * FROM deletion_guard.undelete($_)") for 6, 5, 4, 3, 2;
is($node->safe_psql($db, $content), $original, 'clean, one schema: everything is back');
is($node->safe_psql($db, 'SELECT ok, problem FROM deletion_guard.verify_ledger()'), 't|', 'clean, one schema: the ledger goes on');

# --data-only, into tables that were restored before. As replica, so that foreign
# keys do not mind the order of tables; --disable-triggers would switch off what
# protects deletion_guard's own tables, and is refused there.
$db = fresh('dataonly');
quiet_ok('schema only', 'pg_restore', '-s', '-d', $node->connstr($db), "$dir/app.dump");
quiet_ok('data only', 'env', 'PGOPTIONS=-c session_replication_role=replica', 'pg_restore', '-a',
	'-d', $node->connstr($db), "$dir/app.dump");
check($db, 'data only');

# --- what is left out ------------------------------------------------------

# Without what is in the bin: the protection is there, undelete says what is not.
pg_dump('--exclude-table-data=deletion_guard_bin.*', '-f', "$dir/nobin.sql");
$db = fresh('nobin');
quiet_ok('without the bin', 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', "$dir/nobin.sql");
($ret, $stdout, $stderr) = $node->psql($db, 'SELECT * FROM deletion_guard.undelete(3)');
like($stderr, qr/the bin of "[.\w]+" holds 0 rows of deletion 3, part \d+, where \d+ are recorded/, 'without the bin: old deletions cannot be undone');
$node->safe_psql($db, 'DELETE FROM tenant WHERE id = 4; SELECT * FROM deletion_guard.undelete(7)');

# --- rows of a table that was dropped --------------------------------------

# Its OID would be another table's in the new database.
$node->safe_psql(fresh('orphan'), <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE TABLE lost (id int PRIMARY KEY, v text);
SELECT deletion_guard.guard_table('lost');
INSERT INTO lost VALUES (1, 'one');
DELETE FROM lost;
SELECT deletion_guard.unguard_table('lost');
DROP TABLE lost;
CREATE TABLE found (v text, id int);
SQL
$node->command_ok([ 'pg_dump', '-f', "$dir/orphan.sql", $node->connstr('orphan') ], 'pg_dump, rows of a dropped table');
$db = fresh('orphan_copy');
quiet_ok('rows of a dropped table', 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', "$dir/orphan.sql");
is($node->safe_psql($db, 'SELECT relation::oid, relation_name FROM deletion_guard.bin'), '0|public.lost',
	'rows of a dropped table belong to no table');
is($node->safe_psql($db, "SELECT deletion_guard.adopt_bin(bin_table, 'found') FROM deletion_guard.bin;
	SELECT restored FROM deletion_guard.undelete(1); TABLE found"), "\n1\none|1", 'until they are given to one');

done_testing();
