# A running copy that dies, falls silent, is locked, or must let go of the snapshot, and
# this side that dies: nothing has changed, the other side is rid of us, and the same
# call works the next time.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $live = PostgreSQL::Test::Cluster->new('live');
$live->init(allows_streaming => 1);
$live->append_conf('postgresql.conf', "fsync = off\nrestart_after_crash = on\nlogging_collector = off");
$live->start;
$live->safe_psql('postgres', 'CREATE DATABASE tracker');
$live->safe_psql('tracker', 'CREATE EXTENSION deletion_guard; CREATE EXTENSION postgres_fdw');
$live->safe_psql('tracker', slurp_file('test/sql/tracker.sql'));
$live->backup('clone');

my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($live, 'clone');
$copy->append_conf('postgresql.conf', 'autovacuum = off');
$copy->start;
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($live, 'clone', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = 500ms\nhot_standby_feedback = off");
$standby->start;
$live->safe_psql('tracker', sprintf("CREATE SERVER %s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'tracker'); CREATE USER MAPPING FOR CURRENT_USER SERVER %s", $_->name, $_->host, $_->port, $_->name))
  foreach ($copy, $standby);
$live->safe_psql('tracker', 'CREATE TABLE before AS SELECT * FROM everything');
$live->wait_for_catchup($standby);

my ($out, $err) = ('', '');

# Begins to restore site 2, which waits for a lock on one of the tables there.
sub begin_call
{
	my ($node, $lock) = @_;

	($out, $err) = ('', '');
	my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('tracker'), '-c', "BEGIN; $lock; SELECT pg_sleep(600)" ], '>', \my $unseen, '2>', \my $unheard);
	$node->poll_query_until('tracker', "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'comment'::regclass AND mode = 'AccessExclusiveLock' AND granted") or die;
	my $call = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $live->connstr('tracker'), '-c', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:" . $node->name . "')" ], '>', \$out, '2>', \$err);
	$node->poll_query_until('tracker', "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'deletion_guard' AND wait_event_type = 'Lock'") or die;
	return ($call, $holder, $node->safe_psql('tracker', "SELECT pid FROM pg_stat_activity WHERE application_name = 'deletion_guard'"));
}

sub end_holder
{
	my ($node, $holder) = @_;

	$node->psql('tracker', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()");
	$holder->finish;
}

sub unchanged
{
	is($live->safe_psql('tracker', 'SELECT count(*) FROM everything WHERE site = 2'), '0', "$_[0]: nothing has changed");
}

my $lock = 'LOCK TABLE comment IN ACCESS EXCLUSIVE MODE';
$live->safe_psql('tracker', 'SELECT lose(2)');

# --- the other side dies -----------------------------------------------------------

my ($call, $holder, $pid) = begin_call($copy, $lock);
$copy->safe_psql('tracker', "SELECT pg_terminate_backend($pid)");
$call->finish;
like($err, qr/ERROR:  57P01: cannot read server "copy".*terminating connection due to administrator command.*HINT:  Nothing was changed\. Look into that server's log/s, 'terminated there');
unchanged('terminated there');
end_holder($copy, $holder);

($call, $holder, $pid) = begin_call($copy, $lock);
$copy->safe_psql('tracker', "SELECT pg_cancel_backend($pid)");
$call->finish;
like($err, qr/ERROR:  57014: cannot read server "copy".*canceling statement due to user request/s, 'cancelled there');
unchanged('cancelled there');
end_holder($copy, $holder);

($call, $holder, $pid) = begin_call($copy, $lock);
kill 'KILL', $pid;
$call->finish;
like($err, qr/ERROR:  (08006|57P02): cannot read server "copy".*HINT:  Nothing was changed/s, 'killed there');
unchanged('killed there');
eval { $holder->finish };
$copy->poll_query_until('postgres', 'SELECT true') or die;

# --- or is silent --------------------------------------------------------------------

($call, $holder, $pid) = begin_call($copy, $lock);
kill 'STOP', $pid;
my $began = time;
$live->safe_psql('tracker', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%rehydrate(%' AND pid <> pg_backend_pid()");
$call->finish;
cmp_ok(time - $began, '<', 20, 'cancelled while the other side says nothing');
like($err, qr/57014: canceling statement due to user request/, 'as any statement');
unchanged('silent');
kill 'CONT', $pid;
ok($copy->poll_query_until('tracker', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), 'the other side finds out by itself, though it waits for a lock');
end_holder($copy, $holder);

# A transaction that failed and was not ended yet holds nothing there.
my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $live->connstr('tracker') ], '<', \my $in, '>', \my $said, '2>', \my $complained);
$in = "BEGIN; SELECT deletion_guard.rehydrate('99', 'server:copy');\n\\echo failed\n";
$session->pump until $said =~ /failed/;
is($copy->safe_psql('tracker', "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'deletion_guard'"), 0, 'a failed call is not connected any more');
$in .= "ROLLBACK;\n\\q\n";
$session->finish;

# --- this side dies ------------------------------------------------------------------

($call, $holder, $pid) = begin_call($copy, $lock);
my $backend = $live->safe_psql('tracker', "SELECT pid FROM pg_stat_activity WHERE query LIKE '%rehydrate(%' AND pid <> pg_backend_pid()");
kill 'KILL', $backend;
eval { $call->finish };
$live->poll_query_until('postgres', 'SELECT true') or die;
unchanged('this side was killed');
ok($copy->poll_query_until('tracker', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), 'the other side finds out');
end_holder($copy, $holder);

# --- the table is not the one that was listed ------------------------------------------

my $gate = IPC::Run::start([ 'psql', '-XAtq', '-d', $copy->connstr('tracker') ], '<', \my $gate_in, '>', \my $gate_out, '2>', \my $gate_err);
$gate_in = "BEGIN; $lock;\n\\echo locked\n";
$gate->pump until $gate_out =~ /locked/;
$call = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $live->connstr('tracker'), '-c', "SELECT deletion_guard.rehydrate('2', 'server:copy')" ], '>', \$out, '2>', \$err);
$copy->poll_query_until('tracker', "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'deletion_guard' AND wait_event_type = 'Lock'") or die;
$gate_in .= "ALTER TABLE comment RENAME TO old_comment; CREATE TABLE comment (LIKE old_comment INCLUDING ALL); COMMIT;\n\\q\n";
$gate->finish;
$call->finish;
like($err, qr/ERROR:  55000: table "public"\."comment" of server "copy" was replaced while it was read.*HINT:  Nothing was changed\. Call again/s, 'a table was replaced');
unchanged('a table was replaced');
$copy->safe_psql('tracker', 'DROP TABLE comment; ALTER TABLE old_comment RENAME TO comment');

# --- a standby -------------------------------------------------------------------------

# It has lost the site as well: rows come from it as they were once its replay stands still.
is($live->safe_psql('tracker', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:copy')"), 47, 'the copy still works');
is($live->safe_psql('tracker', '(TABLE everything EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE everything)'), '', 'as it was');
$live->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$live->safe_psql('tracker', 'SELECT lose(2)');
is($live->safe_psql('tracker', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:standby')"), 47, 'a standby of this very server, which is paused');
is($live->safe_psql('tracker', '(TABLE everything EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE everything)'), '', 'as it was');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$live->wait_for_catchup($standby);

# Row versions that its replay must remove while they may still be read: the query is cancelled.
$live->safe_psql('tracker', q{CREATE TABLE slow (id integer, filler text); SELECT deletion_guard.guard_table('slow', 'id'); INSERT INTO slow SELECT 2, repeat('x', 1000) FROM generate_series(1, 20000);
	CREATE FUNCTION stand() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END'; CREATE TABLE gone AS SELECT generate_series(1, 1000) AS id});
$live->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$live->safe_psql('tracker', 'SELECT lose(2); TRUNCATE slow; CREATE TRIGGER stand BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION stand(); DELETE FROM gone');
$call = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $live->connstr('tracker'), '-c', "SELECT deletion_guard.rehydrate('2', 'server:standby', ARRAY['slow'::regclass], fire_triggers => true)" ], '>', \$out, '2>', \$err);
$standby->poll_query_until('tracker', "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'deletion_guard' AND query LIKE '%slow%' AND wait_event = 'ClientWrite'") or die;
is($live->safe_psql('tracker', 'SELECT relation, phase, bytes_total IS NULL FROM deletion_guard.rehydration_progress'), 'slow|restoring|t', 'others see how far it is');
$live->safe_psql('tracker', 'VACUUM gone');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$call->finish;
like($err, qr/ERROR:  40001: cannot read server "standby".*conflict with recovery.*HINT:  Nothing was changed\. If it is a standby, pause its replay with pg_wal_replay_pause\(\)/s, 'a conflict with recovery');
is($live->safe_psql('tracker', 'SELECT count(*) FROM slow'), 0, 'a conflict with recovery: nothing has changed');

$standby->stop;
$copy->stop;
$live->stop;
done_testing();
