# Django, SQLAlchemy and JDBC: what they delete, and what they are told of it, is the same on guarded tables as on others; the
# snippets of doc/applications.md say who and why, and everything comes back byte for byte.
use strict;
use warnings FATAL => 'all';

use Cwd 'getcwd';
use Neighbour;
use Pages;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $python = -x '/usr/bin/python3' ? '/usr/bin/python3' : 'python3';
my ($jar) = glob('/usr/share/java/postgresql.jar');
my %here = (
	django => system("$python -c 'import django, psycopg2' 2>/dev/null") == 0,
	sqlalchemy => system("$python -c 'import sqlalchemy, psycopg2' 2>/dev/null") == 0,
	jdbc => $jar && system('javac --version >/dev/null 2>&1') == 0);
plan skip_all => 'neither Django nor SQLAlchemy nor JDBC is installed' if !grep { $_ } values %here;

my $node = neighbour('deletion_guard', "listen_addresses = '127.0.0.1'\n");
my ($host, $port, $dir) = ($node->host, $node->port, PostgreSQL::Test::Utils::tempdir);
my $programs = getcwd() . '/test/t/frameworks';
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN');
@ENV{qw(PGHOST PGPORT SNIPPET PYTHONDONTWRITEBYTECODE PYTHONWARNINGS)} = ($host, $port, "$dir/snippet", 1, 'ignore');

# What the page on applications shows for this framework.
sub snippet
{
	my ($language, $with) = @_;
	my @found = map { $_->{text} } grep { ($_->{language} // '') eq $language && $_->{text} =~ /$with/ } page_blocks('doc/applications.md');

	is(@found, 1, "doc/applications.md has a snippet with $with");
	unlink "$dir/snippet";
	append_to_file("$dir/snippet", $found[0]);
	return $found[0];
}

# A database with an application's tables, and the same in another one, where they are guarded.
sub databases
{
	my ($name, $tenants, $column, $fill) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE ${name}_unguarded");
	$node->safe_psql("${name}_unguarded", 'GRANT CREATE ON SCHEMA public TO app');
	$fill->("${name}_unguarded");
	$node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE ${name}_unguarded");
	$node->safe_psql($name, 'CREATE EXTENSION deletion_guard');
	$node->safe_psql($name, "SELECT deletion_guard.set_tenant_table('$tenants', 'id', 'name')");
	$node->safe_psql($name, "SELECT deletion_guard.guard_schema('public', '$column')");
}

# What one of our programs prints in a database, and what else it says.
sub told
{
	my ($name, @command) = @_;
	my ($out, $err);

	local $ENV{PGDATABASE} = $name;
	ok(IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err), "$name: $command[-1]") or diag($out, $err);
	return wantarray ? ($out, $err) : $out;
}

# All rows of all tables.
sub rows
{
	my ($name, @tables) = @_;

	return join "\n", map { "$_: " . $node->safe_psql($name, "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM $_ t") } @tables;
}

# Deletes in both databases: the same is told, the same rows are left, and they come back.
sub same
{
	my ($name, $remove, @tables) = @_;
	my $before = rows($name, @tables);
	my $told = $remove->($name);

	is($told, $remove->("${name}_unguarded"), "$name: the same is told as without the guard");
	note($told);
	is(rows($name, @tables), rows("${name}_unguarded", @tables), 'the same rows are left');
	isnt(rows($name, @tables), $before, 'not all of them');
	# one transaction after the other, the last one first
	$node->safe_psql($name, q{DO $$ DECLARE d bigint; BEGIN FOR d IN SELECT max(id) FROM deletion_guard.deletion GROUP BY xid ORDER BY 1 DESC LOOP
		PERFORM deletion_guard.undelete_transaction(d); END LOOP; END $$});
	is(rows($name, @tables), $before, 'and they come back, byte for byte');
}

sub said
{
	my ($name) = @_;

	return $node->safe_psql($name, "SELECT count(*) > 0, min(reason) FROM deletion_guard.deletion WHERE actor = 'alice\@example.com'");
}

SKIP:
{
	skip 'Django is not installed', 1 if !$here{django};
	my @run = ($python, "$programs/with_django.py");
	my @tables = map { "shop_$_" } qw(org doc page label doc_labels);
	my $column = "SELECT string_agg(attname, ',' ORDER BY attname) FROM pg_attribute WHERE attrelid = 'shop_doc'::regclass AND attnum > 0 AND NOT attisdropped";

	snippet('python', 'transaction.atomic');
	databases('django', 'shop_org', 'org_id', sub {
		local $ENV{TARGET} = '0001';
		is(told($_[0], @run, 'migrate'), "migrate\tnull\n", 'its tables are made');
		told($_[0], @run, 'fill');
	});
	same('django', sub { told($_[0], @run, 'remove') }, @tables);
	is(said('django'), 't|/orgs/2', 'who and why is on record');
	is(told('django', @run, 'refused'), qq(another tenant's rows\t"TG002"\nare still there\t10\n), 'what is refused is told by its code');

	# migrations
	my $migrate = sub {
		local @ENV{qw(TARGET APP_OPTIONS)} = @_;
		return told('django', @run, 'migrate') =~ s/migrate\t|\n//gr;
	};
	is($migrate->('0002', ''), 'null', 'a migration that loses nothing');
	is($node->safe_psql('django', q{SELECT tenant_column FROM deletion_guard.guarded_table WHERE relation = 'shop_task'::regclass}), 'org_id', 'a new table is guarded');
	for my $step ([ '0003', 'a column' ], [ '0004', 'tables' ])
	{
		my ($target, $what) = @$step;

		is($migrate->($target, ''), '"TG003"', "one that drops $what is refused");
		$node->safe_psql('django', 'GRANT SET ON PARAMETER deletion_guard.ddl TO app');
		is($migrate->($target, '-c deletion_guard.ddl=keep'), 'null', 'with what the hint says it is done');
	}
	is($node->safe_psql('django', 'SELECT string_agg(relation_name || \' \' || rows, \', \' ORDER BY relation_name COLLATE "C") FROM deletion_guard.dropped_table'),
		'public.shop_doc.extra 30, public.shop_doc_labels 90, public.shop_task 3', 'and what it took is kept');
}

SKIP:
{
	skip 'SQLAlchemy is not installed', 1 if !$here{sqlalchemy};
	my @run = ($python, "$programs/with_sqlalchemy.py");

	snippet('python', 'after_begin');
	databases('sqlalchemy', 'org', 'org_id', sub { told($_[0], @run, 'fill') });
	same('sqlalchemy', sub { told($_[0], @run, 'remove') }, qw(org doc page note));
	is(said('sqlalchemy'), 't|ticket 7', 'who and why is on record');
	is(told('sqlalchemy', @run, 'refused'), qq(another tenant's rows\t"TG002"\nare still there\t30\n), 'what is refused is told by its code');
}

SKIP:
{
	skip 'JDBC is not installed', 1 if !$here{jdbc};
	my $program = slurp_file("$programs/WithJdbc.java");
	my $snippet = snippet('java', 'prepareStatement');
	my $mistake = 'DELETE FROM doc WHERE id = 60';
	my $remove = sub {
		my ($name) = @_;

		my ($out, $err) = told($name, 'java', '-cp', "$dir:$jar", 'WithJdbc',
			"jdbc:postgresql://127.0.0.1:$port/$name?user=app&prepareThreshold=1&autosave=always&binaryTransfer=true",
			$name eq 'jdbc' ? $mistake : 'SELECT 1 / 0');
		is($err, $name eq 'jdbc' ? "TG002\n" : "22012\n", 'the mistake is told by its code');
		return $out;
	};

	$program =~ s{// the page's snippet}{$snippet};
	append_to_file("$dir/WithJdbc.java", $program);
	is(system("javac -d $dir $dir/WithJdbc.java"), 0, 'it compiles');
	databases('jdbc', 'org', 'org_id', sub {
		$node->safe_psql($_[0], <<'SQL');
SET ROLE app;
CREATE TABLE org (id int PRIMARY KEY, name text);
CREATE TABLE doc (id int PRIMARY KEY, org_id int REFERENCES org, body bytea);
CREATE TABLE page (id int PRIMARY KEY, doc_id int REFERENCES doc ON DELETE CASCADE);
INSERT INTO org VALUES (0, 'zero'), (1, 'one'), (2, 'two'), (3, 'three');
INSERT INTO doc SELECT i, CASE WHEN i > 55 THEN 1 + 2 * (i % 2) ELSE i % 4 END, decode(repeat(to_hex(i + 16), 100), 'hex') FROM generate_series(1, 80) i;
INSERT INTO page SELECT i, 1 + i % 80 FROM generate_series(1, 400) i;
SQL
	});
	same('jdbc', $remove, qw(org doc page));
	is(said('jdbc'), 't|ticket 7', 'who and why is on record');
}

$node->stop;
done_testing();
