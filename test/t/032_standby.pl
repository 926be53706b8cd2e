# A hot standby: what reads works there, what writes says that it cannot, and
# nothing crashes. Promoted, and restored to a point in time, it is a server
# like any other.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1, has_archiving => 1);
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\ndeletion_guard.retention = 0\n");
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION deletion_guard;\n" . slurp_file('test/sql/signing.sql'));
$node->safe_psql('postgres', slurp_file('test/sql/shop.sql'));
$node->safe_psql('postgres', "SELECT deletion_guard.add_authority('legal', signing.make_key('legal'))");
$node->safe_psql('postgres', 'DELETE FROM tenant WHERE id = 1');
my $file = "$dir/shop.dump";
$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('postgres') ], 'pg_dump');
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\narchive_mode = off\n");
$standby->start;
$node->safe_psql('postgres', 'DELETE FROM project WHERE id = 21');
my $token = $node->safe_psql('postgres', "SELECT signing.sign(deletion_guard.request_purge('1', 'contract ended'))");

# files of bin tables that a part does not know yet
$node->safe_psql('postgres', "SELECT format('VACUUM FULL %s', bin_table) FROM deletion_guard.bin \\gexec");
$node->wait_for_catchup($standby);

# --- what reads ------------------------------------------------------------

for my $query ('SELECT id, rows, tenants, state FROM deletion_guard.deletion ORDER BY 1',
	'SELECT deletion_id, relation, tenant, tenant_name, contact, rows FROM deletion_guard.deletion_detail ORDER BY 1, 2, 3',
	q(SELECT * FROM deletion_guard.deleted_rows(NULL::issue, tenant => '1') ORDER BY id),
	'SELECT * FROM deletion_guard.guarded_table ORDER BY relation',
	'SELECT * FROM deletion_guard.unguarded_table ORDER BY relation',
	'SELECT * FROM deletion_guard.purge_request',
	'SELECT guarded_tables, bin_rows, open_requests, holds FROM deletion_guard.status',
	'SELECT check_name, object, ok FROM deletion_guard.verify()',
	'SELECT * FROM deletion_guard.verify_ledger()',
	'SELECT * FROM deletion_guard.ledger_head()',
	q(SELECT * FROM deletion_guard.tenant_label('1')),
	'SELECT deletion_guard.audience()',
	"SELECT relation, data_bytes, live_relation, tenant_source FROM deletion_guard.archive_contents('$file') ORDER BY 1",
	"SELECT relation, archive_rows, live_rows, only_in_archive, different FROM deletion_guard.compare_tenant('2', '$file') ORDER BY 1",
	"SELECT ok, problem FROM deletion_guard.check_token('$token')")
{
	my ($ret, $out, $err) = $standby->psql('postgres', $query);

	is($err, '', "standby: no error: $query");
	is($out, $node->safe_psql('postgres', $query), 'standby: as on the primary');
}

# --- what writes -----------------------------------------------------------

for my $call ('DELETE FROM issue', 'TRUNCATE issue', 'DROP TABLE issue', "SELECT deletion_guard.guard_table('issue', 'tenant_id')",
	"SELECT deletion_guard.unguard_table('issue')", "SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name')",
	"SELECT * FROM deletion_guard.guard_schema('public', 'tenant_id')", 'SELECT * FROM deletion_guard.undelete(1)',
	'SELECT * FROM deletion_guard.undelete(1, dry_run => true)', "SELECT * FROM deletion_guard.undelete_tenant('1')",
	"SELECT * FROM deletion_guard.preview('DELETE FROM issue')", "SELECT deletion_guard.request_purge('1', 'again')",
	'SELECT deletion_guard.withdraw_purge(1)', "SELECT deletion_guard.purge('$token')", "SELECT deletion_guard.hold_tenant('1', 'litigation')",
	"SELECT deletion_guard.add_authority('more', signing.public_key('legal'))", 'SELECT * FROM deletion_guard.scrub()',
	"SELECT * FROM deletion_guard.rehydrate('1', '$file')", "SELECT * FROM deletion_guard.rehydrate('1', '$file', dry_run => true)",
	"SELECT * FROM deletion_guard.drill('$file')", 'DROP EXTENSION deletion_guard CASCADE')
{
	my ($ret, $out, $err) = $standby->psql('postgres', $call);

	isnt($ret, 0, "standby: fails: $call");
	like($err, qr/ERROR:.*(read-only transaction|recovery)/, 'standby: and says why');
}
is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't', 'standby: is up');
unlike(slurp_file($standby->logfile), qr/terminated by signal|PANIC/, 'standby: nothing has crashed');

# --- promoted --------------------------------------------------------------

$standby->promote;
is($standby->safe_psql('postgres', q(SELECT sum(restored) FROM deletion_guard.undelete_tenant('1'))), '13', 'promoted: undelete');
$standby->safe_psql('postgres', 'DELETE FROM tenant WHERE id = 3');
is($standby->safe_psql('postgres', 'SELECT rows, state FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1'), '13|deleted', 'promoted: captures');
is($standby->safe_psql('postgres', 'SELECT ok FROM deletion_guard.verify_ledger()'), 't', 'promoted: the ledger goes on');
$standby->stop;

# --- back in time ----------------------------------------------------------

# Before the purge, the rows are there, and with them the request and the token:
# it is the same database, and has not seen the token yet. Whoever brings a
# database back to before a purge purges again, or withdraws the request. A
# ledger's head that was kept elsewhere tells that time was turned back.
$node->safe_psql('postgres', "SELECT pg_create_restore_point('before')");
my $purged = $node->safe_psql('postgres', "SELECT deletion_guard.purge('$token')->'rows'");
is($purged, '13', 'back in time: purged');
my ($entry, $hash) = split /\|/, $node->safe_psql('postgres', 'SELECT entry, hash FROM deletion_guard.ledger_head()');
my ($ret, $out, $err) = $node->psql('postgres', "SELECT deletion_guard.purge('$token')");
like($err, qr/has been used before/, 'back in time: a token is good once');
my $segment = $node->safe_psql('postgres', 'SELECT pg_walfile_name(pg_switch_wal())');
$node->poll_query_until('postgres', "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver") or die 'not archived';
my $past = PostgreSQL::Test::Cluster->new('past');
$past->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
$past->append_conf('postgresql.conf', "recovery_target_name = 'before'\nrecovery_target_action = 'promote'\n");
$past->start;
$past->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'no promotion';
is($past->safe_psql('postgres', 'SELECT ok FROM deletion_guard.verify_ledger()'), 't', 'back in time: the ledger holds');
like($past->safe_psql('postgres', "SELECT problem FROM deletion_guard.verify_ledger($entry, '$hash')"), qr/missing/,
	'back in time: but not to the head that was kept');
is($past->safe_psql('postgres', q(SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue, tenant => '1'))), '10',
	'back in time: the rows are in the bin');
is($past->safe_psql('postgres', "SELECT ok, problem FROM deletion_guard.check_token('$token')"), 't|', 'back in time: the token is good again');
is($past->safe_psql('postgres', "SELECT deletion_guard.purge('$token')->'rows'"), $purged, 'back in time: and purges the same rows');
($ret, $out, $err) = $past->psql('postgres', "SELECT deletion_guard.purge('$token')");
like($err, qr/has been used before/, 'back in time: once');

$past->stop;
$node->stop;
done_testing();
