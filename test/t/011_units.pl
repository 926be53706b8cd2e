# Parts of the library by themselves, in a server: units.c calls them.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('node');
$node->init;
$node->start;

# What the library keeps to itself (from 16 on, all of it) is linked in, but for what
# units.c includes and what runs as a library is loaded.
sub output_of
{
	my $output = `$_[0]`;

	chomp $output;
	return $output;
}
my ($cc, $flags, $include) = map { output_of("pg_config --$_") } qw(cc cflags includedir-server);
my $objects = join ' ', grep { !m{^src/(main/|bin/bin_blocks\.|capture/capture_limit_expect\.)} } split ' ', output_of('make -s show-OBJS');
my $libraries = output_of('make -s show-SHLIB_LINK');
my $library = PostgreSQL::Test::Utils::tempdir() . '/units.so';
is(system("$cc $flags -w -Werror=implicit-function-declaration -fPIC -shared -Isrc -I$include test/t/units.c $objects -o $library $libraries"), 0, 'compiled');
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
