# Extensions that look on: pgaudit, with the guard last in the list, and hypopg.
use strict;
use warnings FATAL => 'all';

use Neighbour;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'neither pgaudit nor hypopg is installed' if !has_extension('pgaudit') && !has_extension('hypopg');
my $audit = has_extension('pgaudit');
my $node = neighbour($audit ? 'pgaudit, deletion_guard' : 'deletion_guard',
	$audit ? "pgaudit.log = all\npgaudit.log_parameter = on\npgaudit.log_relation = on\nlog_statement = none\n" : '');

guard_works($node, 'beside those that look on');

SKIP:
{
	skip 'pgaudit is not installed', 3 if !$audit;
	$node->safe_psql('postgres', 'CREATE EXTENSION pgaudit');
	my $token = 'eyJ' . 'a' x 30 . '.' . 'b' x 30 . '.' . 'c' x 86;
	refused($node, 'a token is judged', "SELECT deletion_guard.purge('$token')", qr/token/);
	$node->psql('postgres', "DELETE FROM ordinary.doc WHERE id = 1");
	my $log = slurp_file($node->logfile);
	like($log, qr/AUDIT:.*DELETE FROM ordinary\.doc WHERE id = 1/, 'the audit has the deletion');
	unlike($log, qr/AUDIT:.*c{86}/, 'but no token');
}

SKIP:
{
	skip 'hypopg is not installed', 2 if !has_extension('hypopg');
	my $plan = $node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION hypopg;
SELECT FROM hypopg_create_index('CREATE UNIQUE INDEX ON ordinary.doc (org_id, id)');
SET enable_seqscan = off;
EXPLAIN (COSTS off) DELETE FROM ordinary.doc WHERE org_id = 73;
DELETE FROM ordinary.doc WHERE org_id = 73;
SELECT deletion_guard.undelete_tenant('73', dry_run => true);
SELECT sum(restored) || ' restored' FROM deletion_guard.undelete_tenant('73');
SQL
	like($plan, qr/<\d+>btree_/, 'an index that is not there is planned with');
	like($plan, qr/^10 restored$/m, 'and keeps no row from being deleted or restored');
}

$node->stop;
done_testing();
