# Tables that are not stored as heap stores them: not guarded, and a guarded table
# does not become one.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('node');
$node->init;
$node->start;

my ($cc, $flags, $include) = map { my $is = `pg_config --$_`; chomp $is; $is } qw(cc cflags includedir-server);
my $library = PostgreSQL::Test::Utils::tempdir() . '/other_storage.so';
is(system("$cc $flags -fPIC -shared -I$include test/t/other_storage.c -o $library"), 0, 'compiled');

$node->safe_psql('postgres', <<"SQL");
CREATE FUNCTION other_storage(internal) RETURNS table_am_handler LANGUAGE c AS '$library';
CREATE ACCESS METHOD other TYPE TABLE HANDLER other_storage;
ALTER DATABASE postgres SET default_table_access_method = other;
SQL
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE TABLE plain (id int, org_id int);
CREATE TABLE kept (id int, org_id int) USING heap;
CREATE TABLE tree (id int, org_id int) PARTITION BY LIST (org_id);
CREATE TABLE tree_1 PARTITION OF tree FOR VALUES IN (1);
CREATE TABLE whole (id int, org_id int) PARTITION BY LIST (org_id);
CREATE TABLE whole_1 PARTITION OF whole FOR VALUES IN (1) USING heap;
INSERT INTO kept SELECT i, i % 3 FROM generate_series(1, 9) i;
INSERT INTO whole SELECT i, 1 FROM generate_series(1, 9) i;
SQL

sub refused
{
	my ($name, $sql, $expected) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql);

	like($err, $expected, $name);
}

is($node->safe_psql('postgres', "SELECT relation, problem IS NULL, problem ~ 'access method' FROM deletion_guard.guard_schema('public', 'org_id') ORDER BY relation::text"),
	"kept|t|\nplain|f|t\ntree|f|t\nwhole|t|", 'a schema is enrolled but for them');
refused('enrolment', "SELECT deletion_guard.guard_table('plain')", qr/cannot guard "plain": it is stored by access method "other"/);
refused('with a partition', "SELECT deletion_guard.guard_table('tree')", qr/cannot guard "tree": its partition "tree_1" is stored by access method "other"/);
refused('a new partition', 'CREATE TABLE whole_2 PARTITION OF whole FOR VALUES IN (2)',
	qr/"whole_2" cannot be a partition of guarded table "whole": it is stored by access method "other"/);
refused('a new child', 'CREATE TABLE child () INHERITS (kept)', qr/"child" cannot be a child of guarded table "kept": it is stored/);
refused('a guarded table', 'ALTER TABLE kept SET ACCESS METHOD other', qr/guarded table "kept" cannot be stored by access method "other"/);
refused('a partition', 'ALTER TABLE whole_1 SET ACCESS METHOD other', qr/"whole_1" cannot be a partition of guarded table "whole"/);
refused('a new table of the schema', 'CREATE TABLE later (id int, org_id int)', qr/WARNING:  cannot guard "later": it is stored by access method "other"/);
$node->safe_psql('postgres', 'CREATE TABLE late (id int, org_id int) USING heap');

$node->safe_psql('postgres', 'DELETE FROM kept WHERE org_id = 1; DELETE FROM whole WHERE id < 4');
is($node->safe_psql('postgres', "SELECT relation, sum(restored) FROM deletion_guard.undelete_tenant('1') GROUP BY 1 ORDER BY relation::text"),
	"kept|3\nwhole|3", 'what is guarded is kept');

# a superuser may insist; then nothing is deleted
$node->safe_psql('postgres', 'SET deletion_guard.ddl = allow; ALTER TABLE kept SET ACCESS METHOD other; ALTER TABLE whole_1 SET ACCESS METHOD other');
refused('DELETE', 'DELETE FROM kept', qr/cannot delete from "kept": it is stored by access method "other", and guarded/);
refused('TRUNCATE of a partition', 'TRUNCATE whole', qr/cannot delete from "whole_1": it is stored/);
is($node->safe_psql('postgres', "SELECT count(*) FROM deletion_guard.verify() WHERE check_name = 'storage' AND NOT ok"), '2', 'verify() says so');
$node->safe_psql('postgres', 'SET deletion_guard.ddl = allow; ALTER TABLE kept SET ACCESS METHOD heap; ALTER TABLE whole_1 SET ACCESS METHOD heap');
$node->safe_psql('postgres', 'DELETE FROM kept; DELETE FROM whole');
is($node->safe_psql('postgres', 'SELECT sum(rows) FROM deletion_guard.deletion_part'), '24', 'heaps again');

# 17: a partitioned table has an access method, for partitions to come
SKIP:
{
	skip 'before 17, partitioned tables have no access method', 1 if $node->pg_version < 17;
	$node->safe_psql('postgres', "CREATE TABLE parted (id int, org_id int) PARTITION BY LIST (org_id) USING heap; SELECT deletion_guard.guard_table('parted')");
	pass('a partitioned table');
}

$node->stop;
done_testing();
