# Citus on several servers: guards on the workers, whose shards are ordinary tables.
# The coordinator has none. Shards that move are guarded where they arrive.
use strict;
use warnings FATAL => 'all';

use Neighbour;
use PostgreSQL::Test::Cluster;
use Test::More;

plan skip_all => 'citus is not installed' if !has_extension('citus');
my $conf = "citus.shard_count = 4\nmax_prepared_transactions = 20\nmax_wal_senders = 10\nmax_replication_slots = 10\nsession_preload_libraries = deletion_guard\n";
my ($coordinator, @workers) = map { neighbour('citus', $conf, $_) } qw(coordinator worker_1 worker_2);

for my $node ($coordinator, @workers)
{
	$node->safe_psql('postgres', 'SET deletion_guard.ddl = allow; CREATE EXTENSION citus');
	$node->safe_psql('postgres', sprintf("ALTER SYSTEM SET citus.local_hostname = '%s'", $node->host));
	$node->reload;
}
# on the workers: one enrolled schema, before anything is distributed
$_->safe_psql('postgres', "CREATE SCHEMA app; SELECT deletion_guard.guard_schema('app', 'org_id')") for @workers;
$coordinator->safe_psql('postgres', sprintf("SELECT citus_set_coordinator_host('%s', %d)", $coordinator->host, $coordinator->port));
$coordinator->safe_psql('postgres', sprintf("SELECT citus_add_node('%s', %d)", $_->host, $_->port)) for @workers;
$coordinator->safe_psql('postgres', <<'SQL');
CREATE SCHEMA IF NOT EXISTS app;
CREATE TABLE app.org (org_id int PRIMARY KEY);
CREATE TABLE app.doc (org_id int REFERENCES app.org ON DELETE CASCADE, id int, PRIMARY KEY (org_id, id));
SELECT create_distributed_table('app.org', 'org_id');
SELECT create_distributed_table('app.doc', 'org_id', colocate_with => 'app.org');
INSERT INTO app.org SELECT generate_series(1, 40);
INSERT INTO app.doc SELECT 1 + i % 40, i FROM generate_series(1, 2000) i;
SQL

# rows in the bins of all workers
sub kept
{
	my $sum = 0;

	$sum += $_->safe_psql('postgres', 'SELECT coalesce(sum(rows), 0) FROM deletion_guard.deletion') for @workers;
	return $sum;
}

my $shards = 0;
$shards += $_->safe_psql('postgres', 'SELECT count(*) FROM deletion_guard.guarded_table') for @workers;
is($shards, 8, 'shards are guarded, and nothing else');
$coordinator->safe_psql('postgres', 'DELETE FROM app.doc WHERE org_id = 5');
is(kept(), 50, 'rows of one tenant are kept');
$coordinator->safe_psql('postgres', 'DELETE FROM app.org WHERE org_id IN (1, 2, 3)');
is(kept(), 50 + 3 + 150, 'rows of many shards, and cascades');
$coordinator->safe_psql('postgres', 'BEGIN; DELETE FROM app.doc WHERE id % 2 = 0; ROLLBACK');
is(kept(), 203, 'none of what is rolled back');

my $move = $coordinator->safe_psql('postgres', sprintf(
	"SELECT format('SELECT citus_move_shard_placement(%%s, %%L, %%s, %%L, %%s, ''block_writes'')', min(shardid), nodename, nodeport, '%s', %d) FROM citus_shards WHERE table_name = 'app.org'::regclass AND nodeport = %d GROUP BY nodename, nodeport",
	$workers[1]->host, $workers[1]->port, $workers[0]->port));
$coordinator->safe_psql('postgres', $move);
is($workers[1]->safe_psql('postgres', 'SELECT count(*) FROM deletion_guard.guarded_table'), '6', 'shards are guarded where they move to');
my ($ret, $out, $err) = $coordinator->psql('postgres', 'CALL citus_cleanup_orphaned_resources()');
like($err, qr/cannot drop table "doc_\d+": it is guarded/, 'those left behind stay there, as they have rows');
my $live = $coordinator->safe_psql('postgres', 'SELECT count(*) FROM app.doc');
$coordinator->safe_psql('postgres', 'TRUNCATE app.doc');
is(kept(), 203 + $live, 'what TRUNCATE takes is kept');

# rows come back on the worker that has them
my $tenant = $coordinator->safe_psql('postgres', sprintf("SELECT min(i) FROM generate_series(6, 40) i JOIN citus_shards s ON s.shardid = get_shard_id_for_distribution_column('app.doc', i) WHERE nodeport = %d", $workers[1]->port));
$workers[1]->safe_psql('postgres', "SELECT deletion_guard.undelete_tenant('$tenant')");
is($coordinator->safe_psql('postgres', "SELECT count(*) FROM app.doc WHERE org_id = $tenant"), '50', 'a tenant comes back');

$_->stop for $coordinator, @workers;
done_testing();
