# Subscribers: a server that nobody guards publishes, and the one that receives
# keeps what is deleted. What a publication of everything does to a publisher.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $conf = "fsync = off\nautovacuum = off\nwal_level = logical\ndeletion_guard.retention = 0\n";
my ($publisher, $subscriber) = map { PostgreSQL::Test::Cluster->new($_) } qw(publisher subscriber);
for my $node ($publisher, $subscriber)
{
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', $conf);
	$node->start;
	$node->safe_psql('postgres', <<'SQL');
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE, body text);
CREATE TABLE bookmark (id int PRIMARY KEY, issue_id int REFERENCES issue ON DELETE SET NULL, tenant_id int);
CREATE TABLE event (at int PRIMARY KEY, tenant_id int) PARTITION BY RANGE (at);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (100);
CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (100) TO (200);
CREATE TABLE filtered (id int PRIMARY KEY, tenant_id int, public boolean);
ALTER TABLE filtered REPLICA IDENTITY FULL;
SQL
}
$publisher->safe_psql('postgres', <<'SQL');
INSERT INTO tenant SELECT i, 'tenant ' || i FROM generate_series(1, 4) i;
INSERT INTO issue SELECT i, 1 + i % 4, repeat(md5(i::text), 200) FROM generate_series(1, 40) i;
INSERT INTO bookmark SELECT i, i, 1 + i % 4 FROM generate_series(1, 40) i;
INSERT INTO event SELECT i * 4, 1 + i % 4 FROM generate_series(0, 48) i;
INSERT INTO filtered SELECT i, 1 + i % 4, true FROM generate_series(1, 8) i;
CREATE PUBLICATION tables FOR TABLE tenant, issue, bookmark, event;
CREATE PUBLICATION rows FOR TABLE filtered WHERE (public);
SQL

# Rows that come with the first copy are no deletions; neither is what comes
# before the tables are guarded.
$subscriber->safe_psql('postgres', <<'SQL');
CREATE EXTENSION deletion_guard;
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT FROM deletion_guard.guard_schema('public', 'tenant_id');
SQL
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION tables CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION tables, rows WITH (streaming = on)");
$subscriber->wait_for_subscription_sync($publisher, 'tables');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM issue'), 40, 'first copy: arrived');

my $bin = q(SELECT relation, tenant, sum(rows - restored) FROM deletion_guard.deletion_detail
	GROUP BY 1, 2 HAVING sum(rows - restored) > 0 ORDER BY relation::text, tenant);

# What a statement at the publisher leaves in the subscriber's bin.
sub leaves
{
	my ($name, $statement, $expected) = @_;

	$publisher->safe_psql('postgres', $statement);
	$publisher->wait_for_catchup('tables');
	is($subscriber->safe_psql('postgres', $bin), $expected, "$name: in the bin");
	$subscriber->safe_psql('postgres', <<'SQL');
DO $$ DECLARE d bigint; BEGIN
	FOR d IN SELECT id FROM deletion_guard.deletion WHERE state = 'deleted' ORDER BY id DESC LOOP
		PERFORM * FROM deletion_guard.undelete(d, on_conflict => 'skip');
	END LOOP;
END $$
SQL
	is($subscriber->safe_psql('postgres', $bin), '', "$name: undone at the subscriber");
	return;
}

leaves('a delete', 'DELETE FROM issue WHERE id IN (1, 2)', "issue|2|1\nissue|3|1");
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM bookmark WHERE issue_id IS NULL'), 2,
	'links that the publisher has cleared stay cleared: that came as an update');
leaves('a cascade', 'DELETE FROM tenant WHERE id = 1', "issue|1|10\ntenant|1|1");
leaves('a large transaction, streamed', "SET logical_decoding_work_mem = '64kB'; BEGIN; DELETE FROM issue WHERE tenant_id = 2; DELETE FROM event WHERE tenant_id = 2; COMMIT",
	"event|2|12\nissue|2|9");
leaves('TRUNCATE', 'TRUNCATE event', "event|1|13\nevent|2|12\nevent|3|12\nevent|4|12");

# Published partition by partition, a row that moves comes as a deletion and an
# insertion: there is one row too many in the bin, and undelete says so.
$publisher->safe_psql('postgres', 'INSERT INTO event VALUES (7, 3)');
$publisher->wait_for_catchup('tables');
$publisher->safe_psql('postgres', 'UPDATE event SET at = 107 WHERE at = 7');
$publisher->wait_for_catchup('tables');
is($subscriber->safe_psql('postgres', $bin), 'event|3|1', 'a row that moves between published partitions looks deleted');
is($subscriber->safe_psql('postgres', 'SELECT tableoid::regclass FROM event WHERE at = 107'), 'event_2', 'and is alive');
$subscriber->safe_psql('postgres', 'SELECT FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion)); DELETE FROM event WHERE at = 7; TRUNCATE event');
$subscriber->safe_psql('postgres', q(SELECT FROM deletion_guard.undelete_tenants('{1,2,3,4}', on_conflict => 'skip')));

# A row that a publication's filter does not let through any more is deleted here.
$publisher->safe_psql('postgres', 'UPDATE filtered SET public = false WHERE id = 3');
$publisher->wait_for_catchup('tables');
is($subscriber->safe_psql('postgres', 'SELECT id, public FROM deletion_guard.deleted_rows(NULL::filtered)'), '3|t',
	'a row that the filter stops is in the bin');
$subscriber->safe_psql('postgres', q(SELECT FROM deletion_guard.undelete_tenant('4')));

# --- parallel workers ------------------------------------------------------

# For each row that it routes to a partition with our trigger, the server warns.
# A parallel worker must not send its leader hundreds of warnings: nobody reads them.
if ($subscriber->pg_version >= 16)
{
	$publisher->append_conf('postgresql.conf', "debug_logical_replication_streaming = immediate\n");
	$publisher->reload;
	$publisher->safe_psql('postgres', <<'SQL');
CREATE TABLE routed (id int PRIMARY KEY, tenant_id int);
INSERT INTO routed SELECT i, 1 + i % 4 FROM generate_series(1, 800) i;
ALTER PUBLICATION tables ADD TABLE routed;
SQL
	$subscriber->safe_psql('postgres', <<'SQL');
CREATE TABLE routed (id int PRIMARY KEY, tenant_id int) PARTITION BY RANGE (id);
CREATE TABLE routed_1 PARTITION OF routed DEFAULT;
SQL
	$subscriber->safe_psql('postgres', $_)
		for 'ALTER SUBSCRIPTION tables REFRESH PUBLICATION', 'ALTER SUBSCRIPTION tables SET (streaming = parallel)';
	$subscriber->wait_for_subscription_sync($publisher, 'tables');
	leaves('a parallel worker', 'DELETE FROM routed WHERE id = 1', 'routed|2|1');
	leaves('a parallel worker, many rows', 'DELETE FROM routed', "routed|1|200\nrouted|2|199\nrouted|3|200\nrouted|4|200");
	is($subscriber->safe_psql('postgres', 'SELECT count(*) > 0 FROM pg_stat_subscription WHERE leader_pid IS NOT NULL'), 't',
		'it was one');
}

# --- ceilings --------------------------------------------------------------

# They count what a statement removes. What comes from a publisher comes row by
# row, and has happened there: no ceiling holds it up.
my @ceilings = map { "deletion_guard.$_" } qw(max_rows max_tenants tenant_wipes_per_hour);
$subscriber->append_conf('postgresql.conf', join '', map { "$_ = 1\n" } @ceilings);
$subscriber->restart;
leaves('more than the ceilings', 'DELETE FROM tenant', "issue|3|9\nissue|4|10\ntenant|2|1\ntenant|3|1\ntenant|4|1");
$subscriber->append_conf('postgresql.conf', join '', map { "$_ = 0\n" } @ceilings);
$subscriber->restart;
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION tables');

# --- everything ------------------------------------------------------------

# A publication of all tables has the bin among them. verify() says so; what the
# publisher deletes, gives back and purges goes on as before.
my $node = $subscriber;
$node->safe_psql('postgres', slurp_file('test/sql/signing.sql') . 'ALTER TABLE signing.output REPLICA IDENTITY FULL');
$node->safe_psql('postgres', "SELECT deletion_guard.add_authority('legal', signing.make_key('legal'))");
$node->safe_psql('postgres', 'SET deletion_guard.publication = allow; CREATE PUBLICATION everything FOR ALL TABLES');
is($node->safe_psql('postgres', "SELECT object FROM deletion_guard.verify() WHERE check_name = 'publications' AND NOT ok"),
	'everything: all tables', 'all tables: verify() says so');
$node->safe_psql('postgres', 'INSERT INTO tenant VALUES (9, $$nine$$); INSERT INTO issue VALUES (90, 9), (91, 9); INSERT INTO bookmark VALUES (90, 90, 9)');
for my $statement ('DELETE FROM issue WHERE id = 90', q(SELECT * FROM deletion_guard.undelete_tenant('9')), 'DELETE FROM tenant WHERE id = 9',
	q(SELECT deletion_guard.release_hold(deletion_guard.hold_tenant('8', 'litigation'), signing.sign(jsonb_build_object('act', 'release_hold', 'aud', deletion_guard.audience(), 'hold', 1)))),
	q(SELECT deletion_guard.withdraw_purge((deletion_guard.request_purge('9', 'mistaken') ->> 'request')::bigint)),
	q(SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('9', 'contract ended')))),
	q(SELECT deletion_guard.unguard_table('filtered')), 'TRUNCATE tenant CASCADE')
{
	my ($ret, $out, $err) = $node->psql('postgres', $statement);
	is($ret, 0, "all tables: $statement") or diag($err);
}

done_testing();
