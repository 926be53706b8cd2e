# Generated columns that are not stored (18): rows that have some are kept and come
# back, and none of them tells tenants, as it has no value in a deleted row.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
plan skip_all => 'all generated columns are stored' if $node->safe_psql('postgres', 'SHOW server_version_num') < 180000;

# Runs SQL that has to fail for this reason.
sub refused
{
	my ($name, $sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql);

	isnt($status, 0, $name);
	like($err, qr/column ".*" of ".*" cannot tell whose rows are deleted: it is a virtual generated column/, "$name: why");
}

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text, title text GENERATED ALWAYS AS (upper(name)));
CREATE TABLE doc (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (tenant_id * 2), tenant_id int, stored int GENERATED ALWAYS AS (tenant_id * 3) STORED);
CREATE SCHEMA shop;
CREATE TABLE shop.item (id int PRIMARY KEY, tenant_id int);
INSERT INTO tenant VALUES (1, 'a'), (2, 'b');
INSERT INTO doc (id, tenant_id) SELECT i, 1 + i % 2 FROM generate_series(1, 6) i;
SQL
refused('the tenant column of a table', "SELECT deletion_guard.guard_table('doc', 'twice')");
refused('the name of tenants', "SELECT deletion_guard.set_tenant_table('tenant', 'id', 'title')");
$node->safe_psql('postgres', <<'SQL');
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name'), deletion_guard.guard_table('doc', 'tenant_id'),
	deletion_guard.guard_schema('shop', 'tenant_id');
SQL
refused('the tenant column of a new table in a guarded schema',
	'CREATE TABLE shop.cart (id int PRIMARY KEY, owner int, tenant_id int GENERATED ALWAYS AS (owner))');

$node->safe_psql('postgres', 'DELETE FROM doc WHERE tenant_id = 1');
is($node->safe_psql('postgres', "SELECT restored FROM deletion_guard.undelete_tenant('1')"), '3', 'rows come back');
is($node->safe_psql('postgres', 'SELECT * FROM doc ORDER BY id'),
	join("\n", map { my $t = 1 + $_ % 2; join '|', $_, 2 * $t, $t, 3 * $t } 1 .. 6), 'with all their columns');

# A virtual column has nothing that would be lost with it; one that is stored has.
$node->safe_psql('postgres', 'ALTER TABLE doc DROP COLUMN twice');
is($node->safe_psql('postgres', 'DELETE FROM doc WHERE id = 1; SELECT restored FROM deletion_guard.undelete_tenant(\'2\')'), '1', 'a virtual column is dropped');
my ($status, $out, $err) = $node->psql('postgres', 'ALTER TABLE doc DROP COLUMN stored');
like($err, qr/cannot drop column "stored" of table "doc": it is guarded/, 'a stored one is not');

# A column of that name that has taken the place of the one that was.
$node->safe_psql('postgres', <<'SQL');
SET deletion_guard.ddl = allow;
ALTER TABLE doc DROP COLUMN tenant_id CASCADE;
ALTER TABLE doc ADD COLUMN tenant_id int GENERATED ALWAYS AS (id % 2);
SQL
refused('a deletion from a table whose tenant column was replaced', 'DELETE FROM doc');
is($node->safe_psql('postgres', 'SELECT count(*) FROM doc'), '6', 'and nothing is deleted');
$node->stop;
done_testing();
