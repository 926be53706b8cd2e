# Archives that are damaged in many ways: the server survives each, says what
# is wrong, and changes nothing.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $each = 60;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\nstatement_timeout = '60s'");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir;
chmod 0755, $dir;

$node->safe_psql('postgres', 'CREATE DATABASE tracker');
$node->safe_psql('tracker', 'CREATE EXTENSION deletion_guard');
$node->safe_psql('tracker', slurp_file('test/sql/tracker.sql'));
$node->safe_psql('tracker', 'CREATE TABLE before AS SELECT * FROM everything');

sub damaged_copies
{
	my ($name, $content) = @_;
	my @files;

	foreach my $n (1 .. $each)
	{
		my $copy = $content;
		my $at = int(rand(length($copy)));

		if ($n % 4 == 0)
		{
			$copy = substr($copy, 0, $at);
		}
		elsif ($n % 4 == 1)
		{
			substr($copy, $at, 1 + int(rand(20))) = '';
		}
		else
		{
			substr($copy, $at, 1) = chr(int(rand(256))) foreach (1 .. 1 + $n % 3);
		}
		append_to_file("$dir/$name.$n", $copy);
		push @files, "$dir/$name.$n";
	}
	return @files;
}

# Failures by SQLSTATE, how often; "none" where the damage does no harm.
sub failures
{
	my ($call, @files) = @_;

	return split /\n/, $node->safe_psql('tracker',
			"SELECT split_part(failure(format('SELECT deletion_guard.$call', file), '$dir'), ':', 1) AS code, count(*)"
		  . " FROM unnest('{" . join(',', @files) . "}'::text[]) file GROUP BY 1 ORDER BY 1");
}

srand(20220405);
my %formats = (
	'custom' => ['-Fc'],
	'stored' => [ '-Fc', '-Z0' ],
	'inserts' => [ '-Fc', '--inserts', '-Z0' ],
	'tar' => ['-Ft'],
	'plain' => ['-Fp'],
	'plain_inserts' => [ '-Fp', '--rows-per-insert=4' ],
);
foreach my $name (sort keys %formats)
{
	system_or_bail('pg_dump', '-d', $node->connstr('tracker'), '-n', 'public', '-f', "$dir/$name", @{ $formats{$name} });
	my @files = damaged_copies($name, slurp_file("$dir/$name"));

	foreach my $call ('rehydrate(\'\'{1,2}\'\'::text[], %L, dry_run => true, with_referenced => true)',
		'rehydrate(\'\'3\'\', %L, into_schema => \'\'damaged\'\', dry_run => true)',
		'compare_tenant(\'\'2\'\', %L)', 'archive_contents(%L)')
	{
		my @failures = failures($call, @files);
		my @bad = grep { !/^(none|TG04|TG01|22|23|42|54|0A)/ } @failures;

		note("$name: $call: " . join(' ', @failures));
		is("@bad", '', "$name: $call: nothing unexpected");
	}
}
is($node->safe_psql('tracker', '(TABLE everything EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE everything)'),
	'', 'nothing has changed');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'the server has not crashed');

$node->stop;
done_testing();
