package Pages;

# Runs what a page shows, in the order in which it is shown, as whoever pastes it would.
#
# A page is Markdown. What stands between fences is run by its language:
#
#   ```sql      psql, which stops at the first error
#   ```sh       bash, which stops at the first error
#   ```console  lines that begin with "=# " are SQL (and those that follow, as far as they are indented), with "$ " sh; the
#               others must be in the output
#   ```text     after one of these: its lines must be in what that printed, in this order; "..." stands for any
#   ```output   of other languages and of none, nothing is run; those that are known are listed below
#
# Each block runs in a session of its own. A line with "fails: SQLSTATE" in a comment says that the block fails with that, at
# its last statement. What a reader does not see:
#
#   <!-- setup sql      what happened before; also "setup sh"
#   ...
#   -->
#   <!-- elsewhere: why the next block cannot run here -->
#   <!-- as in practice.md#purged -->   the same as what that section of another page shows
#   <!-- as agent -->   from here on the page's reader has logged in as that role, until "<!-- as postgres -->" or "anew"
#   <!-- anew -->       here the database is again as at the beginning; also "anew without the guard"
#
# "/backup" and "/wal" are directories of the test's, "saas" is the demo's database, guarded; every page gets it anew.
use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Path 'rmtree';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(pages_server run_page page_blocks);

my %shown_only = map { $_ => 1 } ('', qw(ini python ruby java typescript go yaml json markdown));

my ($node, $dir, $user);

# Runs a command with these settings of the environment: its exit status, and all that it printed.
sub run_in
{
	my ($where, $script, @command) = @_;
	my $file = "$dir/script";

	unlink $file;
	append_to_file($file, $script);
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGUSER => $user, PGDATABASE => 'saas', PAGER => 'cat',
		PATH => "$ENV{PWD}/script:$ENV{PATH}");
	my $output = `cd '$where' && timeout 300 @command '$file' 2>&1 </dev/null`;
	return ($? >> 8, $output);
}

sub run_sql { return run_in($_[0], "\\set VERBOSITY verbose\n$_[1]", 'psql -X -v ON_ERROR_STOP=1 -f'); }
sub run_sh { return run_in($_[0], "set -euo pipefail\nexport PSQLRC=/dev/null\n$_[1]", 'bash'); }

# A server with the demo's database in two states, from which each page gets its own.
sub pages_server
{
	$dir = PostgreSQL::Test::Utils::tempdir;
	mkdir "$dir/$_" for qw(backup wal);
	$node = PostgreSQL::Test::Cluster->new('pages');
	$node->init(allows_streaming => 1);
	$node->append_conf('postgresql.conf', join("\n", 'fsync = off', "shared_preload_libraries = 'deletion_guard'",
			'archive_mode = on', "archive_command = 'cp %p $dir/wal/%f'", "archive_timeout = 0", ''));
	$node->start;
	$node->psql('postgres', 'CREATE ROLE postgres SUPERUSER LOGIN');
	$node->safe_psql('postgres', 'CREATE DATABASE saas_unguarded OWNER postgres');
	command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-v', 'tenants=60', '-v', 'issues=20', '-U', 'postgres',
			'-d', $node->connstr('saas_unguarded'), '-f', 'doc/saas.sql' ], 'the database of the demo');
	$node->safe_psql('postgres', 'CREATE DATABASE saas_guarded TEMPLATE saas_unguarded OWNER postgres');
	is($node->safe_psql('saas_guarded', "SET SESSION AUTHORIZATION postgres; CREATE EXTENSION deletion_guard;
		SELECT FROM deletion_guard.set_tenant_table('site', 'id', 'name', 'contact');
		SELECT problem FROM deletion_guard.guard_schema('public', 'site_id') WHERE problem IS NOT NULL") =~ s/\s+//gr, '', 'is guarded');
	return $node;
}

# The blocks of a page: kind (setup, run, shown, other, elsewhere, as, anew, heading), language, text, line.
sub page_blocks
{
	my ($file) = @_;
	my (@blocks, $block, $elsewhere);
	my $line = 0;

	for (split /\n/, slurp_file($file))
	{
		$line++;
		$_->{file} //= $file for @blocks;
		if ($block)
		{
			if ($_ eq ($block->{kind} eq 'setup' ? '-->' : '```'))
			{
				push @blocks, $block;
				undef $block;
			}
			else { $block->{text} .= "$_\n"; }
		}
		elsif (/^<!-- setup (sql|sh)$/) { $block = { kind => 'setup', language => $1, text => '', line => $line }; }
		elsif (/^<!-- elsewhere: (.+) -->$/) { $elsewhere = $1; }
		elsif (/^<!-- as in ([\w-]+\.md)#([\w-]+) -->$/)
		{
			my ($other, $section) = ($1, $2);

			push @blocks, section_blocks($file =~ s{[^/]+$}{$other}r, $section);
		}
		elsif (/^<!-- as (\w+) -->$/) { push @blocks, { kind => 'as', user => $1, line => $line }; }
		elsif (/^<!-- anew( without the guard)? -->$/) { push @blocks, { kind => 'anew', guarded => !$1, line => $line }; }
		elsif (/^## (.*)/) { push @blocks, { kind => 'heading', text => $1, line => $line }; }
		elsif (/^\s*```(\w*)$/)
		{
			my $language = $1;

			die "$file:$line: a fence must stand at the beginning of the line" unless /^`/;
			$block = { kind => $elsewhere ? 'elsewhere' : $language eq 'text' ? 'shown' : $shown_only{$language} ? 'other' : 'run',
				language => $language, text => '', line => $line };
			undef $elsewhere;
		}
	}
	$_->{file} //= $file for @blocks;
	die "$file: a block that begins at line $block->{line} does not end" if $block;
	return @blocks;
}

# What runs in one section of a page.
sub section_blocks
{
	my ($file, $anchor) = @_;
	my ($on, @blocks);

	for my $block (page_blocks($file))
	{
		if ($block->{kind} eq 'heading') { $on = lc($block->{text}) =~ s/[^\w\- ]//gr =~ s/ /-/gr eq $anchor; }
		elsif ($on && $block->{kind} eq 'run') { push @blocks, $block; }
	}
	die "$file has no section $anchor in which something runs" if !@blocks;
	return @blocks;
}

# Each line of what is shown is in the output, in this order.
sub shows
{
	my ($name, $shown, $output) = @_;
	my @lines = map { s/\s+$//r } split /\n/, $output;

	for my $line (map { s/\s+$//r } split /\n/, $shown)
	{
		next if $line =~ /^\s*(\.\.\.)?$/;
		my $at = 0;
		$at++ while $at < @lines && $lines[$at] ne $line;
		if ($at == @lines)
		{
			fail("$name prints \"$line\"");
			diag($output);
			return;
		}
		splice @lines, 0, $at + 1;
	}
	pass("$name prints what is shown");
}

sub run_block
{
	my ($name, $where, $block, $text) = @_;
	my ($expected) = $text =~ /(?:--|#).*\bfails: (\w{5})\b/;
	my ($status, $output) = $block->{language} eq 'sql' ? run_sql($where, $text) : run_sh($where, $text);

	if ($expected)
	{
		my @states = $output =~ /(?:ERROR|FATAL):\s+(\w{5}):/g;
		is($states[-1], $expected, "$name fails with $expected") or diag($output);
	}
	# psql goes on after an error in what it is given on its standard input
	else { ok($status == 0 && $output !~ /^(psql:\S+ )?(ERROR|FATAL): /m, "$name runs") or diag("exit status $status\n$output"); }
	return $output;
}

# A transcript: its commands run, and what is printed below them is in their output.
sub run_console
{
	my ($name, $where, $text) = @_;
	my @steps;

	for my $line (split /\n/, $text)
	{
		if ($line =~ /^(=#|\$) (.*)/)
		{
			push @steps, { language => $1 eq '$' ? 'sh' : 'sql', command => "$2\n", shown => '' };
		}
		# a command ends with a semicolon, whatever is said behind it
		elsif ($steps[-1]{language} eq 'sql' && $steps[-1]{command} !~ /;\s*(--.*)?$/) { $steps[-1]{command} .= "$line\n"; }
		else { $steps[-1]{shown} .= "$line\n"; }
	}
	for my $step (@steps)
	{
		my $what = "$name, " . substr($step->{command}, 0, 40) =~ s/\s+/ /gr;

		shows($what, $step->{shown}, run_block($what, $where, $step, $step->{command}));
	}
}

sub anew
{
	my ($where, $guarded) = @_;

	$user = 'postgres';
	rmtree($where);
	mkdir $where;
	for my $name (split /\n/, $node->safe_psql('postgres', q{SELECT datname FROM pg_database WHERE datname !~ '^(template|saas_(un)?guarded$|postgres$)'}))
	{
		$node->safe_psql('postgres', qq{DROP DATABASE "$name" WITH (FORCE)});
	}
	for my $name (split /\n/, $node->safe_psql('postgres', q{SELECT rolname FROM pg_roles WHERE NOT rolsuper AND rolname !~ '^(pg_|app$)'}))
	{
		$node->safe_psql('postgres', qq{DROP OWNED BY "$name"; DROP ROLE "$name"});
	}
	$node->safe_psql('postgres', 'ALTER ROLE app RESET ALL');
	$node->safe_psql('postgres', 'CREATE DATABASE saas TEMPLATE ' . ($guarded ? 'saas_guarded' : 'saas_unguarded') . ' OWNER postgres');
	rmtree([ glob("$dir/backup/*") ]);
}

# Runs a page. Returns how many of its blocks were left to other machines.
sub run_page
{
	my ($file) = @_;
	my ($page) = $file =~ m{([^/]+)\.md$};
	my $where = "$dir/$page";
	my ($output, $elsewhere) = ('', 0);

	anew($where, 1);
	for my $block (page_blocks($file))
	{
		my $name = "$block->{file}:$block->{line}";
		my $text = $block->{text} // '';

		$text =~ s{(?<![\w.])/(backup|wal)\b}{$dir/$1}g;
		if ($block->{kind} eq 'anew') { anew($where, $block->{guarded}); }
		elsif ($block->{kind} eq 'as') { $user = $block->{user}; }
		elsif ($block->{kind} eq 'elsewhere') { $elsewhere++; }
		elsif ($block->{kind} =~ /^(other|heading)$/) { next; }
		elsif ($block->{kind} eq 'shown') { shows($name, $text, $output); }
		elsif ($block->{language} eq 'console') { run_console($name, $where, $text); }
		elsif ($block->{language} =~ /^(sql|sh)$/) { $output = run_block($name, $where, $block, $text); }
		else { fail("$name: nobody knows what to do with \"$block->{language}\""); }
	}
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET ALL');
	$node->reload;
	return $elsewhere;
}

1;
