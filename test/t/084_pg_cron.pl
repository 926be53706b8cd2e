# pg_cron: deletions that jobs make are kept, with the ceilings of whoever they run as.
use strict;
use warnings FATAL => 'all';

use Neighbour;
use Test::More;

plan skip_all => 'pg_cron is not installed' if !has_extension('pg_cron');
my $node = neighbour('pg_cron', "cron.database_name = 'postgres'\n");
$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron');
plan skip_all => 'before pg_cron 1.5 a job waits for the minute'
	if $node->safe_psql('postgres', q(SELECT string_to_array(split_part(extversion, '-', 1), '.')::int[] < '{1,5}' FROM pg_extension WHERE extname = 'pg_cron')) eq 't';

# jobs connect as clients do
$node->safe_psql('postgres', 'ALTER SYSTEM SET cron.host = ' . "'" . $node->host . "'");
$node->restart;
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE doc (id int PRIMARY KEY, org_id int);
SELECT deletion_guard.guard_table('doc', 'org_id');
INSERT INTO doc SELECT i, i % 3 FROM generate_series(1, 99) i;
SELECT cron.schedule('clean', '1 seconds', 'DELETE FROM doc WHERE id <= 40');
SELECT cron.schedule('empty', '1 seconds', 'SET deletion_guard.max_rows = 10; DELETE FROM doc');
SQL
ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM cron.job_run_details WHERE status = 'succeeded'"), 'a job runs');
ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM cron.job_run_details WHERE status = 'failed'"), 'another fails');
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM doc), sum(rows) FROM deletion_guard.deletion'), '59|40', 'what was deleted is kept');
like($node->safe_psql('postgres', "SELECT return_message FROM cron.job_run_details WHERE status = 'failed' LIMIT 1"), qr/max_rows|more than 10 rows/, 'a ceiling holds for jobs');
$node->safe_psql('postgres', "SELECT cron.unschedule('clean'), cron.unschedule('empty')");

guard_works($node, 'beside pg_cron');
$node->stop;
done_testing();
