# A DELETE that is stopped once it has returned as many rows as its caller wants:
# SPI can do that, and PL/Perl and PL/Python offer it. Statement triggers do not
# fire then, and rows have gone nevertheless.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nsession_preload_libraries = deletion_guard");
$node->start;
plan skip_all => 'PL/Perl is not installed'
	if $node->safe_psql('postgres', q(SELECT count(*) FROM pg_available_extensions WHERE name = 'plperl')) == 0;

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE EXTENSION plperl;
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int);
INSERT INTO issue SELECT i, i % 3 FROM generate_series(1, 20) i;
CREATE TABLE event (id int, tenant_id int) PARTITION BY RANGE (id);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (100);
INSERT INTO event SELECT i, i % 3 FROM generate_series(1, 20) i;
SELECT deletion_guard.guard_table('issue', 'tenant_id'), deletion_guard.guard_table('event', 'tenant_id');
CREATE FUNCTION run(statement text, wanted int) RETURNS int LANGUAGE plperl AS 'return spi_exec_query($_[0], $_[1])->{processed}';
SQL

# rows of a table that are live, and in the bin
sub rows
{
	my ($table) = @_;

	return $node->safe_psql('postgres',
		"SELECT (SELECT count(*) FROM $table), (SELECT count(*) FROM deletion_guard.deleted_rows(NULL::$table))");
}

is($node->safe_psql('postgres', q(SELECT run('DELETE FROM issue WHERE id > 3 RETURNING id', 2))), '2',
	'a DELETE is stopped after two rows');
is(rows('issue'), '18|2', 'both are in the bin');
is($node->safe_psql('postgres', 'SELECT rows, tenants FROM deletion_guard.deletion'), '2|2', 'as one deletion');
is($node->safe_psql('postgres', q(SELECT run('DELETE FROM issue WHERE id > 3 RETURNING id', 0))), '15', 'one that is not stopped');
is(rows('issue'), '3|17', 'leaves all of its rows there');

is($node->safe_psql('postgres', q(SELECT run('DELETE FROM event WHERE id > 3 RETURNING id', 4))), '4', 'in partitions');
is(rows('event'), '16|4', 'they are in the bin');

is($node->safe_psql('postgres', q(SELECT run('DELETE FROM issue USING event WHERE issue.id = event.id RETURNING issue.id', 1))), '1',
	'and where rows are joined');
is(rows('issue'), '2|18', 'it is in the bin');

# Without a trail nobody knows the rows.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER look AFTER DELETE ON issue REFERENCING OLD TABLE AS gone EXECUTE FUNCTION look();
SQL
my ($status, $stdout, $stderr) = $node->psql('postgres', q(SELECT run('DELETE FROM issue RETURNING id', 1)));
like($stderr, qr/cannot keep the rows that this statement has deleted from "issue" at line/, 'refused where another trigger reads them');
is(rows('issue'), '2|18', 'and none is gone');
$node->safe_psql('postgres', 'DROP TRIGGER look ON issue');

is($node->safe_psql('postgres', q(SELECT run('WITH gone AS (DELETE FROM event RETURNING id) SELECT * FROM gone', 1))), '1',
	'what only a part of the statement deletes runs to its end');
is(rows('event'), '0|20', 'and is in the bin');

# Nothing has loaded the library: no hook, and no trigger either.
$node->safe_psql('postgres', 'SELECT deletion_guard.undelete(1)');
$node->append_conf('postgresql.conf', "session_preload_libraries = ''");
$node->reload;
$node->safe_psql('postgres', q(SELECT run('DELETE FROM issue WHERE id < 7 RETURNING id', 1)));
is(rows('issue'), '3|16', 'first of a session without preloading: its row is lost');

$node->stop;
done_testing;
