# Settings that SQL cannot change: authorities from a file, and protection that
# is given up only with a token.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
my $file = PostgreSQL::Test::Utils::tempdir . '/authorities.json';
$node->init;
$node->append_conf('postgresql.conf',
	"fsync = off\nshared_preload_libraries = 'deletion_guard'\ndeletion_guard.retention = 0");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', "CREATE EXTENSION deletion_guard;\n" . slurp_file('test/sql/signing.sql'));
$node->safe_psql('shop', slurp_file('test/sql/shop.sql'));
$node->safe_psql('shop', "SELECT deletion_guard.add_authority('insider', signing.make_key('insider'))");
$node->safe_psql('shop', "SELECT signing.make_key('legal'), signing.make_key('privacy', 'es256')");
$node->safe_psql('shop', "DELETE FROM tenant WHERE id IN (1, 2)");

sub refused
{
	my ($sql, $pattern, $name) = @_;
	my ($ret, $out, $err) = $node->psql('shop', $sql);

	isnt($ret, 0, "$name: refused");
	like($err, $pattern, "$name: says why");
	return;
}

sub token
{
	my ($claims, $authority) = @_;

	return $node->safe_psql('shop',
		"SELECT signing.sign('$claims'::jsonb || jsonb_build_object('aud', deletion_guard.audience()), '$authority')");
}

sub claims
{
	my ($table) = @_;

	return $node->safe_psql('shop', "SELECT deletion_guard.claims('unguard', '$table')");
}

sub write_file
{
	my ($text) = @_;

	unlink $file;
	append_to_file($file, $text);
	chmod 0644, $file;
	return;
}

# --- before the setting: the registry counts -----------------------------------

is($node->safe_psql('shop', 'SELECT source, active, problem FROM deletion_guard.authority_source()'),
	'deletion_guard.authority|1|', 'authorities of the registry');

# --- authorities_file ------------------------------------------------------------

$node->append_conf('postgresql.conf', "deletion_guard.authorities_file = '$file'");
$node->restart;
my $claims = $node->safe_psql('shop', "SELECT deletion_guard.request_purge('1', 'contract ended')");
my $insider = token($claims, 'insider');
my $legal = token($claims, 'legal');

refused("SELECT deletion_guard.purge('$legal')", qr/authorities file ".*" does not exist/, 'no file');
is($node->safe_psql('shop', "SELECT ok, problem LIKE 'authorities file%' FROM deletion_guard.check_token('$legal')"),
	'f|t', 'check_token says it too');
like($node->safe_psql('shop', 'SELECT problem FROM deletion_guard.authority_source()'), qr/does not exist/, 'as does authority_source');
my $verify = "SELECT ok, detail FROM deletion_guard.verify() WHERE check_name";
like($node->safe_psql('shop', "$verify = 'authorities'"), qr/^f\|authorities file ".*" does not exist\. No token counts until that is repaired\.$/,
	'and verify');
like($node->safe_psql('shop', "$verify = 'lock'"), qr/^t\|/, 'preloaded, the file is binding');

my $json = $node->safe_psql('shop',
	"SELECT jsonb_build_object('authorities', jsonb_build_array(jsonb_build_object('name', 'legal', 'public_key', signing.public_key('legal'))))");
for my $bad (
	[ 'empty', '' ], [ 'not JSON', 'legal' ], [ 'a list', '[]' ],
	[ 'another member', '{"authorities": [], "x": 1}' ],
	[ 'no key', '{"authorities": [{"name": "legal"}]}' ],
	[ 'a bad key', '{"authorities": [{"name": "legal", "public_key": "x"}]}' ],
	[ 'a bad name', '{"authorities": [{"name": "a b", "public_key": "x"}]}' ],
	[ 'an entry twice', $json =~ s/\[(.*)\]/[$1, $1]/r ],
	[ 'more after it', "$json $json" ])
{
	write_file($bad->[1]);
	refused("SELECT deletion_guard.purge('$legal')", qr/authorities file ".*" does not list authorities/, $bad->[0]);
}
write_file($json);
chmod 0666, $file;
refused("SELECT deletion_guard.purge('$legal')", qr/may be written by others/, 'writable by the world');
chmod 0664, $file;
refused("SELECT deletion_guard.purge('$legal')", qr/may be written by others/, 'writable by a group');
unlink $file;
mkdir $file;
refused("SELECT deletion_guard.purge('$legal')", qr/cannot be read|is not a regular file/, 'a directory');
rmdir $file;
write_file('{"authorities": []}');
refused("SELECT deletion_guard.purge('$legal')", qr/authority "legal" is not enrolled/, 'none in the file');

write_file($json);
refused("SELECT deletion_guard.purge('$insider')", qr/authority "insider" is not enrolled/, 'an authority of the registry only');
refused("SELECT deletion_guard.add_authority('privacy', signing.public_key('privacy'), '$legal')", qr/authorities are those of the file ".*"/, 'add_authority');
refused("SELECT deletion_guard.retire_authority('insider', '$legal')", qr/authorities are those of the file ".*"/, 'retire_authority');
refused("SET deletion_guard.authorities_file = ''", qr/cannot be changed/, 'SET');
refused("ALTER SYSTEM SET deletion_guard.authorities_file = ''", qr/cannot be changed/, 'ALTER SYSTEM');
like($node->safe_psql('shop', 'SELECT active, problem FROM deletion_guard.authority_source()'),
	qr/^1\|the server's user, and so any superuser, may write/, 'a file of the server\'s user is a weakness');
like($node->safe_psql('shop', "$verify = 'authorities'"), qr/^f\|the server's user, .*Give the file and its directory to another owner\.$/, 'verify says so');
is($node->safe_psql('shop', "SELECT deletion_guard.purge('$legal')->'rows'"), '13', 'purged with the file\'s authority');

# --- locked ----------------------------------------------------------------------

$node->append_conf('postgresql.conf', 'deletion_guard.locked = on');
$node->restart;
refused("SET deletion_guard.locked = off", qr/cannot be changed/, 'SET');
refused("ALTER SYSTEM SET deletion_guard.locked = off", qr/cannot be changed/, 'ALTER SYSTEM');
refused("ALTER DATABASE shop SET deletion_guard.locked = off", qr/cannot be changed/, 'ALTER DATABASE');
refused("SELECT deletion_guard.unguard_table('issue')", qr/a token for "unguard" is required/, 'unguard_table without a token');
my $issue = token(claims('public.issue'), 'legal');
refused("SELECT deletion_guard.unguard_table('project', '$issue')", qr/is for another object/, 'unguard_table of another table');
my $by_name = token('{"act": "unguard", "relation": "public.issue"}', 'legal');
refused("SELECT deletion_guard.unguard_table('issue', '$by_name')", qr/is for another object/, 'a token that names no OID');
refused("BEGIN; ALTER TABLE issue RENAME TO other; ALTER TABLE project RENAME TO issue; SELECT deletion_guard.unguard_table('issue', '$issue')",
	qr/is for another object/, 'another table, renamed to the one that the token names');
refused("SET deletion_guard.ddl = allow; DROP TABLE project CASCADE", qr/it is guarded against deletion/, 'ddl = allow');
refused("SET deletion_guard.ddl = allow; DROP SCHEMA public CASCADE", qr/cannot drop table ".*": it is guarded against deletion/,
	'ddl = allow, of a schema: the refusal names a table');
refused("SET deletion_guard.ddl = allow; UPDATE pg_trigger SET tgenabled = 'D'",
	qr/cannot write the catalog "pg_trigger"/, 'a catalog, with ddl = allow');
refused("SET allow_system_table_mods = on; DELETE FROM pg_extension WHERE extname = 'deletion_guard'",
	qr/cannot write the catalog "pg_extension"/, 'a catalog, with allow_system_table_mods');
$node->safe_psql('shop', 'DELETE FROM issue WHERE tenant_id = 2');
my $forged = 'INSERT INTO deletion_guard.deletion_part (deletion_id) SELECT 1 WHERE false';
refused("SET deletion_guard.restoring = on; $forged", qr/is written by deletion_guard only.*restored into a new database/s,
	'restoring, into a database in use');
refused("COPY deletion_guard.deletion_link FROM PROGRAM 'true'", qr/is written by deletion_guard only/, 'into a table that is empty');
for my $options ([], ['--inserts'])
{
	my $name = @$options ? 'inserts' : 'copied';
	my $dump = PostgreSQL::Test::Utils::tempdir . "/$name.sql";
	local $ENV{PGOPTIONS} = @$options ? '-c deletion_guard.restoring=on' : '';

	$node->command_ok([ 'pg_dump', @$options, '-f', $dump, $node->connstr('shop') ], "pg_dump @$options");
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr($name) ],
		"a new database takes a dump, $name");
	is($node->safe_psql($name, "SELECT sum(restored) > 0 FROM deletion_guard.undelete_tenant('2')"), 't',
		'and can undelete');
	my ($ret, $out, $err) = $node->psql($name, "SET deletion_guard.restoring = on; $forged");
	like($err, qr/is written by deletion_guard only/, 'which puts it in use');
}
refused("SELECT deletion_guard.unguard_table(NULL, '$issue')", qr/target must not be null/, 'unguard_table of nothing');
$node->safe_psql('shop', "SELECT deletion_guard.unguard_table('issue', '$issue')");
is($node->safe_psql('shop', "SELECT count(*) FROM deletion_guard.guarded_table WHERE relation = 'issue'::regclass"),
	'0', 'unguarded with a token');
$node->safe_psql('shop', "SELECT deletion_guard.guard_table('issue', 'tenant_id')");
refused("SELECT deletion_guard.unguard_table('issue', '$issue')", qr/has been used before/, 'the token again');
$node->safe_psql('shop', 'SELECT count(*) FROM deletion_guard.undelete_tenant(\'2\')');
my $bin = $node->safe_psql('shop', "SELECT bin_table FROM deletion_guard.bin WHERE relation = 'issue'::regclass");
refused("DROP TABLE $bin", qr/cannot drop what protects deletion_guard: deletion_guard.locked is set/, 'an empty bin table');
for my $table ('tenant', 'project', 'issue')
{
	my $token = token(claims("public.$table"), 'legal');

	$node->safe_psql('shop', "SELECT deletion_guard.unguard_table('$table', '$token')");
}
refused('DROP EXTENSION deletion_guard CASCADE', qr/deletion_guard.locked is set/, 'DROP EXTENSION');
refused('DROP OWNED BY CURRENT_USER', qr/required by the database system|locked is set/, 'DROP OWNED');
my $drop = token('{"act": "unguard", "relation": "extension deletion_guard"}', 'legal');
refused("SELECT deletion_guard.allow_drop()", qr/a token for "unguard" is required/, 'allow_drop without a token');
$issue = token(claims('public.issue'), 'legal');
refused("SELECT deletion_guard.allow_drop('$issue')", qr/is for another object/, 'allow_drop with a table\'s token');
refused("BEGIN; SELECT deletion_guard.allow_drop('$drop'); ROLLBACK; DROP EXTENSION deletion_guard CASCADE",
	qr/deletion_guard.locked is set/, 'allowed in another transaction');
$node->safe_psql('shop', "BEGIN; SELECT deletion_guard.allow_drop('$drop'); DROP EXTENSION deletion_guard CASCADE; COMMIT");
is($node->safe_psql('shop', "SELECT count(*) FROM pg_extension WHERE extname = 'deletion_guard'"), '0', 'dropped with a token');

like(slurp_file($node->logfile), qr/LOG:  deletion_guard may be dropped by this transaction/, 'the log says that it was allowed');

# --- without preloading -------------------------------------------------------------

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$node->safe_psql('shop', 'CREATE EXTENSION deletion_guard');
refused("SELECT FROM deletion_guard.authority_source(); SET deletion_guard.locked = off", qr/cannot be changed/, 'SET, not preloaded');
is($node->safe_psql('shop', "SET deletion_guard.locked = off; SELECT FROM deletion_guard.authority_source(); SHOW deletion_guard.locked"),
	'on', 'SET before the library is loaded does not last');
like($node->safe_psql('shop', "$verify = 'lock'"),
	qr/^f\|deletion_guard\.locked and deletion_guard\.authorities_file are set, which does not bind: .*Add deletion_guard to shared_preload_libraries/,
	'verify says that these settings do not bind');
$node->stop;
done_testing();
