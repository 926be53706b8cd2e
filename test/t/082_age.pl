# Apache AGE: Cypher deletes past all triggers, so its labels are not guarded.
use strict;
use warnings FATAL => 'all';

use Neighbour;
use Test::More;

plan skip_all => 'age is not installed' if !has_extension('age');
my $node = neighbour('age');
my $path = 'SET search_path = ag_catalog, public;';

sub cypher
{
	return "$path SELECT * FROM cypher('gra', \$\$ $_[0] \$\$) AS (a agtype)";
}

$node->safe_psql('postgres', "CREATE EXTENSION age; $path SELECT create_graph('gra'), create_vlabel('gra', 'Person')");
$node->safe_psql('postgres', cypher('UNWIND range(1, 50) AS i CREATE (:Person {id: i})'));

my $label = qr/it is a label of an Apache AGE graph/;
refused($node, 'a label', qq{SELECT deletion_guard.guard_table('gra."Person"')}, $label);
refused($node, 'that which others inherit from', "SELECT deletion_guard.guard_table('gra._ag_label_vertex')", $label);
is($node->safe_psql('postgres', "SELECT bool_and(problem ~ 'label') FROM deletion_guard.guard_schema('gra', 'properties')"), 't', 'a graph\'s schema');
$node->safe_psql('postgres', "$path SELECT create_vlabel('gra', 'Animal')");
is($node->safe_psql('postgres', 'SELECT count(*) FROM deletion_guard.guarded_table'), '0', 'nor a label that is made in it');
$node->safe_psql('postgres', cypher('MATCH (n:Person) WHERE n.id <= 10 DETACH DELETE n'));
is($node->safe_psql('postgres', 'SELECT count(*) FROM gra."Person"'), '40', 'Cypher deletes');

# where the list is not as it should be, any table might be one
$node->safe_psql('postgres', 'ALTER EXTENSION age DROP TABLE ag_catalog.ag_label');
refused($node, 'a list that is not AGE\'s', qq{SELECT deletion_guard.guard_table('gra."Person"')}, qr/it is perhaps a label/);
$node->safe_psql('postgres', 'ALTER EXTENSION age ADD TABLE ag_catalog.ag_label');

guard_works($node, 'beside AGE');
$node->stop;
done_testing();
