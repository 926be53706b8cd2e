# Large objects do not go to the bin. vacuumlo, which removes those that nothing
# refers to, looks into the bin as well: what a deleted row refers to stays.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE TABLE picture (id int, tenant_id int, content oid);
SELECT deletion_guard.guard_table('picture', 'tenant_id');
INSERT INTO picture SELECT i, 1, lo_from_bytea(0, convert_to('picture ' || i, 'UTF8')) FROM generate_series(1, 3) i;
SELECT lo_create(0);
DELETE FROM picture WHERE id < 3;
SQL
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_largeobject_metadata'), 4, 'four large objects, one of nobody');
$node->command_ok([ 'vacuumlo', $node->connstr('postgres') ], 'vacuumlo');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_largeobject_metadata'), 3, 'those of deleted rows are kept');
$node->safe_psql('postgres', q(SELECT count(*) FROM deletion_guard.undelete_tenant('1')));
is($node->safe_psql('postgres', q(SELECT string_agg(convert_from(lo_get(content), 'UTF8'), ', ' ORDER BY id) FROM picture)),
	'picture 1, picture 2, picture 3', 'rows that come back find theirs');
$node->stop;
done_testing();
