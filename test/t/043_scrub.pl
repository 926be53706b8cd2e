# After a purge and a scrub, no byte of the purged rows is in the database's files.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\ndeletion_guard.retention = 0\nautovacuum = off\nmax_prepared_transactions = 2");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', "CREATE EXTENSION deletion_guard;\n" . slurp_file('test/sql/signing.sql'));
$node->safe_psql('shop', slurp_file('test/sql/shop.sql'));
$node->safe_psql('shop', "SELECT deletion_guard.add_authority('legal', signing.make_key('legal'))");

my $canary = 'Canary' . 'Bird';
my $contact = 'Finch' . 'Nest';
my $toasted = 'Parrot' . 'Cage';
my $indexed = 'Sparrow' . 'Wing';
# The rows of tenant 8 lie among those of others, in full pages; ANALYZE has seen them.
$node->safe_psql('shop', qq(
CREATE TABLE person (id integer PRIMARY KEY, tenant_id integer REFERENCES tenant ON DELETE CASCADE, name text, code text, photo text);
ALTER TABLE person ALTER photo SET STORAGE EXTERNAL;
CREATE INDEX ON person (code);
CREATE INDEX ON person USING gin (to_tsvector('simple', name));
CREATE STATISTICS person_stats (mcv) ON tenant_id, name FROM person;
SELECT deletion_guard.guard_table('person', 'tenant_id');
INSERT INTO tenant VALUES (8, '$canary', '$contact');
INSERT INTO person SELECT n, CASE WHEN n % 5 = 0 THEN 8 ELSE 3 END,
	CASE WHEN n % 5 = 0 THEN '$canary' ELSE 'somebody' END,
	CASE WHEN n % 5 = 0 THEN '$indexed' ELSE 'code' END || n,
	CASE WHEN n % 5 = 0 THEN '$toasted' || (SELECT string_agg(md5(n::text || m), '') FROM generate_series(1, 100) m) END
FROM generate_series(1, 5000) n;
UPDATE person SET name = name || ' the second' WHERE tenant_id = 8 AND id % 10 = 0;
ANALYZE;
DELETE FROM tenant WHERE id = 8;
));
is($node->safe_psql('shop', 'SELECT count(*) FROM person'), '4000', 'the others stay');

# Files outside pg_wal in which a word is.
sub found
{
	my ($word) = @_;
	my $dir = $node->data_dir;

	$node->safe_psql('shop', 'CHECKPOINT');
	my @files = split /\n/, `grep -rlaF --exclude-dir=pg_wal --exclude-dir=log '$word' '$dir'`;
	return join(' ', map { s/^\Q$dir\E.//r } @files);
}

my %words = (name => $canary, contact => $contact, toasted => $toasted, indexed => $indexed);
isnt(found($words{$_}), '', "$_: is in the files") for sort keys %words;
is($node->safe_psql('shop', q(SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('8', 'contract ended')))->'rows')),
	'1001', 'purged');
# The helpers of the test have seen the claims.
$node->safe_psql('shop', 'TRUNCATE signing.output');
isnt(found($words{$_}), '', "$_: is still in the files") for sort keys %words;

sub scrub
{
	my ($argument) = @_;

	$node->safe_psql('shop', "SELECT deletion_guard.scrub($argument)");
	$node->poll_query_until('shop', 'SELECT count(*) = 0 FROM deletion_guard.scrub_progress WHERE ended_at IS NULL')
	  or diag($node->safe_psql('shop', 'SELECT * FROM deletion_guard.scrub_progress WHERE ended_at IS NULL'));
	return;
}

# An old snapshot keeps the rows: it says so, and whose it is.
my $old = $node->background_psql('shop');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
my $pid = $old->query_safe('SELECT pg_backend_pid()');
$node->safe_psql('shop', "INSERT INTO person VALUES (9001, 3, 'gone'); DELETE FROM person WHERE id = 9001");
$node->safe_psql('shop', "SELECT deletion_guard.scrub('signing.key')");
$node->poll_query_until('shop', "SELECT phase <> 'queued' FROM deletion_guard.scrub_progress WHERE relation = 'signing.key'::regclass");
$old->query_safe('COMMIT');
$old->quit;
$node->poll_query_until('shop', 'SELECT count(*) = 0 FROM deletion_guard.scrub_progress WHERE ended_at IS NULL');
$node->safe_psql('shop', "BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TABLE held (); SELECT count(*) FROM tenant; PREPARE TRANSACTION 'forgotten'");
$node->safe_psql('shop', 'CREATE TABLE scrap (t text); INSERT INTO scrap VALUES (1); DELETE FROM scrap');
scrub("'scrap'");
like($node->safe_psql('shop', "SELECT problem FROM deletion_guard.scrub_progress WHERE relation = 'scrap'::regclass"),
	qr/^1 dead row versions may still be needed: .*prepared transaction 'forgotten'/, 'what an old transaction holds back');
$node->safe_psql('shop', "ROLLBACK PREPARED 'forgotten'");

scrub('');
is(found($words{$_}), '', "$_: is in no file") for sort keys %words;
is($node->safe_psql('shop', "SELECT count(*) FROM deletion_guard.scrub_progress WHERE phase <> 'done' OR problem IS NOT NULL AND relation::text IN ('person', 'tenant', 'pg_statistic', 'deletion_guard.deletion_part')"),
	'0', 'done, without problems');
is($node->safe_psql('shop', "SELECT count(*) > 0 FROM deletion_guard.scrub_progress WHERE cleaned > 0"), 't', 'pages were cleaned');

# The pace is the caller's: the process is slow, is ended, and goes on where it was.
my ($ret, $out, $err) = $node->psql('shop', 'SELECT deletion_guard.scrub(cost_delay => 101)');
like($err, qr/cost_delay must be from 0 to 100 milliseconds/, 'an impossible delay');
($ret, $out, $err) = $node->psql('shop', 'SELECT deletion_guard.scrub(cost_limit => 0)');
like($err, qr/cost_limit must be from 1 to 10000/, 'an impossible limit');
$node->safe_psql('shop', "CREATE TABLE slow AS SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n; DELETE FROM slow WHERE n % 2 = 0");
$node->safe_psql('shop', "SELECT deletion_guard.scrub('slow', 100, 1)");
$node->poll_query_until('shop', "SELECT phase = 'vacuum' FROM deletion_guard.scrub_progress WHERE relation = 'slow'::regclass");
$node->poll_query_until('shop', "SELECT heap_blks_scanned > 2 FROM pg_stat_progress_vacuum WHERE relid = 'slow'::regclass");
my $scrubber = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'deletion_guard scrub'";
$node->safe_psql('shop', "SELECT pg_terminate_backend(($scrubber))");
$node->poll_query_until('shop', "SELECT NOT EXISTS ($scrubber)");
is($node->safe_psql('shop', "SELECT phase, ended_at IS NULL FROM deletion_guard.scrub_progress WHERE relation = 'slow'::regclass"),
	'vacuum|t', 'ended early');
is($node->safe_psql('shop', 'SELECT deletion_guard.scrub(resume => true, cost_delay => 0) > 0'), 't', 'goes on');
$node->poll_query_until('shop', 'SELECT count(*) = 0 FROM deletion_guard.scrub_progress WHERE ended_at IS NULL');
is($node->safe_psql('shop', "SELECT phase, total = pages, total >= 2800, cleaned > 0, problem FROM deletion_guard.scrub_progress WHERE relation = 'slow'::regclass"),
	'done|t|t|t|', 'and ends');
$node->safe_psql('shop', "DELETE FROM slow; SELECT deletion_guard.scrub('slow', 0)");
$node->poll_query_until('shop', 'SELECT count(*) = 0 FROM deletion_guard.scrub_progress WHERE ended_at IS NULL');
# An index that a REINDEX which was stopped has left.
$node->safe_psql('shop', "CREATE INDEX slow_ccnew ON slow (n)");
# by hand, in a session that has not loaded the library
$node->safe_psql('shop', "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'slow_ccnew'::regclass");
scrub("'slow'");
like($node->safe_psql('shop', "SELECT problem FROM deletion_guard.scrub_progress WHERE relation = 'slow'::regclass"),
	qr/were not rebuilt: public.slow_ccnew;/, 'an index that is left over is reported');
$node->safe_psql('shop', 'DROP TABLE slow');

# What lives is well.
$node->safe_psql('shop', 'CREATE EXTENSION amcheck');
is($node->safe_psql('shop', 'SELECT count(*), sum(length(name)) FROM person'), '4000|32000', 'the others are as they were');
is($node->safe_psql('shop', "SELECT count(*) FROM pg_class c, verify_heapam(c.oid) WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'deletion_guard'::regnamespace)"),
	'0', 'tables are sound');
is($node->safe_psql('shop', "SELECT count(bt_index_check(i.indexrelid, true)) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
	WHERE amname = 'btree' AND i.indrelid::regclass::text IN ('person', 'tenant', 'issue')"), '4', 'indexes are sound');
is($node->safe_psql('shop', "SELECT ok FROM deletion_guard.verify_ledger()"), 't', 'the ledger is sound');
is($node->safe_psql('shop', "DELETE FROM tenant WHERE id = 3; SELECT sum(restored) FROM deletion_guard.undelete_tenant('3')"),
	'4014', 'delete and undelete go on');

# After a crash the free space is still clean.
$node->stop('immediate');
$node->start;
is(found($words{$_}), '', "$_: is in no file after a crash") for sort keys %words;
$node->safe_psql('shop', 'SELECT count(*) FROM person');

($ret, $out, $err) = $node->psql('shop', 'CREATE ROLE regress_dg_nobody; GRANT EXECUTE ON FUNCTION deletion_guard.scrub TO regress_dg_nobody; SET ROLE regress_dg_nobody; SELECT deletion_guard.scrub()');
like($err, qr/permission denied to scrub/, 'not for everybody');
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
($ret, $out, $err) = $node->psql('shop', 'SELECT deletion_guard.scrub()');
like($err, qr/could not start a process to scrub/, 'no process to be had');
$node->stop;
done_testing();
