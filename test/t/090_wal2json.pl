# wal2json: with the filter that doc/where-it-runs.md gives, what the guard writes is not in its stream.
use strict;
use warnings FATAL => 'all';

use Neighbour;
use Test::More;

plan skip_all => 'wal2json is not installed' if !has_library('wal2json');
my $node = neighbour('');
# minor releases that ask which libraries may decode
if (`postgres --describe-config` =~ /^output_plugin_libraries\t/m)
{
	$node->append_conf('postgresql.conf', "output_plugin_libraries = 'wal2json, pgoutput'\n");
	$node->restart;
}

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE doc (id int PRIMARY KEY, org_id int);
SELECT deletion_guard.guard_table('doc', 'org_id');
INSERT INTO doc SELECT i, i % 3 FROM generate_series(1, 9) i;
SELECT FROM pg_create_logical_replication_slot('s', 'wal2json');
DELETE FROM doc WHERE id = 1;
DELETE FROM doc WHERE org_id = 2;
SELECT deletion_guard.undelete_tenant('2');
TRUNCATE doc;
SQL

sub stream
{
	return $node->safe_psql('postgres', "SELECT data FROM pg_logical_slot_peek_changes('s', NULL, NULL, 'format-version', '2', 'include-transaction', 'false' $_[0])");
}

like(stream(''), qr/deletion_guard_bin/, 'without a filter it is');
my $filtered = stream(", 'filter-tables', 'deletion_guard.*,deletion_guard_bin.*'");
unlike($filtered, qr/"schema":"deletion_guard/, 'with it, nothing');
is(scalar(() = $filtered =~ /"action":"D"/g), 4, 'but deletions');
is(scalar(() = $filtered =~ /"action":"I"/g), 3, 'and rows that come back');

$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('s')");
$node->stop;
done_testing();
