# TimescaleDB: its tables are not guarded, in words; ordinary tables beside them are.
use strict;
use warnings FATAL => 'all';

use Neighbour;
use Test::More;

plan skip_all => 'timescaledb is not installed' if !has_extension('timescaledb');
my $node = neighbour('timescaledb', "timescaledb.telemetry_level = off\n");

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION timescaledb;
CREATE TABLE org (id int PRIMARY KEY, name text);
CREATE TABLE reading (at timestamptz NOT NULL, org_id int, value float);
SELECT create_hypertable('reading', 'at', chunk_time_interval => interval '1 day');
INSERT INTO reading SELECT now() - i * interval '1 hour', i % 3, i FROM generate_series(1, 99) i;
CREATE TABLE still_empty (at timestamptz NOT NULL, org_id int);
SELECT create_hypertable('still_empty', 'at');
CREATE TABLE doc (id int PRIMARY KEY, org_id int);
SELECT deletion_guard.set_tenant_table('org', 'id', 'name');
SQL

my $hypertable = qr/it is a hypertable of TimescaleDB/;
is($node->safe_psql('postgres', "SELECT relation, problem IS NULL, problem ~ 'hypertable' FROM deletion_guard.guard_schema('public', 'org_id') ORDER BY relation::text"),
	"doc|t|\norg|t|\nreading|f|t\nstill_empty|f|t", 'a schema is enrolled but for hypertables');
refused($node, 'a hypertable', "SELECT deletion_guard.guard_table('reading')", $hypertable);
refused($node, 'an empty one', "SELECT deletion_guard.guard_table('still_empty')", $hypertable);
refused($node, 'a chunk', "SELECT deletion_guard.guard_table(c) FROM show_chunks('reading') c", qr/it is a chunk of a hypertable/);
is($node->safe_psql('postgres', "SELECT object FROM deletion_guard.verify() WHERE check_name = 'unguarded tables' AND detail ~ 'hypertable' ORDER BY 1"),
	"public.reading\npublic.still_empty", 'verify() names them, and no chunk');
is($node->safe_psql('postgres', "SELECT bool_or(effect = 'not counted: it is a hypertable of TimescaleDB'), sum(rows) FROM deletion_guard.preview('DELETE FROM reading WHERE org_id = 1')"),
	't|33', 'preview() does, too');

# a table of the enrolled schema is guarded as it is made; with rows it stays an ordinary one
$node->safe_psql('postgres', 'CREATE TABLE later (at timestamptz NOT NULL, org_id int); INSERT INTO later VALUES (now(), 1)');
my $make = "SELECT create_hypertable('later', 'at', migrate_data => true)";
{
	local $ENV{PGOPTIONS} = '-c session_preload_libraries=deletion_guard';
	refused($node, 'it is not made a hypertable', $make, qr/ERROR:.* a hypertable of TimescaleDB/);
	refused($node, 'nor by a superuser who insists', "SET deletion_guard.ddl = allow; $make", qr/ERROR:.* a hypertable of TimescaleDB/);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM timescaledb_information.hypertables'), '2', 'nothing is left of that');
	$node->safe_psql('postgres', 'DELETE FROM later');
	refused($node, 'an empty one is, and guarded no more', $make, qr/WARNING:  table "later" is not guarded any more: it is a hypertable/);
	$node->safe_psql('postgres', 'INSERT INTO later VALUES (now(), 2); DELETE FROM later');
	is($node->safe_psql('postgres', "SELECT count(*) FROM deletion_guard.ledger WHERE event = 'unguard_table' AND details::text LIKE '%hypertable%'"), '1', 'that is on record');
}

SKIP:
{
	skip 'CREATE TABLE does not make hypertables', 2
		if $node->safe_psql('postgres', "SELECT split_part(extversion, '.', 2)::int < 20 FROM pg_extension WHERE extname = 'timescaledb'") eq 't';
	refused($node, 'CREATE TABLE of a hypertable', "CREATE TABLE made (at timestamptz NOT NULL, org_id int) WITH (tsdb.hypertable, tsdb.partition_column = 'at')",
		qr/WARNING:  table "made" is not guarded any more: it is a hypertable/);
	is($node->safe_psql('postgres', "SELECT count(*) FROM deletion_guard.ledger WHERE event = 'unguard_table' AND details::text LIKE '%made%'"), '1', 'on record');
}

# what is in the bin is not restored into it past TimescaleDB
refused($node, 'undelete', "SELECT * FROM deletion_guard.undelete_tenant('1')", qr/cannot restore rows of "later": it is a hypertable/);
$node->safe_psql('postgres', "INSERT INTO later SELECT * FROM deletion_guard.deleted_rows(NULL::later, tenant => '1')");
is($node->safe_psql('postgres', 'SELECT count(*) FROM later'), '1', 'as a statement it comes back');

# a session that has not loaded the library takes a table over unseen: then deletions fail
$node->safe_psql('postgres', 'CREATE TABLE blind (at timestamptz NOT NULL, org_id int)');
$node->safe_psql('postgres', "SELECT create_hypertable('blind', 'at')");
$node->safe_psql('postgres', 'INSERT INTO blind VALUES (now(), 2)');
refused($node, 'DELETE', 'DELETE FROM blind', qr/cannot delete from .* it is a (hyper|chunk of a hyper)table of TimescaleDB/);
refused($node, 'TRUNCATE', 'TRUNCATE blind', qr/cannot delete from "blind"/);
is($node->safe_psql('postgres', 'SELECT count(*) FROM blind'), '1', 'nothing is lost');
is($node->safe_psql('postgres', "SELECT count(*) FROM deletion_guard.verify() WHERE check_name = 'storage' AND object = 'public.blind' AND NOT ok"), '1', 'verify() says so');
$node->safe_psql('postgres', "SELECT deletion_guard.unguard_table('blind'); DELETE FROM blind");
is($node->safe_psql('postgres', 'SELECT count(*) FROM blind'), '0', 'without its guard it works');

# what is not guarded works as ever
$node->safe_psql('postgres', "DELETE FROM later; DELETE FROM reading WHERE org_id = 2");
$node->safe_psql('postgres', "SELECT drop_chunks('reading', now() - interval '2 days'); TRUNCATE still_empty");
is($node->safe_psql('postgres', 'SELECT count(*) FROM reading WHERE org_id = 2'), '0', 'hypertables delete');

guard_works($node, 'beside TimescaleDB');
$node->stop;
done_testing();
