# A purge that is cut short, at whatever moment, leaves everything as it was, the
# token unused; one that has committed stays.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
restart_after_crash = on
logging_collector = off
max_prepared_transactions = 2
deletion_guard.retention = 0
shared_preload_libraries = 'deletion_guard'
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', "CREATE EXTENSION deletion_guard;\n" . slurp_file('test/sql/signing.sql'));
$node->safe_psql('shop', slurp_file('test/sql/shop.sql'));
$node->safe_psql('shop', <<'SQL');
SELECT deletion_guard.add_authority('legal', signing.make_key('legal'));
INSERT INTO issue SELECT 100000 + n, 1 + n % 3, 10 * (1 + n % 3) + 1, md5(n::text) FROM generate_series(1, 90000) n;
DELETE FROM tenant WHERE id IN (1, 2);
SQL
# What a request says of a tenant that is on hold, and of rows that are not due.
my ($ret, $out, $err) = $node->psql('shop', <<'SQL');
BEGIN;
SELECT deletion_guard.hold_tenant('2', 'litigation');
SET LOCAL deletion_guard.retention = '30 days';
DELETE FROM issue WHERE tenant_id = 3;
SELECT deletion_guard.request_purge('2', 'x');
SELECT deletion_guard.request_purge('3', 'x', NULL, clock_timestamp());
ROLLBACK;
SQL
like($err, qr/the tenant is on hold since \d/, 'a request says that the tenant is on hold');
like($err, qr/not all of these rows are due before \d/, 'and when rows are due');

my $token = $node->safe_psql('shop', "SELECT signing.sign(deletion_guard.request_purge('1', 'contract ended'))");
my $state = q(SELECT signing.state(), (SELECT ok FROM deletion_guard.verify_ledger()));
my $before = $node->safe_psql('shop', $state);

# Runs a script in a session of its own, until something happens to it.
sub interrupted
{
	my ($name, $statements, $happens) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/script.sql';
	my $err = '';

	append_to_file($file, "SET application_name = 'victim';\nBEGIN;\n$statements\nSELECT pg_sleep(60);\n");
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('shop'), '-f', $file ],
		'<', '/dev/null', '>', '/dev/null', '2>', \$err, IPC::Run::timeout(120));

	$node->poll_query_until('shop', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'victim' AND query ~ 'purge|pg_sleep'");
	$happens->();
	$psql->finish;
	unlink $file;
	like($err, qr/terminat|server closed|cancel|recovery|shut down|connection/i, "$name: interrupted");
	$node->poll_query_until('shop', 'SELECT NOT pg_is_in_recovery()');
	is($node->safe_psql('shop', $state), $before, "$name: nothing has changed");
	is($node->safe_psql('shop', "SELECT ok FROM deletion_guard.check_token('$token')"), 't', "$name: the token is as good as before");
	return;
}

sub pause { select undef, undef, undef, rand($_[0]); return }
my $pid = "SELECT pid FROM pg_stat_activity WHERE application_name = 'victim'";
my $purge = "SELECT deletion_guard.purge('$token');";

interrupted('kill', $purge, sub { pause(0.3); kill 'KILL', $node->safe_psql('shop', $pid); sleep 1; });
interrupted('stop', $purge, sub { pause(0.3); $node->stop('immediate'); $node->start; });
interrupted('stop after it', "$purge SELECT pg_sleep(60) AS purge;", sub { sleep 2; $node->stop('immediate'); $node->start; });
interrupted('cancel', $purge, sub { pause(0.3); $node->safe_psql('shop', "SELECT pg_cancel_backend(($pid))"); });
interrupted('terminate', $purge, sub { pause(0.3); $node->safe_psql('shop', "SELECT pg_terminate_backend(($pid))"); });
for my $ms (2, 10, 40)
{
	($ret, $out, $err) = $node->psql('shop', "SET statement_timeout = $ms; $purge");

	like($err, qr/statement timeout/, "timeout of $ms ms");
	is($node->safe_psql('shop', $state), $before, "timeout of $ms ms: nothing has changed");
}

# A prepared purge outlives the server, either way.
$node->safe_psql('shop', "BEGIN; $purge PREPARE TRANSACTION 'purge'");
$node->stop('immediate');
$node->start;
($ret, $out, $err) = $node->psql('shop', "SET lock_timeout = '100ms'; $purge");
like($err, qr/lock timeout/, 'while one is prepared, others wait');
$node->safe_psql('shop', "ROLLBACK PREPARED 'purge'");
is($node->safe_psql('shop', $state), $before, 'rolled back');

# One that has committed stays.
my $certificate = $node->safe_psql('shop', $purge);
my $after = $node->safe_psql('shop', $state);
$node->stop('immediate');
$node->start;
is($node->safe_psql('shop', $state), $after, 'committed, and there after a crash');
is($node->safe_psql('shop', "SELECT ok FROM deletion_guard.verify_certificate('$certificate')"), 't', 'its certificate is good');
is($node->safe_psql('shop', "SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue, '1')"), '0', 'its rows are gone');
is($node->safe_psql('shop', "SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue, '2')"), '30010', 'and no others');
($ret, $out, $err) = $node->psql('shop', $purge);
like($err, qr/has been used before/, 'its token is used');

$node->stop;
done_testing();
