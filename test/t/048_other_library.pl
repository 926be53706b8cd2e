# Another library, loaded after ours or before, that passes calls of hooks on or
# does not: no row is lost, and verify() says which hook is not called.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('node');
$node->init;
$node->start;

my ($cc, $flags, $include) = map { my $is = `pg_config --$_`; chomp $is; $is } qw(cc cflags includedir-server);
my $library = PostgreSQL::Test::Utils::tempdir() . '/other_library.so';
is(system("$cc $flags -fPIC -shared -Isrc -I$include test/t/other_library.c -o $library"), 0, 'compiled');

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE);
SELECT deletion_guard.guard_table('tenant', 'id'), deletion_guard.guard_table('issue', 'tenant_id');
INSERT INTO tenant SELECT generate_series(1, 20);
INSERT INTO issue SELECT i, 1 + i % 20 FROM generate_series(1, 60) i;
SQL

my $tenant = 0;
for my $after (1, 0)
{
	my $order = join ' ', map { "LOAD '$_';" } $after ? ('deletion_guard', $library) : ($library, 'deletion_guard');
	for my $skip ('', qw(start run finish utility access))
	{
		my $name = ($after ? 'loaded after' : 'loaded before') . ($skip ? ", skips $skip" : '');
		$tenant++;
		is($node->safe_psql('postgres', <<"SQL"), "3\n1\n" . ($skip && $after ? 'f' : 't'), $name);
$order
SET other.skip = '$skip';
DELETE FROM issue WHERE id = $tenant;
DELETE FROM tenant WHERE id = $tenant;
DELETE FROM tenant WHERE id = 999;
SET client_min_messages = error;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::issue, tenant => '$tenant');
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::tenant, tenant => '$tenant');
SELECT bool_and(ok) FROM deletion_guard.verify() WHERE check_name = 'hooks';
SQL
		my ($ret, $out, $err) = $node->psql('postgres', "$order SET other.skip = '$skip'; DROP TABLE issue");
		like($err, qr/cannot drop table "issue"/, "$name: DROP TABLE is refused");
	}
}
done_testing();
