# Tables that were dropped under deletion_guard.ddl = keep: prepared transactions, a
# crash, a standby that is promoted, dump and restore.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "max_prepared_transactions = 5\nautovacuum = off\n");
$node->start;

sub on
{
	my ($server, $sql) = @_;

	return $server->safe_psql('shop', $sql);
}

$node->safe_psql('postgres', 'CREATE DATABASE shop');
on($node, <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id int PRIMARY KEY, name text);
CREATE TABLE issue (id serial PRIMARY KEY, site_id int REFERENCES site, body text);
CREATE TABLE note (id int PRIMARY KEY, site_id int) PARTITION BY RANGE (id);
CREATE TABLE note_0 PARTITION OF note FOR VALUES FROM (0) TO (100);
SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
SELECT deletion_guard.guard_schema('public', 'site_id');
INSERT INTO site SELECT i, 'site ' || i FROM generate_series(1, 3) i;
INSERT INTO issue (site_id, body) SELECT 1 + i % 3, repeat(md5(i::text), 500) FROM generate_series(1, 90) i;
INSERT INTO note SELECT i, 1 + i % 3 FROM generate_series(1, 60) i;
SQL
my $digest = on($node, 'SELECT md5(string_agg(i::text, $$,$$ ORDER BY id)) FROM issue i');
my $bin = 'SELECT coalesce(sum(rows), 0) FROM deletion_guard.deletion';

# --- two phases -------------------------------------------------------------

on($node, "SET deletion_guard.ddl = keep; BEGIN; DROP TABLE note_0; PREPARE TRANSACTION 'back'");
on($node, "ROLLBACK PREPARED 'back'");
is(on($node, 'SELECT count(*) FROM note'), '60', 'rolled back: the partition is there');
is(on($node, $bin), '0', 'and nothing is in the bin');
on($node, "SET deletion_guard.ddl = keep; BEGIN; DROP TABLE note_0; PREPARE TRANSACTION 'gone'");
$node->stop('immediate');
$node->start;
on($node, "COMMIT PREPARED 'gone'");
is(on($node, $bin), '60', 'committed after a crash: its rows are in the bin');
is(on($node, "SELECT details FROM deletion_guard.ledger WHERE event = 'drop_table'"), '{"table": "public.note_0", "rows_kept": 60}',
	'and it is in the ledger');

# --- a standby, a crash -----------------------------------------------------

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
on($node, 'SET deletion_guard.ddl = keep; DROP TABLE issue');
$node->wait_for_catchup($standby);
for my $query ($bin, 'SELECT relation_name, rows, definition, foreign_keys FROM deletion_guard.dropped_table ORDER BY dropped_id',
	'SELECT relation_name, tenant, rows FROM deletion_guard.deletion_detail ORDER BY 1, 2')
{
	is(on($standby, $query), on($node, $query), "on the standby: $query");
}
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", $node->connstr('shop') ], 'pg_dump');
$node->stop('immediate');
$standby->promote;

# Makes the table again as undelete() says, and gets its rows back.
sub rescue
{
	my ($server, $database, $name) = @_;
	my ($ret, $out, $err) = $server->psql($database, 'SELECT FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion))');

	like($err, qr/the table does not exist any more.*CREATE TABLE public\.issue \(.*adopt_bin/s, "$name: undelete says how");
	$server->safe_psql($database, <<'SQL');
SELECT definition FROM deletion_guard.dropped_table WHERE relation_name = 'public.issue' \gexec
SELECT foreign_keys FROM deletion_guard.dropped_table WHERE relation_name = 'public.issue' \gexec
SELECT deletion_guard.adopt_bin(bin_table, 'issue') FROM deletion_guard.bin WHERE relation = 0;
SELECT FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion));
SQL
	is($server->safe_psql($database, 'SELECT md5(string_agg(i::text, $$,$$ ORDER BY id)) FROM issue i'), $digest, "$name: all rows are back");
	is($server->safe_psql($database, 'INSERT INTO issue (site_id) VALUES (1) RETURNING id'), '91', "$name: the sequence goes on");
	is($server->safe_psql($database, "SELECT count(*) FROM deletion_guard.guarded_table WHERE relation = 'issue'::regclass"), '1',
		"$name: the table is guarded");
}

rescue($standby, 'shop', 'promoted');
$standby->stop;
$node->start;
is(on($node, $bin), '150', 'after the crash');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), "$dir/dump" ], 'pg_restore');
rescue($node, 'restored', 'restored');
is($node->safe_psql('restored', 'SET deletion_guard.ddl = keep; DROP TABLE issue; SELECT count(*) FROM deletion_guard.dropped_table'), '3',
	'numbers of dropped tables go on');

done_testing();
