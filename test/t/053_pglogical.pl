# Rows that pglogical applies: its worker runs no statements, has no snapshot, and is
# no worker of the server's own logical replication. Skipped where it is not installed.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $extensions = `pg_config --sharedir`;
chomp $extensions;
plan skip_all => 'pglogical is not installed' if !-e "$extensions/extension/pglogical.control";

my $node = PostgreSQL::Test::Cluster->new('node');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
wal_level = logical
shared_preload_libraries = 'pglogical'
max_worker_processes = 16
max_wal_senders = 5
max_replication_slots = 5
CONF
# minor releases that ask which libraries may decode
$node->append_conf('postgresql.conf', "output_plugin_libraries = 'pglogical_output, pgoutput'\n")
	if `postgres --describe-config` =~ /^output_plugin_libraries\t/m;
$node->start;

my $dsn = 'host=' . $node->host . ' port=' . $node->port . ' dbname=';
for my $db (qw(here there))
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, <<"SQL");
CREATE EXTENSION pglogical;
CREATE TABLE doc (id int PRIMARY KEY, org_id int);
CREATE TABLE note (id int PRIMARY KEY, doc int);
SELECT pglogical.create_node('$db', '$dsn$db');
SQL
}
$node->safe_psql('there', <<'SQL');
CREATE EXTENSION deletion_guard;
SELECT deletion_guard.guard_table('doc', 'org_id'), deletion_guard.guard_table('note');
SQL
$node->safe_psql('here', <<'SQL');
SELECT pglogical.replication_set_add_all_tables('default', ARRAY['public']);
INSERT INTO doc SELECT i, i % 3 FROM generate_series(1, 300) i;
INSERT INTO note SELECT i, i FROM generate_series(1, 10) i;
SQL
$node->safe_psql('there', "SELECT pglogical.create_subscription('s', '${dsn}here')");

sub arrives
{
	my ($name, $sql, $expected) = @_;

	ok($node->poll_query_until('there', $sql, $expected), $name);
}
my $kept = 'SELECT count(*) FROM deletion_guard.deleted_rows(NULL::doc)';

arrives('the rows are there', 'SELECT count(*) FROM doc', '300');
arrives('those of the other table too', 'SELECT count(*) FROM note', '10');
$node->safe_psql('here', 'DELETE FROM doc WHERE id <= 100');
arrives('rows that are deleted are kept', $kept, '100');
$node->safe_psql('here', 'BEGIN; DELETE FROM doc WHERE id <= 200; DELETE FROM note WHERE id <= 5; COMMIT');
arrives('those of two tables', "SELECT count(*) || ' ' || (SELECT count(*) FROM deletion_guard.deleted_rows(NULL::note)) FROM deletion_guard.deleted_rows(NULL::doc)", '200 5');
$node->safe_psql('here', 'TRUNCATE doc');
arrives('those that TRUNCATE takes', $kept, '300');
$node->safe_psql('here', 'INSERT INTO doc VALUES (1, 1)');
arrives('replication goes on', 'SELECT count(*) FROM doc', '1');
is($node->safe_psql('there', "SELECT sum(restored) FROM deletion_guard.undelete_tenant('2')"), '100', 'they come back');

$node->safe_psql('there', "SELECT pglogical.drop_subscription('s')");
$node->stop;
done_testing();
