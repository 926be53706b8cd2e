package Neighbour;

# A server with another extension, or a whole test skipped where that is not installed.
use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(has_extension has_library neighbour refused guard_works);

sub pg_config
{
	my $value = `pg_config --$_[0]`;

	chomp $value;
	return $value;
}

sub has_extension
{
	return -e pg_config('sharedir') . "/extension/$_[0].control";
}

sub has_library
{
	return -e pg_config('pkglibdir') . "/$_[0].so";
}

# A running server with deletion_guard, in database "postgres", beside other libraries.
sub neighbour
{
	my ($preload, $conf, $name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name // 'node');

	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$preload'\nwal_level = logical\nmax_worker_processes = 16\n" . ($conf // ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION deletion_guard');
	return $node;
}

# The statement fails, with these words.
sub refused
{
	my ($node, $name, $sql, $expected) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql);

	like($err, $expected, $name);
}

# Whatever else is loaded: rows of ordinary tables go to the bin, and come back.
sub guard_works
{
	my ($node, $name) = @_;

	$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA ordinary;
CREATE TABLE ordinary.org (id int PRIMARY KEY);
CREATE TABLE ordinary.doc (id int PRIMARY KEY, org_id int REFERENCES ordinary.org ON DELETE CASCADE);
CREATE TABLE ordinary.page (id int, org_id int) PARTITION BY RANGE (id);
CREATE TABLE ordinary.page_1 PARTITION OF ordinary.page FOR VALUES FROM (0) TO (50);
CREATE TABLE ordinary.page_2 PARTITION OF ordinary.page FOR VALUES FROM (50) TO (100);
SELECT deletion_guard.guard_table('ordinary.org', 'id'), deletion_guard.guard_table('ordinary.doc', 'org_id'), deletion_guard.guard_table('ordinary.page', 'org_id');
INSERT INTO ordinary.org SELECT generate_series(71, 73);
INSERT INTO ordinary.doc SELECT i, 71 + i % 3 FROM generate_series(1, 30) i;
INSERT INTO ordinary.page SELECT i, 71 + i % 3 FROM generate_series(0, 98) i;
SQL
	$node->safe_psql('postgres', 'UPDATE ordinary.page SET id = id + 50 WHERE id = 1');
	my $before = $node->safe_psql('postgres', 'TABLE ordinary.doc UNION ALL TABLE ordinary.page ORDER BY 1, 2');
	$node->safe_psql('postgres', 'DELETE FROM ordinary.page WHERE id IN (51, 2, 3)');
	$node->safe_psql('postgres', 'DELETE FROM ordinary.org WHERE id = 72');
	$node->safe_psql('postgres', 'TRUNCATE ordinary.page');
	is($node->safe_psql('postgres', "SELECT sum(d.rows) FROM deletion_guard.deletion_detail d WHERE relation::text LIKE 'ordinary.%'"),
		1 + 10 + 99, "$name: what goes is kept");
	$node->safe_psql('postgres', "SELECT deletion_guard.undelete_tenants('{71,72,73}')");
	is($node->safe_psql('postgres', 'TABLE ordinary.doc UNION ALL TABLE ordinary.page ORDER BY 1, 2'), $before, "$name: and comes back");
}

1;
