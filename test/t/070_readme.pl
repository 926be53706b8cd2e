# What README.md shows runs as it is printed, and prints what is printed there.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
my $dir = PostgreSQL::Test::Utils::tempdir;
my $sign = "script/deletion_guard_sign";
$node->init;
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE mydb');
# the role in the README's output, whoever runs the test
$node->psql('postgres', 'CREATE ROLE postgres SUPERUSER');

# Sites with 100 issues each, as in the first example.
$node->safe_psql('mydb', q(
CREATE TABLE site (id int PRIMARY KEY, name text NOT NULL, contact text);
CREATE TABLE issue (id int PRIMARY KEY, site_id int NOT NULL REFERENCES site ON DELETE CASCADE, title text);
CREATE TABLE comment (id int PRIMARY KEY, issue_id int NOT NULL CONSTRAINT comment_issue_fkey REFERENCES issue ON DELETE CASCADE, body text);
INSERT INTO site SELECT i, CASE i % 6 WHEN 1 THEN 'Globex ' ELSE 'Umbrella ' END || i, 'ops@site' || i || '.example' FROM generate_series(1, 50) i;
UPDATE site SET name = 'Umbrella 7' WHERE id = 7;
INSERT INTO issue SELECT s * 1000 + n, s, 'issue ' || n FROM generate_series(1, 50) s, generate_series(1, 100) n;
CREATE ROLE support;
CREATE ROLE migrator;
CREATE ROLE billing;
CREATE ROLE restorer;
));

# The fenced blocks of a section, as [language, text].
my $readme = slurp_file('README.md');

sub blocks
{
	my ($section) = @_;
	my ($text) = $readme =~ /^\Q$section\E[^\n]*\n(.*?)(?=\n## |\z)/ms;

	die "README.md has no $section" unless defined $text;
	return map { [ split /\n/, $_, 2 ] } $text =~ /^```(.*?\n.*?)^```/msg;
}

# Runs SQL; the output is formatted as psql does it for people.
sub run_sql
{
	my ($sql, $name, $user) = @_;
	my ($ret, $out, $err) = $node->psql('mydb', "SET SESSION AUTHORIZATION postgres;\n" . ($user ? "SET ROLE $user;\n" : '') . $sql,
		extra_params => [ '-P', 'format=aligned', '-P', 'tuples_only=off', '-P', 'footer=off' ]);

	is($ret, 0, $name) or diag($err);
	return $out;
}

# --- the first screen ---------------------------------------------------------

my $example = (blocks("# deletion_guard"))[0][1];
run_sql((blocks('## Install'))[1][1] =~ /psql -c '(CREATE EXTENSION .*?)' mydb/ ? $1 : 'no such line', 'the line that installs it');
run_sql("SELECT deletion_guard.set_tenant_table('site', 'id', 'name', 'contact'); SELECT FROM deletion_guard.guard_schema('public', 'site_id')",
	'the tables of the example are guarded');
my @steps = $example =~ /^=# (.*?)(?=^=# |\z)/msg;
is(scalar @steps, 4, 'the example has four commands');
for my $step (@steps)
{
	my ($command, @shown) = split /\n/, $step;
	$command =~ s/\s*--.*//;
	my $out = run_sql($command, "example: $command");

	for my $line (grep { !/^\s*(\.\.\.)?$|^DELETE/ } @shown)
	{
		like("$out\n", qr/^\Q$line\E\s*$/m, "prints: $line");
	}
}
is($node->safe_psql('mydb', 'SELECT (SELECT count(*) FROM site), (SELECT count(*) FROM issue)'), '50|5000', 'all is back');

# --- five minutes ---------------------------------------------------------------

my ($enrol, $purge, $rehydrate) = map { $_->[1] } blocks('## Five minutes');
my $archive = "$dir/nightly.dump";
$rehydrate =~ s{/backup/nightly\.dump}{$archive}g;
command_ok([ 'pg_dump', '-Fc', '-f', $archive, $node->connstr('mydb') ], 'a nightly dump');
# deletion 17 is of tenant 42, and so is the deletion that is looked for by time
$node->safe_psql('mydb', "DELETE FROM issue WHERE id = 1000 + $_") for 1 .. 15;
$node->safe_psql('mydb', 'DELETE FROM issue WHERE site_id = 42 AND id % 10 = 0');
like(run_sql($enrol, 'enrol, look, undelete'), qr/issue +\| 42 +\| +10 /, 'undeletes what is asked for');

# --- a purge -------------------------------------------------------------------------

$node->safe_psql('mydb', 'SET deletion_guard.retention = 0; DELETE FROM site WHERE id IN (42, 43)');
my $certificate;
for my $line (split /\n/, $purge)
{
	if ($line =~ /^\$ deletion_guard_sign (.*?)(\s+#.*)?$/)
	{
		my $out = `cd '$dir' && sh '$ENV{PWD}/$sign' $1 2>'$dir/err'`;

		is($?, 0, "runs: $line") or diag(slurp_file("$dir/err"));
		append_to_file("$dir/token", $out);
	}
	elsif ($line =~ /^=# (.*?)(\s+--.*)?$/)
	{
		my $command = $1;
		my $key = $command =~ /BEGIN PUBLIC KEY/ ? slurp_file("$dir/legal.pub") : '';
		my $token = $command =~ /eyJ/ ? slurp_file("$dir/token") : '';

		chomp $token;
		$command =~ s/-----BEGIN PUBLIC KEY-----\.\.\./$key/;
		$command =~ s/eyJ\.\.\./$token/;
		$certificate = $node->safe_psql('mydb', $command);
		append_to_file("$dir/claims.json", $certificate) if $command =~ /request_purge/;
	}
}
like($certificate, qr/"rows": 101\b/, 'a purge as printed ends with its certificate');

# --- out of a backup -----------------------------------------------------------------

$node->safe_psql('mydb', 'SELECT FROM deletion_guard.undelete_tenant(\'43\')');
like(run_sql($rehydrate, 'look, compare, rehydrate'), qr/was purged \(purge 1\) and stays away/,
	'what was purged is not brought back');

# --- who may do what -----------------------------------------------------------------

my ($grants) = map { $_->[1] } blocks('## Who may do what');
run_sql($grants, 'the grants as printed');
$node->safe_psql('mydb', 'GRANT SELECT, INSERT, UPDATE ON site, issue, comment TO support');
$node->safe_psql('mydb', 'DELETE FROM issue WHERE site_id = 5');
run_sql('SELECT FROM deletion_guard.deletion; SELECT FROM deletion_guard.deletion_detail', 'support sees deletions', 'support');
run_sql("SELECT FROM deletion_guard.undelete_tenant('5')", 'support undeletes', 'support');
$node->safe_psql('mydb', 'ALTER TABLE issue OWNER TO migrator; ALTER TABLE issue ADD COLUMN obsolete integer');
run_sql("SELECT FROM deletion_guard.unguard_table('public.issue'); ALTER TABLE public.issue DROP COLUMN obsolete;"
	  . " SELECT FROM deletion_guard.guard_table('public.issue', 'site_id')", 'migrator changes a table that it owns', 'migrator');
run_sql("SELECT FROM deletion_guard.check_token('x')", 'billing checks tokens', 'billing');
my ($ret, $out, $err) = $node->psql('mydb', "SET ROLE billing; SELECT deletion_guard.purge('x')");
like($err, qr/purge refused/, 'billing may call purge()');
run_sql("SELECT FROM deletion_guard.archive_contents('$archive')", 'restorer reads archives', 'restorer');

# --- names ------------------------------------------------------------------------------

# Every name in the tables of functions and settings exists, and every setting is there.
my ($functions) = $readme =~ /\n## Functions\n(.*?)\n\n`\\df/s;
my @names = grep { !/^(error|skip|replace|dry_run|on_conflict|with_referenced|into_schema|mapping|left_out)$/ } $functions =~ /`(\w+)(?:\(.*?\))?`/g;
is($node->safe_psql('mydb', "SELECT string_agg(n, ', ') FROM unnest('{" . join(',', @names) . "}'::text[]) n
	WHERE NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'deletion_guard'::regnamespace AND proname = n)
		AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'deletion_guard'::regnamespace AND relname = n)"),
	'', 'functions and views exist');
my ($settings) = $readme =~ /\n## Settings\n(.*?)\n## /s;
my @settings = map { /`(\w+)`/g } $settings =~ /^\| ((?:`\w+`(?:, )?)+) \|/mg;
is($node->safe_psql('mydb', "LOAD 'deletion_guard'; SELECT string_agg(name, ', ' ORDER BY name) FROM pg_settings
	WHERE name LIKE 'deletion_guard.%' AND split_part(name, '.', 2) <> ALL ('{" . join(',', @settings) . "}')"),
	'', 'every setting is in the README');
is($node->safe_psql('mydb', "LOAD 'deletion_guard'; SELECT count(*) FROM pg_settings WHERE name LIKE 'deletion_guard.%'"),
	scalar @settings, 'and no other');
$node->stop;
done_testing();
