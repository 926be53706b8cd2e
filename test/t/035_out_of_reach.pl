# What the extension cannot prevent: single-user mode, DROP DATABASE, edits of
# files. Deleted rows are kept even in single-user mode, and what was done is
# found out.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('reach');
my ($ret, $out, $err);

$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int REFERENCES tenant ON DELETE CASCADE);
INSERT INTO tenant SELECT i, 'tenant ' || i FROM generate_series(1, 4) i;
INSERT INTO issue SELECT i, 1 + i % 4 FROM generate_series(1, 40) i;
SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
SELECT deletion_guard.guard_schema('public', 'tenant_id');
SQL

# Runs statements, one a line, in a server without postmaster; returns what it prints.
sub single_user
{
	my ($statements, @options) = @_;
	my $printed = '';

	$node->stop;
	IPC::Run::run([ $node->installed_command('postgres'), '--single', '-F', '-D', $node->data_dir, @options, 'shop' ],
		'<', \$statements, '>', \$printed, '2>&1', IPC::Run::timeout(120));
	$node->start;
	return $printed;
}

# --- single-user mode ------------------------------------------------------

single_user("DELETE FROM tenant WHERE id = 2\n");
is($node->safe_psql('shop', q(SELECT relation, rows FROM deletion_guard.deletion_detail WHERE tenant = '2' ORDER BY 1)),
	"tenant|1\nissue|10", 'single-user mode: deleted rows are in the bin');
is($node->safe_psql('shop', q(SELECT sum(restored) FROM deletion_guard.undelete_tenant('2'))), 11, 'single-user mode: and come back');

like(single_user("DROP TABLE issue\n", '-c', 'session_preload_libraries=deletion_guard'), qr/cannot drop .*guarded/,
	'single-user mode: with the library preloaded tables are not dropped');
is($node->safe_psql('shop', 'SELECT count(*) FROM issue'), 40, 'single-user mode: the table is still there');

single_user("DROP TABLE issue\n");
($ret, $out, $err) = $node->psql('shop', 'SELECT count(*) FROM issue');
like($err, qr/does not exist/, 'single-user mode: without the library, event triggers are silent');
my $gone = "SELECT object FROM deletion_guard.verify() WHERE check_name = 'guarded tables' AND NOT ok";
is($node->safe_psql('shop', $gone), 'public.issue', 'single-user mode: verify() names the table that is gone');
is($node->safe_psql('shop', "SELECT count(*) FROM deletion_guard.verify() WHERE object ~ '^[0-9]+\$'"), 0, 'and nothing by a number');
my $oid = $node->safe_psql('shop', $gone =~ s/object/substring(detail, '[0-9]+')/r);
$node->safe_psql('shop', 'CREATE ROLE nobody_much; GRANT USAGE ON SCHEMA deletion_guard TO nobody_much; GRANT EXECUTE ON FUNCTION deletion_guard.unguard_table TO nobody_much');
($ret, $out, $err) = $node->psql('shop', "SET ROLE nobody_much; SELECT deletion_guard.unguard_table($oid)");
like($err, qr/permission denied to unguard a table that was dropped/, 'a superuser');
$node->safe_psql('shop', "SELECT deletion_guard.unguard_table($oid)");
is($node->safe_psql('shop', $gone), '', 'gives it up');
($ret, $out, $err) = $node->psql('shop', "SELECT deletion_guard.unguard_table($oid)");
like($err, qr/there is no table with OID $oid/, 'once');

# --- files -----------------------------------------------------------------

is($node->safe_psql('shop', 'SELECT ok FROM deletion_guard.verify_ledger()'), 't', 'files: the ledger is whole');
my $file = $node->data_dir . '/' . $node->safe_psql('shop', q(SELECT pg_relation_filepath('deletion_guard.ledger')));
$node->stop;
my $pages = slurp_file($file);
$pages =~ s/guard_table/guard_tablo/ or die 'no such entry';
open my $handle, '>:raw', $file or die $!;
print $handle $pages;
close $handle;
$node->start;
# A server with checksums does not even read the page.
($ret, $out, $err) = $node->psql('shop', 'SELECT ok FROM deletion_guard.verify_ledger()');
isnt($out, 't', 'files: a ledger that was edited is found out');

# --- the whole database ----------------------------------------------------

$node->safe_psql('postgres', 'DROP DATABASE shop');
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_database WHERE datname = 'shop')), 0, 'DROP DATABASE takes the bin along');

$node->stop;
done_testing();
