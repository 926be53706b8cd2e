# pg_repack: a guarded table is copied and swapped while rows of it are deleted.
use strict;
use warnings FATAL => 'all';

use Neighbour;
use PostgreSQL::Test::Utils;
use Test::More;

my $bindir = `pg_config --bindir`;
chomp $bindir;
plan skip_all => 'pg_repack is not installed' if !has_extension('pg_repack') || !-x "$bindir/pg_repack";
my $node = neighbour('deletion_guard');

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_repack;
CREATE TABLE org (id int PRIMARY KEY);
CREATE TABLE doc (id int PRIMARY KEY, org_id int REFERENCES org ON DELETE CASCADE, note text);
SELECT deletion_guard.guard_table('org', 'id'), deletion_guard.guard_table('doc', 'org_id');
INSERT INTO org SELECT generate_series(1, 1000);
INSERT INTO doc SELECT i, 1 + i % 1000, repeat('x', 200) FROM generate_series(1, 20000) i;
DELETE FROM doc WHERE id % 2 = 0;
SQL

my $script = $node->basedir . '/delete.sql';
append_to_file($script, "\\set id random(1, 20000)\nDELETE FROM doc WHERE id = :id;\nDELETE FROM org WHERE id = :id % 1000;\n");
my $bench = IPC::Run::start([ 'pgbench', '-n', '-f', $script, '-c', 2, '-T', 5, $node->connstr('postgres') ], '>', \my $out, '2>', \my $err);
my @repack = ("$bindir/pg_repack", '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-t', 'doc', '-t', 'org');
command_ok([@repack], 'the tables are repacked') for 1 .. 2;
$bench->finish;
like($out, qr/processed: [1-9]\d+/, 'while rows are deleted');
unlike($err, qr/ERROR|aborted/, 'and no deletion fails');

my $rows = "SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM %s UNION ALL SELECT id FROM deletion_guard.deleted_rows(NULL::%s)) x";
is($node->safe_psql('postgres', sprintf($rows, 'doc', 'doc')), '20000|20000', 'each row is live or kept, once');
is($node->safe_psql('postgres', sprintf($rows, 'org', 'org')), '1000|1000', 'those of the other table too');
is($node->safe_psql('postgres', "SELECT string_agg(check_name || ' ' || object, ', ') FROM deletion_guard.verify() WHERE NOT ok AND check_name IN ('guard triggers', 'storage', 'store triggers')"), '', 'the guard is whole');
$node->safe_psql('postgres', 'DELETE FROM org; SELECT deletion_guard.undelete_tenants(array_agg(i::text)) FROM generate_series(1, 1000) i');
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM org), (SELECT count(*) FROM doc)'), '1000|20000', 'all come back');

command_fails_like([ "$bindir/pg_repack", '-h', $node->host, '-p', $node->port, '-d', 'postgres' ], qr/exclude-extension=deletion_guard/, 'of a whole database it says how');
command_ok([ "$bindir/pg_repack", '-h', $node->host, '-p', $node->port, '-d', 'postgres', '--exclude-extension=deletion_guard' ], 'and that works');

$node->stop;
done_testing();
