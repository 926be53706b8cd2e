# A rehydration is ended at random moments, in every way there is, while other
# tenants write: all of it is there or nothing, the others never notice, and
# the same call works the next time. DG_SEED repeats a run, DG_ROUNDS lengthens it.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $rounds = $ENV{DG_ROUNDS} // 1;
my $seed = $ENV{DG_SEED} // int(time);
srand($seed);
note("seed $seed");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nrestart_after_crash = on\nautovacuum = off\nlogging_collector = off");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir;
chmod 0755, $dir;

$node->safe_psql('postgres', 'CREATE DATABASE saas');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-v', 'tenants=60', '-v', 'issues=300', '-d', $node->connstr('saas'),
		'-f', 'doc/saas.sql' ], 'sixty tenants');
$node->safe_psql('saas', q{
	CREATE EXTENSION deletion_guard;
	SELECT deletion_guard.set_tenant_table('site', 'id', 'name', 'contact');
	SELECT deletion_guard.guard_schema('public', 'site_id');
	CREATE VIEW everything AS
		SELECT id AS site, 'site' AS relation, hashtextextended(t::text, 0) AS digest FROM site t
		UNION ALL SELECT site_id, 'app_user', hashtextextended(t::text, 0) FROM app_user t
		UNION ALL SELECT site_id, 'project', hashtextextended(t::text, 0) FROM project t
		UNION ALL SELECT site_id, 'issue', hashtextextended(t::text, 0) FROM issue t
		UNION ALL SELECT site_id, 'comment', hashtextextended(t::text, 0) FROM comment t WHERE body <> 'meanwhile';
	CREATE VIEW summary AS SELECT site, count(*) AS rows, sum(digest) AS digest FROM everything GROUP BY site;
	CREATE TABLE before AS TABLE summary;
	CREATE FUNCTION lose() RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
	BEGIN
		DELETE FROM comment WHERE site_id % 5 IN (1, 3);
		DELETE FROM issue WHERE site_id % 5 IN (1, 3);
		DELETE FROM project WHERE site_id % 5 IN (1, 3);
		DELETE FROM app_user WHERE site_id % 5 IN (1, 3);
		DELETE FROM site WHERE id % 5 IN (1, 3);
	END $$;
});
my $archive = "$dir/saas.dump";
system_or_bail('pg_dump', '-Fc', '-n', 'public', '-d', $node->connstr('saas'), '-f', $archive);
my $lost = $node->safe_psql('saas', "SELECT array_agg(id::text) FROM site WHERE id % 5 IN (1, 3)");

# --- the others --------------------------------------------------------------

append_to_file("$dir/traffic.sql", <<'SQL');
\set site 5 * random(1, 12)
INSERT INTO comment (site_id, issue_id, body) SELECT site_id, id, 'meanwhile' FROM issue WHERE site_id = :site LIMIT 1;
UPDATE project SET name = name WHERE site_id = :site;
SQL
append_to_file("$dir/traffic.on", '');
my $traffic = IPC::Run::start(
	[ 'sh', '-c', "while [ -e $dir/traffic.on ]; do pgbench -n -c 2 -T 600 -R 200 -l --log-prefix=$dir/traffic_log"
		  . " -f $dir/traffic.sql '" . $node->connstr('saas') . "' >>$dir/traffic.out 2>&1; sleep 0.2; done" ],
	'<', '/dev/null');

# --- interruptions -----------------------------------------------------------

sub backend
{
	return $node->safe_psql('saas', "SELECT pid FROM pg_stat_activity WHERE application_name = 'victim'");
}

# The server may be starting again, and psql gone before it could be told anything
# on its standard input.
sub wait_until_gone
{
	foreach (1 .. 900)
	{
		my ($out, $err);
		IPC::Run::run([ 'psql', '-XqAt', '-d', $node->connstr('saas'), '-c',
				"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'victim'" ],
			'<', '/dev/null', '>', \$out, '2>', \$err);
		return 1 if $out eq "0\n";
		usleep(200_000);
	}
	return 0;
}

sub postmaster
{
	return (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
}

my %ways = (
	'pg_cancel_backend' => sub { $node->safe_psql('saas', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'") },
	'pg_terminate_backend' => sub { $node->safe_psql('saas', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'") },
	'kill -9 of the backend' => sub { my $pid = backend(); kill 'KILL', $pid if $pid; },
	'the client goes' => undef,
	'statement_timeout' => undef,
	'kill -9 of the server' => sub
	{
		kill 'KILL', postmaster();
		# its backends go when they notice, not before
		foreach (1 .. 100)
		{
			usleep(200_000);
			$node->{_pid} = undef;
			last if $node->start(fail_ok => 1);
		}
	});

my %calls = (
	'rehydrate' => "SELECT sum(restored) FROM deletion_guard.rehydrate('$lost'::text[], '$archive')",
	'rehydrate_each' => "CALL deletion_guard.rehydrate_each('$lost'::text[], '$archive', 'RUN', tenants_at_once => 3)");

# Starts a call in a session of its own.
sub start_call
{
	my ($sql, $timeout, $out) = @_;
	local $ENV{PGAPPNAME} = 'victim';
	local $ENV{PGOPTIONS} = "-c statement_timeout=$timeout";

	return IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('saas'), '-c', $sql ],
		'<', '/dev/null', '>', $out, '2>', $out, IPC::Run::timeout(180));
}

# How many of the lost sites are there, and how many of these not as they were.
sub sites
{
	return split /\|/, $node->safe_psql('saas', q{
		SELECT count(*), count(*) FILTER (WHERE s.rows <> b.rows OR s.digest <> b.digest OR b.site IS NULL)
		FROM summary s LEFT JOIN before b USING (site) WHERE site % 5 IN (1, 3)});
}

my $output = '';
$node->safe_psql('saas', 'SELECT lose()');
my $began = time;
start_call($calls{rehydrate}, 0, \$output)->finish;
my $duration = time - $began;
is(join('|', sites()), '24|0', "24 sites are restored in $duration s");

my %seen;
my $run = 0;
foreach my $round (1 .. $rounds)
{
	foreach my $way (sort keys %ways)
	{
		foreach my $name (sort keys %calls)
		{
			my $delay = rand($duration);
			my $sql = $calls{$name} =~ s/RUN/'run ' . ++$run/er;
			my $result = '';
			my $what = sprintf('%s of %s after %.3f s', $way, $name, $delay);

			$node->safe_psql('saas', 'SELECT lose()');
			my $call = start_call($sql, $way eq 'statement_timeout' ? 1 + int($delay * 1000) : 0, \$result);
			usleep($delay * 1_000_000);
			if ($way eq 'the client goes')
			{
				$call->kill_kill;
			}
			else
			{
				$ways{$way}->() if defined $ways{$way};
				$call->finish;
			}
			wait_until_gone() or die "$what: still running";

			my ($there, $wrong) = sites();
			is($wrong, 0, "$what: no site is there in part");
			ok($name eq 'rehydrate_each' ? $there % 3 == 0 : $there == 0 || $there == 24, "$what: $there sites are there");
			$seen{$there == 0 ? 'none' : $there == 24 ? 'all' : 'some'}++;
			if ($name eq 'rehydrate_each')
			{
				is($node->safe_psql('saas', "SELECT count(*) FROM deletion_guard.rehydration_record WHERE run = 'run $run'"),
					$there, "$what: and recorded as done");
			}
			elsif ($there == 24)
			{
				$node->safe_psql('saas', 'SELECT lose()');
			}
			$node->safe_psql('saas', $sql);
			is(join('|', sites()), '24|0', "$what: all are there after the next call");
		}
	}
}
note("sites there: " . join(', ', map { "$_: $seen{$_}" } grep { $seen{$_} } qw(none some all)));

# --- afterwards --------------------------------------------------------------

unlink "$dir/traffic.on";
$node->safe_psql('saas', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
$traffic->finish;
is($node->safe_psql('saas', '(TABLE summary EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE summary)'),
	'', 'every site is as it was');
my $written = 0;
$written += () = slurp_file($_) =~ /\n/g foreach glob("$dir/traffic_log.*");
my $kept = $node->safe_psql('saas', "SELECT count(*) FROM comment WHERE body = 'meanwhile'");
cmp_ok($written, '>', 100, 'others have written meanwhile');
cmp_ok($kept, '>=', $written, "and what they wrote is there ($written of $kept)");
unlike(slurp_file("$dir/traffic.out"), qr/ERROR: /, 'none of them was refused anything');
is($node->safe_psql('saas', 'SELECT ok FROM deletion_guard.verify_ledger()'), 't', 'the ledger verifies');
is($node->safe_psql('saas', "SELECT count(*) FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname ~ 'drill'"),
	'0', 'nothing is left behind');

$node->stop;
done_testing();
