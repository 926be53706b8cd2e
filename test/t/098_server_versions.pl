# Copies on servers of other major versions, older and newer: an upgraded database takes
# rows out of the cluster that it was upgraded from, and one that waits for its upgrade
# out of a copy that has it already.
#
# Taken are the servers in /usr/lib/postgresql, and those whose directories of programs
# are named in DG_OTHER_BINDIRS, with blanks in between.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Directories of programs by major version, without our own.
sub other_servers
{
	my ($ours) = `pg_config --version` =~ /(\d+)/;
	my %found;

	for my $dir (glob('/usr/lib/postgresql/*/bin'), split ' ', $ENV{DG_OTHER_BINDIRS} // '')
	{
		my ($version) = -x "$dir/initdb" ? `$dir/postgres --version` =~ /PostgreSQL\) (\d+)/ : ();

		$found{$version} = $dir if defined $version && $version != $ours;
	}
	return %found;
}

my %bindir = other_servers();
plan skip_all => 'only one major version of PostgreSQL is installed' unless %bindir;

my $tables = (slurp_file('test/sql/tracker.sql') =~ /^(.*?)SELECT deletion_guard/s)[0] . q{
	CREATE TYPE mood AS ENUM ('sad', 'glad');
	CREATE TYPE place AS (street text, no integer);
	CREATE DOMAIN short AS varchar(20) CHECK (VALUE <> '');
	CREATE TABLE thing (id bigint PRIMARY KEY, site_id integer REFERENCES site, at timestamptz, f float8, g float4, m mood, p place, s short, r int4range, j jsonb, js json, x xml, b bit(5), c char(7),
		n numeric, a text[], q tsvector, h inet, u uuid, iv interval, t time with time zone, cash money, o oid, pt point, bx box, path jsonpath, l pg_lsn, mac macaddr8);
	CREATE TABLE part (site_id integer, day date, note text, PRIMARY KEY (site_id, day)) PARTITION BY RANGE (day);
	CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
	CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
	INSERT INTO thing SELECT n, 1 + n % 3, timestamptz '1999-12-31 23:59:59.999999+05:30' + n * interval '1 day', 1e-300 / 3 * n, 1.0 / n, 'glad', ('a "b", c\d', n)::place, E'tab\t\\\n',
		int4range(n, n + 5), '{"a": [1, null]}', '{"b":  1}', '<a/>', B'10101', 'pad', n / 7.0, ARRAY['x', NULL, '{}'], 'a:1A cat', '10.0.0.1/8', md5(n::text)::uuid, '-1 day 02:03', '12:00+02', '12.34', 1,
		'(1,2)', '((0,0),(1,1))', '$.a[*] ? (@ > 1)', '16/B374D848', '08:00:2b:01:02:03:04:05' FROM generate_series(1, 30) n;
	INSERT INTO part SELECT n, d, 'note' FROM generate_series(1, 3) n, generate_series(date '2026-01-05', '2026-02-20', '9 days') d;
};
my $everything = q{SELECT 'site' AS relation, id AS site, s::text AS row FROM site s UNION ALL SELECT 'project', site_id, p::text FROM project p UNION ALL SELECT 'issue', site_id, i::text FROM issue i
	UNION ALL SELECT 'comment', site_id, c::text FROM comment c JOIN issue i ON i.id = issue_id UNION ALL SELECT 'thing', site_id, t::text FROM thing t UNION ALL SELECT tableoid::regclass::text, site_id, p::text FROM part p
	UNION ALL SELECT 'file', site_id, f::text FROM file f JOIN comment c ON c.id = comment_id JOIN issue i ON i.id = issue_id};

my $live = PostgreSQL::Test::Cluster->new('live');
$live->init(extra => [ '--encoding', 'UTF8', '--locale', 'C' ]);
$live->append_conf('postgresql.conf', 'fsync = off');
$live->start;
$live->safe_psql('postgres', "CREATE EXTENSION deletion_guard; CREATE EXTENSION postgres_fdw; $tables");
$live->safe_psql('postgres', q{
	SELECT deletion_guard.set_tenant_table('site', 'id', 'name', 'contact'), deletion_guard.guard_table('site', 'id'), deletion_guard.guard_table('project', 'site_id'), deletion_guard.guard_table('issue', 'site_id'),
		deletion_guard.guard_table('thing', 'site_id'), deletion_guard.guard_table('part', 'site_id'), deletion_guard.guard_table('comment', tenant_path => '{comment_issue_id_fkey}'),
		deletion_guard.guard_table('file', tenant_path => '{file_comment_id_fkey,comment_issue_id_fkey}')});
$live->safe_psql('postgres', "CREATE VIEW everything AS $everything; CREATE TABLE before AS TABLE everything");
$live->safe_psql('postgres', slurp_file('test/sql/tracker.sql') =~ /(CREATE FUNCTION lose.*?\$\$;)/s);
my $lose = 'SET session_replication_role = replica; DELETE FROM thing WHERE site_id = 2; DELETE FROM part WHERE site_id = 2; SELECT lose(2);';

sub live
{
	return $live->safe_psql('postgres', $_[0]);
}

sub differences
{
	return live('(TABLE everything EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE everything)');
}

# --- a server of another version, without Cluster.pm: that may be too old for it --------

my %running;

sub start_server
{
	my ($version) = @_;
	my ($dir, $port) = (PostgreSQL::Test::Utils::tempdir_short(), PostgreSQL::Test::Cluster::get_free_port());
	my ($bin, $ld) = ($bindir{$version}, $ENV{LD_LIBRARY_PATH});

	# programs of another version want libraries of their own
	local $ENV{LD_LIBRARY_PATH} = $ld // '';
	delete $ENV{LD_LIBRARY_PATH} unless defined $ld;
	system_or_bail("$bin/initdb", '-D', "$dir/data", '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--locale', 'C', '-N');
	append_to_file("$dir/data/postgresql.conf", "listen_addresses = ''\nunix_socket_directories = '$dir'\nport = $port\nfsync = off\ndatestyle = 'German'\nbytea_output = escape\nlog_statement = all\n");
	system_or_bail("$bin/pg_ctl", '-w', '-D', "$dir/data", '-l', "$dir/log", 'start');
	$running{$version} = { dir => $dir, port => $port };
	return;
}

sub stop_server
{
	my ($version) = @_;
	my $server = delete $running{$version};

	system_log("$bindir{$version}/pg_ctl", '-D', "$server->{dir}/data", '-m', 'immediate', 'stop');
	return;
}

# Runs SQL there, in a file: it may be long.
sub there
{
	my ($version, $database, $sql) = @_;
	my $server = $running{$version};
	my $file = "$server->{dir}/sql";

	unlink $file;
	append_to_file($file, $sql);
	system_or_bail('psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-h', $server->{dir}, '-p', $server->{port}, '-U', 'postgres', '-d', $database, '-f', $file, '-o', '/dev/null');
	return;
}

sub copy_named
{
	my ($version, $database, $here) = @_;

	$live->safe_psql($here // 'postgres', sprintf("CREATE SERVER %s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname '%s'); CREATE USER MAPPING FOR CURRENT_USER SERVER %s OPTIONS (user 'postgres')",
			"${database}_$version", $running{$version}{dir}, $running{$version}{port}, $database, "${database}_$version"));
	return "server:${database}_$version";
}

END
{
	my $status = $?;

	stop_server($_) for keys %running;
	$? = $status;
}

# --- columns of types that only some versions have ------------------------------------------

$live->safe_psql('postgres', 'CREATE DATABASE meters');
$live->safe_psql('meters', q{
	CREATE EXTENSION deletion_guard; CREATE EXTENSION postgres_fdw;
	CREATE TABLE site (id integer PRIMARY KEY);
	CREATE TABLE meter (id integer PRIMARY KEY, site_id integer REFERENCES site, span interval, amount numeric, seats int4multirange, big bigint, twice integer GENERATED ALWAYS AS (id * 2) STORED, added text DEFAULT 'since');
	SELECT deletion_guard.set_tenant_table('site', 'id'), deletion_guard.guard_table('site', 'id'), deletion_guard.guard_table('meter', 'site_id')});
my ($ours) = $live->safe_psql('postgres', 'SHOW server_version_num') =~ /^(\d\d)/;

sub other_columns
{
	my ($version) = @_;
	my $new = $version >= 14;
	my $big = $version >= 19 ? 'oid8' : 'bigint';
	my $twice = $version >= 18 ? 'integer GENERATED ALWAYS AS (id * 2) VIRTUAL' : 'integer GENERATED ALWAYS AS (id * 3) STORED';

	there($version, 'postgres', 'CREATE DATABASE meters');
	there($version, 'meters', sprintf("CREATE TABLE site (id integer PRIMARY KEY); CREATE TABLE meter (id integer PRIMARY KEY, site_id integer REFERENCES site, span interval, amount numeric, seats %s, big %s, twice %s);
		INSERT INTO site VALUES (1), (2); INSERT INTO meter VALUES (1, 1, '%s', '%s', '{[1,3),[5,7)}', 9223372036854775807), (2, 2, '1 day', 1, NULL, 1)",
			$new ? 'int4multirange' : 'text', $big, $twice, $version >= 17 ? 'infinity' : '1 mon', $new ? '-Infinity' : 'NaN'));
	my $copy = copy_named($version, 'meters', 'meters');
	my $call = "SELECT sum(restored) FROM deletion_guard.rehydrate('%s', '$copy')";
	is($live->safe_psql('meters', sprintf($call, 2)), 2, "$version: other columns");
	if ($version >= 17 && $ours < 17)
	{
		my ($ret, $out, $err) = $live->psql('meters', "\\set VERBOSITY verbose\n" . sprintf($call, 1));

		like($err, qr/ERROR:  \w{5}: .*infinity.*HINT: .*CONTEXT: .*column "span"/s, "$version: a value that this version does not have");
		is($live->safe_psql('meters', 'SELECT count(*) FROM site WHERE id = 1'), 0, "$version: nothing has come");
		there($version, 'meters', "UPDATE meter SET span = '1 mon'");
	}
	is($live->safe_psql('meters', sprintf($call, 1)), 2, "$version: of every type");
	is($live->safe_psql('meters', 'TABLE meter ORDER BY id'),
		sprintf("1|1|%s|%s|{[1,3),[5,7)}|9223372036854775807|2|since\n2|2|1 day|1||1|4|since", $version >= 17 && $ours >= 17 ? 'infinity' : '1 mon', $new ? '-Infinity' : 'NaN'), "$version: as they were");
	$live->safe_psql('meters', 'TRUNCATE site, meter');
	return;
}

# --- each of them ------------------------------------------------------------------------

for my $version (sort { $a <=> $b } keys %bindir)
{
	start_server($version);
	there($version, 'postgres', 'CREATE DATABASE copy');
	there($version, 'copy', $tables) if $version >= 12;
	my $copy = copy_named($version, 'copy');
	if ($version < 12)
	{
		my ($ret, $out, $err) = $live->psql('postgres', "\\set VERBOSITY verbose\nSELECT deletion_guard.rehydrate('2', '$copy')");

		like($err, qr/ERROR:  TG\d+: server "copy_$version" is of a version that cannot be read.*12 and later/s, "$version: too old, which is said");
		stop_server($version);
		next;
	}

	live($lose);
	is(live("SELECT count(*), bool_and(format = 'server' AND live_relation IS NOT NULL) FROM deletion_guard.archive_contents('$copy')"), '9|t', "$version: contents");
	is(live("SELECT sum(only_in_archive) FROM deletion_guard.compare_tenant('2', '$copy')"), 63, "$version: what is gone");
	is(live("SELECT sum(restored) FROM deletion_guard.rehydrate('2', '$copy')"), 63, "$version: restored");
	is(differences(), '', "$version: every value as it was");
	is(live("SELECT sum(restored), sum(identical) FROM deletion_guard.rehydrate('2', '$copy')"), '0|63', "$version: again, identical");
	is(live("SELECT bool_and(matches), count(*) FROM deletion_guard.drill('$copy')"), 't|3', "$version: drill");
	like(slurp_file("$running{$version}{dir}/log"), qr/COPY \(SELECT [^\n]* FROM ONLY "public"\."thing" t0 WHERE [^\n]*"site_id" OPERATOR\(pg_catalog\.=\) ANY/, "$version: the condition was evaluated there");

	# a tenant as it is there: rows of then back, rows of since gone
	live("UPDATE project SET title = 'other' WHERE site_id = 2; DELETE FROM part WHERE site_id = 2 AND day > '2026-02-10'; INSERT INTO thing (id, site_id) VALUES (99, 2)");
	is(live("SELECT what, count(*) FROM deletion_guard.compare_rows('2', '$copy') GROUP BY 1 ORDER BY 1"), "different|2\nextra|1\nmissing|1", "$version: looked at");
	live("SELECT FROM deletion_guard.rehydrate('2', '$copy', on_conflict => 'replace', extra => 'delete')");
	is(differences(), '', "$version: rewound");

	# each by itself, and all at once
	live("$lose SELECT FROM deletion_guard.rehydrate(ARRAY['1', '2', '3'], '$copy')");
	is(differences(), '', "$version: several tenants");
	live("$lose CALL deletion_guard.rehydrate_each(ARRAY['1', '2', '3'], '$copy', 'copy_$version')");
	is(differences(), '', "$version: each by itself");

	other_columns($version);

	stop_server($version);
	my ($ret, $out, $err) = $live->psql('postgres', "\\set VERBOSITY verbose\nSELECT deletion_guard.rehydrate('2', '$copy')");
	like($err, qr/ERROR:  08001: could not connect to server "copy_$version".*HINT: /s, "$version: stopped");
	is(differences(), '', "$version: and nothing has changed");
}
done_testing();
