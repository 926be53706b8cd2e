# Replication: what a subscriber loses goes into the subscriber's bin; a standby
# shows the bin, and once promoted gives rows back.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $conf = "fsync = off\nautovacuum = off\nwal_level = logical\nmax_prepared_transactions = 5\nlogical_decoding_work_mem = 64kB\n";
my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->append_conf('postgresql.conf', $conf);
$publisher->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->append_conf('postgresql.conf', $conf);
$subscriber->start;

my $schema = <<'SQL';
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE, body text);
CREATE TABLE event (at int, tenant_id int, PRIMARY KEY (at)) PARTITION BY RANGE (at);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (100);
CREATE TABLE event_2 (tenant_id int, at int NOT NULL);
ALTER TABLE event ATTACH PARTITION event_2 FOR VALUES FROM (100) TO (200);
CREATE TABLE keyless (a int, b text);
ALTER TABLE keyless REPLICA IDENTITY FULL;
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT count(*) FROM deletion_guard.guard_schema('public', 'tenant_id', false);
SELECT deletion_guard.guard_table('keyless');
SQL
$_->safe_psql('postgres', $schema) for $publisher, $subscriber;
# one table is partitioned at the subscriber only
$publisher->safe_psql('postgres', 'CREATE TABLE flat (at int PRIMARY KEY, what text)');
$subscriber->safe_psql('postgres', <<'SQL');
CREATE TABLE flat (at int PRIMARY KEY, what text) PARTITION BY RANGE (at);
CREATE TABLE "DELETE" PARTITION OF flat FOR VALUES FROM (0) TO (100);
CREATE TABLE flat_2 PARTITION OF flat DEFAULT;
SELECT deletion_guard.guard_table('flat');
SQL
$publisher->safe_psql('postgres', <<'SQL');
INSERT INTO tenant SELECT i, 'tenant ' || i FROM generate_series(1, 4) i;
INSERT INTO issue SELECT i, 1 + i % 4, (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 100) j) FROM generate_series(1, 40) i;
INSERT INTO event SELECT i * 4, 1 + i % 4 FROM generate_series(0, 48) i;
INSERT INTO keyless SELECT i, 'row ' || i FROM generate_series(1, 5) i;
INSERT INTO flat SELECT i, 'row ' || i FROM generate_series(1, 5) i;
CREATE PUBLICATION everything FOR TABLE tenant, issue, event, keyless, flat WITH (publish_via_partition_root = true);
SQL
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION everything CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($publisher, 'everything');

my $content = <<'SQL';
SELECT 'tenant', t::text FROM tenant t UNION ALL
SELECT 'issue', concat_ws(',', id, tenant_id, md5(body)) FROM issue t UNION ALL
SELECT tableoid::regclass::text, at || ',' || tenant_id FROM event UNION ALL
SELECT 'keyless', t::text FROM keyless t ORDER BY 1, 2
SQL
my $original = $publisher->safe_psql('postgres', $content);
is($subscriber->safe_psql('postgres', $content), $original, 'the subscriber has all rows');

# What is in a server's bin, by table and tenant.
my $bin = q(SELECT relation, tenant, sum(rows - restored) FROM deletion_guard.deletion_detail
	GROUP BY 1, 2 HAVING sum(rows - restored) > 0 ORDER BY relation::text, tenant);

# Undoes all deletions, the latest first.
my $undelete_all = <<'SQL';
DO $$
DECLARE d bigint;
BEGIN
	FOR d IN SELECT id FROM deletion_guard.deletion WHERE state NOT LIKE 'restored%' ORDER BY id DESC LOOP
		PERFORM * FROM deletion_guard.undelete(d);
	END LOOP;
END $$;
SQL

sub sync { $publisher->wait_for_catchup('everything'); return }

# Runs a statement on the publisher; both bins then hold the same.
sub same_bins
{
	my ($name, $statement) = @_;

	$publisher->safe_psql('postgres', $statement);
	sync();
	my $expected = $publisher->safe_psql('postgres', $bin);
	isnt($expected, '', "$name: captured at the publisher");
	is($subscriber->safe_psql('postgres', $bin), $expected, "$name: captured at the subscriber");
	is($subscriber->safe_psql('postgres', $content), $publisher->safe_psql('postgres', $content), "$name: same tables");
	return;
}

# --- logical replication ---------------------------------------------------

same_bins('delete with cascade', 'DELETE FROM tenant WHERE id = 2');
same_bins('delete from partitions', 'DELETE FROM event WHERE tenant_id = 3');
same_bins('table without a key', 'DELETE FROM keyless WHERE a = 3');
same_bins('several statements', 'BEGIN; DELETE FROM issue WHERE id = 4; DELETE FROM event WHERE at = 0; COMMIT');

# A row that moves to another partition is not deleted.
my $before = $subscriber->safe_psql('postgres', $bin);
$publisher->safe_psql('postgres', 'UPDATE flat SET at = at + 100 WHERE at < 4; UPDATE flat SET at = at + 200 WHERE at < 200');
sync();
is($subscriber->safe_psql('postgres', 'SELECT tableoid::regclass, count(*) FROM flat GROUP BY 1'), 'flat_2|5', 'rows have moved');
is($subscriber->safe_psql('postgres', $bin), $before, 'moved, not deleted');
$publisher->safe_psql('postgres', 'DELETE FROM flat WHERE at < 300');
sync();
like($subscriber->safe_psql('postgres', $bin), qr/flat\|\|2/, 'deleted after that');
$publisher->safe_psql('postgres', 'DROP TABLE flat');
$subscriber->safe_psql('postgres', "SELECT * FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion))");

# Where the publisher's table is partitioned, it sends such a row as one deleted
# and one inserted; nothing tells the subscriber that they are the same.
my $moving = <<'SQL';
CREATE TABLE moving (at int PRIMARY KEY, what text) PARTITION BY RANGE (at);
CREATE TABLE moving_1 PARTITION OF moving FOR VALUES FROM (0) TO (100);
CREATE TABLE moving_2 PARTITION OF moving DEFAULT;
SQL
$publisher->safe_psql('postgres', "$moving INSERT INTO moving VALUES (1, 'moves'); ALTER PUBLICATION everything ADD TABLE moving");
$subscriber->safe_psql('postgres', "$moving SELECT deletion_guard.guard_table('moving')");
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION everything REFRESH PUBLICATION');
$subscriber->wait_for_subscription_sync($publisher, 'everything');
$before = $subscriber->safe_psql('postgres', $bin);
$publisher->safe_psql('postgres', 'UPDATE moving SET at = 101');
sync();
is($subscriber->safe_psql('postgres', 'SELECT tableoid::regclass, * FROM moving'), 'moving_2|101|moves', 'moved by the publisher');
is($subscriber->safe_psql('postgres', 'SELECT * FROM deletion_guard.deleted_rows(NULL::moving)'), '1|moves',
	'what it was before is in the bin');
$publisher->safe_psql('postgres', 'DROP TABLE moving');
$subscriber->safe_psql('postgres', "SELECT * FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion))");
is($subscriber->safe_psql('postgres', $bin), $before, 'and can be taken out of it');

same_bins('truncate', 'TRUNCATE tenant CASCADE');
same_bins('truncate of partitions', 'TRUNCATE event, keyless');

# Everything comes back at the subscriber by itself, the publisher's bin aside.
$subscriber->safe_psql('postgres', $undelete_all);
is($subscriber->safe_psql('postgres', $content), $original, 'the subscriber undeletes on its own');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM deletion_guard.deletion WHERE rows IS NULL'), 0,
	'no deletion without rows');
is($publisher->safe_psql('postgres', 'SELECT count(*) FROM issue'), 0, 'without the publisher');

# What is applied comes row by row. Still a deletion has one part for each
# tenant, whichever way the transaction comes.
$_->safe_psql('postgres', 'CREATE TABLE many (id int PRIMARY KEY, tenant_id int, body text)') for $publisher, $subscriber;
$subscriber->safe_psql('postgres', "SELECT deletion_guard.guard_table('many', 'tenant_id')");
$publisher->safe_psql('postgres', <<'SQL');
INSERT INTO many SELECT i, i % 3, 'row ' || i FROM generate_series(1, 6000) i;
CREATE PUBLICATION many FOR TABLE many;
SQL
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION many CONNECTION '" . $publisher->connstr .
	" dbname=postgres' PUBLICATION many WITH (streaming = on, two_phase = on)");
$subscriber->wait_for_subscription_sync($publisher, 'many');
$publisher->poll_query_until('postgres', "SELECT two_phase FROM pg_replication_slots WHERE slot_name = 'many'")
	or die 'no two-phase commit';

sub one_part_each
{
	my ($name, $rows, $statements) = @_;

	$publisher->safe_psql('postgres', $statements);
	$publisher->wait_for_catchup('many');
	is($subscriber->safe_psql('postgres', <<'SQL'), "0|1|$rows\n1|1|$rows\n2|1|$rows", "$name: one part for each tenant");
SELECT tenant, count(*), sum(rows) FROM deletion_guard.deletion_part
WHERE rows > 0 AND deletion_id = (SELECT max(id) FROM deletion_guard.deletion) GROUP BY 1 ORDER BY 1
SQL
	my $ids = 'SELECT count(*), sum(id) FROM many';
	is($subscriber->safe_psql('postgres', $ids), $publisher->safe_psql('postgres', $ids), "$name: same rows");
	return;
}

one_part_each('small transaction', 10, 'DELETE FROM many WHERE id <= 30');
one_part_each('streamed transaction with savepoints', 990, <<'SQL');
BEGIN;
DELETE FROM many WHERE id <= 2000;
SAVEPOINT kept;
DELETE FROM many WHERE id <= 3000;
RELEASE kept;
SAVEPOINT undone;
DELETE FROM many;
ROLLBACK TO undone;
COMMIT;
SQL
one_part_each('prepared transaction', 100, <<'SQL');
BEGIN;
DELETE FROM many WHERE id <= 3300;
PREPARE TRANSACTION 'many';
COMMIT PREPARED 'many';
SQL
$subscriber->safe_psql('postgres',
	'SELECT deletion_guard.undelete(deletion_id) FROM (SELECT DISTINCT deletion_id FROM deletion_guard.deletion_detail'
	  . " WHERE relation = 'many'::regclass) d");
is($subscriber->safe_psql('postgres', 'SELECT count(*), sum(id) FROM many'), '6000|18003000', 'and all of them come back');
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION many');

# --- session_replication_role ----------------------------------------------

my $node = $publisher;
$node->safe_psql('postgres', 'ALTER PUBLICATION everything DROP TABLE tenant, issue, event, keyless');
$node->safe_psql('postgres', $undelete_all);
is($node->safe_psql('postgres', $content), $original, 'the publisher undeletes, too');
$node->safe_psql('postgres', 'SET session_replication_role = replica; DELETE FROM issue WHERE tenant_id = 1; DELETE FROM event WHERE at < 8');
is($node->safe_psql('postgres', $bin), "event|1|1\nevent|2|1\nissue|1|10", 'captured as replica, each row once');
$node->safe_psql('postgres', 'SET session_replication_role = replica; UPDATE event SET at = 101 WHERE at = 8; UPDATE event SET at = 8 WHERE at = 101');
is($node->safe_psql('postgres', $bin), "event|1|1\nevent|2|1\nissue|1|10", 'moved as replica: nothing captured');
$node->safe_psql('postgres', 'SET session_replication_role = replica; TRUNCATE keyless');
like($node->safe_psql('postgres', $bin), qr/keyless\|\|5/, 'truncated as replica: captured');
$node->safe_psql('postgres', 'SET session_replication_role = local; DELETE FROM event WHERE at = 12');
like($node->safe_psql('postgres', $bin), qr/event\|4\|1/, 'captured as local');

# --- a standby -------------------------------------------------------------

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', 'DELETE FROM tenant WHERE id = 4');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $bin), $node->safe_psql('postgres', $bin), 'the standby shows what is in the bin');
is($standby->safe_psql('postgres', "SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue, tenant => '4')"), 10,
	'and the rows');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM deletion_guard.status'), 1, 'and the status');
for my $statement ('DELETE FROM issue', 'TRUNCATE issue', 'SELECT * FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion))', 'DROP TABLE issue')
{
	my ($ret, $stdout, $stderr) = $standby->psql('postgres', $statement);
	like($stderr, qr/read-only transaction|recovery/, "refused in recovery: $statement");
}
$standby->promote;
$standby->safe_psql('postgres', $undelete_all);
is($standby->safe_psql('postgres', $content), $original, 'promoted, it undeletes');
$standby->safe_psql('postgres', 'DELETE FROM issue WHERE id = 1; DELETE FROM keyless');
like($standby->safe_psql('postgres', $bin), qr/issue\|2\|1\nkeyless\|\|5/, 'and captures');

done_testing();
