# Extensions that keep histories of tables by triggers: what they write stays as it is,
# and the guard's rows come back without it.
use strict;
use warnings FATAL => 'all';

use Neighbour;
use Test::More;

plan skip_all => 'neither periods nor table_log is installed' if !has_extension('periods') && !has_extension('table_log');
my $node = neighbour('');

SKIP:
{
	skip 'periods is not installed', 4 if !has_extension('periods');
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION periods CASCADE;
CREATE TABLE price (id int PRIMARY KEY, org_id int, amount int);
INSERT INTO price SELECT i, i % 3, i FROM generate_series(1, 9) i;
SELECT periods.add_system_time_period('price'), periods.add_system_versioning('price');
SELECT deletion_guard.guard_table('price', 'org_id');
SQL
	$node->safe_psql('postgres', 'UPDATE price SET amount = amount + 1 WHERE org_id = 1');
	$node->safe_psql('postgres', 'DELETE FROM price WHERE org_id = 1');
	is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM price_history), (SELECT count(*) FROM deletion_guard.deleted_rows(NULL::price))'),
		'6|3', 'a deleted row of a table with a history is in the history, and kept');
	$node->safe_psql('postgres', "SELECT deletion_guard.undelete_tenant('1')");
	is($node->safe_psql('postgres', 'SELECT count(*), (SELECT count(*) FROM price_history) FROM price'), '9|6', 'it comes back, and the history stays');

	$node->safe_psql('postgres', <<'SQL');
CREATE TABLE lease (id int, org_id int, s int, e int);
SELECT periods.add_period('lease', 'valid', 's', 'e'), periods.add_unique_key('lease', ARRAY['id'], 'valid');
SELECT deletion_guard.guard_table('lease', 'org_id');
INSERT INTO lease VALUES (1, 1, 1, 10), (2, 2, 1, 10);
DELETE FROM lease;
SELECT deletion_guard.undelete_tenant('2');
SQL
	is($node->safe_psql('postgres', 'TABLE lease'), '2|2|1|10', 'one with an application period');
	$node->safe_psql('postgres', "SELECT deletion_guard.unguard_table('lease'); SELECT periods.drop_period('lease', 'valid', 'CASCADE')");
	pass('which is taken off again');
}

SKIP:
{
	skip 'table_log is not installed', 2 if !has_extension('table_log');
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION table_log;
CREATE TABLE doc (id int PRIMARY KEY, org_id int);
SELECT table_log_init(5, 'public', 'doc', 'public', 'doc_log');
SELECT deletion_guard.guard_table('doc', 'org_id'), deletion_guard.guard_table('doc_log', 'org_id');
INSERT INTO doc SELECT i, i % 3 FROM generate_series(1, 9) i;
DELETE FROM doc WHERE org_id = 1;
DELETE FROM doc_log WHERE trigger_mode = 'DELETE' AND org_id = 1;
SQL
	is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM deletion_guard.deleted_rows(NULL::doc)), (SELECT count(*) FROM deletion_guard.deleted_rows(NULL::doc_log))'),
		'3|3', 'rows of a logged table are kept, and those of the log');
	$node->safe_psql('postgres', "SELECT deletion_guard.undelete_tenant('1')");
	is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM doc), (SELECT count(*) FROM doc_log)'), '9|12', 'they come back, and the log has no more than it had');
}

guard_works($node, 'beside histories');
$node->stop;
done_testing();
