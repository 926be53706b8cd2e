# pgbouncer in transaction mode: what a client says for one transaction with SET LOCAL
# is not said for the next client's.
use strict;
use warnings FATAL => 'all';

use Neighbour;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

$ENV{PATH} .= ':/usr/sbin';
plan skip_all => 'pgbouncer is not installed' if !grep { -x "$_/pgbouncer" } split /:/, $ENV{PATH};
my $node = neighbour('deletion_guard');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE doc (id int PRIMARY KEY, org_id int);
SELECT deletion_guard.guard_table('doc', 'org_id');
INSERT INTO doc SELECT i, i % 3 FROM generate_series(1, 30) i;
SQL

my ($dir, $host, $port) = ($node->basedir, $node->host, $node->port);
my $pooled = PostgreSQL::Test::Cluster::get_free_port();
my $user = (getpwuid($>))[0];
append_to_file("$dir/users", qq("$user" ""\n));
append_to_file("$dir/pgbouncer.ini", <<"INI");
[databases]
postgres = host=$host port=$port dbname=postgres
[pgbouncer]
listen_addr =
listen_port = $pooled
unix_socket_dir = $host
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
default_pool_size = 1
logfile = $dir/pgbouncer.log
pidfile = $dir/pgbouncer.pid
INI
my $pool = IPC::Run::start([ 'pgbouncer', "$dir/pgbouncer.ini" ], '>', '/dev/null', '2>&1');
my %at = (connstr => "host=$host port=$pooled dbname=postgres", on_error_stop => 0);
my ($ret, $out, $err);
for (1 .. 100)
{
	($ret, $out) = $node->psql('postgres', 'SELECT 1', %at);
	last if ($out // '') eq '1';
	select undef, undef, undef, 0.1;
}
is($out, '1', 'the pool is there');

$node->psql('postgres', "BEGIN; SET LOCAL deletion_guard.reason = 'ticket 1'; SET LOCAL deletion_guard.expect_tenants = '1'; DELETE FROM doc WHERE id = 1; COMMIT", %at);
$node->psql('postgres', 'DELETE FROM doc WHERE id IN (2, 3)', %at);
($ret, $out, $err) = $node->psql('postgres', "BEGIN; SET LOCAL deletion_guard.expect_tenants = '1'; DELETE FROM doc WHERE id = 5; COMMIT", %at);
like($err, qr/tenant/, 'what one transaction expects');
$node->psql('postgres', 'DELETE FROM doc WHERE id = 6', %at);
is($node->safe_psql('postgres', "SELECT string_agg(coalesce(reason, '-') || ' ' || rows, ', ' ORDER BY id) FROM deletion_guard.deletion"),
	'ticket 1 1, - 2, - 1', 'is not expected of the next, nor its reason given');

# what is set for a session stays with the pool's, and is the next client's
$node->psql('postgres', "SET deletion_guard.reason = 'ticket 2'", %at);
$node->psql('postgres', 'DELETE FROM doc WHERE id = 9', %at);
is($node->safe_psql('postgres', 'SELECT reason FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1'), 'ticket 2', 'without LOCAL it is');

$pool->signal('INT');
$pool->finish;
$node->stop;
done_testing();
