# A real point-in-time clone, of pg_basebackup and archived WAL: tenants come back as of
# the minute before they were lost, whatever had been done to them and to the tables.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $live = PostgreSQL::Test::Cluster->new('live');
$live->init(has_archiving => 1, allows_streaming => 1);
$live->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\ndeletion_guard.retention = 0\nshared_preload_libraries = 'deletion_guard'");
$live->start;
$live->safe_psql('postgres', 'CREATE DATABASE tracker');
$live->safe_psql('tracker', "CREATE EXTENSION deletion_guard; CREATE EXTENSION postgres_fdw;\n" . slurp_file('test/sql/signing.sql'));
$live->safe_psql('tracker', slurp_file('test/sql/tracker.sql'));
$live->safe_psql('tracker', "SELECT deletion_guard.add_authority('legal', signing.make_key('legal'))");
$live->backup('nightly');

# A day's work, which no nightly archive has.
$live->safe_psql('tracker', q{
	INSERT INTO issue (site_id, project_id, title) SELECT site_id, id, 'of today ' || id FROM project;
	INSERT INTO comment (issue_id, body) SELECT id, 'of today' FROM issue WHERE title LIKE 'of today%';
	UPDATE issue SET title = title || ', changed today' WHERE id % 4 = 0;
	DELETE FROM file WHERE comment_id % 6 = 0;
	CREATE SCHEMA was; CREATE TABLE was.before AS SELECT * FROM everything});
my $minute = $live->safe_psql('tracker', 'SELECT clock_timestamp()');
sleep 1;

# The mistakes: a site deleted with the guard off, one deleted and purged under a token, and what had been
# kept of the first purged as well; then a column goes, and a table gets another name.
$live->safe_psql('tracker', 'DELETE FROM comment WHERE id IN (SELECT c.id FROM comment c JOIN issue i ON i.id = c.issue_id WHERE i.site_id = 2 AND c.body = $$of today$$)');
my $purge = $live->safe_psql('tracker', "SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('2', 'a wrong list'))) -> 'purge'");
$live->safe_psql('tracker', 'SELECT lose(2)');
$live->safe_psql('tracker', q{DELETE FROM file USING comment c, issue i WHERE c.id = comment_id AND i.id = c.issue_id AND i.site_id = 3; UPDATE issue SET parent_id = NULL WHERE site_id = 3;
	DELETE FROM comment USING issue i WHERE i.id = issue_id AND i.site_id = 3; DELETE FROM issue WHERE site_id = 3; DELETE FROM project WHERE site_id = 3; DELETE FROM site WHERE id = 3});
my $erased = $live->safe_psql('tracker', "SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('3', 'contract ended'))) -> 'purge'");
$live->safe_psql('tracker', 'VACUUM FULL');
my $wal = $live->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
$live->safe_psql('postgres', 'CREATE TABLE later AS SELECT 1 AS id; SELECT pg_switch_wal()');
$live->poll_query_until('postgres', "SELECT last_archived_wal >= '$wal' FROM pg_stat_archiver") or die;

my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($live, 'nightly', has_restoring => 1, standby => 0);
$clone->append_conf('postgresql.conf', "recovery_target_time = '$minute'\nrecovery_target_action = promote\narchive_mode = off");
$clone->start;
$clone->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die;
is($clone->safe_psql('tracker', 'SELECT count(*) > 0 FROM was.before'), 't', 'the clone is of that minute');
$live->safe_psql('tracker', sprintf("CREATE SERVER clone FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'tracker'); CREATE USER MAPPING FOR CURRENT_USER SERVER clone", $clone->host, $clone->port));

sub differences
{
	return $live->safe_psql('tracker', "(SELECT * FROM everything WHERE site IN ($_[0]) EXCEPT SELECT * FROM was.before) UNION ALL (SELECT * FROM was.before WHERE site IN ($_[0]) EXCEPT TABLE everything)");
}

# What was purged after that minute stays away, until it is annulled.
like($live->safe_psql('tracker', "SELECT string_agg(problem, '; ') FROM deletion_guard.rehydrate('2', 'server:clone')"), qr/2 rows were purged \(purge $purge\) and stay away/, 'purged rows stay away');
is($live->safe_psql('tracker', "SELECT sum(purged) FROM deletion_guard.compare_tenant('2', 'server:clone')"), 2, 'and compare_tenant() knows them');
$live->safe_psql('tracker', "SELECT deletion_guard.annul_purge($purge, signing.sign(jsonb_build_object('act', 'annul_purge', 'aud', deletion_guard.audience(), 'purge', $purge)))");
is($live->safe_psql('tracker', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:clone')"), 2, 'the purge was annulled');
is(differences('2'), '', 'as of the minute before, with the day\'s work');
my ($ret, $out, $err) = $live->psql('tracker', "SELECT sum(restored), sum(skipped) FROM deletion_guard.rehydrate('3', 'server:clone')");
is($live->safe_psql('tracker', 'SELECT count(*) FROM everything WHERE site = 3'), 0, 'who was purged stays away altogether') or diag("$out $err");
$live->safe_psql('tracker', "SELECT deletion_guard.annul_purge($erased, signing.sign(jsonb_build_object('act', 'annul_purge', 'aud', deletion_guard.audience(), 'purge', $erased)))");

# The tables have changed meanwhile.
$live->safe_psql('tracker', 'ALTER TABLE project RENAME TO undertaking; ALTER TABLE comment RENAME COLUMN body TO words; ALTER TABLE issue ADD COLUMN added text DEFAULT $$new$$');
($ret, $out, $err) = $live->psql('tracker', "SELECT deletion_guard.rehydrate('3', 'server:clone')");
like($err, qr/ERROR:  .*(project|body)/, 'what has another name now is said');
is($live->safe_psql('tracker', q{SELECT sum(restored) FROM deletion_guard.rehydrate('3', 'server:clone', mapping => '{"public.project": "public.undertaking", "public.comment": {"columns": {"body": "words"}}}')}),
	$live->safe_psql('tracker', 'SELECT count(*) FROM was.before WHERE site = 3'), 'and mapped, as with an archive');
is($live->safe_psql('tracker', q{SELECT count(*), sum(different), sum(only_in_archive), sum(only_live) FROM deletion_guard.compare_tenants('{1,2,3}', 'server:clone', '{"public.project": "public.undertaking", "public.comment": {"columns": {"body": "words"}}}') WHERE archive_rows > 0}),
	'15|0|0|0', 'all three are the same on both sides');
is($live->safe_psql('tracker', 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing is left');
is($clone->safe_psql('tracker', "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'deletion_guard'"), 0, 'nobody is connected there any more');

$clone->stop;
$live->stop;
done_testing();
