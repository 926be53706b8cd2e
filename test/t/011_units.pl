# Parts of the library by themselves, in a server: units.c calls them.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('node');
$node->init;
$node->start;

my ($cc, $flags, $include) = map { my $is = `pg_config --$_`; chomp $is; $is } qw(cc cflags includedir-server);
my $library = PostgreSQL::Test::Utils::tempdir() . '/units.so';
is(system("$cc $flags -w -Werror=implicit-function-declaration -fPIC -shared -Isrc -I$include test/t/units.c -o $library"), 0, 'compiled');
$node->safe_psql('postgres', 'CREATE EXTENSION deletion_guard');

for my $unit (qw(varint tidlog blocks textset keyset expect_tenants))
{
	my ($ret, $out, $err) = $node->psql('postgres', <<"SQL");
LOAD 'deletion_guard';
SET work_mem = '64kB';
CREATE FUNCTION pg_temp.test() RETURNS bigint LANGUAGE c AS '$library', 'test_$unit';
SELECT pg_temp.test() > 0;
SQL
	is($out, 't', $unit) or diag($err);
}
done_testing();
