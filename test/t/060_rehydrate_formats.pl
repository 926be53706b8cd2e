# Every format that the server's own pg_dump writes, and a database that never
# had the rows.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir;
chmod 0755, $dir;

$node->safe_psql('postgres', 'CREATE DATABASE tracker');
$node->safe_psql('tracker', 'CREATE EXTENSION deletion_guard');
$node->safe_psql('tracker', slurp_file('test/sql/tracker.sql'));
$node->safe_psql('tracker', 'CREATE TABLE before AS SELECT * FROM everything');

sub dump_to
{
	my ($name, @options) = @_;

	$node->command_ok([ 'pg_dump', '-d', $node->connstr('tracker'), '-n', 'public', '-f', "$dir/$name", @options ],
		"dump $name");
	return "$dir/$name";
}

# What is different from before, if anything.
sub differences
{
	my ($database) = @_;

	return $node->safe_psql($database,
		'(TABLE everything EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE everything)');
}

sub rescue
{
	my ($name, $archive) = @_;

	$node->safe_psql('tracker', 'SELECT lose(2)');
	isnt(differences('tracker'), '', "$name: site 2 is gone");
	is( $node->safe_psql('tracker',
			"SELECT sum(restored), sum(found - restored) FROM deletion_guard.rehydrate('2', '$archive')"),
		'47|0', "$name: every row was restored");
	is(differences('tracker'), '', "$name: and is as it was");
	is( $node->safe_psql('tracker',
			"SELECT sum(archive_rows - live_rows + only_in_archive + only_live + different) FROM deletion_guard.compare_tenants('{1,2,3}', '$archive')"),
		'0', "$name: nothing differs");
	return;
}

my %formats = (
	'custom' => ['-Fc'],
	'custom_plain' => [ '-Fc', '-Z0' ],
	'custom_inserts' => [ '-Fc', '--inserts' ],
	'directory' => ['-Fd'],
	'directory_plain' => [ '-Fd', '-Z0' ],
	'tar' => ['-Ft'],
	'plain' => ['-Fp'],
	'plain_inserts' => [ '-Fp', '--inserts' ],
	'plain_columns' => [ '-Fp', '--column-inserts', '--rows-per-insert=3' ],
	'plain_gzip' => [ '-Fp', '-Z6' ],
	'data_only' => [ '-Fc', '-a' ],
);
if ($node->pg_version >= 16)
{
	foreach my $method (qw(lz4 zstd))
	{
		next unless check_pg_config("#define USE_" . uc($method) . " 1");
		$formats{"custom_$method"} = [ '-Fc', '-Z', $method ];
		$formats{"directory_$method"} = [ '-Fd', '-Z', $method ];
	}
}
foreach my $name (sort keys %formats)
{
	rescue($name, dump_to($name, @{ $formats{$name} }));
}

# Written to a pipe, a custom archive does not know where its data is.
system_or_bail('sh', '-c', 'pg_dump -d "' . $node->connstr('tracker') . "\" -n public -Fc | cat > $dir/piped");
rescue('piped', "$dir/piped");

# INSERTs without column lists, and no definitions: a table without rows does
# not matter, one that is named does.
$node->safe_psql('tracker', 'CREATE TABLE nothing (site_id integer)');
$node->safe_psql('tracker', "SELECT deletion_guard.guard_table('nothing', 'site_id')");
my $bare = dump_to('bare', '-Fc', '-a', '--inserts');
my ($ret, $out, $err) = $node->psql('tracker', "SELECT deletion_guard.rehydrate('2', '$bare')");
like($err, qr/the archive does not tell the columns of table public\./, 'columns are not known');
my $columns = dump_to('columns', '-Fc', '-a', '--column-inserts');
is( $node->safe_psql('tracker', "SELECT sum(identical) FROM deletion_guard.rehydrate('2', '$columns')"),
	'47', 'columns are known from the first row');
is($node->safe_psql('tracker', "SELECT columns FROM deletion_guard.archive_contents('$columns') WHERE relation = 'public.file'"),
	'{comment_id,name,tags}', 'and listed');
is($node->safe_psql('tracker', "SELECT count(*) FROM deletion_guard.archive_contents('$bare') WHERE columns IS NULL"),
	'8', 'or not');

# Whoever wants to know is told of each table as it has been read.
my ($stdout, $stderr);
IPC::Run::run([ 'psql', '-XqAt', '-d', $node->connstr('tracker'), '-c', 'SET client_min_messages = debug1',
		'-c', "SELECT count(*) FROM deletion_guard.rehydrate('2', '$columns', dry_run => true)" ], '>', \$stdout, '2>', \$stderr);
like($stderr, qr/read table "issue" of the archive: 30 rows, of which 10 are wanted/, 'a line for a table');
is(() = $stderr =~ /read table "/g, 6, 'one for each, with rows or without');

# A database with the tables, but without the rows and without a past.
my $archive = "$dir/custom";
$node->safe_psql('postgres', 'CREATE DATABASE empty');
$node->safe_psql('empty', 'CREATE EXTENSION deletion_guard');
$node->safe_psql('empty', slurp_file('test/sql/tracker.sql'));
$node->safe_psql('empty', 'CREATE TABLE before AS SELECT * FROM everything WHERE site <> 1');
$node->safe_psql('empty',
	"DELETE FROM file; DELETE FROM comment; DELETE FROM issue; DELETE FROM project; DELETE FROM site;"
	  . "SELECT setval(s, 1, false) FROM unnest('{project_id_seq,issue_id_seq,comment_id_seq}'::regclass[]) s");
$node->safe_psql('empty', "SELECT deletion_guard.rehydrate('{2,3}'::text[], '$archive', dry_run => true)");
is($node->safe_psql('empty', 'SELECT is_called FROM project_id_seq'), 'f', 'a dry run leaves sequences alone');
$node->safe_psql('empty', "SELECT deletion_guard.rehydrate('{2,3}'::text[], '$archive')");
is(differences('empty'), '', 'two of three sites in another database');
is( $node->safe_psql('empty',
		"SELECT nextval(s) FROM unnest('{project_id_seq,issue_id_seq,comment_id_seq}'::regclass[]) s"),
	"7\n31\n61", 'keys of the third site are not given out again');

# An archive without the parents of the rows: the live ones tell the tenant.
my $files = dump_to('files', '-Fc', '-t', 'file');
$node->safe_psql('tracker', 'DELETE FROM file');
is( $node->safe_psql('tracker',
		"SELECT tenant, restored FROM deletion_guard.rehydrate('{1,3}'::text[], '$files') WHERE tenant IS NOT NULL ORDER BY 1"),
	"1|12\n3|14", 'tenants by live parents');
is( $node->safe_psql('tracker', "SELECT restored FROM deletion_guard.rehydrate('2', '$files') WHERE tenant IS NOT NULL"),
	'14', 'and the rest');
is(differences('tracker'), '', 'all files are back');

$node->stop;
done_testing();
