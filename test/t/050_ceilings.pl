# What is heard of deletions and refusals, with and without background workers;
# ceilings in a session that has not loaded the library yet, and in the apply of
# logical replication.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', "fsync = off\nmax_prepared_transactions = 5");
$node->start;

my $tables = q(
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT deletion_guard.guard_table('tenant', 'id');
SELECT deletion_guard.guard_table('issue', 'tenant_id'););
my $rows = q(
INSERT INTO tenant SELECT i, 'Secret ' || i FROM generate_series(1, 20) i;
INSERT INTO issue SELECT i, 1 + i % 20 FROM generate_series(1, 60) i;);
$node->safe_psql('postgres', $tables . $rows);
$node->safe_psql('postgres', q(
CREATE ROLE app LOGIN;
GRANT SELECT, DELETE ON tenant, issue TO app;
GRANT EXECUTE ON FUNCTION pg_sleep(double precision) TO app;
-- Waits until the ledger has as many refusals.
CREATE FUNCTION await_refusals(n int) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	FOR i IN 1 .. 600 LOOP
		EXIT WHEN (SELECT count(*) >= n FROM deletion_guard.ledger WHERE event = 'deletion_refused');
		PERFORM pg_sleep(0.1);
	END LOOP;
END
$$;));

# Runs statements one by one in a session that listens; returns the payloads it
# heard and what was said otherwise.
sub listen_to
{
	my ($sql, %options) = @_;
	my ($out, $err);

	$node->psql('postgres', "LISTEN deletion_guard;\n$sql\nSELECT 'end';",
		stdout => \$out, stderr => \$err, on_error_stop => 0, %options);
	my @heard = $out =~ /Asynchronous notification "deletion_guard" with payload "(\{.*?\})" received/g;
	return (\@heard, $err);
}

# --- deletions of tenants --------------------------------------------------

my ($heard, $err) = listen_to(q(
DELETE FROM issue WHERE id = 60;
DELETE FROM tenant WHERE id IN (1, 2);));
is(scalar @$heard, 1, 'one deletion of tenants is announced once, others are not');
like($heard->[0], qr/"event": "tenants_deleted", "deletion": \d+, "ceiling": null, "limit": 0, "tenants": 2, "rows": 7, "role": "postgres"/,
	'with all of its rows');
unlike($heard->[0], qr/Secret/, 'without names');

($heard) = listen_to(q(
BEGIN;
SAVEPOINT a;
DELETE FROM tenant WHERE id = 3;
ROLLBACK TO a;
SAVEPOINT b;
DELETE FROM tenant WHERE id = 4;
RELEASE b;
DELETE FROM tenant WHERE id = 5;
DELETE FROM tenant WHERE id = 9999;
COMMIT;
BEGIN;
DELETE FROM tenant WHERE id = 6;
ROLLBACK;
SELECT * FROM deletion_guard.preview('DELETE FROM tenant');));
is(scalar @$heard, 2, 'what is rolled back is not announced');
is(scalar(grep { /"tenants": 1, "rows": 4/ } @$heard), 2, 'one announcement for each deletion');

($heard) = listen_to(q(
SET deletion_guard.max_rows = 1;
SET deletion_guard.limit_action = warning;
DELETE FROM issue WHERE id IN (8, 28);));
is(scalar @$heard, 1, 'passing a ceiling is announced');
like($heard->[0], qr/"event": "ceiling_exceeded", "deletion": \d+, "ceiling": "max_rows", "limit": 1, "tenants": 1, "rows": 2/,
	'with the ceiling');

# A transaction that has sent a notification cannot be prepared.
($heard, $err) = listen_to(q(
BEGIN;
DELETE FROM tenant WHERE id = 7;
PREPARE TRANSACTION 'seven';
SELECT pg_sleep(0.1) FROM generate_series(1, 20);
SELECT 1;
COMMIT PREPARED 'seven';));
is($err, '', 'a deletion of tenants can be prepared');
is(scalar @$heard, 1, 'and is announced');
like($heard->[0], qr/"tenants": 1, "rows": 4, "role": "postgres", "prepared": true/, 'as prepared');

# --- refusals --------------------------------------------------------------

($heard, $err) = listen_to(q(
SET deletion_guard.max_tenants = 2;
SET SESSION AUTHORIZATION app;
DELETE FROM tenant WHERE id > 10;
RESET SESSION AUTHORIZATION;
SELECT await_refusals(1);));
like($err, qr/deletion refused: rows of 10 tenants, deletion_guard.max_tenants is 2/, 'refused');
is(scalar @$heard, 1, 'a refusal is announced although it is rolled back');
like($heard->[0], qr/"event": "refused", "deletion": null, "ceiling": "max_tenants", "limit": 2, "tenants": 10, "rows": 10, "role": "app"/,
	'with numbers, and by whom');
is($node->safe_psql('postgres', q(SELECT role, details FROM deletion_guard.ledger WHERE event = 'deletion_refused')),
	'app|{"table": "public.tenant", "ceiling": "max_tenants", "limit": 2, "tenants": 10, "rows": 10, "count": 1}',
	'and is in the ledger');
is($node->safe_psql('postgres', 'SELECT ok FROM deletion_guard.verify_ledger()'), 't', 'the ledger is whole');
like(slurp_file($node->logfile), qr/deletion_guard refused a deletion: max_tenants/, 'and in the log');
is(scalar(grep { /Secret/ && !/statement: / } split(/\n/, slurp_file($node->logfile))), 0, 'where there are no names');

# Refused over and over: not a process for each.
my $before = $node->safe_psql('postgres', q(SELECT count(*) FROM deletion_guard.ledger WHERE event = 'deletion_refused'));
($heard, $err) = listen_to(q(
SET deletion_guard.max_rows = 1;
) . "DELETE FROM issue;\n" x 50 . 'SELECT pg_sleep(0.1) FROM generate_series(1, 20);');
is(scalar(() = $err =~ /deletion refused/g), 50, 'every one is refused');
cmp_ok(scalar @$heard, '>=', 1, 'some are announced');
cmp_ok(scalar @$heard, '<=', 12, 'but not all of them');
is(scalar(() = slurp_file($node->logfile) =~ /deletion_guard refused a deletion: max_rows/g), 50, 'the log has them all');

# Nor an entry in the ledger for each, whoever comes in new sessions: they are counted.
my $counted = q(SELECT coalesce(sum(count), 0) FROM deletion_guard.refusal WHERE act = 'delete from public.issue' AND reason = 'max_rows');
$node->poll_query_until('postgres', "SELECT ($counted) > 0") or die 'not counted';
my $sum = $node->safe_psql('postgres', $counted);
$node->psql('postgres', q(SET deletion_guard.max_rows = 1; DELETE FROM issue;)) for 1 .. 5;
ok($node->poll_query_until('postgres', "SELECT ($counted) = $sum + 5"), 'sessions that come again and again: each refusal is counted');
is($node->safe_psql('postgres', q(SELECT count(*) FROM deletion_guard.ledger WHERE event = 'deletion_refused')), $before + 1,
	'and one entry in the ledger is for all of them');

# --- sessions that have not loaded the library ------------------------------

$node->safe_psql('postgres', q(
ALTER DATABASE postgres SET deletion_guard.max_rows = 5;
ALTER ROLE app SET deletion_guard.max_tenants = 1;));
my ($ret, $out);
for my $preload ('', 'deletion_guard')
{
	$node->append_conf('postgresql.conf', "session_preload_libraries = '$preload'");
	$node->reload;
	my $how = $preload eq '' ? 'not preloaded' : 'preloaded';

	$node->psql('postgres', q(
SET deletion_guard.max_rows = 0;
SET deletion_guard.limit_action = warning;
DELETE FROM issue WHERE tenant_id = 8 OR tenant_id > 15;),
		extra_params => [ '-U', 'app' ], stderr => \$err, on_error_stop => 0);
	like($err, qr/permission denied to set parameter "deletion_guard.max_rows"/, "$how: a ceiling cannot be lifted in advance");
	like($err, qr/permission denied to set parameter "deletion_guard.limit_action"/, "$how: nor be made to warn only");
	like($err, qr/ERROR:  deletion refused/, "$how: it holds");
	is($node->safe_psql('postgres', q(SELECT ok FROM deletion_guard.verify() WHERE check_name = 'preload')),
		$preload eq '' ? 'f' : 't', "$how: verify() sees it");
}
$node->safe_psql('postgres', q(
ALTER DATABASE postgres RESET deletion_guard.max_rows;
ALTER ROLE app RESET deletion_guard.max_tenants;));

# --- no background workers -------------------------------------------------

$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
($heard, $err) = listen_to(q(
SET deletion_guard.max_rows = 1;
DELETE FROM issue;));
like($err, qr/deletion refused/, 'refused without a worker');
is(scalar @$heard, 0, 'which nobody hears');
like(slurp_file($node->logfile), qr/deletion_guard could not start a process to record what happened/, 'but the log says so');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;

# --- logical replication ---------------------------------------------------

my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->append_conf('postgresql.conf', "fsync = off\ndeletion_guard.max_rows = 2\ndeletion_guard.tenant_wipes_per_hour = 1");
$subscriber->start;
$subscriber->safe_psql('postgres', $tables);
$node->safe_psql('postgres', 'CREATE PUBLICATION some_tables FOR TABLE tenant, issue');
my $connstr = $node->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION copy CONNECTION '$connstr' PUBLICATION some_tables");
$subscriber->wait_for_subscription_sync if $subscriber->can('wait_for_subscription_sync');
$subscriber->poll_query_until('postgres', q(SELECT bool_and(srsubstate IN ('r', 's')) FROM pg_subscription_rel));
my $copied = $subscriber->safe_psql('postgres', 'SELECT count(*) FROM issue');
$node->safe_psql('postgres', 'DELETE FROM tenant WHERE id BETWEEN 16 AND 18');
$node->safe_psql('postgres', 'DELETE FROM issue WHERE tenant_id = 15');
$node->wait_for_catchup('copy');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM tenant WHERE id BETWEEN 16 AND 18'), '0', 'replication goes on');
like(slurp_file($subscriber->logfile), qr/WARNING:  deletion is larger than it should be: 3 rows, deletion_guard.max_rows is 2/,
	'with a warning');
is($subscriber->safe_psql('postgres', q(SELECT sum(rows) FROM deletion_guard.deletion_detail)),
	$copied - $subscriber->safe_psql('postgres', 'SELECT count(*) FROM issue') + 3, 'and keeps the rows');

$subscriber->stop;
$node->stop;
done_testing();
