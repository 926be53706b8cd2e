# Citus: what it manages is not guarded, in words; on one server, which is coordinator
# and worker.
use strict;
use warnings FATAL => 'all';

use Neighbour;
use Test::More;

plan skip_all => 'citus is not installed' if !has_extension('citus');
my $node = neighbour('citus', "citus.shard_count = 2\n");
my $port = $node->port;
my $host = $node->host;

$node->safe_psql('postgres', <<"SQL");
SET deletion_guard.ddl = allow;
CREATE EXTENSION citus;
RESET deletion_guard.ddl;
SELECT citus_set_coordinator_host('$host', $port);
SELECT citus_set_node_property('$host', $port, 'shouldhaveshards', true);
CREATE TABLE spread (org_id int, id int, PRIMARY KEY (org_id, id));
SELECT create_distributed_table('spread', 'org_id');
CREATE TABLE everywhere (id int PRIMARY KEY, org_id int);
SELECT create_reference_table('everywhere');
CREATE TABLE here (id int PRIMARY KEY, org_id int);
SELECT citus_add_local_table_to_metadata('here');
CREATE TABLE doc (id int PRIMARY KEY, org_id int);
INSERT INTO spread SELECT i % 3, i FROM generate_series(1, 99) i;
INSERT INTO everywhere SELECT i, i % 3 FROM generate_series(1, 9) i;
SQL

my $managed = qr/it is a table that Citus manages/;
is($node->safe_psql('postgres', "SELECT relation, problem IS NULL, problem ~ 'Citus' FROM deletion_guard.guard_schema('public', 'org_id') ORDER BY relation::text"),
	"doc|t|\neverywhere|f|t\nhere|f|t\nspread|f|t", 'a schema is enrolled but for them');
refused($node, $_, "SELECT deletion_guard.guard_table('$_')", $managed) for qw(spread everywhere here);
is($node->safe_psql('postgres', "SELECT count(*) FROM deletion_guard.verify() WHERE check_name = 'unguarded tables' AND detail ~ 'Citus'"), '3', 'verify() names them');
is($node->safe_psql('postgres', "SELECT DISTINCT effect FROM deletion_guard.preview('DELETE FROM spread') WHERE relation = 'spread'::regclass"),
	'not counted: it is a table that Citus manages', 'preview() does, too');

# a guarded table is not given to Citus, which does not take our triggers itself as long as it is not told to
$node->safe_psql('postgres', "CREATE SCHEMA apart; CREATE TABLE apart.later (org_id int, id int, PRIMARY KEY (org_id, id)); INSERT INTO apart.later SELECT i % 3, i FROM generate_series(1, 9) i; SELECT deletion_guard.guard_table('apart.later', 'org_id')");
my $make = "SELECT create_distributed_table('apart.later', 'org_id')";
refused($node, 'a distributed table is not made', $make, qr/cannot distribute relation "later" because it has triggers/);
my $insist = 'SET citus.enable_unsafe_triggers = on;';
{
	local $ENV{PGOPTIONS} = '-c session_preload_libraries=deletion_guard';
	refused($node, 'nor with unsafe triggers', "$insist $make", qr/cannot make table "later" a table that Citus manages: it is guarded/);
	refused($node, 'nor a reference table', "$insist SELECT create_reference_table('apart.later')", qr/cannot make table "later"/);
	refused($node, 'nor a local table that Citus knows', "$insist SELECT citus_add_local_table_to_metadata('apart.later')", qr/guarded against deletion/);
}

# an empty one is, and guarded no more
{
	local $ENV{PGOPTIONS} = '-c session_preload_libraries=deletion_guard';
	$node->safe_psql('postgres', 'CREATE TABLE apart.bare (LIKE apart.later INCLUDING ALL)');
	refused($node, 'a table without rows', "SELECT deletion_guard.guard_table('apart.bare'); $insist SELECT create_distributed_table('apart.bare', 'org_id')",
		qr/WARNING:  table "bare" is not guarded any more: it is a table that Citus manages/);
	$node->safe_psql('postgres', 'INSERT INTO apart.bare VALUES (1, 1), (2, 2); DELETE FROM apart.bare');
}

# where the library is not loaded when that is done, deletions fail
$node->safe_psql('postgres', "$insist $make");
refused($node, 'DELETE in a session without the library', 'DELETE FROM apart.later', qr/was not called as the trigger it is for/);
$ENV{PGOPTIONS} = '-c session_preload_libraries=deletion_guard';
refused($node, 'DELETE', 'DELETE FROM apart.later', qr/cannot delete from "later": $managed, and guarded/);
refused($node, 'DELETE of one tenant', 'DELETE FROM apart.later WHERE org_id = 1', qr/cannot delete from "later"|was not called as the trigger it is for/);
refused($node, 'MERGE', 'MERGE INTO apart.later l USING spread s ON l.org_id = s.org_id AND l.id = s.id WHEN MATCHED THEN DELETE', qr/cannot delete from "later"/);
refused($node, 'TRUNCATE', 'TRUNCATE apart.later', qr/cannot delete from "later"/);
is($node->safe_psql('postgres', 'SELECT count(*) FROM apart.later'), '9', 'nothing is lost');
is($node->safe_psql('postgres', "SELECT count(*) FROM deletion_guard.verify() WHERE check_name = 'storage' AND NOT ok"), '1', 'verify() says so');

guard_works($node, 'beside Citus');
$node->stop;
done_testing();
