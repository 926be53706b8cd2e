# A server with little to spare, and with more than one database: no worker to be
# had, timeouts, another tablespace, a neighbour database.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\ndeletion_guard.retention = 0\nmax_worker_processes = 0\n");
$node->start;
for my $db ('shop', 'other')
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION deletion_guard;\n" . slurp_file('test/sql/signing.sql'));
	$node->safe_psql($db, slurp_file('test/sql/shop.sql'));
	$node->safe_psql($db, "SELECT deletion_guard.add_authority('legal', signing.make_key('legal'))");
}
my $live = q(SELECT 'tenant', t::text FROM tenant t UNION ALL SELECT 'project', t::text FROM project t
	UNION ALL SELECT 'issue', t::text FROM issue t ORDER BY 1, 2);
my $whole = $node->safe_psql('shop', $live);

# --- no worker -------------------------------------------------------------

# What is refused is refused, and told in the server's log; only the ledger's
# entry is missing, and the log says why.
$node->safe_psql('shop', 'DELETE FROM tenant WHERE id = 1');
my $token = $node->safe_psql('shop', "SELECT signing.sign(deletion_guard.request_purge('1', 'contract ended'))");
my $entries = $node->safe_psql('shop', 'SELECT entries FROM deletion_guard.verify_ledger()');
my $end = -s $node->logfile;
my ($ret, $out, $err) = $node->psql('shop', "SELECT deletion_guard.purge('x$token')");
like($err, qr/purge refused/, 'no worker: a purge is refused');
($ret, $out, $err) = $node->psql('shop', 'SET deletion_guard.max_rows = 1; DELETE FROM issue');
like($err, qr/max_rows/, 'no worker: a ceiling holds');
my $log = substr slurp_file($node->logfile), $end;
like($log, qr/could not start a process to record what happened/, 'no worker: the log says so');
like($log, qr/HINT:  Raise max_worker_processes/, 'no worker: and what to do');
like($log, qr/purge refused/, 'no worker: the log has the refusal');
is($node->safe_psql('shop', 'SELECT ok, entries FROM deletion_guard.verify_ledger()'), "t|$entries", 'no worker: the ledger holds');
is($node->safe_psql('shop', "SELECT deletion_guard.purge('$token')->'rows'"), 13, 'no worker: what is allowed goes on');

# With workers, both entries are made: in the database where it happened.
$node->append_conf('postgresql.conf', "max_worker_processes = 8\n");
$node->restart;
my $others = $node->safe_psql('other', 'SELECT entries FROM deletion_guard.verify_ledger()');
$entries = $node->safe_psql('shop', 'SELECT entries FROM deletion_guard.verify_ledger()');
($ret, $out, $err) = $node->psql('shop', "SELECT deletion_guard.purge('x$token')");
$node->poll_query_until('shop', "SELECT entries > $entries FROM deletion_guard.verify_ledger()") or die 'no entry';
is($node->safe_psql('shop', q(SELECT event FROM deletion_guard.ledger ORDER BY id DESC LIMIT 1)), 'refusal', 'a worker: the ledger has the refusal');
is($node->safe_psql('other', 'SELECT entries FROM deletion_guard.verify_ledger()'), $others, 'a worker: and the neighbour\'s has not');

# It makes them however transactions begin there, and although several count the
# same refusal at once.
$node->append_conf('postgresql.conf', "max_worker_processes = 20\n");
$node->restart;
$node->safe_psql('postgres', "ALTER DATABASE shop SET $_")
	for ("default_transaction_isolation = serializable", "default_transaction_read_only = on");
my $counted = "SELECT coalesce(sum(count), 0) FROM deletion_guard.refusal WHERE reason = 'token_required'";
my @sessions = map {
	IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('shop'), '-c', 'BEGIN READ WRITE', '-c', "SELECT deletion_guard.purge(VARIADIC '{}')" ],
		'>', '/dev/null', '2>', '/dev/null')
} 1 .. 8;
$_->finish for @sessions;
ok($node->poll_query_until('shop', "SELECT ($counted) = 8"), 'a worker: none of eight refusals at once is lost');
$node->safe_psql('postgres', 'ALTER DATABASE shop RESET ALL');

# --- neighbours ------------------------------------------------------------

$whole = $node->safe_psql('shop', $live);
$node->safe_psql('shop', 'DELETE FROM tenant WHERE id = 2');
is($node->safe_psql('other', 'SELECT count(*) FROM deletion_guard.deletion'), 0, 'neighbours: a deletion is known where it was made');
my $shop_token = $node->safe_psql('shop', "SELECT signing.sign(deletion_guard.request_purge('2', 'contract ended'))");
$node->safe_psql('other', 'DELETE FROM tenant WHERE id = 2');
($ret, $out, $err) = $node->psql('other', "SELECT deletion_guard.purge('$shop_token')");
like($err, qr/token (is for another database|signature does not match)/, 'neighbours: a token is good where it is for');
$node->safe_psql('other', "SELECT deletion_guard.unguard_table(t) FROM unnest('{tenant,project,issue}'::regclass[]) t");
($ret, $out, $err) = $node->psql('shop', 'DROP TABLE issue');
like($err, qr/guarded against deletion/, 'neighbours: what is given up there is guarded here');
$node->safe_psql('postgres', 'DROP DATABASE other');
$node->safe_psql('shop', 'SELECT FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion))');
is($node->safe_psql('shop', $live), $whole, 'neighbours: one may go');

# --- timeouts --------------------------------------------------------------

# A session that holds a tenant's rows, and one that will not wait for it.
my $holder = $node->background_psql('shop', on_error_stop => 1);
$holder->query_safe('BEGIN; DELETE FROM tenant WHERE id = 3');
for my $statement ('DELETE FROM tenant WHERE id = 3', 'TRUNCATE issue', 'ALTER TABLE issue ADD COLUMN more int')
{
	($ret, $out, $err) = $node->psql('shop', "SET lock_timeout = '200ms'; $statement");
	like($err, qr/lock timeout/, "lock_timeout: $statement");
}
$holder->query_safe('COMMIT');
$holder->query_safe('BEGIN; SELECT FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion))');
for my $statement ('SELECT * FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion))',
	q(SELECT * FROM deletion_guard.undelete_tenant('3')), q(SELECT deletion_guard.request_purge('3', 'impatient')))
{
	($ret, $out, $err) = $node->psql('shop', "SET lock_timeout = '200ms'; $statement");
	like($err, qr/lock timeout/, "lock_timeout: $statement");
	($ret, $out, $err) = $node->psql('shop', "SET statement_timeout = '200ms'; $statement");
	like($err, qr/statement timeout/, "statement_timeout: $statement");
}
$holder->query_safe('ROLLBACK');
$holder->query_safe(q(SET idle_in_transaction_session_timeout = '100ms'; BEGIN; SELECT FROM deletion_guard.undelete_tenant('3')));
$node->poll_query_until('shop', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE state LIKE 'idle in transaction%')) or die 'still there';
is($node->safe_psql('shop', "SELECT sum(rows - restored) FROM deletion_guard.deletion_detail WHERE tenant = '3'"), 13, 'idle too long: nothing was undeleted');
is($node->safe_psql('shop', q(SELECT sum(restored) FROM deletion_guard.undelete_tenant('3'))), 13, 'idle too long: nobody waits for it any more');
is($node->safe_psql('shop', $live), $whole, 'timeouts: all there');
eval { $holder->quit };

# --- tablespaces -----------------------------------------------------------

mkdir $node->basedir . '/space';
$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '" . $node->basedir . "/space'");
$node->safe_psql('shop', 'DELETE FROM tenant WHERE id = 3');
$node->safe_psql('shop', 'ALTER TABLE issue SET TABLESPACE space');
$node->safe_psql('shop', q(SELECT format('ALTER TABLE %s SET TABLESPACE space', bin_table) FROM deletion_guard.bin \gexec));
is($node->safe_psql('shop', q(SELECT count(*) > 0 AND bool_and(s.spcname = 'space') FROM deletion_guard.bin b JOIN pg_class c ON c.oid = b.bin_table LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace)),
	't', 'tablespaces: the bin has moved');
$node->safe_psql('shop', 'DELETE FROM project WHERE id = 21');
$node->safe_psql('shop', q(SELECT FROM deletion_guard.undelete_tenants('{2,3}')));
is($node->safe_psql('shop', $live), $whole, 'tablespaces: and gives everything back');
$node->safe_psql('shop', q(SELECT format('ALTER TABLE %s SET TABLESPACE pg_default', bin_table) FROM deletion_guard.bin \gexec));
$node->safe_psql('shop', 'ALTER TABLE issue SET TABLESPACE pg_default');
$node->safe_psql('postgres', 'ALTER DATABASE shop SET TABLESPACE space');
$node->safe_psql('shop', q(DELETE FROM tenant WHERE id = 3; SELECT FROM deletion_guard.undelete_tenant('3')));
is($node->safe_psql('shop', $live), $whole, 'tablespaces: so does a whole database that has moved');

done_testing();
