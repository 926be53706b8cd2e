# Dump and restore: what is in the bin and what is on record come back, as does
# the protection.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\ndeletion_guard.retention = 0");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir;
my $signing = slurp_file('test/sql/signing.sql');

$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', "CREATE EXTENSION deletion_guard;\n$signing");
$node->safe_psql('shop', slurp_file('test/sql/shop.sql'));
$node->safe_psql('shop', q(
CREATE TABLE event (id integer, tenant_id integer, at date, body text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE event_2024 PARTITION OF event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE event_2025 PARTITION OF event FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE "Quoted Name" ("Id" integer PRIMARY KEY, tenant_id integer, big text);
SELECT deletion_guard.guard_table('event', 'tenant_id');
SELECT deletion_guard.guard_table('"Quoted Name"', 'tenant_id');
INSERT INTO event SELECT n, n % 3 + 1, '2024-06-01'::date + n * 30, 'event ' || n FROM generate_series(1, 12) n;
INSERT INTO "Quoted Name" SELECT n, n, repeat(md5(n::text), 1000) FROM generate_series(1, 3) n;
SELECT deletion_guard.add_authority('legal', signing.make_key('legal'));
DELETE FROM tenant WHERE id = 1;
DELETE FROM event WHERE tenant_id = 1;
DELETE FROM "Quoted Name" WHERE tenant_id IN (1, 2);
DELETE FROM issue WHERE tenant_id = 3;
SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('3', 'old issues')));
DELETE FROM tenant WHERE id = 2;
SELECT deletion_guard.request_purge('2', 'contract ended');
SELECT deletion_guard.hold_tenant('1', 'litigation');
));
my $token = $node->safe_psql('shop', "SELECT signing.sign(deletion_guard.request_purge('2', 'for the copy'))");
my $state = $node->safe_psql('shop', 'SELECT signing.state()');

# What a person would look at, the same before and after.
my $look = q(
SELECT 'deletion', deletion_id, deleted_at, session_role, statement, purge_not_before FROM deletion_guard.deletion_record ORDER BY 2;
SELECT 'part', p.deletion_id, b.relation_name, p.tenant, p.tenant_name, p.rows, p.restored, p.purged
	FROM deletion_guard.deletion_part p JOIN deletion_guard.bin b USING (bin_id) ORDER BY 2, p.part;
SELECT 'guard', relation::text, tenant_source FROM deletion_guard.guarded_table ORDER BY 2;
SELECT 'authority', * FROM deletion_guard.authority;
SELECT 'hold', * FROM deletion_guard.hold;
SELECT 'request', request_id, state, tenant, rows, on_hold, digest FROM deletion_guard.purge_request ORDER BY 2;
SELECT 'purge', purge_id, state, certificate FROM deletion_guard.purge_record;
SELECT 'ledger', ok, entries, problem FROM deletion_guard.verify_ledger();
SELECT 'head', * FROM deletion_guard.ledger_head();
SELECT 'trigger', tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE tgname LIKE 'deletion_guard%' ORDER BY 2, 3;
);
my $before = $node->safe_psql('shop', $look);
like($before, qr/ledger\|t\|/, 'the ledger is in order');

sub check_copy
{
	my ($name) = @_;

	is($node->safe_psql($name, $look), $before, "$name: all of it is there");
	my ($ret, $out, $err) = $node->psql($name, 'DELETE FROM deletion_guard.hold');
	like($err, qr/is written by deletion_guard only/, "$name: and is protected");
	($ret, $out, $err) = $node->psql($name, 'DROP TABLE event');
	like($err, qr/guarded/, "$name: as are the tables");
	($ret, $out, $err) = $node->psql($name, "SELECT deletion_guard.purge('$token')");
	like($err, qr/token is for another database/, "$name: a token for the original is not good here");
	is($node->safe_psql($name, "SELECT sum(restored) FROM deletion_guard.undelete_tenant('1')"), '18', "$name: undelete");
	is($node->safe_psql($name, 'SELECT count(*), sum(length(big)) FROM "Quoted Name"'), '2|64000', "$name: long values too");
	is($node->safe_psql($name, "DELETE FROM project WHERE tenant_id = 3; SELECT max(deletion_id) - 1 FROM deletion_guard.deletion_record"),
		$node->safe_psql('shop', 'SELECT max(deletion_id) FROM deletion_guard.deletion_record'),
		"$name: deletions are numbered on");
	is($node->safe_psql($name, "SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('2', 'in the copy')))->'rows'"),
		'14', "$name: purge, with a token of its own");
	is($node->safe_psql($name, 'SELECT ok, problem FROM deletion_guard.verify_ledger()'), 't|', "$name: the ledger goes on");
	($ret, $out, $err) = $node->psql($name, q(SET deletion_guard.restoring = on;
		INSERT INTO deletion_guard.authority SELECT 'mine', algorithm, 'x', 'x', now(), 'me', NULL, NULL, 1 FROM deletion_guard.authority));
	like($err, qr/is written by deletion_guard only/, "$name: nothing more is restored once it is in use");
	return;
}

$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", $node->connstr('shop') ], 'pg_dump -Fc');
$node->command_ok([ 'pg_dump', '-Fd', '-f', "$dir/directory", $node->connstr('shop') ], 'pg_dump -Fd');
$node->command_ok([ 'pg_dump', '-f', "$dir/plain", $node->connstr('shop') ], 'pg_dump');
$node->command_ok([ 'pg_dump', '--inserts', '-f', "$dir/inserts", $node->connstr('shop') ], 'pg_dump --inserts');
is($node->safe_psql('shop', 'SELECT signing.state()'), $state, 'pg_dump changes nothing');

$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(custom parallel plain inserts);
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('custom'), "$dir/custom" ], 'pg_restore');
check_copy('custom');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain", $node->connstr('plain') ], 'psql');
check_copy('plain');
{
	local $ENV{PGOPTIONS} = '-c deletion_guard.restoring=on';
	# several sessions at once: a foreign key may come before the table's triggers
	$node->command_ok([ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr('parallel'), "$dir/directory" ],
		'pg_restore -j, restoring');
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/inserts", $node->connstr('inserts') ],
		'psql, INSERTs, restoring');
}
check_copy('parallel');
check_copy('inserts');

$node->stop;
done_testing();
