# A crash, a timeout or a full disk in the middle of a deletion or an undelete
# leaves all of it or nothing, and what is left can be undeleted.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
fsync = off
autovacuum = off
checkpoint_timeout = 1h
wal_level = replica
restart_after_crash = on
logging_collector = off
CONF
$node->start;

my $rows = 60_000;
$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE, body text);
CREATE TABLE comment (id int PRIMARY KEY, tenant_id int, issue_id int REFERENCES issue ON DELETE SET NULL);
CREATE INDEX ON issue (tenant_id);
CREATE INDEX ON comment (issue_id);
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT count(*) FROM deletion_guard.guard_schema('public', 'tenant_id', false);
INSERT INTO tenant SELECT i, 'tenant ' || i FROM generate_series(1, 20) i;
INSERT INTO issue SELECT i, 1 + i % 20, repeat(md5(i::text), 3) FROM generate_series(1, $rows) i;
INSERT INTO comment SELECT i, 1 + i % 20, i FROM generate_series(1, 2000) i;
DELETE FROM issue WHERE id = 7;
CHECKPOINT;
SQL

# What is live, what the bin says it has, and what it has.
my $state = <<'SQL';
SELECT (SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM tenant t),
	(SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM issue t),
	(SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM comment t),
	(SELECT coalesce(sum(rows - restored - purged), 0) FROM deletion_guard.deletion_part),
	(SELECT count(*) FROM deletion_guard.deleted_rows(NULL::tenant)) +
	(SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue)) +
	(SELECT count(*) FROM deletion_guard.deleted_rows(NULL::comment)),
	(SELECT count(*) FROM deletion_guard.deletion_link WHERE NOT restored)
SQL
my $original = $node->safe_psql('postgres', $state);

# The last deletion goes back, and everything is as it was.
sub all_back
{
	my $name = shift;

	$node->safe_psql('postgres', 'SELECT * FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion))');
	return is($node->safe_psql('postgres', $state), $original, "$name: undelete restores everything");
}

# Runs a script in a session of its own, waits until it has come to the query
# that is given, and calls what then happens.
sub interrupted
{
	my ($name, $statements, $query, $happens) = @_;
	my $before = $node->safe_psql('postgres', $state);
	my $file = PostgreSQL::Test::Utils::tempdir() . '/script.sql';
	my $err = '';

	append_to_file($file, "SET application_name = 'victim';\n$statements\nSELECT pg_sleep(60);\n");
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ],
		'<', '/dev/null', '>', '/dev/null', '2>', \$err, IPC::Run::timeout(120));

	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'victim' AND query LIKE '$query'");
	$happens->();
	$psql->finish;
	like($err, qr/terminat|server closed|cancel|recovery|shut down|connection/i, "$name: interrupted");
	$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	is($node->safe_psql('postgres', $state), $before, "$name: nothing has changed");
	return;
}

my $pid = "SELECT pid FROM pg_stat_activity WHERE application_name = 'victim'";

sub kill_backend { kill 'KILL', $node->safe_psql('postgres', $pid); sleep 1; return }
sub stop_server { $node->stop('immediate'); $node->start; return }

# Between two statements there is nothing to cancel.
sub cancel
{
	return $node->poll_query_until('postgres',
		"SELECT count(pg_cancel_backend(pid)) = 0 FROM pg_stat_activity WHERE application_name = 'victim'");
}

sub terminate { $node->safe_psql('postgres', "SELECT pg_terminate_backend(($pid))"); return }

my $delete = 'DELETE FROM tenant WHERE id < 11;';
my $undelete = 'SELECT count(*) FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));';

# --- between the statement and the commit ----------------------------------

interrupted('kill after a delete', "BEGIN;\n$delete", '%pg_sleep%', \&kill_backend);
interrupted('stop after a delete', "BEGIN;\n$delete", '%pg_sleep%', \&stop_server);
interrupted('stop after a truncate', "BEGIN;\nTRUNCATE tenant, issue, comment;", '%pg_sleep%', \&stop_server);
$node->safe_psql('postgres', $delete);
interrupted('kill after an undelete', "BEGIN;\n$undelete", '%pg_sleep%', \&kill_backend);
interrupted('stop after an undelete', "BEGIN;\n$undelete", '%pg_sleep%', \&stop_server);
all_back('after crashes');

# --- at any moment ---------------------------------------------------------

# Waits of random length, so that each run cuts somewhere else.
for my $way ([ 'kill', \&kill_backend ], [ 'cancel', \&cancel ], [ 'terminate', \&terminate ])
{
	my ($name, $happens) = @$way;

	interrupted("$name in a delete", "BEGIN;\n$delete", '%',
		sub { select undef, undef, undef, 0.05 + rand(0.4); $happens->() });
	$node->safe_psql('postgres', $delete);
	interrupted("$name in an undelete", "BEGIN;\n$undelete", '%',
		sub { select undef, undef, undef, 0.05 + rand(0.4); $happens->() });
	all_back($name);
}

# A committed deletion outlives the server.
$node->safe_psql('postgres', $delete);
my $deleted = $node->safe_psql('postgres', $state);
stop_server();
is($node->safe_psql('postgres', $state), $deleted, 'a committed deletion is there after a crash');
all_back('stop');

# --- limits ----------------------------------------------------------------

sub refused
{
	my ($name, $settings, $statement, $like) = @_;
	my $before = $node->safe_psql('postgres', $state);
	my ($ret, $stdout, $stderr) = $node->psql('postgres', "$settings; $statement");

	like($stderr, $like, "$name: refused");
	is($node->safe_psql('postgres', $state), $before, "$name: nothing has changed");
	return;
}

for my $ms (5, 20, 50)
{
	refused("statement_timeout $ms", "SET statement_timeout = $ms", $delete, qr/statement timeout/);
}
refused('temp_file_limit', "SET work_mem = '64kB'; SET temp_file_limit = '100kB'", 'DELETE FROM issue', qr/temp_file_limit/);
$node->safe_psql('postgres', "SET work_mem = '64kB'; SET maintenance_work_mem = '1MB'; DELETE FROM tenant");
$node->safe_psql('postgres', "SET work_mem = '64kB'; $undelete");
is($node->safe_psql('postgres', $state), $original, 'little memory: all there and back');
$node->safe_psql('postgres', $delete);
refused('statement_timeout of an undelete', 'SET statement_timeout = 40', $undelete, qr/statement timeout/);
all_back('timeouts');

# Two-phase commit.
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 3');
$node->restart;
$node->safe_psql('postgres', "BEGIN; $delete PREPARE TRANSACTION 'd'");
stop_server();
$node->safe_psql('postgres', "ROLLBACK PREPARED 'd'");
is($node->safe_psql('postgres', $state), $original, 'a prepared deletion, rolled back');
$node->safe_psql('postgres', "BEGIN; $delete PREPARE TRANSACTION 'd'");
stop_server();
$node->safe_psql('postgres', "COMMIT PREPARED 'd'");
is($node->safe_psql('postgres', $state), $deleted, 'a prepared deletion, committed');
all_back('prepared');

done_testing();
