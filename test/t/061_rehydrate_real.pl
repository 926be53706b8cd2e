# Archives of a real database, by other versions of pg_dump and in every format.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = $ENV{DG_ARCHIVE_DATA};
plan skip_all => 'DG_ARCHIVE_DATA is not set' unless defined $data && -d $data;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE dvdrental');
system_or_bail('pg_restore', '-d', $node->connstr('dvdrental'), "$data/dvdrental.pg15.cgz");
$node->safe_psql('dvdrental', q{
	CREATE EXTENSION deletion_guard;
	SELECT deletion_guard.set_tenant_table('store', 'store_id');
	SELECT deletion_guard.guard_table(t, 'store_id') FROM unnest('{store,customer,inventory,staff}'::regclass[]) t;
	SELECT deletion_guard.guard_table('rental', tenant_path => '{rental_inventory_id_fkey}');
	SELECT deletion_guard.guard_table('payment', tenant_path => '{payment_rental_id_fkey,rental_inventory_id_fkey}')});

# Everything, as one digest.
my $digest = 'SELECT ' . join(" || ' ' || ",
	map { "(SELECT count(*) || ':' || md5(string_agg(t::text, '|' ORDER BY t::text)) FROM $_ t)" }
	  qw(store staff customer inventory rental payment));
my $before = $node->safe_psql('dvdrental', $digest);

my @archives = sort grep { !/\.gz$/ } glob("$data/dvdrental.*");
cmp_ok(scalar(@archives), '>=', 20, 'archives to read');
foreach my $archive (@archives)
{
	my ($name) = $archive =~ /dvdrental\.(.*)$/;

	$node->safe_psql('dvdrental', q{
		SET session_replication_role = replica;
		DELETE FROM payment USING rental JOIN inventory USING (inventory_id)
			WHERE rental.rental_id = payment.rental_id AND store_id = 1;
		DELETE FROM rental USING inventory WHERE inventory.inventory_id = rental.inventory_id AND store_id = 1;
		DELETE FROM inventory WHERE store_id = 1;
		DELETE FROM customer WHERE store_id = 1;
		DELETE FROM staff WHERE store_id = 1;
		DELETE FROM store WHERE store_id = 1});
	is( $node->safe_psql('dvdrental',
			"SELECT sum(found), sum(restored) FROM deletion_guard.rehydrate('1', '$archive')"),
		'17732|17732', "$name: rows of store 1");
	is($node->safe_psql('dvdrental', $digest), $before, "$name: as they were");
}
is( $node->safe_psql('dvdrental',
		"SELECT string_agg(relation || ' ' || archive_rows, ', ' ORDER BY relation::text), sum(only_in_archive + only_live + different)"
		  . " FROM deletion_guard.compare_tenant('2', '$archives[0]')"),
	'customer 273, inventory 2311, payment 7385, rental 8121, staff 1, store 1|0', 'store 2 compared');

$node->stop;
done_testing();
