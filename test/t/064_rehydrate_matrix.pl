# Every tenant out of every kind of archive, compared with the original: all
# combinations of what this server's pg_dump can write, and archives made by the
# pg_dump of other versions (test/archives).
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir;
chmod 0755, $dir;

$node->safe_psql('postgres', 'CREATE DATABASE fixture');
$node->safe_psql('fixture', "SET client_encoding = 'UTF8';\n" . slurp_file('test/archives/fixture.sql'));
# The archives are of the tables alone, like those of other versions.
$node->safe_psql('postgres', 'CREATE DATABASE bare TEMPLATE fixture');
$node->safe_psql('fixture', q{
	CREATE EXTENSION deletion_guard;
	SELECT deletion_guard.set_tenant_table('tenant', 'id', 'name');
	SELECT deletion_guard.guard_table('tenant', 'id');
	SELECT deletion_guard.guard_table('event', 'tenant_id');
	SELECT deletion_guard.guard_table('detail', tenant_path => '{detail_event_id_fkey}');
	SELECT deletion_guard.guard_table('"§ ""select"""', 'tenant id');
	CREATE VIEW everything AS
		SELECT 'tenant' AS relation, tenant::text AS row FROM tenant
		UNION ALL SELECT tableoid::regclass::text, event::text FROM event
		UNION ALL SELECT 'detail', detail::text FROM detail
		UNION ALL SELECT '§', t::text FROM "§ ""select""" t;
	CREATE TABLE before AS SELECT * FROM everything;
	CREATE FUNCTION rescue(tenants text[], archive text) RETURNS text LANGUAGE sql AS $$
		SELECT format('%s of %s', sum(restored), sum(found)) FROM deletion_guard.rehydrate(tenants, archive) WHERE tenant IS NOT NULL $$;
	CREATE FUNCTION differences(archive text) RETURNS text LANGUAGE sql AS $$
		SELECT format('%s, %s',
			(SELECT count(*) FROM ((TABLE everything EXCEPT ALL TABLE before) UNION ALL (TABLE before EXCEPT ALL TABLE everything)) d),
			(SELECT sum(only_in_archive + only_live + different + abs(archive_rows - live_rows))
				FROM deletion_guard.compare_tenants('{1,2,3}', archive))) $$;
});
is($node->safe_psql('fixture', 'SELECT count(*) FROM before'), '40', 'rows to lose');

# Lost and restored, one tenant first, then the others; a line for each archive.
sub rescue_all
{
	my ($what, @archives) = @_;
	my $sql = "SET client_min_messages = error;\n";

	foreach my $archive (@archives)
	{
		my ($name) = $archive =~ m|([^/]*/[^/]*)$|;

		$sql .= qq{
			SET session_replication_role = replica;
			DELETE FROM detail; DELETE FROM event; DELETE FROM "§ ""select"""; DELETE FROM tenant;
			RESET session_replication_role;
			\\set restored FAILED
			SELECT rescue('{2}', '$archive') || ' + ' || rescue('{1,3}', '$archive') AS restored \\gset
			SELECT '$name: ' || :'restored', differences('$archive');\n};
	}
	my ($stdin, $stdout, $stderr) = ($sql, '', '');
	IPC::Run::run([ 'psql', '-XqAt', '-d', $node->connstr('fixture') ], '<', \$stdin, '>', \$stdout, '2>', \$stderr);
	my @bad = grep { !/: 14 of 14 \+ 26 of 26\|0, 0$/ } split /\n/, $stdout;
	is(scalar(split /\n/, $stdout), scalar(@archives), "$what: " . scalar(@archives) . ' archives were read');
	is(join("\n", @bad), '', "$what: every tenant came back from each as it was") or diag($stderr);
	return;
}

# --- this server's pg_dump ---------------------------------------------------

my @methods = ('none', 'gzip', grep { $node->pg_version >= 16 && check_pg_config('#define USE_' . uc($_) . ' 1') } qw(lz4 zstd));
my %forms = (
	'copy' => [],
	'inserts' => ['--inserts'],
	'columns' => [ '--column-inserts', '--rows-per-insert=3' ],
	'conflict' => [ '--inserts', '--on-conflict-do-nothing' ]);
my %encodings = ('utf8' => [], 'latin1' => [ '-E', 'LATIN1' ], 'sjis' => [ '-E', 'SJIS' ]);
my %roots = ('leaf' => [], 'root' => ['--load-via-partition-root']);

sub compress_option
{
	my ($method) = @_;

	return $node->pg_version >= 16 ? "--compress=$method" : '--compress=' . ($method eq 'gzip' ? 6 : 0);
}

# A shell command that runs pg_dump with these options and puts its output there.
sub dump_command
{
	my ($file, $pipe, @options) = @_;

	return join(' ', 'pg_dump', '-d', "'" . $node->connstr('bare') . "'", @options, $pipe, $file);
}

my %groups;
foreach my $form (sort keys %forms)
{
	foreach my $encoding (sort keys %encodings)
	{
		foreach my $root (sort keys %roots)
		{
			my @options = (@{ $forms{$form} }, @{ $encodings{$encoding} }, @{ $roots{$root} });
			my $name = "$form-$encoding-$root";

			foreach my $method (@methods)
			{
				my @compressed = (@options, compress_option($method));

				push @{ $groups{custom} }, [ "$method-$name", '-f', '-Fc', @compressed ];
				push @{ $groups{piped} }, [ "$method-$name", '| cat >', '-Fc', @compressed ];
				push @{ $groups{directory} }, [ "$method-$name", '-f', '-Fd', @compressed ];
			}
			push @{ $groups{tar} }, [ $name, '-f', '-Ft', @options ];
			push @{ $groups{plain} }, [ $name, '-f', '-Fp', @options ];
			push @{ $groups{plain} }, [ "gzip-$name", '| gzip >', '-Fp', @options ];
		}
	}
}
foreach my $form (sort keys %forms)
{
	foreach my $packer (grep { system("command -v $_ >/dev/null") == 0 } qw(gzip lz4 zstd))
	{
		push @{ $groups{packed} }, [ "$packer-custom-$form", "| $packer -c >", '-Fc', @{ $forms{$form} } ];
		push @{ $groups{packed} }, [ "$packer-tar-$form", "| $packer -c >", '-Ft', @{ $forms{$form} } ];
		push @{ $groups{packed} }, [ "$packer-plain-$form", "| $packer -c >", '-Fp', @{ $forms{$form} } ];
	}
	push @{ $groups{levels} }, [ "gzip$_-$form", '-f', '-Fc', "--compress=$_", @{ $forms{$form} } ] foreach (1, 9);
}
foreach my $group (sort keys %groups)
{
	my (@archives, $script);

	mkdir "$dir/$group";
	$script = "set -e\n";
	foreach my $dump (@{ $groups{$group} })
	{
		my ($name, $pipe, @options) = @$dump;

		push @archives, "$dir/$group/$name";
		$script .= dump_command($archives[-1], $pipe, @options) . "\n";
	}
	system_or_bail('sh', '-c', $script);
	rescue_all($group, @archives);
}

# --- other versions' ---------------------------------------------------------

my $stored = `pwd -P`;
chomp $stored;
foreach my $version (sort glob('test/archives/pg*'))
{
	rescue_all($version, map { "$stored/$_" } sort glob("$version/*"));
}
cmp_ok(scalar(my @versions = glob('test/archives/pg*')), '>=', 3, 'there are archives of other versions');

$node->stop;
done_testing();
