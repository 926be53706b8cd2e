# Parts of a dump, and dumps that are restored as somebody else or into another
# kind of database: what is there afterwards is either protected as it was, or
# the restore says loudly what is missing.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

$ENV{PGCLIENTENCODING} = 'UTF8';
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir();

$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE plain LOGIN');
$node->safe_psql('postgres', q(CREATE DATABASE shop ENCODING 'UTF8' TEMPLATE template0));
$node->safe_psql('shop', <<'SQL');
CREATE EXTENSION deletion_guard;
GRANT CREATE ON SCHEMA public TO app;
SET ROLE app;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE, body text);
CREATE TABLE event (at int, tenant_id int) PARTITION BY RANGE (at);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (100);
RESET ROLE;
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT FROM deletion_guard.guard_schema('public', 'tenant_id');
INSERT INTO tenant SELECT i, 'Käse ' || i FROM generate_series(1, 5) i;
INSERT INTO issue SELECT i, 1 + i % 5, 'größer als ' || i FROM generate_series(1, 50) i;
INSERT INTO event SELECT i, 1 + i % 5 FROM generate_series(1, 50) i;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain;
SQL
my $live = q(SELECT 'tenant', t::text FROM tenant t UNION ALL SELECT 'issue', t::text FROM issue t
	UNION ALL SELECT tableoid::regclass::text, t::text FROM event t ORDER BY 1, 2);
my $whole = $node->safe_psql('shop', $live);
$node->safe_psql('shop', 'DELETE FROM tenant WHERE id = 1; DELETE FROM event WHERE tenant_id = 2');
my $left = $node->safe_psql('shop', $live);

sub fresh
{
	my ($name, $options) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $name " . ($options // ''));
	return $name;
}

# The output of a program that may fail, and whether it has.
sub try
{
	my @command = @_;
	my ($out, $err) = ('', '');
	my $ok = run_log(\@command, '>', \$out, '2>', \$err);

	return ($ok, $err);
}

# A database that has come out as the original one is guarded and undeletes.
sub check
{
	my ($on, $db, $how) = @_;

	is($on->safe_psql($db, $live), $left, "$how: the rows");
	my ($ret, $out, $err) = $on->psql($db, 'DROP TABLE issue');
	like($err, qr/guarded against deletion/, "$how: guarded");
	is($on->safe_psql($db, q(SELECT sum(restored) FROM deletion_guard.undelete_tenants('{1,2}'))), 21, "$how: undelete");
	is($on->safe_psql($db, $live), $whole, "$how: all of it is back");
	is($on->safe_psql($db, 'SELECT ok FROM deletion_guard.verify_ledger()'), 't', "$how: the ledger");
	is($on->safe_psql($db, q(SELECT string_agg(check_name, ', ') FROM deletion_guard.verify() WHERE NOT ok AND check_name <> 'preload')),
		'', "$how: nothing is missing");
	return;
}

# --- parts -----------------------------------------------------------------

# A dump without the extension has triggers that call it. Where it is not
# installed they cannot be made, and whoever restores is told each time.
for my $part (['-n', 'public'], ['-t', 'issue', '-t', 'tenant'], ['-n', 'public', '-s'])
{
	my $db = fresh('bare' . join('', map { /(\w)/ } @$part));

	$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/$db", @$part, $node->connstr('shop') ], "pg_dump @$part");
	my ($ok, $err) = try('pg_restore', '-d', $node->connstr($db), "$dir/$db");
	ok(!$ok, "@$part, without the extension: fails");
	like($err, qr/CREATE TRIGGER deletion_guard_capture.*schema "deletion_guard_internal" does not exist|schema "deletion_guard_internal" does not exist.*CREATE TRIGGER deletion_guard_capture/s,
		"@$part, without the extension: says what cannot be made");
	is($node->safe_psql($db, q(SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'deletion_guard%')), 0,
		"@$part, without the extension: no guard at all");

	# Where it is installed, the triggers are there before the tables are
	# enrolled, and let nothing pass until they are.
	$db = fresh("with$db");
	$node->safe_psql($db, 'CREATE EXTENSION deletion_guard');
	($ok, $err) = try('pg_restore', '-d', $node->connstr($db), "$dir/" . substr($db, length('with')));
	for my $statement ('DELETE FROM issue', 'TRUNCATE issue', 'DELETE FROM tenant', 'SET session_replication_role = replica; DELETE FROM issue')
	{
		next if grep { $_ eq '-s' } @$part;
		my ($ret, $stdout, $stderr) = $node->psql($db, $statement);
		like($stderr, qr/has a guard trigger but is not enrolled/, "@$part, with the extension: refused: $statement");
	}
	$node->safe_psql($db, q(SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name'); SELECT FROM deletion_guard.guard_schema('public', 'tenant_id')));
	$node->safe_psql($db, q(INSERT INTO tenant VALUES (99, 'new'); INSERT INTO issue VALUES (99, 99); DELETE FROM tenant WHERE id = 99));
	is($node->safe_psql($db, q(SELECT sum(restored) FROM deletion_guard.undelete_tenant('99'))), 2, "@$part, with the extension: enrolled, it is guarded");
}

# --- other hands -----------------------------------------------------------

$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/shop", $node->connstr('shop') ], 'pg_dump');

# Not as a role that may not install the extension.
my $db = fresh('plainly', 'OWNER plain');
my ($ok, $err) = try('pg_restore', '-U', 'plain', '--no-owner', '-d', $node->connstr($db), "$dir/shop");
ok(!$ok, 'not a superuser: fails');
like($err, qr/permission denied to create extension "deletion_guard"/, 'not a superuser: says why');

# With everything belonging to whoever restores.
$db = fresh('owned');
($ok, $err) = try('pg_restore', '--no-owner', '--no-privileges', '-d', $node->connstr($db), "$dir/shop");
ok($ok, 'another owner: restored') or diag($err);
check($node, $db, 'another owner');

# Another encoding and locale.
$db = fresh('latin', q(ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0));
($ok, $err) = try('pg_restore', '-d', $node->connstr($db), "$dir/shop");
ok($ok, 'another encoding: restored') or diag($err);
check($node, $db, 'another encoding');

# A whole cluster.
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$other->start;
$node->safe_psql('postgres', "ALTER DATABASE shop SET deletion_guard.max_rows = 1000; ALTER DATABASE shop SET session_preload_libraries = 'deletion_guard'");
$node->safe_psql('postgres', "DROP DATABASE $_") for grep { !/^(postgres|shop|template.)$/ } split /\n/, $node->safe_psql('postgres', 'SELECT datname FROM pg_database');
$node->command_ok([ 'pg_dumpall', '-f', "$dir/all", '-d', $node->connstr('postgres') ], 'pg_dumpall');
($ok, $err) = try('psql', '-Xq', '-d', $other->connstr('postgres'), '-f', "$dir/all");
is(join("\n", grep { /ERROR/ && !/role "\w+" already exists/ } split /\n/, $err), '', 'a cluster: restored');
is($other->safe_psql('shop', 'SHOW deletion_guard.max_rows'), '1000', 'a cluster: with its settings');
check($other, 'shop', 'a cluster');

done_testing();
