# What monitoring/ asks, and deletion_guard_check: every query runs as a role with
# pg_monitor, and has the columns that it promises; each verdict of the check.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nshared_preload_libraries = 'deletion_guard'");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', "CREATE EXTENSION deletion_guard;\n" . slurp_file('test/sql/shop.sql'));
$node->safe_psql('shop', 'CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher');
$node->safe_psql('shop', 'DELETE FROM tenant WHERE id IN (1, 2)');
$node->psql('shop', 'DROP TABLE tenant CASCADE');

sub columns
{
	my ($sql) = @_;
	my ($ret, $out, $err) = $node->psql('shop', $sql, extra_params => [ '-U', 'watcher', '-A', '--csv', '-P', 'tuples_only=off' ]);

	is($err, '', "runs: " . substr($sql, 0, 50) =~ s/\s+/ /gr);
	return [ split /,/, (split /\n/, $out)[0] ];
}

# Indented blocks below a key, as far as these files use YAML.
sub block
{
	my ($text, $key) = @_;

	return map { s/^ +//mgr } $text =~ /^( +)\Q$key\E: \|\n((?:\1 +.*\n)+)/mg ? ($2) : ();
}

# --- postgres_exporter ---------------------------------------------------------

my %metric;
for my $section (split /^(?=\w+:$)/m, slurp_file('monitoring/postgres_exporter.yaml'))
{
	next unless $section =~ /^(\w+):$/m;
	my $name = $1;
	my ($sql) = block($section, 'query');
	my @promised = $section =~ /^    - (\w+):$/mg;

	is_deeply([ sort @{ columns($sql) } ], [ sort @promised ], "$name: a metric for each column");
	$metric{"${name}_$_"} = 1 for @promised;
}
cmp_ok(scalar keys %metric, '>', 20, 'metrics');

# --- the rules and the dashboard know these metrics --------------------------------

for my $file ('prometheus_rules.yml', 'grafana_dashboard.json')
{
	my $text = slurp_file("monitoring/$file");
	my @unknown = grep { !$metric{$_} } $text =~ /\b(deletion_guard_(?!check)\w+_\w+)\b/g;

	is("@unknown", '', "$file: knows its metrics");
}
my $dashboard = decode_json(slurp_file('monitoring/grafana_dashboard.json'));
cmp_ok(scalar @{ $dashboard->{panels} }, '>', 10, 'the dashboard is JSON');
SKIP:
{
	skip 'promtool is not installed', 1 unless grep { -x "$_/promtool" } split /:/, $ENV{PATH};
	$node->command_ok([ 'promtool', 'check', 'rules', 'monitoring/prometheus_rules.yml' ], 'promtool takes the rules');
}

# --- pgwatch ------------------------------------------------------------------------

my @queries = slurp_file('monitoring/pgwatch.yaml') =~ /^ +15: \|\n((?: {8}.*\n)+)/mg;
is(scalar @queries, 3, 'queries for pgwatch');
is(columns($_)->[0], 'epoch_ns', 'pgwatch wants the time') for @queries;

# --- deletion_guard_check -------------------------------------------------------------

sub check
{
	my ($status, $pattern, $name, @options) = @_;
	my @command = ('sh', 'monitoring/deletion_guard_check', @options);
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGUSER} = 'watcher';
	my $out = `@command 2>&1`;

	is($? >> 8, $status, "$name: status");
	like($out, $pattern, "$name: says so");
	is(($out =~ tr/\n//), 1, "$name: one line");
	return;
}

$node->safe_psql('shop', q(SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name')));
check(1, qr/^DELETION_GUARD WARNING - .*2 tenants deleted in the last hour.* \| .*wiped=2;1;10;0 bin=\d+B;;;0 .*rows=\d+ /,
	'tenants were deleted', 'shop');
check(2, qr/CRITICAL - 2 tenants/, 'more than too many', '--quick', '--wiped', '1,2', 'shop');
check(0, qr/^DELETION_GUARD OK - \d+ tables guarded \|/, 'well', '--quick', '--wiped', '3,4', "'dbname=shop'");
check(1, qr/WARNING - the bin has \d+ bytes/, 'a large bin', '--quick', '--wiped', '3,4', '--bin', '1,1000000000', 'shop');
check(3, qr/UNKNOWN - --bin takes two numbers/, 'wrong numbers', '--bin', '1', 'shop');
check(3, qr/UNKNOWN - there is no option --what/, 'no such option', '--what');
check(3, qr/UNKNOWN - .*does not exist/, 'no such database', 'nowhere');
check(3, qr/UNKNOWN - .*deletion_guard.status/, 'no extension', 'postgres');
$node->safe_psql('postgres', 'CREATE EXTENSION deletion_guard');
check(2, qr/CRITICAL - no table is guarded/, 'nothing is guarded', '--quick', 'postgres');
like(`sh monitoring/deletion_guard_check --help`, qr/^Usage: /m, 'help');

# --- counters do not need the library to be preloaded, and begin anew with the server ---

is($node->safe_psql('shop', 'SELECT deletions, tenants_deleted, refused_ddl FROM deletion_guard.stat_deletion_guard'), '1|2|1',
	'counted');
is($node->safe_psql('postgres', 'SELECT deletions FROM deletion_guard.stat_deletion_guard'), '0', 'for each database');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
is($node->safe_psql('shop', 'SELECT deletions FROM deletion_guard.stat_deletion_guard'), '0', 'from the start of the server');
$node->safe_psql('shop', 'DELETE FROM issue WHERE tenant_id = 3');
$node->psql('shop', 'DROP TABLE tenant CASCADE');
is($node->safe_psql('shop', 'SELECT deletions, tenants_deleted, refused_ddl FROM deletion_guard.stat_deletion_guard'), '1|0|1',
	'counted by sessions that load the library when they need it');
$node->stop('immediate');
$node->start;
is($node->safe_psql('shop', 'SELECT deletions FROM deletion_guard.stat_deletion_guard'), '0', 'anew after a crash');
done_testing();
