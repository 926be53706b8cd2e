# Large deletions make a bin longer by many pages at a time. They do so while
# others do the same, while small ones look for room, through rollbacks, a crash
# and a full file, with few buffers, with page checksums and a standby; no row is
# lost, and pages that were made for nobody are used later.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--data-checksums', '--wal-segsize=1' ]);
$primary->append_conf('postgresql.conf', "autovacuum = off\nmax_wal_size = 256MB\n");
$primary->start;
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE TABLE item (id int PRIMARY KEY, tenant_id int, body text);
SELECT deletion_guard.guard_table('item', 'tenant_id');
INSERT INTO item SELECT i, i % 7, repeat(chr(65 + i % 26), 20 + i % 150 + CASE WHEN i % 5000 = 0 THEN 5000 ELSE 0 END) FROM generate_series(1, 80000) i;
DELETE FROM item WHERE id = 1;
CREATE TABLE original AS SELECT * FROM item UNION ALL SELECT * FROM deletion_guard.deleted_rows(NULL::item);
SQL
my $bin = $primary->safe_psql('postgres', 'SELECT bin_table FROM deletion_guard.bin');

# No row is in two places or in none, and every part has the rows that it counts.
sub all_there
{
	my ($node, $name) = @_;

	return is($node->safe_psql('postgres', <<"SQL"), '0|0|0', "$name: every row is there once");
WITH now AS (SELECT id, tenant_id, body FROM item UNION ALL SELECT id, tenant_id, body FROM $bin)
SELECT (SELECT count(*) FROM (TABLE now EXCEPT ALL SELECT id, tenant_id, body FROM original) x),
	(SELECT count(*) FROM (SELECT id, tenant_id, body FROM original EXCEPT ALL TABLE now) x),
	(SELECT count(*) FROM (SELECT _deletion, _part, count(*) AS n FROM $bin GROUP BY 1, 2) r
	 FULL JOIN (SELECT deletion_id, part, rows - restored - purged AS n FROM deletion_guard.deletion_part WHERE rows > restored + purged) p
	 ON (deletion_id, part) = (_deletion, _part) WHERE r.n IS DISTINCT FROM p.n)
SQL
}

sub undelete_all
{
	my $name = shift;

	$primary->safe_psql('postgres', q(SELECT deletion_guard.undelete(id) FROM deletion_guard.deletion WHERE state <> 'restored'));
	is($primary->safe_psql('postgres', "SELECT count(*) FROM $bin"), 0, "$name: the bin is empty");
	return all_there($primary, $name);
}

# Each client deletes its share of the rows, in statements of all sizes, and
# rolls back every third.
sub delete_together
{
	my ($name, @events) = @_;
	my @clients;

	for my $client (0 .. 3)
	{
		my $script = '';
		my $at = 0;
		for my $size (3000, 1, 40, 700, 9000, 2, 5000, 1)
		{
			my $statement = sprintf('DELETE FROM item WHERE id %% 4 = %d AND id BETWEEN %d AND %d;', $client, 4 * $at + 1, 4 * ($at + $size));
			$script .= "BEGIN; $statement ROLLBACK;\n$statement\n";
			$at += $size;
		}
		push @clients, IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $primary->connstr('postgres') ],
			'<', \$script, '>', '/dev/null', '2>', '/dev/null', IPC::Run::timeout(180));
	}
	$_->() for @events;
	$_->finish for @clients;
	return all_there($primary, $name);
}

delete_together('together');
$primary->wait_for_catchup($standby);
all_there($standby, 'standby');
cmp_ok($primary->safe_psql('postgres', "SELECT count(*) FROM $bin"), '>', 60000, 'a large bin');
undelete_all('together');

# What was made for nobody is used, and so is what has been emptied.
$primary->safe_psql('postgres', "VACUUM (TRUNCATE false) $bin");
my $size = $primary->safe_psql('postgres', "SELECT pg_relation_size('$bin')");
delete_together('again');
undelete_all('again');
cmp_ok($primary->safe_psql('postgres', "SELECT pg_relation_size('$bin')"), '<=', $size + 4 * 64 * 8192, 'room is used again');
$primary->safe_psql('postgres', "VACUUM $bin");
$primary->safe_psql('postgres', 'DELETE FROM item');
my $rest = $primary->safe_psql('postgres', "SELECT pg_relation_size('$bin') / 8192 - count(DISTINCT (ctid::text::point)[0]) FROM $bin");
cmp_ok($rest, '<=', 64, 'few pages without rows');
undelete_all('all at once');

# A crash while all of them are at it.
for my $round (1 .. 3)
{
	delete_together("crash $round", sub {
			select undef, undef, undef, 0.1 + rand(0.6);
			$primary->stop('immediate');
			$primary->start;
		});
	undelete_all("crash $round");
}
$primary->wait_for_catchup($standby);
all_there($standby, 'standby after crashes');

# Few buffers: pins are scarce, and pages are written and read again at once.
$primary->append_conf('postgresql.conf', "shared_buffers = 800kB\nmax_connections = 12\nmax_wal_senders = 2\nmax_worker_processes = 2\n");
$standby->stop;
$primary->restart;
delete_together('few buffers');
undelete_all('few buffers');

# The file may not grow beyond what the table itself takes: the deletion fails as
# a whole, with the server's error.
$primary->safe_psql('postgres', "VACUUM FULL item; VACUUM FULL $bin");
my $limit = int($primary->safe_psql('postgres', "SELECT pg_relation_size('item')") / 1024 * 1.05);
$primary->stop;
system_or_bail('bash', '-c', sprintf('ulimit -f %d && exec pg_ctl -D %s -l %s -w start', $limit, $primary->data_dir, $primary->logfile));
my ($ret, $out, $err) = $primary->psql('postgres', 'DELETE FROM item');
like($err, qr/could not (extend|write).* file/, 'a full file: the deletion fails');
all_there($primary, 'a full file');
system_or_bail('pg_ctl', '-D', $primary->data_dir, '-w', 'stop');
$primary->start;
$primary->safe_psql('postgres', 'DELETE FROM item');
undelete_all('room again');

$primary->stop;
command_ok([ 'pg_checksums', '--check', '-D', $primary->data_dir ], 'checksums');

done_testing();
