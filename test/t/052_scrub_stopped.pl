# Whatever stops a scrub, the invalid index that its REINDEX leaves is named by
# verify() and removed by the next scrub, and no other index is. A second scrub
# fails while one is at work; two that were asked for at once follow one another.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nrestart_after_crash = on\nmax_prepared_transactions = 2");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', q(
CREATE EXTENSION deletion_guard;
CREATE TABLE issue (id integer PRIMARY KEY, tenant_id integer, during int4range, EXCLUDE USING gist (during WITH &&));
CREATE INDEX "Issue's tenants" ON issue (tenant_id);
SELECT deletion_guard.guard_table('issue', 'tenant_id');
INSERT INTO issue SELECT n, n % 3, int4range(n, n + 1) FROM generate_series(1, 300) n;
DELETE FROM issue WHERE tenant_id = 1;
));
# An index that somebody else's CREATE INDEX CONCURRENTLY left.
$node->safe_psql('shop', 'INSERT INTO issue VALUES (301, 2)');
$node->psql('shop', 'CREATE UNIQUE INDEX CONCURRENTLY theirs_ccnew ON issue (tenant_id)');
is($node->safe_psql('shop', "SELECT indisvalid FROM pg_index WHERE indexrelid = 'theirs_ccnew'::regclass"), 'f', 'an invalid index of somebody else');

my $scrubber = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'deletion_guard scrub'";
# theirs_ccnew is somebody else's, and no business of scrub()
my $left = "SELECT string_agg(format('%I.%I', relnamespace::regnamespace, relname), ',') FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE NOT indisvalid AND relname <> 'theirs_ccnew'";
my $told = "SELECT string_agg(object, ',') FROM deletion_guard.verify() WHERE check_name = 'scrub' AND NOT ok";

sub finish
{
	$node->poll_query_until('shop', "SELECT count(*) = 0 AND NOT EXISTS ($scrubber) FROM deletion_guard.scrub_progress WHERE ended_at IS NULL")
	  or diag($node->safe_psql('shop', 'SELECT * FROM deletion_guard.scrub_progress WHERE ended_at IS NULL'));
	return;
}

my %stop = (
	'terminate' => sub { $node->safe_psql('shop', "SELECT pg_terminate_backend(($scrubber))") },
	'cancel' => sub { $node->safe_psql('shop', "SELECT pg_cancel_backend(($scrubber))") },
	'kill -9' => sub { kill 'KILL', $node->safe_psql('shop', $scrubber) },
	'server stop' => sub { $node->stop('immediate') },
);
my $holder;

# Someone with an old snapshot, or, without one, with a lock on the table, lets
# REINDEX get no further than the new index, or than the old one's turn to go.
foreach my $table ('issue', 'deletion_guard.hold')
{
	foreach my $how ($table eq 'issue' ? sort keys %stop : 'kill -9')
	{
		foreach my $stage ('ccnew', 'ccold')
		{
			$holder = $node->background_psql('shop', on_error_stop => 0);
			$holder->query_safe($stage eq 'ccnew' ? 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1' : "BEGIN; SELECT count(*) FROM $table");
			$node->safe_psql('shop', "SELECT deletion_guard.scrub('$table', 0)");
			$node->poll_query_until('shop', "SELECT count(*) = 1 FROM pg_index WHERE NOT indisvalid AND indexrelid::regclass::text ~ '$stage' AND indexrelid <> 'theirs_ccnew'::regclass")
			  or diag($node->safe_psql('shop', $left));
			is($node->safe_psql('shop', $told), '', "$how, $table, $stage: nothing to tell while it runs");
			my ($ret, $out, $err) = $node->psql('shop', 'SELECT deletion_guard.scrub()');
			like($err, qr/tables are being scrubbed already/, 'a second one is refused');
			$stop{$how}->();
			$how eq 'server stop' ? $node->start : $node->poll_query_until('postgres', "SELECT NOT EXISTS ($scrubber)");
			eval { $holder->quit };
			$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE state LIKE 'idle in%')");
			my $index = $node->safe_psql('shop', $left);
			like($index, qr/^[^,]+_$stage"?$/, 'an index is left');
			is($node->safe_psql('shop', $told), $index, 'verify() names it');
			# Any scrub removes it, also one of another table.
			$node->safe_psql('shop', "SELECT deletion_guard.scrub('pg_statistic', 0)");
			finish();
			is($node->safe_psql('shop', $left), '', 'the next scrub has removed it');
			is($node->safe_psql('shop', $told), '', 'and it is said no more');
		}
	}
}

# Two at once: in one transaction, and while the first is at work.
$node->safe_psql('shop', "BEGIN; SELECT deletion_guard.scrub('issue', 0); SELECT deletion_guard.scrub('deletion_guard.hold', 0); COMMIT");
finish();
is($node->safe_psql('shop', $left), '', 'one waits for the other');
my $indexes = "SELECT string_agg(indexrelid::regclass::text, ',' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = 'issue'::regclass";
is($node->safe_psql('shop', $indexes), '"Issue\'s tenants",issue_during_excl,issue_pkey,theirs_ccnew', 'all indexes are there');
is($node->safe_psql('shop', "SELECT problem FROM deletion_guard.scrub_progress WHERE relation = 'issue'::regclass"),
	'indexes that are invalid, or of exclusion constraints, were not rebuilt: public.issue_during_excl, public.theirs_ccnew; REINDEX or drop them', 'what was left out is said');

# An index that cannot be rebuilt: said, cleared away at once, and the rest is done.
$node->safe_psql('shop', q(
CREATE FUNCTION broken(i integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT FROM pg_stat_activity WHERE pid = pg_backend_pid() AND backend_type = 'deletion_guard scrub') THEN RAISE 'no more'; END IF; RETURN i; END $$;
CREATE INDEX issue_broken ON issue (public.broken(id));
SELECT deletion_guard.scrub('issue', 0);
));
finish();
is($node->safe_psql('shop', "SELECT phase, problem FROM deletion_guard.scrub_progress WHERE relation = 'issue'::regclass"),
	'done|it was not vacuumed: no more; scrub again', 'an error is said');
is($node->safe_psql('shop', $left), '', 'and leaves nothing');
$node->safe_psql('shop', q(
ALTER INDEX issue_broken ALTER COLUMN 1 SET STATISTICS 0;
SELECT deletion_guard.scrub('issue', 0);
));
finish();
is($node->safe_psql('shop', "SELECT phase, problem FROM deletion_guard.scrub_progress WHERE relation = 'issue'::regclass"),
	'done|indexes were not rebuilt: no more; scrub again', 'an error while it is rebuilt');
is($node->safe_psql('shop', $left), '', 'leaves nothing');
is($node->safe_psql('shop', 'SELECT count(*) FROM issue'), '201', 'the rows are there');
$node->stop;
done_testing();
